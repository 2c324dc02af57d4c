"""The answers to PyTorch's question, as they were printed there."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")


def test_the_printed_values(run_example):
    names, printed = run_example("backward_gradient_argument")
    assert {key: found.tolist() for key, found in names["of_z"].items()} == {
        (1, 0, 0, 0): [[2, 0, 0, 0]],
        (0, 1, 0, 0): [[0, 2, 0, 0]],
        (1, 1, 1, 1): [[2, 2, 2, 2]],
    }
    assert names["of_loss"].tolist() == [[2, 2, 2, 2]]
    found = {weights: float(g) for weights, g in names["importances"].items()}
    # 1 + 2w + 3w^2 at w = 2, and -0.1 + 2w + 0.0003 w^2.
    assert found == pytest.approx({(1.0, 1.0, 1.0): 17, (-0.1, 1.0, 0.0001): 3.9012})
    assert names["rows"].tolist() == (2 * np.eye(4)).tolist()
    lines = printed.splitlines()
    assert "a.grad   3.0000e-01 3.0000e+00 3.0000e-04" in lines
    assert "b.grad   1.2000e+00 1.6000e+01 2.0000e-03" in lines
    assert "c.grad   1.6667e-02 1.4286e-01 1.2500e-05" in lines
    assert [line for line in lines if line.startswith("a, b, c")] == [
        "a, b, c  3.0000e+00 4.0000e+00 1.0000e+01",
        "a, b, c  3.3003e+00 0.0000e+00 inf",
        "a, b, c  6.0000e+00 8.0000e+00 2.0000e+00",
    ]


def test_the_jacobian_and_what_is_refused(run_example):
    names, printed = run_example("backward_gradient_argument")
    assert printed.splitlines().count("True True True") == 3
    assert "\nchecker: OK\n" in printed
    assert "shape (3,)" in names["refused"]
    assert "retain_graph=True" in names["freed"]
    np.testing.assert_allclose(names["inner"].grad, names["whole"], rtol=1e-14)
    np.testing.assert_allclose(names["dz_dy"] @ names["J"], names["whole"], rtol=1e-14)


def test_the_picture(run_example):
    names, _ = run_example("backward_gradient_argument")
    assert (names["options"].out / "backward_gradient_argument.png").stat().st_size > 5000
    shown = [text.get_text() for ax, _ in names["panels"].values() for text in ax.texts]
    values = [names["dz_dy"], names["J"].ravel(), names["whole"]]
    assert shown == [f"{value:.3f}" for value in np.concatenate(values)]
