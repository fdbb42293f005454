"""Pickles are read and never run: what CIFAR holds comes back, anything else is refused and does nothing."""

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from gpunet.data.pickles import load_pickle
from gpunet.errors import DataError
from tests import fuzzing
from tests.fuzzing import limited


def loaded(folder: Path, content: bytes) -> dict[str, object]:
    path = folder / "data_batch_1"
    path.write_bytes(content)
    return load_pickle(path)


def refusal(folder: Path, content: bytes) -> str:
    with pytest.raises(DataError) as caught:
        loaded(folder, content)
    assert "data_batch_1" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("protocol", range(5))
def test_dicts_of_numbers_and_text_come_back(tmp_path: Path, protocol: int) -> None:
    content = {"a": [1, 300, -7, 2**40, 10**30], b"b": [b"x" * 300, "é" * 300], "c": [(), (1,), (1, 2), (1, 2, 3, 4)]}
    content |= {"d": [None, True, False], "e": {"f": {"x": 2}, "g": [[], {}]}}
    found = loaded(tmp_path, pickle.dumps(content, protocol))
    assert found == {str(key, "ascii") if isinstance(key, bytes) else key: value for key, value in content.items()}


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_bytes_come_back_in_either_order(tmp_path: Path, rng: np.random.Generator, order: str) -> None:
    values = np.asarray(rng.integers(0, 256, (5, 7), dtype=np.uint8), order=order)
    found = loaded(tmp_path, pickle.dumps({"data": values}, 2))["data"]
    np.testing.assert_array_equal(found, values)


class Harm:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_called(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "harmed"
    message = refusal(tmp_path, pickle.dumps({"data": Harm(path)}, protocol))
    assert "holds more than numbers and text" in message
    assert not path.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "pickle exhausted"),
        (b"\x80\x02}", "pickle exhausted"),
        (b"\x80\x02]q\x00.", "holds a list, not a dict"),
        (b"cos\nsystem\n(S'echo'\ntR.", "it names os.system"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "it names os.system"),
        (b"cnumpy\nndarray\n)R.", "an array of other things"),
        (b"cnumpy\ndtype\n(S'O'\ntR.", "other things than unsigned bytes"),
        (b"}(}K\x01u.", "a key is a dict"),
        (b"}K\x01K\x01s.", "a key is a int"),
        (b"}X\x65\0\0\0" + b"x" * 101 + b"Ns.", "a key of 101 letters"),
        (b"})" + b"q\x00h\x00\x86" * 40 + b"K\x01s.", "a key is a tuple"),
        (b"K\x01K\x02a.", "into what is no list"),
        (b"]K\x01K\x02s.", "into what is no dict"),
        (b"}(K\x01u.", "into what is no dict"),
        (b"h\x07.", "7"),
        (b"0.", ""),
        (b"t.", ""),
        (b"\x85.", ""),
        (b"\x8f.", "instruction EMPTY_SET"),
        (b"}(K\x01tb.", "is given a state"),
        (b"\x80\x02X" + struct.pack("<I", 2**31) + b"abc.", "expected 2147483648 bytes"),
        (b"\x8e" + struct.pack("<Q", 2**62) + b"abc.", "expected"),
        (b"\x8e" + struct.pack("<Q", 2**63) + b"abc.", "byte count"),
    ],
)
def test_other_programs_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refusal(tmp_path, content)


@pytest.mark.parametrize("unit", [b"]", b"(", b"N\x94", b"}C\x01aNs"])
def test_a_row_of_one_instruction_ends_early_and_takes_little_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: bytes
) -> None:
    monkeypatch.setattr(fuzzing, "MOST_BYTES", 128 << 20)
    monkeypatch.setattr(fuzzing, "MOST_SECONDS", 60)  # it takes a third of one where there is nothing else to do
    with limited():
        assert "more than 400,000 instructions" in refusal(tmp_path, b"}" + unit * 400_000)


def test_as_many_names_and_labels_as_cifar_100_has_come_back_in_the_wordiest_protocol(tmp_path: Path) -> None:
    content = {"filenames": [f"{number}.png" for number in range(50_000)], "fine_labels": [99] * 50_000}
    content["coarse_labels"] = content["fine_labels"][:]
    assert loaded(tmp_path, pickle.dumps(content, 0)) == content


TEXT = b"X" + struct.pack("<I", 1000) + b"a" * 1000 + b"q\x00"
ENCODE = b"c_codecs\nencode\nq\x01X\x06\0\0\0latin1q\x02"
STATE = b"cnumpy.core.multiarray\n_reconstruct\n)R(K\x01M\xe8\x03\x85cnumpy\ndtype\nX\x02\0\0\0u1\x85R\x89h\x00tq\x03"


@pytest.mark.parametrize("amplifier", [ENCODE + b"h\x01h\x00h\x02\x86R" * 10, STATE + b"b" + b"h\x03b" * 10])
def test_a_text_becomes_bytes_once(tmp_path: Path, amplifier: bytes) -> None:
    assert "the same text becomes bytes again and again" in refusal(tmp_path, b"}" + TEXT + amplifier + b".")


def test_what_a_refusal_quotes_of_the_file_is_short_and_harmless(tmp_path: Path) -> None:
    for content in (b"cos\n" + b"\x1b" * 5000 + b"\n", b"S" + b"\x1b" * 5000 + b"\n"):
        message = refusal(tmp_path, content)
        assert message.isprintable() and len(message) < len(str(tmp_path)) + 200


def test_a_memo_far_away_takes_no_room(tmp_path: Path) -> None:
    assert loaded(tmp_path, b"}r" + struct.pack("<I", 2**32 - 1) + b".") == {}


@pytest.mark.parametrize(
    "values", [np.zeros(3), np.zeros(3, np.int8), np.array(["a"]), np.array([None]), np.zeros(3, ">u2")]
)
def test_arrays_of_anything_but_unsigned_bytes_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    assert "other things than unsigned bytes" in refusal(tmp_path, pickle.dumps({"data": values}, 2))


def test_an_array_whose_bytes_are_not_its_shape_is_refused(tmp_path: Path) -> None:
    whole = pickle.dumps({"data": np.zeros((3, 5), np.uint8)}, 3)
    assert whole.count(b"K\x03K\x05\x86") == 1
    assert "of shape (3, 6) has 15 bytes" in refusal(tmp_path, whole.replace(b"K\x03K\x05\x86", b"K\x03K\x06\x86"))


def test_a_file_far_larger_than_cifars_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "data_batch_1"
    path.touch()
    os.truncate(path, 1 << 40)  # a hole: it takes no room
    with pytest.raises(DataError, match=r"1,099,511,627,776 bytes, more than"):
        load_pickle(path)
