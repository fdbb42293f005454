"""Solvers of Caffe as [train]: the rates of every step, what each number becomes, and what cannot be said."""

from pathlib import Path

import pytest

from gpunet import ConfigError, DataError, import_net
from gpunet.net.config import TrainConfig, load_config
from gpunet.train.schedule import Rates
from tests.caffe_files import write
from tests.caffe_zoo import lenet
from tests.conftest import Run

STEPS, EACH = 60, 10


def solved(folder: Path, said: str, *, net: str | None = None, images: int | None = 640) -> tuple[TrainConfig, str]:
    """[train] of a solver of LeNet, and what was said."""
    write(folder / "lenet.prototxt", lenet() if net is None else net)
    path = write(folder / "solver.prototxt", f'net: "examples/mnist/lenet.prototxt" max_iter: {STEPS} {said}')
    found = import_net(path, input="28x28x1", images=images)
    return found.config.train, str(found)


@pytest.mark.parametrize(
    ("said", "rate"),
    [
        ("", lambda step: 1),
        ('lr_policy: "fixed"', lambda step: 1),
        ('lr_policy: "step" gamma: 0.5 stepsize: 7', lambda step: 0.5 ** (step // 7)),
        ('lr_policy: "multistep" gamma: 0.1 stepvalue: [5, 31]', lambda step: 0.1 ** ((step >= 5) + (step >= 31))),
        ('lr_policy: "exp" gamma: 0.98', lambda step: 0.98**step),
        ('lr_policy: "inv" gamma: 0.01 power: 0.75', lambda step: (1 + 0.01 * step) ** -0.75),
        ('lr_policy: "poly" power: 0.5', lambda step: (1 - step / STEPS) ** 0.5),
    ],
)
def test_the_rate_of_every_step_is_caffes(tmp_path: Path, said: str, rate: object) -> None:
    train, told = solved(tmp_path, f"base_lr: 0.02 {said}")
    assert train.epochs == 6 and train.batch == 64 and "not said" not in told
    found = Rates(train.shape, train.learning_rate, epochs=train.epochs, steps_per_epoch=EACH)
    wanted = [0.02 * rate(step) for step in range(STEPS)]  # type: ignore[operator]
    assert [found(step) for step in range(STEPS)] == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("momentum: 0.9 weight_decay: 0.0005", {"optimizer": "momentum", "momentum": 0.9, "weight_decay": 5e-4}),
        ("", {"optimizer": "sgd"}),
        ('type: "Nesterov" momentum: 0.95', {"optimizer": "nesterov", "momentum": 0.95}),
        ("solver_type: NESTEROV momentum: 0.95", {"optimizer": "nesterov", "momentum": 0.95}),
        ('type: "AdaGrad" delta: 1e-7', {"optimizer": "adagrad", "eps": 1e-7}),
        ('type: "RMSProp" rms_decay: 0.98', {"optimizer": "rmsprop", "alpha": 0.98, "eps": 1e-8}),
        ('type: "Adam" momentum: 0.9 momentum2: 0.99', {"optimizer": "adam", "beta1": 0.9, "beta2": 0.99}),
        ("clip_gradients: 35 random_seed: 1701 iter_size: 4", {"clip_norm": 35, "seed": 1701, "batch": 256}),
    ],
)
def test_numbers_of_a_solver_are_those_of_train(tmp_path: Path, said: str, wanted: dict[str, object]) -> None:
    train, told = solved(tmp_path, said)
    assert {name: getattr(train, name) for name in wanted} == wanted and "not said" not in told
    assert train.rate_factors == {"*.b": 2}


RATES = "param { lr_mult: 1 } param { lr_mult: 2 }"


@pytest.mark.parametrize(
    ("ip2", "others", "wanted", "words"),
    [
        ("param { lr_mult: 10 } param { lr_mult: 20 }", RATES, {"*.b": 2, "ip2.w": 10, "ip2.b": 20}, ""),
        (RATES, "param { lr_mult: 0 } param { lr_mult: 0 }", {"*.b": 2}, "freeze"),
        ("", "", {}, ""),
        ("param { lr_mult: 0 } param { lr_mult: 1 }", "", {}, "lr_mult 0 of ip2.w: a layer is frozen as a whole here"),
        ("param { lr_mult: 3 }", "param { lr_mult: 3 }", {"*": 3, "*.b": 1}, ""),
    ],
)
def test_rates_by_parameter_are_factors_and_frozen_layers(
    tmp_path: Path, ip2: str, others: str, wanted: dict[str, float], words: str
) -> None:
    front, _, back = lenet().rpartition(RATES)
    train, told = solved(tmp_path, "", net=f"{front.replace(RATES, others)}{ip2}{back}")
    assert train.rate_factors == wanted
    assert train.freeze == (("conv1", "conv2", "ip1") if words == "freeze" else ())
    assert words == "freeze" or words in told


@pytest.mark.parametrize(
    ("others", "ip2", "decay", "factors"),
    [
        ((1, 0), (1, 0), "weights", {}),
        ((1, 1), (1, 1), "all", {}),
        ((2, 0), (2, 0), "all", {"*": 2, "*.b": 0}),
        ((1, 0), (250, 0), "all", {"*.b": 0, "ip2.w": 250}),
        ((0, 0), (0, 0), "all", {"*": 0}),
    ],
)
def test_decay_is_of_all_of_weights_alone_or_by_pattern(
    tmp_path: Path, others: tuple[int, int], ip2: tuple[int, int], decay: str, factors: dict[str, float]
) -> None:
    front, _, back = lenet().rpartition(RATES)
    said, last = (" ".join(f"param {{ decay_mult: {one} }}" for one in pair) for pair in (others, ip2))
    train, told = solved(tmp_path, "weight_decay: 0.004", net=f"{front.replace(RATES, said)}{last}{back}")
    assert train.decay == decay and train.decay_factors == factors and train.weight_decay == 0.004
    assert "not said" not in told
    net = import_net(tmp_path / "solver.prototxt", input="28x28x1").net
    weights = {f"{node.name}.{one.name}": one.name == "w" for node in net.nodes for one in net.weights(node)}
    found = train.learning.decays([node.name for node in net.nodes], weights)
    assert [found[name] for name in ("conv1.w", "conv1.b", "ip2.w", "ip2.b")] == [*others, *ip2]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ('type: "AdaDelta"', "type AdaDelta: there is no such optimizer here"),
        ('lr_policy: "sigmoid" gamma: 0.1 stepsize: 5', "lr_policy sigmoid: there is no such schedule here"),
        ('lr_policy: "step" gamma: 0.1', "lr_policy step: the schedule step: every is out of range"),
        ('weight_decay: 0.1 regularization_type: "L1"', "regularization_type L1"),
        ("shiny: 3", "line 1, shiny is no field that Caffe has"),
        ("momentum: 1.5", "momentum must be a number from 0 to below 1; got 1.5"),
        ("weight_decay: -1 random_seed: 99999999999", "weight_decay must be"),
    ],
)
def test_what_train_cannot_say_is_told_and_the_rest_is_kept(tmp_path: Path, said: str, words: str) -> None:
    train, told = solved(tmp_path, f"base_lr: 0.5 {said}")
    assert f"not said under [train]: {words}" in told and train.learning_rate == 0.5


def test_epochs_are_counted_by_images(tmp_path: Path) -> None:
    train, told = solved(tmp_path, "", images=None)
    assert "max_iter is 60 steps, and epochs are counted here: give --images N" in told
    assert train.epochs == TrainConfig.epochs


def test_the_net_of_a_solver_lies_beside_or_is_given(tmp_path: Path) -> None:
    path = write(tmp_path / "solver.prototxt", 'train_net: "a/b/lenet.prototxt" base_lr: 1')
    with pytest.raises(DataError, match=r"trains the net a/b/lenet.prototxt, which is not beside it; put it there, or"):
        import_net(path, input="28x28x1")
    (tmp_path / "elsewhere").mkdir()
    net = write(tmp_path / "elsewhere" / "n.prototxt", lenet())
    assert import_net(path, net=net, input="28x28x1").net.parameters == 431_080
    with pytest.raises(ConfigError, match=r"the net of a solver is a \.prototxt"):
        import_net(path, net="vgg16")
    inner = write(tmp_path / "inner.prototxt", f"net_param {{ {lenet()} }} base_lr: 0.25")
    found = import_net(inner, input="28x28x1")
    assert found.net.name == "LeNet" and found.config.train.learning_rate == 0.25
    with pytest.raises(DataError, match="names no net; give it as --net"):
        import_net(write(tmp_path / "none.prototxt", "base_lr: 1"))


def test_a_solver_becomes_a_config_that_trains(run: Run, tmp_path: Path) -> None:
    small = lenet().replace("num_output: 500", "num_output: 5").replace("kernel_size: 5", "kernel_size: 1")
    write(tmp_path / "lenet.prototxt", small)
    write(
        tmp_path / "s.prototxt",
        'net: "lenet.prototxt" base_lr: 0.01 lr_policy: "inv" gamma: 1e-4 power: 0.75 max_iter: 30',
    )
    result = run("import", "s.prototxt", "--input", "8x8x1", "--images", "1300")
    assert result.exit_code == 0 and "s.toml has the net and how it is trained" in result.output, result.output
    config = load_config(tmp_path / "s.toml")
    assert (config.train.epochs, config.train.schedule, config.train.batch) == (1, "inverse", 64)
    result = run("train", "s.toml", "--data", "digits", "--device", "cpu")
    assert result.exit_code == 0, result.output
