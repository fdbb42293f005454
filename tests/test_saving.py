"""`model.save` and `gpunet.Model.load`: all that lasts comes back, from files of runs too, and other tools read it."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import gpunet
from gpunet import ConfigError, DataError, Learning, Model
from gpunet.cli.app import app
from gpunet.net.config import Config, TrainConfig, dump, dump_net
from gpunet.optimize.optimizers import OPTIMIZERS
from gpunet.train.weights import class_names, save_weights, white_of
from tests.runs import BATCH, EACH, EPOCHS, NET, images, planned, train

DATA = images()


def bits(model: Model) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in model.state.items()}


def trained(**options: object) -> Model:
    model = Model(NET, BATCH, "cpu", **({"seed": 3, "learning_rate": 0.02} | options))
    model.fit(DATA)
    return model


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_on_in_the_same_bits(optimizer, tmp_path):
    model = trained(optimizer=optimizer)
    model.save(tmp_path / "model.safetensors")
    loaded = Model.load(tmp_path / "model.safetensors", device="cpu")
    assert bits(loaded) == bits(model) and loaded.net == model.net and loaded.plan.optimizer == optimizer
    for one in (model, loaded):
        one.fit(DATA)
    assert bits(loaded) == bits(model) and loaded.steps == model.steps


def test_how_it_learns_comes_along(tmp_path):
    rule = gpunet.Adam(beta1=0.8, weight_decay=0.1)
    how = Learning(rule, freeze="conv*", rate_factors={"fc*": 2}, decay="weights", clip_value=1, clip_norm=5)
    model = trained(optimizer=how, dtype="float64", learning_rate=0.03)
    model.save(str(tmp_path / "model.safetensors"))
    loaded = Model.load(str(tmp_path / "model.safetensors"), device="cpu")
    assert loaded.plan.learning == how and loaded.plan.dtype == "float64" and loaded.batch == BATCH
    assert loaded.learning_rate == 0.03 and loaded.seed == 3 and loaded.plan.frozen == ("conv1",)


def test_what_is_said_takes_the_place_of_what_the_file_says(tmp_path):
    model = trained()
    model.save(tmp_path / "model.safetensors")
    other = Model.load(tmp_path / "model.safetensors", 7, "cpu", optimizer="Adam", learning_rate=0.5, debug=True)
    assert (other.batch, other.plan.optimizer, other.learning_rate) == (7, "adam", 0.5)
    assert {name: values.tobytes() for name, values in other.parameters.items()} == {
        name: values.tobytes() for name, values in model.parameters.items()
    }
    assert not other.state["fc1.w.m"].any()  # momentum's cache is none of Adam's
    scorer = Model.load(tmp_path / "model.safetensors", device="cpu", mode="infer")
    assert np.array_equal(scorer.predict(DATA.test), model.predict(DATA.test)) and scorer.plan.mode == "infer"
    scorer.save(tmp_path / "scorer.safetensors")
    again = Model.load(tmp_path / "scorer.safetensors", device="cpu")
    assert np.array_equal(again.predict(DATA.test), model.predict(DATA.test)) and again.plan.mode == "train"


def test_a_run_its_weights_and_its_checkpoints_are_loaded(tmp_path):
    train(tmp_path / "run", planned())
    told = TrainConfig(batch=7, learning_rate=0.3, seed=5)
    (tmp_path / "run/config.toml").write_text(dump(Config(NET, told)))
    names = (".", "weights.safetensors", "last.safetensors")
    loaded = [Model.load(tmp_path / "run" / name, device="cpu", net=NET) for name in names]
    values = [{name: values.tobytes() for name, values in one.parameters.items()} for one in loaded]
    assert values[0] == values[1] == values[2]
    assert [one.steps for one in loaded] == [0, 0, EACH * EPOCHS]
    assert (loaded[0].batch, loaded[0].learning_rate, loaded[0].seed) == (7, 0.3, 5)
    assert Model.load(tmp_path / "run", device="cpu").net == NET
    assert bits(loaded[2])["fc1.w.v"] != bits(loaded[1])["fc1.w.v"] == bytes(len(bits(loaded[1])["fc1.w.v"]))


def test_commands_read_what_a_model_saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = gpunet.data.digits()
    net = gpunet.Net("8x8x1", [gpunet.FC(10)], name="reader", scale=1 / 8, shift=-1)
    with Model(net, 100, "cpu", learning_rate=0.05) as model:
        model.fit(data)
        model.save("reader.safetensors", classes=[f"digit {number}" for number in range(10)], white=16)
        loss, correct = model.evaluate(data.test)
    assert class_names("reader.safetensors", 10)[3] == "digit 3" and white_of("reader.safetensors") == 16
    told = CliRunner().invoke(app, ["eval", "reader.safetensors", "--data", "digits", "--device", "cpu"])
    assert told.exit_code == 0, told.output
    assert f"loss {loss:.4f}, accuracy {correct / 360:.2%}" in told.output


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"steps": -1}, "it says steps = '-1'"),
        ({"batch": "many"}, "it says batch = 'many'"),
        ({"seed": True}, "it says seed = 'True'"),
        ({"learning": {"optimizer": {}}}, "does not say how its model learns"),
        ({"learning": {"optimizer": {"name": "adam"}, "evil": 1}}, "does not say how its model learns"),
        ({"learning": {"optimizer": {"name": "adam", "beta9": 1}}}, "adam has no beta9"),
        ({"learning_rate": "0.1"}, "the learning rate must be a number"),
        ({"dtype": "float8"}, "the dtype must be one of float32, float64"),
    ],
)
def test_a_file_that_says_nonsense_is_refused(about, words, tmp_path):
    with Model(NET, BATCH, "cpu") as model:
        path = tmp_path / "model.safetensors"
        save_weights(path, model.state, {"config": dump_net(NET), "model": about})
    with pytest.raises((DataError, ConfigError), match=words):
        Model.load(path, device="cpu")


def test_a_file_that_is_none_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.safetensors"):
        Model.load(tmp_path / "nothing.safetensors", device="cpu")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(DataError, match=r"text\.safetensors is damaged or no safetensors file"):
        Model.load(tmp_path / "text.safetensors", device="cpu")
    with Model(NET, BATCH, "cpu") as model, pytest.raises(DataError, match="no folder"):
        model.save(tmp_path / "no folder" / "model.safetensors")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"classes": "abc"}, "classes must be a list of names, from 0, of the net's 3; got 'abc'"),
        ({"classes": ["a", "b", "c", "d"]}, "of the net's 3; got 4 of them"),
        ({"classes": [1, 2, 3]}, "classes must be names"),
        ({"white": "16"}, "white must be an integer from 1 to 255; got '16'"),
        ({"white": 0}, "white must be an integer from 1 to 255; got 0"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(said, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        Model(NET, BATCH, "cpu").save(tmp_path / "model.safetensors", **said)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_no_file_to_save_into_and_counts_are_such_as_a_file_may_have(tmp_path):
    model = Model(NET, BATCH, "cpu")
    for folder in (tmp_path, "."):
        with pytest.raises(DataError, match="is a folder; give the name of a file in it, like"):
            model.save(folder)
    for name in ("steps", "seen"):
        with pytest.raises(ConfigError, match=f"{name} must be an integer from 0 to"):
            setattr(model, name, 2**63)
    model.steps = model.seen = 2**62
    model.save(tmp_path / "model.safetensors")
    assert Model.load(tmp_path / "model.safetensors", device="cpu").steps == 2**62


def test_the_same_model_is_saved_in_the_same_bytes(tmp_path: Path):
    model = trained()
    for name in ("one", "two"):
        model.save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
