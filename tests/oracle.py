"""What every op must give, in float64, from its definition: plain loops over images, positions and filters."""

from collections.abc import Iterator
from math import exp, fsum, isnan, log, sqrt
from typing import Any

import numpy as np


def seen(size: int, position: int, F: int, S: int, P: int, dilation: int = 1) -> Iterator[tuple[int, int]]:
    """(offset in the window, index in the input) of what a window at `position` sees of an axis of `size`."""
    for offset in range(F):
        index = position * S - P + offset * dilation
        if 0 <= index < size:
            yield offset, index


def conv_products(
    x: tuple[int, ...], w: tuple[int, ...], y: tuple[int, ...], *,
    S_rows: int, S_columns: int, P_top: int, P_left: int, dilation_rows: int, dilation_columns: int
) -> Iterator[tuple[tuple[int, ...], tuple[Any, ...], tuple[Any, ...]]]:  # fmt: skip
    """(index in y, vector of x, vector of w) of every product of a convolution of these shapes.

    Filter k of K in so many groups sees the maps of group k // (K / groups).
    """
    _, H, W, D = x
    K, F_rows, F_columns, maps = w
    for n, h, v, k in np.ndindex(*y):
        first = k // (K // (D // maps)) * maps
        for i, row in seen(H, h, F_rows, S_rows, P_top, dilation_rows):
            for j, column in seen(W, v, F_columns, S_columns, P_left, dilation_columns):
                yield (n, h, v, k), (n, row, column, slice(first, first + maps)), (k, i, j)


def conv_forward(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, H2: int, W2: int, **numbers: int) -> np.ndarray:
    x, w = (np.asarray(a, np.float64) for a in (x, w))
    y = np.zeros((len(x), H2, W2, len(w)))
    for at, seen_at, weights in conv_products(x.shape, w.shape, y.shape, **numbers):
        y[at] += sum(x[seen_at] * w[weights])
    return y if b is None else y + np.asarray(b, np.float64)


def conv_backward(x: np.ndarray, w: np.ndarray, dy: np.ndarray, **numbers: int) -> tuple[np.ndarray, np.ndarray]:
    """dx and dw: each product x*w of the forward sum sends dy to both its factors."""
    x, w, dy = (np.asarray(a, np.float64) for a in (x, w, dy))
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for at, seen_at, weights in conv_products(x.shape, w.shape, dy.shape, **numbers):
        dx[seen_at] += w[weights] * dy[at]
        dw[weights] += x[seen_at] * dy[at]
    return dx, dw


def local_forward(x: np.ndarray, w: np.ndarray, b: np.ndarray, *, F: int, S: int, P: int) -> np.ndarray:
    x, w, b = (np.asarray(a, np.float64) for a in (x, w, b))
    N, H, W, _ = x.shape
    y = np.empty((N, *w.shape[:3]))
    for n, h, v, k in np.ndindex(*y.shape):
        total = b[h, v, k]
        for i, row in seen(H, h, F, S, P):
            for j, column in seen(W, v, F, S, P):
                total += sum(x[n, row, column] * w[h, v, k, i, j])
        y[n, h, v, k] = total
    return y


def local_backward(
    x: np.ndarray, w: np.ndarray, dy: np.ndarray, *, F: int, S: int, P: int
) -> tuple[np.ndarray, np.ndarray]:
    """dx and dw: each product x*w of the forward sum sends dy to both its factors."""
    x, w, dy = (np.asarray(a, np.float64) for a in (x, w, dy))
    H, W = x.shape[1:3]
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for n, h, v, k in np.ndindex(*dy.shape):
        for i, row in seen(H, h, F, S, P):
            for j, column in seen(W, v, F, S, P):
                dx[n, row, column] += w[h, v, k, i, j] * dy[n, h, v, k]
                dw[h, v, k, i, j] += x[n, row, column] * dy[n, h, v, k]
    return dx, dw


def max_pool(x: np.ndarray, H2: int, W2: int, *, F: int, S: int, P: int) -> tuple[np.ndarray, np.ndarray]:
    """y and switches."""
    x = np.asarray(x, np.float64)
    N, H, W, D = x.shape
    y, switches = np.empty((N, H2, W2, D)), np.empty((N, H2, W2, D), int)
    for n, h, v, d in np.ndindex(*y.shape):
        window = [
            (x[n, row, column, d], i * F + j) for i, row in seen(H, h, F, S, P) for j, column in seen(W, v, F, S, P)
        ]
        best, where = window[0]
        for value, number in window[1:]:
            if not isnan(best) and (isnan(value) or value > best):
                best, where = value, number
        y[n, h, v, d], switches[n, h, v, d] = best, where
    return y, switches


def in_halves(numbers: np.ndarray) -> np.ndarray:
    """Numbers below 16, (..., D) -> (..., ceil(D/2)) bytes: of two neighbours the first in the lower half."""
    *places, D = numbers.shape
    found = np.zeros((*places, -(-D // 2)), np.uint8)
    for d in range(D):
        found[..., d // 2] += np.uint8(16 if d % 2 else 1) * numbers[..., d].astype(np.uint8)
    return found


def of_halves(found: np.ndarray, D: int) -> np.ndarray:
    """What `in_halves` was made of; what is left over must be 0."""
    if D % 2:
        assert (found[..., -1] < 16).all()
    return np.stack([found[..., d // 2] // 16 if d % 2 else found[..., d // 2] % 16 for d in range(D)], axis=-1)


def max_pool_backward(
    dy: np.ndarray, switches: np.ndarray, shape: tuple[int, ...], *, F: int, S: int, P: int
) -> np.ndarray:
    dx = np.zeros(shape)
    for n, h, v, d in np.ndindex(*dy.shape):
        i, j = divmod(int(switches[n, h, v, d]), F)
        dx[n, h * S - P + i, v * S - P + j, d] += float(dy[n, h, v, d])
    return dx


def windows(
    shape: tuple[int, ...], H: int, W: int, *, F: int, S: int, P: int
) -> Iterator[tuple[tuple[int, ...], list[tuple[int, ...]]]]:
    """(index in y, indices in x of what that window sees) for every value of a y of this shape."""
    for n, h, v, d in np.ndindex(*shape):
        rows, columns = list(seen(H, h, F, S, P)), list(seen(W, v, F, S, P))
        yield (n, h, v, d), [(n, row, column, d) for _, row in rows for _, column in columns]


def average_pool(x: np.ndarray, H2: int, W2: int, **geometry: int) -> np.ndarray:
    y = np.empty((len(x), H2, W2, x.shape[3]))
    for at, places in windows(y.shape, *x.shape[1:3], **geometry):
        y[at] = sum(float(x[place]) for place in places) / len(places)
    return y


def average_pool_backward(dy: np.ndarray, shape: tuple[int, ...], **geometry: int) -> np.ndarray:
    dx = np.zeros(shape)
    for at, places in windows(dy.shape, *shape[1:3], **geometry):
        for place in places:
            dx[place] += float(dy[at]) / len(places)
    return dx


def l2_pool(x: np.ndarray, H2: int, W2: int, **geometry: int) -> np.ndarray:
    y = np.empty((len(x), H2, W2, x.shape[3]))
    for at, places in windows(y.shape, *x.shape[1:3], **geometry):
        y[at] = sqrt(sum(float(x[place]) ** 2 for place in places))
    return y


def l2_pool_backward(dy: np.ndarray, x: np.ndarray, y: np.ndarray, **geometry: int) -> np.ndarray:
    dx = np.zeros(x.shape)
    for at, places in windows(dy.shape, *x.shape[1:3], **geometry):
        for place in places:
            dx[place] += float(dy[at]) * float(x[place]) / float(y[at]) if y[at] else 0
    return dx


def relu(x: np.ndarray) -> np.ndarray:
    values = [value if isnan(value) or value > 0 else 0.0 for value in x.reshape(-1).tolist()]
    return np.array(values).reshape(x.shape)


def relu_backward(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    pairs = zip(dy.reshape(-1).tolist(), y.reshape(-1).tolist(), strict=True)
    return np.array([above if value > 0 or isnan(value) else 0.0 for above, value in pairs]).reshape(dy.shape)


def relu_mask(y: np.ndarray) -> np.ndarray:
    """A bit for each value of an image, the first in the lowest bit of a byte."""
    mask = np.zeros((len(y), -(-y[0].size // 8)), np.uint8)
    for n, image in enumerate(y):
        for i, value in enumerate(image.reshape(-1).tolist()):
            if value > 0 or isnan(value):
                mask[n, i // 8] |= 1 << i % 8
    return mask


def leaky_relu(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.array([v if isnan(v) or v > 0 else alpha * v for v in x.reshape(-1).tolist()]).reshape(x.shape)


def leaky_relu_backward(dy: np.ndarray, y: np.ndarray, alpha: float) -> np.ndarray:
    pairs = zip(dy.reshape(-1).tolist(), y.reshape(-1).tolist(), strict=True)
    return np.array([above if value > 0 or isnan(value) else alpha * above for above, value in pairs]).reshape(dy.shape)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.array([1 / (1 + exp(-v)) if v > 0 else exp(v) / (1 + exp(v)) for v in x.reshape(-1).tolist()]).reshape(
        x.shape
    )


def philox(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """Philox 4x32 of ten rounds, as the paper's section 3.3 writes it: L and R of two halves, S-boxes by products."""
    word = 2**32
    (r0, l0), (r1, l1) = counter[:2], counter[2:]
    for number in range(10):
        k0, k1 = (key[0] + number * 0x9E3779B9) % word, (key[1] + number * 0xBB67AE85) % word
        high0, low0 = divmod(r0 * 0xD2511F53, word)
        high1, low1 = divmod(r1 * 0xCD9E8D57, word)
        r0, l0, r1, l1 = high1 ^ l0 ^ k0, low1, high0 ^ l1 ^ k1, low0
    return r0, l0, r1, l1


def dropout(x: np.ndarray, p: float, seed: int, step: int, layer: int, first_image: int) -> np.ndarray:
    y = np.zeros(x.size)
    first = first_image * x[0].size
    for i, value in enumerate(x.reshape(-1).tolist()):
        group, which = divmod(first + i, 4)
        counter = group % 2**32, group // 2**32, step, layer
        if philox(counter, (seed % 2**32, seed // 2**32))[which] >= p * 2**32:
            y[i] = value / (1 - p)
    return y.reshape(x.shape)


def _near(at: int, size: int, extent: int) -> range:
    """The positions of an axis that a box of odd extent around `at` holds."""
    return range(max(0, at - extent // 2), min(size, at + extent // 2 + 1))


def lrn(x: np.ndarray, F: int, maps: int, alpha: float, beta: float, k: float) -> np.ndarray:
    return x * _lrn_scale(np.asarray(x, np.float64), F, maps, alpha, k) ** -beta


def _lrn_scale(x: np.ndarray, F: int, maps: int, alpha: float, k: float) -> np.ndarray:
    _, H, W, D = x.shape
    scale = np.empty(x.shape)
    for n, h, w, d in np.ndindex(*x.shape):
        box = x[n][np.ix_(_near(h, H, F), _near(w, W, F), _near(d, D, maps))]
        scale[n, h, w, d] = k + alpha * sum(value * value for value in box.reshape(-1).tolist())
    return scale


def lrn_backward(dy: np.ndarray, x: np.ndarray, F: int, maps: int, alpha: float, beta: float, k: float) -> np.ndarray:
    """Every y sends its gradient to its own x and, through its scale, to all of its box."""
    dy, x = (np.asarray(a, np.float64) for a in (dy, x))
    _, H, W, D = x.shape
    scale, dx = _lrn_scale(x, F, maps, alpha, k), np.zeros(x.shape)
    for n, h, w, d in np.ndindex(*x.shape):
        dx[n, h, w, d] += dy[n, h, w, d] * scale[n, h, w, d] ** -beta
        dscale = -beta * dy[n, h, w, d] * x[n, h, w, d] * scale[n, h, w, d] ** (-beta - 1)
        for i in _near(h, H, F):
            for j in _near(w, W, F):
                for m in _near(d, D, maps):
                    dx[n, i, j, m] += dscale * alpha * 2 * x[n, i, j, m]
    return dx


def fc_forward(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    x, w, b = (np.asarray(a, np.float64) for a in (x, w, b))
    y = np.empty((len(x), 1, 1, len(w)))
    for n, k in np.ndindex(len(x), len(w)):
        y[n, 0, 0, k] = b[k] + sum(x[n].reshape(-1) * w[k])
    return y


def fc_backward(x: np.ndarray, w: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """dx and dw."""
    x, w, dy = (np.asarray(a, np.float64) for a in (x, w, dy))
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for n, k in np.ndindex(len(x), len(w)):
        dx[n] += dy[n, 0, 0, k] * w[k].reshape(x.shape[1:])
        dw[k] += dy[n, 0, 0, k] * x[n].reshape(-1)
    return dx, dw


def bias_backward(dy: np.ndarray) -> np.ndarray:
    db = np.zeros(dy.shape[-1])
    for row in np.asarray(dy, np.float64).reshape(-1, dy.shape[-1]):
        db += row
    return db


def softmax(scores: np.ndarray, labels: np.ndarray, smoothing: float = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, losses and hits."""
    rows = np.asarray(scores, np.float64).reshape(len(labels), -1)
    p, losses, hits = np.empty_like(rows), np.empty(len(rows)), np.zeros(len(rows), int)
    for n, row in enumerate(rows.tolist()):
        highest = max(row)
        exponents = [exp(score - highest) for score in row]
        p[n] = [value / sum(exponents) for value in exponents]
        each = [log(sum(exponents)) + highest - score for score in row]
        losses[n] = (1 - smoothing) * each[labels[n]] + (smoothing * sum(each) / len(row) if smoothing else 0)
        hits[n] = row.index(highest) == labels[n]
    return p.reshape(scores.shape), losses, hits


def softmax_backward(scores: np.ndarray, labels: np.ndarray, smoothing: float = 0) -> np.ndarray:
    """The gradient of the mean loss with respect to the scores."""
    p = softmax(scores, labels)[0]
    for n, k in np.ndindex(len(labels), p.shape[-1]):
        p[n, 0, 0, k] -= smoothing / p.shape[-1] + (1 - smoothing) * (k == labels[n])
    return p / len(labels)


def hinge(
    scores: np.ndarray, labels: np.ndarray, margin: float, squared: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Losses, hits and the gradient of the mean loss with respect to the scores."""
    rows = np.asarray(scores, np.float64).reshape(len(labels), -1)
    losses, hits, dx = np.zeros(len(rows)), np.zeros(len(rows), int), np.zeros_like(rows)
    for n, row in enumerate(rows.tolist()):
        hits[n] = row.index(max(row)) == labels[n]
        for k, score in enumerate(row):
            excess = score - row[labels[n]] + margin
            if k != labels[n] and excess > 0:
                losses[n] += excess**2 if squared else excess
                slope = 2 * excess if squared else 1
                dx[n, k] += slope / len(rows)
                dx[n, labels[n]] -= slope / len(rows)
    return losses, hits, dx.reshape(scores.shape)


def numeric_gradient(loss, at: np.ndarray, *, step: float = 1e-6) -> np.ndarray:
    """Central differences of loss(at), one value of `at` at a time; at is float64 and left as it was."""
    gradient = np.empty_like(at)
    for index in np.ndindex(*at.shape):
        value = at[index]
        at[index] = value + step
        above = loss(at)
        at[index] = value - step
        gradient[index] = (above - loss(at)) / (2 * step)
        at[index] = value
    return gradient


def batch_norm(
    x: np.ndarray, scale: np.ndarray, shift: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y, and the mean and the variance of each map."""
    x = np.asarray(x, np.float64)
    D = x.shape[-1]
    y, mean, variance = np.empty_like(x), np.empty(D), np.empty(D)
    for d in range(D):
        values = x[..., d].ravel().tolist()
        mean[d] = fsum(values) / len(values)
        variance[d] = fsum((value - mean[d]) ** 2 for value in values) / len(values)
        for n, h, w in np.ndindex(*x.shape[:3]):
            y[n, h, w, d] = (x[n, h, w, d] - mean[d]) / sqrt(variance[d] + eps) * scale[d] + shift[d]
    return y, mean, variance


def batch_norm_backward(
    dy: np.ndarray, x: np.ndarray, scale: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dx, dscale and dshift, by the chain rule of Ioffe & Szegedy 2015, section 3: through variance, then mean."""
    dy, x = (np.asarray(a, np.float64) for a in (dy, x))
    D = x.shape[-1]
    dx, dscale, dshift = np.empty_like(x), np.empty(D), np.empty(D)
    normal, mean, variance = batch_norm(x, np.ones(D), np.zeros(D), eps)
    for d in range(D):
        m, above, centred = x[..., d].size, dy[..., d] * scale[d], x[..., d] - mean[d]
        dvariance = fsum((above * centred).ravel()) * -0.5 * (variance[d] + eps) ** -1.5
        dmean = fsum(above.ravel()) * -1 / sqrt(variance[d] + eps) + dvariance * -2 * fsum(centred.ravel()) / m
        dx[..., d] = above / sqrt(variance[d] + eps) + dvariance * 2 * centred / m + dmean / m
        dscale[d] = fsum((dy[..., d] * normal[..., d]).ravel())
        dshift[d] = fsum(dy[..., d].ravel())
    return dx, dscale, dshift


TOLERANCE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-12}
"""Largest error of an op against float64 loops, relative to the largest value."""


def assert_near(found: np.ndarray, expected: np.ndarray, tolerance: float | None = None) -> None:
    """Same shape, NaN and infinities in the same places, and finite values as near as the dtype allows."""
    assert found.shape == expected.shape
    limit = TOLERANCE[found.dtype] if tolerance is None else tolerance
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(found[~finite], expected[~finite])
    if finite.any():
        error = np.abs(found[finite] - expected[finite]).max()
        largest = max(np.abs(expected[finite]).max(), 1e-30)
        assert error <= limit * largest, f"off by {error:.3g}; the largest value is {largest:.3g}"


def augment(
    x: np.ndarray,
    shape: tuple[int, ...],
    *,
    P: int = 0,
    mirror: int = 0,
    contrast: float = 0,
    brightness: float = 0,
    saturation: float = 0,
    scales: tuple[float, ...] = (1, 1, 1),
    shifts: tuple[float, ...] = (0, 0, 0),
    seed: int = 0,
    seen: int = 0,
    layer: int = 0,
    first_image: int = 0,
    training: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """y of this shape, and what was chosen, in fractions as exact as they come."""
    (N, H, W, D), (H0, W0) = shape, x.shape[1:3]
    y, choices = np.zeros(shape), np.zeros((N, 7))
    weights = (0.299, 0.587, 0.114) if D == 3 else (1 / D,) * D

    def grey(pixel) -> float:
        return sum(float(value) * weight for value, weight in zip(pixel, weights, strict=True))

    for n in range(N):
        words: list[int] = []
        for group in (2 * (seen + first_image + n), 2 * (seen + first_image + n) + 1):
            words += philox((group % 2**32, group // 2**32, 0, layer), (seed % 2**32, seed // 2**32))
        u = [word / 2**32 for word in words]
        down, across = H0 + 2 * P - H, W0 + 2 * P - W
        top, left = (int(u[0] * (down + 1)), int(u[1] * (across + 1))) if training else (down // 2, across // 2)
        mirrored = bool(training and mirror and u[2] < 0.5)
        factors = [
            1 + amount * (2 * v - 1) if training else 1
            for amount, v in zip((contrast, brightness, saturation), u[3:6], strict=True)
        ]
        window = np.pad(x[n], ((P, P), (P, P), (0, 0)))[top : top + H, left : left + W].astype(np.float64)
        if mirrored:
            window = window[:, ::-1]
        mean = sum(grey(window[place]) for place in np.ndindex(H, W)) / (H * W) if training and contrast else 0.0
        choices[n] = top - P, left - P, mirrored, *factors, mean
        for h, w in np.ndindex(H, W):
            tones = [min(max(factors[0] * p + (1 - factors[0]) * mean, 0), 255) for p in window[h, w].tolist()]
            tones = [min(factors[1] * v, 255) for v in tones]
            tones = [min(max(factors[2] * v + (1 - factors[2]) * grey(tones), 0), 255) for v in tones]
            y[n, h, w] = [v * scales[min(d, 2)] + shifts[min(d, 2)] for d, v in enumerate(tones)]
    return y, choices
