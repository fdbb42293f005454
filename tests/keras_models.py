"""Models of Keras itself, on PyTorch: the files that it writes of them, and the scores that it gives.

Some small ones are kept in tests/keras_files, for Keras takes seconds to import: `python -m tests.keras_models` writes
them anew, and slow tests make others.
"""

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

FILES = Path(__file__).with_name("keras_files")

SMOOTH = ("elu", "gelu", "hard_sigmoid", "hard_swish", "leaky_relu", "relu6", "selu", "sigmoid", "silu", "softplus")
SMOOTH += ("tanh",)


def keras() -> Any:
    os.environ["KERAS_BACKEND"] = "torch"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras

    assert keras.backend.backend() == "torch", "Keras was imported with another backend before"
    return keras


def chain() -> Any:
    """Everything that slides, padded by SAME over even and odd sizes, and what is done to pixels before."""
    L = keras().layers
    return keras().Sequential(
        [
            L.Input((17, 14, 3)),
            L.Rescaling([1 / 64, 1 / 50, 1 / 70], [-1.5, -2.0, -1.0]),
            L.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.1, 0.9, 0.7]),
            L.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="first-conv"),
            L.BatchNormalization(scale=False, momentum=0.9),
            L.MaxPooling2D(2, 1, padding="same"),
            L.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2, use_bias=False),
            L.BatchNormalization(center=False),
            L.PReLU(shared_axes=[1, 2]),
            L.SeparableConv2D(8, (3, 2), padding="same", depth_multiplier=2, activation="tanh"),
            L.ZeroPadding2D(((2, 1), (0, 3))),
            L.Conv2D(8, (2, 3), strides=(1, 2), groups=2, padding="same"),
            L.AveragePooling2D(3, 1, padding="same"),  # PyTorch repeats the edge where sides differ
            L.SpatialDropout2D(0.25),
            L.Conv2D(4, 2, dilation_rate=2, padding="same"),
            L.Dropout(0.5),
            L.Flatten(),
            L.Dense(9, activation="relu"),
            L.BatchNormalization(),
            L.Dense(5, activation="softmax"),
        ],
        name="chain",
    )


def branches() -> Any:
    """Everything that joins, gates of both kinds, a model within, arithmetic, and zeros around what is below 0."""
    L = keras().layers
    x = L.Input((8, 7, 2))
    a = L.Conv2D(6, 3, padding="same", use_bias=False)(x)
    b = L.Dense(6)(x)
    inner = keras().Sequential([L.Input((8, 7, 6)), L.Conv2D(6, 1), L.BatchNormalization(), L.ReLU(6.0)], name="deep")
    c = inner(L.Add()([a, b]))
    c = L.Average()([c, L.Maximum()([a, b]), L.Subtract()([a, b])])
    gate = L.Reshape((1, 1, 6))(L.GlobalAveragePooling2D()(c))
    gate = L.Conv2D(6, 1, activation="sigmoid")(L.Conv2D(2, 1, activation="swish")(gate))
    c = L.Multiply()([c, gate]) * L.GlobalMaxPooling2D(keepdims=True)(a)
    c = L.LeakyReLU(0.1)(c + 3.0) * (1 / 6) - 0.25
    c = L.Concatenate()([c, L.ReLU(negative_slope=0.2)(a), L.ReLU(max_value=2.5)(b)])
    c = L.MaxPooling2D(3, 2)(L.ZeroPadding2D(1)(c))
    c = L.MaxPooling2D(2, 1)(L.ZeroPadding2D(1)(L.ReLU()(c)))
    c = L.AveragePooling2D(2)(L.ZeroPadding2D(((0, 1), (1, 0)))(c))
    c = L.Dropout(0.2, noise_shape=(None, 1, 1, 1))(c)
    return keras().Model(x, L.Dense(4)(L.Flatten()(c)), name="branches")


def units() -> Any:
    """A chain of every activation, as a field and as a layer."""
    L = keras().layers
    x = L.Input((3, 4, 2))
    y = x
    for number, word in enumerate(SMOOTH):
        y = L.Conv2D(4, 1, activation=word)(y) if number % 2 else L.Activation(word)(L.Conv2D(4, 1)(y))
    return keras().Model(x, L.Dense(3)(L.ELU(0.5)(L.GlobalMaxPooling2D()(y))), name="units")


def plain() -> Any:
    """What a pattern says as well."""
    L = keras().layers
    layers = [L.Input((6, 6, 2)), L.Conv2D(4, 3, padding="same"), L.BatchNormalization(), L.ReLU()]
    layers += [L.DepthwiseConv2D(3, padding="same", use_bias=False), L.PReLU(shared_axes=[1, 2])]
    layers += [L.Conv2D(3, 1), L.MaxPooling2D(), L.Flatten(), L.Dense(5, "relu"), L.Dropout(0.5), L.Dense(3)]
    return keras().Sequential(layers, name="plain")


def first() -> Any:
    """Channels first, all that has an order, until they are brought to the end; flattened both ways."""
    L, first = keras().layers, {"data_format": "channels_first"}
    x = L.Input((3, 7, 6))
    y = L.Conv2D(6, 3, padding="same", dilation_rate=(1, 2), **first)(x)
    y = L.PReLU(shared_axes=[2, 3])(L.BatchNormalization(axis=1)(y))
    gate = L.Conv2D(6, 1, activation="sigmoid", **first)(L.GlobalAveragePooling2D(keepdims=True, **first)(y))
    z = L.DepthwiseConv2D(2, depth_multiplier=2, **first)(L.ZeroPadding2D((0, 1), **first)(y))
    z = L.Dropout(0.3, noise_shape=(None, 12, 1, 1))(L.SeparableConv2D(6, 2, padding="same", **first)(z))
    y = L.Concatenate(axis=1)([L.Multiply()([y, gate]), L.MaxPooling2D(2, 1, padding="same", **first)(y)])
    y = L.AveragePooling2D(2, **first)(L.SpatialDropout2D(0.2, **first)(y))
    z = L.Permute((2, 3, 1))(L.Conv2D(4, 1, activation="relu", **first)(z))
    z = L.Conv2D(4, 2, padding="same", dilation_rate=(2, 1), data_format="channels_last")(z)
    ends = [L.Dense(4)(L.Flatten(data_format="channels_last")(y)), L.Dense(4)(L.Flatten(**first)(y))]
    ends += [L.Dense(4)(L.Flatten(data_format="channels_last")(z))]
    return keras().Model(x, L.Add()(ends), name="first")


MODELS = {"chain": chain, "branches": branches, "units": units, "plain": plain, "first": first}


def draw(model: Any, rng: np.random.Generator) -> None:
    """Weights at random, statistics too, so that values neither vanish nor grow."""
    for weight in model.weights:
        name, shape = weight.path.rpartition("/")[2], tuple(weight.shape)
        if "float" not in str(weight.dtype):
            continue
        if "kernel" in name:
            values = rng.normal(0, (2 / max(np.prod(shape[:-1]), 1)) ** 0.5, shape)
        else:
            values = (
                rng.uniform(0.5, 1.5, shape) if name == "gamma" or "variance" in name else rng.normal(0, 0.1, shape)
            )
        weight.assign(values.astype(np.float32))


def scores(model: Any, images: np.ndarray) -> np.ndarray:
    """(N, values) of images (N, H, W, D) as they enter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how PyTorch's tensors become NumPy's, of names in old files
        found = model(images.astype(np.float32))
    return np.asarray(found.detach().numpy()).reshape(len(images), -1)


def save(model: Any, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_weights(path) if path.name.endswith(".weights.h5") else model.save(path)
    return path


def write(folder: Path) -> None:
    """All MODELS in every kind of file, and what they give for some images."""
    folder.mkdir(exist_ok=True)
    for name, make in MODELS.items():
        keras().backend.clear_session()
        model, rng = make(), np.random.default_rng(len(name))
        draw(model, rng)
        for ending in (".keras", ".h5", ".weights.h5"):
            save(model, folder / f"{name}{ending}")
        images = rng.integers(0, 256, (3, *model.input_shape[1:]), np.uint8)
        entered = images if name == "chain" else images / np.float32(255)
        maps_last = images.transpose(0, 2, 3, 1) if name == "first" else images
        np.savez(folder / f"{name}.npz", images=maps_last, scores=scores(model, entered))


if __name__ == "__main__":
    sys.exit(write(FILES))
