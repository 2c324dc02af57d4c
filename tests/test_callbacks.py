"""What is noted while a net learns."""

import copy

import matplotlib.pyplot as plt
import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import nn, optim


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def net_of(sizes=(2, 9, 7, 3), activation="relu"):
    return nn.MLP(sizes, activation, rng=0)


def trainer_of(net, magnitudes, l2=0.01, **options):
    return tg.Trainer(
        net, optim.SGD(net.parameters(), 0.3), l2=l2, rng=0, callbacks=[magnitudes], **options
    )


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_magnitudes_are_those_of_the_loss_without_its_penalty(compiled, activation):
    X, y = tg.data.spiral(20, rng=0)
    net = net_of(activation=activation)
    magnitudes = tg.GradientMagnitudes()
    trainer = trainer_of(net, magnitudes, l2=0.5, compiled=compiled)
    expected = {"W1": [], "W2": [], "W3": []}
    for _ in range(4):
        net.zero_grad()
        tg.cross_entropy(net(X), y).backward()
        for name, W in zip(expected, net.parameters()[::2], strict=True):
            expected[name].append(np.abs(W.grad).sum() / (W.shape[0] + W.shape[1]))
        trainer.fit(X, y, 1, progress=False)
    assert trainer.compiled is compiled
    assert magnitudes.of_layer.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(magnitudes.of_layer[name], values, rtol=1e-10)


def test_compiled_and_eager_training_have_the_same_magnitudes():
    X, y = tg.data.spiral(20, rng=0)
    found = []
    for compiled in (True, False):
        magnitudes = tg.GradientMagnitudes()
        trainer = trainer_of(net_of(), magnitudes, compiled=compiled)
        trainer.fit(X, y, 3, batch_size=25, progress=False)
        found.append(list(magnitudes.of_layer.values()))
    assert np.shape(found) == (2, 3, 9)
    np.testing.assert_allclose(*found, rtol=1e-9)


def test_watching_does_not_change_the_training():
    X, y = tg.data.spiral(20, rng=0)
    ends = []
    for callback in (tg.Callback(), tg.GradientMagnitudes(), tg.plot.BoundaryMovie(X, y, steps=9)):
        net = net_of()
        trainer_of(net, callback).fit(X, y, 5, batch_size=25, progress=False)
        ends.append(net.state_dict())
    for other in ends[1:]:
        for name, array in ends[0].items():
            np.testing.assert_array_equal(other[name], array)


def test_several_fits_go_on_in_the_same_record():
    X, y = tg.data.spiral(20, rng=0)
    runs = []
    for epochs in ([6], [1, 3, 2]):
        magnitudes = tg.GradientMagnitudes()
        net = net_of()
        for number in epochs:
            # Also by another trainer of the same net.
            trainer_of(net, magnitudes).fit(X, y, number, progress=False)
        runs.append(magnitudes)
    once, thrice = runs
    assert len(once) == len(thrice) == 6
    assert once.of_layer == thrice.of_layer
    assert repr(once) == "<gradient magnitudes of W1, W2, W3 in 6 steps>"


def test_a_copied_trainer_goes_on_with_its_own_record():
    X, y = tg.data.spiral(20, rng=0)
    trainer = trainer_of(net_of(), tg.GradientMagnitudes())
    trainer.fit(X, y, 2, progress=False)
    other = copy.deepcopy(trainer)
    other.fit(X, y, 3, progress=False)
    assert [len(t.callbacks[0]) for t in (trainer, other)] == [2, 5]


def test_layers_without_names_of_their_own_go_by_their_paths():
    X, y = tg.data.spiral(20, rng=0)
    net = nn.Sequential(nn.Linear(2, 4, rng=0), nn.Sequential(nn.Tanh(), nn.Linear(4, 3, rng=1)))
    magnitudes = tg.GradientMagnitudes()
    trainer_of(net, magnitudes).fit(X, y, 1, progress=False)
    assert list(magnitudes.of_layer) == ["layers.0.W", "layers.1.layers.1.W"]


def test_names_of_weights():
    two = nn.Sequential(nn.MLP((2, 3), rng=0), nn.MLP((3, 2), rng=0))
    assert list(nn.named_weights(two)) == ["layers.0.layers.0.W", "layers.1.layers.0.W"]
    shared = nn.Linear(3, 3, rng=0)
    twice = nn.Sequential(shared, nn.ReLU(), shared)
    assert list(nn.named_weights(twice).values()) == [shared.W]
    assert list(nn.named_weights(twice)) == ["W"]
    shared.W.name = None
    assert list(nn.named_weights(twice)) == ["layers.0.W"]


def test_a_weight_that_is_not_trained_is_left_out():
    X, y = tg.data.spiral(20, rng=0)
    net = net_of()
    last = net.layers[-1]
    magnitudes = tg.GradientMagnitudes()
    optimizer = optim.SGD([last.W, last.b], 0.1)
    tg.Trainer(net, optimizer, callbacks=[magnitudes]).fit(X, y, 2, progress=False)
    assert list(magnitudes.of_layer) == ["W3"]
    assert min(magnitudes.of_layer["W3"]) > 0


@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_a_weight_without_influence_has_magnitude_0(l2):
    class Spare(nn.Module):
        def __init__(self):
            self.used, self.spare = nn.Linear(2, 3, rng=0), nn.Linear(4, 5, rng=0)

        def forward(self, x):
            return self.used(x)

    X, y = tg.data.spiral(20, rng=0)
    magnitudes = tg.GradientMagnitudes()
    trainer_of(Spare(), magnitudes, l2=l2, compiled=False).fit(X, y, 2, progress=False)
    assert magnitudes.of_layer["spare.W"] == [0.0, 0.0]
    assert min(magnitudes.of_layer["used.W"]) > 0


def test_a_record_of_another_model_is_refused():
    X, y = tg.data.spiral(20, rng=0)
    magnitudes = tg.GradientMagnitudes()
    trainer_of(net_of(), magnitudes).fit(X, y, 1, progress=False)
    other = net_of()
    before = other.state_dict()
    with pytest.raises(ValueError, match=r"record is of W1, W2, W3 of a model; make a new"):
        trainer_of(other, magnitudes).fit(X, y, 1, progress=False)
    assert all((other.state_dict()[name] == array).all() for name, array in before.items())
    assert len(magnitudes) == 1


def test_other_weights_of_the_same_model_are_refused():
    X, y = tg.data.spiral(20, rng=0)
    magnitudes = tg.GradientMagnitudes()
    net = net_of()
    trainer_of(net, magnitudes).fit(X, y, 1, progress=False)
    rest = optim.SGD(net.parameters()[2:], 0.1)
    with pytest.raises(ValueError, match=r"or other weights \(W2, W3\)"):
        tg.Trainer(net, rest, callbacks=[magnitudes]).fit(X, y, 1, progress=False)
    assert [len(values) for values in magnitudes.of_layer.values()] == [1, 1, 1]


def test_a_model_without_weight_matrices_is_refused():
    class Shift(nn.Module):
        def __init__(self):
            self.b = tg.Tensor(np.zeros(2), requires_grad=True)

        def forward(self, x):
            return x + self.b

    X, y = tg.data.spiral(20, 2, rng=0)
    with pytest.raises(ValueError, match="no weight matrix of the model is trained"):
        trainer_of(Shift(), tg.GradientMagnitudes()).fit(X, y, 1, progress=False)


def test_magnitudes_are_drawn_by_layer():
    X, y = tg.data.spiral(20, rng=0)
    magnitudes = tg.GradientMagnitudes()
    trainer_of(net_of(), magnitudes).fit(X, y, 4, progress=False)
    _, ax = plt.subplots()
    assert magnitudes.plot(ax) is ax
    assert [line.get_label() for line in ax.lines] == ["W1", "W2", "W3"]
    for line, values in zip(ax.lines, magnitudes.of_layer.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), range(4))
        np.testing.assert_array_equal(line.get_ydata(), values)
    assert ax.get_yscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "sum |dW| / (n_in + n_out)")
    assert magnitudes.plot(title="Mine", logarithmic=False).get_yscale() == "linear"


def test_long_records_are_thinned_where_they_are_drawn():
    X, y = tg.data.spiral(5, rng=0)
    magnitudes = tg.GradientMagnitudes()
    trainer_of(net_of((2, 3)), magnitudes).fit(X, y, 2500, progress=False)
    (line,) = magnitudes.plot().lines
    np.testing.assert_array_equal(line.get_xdata(), range(0, 2500, 2))
    np.testing.assert_array_equal(line.get_ydata(), magnitudes.of_layer["W1"][::2])


def test_an_empty_record_is_not_drawn():
    with pytest.raises(ValueError, match="no step has been noted"):
        tg.GradientMagnitudes().plot()


def test_a_function_after_each_epoch_may_do_what_a_callback_of_each_step_may():
    X, y = tg.data.crossed_gaussians(200, rng=0)

    def run(*others):
        net = tg.nn.MLP((2, 4, 1), rng=0)
        W, b = net.parameters()[:2]
        adam = tg.optim.Adam(net.parameters(), lr=0.01)
        kept, copies = [], []

        def change(trainer):
            kept.append(W.grad)
            copies.append(W.grad.copy())
            adam.lr *= 0.7
            if len(kept) == 2:
                W.data = 0.5 * W.data
            if len(kept) == 3:
                W.data[:] = 1
                b.grad[:] = 99

        trainer = tg.Trainer(
            net, adam, tg.binary_cross_entropy, l2=0.01, callbacks=[change, *others], rng=0
        )
        history = trainer.fit(X, y[:, None], epochs=5, batch_size=7, progress=False)
        assert trainer.compiled
        assert np.array_equal(kept, copies)
        return history.loss, copies, W.numpy()

    for alone, together in zip(run(), run(tg.Callback()), strict=True):
        assert np.array_equal(alone, together)
