"""What shows how a fit goes: a bar on a terminal, one in a notebook, lines, or nothing."""

import io
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

import gpunet
from gpunet.train import bar
from tests.runs import images

NET = gpunet.load("INPUT[4x4x1] -> FC-3")
DATA = images()


def fit(progress: bool | None, **options: Any) -> None:
    with gpunet.Model(NET, 4, "cpu") as model:
        model.fit(DATA, epochs=2, progress=progress, **options)


def test_a_pipe_gets_lines_where_they_are_asked_for(capsys):
    fit(None)
    fit(False)
    assert capsys.readouterr().out == ""
    fit(True, validation=DATA.test)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:9] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert "val accuracy" in lines[0] and "images/s" in lines[0] and "test" not in lines[0] and "nan" not in lines[0]


class Screen(io.StringIO):
    """A terminal that keeps what was written on it."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("options", [{}, {"steps_per_epoch": 3}])
def test_a_terminal_shows_a_bar_and_keeps_the_lines(monkeypatch, options):
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(bar, "Console", lambda **given: Console(file=screen, force_terminal=True, width=80, **given))
    fit(None, **options)
    shown = screen.getvalue()
    steps = options.get("steps_per_epoch", 11)
    assert (
        "epoch 2/2  loss" in shown
        and f"epoch 2/2  {steps}/{steps}  loss" in shown
        and "\u2026" not in shown
        and "\x1b[?25h" in shown.rpartition("\x1b[?25l")[2]
    )
    written = len(screen.getvalue())
    fit(False)
    assert len(screen.getvalue()) == written


class Place:
    """Where a notebook shows something; keeps all of it."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def update(self, html: str) -> None:
        self.shown.append(html)


@pytest.fixture
def place(monkeypatch) -> Place:
    """A notebook."""
    found = Place()
    display = SimpleNamespace(HTML=str, display=lambda html, display_id: found)
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell, display=display))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(bar, "EVERY_SECONDS", 0)
    return found


def test_a_notebook_shows_a_bar_and_then_the_lines_alone(place, capsys):
    fit(None)
    assert '<progress style="width: 60%" value="1" max="22"></progress><pre>epoch 1/2  1/11' in place.shown[0]
    assert place.shown[-1].startswith("<pre>epoch 1/2  loss") and place.shown[-1].count("epoch ") == 2
    assert capsys.readouterr().out == ""
    fit(False)
    with gpunet.Model(NET, 4, "cpu") as model:
        model.fit(iter([DATA.test.take(slice(0, 4))]))
    assert '<progress style="width: 60%" ></progress>' in place.shown[-2]  # nobody knows how many there will be


def test_ipython_on_a_terminal_is_no_notebook(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    fit(None)
    assert capsys.readouterr().out == ""


def test_without_a_standard_output_nothing_is_shown(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    fit(True)
