"""What the sections of the bench measure with: clocks, races, the meter of a GPU's memory, findings and tables."""

import json
import os
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from bench.gpu import environment, memory
from bench.gpu.findings import Findings, write_json
from bench.gpu.table import Table, as_text, number
from bench.gpu.timing import EventClock, HostClock, device_clock, race, timed
from tests.conftest import make_device


class FakeEvent:
    """An event of a GPU that counts the time in half milliseconds, one more at each record."""

    time = 0.0

    def __init__(self) -> None:
        self.at: float | None = None
        self.waited = False

    def record(self, stream: Any) -> None:
        assert stream == "the driver's stream"
        FakeEvent.time += 0.5
        self.at = FakeEvent.time

    def synchronize(self) -> None:
        self.waited = True


def elapsed(first: FakeEvent, last: FakeEvent) -> float:
    assert last.waited, "CUDA refuses to tell the time between events that are not done"
    assert first.at is not None and last.at is not None
    return last.at - first.at


def test_where_the_device_has_a_stream_events_on_it_tell_the_time(monkeypatch):
    fake = SimpleNamespace(cuda=SimpleNamespace(Event=FakeEvent, get_elapsed_time=elapsed))
    monkeypatch.setitem(sys.modules, "cupy", fake)
    device: Any = SimpleNamespace(driver=SimpleNamespace(_stream="the driver's stream"))
    clock = device_clock(device)
    assert isinstance(clock, EventClock)
    assert timed(clock, lambda: None) == 0.5
    assert timed(clock, lambda: None, 5) == 0.1


def test_elsewhere_the_host_waits_and_tells_it():
    device = make_device("emulated")
    waited: list[int] = []
    clock = HostClock(lambda: waited.append(1))
    assert isinstance(device_clock(device), HostClock)
    assert 20 <= timed(clock, lambda: time.sleep(0.02)) < 1000
    assert len(waited) == 2
    device.close()


@pytest.fixture
def pynvml(monkeypatch):
    """NVML as a GPU would show it; `used` by process id, None where the driver does not tell."""
    made = SimpleNamespace(used={os.getpid(): 700, 1: 50}, asked=[], NVMLError=KeyError)
    made.nvmlInit = lambda: None
    made.nvmlDeviceGetHandleByIndex = lambda index: made.asked.append(index) or "handle"
    made.nvmlDeviceGetMemoryInfo = lambda handle: SimpleNamespace(used=1000)

    def processes(handle: str) -> list[Any]:
        if made.used is None:
            raise made.NVMLError("not supported")
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in made.used.items()]

    made.nvmlDeviceGetComputeRunningProcesses = processes
    monkeypatch.setitem(sys.modules, "pynvml", made)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    return made


def test_the_meter_tells_the_gpus_use_and_this_processs_where_nvml_does(pynvml):
    meter = memory.Nvml()
    assert meter() == {"device": 1000, "pool": 0, "process": 700}
    pynvml.used[os.getpid()] = None
    assert meter() == {"device": 1000, "pool": 0}
    pynvml.used = None
    assert meter() == {"device": 1000, "pool": 0}
    assert "cupy" not in sys.modules, "looking must not start what is to be measured"


@pytest.mark.parametrize("visible, index", [(None, 0), ("", 0), ("3,1", 3), ("GPU-5d3a", 0)])
def test_the_meter_looks_at_the_gpu_that_cuda_shows_first(pynvml, monkeypatch, visible, index):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    memory.Nvml()
    assert pynvml.asked == [index]


def test_the_peak_is_seen_between_two_looks():
    use = {"device": 5}
    with memory.Peak(lambda: dict(use)) as peak:
        use["device"] = 90
        time.sleep(0.1)
        use["device"] = 7
        time.sleep(0.02)
    assert peak.bytes == {"device": 90}


def test_what_cannot_be_asked_stands_there_as_its_reason():
    def broken() -> dict[str, Any]:
        raise OSError("libnothing.so: cannot open")

    assert environment._asked(broken) == {"error": "OSError: libnothing.so: cannot open"}
    (table,) = environment.tables({"gpu": {"error": "one line\nand more"}, "packages": {"torch": None, "numpy": "2"}})
    assert ("gpu: error", "one line") in table.rows
    assert ("numpy", "2") in table.rows
    assert "torch" not in dict(table.rows)


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match="x"):
        write_json(path, {"a": 2})
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_every_finding_is_on_disk_at_once(tmp_path):
    findings = Findings(tmp_path / "x.json")
    findings.note("a", 1)
    findings.append("rows", {"n": 1})
    findings.require(True, "not this")
    findings.require(False, "this")
    findings.skip("that")
    assert json.loads((tmp_path / "x.json").read_text()) == {
        "values": {"a": 1, "rows": [{"n": 1}]},
        "failures": ["this"],
        "skipped": ["that"],
    }


def test_contenders_take_turns(monkeypatch):
    order: list[str] = []
    clock = HostClock(lambda: None)

    def contender(name: str) -> Any:
        return clock, lambda: (order.append(name), time.sleep(0.003))

    times = race({"a": contender("a"), "b": contender("b")}, seconds=0.0, rounds=(3, 5))
    assert order == ["a", "a", "b", "b", *["a", "b"] * 3]
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}
    assert all(3 <= ms < 50 for ms in times["a"])


@pytest.mark.parametrize(
    "value, text",
    [(None, "-"), (0.0, "0"), (1.23456, "1.23"), (0.012345, "0.0123"), (1234.5, "1,234"), (4.2e-6, "4.2e-06")],
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_tables_show_every_cell():
    table = Table("a title", ("name", "ms"), [("first", "1.5"), ("the second", 22)], ("a note",))
    assert as_text(table).splitlines() == [
        "a title",
        "  name         ms",
        "  ----------  ---",
        "  first       1.5",
        "  the second   22",
        "  a note",
    ]
