"""The shipped net that a foreign file is of, by the names of its arrays."""

from gpunet.errors import DataError
from gpunet.formats.foreign import Foreign
from gpunet.formats.match import needed, torch_names
from gpunet.formats.torchvision import FAMILIES, is_head
from gpunet.net.config import Config, load_config
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
    """The shipped net whose names the file has, or most of them; None where there is none."""
    there = {name for name in needed(foreign) if not is_head(name)}
    best, most = None, 0.5
    for name in SHIPPED:
        names = {*torch_names(load_config(name).net)[0].values()}
        alike = len(names & there) / len(names | there)
        if alike > most:
            best, most = name, alike
        if alike == 1:
            break
    return best
