"""Where tests run: in a checkout that nobody may write into, with a home that is not there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.emulator import builder

ROOT = Path(__file__).parent.parent

READ_ONLY = """
import os, sys
os.access = lambda path, mode: False
import tests.conftest
from hypothesis.configuration import storage_directory
print(storage_directory("examples"))
"""


def test_in_a_checkout_that_is_read_only_hypothesis_keeps_its_examples_elsewhere() -> None:
    done = subprocess.run([sys.executable, "-c", READ_ONLY], capture_output=True, text=True, cwd=ROOT, check=True)
    assert not Path(done.stdout.strip()).is_relative_to(ROOT)


def test_without_a_home_kernels_are_compiled_into_a_folder_of_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    library, kernels = builder.build("relu", "float32")
    assert library.exists() and "relu_forward" in kernels and "gpunet-emulator-" in str(library)
    assert builder.build("relu", "float32")[0] == library


def test_with_a_home_they_are_kept_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = builder.cache_folder("emulator")
    assert folder == tmp_path / "gpunet/emulator" and os.listdir(folder) == []
