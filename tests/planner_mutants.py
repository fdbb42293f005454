"""Breaks the planner on purpose, one change at a time, and shows that its tests notice.

    python -m tests.planner_mutants [FILE ...] [--each N]

Every comparison, sum, bound, condition and call of a file can be broken; of each file N are drawn, always the same. The
broken module stands in for the real one in a process of its own, which runs the tests of that file until one fails.
Numbers at the top of a file are left alone: they say how much is tried, not what is right. Exit code 1 if fewer than
WANTED are caught of those that change anything.
"""

import argparse
import ast
import importlib.util
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from random import Random
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]

WANTED = 0.9
"""Of the mutants that are not equivalent."""

EACH = 8
"""Mutants of a file."""

TIMEOUT_SECONDS = 600
"""A mutant that runs for so long is caught too: it hangs."""

SEARCH = ("test_planner_best.py", "test_dropping.py", "test_frontier.py")
FITS = ("test_planner_best.py", "test_choose.py")
PLACES = ("test_planner_best.py", "test_arena.py")

FILES: dict[str, tuple[str, ...]] = {
    "compile/makers.py": SEARCH,
    "compile/dropping.py": SEARCH,
    "compile/changes.py": SEARCH,
    "compile/frontier.py": SEARCH,
    "compile/relaxation.py": ("test_planner_best.py", "test_frontier.py"),
    "compile/recompute.py": ("test_planner_best.py", "test_dropping.py", "test_recompute.py"),
    "compile/chunk.py": ("test_planner_best.py", "test_ways.py"),
    "compile/rewrite.py": ("test_planner_best.py", "test_rewrite.py"),
    "memory/arena.py": PLACES,
    "memory/crowded.py": PLACES,
    "memory/problem.py": PLACES,
    "memory/search.py": PLACES,
    "planning/choose.py": FITS,
    "planning/fitter.py": FITS,
    "planning/planner.py": FITS,
}
"""The tests of each file, the quickest first."""

EQUIVALENT: dict[tuple[str, str, str], str] = {
    ("compile/changes.py", "Changes._best", "worth > best[0] -> worth >= best[0]"): "of two that are worth the same, "
    "either will do",
}
"""(file, function, change): why nothing that anyone could see changes."""


@dataclass(frozen=True)
class Mutant:
    """The change number `number` of a file of gpunet, in a function, `old` -> `new`."""

    file: str
    number: int
    function: str
    line: int
    change: str

    @property
    def equivalent(self) -> bool:
        return (self.file, self.function, self.change) in EQUIVALENT

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}: {self.change}"


COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}

OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
}

NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}


class _Breaker(ast.NodeTransformer):
    """Counts what can be broken within functions, and breaks the one of the number `target`."""

    def __init__(self, target: int = -1) -> None:
        self._target = target
        self._within: list[str] = []
        self._depth = 0  # of functions: what stands outside of them is left alone
        self.found: list[tuple[str, int, str]] = []

    def visit(self, node: ast.AST) -> ast.AST:
        named = isinstance(node, (ast.FunctionDef, ast.ClassDef))
        if named:
            self._within.append(node.name)  # type: ignore[attr-defined]
            node.body = [one for one in node.body if not _is_docstring(one)] or [ast.Pass()]  # type: ignore[attr-defined]
        self._depth += (function := isinstance(node, ast.FunctionDef))
        new = self._broken(node) if self._depth else None
        if new is not None:
            change = f"{ast.unparse(node)} -> {ast.unparse(ast.fix_missing_locations(new))}"
            self.found.append((".".join(self._within), node.lineno, change))  # type: ignore[attr-defined]
            if len(self.found) - 1 == self._target:
                return ast.copy_location(new, node)
        result = node if isinstance(node, ast.arguments) else self.generic_visit(node)
        self._depth -= function
        if named:
            self._within.pop()
        return result

    def _broken(self, node: ast.AST) -> ast.AST | None:
        match node:
            case ast.Compare(left, [operator, *rest], values) if type(operator) in COMPARISONS:
                return ast.Compare(left, [COMPARISONS[type(operator)](), *rest], values)
            case ast.BinOp(left, operator, right) if type(operator) in OPERATORS:
                return ast.BinOp(left, OPERATORS[type(operator)](), right)
            case ast.BoolOp(operator, values):
                return ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
            case ast.UnaryOp(ast.Not() | ast.USub(), operand):
                return operand
            case ast.Call(ast.Name(name), arguments, keywords) if name in NAMES:
                return ast.Call(ast.Name(NAMES[name], ast.Load()), arguments, keywords)
            case ast.Expr(ast.Call()):
                return ast.Pass()
            case ast.Constant(value) if type(value) is int:
                return ast.Constant(value + 1)
        return None


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _tree(file: str) -> ast.Module:
    return ast.parse((ROOT / "gpunet" / file).read_text(encoding="utf-8"))


def all_mutants(file: str) -> list[Mutant]:
    """Whatever can be broken in a file."""
    breaker = _Breaker()
    breaker.visit(_tree(file))
    return [Mutant(file, number, *found) for number, found in enumerate(breaker.found)]


def drawn(file: str, each: int) -> list[Mutant]:
    """So many of them, always the same."""
    mutants = all_mutants(file)
    return sorted(Random(file).sample(mutants, min(each, len(mutants))), key=lambda mutant: mutant.number)


def broken(mutant: Mutant) -> ast.Module:
    """The module with the change."""
    tree = _Breaker(mutant.number).visit(_tree(mutant.file))
    assert isinstance(tree, ast.Module)
    return ast.fix_missing_locations(tree)


class _Stand(MetaPathFinder, Loader):
    """Lets a broken module stand in for the real one."""

    def __init__(self, mutant: Mutant) -> None:
        self._name = "gpunet." + mutant.file.removesuffix(".py").replace("/", ".")
        self._path = str(ROOT / "gpunet" / mutant.file)
        self._code = compile(broken(mutant), self._path, "exec")

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != self._name:
            return None
        return importlib.util.spec_from_file_location(name, self._path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)


def judge(mutant: Mutant) -> str:
    """What caught a mutant, "" if nothing did; in a process of its own."""
    child = os.fork()
    if child == 0:
        os._exit(_run(mutant))
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return {0: "", 1: "a test"}.get(os.waitstatus_to_exitcode(status), "it cannot be imported")


def _run(mutant: Mutant) -> int:
    import pytest

    signal.alarm(TIMEOUT_SECONDS)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.chdir(ROOT)
    sys.meta_path.insert(0, _Stand(mutant))
    files = [f"tests/{name}" for name in FILES[mutant.file]]
    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *files]))


def tried(mutants: Sequence[Mutant]) -> Iterator[tuple[Mutant, str]]:
    """Each with what is to be said of it."""
    for mutant in mutants:
        yield mutant, "equivalent" if mutant.equivalent else judge(mutant) or "SURVIVED"


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutants, print a line for each and how many were caught."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="*", choices=[*FILES, []], help="default: all")
    parser.add_argument("--each", type=int, default=EACH, help=f"mutants of a file (default: {EACH})")
    options = parser.parse_args(arguments)
    mutants = [mutant for file in options.file or FILES for mutant in drawn(file, options.each)]
    verdicts = []
    for mutant, verdict in tried(mutants):
        print(f"{mutant!s:120} {verdict}", flush=True)
        verdicts.append(verdict)
    judged = [verdict for verdict in verdicts if verdict != "equivalent"]
    caught = len(judged) - judged.count("SURVIVED")
    print(f"{caught} of {len(judged)} mutants caught; {len(verdicts) - len(judged)} more change nothing")
    return 0 if caught >= WANTED * len(judged) else 1


if __name__ == "__main__":
    sys.exit(main())
