"""A corpus of functions with gradients written by hand, right and subtly wrong.

Every item is plain NumPy and drawn from fixed seeds. What is wrong by a given size is a right
gradient of which one array, or one entry, has been multiplied by 1 + size; so a size is relative
to what is wrong, and an entry that is made wrong belongs to the larger half of its array. What is
called right is so up to the rounding errors of a usual formula; at a kink the derivative of each
value lies between its slopes at both sides.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

SIZES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
STRUCTURAL = "structural"
RIGHT = ("smooth", "kinks", "float32", "badly scaled")
L2 = 0.1

Function = Callable[..., Any]
Vjp = Callable[..., tuple[Any, ...]]


@dataclass(frozen=True)
class Item:
    """A function, a gradient for it and a point, with the truth about the gradient.

    Attributes:
        name: unique in the corpus.
        group: one of `RIGHT`, or of wrong ones `STRUCTURAL` or the size of the error.
        is_right: the truth.
        f: called with `args` and `labels`.
        vjp: called with the gradient of the value, `args` and `labels`; gives one gradient for
            each of `args`.
        args: arrays of floats.
        labels: arrays of integers, by which nothing is differentiated.
        entry: if a single entry is wrong, the name of its input, and its index.
    """

    name: str
    group: str
    is_right: bool
    f: Function
    vjp: Vjp
    args: tuple[np.ndarray, ...]
    labels: tuple[np.ndarray, ...] = ()
    entry: tuple[str, tuple[int, ...]] | None = None

    def value(self, *args: np.ndarray) -> np.ndarray:
        """What `f` gives, as an array."""
        return np.asarray(self.f(*args, *self.labels))

    def gradients(self, g: Any, *args: np.ndarray) -> tuple[np.ndarray, ...]:
        """What `vjp` gives, as arrays."""
        return tuple(np.asarray(d) for d in self.vjp(g, *args, *self.labels))

    def wrong(self, name: str, vjp: Vjp, group: str = STRUCTURAL) -> Item:
        """The same function at the same point with a wrong gradient."""
        return replace(self, name=name, group=group, is_right=False, vjp=vjp)


def corpus() -> list[Item]:
    """All items, the wrong ones first."""
    wrong = (_off_by_a_size, _large, _hard, _mistakes, _mistakes_at_kinks)
    right = (_smooth, _kinks, _ties, _float32, _badly_scaled, _badly_scaled_arrays)
    return [item for part in (*wrong, *right) for item in part()]


def group_of(size: float) -> str:
    """The size as the name of a group, such as "1e-5"."""
    return f"{size:.0e}".replace("e-0", "e-")


def _elementwise(slope: Function) -> Vjp:
    """The gradient of a function whose derivative is `slope`."""
    return lambda g, x: (g * slope(x),)


def _softmax(x: np.ndarray) -> np.ndarray:
    exps = np.exp(x - x.max(axis=-1, keepdims=True))
    return exps / exps.sum(axis=-1, keepdims=True)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def _product(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    return A @ B


def _product_vjp(g: np.ndarray, A: np.ndarray, B: np.ndarray) -> tuple[Any, ...]:
    return g @ B.T, A.T @ g


def _cross_entropy(scores: np.ndarray, y: np.ndarray) -> Any:
    return np.mean(_logsumexp(scores) - scores[np.arange(len(y)), y])


def _cross_entropy_vjp(g: Any, scores: np.ndarray, y: np.ndarray) -> tuple[Any, ...]:
    dscores = _softmax(scores)
    dscores[np.arange(len(y)), y] -= 1
    return (g * dscores / len(y),)


def _logsumexp(x: np.ndarray) -> Any:
    top = x.max(axis=-1, keepdims=True)
    return np.log(np.exp(x - top).sum(axis=-1)) + top[..., 0]


def _logsumexp_vjp(g: Any, x: np.ndarray) -> tuple[Any, ...]:
    return (np.asarray(g)[..., None] * _softmax(x),)


def _affine(x: np.ndarray, W: np.ndarray, b: np.ndarray) -> np.ndarray:
    return x @ W + b


def _affine_vjp(g: np.ndarray, x: np.ndarray, W: np.ndarray, b: np.ndarray) -> tuple[Any, ...]:
    return g @ W.T, x.T @ g, g.sum(axis=0)


def _mse(prediction: np.ndarray, target: np.ndarray) -> Any:
    return np.mean((prediction - target) ** 2)


def _mse_vjp(g: Any, prediction: np.ndarray, target: np.ndarray) -> tuple[Any, ...]:
    dprediction = g * 2 * (prediction - target) / prediction.size
    return dprediction, -dprediction


def _norm(x: np.ndarray) -> Any:
    return np.sqrt(np.sum(x * x))


def _norm_vjp(g: Any, x: np.ndarray) -> tuple[Any, ...]:
    return (g * x / _norm(x),)


def _net(x: np.ndarray, W: np.ndarray, b: np.ndarray, V: np.ndarray, y: np.ndarray) -> Any:
    penalty = 0.5 * L2 * (np.sum(W * W) + np.sum(V * V))
    return _cross_entropy(np.tanh(x @ W + b) @ V, y) + penalty


def _net_vjp(
    g: Any,
    x: np.ndarray,
    W: np.ndarray,
    b: np.ndarray,
    V: np.ndarray,
    y: np.ndarray,
    slope: Function = lambda hidden: 1 - hidden**2,
    l2: float = L2,
) -> tuple[Any, ...]:
    hidden = np.tanh(x @ W + b)
    (dscores,) = _cross_entropy_vjp(g, hidden @ V, y)
    dsum = dscores @ V.T * slope(hidden)
    dV = hidden.T @ dscores + g * l2 * V
    return dsum @ W.T, x.T @ dsum + g * l2 * W, dsum.sum(axis=0), dV


# The functions that most items are made of: the function, its gradient, and the shapes of its
# arguments at a size n.
_BASES: dict[str, tuple[Function, Vjp, Callable[[int], list[tuple[int, ...]]]]] = {
    "tanh": (
        lambda x: np.tanh(x),
        _elementwise(lambda x: 1 - np.tanh(x) ** 2),
        lambda n: [(n, n + 2)],
    ),
    "exp": (lambda x: np.exp(x), _elementwise(np.exp), lambda n: [(n, n + 2)]),
    "cube": (lambda x: x**3, _elementwise(lambda x: 3 * x**2), lambda n: [(n, n + 2)]),
    "log of abs": (
        lambda x: np.log(np.abs(x)),
        _elementwise(lambda x: 1 / x),
        lambda n: [(n, n + 2)],
    ),
    "sigmoid": (
        _sigmoid,
        _elementwise(lambda x: _sigmoid(x) * (1 - _sigmoid(x))),
        lambda n: [(n, n + 2)],
    ),
    "product": (_product, _product_vjp, lambda n: [(n + 1, n + 2), (n + 2, n)]),
    "cross-entropy": (_cross_entropy, _cross_entropy_vjp, lambda n: [(n + 2, n + 1)]),
    "logsumexp": (_logsumexp, _logsumexp_vjp, lambda n: [(n, n + 3)]),
    "affine": (_affine, _affine_vjp, lambda n: [(n + 2, n + 1), (n + 1, n + 3), (n + 3,)]),
    "mse": (_mse, _mse_vjp, lambda n: [(n + 2, n), (n + 2, n)]),
    "norm": (_norm, _norm_vjp, lambda n: [(5 * n,)]),
    "net": (
        _net,
        _net_vjp,
        lambda n: [(2 * n + 1, n + 1), (n + 1, n + 2), (n + 2,), (n + 2, n + 1)],
    ),
}
# Which length of the last argument is the number of classes, of those that take labels.
_CLASSES = {"cross-entropy", "net"}


def _base(name: str, rng: np.random.Generator, *shapes: tuple[int, ...], n: int = 3) -> Item:
    """One of the functions at a random point, of the given shapes or of a size."""
    f, vjp, usual = _BASES[name]
    args = tuple(rng.normal(size=shape) for shape in shapes or usual(n))
    labels = (rng.integers(args[-1].shape[1], size=len(args[0])),) if name in _CLASSES else ()
    what = f"{name}, {' '.join(str(arg.shape) for arg in args)}"
    return Item(what, "smooth", True, f, vjp, args, labels)


def _at(name: str, group: str, f: Function, slope: Function, *x: float) -> Item:
    """A function of single numbers and its derivative, elementwise at some of them."""
    return Item(name, group, True, f, _elementwise(slope), (np.array(x),))


def _in_float32(item: Item) -> Item:
    args = tuple(arg.astype(np.float32) for arg in item.args)
    return replace(item, name=f"{item.name}, float32", group="float32", args=args)


def _of_10000_entries(rng: np.random.Generator) -> list[Item]:
    return [
        _base("mse", rng, (10_000,), (10_000,)),
        _base("logsumexp", rng, (10_000,)),
        _base("norm", rng, (100, 100)),
        _base("cross-entropy", rng, (1000, 10)),
    ]


def _scaled(item: Item, rng: np.random.Generator, size: float) -> Item:
    """The gradient by one of the inputs is wrong."""
    which = int(rng.integers(len(item.args)))

    def vjp(g: Any, *args: Any) -> tuple[Any, ...]:
        return tuple(d * (1 + size) if i == which else d for i, d in enumerate(item.vjp(g, *args)))

    return item.wrong(f"{item.name}, scaled by 1 + {group_of(size)}", vjp, group_of(size))


def _one_entry(item: Item, rng: np.random.Generator, size: float) -> Item:
    """A single entry is wrong."""
    which = int(rng.integers(len(item.args)))
    heights = np.abs(item.gradients(np.ones_like(item.value(*item.args)), *item.args)[which])
    index = tuple(int(i) for i in rng.choice(np.argwhere(heights >= np.median(heights))))

    def vjp(g: Any, *args: Any) -> tuple[Any, ...]:
        gradients = [np.array(d) for d in item.vjp(g, *args)]
        gradients[which][index] *= 1 + size
        return tuple(gradients)

    name = f"{item.name}, one entry off by {group_of(size)}"
    entry = list(inspect.signature(item.f).parameters)[which], index
    return replace(item.wrong(name, vjp, group_of(size)), entry=entry)


def _off_by_a_size() -> Iterator[Item]:
    """Each function with each size; half of them scaled, of the others one entry wrong."""
    rng = np.random.default_rng(1)
    for i, name in enumerate(_BASES):
        for j, size in enumerate(SIZES):
            make = (_scaled, _one_entry)[(i + j) % 2]
            yield make(_base(name, rng), rng, size)


def _large() -> Iterator[Item]:
    """One entry in ten thousand is wrong."""
    rng = np.random.default_rng(2)
    for item in _of_10000_entries(rng):
        for size in (1e-3, 1e-5):
            yield _one_entry(item, rng, size)


def _hard() -> Iterator[Item]:
    """An entry is wrong by a size where the function is hard to difference."""
    rng = np.random.default_rng(3)
    for base in ("tanh", "cross-entropy"):
        yield _one_entry(_in_float32(_base(base, rng)), rng, 1e-2)
    for name, f, slope, x, size in (
        ("log near 0", lambda x: np.log(x), lambda x: 1 / x, (1e-9, 1e-6), 1e-3),
        ("x**2 + 1e6", lambda x: x**2 + 1e6, lambda x: 2 * x, (-1.3, 0.4, 2.0), 1e-4),
        (
            "sin(100 x)",
            lambda x: np.sin(100 * x),
            lambda x: 100 * np.cos(100 * x),
            (0.31, 1.7, -2.2),
            1e-4,
        ),
        ("relu, with zeros", _relu, _step(0.0), (-1.0, 0.0, 0.7, 1.4), 1e-4),
    ):
        yield _one_entry(_at(name, "badly scaled", f, slope, *x), rng, size)


def _mistakes() -> Iterator[Item]:
    """What goes wrong when gradients are derived and written by hand."""
    rng = np.random.default_rng(4)
    for what, vjp in {
        "tanh: sign flipped": _elementwise(lambda x: np.tanh(x) ** 2 - 1),
        "tanh: without g": lambda g, x: (1 - np.tanh(x) ** 2,),
        "cube: 3 x": _elementwise(lambda x: 3 * x),
        "log of abs: 1 / abs x": _elementwise(lambda x: 1 / np.abs(x)),
        "sigmoid: its derivative at the activation": _elementwise(
            lambda x: _sigmoid(_sigmoid(x)) * (1 - _sigmoid(_sigmoid(x)))
        ),
        "affine: bias from one row, not summed": lambda g, x, W, b: (g @ W.T, x.T @ g, g[0]),
        "affine: bias averaged": lambda g, x, W, b: (g @ W.T, x.T @ g, g.mean(axis=0)),
        "cross-entropy: without minus one": lambda g, x, y: (g * _softmax(x) / len(y),),
        "cross-entropy: a sum, no mean": lambda g, x, y: _cross_entropy_vjp(g * len(y), x, y),
        "logsumexp: no sum to divide by": lambda g, x: (np.asarray(g)[..., None] * np.exp(x),),
        "mse: without the 2": lambda g, p, t: tuple(d / 2 for d in _mse_vjp(g, p, t)),
        "mse: the target's sign": lambda g, p, t: (_mse_vjp(g, p, t)[0],) * 2,
        "norm: not divided by it": lambda g, x: (g * x,),
        "net: derivative of tanh missing": lambda *args: _net_vjp(*args, slope=np.ones_like),
        "net: regulariser missing": lambda *args: _net_vjp(*args, l2=0.0),
    }.items():
        yield _base(what.partition(":")[0], rng).wrong(what, vjp)
    square = _base("product", rng, (3, 3), (3, 3))
    yield square.wrong("product: B not transposed", lambda g, A, B: (g @ B, A.T @ g))
    yield square.wrong("product: factors swapped", lambda g, A, B: (B.T @ g, g @ A.T))
    x = rng.normal(size=(4, 3))
    for what, f, vjp in (
        ("centring: the mean is constant", lambda x: x - x.mean(axis=0), lambda g, x: (1 * g,)),
        (
            "standardising: the deviation is constant",
            lambda x: (x - x.mean(axis=0)) / x.std(axis=0),
            lambda g, x: ((g - g.mean(axis=0)) / x.std(axis=0),),
        ),
        ("x sin x: one of the two uses", lambda x: x * np.sin(x), _elementwise(np.sin)),
        ("max: to the smallest", lambda x: x.max(), _elementwise(lambda x: x == x.min())),
        ("clip: no mask", lambda x: np.clip(x, -0.5, 0.5), lambda g, x: (1 * g,)),
    ):
        yield Item(what, STRUCTURAL, False, f, vjp, (x,))


def _mistakes_at_kinks() -> Iterator[Item]:
    """What lies outside of the slopes at both sides, at a kink or near one."""
    for what, f, slope, at in (
        ("relu: 0 at 1e-5", _relu, lambda x: 1.0 * (x > 1e-4), 1e-5),
        ("relu: 2 at 0", _relu, _step(2.0), 0.0),
        ("abs: 1.5 at 0", lambda x: np.abs(x), _sign(1.5), 0.0),
        ("relu(x) - relu(-x): 0 at 0", lambda x: _relu(x) - _relu(-x), lambda x: x != 0, 0.0),
    ):
        vjp = _elementwise(slope)
        yield Item(what, STRUCTURAL, False, f, vjp, (np.array([-1.2, at, 0.8]),))


def _smooth() -> Iterator[Item]:
    """Every function at several points; large ones."""
    rng = np.random.default_rng(5)
    for name in _BASES:
        for n in (1, 2, 4, 6):
            yield _base(name, rng, n=n)
    yield _base("tanh", rng, ())
    yield from _of_10000_entries(rng)


def _step(at_0: float) -> Function:
    return lambda x: (x > 0) + at_0 * (x == 0)


def _sign(at_0: float) -> Function:
    return lambda x: np.sign(x) + at_0 * (x == 0)


def _kinks() -> Iterator[Item]:
    """Functions of single numbers at their kinks and near them."""

    def at(name: str, f: Function, slope: Function, *x: float) -> Item:
        return _at(name, "kinks", f, slope, *x)

    for c in (0.0, 0.5, 1.0):
        yield at(f"relu at 0: {c}", _relu, _step(c), -1.2, 0.0, 0.7, 2.0)
    for x in (1e-3, 1e-5, 1e-7, 1e-9, -1e-9, -1e-7, -1e-5):
        yield at(f"relu at {group_of(x)}", _relu, _step(0.0), -1.2, x, 0.7)
    yield at("relu at many 0: 0.0", _relu, _step(0.0), *[0.0] * 6)
    for c in (0.0, 1.0, -1.0):
        yield at(f"abs at 0: {c}", lambda x: np.abs(x), _sign(c), -1.0, 0.0, 2.0)
    yield at("abs at 1e-6", lambda x: np.abs(x), np.sign, -1.0, 1e-6, 2.0)
    for c in (0.0, 1.0):
        slope = _clip_slope(c)
        yield at(f"clip at 0 and 1: {c}", lambda x: np.clip(x, 0, 1), slope, -0.7, 0.0, 1.0, 2.3)
    for name, f, slope in (
        ("leaky relu", lambda x: np.where(x > 0, x, 0.1 * x), lambda x: np.where(x > 0, 1, 0.1)),
        ("hinge", lambda x: _relu(-x), lambda x: -1.0 * (x < 0)),
        ("huber", _huber, lambda x: np.clip(x, 0, 1)),
        ("x abs x", lambda x: x * np.abs(x), lambda x: 2 * np.abs(x)),
        ("relu(x) - relu(-x)", lambda x: _relu(x) - _relu(-x), np.ones_like),
        ("exp of -abs", lambda x: np.exp(-np.abs(x)), lambda x: -np.sign(x) * np.exp(-np.abs(x))),
    ):
        yield at(f"{name} at 0 and 1", f, slope, -0.7, 0.0, 1.0, 2.3)


def _clip_slope(at_edge: float) -> Function:
    return lambda x: (x > 0) * (x < 1) + at_edge * ((x == 0) | (x == 1))


def _huber(x: np.ndarray) -> np.ndarray:
    return np.where(x < 1, 0.5 * _relu(x) ** 2, x - 0.5)


def _ties() -> Iterator[Item]:
    """Kinks of functions of several numbers."""

    def of(name: str, f: Function, vjp: Vjp, *args: np.ndarray) -> Item:
        return Item(name, "kinks", True, f, vjp, args)

    def largest(x: np.ndarray) -> Any:
        return x.max()

    tied = np.array([0.3, 2.0, -1.0, 2.0])
    to_first = _elementwise(lambda x: 1.0 * (np.arange(4) == x.argmax()))
    yield of("max, tied: to the first", largest, to_first, tied)
    yield of("max, tied: shared", largest, _elementwise(lambda x: (x == x.max()) / 2), tied)
    yield of("max, nearly tied", largest, to_first, tied + np.array([0, 1e-7, 0, 0]))
    a, b = np.array([1.0, -0.4, 0.2]), np.array([1.0, 0.3, -0.5])
    for c in (0.0, 0.5, 1.0):
        name, vjp = f"maximum, tied: {c} to the first", _maximum_vjp(c)
        yield of(name, lambda a, b: np.maximum(a, b), vjp, a, b)
    zeros = np.array([1.0, 0.0, -2.0, 0.0])
    yield of("sum of abs, with zeros", lambda x: np.abs(x).sum(), _elementwise(np.sign), zeros)
    yield of("sum of relu at 0: 0.5", lambda x: _relu(x).sum(), _elementwise(_step(0.5)), zeros)
    yield of("norm at 0: 0", _norm, _elementwise(np.zeros_like), np.zeros(4))

    def layer(x: np.ndarray, W: np.ndarray, b: np.ndarray) -> np.ndarray:
        return _relu(_affine(x, W, b))

    def layer_vjp(g: np.ndarray, x: np.ndarray, W: np.ndarray, b: np.ndarray) -> tuple[Any, ...]:
        return _affine_vjp(g * (_affine(x, W, b) > 0), x, W, b)

    rng = np.random.default_rng(6)
    for n in (1, 2, 3, 4, 5):
        x, W = rng.normal(size=(4, n)), rng.normal(size=(n, 5))
        x[1] = 0
        name = f"layer of relu of {x.shape}, a row of zeros"
        yield of(name, layer, layer_vjp, x, W, np.zeros(5))


def _maximum_vjp(to_first: float) -> Vjp:
    return lambda g, a, b: (g * _step(to_first)(a - b), g * _step(1 - to_first)(b - a))


def _float32() -> Iterator[Item]:
    """The functions in single precision."""
    rng = np.random.default_rng(7)
    for name in _BASES:
        yield _in_float32(_base(name, rng))
    yield _in_float32(_at("relu at 0", "", _relu, lambda x: x > 0, -1.2, 0.0, 0.7))
    yield _in_float32(_at("x**2 + 1e3", "", lambda x: x**2 + 1000, lambda x: 2 * x, -1.3, 0.4))
    yield _in_float32(_at("log near 0", "", lambda x: np.log(x), lambda x: 1 / x, 1e-4, 0.2))
    yield _in_float32(_base("mse", rng, (2000,), (2000,)))


def _badly_scaled() -> Iterator[Item]:
    """Functions of single numbers, where one step cannot suit all or little of the value moves."""
    for name, f, slope, x in (
        ("square of small and large", lambda x: x**2, lambda x: 2 * x, (1e-8, 1.0, 1e8)),
        ("cube of small and large", lambda x: x**3, lambda x: 3 * x**2, (1e-5, 1.0, 1e5)),
        ("x**2 + 1e6", lambda x: x**2 + 1e6, lambda x: 2 * x, (-1.3, 0.4, 2.0)),
        ("x**2 + 1e10", lambda x: x**2 + 1e10, lambda x: 2 * x, (-1.3, 0.4, 2.0)),
        (
            "1e-12 tanh",
            lambda x: 1e-12 * np.tanh(x),
            lambda x: 1e-12 * (1 - np.tanh(x) ** 2),
            (-1.3, 0.4),
        ),
        (
            "1e12 tanh",
            lambda x: 1e12 * np.tanh(x),
            lambda x: 1e12 * (1 - np.tanh(x) ** 2),
            (-1.3, 0.4),
        ),
        ("cos at 0", lambda x: np.cos(x), lambda x: -np.sin(x), (0.0, 0.5)),
        ("powers at 0", lambda x: x**2 + x**3, lambda x: 2 * x + 3 * x**2, (0.0, 0.5)),
        ("x**4 at 0", lambda x: x**4, lambda x: 4 * x**3, (0.0, 0.5)),
        ("log near 0", lambda x: np.log(x), lambda x: 1 / x, (1e-9, 1e-3)),
        ("log of small and large", lambda x: np.log(x), lambda x: 1 / x, (1e-9, 1.0, 1e9)),
        ("sqrt near 0", lambda x: np.sqrt(x), lambda x: 0.5 / np.sqrt(x), (1e-6, 1.0)),
        ("sqrt at 1e-12", lambda x: np.sqrt(x), lambda x: 0.5 / np.sqrt(x), (1e-12, 1.0)),
        ("1 / x near 0", lambda x: 1 / x, lambda x: -1 / x**2, (1e-3, -1e-3, 1.0)),
        ("x log x near 0", lambda x: x * np.log(x), lambda x: np.log(x) + 1, (1e-9, 0.3)),
        ("arctanh near 1", lambda x: np.arctanh(x), lambda x: 1 / (1 - x**2), (1 - 1e-6, 0.3)),
        ("tan near its pole", lambda x: np.tan(x), lambda x: 1 / np.cos(x) ** 2, (1.57, 0.3)),
        ("sigmoid, saturated", _sigmoid, lambda x: _sigmoid(x) * (1 - _sigmoid(x)), (30.0, -30.0)),
        (
            "sigmoid, saturated, stably",
            _sigmoid,
            lambda x: _sigmoid(x) * _sigmoid(-x),
            (30.0, -30.0, 12.0),
        ),
        ("tanh, saturated", lambda x: np.tanh(x), lambda x: 1 - np.tanh(x) ** 2, (-20.0, 8.0)),
        ("exp(10 x)", lambda x: np.exp(10 * x), lambda x: 10 * np.exp(10 * x), (0.3, 1.0, 2.0)),
        ("exp far out", lambda x: np.exp(x), np.exp, (-30.0, 0.0, 30.0)),
        ("sin(100 x)", lambda x: np.sin(100 * x), lambda x: 100 * np.cos(100 * x), (0.31, 2.5)),
        ("sin far out", lambda x: np.sin(x), np.cos, (1e4, 1.0)),
        (
            "a narrow bell",
            lambda x: np.exp(-((100 * x) ** 2) / 2),
            lambda x: -1e4 * x * np.exp(-((100 * x) ** 2) / 2),
            (0.0, 0.012, -0.03, 1.0),
        ),
        (
            "tanh(50 x)",
            lambda x: np.tanh(50 * x),
            lambda x: 50 * (1 - np.tanh(50 * x) ** 2),
            (0.01, -0.04, 0.3),
        ),
        ("x**10", lambda x: x**10, lambda x: 10 * x**9, (0.01, 1.0, 5.0)),
    ):
        yield _at(name, "badly scaled", f, slope, *x)


def _badly_scaled_arrays() -> Iterator[Item]:
    """Functions of several numbers, with the same difficulties."""
    rng = np.random.default_rng(8)

    def of(name: str, base: str, *args: np.ndarray, labels: tuple[np.ndarray, ...] = ()) -> Item:
        f, vjp, _ = _BASES[base]
        return Item(name, "badly scaled", True, f, vjp, args, labels)

    for n in (2, 3, 4, 5, 6):
        A, B = rng.normal(size=(2, n, n))
        yield of(f"product, 1e6 by 1e-6, {n}", "product", 1e6 * A, 1e-6 * B)
        yield of(f"mse, around 1e6, {n}", "mse", 1e6 + A, 1e6 + B)
        yield of(f"mse, nearly 0, {n}", "mse", A, A + 1e-6 * B)
        yield of(f"norm of 1e-8, {n}", "norm", 1e-8 * A)
        yield of(f"logsumexp, offset by 1000, {n}", "logsumexp", 1000 + A)
        yield of(f"logsumexp, far apart, {n}", "logsumexp", 30 * A)
    yield of("norm of small and large", "norm", np.array([1e-8, 1.0, 1e8]))
    y = np.array([0, 2, 1])
    yield of("cross-entropy, sure and right", "cross-entropy", 40 * np.eye(3)[y], labels=(y,))
    yield of("cross-entropy, sure and wrong", "cross-entropy", -40 * np.eye(3)[y], labels=(y,))
    x = np.array([1e-8, 1.0, 1e8])
    for name, f, vjp, args in (
        ("squares, summed", lambda x: np.sum(x * x), _elementwise(lambda x: 2 * x), (x,)),
        (
            "an input that does nothing",
            lambda x, unused: np.exp(x),
            lambda g, x, unused: (g * np.exp(x), 0 * unused),
            (x[:2], x),
        ),
    ):
        yield Item(name, "badly scaled", True, f, vjp, args)
