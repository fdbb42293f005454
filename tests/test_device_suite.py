"""The tests of the kernels once more, on executed device code: as it is, watched, and off by two units."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpunet.devices.cuda.source import kernel_files
from tests.ptx.plugin import VARIABLE

TESTS = Path(__file__).parent

WHOLE = ("agreement", "conv_relu", "division", "huge", "implicit", "joint", "kernels", "model", "pool_through_im2col")
"""What runs kernels of several files."""

FILES = sorted({name for name in (*kernel_files(), *WHOLE) if (TESTS / f"test_{name}.py").exists()})

WATCHED = ("augment", "batch_norm", "conv", "kernels", "pool")
ROUGH = ("augment", "hinge", "loss", "lrn", "softmax", "squash", "units")
"""With instructions that only come near."""

HOW = [
    *(pytest.param(name, "", id=name) for name in FILES),
    *(pytest.param(name, "watches=1", id=f"{name}-watched") for name in WATCHED),
    *(pytest.param(name, "noise=2", id=f"{name}-rough") for name in ROUGH),
    pytest.param("kernels", "architecture=90", id="kernels-90"),
    pytest.param("kernels", "architecture=61", id="kernels-61"),
]


@pytest.mark.slow
@pytest.mark.parametrize("name, options", HOW)
def test_device_code_passes_the_tests_of_the_kernels(name: str, options: str) -> None:
    chosen = ("-q", "-p", "tests.ptx.plugin", "-p", "no:cacheprovider", "-p", "no:xdist")
    command = [sys.executable, "-m", "pytest", *chosen, str(TESTS / f"test_{name}.py")]
    done = subprocess.run(
        command, cwd=TESTS.parent, env={**os.environ, VARIABLE: options}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    assert " passed" in done.stdout


def test_every_kernel_file_with_tests_of_its_own_is_among_them() -> None:
    assert {"batch_norm", "bias", "conv", "pool", "softmax", "update", "winograd2"} <= set(FILES)
