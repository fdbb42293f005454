"""Files of Caffe from strangers: text and bytes of protobuf, read in every form that is allowed, or refused soon."""

import struct
from pathlib import Path

import numpy as np
import pytest

from gpunet.errors import DataError
from gpunet.formats.caffe import wire
from gpunet.formats.caffe.blobs import blobs_of, values_of
from gpunet.formats.caffe.schema import fields
from gpunet.formats.caffe.text import read_text
from gpunet.formats.caffe.wire import read_bytes
from gpunet.formats.foreign import Asked
from gpunet.formats.known import format_of, read_foreign
from gpunet.program.volume import Volume
from tests import fuzzing
from tests.caffe_files import Layer, blob, counted, deploy, trained, varint, write
from tests.fuzzing import edited, fuzz, limited

FORMS = """
# every form that the text may have
name: 'a' "b\\x41\\n\\101"   # joined
layer < name: "one" type: "Convolution"; bottom: ["x", 'y'], top : "z"
  convolution_param: { num_output: 0x10 kernel_size: [3, 5] pad: 1, bias_term: false dilation: [] }
  batch_norm_param { eps: 1e-3f } unknown_param { deep { deeper: "x" list: [1, 2] } } other: [a, b] third: -inf
  eltwise_param { operation: 1 coeff: .5 coeff: -2. coeff: +3 coeff: inf } >
layers { type: SOFTMAX_LOSS name: "old" }
"""


def test_every_form_of_the_text_is_read(tmp_path: Path) -> None:
    net = read_text(write(tmp_path / "x", FORMS), "NetParameter")
    assert net.one("name", "") == "abA\nA"
    (layer,), (old,) = net.many("layer"), net.many("layers")
    assert layer.many("bottom") == ["x", "y"] and layer.many("top") == ["z"] and layer.line == 4
    conv = layer.within("convolution_param")
    assert conv.one("num_output", 0) == 16 and conv.many("kernel_size") == [3, 5] and conv.many("dilation") == []
    assert conv.one("bias_term", True) is False and conv.one("group", 7) == 7
    assert layer.within("batch_norm_param").one("eps", 0.0) == 1e-3
    eltwise = layer.within("eltwise_param")
    assert eltwise.one("operation", "") == "SUM" and eltwise.many("coeff") == [0.5, -2, 3, np.inf]
    assert layer.all_strange() == [("unknown_param", 6), ("other", 6), ("third", 6)]
    assert old.one("type", "") == "SOFTMAX_LOSS"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("layer {\n  name: 'a'\n", "line 3: here a field should begin"),
        ("layer {\n  name 'a' }", "line 2: name is missing its value"),
        ("name: }", "line 1: name is missing its value: } stands there"),
        ("layer: 3", "layer is { ... }, and 3 stands there"),
        ("name: 3", "name is a text in quotes"),
        ("layer { convolution_param { num_output: 3.5 } }", "num_output is an integer, and 3.5 stands there"),
        ("layer { convolution_param { num_output: 99999999999999999999 } }", "num_output is an integer"),
        ("layer { convolution_param { bias_term: maybe } }", "bias_term is true or false"),
        ("layer { pooling_param { pool: MEAN } }", "pool is one of MAX, AVE and STOCHASTIC, and MEAN stands there"),
        ("layer { pooling_param { pool: 7 } }", "pool is one of"),
        ("layer { batch_norm_param { eps: tiny } }", "eps is a number"),
        ("layer { convolution_param { pad: [1 2] } }", "between the values of pad a comma is missing"),
        ("layer { name: 'a\n' }", "is no part of a text"),
        ("name: 'x' layer }", "layer is { ... }, and } stands there"),
        ("layer { x: [1, 2", "a list does not end"),
        ("layer { x " + "{ y " * 100, "nested too deeply"),
        ("name: 'x'", "has no layers, and no field of a solver"),
    ],
)
def test_a_text_that_is_none_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError) as refused:
        read_foreign(write(tmp_path / "x.prototxt", text))
    assert words in str(refused.value), str(refused.value)


def test_arrays_are_read_packed_or_one_by_one_in_either_shape(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
    for old in (False, True):
        for packed in (False, True):
            raw = blob(values, old=old, packed=packed) + varint(77 << 3) + varint(5) + counted(78, b"not known")
            path = write(tmp_path / "x", raw)
            np.testing.assert_array_equal(values_of(path, "x", read_bytes(path, "BlobProto")), values)
    parts = counted(7, counted(1, varint(24))) + counted(5, values[0].tobytes()) + counted(5, values[1].tobytes())
    path = write(tmp_path / "x", parts)
    np.testing.assert_array_equal(values_of(path, "x", read_bytes(path, "BlobProto")), values.reshape(-1))
    doubles = counted(7, counted(1, varint(3))) + counted(8, struct.pack("<3d", 1, 2, 0.1))
    path = write(tmp_path / "x", doubles)
    np.testing.assert_array_equal(values_of(path, "x", read_bytes(path, "BlobProto")), [1, 2, 0.1])


@pytest.mark.parametrize("old", [False, True])
def test_arrays_of_layers_come_back_under_their_names(tmp_path: Path, old: bool) -> None:
    w, b = np.ones((2, 1, 3, 3), np.float32), np.zeros(2, np.float32)
    layers = [Layer("Convolution", "a/b", ("x",), ("y",), {"convolution": {"num_output": 2}}, [w, b])]
    path = write(tmp_path / "x", trained([*layers, Layer("ReLU", "r", ("y",), ("y",))], old=old))
    found = blobs_of(path, read_bytes(path, "NetParameter"))
    assert [*found] == ["a/b"] and [values.size for values in found["a/b"]] == [18, 2]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (trained([Layer("ReLU", "r", ("x",), ("y",))])[:-2], "cut short, damaged, or no file of Caffe"),
        (counted(1, b"n") + counted(100, counted(7, counted(5, b"123"))), "no whole number of float32"),
        (counted(1, b"n") + counted(100, counted(1, b"c") + counted(3, b"x") + counted(7, counted(5, b"12345678"))),
         "c has 2 numbers, and says no shape"),
        (counted(1, b"n") + varint(802) + varint(2**62), "it ends within a field"),
        (counted(1, b"n") + varint(802) + b"\xff" * 12, "a number that does not end"),
        (counted(1, b"n") + counted(100, b"\x0b"), "a field of wire type 3"),
        (counted(1, b"n") + counted(100, counted(3, b"x") + counted(1, b"c")), "no weights in them"),
        (counted(1, b"n") + counted(2, counted(1, b"\x0a\x01a")), "is of Caffe before 2013"),
        (counted(1, b"n") + counted(100, counted(2, b"ReLU")), "does not say how its layers are wired"),
    ],
)  # fmt: skip
def test_bytes_that_lie_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(DataError) as refused:
        read_foreign(write(tmp_path / "x.caffemodel", content))
    assert words in str(refused.value) and "x.caffemodel" in str(refused.value), str(refused.value)


def test_very_many_fields_are_refused_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MOST_FIELDS", 1_000)
    path = write(tmp_path / "x.caffemodel", counted(1, b"n") + b"\xa2\x06\x00" * 1_001)
    with pytest.raises(DataError, match="more than 1,000 fields"):
        read_foreign(path)


def test_very_many_layers_of_one_name_take_no_time(tmp_path: Path) -> None:
    path = write(tmp_path / "x.prototxt", 'input: "d" layer { name: "a" type: "ReLU" bottom: "d" top: "d" }' * 1_000)
    with limited():
        found = read_foreign(path, Asked(input=Volume(2, 2, 1)))
    assert found.net is not None and found.net.nodes[-1].name == "a_1000"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (trained([Layer("ReLU", "r", ("x",), ("y",))]), "Caffe"),
        (trained([Layer("ReLU", "r", ("x",), ("y",))], old=True), "Caffe"),
        (trained([Layer("ReLU", "r", ("x",), ("y",))])[8:], "Caffe"),
        ("# a comment\n\nname: 'x'\nlayer { }", "Caffe's prototxt"),
        ("layers {\n", "Caffe's prototxt"),
        ("# a licence of many lines\n" * 100 + "name: 'x'", "Caffe's prototxt"),
        ("# a licence of many lines\n" * 100 + "name = 'x'", None),
        ("# a comment\n" * 500, None),
        ("net: 'x.prototxt'\nbase_lr: 1", "Caffe's prototxt"),
        ("\n\n\nlayer {", "Caffe's prototxt"),
        ('name = "vgg"\n', None),
        ("[train]\nbatch = 3", None),
        ("layer,loss\n1,2", None),
        ("", None),
        ("\n\n\n", None),
        (b"\x08\x07\x12\x07pytorch", "ONNX"),
        (b"\x0a\x03abc", None),
    ],
)
def test_files_of_caffe_are_told_by_what_is_in_them(tmp_path: Path, content: str | bytes, name: str | None) -> None:
    found = format_of(write(tmp_path / "file", content))
    assert (found and found.name) == name


def test_the_numbers_of_fields_are_caffes() -> None:
    """Some of each message, by hand."""
    for message, name, number in (
        ("NetParameter", "layer", 100),
        ("LayerParameter", "convolution_param", 106),
        ("LayerParameter", "prelu_param", 131),
        ("LayerParameter", "batch_norm_param", 139),
        ("LayerParameter", "clip_param", 148),
        ("V1LayerParameter", "softmax_param", 39),
        ("SolverParameter", "type", 40),
    ):
        assert fields(message)[name].number == number


SOME = [
    Layer("Convolution", "c", ("data",), ("c",), {"convolution": {"num_output": 2, "kernel_size": 3}},
          [np.ones((2, 3, 3, 3), np.float32), np.ones(2, np.float32)]),
    Layer("BatchNorm", "bn", ("c",), ("c",), {"batch_norm": {"eps": 0.1}}, [np.ones(2, np.float32)] * 2),
    Layer("InnerProduct", "f", ("c",), ("f",), {"inner_product": {"num_output": 2}}, [np.ones((2, 18), np.float32)]),
]  # fmt: skip
ASKED = Asked(input=Volume(5, 5, 3))


def test_an_image_of_very_many_maps_takes_no_room(tmp_path: Path) -> None:
    said = 'input: "d" input_dim: [1, 2000000000, 1, 1] layer { name: "r" type: "ReLU" bottom: "d" top: "r" }'
    with limited():
        found = read_foreign(write(tmp_path / "x.prototxt", said))
    assert found.net is not None and found.net.input.D == 2_000_000_000


@fuzzing.FEW_CASES
def test_weights_of_caffe(tmp_path: Path, cases: int) -> None:
    wholes = (trained(SOME), trained(SOME[::2], old=True))
    fuzz(tmp_path, "x.caffemodel", cases, edited(*wholes), lambda path: read_foreign(path, ASKED))


@fuzzing.FEW_CASES
def test_nets_and_solvers_of_caffe(tmp_path: Path, cases: int) -> None:
    solver = (
        "net_param { layer { type: 'ReLU' bottom: 'x' top: 'y' } } base_lr: 0.1 lr_policy: 'step' stepsize: 3 gamma: 1"
    )
    wholes = [deploy(SOME, (1, 3, 5, 5)), deploy(SOME[::2], (1, 3, 5, 5), old=True), FORMS, solver]
    fuzz(
        tmp_path,
        "x.prototxt",
        cases,
        edited(*(whole.encode() for whole in wholes)),
        lambda path: read_foreign(path, ASKED),
    )
