"""Pooling by windows that are not the same along rows and columns on CUDA: cuda/by_axis.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.division import magic
from gpunet.devices.cuda.launch import launch
from gpunet.devices.cuda.pool import kind_of_switches

__all__ = [
    "adaptive_pool_backward",
    "adaptive_pool_forward",
    "average_pool_by_axis_backward",
    "average_pool_by_axis_forward",
    "l2_pool_by_axis_backward",
    "l2_pool_by_axis_forward",
    "max_pool_by_axis_backward",
    "max_pool_by_axis_forward",
    "max_pool_by_axis_infer",
]


def max_pool_by_axis_forward(
    x: DeviceArray,
    y: DeviceArray,
    switches: DeviceArray,
    *,
    F_rows: int,
    F_columns: int,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
) -> None:
    """Maximum over each window, and where it was; see gpunet.devices.cpu.by_axis."""
    windows = F_rows, F_columns, S_rows, S_columns, P_top, P_left
    kind, numbers = kind_of_switches(switches, y), _numbers(x, y, y, *windows)
    if kind == "halves":
        numbers = *numbers, magic(switches.shape[3])
    launch("by_axis", f"max_pool_by_axis_forward_{kind}", y.size, x, y, switches, *numbers)


def max_pool_by_axis_infer(
    x: DeviceArray,
    y: DeviceArray,
    *,
    F_rows: int,
    F_columns: int,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
) -> None:
    """Maximum over each window; see gpunet.devices.cpu.by_axis."""
    windows = F_rows, F_columns, S_rows, S_columns, P_top, P_left
    launch("by_axis", "max_pool_by_axis_infer", y.size, x, y, *_numbers(x, y, y, *windows))


def max_pool_by_axis_backward(
    dy: DeviceArray,
    switches: DeviceArray,
    dx: DeviceArray,
    *,
    F_rows: int,
    F_columns: int,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
) -> None:
    """dy goes where the switches point; see gpunet.devices.cpu.by_axis."""
    windows = F_rows, F_columns, S_rows, S_columns, P_top, P_left
    launch(
        "by_axis",
        f"max_pool_by_axis_backward_{kind_of_switches(switches, dy)}",
        dx.size,
        dy,
        switches,
        dx,
        *_numbers(dx, dy, dx, *windows),
    )


def average_pool_by_axis_forward(
    x: DeviceArray,
    y: DeviceArray,
    *,
    F_rows: int,
    F_columns: int,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
    top: int,
    bottom: int,
    left: int,
    right: int,
) -> None:
    """Average of each window; see gpunet.devices.cpu.by_axis."""
    windows = F_rows, F_columns, S_rows, S_columns, P_top, P_left
    launch(
        "by_axis",
        "average_pool_by_axis_forward",
        y.size,
        x,
        y,
        *_numbers(x, y, y, *windows),
        top,
        bottom,
        left,
        right,
    )


def average_pool_by_axis_backward(
    dy: DeviceArray,
    dx: DeviceArray,
    *,
    F_rows: int,
    F_columns: int,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
    top: int,
    bottom: int,
    left: int,
    right: int,
) -> None:
    """Every window shares its dy out; see gpunet.devices.cpu.by_axis."""
    windows = F_rows, F_columns, S_rows, S_columns, P_top, P_left
    launch(
        "by_axis",
        "average_pool_by_axis_backward",
        dx.size,
        dy,
        dx,
        *_numbers(dx, dy, dx, *windows),
        top,
        bottom,
        left,
        right,
    )


def l2_pool_by_axis_forward(
    x: DeviceArray,
    y: DeviceArray,
    *,
    F_rows: int,
    F_columns: int,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
) -> None:
    """Length of what each window sees; see gpunet.devices.cpu.by_axis."""
    windows = F_rows, F_columns, S_rows, S_columns, P_top, P_left
    launch("by_axis", "l2_pool_by_axis_forward", y.size, x, y, *_numbers(x, y, y, *windows))


def l2_pool_by_axis_backward(
    dy: DeviceArray,
    x: DeviceArray,
    y: DeviceArray,
    dx: DeviceArray,
    *,
    F_rows: int,
    F_columns: int,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
) -> None:
    """dy * (x / y) of each window; see gpunet.devices.cpu.by_axis."""
    windows = F_rows, F_columns, S_rows, S_columns, P_top, P_left
    launch("by_axis", "l2_pool_by_axis_backward", dx.size, dy, x, y, dx, *_numbers(dx, dy, dx, *windows))


def adaptive_pool_forward(x: DeviceArray, y: DeviceArray) -> None:
    """Averages of parts of each map; see gpunet.devices.cpu.by_axis."""
    launch("by_axis", "adaptive_pool_forward", y.size, x, y, *_parts(x, y))


def adaptive_pool_backward(dy: DeviceArray, dx: DeviceArray) -> None:
    """Every part shares its dy out; see gpunet.devices.cpu.by_axis."""
    launch("by_axis", "adaptive_pool_backward", dx.size, dy, dx, *_parts(dx, dy))


def _numbers(
    x: DeviceArray,
    y: DeviceArray,
    through: DeviceArray,
    F_rows: int,
    F_columns: int,
    S_rows: int,
    S_columns: int,
    P_top: int,
    P_left: int,
) -> tuple[int, ...]:
    """WINDOWS in cuda/by_axis.cu, of a launch that goes through the positions of x or y."""
    windows = F_rows, F_columns, S_rows, S_columns, P_top, P_left
    divisors = x.shape[3], S_rows, S_columns, *through.shape[1:3]
    return *x.shape, *y.shape[1:3], *windows, *(magic(number) for number in divisors)


def _parts(x: DeviceArray, y: DeviceArray) -> tuple[int, ...]:
    """PARTS in cuda/by_axis.cu."""
    divisors = x.shape[3], *x.shape[1:3], *y.shape[1:3]
    return *x.shape, *y.shape[1:3], *(magic(number) for number in divisors)
