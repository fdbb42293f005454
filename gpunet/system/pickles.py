"""Pickles taken apart without running anything: a machine for the few instructions that make plain values.

A pickle is a program for a stack machine. The standard library's `pickle` runs it: it calls what the pickle names, and
makes room for what the pickle claims. This machine makes dicts, lists, tuples, text, bytes, numbers, and what the one
who uses it makes of the names, calls, states and references that it knows; anything else is refused. It takes a bounded
number of instructions, each of which makes at most one object: what it makes is never more than some times the bytes of
the pickle. The standard library's `pickletools` takes the instructions apart and runs none of them.
"""

import pickletools
from collections.abc import Mapping
from io import BytesIO
from typing import ClassVar

ERRORS = (ValueError, IndexError, KeyError, TypeError, OverflowError)
"""What a machine raises for a pickle that it cannot read."""

MOST_INSTRUCTIONS = 400_000

VALUES = frozenset(
    {"INT", "LONG", "LONG1", "STRING", "UNICODE", "BINFLOAT"}
    | {f"BININT{size}" for size in ("", "1", "2")}
    | {f"{size}BIN{kind}" for size in ("", "SHORT_") for kind in ("STRING", "UNICODE", "BYTES")}
    | {"BINUNICODE8", "BINBYTES8"}
)
"""Instructions that push their argument."""

CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Unknown(ValueError):
    """A pickle names what is not known, and what would have to be imported and perhaps run."""


class Mark:
    """What stands for a thing that a pickle names: nothing is imported, and nothing of it is called."""

    def __init__(self, what: str) -> None:
        self.what = what


class Machine:
    """Runs one pickle. Errors are ERRORS.

    `known`   what may be named, like "numpy ndarray", and the mark that stands for it
    `most_key_letters`  of a key; to find one in a dict all of it is compared
    """

    known: ClassVar[Mapping[str, str]] = {}
    most_key_letters: ClassVar[int] = 100

    def __init__(self, program: bytes | BytesIO) -> None:
        self.program = program
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def call(self, called: str, arguments: tuple[object, ...]) -> object:
        """What a known thing gives for these arguments."""
        raise ValueError(f"{called} is called")

    def build(self, top: object, state: object) -> None:
        """Give an object that was made its state."""
        raise TypeError("something is given a state")

    def refer(self, identity: object) -> object:
        """What an identity stands for that lies outside of the pickle."""
        raise ValueError("it refers to what lies outside of it")

    def check_key(self, key: object) -> None:
        """Raise unless it may be a key: to hash nested tuples, or integers of one hash, can take for ever."""
        if not isinstance(key, str | bytes):
            raise TypeError(f"a key is a {type(key).__name__}")
        if len(key) > self.most_key_letters:
            raise ValueError(f"a key of {len(key):,} letters")

    def run(self) -> object:
        for count, (instruction, argument, _) in enumerate(pickletools.genops(self.program)):
            name = instruction.name
            if count == MOST_INSTRUCTIONS:
                raise ValueError(f"more than {MOST_INSTRUCTIONS:,} instructions")
            if name == "STOP":
                break
            if name in VALUES:
                self.stack.append(argument)
            elif name in CONSTANTS:
                self.stack.append(CONSTANTS[name])
            elif name in TUPLES:
                self._replace(TUPLES[name], tuple(self.stack[-TUPLES[name] :]))
            elif name not in ("PROTO", "FRAME"):
                method = getattr(self, f"_{name.lower()}", None)
                if method is None:
                    raise ValueError(f"instruction {name}")
                method(argument)
        (found,) = self.stack
        return found

    def _replace(self, count: int, value: object) -> None:
        """`value` in the place of the last `count`."""
        if len(self.stack) - count < (self.marks[-1] if self.marks else 0):
            raise IndexError("too little on the stack")
        del self.stack[len(self.stack) - count :]
        self.stack.append(value)

    def _since_mark(self) -> list[object]:
        first = self.marks.pop()
        values = self.stack[first:]
        del self.stack[first:]
        return values

    def _mark(self, _: object) -> None:
        self.marks.append(len(self.stack))

    def _pop(self, _: object) -> None:
        self.stack.pop()

    # -- containers

    def _empty_dict(self, _: object) -> None:
        self.stack.append({})

    def _empty_list(self, _: object) -> None:
        self.stack.append([])

    def _tuple(self, _: object) -> None:
        self.stack.append(tuple(self._since_mark()))

    def _list(self, _: object) -> None:
        self.stack.append(self._since_mark())

    def _dict(self, _: object) -> None:
        values = self._since_mark()
        self.stack.append({})
        self._set(values)

    def _append(self, _: object) -> None:
        value = self.stack.pop()
        self._top_list().append(value)

    def _appends(self, _: object) -> None:
        values = self._since_mark()
        self._top_list().extend(values)

    def _setitem(self, _: object) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _setitems(self, _: object) -> None:
        self._set(self._since_mark())

    def _top_list(self) -> list[object]:
        top = self.stack[-1]
        if not isinstance(top, list):
            raise TypeError("something is put into what is no list")
        return top

    def _set(self, values: list[object]) -> None:
        top = self.stack[-1]
        if not isinstance(top, dict) or len(values) % 2:
            raise TypeError("something is put into what is no dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            self.check_key(key)
            top[key] = value

    # -- what was made before

    def _put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    _binput = _long_binput = _put

    def _memoize(self, _: object) -> None:
        self._put(len(self.memo))

    def _get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    _binget = _long_binget = _get

    # -- what is known

    def _global(self, name: str) -> None:
        if name not in self.known:
            raise Unknown(f"it names {name.replace(' ', '.')}")
        self.stack.append(Mark(self.known[name]))

    def _stack_global(self, _: object) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._global(f"{module} {name}" if isinstance(name, str) and isinstance(module, str) else "something")

    def _reduce(self, _: object) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        if not isinstance(called, Mark) or not isinstance(arguments, tuple):
            raise TypeError("something is called")
        self.stack.append(self.call(called.what, arguments))

    def _build(self, _: object) -> None:
        state, top = self.stack.pop(), self.stack[-1]
        self.build(top, state)

    def _binpersid(self, _: object) -> None:
        self.stack.append(self.refer(self.stack.pop()))
