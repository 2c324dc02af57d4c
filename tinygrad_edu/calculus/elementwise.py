"""Derivatives of the elementwise functions. Broadcasting is undone by the reverse walk."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from tinygrad_edu.calculus.neural import sigmoid
from tinygrad_edu.rules import composition, constant, derivative, primitive

derivative(np.add, lambda g, y, a, b: g, lambda g, y, a, b: g)
derivative(np.subtract, lambda g, y, a, b: g, lambda g, y, a, b: -g)
derivative(np.multiply, lambda g, y, a, b: g * b, lambda g, y, a, b: g * a)
derivative(np.divide, lambda g, y, a, b: g / b, lambda g, y, a, b: -g * y / b, singular=True)
derivative(np.negative, lambda g, y, x: -g)
derivative(np.positive, lambda g, y, x: g)
derivative(np.square, lambda g, y, x: 2 * g * x)
derivative(np.reciprocal, lambda g, y, x: -g * y * y, singular=True)


def _power_da(g: Any, y: Any, a: Any, b: Any) -> Any:
    """b * a**(b-1), which at a = b = 0 is the derivative of the constant a**0: 0, not 0 * inf."""
    if not isinstance(b, (int, float)) and b.dtype.kind in "iu":
        b = b.astype(float)  # b - 1 may not fit a small integer type
    # A number as the exponent stays a number, for which NumPy has faster powers.
    never_zero = not hasattr(b, "__record__") and np.all(b != 0)
    exponent = b - 1 if never_zero else b - 1 + ((a == 0) & (b == 0))
    return g * b * a**exponent


def _power_db(g: Any, y: Any, a: Any, b: Any) -> Any:
    """a**b * log(a), which at a = 0 < b is the derivative of the constant 0**b: 0."""
    return g * np.where(a == 0, 0, y) * np.log(np.where(a == 0, 1, a))


# x ** 2 is a square; np.power(x, 2) takes twice to ten times as long.
derivative(np.power, _power_da, _power_db, singular=True, forward=operator.pow)
derivative(np.float_power, _power_da, _power_db, singular=True)
derivative(np.sqrt, lambda g, y, x: 0.5 * g / y, singular=True)
derivative(np.cbrt, lambda g, y, x: g / (3 * y * y), singular=True)

derivative(np.exp, lambda g, y, x: g * y, singular=True)
derivative(np.exp2, lambda g, y, x: g * y * math.log(2), singular=True)
derivative(np.expm1, lambda g, y, x: g * np.exp(x), singular=True)
derivative(np.log, lambda g, y, x: g / x, singular=True)
derivative(np.log2, lambda g, y, x: g / (x * math.log(2)), singular=True)
derivative(np.log10, lambda g, y, x: g / (x * math.log(10)), singular=True)
derivative(np.log1p, lambda g, y, x: g / (1 + x), singular=True)


def _share(g: Any, y: Any, a: Any, b: Any, scale: float = 1.0) -> Any:
    """exp(a) / (exp(a) + exp(b)) = sigmoid(a - b), without inf - inf where both are infinite."""
    both = (a == b) & np.isinf(a)
    share = sigmoid(scale * (np.where(both, 0, a) - np.where(both, 0, b)))
    return np.where(y == -np.inf, 0, g * share)


derivative(
    np.logaddexp,
    lambda g, y, a, b: _share(g, y, a, b),
    lambda g, y, a, b: _share(g, y, b, a),
)
derivative(
    np.logaddexp2,
    lambda g, y, a, b: _share(g, y, a, b, math.log(2)),
    lambda g, y, a, b: _share(g, y, b, a, math.log(2)),
)

derivative(np.sin, lambda g, y, x: g * np.cos(x))
derivative(np.cos, lambda g, y, x: -g * np.sin(x))
derivative(np.tan, lambda g, y, x: g * (1 + y * y), singular=True)
derivative(np.sinh, lambda g, y, x: g * np.cosh(x), singular=True)
derivative(np.cosh, lambda g, y, x: g * np.sinh(x), singular=True)
derivative(np.tanh, lambda g, y, x: g * (1 - y * y))
# 1 - x*x would lose its digits near x = 1, and 1 + x*x overflow where sqrt(1 + x*x) does not.
derivative(np.arcsin, lambda g, y, x: g / np.sqrt((1 - x) * (1 + x)), singular=True)
derivative(np.arccos, lambda g, y, x: -g / np.sqrt((1 - x) * (1 + x)), singular=True)
derivative(np.arctan, lambda g, y, x: g * np.square(1 / np.hypot(1, x)))
derivative(np.arcsinh, lambda g, y, x: g / np.hypot(1, x))
derivative(np.arccosh, lambda g, y, x: g / (np.sqrt(x - 1) * np.sqrt(x + 1)), singular=True)
derivative(np.arctanh, lambda g, y, x: g / ((1 - x) * (1 + x)), singular=True)


@primitive
def ratio(a: Any, b: Any) -> Any:
    """a / b, and 0 where b = 0.

    So the direction x / |x| is 0 at the origin, where it could be any. Its derivative there is
    infinite: second derivatives of a norm at the origin are refused, not made up.

    Example:
        >>> ratio(np.array([3.0, 0.0]), np.array([5.0, 0.0]))
        array([0.6, 0. ])
    """
    is_zero = b == 0
    return np.where(is_zero, a * 0, a / np.where(is_zero, 1, b))  # NaN stays NaN


ratio.derivative(
    lambda g, y, a, b: g / b, lambda g, y, a, b: -g * y / b, core_axes=0, singular=True
)


def _angle_db(g: Any, y: Any, a: Any, b: Any) -> Any:
    """-a / (a*a + b*b), and 0 at the origin."""
    radius = np.hypot(a, b)
    return -g * ratio(ratio(a, radius), radius)


derivative(np.hypot, lambda g, y, a, b: g * ratio(a, y), lambda g, y, a, b: g * ratio(b, y))
derivative(np.arctan2, lambda g, y, a, b: -_angle_db(g, y, b, a), _angle_db)
# Linear functions, which are their own derivatives.
derivative(np.degrees, lambda g, y, x: np.degrees(g))
derivative(np.rad2deg, lambda g, y, x: np.rad2deg(g))
derivative(np.radians, lambda g, y, x: np.radians(g))
derivative(np.deg2rad, lambda g, y, x: np.deg2rad(g))


def _sinc_dx(g: Any, y: Any, x: Any) -> Any:
    """(cos(pi x) - sinc(x)) / x, near 0 as a power series, in which nothing cancels.

    With z = pi x the series is -pi z/3 (1 - z²/10 (1 - z²/28 (1 - ... z²/(2k (2k+3)) ...))).
    """
    near = np.abs(x) < 0.5
    z = math.pi * np.where(near, x, 0)
    series: Any = 1
    for k in range(12, 0, -1):
        series = 1 - z * z / (2 * k * (2 * k + 3)) * series
    far = (np.cos(math.pi * x) - y) / np.where(near, 1, x)
    return g * np.where(near, -math.pi / 3 * z * series, far)


derivative(np.sinc, _sinc_dx, core_axes=0)


def _bessel_1(x: Any) -> Any:
    """The Bessel function I1, the mean of sinh(x cos t) cos t over a period.

    The mean over equidistant points is as good as that over all, since the function is periodic.
    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 9.6.19.
    """
    cos = np.cos((np.arange(64) + 0.5) * (math.pi / 128)).astype(x.dtype)
    return np.mean(np.sinh(x[..., None] * cos) * cos, axis=-1)


derivative(np.i0, lambda g, y, x: g * _bessel_1(x), core_axes=0, singular=True)

derivative(np.absolute, lambda g, y, x: g * np.sign(x))
derivative(np.fabs, lambda g, y, x: g * np.sign(x))
derivative(
    np.copysign,
    lambda g, y, a, b: g * np.sign(a) * np.sign(y),
    lambda g, y, a, b: np.zeros_like(g),
)
# The first argument wins a tie, and where one of the two is NaN; of fmax and fmin a number wins.
derivative(np.maximum, lambda g, y, a, b: g * ~(a < b), lambda g, y, a, b: g * (a < b))
derivative(np.minimum, lambda g, y, a, b: g * ~(a > b), lambda g, y, a, b: g * (a > b))
derivative(
    np.fmax,
    lambda g, y, a, b: g * ((a >= b) | (b != b)),
    lambda g, y, a, b: g * ~((a >= b) | (b != b)),
)
derivative(
    np.fmin,
    lambda g, y, a, b: g * ((a <= b) | (b != b)),
    lambda g, y, a, b: g * ~((a <= b) | (b != b)),
)
derivative(
    np.where,
    None,
    lambda g, y, condition, a, b: np.where(condition, g, 0),
    lambda g, y, condition, a, b: np.where(condition, 0, g),
    core_axes=0,
)


@composition(np.clip)
def clip(
    a: Any,
    a_min: Any = None,
    a_max: Any = None,
    *,
    out: None = None,
    min: Any = None,
    max: Any = None,
) -> Any:
    """The larger of `a` and the lower bound, then the smaller of that and the upper bound."""
    if (a_min is not None and min is not None) or (a_max is not None and max is not None):
        raise ValueError("np.clip: pass a bound as a_min or as min, not as both")
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    y = np.positive(a) if low is None else np.maximum(a, low)
    return y if high is None else np.minimum(y, high)


@composition(np.heaviside)
def heaviside(x1: Any, x2: Any) -> Any:
    """0 or 1, whose derivative is 0, and x2 where x1 = 0."""
    sign = np.sign(x1)
    step = (sign + 1) / 2 if hasattr(sign, "__record__") else np.heaviside(sign, 0)
    return np.where(x1 == 0, x2, step)


# a = b * quotient + y, and the quotient is a whole number, which is piecewise constant.
derivative(
    np.remainder, lambda g, y, a, b: g, lambda g, y, a, b: -g * np.floor_divide(a, b), singular=True
)
derivative(
    np.fmod, lambda g, y, a, b: g, lambda g, y, a, b: -g * np.rint((a - y) / b), singular=True
)


@composition(np.divmod)
def quotient_and_remainder(a: Any, b: Any) -> Any:
    """The quotient as a plain array, since its derivative is 0, and the remainder."""
    return np.floor_divide(a, b), np.remainder(a, b)


def _plain(x: Any) -> Any:
    """The array of a Tensor, for results that are piecewise constant."""
    return x.numpy() if hasattr(x, "__record__") else x


@primitive
def fraction(x: Any) -> Any:
    """What follows the decimal point: `np.modf(x)[0]`.

    Example:
        >>> fraction(np.array([2.5, -2.5]))
        array([ 0.5, -0.5])
    """
    return np.modf(x)[0]


@primitive
def mantissa(x: Any) -> Any:
    """x divided by the power of 2 that brings it between 0.5 and 1: `np.frexp(x)[0]`.

    Example:
        >>> mantissa(np.array([1.0, 3.0, -4.0]))
        array([ 0.5 ,  0.75, -0.5 ])
    """
    return np.frexp(x)[0]


@composition(np.modf)
def fraction_and_whole(x: Any) -> Any:
    """The fraction and, as a plain array, what stands before the decimal point."""
    return fraction(x), np.modf(_plain(x))[1]


@composition(np.frexp)
def mantissa_and_exponent(x: Any) -> Any:
    """The mantissa and, as a plain array, the exponent of the power of 2."""
    return mantissa(x), np.frexp(_plain(x))[1]


fraction.derivative(lambda g, y, x: g, core_axes=0)
mantissa.derivative(lambda g, y, x: np.ldexp(g, -np.frexp(_plain(x))[1]), core_axes=0)
derivative(np.ldexp, lambda g, y, x, exponent: np.ldexp(g, exponent), None)
derivative(np.nextafter, lambda g, y, a, b: g, lambda g, y, a, b: np.zeros_like(g))


def _nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    if not copy:
        raise ValueError("copy=False would overwrite values that the tape may hold: leave it out")
    return np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)


def _nan_to_num_dx(
    g: Any, y: Any, x: Any, copy: bool = True, nan: Any = 0, posinf: Any = None, neginf: Any = None
) -> Any:
    return np.where(np.isfinite(x), g, 0)


derivative(np.nan_to_num, _nan_to_num_dx, core_axes=0, forward=_nan_to_num)
# Of real numbers; [...] makes a view of what may be x itself.
derivative(np.conjugate, lambda g, y, x: g)
derivative(np.real, lambda g, y, val: g, core_axes=0, view=True, forward=lambda x: np.real(x)[...])
derivative(
    np.real_if_close,
    lambda g, y, a, tol=100: g,
    core_axes=0,
    view=True,
    forward=lambda a, tol=100: np.real_if_close(a, tol)[...],
)
constant(np.imag, np.angle, np.isreal, np.iscomplex, np.isrealobj, np.iscomplexobj)

constant(np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal)
constant(np.logical_and, np.logical_or, np.logical_not, np.logical_xor)
constant(np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert)
constant(np.isnan, np.isinf, np.isfinite, np.isposinf, np.isneginf, np.isclose)
constant(np.sign, np.signbit, np.floor, np.ceil, np.rint, np.trunc, np.fix, np.round, np.around)
constant(np.floor_divide, np.spacing)
