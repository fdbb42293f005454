"""The mutants: changes of the kernels that the tests must notice. `tests/mutants.py` tries them."""

from dataclasses import dataclass
from pathlib import Path

from gpunet.devices.cuda.source import kernel_files

FAMILIES = ("fc", *kernel_files())
"""The files of ops, each with tests of its own."""

USERS = {
    "items": ("relu", "update"),
    "elementwise": ("image", "relu", "update"),
    "covering": ("conv", "pool"),
    "place_of": ("pool", "average_pool"),
    "each_seen": ("pool", "average_pool"),
    "seen": ("average_pool",),
    "each_window": ("pool", "average_pool", "local"),
    "beats": ("pool", "softmax"),
    "best": ("softmax", "hinge"),
    "reduce": ("bias", "loss"),
    "add_bias": ("conv", "fc"),
}
"""Who uses what stands in one file and is used from others, or a part of common.cuh: enough of them to tell."""


@dataclass(frozen=True)
class Mutant:
    """`old` becomes `new` in cuda/`file`; `kernel` says what it breaks: a kernel, or a part of common.cuh."""

    kernel: str
    name: str
    file: str
    old: str
    new: str

    def apply(self, folder: Path) -> None:
        """Change the copy in `folder`. Raises ValueError where the text does not occur exactly once."""
        path = folder / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file} has {text.count(self.old)} times, not once: {self.old}")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")

    @property
    def matters_to(self) -> tuple[str, ...]:
        """The files of ops that use what is broken."""
        return USERS.get(self.kernel, (self.file.partition(".")[0],))

    def __str__(self) -> str:
        return f"{self.kernel}: {self.name}"


def _of(file: str, kernel: str, *changes: tuple[str, str, str]) -> list[Mutant]:
    return [Mutant(kernel, name, file, old, new) for name, old, new in changes]


COMMON = [
    *_of(
        "common.cuh",
        "items",
        ("the block is forgotten", "(long long)blockIdx.x * blockDim.x + threadIdx.x", "threadIdx.x"),
        ("32-bit item", "(long long)blockIdx.x * blockDim.x + threadIdx.x", "blockIdx.x * blockDim.x + threadIdx.x"),
        ("the stride forgets the grid", "(long long)gridDim.x * blockDim.x", "blockDim.x"),
        ("the stride is too long", "(long long)gridDim.x * blockDim.x", "(long long)gridDim.x * blockDim.x + 1"),
        ("ints for huge tensors", "SMALL = 1LL << 30", "SMALL = 1LL << 40"),
    ),
    *_of(
        "common.cuh",
        "elementwise",
        ("one pack too many", "packable ? count / WIDTH : 0", "packable ? count / WIDTH + 1 : 0"),
        ("one pack too few", "pack < packs; pack +=", "pack < packs - 1; pack +="),
        ("no tail", "item < count; item +=", "item < packs * WIDTH; item +="),
        ("tail guard off by one", "item < count; item +=", "item <= count; item +="),
        ("tail starts late", "packs * WIDTH + first_item()", "packs * WIDTH + 1 + first_item()"),
        ("packs at any address", "% 16 == 0) && ...", "% 4 == 0) && ..."),
    ),
    *_of(
        "common.cuh",
        "covering",
        ("first window off by one", "(position - F) / S + 1;", "(position - F) / S;"),
        ("first window of the edge", "position < F ? 0", "position <= F ? 0"),
        ("last window off by one", "position / S + 1;\n    return", "position / S;\n    return"),
        ("windows behind the last", "last < to ? last : to", "last"),
        ("windows before the first", "first > from ? first : from", "first"),
    ),
    *_of(
        "common.cuh",
        "place_of",
        ("the image of another row", "position / W / H, position", "position / W, position"),
        ("rows go on in the next image", "position / W % H,", "position / W,"),
        ("columns go on in the next row", "position % W, pack", "position, pack"),
        ("the first maps of each position", "pack % packs}", "0}"),
    ),
    *_of(
        "common.cuh",
        "each_seen",
        ("rows above the input", "Index h = top > 0 ? top : 0", "Index h = top"),
        ("columns left of the input", "Index w = left > 0 ? left : 0", "Index w = left"),
        ("rows below the input", "h < top + F && h < H;", "h < top + F;"),
        ("columns right of the input", "w < left + F && w < W;", "w < left + F;"),
        ("a window too small", "w < left + F && w < W;", "w < left + F - 1 && w < W;"),
    ),
    *_of(
        "common.cuh",
        "seen",
        ("padding before the input counts", "- (start > 0 ? start : 0)", "- start"),
        ("padding behind the input counts", "(start + F < size ? start + F : size)", "(start + F)"),
    ),
    *_of(
        "common.cuh",
        "each_window",
        ("no padding", "down = covering<Index>(h + P,", "down = covering<Index>(h,"),
        ("windows below the last", "covering<Index>(h + P, F, S, 0, H2)", "covering<Index>(h + P, F, S, 0, H2 + 1)"),
        ("windows right of the last", "(w + P, F, S, 0, W2)", "(w + P, F, S, 0, W2 + 1)"),
        ("a row of windows is left out", "i < down.last;", "i < down.last - 1;"),
    ),
    *_of(
        "common.cuh",
        "best",
        ("the last of equals", "|| a.k < b.k", "|| a.k > b.k"),
        ("a value is left out of the maximum", "k < K; k += BLOCK) best =", "k < K - 1; k += BLOCK) best ="),
    ),
    *_of(
        "common.cuh",
        "beats",
        ("NaN loses", "return value > best || (value != value && best == best);", "return value > best;"),
        ("the last of equals wins", "return value > best ||", "return value >= best ||"),
        ("the last NaN wins", "value != value && best == best", "value != value"),
    ),
    *_of(
        "common.cuh",
        "reduce",
        ("half of the threads", "int half = BLOCK / 2", "int half = BLOCK / 4"),
        ("one step short", "half >= apart", "half > apart"),
        (
            "no barrier between steps",
            "        __syncthreads();\n        if (thread < half)",
            "        if (thread < half)",
        ),
        ("no barrier before the result", "    __syncthreads();\n    const T result", "    const T result"),
        ("no barrier behind the result", "    __syncthreads();  // nobody", "    // nobody"),
        (
            "a barrier for some threads",
            "__syncthreads();\n        if (thread < half)",
            "if (thread >= half) continue;\n        __syncthreads();\n        if (thread < half)",
        ),
        ("one result for all groups", "shared[thread % apart]", "shared[0]"),
    ),
]

ELEMENTWISE = [
    *_of(
        "image.cu",
        "image_to_float",
        ("the last byte is left out", "elementwise(count,", "elementwise(count - 1,"),
        ("the shift is subtracted", "* scale + shift;", "* scale - shift;"),
        ("no scale", "* scale + shift;", "+ shift;"),
    ),
    *_of(
        "relu.cu",
        "relu_forward",
        ("NaN becomes 0", "if (values.value[lane] <= real(0))", "if (!(values.value[lane] > real(0)))"),
        ("small values are cut", "values.value[lane] <= real(0)", "values.value[lane] <= real(0.01)"),
        ("the last value is left out", "elementwise(count, aligned(x, y)", "elementwise(count - 1, aligned(x, y)"),
        ("packs at any address in", "aligned(x, y)", "aligned(y)"),
        ("packs at any address out", "aligned(x, y)", "aligned(x)"),
    ),
    *_of(
        "relu.cu",
        "relu_backward",
        (
            "0 lets gradients through",
            "if (outputs.value[lane] <= real(0)) grad",
            "if (outputs.value[lane] < real(0)) grad",
        ),
        ("NaN stops gradients", "if (outputs.value[lane] <= real(0))", "if (!(outputs.value[lane] > real(0)))"),
        ("looks at the gradient", "if (outputs.value[lane] <= real(0))", "if (gradients.value[lane] <= real(0))"),
        (
            "the last value is left out",
            "elementwise(count, aligned(dy, y, dx)",
            "elementwise(count - 1, aligned(dy, y, dx)",
        ),
    ),
    *_of(
        "relu.cu",
        "relu_mask",
        ("NaN has no bit", "if (!(outputs.value[lane] <= real(0))) bits", "if (outputs.value[lane] > real(0)) bits"),
        ("bits in the other order", "1u << (bit + lane)", "0x80u >> (bit + lane)"),
        (
            "values of the next image",
            "if (in_image + bit >= values) break;\n            const auto outputs",
            "const auto outputs",
        ),
        ("packs across images", "values % WIDTH == 0 && aligned(y)", "aligned(y)"),
        ("packs at any address", "values % WIDTH == 0 && aligned(y)", "values % WIDTH == 0"),
        ("bits behind the last value", "unsigned int bits = 0;", "unsigned int bits = 0x80;"),
        ("ints for huge tensors", "images * values, y, mask", "1, y, mask"),
    ),
    *_of(
        "relu.cu",
        "relu_backward_masked",
        ("every gradient passes", "if (!(bits >> (bit + lane) & 1)) gradients", "if (false) gradients"),
        ("bits of another pack", "bits >> (bit + lane) & 1", "bits >> lane & 1"),
        (
            "values of the next image",
            "if (in_image + bit >= values) break;\n            auto gradients",
            "auto gradients",
        ),
        ("packs across images", "values % WIDTH == 0 && aligned(dy, dx)", "aligned(dy, dx)"),
        ("packs at any address in", "0 && aligned(dy, dx)", "0 && aligned(dx)"),
        ("packs at any address out", "0 && aligned(dy, dx)", "0 && aligned(dy)"),
        ("ints for huge tensors", "images * values, dy, mask", "1, dy, mask"),
    ),
    *_of(
        "leaky_relu.cu",
        "leaky_relu_forward",
        ("NaN leaks", "values.value[lane] *= alpha", "values.value[lane] = values.value[lane] < 0 ? alpha : real(0)"),
        ("as ReLU", "values.value[lane] *= alpha", "values.value[lane] = real(0)"),
        ("everything leaks", "if (values.value[lane] <= real(0)) values", "values"),
        ("the last value is left out", "elementwise(count, aligned(x, y)", "elementwise(count - 1, aligned(x, y)"),
        ("packs at any address in", "aligned(x, y)", "aligned(y)"),
        ("packs at any address out", "aligned(x, y)", "aligned(x)"),
    ),
    *_of(
        "leaky_relu.cu",
        "leaky_relu_backward",
        ("0 lets gradients through", "outputs.value[lane] <= real(0)", "outputs.value[lane] < real(0)"),
        ("NaN leaks", "if (outputs.value[lane] <= real(0))", "if (!(outputs.value[lane] > real(0)))"),
        ("as ReLU", "gradients.value[lane] *= alpha", "gradients.value[lane] = real(0)"),
        ("looks at the gradient", "outputs.value[lane] <= real(0)", "gradients.value[lane] <= real(0)"),
        (
            "the last value is left out",
            "elementwise(count, aligned(dy, y, dx)",
            "elementwise(count - 1, aligned(dy, y, dx)",
        ),
        ("packs at any address", "aligned(dy, y, dx)", "aligned(dy, dx)"),
    ),
    *_of(
        "dropout.cu",
        "dropout",
        ("nine rounds", "round < 10", "round < 9"),
        ("the key stays", "        key0 += 0x9E3779B9u;\n", ""),
        ("every round begins alike", "key1 += 0xBB67AE85u", "key1 += 0"),
        ("the half of the key", "(unsigned int)(seed >> 32)", "0u"),
        ("places wrap around", "(unsigned int)(group >> 32)", "0u"),
        ("all steps alike", "(unsigned int)step", "0u"),
        ("all layers alike", "(unsigned int)layer", "0u"),
        ("the same mask in every round", "place = first + pack * size", "place = pack * size"),
        ("one word for all", "(place + lane) % 4", "lane % 4"),
        ("groups across packs", "first % WIDTH == 0 && aligned(x, y)", "aligned(x, y)"),
        ("packs at any address in", "aligned(x, y)", "aligned(y)"),
        ("packs at any address out", "aligned(x, y)", "aligned(x)"),
        ("the threshold is dropped too", "word < threshold", "word <= threshold"),
        ("not scaled", "values.value[lane] * scale", "values.value[lane]"),
        ("NaN times 0", "? real(0) :", "? values.value[lane] * real(0) :"),
        ("the last value is left out", "elementwise(count,", "elementwise(count - 1,"),
    ),
    *_of(
        "squash.cu",
        "sigmoid_forward",
        ("overflows", "exp(-fabs(value))", "exp(-value)"),
        ("only right of 0", "value >= real(0) ? real(1) : exponent", "real(1)"),
        ("only left of 0", "value >= real(0) ? real(1) : exponent", "exponent"),
        ("the last value is left out", "elementwise(count, aligned(x, y)", "elementwise(count - 1, aligned(x, y)"),
        ("packs at any address in", "aligned(x, y)", "aligned(y)"),
        ("packs at any address out", "aligned(x, y)", "aligned(x)"),
    ),
    *_of(
        "squash.cu",
        "sigmoid_backward",
        ("the slope of the output", "return output * (real(1) - output)", "return real(1) - output"),
        ("a sign", "output * (real(1) - output)", "output * (output - real(1))"),
        (
            "the last value is left out",
            "elementwise(count, aligned(dy, y, dx)",
            "elementwise(count - 1, aligned(dy, y, dx)",
        ),
        ("packs at any address in", "aligned(dy, y, dx)", "aligned(y, dx)"),
        ("packs at any address of y", "aligned(dy, y, dx)", "aligned(dy, dx)"),
        ("packs at any address out", "aligned(dy, y, dx)", "aligned(dy, y)"),
        ("gradients replaced", "gradients.value[lane] *= slope", "gradients.value[lane] = slope"),
    ),
    *_of("squash.cu", "tanh_forward", ("half as steep", "return tanh(value)", "return tanh(value / 2)")),
    *_of(
        "squash.cu",
        "tanh_backward",
        ("the slope of the sigmoid", "(real(1) - output) * (real(1) + output)", "(real(1) - output) * output"),
    ),
    *_of(
        "update.cu",
        "sgd_update",
        ("weights grow", "weights.value[lane] -= learning_rate * g;", "weights.value[lane] += learning_rate * g;"),
        ("no learning rate", "weights.value[lane] -= learning_rate * g;", "weights.value[lane] -= g;"),
        ("the last value is left out", "elementwise(count, aligned(dw, w),", "elementwise(count - 1, aligned(dw, w),"),
    ),
    *_of(
        "update.cu",
        "momentum_update",
        (
            "no momentum",
            "velocity = momentum * velocity + g;\n        weight -= learning_rate * velocity;",
            "velocity = velocity + g;\n        weight -= learning_rate * velocity;",
        ),
        ("the gradient alone", "weight -= learning_rate * velocity;", "weight -= learning_rate * g;"),
        ("the learning rate inside", "weight -= learning_rate * velocity;", "weight -= velocity *= learning_rate;"),
        (
            "no weight decay",
            "dw, w, v, count, weight_decay, [=](real g, real& weight, real& velocity) {\n"
            "        velocity = momentum * velocity + g;\n        weight -= learning_rate * velocity;",
            "dw, w, v, count, real(0), [=](real g, real& weight, real& velocity) {\n"
            "        velocity = momentum * velocity + g;\n        weight -= learning_rate * velocity;",
        ),
        ("the velocity is not kept", "        store(cache, pack, caches);\n", ""),
        (
            "the last value is left out",
            "elementwise(count, aligned(dw, w, cache)",
            "elementwise(count - 1, aligned(dw, w, cache)",
        ),
        ("packs at any address", "aligned(dw, w, cache)", "aligned(dw, w)"),
    ),
    *_of(
        "update.cu",
        "nesterov_update",
        ("plain momentum", "(g + momentum * velocity)", "velocity"),
        ("twice as far ahead", "(g + momentum * velocity)", "(g + velocity)"),
        ("no gradient", "(g + momentum * velocity)", "(momentum * velocity)"),
    ),
    *_of(
        "update.cu",
        "adagrad_update",
        ("forgets", "total += g * g;", "total = g * g;"),
        ("no squares", "total += g * g;", "total += g;"),
        ("no root", "sqrt(total) + eps", "total + eps"),
        ("eps inside the root", "sqrt(total) + eps", "sqrt(total + eps)"),
        ("no eps", "sqrt(total) + eps", "sqrt(total)"),
    ),
    *_of(
        "update.cu",
        "rmsprop_update",
        ("forgets nothing", "alpha * mean + rest", "mean + rest"),
        ("the other way round", "alpha * mean + rest", "rest * mean + alpha"),
        ("no root", "sqrt(mean) + eps", "mean + eps"),
        ("eps inside the root", "sqrt(mean) + eps", "sqrt(mean + eps)"),
    ),
    *_of(
        "update.cu",
        "adam_update",
        ("the mean is the gradient", "+= rest1 * (g - means.value[lane])", "= g"),
        ("the mean only grows", "rest1 * (g - means.value[lane])", "rest1 * g"),
        ("the squares are not kept", "        store(v, pack, squares);\n", ""),
        ("the mean is not kept", "        store(m, pack, means);\n", ""),
        ("the rest of a rounded beta2", "rest2 * g * g", "(1 - beta2) * g * g"),
        ("squares are not corrected", "sqrt(squares.value[lane]) / scale", "sqrt(squares.value[lane])"),
        (
            "eps before the correction",
            "(sqrt(squares.value[lane]) / scale + eps)",
            "((sqrt(squares.value[lane]) + eps) / scale)",
        ),
        ("no root", "sqrt(squares.value[lane]) / scale", "squares.value[lane] / scale"),
        ("no weight decay", "rate, scale, weight_decay, real(1)", "rate, scale, real(0), real(1)"),
        ("weights fade", "weight_decay, real(1), rest1", "weight_decay, real(0.99), rest1"),
        (
            "the last value is left out",
            "elementwise(count, aligned(dw, w, m, v)",
            "elementwise(count - 1, aligned(dw, w, m, v)",
        ),
        ("packs at any address", "aligned(dw, w, m, v)", "aligned(dw, w, m)"),
    ),
    *_of(
        "update.cu",
        "adamw_update",
        ("no decay", "real(0), keep, rest1", "real(0), real(1), rest1"),
        ("the decay is divided, too", "real(0), keep, rest1", "1 - keep, real(1), rest1"),
        (
            "the decay comes after",
            "keep * weights.value[lane] - rate * step",
            "keep * (weights.value[lane] - rate * step)",
        ),
    ),
]

BIAS = [
    *_of(
        "bias.cu",
        "add_bias",
        ("tail guard off by one", "pack < rows * K;", "pack <= rows * K;"),
        ("the bias of the row", "pack % K)", "pack / K % K)"),
        ("packs across rows", "K % WIDTH == 0 && aligned(b, y)", "aligned(b, y)"),
        ("packs at any address in", "aligned(b, y)", "aligned(y)"),
        ("packs at any address out", "aligned(b, y)", "aligned(b)"),
        ("biases replace", "values.value[lane] += biases", "values.value[lane] = biases"),
    ),
    *_of(
        "bias.cu",
        "sum_rows",
        ("rows behind the last", "after < rows ? after : rows", "after"),
        ("the rest of the rows is left out", "(rows + block_rows - 1) / block_rows", "rows / block_rows"),
        ("a tile is left out", "tile < parts * tiles;", "tile < parts * tiles - 1;"),
        ("all threads add the same rows", "part * block_rows + lane;", "part * block_rows;"),
        ("a row of eight is left out", "row += BLOCK / MAPS", "row += BLOCK / MAPS + 1"),
        ("maps behind the last", "if (lane == 0 && k < K) sums", "if (lane == 0) sums"),
        ("partial sums overlap", "k < K) sums[part * K + k]", "k < K) sums[part + k]"),
        ("earlier sums are forgotten", "accumulate ? sums[part * K + k] + sum : sum", "sum"),
    ),
]

LOSSES = [
    *_of(
        "loss.cu",
        "mean_loss",
        ("the last loss is left out", "n < N; n += BLOCK", "n < N - 1; n += BLOCK"),
        ("mean of a block", "sum / real(N)", "sum / real(BLOCK)"),
        ("losses for hits", "count += hits[n]", "count += losses[n] > 0"),
    ),
    *_of(
        "loss.cu",
        "add_loss",
        ("what was there is forgotten", "*total += weight * *part", "*total = weight * *part"),
        ("no weight", "weight * *part", "*part"),
    ),
    *_of(
        "softmax.cu",
        "softmax_forward",
        ("any of equals is a hit", "hits[n] = best.k == labels[n]", "hits[n] = best.value == label_score"),
        ("no shift", "sum += exp(row[k] - best.value)", "sum += exp(row[k])"),
        ("the loss is not shifted", "extra * (label_score - best.value)", "extra * label_score"),
        ("the label is read late", "(extra * (label_score -", "(extra * (row[labels[n]] -"),
        ("probabilities do not sum to 1", "exp(row[k] - best.value) / sum;", "exp(row[k] - best.value);"),
        (
            "a class is left out of the sum",
            "k < K; k += BLOCK) {\n            sum",
            "k < K - 1; k += BLOCK) {\n            sum",
        ),
        ("a class behind the last", "k < K; k += BLOCK) probabilities", "k <= K; k += BLOCK) probabilities"),
        ("infinite scores count where not wanted", "if (share > 0) shifted", "shifted"),
        ("the others are not wanted", "+ share * shifted", ""),
        ("each thread knows its own classes", "        shifted = reduce_sum(shifted, sums);\n", ""),
        ("the label is wanted as without smoothing", "(extra * (label_score", "((label_score"),
    ),
    *_of(
        "softmax.cu",
        "softmax_backward",
        ("not a mean", "excess / real(images) * weight", "excess * weight"),
        ("mean of a part of the batch", "/ real(images)", "/ real(N)"),
        ("the label of another row", "k == labels[n] ? extra", "k == labels[0] ? extra"),
        ("the label is wanted as without smoothing", "? extra : real(0)", "? real(1) : real(0)"),
        ("the others are not wanted", " - share;", ";"),
        ("no weight", "/ real(images) * weight", "/ real(images)"),
        (
            "the last class is left out",
            "k < K; k += BLOCK) {\n            const",
            "k < K - 1; k += BLOCK) {\n            const",
        ),
    ),
    *_of(
        "hinge.cu",
        "hinge_forward",
        ("the label counts", "if (k != label && !(", "if (!("),
        ("NaN does not count", "!(excess <= 0)) sum", "excess > 0) sum"),
        ("no margin", "row[k] - row[label] + margin;", "row[k] - row[label];"),
        ("never squared", "squared ? excess * excess : excess;", "excess;"),
        ("always squared", "squared ? excess * excess : excess;", "excess * excess;"),
        (
            "the last class is left out",
            "k < K; k += BLOCK) {\n            const real excess",
            "k < K - 1; k += BLOCK) {\n            const real excess",
        ),
        ("any of equals is a hit", "best.k == label;", "best.value == row[label];"),
        (
            "each thread knows its own classes",
            "        sum = reduce_sum(sum, sums);\n        const Best",
            "        const Best",
        ),
    ),
    *_of(
        "hinge.cu",
        "hinge_backward",
        (
            "a slope at the kink",
            "if (excess <= 0) return 0;",
            "if (excess < 0) return 0;\n    if (excess == 0) return 1;",
        ),
        ("a slope below the margin", "    if (excess <= 0) return 0;\n", ""),
        ("a slope of 1 for NaN", "excess > 0 ? real(1) : excess;", "real(1);"),
        ("half of the slope", "squared ? 2 * excess", "squared ? excess"),
        ("the label is a class like others", "if (k != label) sum", "sum"),
        ("the label rises", "? -sum :", "? sum :"),
        (
            "the label is read late",
            "slope(row[k] - label_score + margin, squared);\n            dx",
            "slope(row[k] - row[label] + margin, squared);\n            dx",
        ),
        ("not a mean", "rise / real(images) * weight", "rise * weight"),
        ("mean of a part of the batch", "rise / real(images)", "rise / real(N)"),
        ("no weight", "/ real(images) * weight", "/ real(images)"),
        (
            "a class behind the last",
            "k < K; k += BLOCK) {\n            const real rise",
            "k <= K; k += BLOCK) {\n            const real rise",
        ),
    ),
]

POOL = [
    *_of(
        "pool.cu",
        "max_pool_forward",
        ("tail guard off by one", "pack < N * H2 * W2 * D;", "pack <= N * H2 * W2 * D;"),
        ("the last pack is left out", "pack < N * H2 * W2 * D;", "pack < N * H2 * W2 * D - 1;"),
        ("no padding", "top = at.row * S - P,", "top = at.row * S,"),
        ("a stride of F", "left = at.column * S - P;", "left = at.column * F - P;"),
        ("switches count from the edge", "Switch((h - top) * F", "Switch(h * F"),
        ("switches with another stride", "Switch((h - top) * F", "Switch((h - top) * W"),
        ("-inf never wins", "none || beats", "beats"),
        ("the last always wins", "            none = false;\n", ""),
        ("packs across positions", "D % WIDTH == 0 && aligned(x, y, switches)", "aligned(x, y, switches)"),
        (
            "ints for many inputs",
            "N * D * largest(H * W, H2 * W2);\n    DISPATCH(max_pool_packs",
            "1;\n    DISPATCH(max_pool_packs",
        ),
    ),
    *_of("pool.cu", "max_pool_infer", ("writes switches", "if (switches) store(", "store(")),
    *_of(
        "pool.cu",
        "max_pool_backward",
        ("tail guard off by one", "pack < N * H * W * D;", "pack <= N * H * W * D;"),
        ("every window counts", "if (where.value[lane] == here) sum", "sum"),
        ("the last window counts alone", "sum.value[lane] += gradients", "sum.value[lane] = gradients"),
        ("switches with another stride", "(at.row + P - i * S) * F", "(at.row + P - i * S) * S"),
        ("packs across positions", "D % WIDTH == 0 && aligned(dy, switches, dx)", "aligned(dy, switches, dx)"),
        (
            "ints for many inputs",
            "largest(N * D * largest(H * W, H2 * W2), reach(H, W, D, S, P));\n    DISPATCH(max_pool_backward",
            "reach(H, W, D, S, P);\n    DISPATCH(max_pool_backward",
        ),
        (
            "ints for long strides",
            "reach(H, W, D, S, P));\n    DISPATCH(max_pool_backward",
            "0);\n    DISPATCH(max_pool_backward",
        ),
    ),
]

AVERAGE_POOL = [
    *_of(
        "average_pool.cu",
        "average_pool_forward",
        ("tail guard off by one", "pack < N * H2 * W2 * D;", "pack <= N * H2 * W2 * D;"),
        ("the last pack is left out", "pack < N * H2 * W2 * D;", "pack < N * H2 * W2 * D - 1;"),
        ("no padding", "top = at.row * S - P,", "top = at.row * S,"),
        ("a stride of F", "left = at.column * S - P;", "left = at.column * F - P;"),
        ("the last value counts alone", "sum.value[lane] += values", "sum.value[lane] = values"),
        ("divides by the whole window", "seen(top, F, H) * seen(left, F, W)", "F * F"),
        ("counts rows twice", "seen(top, F, H) * seen(left, F, W)", "seen(top, F, H) * seen(top, F, H)"),
        ("a sum", "        for (int lane = 0; lane < COUNT; ++lane) sum.value[lane] /= count;\n", ""),
        ("packs across positions", "D % WIDTH == 0 && aligned(x, y)", "aligned(x, y)"),
        ("packs at any address in", "aligned(x, y)", "aligned(y)"),
        ("packs at any address out", "aligned(x, y)", "aligned(x)"),
        (
            "ints for many inputs",
            "N * D * largest(H * W, H2 * W2);\n    DISPATCH(average_pool_packs",
            "1;\n    DISPATCH(average_pool_packs",
        ),
    ),
    *_of(
        "average_pool.cu",
        "average_pool_backward",
        ("tail guard off by one", "pack < N * H * W * D;", "pack <= N * H * W * D;"),
        ("the last window counts alone", "sum.value[lane] += gradients", "sum.value[lane] = gradients"),
        ("divides by the whole window", "seen(i * S - P, F, H) * seen(j * S - P, F, W)", "F * F"),
        ("counts without the padding", "seen(i * S - P, F, H)", "seen(i * S, F, H)"),
        ("the count of another column", "seen(j * S - P, F, W)", "seen(j - P, F, W)"),
        ("packs across positions", "D % WIDTH == 0 && aligned(dy, dx)", "aligned(dy, dx)"),
        ("packs at any address in", "aligned(dy, dx)", "aligned(dx)"),
        ("packs at any address out", "aligned(dy, dx)", "aligned(dy)"),
        (
            "ints for many inputs",
            "largest(N * D * largest(H * W, H2 * W2), reach(H, W, D, S, P));\n    DISPATCH(average_pool_backward",
            "reach(H, W, D, S, P);\n    DISPATCH(average_pool_backward",
        ),
        (
            "ints for long strides",
            "reach(H, W, D, S, P));\n    DISPATCH(average_pool_backward",
            "0);\n    DISPATCH(average_pool_backward",
        ),
    ),
]

L2_POOL = [
    *_of(
        "l2_pool.cu",
        "l2_pool_forward",
        ("tail guard off by one", "pack < N * H2 * W2 * D;", "pack <= N * H2 * W2 * D;"),
        ("no padding", "at.row * S - P,", "at.row * S,"),
        ("a stride of F", "at.column * S - P,", "at.column * F - P,"),
        ("no root", "        for (int lane = 0; lane < COUNT; ++lane) sum.value[lane] = sqrt(sum.value[lane]);\n", ""),
        ("no square", "+= values.value[lane] * values.value[lane]", "+= values.value[lane]"),
        ("packs across positions", "D % WIDTH == 0 && aligned(x, y)", "aligned(x, y)"),
        ("packs at any address in", "aligned(x, y);", "aligned(y);"),
        ("packs at any address out", "aligned(x, y);", "aligned(x);"),
        (
            "ints for many inputs",
            "N * D * largest(H * W, H2 * W2);\n    DISPATCH(l2_pool_packs",
            "1;\n    DISPATCH(l2_pool_packs",
        ),
    ),
    *_of(
        "l2_pool.cu",
        "l2_pool_backward",
        ("tail guard off by one", "pack < N * H * W * D;", "pack <= N * H * W * D;"),
        ("the last window counts alone", "sum.value[lane] += gradients", "sum.value[lane] = gradients"),
        ("NaN where there are only zeros", "if (length != real(0)) sum", "sum"),
        ("short windows have no slope", "length != real(0)", "length > real(0.5)"),
        ("not divided by the length", "values.value[lane] / length", "values.value[lane]"),
        ("packs across positions", "D % WIDTH == 0 && aligned(dy, x, y, dx)", "aligned(dy, x, y, dx)"),
        ("packs at any address", "aligned(dy, x, y, dx)", "aligned(dy, y, dx)"),
        (
            "ints for many inputs",
            "largest(N * D * largest(H * W, H2 * W2), reach(H, W, D, S, P));\n    DISPATCH(l2_pool_backward",
            "reach(H, W, D, S, P);\n    DISPATCH(l2_pool_backward",
        ),
        (
            "ints for long strides",
            "reach(H, W, D, S, P));\n    DISPATCH(l2_pool_backward",
            "0);\n    DISPATCH(l2_pool_backward",
        ),
    ),
]

LRN = [
    *_of(
        "lrn.cu",
        "lrn_forward",
        ("tail guard off by one", "item < N * boxes.H", "item <= N * boxes.H"),
        ("the last value is left out", "boxes.D; item +=", "boxes.D - 1; item +="),
        ("a box without its last row", "h <= at.row + reach", "h < at.row + reach"),
        ("a box without its last column", "w <= at.column + reach", "w < at.column + reach"),
        ("a box without its last map", "d <= at.d + across", "d < at.d + across"),
        ("rows above the image", "at.row > reach ? at.row - reach : 0", "at.row - reach"),
        ("columns left of the image", "at.column > reach ? at.column - reach : 0", "at.column - reach"),
        ("maps before the first", "at.d > across ? at.d - across : 0", "at.d - across"),
        ("rows below the image", "&& h < H", ""),
        ("columns right of the image", "&& w < W", ""),
        ("maps behind the last", "&& d < D", ""),
        ("no squares", "sum += value * value", "sum += value"),
        ("no k", "return k + alpha * sum", "return 1 + alpha * sum"),
        ("no alpha", "return k + alpha * sum", "return k + sum"),
        (
            "multiplies",
            "y[item] = x[item] * pow(boxes.scale(x, at, alpha, k), -beta)",
            "y[item] = x[item] * pow(boxes.scale(x, at, alpha, k), beta)",
        ),
        (
            "ints for huge tensors",
            "if (N * H * W * D < SMALL) {\n        normalize<int>",
            "if (true) {\n        normalize<int>",
        ),
    ),
    *_of(
        "lrn.cu",
        "lrn_backward",
        ("the scale has no slope", " - 2 * alpha * beta * x[item] * pull", ""),
        ("half of the slope", "2 * alpha * beta", "alpha * beta"),
        ("one power short", "pow(scale, -beta) / scale", "pow(scale, -beta)"),
        ("its own scale for all", "boxes.scale(x, near, alpha, k)", "boxes.scale(x, at, alpha, k)"),
        ("its own gradient for all", "pull += dy[other]", "pull += dy[item]"),
        ("the last neighbour counts alone", "pull += dy", "pull = dy"),
        (
            "ints for huge tensors",
            "if (N * H * W * D < SMALL) {\n        normalize_backward<int>",
            "if (true) {\n        normalize_backward<int>",
        ),
    ),
]

CONV = [
    *_of(
        "conv.cu",
        "im2col",
        (
            "tail guard off by one",
            "pack < images * rows * W2 * F_rows * span;",
            "pack <= images * rows * W2 * F_rows * span;",
        ),
        (
            "the last pack is left out",
            "pack < images * rows * W2 * F_rows * span;",
            "pack < images * rows * W2 * F_rows * span - 1;",
        ),
        ("rows above the input", "inside = 0 <= h &&", "inside ="),
        ("rows below the input", "h < H && 0 <= offset", "0 <= offset"),
        ("one row below the input", "h < H && 0 <= offset", "h <= H && 0 <= offset"),
        ("columns left of the input", "0 <= offset && offset < W * D", "offset < W * D"),
        ("columns right of the input", "0 <= offset && offset < W * D", "0 <= offset"),
        ("the first row of the chunk is 0", "i = row0 + position", "i = position"),
        ("no padding", "h = i * S_rows - P_top + f_row", "h = i * S_rows + f_row"),
        ("no stride", "(j * S_columns - P_left) * D", "(j - P_left) * D"),
        ("one stride for both axes", "(j * S_columns - P_left) * D", "(j * S_rows - P_left) * D"),
        ("one padding for both axes", "(j * S_columns - P_left) * D", "(j * S_columns - P_top) * D"),
        ("rows that are not dilated", "P_top + f_row * dilation;", "P_top + f_row;"),
        ("columns that are not dilated", "gap = dilation * D - maps;", "gap = D - maps;"),
        ("every window in one piece", "right = gap == 0 ? along", "right = true ? along"),
        ("the first map of the group is 0", "    x += image0 * H * W * D + map0;", "    x += image0 * H * W * D;"),
        ("the first image of the chunk is 0", "    x += image0 * H * W * D + map0;\n", "    x += map0;\n"),
        ("32-bit first image", "    x += image0 * H * W * D + map0;", "    x += (int)(image0 * H * W * D) + map0;"),
        (
            "nothing where zeros belong",
            "store(columns, pack, values);",
            "if (inside) store(columns, pack, values);",
        ),
        ("packs across positions", "maps % WIDTH == 0 && aligned(x, columns)", "aligned(x, columns)"),
        ("packs at any address", "aligned(x, columns)", "aligned(columns)"),
        (
            "ints for long strides",
            "dilation, row0 + rows)\n    );\n    DISPATCH(\n        im2col",
            "dilation, row0 + rows) * 0\n    );\n    DISPATCH(\n        im2col",
        ),
    ),
    *_of(
        "conv.cu",
        "col2im",
        ("tail guard off by one", "pack < images * height * W * maps;", "pack <= images * height * W * maps;"),
        ("earlier chunks are forgotten", "        if (h < fresh) sum = load<COUNT>(dx, here);\n", ""),
        ("adds to what was never written", "if (h < fresh) sum", "if (h <= fresh) sum"),
        ("rows of the chunk start at 0", "h = first + position", "h = position"),
        ("a row of windows is left out", "row0, row0 + rows);", "row0, row0 + rows - 1);"),
        (
            "windows of other chunks",
            "covering<Index>(h + P_top, down_to, S_rows, row0, row0 + rows)",
            "covering<Index>(h + P_top, down_to, S_rows, 0, row0 + rows)",
        ),
        ("windows count from the image", "(n * rows + i - row0) * W2 + j", "(n * rows + i) * W2 + j"),
        ("the last window counts alone", "sum.value[lane] += gradients", "sum.value[lane] = gradients"),
        ("a window transposed", "f_row * F_columns + f_column;", "f_column * F_rows + f_row;"),
        ("one stride for both axes", "w + P_left - j * S_columns", "w + P_left - j * S_rows"),
        ("one padding for both axes", "w + P_left - j * S_columns", "w + P_top - j * S_columns"),
        ("windows that are not dilated", "down_to = (F_rows - 1) * dilation + 1", "down_to = F_rows"),
        (
            "values between the positions of a window",
            "distance % dilation == 0 ? distance / dilation : -1",
            "distance / dilation",
        ),
        ("dilation is always one", "if (dilation == 1) {", "if (true) {"),
        ("the first map of the group is 0", "dx += image0 * H * W * D + map0;", "dx += image0 * H * W * D;"),
        ("the first image of the chunk is 0", "    dx += image0 * H * W * D + map0;\n", "    dx += map0;\n"),
        ("32-bit first image", "dx += image0 * H * W * D + map0;", "dx += (int)(image0 * H * W * D) + map0;"),
        ("packs across positions", "maps % WIDTH == 0 && aligned(columns, dx)", "aligned(columns, dx)"),
        ("packs at any address", "aligned(columns, dx)", "aligned(columns)"),
        (
            "ints for long strides",
            "dilation, row0 + rows)\n    );\n    if (dilation == 1) {",
            "dilation, row0 + rows) * 0\n    );\n    if (dilation == 1) {",
        ),
    ),
]

MERGE = [
    *_of(
        "merge.cu",
        "add",
        ("the last branch wins", "sum.value[lane] += others", "sum.value[lane] = others"),
        ("packs at any address", "aligned(a, b, y)", "aligned(a, b)"),
    ),
    *_of(
        "merge.cu",
        "copy_maps",
        ("tail guard off by one", "pack < positions * D;", "pack <= positions * D;"),
        ("always the first maps are read", "position * x_depth + x_first + d", "position * x_depth + d"),
        ("always the first maps are written", "position * y_depth + y_first + d", "position * y_depth + d"),
        ("packs across maps of the source", "x_first % WIDTH == 0;", "true;"),
        ("packs across maps of the target", "&& y_first % WIDTH == 0 ", ""),
        ("packs at any address", "&& aligned(x, y)", ""),
        ("ints for large volumes", "positions * largest(x_depth, y_depth)", "0"),
    ),
]

LOCAL = [
    *_of(
        "local.cu",
        "local_forward",
        ("one tile too many", "item < products * down * across;", "item <= products * down * across;"),
        ("one tile too few", "item < products * down * across;", "item < products * down * across - 1;"),
        ("the tile of another row", "item % down * TILE,", "item / across % down * TILE,"),
        ("rows that are not there", "row_of(e) < rows && column_of() < columns", "column_of() < columns"),
        ("columns that are not there", "row_of(e) < rows && column_of() < columns", "row_of(e) < rows"),
        ("rows of another thread", "row + threadIdx.x / TILE + e * APART;", "row + threadIdx.x / TILE * EACH + e;"),
        ("rows above the input", "return 0 <= h && h < H", "return h < H"),
        ("rows below the input", "h < H && 0 <= along", "0 <= along"),
        ("columns left of the input", "0 <= along && along < W * D", "along < W * D"),
        ("columns right of the input", "0 <= along && along < W * D ?", "0 <= along ?"),
        ("no padding", "position / W2 * S - P + step", "position / W2 * S + step"),
        ("no stride", "(position % W2 * S - P) * D", "(position % W2 - P) * D"),
        ("no barrier before the hand is filled", "        __syncthreads();  // what was in hand has been used\n", ""),
        (
            "no barrier behind",
            "        });\n        __syncthreads();\n        for (int step",
            "        });\n        for (int step",
        ),
        ("a part transposed", "part[fast][slow] = value(slow, fast)", "part[slow][fast] = value(slow, fast)"),
        ("the first steps alone", "first < steps; first += TILE", "first < TILE; first += TILE"),
        ("the last step is left out", "step < TILE && first + step < steps; ++step", "step < TILE - 1; ++step"),
        ("adds what is no step", "step < TILE && first + step < steps; ++step", "step <= TILE; ++step"),
        ("no biases", "= sum[e] + b[value];", "= sum[e];"),
        ("filters of the first position", "w[(tile.place * K + k) * L + step]", "w[k * L + step]"),
        ("ints for huge tensors", "if (of.small()) outputs", "if (true) outputs"),
        ("ints for many weights", "largest(largest(volumes, weights),", "largest(volumes,"),
        ("ints for many images", "largest(largest(volumes, weights),", "largest(weights,"),
        (
            "ints for long strides",
            "largest(largest(volumes, weights), reach(H, W, D, S, P))",
            "largest(volumes, weights)",
        ),
    ),
    *_of(
        "local.cu",
        "local_backward_weights",
        ("overwrites", "accumulate ? dw[value] + sum[e] : sum[e]", "sum[e]"),
        ("adds to what was never written", "accumulate ? dw[value] + sum[e] : sum[e]", "dw[value] + sum[e]"),
        ("gradients of the first position", "dy[(n * positions + tile.place) * K + k]", "dy[n * positions * K + k]"),
        (
            "windows of the first position",
            "[&](Index step, Index n) { return of.seen(x, n, tile.place, step)",
            "[&](Index step, Index n) { return of.seen(x, n, 0, step)",
        ),
        ("the first image alone", "sum, hand, tile, of.N,", "sum, hand, tile, Index(1),"),
        ("ints for huge tensors", "if (of.small()) weight_gradients", "if (true) weight_gradients"),
    ),
    *_of(
        "local.cu",
        "local_backward_input",
        (
            "a window transposed",
            "(row + P - i * S) * F + (column + P - j * S)",
            "(column + P - j * S) * F + (row + P - i * S)",
        ),
        ("filters of the first position", "w[((position * K + k) * F * F", "w[(k * F * F"),
        ("gradients of the first position", "dy[(n * positions + position) * K + k]", "dy[n * positions * K + k]"),
        (
            "one filter alone",
            "sum, hand, tile, K, [&](Index n, Index k)",
            "sum, hand, tile, Index(1), [&](Index n, Index k)",
        ),
        (
            "rows go on in the next image",
            "row = tile.place / W, column = tile.place % W",
            "row = tile.place / W, column = tile.place",
        ),
        ("ints for huge tensors", "if (of.small()) input_gradients", "if (true) input_gradients"),
    ),
]

BATCH_NORM = [
    *_of(
        "batch_norm.cu",
        "batch_norm_parts",
        (
            "the last row of a part is left out",
            "last = after < rows ? after : rows",
            "last = (after < rows ? after : rows) - 1",
        ),
        ("maps behind the last", "k < D ? last : first, k", "last, k"),
        ("starts with the second row", "row = first + threadIdx.x / COUNT", "row = first + 1 + threadIdx.x / COUNT"),
        ("no differences", "x[row * D + k] - start;", "x[row * D + k];"),
        ("squares as if the first row were the mean", " - sums.one * (sums.one / (real)(last - first))", ""),
        (
            "squares over the totals",
            "partials[(parts + part) * D + k] = sums.two - ",
            "partials[part * D + k] = sums.two - ",
        ),
        (
            "no squares",
            "so_far.two += difference * difference;\n        });\n        if (threadIdx.x < MAPS",
            "so_far.two += difference;\n        });\n        if (threadIdx.x < MAPS",
        ),
    ),
    *_of(
        "batch_norm.cu",
        "batch_norm_merge",
        ("all parts are full", "left < block_rows ? left : block_rows", "block_rows"),
        ("parts are no part of the variance", " + count * difference * difference", ""),
        ("every part counts once", "so_far.one += count * difference", "so_far.one += difference"),
        ("the first part's mean", "start + (above + further)", "start + above"),
        ("the first row's place", "start + (above + further)", "above + further"),
        ("no differences of first rows", "x[part * block_rows * D + k] - start + ", ""),
        ("nothing of the means", "squares = sums.two - sums.one * further", "squares = sums.two"),
        ("below 0", "squares < 0 ? real(0) : squares", "squares"),
        ("a sum, not a mean", "squares / (real)rows", "squares"),
    ),
    *_of(
        "batch_norm.cu",
        "batch_norm_recall",
        ("the mean twice", "variance[k] = running_variance[k]", "variance[k] = running_mean[k]"),
        (
            "the last map is left out",
            "k < D; k += item_stride()) {\n        mean[k]",
            "k < D - 1; k += item_stride()) {\n        mean[k]",
        ),
    ),
    *_of(
        "batch_norm.cu",
        "batch_norm_forward",
        ("no mean", "(values.value[lane] - means.value[lane]) * factor", "values.value[lane] * factor"),
        ("no shift", "* factor + shifts.value[lane]", "* factor"),
        (
            "no scale",
            "scales.value[lane] / sqrt(variances.value[lane] + eps);",
            "1 / sqrt(variances.value[lane] + eps);",
        ),
        (
            "no root",
            "scales.value[lane] / sqrt(variances.value[lane] + eps)",
            "scales.value[lane] / (variances.value[lane] + eps)",
        ),
        (
            "no eps",
            "scales.value[lane] / sqrt(variances.value[lane] + eps)",
            "scales.value[lane] / sqrt(variances.value[lane])",
        ),
        (
            "the last pack is left out",
            "pack < rows * D; pack += item_stride()) {\n        const Index k = pack % D;\n        auto values",
            "pack < rows * D - 1; pack += item_stride()) {\n        const Index k = pack % D;\n        auto values",
        ),
        (
            "packs at any depth",
            "const bool packs = D % WIDTH == 0 && aligned(x, mean, variance, scale, shift, y)",
            "const bool packs = aligned(x, mean, variance, scale, shift, y)",
        ),
        ("packs at any address", "aligned(x, mean, variance, scale, shift, y)", "aligned(x, mean, variance, scale, y)"),
    ),
    *_of(
        "batch_norm.cu",
        "batch_norm_backward_parts",
        ("no mean", "gradient * (x[row * D + k] - middle)", "gradient * x[row * D + k]"),
        ("no gradient", "gradient * (x[row * D + k] - middle)", "(x[row * D + k] - middle)"),
        ("no deviation", "sums.two / sqrt(variance[k] + eps)", "sums.two"),
        ("the gradients are not summed", "so_far.one += gradient;", "so_far.one = gradient;"),
    ),
    *_of(
        "batch_norm.cu",
        "batch_norm_backward_merge",
        (
            "the sums are exchanged",
            "dshift[k] = sums.one;\n            dscale[k] = sums.two;",
            "dshift[k] = sums.two;\n            dscale[k] = sums.one;",
        ),
        ("the last part alone", "so_far.one += partials[part * D + k];", "so_far.one = partials[part * D + k];"),
        (
            "the first part is left out",
            "so_far.two += partials[(parts + part) * D + k];",
            "so_far.two += part ? partials[(parts + part) * D + k] : 0;",
        ),
    ),
    *_of(
        "batch_norm.cu",
        "batch_norm_backward",
        ("the statistics stand still", "(gradients.value[lane] - common)", "gradients.value[lane]"),
        (
            "the mean stands still",
            "(dshifts.value[lane] + normal * dscales.value[lane]) * share",
            "normal * dscales.value[lane] * share",
        ),
        (
            "the deviation stands still",
            "(dshifts.value[lane] + normal * dscales.value[lane]) * share",
            "dshifts.value[lane] * share",
        ),
        ("sums, not means", "dscales.value[lane]) * share", "dscales.value[lane])"),
        ("no scale", "scales.value[lane] * inverse * (", "inverse * ("),
        ("no deviation", "scales.value[lane] * inverse * (", "scales.value[lane] * ("),
        (
            "no eps",
            "real inverse = 1 / sqrt(variances.value[lane] + eps)",
            "real inverse = 1 / sqrt(variances.value[lane])",
        ),
        (
            "packs at any address",
            "aligned(dy, x, mean, variance, scale, dscale, dshift, dx)",
            "aligned(dy, x, mean, variance, scale, dscale, dx)",
        ),
    ),
    *_of(
        "batch_norm.cu",
        "batch_norm_update",
        ("forgets all", "running_mean[k] = kept * running_mean[k] + momentum", "running_mean[k] = momentum"),
        (
            "forgets nothing",
            "running_variance[k] = kept * running_variance[k]",
            "running_variance[k] = running_variance[k]",
        ),
        ("biased", "momentum * (unbiased * variance[k])", "momentum * variance[k]"),
        ("no momentum", "momentum * mean[k]", "mean[k]"),
        (
            "the last map is left out",
            "k < D; k += item_stride()) {\n        running_mean[k]",
            "k < D - 1; k += item_stride()) {\n        running_mean[k]",
        ),
    ),
]

MUTANTS = [
    *COMMON,
    *ELEMENTWISE,
    *BIAS,
    *LOSSES,
    *POOL,
    *AVERAGE_POOL,
    *L2_POOL,
    *LRN,
    *MERGE,
    *CONV,
    *LOCAL,
    *BATCH_NORM,
]
