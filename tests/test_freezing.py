"""Frozen layers: they never cost memory, and a line says which pattern would save what."""

import numpy as np
import pytest
from typer.testing import CliRunner

import gpunet
from gpunet import Learning, Model, Net
from gpunet.cli.app import app
from gpunet.memory.size import format_bytes
from gpunet.planning.freezing import freezing_line, further
from gpunet.system.resources import config_names
from tests.nets import shipped

BN = "INPUT[8x8x2] -> [CONV3-8 -> BN -> RELU]*3 -> CONV3-8 as top -> FC-4"


def arena_bytes(net: Net, batch: int, freeze: tuple[str, ...], optimizer: str = "sgd") -> int:
    return gpunet.plan(net, batch, optimizer=Learning(optimizer, freeze=freeze)).arena_bytes


DEEP = {"preact_resnet164", "preact_resnet1001", "msra_resnet152", "resnet152"}
"""Long to plan, of the blocks of others: run by make test-all."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in DEEP else name for name in config_names()]
)
def test_freezing_never_costs_memory(name: str) -> None:
    """SGD has no caches that would make up for it; layers one by one are those that cost most of all."""
    net = shipped(name)
    learnt = [node.name for node in net.nodes if net.layer_parameters(node)]
    everything = arena_bytes(net, 16, ())
    patterns = [(f"{kind}*",) for kind in ("conv", "bn") if any(layer.startswith(kind) for layer in learnt[:-1])]
    patterns += [(layer,) for layer in learnt[:: max(1, len(learnt) // 3)]]
    patterns = patterns[: 1 if len(net.nodes) > 150 else None]
    for freeze in patterns:
        if set(learnt) - Learning("sgd", freeze=freeze).frozen(learnt):
            assert arena_bytes(net, 16, freeze) <= everything, freeze


@pytest.mark.parametrize("name", ["cifar10", "vgg16_bn", "vgg16"])
def test_freezing_convolutions_does_not_keep_the_outputs_of_relu(name: str) -> None:
    """Nets and batches for which it did."""
    net = gpunet.load(name).scaled(0.25)
    batch, freeze = (64, ("conv*",)) if name == "cifar10" else (4, ("conv*",) if name == "vgg16_bn" else ("conv2",))
    assert arena_bytes(net, batch, freeze) < arena_bytes(net, batch, ())


def test_masks_made_in_the_forward_pass_change_no_bit(device, rng: np.random.Generator) -> None:
    images, labels = rng.standard_normal((4, 8, 8, 2)), np.arange(4)
    found = []
    apart = ("spare-masks", "norm-relu")
    for without in (apart, (*apart, "relu-masks")):
        learning = Learning("momentum", freeze="conv*")
        with Model(gpunet.load(BN), 4, device, optimizer=learning, without=without, seed=3, debug=True) as model:
            losses = [model.step(images.astype(np.float32), labels) for _ in range(3)]
            found.append((losses, {name: model.parameters[name].tolist() for name in model.parameters}))
            masks = [op for op in model.plan.program.ops if op.name == "relu_mask" and op.phase == "forward"]
            assert bool(masks) == ("relu-masks" not in without)
    assert found[0] == found[1]


def test_a_line_says_what_is_saved_and_which_pattern_would_save_more() -> None:
    net = gpunet.load(BN)
    whole, now, more = (arena_bytes(net, 16, freeze, "momentum") for freeze in ((), ("conv*",), ("conv*", "bn*")))
    line = freezing_line(net, 16, {"optimizer": Learning(freeze="conv*")})
    assert line == (
        f"freezing conv* saves {format_bytes(whole - now)} of {format_bytes(whole)}; with bn* it would be "
        f'{format_bytes(whole - more)}, as less is kept for gradients: --freeze "conv*" --freeze "bn*"'
    )
    assert whole - now < whole - more
    line = freezing_line(net, 16, {"optimizer": Learning(freeze=("conv*", "bn*"))})
    assert line == f"freezing conv*, bn* saves {format_bytes(whole - more)} of {format_bytes(whole)}"
    assert freezing_line(net, 16, {"optimizer": "adam"}) == ""
    flat = gpunet.load("INPUT[4x4x2] -> FC-4 -> BN -> RELU -> FC-3")
    assert freezing_line(flat, 1, {"optimizer": Learning(freeze="bn*")}) == ""  # there BN learns from two images


def test_layers_with_names_of_their_own_are_named_and_what_is_above_is_not() -> None:
    net = gpunet.load("INPUT[8x8x2] -> CONV3-8 as stem -> CONV3-8 -> CONV3-8 -> FC-8 -> FC-4")
    assert further(net, Learning(freeze="conv2")) == ("stem",)
    assert further(net, Learning(freeze="conv*")) == ("stem",)
    assert further(net, Learning(freeze=("stem", "conv*"))) == ()
    assert further(net, Learning(freeze="fc2")) == ()  # nothing would be left to learn


def test_plan_and_train_print_the_line() -> None:
    command = [BN, "--freeze", "conv*", "--batch", "8", "--device", "cpu"]
    result = CliRunner().invoke(app, ["plan", *command])
    assert (
        result.exit_code == 0 and "freezing conv* saves " in result.stdout and "; with bn* it would be" in result.stdout
    )
    assert "freezing" not in CliRunner().invoke(app, ["plan", *command, "--json"]).stdout
