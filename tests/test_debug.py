"""tg.debug(): the first NaN or infinity is named, and arrays on a tape are locked."""

from __future__ import annotations

import contextlib
import inspect
import re
import threading

import numpy as np
import pytest

import tinygrad_edu as tg


def leaf(*values, **options):
    return tg.Tensor(list(values), requires_grad=True, **options)


def here():
    """The file and line of the caller, as messages show them."""
    frame = inspect.currentframe().f_back
    return re.escape(f"({__file__}, line {frame.f_lineno})")


@pytest.mark.parametrize("recorded", [True, False])
def test_the_first_infinity_is_named_forward(recorded):
    x = tg.Tensor([1.0, 0.0, 2.0], requires_grad=recorded)
    with tg.debug(), np.errstate(divide="ignore"):
        line = here()[:-3]
        with pytest.raises(FloatingPointError) as error:
            np.log(x)
    assert re.search(
        r"np\.log of shape \(3,\) .*the result is -inf at \[1\], from 0\.0", str(error.value)
    )
    assert line[:-3] in re.escape(str(error.value))


def test_a_nan_names_its_operands():
    x, y = leaf(1.0, np.inf), leaf(1.0, np.inf)
    with (
        tg.debug(),
        np.errstate(invalid="ignore"),
        pytest.raises(
            FloatingPointError, match=r"np\.subtract of shape.*nan at \[1\], from inf and inf"
        ),
    ):
        x - y


def test_infinities_that_were_given_may_pass_but_nan_may_not():
    x = leaf(1.0, 2.0)
    with tg.debug():
        scores = np.where([True, False], x, -np.inf)
        np.sum(tg.softmax(scores) * [1.0, 3.0]).backward()
        with pytest.raises(FloatingPointError, match=r"argument 1 holds nan at \[0\] already"):
            x * np.array([np.nan, 1.0])
    np.testing.assert_array_equal(x.grad, [0, 0])


def test_the_rule_that_makes_an_infinity_is_named_backward():
    x = leaf(4.0, 0.0)
    with tg.debug():
        y = np.sqrt(x)
        line = here()
        with pytest.raises(
            FloatingPointError, match=r"backward.*input 0 of np\.sqrt of shape \(2,\).*inf at \[1\]"
        ):
            np.sum(y * 2).backward()
        with pytest.raises(FloatingPointError, match=r"backward.*np\.sqrt"):
            tg.grad(lambda x: np.sum(np.sqrt(x)))(np.zeros(2))
    assert line


def test_what_has_no_influence_is_no_error():
    with tg.debug(), np.errstate(all="ignore"):
        gradient = tg.grad(lambda x: np.sum(np.where(x > 0, np.sqrt(np.abs(x)), 0)))(
            np.array([0.0, 4.0])
        )
    np.testing.assert_array_equal(gradient, [0, 0.25])


def test_without_debug_nothing_is_said():
    x = leaf(0.0, 1.0)
    with np.errstate(divide="ignore"):
        y = np.log(x)
    y.sum().backward()
    assert x.grad.tolist() == [np.inf, 1.0]


WRITES = {
    "data": lambda w, a: w.data.__setitem__(0, 9.0),
    "data in place": lambda w, a: np.multiply(w.data, 2, out=w.data),
    "the caller's array": lambda w, a: a.__setitem__(0, 9.0),
    "the caller's array in place": lambda w, a: a.__imul__(2),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_arrays_on_a_tape_are_locked_until_it_is_gone(write):
    w, a = leaf(1.0, 2.0), np.array([3.0, 4.0])
    with tg.debug():
        loss = np.sum(w * a)
        with pytest.raises(ValueError, match="read-only"):
            write(w, a)
        loss.backward()
        np.testing.assert_array_equal(w.grad, [3, 4])
        write(w, a)
        loss = np.sum(w * a)
        with pytest.raises(ValueError, match="read-only"):
            write(w, a)
        del loss
        write(w, a)
    write(w, a)


def test_the_base_of_a_view_is_locked():
    data = np.ones((3, 2))
    w = leaf(1.0, 2.0)
    with tg.debug():
        loss = np.sum(data[1:] @ w)
        with pytest.raises(ValueError, match="read-only"):
            data[1] = 0
        loss.backward()
    data[1] = 0


def test_training_in_debug_mode_is_as_without():
    losses = {}
    for watched in (False, True):
        model = tg.nn.MLP((2, 5, 3), rng=0)
        # In debug mode there is no compiled step, which would differ in the last bit.
        trainer = tg.Trainer(model, tg.optim.SGD(model.parameters(), 0.1), rng=0, compiled=False)
        X, y = tg.data.spiral(points_per_class=10, rng=0)
        fit = tg.debug(trainer.fit) if watched else trainer.fit
        losses[watched] = fit(X, y, epochs=3, progress=False).loss
    assert list(losses[True]) == list(losses[False])


def test_debug_is_put_back_after_errors_and_holds_for_its_thread_alone():
    found = []

    def elsewhere():
        with np.errstate(divide="ignore"):
            found.append(np.log(leaf(0.0)).item())

    with contextlib.suppress(KeyError), tg.debug():
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        raise KeyError
    elsewhere()
    assert found == [-np.inf, -np.inf]


def test_writes_into_data_are_noticed_without_debug():
    w = leaf(1.0, 2.0, name="w")
    loss = np.sum(w * w)
    w.data[0] = 5.0
    with pytest.raises(RuntimeError, match=r"the data of w was changed after np\.multiply"):
        loss.backward()
    loss = np.sum(w * w)
    assert w.data[0] == 5.0  # looking changes nothing
    loss.backward()
    np.testing.assert_array_equal(w.grad, [10, 4])


def test_data_written_before_another_forward_pass_is_read_by_it():
    w = leaf(1.0, 2.0)
    old = np.sum(w * w)
    w.data[0] = 5.0
    new = np.sum(w * w)
    w.data  # noqa: B018
    new.backward()
    np.testing.assert_array_equal(w.grad, [10, 4])
    with pytest.raises(RuntimeError, match="changed after"):
        old.backward()


def test_small_arrays_of_the_caller_may_be_written_into_at_once():
    w, a = leaf(1.0, 2.0), np.array([3.0, 4.0])
    loss = np.sum(w * a)
    a *= 100
    loss.backward()
    np.testing.assert_array_equal(w.grad, [3, 4])


def test_views_are_unlocked_when_nothing_holds_what_they_show():
    data = np.ones((10, 3))
    view = data[:5]
    w = leaf(1.0, 1.0, 1.0)
    with tg.debug():
        loss = np.sum(w * view) + np.sum(w * data)
        assert not view.flags.writeable
    loss.backward()
    assert data.flags.writeable
    assert view.flags.writeable


def test_arrays_given_by_keyword_are_kept_too():
    w, mask = leaf(1.0, 1.0, 1.0), np.array([True, True, False])
    y = np.sum(w, where=mask)
    mask[:] = False
    y.backward()
    np.testing.assert_array_equal(w.grad, [1, 1, 0])
    with tg.debug():
        y = np.sum(w, where=mask)
        with pytest.raises(ValueError, match="read-only"):
            mask[:] = True


def test_a_constant_tensor_shows_its_array_and_notices():
    w, c = leaf(1.0, 1.0), tg.Tensor([1.0, 2.0])
    loss = np.sum(w * c)
    c.numpy()[0] = 99
    with pytest.raises(RuntimeError, match="changed after"):
        loss.backward()
