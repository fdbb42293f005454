"""Configs and weights from strangers: whatever is in them, they are read or refused, soon and in little memory."""

from pathlib import Path

import numpy as np
from hypothesis import strategies as st

import gpunet
from gpunet import Model
from gpunet.net.config import dump, dump_net, load_config
from gpunet.net.pattern import parse
from gpunet.train import checkpoint
from gpunet.train.weights import open_weights, save_weights
from tests.fuzzing import CASES, edited, fuzz

CHAIN = "INPUT[8x8x1] -> [CONV3-4 -> RELU]*2 -> POOL2 -> FC-3"
GRAPH = """INPUT[8x6x2] -> CONV3-4(P=0x1, groups=2, bias=false) as stem
    -> { CONV1x3-4 -> BN | [RELU]*2 -> POOL3(S=1, P=1) | ID } -> AUX(weight=0.3)[GAP -> FC-3]
    -> { ID + LRN } as sum -> DROPOUT(p=0.25) -> FC-3"""
PIECES = (
    *(
        "->",
        "[",
        "]",
        "*",
        "*2",
        "(",
        ")",
        ",",
        "=",
        "-",
        " as ",
        "#",
        "\n",
        " ",
        "{",
        "}",
        "|",
        "+",
        "x",
        "0",
        "9" * 12,
    ),
    *(
        "INPUT[8x8x1]",
        "CONV3-4",
        "CONV1x3-4",
        "POOL2",
        "RELU",
        "FC-3",
        "ID",
        "AUX",
        "weight",
        "S",
        "P",
        "fit",
        "pad",
        "é",
    ),
)
CHANGES = st.lists(
    st.tuples(st.integers(0, 250), st.integers(0, 6), st.one_of(st.sampled_from(PIECES), st.text(max_size=2))),
    max_size=5,
)
WORDS = """
net = "C3-4 -> D -> FC-3"
input = "8x8x1"
scale = 0.5
[words]
C = "CONV(bias=false) -> BN -> RELU"
D = "CONV1-2 -> { RELU + ID }"
[loss]
type = "softmax"
smoothing = 0.1
[train]
optimizer = "adam"
schedule = "cosine"
batch = 4
"""


def changed(text: str, changes: list[tuple[int, int, str]]) -> str:
    for at, cut, piece in changes:
        at %= len(text) + 1
        text = text[:at] + piece + text[at + cut :]
    return text


def read_pattern(path: Path) -> None:
    """Read a pattern as a net; what is refused says where, and then names the file for `fuzz`."""
    text = path.read_bytes().decode("utf-8", "surrogatepass")
    try:
        pattern = parse(text)
        gpunet.Net(pattern.input or "8x8x2", pattern.layers)
    except gpunet.GpunetError as error:
        raise gpunet.ConfigError(f"{path}: {error}") from None


@CASES
def test_patterns(tmp_path: Path, cases: int) -> None:
    texts = st.one_of(
        st.builds(changed, st.sampled_from((CHAIN, GRAPH)), CHANGES),
        st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
    )
    fuzz(tmp_path, "pattern.txt", cases, texts.map(lambda text: text.encode("utf-8", "surrogatepass")), read_pattern)


@CASES
def test_configs(tmp_path: Path, cases: int) -> None:
    wholes = [WORDS.encode(), dump(load_config(GRAPH)).encode()]
    fuzz(tmp_path, "net.toml", cases, edited(*wholes), load_config)


@CASES
def test_weights(tmp_path: Path, cases: int) -> None:
    net = gpunet.load("INPUT[2x2x1] -> CONV1-1 -> BN -> FC-2")
    rng = np.random.default_rng(1)
    shapes = {f"{node.name}.{weights.name}": weights.shape for node in net.nodes for weights in net.weights(node)}
    whole = tmp_path / "whole.safetensors"
    values = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    save_weights(whole, values, {"config": dump_net(net)})
    fuzz(tmp_path, "weights.safetensors", cases, edited(whole.read_bytes()), open_weights)


@CASES
def test_checkpoints(tmp_path: Path, cases: int) -> None:
    whole = tmp_path / "whole.safetensors"
    with Model(gpunet.load("INPUT[2x2x1] -> CONV1-1 -> FC-2"), 2, "cpu", optimizer="adam") as model:
        checkpoint.save(whole, model.state, {"epoch": 1, "step": 2})
    fuzz(tmp_path, "last.safetensors", cases, edited(whole.read_bytes()), checkpoint.read)
