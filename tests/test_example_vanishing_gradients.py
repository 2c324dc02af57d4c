"""The example vanishing_gradients.py: the notebook's losses, and what its options change."""

import itertools

import matplotlib.image
import pytest


def pictures(names):
    return {file.stem: file for file in names["options"].out.glob("*.png")}


def test_the_losses_are_the_notebook_s_and_the_pictures_are_there(run_example):
    names, printed = run_example("vanishing_gradients")
    assert names["losses"] == {
        "sigmoid": {0: "1.156405", 1000: "1.100737"},
        "relu": {0: "1.116188", 1000: "0.275047"},
    }
    assert "4 of these 4 losses are the notebook's to all six digits\n" in printed
    assert "  1000    1.100737    0.275047\n" in printed
    assert max(names["differences"].values()) < 1e-11
    early = names["means"][1000]
    assert early["relu"]["W1"] / early["sigmoid"]["W1"] == pytest.approx(8.4, abs=0.05)
    assert sorted(pictures(names)) == [
        "gradients_overlaid",
        "gradients_relu",
        "gradients_sigmoid",
        "nonlinearities",
        "regions_relu",
        "regions_sigmoid",
    ]
    for file in pictures(names).values():
        picture = matplotlib.image.imread(file)[..., :3]
        assert 0.01 < (picture.min(axis=2) < 0.9).mean() < 0.9


def test_with_more_layers_the_early_ones_of_the_sigmoid_net_train_slowest(run_example):
    names, printed = run_example("vanishing_gradients", "--layers", "4")
    assert [p.shape for p in names["trainers"]["sigmoid"].model.parameters()][2:8:2] == [
        (50, 50)
    ] * 3
    sigmoid, relu = (list(first.values()) for first in names["means"][1].values())
    for layer, nearer in itertools.pairwise(sigmoid):
        assert layer < nearer / 3
    assert max(relu) < 2.1 * min(relu)
    assert names["means"][1000]["relu"]["W1"] > 500 * names["means"][1000]["sigmoid"]["W1"]
    assert names["scores"]["sigmoid"] < 0.4
    assert names["scores"]["relu"] > 0.98
    assert max(names["differences"].values()) < 1e-11
    assert "notebook" not in printed


def test_maxout_layers_let_the_gradient_through(run_example):
    names, printed = run_example("vanishing_gradients", "--activation", "maxout")
    assert names["means"][1000]["maxout"]["W1"] > 5 * names["means"][1000]["sigmoid"]["W1"]
    assert names["scores"]["maxout"] > 0.9
    assert list(names["differences"]) == ["sigmoid"]
    assert "notebook" not in printed


@pytest.mark.parametrize("layers", ["0", "-1", "2.5"])
def test_a_number_of_layers_that_cannot_be_is_refused(layers, run_example, capsys):
    with pytest.raises(SystemExit):
        run_example("vanishing_gradients", "--layers", layers)
    assert "--layers" in capsys.readouterr().err


def test_leaky_relus_with_another_step_size_and_regularisation(run_example):
    options = ("--activation", "leaky_relu", "--lr", "0.01", "--l2", "0")
    names, printed = run_example("vanishing_gradients", *options)
    first, then = (float(loss) for loss in names["losses"]["leaky_relu"].values())
    # At the same weights the loss without the penalty is smaller, and 0.01 is slow.
    assert first < 1.116188 - 0.001
    assert then > 0.9
    assert names["means"][1000]["leaky_relu"]["W1"] > 5 * names["means"][1000]["sigmoid"]["W1"]
    assert "notebook" not in printed
