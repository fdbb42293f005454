"""Net -> Program: every layer emits its ops, forward in order, the loss, backward in reverse, the updates."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from zlib import crc32

from gpunet.layers.loss import LOSS, LossTensors, emit_add_loss, loss_of
from gpunet.layers.merge import emit_add
from gpunet.layers.scaling import emit_scaled, emit_settled, scaling_of
from gpunet.net.augment import Augment
from gpunet.net.graph import INPUT
from gpunet.net.net import Net, Node
from gpunet.optimize.learning import Learning, learning
from gpunet.optimize.optimizers import Factors, Optimizer, OptimizerName, cache_tensors
from gpunet.program.algorithm import Math
from gpunet.program.builder import Builder, Emitter, Target
from gpunet.program.program import Attribute, Dtype, Mode, Parameter, Program, RunTime, Seen
from gpunet.program.tensor import Kind, Tensor, wide

BLOCK_VALUES = 16384
"""Values of a gradient in one partial sum of its squares."""

CHOICES = 7
"""Values that say what augmentation chose for an image."""


@dataclass(frozen=True, slots=True)
class _Feed:
    """What the host fills before step 0."""

    image_bytes: Tensor
    next_bytes: Tensor | None
    images: Tensor
    labels: Tensor | None


def lower(
    net: Net,
    *,
    batch: int,
    mode: Mode,
    dtype: Dtype,
    optimizer: OptimizerName | Optimizer | Learning,
    target: Target,
    scratch_limit_bytes: int,
    accumulates: bool = False,
    math: Math = "exact",
    image_gradient: bool = False,
) -> Program:
    """The program of one training step ("train") or one forward pass ("infer") over at most `batch` images.

    `optimizer`    or all of how parameters learn, with the layers that do not
    `accumulates`  gradients will be added up over rounds, so their products need room to be added from
    `math`         which algorithms of convolution may be chosen
    `image_gradient`  the gradient of the images is made, too: training has no use for it, checks and pictures have
    Nothing is shared or saved yet: that is what rewrites are for.
    """
    builder = Builder(batch, dtype, mode, target, scratch_limit_bytes, accumulates, math)
    feed = _emit_input(net, builder)
    nodes = net.nodes if mode == "train" else net.trunk
    how = learning(optimizer)
    frozen = how.frozen([node.name for node in net.nodes])
    learns = _learning_upstream(net, frozen, image_gradient)
    own = {
        node.name: _parameters(net, node, mode, wide(dtype), None if node.name in frozen else how.optimizer)
        for node in nodes
    }
    parameters = [p for found in own.values() for p in found]
    emitters = {INPUT: Emitter(builder, INPUT)}
    for node in nodes:
        emitters[node.name] = _emitter(builder, node, own[node.name], node.name in frozen, learns[node.name])
    outputs = _emit_forward(nodes, feed.images, emitters)
    scores = outputs[nodes[-1].name]
    loss = correct = dimages = None
    if feed.labels is None:
        scores = Emitter(builder, nodes[-1].name, widens=True).cast(scores, "scores")
    if feed.labels is not None:
        tensors, dscores = _emit_losses(net, builder, outputs, feed.labels, learns)
        loss, correct = tensors.loss, tensors.correct
        builder.loss = loss
        dimages = _emit_backward(net, dscores, emitters, learns)
        builder.phase = "update"
        gradients = [p.gradient for p in parameters if p.gradient is not None]
        builder.loss = emit_settled(builder, gradients)
        _emit_clips(builder, how, gradients)
        _emit_updates(builder, how, [node.name for node in net.nodes], parameters)
        for node in nodes:
            if node.name not in frozen:
                node.layer.update(emitters[node.name])
    return Program(
        mode=mode,
        batch=batch,
        dtype=dtype,
        ops=builder.finished(),
        parameters=tuple(parameters),
        image_bytes=feed.image_bytes,
        next_bytes=feed.next_bytes,
        images=feed.images,
        labels=feed.labels,
        scores=scores,
        loss=loss,
        correct=correct,
        image_gradient=dimages,
        scaling=builder.scaling,
        numbers=builder.numbers,
        changing=tuple(builder.changing),
        counters=builder.counters,
        fusions=target.fusions,
    )


def _emit_input(net: Net, builder: Builder) -> _Feed:
    """Bytes become the net's input; in training they have a second buffer, for the next batch."""
    training = builder.mode == "train"
    emit = Emitter(builder, INPUT)
    image_bytes = _data("bytes", builder, net.image.shape, "uint8")
    images = _data("images", builder, net.input.shape)
    next_bytes = _data("next", builder, net.image.shape, "uint8") if training else None
    labels = _data("labels", builder, (), "int32") if training else None
    if net.augment is None:
        pixels: dict[str, Attribute] = {"scale": net.scale, "shift": net.shift}
        emit.op("image_to_float", (image_bytes,), (images,), attributes=pixels)
        return _Feed(image_bytes, next_bytes, images, labels)
    choices = _data("choices", builder, (CHOICES,), emit.wide)
    numbers = {**_augmentation(net, net.augment), "seen": emit.number(Seen())}
    emit.op("augment", (image_bytes, emit.numbers), (images, choices), attributes=numbers)
    return _Feed(image_bytes, next_bytes, images, labels)


def _data(name: str, builder: Builder, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
    return Tensor(f"{INPUT}.{name}", Kind.DATA, (builder.batch, *shape), dtype or builder.dtype, INPUT, True)


def _augmentation(net: Net, augment: Augment) -> dict[str, Attribute]:
    """The numbers of the op `augment` that stay the same."""
    known = {name: RunTime(name) for name in ("seed", "first_image", "training")}
    scales, shifts = augment.normal(net.scale, net.shift)
    return {
        "P": augment.pad,
        "mirror": int(augment.flip),
        "contrast": augment.contrast,
        "brightness": augment.brightness,
        "saturation": augment.saturation,
        **{f"scale_{d}": scale for d, scale in enumerate(scales)},
        **{f"shift_{d}": shift for d, shift in enumerate(shifts)},
        "layer": crc32(INPUT.encode()),
        **known,
    }


def _parameters(net: Net, node: Node, mode: Mode, dtype: str, optimizer: Optimizer | None) -> list[Parameter]:
    """The parameters of a node; in training what is learnt has gradients and caches. Start: He et al. 2015.

    `optimizer`  None where the node is frozen
    """
    found = []
    for weights in net.weights(node):
        name = f"{node.name}.{weights.name}"
        w = Tensor(name, Kind.PARAMETER, weights.shape, dtype, node.name)
        deviation = (2 / weights.fan_in) ** 0.5 if weights.fan_in else 0.0
        if mode == "infer" or not weights.learnt or optimizer is None:
            found.append(Parameter(w, None, (), deviation, weights.start, weights.fixed))
            continue
        dw = Tensor(f"{node.name}.d{weights.name}", Kind.PARAMETER_GRADIENT, weights.shape, dtype, node.name)
        found.append(Parameter(w, dw, cache_tensors(optimizer, node.name, w), deviation, weights.start))
    return found


def _emitter(builder: Builder, node: Node, own: list[Parameter], frozen: bool, learns: bool) -> Emitter:
    short = {p.tensor.name: p.tensor.name.rpartition(".")[2] for p in own}
    return Emitter(
        builder,
        node.name,
        parameters={short[p.tensor.name]: p.tensor for p in own},
        gradients={short[p.tensor.name]: p.gradient for p in own if p.gradient is not None},
        inputs=len(node.inputs),
        frozen=frozen,
        returns=learns and builder.mode == "train",
    )


def _emit_forward(nodes: Sequence[Node], images: Tensor, emitters: dict[str, Emitter]) -> dict[str, Tensor]:
    """The output of every node by its name."""
    outputs = {INPUT: images}
    for node in nodes:
        outputs[node.name] = node.layer.forward(emitters[node.name], *(outputs[name] for name in node.inputs))
    return outputs


def _emit_losses(
    net: Net, builder: Builder, outputs: dict[str, Tensor], labels: Tensor, learns: Mapping[str, bool]
) -> tuple[LossTensors, dict[str, Tensor]]:
    """The loss of the net, to which those of auxiliary heads are added, and the gradients of all scores by node.

    Scores that nothing to learn leads to have none.
    """
    last = net.nodes[-1].name
    builder.phase = "loss"
    emit = Emitter(builder, LOSS, widens=True)
    tensors = net.loss.forward(emit, emit.cast(outputs[last], "scores"), labels)
    emitters = {last: (emit, 1.0)}
    for node in net.heads:
        weight = node.head or 0.0  # a head has one
        emit = Emitter(builder, loss_of(node.name), widens=True)
        part = net.loss.forward(emit, emit.cast(outputs[node.name], "scores"), labels)
        emit_add_loss(emit, part.loss, tensors.loss, weight)
        emitters[node.name] = (emit, weight)
    builder.phase = "backward"
    builder.scaling = scaling_of(builder)
    back = {}
    for name, (emit, weight) in emitters.items():
        if learns[name]:
            dscores = emit_scaled(emit, net.loss.backward(emit, weight))
            back[name] = Emitter(builder, emit.layer).cast(dscores, "dx")
    return tensors, back


def _emit_backward(
    net: Net, gradients: dict[str, Tensor], emitters: dict[str, Emitter], learns: Mapping[str, bool]
) -> Tensor | None:
    """Walk the net in reverse, stopping where nothing before has parameters to learn; returns the images' gradient.

    `learns`     as _learning_upstream has it
    `gradients`  of the outputs that have a loss, by the name of their node. Where several layers take an output, its
                 gradient is the sum of what they send back, added up as it comes.
    """
    sums: dict[str, int] = {}
    for node in reversed(net.nodes):
        if node.name not in gradients:
            continue
        needs_dx = any(learns[name] for name in node.inputs)
        dxs = node.layer.backward(emitters[node.name], gradients.pop(node.name), needs_dx=needs_dx)
        for name, dx in zip(node.inputs, dxs, strict=False):
            if name in gradients:
                sums[name] = sums.get(name, 0) + 1
                total = emitters[name].gradient(f"dy_sum{sums[name]}", dx)
                emit_add(emitters[name], gradients[name], dx, total)
                gradients[name] = total
            elif learns[name]:
                gradients[name] = dx
    return gradients.get(INPUT)


def _emit_clips(builder: Builder, how: Learning, gradients: Sequence[Tensor]) -> None:
    """Clip the gradients as is asked for; the last layers come first, as their gradients do."""
    emitters = [(dw, Emitter(builder, dw.layer)) for dw in reversed(gradients)]
    if how.clip_value is not None:
        for dw, emit in emitters:
            emit.op("clip_by_value", (), (dw,), attributes={"most": how.clip_value})
    if how.clip_norm is not None:
        square_sum = Emitter(builder, LOSS).tensor("square_sum", Kind.WORKSPACE, (1,))
        for number, (dw, emit) in enumerate(emitters):
            partials = emit.workspace(f"{dw.name}.squares", (-(-prod(dw.shape) // BLOCK_VALUES),))
            numbers = {"block_values": BLOCK_VALUES, "begins": int(number == 0)}
            emit.op("add_square_sum", (dw,), (square_sum,), (partials,), attributes=numbers)
        for dw, emit in emitters:
            emit.op("clip_by_norm", (square_sum,), (dw,), attributes={"most": how.clip_norm})


def _emit_updates(builder: Builder, how: Learning, layers: Sequence[str], parameters: Sequence[Parameter]) -> None:
    """Update all that is learnt, each parameter with its factors; `layers`: the names of all there are."""
    rates = how.factors(layers, [p.tensor.name for p in parameters])
    decays = how.decays(layers, {p.tensor.name: p.deviation > 0 for p in parameters})  # weights alone are drawn
    for parameter in parameters:
        if parameter.gradient is not None:
            w = parameter.tensor
            factors = Factors(rates[w.name], decays[w.name])
            how.optimizer.emit(Emitter(builder, w.layer), parameter.gradient, w, parameter.caches, factors)


def _learning_upstream(net: Net, frozen: Collection[str], image_gradient: bool) -> dict[str, bool]:
    """By name: whether it, or anything that feeds it, has parameters to learn, or is to have a gradient anyway."""
    learns = {INPUT: image_gradient}
    for node in net.nodes:
        itself = node.name not in frozen and any(weights.learnt for weights in net.weights(node))
        learns[node.name] = itself or any(learns[name] for name in node.inputs)
    return learns
