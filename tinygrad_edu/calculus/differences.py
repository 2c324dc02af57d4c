"""Derivatives of differences, interpolation, convolution, polynomials and covariances."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from tinygrad_edu.calculus.indexing import scatter_add
from tinygrad_edu.rules import PRIMITIVES, composition, derivative, primitive, unbroadcast


def _along(axis: int, *cut: Any) -> tuple[Any, ...]:
    """An index that cuts one axis and keeps the others whole."""
    return (*(slice(None),) * axis, slice(*cut))


# Differences.


@composition(np.diff)
def diff(
    a: Any, n: int = 1, axis: int = -1, prepend: Any = np._NoValue, append: Any = np._NoValue
) -> Any:
    """`np.diff`."""
    if n < 0:
        raise ValueError(f"np.diff: the order n must not be negative, got {n}")
    axis = normalize_axis_index(axis, np.ndim(a))
    one = (*np.shape(a)[:axis], 1, *np.shape(a)[axis + 1 :])
    if n > 0:
        around = [x for x in (prepend, a, append) if x is not np._NoValue]
        around = [np.broadcast_to(x, one) if np.ndim(x) == 0 else x for x in around]
        a = np.concatenate(around, axis) if len(around) > 1 else a
    for _ in range(n):
        a = np.subtract(a[_along(axis, 1, None)], a[_along(axis, None, -1)])
    return a


@composition(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """`np.ediff1d`."""
    ary = np.ravel(ary)
    y = ary[1:] - ary[:-1]
    around = [np.ravel(part) for part in (to_begin, y, to_end) if part is not None]
    return np.concatenate(around, dtype=ary.dtype) if len(around) > 1 else y


@composition(np.gradient)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """`np.gradient`, by the coordinates as well.

    Coordinates that need a gradient are taken as uneven even if they are even, which gives the
    same values up to rounding: NumPy's formula for even ones reads the first distance only.
    """
    f = f if hasattr(f, "dtype") else np.asarray(f)
    f = f.astype(float) if f.dtype.kind in "iub" else f
    axes = tuple(range(f.ndim)) if axis is None else normalize_axis_tuple(axis, f.ndim)
    if len(varargs) == 0:
        spacings: Any = (1.0,) * len(axes)
    elif len(varargs) == 1 and np.ndim(varargs[0]) == 0:
        spacings = varargs * len(axes)
    else:
        spacings = varargs
    if len(spacings) != len(axes):
        raise TypeError(f"np.gradient takes one spacing or one for each of {len(axes)} axes")
    if edge_order not in (1, 2):
        raise ValueError(f"np.gradient takes edge_order=1 or 2, got {edge_order}")
    slopes = []
    for axis, spacing in zip(axes, spacings, strict=True):
        n = f.shape[axis]
        if n <= edge_order:
            raise ValueError(f"np.gradient: {n} values are too few for edge_order={edge_order}")
        y = _slopes(np.moveaxis(f, axis, -1), _distances(spacing, n), edge_order)
        slopes.append(np.copy(np.moveaxis(y, -1, axis), order="C"))
    return slopes[0] if len(slopes) == 1 else tuple(slopes)


def _distances(spacing: Any, n: int) -> Any:
    """The distances between n coordinates, one number if they are equal, or the given number."""
    if np.ndim(spacing) == 0:
        return spacing
    x = spacing if hasattr(spacing, "dtype") else np.asarray(spacing)
    if x.shape != (n,):
        raise ValueError(f"np.gradient takes {n} coordinates for {n} values, got shape {x.shape}")
    h = np.diff(x.astype(float) if x.dtype.kind in "iu" else x)
    even = np.all(h == h[0]) and not getattr(h, "requires_grad", False)
    return h[0] if even else h


def _slopes(f: Any, h: Any, edge_order: int) -> Any:
    """The slopes of `f` along the last axis: those of the parabola through each three values.

    With edge_order=1 those at the ends are of the line through two values.
    """
    even = np.ndim(h) == 0
    if even:
        inner = (f[..., 2:] - f[..., :-2]) / (2.0 * h)
    else:
        p, q = h[:-1], h[1:]
        weights = -q / (p * (p + q)), (q - p) / (p * q), p / (q * (p + q))
        inner = _weighted(weights, f[..., :-2], f[..., 1:-1], f[..., 2:])
    if edge_order == 1:
        first = (f[..., 1:2] - f[..., :1]) / (h if even else h[0])
        last = (f[..., -1:] - f[..., -2:-1]) / (h if even else h[-1])
        return np.concatenate([first, inner, last], -1, dtype=f.dtype)
    if even:
        at_first = -1.5 / h, 2.0 / h, -0.5 / h
        at_last = 0.5 / h, -2.0 / h, 1.5 / h
    else:
        p, q = h[0], h[1]
        at_first = -(2.0 * p + q) / (p * (p + q)), (p + q) / (p * q), -p / (q * (p + q))
        p, q = h[-2], h[-1]
        at_last = q / (p * (p + q)), -(q + p) / (p * q), (2.0 * q + p) / (q * (p + q))
    first = _weighted(at_first, f[..., :1], f[..., 1:2], f[..., 2:3])
    last = _weighted(at_last, f[..., -3:-2], f[..., -2:-1], f[..., -1:])
    return np.concatenate([first, inner, last], -1, dtype=f.dtype)


def _weighted(weights: Any, left: Any, middle: Any, right: Any) -> Any:
    a, b, c = weights
    return a * left + b * middle + c * right


# The corrections are multiples of the period.
derivative(np.unwrap, lambda g, y, p, discont=None, axis=-1, period=2 * math.pi: g)


# Interpolation. Between the knots j and k the value is (1 - t) * fp[j] + t * fp[k].


def _between(x: Any, xp: Any) -> tuple[Any, Any, Any, Any]:
    """The knots j and k around each x, how far it is from one to the other, and whether it is.

    At an inner knot it is the interval to the right. Beyond the ends t is 0 or 1.
    """
    j = np.clip(np.searchsorted(xp, x, side="right") - 1, 0, max(xp.size - 2, 0))
    k = np.minimum(j + 1, xp.size - 1)
    inside = (x >= xp[0]) & (x <= xp[-1])
    width = xp[k] - xp[j]
    t = np.where(inside & (width != 0), (x - xp[j]) / np.where(width == 0, 1, width), x > xp[0])
    return j, k, t, inside


def _to_knots(g: Any, j: Any, k: Any, t: Any, knots: Any) -> Any:
    at_j = scatter_add(np.ravel(g * (1 - t)), np.ravel(j), knots.shape)
    return at_j + scatter_add(np.ravel(g * t), np.ravel(k), knots.shape)


def _interp_dx(
    g: Any, y: Any, x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None
) -> Any:
    """The slope of the interval; beyond the ends 0."""
    j, k, _, inside = _between(x, xp)
    width = xp[k] - xp[j]
    return g * inside * (fp[k] - fp[j]) / np.where(width == 0, 1, width)


def _interp_dxp(
    g: Any, y: Any, x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None
) -> Any:
    """To move the knots to the right is to move x to the left."""
    j, k, t, _ = _between(x, xp)
    return -_to_knots(_interp_dx(g, y, x, xp, fp), j, k, t, xp)


def _interp_dfp(
    g: Any, y: Any, x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None
) -> Any:
    j, k, t, inside = _between(x, xp)
    read = inside | ((x < xp[0]) & (left is None)) | ((x > xp[-1]) & (right is None))
    return _to_knots(g * read, j, k, t, fp)


derivative(np.interp, _interp_dx, _interp_dxp, _interp_dfp)


@composition(np.interp)
def interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Any:
    """`np.interp`; with a period the knots are brought into one, and continued at both ends."""
    ends = {name: value for name, value in (("left", left), ("right", right)) if value is not None}
    if period is None:
        return PRIMITIVES[np.interp](x, xp, fp, **ends)
    if period == 0:
        raise ValueError("np.interp: the period must not be 0")
    x, xp, fp = (
        z.astype(float) if hasattr(z, "dtype") else np.asarray(z, float) for z in (x, xp, fp)
    )
    xp = np.remainder(xp, abs(period))
    order = np.argsort(xp)
    xp, fp = np.take(xp, order), np.take(fp, order)
    xp = np.concatenate([xp[-1:] - abs(period), xp, xp[:1] + abs(period)])
    fp = np.concatenate([fp[-1:], fp, fp[:1]])
    return PRIMITIVES[np.interp](np.remainder(x, abs(period)), xp, fp)


# Evenly spaced numbers.


@primitive
def evenly(start: Any, stop: Any, num: int, endpoint: bool, dtype: Any, axis: int) -> Any:
    """`np.linspace`: numbers from `start` to `stop`, of which each is a mean of the two."""
    return np.linspace(start, stop, num, endpoint, dtype=dtype, axis=axis)


def _share(g: Any, end: Any, weights: Any, axis: int) -> Any:
    return unbroadcast(np.moveaxis(g, axis, -1) @ weights, end.shape)


evenly.derivative(
    lambda g, y, start, stop, num, endpoint, dtype, axis: _share(
        g, start, 1 - np.linspace(0, 1, num, endpoint, dtype=g.dtype), axis
    ),
    lambda g, y, start, stop, num, endpoint, dtype, axis: _share(
        g, stop, np.linspace(0, 1, num, endpoint, dtype=g.dtype), axis
    ),
)


@composition(np.linspace)
def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """`np.linspace`."""
    y = evenly(start, stop, num, endpoint, dtype, axis)
    steps = num - 1 if endpoint else num
    if not retstep:
        return y
    return y, np.subtract(stop, start) / steps if steps > 0 else math.nan


@composition(np.logspace)
def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """`np.logspace`."""
    if np.ndim(base) > 0:
        raise NotImplementedError("np.logspace of a Tensor takes one base for all")
    y = np.power(base, np.linspace(start, stop, num, endpoint, axis=axis))
    return y if dtype is None else y.astype(dtype)


@composition(np.geomspace)
def geomspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0
) -> Any:
    """`np.geomspace`: its ends are the very numbers that were given."""
    ends = start, stop = np.broadcast_arrays(start, stop)
    if any(np.any(end == 0) for end in ends):
        raise ValueError("np.geomspace cannot begin or end at 0")
    wide = np.result_type(start, stop, float(num), np.zeros((), dtype))
    start, stop = (end.astype(wide) for end in ends)
    sign = np.sign(start)
    start, stop = start / sign, stop / sign
    y = np.logspace(np.log10(start), np.log10(stop), num, endpoint, dtype=wide)
    if num > 1 and endpoint:
        y = np.concatenate([start[None], y[1:-1], stop[None]])
    elif num > 0:
        y = np.concatenate([start[None], y[1:]])
    y = np.moveaxis(y * sign, 0, axis)
    return y if dtype is None else y.astype(dtype)


# Convolution.


def _whole(g: Any, a: Any, v: Any, more_before: bool = False) -> Any:
    """The gradient of mode="full", of which the other modes keep the middle part.

    If an odd number was cut off, one more was cut off behind, or before.
    """
    cut = a.size + v.size - 1 - g.size
    before = (cut + more_before) // 2
    return np.pad(g, (before, cut - before))


def _correlate_da(g: Any, y: Any, a: Any, v: Any, mode: Any = "valid") -> Any:
    return np.convolve(_whole(g, a, v, a.size < v.size), v, "valid")


def _correlate_dv(g: Any, y: Any, a: Any, v: Any, mode: Any = "valid") -> Any:
    return np.flip(np.correlate(_whole(g, a, v, a.size < v.size), a))


derivative(
    np.convolve,
    lambda g, y, a, v, mode="full": np.correlate(_whole(g, a, v), np.ravel(v)).reshape(a.shape),
    lambda g, y, a, v, mode="full": np.correlate(_whole(g, a, v), np.ravel(a)).reshape(v.shape),
)
derivative(np.correlate, _correlate_da, _correlate_dv)


# Polynomials, highest power first.


@composition(np.polyval)
def polyval(p: Any, x: Any) -> Any:
    """`np.polyval`, by Horner's rule."""
    p, x = (value if hasattr(value, "dtype") else np.asarray(value) for value in (p, x))
    y = np.zeros_like(x)
    for coefficient in p:
        y = y * x + coefficient
    return y


@composition(np.polyder)
def polyder(p: Any, m: int = 1) -> Any:
    """`np.polyder`."""
    if m < 0:
        raise ValueError(f"np.polyder: the order must not be negative, got {m}")
    for _ in range(m):
        p = p[:-1] * np.arange(len(p) - 1, 0, -1)
    return p


def _vander_back(g: Any, y: Any, x: Any, N: Any = None, increasing: bool = False) -> Any:
    """The column x**n has the derivative n * x**(n-1), and that is n times the column before."""
    if not increasing:
        g, y = np.fliplr(g), np.fliplr(y)
    return np.sum(g[:, 1:] * y[:, :-1] * np.arange(1, y.shape[1]), axis=1)


derivative(np.vander, _vander_back)


@composition(np.polyfit)
def polyfit(
    x: Any,
    y: Any,
    deg: int,
    rcond: Any = None,
    full: bool = False,
    w: Any = None,
    cov: bool | str = False,
) -> Any:
    """`np.polyfit`: least squares with the powers of x, each divided by its norm."""
    if full or cov:
        raise NotImplementedError("np.polyfit of a Tensor has neither full=True nor cov=True")
    if np.ndim(x) != 1 or np.shape(x) != np.shape(y)[:1] or deg < 0:
        raise TypeError(
            f"np.polyfit takes a vector x, as many values y and a degree of 0 or more, got "
            f"shapes {np.shape(x)} and {np.shape(y)} and degree {deg}"
        )
    x, y = np.add(x, 0.0), np.add(y, 0.0)
    powers = np.vander(x, deg + 1)
    if w is not None:
        w = np.add(w, 0.0)
        powers, y = powers * w[:, None], (w * y.T).T
    size = np.sqrt(np.sum(powers * powers, axis=0))
    rcond = len(x) * np.finfo(x.dtype).eps if rcond is None else rcond
    c, _, rank, _ = np.linalg.lstsq(powers / size, y, rcond)
    if rank != deg + 1:
        warnings.warn("Polyfit may be poorly conditioned", np.exceptions.RankWarning, stacklevel=2)
    return (c.T / size).T


# Sums by groups, and covariances.


@primitive
def weighted_count(weights: Any, x: Any, minlength: int = 0) -> Any:
    """`np.bincount` with weights: their sums for x = 0, 1, 2, ..."""
    return np.bincount(x, weights, minlength)


weighted_count.derivative(lambda g, y, weights, x, minlength=0: g[x])


@composition(np.bincount)
def bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    """`np.bincount`; without weights it counts, and its result is a plain array."""
    if weights is None:
        return np.bincount(np.asarray(x), None, minlength)
    return weighted_count(weights, np.asarray(x), minlength)


@primitive
def covariance(m: Any, rowvar: bool = True, **keywords: Any) -> Any:
    """`np.cov` of one array of variables."""
    return np.cov(m, rowvar=rowvar, **keywords)


def _covariance_back(
    g: Any,
    y: Any,
    m: Any,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    dtype: Any = None,
) -> Any:
    """C = X W X' / N with X less its means: (g + g') X W / N.

    The means add nothing to it, since the columns of X W add up to 0.
    """
    flipped = m.ndim == 2 and not rowvar
    X = m.T if flipped else np.atleast_2d(m)
    a = np.ones(X.shape[1], y.dtype) if aweights is None else np.asarray(aweights, y.dtype)
    w = a if fweights is None else a * np.asarray(fweights, y.dtype)
    total = w.sum()
    ddof = (0 if bias else 1) if ddof is None else ddof
    number = total - (ddof if aweights is None else ddof * (w * a).sum() / total)
    XW = (X - ((X @ w) / total)[:, None]) * w
    g = g.reshape(X.shape[0], X.shape[0])
    gX = (g + g.T) @ XW / number
    return (gX.T if flipped else gX).reshape(m.shape)


covariance.derivative(_covariance_back)


@composition(np.cov)
def cov(m: Any, y: Any = None, rowvar: bool = True, *args: Any, **keywords: Any) -> Any:
    """`np.cov`; the variables of `y` are put below those of `m`."""
    names = ("bias", "ddof", "fweights", "aweights")
    keywords.update(zip(names, args, strict=False))
    if y is not None:
        m = m if rowvar or np.ndim(m) < 2 else np.transpose(m)
        y = y if rowvar or np.atleast_2d(y).shape[0] == 1 else np.transpose(y)
        m, rowvar = np.concatenate([np.atleast_2d(m), np.atleast_2d(y)]), True
    given = {name: value for name, value in keywords.items() if value is not None}
    return covariance(m, **({} if rowvar else {"rowvar": rowvar}), **given)


@primitive
def rounded_to_one(c: Any) -> Any:
    """What rounding errors have added beyond -1 and 1 is cut off; without them that is nothing."""
    return np.clip(c, -1, 1)


rounded_to_one.derivative(lambda g, y, c: g)


@composition(np.corrcoef)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    """`np.corrcoef`: the covariances over the standard deviations."""
    c = np.cov(x, y, rowvar, dtype=dtype)
    if c.ndim == 0:
        return c / c
    deviation = np.sqrt(np.diag(c))
    return rounded_to_one(c / deviation[:, None] / deviation[None, :])
