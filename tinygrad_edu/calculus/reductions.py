"""Derivatives of the functions that reduce axes: every value read gets its share of `g`."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_edu.calculus.elementwise import ratio
from tinygrad_edu.rules import composition, constant, derivative, primitive, unbroadcast


def _kept(g: Any, x: Any, axis: Any, keepdims: Any) -> Any:
    """`g`, which has the reduced shape, with length 1 along the reduced axes."""
    if axis is None or keepdims or x.ndim == 0:  # a number has an axis 0 to NumPy
        return g
    return np.expand_dims(g, axis)


def spread(g: Any, x: Any, axis: Any, keepdims: Any) -> Any:
    """`g`, which has the reduced shape, read back over the shape of `x`."""
    if axis is None and isinstance(g, (np.ndarray, np.generic)):
        # One value everywhere, for which broadcast_to takes ten times as long.
        return np.ndarray(x.shape, g.dtype, g, strides=(0,) * x.ndim)
    return np.broadcast_to(_kept(g, x, axis, keepdims), x.shape)


def _read(x: Any, where: Any, skip_nan: bool) -> Any:
    """Which values are read: `True` for all, or an array, as `where=` takes it."""
    return ~np.isnan(x) & where if skip_nan else where


def _selected(g: Any, where: Any) -> Any:
    """`g`, and 0 for the values that are not read."""
    return g if where is True else np.where(where, g, 0)


def _count(x: Any, y: Any, axis: Any, where: Any) -> Any:
    """Of how many values each result is made, a 1 for none; a number may not fit into float16."""
    if where is True:
        return np.float64(x.size / max(y.size, 1))
    return np.maximum(np.sum(np.broadcast_to(where, x.shape), axis=axis, keepdims=True), 1)


def _axes(x: Any, axis: Any) -> tuple[list[int], tuple[int, ...]]:
    """The axes that are kept and those that are reduced."""
    every = axis is None or x.ndim == 0
    reduced = normalize_axis_tuple(range(x.ndim) if every else axis, x.ndim)
    return [i for i in range(x.ndim) if i not in reduced], reduced


def _lanes(x: Any, axis: Any) -> Any:
    """`x` with the reduced axes as a single last one."""
    kept, reduced = _axes(x, axis)
    shape = [x.shape[i] for i in kept] + [math.prod(x.shape[i] for i in reduced)]
    return np.transpose(x, (*kept, *reduced)).reshape(shape)


def _from_lanes(lanes: Any, x: Any, axis: Any) -> Any:
    """What `_lanes` did to `x` undone."""
    kept, reduced = _axes(x, axis)
    order = (*kept, *reduced)
    back = tuple(order.index(i) for i in range(x.ndim))
    return np.transpose(lanes.reshape([x.shape[i] for i in order]), back)


def _sum_dx(
    g: Any,
    y: Any,
    x: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = 0,
    where: Any = True,
) -> Any:
    return _selected(spread(g, x, axis, keepdims), where)


def _mean_dx(
    skip_nan: bool,
    g: Any,
    y: Any,
    x: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    where: Any = True,
) -> Any:
    read = _read(x, where, skip_nan)
    share = _kept(g, x, axis, keepdims) / _count(x, y, axis, read)
    return _selected(np.broadcast_to(share.astype(x.dtype), x.shape), read)


derivative(np.sum, _sum_dx)
derivative(np.mean, functools.partial(_mean_dx, False))
derivative(np.nanmean, functools.partial(_mean_dx, True))


@primitive
def variance(x: Any, mean: Any, skip_nan: bool, **parameters: Any) -> Any:
    """`np.var` or `np.nanvar`, with `mean=`, if it is not None, as the second input.

    Example:
        >>> variance(np.array([1.0, 3.0]), np.array(0.0), False)
        np.float64(5.0)
    """
    known = {} if mean is None else {"mean": mean}
    return (np.nanvar if skip_nan else np.var)(x, **known, **parameters)


@primitive
def deviation(x: Any, mean: Any, skip_nan: bool, **parameters: Any) -> Any:
    """`np.std` or `np.nanstd`, with `mean=`, if it is not None, as the second input.

    Example:
        >>> deviation(np.array([3.0, 4.0]), np.array(0.0), False, ddof=1)
        np.float64(5.0)
    """
    known = {} if mean is None else {"mean": mean}
    return (np.nanstd if skip_nan else np.std)(x, **known, **parameters)


def _centred(x: Any, axis: Any, read: Any) -> Any:
    """x - mean(x), and 0 for the values that are not read."""
    x = _selected(x, read)
    mean = np.mean(x, axis=axis, keepdims=True)
    if read is not True:  # the zeros do not count
        mean = mean * (_count(x, mean, axis, True) / _count(x, mean, axis, read))
    return _selected(x - mean.astype(x.dtype), read)


def _variance_dx(
    g: Any,
    y: Any,
    x: Any,
    mean: Any,
    skip_nan: bool,
    axis: Any = None,
    dtype: Any = None,
    ddof: Any = 0,
    keepdims: bool = False,
    where: Any = True,
) -> Any:
    """2 (x - mean) / (n - ddof), and 0 where that is not positive."""
    read = _read(x, where, skip_nan)
    if mean is None:
        # Twice, since the mean is rounded, and equal values shall have no distance from it.
        distance = _centred(_centred(x, axis, read), axis, read)
    else:
        distance = _selected(x - mean, read)
    n = _count(x, y, axis, read) - ddof
    share = _kept(g, x, axis, keepdims) * 2 / np.where(n > 0, n, np.inf)
    return share.astype(x.dtype) * distance


def _deviation_dx(g: Any, y: Any, *args: Any, **parameters: Any) -> Any:
    """That of the variance y*y over 2y, and 0 where y = 0."""
    y = np.where(y == y, y, 0)  # NaN is the deviation of too few values
    return _variance_dx(ratio(g, 2 * y), y, *args, **parameters)


def _dmean(rule: Any) -> Any:
    """The rule by the mean: it is subtracted from every value."""
    return lambda g, y, x, mean, *args, **parameters: unbroadcast(
        -rule(g, y, x, mean, *args, **parameters), mean.shape
    )


variance.derivative(_variance_dx, _dmean(_variance_dx))
deviation.derivative(_deviation_dx, _dmean(_deviation_dx))


def _measure(primitive: Any, skip_nan: bool) -> Any:
    """`variance` or `deviation` with NumPy's parameters."""

    def measure(
        a: Any,
        axis: Any = None,
        dtype: Any = None,
        *,
        out: None = None,
        ddof: Any = 0,
        mean: Any = None,
        correction: Any = None,
        **parameters: Any,
    ) -> Any:
        if correction is not None and ddof != 0:
            raise ValueError("ddof and correction are the same: pass one of them")
        less = ddof if correction is None else correction
        return primitive(a, mean, skip_nan, axis=axis, dtype=dtype, ddof=less, **parameters)

    return measure


composition(np.var)(_measure(variance, False))
composition(np.std)(_measure(deviation, False))
composition(np.nanvar)(_measure(variance, True))
composition(np.nanstd)(_measure(deviation, True))


def _extreme_dx(
    extreme: Any,
    skip_nan: bool,
    g: Any,
    y: Any,
    x: Any,
    axis: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = np._NoValue,
    where: Any = True,
) -> Any:
    """The gradient goes to the extreme value, shared equally where several are equal.

    A NaN is the extreme of whatever it is among, unless it is skipped.
    """
    read = _read(x, where, skip_nan)
    if skip_nan and initial is np._NoValue:
        initial = -np.inf if extreme is np.max else np.inf
    y = extreme(x, axis=axis, keepdims=True, initial=initial, where=read)
    chosen = _selected((x == y) | (x != x), read)
    ties = np.maximum(np.sum(chosen, axis=axis, keepdims=True), 1)
    return (_kept(g, x, axis, keepdims) / ties).astype(x.dtype) * chosen


derivative(np.max, functools.partial(_extreme_dx, np.max, False))
derivative(np.amax, functools.partial(_extreme_dx, np.max, False))
derivative(np.min, functools.partial(_extreme_dx, np.min, False))
derivative(np.amin, functools.partial(_extreme_dx, np.min, False))
derivative(np.nanmax, functools.partial(_extreme_dx, np.max, True))
derivative(np.nanmin, functools.partial(_extreme_dx, np.min, True))


@composition(np.ptp)
def ptp(a: Any, axis: Any = None, *, out: None = None, keepdims: bool = False) -> Any:
    """The maximum less the minimum."""
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


def _behind(first: Any, x: Any) -> Any:
    """The values along the last axis, moved by one, behind `first`."""
    return np.concatenate([first, x[..., :-1]], axis=-1)


def _product_of_others(x: Any) -> Any:
    """For each value along the last axis the product of all others: no zero is divided by."""
    one = np.ones_like(x[..., :1])
    before = np.cumprod(_behind(one, x), axis=-1)
    after = np.flip(np.cumprod(_behind(one, np.flip(x, -1)), axis=-1), -1)
    return before * after


def _prod_dx(
    g: Any,
    y: Any,
    x: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = 1,
    where: Any = True,
) -> Any:
    factors = x if where is True else np.where(where, x, 1)
    others = _from_lanes(_product_of_others(_lanes(factors, axis)), x, axis)
    return _selected(spread(g, x, axis, keepdims) * initial * others, where)


def _cumsum_dx(
    g: Any, y: Any, x: Any, axis: Any = None, dtype: Any = None, out: None = None
) -> Any:
    """x[j] is in every sum from the j-th on."""
    axis = 0 if axis is None else axis
    return np.flip(np.cumsum(np.flip(g, axis), axis=axis), axis).reshape(x.shape)


@primitive
def recurrence(a: Any, b: Any) -> Any:
    """y[i] = a[i] * y[i-1] + b[i] along the last axis, from y[0] = b[0] on.

    Example:
        >>> recurrence(np.array([9.0, 2.0, 2.0]), np.array([1.0, 0.0, 5.0]))
        array([1., 2., 9.])
    """
    y = np.array(b)
    for i in range(1, y.shape[-1]):
        y[..., i] += a[..., i] * y[..., i - 1]
    return y


def _recurrence_db(g: Any, y: Any, a: Any, b: Any) -> Any:
    """Backwards: gb[i] = g[i] + a[i+1] * gb[i+1], a recurrence again."""
    return np.flip(recurrence(_behind(a[..., :1], np.flip(a, -1)), np.flip(g, -1)), -1)


recurrence.derivative(
    lambda g, y, a, b: _recurrence_db(g, y, a, b) * _behind(np.zeros_like(y[..., :1]), y),
    _recurrence_db,
)


def _cumprod_dx(
    g: Any, y: Any, x: Any, axis: Any = None, dtype: Any = None, out: None = None
) -> Any:
    """The product before x[j] times the sum over i >= j of g[i] and the product from j + 1 to i."""
    if axis is None or x.ndim == 0:
        return _cumprod_dx(g, y, x.reshape(-1), 0).reshape(x.shape)
    factors = _lanes(x, axis)
    before = _behind(np.ones_like(factors[..., :1]), _lanes(y, axis))
    return _from_lanes(before * _recurrence_db(_lanes(g, axis), None, factors, None), x, axis)


derivative(np.prod, _prod_dx)
derivative(np.cumsum, _cumsum_dx)
derivative(np.cumprod, _cumprod_dx)


def _cumulative(
    function: Any,
    identity: float,
    x: Any,
    *,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    include_initial: bool = False,
) -> Any:
    """`np.cumsum` or `np.cumprod`, where wanted behind the result of no values at all."""
    if axis is None and np.ndim(x) > 1:
        raise ValueError("an array of several axes needs axis=")
    axis = 0 if axis is None else axis
    y = function(np.reshape(x, -1) if np.ndim(x) == 0 else x, axis=axis, dtype=dtype)
    if not include_initial:
        return y
    shape = [1 if i == axis % y.ndim else n for i, n in enumerate(y.shape)]
    return np.concatenate([np.full(shape, identity, y.dtype), y], axis=axis)


if hasattr(np, "cumulative_sum"):  # since NumPy 2.1
    composition(np.cumulative_sum)(functools.partial(_cumulative, np.cumsum, 0))
    composition(np.cumulative_prod)(functools.partial(_cumulative, np.cumprod, 1))


def _without_nan(function: Any, neutral: float) -> Any:
    """The function of the values with a neutral one in the place of every NaN."""

    def skipping(a: Any, *args: Any, **keywords: Any) -> Any:
        return function(np.where(np.isnan(a), neutral, a), *args, **keywords)

    return skipping


composition(np.nansum)(_without_nan(np.sum, 0))
composition(np.nanprod)(_without_nan(np.prod, 1))
composition(np.nancumsum)(_without_nan(np.cumsum, 0))
composition(np.nancumprod)(_without_nan(np.cumprod, 1))


def _intact(function: Any) -> Any:
    """The function, not let overwrite its input, for the one method that has a rule."""

    def forward(
        a: Any,
        q: Any,
        axis: Any = None,
        out: None = None,
        overwrite_input: bool = False,
        method: str = "linear",
        keepdims: bool = False,
    ) -> Any:
        if method != "linear":
            raise NotImplementedError(
                f"np.{function.__name__} has a derivative rule for method='linear', not for "
                f"{method!r}; pass x.numpy() if no gradient shall flow through it"
            )
        return function(a, q, axis, out=out, keepdims=keepdims)

    return forward


def _quantile_dx(
    skip_nan: bool,
    unit: float,
    g: Any,
    y: Any,
    x: Any,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
) -> Any:
    """Of the two values beside the quantile each gets the more, the closer it is.

    Equal values keep their order. A NaN is the result wherever it is, unless it is skipped.
    """
    lanes = _lanes(x, axis)
    nan = lanes != lanes
    found = np.sum(nan, axis=-1, keepdims=True)
    q = np.asarray(q) / unit
    position = (lanes.shape[-1] - 1 - found) * q.reshape(q.shape + (1,) * lanes.ndim)
    rank = np.argsort(np.argsort(lanes, axis=-1, kind="stable"), axis=-1)
    weights = np.maximum(0, 1 - np.abs(rank - position))
    if skip_nan:
        weights = np.where(nan, 0, weights)
    else:
        weights = np.where(found, nan / np.maximum(found, 1), weights)
    g = g.reshape(q.shape + lanes.shape[:-1] + (1,)) * weights.astype(x.dtype)
    return _from_lanes(np.sum(g, axis=tuple(range(q.ndim))), x, axis)


def _median_dx(
    skip_nan: bool,
    g: Any,
    y: Any,
    x: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    keepdims: bool = False,
) -> Any:
    return _quantile_dx(skip_nan, 1, g, y, x, 0.5, axis)


def _quantiles(function: Any, skip_nan: bool, unit: float) -> None:
    rule = functools.partial(_quantile_dx, skip_nan, unit)
    derivative(function, rule, forward=_intact(function))


_quantiles(np.quantile, False, 1)
_quantiles(np.percentile, False, 100)
_quantiles(np.nanquantile, True, 1)
_quantiles(np.nanpercentile, True, 100)
derivative(
    np.median,
    functools.partial(_median_dx, False),
    forward=lambda a, axis=None, out=None, overwrite_input=False, keepdims=False: np.median(
        a, axis, out=out, keepdims=keepdims
    ),
)
derivative(
    np.nanmedian,
    functools.partial(_median_dx, True),
    forward=lambda a, axis=None, out=None, overwrite_input=False, keepdims=False: np.nanmedian(
        a, axis, out=out, keepdims=keepdims
    ),
)


def _array(x: Any) -> Any:
    """A list or a number as an array, a Tensor as it is."""
    return x if hasattr(x, "__record__") else np.asarray(x)


@composition(np.average)
def average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False
) -> Any:
    """The sum of a * weights over the sum of the weights, and that sum, too, if it is wanted."""
    a = _array(a)
    if weights is None:
        mean = np.mean(a, axis=axis, keepdims=keepdims)
        total: Any = np.asarray(a.size / mean.size, mean.dtype)
    else:
        w = _array(weights)
        w = w.astype(np.result_type(a, w, *([float] if a.dtype.kind in "iub" else [])))
        if w.shape != a.shape:
            kept, reduced = _axes(a, axis)
            if axis is None or w.shape != tuple(a.shape[i] for i in reduced):
                raise ValueError(
                    f"weights of shape {w.shape} fit neither the shape {a.shape} nor its axes "
                    f"{axis}"
                )
            w = np.transpose(w, np.argsort(reduced))
            w = w.reshape([1 if i in kept else n for i, n in enumerate(a.shape)])
        total = np.sum(w, axis=axis, keepdims=keepdims)
        if np.any(total == 0):
            raise ZeroDivisionError("the weights of an average add up to 0")
        mean = np.sum(a * w, axis=axis, keepdims=keepdims) / total
    return (mean, np.copy(np.broadcast_to(total, mean.shape))) if returned else mean


def _ends(x: Any, axis: int) -> tuple[Any, Any]:
    """All values along the axis but the last, and all but the first."""
    before = (slice(None),) * (axis % x.ndim)
    return x[(*before, slice(None, -1))], x[(*before, slice(1, None))]


@composition(np.trapezoid)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """The sum of the widths of the pieces, each times its mean height."""
    y = _array(y)
    width = dx
    if x is not None:
        left, right = _ends(_array(x), axis if np.ndim(x) > 1 else 0)
        width = right - left
        if np.ndim(x) == 1:
            width = width.reshape([-1 if i == axis % y.ndim else 1 for i in range(y.ndim)])
    left, right = _ends(y, axis)
    return np.sum(width * (right + left) / 2.0, axis=axis)


@primitive
def length(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """`np.linalg.norm` for the norms sum(abs(x)**ord) ** (1/ord), of matrices only with ord 2.

    Example:
        >>> length(np.array([3.0, -4.0]))
        np.float64(5.0)
    """
    return np.linalg.norm(x, ord, axis, keepdims)


def _length_dx(
    g: Any, y: Any, x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False
) -> Any:
    """sign(x) * abs(x / y)**(ord-1), and 0 at x = 0."""
    g, y = spread(g, x, axis, keepdims), spread(y, x, axis, keepdims)
    direction = ratio(x, y)
    if ord in (None, 2, "fro", "f"):
        return g * direction
    power = np.sign(x) * np.where(x == 0, 1, np.abs(direction)) ** (ord - 1)
    return g * np.where(y == 0, direction, power)


length.derivative(_length_dx)


@composition(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Norms of vectors along one axis, and of matrices along two."""
    x = x.astype(float) if x.dtype.kind in "iub" else x
    axes = tuple(range(x.ndim)) if axis is None else normalize_axis_tuple(axis, x.ndim)
    if ord is None or (len(axes) == 2 and ord in ("fro", "f")):
        return length(x, ord=ord, axis=axis, keepdims=keepdims)
    if len(axes) == 1:
        if ord in (np.inf, -np.inf):
            extreme = np.max if ord > 0 else np.min
            return extreme(np.abs(x), axis=axes, keepdims=keepdims)
        if ord == 0:
            return np.sum((x != 0).astype(x.dtype), axis=axes, keepdims=keepdims)
        return length(x, ord=ord, axis=axis, keepdims=keepdims)
    if len(axes) != 2 or ord not in (1, -1, 2, -2, np.inf, -np.inf, "nuc"):
        raise ValueError(f"np.linalg.norm along {len(axes)} axes has no norm ord={ord!r}")
    if ord in (2, -2, "nuc"):
        kept = [i for i in range(x.ndim) if i not in axes]
        values = np.linalg.svd(np.transpose(x, (*kept, *axes)), compute_uv=False)
        over: Any = {2: np.max, -2: np.min, "nuc": np.sum}[ord]
        y = np.expand_dims(over(values, axis=-1), axes)
    else:
        summed, compared = axes if abs(ord) == 1 else axes[::-1]
        sums = np.sum(np.abs(x), axis=summed, keepdims=True)
        y = (np.max if ord > 0 else np.min)(sums, axis=compared, keepdims=True)
    return y if keepdims else np.copy(np.squeeze(y, axis=axes))


@composition(np.linalg.vector_norm)
def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """The norm along any axes of the vector of all their values."""
    kept, reduced = _axes(x, axis)
    shape = [math.prod(x.shape[i] for i in reduced)] + [x.shape[i] for i in kept]
    y = np.linalg.norm(np.transpose(x, (*reduced, *kept)).reshape(shape), ord, 0)
    return np.expand_dims(y, reduced) if keepdims else y


@composition(np.linalg.matrix_norm)
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """The norm of each matrix of a stack."""
    return np.linalg.norm(x, ord, (-2, -1), keepdims)


constant(np.argmax, np.argmin, np.nanargmax, np.nanargmin, np.argsort)
constant(np.all, np.any, np.count_nonzero, np.nonzero, np.allclose, np.array_equal)
constant(np.shares_memory, np.may_share_memory)
