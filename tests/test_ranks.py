"""Several ranks: the bits of one device that runs as many parts, over MPI and TCP, on the CPU and the emulated GPU."""

import json
import os
import subprocess
import sys
from math import prod
from pathlib import Path

import pytest
from PIL import Image

import gpunet
from gpunet.compile.between import REDUCE
from gpunet.compile.ranks import Division
from gpunet.compile.wire import messages, op_bytes
from gpunet.optimize.optimizers import OPTIMIZERS
from gpunet.ranks.mpi import find_starter
from tests.conftest import ROOT
from tests.rank_cases import DEEP, NORMED, PLAIN, WIDE, Case, as_words

SYNC, SPLIT = (("sync_bn", True),), (("split_fc", True),)
CASES = {
    **{name: Case(optimizer=name, steps=8) for name in OPTIMIZERS},
    "sixty steps of uneven batches": Case(),
    "float64": Case(dtype="float64", steps=12),
    "bfloat16": Case(NORMED, dtype="bfloat16", sizes=(8, 5), steps=4),
    "float16": Case(dtype="float16", steps=4),
    "batch normalization over each part": Case(NORMED, sizes=(8, 6, 7), steps=12),
    "frozen batch normalization": Case(NORMED, frozen=("bn1",), steps=12, sizes=(8, 5)),
    "augmentation": Case(augment=True, steps=12),
    "clipped by the norm of all gradients": Case(clip_norm=0.5, steps=12),
    "with the caches divided": Case(WIDE, "adam", steps=6, options=(("shard", True),)),
    "with the caches divided and gradients clipped": Case(WIDE, clip_norm=0.1, steps=6, options=(("shard", True),)),
    "poisoned": Case(debug=True, steps=4),
    "sixty steps on the emulated GPU": Case(NORMED, device="emulated", sizes=(6, 5)),
    "dropout on the emulated GPU": Case(PLAIN, device="emulated", steps=4),
}

JOINED = {
    "batch normalization over all ranks": Case(NORMED, dtype="float64", sizes=(8, 5, 3), steps=9, options=SYNC),
    "in float32": Case(NORMED, sizes=(8, 5), steps=2, options=SYNC),
    "over all ranks on the emulated GPU": Case(NORMED, device="emulated", sizes=(6, 5), steps=2, options=SYNC),
    "fully connected layers divided": Case(DEEP, dtype="float64", steps=8, options=SPLIT),
    "divided, clipped, and the other caches divided, too": Case(
        DEEP, "adam", dtype="float64", clip_norm=0.5, steps=4, options=(*SPLIT, ("shard", True))
    ),
    "divided and poisoned": Case(DEEP, steps=2, debug=True, options=SPLIT),
    "divided on the emulated GPU": Case(DEEP, device="emulated", sizes=(5, 1), steps=2, options=SPLIT),
}
"""Which end in one device's values, but for rounding."""

OVERFLOWING = {
    "": Case(NORMED, overflows=True),
    "sync_bn": Case(NORMED, overflows=True, options=SYNC),
    "split_fc": Case(DEEP, overflows=True, options=SPLIT),
}
"""In one rank alone, by what the others wait for in the forward pass."""


def started(count: int, path: Path, *, plain: bool = False) -> list[list[dict]]:
    """What the cases in a file come to for each rank; `plain`: started without MPI."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.rank_cases", str(path)]
    if plain:
        from socket import create_server

        with create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        processes = [
            subprocess.Popen(command, env={**environment, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank in range(count)
        ]
        assert [process.wait(120) for process in processes] == [0] * count
    else:
        subprocess.run([str(find_starter()), "-n", str(count), *command], env=environment, check=True, timeout=300)
    return json.loads(path.with_suffix(".out").read_text())


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict]]:
    """By case, what each of two ranks came to, and one device in two parts."""
    path = tmp_path_factory.mktemp("ranks") / "cases.json"
    all_of = CASES | JOINED | OVERFLOWING
    path.write_text(json.dumps([as_words(case) for case in all_of.values()]))
    told = started(2, path)
    return {name: [rank[number] for rank in told] for number, name in enumerate(all_of)}


@pytest.mark.parametrize("name", CASES)
def test_ranks_end_in_the_bits_of_parts_on_one_device(two_ranks, name):
    *ranks, expected = two_ranks[name]
    for found in ranks:
        assert found["losses"] == expected["losses"] and found["correct"] == expected["correct"]
        assert found["digest"] == expected["digest"]


@pytest.mark.parametrize("name", CASES)
def test_each_rank_takes_and_sends_the_bytes_that_were_planned(two_ranks, name):
    for found in two_ranks[name][:-1]:
        assert found["arena"] == found["planned"]
        assert found["really_sent"] == found["sent"] > 0


@pytest.mark.parametrize("name", JOINED)
def test_what_is_done_for_all_images_at_once_ends_as_on_one_device(two_ranks, name):
    *ranks, expected = two_ranks[name]
    assert ranks[0]["digest"] == ranks[1]["digest"]
    close = 1e-12 if JOINED[name].dtype == "float64" else 1e-6
    assert ranks[0]["losses"] == pytest.approx(expected["losses"], rel=close)
    assert ranks[0]["norms"] == pytest.approx(expected["norms"], rel=10 * close, abs=1e-6)
    for found in ranks:
        assert found["really_sent"] == found["sent"] and found["arena"] == found["planned"]


@pytest.mark.parametrize("name", OVERFLOWING)
def test_a_rank_that_overflows_is_named_by_all_of_them(two_ranks, name):
    first, second, _ = two_ranks[name]
    assert first["said"] == second["said"] and "the loss became nan" in first["said"]
    where = "on rank 0, bn1" if name == "sync_bn" else "on rank 1, conv1"  # of statistics of all, all are broken
    assert where in first["said"]


def test_fully_connected_layers_that_are_divided_give_the_same_bits_again(two_ranks, tmp_path):
    path = tmp_path / "cases.json"
    path.write_text(json.dumps([as_words(JOINED["fully connected layers divided"])]))
    ((again, _, _),) = zip(*started(2, path), strict=True)
    assert again["digest"] == two_ranks["fully connected layers divided"][0]["digest"]


def test_ranks_that_meet_over_tcp_end_in_the_same_bits(tmp_path):
    path = tmp_path / "cases.json"
    path.write_text(json.dumps([as_words(Case(steps=4)), as_words(Case(WIDE, steps=3, options=(("shard", True),)))]))
    for first, second, expected in zip(*started(2, path, plain=True), strict=True):
        assert first["digest"] == second["digest"] == expected["digest"]
        assert first["really_sent"] == first["sent"]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "plain"), [(3, False), (4, False), (3, True)])
def test_more_ranks_than_cores_end_in_the_bits_of_as_many_parts(count, plain, tmp_path):
    path = tmp_path / "cases.json"
    cases = [Case(), Case(NORMED, sizes=(8, 6, 7), steps=12), Case(WIDE, "adam", steps=6, options=(("shard", True),))]
    cases.append(Case(DEEP, dtype="float64", steps=8, options=SPLIT))
    path.write_text(json.dumps([as_words(case) for case in cases]))
    for number, (*ranks, expected) in enumerate(zip(*started(count, path, plain=plain), strict=True)):
        wanted = ranks[0] if cases[number].options == SPLIT else expected
        assert {found["digest"] for found in ranks} == {wanted["digest"]}
        assert ranks[0]["losses"] == pytest.approx(expected["losses"], rel=1e-12)
        assert all(found["really_sent"] == found["sent"] for found in ranks)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["eval", "predict", "lr-find"])
def test_commands_say_the_same_with_two_ranks(command, tmp_path, run):
    net = "INPUT[8x8x1] -> CONV3-4 -> RELU -> POOL2 -> FC-10"
    assert run("train", net, "--device", "cpu", "--epochs", "1", "--out", tmp_path / "run").exit_code == 0
    for number in range(3):
        Image.new("L", (8, 8), 40 * number).save(tmp_path / f"{number}.png")
    words = {
        "eval": ["eval", str(tmp_path / "run"), "--json"],
        "predict": ["predict", str(tmp_path / "run"), *(str(tmp_path / f"{number}.png") for number in range(3))],
        "lr-find": ["lr-find", net, "--steps", "20", "--repeats", "1"],
    }[command]
    said = []
    for ranks in ([], ["--ranks", "2"]):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        command_line = [sys.executable, "-m", "gpunet", *words, "--device", "cpu", *ranks]
        found = subprocess.run(command_line, env=environment, capture_output=True, text=True, check=True, timeout=120)
        said.append(found.stdout)
    assert said[0] == said[1]


@pytest.mark.slow
def test_profiles_of_ranks_time_what_goes_between_them_and_one_of_them_speaks(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GPUNET_CACHE": str(tmp_path)}
    words = ["profile", PLAIN, "--batch", "5", "--steps", "2", "--device", "cpu", "--ranks", "2", "--json"]
    command = [sys.executable, "-m", "gpunet", *words]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    made = json.loads(found.stdout)
    assert made["batch"] == 3 and made["images_per_second"] == pytest.approx(5e3 / made["step_ms"], rel=1e-6)
    assert {"all_gather", "all_reduce", "await_ranks"} <= {op["name"] for op in made["ops"]}
    assert made["reserve_bytes"] == 88 * 2**20 and "of it 24 MiB for MPI" in made["reserve_source"]
    assert not list(tmp_path.iterdir()) and not found.stderr  # times with waits in them predict nothing


def test_few_values_are_added_up_in_one_round_and_many_in_two():
    sizes = []
    for maps in (4, 4000):
        net = gpunet.load(f"INPUT[3x3x1] -> FC-{maps} -> FC-5")
        made = gpunet.plan(net, 4, device="cpu", division=Division(2))
        (op,) = (op for op in made.program.ops if op.name == REDUCE)
        values = sum(prod(t.shape) for t in op.inputs)
        sizes.append((messages(op, 2), op.scratch[0].shape[0] / values, op_bytes(op, 2, 0, 4) / values))
    assert sizes == [(1, 2, 4), (2, pytest.approx(1, abs=1e-4), 4)]  # of two ranks each sends as much either way
