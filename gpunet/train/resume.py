"""Going on with a run: only with the net, data and settings that it had, as nothing else gives the same bits."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import numpy as np

from gpunet.data.dataset import AnySplit
from gpunet.errors import ConfigError
from gpunet.memory.plan import Plan
from gpunet.program.program import RunTime
from gpunet.train.checkpoint import Checkpoint
from gpunet.train.trainer import Trainer

LOOKED_AT = 256
"""Images of a split that its fingerprint takes in; the labels it takes in are all of them."""


def identity(trainer: Trainer) -> dict[str, Any]:
    """What a run is, as plain values in words: with the same, a run that goes on ends in the same bits."""
    net, plan, rates = trainer.model.net, trainer.model.plan, trainer.rates
    wave = f", {trainer.epochs} epochs" if rates.schedule.name == "cosine" else ""  # its length
    return {
        "input": f"{net.input}, scale {net.scale}, shift {net.shift}, fit {net.fit}",
        **{f"layer {node.name}": f"{node.layer} of {', '.join(node.inputs)}" for node in net.nodes},
        "augmentation": str(net.augment or "none"),
        "loss": str(net.loss),
        "batch": trainer.model.batch,
        "dtype": plan.dtype,
        **_learning(plan),
        **({"frozen": ", ".join(plan.frozen)} if plan.frozen else {}),
        "learning rate": rates.learning_rate,
        "schedule": f"{rates.schedule}{wave}",
        "warm-up": f"{rates.warmup} steps",
        "seed": trainer.seed,
        "data to learn from": fingerprint(trainer.data.train),
        "data to test on": fingerprint(trainer.data.test),
    }


def _learning(plan: Plan) -> dict[str, str]:
    """How parameters learn, as the updates of a plan have it."""
    updates = [op for op in plan.program.ops if op.name == f"{plan.optimizer}_update"]
    decays = [float(op.attributes["weight_decay"]) for op in updates]  # type: ignore[arg-type]
    settings = updates[decays.index(max(decays))].attributes if updates else {}
    plain = ", ".join(f"{name}={value}" for name, value in settings.items() if isinstance(value, int | float))
    spared = [op.outputs[0].name for op, decay in zip(updates, decays, strict=True) if decay < max(decays)]
    rates = {op.layer: op.attributes["learning_rate"] for op in updates}
    factors = [
        f"{layer} {rate.factor:g}" for layer, rate in rates.items() if isinstance(rate, RunTime) and rate.factor != 1
    ]
    clips = {op.name: op.attributes["most"] for op in plan.program.ops if op.name in ("clip_by_value", "clip_by_norm")}
    found = {
        "optimizer": f"{plan.optimizer}({plain})",
        "without weight decay": ", ".join(sorted(spared)),
        "factors of the learning rate": ", ".join(sorted(factors)),
        "clipping": ", ".join(f"{name.replace('_by', '')} {most}" for name, most in clips.items()),
    }
    return {name: words for name, words in found.items() if words}


def resume(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Let a trainer that has not run go on from a checkpoint.

    Raises ConfigError, naming all that differs and changing nothing, where it is one of another run.
    """
    differing = list(differences(checkpoint.state["run"], identity(trainer)))
    if differing:
        raise ConfigError(
            f"{checkpoint.path} cannot be gone on from with other settings than its own:\n"
            + "\n".join(f"  {line}" for line in differing)
            + "\ngive --resume alone, which takes them from the run; or start a new run"
        )
    checkpoint.restore(trainer.model)
    trainer.restore(checkpoint.state["trainer"])


def differences(kept: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """What is not the same, a line for each."""
    for name in dict.fromkeys([*kept, *now]):
        if kept.get(name) != now.get(name):
            yield f"{name}: {kept.get(name, 'not there')} in the checkpoint, {now.get(name, 'not there')} now"


def fingerprint(split: AnySplit) -> str:
    """A split in a line: how many images of what size, and a checksum of all labels and of some images among all."""
    chosen = np.unique(np.linspace(0, len(split) - 1, LOOKED_AT).astype(np.int64))
    images, _ = split.take(chosen)
    digest = sha256(np.ascontiguousarray(split.labels, np.int32).data)
    digest.update(np.ascontiguousarray(images).data)
    return (
        f"{len(split):,} images of {'x'.join(map(str, split.shape))}, {images.dtype}, sha256 {digest.hexdigest()[:16]}"
    )
