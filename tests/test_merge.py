"""Merges: ops against slices, nets of branches against slopes and PyTorch, both notations, and what is refused."""

import numpy as np
import pytest
import torch
from torch.nn import functional

import gpunet
from gpunet import (
    FC,
    Add,
    Concat,
    ConfigError,
    Conv,
    GlobalAvgPool,
    Maximum,
    MaxPool,
    Model,
    Multiply,
    Net,
    Node,
    ReLU,
    ShapeError,
    Sigmoid,
    Volume,
)
from gpunet.compile.chunk import cut_points
from tests import oracle
from tests.layer_checks import check_only_given_images, check_savings, check_slopes, check_words
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op
from tests.test_ways import lowered

DTYPES = [np.float32, np.float64]

RESIDUAL = "INPUT[6x5x2] -> CONV3-4 -> RELU -> { CONV3-4 -> RELU -> CONV3-4 + ID } -> RELU -> POOL2(fit=pad) -> FC-3"
INCEPTION = """INPUT[6x5x2] -> CONV3-4 -> TANH -> {
    CONV1-3 -> TANH | CONV1-2 -> RELU -> CONV3-5 -> RELU | POOL3(S=1, P=1) -> CONV1-2 -> RELU
} -> { ID + CONV3-10 + CONV1-10 -> TANH } -> RELU -> GAP -> FC-3"""
TWICE = "INPUT[4x5x2] -> CONV3-3 -> { ID + ID } -> { ID | ID | RELU } -> FC-3"
UNTRAINED = "INPUT[4x5x2] -> { CONV3-3 | ID | RELU } -> { ID + CONV1-7 } -> FC-3"

GATED = """INPUT[6x5x2] -> CONV3-4 -> RELU -> { ID * GAP -> FC-4 -> SIGMOID }
    -> { GAP -> SIGMOID * CONV3-4 * ID } -> FC-3"""
SCALED = "INPUT[5x4x2] -> CONV3-3 -> { CONV1-3 + ID + RELU + TANH }(0.2, 1, -2, 0.2) -> FC-3"
LARGEST = "INPUT[5x4x2] -> CONV3-3 -> { CONV1-3 max ID max TANH } -> FC-3"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (3, 7, 1, 9), (1, 1, 1, 1)])
def test_a_sum_adds_every_value_whatever_it_lies_in(device, rng, shape, dtype):
    a, b = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    for in_place in ({}, {0: 0}, {0: 1}):
        (y,) = run_op(device, "add", [a, b], [(shape, dtype)], in_place=in_place)
        np.testing.assert_array_equal(y, a + b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (3, 7, 1, 9), (1, 1, 1, 1)])
def test_products_maxima_and_coefficients_are_those_of_the_definition(device, rng, shape, dtype):
    a, b, dy = (rng.standard_normal(shape).astype(dtype) for _ in range(3))
    b.reshape(-1)[::3] = a.reshape(-1)[::3]  # of equals, the first
    for in_place in ({}, {0: 0}, {0: 1}):
        (y,) = run_op(device, "multiply", [a, b], [(shape, dtype)], in_place=in_place)
        np.testing.assert_array_equal(y, a * b)
        (y,) = run_op(device, "maximum", [a, b], [(shape, dtype)], in_place=in_place)
        np.testing.assert_array_equal(y, np.maximum(a, b))
        (y,) = run_op(device, "add_scaled", [a, b], [(shape, dtype)], in_place=in_place, of_a=0.5, of_b=-3.0)
        np.testing.assert_allclose(y, 0.5 * a - 3 * b, rtol=1e-5, atol=1e-6)
    for in_place in ({}, {0: 0}, {1: 0}, {0: 1, 1: 2}, {0: 2, 1: 1}):
        found = run_op(device, "maximum_backward", [dy, a, b], [(shape, dtype)] * 2, in_place=in_place)
        np.testing.assert_array_equal(found, [np.where(a >= b, dy, 0), np.where(a >= b, 0, dy)])
    (y,) = run_op(device, "scaled", [a], [(shape, dtype)], in_place={0: 0}, factor=-0.25)
    np.testing.assert_array_equal(y, -0.25 * a)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (3, 7, 2, 37), (4, 1, 1, 3)])
def test_a_gate_multiplies_all_positions_of_its_map_and_hears_of_all(device, rng, shape, dtype):
    a, dy = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    gate = rng.standard_normal((shape[0], 1, 1, shape[3])).astype(dtype)
    for in_place in ({}, {0: 0}):
        (y,) = run_op(device, "multiply", [a, gate], [(shape, dtype)], in_place=in_place)
        np.testing.assert_array_equal(y, a * gate)
    (db,) = run_op(device, "multiply_backward_gate", [dy, a], [(gate.shape, dtype)])
    expected = (dy.astype(np.float64) * a).sum(axis=(1, 2), keepdims=True)
    oracle.assert_near(db, expected)


def test_nan_is_the_maximum_and_gets_the_gradient(device):
    a, b = np.array([np.nan, 1, np.nan, 1]).reshape(1, 1, 1, 4), np.array([1, np.nan, np.nan, 0]).reshape(1, 1, 1, 4)
    (y,) = run_op(device, "maximum", [a, b], [(a.shape, a.dtype)])
    np.testing.assert_array_equal(y.reshape(-1), [np.nan, np.nan, np.nan, 1])
    da, db = run_op(device, "maximum_backward", [np.ones_like(a), a, b], [(a.shape, a.dtype)] * 2)
    np.testing.assert_array_equal([da.reshape(-1), db.reshape(-1)], [[1, 0, 1, 1], [0, 1, 0, 0]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("depths", [(4, 8, 4), (3, 1, 6), (1, 1), (7, 4), (16,) * 5])
def test_maps_are_joined_and_taken_apart_in_order(device, rng, depths, dtype):
    xs = [rng.standard_normal((3, 5, 2, D)).astype(dtype) for D in depths]
    whole = np.empty((3, 5, 2, sum(depths)), dtype)
    for n, h, w in np.ndindex(3, 5, 2):
        whole[n, h, w] = [value for x in xs for value in x[n, h, w]]
    (y,) = run_op(device, "concat_forward", xs, [(whole.shape, dtype)])
    np.testing.assert_array_equal(y, whole)
    for found, x in zip(run_op(device, "concat_backward", [y], [(x.shape, dtype) for x in xs]), xs, strict=True):
        np.testing.assert_array_equal(found, x)


def test_images_behind_the_last_are_left_alone(device, rng):
    a, b = (1 + rng.random((3, 4, 5, 3)) for _ in range(2))
    check_only_given_images(device, "add", [a, b], a)
    check_only_given_images(device, "concat_forward", [a, b], np.concatenate([a, b], axis=3))


@pytest.mark.parametrize("text", [RESIDUAL, INCEPTION, TWICE, UNTRAINED, GATED, SCALED, LARGEST], ids=range(7))
def test_nets_of_branches_learn_and_save_as_chains_do(device, text):
    net = gpunet.load(text)
    check_slopes(net, device)
    check_savings(net, device)


def test_gradients_of_a_fork_are_those_of_pytorch(device, rng):
    net = gpunet.load(INCEPTION)
    images, labels = rng.standard_normal((5, 6, 5, 2)), rng.integers(0, 3, 5)
    with Model(net, 5, device, dtype="float64", seed=4, debug=True) as model:
        found = model.gradients(images, labels)
        leaves = {name: torch.tensor(value, requires_grad=True) for name, value in model.parameters.items()}
        loss = model.evaluate(images, labels)[0]
    scores = inception_by_hand(torch.tensor(images.transpose(0, 3, 1, 2)), leaves)
    expected = functional.cross_entropy(scores, torch.tensor(labels))
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    for name, leaf in leaves.items():
        np.testing.assert_allclose(found[name], leaf.grad.numpy(), rtol=0, atol=1e-11 * leaf.grad.abs().max().item())


def inception_by_hand(x: torch.Tensor, p: dict[str, torch.Tensor]) -> torch.Tensor:
    """INCEPTION, written out with PyTorch's functions."""

    def conv(x, name):
        w = p[f"{name}.w"].permute(0, 3, 1, 2)
        return functional.conv2d(x, w, p[f"{name}.b"], padding=w.shape[2] // 2)

    x = conv(x, "conv1").tanh()
    wide = conv(conv(x, "conv3").relu(), "conv4").relu()
    pooled = conv(functional.max_pool2d(x, 3, 1, 1), "conv5").relu()
    x = torch.cat([conv(x, "conv2").tanh(), wide, pooled], dim=1)
    x = (x + conv(x, "conv6") + conv(x, "conv7").tanh()).relu()
    return x.mean(dim=(2, 3)) @ p["fc1.w"].T + p["fc1.b"]


def test_forward_and_inference_agree_with_the_training_program(device, rng):
    net = gpunet.load(INCEPTION)
    images = rng.standard_normal((4, 6, 5, 2)).astype(np.float32)
    scores = []
    for mode in ("train", "infer"):
        with Model(net, 4, device, mode=mode, seed=1, debug=True) as model:
            scores.append(model.forward(images).tobytes())
    assert scores[0] == scores[1]


def test_a_net_can_be_cut_around_its_branches_but_not_within():
    cuts = cut_points(lowered(gpunet.load(INCEPTION), 2, "cuda"))
    assert [name.partition(".")[0] for name in cuts] == ["conv1", "tanh1", "concat1", "add1", "relu4", "gap1"]


def test_both_notations_say_branches(tmp_path):
    nodes = [
        Conv(4),
        ReLU(),
        Node("a", Conv(4), ("relu1",)),
        Node("b", MaxPool(3, S=1, P=1), ("relu1",)),
        Node("sum", Add(), ("a", "b", "relu1")),
        Node("half", Conv(2), ("sum",)),
        Node("both", Concat(), ("sum", "half")),
        FC(3),
    ]
    text = """INPUT[6x5x2] -> CONV3-4 -> RELU -> { CONV3-4 as a + POOL3(S=1, P=1) as b + ID } as sum
        -> { ID | CONV3-2 as half } as both -> FC-3"""
    net = Net("6x5x2", nodes)
    assert net.volumes["both"] == Volume(6, 5, 6)
    check_words(text, net, tmp_path)


def test_both_notations_say_products_maxima_and_coefficients(tmp_path):
    nodes = [
        Conv(3),
        Node("gap1", GlobalAvgPool(), ("conv1",)),
        Sigmoid(),
        Node("gate", Multiply(), ("conv1", "sigmoid1")),
        Node("conv2", Conv(3), ("gate",)),
        Node("most", Maximum(), ("conv2", "gate")),
        Node("relu1", ReLU(), ("most",)),
        Node("sum", Add((0.17, -1)), ("relu1", "most")),
        FC(3),
    ]
    text = """INPUT[6x5x2] -> CONV3-3 -> { ID * GAP -> SIGMOID } as gate -> { CONV3-3 max ID } as most
        -> { [RELU] + ID }(0.17, -1) as sum -> FC-3"""
    check_words(text, Net("6x5x2", nodes), tmp_path)
    assert gpunet.load("INPUT[6x5x2] -> { [CONV3-2]*2 * [RELU] * [CONV1-2]*1 } -> FC-3").volumes["multiply1"].D == 2


def test_a_gate_lives_in_bytes_of_its_own_alone():
    """The gradient of what is gated lies where that of the product lay."""
    plan = gpunet.plan(gpunet.load(GATED), 2, device="cpu")
    assert "sigmoid1.y" in plan.program.takes_over
    gradients = [name for name in plan.program.takes_over if name.startswith("multiply1.dx")]
    assert gradients == ["multiply1.dx1"]


def test_inputs_of_one_coefficient_share_a_gradient():
    program = gpunet.plan(gpunet.load(SCALED), 2, device="cpu", without=["in-place"]).program
    assert [op.attributes["factor"] for op in program.ops if op.name == "scaled"] == [0.2, -2]


def test_repeated_blocks_are_written_out_and_numbered():
    net = gpunet.load("INPUT[8x8x4] -> [{ [CONV3-4]*2 -> RELU + ID }]*3 -> FC-2")
    assert [node.name for node in net.nodes if node.layer.merges] == ["add1", "add2", "add3"]
    inputs = {node.name: node.inputs for node in net.nodes}
    assert inputs["add2"] == ("relu2", "add1")
    assert inputs["conv3"] == ("add1",)
    assert inputs["fc1"] == ("add3",)


# The place of the caret is marked with ¦.
MISFITS = [
    (
        "{ ID | ¦POOL2 | RELU }",
        "concat1: a concatenation takes volumes of one height and width; this branch is 4x4x3, the",
    ),
    ("{ CONV3-4 | RELU | ¦POOL2 }", "first one 8x8x4; choose F, S and P that make it 8x8x3"),
    (
        "{ CONV3-4 + ¦ID }",
        "add1: a sum takes volumes of one size; this branch is 8x8x3, the first one 8x8x4; use a layer",
    ),
    ("{ CONV3-4(S=2, fit=crop) + ¦ID }", "use CONV1-4(S=2) in this branch, which gives 4x4x4"),
    ("{ ID + ¦CONV3-3(S=2, fit=crop) }", "the same strides on both ways: this one is 2 times as small"),
    (
        "{ ID * ¦GAP -> FC-4 }",
        "a product takes volumes of one size, or gates of 1x1x3; this branch is 1x1x4, the first one",
    ),
    ("{ ID * ¦POOL2 }", "8x8x3; end it in GAP -> FC-3, or make it 8x8x3"),
    ("{ ID max ¦POOL2 }", "a maximum takes volumes of one size; this branch is 4x4x3"),
    ("{ CONV3-4 | ¦CONV9-4(P=0) }", "conv2: F=9 is larger than the input"),
]


@pytest.mark.parametrize(("marked", "said"), MISFITS)
def test_a_branch_that_does_not_fit_is_pointed_at(tmp_path, marked, said):
    text = f"INPUT[8x8x3] -> {marked} -> FC-2".replace("¦", "")
    column = f"INPUT[8x8x3] -> {marked}".index("¦")
    with pytest.raises(ShapeError) as caught:
        gpunet.load(text)
    reason, line, caret = str(caught.value).split("\n")
    assert said in reason
    assert caret.index("^") - line.index("INPUT") == column
    file = tmp_path / "net.toml"
    file.write_text(f'title = "x"\nnet = """\n{text}"""\n')
    with pytest.raises(ShapeError, match=r"net\.toml, line 3: ") as caught:
        gpunet.load(file)
    assert str(caught.value).split("\n")[1:] == [line, caret]


# The place of the caret is marked with ¦.
BAD = [
    ("¦{ RELU", "this { is not closed; put a } behind its last branch"),
    ("RELU -> ¦{ RELU | RELU", "this { is not closed"),
    ("¦{ RELU }", "a single branch needs no braces; write { A | B } to concatenate, { A + B } to add"),
    ("{ ¦}", "this branch is empty; write ID where it hands on what it takes"),
    ("{ RELU | ¦}", "this branch is empty; write ID where it hands on what it takes"),
    ("{ ¦+ RELU }", "this branch is empty; write ID where it hands on what it takes"),
    ("{ RELU | RELU ¦+ RELU }", "+ and | stand side by side; put the inner branches in braces of their own"),
    ("{ RELU + RELU ¦| RELU }", "| and + stand side by side"),
    ("{ RELU ¦RELU }", "expected ->, |, +, *, max or }, found 'RELU'"),
    ("{ RELU + RELU ¦]", "expected ->, |, +, *, max or }, found ']'"),
    ("{ RELU * RELU ¦max RELU }", "max and * stand side by side"),
    ("RELU ¦max RELU", "max stands between branches; write { A max B }"),
    ("RELU ¦* RELU", "* stands between branches; write { A * B }"),
    ("{ RELU max ¦}", "this branch is empty"),
    ("{ RELU + ID }¦(0.5)", "2 branches need as many coefficients; there are 1"),
    ("{ RELU + ID }(0.5, ¦x)", "a coefficient must be a number; got 'x'"),
    ("{ RELU + ID }(0.5, 1¦", "expected a comma or the ) that ends the coefficients"),
    ("{ RELU * ID }¦(0.5, 1)", "coefficients stand behind sums, { A + B }(0.2, 1); * has none"),
    ("[ RELU ¦}", "expected -> or ], found '}'"),
    ("RELU¦}", "this } closes nothing; remove it or open a { before"),
    ("RELU ¦| RELU", "| stands between branches; write { A | B }"),
    ("RELU ¦+ RELU", "+ stands between branches; write { A + B }"),
    ("RELU -> ¦ID", "ID is a branch by itself, like { CONV3-64 + ID }; leave it out here"),
    ("{ RELU + ID ¦-> RELU }", "ID is a whole branch; leave it out where layers follow"),
    ("{ RELU + ID } as ¦3", "expected a name after as"),
    ("[{ RELU + ID } as ¦x]*2", "x would name 2 layers"),
    ("{" * 50 + "¦{ RELU", "more than 50 deep"),
    ("AUX ¦-> RELU", "expected [ and the layers of the head, found '->'; write AUX(weight=0.3)[...]"),
    ("AUX(¦w=1)[FC-3]", "AUX has the option weight, found 'w'"),
    ("AUX(weight¦)[FC-3]", "expected = and a value for weight"),
    ("AUX(weight=¦0)[FC-3]", "the weight of a head must be a number above 0; got 0"),
    ("AUX(weight=¦0x3)[FC-3]", "the weight of a head must be a number above 0; got 0x3"),
    ("AUX(weight=¦x)[FC-3]", "the weight of a head must be a number above 0; got 'x'"),
    ("AUX(weight=1¦, S=2)[FC-3]", "expected the ) that ends the options"),
    ("AUX¦[FC-3 -> AUX[FC-3]]", "this head ends without a layer of its own"),
    ("AUX¦[FC-3", "this [ is not closed"),
]


@pytest.mark.parametrize(("marked", "said"), BAD)
def test_mistakes_in_branches_are_quoted_with_a_caret(marked, said):
    text = marked.replace("¦", "")
    with pytest.raises(ConfigError) as caught:
        gpunet.load("INPUT[8x8x3] -> " + text)
    reason, line, caret = str(caught.value).split("\n")
    assert said in reason
    assert line[caret.index("^") :].startswith(text[marked.index("¦") :][:20].rstrip())


@pytest.mark.parametrize("coefficients", [(1, "x"), (1, float("nan")), 2, (True, 1)])
def test_coefficients_that_are_no_numbers_are_refused(coefficients):
    with pytest.raises(ConfigError, match="coefficients must be numbers, one for each branch"):
        Add(coefficients)


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        (
            [Node("a", Conv(3), ("c",)), Node("b", ReLU(), ("a",)), Node("c", Add(), ("b", "a"))],
            "a -> c -> a is a cycle",
        ),
        ([Node("a", ReLU(), ("a",))], "a -> a is a cycle, and a net has none"),
        ([Node("a", ReLU(), ("b",)), Node("b", ReLU(), ("input",))], "'b', which comes after it; put b before a"),
        (
            [Conv(3), Node("s", Add(), ("conv1", "conv2"))],
            "which no layer before it is called; did you mean conv1",
        ),
        (
            [Conv(3), Node("r", ReLU(), ("conv1", "input"))],
            "r takes one output, and conv1 and input are 2; join",
        ),
        ([Conv(3), Multiply()], r"multiply1: joins .* write \{ A \* B \}"),
        ([Node("s", Add((1, 2, 3)), ("input", "input"))], "s: 2 branches need as many coefficients; got 3: 1, 2, 3"),
        ([Conv(3), Add()], "add1: joins at least two outputs, and 1 is given"),
        ([Conv(3), Node("x", Conv(2), ("input",)), Node("y", ReLU(), ("conv1",))], "nothing takes the output of x"),
    ],
)
def test_graphs_that_cannot_be_are_refused(nodes, said):
    with pytest.raises((ConfigError, ShapeError), match=said):
        Net("8x8x3", nodes)


# Random calls of each op, for the tests that go through all ops.


def call_add(draw: Draw) -> Call:
    a = draw.activations()
    inputs = a, draw.values(*a.shape)
    return Call("add", inputs, ((a.shape, draw.dtype),), aliases=({0: 0}, {0: 1}))


def _pair(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    """Two volumes of one size, with values that are equal."""
    a = draw.activations()
    return a, np.where(draw.rng.random(a.shape) < 0.3, a, draw.values(*a.shape))


def call_add_scaled(draw: Draw) -> Call:
    a, b = _pair(draw)
    numbers = {"of_a": 0.5, "of_b": -2.0}
    return Call("add_scaled", (a, b), ((a.shape, draw.dtype),), attributes=numbers, aliases=({0: 0}, {0: 1}))


def call_scaled(draw: Draw) -> Call:
    x = draw.activations()
    return Call("scaled", (x,), ((x.shape, draw.dtype),), attributes={"factor": 0.5}, aliases=({0: 0},))


def call_maximum(draw: Draw) -> Call:
    a, b = _pair(draw)
    return Call("maximum", (a, b), ((a.shape, draw.dtype),), aliases=({0: 0}, {0: 1}))


def call_maximum_backward(draw: Draw) -> Call:
    a, b = _pair(draw)
    aliases = {0: 0}, {1: 0}, {0: 1, 1: 2}, {0: 2, 1: 1}
    return Call("maximum_backward", (draw.values(*a.shape), a, b), ((a.shape, draw.dtype),) * 2, aliases=aliases)


def call_multiply(draw: Draw) -> Call:
    a, b = _pair(draw)
    if draw.size(0, 1):
        return Call("multiply", (a, b), ((a.shape, draw.dtype),), aliases=({0: 0}, {0: 1}))
    gate = draw.values(len(a), 1, 1, a.shape[3])
    return Call("multiply", (a, gate), ((a.shape, draw.dtype),), aliases=({0: 0},))


def call_multiply_backward_gate(draw: Draw) -> Call:
    a = draw.values(*draw.volume()[:3], draw.size(1, 70))
    return Call("multiply_backward_gate", (draw.values(*a.shape), a), (((len(a), 1, 1, a.shape[3]), draw.dtype),))


def _branches(draw: Draw) -> tuple[np.ndarray, ...]:
    """Volumes to be joined, half of the time in whole packs."""
    N, H, W, _ = draw.volume()
    scale = draw.size(0, 1) * 3 + 1
    return tuple(draw.values(N, H, W, scale * draw.size(1, 5)) for _ in range(draw.size(2, 4)))


def call_concat_forward(draw: Draw) -> Call:
    xs = _branches(draw)
    shape = (*xs[0].shape[:3], sum(x.shape[3] for x in xs))
    return Call("concat_forward", xs, ((shape, draw.dtype),))


def call_concat_backward(draw: Draw) -> Call:
    xs = _branches(draw)
    outputs = tuple((x.shape, draw.dtype) for x in xs)
    return Call("concat_backward", (np.concatenate(xs, axis=3),), outputs)


MUTANTS = [
    *mutants_of(
        "merge.cu",
        "add",
        ("the last branch wins", "return one + other;", "return other;"),
        ("packs at any address", "aligned(a, b, y)", "aligned(a, b)"),
    ),
    *mutants_of("merge.cu", "add_scaled", ("one coefficient", "of_a * one + of_b * other", "of_a * (one + other)")),
    *mutants_of("merge.cu", "multiply", ("the first branch alone", "return one * other;", "return one;")),
    *mutants_of("merge.cu", "maximum", ("NaN loses", "one >= other || one != one ? one", "one >= other ? one")),
    *mutants_of("merge.cu", "scaled", ("packs at any address", "aligned(x, y), [=]", "true, [=]")),
    *mutants_of(
        "merge.cu",
        "maximum_backward",
        ("the last of equals", "one >= others.value[lane]", "one > others.value[lane]"),
        ("NaN gets nothing", "|| one != one;", ";"),
        ("packs at any address", "aligned(dy, a, b, da, db)", "aligned(dy, a, b, da)"),
    ),
    *mutants_of(
        "merge.cu",
        "multiply_gate",
        ("the gate of the first image", "item / of_image * D.number + item % D", "item % D"),
        ("packs across positions", "D % WIDTH == 0 && aligned(a, gate, y)", "aligned(a, gate, y)"),
        ("packs at any address", "D % WIDTH == 0 && aligned(a, gate, y)", "D % WIDTH == 0 && aligned(a, y)"),
    ),
    *mutants_of(
        "merge.cu",
        "multiply_backward_gate",
        ("a position of eight is left out", "position += BLOCK / MAPS", "position += BLOCK / MAPS + 1"),
        ("all threads add the same positions", "long long position = lane;", "long long position = 0;"),
        ("a tile is left out", "tile < images * tiles;", "tile < images * tiles - 1;"),
        ("sums of the first image", "db[image * D + d] = sum", "db[d] = sum"),
    ),
    *mutants_of(
        "merge.cu",
        "copy_maps",
        ("the next position", "position = item / D, d = item -", "position = item / D + 1, d = item -"),
        ("positions of the source side by side", "position * x_row + d", "position * D + d"),
        ("positions of the target side by side", "position * y_row + d", "position * D + d"),
        ("packs across positions", "(D | x_row | y_row) % WIDTH == 0 && ", ""),
        ("packs at any address", "&& aligned(x, y)", ""),
        ("ints for large volumes", "positions * largest(x_row, y_row)", "0"),
    ),
]
"""Changes of its kernels that the tests above, and those of all ops, must notice."""
