"""The example sigmoid_slope.py: which loss each of the two updates descends."""

import matplotlib.image
import numpy as np


def test_each_update_descends_a_loss_of_its_own(run_example):
    names, printed = run_example("sigmoid_slope")
    assert names["verdicts"] == {
        ("squared_error", "with_slope"): True,
        ("squared_error", "without_slope"): False,
        ("cross_entropy", "with_slope"): False,
        ("cross_entropy", "without_slope"): True,
    }
    assert printed.count(": OK\n") == printed.count(": WRONG, 3 of 3 entries\n") == 2
    np.testing.assert_allclose(names["engine"], -names["without_slope"](names["syn0"]), rtol=1e-12)

    # The question's own program, with its printed output.
    np.random.seed(1)
    weights = 2 * np.random.random((3, 1)) - 1
    np.testing.assert_array_equal(names["syn0"], weights)
    for _ in range(1000):
        outputs = 1 / (1 + np.exp(-(names["X"] @ weights)))
        weights += names["X"].T @ ((names["y"] - outputs) * outputs * (1 - outputs))
    outputs = 1 / (1 + np.exp(-(names["X"] @ weights)))
    np.testing.assert_allclose(names["usual"]["with_slope"][0], outputs, rtol=1e-9)
    assert "        with_slope  0.031767  0.025751  0.979078  0.974160\n" in printed
    assert "     without_slope  0.001804  0.001203  0.999198  0.998797\n" in printed


def test_where_it_is_sure_and_wrong_only_the_cross_entropy_learns(run_example):
    names, printed = run_example("sigmoid_slope")
    X, wrong = names["X"], names["wrong"]
    begin = 1 / (1 + np.exp(-(X @ wrong)))
    stuck, errors = names["stuck"]["with_slope"]
    assert np.abs(stuck - begin).max() < 1e-5
    assert len(errors) == 1000
    assert min(errors) > 0.9999
    learned, errors = names["stuck"]["without_slope"]
    assert np.abs(learned - names["y"]).max() < 0.002
    assert errors[0] > 0.9999
    assert "the first update with the slope:    [9.1e-05 0.0e+00 0.0e+00]\n" in printed
    (file,) = names["options"].out.iterdir()
    assert file.name == "sigmoid_slope.png"
    picture = matplotlib.image.imread(file)[..., :3]
    assert 0.005 < (picture.min(axis=2) < 0.9).mean() < 0.9
