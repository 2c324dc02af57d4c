"""Derivatives of sorting and choosing: what was chosen gets the gradient that arrives there.

Which values are chosen is piecewise constant, so their positions have the derivative 0, and
`np.argsort`, `np.searchsorted` and their like give plain arrays. Where equal values could stand in
either order, the gradients go to them in the order in which they stand in the input; of those that
`np.unique` makes one, the first gets it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_edu.calculus.indexing import scatter_add
from tinygrad_edu.calculus.shapes import places, put_back
from tinygrad_edu.rules import PRIMITIVES, composition, constant, derivative, primitive


def _order(x: Any, axis: Any) -> Any:
    return np.argsort(x, axis, kind="stable")


def _sort_back(
    g: Any,
    y: Any,
    a: Any,
    axis: Any = -1,
    kind: Any = None,
    order: None = None,
    *,
    stable: Any = None,
) -> Any:
    positions = places(a) if axis is not None else places(a).reshape(-1)
    return put_back(g, np.take_along_axis(positions, _order(a, axis), axis), a)


def _partition_back(
    g: Any, y: Any, a: Any, kth: Any, axis: Any = -1, kind: Any = None, order: None = None
) -> Any:
    """As of sorting, once the output is sorted too."""
    return _sort_back(np.take_along_axis(g, _order(y, axis), axis), y, a, axis)


def _take_back(
    g: Any, y: Any, a: Any, indices: Any, axis: Any = None, out: None = None, mode: Any = "raise"
) -> Any:
    if axis is None:
        return _take_back(g, y, a.ravel(), indices, 0, mode=mode).reshape(a.shape)
    read = np.take(np.arange(a.shape[axis]), np.asarray(indices), mode=mode)
    return scatter_add(g, (slice(None),) * (axis % a.ndim) + (read,), a.shape)


derivative(np.sort, _sort_back)
derivative(np.partition, _partition_back)
derivative(np.take, _take_back)
derivative(
    np.take_along_axis,
    lambda g, y, x, indices, axis=-1: put_back(g, np.take_along_axis(places(x), indices, axis), x),
)
derivative(
    np.compress,
    None,
    lambda g, y, condition, a, axis=None: put_back(g, np.compress(condition, places(a), axis), a),
)
derivative(
    np.extract,
    None,
    lambda g, y, condition, arr: put_back(g, np.extract(condition, places(arr)), arr),
)


@composition(np.where)
def where(condition: Any, *xy: Any) -> Any:
    """`np.where`; of a condition alone it is `np.nonzero`."""
    return PRIMITIVES[np.where](condition, *xy) if xy else np.nonzero(condition)


@primitive
def choice(a: Any, n: int, mode: Any) -> Any:
    """Which of n arrays `np.choose` takes at each place: `a`, checked, wrapped or clipped."""
    return np.choose(a, np.arange(n), mode=mode)


@composition(np.choose)
def choose(a: Any, choices: Any, *, mode: Any = "raise") -> Any:
    """`np.choose`."""
    parts = [_array_or_number(x) for x in choices]
    number, *parts = np.broadcast_arrays(choice(a, len(parts), mode), *parts)
    stacked = np.stack(parts, dtype=np.result_type(*map(_array_or_number, choices)))
    return np.take_along_axis(stacked, number[None], 0)[0]


@composition(np.select)
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    """`np.select`: the first condition that holds decides."""
    if len(condlist) != len(choicelist) or len(condlist) == 0:
        raise ValueError(
            f"np.select takes a choice for each condition, got {len(choicelist)} choices for "
            f"{len(condlist)} conditions"
        )
    if any(np.result_type(condition).kind != "b" for condition in condlist):
        raise TypeError("np.select: the conditions must be boolean arrays")
    choices = [_array_or_number(choice) for choice in choicelist]
    y = _array_or_number(default)
    dtype = np.result_type(*choices, y)
    for condition, choice in zip(reversed(condlist), reversed(choices), strict=True):
        y = np.where(condition, choice, y)
    return y if y.dtype == dtype else y.astype(dtype)


def _array_or_number(x: Any) -> Any:
    """As it is if it has a dtype, or is a number, which takes the dtype of others."""
    return x if hasattr(x, "dtype") or type(x) in (int, float) else np.asarray(x)


@composition(np.piecewise)
def piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Any:
    """`np.piecewise`: each function is called with the values for which its condition holds."""
    single = np.isscalar(condlist) or (np.ndim(condlist[0]) == 0 and x.ndim != 0)
    conditions = list(np.asarray([condlist] if single else condlist, bool))
    if len(conditions) == len(funclist) - 1:
        conditions.append(~np.any(conditions, axis=0))
    if len(conditions) != len(funclist):
        raise ValueError(
            f"np.piecewise takes a function for each condition and one for the rest, got "
            f"{len(funclist)} functions and {len(conditions)} conditions"
        )
    # All results stand in one row behind a 0; of several conditions that hold the last decides.
    row = [np.zeros(1, x.dtype)]
    read = np.zeros(x.shape, int)
    for condition, function in zip(conditions, funclist, strict=True):
        chosen = np.broadcast_to(condition, x.shape)
        number = int(np.count_nonzero(chosen))
        if number and callable(function):
            function = function(x[chosen], *args, **kw)
        if number:
            read[chosen] = np.arange(number) + sum(map(len, row))
            row.append(np.broadcast_to(function, number))
    return np.concatenate(row, dtype=x.dtype, casting="unsafe")[read]


@composition(np.unique)
def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
) -> Any:
    """`np.unique`; of equal values the first gets the gradient."""
    _, *numbers = np.unique(ar.numpy(), True, True, True, axis, equal_nan=equal_nan)
    y = np.take(ar, numbers[0], axis)
    wanted = (return_index, return_inverse, return_counts)
    extra = [array for array, want in zip(numbers, wanted, strict=True) if want]
    return (y, *extra) if extra else y


@composition(np.trim_zeros)
def trim_zeros(filt: Any, trim: str = "fb") -> Any:
    """`np.trim_zeros` of a vector."""
    if filt.ndim != 1:
        raise NotImplementedError("np.trim_zeros of a Tensor is for vectors")
    if not np.any(filt):
        return filt[:0]
    places = np.flatnonzero(filt)
    start = int(places[0]) if "f" in trim.lower() else 0
    stop = int(places[-1]) + 1 if "b" in trim.lower() else len(filt)
    return filt[start:stop]


# What writes into an array at chosen places is an assignment to it.


@composition(np.copyto)
def copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    """`np.copyto`."""
    dst[...] = np.where(where, src, dst)


@composition(np.putmask)
def putmask(a: Any, mask: Any, values: Any) -> None:
    """`np.putmask`: too few values are repeated, also at the places that are masked out."""
    if np.size(values):
        a[...] = np.where(np.reshape(mask, a.shape), np.resize(values, a.shape), a)


@composition(np.place)
def place(arr: Any, mask: Any, vals: Any) -> None:
    """`np.place`: too few values are repeated, for the chosen places only."""
    mask = np.reshape(np.asarray(mask, bool), arr.shape)
    if mask.any() and np.size(vals) == 0:
        raise ValueError("np.place: there are no values to insert")
    arr[mask] = np.resize(vals, np.count_nonzero(mask))


@composition(np.put)
def put(a: Any, ind: Any, v: Any, mode: Any = "raise") -> None:
    """`np.put`."""
    written = np.take(np.arange(a.size), np.ravel(ind), mode=mode)
    if np.size(v):
        a[np.unravel_index(written, a.shape)] = np.resize(v, written.shape)


@composition(np.put_along_axis)
def put_along_axis(arr: Any, indices: Any, values: Any, axis: Any = -1) -> None:
    """`np.put_along_axis`."""
    written = np.take_along_axis(places(arr), indices, axis)
    arr[np.unravel_index(written, arr.shape)] = values


@composition(np.fill_diagonal)
def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    """`np.fill_diagonal`."""
    written = np.zeros(a.shape, bool)
    np.fill_diagonal(written, True, wrap)
    a[written] = np.resize(val, np.count_nonzero(written))


constant(np.argpartition, np.lexsort, np.searchsorted, np.digitize, np.isin)
constant(np.argwhere, np.flatnonzero, np.array_equiv, np.unravel_index)
