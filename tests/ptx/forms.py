"""What the machine calls an instruction of PTX, and what its operands are.

Fewer names than PTX has: where the sign makes no difference, numbers are bits; modifiers that say nothing to a machine
that does one thing after another are left out.
"""

from dataclasses import dataclass
from functools import cache

from .text import SIZES, UnknownError

IGNORED = {
    "bra": {"uni"},
    "ld": {"volatile", "weak", "relaxed", "gpu", "v2", "v4"},
    "st": {"volatile", "weak", "relaxed", "gpu", "v2", "v4"},
    "atom": {"relaxed", "gpu"},
    "add": {"rn"},
    "sub": {"rn"},
    "mul": {"rn"},
    "ldmatrix": {"sync", "aligned", "m8n8", "shared", "shared::cta", "b16"},
    "mma": {"sync", "aligned", "row", "col"},
    "barrier": {"aligned"},
}
"""Modifiers by instruction."""

SIGNLESS = {"add", "sub", "mul.lo", "mad.lo", "and", "or", "xor", "not", "shl", "selp", "mov", "ld", "st", "setp.eq",
            "setp.ne", "atom"}  # fmt: skip
"""Of whole numbers; `selp`, `mov`, `ld` and `st` move floats as bits, too."""

MOVED = {"selp", "mov", "ld", "st"}

KINDS = {
    "mul.wide": "wtt", "mad.wide": "wttw", "mad": "tttt", "fma": "tttt", "neg": "tt", "abs": "tt", "not": "tt",
    "mov": "tt", "sqrt": "tt", "rcp": "tt", "ex2": "tt", "lg2": "tt", "rsqrt": "tt", "shl": "tt4", "shr": "tt4",
    "selp": "tttp", "bfi": "ttt44", "bfe": "tttt", "prmt": "tttt", "dp2a": "tttt", "dp4a": "tttt",
    "atom": "tat",
}  # fmt: skip
"""Of operands, the result first: t of the instruction's type, w twice as wide, 4 of so many bytes, p a predicate, a an
address. Three of the type where nothing is said."""

COMPARISONS = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}
COMBINED = {"and": 1, "or": 2, "xor": 3}


@dataclass(frozen=True)
class Shape:
    """`name` of the form; `sizes`, in bytes, of the operands: 0 for one of any size. `wider`: registers may be wider
    than the type, as those of loads, stores and conversions. `number` goes with the instruction."""

    name: str
    sizes: tuple[int, ...]
    wider: bool = False
    number: int = 0


@cache
def shape_of(opcode: str) -> Shape:
    """Raises UnknownError for what is no instruction; whether the machine has the form is for the machine to say."""
    op, *said = opcode.split(".")
    mods = [one for one in said if one not in IGNORED.get(op, ())]
    if op in ("ret", "exit", "bra"):
        return Shape("bra" if op == "bra" else "ret", ())
    if op in ("membar", "fence"):
        return Shape("membar", ())
    if op in ("bar", "barrier") and mods[:1] != ["warp"]:
        return Shape(".".join(["bar", *mods]), (4,))
    if op == "cp" or op == "shfl" or (op == "bar" and mods[0] == "warp"):
        return _of_warps(op, mods)
    if op in ("ldmatrix", "mma"):
        return _of_matrices(op, mods)
    if op == "setp":
        return _comparison(mods)
    if op == "cvt":
        return Shape(opcode, _conversion_sizes(mods), wider=True)
    if not mods or mods[-1] not in SIZES:
        raise UnknownError(opcode)
    return _ordinary(op, mods)


def _ordinary(op: str, mods: list[str]) -> Shape:
    kind, size = mods[-1], SIZES[mods[-1]]
    long = f"{op}.{mods[0]}"
    moved = op in MOVED and kind != "pred"
    if moved or (({op, long} & SIGNLESS) and kind[0] in "us"):
        mods = [*mods[:-1], f"b{8 * size}" if op != "atom" else f"u{8 * size}"]
    if op in ("ld", "st"):
        return _move(op, mods, kind)
    kinds = KINDS.get(long) or KINDS.get(op) or "ttt"
    width = {"t": size, "w": 2 * size, "4": 4, "p": 1, "a": 0}
    return Shape(".".join([op, *mods]), tuple(width[one] for one in kinds))


def _move(op: str, mods: list[str], kind: str) -> Shape:
    """A load or a store: a number with a sign is extended by it where the register is wider."""
    spaces = [one.replace("::cta", "") for one in mods[:-1]]
    if not {"global", "shared", "param", "local", "const"} & set(spaces):
        spaces = ["generic", *spaces]
    kind = kind if op == "ld" and kind in ("s8", "s16", "s32") else mods[-1]
    spaces = [one for one in spaces if not one.startswith("L1::") and not one.startswith("L2::")]
    return Shape(".".join([op, *spaces, kind]), (SIZES[kind],), wider=True)


def _comparison(mods: list[str]) -> Shape:
    compare, *middle, kind = mods
    combined = [COMBINED[one] for one in middle if one in COMBINED]
    flush = [one for one in middle if one == "ftz"]
    if len(combined) + len(flush) != len(middle):
        raise UnknownError(f"setp.{'.'.join(mods)}")
    compare = COMPARISONS.get(compare, compare)
    if compare in ("eq", "ne") and kind[0] in "us":
        kind = f"b{kind[1:]}"
    sizes = (1, SIZES[kind], SIZES[kind], *([1] if combined else []))
    return Shape(".".join(["setp", compare, *flush, kind]), sizes, number=combined[0] if combined else 0)


def _conversion_sizes(mods: list[str]) -> tuple[int, ...]:
    to, of = (SIZES.get(kind, 0) for kind in mods[-2:])
    if not to or not of:
        raise UnknownError(f"cvt.{'.'.join(mods)}")
    return (to, of, of) if mods[-2].endswith("x2") else (to, of)


def _of_warps(op: str, mods: list[str]) -> Shape:
    name = ".".join([op, *(one.replace("::cta", "") for one in mods if not one.startswith("L2::"))])
    if op == "shfl":
        return Shape(name, (4, 4, 4, 4, 4))
    if op == "bar" or mods[1].startswith("wait_group"):
        return Shape(name, (4,))
    return Shape(name, () if len(mods) == 2 else (0, 8, 4, 4))


def _of_matrices(op: str, mods: list[str]) -> Shape:
    if op == "ldmatrix":
        return Shape(".".join([op, *mods]), (*[4] * int(mods[0][1:]), 0))
    shape, d, a, b, c = mods
    if (d, c) != ("f32", "f32") or a != b:
        raise UnknownError(f"mma.{'.'.join(mods)}")
    depth, packed = int(shape.rpartition("k")[2]), 1 if a == "tf32" else 2
    registers = depth // packed // 2 + depth // packed // 4
    return Shape(f"mma.{shape}.{a}", (4,) * (8 + registers))
