"""The example relu_at_zero.py: where the convention matters and where it does not."""

import matplotlib.image
import numpy as np
import pytest


@pytest.fixture
def example(run_example):
    return run_example("relu_at_zero")


def test_the_derivative_of_relu_at_zero(example):
    names, printed = example
    assert names["accepted"] == {-0.5: False, 0: True, 0.5: True, 1: True, 2: False}
    assert "slope 1 at 0: accepted\n" in printed
    assert "slope 2 at 0: refused\n" in printed
    assert "not between the two slopes" in printed

    random = [names["random"][c] for c in (0, 0.5, 1)]
    assert [zeros for _, zeros, _ in random] == [0, 0, 0]
    assert random[0][0] == random[1][0] == random[2][0]
    assert random[0][0][-1] < random[0][0][0] / 5
    assert "the same to the last bit: True\n" in printed

    # The points at the origin: 3 or 2 of them, through 50 + 50 units.
    for without, zeros in ((0, 300), (1, 200)):
        for _, counted in names["spirals"][without].values():
            assert counted[0] == zeros
            assert len(counted) == names["steps"]
            assert not any(counted[1:])
    whole, part = ([run[0] for run in runs.values()] for runs in names["spirals"].values())
    np.testing.assert_allclose(whole[1:], [whole[0]] * 2, rtol=1e-13)
    assert part[0][0] == part[1][0] == part[2][0]
    assert 1e-8 < part[1][1] - part[0][1] < part[2][1] - part[0][1] < 1e-6

    (stuck, all_steps, _), (half, one_step, _), (full, _, _) = names["zero"].values()
    assert all_steps == 200 * 4 * 30
    assert one_step == 4 * 30
    assert set(stuck) == {stuck[0]}
    assert max(half[-1], full[-1]) < stuck[-1] / 2 < 2 * min(half[-1], full[-1])
    assert half[-1] != full[-1]
    for losses, zeros, _ in names["both"].values():
        assert zeros == 200 * 4 * 30
        assert set(losses) == {stuck[0]}
    for runs in (names["random"], names["zero"], names["both"]):
        assert max(apart for *_, apart in runs.values()) < 1e-12

    (file,) = names["options"].out.iterdir()
    assert file.name == "relu_at_zero.png"
    picture = matplotlib.image.imread(file)[..., :3]
    assert 0.005 < (picture.min(axis=2) < 0.9).mean() < 0.9
