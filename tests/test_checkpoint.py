"""A training that was interrupted goes on as if it had not been, to the last bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinygrad_edu as tg
from tinygrad_edu import nn, optim
from tinygrad_edu.interop.arrays import read_arrays, write_arrays


class Noisy(nn.Module):
    """Multiplies by random numbers in training mode."""

    def __init__(self, rng):
        self.rng = rng

    def forward(self, x):
        if not self.training:
            return x
        return x * self.rng.uniform(0.5, 1.5, x.shape[-1]).astype(x.dtype)


class StopAt(tg.Callback):
    """Ends the training after that step, as Ctrl-C does."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, trainer):
        if len(trainer.history) == self.step:
            signal.raise_signal(signal.SIGINT)


RNGS = {
    "generator": np.random.default_rng,
    "state": np.random.RandomState,
    "philox": lambda seed: np.random.Generator(np.random.Philox(seed)),
}
OPTIMIZERS = {
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "adam": lambda p: optim.Adam(p, lr=0.02),
    "rmsprop": lambda p: optim.RMSProp(p, lr=0.01),
}


def data(n=13, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 2)), rng.integers(0, 3, n)


def trainer_of(
    callbacks=(),
    rng="generator",
    optimizer="momentum",
    dtype=np.float64,
    compiled=False,
    l2=0.01,
    shared=False,
    loss=tg.cross_entropy,
):
    shuffling = RNGS[rng](1)
    noise = shuffling if shared else RNGS[rng](2)
    layers = nn.Linear(2, 5, rng=0, dtype=dtype), nn.Tanh(), Noisy(noise)
    net = nn.Sequential(*layers, nn.Linear(5, 3, rng=1, dtype=dtype))
    made = OPTIMIZERS[optimizer](net.parameters())
    return tg.Trainer(net, made, loss, l2, callbacks, shuffling, compiled)


def everything(trainer):
    """All that a training consists of, in bytes, with the random numbers that come next."""
    arrays = [p.data for p in trainer.model.parameters()]
    state = trainer.optimizer.state_dict()
    generators = trainer.rng, trainer.model.layers[2].rng
    return (
        [(a.dtype, a.tobytes()) for a in [*arrays, *state.values()]],
        trainer.optimizer.lr,
        {k: v for k, v in vars(trainer.history).items() if k != "interrupted"},
        [g.standard_normal(3).tolist() for g in generators],
    )


def callbacks_of(folder, *others, first=False, **options):
    """Callbacks that remember something, with a checkpoint before or after them."""
    keeping = tg.Checkpoint(folder / "run.npz", **options)
    rate = tg.LinearLR(7, by="step") * tg.StepLR(2, gamma=0.5)
    watching = [rate, tg.ClipGradNorm(0.5), tg.GradientMagnitudes(), tg.CSVLog(folder / "log.csv")]
    watching += [tg.EarlyStopping(3, min_delta=0.01), *others]
    return [keeping, *watching] if first else [*watching, keeping]


def in_one_go(folder, epochs, fit, **options):
    callbacks = callbacks_of(folder)
    trainer = trainer_of(callbacks, **options)
    trainer.fit(*data(), epochs, progress=False, **fit)
    return trainer


def in_pieces(folder, epochs, fit, stops, first=False, **options):
    """The same by a new trainer after each of the stops."""
    for stop in [*stops, None]:
        callbacks = callbacks_of(folder, StopAt(stop), first=first)
        trainer = trainer_of(callbacks, **options)
        trainer.fit(*data(), epochs, progress=False, resume=True, **fit)
    return trainer


def assert_same(folder, whole, pieces):
    """Both trainings, in two folders, ended alike, down to the files and the records."""
    assert everything(pieces) == everything(whole)
    records = [
        callback.of_layer
        for trainer in (whole, pieces)
        for callback in trainer.callbacks
        if isinstance(callback, tg.GradientMagnitudes)
    ]
    assert records[0] == records[1]
    for name in ("log.csv", "run.best.npz"):
        files = [folder / kind / name for kind in ("whole", "pieces")]
        assert files[0].read_bytes() == files[1].read_bytes(), name


@pytest.fixture
def folders(tmp_path):
    for name in ("whole", "pieces"):
        (tmp_path / name).mkdir()
    return tmp_path


FITS = {
    "batch_size": st.sampled_from([4, 5, 13, None]),
    "shuffle": st.booleans(),
    "validation": st.sampled_from([None, data(6, seed=5)]),
}
OPTIONS = {
    "rng": st.sampled_from(list(RNGS)),
    "optimizer": st.sampled_from(list(OPTIMIZERS)),
    "dtype": st.sampled_from([np.float32, np.float64]),
    "shared": st.booleans(),
}


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(FITS),
    st.fixed_dictionaries(OPTIONS),
    st.sets(st.integers(1, 16), min_size=1, max_size=3),
    st.integers(2, 6),
    st.booleans(),
)
def test_any_split_gives_the_same_bits(tmp_path_factory, fit, options, stops, epochs, first):
    folder = tmp_path_factory.mktemp("split")
    for name in ("whole", "pieces"):
        (folder / name).mkdir()
    whole = in_one_go(folder / "whole", epochs, fit, **options)
    pieces = in_pieces(folder / "pieces", epochs, fit, sorted(stops), first, **options)
    assert_same(folder, whole, pieces)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_compiled_training_gives_the_same_bits(folders, dtype, optimizer):
    fit = {"batch_size": 5, "validation": data(6, seed=5)}
    options = {"dtype": dtype, "optimizer": optimizer, "compiled": True}
    whole = in_one_go(folders / "whole", 5, fit, **options)
    pieces = in_pieces(folders / "pieces", 5, fit, [1, 8], **options)
    assert whole.compiled
    assert pieces.compiled
    assert_same(folders, whole, pieces)


@pytest.mark.parametrize("compiled", [True, False])
def test_20_epochs_are_10_and_10_more(tmp_path, compiled):
    whole = trainer_of(compiled=compiled)
    whole.fit(*data(), 20, 4, progress=False)
    path = tmp_path / "run.safetensors"
    trainer_of([tg.Checkpoint(path)], compiled=compiled).fit(*data(), 10, 4, progress=False)
    other = trainer_of(compiled=compiled)
    assert other.resume(path)
    other.fit(*data(), 10, 4, progress=False)
    assert everything(other) == everything(whole)


def test_a_training_without_a_program_goes_on_without_one(tmp_path):
    whole = trainer_of()
    whole.fit(*data(), 6, 4, progress=False)
    trainer_of([tg.Checkpoint(tmp_path / "run.npz")]).fit(*data(), 3, 4, progress=False)
    # As at first it had one, perhaps, before it turned out to change all the time.
    other = trainer_of(compiled=True)
    other.resume(tmp_path / "run.npz")
    other.fit(*data(), 3, 4, progress=False)
    assert not other.compiled
    assert everything(other) == everything(whole)


def test_a_begun_epoch_is_the_first_of_the_next_fit(tmp_path):
    path = tmp_path / "run.npz"
    trainer_of([tg.Checkpoint(path), StopAt(6)]).fit(*data(), 9, 4, progress=False)
    other = trainer_of()
    other.resume(path)
    assert other.history.interrupted
    assert other.history.epoch_ends == [4]
    assert other.fit(*data(), 1, 4, progress=False).epoch_ends == [4, 8]
    assert other.fit(*data(), 1, 4, progress=False).epoch_ends == [4, 8, 12]


@pytest.mark.parametrize("compiled", [True, False])
def test_keeping_does_not_change_the_training(tmp_path, compiled):
    ends = []
    for callbacks in ([], [tg.Checkpoint(tmp_path / "run.npz", every_steps=1)]):
        trainer = trainer_of(callbacks, compiled=compiled)
        trainer.fit(*data(), 3, 4, progress=False)
        trainer.fit(*data(), 3, 4, progress=False)
        ends.append(everything(trainer))
    assert ends[0] == ends[1]


def steps_of(path):
    return len(read_arrays(path)[0]["history.loss"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"every": 2}, [0, 8, 16, 20]),
        ({"every_steps": 3}, [0, 3, 6, 9, 12, 15, 18, 20]),
        ({"every": 3, "every_steps": 7}, [0, 7, 14, 20]),
        ({"every_seconds": 1000}, [0, 20]),
        ({"every_seconds": 1e-9}, list(range(21))),
        ({}, [0, 20]),
    ],
)
def test_how_often_it_is_written(tmp_path, options, expected):
    path, seen = tmp_path / "run.npz", []

    class Look(tg.Callback):
        def on_gradients(self, trainer):
            steps = steps_of(path)
            if seen[-1:] != [steps]:
                seen.append(steps)

    trainer = trainer_of([tg.Checkpoint(path, **options), Look()])
    trainer.fit(*data(), 5, 4, progress=False)
    assert [*seen, steps_of(path)] == expected


@pytest.mark.parametrize("validation", [None, data(6, seed=5)])
def test_the_best_epoch_is_kept_as_a_model(tmp_path, validation):
    path, losses, states = tmp_path / "run.npz", [], []

    def note(trainer):
        ends = [0, *trainer.history.epoch_ends]
        mean = np.mean(trainer.history.loss[ends[-2] :])
        losses.append(trainer.history.validation_loss[-1] if validation else mean)
        states.append(trainer.model.state_dict())

    trainer = trainer_of([tg.Checkpoint(path), note], optimizer="adam")
    trainer.optimizer.lr = 0.1
    trainer.fit(*data(30), 8, 4, validation=validation, progress=False)
    best = int(np.argmin(losses))
    assert 0 < best < 7
    _, about = read_arrays(tmp_path / "run.best.npz")
    assert about == {"epoch": best + 1, "loss": losses[best]}
    net = trainer_of().model
    tg.load_into(net, tmp_path / "run.best.npz")
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, states[best][name])


def test_without_the_best_there_is_one_file(tmp_path):
    trainer_of([tg.Checkpoint(tmp_path / "a.npz", best=False)]).fit(*data(), 2, progress=False)
    assert os.listdir(tmp_path) == ["a.npz"]


def test_a_script_is_simply_started_again(tmp_path):
    whole = trainer_of()
    whole.fit(*data(), 6, 4, progress=False)

    def script(stop):
        trainer = trainer_of([tg.Checkpoint(tmp_path / "run.npz"), StopAt(stop)])
        trainer.fit(*data(), 6, 4, progress=False, resume=True)
        return trainer

    for stop in (3, 4, 9, None):
        end = script(stop)
    done = script(None)  # once more than it takes
    assert everything(end) == everything(done) == everything(whole)


def test_a_training_that_stopped_early_stays_so(tmp_path):
    def script(epochs=50):
        stopping = tg.EarlyStopping(2, min_delta=0.05)
        trainer = trainer_of([stopping, tg.Checkpoint(tmp_path / "run.npz")])
        trainer.fit(*data(), epochs, 4, progress=False, resume=True)
        return trainer

    first = script()
    assert len(first.history.epoch_ends) < 50
    again = script()
    assert everything(again) == everything(first)
    resumed = trainer_of()
    resumed.resume(tmp_path / "run.npz")
    assert all(
        (a.data == b.data).all()
        for a, b in zip(resumed.model.parameters(), first.model.parameters(), strict=True)
    )


def test_a_trainer_may_resume_within_the_process(tmp_path):
    whole = trainer_of()
    whole.fit(*data(), 6, 4, progress=False)
    trainer = trainer_of([tg.Checkpoint(tmp_path / "run.npz"), StopAt(6)])
    trainer.fit(*data(), 6, 4, progress=False)
    assert trainer.history.interrupted
    trainer.fit(*data(), 6, 4, progress=False, resume=True)
    assert everything(trainer) == everything(whole)


@pytest.mark.parametrize("lr", [1e200, 1e308])
def test_a_divergence_leaves_the_last_good_checkpoint(tmp_path, lr):
    path = tmp_path / "run.npz"
    trainer = trainer_of([tg.Checkpoint(path, every_steps=1)], optimizer="momentum")
    trainer.fit(*data(), 3, 4, progress=False)
    trainer.optimizer.lr = lr
    with pytest.raises(tg.TrainingDiverged):
        trainer.fit(*data(), 9, 4, progress=False)
    for file in (path, tmp_path / "run.best.npz"):
        arrays, _ = read_arrays(file)
        assert all(np.isfinite(array).all() for array in arrays.values())
    other = trainer_of()
    other.resume(path)
    other.optimizer.lr = 0.01
    other.fit(*data(), 2, 4, progress=False)
    assert np.isfinite(other.history.loss).all()


def test_what_is_not_finite_is_not_written(tmp_path, caplog):
    path = tmp_path / "run.npz"
    trainer = trainer_of([tg.Checkpoint(path, every_steps=1)], optimizer="rmsprop")
    trainer.fit(*data(), 3, 4, progress=False)
    before = path.read_bytes()
    state = trainer.optimizer.state_dict()
    # With an infinite mean of squares nothing is learned any more, but all losses are finite.
    trainer.optimizer.load_state_dict({**state, "v.0": np.full_like(state["v.0"], np.inf)})
    trainer.fit(*data(), 1, progress=False)
    assert path.read_bytes() == before
    assert "no checkpoint is written after step 13" in caplog.text


def test_an_error_leaves_the_last_checkpoint(tmp_path):
    path = tmp_path / "run.npz"

    def fail(trainer):
        if len(trainer.history.epoch_ends) == 3:
            raise LookupError("mine")

    with pytest.raises(LookupError):
        trainer_of([tg.Checkpoint(path, every=1), fail]).fit(*data(), 5, 4, progress=False)
    assert steps_of(path) == 8
    whole, other = trainer_of(), trainer_of()
    whole.fit(*data(), 5, 4, progress=False)
    other.resume(path)
    other.fit(*data(), 3, 4, progress=False)
    assert everything(other) == everything(whole)


def kept(tmp_path, **options):
    path = tmp_path / "run.npz"
    trainer_of([tg.Checkpoint(path), StopAt(6)], **options).fit(*data(), 9, 4, progress=False)
    return path


class Other(nn.Module):
    """As the net of `trainer_of`, with another activation."""

    def __init__(self):
        made = trainer_of().model.layers
        self.layers = [made[0], nn.Sigmoid(), *made[2:]]

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def with_net(net, lr=0.1):
    trainer = trainer_of()
    sgd = optim.SGD(net.parameters(), lr, momentum=0.9)
    return tg.Trainer(net, sgd, l2=0.01, rng=trainer.rng)


def double(outputs, y):
    return 2 * tg.cross_entropy(outputs, y)


class Remembering(nn.Module):
    """Noise that depends on what earlier calls in training mode left in plain attributes."""

    def __init__(self, first=0):
        self.calls, self.range = first, (0.5, 1.0)
        self.mean = np.zeros(2)
        self.rngs = {"noise": [np.random.default_rng(7)]}

    def forward(self, x):
        if not self.training:
            return x - self.mean
        self.calls += 1
        self.range = (0.5, 1.0 + self.calls)
        self.mean = 0.9 * self.mean + 0.1 * np.mean(np.asarray(x), axis=0)
        return (x - self.mean) * self.rngs["noise"][0].uniform(*self.range)


def remembering(callbacks, first=0):
    net = nn.Sequential(Remembering(first), nn.Linear(2, 3, rng=0), nn.Dropout(0.5, rng=1))
    sgd = optim.SGD(net.parameters(), 0.1)

    def anneal(trainer):
        net.layers[2].p *= 0.9

    return tg.Trainer(net, sgd, callbacks=[anneal, *callbacks], rng=0, compiled=False)


def test_what_layers_keep_in_plain_attributes_goes_on(tmp_path):
    def ends(trainer):
        layer = trainer.model.layers[0]
        own = layer.calls, layer.range, layer.mean.tolist(), layer.rngs["noise"][0].random()
        return own, trainer.model.layers[2].p, trainer.history.loss, bits(trainer)

    def bits(trainer):
        return [a.tobytes() for a in trainer.model.state_dict().values()]

    whole = remembering([])
    whole.fit(*data(), 4, 4, progress=False)
    for stop in (3, 6, 11, None):
        pieces = remembering([tg.Checkpoint(tmp_path / "run.npz"), StopAt(stop)])
        pieces.fit(*data(), 4, 4, progress=False, resume=True)
    assert ends(pieces) == ends(whole)
    other = remembering([], first=1)
    with pytest.raises(ValueError, match=r"model.layers.0.calls \(0 then, 1 now\)"):
        other.resume(tmp_path / "run.npz")
    assert other.model.layers[0].calls == 1


OTHERS = {
    "optimizer": (lambda: trainer_of(optimizer="adam"), r"the optimizer \(SGD then, Adam now\)"),
    "lr": (lambda: with_net(trainer_of().model, lr=0.2), r"made with .*: lr \(0.1 then, 0.2 now\)"),
    "l2": (lambda: trainer_of(l2=0.02), r"l2 \(0.01 then, 0.02 now\)"),
    "loss": (lambda: trainer_of(loss=double), r"the loss \(cross_entropy then, double now\)"),
    "dtype": (
        lambda: trainer_of(dtype=np.float32),
        r"layers.0.W has shape \(2, 5\) of float64 there, \(2, 5\) of float32 here",
    ),
    "rng": (lambda: trainer_of(rng="state"), "no state of a generator of MT19937"),
    "activation": (lambda: with_net(Other()), r"model.layers.1 \(Tanh then, Sigmoid now\)"),
    "net": (lambda: with_net(nn.MLP((2, 3), rng=0)), r"the model \(Sequential then, MLP now"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_training_is_refused_and_nothing_changed(tmp_path, what):
    path = kept(tmp_path)
    make, words = OTHERS[what]
    trainer, untouched = make(), make()
    with pytest.raises(ValueError, match=rf"training in .*run.npz cannot go on here: .*{words}"):
        trainer.resume(path)
    assert trainer.resumed_from is None
    losses = [t.fit(*data(), 2, 4, progress=False).loss for t in (trainer, untouched)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("first", ["tg.mse(p, y)", "2 * tg.mse(p, y)"])
def test_another_loss_of_the_same_name_is_refused(tmp_path, first):
    bodies = first, "tg.mse(p, y)"
    X, path = data()[0], tmp_path / "run.npz"
    nets = [nn.Linear(2, 1, rng=0) for _ in bodies]
    losses = [eval(f"lambda p, y: {body}", {"tg": tg}) for body in bodies]
    trainers = (
        tg.Trainer(net, optim.SGD(net.parameters(), 0.1), loss, callbacks=callbacks, rng=0)
        for net, loss, callbacks in zip(nets, losses, ([tg.Checkpoint(path)], []), strict=True)
    )
    before, after = trainers
    before.fit(X, X[:, :1], 2, progress=False)
    if bodies[0] == bodies[1]:
        assert after.resume(path)
        return
    with pytest.raises(ValueError, match="differs in the code of the loss"):
        after.resume(path)


X, Y = data()
FITS_REFUSED = {
    "longer": ({"X": np.r_[X, X], "y": np.r_[Y, Y]}, r"X \(shape \(13, 2\).* then, shape \(26"),
    "values": ({"X": X + 1e-9}, "X .*with checksum"),
    "labels": ({"y": (Y + 1) % 3}, "differ|y .*with checksum"),
    "batch": ({"batch_size": 5}, r"batch_size \(4 then, 5 now\)"),
    "order": ({"shuffle": False}, r"shuffle \(True then, False now\)"),
    "validation": ({"validation": (X, Y)}, r"validation X \(None then, shape"),
}


@pytest.mark.parametrize("what", FITS_REFUSED)
def test_other_data_are_refused_and_nothing_changed(tmp_path, what):
    trainer, whole = trainer_of(), trainer_of()
    trainer.resume(kept(tmp_path))
    change, words = FITS_REFUSED[what]
    fit = {"X": X, "y": Y, "epochs": 8, "batch_size": 4, "progress": False}
    with pytest.raises(ValueError, match=rf"training on something else: .*{words}"):
        trainer.fit(**{**fit, **change})
    trainer.fit(**fit)
    whole.fit(*data(), 9, 4, progress=False)
    assert everything(trainer) == everything(whole)


def test_data_that_are_refused_leave_nothing_resumed(tmp_path):
    path = kept(tmp_path)
    trainer, untouched = (trainer_of([tg.Checkpoint(path)]) for _ in range(2))
    for wrong in ({"X": X + 1}, {"batch_size": 5}, {"epochs": 0}):
        fit = {"X": X, "y": Y, "epochs": 8, "batch_size": 4, "progress": False, "resume": True}
        with pytest.raises(ValueError, match=r"something else|whole number"):
            trainer.fit(**{**fit, **wrong})
        assert trainer.resumed_from is None
    assert everything(trainer) == everything(untouched)


def test_settings_that_a_schedule_changed_are_no_others(tmp_path):
    def trainer():
        return trainer_of([tg.StepLR(2, gamma=0.5), tg.Checkpoint(tmp_path / "run.npz")])

    trainer().fit(*data(), 5, 4, progress=False)
    resumed, whole = trainer(), trainer_of([tg.StepLR(2, gamma=0.5)])
    resumed.fit(*data(), 9, 4, progress=False, resume=True)
    whole.fit(*data(), 9, 4, progress=False)
    assert resumed.optimizer.lr == whole.optimizer.lr < 0.1
    assert resumed.history.loss == whole.history.loss


@pytest.mark.parametrize("missing_ok", [False, True])
def test_a_missing_file(tmp_path, missing_ok):
    trainer = trainer_of()
    if missing_ok:
        assert trainer.resume(tmp_path / "run.npz", missing_ok=True) is False
        return
    with pytest.raises(FileNotFoundError):
        trainer.resume(tmp_path / "run.npz")


def test_a_model_is_no_checkpoint(tmp_path):
    tg.save(trainer_of().model, tmp_path / "net.npz")
    with pytest.raises(ValueError, match=r"no checkpoint of a training.*tg.load_into"):
        trainer_of().resume(tmp_path / "net.npz")


def spoiled(arrays, about):
    """Checkpoints in which one thing is wrong, though the file is whole."""
    for name, array in arrays.items():
        if not name.startswith("callbacks"):
            yield f"without {name}", {k: v for k, v in arrays.items() if k != name}, about
        yield f"{name} of text", {**arrays, name: np.zeros((1, 2, 3), np.int8)}, about
        if name.startswith("history") and array.size and name != "history.loss":
            yield f"longer {name}", {**arrays, name: np.append(array, array[-1:] - 1)}, about
    yield "an array more", {**arrays, "model.more": np.zeros(2)}, about
    for name in about:
        yield f"without {name}", arrays, {k: v for k, v in about.items() if k != name}
        for value in (None, 3, "x", {"rng": 1}, []):
            taken = {"data": [None], "callbacks": [{"rng": 1}], "within an epoch": [True]}
            if name not in ("interrupted", "compiled") and value not in taken.get(name, []):
                yield f"{name} {value!r}", arrays, {**about, name: value}
    for value in (-0.1, 0, "x", None, [1]):
        changed = {**about["hyperparameters"], "_lr": value}
        yield f"lr {value!r}", arrays, {**about, "hyperparameters": changed}
    state = about["generators"]["rng"]
    for value in ({}, {**state, "state": {"state": -1, "inc": 1}}, {**state, "bit_generator": "X"}):
        generators = {**about["generators"], "rng": value}
        yield f"rng {value!r}", arrays, {**about, "generators": generators}


def test_malformed_checkpoints_are_refused_and_nothing_changed(tmp_path):
    path, trainer = kept(tmp_path), trainer_of(callbacks=[tg.EarlyStopping(5)])
    cases = list(spoiled(*read_arrays(path)))
    for what, *content in cases:
        write_arrays(path, *content)
        try:
            trainer.resume(path)
        except ValueError as error:
            message = str(error)
        else:
            pytest.fail(f"{what} was taken")
        assert "run.npz" in message, what
    assert len(cases) > 60
    histories = [t.fit(*data(), 3, 4, progress=False).loss for t in (trainer, trainer_of())]
    assert histories[0] == histories[1]


@pytest.mark.parametrize("rest", [[99], [1, 1], [13]])
def test_an_epoch_of_other_rows_is_refused(tmp_path, rest):
    path, trainer = kept(tmp_path), trainer_of()
    arrays, about = read_arrays(path)
    write_arrays(path, {**arrays, "rest": np.array(rest, np.uint8)}, about)
    trainer.resume(path)
    with pytest.raises(ValueError, match="no rows of these data left"):
        trainer.fit(*data(), 3, 4, progress=False)
    assert len(trainer.history) == 6


def test_a_checkpoint_has_no_pickle(tmp_path):
    with np.load(kept(tmp_path, rng="state"), allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file.files)
    _, about = read_arrays(tmp_path / "run.npz")
    assert json.loads(json.dumps(about)) == about


def test_the_checkpoint_of_another_training_is_not_overwritten(tmp_path):
    path = kept(tmp_path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"run.npz has the checkpoint of another training"):
        trainer_of([tg.Checkpoint(path)]).fit(*data(), 2, 4, progress=False)
    assert path.read_bytes() == before
    trainer_of([tg.Checkpoint(path, overwrite=True)]).fit(*data(), 2, 4, progress=False)
    assert path.read_bytes() != before
    path.unlink()
    with pytest.raises(FileExistsError, match=r"run.best.npz has"):
        trainer_of([tg.Checkpoint(path)]).fit(*data(), 2, 4, progress=False)
    trainer_of([tg.Checkpoint(path, best=False)]).fit(*data(), 2, 4, progress=False)


def test_two_checkpoints_of_one_training_go_on_with_it(tmp_path):
    def trainer(*names):
        return trainer_of([tg.Checkpoint(tmp_path / name) for name in names])

    trainer("a.npz", "b.npz").fit(*data(), 1, progress=False, resume=True)
    goes_on = trainer("a.npz", "b.npz")
    goes_on.fit(*data(), 3, progress=False, resume=True)
    assert steps_of(tmp_path / "a.npz") == steps_of(tmp_path / "b.npz") == 3
    trainer("c.npz").fit(*data(), 1, progress=False)
    for names in (("a.npz", "b.npz", "c.npz"), ("c.npz",)):
        other = trainer(*names)
        other.resume(tmp_path / "a.npz")
        with pytest.raises(FileExistsError, match=r"c\.npz"):
            other.fit(*data(), 1, progress=False)


@pytest.mark.parametrize("names", [("z.npz", "z.best.npz"), ("z.npz", "./z.npz")])
def test_checkpoints_that_would_write_one_file_are_refused(tmp_path, names):
    trainer = trainer_of([tg.Checkpoint(f"{tmp_path}/{name}") for name in names])
    with pytest.raises(ValueError, match=r"several Checkpoints would write .*z\.(best\.)?npz"):
        trainer.fit(*data(), 1, progress=False)
    assert not list(tmp_path.iterdir())


def test_an_optimiser_with_something_that_cannot_be_kept(tmp_path):
    trainer = trainer_of([tg.Checkpoint(tmp_path / "run.npz")])
    trainer.optimizer.mine = np.zeros(3)
    with pytest.raises(TypeError, match=r"SGD has \['mine'\], which a checkpoint cannot keep"):
        trainer.fit(*data(), 2, progress=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"path": "run.pt"}, "must end in .safetensors or .npz"),
        ({"every": 0}, "every must be a whole number of at least 1"),
        ({"every_steps": 1.5}, "every_steps must be"),
        ({"every_seconds": 0}, "every_seconds must be a number above 0"),
        ({"every_seconds": "a"}, "every_seconds must be a number above 0"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        tg.Checkpoint(**{"path": "run.npz", **options})


def test_resuming_needs_a_checkpoint():
    with pytest.raises(ValueError, match=r"resume=True needs .*tg.Checkpoint\(path\)"):
        trainer_of().fit(*data(), 2, resume=True, progress=False)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, full_disk):
    path = kept(tmp_path)
    before = path.read_bytes()
    trainer = trainer_of([tg.Checkpoint(path, every_steps=1)])
    with full_disk(), pytest.raises(OSError, match=r".+"):
        trainer.fit(*data(), 9, 4, progress=False, resume=True)
    assert path.read_bytes() == before


SCRIPT = """
import hashlib, sys
import numpy as np
import tinygrad_edu as tg
from tests.test_checkpoint import callbacks_of, trainer_of
from pathlib import Path

folder, epochs = Path(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
X, y = rng.standard_normal((501, 2)), rng.integers(0, 3, 501)
callbacks = callbacks_of(folder, every_steps=3)[:-2]
trainer = trainer_of([*callbacks, tg.Checkpoint(folder / "run.npz", every_steps=3)], compiled=True)
print("begins", flush=True)
trainer.fit(X, y, epochs, 20, validation=(X[:50], y[:50]), progress=False, resume=True)
parts = [p.data for p in trainer.model.parameters()] + [np.array(trainer.history.loss)]
print(hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest())
"""


def start(folder, epochs):
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", SCRIPT, str(folder), str(epochs)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)


def killed_and_whole(tmp_path, epochs, kills, longest):
    """A training that is killed at random moments, and one that is not."""
    whole = start(tmp_path / "whole", epochs)
    when, alive = random.Random(0), 0
    for _ in range(kills):
        process = start(tmp_path / "killed", epochs)
        assert process.stdout.readline() == "begins\n"
        time.sleep(when.uniform(0, longest))
        alive += process.poll() is None
        process.kill()
        process.wait()
        process.stdout.close()
    last = start(tmp_path / "killed", epochs)
    outputs = [process.communicate(timeout=300)[0].split()[-1] for process in (last, whole)]
    assert last.returncode == whole.returncode == 0
    assert alive
    files = [
        {f.name: f.read_bytes() for f in (tmp_path / name).iterdir() if f.name != "run.npz"}
        for name in ("killed", "whole")
    ]
    return outputs, files


def test_a_killed_training_goes_on(tmp_path):
    outputs, files = killed_and_whole(tmp_path, epochs=12, kills=3, longest=0.8)
    assert outputs[0] == outputs[1]
    assert files[0] == files[1]
    assert files[0].keys() == {"log.csv", "run.best.npz"}


@pytest.mark.slow
def test_a_training_that_is_killed_often_goes_on(tmp_path):
    outputs, files = killed_and_whole(tmp_path, epochs=200, kills=40, longest=1.5)
    assert outputs[0] == outputs[1]
    assert files[0] == files[1]
