"""Switches of pooling on the CPU, a block at a time: a byte for each while they are made and read, however they lie."""

import numpy as np

from gpunet.program.switches import are_halved

__all__: tuple[str, ...] = ()  # no ops here

PAIRS = np.dtype("<u2")
"""Two neighbouring bytes, the first in the lower half, on any machine."""


def apart(switches: np.ndarray, maps: int) -> np.ndarray:
    """A number for each of `maps`: the switches themselves, or what they hold two a byte."""
    if not are_halved(switches.shape, (maps,)):
        return switches
    pairs = switches.astype(PAIRS, order="C")
    np.bitwise_or(pairs, pairs << 4, out=pairs)
    np.bitwise_and(pairs, 0x0F0F, out=pairs)
    return pairs.view(np.uint8)[..., :maps]


def room(switches: np.ndarray, maps: int) -> np.ndarray:
    """Where a number for each of `maps` can be made: the switches themselves, or bytes that `together` brings there."""
    return np.empty((*switches.shape[:-1], maps), np.uint8) if are_halved(switches.shape, (maps,)) else switches


def together(where: np.ndarray, switches: np.ndarray) -> None:
    """switches = `where`, two numbers a byte where they lie so; `where` is not to be used any more."""
    maps = where.shape[-1]
    if not are_halved(switches.shape, (maps,)):
        if where is not switches:
            switches[...] = where
        return
    if maps % 2:
        where = np.concatenate([where, np.zeros((*where.shape[:-1], 1), np.uint8)], axis=-1)
    pairs = where.view(PAIRS)
    np.bitwise_or(pairs, pairs >> 4, out=pairs)
    np.copyto(switches, pairs, casting="unsafe")  # the lower byte
