"""Half types: every op on the CPU against the same op in float32; plans, steps, poison, ways and files of models."""

from dataclasses import replace as replaced

import ml_dtypes
import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession
from safetensors.torch import load_file

from bench.peer.layers import as_maps
from bench.peer.net import torch_loss, torch_net
from gpunet import FC, BatchNorm, ConfigError, Conv, DataError, MaxPool, Model, Net, ReLU, plan
from gpunet.compile.chunk import cut_points
from gpunet.compile.ranks import Division
from gpunet.compile.recompute import saved
from gpunet.compile.rewrite import rewrite
from gpunet.compile.ways import BEFORE, Ways
from gpunet.devices import open_device, target
from gpunet.devices.cpu.halves import PART
from gpunet.layers.scaling import SCALE
from gpunet.program.tensor import HALVES, ITEMSIZE, Kind
from gpunet.use.exporting import export_weights
from gpunet.use.importing import import_weights
from tests.nets import small
from tests.op_calls import OPS, Draw
from tests.ops import run_op
from tests.runs import planned, train
from tests.test_ways import LIMIT, lowered
from tests.test_ways import planned as planned_in

KINDS = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}

WIDE_OPS = {
    *("softmax_forward", "softmax_backward", "hinge_forward", "hinge_backward", "mean_loss", "add_loss"),
    *("clip_by_value", "clip_by_norm", "add_square_sum", "add_part", "batch_norm_update"),
    *("scale_gradient", "unscale", "settle_scaling"),
    *(op for op in OPS if op.endswith("_update")),
}
"""Ops whose arrays are float32 in programs of halves, too."""

NOT_IN_HALVES = ("conv_norm_forward", "conv_norm_backward_weights")
"""Ops that no program of halves has."""

HALF_OPS = [op for op in OPS if op not in (*WIDE_OPS, *NOT_IN_HALVES)]


def positions_of_halves(op: str, arrays: list[np.ndarray | None]) -> list[bool]:
    """By array, whether a program of halves has it so: volumes, and weights of convolutions and of fully connected
    layers."""
    products = op.startswith(("conv_", "fc_"))
    weights = {"conv_forward": 1, "conv_relu_forward": 1, "conv_pool_forward": 1, "conv_backward_input": 1}
    weights |= {"conv_pool_backward_input": 2, "fc_forward": 1, "fc_backward_input": 1}
    weights |= {"conv_relu_backward_input": 1, "conv_pool_relu_backward_input": 2}
    found = [array is not None and array.ndim == 4 and array.dtype.kind == "f" for array in arrays]
    if products and op in weights:
        found[weights[op]] = True
    if op in ("conv_backward_weights", "conv_pool_backward_weights", "fc_backward_weights"):
        found[len(arrays) - 1] = False  # dw
    if op.startswith("fc_") and op.endswith("input"):
        found[1] = True
    return found


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("op", HALF_OPS)
def test_an_op_in_halves_is_that_of_float32_rounded_once(op, dtype, rng):
    """Of the same halves, brought to float32: what the op gives then, rounded where it is stored."""
    device, kind = open_device("cpu"), KINDS[dtype]
    for _ in range(2):
        call = Draw(rng, np.float32).call(op)
        arrays = [*call.inputs, *(np.empty(*out) if isinstance(out, tuple) else out for out in call.outputs)]
        halves = positions_of_halves(op, arrays)
        inputs = [_in(kind, a) if half else a for a, half in zip(call.inputs, halves, strict=False)]
        outputs = [_spec(kind, o) if half else o for o, half in zip(call.outputs, halves[len(inputs) :], strict=True)]
        wide = replaced(call, inputs=tuple(a if a is None or a.dtype != kind else _wide(a) for a in inputs))
        expected = wide.run(device)
        found = replaced(call, inputs=tuple(inputs), outputs=tuple(outputs)).run(device)
        for made, exact, half in zip(found, expected, halves[len(inputs) + call.spent :], strict=True):
            _assert_rounded(made, exact, kind if half else None)


def _in(kind, values):
    with np.errstate(all="ignore"):
        return None if values is None else values.astype(kind)


def _wide(values):
    return values.astype(np.float32)


def _spec(kind, output):
    return (output[0], kind) if isinstance(output, tuple) else _in(kind, output)


def _assert_rounded(found, exact, kind):
    """The nearest half, or its neighbour where products are added in another order; sums as close as float32 has it."""
    if exact.dtype.kind != "f":
        np.testing.assert_array_equal(found, exact)
        return
    scale = np.abs(exact[np.isfinite(exact)]).max(initial=1e-3)
    if kind is None:
        np.testing.assert_allclose(found, exact, rtol=0, atol=2e-6 * scale)
        return
    with np.errstate(all="ignore"):
        nearest = exact.astype(kind).astype(np.float32)
    step = float(ml_dtypes.finfo(kind).eps)
    np.testing.assert_allclose(found, nearest, rtol=step, atol=2e-6 * scale)
    same = (found == nearest) | (np.isnan(found) & np.isnan(nearest))
    assert same.mean() > 0.9, f"{1 - same.mean():.0%} are not the nearest"


def test_a_large_volume_is_treated_in_parts_and_gives_the_same_bits(rng):
    device = open_device("cpu")
    x = rng.standard_normal((3, 97, 101, 13)).astype(np.float16)
    assert x.size > PART
    (y,) = run_op(device, "sigmoid_forward", [x], [(x.shape, x.dtype)])
    (expected,) = run_op(device, "sigmoid_forward", [_wide(x)], [(x.shape, np.float32)])
    np.testing.assert_array_equal(y, _wide(expected.astype(np.float16)))
    numbers, how = np.array([7.0]), {"p": 0.5, "seed": 3, "step": 0, "layer": 9, "first_image": 2, "training": 1}
    for op, more in (("dropout", {}), ("dropout_whole", {"maps": 13})):  # which goes by where an image stands
        (y,) = run_op(device, op, [x, numbers], [(x.shape, x.dtype)], **how, **more)
        (expected,) = run_op(device, op, [_wide(x), numbers], [(x.shape, np.float32)], **how, **more)
        np.testing.assert_array_equal(y, _wide(expected.astype(np.float16)))
    pool = {"F": 2, "S": 2, "P": 0}
    made = [((3, 48, 50, 13), np.float16), ((3, 48, 50, 13), np.uint8)]
    y, switches = run_op(device, "max_pool_forward", [x], made, **pool)
    np.testing.assert_array_equal(y, _wide(x)[:, :96, :100].reshape(3, 48, 2, 50, 2, 13).max(axis=(2, 4)))
    assert switches.max() == 3


# -- plans ---------------------------------------------------------------------------------------------


def normed() -> Net:
    layers = [Conv(8, bias=False), BatchNorm(), ReLU(), MaxPool(2), Conv(6), ReLU(), FC(12), ReLU(), FC(4)]
    return Net("8x8x3", layers)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", HALVES)
def test_every_tensor_has_its_type(dtype, device):
    made = plan(normed(), 6, dtype=dtype, device=device, optimizer="adam")
    assert made.dtype == dtype
    copies = set()
    for name, tensor in made.program.tensors.items():
        if tensor.kind in (Kind.PARAMETER, Kind.PARAMETER_GRADIENT, Kind.OPTIMIZER_CACHE):
            assert tensor.dtype == "float32", name
        if tensor.kind is Kind.GRADIENT and len(tensor.shape) == 4 and not name.startswith("loss."):
            assert tensor.dtype == dtype, name
        if tensor.kind is Kind.ACTIVATION and tensor.layer not in ("loss",) and len(tensor.shape) == 4:
            assert tensor.dtype in (dtype, "uint8", "int32"), name
        if name.endswith(f".w.{dtype}"):
            copies.add(name)
    assert copies == {f"{layer}.w.{dtype}" for layer in ("conv1", "conv2", "fc1", "fc2")}
    assert made.program.tensors["bn1.batch_mean"].dtype == "float32"
    assert made.program.images.dtype == dtype and made.program.labels.dtype == "int32"
    assert (made.program.scaling is not None) == (dtype == "float16")


def test_activations_take_half_the_bytes():
    wide, half = (plan(small(), 64, dtype=dtype, device="cpu") for dtype in ("float32", "bfloat16"))
    for name, tensor in wide.program.tensors.items():
        if tensor.batched and tensor.dtype == "float32" and name in half.program.tensors and tensor.layer != "loss":
            assert half.program.tensors[name].nbytes * 2 == tensor.nbytes, name
    assert ITEMSIZE["bfloat16"] == ITEMSIZE["float16"] == 2


@pytest.mark.parametrize(
    "card, asked, found",
    [
        ("3060", "mixed", "bfloat16"),
        ("3060", "float16", "float16"),
        ("t4", "mixed", "float16"),
        ("t4", "bfloat16", "T4 .*no bfloat16, which needs compute capability 8.0; use float16"),
        ("gtx 1060 6gb", "mixed", "GTX 1060 6GB .*no half types: they need compute capability 7.5; use float32"),
        ("gtx 1060 6gb", "float16", "no half types"),
        ("3060", "half", "the dtype must be one of float32, float64, float16, bfloat16, mixed; got 'half'"),
    ],
)
def test_a_card_is_asked_what_it_has(card, asked, found):
    where = target("cuda", gpu=card)
    if found in HALVES:
        assert where.dtype(asked) == plan(small(), 4, dtype=asked, gpu=card).dtype == found
    else:
        with pytest.raises(ConfigError, match=found):
            plan(small(), 4, dtype=asked, gpu=card)


def test_bfloat16_is_planned_and_refused_in_words_where_ml_dtypes_is_missing(monkeypatch):
    import builtins

    from gpunet.values.types import numpy_type

    original = builtins.__import__

    def without(name, *more):
        if name == "ml_dtypes":
            raise ImportError(name)
        return original(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    numpy_type.cache_clear()
    assert plan(small(), 4, dtype="bfloat16", device="cpu").arena_bytes
    with pytest.raises(ConfigError, match=r'need ml_dtypes: pip install "gpunet\[half\]"'):
        Model(small(), 4, "cpu", dtype="bfloat16").step(
            np.zeros((2, *small().input.shape), np.float32), np.array([0, 1])
        )
    numpy_type.cache_clear()


# -- steps ---------------------------------------------------------------------------------------------


def batch(rng, net, size=6):
    return rng.standard_normal((size, *net.input.shape)).astype(np.float32), rng.integers(0, net.classes, size)


def learnt(net, dtype, data, steps=5, **options):
    """What is learnt in some steps, and their losses."""
    images, labels = data
    with Model(net, len(images), "cpu", dtype=dtype, optimizer="adam", learning_rate=0.003, **options) as model:
        losses = [model.step(images, labels) for _ in range(steps)]
        assert model.arena_bytes == model.plan.arena_bytes
        return losses, {name: model.state[name] for name in model.state}


@pytest.mark.parametrize("dtype", HALVES)
def test_poison_changes_no_bit(dtype, rng):
    net = normed()
    data = batch(rng, net)
    plain, poisoned = (learnt(net, dtype, data, debug=debug) for debug in (False, True))
    _assert_same(plain, poisoned)


@pytest.mark.parametrize("dtype", HALVES)
def test_what_is_dropped_and_made_again_changes_no_bit(dtype, rng):
    net = Net("16x16x3", [*[Conv(6), ReLU()] * 5, FC(3)])
    data = batch(rng, net, 8)
    options = dict(dtype=dtype, device="cpu", optimizer="adam", ways=("recompute",), scratch_limit="16KiB")
    free, least = plan(net, 8, **options), plan(net, 8, **options, budget=1, max_cost=10)
    assert least.arena_bytes < free.arena_bytes and least.ways.dropped
    assert least.scratch_limit_bytes == free.scratch_limit_bytes
    _assert_same(learnt(net, dtype, data, plan=free), learnt(net, dtype, data, plan=least, debug=True))


def test_copies_of_weights_may_be_dropped():
    """A net of large products: at some budget a copy is made again, from what is there anyway."""
    net = Net("4x4x8", [FC(512), ReLU(), FC(512), ReLU(), FC(512), ReLU(), FC(10)])
    least = plan(net, 2, dtype="bfloat16", device="cuda", budget="1GiB", reserve=1)
    tight = plan(net, 2, dtype="bfloat16", device="cuda", budget=1, reserve=1, max_cost=10)
    copies = [name for name in tight.ways.dropped if name.endswith(".w.bfloat16")]
    assert copies and tight.arena_bytes < least.arena_bytes


@pytest.mark.parametrize("dtype", HALVES)
def test_everything_made_again_chunks_and_rounds_give_the_same_gradients(dtype, rng):
    net = small()
    images, labels = batch(rng, net, 5)
    program = rewrite(lowered(net, 5, "cpu", dtype=dtype), only=BEFORE)
    names, cut = tuple(saved(program)), cut_points(program)[-2]
    assert f"conv2.w.{dtype}" in names
    found = {}
    for ways in (Ways(LIMIT), Ways(LIMIT, names), Ways(LIMIT, (), cut, 2), Ways(LIMIT, micro_batch=2)):
        with Model(net, 5, "cpu", plan=planned_in(net, 5, "cpu", ways, dtype=dtype), debug=True) as model:
            found[ways] = model.gradients(images, labels)
    plain, again, *rounds = found.values()
    for name, dw in plain.items():
        np.testing.assert_array_equal(again[name], dw, err_msg=name)
        for one in rounds:  # products of fewer images: a value may be rounded to its neighbour
            np.testing.assert_allclose(one[name], dw, rtol=0, atol=5e-3 * np.abs(dw).max(), err_msg=name)


@pytest.mark.parametrize("dtype", HALVES)
def test_the_parts_of_a_batch_are_added_up(dtype, rng):
    net = normed()
    images, labels = batch(rng, net, 12)
    with Model(net, 12, "cpu", dtype=dtype, parts=3, debug=True) as model:
        losses = [model.step(images, labels) for _ in range(4)]
        assert losses[-1] < losses[0]
        assert dtype != "float16" or list(model.state["loss.scaling"]) == [SCALE, 4]


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_find_out_together_whether_a_step_overflowed(ranks):
    """What is added up of all ranks is scaled, and each looks at the same sums."""
    made = plan(normed(), 12, dtype="float16", device="cuda", optimizer="adam", division=Division(ranks, shard=True))
    ops = [op.name for op in made.program.ops]
    settled = ops.index("settle_scaling")
    assert max(at for at, op in enumerate(ops) if op in ("all_reduce", "unscale", "add_square_sum")) < settled
    assert "all_reduce" in ops and settled < ops.index("adam_update")


def test_a_run_in_float16_stopped_after_a_step_ends_in_the_same_bits(tmp_path):
    made = planned("adam", dtype="float16")
    whole = train(tmp_path / "whole", made)
    scale, steps = np.frombuffer(whole["loss.scaling"], np.float32)
    assert scale < SCALE and 0 < steps < 60  # some of its steps overflowed
    for step in (7, 31):
        train(tmp_path / str(step), made, stop=step)
        assert train(tmp_path / str(step), made, go_on=True) == whole


@pytest.mark.parametrize("dtype, tolerance", [("bfloat16", 2e-2), ("float16", 2e-3)])
def test_scores_and_gradients_are_those_of_float64(dtype, tolerance, rng):
    net = normed()
    images, labels = batch(rng, net, 16)
    gradients, scores, start = {}, {}, {}
    for kind in ("float32", "float64", dtype):
        with Model(net, 16, "cpu", dtype=kind) as model, Model(net, 16, "cpu", dtype=kind, mode="infer") as scoring:
            start = start or dict(model.parameters)
            for name, values in start.items():
                model.parameters[name] = scoring.parameters[name] = values
            gradients[kind] = np.concatenate([dw.reshape(-1) for dw in model.gradients(images, labels).values()])
            scores[kind] = scoring.forward(images)
    made, exact = gradients[dtype].astype(np.float64), gradients["float64"]
    assert made @ exact / np.sqrt((made @ made) * (exact @ exact)) > 0.999
    assert scores[dtype].dtype == np.float32
    assert np.abs(scores[dtype] - scores["float64"]).max() < tolerance * np.abs(scores["float64"]).max()


@pytest.mark.slow
def test_losses_stay_beside_pytorchs_autocast(rng):
    net = Net("8x8x2", [Conv(8), ReLU(), MaxPool(2), Conv(12), ReLU(), FC(5)])
    images, labels = batch(rng, net, 16)
    with Model(net, 16, "cpu", dtype="bfloat16", optimizer="sgd", learning_rate=0.05) as model:
        peer = torch_net(net, dict(model.parameters))
        optimizer = torch.optim.SGD(peer.parameters(), lr=0.05)
        for _ in range(8):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = torch_loss(net, peer(as_maps(images)), torch.from_numpy(labels))
            loss.backward()
            optimizer.step()
            assert model.step(images, labels) == pytest.approx(float(loss.detach()), abs=0.03)


# -- files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", HALVES)
def test_a_saved_model_goes_on_in_the_same_bits(dtype, rng, tmp_path):
    net = normed()
    images, labels = batch(rng, net, 8)
    with Model(net, 8, "cpu", dtype=dtype, optimizer="adam") as model:
        for _ in range(3):
            model.step(images, labels)
        model.save(tmp_path / "model.safetensors")
        expected = [model.step(images, labels) for _ in range(3)]
        state = {name: model.state[name] for name in model.state}
    with Model.load(tmp_path / "model.safetensors", device="cpu") as again:
        assert again.plan.dtype == dtype
        assert [again.step(images, labels) for _ in range(3)] == expected
        _assert_same(([], state), ([], {name: again.state[name] for name in again.state}))


@pytest.mark.parametrize("before, after", [("float16", "float32"), ("float32", "float16"), ("bfloat16", "float16")])
def test_a_model_is_loaded_into_another_type(before, after, rng, tmp_path):
    net = normed()
    images, labels = batch(rng, net, 8)
    with Model(net, 8, "cpu", dtype=before, optimizer="adam") as model:
        model.step(images, labels)
        model.save(tmp_path / "model.safetensors")
        kept = {name: model.state[name] for name in model.state if name != "loss.scaling"}
    with Model.load(tmp_path / "model.safetensors", device="cpu", dtype=after) as again:
        assert again.plan.dtype == after
        for name, values in kept.items():
            np.testing.assert_array_equal(again.state[name], values)


def _assert_same(one, other):
    assert one[0] == other[0]
    assert one[1].keys() == other[1].keys()
    for name, values in one[1].items():
        np.testing.assert_array_equal(values, other[1][name], err_msg=name)


@pytest.mark.parametrize("dtype", HALVES)
def test_weights_are_written_in_halves_and_read_again(dtype, rng, tmp_path):
    net = normed()
    with Model(net, 4, "cpu", dtype=dtype) as model:
        model.step(*batch(rng, net, 4))
        model.save(tmp_path / "model.safetensors")
        weights = dict(model.parameters)
    expected = {name: _wide(_in(KINDS[dtype], values)) for name, values in weights.items()}
    for ending in (".safetensors", ".pth"):
        out = tmp_path / f"as_{ending[1:]}{ending}"
        export_weights(tmp_path / "model.safetensors", out, dtype=dtype)
        state = load_file(out) if ending == ".safetensors" else torch.load(out, weights_only=True)
        assert {str(values.dtype) for values in state.values() if values.is_floating_point()} == {f"torch.{dtype}"}
        found = import_weights(out, net=net, out=tmp_path / f"again_{ending[1:]}.safetensors").weights
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values, err_msg=name)
    (file,) = export_weights(tmp_path / "model.safetensors", tmp_path / "net.onnx", to="onnx", dtype=dtype)
    images = rng.standard_normal((2, *net.input.shape)).astype(np.float32)
    (scores,) = InferenceSession(file).run(None, {"images": images.transpose(0, 3, 1, 2)})
    with Model(net, 2, "cpu", mode="infer") as model:
        for name, values in expected.items():
            model.parameters[name] = values
        np.testing.assert_allclose(scores, model.forward(images), rtol=1e-4, atol=1e-5)


def test_weights_above_the_range_of_a_type_are_not_written(tmp_path):
    with Model(normed(), 4, "cpu") as model:
        model.parameters["fc2.b"] = np.array([0, 7e4, 0, 0])
        model.save(tmp_path / "model.safetensors")
    with pytest.raises(DataError, match=r"fc2\.b holds values above the range of float16; write bfloat16 or float32"):
        export_weights(tmp_path / "model.safetensors", tmp_path / "x.pth", dtype="float16")
    with pytest.raises(ConfigError, match="weights are written in float32, float16, bfloat16; got 'half'"):
        export_weights(tmp_path / "model.safetensors", tmp_path / "x.pth", dtype="half")
