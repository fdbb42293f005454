"""The shipped nets as a table for people, and as a plain list for `--json`."""

import re
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from gpunet.net.config import Config

ENDING = re.compile(r" \([\d,]+ parameters.*\)$")
"""What the title of a shipped net repeats of its parameters."""


def nets_parts(configs: Sequence[Config]) -> list[Table | str]:
    """A row for each net, ready to show, and what to do with a name."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column in ("net", "input"):
        table.add_column(column)
    for column in ("classes", "parameters"):
        table.add_column(column, justify="right")
    table.add_column("what", no_wrap=True)
    for config in configs:
        net = config.net
        words = Text(ENDING.sub("", config.title))
        table.add_row(net.name, str(net.input), f"{net.classes:,}", f"{net.parameters:,}", words)
    return ["", table, "", "gpunet describe NAME, gpunet plan NAME, gpunet train NAME; docs/nets.md has the sources"]


def nets_json(configs: Sequence[Config]) -> list[dict[str, Any]]:
    """What each net is; parameters without those of auxiliary heads."""
    return [
        {
            "name": config.net.name,
            "input": list(config.net.input.shape),
            "classes": config.net.classes,
            "parameters": config.net.parameters,
            "title": config.title,
            "source": config.source,
        }
        for config in configs
    ]
