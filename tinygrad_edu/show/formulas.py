"""Derivative rules as short formulas, in the names of the book and in those of the user.

The rule of the book deals with all shapes, kinks and limits that NumPy has, and takes some lines
for that. What it comes to in the usual case is one line, which stands in a table here. Where that
is shown it has just been compared with the rule, at the very values of the tape.
"""

from __future__ import annotations

import ast
import inspect
import math
from typing import Any

import numpy as np

from tinygrad_edu.book import rule_text
from tinygrad_edu.calculus import neural, reductions, shapes
from tinygrad_edu.calculus.einsum import einsum
from tinygrad_edu.calculus.indexing import getitem, setitem
from tinygrad_edu.rules import PRIMITIVES, Primitive
from tinygrad_edu.show.labels import Labels
from tinygrad_edu.tape import Entry

__all__ = [
    "formula",
    "in_names",
    "names_of",
    "raw",
    "summed_axes",
    "value_of",
    "words",
    "written",
]

_DA = "g @ b.T", "np.outer(g, b)", "b @ g", "g * b"
_DB = "a.T @ g", "a[:, None] * g", "g * a"
_OVER_AXES = "np.broadcast_to({}, x.shape)", "np.broadcast_to({}[..., None], x.shape)"


def _spread(*parts: str) -> tuple[str, ...]:
    return tuple(frame.format(part) for frame in _OVER_AXES for part in parts)


# For each input what its gradient may be, the last line for all further ones; `x` is the input if
# the rule has no name for it.
_TABLE: dict[Primitive, list[tuple[str, ...]]] = {
    PRIMITIVES[np.matmul]: [_DA, _DB],
    PRIMITIVES[np.dot]: [_DA, _DB],
    neural.linear: [("g @ W.T",), ("x.T @ g",), ("g.sum(axis=0)",)],
    PRIMITIVES[np.power]: [("g * b * a ** (b - 1)",), ("g * y * np.log(a)",)],
    neural.relu: [("g * (x > 0)",)],
    neural.sigmoid: [("g * y * (1 - y)",)],
    neural.logsumexp: [("g * tg.softmax(x)", "g[..., None] * tg.softmax(x)")],
    neural.cross_entropy: [
        ("g * (tg.softmax(logits) - np.eye(logits.shape[1])[labels]) / len(labels)",)
    ],
    neural.sum_of_squares: [("2 * g * x",)],
    PRIMITIVES[np.sum]: [_spread("g")],
    PRIMITIVES[np.mean]: [_spread("g / x.size", "(g / len(x))", "(g / x.shape[-1])")],
    PRIMITIVES[np.max]: [("g * (x == y)",)],
    PRIMITIVES[np.min]: [("g * (x == y)",)],
    PRIMITIVES[np.prod]: [("g * y / x",)],
    PRIMITIVES[np.cumsum]: [("np.cumsum(g[::-1])[::-1]",)],
    PRIMITIVES[np.transpose]: [("g.T",)],
    PRIMITIVES[np.trace]: [("g * np.eye(len(x))",)],
    reductions.variance: [("g * 2 * (x - x.mean()) / x.size",)],
    reductions.deviation: [("g * (x - x.mean()) / (x.size * y)",)],
}
# Where no formula says it better.
_WORDS: dict[Primitive, list[str]] = {
    getitem: ["{g} at the places that were read, and 0 elsewhere"],
    setitem: ["{g}, but 0 at the places that were set", "{g} at the places that were set"],
    einsum: ["the einsum of {g} and the other operands that leaves the indices of {x}"],
    shapes.join: ["the part of {g} that {x} has become"],
}


def names_of(entry: Entry, position: int, values: list[Any]) -> dict[str, Any]:
    """The names that a rule has for the result and the arguments, with what `values` has for them.

    `values` are the result and the arguments in order.
    """
    rule = entry.primitive.rule(position)
    try:
        parameters = list(inspect.signature(rule).parameters.values())[1:]
    except (TypeError, ValueError):
        return {}
    names: dict[str, Any] = {}
    for i, parameter in enumerate(parameters[: len(values)]):
        if parameter.kind is parameter.VAR_POSITIONAL:
            names[parameter.name] = tuple(values[i:])
            break
        names[parameter.name] = values[i]
    return names


def raw(entry: Entry, position: int, g: Any) -> Any:
    """What the rule gives, before a broadcast is undone."""
    rule = entry.primitive.rule(position)
    with np.errstate(all="ignore"):
        return np.asarray(rule(g, entry.y, *entry.values, **entry.keywords))


def formula(entry: Entry, position: int) -> str | None:
    """The rule as one expression, in the names of the book; `None` if there is none."""
    rows = _TABLE.get(entry.primitive, [])
    if rows:
        row = rows[min(position, len(rows) - 1)]
        return next((text for text in row if _is_right(text, entry, position)), None)
    text = rule_text(entry.primitive.rule(position))
    return text if _parsed(text) is not None else None


def words(entry: Entry, position: int, labels: Labels) -> str:
    """The rule in words, if that says more than its code."""
    texts = _WORDS.get(entry.primitive)
    if not texts:
        return ""
    names = {"g": f"d{labels.label(entry)}", "x": labels.argument(entry, position, 0)}
    return texts[min(position, len(texts) - 1)].format(**names)


def in_names(text: str, names: dict[str, str]) -> str:
    """An expression with other names.

    Example:
        >>> in_names("-g * y / b", {"g": "dc", "y": "c", "b": "-2.0"})
        '-dc * c / (-2.0)'
    """
    tree = _parsed(text)
    assert tree is not None

    class Rename(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            name = names.get(node.id, node.id)
            return ast.Name(f"({name})" if name.startswith("-") else name)

    return ast.unparse(Rename().visit(tree))


def written(entry: Entry, position: int, labels: Labels) -> str | None:
    """The formula in the user's names, with the sums that undo a broadcast."""
    text = None if entry.primitive in _WORDS else formula(entry, position)
    if text is None:
        return None
    texts = [labels.label(entry), *(labels.argument(entry, p, 0) for p in range(len(entry.values)))]
    names = {"x": texts[1 + position], **names_of(entry, position, texts)}
    plain = {name: t for name, t in names.items() if isinstance(t, str)}
    plain |= {key: labels.constant(value) for key, value in entry.keywords.items()}
    text = in_names(text, {**plain, "g": f"d{labels.label(entry)}"})
    axes = summed_axes(entry, position)
    if not axes:
        return text
    x, y = entry.values[position], entry.y
    axis = axes[0] if len(axes) == 1 else axes
    keeps = ", keepdims=True" if x.ndim == y.ndim else ""
    call = "" if len(axes) == y.ndim and not keeps else f"axis={axis}{keeps}"
    return f"{text}.sum({call})" if _is_name(text) else f"({text}).sum({call})"


def summed_axes(entry: Entry, position: int) -> tuple[int, ...]:
    """The axes of the result along which an input of an elementwise operation was stretched."""
    x, y = entry.values[position], entry.y
    if entry.primitive.core_axes != 0 or not isinstance(y, np.ndarray) or np.shape(x) == y.shape:
        return ()
    new = y.ndim - x.ndim
    ones = (i for i in range(x.ndim) if x.shape[i] == 1 and y.shape[new + i] != 1)
    return (*range(new), *(new + i for i in ones))


def _is_name(text: str) -> bool:
    return all(c.isalnum() or c in "_%" for c in text)


def _parsed(text: str) -> ast.Expression | None:
    """The tree of an expression in which every name means the same everywhere."""
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError:
        return None
    inner = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.NamedExpr)
    return None if any(isinstance(node, inner) for node in ast.walk(tree)) else tree


def value_of(text: str, names: dict[str, Any]) -> Any:
    """What an expression comes to with these names, or `None` if it cannot be computed."""
    try:
        with np.errstate(all="ignore"):
            return np.asarray(eval(text, {**names, "np": np, "tg": neural, "math": math}))
    except Exception:  # shapes for which the expression is not meant, names of the rule's module
        return None


def _is_right(text: str, entry: Entry, position: int) -> bool:
    """Whether a formula gives what the rule gives, for random numbers as `g`."""
    g = np.random.default_rng(0).normal(size=entry.y.shape).astype(entry.y.dtype)
    names = names_of(entry, position, [entry.y, *entry.values])
    found = value_of(text, {"x": entry.values[position], **names, **entry.keywords, "g": g})
    try:
        expected = raw(entry, position, g)
    except Exception:  # a rule may fail, which the walk back tells of
        return False
    if found is None or found.shape != expected.shape:
        return False
    close = 1e-3 if expected.dtype.itemsize < 8 else 1e-9
    finite = expected[np.isfinite(expected)]
    size = float(np.max(np.abs(finite), initial=0))
    return np.allclose(found, expected, close, close * size, equal_nan=True)
