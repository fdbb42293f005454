"""Where a run starts: from the weights of another, with layers of its own for other classes."""

from gpunet.errors import ConfigError, DataError
from gpunet.model.model import Model
from gpunet.net.config import TrainConfig
from gpunet.net.net import Net
from gpunet.train.weights import OtherNet, any_weights_for, layer_of
from gpunet.values.visible import told_path

SHOWN = 6
"""Names of layers that are told before some are left out."""


def with_classes(net: Net, classes: int) -> tuple[Net, tuple[str, ...]]:
    """The net with layers that score so many classes, and the names of all layers that are then not what they were.

    What stands between the scores and the layers that make them, like a normalization, changes with these.
    """
    made = net.with_classes(classes)
    changed = (
        after.name
        for before, after in zip(net.nodes, made.nodes, strict=True)
        if after.name in made.scorers or net.weights(before) != made.weights(after)
    )
    return made, tuple(changed)


def require_learning(net: Net, told: TrainConfig) -> None:
    """Raise ConfigError where a layer that is drawn anew is frozen: it would never learn anything."""
    learnt = [node.name for node in net.nodes if net.weights(node)]
    frozen = told.learning.frozen([node.name for node in net.nodes])
    wrong = [name for name in told.fresh if name in frozen and name in learnt]
    if wrong:
        raise ConfigError(
            f"{', '.join(wrong)} would be drawn anew and frozen, and never learn; leave that out of freeze, or freeze "
            f"less, like --freeze {learnt[0]}"
        )


def start_from_weights(model: Model, told: TrainConfig) -> list[str]:
    """Give a model that was drawn the weights of the file that `told` names, but for its fresh layers.

    Returns what was done, a line each. Raises DataError, changing nothing, where they are those of another net.
    """
    assert told.weights is not None
    net = model.net
    for name in told.fresh:
        if name not in net.volumes:
            raise ConfigError(f"{name!r}, which is to be drawn anew, is no layer of {net.name}")
    try:
        weights = any_weights_for(net, told_path(told.weights), told.fresh)
    except OtherNet as error:
        differing = dict.fromkeys(map(layer_of, error.names))
        if not net.scorers.issuperset(differing):
            raise
        raise DataError(f"{error}; --classes {net.classes} draws {', '.join(differing)} anew") from None
    for name in weights:
        model.parameters[name] = weights[name]
    kept = set(map(layer_of, weights))
    layers = {node.name: node.name in kept for node in net.nodes if net.weights(node)}
    old, new = ([name for name, is_kept in layers.items() if is_kept == wanted] for wanted in (True, False))
    lines = [f"kept from {told.weights}: {_some(old)}"]
    if new:
        lines.append(f"drawn anew: {_some(new)}, for {net.classes} classes")
    if model.plan.frozen:
        lines.append(f"frozen: {_some(list(model.plan.frozen))}")
    return lines


def _some(names: list[str]) -> str:
    """The names, those in the middle left out where there are many."""
    if len(names) <= SHOWN:
        return ", ".join(names) or "nothing"
    return f"{', '.join(names[: SHOWN - 2])}, ... {names[-1]} ({len(names)} layers)"
