"""One training run: skorch's seams, the loop, its steps and what they read."""
