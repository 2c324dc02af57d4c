"""Data sets to learn with, checks of data, and random generators as the Python world has them.

`rng` arguments follow the Scientific Python recommendation SPEC 7
(https://scientific-python.org/specs/spec-0007/): `None` for fresh entropy, an int as a seed, or a
`np.random.Generator`, which is used as it is. A `np.random.RandomState` is used as it is, too, so
that older programs can be repeated to the last bit.
"""

from __future__ import annotations

import numbers
from typing import Any, TypeAlias

import numpy as np

from tinygrad_edu.tensor import as_array, plain

__all__ = ["crossed_gaussians", "finite_numbers", "random_generator", "spiral"]

# A string, because NumPy loads np.random when it is first named, which takes as long again as half
# of NumPy.
Rng: TypeAlias = "int | np.random.Generator | np.random.RandomState | None"


def random_generator(rng: Rng) -> Any:
    """The generator that an `rng` argument stands for.

    Raises:
        TypeError: anything that is not None, a seed or a generator.

    Example:
        >>> random_generator(0).integers(100)
        np.int64(85)
    """
    if isinstance(rng, np.random.RandomState):
        return rng
    if isinstance(rng, (bool, float, str)):
        raise TypeError(f"rng must be None, an int or a NumPy generator, got {rng!r}")
    return np.random.default_rng(rng)


def finite_numbers(data: Any, name: str, dtype: Any = None) -> np.ndarray:
    """Arrays, lists, Tensors and pandas frames as an array of finite numbers.

    Args:
        data: what somebody passed.
        name: what to call it in errors.
        dtype: the dtype to turn it into; by default the data's own.

    Raises:
        ValueError: data that are ragged, or not finite (in `dtype`); the first such place is named.
        TypeError: data that are not numbers.

    Example:
        >>> finite_numbers([[1, 2], [3, 4]], "X", dtype=float)
        array([[1., 2.],
               [3., 4.]])
    """
    try:
        array = as_array(plain(data))
    except ValueError as error:
        raise ValueError(f"{name} cannot be made an array: {error}") from error
    if array.dtype == object and all(isinstance(value, numbers.Real) for value in array.flat):
        # Frames with columns of several kinds, or of pandas' own number types.
        array = np.array(array.tolist())
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name} must hold numbers, got dtype {array.dtype}: encode categories and drop or "
            f"fill what is missing first"
        )
    with np.errstate(over="ignore"):
        array = array if dtype is None else array.astype(dtype, copy=False)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        wrong = ~np.isfinite(array)
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"{name} holds {array[first]} at {list(first)} ({wrong.sum()} values are NaN or "
            f"infinite in {array.dtype}): drop or fill them first"
        )
    return array


def spiral(
    points_per_class: int = 100, classes: int = 3, noise: float = 0.2, rng: Rng = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Interleaved spiral arms, one for each class: not to be separated by straight lines.

    The point at radius r (from 0 to 1) of class j has the angle 4 * (j + r) radians plus normal
    noise of standard deviation `noise`. The data set of the course CS231n,
    https://cs231n.github.io/neural-networks-case-study/.

    Returns:
        X of shape (points_per_class * classes, 2), and y with the class of each row.

    Raises:
        ValueError: fewer than one point or class, or noise below 0.

    Example:
        >>> X, y = spiral(points_per_class=100)
        >>> X.shape, y.shape, np.unique(y)
        ((300, 2), (300,), array([0, 1, 2]))
    """
    if points_per_class < 1 or classes < 1 or not 0 <= noise < np.inf:
        raise ValueError(
            f"points_per_class and classes must be at least 1 and noise a number of at least 0, "
            f"got {points_per_class}, {classes}, {noise}"
        )
    random = random_generator(rng)
    r = np.linspace(0.0, 1.0, points_per_class)
    arms = []
    for j in range(classes):
        t = np.linspace(j * 4, (j + 1) * 4, points_per_class)
        t = t + random.standard_normal(points_per_class) * noise
        arms.append(np.column_stack([r * np.sin(t), r * np.cos(t)]))
    return np.concatenate(arms), np.repeat(np.arange(classes), points_per_class)


def crossed_gaussians(n: int = 1000, rng: Rng = 0) -> tuple[np.ndarray, np.ndarray]:
    """A wide normal cloud (class 0) between two clouds above and below it (class 1).

    Class 0 is n/2 points around (0, 0) with standard deviations (2, 0.5); class 1 is n/4 points
    around each of (0, 3.5) and (0, -3.5) with (0.5, 1).

    Returns:
        X of shape (n, 2), and y with the class of each row.

    Raises:
        ValueError: n that is not a positive multiple of 4.

    Example:
        >>> X, y = crossed_gaussians(n=8)
        >>> X.shape, y
        ((8, 2), array([0, 0, 0, 0, 1, 1, 1, 1]))
    """
    if n < 4 or n % 4:
        raise ValueError(f"n must be a positive multiple of 4, got {n}")
    random = random_generator(rng)
    middle = random.standard_normal((n // 2, 2)) * (2, 0.5)
    above = random.standard_normal((n // 4, 2)) * (0.5, 1) + (0, 3.5)
    below = random.standard_normal((n // 4, 2)) * (0.5, 1) - (0, 3.5)
    return np.concatenate([middle, above, below]), np.repeat([0, 1], n // 2)
