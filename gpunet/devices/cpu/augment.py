"""Augmentation on the CPU: a random window, a random mirror image, random colours, then mean and deviation.

Source: CS231n "Data Preprocessing"; random windows of padded images and mirror images: He et al. 2016, "Deep Residual
Learning", section 4.2; colours: Howard 2013, "Some Improvements on Deep Convolutional Neural Network Based Image
Classification".
"""

import numpy as np

from gpunet.devices.cpu.halves import by_image
from gpunet.devices.cpu.random import random_words
from gpunet.devices.cpu.threads import BLOCK, share

__all__ = ["augment"]

AT_ONCE = 8 * BLOCK
"""Values of a worker's turn: with fewer, threads wait for Python's lock longer than they compute."""
_GREY = 299, 587, 114
"""Thousandths of red, green and blue in grey (ITU-R BT.601)."""


@by_image("y", whole=("numbers",))
def augment(
    x: np.ndarray,
    numbers: np.ndarray,
    y: np.ndarray,
    choices: np.ndarray,
    *,
    P: int,
    mirror: int,
    contrast: float,
    brightness: float,
    saturation: float,
    scale_0: float,
    scale_1: float,
    scale_2: float,
    shift_0: float,
    shift_1: float,
    shift_2: float,
    seed: int,
    seen: int,
    layer: int,
    first_image: int,
    training: int,
) -> None:
    """y = images cut out of x, perhaps mirrored and recoloured, times scale plus shift of each map.

    x        (N, H0, W0, D)   uint8, in
    numbers  (...)            float64, in: the numbers that change from step to step
    y        (N, H, W, D)     float32 or float64, out;  H <= H0 + 2P, W <= W0 + 2P, P < H, W
    choices  (N, 7)           y's dtype, out: top, left, mirrored, contrast, brightness, saturation, mean grey
    mirror   1: half of the images are mirrored
    contrast, brightness, saturation
             0 <= amount <= 1; saturation above 0 only for three maps
    scale_*, shift_*  of map 0, 1, and of all others
    seed, layer, first_image, training   as in `dropout`
    seen     where in numbers stands how many images were learnt from before this batch: what is drawn for an image
             depends on its number in the run alone

    With u the eight words of groups 2i and 2i + 1 of image i = seen + first_image + n, step 0, as fractions below 1:
    the window begins at top = floor(u0*(H0 + 2P - H + 1)) - P, left likewise by u1; it is 0 outside of x, and mirrored
    where u2 < 1/2 and `mirror`. The factors are 1 + amount*(2u - 1) by u3 (contrast), u4 (brightness), u5 (saturation):
    v = contrast*pixel + (1 - contrast)*m, m the mean grey of the window; v = brightness*v;
    v = saturation*v + (1 - saturation)*grey(v); each held within 0..255. Grey is 0.299 red + 0.587 green + 0.114 blue,
    or the mean of the maps where they are not three. Where not training, the window is the middle, nothing is
    mirrored and all factors are 1; `mean grey` is 0 where contrast is, or where not training.
    """
    N, H, W, D = y.shape
    amounts = np.array([contrast, brightness, saturation]) if training else np.zeros(3)
    scale = np.tile(_by_map(D, scale_0, scale_1, scale_2), W).astype(y.dtype)
    shift = np.tile(_by_map(D, shift_0, shift_1, shift_2), W).astype(y.dtype)

    groups = 2 * (int(numbers[seen]) + first_image) + np.arange(2 * N, dtype=np.uint64)
    words = random_words(groups, 0, layer, seed).reshape(-1, 8)
    _choose(words, x, y, choices, P, mirror, amounts, training)
    places = choices[:, :3].astype(int).tolist()

    def some(images: range, worker: int) -> None:
        part = slice(images.start, images.stop)
        for n in images:
            _cut(x[n], y[n], *places[n])
        if amounts.any():
            _recolour(y[part], amounts, choices[part, 3:])
        rows = y[part].reshape(-1, W * D)
        np.multiply(rows, scale, out=rows)
        np.add(rows, shift, out=rows)

    together = max(1, AT_ONCE // max(1, H * W * D))
    share((range(start, min(start + together, N)) for start in range(0, N, together)), some)


def _choose(
    words: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    choices: np.ndarray,
    P: int,
    mirror: int,
    amounts: np.ndarray,
    training: int,
) -> None:
    """Fill `choices` by the images' random words, (N, 8), but for the mean grey, which is 0."""
    (_, H0, W0, _), (H, W) = x.shape, y.shape[1:3]
    for which, room in enumerate((H0 + 2 * P - H, W0 + 2 * P - W)):
        drawn = words[:, which] * np.uint64(room + 1) >> np.uint64(32)
        choices[:, which] = (drawn.astype(np.int64) if training else room // 2) - P
    choices[:, 2] = words[:, 2] < 2**31 if training and mirror else 0
    # in y's dtype, as a kernel computes them
    fractions = words[:, 3:6].astype(y.dtype) * y.dtype.type(2**-32)
    amounts = amounts.astype(y.dtype)
    choices[:, 3:6] = (1 - amounts) + 2 * amounts * fractions
    choices[:, 6] = 0


def _by_map(D: int, first: float, second: float, others: float) -> list[float]:
    return [first, second, *[others] * max(0, D - 2)][:D]


def _cut(image: np.ndarray, out: np.ndarray, top: int, left: int, mirrored: int) -> None:
    """The window of `image` that begins at (top, left), 0 where there is no image."""
    H, W, D = out.shape
    seen = image[max(0, top) : top + H, max(0, left) : left + W]
    if seen.shape != out.shape:
        out.fill(0)
    height, width, _ = seen.shape
    down, across = max(0, -top), max(0, -left)
    if mirrored:
        seen, across = seen[:, ::-1], W - across - width
    target = out[down : down + height, across : across + width]
    if mirrored:
        for d in range(D):  # map by map: NumPy is slow in turning pixels of a few maps around
            np.copyto(target[..., d], seen[..., d])
    else:
        np.copyto(target, seen)


def _recolour(v: np.ndarray, amounts: np.ndarray, chosen: np.ndarray) -> None:
    """Contrast, brightness and saturation of some images, in place; a factor of 1 would change no bit."""
    contrast, brightness, saturation = (chosen[:, [k], np.newaxis, np.newaxis] for k in range(3))
    if amounts[0]:
        chosen[:, 3] = _mean_grey(v)
        v *= contrast
        v += (1 - contrast) * chosen[:, [3], np.newaxis, np.newaxis]
        np.clip(v, 0, 255, out=v)
    if amounts[1]:
        v *= brightness
        np.clip(v, 0, 255, out=v)
    if amounts[2]:
        grey = (1 - saturation) * np.reshape(_GREY, (3, 1)).astype(v.dtype) / 1000
        mixed = v.reshape(len(v), -1, 3) @ (saturation[..., 0] * np.eye(3, dtype=v.dtype) + grey[:, 0])
        np.clip(mixed.reshape(v.shape), 0, 255, out=v)


def _mean_grey(v: np.ndarray) -> np.ndarray:
    """(N,) of each image, whose values are whole numbers: their sums are exact."""
    _, H, W, D = v.shape
    weights, whole = (_GREY, 1000) if D == 3 else ((1,) * D, D)
    columns = v.sum(axis=1)  # below 2**24 where H is below 2**16: exact in float32, too
    sums: np.ndarray = columns.sum(axis=1, dtype=np.float64) @ np.array(weights, np.float64)
    means: np.ndarray = sums.astype(v.dtype) / v.dtype.type(whole * H * W)
    return means
