"""Going on with a run: only with the net, data and settings that it had, as nothing else gives the same bits.

On another device, or fitted into another budget, it may go on all the same, but says that its bits are others then.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from gpunet.compile.ways import Ways
from gpunet.data.dataset import AnySplit, Part, in_memory
from gpunet.data.folder import FileSplit
from gpunet.devices.cpu.probe import blas as cpu_blas
from gpunet.devices.cuda.reserve import hardware as cuda_hardware
from gpunet.devices.name import split_name
from gpunet.errors import ConfigError
from gpunet.memory.plan import Plan
from gpunet.memory.size import format_bytes
from gpunet.model.model import Model
from gpunet.optimize.optimizers import OPTIMIZERS, rate_factor, updated
from gpunet.planning.tuned import choices
from gpunet.train.checkpoint import Checkpoint
from gpunet.train.trainer import Trainer
from gpunet.train.weights import WEIGHTS
from gpunet.values.visible import typable

LOOKED_AT = 256
"""Images that a fingerprint reads where they are not in memory, or at once where they are."""

DATA = "data to learn from", "data to validate with", "data to test on"
VALIDATED = DATA[1]
DRAWN_ANEW = (
    "some of the images to validate with were learnt from: they are drawn anew from those that are left, so what they "
    "say is too good from here on"
)
CLASSES = "classes"


def identity(trainer: Trainer) -> dict[str, Any]:
    """What a run is, as plain values in words: with the same, a run that goes on ends in the same bits."""
    net, plan, rates = trainer.model.net, trainer.model.plan, trainer.rates
    wave = f", {trainer.epochs} epochs" if rates.schedule.name == "cosine" else ""  # its length
    return {
        "input": f"{net.input}, scale {net.scale}, shift {net.shift}, fit {net.fit}",
        **{f"layer {node.name}": f"{node.layer} of {', '.join(node.inputs)}" for node in net.nodes},
        "augmentation": str(net.augment or "none"),
        "loss": str(net.loss),
        "batch": trainer.batch,
        "dtype": plan.dtype,
        **_learning(plan),
        **({"frozen": ", ".join(plan.frozen)} if plan.frozen else {}),
        "learning rate": rates.learning_rate,
        "schedule": f"{rates.schedule}{wave}",
        "warm-up": f"{rates.warmup} steps",
        "seed": trainer.seed,
        **{f"data {words}": fingerprint(split) for split, words in trainer.data.splits},
        **({CLASSES: ", ".join(trainer.data.classes)} if trainer.data.classes else {}),
    }


def _learning(plan: Plan) -> dict[str, str]:
    """How parameters learn, as the updates of a plan have it."""
    updates = [op for op in plan.program.ops if op.name == f"{plan.optimizer}_update"]
    settings = [OPTIMIZERS[plan.optimizer].settings_of(op, plan.program.changing) for op in updates]
    pairs = zip(updates, settings, strict=True)
    decays = {name: float(one["weight_decay"]) for op, one in pairs for name in updated(op)}
    known = plan.learning and updates  # a plan that was put together by hand does not say
    most = max(settings, key=lambda one: float(one["weight_decay"]), default={})
    plain = asdict(plan.learning.optimizer) if known else most
    whole = plain.get("weight_decay")
    spared = [name for name, decay in decays.items() if whole and not decay]
    faded = {name: decay / whole for name, decay in decays.items() if whole and decay}
    factors = _by_layer({name: rate_factor(op, plan.program.changing) for op in updates for name in updated(op)})
    clips = {op.name: op.attributes["most"] for op in plan.program.ops if op.name in ("clip_by_value", "clip_by_norm")}
    found = {
        "optimizer": f"{plan.optimizer}({', '.join(f'{name}={value}' for name, value in plain.items())})",
        "without weight decay": ", ".join(sorted(spared)),
        "factors of weight decay": _in_words(faded),
        "factors of the learning rate": _in_words(factors),
        "clipping": ", ".join(f"{name.replace('_by', '')} {most}" for name, most in clips.items()),
    }
    return {name: words for name, words in found.items() if words}


def _in_words(factors: Mapping[str, float]) -> str:
    return ", ".join(sorted(f"{name} {factor:g}" for name, factor in factors.items() if factor != 1))


def _by_layer(factors: Mapping[str, float]) -> dict[str, float]:
    """Factors of parameters by layer, but where a layer has several."""
    several: dict[str, set[float]] = {}
    for name, factor in factors.items():
        several.setdefault(name.partition(".")[0], set()).add(factor)
    layers = {layer: found.pop() for layer, found in several.items() if len(found) == 1}
    return layers | {name: factor for name, factor in factors.items() if name.partition(".")[0] not in layers}


def circumstances(model: Model) -> dict[str, str]:
    """Where and how a run computes, in words: its last bits depend on that, too, but not on the GPU's number."""
    plan, (kind, number) = model.plan, split_name(model.device.name)
    library = cuda_hardware(number) if kind == "cuda" else cpu_blas()
    facts = model.device.arithmetic()
    ways = plan.ways or Ways(plan.scratch_limit_bytes)
    joined = ", batch normalization over all" * plan.joins_ranks
    joined += ", fully connected layers divided" * bool(plan.program.split)
    rounds = f"all of {ways.micro_batch} images" if ways.micro_batch else f"{ways.chunk} images up to {ways.cut}"
    return {
        "device": f"{kind}, {library}" if library else kind,
        **({"arithmetic": ", ".join(" ".join(fact) for fact in facts.items())} if facts else {}),
        "rounds": rounds if ways.rounds else "none",
        **({"parts": f"each batch in {plan.parts}{joined}"} if plan.parts > 1 else {}),
        "scratch": f"at most {format_bytes(plan.scratch_limit_bytes)} for a convolution",
        **({"convolutions": _algorithms(plan)} if choices(plan) else {}),
    }


def _algorithms(plan: Plan) -> str:
    """By what convolutions run, in a line: how many by each, and a checksum of all of it."""
    chosen = choices(plan)
    names = Counter(name for ((name, _),) in chosen.values())
    digest = sha256(repr(sorted(chosen.items())).encode()).hexdigest()[:8]
    return f"{', '.join(f'{name} {count}' for name, count in sorted(names.items()))}, sha256 {digest}"


def resume(trainer: Trainer, checkpoint: Checkpoint, *, skip_broken: bool = False) -> list[str]:
    """Let a trainer that has not run go on from a checkpoint; what is not as it was, so that bits will be others.

    `skip_broken`  without images that are lost, too, if an epoch has as many steps as before

    Raises ConfigError, naming all that differs and changing nothing, where it is one of another run.
    """
    state = checkpoint.state
    differing = differences(state["run"], identity(trainer))
    lost = bool(differing) and set(differing) <= set(DATA) and _same_steps(trainer, state["trainer"])
    if differing and not (lost and skip_broken):
        raise ConfigError(
            f"{checkpoint.path} cannot be gone on from with other settings than its own:\n"
            + "\n".join(f"  {line}" for line in differing.values())
            + f"\n{_way_out(checkpoint.path, differing, trainer, lost=lost)}"
        )
    checkpoint.restore(trainer.model)
    trainer.restore(state["trainer"])
    return [
        *differing.values(),
        *([DRAWN_ANEW] if VALIDATED in differing else []),
        *differences(state.get("where", {}), circumstances(trainer.model)).values(),
    ]


def _same_steps(trainer: Trainer, state: dict[str, Any]) -> bool:
    """Whether what was done is as many steps with these data, too."""
    whole = (state["epoch"] - 1) * trainer.steps_per_epoch
    return bool(state["step"] <= trainer.steps_per_epoch and state["steps"] == whole + state["step"])


def _way_out(path: Path, differing: Collection[str], trainer: Trainer, *, lost: bool) -> str:
    """What can be done instead: commands that work, the weights being of the last epoch or of the checkpoint."""
    run = path.parent if (path.parent / WEIGHTS).exists() else path
    anew = f"start a new run from its weights: gpunet train --weights {typable(run)}"
    if not all(name in (*DATA, CLASSES) for name in differing):
        return f"give --resume alone, which takes them from the run; or, with what you want changed, {anew}"
    without = "go on without what is lost by --skip-broken; " if lost else ""
    return f"bring back the data that it learnt from; {without}or {anew} --data NEW"


def differences(kept: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    """What is not the same, by name a line for each; nothing where nothing was kept."""
    return {
        name: f"{name}: {kept.get(name, 'not there')} in the checkpoint, {now.get(name, 'not there')} now"
        for name in dict.fromkeys([*kept, *now])
        if kept and kept.get(name) != now.get(name)
    }


def fingerprint(split: AnySplit) -> str:
    """A split in a line: how many images of what size, and a checksum of all labels and of all images.

    Of pictures in files it takes in all names and sizes and some pictures, of what is made from a seed some images.
    """
    digest = sha256(np.ascontiguousarray(split.labels, np.int32).data)
    if in_memory(split):
        for first in range(0, len(split), LOOKED_AT):  # few at a time: they are copied
            images, _ = split.take(np.arange(first, min(first + LOOKED_AT, len(split))))
            digest.update(np.ascontiguousarray(images).data)
    else:
        for path in _files(split):
            size = path.stat().st_size if path.exists() else "gone"
            digest.update(f"{path.name} {size}\n".encode("utf-8", "replace"))
        images, _ = split.take(np.unique(np.linspace(0, len(split) - 1, LOOKED_AT).astype(np.int64)))
        digest.update(np.ascontiguousarray(images).data)
    return (
        f"{len(split):,} images of {'x'.join(map(str, split.shape))}, {images.dtype}, sha256 {digest.hexdigest()[:16]}"
    )


def _files(split: AnySplit) -> list[Path]:
    """The files of a split's images, where there are any."""
    if isinstance(split, Part):
        files = _files(split.whole)
        return [files[index] for index in split.indices] if files else []
    return list(split.paths) if isinstance(split, FileSplit) else []
