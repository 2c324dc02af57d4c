"""Derivatives of the elementwise functions. Broadcasting is undone by the reverse walk."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from tinygrad_edu.rules import constant, derivative


def _power_da(g: Any, y: Any, a: Any, b: Any) -> Any:
    """b * a**(b-1), which at a = b = 0 is the derivative of the constant a**0: 0, not 0 * inf."""
    if isinstance(b, np.ndarray) and b.dtype.kind in "iu":
        b = b.astype(float)  # b - 1 may not fit a small integer type
    # A number as the exponent stays a number, for which NumPy has faster powers.
    exponent = b - 1 if np.all(b != 0) else b - 1 + ((a == 0) & (b == 0))
    return g * b * a**exponent


def _power_db(g: Any, y: Any, a: Any, b: Any) -> Any:
    """a**b * log(a), which at a = 0 < b is the derivative of the constant 0**b: 0."""
    return g * y * np.log(np.where(a == 0, 1, a))


derivative(np.add, lambda g, y, a, b: g, lambda g, y, a, b: g)
derivative(np.subtract, lambda g, y, a, b: g, lambda g, y, a, b: -g)
derivative(np.multiply, lambda g, y, a, b: g * b, lambda g, y, a, b: g * a)
derivative(np.divide, lambda g, y, a, b: g / b, lambda g, y, a, b: -g * y / b)
# x ** 2 is a square; np.power(x, 2) takes twice to ten times as long.
derivative(np.power, _power_da, _power_db, forward=operator.pow)
derivative(np.negative, lambda g, y, x: -g)
derivative(np.positive, lambda g, y, x: g)

derivative(np.exp, lambda g, y, x: g * y)
derivative(np.log, lambda g, y, x: g / x)
derivative(np.sqrt, lambda g, y, x: 0.5 * g / y)
derivative(np.square, lambda g, y, x: 2 * g * x)
derivative(np.tanh, lambda g, y, x: g * (1 - y * y))

derivative(np.absolute, lambda g, y, x: g * np.sign(x))
derivative(np.maximum, lambda g, y, a, b: g * (a >= b), lambda g, y, a, b: g * (b > a))
derivative(np.minimum, lambda g, y, a, b: g * (a <= b), lambda g, y, a, b: g * (b < a))
derivative(
    np.where,
    None,
    lambda g, y, condition, a, b: np.where(condition, g, 0),
    lambda g, y, condition, a, b: np.where(condition, 0, g),
    core_axes=0,
)

constant(np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal)
constant(np.logical_and, np.logical_or, np.logical_not, np.logical_xor)
constant(np.sign, np.floor, np.ceil, np.rint, np.trunc, np.round, np.signbit, np.heaviside)
constant(np.isnan, np.isinf, np.isfinite)
