"""The data set that a command uses, as the training part of a config says it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpunet.data import Dataset
    from gpunet.net.config import TrainConfig
    from gpunet.net.net import Net


def dataset_of(net: "Net", told: "TrainConfig") -> "Dataset":
    """The data that `told` asks for. Raises DataError where the net cannot use them."""
    from gpunet.data import load

    dataset = load(
        told.data,
        shape=net.image.shape,
        classes=net.classes,
        seed=told.seed,
        size=told.size,
        skip_broken=told.skip_broken,
    )
    dataset.require(net.image.shape, net.classes)
    return dataset
