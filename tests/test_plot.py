"""Pictures: what is in the axes, read back from them."""

import sys

import matplotlib.colors
import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PathCollection
from matplotlib.contour import QuadContourSet

import tinygrad_edu as tg
from tinygrad_edu import plot


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def trained(validation, epochs=3, trainer=None, batch_size=25, callbacks=()):
    X, y = tg.data.spiral(20, 3, rng=0)
    if trainer is None:
        net = tg.nn.MLP((2, 8, 3), rng=0)
        trainer = tg.Trainer(net, tg.optim.Adam(net.parameters(), lr=0.01), rng=0)
        trainer.callbacks = list(callbacks)
    validation = (X[::2], y[::2]) if validation else None
    trainer.fit(X, y, epochs, batch_size, validation=validation, progress=False)
    return trainer


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def labels(ax):
    return ax.get_title(), ax.get_xlabel(), ax.get_ylabel()


def test_history_draws_the_loss_of_every_step():
    history = trained(validation=False, batch_size=None).history
    ax = history.plot()
    (line,) = ax.lines
    np.testing.assert_array_equal(line.get_xdata(), range(3))
    np.testing.assert_array_equal(line.get_ydata(), history.loss)
    assert labels(ax) == ("Loss", "step", "loss")
    assert legend(ax) == ["training"]


def test_history_draws_the_mean_of_each_epoch_among_noisy_steps():
    history = trained(validation=False).history
    ax = history.plot()
    steps, means = ax.lines
    np.testing.assert_array_equal(steps.get_xdata(), range(9))
    np.testing.assert_array_equal(steps.get_ydata(), history.loss)
    np.testing.assert_array_equal(means.get_xdata(), [1, 4, 7])
    expected = np.reshape(history.loss, (3, 3)).mean(axis=1)
    np.testing.assert_allclose(means.get_ydata(), expected, rtol=1e-14)
    assert legend(ax) == ["training, each step", "training, mean of an epoch"]
    assert steps.get_alpha() < 1
    assert means.get_linewidth() > steps.get_linewidth()


def test_one_epoch_of_minibatches_has_no_line_of_means():
    assert len(trained(validation=False, epochs=1).history.plot().lines) == 1


def test_history_draws_validation_at_the_last_step_of_each_epoch():
    history = trained(validation=True).history
    ax = history.plot()
    training, _, validation = ax.lines
    np.testing.assert_array_equal(training.get_ydata(), history.loss)
    np.testing.assert_array_equal(validation.get_xdata(), [2, 5, 8])
    np.testing.assert_array_equal(validation.get_ydata(), history.validation_loss)
    assert legend(ax)[2:] == ["validation"]
    looks = {(line.get_color(), line.get_linestyle()) for line in ax.lines[1:]}
    assert len(looks) == 2


@pytest.mark.parametrize(
    ("fits", "steps"),
    [([False, True], [8, 11]), ([True, False], [2, 5]), ([True, False, True], [2, 5, 14, 17])],
)
def test_validation_stands_where_it_was_measured(fits, steps):
    trainer = None
    for validation in fits:
        trainer = trained(validation, 2, trainer)
    line = trainer.history.plot().lines[2]
    np.testing.assert_array_equal(line.get_xdata(), steps)
    np.testing.assert_array_equal(line.get_ydata(), trainer.history.validation_loss)


class CtrlC(tg.Callback):
    def __init__(self, step):
        self.step = step

    def on_gradients(self, trainer):
        if len(trainer.history) == self.step:
            trainer.interrupt()


@pytest.mark.parametrize("validation", [False, True])
def test_an_interrupted_history_is_drawn_as_far_as_it_goes(validation):
    history = trained(validation, callbacks=[CtrlC(8)]).history
    assert (len(history), history.epoch_ends) == (8, [3, 6])
    ax = history.plot()
    assert ax.get_title() == "Loss (interrupted after step 8)"
    steps, means, *validations = ax.lines
    np.testing.assert_array_equal(steps.get_ydata(), history.loss)
    expected = np.reshape(history.loss[:6], (2, 3)).mean(axis=1)
    np.testing.assert_allclose(means.get_ydata(), expected, rtol=1e-14)
    assert [list(line.get_xdata()) for line in validations] == [[2, 5]] * validation


def test_a_training_that_was_interrupted_before_its_first_epoch_ended():
    history = trained(validation=True, callbacks=[CtrlC(1)]).history
    (line,) = history.plot().lines
    np.testing.assert_array_equal(line.get_ydata(), history.loss)


def test_single_points_are_seen():
    lines = trained(validation=True, epochs=1, batch_size=None).history.plot(logarithmic=True).lines
    assert [len(line.get_xdata()) for line in lines] == [1, 1]
    assert all(line.get_marker() not in ("None", "", None) for line in lines)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_a_history_without_steps_can_be_drawn(logarithmic):
    (line,) = tg.History().plot(logarithmic=logarithmic).lines
    assert len(line.get_xdata()) == 0


@pytest.mark.parametrize("draw", [plot.losses, lambda history, ax: history.plot(ax)])
def test_losses_go_into_the_axes_that_are_given(draw):
    _, (left, right) = plt.subplots(1, 2)
    assert draw(trained(validation=True).history, right) is right
    assert (len(left.lines), len(right.lines)) == (0, 3)
    assert len(plt.get_fignums()) == 1


def test_curves_draw_each_series_with_its_label():
    rng = np.random.default_rng(0)
    series = {f"run {i}": rng.random(5 + i) for i in range(7)}
    ax = plot.curves(series, title="All", ylabel="size", logarithmic=True)
    assert labels(ax) == ("All", "step", "size")
    assert legend(ax) == list(series)
    assert ax.get_yscale() == "log"
    for line, (label, values) in zip(ax.lines, series.items(), strict=True):
        assert line.get_label() == label
        np.testing.assert_array_equal(line.get_ydata(), values)
        np.testing.assert_array_equal(line.get_xdata(), range(len(values)))
    looks = {(line.get_color(), line.get_linestyle()) for line in ax.lines}
    assert len(looks) == 7


def test_curves_are_linear_unless_asked():
    assert plot.curves({"a": [1.0, 2.0]}).get_yscale() == "linear"


@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 99))
def test_scatter_draws_every_point_in_its_class(points, classes, seed):
    X, y = tg.data.spiral(points, classes, rng=seed)
    shuffled = np.random.default_rng(seed).permutation(len(X))
    X, y = X[shuffled], 10 * y[shuffled]
    _, ax = plt.subplots()
    assert plot.scatter(X, y, ax, title="Arms") is ax
    assert labels(ax) == ("Arms", "$x_1$", "$x_2$")
    assert legend(ax) == [f"class {10 * i}" for i in range(classes)]
    for i, cloud in enumerate(ax.collections):
        np.testing.assert_array_equal(cloud.get_offsets(), X[y == 10 * i])
    looks = {
        (
            matplotlib.colors.to_hex(cloud.get_facecolor()[0]),
            cloud.get_paths()[0].vertices.tobytes(),
        )
        for cloud in ax.collections
    }
    assert len(looks) == len(ax.collections) == classes
    plt.close("all")


def test_scatter_does_not_distort():
    assert plot.scatter([[0.0, 1.0], [5.0, 2.0]], [0, 1]).get_aspect() == 1


@pytest.mark.parametrize(
    ("X", "y"),
    [
        (np.zeros((4, 3)), np.zeros(4)),
        (np.zeros(4), np.zeros(4)),
        (np.zeros((4, 2)), np.zeros(3)),
        (np.zeros((4, 2)), np.zeros((4, 2))),
    ],
)
def test_scatter_refuses_other_shapes(X, y):
    for draw in (plot.scatter, lambda X, y: plot.decision_regions(lambda rows: rows[:, 0], X, y)):
        with pytest.raises(ValueError, match=r"X must be \(n, 2\) and y \(n,\), got \("):
            draw(X, y)


def regions(ax):
    """The paths of the filled regions of the axes, and their colours."""
    (filled,) = (c for c in ax.collections if isinstance(c, QuadContourSet) and c.filled)
    return filled.get_paths(), filled.get_facecolor()


def clouds(ax):
    return [c for c in ax.collections if isinstance(c, PathCollection)]


def by_thirds(rows):
    """Three classes, one for each band of x1 + x2."""
    return np.searchsorted([-0.3, 0.4], rows.sum(axis=1))


def test_decision_regions_are_where_predict_says():
    X, _ = tg.data.spiral(30, 3, rng=0)
    y = by_thirds(X)
    ax = plot.decision_regions(by_thirds, X, y, title="Bands", steps=120)
    assert labels(ax) == ("Bands", "$x_1$", "$x_2$")
    paths, colours = regions(ax)
    somewhere = np.random.default_rng(0).uniform(X.min(axis=0), X.max(axis=0), (500, 2))
    # Between two points of the grid the border may run anywhere.
    clear = (np.abs(somewhere.sum(axis=1)[:, None] - [-0.3, 0.4]) > 0.1).all(axis=1)
    rows = somewhere[clear]
    assert set(by_thirds(rows)) == {0, 1, 2}
    inside = np.array([path.contains_points(rows) for path in paths])
    np.testing.assert_array_equal(inside, by_thirds(rows) == np.arange(3)[:, None])
    for cloud, colour in zip(clouds(ax), colours, strict=True):
        np.testing.assert_array_equal(cloud.get_facecolor()[0, :3], colour[:3])


def test_decision_regions_leave_a_margin_around_the_data():
    X, y = tg.data.spiral(30, 2, rng=0)
    seen = []

    def predict(rows):
        seen.append(rows)
        return (rows[:, 0] > 0).astype(int)

    ax = plot.decision_regions(predict, X, y, steps=11)
    low, high = X.min(axis=0), X.max(axis=0)
    margin = 0.3 * (high - low)
    expected = np.array([low - margin, high + margin]).T
    np.testing.assert_allclose([ax.get_xlim(), ax.get_ylim()], expected, rtol=1e-12)
    (rows,) = seen
    assert rows.shape == (121, 2)
    np.testing.assert_allclose([rows.min(axis=0), rows.max(axis=0)], expected.T, rtol=1e-12)


def test_decision_regions_take_labels_as_they_are():
    X, _ = tg.data.spiral(30, 2, rng=0)

    def predict(rows):
        return np.where(rows[:, 0] > 0, 7, 3)

    paths, _ = regions(plot.decision_regions(predict, X, predict(X), steps=50))
    left, right = (path.contains_points([[-0.5, 0.1], [0.5, 0.1]]) for path in paths)
    np.testing.assert_array_equal([left, right], [[True, False], [False, True]])


def test_a_class_that_the_data_lack_is_not_drawn_as_another():
    X, _ = tg.data.spiral(30, 2, rng=0)
    y = np.where(X[:, 0] > 0, 2, 0)
    paths, _ = regions(plot.decision_regions(by_thirds, X, y, steps=100))
    middle = [[0.0, 0.05]]
    assert by_thirds(np.array(middle)) == 1
    assert not any(path.contains_points(middle).any() for path in paths[:1] + paths[-1:])


def test_decision_regions_of_one_class_do_not_warn():
    X, y = tg.data.spiral(30, 2, rng=0)
    paths, _ = regions(plot.decision_regions(lambda rows: np.zeros(len(rows), int), X, y, steps=9))
    assert paths[0].contains_points(X).all()
    assert not paths[1].contains_points(X).any()


def test_decision_regions_of_a_trained_model():
    trainer = trained(validation=False)
    X, y = tg.data.spiral(20, 3, rng=0)
    ax = plot.decision_regions(trainer.predict, X, y, steps=40)
    for i, cloud in enumerate(clouds(ax)):
        np.testing.assert_array_equal(cloud.get_offsets(), X[y == i])


def test_nonlinearities_are_drawn_beside_their_slopes():
    axes = plot.nonlinearities()
    assert [ax.get_title() for ax in axes] == ["sigmoid", "relu"]
    for ax, f in zip(axes, (tg.sigmoid, tg.relu), strict=True):
        assert legend(ax) == ["function", "derivative"]
        function, slope = ax.lines
        x = function.get_xdata()
        np.testing.assert_allclose([x.min(), x.max()], [-6, 6])
        np.testing.assert_array_equal(slope.get_xdata(), x)
        np.testing.assert_allclose(function.get_ydata(), f(x), rtol=1e-14)
        by_engine = tg.grad(lambda x, f=f: np.sum(f(x)))(x)
        np.testing.assert_allclose(slope.get_ydata(), by_engine, rtol=1e-13)


def test_nonlinearities_go_into_the_axes_that_are_given():
    _, axes = plt.subplots(1, 2)
    assert plot.nonlinearities(axes) is axes
    assert [len(ax.lines) for ax in axes] == [2, 2]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: tg.History().plot(),
        lambda: plot.curves({"a": [1.0]}),
        lambda: plot.scatter([[0.0, 1.0]], [0]),
        lambda: plot.decision_regions(np.sum, [[0.0, 1.0]], [0]),
        lambda: plot.nonlinearities(),
    ],
    ids=["History.plot", "curves", "scatter", "decision_regions", "nonlinearities"],
)
def test_without_matplotlib_the_error_names_the_extra(draw, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ModuleNotFoundError, match=r"extra `plot`.*pip install matplotlib"):
        draw()
