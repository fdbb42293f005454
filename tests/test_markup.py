"""Names from files are text: whatever a file says, no command takes it for markup of a table, a bar or a picture."""

import json
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from rich.table import Table
from typer.testing import CliRunner

from gpunet import Model, load
from gpunet.cli.app import app
from gpunet.net.config import dump_net
from gpunet.report import console
from gpunet.train.screen import Screen
from gpunet.train.weights import save_weights

NAMES = ["[/x]", "[link=http://a.b]c[/link]", "[bold]:smile: \\[", "$\\frac{1}$", "\x1b[31mred", "[@click=x]y"]
SEEN = ["[/x]", "[link=http://a.b]c[/link]", "[bold]:smile: \\[", "$\\frac{1}$", r"\x1b[31mred", "[@click=x]y"]
"""What a terminal is given: what would change its colours is escaped."""

W, DATA, ON_CPU = "w.safetensors", ["--data", "data.npz"], ["--device", "cpu"]

CONFIG = """\
name = "[/net] :smile:"
net = "INPUT[4x4x1] -> CONV1-6 -> RELU -> GAP"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights of such classes, images of them, a picture, and the net's config."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "net.toml").write_text(CONFIG, encoding="utf-8")
    net = load(str(folder / "net.toml"))
    about = {"net": net.name, "config": dump_net(net), "classes": NAMES}
    with Model(net, 1, "cpu") as model:
        save_weights(folder / "w.safetensors", model.parameters, about)
    rng = np.random.default_rng(1)
    np.savez(folder / "data.npz", images=rng.integers(0, 256, (24, 4, 4), np.uint8), labels=np.arange(24) % 6)
    Image.fromarray(rng.integers(0, 256, (9, 9), np.uint8)).save(folder / "a.png")
    run = ["train", str(folder / "net.toml"), "--data", str(folder / "data.npz"), "--epochs", "1", *ON_CPU]
    assert CliRunner().invoke(app, [*run, "--out", str(folder / "[run]")]).exit_code == 0
    return folder


COMMANDS = {
    "eval": ["eval", W, *DATA, *ON_CPU],
    "predict": ["predict", W, "a.png", "--top", "6", *ON_CPU],
    "slide": ["slide", W, "a.png", "--top", "6", "--out", "{out}", *ON_CPU],
    "confusion": ["show", "confusion", W, *DATA, "--out", "{out}", *ON_CPU],
    "mistakes": ["show", "mistakes", W, *DATA, "--out", "{out}", *ON_CPU],
    "activations": ["show", "activations", W, "3", *DATA, "--out", "{out}", *ON_CPU],
    "filters": ["show", "filters", W, "--out", "{out}"],
    "curves": ["show", "curves", "[run]", "--out", "{out}"],
    "train": ["train", "net.toml", *DATA, "--epochs", "1", *ON_CPU, "--out", "{folder}/[bold]run"],
    "resume": ["train", "--resume", "[run]", "--epochs", "2"],
    "lr-find": ["lr-find", "net.toml", *DATA, "--steps", "20", "--batch", "4", *ON_CPU],
    "describe": ["describe", "net.toml"],
    "plan": ["plan", "net.toml", "--timeline", *ON_CPU],
    "fit": ["fit", "net.toml", "--budget", "1GiB"],
    "gradcheck": ["gradcheck", "net.toml", *ON_CPU],
    "profile": ["profile", "net.toml", "--batch", "2", "--steps", "2", *ON_CPU],
}
NAMING = ("eval", "predict", "slide")
"""Those that print the names of all classes."""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_prints_names_as_they_are(
    command: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    places = {"{out}": str(tmp_path / "out.png"), "{folder}": str(tmp_path)}
    arguments = [reduce(lambda text, place: text.replace(*place), places.items(), word) for word in COMMANDS[command]]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "\x1b" not in result.output and "\N{SMILING FACE WITH OPEN MOUTH}" not in result.output
    if command in NAMING:
        assert [name for name in SEEN if name not in result.output] == []
    if "{out}" in COMMANDS[command]:
        with Image.open(tmp_path / "out.png") as drawn:
            assert drawn.format == "PNG"


def test_json_has_the_names_too(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    told = json.loads(CliRunner().invoke(app, [*COMMANDS["eval"], "--json"]).stdout)
    assert [entry["name"] for entry in told["classes"]] == SEEN


def test_cells_headings_and_footers_of_any_table_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(show_footer=True)
    table.add_column("[/h]", ":smile:")
    table.add_row("[link=x]cell[/link]")
    console.show(table)
    said = capsys.readouterr().out
    assert "[/h]" in said and ":smile:" in said and "[link=x]cell[/link]" in said


def test_what_takes_its_time_is_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(console, "Console", lambda **_: Console(stderr=True, force_terminal=True, width=60))
    with console.working("[/a]") as say:
        say("[/b] :smile:")
    assert "[/" in capsys.readouterr().err


def test_no_column_of_a_bar_reads_markup() -> None:
    screen = Screen(Console(force_terminal=True))
    columns = [column for column in screen._bar.columns if hasattr(column, "markup")]
    assert columns and not columns[0].markup  # the other says "left"
