"""Data sets that are made by a formula and random numbers."""

from __future__ import annotations

import numpy as np

from tinygrad_edu.data.checks import Rng, random_generator

__all__ = ["crossed_gaussians", "spiral"]


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
