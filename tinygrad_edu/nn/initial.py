"""How weights begin: each function draws an array of a shape, `(rng, shape) -> array`.

A layer takes one of them as its `init`, or its name: "he", "he_uniform", "glorot",
"glorot_uniform".
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = [
    "Init",
    "fans",
    "glorot",
    "glorot_uniform",
    "he",
    "he_uniform",
    "normal",
    "uniform",
    "weights",
]

Init = str | float | Callable[[Any, Any], Any]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many values each output is made of, and how many outputs each input goes to.

    Shapes: (n_in, n_out) of `Linear`, or (n_out, n_in, height, width) of `Conv2d`, where each of
    the height * width places counts.

    Example:
        >>> fans((50, 10)), fans((16, 8, 3, 3))
        ((50, 10), (72, 144))
    """
    if len(shape) == 2:
        return shape
    n_out, n_in, *window = shape
    return n_in * math.prod(window), n_out * math.prod(window)


def he(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Normal with variance 2 / n_in: keeps the size of signals that pass through ReLUs.

    Source: He, Zhang, Ren, Sun, "Delving deep into rectifiers", ICCV 2015,
    https://arxiv.org/abs/1502.01852, equation 10.
    """
    return _normal(math.sqrt(2 / fans(shape)[0]), rng, shape)


def he_uniform(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform with the variance of `he`: from -a to a with a = sqrt(6 / n_in)."""
    return _uniform(math.sqrt(6 / fans(shape)[0]), rng, shape)


def glorot(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Normal with variance 2 / (n_in + n_out), between what suits the forward and backward pass.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010, equation 12; for activations of slope 1 at 0, such as tanh.
    """
    return _normal(math.sqrt(2 / sum(fans(shape))), rng, shape)


def glorot_uniform(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform with the variance of `glorot`: from -a to a with a = sqrt(6 / (n_in + n_out)).

    Source: the same, equation 16, the "normalized initialization".
    """
    return _uniform(math.sqrt(6 / sum(fans(shape))), rng, shape)


def normal(deviation: float) -> Callable[[Any, Any], np.ndarray]:
    """Normal around 0 with this standard deviation; a number as `init` means the same.

    Example:
        >>> normal(0.1)(np.random.default_rng(0), (1, 2)).round(4)
        array([[ 0.0126, -0.0132]])

    Raises:
        ValueError: a deviation that is not a number of at least 0.
    """
    if not _is_size(deviation):
        raise ValueError(f"a standard deviation is a number of at least 0, got {deviation!r}")
    return functools.partial(_normal, deviation)


def uniform(bound: float) -> Callable[[Any, Any], np.ndarray]:
    """Uniform from -bound to bound, of variance bound**2 / 3.

    Example:
        >>> uniform(0.1)(np.random.default_rng(0), (1, 2)).round(4)
        array([[ 0.0274, -0.046 ]])

    Raises:
        ValueError: a bound that is not a number of at least 0.
    """
    if not _is_size(bound):
        raise ValueError(f"the bound of weights is a number of at least 0, got {bound!r}")
    return functools.partial(_uniform, bound)


def _normal(deviation: float, rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    return deviation * rng.standard_normal(shape)


def _uniform(bound: float, rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    return bound * rng.uniform(-1, 1, shape)


def _is_size(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and bool(0 <= value < math.inf)


NAMES = {function.__name__: function for function in (glorot, glorot_uniform, he, he_uniform)}


def weights(init: Init, rng: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """The weights that an `init` argument stands for.

    Raises:
        ValueError: an unknown init, or one that returns another shape.
    """
    function: Any = NAMES.get(init) if isinstance(init, str) else init
    if _is_size(function):
        function = normal(function)
    if not callable(function):
        raise ValueError(
            f"init must be one of {sorted(NAMES)}, a standard deviation or a function "
            f"(rng, shape) -> array, got {init!r}"
        )
    W = np.asarray(function(rng, shape), dtype)
    if W.shape != shape:
        raise ValueError(f"init returned shape {W.shape} for W of shape {shape}")
    return W
