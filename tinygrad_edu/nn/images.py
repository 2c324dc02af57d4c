"""Layers for images: arrays (samples, channels, height, width), as in PyTorch and ONNX."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tinygrad_edu.data import Rng, random_generator
from tinygrad_edu.nn.initial import Init, weights
from tinygrad_edu.nn.layers import at_least_1
from tinygrad_edu.nn.module import Module
from tinygrad_edu.tensor import Tensor

__all__ = ["Conv2d", "Flatten", "MaxPool2d"]


def _windows(x: Any, size: int, stride: int) -> Any:
    """All size * size windows: (samples, channels, rows, columns, size, size)."""
    if x.ndim != 4 or min(x.shape[2:]) < size:
        raise ValueError(
            f"x of shape {x.shape} must be (samples, channels, height, width) with room for a "
            f"window of {size} * {size}"
        )
    return sliding_window_view(x, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]


class Conv2d(Module):
    """A small affine layer that slides over images: each output sees a window of all channels.

    y[s, o, i, j] = b[o] + the sum over c, k, l of x[s, c, i * stride + k, j * stride + l] *
    W[o, c, k, l], for x with `padding` zeros around each image. (This is a correlation; nets do
    without the flip of a convolution.)

    Shapes: x (samples, n_in, height, width) -> (samples, n_out, rows, columns) with
    rows = (height + 2 * padding - size) // stride + 1 and columns likewise;
    W (n_out, n_in, size, size), b (n_out,).

    Args:
        n_in: how many channels come in.
        n_out: how many go out.
        size: the height and width of the window.
        stride: how far it moves from one output to the next.
        padding: how many zeros there are on each side.
        init: how W begins; see `Linear`.
        rng: a seed, `np.random.Generator` or `np.random.RandomState`.
        dtype: float64 or another floating dtype.

    Raises:
        ValueError: a size, stride or padding that is no such number; on a call, x of another
            shape or smaller than the window.

    Example:
        >>> layer = Conv2d(1, 4, size=3, padding=1, rng=0)
        >>> layer(np.zeros((10, 1, 8, 8))).shape
        (10, 4, 8, 8)
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        size: int,
        stride: int = 1,
        padding: int = 0,
        init: Init = "he",
        rng: Rng = None,
        dtype: Any = np.float64,
    ):
        self.stride = at_least_1("stride", stride)
        self.padding = padding if padding == 0 else at_least_1("padding, if not 0,", padding)
        shape = (
            at_least_1("n_out", n_out),
            at_least_1("n_in", n_in),
            *[at_least_1("size", size)] * 2,
        )
        W = weights(init, random_generator(rng), shape, dtype)
        self.W = Tensor(W, requires_grad=True, name="W")
        self.b = Tensor(np.zeros(n_out, dtype), requires_grad=True, name="b")

    def forward(self, x: Any) -> Any:
        """The products of all windows and W, plus b."""
        n_in, size = self.W.shape[1:3]
        if x.ndim != 4 or x.shape[1] != n_in:
            raise ValueError(f"x of shape {x.shape} must be (samples, {n_in}, height, width)")
        if self.padding:
            x = np.pad(x, ((0, 0), (0, 0), *[(self.padding, self.padding)] * 2))
        windows = _windows(x, size, self.stride)
        y = np.tensordot(windows, self.W, axes=((1, 4, 5), (1, 2, 3))) + self.b
        return np.moveaxis(y, -1, 1)


class MaxPool2d(Module):
    """The largest value of each window; where several are, they share the gradient equally.

    Shapes: x (samples, channels, height, width) -> (samples, channels, rows, columns) with
    rows = (height - size) // stride + 1 and columns likewise.

    Args:
        size: the height and width of the window.
        stride: how far it moves from one output to the next; by default `size`.

    Raises:
        ValueError: a size or stride below 1; on a call, x of another shape or smaller than the
            window.

    Example:
        >>> MaxPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4))
        array([[[[ 5.,  7.],
                 [13., 15.]]]])
    """

    def __init__(self, size: int, stride: int | None = None):
        self.size = at_least_1("size", size)
        self.stride = self.size if stride is None else at_least_1("stride", stride)

    def forward(self, x: Any) -> Any:
        """The maxima over the windows."""
        return np.max(_windows(x, self.size, self.stride), axis=(-2, -1))


class Flatten(Module):
    """Each sample as one row, as `Linear` takes it.

    Shapes: x (samples, ...) -> (samples, values).

    Example:
        >>> Flatten()(np.zeros((10, 4, 8, 8))).shape
        (10, 256)
    """

    def forward(self, x: Any) -> Any:
        """x with all axes but the first made one."""
        return np.reshape(x, (x.shape[0], math.prod(x.shape[1:])))
