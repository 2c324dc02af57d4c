"""tg.vjp, tg.jvp, tg.jacobian, tg.hessian, tg.hvp."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ops import CASES

import tinygrad_edu as tg

A = np.array([[2.0, -1.0, 0.5], [0.25, 3.0, 1.0]])
X = np.array([0.5, -1.5, 2.0])


def layer(x):
    return np.tanh(A @ x) * x[0]


def layer_jacobian(x):
    t = np.tanh(A @ x)
    return (1 - t**2)[:, None] * A * x[0] + np.outer(t, [1, 0, 0])


def cubic(x):
    return np.sum(x**3) * x[0]


def cubic_hessian(x):
    one = np.array([1.0, 0, 0])
    return 6 * np.diag(x) * x[0] + np.outer(3 * x**2, one) + np.outer(one, 3 * x**2)


def test_the_jacobian_is_the_formula():
    np.testing.assert_allclose(tg.jacobian(layer)(X), layer_jacobian(X), rtol=1e-13)


def test_products_with_the_jacobian_are_products_with_the_formula():
    J = layer_jacobian(X)
    y, pullback = tg.vjp(layer, X)
    np.testing.assert_array_equal(y, layer(X))
    assert type(y) is np.ndarray
    for g in (np.array([1.0, -2.0]), np.array([0.5, 7.0])):
        (gx,) = pullback(g)
        np.testing.assert_allclose(gx, g @ J, rtol=1e-13)
    v = np.array([1.0, -3.0, 0.25])
    for arguments in ((X, v), ((X,), (v,))):
        y, dy = tg.jvp(layer, *arguments)
        np.testing.assert_array_equal(y, layer(X))
        np.testing.assert_allclose(dy, J @ v, rtol=1e-13)


def test_the_hessian_and_its_product_are_the_formula():
    H = cubic_hessian(X)
    np.testing.assert_allclose(tg.hessian(cubic)(X), H, rtol=1e-13)
    v = np.array([1.0, -3.0, 0.25])
    np.testing.assert_allclose(tg.hvp(cubic, X, v), H @ v, rtol=1e-13)
    (product,) = tg.hvp(cubic, (X,), (v,))
    np.testing.assert_allclose(product, H @ v, rtol=1e-13)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@settings(max_examples=settings().max_examples // 8)
@given(data=st.data())
def test_all_rows_at_once_are_the_rows_one_by_one(case, data):
    arrays, parameters = data.draw(case.arguments)
    f = lambda *xs: case.call(*xs, **parameters)  # noqa: E731
    everywhere = tuple(range(len(arrays)))
    with np.errstate(all="ignore"):
        y, pullback = tg.vjp(f, *arrays)
        whole = tg.jacobian(f, everywhere)(*arrays)
        for row in np.ndindex(np.shape(y)):
            g = np.zeros_like(y)
            g[row] = 1
            for x, J, gx in zip(arrays, whole, pullback(g), strict=True):
                assert J.shape == (*np.shape(y), *x.shape)
                np.testing.assert_allclose(J[row], gx, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.tanh(np.outer(np.linspace(-1, 1, 20), x).sum(axis=1)) * x[1],
        lambda x: np.concatenate([np.exp(x[0] * np.linspace(0, 1, 30)), x[1:] * 3]),
        lambda x: np.linspace(0, 1, 50).reshape(5, 10) * x[0] + x[2],
        lambda x: np.ones(50),
    ],
)
def test_few_inputs_go_forward_and_give_the_same(f):
    J = tg.jacobian(f)(X)
    y, pullback = tg.vjp(f, X)
    assert J.shape == (*np.shape(y), 3)
    for row in np.ndindex(np.shape(y)):
        g = np.zeros_like(y)
        g[row] = 1
        np.testing.assert_allclose(J[row], pullback(g)[0], rtol=1e-13, atol=1e-15)


def tree_function(p, c):
    return {"a": p["w"] ** 2 * c, "b": (np.sum(p["w"]), p["s"] * c)}


P = {"w": np.array([1.0, 2.0]), "s": 2.0}


def test_the_jacobian_has_the_structure_of_the_outputs_and_in_it_of_the_arguments():
    J = tg.jacobian(tree_function, argnums=(0, 1))(P, 3.0)
    by_p, by_c = J["a"]
    np.testing.assert_array_equal(by_p["w"], [[6, 0], [0, 12]])
    np.testing.assert_array_equal(by_p["s"], [0, 0])
    np.testing.assert_array_equal(by_c, [1, 4])
    (first, second) = J["b"]
    np.testing.assert_array_equal(first[0]["w"], [1, 1])
    assert (first[0]["s"], first[1]) == (0, 0)
    assert (second[0]["s"], second[1]) == (3, 2)
    assert tg.jacobian(tree_function)(P, 3.0)["b"][1]["s"] == 3


def test_products_take_and_give_structures():
    v = ({"w": np.array([1.0, 0.0]), "s": 1.0}, 1.0)
    y, dy = tg.jvp(tree_function, (P, 3.0), v)
    np.testing.assert_array_equal(y["a"], [3, 12])
    np.testing.assert_array_equal(dy["a"], [7, 4])
    assert dy["b"] == (1, 5)
    y, pullback = tg.vjp(tree_function, P, 3.0)
    assert y["b"] == (3, 6)
    gp, gc = pullback({"a": np.array([1.0, 10.0]), "b": (100.0, 1000.0)})
    np.testing.assert_array_equal(gp["w"], [106, 220])
    assert gp["s"] == 3000
    assert gc == 1 + 40 + 2000
    assert isinstance(gc, np.float64)


def test_the_hessian_of_a_structure_is_a_structure_in_a_structure():
    f = lambda p: np.sum(p["w"] ** 3) * p["s"]  # noqa: E731
    H = tg.hessian(f)(P)
    np.testing.assert_array_equal(H["w"]["w"], [[12, 0], [0, 24]])
    np.testing.assert_array_equal(H["w"]["s"], [3, 12])
    np.testing.assert_array_equal(H["s"]["w"], [3, 12])
    assert H["s"]["s"] == 0
    product = tg.hvp(f, P, {"w": np.array([1.0, 2.0]), "s": 2.0})
    np.testing.assert_array_equal(product["w"], [12 + 6, 48 + 24])
    assert product["s"] == 27


def test_all_of_them_can_be_differentiated():
    x, ones = np.array([1.0, 2.0]), np.ones(2)
    cube = lambda z: z**3  # noqa: E731
    for f in (
        lambda x: np.sum(tg.jacobian(cube)(x)),
        lambda x: np.sum(tg.jvp(cube, x, ones)[1]),
        lambda x: np.sum(tg.vjp(cube, x)[1](ones)[0]),
        lambda x: tg.hvp(lambda z: np.sum(z**4) / 4, x, ones) @ ones,
        lambda x: np.sum(tg.hessian(lambda z: np.sum(z**4) / 4)(x)),
    ):
        np.testing.assert_allclose(tg.grad(f)(x), 6 * x, rtol=1e-14)
    third = tg.jacobian(tg.jacobian(tg.jacobian(cube)))(x)
    assert third.shape == (2, 2, 2, 2)
    assert third[1, 1, 1, 1] == 6
    assert np.sum(third) == 12


def test_a_pullback_is_differentiated_by_its_cotangent():
    def through(g):
        _, pullback = tg.vjp(lambda z: (z**3, z[0] * z[1]), np.array([1.0, 2.0]))
        (gz,) = pullback((g, g[0] * 2))
        return np.sum(gz * np.array([1.0, 10.0]))

    # gz = (3 g0 + 4 g0, 12 g1 + 2 g0)
    np.testing.assert_allclose(tg.grad(through)(np.ones(2)), [7 + 20, 120])


def test_the_value_stays_on_an_outer_tape():
    def f(x):
        y, dy = tg.jvp(np.sin, x, np.ones(2))
        z, _ = tg.vjp(lambda x: x * x, x)
        return np.sum(y * dy + z)

    x = np.array([0.3, 1.1])
    np.testing.assert_allclose(tg.grad(f)(x), np.cos(2 * x) + 2 * x, rtol=1e-14)


@pytest.mark.parametrize("shape", [(), (0,), (2, 3), (3, 0)])
def test_shapes_of_constants_and_of_nothing(shape):
    assert tg.jacobian(lambda x: np.zeros(shape))(X).shape == (*shape, 3)
    assert tg.jacobian(lambda x: np.zeros(shape) * x[0])(X).shape == (*shape, 3)
    assert tg.jacobian(lambda x: np.sum(x) * 2)(np.ones(shape)).shape == shape
    y, dy = tg.jvp(lambda x: np.zeros(shape), X, X)
    assert np.shape(dy) == np.shape(y) == shape


def test_dtypes_are_those_of_the_arguments():
    x = np.float32([1.0, 2.0])
    assert tg.jacobian(lambda x: x**2)(x).dtype == np.float32
    assert tg.hessian(lambda x: np.sum(x**2))(x).dtype == np.float32
    assert tg.jvp(lambda x: x**2, x, x)[1].dtype == np.float32
    assert tg.hvp(lambda x: np.sum(x**2), x, x).dtype == np.float32
    many = tg.jacobian(lambda x: np.float32(np.arange(50)) * x[0])(x)
    assert many.dtype == np.float32


def test_integers_and_booleans_among_the_outputs_are_constant():
    J = tg.jacobian(lambda x: (x**2, np.argmax(x), x > 0))(X)
    np.testing.assert_array_equal(J[0], np.diag(2 * X))
    assert not np.any(J[1])
    assert not np.any(J[2])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: tg.vjp(layer, X)[1](np.ones(3)), ValueError, r"g has shape \(3,\).*has \(2,\)"),
        (lambda: tg.vjp(layer, X)[1]((np.ones(2), 1.0)), ValueError, "structure"),
        (lambda: tg.vjp(layer, X)[1](1j * np.ones(2)), TypeError, "real numbers"),
        (lambda: tg.jvp(layer, X, np.ones(2)), ValueError, r"vs\[0\] has shape \(2,\)"),
        (lambda: tg.jvp(layer, (X,), (X, X)), ValueError, "structure"),
        (lambda: tg.hvp(cubic, X, np.ones(2)), ValueError, r"vs\[0\] has shape \(2,\)"),
        (lambda: tg.hvp(layer, X, X), TypeError, "single real number"),
        (lambda: tg.hessian(layer)(X), TypeError, "single real number"),
        (lambda: tg.jacobian(layer)(np.arange(3)), TypeError, "floating-point"),
        (lambda: tg.jacobian(lambda x: "text")(X), TypeError, r"must return numbers.*text"),
        (lambda: tg.jacobian(lambda x: None)(X), TypeError, r"must return numbers.*None"),
        (lambda: tg.vjp(lambda x: None, X), TypeError, r"must return numbers.*None"),
        (lambda: tg.jvp(lambda x: "text", X, X), TypeError, r"must return numbers.*text"),
        (lambda: tg.jacobian(3.0), TypeError, "of a function"),
        (lambda: tg.vjp(3.0, X), TypeError, "of a function"),
        (lambda: tg.jacobian(layer, argnums=1)(X), TypeError, "argnums=1"),
    ],
)
def test_bad_calls_say_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_large_jacobians_are_made_in_parts(monkeypatch):
    monkeypatch.setattr("tinygrad_edu.transforms._STACK_SIZE", 8)
    np.testing.assert_allclose(tg.jacobian(layer)(X), layer_jacobian(X), rtol=1e-13)
    x = np.linspace(-1, 1, 7)
    np.testing.assert_allclose(tg.jacobian(np.sin)(x), np.diag(np.cos(x)), rtol=1e-14)
    tall = tg.jacobian(lambda x: np.sin(np.outer(x, np.arange(9.0))).ravel())(x[:2])
    np.testing.assert_allclose(
        tall[:9, 0], np.arange(9.0) * np.cos(x[0] * np.arange(9.0)), rtol=1e-13
    )


def test_the_tape_of_a_pullback_has_its_own_memory():
    x = np.array([1.0, 2.0])
    y, pullback = tg.vjp(np.exp, x)
    y[0] = 0
    x[:] = 0
    np.testing.assert_allclose(pullback(np.ones(2))[0], np.exp([1, 2]), rtol=1e-15)
    y, pullback = tg.vjp(lambda x: x, np.float32([1, 2]))
    g = np.array([3, 4])
    (gx,) = pullback(g)
    assert gx.dtype == np.float32
    assert not np.shares_memory(gx, g)
    y, pullback = tg.vjp(lambda x: np.where(x > 0, np.sqrt(x), 0.0), 0.0)
    assert pullback(1.0) == (0.0,)
    assert pullback(1) == (0.0,)
