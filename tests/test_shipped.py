"""Every shipped net runs in exactly the bytes of its plan: each mode, each optimizer, each way to fit."""

import numpy as np
import pytest

import gpunet
from gpunet import Model
from gpunet.optimizers import OPTIMIZERS
from gpunet.resources import config_names
from tests.conftest import make_device

SLOW = {"vgg16"}
NETS = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in config_names()]
BATCH = 4


def run(name: str, device_name: str, budget: int | None = None, poison: bool = False, **options):
    """(plan, what two steps or one pass give) of random pixels, in an arena that must be the plan's to the byte."""
    net = gpunet.load(name)
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (BATCH, *net.input.shape), dtype=np.uint8)
    labels = rng.integers(0, net.classes, BATCH)
    device = make_device(device_name)
    model = Model(net, BATCH, device, learning_rate=1e-4, budget=budget, debug=poison, **options)
    assert model.arena_bytes == model.plan.arena_bytes
    assert max(t.offset + -(-t.nbytes // 256) * 256 for t in model.plan.tensors) == model.plan.arena_bytes
    if options.get("mode") == "infer":
        found = model.forward(pixels).tolist()
    else:
        found = [model.step(pixels, labels) for _ in range(2)]
    plan = model.plan
    model.close()
    device.close()
    assert np.isfinite(found).all()
    return plan, found


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", NETS)
def test_training_takes_the_planned_bytes_with_every_optimizer(name, optimizer):
    plain, poisoned = (run(name, "cpu", optimizer=optimizer, poison=poison) for poison in (False, True))
    assert plain[1] == poisoned[1]


@pytest.mark.parametrize("name", NETS)
def test_inference_takes_the_planned_bytes(name):
    assert run(name, "cpu", mode="infer")[1] == run(name, "cpu", mode="infer", poison=True)[1]


@pytest.mark.parametrize("name", NETS)
def test_the_smallest_plan_of_all_takes_its_bytes_and_learns_the_same(name):
    plan, losses = run(name, "cpu")
    least = gpunet.plan(gpunet.load(name), BATCH, device="cpu", budget=1)
    small, found = run(name, "cpu", budget=least.total_bytes, poison=True)
    assert small.arena_bytes < plan.arena_bytes and small.ways != plan.ways
    np.testing.assert_allclose(found, losses, rtol=1e-4)


def test_the_emulated_gpu_takes_the_planned_bytes_in_every_mode():
    for options in ({}, {"optimizer": "adam"}, {"mode": "infer"}):
        assert run("vgg_digits", "emulated", **options)[1] == run("vgg_digits", "emulated", poison=True, **options)[1]
