"""Choosing by a validation part: what goes by it, when a run ends early, and the one look at the test images."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from gpunet import ConfigError, DataError, Model, load
from gpunet.data import Dataset, Split, digits
from gpunet.data.draw import with_validation
from gpunet.net.config import load_config
from gpunet.optimize.patience import Patience
from gpunet.optimize.schedules import Plateau
from gpunet.optimize.span import Span
from gpunet.train.folder import RunFolder
from gpunet.train.history import read_history
from gpunet.train.last_look import has_looked, look_at_test
from gpunet.train.metrics import EpochMetrics, best
from gpunet.train.trainer import Trainer, Watcher, evaluate
from tests.conftest import Run
from tests.runs import BATCH, EACH, images, measured, planned, train

TINY = "INPUT[8x8x1] -> FC-16 -> RELU -> FC-10"


def some_digits(n: int = 300, wrong: float = 0.0, seed: int = 0) -> Dataset:
    """A few digits, a part of them to validate with; of those to learn from and to validate with some labels wrong."""
    whole, rng = digits(), np.random.default_rng(seed)
    pixels, labels = whole.train.take(rng.permutation(len(whole.train))[:n])
    at = rng.permutation(n)[: round(wrong * n)]
    labels[at] = (labels[at] + rng.integers(1, 10, len(at))) % 10
    return with_validation(replace(whole, train=Split(pixels, labels)), "30%", seed)


def trained(data: Dataset, folder: Path, *, epochs: int = 4, seed: int = 1, **options: Any) -> tuple[Trainer, Model]:
    net = load(TINY).entered(scale=1 / 16)
    model = Model(net, 20, "cpu", seed=seed, learning_rate=0.1)
    trainer = Trainer(model, data, epochs=epochs, seed=seed, watchers=[RunFolder(folder, "", "{}")], **options)
    trainer.run()
    return trainer, model


def row(epoch: int, loss: float, accuracy: float, by: str = "val") -> EpochMetrics:
    judged = {f"{by}_loss": loss, f"{by}_accuracy": accuracy}
    return EpochMetrics(epoch, 1.0, 0.5, **({"test_loss": None, "test_accuracy": None} | judged), **SPEED)  # type: ignore[arg-type]


SPEED = {"images_per_second": 1.0, "learning_rate": 0.1, "seconds": 1.0}

# -- what goes by it -----------------------------------------------------------------------------------------------


def test_the_labels_of_the_test_images_change_no_bit_of_weights_or_choice(tmp_path: Path) -> None:
    data = some_digits()
    shuffled = Split(data.test.images, np.random.default_rng(0).permutation(data.test.labels))  # type: ignore[attr-defined]
    found = []
    for name, one in (("true", data), ("shuffled", replace(data, test=shuffled))):
        (tmp_path / name).mkdir()
        trainer, model = trained(one, tmp_path / name, schedule=Plateau(wait=0, factor=0.5))
        rows = [replace(entry, images_per_second=0, seconds=0) for entry in trainer.rows]
        kept = {file: load_file(tmp_path / name / file) for file in ("weights.safetensors", "best.safetensors")}
        values = [array.tobytes() for file in kept.values() for key, array in file.items() if key != "sha256"]
        found.append((rows, values, [model.parameters[key].tobytes() for key in model.parameters]))
        model.close()
    assert found[0] == found[1]


def test_the_test_images_are_looked_at_once_at_the_end_with_the_best_weights(tmp_path: Path) -> None:
    data, seen = some_digits(200, wrong=0.3), []

    class Watched(Split):
        def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            seen.extend(indices.tolist())
            return super().take(indices)

    watched = Watched(data.test.images, data.test.labels)  # type: ignore[attr-defined]
    trainer, model = trained(replace(data, test=watched), tmp_path, epochs=24)
    with model:
        assert sorted(seen) == list(range(360))  # the fingerprint of the data, taken before the run
        seen.clear()
        top = best(trainer.rows)
        assert not has_looked(trainer, tmp_path) and top.epoch < 24
        found = look_at_test(trainer, tmp_path)
        assert sorted(seen) == list(range(360)) and has_looked(trainer, tmp_path)
        judged = evaluate(model, data.validation or data.test)
        assert (judged.loss, judged.accuracy) == (top.val_loss, top.val_accuracy)
    told = json.loads((tmp_path / "test.json").read_text())
    trainer.rows.append(row(25, 9.0, 0.0))
    assert not has_looked(trainer, tmp_path)  # of so many epochs nothing was tested yet
    measured_once = {"test_images": 360, "test_loss": found.loss, "test_accuracy": found.accuracy}
    assert told == {"epoch": top.epoch, "of_epochs": 24, **measured_once}


def test_epochs_are_measured_on_the_part_and_the_columns_say_so(tmp_path: Path) -> None:
    data = some_digits()
    trainer, model = trained(data, tmp_path)
    with model:
        judged = evaluate(model, data.validation or data.test)
    last = trainer.rows[-1]
    assert (last.val_loss, last.val_accuracy) == (judged.loss, judged.accuracy) and last.test_loss is None
    assert read_history(tmp_path).epochs[-1].val_loss == last.val_loss
    header, *lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert header.endswith(",val_loss,val_accuracy") and all(line.split(",")[3:5] == ["", ""] for line in lines)
    old = "\n".join(line.rpartition(",")[0].rpartition(",")[0] for line in [header, *lines]) + "\n"
    (tmp_path / "metrics.csv").write_text(old)  # as before there were such columns
    assert read_history(tmp_path).epochs[-1].val_loss is None


def test_the_best_epoch_has_the_highest_accuracy_then_the_lowest_loss_then_comes_first() -> None:
    rows = [row(1, 0.5, 0.8), row(2, 0.9, 0.9), row(3, 0.7, 0.9), row(4, 0.7, 0.9), row(5, 0.1, 0.85)]
    assert best(rows).epoch == 3
    assert best([row(1, 0.5, 0.8, "test"), row(2, 0.4, 0.8, "test")]).epoch == 2


def test_a_plateau_by_the_test_images_is_refused_where_there_are_others() -> None:
    with Model(load(TINY), 20, "cpu") as model:
        with pytest.raises(ConfigError, match='not looked at before the end: metric = "val_accuracy" goes by'):
            Trainer(model, some_digits(), epochs=1, schedule=Plateau("test_accuracy"))
        Trainer(model, digits(), epochs=1, schedule=Plateau("test_accuracy"))


def test_a_class_that_was_never_learnt_is_refused() -> None:
    data = digits()
    few = Split(*(part[data.train.labels < 9] for part in (data.train.images, data.train.labels)))  # type: ignore[attr-defined]
    with (
        Model(load(TINY), 20, "cpu") as model,
        pytest.raises(Exception, match=r"image \d+ to test on has label 9, of which there is no image to learn from"),
    ):
        Trainer(model, replace(data, train=few), epochs=1)


# -- early stopping ------------------------------------------------------------------------------------------------


def test_a_run_ends_early_and_goes_on_where_there_is_more_patience(tmp_path: Path) -> None:
    trainer, model = trained(some_digits(), tmp_path, epochs=60, patience=Patience(Span(2, "epochs")))
    model.close()
    assert trainer.lost_patience and trainer.finished and len(trainer.rows) < 60
    assert best(trainer.rows).epoch == len(trainer.rows) - 2
    assert not Trainer(model, some_digits(), epochs=60).lost_patience


def test_early_stopping_goes_on_bit_for_bit_after_any_step(tmp_path: Path) -> None:
    data = with_validation(images(60), "25%", 0)
    options: dict[str, Any] = {"data": data, "patience": Patience(Span(2, "epochs")), "epochs": 12}
    whole = train(tmp_path / "whole", planned(), copies=True, **options)
    steps = len([entry for entry in measured(tmp_path / "whole") if "step" in entry])
    assert steps % EACH == 0 and steps < 12 * EACH and len(data.train) == EACH * BATCH
    weights = (tmp_path / "whole" / "weights.safetensors").read_bytes()
    for step in (1, EACH, 2 * EACH + 7, steps):
        folder = tmp_path / f"after-{step}"
        assert train(folder, planned(), go_on=True, **options) == whole
        assert measured(folder) == measured(tmp_path / "whole")
        assert (folder / "weights.safetensors").read_bytes() == weights


class Keep(Watcher):
    """Keeps the weights of the best epoch in memory."""

    def finished_epoch(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        if best(trainer.rows) is metrics:
            self.weights = {name: trainer.model.parameters[name].copy() for name in trainer.model.parameters}


def test_early_stopping_withstands_wrong_labels() -> None:
    """A fifth of the labels wrong: the net learns them by heart, which the validation part shows."""
    net, wins = load("INPUT[8x8x1] -> FC-64 -> RELU -> FC-10").entered(scale=1 / 16), 0
    for seed in range(10):
        data, keep = some_digits(600, wrong=0.2, seed=seed), Keep()
        with Model(net, 20, "cpu", seed=seed, learning_rate=0.2) as model:
            Trainer(model, data, epochs=20, seed=seed, watchers=[keep]).run()
            last = evaluate(model, data.test).accuracy
            for name, values in keep.weights.items():
                model.parameters[name] = values
            wins += evaluate(model, data.test).accuracy >= last
    assert wins >= 9


# -- the command ---------------------------------------------------------------------------------------------------


def test_train_chooses_by_a_tenth_unless_told_otherwise(run: Run, tmp_path: Path) -> None:
    done = run("train", TINY, "--epochs", 3, "--device", "cpu", "--out", "a")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert "digits: 1,293 images to learn from, 144 to validate with, 360 to test on" in lines
    rows = read_history(tmp_path / "a").epochs
    top = best(list(rows))
    assert (
        lines[-2] == f"best of 3 epochs, by the 144 images to validate with: epoch {top.epoch}, {top.val_accuracy:.2%}"
    )
    told = json.loads((tmp_path / "a/test.json").read_text())
    weights = Path("a/weights.safetensors")
    assert lines[-1] == (
        f"test accuracy {told['test_accuracy']:.2%} after epoch {top.epoch}; {weights} holds the weights after epoch "
        f"{top.epoch}"
    )
    assert load_config(tmp_path / "a/config.toml").train.validation == "10%"
    on = {split: json.loads(run("eval", "a", "--split", split, "--device", "cpu", "--json").stdout)
          for split in ("test", "validation", "train")}  # fmt: skip
    assert on["test"]["accuracy"] == told["test_accuracy"] and on["validation"]["accuracy"] == top.val_accuracy
    assert [on[split]["images"] for split in on] == [360, 144, 1293]


def test_a_finished_run_is_tested_where_it_was_stopped_before_that(run: Run, tmp_path: Path) -> None:
    assert run("train", TINY, "--epochs", 2, "--device", "cpu", "--out", "a").exit_code == 0
    told = (tmp_path / "a/test.json").read_text()
    assert "test accuracy" not in run("train", "--resume", "a").stdout
    (tmp_path / "a/test.json").unlink()
    again = run("train", "--resume", "a")
    assert "has finished its 2 epochs: nothing is left to do" in again.stdout and "test accuracy" in again.stdout
    assert (tmp_path / "a/test.json").read_text() == told


def test_without_a_part_it_is_said_what_the_best_epoch_was_picked_by(run: Run, tmp_path: Path) -> None:
    done = run("train", TINY, "--epochs", 2, "--device", "cpu", "--out", "a", "--validation", 0)
    assert done.exit_code == 0, done.output
    assert "1,437 images to learn from, 360 to test on" in done.stdout and not (tmp_path / "a/test.json").exists()
    assert "was picked on the test images: best.safetensors has it" in done.stdout
    last = read_history(tmp_path / "a").epochs[-1]
    assert done.stdout.splitlines()[-1].startswith(f"test accuracy {last.test_accuracy:.2%} after epoch 2; ")
    assert "the test images decided" not in done.stdout
    options = ("--epochs", 9, "--device", "cpu", "--validation", 0, "--patience", 1, "--min-delta", 0.9, "--out", "p")
    assert "the test images decided when the run ended, too" in run("train", TINY, *options).stdout
    (tmp_path / "p.toml").write_text(f'net = "{TINY}"\n[train]\nepochs = 1\nvalidation = 0\nschedule = "plateau"\n')
    assert "decided when the rate fell, too" in run("train", "p.toml", "--device", "cpu", "--out", "q").stdout
    fold = run("train", "--weights", "a", "--validation", "none", "--epochs", 1, "--device", "cpu", "--out", "b")
    assert fold.exit_code == 0 and "1,437 images to learn from" in fold.stdout
    assert "the seed" not in fold.stderr
    other = run("train", "--weights", "a", "--seed", 7, "--epochs", 1, "--device", "cpu", "--out", "c")
    assert "learnt from the same data with the seed 0: the seed 7 draws other images to validate with" in other.stderr
    none = run("eval", "a", "--split", "validation", "--device", "cpu")
    assert none.exit_code == 2 and "digits has no images to validate with" in none.stderr


def test_how_many_were_set_aside_is_of_no_account_to_other_data(run: Run, tmp_path: Path) -> None:
    assert run("train", TINY, "--epochs", 1, "--device", "cpu", "--validation", 200, "--out", "a").exit_code == 0
    pixels, labels = digits().train.take(np.arange(100))
    np.savez(tmp_path / "few.npz", images=pixels, labels=labels, white=16)
    other = run("eval", "a", "--data", "few.npz", "--device", "cpu")
    assert other.exit_code == 0 and "few.npz: 20 images to test on" in other.stdout, other.output


def test_the_command_ends_early_and_says_so(run: Run, tmp_path: Path) -> None:
    options = ("--epochs", 200, "--device", "cpu", "--learning-rate", "0.1", "--validation", 100, "--patience", 2)
    done = run("train", TINY, *options, "--min-delta", 0.02, "--out", "a")
    assert done.exit_code == 0, done.output
    rows = read_history(tmp_path / "a").epochs
    assert len(rows) < 200 and f"ended early, after epoch {len(rows)}: " in done.stdout
    assert "has ended early, after epoch" in run("train", "--resume", "a").stdout
    more = run("train", "--resume", "a", "--epochs", len(rows) + 1, "--patience", 50)
    assert more.exit_code == 0, more.output
    assert f"epoch {len(rows) + 1}/{len(rows) + 1}" in more.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--validation", "100%"), "validation must be a part of the images like"),
        (("--validation", "1430"), "1,430 images cannot be set aside to validate with; there are 1,437"),
        (("--patience", "never"), "patience must be"),
        (("--min-delta", "0.1"), "say that, too, like patience = 10"),
    ],
)
def test_mistakes_are_told_in_a_sentence(run: Run, options: tuple[str, ...], words: str) -> None:
    refused = run("train", TINY, "--device", "cpu", "--epochs", 1, *options)
    assert refused.exit_code == 2 and words in refused.stderr and "Traceback" not in refused.output


# -- few images, and none to test on -------------------------------------------------------------------------------


def of_labels(*labels: int) -> Dataset:
    pixels = np.zeros((len(labels), 2, 2, 1), np.uint8)
    return Dataset("few", Split(pixels, np.array(labels)), Split(pixels, np.array(labels)))


def test_so_few_images_to_validate_with_that_classes_have_none_are_told() -> None:
    few = with_validation(of_labels(*[0, 1] * 5), "10%", 0)
    assert few.note == (
        "only 1 image is set aside to validate with, and 1 of the 2 classes has none among them: "
        "which epoch is best is little more than chance; set aside more, or 0"
    )
    more = with_validation(of_labels(*range(10), *range(10)), "10%", 0)
    assert more.note.startswith("only 2 images are set aside to validate with, and 8 of the 10 classes have none among")
    assert with_validation(of_labels(*[0, 1] * 10), "10%", 0).note == ""
    with pytest.raises(DataError, match="no epoch can be chosen by a single image: set more aside"):
        with_validation(of_labels(*[0, 1] * 10), 1, 0)
    with pytest.raises(DataError, match="30 images cannot be set aside to validate with; there are 20"):
        with_validation(of_labels(*[0, 1] * 10), 30, 0)


def test_a_run_without_images_to_test_on_says_what_its_number_is(tmp_path: Path, run: Run) -> None:
    data = some_digits(200)
    split = {"images": data.train.take(np.arange(40))[0], "labels": data.train.labels[:40]}
    val = {"val_images": data.test.take(np.arange(20))[0], "val_labels": data.test.labels[:20]}
    np.savez(tmp_path / "data.npz", **split, **val, white=16)
    out = str(tmp_path / "run")
    said = run("train", TINY, "--data", str(tmp_path / "data.npz"), "--epochs", "2", "--out", out, "--device", "cpu")
    assert "no part to test on: the best epoch is chosen by val_images, and no other images measure it" in said.stdout
    assert "the best of 2, which was chosen by it: there are no images to test on that would measure it" in said.stdout
    assert "test accuracy" not in said.stdout and not (tmp_path / "run/test.json").exists()
    again = run("train", "--resume", out)
    assert "nothing is left to do" in again.stdout and "which was chosen by it" in again.stdout
    judged = run("eval", out, "--device", "cpu")
    assert "20 images to validate with" in judged.stdout
    shown = run("show", "mistakes", out, "--out", tmp_path / "it.png", "--device", "cpu")
    assert "of 20 images to validate with right" in shown.stdout
