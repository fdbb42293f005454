"""How a run ended, in words: which epoch was chosen by what, and what the test says of it."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from gpunet.train.folder import RunFolder
    from gpunet.train.trainer import Trainer


def tell_outcome(trainer: "Trainer", folder: "RunFolder") -> None:
    """Say what a run that has ended came to. With a validation part the test images are looked at now."""
    if trainer.lost_patience:
        typer.echo(f"ended early, after epoch {trainer.rows[-1].epoch}: {_impatience(trainer)}")
    if trainer.data.validation is None:
        _tell_last(trainer, folder)
    else:
        _tell_chosen(trainer, folder)


def look_is_due(trainer: "Trainer", folder: "RunFolder") -> bool:
    """Whether the test images are to be looked at now, which other ranks do along with this one."""
    from gpunet.train.last_look import has_looked

    data = trainer.data
    due = data.validation is not None and data.has_test and not has_looked(trainer, folder.path)
    if trainer.model.ranks is not None:
        trainer.model.ranks.tell(due)
    return due


def tell_finished(trainer: "Trainer", folder: "RunFolder", due: bool) -> None:
    """Say of a run that is gone on with that nothing is left to do, but for the test, if that is due."""
    typer.echo(f"{folder.path} {_finished(trainer)}; {folder.describe()}")
    data = trainer.data
    if due or (data.validation is not None and not data.has_test):
        _tell_chosen(trainer, folder)


def _tell_last(trainer: "Trainer", folder: "RunFolder") -> None:
    from gpunet.train.checkpoint import BEST
    from gpunet.train.metrics import best

    last, top = trainer.rows[-1], best(trainer.rows)
    if len(trainer.rows) > 1:
        typer.echo(
            f"without images to validate with, the best epoch, {top.epoch}, was picked on the test images: {BEST} has "
            f"it, and its {top.judged_accuracy:.2%} are no measure of other images"
        )
    if decided := _decided(trainer):
        typer.echo(
            f"the test images decided when {decided}, too, so what follows is no measure of other images, either"
        )
    typer.echo(f"test accuracy {last.judged_accuracy:.2%} after epoch {last.epoch}; {folder.describe()}")


def _decided(trainer: "Trainer") -> str:
    """What went by the images that epochs were judged by, in words; "" for nothing."""
    from gpunet.optimize.schedules import Plateau

    shape = trainer.rates.schedule
    falls = isinstance(shape, Plateau) and shape.metric != "train_loss"
    return " and ".join(["the rate fell"] * falls + ["the run ended"] * trainer.lost_patience)


def _tell_chosen(trainer: "Trainer", folder: "RunFolder") -> None:
    from gpunet.report.console import working
    from gpunet.train.last_look import look_at_test
    from gpunet.train.metrics import best

    top, n = best(trainer.rows), len(trainer.data.test)
    if not trainer.data.has_test:
        typer.echo(
            f"validation accuracy {top.judged_accuracy:.2%} after epoch {top.epoch}, the best of {len(trainer.rows)}, "
            f"which was chosen by it: there are no images to test on that would measure it; {folder.describe()}"
        )
        return
    if len(trainer.rows) > 1:
        typer.echo(
            f"best of {len(trainer.rows)} epochs, by {_those(len(trainer.data.validation or ()))} to validate with: "
            f"epoch {top.epoch}, {top.judged_accuracy:.2%}"
        )
    with working("testing") as say:
        found = look_at_test(trainer, folder.path, lambda: say(f"testing on {n:,} images"))
    typer.echo(f"test accuracy {found.accuracy:.2%} after epoch {top.epoch}; {folder.describe()}")


def _those(images: int) -> str:
    return "the single image" if images == 1 else f"the {images:,} images"


def _finished(trainer: "Trainer") -> str:
    """What is to be said of a run whose epochs are all done."""
    done = trainer.epoch - 1
    if trainer.lost_patience:
        return f"has ended early, after epoch {done}: {_impatience(trainer)}"
    if done == trainer.epochs and trainer.step == 0:
        return f"has finished its {done} epoch{'s' * (done != 1)}: nothing is left to do"
    return f"has gone on beyond {trainer.epochs} epochs, into epoch {trainer.epoch}: nothing is left to do"


def _impatience(trainer: "Trainer") -> str:
    from gpunet.train.metrics import best

    return f"nothing better came after epoch {best(trainer.rows).epoch}"
