"""Moving, choosing and interpolating at ties and knots, with views, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from cases import assert_right

import tinygrad_edu as tg

NAN = float("nan")


def gradients(f, *arrays, g):
    """The gradients of f weighted by g, by each of the arrays; None where none arrives."""
    tensors = [tg.Tensor(np.array(x, float), requires_grad=True) for x in arrays]
    f(*tensors).backward(np.array(g, float))
    return [t.grad for t in tensors]


def assert_same_bits(f, *arrays):
    """The value is NumPy's, down to the signs of zeros."""
    expected = f(*arrays)
    actual = f(*(tg.Tensor(x, requires_grad=True) for x in arrays)).data
    np.testing.assert_array_equal(actual, expected, strict=True)
    np.testing.assert_array_equal(np.signbit(actual), np.signbit(expected))


# Ties: gradients go to equal values in the order in which they stand in the input.


@pytest.mark.parametrize("kind", [None, "quicksort", "heapsort", "stable"])
def test_equal_values_are_sorted_in_the_order_of_the_input(kind):
    g = [1, 10, 100, 1000]
    (gx,) = gradients(lambda x: np.sort(x, kind=kind), [2, 1, 2, 1], g=g)
    np.testing.assert_array_equal(gx, [100, 1, 1000, 10])
    (gx,) = gradients(lambda x: np.partition(x, 1), [2, 1, 2, 1], g=g)
    np.testing.assert_array_equal(gx, [100, 1, 1000, 10])


def test_many_equal_values_and_nans_share_nothing():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 5, 300) * 1.0
    x[::50] = NAN
    g = rng.normal(size=300)
    order = np.argsort(x, kind="stable")
    for f in (np.sort, lambda x: np.partition(x, [20, 150])):
        tensor = tg.Tensor(x, requires_grad=True)
        y = f(tensor)
        y.backward(g)
        by_value = np.argsort(y.data, kind="stable")
        np.testing.assert_array_equal(tensor.grad[order], g[by_value])


def test_signs_of_zeros_are_numpys():
    x = np.array([0.0, -0.0, 1.0, -0.0, 0.0])
    functions = [np.sort, np.flip, np.diag, lambda x: np.pad(x, 2), lambda x: np.roll(x, 2)]
    functions += [
        lambda x: np.select([x > 0], [x], -x),
        lambda x: np.piecewise(x, [x > 0], [1, -0.0]),
    ]
    for f in functions:
        assert_same_bits(f, x)


def test_of_equal_values_the_first_is_the_unique_one():
    (gx,) = gradients(np.unique, [2, 1, 2, 1], g=[1, 10])
    np.testing.assert_array_equal(gx, [10, 1, 0, 0])
    x = tg.Tensor([2.0, 1.0, 2.0], requires_grad=True)
    y, index, inverse, counts = np.unique(x, True, True, True)
    assert isinstance(y, tg.Tensor)
    for mine, numpys in zip((index, inverse, counts), ([1, 0], [1, 0, 1], [1, 2]), strict=True):
        assert type(mine) is np.ndarray
        np.testing.assert_array_equal(mine, numpys)


def test_the_last_of_several_pieces_and_the_first_of_several_choices_decides():
    x = [-1, 2, 3]
    pieces = lambda x: np.piecewise(x, [x > 0, x > 2], [lambda x: 10 * x, lambda x: 100 * x])  # noqa: E731
    np.testing.assert_array_equal(gradients(pieces, x, g=[1, 1, 1])[0], [0, 10, 100])
    choices = lambda x: np.select([x > 0, x > 2], [10 * x, 100 * x])  # noqa: E731
    np.testing.assert_array_equal(gradients(choices, x, g=[1, 1, 1])[0], [0, 10, 10])


def test_pieces_see_no_values_but_their_own():
    def f(x):
        return np.piecewise(x, [x > 0], [lambda x, k: np.sqrt(x) * k, lambda x, k: x * k], 2.0)

    (gx,) = gradients(f, [-1, 4], g=[1, 1])
    np.testing.assert_array_equal(gx, [2, 0.5])


# Knots.

XP, FP = [0, 1, 3], [5, 7, 1]


def test_interpolation_has_the_slope_to_the_right_of_an_inner_knot_and_that_inside_at_the_ends():
    x = [-1, 0, 0.5, 1, 2, 3, 4, NAN]
    (gx,) = gradients(lambda x: np.interp(x, XP, FP), x, g=np.ones(8))
    np.testing.assert_array_equal(gx, [0, 2, 2, -3, -3, -3, 0, 0])


def test_what_lies_beyond_the_knots_reads_the_last_one_unless_told_otherwise():
    x = np.array([-1, 4, NAN, 0.5])
    g = [1, 10, 100, 1000]
    xp, fp = gradients(lambda xp, fp: np.interp(x, xp, fp), XP, FP, g=g)
    np.testing.assert_array_equal(xp, [-1000, -1000, 0])
    np.testing.assert_array_equal(fp, [501, 500, 10])
    xp, fp = gradients(lambda xp, fp: np.interp(x, xp, fp, left=3, right=4), XP, FP, g=g)
    np.testing.assert_array_equal(xp, [-1000, -1000, 0])
    np.testing.assert_array_equal(fp, [500, 500, 0])


def test_interpolation_between_equal_knots_and_with_one():
    x, xp, fp = gradients(np.interp, [0, 1, 2], [1], [7], g=[1, 10, 100])
    for gx, expected in ((x, [0, 0, 0]), (xp, [0]), (fp, [111])):
        np.testing.assert_array_equal(gx, expected)
    x, _, fp = gradients(np.interp, [0.5, 1, 1.5], [0, 1, 1, 2], [7, 8, 9, 10], g=[1, 10, 100])
    np.testing.assert_array_equal(x, [1, 10, 100])
    np.testing.assert_array_equal(fp, [0.5, 0.5, 60, 50])


def test_the_gradient_of_even_coordinates():
    rng = np.random.default_rng(0)
    f, even = rng.normal(size=5), np.linspace(0, 2, 5)
    for order in (1, 2):
        by_both = lambda f, x, order=order: np.gradient(f, x, edge_order=order)  # noqa: E731
        assert_right(by_both, [f, even], order=2)
        value = by_both(tg.Tensor(f), tg.Tensor(even, requires_grad=True)).data
        np.testing.assert_allclose(value, by_both(f, even), rtol=1e-14, atol=1e-14)
        # Coordinates without a gradient are NumPy's affair.
        value = by_both(tg.Tensor(f, requires_grad=True), tg.Tensor(even)).data
        np.testing.assert_array_equal(value, by_both(f, even))


# Convolution.


@pytest.mark.parametrize("function", [np.convolve, np.correlate])
@pytest.mark.parametrize("mode", ["full", "same", "valid"])
def test_all_pairs_of_lengths(function, mode):
    rng = np.random.default_rng(0)
    for n, m in itertools.product(range(1, 6), repeat=2):
        a, v = rng.normal(size=n), rng.normal(size=m)
        g = rng.normal(size=function(a, v, mode).size)
        ga, gv = gradients(lambda a, v: function(a, v, mode), a, v, g=g)
        # It is linear in each of the two.
        by_a = [g @ function(e, v, mode) for e in np.eye(n)]
        by_v = [g @ function(a, e, mode) for e in np.eye(m)]
        np.testing.assert_allclose(ga, by_a, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(gv, by_v, rtol=1e-12, atol=1e-12)


def test_a_number_is_convolved_as_a_vector_of_one():
    ga, gv = gradients(np.convolve, 2.0, [1.0, 3.0], g=[1, 10])
    np.testing.assert_array_equal(ga, np.array(31.0), strict=True)
    np.testing.assert_array_equal(gv, [2, 20])


# Correlation at its ends.


def test_of_proportional_rows_the_correlation_does_not_move():
    (gx,) = gradients(np.corrcoef, [[1, 2, 3], [2, 4, 6]], g=np.arange(4).reshape(2, 2))
    np.testing.assert_allclose(gx, 0, atol=1e-15)
    (gx,) = gradients(np.corrcoef, [1, 2, 4], g=3)
    np.testing.assert_array_equal(gx, [0, 0, 0])


# Shapes.


def test_the_shape_goes_by_the_name_that_numpy_has_for_it():
    x = tg.Tensor(np.arange(6.0), requires_grad=True)
    name = "shape" if hasattr(np, "unstack") else "newshape"  # since NumPy 2.1
    assert np.reshape(x, **{name: (2, 3)}).shape == (2, 3)
    assert np.reshape(x, 6).shape == (6,)
    if hasattr(np, "unstack"):
        y = np.reshape(x * 1, (2, 3), copy=True)
        y.backward(np.ones((2, 3)))
        np.testing.assert_array_equal(x.grad, np.ones(6))
        with pytest.raises(ValueError, match="copy=False"):
            np.reshape(x, (2, 3), copy=False)


def test_the_order_of_fortran():
    x = np.arange(6.0).reshape(2, 3)
    g = np.arange(6.0) ** 2
    for f in (lambda x: np.ravel(x, "F"), lambda x: np.reshape(x, -1, order="F")):
        (gx,) = gradients(f, x, g=g)
        np.testing.assert_array_equal(gx, [[0, 4, 16], [1, 9, 25]])


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_every_order_of_three_axes(axes):
    x = np.arange(24.0).reshape(2, 3, 4)
    for f in (
        lambda x: np.transpose(x, axes),
        lambda x: np.transpose(x, [axis - 3 for axis in axes]),
        lambda x: np.moveaxis(x, range(3), axes),
        lambda x: np.rollaxis(x, axes[0], axes[1]),
    ):
        # Weighted by its own value, each number in x is weighted by itself.
        np.testing.assert_array_equal(gradients(f, x, g=f(x))[0], x, strict=True)


@pytest.mark.parametrize("order", ["A", "K"])
def test_orders_that_go_by_the_memory_are_refused(order):
    x = tg.Tensor(np.ones((2, 3)), requires_grad=True)
    with pytest.raises(ValueError, match="pass order='C' or order='F'"):
        np.ravel(x, order)
    with pytest.raises(ValueError, match="pass order='C' or order='F'"):
        np.reshape(x, (3, 2), order)


def test_joining_in_another_dtype():
    x = tg.Tensor(np.float32([1, 2]), requires_grad=True)
    for f in (np.concatenate, np.stack, np.hstack, np.vstack):
        y = f([x, x], dtype=np.float64)
        assert y.dtype == np.float64
        with pytest.raises(TypeError, match=r"int64|same_kind"):
            f([x, x], dtype=int)
    y.backward(np.array([[0.1, 0.2], [0.3, 0.4]]))
    np.testing.assert_allclose(x.grad, [0.4, 0.6], rtol=1e-7)
    assert x.grad.dtype == np.float32


def test_joining_tensors_lists_and_numbers():
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    y = np.block([[x, 7.0], [np.zeros(2), x[:1]]])
    np.testing.assert_array_equal(y.data, [[1, 2, 7], [0, 0, 1]])
    y.backward(np.array([[1.0, 2, 3], [4, 5, 6]]))
    np.testing.assert_array_equal(x.grad, [7, 2])
    np.testing.assert_array_equal(np.vstack([x, [3, 4]]).data, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(np.hstack([x[0], 5.0]).data, [1, 5])
    np.testing.assert_array_equal(np.vstack(np.stack([x, x])).data, [[1, 2], [1, 2]])
    np.testing.assert_array_equal(np.append(x, [[3, 4]]).data, [1, 2, 3, 4])


@pytest.mark.parametrize(
    ("lists", "error"),
    [
        (lambda x: [[x], x], ValueError),
        (lambda x: [[x], (x, x)], TypeError),
        (lambda x: [[x], []], ValueError),
    ],
)
def test_blocks_that_numpy_refuses(lists, error):
    x = np.ones(2)
    for array in (x, tg.Tensor(x, requires_grad=True)):
        with pytest.raises(error):
            np.block(lists(array))


def test_a_recorded_value_fills_an_array():
    x = tg.Tensor(3.0, requires_grad=True)
    y = np.full_like(tg.Tensor(np.zeros((2, 2))), x, dtype=np.float32, shape=(3,))
    assert (y.dtype, y.shape) == (np.float32, (3,))
    y.backward(np.ones(3))
    assert x.grad == 3
    assert type(np.full_like(tg.Tensor([1.0]), 2.0)) is np.ndarray


def test_functions_along_an_axis():
    x = tg.Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    with pytest.raises(ValueError, match="no rows"):
        np.apply_along_axis(np.sum, 0, x[:, :0])
    with pytest.raises(ValueError, match=r"made \(\)"):
        np.apply_over_axes(lambda x, axis: np.sum(x), x, 0)
    assert np.apply_along_axis(lambda row: 1.0, 0, x).shape == (3,)


# Views: what NumPy shows of an array changes with it; a copy does not.


@pytest.mark.parametrize(
    "part",
    [
        lambda x: np.split(x, 3, axis=1)[1],
        lambda x: np.array_split(x, 2)[1],
        lambda x: np.hsplit(x, [1])[1],
        lambda x: np.vsplit(x, 2)[0],
        lambda x: np.moveaxis(x, 0, 1),
        lambda x: np.swapaxes(x, 0, 1)[1],
        lambda x: np.rollaxis(x, 1),
        lambda x: np.matrix_transpose(x),
        lambda x: np.flip(x)[0],
        lambda x: np.fliplr(x)[:, 1:],
        lambda x: np.flipud(x),
        lambda x: np.rot90(x)[1:],
        lambda x: np.rot90(x, 2),
        lambda x: np.atleast_3d(x)[0],
        lambda x: np.atleast_2d(x[1]),
        lambda x: np.ravel(x)[2:5],
        lambda x: np.reshape(x, 6)[::2],
        lambda x: np.ravel(x.T, "F")[2:4],
        lambda x: np.trim_zeros(x[1]),
        lambda x: np.squeeze(x),
        lambda x: np.squeeze(x[0]),
        lambda x: np.copy(x),
        lambda x: np.roll(x, 1),
        lambda x: np.ravel(x.T),
        lambda x: np.tril(x),
        lambda x: np.concatenate([x]),
        lambda x: np.block(x),
        lambda x: np.take(x, [0], axis=0),
        lambda x: np.sort(x),
        lambda x: np.repeat(x, 1, axis=0),
        lambda x: np.tile(x, 1),
        lambda x: np.diag(x[0]),
        lambda x: np.meshgrid(x[0], x[1])[0],
        lambda x: np.diff(x),
    ],
)
def test_what_is_assigned_to_a_part_of_an_array(part):
    def f(x):
        whole = x * 1.0
        shown = part(whole)
        shown[...] = shown * shown * 2
        return np.concatenate([np.ravel(whole), np.ravel(shown)])

    x = np.array([[0.3, -1.1, 2.0], [0.7, 1.4, -0.9]])
    assert_right(f, [x])
    assert_same_bits(f, x)


def test_diagonals_and_windows_are_read_only():
    x = tg.Tensor(np.ones((3, 3)), requires_grad=True) * 1
    windows = np.lib.stride_tricks.sliding_window_view
    for part in (np.diagonal(x), np.diag(x), windows(x, (2, 2)), np.broadcast_to(x, (2, 3, 3))):
        with pytest.raises(ValueError, match="read-only"):
            part[0] = 1.0


def test_to_put_nothing_changes_nothing():
    x = tg.Tensor([1.0, 2.0], requires_grad=True) * 1
    np.put(x, [0, 1], [])
    np.putmask(x, [True, True], [])
    np.place(x, [False, False], [])
    np.testing.assert_array_equal(x.data, [1, 2])


# Choosing.


def test_where_of_a_condition_alone_gives_positions():
    x = tg.Tensor([1.0, 0.0, 3.0], requires_grad=True)
    for positions in (np.where(x > 0), np.where(x)):
        assert type(positions) is tuple
        np.testing.assert_array_equal(positions, [[0, 2]])
    np.testing.assert_array_equal(x[np.where(x > 0)].data, [1, 3])


def test_positions_may_be_tensors_of_integers():
    positions = tg.Tensor([0, 0, 2])
    for f in (
        lambda x: np.take(x * x, positions),
        lambda x: np.take(x * x, positions, axis=-1),
        lambda x: np.take_along_axis(x * x, positions, 0),
        lambda x: np.delete(np.repeat(x * x, positions), 0),
    ):
        assert_right(f, [np.array([0.5, -1.0, 2.0])], order=2)


def test_functions_that_tell_positions_give_plain_arrays():
    values = np.array([2.0, 1.0, 3.0])
    x = tg.Tensor(values, requires_grad=True)
    for f in (
        lambda x: np.argsort(x),
        lambda x: np.argpartition(x, 1),
        lambda x: np.lexsort((x, x)),
        lambda x: np.searchsorted([1.5, 2.5], x),
        lambda x: np.searchsorted(np.sort(x), 1.5),
        lambda x: np.digitize(x, [1.5, 2.5]),
        lambda x: np.isin(x, [1.0, 3.0]),
        lambda x: np.argwhere(x > 1),
        lambda x: np.flatnonzero(x > 1),
        lambda x: np.array_equiv(x, [[2.0, 1.0, 3.0]]),
        lambda x: np.bincount([0, 1, 1]),
    ):
        actual = f(x)
        assert not isinstance(actual, tg.Tensor)
        np.testing.assert_array_equal(actual, f(values))


# Numbers in a row.


def test_the_ends_of_a_row_are_exactly_what_was_given():
    for f in (np.linspace, lambda a, b, n: np.geomspace(a, b, n)):
        first, last = gradients(lambda a, b, f=f: f(a, b, 4)[[0, -1]], 0.3, 0.7, g=[2, 3])
        assert first == 2
        assert last == 3
    first, last = gradients(lambda a, b: np.geomspace(a, b, 1), -0.3, -0.7, g=[2])
    assert first == 2
    assert last == 0


def test_the_step_of_a_row():
    a, b = (tg.Tensor(x, requires_grad=True) for x in (1.0, 2.0))
    _, step = np.linspace(a, b, 5, retstep=True)
    step.backward()
    assert (a.grad, b.grad) == (-0.25, 0.25)
    assert np.isnan(np.linspace(a, b, 1, retstep=True)[1])


# Sizes of which there is nothing, or not enough.


def test_nothing_is_left():
    for f, x in (
        (lambda x: np.diff(x, 5), np.ones(3)),
        (np.ediff1d, np.ones(1)),
        (np.sort, np.ones((2, 0))),
        (np.unique, np.ones(0)),
        (np.trim_zeros, np.zeros(4)),
        (lambda x: np.tile(x, 0), np.ones(3)),
        (lambda x: np.repeat(x, 0), np.ones(3)),
        (lambda x: np.compress([], x), np.ones(3)),
        (lambda x: np.split(x, [2])[0], np.ones((0, 2))),
        (lambda x: np.split(x, [3, 1])[1], np.ones(4)),
        (lambda x: np.linspace(x, x, 0), np.ones(2)),
        (lambda x: np.vander(x, 0), np.ones(2)),
    ):
        tensor = tg.Tensor(x, requires_grad=True)
        y = f(tensor)
        assert y.shape == f(x).shape
        assert y.size == 0
        y.backward(np.zeros(y.shape))
        np.testing.assert_array_equal(tensor.grad, np.zeros(x.shape), strict=True)


REFUSED = [
    (lambda x: np.pad(x, 1, mode="mean"), NotImplementedError, "np.concatenate"),
    (lambda x: np.pad(x, 1, mode="empty"), NotImplementedError, "np.concatenate"),
    (lambda x: np.pad(x, 1, "reflect", reflect_type="odd"), NotImplementedError, "'even'"),
    (lambda x: np.pad(x, 1, constant_values=x[0]), TypeError, "np.concatenate"),
    (lambda x: np.pad(x, 1, mode="edge", constant_values=1), ValueError, "constant_values"),
    (lambda x: np.interp(x, [0.0, 2.0], [1.0, 2.0], left=x[0]), NotImplementedError, "3"),
    (lambda x: np.interp(x, [0.0, 1.0], [0.0, 1.0], period=0), ValueError, "period"),
    (lambda x: np.logspace(x, x, 3, base=[2.0, 3.0]), NotImplementedError, "base"),
    (lambda x: np.geomspace(x - x, 1.0, 3), ValueError, "0"),
    (lambda x: np.linspace(x, x, 3, dtype=int), TypeError, "int64"),
    (lambda x: np.polyfit([1.0, 2.0, 3.0], x, 1, full=True), NotImplementedError, "full"),
    (lambda x: np.polyfit([1.0, 2.0, 3.0], x, 1, cov=True), NotImplementedError, "cov"),
    (lambda x: np.trim_zeros(x[None]), NotImplementedError, "vectors"),
    (lambda x: np.choose([0, 5], [x[:2], x[:2]]), ValueError, "invalid entry"),
    (lambda x: np.select([x > 0], [x, x]), ValueError, "2 choices for 1"),
    (lambda x: np.select([np.ones(3)], [x]), TypeError, "boolean"),
    (lambda x: np.piecewise(x, [x > 0], [1, 2, 3]), ValueError, "3 functions and 1 conditions"),
    (lambda x: np.gradient(x, 1.0, 2.0), TypeError, "spacing"),
    (lambda x: np.gradient(x, [1.0, 2.0]), ValueError, "3 coordinates"),
    (lambda x: np.gradient(x, edge_order=3), ValueError, "edge_order"),
    (lambda x: np.gradient(x[:2], edge_order=2), ValueError, "too few"),
    (lambda x: np.diff(x, -1), ValueError, "negative"),
    (lambda x: np.polyder(x, -1), ValueError, "negative"),
    (lambda x: np.insert([1, 2], 0, x), TypeError, "int64"),
    (lambda x: np.split(x, 2), ValueError, "equal division"),
    (lambda x: np.vsplit(x, 3), ValueError, "np.split"),
    (lambda x: np.unique(x, sorted=False), TypeError, "sorted"),
    (lambda x: np.fft.fft(x), NotImplementedError, "np.fft.fft"),
    (lambda x: np.histogram(x), NotImplementedError, "np.histogram"),
    (lambda x: np.vectorize(lambda a: a * a)(x), TypeError, "gradient"),
    (lambda x: np.bincount(x), TypeError, "gradient"),
    (lambda x: np.put(np.zeros(3), [0, 1, 2], x), TypeError, "tg.Tensor"),
    (lambda x: np.copyto(np.zeros(3), x), TypeError, "tg.Tensor"),
    (lambda x: np.place(x * 1, x > 0, []), ValueError, "no values"),
    (lambda x: np.put(x, 0, 1.0), RuntimeError, "copy"),
    (lambda x: np.put(x * 1, 3, 1.0), IndexError, "out of bounds"),
]


@pytest.mark.parametrize(("f", "error", "message"), REFUSED)
def test_what_is_refused(f, error, message):
    x = tg.Tensor([1.0, 2.0, 3.0], requires_grad=True)
    with pytest.raises(error, match=message):
        f(x)
    np.testing.assert_array_equal(x.data, [1, 2, 3])


@pytest.mark.parametrize(
    ("obj", "values", "axis"),
    [
        (1, [7.0, 8.0], None),
        (slice(0, 2), [7.0, 8.0], None),
        ([2], [[7.0, 8.0], [5.0, 6.0]], 1),
        (1, [7.0, 8.0, 9.0], 0),
    ],
)
def test_insert_of_several_values(obj, values, axis):
    x = np.arange(6.0).reshape(2, 3)
    assert tg.check_grad(lambda x, v: np.insert(x, obj, v, axis), x, np.array(values))
