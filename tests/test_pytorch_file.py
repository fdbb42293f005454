"""Files of torch.save: what PyTorch itself reads comes back, anything that could run is refused."""

import argparse
import io
import os
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch import nn

from gpunet.errors import DataError
from gpunet.formats import pytorch, safetensors_file
from gpunet.formats.known import foreign_format, read_foreign
from tests import fuzzing
from tests.fuzzing import edited, fuzz, limited

CONTAINERS = pytest.mark.parametrize("new", [True, False], ids=["archive", "legacy"])


def saved(folder: Path, value: Any, new: bool = True) -> Path:
    path = folder / "x.pth"
    torch.save(value, path, _use_new_zipfile_serialization=new)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_foreign(path)
    message = str(caught.value)
    assert str(path) in message and message.isprintable()
    return message


def state() -> dict[str, torch.Tensor]:
    """Tensors that share storages, begin within them, go through them in other orders, of every dtype that is read."""
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {"base": base, "turned": base.t(), "part": base[1:3, ::2], "column": base[:, 3]}
    tensors |= {"spread": torch.ones(3).expand(4, 3), "none": torch.empty(0, 3), "one": torch.tensor(3)}
    tensors |= {"parameter": nn.Parameter(base * 2), "bools": torch.tensor([True, False])}
    kinds = (
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
    )
    return tensors | {str(kind): (torch.randn(2, 5) * 50).to(kind) for kind in kinds}


def as_numpy(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


@CONTAINERS
def test_every_tensor_comes_back(tmp_path: Path, new: bool) -> None:
    wanted = state()
    found = read_foreign(saved(tmp_path, wanted, new))
    assert list(found.arrays) == list(wanted) and found.format == "PyTorch"
    for name, tensor in wanted.items():
        np.testing.assert_array_equal(found.arrays[name], as_numpy(tensor), err_msg=name)
        assert found.arrays[name].dtype == as_numpy(tensor).dtype


@CONTAINERS
@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_the_state_dict_of_a_checkpoint_is_found_and_unwrapped(tmp_path: Path, new: bool, key: str) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    named = OrderedDict((f"module._orig_mod.{name}", tensor) for name, tensor in model.state_dict().items())
    checkpoint = {"epoch": 3, key: named, "optimizer": optimizer.state_dict(), "loss": 0.5, "name": "x", "best": None}
    checkpoint["best_acc1"] = torch.tensor(71.5)  # no weight of the model
    found = read_foreign(saved(tmp_path, checkpoint, new))
    assert {name: array.shape for name, array in found.arrays.items()} == {
        name: tuple(tensor.shape) for name, tensor in model.state_dict().items()
    }
    assert [repr(word) in " ".join(found.notes) for word in (key, "module.", "_orig_mod.")] == [True] * 3
    assert "best_acc1 left alone" in found.notes[0]


def test_a_module_around_the_net_is_taken_off_where_all_names_have_it(tmp_path: Path) -> None:
    """As in Lightning's checkpoints."""
    state = {f"model.{name}": torch.ones(2) for name in ("0.weight", "0.bias")}
    assert list(read_foreign(saved(tmp_path, {"state_dict": state, "epoch": 1})).arrays) == ["0.weight", "0.bias"]
    found = read_foreign(saved(tmp_path, {"state_dict": state | {"loss.weight": torch.ones(2)}}))
    assert list(found.arrays) == ["model.0.weight", "model.0.bias", "loss.weight"]


def test_the_parts_of_storages_of_the_oldest_files_are_read(tmp_path: Path) -> None:
    values = np.arange(10, dtype=np.float32)
    reference = (("storage", torch.FloatStorage, "7", "cpu", 10, ("8", 4, 5)),)

    class Pickler(pickle.Pickler):
        def persistent_id(self, one: object) -> object:
            return reference[0] if one == "here" else None

    def written(value: object) -> bytes:
        file = io.BytesIO()
        Pickler(file, 2).dump(value)
        return file.getvalue()

    class Tensor:
        def __reduce__(self) -> tuple[object, ...]:
            return torch._utils._rebuild_tensor, ("here", 1, (2, 2), (2, 1))

    parts = [pytorch.LEGACY_MAGIC, pytorch.LEGACY_PROTOCOL, {"little_endian": True}, {"w": Tensor()}, ["7"]]
    path = tmp_path / "old.pth"
    path.write_bytes(b"".join(map(written, parts)) + struct.pack("<q", 10) + values.tobytes())
    np.testing.assert_array_equal(read_foreign(path).arrays["w"], [[5, 6], [7, 8]])


def test_big_ends_and_missing_sums_are_read(tmp_path: Path) -> None:
    plain = saved(tmp_path, {"w": torch.arange(6.0)})
    turned = tmp_path / "big.pth"
    with zipfile.ZipFile(plain) as before, zipfile.ZipFile(turned, "w") as after:
        for name in before.namelist():
            content = before.read(name)
            if name.endswith("byteorder"):
                content = b"big"
            after.writestr(name, np.frombuffer(content, "<f4").byteswap().tobytes() if "/data/" in name else content)
    np.testing.assert_array_equal(read_foreign(turned).arrays["w"], np.arange(6))
    torch.serialization.set_crc32_options(False)
    try:
        np.testing.assert_array_equal(read_foreign(saved(tmp_path, {"w": torch.ones(3)})).arrays["w"], 1)
    finally:
        torch.serialization.set_crc32_options(True)


class Harm:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


@CONTAINERS
def test_nothing_is_run_and_what_weights_only_refuses_is_refused(tmp_path: Path, new: bool) -> None:
    harmed = tmp_path / "harmed"
    for value in (
        {"w": torch.ones(2), "x": Harm(harmed)},
        {"w": torch.ones(2), "args": argparse.Namespace(lr=1)},
        {"w": torch.ones(2), "best": np.float64(0.5)},
        nn.Linear(2, 3),
    ):
        path = saved(tmp_path, value, new)
        with pytest.raises(pickle.UnpicklingError):
            torch.load(path, weights_only=True)
        assert "torch.load(weights_only=True) refuses" in refusal(path)
        assert "save model.state_dict()" in refusal(path)
    assert not harmed.exists()


def test_an_archive_that_is_cut_short_is_said_to_be(tmp_path: Path) -> None:
    path = saved(tmp_path, {"w": torch.ones(1000)})
    content = path.read_bytes()
    for size in (len(content) - 1, len(content) // 2, 100):
        path.write_bytes(content[:size])
        assert f"{path} is cut short" in refusal(path)


def test_what_is_no_state_dict_says_what_to_save(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(nn.Linear(2, 3)).save(str(tmp_path / "s.pth"))
    assert "is TorchScript, a program" in refusal(tmp_path / "s.pth")
    assert "holds a single tensor and no state dict" in refusal(saved(tmp_path, torch.ones(2)))
    assert "holds a list" in refusal(saved(tmp_path, [torch.ones(2)]))
    assert "holds epoch and lr, none of which is the state dict" in refusal(saved(tmp_path, {"epoch": 1, "lr": 0.5}))
    (tmp_path / "plain").write_bytes(pickle.dumps({"w": 1}, 2))
    assert "is a pickle, but none of torch.save" in refusal(tmp_path / "plain")
    (tmp_path / "old").write_bytes(b"storages".ljust(257, b"\0") + b"ustar".ljust(255, b"\0"))
    assert "the container of PyTorch before 0.2" in refusal(tmp_path / "old")
    np.savez(tmp_path / "other.npz", w=np.ones(3))
    (tmp_path / "junk").write_bytes(b"junk")
    for name in ("other.npz", "junk"):
        assert "is none of the formats that can be imported: safetensors, PyTorch" in refusal(tmp_path / name)


def pickled(folder: Path, program: bytes, storages: dict[str, bytes] | None = None, **options: Any) -> Path:
    """An archive around a pickle that is written by hand."""
    path = folder / "made.pth"
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("a/data.pkl", program)
        for key, content in (storages or {"0": bytes(40)}).items():
            archive.writestr(f"a/data/{key}", content)
    return path


STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x0atQ"
"""Of ten values."""


def tensor(offset: int = 0, shape: bytes = b"K\x02\x85", strides: bytes = b"K\x01\x85") -> bytes:
    named = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K" + bytes([offset]) + shape + strides
    return named + b"\x89ccollections\nOrderedDict\n)RtR"


def dict_of(value: bytes) -> bytes:
    return b"\x80\x02}X\x01\0\0\0w" + value + b"s."


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (dict_of(tensor(9)), "reaches to value 10 of a storage that has 10"),
        (dict_of(tensor(0, b"K\x04\x85", b"K\x04\x85")), "reaches to value 12"),
        (dict_of(tensor(0, b"K\x02\x85", b"J\xff\xff\xff\xff\x85")), "a size that is none"),
        (dict_of(tensor(0, b"K\x02\x85", b")")), "1 extents and 0 strides"),
        (dict_of(tensor(0, b"(" + b"K\x01" * 40 + b"t", b"(" + b"K\x01" * 40 + b"t")), "a tuple of at most 32"),
        (dict_of(b"ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00))tR"), "a tensor has no storage"),
        (dict_of(STORAGE.replace(b"FloatStorage", b"ComplexFloatStorage")), "refuses, too"),
        (dict_of(b"X\x01\0\0\0xQ"), "should be a tuple"),
        (b"\x80\x02" + b"ctorch\nFloatStorage\n)R.", "FloatStorage is called"),
        (b"\x80\x02}X\x02\0\0\0\x1b[" + tensor() + b"s.", "signs that cannot be shown"),
        (dict_of(b"cos\nsystem\n(X\x02\0\0\0lstR"), "names os.system"),
        (b"\x80\x02}\x8a\x20" + b"\xff" * 31 + b"\x01" + b"Ns.", "a key is a int"),
    ],
)
def test_other_pickles_are_refused(tmp_path: Path, program: bytes, words: str) -> None:
    with limited():
        message = refusal(pickled(tmp_path, program))
    assert words in message


def test_archives_that_lie_are_refused(tmp_path: Path) -> None:
    good = dict_of(tensor())
    assert read_foreign(pickled(tmp_path, good)).arrays["w"].shape == (2,)
    assert "has 9 values instead of 10" in refusal(pickled(tmp_path, good, {"0": bytes(36)}))
    assert "'a/data/0'" in refusal(pickled(tmp_path, good, {"1": bytes(40)}))
    assert "compressed" in refusal(pickled(tmp_path, good, compression=zipfile.ZIP_DEFLATED))
    path = pickled(tmp_path, good)
    content = path.read_bytes()
    at = content.index(bytes(40))
    path.write_bytes(content[:at] + b"\1" + content[at + 1 :])
    assert "another sum" in refusal(path)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore", UserWarning)  # that there are two of one name
        for _ in range(2):
            archive.writestr("a/data.pkl", good)
    assert "two entries of one name" in refusal(path)
    path.write_bytes(content[:-4])
    assert foreign_format(path) is not None and "is cut short" in refusal(path)


KNOWN = b"ccollections\nOrderedDict\nq\x010X\x01\0\0\0aN\x86q\x050"
"""The name of an ordered dict as 1, a pair as 5."""
LIST = KNOWN + b"](" + b"h\x05" * 30_000 + b"eq\x000" + b"h\x01h\x00\x85R0" * 60_000
"""One long list of pairs, of which one dict after the other is made."""
TUPLE = STORAGE[:-2] + b"N" + b"K\x01" * 30_000 + b"tq\x000" + b"h\x00Q0" * 60_000
"""One long tuple, which is a storage as far as its beginning tells, referred to again and again."""


@pytest.mark.parametrize(("program", "words"), [(LIST, "becomes a dict again and again"), (TUPLE, "of at most 32")])
def test_what_is_named_again_and_again_takes_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: bytes, words: str
) -> None:
    monkeypatch.setattr(fuzzing, "MOST_SECONDS", 10)
    path = pickled(tmp_path, b"\x80\x02}" + program + b".")
    with limited():
        assert words in refusal(path)


def test_a_tensor_that_takes_one_value_again_and_again_is_refused_where_it_would_take_room(tmp_path: Path) -> None:
    """A layer of scores of as many classes would be made of it."""
    for sizes in (b"J\x00\x00\x00\x40J\x00\x00\x00\x10\x86", b"J\x00\x00\x01\x00K\x01\x86"):
        with limited():
            message = refusal(pickled(tmp_path, dict_of(tensor(0, sizes, b"K\x00K\x00\x86"))))
        assert "values, more than the file has bytes" in message


def test_a_file_that_claims_more_than_it_has_takes_no_room(tmp_path: Path) -> None:
    path = saved(tmp_path, {"w": torch.ones(3)}, new=False)
    content = path.read_bytes()
    path.write_bytes(
        content.replace(b"K\x03N", b"\x8a\x05\0\0\0\0\x10N").replace(struct.pack("<q", 3), struct.pack("<q", 2**36))
    )
    with limited():
        assert "it ends too early" in refusal(path)
    hole = tmp_path / "hole.pth"
    hole.touch()
    os.truncate(hole, 1 << 40)
    with limited():
        assert "none of the formats" in refusal(hole)


def bytes_of(write: Callable[[Path], object], folder: Path) -> bytes:
    path = folder / "written"
    write(path)
    return path.read_bytes()


@fuzzing.FEW_CASES
def test_files_of_pytorch(tmp_path: Path, cases: int) -> None:
    wholes = []
    for new in (True, False):
        value = {"state_dict": {"module.a": torch.ones(2, 3), "module.b": torch.ones(3).half()}, "n": {0: [1, 0.5]}}
        wholes.append(
            bytes_of(
                lambda path, new=new, value=value: torch.save(value, path, _use_new_zipfile_serialization=new), tmp_path
            )
        )
    wholes.append(pickled(tmp_path, dict_of(tensor())).read_bytes())
    fuzz(tmp_path, "x.pth", cases, edited(*wholes), read_foreign)


@fuzzing.FEW_CASES
def test_the_pickle_in_an_archive(tmp_path: Path, cases: int) -> None:
    """Edited where the archive's own sums do not see it."""

    def read(path: Path) -> object:
        return read_foreign(pickled(tmp_path, path.read_bytes()).rename(path))

    fuzz(tmp_path, "x.pkl", cases, st.one_of(edited(dict_of(tensor())), st.binary(max_size=60)), read)


# -- safetensors


def test_safetensors_of_pytorch_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    wanted = {f"module.features.{n}.weight": torch.randn(2, n) for n in (2, 10, 1)}
    wanted |= {"module.bf.bias": torch.randn(3).bfloat16()}
    for about in ({"format": "pt"}, None):
        save_file(wanted, tmp_path / "x", about)
        found = read_foreign(tmp_path / "x")
        assert list(found.arrays) == ["bf.bias", "features.1.weight", "features.2.weight", "features.10.weight"]
        for name, array in found.arrays.items():
            np.testing.assert_array_equal(array, as_numpy(wanted[f"module.{name}"]))


def test_safetensors_of_others_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"x.weight": np.ones(3)}, tmp_path / "x", {"format": "flax"})
    assert "says that it is of 'flax'" in refusal(tmp_path / "x")
    save_file({"kernel": np.ones(3)}, tmp_path / "x")
    assert "does not say whose it is" in refusal(tmp_path / "x")
    save_file({"fc1.w": np.ones(3)}, tmp_path / "x", {"gpunet": "{}"})
    assert "is gpunet's own already" in refusal(tmp_path / "x")


def test_weights_of_gpunet_are_never_taken_for_a_pickle(tmp_path: Path) -> None:
    """The first bytes of a safetensors file are a length, which may be any."""
    for length in (0x0280, 0x0480):
        header = b"{" + b'"__metadata__":{"gpunet":"{}"}' + b"}"
        (tmp_path / "x").write_bytes(struct.pack("<Q", length) + header.ljust(length))
        assert foreign_format(tmp_path / "x") is None
        assert "is gpunet's own already" in refusal(tmp_path / "x")


@fuzzing.FEW_CASES
def test_safetensors(tmp_path: Path, cases: int) -> None:
    from safetensors.numpy import save

    whole = save({"a.weight": np.ones((2, 3), np.float32), "a.bias": np.ones(3, np.float16)}, {"format": "pt"})
    fuzz(tmp_path, "x.safetensors", cases, edited(whole), safetensors_file.read)
