"""One-vs-all logistic regression by conjugate gradients."""

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("matplotlib")


def test_features_that_say_something_and_others(run_example):
    names, printed = run_example("logistic_regression_cg")
    accuracies, costs = names["accuracies"], names["costs"]
    training, held_out = accuracies["recordings"]
    assert training == 100
    assert held_out < 25
    for name in ("formants, Hz", "formants, Hz, long", "formants", "formants, products"):
        training, held_out = accuracies[name]
        assert 50 < held_out < training + 3 < 80, name
    assert accuracies["spectrum"][1] > 45
    assert accuracies["formants, products"][1] > accuracies["formants"][1] + 2
    assert costs["formants, Hz, long"] < costs["formants, Hz"] - 0.01
    for name, (training, held_out) in accuracies.items():
        (line,) = (line for line in printed.splitlines() if line.startswith(f"{name}  "))
        assert line.endswith(f"{training:9.1f} % {held_out:8.1f} %")

    bars = [[bar.get_width() for bar in drawn] for drawn in names["ax"].containers]
    assert bars == [list(column) for column in zip(*accuracies.values(), strict=True)]
    assert [tick.get_text() for tick in names["ax"].get_yticklabels()] == list(accuracies)
    assert (names["options"].out / "logistic_regression_cg.png").stat().st_size > 5000

    lines = printed.splitlines()
    assert "by_hand: OK" in lines
    (wrong,) = (line for line in lines if line.startswith("with_bias_in_penalty: WRONG"))
    assert "wrong: theta['b']" in wrong

    # Scaled features are at the minimum: more iterations change nothing, and the gradient is 0.
    X, vowel = names["three"][: names["n_train"]], names["vowel"][: names["n_train"]]
    W, b, cost = names["one_vs_all"](X, vowel, 500)
    assert costs["formants"] == pytest.approx(cost, rel=1e-5)
    for k in range(8):
        theta, y = {"w": W[:, k], "b": b[k]}, (vowel == k).astype(float)
        gradient = names["by_hand"](theta, X, y)
        assert np.max(np.abs([*gradient["w"], gradient["b"]])) < 1e-4
