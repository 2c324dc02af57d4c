"""Pictures: what is in the axes, read back from them."""

import base64
import copy
import html.parser
import io
import itertools
import re
import sys

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.contour import QuadContourSet

import tinygrad_edu as tg
import tinygrad_edu.plot.movie
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
            to_hex(cloud.get_facecolor()[0]),
            cloud.get_paths()[0].vertices.tobytes(),
        )
        for cloud in ax.collections
    }
    assert len(looks) == len(ax.collections) == classes
    plt.close("all")


@pytest.mark.parametrize(
    ("across", "up", "aspect"),
    [(1, 1, 1), (2.9, 1, 1), (1, 2.9, 1), (3.1, 1, "auto"), (1, 3.1, "auto"), (40, 9e4, "auto")],
)
def test_both_axes_have_one_scale_unless_one_feature_would_be_a_line(across, up, aspect):
    X = np.array([[5.0, 7.0], [5.0 + across, 7.0], [5.0, 7.0 + up]])
    axes = plot.scatter(X, [0, 1, 1]), plot.decision_regions(by_thirds, X, [0, 1, 1], steps=9)
    for ax in axes:
        assert ax.get_aspect() == aspect
        ax.figure.draw_without_rendering()
        assert min(ax.get_position().size) > 0.2


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


def share_of(cloud, colour):
    """How much of the colour of the points is in a colour that is made of it and white."""
    shares = (1 - colour[:3]) / (1 - cloud.get_facecolor()[0, :3])
    assert np.ptp(shares) < 1e-9
    return shares[0]


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
        assert 0 < share_of(cloud, colour) < 1


@given(st.integers(2, 30))
@example(2)
@example(5)
@example(30)
def test_regions_differ_in_grey_and_the_legend_shows_which_is_which(classes):
    X, y = tg.data.spiral(4, classes, rng=0)
    ax = plot.decision_regions(lambda rows: np.resize(range(classes), len(rows)), X, y, steps=9)
    _, colours = regions(ax)
    greys = [PIL.Image.new("RGB", (1, 1), to_hex(c)).convert("L").getpixel((0, 0)) for c in colours]
    assert np.diff(greys).min() >= 60 // (classes - 1)
    # The black of lines and the faces of points stand out from the darkest, paper from the palest.
    assert greys[0] > 150
    assert greys[-1] < 240
    assert all(colours[:, 3] == 1)
    for cloud, colour in zip(clouds(ax), colours, strict=True):
        assert 0 < share_of(cloud, colour) < 1
    shown = [patch.get_facecolor() for patch in ax.get_legend().get_patches()]
    np.testing.assert_allclose(shown, colours, rtol=1e-12)
    assert legend(ax) == [f"class {i}" for i in range(classes)]
    plt.close("all")


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


def test_points_and_region_of_a_class_share_a_colour_where_the_data_lack_another():
    X, _ = tg.data.spiral(30, 2, rng=0)
    y = np.where(X[:, 0] > 0, 2, 1)
    ax = plot.decision_regions(by_thirds, X, y, steps=50)
    assert legend(ax) == ["class 0", "class 1", "class 2"]
    _, colours = regions(ax)
    for label, (cloud, colour) in enumerate(zip(clouds(ax), colours, strict=True)):
        np.testing.assert_array_equal(cloud.get_offsets(), X[y == label].reshape(-1, 2))
        if label in y:
            assert 0 < share_of(cloud, colour) < 1


def test_names_columns_floats_and_truth_values_are_classes():
    X, _ = tg.data.spiral(30, 2, rng=0)
    right = X[:, 0] > 0
    for y, told in (
        (right.astype(float), ["class 0", "class 1"]),
        (right[:, None], ["class 0", "class 1"]),
        (np.where(right, "cat", "dog"), ["class cat", "class dog"]),
        (np.where(right, "cat", "dog").astype(object), ["class cat", "class dog"]),
    ):
        ax = plot.scatter(X, y)
        assert legend(ax) == told
        firsts = right if "cat" in told[0] else ~right
        np.testing.assert_array_equal(clouds(ax)[0].get_offsets(), X[firsts])
    ax = plot.decision_regions(lambda rows: np.where(rows[:, 0] > 0, "cat", "dog"), X, y, steps=40)
    paths, _ = regions(ax)
    assert paths[0].contains_point((0.5, 0.1))
    assert paths[1].contains_point((-0.5, 0.1))


NAN = np.array([[0.0, 1.0], [np.nan, 1.0], [2.0, 3.0]])
GOOD = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 3.0]])


@pytest.mark.parametrize(
    ("X", "y", "error"),
    [
        (NAN, [0, 1, 0], r"X holds nan at \[1, 0\]"),
        (GOOD, [0.0, np.nan, 1.0], r"y holds nan at \[1\]"),
        (GOOD, [0.0, 0.25, 1.0], r"y must hold classes.*0\.25 at \[1\]"),
        (np.zeros((0, 2)), [], r"X has no rows \(shape \(0, 2\)\)"),
        (np.zeros((31, 2)), np.arange(31), "y holds 31 classes.* for 30"),
    ],
)
def test_points_that_cannot_be_drawn_are_refused(X, y, error):
    for draw in (
        plot.scatter,
        plot.BoundaryMovie,
        lambda X, y: plot.decision_regions(lambda rows: rows[:, 0] > 0, X, y),
    ):
        with pytest.raises(ValueError, match=error):
            draw(X, y)
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("predict", "y", "error"),
    [
        (lambda rows: rows, [0, 1, 0], r"got shape \(100, 2\).*argmax"),
        (lambda rows: rows[:5, 0], [0, 1, 0], r"got shape \(5,\)"),
        (lambda rows: 7 * rows[:, 0], [0, 1, 0], r"from 0 to 1; it returned .* of a logit"),
        (lambda rows: np.full(len(rows), np.nan), [0, 1, 0], "it returned nan at"),
        (lambda rows: np.full(len(rows), 0.3), [1, 2, 1], r"y must hold 0 and 1; it holds 1, 2"),
        (lambda rows: np.full(len(rows), 0.3), ["0", "1", "1"], "y must hold 0 and 1"),
        (lambda rows: np.full(len(rows), 1), ["a", "b", "a"], "both give numbers or both names"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(predict, y, error):
    with pytest.raises(ValueError, match=error):
        plot.decision_regions(predict, GOOD, y, steps=10)
    assert not plt.get_fignums()


def test_labels_that_a_trainer_does_not_know_are_refused():
    trainer = trained(validation=False)
    with pytest.raises(ValueError, match=r"3 outputs says classes 0 to 2; y holds 0, 3"):
        plot.decision_regions(trainer, GOOD, [0, 1, 3], steps=10)
    with pytest.raises(TypeError, match="must be a Trainer, a net or a function"):
        plot.decision_regions(7, GOOD, [0, 1, 2])


@pytest.mark.parametrize("steps", [1, 0, 2.5])
def test_a_grid_needs_points(steps):
    with pytest.raises(ValueError, match="at least 2 points across and up"):
        plot.decision_regions(by_thirds, GOOD, [0, 1, 2], steps=steps)


def test_points_on_a_line_have_room_around_them():
    ax = plot.decision_regions(by_thirds, [[0.0, 1.0], [2.0, 1.0]], [2, 2], steps=20)
    np.testing.assert_allclose(ax.get_ylim(), [0, 2])
    np.testing.assert_allclose(ax.get_xlim(), [-0.6, 2.6])


def by_distance(rows):
    """The probability of class 1: 0.5 on the circle of radius 1."""
    return tg.sigmoid(4 * (rows[:, :1] ** 2 + rows[:, 1:] ** 2 - 1))


def lines_of(ax):
    return [c for c in ax.collections if isinstance(c, QuadContourSet) and not c.filled]


def test_a_probability_has_its_boundary_at_one_half():
    X = np.random.default_rng(0).normal(size=(60, 2))
    y = (by_distance(X) > 0.5).astype(int)
    ax = plot.decision_regions(by_distance, X, y, steps=200)
    (lines,) = lines_of(ax)
    assert list(lines.levels) == [0.1, 0.5, 0.9]
    for level, path in zip(lines.levels, lines.get_paths(), strict=True):
        np.testing.assert_allclose(by_distance(path.vertices)[:, 0], level, atol=2e-3)
    styles = lines.get_linestyle()
    assert [offsets for _, offsets in styles].count(None) == 1
    assert styles[1][1] is None
    assert lines.get_linewidths()[1] == max(lines.get_linewidths())
    assert sorted(text.get_text() for text in ax.texts) == ["0.1", "0.5", "0.9"]
    # Shades from the colour of class 0 to that of class 1, palest in the middle.
    paths, colours = regions(ax)
    assert len(paths) == 10
    for p, x in ((0.05, 0.3), (0.95, 1.4)):
        assert [path.contains_point((x, 0.0)) for path in paths].index(True) == int(10 * p)
    brightness = np.array(colours)[:, :3].sum(axis=1)
    assert (np.diff(brightness[:5]) > 0).all()
    assert (np.diff(brightness[5:]) < 0).all()
    for end, cloud in zip((colours[0], colours[-1]), clouds(ax), strict=True):
        own = cloud.get_facecolor()[0, :3]
        assert np.abs(end[:3] - own).max() < 0.12


def test_a_probability_that_nowhere_is_one_half_has_no_boundary():
    ax = plot.decision_regions(lambda rows: 0.2 + 0 * rows[:, 0], GOOD, [0, 0, 1], steps=10)
    assert lines_of(ax) == []
    assert legend(ax) == ["class 0", "class 1"]


def binary(epochs=20, callbacks=(), dtype=np.float64):
    X, y = tg.data.crossed_gaussians(80, rng=0)
    net = tg.nn.MLP((2, 8, 1), "tanh", rng=0, dtype=dtype)
    optimizer = tg.optim.Adam(net.parameters(), lr=0.05)
    trainer = tg.Trainer(net, optimizer, tg.binary_cross_entropy, callbacks=callbacks, rng=0)
    trainer.fit(X, y[:, None], epochs, progress=False)
    return trainer, X, y[:, None]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_binary_trainer_is_drawn_with_its_probability(dtype):
    trainer, X, y = binary(dtype=dtype)
    ax = plot.decision_regions(trainer, X, y, steps=150)
    (lines,) = lines_of(ax)
    boundary = lines.get_paths()[list(lines.levels).index(0.5)].vertices
    logits = trainer.model(boundary.astype(dtype)).numpy()
    away = trainer.model((boundary + 0.2).astype(dtype)).numpy()
    assert np.abs(logits).max() < 0.05 < np.abs(away).max()
    paths, _ = regions(plot.decision_regions(trainer.predict, X, y, steps=150))
    assert len(paths) == 2
    inside = np.array([path.contains_points(X) for path in paths])
    certain = np.abs(trainer.model(X.astype(dtype)).numpy()[:, 0]) > 0.3
    decided = trainer.predict(X)[:, 0]
    np.testing.assert_array_equal(inside[1][certain], decided[certain] == 1)


def test_a_trainer_says_what_its_predict_says():
    trainer = trained(validation=False)
    X, y = tg.data.spiral(20, 3, rng=0)
    axes = [plot.decision_regions(p, X, y, steps=40) for p in (trainer, trainer.predict)]
    for one, other in zip(*(regions(ax)[0] for ax in axes), strict=True):
        np.testing.assert_array_equal(one.vertices, other.vertices)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_net_says_what_its_trainer_says(dtype):
    for trainer, X, y in (binary(dtype=dtype), (trained(False), *tg.data.spiral(20, 3, rng=0))):
        axes = [plot.decision_regions(p, X, y, steps=40) for p in (trainer, trainer.model)]
        paths = [regions(ax)[0] for ax in axes]
        assert len(paths[0]) == len(paths[1])
        assert legend(axes[0]) == legend(axes[1])
        for one, other in zip(*paths, strict=True):
            np.testing.assert_array_equal(one.vertices, other.vertices)


class Flat(tg.nn.Module):
    def __init__(self, net):
        self.net = net

    def forward(self, x):
        return tg.sigmoid(self.net(x))[:, 0]


def test_a_net_that_ends_in_a_sigmoid_says_a_probability():
    trainer, X, y = binary()
    logits = trainer.model
    closed = tg.nn.Sequential(*logits.layers, tg.nn.Sigmoid())
    # A sigmoid elsewhere is none at the end.
    deeper = tg.nn.MLP((2, 1, 1), "sigmoid", rng=0)
    drawn = [
        regions(plot.decision_regions(net, X, y, steps=40))[0]
        for net in (logits, closed, Flat(logits), lambda rows: tg.sigmoid(logits(rows)))
    ]
    for paths in drawn[1:]:
        for one, other in zip(paths, drawn[0], strict=True):
            np.testing.assert_array_equal(one.vertices, other.vertices)
    drawn = [
        regions(plot.decision_regions(net, X, y, steps=40))[0]
        for net in (deeper, lambda rows: tg.sigmoid(deeper(rows)))
    ]
    for one, other in zip(*drawn, strict=True):
        np.testing.assert_array_equal(one.vertices, other.vertices)


def test_a_net_without_parameters_or_with_plain_outputs_is_drawn():
    class Radius(tg.nn.Module):
        def forward(self, x):
            return np.hypot(*x.T) - 1

    class Plain(Radius):
        def forward(self, x):
            return super().forward(x.numpy() if isinstance(x, tg.Tensor) else x)

    X, y = np.array([[0.0, 0.0], [2.0, 2.0]]), [0, 1]
    for net in (Radius(), Plain()):
        (lines,) = lines_of(plot.decision_regions(net, X, y, steps=60))
        boundary = lines.get_paths()[list(lines.levels).index(0.5)].vertices
        np.testing.assert_allclose(np.hypot(*boundary.T), 1, atol=0.01)


def test_labels_that_a_net_does_not_know_are_refused():
    net = tg.nn.MLP((2, 3), rng=0)
    with pytest.raises(ValueError, match=r"3 outputs says classes 0 to 2; y holds 0, 3"):
        plot.decision_regions(net, GOOD, [0, 1, 3], steps=10)
    with pytest.raises(ValueError, match=r"y must hold 0 and 1; it holds 0, 2"):
        plot.decision_regions(tg.nn.MLP((2, 1), rng=0), GOOD, [0, 2, 0], steps=10)


def test_pictures_of_a_net_take_its_trainer():
    trainer, X, _ = binary()
    for draw in (plot.weights, lambda model: plot.activations(model, X)):
        one, other = draw(trainer), draw(trainer.model)
        assert [labels(ax) for ax in one] == [labels(ax) for ax in other]
        for ax, same in zip(one, other, strict=True):
            assert len(ax.images) + len(ax.patches) == len(same.images) + len(same.patches) > 0


def test_a_model_that_overflows_is_not_drawn():
    trainer = trained(validation=False)
    trainer.model.parameters()[0].data = np.full((2, 8), 1e308)
    for model in (trainer, trainer.model):
        with (
            np.errstate(all="ignore"),
            pytest.raises(FloatingPointError, match="outputs are NaN or infinite"),
        ):
            plot.decision_regions(model, 10 * GOOD, [0, 1, 2], steps=10)


def outputs(net, X):
    """What comes out of each activation of the net."""
    found = []
    for layer in net.layers[:-1]:
        X = layer(X)
        found += [] if isinstance(layer, tg.nn.Linear) else [X.numpy()]
    return found


def bars(ax):
    (patch,) = ax.patches
    return patch.get_data()


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_activations_are_counted_between_their_bounds(activation):
    X, _ = tg.data.spiral(40, 3, rng=0)
    net = tg.nn.MLP((2, 20, 10, 3), activation, init=5.0, rng=0)
    axes = plot.activations(net, X)
    low = {"sigmoid": 0, "tanh": -1}[activation]
    for number, (ax, values) in enumerate(zip(axes, outputs(net, X), strict=True), start=1):
        counts, edges, _ = bars(ax)
        assert (edges[0], edges[-1]) == (low, 1)
        expected, _ = np.histogram(values, edges)
        np.testing.assert_allclose(counts, expected / values.size, rtol=1e-14)
        assert counts.sum() == pytest.approx(1)
        share = 100 * np.mean((values < low + 0.01) | (values > 0.99))
        assert 1 < share < 99
        assert labels(ax) == (
            f"layer {number}, {activation}\n{share:.3g} % saturated",
            "output",
            "share of outputs",
        )
    assert axes[0].get_xlim() == axes[1].get_xlim()


def test_activations_are_those_of_predictions_where_there_is_dropout():
    X = np.random.default_rng(0).standard_normal((20, 3))
    net, plain = (tg.nn.MLP((3, 4, 4, 2), rng=0, dropout=p) for p in (0.5, 0.0))
    titles = [[ax.get_title() for ax in plot.activations(each, X)] for each in (net, plain)]
    assert titles[0] == titles[1]
    assert all("relu" in title for title in titles[0])
    assert net.training


def test_a_movie_of_a_net_with_dropout_shows_predictions_and_draws_no_random_numbers():
    X, y = tg.data.spiral(points_per_class=10)
    losses = []
    for movies in ([], [plot.BoundaryMovie(X, y, every=1)]):
        net = tg.nn.MLP((2, 8, 3), rng=0, dropout=0.5)
        trainer = tg.Trainer(net, tg.optim.SGD(net.parameters(), 0.1), callbacks=movies, rng=0)
        losses.append(trainer.fit(X, y, epochs=5, progress=False).loss)
    np.testing.assert_array_equal(*losses)
    (movie,) = movies
    assert movie.noted[-1].loss == trainer.objective(X, y).item()


def test_activations_of_maxout_layers_are_what_they_put_out():
    X, _ = tg.data.spiral(40, 3, rng=0)
    net = tg.nn.MLP((2, 20, 10, 3), "maxout", rng=0)
    hidden = net[0](X)
    for number, (ax, values) in enumerate(
        zip(plot.activations(net, X), [hidden.numpy(), net[1](hidden).numpy()], strict=True), 1
    ):
        counts, edges, _ = bars(ax)
        np.testing.assert_allclose(counts, np.histogram(values, edges)[0] / values.size, rtol=1e-14)
        assert ax.get_title().splitlines()[0] == f"layer {number}, maxout"


def test_relu_s_zeros_stand_in_the_title_and_not_among_the_bars():
    X, _ = tg.data.spiral(40, 3, rng=0)
    net = tg.nn.MLP((2, 20, 10, 3), "relu", rng=0)
    axes = plot.activations(net, X)
    values = outputs(net, X)
    for number, (ax, each) in enumerate(zip(axes, values, strict=True), start=1):
        zeros = np.mean(each == 0)
        assert 0.2 < zeros < 0.8
        assert ax.get_title() == f"layer {number}, relu\n{100 * zeros:.3g} % zeros"
        assert ax.get_xlabel() == "output above 0"
        counts, edges, _ = bars(ax)
        assert counts.sum() == pytest.approx(1 - zeros)
        assert edges[0] == 0
        assert edges[-1] == max(v.max() for v in values)
    assert axes[0].get_xlim() == axes[1].get_xlim()


def test_a_dead_layer_is_drawn():
    net = tg.nn.MLP((2, 5, 3), "relu", rng=0)
    net.layers[0].b.data = np.full(5, -100.0)
    (ax,) = plot.activations(net, GOOD)
    assert ax.get_title() == "layer 1, relu\n100 % zeros"
    assert bars(ax)[0].sum() == 0


class Swish(tg.nn.Module):
    def forward(self, x):
        return x * tg.sigmoid(x)


def test_layers_are_what_lies_between_linear_ones():
    nn = tg.nn
    first = nn.Sequential(nn.Linear(2, 4, rng=0), np.tanh)
    net = nn.Sequential(
        first, nn.Linear(4, 5, rng=1), nn.Linear(5, 6, rng=2), Swish(), nn.Linear(6, 1, rng=3)
    )
    told = ["tanh\n0 % saturated", "linear", "Swish"]
    expected = [f"layer {number}, {kind}" for number, kind in enumerate(told, start=1)]
    assert [ax.get_title() for ax in plot.activations(net, 0.1 * GOOD)] == expected
    closed = nn.Sequential(*net.layers, nn.Sigmoid())
    titles = [ax.get_title() for ax in plot.activations(closed, 0.1 * GOOD)]
    assert titles == [*expected, "layer 4, sigmoid\n0 % saturated"]


def test_many_layers_go_into_rows():
    net = tg.nn.MLP((2, *[3] * 6, 1), "tanh", rng=0)
    axes = plot.activations(net, GOOD)
    assert len(axes) == len(axes[0].figure.axes) == 6
    rows = [ax.get_subplotspec().rowspan.start for ax in axes]
    assert rows == [0, 0, 0, 0, 1, 1]


class Own(tg.nn.Sequential):
    def forward(self, x):
        return super().forward(x) + 1


@pytest.mark.parametrize(
    ("model", "X", "error", "told"),
    [
        (tg.nn.MLP((2, 3), rng=0), GOOD, ValueError, "no hidden layer"),
        (tg.nn.Sequential(), GOOD, ValueError, "no hidden layer"),
        (tg.nn.Linear(2, 3, rng=0), GOOD, TypeError, "of an nn.MLP or nn.Sequential"),
        (Own(tg.nn.Linear(2, 3, rng=0), tg.nn.ReLU()), GOOD, TypeError, "of an nn.MLP"),
        (lambda x: x, GOOD, TypeError, "of an nn.MLP"),
        (tg.nn.MLP((2, 3, 1), rng=0), NAN, ValueError, "X holds nan"),
        (tg.nn.MLP((2, 3, 1), rng=0), np.zeros((0, 2)), ValueError, r"shape \(0, 2\)"),
        (tg.nn.MLP((2, 3, 1), rng=0), np.zeros(2), ValueError, r"shape \(2,\)"),
        (tg.nn.MLP((2, 3, 1), init=1e308, rng=0), 9 * GOOD, ValueError, "layer 1 puts out"),
    ],
)
def test_activations_that_cannot_be_drawn_are_refused(model, X, error, told):
    with np.errstate(all="ignore"), pytest.raises(error, match=told):
        plot.activations(model, X)
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    "draw",
    [lambda net, axes: plot.activations(net, GOOD, axes), lambda n, axes: plot.weights(n, axes)],
)
def test_nets_go_into_the_axes_that_are_given(draw):
    net = tg.nn.MLP((2, 4, 5), "tanh", rng=0)
    net = tg.nn.Sequential(*net.layers, tg.nn.ReLU())
    figure, axes = plt.subplots(2, 1)
    assert draw(net, axes) == list(axes)
    assert all(ax.get_title() for ax in axes)
    with pytest.raises(ValueError, match=r"one for each of 2 \(.*\), got 3"):
        draw(net, figure.subplots(1, 3))
    assert len(plt.get_fignums()) == 1


def test_weights_are_drawn_on_one_scale_around_0():
    net = tg.nn.MLP((2, 7, 3), rng=0)
    for b in net.parameters()[1::2]:
        b.data = np.random.default_rng(0).normal(size=b.shape)
    net.parameters()[3].data[1] = -9.0
    axes = plot.weights(net)
    pairs = [(layer.W, layer.b) for layer in net.layers[::2]]
    for ax, name, (W, b) in zip(axes, ("W1", "W2"), pairs, strict=True):
        assert labels(ax) == (f"{name} {W.shape}", "output unit", "input unit")
        matrix, band = ax.images
        np.testing.assert_array_equal(matrix.get_array(), W.data)
        np.testing.assert_array_equal(band.get_array(), [b.data])
        assert matrix.get_clim() == band.get_clim() == (-9, 9)
        # Below the matrix, over the same columns.
        left, right, bottom, top = band.get_extent()
        assert [left, right] == matrix.get_extent()[:2] == [-0.5, W.shape[1] - 0.5]
        assert bottom > top > W.shape[0] - 0.5
        assert ax.get_ylim() == (bottom, -0.5)
        *rows, bias = [text.get_text() for text in ax.get_yticklabels()]
        assert (bias, set(rows) <= set(map(str, range(W.shape[0])))) == ("bias", True)
    (bar,) = set(axes[0].figure.axes) - set(axes)
    assert bar.get_ylabel() == "weight"


@given(st.integers(1, 60), st.integers(1, 60), st.booleans())
def test_the_ticks_of_weights_are_numbers_of_units(n_in, n_out, biased):
    net = tg.nn.MLP((n_in, n_out), rng=0)
    if not biased:
        net.W = net.layers.pop().W
    (ax,) = plot.weights(net)
    ax.figure.draw_without_rendering()
    rows = [text.get_text() for text in ax.get_yticklabels() if text.get_text() != "bias"]
    for told, n in ((rows, n_in), ([text.get_text() for text in ax.get_xticklabels()], n_out)):
        units = [int(text) for text in told]
        assert units[0] == 0
        assert units == sorted(set(units))
        assert n / 2 <= units[-1] + 1 <= n
        assert min(n, 3) <= len(units) <= 7
    plt.close("all")


def test_the_colours_of_weights_keep_their_order_in_grey():
    axes = plot.weights(tg.nn.MLP((2, 3), rng=0))
    colours = axes[0].images[0].cmap(np.linspace(0, 1, 64))[:, :3]
    assert (np.diff(colours @ [0.299, 0.587, 0.114]) > 0).all()


def test_weights_without_a_bias_and_of_any_module():
    class Table(tg.nn.Module):
        def __init__(self):
            self.rows = tg.Tensor(np.zeros((4, 3)), requires_grad=True)
            self.last = tg.nn.Linear(3, 2, init=0.0, rng=0)

    axes = plot.weights(Table())
    assert [ax.get_title() for ax in axes] == ["rows (4, 3)", "last.W (3, 2)"]
    assert [len(ax.images) for ax in axes] == [1, 2]
    assert axes[0].images[0].get_clim() == (-1, 1)
    axes[0].figure.savefig(io.BytesIO())


@pytest.mark.parametrize("place", ["W", "b"])
def test_weights_that_cannot_be_drawn_are_refused(place):
    net = tg.nn.MLP((2, 3), rng=0)
    getattr(net.layers[0], place).data.flat[1] = np.inf
    with pytest.raises(ValueError, match="W1 or its bias holds NaN or infinite"):
        plot.weights(net)
    with pytest.raises(ValueError, match="no weight matrix"):
        plot.weights(tg.nn.ReLU())
    with pytest.raises(TypeError, match=r"must be a tg\.nn\.Module"):
        plot.weights(net.parameters())
    assert not plt.get_fignums()


def filmed(epochs, batch_size=None, callbacks=(), **options):
    X, y = tg.data.spiral(20, 3, rng=0)
    movie = plot.BoundaryMovie(X, y, **{"steps": 15} | options)
    net = tg.nn.MLP((2, 8, 3), rng=0)
    optimizer = tg.optim.Adam(net.parameters(), lr=0.05)
    trainer = tg.Trainer(net, optimizer, l2=0.01, callbacks=[movie, *callbacks], rng=0)
    for number in epochs:
        trainer.fit(X, y, number, batch_size, progress=False)
    return movie, trainer, X, y


def test_a_movie_notes_the_model_before_the_first_step_and_every_so_often():
    movie, trainer, *_ = filmed([10], every=3)
    assert [frame.step for frame in movie.noted] == [0, 3, 6, 9]
    for frame in movie.noted:
        # The loss of a step is measured before its update.
        assert frame.loss == pytest.approx(trainer.history.loss[frame.step], rel=1e-12)
    again, *_ = filmed([9], every=9)
    np.testing.assert_array_equal(again.noted[1].said, movie.noted[3].said)


def test_a_movie_shows_what_the_model_says():
    movie, trainer, X, _ = filmed([5], every=5, steps=30)
    low, high = X.min(axis=0), X.max(axis=0)
    margin = 0.3 * (high - low)
    axes = np.linspace(low - margin, high + margin, 30).T
    rows = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    np.testing.assert_array_equal(movie.noted[-1].said, trainer.predict(rows))
    assert len(set(movie.noted[-1].said)) == 3


@given(st.integers(2, 9), st.integers(1, 4), st.integers(1, 60))
def test_a_movie_has_at_most_so_many_frames_evenly_spread(frames, every, steps):
    movie, *_ = filmed([steps], frames=frames, every=every, steps=2)
    taken = [frame.step for frame in movie.noted]
    assert len(taken) <= frames
    assert taken == list(range(0, steps + 1, movie.every))
    if movie.every > every:
        assert len(taken) > frames // 2


def test_several_fits_and_minibatches_go_on_in_the_same_movie():
    movie, *_ = filmed([2, 1, 1], batch_size=30, every=3)
    assert [frame.step for frame in movie.noted] == [0, 3, 6]
    assert repr(movie) == "<movie of 3 frames, steps 0 to 6>"


def test_another_trainer_of_the_same_model_goes_on_in_the_same_movie():
    movie, trainer, X, y = filmed([4], every=2)
    for epochs in (3, 2):
        again = tg.Trainer(trainer.model, trainer.optimizer, l2=0.01, callbacks=[movie])
        again.fit(X, y, epochs, progress=False)
    assert [frame.step for frame in movie.noted] == [0, 2, 4, 6, 8]
    once, *_ = filmed([9], every=2)
    assert [frame.loss for frame in movie.noted] == [frame.loss for frame in once.noted]


def test_a_movie_that_begins_late_counts_the_steps_before_it():
    _, trainer, X, y = filmed([5])
    movie = plot.BoundaryMovie(X, y, every=2, steps=5)
    trainer.callbacks = [movie]
    trainer.fit(X, y, 4, progress=False)
    assert [frame.step for frame in movie.noted] == [5, 7, 9]
    trainer.callbacks = []
    trainer.fit(X, y, 10, progress=False)
    trainer.callbacks = [movie]
    trainer.fit(X, y, 2, progress=False)
    assert [frame.step for frame in movie.noted] == [5, 7, 9, 21]


def test_a_movie_of_another_model_is_refused():
    movie, _, X, y = filmed([4])
    net = tg.nn.MLP((2, 8, 3), rng=0)
    before = net.state_dict()
    other = tg.Trainer(net, tg.optim.Adam(net.parameters()), callbacks=[movie])
    with pytest.raises(ValueError, match=r"another model, up to step 4; make a new BoundaryMovie"):
        other.fit(X, y, 2, progress=False)
    assert [frame.step for frame in movie.noted] == [0, 1, 2, 3, 4]
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_copied_trainer_goes_on_with_its_own_movie():
    movie, trainer, X, y = filmed([2])
    other = copy.deepcopy(trainer)
    other.fit(X, y, 3, progress=False)
    assert [len(each) for each in (movie, other.callbacks[0])] == [3, 6]


def test_ctrl_c_leaves_a_movie_of_what_there_was(tmp_path):
    movie, *_ = filmed([50], callbacks=[CtrlC(4)])
    assert [frame.step for frame in movie.noted] == [0, 1, 2, 3, 4]
    movie.save(tmp_path / "short.gif")
    with PIL.Image.open(tmp_path / "short.gif") as gif:
        assert gif.n_frames == 5


def test_a_training_that_diverges_is_reported_by_the_trainer():
    X, y = tg.data.spiral(20, 3, rng=0)
    movie = plot.BoundaryMovie(X, y, steps=5)
    net = tg.nn.MLP((2, 8, 3), rng=0)
    trainer = tg.Trainer(net, tg.optim.SGD(net.parameters(), lr=1e200), callbacks=[movie], rng=0)
    before = net.state_dict()
    with pytest.raises(tg.TrainingDiverged):
        trainer.fit(X, y, 5, progress=False)
    np.testing.assert_array_equal(net.state_dict()["layers.0.W"], before["layers.0.W"])
    assert movie.noted[0].step == 0
    assert np.isfinite([frame.loss for frame in movie.noted]).all()


def pictures_of(path):
    """The frames of a GIF as arrays."""
    with PIL.Image.open(path) as gif:
        assert gif.format == "GIF"
        for number in range(gif.n_frames):
            gif.seek(number)
            yield np.array(gif.convert("RGB")).astype(int)


def test_a_movie_is_saved_as_a_gif(tmp_path):
    movie, *_ = filmed([8], every=2)
    movie.save(tmp_path / "boundary.gif", fps=5)
    frames = list(pictures_of(tmp_path / "boundary.gif"))
    assert len(frames) == len(movie) == 5
    for one, other in itertools.pairwise(frames):
        assert one.shape == other.shape == (360, 400, 3)
        assert np.abs(one - other).max() > 100
    with PIL.Image.open(tmp_path / "boundary.gif") as gif:
        durations = []
        for number in range(gif.n_frames):
            gif.seek(number)
            durations.append(gif.info["duration"])
    # The last one stays for a second more.
    assert durations == [200, 200, 200, 200, 1200]
    assert [path.name for path in tmp_path.iterdir()] == ["boundary.gif"]
    assert not plt.get_fignums()


def test_the_regions_of_a_movie_differ_in_grey(tmp_path):
    movie, *_ = filmed([30], every=30, steps=60)
    movie.save(tmp_path / "boundary.gif")
    with PIL.Image.open(tmp_path / "boundary.gif") as gif:
        gif.seek(1)
        greys = np.bincount(np.asarray(gif.convert("L")).ravel(), minlength=256)
    # Flat areas that are neither white paper nor black lines: a region for each class.
    assert movie.noted[-1].said.max() == 2
    areas = np.flatnonzero(greys[:250] > 1500)
    for grey in (0.64, 0.78, 0.92):
        assert np.abs(areas - 255 * grey).min() < 4


def test_the_frames_stand_still_but_for_what_has_changed(tmp_path):
    movie, *_ = filmed([8], every=2)
    movie.save(tmp_path / "boundary.gif")
    frames = list(pictures_of(tmp_path / "boundary.gif"))
    # Beside the axes: ticks and labels; above them is the title.
    for frame in frames[1:]:
        assert np.abs(frame[40:, :50] - frames[0][40:, :50]).max() < 40
        assert np.abs(frame[320:] - frames[0][320:]).max() < 40


def test_the_legend_stays_where_it_is(tmp_path):
    # A boundary that rises into the corner of the legend drives it out of there, if it may.
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, np.pi, 200)
    upper, lower = [np.cos(angle), np.sin(angle)], [1 - np.cos(angle), 0.5 - np.sin(angle)]
    y = np.repeat([0, 1], 100)[:, None]
    X = np.where(y == 0, np.transpose(upper), np.transpose(lower)) + rng.normal(0, 0.12, (200, 2))
    movie = plot.BoundaryMovie(X, y, every=100)
    net = tg.nn.MLP((2, 20, 1), "tanh", rng=0)
    adam = tg.optim.Adam(net.parameters(), lr=0.02)
    trainer = tg.Trainer(net, adam, tg.binary_cross_entropy, callbacks=[movie])
    trainer.fit(X, y, 300, progress=False)
    movie.save(tmp_path / "moons.gif")
    for frame in pictures_of(tmp_path / "moons.gif"):
        box = frame[75:95, 335:380]
        assert (box.min(axis=2) > 210).mean() > 0.6


def test_a_binary_movie_shows_the_probability(tmp_path):
    X, y = tg.data.crossed_gaussians(80, rng=0)
    movie = plot.BoundaryMovie(X, y[:, None], every=10, steps=20)
    binary(20, callbacks=[movie])
    assert [frame.step for frame in movie.noted] == [0, 10, 20]
    for frame in movie.noted:
        assert frame.said.dtype == np.float32
        assert ((frame.said > 0) & (frame.said < 1)).any()
    movie.save(tmp_path / "binary.GIF")
    assert len(list(pictures_of(tmp_path / "binary.GIF"))) == 3


class Sources(html.parser.HTMLParser):
    """What a page loads, and whether its tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.buttons, self.title = [], [], ""
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.loaded += [value for name, value in attributes if name in ("src", "href")]
        self.inside = tag

    def handle_data(self, data):
        if self.inside == "button" and data.strip():
            self.buttons.append(data.strip())
        if self.inside == "title":
            self.title += data.strip()


def test_a_movie_is_saved_as_a_page_that_loads_nothing(tmp_path):
    movie, *_ = filmed([4])
    movie.save(tmp_path / "boundary.html")
    text = (tmp_path / "boundary.html").read_text(encoding="utf-8")
    page = Sources(text)
    assert page.loaded == []
    assert "http:" not in text
    assert "https:" not in text
    assert page.title == "boundary"
    assert len(page.buttons) == 9
    assert len(set(page.buttons)) == 9
    frames = re.findall(r'frames\[\d+\] = "data:image/png;base64,([^"]+)"', text)
    assert len(frames) == len(movie) == 5
    for frame in frames:
        picture = PIL.Image.open(io.BytesIO(base64.b64decode(frame.replace("\\\n", ""))))
        assert picture.size == (400, 360)
    assert [path.name for path in tmp_path.iterdir()] == ["boundary.html"]


def test_a_notebook_shows_the_player():
    movie, *_ = filmed([2])
    shown = movie._repr_html_()
    assert shown.count("data:image/png;base64") == 3
    assert Sources(shown).loaded == []
    assert "<html" not in shown
    assert plot.BoundaryMovie(GOOD, [0, 1, 2])._repr_html_() is None


def test_a_model_that_is_always_certain_still_has_a_probability():
    trainer, X, y = binary(1)
    last = trainer.model.layers[-1]
    last.W.data, last.b.data = 1e-9 * last.W.data, np.array([1e4])
    paths, _ = regions(plot.decision_regions(trainer, X, y, steps=10))
    assert [len(path.vertices) > 0 for path in paths] == [False] * 9 + [True]


def test_what_overflows_beside_the_data_is_not_filmed():
    net = tg.nn.Sequential(tg.nn.Linear(2, 2, init=0.0, dtype=np.float32, rng=0))
    net.layers[0].W.data = np.array([[2.5e38, 0], [0, 0]], np.float32)
    X, y = np.array([[1.0, 0.0], [-1.0, 1.0]]), np.array([0, 1])
    movie = plot.BoundaryMovie(X, y)
    trainer = tg.Trainer(net, tg.optim.SGD(net.parameters(), 0.1), callbacks=[movie])
    assert trainer.fit(X, y, 3, progress=False).loss == [0.0] * 3
    assert len(movie) == 0


def test_large_movies_are_whole():
    movie, *_ = filmed([2])
    with plt.rc_context({"animation.embed_limit": 0.01}):
        assert movie._repr_html_().count("data:image/png;base64") == 3


@pytest.mark.parametrize("name", ["a.mp4", "a", "a.gif.txt", ".gif"])
def test_another_suffix_is_refused(name, tmp_path):
    movie, *_ = filmed([1])
    with pytest.raises(ValueError, match=r"can be saved as \.gif or \.html, not as"):
        movie.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fps", [0, -1, np.nan, 1000])
def test_bad_fps_are_refused(fps, tmp_path):
    movie, *_ = filmed([1])
    with pytest.raises(ValueError, match="fps must be a number above 0"):
        movie.save(tmp_path / "a.gif", fps=fps)


def test_a_movie_without_frames_or_folder_is_not_saved(tmp_path):
    movie = plot.BoundaryMovie(GOOD, [0, 1, 2])
    assert repr(movie) == "<movie without frames>"
    with pytest.raises(ValueError, match="no frames yet: give it to a Trainer"):
        movie.save(tmp_path / "a.gif")
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere to write a\.gif in"):
        movie.save(tmp_path / "nowhere" / "a.gif")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".gif", ".html"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failing_save_leaves_the_old_file(suffix, error, tmp_path, monkeypatch):
    movie, *_ = filmed([3])
    path = tmp_path / f"mine{suffix}"
    path.write_text("precious")
    drawn = []
    draw = tinygrad_edu.plot.movie.draw_regions

    def failing(*args):
        drawn.append(args)
        if len(drawn) == 3:
            raise error("no more")
        return draw(*args)

    monkeypatch.setattr(tinygrad_edu.plot.movie, "draw_regions", failing)
    with pytest.raises(error, match="no more"):
        movie.save(path)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    movie.save(path)
    assert path.stat().st_size > 10_000
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("option", "value"), [("every", 0), ("every", 1.5), ("frames", 1), ("frames", "all")]
)
def test_bad_counts_are_refused(option, value):
    with pytest.raises(ValueError, match=rf"{option} must be a whole number of at least"):
        plot.BoundaryMovie(GOOD, [0, 1, 2], **{option: value})


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_full_disk_leaves_the_older_picture_and_no_open_figure(suffix, tmp_path, full_disk):
    path = tmp_path / f"mine{suffix}"
    path.write_text("precious")
    ax = plot.nonlinearities()[0]
    with full_disk(), pytest.raises(OSError, match="too large"):
        plot.save(ax, path)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]
    assert not plt.get_fignums()
    plot.save(plot.nonlinearities()[0], path)
    assert path.stat().st_size > 5000
    assert list(tmp_path.iterdir()) == [path]
    assert not plt.get_fignums()


def test_a_picture_without_a_suffix_is_a_png_and_another_suffix_is_refused(tmp_path):
    plot.save(plot.scatter(GOOD, [0, 1, 2]), str(tmp_path / "mine"))
    with PIL.Image.open(tmp_path / "mine.png") as picture:
        assert picture.size == (720, 540)
    for path, error in ((tmp_path / "mine.doc", ValueError), (tmp_path / "no" / "x.png", OSError)):
        with pytest.raises(error, match=r"'doc' is not supported|no folder"):
            plot.save(plot.scatter(GOOD, [0, 1, 2]), path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]
    assert not plt.get_fignums()


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
        lambda: plot.activations(tg.nn.MLP((2, 3, 1), rng=0), GOOD),
        lambda: plot.weights(tg.nn.MLP((2, 3, 1), rng=0)),
        lambda: plot.BoundaryMovie(GOOD, [0, 1, 2]),
    ],
    ids=[
        "History.plot",
        "curves",
        "scatter",
        "decision_regions",
        "nonlinearities",
        "activations",
        "weights",
        "BoundaryMovie",
    ],
)
def test_without_matplotlib_the_error_names_the_extra(draw, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ModuleNotFoundError, match=r"extra `plot`.*pip install matplotlib"):
        draw()
