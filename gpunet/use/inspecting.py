"""What a step sees and sends back, for one image: activations, gradients of them and of filters, and of the image.

Sources: Simonyan, Vedaldi & Zisserman 2014 for the gradient of a score as saliency; Springenberg et al. 2015 for guided
backpropagation; Zeiler & Fergus 2014 for occlusion.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from gpunet.compile.lower import lower
from gpunet.devices import open_device, target
from gpunet.layers.batch_norm import BatchNorm
from gpunet.layers.loss import LOSS
from gpunet.memory.plan import Plan, arrange
from gpunet.model.batch import check_images, check_labels
from gpunet.model.bound import BoundProgram
from gpunet.model.model import STEP, Model
from gpunet.model.scores import softmax
from gpunet.net.net import Net
from gpunet.optimize.learning import Learning
from gpunet.optimize.optimizers import optimizer
from gpunet.program.program import Now, Op
from gpunet.program.tensor import Kind, Tensor, wide

GREY = 0.5
"""Of white, or of the range of an image's values: what covers a part of it."""

Volumes = dict[str, np.ndarray]


@dataclass
class Inspected:
    """One image's way through a net and back, by the CPU, by layer unless said.

    outputs    (H, W, D): what each layer gives
    gradients  (H, W, D): of the loss, or of a score, by what the layer gives
    learnt     of the loss by each parameter, by its name
    image      (H, W, D): of the image as it enters the net
    scores     (classes,)
    """

    outputs: Volumes = field(default_factory=dict)
    gradients: Volumes = field(default_factory=dict)
    learnt: Volumes = field(default_factory=dict)
    image: np.ndarray = field(default_factory=lambda: np.zeros(0))
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0))


def inspect(
    net: Net,
    weights: Mapping[str, np.ndarray],
    image: np.ndarray,
    label: int,
    *,
    of_score: bool = False,
    guided: bool = False,
) -> Inspected:
    """Follow an image (H, W, D) forward and the gradient back, as in training but that nothing is dropped out and batch
    normalization goes by its running statistics.

    `label`     the class whose loss, or with `of_score` whose score, is differentiated
    `guided`    what passes back through a ReLU is positive, too
    `weights`   parameters by name; of those that are missing, as of auxiliary heads, zeros are taken

    Raises ShapeError or DataError for an image or a label that the net does not take.
    """
    plan = _plan(net)
    images = check_images(np.asarray(image)[np.newaxis], net, 1, "float32")
    labels = check_labels(np.array([label]), 1, net.classes)
    device = open_device("cpu")
    bound = BoundProgram(plan, device, seed=0, graphs=False)
    try:
        for parameter in plan.program.parameters:
            tensor = parameter.tensor
            device.write(bound.view(tensor), weights.get(tensor.name, np.zeros(tensor.shape, np.float32)))
        bound.set_numbers(Now(0.0, 1, 0))
        is_bytes = images.dtype == np.uint8
        assert plan.program.labels is not None
        device.write(bound.view(plan.program.image_bytes if is_bytes else plan.program.images, 0, 1), images)
        device.write(bound.view(plan.program.labels, 0, 1), labels)
        return _followed(bound, net, label, skip=0 if is_bytes else 1, of_score=of_score, guided=guided)
    finally:
        bound.free()
        device.close()


def _followed(bound: BoundProgram, net: Net, label: int, *, skip: int, of_score: bool, guided: bool) -> Inspected:
    program, device, found = bound.plan.program, bound.device, Inspected()
    learnt = {p.gradient: p.tensor.name for p in program.parameters if p.gradient is not None}

    def read(tensor: Tensor) -> np.ndarray:
        values = device.read(bound.view(tensor, 0, 1))
        return values[0] if tensor.batched else values

    for op, call in bound.walk(1, skip, STEP, training=False):
        if op.phase == "update":
            for tensor in op.inputs:
                if tensor in learnt:
                    found.learnt[learnt[tensor]] = read(tensor)
            continue
        arriving = _arriving(op, net)
        if arriving is not None:
            found.gradients.setdefault(op.layer, read(arriving))
        call()
        for tensor in op.outputs:
            if op.phase == "forward" and tensor.name == f"{op.layer}.y" and op.layer in net.volumes:
                found.outputs[op.layer] = read(tensor)
            if tensor is program.scores:
                found.scores = read(tensor).reshape(-1)
            if of_score and tensor.name == f"{LOSS}.dx":
                device.write(bound.view(tensor, 0, 1), _one_hot(label, tensor))
            if guided and op.name.startswith("relu_backward") and tensor.kind is Kind.GRADIENT:
                device.write(bound.view(tensor, 0, 1), np.maximum(read(tensor), 0)[np.newaxis])
            if tensor is program.image_gradient:
                found.image = read(tensor)
    return found


def _arriving(op: Op, net: Net) -> Tensor | None:
    """The gradient by what a layer gives, where its backward op reads it."""
    if op.phase != "backward" or op.layer not in net.volumes:
        return None
    shape = net.volumes[op.layer].shape
    return next((t for t in op.inputs if t.kind is Kind.GRADIENT and tuple(t.shape[1:]) == tuple(shape)), None)


def _one_hot(label: int, tensor: Tensor) -> np.ndarray:
    values = np.zeros(tensor.shape, wide(tensor.dtype))
    values.reshape(-1)[label] = 1
    return values


def saliency(net: Net, weights: Mapping[str, np.ndarray], image: np.ndarray, label: int, *, guided: bool) -> np.ndarray:
    """(H, W): how much each pixel would move the score of a class, the largest over the maps; with `guided`, by guided
    backpropagation."""
    found = inspect(net, weights, image, label, of_score=True, guided=guided).image
    return np.asarray(np.abs(found).max(axis=2))


def occlusion(
    model: Model, image: np.ndarray, label: int, *, size: int | None = None, stride: int | None = None
) -> np.ndarray:
    """(rows, columns): the probability of a class where a grey square covers the image there; a plan for inference will
    do.

    `size`    of the square, in pixels; None: a quarter of the short side
    `stride`  pixels from square to square; None: half of a square
    """
    H, W = image.shape[:2]
    size = size or max(1, min(H, W) // 4)
    stride = stride or max(1, size // 2)
    rows, columns = (range(0, max(1, side - size + stride), stride) for side in (H, W))
    covered = np.stack(list(_covered(image, rows, columns, size)))
    chances = softmax(model.forward(covered))[:, label]
    return np.asarray(chances.reshape(len(rows), len(columns)))


def _covered(image: np.ndarray, rows: range, columns: range, size: int) -> Iterator[np.ndarray]:
    grey = image.min() + GREY * (image.max() - image.min())
    for row in rows:
        for column in columns:
            one = image.copy()
            one[row : row + size, column : column + size] = grey
            yield one


def _plan(net: Net) -> Plan:
    """A step of one image as it is lowered: every layer's output and gradient is there on its own."""
    where = target("cpu")
    norms = tuple(node.name for node in net.nodes if isinstance(node.layer, BatchNorm))
    program = lower(
        net,
        batch=1,
        mode="train",
        dtype="float32",
        optimizer=Learning(optimizer("sgd"), freeze=norms),
        target=where,
        scratch_limit_bytes=where.scratch_limit_bytes,
        image_gradient=True,
    )
    return Plan(net.name, where, "sgd", program, arrange(program), where.reserve().nbytes, of=net)
