"""Weights of PyTorch's nets brought here: the same scores, by names or by order, in one command or in several."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import gpunet
from gpunet import ConfigError, DataError, Model, Net, import_weights, load
from gpunet.cli.app import app
from gpunet.formats.foreign import Foreign, Images
from gpunet.formats.layout import TORCH, Layout, Place, mirrored
from gpunet.formats.match import match, own_names, torch_names
from gpunet.formats.shipped import SHIPPED, known_as
from gpunet.layers.conv import Conv
from gpunet.layers.fc import FC
from gpunet.program.volume import Volume
from gpunet.train.weights import load_weights
from tests.conftest import Run
from tests.picture_files import noise_folder
from tests.torchvision_branches import Basic
from tests.torchvision_nets import torchvision_net

SIDES = {"alexnet_torchvision": 64, "squeezenet1_0": 64, "squeezenet1_1": 64, "googlenet_bn": 64, "inception_v3": 75}
WIDTHS = {"resnext50": 1 / 2}
"""Of nets whose groups leave no room for a sixteenth."""
ALIKE = {
    "vgg13",
    "vgg16",
    "vgg19",
    "vgg11_bn",
    "vgg13_bn",
    "vgg19_bn",
    "resnet34",
    "resnet101",
    "resnet152",
    "resnext50",
}
"""Built as another one here is, but for their depth."""

FEW = [pytest.param(name, marks=pytest.mark.slow) if name in ALIKE else name for name in SHIPPED]


def saved(folder: Path, module: nn.Module | Mapping[str, object], name: str = "x.pth") -> Path:
    torch.save(module.state_dict() if isinstance(module, nn.Module) else module, folder / name)
    return folder / name


def scores(net: Net, weights: Mapping[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    with Model(net, len(images), "cpu", mode="infer", dtype=str(images.dtype)) as model:  # type: ignore[arg-type]
        for name in model.parameters:
            model.parameters[name] = weights[name]
        return model.forward(images)


def torch_scores(module: nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = module(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    return found


@pytest.mark.parametrize("name", FEW)
def test_the_nets_of_torchvision_give_the_same_scores(tmp_path: Path, rng: np.random.Generator, name: str) -> None:
    side = SIDES.get(name, 32)
    width = WIDTHS.get(name, 1 / 16)
    module = torchvision_net(name, width, classes=7, maps=1)
    path = saved(tmp_path, module)
    net = load(name).scaled(width, f"{side}x{side}x3")
    images = rng.standard_normal((3, side, side, 3))
    for dtype, apart in (("float32", 1e-5), ("float64", 1e-10)):
        found = import_weights(path, net, dtype=dtype)  # type: ignore[arg-type]
        assert found.match.sure and found.match.words == "torchvision's names" and found.net.classes == 7
        got = scores(found.net, found.weights, images.astype(dtype))
        wanted = torch_scores(module.to(getattr(torch, dtype)), images.astype(dtype))
        assert np.abs(got - wanted).max() <= apart * np.abs(wanted).max()


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n != "squeezenet1_1" else n for n in SHIPPED]
)
def test_a_file_of_torchvisions_full_shapes_needs_no_net(tmp_path: Path, name: str) -> None:
    module = torchvision_net(name, maps=6 if name == "alexnet_torchvision" else 7)
    found = import_weights(saved(tmp_path, module))
    assert found.net.name == name and found.net.parameters == sum(p.numel() for p in module.parameters())
    assert str(found).startswith(found.said[0]) and repr(found).startswith(f"<Imported {name}: ")
    image, middle = (342, 299) if name == "inception_v3" else (256, 224)
    assert found.net.image.shape == (image, image, 3) and found.net.input.shape == (middle, middle, 3)
    assert found.net.augment is not None
    mean = (0.5, 0.5, 0.5) if name in ("googlenet_bn", "inception_v3") else (0.485, 0.456, 0.406)
    assert found.net.augment.statistics[0] == mean


def test_a_file_that_says_no_net_is_over_another_input_where_that_is_asked_for(tmp_path: Path) -> None:
    path = saved(tmp_path, torchvision_net("squeezenet1_1", 1, classes=1000, maps=1))
    assert import_weights(path, input="64x96x3").net.input == Volume(64, 96, 3)


def test_densenets_published_first_have_other_names(tmp_path: Path) -> None:
    module = torchvision_net("densenet121", 1 / 16, 7)
    net = load("densenet121").scaled(1 / 16, "32x32x3")
    old = {
        name.replace("norm1", "norm.1")
        .replace("norm2", "norm.2")
        .replace("conv1", "conv.1")
        .replace("conv2", "conv.2"): t
        for name, t in module.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    new, found = (import_weights(saved(tmp_path, state), net).weights for state in (module.state_dict(), old))
    assert all((new[name] == found[name]).all() for name in new)


def test_heads_of_training_come_with_the_file_that_has_them(tmp_path: Path) -> None:
    net = load("googlenet_bn").scaled(1 / 16, "64x64x3")
    state = torchvision_net("googlenet_bn", 1 / 16, 7).state_dict()
    without = import_weights(saved(tmp_path, state), net)
    assert not any(name.startswith("head") for name in without.weights)
    heads = {}
    for head, D in ((1, 32), (2, 33)):
        conv, bn = nn.Conv2d(D, 8, 1, bias=False), nn.BatchNorm2d(8)
        fcs = {"fc1": nn.Linear(128, 64), "fc2": nn.Linear(64, 7)}
        parts = {"conv.conv": conv, "conv.bn": bn, **fcs}
        heads |= {
            f"aux{head}.{part}.{name}": values
            for part, module in parts.items()
            for name, values in module.state_dict().items()
        }
    found = import_weights(saved(tmp_path, state | heads), net)
    assert len(found.match.pairs) == len(without.match.pairs) + 18
    assert (found.weights["head1.w"] == heads["aux1.fc2.weight"].numpy()).all()
    assert (found.weights["head2.b"] == heads["aux2.fc2.bias"].numpy()).all()
    path = tmp_path / "w.safetensors"
    found.save(path)
    with Model.load(path, 2, "cpu") as model:
        assert (model.parameters["head1.w"] == found.weights["head1.w"]).all()


def test_heads_of_training_that_the_net_goes_without_are_left_out_and_said(tmp_path: Path) -> None:
    whole = load("googlenet_bn").scaled(1 / 16, "64x64x3")
    state = torchvision_net("googlenet_bn", 1 / 16, 7).state_dict() | {"aux1.conv.conv.weight": torch.ones(3)}
    found = import_weights(saved(tmp_path, state), whole.remade(whole.trunk))
    assert "1 arrays of heads" in " ".join(found.said)


PATTERN = "INPUT[9x7x3] -> CONV3-8 -> RELU -> POOL2(fit=crop) -> CONV2-5(P=0) -> BN -> FC-6 -> RELU -> FC-4"


def plain(classes: int = 4) -> nn.Sequential:
    """What PATTERN says, with names that say nothing."""
    torch.manual_seed(1)
    front = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 5, 2), nn.BatchNorm2d(5)]
    return nn.Sequential(*front, nn.Flatten(), nn.Linear(5 * 3 * 2, 6), nn.ReLU(), nn.Linear(6, classes)).eval()


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_other_nets_are_matched_by_order_where_every_shape_fits(
    tmp_path: Path, rng: np.random.Generator, kind: str
) -> None:
    module = plain(5).to(getattr(torch, kind))
    path = saved(tmp_path, {"model": module.state_dict()})
    with pytest.raises(ConfigError, match=r"conv1\.w from 0\.weight, .* say by_order=True where that is right"):
        import_weights(path, PATTERN)
    found = import_weights(path, PATTERN, by_order=True)
    assert not found.match.sure and found.net.classes == 5
    assert f"{kind.replace('bfloat16', 'float32')} become" in " ".join(found.said) or kind == "bfloat16"
    images = rng.standard_normal((2, 9, 7, 3)).astype(np.float32)
    np.testing.assert_allclose(
        scores(found.net, found.weights, images), torch_scores(module.float(), images), rtol=1e-4, atol=1e-5
    )


def test_where_shapes_cannot_tell_the_format_does(tmp_path: Path) -> None:
    """8x3x3x3 looks the same in either order."""
    module = plain()
    found = import_weights(saved(tmp_path, module), PATTERN, by_order=True)
    theirs = module[0].weight.detach().numpy()
    np.testing.assert_array_equal(found.weights["conv1.w"], theirs.transpose(0, 2, 3, 1))
    assert found.weights["conv1.w"].shape == theirs.shape


def test_names_of_ones_own_are_believed_where_all_fit(tmp_path: Path) -> None:
    state = plain().state_dict()
    layers = {"0": "conv1", "3": "conv2", "4": "bn1", "6": "fc1", "8": "fc2"}
    named = {f"{layers[name.split('.')[0]]}.{name.split('.')[1]}": tensor for name, tensor in state.items()}
    backwards = dict(reversed(named.items()))  # the order then says nothing
    found = import_weights(saved(tmp_path, backwards), PATTERN)
    assert found.match.words == "the net's own names"
    np.testing.assert_array_equal(found.weights["fc2.w"], state["8.weight"].numpy())


def test_all_that_differs_is_named_at_once_with_shapes(tmp_path: Path) -> None:
    state = torchvision_net("resnet18", 1 / 16, 7).state_dict()
    del state["layer1.0.bn1.weight"]
    state |= {"extra.w": torch.ones(3), "conv1.weight": torch.ones(4, 1, 7, 7)}
    with pytest.raises(DataError) as caught:
        import_weights(saved(tmp_path, state), load("resnet18").scaled(1 / 16, "32x32x3"))
    for words in (
        "other shape: conv1.weight is (4, 1, 7, 7), and conv1 takes (4, 3, 7, 7)",
        "missing: layer1.0.bn1.weight (4,), for bn2.scale",
        "left over: extra.w (3,)",
        "as --net",
    ):
        assert words in str(caught.value)
    with pytest.raises(
        DataError, match=r"other shape: conv1 takes w \(9, 3, 3, 3\), b \(9,\), and 0 has weight \(8, 3, 3, 3\)"
    ):
        import_weights(saved(tmp_path, plain()), PATTERN.replace("-8", "-9"))
    with pytest.raises(DataError, match="missing: arrays for fc3"):
        import_weights(saved(tmp_path, plain()), f"{PATTERN} -> FC-4")
    with pytest.raises(DataError, match="its names are those of resnet18"):
        import_weights(saved(tmp_path, torchvision_net("resnet18", 1 / 16, 7)), "vgg11")
    with pytest.raises(DataError, match="does not say its net, and its names are none that torchvision has"):
        import_weights(saved(tmp_path, plain()))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e300])
def test_values_that_are_no_numbers_are_refused(tmp_path: Path, bad: float) -> None:
    state = plain().double().state_dict()
    state["3.weight"][0, 0, 0, 0] = bad
    with pytest.raises(DataError, match=r"x\.pth: 3\.weight holds NaN, or values that are infinite in float32"):
        import_weights(saved(tmp_path, state), PATTERN, by_order=True)


def test_axes_come_back_from_every_order(rng: np.random.Generator) -> None:
    keras = Layout(conv="HWDK", fc="IK", flat="HWD")
    torchs = Layout(conv="KDHW", fc="KI", flat="DHW")
    volume = Volume(3, 4, 5)
    for layer, shape in (
        (Conv(6, F=(2, 3), P=0), (6, 2, 3, 5)),
        (FC(6), (6, 60)),
        (Conv(6, F=(3, 4), P=0), (6, 3, 4, 5)),
    ):
        place, values = Place(layer, "w", shape, volume), rng.standard_normal(shape)
        for layout in (keras, torchs):
            given = place.given(values, layout)
            assert given.shape == place.theirs(layout)[0]
            np.testing.assert_array_equal(place.taken(given, layout), values)
        twin = Place(FC(6), "w", (6, 60), volume)
        if layer == Conv(6, F=(3, 4), P=0):  # the same layer in either form
            for layout in (keras, torchs):
                np.testing.assert_array_equal(twin.taken(place.given(values, layout), layout).reshape(shape), values)
                as_fc = twin.given(values.reshape(6, 60), layout)
                assert as_fc.shape in place.theirs(layout)
                np.testing.assert_array_equal(place.taken(as_fc, layout), values)
    values = rng.standard_normal((2, 12))
    swapped = mirrored(values, Place(FC(2), "w", (2, 12), Volume(2, 2, 3))).reshape(2, 4, 3)
    np.testing.assert_array_equal(swapped, values.reshape(2, 4, 3)[..., ::-1])


def test_a_net_that_torchvision_has_is_known_by_its_structure_at_any_width() -> None:
    for name in SHIPPED:
        width, side = WIDTHS.get(name, 1 / 8), SIDES.get(name, 64)
        names, images, known = torch_names(load(name).scaled(width, f"{side}x{side}x3"))
        module = torchvision_net(name, width, 10)
        assert known and images is not None
        assert {*names.values()} == {key for key in module.state_dict() if not key.endswith("num_batches_tracked")}
    for name in ("vgg_digits", "nin", "resnet20", "googlenet", "zfnet", "inception_v4", "alexnet"):
        names, _, known = torch_names(load(name))
        assert not known and names == own_names(load(name))


@pytest.mark.parametrize("name", ["resnet50", "resnext50", "mobilenet_v2", "inception_v3"])
def test_nets_of_the_same_names_are_told_apart_by_shapes(name: str) -> None:
    with torch.device("meta"):
        state = torchvision_net(name, classes=7).state_dict()
    arrays = {key: np.broadcast_to(np.float32(0), tensor.shape) for key, tensor in state.items()}
    assert known_as(Foreign(Path("x.pth"), "PyTorch", arrays, TORCH)) == name


def test_the_head_of_inception_v3_comes_with_the_file_that_has_it(tmp_path: Path) -> None:
    """torchvision's AuxLogits: two convolutions with norms, and the scores."""
    head = nn.Module()
    head.conv0, head.conv1 = Basic(48, 8, 1), Basic(8, 48, 5)
    head.fc = nn.Linear(48, 7)
    module = torchvision_net("inception_v3", 1 / 16, 7)
    net = load("inception_v3").scaled(1 / 16)
    assert not any("head" in name for name in import_weights(saved(tmp_path, module), net).weights)
    module.AuxLogits = head
    found = import_weights(saved(tmp_path, module), net)
    assert (found.weights["head1.w"] == head.fc.weight.detach().numpy()).all()
    assert len(found.match.pairs) == len(module.state_dict()) - sum("num_batches" in key for key in module.state_dict())


def test_a_reader_may_know_the_net_its_names_and_that_maps_are_blue_first(rng: np.random.Generator) -> None:
    """As other formats will: filters are laid out for red first, and so are the means."""
    net = load("INPUT[5x4x3] -> CONV3-2 -> FC-3")
    arrays = {
        "one": rng.standard_normal((2, 3, 3, 3)).astype(np.float32),
        "two": np.zeros(2, np.float32),
        "three": rng.standard_normal((3, 40)).astype(np.float32),
        "four": np.zeros(3, np.float32),
    }
    names = {"conv1.w": "one", "conv1.b": "two", "fc1.w": "three", "fc1.b": "four"}
    images = Images((0.1, 0.2, 0.3), (1.0, 1.0, 0.5), order="BGR", words="a way of its own")
    foreign = Foreign(Path("x"), "Other", arrays, TORCH, names, net, ("a", "b", "c"), images)
    found = match(foreign, net)
    assert found.sure and found.words == "Other's own names" and images.augment.statistics[0] == (0.3, 0.2, 0.1)
    seen = rng.standard_normal((2, 5, 4, 3)).astype(np.float32)
    conv = nn.Conv2d(3, 2, 3, padding=1)
    conv.weight.data = torch.from_numpy(arrays["one"])
    conv.bias.data.zero_()
    fc = nn.Linear(40, 3, bias=False)
    fc.weight.data = torch.from_numpy(arrays["three"])
    blue_first = seen[..., ::-1].copy()
    np.testing.assert_allclose(
        scores(net, found.weights("float32"), seen),
        torch_scores(nn.Sequential(conv, nn.Flatten(), fc), blue_first),
        rtol=1e-4,
        atol=1e-5,
    )


# -- commands


def test_what_import_writes_is_what_the_other_commands_take(run: Run, tmp_path: Path) -> None:
    pictures = noise_folder(tmp_path / "pics", ("ape", "bee", "cow"), (20, 30))
    module = torchvision_net("resnet18", 1 / 16, 3)
    saved(tmp_path, module, "tiny.pth")
    (tmp_path / "names.txt").write_text("ape\nbee\ncow\n")
    (tmp_path / "tiny.toml").write_text(net_text("resnet18", "32x32x3"))
    result = run("import", "tiny.pth", "--net", "tiny.toml", "--classes", "names.txt")
    assert result.exit_code == 0, result.output
    for words in (
        "by torchvision's names",
        "K, D, H, W to K, H, W, D",
        "mean 0.485 0.456 0.406",
        "tiny.safetensors has",
    ):
        assert words in result.output
    assert run("import", "tiny.pth", "--net", "tiny.toml").exit_code == 2  # it is there already
    scaled = ["--width", "0.0625", "--input", "32x32x3", "--out", "by_width.safetensors"]
    assert run("import", "tiny.pth", "--net", "resnet18", *scaled).exit_code == 0
    by_width, tiny = (load_weights(tmp_path / f"{name}.safetensors") for name in ("by_width", "tiny"))
    assert by_width.keys() == tiny.keys() and all((by_width[name] == tiny[name]).all() for name in tiny)
    refused = run("import", "tiny.pth", *scaled)
    assert refused.exit_code == 2 and "--width is of a net that gpunet has: name it" in refused.output
    picture = sorted(pictures.rglob("*.png"))[0]
    told = run("predict", "tiny.safetensors", picture, "--device", "cpu")
    assert told.exit_code == 0 and "bee" in told.output, told.output
    for command in (
        "eval tiny.safetensors --data pics",
        "show activations tiny.safetensors " + str(picture) + " --out a.png --size 32x32",
    ):
        done = run(*command.split(), "--device", "cpu")
        assert done.exit_code == 0, done.output
    with Model.load(tmp_path / "tiny.safetensors", 2, "cpu") as model:
        assert model.net.augment is not None and model.net.classes == 3


def net_text(name: str, input: str) -> str:
    from gpunet.net.config import dump_net

    net = load(name).scaled(1 / 16, input)
    return dump_net(net).replace(f"scale = {net.scale}\n", "")


def test_order_and_shapes_are_shown_before_they_are_believed(run: Run, tmp_path: Path) -> None:
    saved(tmp_path, plain())
    result = run("import", "x.pth", "--net", PATTERN)
    assert result.exit_code == 2 and not (tmp_path / "x.safetensors").exists()
    assert "conv1.w" in result.output and "0.weight" in result.output and "--yes" in result.output
    result = run("import", "x.pth", "--net", PATTERN, "--yes")
    assert result.exit_code == 0 and (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2)])
def test_a_person_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gpunet.cli.import_weights.sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    saved(tmp_path, plain())
    result = CliRunner().invoke(app, ["import", "x.pth", "--net", PATTERN], input=answer)
    assert result.exit_code == code and "is that right?" in result.output, result.output
    assert (tmp_path / "x.safetensors").exists() == (code == 0)


TAKE_WEIGHTS = {
    "eval": ["--data", "digits"],
    "predict": ["p.png"],
    "slide": ["p.png"],
    "features": ["digits", "--layer", "conv1"],
    "export": [],
    "convert": ["o"],
    "show filters": [],
    "show activations": ["p.png"],
    "show confusion": [],
    "show mistakes": [],
}
"""Commands that take the weights of a run, and what they want beside."""

TAKE_A_NET = ["plan", "fit", "describe", "profile", "gradcheck", "lr-find", "tune", "bench"]


@pytest.mark.parametrize("command", [*TAKE_WEIGHTS, *TAKE_A_NET])
def test_every_command_names_the_format_and_the_way(run: Run, tmp_path: Path, command: str) -> None:
    saved(tmp_path, plain())
    result = run(*command.split(), "x.pth", *TAKE_WEIGHTS.get(command, []))
    assert result.exit_code == 2, result.output
    assert "it is a file of PyTorch: gpunet import x.pth makes of it what is taken here" in result.output
    assert len(result.output.splitlines()) == 1


def test_what_takes_a_net_beside_weights_names_the_format_too(run: Run, tmp_path: Path) -> None:
    saved(tmp_path, plain())
    assert run("import", "x.pth", "--net", PATTERN, "--yes", "--out", "own.safetensors").exit_code == 0
    for command in (["eval", "own.safetensors", "--data", "digits"], ["import", "x.pth", "--out", "o.safetensors"]):
        result = run(*command, "--net", "x.pth")
        assert result.exit_code == 2 and "x.pth is no net of gpunet's; it is a file of PyTorch" in result.output


def test_an_imported_net_is_planned_and_fitted_by_its_file(run: Run, tmp_path: Path) -> None:
    saved(tmp_path, plain())
    assert run("import", "x.pth", "--net", PATTERN, "--yes").exit_code == 0
    found, expected = (json.loads(run("plan", net, "--json").stdout) for net in ("x.safetensors", PATTERN))
    assert found["tensors"] == expected["tensors"] and found["total_bytes"] == expected["total_bytes"]
    assert run("fit", "x.safetensors", "--budget", "1GiB").exit_code == 0
    assert run("describe", "x.safetensors").output == run("describe", PATTERN).output


def test_a_run_is_planned_as_it_was_trained(run: Run, tmp_path: Path) -> None:
    told = ["--data", "digits", "--epochs", "1", "--batch", "500", "--device", "cpu", "--out", "a"]
    assert run("train", "INPUT[8x8x1] -> CONV3-2 -> FC-10", *told).exit_code == 0
    for net in ("a", "a/weights.safetensors"):
        assert json.loads(run("plan", net, "--device", "cpu", "--json").stdout)["batch"] == 500
    for net in ("a", "a/weights.safetensors"):
        result = run("train", net, "--data", "digits")
        assert result.exit_code == 2 and f"--weights {net} starts from" in result.output


def test_a_config_may_come_through_a_pipe(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    text = 'input = "8x8x1"\nnet = "CONV3-2 -> FC-10"\n'
    writer = Thread(target=lambda: (tmp_path / "pipe").write_text(text), daemon=True)
    writer.start()
    result = run("describe", "pipe")
    writer.join()
    assert result.exit_code == 0 and "conv1" in result.output, result.output


def test_training_says_with_which_option_weights_go(run: Run, tmp_path: Path) -> None:
    saved(tmp_path, plain())
    result = run("train", "x.pth", "--data", "digits")
    assert "x.pth is a file of weights of PyTorch, no net: --weights x.pth starts from them" in result.output
    result = run("train", "--resume", "x.pth")
    assert result.exit_code == 2
    assert "x.pth is no folder of a run: it holds no config.toml; --weights x.pth starts from a file" in result.output
    (tmp_path / "n.toml").write_text('input = "8x8x1"\nnet = "FC-10"\n')
    result = run("eval", "n.toml", "--data", "digits")
    assert result.exit_code == 2 and "n.toml is a config, which holds no weights" in result.output


def test_safetensors_of_pytorch_are_known_as_such(run: Run, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(plain().state_dict(), tmp_path / "x.safetensors")
    for options in ([], ["--net", PATTERN]):
        result = run("eval", "x.safetensors", "--data", "digits", *options)
        assert result.exit_code == 2 and "gpunet import x.safetensors" in result.output, result.output


def test_a_net_is_trained_from_pytorchs_weights_in_one_go_and_resumed_bit_for_bit(run: Run, tmp_path: Path) -> None:
    noise_folder(tmp_path / "pics", ("ape", "bee", "cow", "doe"), (40, 33))
    saved(tmp_path, torchvision_net("vgg16_bn", 1 / 32, 20, maps=1), "vgg.pth")
    net = ["vgg16_bn", "--width", "0.03125", "--input", "32x32x3", "--weights", "vgg.pth", "--classes", "4"]
    options = ["--freeze", "conv*", "--data", "pics", "--batch", "3", "--device", "cpu", "--learning-rate", "0.001"]
    result = run("train", *net, *options, "--epochs", "2", "--out", "whole")
    assert result.exit_code == 0, result.output
    for words in (
        "20 classes, as the file has",
        "drawn anew: fc3, for 4 classes",
        "frozen: conv1",
        "kept from vgg.pth",
    ):
        assert words in result.output
    assert run("train", *net, *options, "--epochs", "1", "--out", "half").exit_code == 0
    (tmp_path / "vgg.pth").unlink()
    assert run("train", "--resume", "half", "--epochs", "2", "--device", "cpu").exit_code == 0
    whole, half = (gpunet.Model.load(tmp_path / name / "last.safetensors", device="cpu") for name in ("whole", "half"))
    for name in whole.parameters:
        assert (whole.parameters[name] == half.parameters[name]).all()
    whole.close()
    half.close()


def test_a_file_without_a_head_is_trained_where_the_head_is_drawn_anew(run: Run, tmp_path: Path) -> None:
    noise_folder(tmp_path / "pics", ("ape", "bee"), (32, 32))
    state = torchvision_net("resnet18", 1 / 32, 9).state_dict()
    saved(tmp_path, {name: tensor for name, tensor in state.items() if not name.startswith("fc.")})
    net = [
        "resnet18",
        "--width",
        "0.03125",
        "--input",
        "32x32x3",
        "--weights",
        "x.pth",
        "--data",
        "pics",
        "--epochs",
        "1",
    ]
    result = run("train", *net, "--device", "cpu")
    assert result.exit_code == 2 and "missing: fc.weight (1000, 16), for fc1.w" in result.output
    result = run("train", *net, "--device", "cpu", "--classes", "2")
    assert result.exit_code == 0 and "drawn anew: fc1, for 2 classes" in result.output, result.output


def test_weights_known_by_order_alone_are_not_trained_unseen(run: Run, tmp_path: Path) -> None:
    saved(tmp_path, plain())
    result = run("train", PATTERN, "--weights", "x.pth", "--data", "synthetic", "--device", "cpu")
    assert result.exit_code == 2 and "gpunet import" in result.output
