"""The demo: pages of digits, what is learnt from them, and that the digits of a new page are found."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from gpunet import ScoreMap, slide
from gpunet.cli.app import app
from gpunet.data import digits
from gpunet.data.picture import read_scaled
from gpunet.report.found import draw_found
from gpunet.train.weights import class_names, open_weights
from gpunet.use.demo import CROP, DIGIT, FAR, GAP, MARGIN, NEAR, NOTHING, compose, crops, find, new_page, told_right

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the program inside this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_page_holds_its_digits_apart_and_nothing_else(rng: np.random.Generator) -> None:
    source = digits().test
    known = {image.tobytes(): int(label) for image, label in zip(source.images[..., 0], source.labels, strict=True)}
    page = compose(source, rng)
    assert len(page.places) == 40 and page.picture.shape == (96, 128, 1)
    ink = np.rint((255 - page.picture[..., 0].astype(float)) / 255 * 16).astype(np.uint8)
    for row, column, label in page.places:
        there = ink[row : row + DIGIT, column : column + DIGIT]
        assert known[there.tobytes()] == label
        there[:] = 0
        others = [(r, c) for r, c, _ in page.places if (r, c) != (row, column)]
        assert all(max(abs(row - r), abs(column - c)) >= DIGIT + GAP for r, c in others)
    assert not ink.any()


def test_crops_of_digits_are_near_them_and_those_of_nothing_are_not(rng: np.random.Generator) -> None:
    page = compose(digits().train, rng)
    split = crops([page], rng)
    windows = np.lib.stride_tricks.sliding_window_view(page.picture[..., 0], (CROP, CROP))
    for image, label in zip(split.images[::5, ..., 0], split.labels[::5], strict=True):
        where = np.argwhere((windows == image).all(axis=(2, 3)))
        assert len(where)
        off = [max(abs(t - r + MARGIN), abs(le - c + MARGIN)) for t, le in where for r, c, _ in page.places]
        if label == NOTHING:
            assert max(off) > FAR
        else:
            assert min(off) <= NEAR
    assert (split.labels == NOTHING).sum() == (split.labels != NOTHING).sum() == 80


def test_a_digit_is_found_where_its_crops_are_most_probable() -> None:
    scores = np.zeros((30, 40, 11))
    scores[..., NOTHING] = 9
    scores[4:7, 9:12, 3] = 20  # a three, in all crops that miss it by a pixel
    scores[20, 30, 5] = 20  # one crop alone is not enough
    scored = ScoreMap(scores, (CROP, CROP), (1, 1))
    assert find(scored) == [(5 + MARGIN, 10 + MARGIN, 3)]
    page = compose(digits().test, np.random.default_rng(0))
    row, column, label = page.places[0]
    assert told_right([(row + FAR, column, label), (row, column, label ^ 1), (row, column - 4, label)], page) == [
        True,
        False,
        False,
    ]


def test_the_picture_marks_what_was_found() -> None:
    figure = draw_found(np.zeros((20, 30, 1), np.uint8), np.ones((9, 19)), (5.5, 5.5), [(2, 3, "7", True)], 8)
    page, where, told = figure.axes
    assert where.images[1].get_extent() == [5.0, 24.0, 14.0, 5.0]
    (box,) = told.patches
    assert box.get_xy() == (2.5, 1.5) and (box.get_width(), box.get_height()) == (8, 8)
    assert told.texts[0].get_text() == "7" and "1 right" in told.get_title() and "0 wrong" in told.get_title()
    assert page.get_title() == "the page"


def test_nine_of_ten_digits_are_found_and_told_right(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # it is of use without pictures, too
    result = run("demo", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "a picture of what was found needs matplotlib" in result.stdout
    assert not (tmp_path / "demo/found.png").exists()
    config, weights = open_weights(tmp_path / "demo/weights.safetensors")
    assert class_names(tmp_path / "demo/weights.safetensors", 11)[NOTHING] == "nothing"
    pages = [new_page(seed) for seed in range(4)]
    assert (read_scaled(tmp_path / "demo/page.png", maps=1) == pages[0].picture).all()
    right = [sum(told_right(find(slide(config.net, weights, p.picture, 1, device="cpu")), p)) for p in pages]
    assert f"demo/page.png has 40 digits that were not learnt from: {right[0]} found and told right" in result.stdout
    assert sum(right) >= 0.9 * sum(len(page.places) for page in pages), right
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    command = result.stdout.splitlines()[-1].removeprefix("look for threes: gpunet ").split()
    assert run(*command, "--device", "cpu").exit_code == 0
    assert (tmp_path / "threes.png").stat().st_size > 10_000


@pytest.mark.parametrize("name", ["page.png", "weights.safetensors", "found.png"])
def test_the_demo_names_a_file_that_it_cannot_write_before_it_learns(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "demo" / name).mkdir(parents=True)
    result = run("demo")
    assert result.exit_code == 2 and f"demo/{name} is a folder" in result.stderr and not result.stdout
    assert len(list((tmp_path / "demo").iterdir())) == 1


def test_the_demo_names_a_folder_that_it_cannot_make(run: Run, tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("a file")
    result = run("demo")
    assert result.exit_code == 2 and "cannot make the folder demo: a file is in its place" in result.stderr
