"""Patterns: the left side of a rewrite rule, and what it fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from tinygrad_edu.calculus.indexing import getitem
from tinygrad_edu.rules import PRIMITIVES, Primitive, numpy_name
from tinygrad_edu.tape import Entry
from tinygrad_edu.tracing import constant_of, pack

__all__ = [
    "COMMUTATIVE",
    "KINDS",
    "Pattern",
    "arguments_of",
    "frozen",
    "matches",
    "number_of",
    "primitive_of",
]

# What the variables of rules stand for; see `algebra`.
KINDS = {
    **dict.fromkeys(("x", "y", "z"), "array"),
    **dict.fromkeys(("c", "d"), "number"),
    **dict.fromkeys(("i", "n", "shape", "rows"), "static"),
    "ones": "ones",
    "k": "keywords",
}
COMMUTATIVE = {PRIMITIVES[f] for f in (np.add, np.multiply, np.maximum, np.minimum)}
_NO_FIT = object()


class Pattern(NDArrayOperatorsMixin):
    """The left side of a rule: an operation on patterns, or a variable."""

    def __init__(self, primitive: Any, args: Any = (), keywords: Any = None, name: str = ""):
        self.primitive, self.args, self.keywords = primitive, args, keywords or {}
        self.name, self.kind = name, KINDS.get(name)

    def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, **keywords: Any) -> Pattern:
        return Pattern(primitive_of(ufunc), args, keywords)

    def __array_function__(self, function: Any, types: Any, args: Any, keywords: Any) -> Pattern:
        return Pattern(primitive_of(function), args, keywords)

    def __record__(self, primitive: Primitive, args: Any, keywords: Any) -> Pattern:
        return Pattern(primitive, args, keywords)

    def __getitem__(self, index: Any) -> Pattern:
        index = Pattern(pack, index) if isinstance(index, tuple) else index
        return Pattern(getitem, (self, index))


def primitive_of(function: Any) -> Any:
    """The operation that a function of NumPy is in a program."""
    return PRIMITIVES.get(function) or constant_of(function, numpy_name(function))


def number_of(value: Any) -> float | int | None:
    """The number that a constant is, or consists of throughout."""
    if isinstance(value, (bool, Entry)) or value is None:
        return None
    if type(value) in (float, int):
        return value
    if (
        isinstance(value, (np.ndarray, np.generic))
        and value.dtype.char in "efdiulqbBhHILQ"
        and value.size
    ):
        first = value.flat[0] if isinstance(value, np.ndarray) else value
        return first.item() if np.all(value == first) else None
    return None


def matches(pattern: Any, x: Any, bound: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All ways in which a pattern fits an entry or a constant."""
    if not isinstance(pattern, Pattern):
        number = x if type(x) in (int, float) else None
        if (number is not None and number == pattern) or x is pattern:
            yield bound
        return
    if pattern.primitive is None:
        value = _fit(pattern.kind, x)
        if value is _NO_FIT:
            return
        if pattern.name in bound:
            if _same(bound[pattern.name], value):
                yield bound
        else:
            yield {**bound, pattern.name: value}
        return
    if pattern.primitive is pack and isinstance(x, tuple):
        primitive, args, keywords = pack, list(x), {}
    elif isinstance(x, Entry) and x.primitive is pattern.primitive:
        primitive, args, keywords = x.primitive, arguments_of(x), x.keywords
    else:
        return
    wanted = pattern.keywords
    if isinstance(wanted, Pattern):  # k
        if "k" in bound and not _same(bound["k"], keywords):
            return
        bound = {**bound, "k": keywords}
    else:
        if wanted.keys() != keywords.keys():
            return
        for name, part in wanted.items():
            bounds = list(matches(part, keywords[name], bound))
            if not bounds:
                return
            bound = bounds[0]
    if len(args) != len(pattern.args):
        return
    orders = [args]
    if primitive in COMMUTATIVE:
        orders.append(args[::-1])
    for order in orders:
        yield from _all_match(pattern.args, order, bound)


def _all_match(
    patterns: Sequence[Any], args: Sequence[Any], bound: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    if not patterns:
        yield bound
        return
    for found in matches(patterns[0], args[0], bound):
        yield from _all_match(patterns[1:], args[1:], found)


def _fit(kind: Any, x: Any) -> Any:
    """What a variable of a kind stands for if it meets `x`."""
    if kind == "number":
        # An array might broadcast, and a number of NumPy's has a dtype to go by.
        return float(x) if type(x) in (int, float) else _NO_FIT
    if kind == "ones":
        is_ones = isinstance(x, np.ndarray) and x.ndim == 1 and number_of(x) == 1
        return x if is_ones else _NO_FIT
    if kind == "static":
        return x
    return x if isinstance(x, (Entry, np.ndarray)) else _NO_FIT


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Entry) or isinstance(b, Entry):
        return a is b
    return bool(type(a) is type(b) and frozen(a) == frozen(b))


def arguments_of(entry: Entry) -> list[Any]:
    """The arguments of an entry: entries, and the values of the others."""
    return [
        value if source is None else source
        for source, value in zip(entry.inputs, entry.values, strict=True)
    ]


def frozen(value: Any) -> Any:
    """A constant as a key."""
    if isinstance(value, np.ndarray):
        return (value.shape, value.dtype.str, value.tobytes())
    if isinstance(value, np.generic):
        return (value.dtype.str, value.tobytes())
    if isinstance(value, (tuple, list)):
        return tuple(frozen(part) for part in value)
    if isinstance(value, dict):
        return tuple((key, frozen(part)) for key, part in value.items())
    if isinstance(value, slice):
        return ("slice", value.start, value.stop, value.step)
    return (type(value).__name__, repr(value))
