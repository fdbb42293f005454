"""Whether a net and its data can be what was meant: scores for the classes that are there, an end that scores well."""

from gpunet.data.dataset import Dataset
from gpunet.errors import ConfigError
from gpunet.net.net import Net

LOSING = {
    "relu": "no score can be below 0",
    "sigmoid": "every score lies between 0 and 1, which the loss cannot tell far apart",
    "tanh": "every score lies between -1 and 1, which the loss cannot tell far apart",
    "dropout": "half of the scores, or as many as it drops, are 0 in training",
}
"""What a layer does to scores where it is the last one."""


def require_suited(net: Net, data: Dataset, *, spare_outputs: bool = False) -> None:
    """Raise ConfigError unless the net has one score for each class of the data.

    `spare_outputs`  it may have more
    """
    classes = data.class_count
    if net.classes <= classes:
        return
    if net.output.H * net.output.W > 1:
        raise ConfigError(
            f"{net.name} ends in {net.output} of {net.nodes[-1].name}, {net.classes:,} scores for an image; to tell "
            f"{classes:,} classes apart end it in FC-{classes}, or in CONV1-{classes} -> GAP"
        )
    if not spare_outputs:
        raise ConfigError(
            f"{net.name} has {net.classes:,} outputs, {data.name} {classes:,} classes: --classes {classes} gives it so "
            "many; --spare-outputs keeps those that nothing is learnt for"
        )


def slip(net: Net) -> str | None:
    """What its last layer takes from the scores, in words; None where it takes nothing."""
    last = net.nodes[-1]
    if last.layer.type not in LOSING:
        return None
    return (
        f"{net.name} ends in {last.name}, {last.layer.word}: {LOSING[last.layer.type]}; scores are best left as they "
        "are, so leave it out"
    )
