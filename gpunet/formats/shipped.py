"""The shipped net that a foreign file is of, by the names of its arrays."""

from collections.abc import Iterator

from gpunet.errors import DataError
from gpunet.formats.foreign import Foreign
from gpunet.formats.layout import Place
from gpunet.formats.match import needed, places, torch_names
from gpunet.formats.torchvision import FAMILIES, is_head
from gpunet.net.config import Config, load_config
from gpunet.net.net import Net
from gpunet.net.words import listed

SHIPPED = tuple(name for family in FAMILIES for name in family.shipped)

GIVE = (
    "give the net as --net, to gpunet train as NET: a shipped one, a .toml file or a pattern like "
    "'INPUT[28x28x1] -> ... -> FC-10'"
)


def shipped_config(foreign: Foreign) -> Config:
    """The config of the shipped net whose names the file has, or most of them: then it is not quite that net, which
    `match` says. Raises DataError where there is none."""
    if foreign.calls is not None:
        raise DataError(f"{foreign.path} holds weights without their net; {GIVE}")
    found = known_as(foreign)
    if found is None:
        raise DataError(
            f"{foreign.path} does not say its net, and its names are none that torchvision has for {listed(SHIPPED)}; "
            f"{GIVE}"
        )
    return load_config(found)


def known_as(foreign: Foreign) -> str | None:
    """The shipped net whose names the file has, or most of them, and of those of the same names (resnet50, resnext50)
    that with more of the shapes; None where there is none."""
    arrays = {name: values for name, values in needed(foreign).items() if not is_head(name)}
    best, most = None, (0.5, 0.0)
    for name in SHIPPED:
        net = load_config(name).net
        theirs = dict(_named_places(net))
        both = theirs.keys() & arrays.keys()
        alike = len(both) / len(theirs.keys() | arrays.keys())
        if alike < most[0]:
            continue
        fitting = sum(arrays[one].shape in theirs[one].theirs(foreign.layout) for one in both) / len(both)
        if (alike, fitting) > most:
            best, most = name, (alike, fitting)
    return best


def _named_places(net: Net) -> Iterator[tuple[str, Place]]:
    """The parameters of a net with the names that PyTorch's users have for them."""
    names, _, _ = torch_names(net)
    return ((names[f"{node.name}.{place.name}"], place) for node, place in places(net))
