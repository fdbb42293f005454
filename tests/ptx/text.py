"""PTX as NVRTC writes it, taken apart: functions, their parameters, and their statements with their lines."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

SIZES = {f"{kind}{8 * size}": size for kind in "busf" for size in (1, 2, 4, 8)}
SIZES |= {"pred": 1, "bf16": 2, "f16x2": 4, "bf16x2": 4, "tf32": 4}
"""Bytes of a value by its type."""


class UnknownError(AssertionError):
    """PTX that the machine does not know; it is refused, not guessed."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of so many bytes."""

    name: str
    kind: str
    nbytes: int


@dataclass(frozen=True)
class Function:
    """A kernel, or a function that kernels call. `body` begins in line `line` of the text."""

    name: str
    is_kernel: bool
    parameters: tuple[Parameter, ...]
    results: tuple[Parameter, ...]
    most_threads: int
    body: str
    line: int


_HEAD = re.compile(
    r"(\.entry|\.func)\s*(?:\(([^)]*)\))?\s*([\w$]+)\s*\(([^)]*)\)([^{;]*)([{;])",
)
_PARAMETER = re.compile(
    r"\.param\s+(?:\.align\s+\d+\s+)?\.(\w+)\s+(?:\.ptr\s+(?:\.(?:global|shared|const|local)\s+)?(?:\.align\s+\d+\s+)?)?([\w$]+)(?:\[(\d+)\])?"
)
_DYNAMIC = re.compile(r"^\.extern\s+\.shared\s+\.align\s+\d+\s+\.b8\s+([\w$]+)\[\]", re.MULTILINE)
_STATIC = re.compile(r"\.shared\s+\.align\s+(\d+)\s+\.(\w+)\s+([\w$]+)(?:\[(\d+)\])?")
_COMMENT = re.compile(r"//[^\n]*")


@dataclass(frozen=True)
class Module:
    """All functions of a text by name; `dynamic`: the names of shared memory whose size a launch says; `static`: of
    shared memory that the text declares outside of its functions, (name, alignment, bytes)."""

    functions: dict[str, Function]
    dynamic: frozenset[str]
    static: tuple[tuple[str, int, int], ...]


def parse(ptx: str) -> Module:
    """Raises UnknownError for memory that the machine has not."""
    text = _COMMENT.sub("", ptx)
    functions, outside, position = {}, [], 0
    while head := _HEAD.search(text, position):
        outside.append(text[position : head.start()])
        position = head.end()
        if head[6] == "{":
            start, position = position, _end_of_block(text, position)
            function = _function(head, text[start : position - 1], text.count("\n", 0, start) + 1)
            functions[function.name] = function
    module = "".join([*outside, text[position:]])
    if refused := re.search(r"^\s*(?:\.visible\s+)?\.(?:const|tex)\b.*", module, re.MULTILINE):
        raise UnknownError(refused[0])
    dynamic = frozenset(_DYNAMIC.findall(module))
    return Module(functions, dynamic, tuple(one for one in shared_in(module) if one[0] not in dynamic))


def shared_in(text: str) -> list[tuple[str, int, int]]:
    """The shared memory that a text declares: (name, alignment, bytes)."""
    return [(name, int(align), SIZES[kind] * int(count or 1)) for align, kind, name, count in _STATIC.findall(text)]


def _end_of_block(text: str, position: int) -> int:
    depth = 1
    for brace in re.compile(r"[{}]").finditer(text, position):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.end()
    raise UnknownError("a block without an end")


def _function(head: re.Match[str], body: str, line: int) -> Function:
    kind, results, name, parameters, attributes, _ = head.groups()
    bound = re.search(r"\.maxntid\s+(\d+)", attributes)
    most = int(bound[1]) if bound else 1024
    return Function(name, kind == ".entry", _parameters(parameters), _parameters(results or ""), most, body, line)


def _parameters(text: str) -> tuple[Parameter, ...]:
    return tuple(Parameter(name, kind, SIZES[kind] * int(count or 1)) for kind, name, count in _PARAMETER.findall(text))


def statements(function: Function) -> Iterator[tuple[int, str]]:
    """(line, statement) without braces of blocks; a label, as "NAME:", is one of its own."""
    line = function.line
    for piece in function.body.split(";"):
        begun = line
        line += piece.count("\n")
        text = piece.lstrip()
        while text:
            begun = line - text.count("\n")
            if text[0] in "{}":
                text = text[1:].lstrip()
            elif label := re.match(r"[\w$]+:", text):
                yield begun, label[0]
                text = text[label.end() :].lstrip()
            else:
                yield begun, " ".join(text.split())
                break


def split_operands(text: str) -> list[str]:
    """Operands between commas, those in braces one by one."""
    return (
        [operand.strip() for operand in text.translate({ord(brace): None for brace in "{}"}).split(",")] if text else []
    )
