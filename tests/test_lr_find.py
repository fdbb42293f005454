"""The learning-rate range test: what curves of known shape lead to, and what a real net does."""

from itertools import pairwise

import numpy as np
import pytest

from gpunet import ConfigError, DataError, Model, ShapeError, load
from gpunet.data import Dataset, Split, digits
from gpunet.net.net import Net
from gpunet.train.lr_find import RateTest, RateTests, diverged, growing, lr_find, smoothed, whole_epochs
from tests.runs import NET, images

RATES = growing(1e-6, 10.0, 200)
BLOCK = Net("8x8x1", load("INPUT[8x8x1] -> CONV3-8 -> RELU -> POOL2 -> FC-10").nodes, scale=1 / 16)


def test_rates_grow_by_one_factor() -> None:
    rates = growing(1e-4, 1.0, 41)
    assert rates[0] == pytest.approx(1e-4) and rates[-1] == pytest.approx(1.0)
    assert [later / rate for rate, later in pairwise(rates)] == pytest.approx([10**0.1] * 40)


def test_a_bell_leaves_a_line_where_it_is_and_noise_small() -> None:
    line = np.linspace(3, 1, 200)
    assert smoothed(line, 4)[12:-12] == pytest.approx(line[12:-12])
    assert smoothed(np.full(30, 2.5), 4) == pytest.approx(2.5)
    noise = np.random.default_rng(0).standard_normal(2000)
    assert smoothed(noise, 4).std() < 0.35  # of independent values: 1/sqrt(2 * sqrt(pi) * 4) = 0.27


def valley(lowest: float, width: float = 1.0) -> np.ndarray:
    """From 2 down to 1 at `lowest`, and up again, each over `width` decades in a line; flat elsewhere."""
    return np.asarray(1 + np.minimum(1, np.abs(np.log10(RATES / lowest)) / width))


@pytest.mark.parametrize("at", [1e-4, 3e-3, 0.2])
def test_a_rate_between_the_lowest_loss_and_its_rise_is_suggested(at: float) -> None:
    noise = 0.02 * np.random.default_rng(1).standard_normal(len(RATES))
    found = RateTest("net", RATES, valley(at) + noise, 200, None)
    assert found.lowest == pytest.approx(at, rel=0.3) and found.rises == pytest.approx(at * 10**0.2, rel=0.6)
    assert found.suggestion == pytest.approx(found.lowest ** (2 / 3) * found.rises ** (1 / 3))
    assert found.lowest < found.suggestion < found.rises


def test_where_the_loss_falls_is_of_no_account_nor_is_one_hard_batch() -> None:
    late, early = valley(0.01, 0.5), np.minimum(valley(0.01), np.where(RATES < 0.01, 1.05, 2))
    early[:12] = 2
    hard = valley(0.01)
    hard[120] = 40.0
    found = [RateTest("net", RATES, losses, 200, None).suggestion for losses in (valley(0.01), late, early, hard)]
    assert max(found) < 3 * min(found)  # type: ignore[type-var,operator]


def test_a_net_that_dies_and_comes_to_life_again_is_no_better_there() -> None:
    again = np.minimum(valley(0.01), np.where(RATES > 3, 0.5, 9.0))
    found = RateTest("net", RATES, again, 200, None)
    assert found.lowest < 0.02 and found.rises < 0.05
    assert RateTest("net", RATES, valley(0.01), 200, None).lowest == pytest.approx(found.lowest, rel=0.2)


def test_a_net_that_knows_all_by_heart_is_given_the_rate_at_which_it_first_did() -> None:
    flat = np.where(RATES < 0.01, valley(0.01), 1 - 1e-6 * np.log10(RATES / 0.01))  # falls on by nothing to speak of
    found = RateTest("net", RATES, flat, 200, None)
    assert found.rises == RATES[-1] and found.suggestion == found.lowest and 0.01 < found.lowest < 0.05


def test_of_several_tests_the_middle_one_counts() -> None:
    tests = [RateTest("net", RATES, valley(at), 200, end) for at, end in ((0.01, None), (0.02, 0.7), (3.0, 0.5))]
    found = RateTests(tuple(tests))
    assert found.suggestion == tests[1].suggestion and found.lowest == tests[1].lowest and found.diverged == 0.5
    flat = RateTest("net", RATES, np.full(len(RATES), 2.0), 200, None)
    assert RateTests((flat, *tests[:2])).suggestion is not None and RateTests((flat, flat, tests[0])).suggestion is None


def test_whole_epochs_are_covered_where_there_are_steps_for_one() -> None:
    assert whole_epochs(500, 1293, 16) == 560 and whole_epochs(560, 1293, 16) == 560  # of 80 whole batches
    assert whole_epochs(500, 1_281_167, 64) == 500 and whole_epochs(20, 5, 16) == 20


def test_nothing_is_suggested_where_the_loss_never_falls() -> None:
    noise = 0.02 * np.random.default_rng(1).standard_normal(len(RATES))
    assert RateTest("net", RATES, 2 + noise, 200, None).suggestion is None
    assert RateTest("net", RATES, np.linspace(2, 4, len(RATES)), 200, 10.0).suggestion is None


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([2.0] * 50, False),
        ([2.0] * 49 + [np.inf], True),
        ([np.nan], True),
        ([2.0] * 46 + [900.0] * 4, False),  # hard batches
        ([2.0] * 44 + [9.0] * 6, True),
        ([2.0] * 30 + [1.0] * 20, False),
        ([2.0] * 30 + [1.0] * 20 + [1.9] * 10, False),
        ([2.0] * 30 + [1.0] * 20 + [1.97] * 10, True),  # no better than at the start
        ([2.0] * 30 + [1.0] * 20 + [30.0] * 5 + [1.2] * 6, False),  # a jump that it gets over
        ([2.0] * 30 + [1.98] * 20 + [2.1] * 10, False),  # nothing was gained
        ([2.0] * 30 + [4.1] * 10, True),
    ],
)
def test_a_loss_has_diverged_where_it_lost_what_it_gained_or_doubled(losses: list[float], expected: bool) -> None:
    assert diverged(losses, 200) is expected


def test_a_net_is_tested_until_it_diverges_and_the_same_seed_gives_the_same_bits() -> None:
    tests = []
    for seed in (1, 1, 2):
        with Model(BLOCK, 16, "cpu", seed=seed) as model:
            tests.append(lr_find(model, digits(), steps=120, most=1000.0, seed=seed))
    found, again, other = tests
    assert found.losses.tobytes() == again.losses.tobytes() != other.losses.tobytes()
    assert found.diverged is not None and len(found.losses) < 120
    assert found.suggestion is not None and 1e-2 < found.lowest < found.suggestion < found.rises <= found.diverged
    assert found.rates.tolist() == growing(1e-5, 1000.0, 120)[: len(found.rates)].tolist()
    assert np.isfinite(found.losses).all()


def test_a_test_may_need_more_steps_than_an_epoch_has_and_takes_whole_batches() -> None:
    with Model(NET, 10, "cpu") as model:
        counts = []
        step = model.step
        model.step = lambda images, labels: counts.append(len(labels)) or step(images, labels)  # type: ignore[method-assign,func-returns-value]
        lr_find(model, images(44), least=1e-9, most=1e-8, steps=20)
    assert counts == [10] * 20
    with Model(NET, 100, "cpu") as model:
        assert len(lr_find(model, images(44), least=1e-9, most=1e-8, steps=20).losses) == 20


def test_batches_travel_ahead_as_in_training() -> None:
    with Model(NET, 10, "cpu") as model:  # with augmentation, and so with a second buffer
        sent = []
        send = model.device.send
        model.device.send = lambda *copy: sent.append(1) or send(*copy)  # type: ignore[method-assign,func-returns-value]
        lr_find(model, images(44), least=1e-9, most=1e-8, steps=20)
    assert len(sent) == 20


def test_images_that_could_not_be_augmented_are_refused_as_in_training() -> None:
    floats = Split(np.zeros((44, 4, 4, 1), np.float32), np.arange(44) % 3)
    with (
        Model(NET, 10, "cpu") as model,
        pytest.raises(DataError, match=r"augments images of bytes .* leave out \[augment\]"),
    ):
        lr_find(model, Dataset("floats", floats, floats), steps=20)


@pytest.mark.parametrize(("least", "most", "steps"), [(0, 1, 100), (1, 0.1, 100), (1e-6, 1, 19), (1e-6, np.inf, 100)])
def test_numbers_that_make_no_sense_are_refused(least: float, most: float, steps: int) -> None:
    with pytest.raises(ConfigError):
        growing(least, most, steps)


def test_a_test_that_starts_too_high_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "step", lambda self, images, labels: np.nan)
    with Model(BLOCK, 16, "cpu") as model, pytest.raises(ConfigError, match=r"nan after 0 steps .* start lower"):
        lr_find(model, digits(), least=1e3, most=1e5)


def test_data_that_no_rate_helps_are_named_instead() -> None:
    split = Split(np.full((40, 4, 4, 1), 1e30, np.float32), np.arange(40) % 3)
    net = load("INPUT[4x4x1] -> CONV3-2 -> FC-3")
    with (
        Model(net, 10, "cpu") as model,
        np.errstate(all="ignore"),
        pytest.raises(ConfigError, match=r"huge holds float32 images with values from 1e.30 to 1e.30.* far too large"),
    ):
        lr_find(model, Dataset("huge", split, split), least=1e3, most=1e5)


def test_a_last_batch_of_one_image_is_no_matter_where_whole_batches_are_taken() -> None:
    net, data = load("INPUT[4x4x1] -> FC-6 -> BN -> FC-3"), images(21)
    with Model(net, 4, "cpu", seed=1) as model:  # 21 = 5 * 4 + 1, and BN over 1x1 maps needs two
        assert len(lr_find(model, data, least=1e-3, most=0.1, steps=20).losses) == 20
    single = Dataset("one", Split(*data.train.take(np.arange(1))), data.test)
    with Model(net, 4, "cpu") as model, pytest.raises(ShapeError, match="bn1 takes its statistics over the images"):
        lr_find(model, single, least=1e-3, most=0.1, steps=20)
