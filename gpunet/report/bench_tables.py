"""Times of nets and layers in the form of convnet-benchmarks: a Markdown table for each net, one for the layers."""

from collections.abc import Sequence
from typing import Any

from gpunet.bench.cases import LAYERS
from gpunet.bench.measure import Times
from gpunet.bench.published import LAYERS as PUBLISHED_LAYERS
from gpunet.bench.published import NETS, Published
from gpunet.memory.size import format_bytes
from gpunet.report.figures import NOTHING, number
from gpunet.version import __version__

HEADINGS = ["Library", "Time (ms)", "forward (ms)", "backward (ms)"]
"""Those of convnet-benchmarks."""

PUBLISHED = "published: convnet-benchmarks' own figures, of another machine and of 2015 and 2016."


def bench_lines(times: Sequence[Times], machine: str, *, published: bool = False) -> list[str]:
    """All tables, ready to show; `machine`: in words. `published`: with what convnet-benchmarks has, marked as such."""
    layers = [one for one in times if one.case.name in LAYERS]
    blocks = [net_table(one, published=published) for one in times if one not in layers]
    blocks += [layer_table(layers, published=published)] if layers else []
    blocks += [[PUBLISHED]] if published else []
    return [f"gpunet {__version__}, float32, on {machine}", *(line for block in blocks for line in ("", *block))]


def net_table(one: Times, *, published: bool = False) -> list[str]:
    """A net: total, forward and backward milliseconds of a batch, what they come to, and memory."""
    case = one.case
    headings = [*HEADINGS, "inputs (ms)", "weights (ms)", "GFLOP/s", "arena", *(["error"] if one.check else [])]
    gradients = (one.ms["backward_inputs"], one.ms["backward_weights"])
    times = map(number, (one.total_ms, one.forward_ms, one.backward_ms, *gradients, one.gflop_per_s))
    rows = [["gpunet", *times, format_bytes(one.arena_bytes), *_error(one)]]
    blanks = [NOTHING] * (len(headings) - len(HEADINGS))
    rows += [[*_published(other), *blanks] for other in (NETS.get(case.name, ()) if published else ())]
    return [f"### {case.name}: {case.net.input}, {_images(one)}", "", *markdown(headings, rows)]


def layer_table(layers: Sequence[Times], *, published: bool = False) -> list[str]:
    """The layers side by side, each pass a row, and their sums."""
    passes = {
        "Time (ms)": [one.total_ms for one in layers],
        "forward (ms)": [one.forward_ms for one in layers],
        "backward (ms)": [one.backward_ms for one in layers],
        "inputs (ms)": [one.ms["backward_inputs"] for one in layers],
        "weights (ms)": [one.ms["backward_weights"] for one in layers],
    }
    rows = [[name, *map(number, ms), number(sum(ms))] for name, ms in passes.items()]
    rows.append(["GFLOP/s", *(number(one.gflop_per_s) for one in layers), NOTHING])
    if errors := [cell for one in layers for cell in _error(one)]:
        rows.append(["error", *errors, NOTHING])
    lines = ["### layers", "", *(f"- {_layer(one)}" for one in layers), ""]
    lines += markdown(["gpunet", *(one.case.name for one in layers), "all"], rows)
    if published and len(layers) == len(LAYERS):
        lines += ["", *markdown(HEADINGS, [_published(other) for other in PUBLISHED_LAYERS])]
    return lines


def bench_json(times: Sequence[Times], device: str, hardware: str | None, *, steps: int, dry: int) -> dict[str, Any]:
    """All of it as plain values: milliseconds, bytes, and operations of matrix products."""
    return {
        "gpunet": __version__,
        "device": device,
        "hardware": hardware,
        "dtype": "float32",
        "steps": steps,
        "dry": dry,
        "cases": [_case(one) for one in times],
    }


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of Markdown whose source reads as one: the first column to the left, figures to the right."""
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return f"| {' | '.join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])} |"

    rule = f"|:{'-' * (widths[0] + 1)}|{'|'.join('-' * (width + 1) + ':' for width in widths[1:])}|"
    return [line(headings), rule, *map(line, rows)]


def _layer(one: Times) -> str:
    """A layer as people say it: input, filters, batch."""
    volume, K, F = LAYERS[one.case.name]
    return f"{one.case.name}: {volume}, {K} filters of {F}x{F}, {_images(one)}"


def _images(one: Times) -> str:
    return f"{one.case.batch} image{'' if one.case.batch == 1 else 's'}"


def _error(one: Times) -> list[str]:
    return [f"{one.check.error:.1e}"] if one.check else []


def _published(other: Published) -> list[str]:
    times = (other.total_ms, other.forward_ms, other.backward_ms)
    return [f"{other.library} (published)", *(f"{ms:,.0f}" for ms in times)]


def _case(one: Times) -> dict[str, Any]:
    return {
        "name": one.case.name,
        "input": list(one.case.net.input.shape),
        "batch": one.case.batch,
        "total_ms": one.total_ms,
        "forward_ms": one.forward_ms,
        "backward_ms": one.backward_ms,
        "backward_inputs_ms": one.ms["backward_inputs"],
        "backward_weights_ms": one.ms["backward_weights"],
        "input_gradient": one.case.input_gradient,
        "flops": one.flops,
        "gflop_per_s": one.gflop_per_s,
        "arena_bytes": one.arena_bytes,
        "passes_bytes": one.passes_bytes,
        "error": one.check.error if one.check else None,
        "worst": one.check.where if one.check else None,
    }
