"""Numba kernels: plain loops over NumPy views of Arrow buffers. They import numpy and numba only."""
