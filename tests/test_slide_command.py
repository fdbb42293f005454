"""Weights that say their net, and the commands that need nothing else: convert and slide."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file
from typer.testing import Result

from gpunet import Model, Net, load
from gpunet.data.picture import grey, read_scaled
from gpunet.errors import ConfigError, DataError
from gpunet.net.config import dump_net
from gpunet.train import checkpoint
from gpunet.train.weights import class_names, open_weights, read_about, restore_weights, save_weights
from gpunet.use.sliding import slide
from tests.conftest import Run

PATTERN = "INPUT[12x10x3] -> CONV3-4(P=0) -> RELU -> POOL2 -> FC-6 -> RELU -> FC-4"
HEADED = "INPUT[12x10x3] -> CONV3-4 -> RELU -> AUX(weight=0.3)[GAP -> FC-4] -> POOL2 -> FC-4"
CLASSES = ["ape", "bee", "cat", "dog"]


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2 and "Traceback" not in result.output, result.output
    for word in words:
        assert word in result.stderr, result.stderr


def saved(path: Path, net: Net, *, config: bool = True, **about: object) -> dict[str, np.ndarray]:
    """Random weights of a net, written to a file that says their net or does not."""
    with Model(net, 1, "cpu", seed=4) as model:
        weights = dict(model.parameters)
    says = {"config": dump_net(net)} if config else {}
    save_weights(path, weights, {"net": net.name, **says, **about})
    return weights


def same(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> bool:
    return found.keys() == wanted.keys() and all((found[name] == wanted[name]).all() for name in wanted)


@pytest.fixture
def page(tmp_path: Path, rng: np.random.Generator) -> np.ndarray:
    """A picture of 33x40, as page.png."""
    picture = rng.integers(0, 256, (33, 40, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "page.png")
    return picture


# -- weights that say their net --------------------------------------------------------------------


def test_a_file_that_says_its_net_needs_nothing_else(tmp_path: Path) -> None:
    net = load(PATTERN)
    weights = saved(tmp_path / "w.safetensors", net, classes=CLASSES)
    config, found = open_weights(tmp_path / "w.safetensors")
    assert config.net == net and same(found, weights)
    assert class_names(tmp_path / "w.safetensors", 4) == CLASSES
    assert class_names(tmp_path / "w.safetensors", 3) == ["0", "1", "2"]


def test_else_the_config_beside_it_or_the_net_that_is_named(tmp_path: Path) -> None:
    path, net = tmp_path / "w.safetensors", load(PATTERN)
    saved(path, net, config=False)
    with pytest.raises(DataError, match=r"does not say of which net .* no config.toml beside it; give it as --net"):
        open_weights(path)
    assert open_weights(path, PATTERN)[0].net == net
    (tmp_path / "config.toml").write_text(dump_net(net))
    assert open_weights(path)[0].net == net
    with pytest.raises(DataError, match=r"w\.safetensors holds the weights of another net.*conv1\.w is \(4, 3, 3, 3\)"):
        open_weights(path, PATTERN.replace("CONV3-4", "CONV3-5"))
    assert open_weights(path, PATTERN)[0].net == net


@pytest.mark.parametrize(
    "metadata", [None, {}, {"gpunet": "{"}, {"gpunet": "[1]"}, {"gpunet": '{"config": 3}'}, {"other": "x"}]
)
def test_files_of_others_say_nothing(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"fc1.w": np.ones((2, 3), np.float32), "fc1.b": np.ones(2, np.float32)}, path, metadata)
    assert read_about(path) in ({}, {"config": 3})
    assert class_names(path, 2) == ["0", "1"]
    assert open_weights(path, "INPUT[1x1x3] -> FC-2")[1].keys() == {"fc1.w", "fc1.b"}


def test_a_config_in_a_file_is_read_as_strictly_as_any(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    for text, words in (
        ('input = "8x8x1"\nnett = "FC-3"', r"w\.safetensors, line 2: .*nett"),
        ("\ud800", "not UTF-8"),
        ("x" * 2**21, "larger than 1 MiB"),
    ):
        save_weights(path, {"fc1.w": np.zeros((1, 1))}, {"config": text})
        with pytest.raises(ConfigError, match=words):
            open_weights(path)


def test_parameters_of_heads_are_left_alone_where_they_are_not_needed(tmp_path: Path) -> None:
    net, path = load(HEADED), tmp_path / "w.safetensors"
    weights = saved(path, net)
    with Model(net, 1, "cpu", mode="infer") as model:
        assert "fc1.w" not in model.parameters and "fc1.w" in weights
        restore_weights(model, path)
        assert all((model.parameters[name] == weights[name]).all() for name in model.parameters)
    with Model(net, 1, "cpu") as model:
        restore_weights(model, path)
        assert same(model.parameters, weights)
    trunk = {name: values for name, values in weights.items() if not name.startswith("fc1.")}
    save_weights(path, trunk, {"config": dump_net(net)})
    assert open_weights(path)[0].net == net
    save_weights(path, trunk | {"fc9.w": trunk["fc2.w"]}, {"config": dump_net(net)})
    with pytest.raises(DataError, match=r"fc9\.w is not in the net"):
        open_weights(path)


def test_a_checkpoint_gives_its_parameters(tmp_path: Path) -> None:
    net = load(PATTERN)
    (tmp_path / "config.toml").write_text(dump_net(net))
    with Model(net, 1, "cpu", seed=4) as model:
        checkpoint.save(tmp_path / "best.safetensors", model.state, {})
        config, weights = open_weights(tmp_path / "best.safetensors")
        assert config.net == net and same(weights, dict(model.parameters))


# -- pictures --------------------------------------------------------------------------------------


def test_a_whole_picture_is_scaled_by_its_short_side(tmp_path: Path, page: np.ndarray) -> None:
    path = tmp_path / "page.png"
    assert (read_scaled(path) == page).all()
    assert read_scaled(path, 66).shape == (66, 80, 3) and read_scaled(path, 20).shape == (20, 24, 3)
    shades = read_scaled(path, maps=1)
    assert shades.shape == (33, 40, 1)
    assert np.abs(shades[..., 0] - (page @ [0.299, 0.587, 0.114])).max() <= 0.5001
    assert (grey(np.repeat(shades, 3, axis=2)) == shades).all()
    with pytest.raises(DataError, match="3 maps, or 1 where it is to be grey; the net takes 2"):
        read_scaled(path, maps=2)
    with pytest.raises(DataError, match=r"would become 330,000x400,000; a picture may have 89,478,485"):
        read_scaled(path, 330_000)


# -- convert ---------------------------------------------------------------------------------------


def test_convert_writes_the_other_net_with_its_weights_and_back(run: Run, tmp_path: Path) -> None:
    net = load(PATTERN)
    weights = saved(tmp_path / "w.safetensors", net, classes=CLASSES, epoch=7)
    result = run("convert", "w.safetensors", "conv.safetensors")
    assert result.exit_code == 0, result.output
    assert result.stdout == "fc1, fc2: now CONV; conv.safetensors holds the weights and the net, net\n"
    config, found = open_weights(tmp_path / "conv.safetensors")
    assert config.net == net.convolutional() and found["fc1.w"].shape == (6, 5, 4, 4)
    about = read_about(tmp_path / "conv.safetensors")
    assert about["classes"] == CLASSES and about["epoch"] == 7
    assert run("convert", "conv.safetensors", "fc.safetensors", "--to", "fc").exit_code == 0
    config, back = open_weights(tmp_path / "fc.safetensors")
    assert config.net == net and same(back, weights)
    with safe_open(tmp_path / "fc.safetensors", "np") as file:
        assert set(file.keys()) == set(weights)


def test_convert_says_what_it_cannot_do(run: Run, tmp_path: Path) -> None:
    saved(tmp_path / "w.safetensors", load("INPUT[8x8x1] -> CONV3-4 -> RELU -> CONV1-3 -> GAP"))
    refused(run("convert", "w.safetensors", "new"), "net has no FC layer, so there is nothing to convert")
    refused(run("convert", "w.safetensors", "new", "--to", "fc"), "no CONV layer that sees its whole volume")
    refused(run("convert", "w.safetensors", "w.safetensors"), "w.safetensors is there already")
    refused(run("convert", "nowhere", "new"), "there is no file nowhere")
    refused(run("convert", "w.safetensors", "new", "--net", "vgg16"), "holds the weights of another net than vgg16")
    refused(run("convert", "w.safetensors", "no/folder/new", "--net", "nosuch"), "there is no net called 'nosuch'")
    assert not (tmp_path / "new").exists()


# -- slide -----------------------------------------------------------------------------------------


def test_slide_tells_the_scores_of_the_library(run: Run, tmp_path: Path, page: np.ndarray) -> None:
    net = load(PATTERN)
    weights = saved(tmp_path / "w.safetensors", net, classes=CLASSES)
    wanted = slide(net, weights, page, 1, device="cpu")
    arguments = ("slide", "w.safetensors", "page.png", "--stride", "1", "--device", "cpu")
    result = run(*arguments, "--json", "--class", "bee", "--class", "3", "--top", "1")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["image"], told["crop"], told["stride"]) == ([33, 40], [12, 10], [1, 1])
    assert told["crops"] == [22, 31] and told["passes"] == 4 and told["total_bytes"] > told["arena_bytes"] > 0
    assert [entry["name"] for entry in told["classes"]][:2] == ["bee", "dog"]
    assert {entry["label"] for entry in told["classes"]} == {1, 3, wanted.top(1)[0]}
    for entry in told["classes"]:
        np.testing.assert_allclose(entry["probabilities"], wanted.probabilities[:, :, entry["label"]], rtol=1e-5)
        assert entry["best"] == list(wanted.best(entry["label"]))
    text = run(*arguments)
    assert text.exit_code == 0 and "net, inference, batch 1, float32, on cpu: " in text.stdout
    assert "33x40 pixels: 22x31 crops of 12x10 at stride 1, in 4 passes over 32x40" in text.stdout
    assert [line.split()[0] for line in text.stdout.splitlines()[-4:]] == [CLASSES[k] for k in wanted.top(4)]


def test_slide_scales_a_grey_picture_and_draws(run: Run, tmp_path: Path, page: np.ndarray) -> None:
    saved(tmp_path / "w.safetensors", load(PATTERN.replace("10x3", "10x1")))
    result = run("slide", "w.safetensors", "page.png", "--scale", "25", "--out", "map.png", "--device", "cpu")
    assert result.stdout.rstrip().rpartition("\n")[2].startswith("map.png shows where ") and " may be" in result.stdout
    assert result.exit_code == 0, result.output
    assert "25x30 pixels: 7x11 crops" in result.stdout
    assert "not seen, too few for one more crop: the last row\n" in result.stdout
    with Image.open(tmp_path / "map.png") as drawn:
        assert drawn.format == "PNG" and min(drawn.size) > 300


def test_heat_maps_lie_where_the_crops_are(tmp_path: Path) -> None:
    from gpunet.report.heat_map import draw
    from gpunet.use.sliding import ScoreMap

    scored = ScoreMap(np.zeros((3, 4, 2)), (12, 10), (4, 2))
    figure = draw(np.zeros((20, 16, 1), np.uint8), scored, [1], ["one", "two"])
    below, over = figure.axes[1].images
    assert below.get_extent() == [0, 16, 20, 0]
    left, right, bottom, top = over.get_extent()
    # the middle of the first cell is that of the first crop, and of the last cell that of the last crop
    assert (left + 1, top + 2) == (5, 6) and (right - 1, bottom - 2) == (6 + 5, 8 + 6)
    assert figure.axes[1].get_title() == "two: 50.0% on average"


def test_slide_says_what_is_wrong(run: Run, tmp_path: Path, page: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "w.safetensors", load(PATTERN), classes=CLASSES)
    saved(tmp_path / "none.safetensors", load(PATTERN), config=False)
    saved(tmp_path / "ends.safetensors", load("INPUT[8x8x3] -> CONV3-4"))
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:-9])
    for arguments, words in (
        (("w.safetensors", "page.png", "--scale", "11"), "smaller than the 12x10"),
        (("w.safetensors", "page.png", "--stride", "3"), "a stride of 3 does not divide the 2 of net; use one of 1, 2"),
        (("w.safetensors", "nowhere.png"), "nowhere.png"),
        (("w.safetensors", "text.png"), "text.png cannot be read as a picture"),
        (("nowhere", "page.png"), "there is no file nowhere"),
        (("cut.safetensors", "page.png"), "cut.safetensors is damaged"),
        (("none.safetensors", "page.png"), "does not say of which net it is"),
        (("w.safetensors", "page.png", "--net", "vgg_digits"), "another net than vgg_digits"),
        (("ends.safetensors", "page.png"), "end it in an FC"),
        (("w.safetensors", "page.png", "--class", "dgo"), "there is no class 'dgo'; did you mean dog?"),
        (("w.safetensors", "page.png", "--class", "4"), "there is no class '4'"),
        (("w.safetensors", "page.png", "--out", "map.jpg"), "a plot is a .png file"),
    ):
        refused(run("slide", *arguments, "--device", "cpu"), words)
    tight = run("slide", "w.safetensors", "page.png", "--device", "cpu", "--budget", "1KiB")
    assert tight.exit_code == 1 and "does not fit" in tight.stderr
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    refused(run("slide", "w.safetensors", "page.png", "--out", "map.png"), "--out needs matplotlib", "pip install")


@pytest.mark.parametrize("value", [np.nan, 3e38])
def test_weights_of_no_use_are_told_once(run: Run, tmp_path: Path, page: np.ndarray, value: float) -> None:
    net = load(PATTERN)
    with Model(net, 1, "cpu") as model:
        weights = {name: np.full_like(values, value) for name, values in model.parameters.items()}
    save_weights(tmp_path / "w", weights, {"config": dump_net(net)})
    for command in (("slide", "w", "page.png"), ("slide", "w", "page.png", "--json")):
        result = run(*command, "--device", "cpu")
        refused(result, "net gives scores that are infinite or NaN: its weights are of no use")
        assert not result.stdout and len(result.stderr.splitlines()) == 1
    refused(
        run("show", "activations", "w", "page.png", "--size", "12x10"), "conv1 of net makes what is infinite or NaN"
    )
    with pytest.raises(DataError, match="net gives scores that are infinite or NaN"):
        slide(net, weights, page, device="cpu")


def test_what_is_free_decides_where_no_budget_is_given(
    run: Run, tmp_path: Path, page: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "w.safetensors", replace_name(load(PATTERN), "tight"))
    monkeypatch.setattr("gpunet.devices.cpu.probe.free_bytes", lambda: 2**20)
    result = run("slide", "w.safetensors", "page.png", "--device", "cpu")
    assert result.exit_code == 1 and "tight does not fit 1 MiB" in result.stderr


def replace_name(net: Net, name: str) -> Net:
    return Net(net.input, net.nodes, name=name)
