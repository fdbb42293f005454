"""A step in parts whose gradients are added in order: each part by a rank of its own, or one after the other here.

Both add up the same numbers in the same order, so that n ranks end in the bits of one device that runs n parts. What a
rank computes is the program of one part; between parts go the losses of the images, the gradients, and the statistics
of batch normalization, which each part takes over its own images.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Literal, get_args

from gpunet.compile.between import (
    AWAIT,
    GATHER,
    GATHER_SHARES,
    JOIN_STATISTICS,
    JOIN_SUMS,
    REDUCE,
    REDUCE_SHARE,
    arriving,
)
from gpunet.compile.split import split_fc
from gpunet.compile.steps import exchanged_tensors
from gpunet.program.builder import Target
from gpunet.program.program import Attribute, Loop, Op, Program, RunTime
from gpunet.program.shares import largest
from gpunet.program.tensor import ITEMSIZE, Kind, Tensor

SHARDED_VALUES = 16384
"""From so many values on, a parameter's caches are divided among ranks: with fewer that saves nothing."""

BUCKET_BYTES = 8 * 2**20
"""Small gradients are sent together up to so many bytes, a large one so many at a time: what waits for others, what is
packed and what arrives from others are three times as much at most."""


Reduce = Literal["exact", "fast"]
"""How gradients are added up over ranks: in the order of ranks, or as the transport likes."""

REDUCTIONS: tuple[Reduce, ...] = get_args(Reduce)


@dataclass(frozen=True, slots=True)
class Division:
    """How a batch is divided: among `ranks` processes, or into `parts` that one device runs one after the other.

    `reduce`        how gradients are added up
    `bucket_bytes`  of gradients that are sent at a time
    `shard`         whether each rank holds its share of the optimizer's caches alone: ZeRO's first stage
    `sync_bn`       whether batch normalization takes its statistics over all ranks
    `split_fc`      whether fully connected layers are divided over ranks, and only all else works on a share of images
    """

    ranks: int = 1
    parts: int = 1
    reduce: Reduce = "exact"
    bucket_bytes: int = BUCKET_BYTES
    shard: bool = False
    sync_bn: bool = False
    split_fc: bool = False

    @property
    def count(self) -> int:
        """Into how many parts, whoever runs them."""
        return max(self.ranks, self.parts)

    def most(self, batch: int) -> int:
        """Images of the largest part."""
        return largest(batch, self.count)

    def least(self, batch: int) -> int:
        """Images of the smallest part that has any."""
        return max(1, batch // self.count)


WHOLE = Division()


def divided(program: Program, batch: int, division: Division, target: Target) -> Program:
    """The program of a part made to be run by ranks, where there are several; `batch`: images of all."""
    if division.ranks == 1:
        return program
    if division.split_fc and program.mode == "train":
        program = split_fc(program, batch, division.ranks, division.bucket_bytes, target)
    return for_ranks(program, batch, division)


def for_ranks(program: Program, whole: int, sums: Division) -> Program:
    """The program of one part as each rank runs it, `whole` images being those of all.

    The losses of all images are gathered before their mean is taken; gradients are added up before anything is made of
    them, in buckets, as soon as all of a bucket are complete.
    """
    if program.mode != "train":
        return replace(program, ranks=sums.ranks, whole=whole)
    body = list(_gathered(program.ops, whole))
    updates = [op for op in body if op.phase == "update"]
    scaled: list[Op] = []
    if sums.sync_bn:
        body = list(_joined(body, sums.ranks))
    else:
        scaled, updates = _portions(updates)
    statistics = [op.outputs[0] for op in scaled]
    if sums.shard:
        program, updates = _sharded(program, updates, sums)
    apart = {t.name for op in updates if op.name == REDUCE_SHARE for t in op.inputs}
    gradients = [p.gradient for p in reversed(program.parameters) if p.gradient is not None]
    gradients = [dw for dw in gradients if dw.name not in {*apart, *program.split}]
    buckets = _buckets([*gradients, *statistics], sums.bucket_bytes)
    reduced = [op for number, bucket in enumerate(buckets) for op in _begun(_reduce(bucket, number, sums))]
    ops = (*(op for op in body if op.phase != "update"), *scaled, *reduced, *updates)
    return replace(program, ops=ops, ranks=sums.ranks, whole=whole)


def in_parts(program: Program, whole: int, parts: int) -> Program:
    """The program of one part, run for each part in turn by one device; then the updates, once.

    `whole`  images of all parts together
    """
    updates = [op for op in program.ops if _after_all_parts(op)]
    body = [op for op in program.ops if not _after_all_parts(op)]
    scaled, updates = _portions(updates)
    scaled = [replace(op, phase="backward") for op in scaled]
    gradients = [p.gradient for p in program.parameters if p.gradient is not None]
    totals = {t.name: replace(t, name=f"{t.name}_total") for t in (*gradients, *(op.outputs[0] for op in scaled))}
    body = list(_with_sums([*body, *scaled], totals))
    later = [exchanged_tensors(op, totals) for op in updates]
    parameters = tuple(
        replace(p, gradient=totals[p.gradient.name]) if p.gradient is not None else p for p in program.parameters
    )
    made = replace(
        program,
        ops=(*body, *later),
        parameters=parameters,
        batch=whole,
        whole=whole,
        loops=(Loop(0, len(body), program.batch, parts),),
    )
    return _widened(made, program.batch, whole)


def _after_all_parts(op: Op) -> bool:
    """Whether it waits for all parts: the mean loss, and updates, which look at it."""
    return op.phase == "update" or (op.phase == "loss" and op.across_images)


# -- the losses -----------------------------------------------------------------------------------------


def _gathered(ops: Iterable[Op], whole: int) -> Iterable[Op]:
    """The ops, with what the mean loss reads of each image gathered from all ranks before."""
    for op in ops:
        if op.phase == "loss" and op.across_images and any(t.batched for t in op.inputs):
            all_of = {t.name: _all_of(t, whole) for t in op.inputs if t.batched}
            own = tuple(t for t in op.inputs if t.batched)
            yield Op(GATHER, op.layer, "loss", own, tuple(all_of.values()), across_images=True)
            op = exchanged_tensors(op, all_of)
        yield op


def _all_of(tensor: Tensor, whole: int) -> Tensor:
    return replace(tensor, name=f"{tensor.name}_of_all", shape=(whole, *tensor.shape[1:]))


# -- the statistics of batch normalization --------------------------------------------------------------


def _portions(updates: Sequence[Op]) -> tuple[list[Op], list[Op]]:
    """(ops that weigh what updates know of the images of a part by how many these are, the updates of the sums).

    Their weighted sum over all parts is the mean over all images.
    """
    scaled: dict[str, Op] = {}
    changed = []
    for op in updates:
        own = [t for t in op.inputs[1:] if t.kind is Kind.ACTIVATION and op.name == "batch_norm_update"]
        for tensor in own:
            portion = replace(tensor, name=f"{tensor.name}_portion")
            attributes = {"factor": RunTime("portion")}
            scaled[tensor.name] = Op("scaled", op.layer, "update", (tensor,), (portion,), attributes=attributes)
        op = exchanged_tensors(op, {t.name: scaled[t.name].outputs[0] for t in own})
        of_part = {"images": RunTime("part_images")} if own else {}  # of how many the variance is unbiased
        changed.append(replace(op, attributes={**op.attributes, **of_part}))
    return list(scaled.values()), changed


def _joined(ops: Iterable[Op], ranks: int) -> Iterable[Op]:
    """The ops, with the statistics of batch normalization, and the sums of its backward pass, taken over all ranks."""
    sums: dict[str, Tensor] = {}
    for op in ops:
        if op.name == "batch_norm_backward":
            op = exchanged_tensors(op, sums)
        yield op
        if op.name == "batch_norm_statistics":
            attributes = {"images": RunTime("images"), "training": RunTime("training")}
            yield _join(JOIN_STATISTICS, op, op.outputs, ranks, attributes)
        if op.name == "batch_norm_backward_sums":
            own = {t.name: replace(t, name=f"{t.name}_of_all", kind=Kind.GRADIENT) for t in op.outputs}
            sums |= own
            attributes = {"images": RunTime("images"), "portion": RunTime("portion")}
            yield _join(JOIN_SUMS, op, tuple(own.values()), ranks, attributes)


def _join(name: str, op: Op, outputs: tuple[Tensor, ...], ranks: int, attributes: dict[str, RunTime]) -> Op:
    """What joins the outputs of an op of each rank, with room for those of all."""
    values = sum(prod(t.shape) for t in op.outputs)
    of_all = Tensor(f"{op.layer}.{name}", Kind.WORKSPACE, (ranks * values,), op.outputs[0].dtype, op.layer)
    return Op(name, op.layer, op.phase, op.outputs, outputs, (of_all,), attributes, across_images=True)


# -- the sums -------------------------------------------------------------------------------------------


def _buckets(tensors: Iterable[Tensor], most_bytes: int) -> list[list[Tensor]]:
    """Tensors in order, together as long as they are of one dtype and no more than so many bytes.

    One of more than half of that goes alone, and does not part those around it: no step sends a bias by itself.
    """
    found: list[list[Tensor]] = []
    last: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        open_to = last.get(tensor.dtype)
        if open_to is not None and sum(t.nbytes for t in [*open_to, tensor]) <= most_bytes:
            open_to.append(tensor)
            continue
        found.append([tensor])
        if 2 * tensor.nbytes <= most_bytes:
            last[tensor.dtype] = found[-1]
    return found


def _reduce(bucket: list[Tensor], number: int, sums: Division, name: str = REDUCE) -> Op:
    """The op that makes of the gradients of each rank those of all, with the scratch that it takes."""
    layer, dtype = bucket[0].layer, bucket[0].dtype
    most = min(sum(prod(t.shape) for t in bucket), max(sums.ranks, sums.bucket_bytes // ITEMSIZE[dtype]))
    scratch: list[Tensor | None] = [None, None]
    if sums.reduce == "exact" or name == REDUCE_SHARE:
        of_shares = name == REDUCE_SHARE
        room = sums.ranks * largest(most, sums.ranks) if of_shares else arriving(most, ITEMSIZE[dtype], sums.ranks)
        scratch[0] = Tensor(f"{layer}.arriving{number}{'s' * of_shares}", Kind.WORKSPACE, (room,), dtype, layer)
        if len(bucket) > 1:
            scratch[1] = Tensor(f"{layer}.packed{number}", Kind.WORKSPACE, (most,), dtype, layer)
    attributes: dict[str, Attribute] = {"most": most, "reduce": sums.reduce, "images": RunTime("images")}
    return Op(name, layer, "update", tuple(bucket), tuple(bucket), tuple(scratch), attributes, across_images=True)


def _begun(op: Op) -> tuple[Op, Op]:
    """What may go on beside others, and what waits for it: `gpunet.compile.overlap` puts others between."""
    return op, replace(op, name=AWAIT)


def _sharded(program: Program, updates: Sequence[Op], sums: Division) -> tuple[Program, list[Op]]:
    """Large parameters are updated share by share, each rank with the caches of its own, and then given to all.

    Source: Rajbhandari et al. 2020, "ZeRO: Memory optimizations toward training trillion parameter models".
    """
    whole_ones = ("clip_", "unscale")  # the norm, and whether all are finite, is that of whole gradients
    clipped = any(op.name.startswith(whole_ones) for op in updates)
    whole = {p.tensor.name: p for p in program.parameters if p.caches and p.tensor.name not in program.split}
    large = {name: p for name, p in whole.items() if prod(p.tensor.shape) >= SHARDED_VALUES}
    caches: dict[str, Tensor] = {}
    ops: list[Op] = []
    for op in updates:
        parameter = large.get(op.outputs[0].name) if op.name.endswith("_update") and op.outputs else None
        if parameter is None or parameter.gradient is None:
            ops.append(op)
            continue
        w, dw = parameter.tensor, parameter.gradient
        room = largest(prod(w.shape), sums.ranks)
        caches |= {cache.name: replace(cache, shape=(room,)) for cache in parameter.caches}
        if not clipped:
            ops += _begun(_reduce([dw], len(ops), sums, REDUCE_SHARE))
        ops.append(replace(exchanged_tensors(op, caches), own_share=True, shared=0))
        ops += _begun(Op(GATHER_SHARES, w.layer, "update", (w,), (w,), attributes={"most": room}, across_images=True))
    parameters = tuple(replace(p, caches=tuple(caches.get(t.name, t) for t in p.caches)) for p in program.parameters)
    shapes = {t.name: t.shape for p in program.parameters for t in p.caches if t.name in caches}
    return replace(program, parameters=parameters, sharded={**program.sharded, **shapes}), ops


def _with_sums(ops: Sequence[Op], totals: dict[str, Tensor]) -> Iterable[Op]:
    """The ops of a part, each gradient being added to the sum as soon as nothing reads it any more."""
    last_use = {t.name: step for step, op in enumerate(ops) for t in op.arguments if t is not None and t.name in totals}
    own = {t.name: t for op in ops for t in op.outputs if t.name in totals}
    for step, op in enumerate(ops):
        yield op
        for name, last in last_use.items():
            if last == step:
                sums = {"accumulate": RunTime("accumulate")}
                yield Op("add_part", op.layer, "backward", (own[name],), (totals[name],), attributes=sums)


def _widened(program: Program, part: int, whole: int) -> Program:
    """The program with what the host fills or reads, and what leaves the loop, holding all images and not one part."""
    (loop,) = program.loops
    outside = {t.name for op in program.ops[loop.last :] for t in op.inputs if t.batched}
    fed = [program.image_bytes, program.next_bytes, program.images, program.labels, program.scores]
    names = outside | {t.name for t in fed if t is not None}

    def wide(tensor: Tensor) -> Tensor:
        return replace(tensor, shape=(whole, *tensor.shape[1:])) if tensor.name in names else tensor

    used = {t.name: wide(t) for op in program.ops for t in (*op.inputs, *op.outputs) if t.name in names}
    return replace(
        program,
        ops=tuple(exchanged_tensors(op, used) for op in program.ops),
        image_bytes=wide(program.image_bytes),
        next_bytes=None if program.next_bytes is None else wide(program.next_bytes),
        images=wide(program.images),
        labels=None if program.labels is None else wide(program.labels),
        scores=wide(program.scores),
    )
