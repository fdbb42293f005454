"""The CPU device: NumPy. Its ops are the specification of all devices."""
