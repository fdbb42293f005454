"""Plans and batches for a card by its name, for this machine's GPU, and where there is neither."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import gpunet
from gpunet import BudgetError, ConfigError, Kind, Model
from gpunet.cli.app import app
from gpunet.compile.ranks import Division
from gpunet.devices import target
from gpunet.devices.cards import cards
from gpunet.devices.cuda import reserve
from gpunet.devices.target import Reserve
from gpunet.memory.plan import Plan
from gpunet.planning.by_card import fit_cards
from gpunet.planning.predict import Kept, KeptOp, as_entry, file_name, op_key, predicted_images_per_second, scales
from gpunet.profile.measure import profile
from gpunet.report.profile_json import profile_json
from gpunet.report.table import headline
from gpunet.system import cache
from tests.nets import blocks

MIB = 2**20
SMALL = "INPUT[32x32x3] -> [CONV3-16 -> RELU]*2 -> POOL2 -> FC-10"
NAMES = [card.name for card in cards()]


@dataclass(frozen=True)
class FakeGpu:
    """A GPU as NVML knows it."""

    name: str = "NVIDIA GeForce RTX 3060"
    compute_capability: str = "8.6"
    total_bytes: int = 12_884_901_888
    cuda_bytes: int = 12_600_000_000


@pytest.fixture
def put_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeGpu]:
    """Puts a GPU into this machine."""

    def put(**known: object) -> FakeGpu:
        gpu = FakeGpu(**known)
        monkeypatch.setattr("gpunet.devices.cuda.target.gpu_here", lambda number=0: gpu)
        monkeypatch.setattr(reserve, "hardware", lambda number=0: f"{gpu.name}, driver 580")
        return gpu

    return put


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def workspace_bytes(made: Plan) -> set[int]:
    """Bytes of cuBLAS's workspaces in a plan."""
    return {t.nbytes for t in made.tensors if t.kind is Kind.WORKSPACE and t.name.endswith(".gemm")}


# -- what a card says ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_card_is_planned_for_within_what_cuda_gives_of_it(name: str) -> None:
    made = gpunet.plan(gpunet.load(SMALL), 64, gpu=name)
    (card,) = [card for card in cards() if card.name == name]
    assert made.fits and made.budget_bytes == card.total_bytes and made.device == "cuda"
    assert made.card == name and made.compute_capability == ".".join(map(str, card.compute_capability))
    assert workspace_bytes(made) == {(32 if card.compute_capability >= (9, 0) else 8) * MIB}
    assert (
        f"for {'an' if name[0] in 'ARLH' else 'a'} {name} (compute capability {made.compute_capability})"
        in headline(made)
    )


def test_the_workspace_of_cublas_is_in_the_plan_to_the_byte() -> None:
    net = gpunet.load("INPUT[8x8x1] -> FC-10 -> FC-10")
    ampere, hopper = (gpunet.plan(net, 4, gpu=name) for name in ("a100 80gb", "h100"))
    assert hopper.arena_bytes - ampere.arena_bytes == 24 * MIB
    assert hopper.by_kind[Kind.WORKSPACE] == 32 * MIB and ampere.by_kind[Kind.WORKSPACE] == 8 * MIB
    assert gpunet.plan(net, 4).arena_bytes == ampere.arena_bytes  # no card was named: as for an RTX 3060


def test_the_reserve_is_taken_from_what_a_card_has() -> None:
    net, options = gpunet.load(SMALL), dict(gpu="1060 3gb")
    least, more = (gpunet.fit(net, **options, reserve=reserve) for reserve in ("1GiB", "256MiB"))
    assert least.batch < more.batch and least.budget_bytes == more.budget_bytes == 3_160_276_992
    assert least.total_bytes <= least.budget_bytes < least.next_total_bytes and least.card == "GTX 1060 3GB"


def test_a_card_and_a_budget_and_a_card_for_the_cpu_are_refused() -> None:
    net = gpunet.load(SMALL)
    for ask in (gpunet.plan, gpunet.fit):
        with pytest.raises(ConfigError, match="'3060' says how much memory there is, and so does the budget '6GiB'"):
            ask(net, budget="6GiB", gpu="3060")
        with pytest.raises(ConfigError, match="'3060' names a card, and the plan is for the CPU"):
            ask(net, gpu="3060", device="cpu")
        with pytest.raises(ConfigError, match="did you mean the RTX 3060 12GB"):
            ask(net, gpu="3060 ti")
        with pytest.raises(ConfigError, match="settled already"):
            ask(net, gpu="3060", device=target("cuda", "3080 10gb"))
    with pytest.raises(ConfigError, match="cpu has no memory of its own: give a budget"):
        gpunet.fit(net, device="cpu")
    with pytest.raises(
        BudgetError, match=r"does not fit 2.943 GiB: one image takes .*; a budget of \d+ bytes would hold it"
    ):
        gpunet.fit(gpunet.load("vgg19").scaled(1, "448x448x3"), gpu="1060 3gb", max_cost=0)


def test_a_plan_for_a_card_runs(device) -> None:
    made = gpunet.plan(blocks(), 4, gpu="h200") if device.name == "cuda" else gpunet.plan(blocks(), 4, device="cpu")
    model = Model(blocks(), 4, device, plan=made)
    images = np.zeros((4, *blocks().input.shape), np.float32)
    assert np.isfinite(model.step(images, np.arange(4) % blocks().classes))
    model.close()


# -- this machine's GPU, and none ------------------------------------------------------------------


def test_where_nobody_says_and_no_gpu_is_here_an_rtx_3060_is_meant_and_named() -> None:
    found = json.loads(run("plan", SMALL, "--json").stdout)
    assert (found["card"], found["compute_capability"]) == ("RTX 3060 12GB", "8.6")
    assert found["budget_bytes"] == gpunet.fit(gpunet.load(SMALL), max_cost=0).budget_bytes == 12_587_106_304
    shown = run("fit", SMALL, "--max-cost", 0).stdout
    assert shown.startswith(
        "for an RTX 3060 12GB (compute capability 8.6), 12,587,106,304 B: the least CUDA total that is"
    )
    assert "no card or budget was named, no GPU was found" in shown
    unnamed = json.loads(run("plan", SMALL, "--budget", "3GiB", "--json").stdout)
    assert (unnamed["card"], unnamed["compute_capability"]) == (None, "8.6")
    on_cpu = json.loads(run("plan", SMALL, "--device", "cpu", "--json").stdout)
    assert (on_cpu["card"], on_cpu["compute_capability"], on_cpu["budget_bytes"]) == (None, None, None)


def test_where_a_gpu_is_here_it_is_meant_with_all_that_cuda_gives_of_it(put_gpu) -> None:
    put_gpu(name="NVIDIA H200", compute_capability="9.0", cuda_bytes=150_123_456_789)
    found = json.loads(run("plan", SMALL, "--json").stdout)
    assert (found["card"], found["compute_capability"], found["budget_bytes"]) == (
        "NVIDIA H200",
        "9.0",
        150_123_456_789,
    )
    shown = run("plan", SMALL).stdout
    assert (
        "for an NVIDIA H200 (compute capability 9.0)" in shown and "all that CUDA gives of this machine's GPU" in shown
    )
    made = gpunet.plan(gpunet.load(SMALL), 64)
    assert workspace_bytes(made) == {32 * MIB} and made.budget_bytes is None
    assert gpunet.fit(gpunet.load(SMALL), max_cost=0).budget_bytes == 150_123_456_789
    named = gpunet.plan(gpunet.load(SMALL), 64, gpu="1080 ti")
    assert workspace_bytes(named) == {8 * MIB} and named.card == "GTX 1080 Ti"


def test_what_was_measured_here_holds_for_this_gpu_alone(put_gpu) -> None:
    put_gpu()
    reserve.keep(300 * MIB)
    assert target("cuda").reserve() == Reserve(300 * MIB, "measured on NVIDIA GeForce RTX 3060, driver 580")
    assert target("cuda", "3060").reserve().nbytes == 300 * MIB and target("cuda", "3060").hardware() is not None
    assert target("cuda", "3080 10gb").reserve().nbytes == 512 * MIB and target("cuda", "3080 10gb").hardware() is None
    made, other = (gpunet.plan(blocks(), 4, gpu=name) for name in ("3060", "4090"))
    ops = {op_key(op): KeptOp(1.0, 4 if scales(op) else 0) for op in made.program.ops}
    name = file_name(blocks(), made.dtype, made.device, target("cuda").hardware())
    cache.put(name, "4", as_entry(Kept(4, ops, 1e4, 1.0)))
    assert predicted_images_per_second(blocks(), made) is not None
    assert predicted_images_per_second(blocks(), other) is None


def test_a_gpu_without_a_driver_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpunet.devices.cuda import libcuda, probe
    from gpunet.devices.cuda import target as module
    from gpunet.errors import DeviceError

    monkeypatch.undo()  # what conftest put in the place of gpu_here
    here = module.gpu_here.__wrapped__
    monkeypatch.setattr(libcuda, "driver_version", lambda: None)
    monkeypatch.setattr(probe, "gpu", lambda number: pytest.fail("NVML was asked"))
    assert here() is None
    monkeypatch.setattr(libcuda, "driver_version", lambda: 13)
    monkeypatch.setattr(probe, "gpu", lambda number: FakeGpu(name=f"card {number}"))
    assert here().name == "card 0" and here(2).name == "card 2"

    def silent(number: int) -> None:
        raise DeviceError("NVML does not answer")

    monkeypatch.setattr(probe, "gpu", silent)
    assert here() is None

    def others(number: int) -> None:
        raise libcuda.NoSuchGpu("there is no cuda:7: CUDA shows 1 GPU, cuda:0")

    monkeypatch.setattr(probe, "gpu", others)
    with pytest.raises(DeviceError, match=r"there is no cuda:7: CUDA shows 1 GPU"):
        here(7)


# -- many cards ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_batch_of_every_card_is_that_of_fit_and_grows_with_what_the_card_has() -> None:
    net, options = gpunet.load(SMALL), dict(optimizer="sgd")
    aims = [(where := target("cuda", name), where.total_bytes) for name in NAMES]
    found = fit_cards(net, aims, **options)
    assert [one.target.card for one in found] == NAMES
    for one in found[::9]:
        alone = gpunet.fit(net, gpu=one.target.card, **options)
        assert (one.rung.batch, one.rung.total_bytes) == (alone.batch, alone.total_bytes)
        assert (one.rung.next_total_bytes, one.rung.extra_flops_fraction) == (
            alone.next_total_bytes,
            alone.extra_flops_fraction,
        )
        assert one.rung.predicted_ms == gpunet.plan(net, alone.batch, gpu=one.target.card, **options).predicted.ms
    for workspace in (8, 32):  # a larger workspace may cost an image
        alike = [one for one in found if (one.target.compute_capability >= (9, 0)) == (workspace == 32)]
        batches = [one.rung.batch for one in sorted(alike, key=lambda one: one.budget_bytes)]
        assert batches == sorted(batches) and batches[0] > 0


@pytest.mark.parametrize("options", [{}, {"mode": "infer"}, {"max_cost": 0}, {"ways": ["micro-batches"]}])
def test_random_budgets_hold_what_fit_says_and_nothing_below_one_image(rng, options) -> None:
    net = gpunet.load("INPUT[16x16x3] -> CONV3-8 -> RELU -> POOL2 -> FC-10")
    where = target("cuda", "3060")
    least = gpunet.fit(net, "2GiB", **options, reserve="1MiB").total_bytes // 100
    budgets = [int(least * factor) for factor in rng.uniform(0.5, 4, 4)] + [MIB + 1]
    found = fit_cards(net, [(where, budget) for budget in budgets], reserve="1MiB", **options)
    for budget, one in zip(budgets, found, strict=True):
        try:
            alone = gpunet.fit(net, budget, device=where, reserve="1MiB", **options)
        except BudgetError:
            assert one.rung.batch == 0 and one.rung.total_bytes is None
        else:
            assert (one.rung.batch, one.rung.total_bytes) == (alone.batch, alone.total_bytes)
    assert found[-1].rung.batch == 0


def test_a_budget_that_two_cards_share_is_looked_at_once() -> None:
    aims = [(where := target("cuda", name), where.total_bytes) for name in ("4060", "4060 ti 8gb", "3060", "h100")]
    asked: list[str] = []
    found = fit_cards(gpunet.load(SMALL), aims, watch=asked.append, max_cost=0)
    assert asked == ["RTX 4060", "RTX 3060 12GB", "H100 SXM 80GB"]
    assert found[1].target.card == "RTX 4060 Ti 8GB"
    assert replace(found[1].rung, predicted_ms=found[0].rung.predicted_ms) == found[0].rung


@pytest.mark.slow
def test_vgg16_on_every_card() -> None:
    aims = [(where := target("cuda", name), where.total_bytes) for name in NAMES]
    found = {one.target.card: one for one in fit_cards(gpunet.load("vgg16"), aims)}
    for name in ("GTX 1060 3GB", "RTX 3060 12GB", "H200"):
        alone = gpunet.fit(gpunet.load("vgg16"), gpu=name)
        assert (found[name].rung.batch, found[name].rung.total_bytes) == (alone.batch, alone.total_bytes)


# -- the commands ----------------------------------------------------------------------------------


def test_fit_for_several_cards_is_one_table_and_json() -> None:
    words = ("fit", SMALL, "--max-cost", 0, "--gpu", "gtx1060 3gb", "--gpu", "3080 12gb", "--gpu", "1060-3g")
    lines = run(*words).stdout.splitlines()
    rows = [line for line in lines if line.startswith(("GTX", "RTX"))]
    assert len(rows) == 3 and rows[0].split()[:6] == ["GTX", "1060", "3GB", "6.1", "2.943", "GiB"]
    assert "11.4 GiB?" in rows[1] and rows[2].startswith("RTX 3080 12GB: estimated")
    first, second = json.loads(run(*words, "--json").stdout)
    alone = gpunet.fit(gpunet.load(SMALL), gpu="1060 3gb", max_cost=0)
    assert (first["card"], first["compute_capability"], first["budget_bytes"]) == ("GTX 1060 3GB", "6.1", 3_160_276_992)
    assert (first["batch"], first["total_bytes"], first["doubt"]) == (alone.batch, alone.total_bytes, None)
    assert f"{alone.batch:,}" in rows[0] and f"{alone.total_bytes:,}" in rows[0] and "estimated" in second["doubt"]


def test_fit_for_all_cards_has_each_in_its_order() -> None:
    found = json.loads(
        run("fit", "INPUT[8x8x1] -> FC-2", "--max-cost", 0, "--gpu", "all", "--gpu", "3060", "--json").stdout
    )
    assert [row["card"] for row in found] == NAMES and all(row["batch"] > 0 for row in found)


def test_fit_for_one_card_is_its_ladder() -> None:
    found = json.loads(run("fit", SMALL, "--gpu", "rtx 3080 10gb", "--max-cost", 0, "--json").stdout)
    assert len(found) == 1 and found[0]["card"] == "RTX 3080 10GB" and len(found[0]["ladder"]) == 1
    assert run("fit", SMALL, "--gpu", "3080 10gb", "--max-cost", 0).stdout.startswith("for an RTX 3080 10GB (compute")


def test_cards_that_hold_no_image_are_named_and_the_others_still_have_their_row() -> None:
    net = ("vgg19", "--input", "448x448x3", "--max-cost", 0)
    result = run("fit", *net, "--gpu", "1060 3gb", "--gpu", "1650", "--gpu", "3060")
    assert result.exit_code == 1 and "vgg19 does not fit GTX 1060 3GB, GTX 1650" in result.stderr
    assert "Traceback" not in result.output and len(result.stderr.splitlines()) == 1
    assert [line.split()[5] for line in result.stdout.splitlines() if line.startswith("GTX 1650")] == ["none"]
    assert any(line.startswith("RTX 3060 12GB") and "none" not in line for line in result.stdout.splitlines())


@pytest.mark.parametrize("command", ["plan", "fit", "describe", "profile"])
def test_every_command_takes_cards_and_refuses_what_is_none_in_one_sentence(command: str) -> None:
    for name, words in (
        ("rtx 3060 ti", "did you mean the RTX 3060 12GB?"),
        ("1060", "may be the GTX 1060 3GB or the GTX 1060 6GB: say which"),
    ):
        result = run(command, SMALL, "--gpu", name, *(["--device", "cuda"] if command in ("plan", "fit") else []))
        if command == "profile":  # on the CPU of this machine there is no card
            words = "names a card, and the plan is for the CPU"
        assert result.exit_code == 2 and words in result.stderr and result.stdout == ""
        assert len(result.stderr.splitlines()) == 1
    if command != "describe":
        result = run(command, SMALL, "--gpu", "3060", "--budget", "6GiB")
        assert (
            result.exit_code == 2 and "leave one of them out" in result.stderr and len(result.stderr.splitlines()) == 1
        )


def test_a_card_goes_before_the_budget_of_the_config(tmp_path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('input = "8x8x1"\nnet = "FC-2"\n[train]\nbudget = "1GiB"\n')
    assert json.loads(run("plan", path, "--json").stdout)["budget_bytes"] == 2**30
    assert json.loads(run("plan", path, "--gpu", "3060", "--json").stdout)["budget_bytes"] == 12_587_106_304


def test_describe_says_how_many_images_a_card_holds() -> None:
    found = json.loads(run("describe", SMALL, "--gpu", "1060 3gb", "--json").stdout)["card"]
    assert found["training_batch"] == gpunet.fit(gpunet.load(SMALL), gpu="1060 3gb").batch
    assert found["scoring_batch"] == gpunet.fit(gpunet.load(SMALL), gpu="1060 3gb", mode="infer").batch
    assert json.loads(run("describe", SMALL, "--json").stdout)["card"] is None
    lines = run("describe", SMALL, "--gpu", "1060 3gb").stdout.splitlines()
    assert "for a GTX 1060 3GB (compute capability 6.1)" in lines
    assert any(line.startswith(f"  trains on up to {found['training_batch']:,} images at a time: ") for line in lines)
    assert any(line.startswith(f"  scores up to {found['scoring_batch']:,} images at a time: ") for line in lines)


def test_cards_are_listed_with_what_is_unsure() -> None:
    shown = run("cards").stdout
    rows = [line for line in shown.splitlines() if line.startswith(tuple(f"{name} " for name in NAMES))]
    assert len(rows) >= len(NAMES) and "RTX 3060 12GB" in shown and "12,587,106,304" in shown
    assert "12,240,656,793?" in shown and "RTX 2060 12GB" in shown and "estimated" in shown
    found = json.loads(run("cards", "--json").stdout)
    assert [row["name"] for row in found] == NAMES
    assert {row["name"]: row["total_bytes"] for row in found} == {card.name: card.total_bytes for card in cards()}


def test_a_profile_runs_here_as_it_is_planned_for_a_card(cuda_device) -> None:
    made = profile(blocks(), 4, cuda_device, steps=1, gpu="h200")
    assert made.plan.card == "H200" and workspace_bytes(made.plan) == {32 * MIB}
    assert made.plan.budget_bytes == 150_100_000_000 and profile_json(made)["card"] == "H200"
    with pytest.raises(BudgetError, match="the largest batch that fits is"):
        profile(gpunet.load("vgg16"), 4000, cuda_device, steps=1, gpu="1060 3gb", max_cost=0)


def test_the_batch_for_a_card_is_that_of_all_ranks() -> None:
    net, where, two = gpunet.load(SMALL), target("cuda"), Division(ranks=2)
    [found] = fit_cards(net, [(where, 900 * MIB)], division=two, max_cost=0)
    wanted = gpunet.fit(net, 900 * MIB, device=where, division=two, max_cost=0)
    assert (found.rung.batch, found.rung.total_bytes) == (wanted.batch, wanted.total_bytes)
    assert found.rung.next_total_bytes == wanted.next_total_bytes
