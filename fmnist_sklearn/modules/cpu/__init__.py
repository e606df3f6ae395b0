"""Exact forms of layers that PyTorch runs faster on a CPU than its own."""
