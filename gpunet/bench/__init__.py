"""Convolutional nets and layers timed phase by phase, after the method of convnet-benchmarks (S. Chintala, 2014)."""
