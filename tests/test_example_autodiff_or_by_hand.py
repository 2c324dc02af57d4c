"""One net, its gradient by three ways: the example at a reduced size."""

import numpy as np
import pytest


@pytest.fixture
def example(run_example):
    return run_example("autodiff_or_by_hand")


def test_three_gradients_agree_at_every_step_and_the_checker_names_the_mistake(example):
    names, printed = example
    assert len(names["gaps"]) == names["steps"] == len(names["history"])
    assert 0 < max(names["gaps"]) < 1e-14
    assert names["history"].loss[0] == pytest.approx(np.log(3), abs=1e-3)
    assert names["history"].loss[-1] < 0.6
    assert 0 < names["apart"] < 1e-12
    assert "iteration 0: loss 1.098765\n" in printed
    assert "softmax regression, training accuracy: 0.49\n" in printed
    assert names["regression_history"].loss[-1] == pytest.approx(0.786, abs=5e-4)
    assert names["trained"]["right"] < names["trained"]["mistaken"] < np.log(3)
    assert names["relu_report"]
    assert names["mended_report"]
    (mistake,) = names["logistic_report"].findings
    assert "g_prime(h) where g_prime(z) belongs" in mistake
    wrong = {i.name: int(i.is_wrong().sum()) for i in names["logistic_report"].inputs}
    assert wrong == {"W1": 40, "b1": 20, "W2": 0, "b2": 0}
    assert [p.name for p in names["options"].out.iterdir()] == ["autodiff_or_by_hand.png"]
