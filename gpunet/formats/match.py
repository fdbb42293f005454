"""Which array of a foreign file is which parameter of a net: by the names that are known, else by order and shapes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gpunet.data.raw import clean_name
from gpunet.errors import DataError, GpunetError
from gpunet.formats.foreign import Foreign, Images
from gpunet.formats.layout import Layout, Place, mirrored
from gpunet.formats.torchvision import COUNTER, PARAMETERS, family_of, is_head, tidied
from gpunet.formats.turning import facing
from gpunet.net.net import Net, Node

ENDINGS = {
    "w": ("weight", "w", "W", "kernel"),
    "b": ("bias", "b"),
    "a": ("weight", "alpha", "a"),
    "scale": ("weight", "gamma", "scale"),
    "shift": ("bias", "beta", "shift"),
    "mean": ("running_mean", "moving_mean", "mean"),
    "variance": ("running_var", "moving_variance", "variance", "var"),
}
"""What the parameters of a layer are called at the ends of names."""

MOST_TOLD, MOST_IN_ORDER = 50, 12
"""Differences that are told; where one in the order brings all others with it, they are fewer."""


@dataclass(frozen=True)
class Pair:
    """A parameter of a net and the array that it is made of; `moves`: what is done to that, "" for nothing."""

    node: Node
    place: Place
    array: str
    values: np.ndarray
    moves: str

    @property
    def parameter(self) -> str:
        return f"{self.node.name}.{self.place.name}"


@dataclass(frozen=True)
class Match:
    """A foreign file and a net that belong together.

    `words`   how that was found, for people
    `sure`    whether by names; else it is a guess by order and shapes, to be looked at
    `images`  how they entered the net, where that is known
    `left`    arrays that are not needed, and why, a line each
    """

    net: Net
    foreign: Foreign
    pairs: tuple[Pair, ...]
    words: str
    sure: bool
    images: Images | None
    left: tuple[str, ...] = ()

    def weights(self, dtype: str) -> dict[str, np.ndarray]:
        """The parameters by name, laid out as they are here. Raises DataError for values that are no finite numbers."""
        return {pair.parameter: self._laid_out(pair, dtype) for pair in self.pairs}

    @cached_property
    def _turned(self) -> frozenset[str]:
        """The layers whose weights are turned round, as the maps of images stood in the opposite order."""
        if self.images is None or self.images.order != "BGR":
            return frozenset()
        found = facing(self.net)
        if found is None:
            raise DataError(f"{self.foreign.path}: images entered blue first, which weights alone cannot turn round")
        return found

    def _laid_out(self, pair: Pair, dtype: str) -> np.ndarray:
        values = pair.place.taken(pair.values, self.foreign.layout_of(pair.array))
        if pair.node.name in self._turned:
            values = mirrored(values, pair.place)
        with np.errstate(over="ignore", invalid="ignore"):
            made = np.array(values, dtype, order="C")
        if made.size and not (np.isfinite(made.min()) and np.isfinite(made.max())):
            raise DataError(f"{self.foreign.path}: {pair.array} holds NaN, or values that are infinite in {dtype}")
        return made


def match(foreign: Foreign, net: Net, spare: Collection[str] = ()) -> Match:
    """The net with its parameters in the file; with as many classes as the file tells apart.

    `spare`  layers that the file, where its names are known, need not have: they will be drawn anew

    Raises DataError, naming every array that is missing, left over or of another shape.
    """
    arrays = needed(foreign)
    known = _known_names(foreign, net, arrays)
    return _by_order(foreign, net, arrays) if known is None else _by_names(foreign, net, arrays, spare, *known)


def needed(foreign: Foreign) -> dict[str, np.ndarray]:
    """The arrays by the names of today, without those that count batches."""
    return {n: values for n, values in tidied(foreign.arrays).items() if n.rpartition(".")[2] != COUNTER}


def places(net: Net, *, heads: bool = False) -> list[tuple[Node, Place]]:
    """The parameters of a net in order, those of auxiliary heads aside unless they are wanted."""
    among = net.nodes if heads else net.trunk
    nodes = [(node, net.inputs(node)[0]) for node in among if net.weights(node)]
    return [
        (node, Place(node.layer, one.name, one.shape, volume)) for node, volume in nodes for one in net.weights(node)
    ]


def own_names(net: Net) -> dict[str, str]:
    """The parameters of a net by the names that PyTorch's modules would have them under: conv1.weight."""
    return {
        f"{node.name}.{place.name}": f"{node.name}.{PARAMETERS.get(place.name, place.name)}"
        for node, place in places(net)
    }


def _own_names_in(net: Net, arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The same, where the parameters of a layer may be called as elsewhere, too: conv1.kernel."""
    names = own_names(net)
    for node, place in places(net):
        called = (f"{node.name}.{ending}" for ending in ENDINGS.get(place.name, ()))
        key = f"{node.name}.{place.name}"
        names[key] = next((name for name in called if name in arrays), names[key])
    return names


def torch_names(net: Net, *, heads: bool = False) -> tuple[dict[str, str], Images | None, bool]:
    """What PyTorch's users call the parameters of a net: torchvision's names where it has the net, and how its images
    enter there; else its own.

    `heads`  whether those of auxiliary heads are named, too, where torchvision has them
    """
    found = family_of(net)
    if found is None:
        return own_names(net), None, False
    family, prefixes = found
    names = {
        f"{node.name}.{place.name}": f"{prefixes[node.name]}.{PARAMETERS[place.name]}"
        for node, place in places(net, heads=heads)
        if node.name in prefixes
    }
    return names, family.images, True


Known = tuple[dict[str, str], str, Images | None]


def _known_names(foreign: Foreign, net: Net, arrays: Mapping[str, np.ndarray]) -> Known | None:
    """The array of each parameter by names that most of the file has; None where it has others."""
    if foreign.names is not None and {f"{node.name}.{one.name}" for node, one in places(net)} <= foreign.names.keys():
        wanted = (f"{node.name}.{place.name}" for node, place in places(net, heads=True))
        said = {name: foreign.names[name] for name in wanted if name in foreign.names}
        return said, f"{foreign.format}'s own names", foreign.images
    if foreign.calls is not None:
        counted = dict(foreign.calls(net))
        fit = 2 * len({*counted.values()} & arrays.keys()) > len(counted)
        return (counted, f"{foreign.format}, counted by class", foreign.images) if fit else None
    names, images, torchvision = torch_names(net, heads=True)
    ways = [(names, "torchvision's names", images)] * torchvision + [
        (_own_names_in(net, arrays), "the net's own names", None)
    ]
    for names, words, images in ways:
        if 2 * len({*names.values()} & arrays.keys()) > len(names):
            return names, words, foreign.images or images
    return None


def _by_names(
    foreign: Foreign,
    net: Net,
    arrays: Mapping[str, np.ndarray],
    spare: Collection[str],
    names: Mapping[str, str],
    words: str,
    images: Images | None,
) -> Match:
    """The parameters by their names there."""
    heads = [name for name in arrays if is_head(name) and name not in names.values()]
    trunk = {node.name for node in net.trunk}
    scores = _scoring(net)
    scored = "" if scores is None else names.get(f"{scores.name}.w", "")
    if scores is not None and scored in arrays:
        net = _with_classes_of(net, scores, arrays[scored], foreign.layout_of(scored))
    wrong: list[str] = []
    pairs = []
    for node, place in places(net, heads=True):
        array = names.get(f"{node.name}.{place.name}", "")
        theirs = place.theirs(foreign.layout_of(array))
        if array not in arrays and (node.name in spare or node.name not in trunk):
            continue
        if array not in arrays:
            wrong.append(f"missing: {array} {theirs[0]}, for {node.name}.{place.name}")
        elif arrays[array].shape not in theirs:
            wrong.append(f"other shape: {array} is {arrays[array].shape}, and {node.name} takes {theirs[0]}")
        else:
            pairs.append(_pair(foreign, node, place, array, arrays[array]))
    strange = arrays.keys() - {*names.values()} - {*heads}
    wrong += [f"left over: {clean_name(name)} {arrays[name].shape}" for name in arrays if name in strange]
    if wrong:
        raise _other_net(foreign, net, words, wrong)
    left = (f"{len(heads)} arrays of heads, which are there in training alone",) if heads else ()
    sure = foreign.calls is None or not any(node.layer.merges for node in net.trunk)
    return Match(net, foreign, tuple(pairs), words, sure, images, left)


def _scoring(net: Net) -> Node | None:
    """The layer whose filters are the classes, where it is one."""
    ends = [node for node in net.trunk if node.name in net.scorers]
    return ends[0] if len(ends) == 1 else None


def _with_classes_of(net: Net, scores: Node, values: np.ndarray, layout: Layout) -> Net:
    """The net with as many classes as the weights of its last layer have in the file, where that can be."""
    order = {len(layout.conv): layout.conv, len(layout.fc): layout.fc}.get(values.ndim)
    classes = int(values.shape[order.index("K")]) if order else 0
    if not scores.layer.count or classes in (0, getattr(scores.layer, scores.layer.count)):
        return net
    try:
        return net.with_classes(classes)
    except GpunetError:  # the shapes say the rest
        return net


def _pair(foreign: Foreign, node: Node, place: Place, array: str, values: np.ndarray) -> Pair:
    return Pair(node, place, array, values, place.moves(values.shape, foreign.layout_of(array)))


# -- by order


def _by_order(foreign: Foreign, net: Net, arrays: Mapping[str, np.ndarray]) -> Match:
    """The layers in their order, each with the next group of arrays, where every shape fits."""
    groups = _grouped(foreign.names or {name: name for name in arrays}, arrays)
    scores = _scoring(net)
    ending = next((end for end in ENDINGS["w"] if groups and end in groups[-1][1]), None)
    if scores is not None and ending is not None:
        last, values = groups[-1][1][ending]
        net = _with_classes_of(net, scores, values, foreign.layout_of(last))
    nodes = [node for node in net.trunk if net.weights(node)]
    wrong, pairs = [], []
    for number in range(max(len(nodes), len(groups))):
        if number >= len(nodes):
            wrong.append(f"left over: {groups[number][0]} {_shapes(groups[number][1])}")
        elif number >= len(groups):
            wrong.append(f"missing: arrays for {nodes[number].name}")
        else:
            found = _layer(foreign, net, nodes[number], *groups[number])
            if isinstance(found, str):
                wrong.append(found)
            else:
                pairs += found
    if wrong:
        raise _other_net(foreign, net, "their order, as no names are known", wrong, MOST_IN_ORDER)
    return Match(net, foreign, tuple(pairs), "order and shapes", False, foreign.images)


Group = dict[str, tuple[str, np.ndarray]]
"""The arrays of a layer, with their names, by what these end in."""


def _grouped(names: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> list[tuple[str, Group]]:
    """The arrays that share the beginning of what they are known by, which is a layer's, in the file's order.

    `names`  the name in the file of each, by what it is known by
    """
    groups: dict[str, Group] = {}
    for known, name in names.items():
        beginning, _, ending = known.rpartition(".")
        groups.setdefault(beginning, {})[ending] = (name, arrays[name])
    return list(groups.items())


def _layer(foreign: Foreign, net: Net, node: Node, beginning: str, group: Group) -> "list[Pair] | str":
    """The pairs of a layer and a group; or why they do not belong together."""
    volume = net.inputs(node)[0]
    wanted = [Place(node.layer, one.name, one.shape, volume) for one in net.weights(node)]
    pairs = []
    for place in wanted:
        ending = next((end for end in ENDINGS.get(place.name, (place.name,)) if end in group), None)
        array, values = ("", None) if ending is None else group[ending]
        if values is None or values.shape not in place.theirs(foreign.layout_of(array)):
            takes = ", ".join(f"{place.name} {place.theirs(foreign.layout)[0]}" for place in wanted)
            return f"other shape: {node.name} takes {takes}, and {beginning or 'what comes there'} has {_shapes(group)}"
        pairs.append(_pair(foreign, node, place, array, values))
    if len(pairs) < len(group):
        return f"left over: {beginning} has {_shapes(group)}, more than {node.name} takes"
    return pairs


def _shapes(group: Group) -> str:
    return ", ".join(f"{clean_name(ending)} {values.shape}" for ending, (_, values) in group.items())


def _other_net(foreign: Foreign, net: Net, words: str, wrong: list[str], most: int = MOST_TOLD) -> DataError:
    """All that differs, a line each, and the way out."""
    told = [f"  {line}" for line in wrong[:most]]
    told += [f"  ... and {len(wrong) - most} more"] * (len(wrong) > most)
    return DataError(
        "\n".join(
            [
                f"{foreign.path} holds the weights of another net than {net.name}, by {words}:",
                *told,
                "give the net they are of as --net, to gpunet train as NET: a shipped one, a .toml file, a pattern",
            ]
        )
    )
