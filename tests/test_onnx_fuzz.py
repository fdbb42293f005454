"""ONNX files from strangers: read or refused, soon and in little memory; and the wire format that they have."""

import random
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from gpunet import DataError, GpunetError, import_weights
from gpunet.formats.known import format_of
from gpunet.formats.onnx import file as onnx_files
from gpunet.formats.onnx import reader
from gpunet.formats.onnx.constants import COMPUTED, VIEWS
from gpunet.formats.onnx.importing import RULES
from gpunet.formats.onnx.reader import read
from gpunet.formats.onnx.schema import MODEL
from gpunet.formats.protobuf import Decoder, Field, Schema, encoded
from tests.fuzzing import edited, fuzz, limited
from tests.onnx_files import DATA, KEPT, model, node
from tests.test_onnx_import import keras_like, small

NUMBERS = Schema(
    {
        1: Field("integer", "int"),
        2: Field("integers", "int", many=True),
        3: Field("numbers", "float", many=True),
        4: Field("double", "double"),
        5: Field("text", "text"),
        19: Field("texts", "text", many=True),
    }
)
INTEGERS = st.integers(-(2**63), 2**63 - 1)


@settings(max_examples=40, deadline=None, database=None, derandomize=True)
@given(INTEGERS, st.lists(INTEGERS, min_size=1), st.lists(st.floats(width=32, allow_nan=False), min_size=1), st.text())
def test_messages_come_back_as_they_were(integer: int, many: list[int], numbers: list[float], text: str) -> None:
    message = {
        "integer": integer,
        "integers": many,
        "numbers": numbers,
        "double": 0.1,
        "text": text,
        "texts": [text] * 2,
    }
    found = Decoder().message(b"".join(encoded(message, NUMBERS)), NUMBERS)
    assert {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in found.items()} == message


@pytest.mark.parametrize("path", sorted(DATA.glob("light/*.onnx"))[:4], ids=lambda path: path.stem)
def test_files_are_written_as_others_write_them(path: Path) -> None:
    content = path.read_bytes()
    again = onnx.load_from_string(b"".join(encoded(Decoder().message(content, MODEL), MODEL)))
    theirs = onnx.load_from_string(content)
    assert list(again.graph.node) == list(theirs.graph.node)
    assert list(again.graph.initializer) == list(theirs.graph.initializer)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u4", "?", "bfloat16"])
def test_numbers_of_all_types_are_read_wherever_they_lie(tmp_path: Path, rng: np.random.Generator, dtype: str) -> None:
    import ml_dtypes

    values = rng.integers(0, 100, (3, 1, 2)).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    raw, kind = numpy_helper.from_array(values, "raw"), helper.np_dtype_to_tensor_dtype(values.dtype)
    apart = helper.make_tensor("apart", kind, values.shape, values.reshape(-1).tolist())
    graph = helper.make_graph([node("Relu", "x")], "g", [], [], [raw, apart])
    path = tmp_path / "x.onnx"
    onnx.save(helper.make_model(graph), path)
    for found in onnx_files.read_file(path).constants.values():
        np.testing.assert_array_equal(found.astype(float), values.astype(float))


@pytest.mark.parametrize("cases", [300, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["small", *(pytest.param(k, marks=pytest.mark.slow) for k in ("keras", "script"))])
def test_whatever_is_in_a_file_it_is_read_or_refused(tmp_path: Path, cases: int, kind: str) -> None:
    rng = np.random.default_rng(3)
    contents = {"small": small, "keras": keras_like, "script": lambda _: (KEPT / "script.onnx").read_bytes()}
    fuzz(tmp_path, "x.onnx", cases, edited(contents[kind](rng)), lambda path: import_weights(path, by_order=True))


def refused(path: Path) -> str:
    with limited(), pytest.raises(DataError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_weights_outside_of_the_folder_are_not_looked_at(tmp_path: Path, rng: np.random.Generator) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(4 * 54))
    (inner / "link").symlink_to(secret)
    for location in ("../secret", str(secret), "link", "a/../../secret", "", ".", "..\\secret"):
        made = onnx.load_from_string(model([node("Conv", "x w")], {"w": np.zeros((2, 3, 3, 3), np.float32)}))
        tensor = made.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        (inner / "x.onnx").write_bytes(made.SerializeToString())
        with limited(), pytest.raises(DataError, match=r"is not beside it|cannot read") as caught:
            read(inner / "x.onnx")
        assert "inner" in str(caught.value)


def outside(folder: Path, **said: str) -> Path:
    made = onnx.load_from_string(model([node("Conv", "x w")], {"w": np.zeros((2, 3, 3, 3), np.float32)}))
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in said.items():
        tensor.external_data.add(key=key, value=value)
    (folder / "x.onnx").write_bytes(made.SerializeToString())
    return folder / "x.onnx"


def test_weights_beside_a_file_must_be_there_and_large_enough(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*gone"):
        read(outside(tmp_path, location="gone"))
    (tmp_path / "data").write_bytes(bytes(300))
    assert "w lies beyond the end of data" in refused(outside(tmp_path, location="data", offset="200", length="216"))
    assert "w has 75 values instead of 54" in refused(outside(tmp_path, location="data"))
    assert "does not say where it lies" in refused(outside(tmp_path, location="data", offset="x"))
    assert read(outside(tmp_path, location="data", offset="84", length="216")).arrays["w"].shape == (2, 3, 3, 3)


def test_little_files_that_claim_much_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    many = {"shape": np.array([1 << 20, 3, 3, 3])}
    filled = node("ConstantOfShape", "shape", "w", value=numpy_helper.from_array(np.ones(1, np.float32)))
    path.write_bytes(
        model(
            [
                filled,
                *(node("Conv", "x w", f"y{n}") for n in range(20)),
                node("Sum", " ".join(f"y{n}" for n in range(20))),
            ],
            many,
        )
    )
    assert "bytes and would be 566,231,040 weights" in refused(path)
    path.write_bytes(
        model([node("ConstantOfShape", "shape", "w"), node("Conv", "x w")], {"shape": np.array([1 << 30] * 4)})
    )
    assert "n_y (Conv)" in refused(path)
    path.write_bytes(
        model(
            [node("Expand", "one shape", "w"), node("Mul", "x w")],
            {"one": np.ones(1, np.float32), "shape": np.array([1 << 40])},
        )
    )
    assert "n_w (Expand)" in refused(path)
    path.write_bytes(model([node("Relu", "x")], {}, ("N", 3, 2**31, 2**31)))
    assert read(path).net is not None  # a plan says what that takes
    path.write_bytes(b"\x08\x08\x3a\x90\xa1\x0f" + b"\x0a\x00" * 125_000)
    assert "more than 50,000 nodes" in refused(path)
    path.write_bytes(b"\x08\x08\x3a\x84\x80\x80\x01" + b"\x62\x00" * (1 << 20))
    assert "x.onnx" in refused(path)


def test_more_layers_than_a_net_may_have_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MOST_LAYERS", 20)
    chain = [node("Relu", f"v{number}" if number else "x", f"v{number + 1}") for number in range(21)]
    (tmp_path / "x.onnx").write_bytes(model(chain, {}, outputs=("v21",)))
    assert "x.onnx would have 21 layers, and a net has 20 at most" in refused(tmp_path / "x.onnx")


def test_a_file_is_known_by_what_is_in_it(tmp_path: Path, rng: np.random.Generator) -> None:
    (tmp_path / "x.pth").write_bytes(small(rng))
    found = format_of(tmp_path / "x.pth")
    assert found is not None and found.name == "ONNX"
    for path in (KEPT / "dynamo.onnx", KEPT / "script.onnx", *DATA.glob("light/*.onnx")):
        found = format_of(path)
        assert found is not None and found.name == "ONNX"
    (tmp_path / "x.onnx").write_bytes(small(rng)[:-9])
    assert "is cut short, damaged, or no ONNX file" in refused(tmp_path / "x.onnx")


# -- graphs at random

SIZES = (0, 1, 2, 3, 7, -1, -2, 255, 256, 2**31, 2**40, -(2**63))
FLOATS = (0.0, 0.5, -1.0, 1e38, float("nan"), float("inf"))
MANY = ["kernel_shape", "strides", "pads", "dilations", "axes", "perm", "starts", "ends", "split"]
SINGLE = [
    "group",
    "axis",
    "ceil_mode",
    "count_include_pad",
    "keepdims",
    "transA",
    "transB",
    "size",
    "p",
    "to",
    "start",
    "end",
    "allowzero",
]
REAL = ["alpha", "beta", "epsilon", "momentum", "bias", "min", "max", "ratio"]
IMAGES = (("N", 3, 8, 8), (1, 8, 8, 3), ("N", 3), ("N", 8, 8), (2, 3, 2**31, 5))
OPS = sorted({op for name in RULES for op in import_module(f"gpunet.formats.onnx.{name}").RULES} | {*VIEWS, *COMPUTED})


def some_attributes(draw: random.Random) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in draw.sample([*MANY, *SINGLE, *REAL], draw.randint(0, 5)):
        if name in MANY:
            found[name] = [draw.choice(SIZES) for _ in range(draw.randint(1, 6))]
        else:
            found[name] = draw.choice(SIZES if name in SINGLE else FLOATS)
    return found


def some_constant(draw: random.Random) -> np.ndarray:
    shape = [draw.randint(0, 4) for _ in range(draw.randint(0, 5))]
    integers = np.array([draw.choice(SIZES) for _ in range(draw.randint(0, 5))], np.int64)
    single = np.array(draw.choice(FLOATS), np.float32)
    return draw.choice([integers, single, np.ones(shape, np.float32), np.ones((4, 3, 3, 3), np.float32)])


def some_graph(draw: random.Random) -> bytes:
    constants = {f"c{number}": some_constant(draw) for number in range(draw.randint(0, 4))}
    values, nodes = ["x"], []
    for number in range(draw.randint(1, 6)):
        takes = draw.choice([1, 1, 2, 2, 3, 4])
        names = [draw.choice(values[-2:] if draw.random() < 0.65 else [*constants, "", "none"]) for _ in range(takes)]
        outputs = [f"v{number}_{place}" for place in range(draw.choice([1, 1, 2]))]
        nodes.append(helper.make_node(draw.choice(OPS), names, outputs, **some_attributes(draw)))
        values += outputs
    return model(nodes, constants, draw.choice(IMAGES), opset=draw.choice([6, 9, 13, 17, 20]), outputs=values[-1:])


@pytest.mark.parametrize("cases", [range(150), pytest.param(range(150, 10_000), marks=pytest.mark.slow)])
def test_whatever_nodes_are_in_a_file_it_is_read_or_refused(tmp_path: Path, cases: range) -> None:
    path, said = tmp_path / "x.onnx", 0
    for case in cases:
        path.write_bytes(some_graph(random.Random(case)))
        try:
            with limited():
                found = import_weights(path, by_order=True)
                said += bool(found.net.nodes)
        except GpunetError as error:
            told = str(error)
        else:
            continue
        assert str(path) in told, f"case {case}: {told}"
    assert said
