"""The one look at the test images: after a run that chose by a validation part, with the weights that it chose."""

import json
from collections.abc import Callable
from pathlib import Path

from gpunet.system import files
from gpunet.train.metrics import Mean, best
from gpunet.train.several import share_values
from gpunet.train.trainer import Trainer, evaluate
from gpunet.train.weights import WEIGHTS, restore_weights

TEST = "test.json"
"""What it found, in the folder of the run: epoch of the weights, how many there were, images, loss and accuracy."""


def look_at_test(trainer: Trainer, folder: Path, paused: Callable[[], None] = lambda: None) -> Mean:
    """Test the chosen weights, which the folder of a finished run holds, and write down what comes out.

    The model has those weights then; it is not to be trained any further. `paused` is called before each batch.
    Raises Diverged where a loss is infinite or NaN, DataError where the folder does not hold the weights.
    """
    epoch = best(trainer.rows).epoch
    restore_weights(trainer.model, folder / WEIGHTS)
    share_values(trainer.model, trainer.model.parameters)
    found = evaluate(trainer.model, trainer.data.test, paused, f"epoch {epoch}")
    about = {
        **_of(trainer),
        "test_images": found.images,
        "test_loss": found.loss,
        "test_accuracy": found.accuracy,
    }
    files.write_whole(folder / TEST, json.dumps(about, indent=2) + "\n")
    return found


def has_looked(trainer: Trainer, folder: Path) -> bool:
    """Whether the folder says already what the test of these weights, of so many epochs, came to."""
    try:
        about = json.loads((folder / TEST).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(about, dict) and all(about.get(name) == value for name, value in _of(trainer).items())


def _of(trainer: Trainer) -> dict[str, int]:
    return {"epoch": best(trainer.rows).epoch, "of_epochs": len(trainer.rows)}
