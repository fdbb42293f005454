"""How many images of a net a card holds, to train and to score."""

from dataclasses import dataclass
from typing import Any

from gpunet.devices.target import DeviceTarget
from gpunet.net.net import Net
from gpunet.planning.aim import aim
from gpunet.planning.by_card import fit_cards
from gpunet.planning.fitter import Rung
from gpunet.planning.options import WAYS


@dataclass(frozen=True, slots=True)
class OnCard:
    """The largest batches that `target` holds; 0 where not even one image fits."""

    target: DeviceTarget
    training: Rung
    scoring: Rung


def on_card(net: Net, gpu: str, **options: Any) -> OnCard:
    """What the card `gpu` holds of a net; options are those of `gpunet.plan` for training.

    Raises ConfigError for a card that is not known.
    """
    where, budget_bytes = aim("cuda", None, gpu)
    assert budget_bytes is not None  # a card has some
    scoring = options | {"mode": "infer", "ways": [way for way in WAYS if way in options.get("ways", WAYS)]}
    training, scored = (fit_cards(net, [(where, budget_bytes)], **how)[0].rung for how in (options, scoring))
    return OnCard(where, training, scored)
