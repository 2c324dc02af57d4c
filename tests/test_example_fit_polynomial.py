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
        for name in ("softmax", "raw", "scaled", "whole", "long", "repeated", "shapes", "fit")
    }
    assert medians["long"] < 0.02
    assert medians["repeated"] < 0.02
    assert names["few"].shape == (32, 1)
    assert len(names["repeated"].history) == len(names["long"].history) == 1600
    assert min(np.median(names["only_x_error"]), np.median(names["only_y_error"])) > 0.05
    assert abs(names["said"].mean() - 334334) < 0.2 * 334334
    left, right = names["axes"]
    shown = np.ravel(left.lines[1].get_ydata())
    np.testing.assert_array_equal(shown, names["values"][names["some"]].ravel())
    drawn = [names[f"{name}_error"] for name in ("raw", "repeated", "scaled", "fit")]
    for line, error in zip(right.lines, drawn, strict=False):
        np.testing.assert_allclose(np.ravel(line.get_ydata()), np.maximum(error, 1e-6).ravel())
    error = names["fit_error"]
    line = f"the fit: relative error {np.median(error):.2%} in the median, {error.max():.2%} at"
    assert line in printed
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
