"""Convolution against float64 loops, numeric gradients, PyTorch and the notes' worked examples."""

import numpy as np
import pytest
import torch

from gpunet.devices import target
from gpunet.program.chunks import chunk_rows, chunks
from tests import oracle
from tests.geometries import COMMON, Geometry
from tests.ops import run_op

DTYPES = [np.float32, np.float64]
WIDE = Geometry(4, 5, F=3, S=1, P=4)  # outermost windows see padding alone
GEOMETRIES = [*COMMON, WIDE]


class Case:
    """Random arrays for a geometry, N, H, W, D and K all different, and how much scratch a chunk limit leaves."""

    def __init__(self, rng, geometry, dtype=np.float64, N=3, D=4, K=6, rows="batch", plan_N=None):
        H, W, H2, W2, F = geometry.H, geometry.W, geometry.H2, geometry.W2, geometry.F
        self.geometry, self.numbers, self.dtype = geometry, geometry.numbers, np.dtype(dtype)
        self.x = rng.standard_normal((N, H, W, D)).astype(dtype)
        self.w = rng.standard_normal((K, F, F, D)).astype(dtype)
        self.b = rng.standard_normal(K).astype(dtype)
        self.dy = rng.standard_normal((N, H2, W2, K)).astype(dtype)
        most = {"batch": 10**9, "image": H2 * W2, "two rows": 2 * W2, "row": 1}[rows]
        self.columns = (chunk_rows(plan_N or N, H2, W2, most), F * F * D), dtype

    def forward(self, device):
        return self._run(device, "conv_forward", (self.x, self.w, self.b), self.dy.shape)

    def backward_weights(self, device, images=slice(None), onto=None):
        """dw of some images, or its sum with `onto`."""
        inputs = self.x[images], self.dy[images]
        return self._run(device, "conv_backward_weights", inputs, self.w.shape, onto)

    def backward_input(self, device):
        return self._run(device, "conv_backward_input", (self.dy, self.w), self.x.shape)

    def _run(self, device, name, inputs, shape, onto=None):
        (K, L), size = (len(self.w), self.columns[0][1]), self.dtype.itemsize
        nbytes = target(device.name).gemm_workspace_bytes(K, L, size, accumulate=name == "conv_backward_weights")
        workspace = ((-(-nbytes // size),), self.dtype) if nbytes else None
        output, more = ((shape, self.dtype), {}) if onto is None else (onto, {"accumulate": 1})
        (result,) = run_op(device, name, inputs, [output], [self.columns, workspace], **self.numbers, **more)
        return result


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_forward_and_both_gradients_are_those_of_the_loops(device, rng, geometry, dtype):
    case = Case(rng, geometry, dtype, rows=rng.choice(["batch", "image", "two rows", "row"]))
    H2, W2 = geometry.H2, geometry.W2
    dx, dw = oracle.conv_backward(case.x, case.w, case.dy, **case.numbers)
    oracle.assert_near(case.forward(device), oracle.conv_forward(case.x, case.w, case.b, H2, W2, **case.numbers))
    oracle.assert_near(case.backward_weights(device), dw)
    oracle.assert_near(case.backward_input(device), dx)


@pytest.mark.parametrize("rows", ["batch", "image", "two rows", "row"])
@pytest.mark.parametrize(("D", "K"), [(1, 1), (3, 2), (5, 17)])
def test_chunks_of_any_size_and_odd_depths_change_nothing(device, rng, rows, D, K):
    geometry = Geometry(7, 6, F=3, S=1, P=1)
    case = Case(rng, geometry, np.float32, N=5, D=D, K=K, rows=rows)
    dx, dw = oracle.conv_backward(case.x, case.w, case.dy, **case.numbers)
    y = oracle.conv_forward(case.x, case.w, case.b, geometry.H2, geometry.W2, **case.numbers)
    oracle.assert_near(case.forward(device), y)
    oracle.assert_near(case.backward_weights(device), dw)
    oracle.assert_near(case.backward_input(device), dx)


@pytest.mark.parametrize("rows", ["batch", "image", "two rows", "row"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rounds_are_added_up_one_after_the_other(device, rng, rows, dtype):
    case = Case(rng, Geometry(7, 6, F=3, S=1, P=1), dtype, N=5, D=3, K=17, rows=rows)
    first, last = slice(0, 3), slice(3, 5)
    dw = case.backward_weights(device, first)
    whole = case.backward_weights(device, last, onto=dw)
    oracle.assert_near(whole, oracle.conv_backward(case.x, case.w, case.dy, **case.numbers)[1])
    if rows == "batch":  # a round is one chunk
        np.testing.assert_array_equal(whole, dw + case.backward_weights(device, last))


def test_a_smaller_batch_in_the_scratch_of_a_larger_one(device, rng):
    case = Case(rng, Geometry(6, 5, F=3, S=1, P=1), N=2, plan_N=7)
    dx, dw = oracle.conv_backward(case.x, case.w, case.dy, **case.numbers)
    oracle.assert_near(case.forward(device), oracle.conv_forward(case.x, case.w, case.b, 6, 5, **case.numbers))
    oracle.assert_near(case.backward_weights(device), dw)
    oracle.assert_near(case.backward_input(device), dx)


@pytest.mark.parametrize("rows", ["batch", "row"])
@pytest.mark.parametrize(
    ("geometry", "unseen"),
    [
        (Geometry(8, 11, F=2, S=3, P=0), (slice(2, None, 3), slice(2, None, 3))),  # between windows
        (Geometry(8, 10, F=3, S=2, P=0, fit="crop"), (slice(7, None), slice(9, None))),  # behind the last
    ],
    ids=str,
)
def test_what_no_window_sees_gets_a_gradient_of_exactly_zero(device, rng, geometry, unseen, rows):
    dx = Case(rng, geometry, np.float32, rows=rows).backward_input(device)
    assert (dx[:, unseen[0]] == 0).all()
    assert (dx[:, :, unseen[1]] == 0).all()
    assert not np.signbit(dx[:, unseen[0]]).any()
    assert (dx[:, 0, 0] != 0).any()


def test_gradients_are_the_slopes_of_the_forward_pass(device, rng):
    case = Case(rng, Geometry(4, 5, F=3, S=2, P=1, fit="pad"), N=2, D=2, K=3)

    def loss(_):
        return float((case.forward(device) * case.dy).sum())

    oracle.assert_near(case.backward_weights(device), oracle.numeric_gradient(loss, case.w), 1e-7)
    corner = case.x[1:, :2]
    oracle.assert_near(case.backward_input(device)[1:, :2], oracle.numeric_gradient(loss, corner), 1e-7)


@pytest.mark.parametrize("geometry", [g for g in GEOMETRIES if g.fit == "error"], ids=str)
def test_pytorch_agrees(device, rng, geometry):
    case = Case(rng, geometry, np.float32, D=5, K=7, rows="image")
    x, w, b, dy = (
        torch.tensor(a) for a in (case.x.transpose(0, 3, 1, 2), case.w.transpose(0, 3, 1, 2), case.b, case.dy)
    )
    x.requires_grad, w.requires_grad = True, True
    y = torch.nn.functional.conv2d(x, w, b, stride=geometry.S, padding=geometry.P)
    y.backward(dy.permute(0, 3, 1, 2))
    oracle.assert_near(case.forward(device), y.detach().numpy().transpose(0, 2, 3, 1), 1e-4)
    oracle.assert_near(case.backward_weights(device), w.grad.numpy().transpose(0, 2, 3, 1), 1e-4)
    oracle.assert_near(case.backward_input(device), x.grad.numpy().transpose(0, 2, 3, 1), 1e-4)


def test_the_demo_of_the_notes(device, rng):
    """5x5x3, K=2, F=3, S=2, P=1 gives 3x3x2; its top left output sees the padding's zeros."""
    geometry = Geometry(5, 5, F=3, S=2, P=1)
    case = Case(rng, geometry, N=1, D=3, K=2)
    y = case.forward(device)
    padded = np.pad(case.x[0], ((1, 1), (1, 1), (0, 0)))
    assert y.shape == (1, 3, 3, 2)
    for k in range(2):
        assert y[0, 0, 0, k] == pytest.approx((padded[:3, :3] * case.w[k]).sum() + case.b[k])
        assert y[0, 1, 2, k] == pytest.approx((padded[2:5, 4:7] * case.w[k]).sum() + case.b[k])


def test_the_numpy_example_of_the_notes(device, rng):
    """X (11,11,4), F=5, S=2, P=0: V[0,0,0] and V[1,0,0] as the notes write them, their first axis being the width."""
    geometry = Geometry(11, 11, F=5, S=2, P=0)
    case = Case(rng, geometry, N=1, D=4, K=2)
    V = case.forward(device)[0]
    X, W0, b0 = case.x[0], case.w[0], case.b[0]
    assert V.shape == (4, 4, 2)
    assert V[0, 0, 0] == pytest.approx(np.sum(X[:5, :5, :] * W0) + b0)
    assert V[1, 0, 0] == pytest.approx(np.sum(X[2:7, :5, :] * W0) + b0)


def test_nan_reaches_exactly_the_outputs_that_see_it(device, rng):
    case = Case(rng, Geometry(6, 7, F=3, S=1, P=1), np.float32, N=2)
    case.x[1, 0, 3, 2] = np.nan
    y = case.forward(device)
    expected = np.zeros(y.shape, bool)
    expected[1, 0:2, 2:5] = True
    np.testing.assert_array_equal(np.isnan(y), expected)


@pytest.mark.parametrize("rows", ["batch", "row"])
def test_twice_the_same_bits(device, rng, rows):
    case = Case(rng, Geometry(9, 8, F=3, S=1, P=1), np.float32, N=4, D=19, K=23, rows=rows)
    for run in (case.forward, case.backward_weights, case.backward_input):
        np.testing.assert_array_equal(run(device), run(device))


@pytest.mark.parametrize("most", [1, 5, 11, 12, 30, 59, 60, 61, 119, 120, 1000])
def test_chunks_cover_every_output_once_in_order(most):
    N, H2, W2 = 3, 5, 4
    rows = chunk_rows(N, H2, W2, most)
    covered = []
    for image0, image1, row0, row1 in chunks(N, H2, W2, rows):
        assert 0 < (image1 - image0) * (row1 - row0) * W2 <= rows <= max(most, W2)
        covered += [(image, row) for image in range(image0, image1) for row in range(row0, row1)]
    assert covered == [(image, row) for image in range(N) for row in range(H2)]
