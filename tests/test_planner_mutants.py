"""The mutants of the planner are changes of one place each; `make planner-mutants` tries them."""

import ast

import pytest

from tests import planner_mutants
from tests.planner_mutants import EQUIVALENT, FILES, ROOT, Mutant, all_mutants, broken, drawn


@pytest.mark.parametrize("file", FILES)
def test_a_mutant_is_another_module_and_always_the_same(file: str) -> None:
    mutants = drawn(file, 3)
    assert mutants == drawn(file, 3) and len(set(mutants)) == 3
    texts = {ast.unparse(broken(mutant)) for mutant in mutants}
    whole = ast.unparse(broken(Mutant(file, -1, "", 0, "")))
    assert len(texts) == 3 and whole not in texts
    for text in texts:
        compile(text, file, "exec")
        assert sum(a != b for a, b in zip(text.splitlines(), whole.splitlines(), strict=True)) == 1


def test_files_and_their_tests_are_there() -> None:
    for file, tests in FILES.items():
        assert (ROOT / "gpunet" / file).is_file() and all((ROOT / "tests" / name).is_file() for name in tests)


def test_what_is_said_to_be_equivalent_is_a_mutant() -> None:
    known = {(mutant.file, mutant.function, mutant.change) for file in FILES for mutant in all_mutants(file)}
    assert known >= EQUIVALENT.keys()


@pytest.mark.parametrize("verdict, code", [("", 1), ("a test", 0)])
def test_the_exit_code_says_whether_enough_were_caught(verdict, code, monkeypatch, capsys) -> None:
    monkeypatch.setattr(planner_mutants, "judge", lambda mutant: verdict)
    assert planner_mutants.main(["compile/makers.py", "--each", "2"]) == code
    assert f"{0 if code else 2} of 2 mutants caught" in capsys.readouterr().out
