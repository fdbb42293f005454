"""Early stopping: after how much training that brought nothing better a run ends, and how that is said."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from gpunet import ConfigError
from gpunet.net.config import TrainConfig
from gpunet.optimize.patience import Patience, better, patience
from gpunet.optimize.span import Span


def test_a_run_is_over_after_so_many_epochs_without_a_better_one() -> None:
    accuracies = [0.5, 0.7, 0.7, 0.69, 0.71, 0.7, 0.7, 0.7]
    losses = [1.0, 0.9, 0.8, 0.7, 0.7, 0.1, 0.1, 0.1]
    epochs = list(zip(accuracies, losses, strict=True))
    assert [better(now, before) for before, now in pairwise(epochs)] == [
        True, True, False, True, False, False, False
    ]  # fmt: skip
    ended = [Patience(Span(2, "epochs")).over(epochs[:n], 10) for n in range(9)]
    assert ended == [False] * 7 + [True] * 2
    assert [Patience(Span(2, "epochs"), 0.05).over(epochs[:n], 10) for n in range(9)] == [False] * 4 + [True] * 5
    assert [Patience(Span(25, "steps")).over(epochs[:n], 10) for n in range(9)] == [False] * 8 + [True]


@pytest.mark.parametrize("seed", range(6))
def test_a_growing_patience_is_the_tutorials_loop(seed: int) -> None:
    errors = np.minimum.accumulate(np.random.default_rng(seed).random(40)) + 0.01 * seed
    span, growth, each = 60, 1.5, 7
    limit, least, steps = span, np.inf, 0  # the loop, an epoch at a time
    for epoch, error in enumerate(errors, 1):
        steps = epoch * each
        if error < 0.995 * least:
            limit = max(limit, steps * growth)
        least = min(least, error)
        if steps >= limit:
            break
    what = Patience(Span(span, "steps"), growth=growth)
    over = [what.over([(1 - error, 0.0) for error in errors[:n]], each) for n in range(1, 41)]
    assert over.index(True) + 1 == steps // each and all(over[over.index(True) :])


# -- what may be said ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "made"),
    [
        ({}, None),
        ({"patience": 3}, Patience(Span(3, "epochs"))),
        ({"patience": "3"}, Patience(Span(3, "epochs"))),
        ({"patience": "200 steps", "min_delta": 0.01}, Patience(Span(200, "steps"), 0.01)),
        ({"patience": "10000 steps", "patience_growth": 2}, Patience(Span(10_000, "steps"), 0.0, 2)),
    ],
)
def test_a_config_says_a_patience(said: dict[str, Any], made: Patience | None) -> None:
    assert TrainConfig(**said).early_stop == made


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"patience": 0}, "patience must be an integer from 1"),
        ({"patience": "0 epochs"}, "would end a run at once"),
        ({"patience": "2 days"}, "patience must be"),
        ({"min_delta": 0.1}, "min_delta says what patience waits for"),
        ({"patience": 3, "min_delta": 2}, "min_delta must be a number from 0 to 1"),
        ({"patience": 3, "min_delta": 0.1, "patience_growth": 2}, "leave out min_delta"),
        ({"patience": 3, "patience_growth": 1}, "patience_growth must be a number above 1"),
        ({"validation": "all"}, 'validation must be a part of the images like "10%"'),
        ({"validation": -1}, "validation must be"),
        ({"validation": True}, "validation must be"),
        ({"schedule": "plateau", "patience": 10}, "its wait is 10 epochs; make patience longer, or wait shorter"),
    ],
)
def test_what_makes_no_sense_is_refused(said: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TrainConfig(**said)


def test_the_functions_refuse_what_says_nothing() -> None:
    with pytest.raises(ConfigError, match="patience_growth says what patience waits for"):
        patience(None, None, 2.0)
