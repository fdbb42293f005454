"""The im2col matrix of a convolution, whole, as the notes draw it. For teaching and for tests: training makes a chunk
of it at a time.

Source: CS231n "Implementation as Matrix Multiplication".
"""

import numpy as np

from gpunet.devices.cpu.im2col import im2col as fill
from gpunet.errors import ConfigError, ShapeError
from gpunet.layers.conv import Conv
from gpunet.program.filters import Filters, Group
from gpunet.program.volume import Volume, pair
from gpunet.values.given import told


def im2col(layer: Conv, x: np.ndarray) -> np.ndarray:
    """What the windows of a CONV see of x, a row for each: its transpose is the notes' X_col.

    `x`   (H, W, D) or (N, H, W, D), of any numbers
    returns (N*H2*W2, F*F*D) of x's dtype, images, rows and columns in order, each row in the order of the weights (row
    in the window, column, map): with weights w (K, F, F, D), im2col(layer, x) @ w.reshape(K, -1).T are the outputs
    without biases. What a window sees around x is 0.

    Raises ConfigError for another layer than a CONV without groups, ShapeError where it does not fit x.
    """
    if not isinstance(layer, Conv):
        raise ConfigError(f"im2col takes a Conv and the volume that it sees; got {told(layer)}")
    if layer.groups > 1:
        raise ConfigError(f"each of the {layer.groups} groups has a matrix of its own: give its maps, and groups=1")
    x = np.asarray(x)
    if x.ndim not in (3, 4) or not x.size:
        raise ShapeError(f"x must have the shape (H, W, D) or (N, H, W, D); got {x.shape}")
    images = np.ascontiguousarray(x if x.ndim == 4 else x[np.newaxis])
    N, H, W, D = images.shape
    output = layer.output(Volume(H, W, D))
    rows, columns = layer.window(Volume(H, W, D))
    window = Filters(rows.F, columns.F, rows.S, columns.S, rows.before, columns.before, *pair(layer.dilation))
    values = rows.F * columns.F * D
    matrix = np.empty((N * output.H * output.W, values), images.dtype)
    fill(images, matrix, (0, N, 0, output.H), output.W, (0, values), window, Group(0, D, 0, layer.K))
    return matrix
