"""Slices and shuffles of maps: ops against indices, PyTorch, nets, words, and what is refused."""

import numpy as np
import pytest
import torch

from gpunet import FC, ConfigError, Conv, Model, Net, ReLU, ShapeError, Shuffle, Slice, load
from tests.layer_checks import check_net, check_only_given_images, check_words
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@DTYPES
@pytest.mark.parametrize(("D", "first", "last"), [(8, 0, 4), (8, 4, 8), (7, 2, 3), (7, 0, 7), (12, 4, 8), (12, 3, 11)])
def test_a_slice_takes_its_maps_and_gives_zero_to_the_others(device, rng, D, first, last, dtype):
    x = rng.standard_normal((3, 5, 2, D)).astype(dtype)
    (y,) = run_op(device, "slice_forward", [x], [((3, 5, 2, last - first), dtype)], first=first)
    np.testing.assert_array_equal(y, x[..., first:last])
    (dx,) = run_op(device, "slice_backward", [y], [(x.shape, dtype)], first=first)
    np.testing.assert_array_equal(dx, np.where((np.arange(D) >= first) & (np.arange(D) < last), x, 0))


@DTYPES
@pytest.mark.parametrize(("D", "groups"), [(6, 2), (6, 3), (12, 4), (8, 8), (8, 1), (15, 5)])
def test_a_shuffle_deals_out_and_deals_back(device, rng, D, groups, dtype):
    x = rng.standard_normal((2, 3, 5, D)).astype(dtype)
    (y,) = run_op(device, "shuffle", [x], [(x.shape, dtype)], groups=groups)
    for g in range(groups):
        for i in range(D // groups):
            np.testing.assert_array_equal(y[..., i * groups + g], x[..., g * (D // groups) + i])
    maps = torch.tensor(x.transpose(0, 3, 1, 2).copy())
    np.testing.assert_array_equal(y.transpose(0, 3, 1, 2), torch.nn.ChannelShuffle(groups)(maps).numpy())
    (back,) = run_op(device, "shuffle", [y], [(x.shape, dtype)], groups=D // groups)
    np.testing.assert_array_equal(back, x)


def test_images_behind_the_last_are_left_alone(device, rng):
    x = 1 + rng.random((3, 4, 5, 6))
    check_only_given_images(device, "shuffle", [x], x, groups=2)
    check_only_given_images(device, "slice_forward", [x], x[..., :4], first=1)


UNIT = """INPUT[6x5x3] -> CONV3-4 -> TANH -> {
    SLICE(last=2) | SLICE(first=2) -> CONV1-2 -> TANH -> CONV3-2(groups=2) -> CONV1-2
    } -> SHUFFLE -> FC-3"""


def test_nets_with_them_learn(device):
    """A unit of ShuffleNet 2: half of the maps go by."""
    check_net(load(UNIT), device)


def test_slices_put_together_again_are_what_they_were_cut_from(device, rng):
    whole, cut = (
        "CONV3-6 -> RELU -> FC-3",
        "CONV3-6 -> { SLICE(last=1) | SLICE(first=1, last=4) | SLICE(first=4) } -> RELU -> FC-3",
    )
    images, labels = rng.standard_normal((4, 5, 4, 2)), rng.integers(0, 3, 4)
    found = []
    for pattern in (whole, cut):
        with Model(load(f"INPUT[5x4x2] -> {pattern}"), 4, device, dtype="float64", seed=1, debug=True) as model:
            found.append(model.gradients(images, labels)["conv1.w"])
    np.testing.assert_array_equal(*found)


def test_the_words(tmp_path):
    layers = [Conv(6), Slice(1, 5), Shuffle(2), Slice(2), Shuffle(1), ReLU(), FC(2)]
    text = "CONV3-6 -> SLICE(first=1, last=5) -> SHUFFLE -> SLICE(first=2) -> SHUFFLE(groups=1) -> RELU -> FC-2"
    check_words(f"INPUT[4x3x2] -> {text}", Net("4x3x2", layers), tmp_path)


@pytest.mark.parametrize(("said", "why"), [
    ("SLICE(first=2, last=2)", "last must be above first=2"),
    ("SLICE(first=2, last=9)", "slice1: first=2, last=9 is no slice of 6 maps; use first < last <= 6"),
    ("SLICE(first=6)", "slice1: first=6 is no slice of 6 maps"),
    ("SHUFFLE(groups=4)", "shuffle1: groups=4 does not divide the D=6 maps"),
    ("SHUFFLE(groups=0)", "groups must be an integer of at least 1"),
    ("CHANNELSHUFFLE", "write SHUFFLE"),
])  # fmt: skip
def test_what_they_cannot_be_is_said(said, why):
    with pytest.raises((ConfigError, ShapeError), match=why):
        load(f"INPUT[4x3x6] -> {said}")


# Random calls of each op, for the tests that go through all ops.


def _slice(draw: Draw) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, int]]:
    """The whole, the slice, and where it begins; half of the time in whole packs."""
    N, H, W, _ = draw.volume()
    scale = draw.size(0, 1) * 3 + 1
    first, maps, behind = draw.size(0, 2), draw.size(1, 3), draw.size(0, 2)
    return (N, H, W, scale * (first + maps + behind)), (N, H, W, scale * maps), {"first": scale * first}


def call_slice_forward(draw: Draw) -> Call:
    whole, part, numbers = _slice(draw)
    return Call("slice_forward", (draw.values(*whole),), ((part, draw.dtype),), attributes=numbers)


def call_slice_backward(draw: Draw) -> Call:
    whole, part, numbers = _slice(draw)
    return Call("slice_backward", (draw.values(*part),), ((whole, draw.dtype),), attributes=numbers)


def call_shuffle(draw: Draw) -> Call:
    N, H, W, D = draw.volume()
    groups = draw.size(1, 4)
    shape = N, H, W, D * groups
    return Call("shuffle", (draw.values(*shape),), ((shape, draw.dtype),), attributes={"groups": groups})


MUTANTS = [
    *mutants_of(
        "maps.cu",
        "shift_maps",
        ("maps before the first", "from >= 0 && from < x_depth", "from < x_depth"),
        ("maps behind the last", "from >= 0 && from < x_depth", "from >= 0"),
        ("packs across maps of the source", "x_depth % WIDTH == 0 && y_depth", "y_depth"),
        ("packs across maps of the target", "&& y_depth % WIDTH == 0 ", ""),
        ("packs from any map", "&& shift % WIDTH == 0 ", ""),
        ("packs at any address", "&& shift % WIDTH == 0 && aligned(x, y)", "&& shift % WIDTH == 0"),
        ("ints for large volumes", "positions * largest(x_depth, y_depth)", "0"),
    ),
    *mutants_of(
        "maps.cu",
        "shuffle",
        ("dealt the other way", "to % groups * maps + to / groups", "to % maps * groups + to / maps"),
        ("packs across positions", "D % WIDTH == 0 && aligned(y)", "aligned(y)"),
        ("packs at any address", "D % WIDTH == 0 && aligned(y)", "D % WIDTH == 0"),
        (
            "one pack too few",
            "each_pack<COUNT>(positions * D.number,",
            "each_pack<COUNT>(positions * D.number - COUNT,",
        ),
    ),
]
"""Changes of its kernels that the tests above, and those of all ops, must notice."""
