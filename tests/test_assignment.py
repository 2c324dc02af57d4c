"""Assignment: what NumPy code writes into arrays is written into Tensors, with right gradients."""

from __future__ import annotations

import re

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from cases import assert_right
from hypothesis import given

import tinygrad_edu as tg

X = np.array([[1.5, -2.0, 0.5], [3.0, 0.25, -1.0]])
WEIGHTS = np.array([[1.0, -3.0, 2.0], [0.5, 7.0, -1.5]])


def one_item(x):
    x[0, 1] = x[1, 2] * 3


def one_row(x):
    x[0] = x[1] * x[1]


def a_constant(x):
    x[:, 1:] = 2.0


def a_broadcast_row(x):
    x[...] = x[0] * 2


def more_axes_than_the_place(x):
    x[0] = x[1:] * 2


def a_mask(x):
    x[x > 0] *= x[0, 0]


def positions(x):
    x[[0, 1], [1, 0]] = x[1, :2] ** 2


def a_place_twice(x):
    x[[0, 0], [1, 1]] = x[1, :2] * 5


def in_place(x):
    x += 1
    x *= x
    x -= x[0]
    x /= 4
    x **= 2


def products_in_place(x):
    x @= x.T @ x


def shifted_sums(x):
    x[:, 1:] += x[:, :-1]


def two_names(x):
    y = x
    y *= 3
    x[0] = y[1]


def rows_of_a_loop(x):
    for row in x:
        row *= row[0]


def a_row_by_name(x):
    row = x[0]
    row[1] = row[2] * 7
    row += x[1]


def a_row_read_before_the_array_is_changed(x):
    row = x[0]
    x *= 2
    x[1] = row


def a_view_of_a_view(x):
    column = x[:, 1:][:, 0]
    column *= column
    x[0, 1] += 1


def the_transpose(x):
    t = x.T
    t[0] = t[1] * 5
    t += 1


def the_flat_view(x):
    flat = x.reshape(-1)
    flat[::2] = flat[1::2] ** 2
    flat[1:][0] = flat[4]


def ravel_of_the_transpose_is_a_copy(x):
    flat = x.T.ravel()
    flat *= 10
    x[0] = flat[:3]


def a_new_axis(x):
    x[:, None][1] = x[0] * 9


def a_copy(x):
    y = x.copy()
    y *= 3
    x[0] = y[0]


def add_at(x):
    np.add.at(x, (np.array([0, 0, 1]), np.array([1, 1, 2])), x[1])


def add_at_a_list(x):
    np.add.at(x[0], [0, 0, 1], x[1])


def numbers_are_not_changed_in_place(x):
    total = x[0, 0]
    first = total
    total += x[1, 1]
    total *= 2
    x[0] = total * first


def a_number_in_an_array_is(x):
    entry = x[0, 1, ...]
    entry += 5


def out(x):
    np.multiply(x, 3.0, out=x)


def methods(x):
    x[1].sort()
    x[0].fill(4.0)


def recurrence(x):
    for i in range(1, 3):
        x[:, i] = x[:, i - 1] * 1.5 + x[:, i] ** 2


PROGRAMS = [
    one_item,
    one_row,
    a_constant,
    a_broadcast_row,
    more_axes_than_the_place,
    a_mask,
    positions,
    a_place_twice,
    in_place,
    products_in_place,
    shifted_sums,
    two_names,
    rows_of_a_loop,
    a_row_by_name,
    a_row_read_before_the_array_is_changed,
    a_view_of_a_view,
    the_transpose,
    the_flat_view,
    ravel_of_the_transpose_is_a_copy,
    a_new_axis,
    a_copy,
    add_at,
    add_at_a_list,
    numbers_are_not_changed_in_place,
    a_number_in_an_array_is,
    out,
    methods,
    recurrence,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("order", [1, 2])
def test_what_numpy_code_writes(program, order):
    def f(x):
        y = x * 1.0
        before = y * y  # has read the value that it read
        program(y)
        return np.sum(WEIGHTS * y * y) + np.sum(before)

    recorded = tg.Tensor(X, requires_grad=True) * 1.0
    expected = X.copy()
    program(recorded)
    program(expected)
    np.testing.assert_array_equal(recorded.numpy(), expected)
    assert recorded.requires_grad
    assert_right(f, (X,), order=order)


@given(data=st.data())
def test_any_index_and_any_value_that_broadcasts(data):
    x = np.arange(12.0).reshape(2, 3, 2) / 7 + 0.3
    index = data.draw(
        hnp.basic_indices(x.shape, allow_ellipsis=True, allow_newaxis=True)
        | hnp.integer_array_indices(x.shape, result_shape=hnp.array_shapes(max_dims=2, max_side=3))
        | hnp.arrays(bool, x.shape)
        | hnp.arrays(bool, 2)
    )
    place = np.shape(x[index])
    shape = data.draw(
        hnp.broadcastable_shapes(place, max_dims=len(place)) if all(place) else st.just(place)
    )
    value = np.linspace(-1, 1, int(np.prod(shape))).reshape(shape)
    try:
        x.copy()[index] = value
    except ValueError:
        return  # the value would broadcast the place

    def f(x, value):
        y = x * 1.0
        y[index] = value * 2
        return y

    expected = x.copy()
    expected[index] = value * 2
    recorded = f(tg.Tensor(x, requires_grad=True), tg.Tensor(value, requires_grad=True))
    np.testing.assert_array_equal(recorded.data, expected)
    assert_right(f, (x, value))


@pytest.mark.parametrize("make", [np.zeros, np.empty, np.ones])
def test_an_array_is_filled_row_by_row(make):
    def f(w):
        table = tg.Tensor(make((4, 3)))
        for i in range(4):
            table[i] = w**i
        return table

    w = np.array([0.5, 2.0, -1.5])
    table = f(tg.Tensor(w, requires_grad=True))
    np.testing.assert_array_equal(table.data, np.stack([w**i for i in range(4)]))
    jacobian = tg.jacobian(f)(w)
    for i in range(4):
        slope = i * w ** max(i - 1, 0)
        np.testing.assert_allclose(jacobian[i], np.diag(slope), rtol=1e-15)


def test_filling_needs_no_copy_for_each_row():
    w = tg.Tensor(np.arange(3.0), requires_grad=True)
    table = tg.Tensor(np.zeros((5, 3)))
    table[0] = w
    memory = table._array
    del memory  # which would be a reader
    place = table._array.ctypes.data
    for i in range(1, 5):
        table[i] = w * i
        assert table._array.ctypes.data == place
    kept = table * 1.0
    table[0] = w * 100
    assert table._array.ctypes.data != place
    np.testing.assert_array_equal(kept.data[0], w.data)
    np.sum(kept).backward()
    np.testing.assert_array_equal(w.grad, np.full(3, 1 + 1 + 2 + 3 + 4))


def test_what_was_shown_of_a_value_stays_as_it_was():
    w = tg.Tensor(np.arange(3.0), requires_grad=True)
    table = tg.Tensor(np.zeros((2, 3)))
    table[0] = w
    shown, data = table.numpy(), table.data
    table[0] = w * 2
    np.testing.assert_array_equal(shown, [[0, 1, 2], [0, 0, 0]])
    np.testing.assert_array_equal(data, shown)


@pytest.mark.parametrize(
    "fill",
    [
        lambda array, x: array.__setitem__(slice(None), x),
        lambda array, x: array.__setitem__(0, x[0]),
        lambda array, x: array.__setitem__([0, 1], x[:2]),
        lambda array, x: array.__iadd__(x),
        lambda array, x: np.copyto(array, x),
        lambda array, x: np.add.at(array, [0], x[0]),
    ],
)
def test_a_plain_array_does_not_take_a_recorded_tensor(fill):
    x = tg.Tensor([1.0, 2.0, 3.0], requires_grad=True)
    array = np.zeros(3)
    with pytest.raises((TypeError, ValueError, NotImplementedError)) as error:
        fill(array, x)
    said = f"{error.value} {error.value.__cause__}"
    assert re.search(r"tg\.Tensor\(|has no derivative rule|write x = ", said)
    np.testing.assert_array_equal(array, 0)
    with tg.no_grad():
        array[:] = x
        array += x
    np.testing.assert_array_equal(array, [2, 4, 6])


def test_numpys_own_error_does_not_hide_what_to_write():
    def filling(p):
        out = np.zeros(3)
        for i in range(3):
            out[i] = p[i] ** 2
        return np.sum(out)

    for transform in (tg.grad, tg.jacobian, tg.hessian):
        with pytest.raises(TypeError, match=r"make an array that is to be filled a Tensor"):
            transform(filling)(np.ones(3))


def test_an_input_with_a_gradient_is_not_assigned_to():
    w = tg.Tensor([1.0, 2.0, 3.0], requires_grad=True, name="w")

    def through_a_view():
        tail = w[1:]
        tail += 1

    for assign in (lambda: w.__setitem__(0, 1.0), lambda: w.__iadd__(1), through_a_view):
        with pytest.raises(RuntimeError, match="w is an input with requires_grad=True"):
            assign()
    np.testing.assert_array_equal(w.data, [1, 2, 3])
    (w * w)[0].backward()
    np.testing.assert_array_equal(w.grad, [2, 0, 0])


def test_inside_no_grad_assignment_updates_the_parameter():
    w = tg.Tensor([1.0, 2.0, 3.0], requires_grad=True)
    loss = np.sum(w * w)
    with tg.no_grad():
        w[0] = 5.0
        w[1:] *= 2
        tail = w[1:]
        tail += 1
    assert w.is_leaf
    assert w.requires_grad
    np.testing.assert_array_equal(w.data, [5, 5, 7])
    with pytest.raises(RuntimeError, match="changed after"):
        loss.backward()


def test_inside_no_grad_a_recorded_tensor_is_not_cut_off():
    w = tg.Tensor([1.0, 2.0], requires_grad=True)
    h = w * 2
    with tg.no_grad(), pytest.raises(RuntimeError, match=r"no_grad.*detach"):
        h[0] = 1.0
    h.sum().backward()
    np.testing.assert_array_equal(w.grad, [2, 2])


def test_arguments_of_the_caller_are_not_changed():
    def f(x):
        x[0] = 10.0
        x += 1
        return np.sum(x * x)

    x = np.array([1.0, 2.0])
    np.testing.assert_array_equal(tg.grad(f)(x), [0, 6])
    np.testing.assert_array_equal(x, [1, 2])
    assert tg.hessian(f)(x).tolist() == [[0, 0], [0, 2]]


def test_what_is_read_only_in_numpy_is_read_only():
    h = tg.Tensor([1.0, 2.0], requires_grad=True) * 2
    for view in (np.broadcast_to(h, (3, 2)), np.diagonal(np.outer(h, h))):
        with pytest.raises(ValueError, match="read-only"):
            view[0] = 1.0


def test_the_result_keeps_its_shape_and_dtype():
    x = tg.Tensor(np.float32([1.0, 2.0]), requires_grad=True) * 1
    with pytest.raises(ValueError, match=r"shape \(3, 2\).*x = x \+ y"):
        x += np.ones((3, 2))
    x += np.float64([0.1, 0.2])
    assert x.dtype == np.float32
    counts = tg.Tensor([1, 2])
    with pytest.raises(TypeError, match="int64"):
        counts += 0.5
    with pytest.raises(TypeError, match="int64"):
        counts[0] = x[0]


def test_values_that_do_not_fit_are_refused_before_anything_changes():
    x = tg.Tensor([1.0, 2.0, 3.0], requires_grad=True) * 1
    for index, value in ((slice(2), np.ones(3)), (7, 1.0), ([0, 9], 1.0)):
        with pytest.raises((ValueError, IndexError), match="setitem"):
            x[index] = value
    np.testing.assert_array_equal(x.data, [1, 2, 3])


def test_a_chain_of_many_views_is_read_and_written():
    x = tg.Tensor(np.arange(3000.0), requires_grad=True) * 1
    tail = x
    for _ in range(2000):
        tail = tail[1:]
    tail *= 2
    assert x.numpy()[1999] == 1999
    assert x.numpy()[2000] == 4000
    x *= 10
    np.testing.assert_array_equal(tail.numpy(), np.arange(2000.0, 3000) * 20)


def test_a_tensor_that_was_not_recorded_is_assigned_to_as_well():
    x = tg.Tensor([1.0, 2.0, 3.0])
    x[0] = 5.0
    tail = x[1:]
    tail *= 2
    x += 1
    np.testing.assert_array_equal(x.data, [6, 5, 7])
    np.testing.assert_array_equal(tail.data, [5, 7])
    assert not x.requires_grad
    assert x.is_input


def test_a_buffer_of_a_module_stays_in_its_state():
    class Net(tg.nn.Module):
        def __init__(self):
            self.w = tg.Tensor([1.0, 2.0], requires_grad=True)
            self.mean = tg.Tensor([0.0, 0.0], name="mean")

        def forward(self, x):
            return x * self.w - self.mean

    net = Net()
    before = net.state_dict().keys()
    y = net(np.ones(2))
    net.mean[0] = 5.0
    net.mean += 1
    assert net.state_dict().keys() == before
    np.testing.assert_array_equal(net.mean.data, [6, 1])
    assert net.mean.name == "mean"
    y.sum().backward()  # has read the mean as it was
    np.testing.assert_array_equal(net.w.grad, [1, 1])


def order_of_a_copy(x):
    y = x.T.copy()
    y.reshape(-1)[1] = 9
    x[0] = y[:, 0]


def order_after_writing_through_a_transpose(x):
    y = x * 1.0
    y.T[0] = 0
    np.ravel(y)[1] = 9
    x += y


def order_after_writing_through_a_flip(x):
    y = x * 1.0
    flipped = np.flip(y, 0)
    flipped += 0
    y.reshape(-1)[1] = 9
    x += y


def remainders(x):
    y = x
    x %= 1.25
    for row in x:
        row //= 0.5
    y += 1


def conj_is_the_array_itself(x):
    x.conj()[0] = 5


def a_reduction_over_one_value_is_a_copy(x):
    y = np.logaddexp.reduce(x[:, :1], axis=1)
    x[0, 0] = 3
    x[1, :2] = y


def a_view_of_a_number_is_none(x):
    m = x.mean()
    row = np.reshape(m, (1,))
    row[0] = 3.0
    x[0, 0] = m + row[0]


def the_flat_values(x):
    x.flat[1] = x.flat[4] * 2


def a_number_written_whole(x):
    y = x[0, 0, ...]
    y[...] = x[1, 1] * 2
    y += 1


@pytest.mark.parametrize(
    "program",
    [
        order_of_a_copy,
        order_after_writing_through_a_transpose,
        order_after_writing_through_a_flip,
        remainders,
        conj_is_the_array_itself,
        a_reduction_over_one_value_is_a_copy,
        a_view_of_a_number_is_none,
        the_flat_values,
        a_number_written_whole,
    ],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray])
def test_memory_lies_as_in_numpy(program, layout):
    if program is the_flat_values and layout is np.asfortranarray:
        layout = np.ascontiguousarray
    x = layout(X + 0.125)

    def f(x):
        program(x)
        return np.sum(WEIGHTS * x * x)

    value, gradient = tg.value_and_grad(f)(x)
    assert value == f(x.copy(order="K"))
    for i in np.ndindex(2, 3):
        steps = []
        for h in (1e-6, -1e-6):
            moved = x.copy(order="K")
            moved[i] += h
            steps.append(f(moved))
        np.testing.assert_allclose(gradient[i], (steps[0] - steps[1]) / 2e-6, atol=1e-6)


def test_flat_of_a_transpose_is_refused():
    h = tg.Tensor(X, requires_grad=True) * 1
    with pytest.raises(TypeError, match=r"x\.ravel\(\)"):
        h.T.flat  # noqa: B018


def test_what_was_read_is_kept_after_backward_too():
    w = tg.Tensor(np.ones(5000), requires_grad=True)
    x = w * 1
    x[0] = w[0] * 5
    np.sum(x * x).backward()
    shown = x.numpy()
    x[1] = 7.0
    assert shown[1] == 1


def test_an_assignment_that_fails_has_written_nothing():
    w = tg.Tensor(np.ones(3, "f"), requires_grad=True)
    x = w * 1
    x[0] = w[1] * 2
    for wrong, error in ((np.array([5.0, 1e60]), FloatingPointError), (["5", "b"], ValueError)):
        with pytest.raises(error), np.errstate(all="raise"):
            x[1:] = np.array(wrong)
    np.testing.assert_array_equal(x.numpy(), [2, 1, 1])


def test_what_is_written_fits_as_in_numpy():
    single = tg.Tensor(np.ones(3, "f"), requires_grad=True) * 1
    np.add.at(single, [0], np.array([1.5]))
    assert single.dtype == np.float32
    counts = tg.Tensor([1, 2, 3])
    with pytest.raises(TypeError, match="int64"):
        np.add.at(counts, [0], 1.5)
    with pytest.raises(TypeError, match="int64"):
        np.add(np.ones(3), single, out=counts)
    with pytest.raises(ValueError, match="shape"):
        np.sum(single * 2, out=single)
    with pytest.raises(ValueError, match="shape"):
        (tg.Tensor(X) * 1).sort(axis=None)
    row = np.broadcast_to(single, (1, 3))
    with pytest.raises(ValueError, match="read-only"):
        row += 1


def test_an_array_without_axes_is_changed_in_place_and_a_number_is_not():
    def f(x):
        y = x
        y += 1.0
        return x * 2

    assert tg.value_and_grad(f)(np.array(3.0)) == (8, 2)
    assert tg.value_and_grad(f)(3.0) == (6, 2)

    def g(x):
        row = x.reshape(1)
        row *= x
        return 0.5 * x

    assert tg.value_and_grad(g)(np.array(3.0)) == (4.5, 3)
    assert tg.hessian(g)(np.array(3.0)) == 1
