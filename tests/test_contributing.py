"""CONTRIBUTING's example of a layer: its six files, in a copy of the tree, are all that a new layer needs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(?:python|cpp|js)\n(?:#|//) (\S+)\n(.*?)^```$", re.M | re.S)
FILES = dict(BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text("utf-8")))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The project with the example in it."""
    for folder in ("gpunet", "cuda", "configs", "tests", "bench"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "results"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name, text in FILES.items():
        assert not (tmp_path / name).exists(), f"{name} is there already"
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=600)


def test_a_layer_is_six_files() -> None:
    assert set(FILES) == {
        "gpunet/layers/celu.py",
        "gpunet/devices/cpu/celu.py",
        "gpunet/devices/cuda/celu.py",
        "cuda/celu.cu",
        "gpunet/browser/ops/celu.js",
        "tests/test_celu.py",
    }


def test_they_pass_their_tests_and_those_that_go_through_all_layers_and_ops(tree: Path) -> None:
    chosen = "celu_ or -celu or test_celu or celu.cu or both_devices or each_of_its_fields or every_kernel_has_mutants"
    files = ("celu", "ops", "browser_ops", "kernels", "mutants", "pattern", "agreement")
    options = (
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-m",
        "not gpu and not slow",
        "-k",
        f"({chosen}) and not relu",
    )
    done = run(tree, "pytest", *options, *(f"tests/test_{name}.py" for name in files))
    assert done.returncode == 0, done.stdout + done.stderr
    counted = re.search(r"(\d+) passed", done.stdout)
    assert counted and int(counted[1]) >= 20, done.stdout


def test_the_new_word_stands_in_patterns_on_the_command_line(tree: Path) -> None:
    net = "INPUT[6x6x2] -> CONV3-4 -> CELU(alpha=0.5) -> FC-3"
    planned = run(tree, "gpunet", "plan", net, "--batch", "4", "--device", "cpu")
    assert planned.returncode == 0 and "celu1" in planned.stdout, planned.stderr
    checked = run(tree, "gpunet", "gradcheck", net, "--device", "cpu")
    assert checked.returncode == 0, checked.stdout + checked.stderr
