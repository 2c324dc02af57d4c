"""Operations of our own in terms of NumPy's, as a compiled program runs them.

Each function here is run on a trace, once, so that what it does becomes part of the program; equal
parts of two of them, such as the exponentials of a loss and of its gradient, become one.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_edu.calculus import neural
from tinygrad_edu.calculus.indexing import scatter_add
from tinygrad_edu.recording import mode
from tinygrad_edu.rules import PRIMITIVES, Primitive
from tinygrad_edu.tensor import lift

__all__ = [
    "assembled",
    "dot",
    "is_whole",
    "label_index",
    "minus_one_hot",
    "operations",
    "pick",
    "square_sum",
    "subtract_at",
]


def _label_index(labels: Any, n: int, classes: int) -> Any:
    """Where the entry of each row that its label names stands among all, row after row."""
    neural._checked_labels(np.broadcast_to(0.0, (n, classes)), labels)
    return np.arange(n) * classes + labels.astype(np.intp)


def _subtract_at(x: Any, index: Any, value: Any) -> Any:
    y = x.reshape(-1).copy()
    y[index] -= value
    return y.reshape(x.shape)


def _assembled(*pieces: Any, places: tuple[tuple[int, int], ...], n: int) -> Any:
    whole = np.zeros(n, pieces[0].dtype)
    for (start, stop), piece in zip(places, pieces, strict=True):
        whole[start:stop] = piece
    return whole


label_index = Primitive(_label_index, "label_index")
pick = Primitive(lambda x, index: x.reshape(-1)[index], "pick")
subtract_at = Primitive(_subtract_at, "subtract_at")
square_sum = Primitive(lambda x: np.vdot(x, x), "square_sum")
# A vector of n values with pieces at some places, and 0 elsewhere.
assembled = Primitive(_assembled, "assembled")
dot = PRIMITIVES[np.matmul]


def _index_of(labels: Any, n: int, classes: int) -> Any:
    """`label_index` as an entry, also if the labels are known beforehand."""
    return mode.trace.record(label_index, (labels, n, classes), {})


def _rows(x: Any, careful: bool) -> Any:
    """The exponentials of each row, their sum, and the row, all without what is largest in it.

    A row of nothing but -inf has no largest value, and 0 as its sum; to be careful is to have that
    come out as in `tg.softmax`.
    """
    start: dict[str, Any] = {"initial": float(np.finfo(x.dtype).min)} if careful else {}
    shifted = x - np.max(x, axis=-1, keepdims=True, **start)
    e = np.exp(shifted)
    total = np.sum(e, axis=-1, keepdims=True)
    return shifted, e, np.maximum(total, 1) if careful else total


def _softmax(careful: bool, x: Any, axis: Any = -1) -> Any:
    if axis != -1 or not x.size:
        return None
    _, e, total = _rows(x, careful)
    return e / total


def _log_softmax(careful: bool, x: Any, axis: Any = -1) -> Any:
    if axis != -1 or not x.size:
        return None
    shifted, _, total = _rows(x, careful)
    return shifted - np.log(total)


def _cross_entropy(careful: bool, logits: Any, labels: Any) -> Any:
    shifted, _, total = _rows(logits, careful)
    n = logits.shape[0]
    right = pick(shifted, _index_of(labels, n, logits.shape[1]))
    return (np.sum(np.log(total)) - np.sum(right)) * (1 / n)


def _linear(x: Any, W: Any, b: Any) -> Any:
    return np.matmul(x, W) + b


def _mse(prediction: Any, target: Any) -> Any:
    if prediction.shape != target.shape:
        return None
    distance = prediction - target
    return square_sum(distance) * (1 / prediction.size)


def _sum_of_squares(*arrays: Any) -> Any:
    total = square_sum(arrays[0])
    for x in arrays[1:]:
        total = total + square_sum(x)
    return total


def _relu(x: Any, at_zero: float = 0.0) -> Any:
    return np.maximum(x, 0)


def _leaky_relu(x: Any, slope: float = 0.01) -> Any:
    return np.maximum(x, slope * x) if 0 < slope <= 1 else None


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _scatter_add(values: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """A slice of a vector, as one piece of it."""
    part = index[0] if isinstance(index, tuple) and len(index) == 1 else index
    if len(shape) != 1 or not isinstance(part, slice):
        return None
    start, stop, step = part.indices(shape[0])
    if step != 1 or stop <= start:
        return None
    return assembled(values, places=((start, stop),), n=shape[0])


def _add(a: Any, b: Any) -> Any:
    """The sum of pieces of a vector that do not overlap."""
    entries: list[Any] = [getattr(x, "_entry", None) for x in (a, b)]
    if not all(entry is not None and entry.primitive is assembled for entry in entries):
        return None
    found: list[Any] = []
    for entry in entries:
        pieces = [lift(source, source.y) for source in entry.inputs]
        found += zip(entry.keywords["places"], pieces, strict=True)
    found.sort(key=lambda pair: pair[0])
    places = tuple(place for place, _ in found)
    if any(stop > start for (_, stop), (start, _) in itertools.pairwise(places)):
        return None
    return assembled(*(piece for _, piece in found), places=places, n=a.size)


def is_whole(entry: Any) -> bool:
    """Whether the pieces of an `assembled` vector leave no gap."""
    ends = [0, *(stop for _, stop in entry.keywords["places"])]
    starts = [*(start for start, _ in entry.keywords["places"]), entry.keywords["n"]]
    return ends == starts


def minus_one_hot(x: Any, labels: Any) -> Any:
    """x - one_hot(labels)."""
    n, classes = x.shape
    return subtract_at(x, _index_of(labels, n, classes), 1.0)


def operations(careful: bool) -> dict[Primitive, Callable[..., Any]]:
    """What to write for each operation: a function of its arguments, or None if it does not go."""
    return {
        neural.softmax: functools.partial(_softmax, careful),
        neural.log_softmax: functools.partial(_log_softmax, careful),
        neural.cross_entropy: functools.partial(_cross_entropy, careful),
        neural.linear: _linear,
        neural.mse: _mse,
        neural.sum_of_squares: _sum_of_squares,
        neural.relu: _relu,
        neural.leaky_relu: _leaky_relu,
        neural.sigmoid: _sigmoid,
        scatter_add: _scatter_add,
        PRIMITIVES[np.add]: _add,
    }
