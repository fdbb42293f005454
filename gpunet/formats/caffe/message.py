"""A message of Caffe as it was read, from text or from bytes: fields with the values that they were given."""

from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T", int, float, str, bool)


@dataclass
class Message:
    """`values` of the fields that were said, each a list; `line` where it begins in a text, 0 in bytes.

    `strange`  fields that Caffe's description does not have, with their lines
    """

    kind: str
    line: int = 0
    values: dict[str, list[Any]] = field(default_factory=dict)
    strange: list[tuple[str, int]] = field(default_factory=list)

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def one(self, name: str, default: T) -> T:
        """A field's value, the last where it was said again; `default` where it was not."""
        found: T = self.values.get(name, [default])[-1]
        return found

    def many(self, name: str) -> list[Any]:
        """All values of a field."""
        return self.values.get(name, [])

    def within(self, name: str) -> "Message":
        """A message in a field, the last where it was said again; an empty one where it was not."""
        found = self.values.get(name)
        return found[-1] if found else Message("Other")

    def array(self, name: str) -> np.ndarray:
        """The numbers of a field that is an array of them, in whatever parts it came."""
        parts = self.values.get(name, [])
        return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def all_strange(self) -> list[tuple[str, int]]:
        """The strange fields of it and of all messages in it."""
        inner = [m for values in self.values.values() for m in values if isinstance(m, Message)]
        return [*self.strange, *(one for message in inner for one in message.all_strange())]
