"""Dropout: Philox by its published numbers, one mask everywhere, shares and scales, and what a model makes of it."""

import numpy as np
import pytest

import gpunet
from gpunet import FC, ConfigError, Conv, Dropout, MaxPool, Model, Net, ReLU
from tests import oracle
from tests.layer_checks import N, batch_for, check_net, check_words
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op

PUBLISHED = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
"""Counter, key and words: the known answers of Random123, by the authors of the paper."""

WHERE = {"seed": 0x299F31D0A4093822, "step": 7, "layer": 0x9370734, "first_image": 0, "training": 1}


def drop(device, x, in_place=None, **numbers):
    attributes = {"p": 0.5, **WHERE, **numbers}
    given = [x, np.array([np.nan, attributes["step"]])]
    attributes["step"] = 1
    (y,) = run_op(device, "dropout", given, [(x.shape, x.dtype)], in_place=in_place, **attributes)
    return y


@pytest.mark.parametrize("counter, key, words", PUBLISHED)
def test_the_oracle_gives_the_published_numbers(counter, key, words):
    assert oracle.philox(counter, key) == words


def test_a_value_is_dropped_where_its_random_bits_are_below_p(device):
    """The four words of the first published numbers, each with a p just at it and one just above."""
    numbers = {"seed": 0, "step": 0, "layer": 0}
    for which, word in enumerate(PUBLISHED[0][2]):
        x = np.ones((1, 1, 1, 4))
        assert drop(device, x, p=word / 2**32, **numbers)[0, 0, 0, which] > 1
        assert drop(device, x, p=(word + 1) / 2**32, **numbers)[0, 0, 0, which] == 0


@pytest.mark.parametrize("shape", [(3, 5, 7, 3), (3, 2, 3, 4), (1, 1, 1, 1), (4, 1, 1, 3)])
@pytest.mark.parametrize("in_place", [None, {0: 0}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_masks_are_those_of_the_oracle_wherever_the_images_stand(device, rng, dtype, in_place, shape):
    x = rng.standard_normal(shape).astype(dtype)
    for first_image in (0, 1, 2**31 + 5, 2**40 + 3):
        for p in (0.0, 0.3, 0.75):
            where = {**WHERE, "p": p, "first_image": first_image}
            expected = oracle.dropout(x, p, WHERE["seed"], WHERE["step"], WHERE["layer"], first_image)
            found = drop(device, x, in_place, **where)
            np.testing.assert_array_equal(found == 0, expected == 0)
            oracle.assert_near(found, expected, 1e-6)


def test_parts_of_a_batch_get_their_part_of_its_mask(device, rng):
    x = rng.standard_normal((7, 3, 5, 3)).astype(np.float32)
    whole = drop(device, x)
    for first, last in ((0, 3), (3, 4), (5, 7)):
        part = drop(device, x[first:last], first_image=first)
        assert part.tobytes() == whole[first:last].tobytes()


def test_what_is_dropped_is_exactly_zero_and_nothing_is_without_training(device):
    x = np.resize(np.array([np.nan, np.inf, -np.inf, -2], np.float32), (2, 5, 9, 3))
    y = drop(device, x)
    dropped = drop(device, np.ones_like(x)) == 0
    assert y[dropped].tobytes() == bytes(4 * dropped.sum())
    np.testing.assert_array_equal(y[~dropped], 2 * x[~dropped])
    np.testing.assert_array_equal(drop(device, x, training=0), x)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_a_share_p_is_dropped_and_the_mean_stays(device, p):
    y = drop(device, np.ones((1, 100, 99, 40)), p=p)
    deviation = np.sqrt(p * (1 - p) / y.size)
    assert abs((y == 0).mean() - p) < 5 * deviation
    assert abs(y.mean() - 1) < 5 * deviation / (1 - p)


def test_steps_layers_and_seeds_have_masks_of_their_own(device):
    x = np.ones((1, 40, 30, 5), np.float32)
    masks = [drop(device, x)] + [drop(device, x, **{name: WHERE[name] + 1}) for name in ("seed", "step", "layer")]
    masks.append(drop(device, x, seed=WHERE["seed"] + 2**32))
    for i, one in enumerate(masks):
        for other in masks[:i]:
            assert 0.45 < ((one == 0) == (other == 0)).mean() < 0.55


def drop_whole(device, x, maps, in_place=None, **numbers):
    attributes = {"p": 0.5, **WHERE, **numbers}
    given = [x, np.array([np.nan, attributes["step"]])]
    attributes["step"] = 1
    (y,) = run_op(device, "dropout_whole", given, [(x.shape, x.dtype)], in_place=in_place, maps=maps, **attributes)
    return y


@pytest.mark.parametrize("shape", [(3, 5, 7, 3), (5, 2, 3, 8), (7, 1, 1, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_whole_maps_and_images_go_by_the_random_bits_of_their_places(device, rng, dtype, shape):
    """A map's place is that of a value in a batch of 1 x 1 volumes, an image's that of a batch of single values."""
    x = 1 + rng.random(shape).astype(dtype)
    for first_image in (0, 1, 2**31 + 5, 2**40 + 3):
        for maps in (shape[3], 1):
            places = np.ones((shape[0], 1, 1, maps))
            mask = oracle.dropout(places, 0.3, WHERE["seed"], WHERE["step"], WHERE["layer"], first_image)
            for in_place in (None, {0: 0}):
                found = drop_whole(device, x, maps, in_place, p=0.3, first_image=first_image)
                oracle.assert_near(found, x.astype(np.float64) * mask, 1e-6)


def test_parts_of_a_batch_get_their_part_of_the_maps_that_go(device, rng):
    x = rng.standard_normal((7, 3, 5, 3)).astype(np.float32)
    for maps in (3, 1):
        whole = drop_whole(device, x, maps)
        part = drop_whole(device, x[3:6], maps, first_image=3)
        assert part.tobytes() == whole[3:6].tobytes()


def test_what_goes_as_a_whole_is_exactly_zero_and_nothing_is_without_training(device):
    x = np.resize(np.array([np.nan, np.inf, -np.inf, -2], np.float32), (6, 5, 3, 4))
    y, mask = drop_whole(device, x, 4), drop_whole(device, np.ones_like(x), 4)
    assert 0 < (mask == 0).sum() < mask.size
    assert y[mask == 0].tobytes() == bytes(4 * (mask == 0).sum())
    np.testing.assert_array_equal(y[mask != 0], 2 * x[mask != 0])
    np.testing.assert_array_equal(drop_whole(device, x, 1, training=0), x)


# ---- in a model ----

LAYERS = [Conv(4), ReLU(), Dropout(0.25), MaxPool(2), Dropout(), FC(6), ReLU(), Dropout(0.5), FC(4)]


def test_nets_with_it_learn_and_savings_and_rounds_drop_the_same_values(device):
    check_net(Net("8x6x2", LAYERS), device)


def test_nets_with_whole_maps_and_branches_learn_and_drop_the_same_in_rounds(device):
    branches = "{ CONV3-3 -> DROPOUT(p=0.5, of=images) + ID }"
    check_net(gpunet.load(f"INPUT[5x4x2] -> CONV3-3 -> DROPOUT(p=0.3, of=maps) -> {branches} -> FC-3"), device)


def test_evaluation_and_inference_drop_nothing_and_leave_training_alone(device):
    net, plain = Net("8x6x2", LAYERS), Net("8x6x2", [layer for layer in LAYERS if not isinstance(layer, Dropout)])
    images, labels = batch_for(net)
    images = images.astype(np.float32)
    with Model(net, N, device, seed=3, debug=True) as model, Model(plain, N, device, seed=3) as judge:
        for _ in range(2):
            trained = model.gradients(images, labels)
            assert model.forward(images).tobytes() == judge.forward(images).tobytes()
            assert model.evaluate(images, labels) == judge.evaluate(images, labels)
            again = model.gradients(images, labels)
            assert all(again[name].tobytes() == value.tobytes() for name, value in trained.items())
            model.step(images, labels)
            for name, value in model.parameters.items():
                judge.parameters[name] = value
        with Model(net, N, device, mode="infer", debug=True) as infer:
            for name, value in model.parameters.items():
                infer.parameters[name] = value
            assert infer.forward(images).tobytes() == judge.forward(images).tobytes()


def test_every_step_drops_other_values_and_the_same_step_the_same_on_every_device(device):
    net = Net("8x6x2", [Dropout(), FC(4)])
    images, labels = batch_for(net)
    seen = []
    for place in (device, "cpu"):
        with Model(net, N, place, seed=3, learning_rate=0, dtype="float64") as model:
            found = []
            for _ in range(2):
                dropped = model.gradients(np.ones_like(images), labels)["fc1.w"]
                found.append(dropped)
                model.step(images, labels)
        seen.append(found)
    assert not np.allclose(seen[0][0], seen[0][1])
    np.testing.assert_allclose(seen[0], seen[1], rtol=1e-12, atol=1e-14)


def test_inference_has_no_op_for_it_wherever_it_stands(device):
    for pattern in ("DROPOUT -> FC-3", "FC-3 -> DROPOUT", "FC-3 -> DROPOUT -> DROPOUT(p=0.1)"):
        net = gpunet.load(f"INPUT[4x3x2] -> {pattern}")
        plan = gpunet.plan(net, 5, mode="infer", device="cpu")
        assert "dropout" not in {op.name for op in plan.program.ops}
        images = np.ones((5, 4, 3, 2), np.float32)
        with Model(net, 5, device, mode="infer", debug=True) as infer, Model(net, 5, device, debug=True) as model:
            assert infer.forward(images).tobytes() == model.forward(images).tobytes()


def test_the_words(tmp_path):
    check_words("INPUT[4x3x2] -> DROPOUT -> DROPOUT(p=0.25)", Net("4x3x2", [Dropout(), Dropout(0.25)]), tmp_path)
    whole = Net("4x3x2", [Dropout(of="maps"), Dropout(0.25, "images")])
    check_words("INPUT[4x3x2] -> DROPOUT(of=maps) -> DROPOUT(p=0.25, of=images)", whole, tmp_path)


@pytest.mark.parametrize(("said", "why"), [
    ("DROPOUT(of=map)", "of must be one of values, maps, images; got 'map'; did you mean maps"),
    ("DROPOUT2D(p=0.2)", r"write DROPOUT\(of=maps\)"),
    ("STOCHASTIC_DEPTH", r"write DROPOUT\(of=images\)"),
])  # fmt: skip
def test_what_goes_as_a_whole_is_named(said, why):
    with pytest.raises(ConfigError, match=why):
        gpunet.load(f"INPUT[4x3x2] -> {said}")


@pytest.mark.parametrize("p", [1, -0.1, float("nan"), True, "0.5"])
def test_shares_that_leave_nothing_or_mean_nothing_are_refused(p):
    with pytest.raises(ConfigError, match="p must be a number of at least 0 and below 1; got"):
        Dropout(p)


# Random calls of each op, for the tests that go through all ops.


def call_dropout(draw: Draw) -> Call:
    return _drop(draw, "dropout", draw.activations())


def call_dropout_whole(draw: Draw) -> Call:
    x = draw.activations()
    return _drop(draw, "dropout_whole", x, maps=(1, x.shape[3])[draw.size(0, 1)])


def _drop(draw: Draw, op: str, x: np.ndarray, **numbers: int) -> Call:
    where = {"seed": draw.size(0, 2**62), "step": 0, "layer": draw.size(0, 2**32 - 1)}
    step = np.array([draw.size(1, 2**31)], np.float64)
    where |= {
        "p": 1 - 1 / 2 ** draw.size(1, 3),
        "first_image": draw.size(0, 2**33),
        "training": draw.size(0, 3) > 0,
    } | numbers
    return Call(op, (x, step), ((x.shape, draw.dtype),), attributes=where, aliases=({0: 0},))


MUTANTS = [
    *mutants_of(
        "dropout.cu",
        "dropout",
        ("the same mask in every round", "place = first + pack * size", "place = pack * size"),
        ("one word for all", "(place + lane) % 4", "lane % 4"),
        ("groups across packs", "first % WIDTH == 0 && aligned(x, y), [=]", "aligned(x, y), [=]"),
        ("packs at any address in", "&& aligned(x, y), [=]", "&& aligned(y), [=]"),
        ("packs at any address out", "&& aligned(x, y), [=]", "&& aligned(x), [=]"),
        ("the threshold is dropped too", "= word < threshold ?", "= word <= threshold ?"),
        (
            "not scaled",
            "word < threshold ? real(0) : values.value[lane] * scale",
            "word < threshold ? real(0) : values.value[lane]",
        ),
        ("NaN times 0", "word < threshold ? real(0) :", "word < threshold ? values.value[lane] * real(0) :"),
        ("the last value is left out", "elementwise(count,", "elementwise(count - 1,"),
    ),
    *mutants_of(
        "dropout.cu",
        "dropout_whole",
        ("the same mask in every round", "image = first_image + item / of_image", "image = item / of_image"),
        ("the words of the first maps", "(maps > 1 && place % 4 == 0)", "false"),
        ("all maps of an image", "maps == 1 ? image : image * maps + d + lane", "image"),
        ("packs across positions", "D % WIDTH == 0 && aligned(x, y), images", "aligned(x, y), images"),
        ("packs at any address", "D % WIDTH == 0 && aligned(x, y), images", "D % WIDTH == 0, images"),
        ("NaN times 0", "gone ? real(0) :", "gone ? values.value[lane] * real(0) :"),
    ),
]
"""Changes of its kernels that the tests above, and those of all ops, must notice."""
