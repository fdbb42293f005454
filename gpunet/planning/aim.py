"""What a plan is made for, and how much memory there is: from a device, a budget or the name of a card."""

from gpunet.devices import target
from gpunet.devices.target import DeviceTarget
from gpunet.errors import ConfigError
from gpunet.memory.size import parse_bytes


def aim(
    device: str | DeviceTarget, budget: str | int | None, gpu: str | None, *, assume: bool = False
) -> tuple[DeviceTarget, int | None]:
    """What is planned for, and the bytes that there are: a budget's, or those of the card `gpu`; None: no limit.

    `assume`  where neither is given, all that this machine's GPU has, else a card of gpunet.devices.cards.DEFAULT

    Raises ConfigError where both are given, and for cards and devices that are not known.
    """
    if gpu is not None and budget is not None:
        raise ConfigError(
            f"{gpu!r} says how much memory there is, and so does the budget {budget!r}: leave one of them out"
        )
    where = target(device, gpu, assume=assume and budget is None)
    if budget is not None:
        return where, parse_bytes(budget)
    return where, where.total_bytes if assume or gpu is not None else None
