"""A description of a net as a plain dictionary for `--json`."""

from typing import Any

from gpunet.description.blocks import PATTERN, Blocks
from gpunet.description.description import Description
from gpunet.description.facts import LayerFacts
from gpunet.description.on_card import OnCard
from gpunet.devices.cards import capability
from gpunet.program.field import Field


def description_json(description: Description, held: OnCard | None = None) -> dict[str, Any]:
    """All of a description. `multiply_adds` are of matrix products in a forward pass over one image.

    `held`  what a card holds, where one was asked for; `card` is null else
    """
    net = description.net
    return {
        "net": net.name,
        "input": list(net.input.shape),
        "parameters": net.parameters,
        "multiply_adds": description.multiply_adds,
        "layers": [_layer(one) for one in description.layers],
        "pattern": _pattern(description.blocks),
        "hints": [{"rule": hint.rule, "text": hint.text} for hint in description.hints],
        "card": None if held is None else _card(held),
    }


def _card(held: OnCard) -> dict[str, Any]:
    """A batch is 0 where not even one image fits."""
    return {
        "name": held.target.card,
        "compute_capability": capability(held.target.compute_capability),
        "total_bytes": held.target.total_bytes,
        "training_batch": held.training.batch,
        "scoring_batch": held.scoring.batch,
    }


def _layer(one: LayerFacts) -> dict[str, Any]:
    return {
        "name": one.name,
        "type": one.layer.type,
        "output": list(one.volume.shape),
        "parameters": one.parameters,
        "multiply_adds": one.multiply_adds,
        "field": {"rows": _field(one.rows), "columns": _field(one.columns)},
    }


def _field(field: Field) -> dict[str, float]:
    """The first output sees `size` rows or columns of the input from `start` on; below 0 is padding."""
    return {"size": field.size, "stride": field.stride, "start": field.start, "centre": field.centre}


def _pattern(blocks: Blocks) -> dict[str, Any]:
    """N (one for each block), M and K are null where the net departs from the pattern; `departure` says where."""
    follows = not blocks.departure
    return {
        "pattern": PATTERN,
        "N": list(blocks.N) if follows else None,
        "M": blocks.M if follows else None,
        "K": blocks.K if follows else None,
        "aside": list(blocks.aside),
        "departure": blocks.departure or None,
    }
