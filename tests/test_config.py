"""Configs: what a TOML file may say, how its mistakes are told, what `load` finds, and that a dump loads again."""

import subprocess
import sys
from dataclasses import asdict, fields, replace
from datetime import timedelta
from pathlib import Path
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpunet.errors import ConfigError, GpunetError, ShapeError
from gpunet.layers import layer_types
from gpunet.layers.conv import Conv
from gpunet.layers.fc import FC
from gpunet.layers.hinge import Hinge
from gpunet.layers.loss import Loss
from gpunet.layers.pool import MaxPool
from gpunet.layers.relu import ReLU
from gpunet.layers.softmax import SoftmaxCrossEntropy
from gpunet.net.config import Config, TrainConfig, dump, load, load_config
from gpunet.net.net import Net, Node
from gpunet.net.pattern import parse
from gpunet.net.toml_lines import lines_of
from gpunet.net.words import listed
from gpunet.optimize.optimizers import OPTIMIZERS
from gpunet.program.volume import Volume
from gpunet.system import resources


def written(folder: Path, text: str | bytes, name: str = "my.toml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def mistakes(folder: Path, text: str | bytes) -> list[str]:
    """The lines of the ConfigError that a file with this text causes, without the file's name before each."""
    path = written(folder, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return [line.removeprefix(f"{path}, ").removeprefix(f"{path} ") for line in str(caught.value).split("\n")]


GOOD = """
title = "A net"
source = "nowhere"
name = "mine"
input = "9x7x3"
scale = 2
shift = -0.5
fit = "pad"
net = "CONV3-4(S=2, fit=crop) as first -> RELU -> POOL2 -> FC-5"

[train]
data = "some"
epochs = 3
batch = 7
optimizer = "nesterov"
learning_rate = 1
momentum = 0.5
weight_decay = 0.25
schedule = "cosine"
seed = 11
"""


def test_a_config_says_a_net_and_its_training(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, GOOD))
    assert config.train == TrainConfig(
        "some", 3, 7, "nesterov", 1.0, momentum=0.5, weight_decay=0.25, schedule="cosine", seed=11
    )
    assert (config.title, config.source) == ("A net", "nowhere")
    net = config.net
    assert (net.name, net.input, net.scale, net.shift, net.fit) == ("mine", Volume(9, 7, 3), 2.0, -0.5, "pad")
    assert [node.name for node in net.nodes] == ["first", "relu1", "pool1", "fc1"]
    assert net.volumes["first"] == Volume(5, 4, 4)
    assert net.volumes["pool1"] == Volume(3, 2, 4)
    assert isinstance(config.train.learning_rate, float)


def test_layer_tables_say_the_same_net_as_the_notation(tmp_path: Path) -> None:
    tables = """
        input = "9x7x3"
        [[layer]]
        type = "conv"
        name = "stem"
        K = 4
        [[layer]]
        type = "relu"
        inputs = ["stem"]
        [[layer]]
        type = "pool"
        F = 3
        S = 2
        [[layer]]
        type = "fc"
        K = 5
    """
    net = load(written(tmp_path, tables))
    assert net == load("INPUT[9x7x3] -> CONV3-4 as stem -> RELU -> POOL3(S=2) -> FC-5")
    assert [node.inputs for node in net.nodes] == [("input",), ("stem",), ("relu1",), ("pool1",)]


def test_the_net_is_called_as_its_file_where_it_has_no_name(tmp_path: Path) -> None:
    text = 'net = "INPUT[3x3x1] -> FC-2"'
    assert load(written(tmp_path, text, "tiny_one.toml")).name == "tiny_one"
    assert load_config(written(tmp_path, text)).train == TrainConfig()


def test_byte_order_mark_and_carriage_returns_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load(path) == load(written(tmp_path, GOOD, "other.toml"))


def test_all_mistakes_are_told_at_once_each_with_its_line(tmp_path: Path) -> None:
    text = '''title = "x"
inptu = "8x8x1"   # misspelt
scale = "big"

net = """
INPUT[8x8x1] ->
  CNOV3-64 -> RELU
"""
fit = "pda"

[train]
epoch = 3
batch = 0
schedule = "cosin"
optimizer = "momentun"
"learning_rate" = -1
momentum = 1.0
seed = true
weight_decay = nan
[train.x]
y = 1
[trian]
'''
    assert mistakes(tmp_path, text) == [
        "has 14 mistakes:",
        "line 2: a config has no key 'inptu'; did you mean input?",
        "line 3: scale must be a number; got 'big'",
        "line 7: CNOV3 is not a layer; did you mean CONV?",
        "      CNOV3-64 -> RELU",
        "      ^",
        "line 9: fit must be one of error, pad, crop; got 'pda'; did you mean pad?",
        "line 12: [train] has no key 'epoch'; did you mean epochs?",
        "line 13: batch must be an integer from 1 to 2,147,483,647; got 0",
        "line 14: schedule must be one of constant, step, exponential, cosine, polynomial, inverse, plateau; got"
        " 'cosin'; did you mean cosine?",
        "line 15: optimizer must be one of sgd, momentum, nesterov, adagrad, rmsprop, adam, adamw; got 'momentun';"
        " did you mean momentum?",
        "line 16: learning_rate must be a number above 0, at most 1,000,000; got -1",
        "line 17: momentum must be a number from 0 to below 1; got 1.0",
        "line 18: seed must be an integer from 0 to 4,294,967,295; got true",
        "line 19: weight_decay must be a number from 0 to 1,000,000; got nan",
        f"line 20: [train] has no key 'x'; it has {listed(field.name for field in fields(TrainConfig))}",
        "line 22: a config has no key 'trian'; did you mean train?",
    ]


def test_mistakes_in_layer_tables_are_told_at_once(tmp_path: Path) -> None:
    text = """input = "8x8x1"
[[layer]]
type = "conv"
K = 8
stride = 2
# a comment
[[layer]]
type = "cov"
name = "3x"
[[layer]]
type = "conv"
inputs = "conv1"
[[layer]]
type = "pool"
F = 300
[[layer]]
name = "input"
type = "relu"
[[layer]]
type = "fc"
K = 99999999999
name = "a"
[[layer]]
type = "fc"
K = 0
name = "a"
inputs = []
[[layer]]
"""
    assert mistakes(tmp_path, text) == [
        "has 12 mistakes:",
        "line 5: a conv layer has no key 'stride'; did you mean S?",
        "line 8: there is no layer type 'cov'; did you mean conv?",
        "line 9: '3x' is not a layer name; use letters, digits and _, not a digit first, at most 100 characters",
        "line 10: this conv layer needs K",
        'line 12: inputs must be a list of layer names, like ["conv1"]',
        "line 15: F=300 is more than a pooling window may have; use F <= 255",
        "line 17: input is the name of the net's own input; choose another",
        "line 21: K must be an integer of at most 9 digits; got 99999999999",
        "line 25: K must be an integer of at least 1; got 0",
        "line 26: a is the name of an earlier layer too; choose another",
        'line 27: inputs must be a list of layer names, like ["conv1"]',
        f"line 28: this layer needs a type; there are {listed(layer.type for layer in layer_types())}",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ["line 1: the input volume is not said", "line 1: the layers are not said"]),
        ('input = "8x8x1"', ["line 1: the layers are not said"]),
        ('net = "FC-3"', ["line 1: the input volume is not said"]),
        ('net = "INPUT -> FC-3"', ["line 1: the input volume is not said"]),
        ('\ninput = "8x8"\nnet = "FC-3"', ["line 2: cannot read '8x8' as a volume"]),
        ('\ninput = ""\nnet = "FC-3"', ["line 2: cannot read '' as a volume"]),
        ('\ninput = "8x0x8"\nnet = "FC-3"', ["line 2: a volume needs W >= 1"]),
        ('input = [8, 8, 1]\nnet = "FC-3"', ["line 1: input must be a string; got a list"]),
        ('input = "8x8x1"\nnet = "INPUT[8x8x2] -> FC-3"', ["line 1: input is 8x8x1 but net says INPUT[8x8x2]"]),
        ('input = "8x8x1"\nnet = "FC-0"', ["line 2: FC: K must be an integer of at least 1; got 0"]),
        ('input = "8x8x1"\nnet = ""', ["line 2: expected a layer, [ or {, found the end"]),
        ('input = "8x8x1"\nnet = 3', ["line 2: net must be a string; got 3"]),
        ('input = "8x8x1"\nnet = "FC-3"\n[[layer]]\ntype = "relu"', ["line 3: net and [[layer]] both say the layers"]),
        ('input = "8x8x1"\nnet = "FC-3"\nlayer = 3', ["both say", "line 3: layer must be an array of tables"]),
        ('input = "8x8x1"\nlayer = [{type = "relu"},\n 3]', ["line 2: layer must be an array of tables"]),
        (
            'input = "8x8x1"\nlayer = [{type = "relu"},\n {type = "fc", k = 3}]',
            ["line 3: a fc layer has no key", "needs K"],
        ),
        ('input = "8x8x1"\nnet = "FC-3"\ntrain = 3', ["line 3: train must be a table, [train]; got 3"]),
        (
            'input = "8x8x1"\nnet = "FC-3"\ntrain.epoch = 3',
            ["line 3: [train] has no key 'epoch'; did you mean epochs?"],
        ),
        ('input = "8x8x1"\nnet = "FC-3"\nname = ""', ["line 3: name must be one line of 1 to 100 characters; got ''"]),
        ('input = "8x8x1"\nnet = "FC-3"\ntitle = "a\\nb"', ["line 3: title must be one line of 1 to 1000 characters"]),
        ('input = "8x8x1"\nnet = "FC-3"\nscale = inf', ["line 3: scale must be a number; got inf"]),
        (
            'input = "8x8x1"\nnet = "FC-3"\nscale = 0x' + "f" * 9999,
            ["line 3: scale must be a number; got an integer of 39996 bits"],
        ),
        ('input = "8x8x1"\nnet = "FC-3"\nscale = 1979-05-27', ["line 3: scale must be a number; got datetime.date"]),
        ('input = "8x8x1"\nnet = FC-3', ["line 2: not TOML: Invalid value", "    net = FC-3", "          ^"]),
        ('input = "8x8x1"\nnet = "FC-3', ["line 2: not TOML: "]),
        ('input = "8x8x1"\n\nnet = """FC-3', ["line 3: not TOML: Unterminated string, at the end"]),
        ('input = "8x8x1"\ninput = "8x8x1"', ["line 2: not TOML: Cannot overwrite a value"]),
        ("scale = " + "9" * 5000, ["an integer of thousands of digits"]),
        ("x = " + "[" * 5000, ["is nested too deeply"]),
        ("x" + ".x" * 200 + " = 1", ["line 1: more than 100 dots"]),
        ("x = {x" + ".x" * 200 + " = 1}", ["line 1: more than 100 dots"]),
        ("\n\n[x" + ".x" * 200 + "]", ["line 3: more than 100 dots"]),
        (b'input = "8x8x1"\nnet = "FC-\xff"', ["line 2: this is not UTF-8 text"]),
        (b"\0" * 100, ["line 1: this is not UTF-8 text"]),
        (b"#" * (2**20 + 1), ["is larger than 1 MiB"]),
    ],
)
def test_a_file_that_cannot_be_a_config_is_refused(tmp_path: Path, text: str | bytes, said: list[str]) -> None:
    told = "\n".join(mistakes(tmp_path, text))
    assert all(part in told for part in said), told


def test_a_mistake_in_a_pattern_is_told_by_the_line_of_the_file(tmp_path: Path) -> None:
    ways = {
        'a = 1\nnet = """INPUT[8x8x1] ->\nRELU -> FOO"""': 3,
        "a = 1\nnet = '''\nINPUT[8x8x1] ->\nRELU -> FOO\n'''": 4,
        "a = 1\nnet = '''\n\n\nFOO'''": 5,
        'a = 1\nnet = "INPUT[8x8x1] -> FOO"': 2,
        'a = 1\nnet = "INPUT[8x8x1] ->\\n\\n\\n FOO"': 2,
        'a = 1\nnet = """INPUT[8x8x1] -> \\\n   FOO"""': 2,
    }
    words = listed(layer.word for layer in layer_types())
    for text, line in ways.items():
        assert f"line {line}: FOO is not a layer; there are {words}" in mistakes(tmp_path, text)
    twice = "net = '''\nINPUT[8x8x1] ->\nFC-3 as a ->\nFC-3 as a ->\nRELU'''"
    assert mistakes(tmp_path, twice)[0] == "line 4: two layers are called a; give one of them another name"


def test_very_many_mistakes_are_counted_but_not_all_told(tmp_path: Path) -> None:
    text = "".join(f"key{index} = {index}\n" for index in range(40_000))
    start = perf_counter()
    told = mistakes(tmp_path, text)
    assert perf_counter() - start < 5
    assert (len(told), told[0], told[-1]) == (52, "has 40002 mistakes:", "... and 39952 more")


def test_a_net_that_does_not_fit_is_told_with_the_name_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, 'net = "INPUT[10x10x1] -> CONV3-4(S=2, P=0) as odd -> FC-2"')
    with pytest.raises(ShapeError, match=r"my\.toml, line 1: odd: F=3, S=2, P=0 does not fit 10x10, as .* = 4\.5"):
        load(path)
    path = written(tmp_path, 'input = "3x3x1"\n[[layer]]\ntype = "fc"\nK = 2\ninputs = ["nobody"]')
    with pytest.raises(ConfigError, match=r"my\.toml, line 2: fc1 takes 'nobody'"):
        load(path)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no file .*none\.toml"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="is a directory"):
        load(tmp_path)
    with pytest.raises(ConfigError, match=r"cannot read .*Not a directory"):
        load(written(tmp_path, "") / "x.toml")
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    with pytest.raises(ConfigError, match=r"cannot read .*loop"):
        load(tmp_path / "loop.toml")
    for name in ("\0.toml", f"{'a' * 5000}.toml", "\udcff.toml"):
        with pytest.raises(ConfigError) as caught:
            load(name)
        str(caught.value).encode()


def test_load_finds_shipped_names_paths_and_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vgg16").mkdir()  # a run's folder, say: the shipped name goes before
    assert load("vgg16").name == "vgg16"
    written(tmp_path, GOOD)
    written(tmp_path, GOOD, "without_ending")
    nets = [load(way) for way in ("my.toml", "./my.toml", "without_ending", Path("my.toml"), str(tmp_path / "my.toml"))]
    assert all(net == nets[0] for net in nets)
    assert load("INPUT[4x5x6] -> FC-2") == Net("4x5x6", [FC(2)])
    assert load("# mine\nINPUT[4x5x6]\n-> RELU") == Net("4x5x6", [ReLU()])
    assert load_config("INPUT[4x5x6] -> FC-2").train == TrainConfig()


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("vg16", "there is no net called 'vg16'; did you mean vgg16?\nshipped nets: "),
        ("VG16", "did you mean vgg16?"),
        ("nothing like it", "vgg_cifar, vgg_digits and zfnet; or give the path of a .toml file, or a pattern"),
        ("", "there is no net called ''"),
        ("a\0b", "there is no net called 'a\\x00b'"),
        ("b" * 5000, "there is no net called 'bbb"),
        ("no/such/file", "there is no file no/such/file"),
        ("my.toml", "there is no file my.toml"),
        ("RELU -> FC-10", "the input volume is not said; begin with INPUT[32x32x3]"),
        ("INPUT", "expected -> and a layer after INPUT"),
        ("INPUT[3x3x3", "this [ is not closed"),
        (12, "a net is a shipped name, a path or a pattern; got 12"),
        (None, "got None"),
    ],
)
def test_what_load_cannot_find_is_told(what: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load(what)
    assert said in str(caught.value)


def test_train_settings_out_of_range_are_all_named() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig(epochs=0, batch=10**12, learning_rate=float("inf"), schedule="cosine", seed=-1)
    told = str(caught.value).split("; ")
    assert [part.split()[0] for part in told if "must be" in part] == ["epochs", "batch", "learning_rate", "seed"]
    with pytest.raises(ConfigError, match="epochs"):
        replace(TrainConfig(), epochs=1.5)  # type: ignore[arg-type]


def training(folder: Path, text: str) -> TrainConfig:
    return load_config(written(folder, f'net = "INPUT[3x3x1] -> FC-2"\n[train]\n{text}')).train


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_config_sets_every_setting_of_its_optimizer(tmp_path: Path, name: str) -> None:
    said = {setting: 0.125 * (1 + place) for place, setting in enumerate(OPTIMIZERS[name].settings())}
    train = training(tmp_path, "\n".join([f'optimizer = "{name}"', *(f"{key} = {said[key]}" for key in said)]))
    assert train.rule == OPTIMIZERS[name](**said)
    assert asdict(train.rule) == said
    assert training(tmp_path, f'optimizer = "{name}"').rule == OPTIMIZERS[name]()


def test_settings_that_the_optimizer_does_not_have_are_told_with_those_it_has(tmp_path: Path) -> None:
    text = 'net = "INPUT[3x3x1] -> FC-2"\n[train]\nbeta1 = 0.5\nmomentum = 0.9\noptimizer = "sgd"\nepochs = 0'
    assert mistakes(tmp_path, text) == [
        "has 3 mistakes:",
        "line 3: sgd has no beta1; it has weight_decay",
        "line 4: sgd has no momentum; it has weight_decay",
        "line 6: epochs must be an integer from 1 to 1,000,000; got 0",
    ]
    text = 'net = "INPUT[3x3x1] -> FC-2"\n[train]\nalpha = 0.5\n'  # the default is momentum
    assert mistakes(tmp_path, text) == ["line 3: momentum has no alpha; it has weight_decay, momentum"]
    with pytest.raises(ConfigError, match="rmsprop has no beta2; it has weight_decay, alpha, eps"):
        TrainConfig(optimizer="rmsprop", beta2=0.5)
    text = 'net = "INPUT[3x3x1] -> FC-2"\n[train]\nbeta1 = 1.0\neps = 0\noptimizer = "adam"'
    assert mistakes(tmp_path, text) == [
        "has 2 mistakes:",
        "line 3: beta1 must be a number from 0 to below 1; got 1.0",
        "line 4: eps must be a number from 1e-30 to 1; got 0",
    ]


def test_only_adamw_decays_weights_where_nobody_says_so(tmp_path: Path) -> None:
    found = {name: training(tmp_path, f'optimizer = "{name}"').rule.weight_decay for name in OPTIMIZERS}
    assert found == {**dict.fromkeys(OPTIMIZERS, 0.0), "adamw": 0.01}
    assert training(tmp_path, 'optimizer = "adamw"\nweight_decay = 0').rule.weight_decay == 0.0


def test_another_optimizer_leaves_behind_the_settings_that_it_does_not_have() -> None:
    train = TrainConfig(optimizer="adam", beta1=0.5, eps=0.25, weight_decay=0.125, epochs=3)
    assert train.changed(optimizer="rmsprop", batch=2) == TrainConfig(
        optimizer="rmsprop", eps=0.25, weight_decay=0.125, epochs=3, batch=2
    )
    assert train.changed(learning_rate=0.5) == replace(train, learning_rate=0.5)
    with pytest.raises(ConfigError, match="optimizer must be one of"):
        train.changed(optimizer="adamm")
    with pytest.raises(ConfigError, match="sgd has no beta2"):
        train.changed(optimizer="sgd", beta2=0.5)


@pytest.mark.parametrize("said", ["0", "-5", "1.5", "true", '"lots"', '"0"', '""'])
def test_a_budget_is_an_amount_of_memory(tmp_path: Path, said: str) -> None:
    assert training(tmp_path, 'budget = "6GiB"').budget == "6GiB" and training(tmp_path, "budget = 70").budget == 70
    assert TrainConfig().budget is None
    with pytest.raises(ConfigError, match="budget must be an amount of memory like 6GiB; got"):
        training(tmp_path, f"budget = {said}")


def test_a_settled_config_says_every_setting_of_its_optimizer(tmp_path: Path) -> None:
    train = TrainConfig(optimizer="adamw", beta1=0.5).settled()
    assert (train.weight_decay, train.beta1, train.beta2, train.eps) == (0.01, 0.5, 0.999, 1e-8)
    assert (train.momentum, train.alpha) == (None, None)
    config = Config(load("INPUT[3x3x1] -> FC-2"), train)
    assert load_config(written(tmp_path, dump(config))) == config


# The loss.

NET = 'net = "INPUT[3x3x1] -> FC-2"'


@pytest.mark.parametrize(
    "text, loss",
    [
        ("", SoftmaxCrossEntropy()),
        ('[loss]\ntype = "softmax"', SoftmaxCrossEntropy()),
        ('[loss]\ntype = "softmax"\nsmoothing = 0.1', SoftmaxCrossEntropy(0.1)),
        ('loss = {type = "svm"}', Hinge()),
        ('[loss]\ntype = "svm"\nmargin = 2\nsquared = true', Hinge(2.0, True)),
    ],
)
def test_a_config_says_the_loss_and_a_dump_keeps_it(tmp_path: Path, text: str, loss: Loss) -> None:
    config = load_config(written(tmp_path, f"{NET}\n{text}"))
    assert config.net.loss == loss
    assert load_config(written(tmp_path, dump(config))) == config


@pytest.mark.parametrize(
    "text, told",
    [
        ("loss = 3", "line 2: loss must be a table, [loss]; got 3"),
        ('[[loss]]\ntype = "svm"', "line 2: loss must be a table, [loss]; got a list"),
        ("[loss]", "line 2: this loss needs a type; there are softmax and svm"),
        ("[loss]\nmargin = 2", "line 2: this loss needs a type; there are softmax and svm"),
        ('[loss]\n\ntype = "sofmax"', "line 4: there is no loss type 'sofmax'; did you mean softmax?"),
        ("[loss]\ntype = [1]", "line 3: there is no loss type a list; there are softmax and svm"),
        ('[loss]\ntype = "svm"\nmargn = 2', "line 4: a svm loss has no key 'margn'; did you mean margin?"),
        ('[loss]\ntype = "softmax"\nmargin = 2', "line 4: a softmax loss has no key 'margin'"),
        ('[loss]\ntype = "svm"\nmargin = -2', "line 4: margin must be a number above 0; got -2.0"),
        ('[loss]\ntype = "svm"\nsquared = 1', "line 4: squared must be true or false; got 1"),
        ('[loss]\nsmoothing = 1\ntype = "softmax"', "line 3: smoothing must be a number of at least 0 and below 1"),
        ('[loss]\ntype = "softmax"\nsmoothing = "x"', "line 4: smoothing must be a number; got 'x'"),
        ('[los]\ntype = "softmax"', "line 2: a config has no key 'los'; did you mean loss?"),
    ],
)
def test_a_loss_that_cannot_be_is_told_by_its_line(tmp_path: Path, text: str, told: str) -> None:
    (said,) = mistakes(tmp_path, f"{NET}\n{text}")
    assert said.startswith(told)


# Words of a config's own.


def with_words(words: str, net: str) -> str:
    return f'input = "8x8x3"\nnet = """\n{net}"""\n\n[words]\n{words}\n'


def test_a_word_of_its_own_stands_for_its_layers_and_hands_on_what_is_said_of_the_first(tmp_path: Path) -> None:
    words = (
        'C = "CONV(bias=false, S=2, P=1) -> BN -> RELU"\nWIDE = "CONV5-7"\nBLOCK = "CONV -> { RELU + CONV1-6 } -> TANH"'
    )
    net = "C3-4 -> C3-5(S=1) as stem -> WIDE -> WIDE3-2 -> [BLOCK-6]*2 -> FC-2"
    said = """CONV3-4(bias=false, S=2, P=1) -> BN -> RELU -> CONV3-5(bias=false, P=1) -> BN -> RELU as stem
        -> CONV5-7 -> CONV3-2 -> [CONV3-6 -> { RELU + CONV1-6 } -> TANH]*2 -> FC-2"""
    text = with_words(words, net).replace("net = ", 'fit = "crop"\nnet = ')
    found = load(written(tmp_path, text))
    assert found.nodes == Net("8x8x3", parse(said).layers, fit="crop").nodes


@pytest.mark.parametrize(
    ("words", "net", "said"),
    [
        ('CONV = "CONV -> RELU"', "RELU", ["line 6: CONV has a meaning already; choose another word"]),
        ('ID = "CONV -> RELU"', "RELU", ["line 6: ID has a meaning already"]),
        ('C3 = "CONV -> RELU"', "RELU", ["line 6: 'C3' cannot be a word of the notation; use up to 20 letters and _"]),
        ("C = 3", "RELU", ["line 6: C must stand for layers, like "]),
        ('C = "CNOV -> RELU"', "C3-4", ["line 6: CNOV is not a layer; did you mean CONV?", "    ^"]),
        ('C = "CONV -> RELU as r"', "C3-4", ["line 6: r would name a layer wherever the word stands"]),
        ('C = "[RELU]*2"', "C3-4", ["line 6: a definition begins with a layer, to which numbers and options go"]),
        ('C = "CONV ->"', "C3-4", ["line 6: expected a layer, [ or {, found the end"]),
        ('C = "CONV -> RELU"', "C3-4 -> C3", ["line 3: CONV needs K; write CONV3-64", "            ^"]),
        ('C = "CONV -> [RELU]*2"', "C3-4 as x", ["line 3: C3 ends in a group, which has no name; leave this out"]),
        (
            'C = "CONV -> POOL5"',
            "POOL2 -> C3-4",
            ["line 3: pool2: F=5 is larger than the input of 4", "             ^"],
        ),
        ('D = "CONV -> RELU"\nC = "D -> RELU"', "C3-4", ["line 7: D is not a layer"]),
    ],
)
def test_mistakes_in_words_and_in_their_use_are_told_where_they_are(
    tmp_path: Path, words: str, net: str, said: list[str]
) -> None:
    with pytest.raises((ConfigError, ShapeError)) as caught:
        load(written(tmp_path, with_words(words, net)))
    told = str(caught.value)
    assert all(part in told for part in said), told
    assert "mistakes:" not in told


def test_words_must_be_a_table(tmp_path: Path) -> None:
    assert mistakes(tmp_path, 'input = "8x8x3"\nnet = "RELU"\nwords = 3') == [
        "line 3: words must be a table, [words]; got 3"
    ]


# Shipped configs.


def test_shipped_configs_are_the_nets_they_say() -> None:
    assert {"vgg16", "vgg_cifar", "vgg_digits"} <= set(resources.config_names())
    vgg16 = load("vgg16")
    assert vgg16.parameters == 138_357_544
    named = {node.layer.type: node.name for node in vgg16.nodes}
    assert (named["conv"], named["fc"], named["pool"]) == ("conv13", "fc3", "pool5")
    kept = [volume.values for name, volume in vgg16.volumes.items() if not name.startswith("relu")]
    assert sum(kept) == 15_237_608
    assert (str(load("vgg_cifar").input), load("vgg_cifar").classes) == ("32x32x3", 10)
    assert sum(node.layer.type == "conv" for node in load("vgg_cifar").nodes) == 8
    assert (str(load("vgg_digits").input), load("vgg_digits").classes) == ("8x8x1", 10)


@pytest.mark.parametrize("name", resources.config_names())
def test_every_shipped_config_says_its_title_and_source_and_survives_a_dump(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    assert config.net.name == name
    assert config.title and config.source
    again = load_config(written(tmp_path, dump(config)))
    assert again == config
    assert (again.net.name, again.net.fit) == (config.net.name, config.net.fit)


LAYERS = st.one_of(
    st.builds(
        Conv,
        K=st.integers(1, 9),
        F=st.sampled_from((1, 3, 5)),
        S=st.integers(1, 3),
        fit=st.sampled_from(("pad", "crop")),
    ),
    st.builds(MaxPool, F=st.integers(1, 3), S=st.integers(1, 3), fit=st.sampled_from((None, "crop"))),
    st.builds(FC, K=st.integers(1, 9)),
    st.builds(ReLU),
)
LOSSES = st.one_of(
    st.builds(SoftmaxCrossEntropy, smoothing=st.floats(0, 1, exclude_max=True)),
    st.builds(Hinge, margin=st.floats(1e-300, 1e6), squared=st.booleans()),
)
TRAINING = st.builds(
    TrainConfig,
    data=st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=9),
    epochs=st.integers(1, 10**6),
    batch=st.integers(1, 2**31 - 1),
    budget=st.one_of(st.none(), st.integers(1, 10**18 - 1), st.sampled_from(("6GiB", "512 MB", "7G"))),
    learning_rate=st.floats(1e-300, 1e6),
    momentum=st.floats(0, 1, exclude_max=True),
    schedule=st.sampled_from(("constant", "cosine")),
    seed=st.integers(0, 2**32 - 1),
)


@settings(max_examples=200, deadline=timedelta(seconds=2))
@given(st.lists(LAYERS, min_size=1, max_size=8), TRAINING, LOSSES, st.floats(-1e6, 1e6), st.booleans())
def test_a_dumped_config_loads_again_as_an_equal_one(
    tmp_path_factory: pytest.TempPathFactory,
    layers: list[object],
    train: TrainConfig,
    loss: Loss,
    shift: float,
    named: bool,
) -> None:
    nodes = [Node(f"layer_{index}" if named else "", layer, ()) for index, layer in enumerate(layers)]  # type: ignore[arg-type]
    try:
        net = Net("31x17x2", nodes, name='a "net"', fit="crop", scale=1 / 3, shift=shift, loss=loss)
    except ShapeError:  # shrunk to nothing
        return
    config = Config(net, train, title="t\\", source="")
    again = load_config(written(tmp_path_factory.getbasetemp(), dump(config)))
    assert again == config
    assert (again.net.name, again.net.fit) == (net.name, "crop")


# Lines of keys, against a writer that counts them.

KEYS = st.sampled_from(("a", "b-1", "_c", "1", '"quoted # key"', "'single = ]'", '"\\u0041\\""'))
VALUES = st.sampled_from(
    (
        *(
            "1",
            "-1.5e3",
            "true",
            "1979-05-27T07:32:00Z",
            '"x # ] \\" y"',
            "'a \" [[b]] = 3'",
            "[]",
            "[1, 2]",
            '""',
            "{}",
        ),
        *(
            '"""\n[not]\na = 3 \\""" ""\n"""',
            "'''\nx = ''\n[[y]]'''",
            '"""a"""',
            "[ # x\n 1,\n\n [\n2],\n]",
            '"""x"""""',
        ),
        *("[{z = 1, y.x = [3]},\n{z = 2}]", "{ p = {q = 1} , r.s = '}' }"),
    )
)
FILLING = st.sampled_from(("", "\n", "# [x] \n", "  \t\n\n"))


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[tuple[str | int, ...], int]]:
    """A TOML text, and the lines of its tables and keys as they were written."""
    text = ""
    lines: dict[tuple[str | int, ...], int] = {}
    for number in range(draw(st.integers(0, 6))):
        text += draw(FILLING)
        table: tuple[str | int, ...] = ()
        if number:
            many = draw(st.booleans())
            table = (
                ("list", len([key for key in lines if key[0] == "list" and len(key) == 2]))
                if many
                else (f"t{number}", "x")
            )
            lines[table] = text.count("\n") + 1
            text += ("[[ list ]]" if many else f"[t{number} . x]") + draw(st.sampled_from(("\n", " # a = 1\n")))
        for index, key in enumerate(draw(st.lists(KEYS, max_size=4, unique=True))):
            plain = {'"quoted # key"': "quoted # key", "'single = ]'": "single = ]", '"\\u0041\\""': 'A"'}.get(key, key)
            text += draw(FILLING)
            lines[(*table, f"k{index}", plain)] = text.count("\n") + 1
            text += f"  k{index} .{key}\t= {draw(VALUES)} # c\n"
    return text, lines


@settings(max_examples=300, deadline=timedelta(seconds=2))
@given(documents())
def test_the_line_of_every_key_is_found(document: tuple[str, dict[tuple[str | int, ...], int]]) -> None:
    import tomllib

    text, lines = document
    tomllib.loads(text)  # the writer writes TOML
    found = lines_of(text)
    assert {path: found.get(path) for path in lines} == lines


def test_lines_inside_values_are_found() -> None:
    lines = lines_of("a = [\n {b = 1},\n # c\n {d.e = 2}]\nf.g = 3")
    assert (lines["a", 0, "b"], lines["a", 1, "d", "e"], lines["f",], lines["f", "g"]) == (2, 4, 5, 5)


# Any text at all.

TABLES = dump(load_config("INPUT[8x8x1] -> CONV3-4 -> RELU -> POOL2 -> FC-3"))
BITS = (
    "[",
    "]",
    "[[",
    '"',
    "'",
    '"""',
    "=",
    ".",
    "\n",
    "#",
    "{",
    "}",
    ",",
    "9" * 12,
    "-1",
    "nan",
    "true",
    "x",
    "\\",
    "type",
    "[[layer]]",
)


@settings(max_examples=2000, deadline=timedelta(seconds=2))
@given(
    st.sampled_from((GOOD, TABLES)),
    st.lists(
        st.tuples(st.integers(0, 1200), st.integers(0, 9), st.one_of(st.sampled_from(BITS), st.text(max_size=3))),
        max_size=4,
    ),
)
def test_a_mutated_config_is_read_or_refused_with_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, text: str, changes: list[tuple[int, int, str]]
) -> None:
    for at, cut, piece in changes:
        text = text[:at] + piece + text[at + cut :]
    path = written(tmp_path_factory.getbasetemp(), text.encode("utf-8", "surrogatepass"), "fuzz.toml")
    try:
        refused = "" if load(path).nodes else "read as nothing"
    except (ConfigError, ShapeError) as error:
        refused = str(error)
    assert not refused or "fuzz.toml" in refused


@settings(max_examples=500, deadline=timedelta(seconds=2))
@given(
    st.one_of(
        st.binary(max_size=60), st.lists(st.sampled_from(BITS), max_size=30).map(lambda bits: "".join(bits).encode())
    )
)
def test_any_bytes_are_read_or_refused_with_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    with pytest.raises(ConfigError, match=r"fuzz\.toml"):
        load(written(tmp_path_factory.getbasetemp(), data, "fuzz.toml"))


@pytest.mark.parametrize(
    "text",
    [
        "[[layer]]\n" * 100_000,
        "a = 1\n" * 150_000,
        "[" * 1_000_000,
        "a" * 1_000_000,
        "a." * 500_000,
        "a.\n" * 300_000,
        "x = [" + "[]," * 300_000 + "]",
        'x = "' + "a" * 1_000_000 + '"',
        'net = "' + "RELU -> " * 120_000 + '"',
        'input = "' + "1" * 1_000_000 + '"',
        "#" * 1_000_000,
        "\n" * 1_000_000,
    ],
    ids=lambda text: repr(text[:8]),
)
def test_hostile_files_are_refused_soon_and_in_few_words(tmp_path: Path, text: str) -> None:
    start = perf_counter()
    told = "\n".join(mistakes(tmp_path, text))
    assert perf_counter() - start < 10
    assert len(told) < 10_000


def test_reading_configs_does_not_import_numpy() -> None:
    heavy = ("numpy", "cupy", "tomli_w")
    code = f"import sys, gpunet.net.config as c; c.load('vgg16'); print([m for m in {heavy} if m in sys.modules])"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent
    )
    assert ran.stdout.strip() == "[]"


def test_errors_are_those_that_a_user_can_mend() -> None:
    assert issubclass(ConfigError, GpunetError) and ConfigError("x").exit_code == 2
