"""Training: the trainer against a plain loop, schedules, what is measured, and what a run leaves on disk."""

import csv
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from gpunet import Model, Net, load
from gpunet.data import Dataset, Split, batches
from gpunet.errors import ConfigError, DataError
from gpunet.net.config import dump_net
from gpunet.train import folder as folders
from gpunet.train.diverged import Diverged
from gpunet.train.folder import RunFolder, open_folder
from gpunet.train.metrics import EpochMetrics, as_csv
from gpunet.train.screen import Screen
from gpunet.train.trainer import Progress, Trainer, Watcher, evaluate
from gpunet.train.weights import load_weights, restore_weights, save_weights

FILES = [
    "best.safetensors",
    "config.toml",
    "environment.json",
    "last.safetensors",
    "metrics.csv",
    "plan.json",
    "previous.safetensors",
    "steps.csv",
    "weights.safetensors",
]
PATTERN = "INPUT[6x5x2] -> CONV3-4 -> RELU -> POOL2(fit=pad) -> FC-3"


@pytest.fixture
def net() -> Net:
    return load(PATTERN)


@pytest.fixture
def data(rng: np.random.Generator) -> Dataset:
    """23 images to learn from and 10 to test on: a class is where the image is bright."""

    def split(n: int) -> Split:
        labels = rng.integers(0, 3, n)
        images = rng.integers(0, 60, (n, 6, 5, 2), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 * label : 2 * label + 2] += 150
        return Split(images, labels)

    return Dataset("bright", split(23), split(10))


def trained(
    net: Net, data: Dataset, *, epochs: int = 3, seed: int = 5, **options: object
) -> tuple[Trainer, dict[str, bytes]]:
    """The trainer after its run, and the bytes of all weights."""
    with Model(net, 8, "cpu", seed=seed, learning_rate=0.05) as model:
        trainer = Trainer(model, data, epochs=epochs, seed=seed, **options)  # type: ignore[arg-type]
        trainer.run()
        return trainer, {name: values.tobytes() for name, values in model.parameters.items()}


# -- the trainer -----------------------------------------------------------------------------------


def test_a_run_is_the_plain_loop_over_its_batches(net: Net, data: Dataset) -> None:
    trainer, weights = trained(net, data, schedule="cosine")
    with Model(net, 8, "cpu", seed=5) as model:
        losses, hits, step = [], 0, 0
        for epoch in (1, 2, 3):
            for chosen in batches(23, 8, 5, epoch):
                model.learning_rate = 0.05 * (1 + math.cos(math.pi * step / 9)) / 2
                scores = model.forward(data.train.images[chosen])
                loss = model.step(data.train.images[chosen], data.train.labels[chosen])
                step += 1
                if epoch == 3:
                    losses.append(loss * len(chosen))
                    hits += int((scores.argmax(1) == data.train.labels[chosen]).sum())
        assert {name: values.tobytes() for name, values in model.parameters.items()} == weights
    last = trainer.rows[-1]
    assert step == 9 and trainer.steps_per_epoch == 3
    assert last.train_loss == pytest.approx(sum(losses) / 23, rel=1e-12)
    assert last.train_accuracy == hits / 23
    assert last.learning_rate == 0.05 * (1 + math.cos(math.pi * 8 / 9)) / 2


def test_the_test_is_over_all_its_images_and_changes_nothing(net: Net, data: Dataset) -> None:
    with Model(net, 4, "cpu", seed=1) as model:  # 10 images in batches of 4, 4 and 2
        before = dict(model.parameters)
        found = evaluate(model, data.test)
        scores = np.concatenate([model.forward(data.test.images[i : i + 4]) for i in (0, 4, 8)]).astype(np.float64)
        for name, values in model.parameters.items():
            np.testing.assert_array_equal(values, before[name])
    shifted = np.exp(scores - scores.max(1, keepdims=True))
    chances = shifted / shifted.sum(1, keepdims=True)
    assert found.images == 10
    assert found.loss == pytest.approx(-np.log(chances[np.arange(10), data.test.labels]).mean(), rel=1e-5)
    assert found.correct == (scores.argmax(1) == data.test.labels).sum() and found.accuracy == found.correct / 10


def test_a_run_learns_what_can_be_learnt(net: Net, data: Dataset) -> None:
    trainer, _ = trained(net, data, epochs=12)
    first, last = trainer.rows[0], trainer.rows[-1]
    assert last.train_loss < first.train_loss / 3
    assert last.test_accuracy >= 0.9


def test_the_same_seed_gives_the_same_bits_and_another_does_not(net: Net, data: Dataset) -> None:
    def measured(trainer: Trainer) -> list[EpochMetrics]:
        return [replace(row, images_per_second=0, seconds=0) for row in trainer.rows]

    first, weights = trained(net, data)
    again, same = trained(net, data)
    other, different = trained(net, data, seed=6)
    assert weights == same and measured(first) == measured(again)
    assert weights != different and measured(first) != measured(other)


def test_watchers_are_told_of_the_start_of_every_step_and_of_every_epoch(net: Net, data: Dataset) -> None:
    told: list[object] = []

    class Notes(Watcher):
        def started(self, trainer: Trainer) -> None:
            told.append("start")

        def stepped(self, progress: Progress) -> None:
            told.append((progress.epoch, progress.step, progress.steps, progress.so_far.images))

        def finished_epoch(self, trainer: Trainer, metrics: EpochMetrics) -> None:
            told.append(metrics)

    trainer, _ = trained(net, data, epochs=2, watchers=[Watcher(), Notes()])
    steps = [(1, 3, 8), (2, 3, 16), (3, 3, 23)]
    assert told == [
        "start",
        *[(1, *step) for step in steps],
        trainer.rows[0],
        *[(2, *step) for step in steps],
        trainer.rows[1],
    ]
    assert trainer.rows[1].images_per_second > 0 and trainer.rows[1].seconds > 0


def test_data_that_do_not_suit_the_net_are_refused_before_anything_runs(net: Net, data: Dataset) -> None:
    with Model(load("INPUT[5x6x2] -> FC-3"), 8, "cpu") as model, pytest.raises(DataError, match=r"6x5x2.*takes 5x6x2"):
        Trainer(model, data, epochs=1)
    with Model(load("INPUT[6x5x2] -> FC-2"), 8, "cpu") as model, pytest.raises(DataError, match="label 2 of image"):
        Trainer(model, data, epochs=1)


def test_a_loss_that_is_no_number_stops_the_run_and_says_where(
    net: Net, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, steps = Model.step, []

    def failing(self: Model, images: np.ndarray, labels: np.ndarray) -> float:
        steps.append(len(images))
        return math.inf if len(steps) == 5 else step(self, images, labels)

    monkeypatch.setattr(Model, "step", failing)
    with Model(net, 8, "cpu", learning_rate=0.05) as model:
        trainer = Trainer(model, data, epochs=9)
        with pytest.raises(Diverged, match=r"loss became inf in epoch 2, step 2 of 3; .*like 0.005 instead of 0.05"):
            trainer.run()
    assert len(steps) == 5 and [row.epoch for row in trainer.rows] == [1]


def test_weights_that_broke_in_the_last_step_of_an_epoch_are_not_kept(
    net: Net, data: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Model, "evaluate", lambda self, images, labels: (math.nan, 0))
    with Model(net, 8, "cpu") as model:
        trainer = Trainer(model, data, epochs=2, watchers=[RunFolder(tmp_path, "", "")])
        with pytest.raises(Diverged, match="nan in the test after epoch 1, step 3 of 3"):
            trainer.run()
    assert not (tmp_path / "weights.safetensors").exists() and not (tmp_path / "last.safetensors").exists()
    assert not (tmp_path / "metrics.csv").exists()


def test_a_run_without_an_output_shows_nothing_and_ends_well(
    net: Net, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with Screen() as screen:
        trainer, _ = trained(net, data, epochs=1, watchers=[screen])
    assert len(trainer.rows) == 1


# -- metrics -------------------------------------------------------------------------


def test_metrics_read_back_as_the_same_numbers(tmp_path: Path) -> None:
    rows = [
        EpochMetrics(1, 2 / 3, 0.1, math.pi, 1 / 7, 1234.56789, 1e-9, 0.123456),
        EpochMetrics(2, 1e300, 0.0, 5e-324, 1.0, 0.04, 0.1, 86400.0),
    ]
    (tmp_path / "metrics.csv").write_text(as_csv(rows))
    with (tmp_path / "metrics.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    for row, back in zip(rows, read, strict=True):
        for name in ("epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "learning_rate"):
            assert float(back[name]) == getattr(row, name)
    assert read[0]["images_per_second"] == "1234.6" and read[0]["seconds"] == "0.123"


# -- what a run leaves -----------------------------------------------------------------------------


def test_a_run_folder_holds_config_plan_metrics_and_the_weights_of_the_last_epoch(
    net: Net, data: Dataset, tmp_path: Path
) -> None:
    keep = RunFolder(tmp_path, 'title = "x"\n', "{}\n")
    trainer, weights = trained(net, data, watchers=[keep])
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    assert (tmp_path / "config.toml").read_text() == 'title = "x"\n'
    assert json.loads((tmp_path / "plan.json").read_text()) == {}
    assert (tmp_path / "metrics.csv").read_text() == as_csv(trainer.rows)
    stored = load_file(tmp_path / "weights.safetensors")
    assert {name: values.tobytes() for name, values in stored.items()} == weights
    with safe_open(tmp_path / "weights.safetensors", "np") as file:
        about = json.loads(file.metadata()["gpunet"])
    entered = about.pop("entered")
    assert about == {"net": net.name, "epoch": 3, "config": dump_net(net), "classes": [], "white": 255}
    assert entered == {"dtype": "uint8", "least": 0.0, "most": data.train.images.max() / 255}  # type: ignore[attr-defined]
    assert keep.saved_epoch == 3 and "weights after epoch 3" in keep.describe()


def test_every_epoch_is_on_disk_before_the_next_begins(net: Net, data: Dataset, tmp_path: Path) -> None:
    seen: list[int] = []

    class Look(Watcher):
        def stepped(self, progress: Progress) -> None:
            if progress.step == 1 and progress.epoch > 1:
                seen.append(len((tmp_path / "metrics.csv").read_text().splitlines()) - 1)
                assert (tmp_path / "weights.safetensors").exists()

    trained(net, data, watchers=[RunFolder(tmp_path, "", ""), Look()])
    assert seen == [1, 2]


def test_a_stopped_run_keeps_the_epochs_before(net: Net, data: Dataset, tmp_path: Path) -> None:
    class Stop(Watcher):
        def stepped(self, progress: Progress) -> None:
            if (progress.epoch, progress.step) == (3, 2):
                raise KeyboardInterrupt

    keep = RunFolder(tmp_path, "", "")
    with pytest.raises(KeyboardInterrupt):
        trained(net, data, watchers=[keep, Stop()])
    assert keep.describe() == f"{tmp_path / 'weights.safetensors'} holds the weights after epoch 2"
    _, weights = trained(net, data, epochs=2)
    stored = load_file(tmp_path / "weights.safetensors")
    assert {name: values.tobytes() for name, values in stored.items()} == weights


def test_new_runs_take_the_next_free_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "RUNS", tmp_path / "runs")
    found = [open_folder(None, "vgg").name, open_folder(None, "vgg").name, open_folder(None, "../x y").name]
    assert found == ["vgg-1", "vgg-2", ".._x_y-1"]
    assert (tmp_path / "runs" / ".._x_y-1").is_dir()


@pytest.mark.parametrize("name", ["metrics.csv", "weights.safetensors", "config.toml", "plan.json"])
def test_a_folder_with_a_run_is_refused_and_left_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(ConfigError, match=rf"already holds a run \({name}\); give another --out"):
        open_folder(tmp_path, "vgg")
    assert (tmp_path / name).read_text() == "precious"


def test_a_folder_without_a_run_is_used_and_one_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert open_folder(tmp_path, "vgg") == tmp_path
    assert open_folder(tmp_path / "a" / "b", "vgg").is_dir()
    with pytest.raises(DataError, match="a file is in its place"):
        open_folder(tmp_path / "notes.txt", "vgg")
    with pytest.raises(DataError, match=r"cannot make the folder .*Not a directory"):
        open_folder(tmp_path / "notes.txt" / "a", "vgg")


# -- weights ---------------------------------------------------------------------------------------


def test_weights_go_back_into_a_model_bit_for_bit(net: Net, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with Model(net, 2, "cpu", seed=1) as first, Model(net, 2, "cpu", seed=2) as second:
        save_weights(path, first.parameters, {"net": "x"})
        restore_weights(second, path)
        for name, values in first.parameters.items():
            assert second.parameters[name].tobytes() == values.tobytes()


def test_weights_of_another_net_are_refused_and_change_nothing(net: Net, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with Model(load("INPUT[6x5x2] -> CONV3-5 -> FC-3"), 2, "cpu") as other:
        save_weights(path, other.parameters, {})
    with Model(net, 2, "cpu") as model:
        before = {name: values.tobytes() for name, values in model.parameters.items()}
        with pytest.raises(DataError, match=r"another net.*conv1.w is \(5, 3, 3, 2\), not \(4, 3, 3, 2\)"):
            restore_weights(model, path)
        assert {name: values.tobytes() for name, values in model.parameters.items()} == before


def test_weights_that_are_missing_or_damaged_are_named(net: Net, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(DataError, match=r"there is no file .*w\.safetensors"):
        load_weights(path)
    with Model(net, 2, "cpu") as model:
        save_weights(path, model.parameters, {})
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"w\.safetensors is damaged"):
        load_weights(path)
