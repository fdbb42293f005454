"""Files of Torch7: nets come with PyTorch's scores of the same modules, tables and shared objects are followed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gpunet import import_weights
from gpunet.formats.foreign import Asked
from gpunet.formats.known import foreign_format
from gpunet.formats.torch7.objects import Module, Reader
from gpunet.formats.torch7.read import read
from gpunet.program.volume import Volume
from tests import fuzzing
from tests.conftest import Run
from tests.fuzzing import edited, fuzz, limited
from tests.test_import_weights import torch_scores
from tests.test_keras import near, refusal, scores
from tests.torch7_files import Function, Object, Storage, Writer, as_torch7, chain, integer, long, module, text


def written(folder: Path, value: Any, old: bool = False) -> Path:
    (folder / "x.t7").write_bytes(Writer(old).write(value))
    return folder / "x.t7"


def agree(folder: Path, there: Object, theirs: nn.Module, H: int, W: int, D: int, apart: float = 1e-5) -> Any:
    """Both give the same scores; returns what was imported."""
    images = np.random.default_rng(1).standard_normal((2, H, W, D)).astype(np.float32)
    found = import_weights(written(folder, there), input=(H, W, D))
    wanted = torch_scores(theirs.eval(), images)
    wanted = wanted.transpose(0, 2, 3, 1) if wanted.ndim == 4 else wanted
    near(scores(found.net, found.weights, images), wanted.reshape(2, -1), apart)
    return found


class Sum(nn.Module):
    """Branches joined."""

    def __init__(self, how: str, *branches: nn.Module) -> None:
        super().__init__()
        self.how, self.branches = how, nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = [branch(x) for branch in self.branches]
        if self.how == "cat":
            return torch.cat(found, 1)
        total = found[0]
        for one in found[1:]:
            total = {"add": total + one, "mul": total * one, "max": torch.maximum(total, one)}[self.how]
        return total


def statistics(net: nn.Module, rng: np.random.Generator) -> None:
    for one in net.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.running_mean = torch.tensor(rng.normal(0, 0.2, one.num_features), dtype=torch.float32)
            one.running_var = torch.tensor(rng.uniform(0.5, 1.5, one.num_features), dtype=torch.float32)


def test_a_chain_of_the_usual_modules(tmp_path: Path, rng: np.random.Generator) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 6, (3, 2), (2, 1), (1, 1)),
        nn.BatchNorm2d(6, eps=1e-3),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.Conv2d(6, 4, 3, padding=2, dilation=(1, 2), bias=False),
        nn.LocalResponseNorm(5, 0.1),
        nn.PReLU(4),
        nn.ZeroPad2d((1, 0, 2, 1)),
        nn.Conv2d(4, 6, 2, groups=2),
        nn.LeakyReLU(0.2),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True),
        nn.Sequential(nn.ELU(0.5), nn.Sigmoid(), nn.Tanh(), nn.Softplus(), nn.Hardtanh(0.1, 0.9), nn.ReLU6()),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(6 * 5 * 5, 7),
        nn.Identity(),
        nn.ReLU(),
        nn.Linear(7, 5, bias=False),
    )
    statistics(net, rng)
    found = agree(tmp_path, as_torch7(net), net, 11, 13, 3)
    assert [node.name for node in found.net.nodes][:3] == ["conv1", "bn1", "relu1"]
    there = chain(as_torch7(net), module("LogSoftMax"))
    assert "the softmax at the end left out" in str(import_weights(written(tmp_path, there), input="11x13x3"))


@pytest.mark.parametrize("how", ["add", "mul", "max", "cat"])
def test_branches(tmp_path: Path, how: str) -> None:
    branches = nn.Conv2d(2, 2, 3, padding=1), nn.Identity(), nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU())
    theirs = nn.Sequential(nn.Conv2d(2, 2, 1), Sum(how, *branches), nn.ReLU())
    inside = [as_torch7(branch) for branch in branches]
    kind = {"add": "CAddTable", "mul": "CMulTable", "max": "CMaxTable"}.get(how)
    joined = (
        chain(module("ConcatTable", *inside), module(str(kind))) if kind else module("Concat", *inside, dimension=2)
    )
    agree(tmp_path, chain(as_torch7(theirs[0]), joined, as_torch7(theirs[2])), theirs, 5, 4, 2)


def test_tables(tmp_path: Path) -> None:
    """Each module takes a value of its own; one of them is picked, others joined."""
    one, two, three = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 3, 1)
    there = chain(
        module("ConcatTable", as_torch7(one), module("Identity")),
        module("ParallelTable", module("Identity"), as_torch7(two)),
        module("ConcatTable", module("CSubTable"), module("SelectTable", index=2), module("JoinTable", dimension=1)),
        module("ConcatTable", chain(module("SelectTable", index=1), as_torch7(three)), module("SelectTable", index=3)),
        module("JoinTable", dimension=2),
    )

    class Theirs(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            a, b = one(x), two(x)
            return torch.cat([three(a - b), a, b], 1)

    agree(tmp_path, there, Theirs(), 4, 3, 2)


def test_constants_and_dropouts_that_scale_when_used(tmp_path: Path) -> None:
    conv, norm = nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4, affine=False)
    there = chain(
        as_torch7(conv), module("MulConstant", constant_scalar=-0.5), module("AddConstant", constant_scalar=2)
    )
    there.said["modules"] += [module("SpatialDropout", p=0.25), module("Dropout", p=0.5, v2=False), as_torch7(norm)]

    class Theirs(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return norm.eval()((conv(x) * -0.5 + 2) * 0.75 * 0.5)

    agree(tmp_path, there, Theirs(), 4, 3, 2, 3e-5)


def test_old_files(tmp_path: Path, rng: np.random.Generator) -> None:
    """Without versions; filters in rows, one padding for both axes, deviations upside down, doubles."""
    conv, norm = nn.Conv2d(2, 4, 3, padding=1).double(), nn.BatchNorm2d(4, eps=1e-4)
    statistics(norm, rng)
    first, second = as_torch7(conv), as_torch7(norm)
    first.kind = "nn.SpatialConvolutionMM"
    first.said["weight"] = first.said["weight"].reshape(4, -1)
    first.said |= {"padding": first.said.pop("padH")}
    del first.said["padW"]
    variance = second.said.pop("running_var").astype(np.float64)
    second.said["running_std"] = 1 / np.sqrt(variance + 1e-4)
    path = written(tmp_path, {"model": chain(first, second, module("Threshold", threshold=0, val=0))}, old=True)
    found = import_weights(path, input="5x4x2")
    assert "the net is that under 'model'" in str(found) and "become float32" in str(found)
    images = rng.standard_normal((2, 5, 4, 2)).astype(np.float32)
    wanted = torch_scores(nn.Sequential(conv.float(), norm, nn.ReLU()).eval(), images).transpose(0, 2, 3, 1)
    near(scores(found.net, found.weights, images), wanted.reshape(2, -1))


def test_objects_of_every_kind_are_read() -> None:
    shared = {"n": 1}
    storage = Storage(np.arange(6.0))
    tensor = np.arange(6, dtype=np.int64).reshape(2, 3)
    value = {"a": [1, 2.5, "x", True, None, shared, shared], "f": Function(b"\x1bLua\0code", [shared]), "t": tensor}
    found = Reader(Writer().write(value | {"s": storage, "m": Object("nn.Linear", {"w": tensor})})).read()
    assert isinstance(found, dict)
    listed = found["a"]
    assert listed == {1: 1, 2: 2.5, 3: "x", 4: True, 5: None, 6: {"n": 1}, 7: {"n": 1}} and listed[6] is listed[7]
    np.testing.assert_array_equal(found["t"], tensor)
    np.testing.assert_array_equal(found["s"], storage.values)
    assert found["f"] is None and isinstance(found["m"], Module) and found["m"].said["w"] is found["t"]


def test_what_cannot_be_said_is_all_named(tmp_path: Path) -> None:
    conv = as_torch7(nn.Conv2d(2, 2, 1))
    there = chain(
        conv,
        module("SpatialUpSamplingNearest", scale_factor=2),
        conv,
        module("Mine"),
        Object("mine.ReLU"),
        module("ConcatTable", module("SpatialMaxPoolin"), module("Identity")),
    )
    message = refusal(written(tmp_path, there), input="4x4x2")
    for words in (
        "nn.SpatialUpSamplingNearest (module 2): there is no such layer here",
        "nn.Mine (module 4)",
        "mine.ReLU (module 5)",
        "nn.SpatialMaxPoolin (module 6): there is no such layer here; did you mean SpatialMaxPooling?",
    ):
        assert words in message
    twice = chain(conv, conv)
    assert "it is used again with the same weights" in refusal(written(tmp_path, twice), input="4x4x2")


MISTAKES = [
    (module("SpatialConvolution", nOutputPlane=2, nInputPlane=2, kW=3), "'kH' is missing"),
    (module("SpatialConvolution", nOutputPlane=0, nInputPlane=2, kW=3, kH=3), "nOutputPlane must be an integer"),
    (
        module("SpatialDilatedConvolution", nOutputPlane=2, nInputPlane=2, kW=3, kH=3, dilationH=0),
        "dilationH must be an integer",
    ),
    (module("Threshold", threshold=1, val=0), "threshold other than 0"),
    (module("SpatialAveragePooling", kH=2, kW=2, divide=False), "does not divide"),
    (module("View", size=Storage(np.array([4, 9]))), "is another volume than"),
    (module("JoinTable", dimension=3), "joined along their maps"),
    (module("SpatialAdaptiveMaxPooling", H=2, W=2), "maxima of parts"),
    (module("SpatialConvolution", nOutputPlane=2, nInputPlane=2, kW=9, kH=9), "larger than the input"),
    (module("Linear"), "no matrix"),
    (module("SoftPlus", beta=2), "beta=2"),
]


@pytest.mark.parametrize(("there", "words"), MISTAKES)
def test_what_a_module_asks_for_in_vain_is_named(tmp_path: Path, there: Object, words: str) -> None:
    assert words in refusal(written(tmp_path, chain(module("ReLU"), there)), input="4x4x2")


def test_the_size_of_images_is_asked_for(tmp_path: Path, run: Run) -> None:
    path = written(tmp_path, chain(as_torch7(nn.Conv2d(2, 2, 1))))
    assert "no .t7 does; give it, like --input 224x224x3" in refusal(path)
    assert "holds no module" in refusal(written(tmp_path, {"a": {"epoch": 3}}), input="4x4x2")
    written(tmp_path, chain(as_torch7(nn.Conv2d(2, 2, 1))))
    known = foreign_format(path)
    assert known is not None and known.name == "Torch7"
    assert run("import", "x.t7").exit_code == 2
    result = run("import", "x.t7", "--input", "4x3x2")
    assert result.exit_code == 0 and "K, D, H, W to K, H, W, D: conv1" in result.output


# -- hostile files


def tensor(axes: bytes, storage: bytes) -> bytes:
    return integer(4) + integer(1) + text("V 1") + text("torch.FloatTensor") + axes + storage


def test_tensors_that_lie_outside_are_refused(tmp_path: Path) -> None:
    storage = integer(4) + integer(2) + text("V 1") + text("torch.FloatStorage") + long(4) + bytes(16)
    good = integer(1) + long(4) + long(1) + long(1)
    assert Reader(tensor(good, storage)).read() is not None
    for size, step, first in ((5, 1, 1), (4, 2, 1), (4, 1, 2), (4, -1, 4), (1 << 40, 0, 1), (4, 1, 0), (-4, 1, 1)):
        path = tmp_path / "x.t7"
        path.write_bytes(tensor(integer(1) + long(size) + long(step) + long(first), storage))
        with limited():
            assert "x.t7" in refusal(path, input="4x4x2")
    for content in (
        integer(4) + integer(1) + text("V 1") + text("torch.FloatStorage") + long(1 << 60),
        integer(3) + integer(1) + integer(9_000) + integer(2),
        (integer(3) + integer(1) + integer(1) + integer(2) + text("a")) * 3,
        b"".join(integer(3) + integer(n) + integer(1) + integer(2) + text("a") for n in range(1, 100_000)),
    ):
        path.write_bytes(content)
        with limited():
            assert "damaged, or no .t7" in (told := refusal(path, input="4x4x2")) or "holds no module" in told


@fuzzing.FEW_CASES
def test_files_from_strangers(tmp_path: Path, cases: int) -> None:
    net = nn.Sequential(
        nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
    )
    there = chain(as_torch7(net), module("ConcatTable", module("Identity"), module("MulConstant", constant_scalar=2)))
    there.said["modules"].append(module("CAddTable"))
    wholes = [Writer(old).write(there) for old in (True, False)]
    fuzz(tmp_path, "x.t7", cases, edited(*wholes), lambda path: read(path, Asked(input=Volume(4, 4, 2))))
