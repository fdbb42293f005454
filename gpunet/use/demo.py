"""Find digits on a page: a net learns from crops of pages which digit is in the middle, if one is; then it slides.

The pages are composed of the digits that come with gpunet, dark on white: some to learn from, others to look for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from gpunet.data.dataset import Dataset, Split
from gpunet.data.digits import digits
from gpunet.model.model import Model
from gpunet.net.config import Config, TrainConfig
from gpunet.net.net import Net
from gpunet.net.pattern import parse
from gpunet.program.program import AnyDevice
from gpunet.train.trainer import Trainer, Watcher
from gpunet.use.sliding import ScoreMap

NOTHING = 10
CLASSES = (*map(str, range(10)), "nothing")

PATTERN = "[CONV3-16(P=0) -> RELU]*2 -> POOL2 -> CONV3-32(P=0) -> RELU -> FC-64 -> RELU -> FC-11"
"""Without padding, so that the scores of a page are exactly those of its crops."""

CROP, DIGIT = 12, 8
MARGIN = (CROP - DIGIT) // 2
PAGE = (96, 128)
DIGITS_OF_A_PAGE = 40
GAP = 2
"""Pixels between two digits, at least."""

NEAR = 1
"""Pixels by which a crop may miss a digit and still count as one of it; where it misses it by more than `FAR`, it is of
nothing. What is between is not learnt."""
FAR = 2

Place = tuple[int, int, int]
"""Row and column of a digit's first pixel, and which digit it is."""


@dataclass(frozen=True)
class Page:
    """(H, W, 1) uint8, dark on white, and where its digits are."""

    picture: np.ndarray
    places: tuple[Place, ...]


def demo_config(seed: int = 0, pattern: str = PATTERN) -> Config:
    """The net of the demo, or one of another pattern over the same crops, and how it is trained."""
    train = TrainConfig(epochs=5, batch=32, learning_rate=0.02, weight_decay=0.0005, schedule="cosine", seed=seed)
    layers = parse(pattern).layers
    net = Net((CROP, CROP, 1), layers, name="find_digits", scale=-2 / 255, shift=1.0)
    return Config(net, train, title="Digits on a page")


def compose(split: Split, rng: np.random.Generator, *, shape: tuple[int, int] = PAGE) -> Page:
    """A page of digits of the split, as many as find room in some tries, none nearer to another than `GAP`."""
    page, free = np.zeros(shape, np.uint8), np.ones(shape, bool)
    places: list[Place] = []
    for _ in range(20 * DIGITS_OF_A_PAGE):
        row, column = (int(rng.integers(MARGIN, size - DIGIT - MARGIN + 1)) for size in shape)
        if len(places) < DIGITS_OF_A_PAGE and free[row : row + DIGIT, column : column + DIGIT].all():
            which = int(rng.integers(len(split)))
            page[row : row + DIGIT, column : column + DIGIT] = split.images[which, :, :, 0]
            free[row - GAP : row + DIGIT + GAP, column - GAP : column + DIGIT + GAP] = False
            places.append((row, column, int(split.labels[which])))
    return Page((255 - np.rint(page * (255 / 16))).astype(np.uint8)[..., np.newaxis], tuple(places))


def crops(pages: Sequence[Page], rng: np.random.Generator) -> Split:
    """What is to be learnt from pages: for each digit two crops around it, and two of nothing."""
    images, labels = [], []
    for page in pages:
        H, W, _ = page.picture.shape
        wanted = [(r - MARGIN + dr, c - MARGIN + dc, label) for r, c, label in page.places for dr, dc in _near(rng, 2)]
        for top, left in zip(rng.integers(0, H - CROP + 1, 400), rng.integers(0, W - CROP + 1, 400), strict=True):
            if _is_nothing(page, int(top), int(left)):
                wanted.append((int(top), int(left), NOTHING))
            if len(wanted) == 4 * len(page.places):
                break
        for top, left, label in wanted:
            top, left = min(max(top, 0), H - CROP), min(max(left, 0), W - CROP)
            images.append(page.picture[top : top + CROP, left : left + CROP])
            labels.append(label)
    return Split(np.array(images), np.array(labels))


def _near(rng: np.random.Generator, count: int) -> list[tuple[int, int]]:
    return [(int(row), int(column)) for row, column in rng.integers(-NEAR, NEAR + 1, (count, 2))]


def _is_nothing(page: Page, top: int, left: int) -> bool:
    return all(max(abs(top - r + MARGIN), abs(left - c + MARGIN)) > FAR for r, c, _ in page.places)


def demo_data(seed: int = 0, pages: int = 60) -> Dataset:
    """Crops of pages to learn from, and of a quarter as many to test on, each of digits of their own.

    Nothing is chosen by the test: the weights after the last epoch are those that the demo uses.
    """
    rng = np.random.default_rng(seed)
    counts = pages, pages // 4
    train, test = (
        crops([compose(split, rng) for _ in range(count)], rng) for split, count in zip(_digits(), counts, strict=True)
    )
    return Dataset("digits on pages", train, test, classes=CLASSES)


def _digits() -> tuple[Split, Split]:
    """The digits to learn from, and those to look for."""
    source = digits()
    assert isinstance(source.train, Split) and isinstance(source.test, Split)  # they are in memory
    return source.train, source.test


def learn(config: Config, data: Dataset, device: AnyDevice, watchers: Sequence[Watcher] = ()) -> dict[str, np.ndarray]:
    """The weights after training."""
    told = config.train
    options: dict[str, Any] = {"optimizer": told.learning, "seed": told.seed, "learning_rate": told.learning_rate}
    with Model(config.net, told.batch, device, **options) as model:
        Trainer(model, data, epochs=told.epochs, seed=told.seed, schedule=told.schedule, watchers=watchers).run()
        return dict(model.parameters)


def new_page(seed: int = 0) -> Page:
    """A page of digits that are not learnt from."""
    return compose(_digits()[1], np.random.default_rng([seed, 1]))


def find(scored: ScoreMap, least: float = 0.5) -> list[Place]:
    """Where digits are: the crops in which one is more probable than `least`, and than in any crop nearby."""
    digit = chances(scored)
    best = digit.max(axis=2)
    found: list[Place] = []
    for at in np.argsort(-best, axis=None, kind="stable"):
        row, column = divmod(int(at), best.shape[1])
        if best[row, column] < least:
            break
        top, left = row * scored.stride[0] + MARGIN, column * scored.stride[1] + MARGIN
        if all(max(abs(top - r), abs(left - c)) > DIGIT // 2 for r, c, _ in found):
            found.append((top, left, int(digit[row, column].argmax())))
    return found


def chances(scored: ScoreMap) -> np.ndarray:
    """(rows, columns, 10): the probability of each digit, as the mean over the crops within `NEAR` pixels.

    Crops that miss a digit by so little were learnt as it. At the edges the last crops count again.
    """
    rows, columns = (NEAR // step for step in scored.stride)
    digit = scored.probabilities[:, :, :NOTHING]
    wide = np.pad(digit, ((rows, rows), (columns, columns), (0, 0)), mode="edge")
    mean: np.ndarray = sliding_window_view(wide, (2 * rows + 1, 2 * columns + 1), axis=(0, 1)).mean(axis=(-2, -1))
    return mean


def told_right(found: Sequence[Place], page: Page) -> list[bool]:
    """Of what was found, whether there is that digit, within `FAR` pixels."""
    return [
        any(label == digit and max(abs(row - r), abs(column - c)) <= FAR for r, c, digit in page.places)
        for row, column, label in found
    ]
