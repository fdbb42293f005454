"""Augmentation: each part of it by its definition, the shares of what is drawn, and what a model makes of it."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpunet
from gpunet import FC, Augment, ConfigError, Conv, Dropout, MaxPool, Model, Net, ReLU, ShapeError
from gpunet.compile.fuse import FUSIONS
from gpunet.compile.ways import Ways
from gpunet.net.config import Config, dump, load_config
from gpunet.program.tensor import Kind
from gpunet.report.ways import describe
from tests import oracle
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op
from tests.test_ways import planned

WHERE = {"seed": 0x299F31D0A4093822, "seen": 7, "layer": 0x9370734, "first_image": 0, "training": 1}
NOTHING = {"P": 0, "mirror": 0, "contrast": 0.0, "brightness": 0.0, "saturation": 0.0}
PLAIN = {f"scale_{d}": 1.0 for d in range(3)} | {f"shift_{d}": 0.0 for d in range(3)}


def run(device, x: np.ndarray, shape: tuple[int, ...], dtype: Any = np.float64, **numbers: Any) -> list[np.ndarray]:
    """y and choices."""
    outputs = [(shape, dtype), ((len(x), 7), dtype)]
    attributes = NOTHING | PLAIN | WHERE | numbers
    changing = np.array([np.nan, attributes["seen"]])
    return run_op(device, "augment", [x, changing], outputs, **(attributes | {"seen": 1}))


def pixels(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(0, 256, shape).astype(np.uint8)


# ---- the op ----

PARTS: dict[str, dict[str, Any]] = {
    "window": {"P": 3},
    "mirror": {"mirror": 1},
    "contrast": {"contrast": 0.75},
    "brightness": {"brightness": 0.9},
    "saturation": {"saturation": 1.0},
    "all": {"P": 2, "mirror": 1, "contrast": 0.4, "brightness": 0.3, "saturation": 0.6},
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_each_part_is_as_defined_wherever_the_images_stand(device, rng, dtype, part):
    for x_shape, shape in [((3, 5, 7, 3), (3, 5, 7, 3)), ((2, 9, 6, 3), (2, 4, 5, 3)), ((2, 4, 9, 3), (2, 6, 10, 3))]:
        numbers = PARTS[part]
        if x_shape[1] + 2 * numbers.get("P", 0) < shape[1]:
            continue
        x = pixels(rng, *x_shape)
        scales, shifts = (0.5, 2.0, -1.0), (0.25, -3.0, 7.0)
        normal = {f"scale_{d}": scales[d] for d in range(3)} | {f"shift_{d}": shifts[d] for d in range(3)}
        for training in (1, 0):
            for seen, first_image in ((0, 5), (2**31 + 5, 0), (2**40 + 3, 2**31)):
                where = WHERE | {"seen": seen, "first_image": first_image, "training": training}
                y, choices = run(device, x, shape, dtype, **numbers, **normal, **where)
                wanted, chosen = oracle.augment(x, shape, scales=scales, shifts=shifts, **numbers, **where)
                np.testing.assert_array_equal(choices[:, :3], chosen[:, :3])
                tolerance = 1e-6 if dtype == np.float32 else 1e-14
                oracle.assert_near(choices, chosen, tolerance)
                oracle.assert_near(y, wanted, tolerance)


@pytest.mark.parametrize("D", [1, 2, 4, 5])
def test_grey_of_other_depths_is_the_mean_of_the_maps_and_the_third_normal_is_for_all_behind(device, rng, D):
    x = pixels(rng, 3, 6, 5, D)
    numbers = {"P": 1, "mirror": 1, "contrast": 0.5, "brightness": 0.5}
    scales, shifts = (1.0, 2.0, 3.0), (4.0, 5.0, 6.0)
    normal = {f"scale_{d}": scales[d] for d in range(3)} | {f"shift_{d}": shifts[d] for d in range(3)}
    y, _ = run(device, x, x.shape, **numbers, **normal)
    oracle.assert_near(y, oracle.augment(x, x.shape, scales=scales, shifts=shifts, **numbers, **WHERE)[0], 1e-14)


def test_an_amount_of_zero_and_a_test_leave_every_byte_as_it_is(device):
    x = np.arange(256 * 3).astype(np.uint8).reshape(2, 16, 8, 3)
    for numbers in ({}, {**PARTS["all"], "training": 0}):
        y, choices = run(device, x, x.shape, np.float32, **numbers)
        np.testing.assert_array_equal(y, x)
        np.testing.assert_array_equal(choices, [[0, 0, 0, 1, 1, 1, 0]] * 2)


def test_the_middle_is_cut_where_nothing_is_learnt(device, rng):
    for size, cut, P, top in ((9, 4, 0, 2), (9, 4, 3, 2), (4, 4, 3, 0), (4, 8, 3, -2), (5, 8, 2, -2)):
        x = pixels(rng, 1, size, size, 1)
        y, choices = run(device, x, (1, cut, cut, 1), P=P, training=0)
        assert choices[0, :2].tolist() == [top, top]
        rows = [x[0, top + row, :, 0] if 0 <= top + row < size else 0 * x[0, 0, :, 0] for row in range(cut)]
        left, room = max(0, -top), min(size, cut)
        whole = np.zeros((cut, cut))
        for row, values in enumerate(rows):
            whole[row, left : left + room] = values[max(0, top) :][:room]
        np.testing.assert_array_equal(y[0, :, :, 0], whole)


def test_parts_of_a_batch_are_augmented_as_in_the_whole(device, rng):
    x = pixels(rng, 7, 6, 5, 3)
    whole, _ = run(device, x, (7, 4, 5, 3), np.float32, **PARTS["all"])
    for first, last in ((0, 3), (3, 4), (5, 7)):
        part, _ = run(device, x[first:last], (last - first, 4, 5, 3), np.float32, **PARTS["all"], first_image=first)
        assert part.tobytes() == whole[first:last].tobytes()


def test_every_window_mirror_image_and_factor_comes_in_its_share(device):
    N, P = 6000, 2
    x = np.zeros((N, 3, 3, 3), np.uint8)
    amounts = {"contrast": 0.4, "brightness": 1.0, "saturation": 0.2}
    _, choices = run(device, x, (N, 3, 3, 3), P=P, mirror=1, **amounts)
    for column in (0, 1):
        values, counts = np.unique(choices[:, column], return_counts=True)
        assert values.tolist() == [-2, -1, 0, 1, 2]
        assert np.abs(counts / N - 0.2).max() < 5 * np.sqrt(0.16 / N)
    assert abs(choices[:, 2].mean() - 0.5) < 5 * 0.5 / np.sqrt(N)
    for column, amount in enumerate(amounts.values(), 3):
        factors = choices[:, column]
        assert 1 - amount <= factors.min() < 1 - 0.99 * amount
        assert 1 + 0.99 * amount < factors.max() <= 1 + amount
        assert abs(factors.mean() - 1) < 5 * amount / np.sqrt(3 * N)
    drawn = np.abs(np.corrcoef(choices[:, :6].T)) - np.eye(6)
    assert drawn.max() < 5 / np.sqrt(N)  # none tells anything of another


def test_layers_seeds_and_images_draw_for_themselves(device):
    x = np.zeros((400, 3, 3, 1), np.uint8)
    numbers = {"P": 2, "mirror": 1, "brightness": 0.5}
    drawn = [run(device, x, x.shape, **numbers)[1]]
    drawn += [run(device, x, x.shape, **numbers, **{name: WHERE[name] + 1})[1] for name in ("seed", "layer")]
    drawn.append(run(device, x, x.shape, **numbers, seen=WHERE["seen"] + len(x))[1])
    drawn.append(run(device, x, x.shape, **numbers, seed=WHERE["seed"] + 2**32)[1])
    drawn.append(np.roll(drawn[0], 1, axis=0))
    for i, one in enumerate(drawn):
        for other in drawn[:i]:
            assert abs(np.corrcoef(one[:, 4], other[:, 4])[0, 1]) < 0.25
            assert 0.1 < (one[:, 0] == other[:, 0]).mean() < 0.3


# ---- in a net ----

LAYERS = [Conv(4), ReLU(), MaxPool(2), Dropout(0.25), FC(4)]
LIGHT = Augment(pad=2, flip=True, contrast=0.2, brightness=0.2, saturation=0.2, normalize="cifar10")


def batches_for(net: Net, count: int, batch: int = 5) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(4)
    sizes = [batch if k != 1 else batch - 2 for k in range(count)]
    return [(pixels(rng, n, *net.image.shape), rng.integers(0, net.classes, n)) for n in sizes]


@pytest.mark.parametrize("ways", [None, Ways(5000, micro_batch=2), Ways(5000, ("pool1.y",), "pool1.y", 2)], ids=str)
def test_sending_ahead_changes_no_bit(device, ways):
    for augment in (LIGHT, None):
        net = Net("8x6x3", LAYERS, augment=augment)
        plan = None if ways is None else planned(net, 5, device.name, ways, without=FUSIONS)
        found = []
        for ahead in (False, True):
            with Model(net, 5, device, seed=3, plan=plan, debug=True) as model:
                losses = []
                for _ in range(2):
                    batches = iter(batches_for(net, 4))
                    losses += [model.step(*pair) for pair in (model.ahead(batches) if ahead else batches)]
                losses += [model.evaluate(*pair) for pair in model.ahead(batches_for(net, 3))]
                found.append((losses, {name: value.tobytes() for name, value in model.state.items()}))
        assert found[0] == found[1]


def test_the_next_batch_is_asked_for_while_a_step_runs_and_may_change_afterwards(device):
    """The loader may use its arrays again; what is tested in between does not disturb what was sent."""
    net = Net("8x6x3", LAYERS, augment=LIGHT)
    batches = batches_for(net, 4)
    with Model(net, 5, device, seed=3, debug=True) as model:
        wanted = []
        for pair in batches:
            wanted.append(model.step(*pair))
            model.forward(batches[0][0])
    asked: list[int] = []

    def source():
        for number, (images, labels) in enumerate(batches):
            asked.append(number)
            scratch = images.copy()
            yield scratch, labels
            asked.append(-number)

    with Model(net, 5, device, seed=3, debug=True) as model:
        found = []
        for images, labels in model.ahead(source()):
            seen = len(asked)
            found.append(model.step(images, labels))
            assert len(asked) == seen + 1 + (len(found) < len(batches))
            images.fill(0)
            model.forward(batches[0][0])
            assert list(model.ahead(batches)) == batches  # within another: not sent
        assert found == wanted


def test_what_is_wrong_with_a_batch_is_said_when_it_is_its_turn(device):
    net = Net("8x6x3", LAYERS, augment=LIGHT)
    good = batches_for(net, 1)[0]
    with Model(net, 5, device, seed=3) as model:
        source = model.ahead([good, (good[0], np.full(5, 9))])
        model.step(*next(source))
        assert model.steps == 1
        with pytest.raises(gpunet.DataError, match="label 9 is out of range"):
            next(source)
        assert np.isfinite(model.step(*good))


def test_the_same_images_on_every_device_and_others_in_every_step(device):
    net = Net("8x6x3", [FC(4)], augment=LIGHT)
    images, labels = batches_for(net, 1)[0]
    seen = []
    for place in (device, "cpu"):
        with Model(net, 5, place, seed=3, learning_rate=0, dtype="float64") as model:
            found = []
            for _ in range(2):
                found.append(model.gradients(images, labels)["fc1.w"])
                model.step(images, labels)
        seen.append(found)
    assert not np.allclose(seen[0][0], seen[0][1])
    np.testing.assert_allclose(seen[0], seen[1], rtol=1e-12, atol=1e-13)


def test_what_is_drawn_for_an_image_does_not_depend_on_the_batch(device):
    net = Net("8x6x3", [FC(4)], augment=LIGHT)
    rng = np.random.default_rng(4)
    images, labels = pixels(rng, 7, 8, 6, 3), rng.integers(0, 4, 7)
    sums = []
    for batch in (7, 3, 1):
        with Model(net, batch, device, seed=3, learning_rate=0, dtype="float64") as model:
            gradients = []
            for first in range(0, len(images), batch):
                part = images[first : first + batch], labels[first : first + batch]
                gradients.append(len(part[1]) * model.gradients(*part)["fc1.w"])
                model.step(*part)
            sums.append(sum(gradients))
    np.testing.assert_allclose(sums[1:], [sums[0]] * 2, rtol=1e-12, atol=1e-13)


def test_a_test_sees_the_middle_normalized_and_a_float_image_is_taken_as_it_is(device):
    augment = Augment(size=(12, 9), pad=2, flip=True, brightness=0.5, mean=(0.5, 0.25, 0.125), std=(0.5, 1, 2))
    net, plain = Net("8x6x3", LAYERS, augment=augment), Net("8x6x3", LAYERS)
    images, labels = batches_for(net, 1)[0]
    middle = images[:, 2:10, 1:7] / 255
    floats = ((middle - (0.5, 0.25, 0.125)) / (0.5, 1, 2)).astype(np.float32)
    for mode in ("train", "infer"):
        with Model(net, 5, device, mode=mode, debug=True) as model, Model(plain, 5, device, debug=True) as judge:
            wanted = judge.forward(floats)
            np.testing.assert_allclose(model.forward(images), wanted, rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(model.forward(floats), wanted)
            if mode == "train":
                assert model.evaluate(images, labels)[0] == pytest.approx(judge.evaluate(floats, labels)[0], rel=1e-5)
            with pytest.raises(ShapeError, match=r"takes images of shape \(n, 12, 9, 3\); got \(5, 8, 6, 3\)"):
                model.forward(images[:, :8, :6])


def test_without_anything_to_do_it_is_scale_and_shift(device):
    bits = []
    for augment in (Augment(), None):
        net = Net("8x6x3", LAYERS, scale=1 / 16, shift=-0.5, augment=augment)
        with Model(net, 5, device, seed=3) as model:
            losses = [model.step(*pair) for pair in batches_for(net, 3)]
            bits.append((losses, {name: value.tobytes() for name, value in model.parameters.items()}))
    assert bits[0] == bits[1]


# ---- in the plan ----


@pytest.mark.parametrize("mode", ["train", "infer"])
def test_bytes_their_second_buffer_and_the_augmented_copy_are_data_of_the_plan(device, mode):
    net = Net("8x6x3", LAYERS, augment=Augment(size=(12, 9), pad=1))
    plan = gpunet.plan(net, 5, mode=mode, device="cpu")
    data = {t.name: t for t in plan.tensors if t.kind is Kind.DATA and t.layer == "input"}
    sizes = {"input.bytes": 5 * 12 * 9 * 3, "input.images": 4 * 5 * 8 * 6 * 3, "input.choices": 4 * 5 * 7}
    sizes["input.numbers"] = 8  # how many images were seen
    if mode == "train":
        sizes["input.numbers"] += 2 * 8  # the learning rate, and the step for dropout
        sizes |= {"input.next": sizes["input.bytes"], "input.labels": 4 * 5}
        assert all((data[name].first, data[name].last) == (0, plan.steps) for name in ("input.bytes", "input.next"))
    assert {name: t.nbytes for name, t in data.items()} == sizes
    with Model(net, 5, device, mode=mode) as model:
        assert (
            model.arena_bytes
            == model.plan.arena_bytes
            == max(t.offset + -(-t.nbytes // 256) * 256 for t in model.plan.tensors)
        )


def test_a_net_that_does_not_augment_has_a_second_buffer_too_but_where_memory_is_short():
    net = Net("32x32x3", LAYERS)
    wide = gpunet.plan(net, 64, device="cpu")
    assert [op.name for op in wide.program.ops[:1]] == ["image_to_float"]
    data = {t.name: (t.first, t.last) for t in wide.tensors if t.kind is Kind.DATA and t.layer == "input"}
    assert set(data) == {"input.bytes", "input.next", "input.images", "input.labels", "input.numbers"}
    assert data["input.bytes"] == data["input.next"] == (0, wide.steps)
    tight = gpunet.plan(net, 64, device="cpu", budget=wide.total_bytes - 1)
    assert tight.fits and tight.ways == replace(wide.ways, one_buffer=True)
    assert "input.next" not in {t.name for t in tight.tensors}
    assert next(t.last for t in tight.tensors if t.name == "input.bytes") == 1
    assert 0 < wide.arena_bytes - tight.arena_bytes <= 2 * 64 * 32 * 32 * 3
    assert describe(tight) == "one buffer for images: no extra FLOPs"


# ---- said, and refused ----


def test_a_config_says_it_and_says_it_again(tmp_path: Path) -> None:
    path = tmp_path / "net.toml"
    text = """
input = "8x6x3"
net = "CONV3-4 -> RELU -> FC-4"
[augment]
size = "12x9"
pad = 2
flip = true
brightness = 0.25
mean = [0.5, 0.25, 0]
std = [1]
"""
    path.write_text(text)
    config = load_config(path)
    augment = Augment(size=(12, 9), pad=2, flip=True, brightness=0.25, mean=(0.5, 0.25, 0), std=(1,))
    assert config.net.augment == augment == Augment(**{**asdict(augment), "size": "12x9"})
    assert config.net.image == gpunet.Volume(12, 9, 3)
    assert config.net != Net(config.net.input, config.net.nodes)
    path.write_text(dump(config))
    assert "mean = [0.5, 0.25, 0]\n" in path.read_text()
    assert load_config(path) == config
    assert config.net.scaled(0.5).augment == augment
    assert config.net.scaled(1, "10x10x3").image == gpunet.Volume(10, 10, 3)
    path.write_text(dump(Config(Net("8x6x3", LAYERS, augment=Augment()))))
    assert load_config(path).net.augment == Augment()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("pad = 2\nflop = true", r"line 5: \[augment\] has no key 'flop'; did you mean flip\?"),
        (
            "pad = -1\nflip = 1",
            "line 4: pad must be an integer from 0 to 1,000; got -1\n.*line 5: flip must be true or",
        ),
        ("contrast = 1.5", "line 4: contrast must be a number from 0 to 1; got 1.5"),
        ("size = 12", "line 4: size must be 2 of them like 0x1; got 12"),
        ('normalize = "cifar"', "line 4: normalize must be one of .*did you mean cifar10"),
        ('normalize = "mnist"\nstd = [1]', "line 5: std and normalize both say how pixels are normalized"),
        ('normalize = "cifar10"\nsaturation = 0.1', "line 5: saturation is for three maps; the net takes 2"),
        ('normalize = "cifar10"', "line 4: normalize = 'cifar10' holds 3 numbers; the net takes 2 maps"),
        ("mean = [1, 2, 3]", "line 4: mean holds 3 numbers; the net takes 2 maps"),
        ("std = [1, 0]", "line 4: std must hold numbers above 0; got"),
        ("mean = []", "line 4: mean holds 0 numbers"),
        ('mean = ["a"]', "line 4: mean must be a list"),
        ("pad = 6", "line 4: pad must be smaller than the net's input, 8x6x2; got 6"),
        ('pad = 1\nsize = "3x6"', "line 5: size 3x6 with 1 zeros on each side .* 8x6x2; .* or a pad of 3"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, lines: str, words: str) -> None:
    path = tmp_path / "net.toml"
    path.write_text(f'input = "8x6x2"\nnet = "FC-4"\n[augment]\n{lines}\n')
    with pytest.raises(ConfigError, match=words):
        load_config(path)


def test_what_is_no_augment_is_refused() -> None:
    with pytest.raises(ConfigError, match="augment must be an Augment"):
        Net("8x6x3", LAYERS, augment="flip")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"pad must be .*; brightness must be"):
        Augment(pad=-1, brightness=2)


# Random calls of the op, for the tests that go through all ops.


def call_augment(draw: Draw) -> Call:
    """Windows of padded images, larger and smaller than these."""
    N, H, W, D = draw.volume()
    D = 3 if draw.rng.random() < 0.5 else D
    P = draw.size(0, min(H, W) - 1)
    x = draw.rng.integers(0, 256, (N, draw.size(max(1, H - 2 * P), H + 5), draw.size(max(1, W - 2 * P), W + 5), D))
    amounts = {"contrast": draw.rng.random() if draw.rng.random() < 0.7 else 0.0}
    amounts |= {"brightness": draw.rng.random(), "saturation": draw.rng.random() if D == 3 else 0.0}
    normal = {f"{name}_{d}": draw.rng.normal() for name in ("scale", "shift") for d in range(3)}
    where = {"P": P, "mirror": draw.size(0, 1), "training": draw.size(0, 3) > 0, "first_image": draw.size(0, 2**33)}
    where |= {"seed": draw.size(0, 2**62), "seen": 0, "layer": draw.size(0, 2**32 - 1)}
    seen = np.array([draw.size(0, 2**40)], np.float64)
    outputs = ((N, H, W, D), draw.dtype), ((N, 7), draw.dtype)
    return Call("augment", (x.astype(np.uint8), seen), outputs, attributes={**where, **amounts, **normal})


MUTANTS = [
    *mutants_of(
        "augment.cu",
        "choose_augmentation",
        ("the last window is never drawn", "(unsigned long long)(room + 1) >> 32", "(unsigned long long)room >> 32"),
        ("the middle while learning", "(training ? drawn(one.a, down) : down / 2)", "(down / 2)"),
        ("a random column in a test", "(training ? drawn(one.b, across) : across / 2)", "drawn(one.b, across)"),
        ("padding is forgotten", "down / 2) - P", "down / 2)"),
        ("down for across", "across = W0 + 2 * P - W", "across = down"),
        ("one word for both ways", "drawn(one.b, across)", "drawn(one.a, across)"),
        ("all images alike", "random_words(2 * (before + n), 0", "random_words(2 * before, 0"),
        ("the same in every round", "random_words(2 * (before + n) + 1", "random_words(2 * n + 1"),
        ("images share words", "random_words(2 * (before + n) + 1", "random_words(before + n + 1"),
        ("one in four is mirrored", "one.c < 0x80000000u", "one.c < 0x40000000u"),
        ("always mirrors", "training && mirror && one.c", "training && one.c"),
        ("mirrors in a test", "training && mirror && one.c", "mirror && one.c"),
        ("factors above 1 alone", "(1 - amount) + 2 * amount", "1 + 2 * amount"),
        ("one factor for two", "factor(two.a, brightness)", "factor(one.d, brightness)"),
        ("brightness by saturation's word", "factor(two.b, saturation)", "factor(two.a, saturation)"),
        ("contrast in a test", "training ? factor(one.d, contrast) : real(1)", "factor(one.d, contrast)"),
        ("red and blue change places", "d == 0 ? 299 : d == 1 ? 587 : 114", "d == 0 ? 114 : d == 1 ? 587 : 299"),
        ("other depths as three", "D != 3 ? 1 :", "D < 3 ? 1 :"),
        ("the mean counts one pixel less", "item < H * W; item", "item < H * W - 1; item"),
        ("the mean forgets threads", "item = threadIdx.x; item <", "item = threadIdx.x + 1; item <"),
        ("the mean of the whole image", "row = top + line,", "row = line,"),
        ("the mean is not of the window's columns", "column = left + item - line", "column = item - line"),
        ("reads left of the image", "column < 0 || column >= W0) continue", "column >= W0) continue"),
        ("reads below the image", "row >= H0 ||", "row > H0 ||"),
        ("the mean of seen pixels alone", "(D == 3 ? 1000 : D) * H * W)", "(D == 3 ? 1000 : D) * H0 * W0)"),
        ("one block's images", "n += gridDim.x", "n += N"),
    ),
    *mutants_of(
        "augment.cu",
        "augment",
        ("the last pixel is left out", "item < pixels; item +=", "item < pixels - 1; item +="),
        (
            "the last pixel of three maps is left out",
            "(Index)threadIdx.x < pixels)",
            "(Index)threadIdx.x < pixels - 1)",
        ),
        ("writes behind the last pixel", "if (first * RGB + value < pixels * RGB) y", "y"),
        (
            "no barrier before the block writes",
            "        __syncthreads();\n        for (int value",
            "        for (int value",
        ),
        (
            "no barrier behind it",
            "        }\n        __syncthreads();\n    }\n}\n\n// A thread makes a pixel of any",
            "        }\n    }\n}\n\n// A thread makes a pixel of any",
        ),
        ("not mirrored", "(chosen[MIRRORED] != 0 ? W.number - 1 - w : w)", "w"),
        ("mirrored one off", "W.number - 1 - w : w", "W.number - w : w"),
        ("the padding repeats the border", "row >= 0 && row < H0", "row >= -1 && row < H0"),
        ("row beyond the image", "row < H0 && column >= 0", "row <= H0 && column >= 0"),
        ("column beyond the image", "column < W0;", "column <= W0;"),
        ("columns of the window's width", "(n * H0 + row) * W0 + column", "(n * H0 + row) * W + column"),
        ("contrast around black", "(1 - chosen[CONTRAST]) * chosen[MEAN]", "0"),
        ("no brightness", "return within(chosen[BRIGHTNESS] * value);", "return value;"),
        ("contrast is not held", "real value = within(chosen[CONTRAST]", "real value = (chosen[CONTRAST]"),
        ("brightness is not held", "return within(chosen[BRIGHTNESS] * value)", "return chosen[BRIGHTNESS] * value"),
        ("no saturation", "within(chosen[SATURATION] * tone(d) + (1 - chosen[SATURATION]) * grey)", "tone(d)"),
        (
            "saturation is not held",
            "within(chosen[SATURATION] * tone(d) + (1 - chosen[SATURATION]) * grey)",
            "chosen[SATURATION] * tone(d) + (1 - chosen[SATURATION]) * grey",
        ),
        ("not below 0", "value < 0 ? real(0) : value > 255", "value > 255"),
        (
            "grey of even parts",
            "real(0.299) * tone(0) + real(0.587) * tone(1)",
            "real(0.443) * tone(0) + real(0.443) * tone(1)",
        ),
        ("map 0's scale for map 1", "d == 1 ? scale_1 : scale_2) +", "d == 1 ? scale_0 : scale_2) +"),
        ("the last shift for map 1", "d == 1 ? shift_1 : shift_2)", "d == 1 ? shift_2 : shift_2)"),
        ("no shift for map 0", "+ (d == 0 ? shift_0", "+ (d == 0 ? real(0)"),
        ("ints for huge tensors", "pixels * D) < SMALL", "0) < SMALL"),
    ),
]
"""Changes of its kernels that the tests above, and those of all ops, must notice."""
