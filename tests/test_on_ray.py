"""Ray Train's side of the ranks, with a stand-in for Ray: what it is asked for, and what its workers run."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from gpunet.errors import ConfigError
from gpunet.train import on_ray

WORDS = ["vgg_digits", "--out", "/shared/run"]


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """As much of Ray as is used; `asked` holds what a trainer was made with."""
    found = SimpleNamespace(asked={}, rank=1, size=3)

    class Trainer:
        def __init__(self, work: Any, **options: Any) -> None:
            found.asked = {"work": work, **options}

        def fit(self) -> str:
            return "done"

    context = SimpleNamespace(
        get_world_rank=lambda: found.rank, get_world_size=lambda: found.size, get_local_rank=lambda: 0
    )
    modules = {
        "ray": {},
        "ray.train": {
            "FailureConfig": lambda **given: given,
            "RunConfig": lambda **given: given,
            "ScalingConfig": lambda **given: given,
            "get_context": lambda: context,
        },
        "ray.train.collective": {"broadcast_from_rank_zero": lambda value: ("10.0.0.1", 4567)},
        "ray.train.v2": {},
        "ray.train.v2.api": {},
        "ray.train.v2.api.data_parallel_trainer": {"DataParallelTrainer": Trainer},
    }
    for name, members in modules.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    return found


def test_workers_and_restarts_are_asked_for(ray):
    assert on_ray.train(WORDS, workers=(2, 8), gpus=True, restarts=3) == "done"
    assert ray.asked["work"] is on_ray.work
    assert ray.asked["scaling_config"] == {"num_workers": (2, 8), "use_gpu": True}
    assert ray.asked["run_config"] == {"failure_config": {"max_failures": 3}}
    assert ray.asked["train_loop_config"] == {"words": WORDS, "folder": "/shared/run", "gpus": True}


def test_a_worker_meets_the_others_and_goes_on_where_the_run_stands(ray, monkeypatch, tmp_path):
    ran = []
    monkeypatch.setattr(on_ray.os, "environ", {})
    monkeypatch.setattr(on_ray, "_run", ran.append)
    config = {"words": ["vgg_digits", "--out", str(tmp_path)], "folder": str(tmp_path), "gpus": False}
    on_ray.work(config)
    expected = {"RANK": "1", "WORLD_SIZE": "3", "LOCAL_RANK": "0", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "4567"}
    assert on_ray.os.environ == expected
    (tmp_path / "last.safetensors").touch()
    on_ray.work(config)
    start = [sys.executable, "-m", "gpunet", "train"]
    assert ran == [
        [*start, "vgg_digits", "--out", str(tmp_path), "--device", "cpu"],
        [*start, "--resume", str(tmp_path), "--device", "cpu"],
    ]


def test_what_is_missing_is_said(monkeypatch):
    with pytest.raises(ConfigError, match="say --out FOLDER"):
        on_ray.train(["vgg_digits"], workers=2)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'gpunet\[ray\]'"):
        on_ray.train(WORDS, workers=2)


def test_a_run_that_failed_is_a_failure_of_the_worker():
    with pytest.raises(RuntimeError, match="exit code 3"):
        on_ray._run([sys.executable, "-c", "raise SystemExit(3)"])
