"""How weights begin: the distributions that the names promise."""

import itertools
import pickle

import numpy as np
import pytest

from tinygrad_edu import nn
from tinygrad_edu.nn import initial

nan, inf = float("nan"), float("inf")

VARIANCES = {
    "he": lambda n_in, n_out: 2 / n_in,
    "he_uniform": lambda n_in, n_out: 2 / n_in,
    "glorot": lambda n_in, n_out: 2 / (n_in + n_out),
    "glorot_uniform": lambda n_in, n_out: 2 / (n_in + n_out),
}
SHAPES = {(300, 200): (300, 200), (20, 30, 5, 5): (30 * 25, 20 * 25)}


@pytest.mark.parametrize("name", VARIANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_weights_have_the_variance_and_the_shape_of_their_name(name, shape):
    W = initial.weights(name, np.random.default_rng(0), shape, float)
    W = W / np.sqrt(VARIANCES[name](*SHAPES[shape]))
    is_uniform = name.endswith("uniform")
    kurtosis = 1.8 if is_uniform else 3.0
    # Four standard errors; var(W**2) = kurtosis - 1.
    assert abs(W.mean()) < 4 / np.sqrt(W.size)
    assert abs((W**2).mean() - 1) < 4 * np.sqrt((kurtosis - 1) / W.size)
    assert abs((W**4).mean() - kurtosis) < 40 / np.sqrt(W.size)
    if is_uniform:
        assert np.sqrt(3) * 0.999 < np.abs(W).max() <= np.sqrt(3)


def test_a_function_of_this_module_is_what_its_name_stands_for():
    for name, shape in itertools.product(VARIANCES, SHAPES):
        by_name = initial.weights(name, np.random.default_rng(1), shape, float)
        function = pickle.loads(pickle.dumps(getattr(initial, name)))
        np.testing.assert_array_equal(function(np.random.default_rng(1), shape), by_name)


def test_normal_and_uniform_are_of_the_size_that_they_are_given():
    rng = np.random.default_rng
    normal = pickle.loads(pickle.dumps(initial.normal(0.3)))
    expected = 0.3 * rng(1).standard_normal((4, 5))
    np.testing.assert_array_equal(nn.Linear(4, 5, normal, rng=1).W.data, expected)
    np.testing.assert_array_equal(nn.Linear(4, 5, 0.3, rng=1).W.data, expected)
    W = nn.Linear(200, 300, initial.uniform(0.3), rng=np.random.RandomState(1)).W.data
    assert 0.2999 < np.abs(W).max() <= 0.3
    assert abs(W.mean()) < 4 * np.sqrt(0.03 / W.size)
    for size in (-0.1, nan, inf, "0.1", None):
        for make in (initial.normal, initial.uniform):
            with pytest.raises(ValueError, match="a number of at least 0"):
                make(size)


@pytest.mark.parametrize(
    ("make", "variance"),
    [
        (lambda: nn.Conv2d(8, 6, 5, rng=0), 2 / (8 * 25)),
        (lambda: nn.Conv2d(8, 16, 5, init="glorot_uniform", rng=0), 2 / (24 * 25)),
        (lambda: nn.Embedding(100, 20, rng=0), 1.0),
        (lambda: nn.Embedding(100, 20, 0.1, rng=0), 0.01),
    ],
)
def test_layers_begin_as_documented(make, variance):
    W = make().W.data
    assert abs(W.var() / variance - 1) < 4 * np.sqrt(2 / W.size)
    assert not hasattr(make(), "b") or not make().b.data.any()
