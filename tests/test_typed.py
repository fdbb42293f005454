"""What a type checker says of what people write: nothing where it is right, and where it is wrong, what is."""

import re
from pathlib import Path
from typing import get_args

import pytest
from mypy import api

from gpunet.devices import device_names
from gpunet.devices.name import kind_of
from gpunet.optimize.optimizers import OPTIMIZERS, OptimizerName
from gpunet.optimize.schedules import SCHEDULES, ScheduleName
from gpunet.planning.options import ALL_WAYS, Way
from gpunet.program.program import AnyDevice, DeviceName, Dtype
from gpunet.program.tensor import ITEMSIZE

USES = Path(__file__).parent / "typed"
ROOT = USES.parent.parent


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, set[str]]]:
    """The kinds of error that mypy finds in each of the files, by line."""
    config = tmp_path_factory.mktemp("mypy") / "mypy.ini"
    config.write_text(
        f"[mypy]\nstrict = True\nmypy_path = {ROOT}\nfollow_imports = silent\ncache_dir = {config.parent}\n"
    )
    out, wrong, _ = api.run(["--config-file", str(config), str(USES / "right.py"), str(USES / "wrong.py")])
    assert not wrong, wrong
    found: dict[str, dict[int, set[str]]] = {}
    for name, line, kind in re.findall(r"(\w+)\.py:(\d+): error: .*\[([\w-]+)\]$", out, re.MULTILINE):
        found.setdefault(name, {}).setdefault(int(line), set()).add(kind)
    return found


def test_what_is_right_passes(said):
    assert "right" not in said


def test_every_slip_is_found_and_nothing_else(said):
    lines = (USES / "wrong.py").read_text("utf-8").splitlines()
    meant = {number: {*line.rpartition("# ")[2].split()} for number, line in enumerate(lines, 1) if "  # " in line}
    assert said["wrong"] == meant


def test_the_words_that_are_typed_are_those_that_there_are():
    assert {kind_of(name) for name in get_args(DeviceName)} == {*device_names()} < {*get_args(DeviceName)}
    assert {*get_args(AnyDevice)} == {"auto", *get_args(DeviceName)}
    assert set(get_args(Dtype)) == {"float32", "float64", "float16", "bfloat16"} < set(ITEMSIZE)
    assert set(get_args(OptimizerName)) == {*OPTIMIZERS, *(kind.__name__ for kind in OPTIMIZERS.values())}
    assert set(get_args(ScheduleName)) == {*SCHEDULES, *(kind.__name__ for kind in SCHEDULES.values())}
    assert get_args(Way) == ALL_WAYS
