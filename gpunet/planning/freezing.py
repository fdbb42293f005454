"""What freezing layers saves, and which further pattern would save more: a line for whoever froze some."""

from collections.abc import Collection
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from gpunet.errors import ConfigError
from gpunet.memory.size import format_bytes
from gpunet.net.net import Net, Node
from gpunet.optimize.learning import Learning, learning
from gpunet.planning.planner import plan

MOST_PATTERNS = 3
"""More of them are no advice."""


def freezing_line(net: Net, batch: int, settings: dict[str, Any]) -> str:
    """What a step takes less for what is frozen, and with which patterns beside it would take still less.

    `settings`  as for `plan`, without a budget: so all are planned in the same way

    "" where nothing is frozen, or where the net cannot learn as a whole. Why patterns differ so much: as long as a
    layer below learns, gradients pass through frozen layers too, and what that needs is kept.
    """
    how = learning(settings.get("optimizer", "momentum"))
    if not how.freeze or settings.get("mode", "train") != "train":
        return ""

    def arena_bytes(freeze: Collection[str]) -> int:
        return plan(net, batch, **{**settings, "optimizer": replace(how, freeze=tuple(freeze)), "ways": ()}).arena_bytes

    try:
        all_learn, now = arena_bytes(()), arena_bytes(how.freeze)
    except ConfigError:  # such as batch normalization that learns from a single image
        return ""
    line = f"freezing {', '.join(how.freeze)} saves {format_bytes(all_learn - now)} of {format_bytes(all_learn)}"
    more = further(net, how)
    saved = all_learn - arena_bytes((*how.freeze, *more)) if more else 0
    if saved <= all_learn - now:
        return line
    said = " ".join(f'--freeze "{pattern}"' for pattern in (*how.freeze, *more))
    return f"{line}; with {', '.join(more)} it would be {format_bytes(saved)}, as less is kept for gradients: {said}"


def further(net: Net, how: Learning) -> tuple[str, ...]:
    """Patterns of the layers that learn below frozen ones; none where they are many, or leave nothing to learn."""
    frozen = how.frozen([node.name for node in net.nodes])
    below = _learning_below(net, frozen)
    patterns = tuple(dict.fromkeys(_pattern(net, node) for node in below))
    matched = frozen | {node.name for node in net.nodes for p in patterns if fnmatchcase(node.name, p)}
    learns = any(net.layer_parameters(node) for node in net.nodes if node.name not in matched)
    return patterns if learns and len(patterns) <= MOST_PATTERNS else ()


def _learning_below(net: Net, frozen: Collection[str]) -> list[Node]:
    """The layers with something to learn whose outputs lead to frozen layers with parameters."""
    needed: set[str] = set()
    found = []
    for node in reversed(net.nodes):
        if node.name in needed or (node.name in frozen and net.layer_parameters(node)):
            needed.update(node.inputs)
        if node.name in needed and node.name not in frozen and net.layer_parameters(node):
            found.append(node)
    return found[::-1]


def _pattern(net: Net, node: Node) -> str:
    """conv* for conv3; a name of its own as it is."""
    pattern = f"{node.layer.type}*"
    alike = [other for other in net.nodes if fnmatchcase(other.name, pattern)]
    return pattern if node in alike and all(other.layer.type == node.layer.type for other in alike) else node.name
