"""The reserve of this machine's GPU: measured once, kept in the user's cache folder, used by plans."""

import errno
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import gpunet
from gpunet import DataError, DeviceError
from gpunet.devices import target
from gpunet.devices.cuda import libcuda, reserve
from gpunet.planning.predict import load
from gpunet.system import cache
from tests.conftest import GPU
from tests.nets import blocks

ROOT = Path(__file__).parent.parent
MIB = 2**20


def planned(**options: Any) -> tuple[int, str]:
    made = gpunet.plan(blocks(), 3, device="cuda", **options)
    return made.reserve_bytes, made.reserve_source


STATED = (512 * MIB, "stated, not measured")


def test_plans_use_the_reserve_that_was_measured_on_this_gpu(gpu) -> None:
    assert planned() == STATED
    assert reserve.keep(300 * MIB) is not None
    assert planned() == (300 * MIB, f"measured on {GPU}")
    assert planned(reserve="400MiB") == (400 * MIB, "as given")
    assert gpunet.plan(blocks(), 3, device="cpu").reserve_source == "stated, not measured"
    free = gpunet.plan(blocks(), 3)
    made = gpunet.plan(blocks(), 3, budget=free.arena_bytes + 300 * MIB)
    assert made.fits and made.ways == free.ways
    assert gpunet.plan(blocks(), 3, budget=free.arena_bytes + 300 * MIB - 1).ways != free.ways
    for name in ("Card 5, driver 581.0", "Card 6, driver 580.65", None):
        gpu(name)
        assert planned() == STATED


def test_each_gpu_of_a_machine_has_a_reserve_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserve, "hardware", lambda number=0: f"Card {number}, driver 580.65")
    reserve.keep(300 * MIB)
    reserve.keep(200 * MIB, 1)
    found = {name: gpunet.plan(blocks(), 3, device=name) for name in ("cuda", "cuda:0", "cuda:1", "cuda:2")}
    assert [made.reserve_bytes // MIB for made in found.values()] == [300, 300, 200, 512]
    assert [made.device for made in found.values()] == ["cuda", "cuda", "cuda:1", "cuda:2"]


def test_the_largest_reserve_counts(gpu) -> None:
    for measured, used in ((300, 300), (280, 300), (310, 310)):
        held = reserve.keep(measured * MIB)
        assert held is not None and held.nbytes == used * MIB
    gpu("Card 6, driver 580.65")
    reserve.keep(100 * MIB)
    gpu(GPU)
    assert planned()[0] == 310 * MIB


def test_no_reserve_is_kept_where_there_is_no_gpu_or_none_was_measured(gpu, cache_folder: Path) -> None:
    assert reserve.keep(0) is None and reserve.keep(-5) is None
    gpu(None)
    assert reserve.keep(300 * MIB) is None
    assert not cache_folder.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b"\xff\xfe",
        b'{"%s": 5}',
        b'{"%s": {"reserve_bytes": "much"}}',
        b'{"%s": {"reserve_bytes": -1}}',
    ],
)
def test_a_damaged_file_is_ignored_with_a_message(gpu, cache_folder: Path, caplog, content: bytes) -> None:
    cache_folder.mkdir()
    path = cache_folder / reserve.FILE
    path.write_bytes(content.replace(b"%s", reserve._key(GPU).encode()))
    assert planned() == planned() == STATED
    (message,) = [record.getMessage() for record in caplog.records]
    assert str(path) in message and "delete it" in message
    reserve.keep(200 * MIB)
    assert planned()[0] == 200 * MIB


def test_a_home_of_another_user_is_no_damage(
    gpu, cache_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a container that runs for a user who may not even look into HOME."""

    def refuse(name: str) -> None:
        right = getattr(Path, name)

        def call(path: Path, *arguments: Any, **options: Any) -> Any:
            if cache_folder in (path, *path.parents):
                raise PermissionError(errno.EACCES, "Permission denied")
            return right(path, *arguments, **options)

        monkeypatch.setattr(Path, name, call)

    for name in ("read_bytes", "exists", "is_dir", "stat", "mkdir"):
        refuse(name)
    assert planned() == STATED and load(blocks(), "float32", target("cuda")) == []
    assert caplog.records == []
    with pytest.raises(DataError, match="Permission denied"):
        reserve.keep(300 * MIB)


def test_a_cache_that_cannot_be_written_is_an_error_that_names_it(gpu, cache_folder: Path) -> None:
    cache_folder.write_text("a file in its place")
    with pytest.raises(DataError, match=re.escape(str(cache_folder))):
        reserve.keep(300 * MIB)
    assert planned() == STATED


def test_the_gpu_and_its_driver_are_asked_of_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libcuda, "driver_version", lambda: 13)
    cards = [SimpleNamespace(name="Card 5", driver="580.65"), SimpleNamespace(name="Card 6", driver="580.65")]
    monkeypatch.setattr("gpunet.devices.cuda.probe.gpu", cards.__getitem__)
    assert reserve.hardware.__wrapped__() == GPU
    assert reserve.hardware.__wrapped__(1) == "Card 6, driver 580.65"

    def silent(number: int) -> None:
        raise DeviceError("NVML does not answer")

    monkeypatch.setattr("gpunet.devices.cuda.probe.gpu", silent)
    assert reserve.hardware.__wrapped__() is None
    monkeypatch.setattr(libcuda, "driver_version", lambda: None)
    assert reserve.hardware.__wrapped__() is None


@pytest.mark.parametrize("kept", [False, True])
def test_planning_without_a_gpu_touches_nothing_of_one(cache_folder: Path, kept: bool) -> None:
    if kept:
        cache_folder.mkdir()
        (cache_folder / reserve.FILE).write_text(json.dumps({reserve._key(GPU): {"reserve_bytes": 5}}))
    code = (
        "import sys, gpunet; from gpunet.devices.cuda import libcuda; libcuda.driver_version = lambda: None\n"
        "gpunet.plan(gpunet.load('vgg_digits'), 8, device='cuda')\n"
        "assert 'numpy' not in sys.modules\n"  # it takes a while to come, and only what searches needs it
        "gpunet.fit(gpunet.load('vgg_digits'), '700MiB')\n"
        "print([name for name in ('cupy', 'pynvml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr


def test_the_folder_is_the_users_own_where_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPUNET_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    if sys.platform == "linux":
        assert cache.folder() == Path("/somewhere/gpunet")
    assert cache.folder().is_absolute()
