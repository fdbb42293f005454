"""Convolution on CUDA as a matrix product on tensor cores, without its matrix: cuda/tensor_*.cu and cuda/thrice_*.cu.

What gpunet.devices.cuda.implicit says of tiles and slices holds here, too: no bit depends on the tile.
"""

from math import inf

from gpunet.devices.cuda.arrays import DeviceArray, Maps, lying
from gpunet.devices.cuda.implicit import add_up, gradient_packable, numbers, packable, parts_of
from gpunet.devices.cuda.tensor_tiles import FILES, TILES, shared_bytes, stages
from gpunet.devices.cuda.tiles import blocks
from gpunet.program.filters import ConvShape

__all__: tuple[str, ...] = ()  # no ops here


def forward(
    algorithm: str,
    x: DeviceArray,
    w: DeviceArray,
    b: DeviceArray | None,
    y: DeviceArray | Maps,
    workspace: DeviceArray | None,
    shape: ConvShape,
    tile: int,
    slices: int,
    relu: int = 0,
) -> None:
    """y of conv_forward, or where `relu` of conv_relu_forward; `workspace` holds the slices where there are several."""
    whole = packable(shape.maps, x, w)
    y, y_row = lying(y)
    made, parts = _made(y, workspace, slices)
    least = 0.0 if relu and slices == 1 else -inf
    _launch(algorithm, "forward", shape, tile, slices, whole, x, w, b, made, parts, *numbers(shape), y_row, least)
    add_up(parts, b, y, slices, relu=relu)


def pool_forward(
    algorithm: str,
    x: DeviceArray,
    w: DeviceArray,
    b: DeviceArray | None,
    y: DeviceArray,
    switches: DeviceArray | None,
    shape: ConvShape,
    tile: int,
    relu: int,
) -> None:
    """y and switches of conv_pool_forward, by windows of 2 x 2; H2 and W2 of the shape are twice those of y."""
    whole = packable(shape.maps, x, w)
    _launch(
        algorithm, "forward", shape, tile, 1, whole, x, w, b, y, switches, *numbers(shape), relu, fused="pool_"
    )  # fmt: skip


def backward_input(
    algorithm: str,
    dy: DeviceArray,
    w: DeviceArray,
    dx: DeviceArray,
    workspace: DeviceArray | None,
    shape: ConvShape,
    tile: int,
    slices: int,
    switches: DeviceArray | None = None,
    below: DeviceArray | None = None,
) -> None:
    """dx of conv_backward_input; `workspace` as in forward.

    With switches, dy is behind a pool of 2 x 2; with `below`, dx is 0 where that is.
    """
    whole = packable(shape.maps, w) and gradient_packable(shape, dy, switches)
    (made, parts), own = _made(dx, workspace, slices), below if slices == 1 else None
    if switches is None:
        _launch(algorithm, "backward_input", shape, tile, slices, whole, dy, w, own, made, parts, *numbers(shape))
    else:
        places = *numbers(shape), *dy.shape[1:3]
        _launch(
            algorithm, "backward_input", shape, tile, slices, whole, dy, switches, w, own, made, parts, *places,
            fused="pool_",
        )  # fmt: skip
    add_up(parts, None, dx, slices, below=below)


def backward_weights(
    algorithm: str,
    x: DeviceArray,
    dy: DeviceArray,
    dw: DeviceArray,
    workspace: DeviceArray | None,
    shape: ConvShape,
    tile: int,
    slices: int,
    accumulate: int,
    switches: DeviceArray | None = None,
) -> None:
    """dw of conv_backward_weights; `workspace` as in forward. With switches, dy is behind a pool of 2 x 2."""
    whole = packable(shape.maps, x) and gradient_packable(shape, dy, switches)
    parts = parts_of(dw, workspace, slices)
    added = accumulate if slices == 1 else 0
    places = numbers(shape)
    if switches is None:
        _launch(algorithm, "backward_weights", shape, tile, slices, whole, x, dy, parts, added, *places)
    else:
        places = *places, *dy.shape[1:3]
        _launch(
            algorithm, "backward_weights", shape, tile, slices, whole, x, dy, switches, parts, added, *places,
            fused="pool_",
        )  # fmt: skip
    add_up(parts, None, dw, slices, accumulate)


def norm_forward(
    algorithm: str,
    x: DeviceArray | Maps,
    table: DeviceArray,
    w: DeviceArray,
    b: DeviceArray | None,
    y: DeviceArray | Maps,
    workspace: DeviceArray | None,
    shape: ConvShape,
    tile: int,
    slices: int,
    norm_least: float,
) -> None:
    """y of conv_norm_forward; values that `table` normalizes are not below `norm_least`. `workspace` as in forward."""
    (x, x_row), (y, y_row) = lying(x), lying(y)
    whole = packable(shape.maps, x, w) and packable(shape.maps, table) and packable(x_row, x)
    made, parts = _made(y, workspace, slices)
    places = *numbers(shape, x_row), y_row, -inf, norm_least
    _launch(
        algorithm, "forward", shape, tile, slices, whole, x, table, w, b, made, parts, *places, fused="norm_"
    )  # fmt: skip
    add_up(parts, b, y, slices)


def norm_backward_weights(
    algorithm: str,
    x: DeviceArray | Maps,
    table: DeviceArray,
    dy: DeviceArray,
    dw: DeviceArray,
    workspace: DeviceArray | None,
    shape: ConvShape,
    tile: int,
    slices: int,
    accumulate: int,
    norm_least: float,
) -> None:
    """dw of conv_norm_backward_weights; `norm_least` as in norm_forward."""
    x, x_row = lying(x)
    whole = packable(shape.maps, x) and packable(x_row, x) and gradient_packable(shape, dy, None)
    parts = parts_of(dw, workspace, slices)
    added = accumulate if slices == 1 else 0
    places = *numbers(shape, x_row), norm_least
    _launch(
        algorithm, "backward_weights", shape, tile, slices, whole, x, table, dy, parts, added, *places, fused="norm_"
    )  # fmt: skip
    add_up(parts, None, dw, slices, accumulate)


def _launch(
    algorithm: str,
    pass_: str,
    shape: ConvShape,
    tile: int,
    slices: int,
    whole: bool,
    *arguments: DeviceArray | float | None,
    fused: str = "",
) -> None:
    """Begin one of the kernels of a pass, or of those with something `fused`; slices and stages come last."""
    known = TILES[tile] if whole else TILES[TILES[tile].scalars]
    file = f"{FILES[algorithm]}_{fused}{pass_}"
    kernel = f"{file}_{known.name}" + ("" if whole else "_scalars")
    first = arguments[0]
    assert isinstance(first, DeviceArray)
    notes = whole and fused == "norm_"
    deep = stages(first.driver.capability, known, notes=notes)
    grid, shared = blocks(pass_, shape, known) * slices, shared_bytes(known, deep, notes=notes)
    first.driver.launch(file, kernel, grid, known.threads, *arguments, slices, deep, real=first.dtype, shared=shared)


def _made(
    result: DeviceArray, workspace: DeviceArray | None, slices: int
) -> tuple[DeviceArray | None, DeviceArray | None]:
    """(where the results go, where those of the slices go): one of them."""
    return (result, None) if slices == 1 else (None, parts_of(result, workspace, slices))
