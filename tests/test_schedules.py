"""Learning rates that change, and gradients that are clipped, against PyTorch's."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_edu as tg
from tinygrad_edu import nn, optim
from tinygrad_edu.callbacks.clipping import norm

X, Y = tg.data.spiral(10, rng=0)


def trainer_of(callbacks, lr=0.5, dtype=np.float64, **options):
    net = nn.MLP((2, 6, 3), rng=0, dtype=dtype)
    return tg.Trainer(net, optim.SGD(net.parameters(), lr), callbacks=callbacks, rng=0, **options)


class Rates(tg.Callback):
    """Notes the learning rate of every step."""

    def __init__(self):
        self.seen = []

    def on_gradients(self, trainer):
        self.seen.append(trainer.optimizer.lr)


def rates(schedule, epochs, batch_size=None, lr=0.5, **options):
    """The learning rates of all steps."""
    seen = Rates()
    trainer = trainer_of([schedule, seen], lr, **options)
    trainer.fit(X, Y, epochs, batch_size, progress=False)
    return seen.seen


def torch_rates(make, steps, lr=0.5):
    torch = pytest.importorskip("torch")
    adam = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    seen = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schedule = make(torch.optim.lr_scheduler, adam)
        for _ in range(steps):
            seen.append(adam.param_groups[0]["lr"])
            adam.step()
            schedule.step()
    return seen


PAIRS = {
    "step": (tg.StepLR(3, gamma=0.4), lambda s, o: s.StepLR(o, 3, gamma=0.4)),
    "cosine": (
        tg.CosineAnnealingLR(9, end=0.1),
        lambda s, o: s.CosineAnnealingLR(o, 9, eta_min=0.05),
    ),
    "cosine to 0": (tg.CosineAnnealingLR(12), lambda s, o: s.CosineAnnealingLR(o, 12)),
    "warm-up": (
        tg.LinearLR(4, start=0.1),
        lambda s, o: s.LinearLR(o, start_factor=0.1, total_iters=4),
    ),
    "down": (
        tg.LinearLR(8, start=1.0, end=0.25),
        lambda s, o: s.LinearLR(o, start_factor=1.0, end_factor=0.25, total_iters=8),
    ),
    "function": (
        tg.LRSchedule(lambda t: 1 / (1 + t)),
        lambda s, o: s.LambdaLR(o, lambda t: 1 / (1 + t)),
    ),
    "sequence": (
        tg.SequentialLR([tg.LinearLR(3, start=0.1), tg.StepLR(2)], milestones=[3]),
        lambda s, o: s.SequentialLR(
            o, [s.LinearLR(o, start_factor=0.1, total_iters=3), s.StepLR(o, 2)], milestones=[3]
        ),
    ),
    "product": (
        tg.LinearLR(3, start=0.1) * tg.StepLR(2, gamma=0.5),
        lambda s, o: s.ChainedScheduler(
            [s.LinearLR(o, start_factor=0.1, total_iters=3), s.StepLR(o, 2, gamma=0.5)]
        ),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_schedules_are_those_of_pytorch(name):
    schedule, make = PAIRS[name]
    # Of the cosine only as far as it goes down.
    steps = 9 if name == "cosine" else 12
    np.testing.assert_allclose(rates(schedule, steps), torch_rates(make, steps), rtol=1e-12)


def test_a_schedule_counts_epochs_or_steps():
    by_epoch = rates(tg.StepLR(1, gamma=0.5), 3, batch_size=10)
    assert by_epoch == [0.5] * 3 + [0.25] * 3 + [0.125] * 3
    by_step = rates(tg.StepLR(2, gamma=0.5, by="step"), 2, batch_size=10)
    assert by_step == [0.5, 0.5, 0.25, 0.25, 0.125, 0.125]
    both = tg.LinearLR(2, start=0.5, by="step") * tg.StepLR(1, gamma=0.5)
    assert rates(both, 2, batch_size=10) == [0.25, 0.375, 0.5, 0.25, 0.25, 0.25]


def test_a_cosine_stays_where_it_ends():
    assert rates(tg.CosineAnnealingLR(2, end=0.5), 5)[2:] == [0.25] * 3


def test_several_fits_go_on_in_the_same_schedule():
    seen, schedule = Rates(), tg.StepLR(2, gamma=0.5)
    trainer = trainer_of([schedule, seen])
    for epochs in (1, 2, 2):
        trainer.fit(X, Y, epochs, progress=False)
    assert seen.seen == [0.5, 0.5, 0.25, 0.25, 0.125]


def test_a_learning_rate_of_0_is_refused():
    with pytest.raises(ValueError, match=r"CosineAnnealingLR by epoch> gives .* after 3 epochs"):
        rates(tg.CosineAnnealingLR(3), 4)


def test_a_schedule_that_is_too_short_is_refused_before_the_first_step():
    trainer = trainer_of([tg.CosineAnnealingLR(3)])
    with pytest.raises(ValueError, match="after 7 epochs"):
        trainer.fit(X, Y, 8, progress=False)
    assert len(trainer.history) == 0


def test_two_schedules_are_refused():
    trainer = trainer_of([tg.StepLR(2), tg.LinearLR(3)])
    with pytest.raises(ValueError, match=r"several schedules .* product a \* b"):
        trainer.fit(X, Y, 2, progress=False)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: tg.StepLR(0), ValueError),
        (lambda: tg.StepLR(2, gamma=0), ValueError),
        (lambda: tg.StepLR(2, by="batch"), ValueError),
        (lambda: tg.CosineAnnealingLR(3, end=1.5), ValueError),
        (lambda: tg.CosineAnnealingLR(3, end=-0.1), ValueError),
        (lambda: tg.LinearLR(3, start=0), ValueError),
        (lambda: tg.LinearLR(3, start=math.nan), ValueError),
        (lambda: tg.LRSchedule(0.5), ValueError),
        (lambda: tg.StepLR(2) * 3, TypeError),
        (lambda: tg.SequentialLR([tg.StepLR(2)], milestones=[3]), ValueError),
        (lambda: tg.SequentialLR([tg.StepLR(2), tg.StepLR(2)], milestones=[0]), ValueError),
        (
            lambda: tg.SequentialLR([tg.StepLR(2), tg.StepLR(2, by="step")], milestones=[3]),
            ValueError,
        ),
        (lambda: tg.ClipGradNorm(0), ValueError),
        (lambda: tg.ClipGradNorm(math.inf), ValueError),
        (lambda: tg.ClipGradValue(-1), ValueError),
        (lambda: tg.ClipGradValue("1"), ValueError),
    ],
)
def test_bad_options_are_refused(make, error):
    with pytest.raises(error):
        make()


@pytest.mark.parametrize("compiled", [True, False])
def test_a_schedule_is_what_setting_the_learning_rate_is(compiled):
    schedule = tg.StepLR(3, gamma=0.5, by="step")
    trainer = trainer_of([schedule], compiled=compiled)
    trainer.fit(X, Y, 3, 10, progress=False)
    by_hand = trainer_of([], compiled=compiled)
    for lr in (0.5, 0.25, 0.125):
        by_hand.optimizer.lr = lr
        by_hand.fit(X, Y, 1, 10, progress=False)
    assert trainer.history.loss == by_hand.history.loss


class Gradients(tg.Callback):
    """Keeps the gradients of every step."""

    def __init__(self):
        self.seen = []

    def on_gradients(self, trainer):
        self.seen.append([p.grad for p in trainer.model.parameters()])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("name", ["clip_grad_norm_", "clip_grad_value_"])
def test_clipping_is_that_of_pytorch(name, compiled, dtype):
    torch = pytest.importorskip("torch")
    limit = 0.2 if name == "clip_grad_norm_" else 0.02
    clip = (tg.ClipGradNorm if name == "clip_grad_norm_" else tg.ClipGradValue)(limit)
    before, after = Gradients(), Gradients()
    callbacks = [before, clip, after]
    trainer = trainer_of(callbacks, dtype=dtype, l2=0.1, compiled=compiled)
    start = [p.data.copy() for p in trainer.model.parameters()]
    trainer.fit(X, Y, 20, progress=False)
    clipped = 0
    for raw, used in zip(before.seen, after.seen, strict=True):
        theirs = [torch.zeros(g.shape, dtype=getattr(torch, str(g.dtype))) for g in raw]
        for p, g in zip(theirs, raw, strict=True):
            p.grad = torch.from_numpy(g.copy())
        getattr(torch.nn.utils, name)(theirs, limit)
        for p, g, h in zip(theirs, used, raw, strict=True):
            assert g.dtype == dtype
            np.testing.assert_allclose(g, p.grad.numpy(), rtol=1e-6 if g.itemsize == 4 else 1e-14)
            clipped += not np.array_equal(g, h)
    assert clipped > 0
    # The updates are made with what the last one in the list leaves.
    for p, first, *grads in zip(trainer.model.parameters(), start, *after.seen, strict=True):
        for g in grads:
            first = first - np.array(0.5, dtype) * g
        np.testing.assert_allclose(p.data, first, rtol=1e-4 if dtype == np.float32 else 1e-12)


def test_a_large_limit_changes_nothing():
    ends = []
    for callbacks in ([], [tg.ClipGradNorm(1e3), tg.ClipGradValue(1e3)]):
        trainer = trainer_of(callbacks, compiled=False)
        trainer.fit(X, Y, 5, 10, progress=False)
        ends.append([p.data.tobytes() for p in trainer.model.parameters()])
    assert ends[0] == ends[1]


@given(
    st.lists(st.floats(-1e3, 1e3).filter(lambda v: v == 0 or abs(v) > 1e-3), min_size=1),
    st.sampled_from([1e-200, 1e-3, 1.0, 1e200]),
    st.sampled_from([1, 2, 5]),
)
def test_norms_of_any_size(values, scale, pieces):
    arrays = np.array_split(np.array(values) * scale, pieces)
    with np.errstate(all="ignore"):
        found = norm([a for a in arrays if a.size])
    expected = math.hypot(*values)
    assert found / scale == pytest.approx(expected, rel=1e-12)


def test_a_parameter_without_gradient_is_left_alone():
    trainer = trainer_of([tg.ClipGradNorm(0.1), tg.ClipGradValue(0.1)], compiled=False)
    spare = tg.Tensor(np.ones(3), requires_grad=True)
    params = [*trainer.model.parameters(), spare]
    trainer.optimizer = optim.SGD(params, 0.1)
    trainer.fit(X, Y, 2, progress=False)
    assert spare.grad is None
    np.testing.assert_array_equal(spare.data, 1)


def test_a_factor_that_is_no_number_is_refused_while_training():
    net = tg.nn.Linear(2, 2, rng=0)
    sgd = tg.optim.SGD(net.parameters(), lr=0.1)
    trainer = tg.Trainer(net, sgd, callbacks=[tg.LRSchedule(lambda t: None)])
    with pytest.raises(ValueError, match=r"a learning rate of None times 0\.1"):
        trainer.fit(np.eye(2), [0, 1], 1, progress=False)


def test_milestones_are_whole_numbers():
    with pytest.raises(ValueError, match=r"a milestone must be a whole number .* got 1\.5"):
        tg.SequentialLR([tg.LinearLR(1), tg.LinearLR(1)], milestones=[1.5])
