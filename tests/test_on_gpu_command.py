"""The bench for a GPU as a command: the programs that it runs, its processes, its exit codes and its file."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import on_gpu
from bench.gpu import SECTIONS, gpu_tests, sanitizer, section, tiny_steps
from bench.gpu.findings import Findings
from bench.gpu.processes import ROOT, TIMED_OUT, run_command
from bench.gpu.setting import Setting
from tests.conftest import make_device


@pytest.fixture
def setting(tmp_path):
    made = Setting(Findings(tmp_path / "findings.json"), open=lambda: make_device("emulated"), peer="cpu")
    yield made
    made.close()


def on_disk(setting: Setting) -> dict[str, Any]:
    """What another process would find."""
    assert setting.findings.path is not None
    return json.loads(setting.findings.path.read_text())


# -- other programs -------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A folder of tests with settings of its own."""
    made = tmp_path / "tests"
    made.mkdir()
    (made / "pytest.ini").write_text("[pytest]\n")
    return made


def test_pytests_report_is_read(setting, folder):
    (folder / "test_them.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('i', range(3))\n"
        "def test_good(i): pass\n"
        "def test_bad(): assert 1 == 2\n"
        "@pytest.fixture\ndef broken(): raise OSError('no')\n"
        "def test_broken(broken): pass\n"
        "def test_left_out(): pytest.skip('why not')\n"
    )
    (folder / "test_other.py").write_text("import a_package_that_is_not_there\n")
    gpu_tests.run(setting, str(folder), "-c", str(folder / "pytest.ini"))
    values = on_disk(setting)["values"]
    assert values["counts"] == {"passed": 3, "failed": 2, "skipped": 1}
    assert values["failed"] == ["test_them::test_bad", "test_them::test_broken"]
    assert "2 of the tests failed: test_them::test_bad" in setting.findings.failures[0]
    assert "assert 1 == 2" in values["output"]
    assert "needs a_package_that_is_not_there, which is not installed" in setting.findings.skipped[0]
    assert gpu_tests.tables(values)[0].rows[0][1:] == (3, 2, 1)


def test_good_tests_pass_where_another_file_misses_a_package(setting, folder):
    (folder / "test_them.py").write_text("def test_good(): pass\n")
    (folder / "test_other.py").write_text("import a_package_that_is_not_there\n")
    gpu_tests.run(setting, str(folder), "-c", str(folder / "pytest.ini"))
    assert not setting.findings.failures
    assert len(setting.findings.skipped) == 1


def test_no_tests_at_all_is_a_failure(setting, folder):
    gpu_tests.run(setting, str(folder), "-c", str(folder / "pytest.ini"))
    assert "pytest ran no test" in setting.findings.failures[0]


def test_the_gpu_tests_are_found():
    """What the section runs on a GPU is not an empty selection."""
    code, output = run_command([sys.executable, "-m", "pytest", "tests/test_on_gpu.py", "-m", "gpu", "--co", "-q"], 120)
    assert code == 0
    assert "test_scores_losses_and_gradients_are_those_of_the_cpu[cuda-vgg_cifar-float32]" in output


MEMCHECK = """========= COMPUTE-SANITIZER
========= Invalid __global__ write of size 4 bytes
=========     at im2col+0x170
=========     by thread (31,0,0) in block (0,0,0)
=========     Address 0x7f5b2c000a00 is out of bounds
========= Invalid __global__ read of size 16 bytes
=========     at void cutlass::Kernel2<cutlass_80_simt>(T1::Params)+0x90
========= Invalid __global__ write of size 4 bytes
=========     at 0x90 in im2col(float const*, float*, long long)
========= ERROR SUMMARY: 3 errors
"""


def test_compute_sanitizers_verdict_is_read():
    verdict = sanitizer.parse(MEMCHECK)
    assert (verdict.errors, verdict.kernels["im2col"]) == (3, 2)
    assert sanitizer.parse("========= ERROR SUMMARY: 0 errors\n") == sanitizer.Verdict(0, {})
    races = "========= RACECHECK SUMMARY: 2 hazards displayed (1 error, 1 warning)\n"
    assert sanitizer.parse(races).errors == 1
    assert sanitizer.parse("Segmentation fault\n").errors is None


@pytest.mark.parametrize(
    "output, code, failures, skipped",
    [
        ("========= ERROR SUMMARY: 0 errors", 0, 0, 0),
        (MEMCHECK, 0, 4, 0),
        ("========= Device not supported. Please refer to the documentation", 1, 0, 4),
        ("Traceback: broken", 1, 4, 0),
        ("=========     at gemm_library_kernel(float*)+0x90\n========= ERROR SUMMARY: 2 errors", 0, 1, 3),
    ],
)
def test_compute_sanitizer_is_run_with_every_tool_and_judged(
    setting, monkeypatch, tmp_path, output, code, failures, skipped
):
    program = tmp_path / "compute-sanitizer"
    program.write_text(f"#!{sys.executable}\nimport sys\nprint({output!r})\nprint(sys.argv[2:])\nsys.exit({code})\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    sanitizer.run(setting)
    values = on_disk(setting)["values"]
    assert values["tool"] == str(program)
    assert [row["tool"] for row in values["tools"]] == list(sanitizer.TOOLS)
    assert (len(setting.findings.failures), len(setting.findings.skipped)) == (failures, skipped)
    assert len(sanitizer.tables(values)[0].rows) == 4


def test_without_compute_sanitizer_that_is_said(setting, monkeypatch):
    monkeypatch.setattr(sanitizer, "find_tool", lambda: None)
    sanitizer.run(setting)
    assert "compute-sanitizer is neither on PATH" in setting.findings.skipped[0]


def test_the_small_steps_run_every_kernel_and_agree_with_the_cpu(setting):
    cpu = make_device("cpu")
    np.testing.assert_allclose(tiny_steps.steps(setting.device), tiny_steps.steps(cpu), rtol=1e-4)
    launched = {name.partition(".")[2] for name in setting.device.driver.launched}
    others = {name for name in sanitizer.kernel_names() if name.startswith(tiny_steps.ON_TENSOR_CORES)}
    assert launched == set(sanitizer.kernel_names()) - others - tiny_steps.FALLBACK


def test_a_program_that_hangs_is_ended_with_its_children(tmp_path):
    flag = tmp_path / "flag"
    child = f"import time; time.sleep(3); open({str(flag)!r}, 'w')"
    start = f"subprocess.Popen([sys.executable, '-c', {child!r}])"
    parent = f"import subprocess, sys, time; print('begun', flush=True); {start}; time.sleep(60)"
    started = time.monotonic()
    code, output = run_command([sys.executable, "-c", parent], 1.5)
    assert (code, output) == (TIMED_OUT, "begun\n")
    assert time.monotonic() - started < 10
    time.sleep(2.5)
    assert not flag.exists()


# -- the command ----------------------------------------------------------------------------------


@pytest.fixture
def without_gpu(monkeypatch):
    """No GPU for the processes that are started, also on a machine that has one."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_without_a_gpu_that_is_said_and_nothing_is_written(tmp_path, without_gpu):
    out = tmp_path / "results.json"
    out.write_text("what was measured before")
    code, output = run_command([sys.executable, "bench/on_gpu.py", "--out", str(out)], 120)
    assert code == 2
    assert "there is no GPU to measure on: " in output
    assert "Traceback" not in output
    assert out.read_text() == "what was measured before"


def test_without_its_packages_it_names_them(monkeypatch, capsys):
    absent = {"cupy", "pynvml"}
    found = on_gpu.importlib.util.find_spec
    monkeypatch.setattr(on_gpu.importlib.util, "find_spec", lambda name: None if name in absent else found(name))
    assert on_gpu.main([]) == 2
    errors = capsys.readouterr().err
    assert "pip install cupy-cuda13x[ctk]" in errors and "pip install nvidia-ml-py" in errors
    assert "torch" not in errors
    assert "nothing can be measured without cupy" in errors


def test_a_section_that_breaks_off_is_told_with_its_last_words(without_gpu):
    found = on_gpu.isolated("agreement", True, 100)
    assert found["status"] == "failed"
    assert "broke off (exit code 1): gpunet.errors.DeviceError" in found["failures"][0]
    assert "Traceback" in found["output"]


def test_a_section_that_takes_too_long_keeps_what_it_found(monkeypatch, tmp_path):
    script = tmp_path / "slow.py"
    script.write_text(
        "import sys, time\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\n"
        "from bench.gpu.findings import Findings\n"
        "findings = Findings(Path(sys.argv[sys.argv.index('--out') + 1]))\n"
        "findings.append('cases', {'case': 'first'})\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setattr(on_gpu, "__file__", str(script))
    found = on_gpu.isolated("memory", False, 4)
    assert found["status"] == "timed out"
    assert found["values"] == {"cases": [{"case": "first"}]}
    assert "ended after 4 s" in found["failures"][0]


ENVIRONMENT: dict[str, Any] = {
    "status": "ok",
    "seconds": 1.0,
    "values": {"gpu": {"name": "a GPU"}},
    "failures": [],
    "skipped": [],
}


def stub(monkeypatch: pytest.MonkeyPatch, **special: dict[str, Any]) -> list[str]:
    """Sections that find nothing, but for the special ones; returns the list of those that ran."""
    ran: list[str] = []

    def isolated(name: str, quick: bool, seconds: float, dry: bool = False) -> dict[str, Any]:
        ran.append(name)
        return {
            **ENVIRONMENT,
            "values": ENVIRONMENT["values"] if name == "environment" else {},
            **special.get(name, {}),
        }

    monkeypatch.setattr(on_gpu, "isolated", isolated)
    return ran


def test_a_good_run_ends_with_0_and_every_section_in_the_file(monkeypatch, tmp_path, capsys):
    ran = stub(monkeypatch)
    out = tmp_path / "deep" / "results.json"
    assert on_gpu.main(["--out", str(out)]) == 0
    assert ran == list(SECTIONS)
    assert list(json.loads(out.read_text())["sections"]) == list(SECTIONS)
    shown = capsys.readouterr().out
    assert all(section(name).TITLE in shown for name in SECTIONS)
    assert "gpu: name  a GPU" in shown


def test_a_failed_section_ends_it_with_1_and_does_not_stop_the_others(monkeypatch, tmp_path, capsys):
    ran = stub(monkeypatch, steps={"status": "failed", "failures": ["vgg16: too slow"]}, memory={"skipped": ["vgg16"]})
    assert on_gpu.main(["--out", str(tmp_path / "x.json")]) == 1
    assert ran == list(SECTIONS)
    shown = capsys.readouterr().out
    assert "FAILED: training steps beside PyTorch: vgg16: too slow" in shown
    assert "left out: memory: vgg16" in shown


def test_one_section_can_be_chosen_and_a_missing_package_leaves_one_out(monkeypatch, tmp_path, capsys):
    ran = stub(monkeypatch)
    found = on_gpu.importlib.util.find_spec
    monkeypatch.setattr(on_gpu.importlib.util, "find_spec", lambda name: None if name == "torch" else found(name))
    out = tmp_path / "x.json"
    assert on_gpu.main(["--out", str(out), "--only", "steps", "--only", "layers"]) == 0
    assert ran == ["environment", "layers"]
    assert json.loads(out.read_text())["sections"]["steps"]["skipped"] == ["not installed: torch"]
    assert "left out: training steps beside PyTorch: not installed: torch" in capsys.readouterr().out


def test_when_time_is_up_the_rest_is_left_out(monkeypatch, tmp_path):
    ran = stub(monkeypatch)
    out = tmp_path / "x.json"
    monkeypatch.setattr(on_gpu, "LEAST_SECONDS", 60.0)
    on_gpu.main(["--out", str(out), "--minutes", "0.5"])
    assert ran == ["environment"]
    assert json.loads(out.read_text())["sections"]["sanitizer"]["skipped"] == ["no time left"]


def test_later_sections_have_time_for_sure(tmp_path):
    run = on_gpu.Run(tmp_path / "x.json", False, 510.0)
    for number, name in enumerate(SECTIONS, 1):
        given = run.limit(name, SECTIONS[number:])
        assert on_gpu.SURE * section(name).SECONDS - 1 <= given <= section(name).SECONDS
        run.started -= given  # it takes all of that
    assert run.left > -1
    run.started -= run.left + 5
    assert run.limit("steps", SECTIONS) < 0 and section("steps").SECONDS > 0


def test_a_dry_run_needs_no_gpu_and_says_that_it_was_one(monkeypatch, tmp_path):
    ran = stub(monkeypatch, environment={"values": {"gpu": {"error": "there is none"}}})
    out = tmp_path / "x.json"
    assert on_gpu.main(["--out", str(out)]) == 2 and ran == ["environment"]
    assert on_gpu.main(["--dry-run", "--out", str(out)]) == 0
    assert ran[1:] == list(SECTIONS) and json.loads(out.read_text())["dry_run"] is True


def test_a_section_in_small_runs_in_a_process_of_its_own(tmp_path, without_gpu):
    found = on_gpu.isolated("memory", True, 100, dry=True)
    assert (found["status"], found["failures"], found["skipped"]) == ("ok", [], [])
    assert len(found["values"]["cases"]) == 1


@pytest.mark.slow
def test_a_dry_run_goes_through_every_section(tmp_path, without_gpu):
    out = tmp_path / "x.json"
    code, output = run_command([sys.executable, "bench/on_gpu.py", "--dry-run", "--out", str(out)], 900)
    assert code == 0, output
    assert {found["status"] for found in json.loads(out.read_text())["sections"].values()} == {"ok"}


@pytest.mark.parametrize("arguments", [["--minutes", "0"], ["--minutes", "nan"], ["--only", "everything"]])
def test_wrong_options_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        on_gpu.main(arguments)
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_the_readme_names_every_section():
    text = Path(on_gpu.__file__).with_name("README.md").read_text(encoding="utf-8")
    for name in SECTIONS:
        assert f"`{name}`" in text
