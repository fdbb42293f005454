"""Layers and losses from outside the package in patterns, configs and files, once they were added."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

import gpunet
from gpunet import FC, ConfigError, Conv, Elementwise, Layer, Loss, Model, Net
from gpunet.layers import layer_types, loss_types
from gpunet.net.config import Config, dump, load, load_config
from gpunet.net.outside import add_layer, add_loss, known_layers, known_losses, remove_words
from tests import outside_ops as outside
from tests.outside_ops import Scale, Softplus, Squares

NET = Net("4x4x1", [Conv(4), Softplus(0.7), Scale(), FC(3)], loss=Squares(), name="mine")


@pytest.fixture(autouse=True)
def added() -> Iterator[None]:
    """Ops and words are known in here alone."""
    outside.add_all()
    for kind in (Softplus, Scale):
        assert add_layer(kind) is kind
    assert add_loss(Squares) is Squares
    yield
    outside.remove_all()
    remove_words(*known_layers(), *known_losses())


def test_a_pattern_has_their_words() -> None:
    pattern = "INPUT[4x4x1] -> CONV3-4 -> MISH(sharpness=0.7) -> LOUDER as gain -> [MISH]*2 -> FC-3"
    layers = [Conv(4), Softplus(0.7), ("gain", Scale()), Softplus(), Softplus(), FC(3)]
    assert load(pattern) == Net("4x4x1", layers, name="net")
    with pytest.raises(ConfigError, match="MISH has no option 'beta'; it has sharpness"):
        load("INPUT[4x4x1] -> MISH(beta=2)")
    with pytest.raises(ConfigError, match="LOUDR is not a layer; did you mean LOUDER"):
        load("INPUT[4x4x1] -> LOUDR")


def test_a_config_says_them_and_reads_what_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'net = "INPUT[4x4x1] -> C -> FC-3"\nloss.type = "squares"\n'
        'words.C = "CONV3-4 -> MISH(sharpness=0.7) -> LOUDER"\n'
    )
    assert load(path) == NET
    path.write_text(dump(Config(NET)))
    assert 'type = "mish"' in path.read_text() and load_config(path).net == NET
    path.write_text('net = "INPUT[4x4x1] -> FC-3"\nwords.LOUDER = "CONV -> RELU"')
    with pytest.raises(ConfigError, match="LOUDER has a meaning already"):
        load(path)


def test_a_model_that_was_saved_knows_its_net(tmp_path: Path, rng: np.random.Generator) -> None:
    images = rng.standard_normal((5, 4, 4, 1))
    with Model(NET, 5, "cpu") as model:
        model.save(tmp_path / "model.safetensors")
        scores = model.forward(images)
    with Model.load(tmp_path / "model.safetensors", device="cpu") as loaded:
        assert loaded.net == NET and np.array_equal(loaded.forward(images), scores)
    remove_words(Softplus)
    with pytest.raises(ConfigError, match=r"no layer type 'mish'.*gpunet\.add_layer"):
        Model.load(tmp_path / "model.safetensors", device="cpu")
    with Model.load(tmp_path / "model.safetensors", device="cpu", net=NET) as loaded:
        assert np.array_equal(loaded.forward(images), scores)


def test_another_of_the_same_type_takes_its_place_and_those_of_the_package_stay() -> None:
    @add_layer
    @dataclass(frozen=True)
    class Softer(Elementwise):
        kind: Literal["a", "b"] = "a"
        sizes: tuple[int, ...] = (1, 2)
        deep: float | None = None
        type: ClassVar[str] = "mish"
        word: ClassVar[str] = "MISH"
        op: ClassVar[str] = "my_softplus"

    assert load("INPUT[4x4x1] -> MISH(kind=b)") == Net("4x4x1", [Softer("b")], name="net")
    assert Softplus not in known_layers() and known_layers()[: len(layer_types())] == layer_types()
    assert known_losses() == (*loss_types(), Squares) and {Softer, Softplus}.isdisjoint(layer_types())


def layer(**said: Any) -> type[Layer]:
    """A frozen layer with these names in its class."""
    fields = {"value": float} if "value" in said else {}
    return dataclass(frozen=True)(type("Mine", (Elementwise,), {"__annotations__": fields, "op": "mine", **said}))


class Plain:
    """No layer."""


class NoFields(Elementwise):
    """Its base is a dataclass, but what it says itself is no field."""


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Plain, "a frozen dataclass under gpunet.Layer; got <class"),
        (Softplus(), "a frozen dataclass under gpunet.Layer; got Softplus"),
        (Squares, "under gpunet.Layer; got <class"),
        (
            NoFields,
            'NoFields needs a type of its own in small letters, .* like type: ClassVar.* = "nofields"; got None',
        ),
        (layer(type="mine"), 'Mine needs a word of its own in capitals, .* like word: ClassVar.* = "MINE"; got None'),
        (layer(type="Mine", word="MINE"), "needs a type of its own in small letters.* got 'Mine'"),
        (layer(type="mine", word="MINE2"), "needs a word of its own in capitals.* got 'MINE2'"),
        (layer(type="mine", word="M\n"), r"needs a word of its own in capitals.* got 'M\\n'"),
        (layer(type="conv", word="MINE"), "Mine: the type conv has a meaning already; use another, like my_conv"),
        (layer(type="mine", word="CONV"), "Mine: the word CONV has a meaning already; use another, like MY_CONV"),
        (layer(type="mine", word="INPUT"), "the word INPUT has a meaning already"),
        (layer(type="mine", word="LOUDER"), "the word LOUDER has a meaning already"),
        (layer(type="mine", word="MINE", number="F"), "a number behind MINE sets F, which is no field of it"),
    ],
)
def test_what_can_have_no_word_is_refused(kind: Any, words: str) -> None:
    before = known_layers()
    with pytest.raises(ConfigError, match=words):
        add_layer(kind)
    assert known_layers() == before


def test_fields_that_no_text_can_say_and_values_that_change_are_refused() -> None:
    @dataclass(frozen=True)
    class Table(Layer):  # type: ignore[misc]
        values: np.ndarray = field(default_factory=lambda: np.zeros(3))
        type: ClassVar[str] = "table"
        word: ClassVar[str] = "TABLE"

    with pytest.raises(ConfigError, match="Table: no text can say its field values; use numbers, texts, or tuples"):
        add_layer(Table)
    table: Any = type("Table", (Loss,), {"type": "table"})
    changing = dataclass(type("Changing", (), {}))
    with pytest.raises(ConfigError, match=r"under gpunet.Loss; got <class"):
        add_loss(changing)  # type: ignore[type-var]
    with pytest.raises(ConfigError, match="the type svm has a meaning already"):
        add_loss(dataclass(frozen=True)(type("Mine", (Loss,), {"type": "svm"})))
    assert add_loss(table) is table and gpunet.add_loss is add_loss
