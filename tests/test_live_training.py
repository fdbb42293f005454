"""The training behind the page: the bits of `gpunet train`, whatever was paused, looked at and asked for meanwhile."""

import json
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest

from gpunet import Model, load
from gpunet.cli.live import _data_of, _prepared
from gpunet.errors import GpunetError
from gpunet.live.session import Session
from gpunet.net.config import Config, load_config
from gpunet.train.history import read_history
from gpunet.train.weights import load_weights
from tests.conftest import Run
from tests.living import SMALL

NET = "INPUT[8x8x1] -> CONV3-4 -> BN -> RELU -> DROPOUT -> POOL2 -> FC-10"
AUGMENTED = 'input = "8x8x1"\nnet = "CONV3-4 -> RELU -> POOL2 -> FC-10"\n[augment]\npad = 1\nbrightness = 0.3\n'
WAIT = 30.0


class Page:
    """Asks a session from another thread, as the server does."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def do(self, what: str, **asked: Any) -> dict[str, Any]:
        answer: Future[dict[str, Any]] = self.session.ask({"do": what, **asked})
        return answer.result(WAIT)

    def until(self, state: str) -> dict[str, Any]:
        end = monotonic() + WAIT
        while self.session.told.get("state") != state:
            assert monotonic() < end, self.session.told.news(0, 0)
            sleep(0.005)
        return self.session.told.news(0, 0)

    def steps(self, count: int) -> None:
        """Step by step, that many."""
        for _ in range(count):
            before = self.done
            self.do("step")
            while self.done == before:
                sleep(0.001)
            self.until("paused")

    @property
    def done(self) -> int:
        progress = self.session.told.get("progress")
        return progress["total"] if progress else 0


def config_of(net: str, **told: Any) -> Config:
    config = load_config(net)
    return _prepared(replace(config, train=config.train.changed(data="digits", **told).settled()))


def trained(
    config: Config, script: Callable[[Page], None], *, out: Path | None = None, resume: Path | None = None
) -> int:
    """Run a session in this thread while another one follows the script; what that raises is raised here."""
    session = Session(config, _data_of, _prepared, "cpu", out=out, resume=resume)
    wrong: list[BaseException] = []

    def follow() -> None:
        page = Page(session)
        try:
            script(page)
        except BaseException as error:
            wrong.append(error)
        session.ask({"do": "stop"})

    thread = Thread(target=follow)
    thread.start()
    code = session.run()
    thread.join(WAIT)
    if wrong:
        raise wrong[0]
    return code


@pytest.fixture
def expected(run: Run, tmp_path: Path) -> Path:
    """What `gpunet train` leaves."""
    done = run("train", NET, "--data", "digits", "--epochs", 2, "--batch", 200, "--device", "cpu", "--out", "plain")
    assert done.exit_code == 0, done.output
    return Path("plain").resolve()


def assert_same(run: Path, expected: Path) -> None:
    ours, theirs = load_weights(run), load_weights(expected)
    assert ours.keys() == theirs.keys() and all((ours[name] == theirs[name]).all() for name in theirs)
    mine, plain = read_history(run), read_history(expected)
    assert [(row.step, row.loss, row.accuracy) for row in mine.steps] == [
        (row.step, row.loss, row.accuracy) for row in plain.steps
    ]
    assert [(row.train_loss, row.val_loss) for row in mine.epochs] == [
        (row.train_loss, row.val_loss) for row in plain.epochs
    ]
    assert (run / "config.toml").read_text() == (expected / "config.toml").read_text()
    assert json.loads((run / "test.json").read_text()) == json.loads((expected / "test.json").read_text())


def test_pauses_looks_and_measurements_change_no_bit(expected: Path, tmp_path: Path) -> None:
    def script(page: Page) -> None:
        page.until("ready")
        page.do("weights", folder=str(tmp_path))
        page.steps(3)
        page.do("start")
        page.do("pause")
        page.until("paused")
        assert page.do("measure")["phases"].keys() == {"forward", "loss", "backward", "update"}
        page.do("change", learning_rate=0.01)  # as it is: the run is left and gone on with
        page.until("paused")
        page.do("start")
        while page.session.told.get("state") == "running":
            page.do("weights", folder=str(tmp_path))
        news = page.until("finished")
        assert news["test_accuracy"] == json.loads((tmp_path / "live/test.json").read_text())["test_accuracy"]
        assert len(news["epochs"]) == 2 and news["points"][-1][0] == news["progress"]["total"]

    assert trained(config_of(NET, epochs=2, batch=200), script, out=tmp_path / "live") == 0
    assert_same(tmp_path / "live", expected)


def test_augmentation_is_drawn_as_in_train_whatever_was_paused_changed_and_looked_at(run: Run, tmp_path: Path) -> None:
    (tmp_path / "net.toml").write_text(AUGMENTED)
    words = ("--data", "digits", "--epochs", 2, "--batch", 200, "--device", "cpu", "--out", "plain")
    assert run("train", "net.toml", *words).exit_code == 0

    def script(page: Page) -> None:
        page.until("ready")
        page.do("weights", folder=str(tmp_path))
        page.steps(3)
        page.do("change", clip_norm=None)  # as it is: the run is left within an epoch and gone on with
        page.until("paused")
        page.do("weights", folder=str(tmp_path))
        page.steps(7)
        page.do("measure")
        page.do("change", epochs=2)
        page.until("paused")
        page.do("start")
        page.until("finished")

    assert trained(config_of("net.toml", epochs=2, batch=200), script, out=tmp_path / "live") == 0
    assert_same(tmp_path / "live", Path("plain"))


def test_a_run_that_the_page_stopped_goes_on_elsewhere_with_the_same_bits(
    run: Run, expected: Path, tmp_path: Path
) -> None:
    assert (
        trained(
            config_of(NET, epochs=2, batch=200),
            lambda page: (page.until("ready"), page.steps(4)),
            out=tmp_path / "live",
        )
        == 0
    )
    assert (tmp_path / "live/last.safetensors").is_file()
    done = run("train", "--resume", tmp_path / "live", "--device", "cpu")
    assert done.exit_code == 0 and "after step 4" in done.output, done.output
    assert_same(tmp_path / "live", expected)


def test_the_page_goes_on_with_a_run_and_with_one_that_is_over(run: Run, expected: Path, tmp_path: Path) -> None:
    def over(page: Page) -> None:
        news = page.until("finished")
        assert "test accuracy" in news["message"] and len(news["points"]) == news["points"][-1][0]
        with pytest.raises(GpunetError, match="raise the epochs"):
            page.do("start")
        page.do("change", epochs=3)
        page.until("paused")
        page.do("start")
        assert [row["epoch"] for row in page.until("finished")["epochs"]] == [1, 2, 3]

    config = replace(config_of(NET, epochs=2, batch=200))
    assert trained(config, over, resume=expected) == 0
    assert len(read_history(expected).epochs) == 3
    assert json.loads((expected / "changes.jsonl").read_text())["epochs"] == 3


def test_a_change_at_once_is_felt_by_the_next_step_and_written_down(tmp_path: Path) -> None:
    weights: list[dict[str, np.ndarray]] = []

    def script(page: Page) -> None:
        page.until("ready")
        page.steps(2)
        page.do("change", learning_rate=1e-30, momentum=0.0, weight_decay=0.0, clip_norm=1.0)
        page.until("paused")
        for folder in ("before", "after"):
            (tmp_path / folder).mkdir()
            weights.append(load_weights(page.do("weights", folder=str(tmp_path / folder))["weights"]))
            page.steps(1)
        news = page.session.told.news(0, 0)
        assert news["settings"]["momentum"] == 0 and news["settings"]["clip_norm"] == 1
        assert [point[0] for point in news["points"]] == [1, 2, 3, 4]
        page.do("change", clip_norm=None)
        page.until("paused")
        assert page.session.told.get("settings")["clip_norm"] is None

    trained(config_of(SMALL, batch=100, learning_rate=0.1), script, out=tmp_path / "live")
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
    first, _ = map(json.loads, (tmp_path / "live/changes.jsonl").read_text().splitlines())
    assert first == {"step": 2, "learning_rate": 1e-30, "momentum": 0.0, "weight_decay": 0.0, "clip_norm": 1.0}


def test_another_net_keeps_the_weights_that_fit_and_a_reset_keeps_none(tmp_path: Path) -> None:
    def written(page: Page) -> dict[str, np.ndarray]:
        return load_weights(page.do("weights", folder=str(tmp_path))["weights"])

    def script(page: Page) -> None:
        page.until("ready")
        page.steps(2)
        learnt = written(page)
        page.do("net", text="INPUT[8x8x1] -> CONV3-4 -> RELU -> POOL2 -> FC-12 -> RELU -> FC-10", batch=50)
        page.until("ready")
        kept = written(page)
        assert all(np.array_equal(kept[f"conv1.{name}"], learnt[f"conv1.{name}"]) for name in "wb")
        assert page.session.told.get("settings")["batch"] == 50 and "2 of 6 parameters" in page.session.told.get(
            "message"
        )
        page.do("net", optimizer="adam")
        page.until("ready")
        settings = page.session.told.get("settings")
        assert settings["optimizer"] == "adam" and settings["momentum"] is None and settings["data"] == "digits"
        page.do("net", dtype="float64")
        assert written(page)["conv1.w"].dtype == np.float64
        page.do("net", dtype="float32")
        page.do("reset", seed=5)
        page.until("ready")
        with Model(
            load("INPUT[8x8x1] -> CONV3-4 -> RELU -> POOL2 -> FC-12 -> RELU -> FC-10"), 2, "cpu", seed=5
        ) as drawn:
            assert all(np.array_equal(values, drawn.parameters[name]) for name, values in written(page).items())
        page.do("net", text='input = "8x8x1"\nnet = "FC-10"\n[train]\ndata = "elsewhere.npz"\noptimizer = "nesterov"')
        page.until("ready")
        assert page.session.told.get("settings")["optimizer"] == "nesterov"
        assert page.session.told.get("settings")["data"] == "digits"

    trained(config_of(SMALL, batch=100), script, out=tmp_path / "live")


def test_what_cannot_be_is_told_and_the_run_goes_on(tmp_path: Path) -> None:
    def script(page: Page) -> None:
        page.until("ready")
        page.steps(1)
        for what, asked, words in (
            ("net", {"text": "INPUT[9x9x1] -> FC-10"}, "digits holds images of 8x8x1"),
            ("net", {"text": "INPUT[8x8x1] -> FC-20"}, "20 outputs"),
            ("net", {"text": "INPUT[8x8x1] -> FC-10 ->"}, "^"),
            ("change", {"learning_rate": -1}, "learning_rate"),
            ("change", {"momentum": 2}, "momentum"),
            ("change", {"learning_rate": "fast"}, "must be a number"),
            ("change", {"epochs": None}, "epochs is empty"),
            ("change", {"epochs": 0.5}, "whole number"),
            ("nonsense", {}, "load it again"),
        ):
            with pytest.raises(GpunetError) as told:
                page.do(what, **asked)
            assert words in str(told.value), told.value
        page.steps(1)
        assert page.done == 2

    trained(config_of(SMALL, batch=100), script, out=tmp_path / "live")


def test_data_that_do_not_suit_are_told_and_another_net_is_trained(tmp_path: Path) -> None:
    def script(page: Page) -> None:
        news = page.until("failed")
        assert "digits holds images of 8x8x1" in news["message"]
        with pytest.raises(GpunetError, match="no training"):
            page.do("start")
        page.do("net", text=SMALL)
        page.until("ready")
        page.steps(1)

    trained(config_of("INPUT[9x9x1] -> FC-10"), script, out=tmp_path / "live")
