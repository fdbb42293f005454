"""A net as one HTML file that predicts in the browser: its plan, its weights and gpunet/browser/ joined.

The page is one more device: it makes the plan's arena and runs the plan's ops in it, which have the names and the
arguments that they have everywhere.
"""

import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from html import escape
from math import prod
from sys import float_info
from typing import Any, ClassVar, Literal

import numpy as np

from gpunet.devices.cpu.target import CpuTarget
from gpunet.errors import ConfigError
from gpunet.memory.plan import Plan, PlannedTensor
from gpunet.memory.size import format_bytes
from gpunet.net.net import Net
from gpunet.planning.planner import plan
from gpunet.program.algorithm import Algorithm, Fusions, Math, Pass
from gpunet.program.filters import ConvShape
from gpunet.program.program import Op, RunTime
from gpunet.system.resources import browser_modules, browser_style, browser_text
from gpunet.version import __version__

Bits = Literal[8, 32]
Weights = Mapping[str, np.ndarray]

PIECE_BYTES = 3 << 20
"""Of weights in one element of the page: a multiple of three, for base64. One text of all might be too long."""

STEPS = 127
"""From 0 to the largest weight of a filter in 8 bits."""

LEAST_WORK = 20
"""What a value that an op writes counts for beside its multiplications, where the page says how far it is."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'sha256-{digest}' blob: 'wasm-unsafe-eval'",
        "worker-src blob:",
        "style-src 'unsafe-inline'",
        "img-src blob: data:",
    )
)
"""What the page may load: nothing from outside."""


class BrowserTarget(CpuTarget):
    """The browser: no op is fused, and none is given scratch; they have little need of it, for one image at a time."""

    gathers_windows = False
    fusions: ClassVar[Fusions] = {}

    def conv_algorithm(
        self, pass_: Pass, shape: ConvShape, *, dtype: str, math: Math, scratch_limit_bytes: int
    ) -> Algorithm:
        return Algorithm("implicit")


def browser_plan(net: Net) -> Plan:
    """The plan of one image in the browser, whose ops know no maps of a wider volume.

    Raises ConfigError, naming all layers whose ops it does not have.
    """
    made = plan(net, 1, mode="infer", device=BrowserTarget(), tuned=False, without=("concat",))
    known = browser_ops()
    missing = [f"{op.layer} ({op.name})" for op in made.program.ops if op.name not in known]
    if missing:
        raise ConfigError(f"{net.name} has ops that are not there in the browser: {', '.join(missing)}")
    return made


def browser_ops() -> list[str]:
    """The names of the ops that the browser has."""
    text = "\n".join(text for name, text in browser_modules().items() if name.startswith("ops/"))
    return re.findall(r"^export function (\w+)\(", text, re.MULTILINE)


def in_bits(net: Net, weights: Weights, bits: Bits) -> dict[str, np.ndarray]:
    """The weights, float32, as a page of so many bits has them: in 8 bits each filter is a scale times -127 to 127."""
    return {
        name: _unpacked(*_packed(values, fan_in)) if bits == 8 and fan_in else values.astype(np.float32)
        for (name, fan_in), values in zip(_fan_ins(net).items(), _ordered(net, weights), strict=True)
    }


def page(
    net: Net,
    weights: Weights,
    classes: Sequence[str],
    *,
    white: int = 255,
    bits: Bits = 32,
    dark: bool = True,
) -> Iterator[bytes]:
    """The HTML file in pieces.

    `classes`  the names of all
    `white`    the value of white in the images that were learnt from
    `bits`     of a weight; in 8, filters have a scale each, and biases, normalizations and slopes stay float32
    `dark`     whether what is drawn is light on dark, at first

    Raises ConfigError as `browser_plan`.
    """
    made = browser_plan(net)
    content, packed = _packed_weights(net, weights) if bits == 8 else (_base_of_arena(made, weights), None)
    about = {
        "plan": _plan_as_json(made),
        "weights": {"bytes": len(content), "packed": packed and _numbered(made, packed)},
        "image": net.image.shape,
        "classes": list(classes),
        "white": white,
        "dark": dark,
        "draws": net.image.D == 1,
    }
    script = _script("page.js")
    title = escape(net.name)
    before, after = browser_text("page.html").split("{weights}")
    values = {
        "title": title,
        "about": escape(_about(net, bits)),
        "image": f"{net.image.H}x{net.image.W}, {'grey' if net.image.D == 1 else 'in colour'}",
        "footer": escape(f"Made by gpunet {__version__}; the net takes {format_bytes(made.arena_bytes)} here."),
        "style": browser_style("page.css"),
        "policy": POLICY.format(digest=b64encode(sha256(script.encode()).digest()).decode()),
        "net": json.dumps(about, separators=(",", ":")).replace("<", "\\u003c"),
        "worker": engine(),
        "script": script,
    }
    yield _filled(before, values)
    for start in range(0, len(content), PIECE_BYTES):
        piece = b64encode(content[start : start + PIECE_BYTES])
        yield b'<script type="text/plain" class="weights">' + piece + b"</script>\n"
    yield _filled(after, values)


def engine() -> str:
    """All that the worker runs, as one script: modules of gpunet/browser/ with the ops in one table."""
    table = f"const OPS = {{ {', '.join(browser_ops())} }};\n"
    return _script(*(name for name in browser_modules() if name.startswith("ops/")), "worker.js", more=table)


def _script(*names: str, more: str = "") -> str:
    """These modules and all that they import, joined: without the words that join modules, which one script has no use
    for. What is imported comes first."""
    modules, found = browser_modules(), dict[str, str]()

    def take(name: str) -> None:
        if name in found:
            return
        found[name] = ""
        for path in re.findall(r'^import \{[^}]*\} from "([^"]+)";$', modules[name], re.MULTILINE):
            take(path.rpartition("/")[2])
        text = re.sub(r'^import \{[^}]*\} from "[^"]+";\n', "", modules[name], flags=re.MULTILINE)
        del found[name]
        found[name] = re.sub(r"^export ", "", text, flags=re.MULTILINE)

    for name in names:
        take(name)
    return "\n".join(['"use strict";', *found.values(), more])


def _filled(template: str, values: Mapping[str, str]) -> bytes:
    return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], template).encode()


def _about(net: Net, bits: Bits) -> str:
    """The line under the title."""
    count = sum(prod(one.shape) for node in net.trunk for one in net.weights(node))
    return f"{net.classes:,} classes · {count:,} parameters in {bits} bits · images of {net.image}"


# -- the plan


def _plan_as_json(made: Plan) -> dict[str, Any]:
    places = _places(made)
    work = [op.flops + LEAST_WORK * sum(prod(tensor.shape) for tensor in op.outputs) for op in made.program.ops]
    return {
        "arena_bytes": made.arena_bytes,
        "tensors": [_tensor_as_json(planned) for planned in made.tensors],
        "ops": [_op_as_json(op, places, part / sum(work)) for op, part in zip(made.program.ops, work, strict=True)],
        "image": places[made.program.image_bytes.name],
        "scores": places[made.program.scores.name],
    }


def _places(made: Plan) -> dict[str, int]:
    """The numbers of the tensors, by name."""
    return {planned.name: number for number, planned in enumerate(made.tensors)}


def _tensor_as_json(planned: PlannedTensor) -> dict[str, Any]:
    return {"offset": planned.offset, "shape": planned.tensor.shape, "dtype": planned.tensor.dtype}


def _op_as_json(op: Op, places: Mapping[str, int], work: float) -> dict[str, Any]:
    """What is known only at run time matters in training alone."""
    numbers = {name: _number(value) for name, value in op.attributes.items() if not isinstance(value, RunTime)}
    return {
        "name": op.name,
        "layer": op.layer,
        "arguments": [None if tensor is None else places[tensor.name] for tensor in op.arguments],
        "numbers": numbers or None,
        "work": work,
    }


def _number(value: float | str) -> float | str:
    """Infinite limits, which JSON has no word for, become the largest number, which float32 does not reach."""
    return value if isinstance(value, str) else min(max(value, -float_info.max), float_info.max)


# -- the weights


def _fan_ins(net: Net) -> dict[str, int]:
    """By name of a parameter: weights of a filter; 0 of what has no filters."""
    return {f"{node.name}.{one.name}": one.fan_in for node in net.trunk for one in net.weights(node)}


def _ordered(net: Net, weights: Weights) -> Iterator[np.ndarray]:
    return (weights[name] for name in _fan_ins(net))


def _base_of_arena(made: Plan, weights: Weights) -> memoryview:
    """The beginning of the arena, in which the parameters lie."""
    planned = [one for one in made.tensors if one.kind.persistent]
    base = np.zeros(max((one.offset + one.nbytes for one in planned), default=0), np.uint8)
    for one in planned:
        base[one.offset :][: one.nbytes] = _bytes_of(weights[one.name], "<f4")
    return base.data


def _packed_weights(net: Net, weights: Weights) -> tuple[memoryview, list[tuple[str, int]]]:
    """The bytes, each array from a multiple of four on, and (name, filters) of each parameter, 0 for one in float32."""
    pieces, told = list[np.ndarray](), list[tuple[str, int]]()
    for name, fan_in in _fan_ins(net).items():
        if not fan_in:
            told.append((name, 0))
            pieces.append(_bytes_of(weights[name], "<f4"))
            continue
        scales, steps = _packed(weights[name], fan_in)
        told.append((name, len(scales)))
        pieces += [_bytes_of(scales, "<f4"), np.pad(_bytes_of(steps, "i1"), (0, -steps.size % 4))]
    return np.concatenate(pieces).data if pieces else memoryview(b""), told


def _numbered(made: Plan, packed: Sequence[tuple[str, int]]) -> list[dict[str, int]]:
    places = _places(made)
    return [{"tensor": places[name], "filters": filters} for name, filters in packed]


def _packed(values: np.ndarray, fan_in: int) -> tuple[np.ndarray, np.ndarray]:
    """The scale of each filter, float32, and its weights as whole numbers of it, int8 in the shape of `values`."""
    filters = values.reshape(-1, fan_in).astype(np.float32)
    most = np.abs(filters).max(axis=1)
    scales = np.where(most > 0, most / np.float32(STEPS), np.float32(1)).astype(np.float32)
    steps = np.rint(filters / scales[:, None]).astype(np.int8)
    return scales, steps.reshape(values.shape)


def _unpacked(scales: np.ndarray, steps: np.ndarray) -> np.ndarray:
    values: np.ndarray = steps.reshape(len(scales), -1).astype(np.float32) * scales[:, None]
    return values.reshape(steps.shape)


def _bytes_of(values: np.ndarray, dtype: str) -> np.ndarray:
    return np.ascontiguousarray(values, dtype).reshape(-1).view(np.uint8)
