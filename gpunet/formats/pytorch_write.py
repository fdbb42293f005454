"""State dicts for PyTorch, written without it: `torch.load(weights_only=True)` takes the archive, and safetensors."""

import json
import struct
import zipfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from itertools import accumulate
from pathlib import Path

import numpy as np

from gpunet.formats.halves import BITS
from gpunet.formats.layout import TORCH
from gpunet.formats.match import places, torch_names
from gpunet.formats.torchvision import COUNTER
from gpunet.net.net import Net
from gpunet.system.files import write_whole

STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    str(BITS): "BFloat16Storage",
    "int64": "LongStorage",
}
SAFETENSORS = {"float32": "F32", "float64": "F64", "float16": "F16", str(BITS): "BF16", "int64": "I64"}
"""By dtype, what the two formats call it."""

OPENED = (1980, 1, 1, 0, 0, 0)
"""The time of every entry: the same weights give the same bytes."""


def state_dict(net: Net, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parameters of a net as PyTorch's modules hold them, by torchvision's names where it has the net, else by its
    own; those of auxiliary heads, which score nothing, aside."""
    names, _, _ = torch_names(net)
    state: dict[str, np.ndarray] = {}
    for node, place in places(net):
        name = names[f"{node.name}.{place.name}"]
        state[name] = place.given(weights[f"{node.name}.{place.name}"], TORCH)
        if place.name == "variance":
            state[f"{name.rpartition('.')[0]}.{COUNTER}"] = np.zeros((), np.int64)
    return state


def write_safetensors(path: Path, state: Mapping[str, np.ndarray]) -> None:
    """Write the arrays as PyTorch's users have them. Raises DataError where that is not possible.

    By hand, as NumPy has no bfloat16 that the library would know; wide values first, so that all of them are aligned.
    """
    state = dict(sorted(state.items(), key=lambda item: -item[1].itemsize))
    ends = list(accumulate(values.nbytes for values in state.values()))
    entries = {
        name: {
            "dtype": SAFETENSORS[str(values.dtype)],
            "shape": list(values.shape),
            "data_offsets": [end - values.nbytes, end],
        }
        for (name, values), end in zip(state.items(), ends, strict=True)
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **entries}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    header = len(text).to_bytes(8, "little") + text
    write_whole(path, [header, *(_little(values) for values in state.values())])


def write_pth(path: Path, state: Mapping[str, np.ndarray]) -> None:
    """Write the arrays as `torch.save` does. Raises DataError where that is not possible."""
    made = BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name, content in _entries(state):
            archive.writestr(zipfile.ZipInfo(f"{path.stem}/{name}", OPENED), content)
    write_whole(path, [made.getbuffer()])


def _entries(state: Mapping[str, np.ndarray]) -> Iterator[tuple[str, bytes]]:
    """What is in the archive: the pickle first, then a storage for each array."""
    yield "data.pkl", _pickled(state)
    yield "byteorder", b"little"
    for number, values in enumerate(state.values()):
        yield f"data/{number}", _little(values)
    yield "version", b"3\n"


def _little(values: np.ndarray) -> bytes:
    return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()


def _pickled(state: Mapping[str, np.ndarray]) -> bytes:
    """An OrderedDict of tensors, in protocol 2."""
    items = [_text(name) + _tensor(str(number), values) for number, (name, values) in enumerate(state.items())]
    return b"\x80\x02" + ORDERED + b"(" + b"".join(items) + b"u."


ORDERED = b"ccollections\nOrderedDict\n)R"
"""One with nothing in it."""


def _tensor(key: str, values: np.ndarray) -> bytes:
    """A call that makes a tensor over all of the storage of that key."""
    storage = f"ctorch\n{STORAGES[str(values.dtype)]}\n".encode()
    where = b"(" + _text("storage") + storage + _text(key) + _text("cpu") + _integer(values.size) + b"tQ"
    strides = [step // values.itemsize for step in np.empty(values.shape, values.dtype).strides]
    sizes = b"".join(b"(" + b"".join(map(_integer, each)) + b"t" for each in (values.shape, strides))
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + where + _integer(0) + sizes + b"\x89" + ORDERED + b"tR"


def _text(text: str) -> bytes:
    content = text.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def _integer(number: int) -> bytes:
    if number < 2**31:
        return b"J" + struct.pack("<i", number)
    return b"\x8a\x08" + struct.pack("<q", number)
