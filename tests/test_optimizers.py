"""Optimizers in plans and in models: their caches, their settings, the number of the step."""

import dataclasses
from typing import get_args

import numpy as np
import pytest

import gpunet
from gpunet import ConfigError, Kind, Model
from gpunet.net.config import SETTINGS, TrainConfig
from gpunet.optimize.optimizers import LIMITS, OPTIMIZERS, Adam, AdamW, Optimizer, OptimizerName, optimizer, updated
from gpunet.program.program import Now
from tests.conftest import make_device
from tests.nets import small

CACHES = {"sgd": 0, "momentum": 1, "nesterov": 1, "adagrad": 1, "rmsprop": 1, "adam": 2, "adamw": 2}
EVERY = pytest.mark.parametrize("name", OPTIMIZERS)


def batches(count: int, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    net = small()
    sizes = [6 - index % 3 for index in range(count)]
    return [(rng.standard_normal((n, *net.input.shape)), rng.integers(0, net.classes, n)) for n in sizes]


def bits(model: Model) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in model.parameters.items()}


def caches_of(model: Model) -> dict[str, np.ndarray]:
    tensors = [cache for parameter in model.plan.program.parameters for cache in parameter.caches]
    return {tensor.name: model.device.read(model._bound.view(tensor)) for tensor in tensors}


def test_every_optimizer_is_found_by_its_name():
    assert list(OPTIMIZERS) == list(CACHES)
    for name, kind in OPTIMIZERS.items():
        assert optimizer(name) == kind()
    assert optimizer("adam", beta1=0.5, eps=None) == Adam(beta1=0.5)
    rule = AdamW(beta2=0.5)
    assert optimizer(rule) is rule


@EVERY
def test_the_name_of_its_class_is_an_optimizers_name_too(name):
    kind = OPTIMIZERS[name]
    assert optimizer(kind.__name__) == optimizer(name.upper()) == kind() and getattr(gpunet, kind.__name__) is kind
    assert {name, kind.__name__} <= set(get_args(OptimizerName))
    plan = gpunet.plan(small(), batch=2, optimizer=kind.__name__, device="cpu")
    assert plan.optimizer == name


def test_the_class_in_place_of_a_value_is_answered():
    with pytest.raises(ConfigError, match=r"an optimizer is a name or a value, like 'adam' or Adam\(\); got the class"):
        gpunet.plan(small(), optimizer=gpunet.Adam)


def test_defaults_are_those_of_pytorch():
    assert dataclasses.asdict(Adam()) == {"weight_decay": 0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    assert dataclasses.asdict(AdamW()) == {"weight_decay": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    assert dataclasses.asdict(optimizer("rmsprop")) == {"weight_decay": 0, "alpha": 0.99, "eps": 1e-8}
    assert dataclasses.asdict(optimizer("adagrad")) == {"weight_decay": 0, "eps": 1e-10}


def test_a_config_has_a_field_for_every_setting():
    assert set(SETTINGS) <= {field.name for field in dataclasses.fields(TrainConfig)}
    assert set(LIMITS) <= set(SETTINGS)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("sgd", {"beta1": 0.5}, "sgd has no beta1; it has weight_decay"),
        ("rmsprop", {"momentum": 0.5}, "rmsprop has no momentum; it has weight_decay, alpha, eps"),
        ("adam", {"beta1": 1.0}, "adam: beta1 must be a number, from 0 to below 1; got 1.0"),
        ("adam", {"beta2": -0.1}, "adam: beta2 must be a number, from 0 to below 1; got -0.1"),
        ("adam", {"eps": 0}, "adam: eps must be a number, 1e-30 or more; got 0"),
        ("adamw", {"weight_decay": float("nan")}, "adamw: weight_decay must be a number, 0 or more; got nan"),
        ("adamw", {"weight_decay": float("inf")}, "adamw: weight_decay must be a number, 0 or more; got inf"),
        ("nesterov", {"momentum": "0.9"}, "nesterov: momentum must be a number, from 0 to below 1; got '0.9'"),
        ("momentum", {"momentum": True}, "got True"),
        (
            "adamm",
            {},
            "there is no optimizer 'adamm'; there are sgd, momentum, nesterov, adagrad, rmsprop",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(name, settings, words):
    with pytest.raises(ConfigError, match=words):
        optimizer(name, **settings)


# ---- in a plan ----


@pytest.mark.parametrize("dtype, itemsize", [("float32", 4), ("float64", 8)])
@EVERY
def test_caches_are_planned_to_the_byte(name, dtype, itemsize):
    net = small()
    plan = gpunet.plan(net, 3, optimizer=name, dtype=dtype)
    assert plan.by_kind[Kind.OPTIMIZER_CACHE] == CACHES[name] * net.parameters * itemsize
    assert plan.by_kind[Kind.PARAMETER] == net.parameters * itemsize
    assert (plan.optimizer, plan.fits) == (name, True)
    assert gpunet.plan(net, 3, optimizer=name, mode="infer").by_kind[Kind.OPTIMIZER_CACHE] == 0


@EVERY
def test_an_update_gets_its_settings_and_what_changes_from_step_to_step(name):
    rule = optimizer(name, weight_decay=0.25)
    program = gpunet.plan(small(), 3, optimizer=rule).program
    updates = [op for op in program.ops if op.phase == "update"]
    for op in updates:
        assert rule.settings_of(op, program.changing) == dataclasses.asdict(rule)
        assert op.inputs[:2] == (program.loss, program.numbers)
        assert {key: program.changing[op.attributes[key]] for key in rule.changing(1)} == rule.changing(1)
    now = Now(0.5, 3, 70)
    expected = {0.5} if "adam" not in name else {0.5 / (1 - 0.9**3), (1 - 0.999**3) ** 0.5}
    assert {number.value(now) for number in program.changing} == expected | (
        {1 - 0.5 / 4} if name == "adamw" else set()
    )
    assert {op.name for op in updates} == {f"{name}_update"}
    assert {name for op in updates for name in updated(op)} == set(small_parameters())


def small_parameters() -> list[str]:
    return [parameter.tensor.name for parameter in gpunet.plan(small(), 1).program.parameters]


# ---- in a model ----


@EVERY
def test_caches_start_at_zero_and_are_used(device, name, rng):
    with Model(small(), 6, device, optimizer=name, debug=True) as model:
        before = caches_of(model)
        assert len(before) == CACHES[name] * len(model.parameters)
        assert not any(values.any() for values in before.values())
        model.step(*batches(1, rng)[0])
        assert all(values.any() for values in caches_of(model).values())


@EVERY
def test_both_devices_take_the_same_steps(cuda_device, name, rng):
    cpu, data, found = make_device("cpu"), batches(3, rng), []
    for device in (cpu, cuda_device):
        with Model(small(), 6, device, optimizer=name, learning_rate=1e-3, seed=1) as model:
            found.append(([model.step(*batch) for batch in data], dict(model.parameters), caches_of(model)))
    cpu.close()
    (losses, weights, caches), (other_losses, other_weights, other_caches) = found
    np.testing.assert_allclose(other_losses, losses, rtol=1e-5)
    for mine, others in ((weights, other_weights), (caches, other_caches)):
        for key, values in mine.items():
            assert np.abs(others[key] - values).max() <= 1e-5 * np.abs(values).max(), key


@EVERY
def test_poison_changes_no_bit(device, name, rng):
    data, ends = batches(3, rng), []
    for debug in (False, True):
        with Model(small(), 6, device, optimizer=name, debug=debug, scratch_limit=5000) as model:
            ends.append(([model.step(*batch) for batch in data], bits(model)))
    assert ends[0] == ends[1]
    assert np.isfinite(ends[0][0]).all()


@EVERY
def test_rounds_over_parts_of_the_batch_are_one_step(name, rng):
    """A step in micro-batches sums its gradients first and updates once."""
    fitting = dict(max_cost=10, ways=("micro-batches",))
    least = gpunet.plan(small(), 6, optimizer=name, device="cpu", dtype="float64", budget=1, **fitting)
    images, labels = batches(1, rng)[0]
    options = dict(device="cpu", optimizer=name, dtype="float64", seed=2, learning_rate=1e-3)
    with (
        Model(small(), 6, **options) as plain,
        Model(small(), 6, budget=least.total_bytes, **fitting, **options) as model,
    ):
        assert model.plan.program.loops
        for _ in range(3):
            plain.step(images, labels)
            model.step(images, labels)
        assert plain.steps == model.steps == 3
        for key, values in plain.parameters.items():
            np.testing.assert_allclose(model.parameters[key], values, rtol=1e-9, atol=1e-12)


@EVERY
def test_every_optimizer_learns(device, name, rng):
    data = batches(1, rng)[0]
    with Model(small(), 6, device, optimizer=name, learning_rate=0.02 if CACHES[name] < 2 else 0.005) as model:
        losses = [model.step(*data) for _ in range(25)]
    assert losses[-1] < 0.5 * losses[0]


def test_a_model_counts_its_steps_and_nothing_else(device, rng):
    data = batches(1, rng)[0]
    with Model(small(), 6, device, optimizer="adam") as model:
        assert model.steps == 0
        model.step(*data)
        model.forward(data[0])
        model.evaluate(*data)
        model.gradients(*data)
        with pytest.raises(gpunet.DataError):
            model.step(data[0], data[1] + 99)
        assert model.steps == 1
        model.step(*data)
        assert model.steps == 2


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_a_run_goes_on_from_weights_caches_and_the_number_of_the_step(device, name, rng):
    data = batches(4, rng)
    with (
        Model(small(), 6, device, optimizer=name) as whole,
        Model(small(), 6, device, optimizer=name, seed=5) as later,
        Model(small(), 6, device, optimizer=name, seed=5) as forgetful,
    ):
        for batch in data[:2]:
            whole.step(*batch)
        for model in (later, forgetful):
            _copy(whole, model)
        later.steps = whole.steps
        for batch in data[2:]:
            for model in (whole, later, forgetful):
                model.step(*batch)
        assert bits(later) == bits(whole)
        assert bits(forgetful) != bits(whole)
        assert (whole.steps, later.steps, forgetful.steps) == (4, 4, 2)


def _copy(source: Model, to: Model) -> None:
    """Weights and caches."""
    for parameter in source.plan.program.parameters:
        for tensor in (parameter.tensor, *parameter.caches):
            to.device.write(to._bound.view(tensor), source.device.read(source._bound.view(tensor)))


def test_an_optimizer_of_ones_own_needs_a_name_and_an_op(rng):
    """Anything under Optimizer may be planned; the op is looked up by its name."""

    @dataclasses.dataclass(frozen=True)
    class Borrowed(Optimizer):
        momentum: float = 0.5
        name = "momentum"
        caches = ("v",)

    plan = gpunet.plan(small(), 3, optimizer=Borrowed())
    assert plan.by_kind[Kind.OPTIMIZER_CACHE] == small().parameters * 4
    assert OPTIMIZERS["momentum"] is not Borrowed
