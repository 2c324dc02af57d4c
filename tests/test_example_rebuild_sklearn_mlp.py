"""Nets of scikit-learn rebuilt from their weights, and back."""

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")


def test_predictions_agree_both_ways(run_example):
    names, printed = run_example("rebuild_sklearn_mlp")
    # There and back for each task and activation, on data of which the predictions differ.
    assert len(names["table"]) == 12
    after_the_last = [name.split()[-1] for name in names["table"]]
    assert after_the_last == ["identity"] * 4 + ["logistic"] * 4 + ["softmax"] * 4
    for name, (there, back, score_there, score_back) in names["table"].items():
        assert there < 1e-12, name
        assert back < 1e-12, name
        assert 0.1 < score_there < 1, name
        assert 0.1 < score_back < 1, name
        assert f"{name} {there:.1e}  {back:.1e}" in printed

    # The question: without the activation the same weights say something else.
    right, rebuilt = names["right"], names["rebuilt"]
    assert np.ptp(right) > 1
    np.testing.assert_allclose(rebuilt, right, rtol=0, atol=1e-12)
    np.testing.assert_allclose(names["by_hand"], right, rtol=0, atol=1e-12)
    for attempt in ("attempt", "attempt_2"):
        assert np.mean(np.abs(names[attempt] - right)) > 0.5
    lines = printed.splitlines()
    assert f"Sklearn prediction = {right[0]:.3f}" in lines
    assert f"my_prediction      = {names['attempt'][0]:.3f}" in lines
    assert f"with relu          = {right[0]:.3f}" in lines

    without, with_relu = names["ax"].lines
    assert without.get_ydata().tolist() == names["attempt"].tolist()
    assert with_relu.get_ydata().tolist() == rebuilt.tolist()
    assert (names["options"].out / "rebuild_sklearn_mlp.png").stat().st_size > 5000
