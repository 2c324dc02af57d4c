"""Layers that scale what passes through them."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from tinygrad_edu.data import finite_numbers
from tinygrad_edu.nn.layers import at_least_1
from tinygrad_edu.nn.module import Module
from tinygrad_edu.tensor import Tensor

__all__ = ["LayerNorm", "Standardize"]


class Standardize(Module):
    """(x - mean) / scale: each column with mean 0 and standard deviation 1, as `fit` found them.

    As the first layer of a net it takes the data as they are, and is kept and loaded with the
    net's parameters. It is not trained: mean and scale need no gradient.

    Shapes: x (..., n) -> (..., n); mean and scale (n,), at first 0 and 1.

    Args:
        n: how many columns there are.
        dtype: float64 or another floating dtype; that of the rest of the net.

    Example:
        >>> X = np.array([[1.0, 7.0], [3.0, 7.0]])
        >>> layer = Standardize(2).fit(X)
        >>> layer(X).data
        array([[-1.,  0.],
               [ 1.,  0.]])
        >>> layer.scale.data  # a column that is constant is only moved
        array([1., 1.])
    """

    def __init__(self, n: int, dtype: Any = np.float64):
        n = at_least_1("n", n)
        self.mean = Tensor(np.zeros(n, dtype), name="mean")
        self.scale = Tensor(np.ones(n, dtype), name="scale")

    def fit(self, X: Any) -> Self:
        """Sets mean and scale from the rows of X, (..., n), and returns this module.

        The scale is the standard deviation, sqrt(mean((X - mean)**2)); 1 for a constant column.

        Raises:
            ValueError: X without rows, of another number of columns or not finite; columns so
                large that mean or scale are not finite in this module's dtype.
            TypeError: X that holds no numbers.
        """
        X = finite_numbers(X, "X", np.float64)
        n = self.mean.size
        if X.ndim < 2 or X.shape[-1] != n or X.size == 0:
            raise ValueError(f"X must have rows of {n} columns, and at least one; got {X.shape}")
        rows = X.reshape(-1, n)
        # In units of the largest value nothing overflows, and equal values deviate by exactly 0.
        unit = np.maximum(np.abs(rows).max(axis=0), np.finfo(float).tiny)
        mean, scale = (rows / unit).mean(axis=0) * unit, (rows / unit).std(axis=0) * unit
        dtype = self.mean.dtype
        mean = finite_numbers(mean, "the mean of X", dtype)
        scale = finite_numbers(scale, "the standard deviation of X", dtype)
        self.mean.data, self.scale.data = mean, np.where(scale == 0, dtype.type(1), scale)
        return self

    def forward(self, x: Any) -> Any:
        """(x - mean) / scale."""
        _check_columns(x, self.mean)
        return (x - self.mean) / self.scale


class LayerNorm(Module):
    """(x - mean) / sqrt(variance + eps) * gain + bias, with mean and variance of each row.

    The rows lie along the last axis, and their variance is mean((x - mean)**2). Each sample is
    scaled by itself, so that training and prediction do the same. Source: Ba, Kiros, Hinton, "Layer
    normalization", 2016, https://arxiv.org/abs/1607.06450.

    Shapes: x (..., n) -> (..., n); gain and bias (n,), at first 1 and 0.

    Args:
        n: how many values a row has.
        eps: above 0; keeps the division from going wrong where all values of a row are equal.
        dtype: float64 or another floating dtype.

    Example:
        >>> LayerNorm(2)(np.array([[1.0, 3.0], [500.0, 100.0]])).data.round(4)
        array([[-1.,  1.],
               [ 1., -1.]])
    """

    def __init__(self, n: int, eps: float = 1e-5, dtype: Any = np.float64):
        n = at_least_1("n", n)
        if not isinstance(eps, (int, float, np.number)) or not 0 < eps < np.inf:
            raise ValueError(f"eps must be a number above 0, got {eps!r}")
        self.eps = float(eps)
        self.gain = Tensor(np.ones(n, dtype), requires_grad=True, name="gain")
        self.bias = Tensor(np.zeros(n, dtype), requires_grad=True, name="bias")

    def forward(self, x: Any) -> Any:
        """(x - mean) / sqrt(variance + eps) * gain + bias."""
        _check_columns(x, self.gain)
        x = x - np.mean(x, axis=-1, keepdims=True)
        variance = np.mean(x * x, axis=-1, keepdims=True)
        return x / np.sqrt(variance + self.eps) * self.gain + self.bias


def _check_columns(x: Any, parameter: Tensor) -> None:
    """Raises for x that would be broadcast."""
    if np.shape(x)[-1:] != parameter.shape:
        raise ValueError(
            f"x of shape {np.shape(x)} must be (..., {parameter.size}), as this layer was made for "
            f"rows of {parameter.size} values"
        )
