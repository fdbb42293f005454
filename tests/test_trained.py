"""What is done with a trained net, as people do it: eval, predict and train --weights, right and wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner, Result

from gpunet import Model, load
from gpunet.cli.app import app
from gpunet.data import digits
from gpunet.model.scores import softmax
from gpunet.net.config import dump_net, load_config
from gpunet.train.history import read_history
from gpunet.train.start import with_classes
from gpunet.train.weights import OtherNet, layer_of, open_weights, restore_weights, save_weights

ROOT = Path(__file__).parent.parent
TINY = "INPUT[8x8x1] -> CONV3-4 -> RELU -> POOL2 -> FC-6 -> RELU -> FC-10"
COLOUR = "INPUT[6x6x3] -> CONV3-2 -> RELU -> POOL2 -> FC-2"
HEADED = "INPUT[8x8x1] -> CONV3-4 -> RELU -> AUX(weight=0.3)[FC-10] -> POOL2 -> CONV1-10 -> BN -> GAP"


def ran(*arguments: object, input: bytes | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=input)


def good(*arguments: object, input: bytes | None = None) -> str:
    result = ran(*arguments, input=input)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: object) -> str:
    """What is said of a mistake."""
    result = ran(*arguments)
    assert result.exit_code == 2 and "Traceback" not in result.output, result.output
    return result.stderr


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run on the digits, one on coloured pictures of ants and bees, and these pictures."""
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(4)
    for split, count in (("train", 4), ("test", 2)):
        for name in ("ant", "bee"):
            for number in range(count):
                picture(folder / "photos" / split / name / f"{number}.png", rng.integers(0, 256, (6, 6, 3), np.uint8))
    good("train", TINY, "--epochs", 2, "--device", "cpu", "--validation", 0, "--out", folder / "digits")
    good("train", COLOUR, "--data", folder / "photos", "--epochs", 1, "--device", "cpu", "--out", folder / "colour")
    return folder


@pytest.fixture
def place(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def picture(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def three(path: Path, n: int = 60) -> Path:
    """Digits 0 to 2 as a data set of three classes."""
    images, labels = digits().train.take(np.arange(200))
    chosen = labels < 3
    np.savez(path, images=images[chosen][:n], labels=labels[chosen][:n])
    return path


# -- eval ------------------------------------------------------------------------------------------


def test_eval_measures_what_training_did(runs: Path, place: Path) -> None:
    told = json.loads(good("eval", runs / "digits", "--device", "cpu", "--json"))
    last = read_history(runs / "digits").epochs[-1]
    assert told["loss"] == pytest.approx(last.test_loss, rel=1e-5) and told["accuracy"] == last.test_accuracy
    assert told["images"] == 360 and told["data"] == "digits" and told["batch"] == 64
    assert sum(entry["correct"] for entry in told["classes"]) == round(told["accuracy"] * 360)
    assert told["top5_accuracy"] >= told["accuracy"]
    words = good("eval", runs / "digits", "--device", "cpu", "--split", "train", "--batch", 2000)
    assert "inference, batch 1,437" in words and "digits: 1,437 images to learn from" in words
    assert "top-5 accuracy" in words and "accuracy" in words.splitlines()[-1]


def test_eval_takes_checkpoints_and_classes_by_their_names(runs: Path, place: Path) -> None:
    folder = runs / "colour"
    told = [json.loads(good("eval", folder / name, "--device", "cpu", "--json")) for name in ("", "last.safetensors")]
    assert [entry["name"] for entry in told[0]["classes"]] == ["ant", "bee"]
    assert told[0].pop("weights") != told[1].pop("weights") and told[0] == told[1]
    assert told[0]["top5_accuracy"] is None


def test_eval_of_weights_alone_asks_which_data(runs: Path, place: Path) -> None:
    (place / "w").write_bytes((runs / "digits" / "weights.safetensors").read_bytes())
    assert "no config.toml beside the weights says which data they learnt from; give --data" in refused("eval", "w")
    assert "360 images" in good("eval", "w", "--data", "digits", "--device", "cpu")


def test_other_pictures_are_brought_to_the_size_of_the_run(runs: Path, place: Path) -> None:
    for split in ("train", "test"):
        for name, side in (("ant", 9), ("bee", 14)):
            values = np.arange(side * (side + 3) * 3, dtype=np.uint8).reshape(side, -1, 3)
            picture(place / "zoo" / split / name / "0.png", values)
    told, said = (
        json.loads(good("eval", runs / "colour", "--data", "zoo", *more, "--device", "cpu", "--json"))
        for more in ((), ("--size", "6x6"))
    )
    assert told == said and told["images"] == 2
    listed = json.loads(good("show", "mistakes", runs / "colour", "--data", "zoo", "--device", "cpu", "--json"))
    assert len(listed["mistakes"]) == 2 - round(2 * told["accuracy"])


def test_eval_refuses_data_that_the_net_cannot_use(runs: Path, place: Path) -> None:
    for name in ("cat", "dog"):
        for split in ("train", "test"):
            picture(place / "pets" / split / name / "1.png", np.zeros((6, 6, 3), np.uint8))
    said = refused("eval", runs / "colour", "--data", "pets")
    assert "pets: class 0 is cat; net learnt that it is ant" in said
    assert "holds images of 8x8x1; the net takes 6x6x3" in refused("eval", runs / "colour", "--data", "digits")
    assert "bring them to its size (--size 8x8)" in refused("eval", runs / "digits", "--data", "pets", "--size", "6x6")
    assert "holds no weights.safetensors" in refused("eval", place)
    assert "there is no file nowhere" in refused("eval", "nowhere")


def test_an_empty_path_is_told(runs: Path, place: Path) -> None:
    for command in (("eval", ""), ("show", "filters", ""), ("predict", "", "1.png"), ("slide", "", "1.png")):
        assert "no weights were given" in refused(*command)
    assert "an empty path" in refused("predict", runs / "digits", "")
    assert "no image was given" in refused("show", "activations", runs / "digits", "")


def test_a_net_of_more_classes_than_have_names_knows_those(place: Path) -> None:
    rng = np.random.default_rng(2)
    for name in ("ant", "bee"):
        for number in range(6):
            picture(place / "photos" / name / f"{number}.png", rng.integers(0, 256, (6, 6, 3), np.uint8))
    options = ("--data", "photos", "--epochs", 1, "--device", "cpu", "--out", "a")
    good("train", COLOUR.replace("FC-2", "FC-4"), "--spare-outputs", *options)
    told = json.loads(good("eval", "a", "--device", "cpu", "--json"))
    assert [entry["name"] for entry in told["classes"]] == ["ant", "bee", "2", "3"]
    assert "ant " in good("predict", "a", Path("photos", "ant", "0.png"), "--top", 4, "--device", "cpu")
    picture(place / "photos" / "cow" / "1.png", rng.integers(0, 256, (6, 6, 3), np.uint8))
    assert "photos has 3 classes; net learnt to tell 2 apart" in refused("eval", "a", "--device", "cpu")


def test_the_first_class_of_another_name_is_named(place: Path) -> None:
    net = load("INPUT[2x2x1] -> FC-7")
    with Model(net, 1, "cpu") as model:
        save_weights(place / "w", model.parameters, {"config": dump_net(net), "classes": list("abcdefg")})
    for name in "abcdefh":
        for split in ("train", "test"):
            picture(place / "letters" / split / name / "1.png", np.zeros((2, 2), np.uint8))
    assert "letters: class 6 is h; net learnt that it is g" in refused("eval", "w", "--data", "letters")


# -- predict ---------------------------------------------------------------------------------------


def drawn(folder: Path, count: int = 7) -> np.ndarray:
    """Digits to test on, as white on black pictures 0.png, 1.png, ...; returns the digits themselves."""
    images = digits().test.take(np.arange(count))[0]
    for number, image in enumerate(images[..., 0]):
        picture(folder / f"{number}.png", np.rint(image * (255 / 16)).astype(np.uint8))
    return images


def test_predict_tells_the_classes_and_their_probabilities(runs: Path, place: Path) -> None:
    images = drawn(place / "some")
    told = json.loads(good("predict", runs / "digits", "some", "--batch", 3, "--device", "cpu", "--json"))
    config, weights = open_weights(runs / "digits" / "weights.safetensors")
    with Model(config.net, 7, "cpu", mode="infer") as model:
        for name in model.parameters:
            model.parameters[name] = weights[name]
        wanted = softmax(model.forward(images))
    assert [entry["file"] for entry in told["images"]] == [str(Path("some", f"{n}.png")) for n in range(7)]
    for entry, row in zip(told["images"], wanted, strict=True):
        order = sorted(range(10), key=lambda k, row=row: -row[k])[:5]  # type: ignore[misc]
        assert [guess["label"] for guess in entry["top"]] == order
        assert [guess["probability"] for guess in entry["top"]] == pytest.approx(row[order].tolist(), rel=1e-4)
    assert told["batch"] == 3 and told["broken"] == []


def test_predict_takes_files_folders_and_a_list_on_standard_input(runs: Path, place: Path) -> None:
    drawn(place / "some", 3)
    one, two = Path("some", "1.png"), Path("some", "2.png")
    options = ("--device", "cpu", "--top", 1)
    from_list = good("predict", runs / "digits", "-", *options, input=f"{two}\n\n{one}\r\n".encode())
    named = good("predict", runs / "digits" / "best.safetensors", two, one, *options)
    assert from_list == named and named.startswith(f"{two}: ") and len(named.splitlines()) == 2
    assert good("predict", runs / "digits", "some", *options).splitlines()[1:] == named.splitlines()[::-1]
    assert "no picture was given" in refused("predict", runs / "digits", "-")


def test_predict_knows_the_names_of_classes_and_takes_any_picture(runs: Path, place: Path) -> None:
    grey = picture(place / "grey.png", np.arange(200, dtype=np.uint8).reshape(10, 20))
    clear = picture(place / "clear.png", np.full((5, 9, 4), 100, np.uint8))
    lines = good("predict", runs / "colour", grey, clear, "--device", "cpu").splitlines()
    assert len(lines) == 2 and all("ant " in line and "bee " in line and "%" in line for line in lines)


def test_predict_names_broken_pictures_and_goes_on(runs: Path, place: Path) -> None:
    drawn(place / "some", 2)
    (place / "some" / "0b.png").write_bytes(b"\x89PNG")
    result = ran("predict", runs / "digits", "some", "gone.png", "--device", "cpu")
    assert result.exit_code == 2 and len(result.stdout.splitlines()) == 2
    assert "0b.png cannot be read as a picture" in result.stderr and "there is no file gone.png" in result.stderr
    assert "2 of 4 pictures could not be read; --skip-broken leaves them out" in result.stderr
    result = ran("predict", runs / "digits", "some", "--device", "cpu", "--skip-broken", "--json")
    assert result.exit_code == 0 and "1 of 3 pictures could not be read, and were skipped" in result.stderr
    told = json.loads(result.stdout)
    assert len(told["images"]) == 2 and "0b.png" in told["broken"][0]
    result = ran("predict", runs / "digits", Path("some", "0b.png"), "--device", "cpu", "--skip-broken")
    assert result.exit_code == 2 and "1 of 1 pictures could not be read" in result.stderr


def test_predict_refuses_a_net_that_no_picture_fits_once(place: Path) -> None:
    net = load("INPUT[6x6x2] -> FC-3")
    with Model(net, 1, "cpu") as model:
        save_weights(place / "w", model.parameters, {"config": dump_net(net)})
    said = refused("predict", "w", picture(place / "1.png", np.zeros((6, 6), np.uint8)), place / "2.png")
    assert said.count("a picture has 3 maps, or 1 where it is to be grey; the net takes 2") == 1
    assert "could not be read" not in said


def test_predict_takes_a_list_that_begins_with_a_byte_order_mark(runs: Path, place: Path) -> None:
    drawn(place / "some", 1)
    words = good("predict", runs / "digits", "-", "--device", "cpu", input=b"\xef\xbb\xbfsome/0.png\r\n")
    assert words.startswith(f"{Path('some', '0.png')}: ")


def test_names_that_are_no_utf_8_stand_escaped_in_json(runs: Path, place: Path) -> None:
    drawn(place / "some", 1)
    odd = os.fsencode(place / "odd") + b"\xff.png"
    os.rename(place / "some" / "0.png", odd)
    result = ran("predict", runs / "digits", "-", "--device", "cpu", "--json", input=odd + b"\ngone\xff.png\n")
    told = json.loads(result.stdout)
    assert told["images"][0]["file"].endswith("odd\\udcff.png") and "gone\\udcff.png" in told["broken"][0]
    json.dumps(told, ensure_ascii=False).encode()  # no half of a character is left


def test_predict_says_that_standard_input_is_closed(runs: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "gpunet", "predict", str(runs / "digits"), "-", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    close = "import os, sys; os.close(0); os.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", close, *command], capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "standard input, on which - stands for a list of pictures, is closed" in done.stderr


def test_predict_as_a_program_of_its_own(runs: Path, place: Path) -> None:
    drawn(place / "some", 1)
    command = [sys.executable, "-m", "gpunet", "predict", str(runs / "digits"), "-", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, input="some/0.png\nsome/9.png\n", capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and done.stdout.startswith("some/0.png: ") and "Traceback" not in done.stderr
    assert "there is no file some/9.png" in done.stderr


# -- train --weights -------------------------------------------------------------------------------


def test_fine_tuning_keeps_all_but_the_layer_of_the_scores(runs: Path, place: Path) -> None:
    three(place / "three.npz")
    options = ("--data", "three.npz", "--device", "cpu", "--epochs", 1)
    words = good("train", "--weights", runs / "digits", "--classes", 3, *options, "--learning-rate", 1e-9, "--out", "a")
    assert f"kept from {runs / 'digits' / 'weights.safetensors'}: conv1, fc1\n" in words
    assert "drawn anew: fc2, for 3 classes\n" in words
    before, after = load_file(runs / "digits" / "weights.safetensors"), load_file("a/weights.safetensors")
    for name in ("conv1.w", "conv1.b", "fc1.w", "fc1.b"):
        np.testing.assert_allclose(after[name], before[name], atol=1e-6)
    assert after["fc2.w"].shape == (3, 6) and after["fc2.w"].std() > 0.1
    config = load_config("a/config.toml")
    assert config.net.classes == 3 and config.train.batch == 64
    assert config.train.fresh == ("fc2",) and config.train.weights == str(runs / "digits" / "weights.safetensors")
    again = good("train", "a/config.toml", "--device", "cpu", "--out", "b")
    assert "drawn anew: fc2" in again
    assert {name: values.tobytes() for name, values in load_file("b/weights.safetensors").items()} == {
        name: values.tobytes() for name, values in after.items()
    }
    assert "has finished" in good("train", "--resume", "b", "--device", "cpu")


def test_frozen_layers_are_told_and_stay_bit_for_bit(runs: Path, place: Path) -> None:
    options = ("--classes", 3, "--data", three(place / "three.npz"), "--epochs", 1, "--device", "cpu", "--out", "a")
    words = good("train", "--weights", runs / "digits", "--freeze", "conv*", *options)
    assert "frozen: conv1\n" in words
    before, after = load_file(runs / "digits" / "weights.safetensors"), load_file("a/weights.safetensors")
    assert after["conv1.w"].tobytes() == before["conv1.w"].tobytes()
    assert after["fc1.w"].tobytes() != before["fc1.w"].tobytes()


def test_training_goes_on_from_weights_as_they_are(runs: Path, place: Path) -> None:
    options = ("--device", "cpu", "--epochs", 1, "--learning-rate", 1e-9, "--validation", 0, "--scale", 1 / 16)
    words = good("train", TINY, "--weights", runs / "digits" / "best.safetensors", *options, "--out", "a")
    assert "best.safetensors: conv1, fc1, fc2\n" in words and "drawn anew" not in words
    assert read_history(Path("a")).epochs[-1].test_accuracy == read_history(runs / "digits").epochs[-1].test_accuracy


def test_weights_of_another_net_are_told_apart_and_nothing_is_written(runs: Path, place: Path) -> None:
    weights = runs / "digits"
    wider = TINY.replace("CONV3-4", "CONV3-5")
    said = refused("train", wider, "--weights", weights, "--device", "cpu", "--out", "a")
    assert "holds the weights of another net than net: conv1.w is (4, 3, 3, 1), not (5, 3, 3, 1); conv1.b is" in said
    assert "and 1 more" not in said and "--classes" not in said
    scores = TINY.replace("FC-10", "FC-12")
    said = refused("train", scores, "--weights", weights, "--spare-outputs", "--device", "cpu", "--out", "a")
    assert "fc2.w is (10, 6), not (12, 6)" in said and "--classes 12 draws fc2 anew" in said
    assert not Path("a").exists()
    assert "fc3.w is not in the net" in _with_more(place, weights)


def _with_more(place: Path, run: Path) -> str:
    weights = load_file(run / "weights.safetensors") | {"fc3.w": np.zeros((2, 2), np.float32)}
    save_file(weights, place / "more.safetensors")
    return refused("eval", place / "more.safetensors", "--net", TINY)


def test_classes_and_data_that_do_not_fit_are_refused_before_anything_is_written(runs: Path, place: Path) -> None:
    start = ("train", "--weights", runs / "digits", "--device", "cpu", "--out", "a")
    assert "label 9 of image" in refused(*start, "--classes", 3)
    (place / "void").mkdir()
    assert "void is no data set that is known; it holds nothing" in refused(*start, "--data", "void")
    for name in ("train/only/1.png", "test/only/2.png"):
        picture(place / "one" / name, np.zeros((8, 8), np.uint8))
    assert "holds one class, only" in refused(*start, "--data", "one", "--classes", 2)
    picture(place / "one/train/other/3.png", np.zeros((9, 8), np.uint8))
    assert "bring all to one size with --size HxW" in refused(*start, "--data", "one", "--classes", 2)
    assert refused(*start, "--classes", 1)
    (place / "w").write_bytes((runs / "digits" / "weights.safetensors").read_bytes())
    assert "give --data" in refused("train", "--weights", "w", "--device", "cpu", "--out", "a")
    assert "leave out --classes" in refused("train", "--resume", runs / "digits", "--classes", 3)
    assert "start from the weights of another run: --weights RUN" in refused("train", "--device", "cpu")
    assert not Path("a").exists()


def test_grey_and_clear_pictures_train_nets_of_any_depth(runs: Path, place: Path) -> None:
    for number in range(6):
        values = np.full((8, 8) if number % 2 else (8, 8, 4), 40 * number, np.uint8)
        picture(place / "mixed" / ("train", "test")[number > 3] / ("a", "b")[number % 2] / f"{number}.png", values)
    options = ("--data", "mixed", "--device", "cpu", "--epochs", 1)
    good("train", "--weights", runs / "digits", "--classes", 2, *options, "--out", "one")
    good("train", "INPUT[8x8x3] -> CONV3-2 -> RELU -> FC-2", *options, "--out", "three")
    assert "mixed: 2 images to test on" in good("eval", "one", "--device", "cpu")


def test_width_and_input_of_a_net_to_train(place: Path) -> None:
    options = ("--epochs", 1, "--data", "synthetic", "--device", "cpu", "--out", "a")
    good("train", "INPUT[6x6x3] -> CONV3-8 -> RELU -> FC-10", "--width", 0.5, "--input", "5x4x2", *options)
    net = load("a/config.toml")
    assert net.input.shape == (5, 4, 2) and net.parameters == 4 * 9 * 2 + 4 + 10 * 80 + 10


# -- the net with other classes, and auxiliary heads -----------------------------------------------


def test_what_makes_the_scores_is_replaced_and_what_depends_on_it() -> None:
    net, fresh = with_classes(load(HEADED), 3)
    assert net.classes == 3 and fresh == ("fc1", "conv2", "bn1")
    assert with_classes(load("nin"), 7)[1] == ("conv9",)
    for name, classes in (("vgg16", 21), ("resnet18", 5), ("googlenet", 4)):
        assert with_classes(load(name), classes)[0].classes == classes


def test_a_net_that_cannot_have_other_classes_says_why() -> None:
    for pattern, words in (
        ("INPUT[4x4x1] -> POOL2", "no layer with so many filters would make 2x2x1"),
        ("INPUT[4x4x1] -> { FC-2 | FC-3 }", "fc1, fc2 with so many filters would make 1x1x14 of its 1x1x5 scores"),
    ):
        with pytest.raises(Exception, match=words):
            load(pattern).with_classes(7)
    with pytest.raises(Exception, match="an integer of at least 1"):
        load("vgg16").with_classes(0)


def test_heads_may_be_missing_from_a_file_or_from_a_model(tmp_path: Path) -> None:
    net = load(HEADED)
    with Model(net, 2, "cpu", seed=1) as model:
        whole = dict(model.parameters)
    bare = {name: values for name, values in whole.items() if not name.startswith("fc1.")}
    save_weights(tmp_path / "whole", whole, {})
    save_weights(tmp_path / "bare", bare, {})
    for name in ("whole", "bare"):
        with Model(net, 2, "cpu", mode="infer") as model:
            restore_weights(model, tmp_path / name)
            assert dict(model.parameters).keys() == bare.keys()
            np.testing.assert_array_equal(model.parameters["bn1.scale"], whole["bn1.scale"])
        with Model(net, 2, "cpu", seed=5) as model:
            drawn_head = model.parameters["fc1.w"]
            restore_weights(model, tmp_path / name)
            np.testing.assert_array_equal(model.parameters["conv1.w"], whole["conv1.w"])
            expected = whole["fc1.w"] if name == "whole" else drawn_head
            np.testing.assert_array_equal(model.parameters["fc1.w"], expected)
    with Model(with_classes(net, 3)[0], 2, "cpu") as model, pytest.raises(OtherNet) as caught:
        restore_weights(model, tmp_path / "whole", ("conv2",))
    assert {layer_of(name) for name in caught.value.names} == {"fc1", "bn1"}


def test_nets_that_cut_windows_out_are_given_images_of_the_size_that_they_learnt_from(place: Path) -> None:
    text = 'input = "6x6x1"\nnet = "CONV3-4 -> RELU -> POOL2 -> FC-10"\n[augment]\nsize = "8x8"\nflip = true\n'
    Path("cut.toml").write_text(text)
    good("train", "cut.toml", "--epochs", 1, "--device", "cpu", "--out", "a")
    told = json.loads(good("eval", "a", "--device", "cpu", "--json"))
    assert told["accuracy"] == json.loads(Path("a", "test.json").read_text())["test_accuracy"]
    picture(place / "some" / "0.png", digits().test.take(np.array([0]))[0][0, :, :, 0])
    assert good("predict", "a", "some", "--device", "cpu").startswith("some/0.png: ")
