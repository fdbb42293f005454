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


def target(name: str) -> DeviceTarget:
    """What planning for a device needs to know; never opens it. Raises ConfigError for a name there is not."""
    found: DeviceTarget = import_module(f"{__name__}.{_known(name)}.target").TARGET
    return found


def open_device(name: str) -> "Device":
    """Open the device `name`. Raises DeviceError, saying what is missing, where it cannot be opened."""
    device: Device = import_module(f"{__name__}.{_known(name)}.device").open_device()
    return device


def _known(name: str) -> str:
    if name not in device_names():
        raise ConfigError(f"there is no device {name!r}; there are {', '.join(device_names())}")
    return name
