"""Every shipped net, scaled down: its parameters, and that it runs in exactly the bytes of its plan in each mode, with
each optimizer, in each way to fit."""

import numpy as np
import pytest

import gpunet
from gpunet import Model
from gpunet.net.config import load_config
from gpunet.optimize.optimizers import OPTIMIZERS
from gpunet.system.resources import config_names
from tests.conftest import make_device
from tests.nets import shipped

PARAMETERS = {
    "alexnet": 60_965_224,
    "alexnet_torchvision": 61_100_840,
    "allcnn_c": 1_369_738,
    "bvlc_alexnet": 60_965_224,
    "caffenet": 60_965_224,
    "cifar10": 5_216_330,
    "context": 7 * (9 * 21 * 21 + 21) + 21 * 21 + 21,
    "densenet121": 7_978_856,
    "efficientnet_lite0": 4_652_008,
    "googlenet": 6_998_552,
    "googlenet_bn": 6_624_904,
    "inception_v3": 23_834_568,
    "inception_v4": 42_679_816,
    "lenet5": 431_080,
    "mobilenet_v2": 3_504_872,
    "msra_resnet101": 44_549_160,
    "msra_resnet152": 60_192_808,
    "msra_resnet50": 25_557_096,
    "nin": 966_986,
    "preact_resnet1001": 10_327_706,
    "preact_resnet110": 1_730_522,
    "preact_resnet164": 1_703_258,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet18": 11_689_512,
    "resnet20": 272_474,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnext50": 25_028_904,
    "squeezenet1_0": 1_248_424,
    "squeezenet1_1": 1_235_496,
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
    "vgg_cifar": 5_212_490,
    "vgg_digits": 196_442,
    "zfnet": 62_357_608,
}
"""As published, or summed from the definitions."""

DEEP = {
    "densenet121",
    "efficientnet_lite0",
    "googlenet",
    "googlenet_bn",
    "inception_v3",
    "inception_v4",
    "msra_resnet50",
    "preact_resnet110",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50",
}
"""Nets of so many ops that poisoning takes its time."""

TWINS = {"vgg11_bn", "vgg13_bn", "vgg19_bn", "squeezenet1_0"}
"""Nets that are built as another one here is, but for their depth."""

DEEPEST = {"msra_resnet101", "msra_resnet152", "preact_resnet164", "preact_resnet1001"}
"""Nets that take their time whatever is done; shallower ones of their kind stand for them."""


def marked(slow: set[str]) -> list[object]:
    """Every shipped net; the slow ones are marked so."""
    return [pytest.param(name, marks=pytest.mark.slow) if name in slow else name for name in config_names()]


NETS, EVERY_NET = marked(DEEP | TWINS | DEEPEST), marked(DEEPEST)
EVERY_OPTIMIZER = ["resnet20", "vgg_digits", "vgg16_bn"]
SAVES = {"googlenet", "resnet20", "vgg_cifar"}
"""Nets in which activations outweigh parameters even when they are scaled down."""

BATCH = 4


@pytest.mark.parametrize("name", config_names())
def test_its_parameters_are_those_that_are_known_and_its_title_says_them(name):
    config = load_config(name)
    assert config.net.parameters == PARAMETERS[name]
    assert f"{PARAMETERS[name]:,} parameters" in config.title
    assert config.source


@pytest.mark.parametrize("name", EVERY_NET)
def test_it_can_be_scaled_down_to_small_images_and_trained(name):
    """As docs/nets.md says of all of them."""
    net = gpunet.load(name).scaled(0.125, "32x32x3")
    with Model(net, 2, "cpu", learning_rate=1e-4) as model:
        pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
        assert np.isfinite(model.step(pixels, np.arange(2)))


def run(name: str, device_name: str, budget: int | None = None, poison: bool = False, **options):
    """(plan, what two steps or one pass give) of random pixels, in an arena that must be the plan's to the byte."""
    net = shipped(name)
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


@pytest.mark.parametrize("name", EVERY_NET)
def test_training_takes_the_planned_bytes(name):
    run(name, "cpu")


@pytest.mark.parametrize("name", NETS)
def test_what_is_free_is_never_read(name):
    plain, poisoned = (run(name, "cpu", poison=poison) for poison in (False, True))
    assert plain[1] == poisoned[1]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", EVERY_OPTIMIZER)
def test_training_takes_the_planned_bytes_with_every_optimizer(name, optimizer):
    run(name, "cpu", optimizer=optimizer)


@pytest.mark.parametrize("name", NETS)
def test_inference_takes_the_planned_bytes(name):
    assert run(name, "cpu", mode="infer")[1] == run(name, "cpu", mode="infer", poison=True)[1]


@pytest.mark.parametrize("name", NETS)
def test_the_smallest_plan_of_all_takes_its_bytes_and_learns_the_same(name):
    plan, losses = run(name, "cpu")
    least = gpunet.plan(shipped(name), BATCH, device="cpu", budget=1)
    small, found = run(name, "cpu", budget=least.total_bytes, poison=True)
    assert small.arena_bytes <= plan.arena_bytes
    assert name not in SAVES or small.ways.names
    np.testing.assert_allclose(found, losses, rtol=1e-4)


def test_the_emulated_gpu_takes_the_planned_bytes_in_every_mode():
    for options in ({}, {"optimizer": "adam"}, {"mode": "infer"}):
        assert run("vgg_digits", "emulated", **options)[1] == run("vgg_digits", "emulated", poison=True, **options)[1]


@pytest.mark.parametrize("name", EVERY_NET)
def test_it_is_planned_in_full_size(name):
    net = gpunet.load(name)
    train, infer = (gpunet.plan(net, BATCH, device="cuda", mode=mode) for mode in ("train", "infer"))
    assert infer.arena_bytes < train.arena_bytes
    assert sum(p.tensor.nbytes for p in train.program.parameters) >= 4 * (net.parameters + net.head_parameters)


@pytest.mark.parametrize("name", marked(DEEP | TWINS | DEEPEST | {"mobilenet_v2"}))
def test_its_gradients_are_the_slopes_of_its_loss(name):
    check = gpunet.gradcheck(shipped(name), "cpu", batch=BATCH, samples=2, seed=1)
    assert check.passed, check.failures
