"""The kernels that are timed, at the sizes that VGG-16 has them, each with what PyTorch does in its place."""

from collections.abc import Iterator, Mapping
from functools import partial
from math import prod
from typing import Any

from gpunet.compile.lower import BLOCK_VALUES, CHOICES
from gpunet.devices.cuda.bias import add_bias
from gpunet.devices.cuda.im2col import col2im_numbers, im2col_numbers
from gpunet.devices.cuda.launch import launch
from gpunet.layers.bias import BLOCK_ROWS
from gpunet.optimize.optimizers import Adam, Momentum, Optimizer
from gpunet.program.program import Now
from gpunet.program.switches import switches_like

from .kernel import Kernel, Sizes, Spec, nbytes_of
from .timing import Call

F, S, P = 3, 1, 1
"""VGG's windows."""


def kernels(sizes: Sizes) -> Iterator[Kernel]:
    """Every case, in the order of a training step."""
    yield image(sizes)
    yield augment(sizes)
    yield im2col(sizes)
    yield bias(sizes)
    yield relu(sizes)
    yield relu_backward(sizes)
    yield add_relu_backward(sizes)
    yield norm_relu(sizes)
    yield norm_relu_backward(sizes)
    yield pool(sizes)
    yield pool_backward(sizes)
    yield softmax(sizes)
    yield bias_backward(sizes)
    yield col2im(sizes)
    yield clip_by_norm(sizes)
    yield momentum(sizes)
    yield adam(sizes)


def image(sizes: Sizes) -> Kernel:
    shape = (8 * sizes.N, sizes.side, sizes.side, 3)  # eight batches, so that the cache does not hold them
    return Kernel(
        "image_to_float",
        {"x": (shape, "uint8")},
        {"y": (shape, "float32")},
        lambda ops, t: ops["image_to_float"](t["x"], t["y"], scale=1 / 255, shift=0.0),
        lambda torch, t: {"mul": lambda: torch.mul(t["x"], 1 / 255)},
        "y",
        5 * prod(shape),
    )


def relu(sizes: Sizes) -> Kernel:
    x = _maps(sizes)
    return Kernel(
        "relu_forward, in place",
        {"x": x},
        {},
        lambda ops, t: ops["relu_forward"](t["x"], t["x"]),
        lambda torch, t: {"relu_": lambda: torch.relu_(t["x"])},
        "x",
        2 * nbytes_of(x),
    )


def relu_backward(sizes: Sizes) -> Kernel:
    x = _maps(sizes)
    return Kernel(
        "relu_backward",
        {"dy": x, "y": x},
        {"dx": x},
        lambda ops, t: ops["relu_backward"](t["dy"], t["y"], t["dx"]),
        lambda torch, t: {"threshold_backward": lambda: torch.ops.aten.threshold_backward(t["dy"], t["y"], 0)},
        "dx",
        3 * nbytes_of(x),
    )


def add_relu_backward(sizes: Sizes) -> Kernel:
    x = _maps(sizes)

    def peers(torch: Any, t: Mapping[str, Any]) -> dict[str, Call]:
        slope = torch.ops.aten.threshold_backward
        return {"add, threshold_backward": lambda: slope(t["a"] + t["b"], t["y"], 0)}

    def call(ops: Mapping[str, Any], t: Mapping[str, Any]) -> None:
        ops["add_relu_backward"](t["a"], t["b"], t["y"], t["dx"])

    return Kernel("add_relu_backward", {"a": x, "b": x, "y": x}, {"dx": x}, call, peers, "dx", 4 * nbytes_of(x))


def norm_relu(sizes: Sizes) -> Kernel:
    """Statistics, then all that a residual block ends in: normalize, add, ReLU."""
    x, inputs, scratch = _normed(sizes)

    def call(ops: Mapping[str, Any], t: Mapping[str, Any]) -> None:
        found = t["mean"], t["variance"]
        running, numbers = (t["scale"], t["shift"]), {"block_rows": BLOCK_ROWS, "training": 1}
        ops["batch_norm_statistics"](t["x"], *running, t["counters"], *found, t["partials"], **numbers)
        ops["batch_norm_relu_forward"](t["x"], *found, t["scale"], t["shift"], t["z"], t["y"], eps=1e-5)

    def peers(torch: Any, t: Mapping[str, Any]) -> dict[str, Call]:
        def forward(x: Any, z: Any) -> Any:
            scale, shift, norm = t["scale"], t["shift"], torch.nn.functional.batch_norm
            return torch.relu(norm(x, None, None, scale, shift, training=True) + z)

        pairs = zip(_layouts(t["x"]), _layouts(t["z"]), strict=True)
        return {name: partial(forward, x, z) for (name, x), (_, z) in pairs}

    outputs = {"y": x, **scratch}
    given = {"counters": [0]}
    nbytes = 4 * nbytes_of(x)
    return Kernel("batch_norm_relu", {**inputs, "z": x}, outputs, call, peers, "y", nbytes, _to_nhwc, given=given)


def norm_relu_backward(sizes: Sizes) -> Kernel:
    """The gradients of scale and shift, then that of the input, of a map whose mean is 0 and variance 1."""
    x, inputs, scratch = _normed(sizes)
    each = {name: inputs.pop(name) for name in ("scale", "shift")}

    def call(ops: Mapping[str, Any], t: Mapping[str, Any]) -> None:
        given = t["dy"], t["x"], t["mean"], t["variance"], t["scale"], t["shift"]
        sums = t["dscale"], t["dshift"]
        numbers = {"block_rows": BLOCK_ROWS, "eps": 1e-5}
        ops["batch_norm_relu_backward_sums"](*given, t["counters"], *sums, t["partials"], **numbers)
        ops["batch_norm_relu_backward"](*given, *sums, t["dx"], eps=1e-5)

    def peers(torch: Any, t: Mapping[str, Any]) -> dict[str, Call]:
        norm, slope = torch.ops.aten.native_batch_norm_backward, torch.ops.aten.threshold_backward
        mean, inverse = t["mean"], (t["variance"] + 1e-5).rsqrt()

        def backward(dy: Any, x: Any) -> Any:
            wide = [value.view(1, -1, 1, 1) for value in (mean, inverse, t["scale"], t["shift"])]
            y = (x - wide[0]) * wide[1] * wide[2] + wide[3]
            above = slope(dy, y, 0)
            return norm(above, x, t["scale"], None, None, mean, inverse, True, 1e-5, [True, True, True])[0]

        pairs = zip(_layouts(t["dy"]), _layouts(t["x"]), strict=True)
        return {name: partial(backward, dy, x) for (name, dy), (_, x) in pairs}

    D = ((sizes.D,), "float32")
    del scratch["mean"], scratch["variance"]
    return Kernel(
        "batch_norm_relu_backward",
        {"dy": x, **inputs, **each, "mean": D, "variance": D},
        {"dx": x, "dscale": D, "dshift": D, **scratch},
        call,
        peers,
        "dx",
        5 * nbytes_of(x),
        _to_nhwc,
        given={"counters": [0], "mean": [0.0], "variance": [1.0]},
    )


def _normed(sizes: Sizes) -> tuple[Spec, dict[str, Spec], dict[str, Spec]]:
    """x; it and what normalization takes beside; what it makes on the way."""
    x, D = _maps(sizes), ((sizes.D,), "float32")
    partials = ((2 * -(-prod(x[0][:3]) // BLOCK_ROWS), sizes.D), "float32")
    counters = ((-(-sizes.D // 8),), "int32")
    return x, {"x": x, "scale": D, "shift": D, "counters": counters}, {"mean": D, "variance": D, "partials": partials}


def _switches(y: Spec) -> Spec:
    """Of windows of 2 x 2, as they lie in plans."""
    shape, dtype = switches_like(y[0], 4)
    return shape, dtype


def pool(sizes: Sizes) -> Kernel:
    x, y = _maps(sizes), _pooled(sizes)

    def peers(torch: Any, t: Mapping[str, Any]) -> dict[str, Call]:
        def forward(x: Any) -> Any:
            return torch.nn.functional.max_pool2d(x, 2, return_indices=True)[0]

        return {name: partial(forward, x) for name, x in _layouts(t["x"])}

    return Kernel(
        "max_pool_forward",
        {"x": x},
        {"y": y, "switches": _switches(y)},
        lambda ops, t: ops["max_pool_forward"](t["x"], t["y"], t["switches"], F=2, S=2, P=0),
        peers,
        "y",
        nbytes_of(x) + nbytes_of(y) + nbytes_of(_switches(y)),
        _to_nhwc,
    )


def pool_backward(sizes: Sizes) -> Kernel:
    x, y = _maps(sizes), _pooled(sizes)

    def peers(torch: Any, t: Mapping[str, Any]) -> dict[str, Call]:
        backward = torch.ops.aten.max_pool2d_with_indices_backward
        calls: dict[str, Call] = {}
        for name, dy in _layouts(t["dy"]):
            (N, D, H2, W2), like = dy.shape, {"device": dy.device}
            x = torch.empty((N, D, 2 * H2, 2 * W2), **like).contiguous(memory_format=_format(torch, dy))
            both = torch.stack([t["switches"] % 16, t["switches"] // 16], dim=-1).flatten(-2)  # two maps a byte
            switch = both[..., :D].permute(0, 3, 1, 2).long()
            row, column = (torch.arange(H2, **like) * 2).view(-1, 1), torch.arange(W2, **like) * 2
            indices = (row + switch // 2) * 2 * W2 + column + switch % 2  # PyTorch counts positions in the whole map
            indices = indices.contiguous(memory_format=_format(torch, dy))
            calls[name] = partial(backward, dy, x, [2, 2], [2, 2], [0, 0], [1, 1], False, indices)
        return calls

    return Kernel(
        "max_pool_backward",
        {"dy": y, "switches": _switches(y)},
        {"dx": x},
        lambda ops, t: ops["max_pool_backward"](t["dy"], t["switches"], t["dx"], F=2, S=2, P=0),
        peers,
        "dx",
        nbytes_of(x) + nbytes_of(y) + nbytes_of(_switches(y)),
        _to_nhwc,
        below=4,
    )


def im2col(sizes: Sizes) -> Kernel:
    x, columns = _unfolded(sizes)
    (n, H, W, D), _ = x

    def call(_: Mapping[str, Any], t: Mapping[str, Any]) -> None:
        numbers = H, W, D, W, F, F, S, S, P, P, 1, 1, 0, D, 0, n, 0, H
        launch("conv", "im2col", t["columns"].size, t["x"], t["columns"], *im2col_numbers(*numbers))

    def peers(torch: Any, t: Mapping[str, Any]) -> dict[str, Call]:
        unfold = torch.nn.functional.unfold
        return {f"unfold {name}": partial(unfold, x, F, padding=P) for name, x in _layouts(t["x"])}

    def ours(result: Any) -> Any:
        return result.view(n, D, F * F, H * W).permute(0, 3, 2, 1).reshape(-1, F * F * D)

    return Kernel(
        "im2col", {"x": x}, {"columns": columns}, call, peers, "columns", nbytes_of(x) + nbytes_of(columns), ours
    )


def col2im(sizes: Sizes) -> Kernel:
    x, columns = _unfolded(sizes)
    (n, H, W, D), _ = x

    def call(_: Mapping[str, Any], t: Mapping[str, Any]) -> None:
        numbers = H, W, D, W, F, F, S, S, P, P, 1, 1, 0, D, 0, n, 0, H
        launch("conv", "col2im", t["dx"].size, t["columns"], t["dx"], *col2im_numbers(*numbers, 0, 0, H))

    def peers(torch: Any, t: Mapping[str, Any]) -> dict[str, Call]:
        folded = t["columns"].view(n, H * W, F * F, D).permute(0, 3, 2, 1).reshape(n, -1, H * W).contiguous()
        return {"fold": lambda: torch.nn.functional.fold(folded, (H, W), F, padding=P)}

    return Kernel(
        "col2im",
        {"columns": columns},
        {"dx": x},
        call,
        peers,
        "dx",
        nbytes_of(x) + nbytes_of(columns),
        _to_nhwc,
    )


def bias(sizes: Sizes) -> Kernel:
    (shape, dtype), K = _maps(sizes), sizes.D
    y = ((prod(shape[:3]), K), dtype)
    return Kernel(
        "add_bias",
        {"y": y, "b": ((K,), dtype)},
        {},
        lambda _, t: add_bias(t["b"], t["y"]),
        lambda _, t: {"add_": lambda: t["y"].add_(t["b"])},
        "y",
        2 * nbytes_of(y),
    )


def bias_backward(sizes: Sizes) -> Kernel:
    dy, K = _maps(sizes), sizes.D
    partials = -(-prod(dy[0][:3]) // BLOCK_ROWS)
    return Kernel(
        "bias_backward",
        {"dy": dy, "counters": ((-(-K // 8),), "int32")},
        {"db": ((K,), "float32"), "partials": ((partials, K), "float32")},
        lambda ops, t: ops["bias_backward"](t["dy"], t["counters"], t["db"], t["partials"], block_rows=BLOCK_ROWS),
        lambda _, t: {f"sum {name}": partial(dy.sum, (0, 2, 3)) for name, dy in _layouts(t["dy"])},
        "db",
        nbytes_of(dy),
        given={"counters": [0]},
    )


def softmax(sizes: Sizes) -> Kernel:
    N = sizes.N
    scores = ((N, 1, 1, sizes.classes), "float32")
    return Kernel(
        "softmax_forward",
        {"scores": scores, "labels": ((N,), "int32")},
        {"probabilities": scores, "losses": ((N,), "float32"), "hits": ((N,), "int32")},
        lambda ops, t: ops["softmax_forward"](t["scores"], t["labels"], t["probabilities"], t["losses"], t["hits"]),
        lambda torch, t: {"softmax": lambda: torch.softmax(t["scores"], 3)},
        "probabilities",
        2 * nbytes_of(scores),
        below=sizes.classes,
    )


def momentum(sizes: Sizes) -> Kernel:
    w = ((sizes.weights,), "float32")
    inputs, given, rates = _update(Momentum(weight_decay=5e-4))
    return Kernel(
        "momentum_update",
        {**inputs, "dw": w, "w": w, "v": w},
        {},
        lambda ops, t: ops["momentum_update"](t["loss"], t["numbers"], t["dw"], t["w"], t["v"], **rates),
        lambda torch, t: _optimizers("SGD", torch, t, lr=1e-3, momentum=0.9, weight_decay=5e-4),
        "w",
        5 * nbytes_of(w),
        given={"v": [0], **given},
    )


def adam(sizes: Sizes) -> Kernel:
    w = ((sizes.weights,), "float32")
    inputs, given, rates = _update(Adam(weight_decay=5e-4))
    return Kernel(
        "adam_update",
        {**inputs, "dw": w, "w": w, "m": w, "v": w},
        {},
        lambda ops, t: ops["adam_update"](t["loss"], t["numbers"], t["dw"], t["w"], t["m"], t["v"], **rates),
        lambda torch, t: _optimizers("Adam", torch, t, lr=1e-3, weight_decay=5e-4),
        "w",
        7 * nbytes_of(w),
        given={"m": [0], "v": [0], **given},
    )


def _update(rule: Optimizer) -> tuple[dict[str, Spec], dict[str, list[float]], dict[str, Any]]:
    """(inputs, their values, attributes) of an update beside gradient, weights and caches; learning rate 0.001."""
    changing = rule.changing(1.0)
    numbers = [number.value(Now(1e-3, 1, 0)) for number in changing.values()]
    inputs: dict[str, Spec] = {"loss": ((1,), "float32"), "numbers": ((len(numbers),), "float64")}
    places = {name: place for place, name in enumerate(changing)}
    return inputs, {"loss": [1.0], "numbers": numbers}, {**places, **rule.constants()}


def clip_by_norm(sizes: Sizes) -> Kernel:
    """The norm, then all values times what brings it down."""
    dw, one = ((sizes.weights,), "float32"), ((1,), "float32")
    partials = ((-(-sizes.weights // BLOCK_VALUES),), "float32")

    def call(ops: Mapping[str, Any], t: Mapping[str, Any]) -> None:
        ops["add_square_sum"](t["dw"], t["square_sum"], t["partials"], block_values=BLOCK_VALUES, begins=1)
        ops["clip_by_norm"](t["square_sum"], t["dw"], most=1.0)

    def peers(torch: Any, t: Mapping[str, Any]) -> dict[str, Call]:
        w = torch.nn.Parameter(torch.empty_like(t["dw"]))
        w.grad = t["dw"].clone()

        def clip() -> Any:
            torch.nn.utils.clip_grad_norm_([w], 1.0)
            return w.grad

        return {"clip_grad_norm_": clip}

    outputs = {"square_sum": one, "partials": partials}
    return Kernel("clip_by_norm", {"dw": dw}, outputs, call, peers, "dw", 3 * nbytes_of(dw))


def augment(sizes: Sizes) -> Kernel:
    """The middle of larger images, normalized: what a test sees, as PyTorch would draw other windows."""
    N, side = 8 * sizes.N, sizes.side
    large, small = (N, side + 8, side + 8, 3), (N, side, side, 3)
    nothing: dict[str, Any] = dict.fromkeys(("P", "mirror", "seed", "seen", "layer", "first_image", "training"), 0)
    nothing |= {"contrast": 0.0, "brightness": 0.0, "saturation": 0.0}
    normal = {f"scale_{d}": 1 / 255 for d in range(3)} | {f"shift_{d}": -0.5 for d in range(3)}

    def peers(torch: Any, t: Mapping[str, Any]) -> dict[str, Call]:
        return {"slice, mul, add": lambda: t["x"][:, 4 : 4 + side, 4 : 4 + side].mul(1 / 255).add_(-0.5)}

    return Kernel(
        "augment, a window",
        {"x": (large, "uint8"), "numbers": ((1,), "float64")},
        {"y": (small, "float32"), "choices": ((N, CHOICES), "float32")},
        lambda ops, t: ops["augment"](t["x"], t["numbers"], t["y"], t["choices"], **nothing, **normal),
        peers,
        "y",
        5 * prod(small),
        given={"numbers": [0]},
    )


def _optimizers(kind: str, torch: Any, t: Mapping[str, Any], **settings: float) -> dict[str, Call]:
    """An update by PyTorch's optimizer of that name, in each of its ways."""

    def update(optimizer: Any, w: Any) -> Any:
        optimizer.step()
        return w.detach()

    calls: dict[str, Call] = {}
    for way in ("foreach", "fused"):
        w = torch.nn.Parameter(t["w"].clone())
        w.grad = t["dw"]
        optimizer = getattr(torch.optim, kind)([w], **settings, **{way: True})
        calls[f"{kind} {way}"] = partial(update, optimizer, w)
    return calls


def _maps(sizes: Sizes) -> Spec:
    """The output of VGG's first convolution."""
    return (sizes.N, sizes.side, sizes.side, sizes.D), "float32"


def _pooled(sizes: Sizes) -> Spec:
    return (sizes.N, sizes.side // 2, sizes.side // 2, sizes.D), "float32"


def _unfolded(sizes: Sizes) -> tuple[Spec, Spec]:
    """x of an eighth of the images, at least one, and its im2col matrix: all of them would take nine times x."""
    n = max(1, sizes.N // 8)
    x = (n, sizes.side, sizes.side, sizes.D)
    return (x, "float32"), ((prod(x[:3]), F * F * sizes.D), "float32")


def _to_nhwc(result: Any) -> Any:
    return result.permute(0, 2, 3, 1)


def _layouts(nhwc: Any) -> list[tuple[str, Any]]:
    """The same values as PyTorch keeps them: contiguous (N, D, H, W), and channels_last."""
    last = nhwc.permute(0, 3, 1, 2)
    return [("NCHW", last.contiguous()), ("channels_last", last)]


def _format(torch: Any, tensor: Any) -> Any:
    last = torch.channels_last
    return last if tensor.is_contiguous(memory_format=last) else torch.contiguous_format
