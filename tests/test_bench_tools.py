"""What the sections of the bench measure with: clocks, races, findings and tables."""

import json
import time
from typing import Any

import pytest

from bench.gpu import environment
from bench.gpu.findings import Findings, write_json
from bench.gpu.setting import Setting
from bench.gpu.table import Table, as_text, number
from bench.gpu.timing import HostClock, host_ms, race, shown_ms, timed, times_host
from tests.conftest import make_device


def test_the_host_waits_for_the_device_and_tells_the_time():
    waited: list[int] = []
    assert 20 <= timed(HostClock(lambda: waited.append(1)), lambda: time.sleep(0.02)) < 1000
    assert len(waited) == 2


def test_a_device_tells_the_time_by_itself():
    setting = Setting(open=lambda: make_device("emulated"))
    assert 20 <= timed(setting.clock, lambda: time.sleep(0.02)) < 1000
    assert 4 <= timed(setting.clock, lambda: time.sleep(0.004), 3) < 20
    setting.close()


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


class Late:
    """A device that takes 5 ms for a call that the host asks for at once, and a clock for it."""

    def __init__(self) -> None:
        self.busy_ms = 0.0

    def call(self) -> None:
        self.busy_ms += 5

    def mark(self) -> float:
        return self.busy_ms

    def milliseconds(self, first: float, last: float) -> float:
        return last - first


def test_a_time_that_is_the_hosts_is_marked():
    device = Late()
    ms, asking = timed(device, device.call, 3), host_ms(device, device.call)
    assert ms == 5 and asking < 1 and not times_host(ms, asking)
    slow = HostClock(lambda: None)
    assert host_ms(slow, lambda: time.sleep(0.003)) >= 3
    assert (shown_ms(5.0, 0.5), shown_ms(5.0, 4.0), shown_ms(5.0, 6.0)) == ("5.00", "5.00*", "5.00*")


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
