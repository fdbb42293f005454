"""The bench of reading images: what it writes down, on a few small pictures."""

import json
from pathlib import Path

import pytest

from bench import data


def test_digits_and_pictures_are_measured_in_memory_and_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "data.json"
    net = "INPUT[8x6x3] -> FC-2"
    code = data.main(["--pictures", "6", "--nets", net, net, "--batch", "500", "--rounds", "1", "--json", str(path)])
    assert code == 0 and f"written to {path}" in capsys.readouterr().out
    found = json.loads(path.read_text())["data"]
    pictures = ("6 JPEGs of 256x256", [6])
    assert [(entry["data"], entry["images"]) for entry in found] == [("digits", [1437]), pictures, pictures]
    for entry in found:
        assert set(entry["images_per_second"]) == {"in_memory", "read", "augmented", "reading_alone"}
        assert all(len(times) == 1 and times[0] > 0 for times in entry["seconds"].values())
