"""A convolution as the matrix of a fully connected layer: "for any CONV layer there is an FC layer that implements the
same forward function". For teaching and for tests; nothing is trained this way.

Source: CS231n "Converting FC layers to CONV layers".
"""

from typing import TYPE_CHECKING

import numpy as np

from gpunet.errors import ConfigError, ShapeError
from gpunet.layers.conv import Conv
from gpunet.program.field import Window
from gpunet.program.volume import Volume
from gpunet.values.given import told

if TYPE_CHECKING:
    from scipy.sparse import csr_array

INSTALL = 'pip install "gpunet[teaching]"'


def conv_matrix(
    layer: Conv, volume: Volume, w: np.ndarray | None = None, b: np.ndarray | None = None
) -> "tuple[csr_array, np.ndarray]":
    """(matrix, bias) of the FC layer that does what a CONV does on `volume`: y = matrix @ x + bias.

    `w`     the layer's weights, as `Model.parameters` has them; None: each is its number, 1 for the first of w
    `b`     its biases (K,); None: zeros
    matrix  (H2*W2*K, H*W*D), a scipy.sparse.csr_array of w's dtype; x and y are flattened H, W, D. It holds an element
            wherever a weight sees a value, also where that weight is 0; whatever it does not hold is 0
    bias    (H2*W2*K,)

    Raises ShapeError for weights of other shapes and where the layer does not fit the volume; ConfigError for another
    layer than a CONV, and where SciPy is not installed.
    """
    try:
        from scipy.sparse import coo_array
    except ImportError:
        raise ConfigError(f"conv_matrix needs SciPy, which is not installed: {INSTALL}") from None
    if not isinstance(layer, Conv):
        raise ConfigError(f"conv_matrix takes a Conv and the volume that it sees; got {told(layer)}")
    output = layer.output(volume)
    w, b = _weights(layer, volume, w, b)
    K, _, _, depth = w.shape
    rows, columns = layer.window(volume)
    # one axis each, to be broadcast: output row, row of the window; output column, column of the window; filter; map
    y, i, top = (part[:, None, None, None] for part in _seen(rows, volume.H, output.H))
    x, j, left = (part[:, None, None] for part in _seen(columns, volume.W, output.W))
    k, d = np.arange(K)[:, None], np.arange(depth)
    first = k // (K // (volume.D // depth)) * depth  # of the maps that a filter sees, where they come in groups
    at = (y * output.W + x) * K + k, (top * volume.W + left) * volume.D + first + d
    values, down, across = np.broadcast_arrays(w[k, i, j, d], *at)
    elements = values.ravel(), (down.ravel(), across.ravel())
    return coo_array(elements, shape=(output.values, volume.values)).tocsr(), np.tile(b, output.H * output.W)


def _weights(layer: Conv, volume: Volume, w: np.ndarray | None, b: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays of the layer's shapes, those that are not given filled in."""
    shapes = {weights.name: weights.shape for weights in layer.weights(volume)}
    shape = shapes["w"]
    w = np.arange(1, np.prod(shape) + 1).reshape(shape) if w is None else np.asarray(w)
    b = np.zeros(shape[0], w.dtype) if b is None else np.asarray(b)
    for name, found, wanted in (("w", w, shape), ("b", b, shape[:1])):
        if found.shape != wanted:
            raise ShapeError(f"{name} has shape {wanted} over {volume}; got {found.shape}")
    return w, b


def _seen(window: Window, size: int, outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(output, position in its window, position in the input) of all that windows see along an axis; no padding."""
    output, inside = (part.ravel() for part in np.indices((outputs, window.F)))
    position = output * window.S - window.before + inside * window.dilation
    real = (position >= 0) & (position < size)
    return output[real], inside[real], position[real]
