"""The reserve as it was measured: what a process takes of this GPU, with this driver, outside its arena."""

from functools import cache as remembered

from gpunet.devices.target import Reserve
from gpunet.errors import DeviceError
from gpunet.system import cache
from gpunet.version import __version__

__all__: tuple[str, ...] = ()  # no ops here

FILE = "reserves.json"


@remembered
def hardware(number: int = 0) -> str | None:
    """That GPU of this machine and its driver, e.g. "NVIDIA H200, driver 580.65"; None where there is none.

    NVML is asked only where there is a driver, and once.
    """
    from gpunet.devices.cuda import libcuda, probe

    if libcuda.driver_version() is None:
        return None
    try:
        gpu = probe.gpu(number)
    except DeviceError:
        return None
    return f"{gpu.name}, driver {gpu.driver}"


def measured(number: int = 0) -> Reserve | None:
    """The reserve of that GPU of this machine; None where it was not measured with this driver and this gpunet."""
    return _kept("reserve", "", number)


def measured_nccl(ranks: int, number: int = 0) -> Reserve | None:
    """What NCCL took of that GPU for so many ranks; None where it was not measured."""
    return _kept("NCCL's memory", _for_ranks(ranks), number)


def keep(nbytes: int, number: int = 0) -> Reserve | None:
    """Keep a measurement for later plans; the largest counts, as nets differ in the kernels that they load.

    Returns the reserve that plans now use; None where there is no GPU to keep it for. Raises DataError where the cache
    cannot be written.
    """
    return _keep(nbytes, "", number)


def keep_nccl(nbytes: int, ranks: int, number: int = 0) -> Reserve | None:
    """The same of what NCCL took for so many ranks."""
    return _keep(nbytes, _for_ranks(ranks), number)


def _for_ranks(ranks: int) -> str:
    return f", NCCL for {ranks} ranks"


def _kept(what: str, more: str, number: int) -> Reserve | None:
    kept = cache.read(FILE)
    if not kept:  # without a measurement there is no need to know the GPU
        return None
    name = hardware(number)
    entry = kept.get(_key(name) + more) if name else None
    if entry is None:
        return None
    nbytes = entry.get("reserve_bytes") if isinstance(entry, dict) else None
    if type(nbytes) is not int or nbytes <= 0:
        cache.ignore(cache.folder() / FILE, f"the {what} of {name} is {nbytes!r}")
        return None
    return Reserve(nbytes, f"measured on {name}")


def _keep(nbytes: int, more: str, number: int) -> Reserve | None:
    name = hardware(number)
    if name is None or nbytes <= 0:
        return None
    before = _kept("reserve", more, number)
    if before is None or nbytes > before.nbytes:
        cache.put(FILE, _key(name) + more, {"reserve_bytes": nbytes})
    return _kept("reserve", more, number)


def _key(name: str) -> str:
    return f"{name}, gpunet {__version__}"
