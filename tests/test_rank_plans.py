"""Plans for several ranks: what they take, what goes over the wire, and what a network makes of it."""

import json

import pytest

from gpunet import load, plan
from gpunet.compile.between import AWAIT, GATHER_SHARES, JOIN_SUMS, REDUCE, goes_beside
from gpunet.compile.ranks import BUCKET_BYTES, Division
from gpunet.compile.wire import wire_bytes
from gpunet.errors import ConfigError
from gpunet.planning.network import NETWORKS, network, predict_ranks, waits_of
from gpunet.program.program import Op
from gpunet.program.shares import largest, share, shares
from gpunet.program.tensor import Kind, Tensor

MIB = 2**20
TENSOR = Tensor("a.dw", Kind.PARAMETER_GRADIENT, (1,), "float32", "a")


def test_shares_are_as_equal_as_can_be_and_lie_behind_one_another():
    assert shares(10, 3) == [(0, 4), (4, 7), (7, 10)] and largest(10, 3) == 4
    assert [share(2, 3, part) for part in range(3)] == [(0, 1), (1, 2), (2, 2)] and shares(2, 3) == [(0, 1), (1, 2)]


@pytest.fixture(scope="module")
def vgg16():
    return load("vgg16")


def test_vgg16_takes_no_more_than_a_bucket_or_four_beside_one_device(vgg16):
    one, several = plan(vgg16, 64), plan(vgg16, 512, division=Division(8))
    assert several.batch == 64 and several.whole_batch == 512
    assert several.arena_bytes - one.arena_bytes <= 32 * MIB
    assert max(t.nbytes for t in several.program.tensors.values() if "arriving" in t.name) <= BUCKET_BYTES


def test_gradients_cross_the_wire_as_around_a_ring(vgg16):
    made = plan(vgg16, 128, division=Division(2))
    gradients = sum(4 * weights for weights in [vgg16.parameters])
    losses = 64 * 8  # a loss and a hit of each image of a rank, to the other one
    assert wire_bytes(made.program) == pytest.approx(gradients + losses, abs=4 * len(made.program.ops))


def test_divided_caches_save_their_share_of_all_but_small_ones(vgg16):
    caches = 4 * vgg16.parameters
    for ranks in (2, 4):
        whole, parts = (plan(vgg16, 64 * ranks, division=Division(ranks, shard=shard)) for shard in (False, True))
        saved = whole.arena_bytes - parts.arena_bytes
        assert 0 <= caches * (ranks - 1) / ranks - saved < 0.5 * MIB
        assert set(parts.program.sharded) < {t.name for p in whole.program.parameters for t in p.caches}


def test_slow_networks_and_more_ranks_cost_more(vgg16):
    made = {n: plan(vgg16, 64 * n, gpu="rtx 3060", division=Division(n)) for n in (2, 8)}
    slow, fast = (predict_ranks(made[8], NETWORKS[name]) for name in ("10Gb", "nvlink"))
    assert slow.efficiency.likely < fast.efficiency.likely < 1
    assert predict_ranks(made[2], NETWORKS["10Gb"]).wire_ms < slow.wire_ms
    assert slow.images_per_second.likely == pytest.approx(
        8 * 64 / ((slow.step_ms.likely + slow.waits_ms) / 1e3), rel=1e-6
    )


def under_way(program):
    """By the first tensor of what goes on beside, the steps between its begin and its AWAIT, each with their ops."""
    begun, found = {}, {}
    for step, op in enumerate(program.ops):
        if goes_beside(op):
            begun[op.inputs[0].name] = step
        elif op.name == AWAIT:
            found[op.inputs[0].name] = (begun.pop(op.inputs[0].name), step)
    assert not begun
    return found


RESNET = pytest.param("resnet50", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", ["vgg_cifar", "vgg16", RESNET])
@pytest.mark.parametrize("options", [{}, {"shard": True}])
def test_what_is_under_way_lives_until_it_is_awaited_and_nothing_touches_it(name, options):
    made = plan(load(name), 128, division=Division(2, **options))
    program, between = made.program, 0
    for first, last in under_way(program).values():
        assert program.ops[first].scratch == program.ops[last].scratch
        sent = {t.name for t in program.ops[first].arguments if t is not None}
        assert all(program.lifetimes[t][1] > last for t in sent)
        for op in program.ops[first + 1 : last]:
            used = {t.name for t in op.arguments if t is not None}
            assert not sent & ({t.name for t in op.outputs} if program.ops[first].name == GATHER_SHARES else used)
        between += sum(op.phase == "backward" for op in program.ops[first:last])
    assert between > 3  # ops that run meanwhile


@pytest.mark.parametrize("name", ["vgg16", RESNET])
def test_waiting_late_takes_no_memory_and_hides_more(name):
    options = {"gpu": "rtx 3060", "division": Division(8)}
    at_once, late = (plan(load(name), 512, **options, without=without) for without in (["overlap"], []))
    assert late.arena_bytes - at_once.arena_bytes < 4 * MIB  # as blocks find their places
    waits = [predict_ranks(made, NETWORKS["25Gb"]).waits_ms for made in (at_once, late)]
    assert waits[1] < (0.2 if name == "resnet50" else 0.95) * waits[0]


def test_time_is_hidden_where_there_is_arithmetic_to_hide_it_behind():
    begun, awaited = (Op(name, "a", "update", (TENSOR,), (TENSOR,)) for name in (REDUCE, AWAIT))
    work = Op("fc_backward_input", "b", "backward", (), ())
    for ms, waits in ((3, 2.0), (5, 0.0), (9, 0.0)):
        assert waits_of([begun, work, awaited], [0, ms, 0], [5, 0, 0]) == waits
    at_once = Op(JOIN_SUMS, "c", "backward", (TENSOR,), ())
    assert waits_of([begun, at_once, work, awaited], [0, 0, 3, 0], [5, 1, 0, 0]) == 6


def test_layers_that_are_divided_send_no_gradient_and_hold_their_share(vgg16):
    whole, divided = (plan(vgg16, 128, division=Division(2, split_fc=split)) for split in (False, True))
    sent = {t.name for op in divided.program.ops if op.name == REDUCE for t in op.inputs}
    assert not {name for name in sent if name.startswith("fc")} and "conv1.dw" in sent
    weights = {p.tensor.name: p.tensor.shape for p in divided.program.parameters}
    assert weights["fc1.w"] == (2048, 25088) and weights["fc3.b"] == (500,)
    saved = 3 * 4 * sum(4096 * n + 4096 for n in (25088, 4096)) // 2  # of weights, gradients and caches; fc3's beside
    assert whole.arena_bytes - divided.arena_bytes > 0.75 * saved
    assert wire_bytes(divided.program) < 0.25 * wire_bytes(whole.program)


def test_half_types_are_planned_without_the_other_way(run):
    found = run("plan", "vgg_digits", "--ranks", "2", "--dtype", "bfloat16", "--network", "10Gb")
    assert found.exit_code == 0 and "on the wire" in found.stdout and "split-fc" not in found.stdout


def test_convolutions_alone_are_not_divided():
    net = load("INPUT[16x16x3] -> CONV3-8 -> RELU -> GAP -> FC-10")
    with pytest.raises(ConfigError, match="no fully connected layer that can be divided over 2 ranks"):
        plan(net, 8, division=Division(2, split_fc=True))


def test_networks_have_names_or_a_speed():
    assert network("25gb") is NETWORKS["25Gb"] and network("40Gb").bytes_per_ms == 40e9 / 8e3
    for wrong in ("", "foo", "0Gb", "-1Gb"):
        with pytest.raises(ConfigError, match="there is no network"):
            network(wrong)


def test_the_command_tells_all_of_it(run):
    words = ["plan", "vgg16", "--batch", "128", "--ranks", "2", "--network", "pcie3", "--gpu", "rtx 3060"]
    shown = run(*words).stdout
    assert "2, each with at most 64 of 128 images" in shown and "of it hidden" in shown and "efficiency" in shown
    assert "data parallel: " in shown and "--split-fc: " in shown and "; recommended over pcie3" in shown
    told = json.loads(run(*words, "--json").stdout)["ranks"]
    assert told["ranks"] == 2 and told["whole_batch"] == 128 and 0 < told["hidden_ms"] < told["wire_ms"]
    ways = told["fully_connected"]
    assert ways["recommended"] == "split_fc" and ways["split_fc"]["wire_bytes"] < ways["data_parallel"]["wire_bytes"]
    assert sum(told["wire_bytes_by_layer"].values()) == pytest.approx(told["wire_bytes"], abs=100)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--network", "25Gb"], "say how many, like --ranks 8"),
        (["--ranks", "8", "--batch", "4"], "a batch of 4 cannot be divided among 8 ranks"),
        (["--ranks", "2", "--mode", "infer"], "leave out --mode infer"),
        (["--shard-optimizer"], "say how many, like --ranks 8"),
        (["--split-fc"], "say how many, like --ranks 8"),
        (["--split-fc", "--ranks", "2", "--dtype", "bfloat16"], "in float32 and float64, not in bfloat16"),
        (["--split-fc", "--ranks", "300", "--batch", "300"], "no fully connected layer that can be divided over 300"),
        (["--split-fc", "--ranks", "2", "--micro-batches", "--budget", "1GiB"], "leave out micro-batches"),
        (["--ranks", "2", "--network", "string"], "there is no network 'string'"),
    ],
)
def test_what_cannot_be_divided_is_said(words, message, run):
    found = run("plan", "vgg_digits", *words)
    assert found.exit_code == 2 and message in found.stderr


def test_the_largest_batch_of_all_ranks_is_that_of_each_times_their_number(run):
    words = ["fit", "vgg_digits", "--budget", "600MiB", "--reserve", "512MiB", "--max-cost", "0", "--json"]
    one, four = (json.loads(run(*words, *more).stdout) for more in ([], ["--ranks", "4"]))
    one, four = (found["budgets"][0] if "budgets" in found else found[0] for found in (one, four))
    assert four["batch"] % 4 == 0 and abs(four["batch"] - 4 * one["batch"]) <= 0.05 * four["batch"]
