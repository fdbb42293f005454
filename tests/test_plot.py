"""The picture of a plan, by its pixels and by where its words are."""

import struct
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from gpunet import ConfigError, Plan, load, plan
from gpunet.memory.size import format_bytes
from gpunet.report.plot import COLORS, draw, save_plot

ROOT = Path(__file__).parent.parent

CASES: dict[str, dict[str, Any]] = {
    "vgg16 64": dict(net="vgg16", batch=64, budget="12GiB"),
    "vgg16 256 in ways": dict(net="vgg16", batch=256, budget="8.4GB"),
    "vgg16 too large": dict(net="vgg16", batch=256, budget="6GiB"),
    "vgg16 in rounds": dict(net="vgg16", batch=900, budget="4GiB", ways=["micro-batches"]),
    "vgg16 infer": dict(net="vgg16", batch=16, mode="infer", budget="1.6GiB"),
    "vgg16 infer at once": dict(net="vgg16", batch=1, mode="infer", budget="12GiB"),
    "vgg_cifar": dict(net="vgg_cifar", batch=128, budget="3GiB"),
    "vgg_digits": dict(net="vgg_digits", batch=16, device="cpu"),
    "smaller than the reserve": dict(net="vgg_digits", batch=16, budget="1MiB"),
    "tiny": dict(net="INPUT[2x3x1] -> FC-2", batch=1, device="cpu", mode="infer"),
}


@pytest.fixture(scope="module", params=CASES)
def made(request: pytest.FixtureRequest) -> Plan:
    options = dict(CASES[request.param])
    return plan(load(options.pop("net")), **options)


@pytest.fixture(scope="module")
def figure(made: Plan) -> Figure:
    drawn = draw(made)
    drawn.canvas.draw()
    return drawn


def pixels(figure: Figure) -> np.ndarray:
    """(rows, columns, 3) in 0..1, from the top."""
    return np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255  # type: ignore[attr-defined]


def words(figure: Figure) -> list[tuple[Text, Bbox]]:
    """All that is written, and where, in pixels; matplotlib keeps words for ticks that are out of sight, too."""
    texts = list(figure.texts)
    for axes in figure.axes:
        texts += axes.texts
        if axes.axison:
            texts += [axes.xaxis.label, axes.yaxis.label]
            texts += [tick.label1 for tick in axes.xaxis.get_major_ticks() if 0 <= tick.get_loc() <= axes.get_xlim()[1]]
            texts += [tick.label1 for tick in axes.yaxis.get_major_ticks() if 0 <= tick.get_loc() <= axes.get_ylim()[1]]
        if legend := axes.get_legend():
            texts += legend.get_texts()
    return [(text, text.get_window_extent()) for text in texts if text.get_visible() and text.get_text().strip()]


def test_no_words_lie_on_others_or_leave_the_picture(figure: Figure) -> None:
    found = words(figure)
    assert len(found) > 10
    for text, box in found:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= 1600 and box.y1 <= 1000, text.get_text()
    for (one, box), (other, its_box) in combinations(found, 2):
        overlap = Bbox.intersection(box, its_box)
        area = overlap.width * overlap.height if overlap else 0
        assert area < 12, f"{one.get_text()!r} lies on {other.get_text()!r} ({area:.0f} pixels)"


def test_every_kind_is_as_high_as_its_bytes(made: Plan, figure: Figure) -> None:
    axes, image = figure.axes[0], pixels(figure)
    peak, sums = max(made.live_bytes), dict.fromkeys(COLORS, 0)
    size = made.arena_bytes / figure.axes[2].get_ylim()[1]
    agree = total = 0
    for step in range(0, made.steps, max(1, made.steps // 40)):
        stack, floor = [], 0
        for kind in COLORS:
            held = sum(t.nbytes for t in made.alive(step) if t.kind is kind)
            stack.append((kind, floor, floor + held))
            floor += held
            sums[kind] += held
        assert floor == made.live_bytes[step]
        for kind, low, high in stack:
            if (high - low) / peak > 0.03:
                x, y = axes.transData.transform((step + 0.5, (low + high) / 2 / size))
                color = image[round(1000 - y), round(x)]
                total += 1
                agree += np.allclose(color, to_rgb(COLORS[kind]), atol=0.02)
    assert total >= 1 and agree >= 0.85 * total  # words and lines lie on some


def test_every_tensor_is_a_rectangle_at_its_place(made: Plan, figure: Figure) -> None:
    axes = figure.axes[2]
    size = made.arena_bytes / axes.get_ylim()[1]
    (collection,) = axes.collections
    drawn = sorted(
        (round(x0), round(x1), round(y0 * size), round(y1 * size))
        for x0, y0, x1, y1 in (path.get_extents().extents for path in collection.get_paths())
    )
    wanted = sorted((t.first, t.last, t.offset, t.offset + t.nbytes) for t in made.tensors)
    assert drawn == wanted
    colors = {tuple(np.round(color[:3], 3)) for color in collection.get_facecolors()}  # type: ignore[attr-defined]
    assert colors == {tuple(np.round(to_rgb(COLORS[t.kind]), 3)) for t in made.tensors}


def test_labels_lie_within_the_rectangles_of_their_tensors(made: Plan, figure: Figure) -> None:
    axes = figure.axes[2]
    size = made.arena_bytes / axes.get_ylim()[1]
    places = {t.name: t for t in made.tensors}
    labels = [text for text in axes.texts if text.get_text() in places]
    for text in labels:
        t, box = places[text.get_text()], text.get_window_extent()
        (x0, y0), (x1, y1) = axes.transData.transform(
            [(t.first, t.offset / size), (t.last, (t.offset + t.nbytes) / size)]
        )
        assert box.x0 >= x0 - 1 and box.x1 <= x1 + 1 and box.y0 >= y0 - 3 and box.y1 <= y1 + 3, t.name
    highest = max(t.nbytes for t in made.tensors)
    tall = {t.name for t in made.tensors if t.nbytes == highest}
    assert tall & {text.get_text() for text in labels}


def test_the_peak_the_budget_the_phases_and_the_rounds_are_named(made: Plan, figure: Figure) -> None:
    said = [text.get_text() for text, _ in words(figure)]
    op = made.program.ops[made.peak_step]
    peak = f"peak {format_bytes(max(made.live_bytes))}: {op.layer}, {op.name} ({op.phase}, step {made.peak_step})"
    assert peak in said and "forward" in said
    assert ("loss" in said) == (made.mode == "train") == any(text.startswith("backward, with") for text in said)
    assert any(text.startswith(f"{made.net}, ") and f"batch {made.batch}" in text for text in said)
    assert sum(text == f"rounds of {loop.images}" for loop in made.program.loops for text in said) == sum(
        loop.images == other.images for loop in made.program.loops for other in made.program.loops
    )
    about = [text for text in said if f" \N{MINUS SIGN} reserve {format_bytes(made.reserve_bytes)}" in text]
    lines = [line for line in figure.axes[0].lines if line.get_color() == "#b3261e"]
    if made.budget_bytes is None:
        assert not about and not lines
        return
    room = made.budget_bytes - made.reserve_bytes
    size = made.arena_bytes / figure.axes[2].get_ylim()[1]
    assert len(about) == 1 and (format_bytes(room) in about[0] or room <= 0)
    if lines:
        assert lines[0].get_ydata()[0] * size == pytest.approx(room)  # type: ignore[index, operator]
        assert figure.axes[0].get_ylim()[1] > room / size
    else:
        assert room <= 0 or room > 1.5 * max(made.live_bytes)


# -- the file --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> Plan:
    return plan(load("INPUT[8x8x1] -> CONV3-4 -> RELU -> FC-2"), 3, device="cpu")


def test_the_file_is_a_png_of_1600_by_1000_and_whole(small: Plan, tmp_path: Path) -> None:
    path = tmp_path / "plan.PNG"
    path.write_text("before")
    save_plot(small, path)
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and data[-8:-4] == b"IEND"
    assert struct.unpack(">II", data[16:24]) == (1600, 1000)
    assert [one.name for one in tmp_path.iterdir()] == ["plan.PNG"]


def test_the_same_plan_gives_the_same_file(small: Plan, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save_plot(small, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_what_cannot_be_drawn_says_why(small: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"a plot is a \.png file; got .*plan\.pdf"):
        save_plot(small, tmp_path / "plan.pdf")
    with pytest.raises(ConfigError, match=r"there is no folder .*nowhere"):
        save_plot(small, tmp_path / "nowhere" / "plan.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ConfigError, match=r"folder\.png is a folder"):
        save_plot(small, tmp_path / "folder.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r'needs matplotlib, which is not installed: pip install "gpunet\[plot\]"'):
        save_plot(small, tmp_path / "plan.png")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["folder.png"]


def test_neither_pyplot_nor_a_screen_is_used(tmp_path: Path) -> None:
    code = (
        "import sys, gpunet\nfrom pathlib import Path\nfrom gpunet.report.plot import save_plot\n"
        "net = gpunet.load('INPUT[3x3x1] -> FC-2'); made = gpunet.plan(net, 1, device='cpu')\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"save_plot(made, Path({str(tmp_path / 'plan.png')!r}))\n"
        "print(*(name for name in sys.modules if name.startswith('matplotlib.pyplot')), 'end')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "end\n", done.stderr
    assert (tmp_path / "plan.png").exists()
