"""ONNX files for tests: written by the onnx package and by PyTorch's exporters, and judged by onnxruntime."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

from gpunet import Imported, Model, Net

KEPT = Path(__file__).parent / "onnx_kept"
"""What PyTorch's exporters wrote of `Everything`: dynamo.onnx with dynamo.onnx.data beside it, and script.onnx."""

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
"""The cases of the onnx package."""

Shape = Sequence[int | str]


def model(
    nodes: Sequence[Any],
    constants: Mapping[str, np.ndarray],
    image: Shape = ("N", 3, 8, 8),
    *,
    opset: int = 17,
    outputs: Sequence[str] = ("y",),
    dtype: int = TensorProto.FLOAT,
) -> bytes:
    """A file of nodes over the input x, with float outputs of no said size."""
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", dtype, list(image))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    content: bytes = made.SerializeToString()
    return content


def node(op: str, inputs: str, outputs: str = "y", **attributes: Any) -> Any:
    """A node; names of values with blanks between them."""
    return helper.make_node(op, inputs.split(" "), outputs.split(" "), f"n_{outputs.split(' ')[0]}", **attributes)


def runtime_scores(path: Path, given: np.ndarray) -> np.ndarray:
    """What onnxruntime gives for an input as the file wants it: a row an image, maps last."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    scores = session.run(None, {session.get_inputs()[0].name: given})[0]
    scores = scores.transpose(0, 2, 3, 1) if scores.ndim == 4 else scores
    found: np.ndarray = scores.reshape(len(given), -1)
    return found


def net_scores(net: Net, weights: Mapping[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """What the net gives for images as they enter it, or of bytes."""
    with Model(net, len(images), "cpu", mode="infer") as made:
        for name in made.parameters:
            made.parameters[name] = weights[name]
        return made.forward(images)


def apart(path: Path, found: Imported, rng: np.random.Generator, *, last: bool = False, images: int = 2) -> float:
    """How far scores are from onnxruntime's, beside the largest; `last`: whether the file takes maps last."""
    x = rng.standard_normal((images, *found.net.input.shape)).astype(np.float32)
    wanted = runtime_scores(path, x if last else np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    return float(np.abs(net_scores(found.net, found.weights, x) - wanted).max() / max(np.abs(wanted).max(), 1e-6))


class Everything(nn.Module):
    """A little of all that exporters write: folded norms, LRN taken apart, gates, shuffles, slices, units, sums."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.lrn, self.pool = nn.LocalResponseNorm(5, alpha=0.1), nn.MaxPool2d(3, 2, 1, ceil_mode=True)
        self.deep = nn.Conv2d(8, 8, 3, padding="same", groups=8)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Hardsigmoid())
        self.units = nn.Sequential(nn.SiLU(), nn.Hardswish(), nn.GELU(), nn.Softplus(), nn.ELU(0.5), nn.PReLU(8))
        self.ending = nn.Sequential(nn.AvgPool2d(3), nn.Flatten(), nn.Dropout(0.2), nn.Linear(72, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.lrn(self.stem(x)))
        x = self.deep(x) * self.gate(x) + 0.5 * x
        x = x.view(-1, 2, 4, 9, 9).transpose(1, 2).reshape(-1, 8, 9, 9)
        one, other = x.chunk(2, 1)
        x = torch.cat([functional.leaky_relu(other, 0.2), torch.maximum(one, other)], 1)
        x = self.units(x) - functional.avg_pool2d(x, 3, 1, 1)
        scores: torch.Tensor = self.ending(x)
        return torch.softmax(scores, 1)


def everything() -> nn.Module:
    """The module with random numbers, statistics of the norm too; always the same."""
    torch.manual_seed(5)
    made = Everything().eval()
    norm = made.stem[1]
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 1.5)
    return made


def export(module: nn.Module, path: Path, *, dynamo: bool, image: tuple[int, int, int] = (3, 32, 32)) -> Path:
    """What one of PyTorch's exporters writes of a module; the older one, as it is mostly called, for 2 images alone."""
    logging.disable(logging.WARNING)
    x = torch.zeros((2, *image))
    open_to: dict[str, Any] = {"dynamo": False}
    if dynamo:
        open_to = {"dynamo": True, "verbose": False, "dynamic_shapes": ({0: torch.export.Dim("N")},)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (x,), str(path), **open_to)
    logging.disable(logging.NOTSET)
    return path


def tidy(path: Path) -> None:
    """Take out of a file what it says of the program that wrote it: lines of code, and where they stood."""
    made = onnx.load(path, load_external_data=False)
    del made.graph.metadata_props[:]
    for part in (*made.graph.node, *made.graph.value_info, *made.graph.input, *made.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    path.write_bytes(made.SerializeToString())


if __name__ == "__main__":
    KEPT.mkdir(exist_ok=True)
    for name, dynamo in (("dynamo", True), ("script", False)):
        tidy(export(everything(), KEPT / f"{name}.onnx", dynamo=dynamo))
