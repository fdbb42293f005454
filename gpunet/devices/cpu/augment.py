"""Augmentation on the CPU: a random window, a random mirror image, random colours, then mean and deviation.

Source: CS231n "Data Preprocessing"; random windows of padded images and mirror images: He et al. 2016, "Deep Residual
Learning", section 4.2; colours: Howard 2013, "Some Improvements on Deep Convolutional Neural Network Based Image
Classification".
"""

import numpy as np

from gpunet.devices.cpu.random import random_words
from gpunet.devices.cpu.threads import BLOCK, share

__all__ = ["augment"]

_GREY = 299, 587, 114
"""Thousandths of red, green and blue in grey (ITU-R BT.601)."""


def augment(
    x: np.ndarray,
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
    y        (N, H, W, D)     float32 or float64, out;  H <= H0 + 2P, W <= W0 + 2P, P < H, W
    choices  (N, 7)           y's dtype, out: top, left, mirrored, contrast, brightness, saturation, mean grey
    mirror   1: half of the images are mirrored
    contrast, brightness, saturation
             0 <= amount <= 1; saturation above 0 only for three maps
    scale_*, shift_*  of map 0, 1, and of all others
    seed, layer, first_image, training   as in `dropout`
    seen     images learnt from before this batch: what is drawn for an image depends on its number in the run alone

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

    first = seen + first_image

    def some(images: range, worker: int) -> None:
        part = slice(images.start, images.stop)
        groups = np.arange(2 * (first + part.start), 2 * (first + part.stop), dtype=np.uint64)
        words = random_words(groups, 0, layer, seed).reshape(-1, 8)
        _choose(words, x[part], y[part], choices[part], P, mirror, amounts, training)
        for n, place in zip(images, choices[part, :3].astype(int).tolist(), strict=True):
            _cut(x[n], y[n], *place)
            if amounts.any():
                _recolour(y[n], amounts, choices[n, 3:])
        rows = y[part].reshape(-1, W * D)
        np.multiply(rows, scale, out=rows)
        np.add(rows, shift, out=rows)

    together = max(1, BLOCK // max(1, H * W * D))
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
    """Fill `choices` for some images by their random words, (N, 8)."""
    (N, H0, W0, D), (H, W) = x.shape, y.shape[1:3]
    for which, room in enumerate((H0 + 2 * P - H, W0 + 2 * P - W)):
        drawn = words[:, which] * np.uint64(room + 1) >> np.uint64(32)
        choices[:, which] = (drawn.astype(np.int64) if training else room // 2) - P
    choices[:, 2] = words[:, 2] < 2**31 if training and mirror else 0
    # in y's dtype, as a kernel computes them
    fractions = words[:, 3:6].astype(y.dtype) * y.dtype.type(2**-32)
    amounts = amounts.astype(y.dtype)
    choices[:, 3:6] = (1 - amounts) + 2 * amounts * fractions
    choices[:, 6] = 0
    if amounts[0]:
        weights, whole = (_GREY, 1000) if D == 3 else ((1,) * D, D)
        for n in range(N):
            top, left = choices[n, :2].astype(int).tolist()
            maps = x[n, max(0, top) : top + H, max(0, left) : left + W].sum(axis=(0, 1), dtype=np.int64)
            choices[n, 6] = y.dtype.type(int(maps @ weights)) / y.dtype.type(whole * H * W)


def _by_map(D: int, first: float, second: float, others: float) -> list[float]:
    return [first, second, *[others] * max(0, D - 2)][:D]


def _cut(image: np.ndarray, out: np.ndarray, top: int, left: int, mirrored: int) -> None:
    """The window of `image` that begins at (top, left), 0 where there is no image."""
    H, W, _ = out.shape
    seen = image[max(0, top) : top + H, max(0, left) : left + W]
    if seen.shape != out.shape:
        out.fill(0)
    target = out[:, ::-1] if mirrored else out
    down, across = max(0, -top), max(0, -left)
    np.copyto(target[down : down + seen.shape[0], across : across + seen.shape[1]], seen)


def _recolour(v: np.ndarray, amounts: np.ndarray, chosen: np.ndarray) -> None:
    """Contrast, brightness and saturation of one image, in place; a factor of 1 would change no bit."""
    contrast, brightness, saturation, mean = chosen
    if amounts[0]:
        v *= contrast
        v += (1 - contrast) * mean
        np.clip(v, 0, 255, out=v)
    if amounts[1]:
        v *= brightness
        np.clip(v, 0, 255, out=v)
    if amounts[2]:
        grey = v @ (np.array(_GREY) / 1000).astype(v.dtype)
        v *= saturation
        v += ((1 - saturation) * grey)[..., np.newaxis]
        np.clip(v, 0, 255, out=v)
