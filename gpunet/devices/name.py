"""How people name a device: cpu, cuda, or cuda:1 for the second of the GPUs that CUDA shows."""

import re
from functools import cache
from pathlib import Path
from pkgutil import iter_modules
from typing import cast

from gpunet.errors import ConfigError
from gpunet.program.program import DeviceName
from gpunet.values.given import told

NUMBERED = ("cuda",)
"""The kinds of which a machine may have several."""

NAME = re.compile(r"(?P<kind>[a-z]\w*)(?P<number>:[0-9]{1,3})?", re.ASCII)


@cache
def kinds() -> tuple[str, ...]:
    """The kinds of devices that there are: the packages beside this file."""
    return tuple(sorted(module.name for module in iter_modules([str(Path(__file__).parent)]) if module.ispkg))


def split_name(name: str) -> tuple[str, int]:
    """("cuda", 1) for "cuda:1", ("cuda", 0) for "cuda" and "CUDA". Raises ConfigError for what names no device."""
    match = NAME.fullmatch(name.lower()) if isinstance(name, str) else None
    if match is None or match["kind"] not in kinds():
        raise ConfigError(
            f"there is no device {told(name)}; there are {', '.join(kinds())}, and cuda:1 for a second GPU"
        )
    if match["number"] and match["kind"] not in NUMBERED:
        raise ConfigError(f"there is but one {match['kind']}: say {match['kind']}, not {name}")
    return match["kind"], int((match["number"] or ":0")[1:])


def full_name(kind: str, number: int) -> DeviceName:
    """As people say it, and always the same: "cuda" for the first."""
    return cast(DeviceName, f"{kind}:{number}" if number else kind)


def kind_of(name: str) -> str:
    """What kind of device it is, whichever of them. Raises ConfigError as `split_name`."""
    return split_name(name)[0]
