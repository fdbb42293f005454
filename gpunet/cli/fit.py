"""`gpunet fit`: the largest batch for each budget, or for each card."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpunet.cli import options
from gpunet.cli.guard import complain
from gpunet.cli.together import SplitFC
from gpunet.errors import ConfigError
from gpunet.program.program import DTYPES, AnyDtype

if TYPE_CHECKING:
    from gpunet.devices.target import DeviceTarget
    from gpunet.net.net import Net

    Aim = tuple[DeviceTarget, int]
    """What is planned for, and the bytes there are."""

CPU_BUDGETS = ("3GiB", "4GiB", "6GiB", "8GiB", "11GiB", "12GiB")
"""What people spare of their machine's memory."""

ALL = "all"

SHOWN: tuple[AnyDtype, ...] = ("float32", "bfloat16", "float16")
"""The types of activations beside each other, where all are asked for."""


def fit(
    net: options.Net,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            help="Memory there is, like 6GiB or 12GB; may be given several times. Default: for cuda all that this "
            "machine's GPU has, or an RTX 3060; for cpu some amounts.",
            show_default=False,
        ),
    ] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CARD",
            help="A card, like '3060' or 'gtx 1060 6gb', in place of a budget; several, or all: a row for each. gpunet "
            "cards lists them.",
            show_default=False,
        ),
    ] = None,
    optimizer: options.Optimizer = None,
    freeze: options.Freeze = None,
    clip_norm: options.ClipNorm = None,
    mode: options.Mode = options.ModeName.train,
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype",
            parser=lambda text: options.dtype_among(text, (*DTYPES, ALL)),
            metavar="DTYPE",
            help=f"Of activations: {', '.join(DTYPES)}; all: {', '.join(SHOWN)} in one table. Default: what the net's "
            "config says, else float32.",
            show_default=False,
        ),
    ] = None,
    device: options.Device = "cuda",
    scratch: options.Scratch = None,
    reserve: options.Reserve = None,
    without: options.Without = None,
    max_cost: options.MaxCost = None,
    max_cost_flops: options.MaxCostFlops = None,
    micro_batches: options.MicroBatches = None,
    ways: options.AskedWays = None,
    math: options.MathOption = None,
    no_tuned: options.NoTuned = False,
    ranks: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Among so many GPUs the batch is divided, each with that budget."),
    ] = 1,
    shard_optimizer: Annotated[
        bool, typer.Option("--shard-optimizer", help="Each rank holds its share of the optimizer's caches alone.")
    ] = False,
    split_fc: SplitFC = False,
    width: options.Width = None,
    input: options.Input = None,
    json: options.Json = False,
) -> None:
    """Find the largest batch for each budget or card, exactly: it fits, one image more does not; free and at a cost.

    What is not given here comes from the net's config.

    Exit code 1 where not even one image fits one of them, 2 for a mistake.
    """
    from gpunet.compile.ranks import Division

    for option, given in (("--shard-optimizer", shard_optimizer), ("--split-fc", split_fc)):
        if given and ranks == 1:
            raise ConfigError(f"{option} divides what several ranks hold: say how many, like --ranks 8")
    config = options.read_net(net, width, input)
    told = options.training(
        config,
        optimizer=optimizer,
        freeze=freeze,
        clip_norm=clip_norm,
        reserve=reserve,
        dtype=None if dtype == ALL else dtype,
        math=math,
        without=without,
        max_cost=max_cost,
        max_cost_flops=max_cost_flops,
        micro_batches=micro_batches,
        ways=ways,
    )
    options.tell_math(told.math, device)
    options.check_fitting((max_cost, max_cost_flops), micro_batches, ways, mode=mode)
    settings = options.plan_settings(told, mode, scratch) | {"tuned": not no_tuned}
    settings |= {"division": Division(ranks, shard=shard_optimizer, split_fc=split_fc)}
    aims = _aims(device, budget or [], gpu or [])
    by_card = ALL in (gpu or []) or (gpu and len(aims) > 1) or dtype == ALL
    dtypes = SHOWN if dtype == ALL else (settings["dtype"],)
    if by_card:
        misfits = _show_cards(config.net, aims, dtypes, settings, json)
    else:
        misfits = _show_ladders(config.net, aims, settings, json)
    for message in misfits:
        complain(message)
    if misfits:
        raise typer.Exit(1)


def _aims(device: str, budgets: Sequence[str], gpus: Sequence[str]) -> list["Aim"]:
    """What was asked for, each once: cards, or else budgets, or else what there is where nobody says."""
    from gpunet.devices.cards import cards
    from gpunet.planning.aim import aim

    if gpus and budgets:
        aim(device, budgets[0], gpus[0])  # refuses both
    names = [name for gpu in gpus for name in ([card.name for card in cards()] if gpu == ALL else [gpu])]
    found = [aim(device, None, name) for name in names] or [aim(device, budget, None) for budget in budgets]
    found = found or [aim(device, None, None, assume=True)]
    if found[0][1] is None:
        found = [aim(device, budget, None) for budget in CPU_BUDGETS]
    return list(dict.fromkeys((where, nbytes) for where, nbytes in found if nbytes is not None))


def _show_ladders(net: "Net", aims: Sequence["Aim"], settings: dict[str, Any], json: bool) -> list[str]:
    """The ladder of each; returns what to say of those that hold nothing."""
    from gpunet.memory.size import format_bytes
    from gpunet.planning.fitter import survey, too_small
    from gpunet.report.console import working

    surveys, misfits = [], []
    with working("looking for the largest batches") as say:
        for where, budget_bytes in aims:
            say(f"looking for the largest batches in {format_bytes(budget_bytes)}")
            surveys.append(survey(net, budget_bytes, **settings, device=where))
            if not surveys[-1].chosen.batch:
                misfits.append(str(too_small(net, budget_bytes, **settings, device=where)))
    if json:
        from gpunet.report.as_json import as_text, fit_json

        typer.echo(as_text(fit_json(surveys)))
    else:
        from gpunet.report.console import show
        from gpunet.report.table import fit_parts

        show(*fit_parts(surveys))
    return misfits


def _show_cards(
    net: "Net", aims: Sequence["Aim"], dtypes: Sequence[AnyDtype], settings: dict[str, Any], json: bool
) -> list[str]:
    """A row for each card and each dtype that it has; returns what to say of those that hold nothing.

    Raises ConfigError where no card has any of them.
    """
    from gpunet.planning.by_card import fit_types
    from gpunet.report.console import working

    if not any(where.has(dtype) for where, _ in aims for dtype in dtypes):
        aims[0][0].dtype(dtypes[0])  # says what it has
    settings = {name: value for name, value in settings.items() if name != "dtype"}
    with working("looking for the largest batches") as say:

        def watch(card: str) -> None:
            say(f"looking for the largest batch of the {card}")

        fits = fit_types(net, aims, dtypes, watch=watch, **settings)
    if len(dtypes) == 1 and (without := [where.card for where, _ in aims if not where.has(dtypes[0])]):
        complain(f"left out, as they have no {_in_words(dtypes[0])}: {', '.join(without)}")
    if json:
        from gpunet.report.as_json import as_text, card_fits_json

        typer.echo(as_text(card_fits_json(fits)))
    else:
        from gpunet.report.card_table import card_fit_parts
        from gpunet.report.console import show

        show(*card_fit_parts(fits))
    none = ", ".join(dict.fromkeys(fit.target.card for fit in fits if not fit.rung.batch))
    return [f"{net.name} does not fit {none}: try another --optimizer, --max-cost, --width or --input"] if none else []


def _in_words(dtype: AnyDtype) -> str:
    return "half types" if dtype == "mixed" else dtype
