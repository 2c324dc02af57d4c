"""Operations as people write them: `X @ W1 + b1`, `h[:, 0]`, `-x`, and the names that they use."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_edu.calculus import neural
from tinygrad_edu.calculus.indexing import getitem
from tinygrad_edu.rules import PRIMITIVES, Primitive
from tinygrad_edu.tape import Entry
from tinygrad_edu.tracing import pack

__all__ = ["ATOM", "USUAL_ARGUMENTS", "Expressions", "free_name", "usual_names"]

_BINARY = {
    PRIMITIVES[np.add]: ("+", 4),
    PRIMITIVES[np.subtract]: ("-", 4),
    PRIMITIVES[np.multiply]: ("*", 5),
    PRIMITIVES[np.divide]: ("/", 5),
    PRIMITIVES[np.matmul]: ("@", 5),
    PRIMITIVES[np.power]: ("**", 7),
}
_COMPARISONS = {
    "np.greater": ">",
    "np.less": "<",
    "np.greater_equal": ">=",
    "np.less_equal": "<=",
    "np.equal": "==",
    "np.not_equal": "!=",
}
_LOGICAL: dict[str, tuple[str, float]] = {
    "np.bitwise_and": ("&", 3),
    "np.bitwise_or": ("|", 2),
    "np.bitwise_xor": ("^", 2.5),
}
# How strongly a name or a call binds.
ATOM = 10


class Expressions:
    """Writes operations; subclasses say how that is written which an operation reads.

    A text comes with a number that says how strongly it binds, so that it gets parentheses where it
    stands within something that binds more strongly.
    """

    def read(self, source: Entry, strength: float) -> str:
        """The text for an entry, within something that binds with that strength."""
        raise NotImplementedError

    def constant(self, value: Any) -> str:
        """The text for a value that is no entry."""
        raise NotImplementedError

    def function(self, primitive: Primitive) -> str:
        """The text for a function."""
        return primitive.name.replace("np.absolute", "np.abs")

    def argument(self, entry: Entry, p: int, strength: float) -> str:
        """The text for the argument at a position."""
        source = entry.inputs[p]
        if source is not None:
            return self.read(source, strength)
        text = self.constant(entry.values[p])
        # A sign binds more strongly than a product, but not to the right of an operator.
        is_apart = strength > 4 and strength != 5
        return f"({text})" if text.startswith("-") and is_apart else text

    def expression(self, entry: Entry) -> tuple[str, float]:
        """The text for an operation, and how strongly it binds."""
        primitive, name = entry.primitive, entry.primitive.name

        def argument(p: int, strength: float) -> str:
            return self.argument(entry, p, strength)

        strength: float
        if primitive in _BINARY and len(entry.values) == 2 and not entry.keywords:
            operator, strength = _BINARY[primitive]
            left = strength + 0.1 if operator == "**" else strength
            return f"{argument(0, left)} {operator} {argument(1, strength + 0.1)}", strength
        if name in _COMPARISONS:
            return f"{argument(0, 1.5)} {_COMPARISONS[name]} {argument(1, 1.5)}", 1
        if name in _LOGICAL:
            operator, strength = _LOGICAL[name]
            return f"{argument(0, strength)} {operator} {argument(1, strength + 0.1)}", strength
        if primitive is PRIMITIVES[np.negative]:
            return f"-{argument(0, 6)}", 6
        if name == "np.invert":
            return f"~{argument(0, 6)}", 6
        if primitive is getitem:
            return f"{argument(0, ATOM)}[{self.index(entry, 1)}]", ATOM
        if primitive is pack:
            return f"({', '.join(argument(p, 0) for p in range(len(entry.values)))},)", ATOM
        if primitive is PRIMITIVES[np.transpose] and not entry.keywords and len(entry.values) == 1:
            return f"{argument(0, ATOM)}.T", ATOM
        return f"{self.function(primitive)}({self.arguments(entry, 0)})", ATOM

    def arguments(self, entry: Entry, first: int) -> str:
        """The arguments from a position on, and the keywords."""
        texts = [self.argument(entry, p, 0) for p in range(first, len(entry.values))]
        usual = _defaults(entry.primitive)
        texts += [
            f"{key}={self.constant(value)}"
            for key, value in entry.keywords.items()
            if not (type(value) in (int, float, bool) and value == usual.get(key))
        ]
        return ", ".join(texts)

    def index(self, entry: Entry, p: int) -> str:
        """The index that stands at a position of the arguments, as between brackets."""
        source, value = entry.inputs[p], entry.values[p]
        if source is None:
            parts = value if isinstance(value, tuple) else (value,)
            return ", ".join(map(self._part, parts)) or "()"
        if source.primitive is pack:
            return ", ".join(
                self._part(v) if s is None else self.read(s, 0)
                for s, v in zip(source.inputs, source.values, strict=True)
            )
        return self.read(source, 0)

    def _part(self, part: Any) -> str:
        if isinstance(part, slice):
            ends = ("" if end is None else str(end) for end in (part.start, part.stop))
            return ":".join(ends) + ("" if part.step is None else f":{part.step}")
        return "..." if part is Ellipsis else self.constant(part)


@functools.cache
def _defaults(primitive: Primitive) -> dict[str, Any]:
    """The keywords of an operation that need not be written, with their values."""
    try:
        parameters = inspect.signature(primitive.forward).parameters.values()
    except (TypeError, ValueError):  # of a ufunc
        return {}
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def free_name(wanted: str, taken: set[Any]) -> str:
    """The name, or with a number behind it if it is taken, which it is from now on.

    Example:
        >>> taken = {"x", "h1"}
        >>> free_name("x", taken), free_name("x", taken), free_name("h1", taken)
        ('x2', 'x3', 'h1_2')
    """
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}_{count}" if wanted[-1].isdigit() else f"{wanted}{count}"
    taken.add(name)
    return name


# What the arguments of an operation are called that are no entries.
USUAL_ARGUMENTS = {
    neural.linear: ("X", "W", "b"),
    PRIMITIVES[np.matmul]: ("X", "W"),
    PRIMITIVES[np.dot]: ("X", "W"),
    **dict.fromkeys((neural.cross_entropy, neural.mse, neural.binary_cross_entropy), ("X", "y")),
}
_ACTIVATIONS = {
    *(neural.relu, neural.sigmoid, neural.leaky_relu, neural.softplus),
    *(PRIMITIVES[np.tanh], PRIMITIVES[np.maximum]),
}
_LOSSES = (neural.cross_entropy, neural.binary_cross_entropy, neural.softmax, neural.mse)


def usual_names(entries: Sequence[Entry]) -> dict[Entry, str]:
    """The names that people use for the layers of a net: z1 before and h1 after an activation.

    Only for entries whose own name, if they have one, cannot stand in code.
    """
    taken = {entry.name for entry in entries}
    names: dict[Entry, str] = {}

    def name_of(entry: Entry) -> str:
        return names.get(entry) or entry.name or ""

    def name(entry: Entry, wanted: str) -> None:
        if not (entry.name or "").isidentifier() and wanted not in taken:
            names[entry] = wanted
            taken.add(wanted)

    for entry in entries:
        primitive = entry.primitive
        numbers = [re.search(r"\d+$", name_of(s)) for s in entry.inputs if s is not None]
        found = [match.group() for match in numbers if match]
        if primitive in (neural.linear, PRIMITIVES[np.add]) and found and entry.y.ndim:
            name(entry, f"z{found[-1]}")
        elif primitive in _ACTIVATIONS and found:
            name(entry, f"h{found[-1]}")
        scores = entry.inputs[0] if primitive in _LOSSES else None
        if scores is not None and scores.primitive and not (scores.name or "").isidentifier():
            names[scores] = "scores"
    return names
