"""PyTorch as the peer: any net of gpunet as a module of PyTorch's, the judge in tests and the rival in benchmarks."""
