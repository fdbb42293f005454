"""Max pooling on CUDA: cuda/pool.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.division import magic
from gpunet.devices.cuda.launch import launch
from gpunet.devices.cuda.windows import window_numbers, window_numbers_backward
from gpunet.program.switches import are_halved

__all__ = ["max_pool_backward", "max_pool_forward", "max_pool_infer"]


def max_pool_forward(x: DeviceArray, y: DeviceArray, switches: DeviceArray, *, F: int, S: int, P: int) -> None:
    """Maximum over each window, and where it was; see gpunet.devices.cpu.pool."""
    kind, numbers = kind_of_switches(switches, y), window_numbers(x, y, F, S, P)
    if kind == "halves":
        numbers = *numbers, magic(switches.shape[3])
    launch("pool", f"max_pool_forward_{kind}", y.size, x, y, switches, *numbers)


def max_pool_infer(x: DeviceArray, y: DeviceArray, *, F: int, S: int, P: int) -> None:
    """Maximum over each window; see gpunet.devices.cpu.pool."""
    launch("pool", "max_pool_infer", y.size, x, y, *window_numbers(x, y, F, S, P))


def max_pool_backward(dy: DeviceArray, switches: DeviceArray, dx: DeviceArray, *, F: int, S: int, P: int) -> None:
    """dy goes where the switches point; see gpunet.devices.cpu.pool."""
    launch(
        "pool",
        f"max_pool_backward_{kind_of_switches(switches, dy)}",
        dx.size,
        dy,
        switches,
        dx,
        *window_numbers_backward(dy, dx, F, S, P),
    )


def kind_of_switches(switches: DeviceArray, y: DeviceArray) -> str:
    """How the kernels name what their switches lie in; y: of the output, or its gradient."""
    if are_halved(switches.shape, y.shape):
        return "halves"
    return {"uint8": "u8", "int32": "i32"}[switches.dtype.name]
