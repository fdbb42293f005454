"""The settings of a run as TensorBoard compares runs by them: its plugin hparams."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from gpunet.optimize.learning import Learning
from gpunet.train.trainer import Trainer

Setting = bool | float | str


def settings_of(trainer: Trainer) -> dict[str, Setting]:
    """What a run was told, by name; what it was not told is not there."""
    model, rates = trainer.model, trainer.rates
    plan, how = model.plan, model.plan.learning
    found: dict[str, Any] = {
        "net": model.net.name,
        "parameters": model.net.parameters,
        "images": len(trainer.data.train),
        "data": trainer.data.name,
        "epochs": trainer.epochs,
        "batch": model.batch,
        "dtype": plan.dtype,
        "device": plan.device,
        "seed": trainer.seed,
        "learning_rate": rates.learning_rate,
        "schedule": rates.schedule.name,
        **{f"schedule.{name}": value for name, value in asdict(rates.schedule).items()},
        "warmup_steps": rates.warmup,
        "patience": trainer.patience,
        "augment": model.net.augment,
        "loss": model.net.loss.type,
        **(_learning(how) if isinstance(how, Learning) else {"optimizer": plan.optimizer}),
    }
    return {name: _plain(value) for name, value in found.items() if value is not None and value not in ((), "")}


def summaries(settings: Mapping[str, Setting], measured: Sequence[str]) -> tuple[Any, Any, Any]:
    """What tensorboardX writes of settings: of the experiment, of its start and of its end; `measured` are tags."""
    from tensorboardX.summary import hparams

    experiment, start, end = hparams(dict(settings), dict.fromkeys(measured, 0.0))
    return experiment, start, end


def _learning(how: Learning) -> dict[str, Any]:
    """The optimizer with its settings, and what else is said of learning."""
    rest = {name: getattr(how, name) for name in vars(how) if name != "optimizer"}
    return {"optimizer": how.optimizer.name, **asdict(how.optimizer), **rest}


def _plain(value: Any) -> Setting:
    """A number or a truth as it is, anything else in words."""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, tuple | list):
        return ", ".join(" ".join(map(str, one)) if isinstance(one, tuple) else str(one) for one in value)
    return str(value)
