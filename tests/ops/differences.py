"""Cases of differences, interpolation, convolution, polynomials and covariances."""

from __future__ import annotations

import math

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
from cases import case, keep, one, shape_of_axes, some_axis

from tinygrad_edu import testing as tgt
from tinygrad_edu.calculus import differences

vectors = tgt.shapes(1, 1, 4)


def always(values):
    """A parameter that does not depend on the shape."""
    return lambda _: values


@st.composite
def with_neighbours(draw):
    """An array, and what is put before and behind it along an axis: numbers or arrays."""
    shape = draw(shape_of_axes)
    axis = draw(some_axis(shape))
    ends = []
    for _ in range(2):
        sides = list(shape)
        sides[axis] = draw(st.integers(1, 2))
        ends.append(draw(tgt.arrays(draw(st.sampled_from([(), tuple(sides)])))))
    return (draw(tgt.arrays(shape)), *ends), {"n": draw(st.integers(1, 3)), "axis": axis}


def apart(n):
    """Coordinates in ascending order, some of them evenly spaced."""
    steps = st.lists(st.integers(1, 4), min_size=n, max_size=n) | st.just([2] * n)
    return steps.map(lambda widths: np.cumsum(widths) / 4)


@st.composite
def with_spacings(draw):
    """An array, axes of it, and for each a distance or coordinates."""
    order = draw(st.integers(1, 2))
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=2, min_side=order + 1, max_side=order + 3))
    axes = draw(st.permutations(range(len(shape))))[: draw(st.integers(1, len(shape)))]
    spacings = [draw(st.just(0.5) | apart(shape[axis])) for axis in axes]
    if draw(st.booleans()):
        spacings = draw(st.sampled_from([[], [0.25]]))
    axis = axes[0] if len(axes) == 1 and draw(st.booleans()) else tuple(axes)
    parameters = {"spacings": spacings, "axis": axis, "edge_order": order}
    return (draw(tgt.arrays(shape)),), parameters


@st.composite
def with_coordinates(draw):
    """A matrix, uneven coordinates of its rows, and the distance of its columns."""
    order = draw(st.integers(1, 2))
    n = draw(st.integers(order + 1, 4))
    steps = np.array([0.25, 1.0, 0.5, 0.75])[:n]
    arrays = draw(tgt.arrays((n, order + 1))), np.cumsum(steps), np.array(draw(st.floats(0.5, 2)))
    return arrays, {"edge_order": order}


@st.composite
def between_knots(draw, period=False):
    """Places between and beyond knots, and on none of them."""
    n = draw(st.integers(1 + period, 4))
    steps = draw(st.lists(st.sampled_from([0.5, 0.75, 1.0]), min_size=n, max_size=n))
    xp = np.cumsum(steps)
    places = st.sampled_from([-1.1, 0.1, 0.3, 0.55, 0.8, 1.1, 1.35, 1.6, 2.1, 3.1, 4.3])
    x = draw(hnp.arrays(float, tgt.shapes(0, 2), elements=places))
    ends = (
        {}
        if period
        else {
            name: draw(st.just(3.0))
            for name in draw(st.sampled_from([(), ("left",), ("right",), ("left", "right")]))
        }
    )
    if period:
        ends = {"period": 5.3, "order": draw(st.permutations(range(n)))}
    return (x + 0.01, xp, draw(tgt.arrays(n))), ends


def periodic(x, xp, fp, period, order):
    """Knots in any order, some of them in another period."""
    return np.interp(x, xp[list(order)] + period * (np.arange(len(order)) % 2), fp, period=period)


@st.composite
def two_vectors(draw):
    """Two vectors, either of which may be longer, and a mode."""
    size = st.integers(1, 5)
    mode = draw(st.sampled_from(["full", "same", "valid"]))
    return (draw(tgt.arrays((draw(size),))), draw(tgt.arrays((draw(size),)))), {"mode": mode}


@st.composite
def coefficients(draw):
    """Coefficients of a polynomial, and where it is evaluated."""
    return (draw(tgt.arrays(tgt.shapes(1, 1, 4))), draw(tgt.arrays())), {}


@st.composite
def ends(draw, low=-2.0, high=2.0):
    """Where numbers in a row start and stop, in shapes that broadcast, and how many they are."""
    (a, b) = draw(tgt.broadcastable((low, high), (low, high), max_dims=2))
    n = max(a.ndim, b.ndim)
    parameters = {
        "num": draw(st.integers(0, 5)),
        "endpoint": draw(st.booleans()),
        "axis": draw(st.integers(-n - 1, n)),
    }
    return (a, b), parameters


def geometric(a, b, num, endpoint, axis):
    """Rows of one sign each, whose numbers are of float64 whatever the ends are."""
    signs = np.where(np.arange(a.shape[-1] if a.ndim else 1) % 2, -1.0, 1.0).astype(a.dtype)
    if b.shape[-1:] not in ((), (1,), a.shape[-1:]) or a.ndim == 0:
        signs = 1
    y = np.geomspace(a * signs, b * signs, num, endpoint, axis=axis)
    return y.astype(a.dtype)


@st.composite
def grouped(draw):
    """Weights and the groups that they belong to."""
    w = draw(tgt.arrays(tgt.shapes(1, 1, 5)))
    x = draw(hnp.arrays(int, w.shape, elements=st.integers(0, 4)))
    return (w,), {"x": x, "minlength": draw(st.sampled_from([0, 7]))}


@st.composite
def observed(draw, weighted=True):
    """Observations of some variables, in rows or in columns, and perhaps weights."""
    x = draw(tgt.separated(hnp.array_shapes(min_dims=1, max_dims=2, min_side=3, max_side=4)))
    parameters = {"rowvar": draw(st.booleans())}
    n = x.shape[-1] if parameters["rowvar"] else x.shape[0]
    if weighted:
        parameters["bias"] = draw(st.booleans())
        parameters["ddof"] = draw(st.sampled_from([None, 0, 1]))
        if draw(st.booleans()):
            parameters["fweights"] = np.array(draw(st.sampled_from([[1, 2, 3, 1], [2, 2, 1, 2]])))[
                :n
            ]
        if draw(st.booleans()):
            parameters["aweights"] = np.array([0.5, 1.5, 2.0, 0.25])[:n]
    return (x,), parameters


@st.composite
def observed_twice(draw):
    """Observations of two sets of variables."""
    rowvar = draw(st.booleans())
    many = tgt.shapes(1, 1).map(lambda shape: (*shape, 4)) | st.just((4,))
    x, y = draw(tgt.arrays(many)), draw(tgt.arrays(many))
    return (x if rowvar else x.T, y if rowvar or y.shape[0] == 1 else y.T), {"rowvar": rowvar}


@st.composite
def fitted(draw):
    """Places apart from each other, values there, in one or two columns, and weights."""
    n = draw(st.integers(4, 5))
    many = draw(st.sampled_from([(n,), (n, 2)]))
    arrays = draw(tgt.separated(n)), draw(tgt.arrays(many)), draw(tgt.arrays(n, 0.5, 2.0))
    return arrays, {"deg": draw(st.integers(0, 2)), "weighted": draw(st.booleans())}


def fit(x, y, w, deg, weighted):
    """A fit that is not perfect, so that the weights matter."""
    y = (y.T + np.sin(5 * x)).T
    return np.polyfit(x, y, deg, w=w) if weighted else np.polyfit(x, (w * y.T).T, deg)


def in_its_dtype(function):
    """Some functions always compute in float64."""
    return lambda first, *rest, **how: function(first, *rest, **how).astype(first.dtype)


def together(parts):
    """One result, or several in one vector."""
    parts = parts if isinstance(parts, tuple) else (parts,)
    return np.concatenate([np.ravel(part) for part in parts])


def slopes(f, spacings, axis, edge_order):
    return together(np.gradient(f, *spacings, axis=axis, edge_order=edge_order))


CASES = [
    case(np.diff, one(shape_of_axes, n=always(st.integers(0, 3)), axis=some_axis)),
    case(
        np.diff,
        with_neighbours(),
        lambda x, a, b, n, axis: np.diff(x, n, axis, a, b),
        "diff with neighbours",
    ),
    case(np.ediff1d, one()),
    case(
        np.ediff1d,
        one(shape_of_axes),
        lambda x: np.ediff1d(x, to_end=x[:1], to_begin=x[0] * x[0]),
        "ediff1d with ends",
    ),
    case(np.gradient, with_spacings(), slopes),
    case(
        np.gradient,
        with_coordinates(),
        lambda f, x, h, edge_order: together(np.gradient(f, x, h, edge_order=edge_order)),
        "gradient by coordinates",
    ),
    case(
        np.unwrap,
        one(shape_of_axes, low=-4.0, high=4.0, axis=some_axis),
        lambda p, axis: np.unwrap(p * 1.1, axis=axis, period=2 * math.pi),
    ),
    case(np.interp, between_knots(), in_its_dtype(np.interp)),
    case(np.interp, between_knots(period=True), in_its_dtype(periodic), "interp with a period"),
    case(differences.evenly, ends(), lambda a, b, **how: np.linspace(a, b, **how), "evenly"),
    case(np.linspace, ends(), lambda a, b, **how: np.linspace(a, b, **how)),
    case(
        np.linspace,
        ends(),
        lambda a, b, **how: np.linspace(a, b, retstep=True, **{**how, "num": 4})[1],
        "step of linspace",
    ),
    case(np.logspace, ends(), lambda a, b, **how: np.logspace(a, b, base=1.5, **how)),
    case(np.geomspace, ends(0.5, 3.0), geometric),
    case(np.convolve, two_vectors()),
    case(np.correlate, two_vectors()),
    case(np.polyval, coefficients()),
    case(
        np.polyder,
        one(tgt.shapes(1, 1, 5), m=always(st.integers(0, 2))),
        in_its_dtype(np.polyder),
    ),
    case(np.polyfit, fitted(), in_its_dtype(fit)),
    case(
        np.vander,
        one(vectors, N=always(st.none() | st.integers(0, 4)), increasing=keep),
        in_its_dtype(np.vander),
    ),
    case(differences.weighted_count, grouped(), in_its_dtype(differences.weighted_count)),
    case(np.bincount, grouped(), in_its_dtype(lambda w, x, **least: np.bincount(x, w, **least))),
    case(differences.covariance, observed(), in_its_dtype(differences.covariance)),
    case(np.cov, observed(), in_its_dtype(np.cov)),
    case(np.cov, observed_twice(), in_its_dtype(np.cov), "cov of two"),
    case(np.corrcoef, observed(weighted=False), in_its_dtype(np.corrcoef)),
    case(differences.rounded_to_one, one(low=-0.9, high=0.9)),
]
