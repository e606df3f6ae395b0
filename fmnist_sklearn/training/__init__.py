"""One training run: its data, its loop, and skorch's seams around them.

``net`` is skorch's net; ``fit`` makes a ``Training`` of it (``loop``), which goes
through epochs and batches (``batches``) and calls the net's steps. Import from these
files; ``cuda_graph`` is imported where a fit is on a GPU.
"""
