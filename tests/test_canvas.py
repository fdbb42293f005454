"""What all pictures share: names stand in them as they are, and what cannot be drawn or written is told in a line."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from gpunet import FC, Net, ScoreMap, load, plan
from gpunet.errors import ConfigError
from gpunet.report import canvas
from gpunet.report.activation_picture import draw_activations, draw_layer
from gpunet.report.canvas import check_plot, drawing, new_figure, save, title
from gpunet.report.confusion import draw_confusion
from gpunet.report.curves import draw_curves
from gpunet.report.filter_picture import draw_filters
from gpunet.report.heat_map import draw as draw_heat_map
from gpunet.report.mistakes import draw_mistakes
from gpunet.report.plot import draw as draw_plan
from gpunet.report.rate_picture import draw_rates
from gpunet.train.history import History
from gpunet.train.judge import Judged
from gpunet.train.lr_find import RateTest, RateTests, growing
from gpunet.train.metrics import StepMetrics

NOT_MATH, MATH = r"$\foo$", "$x^2$"
NAMES = [NOT_MATH, MATH]
"""What is no formula, and what is one."""


def curves(name: str) -> Figure:
    step = StepMetrics(1, 1, 2.0, 0.5, 0.1, 9.0)
    return draw_curves([History(Path("runs") / name, (), (step,)), History(Path("runs/other"), (), (step,))])


def mistakes(name: str) -> Figure:
    told = Judged(np.zeros(2, int), np.ones(2, int), np.ones(2), np.ones(2), np.zeros(2), 2)
    return draw_mistakes(np.zeros((2, 4, 4, 1), np.uint8), told, np.array([0, 1]), NAMES, name)


def activations(name: str) -> Figure:
    net = load("INPUT[4x4x1] -> FC-2")
    volumes = {"input": np.zeros((4, 4, 1)), "fc1": np.ones((1, 1, 2))}
    return draw_activations(net, volumes, np.array([0.2, 0.8]), NAMES, name)


RATES = growing(1e-6, 10, 30)
PICTURES: dict[str, Callable[[str], Figure]] = {
    "curves": curves,
    "confusion": lambda name: draw_confusion(np.eye(2, dtype=int), [name, "other"], name),
    "mistakes": mistakes,
    "activations": activations,
    "a layer": lambda name: draw_layer(np.zeros((4, 4, 3)), name),
    "filters": lambda name: draw_filters(np.ones((2, 3, 3, 1)), name),
    "heat map": lambda name: draw_heat_map(
        np.zeros((9, 9, 3), np.uint8), ScoreMap(np.zeros((2, 2, 2)), (8, 8), (1, 1)), [0], [name, "other"]
    ),
    "rates": lambda name: draw_rates(RateTests((RateTest(name, RATES, np.linspace(2, 1, 30), 30, None),))),
    "plan": lambda name: draw_plan(plan(Net("4x4x1", [FC(2)], name=name), 1, device="cpu")),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("picture", PICTURES)
def test_names_with_dollars_are_no_formulas(picture: str, name: str, tmp_path: Path) -> None:
    figure = PICTURES[picture](name)
    save(figure, tmp_path / "picture.png")
    written = [text for text in figure.findobj(Text) if name in text.get_text()]
    assert written and not any(text.get_parse_math() for text in written)


def test_letters_that_no_font_has_are_told_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canvas, "FALLBACKS", ())
    path = tmp_path / "picture.png"
    save(draw_confusion(np.eye(2, dtype=int), ["\N{CJK UNIFIED IDEOGRAPH-65E5}", "cat"], "run"), path)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(
        f"{path} has boxes in place of letters that no installed font has: \N{CJK UNIFIED IDEOGRAPH-65E5};"
    )


def test_a_font_that_has_the_letters_is_used_where_it_is_installed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def saved(*fallbacks: str) -> str:
        monkeypatch.setattr(canvas, "FALLBACKS", fallbacks)
        with drawing():
            figure = new_figure(400, 300)
            title(figure, "\N{FROWN}")
        save(figure, tmp_path / "picture.png")
        return capfd.readouterr().err

    assert "\N{FROWN}" in saved("a font that is not there")
    assert saved("a font that is not there", "STIXGeneral") == ""  # it comes with matplotlib


def test_titles_shrink_to_what_can_be_read_and_are_cut_then() -> None:
    with drawing():
        figure = new_figure(600, 300)
        title(figure, "a net of many words " * 9, "what is to be said of it " * 9)
    figure.canvas.draw()
    head, more = figure.texts
    for text, least in ((head, 12), (more, 9)):
        assert text.get_fontsize() == least and "\N{HORIZONTAL ELLIPSIS}" in text.get_text()
        assert text.get_window_extent().x1 <= 600 - 38


def test_a_place_that_cannot_be_written_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ConfigError, match=r"folder\.png is a folder; give the name of a file"):
        check_plot(tmp_path / "folder.png")
    with pytest.raises(ConfigError, match=r"there is no folder .*none"):
        check_plot(tmp_path / "none/x.png")
    check_plot(tmp_path / "x.png")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # root may write anywhere
    with pytest.raises(ConfigError, match=r"cannot write .*x\.png: nothing may be put into the folder"):
        check_plot(tmp_path / "x.png")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]
    assert not list((tmp_path / "folder.png").iterdir())
