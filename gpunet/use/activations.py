"""What every layer of a net makes of one image."""

from collections.abc import Mapping

import numpy as np

from gpunet.devices.device import Device
from gpunet.errors import DataError, ShapeError
from gpunet.model.making import choose_device
from gpunet.model.model import Model
from gpunet.model.outputs import EACH_LAYER
from gpunet.model.parameters import finite
from gpunet.net.graph import INPUT
from gpunet.net.net import Net
from gpunet.planning.planner import plan
from gpunet.program.program import AnyDevice


def activations(
    net: Net, weights: Mapping[str, np.ndarray], image: np.ndarray, device: AnyDevice | Device = "auto"
) -> dict[str, np.ndarray]:
    """The volume (H, W, D) that each layer gives for an image (H, W, D), in the net's order, after "input".

    `weights`  parameters by name; those of auxiliary heads are not needed

    The image enters as `Model.forward` takes it. Layers that hand on what they get in inference, such as dropout, are
    not among them. Raises ShapeError for an image of another size or weights of another net, DataError where a layer
    makes what is infinite or NaN, DeviceError where the device cannot be opened.
    """
    name = device.name if isinstance(device, Device) else choose_device(device)
    made = plan(net, 1, mode="infer", device=name, without=EACH_LAYER)
    with Model(net, 1, device if isinstance(device, Device) else name, plan=made) as model:
        for parameter in model.parameters:
            if parameter not in weights:
                raise ShapeError(f"there is no {parameter} among the weights: they are of another net than {net.name}")
            model.parameters[parameter] = weights[parameter]
        volumes = {}
        for layer, values in model.outputs(np.asarray(image)[np.newaxis]):
            if not finite(values):
                raise DataError(f"{layer} of {net.name} makes what is infinite or NaN: its weights are of no use")
            volumes[layer] = values[0]
    return {INPUT: image} | {node.name: volumes[node.name] for node in net.nodes if node.name in volumes}
