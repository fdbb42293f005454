"""The devices. `target` answers what planning needs to know of one without opening it; `open_device` opens it."""

from importlib import import_module
from typing import TYPE_CHECKING

from gpunet.devices.name import full_name, kinds, split_name

# Now, so that the module is no longer set as `target` of this package once the function has that name.
from gpunet.devices.target import DeviceTarget
from gpunet.errors import ConfigError
from gpunet.program.program import DeviceName

if TYPE_CHECKING:
    from gpunet.devices.device import Device


def device_names() -> list[str]:
    """The devices there are, by the name of the first of each kind."""
    return list(kinds())


def device_name(name: str) -> DeviceName:
    """The one name that a device has in plans and tables: "cuda" for "cuda:0". Raises ConfigError for no device."""
    return full_name(*split_name(name))


def target(name: str | DeviceTarget, gpu: str | None = None, *, assume: bool = False) -> DeviceTarget:
    """What planning for a device needs to know; never opens it. What is a target already is given back.

    `gpu`     the card that is meant, as people call it, like "rtx 3060"; None: this machine's GPU, if it has one
    `assume`  where there is none either, mean the card of gpunet.devices.cards.DEFAULT

    Raises ConfigError for a device or a card that is not known, and for a card where another device is meant.
    """
    if isinstance(name, str):
        kind, number = split_name(name)
        module = import_module(f"{__name__}.{kind}.target")
        found: DeviceTarget = module.target(gpu, assume, number) if number else module.target(gpu, assume)
        return found
    if not isinstance(name, DeviceTarget):
        split_name(name)  # it is no name either
    if gpu is not None:
        raise ConfigError(f"{gpu!r} names a card, and what is planned for is settled already: leave it out")
    return name


def open_device(name: str) -> "Device":
    """Open the device `name`. Raises DeviceError, saying what is missing, where it cannot be opened."""
    kind, number = split_name(name)
    module = import_module(f"{__name__}.{kind}.device")
    device: Device = module.open_device(number) if number else module.open_device()
    return device


def free_bytes(name: str) -> int | None:
    """Memory of a device that nobody uses; None where it cannot be told. Never opens it."""
    kind, number = split_name(name)
    probe = import_module(f"{__name__}.{kind}.probe")
    free: int | None = probe.free_bytes(number) if number else probe.free_bytes()
    return free
