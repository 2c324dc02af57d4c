"""A net of any depth, one sample at a time: the example at a reduced size."""

import numpy as np
import pytest


def test_deltas_accuracies_and_the_stuck_run(run_example):
    names, printed = run_example("mlp_any_depth")
    assert 0 < names["largest"] < 1e-13
    assert names["said"] < 1e-3
    assert printed.count(" steps the net says ") == 10
    scores = {name: score[-1] for name, score in names["scores"].items()}
    assert scores == pytest.approx({"(2, 2, 1)": 0.989, "(2, 5, 3, 1)": 0.997}, abs=0.01)
    assert names["costs"]["(2, 2, 1)"][-1] < 0.1
    assert names["stuck"].history.validation_score[-1] < 0.8
    assert np.count_nonzero(names["shares"][names["STUCK"]] == 0) == 1
    assert np.all(names["shares"][names["SEED"]] > 0.3)
    assert "training accuracy after epoch 19: (2, 2, 1) 98." in printed
    red = names["axes"][0].figure.axes[0].collections[-1]
    assert np.allclose(red.get_edgecolor(), [1, 0, 0, 1])
    pictures = sorted(p.name for p in names["options"].out.iterdir())
    assert pictures == ["cost.png", "mlp_any_depth.png", "stuck.png"]
