"""The `gpunet` program: its commands, and how whatever goes wrong reaches the person who typed."""

from typing import Annotated

import typer

from gpunet.cli.bench import bench
from gpunet.cli.cards import cards
from gpunet.cli.compare import compare
from gpunet.cli.convert import convert
from gpunet.cli.data import data
from gpunet.cli.demo import demo
from gpunet.cli.describe import describe
from gpunet.cli.doctor import doctor
from gpunet.cli.eval import evaluate
from gpunet.cli.export import export
from gpunet.cli.features import features
from gpunet.cli.fit import fit
from gpunet.cli.gradcheck import gradcheck
from gpunet.cli.guard import GuardedGroup
from gpunet.cli.import_weights import import_weights
from gpunet.cli.live import live
from gpunet.cli.lr_find import lr_find
from gpunet.cli.nets import nets
from gpunet.cli.plan import plan
from gpunet.cli.predict import predict
from gpunet.cli.profile import profile
from gpunet.cli.report import report
from gpunet.cli.show import show
from gpunet.cli.slide import slide
from gpunet.cli.train import train
from gpunet.cli.tune import tune

app = typer.Typer(
    cls=GuardedGroup,
    name="gpunet",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.command()(nets)
app.command()(describe)
app.command()(plan)
app.command()(fit)
app.command()(cards)
app.command()(train)
app.command("lr-find")(lr_find)
app.command()(live)
app.add_typer(show)
app.command()(report)
app.command()(compare)
app.command("eval")(evaluate)
app.command()(predict)
app.command()(data)
app.command()(profile)
app.command()(tune)
app.command()(bench)
app.command()(gradcheck)
app.command()(convert)
app.command("import")(import_weights)
app.command()(export)
app.command()(features)
app.command()(slide)
app.command()(demo)
app.command()(doctor)


def _version(wanted: bool) -> None:
    if wanted:
        from gpunet import __version__

        typer.echo(f"gpunet {__version__}")
        raise typer.Exit


@app.callback()
def gpunet(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Train ConvNets with memory planned to the byte: see what a net costs before it runs, then run it in that."""
