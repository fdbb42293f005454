"""Fully connected layers against float64 loops, numeric gradients, PyTorch and the equal convolution."""

import numpy as np
import pytest
import torch

from gpunet import FC, Conv, Net, ReLU
from gpunet.devices import open_device, target
from gpunet.devices.cpu import fc
from tests import oracle
from tests.geometries import conv_numbers
from tests.layer_checks import check_net, check_words
from tests.op_calls import Call, Draw
from tests.ops import run_op

DTYPES = [np.float32, np.float64]
SHAPES = [(3, 2, 5, 4, 7), (1, 1, 1, 9, 1), (5, 4, 3, 2, 37), (4, 1, 1, 70, 3)]
"""N, H, W, D, K."""


class Case:
    def __init__(self, rng, shape, dtype=np.float64):
        *volume, K = shape
        self.dtype = np.dtype(dtype)
        self.x = rng.standard_normal(volume).astype(dtype)
        self.w = rng.standard_normal((K, self.x[0].size)).astype(dtype)
        self.b = rng.standard_normal(K).astype(dtype)
        self.dy = rng.standard_normal((volume[0], 1, 1, K)).astype(dtype)

    def forward(self, device):
        return self._run(device, "fc_forward", (self.x, self.w, self.b), self.dy.shape)

    def backward_weights(self, device, images=slice(None), onto=None):
        """dw of some images, or its sum with `onto`."""
        inputs = self.x[images], self.dy[images]
        return self._run(device, "fc_backward_weights", inputs, self.w.shape, onto)

    def backward_input(self, device):
        return self._run(device, "fc_backward_input", (self.dy, self.w), self.x.shape)

    def _run(self, device, name, inputs, shape, onto=None):
        adds = onto is not None
        nbytes = target(device.name).gemm_workspace_bytes(*self.w.shape, self.dtype.itemsize, accumulate=adds)
        workspace = ((nbytes // self.dtype.itemsize,), self.dtype) if nbytes else None
        output, more = (onto, {"accumulate": 1}) if adds else ((shape, self.dtype), {})
        (result,) = run_op(device, name, inputs, [output], [workspace], **more)
        return result


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_forward_and_both_gradients_are_those_of_the_loops(device, rng, shape, dtype):
    case = Case(rng, shape, dtype)
    dx, dw = oracle.fc_backward(case.x, case.w, case.dy)
    oracle.assert_near(case.forward(device), oracle.fc_forward(case.x, case.w, case.b))
    oracle.assert_near(case.backward_weights(device), dw)
    oracle.assert_near(case.backward_input(device), dx)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_few_images_and_many_weights_are_multiplied_some_filters_at_a_time(monkeypatch, rng, shape, dtype):
    monkeypatch.setattr(fc, "MANY_WEIGHTS", 0)
    monkeypatch.setattr(fc, "CACHED", 300)
    case = Case(rng, shape, dtype)
    found = case.forward(open_device("cpu"))
    oracle.assert_near(found, oracle.fc_forward(case.x, case.w, case.b))
    monkeypatch.setattr(fc, "FEW_IMAGES", 0)
    oracle.assert_near(found, case.forward(open_device("cpu")))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounds_are_added_up_one_after_the_other(device, rng, dtype):
    case = Case(rng, (5, 4, 3, 2, 37), dtype)
    first, last = slice(0, 3), slice(3, 5)
    whole = case.backward_weights(device, last, onto=case.backward_weights(device, first))
    np.testing.assert_array_equal(whole, case.backward_weights(device, first) + case.backward_weights(device, last))
    oracle.assert_near(whole, oracle.fc_backward(case.x, case.w, case.dy)[1])


def test_gradients_are_the_slopes_of_the_forward_pass(device, rng):
    case = Case(rng, (2, 2, 1, 3, 4))

    def loss(_):
        return float((case.forward(device) * case.dy).sum())

    oracle.assert_near(case.backward_weights(device), oracle.numeric_gradient(loss, case.w), 1e-7)
    oracle.assert_near(case.backward_input(device), oracle.numeric_gradient(loss, case.x), 1e-7)


def test_pytorch_agrees(device, rng):
    case = Case(rng, (6, 3, 2, 5, 11), np.float32)
    x = torch.tensor(case.x.reshape(6, -1), requires_grad=True)
    w = torch.tensor(case.w, requires_grad=True)
    y = torch.nn.functional.linear(x, w, torch.tensor(case.b))
    y.backward(torch.tensor(case.dy.reshape(6, -1)))
    oracle.assert_near(case.forward(device), y.detach().numpy().reshape(case.dy.shape), 1e-4)
    oracle.assert_near(case.backward_weights(device), w.grad.numpy(), 1e-4)
    oracle.assert_near(case.backward_input(device), x.grad.numpy().reshape(case.x.shape), 1e-4)


def test_without_a_bias_none_is_added(device, rng):
    case = Case(rng, (3, 2, 5, 4, 7))
    case.b = None
    oracle.assert_near(case.forward(device), oracle.fc_forward(case.x, case.w, np.zeros(7)))


def test_nets_without_biases_learn_and_become_convolutions_and_back(device, tmp_path):
    net = Net("5x4x2", [Conv(3), ReLU(), FC(5, bias=False), ReLU(), FC(3)])
    assert net.parameters == 9 * 2 * 3 + 3 + 60 * 5 + 5 * 3 + 3
    assert net.convolutional().nodes[2].layer == Conv(5, F=(5, 4), P=0, bias=False, fit="error")
    assert net.convolutional().fully_connected() == net
    check_net(net, device)
    check_words("INPUT[5x4x2] -> CONV3-3 -> RELU -> FC-5(bias=false) -> RELU -> FC-3", net, tmp_path)


def test_it_is_the_convolution_whose_window_is_the_whole_volume(device, rng):
    N, F, D, K = 3, 4, 5, 6
    case = Case(rng, (N, F, F, D, K))
    filters = case.w.reshape(K, F, F, D)
    (y,) = run_op(
        device,
        "conv_forward",
        [case.x, filters, case.b],
        [((N, 1, 1, K), case.dtype)],
        [((N, F * F * D), case.dtype), ((64,), case.dtype)],
        **conv_numbers(S=1, P=0),
    )
    oracle.assert_near(case.forward(device), y)


# Random calls of each op, for the tests that go through all ops.


def _fc(draw: Draw) -> tuple[np.ndarray, ...]:
    N, H, W, D = draw.volume()
    K = draw.depth()
    draw.scratch = (((max(64, K * H * W * D),), draw.dtype),)
    return draw.values(N, H, W, D), draw.values(K, H * W * D), draw.values(K), draw.values(N, 1, 1, K)


def call_fc_forward(draw: Draw) -> Call:
    x, w, b, y = _fc(draw)
    bias = b if draw.rng.random() < 0.7 else None
    return Call("fc_forward", (x, w, bias), ((y.shape, draw.dtype),), draw.scratch)


def call_fc_backward_weights(draw: Draw) -> Call:
    x, w, _, dy = _fc(draw)
    dw, accumulate = draw.sum(w.shape)
    return Call("fc_backward_weights", (x, dy), (dw,), draw.scratch, accumulate)


def call_fc_backward_input(draw: Draw) -> Call:
    x, w, _, dy = _fc(draw)
    return Call("fc_backward_input", (dy, w), ((x.shape, draw.dtype),), draw.scratch)
