"""ReLU's backward where the gradient of a convolution's input is stored: bit for bit what the two ops give."""

from dataclasses import replace

import numpy as np
import pytest

import gpunet
from gpunet import Model, Net
from gpunet.devices.cuda import tensor_tiles
from gpunet.devices.cuda.direct import SLOPING
from tests.geometries import Geometry
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op
from tests.test_conv import call_conv_backward_input
from tests.test_conv_pool import call_conv_pool_backward_input
from tests.test_implicit import Case
from tests.test_tensor_products import HalfCase

APART = ("conv-slope",)

# -- ops -------------------------------------------------------------------------------------------


def with_relu(draw: Draw, call: Call, name: str) -> Call:
    """The call of a gradient as one that knows the ReLU's output, with zeros, NaN and what is below 0 by mistake."""
    (shape, _), at = call.outputs[0], len(call.inputs)
    x = draw.values(*shape)
    x[draw.rng.random(shape) < 0.3] = 0
    x.reshape(-1)[:1] = np.nan
    return replace(call, op=name, inputs=(*call.inputs, x), aliases=({0: at},))


def known(draw: Draw, made: object) -> Call:
    """A call by an algorithm whose kernels do so."""
    while True:
        call: Call = made(draw)  # type: ignore[operator]
        if call.attributes.get("algorithm") in SLOPING:
            return call


def call_conv_relu_backward_input(draw: Draw) -> Call:
    return with_relu(draw, known(draw, call_conv_backward_input), "conv_relu_backward_input")


def call_conv_pool_relu_backward_input(draw: Draw) -> Call:
    return with_relu(draw, known(draw, call_conv_pool_backward_input), "conv_pool_relu_backward_input")


CALLS = {
    "conv_backward_input": call_conv_relu_backward_input,
    "conv_pool_backward_input": call_conv_pool_relu_backward_input,
}


@pytest.mark.parametrize("apart", CALLS)
@pytest.mark.parametrize("seed", range(12))
def test_it_gives_the_bits_of_both_ops_also_in_the_place_of_what_relu_gave(device, apart, seed):
    call = CALLS[apart](Draw(np.random.default_rng(seed), (np.float32, np.float64)[seed % 2]))
    *given, x = call.inputs
    plain = Call(apart, tuple(given), call.outputs, call.scratch, call.attributes)
    (dx,) = plain.run(device)
    (expected,) = run_op(device, "relu_backward", [dx, x], [(x.shape, x.dtype)])
    assert call.run(device)[0].tobytes() == expected.tobytes()
    assert call.run(device, in_place=call.aliases[0])[0].tobytes() == expected.tobytes()
    assert call.run(device, behind={len(given): 1})[0].tobytes() == expected.tobytes()  # of x no packs


def test_no_other_algorithm_of_cuda_does_so(cuda_device):
    call = replace(call_conv_relu_backward_input(Draw(np.random.default_rng(0))), scratch=(None, None))
    call = replace(call, attributes={**call.attributes, "algorithm": "im2col"})
    with pytest.raises(TypeError, match="no kernel knows the ReLU below what im2col makes"):
        call.run(cuda_device)


@pytest.mark.parametrize("algorithm", ["tf32", pytest.param("3xtf32", marks=pytest.mark.slow), "halves"])
@pytest.mark.parametrize("D, K", [(20, 36), (3, 5)])
def test_so_it_does_on_tensor_cores_by_every_tile(cuda_device, rng, algorithm, D, K):
    geometry = Geometry(7, 5, F=3, S=1, P=1)
    case = HalfCase(rng, geometry, "bfloat16", D=D, K=K) if algorithm == "halves" else Case(rng, geometry, D=D, K=K)
    x = np.where(rng.random(case.x.shape) < 0.3, np.zeros((), case.x.dtype), case.x)
    like = [(x.shape, x.dtype)]
    for slices in (1, 2):
        scratch = [None, ((slices * x.size,), np.float32)]
        for tile in tensor_tiles.TILES:
            how = {**geometry.conv_numbers, "algorithm": algorithm, "tile": tile, "slices": slices}
            (dx,) = run_op(cuda_device, "conv_backward_input", [case.dy, case.w], like, scratch, **how)
            (expected,) = run_op(cuda_device, "relu_backward", [dx.astype(x.dtype), x], like)
            for places in (None, {0: 2}):
                (found,) = run_op(
                    cuda_device, "conv_relu_backward_input", [case.dy, case.w, x], like, scratch, in_place=places, **how
                )
                np.testing.assert_array_equal(found.astype(float), expected.astype(float), err_msg=str(tile))


# -- programs --------------------------------------------------------------------------------------

NETS = {
    "plain": "INPUT[9x8x3] -> CONV3-8 -> RELU -> CONV3-8 -> RELU -> POOL2(fit=crop) -> CONV3-12 -> RELU -> CONV1-8 "
    "-> RELU -> CONV3-8(S=2,P=1,fit=crop) -> RELU -> FC-5",
    "branches": "INPUT[8x8x3] -> CONV3-8 -> RELU -> { CONV1-8 -> RELU -> CONV3-8 -> RELU | CONV3-4 } -> CONV3-8 "
    "-> RELU -> { ID + CONV3-8 -> RELU -> CONV3-8 } -> RELU -> FC-4",
}


def trained(net: Net, device, **options) -> list[object]:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (4, *net.input.shape), np.uint8), rng.integers(0, 3, 4)
    with Model(net, 4, device, seed=1, debug=True, **options) as model:
        assert model.arena_bytes == model.plan.arena_bytes
        losses = [model.step(images[:n], labels[:n]) for n in (4, 3)]
        return [losses, {name: value.tobytes() for name, value in model.parameters.items()}]


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("how", [{}, {"math": "tf32"}, {"dtype": "bfloat16"}], ids=["exact", "tf32", "bfloat16"])
def test_training_gives_the_same_bits(cuda_device, name, how):
    net = gpunet.load(NETS[name])
    made = [op.name for op in gpunet.plan(net, 4, device=cuda_device.name, **how).program.ops]
    fused = made.count("conv_relu_backward_input") + made.count("conv_pool_relu_backward_input")
    assert fused >= 1 or how == {"math": "tf32"}  # whose scratch is at the peak of so small a net, so that masks pay
    assert trained(net, cuda_device, **how) == trained(net, cuda_device, without=APART, **how)


def test_of_vgg_nets_most_are_fused_and_it_takes_no_more():
    for name, wanted in (("vgg16", 8), ("vgg_cifar", 3)):
        net = gpunet.load(name)
        plan, apart = (gpunet.plan(net, 64, device="cuda", max_cost=0, without=names) for names in ((), APART))
        ops = [op.name for op in plan.program.ops]
        assert sum(op.endswith("relu_backward_input") for op in ops) == wanted
        assert plan.arena_bytes <= apart.arena_bytes


def test_what_is_made_again_is_not_kept_for_it():
    """Where the output of a ReLU is dropped, its bit or what is made again stays what backward reads."""
    net = gpunet.load("vgg_cifar")
    for share in (0.8, 0.6):
        budget = int(share * gpunet.plan(net, 256, device="cuda", max_cost=0, without=APART).arena_bytes)
        how = {"budget": budget, "reserve": 1, "device": "cuda", "max_cost_flops": 0.1}
        plan, apart = (gpunet.plan(net, 256, without=names, **how) for names in ((), APART))
        assert plan.fits and plan.extra_flops_fraction <= apart.extra_flops_fraction


MUTANTS = [
    *mutants_of(
        "tile.cuh",
        "backward_input",
        ("what is 0 passes", "pack.value[lane] <= Stored(0) ?", "pack.value[lane] < Stored(0) ?"),
        ("one by one, what is 0 passes", "below[lane] <= Stored(0) ?", "below[lane] < Stored(0) ?"),
    ),
    *mutants_of(
        "winograd_convolve.cuh",
        "convolve",
        ("the ReLU below is forgotten", "(below && below[place] <= real(0))", "false"),
        ("what is 0 passes", "below[place] <= real(0))", "below[place] < real(0))"),
    ),
    *mutants_of(
        "slices.cu",
        "add_slices",
        ("of slices the ReLU below is forgotten", "if (below && (real)below[item] <= real(0)) sum = 0;", ""),
    ),
]
"""Changes of the kernels that the tests above must notice."""
