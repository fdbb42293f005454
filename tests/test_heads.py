"""Auxiliary heads: losses of their own in training, nothing of them elsewhere."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional
from typer.testing import CliRunner

import gpunet
from gpunet import FC, ConfigError, Conv, Model, Net, Node, ReLU, ShapeError
from gpunet.cli.app import app
from gpunet.net.config import dump, load
from tests.layer_checks import batch_for, check_savings, check_slopes

TEXT = """INPUT[6x5x2] -> CONV3-4 -> TANH -> AUX(weight=0.25)[POOL2(fit=pad) -> FC-3 as early]
    -> CONV3-5 -> TANH -> AUX[AVGPOOL2(fit=crop) -> FC-4 -> TANH -> FC-3] -> GAP -> FC-3"""


def without_heads() -> Net:
    return gpunet.load("INPUT[6x5x2] -> CONV3-4 -> TANH -> CONV3-5 -> TANH -> GAP -> FC-3 as fc4")


def scores_by_hand(x: torch.Tensor, p: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Of the net and of both heads, with PyTorch's functions on (N, D, H, W)."""

    def fc(x, name):
        return x.permute(0, 2, 3, 1).flatten(1) @ p[f"{name}.w"].T + p[f"{name}.b"]

    def conv(x, name):
        return functional.conv2d(x, p[f"{name}.w"].permute(0, 3, 1, 2), p[f"{name}.b"], padding=1).tanh()

    one = conv(x, "conv1")
    two = conv(one, "conv2")
    early = fc(functional.max_pool2d(one, 2, ceil_mode=True), "early")
    late = fc(fc(functional.avg_pool2d(two, 2), "fc2").tanh()[:, :, None, None], "fc3")
    return [fc(two.mean(dim=(2, 3), keepdim=True), "fc4"), early, late]


def test_the_loss_of_a_step_and_its_gradients_count_every_head_by_its_weight(device, rng):
    net = gpunet.load(TEXT)
    images, labels = batch_for(net)
    with Model(net, 5, device, dtype="float64", seed=4, debug=True) as model:
        p = {name: torch.tensor(value, requires_grad=True) for name, value in model.parameters.items()}
        found = model.gradients(images, labels)
        main, early, late = (
            functional.cross_entropy(scores, torch.tensor(labels))
            for scores in scores_by_hand(torch.tensor(images.transpose(0, 3, 1, 2)), p)
        )
        (main + 0.25 * early + 0.3 * late).backward()
        for name, leaf in p.items():
            np.testing.assert_allclose(
                found[name], leaf.grad.numpy(), rtol=0, atol=1e-12 * max(1, leaf.grad.abs().max().item())
            )
        assert model.evaluate(images, labels)[0] == pytest.approx(main.item(), rel=1e-12)
        assert model.step(images, labels) == pytest.approx((main + 0.25 * early + 0.3 * late).item(), rel=1e-12)


def test_nets_with_heads_learn_and_save_as_others_do(device):
    net = gpunet.load(TEXT)
    check_slopes(net, device)
    check_savings(net, device)


def test_a_plan_of_inference_has_nothing_of_a_head():
    net = gpunet.load(TEXT)
    made, bare = (gpunet.plan(one, 7, mode="infer") for one in (net, without_heads()))
    assert made.arena_bytes == bare.arena_bytes
    assert [op.name for op in made.program.ops] == [op.name for op in bare.program.ops]
    assert not {"early", "fc2", "fc3"} & {op.layer for op in made.program.ops}


def test_parameters_of_heads_are_counted_for_themselves():
    net = gpunet.load(TEXT)
    assert net.parameters == without_heads().parameters
    assert net.head_parameters == (3 * 3 * 4 * 3 + 3) + (3 * 2 * 5 * 4 + 4) + (4 * 3 + 3)
    assert [(node.name, node.head) for node in net.heads] == [("early", 0.25), ("fc3", 0.3)]


def test_a_scaled_net_keeps_the_scores_of_its_heads():
    small = gpunet.load(TEXT).scaled(0.5)
    assert [getattr(node.layer, "K", None) for node in small.nodes if node.layer.count] == [2, 3, 2, 2, 3, 3]


def test_heads_are_written_and_read_again(tmp_path):
    config = gpunet.net.config.Config(gpunet.load(TEXT))
    file = tmp_path / "net.toml"
    file.write_text(dump(config))
    assert load(file) == config.net


def test_tables_and_json_show_every_head_and_its_loss():
    runner = CliRunner()
    for mode, shown in (("train", True), ("infer", False)):
        printed = runner.invoke(app, ["plan", TEXT, "--batch", "2", "--mode", mode], env={"COLUMNS": "200"}).stdout
        assert ("early.loss" in printed) == shown
        told = json.loads(runner.invoke(app, ["plan", TEXT, "--batch", "2", "--mode", mode, "--json"]).stdout)
        assert len(told["head_losses"]) == 2 * shown
        assert {row["name"] for row in told["layers"]} >= {"conv1", "fc4"}
        assert ("early" in {row["name"] for row in told["layers"]}) == shown


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([Conv(3), Node("h", FC(2), ("conv1",), 0.0), Node("s", FC(2), ("conv1",))], "of the auxiliary head h must be"),
        ([Conv(3), Node("s", FC(2), ("conv1",), 0.3)], "s ends the net, so it cannot end an auxiliary head too"),
        (
            [Conv(3), Node("h", FC(2), ("conv1",), 0.3), Node("s", FC(4), ("conv1",))],
            "h: an auxiliary head needs a score for each of the 4 classes of s; it has 2",
        ),
        ([Conv(3), Node("h", ReLU(), ("conv1",)), Node("s", FC(4), ("conv1",))], "nothing takes the output of h"),
    ],
)
def test_heads_that_cannot_be_are_refused(nodes, said):
    with pytest.raises((ConfigError, ShapeError), match=said):
        Net("4x4x3", nodes)
