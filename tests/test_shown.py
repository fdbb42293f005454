"""Values that can be looked at: what `repr`, `print`, a notebook, JSON, a picture and a DataFrame show of each."""

import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

import gpunet
from gpunet import ConfigError, Conv, Net, ReLU
from gpunet.cli.app import app
from gpunet.data import digits
from gpunet.data import load as open_data
from gpunet.data.dataset import Part
from gpunet.memory.size import format_bytes
from gpunet.planning.fitter import survey
from gpunet.profile.measure import profile
from gpunet.report.looks import LOOKS, look
from gpunet.report.sheet import Sheet, as_html
from gpunet.train.history import History, read_history
from gpunet.train.judge import Judged
from gpunet.train.lr_find import RateTest, RateTests
from gpunet.train.metrics import EpochMetrics, StepMetrics
from gpunet.values.shown import Shown
from tests.runs import planned, train

PATTERN = "INPUT[8x8x1] -> CONV3-4 -> BN -> RELU -> POOL2 -> FC-10"
NET = gpunet.load(PATTERN)
CPU = {"device": "cpu"}
STEP = StepMetrics(1, 1, 0.25, 1 / 3, 1e-5, 99.5)


def history() -> History:
    row = EpochMetrics(1, 0.5, 0.75, float("nan"), float("nan"), 1234.5, 0.01, 2.5)
    return History(None, (row,), (STEP,), "small")


RATES = np.geomspace(1e-5, 10, 100)
BOWL = RateTest("small", RATES, 2.3 - 1.5 * np.exp(-(np.log10(RATES / 0.02) ** 2)), 100, None)
"""Losses that fall up to a rate of 0.02 and rise again."""


def judged() -> Judged:
    labels, predictions = np.array([0, 1, 2, 5]), np.array([0, 1, 1, 5])
    return Judged(labels, predictions, np.array([0.5, 0.25, 3.0, 1.0]), *np.full((2, 4), 0.5), 6, 3)


def imported() -> gpunet.Imported:
    """Weights that lie in a file of PyTorch's, of a net in its own order."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        with gpunet.Model(NET, 2, "cpu", mode="infer") as model:
            model.save(place / "own.safetensors")
        gpunet.export_weights(place / "own.safetensors", place / "theirs.pth")
        return gpunet.import_weights(place / "theirs.pth", NET)


MAKERS = {
    "Plan": lambda: gpunet.plan(NET, 4, **CPU),
    "Fit": lambda: gpunet.fit(NET, "65MiB", **CPU),
    "Survey": lambda: survey(NET, "65MiB", **CPU),
    "Description": lambda: gpunet.describe(NET),
    "Prediction": lambda: gpunet.plan(NET, 4, gpu="3060").predicted,
    "Imported": imported,
    "Profile": lambda: profile(NET, 2, "cpu", steps=1),
    "Model": lambda: gpunet.Model(NET, 4, "cpu"),
    "History": history,
    "GradientCheck": lambda: gpunet.gradcheck(NET, samples=2),
    "RateTest": lambda: BOWL,
    "RateTests": lambda: RateTests((BOWL, BOWL)),
    "Judged": judged,
    "ScoreMap": lambda: gpunet.ScoreMap(np.random.default_rng(0).standard_normal((3, 4, 6)), (8, 6), (2, 1)),
    "Dataset": digits,
}
"""One value of each kind."""


@cache
def made(kind: str) -> Any:
    """That value, made once."""
    return MAKERS[kind]()


KINDS = pytest.mark.parametrize("kind", MAKERS)


class Cells(HTMLParser):
    """The words of the cells, row by row, of whatever tables there are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open, f"{self.open} are never closed"

    def handle_starttag(self, tag, attrs):
        if tag == "br":
            return
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_every_look_is_of_a_value_here():
    assert {name.rpartition(".")[2] for name in LOOKS} == set(MAKERS)
    with pytest.raises(TypeError, match="does not know how a Stranger looks"):
        repr(type("Stranger", (Shown,), {})())


@KINDS
def test_a_value_shows_itself_in_every_way(kind):
    value = made(kind)
    line, text, html, heart = repr(value), str(value), value._repr_html_(), value.table()
    assert line.startswith(f"<{kind} ") and line.endswith(">") and "\n" not in line
    assert str(heart) in text and repr(heart) == str(heart) != text and "\x1b" not in text
    assert "<table>" in html and heart._repr_html_()[5:-6] in html
    names = [row[0] for row in Cells(heart.html).rows[1:] if row[0]]
    lines = iter(heart.splitlines())
    assert names and all(any(line.strip().startswith(name) for line in lines) for name in names)  # in this order
    assert json.loads(value.to_json()) == json.loads(json.dumps(json.loads(value.to_json(indent=None))))
    assert set(json.loads(value.to_json())) == set(value.to_dict())


@KINDS
def test_a_value_draws_itself_as_a_figure_that_a_notebook_shows(kind):
    figure = made(kind).plot()
    assert type(figure).__mro__[1].__module__ == "matplotlib.figure"
    assert figure._repr_png_().startswith(b"\x89PNG") and any(axes.has_data() for axes in figure.axes)
    assert "matplotlib.pyplot" not in sys.modules


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("GradientCheck", "net, batch 3, on cpu: passed: every gradient is the slope of the loss"),
        (
            "Prediction",
            r"for an RTX 3060 12GB, batch 4: [\d.]+ to [\d.]+ ms a step, about [\d.]+, [\d,]+ to .* images/s",
        ),
        ("Imported", "net: 8 arrays of PyTorch, 706 numbers>"),
        ("RateTest", "small: a learning rate to begin with: 0.03"),
        ("RateTests", "small: a learning rate to begin with: 0.03.*, the middle one of 0.03"),
        ("Judged", r"4 images: loss 1.1875, accuracy 75.00%, top-5 accuracy 75.00%>"),
        ("ScoreMap", "3x4 crops of 8x6 at stride 2x1, 6 classes>"),
        ("Dataset", "digits: 1,437 images to learn from, 360 to test on, 8x8x1, 10 classes>"),
    ],
)
def test_a_line_says_what_matters(kind, line):
    assert re.match(f"<{kind} {line}", repr(made(kind)))


def test_a_prediction_is_what_the_plan_says_of_its_times():
    plan = gpunet.plan(NET, 4, gpu="3060")
    assert plan.to_dict()["predicted"] == plan.predicted.to_dict() == made("Prediction").to_dict()
    said = " ".join(str(plan.predicted).split())
    assert "predicted" in said and "bound by" in said and "Predicted, not measured" in said
    assert " ".join(str(plan).split()).count(said.split(" images/s")[0]) == 1
    assert "a forward pass" in repr(gpunet.plan(NET, 4, gpu="3060", mode="infer").predicted)


def test_what_was_imported_says_where_each_parameter_comes_from():
    found = made("Imported")
    said = found.to_dict()
    assert {one["name"]: tuple(one["shape"]) for one in said["parameters"]} == {
        name: values.shape for name, values in found.weights.items()
    }
    assert said["parameters"][0]["array_shape"] == [4, 1, 3, 3] and "K, H, W, D" in said["parameters"][0]["moves"]
    assert str(found).startswith(found.said[0]) and "conv1.w" in str(found)


def test_a_class_whose_splits_hold_arrays_is_a_line_and_counted_by_class():
    data = digits()
    parts = (data.train, Part(data.test, np.arange(5)), *(split for split, _ in open_data("synthetic").splits))
    assert [repr(one) for one in parts[:2]] == ["<Split: 1,437 images of 8x8x1>", "<Part: 5 images of 8x8x1>"]
    assert all(re.fullmatch(r"<SyntheticSplit: [\d,]+ images of \d+x\d+x\d>", repr(one)) for one in parts[2:])
    said = data.to_dict()
    assert said["images"] == {"train": 1437, "test": 360} and said["shape"] == [8, 8, 1]
    assert sum(one["test"] for one in said["classes"]) == 360 and said["classes"][3]["name"] == "3"


def test_the_picture_of_a_fit_says_how_far_over_the_budget_one_image_more_is():
    fit = made("Fit")
    words = [text.get_text() for text in fit.plot().findobj(lambda one: hasattr(one, "get_text"))]
    (spare,), (over,) = ([text for text in words if text.endswith(end)] for end in (" to spare", " over"))
    assert spare == f"65 MiB, {format_bytes(fit.budget_bytes - fit.total_bytes)} to spare"
    assert over == f"65 MiB, {format_bytes(fit.next_total_bytes - fit.budget_bytes)} over"
    assert any(text.startswith("MiB") for text in words)  # and not 0.06 GiB


def test_print_says_what_the_command_says():
    shown = CliRunner().invoke(app, ["describe", PATTERN]).output
    assert str(gpunet.describe(NET)) == shown.rstrip("\n")
    told = CliRunner().invoke(app, ["plan", PATTERN, "--device", "cpu", "--batch", "4"]).output.splitlines()
    said = str(gpunet.plan(NET, 4, **CPU)).splitlines()
    assert [line for line in said if "placed in" not in line] == [line for line in told if "placed in" not in line]


def test_json_is_what_the_command_prints():
    told = json.loads(CliRunner().invoke(app, ["plan", PATTERN, "--device", "cpu", "--batch", "4", "--json"]).output)
    said = json.loads(gpunet.plan(NET, 4, **CPU).to_json())
    for one in (told, said):
        del one["placement"]["seconds"]
    assert said == told


def test_a_plan_that_does_not_fit_says_so():
    plan = gpunet.plan(NET, 4, budget="64MiB", **CPU)
    assert str(plan).splitlines()[-1].startswith("does not fit by ") and "of 64 MiB" in repr(plan)


def test_what_nobody_measured_is_null_in_json_and_no_column():
    said = json.loads(history().to_json())
    assert said["epochs"][0]["test_loss"] is None and said["epochs"][0]["train_loss"] == 0.5
    assert "test" not in str(history()) and "accuracy 75.00%" in repr(history())
    words = [text.get_text() for text in history().plot().findobj(lambda one: hasattr(one, "get_text"))]
    assert any("training loss 0.5000, accuracy" in text for text in words)
    assert not any("nan" in text or "test" in text for text in words)
    unfinished = History(None, (), (STEP,), "small")
    assert "no epoch finished" in repr(unfinished) and "33.33%" in str(unfinished.table())


def test_the_history_of_a_run_is_read_and_shown(tmp_path):
    train(tmp_path / "run", planned())
    found = read_history(tmp_path / "run")
    assert repr(found).startswith("<History run: 4 epochs, train loss ")
    assert len(found.table().splitlines()) == 4 + 3  # headings over two lines, and the line below them
    assert [row["epoch"] for row in found.to_dict()["epochs"]] == [1, 2, 3, 4]


class FakePandas(SimpleNamespace):
    """What of pandas is used: a DataFrame made of records."""

    @staticmethod
    def DataFrame(records):
        assert isinstance(records, list)
        return records


@pytest.fixture
def pandas(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "pandas", FakePandas())
    return None


@pytest.mark.usefixtures("pandas")
def test_rows_of_numbers_become_a_dataframe():
    plan = gpunet.plan(NET, 4, **CPU)
    assert [row["name"] for row in plan.to_dataframe()] == ["input", "conv1", "bn1", "relu1", "pool1", "fc1"]
    tensors = plan.to_dataframe("tensors")
    assert {row["name"]: row["nbytes"] for row in tensors} == {one.name: one.nbytes for one in plan.tensors}
    fields = gpunet.describe(NET).to_dataframe()
    assert fields[0]["field.rows.size"] == 3 and fields[0]["multiply_adds"] == 8 * 8 * 4 * 9
    assert made("Prediction").to_dataframe()[1]["name"] == "conv1" and len(made("Imported").to_dataframe()) == 8
    assert [row["name"] for row in MAKERS["Model"]().to_dataframe()][:2] == ["conv1.w", "conv1.b"]
    checked = made("GradientCheck").to_dataframe()
    assert len(checked) == 7 and all(row["passed"] and (row["faint"] or row["error"] < 1e-5) for row in checked)
    (last,) = made("RateTests").to_dataframe()[-1:]
    assert last["test"] == 2 and last["step"] == 100 and last["rate"] == pytest.approx(10)
    assert [row["correct"] for row in made("Judged").to_dataframe()] == [1, 1, 0, 0, 0, 1]
    assert [row["prediction"] for row in made("Judged").to_dataframe("images")] == [0, 1, 1, 5]
    assert len(made("ScoreMap").to_dataframe()) == 6 and len(made("Dataset").to_dataframe()) == 10
    (fit,) = made("Fit").to_dataframe()
    assert fit["net"] == "net" and fit["total_bytes"] <= fit["budget_bytes"] < fit["next_total_bytes"]
    with pytest.raises(ConfigError, match="no row for each of 'rows' here; there is for layers, tensors"):
        plan.to_dataframe("rows")


def test_without_pandas_and_matplotlib_the_words_say_what_to_install(monkeypatch):
    for name in ("pandas", "matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    plan = gpunet.plan(NET, 4, **CPU)
    with pytest.raises(ConfigError, match=r"needs pandas, which is not installed: pip install pandas"):
        plan.to_dataframe()
    with pytest.raises(ConfigError, match=r"plot\(\) needs matplotlib, which is not installed: pip install"):
        plan.plot()


def test_names_reach_a_notebook_as_words_and_not_as_markup():
    net = Net("4x4x1", [Conv(2), ReLU()], name="<script>x</script> & Co")
    for value in (gpunet.plan(net, 2, **CPU), gpunet.describe(net)):
        html = value._repr_html_()
        assert "<script>" not in html and "&lt;script&gt;x&lt;/script&gt; &amp; Co" in html


def test_html_has_the_words_of_rich_without_its_marks():
    table = Table("left", show_footer=True)
    table.add_column("right\nhand", "sum", justify="right")
    table.add_row("\\[0, 3)", Text("[red]"))
    table.add_row("<i>x</i>", "a & b")
    rows = [["left", "righthand"], ["[0, 3)", "[red]"], ["<i>x</i>", "a & b"], ["", "sum"]]
    assert Cells(as_html([table])).rows == rows and "<i>" not in as_html([table])
    sheet = Sheet(["one & two", "", table, "end"])
    assert sheet.html.startswith('<div><pre style="margin: 0.5em 0">one &amp; two</pre><table>')
    assert sheet == str(sheet) and type(str(sheet)) is str and "[0, 3)" in sheet and "[red]" in sheet


def test_a_model_says_how_far_it_has_learnt():
    with gpunet.Model(NET, 4, "cpu") as model:
        model.step(np.zeros((3, 8, 8, 1)), np.array([0, 1, 2]))
        assert repr(model).endswith("1 step taken>") and "images learnt from 3" in str(model)
        assert "bn1.mean" in str(model.table()) and "not learnt" in str(model.table())
        assert json.loads(model.to_json())["seen"] == 3
    with gpunet.Model(NET, 4, "cpu", mode="infer") as model:
        assert repr(model).endswith("for inference>") and "learning rate" not in str(model)


def test_a_picture_of_a_plan_is_that_of_the_command(tmp_path: Path):
    plan = gpunet.plan(NET, 4, **CPU)
    figure = look(plan).plot()
    figure.savefig(tmp_path / "plan.png")
    assert (tmp_path / "plan.png").stat().st_size > 10_000
    assert figure.get_size_inches().tolist() == [16, 10]
