"""Max pooling on CUDA: cuda/pool.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.launch import launch
from gpunet.devices.cuda.windows import window_numbers, window_numbers_backward

__all__ = ["max_pool_backward", "max_pool_forward", "max_pool_infer"]


def max_pool_forward(x: DeviceArray, y: DeviceArray, switches: DeviceArray, *, F: int, S: int, P: int) -> None:
    """Maximum over each window, and where it was; see gpunet.devices.cpu.pool."""
    launch("pool", f"max_pool_forward_{_name(switches)}", y.size, x, y, switches, *window_numbers(x, y, F, S, P))


def max_pool_infer(x: DeviceArray, y: DeviceArray, *, F: int, S: int, P: int) -> None:
    """Maximum over each window; see gpunet.devices.cpu.pool."""
    launch("pool", "max_pool_infer", y.size, x, y, *window_numbers(x, y, F, S, P))


def max_pool_backward(dy: DeviceArray, switches: DeviceArray, dx: DeviceArray, *, F: int, S: int, P: int) -> None:
    """dy goes where the switches point; see gpunet.devices.cpu.pool."""
    launch(
        "pool",
        f"max_pool_backward_{_name(switches)}",
        dx.size,
        dy,
        switches,
        dx,
        *window_numbers_backward(dy, dx, F, S, P),
    )


def _name(switches: DeviceArray) -> str:
    """How the kernels name the type of their switches."""
    return {"uint8": "u8", "int32": "i32"}[switches.dtype.name]
