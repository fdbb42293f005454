"""Arguments and options that several commands share."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpunet.errors import ConfigError

if TYPE_CHECKING:
    from gpunet.net.config import Config


class ModeName(StrEnum):
    """What is planned."""

    train = "train"
    infer = "infer"


class Dtype(StrEnum):
    """Of images, activations and parameters."""

    float32 = "float32"
    float64 = "float64"


class DeviceName(StrEnum):
    """Where it is to run."""

    cuda = "cuda"
    cpu = "cpu"


class AnyDevice(StrEnum):
    """Where it is to run; auto: on the GPU if there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


NET_HELP = "A shipped net like vgg16, a .toml file, or a pattern like 'INPUT[32x32x3] -> CONV3-64 -> RELU -> FC-10'."

Net = Annotated[str, typer.Argument(metavar="NET", help=NET_HELP, show_default=False)]
Batch = Annotated[
    int | None,
    typer.Option(help="Images of one step; default: what the net's config says, else 64.", show_default=False),
]
Optimizer = Annotated[
    str | None,
    typer.Option(help="sgd or momentum; default: what the net's config says, else momentum.", show_default=False),
]
Mode = Annotated[ModeName, typer.Option(help="A training step, or scores alone.")]
DtypeOption = Annotated[Dtype, typer.Option("--dtype", help="Of activations and parameters.")]
Device = Annotated[DeviceName, typer.Option(help="Where it is to run; no GPU is needed to plan for one.")]
Scratch = Annotated[
    str | None,
    typer.Option(help="Most memory of one im2col matrix; default: 64MiB for cuda, 4MiB for cpu.", show_default=False),
]
Reserve = Annotated[
    str | None,
    typer.Option(
        help="Memory kept for what is outside the arena; default: as gpunet profile measured it on this GPU, else "
        "512MiB for cuda, 64MiB for cpu.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, sizes in bytes.")]


def read_net(text: str) -> "Config":
    """The config behind NET. Raises ConfigError for an empty one, too: a shell variable that was not set."""
    from gpunet.net.config import load_config

    if not text.strip():
        raise ConfigError("no net was given; give a shipped name like vgg16, a .toml file or a pattern")
    return load_config(text)


def plan_settings(
    config: "Config",
    optimizer: str | None,
    mode: ModeName,
    dtype: Dtype,
    device: DeviceName,
    scratch: str | None,
    reserve: str | None = None,
) -> dict[str, Any]:
    """The options of `gpunet.plan` and `gpunet.fit` from those of the command line."""
    return {
        "optimizer": config.train.optimizer if optimizer is None else optimizer,
        "mode": str(mode),
        "dtype": str(dtype),
        "device": str(device),
        "scratch_limit": scratch,
        "reserve": reserve,
    }
