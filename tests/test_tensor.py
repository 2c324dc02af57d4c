"""The Tensor itself: backward, accumulation, what is refused and how it says so."""

from __future__ import annotations

import array
import copy
import math
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import tinygrad_edu as tg


def leaf(*values, name=None):
    return tg.Tensor(np.array(values, float), requires_grad=True, name=name)


def test_gradients_accumulate_until_they_are_zeroed():
    x = leaf(1.0, 2.0)
    for times in (1, 2, 3):
        np.sum(x * x).backward()
        np.testing.assert_array_equal(x.grad, times * np.array([2.0, 4.0]))
    x.zero_grad()
    assert x.grad is None


def test_backward_on_an_input_itself():
    x = leaf(3.0)
    x.backward(np.array([5.0]))
    np.testing.assert_array_equal(x.grad, [5.0])


def test_backward_frees_the_tape_unless_told_otherwise():
    x = leaf(3.0)
    y = np.sum(x * x)
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_array_equal(x.grad, [12.0])
    with pytest.raises(RuntimeError, match=r"freed by an earlier backward.*retain_graph=True"):
        y.backward()
    np.testing.assert_array_equal(x.grad, [12.0])


def test_a_freed_part_is_refused_from_elsewhere_too():
    x = leaf(3.0)
    h = np.exp(x)
    np.sum(h).backward()
    with pytest.raises(RuntimeError, match="freed"):
        np.sum(h * 2).backward()


def test_create_graph_gives_gradients_that_can_be_differentiated():
    x = leaf(0.5, -1.0)
    np.sum(x**4).backward(create_graph=True)
    first = x.grad
    assert isinstance(first, tg.Tensor)
    np.testing.assert_allclose(first.data, 4 * x.data**3)
    x.zero_grad()
    np.sum(first * np.array([1.0, 2.0])).backward()
    np.testing.assert_allclose(x.grad, 12 * x.data**2 * [1.0, 2.0])


def test_a_gradient_that_is_a_tensor_is_differentiated_too():
    x, v = leaf(2.0), leaf(3.0)
    (x * x).backward(v, create_graph=True)
    np.sum(x.grad).backward()
    np.testing.assert_array_equal(v.grad, [4.0])


def test_inputs_that_need_no_gradient_have_their_rules_left_out():
    calls = []

    @tg.primitive
    def product(a, b):
        return a * b

    product.derivative(
        lambda g, y, a, b: calls.append("a") or g * b, lambda g, y, a, b: calls.append("b") or g * a
    )
    x = leaf(1.0, 2.0)
    product(tg.Tensor([5.0, 6.0]), x).backward(np.ones(2))
    assert calls == ["b"]
    calls.clear()
    tg.grad(lambda a, b: np.sum(product(a, b)), argnums=0)(x.data, x.data)
    assert calls == ["a"]


def test_nothing_is_recorded_in_no_grad_not_even_after_an_error():
    x = leaf(1.0)
    with tg.no_grad():
        assert not (x * 2).requires_grad
    with pytest.raises(ZeroDivisionError), tg.no_grad():
        1 / 0  # noqa: B018
    assert (x * 2).requires_grad

    @tg.no_grad()
    def off(x):
        with tg.no_grad():
            pass
        return x * 2

    assert not off(x).requires_grad


def test_detach_item_and_numpy_leave_the_tape():
    x = leaf(1.5)
    y = x * 2
    assert not y.detach().requires_grad
    assert y.item() == 3.0
    assert type(y.item()) is float
    assert type(y.numpy()) is np.ndarray
    with pytest.raises(ValueError, match="read-only"):
        y.numpy()[0] = 7
    z = y.detach()
    z.data[0] = 7
    assert y.item() == 3.0


def test_the_callers_own_array_is_not_shared():
    mine = np.array([1.0, 2.0])
    x = tg.Tensor(mine, requires_grad=True)
    y = np.sum(x * x)
    mine[:] = 99
    y.backward()
    np.testing.assert_array_equal(x.grad, [2.0, 4.0])


def test_an_index_is_the_tapes_own():
    x, index = leaf(1.0, 2.0, 3.0), np.array([0, 0])
    y = np.sum(x[index])
    index[:] = 2
    y.backward()
    np.testing.assert_array_equal(x.grad, [2.0, 0.0, 0.0])


@pytest.mark.parametrize(
    "change",
    [
        lambda x: setattr(x, "data", x.data * 2),
        lambda x: setattr(x, "data", np.zeros(2)),
        lambda x: exec("x.data -= 0.1"),
        lambda x: exec("x.data *= 2", {"x": x}),
        lambda x: tg.optim.SGD([x], lr=0.1).step(),
    ],
)
def test_a_change_between_forward_and_backward_is_noticed(change):
    x = leaf(1.0, 2.0, name="x")
    x.grad = np.ones(2)
    y = np.sum(x * x)
    change(x)
    with pytest.raises(RuntimeError, match=r"data of x was changed after np\.multiply"):
        y.backward()
    np.testing.assert_array_equal(x.grad, [1.0, 1.0])
    x.zero_grad()
    np.sum(x * x).backward()
    np.testing.assert_array_equal(x.grad, 2 * x.data)


def test_results_cannot_be_changed_under_the_tape():
    x = leaf(1.0, 2.0)
    y = np.exp(x)
    with pytest.raises(ValueError, match="read-only"):
        y.data[0] = 5
    with pytest.raises(ValueError, match="read-only"):
        y.data *= 2
    with pytest.raises(RuntimeError, match=r"result of np\.exp.*detach"):
        y.data = np.ones(2)
    y.backward(np.ones(2))
    np.testing.assert_array_equal(x.grad, np.exp([1.0, 2.0]))


def test_data_keeps_shape_and_dtype():
    w = tg.Tensor(np.float32([1.0, 2.0]), requires_grad=True, name="w")
    w.data = [3.0, 4.0]
    assert w.dtype == np.float32
    with pytest.raises(ValueError, match=r"data of w has shape \(2,\).*\(3,\)"):
        w.data = np.zeros(3)


def test_stability_at_the_far_ends():
    far = np.array([-1e4, -800.0, -50.0, 0.0, 50.0, 800.0, 1e4])
    with np.errstate(all="raise"):
        for f in (tg.sigmoid, tg.softplus, tg.tanh):
            x = tg.Tensor(far, requires_grad=True)
            y = f(x)
            y.backward(np.linspace(0.5, 1.5, far.size))
            assert np.isfinite(y.data).all()
            assert np.isfinite(x.grad).all()
        assert tg.sigmoid(np.array(-50.0)) == pytest.approx(math.exp(-50), rel=1e-14)
        assert tg.softplus(np.array(-50.0)) == pytest.approx(math.exp(-50), rel=1e-14)
        z = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, 3.0]])
        for f in (tg.softmax, tg.log_softmax, tg.logsumexp):
            x = tg.Tensor(z, requires_grad=True)
            y = f(x)
            y.backward(np.random.default_rng(0).uniform(0.5, 1.5, y.shape))
            assert np.isfinite(y.data).all()
            assert np.isfinite(x.grad).all()
        np.testing.assert_allclose(tg.logsumexp(z), [1e4, -1e4 + np.log(3), 1e4 + np.log(2)])
        value, gradient = tg.value_and_grad(tg.cross_entropy)(z, np.array([1, 0, 2]))
        assert value == pytest.approx((2e4 + math.log(3) + 1e4 - 3 + math.log(2)) / 3)
        assert np.isfinite(gradient).all()
        value = tg.binary_cross_entropy(np.array([1e4, -1e4, 1e4]), np.array([1.0, 0.0, 0.0]))
        assert value == pytest.approx(1e4 / 3)
        gradient = tg.grad(tg.binary_cross_entropy)(far, (far > 0).astype(float))
        assert np.isfinite(gradient).all()


def test_logsumexp_of_nothing_but_minus_infinity():
    assert tg.logsumexp(np.full(3, -np.inf)) == -np.inf


# What is refused.


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1, 2], "dtype int64.*dtype=float"),
        (3, "int64"),
        ([True], "bool"),
        ([1j], "complex128"),
        (np.array([1.0, None]), "must hold numbers"),
        (["a"], "must hold numbers"),
    ],
)
def test_only_floating_point_data_can_need_a_gradient(data, message):
    with pytest.raises(TypeError, match=f"tensor 'w'.*{message}"):
        tg.Tensor(data, requires_grad=True, name="w")


def test_ragged_data_and_late_requires_grad_are_refused():
    with pytest.raises(ValueError, match="cannot make a Tensor"):
        tg.Tensor([[1.0], [2.0, 3.0]])
    x = tg.Tensor([1, 2])
    with pytest.raises(TypeError, match="floating-point"):
        x.requires_grad = True
    y = leaf(1.0) * 2
    with pytest.raises(RuntimeError, match="only be set on inputs"):
        y.requires_grad = False


@pytest.mark.parametrize(
    ("gradient", "error", "message"),
    [
        (None, RuntimeError, r"single value.*\(3,\)"),
        (np.ones(2), ValueError, r"gradient has shape \(2,\), the tensor has shape \(3,\)"),
        (1.0, ValueError, r"shape \(\)"),
        (np.ones((1, 3)), ValueError, r"\(1, 3\)"),
        (np.ones(3) * 1j, TypeError, "complex128"),
        (["a", "b", "c"], TypeError, "real numbers"),
    ],
)
def test_seed_gradients_are_checked(gradient, error, message):
    x = leaf(1.0, 2.0, 3.0)
    y = x * 2
    with pytest.raises(error, match=message):
        y.backward(gradient)
    assert x.grad is None
    y.backward([1, 2, 3])
    np.testing.assert_array_equal(x.grad, [2.0, 4.0, 6.0])


def test_backward_of_something_that_needs_no_gradient():
    for y in (tg.Tensor(1.0), tg.Tensor(1.0) * 2, leaf(1.0).detach()):
        with pytest.raises(RuntimeError, match="needs no gradient"):
            y.backward()
    with tg.no_grad():
        y = leaf(1.0) * 2
    with pytest.raises(RuntimeError, match="no_grad"):
        y.backward()


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda x: x + np.ones(2), r"np.add of \(3,\) and \(2,\)"),
        (lambda x: np.ones(2) * x, r"np.multiply of \(2,\) and \(3,\)"),
        (lambda x: x @ np.ones((2, 2)), r"np.matmul of \(3,\) and \(2, 2\)"),
        (lambda x: np.dot(np.ones((2, 2)), x), r"np.dot of \(2, 2\) and \(3,\)"),
        (lambda x: np.where([True, False], x, 0.0), r"np.where of \(2,\) and \(3,\)"),
        (lambda x: x.reshape(2, 2), r"np.reshape of \(3,\)"),
        (lambda x: np.broadcast_to(x, (2, 2)), r"np.broadcast_to of \(3,\)"),
        (lambda x: np.concatenate([x, np.ones((1, 1))]), r"tg.join of \(3,\) and \(1, 1\)"),
        (lambda x: np.stack([x, np.ones(2)]), r"np.stack needs arrays of one shape"),
        (lambda x: np.transpose(x, (1, 0)), r"np.transpose of \(3,\)"),
        (lambda x: np.sum(x, axis=1), r"np.sum of \(3,\)"),
        (lambda x: np.squeeze(x, axis=0), r"np.squeeze of \(3,\)"),
        (lambda x: x[5], r"tg.getitem of \(3,\)"),
        (lambda x: x[np.array([True, False])], r"tg.getitem of \(3,\)"),
        (lambda x: x["a"], r"tg.getitem"),
        (lambda x: tg.linear(x, np.ones((2, 2)), np.ones(2)), r"tg.linear.*n_in"),
        (lambda x: tg.linear(x, np.ones((3, 2)), np.ones((1, 2))), r"b of shape \(1, 2\)"),
        (lambda x: tg.mse(x, np.ones((3, 1))), r"\(3,\) and target of shape \(3, 1\)"),
        (lambda x: tg.mse(x[:0], np.ones(0)), "empty batch"),
        (lambda x: tg.binary_cross_entropy(x, np.ones(2)), r"shape \(3,\) and targets"),
        (lambda x: tg.binary_cross_entropy(x[:0], np.ones(0)), "empty batch"),
        (lambda x: tg.binary_cross_entropy(x, np.array([0, 1, 2.0])), "between 0 and 1"),
        (lambda x: tg.binary_cross_entropy(x, np.array([0, 1, np.nan])), "between 0 and 1"),
        (lambda x: tg.cross_entropy(x, [0]), r"one row for each sample.*\(3,\)"),
        (lambda x: tg.cross_entropy(x[None], [3]), r"0\.\.2 for 3 classes, but labels\[0\] is 3"),
        (lambda x: tg.cross_entropy(x[None], [-1]), r"labels\[0\] is -1"),
        (lambda x: tg.cross_entropy(x[None], [0, 1]), r"shape \(1,\).*got \(2,\)"),
        (lambda x: tg.cross_entropy(x[None], [[0]]), r"ravel"),
        (lambda x: tg.cross_entropy(x[None], [[0, 1, 0]]), "one-hot"),
        (lambda x: tg.cross_entropy(x[None], [0.5]), "labels must be integers.*0.5"),
        (lambda x: tg.cross_entropy(x[None], [True]), "labels must be integers"),
        (lambda x: tg.cross_entropy(x[None][:0], np.zeros(0, int)), "at least one of each"),
        (lambda x: x + 1j, "np.add.*complex128"),
        (lambda x: x + "a", "np.add"),
        (lambda x: x * None, "np.multiply"),
        (lambda x: x * np.array([1.0, None, 2.0]), "np.multiply"),
        (lambda x: np.add(x, x, out=np.zeros(3)), r"np.add with out="),
        (lambda x: np.sum(x, out=np.zeros(())), r"np.sum with out="),
        (lambda x: np.zeros(3).__iadd__(x), r"np.add with out=.*a = a \+ x.*tg\.Tensor\(a\)"),
        (lambda x: np.add(x, x, where=[True, False, True]), "where="),
        (lambda x: np.exp(x, dtype=np.float32), "dtype="),
        (lambda x: np.sum(x, dtype=int), "np.sum.*int64"),
        (lambda x: np.sum(a=x), "by position"),
        (lambda x: np.arctan2.reduce(x), r"np.arctan2.reduce has no derivative rule"),
        (lambda x: np.add.at(np.zeros(3), [0], x[0]), r"np.add.at.*a = tg\.Tensor\(a\)"),
        (lambda x: np.full_like(np.ones(2), x[0]), r"tg\.Tensor\(np\.zeros\(n\)\)"),
        (lambda x: np.add.reduceat(x, [0, 2]), r"np.add.reduceat has no derivative rule"),
        (lambda x: np.hypot.reduce(x, initial=1.0), r"np.hypot.reduce of Tensors.*no initial="),
        (lambda x: np.hypot.reduce(x[:0]), r"at least one value"),
        (lambda x: np.fft.fft(x), r"np.fft.fft has no derivative rule.*tg\.derivative"),
        (lambda x: x.__setitem__(0, 1.0), r"input with requires_grad=True.*copy.*no_grad"),
        (lambda x: x.__iadd__(1.0), r"input with requires_grad=True.*copy.*no_grad"),
        (lambda x: x[x], "cannot be an index"),
        (lambda x: math.exp(x[0]), "math.exp.*x.item"),
        (lambda x: float(x[0]), "x.item"),
        (lambda x: np.asarray(x), "x.numpy"),
        (lambda x: np.array([x[0], x[1]]), "sequence|lose its gradient"),
        (lambda x: tg.Tensor(x), "lose its gradient"),
        (lambda x: x.sinh(), r"no attribute 'sinh'.*np\.sinh"),
        (lambda x: x.nonsense, "no attribute 'nonsense'"),
        (lambda x: x.sum(0, None, None, True, 5), "takes axis, dtype, out, keepdims"),
    ],
)
def test_bad_calls_say_what_and_where(operation, message):
    x = leaf(1.0, 2.0, 3.0)
    kinds = (
        ValueError,
        TypeError,
        IndexError,
        RuntimeError,
        NotImplementedError,
        AttributeError,
    )
    with pytest.raises(kinds, match=rf"(?s){message}"):
        operation(x)
    np.testing.assert_array_equal(x.data, [1.0, 2.0, 3.0])


def test_numpy_does_not_cut_the_tape_by_filling_an_array():
    x, rows = leaf(1.0, 2.0), np.zeros((2, 2))
    for fill in (lambda: rows.__setitem__(0, x), lambda: rows[0].__setitem__(0, x[0])):
        with pytest.raises((TypeError, ValueError)) as caught:
            fill()
        said = f"{caught.value} {caught.value.__cause__}"
        assert "np.stack" in said
    np.testing.assert_array_equal(rows, 0)


def test_printing_reads_the_values():
    x = leaf(1.0, 2.5, name="x")
    assert repr(x) == "Tensor([1. , 2.5], requires_grad=True, name='x')"
    assert repr(x * 2) == "Tensor([2., 5.], from np.multiply)"
    assert repr(tg.Tensor(np.float32(2))) == "Tensor(2., dtype=float32)"
    assert f"{np.sum(x):.3f}" == "3.500"
    assert str(tg.Tape.of(x * 2)[1]) == "<entry np.multiply, shape (2,)>"


def test_a_tensor_behaves_as_a_sequence_of_rows():
    x = tg.Tensor(np.arange(6.0).reshape(3, 2), requires_grad=True)
    assert len(x) == 3
    total = sum(np.sum(row * (i + 1)) for i, row in enumerate(x))
    total.backward()
    np.testing.assert_array_equal(x.grad, [[1, 1], [2, 2], [3, 3]])
    assert bool(tg.Tensor(1.0))
    assert int(tg.Tensor(3.7)) == 3
    assert x.argmax() == 5
    np.testing.assert_array_equal(x.argmin(axis=0), [0, 0])


@pytest.mark.parametrize("thing", [np.ones(2), 1.0, None, tg.Tensor(1.0), "text"])
def test_a_tape_is_of_recorded_tensors(thing):
    with pytest.raises(ValueError, match="nothing was recorded"):
        tg.Tape.of(thing)


def test_methods_are_numpys():
    x = np.random.default_rng(0).normal(size=(2, 3, 1))
    t = tg.Tensor(x, requires_grad=True)
    for call in (
        lambda x: x.sum(0),
        lambda x: x.sum(axis=(0, 1), keepdims=True),
        lambda x: x.mean(axis=-1),
        lambda x: x.max(axis=1),
        lambda x: x.min(),
        lambda x: x.reshape(3, 2),
        lambda x: x.reshape((6,)),
        lambda x: x.reshape(-1),
        lambda x: x.transpose(2, 0, 1),
        lambda x: x.transpose((2, 0, 1)),
        lambda x: x.transpose(),
        lambda x: x.T,
        lambda x: x.squeeze(),
        lambda x: x.squeeze(-1),
        lambda x: x.ravel(),
        lambda x: x.copy(),
        lambda x: x.dot(np.ones((1, 2))),
        lambda x: +x - -x,
        lambda x: abs(x),
        lambda x: 2.0**x,
    ):
        np.testing.assert_array_equal(call(t).data, call(x), strict=True)
        assert call(t).requires_grad


def test_a_changed_constant_is_noticed_too():
    w, x = leaf(1.0, 2.0), tg.Tensor([1.0, 1.0])
    y = np.sum(w * x)
    x.data -= 50
    with pytest.raises(RuntimeError, match="was changed after"):
        y.backward()
    np.sum(w * x).backward()
    np.testing.assert_array_equal(w.grad, [-49.0, -49.0])


def test_numpy_of_what_needs_a_gradient_is_read_only():
    for x in (leaf(1.0), leaf(1.0) * 2):
        with pytest.raises(ValueError, match="read-only"):
            x.numpy()[0] = 9
    tg.Tensor([1.0]).numpy()[0] = 9


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        (lambda w: w.__isub__(0.5 * w.grad), [0.0, 0.0]),
        (lambda w: w.__iadd__(w.grad), [3.0, 6.0]),
        (lambda w: w.__imul__(3), [3.0, 6.0]),
        (lambda w: w.__itruediv__(2), [0.5, 1.0]),
    ],
)
def test_updates_in_place_inside_no_grad_keep_the_parameter(update, expected):
    w = leaf(1.0, 2.0)
    np.sum(w * w).backward()
    with tg.no_grad():
        updated = update(w)
    assert updated is w
    assert w.requires_grad
    np.testing.assert_array_equal(w.data, expected)


def test_primitives_take_their_inputs_by_name():
    x = leaf(0.5, -1.0)
    for by_name, by_position in (
        (lambda: tg.sigmoid(x=x), lambda: tg.sigmoid(x)),
        (lambda: tg.relu(x=x, at_zero=0.5), lambda: tg.relu(x, at_zero=0.5)),
        (lambda: tg.softmax(axis=0, x=x), lambda: tg.softmax(x, 0)),
        (
            lambda: tg.cross_entropy(logits=x[None], labels=[1]),
            lambda: tg.cross_entropy(x[None], [1]),
        ),
    ):
        assert tg.Tape.of(by_name())[-1].primitive is tg.Tape.of(by_position())[-1].primitive
        np.testing.assert_array_equal(by_name().data, by_position().data)
    with pytest.raises(TypeError, match="missing a required argument: 'x'"):
        tg.sigmoid(z=x)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda g, y, x, k: g * k, "missing 1 required positional argument: 'k'"),
        (lambda g, y: g, "takes 2 positional arguments but 3 were given"),
        (lambda g, y, x: len(3), "'int' has no len"),
    ],
)
def test_an_error_in_a_rule_names_the_operation(rule, message):
    @tg.primitive
    def scaled(x, k=2.0):
        return k * x

    scaled.derivative(rule)
    with pytest.raises(TypeError, match=rf"rule of scaled for its input 0, called as.*{message}"):
        tg.grad(scaled)(1.0)


def test_an_operation_that_broadcasts_says_so():
    @tg.primitive
    def product(a, b):
        return a * b

    product.derivative(lambda g, y, a, b: g * b, lambda g, y, a, b: g * a)
    x = leaf(1.0, 2.0, 3.0)
    with pytest.raises(ValueError, match=r"pass core_axes=0 to \.derivative"):
        product(x, tg.Tensor(2.0, requires_grad=True)).backward(np.ones(3))
    product.derivative(lambda g, y, a, b: g * b, lambda g, y, a, b: g * a, core_axes=0)
    k = tg.Tensor(2.0, requires_grad=True)
    product(x, k).backward(np.array([1.0, 10.0, 100.0]))
    assert k.grad == 321.0


def test_no_grad_decorates_with_and_without_brackets():
    @tg.no_grad
    def off(x):
        return x * 2

    assert not off(leaf(1.0)).requires_grad


@pytest.mark.parametrize(
    "index",
    [
        (slice(None), (0, 0)),
        ((0, 0, 1),),
        pd.Series([0, 0, 1]),
        (slice(None), pd.Index([1, 1])),
        array.array("i", [0, 0, 1]),
        (range(2), [0, 0]),
        range(1, -1, -1),
        np.int64(1),
        (tg.Tensor([0, 0]), 1),
        (Ellipsis, None, [-1, -1]),
        ([True, False], [0, 0]),
    ],
    ids=str,
)
def test_repeated_positions_add_up_in_every_kind_of_index(index):
    x = np.arange(6.0).reshape(2, 3)
    if isinstance(index, tuple):
        plain_index = tuple(i.data if isinstance(i, tg.Tensor) else i for i in index)
    else:
        plain_index = index
    picked = x[plain_index]
    weights = np.random.default_rng(0).normal(size=picked.shape)
    expected = np.zeros_like(x)
    np.add.at(expected, plain_index, weights)
    t = tg.Tensor(x, requires_grad=True)
    y = t[index]
    np.testing.assert_array_equal(y.data, picked)
    y.backward(weights)
    np.testing.assert_array_equal(t.grad, expected)


@pytest.mark.parametrize(
    "special", [np.ma.array([1.0, 2.0], mask=[0, 1]), np.ones(2).view(np.recarray)]
)
def test_arrays_with_an_arithmetic_of_their_own_are_refused(special):
    x = leaf(1.0, 2.0)
    for use in (
        lambda: x * special,
        lambda: special * x,
        lambda: np.sum(special - x),
        lambda: tg.Tensor(special),
        lambda: tg.grad(np.sum)(special),
    ):
        with pytest.raises(TypeError, match=r"pass np\.asarray|lose its gradient"):
            use()


@pytest.mark.parametrize("kind", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_and_pickles(kind):
    net = tg.nn.MLP((2, 3, 1), "tanh", rng=0)
    x = np.ones((2, 2))
    np.sum(net(x)).backward()
    other = kind(net)
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)
        np.testing.assert_array_equal(p.grad, q.grad)
        assert q.requires_grad
        assert q.name == p.name
        assert not np.shares_memory(p.data, q.data)
    other.zero_grad()
    np.sum(other(x)).backward()
    frozen = net.parameters()[0]
    frozen.requires_grad = False
    assert not kind(net).layers[0].W.requires_grad
    frozen.requires_grad = True
    trainer = tg.Trainer(net, tg.optim.SGD(net.parameters(), lr=0.1))
    assert kind(trainer).loss is tg.cross_entropy


def test_a_copy_of_what_was_recorded_is_recorded():
    for kind in (copy.copy, copy.deepcopy):
        gradient = tg.grad(lambda p, kind=kind: np.sum(kind(p)["a"] ** 2))({"a": np.ones(3)})
        np.testing.assert_array_equal(gradient["a"], [2, 2, 2])
        np.testing.assert_array_equal(tg.grad(lambda x, k=kind: k(x * 2) ** 2)(3.0), 24)
    with pytest.raises(TypeError, match=r"x\.detach\(\)"):
        tg.grad(lambda x: pickle.loads(pickle.dumps(x)))(1.0)


def test_a_pickle_from_a_longer_process_can_be_trained():
    program = (
        "import pickle, sys, numpy as np, tinygrad_edu as tg\n"
        "x = tg.Tensor(1.0, requires_grad=True)\n"
        "for _ in range(1000): x * 2\n"
        "sys.stdout.buffer.write(pickle.dumps(tg.nn.MLP((2, 1), rng=0)))\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    other = (
        "import pickle, sys, numpy as np, tinygrad_edu as tg\n"
        "net = pickle.load(sys.stdin.buffer)\n"
        "np.sum(net(np.ones((2, 2)))).backward()\n"
    )
    subprocess.run([sys.executable, "-c", other], input=run.stdout, check=True)


def test_setting_requires_grad_to_what_it_is_changes_nothing():
    x = leaf(3.0)
    np.sum(x * x).backward()
    y = np.sum(x * x)
    x.requires_grad = True
    y.backward()
    np.testing.assert_array_equal(x.grad, [12.0])
    y = np.sum(leaf(1.0) * x)
    x.requires_grad = False
    x.data -= 100
    with pytest.raises(RuntimeError, match="was changed after"):
        y.backward()


def test_what_is_off_the_tape_has_memory_of_its_own():
    x, v = leaf(1.0, 2.0), leaf(1.0, 1.0)
    constant = tg.Tensor([1.0, 2.0])
    with tg.no_grad():
        views = x[0:2], x.reshape(2), x.T
        seen = np.asarray(x)
    views += (constant.reshape(2),)
    totals = [np.sum(view * v) for view in views]
    x.data -= 100
    constant.data -= 100
    for total in totals:
        v.zero_grad()
        total.backward()
        np.testing.assert_array_equal(v.grad, [1.0, 2.0])
    with pytest.raises(ValueError, match="read-only"):
        seen[0] = 5
    views[0].requires_grad = True
    views[0].data -= 1
    np.testing.assert_array_equal(x.data, [-99.0, -98.0])


def test_a_constant_that_becomes_a_parameter_gets_its_whole_gradient_or_none():
    c, w = tg.Tensor(3.0), tg.Tensor(2.0, requires_grad=True)
    y = (c * 2) * w + c * w
    c.requires_grad = True
    with pytest.raises(RuntimeError, match="was changed after"):
        y.backward()
    ((c * 2) * w + c * w).backward()
    assert c.grad == 6.0


def test_data_of_another_kind_is_refused():
    counts = tg.Tensor([1, 2])
    with pytest.raises(TypeError, match="int64 and cannot hold dtype float64"):
        counts.data = [1.7, 2.2]
    w = leaf(1.0)
    with pytest.raises(TypeError, match="cannot hold dtype complex128"):
        w.data = [1j]
    with pytest.raises(TypeError, match="complex"):
        w.astype(complex)


def test_integers_do_not_overflow_in_activations_and_losses():
    small = np.array([1, 2], np.uint8)
    np.testing.assert_allclose(tg.sigmoid(small), tg.sigmoid(small.astype(float)))
    np.testing.assert_allclose(tg.softplus(small), tg.softplus(small.astype(float)))
    np.testing.assert_allclose(tg.softmax(small), tg.softmax(small.astype(float)))
    assert tg.sum_of_squares(np.array([100, 100], np.int8)) == 20000
    assert tg.mse(np.array([200], np.int16), np.array([-200], np.int16)) == 160000
    exponents = np.array([-128, 3], np.int8)
    slope = tg.grad(lambda x: np.sum(x**exponents))(1.1)
    assert slope == pytest.approx(-128 * 1.1**-129 + 3 * 1.1**2)


def test_the_other_byte_order_is_taken_over_in_the_machines_own():
    x = np.array([1.0, 3.0, 3.0]).astype(np.dtype(float).newbyteorder())
    np.testing.assert_array_equal(tg.grad(np.max)(x), [0.0, 0.5, 0.5])
    t = tg.Tensor(x, requires_grad=True)
    np.max(t).backward()
    assert t.grad.dtype == np.float64


@pytest.mark.parametrize("shapes", [((2, 2, 0), (2, 0, 3)), ((0, 2), (2, 2, 3)), ((2,), (0, 2, 3))])
def test_dot_of_empty_arrays(shapes):
    a, b = (np.ones(shape) for shape in shapes)
    ga, gb = tg.grad(lambda a, b: np.sum(np.dot(a, b)), (0, 1))(a, b)
    assert (ga.shape, gb.shape) == shapes


def test_binary_cross_entropy_keeps_its_digits_far_out():
    assert tg.binary_cross_entropy(np.array([40.0]), np.array([1.0])) == pytest.approx(
        math.exp(-40), rel=1e-12
    )


def test_the_bias_of_an_affine_layer_widens_as_in_numpy():
    x, W = np.ones((1, 2), np.float32), np.ones((2, 1), np.float32)
    for b in (np.array([0.5]), np.array([0.5], np.float32)):
        assert tg.linear(x, W, b).dtype == (x @ W + b).dtype
    np.testing.assert_array_equal(tg.linear(x.astype(int), W.astype(int), np.array([0.5])), [[2.5]])


def test_a_tensor_by_name_after_a_default_that_is_left_out():
    @tg.primitive
    def affine(x, w=2.0, b=1.0):
        return x * w + b

    affine.derivative(
        lambda g, y, x, w, b: g * w, lambda g, y, x, w, b: g * x, lambda g, y, x, w, b: g
    )
    b = tg.Tensor(5.0, requires_grad=True)
    y = affine(3.0, b=b)
    y.backward()
    assert (y.item(), b.grad) == (11.0, 1.0)


@pytest.mark.parametrize(
    "method",
    [
        lambda f, x: f.reduce(x),
        lambda f, x: f.reduce(x, axis=1),
        lambda f, x: f.accumulate(x),
        lambda f, x: f.accumulate(x, axis=1),
        lambda f, x: f.outer(x, x[0]),
    ],
)
@pytest.mark.parametrize(
    "ufunc",
    [
        *(np.add, np.multiply, np.maximum, np.minimum, np.subtract),
        *(np.divide, np.logaddexp, np.hypot, np.fmax),
    ],
)
def test_methods_of_ufuncs(ufunc, method):
    x = np.array([[0.5, 2.0, 0.25], [1.5, -0.7, 3.0]])
    recorded = method(ufunc, tg.Tensor(x, requires_grad=True))
    np.testing.assert_array_equal(np.asarray(tg.tensor.plain(recorded)), method(ufunc, x))
    assert tg.check_grad(lambda x: method(ufunc, x), x)


def test_methods_of_ufuncs_without_a_derivative():
    x = np.array([[0.5, 2.0], [1.5, -0.75]])
    for method in (lambda x: np.greater.outer(x, x), lambda x: np.floor_divide.reduce(x)):
        recorded = method(tg.Tensor(x, requires_grad=True))
        assert type(recorded) is np.ndarray
        np.testing.assert_array_equal(recorded, method(x))


def test_methods_and_attributes_of_arrays():
    x = np.array([[0.5, 2.0, -0.25], [1.5, -0.75, 3.0]])
    t = tg.Tensor(x, requires_grad=True)
    for f in (
        lambda x: x.prod(axis=0),
        lambda x: x.var(axis=1, ddof=1),
        lambda x: x.std(),
        lambda x: x.cumsum(1),
        lambda x: x.cumprod(axis=0),
        lambda x: x.clip(-0.5, 1.0),
        lambda x: x.swapaxes(0, 1),
        lambda x: x.repeat(2, axis=1),
        lambda x: x.take([2, 0, 2], axis=1),
        lambda x: x.diagonal(1),
        lambda x: x.trace(),
        lambda x: x.flatten(),
        lambda x: x.compress([True, False, True], axis=1),
        lambda x: x.reshape(3, 2, order="F"),
        lambda x: x.mT,
        lambda x: x.real,
        lambda x: x.flat[4] * x.flat[0],
        lambda x: x.view(),
        lambda x: x % 0.7,
        lambda x: 5.0 % (x + 4),
        lambda x: divmod(x, 0.7)[1],
        lambda x: divmod(5.0, x + 4)[1],
        lambda x: x.round(1) * x + x.conj(),
    ):
        np.testing.assert_array_equal(f(t).data, f(x), strict=True)
        assert not tg.check_grad(f, x).wrong
    for f in (
        lambda x: x // 0.7,
        lambda x: 7.0 // x,
        lambda x: x.argsort(),
        lambda x: x.argmax(axis=1),
        lambda x: x.round(1),
        lambda x: x.imag,
        lambda x: x.all() or x.any(),
        lambda x: x.nonzero()[0],
        lambda x: x[0].searchsorted(1.0),
        lambda x: round(x[0, 0], 1),
        lambda x: x[0, 1].item(),
    ):
        assert not isinstance(f(t), tg.Tensor)
        np.testing.assert_array_equal(f(t), f(x))
    for leave in (t.tolist, lambda: t.item(1, 2)):
        with pytest.raises(TypeError, match="lose its gradient"):
            leave()
    assert t.detach().tolist() == x.tolist()
    assert t.detach().item(1, 2) == 3
