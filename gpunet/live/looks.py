"""What the page sees of a net, made in a process beside the training from the weights that it wrote last.

Volumes travel as bytes 0..255 in base64, a set of maps brought from its least to its most value together, with these
two beside: so ConvNetJS scaled what it drew.
"""

from base64 import b64encode
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from gpunet.data.dataset import Split
from gpunet.data.loose import read_loose
from gpunet.description.facts import fields
from gpunet.errors import ConfigError
from gpunet.layers.relu import ReLU
from gpunet.live.asked import Asked, integer_in
from gpunet.model.batch import check_images
from gpunet.model.model import Model
from gpunet.model.outputs import EACH_LAYER
from gpunet.model.scores import softmax
from gpunet.net.net import Net
from gpunet.planning.planner import plan
from gpunet.train.judge import judge
from gpunet.train.weights import all_names, known_names, load_weights, said_config, white_of
from gpunet.use.inspecting import inspect, occlusion
from gpunet.use.inspecting import saliency as saliency_of

Part = dict[str, Any]

MOST_MAPS = 64
"""Of a volume, that are shown."""

MOST_SIDE = 96
"""Pixels of a map; of larger ones every second value is shown, or every third."""

BINS = 32
BATCH = 64
MOST_VALUES = 1 << 24
"""Activations of the images that dead units are counted over."""

WORST = 12
SHOWN = 4
"""Example predictions at a time."""


class Seen:
    """The net with the weights that lie in a file, and the images to look at."""

    def __init__(self, weights: Path, images: Path) -> None:
        self.net: Net = said_config(weights).net
        self.values = load_weights(weights)
        self.white = white_of(weights)
        self.classes = all_names(known_names(weights, self.net.classes), self.net.classes)
        with np.load(images, allow_pickle=False) as file:
            self.split = Split(file["images"], file["labels"])

    def chosen(self, asked: Asked) -> tuple[np.ndarray, int | None]:
        """The image that is asked for, (H, W, D), and its label; of a picture None."""
        if (picture := asked.get("picture")) is not None:
            return read_loose(Path(str(picture)), self.net.image.shape, self.white), None
        index = (integer_in(asked, "index") or 0) % len(self.split)
        images, labels = self.split.take(np.array([index]))
        return images[0], int(labels[0])

    def model(self, batch: int, *, each: bool = False) -> Model:
        """A model of the weights that scores on the CPU; `each`: with every layer's output."""
        made = plan(self.net, batch, mode="infer", device="cpu", without=EACH_LAYER if each else ())
        model = Model(self.net, batch, "cpu", mode="infer", plan=made)
        for name in model.parameters:
            model.parameters[name] = self.values[name]
        return model


def layers(asked: Asked) -> Iterator[Part]:
    """Of each layer that is asked for: activations, gradients, filters and their gradients, histograms, dead units."""
    seen = _seen(asked)
    image, label = seen.chosen(asked)
    with seen.model(1) as model:
        scores = model.forward(image[np.newaxis])[0]
    chances = softmax(scores)
    found = inspect(seen.net, seen.values, image, int(scores.argmax()) if label is None else label)
    yield {
        "stage": "image",
        "picture": _picture(image),
        "gradient": _maps(found.image),
        "label": label,
        "chances": [float(chance) for chance in chances],
        "step": asked.get("step"),
    }
    wanted = asked.get("layers")
    names = [name for name in seen.net.volumes if not isinstance(wanted, list) or name in wanted]
    counts = _over_images(seen, set(names))
    reach = fields(seen.net)
    for node in seen.net.nodes:
        name = node.name
        if name not in names or name not in found.outputs:
            continue
        w, dw = (values.get(f"{name}.w") for values in (seen.values, found.learnt))
        yield {
            "stage": "layer",
            "name": name,
            "type": node.layer.type,
            "activations": _maps(found.outputs[name]),
            "gradients": _maps(found.gradients[name]) if name in found.gradients else None,
            "filters": _filters(w),
            "filter_gradients": _filters(dw),
            "histogram": _histogram(found.outputs[name]),
            "weights": None if w is None else _histogram(w),
            "field": [{"size": axis.size, "stride": axis.stride, "start": axis.start} for axis in reach[name]],
            "dead": counts.get(name),
        }


def examples(asked: Asked) -> Iterator[Part]:
    """Some images that are drawn anew each time, with the probability of each class."""
    seen = _seen(asked)
    rng = np.random.default_rng(integer_in(asked, "draw"))
    indices = rng.choice(len(seen.split), min(SHOWN, len(seen.split)), replace=False)
    images, labels = seen.split.take(np.sort(indices))
    with seen.model(len(images)) as model:
        chances = softmax(model.forward(images))
    for index, image, label, row in zip(np.sort(indices), images, labels, chances, strict=True):
        yield {
            "stage": "example",
            "index": int(index),
            "picture": _picture(image),
            "label": int(label),
            "chances": [float(chance) for chance in row],
            "step": asked.get("step"),
        }


def saliency(asked: Asked) -> Iterator[Part]:
    """What a prediction goes by: the gradient of its score, guided backpropagation, and occlusion."""
    seen = _seen(asked)
    image, _ = seen.chosen(asked)
    with seen.model(BATCH) as model:
        chances = softmax(model.forward(image[np.newaxis]))[0]
        label = integer_in(asked, "class")
        label = int(chances.argmax()) if label is None else label
        if not 0 <= label < seen.net.classes:
            raise ConfigError(f"the net has {seen.net.classes} classes, from 0; there is no class {label}")
        yield {"stage": "image", "picture": _picture(image), "class": label, "chance": float(chances[label])}
        for kind, guided in (("gradient", False), ("guided", True)):
            map_ = saliency_of(seen.net, seen.values, image, label, guided=guided)
            yield {"stage": "map", "kind": kind, "map": _maps(map_[:, :, np.newaxis])}
        yield {"stage": "map", "kind": "occlusion", "map": _maps(occlusion(model, image, label)[:, :, np.newaxis])}


def judged(asked: Asked) -> Iterator[Part]:
    """The confusion matrix over the images to look at, and the worst mistakes."""
    seen = _seen(asked)
    with seen.model(min(BATCH, len(seen.split))) as model:
        found = judge(model, seen.split)
    yield {
        "stage": "confusion",
        "counts": found.confusion().tolist(),
        "accuracy": found.accuracy,
        "images": len(found),
        "classes": seen.classes,
        "step": asked.get("step"),
    }
    for index in found.mistakes(WORST):
        (image,), _ = seen.split.take(np.array([index]))
        yield {
            "stage": "mistake",
            "index": int(index),
            "picture": _picture(image),
            "label": int(found.labels[index]),
            "said": int(found.predictions[index]),
            "chance": float(found.probabilities[index]),
        }


def _seen(asked: Asked) -> Seen:
    weights, images = Path(str(asked["weights"])), Path(str(asked["images"]))
    return _kept(weights, images, weights.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _kept(weights: Path, images: Path, written: int) -> Seen:
    return Seen(weights, images)


def _over_images(seen: Seen, names: set[str]) -> dict[str, list[int]]:
    """By ReLU: how many of its maps are 0 in every image that is looked at, of how many, over how many images."""
    each = sum(volume.H * volume.W * volume.D for volume in seen.net.volumes.values())
    count = max(1, min(BATCH, len(seen.split), MOST_VALUES // each))
    relus = {node.name for node in seen.net.trunk if isinstance(node.layer, ReLU)} & names
    if not relus:
        return {}
    images, _ = seen.split.take(np.arange(count))
    check_images(images, seen.net, count, "float32")
    with seen.model(count, each=True) as model:
        return {
            name: [int((values.reshape(-1, values.shape[-1]).max(axis=0) <= 0).sum()), values.shape[-1], count]
            for name, values in model.outputs(images)
            if name in relus
        }


def _maps(volume: np.ndarray) -> Part:
    """The first maps of a volume (H, W, D), in rows of bytes, map after map; of a vector its values as one row."""
    H, W, D = volume.shape
    step = -(-max(H, W) // MOST_SIDE)
    small = volume[::step, ::step]
    if H * W == 1:
        return _set(small.reshape(1, 1, D)[:, :, :1024], D, volume) | {"row": True}
    return _set(small.transpose(2, 0, 1)[:MOST_MAPS], D, volume)


def _filters(w: np.ndarray | None) -> Part | None:
    """Filters (K, F, F, D): in colours where D is 3, else each filter's first map; None for those of FC layers."""
    if w is None or w.ndim != 4:
        return None
    small = w[:MOST_MAPS]
    if w.shape[3] == 3:
        return _set(small, len(w), w) | {"colours": True}
    return _set(small[..., 0], len(w), w)


def _set(tiles: np.ndarray, count: int, whole: np.ndarray) -> Part:
    """Tiles (n, h, w) or (n, h, w, 3) as bytes, scaled together; `count`: of how many, `whole`: all their values."""
    low, high = float(whole.min()), float(whole.max())
    span = (high - low) or 1.0
    scaled = np.clip((tiles - low) / span * 255, 0, 255).astype(np.uint8)
    n, h, w = tiles.shape[:3]
    return {
        "n": n,
        "h": h,
        "w": w,
        "of": count,
        "low": low,
        "high": high,
        "bytes": b64encode(scaled.tobytes()).decode(),
    }


def _picture(image: np.ndarray) -> Part:
    """An image as it enters the net: colours as they are, grey, or the mean of its maps."""
    step = -(-max(image.shape[:2]) // (2 * MOST_SIDE))
    small = image[::step, ::step].astype(np.float64)
    colours = small if small.shape[2] == 3 else np.repeat(small.mean(axis=2, keepdims=True), 3, axis=2)
    return _set(colours[np.newaxis], 1, colours) | {"colours": True}


def _histogram(values: np.ndarray) -> Part:
    low, high = float(values.min()), float(values.max())
    counts, _ = np.histogram(values, BINS, (low, high if high > low else low + 1))
    return {"low": low, "high": high, "counts": counts.tolist()}
