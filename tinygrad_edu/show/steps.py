"""What happens at each step along a tape: the numbers forward, the gradients on the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_edu.calculus import neural
from tinygrad_edu.expressions import Expressions
from tinygrad_edu.rules import PRIMITIVES
from tinygrad_edu.show.formulas import formula, in_names, names_of, raw, summed_axes, value_of
from tinygrad_edu.show.labels import number
from tinygrad_edu.tape import Entry
from tinygrad_edu.walk import walk_back

__all__ = [
    "Backward",
    "Cell",
    "Sent",
    "example",
    "in_numbers",
    "is_numeric",
    "rule_in_numbers",
    "stretched",
]

_ELEMENTWISE = {
    *(neural.relu, neural.sigmoid, neural.leaky_relu, neural.softplus),
    PRIMITIVES[np.where],
    *(p for f, p in PRIMITIVES.items() if isinstance(f, np.ufunc) and f.signature is None),
}
_TERMS = 3  # of a sum that are written out

Cell = tuple[int, ...]


@dataclass
class Sent:
    """A gradient that a step back sends to one input.

    Attributes:
        source: the input.
        position: which argument it is.
        gx: the gradient that is sent.
        total: what the gradient of the input is after it.
        count: the how many-th gradient this is that the input gets.
    """

    source: Entry
    position: int
    gx: np.ndarray
    total: np.ndarray
    count: int


@dataclass
class Backward:
    """The walk back along a tape, step by step.

    Attributes:
        gradients: the whole gradient of each entry that one reaches.
        sent: for each operation what it sends, in the order in which it does.
    """

    gradients: dict[Entry, np.ndarray] = field(default_factory=dict)
    sent: dict[Entry, list[Sent]] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Sequence[Entry], g: np.ndarray) -> Backward:
        """The walk back from the last entry, at which the gradient is `g`.

        Raises:
            FloatingPointError: a gradient is 0 * inf; see `tg.grad`.
        """
        seen: dict[tuple[Entry, int], Any] = {}

        def observe(entry: Entry, position: int, g: Any, gx: Any) -> None:
            seen[entry, position] = gx

        walk_back(list(entries), g, observe=observe)
        back = cls({entries[-1]: np.asarray(g)})
        counts: dict[Entry, int] = {}
        for (entry, position), gx in seen.items():
            source = entry.inputs[position]
            counts[source] = counts.get(source, 0) + 1
            total = back.gradients[source] + gx if counts[source] > 1 else gx
            back.gradients[source] = total = np.asarray(total)
            sent = Sent(source, position, np.asarray(gx), total, counts[source])
            back.sent.setdefault(entry, []).append(sent)
        return back


def is_numeric(y: Any) -> bool:
    """Whether it is an array of numbers or truth values with anything in it."""
    return isinstance(y, np.ndarray) and y.size > 0 and y.dtype.kind in "biuf"


def example(y: Any, g: Any) -> Cell:
    """The cell to show numbers of: where the gradient is largest, of several the value too.

    Example:
        >>> example(np.array([1.0, -3.0]), None), example(np.array([1.0, -3.0]), np.array([2, 0]))
        ((1,), (0,))
    """
    size = _share(y) if g is None else _share(g) + 1e-3 * _share(y)
    return tuple(int(i) for i in np.unravel_index(size.argmax(), size.shape))


def _share(x: Any) -> np.ndarray:
    """Sizes as shares of the largest; what is not finite counts as the least."""
    size = np.abs(np.asarray(x, float))
    size = np.where(np.isfinite(size), size, -1)
    largest = size.max(initial=0)
    return size / largest if largest > 0 else size


def in_numbers(entry: Entry, cell: Cell) -> str:
    """How one cell of a result comes about, such as `0.5 * 3 = 1.5`; empty if it cannot be told."""
    y, primitive = entry.y, entry.primitive
    if primitive is None or not is_numeric(y):
        return ""
    values = [np.asarray(value) for value in entry.values] if _is_plain(entry) else []
    if _is_elementwise(entry):
        text = _AtCell(cell).expression(entry)[0]
    elif primitive in (PRIMITIVES[np.matmul], PRIMITIVES[np.dot]) and _are_matrices(values):
        text = _product(*_factors(values[0], values[1], cell))
    elif primitive is neural.linear:
        x, W, b = values
        text = f"{_product(x[cell[:-1]], W[:, cell[-1]])} + {_signed(b[cell[-1]])}"
    elif primitive in (PRIMITIVES[np.sum], PRIMITIVES[np.mean]) and values:
        terms = _summed(entry, values[0], cell)
        if terms is None:
            return ""
        text = _sum(terms)
        if primitive is PRIMITIVES[np.mean]:
            text = f"({text}) / {terms.size}"
    else:
        return ""
    result = number(y[cell])
    return "" if text in (result, _signed(y[cell])) else f"{text} = {result}"


def rule_in_numbers(entry: Entry, sent: Sent, g: np.ndarray) -> str:
    """How one number of what is sent comes about, such as `at [1]: 0.5 * 3 = 1.5`.

    Empty if it cannot be told.
    """
    gx = sent.gx
    if not is_numeric(gx):
        return ""
    there = example(gx, None)
    place = f"at {list(there)}: " if there else ""
    values = [np.asarray(value) for value in entry.values] if _is_plain(entry) else []
    if summed_axes(entry, sent.position):
        terms = _stretched_over(entry, sent.position, g, there)
        text = _sum(terms)
    elif _is_elementwise(entry):
        text = _formula_at(entry, sent, g, there)
    elif entry.primitive is PRIMITIVES[np.matmul] and all(v.ndim == 2 for v in values):
        i, j = there
        a, b = values
        text = _product(*((g[i], b[j]) if sent.position == 0 else (a[:, i], g[:, j])))
    elif entry.primitive is neural.linear and g.ndim == 2:
        x, W, _ = values
        if sent.position == 2:
            text = _sum(g[:, there[0]])
        elif sent.position == 0:
            text = _product(g[there[0]], W[there[1]])
        else:
            text = _product(x[:, there[0]], g[:, there[1]])
    elif gx.size > 1 and (gx == gx.flat[0]).all():
        return f"each of the {gx.size} numbers is {number(gx.flat[0])}"
    else:
        return ""
    result = number(gx[there])
    if not text or text in (result, _signed(gx[there])):
        return f"{place}{result}" if text else ""
    return f"{place}{text} = {result}"


def stretched(entry: Entry, position: int) -> str:
    """Which broadcast of an input has to be undone; empty if there was none.

    Example:
        >>> a, b = np.ones((3, 2)), np.ones(2)
        >>> entry = Entry(PRIMITIVES[np.add], (a, b), (None, None), {}, a + b)
        >>> stretched(entry, 0), stretched(entry, 1)
        ('', 'of shape (2,) was stretched to (3, 2), so every number was read 3 times')
    """
    x, y, core = np.asarray(entry.values[position]), entry.y, entry.primitive.core_axes
    if not isinstance(y, np.ndarray) or 0 in (x.size, y.size):
        return ""
    if core == 0 and x.shape != y.shape:
        times = y.size // x.size
        return (
            f"of shape {x.shape} was stretched to {y.shape}, so every number was read {_n(times)}"
        )
    if core == 2 and x.ndim:
        # A vector has no axis of its own in the result, and a matrix one or two.
        vectors = sum(np.ndim(value) == 1 for value in entry.values)
        stack = y.shape[: max(y.ndim - 2 + vectors, 0)]
        own = x.shape[:-2]
        if own != stack:
            times = int(np.prod(stack)) // max(int(np.prod(own)), 1)
            return f"of shape {x.shape} was used for several products, so it was read {_n(times)}"
    return ""


def _n(times: int) -> str:
    return "twice" if times == 2 else f"{times} times"


class _AtCell(Expressions):
    """An elementwise operation with the numbers of one cell."""

    def __init__(self, cell: Cell):
        self._cell = cell

    def argument(self, entry: Entry, p: int, strength: float) -> str:
        """See `Expressions`."""
        value = entry.values[p]
        if isinstance(value, (np.ndarray, np.generic, int, float)):
            text = number(_at(np.asarray(value), self._cell))
            return f"({text})" if text.startswith("-") and strength > 4 else text
        return self.constant(value)

    def constant(self, value: Any) -> str:
        """See `Expressions`."""
        if isinstance(value, np.ndarray) and value.ndim <= len(self._cell):
            value = _at(value, self._cell)
        return number(value) if np.ndim(value) == 0 and not callable(value) else repr(value)


def _formula_at(entry: Entry, sent: Sent, g: np.ndarray, cell: Cell) -> str:
    """An elementwise rule with the numbers of one cell, if it gives what was sent there."""
    text = formula(entry, sent.position)
    if text is None:
        return ""
    at = [_at(np.asarray(v), cell) if _is_number(v) else v for v in (entry.y, *entry.values)]
    names = names_of(entry, sent.position, at)
    numbers = {"x": at[1 + sent.position], **names, **entry.keywords, "g": _at(g, cell)}
    found = value_of(text, numbers)
    if found is None or not np.allclose(found, sent.gx[cell], 1e-3, 0, equal_nan=True):
        return ""
    return in_names(text, {n: number(v) for n, v in numbers.items() if _is_number(v)})


def _stretched_over(entry: Entry, position: int, g: np.ndarray, there: Cell) -> np.ndarray:
    """The numbers whose sum is one number of the gradient of an input that was stretched."""
    whole = np.broadcast_to(raw(entry, position, g), entry.y.shape)
    axes, new = summed_axes(entry, position), entry.y.ndim - len(there)
    cell = (slice(None) if i in axes else there[i - new] for i in range(entry.y.ndim))
    return whole[tuple(cell)].ravel()


def _is_number(value: Any) -> bool:
    return isinstance(value, (np.ndarray, np.generic, int, float)) and not isinstance(value, str)


def _is_plain(entry: Entry) -> bool:
    """Whether all arguments are arrays or numbers."""
    return all(_is_number(value) for value in entry.values)


def _is_elementwise(entry: Entry) -> bool:
    """Whether each number of the result is the function of one number of each argument."""
    return entry.primitive in _ELEMENTWISE and _is_plain(entry)


def _are_matrices(values: Sequence[np.ndarray]) -> bool:
    return len(values) == 2 and all(1 <= value.ndim <= 2 for value in values)


def _at(x: np.ndarray, cell: Cell) -> Any:
    """The number that a broadcast array has at a cell."""
    own = cell[len(cell) - x.ndim :] if x.ndim else ()
    return x[tuple(0 if n == 1 else i for i, n in zip(own, x.shape, strict=True))]


def _factors(a: np.ndarray, b: np.ndarray, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """The row and the column whose product is a cell of a @ b."""
    row = a[cell[0]] if a.ndim == 2 else a
    return row, b[:, cell[-1]] if b.ndim == 2 else b


def _summed(entry: Entry, x: np.ndarray, cell: Cell) -> np.ndarray | None:
    """The numbers that a cell of a sum along axes is the sum of."""
    axis = entry.keywords.get("axis")
    if entry.keywords.keys() - {"axis", "keepdims"} or len(entry.values) > 1:
        return None
    reduced = range(x.ndim) if axis is None or not x.ndim else np.atleast_1d(axis) % x.ndim
    kept = iter(cell if not entry.keywords.get("keepdims") else _without(cell, reduced))
    return x[tuple(slice(None) if i in reduced else next(kept) for i in range(x.ndim))].ravel()


def _without(cell: Cell, axes: Any) -> Cell:
    return tuple(i for axis, i in enumerate(cell) if axis not in axes)


def _product(left: np.ndarray, right: np.ndarray) -> str:
    return _sum(
        left * right, [f"{_signed(x)}·{_signed(w)}" for x, w in zip(left, right, strict=True)]
    )


def _sum(terms: np.ndarray, texts: Sequence[str] | None = None) -> str:
    """A sum as text; of many terms the largest ones."""
    texts = [_signed(x) for x in terms] if texts is None else texts
    if len(texts) <= _TERMS + 1:
        return " + ".join(texts)
    size = np.where(np.isfinite(terms), np.abs(terms), np.inf)
    chosen = np.sort(np.argsort(-size, kind="stable")[:_TERMS])
    return f"{' + '.join(texts[i] for i in chosen)} + … ({_TERMS} of {len(texts)} terms)"


def _signed(x: Any) -> str:
    text = number(x)
    return f"({text})" if text.startswith("-") else text
