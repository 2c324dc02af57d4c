"""Checks of data, and random generators as the Python world has them.

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

__all__ = ["Rng", "finite_numbers", "random_generator"]

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
