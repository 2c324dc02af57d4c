"""A net reads handwritten digits."""

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")


def test_it_reads_97_of_100_digits_and_shows_the_others(run_example):
    names, printed = run_example("digits")
    y, held_out, said = names["y"], names["held_out"], names["said"]
    assert "checker: OK\n" in printed
    parts = [set(names[part].tolist()) for part in ("training", "validation", "held_out")]
    assert [len(part) for part in parts] == [1097, 250, 450]
    assert len(set.union(*parts)) == len(names["X"]) == 1797
    assert names["accuracy"] >= 0.97
    assert names["accuracy"] == np.mean(said == y[held_out])
    assert f"accuracy held out   {100 * names['accuracy']:6.2f} %" in printed.splitlines()

    history = names["history"]
    assert len(history.validation_score) == names["epochs"] + names["epochs"] // 4
    assert history.validation_score[0] < 0.93 < 0.96 < history.validation_score[-1]
    assert names["right"].lines[0].get_ydata().tolist() == names["score"].tolist()
    assert names["left"].get_yscale() == "log"

    confusion = names["confusion"]
    assert confusion.sum(axis=1).tolist() == np.bincount(y[held_out]).tolist()
    assert np.trace(confusion) == np.sum(said == y[held_out])

    wrong = np.flatnonzero(said != y[held_out])
    shown = [ax for ax in names["axes"].flat if ax.images]
    assert len(shown) == len(wrong) > 0
    for ax, i in zip(shown, wrong, strict=True):
        assert ax.get_title().startswith(f"is {y[held_out[i]]}, said {said[i]} (")
        picture = ax.images[0].get_array()
        assert picture.ravel().tolist() == names["X"][held_out[i]].tolist()
    for name in ("digits_curves", "digits_mistakes"):
        assert (names["options"].out / f"{name}.png").stat().st_size > 5000
