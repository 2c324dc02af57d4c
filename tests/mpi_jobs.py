"""What the ranks of a job do that tests/test_mpi.py starts: `mpiexec -n 3 python mpi_jobs.py NAME`.

Each function is run by all ranks. What it asserts it asserts on each of them.
"""

import copy
import itertools
import os
import pickle
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI

import tinygrad_edu as tg
from tinygrad_edu.__main__ import main

comm = MPI.COMM_WORLD
X, y = tg.data.spiral(7, rng=0)  # 21 rows
X, y = np.concatenate([X, X[:1] + 0.1]), np.concatenate([y, y[:1]])
OPTIMIZERS = {
    "sgd": lambda params: tg.optim.SGD(params, lr=0.1),
    "momentum": lambda params: tg.optim.SGD(params, lr=0.1, momentum=0.9),
    "adam": lambda params: tg.optim.Adam(params, lr=0.01),
}


def trained(comm, seed=0, optimizer="adam", dtype=float, l2=0.01, fit=(), **kwargs):
    """A trainer after two epochs."""
    net = tg.nn.MLP((2, 6, 3), rng=seed, dtype=dtype)
    adam = OPTIMIZERS[optimizer](net.parameters())
    trainer = tg.Trainer(net, adam, l2=l2, rng=seed, comm=comm, **kwargs)
    trainer.fit(X, y, **{"epochs": 2, "batch_size": 5, "progress": False, **dict(fit)})
    return trainer


def arrays(trainer):
    return [p.data for p in trainer.model.parameters()]


def difference(a, b):
    """The largest one between two trainers' losses and parameters, relative to the largest."""
    pairs = [(a.history.loss, b.history.loss), *zip(arrays(a), arrays(b), strict=True)]
    pairs += [(a.history.validation_loss, b.history.validation_loss)]
    pairs += [(a.history.validation_score, b.history.validation_score)]
    return max(
        np.max(np.abs(np.subtract(u, v)), initial=0) / np.max(np.abs(u), initial=1e-300)
        for u, v in pairs
    )


def raises(kind, words, function, *args, **kwargs):
    """What the error says, which must be of a kind and say the words."""
    with pytest.raises(kind) as error:
        function(*args, **kwargs)
    assert words in str(error.value), error.value
    return str(error.value)


def same():
    """As many ranks as there are take the same steps as one process."""
    validation = {"validation": (X[:2], y[:2])}
    for optimizer, dtype, compiled in itertools.product(OPTIMIZERS, "df", (True, False)):
        # Batches of 22; of 5 and a last one of 2; of 1, so that most ranks have none of the rows.
        for size in (None, 5, 1) if optimizer == "adam" else (5,):
            how = {"optimizer": optimizer, "dtype": dtype, "compiled": compiled}
            fit = {"batch_size": size, **validation}
            alone = trained(None, fit=fit, **how)
            # Each rank has another seed, but all begin as the first.
            together = trained(comm, seed=comm.rank, fit=fit, **how)
            assert together.compiled == compiled
            assert difference(alone, together) <= (1e-12 if dtype == "d" else 1e-5), (how, size)
            first = comm.bcast(arrays(together))
            assert all((a == b).all() for a, b in zip(first, arrays(together), strict=True))


def kinds():
    """Models and losses of other kinds: two dtypes, parameters without a gradient, a second fit."""

    class Two(tg.nn.Module):
        def __init__(self, seed):
            self.a = tg.nn.Linear(2, 4, rng=seed, dtype=np.float32)
            self.b = tg.nn.Linear(4, 3, rng=seed)
            self.unused = tg.Tensor([1.0, 2.0], requires_grad=True)

        def forward(self, x):
            return self.b(tg.tanh(self.a(x)))

    def run(comm, seed):
        net = Two(seed)
        trainer = tg.Trainer(net, tg.optim.Adam(net.parameters(), lr=0.01), comm=comm, rng=seed)
        for _ in range(2):
            trainer.fit(X, y, epochs=2, batch_size=4, progress=False)
        return trainer

    alone, together = run(None, 0), run(comm, comm.rank)
    assert difference(alone, together) < 1e-5
    assert together.model.unused.grad is None
    assert (
        together.optimizer.state_dict()["t"].tolist() == alone.optimizer.state_dict()["t"].tolist()
    )
    assert abs(np.diff([t.model.b.W.grad for t in (alone, together)], axis=0)).max() < 1e-6


def copied():
    """A copy of a trainer trains as the trainer would."""
    other = comm.Dup()
    fit = {"epochs": 2, "batch_size": 5, "progress": False}
    for communicator, copy_of in (
        (other, copy.deepcopy),
        (comm, lambda t: pickle.loads(pickle.dumps(t))),
    ):
        trainer = trained(communicator)
        again = copy_of(trainer)
        again.fit(X, y, **fit)
        trainer.fit(X, y, **fit)
        assert difference(trainer, again) == 0
    raises(
        TypeError, "COMM_WORLD", pickle.dumps, tg.Trainer(again.model, again.optimizer, comm=other)
    )


def begin():
    """All ranks begin as rank 0 does, whose net has been trained before."""

    def run(comm, rank):
        net, rng = tg.nn.MLP((2, 6, 3), rng=rank), np.random.RandomState(rank)
        adam = tg.optim.Adam(net.parameters(), lr=0.01)
        tg.Trainer(net, adam, rng=rng).fit(X, y, epochs=1 + rank, batch_size=8, progress=False)
        trainer = tg.Trainer(net, adam, rng=rng, comm=comm)
        trainer.fit(X, y, epochs=2, batch_size=8, progress=False)
        return trainer

    alone, together = run(None, 0), run(comm, comm.rank)
    assert difference(alone, together) < 1e-12
    states = alone.optimizer.state_dict(), together.optimizer.state_dict()
    assert all(np.allclose(*(state[name] for state in states)) for name in states[0])


def kept(folder):
    """Checkpoints, early stopping and the like do what they do for one process."""
    validation = tg.data.spiral(4, rng=1)

    def run(comm, path, epochs, resume=False):
        net = tg.nn.MLP((2, 6, 3), rng=0)
        callbacks = [
            tg.EarlyStopping(patience=2),
            tg.ClipGradNorm(0.5),
            tg.StepLR(3, 0.5),
            tg.Checkpoint(path, every_steps=3),
            tg.CSVLog(f"{path}.csv"),
        ]
        adam = tg.optim.Adam(net.parameters(), lr=0.2)
        trainer = tg.Trainer(net, adam, callbacks=callbacks, rng=0, comm=comm)
        fit = {"batch_size": 8, "validation": validation, "progress": False, "resume": resume}
        trainer.fit(X, y, epochs, **fit)
        return trainer

    alone = run(None, f"{folder}/alone{comm.rank}.npz", 40)
    assert len(alone.history.epoch_ends) < 40
    together = run(comm, f"{folder}/together.npz", 40)
    assert difference(alone, together) < 1e-10
    run(comm, f"{folder}/parts.npz", 3)
    resumed = run(comm, f"{folder}/parts.npz", 40, resume=True)
    assert resumed.history.loss == together.history.loss
    assert all((a == b).all() for a, b in zip(arrays(resumed), arrays(together), strict=True))
    logs = [Path(folder, f"{name}.npz.csv").read_text() for name in ("together", "parts")]
    assert logs[0] == logs[1]


def refused():
    """What cannot be right, or not be the same everywhere, is an error that all ranks catch."""

    first, last = comm.rank == 0, comm.rank == comm.size - 1

    def fit(loss=tg.cross_entropy, model=None, X=X, y=y, lr=0.1, epochs=1, comm=comm, **kwargs):
        net = model or tg.nn.MLP((2, 6, 3), rng=int(last))
        trainer = tg.Trainer(net, tg.optim.SGD(net.parameters(), lr=lr), loss, comm=comm, **kwargs)
        before = [np.array(p.data) for p in net.parameters()]
        try:
            trainer.fit(X, y, epochs, batch_size=4, progress=False)
        finally:
            changed = [(p.data != b).any() for p, b in zip(net.parameters(), before, strict=True)]
            assert trainer.history.loss == []
            # The others may have got their start from rank 0 already.
            assert not (first and any(changed))

    class Normalised(tg.nn.MLP):
        def forward(self, x):
            return super().forward(x - np.mean(x, axis=0))

    weights = np.array([1.0, 2.0, 5.0])

    def weighted(outputs, y):
        each = -tg.log_softmax(outputs)[np.arange(len(y)), y] * weights[y]
        return np.sum(each) / np.sum(weights[y])

    def root(outputs, y):
        return np.sqrt(tg.mse(outputs, np.eye(3)[y]))

    def total(outputs, y):
        return tg.cross_entropy(outputs, y) * len(y)

    def steep(outputs, y):
        n_times = total(outputs, y)
        return n_times - n_times.detach() + tg.cross_entropy(outputs, y).detach()

    for loss in (weighted, root, total, steep):
        raises(ValueError, "the loss cannot be computed in shares", fit, loss)
    # A class that only one row in thousands has, with a weight of its own.
    often = (np.arange(4000) == 3).astype(int)
    many = {"X": X[np.arange(4000) % len(X)], "y": 2 * often}
    raises(ValueError, "the loss cannot be computed in shares", fit, weighted, **many)
    raises(ValueError, "the model cannot", lambda: fit(model=Normalised((2, 6, 3), rng=0)))

    class NormalisedInTraining(tg.nn.Module):
        def forward(self, x):
            return x - np.mean(x, axis=0) if self.training else x

    layers = NormalisedInTraining(), tg.nn.Dropout(0.5, rng=0), tg.nn.Linear(2, 3, rng=0)
    raises(ValueError, "the model cannot", lambda: fit(model=tg.nn.Sequential(*layers)))
    for kind in (np.float16, np.longdouble):
        name = np.dtype(kind).name
        raises(ValueError, name, lambda kind=kind: fit(model=tg.nn.MLP((2, 6, 3), dtype=kind)))
    # On the last rank something is different.
    raises(ValueError, "differ in X (shape", lambda: fit(X=X + 1e-12 * last))
    raises(ValueError, "differ in y (shape", lambda: fit(y=np.where(last, y[::-1], y)))
    raises(ValueError, "optimizer.lr (0.1 on rank 0, 0.2", lambda: fit(lr=0.1 + 0.1 * last))
    raises(ValueError, "differ in epochs (1 on rank 0, 2", lambda: fit(epochs=1 + last))
    raises(ValueError, "differ in l2 (0", lambda: fit(l2=0.5 * last))
    raises(ValueError, "layers.0.W (shape (2, 6)", lambda: fit(model=tg.nn.MLP((2, 6 + last, 3))))
    raises(ValueError, "X holds nan", lambda: fit(X=X * np.nan))
    raises(TypeError, "comm must be a communicator", lambda: fit(comm=MPI))
    raises(ValueError, "COMM_NULL", lambda: fit(comm=MPI.COMM_NULL))
    raises(ValueError, "leave comm out", lambda: fit(comm=MPI.COMM_SELF))

    def with_address(outputs, y):
        raise ValueError(f"nothing for <object at 0x{comm.rank:x}>")

    raises(ValueError, "nothing for", fit, with_address)

    class Local(Exception):
        pass

    for kind, seen in (
        (FileExistsError, FileExistsError),
        (Local, Local if first else RuntimeError),
    ):

        class OfFirst(tg.Callback):
            def on_fit_start(self, trainer, kind=kind):
                if trainer.is_main:
                    raise kind("a file")

        raises(seen, "a file", lambda: fit(callbacks=[OfFirst()]))


def diverging():
    """A loss that is infinite on one rank ends the fit on all, with the parameters from before."""
    for compiled in (True, False):
        net = tg.nn.MLP((2, 6, 1), rng=0)
        before = [np.array(p.data) for p in net.parameters()]
        t = np.zeros((len(X), 1))
        trainer = tg.Trainer(
            net, tg.optim.SGD(net.parameters(), lr=0.1), tg.mse, comm=comm, compiled=compiled
        )
        t[-1] = 1e200  # its square is infinite
        with np.errstate(over="ignore"):
            raises(tg.TrainingDiverged, "inf", trainer.fit, X, t, 9, progress=False)
        assert all((p.data == b).all() for p, b in zip(net.parameters(), before, strict=True))
        t[-1] = 0
        assert len(trainer.fit(X, t, 3, progress=False)) == 3


def stopping():
    """A stop that is asked for on one rank stops all after the same step, as it would one."""
    last = comm.rank == comm.size - 1

    class Stop(tg.Callback):
        def on_step_end(self, trainer):
            if len(trainer.history) == 7 and last:
                trainer.stop()

    assert len(trained(comm, callbacks=[Stop()]).history) == 7

    class StopBefore(tg.Callback):
        def on_step_start(self, trainer):
            if len(trainer.history) == 3 and last:
                trainer.stop()

    assert len(trained(comm, callbacks=[StopBefore()]).history) == 3

    def stop(trainer):
        if last:
            trainer.stop()

    history = trained(comm, callbacks=[stop]).history
    assert (len(history), history.epoch_ends, history.interrupted) == (5, [5], False)

    def interrupt(trainer):
        if last:
            trainer.interrupt()

    assert trained(comm, callbacks=[interrupt]).history.interrupted

    class Press(tg.Callback):
        def on_gradients(self, trainer):
            if len(trainer.history) == 3 and last:
                os.kill(os.getpid(), signal.SIGINT)

    history = trained(comm, callbacks=[Press()]).history
    assert (len(history), history.interrupted) == (3, True)

    class Net(tg.nn.MLP):
        calls = 0

        def forward(self, x):
            # Before the first step four calls find out whether there can be shares.
            self.calls += self.training
            if self.training and self.calls == 4 + 4 and last:
                os.kill(os.getpid(), signal.SIGINT)
            return super().forward(x)

    # The message of the step itself says so to the others.
    net = Net((2, 6, 3), rng=0)
    sgd = tg.optim.SGD(net.parameters(), lr=0.1)
    trainer = tg.Trainer(net, sgd, comm=comm, compiled=False)
    history = trainer.fit(X, y, epochs=9, progress=False)
    assert (len(history), history.interrupted) == (4, True)
    # Of the last step of all.
    fit = {"epochs": 3, "batch_size": None}
    assert trained(comm, callbacks=[Press()], fit=fit).history.interrupted
    assert trained(comm).is_main == (comm.rank == 0)


def apart():
    """Ranks that do not stay alike are told."""
    last = comm.rank == comm.size - 1

    class Change(tg.Callback):
        def on_step_end(self, trainer):
            if len(trainer.history) == 3 and last:
                W = trainer.model.layers[0].W
                W.data = W.data + 1e-15

    error = raises(RuntimeError, "after step 10 ", lambda: trained(comm, callbacks=[Change()]))
    assert "alone: layers.0.W (" in error
    assert ";" not in error

    def draw(trainer):
        if last:
            trainer.rng.random()

    raises(RuntimeError, "the state of rng", lambda: trained(comm, callbacks=[draw]))
    fit = {"epochs": 150, "batch_size": None}
    raises(RuntimeError, "after step 100 ", lambda: trained(comm, callbacks=[Change()], fit=fit))


def turning():
    """A loss that stops being a mean over the rows is refused, though it began as one."""

    def flooding(outputs, y):
        return abs(tg.cross_entropy(outputs, y) - 1.09) + 1.09

    for epochs, when in ((3, 3), (150, 100)):
        net = tg.nn.Sequential(tg.nn.Linear(2, 3, rng=0))
        for p in net.parameters():
            p.data = p.data * 0
        sgd = tg.optim.SGD(net.parameters(), lr=0.5)
        trainer = tg.Trainer(net, sgd, flooding, comm=comm)
        raises(ValueError, f"after {when} steps", trainer.fit, X, y, epochs, progress=False)


def random_layers():
    """Layers that draw have streams of their own on each rank, and the ranks shuffle alike."""

    def run(kind, compiled):
        rng = kind(comm.rank)
        dropout = tg.nn.Dropout(0.5, rng)
        net = tg.nn.Sequential(tg.nn.Linear(2, 8, rng=rng), dropout, tg.nn.Linear(8, 3, rng=rng))
        adam = tg.optim.Adam(net.parameters())
        # The same generator shuffles.
        trainer = tg.Trainer(net, adam, comm=comm, rng=rng, compiled=compiled)
        trainer.fit(X, y, epochs=3, batch_size=6, progress=False)
        assert trainer.compiled == compiled
        return trainer.history.loss, dropout.rng.random()

    for kind, compiled in itertools.product(
        (np.random.default_rng, np.random.RandomState), (True, False)
    ):
        losses, next_number = run(kind, compiled)
        assert comm.allgather(losses) == [losses] * comm.size
        assert len(set(comm.allgather(next_number))) == comm.size
        assert run(kind, compiled) == (losses, next_number)


def command():
    """`python -m tinygrad_edu demo --mpi`, where nothing can be drawn, which takes long."""
    sys.modules["matplotlib"] = None
    assert main(["demo", "--mpi", "--steps", "3"]) == 0


def fails(where, rank):
    """The first or the last rank fails somewhere; the others would wait for it."""
    guilty = comm.rank == int(rank)

    def fail(now):
        if guilty and now == where:
            raise ValueError(f"an error in {now}")

    class Net(tg.nn.MLP):
        steps = 0

        def forward(self, x):
            if self.training and self.steps > 3:
                fail("the model")
            return super().forward(x)

    class Callback(tg.Callback):
        def on_step_end(self, trainer):
            trainer.model.steps += 1
            if trainer.model.steps == 4:
                fail("a callback")
                if where == "interrupted" and comm.rank == 0:
                    print("begun", flush=True)  # now the test presses Ctrl-C
                if guilty and where == "exit":
                    sys.exit("an error in exit")
                if guilty and where == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)

    net = Net((2, 6, 3), rng=0)
    sgd = tg.optim.SGD(net.parameters(), lr=0.1)
    if where == "left another":
        # Only this communicator has had a trainer so far.
        trained(comm.Dup())
        if guilty:
            sys.exit()
    if where == "all X":
        # In the first communicator each is rank 0, but in the one of the error only one is.
        tg.Trainer(net, sgd, comm=comm.Split(comm.rank))
    trainer = tg.Trainer(net, sgd, comm=comm, callbacks=[Callback()], compiled=False)
    fail("the program")
    if guilty and where == "left":
        sys.exit()
    data = X * np.nan if (guilty and where == "X") or where == "all X" else X
    if where == "interrupted":
        history = trainer.fit(data, y, epochs=10**6, progress=False)
        assert history.interrupted
        assert len(set(comm.allgather(len(history)))) == 1
        return
    trainer.fit(data, y, epochs=5, batch_size=5, progress=True)
    fail("the end")


if __name__ == "__main__":
    for name in sys.argv[1].split(","):
        globals()[name](*sys.argv[2:])
        if comm.rank == 0:
            print(f"{name}: done", flush=True)
