"""Derivatives of the functions that move values without changing them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_edu.rules import composition, constant, derivative, primitive


def _transpose_back(g: Any, y: Any, x: Any, axes: Any = None) -> Any:
    return np.transpose(g, None if axes is None else np.argsort([a % x.ndim for a in axes]))


derivative(np.reshape, lambda g, y, x, shape: g.reshape(x.shape))
derivative(np.ravel, lambda g, y, x: g.reshape(x.shape))
derivative(np.expand_dims, lambda g, y, x, axis: g.reshape(x.shape))
derivative(np.squeeze, lambda g, y, x, axis=None: g.reshape(x.shape))
derivative(np.transpose, _transpose_back)
derivative(np.broadcast_to, lambda g, y, x, shape: g, core_axes=0)
derivative(np.copy, lambda g, y, x: g)


@primitive
def astype(x: Any, dtype: Any) -> Any:
    """`x` in another floating dtype; the reverse walk turns the gradient back into x's dtype."""
    return x.astype(dtype)


astype.derivative(lambda g, y, x, dtype: g)


@primitive
def join(*arrays: Any, axis: int = 0) -> Any:
    """The arrays one after another along an axis: `np.concatenate` with the arrays spread out."""
    return np.concatenate(arrays, axis=axis)


def _own_piece(position: int, g: Any, y: Any, *arrays: Any, axis: int = 0) -> Any:
    start = sum(x.shape[axis] for x in arrays[:position])
    piece: list[Any] = [slice(None)] * y.ndim
    piece[axis] = slice(start, start + arrays[position].shape[axis])
    return g[tuple(piece)]


join.derivative(every=_own_piece)


@composition(np.concatenate)
def concatenate(arrays: Any, axis: int | None = 0) -> Any:
    """`np.concatenate`; with `axis=None` the arrays are flattened first."""
    if axis is None:
        return join(*(np.ravel(x) for x in arrays))
    return join(*arrays, axis=axis)


@composition(np.stack)
def stack(arrays: Any, axis: int = 0) -> Any:
    """`np.stack`: each array gets a new axis, then they are concatenated along it."""
    shapes = {np.shape(x) for x in arrays}
    if len(shapes) != 1:
        raise ValueError(f"np.stack needs arrays of one shape, got {sorted(shapes)}")
    return concatenate([np.expand_dims(x, axis) for x in arrays], axis)


constant(np.shape, np.ndim, np.size, np.zeros_like, np.ones_like, np.empty_like, np.result_type)
