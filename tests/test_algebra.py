"""Each rewrite rule of compiled programs is right, and only used where it is."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu.compiler import algebra
from tinygrad_edu.compiler.algebra import ALGEBRA, LOWERING, STABLE, Simplifier, rules_of
from tinygrad_edu.tape import Argument, reachable
from tinygrad_edu.tensor import Tensor, lift
from tinygrad_edu.tracing import Trace, tracing, variable
from tinygrad_edu.transforms import _walk

rng = np.random.default_rng(0)
MATRIX = rng.normal(size=(3, 4))
LABELS = np.array([0, 3, 3])
VALUES = {
    "x": MATRIX,
    "y": rng.normal(size=(3, 4)) + 3,
    "c": 3.0,
    "d": 0.5,
    "k": {"axis": 1, "keepdims": True},
    "i": (slice(None), 0),
    "n": (4, 3),
    "shape": (3, 4),
    "rows": np.arange(3),
    "ones": np.ones(3),
}
# Other values for the left sides in which this stands; the first that fits.
OTHERS = {
    "log_softmax(x)[rows, y]": {"y": LABELS},
    "one_hot(y, n)": {"y": LABELS, "n": 4},
    "broadcast_to(x, shape)": {"x": MATRIX[0], "shape": (3, 4)},
    "reshape(sum(x, axis=n)": {"n": 1, "shape": (3, 1)},
    "sum(x, axis=n)": {"n": ()},
    "reshape(reshape(x, n), shape)": {"shape": (2, 6)},
    "transpose(x @ y)": {"y": rng.normal(size=(4, 2))},
    "(c * x) @ y": {"x": MATRIX.T, "y": rng.normal(size=(3, 1))},
    "-(x + y)": {"y": MATRIX[:1]},
    "astype(x, n)": {"n": np.dtype(float)},
    "softmax(x, k)": {"k": {"axis": 1}},
    "softmax(x - y": {"y": MATRIX[:, :1]},
    "(x @ y[..., None])[..., 0]": {"y": rng.normal(size=4)},
}
# How a left side is written for NumPy, where Python's operator would turn it round.
SPELLED = {"c < x": "np.less(c, x)", "c > x": "np.greater(c, x)"}
SAME_SHAPE = {"broadcast_to(x, shape)": MATRIX, "reshape(x, shape)": MATRIX}


def example(rule):
    """The values for the variables of a rule, and what its left side is as a function of arrays."""
    left, _, rest = rule.text.partition(" -> ")
    values = dict(VALUES)
    values |= next((other for part, other in OTHERS.items() if part in left), {})
    if left in SAME_SHAPE:
        values["x"] = SAME_SHAPE[left]
    condition = rest.partition(" if ")[2]
    known = condition[6:-1] if condition.startswith("known(") else ""
    names = [name for name in ("x", "y") if name in rule.names]
    functions = {**algebra._NAMESPACE, "variable": as_variable, "np": np}
    left = SPELLED.get(left, left)

    def f(*arrays):
        space = {**functions, **values, **dict(zip(names, arrays, strict=True))}
        first = [eval(known, space)] if known else []
        return [eval(left, space), *first]

    return f, [values[name] for name in names]


def as_variable(x):
    """The operation that makes a variable, of which a program has one for each gradient."""
    trace = Trace(False)
    return trace.record(variable, (x,), {})


def rewritten(rule, f, arrays, is_for_gradients):
    """What `f` computes, traced; the same after the rule; the steps; and the inputs."""
    entries = [
        Argument.of_input(x, is_for_gradients and x.dtype.kind == "f", f"x{i}")
        for i, x in enumerate(arrays)
    ]
    trace = Trace(False)
    trace.inputs = set(entries)
    with tracing(trace):
        ys = [y._own_entry() for y in f(*(lift(entry, entry.y) for entry in entries))]
    simplifier = Simplifier([rule], trace.inputs)
    became = simplifier.run(reachable(*ys))
    return ys[0], became[ys[0]], simplifier.steps, entries


def gradients(y, inputs):
    found = _walk(
        reachable(y), np.cos(np.arange(1.0, np.size(y.y) + 1)).reshape(np.shape(y.y)), inputs, False
    )
    return [np.zeros_like(x.y) if g is None else g for g, x in zip(found, inputs, strict=True)]


TABLES = {"STABLE": STABLE, "ALGEBRA": ALGEBRA, "LOWERING": LOWERING}
RULES = [(name, rule) for name, table in TABLES.items() for rule in rules_of(table)]


@pytest.mark.parametrize(("table", "rule"), RULES, ids=lambda value: getattr(value, "text", value))
def test_each_rule_is_used_and_keeps_values_and_gradients(table, rule):
    f, arrays = example(rule)
    before, after, steps, inputs = rewritten(rule, f, arrays, table == "STABLE")
    assert rule.text in [step.text for step, _, _ in steps]
    assert after is not before
    after_y = after.y if hasattr(after, "y") else after
    assert np.shape(after_y) == np.shape(before.y)
    assert np.asarray(after_y).dtype == np.asarray(before.y).dtype
    np.testing.assert_allclose(after_y, before.y, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(np.asarray(before.y), np.asarray(plainly(f, arrays)), rtol=1e-13)
    if before.requires_grad:
        inputs = [entry for entry in inputs if entry.requires_grad]
        for found, right in zip(gradients(after, inputs), gradients(before, inputs), strict=True):
            np.testing.assert_allclose(found, right, rtol=1e-11, atol=1e-13)


def plainly(f, arrays):
    """The left side as an ordinary tape computes it."""
    try:
        y = f(*map(Tensor, arrays))[0]
    except Exception:  # an operation that only programs have
        trace = Trace(False)
        with tracing(trace):
            y = f(*map(Tensor, arrays))[0]
    return y.numpy() if isinstance(y, Tensor) else y


def test_no_table_says_the_same_twice():
    for table in TABLES.values():
        texts = [rule.text for rule in rules_of(table)]
        assert len(texts) == len(set(texts)) > 2


# Where rules must not be used, or must not be wrong.

STACK = rng.normal(size=(3, 3, 3))
SQUARE = rng.normal(size=(3, 3))
VECTOR = np.array([1.0, -2.0, 3.0])
EIGHT, TWO = np.array([200, 1, 7], np.uint8), np.full((4, 3), 2.0)


def e(x):
    return np.exp(x)


def log_p(x):
    return np.log(e(x) / np.sum(e(x), axis=1, keepdims=True))


PROGRAMS = {
    "softmax over another axis": (lambda x: e(x) / np.sum(e(x), axis=1), SQUARE),
    "softmax without keepdims": (lambda x: e(x) / np.sum(e(x), axis=0), SQUARE),
    "softmax of more": (lambda x: e(x) / np.sum(e(x), axis=1, keepdims=True, initial=1.0), SQUARE),
    "softmax of some": (
        lambda x: e(x) / np.sum(e(x), axis=1, keepdims=True, where=np.eye(3, dtype=bool)),
        SQUARE,
    ),
    "softmax over two axes": (lambda x: e(x) / np.sum(e(x), axis=(0, 2), keepdims=True), STACK),
    "softmax of another": (lambda x: e(x) / np.sum(e(2 * x), axis=1, keepdims=True), SQUARE),
    "a shift along another axis": (
        lambda x: (lambda y: y / np.sum(y, axis=1, keepdims=True))(e(x - np.max(x, axis=0))),
        SQUARE,
    ),
    "a shift without keepdims": (
        lambda x: (lambda y: y / np.sum(y, axis=1))(e(x - np.max(x, axis=1))),
        SQUARE,
    ),
    "repeated rows": (
        lambda x: np.mean(log_p(x)[np.array([0, 0, 1]), np.array([0, 2, 1])]),
        SQUARE,
    ),
    "fewer rows": (lambda x: np.mean(log_p(x)[np.arange(2), np.array([0, 2])]), SQUARE),
    "each row with each label": (
        lambda x: np.mean(log_p(x)[np.arange(3), np.array([[0], [2], [1]])]),
        SQUARE,
    ),
    "one label for all": (lambda x: np.mean(log_p(x)[np.arange(3), 2]), SQUARE),
    "labels from the end": (lambda x: np.sum(log_p(x)[np.arange(3), np.array([0, -1, 1])]), SQUARE),
    "log-probabilities along the first axis": (
        lambda x: np.mean(np.log(e(x) / np.sum(e(x), axis=0))[np.arange(3), np.array([0, 2, 1])]),
        SQUARE,
    ),
    "log-probabilities of a stack": (
        lambda x: np.mean(tg.log_softmax(x)[np.arange(3), np.array([0, 2, 1])]),
        STACK,
    ),
    "a number that is an array": (lambda x: TWO * x, VECTOR),
    "the sum of a number that is an array": (lambda x: np.sum(TWO * x), VECTOR),
    "the mean of a number that is an array": (lambda x: np.mean(TWO * x), VECTOR),
    "two of them": (lambda x: TWO * x + x, VECTOR),
    "a zero that is an array": (lambda x: x + np.zeros((2, 3)), VECTOR),
    "a zero of another dtype": (lambda x: x + np.zeros(3), VECTOR.astype(np.float32)),
    "a one of another dtype": (lambda x: x * np.ones(3), VECTOR.astype(np.float32)),
    "a one that is an array": (lambda x: np.ones((2, 1)) * x, VECTOR),
    "a quotient of whole numbers": (lambda x: (x / 1, x**1, x**2, x + 0, 1 * x), np.array([3, 4])),
    "small whole numbers": (lambda x: ((200 * x) / 2, 2 * (100 * x), x + x, np.sum(-x)), EIGHT),
    "squares of small whole numbers": (lambda x: (np.sum(x * x), np.sum(x**2)), EIGHT),
    "truth values": (lambda x: (x + x, 1 * x, np.sum(x * x)), np.array([True, False])),
    "complex squares": (lambda x: (np.sum(x * x), np.sum(x**2)), SQUARE + 1j * SQUARE.T),
    "a transposed stack": (lambda x: (x @ (2 * x)).T, STACK),
    "a transposed stack of vectors": (lambda x: (x @ x[0, 0]).T, STACK),
    "a transposed product with a vector": (lambda x: ((x @ x[0]).T, (x[0] @ x).T), SQUARE),
    "ones times a stack": (lambda x: np.ones(3) @ x, STACK),
    "ones times a vector": (lambda x: np.ones(3) @ x, VECTOR),
    "a product with ones": (lambda x: x @ np.ones(3), SQUARE),
    "axes in another order": (lambda x: x.transpose(1, 2, 0).transpose(1, 2, 0), STACK),
    "another transpose": (lambda x: x.T.transpose(0, 2, 1), STACK),
    "a sum put across": (lambda x: np.sum(x, axis=0).reshape(3, 1) + x, SQUARE),
    "not less with NaN": (lambda x: (~(x < 2), ~(x >= 2)), np.array([1.0, np.nan, 3.0])),
    "a label that is no class": (
        lambda x: x - (np.arange(3)[:, None] == np.array([0, 7, -1])).T,
        SQUARE,
    ),
    "a label that is a float": (
        lambda x: x - (np.arange(3)[:, None] == np.array([0, 0.5, 2.0])).T,
        SQUARE,
    ),
    "classes in another order": (
        lambda x: x - (np.array([[2], [0], [1]]) == np.array([0, 1, 2])).T,
        SQUARE,
    ),
    "infinities": (lambda x: (x - x, 0 * x, x / x, x + x - 2 * x), np.array([np.inf, 1.0, np.nan])),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", PROGRAMS)
def test_rules_are_not_used_where_they_would_be_wrong(name):
    f, x = PROGRAMS[name]
    agree(tg.compile(f)(x.copy()), f(x))
    if x.dtype != np.float64 or isinstance(f(x), tuple):
        return

    def loss(x):
        y = f(x)
        return np.sum(np.cos(np.arange(np.size(y))).reshape(np.shape(y)) * y)

    agree(tg.compile(tg.value_and_grad(loss))(x.copy()), tg.value_and_grad(loss)(x))


def agree(found, right):
    if isinstance(right, tuple):
        assert len(found) == len(right)
        for pair in zip(found, right, strict=True):
            agree(*pair)
    else:
        assert np.shape(found) == np.shape(right)
        assert np.asarray(found).dtype == np.asarray(right).dtype
        np.testing.assert_allclose(found, right, rtol=1e-12, atol=1e-13, equal_nan=True)


@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (4, 2), (8, 2), (3, 8), (64, 3), (200, 10)])
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.uint64])
def test_the_cross_entropy_for_rows_and_columns(shape, dtype):
    """Narrow logits lie by columns in a program, wide ones by rows; results always by rows."""
    x, y = np.random.default_rng(0).normal(size=shape), np.arange(shape[0], dtype=dtype) % shape[1]
    step = tg.value_and_grad(tg.cross_entropy)
    fast, by_hand = (
        tg.compile(step),
        tg.compile(tg.value_and_grad(lambda x: tg.cross_entropy(x, y))),
    )
    for labels in (y, y[::-1].copy(), y[::-1]):
        agree(fast(x, labels), step(x, labels))
        agree(fast(np.asfortranarray(x), labels), step(x, labels))
    agree(by_hand(x), step(x, y))
    W = np.random.default_rng(1).normal(size=(shape[1], shape[1]))
    agree(
        tg.compile(tg.grad(lambda W: tg.cross_entropy(x @ W, y)))(W),
        tg.grad(lambda W: tg.cross_entropy(x @ W, y))(W),
    )


def test_naive_code_becomes_stable():
    x, y = np.array([[1000.0, 0.0, -1000.0], [0.0, 800.0, 0.0]]), np.array([2, 1])

    def naive(x):
        return -np.mean(
            np.log(np.exp(x) / np.sum(np.exp(x), axis=1, keepdims=True))[np.arange(2), y]
        )

    fast = tg.compile(tg.value_and_grad(naive))
    agree(fast(x / 1000), tg.value_and_grad(naive)(x / 1000))
    agree(fast(x), tg.value_and_grad(tg.cross_entropy)(x, y))
    odds = tg.compile(tg.value_and_grad(lambda x: -np.sum(np.log(1 / (1 + np.exp(-x))))))
    z = np.array([-1000.0, 0.0, 1000.0])
    odds(z / 1000)
    agree(odds(z), tg.value_and_grad(lambda x: np.sum(tg.softplus(-x)))(z))


def test_equal_operations_are_done_once():
    fast = tg.compile(lambda x: np.exp(x) * 2 + np.exp(x) ** 2)
    fast(VECTOR)
    assert fast.source.count("exp(x") == 1


def test_constants_are_computed_beforehand():
    fast = tg.compile(lambda x: x * np.exp(2.0) * np.sum(np.arange(4.0)))
    fast(VECTOR)
    assert "exp" not in fast.source
    assert "sum" not in fast.source
    agree(fast(VECTOR), VECTOR * np.exp(2.0) * 6)
