"""The benchmark of how convolutions round: every algorithm and pass has an error, none is of another kind of sum."""

import json

from bench import rounding


def test_it_prints_and_writes_the_largest_error_of_every_algorithm_and_pass(tmp_path, capsys):
    path = tmp_path / "rounding.json"
    assert rounding.main(["--json", str(path)], shapes=[(24, 12)]) == 0
    errors = json.loads(path.read_text())["errors"]
    assert list(errors) == ["im2col", "winograd2", "winograd4"]
    printed = capsys.readouterr().out
    for name, found in errors.items():
        assert list(found) == ["y", "dx", "dw"] and name in printed
        for error in found.values():
            assert 1e-8 < error < 1e-5 and f"{error:.1e}" in printed
