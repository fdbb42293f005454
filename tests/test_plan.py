"""Plans: what lives when, what it costs, and that nothing alive overlaps."""

import numpy as np
import pytest

import gpunet
from gpunet import ConfigError, Kind
from gpunet.compile.fuse import FUSIONS
from gpunet.compile.lower import lower
from gpunet.compile.rewrite import in_place
from gpunet.devices import target
from gpunet.memory.plan import arrange
from gpunet.memory.size import format_bytes, parse_bytes
from gpunet.optimize.optimizers import Momentum
from tests.nets import random_net, small, vgg16


def overlapping(plan: gpunet.Plan) -> list[tuple[str, str]]:
    """Pairs of tensors that are alive in the same step and share a byte: by brute force over all pairs."""
    found = []
    tensors = [t for t in plan.tensors if t.nbytes]
    for i, a in enumerate(tensors):
        for b in tensors[i + 1 :]:
            together = a.first < b.last and b.first < a.last
            if together and a.offset < b.offset + b.nbytes and b.offset < a.offset + a.nbytes:
                found.append((a.name, b.name))
    return found


@pytest.mark.parametrize("mode", ["train", "infer"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_nothing_alive_overlaps_on_random_nets(mode, device):
    rng = np.random.default_rng(5)
    for _ in range(30):
        net = random_net(rng, layers=int(rng.integers(1, 12)))
        plan = gpunet.plan(
            net, int(rng.integers(1, 40)), mode=mode, device=device, scratch_limit=int(rng.integers(64, 10**6))
        )
        assert overlapping(plan) == []
        assert max(t.offset + t.nbytes for t in plan.tensors) <= plan.arena_bytes
        assert all(t.offset % 256 == 0 for t in plan.tensors)


def test_every_op_finds_its_tensors_alive():
    rng = np.random.default_rng(6)
    for _ in range(20):
        plan = gpunet.plan(random_net(rng, layers=8), 3)
        lives = {t.name: (t.first, t.last) for t in plan.tensors}
        heirs = plan.program.takes_over
        for step, op in enumerate(plan.program.ops):
            for tensor in (*op.outputs, *(t for t in op.scratch if t)):
                assert lives[tensor.name][0] <= step < lives[tensor.name][1], (op, tensor)
            for tensor in op.inputs:
                handed = any(heirs.get(o.name) == tensor.name for o in op.outputs)
                assert lives[tensor.name][0] <= step < lives[tensor.name][1] + handed, (op, tensor)


def test_a_value_is_written_before_it_is_read():
    for net in (vgg16(), small()):
        program = gpunet.plan(net, 2).program
        fed = (program.image_bytes, program.labels, program.numbers, program.counters)
        known = {*(t.name for t in fed if t is not None), *(p.tensor.name for p in program.parameters)}
        for op in program.ops:
            assert {t.name for t in op.inputs} <= known, op.name
            known |= {t.name for t in op.outputs}


def test_vgg16_training_at_batch_64_needs_what_was_promised():
    plan = gpunet.plan(vgg16(), 64, optimizer="momentum", device="cuda")
    assert plan.arena_bytes <= 5_900_000_000
    assert plan.arena_bytes == plan.lower_bound_bytes


@pytest.mark.parametrize("batch", [1, 16, 64, 128])
@pytest.mark.parametrize("mode", ["train", "infer"])
def test_offsets_reach_the_lower_bound_for_vgg16(batch, mode):
    plan = gpunet.plan(vgg16(), batch, mode=mode)
    assert plan.arena_bytes == plan.lower_bound_bytes


def test_what_is_alive_at_the_peak_adds_up_to_the_lower_bound():
    plan = gpunet.plan(vgg16(), 16)
    kinds = sum(plan.by_kind.values())
    padding = sum(-t.nbytes % 256 for t in plan.alive(plan.peak_step))
    assert kinds <= plan.lower_bound_bytes <= kinds + padding + 256
    assert set(plan.by_kind) == set(Kind)
    assert plan.by_kind[Kind.PARAMETER] == plan.by_kind[Kind.OPTIMIZER_CACHE] == 138_357_544 * 4


def test_parameters_and_caches_are_contiguous_at_the_base():
    plan = gpunet.plan(small(), 4)
    persistent = sorted((t for t in plan.tensors if t.kind.persistent), key=lambda t: t.offset)
    end = 0
    for planned in persistent:
        assert planned.offset == end
        assert (planned.first, planned.last) == (0, plan.steps)
        end += -(-planned.nbytes // 256) * 256
    assert all(t.offset >= end for t in plan.tensors if not t.kind.persistent)


def test_relu_takes_over_its_input_and_switches_take_half_a_byte():
    plan = gpunet.plan(vgg16(), 8, without=FUSIONS)
    at = {t.name: t for t in plan.tensors}
    assert at["relu1.y"].offset == at["conv1.y"].offset
    assert at["conv1.y"].last == at["relu1.y"].first
    assert at["pool1.switches"].nbytes * 8 == at["pool1.y"].nbytes


def test_in_place_never_takes_what_is_read_later():
    rng = np.random.default_rng(7)
    for _ in range(30):
        net = random_net(rng, layers=10)
        plain = lower(
            net,
            batch=3,
            mode="train",
            dtype="float32",
            optimizer=Momentum(),
            target=target("cpu"),
            scratch_limit_bytes=10**6,
        )
        program = in_place(plain)
        assert arrange(program).lower_bound_bytes <= arrange(plain).lower_bound_bytes
        for heir, giver in program.takes_over.items():
            born = next(i for i, op in enumerate(program.ops) if heir in {t.name for t in op.outputs})
            assert not any(giver in {t.name for t in op.arguments if t} for op in program.ops[born + 1 :])


def test_inference_keeps_only_what_is_still_needed():
    train, infer = gpunet.plan(vgg16(), 1), gpunet.plan(vgg16(), 1, mode="infer")
    assert {t.kind for t in infer.tensors} == {Kind.DATA, Kind.ACTIVATION, Kind.PARAMETER, Kind.WORKSPACE}
    # The two largest neighbouring volumes, 12.25 MiB each, beside the parameters and the scratch.
    scratch = 16 * 2**20
    assert infer.arena_bytes <= 138_357_544 * 4 + 26 * 2**20 + scratch < train.arena_bytes


def test_float64_takes_twice_the_bytes_of_every_float():
    one, two = gpunet.plan(small(), 3), gpunet.plan(small(), 3, dtype="float64")
    sizes = {t.name: t.nbytes for t in two.tensors}
    for planned in one.tensors:
        if planned.tensor.dtype == "float32" and planned.kind is not Kind.WORKSPACE:
            assert sizes[planned.name] == 2 * planned.nbytes


def test_the_scratch_limit_is_obeyed_and_stands_in_the_plan():
    for limit in ("64MiB", "8MiB", "1MiB"):
        plan = gpunet.plan(vgg16(), 32, scratch_limit=limit, device="cpu")
        columns = [t for t in plan.tensors if t.name.endswith("columns")]
        assert plan.scratch_limit_bytes == parse_bytes(limit)
        one_row = {t.name: 224 * t.tensor.shape[1] * 4 for t in columns}
        assert all(t.nbytes <= max(plan.scratch_limit_bytes, one_row[t.name]) for t in columns)


def test_by_layer_counts_handed_over_bytes_once():
    plan = gpunet.plan(vgg16(), 2, without=(*FUSIONS, "spare-masks"))
    assert plan.by_layer["relu1"][Kind.ACTIVATION] == 2 * 224 * 224 * 64 // 8  # one bit a value
    assert plan.by_layer["conv1"][Kind.ACTIVATION] == 2 * 224 * 224 * 64 * 4
    assert plan.by_layer["fc1"][Kind.PARAMETER] == (102_760_448 + 4096) * 4
    scratch = [sum(t.nbytes for t in op.scratch if t) for op in plan.program.ops if op.layer == "conv1"]
    assert plan.by_layer["conv1"][Kind.WORKSPACE] == max(scratch) > 0


def test_sgd_keeps_no_cache():
    assert gpunet.plan(small(), 2, optimizer="sgd").by_kind[Kind.OPTIMIZER_CACHE] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch": 0}, "from 1 to 16,777,216; got 0"),
        ({"batch": 10**12}, "from 1 to 16,777,216"),
        ({"batch": 2.5}, "integer"),
        ({"budget": "12 apples"}, "cannot read '12 apples' as an amount of memory"),
        ({"budget": "-3GiB"}, "amount of memory"),
        ({"budget": 0}, "at least one byte"),
        ({"optimizer": "momentun"}, "there is no optimizer 'momentun'; there are sgd, momentum"),
        ({"device": "tpu"}, "there is no device 'tpu'; there are cpu, cuda"),
        ({"mode": "eval"}, "train or infer"),
        ({"dtype": "half"}, "the dtype must be one of float32, float64, float16, bfloat16, mixed; got 'half'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        gpunet.plan(small(), **{"batch": 4, **options})


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("12GiB", 12 * 2**30),
        ("1.5 GiB", 3 * 2**29),
        ("6GB", 6 * 10**9),
        ("512mib", 2**29),
        ("4294967296", 2**32),
        ("6G", 6 * 2**30),
        ("1.5 g", 3 * 2**29),
        ("512m", 2**29),
        (7, 7),
        ("3 B", 3),
        ("1TiB", 2**40),
    ],
)
def test_amounts_of_memory_are_read_as_people_write_them(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize(
    ("text", "unit"), [("6", "GiB"), ("0.5", "GiB"), (" 12 ", "GiB"), ("6000", "MiB"), ("999999", "MiB")]
)
def test_a_number_without_a_unit_is_asked_about(text, unit):
    with pytest.raises(ConfigError, match=rf"alone would be so many bytes; {text.strip()}{unit}\?"):
        parse_bytes(text)


def test_amounts_of_memory_are_printed_with_their_unit():
    assert [format_bytes(n) for n in (0, 512, 2**20, 5_702_024_192)] == ["0 B", "512 B", "1 MiB", "5.31 GiB"]
