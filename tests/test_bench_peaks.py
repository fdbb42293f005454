"""The table of who is alive at the peak: every byte of it belongs to somebody."""

import json

import gpunet
from bench import peaks


def test_each_plan_has_its_peak(tmp_path, capsys):
    file = tmp_path / "peaks.json"
    assert peaks.main(["--net", "vgg_digits", "--json", str(file)]) == 0
    rows = json.loads(file.read_text())["rows"]
    assert [row["plan"] for row in rows] == list(peaks.PLANS)
    for row in rows:
        assert row["bytes"] == sum(row["alive"].values()) + row["rest_bytes"] <= row["arena_bytes"]
        assert all(nbytes >= peaks.SHARE * row["bytes"] for nbytes in row["alive"].values())
        assert row["op"] in capsys.readouterr().out or row is not rows[0]
    free = gpunet.plan(gpunet.load("vgg_digits"), peaks.BATCH, optimizer="sgd", max_cost=0)
    assert rows[0]["bytes"] == max(free.live_bytes) and rows[0]["bytes"] >= rows[1]["bytes"] >= rows[2]["bytes"]
