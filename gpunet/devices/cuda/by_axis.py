"""Pooling by windows that are not the same along rows and columns on CUDA: cuda/by_axis.cu."""

from gpunet.devices.cuda.arrays import DeviceArray
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
    launch(
        "by_axis",
        f"max_pool_by_axis_forward_{kind_of_switches(switches, y)}",
        y.size,
        x,
        y,
        switches,
        *x.shape,
        *y.shape[1:3],
        *windows,
    )


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
    launch("by_axis", "max_pool_by_axis_infer", y.size, x, y, *x.shape, *y.shape[1:3], *windows)


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
        *dx.shape,
        *dy.shape[1:3],
        *windows,
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
        *x.shape,
        *y.shape[1:3],
        *windows,
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
        *dx.shape,
        *dy.shape[1:3],
        *windows,
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
    launch("by_axis", "l2_pool_by_axis_forward", y.size, x, y, *x.shape, *y.shape[1:3], *windows)


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
    launch("by_axis", "l2_pool_by_axis_backward", dx.size, dy, x, y, dx, *dx.shape, *dy.shape[1:3], *windows)


def adaptive_pool_forward(x: DeviceArray, y: DeviceArray) -> None:
    """Averages of parts of each map; see gpunet.devices.cpu.by_axis."""
    launch("by_axis", "adaptive_pool_forward", y.size, x, y, *x.shape, *y.shape[1:3])


def adaptive_pool_backward(dy: DeviceArray, dx: DeviceArray) -> None:
    """Every part shares its dy out; see gpunet.devices.cpu.by_axis."""
    launch("by_axis", "adaptive_pool_backward", dx.size, dy, dx, *dx.shape, *dy.shape[1:3])
