"""Data in parts: for training, for validation, for the test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_edu.data.checks import Rng, random_generator
from tinygrad_edu.tensor import plain

__all__ = ["split"]


def split(
    *arrays: Any,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    stratify: Any = None,
    rng: Rng = None,
) -> list[tuple[np.ndarray, ...]]:
    """Rows in random order, in parts of given sizes; every row is in exactly one part.

    A part of fraction f of n rows has f * n, rounded so that all parts together have n.

    Args:
        *arrays: X, y, and whatever else has one entry for each row.
        fractions: what share of the rows each part gets; together 1.
        stratify: a class for each row, as y. The number of rows of each class in each part then
            differs by at most 1 from the part's share of the class.
        rng: a seed or generator; see `tg.data`.

    Returns:
        For each part a tuple with the part of each array.

    Raises:
        ValueError: no arrays, or of different lengths; fractions that are not above 0 or are not 1
            together; so few rows that a part would have none.

    Example:
        >>> X, y = np.arange(20).reshape(10, 2), np.repeat([0, 1], 5)
        >>> (X_train, y_train), (X_test, y_test) = split(
        ...     X, y, fractions=(0.6, 0.4), stratify=y, rng=0
        ... )
        >>> X_train.shape, np.bincount(y_train), X_test.shape, np.bincount(y_test)
        ((6, 2), array([3, 3]), (4, 2), array([2, 2]))
    """
    columns = [np.asarray(plain(array)) for array in arrays]
    if not columns or any(column.ndim == 0 for column in columns):
        raise ValueError("split takes arrays with one entry for each row, such as X and y")
    n = len(columns[0])
    if any(len(column) != n for column in columns):
        raise ValueError(f"the arrays have different lengths: {[len(c) for c in columns]}")
    sizes = _sizes(n, fractions)
    order = random_generator(rng).permutation(n)
    if stratify is None:
        parts = np.split(order, np.cumsum(sizes)[:-1])
    else:
        classes = np.asarray(plain(stratify))
        if classes.shape != (n,):
            raise ValueError(
                f"stratify must have a class for each of {n} rows, got shape {classes.shape}"
            )
        parts = _stratified(order, np.unique(classes, return_inverse=True)[1], sizes)
    return [tuple(column[rows] for column in columns) for rows in parts]


def _sizes(n: int, fractions: Sequence[float]) -> list[int]:
    """How many rows each part gets: rounded down, and the rest to the largest remainders."""
    shares = [float(fraction) for fraction in fractions]
    # A sum of NaNs is no 1 either.
    if not all(share > 0 for share in shares) or not math.isclose(sum(shares), 1, rel_tol=1e-9):
        raise ValueError(
            f"fractions must be numbers above 0 that are 1 together, as (0.7, 0.15, 0.15); got "
            f"{tuple(fractions)}, together {sum(shares):g}"
        )
    ideal = [n * share for share in shares]
    sizes = [math.floor(size) for size in ideal]
    by_remainder = sorted(range(len(sizes)), key=lambda k: sizes[k] - ideal[k])
    for k in by_remainder[: n - sum(sizes)]:
        sizes[k] += 1
    if not all(sizes):
        raise ValueError(
            f"{n} rows are too few for fractions {tuple(fractions)}: the parts would have {sizes}"
        )
    return sizes


def _stratified(order: np.ndarray, classes: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """The rows of each part, in random order, in the order of `order`.

    Every class gives each part its share, rounded down. Its rows that are left go to different
    parts, those with the most places left. That this always comes out even is a theorem on matrices
    of 0 and 1 with given sums of rows and columns (Gale and Ryser, both 1957).
    """
    counts = np.bincount(classes)
    of_class = counts[:, None] * np.array(sizes) // len(order)
    places = np.array(sizes) - of_class.sum(axis=0)
    for row, left in zip(of_class, counts - of_class.sum(axis=1), strict=True):
        most = np.argsort(-places, kind="stable")[:left]
        row[most] += 1
        places[most] -= 1
    part = np.empty(len(order), int)
    shuffled = classes[order]
    for label, row in enumerate(of_class):
        part[shuffled == label] = np.repeat(np.arange(len(sizes)), row)
    return [order[part == k] for k in range(len(sizes))]
