"""What people hand over to the Python API and type: numbers are numbers, in the digits 0 to 9, and mistakes are told in
one sentence with little of the value.
"""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import gpunet
from gpunet import FC, BatchNorm, ConfigError, Conv, Dropout, GpunetError, Learning, Model, Net, PlanError, ReLU, Volume
from gpunet.cli.app import app
from gpunet.data.picture import parse_size
from gpunet.memory.arena import Buffer, place
from gpunet.memory.size import parse_bytes
from gpunet.optimize.optimizers import Momentum
from gpunet.optimize.schedules import Cosine, Plateau, Step
from gpunet.optimize.span import parse_span
from gpunet.train.trainer import Trainer
from gpunet.values.given import as_float, integer, names, number, told
from tests.runs import NET, images, planned

LAYERS = (Conv(4), ReLU(), FC(10))
SMALL = Net("8x8x1", LAYERS)
HUGE = 10**400

NO_NUMBERS: tuple[Any, ...] = (
    float("nan"), float("inf"), True, "0.5", None, HUGE, -HUGE, Decimal("0.5"), 1j, [1], {}, b"1", object(), "x" * 900,
    np.array([1.0]), "\N{FULLWIDTH DIGIT FIVE}",
)  # fmt: skip


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: type(value).__name__)
def test_what_is_no_finite_number_is_none(value: Any) -> None:
    assert as_float(value) is None
    for refuse in (number, integer):
        if not (refuse is integer and value is HUGE):
            with pytest.raises(ConfigError, match=r"it must be an? ") as error:
                refuse("it", value)
            assert len(str(error.value)) < 120 and "\n" not in str(error.value)


@pytest.mark.parametrize("value", [0.5, 2, Fraction(1, 2), np.float32(0.5), np.int64(2), np.float64(0.25)])
def test_numbers_of_every_kind_are_floats(value: Any) -> None:
    assert as_float(value) == value and type(number("it", value, least=0)) is float


def test_numbers_lie_within_what_is_said() -> None:
    assert number("it", 1, least=1, most=1) == 1
    for value in (0, 1):
        with pytest.raises(ConfigError, match="it must be a number above 0 and below 1; got "):
            number("it", value, above=0, below=1)
    assert integer("it", np.int32(3), least=3, most=3) == 3
    for wrong in (2, 4, 3.0, np.float64(3)):
        with pytest.raises(ConfigError, match="it must be an integer from 3 to 3; got "):
            integer("it", wrong, least=3, most=3)
    assert names("it", "a") == ("a",) and names("it", ["a", "b"]) == ("a", "b") and names("it", ()) == ()
    for other in (None, 3, [1], b"ab", np.array(0.1)):
        with pytest.raises(ConfigError, match="it must be names, like"):
            names("it", other)


class Unprintable:
    def __repr__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "value", [*NO_NUMBERS, np.zeros((99, 99)), "a\nb" * 99, [HUGE], {"a": "b" * 99}, Unprintable()]
)
def test_a_message_shows_one_line_of_at_most_60_characters(value: Any) -> None:
    assert len(told(value)) <= 60 and "\n" not in told(value) and told(value)


USES: dict[str, Callable[[Any], Any]] = {
    "scale": lambda value: Net("8x8x1", LAYERS, scale=value),
    "shift": lambda value: Net("8x8x1", LAYERS, shift=value),
    "width": lambda value: SMALL.scaled(value),
    "K": Conv,
    "FC": FC,
    "eps": lambda value: BatchNorm(eps=value),
    "dropout": Dropout,
    "max_cost": lambda value: gpunet.plan(SMALL, 2, max_cost="none" if value is None else value),
    "max_cost_flops": lambda value: gpunet.plan(SMALL, 2, max_cost_flops="none" if value is None else value),
    "fit's max_cost": lambda value: gpunet.fit(SMALL, "2GiB", max_cost="none" if value is None else value),
    "ways": lambda value: gpunet.plan(SMALL, 2, ways=[value]),
    "without": lambda value: gpunet.plan(SMALL, 2, without=[value]),
    "batch": lambda value: gpunet.plan(SMALL, value),
    "optimizer": lambda value: gpunet.plan(SMALL, 2, optimizer={"it": value}),  # type: ignore[arg-type]
    "weight_decay": lambda value: Momentum(weight_decay=value),
    "clip_norm": lambda value: Learning(clip_norm=value if value is not None else 0),
    "a factor": lambda value: Learning(rate_factors={"conv*": value}),
    "freeze": lambda value: Learning(
        freeze=[value] if isinstance(value, str) and len(value) < 0 else value and [value]
    ),
    "factors": lambda value: Learning(rate_factors=[value]),
    "learning_rate": lambda value: Model(SMALL, 2, "cpu", learning_rate=value),
    "seed": lambda value: Model(SMALL, 2, "cpu", seed=value),
    "plan": lambda value: Model(SMALL, 2, "cpu", plan=value if value is not None else 0),
    "layers": lambda value: Net("8x8x1", value),
    "a layer": lambda value: Net("8x8x1", [value]),
    "every": lambda value: Step(every=value),
    "a milestone": lambda value: Step(milestones=(value,)),
    "gamma": lambda value: Step(every=2, gamma=value),
    "least_rate": lambda value: Cosine(least_rate=value),
    "wait": lambda value: Plateau(wait=value),
    "metric": lambda value: Plateau(metric=value),
}
TEXTS = ("freeze",)
"""Where a text may be meant."""

VAST_SEEDS = ("seed", "wait", "a milestone")
"""Integers of any size are these."""


@pytest.mark.parametrize("use", USES)
def test_the_api_refuses_in_one_sentence_what_makes_no_sense(use: str) -> None:
    for value in NO_NUMBERS:
        if (use in TEXTS and isinstance(value, str | list | dict)) or (use in VAST_SEEDS and value is HUGE):
            continue
        with pytest.raises(GpunetError) as error:
            USES[use](value)
        assert len(str(error.value)) < 360, (use, value)


def test_what_is_missing_or_none_is_refused_too() -> None:
    for use in (
        lambda: gpunet.plan(SMALL, 2, ways=None),  # type: ignore[arg-type]
        lambda: gpunet.fit(SMALL, "2GiB", ways=None),
        lambda: gpunet.plan(SMALL, 2, without=None),  # type: ignore[arg-type]
        lambda: Learning(freeze=None),  # type: ignore[arg-type]
        lambda: Learning(rate_factors=None),  # type: ignore[arg-type]
        lambda: Net("8x8x1", LAYERS, name=3),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigError):
            use()


def test_a_model_counts_in_integers_from_0() -> None:
    with Model(SMALL, 2, "cpu") as model:
        for name in ("steps", "seen"):
            for value in (-5, 1.5, True, "3", None, float("nan")):
                with pytest.raises(ConfigError, match=f"{name} must be an integer from 0 to 4,611,.* got"):
                    setattr(model, name, value)
            assert getattr(model, name) == 0
        model.steps = model.seen = np.int64(4)
        assert (model.steps, model.seen) == (4, 4)
        for name in (3, [1], None):
            with pytest.raises(ConfigError, match="has no parameter"):
                model.parameters[name]  # type: ignore[index]


def test_a_trainer_counts_in_integers_from_0() -> None:
    with Model(NET, device="cpu", plan=planned()) as model:
        for name in ("epochs", "seed", "warmup"):
            for value in (-5, 1.5, True, "3"):
                with pytest.raises(ConfigError, match=f"{name} must be an integer of at least 0; got"):
                    Trainer(model, images(), **({"epochs": 1} | {name: value}))


def test_seeds_of_more_than_31_bits_are_seeds_of_their_own() -> None:
    found, drawn = [], []
    batch = images().train.take(np.arange(3))
    for seed in (1, 2**31, 2**31 + 1, 2**32 + 1, 2**63 - 1):
        with (
            Model(NET, device="cpu", plan=planned(), seed=seed, learning_rate=0.1) as model,
            model_of_same(seed) as again,
        ):
            drawn.append(b"".join(values.tobytes() for values in model.parameters.values()))
            losses = [model.step(*batch) for _ in range(3)]
            assert losses == [again.step(*batch) for _ in range(3)]
            found.append(tuple(losses))
    assert len(set(found)) == len(set(drawn)) == len(found)
    for large in (2**31, 2**32, 2**62):  # what dropout drops and how images are augmented depend on the upper bits, too
        with (
            Model(NET, device="cpu", plan=planned()) as model,
            Model(NET, device="cpu", plan=planned(), seed=large) as other,
        ):
            for name, values in model.state.items():
                other.state[name] = values
            assert model.loss(*batch) != other.loss(*batch)


def model_of_same(seed: int) -> Model:
    return Model(NET, device="cpu", plan=planned(), seed=seed, learning_rate=0.1)


# -- beyond all bounds -----------------------------------------------------------------------------


def test_what_no_machine_can_hold_is_said_and_no_assertion() -> None:
    with pytest.raises(ConfigError, match="K must be an integer of at most 999,999,999; got an integer of 1329 bits"):
        FC(HUGE)
    vast = Net(Volume(10**8, 10**8, 999), [Conv(999_999_999, F=1), ReLU(), FC(10)])
    for use in (
        lambda: gpunet.plan(vast, 64),
        lambda: gpunet.plan(vast, 64, budget="4GiB"),
        lambda: gpunet.fit(vast, 10**9),
    ):
        with pytest.raises(PlanError, match=r"take more than 4,611,686,018,427,387,904 bytes, which no machine has"):
            use()
    with pytest.raises(PlanError, match="b and the other tensors"):
        place([Buffer("a", 1, 0, 1), Buffer("b", 2**71, 0, 1)])


# -- digits ----------------------------------------------------------------------------------------

FULL = str.maketrans("0123456789", "\N{FULLWIDTH DIGIT ZERO}１２３４５６７８９")  # noqa: RUF001
ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "an amount": (parse_bytes, "12GiB"),
    "a length": (parse_span, "2 epochs"),
    "a volume": (Volume.parse, "32x32x3"),
    "a size": (parse_size, "224x224"),
    "a pattern": (gpunet.load, "INPUT[8x8x1] -> CONV3-4 -> FC-10"),
    "an option": (gpunet.load, "INPUT[8x8x1] -> CONV3-4(S=1) -> FC-10"),
    "a budget": (lambda text: gpunet.plan(SMALL, 2, budget=text), "4GiB"),
}


@pytest.mark.parametrize("digits", [FULL, ARABIC], ids=["full-width", "arabic"])
@pytest.mark.parametrize("what", READERS)
def test_numbers_in_other_digits_are_refused_everywhere(what: str, digits: dict[int, int]) -> None:
    read, text = READERS[what]
    read(text)
    for at, character in enumerate(text):
        if character.isdecimal():
            with pytest.raises(GpunetError):
                read(text[:at] + character.translate(digits) + text[at + 1 :])


COMMANDS = (
    ["plan", "vgg_digits", "--batch", "64"],
    ["plan", "vgg_digits", "--max-cost=0.5"],
    ["train", "vgg_digits", "--learning-rate", "0.1"],
    ["train", "vgg_digits", "--epochs=3"],
    ["describe", "vgg_digits", "--width", "0.5"],
    ["predict", "w", "a.png", "--top", "5"],
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[-1])
def test_options_in_other_digits_are_refused(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    *most, last = command
    result = CliRunner().invoke(app, [*most, last.translate(FULL)])
    assert result.exit_code == 2 and "Traceback" not in result.output
    plain = last.rpartition("=")[2]
    assert f"numbers are written in the digits 0 to 9: {plain.translate(FULL)} must be {plain}" in result.stderr


def test_a_file_may_be_called_by_any_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "12".translate(FULL)
    Path(name).write_text('net = "INPUT[8x8x1] -> FC-10"\n', encoding="utf-8")
    assert "digits 0 to 9" not in CliRunner().invoke(app, ["describe", name]).output
