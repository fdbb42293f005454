"""The list of mutants fits the kernels as they are; its runner reports what it must. `make mutants` tries them."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from gpunet.devices.cuda.source import compose, kernel_files, kernel_folder
from tests import mutants
from tests.emulator.builder import find_kernels
from tests.mutants import MUTANTS
from tests.mutations import Mutant
from tests.with_kernels import NOT_COMPILED


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_mutant_changes_one_place(mutant: Mutant, tmp_path: Path) -> None:
    text = (kernel_folder() / mutant.file).read_text(encoding="utf-8")
    (tmp_path / mutant.file).write_text(text, encoding="utf-8")
    mutant.apply(tmp_path)
    assert (tmp_path / mutant.file).read_text(encoding="utf-8") != text


def test_mutants_have_names_of_their_own() -> None:
    assert max(Counter(map(str, MUTANTS)).values()) == 1


def test_every_kernel_has_mutants() -> None:
    broken = {mutant.kernel for mutant in MUTANTS}
    for file in kernel_files():
        for _, kernel in find_kernels(compose(file)):
            name = re.sub(r"(_\d+x\d+)?(_scalars|_u8|_i32|(?<!and)_halves)?$", "", kernel)  # for each tile or type
            name = re.sub(r"^(tensor|thrice)_.*", "tensor_products", name)
            assert name in broken, f"{file}.{kernel}"


def test_a_text_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.cu").write_text("x x")
    for text in ("y", "x"):
        with pytest.raises(ValueError, match="not once"):
            Mutant("kernel", "name", "a.cu", text, "z").apply(tmp_path)


@pytest.mark.parametrize(
    "verdicts, code",
    [
        (["a test", "another"], 0),
        (["a test", ""], 1),
        (["a test", NOT_COMPILED], 1),
        (["a test", ValueError("a.cu has 0 times")], 1),
    ],
)
def test_the_exit_code_says_whether_all_were_caught(
    verdicts: list[str | Exception], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = [Mutant("kernel", f"number {index}", "a.cu", "", "") for index in range(len(verdicts))]

    def judge(files: Sequence[str], mutant: Mutant | None, folder: Path) -> str:
        assert list(files) == ["a"]
        verdict = verdicts[chosen.index(mutant)] if mutant else ""
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    monkeypatch.setattr(mutants, "MUTANTS", chosen)
    monkeypatch.setattr(mutants, "judge", judge)
    monkeypatch.setenv("XDG_CACHE_HOME", "")  # put back afterwards
    assert mutants.main([]) == code
    lines = capsys.readouterr().out
    assert ("SURVIVED" in lines) == ("" in verdicts)
    assert f"{2 - code} of 2 mutants caught" in lines


def test_a_name_that_no_mutant_has_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert mutants.main(["no such kernel"]) == 1
    assert "no such kernel" in capsys.readouterr().out


def test_a_change_that_does_not_compile_is_not_a_mutant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    broken = Mutant("image_to_float", "nonsense", "image.cu", "* scale + shift;", "* scale + nonsense;")
    assert mutants.judge(["image"], broken, tmp_path) == NOT_COMPILED


def test_mutants_are_not_tried_on_kernels_that_fail_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mutants, "judge", lambda files, mutant, folder: "a test")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert mutants.main([]) == 1
    assert "as they are fail a test" in capsys.readouterr().out


def test_the_name_of_a_kernels_file_means_that_file_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mutants, "judge", lambda files, mutant, folder: "a test" if mutant else "")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert mutants.main(["relu"]) == 0
    lines = capsys.readouterr().out
    assert "relu with the kernels as they are" in lines and "leaky_relu" not in lines
    assert mutants.main(["relu_forward"]) == 0  # of any file
    assert "leaky_relu_forward" in capsys.readouterr().out


def test_the_kernels_as_they_are_are_tried_by_the_tests_of_what_is_chosen_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[tuple[str, ...]] = []

    def judge(files: Sequence[str], mutant: Mutant | None, folder: Path) -> str:
        tried.append(tuple(files))
        return "a test" if mutant else ""

    monkeypatch.setattr(mutants, "judge", judge)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert mutants.main(["clip_by_norm"]) == 0
    assert set(tried) == {("clip",)}
    assert "first the tests of clip with the kernels as they are" in capsys.readouterr().out
