"""The arrow notation of the notes, `INPUT[32x32x3] -> [CONV3-64 -> RELU]*2 -> POOL2 -> FC-10`, read into layers.

    pattern   = [ INPUT [ "[" volume "]" ] "->" ] sequence
    sequence  = item { "->" item }
    item      = repeat | branches | head | layer
    repeat    = "[" sequence "]" [ "*" times ]          none with *0
    branches  = "{" branch sign branch { sign branch } "}" [ coefficients ] [ "as" name ]
    sign      = "|" | "+" | "*" | max               the same between all of them
    branch    = sequence | ID
    coefficients = "(" number { "," number } ")"     one a branch, behind sums
    head      = AUX [ "(" weight "=" number ")" ] "[" sequence "]"
    layer     = word[sizes] [ "-" count ] [ "(" option { "," option } ")" ] [ "?" ] [ "as" name ]
    option    = field "=" value
    sizes     = number { "x" number }

Branches all take what comes before them: `|` concatenates their outputs along depth, `+` adds them, perhaps each times
its coefficient, `*` multiplies them, `max` takes the largest value, ID hands on what it takes. A head is a side branch
with a loss of its own, there in training alone; what comes behind it takes what the head took. `POOL?`, as the notes
write it, pools where the window fits and there is something to pool. White space and lines are free; `#` begins a
comment that ends with its line. Words, numbers, counts and options are those of the layer classes: nothing here knows
a layer but those that merge. A recursive descent parser, one method for each rule, linear in the length of the text.
Source of the notation: CS231n "ConvNet Architectures", layer patterns.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from gpunet.errors import GpunetError
from gpunet.layers.merge import Add, Concat, Maximum, Merge, Multiply
from gpunet.net.layer_text import Definition, LayerText
from gpunet.net.tokens import HEAD, IDENTITY, RESERVED, START, Token
from gpunet.net.tree import Branches, Head, Item, Pattern, Repeat
from gpunet.net.words import shown
from gpunet.program.volume import Volume

MOST_LAYERS = 10_000
MOST_NESTED = 50
HEAD_WEIGHT = 0.3
"""What GoogLeNet's heads weigh."""
_MERGES: dict[str, type[Merge]] = {kind.sign: kind for kind in (Concat, Add, Multiply, Maximum)}
_VOLUME = re.compile(r"[^\]]*")


def parse(text: str, words: Mapping[str, Definition] | None = None) -> Pattern:
    """Read the arrow notation; `words`: those that are defined beside the layers' own.

    Raises ConfigError: what is wrong and what would be right, then the line with a caret under the place.
    """
    return _Parser(text, words or {}).pattern()


def define(text: str) -> Definition:
    """Read what a word of a config's own stands for: a layer, of which fields may be left open, and what is behind it.

    Raises ConfigError as parse does.
    """
    return _Parser(text, {}).definition()


def wrong_word(word: str, known: Iterable[str]) -> str:
    """Why a config cannot define this word beside the known ones; "" where it can."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z_]{0,19}", word):
        return f"{shown(word)} cannot be a word of the notation; use up to 20 letters and _"
    if word in (*known, *RESERVED):
        return f"{word} has a meaning already; choose another word"
    return ""


class _Parser(LayerText):
    """`token` is the next one; each rule's method takes what belongs to it and leaves the rest."""

    def __init__(self, text: str, words: Mapping[str, Definition]) -> None:
        super().__init__(text, words)
        self.depth = self.braces = 0

    def definition(self) -> Definition:
        """The whole text as the definition of a word."""
        if self.token.kind != "word" or self.token.text == HEAD:
            self.fail(f"a definition begins with a layer, to which numbers and options go; found {self.token}")
        first, values = self.said()
        if self.token.kind == "end":
            return Definition(first.kind, values)
        if self.token.kind != "arrow":
            self.fail(f"expected -> or the end, found {self.token}")
        self.advance()
        rest, size = self._sequence()
        self._end()
        if self.names:
            name, at = next(iter(self.names.items()))
            self.fail(f"{name} would name a layer wherever the word stands; give the name there, behind the word", at)
        return Definition(first.kind, values, rest, 1 + size)

    def pattern(self) -> Pattern:
        volume = self._input()
        tree, _ = self._sequence()
        self._end()
        return Pattern(self.text, volume, tree)

    def _end(self) -> None:
        """Raise unless the text ends here."""
        if self.token.text in ("]", "}"):
            opening = "[" if self.token.text == "]" else "{"
            self.fail(f"this {self.token.text} closes nothing; remove it or open a {opening} before")
        if self.token.text in _MERGES and self.following().kind != "number":  # *2 repeats
            self.fail(f"{self.token.text} stands between branches; write {{ A {self.token.text} B }}")
        if self.token.kind != "end":
            self.fail(f"expected -> or the end, found {self.token}; layers are joined by ->")

    def _input(self) -> Volume | None:
        if self.token.text != START:
            return None
        self.advance()
        volume = None
        if self.token.text == "[":
            volume = self._volume(self.token.at + 1)
            self.advance()
        if self.token.kind != "arrow":
            self.fail(f"expected -> and a layer after {START}, found {self.token}; write {START}[32x32x3] -> ...")
        self.advance()
        return volume

    def _volume(self, at: int) -> Volume:
        """The volume between the bracket before `at` and the next one, which becomes the token."""
        inside = _VOLUME.match(self.text, at)
        assert inside  # it may be empty, but it always matches
        if inside.end() == len(self.text):
            self.fail(f"this [ is not closed; write {START}[32x32x3]")
        try:
            volume = Volume.parse(inside[0] if len(inside[0]) < 100 else f"{inside[0][:100]}...")
        except GpunetError as error:
            self.fail(str(error), at)
        self.token = Token("sign", "]", inside.end())
        return volume

    def _sequence(self) -> tuple[tuple[Item, ...], int]:
        """Items joined by arrows, and how many layers they are."""
        items: list[Item] = []
        size = 0
        while True:
            at = self.token.at
            items.append(self._item())
            size += items[-1].size
            self._check_size(size, at)
            if self.token.kind != "arrow":
                return tuple(items), size
            self.advance()

    def _item(self) -> Item:
        if self.token.text == "[":
            return self._repeat()
        if self.token.text == "{":
            return self._branches()
        if self.token.kind != "word":
            self.fail(f"expected a layer, [ or {{, found {self.token}")
        return self._head() if self.token.text == HEAD else self.layer()

    def _group(self, opening: int) -> tuple[tuple[Item, ...], int]:
        """A sequence in brackets, the first of which stands at `opening` and is the token."""
        self._deeper()
        self.advance()
        body, size = self._sequence()
        if self.token.kind == "end":
            self.fail("this [ is not closed; put a ] behind its last layer", opening)
        if self.token.text != "]":
            self.fail(f"expected -> or ], found {self.token}")
        self.advance()
        self.depth -= 1
        return body, size

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > MOST_NESTED:
            self.fail(f"brackets are nested more than {MOST_NESTED} deep; write fewer, larger groups")

    def _repeat(self) -> Repeat:
        named = len(self.names)
        body, size = self._group(self.token.at)
        times = self._times(size) if self.token.text == "*" and not self._ends_branch() else 1
        if times > 1 and len(self.names) > named:
            name, at = list(self.names.items())[named]
            self.fail(
                f"{name} would name {times} layers, since its group is repeated; remove the name or the *{times}", at
            )
        return Repeat(body, times, size * times)

    def _ends_branch(self) -> bool:
        """Whether the * that is the token stands between branches: no number of times is behind it."""
        return self.braces > 0 and self.following().kind != "number"

    def _branches(self) -> Branches:
        opening = self.token
        self._deeper()
        self.braces += 1
        self.advance()
        branches = [self._branch()]
        sign = self.token.text
        while self.token.text in _MERGES and self.token.text == sign:
            self.advance()
            branches.append(self._branch())
        self._close(opening.at, sign, len(branches))
        self.depth -= 1
        self.braces -= 1
        merge = self._with_coefficients(len(branches), sign) if self.token.text == "(" else _MERGES[sign]()
        size = 1 + sum(branch.size for branch in branches)
        name = self.name() if self.token.text == "as" else None
        return Branches(tuple(branches), merge, name, size, opening.at)

    def _with_coefficients(self, count: int, sign: str) -> Merge:
        """Take the coefficients behind `count` branches: the sum that has them."""
        opening = self.token.at
        if sign != Add.sign:
            self.fail(f"coefficients stand behind sums, {{ A + B }}(0.2, 1); {sign} has none")
        found = []
        while self.token.text in ("(", ","):
            self.advance()
            at, value = self.token.at, self.value("a coefficient")
            if isinstance(value, str | bool | tuple):
                self.fail(f"a coefficient must be a number; got {shown(value)}", at)
            found.append(float(value))
        if self.token.text != ")":
            self.fail(f"expected a comma or the ) that ends the coefficients, found {self.token}")
        self.advance()
        if len(found) != count:
            self.fail(f"{count} branches need as many coefficients; there are {len(found)}", opening)
        return Add(tuple(found))

    def _branch(self) -> Repeat:
        """One of several branches; the identity is an empty one."""
        at = self.token.at
        if self.token.text == IDENTITY:
            self.advance()
            if self.token.kind == "arrow":
                self.fail(f"{IDENTITY} is a whole branch; leave it out where layers follow")
            return Repeat((), 1, 0, at)
        if self.token.text in (*_MERGES, "}"):
            self.fail(f"this branch is empty; write {IDENTITY} where it hands on what it takes")
        body, size = self._sequence()
        return Repeat(body, 1, size, at)

    def _close(self, opening: int, sign: str, count: int) -> None:
        """Take the } behind `count` branches that `sign` separates."""
        if self.token.kind == "end":
            self.fail("this { is not closed; put a } behind its last branch", opening)
        if self.token.text in _MERGES:
            self.fail(f"{self.token.text} and {sign} stand side by side; put the inner branches in braces of their own")
        if self.token.text != "}":
            self.fail(f"expected ->, |, +, *, max or }}, found {self.token}")
        if count < 2:
            self.fail("a single branch needs no braces; write { A | B } to concatenate, { A + B } to add", opening)
        self.advance()

    def _head(self) -> Head:
        self.advance()
        weight: float = HEAD_WEIGHT
        if self.token.text == "(":
            weight = self._weight()
        if self.token.text != "[":
            self.fail(f"expected [ and the layers of the head, found {self.token}; write {HEAD}(weight=0.3)[...]")
        opening = self.token.at
        body, size = self._group(opening)
        if not size:
            self.fail("this head has no layers; put some between its brackets", opening)
        if _hands_on(body):
            self.fail("this head ends without a layer of its own; put one behind the inner head", opening)
        return Head(body, weight, size)

    def _weight(self) -> float:
        self.advance()
        if self.token.text != "weight":
            self.fail(f"{HEAD} has the option weight, found {self.token}; write {HEAD}(weight=0.3)[...]")
        self.advance()
        if self.token.text != "=":
            self.fail(f"expected = and a value for weight, found {self.token}")
        self.advance()
        at, value = self.token.at, self.value("weight")
        if isinstance(value, str | bool | tuple) or not 0 < value <= 1000:
            self.fail(f"the weight of a head must be a number above 0; got {shown(value)}", at)
        if self.token.text != ")":
            self.fail(f"expected the ) that ends the options, found {self.token}")
        self.advance()
        return float(value)

    def _times(self, size: int) -> int:
        self.advance()
        at = self.token.at
        times = self.integer("how often the group is repeated", "[...]*2")
        self._check_size(size * times, at)
        return times

    def _check_size(self, size: int, at: int) -> None:
        if size > MOST_LAYERS:
            self.fail(f"this makes {size:,} layers; a net has at most {MOST_LAYERS:,}", at)


def _hands_on(body: Sequence[Item]) -> bool:
    """Whether a sequence ends in an auxiliary head, so that what comes behind it takes an earlier output."""
    last = next((item for item in reversed(body) if item.size), None)
    return isinstance(last, Head) or (isinstance(last, Repeat) and _hands_on(last.body))
