"""tg.grad, tg.value_and_grad and tg.record of plain NumPy code."""

from __future__ import annotations

from collections import namedtuple

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_edu as tg

Pair = namedtuple("Pair", "first second")
arrays = hnp.arrays(
    float, hnp.array_shapes(max_dims=2, max_side=3), elements=st.floats(-2, 2), fill=st.nothing()
)
trees = st.recursive(
    arrays | st.floats(-2, 2),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=5,
)


def leaves(tree):
    if isinstance(tree, dict):
        return [leaf for item in tree.values() for leaf in leaves(item)]
    if isinstance(tree, (tuple, list)):
        return [leaf for item in tree for leaf in leaves(item)]
    return [tree]


def structure(tree):
    if isinstance(tree, dict):
        return {key: structure(item) for key, item in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree).__name__, [structure(item) for item in tree]
    return np.shape(tree)


@given(tree=trees)
def test_gradients_have_the_structure_of_the_argument(tree):
    def f(tree):
        return sum(((i + 1.0) * np.sum(np.tanh(x) * x) for i, x in enumerate(leaves(tree))), 0.0)

    value, gradient = tg.value_and_grad(f)(tree)
    assert structure(gradient) == structure(tree)
    assert value == f(tree)
    for i, (x, g) in enumerate(zip(leaves(tree), leaves(gradient), strict=True)):
        expected = (i + 1) * (np.tanh(x) + x * (1 - np.tanh(x) ** 2))
        np.testing.assert_allclose(g, expected, rtol=1e-12, atol=1e-12)


def test_argnums_choose_the_arguments():
    def f(x, y, *, power=1.0):
        return x**power * y

    assert tg.grad(f)(2.0, 3.0, power=2.0) == 12.0
    assert tg.grad(f, argnums=1)(2.0, 3.0, power=2.0) == 4.0
    assert tg.grad(f, argnums=-1)(2.0, 3.0) == 2.0
    assert tg.grad(f, argnums=(1, 0))(2.0, 3.0) == (2.0, 3.0)
    with pytest.raises(TypeError, match="argnums=2 of a call with 2 positional arguments"):
        tg.grad(f, argnums=2)(2.0, 3.0)


def test_value_and_gradient_of_numbers_are_numpy_numbers():
    value, gradient = tg.value_and_grad(lambda x: x * x)(3.0)
    assert (type(value), type(gradient)) == (np.float64, np.float64)
    gradient = tg.grad(lambda x: np.sum(x * x))(np.array(3.0))
    assert type(gradient) is np.ndarray


@pytest.mark.parametrize(
    ("order", "expected"), [(1, 4 * 1.5**3), (2, 12 * 1.5**2), (3, 24 * 1.5), (4, 24.0), (5, 0.0)]
)
def test_derivatives_of_every_order(order, expected):
    f = lambda x: x**4  # noqa: E731
    for _ in range(order):
        f = tg.grad(f)
    assert f(1.5) == pytest.approx(expected, rel=1e-14)


@given(x=st.floats(-2, 2), y=st.floats(-2, 2))
def test_an_inner_variable_is_not_the_outer_one(x, y):
    # d/dx [x * d/dy (x * y**2)] = d/dx [2 * x**2 * y]
    assert tg.grad(lambda x: x * tg.grad(lambda y: x * y * y)(y))(x) == pytest.approx(4 * x * y)
    # Here y is x itself: d/dx [x * 2 * x * x]
    assert tg.grad(lambda x: x * tg.grad(lambda y: x * y * y)(x))(x) == pytest.approx(6 * x * x)


def test_the_gradient_of_a_penalty_on_a_gradient():
    net = tg.nn.MLP((2, 5, 1), "tanh", rng=0)
    x = np.random.default_rng(0).normal(size=(4, 2))

    def penalty(*_):
        g = tg.grad(lambda x: np.sum(net(x)))(x)
        return np.sum(g * g)

    # The last bias moves the output, not its slope: no gradient arrives there.
    tg.assert_grad(penalty, *net.parameters())
    penalty().backward()
    assert net.parameters()[0].grad.any()
    assert net.parameters()[-1].grad is None


def test_a_constant_has_gradient_zero_and_an_unused_argument_too():
    assert tg.grad(lambda x: 3.0)(2.0) == 0.0
    gradient = tg.grad(lambda p: p["a"] * 2)({"a": 1.0, "b": np.ones((2, 3), np.float32)})
    assert gradient["b"].dtype == np.float32
    np.testing.assert_array_equal(gradient["b"], np.zeros((2, 3)))


def test_arguments_are_not_changed_and_gradients_are_the_callers_own():
    x = np.array([1.0, 2.0])
    g = tg.grad(np.sum)(x)
    g += 1
    np.testing.assert_array_equal(x, [1.0, 2.0])
    np.testing.assert_array_equal(tg.grad(np.sum)(x), [1.0, 1.0])


def test_gradients_are_recorded_even_inside_no_grad():
    with tg.no_grad():
        assert tg.grad(lambda x: x * x)(3.0) == 6.0


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (3, r"x is 3, of dtype int64.*write 3\.0"),
        ([1.0, 2], r"x\[1\] is 2"),
        ({"w": np.arange(3)}, r"x\['w'\] is array\(\[0, 1, 2\]\)"),
        (1j, r"dtype complex128"),
        ("text", r"x is 'text'"),
        (None, r"x is None"),
    ],
)
def test_arguments_that_have_no_gradient_are_named(argument, message):
    with pytest.raises(TypeError, match=message):
        tg.grad(lambda x: 0.0)(argument)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda x: x, r"it returned shape \(2,\)"),
        (lambda x: (np.sum(x), 1.0), "single real number"),
        (lambda x: (np.sum(x),), "single real number"),
        (lambda x: [np.sum(x)], "single real number"),
        (lambda x: "no", "'no'"),
        (lambda x: None, "None"),
        (lambda x: 1j, "1j"),
    ],
)
def test_results_that_are_not_one_number_are_refused(result, message):
    with pytest.raises(TypeError, match=message):
        tg.grad(result)(np.ones(2))


def test_record_names_the_inputs_after_the_arguments():
    tape = tg.record(lambda p, x: np.dot(x, p["W"]), {"W": np.ones((2, 1))}, np.ones((3, 2)))
    assert [entry.name for entry in tape if entry.primitive is None] == ["p['W']", "x"]


def test_record_leaves_integers_alone_and_refuses_what_it_cannot_record():
    labels = np.array([0, 1])
    tape = tg.record(tg.cross_entropy, np.zeros((2, 2)), labels)
    assert [entry.name for entry in tape] == ["logits", "labels", None]
    assert [entry.requires_grad for entry in tape] == [True, False, True]
    with pytest.raises(ValueError, match="nothing was recorded"):
        tg.record(lambda x: 1.0, 2.0)


def test_the_backward_pass_is_on_the_tape_of_value_and_grad():
    def f(w):
        return np.sum(np.tanh(w))

    tape = tg.record(tg.value_and_grad(f), np.array([0.3, -0.7]))
    assert len(tape) > len(tg.record(f, np.array([0.3, -0.7])))
    value, gradient = tg.value_and_grad(f)(np.array([0.3, -0.7]))
    np.testing.assert_array_equal(tape.outputs[0].y, value)
    np.testing.assert_array_equal(tape.outputs[1].y, gradient)


def test_what_is_no_function_and_no_position_is_refused():
    with pytest.raises(TypeError, match=r"a gradient is of a function, got 3\.0"):
        tg.grad(3.0)
    with pytest.raises(TypeError, match="names the same of 2 arguments twice"):
        tg.grad(lambda x, y: x * y, argnums=(0, -2))(1.0, 2.0)
    with pytest.raises(TypeError, match="argnums must be a position"):
        tg.grad(np.sum, argnums="x")
    with pytest.raises(TypeError, match="pass what is differentiated by position"):
        tg.grad(lambda x: x)(x=2.0)
