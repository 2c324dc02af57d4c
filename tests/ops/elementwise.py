"""Cases of the elementwise functions."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
from cases import case, condition, one, one_apart, two, two_apart

from tinygrad_edu import testing as tgt
from tinygrad_edu.calculus import elementwise


@st.composite
def between_steps(draw, *steps):
    """An array with no value at one of the steps."""
    return (draw(tgt.separated(away_from=(0.0, *steps))),), {}


@st.composite
def quotients(draw):
    """a and b, of one shape or one of them a number, with a / b nowhere near a whole number."""
    shape = draw(tgt.shapes())
    whole = draw(hnp.arrays(int, shape, elements=st.integers(-3, 2)))
    quotient = whole + draw(tgt.arrays(shape, 0.15, 0.85))
    of_b = draw(st.sampled_from([shape, ()]))
    b = draw(tgt.arrays(of_b, 0.5, 2.0)) * draw(st.sampled_from([1, -1]))
    if draw(st.booleans()):
        return (quotient * b, b), {}
    return (b, b / quotient), {}


def exponents(_):
    return st.integers(-3, 3)


def at_steps(x):
    """np.heaviside of -1, 0 and 1 in turn, where x is what is taken at 0."""
    x1 = np.arange(x.size).reshape(x.shape) % 3 - 1
    return np.heaviside(x1.astype(x.dtype), x)


CASES = [
    case(elementwise.ratio, two(second=(0.5, 2.0))),
    case(np.add, two()),
    case(np.subtract, two()),
    case(np.multiply, two()),
    case(np.divide, two(second=(0.5, 2.0))),
    case(np.divide, two(second=(-2.0, -0.5)), name="divide by negative"),
    case(np.power, two(first=(0.5, 2.0))),
    case(np.power, one(), lambda x: x**2 + x**3, "power 2, 3"),
    case(np.power, one(low=0.5), lambda x: x**-1 + x**0.5 + 2.0**x + x**0, "power of numbers"),
    case(
        np.float_power,
        two(first=(0.5, 2.0)),
        lambda a, b: np.float_power(a, b).astype(a.dtype),
        "float_power",
    ),
    case(np.multiply, one(), lambda x: 2 * x + x / 3 - (1 - x) * 0.5 + 1 / (x + 3), "numbers"),
    case(np.negative, one()),
    case(np.positive, one()),
    case(np.reciprocal, one(low=0.5)),
    case(np.square, one()),
    case(np.sqrt, one(low=0.5)),
    case(np.cbrt, one(low=0.5)),
    case(np.exp, one()),
    case(np.exp2, one()),
    case(np.expm1, one()),
    case(np.log, one(low=0.5)),
    case(np.log2, one(low=0.5)),
    case(np.log10, one(low=0.5)),
    case(np.log1p, one(low=-0.5)),
    case(np.logaddexp, two()),
    case(np.logaddexp2, two()),
    case(np.sin, one()),
    case(np.cos, one()),
    case(np.tan, one(low=-1.0, high=1.0)),
    case(np.sinh, one()),
    case(np.cosh, one()),
    case(np.tanh, one()),
    case(np.arcsin, one(low=-0.9, high=0.9)),
    case(np.arccos, one(low=-0.9, high=0.9)),
    case(np.arctan, one()),
    case(np.arcsinh, one()),
    case(np.arccosh, one(low=1.5, high=3.0)),
    case(np.arctanh, one(low=-0.9, high=0.9)),
    case(np.hypot, two(first=(0.5, 2.0))),
    case(np.arctan2, two(first=(0.5, 2.0))),
    case(np.arctan2, two(first=(-2.0, -0.5)), name="arctan2 below"),
    case(np.degrees, one()),
    case(np.radians, one()),
    case(np.rad2deg, one()),
    case(np.deg2rad, one()),
    case(np.sinc, one()),
    case(np.sinc, one(low=-0.25, high=0.25), name="sinc near 0"),
    case(np.i0, one(low=-9.0, high=9.0)),
    case(np.absolute, one_apart()),
    case(np.fabs, one_apart()),
    case(np.copysign, two_apart()),
    case(np.maximum, two_apart()),
    case(np.minimum, two_apart()),
    case(np.fmax, two_apart()),
    case(np.fmin, two_apart()),
    case(np.clip, between_steps(-0.5, 0.5), lambda x: np.clip(x, -0.5, 0.5), "clip"),
    case(np.clip, two_apart(), lambda a, b: np.clip(a, b, None), "clip below"),
    case(np.clip, two_apart(), lambda a, b: np.clip(a, None, b), "clip above"),
    case(np.where, two(), lambda a, b: np.where(condition(a, b), a, b)),
    case(np.heaviside, one(), at_steps, "heaviside"),
    case(np.remainder, between_steps(-1.0, 1.0), lambda x: np.remainder(x, 1), "remainder of 1"),
    case(np.remainder, quotients()),
    case(np.fmod, quotients()),
    case(np.divmod, quotients(), lambda a, b: np.divmod(a, b)[1], "divmod"),
    case(np.modf, between_steps(-1.0, 1.0), lambda x: np.modf(x)[0], "modf"),
    case(elementwise.fraction, between_steps(-1.0, 1.0)),
    case(np.frexp, one(low=1.1, high=1.9), lambda x: np.frexp(x)[0], "frexp"),
    case(elementwise.mantissa, one(low=-7.0, high=-5.0)),
    case(np.ldexp, one(exponent=exponents), lambda x, exponent: np.ldexp(x, exponent), "ldexp"),
    case(np.nextafter, two(first=(0.5, 2.0))),
    case(np.nan_to_num, one(nan=lambda _: st.just(0.5))),
    case(np.conjugate, one()),
    case(np.real, one()),
    case(np.real_if_close, one()),
]
