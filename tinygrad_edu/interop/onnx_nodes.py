"""Recorded operations as nodes of an ONNX graph.

The operators are described at https://onnx.ai/onnx/operators/; of version 18 of them, which is what
`VERSION` says. Where an operator holds its numbers as float32 whatever the data are, as the slope
of LeakyRelu, or is not exact, several exact ones stand in its place.
"""

from __future__ import annotations

import math
import string
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_edu.interop.onnx_graph import Graph, Pair, depends_on_size, same, untranslated
from tinygrad_edu.tape import Entry
from tinygrad_edu.tracing import pack

__all__ = ["TRANSLATIONS", "VERSION", "translated"]

VERSION = 18

Translation = Callable[[Graph, Pair], str]


def translated(graph: Graph, pair: Pair) -> str:
    """Adds the nodes of an operation and returns the name of the last output."""
    translation = TRANSLATIONS.get(pair[0].primitive.name)
    if translation is None:
        what = "an index that is computed" if pair[0].primitive is pack else "this operation"
        raise untranslated(pair[0], what)
    return translation(graph, pair)


_COMPARISONS = "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"


def _elementwise(operator: str) -> Translation:
    def translate(graph: Graph, pair: Pair) -> str:
        entry = pair[0]
        dtype = entry.y.dtype
        if operator in _COMPARISONS:
            kinds = [np.asarray(value).dtype.kind for value in entry.values]
            whole = all(kind in "iub" for kind in kinds)
            dtype = np.dtype(np.int64) if whole else np.result_type(*entry.values)
        dtype = _computed_in(entry, dtype)
        inputs = [graph.argument(pair, i, dtype) for i in range(len(entry.values))]
        y = graph.node(operator, inputs)
        return y if operator in _COMPARISONS else _back(graph, y, dtype, entry)

    return translate


def _computed_in(entry: Entry, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which to compute what has another: of those of whole numbers, and of bools, the
    one that onnxruntime has for all operators."""
    if dtype.kind not in "iub":
        return dtype
    if any(getattr(value, "dtype", None) == np.uint64 for value in entry.values):
        raise untranslated(entry, "this operation on uint64")
    return np.dtype(np.int64)


def _back(graph: Graph, y: str, dtype: np.dtype[Any], entry: Entry) -> str:
    """What was computed in one dtype in that of the entry."""
    return y if dtype == entry.y.dtype else graph.cast(y, entry.y.dtype)


def _rounding(operator: str) -> Translation:
    """Floor or Ceil: whole numbers stay as they are."""

    def translate(graph: Graph, pair: Pair) -> str:
        whole = pair[0].y.dtype.kind in "iub"
        return _astype(graph, pair) if whole else _elementwise(operator)(graph, pair)

    return translate


def _relu(graph: Graph, pair: Pair) -> str:
    dtype = _computed_in(pair[0], pair[0].y.dtype)
    x = graph.argument(pair, 0, dtype)
    if dtype.kind == "f":
        return graph.node("Relu", [x])
    y = graph.node("Max", [x, graph.constant(np.zeros((), dtype))])
    return _back(graph, y, dtype, pair[0])


def _logical(operator: str) -> Translation:
    def translate(graph: Graph, pair: Pair) -> str:
        if pair[0].y.dtype.kind != "b":
            raise untranslated(pair[0], "this operation on numbers")
        inputs = [graph.argument(pair, i, np.bool_) for i in range(len(pair[0].values))]
        return graph.node(operator, inputs)

    return translate


def _product(graph: Graph, pair: Pair) -> str:
    a, b = (np.ndim(value) for value in pair[0].values)
    if a == 0 or b not in (1, 2):
        raise untranslated(pair[0], "this product")
    return _elementwise("MatMul")(graph, pair)


def _astype(graph: Graph, pair: Pair) -> str:
    return graph.argument(pair, 0, pair[0].y.dtype)


def _square(graph: Graph, pair: Pair) -> str:
    dtype = _computed_in(pair[0], pair[0].y.dtype)
    x = graph.argument(pair, 0, dtype)
    return _back(graph, graph.node("Mul", [x, x]), dtype, pair[0])


def _not_equal(graph: Graph, pair: Pair) -> str:
    return graph.node("Not", [_elementwise("Equal")(graph, pair)])


def _linear(graph: Graph, pair: Pair) -> str:
    x, W, b = (graph.argument(pair, i, pair[0].y.dtype) for i in range(3))
    return graph.node("Add", [graph.node("MatMul", [x, W]), b])


def _sigmoid(graph: Graph, pair: Pair) -> str:
    """1 / (1 + exp(-x)), as small as it is, where the Sigmoid of onnxruntime stops at 1e-7."""
    dtype = pair[0].y.dtype
    x = graph.argument(pair, 0, dtype)
    zero, one = (graph.constant(np.asarray(n, dtype)) for n in (0, 1))
    small = graph.node("Exp", [graph.node("Neg", [graph.node("Abs", [x])])])
    below = graph.node("Add", [small, one])
    above = graph.node("Where", [graph.node("GreaterOrEqual", [x, zero]), one, small])
    return graph.node("Div", [above, below])


def _softplus(graph: Graph, pair: Pair) -> str:
    """max(x, 0) + log1p(exp(-|x|)), since the Softplus of onnxruntime overflows in float64.

    With w = 1 + u as it is rounded, log1p(u) is log(w) * u / (w - 1), or u where w is 1.
    """
    dtype = pair[0].y.dtype
    x = graph.argument(pair, 0, dtype)
    zero, one = (graph.constant(np.asarray(n, dtype)) for n in (0, 1))
    u = graph.node("Exp", [graph.node("Neg", [graph.node("Abs", [x])])])
    w = graph.node("Add", [u, one])
    ratio = graph.node("Div", [u, graph.node("Sub", [w, one])])
    log = graph.node("Mul", [graph.node("Log", [w]), ratio])
    log = graph.node("Where", [graph.node("Equal", [w, one]), u, log])
    return graph.node("Add", [graph.node("Max", [x, zero]), log])


def _leaky_relu(graph: Graph, pair: Pair) -> str:
    dtype = pair[0].y.dtype
    x = graph.argument(pair, 0, dtype)
    slope, zero = graph.fixed(pair, 1, "slope", 0.01), graph.constant(np.zeros((), dtype))
    low = graph.node("Mul", [x, graph.constant(np.asarray(slope, dtype))])
    return graph.node("Where", [graph.node("Greater", [x, zero]), x, low])


def _shifted(graph: Graph, pair: Pair) -> tuple[str, str, str]:
    """x minus its maximum along the axis; that maximum; and sum(exp(x - maximum)).

    As in tinygrad_edu.calculus.neural an infinite maximum is itself at 0 and all else at -inf, so
    that no inf - inf arises. The operators Softmax, LogSoftmax and ReduceLogSumExp would give NaN.
    """
    entry = pair[0]
    dtype, axis = entry.y.dtype, graph.fixed(pair, 1, "axis", -1)
    x = graph.argument(pair, 0, dtype)
    lowest, zero, none = (
        graph.constant(np.asarray(n, dtype)) for n in (np.finfo(dtype).min, 0, -np.inf)
    )
    top = graph.node("Max", [_reduced(graph, "ReduceMax", x, entry, axis, True), lowest])
    endless = graph.node("IsInf", [top])
    beside = graph.node("Where", [graph.node("Equal", [x, top]), zero, none])
    finite = graph.node("Where", [endless, zero, top])
    shifted = graph.node("Where", [endless, beside, graph.node("Sub", [x, finite])])
    total = _reduced(graph, "ReduceSum", graph.node("Exp", [shifted]), entry, axis, True)
    return shifted, top, total


def _softmax(graph: Graph, pair: Pair) -> str:
    shifted, _, total = _shifted(graph, pair)
    one = graph.constant(np.ones((), pair[0].y.dtype))  # below it is 0, if all are -inf
    return graph.node("Div", [graph.node("Exp", [shifted]), graph.node("Max", [total, one])])


def _log_softmax(graph: Graph, pair: Pair) -> str:
    shifted, _, total = _shifted(graph, pair)
    one = graph.constant(np.ones((), pair[0].y.dtype))
    return graph.node("Sub", [shifted, graph.node("Log", [graph.node("Max", [total, one])])])


def _logsumexp(graph: Graph, pair: Pair) -> str:
    keepdims = graph.fixed(pair, 2, "keepdims", False)
    _, top, total = _shifted(graph, pair)
    y = graph.node("Add", [graph.node("Log", [total]), top])
    if keepdims:
        return y
    ndim, axis = pair[0].inputs[0].y.ndim, graph.fixed(pair, 1, "axis", -1)
    axes = normalize_axis_tuple(range(ndim) if axis is None else axis, ndim)
    return graph.node("Squeeze", [y, graph.constant(np.array(axes, np.int64), "axes")])


def _reduction(operator: str) -> Translation:
    def translate(graph: Graph, pair: Pair) -> str:
        entry = pair[0]
        names = dict.fromkeys([*entry.primitive.parameters[1:], *entry.keywords])
        given = {name: graph.fixed(pair, i, name) for i, name in enumerate(names, start=1)}
        axis, keepdims = given.pop("axis"), bool(given.pop("keepdims"))
        for name, value in given.items():
            if value is not None:
                raise untranslated(entry, f"its argument {name}=")
        dtype = _computed_in(entry, entry.y.dtype)
        x = graph.argument(pair, 0, dtype)
        return _back(graph, _reduced(graph, operator, x, entry, axis, keepdims), dtype, entry)

    return translate


def _reduced(graph: Graph, operator: str, x: str, entry: Entry, axis: Any, keepdims: bool) -> str:
    ndim = entry.inputs[0].y.ndim
    axes = normalize_axis_tuple(range(ndim) if axis is None else axis, ndim)
    inputs = [x, graph.constant(np.array(axes, np.int64), "axes")]
    return graph.node(operator, inputs, keepdims=int(keepdims), noop_with_empty_axes=1)


def _variance(graph: Graph, pair: Pair) -> str:
    """mean((x - mean(x))**2)."""
    entry = pair[0]
    skip_nan = graph.fixed(pair, 2, "skip_nan")
    how = {name: graph.fixed(pair, 3, name) for name in entry.keywords}
    axis, keepdims = how.pop("axis", None), bool(how.pop("keepdims", False))
    if graph.fixed(pair, 1, "mean") is not None or skip_nan or any(how.values()):
        raise untranslated(entry, "arguments other than axis and keepdims")
    x = graph.argument(pair, 0, entry.y.dtype)
    centred = graph.node("Sub", [x, _reduced(graph, "ReduceMean", x, entry, axis, True)])
    square = graph.node("Mul", [centred, centred])
    return _reduced(graph, "ReduceMean", square, entry, axis, keepdims)


def _deviation(graph: Graph, pair: Pair) -> str:
    return graph.node("Sqrt", [_variance(graph, pair)])


def _reshape(graph: Graph, pair: Pair) -> str:
    if graph.fixed(pair, 2, "order", "C") not in ("C", "K", "A"):
        raise untranslated(pair[0], "another order than C")
    return graph.reshaped(graph.argument(pair, 0), graph.shape(pair))


def _as_another_shape(graph: Graph, pair: Pair) -> str:
    return graph.reshaped(graph.argument(pair, 0), graph.shape(pair))


def _transpose(graph: Graph, pair: Pair) -> str:
    """A permutation of axes: where each went is seen in the shape, if all lengths differ."""
    entry = pair[0]
    ndim = entry.inputs[0].y.ndim
    lengths = np.broadcast_to(0, tuple(range(2, ndim + 2)))
    how = [graph.fixed(pair, i, "axes") for i in range(1, len(entry.values))]
    moved = entry.primitive.forward(lengths, *how, **entry.keywords)
    return graph.node("Transpose", [graph.argument(pair, 0)], perm=[n - 2 for n in moved.shape])


def _rearranged(graph: Graph, pair: Pair) -> str:
    """Any choice of values within each sample: their places are found by rearranging numbers."""
    entry = pair[0]
    for i in range(1, len(entry.values)):
        index = graph.fixed(pair, i, "index")
        parts = [*index] if isinstance(index, tuple) else [index]
        # An Ellipsis stands for no axes at all where all have a part of their own.
        if sum(part is not None for part in parts) > entry.inputs[0].y.ndim:
            parts = [part for part in parts if part is not Ellipsis]
        first = parts[0] if parts else None
        # A slice that takes all of a few samples need not take all of many.
        if isinstance(first, slice) and first.indices(sys.maxsize) != (0, sys.maxsize, 1):
            raise untranslated(entry, "what drops or moves samples")
    places = []
    for each, n in zip(pair, graph.sizes, strict=True):
        shape = each.inputs[0].y.shape
        numbers = np.arange(math.prod(shape)).reshape(shape)
        read = each.primitive.forward(numbers, *each.values[1:], **each.keywords)
        size = math.prod(shape[1:])
        rows = (
            read - size * np.arange(n).reshape(n, *[1] * (read.ndim - 1))
            if (shape[:1] == read.shape[:1] == (n,))
            else None
        )
        if rows is None or not (rows == rows[:1]).all() or not ((rows >= 0) & (rows < size)).all():
            raise untranslated(entry, "what moves values from one sample to another")
        places.append(rows[0])
    if not same(*places):
        raise depends_on_size(entry, entry.y.shape)
    x = graph.argument(pair, 0)
    if entry.inputs[0].y.ndim != 2:
        x = graph.reshaped(x, [0, size] if entry.inputs[0].y.ndim > 1 else [-1, 1])
    index = graph.constant(places[0].astype(np.int64), "places")
    return graph.node("Gather", [x, index], axis=1)


def _padded(graph: Graph, pair: Pair) -> str:
    entry = pair[0]
    mode = graph.fixed(pair, 2, "mode", "constant")
    if mode != "constant":
        return _rearranged(graph, pair)
    value = graph.fixed(pair, 3, "constant_values", 0)
    if not isinstance(value, (int, float, np.number)):
        raise untranslated(entry, "several constant_values")
    width = np.broadcast_to(graph.fixed(pair, 1, "pad_width"), (entry.y.ndim, 2))
    inputs = [
        graph.argument(pair, 0),
        graph.constant(np.ravel(width.T).astype(np.int64), "pads"),
        graph.constant(np.asarray(value, entry.y.dtype)),
    ]
    return graph.node("Pad", inputs)


def _join(graph: Graph, pair: Pair) -> str:
    entry = pair[0]
    inputs = [graph.argument(pair, i, entry.y.dtype) for i in range(len(entry.values))]
    return graph.node("Concat", inputs, axis=int(graph.fixed(pair, len(inputs), "axis", 0)))


def _tensordot(graph: Graph, pair: Pair) -> str:
    entry = pair[0]
    a, b = (np.ndim(value) for value in entry.values[:2])
    axes = graph.fixed(pair, 2, "axes", 2)
    if isinstance(axes, (int, np.integer)):
        axes = range(a - axes, a), range(axes)
    ours, theirs = (np.atleast_1d(np.array(part, int)) for part in axes)
    letters = list(string.ascii_letters[: a + b])
    first, second = letters[:a], letters[a:]
    for i, j in zip(ours, theirs, strict=True):
        second[j] = first[i]
    kept = [letter for letter in first + second if (first + second).count(letter) == 1]
    return _einsum_of(graph, pair, f"{''.join(first)},{''.join(second)}->{''.join(kept)}", 2)


def _einsum(graph: Graph, pair: Pair) -> str:
    return _einsum_of(graph, pair, pair[0].keywords["subscripts"], len(pair[0].values))


def _einsum_of(graph: Graph, pair: Pair, equation: str, count: int) -> str:
    """Einsum with small letters alone, and with its output: NumPy's order of letters is another."""
    equation = equation.replace(" ", "")
    given, _, output = equation.partition("->")
    letters = sorted(set(given) - set(",."))
    if "->" not in equation:
        output = "..." * ("." in given) + "".join(n for n in letters if given.count(n) == 1)
    if len(letters) > len(string.ascii_lowercase):
        raise untranslated(pair[0], "more than 26 letters")
    small = str.maketrans(dict(zip(letters, string.ascii_lowercase, strict=False)))
    dtype = _computed_in(pair[0], pair[0].y.dtype)
    inputs = [graph.argument(pair, i, dtype) for i in range(count)]
    y = graph.node("Einsum", inputs, equation=f"{given}->{output}".translate(small))
    return _back(graph, y, dtype, pair[0])


def _where(graph: Graph, pair: Pair) -> str:
    dtype = pair[0].y.dtype
    inputs = [graph.argument(pair, i, d) for i, d in enumerate((np.bool_, dtype, dtype))]
    return graph.node("Where", inputs)


def _embedding(graph: Graph, pair: Pair) -> str:
    """Gather; what is no number of a row becomes one that is too large, an error in onnxruntime."""
    W, given = graph.argument(pair, 0), graph.argument(pair, 1)
    dtype = np.asarray(pair[0].values[1]).dtype
    whole = graph.argument(pair, 1, np.int64)
    zero, n = (graph.constant(np.asarray(k, np.int64)) for k in (0, len(pair[0].values[0])))
    right = graph.node("GreaterOrEqual", [whole, zero])
    if dtype.kind == "f":
        equal = graph.node("Equal", [graph.cast(whole, dtype), given])
        right = graph.node("And", [right, equal])
    return graph.node("Gather", [W, graph.node("Where", [right, whole, n])], axis=0)


TRANSLATIONS: dict[str, Translation] = {
    **{
        f"np.{name}": _elementwise(operator)
        for name, operator in {
            "add": "Add",
            "subtract": "Sub",
            "multiply": "Mul",
            "divide": "Div",
            "power": "Pow",
            "negative": "Neg",
            "absolute": "Abs",
            "maximum": "Max",
            "minimum": "Min",
            "exp": "Exp",
            "log": "Log",
            "sqrt": "Sqrt",
            "reciprocal": "Reciprocal",
            "sin": "Sin",
            "cos": "Cos",
            "tanh": "Tanh",
            "sign": "Sign",
            "matmul": "MatMul",
            "greater": "Greater",
            "greater_equal": "GreaterOrEqual",
            "less": "Less",
            "less_equal": "LessOrEqual",
            "equal": "Equal",
        }.items()
    },
    "np.floor": _rounding("Floor"),
    "np.ceil": _rounding("Ceil"),
    "np.dot": _product,
    "np.square": _square,
    "np.not_equal": _not_equal,
    **dict.fromkeys(("np.logical_and", "np.bitwise_and"), _logical("And")),
    **dict.fromkeys(("np.logical_or", "np.bitwise_or"), _logical("Or")),
    **dict.fromkeys(("np.logical_not", "np.invert"), _logical("Not")),
    "np.where": _where,
    **dict.fromkeys(("tg.astype", "np.copy", "np.positive"), _astype),
    "tg.relu": _relu,
    "tg.sigmoid": _sigmoid,
    "tg.softplus": _softplus,
    "tg.leaky_relu": _leaky_relu,
    "tg.linear": _linear,
    "tg.softmax": _softmax,
    "tg.log_softmax": _log_softmax,
    "tg.logsumexp": _logsumexp,
    "np.sum": _reduction("ReduceSum"),
    "np.mean": _reduction("ReduceMean"),
    **dict.fromkeys(("np.max", "np.amax"), _reduction("ReduceMax")),
    **dict.fromkeys(("np.min", "np.amin"), _reduction("ReduceMin")),
    "np.prod": _reduction("ReduceProd"),
    "tg.length": _reduction("ReduceL2"),  # np.linalg.norm
    **dict.fromkeys(("np.reshape", "np.ravel"), _reshape),
    **dict.fromkeys(("np.expand_dims", "np.squeeze"), _as_another_shape),
    **dict.fromkeys(
        ("np.transpose", "np.swapaxes", "np.moveaxis", "np.matrix_transpose"), _transpose
    ),
    **dict.fromkeys(
        (
            *("tg.getitem", "np.take", "np.flip", "np.roll", "np.repeat", "np.rot90"),
            *("np.tile", "np.diagonal", "np.lib.stride_tricks.sliding_window_view"),
        ),
        _rearranged,
    ),
    "tg.deviation": _deviation,
    "tg.variance": _variance,
    "tg.padded": _padded,
    "tg.join": _join,
    "tg.embedding": _embedding,
    "tg.einsum": _einsum,
    "np.tensordot": _tensordot,
}
