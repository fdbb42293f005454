"""Fusions: the same bits as without them, on each device, in every mode and way to fit; what they save, and where they
are left out."""

import numpy as np
import pytest

import gpunet
from gpunet import FC, BatchNorm, Conv, MaxPool, Model, Net, ReLU
from gpunet.compile.fuse import FUSIONS
from gpunet.compile.lower import lower
from gpunet.compile.recompute import saved
from gpunet.compile.ways import Ways, apply
from gpunet.devices import target
from gpunet.memory.plan import Plan, arrange
from gpunet.use.activations import activations
from tests.nets import blocks, random_net, shipped, small, vgg16
from tests.test_shipped import NETS

EVERY_NAME = (*FUSIONS, "late-unpool")

LIMIT = 4000
"""So little scratch that strips are small beside the volumes of small nets."""

IN_TWOS = ("relu", "pool2x2", "unpool2x2")
EVERYTHING = (*IN_TWOS, "pool", "unpool")
SLOPING = (*IN_TWOS, "slope")
FUSING = {"im2col": EVERYTHING, "winograd2": SLOPING, "winograd4": IN_TWOS, "implicit": SLOPING}


@pytest.fixture
def fusing(device, monkeypatch):
    """A device whose plans fuse all that can be: what the ops give is not to depend on who prefers what."""
    monkeypatch.setattr(type(target(device.name)), "fusions", FUSING)
    return device


def trained(net: Net, device, batch: int, **options) -> list[object]:
    """Losses, scores, gradients and parameters of steps of batches of two sizes, as bytes."""
    rng = np.random.default_rng(5)
    found: list[object] = []
    with Model(net, batch, device, seed=4, debug=True, scratch_limit=LIMIT, **options) as model:
        assert model.arena_bytes == model.plan.arena_bytes
        for n in (batch, batch - 1):
            images = rng.standard_normal((n, *net.input.shape)).astype(model.plan.dtype)
            labels = rng.integers(0, net.classes, n)
            found.append({name: value.tobytes() for name, value in model.gradients(images, labels).items()})
            found += [model.step(images, labels), model.forward(images).tobytes()]
        found.append({name: value.tobytes() for name, value in model.parameters.items()})
    return found


def ops_of(net: Net, batch: int = 4, **options) -> list[str]:
    """Of a plan for the CPU where memory is short, so that all that it can fuse is fused."""
    options = {"device": "cpu", "scratch_limit": LIMIT, "budget": 1, "ways": (), **options}
    return [op.name for op in gpunet.plan(net, batch, **options).program.ops]


def fused(names: list[str]) -> set[str]:
    return {name for name in names if name.startswith(("conv_pool", "conv_relu"))}


@pytest.mark.parametrize("seed", range(4))
def test_training_gives_the_same_bits(fusing, seed):
    net = (small(), blocks())[seed] if seed < 2 else random_net(np.random.default_rng(60 + seed), layers=8)
    plain = trained(net, fusing, 4, without=tuple(FUSIONS))
    for without in ((), ("conv-pool", "small-switches"), ("pool-before-relu", "unpool", "relu-masks")):
        assert trained(net, fusing, 4, without=without) == plain, without
    if seed < 2:
        assert fused([op.name for op in gpunet.plan(net, 4, device=fusing.name, scratch_limit=LIMIT).program.ops])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inference_gives_the_same_bits(fusing, dtype):
    net, rng = blocks(), np.random.default_rng(0)
    images = rng.standard_normal((3, *net.input.shape)).astype(dtype)
    found = []
    for without in ((), tuple(FUSIONS)):
        options = {"mode": "infer", "dtype": dtype, "scratch_limit": LIMIT, "without": without}
        with Model(net, 4, fusing, seed=1, debug=True, **options) as model:
            assert bool(fused([op.name for op in model.plan.program.ops])) == (not without)
            found.append(model.forward(images).tobytes())
    assert found[0] == found[1]


@pytest.mark.parametrize("name", NETS)
def test_every_shipped_net_gives_the_same_bits_with_and_without(name):
    net = shipped(name)
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (3, *net.input.shape), dtype=np.uint8)
    labels = rng.integers(0, net.classes, 3)
    found = []
    for without in ((), tuple(FUSIONS)):
        with Model(net, 3, "cpu", seed=1, learning_rate=1e-4, scratch_limit=20_000, without=without) as model:
            losses = [model.step(images, labels) for _ in range(2)]
            found.append((losses, {name: value.tobytes() for name, value in model.parameters.items()}))
    assert found[0] == found[1]


def plans(net: Net, ways: Ways, fuses: bool, device: str) -> Plan:
    """A plan in exactly these ways."""
    program = lower(
        net,
        batch=5,
        mode="train",
        dtype="float32",
        optimizer="momentum",
        target=target(device),
        scratch_limit_bytes=LIMIT,
        accumulates=ways.rounds,
    )
    program = apply(program, ways, () if fuses else tuple(FUSIONS))
    return Plan(net.name, target(device), "momentum", program, arrange(program), 0, ways=ways)


def test_what_is_made_again_or_in_rounds_gives_the_same_bits(fusing):
    net = blocks()
    program = plans(net, Ways(LIMIT), True, fusing.name).program
    dropped = tuple(name for name in saved(program) if not name.endswith("switches"))
    assert {"pool1.y", "pool2.y"} <= set(dropped)
    every = [Ways(LIMIT, dropped), Ways(LIMIT, cut="pool1.y", chunk=2), Ways(LIMIT, micro_batch=2)]
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((5, *net.input.shape)).astype("f"), rng.integers(0, net.classes, 5)
    for ways in every:
        found = []
        for fuses in (True, False):
            plan = plans(net, ways if fuses else without_dropping(ways), fuses, fusing.name)
            with Model(net, 5, fusing, seed=4, plan=plan, debug=True) as model:
                steps = [model.step(images, labels) for _ in range(2)]
                found.append((steps, {name: value.tobytes() for name, value in model.parameters.items()}))
        assert found[0] == found[1], ways


def without_dropping(ways: Ways) -> Ways:
    """Dropping changes no bit, and not all that is saved with fusions is without them."""
    return Ways(ways.scratch_limit_bytes, (), ways.cut, ways.chunk, ways.micro_batch)


def test_the_volume_before_a_pool_and_its_gradient_never_exist():
    """The gradient, on the CPU, only where memory is short."""
    plan = gpunet.plan(vgg16(), 8, device="cpu", budget=1, ways=())
    names = {t.name for t in plan.tensors}
    unfused = {t.name for t in gpunet.plan(vgg16(), 8, device="cpu", without=FUSIONS).tensors}
    at_ease = {t.name for t in gpunet.plan(vgg16(), 8, device="cpu").tensors}
    assert "conv2.y" not in at_ease and "relu2.dx" in at_ease
    for gone in ("conv2.y", "relu2.dx", "pool1.max", "pool1.dmax"):
        assert gone in unfused and gone not in names
    assert {"pool1.y", "pool1.switches"} <= names
    before = 8 * 224 * 224 * 64 * 4
    block = [t for t in plan.tensors if t.layer in ("conv2", "relu2", "pool1") and t.name != "conv2.dx"]
    assert max(t.nbytes for t in block) == before // 4


def test_fused_ops_belong_to_the_convolution_and_have_its_flops():
    short = {"device": "cpu", "scratch_limit": LIMIT, "budget": 1, "ways": ()}
    plain, together = (gpunet.plan(blocks(), 8, **short, without=names) for names in (EVERY_NAME, ()))
    for plan in (plain, together):
        assert {op.layer for op in plan.program.ops if op.flops} == {"conv1", "conv2", "conv3", "conv4", "fc1", "fc2"}
    assert sum(op.flops for op in plain.program.ops) == sum(op.flops for op in together.program.ops)
    assert together.lower_bound_bytes < plain.lower_bound_bytes


def test_inference_takes_less_memory_an_image():
    slopes = []
    for without in ((), tuple(FUSIONS)):
        options = {"mode": "infer", "device": "cpu", "without": without}
        sizes = [gpunet.plan(vgg16(), batch, **options).lower_bound_bytes for batch in (32, 64)]
        slopes.append((sizes[1] - sizes[0]) / 32)
    assert slopes[0] < 0.7 * slopes[1]


@pytest.mark.parametrize(
    "layers",
    [
        [Conv(4), MaxPool(4, S=2, P=1)],  # windows that overlap
        [Conv(4), MaxPool(2, P=1)],  # windows that begin outside
        [Conv(4), MaxPool(16)],  # a switch of one byte has no value to spare
        [Conv(4), BatchNorm(), MaxPool(2)],
        [Conv(4, F=1), MaxPool(2)],  # no im2col matrix is cut into chunks, so neither is its product
    ],
)
def test_what_does_not_suit_is_left_as_it_is(layers):
    assert not {name for name in ops_of(Net("16x16x3", [*layers, FC(3)])) if name.startswith("conv_pool")}


def test_what_others_read_is_left_as_it_is():
    nodes = [
        gpunet.Node("conv1", Conv(4), ("input",)),
        gpunet.Node("relu1", ReLU(), ("conv1",)),
        gpunet.Node("conv2", Conv(4), ("relu1",)),
        gpunet.Node("add1", gpunet.Add(), ("conv1", "conv2")),
        gpunet.Node("fc1", FC(3), ("add1",)),
    ]
    assert ops_of(Net("8x8x3", nodes)).count("conv_relu_forward") == 0


def test_a_volume_that_is_small_beside_its_strips_is_left_as_it_is():
    net = blocks()
    assert not any(name.startswith("conv_pool") for name in ops_of(net, scratch_limit="8MiB"))
    assert any(name.startswith("conv_pool") for name in ops_of(net))


def test_a_frozen_convolution_and_the_first_one_fuse_what_they_have():
    net = Net("12x12x3", [Conv(4), ReLU(), MaxPool(2), Conv(4), ReLU(), MaxPool(2), FC(3)])
    names = ops_of(net, optimizer=gpunet.Learning(freeze=["conv2"]))
    assert names.count("conv_pool_forward") == 2
    assert names.count("conv_pool_backward_weights") == 1 and names.count("conv_pool_backward_input") == 1
    names = ops_of(net, optimizer=gpunet.Learning(freeze=["conv1", "conv2"]))
    assert names.count("conv_pool_forward") == 2 and "conv_pool_backward_weights" not in names


def test_activations_are_those_of_every_layer_all_the_same():
    net = blocks()
    with Model(net, 1, "cpu") as model:
        weights = dict(model.parameters)
    found = activations(net, weights, np.zeros(net.input.shape, np.float32), "cpu")
    assert list(found) == ["input", *(node.name for node in net.nodes)]
