"""From a TOML document to an input volume, layers and a loss; what is wrong on the way is noted in the document."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from gpunet.errors import GpunetError
from gpunet.layers.layer import Layer
from gpunet.layers.loss import Loss
from gpunet.net.augment import Augment
from gpunet.net.document import Document
from gpunet.net.fields import Line, Range, converted, missing, problem, types_of
from gpunet.net.foreign import instead
from gpunet.net.graph import INPUT
from gpunet.net.layer_text import MOST_NAME, Definition
from gpunet.net.net import SOFTMAX, Node
from gpunet.net.outside import known_layers, known_losses
from gpunet.net.pattern import MOST_LAYERS, define, parse, wrong_word
from gpunet.net.tokens import START, PatternError
from gpunet.net.toml_lines import Path
from gpunet.net.tree import Pattern
from gpunet.net.words import listed, nearest, shown
from gpunet.program.volume import FitPolicy, Volume

NOWHERE = Volume(1, 1, 1)
"""Stands for a volume that was not said or is wrong; the document then has a problem."""


@dataclass(frozen=True)
class Settings:
    """The plain keys of a config; `words`, `layer`, `augment`, `loss` and `train` are its tables."""

    title: Annotated[str, Line(1000)] = ""
    source: Annotated[str, Line(1000)] = ""
    name: Annotated[str, Line(MOST_NAME)] = ""
    input: str = ""
    net: str = ""
    fit: FitPolicy = "error"
    scale: float = 1 / 255
    shift: float = 0.0


@dataclass(frozen=True)
class Ending:
    """What a layer's table may say of a loss on its output; see gpunet.net.net.Node."""

    head: Annotated[float, Range(0, 1000, open=("least",))] | None = None


def read_settings(document: Document) -> Settings:
    """The plain keys; keys that a config does not have are noted."""
    known = [*types_of(Settings), "words", "layer", "augment", "loss", "train"]
    for key in document.values:
        if key not in known:
            document.unknown((key,), "a config", known)
    return Settings(**checked(document, (), document.values, Settings))


def checked(document: Document, path: Path, table: dict[str, Any], owner: type) -> dict[str, Any]:
    """Those values of `table` that can stand in their fields of `owner`, a dataclass; the others are noted."""
    good = {}
    for key in types_of(owner):
        if key in table:
            if wrong := problem(owner, key, table[key]):
                document.wrong((*path, key), wrong)
            else:
                good[key] = table[key]
    return converted(owner, good)


@dataclass(frozen=True)
class Layers:
    """The input volume and the layers of a config, said as a pattern or in tables (then pattern is None)."""

    input: Volume
    nodes: list[Layer | tuple[str, Layer] | Node]
    pattern: Pattern | None

    def point(self, document: Document, error: GpunetError) -> None:
        """Note what a net made of these layers raised, with the place where its layer is said."""
        if self.pattern is not None:
            _note(document, ("net",), self.pattern.pointed(error) or error)
            return
        names = [node.name if isinstance(node, Node) else "" for node in self.nodes]
        index = names.index(error.layer) if error.layer in names else 0
        document.wrong(("layer", index), str(error))


def read_layers(document: Document, settings: Settings) -> Layers:
    """The input volume and the layers."""
    values = document.values
    if "net" in values and "layer" in values:
        document.wrong(("layer",), "net and [[layer]] both say the layers; keep one of them")
    if "net" not in values and "layer" not in values:
        document.wrong((), 'the layers are not said; write net = "CONV3-64 -> ..." or [[layer]] tables')
    words = _words(document)
    pattern = _pattern(document, settings.net, words) if isinstance(values.get("net"), str) else None
    nodes = [*(pattern.layers if pattern else ()), *_tables(document, values.get("layer", []))]
    return Layers(_volume(document, settings.input, pattern), nodes, pattern)


def _note(document: Document, path: Path, error: GpunetError) -> None:
    """Note a problem with the notation at `path`, on the line of the place if it is known."""
    if isinstance(error, PatternError):
        line = document.line_in(path, error.text, error.line)
        document.wrong(path, f"{error.reason}\n{error.quote}", line)
    else:
        document.wrong(path, str(error))


def _words(document: Document) -> dict[str, Definition] | None:
    """What the words of [words] stand for; None where one of them is wrong."""
    table = document.values.get("words", {})
    if not isinstance(table, dict):
        document.wrong(("words",), f"words must be a table, [words]; got {shown(table)}")
        return None
    known = [layer.word for layer in known_layers()]
    words: dict[str, Definition] = {}
    for word, text in table.items():
        path = ("words", word)
        if wrong := wrong_word(word, known):
            document.wrong(path, wrong)
        elif not isinstance(text, str):
            document.wrong(path, f'{word} must stand for layers, like "CONV -> RELU"; got {shown(text)}')
        else:
            try:
                words[word] = define(text)
            except PatternError as error:
                _note(document, path, error)
    return words if len(words) == len(table) else None


def _volume(document: Document, text: str, pattern: Pattern | None) -> Volume:
    """The volume of `input` or of the pattern; both may say it, if they agree."""
    said = pattern.input if pattern else None
    wrong_pattern = pattern is None and "net" in document.values  # which may have said it
    if "input" not in document.values and said is None and not wrong_pattern:
        document.wrong((), 'the input volume is not said; write input = "32x32x3"')
    if not isinstance(document.values.get("input"), str):
        return said or NOWHERE
    try:
        volume = Volume.parse(text if len(text) < 100 else f"{text[:100]}...")
    except GpunetError as error:
        document.wrong(("input",), str(error))
        return NOWHERE
    if said is not None and said != volume:
        document.wrong(("input",), f"input is {volume} but net says {START}[{said}]; keep one of them")
    return volume


def _pattern(document: Document, text: str, words: dict[str, Definition] | None) -> Pattern | None:
    if words is None:
        return None  # what is wrong with them is noted, and the pattern would be wrong for their sake
    try:
        return parse(text, words)
    except PatternError as error:
        _note(document, ("net",), error)
        return None


def _tables(document: Document, tables: Any) -> Iterator[Node]:
    """The layers of [[layer]] tables."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        document.wrong(("layer",), "layer must be an array of tables; write [[layer]] before each")
        return
    if len(tables) > MOST_LAYERS:
        document.wrong(("layer", MOST_LAYERS), f"a net has at most {MOST_LAYERS:,} layers; got {len(tables):,}")
        return
    also = ("name", "inputs", *types_of(Ending))
    names: set[str] = set()
    for index, table in enumerate(tables):
        path = ("layer", index)
        layer: Layer | None = _typed(document, path, table, "layer", known_layers(), also)
        name, inputs = _name(document, path, table, names), _inputs(document, path, table)
        head = checked(document, path, table, Ending).get("head")
        if layer:
            yield Node(name, layer, inputs, head)


def read_augment(document: Document, input: Volume) -> Augment | None:
    """What the [augment] table says, which must suit the input; None where there is none."""
    table = document.values.get("augment")
    if table is None:
        return None
    if not isinstance(table, dict):
        document.wrong(("augment",), f"augment must be a table, [augment]; got {shown(table)}")
        return None
    for key in table:
        if key not in types_of(Augment):
            document.unknown(("augment", key), "[augment]", types_of(Augment))
    said = checked(document, ("augment",), table, Augment)
    try:
        augment = Augment(**said)
        if input != NOWHERE:
            augment.image(input)
    except GpunetError as error:
        named = re.match(r"\w*", str(error))
        document.wrong(("augment", named[0] if named else ""), str(error))
        return None
    return augment


def read_loss(document: Document) -> Loss:
    """What the [loss] table says, or the loss of a net that does not say."""
    table = document.values.get("loss")
    if isinstance(table, dict):
        loss: Loss | None = _typed(document, ("loss",), table, "loss", known_losses())
        return loss or SOFTMAX
    if table is not None:
        document.wrong(("loss",), f"loss must be a table, [loss]; got {shown(table)}")
    return SOFTMAX


def _typed(
    document: Document,
    path: Path,
    table: dict[str, Any],
    what: str,
    kinds: tuple[type, ...],
    also: tuple[str, ...] = (),
) -> Any:
    """The layer or loss (`what`) of one table, whose type is one of `kinds`, or None where it cannot be made.

    `also`  keys of the table that are not its fields
    """
    said = table.get("type")
    by_type = {vars(kind)["type"]: kind for kind in kinds}
    kind = by_type.get(said) if isinstance(said, str) else None
    if kind is None:
        document.wrong((*path, "type"), _no_type(what, said, list(by_type)))
        return None
    known = [*types_of(kind), "type", *also]
    for key in table:
        if key not in known:
            document.unknown((*path, key), f"a {said} {what}", known)
    values = checked(document, path, table, kind)
    if without := missing(kind, table):
        document.wrong(path, f"this {said} {what} needs {listed(without)}")
    if missing(kind, values):
        return None
    try:
        return kind(**values)
    except GpunetError as error:
        field = re.match(r"\w*", str(error))
        document.wrong((*path, field[0] if field else ""), str(error))
        return None


def _no_type(what: str, said: object, known: list[str]) -> str:
    if said is None:
        return f"this {what} needs a type; there are {listed(known)}"
    hint = ""
    if isinstance(said, str):  # a layer's type is its word in small letters
        hint = instead(said.upper(), map(str.upper, known)).lower() if what == "layer" else nearest(said, known)
    return f"there is no {what} type {shown(said)}{hint or f'; there are {listed(known)}'}"


def _name(document: Document, path: Path, table: dict[str, Any], names: set[str]) -> str:
    """The name that a table gives its layer, or "" where it leaves that to the net."""
    name = table.get("name", "")
    if "name" not in table:
        return ""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or len(name) > MOST_NAME:
        rule = f"letters, digits and _, not a digit first, at most {MOST_NAME} characters"
        document.wrong((*path, "name"), f"{shown(name)} is not a layer name; use {rule}")
        return ""
    if name == INPUT or name in names:
        what = "the name of the net's own input" if name == INPUT else "the name of an earlier layer too"
        document.wrong((*path, "name"), f"{name} is {what}; choose another")
    names.add(name)
    return name


def _inputs(document: Document, path: Path, table: dict[str, Any]) -> tuple[str, ...]:
    """The names of the layers that a table's layer takes, or () for the one before."""
    inputs = table.get("inputs")
    if inputs is None:
        return ()
    if not isinstance(inputs, list) or not inputs or not all(isinstance(name, str) for name in inputs):
        document.wrong((*path, "inputs"), 'inputs must be a list of layer names, like ["conv1"]')
        return ()
    return tuple(inputs)
