"""Exact forms of layers as built, which PyTorch runs faster on a CPU than its own."""
