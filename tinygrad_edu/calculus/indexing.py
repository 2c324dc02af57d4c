"""Derivatives of indexing, to read and to write."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_edu.rules import primitive, unbroadcast


@primitive
def getitem(x: Any, index: Any) -> Any:
    """x[index], for every kind of index that NumPy has."""
    return x[index]


@primitive
def scatter_add(values: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """An array of zeros of `shape` into which `values` are added at `index`.

    An integer array may name the same place twice: then both values are added, where assignment
    would keep the last.
    """
    total = np.zeros(shape, values.dtype)
    if _by_position(index):
        np.add.at(total, index, values)
    else:
        total[index] = values
    return total


@primitive
def setitem(x: Any, value: Any, index: Any) -> Any:
    """`x` with `value` at an index: what x is after `x[index] = value`, in an array of its own.

    Example:
        >>> setitem(np.array([1.0, 2.0, 3.0]), 0.0, slice(2))
        array([0., 0., 3.])
    """
    y = np.array(x)
    y[index] = value
    return y


def _setitem_dvalue(g: Any, y: Any, x: Any, value: Any, index: Any) -> Any:
    """What arrives at the index; where it names a place twice, the last value alone counts."""
    g = g[index]
    if _by_position(index):
        number = np.arange(g.size).reshape(g.shape)
        written_last = setitem(np.zeros(x.shape, int), number, index)
        g = np.where(written_last[index] == number, g, 0)
    # NumPy lets the value have more axes than the place if they have length 1.
    return unbroadcast(g, value.shape[max(value.ndim - g.ndim, 0) :]).reshape(value.shape)


def _row_numbers(indices: Any, n: int) -> np.ndarray:
    """Whole numbers from 0 to n - 1 as integers, also if they came as floats."""
    indices = np.asarray(indices)
    if indices.dtype.kind not in "iuf":
        raise TypeError(f"indices of rows must be whole numbers, got dtype {indices.dtype}")
    if indices.dtype.kind == "f" and n > 2 ** (np.finfo(indices.dtype).nmant + 1):
        raise TypeError(f"{indices.dtype} does not hold each whole number up to {n}: pass integers")
    if indices.size and not (indices.min() >= 0 and indices.max() < n):
        wrong = ~((indices >= 0) & (indices < n))
        raise ValueError(
            f"indices of {n} rows must lie in 0..{n - 1}, got {indices[wrong][0]} at "
            f"{np.argwhere(wrong)[0].tolist()}"
        )
    whole = indices.astype(np.intp, copy=False)
    if indices.dtype.kind == "f" and (whole != indices).any():
        wrong = whole != indices
        raise ValueError(
            f"indices of rows must be whole numbers, got {indices[wrong][0]} at "
            f"{np.argwhere(wrong)[0].tolist()}"
        )
    return whole


@primitive
def embedding(W: Any, indices: Any) -> Any:
    """W[indices], for whole numbers from 0 of any dtype.

    Shapes: W (n, size), indices (...) -> (..., size).

    Example:
        >>> embedding(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 0.0, 1.0]))
        array([[3., 4.],
               [1., 2.],
               [3., 4.]])
    """
    return W[_row_numbers(indices, len(W))]


@primitive
def rows_added(values: Any, indices: Any, n: int) -> Any:
    """An array of n rows of zeros into which rows are added at `indices`, each as often as named.

    Example:
        >>> rows_added(np.array([[1.0, 2.0], [10.0, 20.0]]), np.array([1, 1]), 2)
        array([[ 0.,  0.],
               [11., 22.]])
    """
    size = values.shape[-1]
    total = np.zeros(n * size, values.dtype)
    # NumPy adds single values several times as fast as rows.
    places = _row_numbers(indices, n)[..., None] * size + np.arange(size)
    np.add.at(total, places.ravel(), values.ravel())
    return total.reshape(n, size)


def _by_position(index: Any) -> bool:
    """Whether an index lists positions, so that it can name one twice."""
    index = getattr(index, "_array", index)  # in a program that is traced it is a Tensor
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, np.ndarray) and part.dtype != bool for part in parts)


getitem.derivative(lambda g, y, x, index: scatter_add(g, index, x.shape), view=True)
scatter_add.derivative(lambda g, y, values, index, shape: g[index])
setitem.derivative(lambda g, y, x, value, index: setitem(g, 0.0, index), _setitem_dvalue)
embedding.derivative(lambda g, y, W, indices: rows_added(g, indices, W.shape[0]), None)
rows_added.derivative(lambda g, y, values, indices, n: embedding(g, indices), None)
