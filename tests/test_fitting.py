"""`model.fit`: every form of data, callbacks, rates, what it measures; and models asked for more than a batch."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import gpunet
from gpunet import ConfigError, DataError, Model, ShapeError
from gpunet.data import Dataset, Split
from gpunet.optimize.schedules import Plateau
from gpunet.train.diverged import Diverged
from gpunet.train.judge import judge
from gpunet.train.metrics import Mean
from gpunet.train.trainer import Trainer
from tests.runs import BATCH, EACH, NET, images

DATA = images()
TRAIN, TEST = DATA.train, DATA.test
PAIR = (TRAIN.images, TRAIN.labels)
PLAIN = gpunet.load("INPUT[4x4x1] -> CONV3-2 -> RELU -> FC-3")


def model(net: Any = NET, batch: int = BATCH, **options: Any) -> Model:
    return Model(net, batch, "cpu", **({"seed": 3, "learning_rate": 0.02} | options))


def bits(trained: Model) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in trained.state.items()}


def in_batches(count: int = EACH) -> list[tuple[np.ndarray, np.ndarray]]:
    return [TRAIN.take(np.arange(at, at + 2)) for at in range(0, 2 * count, 2)]


def forever() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    while True:
        yield from in_batches()


def test_a_fit_ends_in_the_bits_of_a_run_with_the_trainer():
    for schedule in ("constant", "cosine"):
        one, other = model(), model()
        one.fit(DATA, epochs=3, schedule=schedule, warmup=5)
        Trainer(other, DATA, epochs=3, seed=3, schedule=schedule, warmup=5).run()
        assert bits(one) == bits(other) and one.steps == other.steps == 3 * EACH and one.seen == other.seen


def test_two_fits_of_an_epoch_are_one_of_two():
    one, other = model(), model()
    one.fit(DATA, epochs=2)
    first, second = other.fit(DATA), other.fit(DATA)
    assert bits(one) == bits(other)
    assert [row.train_loss for row in first.epochs] != [row.train_loss for row in second.epochs]


@pytest.mark.parametrize(
    "data",
    [TRAIN, PAIR, (torch.from_numpy(TRAIN.images), torch.from_numpy(TRAIN.labels)), (PAIR[0], PAIR[1].tolist())],
    ids=["split", "arrays", "tensors", "a list of labels"],
)
def test_data_sets_splits_and_arrays_are_alike(data):
    one, other = model(), model()
    one.fit(data)
    other.fit(DATA)
    assert bits(one) == bits(other)


def test_labels_may_stand_beside_the_images():
    one, other = model(), model()
    one.fit(*PAIR)
    other.fit(PAIR)
    assert bits(one) == bits(other)


def test_batches_come_as_they_come():
    of_list, of_generator, by_hand = model(), model(), model()
    of_list.fit(in_batches(), epochs=2)
    of_generator.fit(forever(), epochs=2, steps_per_epoch=EACH)
    for part in 2 * in_batches():
        by_hand.step(*part)
    assert bits(of_list) == bits(of_generator) == bits(by_hand)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.from_numpy(TRAIN.images), torch.from_numpy(TRAIN.labels)), batch_size=2
    )
    found = model().fit(loader, epochs=2)
    assert len(found.steps) == 2 * len(loader) and len(found.epochs) == 2


def test_a_generator_that_nobody_counts_is_one_epoch():
    found = model().fit(iter(in_batches(4)))
    assert len(found.epochs) == 1 and len(found.steps) == 4


def test_a_generator_is_never_asked_for_more_than_an_epoch_needs():
    asked = []

    def source() -> Iterator[Any]:
        for number, part in enumerate(in_batches()):
            asked.append(number)
            yield part

    model().fit(source(), steps_per_epoch=4)
    assert asked == [0, 1, 2, 3]


def test_history_holds_what_was_measured():
    trained = model(PLAIN)
    seen: list[Any] = []
    found = trained.fit(DATA, epochs=2, validation=TEST, on_step=seen.append)
    assert found.name == "net" and found.folder is None and found.steps_per_epoch == EACH
    assert [(row.epoch, row.step) for row in found.steps] == [(1 + at // EACH, 1 + at) for at in range(2 * EACH)]
    assert [progress.loss for progress in seen] == [row.loss for row in found.steps]
    mean = Mean()
    for progress in seen[EACH:]:
        mean.add(progress.images, progress.loss, progress.correct)
    assert (found.epochs[1].train_loss, found.epochs[1].train_accuracy) == (mean.loss, mean.accuracy)
    assert [seen[0].so_far.images, seen[EACH - 1].so_far.images] == [BATCH, len(TRAIN)]  # each as it was
    judged = judge(trained, TEST)
    assert found.epochs[1].val_accuracy == judged.accuracy
    assert found.epochs[1].val_loss == pytest.approx(judged.loss, rel=1e-6)
    assert found.epochs[1].test_loss is None and found.plot().axes


@pytest.mark.parametrize(
    "validation", [TEST, (TEST.images, TEST.labels), [TEST.take(np.arange(2)), TEST.take(np.arange(2, 4))]]
)
def test_epochs_are_judged_by_any_form_of_data_and_learn_nothing_from_it(validation):
    one, other = model(), model()
    found = one.fit(DATA, validation=validation)
    other.fit(DATA)
    assert bits(one) == bits(other)
    loss, correct = one.evaluate(TEST)
    assert (found.epochs[0].val_loss, found.epochs[0].val_accuracy) == (pytest.approx(loss), correct / len(TEST))


def test_a_data_set_may_have_its_own_images_to_validate_with():
    found = model().fit(replace(DATA, validation=TEST))
    assert found.epochs[0].val_accuracy is not None and found.epochs[0].val_loss == pytest.approx(
        model().fit(DATA, validation=TEST).epochs[0].val_loss
    )


def test_the_test_images_of_a_data_set_are_not_looked_at(monkeypatch):
    def take(split: Split, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert split is not TEST
        return split.images[at], split.labels[at]

    monkeypatch.setattr(Split, "take", take)
    found = model().fit(DATA)
    assert np.isnan(found.epochs[0].test_loss) and found.epochs[0].val_loss is None
    assert "test" not in str(found) and found.to_dict()["epochs"][0]["test_loss"] is None


@pytest.mark.parametrize("answer", [True, np.True_])
def test_a_callback_that_returns_true_ends_the_fit(answer):
    found = model().fit(DATA, epochs=3, on_step=lambda progress: answer if progress.total_steps == EACH + 4 else None)
    assert len(found.steps) == EACH + 4 and len(found.epochs) == 1
    trained = model()
    found = trained.fit(DATA, epochs=3, on_epoch=lambda row: answer if row.epoch == 2 else "no")
    assert len(found.epochs) == 2 and trained.steps == 2 * EACH


def test_what_else_is_true_is_no_answer():
    losses: list[float] = []
    found = model().fit(DATA, on_step=lambda progress: losses.append(progress.loss) or 1, on_epoch=lambda row: row)
    assert len(losses) == len(found.steps) == EACH


def test_what_a_callback_raises_comes_out_and_the_model_is_left_well():
    trained = model(learning_rate=0.02)

    def stop(progress: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained.fit(DATA, on_step=stop, schedule="cosine", learning_rate=0.5)
    assert trained.learning_rate == 0.02 and trained.steps == 1
    assert len(trained.fit(DATA).steps) == EACH


def test_a_learning_rate_may_be_a_function_of_the_steps():
    rates = lambda step: 0.1 / (1 + step)  # noqa: E731
    fitted, hand, run = model(learning_rate=rates), model(), model(learning_rate=rates)
    found = fitted.fit(DATA, epochs=2)
    assert [row.learning_rate for row in found.steps] == [rates(step) for step in range(2 * EACH)]
    hand.fit(DATA, epochs=2, learning_rate=rates)
    assert hand.learning_rate == 0.02
    Trainer(run, DATA, epochs=2, seed=3).run()
    stepped = model(learning_rate=rates)
    for at in range(2 * EACH):
        assert stepped.learning_rate == rates(at)
        stepped.step(*TRAIN.take(np.arange(2)))
    assert bits(fitted) == bits(hand) == bits(run)


def test_a_function_is_asked_once_for_a_step():
    asked = []
    trained = model(PLAIN, learning_rate=lambda step: asked.append(step) or 0.1)
    for part in in_batches(3):
        trained.step(*part)
    assert asked == [0, 1, 2]


@pytest.mark.parametrize("rate", [np.nan, -1, "0.1", None, True])
def test_a_function_that_gives_no_rate_is_named_with_its_step(rate):
    trained = model(PLAIN, learning_rate=lambda step: 0.1 if step < 2 else rate)
    with pytest.raises(ConfigError, match="the learning rate of step 2 must be a number of at least 0; got"):
        trained.fit(in_batches(4))
    assert trained.steps == 2


def test_plateau_goes_by_the_images_to_validate_with():
    shape = Plateau(factor=0.5, wait=0)
    found = model(PLAIN, learning_rate=1e-9).fit(DATA, epochs=4, validation=TEST, schedule=shape)
    assert [row.learning_rate for row in found.epochs] == [1e-9, 1e-9, 0.5e-9, 0.25e-9]


def test_a_loss_that_is_no_number_says_where():
    with pytest.raises(Diverged, match=r"the loss became (nan|inf) in epoch \d, step \d+; .* try a smaller"):
        model(PLAIN, learning_rate=1e30).fit(DATA, epochs=3)


WIDE = Dataset("wide", *2 * [Split(np.zeros((4, 9, 9, 1)), [0, 1, 0, 1])])

WRONG = [
    ({"data": PAIR[0]}, ConfigError, r"an array of shape \(44, 4, 4, 1\) without labels; give a data set"),
    ({"data": "digits"}, ConfigError, r"in 'digits'; load\('digits'\) of gpunet.data may give"),
    ({"data": 7}, ConfigError, "nothing to learn from in 7"),
    ({"data": {"images": 1}}, ConfigError, "nothing to learn from in {'images'"),
    ({"data": []}, DataError, "the batches ended after 0 in epoch 1"),
    ({"data": [PAIR[0][:2]]}, DataError, "batch 0 is no pair .* but a ndarray of 2"),
    ({"data": [(1, 2, 3)]}, DataError, "batch 0 is no pair .* but a tuple of 3"),
    ({"data": [PAIR]}, ShapeError, "got 44 images; this model was planned for 1 to 3"),
    ({"data": (PAIR[0], PAIR[1][:5])}, ShapeError, r"44 images need labels of shape \(44,\)"),
    ({"data": (PAIR[0], np.eye(3)[PAIR[1]])}, ShapeError, "of one-hot labels give labels.argmax"),
    ({"data": (PAIR[0].transpose(0, 3, 1, 2), PAIR[1])}, ShapeError, "the depth comes last: images.transpose"),
    ({"data": (PAIR[0], PAIR[1] + 5)}, DataError, r"label \d is out of range; 3 classes"),
    ({"data": (PAIR[0][:, :3], PAIR[1])}, ShapeError, r"takes images of shape \(n, 4, 4, 1\)"),
    ({"data": iter(in_batches()), "epochs": 2}, ConfigError, "a generator is gone through once, and 2 epochs"),
    ({"data": iter(in_batches(4)), "epochs": 2, "steps_per_epoch": 3}, DataError, "ended after 1 of 3 in epoch 2"),
    ({"data": iter(in_batches()), "schedule": "cosine"}, ConfigError, "cosine needs to know how long an epoch is"),
    ({"data": DATA, "epochs": 0}, ConfigError, "epochs must be an integer of at least 1; got 0"),
    ({"data": DATA, "epochs": 1.5}, ConfigError, "epochs must be an integer of at least 1; got 1.5"),
    ({"data": DATA, "steps_per_epoch": True}, ConfigError, "steps_per_epoch must be an integer"),
    ({"data": DATA, "on_step": 3}, ConfigError, "on_step must be a function of what is told, or None; got 3"),
    ({"data": DATA, "on_epoch": [print]}, ConfigError, "on_epoch must be a function"),
    ({"data": DATA, "warmup": -1}, ConfigError, "warmup must be an integer of at least 0"),
    ({"data": DATA, "schedule": "cos"}, ConfigError, "there is no schedule 'cos'; there are constant"),
    ({"data": DATA, "schedule": "plateau"}, ConfigError, "give validation="),
    ({"data": DATA, "learning_rate": abs, "warmup": 2}, ConfigError, "a function already: leave out the schedule"),
    ({"data": DATA, "validation": DATA}, ConfigError, "say which images .*, like validation=data.test"),
    ({"data": DATA, "validation": iter(in_batches())}, ConfigError, "a generator is gone through once: give a list"),
    ({"data": WIDE}, DataError, "wide holds images of 9x9x1"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "error", "words"), WRONG)
def test_what_cannot_be_learnt_from_is_named_and_changes_nothing(given, error, words):
    trained = model()
    before = bits(trained)
    data = given["data"]
    with pytest.raises(error, match=words):
        trained.fit(data, **{name: value for name, value in given.items() if name != "data"})
    assert trained.learning_rate == 0.02 and (bits(trained) == before or trained.steps)


def test_a_last_batch_that_cannot_be_trained_on_is_refused_before_the_first():
    trained = model(gpunet.load("INPUT[4x4x1] -> FC-4 -> BN -> FC-3"))
    with pytest.raises(DataError, match="43 images in batches of 3 leave a last batch of 1"):
        trained.fit(images(43))
    assert trained.steps == 0


# -- more than a batch -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["train", "infer"])
def test_any_number_of_images_is_scored_as_they_are_one_by_one(mode):
    trained = model(batch=5, mode=mode)
    scores = trained.forward(TRAIN.images)
    assert scores.shape == (44, 3)
    parts = [trained.forward(TRAIN.images[at : at + 5]) for at in range(0, 44, 5)]
    assert np.array_equal(scores, np.concatenate(parts))
    assert np.array_equal(trained.forward(TRAIN), scores)
    assert np.array_equal(trained.predict(TRAIN.images), scores.argmax(1)) and trained.predict(TEST).shape == (4,)
    chances = trained.probabilities(TRAIN)
    assert chances.sum(1) == pytest.approx(1, abs=1e-6) and np.array_equal(chances.argmax(1), scores.argmax(1))


def test_evaluating_is_the_mean_over_all_images():
    trained = model(batch=5)
    judged = judge(trained, TRAIN)
    for given in (PAIR, (PAIR,), (TRAIN,)):
        loss, correct = trained.evaluate(*given)
        assert correct == judged.correct and loss == pytest.approx(judged.loss, rel=1e-6)
    assert trained.evaluate(PAIR[0][:5], PAIR[1][:5])[1] == trained.correct


class Empty:
    """A split of nothing."""

    labels = np.zeros(0, np.int32)
    take = None

    def __len__(self) -> int:
        return 0


def test_what_is_wrong_among_many_images_is_found_before_any_is_scored():
    trained = model(PLAIN)
    floats = np.zeros((9, 4, 4, 1), np.float32)
    floats[7, 0, 0, 0] = np.nan
    with pytest.raises(DataError, match="image 7 of the batch holds NaN"):
        trained.forward(floats)
    with pytest.raises(DataError, match="label 3 is out of range"):
        trained.evaluate(PAIR[0], np.full(44, 3))
    with pytest.raises(ShapeError, match=r"44 images need labels of shape \(44,\)"):
        trained.evaluate(PAIR[0], PAIR[1][:4])
    with pytest.raises(ShapeError, match="got 0 images"):
        trained.predict(PAIR[0][:0])
    with pytest.raises(ConfigError, match="has its own labels"):
        trained.evaluate(TRAIN, PAIR[1])
    with pytest.raises(ConfigError, match="noise is a whole data set: say which images"):
        trained.predict(DATA)
    with pytest.raises(DataError, match="there is no image in this split"):
        trained.evaluate(Empty())
    with pytest.raises(ShapeError, match="2 images need labels of shape"):
        trained.evaluate(PAIR[0][:2])
