"""The bench of several ranks: what it writes down, of a small net and few steps."""

import json
from pathlib import Path

import pytest

from bench import ranks

pytestmark = pytest.mark.slow  # two processes start


def test_bytes_are_those_that_were_planned_and_efficiency_falls_with_slower_networks(tmp_path: Path) -> None:
    path, plot = tmp_path / "ranks.json", tmp_path / "ranks.png"
    few = ["--ranks", "2", "--net", "vgg_digits", "--images", "2", "--steps", "2", "--kib", "16"]
    assert not ranks.main([*few, "--nets", "resnet50", "--counts", "4", "--plot", str(plot), "--json", str(path)])
    found = json.loads(path.read_text())
    two = found["ranks"]["2"]
    assert two["sent_bytes"] == two["planned_bytes"] > 0 and two["arena_bytes"] == two["planned_arena_bytes"]
    assert [sums["bytes"] for sums in two["all_reduce"]] == [16 * 1024]
    assert sum(two["sums_bytes"]) > two["sent_bytes"] / 2
    by_network = {row["network"]: row["efficiency"] for row in found["predicted"] if not row["split_fc"]}
    assert by_network["10Gb"] < by_network["25Gb"] < by_network["nvlink"] < 1
    divided = {row["network"]: row for row in found["predicted"] if row["split_fc"]}
    assert divided["10Gb"]["hidden_ms"] > 0 and plot.stat().st_size > 1000
