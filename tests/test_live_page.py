"""The live page in a real browser: every control once, and the numbers that it shows beside gpunet's own."""

import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from tests.browser import NARROW, WIDE, Watched, launched, opened
from tests.conftest import Run
from tests.living import SMALL, WAIT, Living, living
from tests.test_browser_page import in_browser

pytestmark = in_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Living]:
    with living(tmp_path_factory.mktemp("live"), SMALL, "--data", "digits") as server:
        yield server


def planned(watched: Watched, kind: str = "planned") -> None:
    """Wait for a plan, or with "done" for its ladder, too."""
    watched.page.wait_for_selector(f'#cost[data-{kind}="true"]', state="attached")


def until(page: Any, expression: str) -> None:
    """Wait for something to be so, as the page's policy lets nothing evaluate there by itself."""
    end = monotonic() + WAIT
    while not page.evaluate(expression):
        assert monotonic() < end, expression
        page.wait_for_timeout(30)


def comes(true: Callable[[], bool]) -> None:
    """Wait for something to be so."""
    end = monotonic() + WAIT
    while not true():
        assert monotonic() < end
        sleep(0.03)


def changed(watched: Watched, act: Any) -> None:
    """Do something, and wait until there is another plan."""
    watched.page.evaluate("document.getElementById('cost').dataset.planned = 'waiting'")
    act(watched.page)
    planned(watched)


def assert_clean(watched: Watched, server: Living) -> None:
    """No error, nothing asked for elsewhere, nothing out of the window, nothing that a checker complains of."""
    assert watched.errors == []
    assert [url for url in watched.requests if not url.startswith(server.link)] == []
    assert watched.fits() and watched.complaints() == []


def shown(watched: Watched) -> dict[str, int]:
    """The bytes that stand under each name."""
    found: dict[str, int] = watched.page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('#figures div')].filter((one) => one.lastChild.dataset.bytes)"
        ".map((one) => [one.firstChild.textContent, Number(one.lastChild.dataset.bytes)]))"
    )
    return found


def assert_planned(watched: Watched, run: Run, net: str, *words: object) -> dict[str, Any]:
    """What is shown is what the command says, to the byte, in the figures, the table and the peak's step."""
    told: dict[str, Any] = json.loads(run("plan", net, "--json", *words).stdout)
    found = shown(watched)
    assert found["Arena"] == told["arena_bytes"] and found["In all"] == told["total_bytes"]
    assert found.get("There is") == told["budget_bytes"]
    page = watched.page
    names = [row.locator("td").first.inner_text() for row in page.locator("#layers tbody tr").all()]
    assert names == [layer["name"] for layer in told["layers"]]
    cells = page.evaluate(
        "[...document.querySelectorAll('#layers tbody td:nth-child(5)')].map((one) => Number(one.dataset.bytes))"
    )
    assert cells == [layer["activation_bytes"] for layer in told["layers"]]
    assert page.locator("#arena .tensor").count() == len(told["tensors"])
    assert int(page.input_value("#step")) == told["peak"]["step"]
    assert int(page.locator("#alive p").get_attribute("data-bytes")) == told["peak"]["live_bytes"]
    return told


def test_every_control_of_the_plan_shows_what_the_command_says(browser: Any, server: Living, run: Run) -> None:
    with opened(browser, server.link, permissions=["clipboard-read", "clipboard-write"]) as watched:
        page = watched.page
        planned(watched)
        assert_planned(watched, run, SMALL)
        changed(watched, lambda page: page.fill("#batch", "9"))
        assert page.input_value("#batch-slide") == "13"
        changed(watched, lambda page: page.select_option("#optimizer", "adam"))
        changed(watched, lambda page: page.select_option("#card", "GTX 1060 6GB"))
        changed(watched, lambda page: page.fill("#max-cost", "20"))
        words = ("--batch", 9, "--optimizer", "adam", "--gpu", "GTX 1060 6GB", "--max-cost", 0.2)
        assert_planned(watched, run, SMALL, *words)
        changed(watched, lambda page: page.check("#micro"))
        changed(watched, lambda page: page.uncheck("#micro"))
        changed(watched, lambda page: page.select_option("#dtype", "float64"))
        changed(watched, lambda page: page.fill("#budget", "520MiB"))
        words = ("--batch", 9, "--optimizer", "adam", "--budget", "520MiB", "--max-cost", 0.2, "--dtype", "float64")
        assert_planned(watched, run, SMALL, *words)
        planned(watched, "done")
        (told,) = json.loads(run("fit", SMALL, "--json", *words[2:]).stdout)
        batches = page.evaluate(
            "[...document.querySelectorAll('#ladder td[data-batch]')].map((one) => Number(one.dataset.batch))"
        )
        assert batches == [rung["batch"] for rung in told["ladder"]]
        assert f"{told['batch']:,}" in page.inner_text("#searching")
        assert_handed_out(watched, run, words)
        changed(watched, lambda page: page.select_option("#mode", "infer"))
        changed(watched, lambda page: page.select_option("#device", "cpu"))
        changed(watched, lambda page: page.locator("#batch-slide").fill("12"))
        assert page.input_value("#batch") == "8"
        page.locator("#step").fill("0")
        assert "step 0 of" in page.inner_text("#alive")
        changed(watched, lambda page: page.select_option("#shipped", "lenet5"))
        changed(watched, lambda page: page.click("#as-text"))
        assert "[train]" in page.input_value("#text")
        page.fill("#text", "INPUT[9x9x9] -> FC-7")
        page.click("#train-this")
        page.wait_for_selector("#mistake:not([hidden])")
        assert "digits holds images of 8x8x1" in page.inner_text("#mistake")
        assert watched.untouched("#plan") == []
        assert_clean(watched, server)


def assert_handed_out(watched: Watched, run: Run, words: tuple[object, ...]) -> None:
    """The files are those of the command, and the link has the net and all that was chosen."""
    page, files = watched.page, {}
    for kind in ("json", "snapshot", "svg", "png"):
        with page.expect_download() as waiting:
            page.click(f"#save-{kind}")
        files[kind] = Path(waiting.value.path()).read_bytes()
    told, saved = (json.loads(text) for text in (run("plan", SMALL, *words, "--json").stdout, files["json"]))
    assert told.pop("placement")["gap"] == saved.pop("placement")["gap"] and told == saved
    assert files["snapshot"][:2] == b"\x80\x04"
    assert files["svg"].startswith(b"<svg") and b"var(" not in files["svg"].replace(b"aria-label", b"")
    assert files["png"][:4] == b"\x89PNG"
    page.click("#copy-link")
    until(page, "document.getElementById('told').textContent.includes('copied')")
    with opened(watched.page.context.browser, page.evaluate("navigator.clipboard.readText()")) as other:
        planned(other)
        for name in ("text", "batch", "optimizer", "card", "budget", "max-cost", "dtype", "mode", "device"):
            assert other.page.input_value(f"#{name}") == page.input_value(f"#{name}"), name


def test_mistakes_stand_under_the_text_and_the_pictures_answer(browser: Any, server: Living) -> None:
    with opened(browser, server.link) as watched:
        page = watched.page
        planned(watched)
        page.fill("#text", "INPUT[8x8x1] -> CONV3-4 -> REL")
        page.wait_for_selector("#mistake:not([hidden])")
        assert "^" in page.inner_text("#mistake") and "REL" in page.inner_text("#mistake")
        page.fill("#text", f"INPUT[8x8x1] -> {'CONV3-4 -> ' * 20}REL")
        until(page, "document.querySelector('#mistake pre').scrollLeft > 200")  # the caret is in view
        page.fill("#text", "<img src=x onerror=alert(1)> -> ")
        until(page, "document.getElementById('mistake').textContent.includes('<img')")
        assert page.locator("img").count() == 0
        changed(watched, lambda page: page.fill("#text", 'input = "8x8x1"\nnet = "CONV3-4 -> FC-10"'))
        assert not page.is_visible("#mistake")
        page.hover("#layers tr[data-layer=conv1]")
        assert page.locator("#arena.lighting .lit").count() > 2 and "conv1" in page.inner_text("#told")
        assert page.get_attribute("#steps path.own", "d").startswith("M")
        page.locator("#step").fill("0")
        page.locator("#steps svg").click(position={"x": 200, "y": 80})
        assert "step 0 of" not in page.inner_text("#alive")
        assert_clean(watched, server)


def test_figures_of_a_net_before_a_mistake_are_marked_and_files_do_not_end_the_search(
    browser: Any, server: Living
) -> None:
    with opened(browser, server.link + f"#text={quote(SMALL)}&batch=64&budget=520MiB") as watched:
        page = watched.page
        planned(watched)
        with page.expect_download():
            page.click("#save-json")
        planned(watched, "done")
        until(page, "document.querySelectorAll('#ladder tbody tr').length === 4")  # a search broken off begins again
        changed(watched, lambda page: page.fill("#batch", "65"))
        until(page, "document.querySelectorAll('#ladder tbody tr').length === 4")  # known, and not searched for again
        assert not page.get_attribute("#plan", "data-old")
        page.fill("#text", "INPUT[8x8x1] ->")
        until(page, "document.getElementById('searching').textContent.includes('before the mistake')")
        assert page.get_attribute("#plan", "data-old")
        page.click("#as-text")
        assert page.is_visible("#mistake")
        page.fill("#text", SMALL)
        planned(watched)
        until(page, "!document.getElementById('plan').dataset.old")


def test_the_training_does_what_its_controls_say(browser: Any, tmp_path: Path) -> None:
    with living(tmp_path, SMALL, "--data", "digits") as server, opened(browser, server.link) as watched:
        page = watched.page
        page.click("#tab-train")
        number = "document.querySelector('#numbers [data-steps]')?.dataset.steps"
        page.wait_for_selector("#one:enabled")
        for count in ("1", "2"):
            page.click("#one")
            until(page, f"{number} === '{count}'")
        page.fill("#at-once [name=learning_rate]", "0.05")
        page.fill("#at-once [name=clip_norm]", "1")
        page.fill("#at-once [name=weight_decay]", "0.002")
        page.fill("#at-once [name=epochs]", "10000")
        page.click("#at-once button")
        wanted = {"learning_rate": 0.05, "clip_norm": 1, "weight_decay": 0.002, "epochs": 10_000}
        comes(lambda: wanted.items() <= server.news()["settings"].items())
        page.click("#measure")
        until(page, "document.getElementById('numbers').textContent.includes('Backward')")
        page.click("#start")
        page.wait_for_selector("#examples li .bar.right", state="attached")
        page.click("#pause")
        page.wait_for_selector("#pause:disabled")
        news = server.until("paused")
        until(page, f"{number} === '{news['progress']['total']}'")
        assert float(page.get_attribute("#numbers [data-loss]", "data-loss")) == news["progress"]["loss"]
        page.fill("#at-once [name=momentum]", "7")
        page.evaluate("document.getElementById('at-once').noValidate = true")
        page.click("#at-once button")
        page.wait_for_selector("#train-message.wrong")
        assert "momentum" in page.inner_text("#train-message")
        page.fill("#anew [name=batch]", "32")
        page.click("#anew button[type=submit]")
        comes(lambda: server.news()["settings"]["batch"] == 32)
        assert "4 of 4 parameters kept" in server.until("ready")["message"]
        page.select_option("#anew [name=optimizer]", "adam")
        page.fill("#anew [name=seed]", "3")
        page.click("#reset")
        comes(lambda: server.news()["settings"]["seed"] == 3)
        assert server.news()["settings"]["optimizer"] == "adam"
        page.click("#tab-plan")
        changed(watched, lambda page: page.fill("#text", "INPUT[8x8x1] -> FC-10"))
        page.click("#train-this")
        page.wait_for_selector("#train:not([hidden])")
        comes(lambda: len(server.news()["layers"]) == 1)
        assert_clean(watched, server)
        assert watched.untouched("#train") == ["stop"]
        page.click("#stop")
        assert server.process.wait(30) == 0
        until(page, "document.getElementById('state').textContent.includes('ended')")


def quiet(watched: Any) -> bool:
    """Whether nothing was asked for in three seconds: the first look waits for a process that looks."""
    before = len(watched.requests)
    watched.page.wait_for_timeout(3000)
    return len(watched.requests) == before


def test_a_page_that_is_hidden_asks_for_nothing(browser: Any, tmp_path: Path) -> None:
    hide = (
        "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    with living(tmp_path, SMALL, "--data", "digits") as server, opened(browser, server.link) as watched:
        server.until("ready")
        server.ask("do", do="change", epochs=100_000)
        server.ask("do", do="start")
        watched.page.click("#tab-see")
        comes(lambda: bool(watched.page.wait_for_timeout(50)) or any("look/" in url for url in watched.requests))
        watched.page.evaluate(hide % "true")
        comes(lambda: quiet(watched))
        count = len(watched.requests)  # without what was under way
        watched.page.wait_for_timeout(1500)
        assert len(watched.requests) == count
        watched.page.evaluate(hide % "false")
        comes(lambda: bool(watched.page.wait_for_timeout(50)) or len(watched.requests) > count + 1)


def test_what_is_seen_is_what_the_net_makes(browser: Any, server: Living, tmp_path: Path) -> None:
    server.ask("do", do="step")
    server.until("paused")
    with opened(browser, server.link) as watched:
        page = watched.page
        page.click("#tab-see")
        page.wait_for_selector("#maps [data-low]")
        assert page.locator("#maps .layer").count() == 4
        part = next(one for one in server.ask("look/layers", layers=["conv1"]) if one["stage"] == "layer")
        low, high = (
            float(page.get_attribute("[data-layer=conv1] [data-low]", f"data-{name}")) for name in ("low", "high")
        )
        assert (low, high) == (part["activations"]["low"], part["activations"]["high"])
        page.fill("#index", "3")
        page.press("#index", "Enter")
        until(page, "document.getElementById('seen-about').textContent.startsWith('image 3')")
        page.click("#before")
        until(page, "document.getElementById('seen-about').textContent.startsWith('image 2')")
        page.click("#after")
        until(page, "document.getElementById('seen-about').textContent.startsWith('image 3')")
        page.uncheck("#follow")
        page.select_option("#field-layer", "pool1")
        page.fill("#field-row", "1")
        until(page, "document.getElementById('field-told').textContent.includes('rows 1 to 4, columns -1 to 2')")
        page.fill("#field-column", "2")
        until(page, "document.getElementById('field-told').textContent.includes('rows 1 to 4, columns 3 to 6')")
        page.click("[data-layer=conv1] canvas[data-set=activations]", position={"x": 20, "y": 14})
        until(page, "document.getElementById('field-layer').value === 'conv1'")
        page.select_option("#of-class", "7")
        page.click("#salient")
        until(page, "document.querySelectorAll('#saliency canvas').length === 3")
        assert page.inner_text("#saliency p").startswith("7, ")
        page.click("#judge")
        page.wait_for_selector("#confusion td")
        counts = sum(
            map(int, page.evaluate("[...document.querySelectorAll('#confusion td')].map((one) => one.dataset.count)"))
        )
        assert f"of {counts} images" in page.inner_text("#judged-about")
        page.locator("#mistakes button").first.click()
        page.focus("#sheet")
        for key in [" ", *["ArrowDown"] * 5, " "]:
            page.keyboard.press(key)
        until(page, "document.getElementById('seen-about').textContent.startsWith('your picture')")
        page.uncheck("#dark")
        page.click("#clear")
        (tmp_path / "none.png").write_bytes(b"no picture")
        page.set_input_files("#file", tmp_path / "none.png")
        page.wait_for_selector("#see-message.wrong:not(:empty)")
        mistakes = page.locator("#mistakes button").count()
        assert mistakes and len(watched.untouched("#see")) == mistakes - 1
        assert_clean(watched, server)


def test_pictures_of_ones_own_are_told_as_predict_tells_them(browser: Any, run: Run, tmp_path: Path) -> None:
    """Chosen, dropped and pasted, on the page of a run that is over."""
    assert run("train", SMALL, "--data", "digits", "--epochs", 1, "--device", "cpu", "--out", "first").exit_code == 0
    paths = [tmp_path / f"{kind}.png" for kind in ("choose", "drop", "paste")]
    for number, path in enumerate(paths):
        Image.fromarray(np.roll(np.arange(0, 256, 4, np.uint8), 9 * number).reshape(8, 8)).save(path)
    done = run("predict", "first", *paths, "--device", "cpu", "--top", 10, "--json")
    told = [{row["name"]: row["probability"] for row in one["top"]} for one in json.loads(done.stdout)["images"]]
    with living(tmp_path, tmp_path / "first") as server, opened(browser, server.link) as watched:
        page = watched.page
        assert server.until("finished")["run"] == str(tmp_path / "first")
        page.click("#tab-see")
        until(page, "document.getElementById('seen-about').textContent.startsWith('image 0')")
        for path, wanted in zip(paths, told, strict=True):
            if path.stem == "choose":
                page.set_input_files("#file", path)
            else:
                watched.hand_over(path.stem, path.name, path.read_bytes())
            comes(lambda wanted=wanted: all(abs(chance - wanted[name]) < 1e-4 for name, chance in chances(page)))
        assert_clean(watched, server)


def chances(page: Any) -> list[tuple[str, float]]:
    """The classes and their probabilities that are shown."""
    rows = page.evaluate(
        "[...document.querySelectorAll('#classes li')]"
        ".map((one) => [...one.querySelectorAll('.name, .number')].map((part) => part.textContent))"
    )
    return [(name, float(number.removesuffix(" %")) / 100) for name, number in rows]


def test_the_tour_shows_numbers_that_are_right(browser: Any, server: Living, run: Run) -> None:
    with opened(browser, server.link, size=NARROW, dark=True) as watched:
        page = watched.page
        page.click("#tab-learn")
        page.wait_for_selector(".numbers")
        page.get_by_role("button", name="Step", exact=True).click()
        assert_products(page)
        page.locator("#stops button").nth(4).click()
        page.wait_for_selector("#stop-here td[data-parameters]")
        told = json.loads(run("plan", "vgg16", "--batch", 1, "--json").stdout)
        cells = page.evaluate(
            "[...document.querySelectorAll('#stop-here td[data-parameters]')]"
            ".map((one) => Number(one.dataset.parameters))"
        )
        assert sum(cells) == told["parameters"]
        page.locator("#stops button").nth(3).click()
        page.wait_for_selector('#stop-here :text("switches")')
        page.fill("#stop-here [name=F]", "3")
        page.wait_for_selector('#stop-here :text("do not fit 4")')
        assert_clean(watched, server)


@pytest.mark.slow
def test_every_control_of_the_tour_answers_and_each_stop_has_a_net(browser: Any, server: Living) -> None:
    with opened(browser, server.link) as watched:
        page = watched.page
        planned(watched)
        for at, net in enumerate(
            (
                "CONV3-2(S=2, P=1)",
                "CONV3-16 -> RELU -> POOL2",
                "CONV2-2(S=1, P=0)",
                "POOL2(S=2)",
                "[256x256x3]",
                "vgg16",
            )
        ):
            page.click("#tab-learn")
            page.locator("#stops button").nth(at).click()
            page.wait_for_selector("#stop-here > div table")
            act_on_all(page)
            onward = "Next stop" if at < 5 else "Back to the first"
            assert watched.untouched("#stop-here") == ["Plan this net", onward]
            assert_clean(watched, server)
            changed(watched, lambda page: page.click("text=Plan this net"))
            assert net in page.input_value("#text") and page.is_visible("#plan")
            page.click("#tab-learn")
            page.click(f"text={onward}")
        assert watched.untouched("#learn nav") == []
        assert page.input_value("#budget") == "12GiB" and page.input_value("#batch") == "16"


def act_on_all(page: Any) -> None:
    """Click, slide and fill what stands at a stop, and go there again; each number as it was."""
    here = page.locator("#stop-here")
    for one in here.locator("input").all():
        if one.get_attribute("type") == "range":
            one.fill("256")
            page.wait_for_selector('#stop-here p:has-text("256 x 256")')
        else:
            one.fill(one.input_value())
    for one in here.locator("button").all():
        if one.inner_text() not in ("Next stop", "Back to the first", "Plan this net"):
            one.click()
            page.wait_for_selector("#stop-here > div table")


def assert_products(page: Any) -> None:
    """The sum that is told is that of the products which it names."""
    text = page.locator("#stop-here > div > p").first.inner_text()
    left, _, right = text.partition(" = ")[2].partition(" = ")
    products, _, bias = left.partition(" + bias ")
    total = sum(
        int(a) * int(b.strip("()"))
        for a, _, b in (one.partition("\u00b7") for one in products.split(" + ") if "\u00b7" in one)
    )
    assert total + int(bias) == int(right.split()[0])


def test_the_keyboard_alone_suffices(browser: Any, server: Living) -> None:
    with opened(browser, server.link, size=NARROW) as watched:
        page = watched.page
        planned(watched)
        page.keyboard.press("Tab")
        for tab in ("train", "see", "learn", "plan"):
            page.keyboard.press("ArrowRight")
            assert page.evaluate("document.activeElement.id") == f"tab-{tab}"
            assert page.is_visible(f"#{tab}")
            assert watched.fits(), tab
        reached = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.id || document.activeElement.dataset.layer"))
        assert {"text", "batch", "card", "train-this", "save-png", "step", "conv1"} <= reached
        assert_clean(watched, server)


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_every_tab_fits_and_reads_well(browser: Any, server: Living, size: tuple[int, int], dark: bool) -> None:
    with opened(browser, server.link, size=size, dark=dark) as watched:
        planned(watched)
        page = watched.page
        for tab in ("plan", "train", "see", "learn"):
            page.click(f"#tab-{tab}")
            page.wait_for_timeout(1500)
            assert_clean(watched, server)
            if tab == "see":
                page.click("#salient")
                page.click("#judge")
                page.wait_for_selector("#confusion td")
                assert_clean(watched, server)
        for stop in page.locator("#stops button").all():
            stop.click()
            page.wait_for_selector("#stop-here > div table")
            assert_clean(watched, server)


@pytest.mark.slow
def test_two_hundred_edits_in_a_row_end_in_the_plan_of_the_last(browser: Any, server: Living, run: Run) -> None:
    with opened(browser, server.link) as watched:
        page = watched.page
        changed(watched, lambda page: page.fill("#text", "vgg16"))
        for batch in range(1, 201):
            page.fill("#batch", str(batch))
            page.wait_for_timeout(90)
        changed(watched, lambda page: page.fill("#batch", "24"))
        assert_planned(watched, run, "vgg16", "--batch", 24)
        assert watched.errors == []


@pytest.mark.slow
def test_digits_are_learnt_within_a_minute(browser: Any, tmp_path: Path) -> None:
    with living(tmp_path, "vgg_digits") as server, opened(browser, server.link) as watched:
        watched.page.click("#tab-train")
        watched.page.click("#start:enabled")
        news = server.news()
        for _ in range(600):
            watched.page.wait_for_timeout(100)
            news = server.news()
            if any(row["val_accuracy"] >= 0.9 for row in news["epochs"]):
                break
        assert max(row["val_accuracy"] for row in news["epochs"]) >= 0.9


def test_the_drawn_maps_are_the_activations(browser: Any, server: Living) -> None:
    """Value by value: what stands on the canvas is what the layer gives, from its least to its most."""
    looked = next(one for one in server.ask("look/layers", index=1, layers=["relu1"]) if one["stage"] == "layer")
    with opened(browser, server.link, size=NARROW) as watched:
        page = watched.page
        page.click("#tab-see")
        page.fill("#index", "1")
        page.press("#index", "Enter")
        until(page, "document.getElementById('seen-about').textContent.startsWith('image 1:')")
        page.locator("article[data-layer=relu1]").scroll_into_view_if_needed()  # others are not looked at
        page.wait_for_selector("[data-layer=relu1] canvas[data-set=activations]")
        drawn = (
            "(() => { const one = document.querySelector('[data-layer=relu1] canvas[data-set=activations]');"
            "return [...one.getContext('2d').getImageData(0, 0, 8, 8).data].filter((_, at) => at % 4 === 0); })()"
        )
        expected = list(b64decode(looked["activations"]["bytes"])[:64])
        comes(lambda: page.evaluate(drawn) == expected)
        assert watched.fits()
