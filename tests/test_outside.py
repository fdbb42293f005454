"""Layers and losses from outside the package: like those of the package, and refused where they cannot run."""

from collections.abc import Iterator

import numpy as np
import pytest

import gpunet
from gpunet import FC, ConfigError, Conv, MaxPool, Model, Net
from gpunet.devices import open_device
from gpunet.devices.cuda.source import compose
from gpunet.devices.outside import outside_ops, outside_source, remove_op
from gpunet.train.judge import judge
from tests import outside_ops as outside
from tests.conftest import make_device
from tests.layer_checks import batch_for, check_net, check_slopes
from tests.outside_ops import KERNELS, Scale, Softplus, Squares
from tests.runs import images
from tests.test_compile import compile_kernels

NET = Net("5x4x2", [Conv(4), Softplus(0.7), Scale(), MaxPool(2, S=1), FC(3)], loss=Squares())


@pytest.fixture(autouse=True)
def added() -> Iterator[None]:
    """The ops are known in here alone."""
    outside.add_all()
    yield
    outside.remove_all()


def test_they_learn_as_others_do_and_every_saving_is_open_to_them(device):
    check_slopes(NET, device)
    if device.name == "cpu":
        check_net(NET, device)


def test_the_kernels_do_what_the_functions_do(cuda_device):
    images, labels = batch_for(NET)
    found = []
    for device in ("cpu", cuda_device):
        with Model(NET, 5, device, seed=3, dtype="float64") as model:
            losses = [model.step(images[:n], labels[:n]) for n in (5, 3)]
            found.append((losses, model.correct, model.forward(images)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-12) and found[0][1] == found[1][1]
    assert found[0][2] == pytest.approx(found[1][2], rel=1e-12)


def test_the_kernels_compile_for_a_gpu():
    (file,) = {op.__self__.file for op in outside_ops("cuda").values()}
    assert outside_source(file) == KERNELS
    code, log = compile_kernels(compose(file), 13, "sm_80", "float32")
    assert code.startswith(b"\x7fELF") and "warning" not in log
    with pytest.raises(pytest.fail.Exception, match=rf"{file}\.cu\(\d+\): error"):
        compile_kernels(compose(file) + "\nnot_a_type mistake;\n", 13, "sm_80", "float32")


def test_values_are_those_of_the_definition(rng):
    x = rng.standard_normal((3, 5, 4, 2))
    net = Net("5x4x2", [Softplus(2.0), Scale()])
    with Model(net, 3, "cpu", dtype="float64", mode="infer") as model:
        model.parameters["louder1.w"] = [3, -1]
        expected = np.log1p(np.exp(2 * x)) / 2 * [3, -1]
        assert model.forward(x) == pytest.approx(expected.reshape(3, -1), rel=1e-12)


def test_plans_tables_and_descriptions_know_them():
    plan = gpunet.plan(NET, 5, device="cuda")
    assert "mish1" in str(plan) and "louder1" in str(plan) and "squares" in plan.to_json()
    assert "louder1" in str(gpunet.describe(NET)) and repr(NET).startswith("<Net net: 5x4x2 -> 1x1x3")
    assert gpunet.fit(NET, "600MiB").batch > 5 and gpunet.gradcheck(NET).passed


def test_they_are_fitted_judged_saved_and_loaded(tmp_path):
    data = images()
    net = Net("4x4x1", [FC(5), Softplus(), Scale(), FC(3)], loss=Squares())
    with Model(net, 4, "cpu", learning_rate=0.05) as model:
        model.fit(data, epochs=2)
        judged = judge(model, data.test)
        loss, correct = model.evaluate(data.test)
        assert judged.loss == pytest.approx(loss, rel=1e-5) and judged.correct == correct
        model.save(tmp_path / "model.safetensors")
        loaded = Model.load(tmp_path / "model.safetensors", device="cpu", net=net)
        assert np.array_equal(loaded.predict(data.train), model.predict(data.train)) and loaded.steps == model.steps
    with pytest.raises(gpunet.DataError, match="does not say of which net it is"):
        Model.load(tmp_path / "model.safetensors", device="cpu")


def test_without_kernels_planning_for_cuda_is_refused_and_for_the_cpu_it_is_not():
    outside.add_all(cuda=False)
    assert gpunet.plan(NET, 5, device="cpu").fits
    words = r"mish1 of net cannot run on cuda: the op my_softplus_forward is there for the CPU alone; add_op\("
    for ask, *given in ((gpunet.plan, 5), (gpunet.fit, "6GiB"), (Model, 5, make_device("emulated"))):
        with pytest.raises(ConfigError, match=words):
            ask(NET, *given)
    with pytest.raises(ConfigError, match=words):
        gpunet.plan(NET, 5, mode="infer")
    loss = Net("5x4x2", [FC(3)], loss=Squares())
    with pytest.raises(ConfigError, match="loss of net cannot run on cuda: the op my_squares_forward"):
        gpunet.plan(loss, 5)
    assert gpunet.plan(loss, 5, mode="infer").fits  # which has no loss


def test_an_op_that_nobody_added_is_named_at_planning():
    remove_op("my_softplus_backward")
    with pytest.raises(ConfigError, match=r"mish1 of net cannot run on cpu: there is no op my_softplus_backward"):
        gpunet.plan(NET, 5, device="cpu")
    with pytest.raises(ConfigError, match=r"there is no op my_softplus_backward; gpunet\.add_op\("):
        gpunet.gradcheck(NET)


def test_an_op_may_be_replaced_and_what_is_bound_goes_on():
    images, _ = batch_for(NET)
    with Model(NET, 5, "cpu", seed=1) as model:
        before = model.forward(images)

        def my_scale(x: np.ndarray, w: np.ndarray, y: np.ndarray, *, D: int) -> None:
            y[...] = 0

        gpunet.add_op(my_scale)
        assert np.array_equal(model.forward(images), before)
    with Model(NET, 5, "cpu", seed=1) as model:
        assert not model.forward(images).any()
    with pytest.raises(ConfigError, match="louder1 of net cannot run on cuda"):
        gpunet.plan(NET, 5)


def test_the_ops_of_the_package_stay_as_they_are():
    assert outside_ops("cpu").keys() == outside_ops("cuda").keys() == {one.__name__ for one in outside.OPS}
    outside.remove_all()
    assert not outside_ops("cpu") and "my_scale" not in open_device("cpu").ops


def starred(*arrays: np.ndarray) -> None: ...


def unmarked(x: np.ndarray, y: np.ndarray, *, alpha) -> None: ...


def relu_forward(x: np.ndarray, y: np.ndarray) -> None: ...


def fine(x: np.ndarray, y: np.ndarray) -> None: ...


@pytest.mark.parametrize(
    ("function", "cuda", "words"),
    [
        (starred, None, r"starred: an op names its arrays, then \* and its numbers; got \*arrays"),
        (unmarked, None, "unmarked: say whether alpha is a float or an int: alpha: float"),
        (
            relu_forward,
            None,
            "gpunet has an op called relu_forward itself; .* like my_relu_forward",
        ),
        (lambda x, y: None, None, "an op is a function with a name of its own"),
        (fine, "__global__ void fine(const real* x) {}", "there is no kernel fine in the source text; declare it like"),
        (fine, '// extern "C" __global__ void __launch_bounds__(BLOCK) fine(', "there is no kernel fine"),
    ],
)
def test_what_cannot_be_an_op_is_refused(function, cuda, words):
    with pytest.raises(ConfigError, match=words):
        gpunet.add_op(function, cuda=cuda)
    assert getattr(function, "__name__", "") not in outside_ops("cpu")
