"""The pictures of runs and nets: nothing lies on other words or leaves them, and what they show is what there is."""

from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from gpunet import Net, ScoreMap, load
from gpunet.report.activation_picture import draw_activations, draw_layer, shown_layers, spread
from gpunet.report.confusion import confusions, draw_confusion, fractions
from gpunet.report.curves import binned, draw_curves
from gpunet.report.filter_picture import draw_filters
from gpunet.report.heat_map import draw as draw_heat_map
from gpunet.report.mistakes import draw_mistakes, percent
from gpunet.report.rate_lines import rate_lines, rates_json
from gpunet.report.rate_picture import draw_rates, plain
from gpunet.report.tiles import GROUND
from gpunet.train.history import History
from gpunet.train.judge import Judged
from gpunet.train.lr_find import RateTest, RateTests, growing
from gpunet.train.metrics import EpochMetrics, StepMetrics

RNG = np.random.default_rng(4)
LONG = "a class with a name that is far too long to be written"


def history(name: str = "run", epochs: int = 5, each: int = 7, floor: float = 0.5, steps: int | None = None) -> History:
    rows = [
        EpochMetrics(n, floor + 2 / n, 1 - 0.5 / n, floor + 1.9 / n, 1 - 0.6 / n, 100.0, 0.1 / n, 1.0)
        for n in range(1, epochs + 1)
    ]
    count = epochs * each if steps is None else steps
    taken = [StepMetrics(n, 1 + (n - 1) // each, floor + 3 / n, 1 - 0.9 / n, 0.1, 9.0) for n in range(1, count + 1)]
    return History(Path("/runs") / name, tuple(rows), tuple(taken))


def judged(n: int, classes: int) -> Judged:
    labels = RNG.integers(0, classes, n)
    chances = RNG.random((2, n)) ** 9
    return Judged(labels, RNG.integers(0, classes, n), RNG.exponential(1, n), chances[0], chances[1], classes)


def counts(classes: int, empty: bool = False) -> np.ndarray:
    found = RNG.integers(0, 3, (classes, classes)) + np.diag(RNG.integers(9, 5000, classes))
    found[0] *= not empty
    return found


def activations(layers: int, classes: list[str]) -> Figure:
    """Of a net of so many convolutions, each with its ReLU."""
    net = load(f"INPUT[9x7x3] -> [CONV3-7 -> RELU]*{layers} -> FC-{len(classes)} as a_layer_with_a_long_name")
    return draw_activations(net, volumes(net), np.eye(len(classes))[1], classes, "net on image")


def volumes(net: Net) -> dict[str, np.ndarray]:
    made = {name: RNG.standard_normal(volume.shape) for name, volume in net.volumes.items()}
    return {"input": RNG.integers(0, 256, net.image.shape).astype(np.uint8)} | made


def mistakes(n: int, D: int, names: list[str]) -> Figure:
    made = judged(40, len(names))
    worst = made.worst(n)
    return draw_mistakes(RNG.integers(0, 256, (n, 5, 6, D)).astype(np.uint8), made, worst, names, "run on data")


def heat_maps(names: list[str], shape: tuple[int, int, int]) -> Figure:
    scored = ScoreMap(np.zeros((2, 2, len(names))), (8, 8), (1, 1))
    return draw_heat_map(np.zeros(shape, np.uint8), scored, range(len(names)), names)


RATES = growing(1e-6, 10, 100)
FALLING = RateTest("net", RATES, 2.3 - 1 / (1 + np.exp(-4 * np.log10(RATES / 1e-3))), 100, None)


BOWL = RateTest("net", RATES, 2 + np.minimum(1, np.abs(np.log10(RATES / 0.05))), 100, None)


def rates(*tests: RateTest) -> Figure:
    return draw_rates(RateTests(tests))


FIGURES: dict[str, Any] = {
    "curves": lambda: draw_curves([history()]),
    "curves of one epoch": lambda: draw_curves([history(epochs=1)]),
    "curves of many epochs": lambda: draw_curves([history(epochs=300, each=50, floor=0)]),
    "curves of no epoch": lambda: draw_curves([history(epochs=0, steps=12)]),
    "curves without steps": lambda: draw_curves([history(steps=0)]),
    "curves of seven runs": lambda: draw_curves([history(f"{LONG} {LONG} {n} {LONG}", n + 1) for n in range(7)]),
    "curves of runs in capitals": lambda: draw_curves([history("W" * 40 + str(n)) for n in range(3)]),
    "curves of a run without epochs beside another": lambda: draw_curves([history(epochs=0, steps=12), history("b")]),
    "confusion": lambda: draw_confusion(counts(10), [str(n) for n in range(10)], "run on data"),
    "confusion of long names": lambda: draw_confusion(counts(12, empty=True), [LONG] * 12, LONG),
    "confusion of two": lambda: draw_confusion(counts(2), ["cat", "dog"], "run"),
    "confusion of 25": lambda: draw_confusion(counts(25), [f"class {n}" for n in range(25)], "run"),
    "confusion of 60": lambda: draw_confusion(counts(60), [f"class {n}" for n in range(60)], "run"),
    "confusion of 300": lambda: draw_confusion(counts(300), [f"class {n}" for n in range(300)], "run"),
    "mistakes": lambda: mistakes(18, 1, [str(n) for n in range(10)]),
    "mistakes of long names": lambda: mistakes(7, 3, [LONG] * 3),
    "one mistake": lambda: mistakes(1, 2, ["a", "b"]),
    "mistakes of wide names": lambda: mistakes(7, 1, ["W" * 30, "M" * 30, "W"]),
    "rates": lambda: rates(FALLING),
    "rates of three tests": lambda: rates(
        FALLING, replace(FALLING, rates=RATES[:80], losses=FALLING.losses[:80]), BOWL
    ),
    "rates in a narrow range": lambda: rates(RateTest("net", growing(1e-3, 5e-3, 100), FALLING.losses, 100, None)),
    "rates of nothing": lambda: rates(RateTest("net", RATES, np.full(100, 2.0), 100, 10.0)),
    "heat maps": lambda: heat_maps([f"{LONG} {n}" for n in range(5)], (9, 9, 3)),
    "heat maps of a narrow picture": lambda: heat_maps(["W" * 30, "M" * 30], (30, 9, 1)),
    "filters of RGB": lambda: draw_filters(RNG.standard_normal((96, 11, 11, 3)), "conv1 of net"),
    "filters of grey": lambda: draw_filters(RNG.standard_normal((5, 3, 1, 1)), "conv1 of net"),
    "filters of depth": lambda: draw_filters(RNG.standard_normal((40, 3, 3, 40)), "conv1 of net"),
    "filters of one position": lambda: draw_filters(RNG.standard_normal((40, 1, 1, 9)), "conv1 of net"),
    "activations": lambda: activations(5, [f"{LONG} {n}" for n in range(13)]),
    "activations of wide names": lambda: activations(2, [f"W{n}" * 9 for n in range(4)]),
    "activations of many": lambda: activations(90, ["a", "b", "c"]),
    "a layer": lambda: draw_layer(RNG.standard_normal((4, 6, 30)), "conv1 of net"),
    "a layer of values": lambda: draw_layer(RNG.standard_normal((1, 1, 30)), "fc1 of net"),
    "a dead layer": lambda: draw_layer(np.zeros((4, 4, 500)), "relu1 of net"),
}


@cache
def picture(name: str) -> Figure:
    figure: Figure = FIGURES[name]()
    return figure


def words(figure: Figure) -> list[tuple[str, Bbox]]:
    """All that is written, and where, in pixels."""
    texts: list[Text] = list(figure.texts)
    for legend in figure.legends:
        texts += legend.get_texts()
    for axes in figure.axes:
        texts += [axes.title, *axes.texts]
        if axes.axison:
            texts += [axes.xaxis.label, axes.yaxis.label]
            for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
                inside = (tick for tick in axis.get_major_ticks() if min(low, high) <= tick.get_loc() <= max(low, high))
                texts += [tick.label1 for tick in inside if tick.label1.get_visible()]
    return [(t.get_text(), t.get_window_extent()) for t in texts if t.get_visible() and t.get_text().strip()]


@pytest.mark.parametrize("name", FIGURES)
def test_no_words_lie_on_others_or_leave_the_picture(name: str) -> None:
    figure = picture(name)
    figure.canvas.draw()
    width, height = figure.get_size_inches() * figure.dpi
    assert width <= 1600 and height <= 1700
    found = words(figure)
    for text, box in found:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text
    for (one, box), (other, its_box) in combinations(found, 2):
        overlap = Bbox.intersection(box, its_box)
        assert not overlap or overlap.width * overlap.height < 12, f"{one!r} lies on {other!r}"


def test_bins_are_means_of_what_follows_one_another() -> None:
    x, y = binned(np.arange(7.0), np.arange(7.0) ** 2, 3)
    assert x.tolist() == [1, 4, 6] and y.tolist() == [5 / 3, 50 / 3, 36]
    assert len(binned(np.arange(1e5), np.arange(1e5), 400)[0]) == 400
    x, y = binned(np.zeros(0), np.zeros(0), 5)
    assert len(x) == len(y) == 0


def test_the_curves_are_those_of_the_rows() -> None:
    run = history()
    loss, accuracy, rate = draw_curves([run]).axes
    drawn = [line.get_ydata() for line in loss.lines]
    assert any(np.array_equal(y, [row.test_loss for row in run.epochs]) for y in drawn)
    assert any(np.array_equal(y, [row.train_loss for row in run.epochs]) for y in drawn)
    assert any(np.array_equal(y, [row.loss for row in run.steps]) for y in drawn)
    assert any(
        np.array_equal(line.get_ydata(), [100 * row.test_accuracy for row in run.epochs]) for line in accuracy.lines
    )
    assert rate.get_xlabel() == "epoch (7 steps each)"
    assert [line.get_xdata()[-1] for line in rate.lines] == [5]


def legends(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_runs_of_one_name_are_told_apart_by_the_folders_around_them() -> None:
    names = [f"x/{name}/run" for name in "ab"]
    assert legends(draw_curves([history(name) for name in names]))[2:] == ["a/run", "b/run"]
    assert legends(draw_curves([history("x/run"), history("x/run")]))[2:] == ["run", "run"]


def test_runs_with_images_to_validate_with_show_these() -> None:
    rows = history().epochs
    moved = [replace(row, test_loss=None, test_accuracy=None, val_loss=row.test_loss, val_accuracy=0.5) for row in rows]
    run = replace(history(), epochs=tuple(moved))
    figure = draw_curves([run])
    assert any(np.array_equal(line.get_ydata(), [row.test_loss for row in rows]) for line in figure.axes[0].lines)
    assert legends(figure)[0] == "validation, after the epoch"
    assert legends(draw_curves([run, history("b")]))[0] == "validation or test, after the epoch"
    assert any("validation accuracy 50.00%" in text.get_text() for text in figure.texts)


def test_the_legend_tells_of_the_lines_that_there_are() -> None:
    kinds = ["test, after the epoch", "training, mean over the epoch", "training, each step"]
    assert legends(draw_curves([history()])) == kinds
    assert legends(draw_curves([history(steps=0)])) == kinds[:2]
    assert legends(draw_curves([history(epochs=0, steps=12)])) == kinds[2:]
    assert legends(draw_curves([history("a"), history("b")])) == [*kinds[:2], "a", "b"]
    assert legends(draw_curves([history("a", epochs=0, steps=12), history("b")])) == [*kinds, "a", "b"]


def test_beside_a_run_without_epochs_the_tests_of_others_stand_at_their_steps() -> None:
    run = history("b")
    loss, *_, rate = draw_curves([history("a", epochs=0, steps=12), run]).axes
    of_steps, _, of_tests = loss.lines
    assert len(of_steps.get_xdata()) == 12
    assert of_tests.get_xdata().tolist() == [7 * row.epoch for row in run.epochs]
    assert of_tests.get_ydata().tolist() == [row.test_loss for row in run.epochs]
    assert rate.get_xlabel() == "step"


def test_confusions_are_named_with_the_most_frequent_first() -> None:
    found = np.array([[5, 0, 2], [4, 1, 0], [0, 0, 0]])
    assert confusions(found, "abc", 5) == ["b taken for a: 4", "a taken for c: 2"]
    assert fractions(found)[:2] == pytest.approx(np.array([[5 / 7, 0, 2 / 7], [0.8, 0.2, 0]]))
    assert np.isnan(fractions(found)[2]).all()


def test_a_dead_layer_is_black() -> None:
    (axes,) = draw_layer(np.zeros((4, 4, 3)), "relu1").axes
    colors = {tuple(color) for color in np.asarray(axes.images[0].get_array()).reshape(-1, 3)}
    assert colors == {(0.0, 0.0, 0.0), GROUND}


def test_what_is_white_is_said_as_it_is() -> None:
    values = np.arange(1000.0).reshape(10, 10, 10)
    assert "from 0 (black) to 995 (white and above; the highest is 999)" in said(draw_layer(values, "conv1"))
    assert "from 0 (black) to 2 (white);" in said(draw_layer(np.arange(3.0).reshape(1, 1, 3), "fc1"))
    assert "all of them 0;" in said(draw_layer(np.zeros((4, 4, 3)), "relu1"))
    assert "from 1 (black) to 2 (white);" in said(draw_layer(np.array([[[1.0, 2.0, np.nan]]]), "fc1"))
    assert "to its 99.5th percentile (white)" in said(activations(2, ["a", "b"]))


def said(figure: Figure) -> str:
    """The line under the headline."""
    text: str = figure.texts[-1].get_text()
    return text


def test_places_of_a_square_without_a_value_are_no_shade() -> None:
    (axes,) = draw_layer(np.arange(3.0).reshape(1, 1, 3), "fc1").axes
    image = np.asarray(axes.images[0].get_array())
    assert tuple(image[-10, -10]) == GROUND


def test_wide_names_leave_the_percents_whole() -> None:
    (bars,) = (axes for axes in activations(2, ["x", "W" * 20]).axes if axes.texts)
    assert [text.get_text().split()[-1] for text in bars.texts] == ["100.0%", "0.0%"]


def test_a_picture_of_many_layers_shows_those_that_say_most() -> None:
    net = load("googlenet")
    names = [node.name for node in net.nodes if node.head is None and not node.name.startswith("dropout")]
    shown = shown_layers(net, dict.fromkeys(["input", *names], np.zeros(1)))
    assert len(shown) == 47 and shown == [name for name in names if name in shown]
    assert {"conv1", "pool1", "inception3a", "inception5b", "gap1", "fc5"} <= set(shown)
    assert not any(name.startswith(("relu", "lrn")) for name in shown)
    assert shown_layers(load("lenet5"), {"input": np.zeros(1), "conv1": np.zeros(1)}) == ["conv1"]


def test_a_picture_says_how_many_layers_it_shows() -> None:
    assert said(picture("activations of many")).startswith("47 of 181 layers; the first 4 maps of each")
    assert said(activations(3, ["a", "b"])).startswith("the first 8 maps of each")


def test_percents_are_0_and_100_for_nothing_else() -> None:
    said = [percent(p) for p in (0.0, 1e-9, 0.001234, 0.1, 0.5, 0.99, 0.9934, 0.99999, 1.0)]
    assert said == ["0%", "<0.01%", "0.12%", "10%", "50%", "99%", "99.34%", ">99.99%", "100%"]


def test_mistakes_name_classes_that_differ_in_the_middle_alone() -> None:
    made = Judged(np.array([0]), np.array([1]), np.ones(1), np.zeros(1), np.ones(1), 2)
    names = ["class_09_species", "class_17_species"]
    figure = draw_mistakes(np.zeros((1, 4, 4, 1), np.uint8), made, np.array([0]), names, "run")
    assert [text.get_text() for text in figure.axes[0].texts][:2] == [
        "said class_17_species, 100%",
        "is class_09_species, 0%",
    ]


def test_the_confusions_of_long_names_can_be_read() -> None:
    figure = draw_confusion(counts(12), [f"{LONG} {n}" for n in range(12)], LONG * 4)
    head, more = figure.texts
    assert head.get_fontsize() >= 12 and more.get_fontsize() >= 9 and " taken for " in more.get_text()
    assert "\N{HORIZONTAL ELLIPSIS}" not in more.get_text().split(";")[0]


def test_large_counts_stay_inside_their_cells() -> None:
    figure = draw_confusion(54321 * np.eye(25, dtype=int), [LONG] * 25, LONG)
    (axes,) = figure.axes
    cell = axes.get_window_extent().width / 25
    assert max(text.get_window_extent().width for text in axes.texts) < cell - 6
    assert min(text.get_fontsize() for text in axes.texts) >= 7


def test_filters_of_few_maps_fill_the_width() -> None:
    (axes,) = draw_filters(RNG.standard_normal((64, 3, 3, 2)), "conv1").axes
    assert axes.get_window_extent().width > 1000


def test_words_at_the_curve_of_rates_do_not_lie_on_it() -> None:
    figure = rates(BOWL)
    figure.canvas.draw()
    (axes,) = figure.axes
    curve = axes.transData.transform(axes.lines[1].get_xydata())
    assert len(axes.texts) == 2
    for text in axes.texts:
        box = text.get_window_extent()
        assert not any(box.contains(*point) for point in curve), text.get_text()


def test_rates_are_written_plainly() -> None:
    assert [plain(rate) for rate in (183.0, 12.4, 0.00481, 2e-6)] == ["180", "12", "0.0048", "2e-06"]


def test_of_many_names_some_are_taken_with_the_first_and_the_last() -> None:
    names = [str(n) for n in range(500)]
    found = spread(names, 48)
    assert len(set(found)) == 48 and found[0] == "0" and found[-1] == "499"
    assert spread(names[:9], 48) == names[:9] and spread(names, 0) == []


def test_range_tests_in_words_and_numbers() -> None:
    other = replace(BOWL, losses=np.roll(BOWL.losses, 3))
    lines = rate_lines(RateTests((BOWL, other, BOWL)))
    assert lines[-3].startswith("lowest loss at 0.0") and ", and it rises again at 0." in lines[-3]
    assert lines[-2].startswith("a learning rate to begin with: 0.0") and ", the middle one of 0.0" in lines[-2]
    assert lines[-1] == "does not diverge up to 10, in 300 steps"
    assert rate_lines(RateTests((BOWL,)))[-2] == f"a learning rate to begin with: {plain(BOWL.suggestion or 0)}"
    assert "it does not rise up to 10: a higher --most may show a better rate" in rate_lines(RateTests((FALLING,)))[-3]
    found = rates_json(RateTests((BOWL, other)))
    assert found["suggestion"] == pytest.approx((BOWL.suggestion + other.suggestion) / 2)  # type: ignore[operator]
    assert [len(test[key]) for test in found["tests"] for key in ("rates", "losses", "smoothed")] == [100] * 6
    assert found["tests"][0]["lowest"] == BOWL.lowest and found["diverged"] is None
    flat = RateTest("net", RATES[:60], np.full(60, 2.0), 100, 0.5)
    assert rate_lines(RateTests((flat,)))[-2:] == [
        "the loss falls at none of these rates; try others, or look at the data",
        "diverges at 0.5; 60 steps in all",
    ]
