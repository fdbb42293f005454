"""Batches that travel ahead: each is used once where it was sent, and copied where a step uses it again."""

from collections.abc import Iterator

import numpy as np

from gpunet import Model
from gpunet.model.ahead import Ahead, Batch
from tests.runs import BATCH, NET, images, planned

SPLIT = images().train


def three() -> Iterator[Batch]:
    return (SPLIT.take(np.arange(first, first + BATCH)) for first in (0, 3, 6))


def test_a_batch_that_was_sent_is_taken_once_and_by_its_own_images_alone() -> None:
    sent: list[Batch] = []
    ahead = Ahead(three(), lambda batch: sent.append(batch) or len(sent))
    coming = iter(ahead)
    first, _ = next(coming)
    assert ahead.take(first.copy()) is None and ahead.take(first) == 1 and ahead.take(first) is None
    assert len(sent) == 1
    ahead.ask()
    ahead.ask()
    assert len(sent) == 2  # one ahead, no more
    second, _ = next(coming)
    ahead.ask()
    assert len(sent) == 2  # nobody has taken the second yet
    assert ahead.take(first) is None and ahead.take(second) == 2


def test_batches_that_are_used_twice_or_left_out_give_the_bits_of_batches_without_a_rush() -> None:
    found = []
    for rush in (True, False):
        with Model(NET, device="cpu", plan=planned(), seed=2, learning_rate=0.1) as model:
            assert model.plan.program.next_bytes is not None
            for number, (pixels, labels) in enumerate(model.ahead(three()) if rush else three()):
                if number != 1:
                    model.evaluate(pixels, labels)
                    model.step(pixels, labels)
                    model.step(pixels, labels)
            found.append(b"".join(values.tobytes() for values in model.state.values()))
    assert found[0] == found[1]
