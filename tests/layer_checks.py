"""What every layer must do in a net, on any device: slopes, savings, rounds, smaller batches; and in both notations."""

from pathlib import Path

import numpy as np
import pytest

from gpunet import Model, Net, PlanError
from gpunet.compile.chunk import chunk_cuts, cut_points, mixing
from gpunet.compile.recompute import saved
from gpunet.compile.rewrite import REWRITES, rewrite
from gpunet.compile.ways import BEFORE, Ways
from gpunet.devices.device import Device
from gpunet.net.config import dump, load, load_config
from gpunet.optimize.learning import Learning
from tests.test_ways import LIMIT, lowered, planned

N = 5


def batch_for(net: Net, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels, N of each."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((N, *net.input.shape)), rng.integers(0, net.classes, N)


def trained(net: Net, device: Device, **options) -> list[dict[str, bytes]]:
    """Gradients and parameters, as bytes, around two steps of different sizes, in float32."""
    images, labels = batch_for(net)
    with Model(net, N, device, seed=3, debug=True, **options) as model:
        found = []
        for n in (N, 3):
            found.append(model.gradients(images[:n], labels[:n]))
            model.step(images[:n], labels[:n])
        found.append(dict(model.parameters.items()))
    return [{name: value.tobytes() for name, value in one.items()} for one in found]


def check_slopes(net: Net, device: Device, tolerance: float = 1e-6) -> None:
    """Every gradient of a weight is the slope of the loss that the same step sees, in float64."""
    images, labels = batch_for(net)
    rng = np.random.default_rng(5)
    with Model(net, N, device, seed=3, dtype="float64", debug=True) as model:
        for name, gradient in model.gradients(images, labels).items():
            for at in {tuple(rng.integers(0, gradient.shape)) for _ in range(4)}:
                slope = _slope(model, name, at, images, labels)
                assert abs(slope - gradient[at]) <= tolerance * max(1e-2, np.abs(gradient).max()), (name, at)


def _slope(model: Model, name: str, at: tuple[int, ...], images, labels, step: float = 1e-5) -> float:
    """A central difference of the loss of a step."""
    kept, losses = model.parameters[name], []
    for sign in (1, -1):
        moved = kept.copy()
        moved[at] += sign * step
        model.parameters[name] = moved
        model.gradients(images, labels)
        losses.append(model._read_loss())
    model.parameters[name] = kept
    return (losses[0] - losses[1]) / (2 * step)


def check_savings(net: Net, device: Device, optimizer: str | Learning = "momentum") -> None:
    """Rewrites and recomputation change no bit; chunks and micro-batches agree to rounding.

    `optimizer`  or how parameters learn in all
    Where a layer needs all images together, micro-batches are refused, and so are chunks behind it.
    """
    how = {"optimizer": optimizer}
    plain = trained(net, device, scratch_limit=LIMIT, **how)
    assert trained(net, device, scratch_limit=LIMIT, without=tuple(REWRITES), **how) == plain
    names = tuple(saved(rewrite(lowered(net, N, device.name, **how), only=BEFORE)))
    again, once = (
        trained(net, device, plan=planned(net, N, device.name, Ways(LIMIT, drop), **how)) for drop in (names, ())
    )
    assert again == once
    images, labels = batch_for(net)
    whole: dict[str, np.ndarray] = {}
    program = rewrite(lowered(net, N, device.name, **how), only=BEFORE)
    points, cuts = cut_points(program), chunk_cuts(program)
    rounds = [Ways(LIMIT, micro_batch=2)]
    if mixed := mixing(program):
        assert len(cuts) < len(points)
        for ways in [*rounds, *(Ways(LIMIT, (), cut, 2) for cut in points if cut not in cuts)]:
            with pytest.raises(PlanError, match=f"{mixed.layer} needs all images of the batch together"):
                planned(net, N, device.name, ways, **how)
        rounds = []
    for ways in [Ways(LIMIT), Ways(LIMIT, names), *rounds, *(Ways(LIMIT, names, cut, 2) for cut in cuts)]:
        plan = planned(net, N, device.name, ways, dtype="float64", **how)
        with Model(net, N, device, seed=3, dtype="float64", plan=plan, debug=True) as model:
            found = model.gradients(images, labels)
        whole = whole or found
        largest = max(np.abs(value).max() for value in whole.values())  # what is 0 but for rounding has no size
        for name, value in whole.items():
            assert np.abs(found[name] - value).max() <= 1e-12 * max(np.abs(value).max(), 1e-3 * largest), (ways, name)


def check_net(net: Net, device: Device) -> None:
    """All of these."""
    check_slopes(net, device)
    check_savings(net, device)


def check_only_given_images(
    device: Device, op: str, inputs: list[np.ndarray], like: np.ndarray, **numbers: int
) -> None:
    """On the first images of arrays that go on behind them, the op writes those of its output and nothing else."""
    given = [*inputs, np.full_like(like, 7)]
    arenas = [device.allocate(values.nbytes) for values in given]
    arrays = [arena.view(0, values.shape, values.dtype.name) for arena, values in zip(arenas, given, strict=True)]
    for array, values in zip(arrays, given, strict=True):
        device.write(array, values)
    parts = [
        arena.view(0, (len(values) - 1, *values.shape[1:]), values.dtype.name)
        for arena, values in zip(arenas, given, strict=True)
    ]
    device.ops[op](*parts, **numbers)
    found = device.read(arrays[-1])
    assert (found[-1] == 7).all()
    assert (found[:-1] != 7).all()


def check_words(pattern: str, net: Net, folder: Path) -> None:
    """The arrow notation says this net, and so does the config that is written of it."""
    config = load_config(pattern)
    assert config.net == net
    file = folder / "net.toml"
    file.write_text(dump(config), encoding="utf-8")
    assert load(file) == net
