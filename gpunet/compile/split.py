"""Fully connected layers divided over ranks, while all else is data parallel: their weights are many, what goes in and
comes out is little.

Each rank has some of a layer's outputs, for the images of all ranks: its rows of the weights, of their gradient and of
the optimizer's caches. What goes into the layer is gathered from all ranks; each output goes to the rank of its image;
backward the same the other way round, and the gradients of the input, to which each rank adds a part, are added up in
the order of ranks. So these weights' gradients never cross the wire. What stands between two such layers stays with the
images. Source: Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks".
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from gpunet.compile.between import GATHER, REDUCE, SUM_TO_IMAGES, TO_IMAGES, TO_OUTPUTS
from gpunet.compile.steps import exchanged_tensors
from gpunet.layers.bias import BLOCK_ROWS
from gpunet.program.builder import Target
from gpunet.program.program import Attribute, Op, Parameter, Program, RunTime
from gpunet.program.shares import largest
from gpunet.program.tensor import ITEMSIZE, Kind, Tensor

LEAST_WEIGHTS = 16384
"""Of a layer that is worth dividing: with fewer its activations are more than its weights."""

OF_ALL: dict[str, Attribute] = {"images": RunTime("images")}
LAST = 3
"""The axis of a layer's outputs, (N, 1, 1, K)."""


def divisible(program: Program, ranks: int) -> dict[str, Parameter]:
    """The weights of the fully connected layers that can be divided among so many ranks, by the name of the layer.

    They learn, and each rank has an output at least.
    """
    known = {p.tensor.name: p for p in program.parameters}
    found = {op.layer: known[op.inputs[1].name] for op in program.ops if op.name == "fc_forward"}
    return {layer: w for layer, w in found.items() if w.gradient is not None and _worth_it(w.tensor, ranks)}


def _worth_it(w: Tensor, ranks: int) -> bool:
    return w.shape[0] >= ranks and prod(w.shape) >= LEAST_WEIGHTS


def split_fc(program: Program, whole: int, ranks: int, piece_bytes: int, target: Target) -> Program:
    """The program of a rank in which the layers that are `divisible` are divided.

    `whole`        images of all ranks
    `piece_bytes`  of gradients of inputs that are added up at a time
    """
    made = _Split(program, whole, ranks, piece_bytes, target)
    ops = [new for op in program.ops for new in made.divided(op)]
    return replace(
        program,
        ops=tuple(_clipped(ops, made.gradients, ranks)),
        parameters=tuple(made.parameter(p) for p in program.parameters),
        sharded={**program.sharded, **made.whole_shapes},
        split=made.split,
        ranks=ranks,
        whole=whole,
    )


@dataclass
class _Split:
    """Divides the ops of one layer after the other.

    `own`           by name, a rank's rows of what is divided: weights, gradients, caches
    `whole_shapes`  of those that last from step to step
    `split`         as a Program has it
    """

    program: Program
    whole: int
    ranks: int
    piece_bytes: int
    target: Target
    own: dict[str, Tensor] = field(default_factory=dict)
    whole_shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    split: dict[str, tuple[int, int]] = field(default_factory=dict)
    _entered: dict[str, Tensor] = field(default_factory=dict)
    _returned: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._layers = divisible(self.program, self.ranks)
        for parameter in self.program.parameters:
            if parameter.tensor.layer in self._layers:
                for tensor in (parameter.tensor, parameter.gradient, *parameter.caches):
                    if tensor is not None:
                        self.own[tensor.name] = self._share(tensor, 0)
                        if tensor.kind.persistent:
                            self.whole_shapes[tensor.name] = tensor.shape

    @property
    def gradients(self) -> set[str]:
        """Names of those of which each rank has its own."""
        return {name for name, tensor in self.own.items() if tensor.kind is Kind.PARAMETER_GRADIENT}

    def parameter(self, of: Parameter) -> Parameter:
        """With a rank's rows of what is divided."""
        gradient = of.gradient and self.own.get(of.gradient.name, of.gradient)
        caches = tuple(self.own.get(t.name, t) for t in of.caches)
        return replace(of, tensor=self.own.get(of.tensor.name, of.tensor), gradient=gradient, caches=caches)

    def divided(self, op: Op) -> Iterator[Op]:
        """The ops that are in the place of one."""
        if op.layer not in self._layers or op.phase not in ("forward", "backward"):
            yield exchanged_tensors(op, self.own)
        elif op.name == "fc_forward":
            yield from self._forward(op)
        else:
            dy = op.inputs[1 if op.name == "fc_backward_weights" else 0]
            if op.layer not in self._returned:
                yield self._returning(op.layer, dy)
            yield from self._backward(op, dy)

    def _forward(self, op: Op) -> Iterator[Op]:
        layer, x, y = op.layer, op.inputs[0], op.outputs[0]
        every = self._entered[layer] = self._of_all(layer, "x_of_all", x)
        made = self._share(self._of_all(layer, "y_of_all", y), LAST)
        yield Op(GATHER, layer, "forward", (x,), (every,), across_images=True)
        yield self._product(op, {x.name: every, y.name: made}, self.whole, made.shape[LAST])
        arriving = Tensor(f"{layer}.arriving_y", Kind.WORKSPACE, (prod(y.shape),), y.dtype, layer)
        yield Op(TO_IMAGES, layer, "forward", (made,), (y,), (arriving,), OF_ALL, across_images=True)

    def _returning(self, layer: str, dy: Tensor) -> Op:
        made = self._returned[layer] = self._share(self._of_all(layer, "dy_of_all", dy), LAST)
        leaving = Tensor(f"{layer}.leaving_dy", Kind.WORKSPACE, (prod(dy.shape),), dy.dtype, layer)
        return Op(TO_OUTPUTS, layer, "backward", (dy,), (made,), (leaving,), OF_ALL, across_images=True)

    def _backward(self, op: Op, dy: Tensor) -> Iterator[Op]:
        layer, every, returned = op.layer, self._entered[op.layer], self._returned[op.layer]
        values = prod(every.shape[1:])
        if op.name == "fc_backward_weights":
            others = {op.inputs[0].name: every, dy.name: returned}
            yield self._product(op, others, returned.shape[LAST], values)
        elif op.name == "bias_backward":
            blocks = (-(-self.whole // BLOCK_ROWS), dy.shape[LAST])
            partials = self._share(Tensor(f"{layer}.db_partials", Kind.WORKSPACE, blocks, dy.dtype, layer), 1)
            made = exchanged_tensors(op, {**self.own, dy.name: returned})
            yield replace(made, scratch=(partials,), across_images=True)
        else:
            (dx,) = op.outputs
            parts = self._of_all(layer, "dx_of_all", dx)
            yield self._product(op, {dy.name: returned, dx.name: parts}, self.whole, values)
            yield self._summed(layer, parts, dx)

    def _product(self, op: Op, others: Mapping[str, Tensor], rows: int, columns: int) -> Op:
        """A product of a rank's rows and the images of all, with the scratch that a result of this size wants."""
        made = exchanged_tensors(op, {**self.own, **others})
        w, dtype = self.own[self._layers[op.layer].tensor.name], made.outputs[0].dtype
        if "algorithm" in op.attributes:  # the scratch holds the slices
            values = int(op.attributes.get("slices", 1)) * rows * columns  # type: ignore[arg-type]  # a number
        else:
            wanted = self.target.gemm_workspace_bytes(rows, columns, ITEMSIZE[dtype], accumulate=False)
            values = -(-wanted // ITEMSIZE[dtype])
        scratch = (op.scratch[0] and replace(op.scratch[0], shape=(values,)),)
        return replace(made, scratch=scratch, flops=2 * self.whole * prod(w.shape), across_images=True)

    def _summed(self, layer: str, parts: Tensor, dx: Tensor) -> Op:
        """The gradients of the inputs of a rank's own images, some values at a time."""
        most = min(prod(dx.shape), max(1, self.piece_bytes // ITEMSIZE[dx.dtype] // self.ranks))
        arriving = Tensor(f"{layer}.arriving_dx", Kind.WORKSPACE, (most * self.ranks,), dx.dtype, layer)
        attributes = {**OF_ALL, "most": most}
        return Op(SUM_TO_IMAGES, layer, "backward", (parts,), (dx,), (arriving,), attributes, across_images=True)

    def _of_all(self, layer: str, name: str, tensor: Tensor) -> Tensor:
        return replace(tensor, name=f"{layer}.{name}", layer=layer, shape=(self.whole, *tensor.shape[1:]))

    def _share(self, tensor: Tensor, axis: int) -> Tensor:
        """With room for the largest share along an axis."""
        length = tensor.shape[axis]
        self.split[tensor.name] = axis, length
        return replace(tensor, shape=(*tensor.shape[:axis], largest(length, self.ranks), *tensor.shape[axis + 1 :]))


def _clipped(ops: Sequence[Op], apart: Collection[str], ranks: int) -> Iterator[Op]:
    """The ops, with a norm that is that of all gradients: the squares of those of which each rank has its own come
    first and are added up over ranks."""
    squares = [op for op in ops if op.name == "add_square_sum"]
    own = [op for op in squares if op.inputs[0].name in apart]
    if not own:
        yield from ops
        return
    (total,) = own[0].outputs
    arriving = Tensor(f"{total.layer}.arriving_squares", Kind.WORKSPACE, (ranks,), total.dtype, total.layer)
    attributes: dict[str, Attribute] = {"most": 1, "reduce": "exact", "at_once": 1}
    attributes["images"] = ranks  # none has nothing to add
    joined = Op(REDUCE, total.layer, "update", (total,), (total,), (arriving, None), attributes, across_images=True)
    others = [op for op in squares if op not in own]
    for op in ops:
        if op is squares[0]:
            yield from (replace(one, attributes={**one.attributes, "begins": int(one is own[0])}) for one in own)
            yield joined
            yield from (replace(one, attributes={**one.attributes, "begins": 0}) for one in others)
        elif op.name != "add_square_sum":
            yield op
