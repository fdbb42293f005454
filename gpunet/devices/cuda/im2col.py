"""Launches of im2col and col2im, cuda/conv.cu."""

from gpunet.devices.cuda.division import magic

__all__: tuple[str, ...] = ()  # no ops here


def im2col_numbers(*numbers: int) -> tuple[int, ...]:
    """All numbers of the kernel: those given, H up to rows, and the magics behind them."""
    _, _, _, W2, F_rows, F_columns, *_, maps, _, _, _, rows = numbers
    return *numbers, *map(magic, (F_columns * maps, F_rows, maps, W2, rows))


def col2im_numbers(*numbers: int) -> tuple[int, ...]:
    """All numbers of the kernel: those given, H up to last, and the magics behind them."""
    _, W, _, _, _, _, S_rows, S_columns, _, _, *dilation, _, maps, _, _, _, _, first, _, last = numbers
    return *numbers, *map(magic, (W, S_rows, S_columns, *dilation, maps, last - first))
