"""Where a training step spends its time: milliseconds of every op, and of the convolutions beside cuDNN's."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np

from gpunet.layers.conv import Conv
from gpunet.model.model import Model
from gpunet.net.net import Net, Node
from gpunet.planning.planner import plan
from gpunet.profile.steps import op_times, random_batch, timed_calls
from gpunet.program.volume import pair, sides, size_text

from .nets import LEARNING_RATE, Case, as_floats
from .peer import set_tf32
from .setting import Setting
from .table import Table, number
from .timing import HOST_NOTE, medians, race, shown_ms

TITLE = "time by layer"
SECONDS = 75
NEEDS = ("cupy",)

CASES = (Case("vgg_cifar", 64), Case("vgg16", 64, large=True), Case("resnet50", 32, large=True))
STEPS = 10
TOP = 15

PASSES = ("forward", "dw", "dx")

PEER_OPS = {
    "conv_forward": "forward",
    "conv_relu_forward": "forward",
    "conv_pool_forward": "forward",
    "conv_backward_weights": "dw",
    "conv_pool_backward_weights": "dw",
    "conv_backward_input": "dx",
    "conv_pool_backward_input": "dx",
    "conv_relu_backward_input": "dx",
    "conv_pool_relu_backward_input": "dx",
}
"""What is timed beside cuDNN's; where an op does the work of ReLU or a pool, too, that counts against it."""


def run(setting: Setting, cases: Sequence[Case] = CASES, steps: int = STEPS, peer_seconds: float = 0.15) -> None:
    """Time the ops of each case that there is room for."""
    for case in cases:
        if setting.quick and case.large:
            setting.findings.skip(f"{case.name}: left out of a quick run")
            continue
        net = case.load()
        if not setting.goes(case.name, plan(net, case.batch, device=setting.device.name).arena_bytes):
            continue
        ops = measure(setting, net, case.batch, steps)
        row: dict[str, Any] = {"case": case.name, "batch": case.batch, "ops": ops}
        row["step_ms"] = sum(op["ms"] for op in ops)
        row["peer_conv_ms"] = peer_convolutions(setting, net, case.batch, peer_seconds)
        setting.findings.append("cases", row)


def measure(setting: Setting, net: Net, batch: int, steps: int) -> list[dict[str, Any]]:
    """The median milliseconds of every op of a training step on float images, in order, and the host's to ask for it.

    What runs in rounds counts with the sum of its rounds, and ops of one name in one layer count together.
    """
    images, labels = random_batch(net, batch)
    images = as_floats(net, images)
    with Model(net, batch, setting.device, learning_rate=LEARNING_RATE) as model:
        taken = [timed_calls(model, setting.clock, images, labels) for _ in range(steps + 2)]
        times = op_times(model, taken[2:], batch)  # the first ones compile kernels and wake libraries up
        asking = _asking_ms(model, images, labels)
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for time in times:
        op = time.op
        row: dict[str, Any] = {"layer": op.layer, "op": op.name, "phase": op.phase, "ms": 0.0, "host_ms": 0.0}
        row = found.setdefault((op.layer, op.name, op.phase), row)
        row["ms"] += time.ms
        row["host_ms"] += asking[id(op)]
    return list(found.values())


def _asking_ms(model: Model, images: np.ndarray, labels: np.ndarray) -> dict[int, float]:
    """Milliseconds in which the host asks for each op of a step, by the op's id, while the device does as it can."""
    taken: dict[int, float] = {}
    for op, call in model.calls(images, labels):
        first = perf_counter()
        call()
        taken[id(op)] = taken.get(id(op), 0.0) + (perf_counter() - first) * 1e3
    return taken


def peer_convolutions(setting: Setting, net: Net, batch: int, seconds: float) -> dict[str, dict[str, float]]:
    """{layer: {"forward", "dw", "dx": milliseconds}} of PyTorch's convolutions; empty where it is not installed."""
    try:
        import torch
    except ImportError:
        setting.findings.skip(f"{net.name}: no convolutions to compare with, PyTorch is not installed")
        return {}
    set_tf32(False)
    torch.backends.cudnn.benchmark = True
    found: dict[str, dict[str, float]] = {}
    for node in net.nodes:
        if not isinstance(node.layer, Conv):
            continue
        (volume,) = net.inputs(node)
        if (why := _no_peer(node.layer)) is not None:
            setting.findings.skip(f"{node.name} of {net.name}: {why}")
            continue
        room = 4 * 4 * batch * (volume.values + net.volumes[node.name].values)
        if setting.goes(f"{node.name} of PyTorch", room):
            found[node.name] = _peer_convolution(setting, net, node, batch, seconds)
    if setting.peer == "cuda":
        torch.cuda.empty_cache()
    return found


def _peer_convolution(setting: Setting, net: Net, node: Node, batch: int, seconds: float) -> dict[str, float]:
    """One convolution of PyTorch, forward and its two gradients, each on its own."""
    import torch

    layer = node.layer
    assert isinstance(layer, Conv)
    (volume,), output = net.inputs(node), net.volumes[node.name]
    x = torch.randn(batch, volume.D, volume.H, volume.W, device=setting.peer)
    dy = torch.randn(batch, output.D, output.H, output.W, device=setting.peer)
    shape = layer.K, volume.D // layer.groups, *pair(layer.F)
    w, b = torch.randn(shape, device=setting.peer), torch.randn(layer.K, device=setting.peer) if layer.bias else None
    numbers = _torch_numbers(layer)
    backward = torch.ops.aten.convolution_backward
    stride, padding, dilation = (list(numbers[name]) for name in ("stride", "padding", "dilation"))
    fixed = ([layer.K], stride, padding, dilation, False, [0, 0], layer.groups)
    contenders = {
        "forward": lambda: torch.nn.functional.conv2d(x, w, b, **numbers),
        "dw": lambda: backward(dy, x, w, *fixed, [False, True, False]),
        "dx": lambda: backward(dy, x, w, *fixed, [True, False, False]),
    }
    if "input" in node.inputs:
        del contenders["dx"]  # images need no gradient
    clock = setting.peer_clock
    return medians(race({name: (clock, call) for name, call in contenders.items()}, seconds=seconds))


def _no_peer(layer: Conv) -> str | None:
    """Why PyTorch's op cannot be what a layer is, or None."""
    top, bottom, left, right = sides(layer.padding)
    if (top, left) != (bottom, right):
        return f"P={size_text(layer.padding)} pads opposite sides differently, which has no peer"
    return None


def _torch_numbers(layer: Conv) -> dict[str, Any]:
    """What PyTorch's convolutions call the numbers of a layer."""
    top, _, left, _ = sides(layer.padding)
    numbers = {"stride": pair(layer.S), "padding": (top, left), "dilation": pair(layer.dilation)}
    return {**numbers, "groups": layer.groups}


def tables(values: dict[str, Any]) -> list[Table]:
    found = []
    for case in values.get("cases", ()):
        found += [_top(case), _by_op(case)]
        if case["peer_conv_ms"]:
            found.append(_convolutions(case))
    return found


def _top(case: dict[str, Any]) -> Table:
    """The ops that take longest."""
    ops = sorted(case["ops"], key=lambda op: -op["ms"])[:TOP]
    lines = [
        (op["layer"], op["op"], shown_ms(op["ms"], op["host_ms"]), f"{op['ms'] / case['step_ms']:.1%}") for op in ops
    ]
    title = f"{case['case']}: the {len(lines)} ops that take longest of {number(case['step_ms'])} ms"
    return Table(title, ("layer", "op", "ms", "share"), lines, (HOST_NOTE,), left=2)


def _by_op(case: dict[str, Any]) -> Table:
    """The sum over all layers, by op."""
    totals: dict[str, float] = {}
    for op in case["ops"]:
        totals[op["op"]] = totals.get(op["op"], 0.0) + op["ms"]
    ranked = sorted(totals.items(), key=lambda item: -item[1])
    lines = [(name, number(ms), f"{ms / case['step_ms']:.1%}") for name, ms in ranked]
    return Table(f"{case['case']}: by op", ("op", "ms", "share"), lines)


def _convolutions(case: dict[str, Any]) -> Table:
    """Forward, dw and dx of each convolution on both sides, and of all."""
    ours: dict[tuple[str, str], float] = {}
    for op in case["ops"]:
        if op["op"] in PEER_OPS:
            key = op["layer"], PEER_OPS[op["op"]]
            ours[key] = ours.get(key, 0.0) + op["ms"]
    lines = []
    for layer, peers in [*case["peer_conv_ms"].items()]:
        cells = [f"{number(ours[layer, what])} / {number(peers[what])}" if what in peers else "-" for what in PASSES]
        ratio = sum(peers.values()) / sum(ours[layer, what] for what in peers)
        lines.append((layer, *cells, f"{ratio:.2f}"))
    total = sum(sum(peers.values()) for peers in case["peer_conv_ms"].values())
    own = sum(ours[layer, what] for layer, peers in case["peer_conv_ms"].items() for what in peers)
    lines.append(("all", "", "", f"{number(own)} / {number(total)}", f"{total / own:.2f}"))
    columns = ("convolution", *(f"{what}: gpunet / PyTorch ms" for what in PASSES), "ratio")
    return Table(f"{case['case']}: convolutions beside cuDNN, float32 without TF32", columns, lines)
