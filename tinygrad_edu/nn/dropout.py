"""Dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_edu.data import Rng, random_generator
from tinygrad_edu.nn.module import Module

__all__ = ["Dropout"]


class Dropout(Module):
    """In training mode each value is 0 with probability p, otherwise x / (1 - p).

    The division keeps the mean, so that in evaluation mode x passes as it is. Each call draws
    anew. Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from
    overfitting", JMLR 15 (2014), https://jmlr.org/papers/v15/srivastava14a.html, section 10.

    Shapes: x of any shape -> the same.

    Args:
        p: the probability, from 0 to below 1.
        rng: a seed, `np.random.Generator` or `np.random.RandomState`; see `tg.data`.

    Raises:
        ValueError: p out of its range.

    Example:
        >>> layer = Dropout(0.5, rng=0)
        >>> layer(np.ones(8))
        array([2., 0., 0., 0., 2., 2., 2., 2.])
        >>> layer.eval()(np.ones(8))
        array([1., 1., 1., 1., 1., 1., 1., 1.])
    """

    def __init__(self, p: float = 0.5, rng: Rng = None):
        if not isinstance(p, (int, float, np.number)) or not 0 <= p < 1:
            raise ValueError(f"p must be a number from 0 to below 1, got {p!r}")
        self.p = float(p)
        self.rng = random_generator(rng)

    def forward(self, x: Any) -> Any:
        """x in evaluation mode; in training mode what is left of it."""
        if not self.training or self.p == 0:
            return x
        return x * (self.rng.random(x.shape) >= self.p) / (1 - self.p)

    def _label(self) -> str:
        return f"Dropout {self.p:g}"
