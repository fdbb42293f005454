"""The notes' rules of thumb, each with the numbers of the net at hand.

Source: CS231n "Layer Patterns", "Layer Sizing Patterns" and "Case studies". Nets that won prizes break them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod

from gpunet.description.facts import LayerFacts
from gpunet.layers.conv import Conv
from gpunet.layers.dropout import Dropout
from gpunet.layers.elementwise import Elementwise
from gpunet.layers.fc import FC
from gpunet.layers.layer import Layer
from gpunet.layers.merge import Add
from gpunet.layers.window import Pool
from gpunet.memory.size import format_bytes
from gpunet.net.net import Net
from gpunet.program.field import Window
from gpunet.program.volume import Volume

MANY = 10**6
"""Values of an image, or parameters, from which on it is worth a word where they are."""


@dataclass(frozen=True, slots=True)
class Hint:
    """A rule of thumb that a net does not keep, or that explains its cost: the rule's name and the numbers in words."""

    rule: str
    text: str


def hints(net: Net, layers: Sequence[LayerFacts]) -> tuple[Hint, ...]:
    """What the rules of thumb have to say, rule by rule."""
    return tuple(Hint(rule, text) for rule, told in RULES.items() for text in told(net, layers))


def large_filters(net: Net, layers: Sequence[LayerFacts]) -> Iterator[str]:
    """Three 3x3 see as much as a 7x7, with 27*C*C weights instead of 49*C*C and two more non-linearities."""
    for one in layers:
        F = one.windows[0].F
        count = (F - 1) // 2
        if not isinstance(one.layer, Conv) or not _slides(one) or F % 2 == 0 or count < 2:
            continue
        D, K = one.inputs[0].D, one.volume.D
        depth = one.layer.weights(one.inputs[0])[0].shape[-1]  # less than D where filters come in groups
        weights = K * F * F * depth
        stacked = 9 * K * (depth + (count - 1) * K * depth // D)
        if stacked < weights:
            once, stacks = (f" ({F * F}*C*C)", f" ({9 * count}*C*C)") if depth == D == K else ("", "")
            more = _more(count - 1, "volume")
            yield (
                f"{one.name}: {F}x{F} filters take {weights:,} weights{once}; {count} layers of 3x3 see as much with "
                f"{stacked:,}{stacks} and a RELU behind each, but backward keeps {more} of {one.volume}"
            )


def misfits(net: Net, layers: Sequence[LayerFacts]) -> Iterator[str]:
    """A stride that does not fit: what is dropped or added."""
    for one in layers:
        told = [
            _misfit(window, size, outputs, word)
            for window, size, outputs, word in zip(
                one.windows, _extents(one.inputs[0]), _extents(one.volume), ("rows", "columns"), strict=True
            )
        ]
        told = [words for words in told if words]
        if told:
            rows = one.windows[0]
            where = f"{one.name}: F={rows.F}, S={rows.S} does not fit {_face(one.inputs[0])}"
            yield f"{where}: it {' and '.join(told)}"


def _misfit(window: Window, size: int, outputs: int, word: str) -> str:
    """What happens at the end of an axis, or "" where the windows fit."""
    left = window.left_over(size, outputs)
    unseen = max(0, left - window.after)
    if left < 0:
        return f"hangs {-left} over the end of the {size} {word}"
    if unseen:
        return f"never sees the last {unseen} of {size} {word}"
    return f"leaves {left} of {window.after} {word} of padding at the end unused" if left else ""


def divisibility(net: Net, layers: Sequence[LayerFacts]) -> Iterator[str]:
    """The input should be divisible by 2 many times: as often as it is halved, where nothing else changes the size."""
    halvings = [
        one
        for one in layers
        if one.windows[0].S > 1 and one.windows[0].extent <= one.windows[0].S and one.windows[0].before == 0
    ]
    totals = [max(one.rows.stride for one in layers), max(one.columns.stride for one in layers)]
    odd = [one for one in halvings if any(size % one.windows[0].S for size in _extents(one.inputs[0]))]
    if not odd or any(one.windows[0].S == 1 and _face(one.inputs[0]) != _face(one.volume) for one in _maps(layers)):
        return
    sizes = " -> ".join([_face(net.input), *(_face(one.volume) for one in halvings)])
    near = [_nearest(size, total) for size, total in zip(_extents(net.input), totals, strict=True)]
    fitting = " or ".join(dict.fromkeys("x".join(map(str, pair)) for pair in zip(*near, strict=True)))
    by = " and ".join(dict.fromkeys(map(str, totals)))
    yield f"the strides divide {_face(net.input)} by {by}, which it is not divisible by: {sizes}; use {fitting}"


def _nearest(size: int, step: int) -> list[int]:
    """The multiples of `step` around a size; the one above twice where there is none below."""
    above = -(-size // step) * step
    return [size // step * step or above, above]


def missing_padding(net: Net, layers: Sequence[LayerFacts]) -> Iterator[str]:
    """CONVs that do not keep the size wash the borders away, and sizes must be kept track of."""
    for one in layers:
        rows, columns = one.windows
        lost = [size - left for size, left in zip(_extents(one.inputs[0]), _extents(one.volume), strict=True)]
        if isinstance(one.layer, Conv) and rows.S == columns.S == 1 and _face(one.volume) != "1x1" and max(lost) > 0:
            odd = rows.extent % 2 == columns.extent % 2 == 1
            needed = dict.fromkeys(window.extent // 2 for window in (rows, columns))
            keeps = f"P={' and '.join(map(str, needed))} keeps" if odd else "an odd F can keep"
            yield (
                f"{one.name}: too little padding makes {_face(one.inputs[0])} into {_face(one.volume)}, "
                f"{1 - prod(_extents(one.volume)) / prod(_extents(one.inputs[0])):.0%} of the positions less; "
                f"{keeps} the size and what is at the borders"
            )


def large_pools(net: Net, layers: Sequence[LayerFacts]) -> Iterator[str]:
    """Pooling over more than 3x3 is too lossy."""
    for one in layers:
        if isinstance(one.layer, Pool) and one.windows[0].F > 3 and _face(one.volume) != "1x1":
            kept = prod(_extents(one.volume)) / prod(_extents(one.inputs[0]))
            F, S = one.windows[0].F, one.windows[0].S
            yield (
                f"{one.name}: F={F}, S={S} drops {1 - kept:.0%} of the activations, F=2, S=2 drops 75%; over more than "
                "3x3 pooling is too lossy"
            )


def early_memory(net: Net, layers: Sequence[LayerFacts]) -> Iterator[str]:
    """Most memory is in the first CONVs: values for backward, and as many gradients."""
    kept = [one for one in layers if not _in_place(one.layer)]
    total = net.input.values + sum(one.volume.values for one in kept)
    sums = list(accumulate([one.volume.values for one in kept], initial=net.input.values))
    number = next(number for number, so_far in enumerate(sums) if 2 * so_far > total)
    if total < MANY or not 0 < number <= len(kept) / 2:
        return
    strided = layers[0].windows[0].S > 1
    advice = "" if strided else "; where memory is short, a first CONV of F=7, S=2 or F=11, S=4 makes them fewer"
    yield (
        f"the input and the first {number} of {len(kept)} volumes, up to {kept[number - 1].name}, hold "
        f"{sums[number] / total:.0%} of the {total:,} values of an image: {format_bytes(4 * sums[number])} in float32 "
        f"and as much for their gradients{advice}"
    )


def _in_place(layer: Layer) -> bool:
    """Whether a layer writes its output over what it takes."""
    return isinstance(layer, Dropout | Add) or (isinstance(layer, Elementwise) and layer.needs == "y")


def heavy_fc(net: Net, layers: Sequence[LayerFacts]) -> Iterator[str]:
    """Most parameters are in the first FC; the average of each map in its place does without most of them."""
    for one in layers:
        maps = one.inputs[0]
        if isinstance(one.layer, FC) and maps.H * maps.W > 1 and MANY <= one.parameters > net.parameters / 2:
            yield (
                f"{one.name}: {one.parameters:,} of the {net.parameters:,} parameters are in this FC on {maps}; on the "
                f"averages of its {maps.D} maps (GAP) it would have {(maps.D + 1) * one.volume.D:,}"
            )


RULES: dict[str, Callable[[Net, Sequence[LayerFacts]], Iterator[str]]] = {
    "large filters": large_filters,
    "fit": misfits,
    "divisible by 2": divisibility,
    "padding": missing_padding,
    "large pools": large_pools,
    "early memory": early_memory,
    "heavy FC": heavy_fc,
}
"""By name, in the order in which they are told."""


def _slides(one: LayerFacts) -> bool:
    """Whether its windows are dense squares that slide one by one, and over more than one position."""
    rows, columns = one.windows
    dense = rows.S == columns.S == rows.dilation == columns.dilation == 1
    return dense and rows.F == columns.F and _face(one.volume) != "1x1"


def _maps(layers: Sequence[LayerFacts]) -> list[LayerFacts]:
    """Those that make more than one position of each map."""
    return [one for one in layers if _face(one.volume) != "1x1"]


def _more(count: int, word: str) -> str:
    return f"{count} more {word}" + ("s" if count > 1 else "")


def _extents(volume: Volume) -> tuple[int, int]:
    return volume.H, volume.W


def _face(volume: Volume) -> str:
    return f"{volume.H}x{volume.W}"
