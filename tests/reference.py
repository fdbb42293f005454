"""A whole net in float64 from the definitions: window by window, no im2col, no plan, no arena.

The judge of Model: scores, mean loss and every gradient of a chain of conv, pool, relu and fc layers.
"""

from dataclasses import dataclass

import numpy as np

from gpunet import FC, Conv, Hinge, MaxPool, Net, ReLU, SoftmaxCrossEntropy
from gpunet.program.volume import pair, sides


@dataclass
class Result:
    """Scores (n, classes), mean loss, gradients by parameter name."""

    scores: np.ndarray
    loss: float
    gradients: dict[str, np.ndarray]


def run(net: Net, parameters: dict[str, np.ndarray], images: np.ndarray, labels: np.ndarray) -> Result:
    """Forward and backward through `net` with these parameters."""
    values = {name: np.asarray(value, np.float64) for name, value in parameters.items()}
    x = images * net.scale + net.shift if images.dtype == np.uint8 else images.astype(np.float64)
    inputs = []
    for node in net.nodes:
        inputs.append(x)
        x = _forward(node.layer, x, net.volumes[node.name].shape, _own(values, node.name))
    scores = x.reshape(len(images), -1)
    loss, dy = _loss(net.loss, scores, labels)
    dy = dy.reshape(x.shape)
    gradients = {}
    for node, x in zip(reversed(net.nodes), reversed(inputs), strict=True):
        dy, dw, db = _backward(node.layer, x, dy, _own(values, node.name))
        if dw is not None:
            gradients[f"{node.name}.w"] = dw
        if db is not None:
            gradients[f"{node.name}.b"] = db
    return Result(scores, loss, gradients)


def _own(values, name):
    return values.get(f"{name}.w"), values.get(f"{name}.b")


def _dense(layer, w, D):
    """Filters that see all maps and every position between theirs: with zeros where they look at nothing.

    Also the view of them in which the weights stand, a view for each group.
    """
    K, rows, columns, maps = w.shape
    down, across = pair(layer.dilation)
    filters = np.zeros((K, (rows - 1) * down + 1, (columns - 1) * across + 1, D))
    per_group = K // layer.groups
    seen = [
        filters[g * per_group : (g + 1) * per_group, ::down, ::across, g * maps : (g + 1) * maps]
        for g in range(layer.groups)
    ]
    for view, own in zip(seen, np.split(w, layer.groups), strict=True):
        view[...] = own
    return filters, seen


def _windows(layer, x, H2, W2, F):
    """(h2, w2, top, left, rows, columns) of every window: where it starts, and what of it lies inside the input.

    F    rows and columns from the first position of a window to its last
    """
    _, H, W, _ = x.shape
    (F_rows, F_columns), (S_rows, S_columns), (above, _, before, _) = F, pair(layer.S), sides(layer.P)
    for h in range(H2):
        for w in range(W2):
            top, left = h * S_rows - above, w * S_columns - before
            rows = slice(max(top, 0), min(top + F_rows, H))
            columns = slice(max(left, 0), min(left + F_columns, W))
            yield h, w, top, left, rows, columns


def _forward(layer, x, shape, weights):
    y = np.zeros((len(x), *shape))
    match layer:
        case ReLU():
            return np.where(x > 0, x, 0)
        case FC():
            w, b = weights
            return (x.reshape(len(x), -1) @ w.T + b).reshape(y.shape)
        case MaxPool():
            for h, w, _, _, rows, columns in _windows(layer, x, *shape[:2], pair(layer.F)):
                y[:, h, w] = x[:, rows, columns].max(axis=(1, 2))
        case Conv():
            filters, b = _dense(layer, weights[0], x.shape[3])[0], 0 if weights[1] is None else weights[1]
            for h, w, top, left, rows, columns in _windows(layer, x, *shape[:2], filters.shape[1:3]):
                part = filters[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
                y[:, h, w] = np.einsum("nijd,kijd->nk", x[:, rows, columns], part) + b if part.size else b
    return y


def _loss(loss, scores, labels):
    """The mean loss and its gradient with respect to the scores."""
    match loss:
        case SoftmaxCrossEntropy():
            return _cross_entropy(scores, labels, loss.smoothing)
        case Hinge():
            return _hinge(scores, labels, loss.margin, 2 if loss.squared else 1)
    raise NotImplementedError(f"no reference for {loss}")


def _hinge(scores, labels, margin, power):
    n = len(scores)
    excess = np.maximum(0, scores - scores[np.arange(n), labels][:, None] + margin)
    excess[np.arange(n), labels] = 0
    slopes = power * excess if power == 2 else (excess > 0).astype(float)
    slopes[np.arange(n), labels] = -slopes.sum(axis=1)
    return float((excess**power).sum() / n), slopes / n


def _cross_entropy(scores, labels, smoothing):
    n = len(scores)
    exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
    p = exponents / exponents.sum(axis=1, keepdims=True)
    wanted = np.full_like(p, smoothing / p.shape[1])
    wanted[np.arange(n), labels] += 1 - smoothing
    return float(-(wanted * np.log(p)).sum() / n), (p - wanted) / n


def _backward(layer, x, dy, weights):
    dx = np.zeros_like(x)
    match layer:
        case ReLU():
            return dy * (x > 0), None, None
        case FC():
            flat, dflat = x.reshape(len(x), -1), dy.reshape(len(x), -1)
            return (dflat @ weights[0]).reshape(x.shape), dflat.T @ flat, dflat.sum(axis=0)
        case MaxPool():
            _pool_backward(layer, x, dy, dx)
            return dx, None, None
    filters, _ = _dense(layer, weights[0], x.shape[3])
    dw, seen_dw = _dense(layer, np.zeros_like(weights[0]), x.shape[3])
    for h, w, top, left, rows, columns in _windows(layer, x, *dy.shape[1:3], filters.shape[1:3]):
        inside = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
        if inside[0].start >= inside[0].stop or inside[1].start >= inside[1].stop:
            continue
        dx[:, rows, columns] += np.einsum("nk,kijd->nijd", dy[:, h, w], filters[:, inside[0], inside[1]])
        dw[:, inside[0], inside[1]] += np.einsum("nk,nijd->kijd", dy[:, h, w], x[:, rows, columns])
    return dx, np.concatenate(seen_dw), None if weights[1] is None else dy.sum(axis=(0, 1, 2))


def _pool_backward(layer, x, dy, dx):
    """The gradient of each window goes to its first maximum, in row-major order."""
    for h, w, _, _, rows, columns in _windows(layer, x, *dy.shape[1:3], pair(layer.F)):
        part = x[:, rows, columns]
        width = part.shape[2]
        for n in range(len(x)):
            for d in range(x.shape[3]):
                row, column = divmod(int(part[n, :, :, d].argmax()), width)
                dx[n, rows.start + row, columns.start + column, d] += dy[n, h, w, d]
