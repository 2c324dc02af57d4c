"""The strategies for tests of one's own operations, and what such a test prints."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import find, given, settings

import tinygrad_edu as tg
from tinygrad_edu import testing as tgt
from tinygrad_edu.gradcheck import GradientError

EXAMPLE = Path(__file__).parents[1] / "examples" / "test_my_op.py"

ends = st.tuples(st.floats(-8, 8), st.floats(0.5, 8)).map(lambda p: (p[0], p[0] + p[1]))
anything = settings(max_examples=500)


def anything_at_all(value):
    return True


# Shapes.


@given(st.data(), st.integers(0, 3), st.integers(0, 2), st.integers(1, 5))
def test_shapes_keep_to_their_bounds(data, min_dims, more, max_side):
    shape = data.draw(tgt.shapes(min_dims, min_dims + more, max_side))
    assert type(shape) is tuple
    assert min_dims <= len(shape) <= min_dims + more
    assert all(1 <= side <= max_side for side in shape)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (3, 1, 2)])
def test_shapes_of_every_kind_are_drawn(shape):
    assert find(tgt.shapes(), lambda drawn: drawn == shape, settings=anything) == shape


# Arrays.


@given(st.data(), ends, st.sampled_from([np.float64, np.float32]))
def test_arrays_keep_to_their_range_and_dtype(data, ends, dtype):
    low, high = np.float32(ends[0]).item(), np.float32(ends[1]).item()
    x = data.draw(tgt.arrays(low=low, high=high, dtype=dtype))
    assert x.dtype == dtype
    assert ((x >= low) & (x <= high)).all()


@pytest.mark.parametrize("dtype", ["float32", np.float32, float, np.float64])
@given(st.data())
def test_the_ends_need_not_be_numbers_of_the_dtype(dtype, data):
    x = data.draw(tgt.arrays(3, low=0.1, high=0.7, dtype=dtype))
    assert x.dtype == np.dtype(dtype)
    assert ((x >= np.array(0.1, x.dtype)) & (x <= np.array(0.7, x.dtype))).all()


@pytest.mark.parametrize("shape", [(), 4, (2, 3), (0, 3)])
@given(st.data())
def test_arrays_have_the_shape_that_is_asked_for(shape, data):
    expected = (shape,) if isinstance(shape, int) else shape
    for strategy in (tgt.arrays(shape), tgt.separated(shape)):
        assert data.draw(strategy).shape == expected


@given(tgt.arrays(tgt.shapes(2, 2)), tgt.separated(tgt.shapes(2, 2)))
def test_arrays_take_strategies_of_shapes(a, b):
    assert a.ndim == b.ndim == 2


@pytest.mark.parametrize(
    "wanted",
    [
        lambda x: (x == 0).all(),
        lambda x: x[0] == x[1],
        lambda x: x[0] == -2,
        lambda x: x[0] == 2,
    ],
    ids=["zeros", "ties", "low", "high"],
)
def test_awkward_values_are_drawn(wanted):
    assert wanted(find(tgt.arrays(2), wanted, settings=anything))


@pytest.mark.parametrize("strategy", [tgt.arrays(), tgt.separated(), tgt.arrays(dtype="float32")])
def test_the_simplest_array_is_a_number(strategy):
    assert find(strategy, anything_at_all).shape == ()


def test_arrays_shrink_to_simple_values():
    x = find(tgt.arrays((2, 2)), lambda x: x.max() > 0.3)
    np.testing.assert_array_equal(np.sort(x, axis=None), [0, 0, 0, 1])


# Separated arrays.


def gap_of(x, low, high):
    return (high - low) / max(x.size, 1)


@given(st.data(), ends)
def test_separated_values_keep_apart_and_inside(data, ends):
    low, high = ends
    x = data.draw(tgt.separated(low=low, high=high))
    assert x.dtype == float
    assert ((x > low) & (x < high)).all()
    # A value that is moved off a kink comes a little closer to its neighbour.
    assert (np.diff(np.sort(x, axis=None)) > 0.8 * gap_of(x, low, high)).all()


@given(st.data(), st.lists(st.integers(-40, 40), min_size=1, max_size=3))
def test_separated_values_keep_off_every_kink(data, kinks):
    # Kinks a twentieth or a tenth of a gap apart, in any order, are the difficult ones.
    kinks = [k / 20 for k in kinks]
    x = data.draw(tgt.separated(4, away_from=kinks))
    for kink in kinks:
        assert np.abs(x - kink).min() > gap_of(x, -2, 2) / 20 * (1 - 1e-9)


@pytest.mark.parametrize("kinks", [(0.6, 0.5), (0.5, 0.6), (0.45, 0.5, 0.55, 0.6)])
@given(st.data())
def test_separated_values_keep_off_kinks_that_lie_close_together(kinks, data):
    x = data.draw(tgt.separated(4, away_from=kinks))
    assert np.abs(x[:, None] - kinks).min() > gap_of(x, -2, 2) / 20 * (1 - 1e-9)


def test_values_that_move_off_kinks_keep_apart():
    # These leave a little room in the cell from 0 to 1, and none at the value itself.
    kinks = [0.45, 0.5, 0.55]
    x = np.sort(find(tgt.separated(4, away_from=kinks), anything_at_all))
    assert (np.diff(x) > 0.2).all()
    np.testing.assert_array_equal(np.floor(x), [-2, -1, 0, 1])


def test_kinks_that_leave_no_room_are_refused():
    with pytest.raises(ValueError, match=r"no room from .* beside away_from"):
        find(tgt.separated(4, away_from=np.linspace(-2, 2, 80)), anything_at_all)


def test_separated_values_come_in_every_order():
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        found = find(tgt.separated(3), lambda x, order=order: x.argsort().tolist() == order)
        assert found.argsort().tolist() == order


def test_separated_values_come_close_to_the_kink_on_both_sides():
    for sign in (1, -1):
        assert find(
            tgt.separated(1), lambda x, sign=sign: 0 < sign * x[0] < 0.5, settings=anything
        ).shape == (1,)


@settings(max_examples=20)
@given(tgt.separated(tgt.shapes(1)))
def test_functions_with_kinks_are_smooth_at_separated_values(x):
    report = tg.assert_grad(lambda x: np.sum(tg.relu(x)) + np.max(x) - np.abs(x).min(), x)
    assert "KINK" not in str(report)


# Arrays that broadcast.


@given(st.data(), st.lists(ends, min_size=1, max_size=4))
def test_broadcastable_arrays_broadcast_and_keep_to_their_ranges(data, ranges):
    drawn = data.draw(tgt.broadcastable(*ranges, max_dims=2, max_side=4))
    assert len(drawn) == len(ranges)
    shape = np.broadcast_shapes(*(x.shape for x in drawn))
    assert len(shape) <= 2
    assert all(side <= 4 for side in shape)
    for x, (low, high) in zip(drawn, ranges, strict=True):
        assert ((x >= low) & (x <= high)).all()


@pytest.mark.parametrize(
    "wanted",
    [
        lambda a, b: a.ndim < b.ndim and a.size > 1,
        lambda a, b: a.ndim > b.ndim,
        lambda a, b: a.size < np.broadcast(a, b).size > b.size,
        lambda a, b: a.shape == b.shape and a.size > 1,
    ],
    ids=["fewer axes", "more axes", "both ways", "alike"],
)
def test_every_kind_of_broadcasting_is_drawn(wanted):
    strategy = tgt.broadcastable((-1, 1), (2, 3))
    assert wanted(*find(strategy, lambda pair: wanted(*pair), settings=settings(max_examples=5000)))


def test_two_arrays_are_drawn_without_ranges():
    a, b = find(tgt.broadcastable(), anything_at_all)
    assert (a, b) == (0, 0)


# Tests of operations.


@tg.primitive
def bell(x):
    return np.exp(-x * x)


bell.derivative(lambda g, y, x: -2 * g * x * y, core_axes=0)


@tg.primitive
def dented_bell(x):
    return np.exp(-x * x)


# Wrong for x below -1 alone.
dented_bell.derivative(lambda g, y, x: -2 * g * np.maximum(x, -1.0) * y, core_axes=0)


@settings(max_examples=15)
@given(x=tgt.separated())
def test_an_operation_that_is_right(x):
    tg.assert_grad(bell, x, order=2)


@given(x=tgt.separated())
def of_a_wrong_operation(x):
    tg.assert_grad(dented_bell, x)


def test_a_test_of_a_wrong_operation_fails_with_an_example_to_paste():
    with pytest.raises(GradientError, match="dented_bell: WRONG") as caught:
        of_a_wrong_operation()
    printed = "\n".join(caught.value.__notes__)
    call = re.search(r"of_a_wrong_operation\((.*?)\n\)", printed, re.DOTALL).group(1)
    x = eval(f"dict({call})", {"array": np.array})["x"]
    # Shrunk as far as it goes: a single number.
    assert x.size == 1
    assert x < -1
    with pytest.raises(GradientError) as again:
        tg.assert_grad(dented_bell, x)
    assert again.value.report.wrong == caught.value.report.wrong
    assert "the rule for its argument 0 is wrong" in str(caught.value)


# As in autograd.


@pytest.mark.parametrize(
    ("f", "args"), [(np.tanh, (0.5,)), (np.multiply, (np.ones((2, 3)), np.ones(3)))]
)
def test_check_grads_checks_both_orders(f, args):
    report = tgt.check_grads(f)(*args)
    assert {i.order for i in report.inputs} == {1, 2}
    assert {i.order for i in tgt.check_grads(f, order=1)(*args).inputs} == {1}
    assert tgt.check_grads(f, modes=["rev"])(*args)


kept = {}


@tg.primitive
def square(x):
    kept["x"] = np.array(x)
    return x * x


# Right to first order; the array that was kept is not on the tape, so its own slope is lost.
square.derivative(lambda g, y, x: 2 * g * kept["x"], core_axes=0)


def test_check_grads_finds_what_is_wrong_in_the_second_order_alone():
    x = np.array([0.5, 2.0])
    assert tg.assert_grad(square, x)
    with pytest.raises(GradientError) as caught:
        tgt.check_grads(square)(x)
    assert {w.name for w in caught.value.report.wrong} == {"x, order 2"}


@pytest.mark.parametrize("f", [np.sum, np.transpose, lambda x: 2 * x])
def test_linear_functions_have_second_derivatives_too(f):
    assert tgt.check_grads(f)(np.array([[0.5, 2.0, -1.0]]))


def test_check_grads_hands_keywords_to_the_function():
    x = np.array([[0.5, 2.0, -1.0], [1.5, 0.25, -2.0]])
    for axis, keepdims in ((0, True), (1, False)):
        assert tgt.check_grads(np.sum)(x, axis=axis, keepdims=keepdims)
    with pytest.raises(GradientError):
        tgt.check_grads(lambda x, power: square(x) ** power)(x, power=2)


def test_check_grads_takes_the_position_of_the_argument():
    f = lambda a, b: np.sum(a * b**2)  # noqa: E731
    for check in (tgt.check_grads(f, argnum=1), tgt.check_grads(f, 1), tgt.check_grads(f, (1,))):
        assert {i.name for i in check(np.ones(2), np.ones(2)).inputs} == {"b"}
    assert len(tgt.check_grads(f, (0, 1), order=1)(np.ones(2), np.ones(2)).inputs) == 2


def test_check_grads_takes_trees_and_integers():
    f = lambda p, n: [p["a"] ** n, np.sin(p["b"]) * p["a"]]  # noqa: E731
    assert tgt.check_grads(f)({"a": np.array([0.5, 2.0]), "b": 1.5}, 3)


@pytest.mark.parametrize("modes", [["fwd"], ["rev"], ("fwd", "rev")])
@pytest.mark.parametrize("order", [1, 2])
def test_both_modes_of_autograd(modes, order):
    assert tgt.check_grads(np.tanh, modes, order)(np.array([0.5, 2.0]))


def test_the_forward_mode_is_checked_too():
    @tg.primitive
    def twice(x):
        return 2 * x

    # Right for a plain g, so that the gradient passes; but with a recorded g its slope is lost.
    twice.derivative(lambda g, y, x: 2 * (g.numpy() if isinstance(g, tg.Tensor) else g))
    x = np.array([0.5, 2.0])
    assert tgt.check_grads(twice, modes=["rev"], order=1)(x)
    with pytest.raises(AssertionError, match=r"jvp and vjp disagree"):
        tgt.check_grads(twice, modes=["fwd"], order=1)(x)


@pytest.mark.parametrize("modes", [("forward",), (), "rev", ["rev", "fwd", "back"]])
def test_unknown_modes_are_refused(modes):
    with pytest.raises(ValueError, match=r"'fwd', 'rev' or both"):
        tgt.check_grads(np.tanh, modes=modes)


# The example for users.


def pytest_of(file, cwd):
    environment = {**os.environ, "PYTHONPATH": str(Path(tg.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_example_passes(tmp_path):
    result = pytest_of(EXAMPLE, tmp_path)
    assert result.returncode == 0
    assert "1 passed" in result.stdout


def test_the_example_broken_as_its_docstring_says_fails_as_it_says(tmp_path):
    source = EXAMPLE.read_text()
    assert source.count("(x - y),") == 1
    broken = source.replace("(x - y),", "(x + y),")
    # To make the inputs as small as they get takes long, and is hypothesis's own matter.
    broken = broken.replace("import given,", "import Phase, given,")
    broken = broken.replace("max_examples=20", "phases=[Phase.generate]")
    (tmp_path / "test_my_op.py").write_text(broken)
    result = pytest_of("test_my_op.py", tmp_path)
    assert result.returncode == 1
    # "Falsifying example" or "Failing test case", as the version of hypothesis has it.
    assert re.search(r": test_swish\(\n[E\s]*inputs=\(array\(", result.stdout)
    assert re.search(r"WRONG +beta", result.stdout)
    assert "the rule for its argument 1 is wrong" in result.stdout


def test_the_test_in_the_example_is_short():
    source = EXAMPLE.read_text()
    test = source[source.index("@settings") :]
    assert len(test.strip().splitlines()) <= 5


def test_the_engine_s_sigmoid_says_what_swish_is():
    spec = importlib.util.spec_from_file_location("example_of_an_operation", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    x, beta = np.array([-2.0, 0.0, 3.0]), 1.5
    np.testing.assert_allclose(example.swish(x, beta), x * tg.sigmoid(beta * x), rtol=1e-14)
