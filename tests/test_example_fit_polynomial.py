"""A net learns a polynomial, and what kept it from that: the example at a reduced size."""

import numpy as np
import pytest


def test_each_cause_and_the_fit(run_example):
    names, printed = run_example("fit_polynomial")
    assert names["asked"].history.loss[-1] == names["asked"].history.loss[0]
    assert names["every_pair"] == pytest.approx(2.0100101e14, rel=1e-6)
    assert "as asked: m(20) = 1.0\n" in printed
    assert names["largest"] == 0
    medians = {
        name: np.median(names[f"{name}_error"])
        for name in ("softmax", "raw", "scaled", "whole", "repeated", "shapes", "fit")
    }
    assert medians["fit"] < medians["scaled"] < 0.004
    assert medians["raw"] > 0.3
    assert medians["whole"] > 0.1
    assert medians["shapes"] > 0.5
    assert medians["softmax"] > 2
    assert names["scaled_error"].max() > 10
    assert names["repeated_error"].max() > 10
    assert names["fit_error"].max() < 0.06
    assert names["values"][19] == pytest.approx(420, rel=0.02)
    assert [p.name for p in names["options"].out.iterdir()] == ["fit_polynomial.png"]
