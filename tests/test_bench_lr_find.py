"""The bench of suggested rates: what it writes down, of one net and two rates."""

import json
from pathlib import Path

import pytest

from bench import lr_find


def test_the_suggestion_is_held_against_the_best_of_the_grid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rates.json"
    few = ("--epochs", "1", "--seeds", "1", "--steps", "60", "--json", str(path))
    code = lr_find.main(["--nets", "fully connected", "--grid", "0.0001", "0.05", *few])
    (found,) = json.loads(path.read_text())["nets"]
    assert [entry["rate"] for entry in found["grid"]] == [0.0001, 0.05] and found["best_rate"] == 0.05
    assert len(found["suggestions"]) == 3 and sorted(found["suggestions"])[1] == found["suggestion"]
    assert found["below_best"] == found["grid"][1]["accuracy"] - found["accuracy"]
    assert code == (found["below_best"] > 0.01) and "best of the grid 0.05" in capsys.readouterr().out
    assert len(lr_find.cases()) == 5
