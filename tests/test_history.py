"""What a run measured, read back: equal to what was written, and clear where it cannot be read."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from gpunet import DataError
from gpunet.train.history import read_history, read_rows
from gpunet.train.metrics import EpochMetrics, StepMetrics, as_csv, as_line, best, header
from tests.runs import EACH, EPOCHS, planned, train

EPOCH = EpochMetrics(1, 0.1 + 0.2, 0.5, 1e-300, 1.0, 1234.5, 0.01, 2.5)
STEP = StepMetrics(7, 1, 0.25, 1 / 3, 1e-5, 99.5)


def steps_csv(*rows: StepMetrics) -> str:
    return "".join(f"{line}\n" for line in [header(StepMetrics), *map(as_line, rows)])


def test_a_run_is_read_as_it_was_measured(tmp_path: Path) -> None:
    train(tmp_path / "run", planned())
    history = read_history(tmp_path / "run")
    assert history.name == "run" and history.steps_per_epoch == EACH
    assert read_history(str(tmp_path / "run")) == history
    assert "per second" in str(history.table())
    assert [row.epoch for row in history.epochs] == list(range(1, EPOCHS + 1))
    assert [row.step for row in history.steps] == list(range(1, EPOCHS * EACH + 1))
    assert as_csv(history.epochs) == (tmp_path / "run/metrics.csv").read_text()
    assert steps_csv(*history.steps) == (tmp_path / "run/steps.csv").read_text()


def test_half_a_row_at_the_end_and_columns_of_later_versions_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    path.write_text(steps_csv(STEP) + as_line(replace(STEP, step=8))[:9])
    assert read_rows(path, StepMetrics) == (STEP,)
    path.write_text(f"new,{header(StepMetrics)}\nx,{as_line(STEP)}\n")
    assert read_rows(path, StepMetrics) == (STEP,)


def test_a_run_may_lack_its_steps_or_its_epochs(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(as_csv([EPOCH]))
    assert read_history(tmp_path).epochs == (EPOCH,) and read_history(tmp_path).steps_per_epoch is None
    (tmp_path / "metrics.csv").unlink()
    (tmp_path / "steps.csv").write_text(steps_csv(STEP))
    assert read_history(tmp_path).steps == (STEP,) and read_history(tmp_path).steps_per_epoch is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no measurements yet"),
        (as_csv([]), "holds no measurements yet"),
        ("epoch,loss\n1,2\n", "has no column train_loss"),
        (as_csv([EPOCH]) + "2,x,0,0,0,0,0,0\n", "metrics.csv, line 3: not a row of numbers"),
        (as_csv([EPOCH]) + "2,1\n", "metrics.csv, line 3: not a row of numbers"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        read_history(tmp_path)


def test_a_folder_that_is_no_runs_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*none"):
        read_history(tmp_path / "none")
    with pytest.raises(DataError, match=r"is no folder of a run: it holds no metrics\.csv"):
        read_history(tmp_path)
    (tmp_path / "metrics.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"metrics\.csv is no text"):
        read_history(tmp_path)


def judged(epoch: int, accuracy: float, loss: float) -> EpochMetrics:
    """An epoch that was so good, whichever images it is judged by."""
    names = [field.name for field in fields(EpochMetrics)]
    values = {name: accuracy if name.endswith("accuracy") else loss if name.endswith("loss") else 0 for name in names}
    return EpochMetrics(**(values | {"epoch": epoch}))


def test_the_best_epoch_is_the_most_accurate_then_that_of_the_lowest_loss_then_the_first() -> None:
    rows = [judged(1, 0.5, 0.1), judged(2, 0.9, 0.4), judged(3, 0.9, 0.3), judged(4, 0.9, 0.3), judged(5, 0.8, 0.01)]
    assert best(rows).epoch == 3
    assert best(rows[:2]).epoch == 2 and best(rows[::-1]).epoch == 4
