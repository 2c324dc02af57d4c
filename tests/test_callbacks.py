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

    class Watching(tg.Callback):
        def on_step_end(self, trainer):
            pass

    for alone, together in zip(run(), run(Watching()), strict=True):
        assert np.array_equal(alone, together)


class Seen(tg.Callback):
    """Keeps copies of the gradients of every step."""

    def __init__(self):
        self.seen = []

    def on_gradients(self, trainer):
        self.seen.append([p.grad.copy() for p in trainer.model.parameters()])


@pytest.mark.parametrize("compiled", [True, False])
def test_statistics_of_gradients_are_those_of_the_updates(compiled):
    X, y = tg.data.spiral(20, rng=0)
    net, seen, statistics = net_of((2, 4, 3)), Seen(), tg.GradientStatistics(every=2)
    callbacks = [tg.ClipGradNorm(0.1), seen, statistics]
    trainer = tg.Trainer(
        net, optim.SGD(net.parameters(), 0.3), l2=0.1, callbacks=callbacks, rng=0, compiled=compiled
    )
    trainer.fit(X, y, 3, batch_size=25, progress=False)
    assert statistics.steps == [1, 3, 5, 7, 9]
    for i, name in enumerate(["W1", "b1", "W2", "b2"]):
        gradients = [step[i] for step in seen.seen[::2]]
        for measure, f in {
            "mean": np.mean,
            "std": np.std,
            "norm": lambda g: np.sqrt(np.sum(g * g)),
            "zeros": lambda g: np.mean(g == 0),
        }.items():
            found = statistics.of(measure)[name]
            np.testing.assert_allclose(found, [f(g) for g in gradients], rtol=1e-12)
    norms = np.linalg.norm(list(statistics.of("norm").values()), axis=0)
    assert norms.max() <= 0.1 * (1 + 1e-12)


def test_statistics_of_activations_are_those_of_the_layers():
    X, y = tg.data.spiral(20, rng=0)
    layers = [nn.Linear(2, 5, rng=0), nn.ReLU(), nn.Linear(5, 4, init=9.0, rng=1), nn.Sigmoid()]
    net = nn.Sequential(*layers, nn.Tanh(), nn.Linear(4, 3, rng=2))
    statistics = tg.ActivationStatistics(X, every=2)
    trainer = trainer_of(net, statistics)
    outputs = []

    def by_hand(trainer):
        W1, b1, W2, b2, W3, b3 = (p.data for p in net.parameters())
        a = [X @ W1 + b1]
        a.append(np.maximum(a[-1], 0))
        a.append(a[-1] @ W2 + b2)
        a.append(1 / (1 + np.exp(-a[-1])))
        a.append(np.tanh(a[-1]))
        outputs.append([*a, a[-1] @ W3 + b3])

    trainer.callbacks.append(tg.Trainer(net, trainer.optimizer, callbacks=[by_hand]).callbacks[0])
    trainer.fit(X, y, 4, progress=False)
    assert statistics.steps == [2, 4]
    names = [f"layers.{i} {type(layer).__name__}" for i, layer in enumerate(net.layers)]
    assert list(statistics.of("mean")) == names
    for i, name in enumerate(names):
        a = np.array([epoch[i] for epoch in outputs[1::2]]).reshape(2, -1)
        expected = {
            "mean": a.mean(axis=1),
            "std": a.std(axis=1),
            "norm": np.sqrt((a * a).sum(axis=1)),
            "zeros": (a == 0).mean(axis=1),
            "saturated": np.zeros(2),
        }
        if i == 3:
            expected["saturated"] = ((a < 0.01) | (a > 0.99)).mean(axis=1)
        if i == 4:
            expected["saturated"] = (np.abs(a) > 0.98).mean(axis=1)
        for measure, values in expected.items():
            found = statistics.of(measure)[name]
            np.testing.assert_allclose(found, values, rtol=1e-9, atol=1e-12, err_msg=measure)
    assert statistics.of("zeros")["layers.1 ReLU"][0] > 0
    assert 0 < statistics.of("saturated")["layers.3 Sigmoid"][0] < 1


def test_measuring_activations_does_not_change_the_training():
    X, y = tg.data.spiral(20, rng=0)
    ends = []
    for callbacks in ([], [tg.ActivationStatistics(X)]):
        net = nn.Sequential(nn.Linear(2, 5, rng=0), nn.Dropout(0.5, rng=1), nn.Linear(5, 3, rng=2))
        trainer = tg.Trainer(net, optim.SGD(net.parameters(), 0.3), callbacks=callbacks, rng=0)
        ends.append((trainer.fit(X, y, 4, 25, progress=False).loss, trainer.compiled))
        assert all("forward" not in vars(module) for _, module in net.named_modules())
    assert ends[0] == ends[1]
    assert ends[0][1]


def test_a_layer_that_is_used_twice_counts_with_all_its_outputs():
    X, y = tg.data.spiral(20, rng=0)
    shared = nn.Linear(3, 3, rng=1)
    net = nn.Sequential(nn.Linear(2, 3, rng=0), shared, shared)
    statistics = tg.ActivationStatistics(X)
    trainer_of(net, statistics).fit(X, y, 1, progress=False)
    first = X @ net.layers[0].W.data + net.layers[0].b.data
    once = first @ shared.W.data + shared.b.data
    twice = once @ shared.W.data + shared.b.data
    (_, mean) = statistics.of("mean").values()
    np.testing.assert_allclose(mean, [np.r_[once, twice].mean()], rtol=1e-12)


def test_a_model_of_one_layer_has_activations():
    X, y = tg.data.spiral(20, rng=0)
    statistics = tg.ActivationStatistics(X)
    trainer_of(nn.Linear(2, 3, rng=0), statistics).fit(X, y, 1, progress=False)
    assert repr(statistics) == "<activation statistics of Linear in 1 steps>"


def test_statistics_are_drawn_by_measure():
    X, y = tg.data.spiral(20, rng=0)
    statistics = tg.GradientStatistics()
    trainer_of(net_of(), statistics).fit(X, y, 4, progress=False)
    ax = statistics.plot("std")
    assert (ax.get_title(), ax.get_ylabel()) == ("Gradient statistics", "std")
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), statistics.of("std")["W1"])
    with pytest.raises(ValueError, match="measure must be one of mean, std, norm, zeros"):
        statistics.plot("median")
    with pytest.raises(ValueError, match="every must be"):
        tg.GradientStatistics(every=0)
    with pytest.raises(ValueError, match="no step has been noted"):
        tg.ActivationStatistics(X).plot()


@pytest.mark.parametrize("make", [tg.GradientMagnitudes, tg.GradientStatistics])
def test_a_record_goes_on_in_another_process(make):
    X, y = tg.data.spiral(20, rng=0)
    once, first, then = make(), make(), make()
    net = net_of()
    trainer_of(net, once).fit(X, y, 5, progress=False)
    net = net_of()
    trainer_of(net, first).fit(X, y, 3, progress=False)
    then.load_state_dict(first.state_dict())
    trainer_of(net, then).fit(X, y, 2, progress=False)
    for measure in once.measures:
        assert once.of(measure) == then.of(measure)
    other = make()
    other.load_state_dict(first.state_dict())
    with pytest.raises(ValueError, match=f"make a new {make.__name__}"):
        trainer_of(net_of((2, 3)), other).fit(X, y, 1, progress=False)


def noted(name):
    def method(hooks, trainer):
        hooks.calls.append((name, len(trainer.history)))

    return method


class Hooks(tg.Callback):
    """Notes which method is called, at which step."""

    def __init__(self):
        self.calls = []

    on_fit_start, on_step_start = noted("fit"), noted("start")
    on_gradients, on_step_end = noted("gradients"), noted("end")
    on_epoch_end, on_fit_end = noted("epoch"), noted("done")


def test_all_methods_are_called_in_order():
    X, y = tg.data.spiral(5, rng=0)
    hooks = Hooks()
    trainer_of(net_of(), hooks).fit(X, y, 1, batch_size=8, progress=False)
    step = ("start", 0), ("gradients", 1), ("end", 1)
    again = ("start", 1), ("gradients", 2), ("end", 2)
    assert hooks.calls == [("fit", 0), *step, *again, ("epoch", 2), ("done", 2)]


def test_a_fit_that_fails_has_no_end():
    X, y = tg.data.spiral(5, rng=0)
    hooks, net = Hooks(), net_of()
    sgd = optim.SGD(net.parameters(), 1e200)
    with pytest.raises(tg.TrainingDiverged):
        tg.Trainer(net, sgd, callbacks=[hooks]).fit(X, y, 9, progress=False)
    assert hooks.calls[-1][0] != "done"


@pytest.mark.parametrize("hook", ["on_fit_start", "on_step_start"])
def test_stopping_before_a_step(hook):
    X, y = tg.data.spiral(5, rng=0)
    callback = tg.Callback()
    setattr(callback, hook, tg.Trainer.stop)
    net = net_of()
    before = net.state_dict()
    history = trainer_of(net, callback).fit(X, y, 3, 4, progress=False)
    assert (len(history), history.epoch_ends) == (0, [])
    assert all((before[name] == array).all() for name, array in net.state_dict().items())


@pytest.mark.parametrize("hook", ["on_fit_start", "on_step_start", "on_epoch_end", "on_step_end"])
def test_what_a_callback_changes_is_used(hook):
    X, y = tg.data.spiral(10, rng=0)
    losses = []
    for compiled in (True, False):
        callback, net = tg.Callback(), net_of()

        def change(trainer):
            W = trainer.model.parameters()[0]
            W.data = 0.9 * W.data

        setattr(callback, hook, change)
        trainer = trainer_of(net, callback, compiled=compiled)
        losses.append(trainer.fit(X, y, 4, 10, progress=False).loss)
    np.testing.assert_allclose(*losses, rtol=1e-9)
    undisturbed = trainer_of(net_of(), tg.Callback()).fit(X, y, 4, 10, progress=False).loss
    assert losses[0][-1] != undisturbed[-1]
