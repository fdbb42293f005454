"""The CUDA device: kernels of cuda/*.cu through CuPy, matrix products through cuBLAS. Only driver.py imports cupy."""
