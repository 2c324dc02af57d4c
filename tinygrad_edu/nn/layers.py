"""Layers with weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_edu.calculus import indexing, neural
from tinygrad_edu.data import Rng, random_generator
from tinygrad_edu.nn.initial import Init, weights
from tinygrad_edu.nn.module import Module
from tinygrad_edu.tensor import Tensor

__all__ = ["Embedding", "Linear", "Maxout", "at_least_1"]


def at_least_1(what: str, n: Any) -> int:
    """A size as an int.

    Raises:
        ValueError: anything but a whole number of at least 1.
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise ValueError(f"{what} must be a whole number of at least 1, got {n!r}")
    return int(n)


class Linear(Module):
    """The affine layer x @ W + b.

    Shapes: x (..., n_in) -> (..., n_out); W (n_in, n_out), b (n_out,).

    Args:
        n_in: how many values come in.
        n_out: how many go out.
        init: how W begins: "he" (normal with variance 2 / n_in), "glorot" (normal with variance
            2 / (n_in + n_out)), "he_uniform", "glorot_uniform" (of the same variances), a number
            (normal with that standard deviation), or a function `(rng, shape) -> array`; see
            `tg.nn.initial`. b begins at 0.
        rng: a seed, `np.random.Generator` or `np.random.RandomState`; see `tg.data`.
        dtype: float64 or another floating dtype.

    Example:
        >>> layer = Linear(2, 3, rng=0)
        >>> layer(np.zeros((4, 2))).shape
        (4, 3)
    """

    def __init__(
        self, n_in: int, n_out: int, init: Init = "he", rng: Rng = None, dtype: Any = np.float64
    ):
        n_in, n_out = at_least_1("n_in", n_in), at_least_1("n_out", n_out)
        W = weights(init, random_generator(rng), (n_in, n_out), dtype)
        self.W = Tensor(W, requires_grad=True, name="W")
        self.b = Tensor(np.zeros(n_out, dtype), requires_grad=True, name="b")

    def forward(self, x: Any) -> Any:
        """x @ W + b."""
        return neural.linear(x, self.W, self.b)


class Maxout(Linear):
    """The largest of several affine functions: max over k of x @ W_k + b_k, elementwise.

    It is a layer and its activation in one: a convex function that is learned, of `pieces` straight
    pieces. From Goodfellow et al., "Maxout networks", ICML 2013, arXiv 1302.4389. Where pieces are
    equally large, they share the gradient in equal parts, as `np.max` does.

    Shapes: x (..., n_in) -> (..., n_out); W (n_in, pieces * n_out) holds W_1, W_2, ... side by
    side, and b (pieces * n_out,) in the same way.

    Args:
        n_in: how many values come in.
        n_out: how many go out.
        pieces: how many affine functions there are for each of these.
        init: how every W_k begins; see `Linear`. By default "glorot": the larger of two normal
            numbers has the same mean square as one, so that two pieces need no gain as a ReLU does.
        rng: a seed, `np.random.Generator` or `np.random.RandomState`; the pieces draw in order.
        dtype: float64 or another floating dtype.

    Example:
        >>> layer = Maxout(1, 1, pieces=2, rng=0)
        >>> layer.W.data = np.array([[1.0, -1.0]])  # the two pieces x and -x: the absolute value
        >>> layer(np.array([[-2.0], [3.0]])).data
        array([[2.],
               [3.]])
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        pieces: int = 2,
        init: Init = "glorot",
        rng: Rng = None,
        dtype: Any = np.float64,
    ):
        pieces = at_least_1("pieces", pieces)
        rng = random_generator(rng)
        layers = [Linear(n_in, n_out, init, rng, dtype) for _ in range(pieces)]
        self.pieces, self.n_out = pieces, int(n_out)
        W = np.concatenate([layer.W.data for layer in layers], axis=1)
        self.W = Tensor(W, requires_grad=True, name="W")
        self.b = Tensor(np.zeros(W.shape[1], W.dtype), requires_grad=True, name="b")

    def forward(self, x: Any) -> Any:
        """max over k of x @ W_k + b_k."""
        z = super().forward(x)
        return np.max(np.reshape(z, (*z.shape[:-1], self.pieces, self.n_out)), axis=-2)


class Embedding(Module):
    """A row of W for each whole number: a vector that is learned for each word, user, category ...

    It is `one_hot(x) @ W` without the many zeros. Rows that are named several times get the sum of
    the gradients.

    Shapes: x (...) of numbers from 0 to n - 1 -> (..., size); W (n, size). The numbers are
    integers, or floats that are whole: a `Trainer` turns its data into the parameters' dtype.

    Args:
        n: how many rows there are.
        size: how long each row is.
        init: how W begins, see `Linear`; by default normal with standard deviation 1.
        rng: a seed, `np.random.Generator` or `np.random.RandomState`.
        dtype: float64 or another floating dtype.

    Raises:
        ValueError: on a call, numbers that are negative, too large, or not whole.
        TypeError: on a call, what is no number, or of a dtype that does not hold every number
            up to n.

    Example:
        >>> words = Embedding(1000, 8, rng=0)
        >>> words(np.array([[5, 999], [5, 0]])).shape
        (2, 2, 8)
    """

    def __init__(
        self, n: int, size: int, init: Init = 1.0, rng: Rng = None, dtype: Any = np.float64
    ):
        shape = at_least_1("n", n), at_least_1("size", size)
        W = weights(init, random_generator(rng), shape, dtype)
        self.W = Tensor(W, requires_grad=True, name="W")

    def forward(self, x: Any) -> Any:
        """W[x]."""
        return indexing.embedding(self.W, x)
