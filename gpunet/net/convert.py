"""FC layers as CONV layers whose filters slide, and back; gpunet.net.weights lays out the weights.

Source: CS231n "Converting FC layers to CONV layers".
"""

from gpunet.layers.conv import Conv
from gpunet.layers.fc import FC
from gpunet.layers.layer import Layer
from gpunet.program.volume import Volume, pair, sides


def as_conv(layer: Layer, *inputs: Volume) -> Layer:
    """An FC as the CONV whose filters are as large as what it takes; any other layer as it is."""
    if not isinstance(layer, FC):
        return layer
    return Conv(layer.K, F=(inputs[0].H, inputs[0].W), P=0, bias=layer.bias)


def as_fc(layer: Layer, *inputs: Volume) -> Layer:
    """A CONV that sees its whole volume, from one position, as an FC; any other layer as it is."""
    if not isinstance(layer, Conv) or layer.groups > 1 or any(sides(layer.padding)):
        return layer
    volume = inputs[0]
    dense = all(F == 1 or apart == 1 for F, apart in zip(pair(layer.F), pair(layer.dilation), strict=True))
    return FC(layer.K, layer.bias) if dense and pair(layer.F) == (volume.H, volume.W) else layer
