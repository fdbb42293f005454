"""The ways in which a program is made to fit, and what they cost: a value that a plan carries and shows."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from gpunet.compile.chunk import run_in_chunks, run_in_micro_batches
from gpunet.compile.fuse import FUSIONS
from gpunet.compile.recompute import recompute
from gpunet.compile.rewrite import rewrite
from gpunet.program.program import Program


@dataclass(frozen=True, slots=True)
class Ways:
    """How a batch is made to fit beyond the savings that are free.

    `scratch_limit_bytes`  most bytes of scratch of one op of a convolution, an im2col matrix or slices of sums
    `dropped`              activations that are made a second time in backward
    `kept`                 activations that backward does not read, which stay for others to be made from
    `twice`                those of `dropped` that are made for others and once more for backward
    `cut, chunk`           the net up to the activation `cut` runs `chunk` images at a time; "" and 0: it does not
    `micro_batch`          the whole step runs so many images at a time and adds up the gradients; 0: it does not
    `ghost_rounds`         the whole step runs in so many rounds, each of which batch normalization takes for a batch of
                           its own, as so many ranks would; 0: it does not. Results are others
    `one_buffer`           images of bytes have one buffer, not two: the next batch is copied once a step has ended
    `late`                 large gradients of weights may wait for the end of the backward pass, and the gradient before
                           a pool and what is normalized for a convolution need not be there; costs no FLOPs, but
                           only pays where memory is short
    """

    scratch_limit_bytes: int
    dropped: tuple[str, ...] = ()
    cut: str = ""
    chunk: int = 0
    micro_batch: int = 0
    late: bool = False
    one_buffer: bool = False
    kept: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()
    ghost_rounds: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The kinds of way that are used, for people; empty where all savings are free."""
        used = {
            "recompute": self.dropped,
            "chunks": self.chunk,
            "micro-batches": self.micro_batch,
            "ghost-rounds": self.ghost_rounds,
        }
        return tuple(name for name, value in used.items() if value)

    @property
    def rounds(self) -> bool:
        """Whether gradients are added up over rounds."""
        return bool(self.chunk or self.micro_batch)


BEFORE = ("pool-before-relu", "small-switches", *FUSIONS)
"""Free savings that come before the ways: they change which activations are saved at all."""

LATE_BEFORE = ("late-conv-norm",)
"""Those of `BEFORE` that are only for where memory is short."""

LATE = ("late-unpool", "late-gradients")
"""Other free savings that are only for that."""


def apply(program: Program, ways: Ways, without: Collection[str] = ()) -> Program:
    """The program with all free savings but `without`, and these ways."""
    return change(prepare(program, without), ways, without)


def prepare(program: Program, without: Collection[str] = ()) -> Program:
    """The first half of `apply`, which many ways share."""
    return rewrite(program, without, only=BEFORE)


def change(
    program: Program,
    ways: Ways,
    without: Collection[str] = (),
    in_parts: Callable[[Program], Program] | None = None,
) -> Program:
    """The second half of `apply`, for a program that was prepared.

    `in_parts`  makes of the program of a part that of all parts in turn, which leaves no room for other loops
    """
    if ways.one_buffer:
        program = replace(program, next_bytes=None)
    if ways.late:
        program = rewrite(program, without, only=LATE_BEFORE)
    program = recompute(program, ways.dropped, ways.kept, ways.twice)
    if in_parts is not None:
        program = in_parts(program)
    elif ways.micro_batch:
        program = run_in_micro_batches(program, ways.micro_batch)
    elif ways.chunk:
        program = run_in_chunks(program, ways.cut, ways.chunk)
    before = *BEFORE, *LATE_BEFORE
    return rewrite(program, without, skip=before if ways.late else (*before, *LATE))
