"""`gpunet report`: a run as one file, in a browser and by what stands in it."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gpunet.cli.app import app
from tests.browser import NARROW, WIDE, launched, opened
from tests.conftest import Run
from tests.test_browser_page import in_browser

HEADINGS = ["Curves", "Confusion", "Mistakes", "Filters", "Memory", "Profile", "Environment", "How to repeat it"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, with its report in it."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    net = "INPUT[8x8x1] -> CONV3-4 -> RELU -> POOL2 -> FC-10"
    called("train", net, "--data", "digits", "--epochs", "1", "--device", "cpu", "--out", folder)
    told = called("report", folder, "--device", "cpu", "--steps", "2", "--out", folder / "report.html")
    assert "curves, confusion, mistakes, filters, memory, profile" in told
    return folder


def called(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def words_of(html: str) -> str:
    return re.sub(r"<[^>]*>", " ", html)


def test_all_of_a_run_is_in_one_small_file(trained: Path) -> None:
    html = (trained / "report.html").read_text("utf-8")
    assert re.findall(r"<h2[^>]*>([^<]*)", html) == HEADINGS
    assert html.count("<img ") == 5 and len(html) < 500_000
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", html) and "http" not in html.replace("http-equiv", "")
    accuracy = json.loads(called("eval", trained, "--device", "cpu", "--json"))["accuracy"]
    planned = called("plan", trained / "config.toml", "--device", "cpu", "--json")
    assert f"{accuracy:.2%}" in words_of(html)
    (arena,) = re.findall(r'"arena_bytes": (\d+)', planned)
    assert f"{int(arena):,} B" in words_of(html)
    assert "gpunet train" in html and "data = &quot;digits&quot;" in html


def test_what_cannot_be_shown_is_told_in_its_place(run: Run, trained: Path, tmp_path: Path) -> None:
    config = shutil.copytree(trained, tmp_path / "moved") / "config.toml"
    config.write_text(config.read_text().replace('data = "digits"', 'data = "gone.npz"'))
    done = run("report", "moved", "--device", "cpu", "--steps", "0", "--out", "x.html")
    assert done.exit_code == 0, done.output
    html = Path("x.html").read_text("utf-8")
    assert html.count("not shown: ") == 2 and "gone.npz" in html and "Profile" not in html


def test_mistakes_are_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, words in ((("empty",), "no folder of a run"), (("empty", "--out", "x.pdf"), "ends in .html")):
        done = run("report", *arguments)
        assert done.exit_code == 2 and words in done.output and "Traceback" not in done.output


def test_runs_are_compared_by_what_differs_and_by_what_came_of_it(run: Run, trained: Path, tmp_path: Path) -> None:
    other = shutil.copytree(trained, tmp_path / "other")
    text = (other / "config.toml").read_text()
    (other / "config.toml").write_text(text.replace("K = 4", "K = 5").replace("epochs = 1", "epochs = 7"))
    (other / "test.json").unlink()
    done = run("compare", trained, "other", "--out", "both.html")
    assert done.exit_code == 0, done.output
    settings, results = done.output.split("settings are the same in all")
    assert re.findall(r"^(\S.*?)  +(\S+)  +(\S+)$", settings, re.M)[1:] == [
        ("train.epochs", "1", "7"),
        ("layer conv1.K", "4", "5"),
    ]
    rows = {name: cells for name, *cells in re.findall(r"^(\S.*?)  +(\S.*?)  +(\S.*?)$", results, re.M)}
    accuracy = json.loads(called("eval", trained, "--device", "cpu", "--json"))["accuracy"]
    assert rows["test accuracy at the end"] == [f"{accuracy:.2%}", "-"]
    assert rows["epochs"] == ["1", "1"] and rows["validation loss"][0] == rows["validation loss"][1]
    html = Path("both.html").read_text("utf-8")
    assert html.count("<img ") == 1 and "layer conv1.K" in html and 'src="http' not in html
    for arguments, words in (
        ((trained,), "give two or more"),
        ((trained, "gone"), "there is no folder gone"),
        ((trained, other, "--out", "x.png"), "ends in .html"),
    ):
        failed = run("compare", *arguments)
        assert failed.exit_code == 2 and words in failed.output


@in_browser
def test_it_opens_without_a_request_on_a_desk_and_on_a_phone(browser: Any, trained: Path) -> None:
    for size, dark in ((WIDE, False), (NARROW, True)):
        with opened(browser, trained / "report.html", size=size, dark=dark) as watched:
            assert watched.page.locator("h2").count() == len(HEADINGS)
            watched.page.get_by_role("link", name="Memory").click()
            assert watched.fits() and watched.complaints() == []
            assert watched.errors == [] and watched.requests == []


@in_browser
@pytest.mark.slow
def test_the_report_of_vgg_digits_is_small_and_asks_for_nothing(browser: Any, run: Run) -> None:
    for name in ("first", "second"):
        assert run("train", "vgg_digits", "--device", "cpu", "--epochs", 1, "--out", name).exit_code == 0
    assert run("report", "first", "--device", "cpu", "--out", "report.html").exit_code == 0
    assert run("compare", "first", "second", "--out", "both.html").exit_code == 0
    assert Path("report.html").stat().st_size <= 500_000
    for page in ("report.html", "both.html"):
        for size, dark in ((WIDE, True), (NARROW, False)):
            with opened(browser, Path(page), size=size, dark=dark) as watched:
                assert watched.fits() and watched.complaints() == []
                assert watched.errors == [] and watched.requests == []
