"""Loss scaling on CUDA: cuda/scaling.cu. What becomes of the scale is decided there; the host never waits for it."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.launch import launch, launch_blocks

__all__ = ["scale_gradient", "settle_scaling", "unscale"]


def scale_gradient(dx: DeviceArray, scaling: DeviceArray, y: DeviceArray) -> None:
    """y = dx * scale; see gpunet.devices.cpu.scaling."""
    launch("scaling", "scale_gradient", dx.size, dx, scaling, y, dx.size)


def unscale(scaling: DeviceArray, dw: DeviceArray) -> None:
    """dw /= scale; see gpunet.devices.cpu.scaling."""
    launch("scaling", "unscale", dw.size, scaling, dw, dw.size)


def settle_scaling(
    loss: DeviceArray, square_sum: DeviceArray, scaling: DeviceArray, settled: DeviceArray, *, patience: int
) -> None:
    """What becomes of the scale, and whether anything is learnt; see gpunet.devices.cpu.scaling."""
    launch_blocks("scaling", "settle_scaling", 1, loss, square_sum, scaling, settled, patience)
