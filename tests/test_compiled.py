"""Kernels as machine code: made by NVRTC for a GPU's architecture, kept in the user's cache folder, safely."""

import logging
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from gpunet.devices.cuda import compiled as module
from gpunet.devices.cuda.compiled import FOLDER, compiled
from gpunet.devices.cuda.nvrtc import CompileError, Nvrtc, compile_options
from gpunet.devices.cuda.source import compose
from gpunet.errors import DeviceError
from gpunet.system import cache
from tests.ptx.builder import nvrtc_of


class Counting:
    """An NVRTC that counts what it compiles."""

    def __init__(self, path: Path, version: tuple[int, int] = (12, 9)) -> None:
        path.touch()
        self.path, self.version = path, version
        self.asked: list[tuple[str, str, tuple[str, ...]]] = []

    def architecture(self, capability: tuple[int, int]) -> str:
        return "sm_{}{}".format(*capability)

    def compile(self, source: str, name: str, options: tuple[str, ...]) -> tuple[bytes, str]:
        self.asked.append((source, name, options))
        return f"code of {name} with {options}".encode(), ""


@pytest.fixture
def nvrtc(tmp_path: Path) -> Counting:
    return Counting(tmp_path / "libnvrtc.so")


def test_a_file_is_compiled_once_for_each_type_and_architecture(nvrtc: Counting, cache_folder: Path) -> None:
    wanted = [
        ("relu", "float32", (8, 6)),
        ("relu", "float64", (8, 6)),
        ("relu", "float32", (6, 1)),
        ("pool", "float32", (8, 6)),
    ]
    codes = [compiled(nvrtc, *one) for one in wanted]
    assert nvrtc.asked == [
        (compose(file), f"{file}.cu", compile_options(real, nvrtc.architecture(capability)))
        for file, real, capability in wanted
    ]
    assert [compiled(nvrtc, *one) for one in wanted] == codes and len(nvrtc.asked) == len(wanted)
    assert len(list((cache_folder / FOLDER).iterdir())) == len(wanted)


def test_another_text_or_another_nvrtc_is_compiled_anew(
    nvrtc: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled(nvrtc, "relu", "float32", (8, 6))
    newer = Counting(tmp_path / "newer.so", (13, 0))
    compiled(newer, "relu", "float32", (8, 6))
    (tmp_path / "mended.so").write_text("the same version, built again")
    mended = Counting(tmp_path / "mended.so")
    compiled(mended, "relu", "float32", (8, 6))
    monkeypatch.setattr(module, "compose", lambda file: compose(file) + "// edited")
    compiled(nvrtc, "relu", "float32", (8, 6))
    assert (len(nvrtc.asked), len(newer.asked), len(mended.asked)) == (2, 1, 1)


@pytest.mark.parametrize(
    "damage", [lambda kept: b"", lambda kept: kept[:-1], lambda kept: kept[:40] + b"?" + kept[41:]]
)
def test_a_damaged_file_is_compiled_again(nvrtc: Counting, cache_folder: Path, damage) -> None:
    code = compiled(nvrtc, "relu", "float32", (8, 6))
    (path,) = (cache_folder / FOLDER).iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert compiled(nvrtc, "relu", "float32", (8, 6)) == code and len(nvrtc.asked) == 2
    assert compiled(nvrtc, "relu", "float32", (8, 6)) == code and len(nvrtc.asked) == 2


def test_where_nothing_can_be_written_kernels_are_compiled_all_the_same_and_it_is_said_once(
    nvrtc: Counting, cache_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache_folder.write_text("a file in its place: not even root can make a folder of it")
    for _ in range(2):
        for real in ("float32", "float64"):
            assert compiled(nvrtc, "relu", real, (8, 6)).startswith(b"code of relu.cu")
    (message,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "compiled anew at each start" in message and f"cannot make the folder {cache_folder}" in message
    assert "set GPUNET_CACHE to a folder that can be written" in message


def test_without_a_home_folder_nothing_is_put_anywhere(
    nvrtc: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(cache.FOLDER_VARIABLE)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.chdir(tmp_path)
    assert compiled(nvrtc, "relu", "float32", (8, 6))
    assert cache.fault() == "there is no home folder"
    assert not (tmp_path / "~").exists()


def test_real_code_is_kept_and_what_is_wrong_is_told_with_nvrtcs_log(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = compiled(nvrtc_of(12), "bias", "float32", (6, 1))
    assert code.startswith(b"\x7fELF")
    (path,) = (cache_folder / FOLDER).iterdir()
    assert path.name.startswith("bias-float32-") and path.read_bytes().endswith(code)
    monkeypatch.setattr(module, "compose", lambda file: "not_a_type mistake;")
    with pytest.raises(CompileError, match="not_a_type"):
        compiled(nvrtc_of(12), "bias", "float32", (6, 1))


@pytest.mark.parametrize(
    ("capability", "architecture"),
    [((7, 5), "sm_75"), ((8, 6), "sm_86"), ((8, 7), "sm_86"), ((10, 3), "sm_100"), ((13, 0), "compute_121")],
)
def test_code_is_for_the_gpu_or_an_elder_of_its_generation_else_the_driver_makes_it(
    capability: tuple[int, int], architecture: str
) -> None:
    known = SimpleNamespace(architectures=[(7, 5), (8, 0), (8, 6), (8, 9), (10, 0), (12, 1)])
    assert Nvrtc.architecture(known, capability) == architecture


def test_a_library_that_is_no_nvrtc_is_said(tmp_path: Path) -> None:
    import _ctypes

    with pytest.raises(DeviceError, match="NVRTC cannot be loaded"):
        Nvrtc(tmp_path / "nothing.so")
    with pytest.raises(DeviceError, match="is no NVRTC, or too old a one"):
        Nvrtc(Path(_ctypes.__file__))
