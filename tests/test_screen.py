"""What a run shows: a live view on a terminal, plain lines elsewhere."""

from io import StringIO
from itertools import count

import pytest
from rich.console import Console

from gpunet import Model
from gpunet.memory.size import format_bytes
from gpunet.train import screen as screens
from gpunet.train.screen import Screen
from gpunet.train.trainer import Progress, Trainer, Watcher
from tests.runs import EACH, NET, images, planned


class Frames(Watcher):
    """What the live view shows after every step."""

    def __init__(self, screen: Screen) -> None:
        self.screen, self.seen = screen, []

    def stepped(self, progress: Progress) -> None:
        shown = Console(file=StringIO(), width=120)
        assert self.screen._live is not None
        shown.print(self.screen._live.renderable)
        self.seen.append(shown.file.getvalue())  # type: ignore[attr-defined]


def shown_run(screen: Screen, *watchers: Watcher, resumed: bool = False) -> Trainer:
    with Model(NET, device="cpu", plan=planned()) as model, screen:
        trainer = Trainer(model, images(), epochs=2, watchers=[screen, *watchers])
        if resumed:
            trainer.epoch, trainer.step, model.steps = 2, 5, EACH + 5
        trainer.run()
    return trainer


def test_a_pipe_is_told_how_the_run_goes_at_least_every_half_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that goes on by 12 s whenever it is looked at, which is after every step and every batch of a test."""
    clock = count(0, 12)
    monkeypatch.setattr("gpunet.train.beat.monotonic", lambda: float(next(clock)))
    shown_run(Screen())
    lines = capsys.readouterr().out.splitlines()
    steps = [line for line in lines if line.startswith("epoch 1/2, step ")]
    assert steps and "images/s" in steps[0] and f" of {EACH}  loss " in steps[0]
    assert any(line == "epoch 1/2, testing" for line in lines)
    assert sum("test accuracy" in line for line in lines) == 2


def test_a_terminal_shows_the_run_as_it_goes() -> None:
    output = StringIO()
    screen = Screen(Console(file=output, force_terminal=True, width=120))
    frames = Frames(screen)
    trainer = shown_run(screen, frames)
    first, last = frames.seen[0], frames.seen[-1]
    assert "epoch 1/2" in first and f" 1/{2 * EACH} " in first and "left" in first
    assert "epoch 2/2" in last and f"{2 * EACH}/{2 * EACH}" in last
    row = trainer.rows[-1]
    assert f"loss {row.train_loss:.4f}  accuracy {row.train_accuracy:.1%}  learning rate 0.01  " in last
    assert f"images/s  arena {format_bytes(trainer.model.plan.arena_bytes)}" in last and "GPU" not in last
    assert max(map(len, last.splitlines())) <= 120
    assert output.getvalue().count("test accuracy") == 2


def test_a_run_that_goes_on_is_shown_from_where_it_was() -> None:
    screen = Screen(Console(file=StringIO(), force_terminal=True, width=120))
    frames = Frames(screen)
    shown_run(screen, frames, resumed=True)
    assert "epoch 2/2" in frames.seen[0] and f"{EACH + 6}/{2 * EACH}" in frames.seen[0]


def test_the_memory_of_a_gpu_is_shown_and_asked_for_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def used(number: int) -> tuple[int, int]:
        assert number == 1
        asked.append(1)
        return 3 * 2**30, 12 * 2**30

    monkeypatch.setattr(screens, "used_bytes", used)
    screen = Screen(Console(file=StringIO(), force_terminal=True, width=140))
    frames = Frames(screen)
    with Model(NET, device="cpu", plan=planned()) as model, screen:
        monkeypatch.setattr(model.device, "name", "cuda:1")
        Trainer(model, images(), epochs=1, watchers=[screen, frames]).run()
    assert "GPU 3 GiB of 12 GiB" in frames.seen[-1] and len(asked) < EACH


def test_a_pipe_gets_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    shown_run(Screen())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["epoch", "1/2"], ["epoch", "2/2"]]
    assert not any("\x1b" in line for line in lines)


def test_ranks_write_for_the_terminal_of_whoever_started_them(monkeypatch):
    monkeypatch.setenv("GPUNET_TERMINAL", "90")
    screen = Screen()
    assert screen._live is not None and screen._console is not None and screen._console.width == 90
