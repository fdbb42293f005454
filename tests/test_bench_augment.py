"""The bench of augmented digits: what it writes down, after one epoch."""

import json
from pathlib import Path

import pytest

from bench import augment


def test_a_way_gains_over_none_fold_by_fold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "augment.json"
    code = augment.main(["--seeds", "1", "--ways", "none", "brightness", "--epochs", "1", "--json", str(path)])
    assert code == 0 and "brightness" in capsys.readouterr().out
    none, bright = json.loads(path.read_text())["ways"].values()
    assert len(none["runs"]) == len(bright["runs"]) == 4 and none["gain"] == 0
    gains = [after - before for after, before in zip(bright["runs"], none["runs"], strict=True)]
    assert bright["gain"] == pytest.approx(sum(gains) / 4)
