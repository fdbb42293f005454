"""Concatenation without a copy: what is to be joined is made among the maps of the joined volume, and what is taken
apart is read there.

A function Program -> Program that leaves every value as it was, bit for bit. A tensor may lie within a wider one where
each op that uses it can take rows with a stride, forward and back; the others are copied as before. The op stays in the
program and copies only what does not lie there, so activations can be dropped and made again by name. Concatenations of
concatenations, as in a dense block, all lie within the last. Source: Pleiss et al. 2017, "Memory-efficient
implementation of DenseNets", whose shared storage this is without its recomputation.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from gpunet.compile.in_place import in_place
from gpunet.memory.plan import live_bytes
from gpunet.program.program import Op, Program, Within
from gpunet.program.tensor import Kind, Tensor

READS: Mapping[str, tuple[int, ...]] = {
    "add": (0, 1),
    "batch_norm_backward": (0, 1),
    "batch_norm_backward_sums": (0, 1),
    "batch_norm_forward": (0,),
    "batch_norm_relu_backward": (0, 1),
    "batch_norm_relu_backward_sums": (0, 1),
    "batch_norm_relu_forward": (0,),
    "batch_norm_statistics": (0,),
    "concat_backward": (0,),
    "relu_backward": (0, 1),
    "relu_backward_masked": (0,),
    "relu_mask": (0,),
}
"""By op, the inputs that may be maps of a wider volume; of concat_forward all may."""

WRITES: Mapping[str, tuple[int, ...]] = {
    "batch_norm_forward": (0,),
    "batch_norm_relu_forward": (0,),
    "concat_forward": (0,),
}
"""The same of outputs; of concat_backward all may, and those of a convolution where the device says so."""

CONVOLUTIONS = ("conv_forward", "conv_relu_forward", "conv_norm_forward")

NORMALIZING = ("conv_norm_forward", "conv_norm_backward_weights")


def concat_in_place(program: Program) -> Program:
    """Let tensors lie within what they are joined to, or taken from, wherever that makes the peak no higher.

    The wider volume has its bytes from its first part on to its last, so it takes more where parts are apart in time.
    Where that is at the peak, its parts have bytes of their own, and the lowest of all that is tried is taken.
    """
    candidates = _Uses(program).candidates()
    if not candidates:
        return program
    best, least = program, max(live_bytes(in_place(program)))
    while candidates:
        tried = _placed(program, candidates)
        live = live_bytes(in_place(tried))
        peak = max(live)
        if peak < least or (peak == least and best is program):
            best, least = tried, peak
        wasteful = _wasteful(program, tried, live.index(peak))
        candidates = [one for one in candidates if tried.within[one.part].whole not in wasteful]
        if not wasteful:
            break
    return best


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A tensor that may lie among the maps of `whole` from `first` on."""

    part: str
    whole: str
    first: int


class _Uses:
    """Who uses the tensors of a program, and whether with a stride."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._contiguous: set[str] = set()  # what an op uses that knows no stride
        self._writers: dict[str, int] = {}
        for op in program.ops:
            reads, writes = _strided(program, op)
            self._contiguous |= {t.name for at, t in enumerate(op.inputs) if at not in reads}
            self._contiguous |= {t.name for at, t in enumerate(op.outputs) if at not in writes}
            for tensor in op.outputs:
                self._writers[tensor.name] = self._writers.get(tensor.name, 0) + 1
        fed = (program.image_bytes, program.images, program.next_bytes, program.scores, program.image_gradient)
        self._contiguous |= {t.name for t in fed if t is not None}

    def candidates(self) -> list[_Candidate]:
        """All that there are, each tensor once."""
        found: dict[str, _Candidate] = {}
        for op in self._program.ops:
            for candidate in self._of(op):
                found.setdefault(candidate.part, candidate)
        return list(found.values())

    def _of(self, op: Op) -> Iterator[_Candidate]:
        if op.name not in ("concat_forward", "concat_backward"):
            return
        parts, (whole,) = (op.inputs, op.outputs) if op.name == "concat_forward" else (op.outputs, op.inputs)
        first = 0
        for part in parts:
            if parts.count(part) == 1 and self._may_lie(part, whole):
                yield _Candidate(part.name, whole.name, first)
            first += part.shape[-1]

    def _may_lie(self, part: Tensor, whole: Tensor) -> bool:
        """Whether all that use a part take a stride, and it is made as the wider one is: once, in the same rounds."""
        once = self._writers.get(part.name) == self._writers.get(whole.name) == 1
        alike = part.shape[:-1] == whole.shape[:-1] and part.dtype == whole.dtype
        return once and alike and part.kind in (Kind.ACTIVATION, Kind.GRADIENT) and part.name not in self._contiguous


def _strided(program: Program, op: Op) -> tuple[Collection[int], Collection[int]]:
    """The inputs and the outputs of an op that may be maps of a wider volume."""
    reads: Collection[int] = range(len(op.inputs)) if op.name == "concat_forward" else READS.get(op.name, ())
    writes: Collection[int] = WRITES.get(op.name, ())
    fused = program.fusions.get(str(op.attributes.get("algorithm")), ())
    if op.name in NORMALIZING and "norm-maps" in fused:
        reads = (0,)
    if op.name == "concat_backward":
        writes = range(len(op.outputs))
    elif op.name in CONVOLUTIONS and op.attributes.get("slices", 1) == 1:
        writes = (0,) if "maps" in fused else ()
    return reads, writes


def _placed(program: Program, candidates: Collection[_Candidate]) -> Program:
    """The program with these within the widest that they lie in, and joined where they lie."""
    above = {one.part: one for one in candidates}
    within: dict[str, Within] = {}
    for one in candidates:
        whole, first = one.whole, one.first
        while whole in above:
            whole, first = above[whole].whole, first + above[whole].first
        within[one.part] = Within(whole, first)
    ops = tuple(_joined(op, above) for op in program.ops)
    return replace(program, ops=ops, within=within)


def _joined(op: Op, above: Mapping[str, _Candidate]) -> Op:
    """A concatenation that says which of its parts need no copy."""
    if op.name not in ("concat_forward", "concat_backward"):
        return op
    (whole,) = op.outputs if op.name == "concat_forward" else op.inputs
    arguments = (*op.inputs, *op.outputs)
    still = tuple(at for at, t in enumerate(arguments) if t.name in above and above[t.name].whole == whole.name)
    return replace(op, still=still)


def _wasteful(program: Program, tried: Program, step: int) -> set[str]:
    """The wider tensors that take more in a step than they and their parts would on their own."""
    alive, tensors = program.lifetimes, program.tensors
    own: dict[str, int] = {}
    there = {name for name, (first, last) in alive.items() if first <= step < last}
    for name, place in tried.within.items():
        own.setdefault(place.whole, 0)
        if name in there:
            own[place.whole] += tensors[name].nbytes
    found = set()
    for whole, nbytes in own.items():
        first, last = tried.lifetimes[whole]
        if first <= step < last and nbytes + (whole in there) * tensors[whole].nbytes < tensors[whole].nbytes:
            found.add(whole)
    return found
