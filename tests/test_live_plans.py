"""Plans for the page: those of `gpunet plan --json` to the byte, piece by piece, the newest first; hostile texts."""

import asyncio
import json
import re
import subprocess
import sys
from time import sleep
from typing import Any

import pytest

from gpunet.errors import ConfigError, GpunetError
from gpunet.live.asked import MOST_TEXT, net_of, plan_asked
from gpunet.live.child import Newer
from gpunet.live.helper import Helper
from gpunet.live.known import Known
from gpunet.live.plans import plans, texts
from gpunet.planning.fitter import ladder
from tests.conftest import Run

SMALL = "INPUT[16x16x3] -> [CONV3-16 -> RELU]*3 -> POOL2 -> FC-10"


def without_clock(plan: dict[str, Any]) -> dict[str, Any]:
    del plan["placement"]["seconds"]
    return plan


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"text": "vgg16"}, ()),
        (
            {"text": "vgg16", "card": "RTX 3060 12GB", "batch": 16, "optimizer": "adam"},
            ("--gpu", "RTX 3060 12GB", "--batch", 16, "--optimizer", "adam"),
        ),
        (
            {"text": SMALL, "device": "cpu", "dtype": "float64", "batch": 7},
            ("--device", "cpu", "--dtype", "float64", "--batch", 7),
        ),
        ({"text": SMALL, "mode": "infer", "budget": "1GiB"}, ("--mode", "infer", "--budget", "1GiB")),
        (
            {"text": SMALL, "budget": "600MiB", "batch": 3000, "max_cost": 0.2},
            ("--budget", "600MiB", "--batch", 3000, "--max-cost", 0.2),
        ),
    ],
)
def test_plans_are_those_of_the_command(run: Run, asked: dict[str, Any], words: tuple[object, ...]) -> None:
    told = json.loads(run("plan", asked["text"], "--json", *words).stdout)
    parts = plans(asked)
    made = next(part for part in parts if part["stage"] == "plan" and part["final"])
    largest = told.pop("largest_batch")
    assert made["plan"].pop("largest_batch") is None
    assert without_clock(made["plan"]) == without_clock(told)
    assert made["command"] == [str(word) for word in plan_asked(asked).command]
    assert [op[1] for op in made["ops"]] and len(made["ops"]) == told["steps"]
    if largest is not None:
        assert next(part for part in parts if part["stage"] == "done")["largest"] == largest
    (text,) = texts(asked)
    assert without_clock(json.loads(text["text"])) == without_clock(
        told | {"largest_batch": largest, "placement": json.loads(text["text"])["placement"]}
    )


def test_the_command_that_the_page_shows_gives_the_same_plan(run: Run) -> None:
    asked = {"text": SMALL, "budget": "2GiB", "batch": 9, "max_cost": 0.5, "optimizer": "adam", "micro_batches": True}
    made = next(part for part in plans(asked) if part["stage"] == "plan")
    told = json.loads(run("plan", SMALL, *made["command"], "--json").stdout)
    assert without_clock(made["plan"]) == without_clock(told)
    assert plan_asked({"text": SMALL, "dtype": "float32"}).command == ["--dtype", "float32"]  # a config may say another
    assert plan_asked({"text": SMALL}).command == []


def test_the_ladder_is_that_of_fit(run: Run) -> None:
    net = "INPUT[8x8x1] -> CONV3-4 -> RELU -> FC-3"
    found = [part for part in plans({"text": net, "budget": "514MiB"}) if part["stage"] == "rung"]
    (told,) = json.loads(run("fit", net, "--budget", "514MiB", "--json").stdout)
    assert [{name: value for name, value in rung.items() if name != "stage"} for rung in found] == told["ladder"]


def test_what_needs_a_search_is_first_shown_without_it() -> None:
    parts = plans({"text": "vgg16", "batch": 128, "budget": "3GiB"})
    assert [next(parts)["stage"] for _ in range(1)] == ["net"]
    first = next(parts)
    assert first["stage"] == "plan" and not first["final"] and first["plan"]["ways"]["names"] == []


def test_a_ladder_that_is_known_is_there_at_once_and_is_that_of_the_ways_that_are_allowed(run: Run) -> None:
    asked = {"text": SMALL, "budget": "600MiB", "micro_batches": True}
    first, again = list(plans(asked)), list(plans(asked | {"batch": 7}))
    assert [part["stage"] for part in first] == ["net", "plan", "rung", "search", *["rung"] * 4, "done"]
    assert [part["stage"] for part in again] == ["net", "plan", *["rung"] * 5, "done"]
    (told,) = json.loads(run("fit", SMALL, "--budget", "600MiB", "--micro-batches", "--json").stdout)
    for parts in (first, again):
        assert [part["batch"] for part in parts if part["stage"] == "rung"] == [one["batch"] for one in told["ladder"]]
        assert parts[-1]["largest"] == told["batch"]
    assert again[1]["plan"]["batch"] == 7


def test_a_search_that_is_broken_off_leaves_nothing_half_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    about = Known(plan_asked({"text": SMALL, "budget": "520MiB"}))
    rungs = about.ladder()
    first = next(rungs)

    def broken(*_: Any, **__: Any) -> None:
        raise Newer

    with monkeypatch.context() as patch:
        patch.setattr("gpunet.live.known.largest", broken)
        planner = about._planner
        with pytest.raises(Newer):
            next(rungs)
        assert about._planner is not planner and about.rungs == [first]
    assert list(about.ladder()) == ladder(about.config.net, "520MiB", device="cuda")


def test_a_newer_request_breaks_off_a_search_within_the_same_process() -> None:
    words = [sys.executable, "-m", "gpunet.live.child", "plans"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None and child.stdout is not None

        def ask(number: int, **asked: Any) -> None:
            child.stdin.write(json.dumps({"id": number, "kind": "plan", "asked": asked}) + "\n")
            child.stdin.flush()

        def until(number: int, stage: str) -> list[Any]:
            parts: list[Any] = []
            while not parts or (parts[-1].get("id"), parts[-1].get("stage")) != (number, stage):
                parts.append(json.loads(child.stdout.readline()))
            return parts

        ask(1, text="vgg16", budget="8GiB")  # whose ladder takes seconds
        until(1, "search")
        until(1, "rung")
        sleep(0.2)  # the next rung takes much longer
        ask(2, text=SMALL)
        parts = until(2, "plan")
        child.stdin.close()
    assert [part for part in parts if part.get("id") == 1] == []
    assert child.returncode == 0


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"text": ""}, "no net is written yet"),
        ({"text": "x" * (MOST_TEXT + 1)}, "may have 65,536"),
        ({"text": "/etc/passwd"}, "there is no net called '/etc/passwd'"),
        ({"text": "configs/vgg16.toml"}, "there is no net called"),
        ({"text": "INPUT[3x3x1] -> CONV9"}, "^"),
        ({"text": 'input = "3x3x1"\nnet = "FC-2 -> "\nhm = 1'}, "net.toml"),
        ({"text": "INPUT[8x8x1] -> [[RELU]*99]*99 -> FC-2"}, "layers"),
        ({"text": SMALL, "batch": 1.5}, "whole number"),
        ({"text": SMALL, "batch": "12"}, "must be a number"),
        ({"text": SMALL, "batch": 0}, "1"),
        ({"text": ["x"]}, "must be a text"),
        ({"text": SMALL, "max_cost": float("inf")}, "must be a number"),
        ({"text": SMALL, "card": "voodoo 2"}, "no card"),
        ({"text": SMALL, "card": "3060", "budget": "1GiB"}, "leave one"),
        ({"text": SMALL, "micro_batches": True, "mode": "infer"}, "leave one"),
        ({"text": SMALL, "optimizer": "hope"}, "optimizer"),
    ],
)
def test_mistakes_and_hostile_texts_are_one_sentence(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(GpunetError, match=re.escape(words)):
        list(plans(asked))


def test_texts_open_no_file(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").write_text('input = "3x3x1"\nnet = "FC-2"')
    (tmp_path / "INPUT[3x3x1]").write_text("x")
    with pytest.raises(ConfigError, match="there is no net called 'here'"):
        net_of("here")


def test_the_newest_wins_and_nothing_piles_up() -> None:
    async def edits() -> tuple[list[Any], list[Any], int]:
        helper = Helper("plans", spare=True)
        await helper.start()
        answers: list[list[Any]] = []

        async def ask(batch: int, budget: str) -> None:
            mine: list[Any] = []
            answers.append(mine)
            async for part in helper.ask("plan", {"text": "vgg16", "batch": batch, "budget": budget}):
                mine.append(part)
                if part["stage"] == "plan" and part["final"] and batch == 500:
                    return

        slow = asyncio.ensure_future(ask(400, "3GiB"))  # whose search takes seconds
        while not answers or not answers[0]:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.6)
        hasty = [asyncio.ensure_future(ask(batch, "3GiB")) for batch in range(1, 61)]
        await asyncio.sleep(0)
        await ask(500, "100GiB")
        await asyncio.gather(slow, *hasty)
        tasks = len(helper._tasks)
        await helper.close()
        return answers[0], answers[-1], tasks

    first, last, tasks = asyncio.run(edits())
    assert first[-1]["stage"] == "superseded"
    assert last[-1]["plan"]["batch"] == 500 and last[-1]["final"]
    assert tasks < 200
