"""Every line of the rule book: value, first and second derivative, dtype, memory."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import numpy as np
import pytest
from cases import assert_right
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ops import CASES

import tinygrad_edu as tg
from tinygrad_edu import calculus
from tinygrad_edu.rules import COMPOSITIONS, CONSTANTS, PRIMITIVES, Primitive, derivative

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def the_book():
    """Everything that has a rule: NumPy's functions and the primitives of our own."""
    modules = [
        importlib.import_module(f"{calculus.__name__}.{module.name}")
        for module in pkgutil.iter_modules(calculus.__path__)
    ]
    ours = {v for module in modules for v in vars(module).values() if isinstance(v, Primitive)}
    return {*PRIMITIVES, *COMPOSITIONS, *(v for v in ours if v.rules or v.every)}


def test_every_line_of_the_book_has_a_case():
    assert the_book() - {case.op for case in CASES} == set()


@every_case
@settings(max_examples=settings().max_examples // 4)
@given(data=st.data())
def test_value_is_numpys_and_backward_owns_what_it_returns(case, data):
    arrays, parameters = data.draw(case.arguments)
    expected = case.call(*arrays, **parameters)
    tensors = [tg.Tensor(x, requires_grad=True) for x in arrays]
    y = case.call(*tensors, **parameters)
    assert_value_is_numpys(case, y, expected)
    assert_backward_changes_nothing(arrays, tensors, y)


def assert_value_is_numpys(case, y, expected):
    assert y.dtype == expected.dtype
    np.testing.assert_array_equal(y.data, expected, strict=True)
    if case.op not in COMPOSITIONS and case.op is not tg.tanh:
        used = {entry.primitive for entry in tg.Tape.of(y)}
        assert PRIMITIVES.get(case.op, case.op) in used


def assert_backward_changes_nothing(arrays, tensors, y):
    """And its gradients share no memory, with each other or with anything else."""
    seed = np.random.default_rng(0).normal(size=y.shape)
    kept = seed.copy()
    value = y.data.copy()
    y.backward(seed)
    np.testing.assert_array_equal(seed, kept)
    np.testing.assert_array_equal(y.data, value)
    for x, tensor in zip(arrays, tensors, strict=True):
        np.testing.assert_array_equal(tensor.data, x)
        assert type(tensor.grad) is np.ndarray
        assert tensor.grad.flags.writeable
    owned = [t.grad for t in tensors]
    others = [*(t.data for t in tensors), seed, y.data]
    for i, gradient in enumerate(owned):
        assert not any(np.shares_memory(gradient, other) for other in (*owned[:i], *others))


@every_case
@settings(max_examples=settings().max_examples // 5)
@given(data=st.data(), seed=st.integers(0, 1000))
def test_first_derivative(case, data, seed):
    arrays, parameters = data.draw(case.arguments)
    # So many examples that have something to check: a case without any is an error.
    assume(assert_right(lambda *xs: case.call(*xs, **parameters), arrays, seed))


@every_case
@settings(max_examples=settings().max_examples // 13)
@given(data=st.data(), seed=st.integers(0, 1000))
def test_second_derivative(case, data, seed):
    arrays, parameters = data.draw(case.arguments)
    assert_right(lambda *xs: case.call(*xs, **parameters), arrays, seed, order=2)


@every_case
@settings(max_examples=settings().max_examples // 4)
@given(data=st.data())
def test_float32_stays_float32(case, data):
    arrays, parameters = data.draw(case.arguments)
    gradients = {}
    for dtype in (np.float32, np.float64):
        tensors = [tg.Tensor(x.astype(np.float32).astype(dtype), True) for x in arrays]
        y = case.call(*tensors, **parameters)
        assert y.dtype == dtype
        y.backward(np.random.default_rng(0).normal(size=y.shape))
        assert all(t.grad.dtype == dtype for t in tensors)
        gradients[dtype] = [t.grad for t in tensors]
    for single, double in zip(*gradients.values(), strict=True):
        scale = np.abs(double).max(initial=1.0)
        np.testing.assert_allclose(single, double, rtol=0, atol=2e-5 * scale)


@every_case
@settings(max_examples=settings().max_examples // 10)
@given(data=st.data())
def test_other_dtypes_work_where_they_do_in_numpy(case, data):
    arrays, parameters = data.draw(case.arguments)
    for dtype in (np.float16, np.longdouble):
        assert_dtype_works_as_in_numpy(case, arrays, parameters, dtype)


def assert_dtype_works_as_in_numpy(case, arrays, parameters, dtype):
    with np.errstate(all="ignore"):
        try:
            expected = case.call(*(x.astype(dtype) for x in arrays), **parameters)
        except TypeError:
            expected = None  # NumPy's linear algebra has no such routines
        tensors = [tg.Tensor(x.astype(dtype), requires_grad=True) for x in arrays]
        if expected is None:
            with pytest.raises(TypeError):
                case.call(*tensors, **parameters)
            return
        y = case.call(*tensors, **parameters)
        assert y.dtype == expected.dtype
        np.testing.assert_array_equal(y.data, expected)
        g = np.random.default_rng(0).normal(size=y.shape)
        y.backward(g)
        doubles = [tg.Tensor(x, requires_grad=True) for x in arrays]
        case.call(*doubles, **parameters).backward(g)
    for single, double in zip(tensors, doubles, strict=True):
        assert single.grad.dtype == dtype
        if dtype == np.longdouble:
            scale = np.abs(double.grad).max(initial=1.0)
            np.testing.assert_allclose(single.grad, double.grad, rtol=0, atol=1e-9 * scale)


@given(data=st.data())
def test_a_float32_leaf_gets_a_float32_gradient_whatever_it_meets(data):
    x = tg.Tensor(np.float32([1.5, -2.0]), requires_grad=True)
    other = data.draw(st.sampled_from([np.float64([1.0, 2.0]), np.float64(3.0), [1, 2]]))
    y = np.sum(x * other)
    assert y.dtype == np.result_type(np.float32, np.asarray(other).dtype)
    y.backward()
    assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad, np.broadcast_to(other, 2))


def test_astype_casts_the_gradient_back():
    x = tg.Tensor(np.float32([1.5, -2.0]), requires_grad=True)
    y = x.astype(np.float64)
    assert y.dtype == np.float64
    y.backward(np.array([0.1, 0.3]))
    assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad, np.float32([0.1, 0.3]))
    assert not x.astype(int).requires_grad


def test_python_numbers_do_not_widen_float32():
    x = tg.Tensor(np.float32([1.0, 2.0]), requires_grad=True)
    y = (2.5 * x + 1) ** 2 / 3 - 0.1
    assert y.dtype == np.float32


# The second argument, of those that take one.
SECOND = {
    np.argpartition: 1,
    np.digitize: np.array([-1.0, 0.0, 1.0]),
    np.searchsorted: np.array([0.5, -3.0]),
    np.can_cast: np.float32,
    np.lexsort: None,
}
OF_TWO = (
    *(np.allclose, np.isclose, np.array_equal, np.array_equiv, np.isin, np.result_type),
    *(np.shares_memory, np.may_share_memory),
)


def arguments_for(function, x, y):
    if function in SECOND:
        first = x[0] if function is np.searchsorted else x
        return (first,) if SECOND[function] is None else (first, SECOND[function])
    return (x, y) if function in OF_TWO or getattr(function, "nin", 1) == 2 else (x,)


# Of whole numbers and truth values.
OF_BITS = {np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert, np.unravel_index}
# What np.empty_like holds is anybody's guess, and NumPy's files are not read here.
NOT_COMPARED = {np.empty_like, np.save, np.savetxt, np.savez, np.savez_compressed, *OF_BITS}


@pytest.mark.parametrize(
    "function", sorted(CONSTANTS - NOT_COMPARED, key=str), ids=lambda f: f.__name__
)
def test_constant_functions_give_plain_arrays(function):
    x, y = np.array([[0.3, -1.2], [2.0, 0.0]]), np.array([[0.3, 2.0], [-1.2, 3.0]])
    tensors = tg.Tensor(x, requires_grad=True), tg.Tensor(y, requires_grad=True)
    expected = function(*arguments_for(function, x, y))
    actual = function(*arguments_for(function, *tensors))
    assert type(actual) is type(expected)
    if isinstance(expected, tuple):
        assert [type(part) for part in actual] == [type(part) for part in expected]
    np.testing.assert_array_equal(actual, expected)


def test_operations_on_bits_give_plain_arrays():
    x, y = np.array([1, 2, 7]), np.array([3, 0, 5])
    a, b = tg.Tensor(x), tg.Tensor(y)
    for actual, expected in ((a & b, x & y), (a | y, x | y), (x ^ b, x ^ y), (~a, ~x)):
        assert type(actual) is np.ndarray
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("op", ["<", "<=", ">", ">=", "==", "!="])
def test_comparisons_give_plain_booleans(op):
    t = tg.Tensor([1.0, 2.0, 3.0], requires_grad=True)
    for other in (2.0, np.array([3.0, 2.0, 1.0]), tg.Tensor([3.0, 2.0, 1.0]), [3.0, 2.0, 1.0]):
        plain = other.data if isinstance(other, tg.Tensor) else np.asarray(other)
        expected = eval(f"a {op} b", {"a": t.data, "b": plain})
        actual = eval(f"a {op} b", {"a": t, "b": other})
        assert type(actual) is np.ndarray
        np.testing.assert_array_equal(actual, expected)
        np.testing.assert_array_equal(
            eval(f"b {op} a", {"a": t, "b": other}),
            eval(f"b {op} a", {"a": t.data, "b": plain}),
        )


def numpy_functions():
    def has_names(function):
        try:
            return function not in (np.dot, np.where) and bool(inspect.signature(function))
        except ValueError:
            return False

    return [f for f in PRIMITIVES if not isinstance(f, np.ufunc) and has_names(f)]


@pytest.mark.parametrize("function", numpy_functions(), ids=lambda f: f.__name__)
def test_rules_name_the_parameters_as_numpy_does_and_in_its_order(function):
    numpys = list(inspect.signature(function).parameters)[1:]
    # NumPy 2.0 has another name for it.
    numpys = ["shape" if name == "newshape" else name for name in numpys]
    ours = list(PRIMITIVES[function].parameters)[1:]
    assert ours == numpys[: len(ours)]


@pytest.fixture
def sinh():
    """np.sinh, without its rule."""
    primitive = PRIMITIVES.pop(np.sinh)
    yield np.sinh
    PRIMITIVES[np.sinh] = primitive


def test_a_new_rule_is_all_that_a_numpy_function_needs(sinh):
    x = tg.Tensor([0.5, 1.0], requires_grad=True)
    with pytest.raises(NotImplementedError, match=r"np\.sinh has no derivative rule.*derivative"):
        sinh(x)
    derivative(sinh, lambda g, y, x: g * np.cosh(x))
    sinh(x).backward(np.array([1.0, 10.0]))
    np.testing.assert_array_equal(x.grad, np.cosh([0.5, 1.0]) * [1.0, 10.0])


def test_a_rule_that_is_written_again_is_for_the_same_operation(sinh):
    derivative(sinh, lambda g, y, x: g * 0)
    primitive = PRIMITIVES[sinh]
    derivative(sinh, lambda g, y, x: g * np.cosh(x))
    assert PRIMITIVES[sinh] is primitive


def test_lists_are_arrays_to_the_operations_of_our_own():
    np.testing.assert_array_equal(tg.softmax([0.0, 0.0]), [0.5, 0.5])
    np.testing.assert_array_equal(tg.sigmoid([0.0]), [0.5])


def test_an_operation_of_ones_own_may_hold_any_code():
    @tg.primitive
    def collatz_length(x):
        return np.array([len(bin(int(v))) * v for v in x])

    collatz_length.derivative(lambda g, y, x: g * np.array([len(bin(int(v))) for v in x]))
    x = tg.Tensor([5.0, 9.0], requires_grad=True)
    y = collatz_length(x)
    np.testing.assert_array_equal(y.data, collatz_length(np.array([5.0, 9.0])))
    y.backward(np.array([1.0, -2.0]))
    np.testing.assert_array_equal(x.grad, [5.0, -12.0])


def test_what_the_forward_pass_kept_is_there_for_rules_that_are_not_recorded():
    @tg.primitive
    def cube(x):
        return x**3

    given = []

    def rule(g, y, x, kept=None):
        given.append(kept is not None)
        return g * 3 * (x * x if kept is None else kept)

    cube.derivative(rule, keep=lambda x: (x**3, x * x))
    x = tg.Tensor([2.0, 3.0], requires_grad=True)
    y = np.sum(cube(x))
    y.backward(retain_graph=True)
    np.testing.assert_array_equal(x.grad, [12.0, 27.0])
    x.zero_grad()
    y.backward(create_graph=True)
    gradient = x.grad
    x.zero_grad()
    np.sum(gradient).backward()
    np.testing.assert_array_equal(x.grad, [12.0, 18.0])
    assert given == [True, False]
