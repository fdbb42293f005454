"""A net as an HTML file: it predicts in a JavaScript engine and in a real browser what `gpunet predict` does."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpunet import Augment, ConfigError, Model, Net, export_page, load
from gpunet.formats.browser import in_bits
from gpunet.model.scores import softmax
from gpunet.system.resources import browser_modules
from tests.browser import NARROW, WIDE, Watched, launched, opened, why_no_browser
from tests.conftest import Run
from tests.graphs import random_graph
from tests.javascript import Engine, opened_page, started, text_of
from tests.test_browser_pictures import drawn as picture_of
from tests.test_browser_pictures import exif
from tests.test_export_torch import NEW, drawn, written

COLOURS = "INPUT[24x20x3] -> CONV3-8 -> BN -> RELU -> POOL2 -> CONV3-8 -> RELU -> GAP -> FC-{K}"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with started() as engine:
        yield engine


def scores(engine: Engine, image: np.ndarray) -> np.ndarray:
    return np.frombuffer(engine.bytes(f"program.scores({text_of(image)})"))


def expected(net: Net, weights: Any, images: np.ndarray) -> np.ndarray:
    with Model(net, len(images), "cpu", mode="infer") as model:
        for name in model.parameters:
            model.parameters[name] = weights[name]
        return model.forward(images)


def assert_same(engine: Engine, page: Path, net: Net, weights: Any, rng: np.random.Generator) -> None:
    about = opened_page(engine, page.read_bytes())
    assert engine.run("program.arena.byteLength") >= about["plan"]["arena_bytes"]
    images = rng.integers(0, 256, (2, *net.image.shape), np.uint8)
    wanted = expected(net, weights, images)
    found = np.stack([scores(engine, image) for image in images])
    assert np.abs(found - wanted).max() <= 1e-5 * max(np.abs(wanted).max(), 1e-3)
    chances = np.frombuffer(engine.bytes(f"probabilities(program.scores({text_of(images[1])}))"))
    assert np.abs(chances - softmax(wanted[1])).max() < 1e-4


@pytest.mark.parametrize("seeds", [range(10), pytest.param(range(10, 150), marks=pytest.mark.slow)])
def test_random_nets_give_the_scores_of_the_cpu(engine: Engine, tmp_path: Path, seeds: range) -> None:
    for seed in seeds:
        rng = np.random.default_rng(seed)
        net = random_graph(rng, layers=int(rng.integers(2, 14)), drops=bool(seed % 2))
        if net.image.D not in (1, 3):
            net = load(f"INPUT[7x8x3] -> {NEW[seed % 2]}")
        weights, bits = drawn(net, rng), (32, 8)[seed % 2]
        made = export_page(written(tmp_path, net, weights), tmp_path / f"{seed}.html", bits=bits)
        assert_same(engine, made.path, net, in_bits(net, weights, bits), rng)


def test_branches_that_are_joined_and_normalized(engine: Engine, tmp_path: Path, rng: np.random.Generator) -> None:
    block = "{ ID | BN -> RELU -> CONV1-8 -> BN -> RELU -> CONV3-4 }"
    net = load(f"INPUT[8x8x3] -> CONV3-4 -> {block} -> {block} -> BN -> RELU -> GAP -> FC-3")
    weights = drawn(net, rng)
    assert_same(engine, export_page(written(tmp_path, net, weights), tmp_path / "x.html").path, net, weights, rng)


def test_images_enter_as_in_the_net(engine: Engine, tmp_path: Path, rng: np.random.Generator) -> None:
    plain = load("INPUT[6x5x3] -> CONV3-4 -> RELU -> GAP -> BN -> CONV1-3")
    for number, augment in enumerate(
        (Augment(normalize="imagenet"), Augment(size=(9, 8)), Augment(size=(5, 5), pad=2))
    ):
        net = Net(plain.input, plain.nodes, augment=augment, scale=0.5, shift=0.25)
        weights = drawn(net, rng)
        made = export_page(written(tmp_path, net, weights), tmp_path / f"{number}.html")
        assert_same(engine, made.path, net, weights, rng)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["alexnet", "googlenet_bn", "mobilenet_v2", "densenet121", "efficientnet_lite0", "resnext50"]
)
def test_shipped_nets_at_small_width(engine: Engine, tmp_path: Path, rng: np.random.Generator, name: str) -> None:
    net = load(name).scaled(1 / 8, "64x64x3").with_classes(7)
    weights = drawn(net, rng)
    assert_same(engine, export_page(written(tmp_path, net, weights), tmp_path / "x.html").path, net, weights, rng)


def test_eight_bits_are_a_quarter_and_say_what_they_change(tmp_path: Path, rng: np.random.Generator) -> None:
    net = load("INPUT[8x8x1] -> CONV3-16 -> RELU -> FC-200 -> RELU -> FC-5")
    weights = drawn(net, rng)
    path = written(tmp_path, net, weights)
    whole = export_page(path, tmp_path / "whole.html")
    images = rng.integers(0, 256, (40, 8, 8, 1), np.uint8)
    packed = export_page(path, tmp_path / "packed.html", bits=8, images=images)
    rest = len(re.sub(rb'class="weights">.*?<', b"", whole.path.read_bytes()))
    assert packed.path.stat().st_size - rest < 0.27 * (whole.path.stat().st_size - rest)
    before, after = expected(net, weights, images), expected(net, in_bits(net, weights, 8), images)
    assert whole.difference is None and packed.difference is not None
    assert packed.difference.images == 40 and not packed.difference.noise
    assert packed.difference.same == (before.argmax(1) == after.argmax(1)).sum()
    assert packed.difference.moved == pytest.approx(np.abs(softmax(before) - softmax(after)).max())
    for name, values in in_bits(net, weights, 8).items():
        rows = weights[name].reshape(len(values), -1)
        step = np.abs(rows).max(axis=1) / 127 if name.endswith(".w") else np.zeros(len(rows))
        assert (np.abs(values.reshape(rows.shape) - rows) <= step[:, None] * 0.501).all()


def test_names_from_a_file_are_text_and_never_code(engine: Engine, tmp_path: Path, rng: np.random.Generator) -> None:
    plain = load("INPUT[3x3x1] -> FC-3")
    names = ["</script><script>harm()</script>", "<!--", "{weights} & {net}"]
    net = Net(plain.input, plain.nodes, name="<img src=x onerror=harm()>{worker}")
    made = export_page(written(tmp_path, net, drawn(net, rng), classes=names), tmp_path / "x.html")
    html = made.path.read_bytes()
    assert b"harm()</script>" not in html and b"<img src=x" not in html
    assert opened_page(engine, html)["classes"] == names


def test_the_same_weights_are_the_same_bytes(tmp_path: Path, rng: np.random.Generator) -> None:
    net = load("INPUT[3x3x1] -> CONV3-2 -> FC-2")
    path = written(tmp_path, net, drawn(net, rng))
    first, second = (export_page(path, tmp_path / f"{name}.html").path.read_bytes() for name in "ab")
    assert first == second


SESSION = """
const posted = [], left = ["a", "b", "c", "d"].map((textContent) => ({ textContent, remove() { left.pop(); } }));
class Worker { postMessage(message) { posted.push(message.text ?? message.kind); } }
class Blob {}
const URL = { createObjectURL: () => "" };
"""


def test_two_pieces_of_the_weights_are_under_way_at_once(engine: Engine) -> None:
    """All at once, those of a large net would lie in memory twice."""
    text = browser_modules()["session.js"].replace("export class", "class")
    engine.do(f"""var session = (() => {{ {SESSION} {text}
        const made = new Session({{}}, "", {{ loading() {{}} }});
        made.bring(left);
        const after = [posted.slice(1)];
        for (let n = 0; n < 4; n++) {{ made.told({{ kind: "loading" }}); after.push(posted.slice(1)); }}
        return {{ after, left: left.length }};
    }})()""")
    wanted = ["a", "b"], ["a", "b", "c"], ["a", "b", "c", "d"], *[["a", "b", "c", "d", "whole"]] * 2
    assert engine.run("session") == {"after": [*wanted], "left": 0}


def test_a_page_whose_weights_are_cut_off_says_so(engine: Engine, tmp_path: Path, rng: np.random.Generator) -> None:
    net = load("INPUT[3x3x1] -> FC-2")
    html = export_page(written(tmp_path, net, drawn(net, rng)), tmp_path / "x.html").path.read_bytes()
    with pytest.raises(Exception, match="weights are missing"):
        opened_page(engine, re.sub(rb'(class="weights">.{20}).*?<', rb"\1<", html))


def test_mistakes_are_told_before_anything_is_written(run: Run, tmp_path: Path, rng: np.random.Generator) -> None:
    net = load("INPUT[3x3x1] -> FC-2")
    path = written(tmp_path, net, drawn(net, rng))
    for options, words in (
        (("--out", "x.txt"), "give one that ends in .html"),
        (("--bits", "16"), "32 or 8 bits"),
        (("--out", "no/x.html"), "there is no folder no"),
    ):
        result = run("export", path, "--to", "html", *options)
        assert result.exit_code == 2 and words in result.output, result.output
    assert "--bits is for --to html" in run("export", path, "--bits", "8").output
    deep = load("INPUT[3x3x5] -> FC-2")
    with pytest.raises(ConfigError, match="images of 5 maps"):
        export_page(written(tmp_path, deep, drawn(deep, rng)), tmp_path / "y.html")
    with pytest.raises(ConfigError, match="got '8'"):
        export_page(path, tmp_path / "y.html", bits="8")  # type: ignore[arg-type]
    written(tmp_path, net, drawn(net, rng))
    result = run("export", path, "--to", "html", "--bits", "8")
    assert result.exit_code == 0 and "of 16 images of noise" in result.output
    assert [one.name for one in tmp_path.glob("*.html")] == ["net.html"]
    assert "net.html is there already" in run("export", path, "--to", "html").output


# -- in a real browser

NO_BROWSER = why_no_browser()
in_browser = pytest.mark.skipif(bool(NO_BROWSER) and "CI" not in os.environ, reason=NO_BROWSER)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as browser:
        yield browser


def give(watched: Watched, path: Path) -> dict[str, float]:
    """Choose a picture; the probability of each class that the page shows then."""
    watched.page.set_input_files("#file", path)
    watched.page.locator("#detail", has_text=path.name).wait_for()
    return shown(watched)


def shown(watched: Watched) -> dict[str, float]:
    rows = watched.page.locator("#classes li").all()
    texts = [[row.locator(part).inner_text() for part in (".name", ".number")] for row in rows]
    return {name: float(number.removesuffix(" %")) / 100 for name, number in texts}


@in_browser
def test_pictures_of_all_kinds_get_the_classes_of_predict(
    browser: Any, run: Run, tmp_path: Path, rng: np.random.Generator
) -> None:
    net = load(COLOURS.format(K=4))
    path = written(tmp_path, net, drawn(net, rng), classes=list("abcd"))
    made = export_page(path, tmp_path / "x.html")
    pictures = _pictures(tmp_path, rng)
    told = json.loads(run("predict", path, *pictures, "--device", "cpu", "--json").stdout)["images"]
    with opened(browser, made.path) as watched:
        for picture, one in zip(pictures, told, strict=True):
            wanted = {row["name"]: row["probability"] for row in one["top"]}
            found = give(watched, picture)
            assert found.keys() == wanted.keys()
            off = max(abs(found[name] - wanted[name]) for name in wanted)
            assert off < (1e-2 if "large" in picture.name else 1e-4), (picture.name, found, wanted)
        assert watched.errors == [] and watched.requests == []


def _pictures(folder: Path, rng: np.random.Generator) -> list[Path]:
    """Small and large, turned, grey, of a palette, with alpha, with a colour profile."""
    kinds: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "plain.png": (Image.fromarray(picture_of(rng, 50, 33)), {}),
        "clear.png": (Image.fromarray(picture_of(rng, 41, 60, 4)), {}),
        "turned.png": (Image.fromarray(picture_of(rng, 41, 60)), {"exif": exif(6), "icc_profile": b"none" * 40}),
        "palette.png": (Image.fromarray(picture_of(rng, 40, 30)).quantize(16), {}),
        "grey.png": (Image.fromarray(picture_of(rng, 40, 30)).convert("L"), {}),
        "exact.bmp": (Image.fromarray(picture_of(rng, 24, 20)), {}),
        "turned.webp": (Image.fromarray(picture_of(rng, 44, 31)), {"exif": exif(8), "lossless": True}),
        "turned.jpg": (Image.fromarray(picture_of(rng, 47, 39)), {"exif": exif(5), "quality": 95}),
        "fine.jpg": (Image.fromarray(picture_of(rng, 40, 39)), {"quality": 95, "subsampling": 0}),
        "large.jpg": (Image.fromarray(picture_of(rng, 300, 401)), {"exif": exif(3), "quality": 90}),
    }
    for name, (image, options) in kinds.items():
        image.save(folder / name, **options)
    return [folder / name for name in kinds]


@in_browser
def test_the_page_is_drawn_on_by_mouse_and_by_keyboard(browser: Any, tmp_path: Path, rng: np.random.Generator) -> None:
    net = load("INPUT[8x8x1] -> CONV3-4 -> RELU -> FC-3")
    weights = drawn(net, rng)
    made = export_page(written(tmp_path, net, weights, classes=["one", "two", "three"]), tmp_path / "x.html")
    for dark in (False, True):
        with opened(browser, made.path, size=NARROW if dark else WIDE, dark=dark) as watched:
            page = watched.page
            page.get_by_text("Draw, or give a picture").wait_for()
            assert watched.fits() and watched.complaints() == []
            page.keyboard.press("Tab")  # the sheet is the first that the keyboard comes to
            for key in [" ", *["ArrowDown"] * 4, *["ArrowRight"] * 4, " "]:
                page.keyboard.press(key)
            page.locator("#detail", has_text="the drawing").wait_for()
            _assert_seen(watched, net, weights)
            for key in ("Tab", "Enter"):  # to Clear
                page.keyboard.press(key)
            page.get_by_text("Draw, or give a picture").wait_for()
            box = page.locator("#sheet").bounding_box()
            page.mouse.move(box["x"] + 30, box["y"] + 30)
            page.mouse.down()
            page.mouse.move(box["x"] + 90, box["y"] + 150, steps=5)
            page.mouse.up()
            page.locator("#detail", has_text="the drawing").wait_for()
            _assert_seen(watched, net, weights)
            page.get_by_label("light on dark").click()
            assert page.locator("#classes.empty").count() == 1
            assert watched.fits() and watched.errors == [] and watched.requests == []


def _assert_seen(watched: Watched, net: Net, weights: Any) -> None:
    """What is shown is what the net makes of the image that is shown."""
    watched.page.wait_for_timeout(200)  # the last of what was drawn
    pixels = watched.page.evaluate(
        "[...document.getElementById('seen').getContext('2d').getImageData(0, 0, 8, 8).data]"
    )
    image = np.array(pixels, np.uint8).reshape(1, 8, 8, 4)[..., :1]
    assert image.any()
    wanted = softmax(expected(net, weights, image))[0]
    assert np.abs(np.array(list(shown(watched).values())) - wanted).max() < 1e-4


@in_browser
def test_pictures_are_dropped_and_pasted_and_what_is_none_is_told(
    browser: Any, tmp_path: Path, rng: np.random.Generator
) -> None:
    net = load(COLOURS.format(K=30))
    made = export_page(written(tmp_path, net, drawn(net, rng)), tmp_path / "x.html")
    path = tmp_path / "a.png"
    Image.fromarray(picture_of(rng, 30, 30)).save(path)
    with opened(browser, made.path, size=NARROW) as watched:
        wanted = give(watched, path)
        assert len(wanted) == 10 and list(wanted.values()) == sorted(wanted.values(), reverse=True)
        for number, kind in enumerate(("drop", "paste")):
            watched.hand_over(kind, f"b{number}.png", path.read_bytes())
            watched.page.locator("#detail", has_text=f"b{number}.png").wait_for()
            assert shown(watched) == wanted
        watched.hand_over("drop", "notes.png", b"no picture")
        watched.page.get_by_text("notes.png is no picture that this browser reads").wait_for()
        watched.page.evaluate("window.dispatchEvent(new DragEvent('drop', {dataTransfer: new DataTransfer()}))")
        watched.page.get_by_text("that holds no picture").wait_for()
        assert give(watched, path) == wanted
        assert watched.fits() and watched.errors == [] and watched.requests == []
