"""What NVIDIA's disassembler shows of a kernel: its loops, and what their instructions are.

A loop is what lies between a label and the last branch back to it. Of a kernel's variants (packs or single values,
indices of 32 or 64 bits) the hot loop is that of the one that large aligned tensors take.
"""

import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LABEL = re.compile(r"^(\.L_\w+):$")
INSTRUCTION = re.compile(
    r"^\s*/\*[0-9a-f]+\*/\s+(?P<only>@!?U?P[0-9T]+ )?\s*(?P<name>[A-Z][A-Z0-9_.]*)(?P<rest>[^;]*);"
)
TARGET = re.compile(r"`\((\.L_\w+)\)")

LONG_DIVISION = re.compile(r"cuda_sm\d+_(?:div|rem)_[su]64")

INTEGER_DIVISION = re.compile(rf"^I2F\.(?:\w+\.)*RP|{LONG_DIVISION.pattern}")
"""A reciprocal of an integer, rounded up, is the first step of a 32-bit division; one of 64 bits is a call."""

FUSED = ("FFMA", "DFMA", "HFMA2", "HMMA", "IMMA", "DMMA")
"""Multiplications and additions in one, which products are made of."""

SAME = 0.5
"""Of the most multiply-adds that a loop has, so many make a product: around it there may be more, those of indices."""

LOCAL = ("LDL", "STL")
"""Values that left the registers."""


@dataclass(frozen=True)
class Loop:
    """One loop: its instructions by their whole names, and the text behind each.

    `way`  those that a warp goes through in the longest trip; where threads of a block have different parts, as half of
           them bring one factor and half the other, a warp has one part alone
    """

    begins: int
    ends: int
    instructions: tuple[tuple[str, str], ...]
    way: tuple[tuple[str, str], ...] = ()

    def __contains__(self, other: "Loop") -> bool:
        return self.begins <= other.begins and other.ends <= self.ends and other is not self

    @property
    def size(self) -> int:
        return len(self.instructions)

    @property
    def waits(self) -> bool:
        """Whether the whole block meets in it: it goes through tiles, and what takes time are the loops within."""
        return any(name.startswith("BAR") for name, _ in self.instructions)

    @property
    def divisions(self) -> int:
        """Integer divisions."""
        return sum(bool(INTEGER_DIVISION.search(name + rest)) for name, rest in self.instructions)

    @property
    def long(self) -> bool:
        """Whether numbers of 64 bits are divided: the way of huge tensors, whose loop is short as it calls for that."""
        return any(LONG_DIVISION.search(rest) for _, rest in self.instructions)

    @property
    def fused(self) -> int:
        """Multiply-adds of real numbers; where matrices are multiplied on tensor cores, these products alone."""
        kinds = [name.split(".")[0] for name, _ in self.instructions]
        return kinds.count("HMMA") or sum(kind in FUSED for kind in kinds)

    @property
    def share(self) -> float:
        """Of the multiply-adds among the instructions of its way."""
        way = self.way or self.instructions
        return Loop(self.begins, self.ends, way).fused / len(way)

    @property
    def per_read(self) -> float:
        """Products of matrices on tensor cores for each instruction that reads matrices for them; 0 where none does."""
        kinds = [name.split(".")[0] for name, _ in self.instructions]
        return kinds.count("HMMA") / kinds.count("LDSM") if "LDSM" in kinds else 0.0

    def widest(self, *kinds: str) -> int:
        """Bytes of the widest access of these kinds (LDG, STG, ...); 0 where there is none."""
        return max((_bytes(name) for name, _ in self.instructions if name.split(".")[0] in kinds), default=0)

    @property
    def moved(self) -> int:
        """Bytes that a thread loads from global memory and stores there in a trip."""
        return sum(_bytes(name) for name, _ in self.instructions if name.split(".")[0] in ("LDG", "STG"))


def _bytes(name: str) -> int:
    parts = name.split(".")
    for part, size in (("128", 16), ("64", 8), ("U8", 1), ("S8", 1), ("U16", 2), ("S16", 2)):
        if part in parts[1:]:
            return size
    return 4


@dataclass(frozen=True)
class Code:
    """A kernel's instructions and loops."""

    instructions: tuple[tuple[str, str], ...]
    loops: tuple[Loop, ...]

    @property
    def local(self) -> int:
        """Accesses to local memory."""
        return sum(name.split(".")[0] in LOCAL for name, _ in self.instructions)

    @property
    def hot(self) -> Loop | None:
        """The hot loop: of those without barriers that lie in no other such one, with the widest accesses to global
        memory, the shortest.

        None where there is no loop that reads or writes global memory.
        """
        free = [loop for loop in self.loops if not loop.waits]
        outer = [loop for loop in free if not any(loop in other for other in free)]
        reaching = [loop for loop in outer if loop.widest("LDG", "STG")]
        return min(reaching, key=lambda loop: (-_moved(loop), loop.long, loop.size), default=None)

    @property
    def trip(self) -> Loop | None:
        """Of the innermost loops of the hot one that which moves most: what a warp goes through for each pack."""
        hot = self.hot
        if hot is None:
            return None
        moving = [loop for loop in self.loops if loop.moved and (loop is hot or loop in hot)]
        inner = [loop for loop in moving if not any(other in loop for other in moving)]
        return max(inner, key=lambda loop: (_moved(loop), loop.moved, -loop.size))

    @property
    def product(self) -> Loop | None:
        """The main loop of a product: the innermost one of those with the most multiply-adds.

        Short loops within, and ways that few steps take, such as to the next tap or row, count as a whole.
        """
        most = max((loop.fused for loop in self.loops), default=0)
        found = [loop for loop in self.loops if most and loop.fused >= SAME * most]
        return min(found, key=lambda loop: loop.size, default=None)


def _moved(loop: Loop) -> int:
    """Its widest load and its widest store, in bytes."""
    return loop.widest("LDG") + loop.widest("STG")


def disassemble(code: bytes) -> dict[str, Code]:
    """The kernels of a cubin, by name. Raises FileNotFoundError where there is no disassembler."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(code)
        file.flush()
        done = subprocess.run([disassembler(), "-ndf", "-c", file.name], capture_output=True, text=True, check=True)
    return dict(_kernels(done.stdout))


@cache
def disassembler() -> str:
    """nvdisasm of NVIDIA's package. Raises FileNotFoundError with the command that installs it."""
    for folder in sys.path:
        if found := sorted(Path(folder).glob("nvidia/*/bin/nvdisasm*")):
            return str(found[-1])
    raise FileNotFoundError('there is no disassembler: pip install -e ".[static]"')


def _kernels(text: str) -> Iterator[tuple[str, Code]]:
    name, lines = None, []
    for line in text.splitlines():
        if line.startswith(".text."):
            if name:
                yield name, _code(lines)
            name, lines = line.removeprefix(".text.").removesuffix(":"), []
        elif name:
            lines.append(line)
    if name:
        yield name, _code(lines)


def _code(lines: list[str]) -> Code:
    places: dict[str, int] = {}
    instructions: list[tuple[str, str]] = []
    conditional: set[int] = set()
    last_back: dict[int, int] = defaultdict(int)
    for line in lines:
        if label := LABEL.match(line):
            places[label[1]] = len(instructions)
        elif found := INSTRUCTION.match(line):
            if found["only"]:
                conditional.add(len(instructions))
            instructions.append((found["name"], found["rest"]))
    jumps = {}
    for index, (name, rest) in enumerate(instructions):
        if name.startswith("BRA") and (target := TARGET.search(rest)) and target[1] in places:
            jumps[index] = places[target[1]]
            if jumps[index] <= index:
                last_back[jumps[index]] = index
    loops = []
    for begin, end in last_back.items():
        way = tuple(instructions[index] for index in _longest(begin, end, jumps, conditional))
        loops.append(Loop(begin, end, tuple(instructions[begin : end + 1]), way))
    return Code(tuple(instructions), tuple(loop for loop in loops if loop.size > 1))


def _longest(begin: int, end: int, jumps: Mapping[int, int], conditional: Collection[int]) -> list[int]:
    """The longest way through a loop, from its first instruction to its last, without going back in between."""
    lengths, follows = {end: 1}, {}
    for index in range(end - 1, begin - 1, -1):
        further = [index + 1] if index not in jumps or index in conditional or jumps[index] <= index else []
        further += [jumps[index]] if index < jumps.get(index, 0) <= end else []
        if known := [place for place in further if place in lengths]:
            follows[index] = max(known, key=lambda place: lengths[place])
            lengths[index] = 1 + lengths[follows[index]]
    way = [begin]
    while way[-1] in follows:
        way.append(follows[way[-1]])
    return way
