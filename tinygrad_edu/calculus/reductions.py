"""Derivatives of the functions that reduce axes: every value read gets its share of `g`."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_edu.rules import constant, derivative


def spread(g: Any, x: Any, axis: Any, keepdims: Any) -> Any:
    """`g`, which has the reduced shape, read back over the shape of `x`."""
    if axis is not None and not keepdims:
        g = np.expand_dims(g, axis)
    return np.broadcast_to(g, x.shape)


def _extreme(
    g: Any, y: Any, x: Any, axis: Any = None, out: None = None, keepdims: bool = False
) -> Any:
    """The gradient goes to the extreme value, shared equally where several are equal."""
    chosen = x == spread(y, x, axis, keepdims)
    ties = chosen.sum(axis=axis, keepdims=True, dtype=x.dtype)
    return spread(g, x, axis, keepdims) * chosen / ties


derivative(
    np.sum,
    lambda g, y, x, axis=None, dtype=None, out=None, keepdims=False: spread(g, x, axis, keepdims),
)
derivative(
    np.mean,
    lambda g, y, x, axis=None, dtype=None, out=None, keepdims=False: (
        spread(g, x, axis, keepdims) / (x.size / max(y.size, 1))
    ),
)
derivative(np.max, _extreme)
derivative(np.min, _extreme)

constant(np.argmax, np.argmin, np.argsort, np.all, np.any, np.count_nonzero, np.nonzero)
constant(np.allclose, np.isclose, np.array_equal)
