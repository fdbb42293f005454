"""Which GPU each rank has, and what of it the plan of all of them must do with: that of the smallest."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from gpunet.errors import ConfigError

if TYPE_CHECKING:
    from gpunet.devices.target import DeviceTarget
    from gpunet.program.program import AnyDevice, DeviceName
    from gpunet.ranks.crew import Crew


def gpu_count() -> int:
    """How many GPUs CUDA shows; 0 where it cannot be asked."""
    from gpunet.devices.cuda.libcuda import count
    from gpunet.errors import DeviceError

    try:
        return count()
    except DeviceError:
        return 0


def device_of(crew: "Crew", device: "AnyDevice") -> "AnyDevice":
    """The device of this rank: of the GPUs of its machine the one of its number, if its starter shows it several.

    Raises ConfigError, in all ranks alike, where two would share a GPU, or are on GPUs of another kind.
    """
    from gpunet.devices import device_name

    there, number = gpu_count(), crew.place.local_rank
    everyone = crew.communicator.tell([str(crew.place), crew.place.host, there, number])
    if device == "cuda" or (device == "auto" and min(gpus for _, _, gpus, _ in everyone)):
        _require_enough(everyone)
        number = number if there > 1 else 0
        device = device_name(f"cuda:{number}" if number else "cuda")
    elif device == "auto":
        device = "cpu"
    _require_own_gpus(crew.communicator.tell(_identity(crew, device)))
    return device


def _require_enough(told: list[tuple[str, str, int, int]]) -> None:
    """Raise ConfigError where a rank has no GPU for its number; one that is shown a single one has that."""
    for who, host, there, number in told:
        if not there:
            raise ConfigError(f"{who} has no GPU that CUDA shows; start ranks where there are GPUs, or --device cpu")
        if 1 < there <= number:
            ranks = sum(other == host for _, other, _, _ in told)
            raise ConfigError(f"{ranks} ranks were started on {host}, which has {there} GPUs; start one for each")


def _identity(crew: "Crew", device: "AnyDevice") -> list[str]:
    """Where a rank runs: its name, the GPU, and its compute capability, "" for the CPU."""
    from gpunet.devices.cuda.libcuda import visible
    from gpunet.devices.name import split_name
    from gpunet.errors import DeviceError

    kind, number = split_name(device)
    if kind != "cuda":
        return [str(crew.place), "", ""]
    try:
        found = visible(number)
    except DeviceError:  # opening it says why
        return [str(crew.place), f"{crew.place.host} {device}", ""]
    return [str(crew.place), found.uuid, "{}.{}".format(*found.capability)]


def _require_own_gpus(told: list[list[str]]) -> None:
    """Raise ConfigError where ranks share a GPU, or have GPUs that would not run the same step."""
    first: dict[str, str] = {}
    for who, gpu, capability in told:
        if gpu and gpu in first:
            raise ConfigError(
                f"{first[gpu]} and {who} would run on the same GPU; start one rank for each, as --gpus does, or show "
                "each another by CUDA_VISIBLE_DEVICES"
            )
        first[gpu] = who
        if bool(gpu) != bool(told[0][1]):
            raise ConfigError("some ranks would run on a GPU and some on the CPU; say --device cpu, or use fewer ranks")
        if capability != told[0][2]:
            raise ConfigError(
                f"{told[0][0]} has a GPU of compute capability {told[0][2]} and {who} one of {capability}: they would "
                "not run the same step; use ranks on GPUs of one kind"
            )


def least_free(crew: "Crew | None", free: dict[str, int | None], where: "DeviceName") -> int | None:
    """What is free for each rank: what the least of them has, those of one machine's CPU sharing its memory."""
    own = free.get(where)
    if crew is None:
        return own
    hosts = crew.communicator.tell(crew.place.host)  # whatever this one knows: all tell as often
    own = own // hosts.count(crew.place.host) if own is not None and where == "cpu" else own
    told = crew.communicator.tell(own)
    if None in told:
        return own
    rank = told.index(min(told))
    if crew.leads and max(told) > min(told) and where != "cpu":
        typer.echo(f"the plan is made for rank {rank} on {hosts[rank]}, which has the least memory free")
    return int(min(told))


def planned_for(crew: "Crew | None", where: "DeviceName", reserve: str | int | None) -> dict[str, Any]:
    """Of the settings of a plan those by which it is the same in all ranks: "device" and "reserve".

    Of different cards it is made for the one with the least memory; of what processes hold outside of their arenas, as
    it was measured on each machine, the most counts.
    """
    from gpunet.devices import target

    if crew is None:
        return {"device": where, "reserve": reserve}
    own = target(where)
    held = own.reserve(crew.place.size).nbytes
    told = crew.communicator.tell([str(crew.place), own.card, own.total_bytes or 0, held])
    most = max(held for _, _, _, held in told)
    return {
        "device": _of_smallest(crew, where, own, told),
        "reserve": most if reserve is None and most > held else reserve,
    }


def _of_smallest(
    crew: "Crew", where: "DeviceName", own: "DeviceTarget", told: list[tuple[str, str, int, int]]
) -> "DeviceName | DeviceTarget":
    """What to plan for: where all have the same card that, else the smallest of them; says which."""
    if len({card for _, card, _, _ in told}) == 1:
        return where
    who, card, nbytes, _ = min(told, key=lambda one: one[2])
    if crew.leads:
        typer.echo(f"the ranks have different cards; the plan is made for that of {who}, the smallest: {card}")
    smallest: DeviceTarget = replace(own, card=card, total_bytes=nbytes)  # type: ignore[type-var]  # it is a dataclass
    return smallest
