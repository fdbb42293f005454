"""Which GPU each rank has: stand-ins for what CUDA shows of GPUs, and for what the other ranks tell."""

from types import SimpleNamespace
from typing import Any

import pytest

import gpunet
from gpunet.cli import own_gpus
from gpunet.cli.profile import _kept_of_ranks
from gpunet.compile.ranks import Division
from gpunet.devices.cuda.target import NCCL_BYTES, CudaTarget
from gpunet.devices.target import MIB, Reserve
from gpunet.errors import ConfigError
from gpunet.ranks.communicator import Place

GIB = 2**30


class Told:
    """A crew whose others tell what `others` makes of what this rank tells."""

    def __init__(self, rank: int, size: int, *others: Any) -> None:
        self.place, self.leads = Place(rank, size, rank, "node"), rank == 0
        self.communicator = SimpleNamespace(tell=self._tell)
        self._others = list(others)

    def _tell(self, value: Any) -> list[Any]:
        others = self._others.pop(0)
        return [*others[: self.place.rank], value, *others[self.place.rank :]]


def gpus(monkeypatch: pytest.MonkeyPatch, count: int, uuid: str = "own", capability: tuple[int, int] = (8, 6)) -> None:
    """Let CUDA show so many GPUs."""
    monkeypatch.setattr(own_gpus, "gpu_count", lambda: count)
    found = SimpleNamespace(uuid=uuid, capability=capability)
    monkeypatch.setattr("gpunet.devices.cuda.libcuda.visible", lambda number: found)


def test_each_rank_has_the_gpu_of_its_number_or_the_one_that_it_is_shown(monkeypatch):
    gpus(monkeypatch, 2)
    shown = [["rank 0 on node", "node", 2, 0]], [["rank 0 on node", "other", "8.6"]]
    assert own_gpus.device_of(Told(1, 2, *shown), "cuda") == "cuda:1"
    gpus(monkeypatch, 1)
    shown = [["rank 0 on node", "node", 1, 0]], [["rank 0 on node", "other", "8.6"]]
    assert own_gpus.device_of(Told(1, 2, *shown), "auto") == "cuda"


@pytest.mark.parametrize(
    ("count", "tells", "message"),
    [
        (
            2,
            ([["rank 0", "node", 2, 0], ["rank 1", "node", 2, 1]], []),
            "3 ranks were started on node, which has 2 GPUs",
        ),
        (1, ([["rank 0", "far", 0, 0]] * 2, []), "rank 0 has no GPU that CUDA shows"),
        (
            1,
            ([["", "far", 1, 0]] * 2, [["rank 0", "own", "8.6"], ["rank 1", "b", "8.6"]]),
            "rank 0 and rank 2 on node would run on the same GPU",
        ),
        (1, ([["", "far", 1, 0]] * 2, [["rank 0", "a", "8.6"], ["rank 1", "b", "7.5"]]), "one of 7.5: they would not"),
        (1, ([["", "far", 1, 0]] * 2, [["rank 0", "", ""], ["rank 1", "b", "8.6"]]), "some on the CPU"),
    ],
)
def test_gpus_that_cannot_work_together_are_told_of(count, tells, message, monkeypatch):
    gpus(monkeypatch, count)
    with pytest.raises(ConfigError) as error:
        own_gpus.device_of(Told(2, 3, *tells), "cuda")
    assert message in str(error.value)


def test_of_what_is_free_the_least_counts_and_its_rank_is_named(capsys):
    crew = Told(0, 2, ["far"], [5 * GIB])
    assert own_gpus.least_free(crew, {"cuda": 9 * GIB}, "cuda") == 5 * GIB
    assert "the plan is made for rank 1 on far, which has the least memory free" in capsys.readouterr().out
    assert own_gpus.least_free(Told(0, 2, ["node"], [8 * GIB]), {"cpu": 8 * GIB}, "cpu") == 4 * GIB  # they share it
    assert own_gpus.least_free(Told(0, 2, ["far"], [None]), {"cuda": GIB}, "cuda") == GIB  # a budget was said there


def test_of_different_cards_the_plan_is_made_for_the_smallest_and_with_the_largest_reserve(monkeypatch, capsys):
    own = CudaTarget((8, 6), "RTX 3060 12GB", 12 * GIB)
    monkeypatch.setattr("gpunet.devices.target", lambda where: own)
    other = ["rank 1 on far", "RTX 3050 8GB", 8 * GIB, 900 * MIB]
    planned = own_gpus.planned_for(Told(0, 2, [other]), "cuda", None)
    assert (planned["device"].card, planned["device"].total_bytes) == ("RTX 3050 8GB", 8 * GIB)
    assert planned["reserve"] == 900 * MIB
    assert "different cards; the plan is made for that of rank 1 on far, the smallest" in capsys.readouterr().out
    alike = ["rank 1 on far", own.card, own.total_bytes, 0]
    assert own_gpus.planned_for(Told(0, 2, [alike]), "cuda", "1GiB") == {"device": "cuda", "reserve": "1GiB"}
    assert own_gpus.planned_for(None, "cuda", None) == {"device": "cuda", "reserve": None}


def test_plans_for_several_ranks_reserve_what_nccl_takes(monkeypatch, tmp_path):
    target = CudaTarget((8, 6))
    assert target.reserve(4).nbytes - target.reserve().nbytes == NCCL_BYTES
    assert "of it 256 MiB for NCCL, stated, not measured" in target.reserve(2).source
    from gpunet.devices.cuda import reserve

    monkeypatch.setenv("GPUNET_CACHE", str(tmp_path))
    monkeypatch.setattr(reserve, "hardware", lambda number=0: "a GPU, driver 1")
    assert reserve.measured_nccl(4) is None
    assert reserve.keep_nccl(300 * MIB, 4) == Reserve(300 * MIB, "measured on a GPU, driver 1")
    assert reserve.keep_nccl(200 * MIB, 4) == Reserve(300 * MIB, "measured on a GPU, driver 1")
    assert reserve.measured_nccl(2) is None and reserve.measured() is None
    assert target.reserve(4).nbytes - target.reserve().nbytes == 300 * MIB
    made = SimpleNamespace(plan=gpunet.plan(gpunet.load("vgg_digits"), 8, device=target, division=Division(4)))
    said = "plans of 4 ranks on this GPU reserve 300 MiB for NCCL, measured on a GPU, driver 1"
    assert _kept_of_ranks(made) == [said]
