"""What `check_grad` promises: right is never called wrong, wrong is found, named and explained."""

from __future__ import annotations

import inspect
import math
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_edu as tg
from tinygrad_edu.gradcheck.slope import SAFETY, slope_at_0
from tinygrad_edu.testing import arrays

EPS = np.finfo(float).eps
RNG = np.random.default_rng(0)
X, y = RNG.normal(size=(6, 2)), np.array([0, 1, 2, 2, 1, 0])
x3, x43 = RNG.normal(size=3), RNG.normal(size=(4, 3))

# One direction takes at most so many evaluations: from a step of 2**-3 to one of 2**-44 there are
# 41 halvings; windows of 7 halvings take 12 + 2, those of 4 take 6 + 2; four windows farther away
# take 12 each, and a look at each of their steps is among them.
DIRECTION = 7 * 14 + 4 * 12


def verdicts(report):
    return [str(v) for i in report.inputs for v in i.verdicts.ravel()]


def named(report):
    return {(entry.name, entry.index) for entry in report.wrong}


def explanations(report):
    of_inputs = [text for i in report.inputs for text in (i.mistake, i.diagnosis)]
    return " | ".join(text for text in [*of_inputs, *report.diagnosis] if text)


def cubes(x):
    return np.sum(x**3)


def tanhs(x):
    return np.sum(np.tanh(x) ** 2)


d_tanhs = tg.grad(tanhs)


def factors(shape, at, factor):
    """Ones, with `factor` in one place."""
    ones = np.ones(shape)
    ones[at] = factor
    return ones


# Functions of every kind, with gradients of every kind. `k` is 1 for the right gradient.

right_or_not = pytest.mark.parametrize("k", [1, 1 + 1e-6], ids=["right", "wrong"])


@pytest.mark.parametrize(
    ("f", "args"),
    [
        (tanhs, [x43]),
        (np.tanh, [0.5]),
        (np.tanh, [np.float64(0.5)]),
        (np.tanh, [np.array(0.5)]),
        (lambda a, b: a @ b, [x43, x3]),
        (lambda a, b: np.exp(a) * b, [x43, 2.0]),
        (lambda x: (x**2).mean() + x.sum(axis=0).max(), [x43]),
        (lambda p: np.sum(p["a"] * p["b"][0]) + p["b"][1] ** 2, [{"a": x3, "b": (x3, 3.0)}]),
        (lambda pair, x: [pair[0] * x, {"z": pair[1] @ x}], [[x3, x43], x3]),
        (lambda x, n: x**n, [x3, 3]),
        (lambda x, rows: x[rows], [x43, np.array([0, 0, 2])]),
        (lambda x, name: np.exp(x) if name == "exp" else x, [x3, "exp"]),
        (tg.cross_entropy, [x43, np.array([0, 2, 1, 1])]),
    ],
)
def test_the_engines_gradient_is_right(f, args):
    report = tg.assert_grad(f, *args)
    assert set(verdicts(report)) == {"OK"}
    floats = sum(np.size(a) for a in _floats(args))
    assert len(verdicts(report)) == floats


def _floats(tree):
    if isinstance(tree, dict):
        return [leaf for item in tree.values() for leaf in _floats(item)]
    if isinstance(tree, (list, tuple)):
        return [leaf for item in tree for leaf in _floats(item)]
    return [tree] if np.asarray(tree).dtype.kind == "f" else []


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
def test_a_net_whose_parameters_are_read_from_a_closure(activation):
    net = tg.nn.MLP((2, 5, 3), activation, rng=0)
    report = tg.assert_grad(lambda *p: tg.cross_entropy(net(X), y), *net.parameters())
    assert [i.shape for i in report.inputs] == [p.shape for p in net.parameters()]


def test_a_net_with_a_wrong_layer_is_wrong():
    net = tg.nn.MLP((2, 5, 3), "tanh", rng=0)

    @tg.primitive
    def doubled(x):
        return 2 * x

    doubled.derivative(lambda g, y, x: g)
    report = tg.check_grad(
        lambda *p: tg.cross_entropy(net(doubled(net(X)[:, :2])), y), *net.parameters()
    )
    assert report.wrong
    assert [b.operation for b in report.blame] == ["doubled"]


@right_or_not
def test_code_that_the_engine_cannot_follow(k):
    def f(xs):
        total = 0.0
        for v in xs:
            total += math.exp(v) * math.sin(v)
        return total

    report = tg.check_grad(f, x3, gradient=lambda x: k * np.exp(x) * (np.sin(x) + np.cos(x)))
    assert bool(report) == (k == 1)
    report = tg.check_grad(math.sin, 0.5, gradient=lambda x: k * math.cos(x))
    assert bool(report) == (k == 1)


@right_or_not
def test_a_function_that_returns_its_value_and_its_gradient(k):
    report = tg.check_grad(lambda x: (np.sum(x**3), 3 * x**2 * k), x43, gradient=True)
    assert bool(report) == (k == 1)


@right_or_not
def test_a_backward_function_of_a_layer(k):
    report = tg.check_grad(
        lambda W, b: X @ W + b,
        x43[:2],
        x3,
        vjp=lambda g, W, b: (X.T @ g, k * g.sum(axis=0)),
    )
    assert bool(report) == (k == 1)
    assert named(report) == (set() if k == 1 else {("b", (j,)) for j in range(3)})


@right_or_not
def test_a_backward_function_of_several_outputs(k):
    report = tg.check_grad(
        lambda x: (np.sin(x), x**2), x3, vjp=lambda g, x: g[0] * np.cos(x) + 2 * x * g[1] * k
    )
    assert bool(report) == (k == 1)


@right_or_not
def test_a_jacobian(k):
    report = tg.check_grad(lambda x: np.sin(x43 @ x), x3, gradient=lambda x: k * _jacobian(x))
    assert bool(report) == (k == 1)


def _jacobian(x):
    return np.cos(x43 @ x)[:, None] * x43


@right_or_not
def test_the_derivative_of_an_elementwise_function(k):
    at = (1, 2)
    report = tg.check_grad(
        lambda x: np.tanh(x), x43, gradient=lambda x: factors((4, 3), at, k) * (1 - np.tanh(x) ** 2)
    )
    assert bool(report) == (k == 1)
    assert named(report) == (set() if k == 1 else {("x", at)})


def test_a_jacobian_of_another_shape_is_refused_with_the_right_one():
    report = tg.check_grad(lambda x: x43 @ x, x3, gradient=lambda x: x43.T)
    assert not report
    assert "a Jacobian of shape (4, 3)" in report.problems[0]
    assert "got shape (3, 4)" in report.problems[0]


@right_or_not
def test_gradients_of_nested_arguments_and_by_name(k):
    def f(a, p):
        return np.sum(a * p["w"]) + p["more"][0] ** 2

    arguments = x3, {"w": x3 + 1, "more": (3.0, "unused", 7)}

    def nested(a, p):
        return p["w"], {"w": a, "more": (2 * p["more"][0] * k, None, None)}

    def by_name(a, p):
        return dict(zip("pa", reversed(nested(a, p)), strict=True))

    for gradient in (nested, by_name):
        report = tg.check_grad(f, *arguments, gradient=gradient)
        assert bool(report) == (k == 1)
        assert named(report) == (set() if k == 1 else {("p['more'][0]", ())})


@pytest.mark.parametrize("argnums", [1, -1, (1,), (0, 1)])
def test_argnums_choose_the_arguments(argnums):
    report = tg.assert_grad(lambda a, b: np.sum(a**2 * b), x3, x3, argnums=argnums)
    assert [i.name for i in report.inputs] == (["a", "b"] if argnums == (0, 1) else ["b"])


def test_a_gradient_by_one_argument_only():
    tg.assert_grad(lambda a, b: np.sum(a * b), x3, x43, argnums=0, gradient=lambda a, b: b.sum(0))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"gradient": 3}, TypeError, "gradient must be a function"),
        ({"vjp": 3}, TypeError, "vjp must be a function"),
        ({"vjp": True}, TypeError, "gradient= or vjp="),
        ({"gradient": np.cos, "vjp": np.cos}, TypeError, "not both"),
        ({"order": 0}, ValueError, "order must be"),
        ({"order": True}, ValueError, "order must be"),
        ({"order": 1.5}, ValueError, "order must be"),
        ({"order": 2, "gradient": np.cos}, ValueError, "order=2"),
        ({"order": 2, "vjp": np.cos}, ValueError, "order=2"),
        ({"max_evaluations": 0}, ValueError, "max_evaluations"),
        ({"max_evaluations": 10.5}, ValueError, "max_evaluations"),
        ({"argnums": 1}, TypeError, "argnums=1 of a call with 1 arguments"),
        ({"argnums": "x"}, TypeError, "argnums=x"),
        ({"argnums": (0, 0)}, TypeError, r"argnums=\(0, 0\)"),
        ({"gradiant": np.cos}, TypeError, "gradiant"),
    ],
    ids=str,
)
def test_options_that_make_no_sense(options, error, message):
    with pytest.raises(error, match=message):
        tg.check_grad(np.tanh, 0.5, **options)


def test_what_is_no_function_and_what_has_no_gradient():
    with pytest.raises(TypeError, match="checks a function, got 3"):
        tg.check_grad(3, 0.5)
    with pytest.raises(TypeError, match=r"b is 3: .*write 3\.0 for 3"):
        tg.check_grad(lambda a, b: a * b, 2.0, 3, argnums=1)


def test_what_the_function_raises_at_its_arguments_is_raised():
    with pytest.raises(ZeroDivisionError):
        tg.check_grad(lambda x: x / (1 - 1), 0.5, gradient=lambda x: 1.0)


def test_assert_grad_raises_an_assertion_that_holds_the_report():
    with pytest.raises(AssertionError, match="WRONG, 1 of 3 entries") as caught:
        tg.assert_grad(tanhs, x3, gradient=lambda x: d_tanhs(x) * [1, 1, 2])
    assert isinstance(caught.value, tg.GradientError)
    assert [entry.index for entry in caught.value.report.wrong] == [(2,)]
    assert tg.assert_grad(tanhs, x3)


# Kinks: between the two slopes anything is right, outside nothing.


def relu(x):
    return np.sum(np.maximum(0, x))


def d_relu(x, at_zero):
    return np.where(x == 0, at_zero, x > 0)


@pytest.mark.parametrize("at_zero", [0, 0.5, 1])
def test_between_the_slopes_of_a_kink_any_value_is_right(at_zero):
    x = np.array([0.0, 1.0, -2.0])
    report = tg.check_grad(relu, x, gradient=lambda x: d_relu(x, at_zero))
    assert report
    assert verdicts(report) == ["KINK", "OK", "OK"]
    (of,) = report.inputs
    assert abs(of.left[0]) <= SAFETY * of.error[0]
    assert abs(of.right[0] - 1) <= SAFETY * of.error[0]


@pytest.mark.parametrize("at_zero", [-0.1, -1e-6, 1 + 1e-6, 1.1])
def test_outside_the_slopes_of_a_kink_a_value_is_wrong(at_zero):
    x = np.array([0.0, 1.0, -2.0])
    report = tg.check_grad(relu, x, gradient=lambda x: d_relu(x, at_zero))
    assert report.verdict == "WRONG"
    assert verdicts(report) == ["KINK", "OK", "OK"]
    assert named(report) == {("x", (0,))}


@pytest.mark.parametrize("x", [1e-10, 1e-7, 1e-5, 1e-3])
@pytest.mark.parametrize("sign", [1, -1])
def test_beside_a_kink_the_slope_is_that_of_its_side(x, sign):
    number, array = sign * x, np.array([sign * x, 1.0, -2.0])
    assert verdicts(tg.assert_grad(relu, number)) == ["OK"]
    assert verdicts(tg.assert_grad(relu, array)) == ["OK"] * 3
    # The slope of the other side.
    report = tg.check_grad(relu, number, gradient=lambda x: d_relu(-x, 0))
    assert verdicts(report) == ["WRONG"]
    report = tg.check_grad(relu, array, gradient=lambda x: d_relu(x * [-1, 1, 1], 0))
    assert verdicts(report) == ["WRONG", "OK", "OK"]


@pytest.mark.parametrize(
    ("f", "x", "right", "wrong"),
    [
        (np.abs, [0.0, 2.0], [[-1, 1], [0.3, 1], [1, 1]], [-1.001, 1]),
        (np.max, [1.0, 3.0, 3.0], [[0, 1, 0], [0, 0.5, 0.5], [0, 0, 0]], [0, 1.001, 0]),
        (lambda x: np.clip(x, -1, 1), [-1.0, 0.3], [[0, 1], [1, 1]], [-0.001, 1]),
        (lambda x: np.clip(x, -1, 1), [1.0, 0.3], [[0, 1], [1, 1]], [1.001, 1]),
        (lambda x: np.sum(x) + 1e-3 * abs(x[0]), [0.0, 2.0], [[0.9991, 1]], [0.998, 1]),
    ],
    ids=["abs", "max", "lower clip", "upper clip", "faint"],
)
def test_kinks_of_all_kinds(f, x, right, wrong):
    x = np.array(x)
    for gradient in right:
        # Right here; elsewhere it is what it ought to be, so that it is not taken for a stale one.
        report = tg.check_grad(f, x, gradient=_here(x, gradient, f))
        assert report
        assert "KINK" in verdicts(report)
    report = tg.check_grad(f, x, gradient=_here(x, wrong, f))
    assert report.verdict == "WRONG"


def _here(x, gradient, f):
    """`gradient` at `x`, and differences of `f` at other places."""

    def d(at):
        if np.array_equal(at, x):
            return np.array(gradient, float)
        h = 1e-9 * np.eye(len(at))
        return np.array([np.sum(f(at + v) - f(at - v)) / 2e-9 for v in h])

    return d


def test_the_engine_at_kinks_and_ties():
    assert verdicts(tg.assert_grad(np.abs, np.array([0.0, 1.0]))) == ["KINK", "OK"]
    ties = tg.assert_grad(np.max, np.array([1.0, 3.0, 3.0]))
    assert verdicts(ties) == ["OK", "KINK", "KINK"]


def elu(x):
    return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)


@pytest.mark.parametrize(
    ("f", "gradient"),
    [
        (lambda x: x * np.abs(x), lambda x: 2 * np.abs(x)),
        (elu, lambda x: np.where(x > 0, 1, np.exp(x))),
        (lambda x: np.maximum(x, 0) ** 2, lambda x: 2 * np.maximum(x, 0)),
    ],
    ids=["x|x|", "elu", "relu squared"],
)
def test_where_only_the_second_derivative_jumps_there_is_one_slope(f, gradient):
    x = np.array([0.0, 1.0, -1.0])
    for rng in range(20):
        assert verdicts(tg.check_grad(f, x, rng=rng)) == ["OK"] * 3
        assert verdicts(tg.check_grad(f, 0.0, rng=rng)) == ["OK"]
    tg.assert_grad(f, 0.0, gradient=gradient)
    report = tg.check_grad(f, x, gradient=lambda x: gradient(x) + np.array([1e-3, 0, 0]))
    assert verdicts(report) == ["WRONG", "OK", "OK"]


@pytest.mark.parametrize("gradient", [None, lambda x: 0.0, lambda x: np.inf])
def test_at_the_edge_of_the_domain_nothing_is_known(gradient):
    report = tg.check_grad(np.sqrt, 0.0, gradient=gradient)
    assert report.verdict == "INCONCLUSIVE"
    assert report.inputs[0].reasons[()]


def test_at_a_jump_nothing_is_known():
    report = tg.check_grad(np.floor, np.array([2.0, 2.5]), gradient=np.zeros_like)
    assert verdicts(report)[0] == "INCONCLUSIVE"
    assert "jumps" in report.inputs[0].reasons[(0,)]
    assert not report


# How small an error is seen, and that right is never wrong.


@pytest.mark.parametrize("error", [1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7])
def test_errors_down_to_a_ten_millionth_are_seen(error):
    all_wrong = tg.check_grad(tanhs, x43, gradient=lambda x: d_tanhs(x) * (1 + error))
    assert verdicts(all_wrong) == ["WRONG"] * 12
    at = (2, 1)
    one = tg.check_grad(tanhs, x43, gradient=lambda x: d_tanhs(x) * factors((4, 3), at, 1 + error))
    assert named(one) == {("x", at)}
    assert one.wrong[0].measured == pytest.approx(d_tanhs(x43)[at], rel=1e-9)
    assert tg.check_grad(tanhs, x43, gradient=d_tanhs)


ACTIVATIONS = {
    "tanh": np.tanh,
    "exp": np.exp,
    "square": np.square,
    "sigmoid": tg.sigmoid,
    "softplus": tg.softplus,
    "cubic": lambda x: x**3 - x,
}


@dataclass(frozen=True)
class Smooth:
    """A smooth function of an array, which hypothesis can print."""

    A: np.ndarray
    b: np.ndarray
    inner: str
    outer: str
    size: float
    offset: float

    def __call__(self, x):
        hidden = self.A @ ACTIVATIONS[self.inner](x) + self.b
        return self.offset + self.size * ACTIVATIONS[self.outer](hidden)


@st.composite
def smooth(draw):
    n, m = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    inner, outer = (draw(st.sampled_from([*ACTIVATIONS])) for _ in range(2))
    size = 10.0 ** draw(st.integers(-6, 6))
    offset = draw(st.sampled_from([0.0, 1.0, -1e6]))
    f = Smooth(draw(arrays((m, n))), draw(arrays((m,))), inner, outer, size, offset)
    return f, draw(arrays((n,)))


@given(drawn=smooth())
def test_right_gradients_are_never_wrong(drawn):
    f, x = drawn
    report = tg.check_grad(f, x)
    assert "WRONG" not in verdicts(report)
    assert not report.blame
    assert not explanations(report)


@given(
    x=arrays(st.integers(1, 5), 0.5, 2.0),
    c=arrays(5, 0.5, 2.0),
    inner=st.sampled_from(["tanh", "exp", "square", "sigmoid", "softplus"]),
    size=st.integers(-6, 6),
    sign=st.sampled_from([1, -1]),
    offset=st.sampled_from([0, 1, -100]),
    power=st.floats(-6, 1),
    data=st.data(),
)
def test_one_wrong_entry_is_named_and_no_other(x, c, inner, size, sign, offset, power, data):
    def f(x):
        terms = c[: len(x)] * ACTIVATIONS[inner](x)
        return sign * 10.0**size * (np.sum(terms) + np.exp(np.mean(x)) + offset)

    right = tg.grad(f)
    at = data.draw(st.integers(0, len(x) - 1))
    wrong = factors(len(x), at, 1 + data.draw(st.sampled_from([1, -1])) * 10.0**power)
    report = tg.check_grad(f, x, gradient=lambda x: right(x) * wrong)
    assert named(report) == {("x", (at,))}
    assert report.verdict == "WRONG"


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("scales", [[1e-8, 1.0, 1e8], [1e-30, 1.0, 1e30]], ids=str)
def test_badly_scaled_inputs(scales, at):
    s = np.array(scales)

    def f(x):
        return np.sum(np.tanh(x / s))

    def d(x):
        return (1 - np.tanh(x / s) ** 2) / s

    tg.assert_grad(f, s)
    report = tg.check_grad(f, s, gradient=lambda x: d(x) * factors(3, at, 1 + 1e-5))
    assert named(report) == {("x", (at,))}


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e12, 1e30])
def test_badly_scaled_outputs(size):
    tg.assert_grad(lambda x: size * tanhs(x), x3)
    wrong = factors(3, 1, 1 + 1e-5)
    report = tg.check_grad(
        lambda x: size * tanhs(x), x3, gradient=lambda x: size * d_tanhs(x) * wrong
    )
    assert named(report) == {("x", (1,))}


@pytest.mark.parametrize("x", [0.0, 1e-300, 1e-17, 1e-12, 1e-6])
def test_an_entry_that_is_next_to_nothing_beside_the_others(x):
    # As what is left over where values should have cancelled.
    at = np.array([x, 1.0])
    tg.assert_grad(tanhs_plus, at)
    report = tg.check_grad(tanhs_plus, at, gradient=lambda x: d_tanhs_plus(x) * factors(2, 0, 2))
    assert named(report) == {("x", (0,))}


def tanhs_plus(x):
    return np.sum(np.tanh(x + 0.5))


d_tanhs_plus = tg.grad(tanhs_plus)


@pytest.mark.parametrize(("offset", "error"), [(1e4, 1e-6), (1e8, 1e-3), (1e10, 0.1)])
def test_a_large_offset_hides_small_errors_and_convicts_nobody(offset, error):
    def f(x):
        return offset + np.sum(np.sin(x))

    right = tg.check_grad(f, x3, gradient=np.cos)
    assert "WRONG" not in verdicts(right)
    wrong = tg.check_grad(f, x3, gradient=lambda x: (1 + error) * np.cos(x))
    assert verdicts(wrong) == ["WRONG"] * 3
    hidden = tg.check_grad(f, x3, gradient=lambda x: np.cos(x) + 0.1 * EPS * offset)
    assert "WRONG" not in verdicts(hidden)


@pytest.mark.parametrize("digits", [4, 6, 9, 12])
def test_a_function_computed_to_a_few_digits(digits):
    def f(x):
        return np.round(np.sum(np.sin(x)), digits)

    right = tg.check_grad(f, x3, gradient=np.cos)
    assert "WRONG" not in verdicts(right)
    wrong = tg.check_grad(f, x3, gradient=lambda x: np.cos(x) * factors(3, 1, -1))
    assert verdicts(wrong)[1] != "OK"
    assert not wrong


def test_arithmetic_in_float32_inside():
    def f(x):
        return float(np.sum(np.sin(x.astype(np.float32))))

    right = tg.check_grad(f, x3, gradient=np.cos)
    assert "WRONG" not in verdicts(right)
    assert not tg.check_grad(f, x3, gradient=lambda x: np.cos(x) * factors(3, 1, 1.1))


@pytest.mark.parametrize("power", [0, 5, 9, 10, 11, 12, 15])
@pytest.mark.parametrize("x", [1.0, 0.5, 0.3])
def test_waves_in_step_with_powers_of_two(power, x):
    # As positional encodings have them: at steps of powers of 2 they return to where they were.
    k = np.pi * 2**power

    def f(x):
        return np.sin(k * x + 0.3)

    right = tg.check_grad(f, x, gradient=lambda x: k * np.cos(k * x + 0.3))
    assert right.verdict != "WRONG"
    assert not tg.check_grad(f, x, gradient=lambda x: 0.9 * k * np.cos(k * x + 0.3))


def test_outputs_that_add_up_to_a_constant_are_weighted():
    # The sum of a softmax is 1: with weights of ones every gradient that sums to 0 would be right.
    tg.assert_grad(tg.softmax, x3)
    assert not tg.check_grad(tg.softmax, x3, gradient=lambda x: np.zeros((3, 3)))
    report = tg.check_grad(tg.softmax, x3, gradient=lambda x: np.diag(tg.softmax(x)))
    assert report.verdict == "WRONG"


# The slope of a function of one number.


def measured(f, x):
    """The slope of f at x, told the rounding errors of what f returned."""
    y = f(x)
    calls = 0

    def d(t):
        nonlocal calls
        calls += 1
        return f(x + t) - y

    def noise(h):
        sizes = [abs(v) for v in (y, f(x + h), f(x - h)) if math.isfinite(v)]
        return EPS * max(sizes)

    with np.errstate(all="ignore"):
        slope = slope_at_0(d, noise)
    assert calls <= DIRECTION
    return slope


SLOPES = {
    "sin": (np.sin, np.cos),
    "exp": (np.exp, np.exp),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "cube": (lambda x: x**3, lambda x: 3 * x**2),
    "line": (lambda x: 3 * x + 1, lambda x: 3.0),
    "constant": (lambda x: 2.0, lambda x: 0.0),
    "bump": (lambda x: np.exp(-x * x), lambda x: -2 * x * np.exp(-x * x)),
    "narrow": (lambda x: 1 / (1 + 1e4 * x * x), lambda x: -2e4 * x / (1 + 1e4 * x * x) ** 2),
    "fast": (lambda x: np.sin(50 * x), lambda x: 50 * np.cos(50 * x)),
    "faster": (lambda x: np.sin(1e4 * x), lambda x: 1e4 * np.cos(1e4 * x)),
    "steep": (lambda x: np.exp(30 * x), lambda x: 30 * np.exp(30 * x)),
    "offset": (lambda x: 1e6 + np.sin(x), np.cos),
    "x|x|": (lambda x: x * abs(x), lambda x: 2 * abs(x)),
    "1.5": (lambda x: abs(x) ** 1.5, lambda x: 1.5 * np.sign(x) * abs(x) ** 0.5),
    "log": (lambda x: np.log(x + 3), lambda x: 1 / (x + 3)),
    "near the edge": (lambda x: np.sqrt(x + 2.0625), lambda x: 0.5 / np.sqrt(x + 2.0625)),
    "far kink": (lambda x: abs(x - 0.3), lambda x: np.sign(x - 0.3)),
    "near kink": (lambda x: abs(x - 0.2500001), lambda x: np.sign(x - 0.2500001)),
}


# Points of few bits, so that no digit of a step is lost when it is added.
@pytest.mark.parametrize("x", [0.0, 2.0**-20, 0.125, 0.25, 1.0, -0.75, -2.0])
@pytest.mark.parametrize("name", SLOPES)
def test_the_error_of_a_slope_is_no_larger_than_estimated(name, x):
    f, slope_of = SLOPES[name]
    slope = measured(f, x)
    assert not slope.reason
    assert not slope.is_kink
    assert slope.left == slope.right == slope.value
    assert abs(slope.value - slope_of(x)) <= SAFETY * slope.error
    # An estimate that admits everything bounds the error, too.
    assert slope.error <= 1e-6 * max(abs(slope_of(x)), 1)


@given(a=arrays(4), x=st.integers(-64, 64), k=st.integers(-3, 3))
def test_the_error_of_the_slope_of_any_smooth_function_is_bounded(a, x, k):
    x, k = x / 32, 2.0**k

    def f(x):
        return a[0] + a[1] * np.sin(k * x) + a[2] * np.exp(x / 4) + a[3] * x * x

    right = a[1] * k * np.cos(k * x) + a[2] / 4 * np.exp(x / 4) + 2 * a[3] * x
    slope = measured(f, x)
    assert not slope.is_kink
    # The formula above is itself rounded.
    own = 8 * EPS * np.abs(a).sum() * max(k, 4) + 1e-300
    assert abs(slope.value - right) <= SAFETY * slope.error + own


@pytest.mark.parametrize(
    ("f", "left", "right"),
    [
        (abs, -1, 1),
        (lambda t: max(t, 0), 0, 1),
        (lambda t: np.sin(t) + 3 * abs(t), -2, 4),
        (lambda t: t + 1e-6 * abs(t), 1 - 1e-6, 1 + 1e-6),
        (lambda t: np.exp(t) if t < 0 else 1 + t / 2, 1, 0.5),
        (lambda t: 1e6 * max(t, 0), 0, 1e6),
    ],
)
def test_at_a_kink_there_are_two_slopes(f, left, right):
    slope = measured(f, 0.0)
    assert slope.is_kink
    assert abs(slope.left - left) <= SAFETY * slope.error
    assert abs(slope.right - right) <= SAFETY * slope.error
    assert slope.error <= 1e-6 * max(abs(left), abs(right))
    assert slope.value == (slope.left + slope.right) / 2


@pytest.mark.parametrize(
    ("f", "reason"),
    [
        (lambda t: float(t > 0), "jumps"),
        (lambda t: float(t >= 0), "jumps"),
        (math.floor, "jumps"),
        (np.cbrt, "bound"),
        (lambda t: np.sqrt(abs(t)), "bound"),
        (lambda t: math.sqrt(t) if t >= 0 else math.nan, "not finite"),
        (lambda t: 0.0 if t == 0 else math.inf, "not finite"),
        (lambda t: t * math.sin(3 * math.log(abs(t))) if t else 0.0, "every step size"),
    ],
)
def test_where_there_is_no_slope_the_reason_is_given(f, reason):
    slope = measured(f, 0.0)
    assert reason in slope.reason
    assert math.isnan(slope.value)
    assert not slope.is_kink


@pytest.mark.parametrize("power", [3, 10, 20, 30])
def test_a_wave_in_step_with_powers_of_two_is_not_taken_for_flat(power):
    k = 2 * np.pi * 2**power
    slope = measured(lambda t: np.sin(k * t), 0.0)
    assert slope.reason or abs(slope.value - k) <= SAFETY * slope.error


@pytest.mark.parametrize("frequency", [1, np.pi / math.log(2), 2 * np.pi / math.log(2)])
@pytest.mark.parametrize("phase", [0.0, 0.3, 1.0])
def test_a_slope_that_changes_with_the_logarithm_of_the_step_is_none(phase, frequency):
    # With the last of the frequencies it is the same at all powers of 2.
    def f(t):
        return t * math.sin(phase + frequency * math.log(abs(t))) if t else 0.0

    slope = measured(f, 0.0)
    assert slope.reason or SAFETY * slope.error >= 1


# float32.


def test_float32_is_checked_by_a_run_in_float64():
    single = x43.astype(np.float32)
    report = tg.assert_grad(tanhs, single)
    assert report.inputs[0].dtype == "float32"
    assert any("float32" in note and "float64" in note for note in report.notes)
    assert not any("float64" in note for note in tg.assert_grad(tanhs, x43).notes)
    # Which is why errors are seen that float32 itself has not the digits for.
    report = tg.check_grad(tanhs, single, gradient=lambda x: d_tanhs(x) * (1 + 1e-6))
    assert verdicts(report) == ["WRONG"] * 12


def test_a_net_of_float32():
    net = tg.nn.MLP((2, 5, 3), "tanh", rng=0, dtype=np.float32)
    report = tg.assert_grad(lambda *p: tg.cross_entropy(net(X), y), *net.parameters())
    assert {i.dtype for i in report.inputs} == {"float32"}
    assert all(p.dtype == np.float32 for p in net.parameters())


def test_a_gradient_that_is_wrong_in_float32_only():
    def gradient(x):
        return d_tanhs(x) * factors(3, 1, 1.001 if x.dtype == np.float32 else 1)

    assert tg.check_grad(tanhs, x3, gradient=gradient)
    report = tg.check_grad(tanhs, x3.astype(np.float32), gradient=gradient)
    assert named(report) == {("x", (1,))}
    assert "in float32; in float64 it is" in str(report)


# Inputs too large to measure every entry.

SIDE = 100
BIG = RNG.normal(size=(SIDE, SIDE))
C = RNG.normal(size=(SIDE, SIDE))


def big(x):
    return np.sum(C * np.tanh(x))


def d_big(x):
    return C * (1 - np.tanh(x) ** 2)


def check_big(wrong, **options):
    calls = 0

    def f(x):
        nonlocal calls
        calls += 1
        return big(x)

    report = tg.check_grad(f, BIG, gradient=lambda x: d_big(x) * wrong, **options)
    assert report.evaluations == calls
    return report


def test_a_large_right_gradient_takes_few_evaluations():
    report = check_big(1)
    assert set(verdicts(report)) == {"OK"}
    assert report.evaluations < BIG.size / 10
    assert f"{report.evaluations} evaluations" in str(report)
    assert "random mixtures" in report.method


@pytest.mark.parametrize("error", [1e-5, 1e-2, -2.0])
@pytest.mark.parametrize("rng", [0, 1, 2])
def test_one_wrong_entry_of_ten_thousand_is_named(error, rng):
    at = tuple(np.random.default_rng(rng).integers(SIDE, size=2).tolist())
    report = check_big(factors(BIG.shape, at, 1 + error), rng=rng)
    assert named(report) == {("x", at)}


def test_several_wrong_entries_of_ten_thousand_are_named():
    places = {(3, 4), (50, 60), (99, 0)}
    wrong = np.ones(BIG.shape)
    for at, error in zip(places, (1e-4, 1e-2, 1), strict=True):
        wrong[at] += error
    assert named(check_big(wrong)) == {("x", at) for at in places}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_large_gradient_with_one_entry_that_is_no_number(bad):
    report = check_big(factors(BIG.shape, (7, 8), bad))
    assert named(report) == {("x", (7, 8))}


@pytest.mark.parametrize("max_evaluations", [300, 1000, 4000])
def test_a_large_gradient_that_is_wrong_everywhere(max_evaluations):
    wrong = RNG.normal(size=BIG.shape)
    report = check_big(wrong, max_evaluations=max_evaluations)
    assert report.verdict == "WRONG"
    assert "OK" not in verdicts(report)
    assert "not searched further" in next(iter(report.inputs[0].reasons.values()))
    # A mixture is halved as long as there are evaluations left, and has two halves. What follows
    # is a look at whether the function is still the same, and the diagnosis.
    assert report.evaluations <= max_evaluations + 2 * DIRECTION + 10


def test_a_large_gradient_with_a_usual_mistake_is_explained():
    assert "sign is flipped" in explanations(check_big(-1))


def test_kinks_do_not_hide_a_wrong_entry():
    x = np.round(BIG.ravel()[:2000], 1)
    assert np.sum(x == 0) > 20
    at = int(np.flatnonzero(x)[0])
    right = tg.check_grad(relu, x, gradient=lambda x: d_relu(x, 0))
    assert "WRONG" not in verdicts(right)
    wrong = tg.check_grad(relu, x, gradient=lambda x: d_relu(x, 0) + (np.arange(x.size) == at) / 2)
    assert not wrong


@pytest.mark.parametrize(
    "args",
    [[np.zeros(100)], [np.zeros(15) for _ in range(8)], [np.ones(30) for _ in range(20)]],
    ids=["kinks", "many small inputs", "many large inputs"],
)
@pytest.mark.parametrize("max_evaluations", [100, 1500])
def test_max_evaluations_is_kept_whatever_the_inputs(args, max_evaluations):
    report = tg.check_grad(
        lambda *xs: sum(np.sum(np.abs(x)) for x in xs),
        *args,
        gradient=lambda *xs: tuple(np.sign(x) for x in xs),
        max_evaluations=max_evaluations,
    )
    assert report.evaluations <= max_evaluations + 2 * DIRECTION + 10


# The usual mistakes.


@pytest.mark.parametrize(
    ("f", "x", "gradient", "explanation"),
    [
        (tanhs, x43, lambda x: -d_tanhs(x), "the sign is flipped"),
        (tanhs, x43, lambda x: 2 * d_tanhs(x), "2 times the right one: a factor of 2 too much"),
        (tanhs, x43, lambda x: d_tanhs(x) / 2, "0.5 times the right one: a missing factor of 2"),
        (tanhs, x43, lambda x: -2 * d_tanhs(x), "a sign and a factor of 2"),
        (lambda x: tanhs(x) / 4, x43, d_tanhs, "a missing division by 4, the length of axis 0"),
        (lambda x: tanhs(x) / 12, x43, d_tanhs, "a missing division by 12, the size of x"),
        (tanhs, x43, lambda x: d_tanhs(x) / 4, "divided by 4, the length of axis 0 of x, once too"),
        (tanhs, x43, lambda x: 1.25 * d_tanhs(x), "every value is 1.25 times the right one"),
        (tanhs, x43, lambda x: 1.00001 * d_tanhs(x), "every value is 1.00001 times"),
        (tanhs, x43, lambda x: d_tanhs(x).T, "transposed: the values of its .T are right"),
        (tanhs, x43[:3], lambda x: d_tanhs(x).T, "transposed: the values of its .T are right"),
        (tanhs, x43, lambda x: 0 * x, "zero everywhere"),
        (tanhs, x43, lambda x: d_tanhs(x).ravel(), r"values are right: write .reshape((4, 3))"),
        (tanhs, x3, lambda x: d_tanhs(x)[:, None], r"values are right: write .reshape((3,))"),
        (tanhs, x43[:1], lambda x: d_tanhs(x)[0], "keepdims=True"),
        (
            lambda b: tanhs(x43 + b),
            x3,
            lambda b: d_tanhs(x43 + b),
            "sum over the batch: .sum(axis=0)",
        ),
        (
            lambda b: tanhs(x43 + b),
            x43[:, :1],
            lambda b: d_tanhs(x43 + b),
            "missing sum: .sum(axis=1, keepdims=True)",
        ),
        (lambda b: tanhs(x43 + b), 0.3, lambda b: d_tanhs(x43 + b), "the input was broadcast"),
        (lambda x: tanhs(x) + 0.05 * np.sum(x**2), x43, d_tanhs, "0.1 * x everywhere"),
        (lambda w: np.sum(x43 @ w), x3, lambda w: -x43.sum(0), "the sign is flipped"),
        (lambda w: np.mean(x43 @ w), x3, lambda w: x43.sum(0), "a missing division by 4"),
        (tanhs, x3, lambda x: [*d_tanhs(x)[:2], None], "dtype object"),
        (tanhs, x3, lambda x: None, "the gradient is None"),
    ],
)
def test_usual_mistakes_are_explained(f, x, gradient, explanation):
    report = tg.check_grad(f, x, gradient=gradient)
    assert report.verdict == "WRONG"
    assert explanation in explanations(report)


def test_a_stale_gradient():
    kept = d_tanhs(x43)
    report = tg.check_grad(tanhs, x43, gradient=lambda x: kept)
    assert report.verdict == "WRONG"
    assert "stale" in explanations(report)
    tg.assert_grad(lambda w: np.sum(x43 @ w), x3, gradient=lambda w: x43.sum(0))


@pytest.mark.parametrize("error", [1e-4, 1e-6, 1e-7])
def test_one_wrong_entry_is_no_wrong_factor(error):
    wrong = factors((4, 3), (2, 1), 1 + error)
    report = tg.check_grad(tanhs, x43, gradient=lambda x: d_tanhs(x) * wrong)
    assert named(report) == {("x", (2, 1))}
    assert not explanations(report)


def test_where_wrong_entries_lie():
    wrong = np.ones((4, 3))
    wrong[:, 1] = [1.1, 1.2, 1.3, 1.4]
    report = tg.check_grad(tanhs, x43, gradient=lambda x: d_tanhs(x) * wrong)
    assert "all wrong entries lie in x[:, 1]" in explanations(report)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


class Net:
    """A net of sigmoids and a softmax, as one writes it in NumPy, with mistakes to choose from."""

    def __init__(self, sizes, l2=0.01):
        rng = np.random.default_rng(1)
        pairs = list(zip((2, *sizes), (*sizes, 3), strict=True))
        self.params = [rng.normal(size=pair) for pair in pairs]
        self.params += [rng.normal(size=n) for _, n in pairs]
        self.l2 = l2

    def forward(self, p):
        depth = len(p) // 2
        zs, hs = [], [X]
        for W, b in zip(p[:depth], p[depth:], strict=True):
            zs.append(np.dot(hs[-1], W) + b)
            hs.append(sigmoid(zs[-1]))
        probs = np.exp(zs[-1]) / np.sum(np.exp(zs[-1]), axis=1, keepdims=True)
        return zs, hs[:-1], probs

    def loss(self, *p):
        probs = self.forward(p)[2]
        penalty = sum(np.sum(W**2) for W in p[: len(p) // 2])
        return np.mean(-np.log(probs[range(len(y)), y])) + 0.5 * self.l2 * penalty

    def gradient(self, *p, one=1, slope=lambda z, h: h * (1 - h), l2=None, n=6, batch=np.sum):
        depth = len(p) // 2
        l2 = self.l2 if l2 is None else l2
        zs, hs, probs = self.forward(p)
        g = probs.copy()
        g[range(len(y)), y] -= one
        g /= n
        found = [None] * len(p)
        for k in reversed(range(depth)):
            found[k] = np.dot(hs[k].T, g) + l2 * p[k]
            found[depth + k] = batch(g, axis=0)
            g = np.dot(g, p[k].T) * slope(zs[k - 1], hs[k]) if k else None
        return tuple(found)


@pytest.mark.parametrize("sizes", [(4,), (4, 5)], ids=str)
@pytest.mark.parametrize("l2", [0.0, 0.01])
@pytest.mark.parametrize(
    ("mistake", "explanation"),
    [
        ({"one": 0}, "lacks the minus one at the label"),
        ({"slope": lambda z, h: sigmoid(h) * (1 - sigmoid(h))}, "g_prime(h) where g_prime(z)"),
        ({"n": 1}, "a missing division by 6"),
        ({"batch": np.mean}, "divided by 6, "),
        ({}, ""),
    ],
    ids=lambda m: str(list(m)) if isinstance(m, dict) else "",
)
def test_mistakes_in_the_backward_pass_of_a_net(sizes, l2, mistake, explanation):
    net = Net(sizes, l2)
    report = tg.check_grad(net.loss, *net.params, gradient=lambda *p: net.gradient(*p, **mistake))
    if mistake:
        assert report.verdict == "WRONG"
        assert explanation in explanations(report)
    else:
        assert report
        assert not explanations(report)


def test_a_mistake_is_named_although_other_explanations_overflow():
    net = Net((20,))
    net.params[1] *= 5  # exp(exp(scores)), the slope of exp at its output, is beyond floats

    def mistaken(*p):
        return net.gradient(*p, slope=lambda z, h: sigmoid(h) * (1 - sigmoid(h)))

    report = tg.check_grad(net.loss, *net.params, gradient=mistaken)
    assert "g_prime(h) where g_prime(z)" in explanations(report)


@pytest.mark.parametrize("sizes", [(4,), (4, 5)], ids=str)
def test_a_missing_penalty_of_a_net(sizes):
    net = Net(sizes)
    report = tg.check_grad(net.loss, *net.params, gradient=lambda *p: net.gradient(*p, l2=0))
    depth = len(net.params) // 2
    for i in report.inputs[:depth]:
        assert "a regulariser is missing" in i.diagnosis
        assert "0.01 * x everywhere" in i.diagnosis
    assert all(i.is_wrong().sum() == 0 for i in report.inputs[depth:])


def test_a_softmax_without_the_minus_one_in_the_engines_loss():
    scores = RNG.normal(size=(6, 3))
    of_scores = tg.check_grad(
        lambda s: tg.cross_entropy(s, y), scores, gradient=lambda s: tg.softmax(s) / len(s)
    )
    assert "minus one at the label" in explanations(of_scores)

    def of_weights(W):
        return X.T @ tg.softmax(X @ W) / len(X)

    W = RNG.normal(size=(2, 3))
    report = tg.check_grad(lambda W: tg.cross_entropy(X @ W, y), W, gradient=of_weights)
    assert "minus one at the label" in explanations(report)


# Whose fault it is.


@tg.primitive
def third_power(x):
    return x**3


third_power.derivative(lambda g, y, x: g * 3 * x**2 * factors(3, 1, 1.01))


@tg.primitive
def twice(x):
    return 2 * x


twice.derivative(lambda g, y, x: g)


@tg.primitive
def halved(x):
    return x / 2


halved.derivative(lambda g, y, x: g)


@tg.primitive
def added_up(x):
    return x * x


added_up.derivative(lambda g, y, x: np.sum(2 * g * x))


@tg.primitive
def right_once(x):
    return x**3


# The derivative by x stops at the array inside.
right_once.derivative(lambda g, y, x: g * 3 * (x.numpy() if isinstance(x, tg.Tensor) else x) ** 2)


def test_a_wrong_rule_among_right_ones_is_named():
    def f(x):
        hidden = np.exp(x) * 0.5
        return np.sum(np.tanh(third_power(hidden)))

    report = tg.check_grad(f, x3)
    assert named(report) == {("x", (1,))}
    (blame,) = report.blame
    assert blame.operation == "third_power"
    assert blame.argument == 0
    assert blame.where == (__file__, inspect.getsourcelines(f)[1] + 2)
    assert blame.line == "return np.sum(np.tanh(third_power(hidden)))"
    assert tg.record(f, x3)[blame.entry].primitive is third_power
    assert {entry.index for entry in blame.report.wrong} == {(1,)}
    assert blame.line in str(report)
    assert report.rules_checked == sum(e.primitive is not None for e in tg.record(f, x3))


def test_right_rules_are_not_blamed():
    report = tg.check_grad(lambda x: np.sum(np.tanh(np.exp(x) @ x43.T) / 3), x3)
    assert report.blame == []
    assert report.rules_checked == 5


def test_two_rules_whose_errors_cancel():
    report = tg.check_grad(lambda x: np.sum(np.tanh(halved(twice(x)))), x3)
    assert set(verdicts(report)) == {"OK"}
    assert report.verdict == "WRONG"
    assert [b.operation for b in report.blame] == ["twice", "halved"]
    assert not tg.check_grad(lambda x: twice(x), x3)


def test_a_rule_of_wrong_shape():
    report = tg.check_grad(lambda x: np.sum(np.tanh(added_up(x))), x3)
    assert report.verdict == "WRONG"
    (blame,) = report.blame
    assert blame.operation == "added_up"
    assert "shape ()" in blame.message
    assert "(3,)" in blame.message


@pytest.mark.parametrize("error", [ValueError, KeyError, RuntimeError, ZeroDivisionError])
def test_a_rule_that_raises(error):
    @tg.primitive
    def fragile(x):
        return x * x

    def rule(g, y, x):
        raise error("out of order")

    fragile.derivative(rule)
    report = tg.check_grad(lambda x: np.sum(np.tanh(fragile(x))), x3)
    assert report.verdict == "WRONG"
    (blame,) = report.blame
    assert blame.operation == "fragile"
    assert "out of order" in blame.message


def test_a_rule_that_is_right_once_only():
    def f(x):
        return np.sum(np.tanh(right_once(x)))

    assert tg.check_grad(f, x3)
    report = tg.check_grad(f, x3, order=2)
    assert report.verdict == "WRONG"
    assert [b.operation for b in report.blame] == ["right_once"]
    assert {entry.name for entry in report.wrong} == {"x, order 2"}


def test_the_engine_to_higher_orders():
    report = tg.assert_grad(lambda x: np.sum(np.tanh(x) * np.exp(x)), x3, order=3)
    assert [i.order for i in report.inputs] == [1, 2, 3]


# What is wrong with the function, or with the call.


def _writes(x):
    x *= 2
    return np.sum(x)


_buffer = np.empty(3)


@pytest.mark.parametrize(
    ("f", "args", "options", "message"),
    [
        (
            lambda x: np.sum(x) * np.random.default_rng().random(),
            [x3],
            {"gradient": np.ones_like},
            "the function is not deterministic",
        ),
        (
            np.sum,
            [x3],
            {"gradient": lambda x: np.random.default_rng().random(3)},
            "the gradient is not deterministic",
        ),
        (_writes, [x3], {"gradient": lambda x: np.full(3, 2.0)}, "writes to its input x"),
        (_writes, [x3], {}, "writes to its input x"),
        (
            lambda x: np.sin(x, out=_buffer),
            [x3],
            {"gradient": np.cos},
            "the function returns the same buffer twice",
        ),
        (
            lambda x: np.sum(np.sin(x)),
            [x3],
            {"gradient": lambda x: np.cos(x, out=_buffer)},
            "the gradient returns the same buffer twice",
        ),
        (
            np.sin,
            [x3],
            {"gradient": lambda x: np.cos(x, out=_buffer)},
            "the gradient returns the same buffer twice",
        ),
        (
            np.sin,
            [x3],
            {"vjp": lambda g, x: np.multiply(g, np.cos(x), out=_buffer)},
            "the gradient returns the same buffer twice",
        ),
        (np.sum, [x3], {"gradient": lambda x: np.ones(4)}, "the gradient has shape (4,)"),
        (np.sum, [x3], {"gradient": lambda x: np.ones(3) * 1j}, "not one of real numbers"),
        (np.sum, [x3], {"gradient": lambda x: (x, x)}, ""),
        (lambda x: np.sum(x) * np.nan, [x3], {}, "returned NaN"),
        (lambda x: np.sum(x) * np.inf, [x3], {}, "returned infinity"),
        (lambda: 3.0, [], {}, "no inputs"),
        (lambda n: 3.0 * n, [3], {}, "no inputs"),
        (np.sum, [np.zeros((0, 3))], {}, "zero elements"),
        (lambda x: x[:0], [x3], {}, "zero elements"),
        (lambda x: 3.0, [x3], {}, "constant output"),
        (lambda x: 3.0, [x3], {"gradient": np.zeros_like}, "constant output"),
        (lambda x: 0 * np.sum(x), [x3], {}, "constant output"),
        (lambda x: np.sum(x) * 1j, [x3], {"gradient": np.ones_like}, "complex numbers"),
        (lambda x: None, [x3], {"gradient": np.ones_like}, "must return numbers"),
        (lambda x: "a", [x3], {"gradient": np.ones_like}, "must return numbers"),
        (np.sum, [x3], {"gradient": True}, "must return (value, gradient)"),
        (lambda a, b: np.sum(a * b), [x3, x3], {"gradient": lambda a, b: b}, "must be a tuple"),
        (lambda a, b: np.sum(a * b), [x3, x3], {"gradient": lambda a, b: {"a": b}}, "lacks b"),
        (
            lambda p: np.sum(p["a"]),
            [{"a": x3}],
            {"gradient": lambda p: {}},
            "no entry for p['a']",
        ),
    ],
)
def test_what_cannot_be_right_says_why(f, args, options, message):
    report = tg.check_grad(f, *args, **options)
    assert not report
    assert message in str(report)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_with_an_entry_that_is_no_number(bad):
    report = tg.check_grad(cubes, x3, gradient=lambda x: 3 * x**2 * factors(3, 1, bad))
    assert named(report) == {("x", (1,))}
    assert verdicts(report) == ["OK", "WRONG", "OK"]
    assert not explanations(report)


def test_what_is_no_problem_is_a_note():
    empty = tg.assert_grad(lambda a, b: np.sum(a**2) + np.sum(b), x3, np.zeros((0, 2)))
    assert "b has zero elements" in empty.notes
    unread = tg.assert_grad(lambda a, b: np.sum(a**2), x3, x3)
    assert "the outputs do not depend on b here" in unread.notes


def test_a_function_that_changes_what_it_reads():
    state = {"k": 1.0}

    def f(x):
        state["k"] += 1e-3
        return np.sum(x) * state["k"]

    report = tg.check_grad(f, x3, gradient=np.ones_like)
    assert "not deterministic" in str(report)


# Nothing is left behind.


def bits(*things):
    return [None if a is None else np.asarray(a).tobytes() for a in things]


@pytest.mark.parametrize("fails_at", [None, 1, 2, 9, 40], ids=str)
def test_inputs_gradients_and_tapes_are_as_before(fails_at):
    net = tg.nn.MLP((2, 4, 3), "tanh", rng=0)
    params = list(net.parameters())
    recorded = tg.cross_entropy(net(X), y)
    tg.cross_entropy(net(X[:3]), y[:3]).backward()
    frozen = tg.Tensor(x3)
    extra = x3.copy()
    everything = [X, y, extra, frozen.data, *(a for p in params for a in (p.data, p.grad))]
    before = bits(*everything)
    arrays = [p.data for p in params]
    calls = 0

    def f(*p):
        nonlocal calls
        calls += 1
        if fails_at and calls >= fails_at:
            raise KeyboardInterrupt("by chance")
        return tg.cross_entropy(net(X) + p[-2] * p[-1], y)

    if fails_at is None:
        tg.assert_grad(f, *params, extra, frozen)
    else:
        with pytest.raises(KeyboardInterrupt, match="by chance"):
            tg.check_grad(f, *params, extra, frozen)
    after = [X, y, extra, frozen.data, *(a for p in params for a in (p.data, p.grad))]
    assert bits(*after) == before
    assert all(p.requires_grad for p in params)
    for p, array in zip(params, arrays, strict=True):
        assert np.shares_memory(p.data, array)
        p.grad = None
    recorded.backward()
    kept = [p.grad for p in params]
    for p in params:
        p.grad = None
    tg.cross_entropy(net(X), y).backward()
    assert bits(*kept) == bits(*(p.grad for p in params))


def test_a_function_that_takes_its_arguments_apart():
    p = {"W": x43.copy(), "more": [x3.copy(), 2.0]}
    inside = p["more"]

    def f(p):
        v, k = p.pop("more")
        return k * np.sum(p["W"] @ v)

    report = tg.check_grad(f, p, gradient=lambda p: p)
    assert "writes to its input p" in str(report)
    assert p["more"] is inside
    assert bits(p["W"], *inside) == bits(x43, x3, 2.0)


def test_the_same_seed_gives_the_same_bits():
    def run(rng):
        found = tg.check_grad(np.tanh, x43, rng=rng).to_dict()
        del found["seconds"]
        return found

    assert run(0) == run(0) == run(np.random.default_rng(0))
    assert run(0) != run(1)
    large = [check_big(factors(BIG.shape, (3, 4), 1.1), rng=5).to_dict() for _ in range(2)]
    assert large[0]["inputs"] == large[1]["inputs"]


@pytest.mark.parametrize(
    ("f", "x", "gradient"),
    [
        (np.log, 1e-3, None),
        (np.sqrt, 0.0, None),
        (np.sqrt, 0.0, lambda x: 0.5 / np.sqrt(x)),
        (lambda x: 1 / x, 1e-9, None),
        (np.exp, 709.0, None),
        (np.sum, x3, lambda x: np.full(3, np.inf)),
        (np.sum, x3, lambda x: np.array([1, 1e308, np.nan])),
        (lambda x: np.sum(np.log(x)), np.float32([1e-3, 1]), None),
    ],
)
def test_no_warning_leaks_and_no_state_of_numpy_is_changed(f, x, gradient):
    random_state = np.random.get_state()[1].tobytes()
    with warnings.catch_warnings(), np.errstate(divide="warn", over="warn", invalid="warn"):
        warnings.simplefilter("error")
        state = np.geterr()
        tg.check_grad(f, x, gradient=gradient)
        assert np.geterr() == state
    assert np.random.get_state()[1].tobytes() == random_state


@pytest.mark.parametrize("fails_at", [None, 1, 9], ids=str)
def test_the_recording_mode_is_as_before(fails_at):
    calls = 0
    x = tg.Tensor(x3, requires_grad=True)

    def f(x):
        nonlocal calls
        calls += 1
        if fails_at and calls >= fails_at:
            raise KeyboardInterrupt("by chance")
        return np.sum(np.tanh(x))

    def run():
        nonlocal calls
        calls = 0
        if fails_at is None:
            tg.assert_grad(f, x)
        else:
            with pytest.raises(KeyboardInterrupt):
                tg.check_grad(f, x)

    with tg.no_grad():
        run()
        assert not (x * x).requires_grad
    run()
    assert (x * x).requires_grad


@pytest.mark.parametrize(
    "x", [[0.202, -1.099, -1.074], [0.202, -1.099, -1.0741], [0.2, -1.1, -1.0875]]
)
def test_a_kink_between_the_steps_is_no_mistake(x):
    f = lambda x: np.sum(np.sort(x) * np.array([1.0, 2.0, 3.0]))  # noqa: E731
    assert not tg.check_grad(f, np.array(x)).wrong


@pytest.mark.parametrize("seed", range(5))
def test_rounding_in_the_gradient_of_a_constant_is_no_mistake(seed):
    Q = np.array([[-0.02, 0.734], [-1.71, -0.104]])
    assert not tg.check_grad(lambda x: np.mean(np.linalg.qr(x)[0] ** 2), Q, rng=seed).wrong


@pytest.mark.parametrize("off", [0.0, 1e-5])
def test_an_output_that_is_but_a_rounding_error_does_not_drown_the_others(off):
    def f(x):
        return np.stack([x * x, 3 * x, 4e-17 * np.cos(1e9 * x)])

    def jacobian(x):
        return np.array([2 * x * (1 + off), 3.0, 0.0])

    # Of the size and the kind of such errors, the same on every machine.
    assert bool(tg.check_grad(f, 5.0, gradient=jacobian, rng=0)) == (off == 0)
