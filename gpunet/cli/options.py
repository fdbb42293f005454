"""Arguments and options that several commands share."""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gpunet.cli.guard import complain
from gpunet.errors import ConfigError
from gpunet.optimize.optimizers import OPTIMIZERS
from gpunet.program.algorithm import MEANT_FOR_GPUS
from gpunet.program.program import DTYPES, AnyDevice, DeviceName
from gpunet.train.settings import plan_settings, train_settings
from gpunet.values.given import told
from gpunet.values.visible import told_path

if TYPE_CHECKING:
    from gpunet.net.config import Config, TrainConfig

__all__ = ["plan_settings", "train_settings"]
"""What other commands take from here beside the options."""


class ModeName(StrEnum):
    """What is planned."""

    train = "train"
    infer = "infer"


AUTO: Literal["auto"] = "auto"
"""The GPU if there is one, else the CPU."""


def _device(text: str) -> DeviceName:
    """The name of a device. Raises ConfigError for one that there is not."""
    from gpunet.devices import device_name

    return device_name(text)


def gpu_name(text: str) -> DeviceName:
    """The name of a GPU. Raises ConfigError for any other device."""
    name = _device(text)
    if name == "cpu":
        raise ConfigError("the CPU is looked at in any case: give a GPU, like cuda:1")
    return name


def dtype_among(text: str, known: Sequence[str]) -> str:
    """The type of activations that is meant. Raises ConfigError for one that is not among those that are known."""
    if text.lower() not in known:
        raise ConfigError(f"--dtype must be one of {', '.join(known)}; got {told(text)}")
    return text.lower()


def _dtype(text: str) -> str:
    return dtype_among(text, DTYPES)


def _device_or_auto(text: str) -> AnyDevice:
    return AUTO if text.lower() == AUTO else _device(text)


NET_HELP = "A shipped net like vgg16, a .toml file, or a pattern like 'INPUT[32x32x3] -> CONV3-64 -> RELU -> FC-10'."

Net = Annotated[
    str,
    typer.Argument(
        metavar="NET",
        help=f"{NET_HELP.removesuffix('.')}; or a run's folder or a file of weights, whose net it is.",
        show_default=False,
    ),
]


def _given(text: str) -> Path:
    """The path that was typed. Raises ConfigError for an empty one, which Path takes for the folder one is in."""
    if not text:
        raise ConfigError("no weights were given; give the folder of a run, or a file of weights")
    return told_path(text)


WeightsFile = Annotated[
    Path,
    typer.Argument(
        parser=_given, metavar="WEIGHTS", help="The folder of a run, or a file of weights.", show_default=False
    ),
]
NetOfWeights = Annotated[
    str | None,
    typer.Option(
        "--net", metavar="NET", help="The net of the weights; default: what they say, else config.toml beside them."
    ),
]
Width = Annotated[
    float | None,
    typer.Option(help="Scale the number of filters of every layer but the scores, like 0.125.", show_default=False),
]
Input = Annotated[
    str | None, typer.Option(help="Another input volume, like 32x32x3.", metavar="HxWxD", show_default=False)
]
Scale = Annotated[
    float | None,
    typer.Option(
        help="A pixel p enters the net as p*scale + shift; default: what the net's config says, else 1/white.",
        show_default=False,
    ),
]
Shift = Annotated[
    float | None, typer.Option(help="See --scale; default: what the net's config says, else 0.", show_default=False)
]
Batch = Annotated[
    int | None,
    typer.Option(
        "--batch",
        "--batch-size",
        help="Images of one step; default: what the net's config says, else 64.",
        show_default=False,
    ),
]
Optimizer = Annotated[
    str | None,
    typer.Option(
        help=f"{', '.join(OPTIMIZERS)}; default: what the net's config says, else momentum.", show_default=False
    ),
]
Freeze = Annotated[
    list[str] | None,
    typer.Option(
        metavar="LAYERS",
        help="Layers that learn nothing, like 'conv*'; may be given several times. Default: as the net's config says.",
        show_default=False,
    ),
]
ClipNorm = Annotated[
    float | None,
    typer.Option(
        help="Most norm of all gradients together, like 1.0; default: as the net's config says.", show_default=False
    ),
]
Mode = Annotated[ModeName, typer.Option(help="A training step, or scores alone.", case_sensitive=False)]
DtypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        parser=_dtype,
        metavar="DTYPE",
        help=f"Of activations: {', '.join(DTYPES)} (the half type that the device has); with halves what learns stays "
        "float32. Default: what the net's config says, else float32.",
        show_default=False,
    ),
]
ScoringDtype = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        parser=_dtype,
        metavar="DTYPE",
        help=f"Of activations: {', '.join(DTYPES)}; weights of any type run in any. Default: float32.",
        show_default=False,
    ),
]
Device = Annotated[
    DeviceName,
    typer.Option(
        parser=_device,
        metavar="DEVICE",
        help="Where it is to run: cuda, cuda:1 for a second GPU, cpu; no GPU is needed to plan for one.",
    ),
]
Gpu = Annotated[
    str | None,
    typer.Option(
        metavar="CARD",
        help="A card, like '3060' or 'gtx 1060 6gb', in place of a budget: what CUDA gives of it. See gpunet cards.",
        show_default=False,
    ),
]
Scratch = Annotated[
    str | None,
    typer.Option(help="Most scratch of a convolution; default: 16MiB for cuda, 8MiB for cpu.", show_default=False),
]
Reserve = Annotated[
    str | None,
    typer.Option(
        help="Memory kept for what is outside the arena; default: what the net's config says, else as gpunet profile "
        "measured it on this GPU, else 512MiB for cuda, 64MiB for cpu.",
        show_default=False,
    ),
]
Without = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Leave a free saving out, like relu-masks; may be given several times. Default: as the net's config says.",
        show_default=False,
    ),
]
MaxCost = Annotated[
    float | None,
    typer.Option(
        help="Predicted time that making layers again may take to fit a budget, as a fraction of the step's; 0: the "
        "free savings alone. Default: what the net's config says, else 0.03, or any where --max-cost-flops is given.",
        show_default=False,
    ),
]
MaxCostFlops = Annotated[
    float | None,
    typer.Option(
        help="The same in FLOPs of matrix products; 0: only what needs none may be made again.", show_default=False
    ),
]
MicroBatches = Annotated[
    bool | None,
    typer.Option(
        "--micro-batches/--no-micro-batches",
        help="To fit, a step may run in rounds that add up gradients: other rounding, and small rounds are slow. "
        "Default: as the net's config says.",
        show_default=False,
    ),
]
AskedWays = Annotated[
    list[str] | None,
    typer.Option(
        "--ways",
        metavar="NAME",
        help="What may be done to fit that must be asked for: micro-batches, as --micro-batches, or ghost-rounds, in "
        "which batch normalization sees a round at a time, which gives other results. May be given several times.",
        show_default=False,
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        metavar="HxW",
        help="Bring pictures in folders to this size, like 224x224: the short side fits, the middle is cut out.",
        show_default=False,
    ),
]
SkipBroken = Annotated[
    bool | None,
    typer.Option(
        "--skip-broken/--no-skip-broken",
        help="Decode all pictures in folders once beforehand, and leave out those that cannot be.",
        show_default=False,
    ),
]
Validation = Annotated[
    str | None,
    typer.Option(
        metavar="PART",
        help="Images of those to learn from by which the best epoch is chosen, like 10% or 200; 0: by the test images, "
        "which is no measure then. Default: what the net's config says, else 10%.",
        show_default=False,
    ),
]
Patience = Annotated[
    str | None,
    typer.Option(
        help='End the run where so many epochs, or "5000 steps", bring nothing better; default: as the config says.',
        show_default=False,
    ),
]
MinDelta = Annotated[
    float | None,
    typer.Option(
        help="An epoch is better only by more than this in accuracy, like 0.001; with --patience.", show_default=False
    ),
]
SpareOutputs = Annotated[
    bool | None,
    typer.Option(
        "--spare-outputs/--no-spare-outputs",
        help="Let a net tell apart more classes than the data have.",
        show_default=False,
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        metavar="DATA",
        help="digits, synthetic, or a path: CIFAR, MNIST, STL-10, pictures in folders, NumPy arrays.",
        show_default=False,
    ),
]
DeviceOrAuto = Annotated[
    AnyDevice,
    typer.Option(
        "--device",
        parser=_device_or_auto,
        metavar="DEVICE",
        help="auto (the GPU if there is one, else the CPU), cuda, cuda:1 for a second GPU, cpu.",
    ),
]
Budget = Annotated[
    str | None, typer.Option(help="Memory it may take, like 6GiB; default: what is free.", show_default=False)
]
NoGraph = Annotated[
    bool,
    typer.Option("--no-graph", help="On a GPU, run op by op and not as CUDA graphs: the same bits, more for the host."),
]
MathOption = Annotated[
    str | None,
    typer.Option(
        "--math",
        help="exact: convolutions by the fastest algorithm; direct: without Winograd's, which rounds differently; "
        "tf32, 3xtf32: products on a GPU's tensor cores, rounded to 11 bits or nearly exact. "
        "Default: what the net's config says, else exact.",
        show_default=False,
    ),
]
NoTuned = Annotated[
    bool,
    typer.Option("--no-tuned", help="Choose algorithms of convolutions by shape alone, not as gpunet tune found here."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, sizes in bytes.")]


def tell_math(math: str, device: str) -> None:
    """Say where products on tensor cores were asked for and there are none."""
    if math in MEANT_FOR_GPUS and device == "cpu":
        complain(f"math {math} is for the tensor cores of a GPU and means nothing on the CPU: it is exact there")


def read_net(text: str, width: float | None = None, input: str | None = None) -> "Config":
    """The config behind NET, its net scaled by --width and over --input where they are given.

    NET may be the folder of a run or a file of weights, too, which say their net. Raises ConfigError for an empty one,
    too: a shell variable that was not set.
    """
    from gpunet.net.net import depth_last
    from gpunet.train.given import given_config

    if not text.strip():
        raise ConfigError("no net was given; give a shipped name like vgg16, a .toml file or a pattern")
    config = resized(given_config(text), width, input)
    if meant := depth_last(config.net.input):
        given = config.net.input
        complain(f"the input {given} would be {given.D} maps deep; did you mean {meant}? The depth comes last")
    return config


def resized(config: "Config", width: float | None, input: str | None) -> "Config":
    """The config with its net scaled by --width and over --input where they are given."""
    if width is None and input is None:
        return config
    return replace(config, net=config.net.scaled(1 if width is None else width, input))


def training(config: "Config", **given: Any) -> "TrainConfig":
    """How to train: as the config says, with what was given on the command line in its place.

    `given`  values by the field of TrainConfig; None, or no names at all, where nothing was given
    """
    given |= _asked_ways(given.pop("ways", None) or ())
    said = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    told, data = config.train, given.get("data")
    if data not in (None, told.data) and not Path(data).is_dir():
        told = replace(told, size=None, skip_broken=False)  # which are of pictures in folders
    return told.changed(**{name: value for name, value in said.items() if value not in (None, ())})


ASKED_WAYS = {"micro-batches": "micro_batches", "ghost-rounds": "ghost_rounds"}
"""The ways that --ways names, and the fields of TrainConfig that say so."""


def _asked_ways(names: Sequence[str]) -> dict[str, bool]:
    """The fields of TrainConfig for what --ways names. Raises ConfigError for a way that need not be asked for."""
    for name in names:
        if name not in ASKED_WAYS:
            raise ConfigError(f"--ways names what must be asked for, {' or '.join(ASKED_WAYS)}; got {told(name)}")
    return {ASKED_WAYS[name]: True for name in names}


def check_fitting(
    costs: Sequence[float | None],
    micro_batches: bool | None,
    ways: Sequence[str] | None = None,
    *,
    mode: ModeName = ModeName.train,
    budget: bool = True,
) -> None:
    """Raise ConfigError where these were given on the command line to no use.

    `costs`   --max-cost and --max-cost-flops
    `budget`  whether there is one
    """
    if ways and mode == "infer":
        raise ConfigError(f"--ways {ways[0]} adds up gradients, and --mode infer makes none: leave one of them out")
    if micro_batches and mode == "infer":
        raise ConfigError("--micro-batches adds up gradients, and --mode infer makes none: leave one of them out")
    given = {
        "--micro-batches": micro_batches or None,
        "--ways": ways or None,
        **dict(zip(("--max-cost", "--max-cost-flops"), costs, strict=True)),
    }
    option = next((name for name, value in given.items() if value is not None), None)
    if not budget and option is not None:
        raise ConfigError(f"{option} says what may be done to fit a budget: give one, like --budget 4GiB")


def free_bytes(device: str) -> dict[str, int | None]:
    """Memory that nobody uses, by device; of those that `device` may come to mean."""
    from gpunet import devices

    return {name: devices.free_bytes(name) for name in (devices.device_names() if device == AUTO else [device])}
