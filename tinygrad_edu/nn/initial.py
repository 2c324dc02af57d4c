"""How weights begin."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Init", "initial"]

Init = str | float | Callable[[Any, tuple[int, int]], Any]


def initial(init: Init, rng: Any, shape: tuple[int, int]) -> Any:
    if callable(init):
        return init(rng, shape)
    n_in, n_out = shape
    scales = {"he": math.sqrt(2 / n_in), "glorot": math.sqrt(2 / (n_in + n_out))}
    scale = scales.get(init) if isinstance(init, str) else init
    if not isinstance(scale, (int, float, np.number)) or not 0 <= scale < math.inf:
        raise ValueError(
            f"init must be one of {sorted(scales)}, a standard deviation or a function "
            f"(rng, shape) -> array, got {init!r}"
        )
    return scale * rng.standard_normal(shape)
