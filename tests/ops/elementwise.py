"""Cases of the elementwise functions."""

from __future__ import annotations

import numpy as np
from cases import case, condition, one, one_apart, two, two_apart

CASES = [
    case(np.add, two()),
    case(np.subtract, two()),
    case(np.multiply, two()),
    case(np.divide, two(second=(0.5, 2.0))),
    case(np.divide, two(second=(-2.0, -0.5)), name="divide by negative"),
    case(np.power, two(first=(0.5, 2.0))),
    case(np.power, one(), lambda x: x**2 + x**3, "power 2, 3"),
    case(np.power, one(low=0.5), lambda x: x**-1 + x**0.5 + 2.0**x + x**0, "power of numbers"),
    case(np.multiply, one(), lambda x: 2 * x + x / 3 - (1 - x) * 0.5 + 1 / (x + 3), "numbers"),
    case(np.negative, one()),
    case(np.positive, one()),
    case(np.exp, one()),
    case(np.log, one(low=0.5)),
    case(np.sqrt, one(low=0.5)),
    case(np.square, one()),
    case(np.tanh, one()),
    case(np.absolute, one_apart()),
    case(np.maximum, two_apart()),
    case(np.minimum, two_apart()),
    case(np.where, two(), lambda a, b: np.where(condition(a, b), a, b)),
]
