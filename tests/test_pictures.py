"""The pictures of runs and nets: nothing lies on other words or leaves them, and what they show is what there is."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from gpunet.report.activation_picture import chosen_layers, draw_activations, draw_layer
from gpunet.report.canvas import shortened
from gpunet.report.confusion import confusions, draw_confusion, fractions
from gpunet.report.curves import binned, draw_curves
from gpunet.report.filter_picture import draw_filters
from gpunet.report.mistakes import draw_mistakes, percent
from gpunet.report.rate_lines import rate_lines, rates_json
from gpunet.report.rate_picture import draw_rates
from gpunet.report.tiles import GROUND
from gpunet.train.history import History
from gpunet.train.judge import Judged
from gpunet.train.lr_find import RateTest, growing
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
    return History(name, tuple(rows), tuple(taken))


def judged(n: int, classes: int) -> Judged:
    labels = RNG.integers(0, classes, n)
    chances = RNG.random((2, n)) ** 9
    return Judged(labels, RNG.integers(0, classes, n), RNG.exponential(1, n), chances[0], chances[1], classes)


def counts(classes: int, empty: bool = False) -> np.ndarray:
    found = RNG.integers(0, 3, (classes, classes)) + np.diag(RNG.integers(9, 5000, classes))
    found[0] *= not empty
    return found


def volumes(layers: int) -> dict[str, np.ndarray]:
    found = {"input": RNG.integers(0, 256, (9, 7, 3)).astype(np.uint8)}
    found |= {f"inception{n}a_conv": RNG.standard_normal((8, 8, 1 + n)) for n in range(layers)}
    return found | {"fc1": RNG.standard_normal((1, 1, 13)), "relu9": np.zeros((1, 1, 13))}


def mistakes(n: int, D: int, names: list[str]) -> Figure:
    made = judged(40, len(names))
    worst = made.worst(n)
    return draw_mistakes(RNG.integers(0, 256, (n, 5, 6, D)).astype(np.uint8), made, worst, names, "run on data")


RATES = growing(1e-6, 10, 100)
FALLING = RateTest("net", RATES, 2.3 - 1 / (1 + np.exp(-4 * np.log10(RATES / 1e-3))), 100, None)
FIGURES: dict[str, Any] = {
    "curves": lambda: draw_curves([history()]),
    "curves of one epoch": lambda: draw_curves([history(epochs=1)]),
    "curves of many epochs": lambda: draw_curves([history(epochs=300, each=50, floor=0)]),
    "curves of no epoch": lambda: draw_curves([history(epochs=0, steps=12)]),
    "curves without steps": lambda: draw_curves([history(steps=0)]),
    "curves of seven runs": lambda: draw_curves([history(f"{LONG} {n}", n + 1) for n in range(7)]),
    "confusion": lambda: draw_confusion(counts(10), [str(n) for n in range(10)], "run on data"),
    "confusion of long names": lambda: draw_confusion(counts(12, empty=True), [LONG] * 12, LONG),
    "confusion of two": lambda: draw_confusion(counts(2), ["cat", "dog"], "run"),
    "confusion of 25": lambda: draw_confusion(counts(25), [f"class {n}" for n in range(25)], "run"),
    "confusion of 60": lambda: draw_confusion(counts(60), [f"class {n}" for n in range(60)], "run"),
    "confusion of 300": lambda: draw_confusion(counts(300), [f"class {n}" for n in range(300)], "run"),
    "mistakes": lambda: mistakes(18, 1, [str(n) for n in range(10)]),
    "mistakes of long names": lambda: mistakes(7, 3, [LONG] * 3),
    "one mistake": lambda: mistakes(1, 2, ["a", "b"]),
    "rates": lambda: draw_rates(FALLING),
    "rates of nothing": lambda: draw_rates(RateTest("net", RATES, np.full(100, 2.0), 100, 10.0)),
    "filters of RGB": lambda: draw_filters(RNG.standard_normal((96, 11, 11, 3)), "conv1 of net"),
    "filters of grey": lambda: draw_filters(RNG.standard_normal((5, 3, 1, 1)), "conv1 of net"),
    "filters of depth": lambda: draw_filters(RNG.standard_normal((40, 3, 3, 40)), "conv1 of net"),
    "filters of one position": lambda: draw_filters(RNG.standard_normal((40, 1, 1, 9)), "conv1 of net"),
    "activations": lambda: draw_activations(volumes(8), np.full(13, 1 / 13), [LONG] * 13, "net on image"),
    "activations of many": lambda: draw_activations(volumes(90), np.eye(3)[1], ["a", "b", "c"], "net on image"),
    "a layer": lambda: draw_layer(RNG.standard_normal((4, 6, 30)), "conv1 of net"),
    "a layer of values": lambda: draw_layer(RNG.standard_normal((1, 1, 30)), "fc1 of net"),
    "a dead layer": lambda: draw_layer(np.zeros((4, 4, 500)), "relu1 of net"),
}


def words(figure: Figure) -> list[tuple[str, Bbox]]:
    """All that is written, and where, in pixels."""
    texts: list[Text] = list(figure.texts)
    for legend in figure.legends:
        texts += legend.get_texts()
    for axes in figure.axes:
        texts += axes.texts
        if axes.axison:
            texts += [axes.xaxis.label, axes.yaxis.label]
            for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
                inside = (tick for tick in axis.get_major_ticks() if min(low, high) <= tick.get_loc() <= max(low, high))
                texts += [tick.label1 for tick in inside if tick.label1.get_visible()]
    return [(t.get_text(), t.get_window_extent()) for t in texts if t.get_visible() and t.get_text().strip()]


@pytest.mark.parametrize("name", FIGURES)
def test_no_words_lie_on_others_or_leave_the_picture(name: str) -> None:
    figure = FIGURES[name]()
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


def test_confusions_are_named_with_the_most_frequent_first() -> None:
    found = np.array([[5, 0, 2], [4, 1, 0], [0, 0, 0]])
    assert confusions(found, "abc", 5) == ["b taken for a: 4", "a taken for c: 2"]
    assert fractions(found)[:2] == pytest.approx(np.array([[5 / 7, 0, 2 / 7], [0.8, 0.2, 0]]))
    assert np.isnan(fractions(found)[2]).all()


def test_names_are_shortened_in_the_middle() -> None:
    assert shortened("inception3a_conv2", 9) == "ince\N{HORIZONTAL ELLIPSIS}onv2" and shortened("conv2", 5) == "conv2"
    assert [len(shortened(LONG, most)) for most in range(2, 20)] == list(range(2, 20))


def test_a_dead_layer_is_black() -> None:
    (axes,) = draw_layer(np.zeros((4, 4, 3)), "relu1").axes
    colors = {tuple(color) for color in np.asarray(axes.images[0].get_array()).reshape(-1, 3)}
    assert colors == {(0.0, 0.0, 0.0), GROUND}


def test_percents_are_0_and_100_for_nothing_else() -> None:
    said = [percent(p) for p in (0.0, 1e-9, 0.001234, 0.1, 0.5, 0.99, 0.9934, 0.99999, 1.0)]
    assert said == ["0%", "<0.01%", "0.12%", "10%", "50%", "99%", "99.34%", ">99.99%", "100%"]


def test_of_many_layers_some_are_chosen_with_the_first_and_the_last() -> None:
    names = [str(n) for n in range(500)]
    found = chosen_layers(names, 48)
    assert (
        len(set(found)) == 48 and found[0] == "0" and found[-1] == "499" and chosen_layers(names[:9], 48) == names[:9]
    )


def test_a_range_test_in_words_and_numbers() -> None:
    lines = rate_lines(FALLING)
    assert any(line.startswith("steepest descent at 0.00") for line in lines)
    assert lines[-1] == "does not diverge up to 10, in 100 steps"
    found = rates_json(FALLING)
    assert found["suggestion"] == pytest.approx(1e-3, rel=0.3) and len(found["rates"]) == len(found["losses"]) == 100
    flat = RateTest("net", RATES[:60], np.full(60, 2.0), 100, 0.5)
    assert rate_lines(flat)[-2:] == [
        "the loss falls at none of these rates; try others, or look at the data",
        "diverges at 0.5, after 60 steps",
    ]
