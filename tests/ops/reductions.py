"""Cases of the functions that reduce axes."""

from __future__ import annotations

import math

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
from cases import case, keep, one, one_apart, reduced, shape_of_axes, some_axes, some_axis
from hypothesis import assume

from tinygrad_edu import testing as tgt
from tinygrad_edu.calculus import reductions

shape_of_matrices = tgt.shapes(min_dims=2)


def one_or_all(shape):
    """An axis, or None for all values in one row."""
    return st.none() | some_axis(shape) if shape else st.none()


def some_mask(shape):
    """Which values to read, at least one."""
    return hnp.arrays(bool, shape).filter(np.any)


def any_of(*values):
    return lambda _: st.sampled_from(values)


def quantiles(_):
    """A level or a list of them, all exact in float32."""
    level = st.integers(0, 16).map(lambda n: n / 16)
    return level | st.lists(level, min_size=1, max_size=3)


def with_quantiles(function, unit=1):
    """The function at levels in the dtype of x, to which the result would be promoted."""

    def at_levels(x, q, **parameters):
        q = q * unit if isinstance(q, float) else np.array(q, x.dtype) * unit
        return function(x, q, **parameters)

    return at_levels


def orders(_):
    return st.sampled_from([None, 1, 2, 3, 2.5, -1, np.inf, -np.inf])


def sum_of_weights(x, w, **parameters):
    """Both results of an average."""
    return np.stack(np.average(x, weights=w, returned=True, **parameters))


def positions(shape):
    """An axis, or several in any order."""
    return some_axis(shape) | hnp.valid_tuple_axes(len(shape), min_size=1)


@st.composite
def weighted(draw):
    """Values and weights: for each value, or for each place along some axes."""
    # A single value is its own average, whatever its weight.
    x = draw(tgt.separated(hnp.array_shapes(max_dims=3, min_side=2, max_side=3)))
    axis = draw(st.none() | positions(x.shape))
    shape = x.shape
    if axis is not None and draw(st.booleans()):
        shape = tuple(x.shape[i] for i in (axis if isinstance(axis, tuple) else (axis,)))
    return (x, draw(tgt.arrays(shape, 0.5, 2.0))), {"axis": axis, "keepdims": draw(keep(None))}


@st.composite
def curves(draw):
    """Heights and places: a place for each height, or for each along the axis."""
    y = draw(tgt.arrays(tgt.shapes(min_dims=1, max_side=4)))
    axis = draw(some_axis(y.shape))
    x = draw(tgt.arrays(draw(st.sampled_from([y.shape, (y.shape[axis],)]))))
    return (y, x), {"axis": axis}


@st.composite
def known_mean(draw):
    """Values, and what is to be taken as their mean."""
    x = draw(tgt.arrays(shape_of_axes))
    axis = draw(some_axis(x.shape))
    shape = list(x.shape)
    shape[axis] = 1
    mean = draw(tgt.arrays(draw(st.sampled_from([tuple(shape), (1,)])), 3.0, 4.0))
    return (x, mean), {"axis": axis, "ddof": draw(st.sampled_from([0, 0.5, -1]))}


def with_holes(x):
    """x with a NaN in each second of three places."""
    return np.where(np.arange(x.size).reshape(x.shape) % 3 == 1, np.nan, x)


def skipping(function):
    return lambda x, **parameters: function(with_holes(x), **parameters)


def about(function):
    return lambda x, mean, **parameters: function(x, mean=mean, **parameters)


@st.composite
def generic(draw, of=shape_of_axes, **parameters):
    """As `one`, with values of which no two, and no two sums, have close absolute values."""
    shape = draw(of)
    n = math.prod(shape)
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    x = 0.2 + 1.8 / n * (rng.permutation(n) + rng.uniform(0.2, 0.8, n)).reshape(shape)
    for axis in range(x.ndim):
        assume(np.all(np.diff(np.sort(np.sum(x, axis), axis=None)) > 0.02))
    signs = draw(hnp.arrays(float, shape, elements=st.sampled_from([-1.0, 1.0])))
    return (x * signs,), {name: draw(make(shape)) for name, make in parameters.items()}


def two_axes(shape):
    return st.permutations(range(-len(shape), 0)).map(lambda axes: tuple(axes[:2]))


def measured(measure):
    return lambda x, mean, **parameters: measure(x, mean, False, **parameters)


@st.composite
def rows(draw):
    """Two arrays of the same shape."""
    shape = draw(shape_of_axes)
    return (draw(tgt.arrays(shape)), draw(tgt.arrays(shape))), {}


# Of a single value that is left the deviation is 0, where it has no second derivative.
of_many = st.sampled_from([(4,), (2, 3), (3, 1, 2)])

CASES = [
    case(np.sum, one(**reduced)),
    case(np.sum, one(where=some_mask, initial=any_of(0, 2.5)), name="sum where"),
    case(np.mean, one(**reduced)),
    case(np.mean, one(), name="mean of all"),
    case(np.mean, one(shape_of_matrices, axis=some_axis), name="mean along axes"),
    case(np.mean, one(where=some_mask), name="mean where"),
    case(np.nanmean, one(keepdims=keep), skipping(np.nanmean), "nanmean"),
    case(np.var, one(**reduced, ddof=any_of(0, -0.5))),
    case(
        np.var, one(shape_of_matrices, where=some_mask, correction=any_of(0, -1)), name="var where"
    ),
    case(np.var, known_mean(), about(np.var), "var mean"),
    case(np.std, one_apart(**reduced, ddof=any_of(0, -0.5))),
    case(np.std, one_apart(shape_of_matrices, where=some_mask, ddof=any_of(-1)), name="std where"),
    case(np.std, known_mean(), about(np.std), "std mean"),
    case(np.nanvar, one(keepdims=keep), skipping(np.nanvar), "nanvar"),
    case(np.nanvar, known_mean(), about(np.nanvar), "nanvar mean"),
    case(np.nanstd, one_apart(of_many, keepdims=keep), skipping(np.nanstd), "nanstd"),
    case(reductions.variance, known_mean(), measured(reductions.variance), "variance"),
    case(reductions.deviation, known_mean(), measured(reductions.deviation), "deviation"),
    case(np.max, one_apart(**reduced)),
    case(np.min, one_apart(**reduced)),
    case(np.amax, one_apart(**reduced), name="amax"),
    case(np.amin, one_apart(**reduced), name="amin"),
    case(np.ptp, one_apart(**reduced)),
    case(np.max, one_apart(where=some_mask, initial=any_of(-9.0)), name="max where"),
    case(np.min, one_apart(where=some_mask, initial=any_of(9.0)), name="min where"),
    case(np.nanmax, one_apart(keepdims=keep), skipping(np.nanmax), "nanmax"),
    case(np.nanmin, one_apart(keepdims=keep), skipping(np.nanmin), "nanmin"),
    case(np.prod, one(**reduced)),
    case(np.prod, one(where=some_mask, initial=any_of(1, 2.5)), name="prod where"),
    case(np.cumsum, one(axis=one_or_all)),
    case(np.cumprod, one(axis=one_or_all)),
    case(reductions.recurrence, rows()),
    *[
        case(f, one(axis=one_or_all), skipping(f))
        for f in (np.nansum, np.nanprod, np.nancumsum, np.nancumprod)
    ],
    case(np.median, one_apart(**reduced)),
    case(
        np.quantile,
        one_apart(q=quantiles, **reduced),
        with_quantiles(np.quantile),
        "quantile",
    ),
    case(
        np.percentile,
        one_apart(q=quantiles, **reduced),
        with_quantiles(np.percentile, 100),
        "percentile",
    ),
    case(np.nanmedian, one_apart(keepdims=keep), skipping(np.nanmedian), "nanmedian"),
    case(
        np.nanquantile,
        one_apart(q=quantiles),
        skipping(with_quantiles(np.nanquantile)),
        "nanquantile",
    ),
    case(
        np.nanpercentile,
        one_apart(q=quantiles),
        skipping(with_quantiles(np.nanpercentile, 100)),
        "nanpercentile",
    ),
    case(np.average, one(**reduced)),
    case(
        np.average,
        weighted(),
        lambda x, w, **rest: np.average(x, weights=w, **rest),
        "average weights",
    ),
    case(np.average, weighted(), sum_of_weights, "average returned"),
    case(np.trapezoid, one(shape_of_axes, axis=some_axis, dx=any_of(1.0, 0.3))),
    case(np.trapezoid, curves(), name="trapezoid at places"),
    case(np.linalg.norm, generic(tgt.shapes(), keepdims=keep)),
    case(
        np.linalg.norm, generic(ord=orders, axis=some_axis, keepdims=keep), name="norm of vectors"
    ),
    *[
        case(
            np.linalg.norm,
            generic(shape_of_matrices, ord=any_of(ord), axis=two_axes, keepdims=keep),
            name=f"norm {ord}",
        )
        for ord in (None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)
    ],
    case(np.linalg.vector_norm, generic(ord=orders, axis=some_axes, keepdims=keep)),
    case(np.linalg.matrix_norm, generic(shape_of_matrices, ord=any_of("fro", 1), keepdims=keep)),
    case(
        reductions.length,
        one_apart(shape_of_axes),
        lambda x: reductions.length(x, 3, -1, True),
        "length",
    ),
]
if hasattr(np, "cumulative_sum"):
    options = {"axis": some_axis, "include_initial": keep}
    CASES += [
        case(np.cumulative_sum, one(shape_of_axes, **options)),
        case(np.cumulative_prod, one(shape_of_axes, **options)),
    ]
