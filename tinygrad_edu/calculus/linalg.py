"""Derivatives of the products of matrices, for all ranks that NumPy takes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_edu.rules import derivative


def _swap(x: Any) -> Any:
    """The transpose of each matrix in a stack of matrices."""
    return x.T if x.ndim == 2 else np.transpose(x, (*range(x.ndim - 2), -1, -2))


# y = a @ b. NumPy reads a vector on the left as a row and one on the right as a column, and takes
# the extra axis away again; the rules below put it back.


def _matmul_da(g: Any, y: Any, a: Any, b: Any) -> Any:
    if b.ndim == 1:
        return g[..., None] * b
    if a.ndim == 1:
        return (b @ g[..., None])[..., 0]
    return g @ _swap(b)


def _matmul_db(g: Any, y: Any, a: Any, b: Any) -> Any:
    if a.ndim == 1:
        return a * g if b.ndim == 1 else a[:, None] * g[..., None, :]
    if b.ndim == 1:
        return (_swap(a) @ g[..., None])[..., 0]
    return _swap(a) @ g


derivative(np.matmul, _matmul_da, _matmul_db, core_axes=2)


# np.dot is matmul as long as b is at most a matrix, and a product with any number. Beyond that each
# row of a meets each matrix of b: Y = A @ B, where A holds the rows of a and B the columns of b.


def _as_columns(b: Any) -> Any:
    order = (b.ndim - 2, *range(b.ndim - 2), b.ndim - 1)
    return np.transpose(b, order).reshape(b.shape[-2], math.prod(b.shape[:-2]) * b.shape[-1])


def _dot_da(g: Any, y: Any, a: Any, b: Any) -> Any:
    if np.ndim(a) == 0:
        return (g * b).sum()
    if np.ndim(b) == 0:
        return g * b
    if b.ndim <= 2:
        return _matmul_da(g, y, a, b)
    columns = _as_columns(b)
    rows = g.reshape(math.prod(a.shape[:-1]), columns.shape[1])
    return (rows @ columns.T).reshape(a.shape)


def _dot_db(g: Any, y: Any, a: Any, b: Any) -> Any:
    if np.ndim(b) == 0:
        return (g * a).sum()
    if np.ndim(a) == 0:
        return g * a
    if b.ndim <= 2:
        return _matmul_db(g, y, a, b)
    rows = a.reshape(math.prod(a.shape[:-1]), a.shape[-1])
    gradient = rows.T @ g.reshape(rows.shape[0], math.prod(b.shape[:-2]) * b.shape[-1])
    gradient = gradient.reshape(b.shape[-2], *b.shape[:-2], b.shape[-1])
    return np.transpose(gradient, (*range(1, b.ndim - 1), 0, b.ndim - 1))


derivative(np.dot, _dot_da, _dot_db, core_axes=2)
