"""On which line each key of a TOML text stands, which tomllib does not say.

`lines_of` walks a text that tomllib has accepted, so it only has to find where keys and values begin and end. Paths are
those of the loaded document: ("layer", 2, "K") is K of the third [[layer]].
"""

import re

Path = tuple[str | int, ...]

_BLANK = re.compile(r"[ \t]*(?:#[^\n]*)?")
_GAP = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ATOM = re.compile(r"[^,\]}\n#]*")
_STRINGS = (
    re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}', re.DOTALL),
    re.compile(r"'''(?:[^']|'(?!''))*'{3,5}", re.DOTALL),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)


def lines_of(text: str) -> dict[Path, int]:
    """The line, from 1, of every key and table of a valid TOML text; lines end with \\n alone."""
    try:
        return _Walker(text).lines
    except (RecursionError, ValueError):  # nested beyond reason; callers fall back to the line of the table
        return {}


class _Walker:
    """Walks once over the text; `at` is the next character, `line` the line it is on."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.line = text, 0, 1
        self.lines: dict[Path, int] = {}
        self.counts: dict[Path, int] = {}  # arrays of tables: how many there are so far
        table: Path = ()
        self._skip(_GAP)
        while self.at < len(text):
            if text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_GAP)

    def _header(self) -> Path:
        """[table] or [[table]]; the path that its keys begin with."""
        brackets = 2 if self.text.startswith("[[", self.at) else 1
        self.at += brackets
        path: Path = ()
        keys = self._keys()
        for position, key in enumerate(keys):
            path += (key,)
            if brackets == 2 and position == len(keys) - 1:
                self.lines.setdefault(path, self.line)
                self.counts[path] = self.counts.get(path, 0) + 1
            if path in self.counts:
                path += (self.counts[path] - 1,)
            self.lines.setdefault(path, self.line)
        self.at += brackets
        return path

    def _pair(self, table: Path) -> None:
        """key = value; a dotted key also says where the tables on its way are."""
        path = table
        for key in self._keys():
            path += (key,)
            self.lines.setdefault(path, self.line)
        self.at += 1  # the equals sign
        self._skip(_BLANK)
        self._value(path)

    def _keys(self) -> list[str]:
        """The parts of a dotted key, up to what ends it."""
        keys = []
        while True:
            self._skip(_BLANK)
            bare = _BARE.match(self.text, self.at)
            if bare:
                self.at = bare.end()
                keys.append(bare[0])
            else:
                keys.append(_unquoted(self._string()))
            self._skip(_BLANK)
            if self.text[self.at] != ".":
                return keys
            self.at += 1

    def _value(self, path: Path) -> None:
        opening = self.text[self.at]
        if opening in "\"'":
            self._string()
        elif opening == "[":
            self._list(path)
        elif opening == "{":
            self._inline_table(path)
        else:
            self._skip(_ATOM)

    def _list(self, path: Path) -> None:
        self.at += 1
        self._skip(_GAP)
        index = 0
        while self.text[self.at] != "]":
            self.lines.setdefault((*path, index), self.line)
            self._value((*path, index))
            index += 1
            self._skip(_GAP)
            if self.text[self.at] == ",":
                self.at += 1
                self._skip(_GAP)
        self.at += 1

    def _inline_table(self, path: Path) -> None:
        self.at += 1
        self._skip(_GAP)
        while self.text[self.at] != "}":
            self._pair(path)
            self._skip(_GAP)
            if self.text[self.at] == ",":
                self.at += 1
                self._skip(_GAP)
        self.at += 1

    def _string(self) -> str:
        """The string that begins here, quotes included."""
        for kind in _STRINGS:
            if found := kind.match(self.text, self.at):
                self._to(found.end())
                return found[0]
        raise ValueError(f"no string at {self.at}")

    def _skip(self, what: re.Pattern[str]) -> None:
        found = what.match(self.text, self.at)
        assert found  # each of these patterns may be empty
        self._to(found.end())

    def _to(self, at: int) -> None:
        self.line += self.text.count("\n", self.at, at)
        self.at = at


def _unquoted(key: str) -> str:
    """A quoted key without its quotes; escapes, which nobody writes in a key, are read by tomllib."""
    if key[0] == "'" or "\\" not in key:
        return key[1:-1]
    from tomllib import loads

    return str(next(iter(loads(f"{key} = 0"))))
