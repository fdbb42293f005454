"""The numbers that kernels of windows take: those of pooling, of every kind."""

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.division import magic

__all__: tuple[str, ...] = ()  # no ops here


def window_numbers(x: DeviceArray, y: DeviceArray, F: int, S: int, P: int) -> tuple[int, ...]:
    """N, H, W, D, H2, W2, F, S, P and the magics of D, H2 and W2: for a kernel that makes y (N, H2, W2, D) of x."""
    H2, W2 = y.shape[1:3]
    return *x.shape, H2, W2, F, S, P, magic(x.shape[3]), magic(H2), magic(W2)


def window_numbers_backward(dy: DeviceArray, dx: DeviceArray, F: int, S: int, P: int) -> tuple[int, ...]:
    """The same for one that makes dx (N, H, W, D), but for the magics: those of D, H, W and S."""
    _, H, W, D = dx.shape
    return *dx.shape, *dy.shape[1:3], F, S, P, magic(D), magic(H), magic(W), magic(S)
