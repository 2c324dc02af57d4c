"""States: what a net or an optimiser knows, as plain arrays by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_edu.tensor import plain

__all__ = ["checked_state"]


def checked_state(
    state: Mapping[str, Any], own: Mapping[str, Any], owner: object, kind: str
) -> dict[str, np.ndarray]:
    """The arrays of `state`, in the order of `own`, after a look at all of them.

    Args:
        state: the arrays by name that somebody gave.
        own: what `owner` has by name; the names and the shapes must be the same.
        owner: whose state it is, a "net" or an "optimiser" as messages call its `kind`.

    Raises:
        KeyError: an array is missing, or the owner has none of that name.
        ValueError: an array of another shape, or one that holds no real numbers.

    Example:
        >>> checked_state({"b": [1, 2]}, {"b": np.zeros(2)}, "a net", "net")
        {'b': array([1, 2])}
    """
    for problem, keys in (("lacks", own.keys() - state), ("has unknown", state.keys() - own)):
        if keys:
            raise KeyError(
                f"the state {problem} {sorted(keys)}; this {type(owner).__name__} has {list(own)}"
            )
    arrays = {}
    for name in own:
        try:
            arrays[name] = np.asarray(plain(state[name]))
        except ValueError as error:
            raise ValueError(f"{name} cannot be made an array: {error}") from error
    for name, array in arrays.items():
        if array.shape != own[name].shape:
            raise ValueError(
                f"{name} has shape {own[name].shape} in this {kind}, shape {array.shape} in the "
                f"state"
            )
        if array.dtype.kind not in "fiu":
            raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}")
    return arrays
