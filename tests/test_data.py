"""Data sets, and what may stand for a random generator."""

import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_edu import data


def notebook_spiral(seed):
    """The data of the notebook, as its own loop makes them."""
    rs = np.random.RandomState(seed)
    n, classes = 100, 3
    X, y = np.zeros((n * classes, 2)), np.zeros(n * classes, dtype="uint8")
    for j in range(classes):
        ix = range(n * j, n * (j + 1))
        r = np.linspace(0.0, 1, n)
        t = np.linspace(j * 4, (j + 1) * 4, n) + rs.randn(n) * 0.2
        X[ix] = np.c_[r * np.sin(t), r * np.cos(t)]
        y[ix] = j
    return X, y


@pytest.mark.parametrize("seed", [0, 1, 2024])
def test_spiral_is_the_notebook_s_to_the_last_bit(seed):
    X, y = data.spiral(100, 3, 0.2, np.random.RandomState(seed))
    expected_X, expected_y = notebook_spiral(seed)
    assert X.tobytes() == expected_X.tobytes()
    np.testing.assert_array_equal(y, expected_y)
    assert y.dtype.kind == "i"


def test_spiral_leaves_the_random_state_where_the_notebook_does():
    used, expected = np.random.RandomState(0), np.random.RandomState(0)
    data.spiral(rng=used)
    expected.randn(300)
    assert used.randn() == expected.randn()


@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_spiral_points_have_the_stated_radius_and_class(points, classes, seed):
    X, y = data.spiral(points, classes, noise=0.3, rng=seed)
    assert X.shape == (points * classes, 2)
    np.testing.assert_array_equal(y, [j for j in range(classes) for _ in range(points)])
    radius = [i / max(points - 1, 1) for i in range(points)]
    np.testing.assert_allclose(np.hypot(*X.T), radius * classes, rtol=0, atol=1e-14)


def test_spiral_without_noise_has_the_stated_angles():
    X, y = data.spiral(50, 3, noise=0, rng=0)
    r = np.hypot(*X.T)
    turned = 4 * (y + r)
    np.testing.assert_allclose(X, np.c_[r * np.sin(turned), r * np.cos(turned)], atol=1e-14)


def test_spiral_noise_is_normal_with_the_stated_deviation():
    points = 5000
    X, y = data.spiral(points, 2, noise=0.1, rng=0)
    r = np.hypot(*X.T)
    away = np.arctan2(*X.T) - 4 * (y + r)
    noise = ((away + np.pi) % (2 * np.pi) - np.pi)[r > 0] / 0.1
    assert abs(noise.mean()) < 4 / np.sqrt(noise.size)
    assert abs(noise.var() - 1) < 4 * np.sqrt(2 / noise.size)


@pytest.mark.parametrize("make", [data.spiral, data.crossed_gaussians])
def test_data_depend_on_the_generator_alone(make):
    def drawn(rng):
        return make(rng=rng)[0].tobytes()

    assert drawn(5) == drawn(np.int64(5)) == drawn(np.random.default_rng(5))
    assert drawn(5) != drawn(6)
    assert drawn(None) != drawn(None)
    assert drawn(np.random.RandomState(5)) == drawn(np.random.RandomState(5))
    rng = np.random.default_rng(5)
    assert drawn(rng) != drawn(rng)
    assert make()[0].tobytes() == drawn(0)


def test_generators_are_used_as_they_are():
    for rng in (np.random.default_rng(0), np.random.RandomState(0)):
        assert data.random_generator(rng) is rng


def test_an_int_is_a_seed_of_default_rng():
    assert data.random_generator(11).random() == np.random.default_rng(11).random()


@pytest.mark.parametrize("make", [data.spiral, data.crossed_gaussians])
@pytest.mark.parametrize("rng", [1.5, np.float64(3), "0", True])
def test_what_looks_like_a_seed_but_is_none_is_refused(make, rng):
    with pytest.raises(TypeError, match="rng must be None, an int or a NumPy generator"):
        make(rng=rng)


@pytest.mark.parametrize("rng", [np.float32(1), np.True_, {}, object(), np.random])
def test_what_is_no_generator_is_refused(rng):
    with pytest.raises(TypeError):
        data.random_generator(rng)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="non-negative"):
        data.random_generator(-1)


def test_crossed_gaussians_have_the_stated_moments():
    n = 40_000
    X, y = data.crossed_gaussians(n, rng=0)
    assert X.shape == (n, 2)
    np.testing.assert_array_equal(np.bincount(y), [n // 2, n // 2])
    up = X[:, 1] > 0
    clouds = [
        (X[y == 0], (0, 0), (2, 0.5)),
        (X[(y == 1) & up], (0, 3.5), (0.5, 1)),
        (X[(y == 1) & ~up], (0, -3.5), (0.5, 1)),
    ]
    for points, centre, deviations in clouds:
        # Of the outer clouds a few points in ten thousand lie across the axis.
        assert abs(len(points) - (n // 2 if centre == (0, 0) else n // 4)) < 20
        error = 4 / np.sqrt(len(points))
        z = (points - centre) / deviations
        assert (abs(z.mean(axis=0)) < error).all()
        assert (abs(z.var(axis=0) - 1) < np.sqrt(2) * error).all()
        assert abs((z[:, 0] * z[:, 1]).mean()) < error


@given(st.integers(1, 50))
def test_crossed_gaussians_come_in_order_of_class(quarter):
    X, y = data.crossed_gaussians(4 * quarter, rng=1)
    assert X.shape == (4 * quarter, 2)
    np.testing.assert_array_equal(y, [0] * (2 * quarter) + [1] * (2 * quarter))


@pytest.mark.parametrize(
    "bad",
    [
        {"points_per_class": 0},
        {"points_per_class": -3},
        {"classes": 0},
        {"noise": -0.1},
        {"noise": float("nan")},
        {"noise": float("inf")},
    ],
    ids=str,
)
def test_bad_spirals_are_refused(bad):
    with pytest.raises(ValueError, match="points_per_class and classes must be at least 1"):
        data.spiral(**bad)


@pytest.mark.parametrize("bad", [{"points_per_class": 2.5}, {"classes": 1.5}], ids=str)
def test_fractions_of_points_are_refused(bad):
    with pytest.raises((TypeError, ValueError)):
        data.spiral(**bad)


@pytest.mark.parametrize("n", [0, 2, 6, -4, 1001])
def test_bad_numbers_of_gaussian_points_are_refused(n):
    with pytest.raises(ValueError, match="multiple of 4"):
        data.crossed_gaussians(n)


@pytest.mark.parametrize(
    ("name", "shape", "kinds"),
    [
        ("digits", (1797, 64), 10),
        ("iris", (150, 4), 3),
        ("wine", (178, 13), 3),
        ("breast_cancer", (569, 30), 2),
        ("diabetes", (442, 10), 214),
    ],
)
def test_the_sets_of_scikit_learn_have_names_here(name, shape, kinds):
    datasets = pytest.importorskip("sklearn.datasets")
    X, y = getattr(data, name)()
    assert X.shape == shape
    assert len(set(y)) == kinds
    expected = getattr(datasets, f"load_{name}")()
    np.testing.assert_array_equal(X, expected.data)
    np.testing.assert_array_equal(y, expected.target)


def test_without_scikit_learn_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ModuleNotFoundError, match=re.escape('pip install "tinygrad-edu[sklearn]"')):
        data.wine()


def test_all_names_are_there():
    assert {name for name in data.__all__ if hasattr(data, name)} == set(data.__all__)
    assert set(data.__all__) <= set(dir(data))
    with pytest.raises(AttributeError, match="has no attribute 'mnist'"):
        data.mnist  # noqa: B018
