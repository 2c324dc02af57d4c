"""The training loop: what it computes, what it shows, and how it ends when something is wrong."""

import contextlib
import math
import re
import signal
import threading

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_edu as tg
from tinygrad_edu import nn, optim

nan, inf = float("nan"), float("inf")


class Seen(nn.Module):
    """Hands its input on, and keeps every batch that it is trained on."""

    def __init__(self, inner):
        self.inner = inner
        self.batches = []

    def forward(self, x):
        out = self.inner(x)
        if out.requires_grad:
            self.batches.append(np.array(x))
        return out


class Flat(nn.Module):
    """A line whose outputs have shape (n,)."""

    def __init__(self):
        self.layer = nn.Linear(2, 1, rng=0)

    def forward(self, x):
        return self.layer(x).reshape(-1)


class Numpy:
    """A relu net with cross-entropy, an L2 penalty and gradient descent, written out by hand."""

    def __init__(self, net, l2, lr=0.3):
        self.p = [p.data.copy() for p in net.parameters()]
        self.l2, self.lr = l2, lr

    def loss(self, X, y):
        W1, b1, W2, b2 = self.p
        self.h = np.maximum(X @ W1 + b1, 0)
        s = self.h @ W2 + b2
        self.probabilities = np.exp(s) / np.exp(s).sum(axis=1)[:, None]
        right = self.probabilities[np.arange(len(y)), y]
        return -np.log(right).mean() + 0.5 * self.l2 * ((W1 * W1).sum() + (W2 * W2).sum())

    def step(self, X, y):
        loss = self.loss(X, y)
        W1, _, W2, _ = self.p
        ds = self.probabilities.copy()
        ds[np.arange(len(y)), y] -= 1
        ds /= len(y)
        dh = (ds @ W2.T) * (self.h > 0)
        slopes = [X.T @ dh + self.l2 * W1, dh.sum(0), self.h.T @ ds + self.l2 * W2, ds.sum(0)]
        self.p = [p - self.lr * g for p, g in zip(self.p, slopes, strict=True)]
        return loss


def problem(n=23, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 2)), rng.integers(0, 3, n)


def classifier(seed=0, dtype=float):
    net = nn.MLP((2, 6, 3), rng=seed, dtype=dtype)
    rng = np.random.default_rng(seed + 1)
    for p in net.parameters():
        if p.ndim == 1:
            p.data = 0.5 * rng.standard_normal(p.shape)
    return net


def trainer_of(net, lr=0.3, **keywords):
    return tg.Trainer(net, optim.SGD(net.parameters(), lr), **keywords)


def bits(net):
    return [(p.dtype, p.data.tobytes()) for p in net.parameters()]


def fitted(rng=0, seed=0, **keywords):
    """The bits of a net and of its losses after a short training."""
    net = classifier(seed)
    keywords = {"epochs": 4, "batch_size": 5, "progress": False, **keywords}
    history = trainer_of(net, rng=rng).fit(*problem(), **keywords)
    return bits(net), history.loss


@pytest.mark.parametrize("l2", [0.0, 0.05])
@pytest.mark.parametrize("batch_size", [None, 7])
def test_training_is_what_a_loop_in_numpy_does(l2, batch_size):
    net, (X, y) = classifier(), problem()
    by_hand = Numpy(net, l2)
    trainer = trainer_of(net, l2=l2)
    history = trainer.fit(X, y, 5, batch_size, shuffle=False, progress=False)
    size = batch_size or len(X)
    cuts = [slice(i, i + size) for _ in range(5) for i in range(0, len(X), size)]
    expected = [by_hand.step(X[cut], y[cut]) for cut in cuts]
    assert len(history) == len(history.loss) == len(cuts)
    np.testing.assert_allclose(history.loss, expected, rtol=1e-12)
    for p, q in zip(net.parameters(), by_hand.p, strict=True):
        assert np.abs(p.data - q).max() <= 1e-12 * np.abs(q).max()


def test_the_loss_is_measured_before_the_update():
    net, (X, y) = classifier(), problem()
    trainer = trainer_of(net, l2=0.1)
    losses = [trainer.objective(X, y).item()]
    for _ in range(3):
        trainer.fit(X, y, 1, progress=False)
        losses.append(trainer.objective(X, y).item())
    np.testing.assert_allclose(trainer.history.loss, losses[:-1], rtol=1e-14)
    assert losses == sorted(losses, reverse=True)


def test_the_penalty_leaves_biases_out():
    net, (X, y) = classifier(), problem()
    plain, heavy = trainer_of(net), trainer_of(net, l2=2.0)
    W1, b1, W2, b2 = (p.data for p in net.parameters())
    assert b1.any()
    assert b2.any()
    difference = heavy.objective(X, y).item() - plain.objective(X, y).item()
    assert difference == pytest.approx((W1 * W1).sum() + (W2 * W2).sum(), rel=1e-12)


@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 3), st.booleans())
def test_every_epoch_uses_every_sample_once(n, batch_size, epochs, shuffle):
    X = np.c_[np.arange(n), np.zeros(n)]
    net = Seen(nn.Linear(2, 1, init=0.1, rng=0))
    pairs = []

    def loss(outputs, y):
        if isinstance(outputs, tg.Tensor) and outputs.requires_grad:
            pairs.append(y)
        return tg.mse(outputs, y)

    trainer = tg.Trainer(net, optim.SGD(net.parameters(), lr=1e-9), loss, rng=n)
    history = trainer.fit(X, X[:, :1] + 0.5, epochs, batch_size, shuffle, progress=False)
    full, rest = divmod(n, batch_size)
    sizes = [batch_size] * full + [rest] * (rest > 0)
    assert [len(batch) for batch in net.batches] == sizes * epochs
    assert len(history) == len(sizes) * epochs
    assert history.epoch_ends == [len(sizes) * (i + 1) for i in range(epochs)]
    used = np.concatenate(net.batches)[:, 0].reshape(epochs, n)
    np.testing.assert_array_equal(np.sort(used, axis=1), [np.arange(n)] * epochs)
    np.testing.assert_array_equal(np.concatenate(pairs)[:, 0], used.ravel() + 0.5)
    if not shuffle:
        np.testing.assert_array_equal(used, [np.arange(n)] * epochs)


def test_minibatches_are_drawn_anew_in_every_epoch():
    X = np.c_[np.arange(50), np.zeros(50)]
    net = Seen(nn.Linear(2, 3, init=0.01, rng=0))
    trainer_of(net, lr=1e-6, rng=0).fit(X, np.zeros(50, int), 3, 20, progress=False)
    orders = np.concatenate(net.batches)[:, 0].reshape(3, 50)
    assert len({order.tobytes() for order in [*orders, np.arange(50.0)]}) == 4


@pytest.mark.parametrize("batch_size", [None, 23, 1000])
def test_the_full_batch_is_never_shuffled(batch_size):
    net, (X, y) = Seen(classifier()), problem(23)
    rng = np.random.default_rng(3)
    trainer_of(net, rng=rng).fit(X, y, 2, batch_size, progress=False)
    assert [batch.tobytes() for batch in net.batches] == [X.tobytes()] * 2
    assert rng.random() == np.random.default_rng(3).random()


def test_the_same_rng_gives_the_same_bits_and_another_others():
    assert fitted(rng=1) == fitted(rng=np.random.default_rng(1))
    assert fitted(rng=1) != fitted(rng=2)
    assert fitted(rng=1, shuffle=False) == fitted(rng=2, shuffle=False)
    state = np.random.RandomState
    assert fitted(rng=state(1)) == fitted(rng=state(1)) != fitted(rng=state(2))


def test_validation_is_measured_at_the_end_of_every_epoch():
    net, (X, y), (X_val, y_val) = classifier(), problem(), problem(15, seed=9)
    expected = []

    def by_hand(trainer):
        numpy = Numpy(net, l2=0.05)
        loss = numpy.loss(X_val, y_val)
        expected.append((loss, np.mean(numpy.probabilities.argmax(axis=1) == y_val)))

    trainer = trainer_of(net, l2=0.05, callbacks=[by_hand], rng=0)
    history = trainer.fit(X, y, 4, 5, validation=(X_val, y_val), progress=False)
    assert len(expected) == 4
    np.testing.assert_allclose(history.validation_loss, [loss for loss, _ in expected], rtol=1e-12)
    assert history.validation_score == [score for _, score in expected]
    assert len(set(history.validation_loss)) == 4


def test_validation_does_not_change_the_training():
    assert fitted(validation=problem(9, seed=4)) == fitted()


def test_history_says_how_the_training_went():
    net, (X, y) = classifier(), problem()
    trainer = trainer_of(net)
    assert repr(trainer.history) == "<history of 0 steps in 0 epochs>"
    history = trainer.fit(X, y, 2, 12, validation=(X, y), progress=False)
    assert history is trainer.history
    first, last, check = history.loss[0], history.loss[-1], history.validation_loss[-1]
    assert repr(history) == (
        f"<history of 4 steps in 2 epochs, loss {first:.6g} -> {last:.6g}, "
        f"validation {check:.6g} at 4>"
    )


class Log(tg.Callback):
    """Notes which method was called, at which step, with which parameters and gradients."""

    def __init__(self):
        self.calls = []

    def note(self, name, trainer):
        W = trainer.model.parameters()[0]
        self.calls.append((name, len(trainer.history), W.data.copy(), W.grad.copy()))

    def on_gradients(self, trainer):
        self.note("gradients", trainer)

    def on_step_end(self, trainer):
        self.note("step", trainer)

    def on_epoch_end(self, trainer):
        self.note("epoch", trainer)


def test_callbacks_are_called_around_every_update():
    net, (X, y), log = classifier(), problem(), Log()
    W = net.parameters()[0].data.copy()
    trainer_of(net, lr=0.3, callbacks=[log]).fit(X, y, 2, 12, progress=False)
    epoch = ["gradients", "step", "gradients", "step", "epoch"]
    assert [name for name, *_ in log.calls] == epoch * 2
    assert [steps for _, steps, *_ in log.calls] == [1, 1, 2, 2, 2, 3, 3, 4, 4, 4]
    for name, _, data, grad in log.calls:
        if name == "step":
            W = W - 0.3 * grad
        np.testing.assert_array_equal(data, W)


def test_functions_and_objects_are_callbacks_in_the_order_given():
    calls = []

    class Mine(tg.Callback):
        def on_epoch_end(self, trainer):
            calls.append("object")

    def function(trainer):
        calls.append(len(trainer.history.epoch_ends))

    trainer_of(classifier(), callbacks=(c for c in (function, Mine()))).fit(
        *problem(), 2, progress=False
    )
    assert calls == [1, "object", 2, "object"]


@pytest.mark.parametrize(
    ("method", "step", "steps", "ends"),
    [
        ("on_gradients", 3, 3, []),
        ("on_step_end", 3, 3, []),
        ("on_step_end", 8, 8, [5]),
        ("on_epoch_end", 3, 5, [5]),
        # An epoch has ended when its last step is done, whoever stopped.
        ("on_gradients", 5, 5, [5]),
        ("on_step_end", 10, 10, [5, 10]),
    ],
)
def test_stop_ends_the_training_after_the_step(method, step, steps, ends):
    def stop(trainer):
        if len(trainer.history) >= step:
            trainer.stop()

    callback = tg.Callback()
    setattr(callback, method, stop)
    net, (X, y) = classifier(), problem(23)
    trainer = trainer_of(net, callbacks=[callback], rng=0)
    history = trainer.fit(X, y, 10, 5, validation=(X, y), progress=False)
    assert len(history) == steps
    assert history.epoch_ends == history.validation_steps == ends
    assert len(history.validation_loss) == len(history.validation_score) == len(ends)
    assert not history.interrupted
    trainer.callbacks = []
    assert len(trainer.fit(X, y, 2, 5, progress=False)) == steps + 10


def test_interrupt_does_what_ctrl_c_does():
    net, (X, y) = classifier(), problem()
    trainer = trainer_of(net, callbacks=[tg.Trainer.interrupt])
    assert trainer.fit(X, y, 5, progress=False).interrupted
    assert len(trainer.history) == 1


def test_the_progress_bar_shows_loss_and_accuracy(capsys):
    net, (X, y) = classifier(), problem()
    trainer = trainer_of(net)
    history = trainer.fit(X, y, 3, validation=(X, y))
    out, err = capsys.readouterr()
    assert out == ""
    shown = re.findall(r"loss (\d\.\d{4}), accuracy (\d\.\d\d), validation (\d\.\d{4})", err)
    # The accuracy is of the outputs that gave the last loss: those before the last update.
    again = classifier()
    earlier = trainer_of(again)
    earlier.fit(X, y, 2, progress=False)
    assert shown[-1] == (
        f"{history.loss[-1]:.4f}",
        f"{earlier.score(X, y):.2f}",
        f"{history.validation_loss[-1]:.4f}",
    )
    assert "3/3" in err


def test_the_progress_bar_shows_no_accuracy_of_a_regression(capsys):
    X, _ = problem()
    trainer_of(nn.Linear(2, 1, rng=0), lr=0.1, loss=tg.mse).fit(X, X[:, :1], 2)
    err = capsys.readouterr().err
    assert re.search(r"loss \d\.\d{4}", err)
    assert "accuracy" not in err


def test_without_progress_nothing_is_printed(capsys):
    trainer_of(classifier()).fit(*problem(), 3, 5, validation=problem(), progress=False)
    assert capsys.readouterr() == ("", "")


def test_lists_and_frames_are_as_good_as_arrays():
    X, y = problem()
    results = []
    index = np.random.default_rng(0).permutation(len(X)) + 100
    frame, series = pd.DataFrame(X, index, ["a", "b"]), pd.Series(y, index, name="kind")
    inputs = [(X, y), (X.tolist(), y.tolist()), (frame, series), (tg.Tensor(X), y.astype(np.uint8))]
    for these in inputs:
        net = classifier()
        trainer = trainer_of(net, rng=0)
        history = trainer.fit(*these, 3, 5, validation=these, progress=False)
        score, classes = trainer.score(*these), trainer.predict(these[0]).tolist()
        results.append((bits(net), history.loss, history.validation_loss, score, classes))
    assert all(result == results[0] for result in results[1:])


def test_the_data_are_not_changed():
    X, y = problem()
    kept = X.copy(), y.copy()
    trainer_of(classifier()).fit(X, y, 3, 5, progress=False)
    np.testing.assert_array_equal(X, kept[0])
    np.testing.assert_array_equal(y, kept[1])


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam])
def test_a_float32_model_trains_in_float32_on_float64_data(kind):
    net, (X, y) = Seen(classifier(dtype=np.float32)), problem()
    dtypes = []

    def note(trainer):
        dtypes.extend(p.grad.dtype for p in net.parameters())

    trainer = tg.Trainer(net, kind(net.parameters(), lr=0.01), l2=0.1, callbacks=[note])
    trainer.fit(X, y, 3, validation=(X, y), progress=False)
    dtypes += [p.dtype for p in net.parameters()] + [batch.dtype for batch in net.batches]
    assert set(dtypes) == {np.dtype(np.float32)}
    assert net(X[:2].astype(np.float32)).dtype == np.float32


def test_float32_targets_follow_the_model():
    net, (X, _) = nn.Linear(2, 2, rng=0, dtype=np.float32), problem()
    dtypes = []

    def loss(outputs, y):
        dtypes.append(y.dtype)
        return tg.mse(outputs, y)

    trainer_of(net, lr=0.1, loss=loss).fit(X, X, 2, progress=False)
    assert set(dtypes) == {np.dtype(np.float32)}


def test_a_value_too_large_for_float32_is_refused():
    net, (X, y) = classifier(dtype=np.float32), problem()
    before = bits(net)
    X[3, 1] = 1e39
    with pytest.raises(ValueError, match=r"X holds .*\[3, 1\]"):
        trainer_of(net).fit(X, y, 1, progress=False)
    assert bits(net) == before


class StopAfter(tg.Callback):
    """Ends the training after so many steps."""

    def __init__(self, steps):
        self.steps = steps

    def on_step_end(self, trainer):
        if len(trainer.history) == self.steps:
            trainer.stop()


class CtrlC(tg.Callback):
    """Presses Ctrl-C in a step of that number, once or more often."""

    def __init__(self, method, step, times=1):
        self.step, self.times = step, times
        setattr(self, method, self.press)

    def press(self, trainer):
        if len(trainer.history) == self.step:
            self.step = None
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


class InterruptedSGD(optim.SGD):
    """Gradient descent in which Ctrl-C comes in the middle of the fourth step."""

    def update(self, p, g, t, state):
        half = len(p) // 2
        super().update(p[:half], g[:half], t, state)
        if t == 4:
            signal.raise_signal(signal.SIGINT)
        super().update(p[half:], g[half:], t, state)


def interrupted(method):
    net = classifier()
    if method == "update":
        optimizer, callbacks = InterruptedSGD(net.parameters(), lr=0.3), []
    else:
        optimizer, callbacks = optim.SGD(net.parameters(), lr=0.3), [CtrlC(method, 4)]
    trainer = tg.Trainer(net, optimizer, callbacks=callbacks, rng=0)
    try:
        trainer.fit(*problem(), 10, 12, progress=False)
    except KeyboardInterrupt:
        pytest.fail("Ctrl-C came through")
    return net, trainer


@pytest.mark.parametrize("method", ["on_step_end", "on_epoch_end", "on_gradients", "update"])
def test_ctrl_c_leaves_the_model_as_after_the_last_whole_step(method):
    net, trainer = interrupted(method)
    history = trainer.history
    assert history.interrupted
    assert "interrupted" in repr(history)
    assert len(history) == 4
    assert np.isfinite(history.loss).all()
    assert all(np.isfinite(p.data).all() for p in net.parameters())
    undisturbed, stop = classifier(), StopAfter(len(history))
    losses = trainer_of(undisturbed, callbacks=[stop], rng=0).fit(
        *problem(), 10, 12, progress=False
    )
    assert history.loss == losses.loss
    assert bits(net) == bits(undisturbed)


@pytest.mark.parametrize("method", ["on_step_end", "on_epoch_end", "on_gradients", "update"])
def test_training_goes_on_after_ctrl_c(method):
    net, trainer = interrupted(method)
    before, steps, last = bits(net), len(trainer.history), trainer.history.loss[-1]
    history = trainer.fit(*problem(), 10, progress=False)
    assert not history.interrupted
    assert len(history) == steps + 10
    assert bits(net) != before
    assert history.loss[-1] < last


def test_ctrl_c_is_reported_with_the_step(capsys):
    interrupted("on_step_end")
    assert "interrupted after step 4" in capsys.readouterr().err


def test_ctrl_c_twice_ends_the_program():
    net = classifier()
    trainer = trainer_of(net, callbacks=[CtrlC("on_gradients", 2, times=2)])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(*problem(), 10, progress=False)


@pytest.mark.parametrize("times", [0, 1, 2])
def test_after_training_ctrl_c_does_what_it_did_before(times):
    before = signal.getsignal(signal.SIGINT)
    trainer = trainer_of(classifier(), callbacks=[CtrlC("on_step_end", 2, times)])
    with contextlib.suppress(KeyboardInterrupt):
        trainer.fit(*problem(), 3, progress=False)
    assert signal.getsignal(signal.SIGINT) is before
    assert trainer.history.interrupted == (times > 0)


def test_ctrl_c_is_ignored_where_it_was_ignored_before():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        trainer = trainer_of(classifier(), callbacks=[CtrlC("on_step_end", 2)])
        trainer.fit(*problem(), 3, progress=False)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(trainer.history.epoch_ends) == 3


def test_classes_under_a_loss_of_ones_own_have_a_validation_loss_and_no_score():
    X, y = problem()

    def doubled(outputs, labels):
        return 2 * tg.cross_entropy(outputs, labels)

    trainer = trainer_of(classifier(), loss=doubled)
    history = trainer.fit(X, y, 2, validation=(X, y), progress=False)
    assert np.isnan(history.validation_score).all()
    np.testing.assert_allclose(history.validation_loss[-1], trainer.objective(X, y).item())
    with pytest.raises(ValueError, match="no score of outputs of shape"):
        trainer.score(X, y)


def test_training_in_a_thread_gives_the_same_bits():
    results = []
    thread = threading.Thread(target=lambda: results.append(fitted()))
    thread.start()
    thread.join()
    assert results == [fitted()]


ADAPTIVE = [
    lambda params: optim.SGD(params, lr=0.1, momentum=0.9),
    lambda params: optim.Adam(params, lr=0.01),
]


def diverged(make):
    """A trainer before and after a fit that a huge learning rate drives out of range."""
    net, (X, y) = classifier(), problem()
    steps = []
    trainer = tg.Trainer(net, make(net.parameters()), l2=0.01)
    trainer.fit(X, y, 5, progress=False)
    good_lr = trainer.optimizer.lr
    before = bits(net), trainer.optimizer.state_dict()
    trainer.callbacks = [tg.Callback()]
    trainer.callbacks[0].on_step_end = lambda trainer: steps.append(bits(net) == before[0])
    trainer.optimizer.lr = 1e200
    with pytest.raises(tg.TrainingDiverged) as caught:
        trainer.fit(X, y, 50, progress=False)
    trainer.callbacks, trainer.optimizer.lr = [], good_lr
    return trainer, before, steps, str(caught.value)


@pytest.mark.parametrize("make", ADAPTIVE, ids=["momentum", "adam"])
def test_diverging_training_restores_parameters_and_optimiser(make):
    trainer, (parameters, state), steps, _ = diverged(make)
    assert steps
    assert not any(steps)
    assert bits(trainer.model) == parameters
    now = trainer.optimizer.state_dict()
    assert now.keys() == state.keys()
    for name, kept in state.items():
        assert kept.any(), name
        np.testing.assert_array_equal(now[name], kept, strict=True)


@pytest.mark.parametrize("make", ADAPTIVE, ids=["momentum", "adam"])
def test_diverging_training_says_at_which_step_and_what_to_try(make):
    trainer, _, steps, message = diverged(make)
    step = 5 + len(steps)
    assert re.match(rf"the loss became (nan|inf) at step {step}\b", message)
    assert f"{trainer.history.loss[step - 1]:.6g}" in message
    assert "smaller learning rate (now 1e+200)" in message
    assert "back at what they were before" in message


@pytest.mark.parametrize("make", ADAPTIVE, ids=["momentum", "adam"])
def test_training_after_a_divergence_is_as_if_it_had_not_been(make):
    trainer, *_ = diverged(make)
    trainer.fit(*problem(), 5, progress=False)
    net = classifier()
    tg.Trainer(net, make(net.parameters()), l2=0.01).fit(*problem(), 10, progress=False)
    assert bits(trainer.model) == bits(net)


def test_a_last_update_out_of_range_is_a_divergence():
    net, (X, y) = classifier(), problem()
    before = bits(net)
    with pytest.raises(tg.TrainingDiverged):
        trainer_of(net, lr=1e308).fit(100 * X, y, 1, progress=False)
    assert bits(net) == before


def test_predict_and_score_for_cross_entropy():
    net, (X, y) = classifier(seed=4), problem(200)
    trainer, numpy = trainer_of(net), Numpy(net, 0)
    numpy.loss(X, y)
    classes = numpy.probabilities.argmax(axis=1)
    assert set(classes) == {0, 1, 2}
    np.testing.assert_array_equal(trainer.predict(X), classes)
    assert trainer.score(X, y) == sum(map(int.__eq__, classes.tolist(), y.tolist())) / len(y)
    assert trainer.score(X, classes) == 1.0


@pytest.mark.parametrize("dtype", [int, float, bool])
def test_predict_and_score_for_binary_cross_entropy(dtype):
    net, (X, _) = nn.Linear(2, 2, rng=3), problem()
    trainer = trainer_of(net, loss=tg.binary_cross_entropy)
    p = 1 / (1 + np.exp(-(X @ net.W.data + net.b.data)))
    expected = np.where(p > 0.5, 1, 0)
    np.testing.assert_array_equal(trainer.predict(X), expected)
    y = np.c_[X[:, 0] > 0, X[:, 1] > 0].astype(dtype)
    right = sum(bool(a) == bool(b) for a, b in zip(expected.flat, y.flat, strict=True))
    assert 0 < right < y.size
    assert trainer.score(X, y) == right / y.size
    trainer.fit(X, y, 200, progress=False)
    assert trainer.score(X, y) > 0.9


def test_predict_and_score_for_mse():
    net, (X, _) = Flat(), problem()
    trainer = trainer_of(net, loss=tg.mse)
    y = X @ [2.0, -1.0] + 0.5
    expected = X @ net.layer.W.data[:, 0] + net.layer.b.data
    np.testing.assert_allclose(trainer.predict(X), expected, rtol=1e-12)
    unexplained = np.var(y - expected) + np.mean(y - expected) ** 2
    assert trainer.score(X, y) == pytest.approx(1 - unexplained / np.var(y), rel=1e-12)
    assert trainer.score(X, trainer.predict(X)) == 1.0
    trainer.fit(X, y, 300, progress=False)
    assert trainer.score(X, y) > 0.999


def test_score_of_constant_targets_is_no_division_by_zero():
    net, (X, _) = Flat(), problem()
    trainer = trainer_of(net, loss=tg.mse)
    assert trainer.score(X, np.full(len(X), 7.0)) == 0.0
    net.layer.W.data = np.zeros((2, 1))
    net.layer.b.data = np.array([7.0])
    assert trainer.score(X, np.full(len(X), 7.0)) == 1.0


def test_predict_records_nothing_and_returns_arrays():
    X, y = problem()
    net = Seen(classifier())
    trainer = trainer_of(net)
    assert type(trainer.predict(X)) is np.ndarray
    assert type(trainer.score(X, y)) is float
    assert net.batches == []


X, Y = problem(12)
N = len(X)
SPOT = np.array([[1, 0], [0, 0]] * (N // 2), bool)
FITS = {
    "epochs 0": ({"epochs": 0}, ValueError, "epochs must be a whole number of at least 1, got 0"),
    "epochs -1": ({"epochs": -1}, ValueError, "epochs must be"),
    "epochs 1.5": ({"epochs": 1.5}, ValueError, "epochs must be"),
    "epochs True": ({"epochs": True}, ValueError, "epochs must be"),
    "epochs None": ({"epochs": None}, ValueError, "epochs must be"),
    "batch_size 0": ({"batch_size": 0}, ValueError, "batch_size must be .* got 0"),
    "batch_size -1": ({"batch_size": -1}, ValueError, "batch_size must be .* got -1"),
    "batch_size 2.5": ({"batch_size": 2.5}, ValueError, "batch_size must be .* got 2.5"),
    "batch_size True": ({"batch_size": True}, ValueError, "batch_size must be .* got True"),
    "batch_size '4'": ({"batch_size": "4"}, ValueError, "batch_size must be .* got '4'"),
    "X 1-D": ({"X": X[:, 0]}, ValueError, r"X must have one row.*\(12,\).*reshape\(-1, 1\)"),
    "X 0-D": ({"X": 3.0}, ValueError, r"X must have one row"),
    "X NaN": ({"X": np.where(SPOT, nan, X)}, ValueError, r"X holds nan at \[0, 0\] \(6 values"),
    "X inf": ({"X": np.where(SPOT, X, -inf)}, ValueError, r"X holds -inf at \[0, 1\] \(18 values"),
    "X empty": ({"X": X[:0], "y": Y[:0]}, ValueError, r"X has no rows \(shape \(0, 2\)\)"),
    "X longer": ({"y": Y[:-1]}, ValueError, r"same length.*\(12, 2\).*\(11,\)"),
    "y longer": ({"X": X[:-1]}, ValueError, r"same length.*\(11, 2\).*\(12,\)"),
    "X object": (
        {"X": np.where(np.isclose(X, X[1, 0]), None, X)},
        TypeError,
        "X must hold numbers, got dtype object",
    ),
    "X None": ({"X": None}, TypeError, "X must hold numbers"),
    "X strings": ({"X": X.astype(str)}, TypeError, "X must hold numbers, got dtype <U"),
    "X complex": ({"X": X * 1j}, TypeError, "X must hold numbers, got dtype complex128"),
    "X ragged": ({"X": [[1.0, 2.0], [3.0]]}, ValueError, "X cannot be made an array"),
    "X wide": ({"X": np.c_[X, X]}, ValueError, r"x of shape \(\d+, 4\).*\(2, 6\)"),
    "y object": (
        {"y": np.where(Y == 0, None, Y)},
        TypeError,
        "y must hold numbers, got dtype object",
    ),
    "y strings": ({"y": list("abcabcabcabc")}, TypeError, "y must hold numbers"),
    "y 0-D": ({"y": 1}, ValueError, "same length"),
    "y NaN": ({"y": np.where(Y == 1, nan, Y)}, ValueError, "y holds nan"),
    "y negative": ({"y": Y - 1}, ValueError, r"labels must lie in 0\.\.2.*is -1"),
    "y too large": ({"y": Y + 1}, ValueError, r"labels must lie in 0\.\.2.*is 3"),
    "y fractional": ({"y": Y * 0.5}, TypeError, "labels must be integers, got dtype float64"),
    "y float": ({"y": Y * 1.0}, TypeError, r"labels\.astype\(int\)"),
    "y (n, 1)": ({"y": Y[:, None]}, ValueError, r"\(12, 1\).*labels\.ravel\(\)"),
    "y one-hot": ({"y": np.eye(3, dtype=int)[Y]}, ValueError, r"labels\.argmax\(axis=1\)"),
    "validation array": ({"validation": X}, TypeError, r"validation must be a pair \(X, y\)"),
    "validation single": ({"validation": (X,)}, TypeError, r"validation must be a pair"),
    "validation triple": ({"validation": (X, Y, 0.2)}, TypeError, r"validation must be a pair"),
    "validation share": ({"validation": 0.2}, TypeError, r"validation must be a pair"),
    "validation NaN": ({"validation": (X * nan, Y)}, ValueError, "validation X holds nan"),
    "validation shorter": ({"validation": (X, Y[1:])}, ValueError, "validation X and validation y"),
    "validation empty": ({"validation": (X[:0], Y[:0])}, ValueError, "validation X has no rows"),
    "validation labels": ({"validation": (X, Y + 1)}, ValueError, r"labels must lie in 0\.\.2"),
    "validation strings": ({"validation": (X, ["a"] * N)}, TypeError, "validation y must hold"),
}


def test_the_data_spoiled_below_are_good_as_they_are():
    assert set(Y) == {0, 1, 2}
    trainer_of(classifier()).fit(X, Y, 1, 5, validation=(X, Y), progress=False)


@pytest.mark.parametrize("case", FITS)
def test_bad_input_is_refused_before_any_step(case):
    change, error, words = FITS[case]
    net = Seen(classifier())
    trainer, before = trainer_of(net), bits(net)
    with pytest.raises(error, match=words):
        trainer.fit(**{"X": X, "y": Y, "epochs": 2, "progress": False, **change})
    assert bits(net) == before
    assert net.batches == []
    assert len(trainer.history) == 0


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (X @ [[1.0], [2.0]], r"\(12,\).*\(12, 1\).*same shape"),
        (X, r"\(12,\).*\(12, 2\)"),
    ],
)
def test_mse_broadcasts_no_targets(y, words):
    net = Flat()
    trainer, before = trainer_of(net, loss=tg.mse), bits(net)
    for method in (lambda X, y: trainer.fit(X, y, 1, progress=False), trainer.score):
        with pytest.raises(ValueError, match=words):
            method(X, y)
    assert bits(net) == before
    trainer.fit(X, y[:, 0], 1, progress=False)
    assert bits(net) != before


@pytest.mark.parametrize("y", [Y, Y - 1, Y - 0.5])
def test_binary_targets_outside_0_to_1_are_refused(y):
    net = Flat()
    trainer, before = trainer_of(net, loss=tg.binary_cross_entropy), bits(net)
    with pytest.raises(ValueError, match=r"targets must lie between 0 and 1"):
        trainer.fit(X, y, 1, progress=False)
    assert bits(net) == before


@pytest.mark.parametrize("case", [c for c in FITS if c.startswith(("X ", "y "))])
def test_score_refuses_what_fit_refuses(case):
    change, error, words = FITS[case]
    with pytest.raises(error, match=words):
        trainer_of(classifier()).score(**{"X": X, "y": Y, **change})


@pytest.mark.parametrize(
    "case", ["X 1-D", "X NaN", "X inf", "X object", "X strings", "X ragged", "X wide"]
)
def test_predict_refuses_what_fit_refuses(case):
    change, error, words = FITS[case]
    with pytest.raises(error, match=words):
        trainer_of(classifier()).predict(change["X"])


@pytest.mark.parametrize("l2", [-1e-3, nan, inf, -inf])
def test_a_bad_l2_is_refused(l2):
    with pytest.raises(ValueError, match="l2 must be a number of at least 0"):
        trainer_of(classifier(), l2=l2)


def test_the_optimiser_of_another_model_is_refused():
    net, other = classifier(), classifier()
    before = bits(net), bits(other)
    with pytest.raises(ValueError, match=r"model\.parameters\(\) of this very model"):
        tg.Trainer(net, optim.SGD(other.parameters(), lr=0.1))
    assert (bits(net), bits(other)) == before


def test_an_optimiser_of_a_part_of_the_model_trains_that_part():
    net = classifier()
    before = bits(net)
    trainer = tg.Trainer(net, optim.SGD(net.parameters()[2:], lr=0.1), l2=0.1)
    trainer.fit(X, Y, 2, progress=False)
    after = bits(net)
    assert after[:2] == before[:2]
    assert all(a != b for a, b in zip(after[2:], before[2:], strict=True))


@pytest.mark.parametrize("callback", [3, None, "print", tg.Callback])
def test_a_bad_callback_is_refused(callback):
    with pytest.raises(TypeError, match=r"a callback is a tg\.Callback object or a function"):
        trainer_of(classifier(), callbacks=[callback])


@pytest.mark.parametrize("rng", [0.5, "0", True])
def test_a_bad_rng_is_refused(rng):
    with pytest.raises(TypeError, match="rng must be"):
        trainer_of(classifier(), rng=rng)


def test_an_error_in_a_callback_comes_out_as_it_is():
    def fail(trainer):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        trainer_of(classifier(), callbacks=[fail]).fit(X, Y, 2, progress=False)


def test_a_loss_of_one_s_own_is_used_as_it_is():
    net, y = Flat(), X @ [1.0, -2.0]

    def absolute(outputs, y):
        return np.mean(np.abs(outputs - y))

    expected = np.abs(net(X).data - y).mean()
    trainer = trainer_of(net, lr=0.02, loss=absolute)
    history = trainer.fit(X, y, 400, progress=False)
    assert math.isclose(history.loss[0], expected, rel_tol=1e-14)
    assert history.loss[-1] < 0.1 * expected
    np.testing.assert_array_equal(trainer.predict(X), net(X).data)


@pytest.mark.parametrize("press", [False, True])
def test_stopping_before_a_smaller_last_batch(capsys, press):
    X, y = problem(75)

    class Stop(tg.Callback):
        def on_step_end(self, trainer):
            signal.raise_signal(signal.SIGINT) if press else trainer.stop()

    net = classifier()
    trainer = trainer_of(net, callbacks=[Stop()])
    history = trainer.fit(X, y, 3, 50, shuffle=False)
    assert len(history) == 1
    # What the bar says last is of the batch that was used, before its update.
    start = trainer_of(classifier()).score(X[:50], y[:50])
    assert f"accuracy {start:.2f}" in capsys.readouterr().err


def test_ctrl_c_before_the_first_step():
    class Early(np.random.RandomState):
        def permutation(self, n):
            signal.raise_signal(signal.SIGINT)
            return super().permutation(n)

    net = classifier()
    before = bits(net)
    history = trainer_of(net, rng=Early(0)).fit(*problem(), 3, 5)
    assert history.interrupted
    assert len(history) == 0
    assert bits(net) == before


def test_numbers_in_frames_of_several_kinds_are_numbers():
    X, y = problem()
    mixed = pd.DataFrame({"a": X[:, 0], "b": X[:, 1] > 0})
    nullable = pd.DataFrame({"a": X[:, 0], "b": (X[:, 1] > 0).astype(float)}).astype("Float64")
    losses = [trainer_of(classifier()).fit(frame, y, 2).loss for frame in (mixed, nullable)]
    plain = np.column_stack([X[:, 0], X[:, 1] > 0])
    assert losses == [trainer_of(classifier()).fit(plain, y, 2).loss] * 2
    nullable.iloc[2, 1] = pd.NA
    with pytest.raises(TypeError, match="drop or fill what is missing"):
        trainer_of(classifier()).fit(nullable, y, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda net: tg.Trainer(net, "adam"), "optimiser of its parameters"),
        (lambda net: tg.Trainer(net, tg.optim.Adam), "optimiser of its parameters"),
        (lambda net: tg.Trainer("net", tg.optim.Adam(net.parameters())), r"takes a tg\.nn\.Module"),
        (lambda net: trainer_of(net, loss="mse"), "loss must be a function"),
        (lambda net: trainer_of(net, callbacks=print), "callbacks must be a list"),
        (lambda net: tg.optim.Adam(net), r"net\.parameters\(\)"),
        (
            lambda net: trainer_of(net, loss=lambda p, y: p.sum(axis=1)).fit(*problem(), 1),
            r"loss must be one number, a Tensor, got shape \(\d+,\)",
        ),
    ],
)
def test_wrong_parts_are_named(make, message):
    with pytest.raises(TypeError, match=message):
        make(classifier())


class Scaled(tg.nn.Module):
    """A linear map times a number, which is a parameter without axes."""

    def __init__(self):
        self.linear = tg.nn.Linear(2, 3, rng=0)
        self.scale = tg.Tensor(np.array(1.3), requires_grad=True)

    def forward(self, x):
        return self.linear(x) * self.scale


def train(compiled, change=lambda trainer: None, callbacks=()):
    """The losses and parameters of a training with minibatches, changed in the middle."""
    X, y = tg.data.spiral(points_per_class=11, rng=0)
    net = Scaled()
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.5)
    trainer = tg.Trainer(net, optimizer, l2=0.01, callbacks=callbacks, rng=0, compiled=compiled)
    trainer.fit(X, y, epochs=3, batch_size=8, progress=False)
    change(trainer)
    trainer.fit(X, y, epochs=3, batch_size=8, progress=False)
    assert trainer.compiled is compiled
    return trainer.history.loss, [np.array(p.data) for p in trainer.model.parameters()]


def to_adam(trainer):
    trainer.optimizer = optim.Adam(trainer.model.parameters(), lr=0.05)


def to_another_loss(trainer):
    trainer.loss = lambda outputs, y: 2 * tg.cross_entropy(outputs, y)


def to_another_net(trainer):
    trainer.model = Scaled()
    trainer.optimizer = optim.SGD(trainer.model.parameters(), lr=0.1)


def to_other_data(trainer):
    trainer.model.linear.W.data = np.ones((2, 3))


@pytest.mark.parametrize(
    "change", [lambda _: None, to_adam, to_another_loss, to_another_net, to_other_data]
)
def test_compiled_steps_are_the_same_as_others(change):
    (losses, parameters), (expected, others) = (train(c, change) for c in (True, False))
    np.testing.assert_allclose(losses, expected, rtol=1e-10)
    for a, b in zip(parameters, others, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_a_divergence_also_leaves_the_learning_rate_and_tensors_that_are_not_trained():
    X, y = problem()
    net = nn.MLP((2, 6, 3), rng=0)
    net.count = tg.Tensor([0.0])
    sgd = optim.SGD(net.parameters(), lr=0.1, momentum=0.5)

    def change(trainer):
        net.count.data = net.count.data + 1
        sgd.momentum = 0.9
        net.layers[0].W.data = np.full((2, 6), nan)

    trainer = tg.Trainer(net, sgd, callbacks=[tg.LinearLR(9, by="step"), change], rng=0)
    before = nn.MLP((2, 6, 3), rng=0).state_dict() | {"count": np.zeros(1)}
    with pytest.raises(tg.TrainingDiverged):
        trainer.fit(X, y, 3, batch_size=4, progress=False)
    assert (sgd.lr, sgd.momentum) == (0.1, 0.5)
    assert {k: a.tolist() for k, a in net.state_dict().items()} == {
        k: a.tolist() for k, a in before.items()
    }


@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, 0.1, momentum=0.9), optim.Adam])
def test_a_frozen_parameter_stays_also_in_compiled_steps(make):
    X, y = problem()
    ends = {}
    for compiled in (True, False):
        net = nn.MLP((2, 6, 3), rng=0)
        frozen = [net.layers[0].W]

        def thaw(trainer):
            if len(trainer.history.epoch_ends) in (2, 3):
                frozen[0].requires_grad = not frozen[0].requires_grad  # noqa: B023

        trainer = tg.Trainer(net, make(net.parameters()), callbacks=[thaw], rng=0)
        trainer.compiled = compiled
        seen = []
        for freeze in (True, True, False, True):
            frozen[0].requires_grad = not freeze
            trainer.fit(X, y, 1, batch_size=4, progress=False)
            seen.append(frozen[0].data.tobytes())
        assert seen[0] == seen[1] == nn.MLP((2, 6, 3), rng=0).layers[0].W.data.tobytes()
        trainer.fit(X, y, 2, batch_size=4, progress=False)
        assert trainer.compiled is compiled
        arrays = [*net.state_dict().values(), *trainer.optimizer.state_dict().values()]
        ends[compiled] = [np.frombuffer(data) for data in seen] + [*arrays, trainer.history.loss]
    for a, b in zip(ends[True], ends[False], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


class Clipping(tg.Callback):
    def __init__(self):
        self.seen = []

    def on_gradients(self, trainer):
        for p in trainer.model.parameters():
            p.grad = np.clip(p.grad, -0.05, 0.05)
        self.seen.append(trainer.model.linear.W.grad)


def test_callbacks_change_gradients_and_may_keep_them():
    seen = {}
    for compiled in (True, False):
        clipping = Clipping()
        losses, _ = train(compiled, callbacks=[clipping])
        seen[compiled] = losses, clipping.seen
    np.testing.assert_allclose(seen[True][0], seen[False][0], rtol=1e-10)
    for a, b in zip(seen[True][1], seen[False][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_gradients_after_a_fit_are_not_overwritten_by_the_next():
    X, y = tg.data.spiral(points_per_class=5, rng=0)
    net = tg.nn.MLP((2, 4, 3), rng=0)
    trainer = tg.Trainer(net, optim.SGD(net.parameters(), lr=0.1))
    trainer.fit(X, y, epochs=2, progress=False)
    gradient = net.parameters()[0].grad
    before = gradient.copy()
    trainer.fit(X, y, epochs=2, progress=False)
    np.testing.assert_array_equal(gradient, before)


class Branching(tg.nn.Module):
    def __init__(self):
        self.linear = tg.nn.Linear(2, 3, rng=0)

    def forward(self, x):
        z = self.linear(x)
        return z if z.numpy().sum() > 0 else 2 * z


def test_what_cannot_be_compiled_is_trained_as_it_is(caplog):
    X, y = tg.data.spiral(points_per_class=5, rng=0)
    net = Branching()
    trainer = tg.Trainer(net, optim.SGD(net.parameters(), lr=0.1))
    trainer.fit(X, y, epochs=3, progress=False)
    assert len(trainer.history) == 3
    assert [record.message[:35] for record in caplog.records] == [
        "training without a compiled program"
    ]


class Noisy(tg.nn.Module):
    """Multiplies by random numbers in training mode."""

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)

    def forward(self, x):
        return x * self.rng.random(x.shape[-1]) if self.training else x


def noisy_trainer(**options):
    net = tg.nn.Sequential(tg.nn.Linear(2, 4, rng=0), Noisy(), tg.nn.Linear(4, 3, rng=1))
    return tg.Trainer(net, tg.optim.SGD(net.parameters(), lr=0.1), rng=0, **options)


def test_steps_are_in_training_mode_and_measurements_are_not():
    X, y = tg.data.spiral(points_per_class=10)
    by_hand = noisy_trainer(compiled=False)
    by_hand.model.train()
    losses = []
    for _ in range(6):
        loss = tg.cross_entropy(by_hand.model(X), y)
        losses.append(loss.item())
        by_hand.optimizer.zero_grad()
        loss.backward()
        by_hand.optimizer.step()
    for compiled in (True, False):
        trainer = noisy_trainer(compiled=compiled, callbacks=[lambda t: t.predict(X)])
        trainer.fit(X, y, epochs=3, validation=(X, y), progress=False)
        # Measuring draws no random numbers and changes no mode: the steps go on as if undisturbed.
        history = trainer.fit(X, y, epochs=3, validation=(X, y), progress=False)
        np.testing.assert_allclose(history.loss, losses, rtol=1e-12)
        out = trainer.model(X).data
        np.testing.assert_array_equal(out.argmax(axis=1), trainer.predict(X))
        np.testing.assert_array_equal(out, trainer.model(X).data)
        assert history.validation_loss[-1] == trainer.objective(X, y).item()
        assert history.validation_loss[-1] == tg.cross_entropy(out, y)
        assert history.validation_score[-1] == trainer.score(X, y)


def test_a_change_of_mode_for_measuring_needs_no_new_program(caplog):
    X, y = tg.data.spiral(points_per_class=10)
    trainer = noisy_trainer(callbacks=[lambda t: t.score(X, y)])
    for _ in range(3):
        trainer.fit(X, y, epochs=10, batch_size=16, validation=(X, y), progress=False)
    assert trainer._program.written == 2  # of the two sizes of batches
    assert not caplog.records


def test_the_mode_is_back_to_evaluation_after_training_that_failed():
    X, y = tg.data.spiral(points_per_class=10)
    trainer = noisy_trainer(callbacks=[lambda t: 1 / 0])
    with pytest.raises(ZeroDivisionError):
        trainer.fit(X, y, epochs=3, progress=False)
    assert not any(module.training for _, module in trainer.model.named_modules())


def test_predicting_leaves_the_mode_of_a_net_alone():
    trainer = noisy_trainer()
    trainer.predict(np.ones((1, 2)))
    assert all(module.training for _, module in trainer.model.named_modules())


def test_a_row_that_an_embedding_refuses_is_found_before_any_step():
    net = nn.Sequential(nn.Embedding(3, 2, rng=0), nn.Flatten(), nn.Linear(2, 2, rng=1))
    trainer = tg.Trainer(net, optim.SGD(net.parameters(), 0.1), rng=0)
    before, X = bits(net), np.array([[0], [1], [2], [1], [7], [0]])
    with pytest.raises(ValueError, match=r"got 7\.0 at \[4, 0\]"):
        trainer.fit(X, [0, 1, 0, 1, 0, 1], 2, batch_size=2, progress=False)
    assert bits(net) == before
    assert not trainer.history.loss
