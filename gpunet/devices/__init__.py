"""The devices. `target` answers what planning needs to know of one without opening it; `open_device` opens it."""

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

# Now, so that the module is no longer set as `target` of this package once the function has that name.
from gpunet.devices.target import DeviceTarget
from gpunet.errors import ConfigError

if TYPE_CHECKING:
    from gpunet.devices.device import Device


def device_names() -> list[str]:
    """The devices there are: the packages beside this file."""
    return sorted(module.name for module in iter_modules(__path__) if module.ispkg)


def target(name: str | DeviceTarget, gpu: str | None = None, *, assume: bool = False) -> DeviceTarget:
    """What planning for a device needs to know; never opens it. What is a target already is given back.

    `gpu`     the card that is meant, as people call it, like "rtx 3060"; None: this machine's GPU, if it has one
    `assume`  where there is none either, mean the card of gpunet.devices.cards.DEFAULT

    Raises ConfigError for a device or a card that is not known, and for a card where another device is meant.
    """
    if isinstance(name, str):
        found: DeviceTarget = import_module(f"{__name__}.{_known(name)}.target").target(gpu, assume)
        return found
    if gpu is not None:
        raise ConfigError(f"{gpu!r} names a card, and what is planned for is settled already: leave it out")
    return name


def open_device(name: str) -> "Device":
    """Open the device `name`. Raises DeviceError, saying what is missing, where it cannot be opened."""
    device: Device = import_module(f"{__name__}.{_known(name)}.device").open_device()
    return device


def _known(name: str) -> str:
    if name not in device_names():
        raise ConfigError(f"there is no device {name!r}; there are {', '.join(device_names())}")
    return name
