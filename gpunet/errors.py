"""What can go wrong, by whose hands it is mended. Every message names the thing, the numbers and the way out."""


class GpunetError(Exception):
    """A mistake or a limit that the user can do something about; the command line prints it without a traceback.

    `layer, input`  the name of the layer of a net that it is about, and which of its inputs, where that is known: so
                    whoever read the net from a text can point at the place
    """

    exit_code = 2
    layer: str = ""
    input: int | None = None


class ConfigError(GpunetError):
    """What was said about a net, an option or a run cannot be understood."""


class ShapeError(GpunetError):
    """A layer does not fit its input volume, or an array does not have the shape it must have."""


class PlanError(GpunetError):
    """A plan is impossible or wrong."""


class BudgetError(PlanError):
    """A net does not fit its budget; the message says which batch, or which budget, would."""

    exit_code = 1


class DeviceError(GpunetError):
    """A device, its driver or its libraries are missing or refused to work."""


class OutOfMemory(DeviceError):
    """A device has less memory free than was asked for."""


class ModelError(GpunetError):
    """A model that cannot be used as it is: another thread is at it, or a step was broken off in its updates."""


class DataError(GpunetError):
    """Images, labels or files that cannot be used."""
