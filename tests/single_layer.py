"""One layer by itself, forward and backward, on a device and in PyTorch: its ops as emitted, without plan or net."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from bench.peer.layers import as_maps, translate
from gpunet.devices import target
from gpunet.devices.device import Array, Device
from gpunet.program.builder import COUNTERS, NUMBERS, Builder, Emitter
from gpunet.program.program import Now, Op, RunTime
from gpunet.program.tensor import Kind, Tensor
from tests.random_layers import Case

Arrays = dict[str, np.ndarray]

SCRATCH_LIMIT = 600
"""Bytes of an im2col matrix: so few that most convolutions need several."""


def random_arrays(case: Case, dtype: str) -> Arrays:
    """Its inputs x1, x2, ..., its parameters by name, and the gradient dy of its output."""
    rng = np.random.default_rng([*case.seed, 1])
    found = {f"x{number}": (case.N, *volume.shape) for number, volume in enumerate(case.inputs, 1)}
    found |= {weights.name: weights.shape for weights in case.layer.weights(*case.inputs)}
    found["dy"] = (case.N, *case.layer.output(*case.inputs).shape)
    arrays = {name: rng.standard_normal(shape).astype(dtype) for name, shape in found.items()}
    for weights in case.layer.weights(*case.inputs):
        if weights.start == 1.0 and not weights.learnt:  # a variance; or the scale of what has none
            arrays[weights.name] = np.ones(weights.shape, dtype)
        elif not weights.learnt:
            arrays[weights.name] = np.zeros(weights.shape, dtype)
    return arrays


def by_pytorch(case: Case, given: Arrays) -> Arrays:
    """y, the gradients dx1, dx2, ... and d + name of what is learnt, and by name what else has changed."""
    part = translate(case.layer, *case.inputs)
    part.module.to(torch.float64 if given["dy"].dtype == np.float64 else torch.float32)
    for name, slot in part.slots.items():
        slot.put(given[name])
    xs = [as_maps(given[f"x{number}"]) for number in range(1, len(case.inputs) + 1)]
    y = part.module(*(x.requires_grad_() for x in xs))
    y = y if y.ndim == 4 else y[:, :, None, None]
    y.backward(as_maps(given["dy"]))
    found = {"y": _nhwc(y)} | {f"dx{number}": _nhwc(x.grad) for number, x in enumerate(xs, 1)}
    for name, slot in part.slots.items():
        learnt = slot.tensor.requires_grad
        found[f"d{name}" if learnt else name] = slot.taken(slot.tensor.grad if learnt else slot.tensor)
    return found


def _nhwc(x: torch.Tensor) -> np.ndarray:
    return x.detach().permute(0, 2, 3, 1).numpy()


def by_gpunet(case: Case, given: Arrays, device: Device) -> Arrays:
    """The same on a device, in memory that is NaN at first."""
    dtype = given["dy"].dtype.name
    builder = Builder(case.N, dtype, "train", target(device.name), SCRATCH_LIMIT)
    given = {**given, "loss": np.ones(1, dtype)}
    tensors = {name: Tensor(name, Kind.DATA, values.shape, dtype, "given") for name, values in given.items()}
    weights = case.layer.weights(*case.inputs)
    parameters = {w.name: tensors[w.name] for w in weights}
    gradients = {w.name: Tensor(f"d{w.name}", Kind.DATA, w.shape, dtype, "wanted") for w in weights if w.learnt}
    xs = [tensors[f"x{number}"] for number in range(1, len(case.inputs) + 1)]
    emit = Emitter(builder, case.layer.type, parameters, gradients, inputs=len(xs), returns=True)
    wanted = {"y": case.layer.forward(emit, *xs)}
    builder.phase = "backward"
    dxs = case.layer.backward(emit, tensors["dy"], needs_dx=True)
    builder.phase = "update"
    builder.loss = tensors["loss"]
    case.layer.update(emit)
    wanted |= {f"dx{number}": dx for number, dx in enumerate(dxs, 1)}
    wanted |= {f"d{name}" if name in gradients else name: gradients.get(name, w) for name, w in parameters.items()}
    changing = {NUMBERS: np.array([number.value(Now(0.1, 1, 0)) for number in builder.changing])}
    zeros = {COUNTERS: np.zeros(builder.most_counters, np.int32)}
    return _run(builder.finished(), wanted, given | changing | zeros, device)


def _run(ops: Sequence[Op], wanted: Mapping[str, Tensor], given: Arrays, device: Device) -> Arrays:
    """What the ops leave in the tensors that are wanted, all in one arena."""
    tensors = {tensor.name: tensor for tensor in wanted.values()}
    tensors |= {tensor.name: tensor for op in ops for tensor in op.arguments if tensor is not None}
    offsets, end = {}, 0
    for name, tensor in tensors.items():
        offsets[name] = end
        end += -(-tensor.nbytes // 256) * 256
    arena = device.allocate(end)
    arena.fill(0, end, 0xFF)
    arrays: dict[str, Array] = {
        name: arena.view(offsets[name], tensor.shape, tensor.dtype) for name, tensor in tensors.items()
    }
    for name, values in given.items():
        if name in arrays:
            device.write(arrays[name], values)
    now = {"images": given["dy"].shape[0], "training": 1, "seed": 1, "first_image": 0, "accumulate": 0}
    for op in ops:
        numbers: dict[str, Any] = {
            name: now[value.name] if isinstance(value, RunTime) else value for name, value in op.attributes.items()
        }
        arguments = [None if tensor is None else arrays[tensor.name] for tensor in op.arguments]
        device.ops[op.name](*arguments, **numbers)
    found = {name: device.read(arrays[tensor.name]).copy() for name, tensor in wanted.items()}
    arena.free()
    return found


def check(case: Case, device: Device, dtype: str, tolerance: float) -> None:
    """Every value agrees to `tolerance` times the largest of its array, or times 0.01 where larger ones cancel out."""
    given = random_arrays(case, dtype)
    found, expected = by_gpunet(case, given, device), by_pytorch(case, given)
    constant = found.keys() - expected.keys()
    assert all(np.array_equal(found[name], given[name]) for name in constant), (case, constant)
    assert expected.keys() <= found.keys(), case
    for name, values in expected.items():
        assert found[name].shape == values.shape, (case, dtype, name)
        allowed = tolerance * max(float(np.abs(values).max()), 0.01)
        apart = float(np.abs(found[name] - values).max())
        assert apart <= allowed, f"{name}: {apart:.3g} apart, {allowed:.3g} allowed; {case}, {dtype}, on {device.name}"
