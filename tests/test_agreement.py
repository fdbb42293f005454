"""PyTorch as the judge of everything: random layers of every type by themselves, and every shipped net, scaled down."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from bench.peer.layers import TRANSLATORS, as_maps
from bench.peer.net import torch_net
from gpunet import BatchNorm, Dropout, Model, Net
from gpunet.devices.device import Device
from gpunet.layers import layer_types
from gpunet.system.resources import config_names
from tests.conftest import ON_GPU, make_device
from tests.nets import shipped
from tests.random_layers import FIELDS, Case, random_case
from tests.single_layer import check

TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
"""Relative to the largest value."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """PyTorch's own threads cost more than they bring at these sizes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# -- layers by themselves -------------------------------------------------------------------------

CASES = {"cpu": 2000, "cuda": 500}
"""Random cases on a device, of all layer types together; each in float32 and in float64."""

OFTEN = 4
"""Of so many cases one is always tried, the others in `make test-all`."""


def cases(kind: type, device: str) -> list[Case]:
    """Those of a layer type: more where there are more fields to vary, so that those of all types are CASES or more."""
    shares = {known: len(fields(known)) + 1 for known in layer_types()}
    number = -(-CASES[device] * shares[kind] // sum(shares.values()))
    return [random_case(kind, each) for each in range(number)]


def test_every_layer_type_is_drawn_and_has_a_peer():
    assert set(layer_types()) == set(FIELDS) == set(TRANSLATORS)


@pytest.mark.parametrize("device_name", CASES)
def test_there_are_enough_cases_with_every_fit_policy_and_every_value_of_every_switch(device_name):
    drawn = {kind: cases(kind, device_name) for kind in layer_types()}
    assert sum(map(len, drawn.values())) >= CASES[device_name]
    for kind, some in drawn.items():
        for field in fields(kind):
            values = {getattr(case.layer, field.name) for case in some}
            if field.name == "fit":
                assert values == {"error", "pad", "crop"}, kind
            assert len(values) > 1 or kind is Dropout, (kind, field.name)


@pytest.mark.parametrize("kind", layer_types(), ids=lambda kind: kind.type)
def test_random_layers_and_all_their_gradients_agree_with_pytorch(device, kind):
    check_all(cases(kind, device.name)[::OFTEN], device)


@pytest.mark.slow
@pytest.mark.parametrize("kind", layer_types(), ids=lambda kind: kind.type)
def test_the_other_random_layers_agree_with_pytorch_too(device, kind):
    check_all([case for place, case in enumerate(cases(kind, device.name)) if place % OFTEN], device)


def check_all(drawn, device):
    for case in drawn:
        for dtype, tolerance in TOLERANCE.items():
            check(case, device, dtype, tolerance)


# -- whole nets -----------------------------------------------------------------------------------

DEEP = {
    "densenet121",
    "efficientnet_lite0",
    "googlenet",
    "googlenet_bn",
    "inception_v3",
    "inception_v4",
    "msra_resnet50",
    "msra_resnet101",
    "msra_resnet152",
    "preact_resnet110",
    "preact_resnet164",
    "preact_resnet1001",
    "resnet101",
    "resnet152",
    "resnext50",
}
TWINS = {"vgg11_bn", "vgg13_bn", "vgg19_bn", "squeezenet1_0"}
"""Built as another one here is, but for their depth."""
NETS = [pytest.param(name, marks=pytest.mark.slow) if name in DEEP | TWINS else name for name in config_names()]

BATCH = 4
SMALL = 0.05
"""Gradients below this part of the largest of all are what is left of larger ones: they are compared as if as large."""


def comparable(net: Net) -> Net:
    """The net where rounding alone does not tell two of it apart, and without masks, which others draw otherwise.

    Dropout drops nothing. The eps of normalizations is 1: the variance of the four values of a map that has shrunk to
    a point may be next to nothing, and to divide by that is to magnify rounding errors.
    """
    other = {Dropout: Dropout(0.0), BatchNorm: BatchNorm(eps=1.0)}
    nodes = [replace(node, layer=other.get(type(node.layer), node.layer)) for node in net.nodes]
    return Net(net.input, nodes, name=net.name, fit=net.fit, scale=net.scale, shift=net.shift, loss=net.loss)


def settle(model: Model, rng: np.random.Generator) -> None:
    """Move biases off 0, and start normalizations where fewer ReLUs are shut: else gradients grow with depth."""
    for name, values in model.parameters.items():
        noise = rng.standard_normal(values.shape)
        if name.endswith((".scale", ".shift")):
            model.parameters[name] = (0.5 if name.endswith(".scale") else 0.7) * (1 + 0.2 * noise)
        elif not values.any() and not name.endswith(".mean"):
            model.parameters[name] = 0.1 * noise


def batches(net: Net, dtype: str, rng: np.random.Generator, steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for _ in range(steps):
        images = rng.standard_normal((BATCH, *net.input.shape)).astype(dtype)
        yield images, rng.integers(0, net.classes, BATCH)


def check_steps(net: Net, device: Device, dtype: str, steps: int) -> None:
    """Scores, loss and every gradient around steps with momentum, parameters and running statistics after each."""
    rng, tolerance = np.random.default_rng(11), TOLERANCE[dtype]
    with Model(net, BATCH, device, dtype=dtype, seed=3, learning_rate=1e-3) as model:
        settle(model, rng)
        peer = torch_net(net, model.parameters)
        trainer = torch.optim.SGD(peer.parameters(), lr=1e-3, momentum=0.9)
        for images, labels in batches(net, dtype, rng, steps):
            peer.eval()
            expected = peer(as_maps(images)).detach().numpy()
            close({"scores": model.forward(images)}, {"scores": expected}, tolerance)
            peer.train()
            trainer.zero_grad()
            loss = peer.loss(as_maps(images), torch.from_numpy(labels))
            loss.backward()
            gradients = peer.gradients()
            close(model.gradients(images, labels), gradients, tolerance, small=SMALL)
            assert model.step(images, labels) == pytest.approx(loss.item(), rel=tolerance)
            trainer.step()
            close({name: model.parameters[name] for name in peer.values()}, peer.values(), tolerance)


def close(
    found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], tolerance: float, small: float = 0.0
) -> None:
    """Array by array, relative to its largest value, or to a part `small` of the largest of all."""
    assert found.keys() == expected.keys()
    largest = max(float(np.abs(values).max()) for values in expected.values())
    for name, values in expected.items():
        assert found[name].shape == values.shape, name
        apart, most = float(np.abs(found[name] - values).max()), float(np.abs(values).max())
        assert apart <= tolerance * max(most, small * largest), (name, apart, most, largest)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", NETS)
def test_three_steps_of_every_shipped_net_agree_with_pytorch(name, dtype):
    device = make_device("cpu")
    check_steps(comparable(shipped(name)), device, dtype, steps=3)
    device.close()


@pytest.mark.parametrize("device_name", ["emulated", ON_GPU])
@pytest.mark.parametrize("name", NETS)
def test_a_step_of_every_shipped_net_agrees_with_pytorch_on_the_cuda_device(name, device_name):
    device = make_device(device_name)
    check_steps(comparable(shipped(name)), device, "float32", steps=1)
    device.close()
