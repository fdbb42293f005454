"""The documents tell the truth: their examples run and print what they show, and name everything that is public."""

import doctest
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import gpunet
from gpunet.cli.app import app
from gpunet.data import Dataset, digits
from gpunet.data.dataset import Part
from gpunet.devices.outside import outside_ops, remove_op
from gpunet.net.config import load_config
from gpunet.net.outside import known_layers, known_losses, remove_words
from gpunet.system.resources import config_names
from gpunet.use.demo import demo_data

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    "README.md",
    "docs/api.md",
    "docs/data.md",
    "docs/finetuning.md",
    "docs/from_caffe.md",
    "docs/from_keras.md",
    "docs/from_pytorch.md",
    "docs/gpus.md",
    "docs/layers.md",
    "docs/live.md",
    "docs/memory.md",
    "docs/notes.md",
    "docs/onnx.md",
    "docs/pictures.md",
    "docs/profiling.md",
    "docs/ranks.md",
    "docs/sliding.md",
    "docs/training.md",
    "docs/understanding.md",
    "docs/using.md",
    "docs/viewers.md",
]
FLAGS = doctest.ELLIPSIS


def blocks(text: str) -> list[tuple[str, str, int]]:
    """(language, content, line) of every fenced block."""
    return [
        (found[1], found[2], text.count("\n", 0, found.start(2)))
        for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def run_python(content: str, names: dict[str, object], where: str, line: int) -> None:
    """Run the examples of a block; they share `names` with those before."""
    test = doctest.DocTestParser().get_doctest(content, names, where, where, line)
    assert test.examples or ">>>" not in content
    output: list[str] = []
    result = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=output.append, clear_globs=False)
    assert result.failed == 0, "".join(output)
    names |= test.globs


def run_console(content: str) -> None:
    """Run `$ gpunet ...` and compare with the lines below it; "..." stands for anything."""
    command, _, shown = content.removeprefix("$ ").partition("\n")
    program, *arguments = shlex.split(command)
    assert program == "gpunet", command
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    pattern = re.escape(shown.strip()).replace(re.escape("..."), "(?s:.*)")
    printed = (result.stdout, result.output)  # the latter with what is said on standard error, as a shell shows it
    assert any(re.fullmatch(pattern, text.strip()) for text in printed), result.output


@pytest.fixture(autouse=True)
def nothing_from_outside() -> Iterator[None]:
    """What examples add is known to them alone, and so are the modules that they write and import."""
    places = sys.path[:]
    yield
    for op in list(outside_ops("cpu")):
        remove_op(op)
    remove_words(*known_layers(), *known_losses())
    sys.path[:] = places
    sys.modules.pop("back", None)  # of docs/from_pytorch.md


def fewer_digits() -> Dataset:
    """A fifth of the bundled digits: what is done with them takes as many steps less."""
    whole = digits()
    train, test = (Part(split, np.arange(0, len(split), 5)) for split in (whole.train, whole.test))
    return replace(whole, train=train, test=test)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_examples_run_and_print_what_they_show(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gpunet.train.lr_find.whole_epochs", lambda steps, n, batch: steps // 6)  # of long range tests
    names: dict[str, object] = {}
    found = blocks((ROOT / document).read_text("utf-8"))
    assert any(language == "python" for language, _, _ in found)
    for language, content, line in found:
        if language == "python":
            run_python(content, names, document, line)
        elif language == "console":
            run_console(content)


def test_the_readmes_python_runs() -> None:
    names: dict[str, object] = {}
    for language, content, _ in blocks((ROOT / "README.md").read_text(encoding="utf-8")):
        if language == "python":
            exec(content, names)
    assert names["scores"].shape == (8, 10)


def test_the_use_block_of_the_readme_runs_from_top_to_bottom_in_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gpunet.data.find.digits", fewer_digits)  # no line shows a figure
    monkeypatch.setattr("gpunet.use.demo.demo_data", partial(demo_data, pages=8))
    (block,) = (content for language, content, _ in blocks((ROOT / "README.md").read_text("utf-8")) if language == "sh")
    for line in block.splitlines():
        program, *arguments = shlex.split(line, comments=True)
        result = CliRunner().invoke(app, arguments)
        assert program == "gpunet" and result.exit_code == 0, f"{line}\n{result.output}"
    assert {"plan.png", "runs", "demo", "curves.png", "mistakes.png", "threes.png"} <= set(os.listdir())


def test_the_readme_names_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    install = (ROOT / "README.md").read_text("utf-8").split("## Install")[1].split("## Use")[0]
    assert [name for name in extras if f"`{name}`" not in install] == []


def test_a_wrong_example_is_seen() -> None:
    with pytest.raises(AssertionError, match=r"Expected:\s+3\s+Got:\s+2"):
        run_python(">>> 1 + 1\n3\n", {}, "here", 0)
    with pytest.raises(AssertionError):
        run_console("$ gpunet --version\ngpunet 9.9.9\n")


def test_the_api_page_names_everything_public() -> None:
    page = (ROOT / "docs/api.md").read_text("utf-8")
    code = "".join(content for language, content, _ in blocks(page) if language == "python")
    missing = [name for name in gpunet.__all__ if not re.search(rf"\b{name}\b", code)]
    assert not missing, f"docs/api.md has no example of {', '.join(missing)}"


def test_the_page_of_nets_lists_them_as_they_are() -> None:
    page = (ROOT / "docs/nets.md").read_text("utf-8")
    for name in config_names():
        config = load_config(name)
        row = [name, str(config.net.input), f"{config.net.classes:,}", f"{config.net.parameters:,}"]
        assert f"| `{row[0]}` | {' | '.join(row[1:])} | " in page
        assert config.source in page


def test_links_lead_somewhere() -> None:
    for document in DOCUMENTS:
        page = (ROOT / document).read_text("utf-8")
        headings = {
            re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)", page, re.M)
        }
        for target in re.findall(r"\]\(([^)]+)\)", page):
            if target.startswith("#"):
                assert target[1:] in headings, f"{document}: {target}"
            elif "://" not in target:
                assert (ROOT / document).parent.joinpath(target.partition("#")[0]).exists(), f"{document}: {target}"


def test_a_plan_before_the_first_model_does_not_stand_in_its_way() -> None:
    """In a fresh interpreter: here, other tests have imported everything."""
    code = (
        "import gpunet; net = gpunet.load('INPUT[3x3x1] -> FC-2'); gpunet.plan(net, 1, device='cpu')\n"
        "gpunet.Model(net, 1, device='cpu').close(); print('well')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "well\n", done.stderr
