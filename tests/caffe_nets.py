"""Random nets of Caffe, and what they score: each layer in PyTorch's functions, written from Caffe's definitions."""

from collections.abc import Callable
from math import ceil
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tests.caffe_files import Layer


class Drawing:
    """A net as it is drawn, layer by layer, with the values of some images (N, H, W, D) as they go through it.

    `old`     whether it is one of the first version
    `judged`  whether it has only what OpenCV reads, too: no InnerProduct that is turned, no pool that rounds down, and
              of LRN no other k than 1
    """

    def __init__(
        self, rng: np.random.Generator, images: np.ndarray, *, old: bool = False, judged: bool = False
    ) -> None:
        self.rng, self.old, self.judged = rng, old, judged
        self.layers: list[Layer] = []
        self.values = {"data": torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).double()}
        self.last = "data"

    def whole(self, count: int, classes: int) -> Tensor:
        """Some layers and the scores behind them."""
        for _ in range(count):
            self.rng.choice(self.kinds)(self)  # type: ignore[arg-type]
        self.inner_product(classes)
        scores = self.values[self.last]
        self.put("Softmax", scores.softmax(1), {}, top=True)
        return scores

    @property
    def kinds(self) -> list[Callable[["Drawing"], None]]:
        known = [Drawing.convolution, Drawing.pooling, Drawing.lrn, Drawing.unit, Drawing.branches, Drawing.dropout]
        return known if self.old else [*known, Drawing.norm, Drawing.scale, Drawing.prelu, Drawing.gate]

    def put(
        self, type: str, value: Tensor, said: dict[str, dict[str, Any]], *blobs: np.ndarray,
        bottoms: tuple[str, ...] = (), top: bool = False,
    ) -> str:  # fmt: skip
        """A layer over the last value, or others; in place where that is allowed and drawn."""
        name = f"{type.lower()}/{len(self.layers)}"
        in_place = not top and not bottoms and type in IN_PLACE and self.last != "data" and self.rng.random() < 0.7
        gives = self.last if in_place else name
        self.layers.append(Layer(type, name, bottoms or (self.last,), (gives,), said, list(blobs)))
        self.values[gives], self.last = value, gives
        return gives

    def draw(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape).astype(np.float32) / np.float32(max(1, np.prod(shape[1:])) ** 0.5)

    def convolution(self, filters: int | None = None, *, like: bool = False) -> None:
        x, rng = self.values[self.last], self.rng
        D = x.shape[1]
        group = int(rng.choice([g for g in (1, 1, 2, 3, D) if D % g == 0]))
        K = filters if like and filters else int(rng.integers(1, 4)) * group
        group = 1 if K % group else group
        rows, columns = (3, 3) if like else (int(rng.integers(1, 1 + min(4, size))) for size in x.shape[2:])
        dilation = [1] if like or max(rows, columns) * 2 > min(x.shape[2:]) else rng.integers(1, 3, 1).tolist()
        if not self.judged and rng.random() < 0.3:
            dilation = [*dilation, 1]
        pad = 1 if like else int(rng.integers(0, 3))
        S = 1 if like else int(rng.integers(1, 3))
        said: dict[str, Any] = {"num_output": K, "group": group, "dilation": dilation, "stride": S, "pad": pad}
        said |= {"kernel_size": rows} if rows == columns else {"kernel_h": rows, "kernel_w": columns}
        bias = bool(rng.random() < 0.7)
        said = {name: value for name, value in said.items() if value != DEFAULTS.get(name) or rng.random() < 0.3}
        said |= {} if bias else {"bias_term": False}
        if self.old:
            said.pop("dilation", None)
            dilation = [1]
        w, b = self.draw(K, D // group, rows, columns), self.draw(K)
        y = F.conv2d(x, _t(w), _t(b) if bias else None, S, pad, dilation if len(dilation) == 2 else dilation * 2, group)
        self.put("Convolution", y, {"convolution": said}, *([w, b] if bias else [w]))

    def pooling(self) -> None:
        x, rng = self.values[self.last], self.rng
        size = int(rng.integers(1, 1 + min(4, *x.shape[2:])))
        S, pad = int(rng.integers(1, size + 1)), int(rng.integers(0, size))
        kind = str(rng.choice(["MAX", "AVE"]))
        floor = not self.old and not self.judged and rng.random() < 0.3
        said = {"pool": kind, "kernel_size": size, "stride": S, "pad": pad} | ({"round_mode": "FLOOR"} if floor else {})
        said = {name: value for name, value in said.items() if value != DEFAULTS.get(name) or rng.random() < 0.3}
        self.put("Pooling", pooled(x, kind, size, S, pad, floor=floor), {"pooling": said})

    def lrn(self) -> None:
        x, rng = self.values[self.last], self.rng
        n, alpha, beta = int(rng.choice([3, 5])), float(rng.choice([0.5, 1.5])), 0.75
        k = 1.0 if self.judged else float(rng.choice([1, 2]))
        within = rng.random() < 0.4
        said = {"local_size": n, "alpha": alpha, "beta": beta}
        if within:
            squares = F.avg_pool2d(x * x, n, 1, n // 2, count_include_pad=True)
            y = x / (1 + alpha * squares) ** beta
            said |= {"norm_region": "WITHIN_CHANNEL"}
        else:
            sums = F.pad(x * x, (0, 0, 0, 0, n // 2, n // 2)).unfold(1, n, 1).sum(-1)
            y = x / (k + alpha / n * sums) ** beta
            said |= {"k": k}
        self.put("LRN", y, {"lrn": said})

    def unit(self) -> None:
        x = self.values[self.last]
        kinds: dict[str, tuple[Tensor, dict[str, dict[str, Any]]]] = {
            "ReLU": (x.relu(), {}),
            "Sigmoid": (x.sigmoid(), {}),
            "TanH": (x.tanh(), {}),
            "slope": (F.leaky_relu(x, 0.25), {"relu": {"negative_slope": 0.25}}),
        }
        kinds |= {} if self.old else {"ELU": (F.elu(x, 0.5), {"elu": {"alpha": 0.5}})}
        kind = str(self.rng.choice([*kinds]))
        self.put("ReLU" if kind == "slope" else kind, *kinds[kind])

    def dropout(self) -> None:
        self.put("Dropout", self.values[self.last], {"dropout": {"dropout_ratio": 0.25}})

    def norm(self) -> None:
        x, rng = self.values[self.last], self.rng
        D = x.shape[1]
        factor = float(rng.choice([1, 0.5, 999.0, 0]))
        mean, variance = self.draw(D), rng.uniform(0.5, 2, D).astype(np.float32)
        used = (mean / factor, variance / factor) if factor else (0 * mean, 0 * variance + 0)
        eps = 0.5 if not factor else 1e-3
        y = (x - _t(used[0]).view(-1, 1, 1)) / (_t(used[1]).view(-1, 1, 1) + np.float32(eps)) ** 0.5
        self.put("BatchNorm", y, {"batch_norm": {"eps": eps}}, mean, variance, np.float32([factor]))
        if rng.random() < 0.7:
            self.scale()

    def scale(self) -> None:
        x, D = self.values[self.last], self.values[self.last].shape[1]
        bias = bool(self.rng.random() < 0.6)
        s, b = self.draw(D), self.draw(D)
        y = x * _t(s).view(-1, 1, 1) + (_t(b).view(-1, 1, 1) if bias else 0)
        self.put("Scale", y, {"scale": {"bias_term": True} if bias else {}}, *([s, b] if bias else [s]))

    def prelu(self) -> None:
        x, shared = self.values[self.last], bool(self.rng.random() < 0.3)
        a = self.draw(1 if shared else x.shape[1])
        y = torch.where(x > 0, x, x * _t(a).view(-1, 1, 1))
        self.put("PReLU", y, {"prelu": {"channel_shared": True}} if shared else {}, a)

    def gate(self) -> None:
        """A number for each map of each image, which another branch makes."""
        start, x = self.last, self.values[self.last]
        self.put(
            "Pooling", x.mean((2, 3), keepdim=True), {"pooling": {"pool": "AVE", "global_pooling": True}}, top=True
        )
        self.inner_product(x.shape[1])
        gate = self.values[self.last].sigmoid()
        self.put("Sigmoid", gate, {}, top=True)
        gated = x * gate.view(*gate.shape, 1, 1)
        self.put("Scale", gated, {"scale": {"axis": 0}}, bottoms=(start, self.last))

    def branches(self) -> None:
        """Two ways that meet: side by side, added, multiplied, the larger of both; or maps that part and meet."""
        x, rng, start = self.values[self.last], self.rng, self.last
        D = x.shape[1]
        if D > 1 and rng.random() < 0.3:
            point = int(rng.integers(1, D))
            parts = (f"slice/{len(self.layers)}a", f"slice/{len(self.layers)}b")
            self.layers.append(Layer("Slice", f"slice/{len(self.layers)}", (start,), parts,
                                     {"slice": {"slice_point": point}}))  # fmt: skip
            self.values |= {parts[0]: x[:, :point], parts[1]: x[:, point:]}
            turned = torch.cat([x[:, point:], x[:, :point]], 1)
            self.put("Concat", turned, {"concat": {}}, bottoms=parts[::-1])
            return
        self.convolution(D, like=True)
        one = self.last
        self.last = start
        self.convolution(D, like=True)
        two = self.last
        a, b = self.values[one], self.values[two]
        kinds: dict[str, tuple[Tensor, dict[str, Any]]] = {
            "SUM": (a + b, {}),
            "coeff": (0.5 * a - 1.5 * b, {"coeff": [0.5, -1.5]}),
            "PROD": (a * b, {"operation": "PROD"}),
            "MAX": (torch.maximum(a, b), {"operation": "MAX"}),
        }
        kind = str(rng.choice([*kinds, "cat"]))
        if kind == "cat":
            self.put("Concat", torch.cat([a, b], 1), {"concat": {}}, bottoms=(one, two))
        else:
            self.put("Eltwise", kinds[kind][0], {"eltwise": kinds[kind][1]}, bottoms=(one, two))

    def inner_product(self, K: int) -> None:
        x, transpose = (
            self.values[self.last].flatten(1),
            not self.old and not self.judged and bool(self.rng.random() < 0.3),
        )
        w, b = self.draw(K, x.shape[1]), self.draw(K)
        said = {"num_output": K} | ({"transpose": True} if transpose else {})
        y = x @ _t(w).T + _t(b)
        self.put("InnerProduct", y, {"inner_product": said}, np.ascontiguousarray(w.T) if transpose else w, b, top=True)


IN_PLACE = ("ReLU", "Sigmoid", "TanH", "ELU", "PReLU", "Dropout", "BatchNorm", "Scale")


DEFAULTS = {"group": 1, "dilation": [1], "stride": 1, "pad": 0, "pool": "MAX"}
"""Of fields that may be left out."""


def _t(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values).double()


def pooled(x: Tensor, kind: str, size: int, S: int, pad: int, *, floor: bool = False) -> Tensor:
    """Windows as Caffe has them: rounded up, none that would begin in the padding, averages over what is padded."""
    counts = []
    for length in x.shape[2:]:
        room = (length + 2 * pad - size) / S
        count = (int(room) if floor else ceil(room)) + 1
        counts.append(count - 1 if pad and (count - 1) * S >= length + pad else count)
    H, W = x.shape[2:]
    rows = []
    for i in range(counts[0]):
        row = []
        for j in range(counts[1]):
            (top, down), (left, right) = (
                (n * S - pad, min(n * S - pad + size, of + pad)) for n, of in ((i, H), (j, W))
            )
            part = x[:, :, max(top, 0) : min(down, H), max(left, 0) : min(right, W)]
            area = (down - top) * (right - left)
            row.append(part.amax((2, 3)) if kind == "MAX" else part.sum((2, 3)) / area)
        rows.append(torch.stack(row, -1))
    return torch.stack(rows, -2)
