"""What convnet-benchmarks published for its nets and layers, on other machines and in other years.

Source: its README of 2016 (Titan X, CUDA 7.5 and earlier) and its layer tables of 2015 (Titan Black).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """Milliseconds of a batch, forward and backward."""

    library: str
    total_ms: float
    forward_ms: float
    backward_ms: float


NETS = {
    "alexnet": (Published("cuDNN R4 fp32, Titan X", 81, 27, 53), Published("Caffe, Titan X", 324, 121, 203)),
    "overfeat": (Published("cuDNN R4 fp32, Titan X", 268, 94, 174), Published("Caffe, Titan X", 823, 355, 468)),
    "vgg_a": (Published("cuDNN R4 fp32, Titan X", 529, 162, 366), Published("Caffe, Titan X", 1068, 323, 745)),
    "googlenet": (Published("cuDNN R4 fp32, Titan X", 470, 130, 340), Published("Caffe, Titan X", 1935, 786, 1148)),
}
"""By the name of the net, in the batches of gpunet.bench.cases."""

LAYERS = (Published("cuDNN R2, Titan Black", 1019, 269, 750), Published("Caffe, Titan Black", 1231, 396, 835))
"""All five layers together."""
