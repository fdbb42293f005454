"""Runs the tests of kernels with another folder's .cu files: `python -m tests.with_kernels FOLDER REPORT FILE ...`.

FILE: the files of ops that matter. The first test that fails ends the run; its name is then in REPORT.
"""

import sys
from pathlib import Path

import pytest

from gpunet.devices import open_device
from gpunet.devices.cuda import source
from tests.emulator.builder import BuildError

TESTS = Path(__file__).parent
OPTIONS = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
NOT_SLOW = "not gpu and not slow"
SLOW = {"thrice_products"}
"""Files whose tests are all slow, and run here nevertheless: nothing else notices what is wrong there."""

NOT_COMPILED = "DOES NOT COMPILE"


class Run:
    """A pytest plugin: leaves out the CPU device and other files' ops, begins with ops, and writes down what fails."""

    def __init__(self, report: Path, files: list[str]):
        self._report = report
        self._ops = {name for name, op in open_device("cpu").ops.items() if op.__module__.rpartition(".")[2] in files}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if self._matters(item)), key=lambda item: "op" not in _parameters(item)
        )

    def _matters(self, item: pytest.Item) -> bool:
        parameters = _parameters(item)
        return parameters.get("device") != "cpu" and ("op" not in parameters or parameters["op"] in self._ops)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self._report.exists():
            name = NOT_COMPILED if BuildError.__name__ in report.longreprtext else report.nodeid.removeprefix("tests/")
            self._report.write_text(name, encoding="utf-8")


def _parameters(item: pytest.Item) -> dict[str, object]:
    callspec = getattr(item, "callspec", None)
    return callspec.params if callspec else {}


def main(folder: str, report: str, *files: str) -> int:
    """First the tests that go through all ops, which are quick, then those of each file; the first exit code but 0."""
    source.kernel_folder = lambda: Path(folder)
    plugin = Run(Path(report), list(files))
    default = [name for name in files if name not in SLOW]
    for names, marks in ((("ops", "kernels", "huge"), NOT_SLOW), (default, NOT_SLOW), (SLOW & set(files), "not gpu")):
        tests = [str(TESTS / f"test_{name}.py") for name in names]
        if tests and (code := pytest.main([*OPTIONS, "-m", marks, *tests], plugins=[plugin])):
            return int(code)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
