"""A kernel of PTX as the machine takes it: rows of numbers, each an instruction, and the constants that they name.

Every value has a place for 32 lanes, registers in one area and constants in another; calls are written out in place.
"""

import re
from dataclasses import dataclass, field

import numpy as np

from .forms import shape_of
from .text import SIZES, Function, Module, UnknownError, shared_in, split_operands, statements

LANES = 32
NOBODY = 0x7FFFFFFF
SHARED_WINDOW = 1 << 60
"""Where shared memory begins among generic addresses, as in machine/memory.h."""

SPECIAL = {"%ntid.x": 0, "%ctaid.x": 4 * LANES, "%nctaid.x": 8 * LANES}
"""Places among the constants of what a launch says."""

ALONE = {"%tid.y": 0, "%tid.z": 0, "%ctaid.y": 0, "%ctaid.z": 0, "%ntid.y": 1, "%ntid.z": 1, "%nctaid.y": 1,
         "%nctaid.z": 1}  # fmt: skip
"""Launches have one axis."""

_INSTRUCTION = re.compile(r"(?:@(!?)(%[\w]+)\s+)?([a-z][\w.:]*)\s*(.*)")
_ADDRESS = re.compile(r"\[\s*(%?[\w$]+)\s*(?:\+\s*(-?\d+))?\s*\]")
_REGISTERS = re.compile(r"\.reg\s+\.(\w+)\s+(%?\w+)(?:<(\d+)>)?$")
_LOCAL = re.compile(r"\.param\s+\.(\w+)\s+([\w$]+)$")
_CALL = re.compile(r"call(?:\.uni)?\s*(?:\(([^)]*)\)\s*,\s*)?([\w$]+)\s*,\s*\(([^)]*)\)")
_WHOLE = re.compile(r"-?(?:0[xX][0-9A-Fa-f]+|\d+)U?")


@dataclass(frozen=True)
class Value:
    """Where 32 values of `size` bytes lie: bytes from the registers, or ~bytes from the constants."""

    at: int
    size: int


@dataclass
class Program:
    """What machine_program takes; `parameters` are (first byte, bytes) of the kernel's parameters."""

    rows: np.ndarray
    instructions: int
    constants: bytes
    register_bytes: int
    shared_bytes: int
    parameters: list[tuple[int, int]]


@dataclass
class _Scope:
    """What names mean inside of a function: its values, parameters, and what is put before its labels."""

    prefix: str
    values: dict[str, Value] = field(default_factory=dict)


class Assembler:
    """Makes a kernel of a module into a program. `forms`: the number of each form that the machine has."""

    def __init__(self, module: Module, forms: dict[str, int]):
        self._module = module
        self._forms = forms
        self._rows: list[list[int]] = []
        self._jumps: list[tuple[int, str]] = []
        self._labels: dict[str, int] = {}
        self._constants = bytearray(12 * LANES)
        self._known_constants: dict[bytes, Value] = {}
        self._register_bytes = 4 * LANES  # threadIdx.x is first
        self._addresses: dict[str, int] = {}
        self._shared_bytes = 0
        self._inlined = 0
        self._line = 0
        self._guard = [NOBODY, 0]

    def assemble(self, kernel: str) -> Program:
        """Raises UnknownError, with the statement, for what the machine does not know."""
        function = self._module.functions[kernel]
        for name, align, size in [*self._module.static, *shared_in(function.body)]:
            self._place_shared(name, align, size)
        self._shared_bytes = -(-self._shared_bytes // 16) * 16  # dynamic shared memory begins here
        self._addresses |= dict.fromkeys(self._module.dynamic, self._shared_bytes)
        parameters = self._place_parameters(function)
        self._function(function, _Scope(""))
        for row, label in self._jumps:
            self._rows[row][4] = self._labels[label]
        rows = np.array([number for row in self._rows for number in row], np.int64)
        return Program(
            rows, len(self._rows), bytes(self._constants), self._register_bytes, self._shared_bytes, parameters
        )

    def _place_shared(self, name: str, align: int, size: int) -> None:
        self._addresses[name] = -(-self._shared_bytes // align) * align
        self._shared_bytes = self._addresses[name] + size

    def _place_parameters(self, function: Function) -> list[tuple[int, int]]:
        places, end = [], 0
        for parameter in function.parameters:
            start = -(-end // 16) * 16
            self._addresses[parameter.name] = start
            places.append((start, parameter.nbytes))
            end = start + parameter.nbytes
        return places

    # ---- statements ----

    def _function(self, function: Function, scope: _Scope) -> None:
        for self._line, statement in statements(function):
            try:
                self._statement(statement, scope)
            except (KeyError, ValueError, TypeError, IndexError) as error:
                raise UnknownError(f"line {self._line}: {statement} ({error!r})") from error
            except UnknownError as error:
                raise UnknownError(f"line {self._line}: {statement} ({error})") from error

    def _statement(self, statement: str, scope: _Scope) -> None:
        if statement.endswith(":"):
            self._labels[scope.prefix + statement[:-1]] = len(self._rows)
        elif statement.startswith("."):
            self._directive(statement, scope)
        elif found := _CALL.match(statement):
            self._call(*found.groups(), scope=scope)
        else:
            self._instruction(statement, scope)

    def _directive(self, statement: str, scope: _Scope) -> None:
        if found := _REGISTERS.match(statement):
            kind, name, count = found.groups()
            names = [name] if count is None else [f"{name}{number}" for number in range(int(count))]
            for one in names:
                scope.values[one] = self._new(SIZES[kind])
        elif found := _LOCAL.match(statement):
            scope.values[found[2]] = self._new(SIZES[found[1]])
        elif not statement.startswith((".shared", ".pragma", ".loc")):
            raise UnknownError("a directive")

    def _new(self, size: int) -> Value:
        value = Value(self._register_bytes, size)
        self._register_bytes += -(-size * LANES // 64) * 64
        return value

    def _call(self, results: str | None, name: str, arguments: str, *, scope: _Scope) -> None:
        """The function's body in place of the call: what it gives and takes are values of the caller."""
        function = self._module.functions[name]
        self._inlined += 1
        inside = _Scope(f"{scope.prefix}{self._inlined}:")
        for parameter, argument in zip(
            (*function.results, *function.parameters),
            split_operands(results or "") + split_operands(arguments),
            strict=True,
        ):
            inside.values[parameter.name] = scope.values[argument]
        line = self._line
        self._function(function, inside)
        self._line = line
        self._labels[f"{inside.prefix}end"] = len(self._rows)

    # ---- instructions ----

    def _instruction(self, statement: str, scope: _Scope) -> None:
        unless, guard, opcode, rest = _INSTRUCTION.fullmatch(statement).groups()  # type: ignore[union-attr]
        holder = scope.values[guard].at if guard else NOBODY
        self._guard = [holder, int(bool(unless))]
        operands = split_operands(rest)
        if opcode.startswith("bra"):
            self._jump(scope.prefix + operands[0])
        elif opcode.startswith("ret") and scope.prefix:
            self._jump(f"{scope.prefix}end")
        elif opcode.startswith("cvta"):
            self._address_of(opcode, operands, scope)
        elif opcode.startswith("mov") and "{" in rest:
            self._parts(opcode, rest, scope)
        elif ".param." in opcode and (local := scope.values.get(_name_in(rest))):
            self._move_local(opcode, operands, local, scope)
        else:
            self._ordinary(opcode, operands, scope)

    def _ordinary(self, opcode: str, operands: list[str], scope: _Scope) -> None:
        shape = shape_of(opcode)
        if opcode.startswith(("bar.sync", "barrier.sync")) and operands != ["0"]:
            raise UnknownError("a barrier other than 0")
        if opcode.startswith("shfl"):
            operands = [part for operand in operands for part in operand.split("|")]
            shape = shape if len(operands) == 5 else type(shape)(shape.name, (4, 1, 4, 4, 4, 4))
        offset, values = shape.number, []
        for number, operand in enumerate(operands):
            size = shape.sizes[number] if not _is_move(opcode) else shape.sizes[0]
            if found := _ADDRESS.fullmatch(operand):
                base, distance = found.groups()
                if distance and offset:
                    raise UnknownError("two distances")
                offset += int(distance or 0)
                values.append(self._value(base, 8 if base in self._addresses else 0, scope))
            else:
                values.append(self._sized(operand, size, shape.wider, scope))
        if not _is_move(opcode) and len(values) != len(shape.sizes) and not shape.name.startswith("cp.async."):
            raise UnknownError(f"{len(values)} operands where there are {len(shape.sizes)}")
        self._add(self._narrowest(shape.name, values), values, offset)

    def _sized(self, operand: str, size: int, wider: bool, scope: _Scope) -> Value:
        value = self._value(operand, size, scope)
        if size and (value.size < size or (value.size > size and not wider)):
            raise UnknownError(f"{operand} has {value.size} bytes where {size} are taken")
        return value

    @staticmethod
    def _narrowest(name: str, values: list[Value]) -> str:
        """The form of a load: a sign matters only where a register is wider than what is loaded."""
        op, _, kind = name.rpartition(".")
        if op.startswith("ld.") and kind[0] == "s" and values[0].size == SIZES[kind]:
            return f"{op}.b{kind[1:]}"
        return name

    def _jump(self, label: str) -> None:
        self._jumps.append((len(self._rows), label))
        self._add("bra", [])

    def _address_of(self, opcode: str, operands: list[str], scope: _Scope) -> None:
        """Generic addresses: those of global memory are the same, shared memory is a window."""
        values = [self._value(operand, 8, scope) for operand in operands]
        if "shared" not in opcode:
            self._add("mov.b64", values)
        else:
            window = self._constant(SHARED_WINDOW.to_bytes(8, "little"))
            self._add("sub.b64" if ".to." in opcode else "add.b64", [*values, window])

    def _parts(self, opcode: str, rest: str, scope: _Scope) -> None:
        """mov between a register and the parts of it."""
        whole = SIZES[opcode.rpartition(".")[2]]
        joins = not rest.startswith("{")
        operands = split_operands(rest)
        part = whole // (len(operands) - 1)
        wholes = [0] if joins else [len(operands) - 1]
        values = [
            self._sized(operand, whole if number in wholes else part, False, scope)
            for number, operand in enumerate(operands)
        ]
        self._add(f"{'join' if joins else 'split'}.b{8 * whole}.b{8 * part}", values)

    def _move_local(self, opcode: str, operands: list[str], local: Value, scope: _Scope) -> None:
        """What a call hands over: a value like any other."""
        name = f"mov.b{8 * local.size}"
        if opcode.startswith("st"):
            self._add(name, [local, self._sized(operands[1], local.size, False, scope)])
        else:
            self._add(name, [self._sized(operands[0], local.size, False, scope), local])

    def _add(self, name: str, values: list[Value], number: int = 0) -> None:
        if name not in self._forms:
            raise UnknownError(f"there is no {name}")
        row = [self._forms[name], *self._guard, self._line, number, len(values)]
        self._rows.append(row + [part for value in values for part in (value.at, value.size)])

    # ---- values ----

    def _value(self, operand: str, size: int, scope: _Scope) -> Value:
        if operand in scope.values:
            return scope.values[operand]
        if operand == "_":
            return self._new(size)
        if operand == "%tid.x":
            return Value(0, 4)
        if operand in SPECIAL:
            return Value(~SPECIAL[operand], 4)
        if operand in ALONE:
            return self._constant(ALONE[operand].to_bytes(size, "little"))
        if operand in self._addresses:
            return self._constant(self._addresses[operand].to_bytes(size, "little"))
        return self._constant(_literal(operand, size))

    def _constant(self, value: bytes) -> Value:
        if value not in self._known_constants:
            self._known_constants[value] = Value(~len(self._constants), len(value))
            self._constants += (value * LANES).ljust(-(-len(value) * LANES // 64) * 64, b"\0")
        return self._known_constants[value]


def _is_move(opcode: str) -> bool:
    return opcode.startswith(("ld.", "st."))


def _name_in(operands: str) -> str:
    """What stands in brackets, if that is a name alone."""
    found = _ADDRESS.search(operands)
    return found[1] if found and not found[1].startswith("%") and not int(found[2] or 0) else ""


def _literal(text: str, size: int) -> bytes:
    """A number as PTX writes it, as `size` bytes. Raises UnknownError for what is none."""
    if (found := re.fullmatch(r"0[fF]([0-9A-Fa-f]{8})|0[dD]([0-9A-Fa-f]{16})", text)) is not None:
        value = bytes.fromhex(found[1] or found[2])[::-1]
        if len(value) == size:
            return value
    elif _WHOLE.fullmatch(text) and size:
        number = int(text.rstrip("U"), 0)
        return (number & (256**size - 1) if size > 1 else int(number != 0)).to_bytes(size, "little")
    raise UnknownError(f"operand {text}")
