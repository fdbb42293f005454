"""Schedules and their warm-up, step by step against torch.optim.lr_scheduler, and what [train] may say of them."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

import pytest
import torch
from torch.optim import lr_scheduler as peer

from gpunet.errors import ConfigError
from gpunet.net.config import SHAPES, Config, TrainConfig, dump, load_config
from gpunet.optimize.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Exponential,
    Inverse,
    Plateau,
    Polynomial,
    Schedule,
    Step,
    schedule,
)
from gpunet.optimize.span import Span, parse_span
from gpunet.train.metrics import EpochMetrics
from gpunet.train.schedule import Rates

RATE, EPOCHS, EACH = 0.4, 12, 5
STEPS = EPOCHS * EACH


def rates(what: Schedule, warmup: int = 0) -> list[float]:
    found = Rates(what, RATE, epochs=EPOCHS, steps_per_epoch=EACH, warmup=warmup)
    return [found(step) for step in range(STEPS)]


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)


Make = Callable[[torch.optim.Optimizer], peer.LRScheduler]


def theirs(*makes: Make, per_epoch: bool) -> list[float]:
    """PyTorch's rates; the first scheduler steps every epoch or every step, others every step."""
    rule = optimizer()
    made = [make(rule) for make in makes]
    found = []
    for step in range(STEPS):
        found.append(rule.param_groups[0]["lr"])
        rule.step()
        for number, one in enumerate(made):
            if number or not per_epoch or step % EACH == EACH - 1:
                one.step()
    return found


def test_a_constant_schedule_never_changes() -> None:
    assert set(rates(Constant())) == {RATE}


@pytest.mark.parametrize(
    ("what", "make"),
    [
        (Step(every=3, gamma=0.5), lambda rule: peer.StepLR(rule, 3, 0.5)),
        (Step(every=1), lambda rule: peer.StepLR(rule, 1, 0.1)),
        (Step(milestones=(2, 7, 8), gamma=0.3), lambda rule: peer.MultiStepLR(rule, [2, 7, 8], 0.3)),
        (Exponential(0.8), lambda rule: peer.ExponentialLR(rule, 0.8)),
        (Exponential(1), lambda rule: peer.ExponentialLR(rule, 1.0)),
        (Step(every="2 epochs", gamma=0.5), lambda rule: peer.StepLR(rule, 2, 0.5)),
        (Step(milestones=("10 steps", "35 steps"), gamma=0.3), lambda rule: peer.MultiStepLR(rule, [2, 7], 0.3)),
    ],
    ids=lambda given: "" if isinstance(given, FunctionType) else str(given),
)
@pytest.mark.parametrize("warmup", [0, 1, 7, 20])
def test_schedules_by_epoch_are_pytorchs_also_under_a_warm_up(what: Schedule, make: Make, warmup: int) -> None:
    makes = [make]
    if warmup:
        makes.append(lambda rule: peer.LinearLR(rule, 1 / warmup, 1.0, max(warmup - 1, 0)))
    assert rates(what, warmup) == pytest.approx(theirs(*makes, per_epoch=True), rel=1e-12)


@pytest.mark.parametrize(
    ("what", "make"),
    [
        (Step(every="7 steps", gamma=0.5), lambda rule: peer.StepLR(rule, 7, 0.5)),
        (Step(every="1 steps", gamma=0.97), lambda rule: peer.ExponentialLR(rule, 0.97)),
        (Step(milestones=("3 steps", "31 steps")), lambda rule: peer.MultiStepLR(rule, [3, 31], 0.1)),
        (Polynomial(0.5), lambda rule: peer.PolynomialLR(rule, STEPS, 0.5)),
        (Polynomial(2), lambda rule: peer.PolynomialLR(rule, STEPS, 2.0)),
        (Inverse(0.01, 0.75), lambda rule: peer.LambdaLR(rule, lambda step: (1 + 0.01 * step) ** -0.75)),
    ],
    ids=lambda given: "" if isinstance(given, FunctionType) else str(given),
)
def test_schedules_by_step_are_pytorchs(what: Schedule, make: Make) -> None:
    assert rates(what) == pytest.approx(theirs(make, per_epoch=False), rel=1e-9)


def test_what_goes_down_to_the_end_begins_after_the_warm_up() -> None:
    found = rates(Polynomial(1.0), 10)
    assert found[9] == RATE and found[10:12] == pytest.approx([RATE, RATE * (1 - 1 / (STEPS - 10))])
    assert found[:9] == pytest.approx([RATE * (step + 1) / 10 for step in range(9)])


@pytest.mark.parametrize("least", [0.0, 0.03])
@pytest.mark.parametrize("warmup", [0, 1, 9])
def test_a_cosine_is_pytorchs_and_begins_after_the_warm_up(least: float, warmup: int) -> None:
    def make(rule: torch.optim.Optimizer) -> peer.LRScheduler:
        cosine = peer.CosineAnnealingLR(rule, STEPS - warmup, least)
        if not warmup:
            return cosine
        linear = peer.LinearLR(rule, 1 / warmup, 1.0, max(warmup - 1, 0))
        return peer.SequentialLR(rule, [linear, cosine], [warmup])

    assert rates(Cosine(least), warmup) == pytest.approx(theirs(make, per_epoch=False), rel=1e-9)


def test_a_cosine_starts_at_the_rate_is_half_of_it_half_way_and_ends_near_nothing() -> None:
    found = rates(Cosine())
    assert found[0] == RATE and found[STEPS // 2] == pytest.approx(RATE / 2) and 0 < found[-1] < RATE * 1e-3
    assert found == sorted(found, reverse=True)


def row(value: float) -> EpochMetrics:
    return EpochMetrics(1, value, value, value, value, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("metric", "mode"), [("test_loss", "min"), ("val_loss", "min"), ("train_loss", "min"), ("val_accuracy", "max")]
)
@pytest.mark.parametrize("wait", [0, 2])
def test_a_plateau_is_pytorchs(metric: str, mode: str, wait: int) -> None:
    values = [0.9, 0.8, 0.8, 0.79999, 0.81, 0.7, 0.7, 0.9, 0.7, 0.7, 0.7, 0.69, 0.69, 0.69, 0.69, 0.69, 0.69, 0.69]
    what = Plateau(metric, factor=0.5, wait=wait, least_rate=0.02)  # type: ignore[arg-type]
    ours = Rates(what, RATE, epochs=len(values), steps_per_epoch=EACH)
    rule = optimizer()
    other = peer.ReduceLROnPlateau(rule, mode, factor=0.5, patience=wait, min_lr=0.02)  # type: ignore[arg-type]
    seen = set()
    for epoch, value in enumerate(values):
        assert {ours(epoch * EACH + step) for step in range(EACH)} == {rule.param_groups[0]["lr"]}
        seen.add(ours(epoch * EACH))
        ours.observe(row(value))
        other.step(value)
        again = Rates(what, RATE, epochs=len(values), steps_per_epoch=EACH)
        again.restore(ours.state())
        ours = again  # as a run that was stopped after every epoch
    assert len(seen) >= 3


def test_a_warm_up_rises_in_a_line_from_the_first_step_on() -> None:
    found = rates(Constant(), 8)
    assert found[:9] == pytest.approx([RATE * (step + 1) / 8 for step in range(8)] + [RATE])
    with pytest.raises(ConfigError, match="a warm-up of 60 steps leaves none of 60"):
        rates(Constant(), STEPS)


# -- what may be said ------------------------------------------------------------------------------


def test_every_setting_of_a_schedule_can_stand_in_a_config() -> None:
    assert set(SHAPES) <= set(TrainConfig.__dataclass_fields__)
    assert set(SCHEDULES) == {"constant", "step", "exponential", "cosine", "polynomial", "inverse", "plateau"}


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ('schedule = "step"\nevery = 4', Step(every=4)),
        ('schedule = "step"\nmilestones = [30, 60]\ngamma = 0.2', Step(milestones=(30, 60), gamma=0.2)),
        ('schedule = "exponential"\ngamma = 1', Exponential(1.0)),
        ('schedule = "step"\nevery = "100000 steps"', Step(every="100000 steps")),
        ('schedule = "step"\nmilestones = ["30 steps", "60 steps"]', Step(milestones=("30 steps", "60 steps"))),
        ('schedule = "polynomial"\npower = 2', Polynomial(2.0)),
        ('schedule = "inverse"\ngamma = 1e-4\npower = 0.75', Inverse()),
        ('schedule = "cosine"\nleast_rate = 1e-4', Cosine(1e-4)),
        (
            'schedule = "plateau"\nmetric = "test_accuracy"\nfactor = 0.3\nwait = 4',
            Plateau("test_accuracy", 0.3, 4),
        ),
        ("", Constant()),
    ],
)
def test_a_config_says_a_schedule_and_keeps_it(tmp_path: Path, text: str, made: Schedule) -> None:
    path = tmp_path / "a.toml"
    path.write_text(f'net = "INPUT[8x8x1] -> FC-10"\n[train]\n{text}\nwarmup = "2 epochs"\n')
    config = load_config(path)
    assert config.train.shape == made
    assert config.train.warmup_steps(70) == 140
    path.write_text(dump(Config(config.net, config.train.settled())))
    assert load_config(path).train.shape == made and load_config(path).train.warmup == "2 epochs"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('schedule = "step"', "the schedule step needs every = 10 (epochs) or milestones = [30, 60], one of them"),
        ('schedule = "step"\nevery = 3\nmilestones = [4]', "one of them"),
        ('schedule = "step"\nmilestones = [4, 4]', "milestones must rise from 1 on; got [4, 4]"),
        ('schedule = "step"\nmilestones = [0]', "milestones must be a list, each of it an integer from 1"),
        ('schedule = "step"\nmilestones = 3', "milestones must be a list, each of it an integer from 1"),
        ('schedule = "step"\nmilestones = [true]', "milestones must be a list"),
        ('schedule = "step"\nmilestones = ["3 steps", 4]', "milestones must all be epochs or all be steps"),
        ('schedule = "step"\nevery = "0 steps"', "the schedule step: every is out of range"),
        ('schedule = "step"\nevery = "2 minutes"', "every must be an integer from 1"),
        ('schedule = "polynomial"\npower = 0', "power must be a number above 0"),
        ('schedule = "step"\nevery = 0', "every must be an integer from 1"),
        ('schedule = "cosine"\ngamma = 0.5', "line 4: the schedule cosine has no gamma; it has least_rate"),
        ("gamma = 0.5", "line 3: the schedule constant has no gamma; it has no settings"),
        ('schedule = "exponential"\ngamma = 0', "gamma must be a number above 0, at most 1; got 0"),
        ('schedule = "plateau"\nmetric = "loss"', "metric must be one of val_loss, val_accuracy, train_loss"),
        ('schedule = "plateau"\nwait = -1', "wait must be"),
        ('warmup = "2 days"', 'warmup must be a length like "500 steps" or "2 epochs"; got \'2 days\''),
        ("warmup = -1", "warmup must be a length"),
        ("warmup = true", "warmup must be a length"),
        ('checkpoint_every = "2 epochs"', 'checkpoint_every must be a length like "500 steps" or "30 minutes"'),
        ('without = "all"', "without must be a list"),
        ("max_cost = 11", "max_cost must be a number from 0 to 10"),
        ("micro_batches = 1", "micro_batches must be"),
    ],
)
def test_a_mistake_in_a_schedule_is_told_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(f'net = "INPUT[8x8x1] -> FC-10"\n[train]\n{text}\n')
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        load_config(path)
    assert "line " in str(caught.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Exponential(math.nan), "gamma is out of range"),
        (lambda: Step(every=-1), "every is out of range"),
        (lambda: Plateau(factor=0.0), "factor is out of range"),
        (lambda: Cosine(-1.0), "least_rate is out of range"),
        (lambda: schedule("cosin"), "there is no schedule 'cosin'"),
        (lambda: schedule("cosine", gamma=1), "has no gamma"),
        (lambda: Rates(Cosine(0.5), 0.4, epochs=1, steps_per_epoch=9), "0.5, must not be above the learning rate, 0.4"),
    ],
)
def test_a_schedule_made_by_hand_is_checked_too(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        make()


def test_another_schedule_leaves_the_settings_behind_that_it_does_not_have() -> None:
    told = TrainConfig(schedule="step", milestones=(3,), gamma=0.5)
    assert told.changed(schedule="exponential").shape == Exponential(0.5)
    assert told.changed(schedule="cosine").shape == Cosine()


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("7", Span(7, "steps")),
        (7, Span(7, "steps")),
        ("7 steps", Span(7, "steps")),
        ("1 epoch", Span(1, "epochs")),
        ("30min", Span(30, "minutes")),
        (" 2  epochs ", Span(2, "epochs")),
    ],
)
def test_a_length_is_a_number_and_a_unit(text: str | int, span: Span) -> None:
    assert parse_span(text) == span


@pytest.mark.parametrize(
    "text", ["", "x", "1.5 epochs", "2 hours", "-1", "1e3", "9" * 20, "3 epochss", True, None, 2.0]
)
def test_another_length_is_refused(text: object) -> None:
    with pytest.raises(ConfigError, match='write it like "500 steps" or "2 epochs" or "30 minutes"'):
        parse_span(text)
