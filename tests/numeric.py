"""Derivatives by differences, and the comparison that the tests of the rules share."""

from __future__ import annotations

import numpy as np

import tinygrad_edu as tg


def differences(f, arrays, h=1e-3):
    """The derivatives of the number f(*arrays) by each entry of each array.

    Central differences at h and h/2, extrapolated (Richardson): the error is of order h**4.
    """
    arrays = [np.array(x, float) for x in arrays]
    gradients = []
    for x in arrays:
        gradient = np.empty_like(x)
        for i in np.ndindex(x.shape):
            kept, slopes = x[i], []
            for step in (h, h / 2):
                values = []
                for sign in (1, -1):
                    x[i] = kept + sign * step
                    values.append(f(*arrays))
                slopes.append((values[0] - values[1]) / (2 * step))
            x[i] = kept
            gradient[i] = (4 * slopes[1] - slopes[0]) / 3
        gradients.append(gradient)
    return gradients


def assert_close(actual, expected, rtol=1e-6):
    """Entry by entry, relative to the largest entry of what is expected (at least 1)."""
    assert actual.shape == expected.shape
    scale = max(1.0, np.abs(expected).max(initial=0.0))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * scale)


def weighted(f, seed):
    """The outputs of f added up with random weights, never with ones: a single number."""

    def number(*arrays):
        y = f(*arrays)
        weights = np.random.default_rng(seed).uniform(0.5, 2.0, np.shape(y))
        weights *= np.random.default_rng(seed + 1).choice([-1.0, 1.0], np.shape(y))
        return np.sum(y * weights)

    return number


def check_first_order(f, arrays, seed=0):
    """The engine's gradients of f against differences."""
    number = weighted(f, seed)
    everything = tuple(range(len(arrays)))
    for actual, expected in zip(
        tg.grad(number, everything)(*arrays), differences(number, arrays), strict=True
    ):
        assert_close(actual, expected)


def check_second_order(f, arrays, seed=0):
    """The engine's gradients of its own gradients, randomly weighted, against differences."""
    everything = tuple(range(len(arrays)))
    first = tg.grad(weighted(f, seed), everything)

    def number(*arrays):
        return sum(weighted(lambda g: g, seed + 2 + i)(g) for i, g in enumerate(first(*arrays)))

    for actual, expected in zip(
        tg.grad(number, everything)(*arrays), differences(number, arrays), strict=True
    ):
        assert_close(actual, expected, rtol=1e-5)
