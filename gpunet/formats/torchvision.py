"""What torchvision calls the layers of the nets that both have: from the structure of a net, whatever its widths.

Source of the names: the state dicts of torchvision's models.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from gpunet.formats.foreign import Images
from gpunet.net.augment import NORMALIZATIONS
from gpunet.net.net import Net, Node

Prefixes = dict[str, str]
"""What stands before "weight" and "bias", by the name of the layer here."""

PARAMETERS = {
    "w": "weight",
    "a": "weight",
    "b": "bias",
    "scale": "weight",
    "shift": "bias",
    "mean": "running_mean",
    "variance": "running_var",
}
"""What PyTorch's modules call the parameters of a layer."""

COUNTER = "num_batches_tracked"
"""Of a norm: how many batches its running statistics have seen, which nothing here needs."""

IMAGENET = Images(*NORMALIZATIONS["imagenet"], size=(256, 256), words="torchvision's way of ImageNet")
HALVES = Images((0.5,) * 3, (0.5,) * 3, size=(256, 256), words="torchvision's way, with its transform_input=True")
"""Its GoogLeNet and Inception-v3 bring what was normalized as ImageNet to this."""


@dataclass(frozen=True)
class Family:
    """Nets whose layers have names of one kind: `shipped` here under these names, `prefixes` of those of a net."""

    shipped: tuple[str, ...]
    prefixes: Callable[[Net], Prefixes | None]
    images: Images = IMAGENET


def family_of(net: Net) -> tuple[Family, Prefixes] | None:
    """The family of a net, and what its layers are called there; None where torchvision has no net like it."""
    for family in FAMILIES:
        if (prefixes := family.prefixes(net)) is not None:
            return family, prefixes
    return None


def tidied(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays by the names of today: DenseNets published first have norm.1 where it is now norm1."""
    old = re.compile(r"^(.*denselayer\d+\.(?:norm|conv))\.([12]\.\w+)$")
    return {old.sub(r"\1\2", name): values for name, values in arrays.items()}


def is_head(name: str) -> bool:
    """Whether an array belongs to heads of training, of GoogLeNet or Inception-v3, which no score needs."""
    return name.startswith(("aux1.", "aux2.", "AuxLogits."))


# -- structures


def _learning(net: Net) -> list[Node]:
    return [node for node in net.trunk if net.weights(node)]


def _beside(net: Net) -> list[Node]:
    """The layers of its heads of training that learn."""
    trunk = {node.name for node in net.trunk}
    return [node for node in net.nodes if net.weights(node) and node.name not in trunk]


def _types(nodes: list[Node]) -> str:
    """A letter a layer: c(onv), b(n), f(c)."""
    return "".join({"conv": "c", "bn": "b", "fc": "f"}.get(node.layer.type, "?") for node in nodes)


def _chain(net: Net) -> Prefixes | None:
    """VGG and AlexNet: `features` counts convolutions, norms, ReLUs and pools; three FC layers are `classifier`."""
    types = _types(_learning(net))
    filters = types.removesuffix("fff").replace("b", "")
    if not re.fullmatch(r"(?:c+|(?:cb)+)fff", types) or len(filters) not in (5, 8, 10, 13, 16):
        return None
    if any(len(node.inputs) > 1 or node.layer.type not in CHAINED for node in net.trunk):
        return None
    front = [node for node in net.trunk if node.layer.type in CHAINED[:4]]
    first_fc = next(place for place, node in enumerate(net.trunk) if node.layer.type == "fc")
    behind_dropout = net.trunk[first_fc - 1].layer.type == "dropout"
    if behind_dropout != (len(filters) == 5):  # AlexNet's classifier begins with it
        return None
    fcs = [node for node in net.trunk if node.layer.type == "fc"]
    numbers = (1, 4, 6) if behind_dropout else (0, 3, 6)
    features = {node.name: f"features.{number}" for number, node in enumerate(front)}
    return {node.name: features[node.name] for node in _learning(net) if node.name in features} | {
        node.name: f"classifier.{number}" for node, number in zip(fcs, numbers, strict=True)
    }


CHAINED = ("conv", "bn", "relu", "pool", "fc", "dropout")

STAGES = {
    (2, 8): (2, 2, 2, 2),
    (2, 16): (3, 4, 6, 3),
    (3, 16): (3, 4, 6, 3),
    (3, 33): (3, 4, 23, 3),
    (3, 50): (3, 8, 36, 3),
}
"""Blocks of each stage of a residual net, by the convolutions of a block and the number of blocks."""


def _residual(net: Net) -> Prefixes | None:
    """ResNet: `layerL.B.convN` and `bnN`, the projection `downsample`; conv1, bn1 and fc around."""
    groups = list(_groups(net, "add"))
    if len(groups) < 9 or not re.fullmatch("(cb)+f", _types(_learning(net))) or len(groups[-1]) != 1:
        return None
    stem, blocks, (last,) = groups[0][:2], [groups[0][2:], *groups[1:-1]], groups[-1]
    depth = min(len(block) // 2 for block in blocks)
    stages = STAGES.get((depth, len(blocks)))
    if stages is None or any(len(block) // 2 not in (depth, depth + 1) for block in blocks):
        return None
    names = dict(zip([node.name for node in stem], ("conv1", "bn1"), strict=True)) | {last.name: "fc"}
    places = (f"layer{stage}.{number}" for stage, count in enumerate(stages, 1) for number in range(count))
    for place, block in zip(places, blocks, strict=True):
        for position, node in enumerate(block):
            kind = "conv" if node.layer.type == "conv" else "bn"
            pair = position // 2
            names[node.name] = f"{place}.{kind}{pair + 1}" if pair < depth else f"{place}.downsample.{position % 2}"
    return names


def _squeezing(net: Net) -> Prefixes | None:
    """SqueezeNet: eight fire modules of three convolutions, counted in `features` with the pools between them."""
    fires = list(_groups(net, "concat"))
    if [_types(fire) for fire in fires] != ["cccc", *["ccc"] * 7, "c"]:
        return None
    (first, *rest), *others, (score,) = fires
    pools = _pools_before(net, "concat")
    names = {first.name: "features.0", score.name: "classifier.1"}
    for number, fire in enumerate([rest, *others]):
        place = f"features.{2 + number + pools[number]}"
        names |= {node.name: f"{place}.{kind}" for node, kind in zip(fire, FIRE, strict=True)}
    return names


FIRE = ("squeeze", "expand1x1", "expand3x3")


def _dense(net: Net) -> Prefixes | None:
    """DenseNet: `denseblockB.denselayerL` of two norms and two convolutions, `transitionB` between the blocks."""
    groups = list(_groups(net, "concat"))
    layers = [_types(group) for group in groups[1:-1]]
    if _types(groups[0]) != "cbbcbc" or _types(groups[-1]) != "bf" or not {*layers} <= {"bcbc", "bcbcbc"}:
        return None
    places = ["features.conv0", "features.norm0", *_dense_layer(1, 1)]
    block = layer = 1
    for types in layers:
        if types == "bcbcbc":  # behind a transition
            places += [f"features.transition{block}.{kind}" for kind in ("norm", "conv")]
            block, layer = block + 1, 0
        layer += 1
        places += _dense_layer(block, layer)
    places += ["features.norm5", "classifier"]
    return dict(zip((node.name for node in _learning(net)), places, strict=True))


def _dense_layer(block: int, layer: int) -> list[str]:
    kinds = ("norm1", "conv1", "norm2", "conv2")
    return [f"features.denseblock{block}.denselayer{layer}.{kind}" for kind in kinds]


def _inception(net: Net) -> Prefixes | None:
    """GoogLeNet with norms: `inceptionM.branchB`, each convolution with its norm."""
    groups = list(_groups(net, "concat"))
    if [_types(group) for group in groups] != ["cbcbcb" + "cb" * 6, *["cb" * 6] * 8, "f"]:
        return None
    pairs = [f"conv{number}" for number in (1, 2, 3)]
    pairs += [f"inception{module}.{branch}" for module in MODULES for branch in BRANCHES]
    nodes = [node for group in groups for node in group]
    names = {node.name: f"{pairs[place // 2]}.{('conv', 'bn')[place % 2]}" for place, node in enumerate(nodes[:-1])}
    return names | {nodes[-1].name: "fc"} | _heads(net)


def _heads(net: Net) -> Prefixes:
    """Of its two heads of training: a convolution with its norm, and two FC layers."""
    beside = _beside(net)
    if _types(beside) != "cbff" * 2:
        return {}
    places = [f"aux{head}.{part}" for head in (1, 2) for part in ("conv.conv", "conv.bn", "fc1", "fc2")]
    return dict(zip((node.name for node in beside), places, strict=True))


MODULES = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
BRANCHES = ("branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1")


def _inverted(net: Net) -> Prefixes | None:
    """MobileNetV2: `features` counts the first convolution, seventeen inverted residuals and the last convolution. Of a
    residual the projection alone has no Sequential of its own, and the first has nothing that expands."""
    nodes = _learning(net)
    depthwise = [node for node in nodes if node.layer.type == "conv" and node.layer.groups > 1]  # type: ignore[attr-defined]
    adds = sum(node.layer.type == "add" for node in net.trunk)
    if _types(nodes) != "cb" * 52 + "f" or (len(depthwise), adds) != (17, 10):
        return None
    blocks = [("0.0", "0.1", "1", "2"), *[("0.0", "0.1", "1.0", "1.1", "2", "3")] * 16]
    within = [f"features.{number}.conv.{place}" for number, block in enumerate(blocks, 1) for place in block]
    places = ["features.0.0", "features.0.1", *within, "features.18.0", "features.18.1", "classifier.1"]
    return dict(zip((node.name for node in nodes), places, strict=True))


def _inception_v3(net: Net) -> Prefixes | None:
    """Inception-v3: `Mixed_...` of branches, each convolution with its norm; and its head of training, AuxLogits."""
    nodes = _learning(net)
    pairs = [*V3_STEM, *(f"Mixed_{module}.{branch}" for module, branches in V3_MODULES for branch in branches)]
    if _types(nodes) != "cb" * len(pairs) + "f" or sum(node.layer.type == "concat" for node in net.trunk) != 15:
        return None
    places = [*_normed(pairs), "fc"]
    if _types(head := _beside(net)) == "cbcbf":
        nodes, places = [*nodes, *head], [*places, *_normed(["AuxLogits.conv0", "AuxLogits.conv1"]), "AuxLogits.fc"]
    return dict(zip((node.name for node in nodes), places, strict=True))


def _normed(pairs: Iterable[str]) -> list[str]:
    """Convolutions, each with its norm."""
    return [f"{pair}.{kind}" for pair in pairs for kind in ("conv", "bn")]


def _numbered(branch: str, count: int) -> tuple[str, ...]:
    return tuple(f"{branch}_{number}" for number in range(1, count + 1))


V3_STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
_A = ("branch1x1", *_numbered("branch5x5", 2), *_numbered("branch3x3dbl", 3), "branch_pool")
_C = ("branch1x1", *_numbered("branch7x7", 3), *_numbered("branch7x7dbl", 5), "branch_pool")
_E = (
    *("branch1x1", "branch3x3_1", "branch3x3_2a", "branch3x3_2b"),
    *("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3a", "branch3x3dbl_3b", "branch_pool"),
)
V3_MODULES = (
    *((module, _A) for module in ("5b", "5c", "5d")),
    ("6a", ("branch3x3", *_numbered("branch3x3dbl", 3))),
    *((module, _C) for module in ("6b", "6c", "6d", "6e")),
    ("7a", (*_numbered("branch3x3", 2), *_numbered("branch7x7x3", 4))),
    *((module, _E) for module in ("7b", "7c")),
)
"""Modules with the convolutions of their branches, in order."""


def _groups(net: Net, merge: str) -> Iterator[list[Node]]:
    """The nodes that have parameters up to each merge, and behind the last."""
    group: list[Node] = []
    for node in net.trunk:
        if node.layer.type == merge:
            yield group
            group = []
        elif net.weights(node):
            group.append(node)
    yield group


def _pools_before(net: Net, merge: str) -> list[int]:
    """How many pools come before each merge."""
    counts, pools = [], 0
    for node in net.trunk:
        pools += node.layer.type == "pool"
        if node.layer.type == merge:
            counts.append(pools)
    return counts


FAMILIES = (
    Family((*(f"vgg{depth}{bn}" for depth in (11, 13, 16, 19) for bn in ("", "_bn")), "alexnet_torchvision"), _chain),
    Family(("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50"), _residual),
    Family(("squeezenet1_0", "squeezenet1_1"), _squeezing),
    Family(("densenet121",), _dense),
    Family(("googlenet_bn",), _inception, HALVES),
    Family(("inception_v3",), _inception_v3, replace(HALVES, size=(342, 342), of=(299, 299))),
    Family(("mobilenet_v2",), _inverted),
)
