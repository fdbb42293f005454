"""Who may import whom: the layers of gpunet, read from the source of every module."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import gpunet

PACKAGE = Path(__file__).parent.parent / "gpunet"

RANKS = [
    ["errors", "version"],
    ["values"],
    ["program", "system"],
    ["layers", "optimize", "memory", "devices", "data"],
    ["net"],
    ["compile"],
    ["planning", "ranks"],
    ["description", "formats", "model"],
    ["bench", "profile", "train"],
    ["use"],
    ["report"],
    ["live"],
    ["cli"],
    ["__init__", "__main__"],  # the public face
]
"""Each imports from those before its line, and from itself."""

NOTHING_ELSE = {"memory": {"errors", "program", "values"}, "data": {"errors", "system", "values"}, "__main__": {"cli"}}
"""Narrower than the ranks: memory has never heard of a layer; data sets have never heard of a net."""

NEVER = {"compile": {"devices"}, "report": {"data"}}
"""What depends on the device reaches `compile` as a target that is passed in; tables show what they are given."""

FUNCTIONS = {"describe", "fit", "load", "plan", "slide"}
"""Functions of gpunet, whose names no package may take."""

CUPY_ONLY = ("devices/cuda/driver.py", "ranks/nccl.py")

MPI_ONLY = "ranks"
"""The only room that knows of MPI."""


@cache
def parts_of_gpunet() -> set[str]:
    """Top-level modules and packages."""
    return {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


def imported(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything imported, inside functions and `if TYPE_CHECKING` too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def part_of(name: str) -> str | None:
    """The part of gpunet that a dotted name lies in; None outside of gpunet."""
    words = name.split(".")
    if words[0] != "gpunet":
        return None
    return words[1] if len(words) > 1 and words[1] in parts_of_gpunet() else "__init__"


def allowed(importer: str, target: str) -> bool:
    rank = {name: number for number, names in enumerate(RANKS) for name in names}
    if importer == target or (importer == "cli" and target == "__init__"):  # the command line shows the version
        return True
    if target in NEVER.get(importer, ()) or target not in NOTHING_ELSE.get(importer, {target}):
        return False
    return rank[target] < rank[importer]


def offences(path: str, source: str) -> list[str]:
    """The lines of the module at `path`, relative to the package, that import what they must not."""
    importer = path.split("/")[0].removesuffix(".py")
    package = ".".join(["gpunet", *path.split("/")[:-1]])
    lines = source.splitlines()
    found = []
    for line, name in imported(ast.parse(source), package):
        target = part_of(name)
        wrong = target is not None and not allowed(importer, target)
        library = name.split(".")[0]
        wrong = wrong or (library == "cupy" and path not in CUPY_ONLY)
        if wrong or (library == "mpi4py" and importer != MPI_ONLY):
            found.append(f"gpunet/{path}:{line}: {importer} must not import {name}: {lines[line - 1].strip()}")
    return found


MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES)
def test_modules_import_only_what_lies_below_them(path: str) -> None:
    found = offences(path, (PACKAGE / path).read_text("utf-8"))
    assert not found, "\n".join(found)


def test_every_part_has_a_rank() -> None:
    assert parts_of_gpunet() - {"__init__"} == {name for names in RANKS for name in names} - {"__init__"}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("memory/arena.py", "from gpunet.layers.conv import Conv"),
        ("memory/arena.py", "from gpunet.net.net import Net"),
        ("memory/plan.py", "def f():\n    import gpunet.layers.conv"),
        ("layers/conv.py", "from gpunet.devices import target"),
        ("layers/conv.py", "from ..devices import target"),
        ("layers/conv.py", "if TYPE_CHECKING:\n    from gpunet.net.net import Net"),
        ("layers/conv.py", "import_module('gpunet.devices.cpu')"),
        ("compile/lower.py", "import gpunet.devices.target"),
        ("compile/lower.py", "from gpunet import devices"),
        ("net/net.py", "from gpunet import Net"),
        ("program/program.py", "from gpunet.layers.conv import Conv"),
        ("data/digits.py", "from gpunet.net.net import Net"),
        ("planning/fitter.py", "from gpunet.model.model import Model"),
        ("report/table.py", "from gpunet.data import Dataset"),
        ("train/trainer.py", "from gpunet.report.table import plan_parts"),
        ("devices/cuda/device.py", "import cupy.cuda"),
        ("devices/cuda/device.py", "from cupy import ndarray"),
        ("use/doctor.py", "importlib.import_module('cupy')"),
        ("values/shown.py", "from gpunet.report.looks import look"),
        ("values/shown.py", "def f():\n    from gpunet.report.table import headline"),
        ("memory/plan.py", "def f():\n    from gpunet.report.looks import look"),
    ],
)
def test_an_offence_is_named_with_its_line(path: str, source: str) -> None:
    (found,) = offences(path, source)
    assert f"gpunet/{path}:{source.count(chr(10)) + 1}: " in found
    assert source.splitlines()[-1].strip() in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("memory/arena.py", "from gpunet.memory.problem import Problem\nfrom gpunet.errors import PlanError"),
        ("memory/plan.py", "from gpunet.program import Program"),
        ("devices/cuda/source.py", "from gpunet.system import resources"),
        ("devices/cuda/driver.py", "import cupy"),
        ("train/trainer.py", "from gpunet.data import Dataset"),
        ("cli/app.py", "from gpunet import __version__"),
        ("memory/plan.py", "from gpunet.values.shown import Shown"),
        ("cli/app.py", "import numpy, cupyx_like_name"),
    ],
)
def test_what_lies_below_may_be_imported(path: str, source: str) -> None:
    assert offences(path, source) == []


def test_gpunet_itself_imports_nothing_before_a_name_is_asked_for() -> None:
    code = (
        "import sys; before = set(sys.modules); import gpunet; print(sorted(set(sys.modules) - before))\n"
        "import gpunet.planning.fitter, gpunet.model.model; print(gpunet.fit, gpunet.plan)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == "['gpunet']"
    assert result.stdout.splitlines()[1].startswith("<function fit at ")


def test_every_public_name_is_there_and_no_module_takes_its_place() -> None:
    assert set(gpunet.__all__) > FUNCTIONS and gpunet.__version__
    for name in gpunet.__all__:
        assert getattr(gpunet, name).__name__ == name
        assert name in dir(gpunet) and name not in parts_of_gpunet()
    with pytest.raises(AttributeError, match="no attribute 'Modle'"):
        _ = gpunet.Modle


def test_planning_for_a_gpu_works_where_cupy_is_not_installed() -> None:
    code = (
        "import sys; sys.modules['cupy'] = None; import gpunet, gpunet.cli\n"
        "plan = gpunet.plan(gpunet.load('INPUT[9x7x3] -> CONV3-5 -> FC-2'), batch=3, device='cuda')\n"
        "print(plan.arena_bytes)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 0
