"""Elementwise functions and reductions where they are hard: kinks, ties, zeros, infinities, NaN."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ops import elementwise, reductions

import tinygrad_edu as tg
from tinygrad_edu import calculus
from tinygrad_edu.rules import COMPOSITIONS, CONSTANTS, PRIMITIVES

inf, nan = np.inf, np.nan


def slopes(f, *xs):
    """The gradients of the sum of the outputs, one for each input."""
    arrays = [np.array(x, float) if isinstance(x, (list, float)) else x for x in xs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's own, of log(0) for one
        return tg.grad(lambda *xs: np.sum(f(*xs)), argnums=tuple(range(len(xs))))(*arrays)


def assert_slopes(f, xs, expected, **tolerance):
    for actual, right in zip(slopes(f, *xs), expected, strict=True):
        np.testing.assert_allclose(actual, right, **{"rtol": 1e-14, "atol": 0, **tolerance})


# The table of kinks.


def absolute_norm(x):
    return np.linalg.norm(x, np.inf)


def last_of(function):
    return lambda *xs: function(*xs)[-1]


ZERO, HALF, FIRST = [[0.0]], [[0.5], [0.5]], [[1.0], [0.0]]

KINKS = {
    "`relu(x, at_zero=0.0)` | x = 0": [
        (tg.relu, [[0.0]], ZERO),
        (lambda x: tg.relu(x, at_zero=0.25), [[0.0]], [[0.25]]),
    ],
    "`leaky_relu(x, slope)` | x = 0": [
        (lambda x: tg.leaky_relu(x, slope=0.3), [[0.0]], [[0.3]]),
    ],
    "`np.abs`, `np.fabs`, `np.copysign(x, b)` | x = 0": [
        (np.abs, [[0.0]], ZERO),
        (np.fabs, [[0.0]], ZERO),
        (np.copysign, [[0.0, 0.0], [1.0, -1.0]], [[0.0, 0.0], [0.0, 0.0]]),
    ],
    "`np.maximum(a, b)`, `np.minimum`, `np.fmax`, `np.fmin` | a = b": [
        *[(f, [[1.5], [1.5]], FIRST) for f in (np.maximum, np.minimum, np.fmax, np.fmin)],
        (lambda x: np.maximum(x, x), [[1.5, 0.0]], [[1.0, 1.0]]),
        (lambda x: np.maximum(0, x), [[0.0]], ZERO),
        (lambda x: np.maximum(x, 0), [[0.0]], [[1.0]]),
    ],
    "`np.maximum(a, b)`, `np.minimum` | a or b is NaN": [
        (f, [[nan, 1.0, nan], [1.0, nan, nan]], [[1, 1, 1], [0, 0, 0]])
        for f in (np.maximum, np.minimum)
    ],
    "`np.fmax(a, b)`, `np.fmin` | a or b is NaN": [
        (f, [[nan, 1.0, nan], [1.0, nan, nan]], [[0, 1, 1], [1, 0, 0]]) for f in (np.fmax, np.fmin)
    ],
    "`np.clip(x, low, high)` | x = low or x = high": [
        (np.clip, [[1.0, 2.0], [1.0, 1.0], [2.0, 2.0]], [[1, 1], [0, 0], [0, 0]]),
        (lambda x: np.clip(x, 0, None), [[0.0, -0.5]], [[1, 0]]),
    ],
    "`np.max`, `np.min`, `np.linalg.norm(x, np.inf)` | several equal extremes": [
        (np.max, [[2.0, 1.0, 2.0]], [[0.5, 0, 0.5]]),
        (np.min, [[2.0, 1.0, 1.0]], [[0, 0.5, 0.5]]),
        (absolute_norm, [[-2.0, 1.0, 2.0]], [[-0.5, 0, 0.5]]),
        (lambda x: np.max(x, axis=1), [[[2.0, 2.0], [1.0, 3.0]]], [[[0.5, 0.5], [0, 1]]]),
    ],
    "`np.median`, `np.quantile`, `np.percentile` | equal values": [
        (np.median, [[1.0, 1.0, 1.0]], [[0, 1, 0]]),
        (np.median, [[2.0, 1.0, 1.0, 2.0]], [[0.5, 0, 0.5, 0]]),
        (lambda x: np.quantile(x, 0.25), [[3.0, 3.0, 3.0]], [[0.5, 0.5, 0]]),
        (lambda x: np.percentile(x, 100), [[3.0, 3.0]], [[0, 1]]),
    ],
    "`np.max`, `np.min`, `np.median`, `np.quantile` | some are NaN": [
        *[(f, [[1.0, nan, 2.0]], [[0, 1, 0]]) for f in (np.max, np.min, np.median)],
        (lambda x: np.quantile(x, 0.3), [[nan, 1.0, nan]], [[0.5, 0, 0.5]]),
        (lambda x: np.max(x, 1), [[[1.0, nan], [1.0, 2.0]]], [[[0, 1], [0, 1]]]),
    ],
    "`np.nanmax`, `np.nanmean`, `np.nanmedian` and the like | some are NaN": [
        (np.nanmax, [[1.0, nan, 2.0, 2.0]], [[0, 0, 0.5, 0.5]]),
        (np.nanmin, [[1.0, nan, -inf]], [[0, 0, 1]]),
        (np.nanmean, [[1.0, nan, 2.0]], [[0.5, 0, 0.5]]),
        (np.nanmedian, [[1.0, nan, 2.0]], [[0.5, 0, 0.5]]),
        (lambda x: np.nanquantile(x, 0.25), [[1.0, nan, 2.0, 3.0]], [[0.5, 0, 0.5, 0]]),
        (np.nansum, [[1.0, nan]], [[1, 0]]),
        (np.nanprod, [[3.0, nan, 2.0]], [[2, 0, 3]]),
        (last_of(np.nancumsum), [[3.0, nan]], [[1, 0]]),
        (np.nanvar, [[1.0, nan, 3.0]], [[-1, 0, 1]]),
        (np.nanstd, [[1.0, nan, 3.0]], [[-0.5, 0, 0.5]]),
    ],
    "`x**b`, in x | x = 0": [
        (lambda x: x ** np.array([1.0, 0, 2, 3, 0.5]), [[0.0] * 5], [[1, 0, 0, 0, inf]]),
        (lambda x: np.float_power(x, [1, 0, 2, 3, 0.5]), [[0.0] * 5], [[1, 0, 0, 0, inf]]),
        *[(lambda x, b=b: x**b, [[0.0]], [[b == 1]]) for b in (0, 1, 2, 3, 0.0, 1.0, 2.0)],
    ],
    "`x**b`, in b | x = 0": [
        (lambda b: 0.0**b, [[0.0, 0.5, 1.0, 2.0, -1.0]], [[0, 0, 0, 0, 0]]),
    ],
    "`np.sqrt`, `np.cbrt`, `np.log` at 0, `np.arcsin` at 1 | the slope is infinite": [
        *[(f, [[0.0]], [[inf]]) for f in (np.sqrt, np.cbrt, np.log, np.log2, np.log10)],
        (np.log1p, [[-1.0]], [[inf]]),
        (np.arcsin, [[1.0, -1.0]], [[inf, inf]]),
        (np.arccos, [[1.0, -1.0]], [[-inf, -inf]]),
        (np.arccosh, [[1.0]], [[inf]]),
        (np.arctanh, [[1.0, -1.0]], [[inf, inf]]),
    ],
    "`np.linalg.norm`, `np.hypot`, `np.arctan2` | the origin": [
        (np.hypot, [[0.0], [0.0]], [[0.0], [0.0]]),
        (np.arctan2, [[0.0], [0.0]], [[0.0], [0.0]]),
        *[
            (lambda x, ord=ord: np.linalg.norm(x, ord), [[0.0, 0.0]], [[0, 0]])
            for ord in (None, 0, 1, 2, 3, 2.5, 1.5, 0.5, inf, -inf)
        ],
        *[
            (lambda x, ord=ord: np.linalg.norm(x, ord), [[[0.0, 0.0]]], [[[0, 0]]])
            for ord in (None, "fro", 1, inf, -1, -inf)
        ],
        (lambda x: np.linalg.norm(x, axis=1), [[[0.0, 0], [3, 4]]], [[[0, 0], [0.6, 0.8]]]),
        (lambda x: np.linalg.norm(x, 3), [[0.0, -2.0]], [[0, -1]]),
        (lambda x: np.linalg.norm(x, 0.5), [[0.0, -2.0]], [[0, -1]]),
    ],
    "`np.std` | equal values": [
        (np.std, [[1.5, 1.5, 1.5]], [[0, 0, 0]]),
        (np.std, [[7.0]], ZERO),
        (lambda x: np.std(x, axis=1), [[[2.0, 2], [1, 3]]], [[[0, 0], [-0.5, 0.5]]]),
    ],
    "`np.var(x, ddof=n)`, `np.std` | no more than n values": [
        (lambda x: np.var(x, ddof=1), [[7.0]], ZERO),
        (lambda x: np.std(x, ddof=1), [[7.0]], ZERO),
        (lambda x: np.std(x, ddof=2), [[7.0, 8.0]], [[0, 0]]),
        (lambda x: np.nanvar(x, 1), [[[nan, nan], [1, 3]]], [[[0, 0], [-1, 1]]]),
        (lambda x: np.nanstd(x, 1, ddof=1), [[[nan, 5.0]]], [[[0, 0]]]),
    ],
    "`np.logaddexp`, `np.logaddexp2`, `logsumexp` | all are -inf": [
        (np.logaddexp, [[-inf], [-inf]], [[0.0], [0.0]]),
        (np.logaddexp2, [[-inf], [-inf]], [[0.0], [0.0]]),
        (tg.logsumexp, [[-inf, -inf]], [[0, 0]]),
    ],
    "`np.logaddexp`, `np.logaddexp2`, `logsumexp` | several are inf": [
        (np.logaddexp, [[inf], [inf]], HALF),
        (np.logaddexp2, [[inf], [inf]], HALF),
        (tg.logsumexp, [[inf, 0.0, inf]], [[0.5, 0, 0.5]]),
    ],
    "`np.sinc` | x = 0": [(np.sinc, [[0.0]], ZERO)],
    "`np.remainder(a, b)`, `np.fmod`, in a; `np.modf` | a jump": [
        (lambda x: np.remainder(x, 2.0), [[2.0, -2.0, 0.0]], [[1, 1, 1]]),
        (lambda x: np.fmod(x, 2.0), [[2.0, -2.0, 0.0]], [[1, 1, 1]]),
        (lambda x: np.modf(x)[0], [[2.0, -2.0, 0.0]], [[1, 1, 1]]),
    ],
    "`np.frexp` | a power of 2": [
        (lambda x: np.frexp(x)[0], [[4.0, -0.5, 1.0]], [[0.125, 1, 0.5]]),
    ],
    "`np.heaviside(x, b)` | x = 0": [
        (np.heaviside, [[0.0, 1.0, -1.0], [0.5, 0.5, 0.5]], [[0, 0, 0], [1, 0, 0]]),
    ],
    "`np.floor`, `np.sign`, `np.argmax`, comparisons | everywhere": [
        (f, [[1.0, 0.5]], [[0, 0]]) for f in (np.floor, np.sign, np.argmax, lambda x: x > 1)
    ],
}


def rows_of_the_table():
    lines = (line.strip("| ") for line in calculus.__doc__.splitlines() if line.startswith("| "))
    return [" | ".join(line.split(" | ")[:2]) for line in lines][1:]


def test_the_table_of_kinks_has_these_rows():
    assert rows_of_the_table() == [*KINKS]


@pytest.mark.parametrize("row", KINKS)
def test_the_table_of_kinks_is_right(row):
    for f, xs, expected in KINKS[row]:
        assert_slopes(f, xs, expected)


# The book and NumPy.

INTEGERS = {np.left_shift, np.right_shift, np.bitwise_count, np.gcd, np.lcm}
WITHOUT = {**dict.fromkeys(INTEGERS, "of integers"), np.isnat: "of dates"}


def ufuncs():
    return {f for f in vars(np).values() if isinstance(f, np.ufunc)}


def test_every_ufunc_is_in_the_book_or_has_no_derivative():
    book = {*PRIMITIVES, *COMPOSITIONS, *CONSTANTS}
    assert ufuncs() - book == set(WITHOUT)


@pytest.mark.parametrize("f", sorted(WITHOUT, key=lambda f: f.__name__), ids=lambda f: f.__name__)
def test_ufuncs_without_derivative_do_not_take_floating_point_numbers(f):
    with pytest.raises(TypeError, match=f"ufunc '{f.__name__}'"):
        f(*[np.ones(2)] * f.nin)


# Several results, and arguments of which only some have derivatives.


def test_functions_of_several_results_give_the_constant_one_as_a_plain_array():
    x = np.array([7.5, -2.25, 0.0])
    t = tg.Tensor(x, requires_grad=True)
    for actual, expected, differentiable in (
        (np.divmod(t, 2.0), np.divmod(x, 2.0), 1),
        (np.modf(t), np.modf(x), 0),
        (np.frexp(t), np.frexp(x), 0),
    ):
        assert len(actual) == 2
        assert actual[differentiable].requires_grad
        assert type(actual[1 - differentiable]) is np.ndarray
        for a, e in zip(actual, expected, strict=True):
            np.testing.assert_array_equal(a.data if isinstance(a, tg.Tensor) else a, e)
            assert a.dtype == e.dtype


def test_remainders_have_the_slope_of_the_quotient_that_they_left():
    # 1 / 0.1 is 10, but 0.1 is a little more than a tenth and goes into 1 only 9 times.
    assert_slopes(np.remainder, [[1.0, -1.0], [0.1, 0.1]], [[1, 1], [-9, 10]])
    assert_slopes(np.fmod, [[1.0, -1.0], [0.1, 0.1]], [[1, 1], [-9, 9]])


def test_heaviside_is_constant_unless_its_value_at_zero_is_wanted():
    t = tg.Tensor([-1.0, 0.0, 2.0, nan], requires_grad=True)
    y = np.heaviside(t, 0.5)
    assert type(y) is np.ndarray
    np.testing.assert_array_equal(y, [0, 0.5, 1, nan])


def test_nan_to_num_passes_the_gradient_of_the_finite_on():
    for x in ([nan, inf, -inf, 2.0],):
        assert_slopes(np.nan_to_num, [x], [[0, 0, 0, 1]])
        t = tg.Tensor(x, requires_grad=True)
        y = np.nan_to_num(t, nan=1.0, posinf=5.0, neginf=-5.0)
        np.testing.assert_array_equal(y.data, [1, 5, -5, 2])
        with pytest.raises(ValueError, match="copy=False"):
            np.nan_to_num(t, copy=False)
        assert np.isnan(t.data[0])


class TestClip:
    def test_bounds_may_be_anything_and_have_gradients(self):
        x = [-2.0, 0.5, 3.0]
        assert_slopes(np.clip, [x, -1.0, 1.0], [[0, 1, 0], 1, 1])
        assert_slopes(
            lambda x, low: np.clip(x, low, None), [x, [-3.0, 1.0, 4.0]], [[1, 0, 0], [0, 1, 1]]
        )
        assert_slopes(lambda x: np.clip(x, None, [1, 1, 1]), [x], [[1, 1, 0]])
        # If the bounds are in the wrong order the upper one wins, as in NumPy.
        assert_slopes(np.clip, [x, 1.0, -1.0], [[0, 0, 0], 0, 3])

    @pytest.mark.skipif(not hasattr(np, "cumulative_sum"), reason="since NumPy 2.1")
    def test_bounds_by_the_names_of_the_array_api(self):
        assert_slopes(lambda x, low: np.clip(x, min=low), [[-2.0, 0.5], -1.0], [[0, 1], 1])
        assert_slopes(lambda x: np.clip(x, max=0.0), [[-2.0, 0.5]], [[1, 0]])
        y = np.clip(tg.Tensor([1.0], requires_grad=True), None, None)
        assert y.requires_grad

    def test_a_bound_given_twice_is_refused(self):
        with pytest.raises(ValueError, match="not as both"):
            COMPOSITIONS[np.clip](np.ones(2), 0, min=0)

    def test_the_array_counts_where_there_is_a_nan(self):
        assert_slopes(np.clip, [[nan, 1.0], 0.0, 2.0], [[1, 1], 0, 0])
        assert_slopes(np.clip, [1.0, nan, 2.0], [1, 0, 0])


# Accuracy.

SLOPES = [
    (np.arcsin, 1 - 2.0**-40, 2.0**19.5 / math.sqrt(1 - 2.0**-41)),
    (np.arccos, -1 + 2.0**-40, -(2.0**19.5) / math.sqrt(1 - 2.0**-41)),
    (np.arccosh, 1 + 2.0**-40, 2.0**19.5 / math.sqrt(1 + 2.0**-41)),
    (np.arccosh, 1e200, 1e-200),
    (np.arctanh, 1 - 2.0**-40, 2.0**39 / (1 - 2.0**-41)),
    (np.arctan, 1e10, 1e-20),
    (np.arctan, -1e200, 0.0),
    (np.arcsinh, -1e200, 1e-200),
    (np.expm1, -30.0, math.exp(-30)),
    (np.log1p, -1 + 2.0**-40, 2.0**40),
    (np.log2, 1e-300, 1e300 / math.log(2)),
    (np.log10, 1e-300, 1e300 / math.log(10)),
    (np.exp2, -1000.0, 2.0**-1000 * math.log(2)),
    (np.tan, 1.57, 1 / math.cos(1.57) ** 2),
    (np.cbrt, -8e-30, 1e20 / 12),
    (np.sinc, 1e-5, -3.289868133371756172e-05),
    (np.sinc, 1e-9, -3.2898681336964530746e-9),
    (np.sinc, 0.3, -0.90202813013888879218),
    (np.sinc, 0.49999, -1.27322764210681296),
    (np.sinc, -0.50001, 1.2732514466493760693),
    (np.sinc, 7.3, -0.075686136879992782933),
    # From SciPy's i1.
    (np.i0, 1e-9, 5e-10),
    (np.i0, -1.0, -0.5651591039924851),
    (np.i0, 20.0, 42454973.385127775),
    (np.i0, 700.0, 1.5285003902339006e302),
    (lambda x: np.logaddexp(x, 1e8), 1e8 - 1, 1 / (1 + math.e)),
    (lambda x: np.logaddexp(x, 0), -700.0, math.exp(-700)),
    (lambda x: np.logaddexp(x, -1e4), 1e4, 1.0),
    (lambda x: np.logaddexp2(0, x), -100.0, 2.0**-100),
    (lambda x: np.hypot(x, 4e200), 3e200, 0.6),
    (lambda x: np.hypot(3e-200, x), 4e-200, 0.8),
    (lambda x: np.arctan2(x, 4e200), 3e200, 0.16e-200),
    (lambda x: np.arctan2(3e-200, x), 4e-200, -0.12e200),
    (lambda x: np.linalg.norm(np.stack([x, 0 * x])), 5e-150, 1.0),
    (lambda x: np.linalg.norm(np.stack([x, x]), 3), 1e90, 2 ** (1 / 3)),
]


@pytest.mark.parametrize(("f", "x", "slope"), SLOPES)
def test_slopes_are_accurate_to_the_last_digits_and_do_not_warn(f, x, slope):
    with np.errstate(all="raise", under="ignore"):
        actual = tg.grad(f)(x)
    np.testing.assert_allclose(actual, slope, rtol=3e-14)


@pytest.mark.parametrize(
    ("f", "x", "second"),
    [
        (np.sinc, 0.0, -(math.pi**2) / 3),
        (np.sinc, 1e-5, -3.2898681327223619627),
        (np.sinc, 0.49999, -1.1902985416225394436),
        (np.sinc, 0.50001, -1.190155714367167297),
        (np.sinc, 7.3, 0.36890056437227596011),
        (np.arctan, 2.0, -4 / 25),
        (np.arcsinh, 2.0, -2 / 5**1.5),
        (lambda x: np.logaddexp(x, 1.5), 1.5, 0.25),
        (lambda x: np.hypot(x, 3.0), 4.0, 9 / 125),
        (lambda x: np.arctan2(x, 1.0), 2.0, -4 / 25),
        (np.i0, 1.0, 0.7009067737595233),
        (lambda x: np.linalg.norm(np.stack([x, x * 0 + 3])), 4.0, 9 / 125),
        (lambda x: np.linalg.norm(np.stack([x, x * 0 + 4])), 0.0, 1 / 4),
    ],
)
def test_second_derivatives(f, x, second):
    np.testing.assert_allclose(tg.grad(tg.grad(f))(x), second, rtol=1e-12)


# Products: the derivative by x[i] is the product of all the others, zeros or not.

FACTORS = [
    [2.0, 3.0, -0.5],
    [2.0, 0.0, 3.0],
    [0.0, 2.0, 0.0],
    [0.0, 0.0, 0.0],
    [0.0],
    [5.0],
    [0.0, 1e-200, 0.0, 1e200],
]


def product_without(x, *left_out):
    return math.prod(v for i, v in enumerate(x) if i not in left_out)


@pytest.mark.parametrize("x", FACTORS)
def test_the_derivatives_of_a_product_are_exact(x):
    n = range(len(x))
    assert_slopes(np.prod, [x], [[product_without(x, i) for i in n]])
    np.testing.assert_allclose(
        [tg.grad(lambda x, i=i: tg.grad(np.prod)(x)[i])(np.array(x)) for i in n],
        [[0.0 if i == j else product_without(x, i, j) for j in n] for i in n],
        rtol=1e-14,
    )


@pytest.mark.parametrize("x", FACTORS)
def test_the_derivatives_of_cumulative_products_are_exact(x):
    n, w = range(len(x)), np.array([1.5, -2.0, 0.7, 3.0])[: len(x)]

    def weighted(x):
        return np.sum(w * np.cumprod(x))

    first = [sum(w[k] * product_without(x[: k + 1], i) for k in n if k >= i) for i in n]
    assert_slopes(weighted, [x], [first])
    second = [
        [
            sum(w[k] * product_without(x[: k + 1], i, j) for k in n if k >= max(i, j))
            if i != j
            else 0.0
            for j in n
        ]
        for i in n
    ]
    actual = [tg.grad(lambda x, i=i: tg.grad(weighted)(x)[i])(np.array(x)) for i in n]
    np.testing.assert_allclose(actual, second, rtol=1e-14)


def test_only_what_is_multiplied_with_a_nan_is_nan():
    assert_slopes(np.prod, [[3.0, nan, 0.0]], [[nan, 0, nan]])


def test_third_derivatives_of_a_product():
    x = np.array([0.0, 0.0, 0.0, 7.0])
    mixed = tg.grad(lambda x: tg.grad(lambda x: tg.grad(np.prod)(x)[0])(x)[1])(x)
    np.testing.assert_array_equal(mixed, [0, 0, 7, 0])


def test_products_along_axes_with_zeros():
    x = np.array([[[2.0, 0.0], [3.0, 0.0]], [[0.0, 1.0], [4.0, 5.0]]])
    for axis, kept in itertools.product((None, 0, 1, -1, (0, 2), (2, 1), (0, 1, 2), ()), (0, 1)):
        gradient = tg.grad(lambda x: np.sum(np.prod(x, axis=axis, keepdims=bool(kept))))(x)  # noqa: B023
        for i in np.ndindex(x.shape):
            step = np.zeros_like(x)
            step[i] = 1  # a product is linear in each factor
            expected = np.sum(np.prod(x + step, axis=axis)) - np.sum(np.prod(x, axis=axis))
            assert gradient[i] == expected


# What else reductions take.


def test_where_and_initial_of_reductions():
    x, read = [2.0, 0.0, 5.0, 3.0], np.array([True, True, False, True])
    for f, expected in (
        (lambda x: np.sum(x, where=read, initial=1.0), [1, 1, 0, 1]),
        (lambda x: np.mean(x, where=read), [1 / 3, 1 / 3, 0, 1 / 3]),
        (lambda x: np.prod(x, where=read, initial=2.0), [0, 12, 0, 0]),
        (lambda x: np.max(x, where=read, initial=-inf), [0, 0, 0, 1]),
        (lambda x: np.max(x, initial=9.0), [0, 0, 0, 0]),
        (lambda x: np.min(x, where=~read, initial=inf), [0, 0, 1, 0]),
        (lambda x: np.nanmax(x, where=read, initial=-inf), [0, 0, 0, 1]),
        (lambda x: np.nanmin(x, initial=-9.0), [0, 0, 0, 0]),
        (lambda x: np.var(x, where=read), [2 / 9, -10 / 9, 0, 8 / 9]),
        (lambda x: np.nanmean(x, where=read), [1 / 3, 1 / 3, 0, 1 / 3]),
        (lambda x: np.nansum(x, where=read), [1, 1, 0, 1]),
    ):
        assert_slopes(f, [x], [expected])


def test_where_may_broadcast():
    x = np.arange(6.0).reshape(2, 3)
    for where in (np.array([True, False, True]), np.array([[True], [False]])):
        mask = np.broadcast_to(where, x.shape)
        assert_slopes(lambda x: np.sum(x, where=where), [x], [mask])  # noqa: B023
        assert_slopes(lambda x: np.mean(x, where=where), [x], [mask / mask.sum()])  # noqa: B023


class TestVariance:
    def test_a_mean_that_is_given_has_a_gradient_of_its_own(self):
        x, mean = [1.0, 2.0, 6.0], [2.0]
        right = [[-2 / 3, 0, 8 / 3], [-2]]
        assert_slopes(lambda x, mean: np.var(x, mean=mean), [x, mean], right)
        assert_slopes(lambda x, mean: np.nanvar(x, mean=mean), [x, mean], right)
        deviation = math.sqrt(17 / 3)
        right = [np.array(part) / (2 * deviation) for part in right]
        assert_slopes(lambda x, mean: np.std(x, mean=mean), [x, mean], right)
        assert_slopes(lambda x, mean: np.std(x, mean=mean), [[2.0, 2.0], mean], [[0, 0], [0]])

    def test_ddof_and_correction_are_the_same(self):
        x = [1.0, 2.0, 6.0]
        right = [[-2, -1, 3]]
        assert_slopes(lambda x: np.var(x, ddof=1), [x], right)
        assert_slopes(lambda x: np.var(x, correction=1), [x], right)
        with pytest.raises(ValueError, match="pass one of them"):
            np.std(tg.Tensor(x, requires_grad=True), ddof=1, correction=1)

    def test_of_equal_values_whose_mean_is_rounded(self):
        x = np.full(3, 0.1)
        assert np.std(x) > 0
        assert_slopes(np.std, [x], [[0, 0, 0]], atol=1e-15)
        assert_slopes(np.var, [x], [[0, 0, 0]], atol=1e-30)

    def test_far_from_zero(self):
        x = 1e8 + np.array([1.0, 2.0, 6.0])
        assert_slopes(np.var, [x], [[-4 / 3, -2 / 3, 2]])


class TestAverage:
    def test_weights_along_axes_in_any_order(self):
        x = np.random.default_rng(0).normal(size=(2, 3, 4))
        w = np.random.default_rng(1).uniform(1, 2, size=(4, 2))
        a, b = slopes(lambda x, w: np.average(x, axis=(2, 0), weights=w), x, w)
        share = (w / w.sum()).T[:, None, :]
        np.testing.assert_allclose(a, np.broadcast_to(share, x.shape), rtol=1e-13)
        centred = x - np.average(x, axis=(2, 0), weights=w)[:, None]
        np.testing.assert_allclose(b, centred.sum(axis=1).T / w.sum(), rtol=1e-12, atol=1e-15)

    def test_the_sum_of_the_weights_is_returned_if_wanted(self):
        x, w = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 3.0])
        for weights in (None, w):
            expected = np.average(x, axis=1, weights=weights, returned=True)
            actual = np.average(tg.Tensor(x), axis=1, weights=weights, returned=True)
            for a, e in zip(actual, expected, strict=True):
                np.testing.assert_array_equal(a.data if isinstance(a, tg.Tensor) else a, e)
        assert_slopes(
            last_of(lambda w: np.average(x, axis=1, weights=w, returned=True)), [w], [[2, 2]]
        )

    def test_integers_and_lists(self):
        assert_slopes(lambda w: np.average([1, 5], weights=w), [[1.0, 3.0]], [[-0.75, 0.25]])
        assert_slopes(lambda x: np.average(x, weights=[1, 3]), [[1.0, 3.0]], [[0.25, 0.75]])

    @pytest.mark.parametrize(
        ("axis", "weights", "error"),
        [(None, [1.0, 2.0], ValueError), (1, [1.0], ValueError), (None, 0.0, ZeroDivisionError)],
    )
    def test_weights_that_do_not_fit(self, axis, weights, error):
        x = tg.Tensor(np.ones((1, 2)), requires_grad=True)
        weights = np.zeros((1, 2)) if weights == 0 else weights
        with pytest.raises(error, match="weights"):
            np.average(x, axis=axis, weights=weights)


class TestQuantile:
    @pytest.mark.parametrize("q", [0.3, 0.0, 1.0, 0.77])
    def test_weights_are_those_of_the_value(self, q):
        # A quantile is a weighted sum of the values, so that the gradient tells the value.
        x = np.random.default_rng(0).normal(size=11)
        gradient = tg.grad(lambda x: np.quantile(x, q))(x)
        assert gradient @ x == pytest.approx(np.quantile(x, q), rel=1e-13)
        assert gradient.sum() == pytest.approx(1)
        assert np.count_nonzero(gradient > 1e-12) <= 2

    @pytest.mark.parametrize("f", [np.quantile, np.percentile, np.nanquantile, np.nanpercentile])
    def test_other_methods_are_refused(self, f):
        with pytest.raises(NotImplementedError, match=r"method='linear', not for 'lower'"):
            f(tg.Tensor([1.0, 2.0], requires_grad=True), 0.5, method="lower")

    def test_the_level_has_no_derivative_rule(self):
        with pytest.raises(NotImplementedError, match="argument 1"):
            np.quantile(np.ones(3), tg.Tensor(0.5, requires_grad=True))

    def test_several_levels_and_axes(self):
        x = np.random.default_rng(0).normal(size=(2, 3, 4))
        q = np.array([[0.1, 0.5], [0.9, 1.0]])
        for axis, keepdims in itertools.product((None, 1, (0, -1), (2, 0)), (False, True)):
            f = lambda x: np.quantile(x, q, axis=axis, keepdims=keepdims)  # noqa: B023, E731
            w = np.random.default_rng(1).normal(size=f(x).shape)
            gradient = tg.grad(lambda x: np.sum(w * f(x)))(x)  # noqa: B023
            assert np.sum(gradient * x) == pytest.approx(np.sum(w * f(x)))

    @pytest.mark.parametrize(
        "f", [np.median, np.nanmedian, lambda x, **k: np.quantile(x, 0.3, **k)]
    )
    def test_the_input_is_not_overwritten(self, f):
        t = tg.Tensor([3.0, 1.0, 2.0, 0.0], requires_grad=True)
        f(t, overwrite_input=True)
        np.testing.assert_array_equal(t.data, [3, 1, 2, 0])

    def test_where_nans_are_skipped_each_lane_counts_its_own(self):
        x = [[1.0, nan, 3.0, 2.0], [nan, 5.0, nan, nan], [nan] * 4]
        right = [[0, 0, 0, 1], [0, 1, 0, 0], [0] * 4]
        assert_slopes(lambda x: np.nanmedian(x, axis=1), [x], [right])
        assert_slopes(lambda x: np.nanpercentile(x, 50, axis=1), [x], [right])


class TestNorm:
    @pytest.mark.parametrize(
        ("ord", "axis", "message"),
        [("fro", 0, "'fro'"), (3, None, "ord=3"), ("nuc", 0, "'nuc'"), (1, (0, 1, 2), "along 3")],
    )
    def test_norms_that_there_are_not(self, ord, axis, message):
        shape = (2, 2, 2) if axis == (0, 1, 2) else (2, 2)
        with pytest.raises(ValueError, match=message):
            np.linalg.norm(tg.Tensor(np.ones(shape), requires_grad=True), ord, axis)

    def test_the_number_of_values_that_are_not_zero_is_constant(self):
        x = np.array([[1.0, 0.0], [2.0, 3.0]])
        y = np.linalg.norm(tg.Tensor(x, requires_grad=True), 0, axis=1)
        assert type(y) is np.ndarray
        np.testing.assert_array_equal(y, np.linalg.norm(x, 0, axis=1), strict=True)

    def test_of_vectors_in_other_dimensions(self):
        x = np.random.default_rng(0).normal(size=(2, 3, 4))
        for axis in (None, 0, (0, 1), (2, 0), (2, 1, 0)):
            for keepdims in (False, True):
                f = lambda x: np.linalg.vector_norm(x, axis=axis, keepdims=keepdims)  # noqa: B023, E731
                np.testing.assert_array_equal(f(tg.Tensor(x)).data, f(x), strict=True)
                right = x / np.linalg.vector_norm(x, axis=axis, keepdims=True)
                assert_slopes(f, [x], [right])


def test_trapezoids_take_lists_and_numbers():
    assert_slopes(np.trapezoid, [[1.0, 2.0, 4.0]], [[0.5, 1, 0.5]])
    assert_slopes(lambda x: np.trapezoid([1, 2, 4], x), [[0.0, 1.0, 3.0]], [[-1.5, -1.5, 3]])
    assert_slopes(lambda dx: np.trapezoid([1, 2, 4], dx=dx), [2.0], [4.5])


@pytest.mark.skipif(not hasattr(np, "cumulative_sum"), reason="since NumPy 2.1")
def test_cumulative_sums_of_the_array_api():
    assert_slopes(np.cumulative_sum, [[1.0, 2.0]], [[2, 1]])
    with pytest.raises(ValueError, match="axis="):
        np.cumulative_prod(tg.Tensor(np.ones((2, 2)), requires_grad=True))


@pytest.mark.parametrize("f", [np.sum, np.max, np.prod, np.ptp, np.cumsum, np.cumprod, np.nanmax])
def test_a_number_has_an_axis_to_numpy(f):
    slope = 0 if f is np.ptp else 1
    for axis in (0, -1, None):
        assert_slopes(lambda x: f(x, axis=axis), [3.0], [slope])  # noqa: B023


def test_empty_arrays():
    for f in (np.sum, np.prod, np.cumsum, np.cumprod, np.linalg.norm, np.nansum, tg.logsumexp):
        assert slopes(f, np.zeros(0))[0].shape == (0,)
        if f not in (np.linalg.norm, tg.logsumexp):
            assert slopes(lambda x: f(x, axis=0), np.zeros((0, 3)))[0].shape == (0, 3)  # noqa: B023
            assert slopes(lambda x: f(x, axis=1), np.zeros((0, 3)))[0].shape == (0, 3)  # noqa: B023


# Other dtypes.


@pytest.mark.parametrize(
    "f",
    [
        *(np.modf, np.frexp, np.heaviside, np.clip, np.divmod, np.copysign),
        *(np.ptp, np.var, np.std, np.nansum, np.nanmean, np.average, np.median, np.trapezoid),
        *[lambda x, ord=ord: np.linalg.norm(x, ord) for ord in (None, 0, 1, 3, inf, -inf)],
        *[lambda x, ord=ord: np.linalg.norm(np.stack([x, x]), ord) for ord in (1, "nuc", inf)],
        lambda x: np.average(x, weights=x),
        lambda x: np.average(x, weights=np.float32([1, 2, 3])),
    ],
)
def test_of_integers_without_gradient_the_value_is_numpys(f):
    x = np.array([3, -1, 2], np.int16)
    n = {np.clip: 3}.get(f, getattr(f, "nin", 1))
    actual, expected = f(*[tg.Tensor(x)] * n), f(*[x] * n)
    if not isinstance(expected, tuple):
        actual, expected = (actual,), (expected,)
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a.data if isinstance(a, tg.Tensor) else a, e)
        assert a.dtype == e.dtype


@pytest.mark.parametrize("f", [np.mean, np.nanmean, np.max, np.median, np.average, np.amin])
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_as_many_values_as_no_half_precision_number_can_count(f):
    n = 100_000
    gradient = tg.grad(f)(np.ones(n, np.float16))
    assert gradient.dtype == np.float16
    assert np.sum(gradient, dtype=float) == pytest.approx(1, rel=0.01)


BOTH = [*elementwise.CASES, *reductions.CASES]


@pytest.mark.parametrize("case", BOTH, ids=lambda case: case.name)
@settings(max_examples=5)
@given(data=st.data())
def test_gradients_in_half_precision_are_right_to_its_few_digits(case, data):
    arrays, parameters = data.draw(case.arguments)
    if case.name in ("norm 2", "norm -2", "norm nuc"):
        return  # LAPACK has no half precision
    if case.op is np.sinc and np.lib.NumpyVersion(np.__version__) < "2.4.0":
        return  # np.sinc itself fails at 0
    gradients = []
    for dtype in (np.float16, np.float64):
        tensors = [tg.Tensor(x.astype(np.float16).astype(dtype), True) for x in arrays]
        y = case.call(*tensors, **parameters)
        y.backward(np.random.default_rng(0).normal(size=y.shape).astype(np.float16))
        gradients.append([t.grad for t in tensors])
    for half, double in zip(*gradients, strict=True):
        assert half.dtype == np.float16
        scale = np.abs(double).max(initial=1.0)
        np.testing.assert_allclose(half.astype(float), double, rtol=0, atol=0.02 * scale)
