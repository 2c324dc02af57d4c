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


def _by_position(index: Any) -> bool:
    """Whether an index lists positions, so that it can name one twice."""
    index = getattr(index, "_array", index)  # in a program that is traced it is a Tensor
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, np.ndarray) and part.dtype != bool for part in parts)


getitem.derivative(lambda g, y, x, index: scatter_add(g, index, x.shape), view=True)
scatter_add.derivative(lambda g, y, values, index, shape: g[index])
setitem.derivative(lambda g, y, x, value, index: setitem(g, 0.0, index), _setitem_dvalue)
