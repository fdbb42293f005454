"""A TOML file read with suspicion: plain values that know their lines, and a list of what is wrong with them."""

import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from gpunet.errors import ConfigError
from gpunet.net import toml_lines
from gpunet.net.foreign import option_instead
from gpunet.net.words import listed, quoted, shown
from gpunet.values.visible import visible

MOST_BYTES = 2**20
MOST_PROBLEMS = 50
MOST_DOTS = 100
"""Dots between two equals signs of a line: tomllib takes quadratic time over a key of very many parts."""


class Document:
    """What a TOML file holds, as `values`, and the problems found in it so far.

    `data`  what is to be read, where that is not the content of the file
    Raises ConfigError where the file cannot be read or is not TOML.
    """

    def __init__(self, path: Path, data: bytes | None = None) -> None:
        self.file = visible(str(path))
        self.text = self._decoded(self._bytes(path) if data is None else self._short(data)).replace("\r\n", "\n")
        self.values: dict[str, Any] = self._loaded()
        self._problems: list[tuple[int, str]] = []
        self._more = 0

    def wrong(self, path: toml_lines.Path, message: str, line: int = 0) -> None:
        """Note a problem with the key at `path`, on its line unless another is given."""
        if len(self._problems) < MOST_PROBLEMS:
            self._problems.append((line or self.line(path), message))
        else:
            self._more += 1

    def unknown(self, path: toml_lines.Path, owner: str, known: Iterable[str]) -> None:
        """Note that `owner` has no key of the name that ends `path`; it has the `known` ones."""
        if len(self._problems) >= MOST_PROBLEMS:
            self._more += 1
            return
        key, known = str(path[-1]), list(known)
        self.wrong(path, f"{owner} has no key {shown(key)}{option_instead(key, known) or f'; it has {listed(known)}'}")

    def check(self) -> None:
        """Raise ConfigError with all problems, in the order of the lines, if there are any."""
        if self._problems:
            raise ConfigError(self.said())

    def said(self) -> str:
        """All problems, in the order of the lines, each with its line."""
        said = [f"{self.file}, line {line}: {message}" for line, message in sorted(self._problems)]
        if self._more:
            said.append(f"... and {self._more} more")
        if len(said) > 1:
            said.insert(0, f"{self.file} has {len(self._problems) + self._more} mistakes:")
        return "\n".join(said)

    def line(self, path: toml_lines.Path) -> int:
        """The line of a key, or of the nearest table around it."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def line_in(self, path: toml_lines.Path, text: str, number: int) -> int:
        """The file's line of line `number` of the string `text` at `path`; the key's line where escapes hide it."""
        first, said = self.line(path), text.split("\n")[:number]
        for begin in (first, first + 1):  # the string begins behind the key, or on the next line
            there = self.text.split("\n")[begin - 1 :][:number]
            if len(there) == number and all(line in whole for line, whole in zip(said, there, strict=True)):
                return begin + number - 1
        return first

    @cached_property
    def _lines(self) -> dict[toml_lines.Path, int]:
        return toml_lines.lines_of(self.text)

    def _bytes(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                data = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            raise ConfigError(f"there is no file {self.file}") from None
        except IsADirectoryError:
            raise ConfigError(f"{self.file} is a directory; name the .toml file in it") from None
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise ConfigError(f"cannot read {self.file}: {getattr(error, 'strerror', None) or error}") from None
        return self._short(data)

    def _short(self, data: bytes) -> bytes:
        if len(data) > MOST_BYTES:
            raise ConfigError(f"{self.file} is larger than {MOST_BYTES // 2**20} MiB; a config is a short text")
        return data

    def _decoded(self, data: bytes) -> str:
        try:
            if (nul := data.find(b"\0")) >= 0:
                raise UnicodeDecodeError("utf-8", data, nul, nul + 1, "no text has it")
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise ConfigError(
                f"{self.file}, line {line}: this is not UTF-8 text; is it a TOML file? Files of weights are for gpunet "
                "import, or gpunet.import_weights"
            ) from None

    def _loaded(self) -> dict[str, Any]:
        import tomllib  # only where a file is read

        for number, line in enumerate(self.text.split("\n"), 1):
            if line.count(".") > MOST_DOTS and max(part.count(".") for part in line.split("=")) > MOST_DOTS:
                raise ConfigError(f"{self.file}, line {number}: more than {MOST_DOTS} dots; no key has so many parts")
        try:
            return tomllib.loads(self.text)
        except RecursionError:
            raise ConfigError(f"{self.file} is nested too deeply; a config has tables and values, no more") from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(self._syntax(str(error))) from None
        except ValueError:  # Python reads integers of at most 4,300 digits
            raise ConfigError(f"{self.file} holds an integer of thousands of digits; write a shorter one") from None

    def _syntax(self, message: str) -> str:
        """What tomllib said, with the file's name and the place quoted."""
        place = re.search(r" \(at line (\d+), column (\d+)\)$", message)
        if not place:
            reason = message.removesuffix(" (at end of document)")
            return f"{self.file}, line {self.text.count(chr(10)) + 1}: not TOML: {reason}, at the end"
        line, column = int(place[1]), int(place[2])
        at = sum(len(before) + 1 for before in self.text.split("\n")[: line - 1]) + column - 1
        return f"{self.file}, line {line}: not TOML: {message[: place.start()]}\n{quoted(self.text, at)}"
