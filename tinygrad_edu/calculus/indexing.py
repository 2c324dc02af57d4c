"""The derivative of indexing: what was read at an index gets the gradient that arrives there."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_edu.rules import primitive


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
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, np.ndarray) and part.dtype != bool for part in parts):
        np.add.at(total, index, values)
    else:
        total[index] = values
    return total


getitem.derivative(lambda g, y, x, index: scatter_add(g, index, x.shape))
scatter_add.derivative(lambda g, y, values, index, shape: g[index])
