"""The arrow notation: what it reads, what it refuses and where it puts the caret."""

from datetime import timedelta
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpunet.errors import ConfigError, ShapeError
from gpunet.layers import layer_types
from gpunet.layers.batch_norm import BatchNorm
from gpunet.layers.conv import Conv
from gpunet.layers.fc import FC
from gpunet.layers.layer import Layer
from gpunet.layers.lrn import LRN
from gpunet.layers.pool import MaxPool
from gpunet.layers.relu import ReLU
from gpunet.net.config import load
from gpunet.net.fields import missing
from gpunet.net.net import Net
from gpunet.net.pattern import MOST_LAYERS, MOST_NESTED, parse
from gpunet.net.tree import One, Repeat
from gpunet.program.volume import Volume

NOTES = "INPUT[32x32x3] -> [CONV3-64 -> RELU]*2 -> POOL2 -> [FC-128 -> RELU] -> FC-10"


def layers(text: str) -> list[Layer]:
    return [layer for _, layer in parse(text).items]


def test_the_pattern_of_the_notes_is_read() -> None:
    pattern = parse(NOTES)
    assert pattern.input == Volume(32, 32, 3)
    conv = Conv(K=64, F=3, S=1, P=1)
    assert [layer for _, layer in pattern.items] == [
        *(conv, ReLU(), conv, ReLU(), MaxPool(F=2, S=2)),
        *(FC(128), ReLU(), FC(10)),
    ]
    assert Net(pattern.input, pattern.layers).volumes["pool1"] == Volume(16, 16, 64)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CONV3-64", [Conv(K=64, F=3, S=1, P=1)]),
        ("CONV-7", [Conv(K=7)]),
        ("CONV(K=7)", [Conv(K=7)]),
        ("CONV5(K=7, S=2)", [Conv(K=7, F=5, S=2, P=2)]),
        ("CONV1-12", [Conv(K=12, F=1, P=0)]),
        ("CONV11-96(S=4, P=0)", [Conv(K=96, F=11, S=4, P=0)]),
        ("CONV003-0064", [Conv(K=64)]),
        ("CONV1x7-64", [Conv(K=64, F=(1, 7), P=(0, 3))]),
        ("CONV(K=9, F=7x1, P='3x0')", [Conv(K=9, F=(7, 1))]),
        ("CONV2x03-9(P=0x1x1x1, S=2x1)", [Conv(K=9, F=(2, 3), S=(2, 1), P=(0, 1, 1, 1))]),
        ("CONV3x3-8(P=1x1x1x1, dilation=1, groups=4)", [Conv(K=8, groups=4)]),
        ("CONV3-8(bias=false, dilation=2)", [Conv(K=8, dilation=2, bias=False)]),
        ("CONV3-64(fit=pad)", [Conv(K=64, fit="pad")]),
        ("CONV3-64(fit='crop',P=2)", [Conv(K=64, P=2, fit="crop")]),
        ('CONV3-64(fit="pad")', [Conv(K=64, fit="pad")]),
        ("POOL", [MaxPool(F=2, S=2)]),
        ("POOL2", [MaxPool(F=2, S=2)]),
        ("POOL3(S=2)", [MaxPool(F=3, S=2)]),
        ("POOL( F = 3 , S = 2 , P = 1 )", [MaxPool(F=3, S=2, P=1)]),
        ("FC-10", [FC(10)]),
        ("RELU", [ReLU()]),
        ("RELU->RELU", [ReLU(), ReLU()]),
        ("[RELU]", [ReLU()]),
        ("[RELU]*1", [ReLU()]),
        ("[RELU] * 3", [ReLU()] * 3),
        ("[[FC-1]*2 -> RELU]*2 -> FC-3", [FC(1), FC(1), ReLU(), FC(1), FC(1), ReLU(), FC(3)]),
        ("\n CONV3 \t# three by three\n -  9 # maps\n\n->#x\nRELU#", [Conv(K=9), ReLU()]),
        ("FC\n-\n9 # maps # and more\n->#x\nRELU#", [FC(9), ReLU()]),
        ("FC-9\r\n->\xa0RELU\r\n", [FC(9), ReLU()]),
        (f"[RELU]*{MOST_LAYERS}", [ReLU()] * MOST_LAYERS),
        ("[" * MOST_NESTED + "RELU" + "]" * MOST_NESTED, [ReLU()]),
        (" -> ".join(["[RELU]"] * 60), [ReLU()] * 60),
    ],
)
def test_layers_are_read(text: str, expected: list[Layer]) -> None:
    assert layers(text) == expected


@pytest.mark.parametrize(
    ("text", "volume"),
    [
        ("INPUT[5x7x3] -> RELU", Volume(5, 7, 3)),
        ("INPUT [ 5 X 7\nx 3 ]\n-> RELU", Volume(5, 7, 3)),
        ("# a net\nINPUT[5x7x3]->RELU", Volume(5, 7, 3)),
        ("INPUT -> RELU", None),
        ("RELU", None),
    ],
)
def test_the_input_volume_is_read_where_it_is_said(text: str, volume: Volume | None) -> None:
    assert parse(text).input == volume


def test_layers_can_be_named() -> None:
    items = parse("CONV3-6(S=1)as stem -> RELU -> [POOL2 as p_1]*1 -> FC-3 as _x9").items
    assert [name for name, _ in items] == ["stem", None, "p_1", "_x9"]


def test_the_tree_keeps_what_was_written() -> None:
    inner = Repeat((One(ReLU()),), 3, 3)
    assert parse("FC-2 -> [[RELU]*3 -> FC-4]*2").tree == (One(FC(2)), Repeat((inner, One(FC(4))), 2, 8))


def test_what_the_notes_may_leave_out_may_be_left_out() -> None:
    """N, M and K of their pattern may be 0, and POOL? is there or not."""
    whole = "INPUT[{0}x{0}x1] -> [[CONV3-4 -> RELU]*{1} -> POOL?]*{2} -> [FC-8 -> RELU]*{3} -> FC-10"

    def net(*numbers: int) -> Net:
        return load(whole.format(*numbers))

    def types(made: Net) -> str:
        return " ".join(node.layer.word for node in made.nodes)

    assert types(net(8, 0, 0, 0)) == "FC" and types(net(8, 0, 0, 1)) == "FC RELU FC"
    assert net(8, 1, 1, 0) == load("INPUT[8x8x1] -> CONV3-4 -> RELU -> POOL2 -> FC-10")
    assert types(net(8, 1, 3, 0)) == "CONV RELU POOL " * 3 + "FC"
    assert types(net(8, 1, 5, 0)) == "CONV RELU POOL " * 3 + "CONV RELU " * 2 + "FC"
    assert types(net(6, 1, 3, 0)) == "CONV RELU POOL " + "CONV RELU " * 2 + "FC"  # 3x3 cannot be halved
    assert types(net(1, 0, 9, 0)) == "FC"


def test_an_optional_pool_may_have_numbers_a_name_and_a_place_in_a_branch() -> None:
    text = "INPUT[4x4x2] -> { POOL3(S=1, P=1)? | CONV3-2 -> POOL9? as gone } -> POOL2(S=2)? as half -> FC-2"
    made = load(text)
    assert [node.name for node in made.nodes] == ["conv1", "concat1", "half", "fc1"]
    assert made.nodes[1].inputs == ("input", "conv1")


@pytest.mark.parametrize("fit", ["error", "pad", "crop"])
def test_an_optional_pool_of_a_single_position_is_left_out_under_every_policy(fit: str) -> None:
    made = Net("1x1x3", parse("POOL? -> FC-2").layers, fit=fit)
    assert [node.name for node in made.nodes] == ["fc1"]


def test_a_net_of_nothing_and_a_head_of_nothing_are_refused() -> None:
    for text in ("INPUT[4x4x2] -> [FC-2]*0", "INPUT[1x1x2] -> POOL?"):
        with pytest.raises(ConfigError, match="net has no layers"):
            load(text)
    with pytest.raises(ConfigError, match="this head has no layers"):
        load("INPUT[4x4x2] -> AUX[[FC-2]*0] -> FC-2")
    with pytest.raises(ConfigError, match="this head ends without a layer of its own"):
        load("INPUT[4x4x2] -> AUX[RELU -> AUX[FC-2] -> [FC-2]*0] -> FC-2")
    with pytest.raises(ShapeError, match="pool1: F=9 is larger"):
        load("INPUT[4x4x2] -> AUX[FC-2 -> POOL9?] -> FC-2")


def test_every_layer_class_can_be_said_with_each_of_its_fields() -> None:
    for kind in layer_types():
        layer = kind(**dict.fromkeys(missing(kind, ()), 6))
        said = {name: value for name, value in vars(layer).items() if value not in (None, ())}
        written = {name: str(value).lower() if isinstance(value, bool) else value for name, value in said.items()}
        options = ", ".join(f"{name}={value}" for name, value in written.items())
        assert layers(f"{kind.word}({options})" if options else kind.word) == [layer]


def test_every_field_takes_another_value() -> None:
    texts = {
        "CONV7x2-6(S=2x3, P=1x0x2x1, dilation=2, groups=3, bias=false, fit=pad)": Conv(
            6, (7, 2), (2, 3), (1, 0, 2, 1), 2, 3, False, "pad"
        ),
        "LRN3(alpha=0.5, beta=0.5, k=1.5, over=map)": LRN(3, 0.5, 0.5, 1.5, "map"),
        "BN(eps=0.25, momentum=0.5, affine=false)": BatchNorm(0.25, 0.5, False),
    }
    for text, layer in texts.items():
        assert layers(text) == [layer]


# The place of the caret is marked with ¦.
BAD = [
    ("¦", "expected a layer, [ or {, found the end"),
    ("¦   # nothing", "found the end"),
    ("INPUT¦", "write INPUT[32x32x3] -> ..."),
    ("INPUT[3x3x3]¦", "expected -> and a layer"),
    ("INPUT[3x3x3] ¦RELU", "expected -> and a layer after INPUT, found 'RELU'"),
    ("INPUT[¦3x3] -> RELU", "like 32x32x3"),
    ("INPUT[¦0x3x3] -> RELU", "H >= 1"),
    ("INPUT[¦3x9999999999x3] -> RELU", "like 32x32x3"),
    ("INPUT¦[3x3x3 -> RELU", "not closed"),
    ("RELU -> ¦INPUT[3x3x3] -> RELU", "INPUT comes first"),
    ("¦INPUT32x32x3 -> RELU", "INPUT[32x32x3]"),
    ("¦input[3x3x3] -> RELU", "layers are written in capitals: INPUT[32x32x3] -> ..."),
    ("INPUT[8x8x1] -> ¦CNOV3-64", "CNOV3 is not a layer; did you mean CONV?"),
    ("¦conv3-64", "conv3 is not a layer; layers are written in capitals: CONV3"),
    ("¦Conv3-64", "layers are written in capitals: CONV3"),
    ("¦relu", "layers are written in capitals: RELU"),
    ("RELU -> ¦MAXPOOL2", "MAXPOOL2 is not a layer; write POOL2"),
    ("¦max_pool3(S=2)", "max_pool3 is not a layer; write POOL3"),
    ("¦AveragePooling2", "write AVGPOOL2"),
    ("¦CONV2D-64", "write CONV"),
    ("¦BATCHNORM", "BATCHNORM is not a layer; write BN"),
    ("¦BatchNorm2d", "write BN"),
    ("¦DENSE-10", "DENSE is not a layer; write FC"),
    ("¦linear-10", "write FC"),
    ("¦NORM", "write LRN"),
    ("¦FLATTEN -> FC-10", "FC takes a volume of any shape, so nothing need be flattened; leave it out"),
    ("FC-10 -> ¦SOFTMAX", "softmax belongs to the loss; end in FC and leave it out"),
    ("¦SELU", "SELU is not a layer; that function is not there; RELU, ELU, SILU and GELU are"),
    ("¦MISH", "that function is not there; RELU, ELU"),
    ("¦DECONV4-21", "no layer here makes a volume larger"),
    ("CONV3-4¦?", "the ? of the notes is for pooling, like POOL2?; CONV is there or is not"),
    ("POOL2?¦?", "expected -> or the end, found '?'"),
    ("[RELU]¦?", "expected -> or the end, found '?'"),
    ("¦XYZZY", "XYZZY is not a layer; there are "),
    ("¦CONV3", "CONV needs K; write CONV3-64"),
    ("¦FC", "FC needs K; write FC-64"),
    ("FC¦10", "FC takes no number behind it; write FC-10"),
    ("RELU¦2", "write RELU"),
    ("POOL2¦-3", "POOL takes no -number; write POOL3"),
    ("CONV3-¦", "expected a number, K of CONV, found the end; write CONV3-64"),
    ("CONV3-¦64x2", "expected a number, K of CONV, found '64x2'"),
    ("CONV¦3x3x3-4", "F must be an integer of at most 9 digits or 2 of them like 0x1; got 3x3x3"),
    ("POOL¦2x2x2", "F must be an integer of at most 9 digits or 2 of them like 0x1; got 2x2x2"),
    ("CONV3-4(P=¦1x2x3)", "or 2 of them like 0x1 or 4 of them like 0x1x2x3; got 1x2x3"),
    ("CONV3-4(P=-¦1x2)", "expected a value for P, found '1x2'"),
    ("CONV3-4(P=0x1 ¦x2)", "expected a comma or the )"),
    ("CONV3-4(P=¦'1x'", "4 of them like 0x1x2x3; got '1x'"),
    ("CONV3-4(S=¦1x1234567890)", "at most 9 digits"),
    ("CONV3-4(bias=¦1)", "bias must be true or false; got 1"),
    ("¦CONV3-4(dilation=0)", "dilation=0, as the notes count, is dilation=1 here: no gaps; their 1 is 2"),
    ("RELU -> ¦CONV3-6(groups=4)", "groups=4 does not divide K=6; use groups=3 or groups=6 or K=4 or K=8"),
    ("FC-¦6.5", "K of FC must be an integer; got 6.5"),
    ("¦FC-0", "K must be an integer of at least 1; got 0"),
    ("FC-¦1234567890", "at most 9 digits"),
    ("CONV¦1234567890-3", "at most 9 digits"),
    ("¦CONV2-4", "say which P, like P=1"),
    ("POOL2(¦T=3)", "POOL has no option 'T'; it has F, S, P and fit"),
    ("CONV3-64(¦Fit=pad)", "did you mean fit?"),
    ("CONV3-64(¦s=2)", "did you mean S?"),
    ("CONV3-64(¦stride=2)", "did you mean S?"),
    ("CONV3-64(¦padding=1)", "did you mean P?"),
    ("CONV3-64(¦kernel_size=3)", "did you mean F?"),
    ("CONV(¦out_channels=8)", "did you mean K?"),
    ("DROPOUT(¦rate=0.5)", "did you mean p?"),
    ("CONV3-64(¦)", "has no option ')'"),
    ("RELU(¦S=2)", "RELU has no option 'S'; it has none"),
    ("CONV3-64(S¦)", "expected = and a value for S, found ')'"),
    ("CONV3-64(S=¦)", "expected a value for S, found ')'"),
    ("CONV3-64(S=-¦x)", "expected a value for S, found 'x'"),
    ("CONV3-64(S=¦two)", "S must be an integer of at most 9 digits or 2 of them like 0x1; got 'two'"),
    ("CONV3-64(S=¦2.0)", "2 of them like 0x1; got 2.0"),
    ("CONV3-64(S=¦true)", "2 of them like 0x1; got true"),
    ("CONV3-64(fit=¦pda)", "fit must be one of error, pad, crop; got 'pda'; did you mean pad?"),
    ("CONV3-64(¦F=5)", "F is said twice; it is already 3"),
    ("POOL(S=2, ¦S=2)", "S is said twice"),
    ("CONV3-64(S=2 ¦P=1)", "expected a comma or the )"),
    ("CONV3-64(S=2¦", "expected a comma or the ) that ends the options, found the end"),
    ("¦CONV3-64(P=-1)", "P must be an integer of at least 0; got -1"),
    ("¦[RELU", "this [ is not closed"),
    ("[RELU -> ¦[RELU", "this [ is not closed"),
    ("[RELU ¦RELU]", "expected -> or ], found 'RELU'"),
    ("[¦]", "expected a layer, [ or {, found ']'"),
    ("[RELU -> ¦]", "expected a layer, [ or {, found ']'"),
    ("RELU¦]", "this ] closes nothing"),
    ("RELU ->¦", "found the end"),
    ("RELU ->¦   # and then?", "found the end"),
    ("¦-> RELU", "found '->'"),
    ("RELU -> ¦-> RELU", "found '->'"),
    ("RELU ¦RELU", "expected -> or the end, found 'RELU'; layers are joined by ->"),
    ("RELU ¦→ RELU", "write ->"),
    ("FC¦\u201364", "write -"),
    ("RELU ¦$", "'$' means nothing here"),
    ("[RELU]*¦-1", "expected a number, how often"),
    ("[RELU]*¦N", "write [...]*2"),
    ("[RELU]*¦1.5", "must be an integer"),
    ("[RELU]*2¦*2", "expected -> or the end, found '*'"),
    ("RELU¦*2", "expected -> or the end"),
    ("[RELU]*¦10001", "this makes 10,001 layers; a net has at most 10,000"),
    ("[[RELU]*101]*¦100", "this makes 10,100 layers"),
    ("[RELU]*9000 -> ¦[RELU]*1001", "this makes 10,001 layers"),
    ("[" * MOST_NESTED + "¦[RELU", "more than 50 deep"),
    ("RELU as¦", "expected a name after as, found the end"),
    ("RELU as ¦3", "expected a name after as, found '3'"),
    ("RELU as ¦input", "the net's own input"),
    ("RELU as a -> FC-3 as ¦a", "two layers are called a"),
    (f"RELU as ¦{'a' * 101}", "at most 100 characters"),
    ("[RELU -> FC-3 as ¦stem]*2", "stem would name 2 layers"),
    ("[[RELU as ¦stem]*1 -> FC-3 as x]*7", "remove the name or the *7"),
    ("RELU as a ¦b", "expected -> or the end"),
]


@pytest.mark.parametrize(("marked", "said"), BAD)
def test_mistakes_are_quoted_with_a_caret_under_the_place(marked: str, said: str) -> None:
    text = marked.replace("¦", "")
    with pytest.raises(ConfigError) as caught:
        parse(text)
    reason, line, caret = str(caught.value).split("\n")
    column, place = marked.index("¦"), caret.index("^")
    assert said in reason
    if len(text) <= 100:
        assert (line, place) == (f"    {text}".rstrip() or "    ", 4 + column)
    else:
        assert line[place:].startswith(text[column : column + 20])


def test_the_line_of_a_mistake_is_named_and_quoted_alone() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("INPUT[8x8x1] -> # image\n  [CONV3-4 ->\n\tRLEU]*2\n -> FC-10")
    assert str(caught.value) == "line 3: RLEU is not a layer; did you mean RELU?\n     RLEU]*2\n     ^"


def test_a_long_line_is_cut_around_the_caret() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("RELU -> " * 100 + "RLEU" + " -> RELU" * 100)
    _, line, caret = str(caught.value).split("\n")
    assert len(line) <= 120
    assert line[caret.index("^") :].startswith("RLEU -> RELU")
    assert line.startswith("    ...") and line.endswith("...")


@pytest.mark.parametrize(
    "text",
    [
        "RELU -> " * 130_000,
        "[RELU] -> " * 100_000,
        "[" * 1_000_000,
        "[RELU -> " * 100_000,
        "1" * 1_000_000,
        "a1" * 500_000,
        "A" * 1_000_000,
        "RELU as " + "a" * 1_000_000,
        "FC-" + "9" * 1_000_000,
        "FC-1(K=" + "9" * 1_000_000 + "." + "9" * 9,
        " " * 1_000_000,
        "#" * 1_000_000,
        "# \n" * 300_000 + "x",
        "'" * 1_000_000,
        "INPUT[" + "1" * 1_000_000 + "]",
        "INPUT[" * 200_000,
        "RELU(" * 200_000,
        "[[[[RELU]*10000]*10000]*10000]*10000",
    ],
    ids=lambda text: text[:12],
)
def test_hostile_texts_are_refused_in_linear_time(text: str) -> None:
    start = perf_counter()
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert perf_counter() - start < 4
    assert len(str(caught.value)) < 500


PIECES = (
    *(
        "INPUT[8x8x1]",
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
        "as",
        "#",
        "\n",
        " ",
        "{",
        "}",
        "|",
        "+",
        "→",
    ),
    *("CONV", "CONV3-64", "POOL2", "RELU", "FC-10", "stem", "S", "fit", "pad", "'", '"', "3", "0", "10000", "1e9", "é"),
)


def assert_read_or_refused(text: str) -> None:
    try:
        items = parse(text).items
    except ConfigError as error:
        refused = str(error)
    else:
        refused = "^" if items else "read as nothing"
    assert "^" in refused


@settings(max_examples=1000, deadline=timedelta(seconds=2))
@given(st.one_of(st.text(max_size=80), st.lists(st.sampled_from(PIECES), max_size=40).map("".join)))
def test_any_text_is_read_or_refused_with_a_config_error(text: str) -> None:
    assert_read_or_refused(text)


@settings(max_examples=1000, deadline=timedelta(seconds=2))
@given(st.integers(0, len(NOTES)), st.integers(0, 6), st.one_of(st.sampled_from(PIECES), st.text(max_size=3)))
def test_a_mutated_pattern_is_read_or_refused_with_a_config_error(at: int, cut: int, piece: str) -> None:
    assert_read_or_refused(NOTES[:at] + piece + NOTES[at + cut :])
