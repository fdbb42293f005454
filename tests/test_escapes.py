"""Names and paths that hold control characters, or what a terminal cannot show: escaped, in line, never raw."""

import pickle
import subprocess
from io import BytesIO, TextIOWrapper
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.table import Table
from typer.testing import CliRunner

from gpunet.cli.app import app
from gpunet.report.console import as_text
from gpunet.values.visible import told_path, typable, visible, visible_lines
from tests.conftest import Run

EVIL = "e\nv\x1b[31m\tl"
SEEN = r"e\nv\x1b[31m\tl"


@pytest.fixture
def place(tmp_path: Path, run: Run) -> Path:
    """A folder with a config, pictures and a run, most of them called like that."""
    for part, count in (("train", 4), ("test", 1)):
        for name in (EVIL, "plain"):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            for number in range(count):
                bright = (name == EVIL) != (part == "test")  # so that all is told wrong
                values = np.full((8, 8), 20 * number + 150 * bright, np.uint8)
                Image.fromarray(values).save(tmp_path / "data" / part / name / f"{EVIL}{number}.png")
    (tmp_path / f"{EVIL}.toml").write_text('net = "INPUT[8x8x1] -> FC-2"')
    return tmp_path


def is_escaped(output: str) -> bool:
    """Whether no control character reached the terminal, nor half of a name stands on a line of its own."""
    return output.isascii() and all(letter.isprintable() or letter == "\n" for letter in output) and "\nv" not in output


def test_every_command_that_names_them_escapes_them(place: Path, run: Run) -> None:
    cpu = ["--device", "cpu"]
    train = ["train", f"{EVIL}.toml", "--data", "data", "--epochs", "1", "--batch", "3", *cpu]
    commands = [
        [*train, "--out", EVIL],
        [*train, "--out", EVIL],  # which is there now
        ["train", "--resume", EVIL],
        ["predict", EVIL, "data", *cpu],
        ["show", "curves", EVIL, "--out", f"{EVIL}.png"],
        ["show", "mistakes", EVIL, "--out", f"{EVIL}.png", *cpu],
        ["show", "filters", EVIL, "--out", f"{EVIL}/no/{EVIL}.png"],
        ["convert", EVIL, f"{EVIL}.safetensors"],
        ["eval", f"{EVIL}2"],
        ["predict", EVIL, f"{EVIL}2", *cpu],
        ["slide", EVIL, f"data/test/plain/{EVIL}0.png", "--class", EVIL, *cpu],
        ["plan", f"{EVIL}2.toml"],
        ["plan", "vgg16", f"--{EVIL}"],
        ["plan", "vgg16", "--device", EVIL],
        ["plan", "vgg16", "--gpu", EVIL],
        ["train", "vgg_digits", "--data", EVIL],
    ]
    for command in commands:
        result = run(*command)
        assert result.exit_code in (0, 2) and not isinstance(result.exception, Exception), result.output
        assert is_escaped(result.output) and SEEN in result.output, (command, result.output)


def test_what_is_wrong_with_data_names_files_and_classes_escaped(place: Path, run: Run) -> None:
    (place / "data/train/plain" / f"{EVIL}bad.png").write_text("no picture")
    train = ["train", f"{EVIL}.toml", "--data", "data", "--epochs", "1", "--device", "cpu"]
    found = [run(*train), run(*train, "--skip-broken")]
    (place / "data/train/plain" / f"{EVIL}bad.png").unlink()
    (place / "data/test/plain").rename(place / "data/test" / f"{EVIL}2")
    found.append(run(*train))  # a class that was never learnt
    (place / "data/test" / f"{EVIL}2").rename(place / "data" / f"test {EVIL}")
    found.append(run(*train))  # a second part to test on
    for result in found:
        assert is_escaped(result.output) and SEEN in result.output, result.output


def test_what_is_no_control_character_stays() -> None:
    assert visible("caf\u00e9 \u4e2d\u6587 a\u0301") == "caf\u00e9 \u4e2d\u6587 a\u0301"
    assert visible("a\u00a0b\u3000c") == "a b c" and visible("\udcff\u2028\x00\x7f") == r"\udcff\u2028\x00\x7f"
    assert visible_lines("a\nb\tc") == "a\nb\\tc"


def test_a_path_is_told_escaped_and_used_as_it_is(tmp_path: Path) -> None:
    path = told_path(tmp_path) / "a\nb"
    path.write_text("there")
    assert path == tmp_path / "a\nb" and hash(path) == hash(tmp_path / "a\nb") and (tmp_path / str(path)).exists()
    for made in (
        path,
        path.resolve(),
        path.absolute(),
        next(told_path(tmp_path).iterdir()),
        pickle.loads(pickle.dumps(path)),
    ):
        assert f"{made}".endswith(r"/a\nb") and str(made).endswith("/a\nb") and made.read_text() == "there"
    assert repr(told_path("a")) == repr(Path("a"))


@pytest.mark.parametrize("text", ["plain", "two words", EVIL, "it's\n\\n", "$HOME\t`x`", "\x7f'\"caf\u00e9"])
def test_a_path_in_an_advised_command_can_be_typed(text: str) -> None:
    typed = typable(told_path(text))
    assert typed.isprintable()
    echoed = subprocess.run(["bash", "-c", f"printf %s {typed}"], capture_output=True, check=True, text=True)
    assert echoed.stdout == text


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "gbk", "utf-8"])
def test_columns_stay_in_line_whatever_a_terminal_can_show(encoding: str) -> None:
    names = ["caf\u00e9", "\u4e2d\u6587", "plain", "a\x1b[1mb", "\u03b1\u03b2\u03b3"]
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    table.add_column("images", justify="right")
    for name in names:
        table.add_row(name, "100%")
    terminal = TextIOWrapper(BytesIO(), encoding, errors="backslashreplace")
    terminal.write(as_text(table, terminal))
    terminal.seek(0)
    lines = terminal.read().split("\n")
    if encoding in ("ascii", "cp1252"):
        assert len({len(line) for line in lines}) == 1, lines  # in the others letters are wide
        assert lines[2].split()[0] == r"\u4e2d\u6587"
    assert [line.split()[-1] for line in lines[1:]] == ["100%"] * 5 and r"a\x1b[1mb" in lines[4]
    assert table.columns[0]._cells == names  # what was given is as it was


def test_a_terminal_of_ascii_shows_tables_in_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes = ["caf\u00e9", "\u4e2d\u6587"]
    np.save(place / "images.npy", np.zeros((8, 8, 8, 1), np.uint8))
    np.save(place / "labels.npy", np.arange(8) % 2)
    (place / "class_names.txt").write_text("\n".join(classes), "utf-8")
    out = ["train", "INPUT[8x8x1] -> FC-2", "--data", str(place), "--epochs", "1", "--device", "cpu", "--out", "r"]
    assert CliRunner(charset="ascii").invoke(app, out).exit_code == 0
    shown = CliRunner(charset="ascii").invoke(app, ["eval", "r", "--split", "train", "--device", "cpu"])
    rows = [line for line in shown.output.splitlines() if line.startswith(("class", "caf", "\\u4e2d", "total"))]
    assert len(rows) == 4 and len({len(row) for row in rows}) == 1, shown.output
