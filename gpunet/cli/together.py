"""What commands do with several ranks: start them, meet them, and see that all have the same."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated

import typer

from gpunet.cli.guard import complain
from gpunet.cli.own_gpus import gpu_count
from gpunet.errors import ConfigError, DataError

if TYPE_CHECKING:
    from gpunet.compile.ranks import Division
    from gpunet.devices.device import Device
    from gpunet.memory.plan import Plan
    from gpunet.program.program import AnyDevice, DeviceName
    from gpunet.ranks.communicator import Communicator
    from gpunet.ranks.crew import Crew
    from gpunet.train.trainer import Trainer

Ranks = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="In N processes of this machine, each with its share of the images; needs gpunet\\[mpi].",
        show_default=False,
    ),
]
Gpus = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="The same on N GPUs of this machine: cuda:0, cuda:1, ...", show_default=False
    ),
]
Reduce = Annotated[
    str,
    typer.Option(
        metavar="HOW",
        help="How ranks add up gradients: exact, in order, to the same bits every time; fast, as MPI or NCCL likes.",
    ),
]
Shard = Annotated[
    bool,
    typer.Option("--shard-optimizer", help="Each rank holds its share of the optimizer's caches alone; the same bits."),
]
SyncBN = Annotated[
    bool, typer.Option("--sync-bn", help="Batch normalization takes its statistics over the images of all ranks.")
]
SplitFC = Annotated[
    bool,
    typer.Option(
        "--split-fc",
        help="Fully connected layers are divided over ranks, so that their gradients need not be sent.",
    ),
]
Parts = Annotated[
    int,
    typer.Option(
        "--parts",
        min=1,
        metavar="N",
        help="On one device: run each step in N parts in turn, with the bits that N ranks would give.",
    ),
]


def start_or_meet(context: typer.Context, ranks: int | None, gpus: int | None, device: "AnyDevice") -> "Crew | None":
    """The crew of this process; where it is to start others, it starts them and leaves with their exit code.

    Raises ConfigError where that is not possible.
    """
    from gpunet.ranks.crew import meet, started

    if ranks is not None and gpus is not None and ranks != gpus:
        raise ConfigError(f"--ranks {ranks} and --gpus {gpus}: there is one rank on each GPU; leave one of them out")
    wanted, place = gpus or ranks, started()
    if gpus is not None and device == "cpu":
        raise ConfigError("--gpus is for GPUs; for the CPU say --ranks")
    if place is not None:
        if wanted is not None and wanted != place.size:
            raise ConfigError(
                f"{place.size} ranks were started, and {wanted} are asked for: leave out --ranks and --gpus"
            )
        crew = meet(complain)
        if crew is not None and not crew.leads:
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  one rank speaks for all
        return crew
    if wanted is None or wanted == 1:
        return None
    from gpunet.ranks.launch import launch

    _require_gpus(wanted, device, asked=gpus is not None)
    raise typer.Exit(launch(wanted, _words(context), complain))


def _words(context: typer.Context) -> list[str]:
    """The command line as it was typed."""
    words: list[str] = getattr(context.find_root().command, "words", [])
    return list(words)


def _require_gpus(wanted: int, device: "AnyDevice", *, asked: bool) -> None:
    """Raise ConfigError where there are fewer GPUs than ranks on GPUs."""
    there = gpu_count()
    if device == "cpu" or there >= wanted or not (asked or device.startswith("cuda")):
        return
    are = {0: "no GPU", 1: "1 GPU"}.get(there, f"{there} GPUs")
    raise ConfigError(f"{wanted} ranks need as many GPUs, and there is {are} here; use fewer, or --ranks --device cpu")


def division(
    crew: "Crew | None",
    reduce: str = "exact",
    parts: int = 1,
    shard: bool = False,
    sync_bn: bool = False,
    split_fc: bool = False,
) -> "Division":
    """How the batch is divided. Raises ConfigError for options that contradict each other."""
    from gpunet.compile.ranks import REDUCTIONS, Division
    from gpunet.values.given import told

    if reduce not in REDUCTIONS:
        raise ConfigError(f"--reduce must be {' or '.join(REDUCTIONS)}; got {told(reduce)}")
    if parts > 1 and crew is not None:
        raise ConfigError("--parts is for one device; several ranks divide a step by themselves")
    if shard and crew is None:
        raise ConfigError("--shard-optimizer divides the optimizer's caches among several ranks: say --ranks or --gpus")
    if sync_bn and crew is None:
        raise ConfigError("--sync-bn takes statistics over several ranks: say --ranks or --gpus")
    if split_fc and crew is None:
        raise ConfigError("--split-fc divides fully connected layers over several ranks: say --ranks or --gpus")
    size = 1 if crew is None else crew.place.size
    return Division(
        size, parts, "fast" if reduce == "fast" else "exact", shard=shard, sync_bn=sync_bn, split_fc=split_fc
    )


def opened(crew: "Crew | None", where: "DeviceName") -> "tuple[DeviceName | Device, Communicator | None]":
    """What a model runs on, and by what its arrays go to other ranks: by NCCL between GPUs."""
    if crew is None:
        return where, None
    if where == "cpu":
        return where, crew.communicator
    from gpunet.devices import open_device
    from gpunet.devices.cuda.device import CudaDevice
    from gpunet.devices.cuda.reserve import keep_nccl
    from gpunet.devices.name import split_name
    from gpunet.ranks.nccl import NcclCommunicator

    device = open_device(where)
    assert isinstance(device, CudaDevice)  # no other device has GPUs
    ranks = NcclCommunicator(crew.communicator, device)
    with suppress(DataError):  # a cache that cannot be written is no reason to stop
        keep_nccl(ranks.took_bytes, ranks.size, split_name(where)[1])
    return device, ranks


def require_alike(crew: "Crew | None", trainer: "Trainer", made: "Plan") -> None:
    """Raise ConfigError, in all ranks alike, where they do not have the same net, data, plan and version."""
    if crew is None:
        return
    from gpunet.train.resume import identity
    from gpunet.version import __version__

    ops = made.program.ops
    steps = repr([(op.name, [(t.name, t.shape) for t in op.outputs]) for op in ops])
    crew.agree(
        {
            "version of gpunet": __version__,
            "net": f"{made.net} {_short(repr(trainer.model.net.nodes))}",
            "settings": f"batch {trainer.batch}, {trainer.epochs} epochs, patience {trainer.patience}",
            **{name: str(value) for name, value in identity(trainer).items()},
            "way in which they share a step (--reduce, --shard-optimizer, --sync-bn, --split-fc)": _sharing(made),
            "steps of the plan, as other cards or budgets make them": f"{len(ops)} ops {_short(steps)}",
        }
    )


def _sharing(made: "Plan") -> str:
    """What a rank does with others in a step, as far as options say."""
    from gpunet.compile.between import BETWEEN_RANKS

    ops = [op for op in made.program.ops if op.name in BETWEEN_RANKS]
    reduces = sorted({str(op.attributes["reduce"]) for op in ops if "reduce" in op.attributes})
    kinds = Counter(op.name for op in ops)
    return ", ".join([*reduces, *(f"{count} {name}" for name, count in sorted(kinds.items()))])


def _short(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:8]


def follow(crew: "Crew", trainer: "Trainer") -> None:
    """Train as a rank that is not the first: the same steps and tests, nothing written and nothing said."""
    from gpunet.train.several import Shares, look_along, settle_shares, share_start
    from gpunet.train.stop import Stop, Stopped

    share_start(trainer)
    if not trainer.finished:
        stop = Stop(trainer.model.ranks)
        trainer.watchers = (Shares(trainer.model), stop)
        try:
            with stop:
                trainer.run()
        except Stopped as stopped:
            settle_shares(trainer.model)
            raise typer.Exit(stopped.exit_code) from None
    else:
        settle_shares(trainer.model)
    if crew.communicator.tell(False)[0]:
        look_along(trainer)


@contextmanager
def together(crew: "Crew | None") -> Iterator[None]:
    """Leave together with all other ranks, if nothing went wrong in any."""
    try:
        yield
    except typer.Exit:
        if crew is not None:
            crew.leave()
        raise
    if crew is not None:
        crew.leave()
