"""How parameters learn, beside the optimizer: frozen layers, in plans and in models, against PyTorch's."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from typer.testing import CliRunner

import gpunet
from gpunet import ConfigError, Dropout, Learning, Model, Net
from gpunet.cli.app import app
from gpunet.compile.fuse import FUSIONS
from gpunet.net.config import dump, load_config
from gpunet.optimize.optimizers import OPTIMIZERS, Adam, Momentum, rate_factor, updated
from gpunet.optimize.optimizers import optimizer as find_optimizer
from tests.conftest import make_device
from tests.layer_checks import check_savings, trained
from tests.nets import BLOCKS, small
from tests.test_batch_norm import Judge, batch
from tests.test_batch_norm import small as normed

FROZEN = {
    "the first layers": ("conv1", "bn1"),
    "norms": ("bn*",),
    "layers in the middle": ("conv2", "fc1"),
    "the last": ("fc2", "bn3"),
}
"""Patterns for the net of test_batch_norm."""
EVERY = pytest.mark.parametrize("freeze", FROZEN.values(), ids=FROZEN)


def test_names_and_patterns_say_what_is_frozen():
    names = ["conv1_1", "conv1_2", "relu1", "conv2_1", "fc1"]
    assert Learning(freeze="conv1_?").frozen(names) == {"conv1_1", "conv1_2"}
    assert Learning("adam", freeze=["conv*", "fc1"]).frozen(names) == {*names} - {"relu1"}
    assert Learning().frozen(names) == frozenset()
    assert Learning(Adam(beta1=0.5), freeze=("a", "b")) == Learning(Adam(beta1=0.5), freeze=["a", "b"])
    assert (Learning().optimizer, Learning("adam").optimizer) == (Momentum(), Adam())


@pytest.mark.parametrize(
    ("freeze", "words"),
    [
        ("conf1", "freeze: no layer is called 'conf1'; did you mean conv1?"),
        ("Conv*", "freeze: no layer is called 'Conv*'; did you mean conv"),
        ("block?", "freeze: no layer is called 'block?'; there are conv1, relu1, pool1, conv2, "),
        (
            "relu1",
            "freeze: relu1 has nothing to learn, so 'relu1' freezes nothing; layers that learn: conv1, conv2, fc1, fc2",
        ),
        ("relu*", "freeze: relu1, relu2, relu3 have nothing to learn, so 'relu*' freezes nothing; layers that learn: "),
        (("conv*", "pool?"), "freeze: pool1, pool2 have nothing to learn, so 'pool?' freezes nothing"),
        ("*", "small: all 4 layers with parameters are frozen, so nothing is left to learn; freeze fewer"),
    ],
)
def test_freezing_what_is_not_there_or_all_there_is_is_refused(freeze, words):
    with pytest.raises(ConfigError) as caught:
        gpunet.plan(small(), 3, optimizer=Learning(freeze=freeze))
    assert words in str(caught.value)


# -- in a plan -------------------------------------------------------------------------------------


def test_below_the_first_layer_that_learns_there_is_no_backward_pass():
    plan, whole = (
        gpunet.plan(small(), 6, optimizer=Learning(freeze=freeze), without=FUSIONS) for freeze in ("conv*", ())
    )
    assert plan.frozen == ("conv1", "conv2")
    assert {op.layer for op in plan.program.ops if op.phase in ("backward", "update")} == {"fc1", "relu3", "fc2"} | (
        {"loss"}
    )
    assert [op.name for op in plan.program.ops if op.layer.startswith("pool")] == ["max_pool_infer"] * 2
    caches = sum(cache.nbytes for parameter in plan.program.parameters for cache in parameter.caches)
    learnt = sum(p.tensor.nbytes for p in plan.program.parameters if p.tensor.layer.startswith("fc"))
    assert caches == learnt
    assert plan.arena_bytes < whole.arena_bytes


def test_a_frozen_layer_between_others_passes_gradients_on():
    program = gpunet.plan(small(), 6, optimizer=Learning(freeze=["fc1", "conv2"])).program
    names = {layer: [op.name for op in program.ops if op.layer == layer] for layer in ("fc1", "conv2")}
    assert names == {
        "fc1": ["fc_forward", "fc_backward_input"],
        "conv2": ["conv_forward", "conv_backward_input"],
    }


def test_a_plan_says_what_is_frozen_and_costs_less():
    from gpunet.report.as_json import plan_json
    from gpunet.report.table import headline

    net = gpunet.load("vgg16")
    plan, whole = (gpunet.plan(net, 64, optimizer=Learning(freeze=freeze)) for freeze in ("conv*", ()))
    assert headline(plan) == "vgg16, training with momentum, conv1 to conv13 frozen, batch 64, float32, on cuda"
    assert "frozen" not in headline(whole)
    assert plan_json(net, plan)["frozen"] == [f"conv{number}" for number in range(1, 14)]
    # the convolutions' gradients and caches, and what backward would read of 64 images
    assert whole.arena_bytes - plan.arena_bytes > 1000 * 2**20
    infer = gpunet.plan(net, 64, optimizer=Learning(freeze="conv*"), mode="infer")
    assert infer.frozen == () and infer.arena_bytes == gpunet.plan(net, 64, mode="infer").arena_bytes


def test_norms_that_are_frozen_need_no_other_images():
    net = normed()
    frozen = dict(optimizer=Learning(freeze="bn*"), device="cpu")
    assert gpunet.plan(net, 1, **frozen).batch == 1
    assert gpunet.plan(net, 400, **frozen, budget=1, ways=("micro-batches",)).ways.micro_batch
    with pytest.raises(ConfigError, match="bn3 takes its statistics over the images of a batch"):
        gpunet.plan(net, 1, optimizer=Learning(freeze=["bn1", "bn2"]))
    assert "micro-batches" in [
        way for rung in gpunet.planning.fitter.ladder(net, "66MiB", **frozen) for way in rung.ways
    ]


# -- in a model ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-12), ("float32", 1e-5)])  # small batches are normalized
@EVERY
def test_steps_are_pytorchs_without_gradients_and_in_evaluation_mode(device, freeze, dtype, tolerance):
    net = normed()
    frozen = Learning(freeze=freeze).frozen([node.name for node in net.nodes])
    with Model(net, 5, device, optimizer=Learning(freeze=freeze), dtype=dtype, learning_rate=1e-3) as model:
        for name in ("bn1", "bn3"):  # not as they start, which would hide what they do
            model.parameters[f"{name}.mean"] = model.parameters[f"{name}.mean"] + 0.3
            model.parameters[f"{name}.variance"] = model.parameters[f"{name}.variance"] * 2.5
        start = dict(model.parameters)
        judge = Judge(start, frozen)
        optimizer = torch.optim.SGD(judge.learnt.values(), lr=1e-3, momentum=0.9)
        for step in range(100 if device.name == "cpu" else 3):
            images, labels = batch(5 - step % 3, step)
            images = images.astype(dtype)
            loss = torch.nn.functional.cross_entropy(judge(torch.tensor(images)), torch.tensor(labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            assert model.step(images, labels) == pytest.approx(loss.item(), rel=100 * tolerance)
        for name, value in model.parameters.items():
            kept = value.tobytes() == start[name].tobytes()
            assert kept == (name.split(".")[0] in frozen or name in ("bn2.scale", "bn2.shift")), name
            expected = judge.values[name].detach().numpy()
            np.testing.assert_allclose(value, expected, rtol=0, atol=tolerance, err_msg=name)


@EVERY
def test_savings_change_nothing(device, freeze):
    check_savings(normed(), device, Learning(freeze=freeze))


def test_savings_change_nothing_in_a_deeper_net():
    check_savings(gpunet.load(BLOCKS), make_device("cpu"), Learning("adam", freeze=("conv1", "conv2")))


def test_branches_stop_where_nothing_learns():
    net = gpunet.load("INPUT[8x8x3] -> CONV3-4 -> { CONV1-4 -> RELU | CONV3-4 | POOL3(S=1, P=1) } -> FC-5")
    check_savings(net, make_device("cpu"), Learning(freeze=("conv1", "conv3")))


def test_a_head_on_frozen_layers_has_no_gradient():
    net = gpunet.load("googlenet")
    program = gpunet.plan(net, 2, optimizer=Learning(freeze=["conv*", "fc1", "head1"])).program
    assert {p.tensor.layer for p in program.parameters if p.gradient is not None} == {"fc3", "head2", "fc5"}
    backward = {op.layer for op in program.ops if op.phase == "backward"}
    assert {"loss", "head2.loss"} <= backward
    assert not {"head1.loss", "head1", "fc1"} & backward


def test_dropout_drops_below_frozen_layers(device):
    net = Net("4x4x2", [Dropout(0.5), gpunet.FC(6), Dropout(0.5), gpunet.FC(3)])
    program = gpunet.plan(net, 4, optimizer=Learning(freeze="fc1")).program
    assert [op.name for op in program.ops if op.name == "dropout"] == ["dropout"] * 2
    assert trained_twice_alike(net, device)


def trained_twice_alike(net: Net, device) -> bool:
    options = dict(optimizer=Learning(freeze="fc1"))
    return trained(net, device, **options) == trained(net, device, without=("in-place",), **options)


def judged(net, device, how: Learning, steps: int, groups, clip=None) -> None:
    """The model steps as PyTorch does: `groups` of (name, value) and what `clip` does to them before a step."""
    with Model(net, 5, device, optimizer=how, dtype="float64", learning_rate=0.02) as model:
        judge = Judge(dict(model.parameters))
        settings = dict(lr=0.02, momentum=0.9)
        optimizer = torch.optim.SGD([settings | groups(name) | {"params": [w]} for name, w in judge.learnt.items()])
        for step in range(steps):
            images, labels = batch(5 - step % 3, step)
            loss = torch.nn.functional.cross_entropy(judge(torch.tensor(images)), torch.tensor(labels))
            optimizer.zero_grad()
            loss.backward()
            if clip is not None:
                clip(judge.learnt.values())
            optimizer.step()
            assert model.step(images, labels) == pytest.approx(loss.item(), rel=1e-8)
        for name, value in model.parameters.items():
            np.testing.assert_allclose(value, judge.values[name].detach().numpy(), rtol=0, atol=1e-9, err_msg=name)


def test_factors_of_the_learning_rate_are_pytorchs_groups(device):
    how = Learning(rate_factors={"*": 0.5, "fc*": 3, "fc1": 0.25, "bn2": 2})
    factors = {"conv1": 0.5, "conv2": 0.5, "bn1": 0.5, "bn3": 0.5, "bn2": 2, "fc1": 0.25, "fc2": 3}
    judged(normed(), device, how, 30 if device.name == "cpu" else 2, lambda n: {"lr": 0.02 * factors[n.split(".")[0]]})


def test_factors_of_single_parameters_are_those_of_biases_in_caffe(device):
    """Twice the rate for biases, a tenth of it below, and what comes last counts."""
    how = Learning(rate_factors={"conv*": 0.1, "*.b": 2, "conv1.b": 0.5, "bn?.shift": 3})
    factors = {"conv1.b": 0.5, "bn1.shift": 3, "bn2.shift": 3, "bn3.shift": 3}

    def factor(name: str) -> float:
        return factors.get(name, 2 if name.endswith(".b") else 0.1 if name.startswith("conv") else 1)

    judged(normed(), device, how, 30 if device.name == "cpu" else 2, lambda n: {"lr": 0.02 * factor(n)})


def test_weight_decay_of_weights_alone_is_that_of_pytorchs_groups(device):
    how = Learning(Momentum(weight_decay=0.3), decay="weights")
    steps = 30 if device.name == "cpu" else 2
    judged(normed(), device, how, steps, lambda name: {"weight_decay": 0.3 * name.endswith(".w")})


def test_factors_of_weight_decay_are_pytorchs_groups(device):
    """As Caffe's decay_mult: none of biases, half of it above, three times of one; what comes last counts."""
    how = Learning(
        Momentum(weight_decay=0.3), decay="weights", decay_factors={"fc*": 0.5, "fc1.w": 3, "*.b": 0, "bn1.shift": 2}
    )
    factors = {"fc1.w": 3, "fc2.w": 0.5, "conv1.w": 1, "conv2.w": 1, "bn1.shift": 2}
    steps = 30 if device.name == "cpu" else 2
    judged(normed(), device, how, steps, lambda name: {"weight_decay": 0.3 * factors.get(name, 0)})


def test_factors_count_where_decay_is_meant_for_all():
    how = Learning(Momentum(weight_decay=0.25), decay_factors={"*.b": 0, "conv1": 4})
    program = gpunet.plan(small(), 3, optimizer=how).program
    updates = [op for op in program.ops if op.name == "momentum_update"]
    found = {name: op.attributes["weight_decay"] for op in updates for name in updated(op)}
    assert found == {"conv1.w": 1, "conv1.b": 1} | {
        f"{layer}.{name}": 0.25 * (name == "w") for layer in ("conv2", "fc1", "fc2") for name in ("w", "b")
    }


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_leaves_biases_and_norms_alone_where_only_weights_decay(optimizer):
    rule = find_optimizer(optimizer, weight_decay=0.25)
    program = gpunet.plan(normed(), 3, optimizer=Learning(rule, decay="weights", rate_factors={"bn?": 4})).program
    updates = [op for op in program.ops if op.name == f"{optimizer}_update"]
    for op, changed in [(update, name) for update in updates for name in updated(update)]:
        layer, _, name = changed.partition(".")
        assert rule.settings_of(op, program.changing)["weight_decay"] == (0.25 if name == "w" else 0)
        assert rate_factor(op, program.changing) == (4 if layer.startswith("bn") else 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate_factors": {"cnv1": 2}}, "rate_factors: no layer is called 'cnv1'; did you mean conv1?"),
        ({"rate_factors": {"conv*.c": 2}}, "rate_factors: no parameter is called 'conv*.c'; did you mean conv"),
        ({"rate_factors": {"conv1": 0}}, "rate_factors: 'conv1' must be a number above 0; got 0"),
        ({"rate_factors": {"conv1": float("nan")}}, "got nan"),
        ({"decay_factors": {"cnv1": 2}}, "decay_factors: no layer is called 'cnv1'; did you mean conv1?"),
        ({"decay_factors": {"conv1": -1}}, "decay_factors: 'conv1' must be a number of at least 0; got -1"),
        ({"decay_factors": 3}, "decay_factors must be factors by name, like {'fc*': 10}; got 3"),
        ({"decay": "biases"}, "decay must be one of all, weights; got 'biases'"),
    ],
)
def test_what_makes_no_sense_is_refused(options, words):
    with pytest.raises(ConfigError) as caught:
        gpunet.plan(small(), 3, optimizer=Learning(**options))
    assert words in str(caught.value)


# -- in configs and commands -----------------------------------------------------------------------


def test_a_config_says_it_and_a_dump_keeps_it(tmp_path):
    file = tmp_path / "net.toml"
    text = 'input = "8x8x1"\nnet = "CONV3-4 -> RELU -> FC-10"\n[train]\n'
    file.write_text(text + 'optimizer = "adam"\nbeta1 = 0.5\nfreeze = ["conv*"]\n')
    config = load_config(file)
    assert config.train.learning == Learning(Adam(beta1=0.5), freeze="conv*")
    file.write_text(dump(config))
    assert load_config(file) == config
    file.write_text(text + 'rate_factors = {"fc*" = 10, conv1 = 0.5}\ndecay = "weights"\n')
    config = load_config(file)
    assert config.train.learning == Learning(rate_factors={"fc*": 10, "conv1": 0.5}, decay="weights")
    file.write_text(dump(config))
    assert load_config(file) == config
    file.write_text(text + 'rate_factors = {"fc*" = 10, conv1 = "a"}\n')
    with pytest.raises(ConfigError, match=r"rate_factors must be a table, each value a number above 0.*conv1.*'a'"):
        load_config(file)
    file.write_text(text + "freeze = [1]\n")
    with pytest.raises(ConfigError, match="freeze must be a list, each of it"):
        load_config(file)


def test_commands_freeze(tmp_path):
    def run(*arguments: str):
        return CliRunner().invoke(app, arguments)

    config = tmp_path / "net.toml"
    config.write_text('input = "8x8x1"\nnet = "CONV3-4 -> RELU -> FC-6 -> FC-10"\n[train]\nfreeze = ["fc1"]\n')
    assert "momentum, fc1 frozen, batch" in run("plan", str(config)).output
    found = run("plan", str(config), "--freeze", "conv1", "--freeze", "fc1")
    assert "momentum, conv1, fc1 frozen, batch" in found.output and found.exit_code == 0
    more, fewer = (
        json.loads(run("fit", str(config), "--budget", "560MiB", "--json", *freeze).output)
        for freeze in (("--freeze", "conv1"), ())
    )
    assert str(more) != str(fewer)
    for command in ("plan", "fit", "train"):
        wrong = run(command, str(config), "--freeze", "cnv*")
        assert wrong.exit_code == 2 and "no layer is called 'cnv*'; did you mean conv1?" in wrong.output


def test_a_run_leaves_what_is_frozen_as_it_was_and_goes_on_so(tmp_path):
    arguments = ["train", "INPUT[8x8x1] -> CONV3-4 -> BN -> RELU -> FC-10", "--device", "cpu", "--epochs", "1"]
    found = CliRunner().invoke(
        app, [*arguments, "--freeze", "conv1", "--freeze", "bn1", "--out", str(tmp_path / "run")]
    )
    assert found.exit_code == 0, found.output
    kept = load_file(tmp_path / "run/weights.safetensors")
    start = gpunet.load(tmp_path / "run/config.toml")
    with Model(start, 64, "cpu") as model:
        same = {name for name, value in model.parameters.items() if value.tobytes() == kept[name].tobytes()}
    assert same == {"conv1.w", "conv1.b", "bn1.scale", "bn1.shift", "bn1.mean", "bn1.variance"}
    other = CliRunner().invoke(app, ["train", "--resume", str(tmp_path / "run"), "--epochs", "2", "--freeze", "fc1"])
    assert other.exit_code == 2 and "frozen: conv1, bn1 in the checkpoint, fc1 now" in other.output


def test_factors_are_given_on_the_command_line(tmp_path):
    told = ["train", "INPUT[8x8x1] -> CONV3-4 -> RELU -> FC-10", "--epochs", "1", "--batch", "500", "--device", "cpu"]
    factors = ["--rate-factor", "*=0.1", "--rate-factor", "fc*=1", "--decay-factor", "*.b=0"]
    found = CliRunner().invoke(app, [*told, *factors, "--out", str(tmp_path / "a")])
    assert found.exit_code == 0, found.output
    kept = load_config(tmp_path / "a/config.toml").train
    assert (kept.rate_factors, kept.decay_factors) == ({"*": 0.1, "fc*": 1}, {"*.b": 0})
    for option, text, words in (
        ("--rate-factor", "conv*", "--rate-factor is a pattern and a factor, like 'conv*=0.1'; got 'conv*'"),
        ("--rate-factor", "=2", "--rate-factor is a pattern and a factor"),
        ("--rate-factor", "conv*=0", "rate_factors"),
        ("--rate-factor", "cnv*=2", "rate_factors: no layer is called 'cnv*'"),
        ("--decay-factor", "*.b=-1", "decay_factors"),
    ):
        found = CliRunner().invoke(app, [*told, option, text, "--out", str(tmp_path / "b")])
        assert found.exit_code == 2 and words in found.output and not (tmp_path / "b").exists(), found.output


def test_a_run_goes_on_only_with_the_same_factors_of_decay(tmp_path):
    config = tmp_path / "net.toml"
    text = 'input = "8x8x1"\nnet = "CONV3-4 -> RELU -> FC-10"\n[train]\nepochs = 1\nweight_decay = 0.1\n'
    config.write_text(text + 'decay_factors = {"*.b" = 0, "fc1.w" = 2}\n')
    run = tmp_path / "run"
    found = CliRunner().invoke(app, ["train", str(config), "--device", "cpu", "--out", str(run)])
    assert found.exit_code == 0, found.output
    kept = run / "config.toml"
    assert load_config(kept).train.decay_factors == {"*.b": 0, "fc1.w": 2}
    with Model.load(run, device="cpu") as model:
        assert model.plan.learning.decay_factors == (("*.b", 0.0), ("fc1.w", 2.0))
        model.save(tmp_path / "saved.safetensors")
    with Model.load(tmp_path / "saved.safetensors", device="cpu") as model:
        assert model.plan.learning.decay_factors == (("*.b", 0.0), ("fc1.w", 2.0))
    kept.write_text(kept.read_text().replace('"fc1.w" = 2', '"fc1.w" = 3').replace('"*.b" = 0', '"conv1.b" = 0'))
    other = CliRunner().invoke(app, ["train", "--resume", str(run), "--epochs", "2"])
    assert other.exit_code == 2
    assert "without weight decay: conv1.b, fc1.b in the checkpoint, conv1.b now" in other.output
    assert "factors of weight decay: fc1.w 2 in the checkpoint, fc1.w 3 now" in other.output


def test_a_run_goes_on_only_with_the_same_factors_and_decay(tmp_path):
    config = tmp_path / "net.toml"
    config.write_text(
        'input = "8x8x1"\nnet = "CONV3-4 -> RELU -> FC-10"\n'
        '[train]\nepochs = 1\nweight_decay = 0.1\ndecay = "weights"\nrate_factors = {"fc*" = 2}\nclip_value = 0.5\n'
    )
    run = tmp_path / "run"
    found = CliRunner().invoke(app, ["train", str(config), "--clip-norm", "2", "--device", "cpu", "--out", str(run)])
    assert found.exit_code == 0, found.output
    kept = run / "config.toml"
    said = replace(load_config(config).train.settled().learning, clip_norm=2)
    assert load_config(kept).train.learning == said
    assert (said.clip_value, said.clip_norm) == (0.5, 2)
    kept.write_text(
        kept.read_text()
        .replace('decay = "weights"', "")
        .replace("clip_value = 0.5", "")
        .replace('"fc*" = 2', '"fc*" = 3')
    )
    other = CliRunner().invoke(app, ["train", "--resume", str(run), "--epochs", "2"])
    assert other.exit_code == 2
    assert "without weight decay: conv1.b, fc1.b in the checkpoint, not there now" in other.output
    assert "clipping: clip_value 0.5, clip_norm 2.0 in the checkpoint, clip_norm 2.0 now" in other.output
    assert "factors of the learning rate: fc1 2 in the checkpoint, fc1 3 now" in other.output
