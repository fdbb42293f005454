"""From the nodes of an ONNX file to the layers of a net, one after another; each kind of node has a rule.

A value is the output of a layer, with what its axes are (axes.py), or a constant, or something that could not be said.
A rule that finds itself at the end of a pattern (LRN taken apart, a convolution and its bias) makes a layer of all of
it, over what the pattern takes: what it made of the parts before is then needed by nobody (growing.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module

import numpy as np

from gpunet.data.raw import clean_name
from gpunet.errors import GpunetError
from gpunet.formats.onnx.axes import MAPS_FIRST, Axes, dims_of, is_held
from gpunet.formats.onnx.constants import constant_of, folded, shape_of
from gpunet.formats.onnx.curves import POINTS, Curve
from gpunet.formats.onnx.file import File, Node
from gpunet.formats.onnx.growing import Array, Entry, Growing, Only
from gpunet.formats.onnx.schema import ENTERS
from gpunet.layers.layer import Layer
from gpunet.program.volume import Volume

MOST_FOLLOWED = 12
"""Values before, of which a chain of elementwise nodes is seen as a function."""

UNREADABLE = (ValueError, TypeError, KeyError, IndexError, ArithmeticError, AssertionError, RecursionError)
"""What attributes and inputs raise that are not what a node must have."""

Sides = tuple[int, int, int, int]
NOTHING: Sides = (0, 0, 0, 0)

RULES = ("dense", "elementwise", "maps", "quantized", "shapes", "windows")
"""Modules of this package that have the rules of some nodes, in `RULES`."""


class Cannot(Exception):
    """Why a node cannot be said here."""


class Follows(Exception):
    """A node takes what could not be said itself."""


@dataclass(frozen=True)
class Value:
    """The output of an entry of the growing net.

    `number`  of the entry
    `volume`  None where it is not known, as what makes it could not be said
    `axes`    those of the value there
    `around`  rows above and below, columns left and right that were put around it, all of them `fill`
    """

    number: int
    volume: Volume | None
    axes: Axes = ()
    around: Sides = NOTHING
    fill: float = 0.0

    @property
    def known(self) -> Volume:
        """The volume. Raises Follows where it is not known."""
        if self.volume is None:
            raise Follows
        return self.volume

    @property
    def dims(self) -> Volume:
        """The volume with what was put around it."""
        top, bottom, left, right = self.around
        return replace(self.known, H=self.known.H + top + bottom, W=self.known.W + left + right)


@dataclass(frozen=True)
class Affine:
    """A value as scale * base + shift, by map or the same for all; `plain`: each of one number, as a file has it."""

    base: str
    scale: np.ndarray
    shift: np.ndarray
    shifted: bool
    plain: bool


@dataclass
class Importer:
    """What is known of the values of a graph so far, by their names.

    `makers`   the node that makes each
    `curves`   what each is of values before, as a function of single numbers: by the number of the entry
    `affines`  of those that are another, scaled and shifted
    `by_number`  the first value of each entry
    `dequantized`  the node that makes numbers of an array of bytes, by the name of that
    `cuts`     rows and columns around images before the middle is cut out, by the number of that entry
    """

    file: File
    N: int = 1
    values: dict[str, Value] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    makers: dict[str, Node] = field(default_factory=dict)
    curves: dict[str, dict[int, Curve]] = field(default_factory=dict)
    affines: dict[str, Affine] = field(default_factory=dict)
    growing: Growing = field(default_factory=Growing)
    by_number: dict[int, Value] = field(default_factory=dict)
    dequantized: dict[str, Node] = field(default_factory=dict)
    cuts: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.constants |= self.file.constants
        self._rules: dict[str, Rule] = {}
        for module in RULES:
            self._rules |= import_module(f"gpunet.formats.onnx.{module}").RULES

    # -- nodes

    def take(self, nodes: Sequence[Node]) -> None:
        """Go through nodes, which come in an order in which they can be run."""
        for node in nodes:
            self.makers |= dict.fromkeys(node.outputs, node)
            try:
                with np.errstate(all="ignore"):  # constants may be anything
                    outputs = self._outputs(node)
            except Follows:
                outputs = self._unsaid(node, "")
            except (Cannot, GpunetError) as error:
                outputs = self._unsaid(node, str(error))
            except UNREADABLE as error:
                told = f" ({clean_name(str(error))})" if str(error) else ""
                outputs = self._unsaid(node, f"its attributes or inputs cannot be read{told}")
            for name, output in zip(node.outputs, outputs, strict=False):
                if isinstance(output, Value):
                    self.values[name] = output
                    self.by_number.setdefault(output.number, output)
                    self.curves.setdefault(name, {})[output.number] = POINTS
                else:
                    self.constants[name] = output

    def _outputs(self, node: Node) -> Sequence["Value | np.ndarray"]:
        if node.op == "Constant":
            found = constant_of(node)
            if found is None:
                raise Cannot("it holds no numbers")
            return [found]
        given = [self.constants.get(name) for name in node.inputs if name]
        if node.op == "Shape" and given == [None]:
            value = self.padded(node.inputs[0])
            return [shape_of(node, dims_of(value.axes, value.dims, self.N))]
        if all(values is not None for values in given):
            made = folded(node, [values for values in given if values is not None], self.file.opset)
            if made is not None:
                return made
        rule = self._rules.get(node.op)
        if rule is None:
            raise Cannot("there is no layer here that does it")
        return rule(self, node)

    def _unsaid(self, node: Node, why: str) -> list[Value]:
        """Outputs that could not be said; where the file says their sizes, what comes behind can be looked at."""
        inputs = tuple(self.values[name].number for name in node.inputs if name in self.values)
        number = self.growing.add(Entry(inputs, why=_told(node, why) if why else ""))
        return [self._stand_in(name, number) for name in node.outputs]

    def _stand_in(self, name: str, number: int) -> Value:
        slot = self.file.slots.get(name)
        sizes = slot.dims[1:] if slot is not None and slot.dims is not None and len(slot.dims) == 4 else ()
        if len(sizes) != 3 or not all(isinstance(size, int) for size in sizes):
            return Value(number, None)
        D, H, W = (int(size) for size in sizes)
        return Value(number, Volume(H, W, D), MAPS_FIRST)

    # -- what rules ask

    def padded(self, name: str) -> Value:
        """What a node takes, perhaps with zeros around it.

        Raises Cannot where it is a constant, or nothing; Follows where it could not be said itself.
        """
        if name in self.values:
            _ = self.values[name].known
            return self.values[name]
        raise Cannot("it takes a constant where a volume is meant" if name in self.constants else "it takes nothing")

    def value(self, name: str) -> Value:
        """The same with nothing around it."""
        value = self.padded(name)
        if value.around != NOTHING:
            raise Cannot("what comes there has zeros around it, which only convolutions and pools take along here")
        return value

    def held(self, name: str, order: Axes = MAPS_FIRST) -> Value:
        """What a node takes, a volume whose axes stand in that order, perhaps with something around it.

        Raises Cannot where they do not.
        """
        value = self.padded(name)
        if not is_held(value.axes, order, value.known):
            has = ", ".join(letters or "1" for letters in value.axes)
            raise Cannot(f"it takes the axes {', '.join(order)}, and what comes there has {has}")
        return value

    def constant(self, name: str, what: str) -> np.ndarray:
        """Numbers that must be known. Raises Cannot where they are not."""
        if name not in self.constants:
            raise Cannot(f"its {what} are no constants")
        return self.constants[name]

    def argument(self, node: Node, place: int, name: str) -> np.ndarray | None:
        """A setting that is an attribute, or, in later files, an input; None where it is not said."""
        if node.input(place):
            return self.constant(node.input(place), name)
        found = node.attributes.get(name)
        return None if found is None else np.asarray(found)

    def maker(self, name: str, *ops: str) -> Node | None:
        """The node that makes a value, if it is one of these."""
        node = self.makers.get(name)
        return node if node is not None and node.op in ops else None

    def layer(
        self,
        node: Node,
        layer: Layer,
        *inputs: Value,
        arrays: Mapping[str, Array] | None = None,
        axes: Axes | None = None,
    ) -> Value:
        """A layer over these values; its output has the axes of the first of them, unless others are said."""
        volume = layer.output(*(value.known for value in inputs))
        name = self._name(node, arrays or {})
        number = self.growing.add(Entry(tuple(value.number for value in inputs), layer, name, arrays or {}))
        return Value(number, volume, inputs[0].axes if axes is None else axes)

    def only(self, what: Only, node: Node, value: Value, why: str) -> Value:
        """What can be said in one place alone, and why it cannot elsewhere; see Entry."""
        return replace(value, number=self.growing.add(Entry((value.number,), why=_told(node, why), only=what)))

    def is_image(self, value: Value) -> bool:
        """Whether it is what enters, of which no file of ours says how pixels become it."""
        entry = self.growing.entries[value.number]
        return ENTERS not in self.file.about and (value.number == 0 or entry.only == "cut")

    def ungated(self, value: Value) -> Value:
        """A gate as it was before it was repeated for a product; any other value as it is."""
        entry = self.growing.entries[value.number]
        return replace(value, number=entry.inputs[0]) if entry.only == "gate" else value

    def alias(self, name: str, of: str) -> None:
        """Another name of a value: it is of the same function of what came before."""
        self.curves[name] = dict(self.curves.get(of, {}))
        if of in self.affines:
            self.affines[name] = self.affines[of]

    def same(self, value: Value, axes: Axes | None = None) -> Value:
        """A node that changes nothing but how a volume lies."""
        return value if axes is None else replace(value, axes=axes)

    def _name(self, node: Node, arrays: Mapping[str, Array]) -> str:
        """What a layer is called: as its weights are, like features.0.weight, else as the node.

        Exporters call nodes by the way to the module and the op, /features/features.0/Conv.
        """
        for array in arrays.values():
            beginning, _, ending = array.name.rpartition(".")
            if beginning and ending in ENDINGS:
                return beginning
        parts = node.name.strip("/").split("/")
        if len(parts) > 1 and parts[-1].rstrip("_0123456789") == node.op:
            parts = parts[:-1]
        return "_".join(
            part for part, after in zip(parts, [*parts[1:], ""], strict=True) if not after.startswith(f"{part}.")
        )


def _told(node: Node, why: str) -> str:
    return f"{clean_name(node.name) or 'a node without a name'} ({clean_name(node.op)}): {why}"


ENDINGS = ("weight", "w", "kernel", "bias", "b", "scale", "a")

Rule = Callable[[Importer, Node], Sequence["Value | np.ndarray"]]
"""What a node gives. Raises Cannot, Follows, or what layers and attributes do that do not fit."""

Rules = Mapping[str, Rule]
