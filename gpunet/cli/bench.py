"""`gpunet bench`: nets and layers timed pass by pass, after the method of convnet-benchmarks."""

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from gpunet.cli import options
from gpunet.cli.guard import complain

if TYPE_CHECKING:
    from gpunet.bench.cases import Case
    from gpunet.bench.check import WrongResult
    from gpunet.bench.measure import Times
    from gpunet.devices.device import Device
    from gpunet.devices.target import DeviceTarget


def bench(
    nets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NET",
            help="alexnet, overfeat, vgg_a, googlenet: those of convnet-benchmarks; or any NET. Default: these four.",
            show_default=False,
        ),
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Its five layers, L1 to L5; alone where no NET is named.")
    ] = False,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch",
            "--batch-size",
            help="Images; default: convnet-benchmarks' 128 (vgg_a: 64), or as the net's config says.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=10**6, help="Runs of each pass that are timed together.")] = 10,
    dry: Annotated[int, typer.Option(min=1, max=10**6, help="Runs of all passes before.")] = 10,
    check: Annotated[
        bool, typer.Option("--check", help="Compare every op with float64 first, and show the largest error.")
    ] = False,
    published: Annotated[
        bool, typer.Option("--published", help="Show what convnet-benchmarks published, of other machines.")
    ] = False,
    device: options.DeviceOrAuto = options.AUTO,
    json: options.Json = False,
) -> None:
    """Time nets pass by pass: forward, gradients of inputs, gradients of weights; no loss, no update.

    The method is that of convnet-benchmarks: dry runs, then a loop over each pass. A net's first layer makes no
    gradient of its input, a single layer does. On the CPU say a small --batch.

    Exit code 1 where a result is wrong (--check), 2 for a mistake, 130 after Ctrl-C; what was timed is shown.
    """
    from gpunet.devices import open_device, target
    from gpunet.model.making import choose_device

    cases = [case.of(batch) for case in _cases(nets or [], layers)]
    where = target(choose_device(device))
    done: list[Times] = []
    wrong: list[WrongResult] = []
    try:
        with closing(open_device(where.name)) as opened:
            for case in cases:
                _time(case, opened, where, done, wrong, steps=steps, dry=dry, check=check)
    finally:  # after Ctrl-C, too
        if done:
            _show(done, where, steps=steps, dry=dry, published=published, json=json)
    for error in wrong:
        complain(str(error))
    if wrong:
        raise typer.Exit(1)


def _cases(nets: Sequence[str], layers: bool) -> list["Case"]:
    """What was asked for; names of the bench's own nets go before those of shipped ones."""
    from gpunet.bench.cases import NETS, Case, layer_cases, net_cases

    found = []
    for text in nets or ([] if layers else NETS):
        if text in NETS:
            found += net_cases([text])
        else:
            config = options.read_net(text)
            found.append(Case(config.net.name, config.net, config.train.batch))
    return found + (layer_cases() if layers else [])


def _time(
    case: "Case",
    device: "Device",
    where: "DeviceTarget",
    done: list["Times"],
    wrong: list["WrongResult"],
    *,
    steps: int,
    dry: int,
    check: bool,
) -> None:
    """Time a case, once its results were found to be right if that is asked for."""
    from gpunet.bench.check import WrongResult, require_right
    from gpunet.bench.measure import measure
    from gpunet.report.console import working

    with working(f"{case.name}: comparing with float64" if check else case.name) as say:
        try:
            found = require_right(case, device, where) if check else None
            done.append(measure(case, device, where, steps=steps, dry=dry, check=found, watch=say))
        except WrongResult as error:
            wrong.append(error)


def _show(done: Sequence["Times"], where: "DeviceTarget", *, steps: int, dry: int, published: bool, json: bool) -> None:
    from gpunet.report.bench_tables import bench_json, bench_lines

    hardware = where.hardware()
    if json:
        from gpunet.report.as_json import as_text

        typer.echo(as_text(bench_json(done, where.name, hardware, steps=steps, dry=dry)))
    else:
        machine = f"{where.name} ({hardware or 'an unknown machine'}): {steps} runs of each pass after {dry} of all"
        typer.echo("\n".join(bench_lines(done, machine, published=published)))
