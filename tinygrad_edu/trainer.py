"""The training loop: minibatches, progress, validation, and what happens when it goes wrong."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from tinygrad_edu.batches import Batches
from tinygrad_edu.calculus import neural
from tinygrad_edu.data import Rng, finite_numbers, random_generator
from tinygrad_edu.hooks import Callback, History, as_callback, defines
from tinygrad_edu.nn import Embedding, Module, evaluating
from tinygrad_edu.nn.layers import at_least_1
from tinygrad_edu.optim import Optimizer
from tinygrad_edu.recording import mode, no_grad
from tinygrad_edu.state import settings, simple_attributes
from tinygrad_edu.tensor import Tensor, plain
from tinygrad_edu.tracing import CompileError
from tinygrad_edu.transforms import gradients

__all__ = ["Callback", "History", "Trainer", "TrainingDiverged"]


# More for one trainer than the sizes of minibatches call for.
_MOST_PROGRAMS = 12


class TrainingDiverged(FloatingPointError):
    """The loss became NaN or infinite; the message says at which step and what to try."""


class Trainer:
    """Trains a model with an optimiser.

    Args:
        model: the net.
        optimizer: an optimiser of its parameters.
        loss: a function (outputs of the model, y) -> one number. `predict` and `score` know
            `tg.cross_entropy` and `tg.binary_cross_entropy`, both on outputs without a softmax or
            sigmoid, as classifiers; they read the outputs of any other loss as numbers.
        l2: the weight of the penalty 0.5 * l2 * (sum of all squared weights), over the parameters
            of two axes and more; biases are left out.
        callbacks: `Callback` objects, or functions of the trainer, called after each epoch.
        rng: a seed or generator for the shuffling; see `tg.data`.
        compiled: whether the steps run as a compiled program, where the model and the loss can be
            compiled (see `tg.compile`); where not, one line in the log says why.
        comm: a communicator of mpi4py, such as `MPI.COMM_WORLD`, to train together with the
            Trainers that all other ranks make in the same way, each of which then computes a share
            of every minibatch: as many ranks as there are take the same steps as one. See the
            README; the extra `mpi` brings mpi4py and an MPI.

    Raises:
        ValueError: an l2 below 0, an optimiser of other parameters than the model's, or a comm of
            no process (MPI.COMM_NULL) or, of several, of this one alone (MPI.COMM_SELF).
        TypeError: something of another kind than is said here.

    Example:
        >>> import tinygrad_edu as tg
        >>> X, y = tg.data.spiral(rng=0)
        >>> net = tg.nn.MLP((2, 32, 3), rng=0)
        >>> trainer = tg.Trainer(net, tg.optim.Adam(net.parameters(), lr=0.02), rng=0)
        >>> history = trainer.fit(X, y, epochs=60, batch_size=50, progress=False)
        >>> trainer.score(X, y) > 0.9
        True
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        loss: Callable[[Any, Any], Any] = neural.cross_entropy,
        l2: float = 0.0,
        callbacks: Iterable[Callback | Callable[[Trainer], Any]] = (),
        rng: Rng = None,
        compiled: bool = True,
        comm: Any = None,
    ):
        if not 0 <= l2 < math.inf:
            raise ValueError(f"l2 must be a number of at least 0, got {l2!r}")
        if not isinstance(model, Module) or not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"a Trainer takes a tg.nn.Module and an optimiser of its parameters, as "
                f"tg.optim.Adam(net.parameters()); got {type(model)} and {type(optimizer)}"
            )
        if not callable(loss):
            raise TypeError(f"loss must be a function, as tg.mse is; got {loss!r}")
        if not isinstance(callbacks, Iterable):
            raise TypeError(f"callbacks must be a list, got {callbacks!r}")
        own = {id(p) for p in model.parameters()}
        if not own.intersection(id(p) for p in optimizer.params):
            raise ValueError(
                "the optimizer holds none of the model's parameters: make it with "
                "model.parameters() of this very model"
            )
        self.model = model
        self.optimizer = optimizer
        self.loss = loss
        self.l2 = l2
        self.callbacks = [as_callback(callback) for callback in callbacks]
        self.rng = random_generator(rng)
        self.history = History()
        self._stopping = False
        self._watched = True
        self._in_place = False
        self.compiled = compiled
        self._program: Any = None
        self._parts: list[Any] = []
        self._weights: list[tuple[np.ndarray, np.ndarray]] = []
        self._parallel = None if comm is None else _data_parallel(comm)
        self._batches: Batches | None = None
        # What a checkpoint said of the epoch that was under way, and of the data.
        self._begun: tuple[np.ndarray | None, dict[str, str]] | None = None
        # The settings that model and optimiser had before the training changed any.
        self._made_with: dict[str, Any] | None = None
        self.planned = 0, 0
        self.resumed_from: str | None = None

    @property
    def is_main(self) -> bool:
        """Whether this is the one Trainer that shows progress and writes files.

        Of several ranks of MPI it is rank 0; callbacks are called on all of them, and look at this
        before they write.
        """
        return self._parallel is None or self._parallel.job.rank == 0

    def stop(self) -> None:
        """Ends the training after the step that is under way, on all ranks."""
        if self._parallel is None:
            self._stopping = True
        else:
            self._parallel.asked = True

    def interrupt(self) -> None:
        """What Ctrl-C does: ends the training and notes in the history that it was cut short."""
        self.history.interrupted = True
        self.stop()

    def fit(
        self,
        X: Any,
        y: Any,
        epochs: int,
        batch_size: int | None = None,
        shuffle: bool = True,
        validation: tuple[Any, Any] | None = None,
        progress: bool = True,
        resume: bool = False,
    ) -> History:
        """Trains for a number of epochs and returns the history of all that this trainer did.

        The model is in training mode for the steps and in evaluation mode where it is measured, and
        so it is left: afterwards `model(X)` says the same as `predict`.

        Ctrl-C ends the training after the step under way; model and history stay usable. Pressed
        twice it ends the program.

        Args:
            X: one row for each sample: an array, a list or a pandas frame of finite numbers.
            y: what `loss` compares the outputs with, of the same length.
            epochs: how often every sample is used.
            batch_size: how many samples a step uses; `None` for all of them. The last batch of
                an epoch may be smaller.
            shuffle: whether the minibatches are drawn anew, without replacement, in each epoch.
            validation: a pair (X, y) to be measured at the end of each epoch.
            progress: whether to show a progress bar.
            resume: whether to go on with the training that the `tg.Checkpoint` among the callbacks
                has kept, if there is one. Then `epochs` are those of this training in all, so that
                a script that was killed is simply started again.

        Raises:
            ValueError, TypeError: data that cannot be trained on, or a batch size or a number of
                epochs below 1; data that are not those of the training to go on with, or
                `resume=True` without a `tg.Checkpoint`; before any step is taken.
            TrainingDiverged: the loss became NaN or infinite. The Tensors of the model and the
                optimiser, with its learning rate, are then as they were before this call.
        """

        def prepared() -> tuple[Batches, int]:
            in_all = at_least_1("epochs", epochs)
            with self._resumed_by_callback() if resume else contextlib.nullcontext():
                batches = self._prepared(X, y, batch_size, shuffle, validation)
            return batches, max(in_all - resume * len(self.history.epoch_ends), 0)

        if self._parallel is None:
            batches, left = prepared()
            return self._train(batches, left, progress)
        with self._parallel.job.ended_by_errors():
            batches, left = self._parallel.start(self, prepared)
            return self._train(batches, left, progress and self.is_main)

    def _prepared(
        self, X: Any, y: Any, batch_size: int | None, shuffle: bool, validation: Any
    ) -> Batches:
        """What `_train` is given, after a look at all of it."""
        X, y = self._checked(X, y, "X", "y")
        if validation is not None:
            if not isinstance(validation, (tuple, list)) or len(validation) != 2:
                raise TypeError("validation must be a pair (X, y)")
            X_validation, y_validation = validation
            validation = self._checked(X_validation, y_validation, "validation X", "validation y")
            self._score(self._outputs(validation[0]), validation[1], math.nan)
        size = len(X) if batch_size is None else min(at_least_1("batch_size", batch_size), len(X))
        batches = Batches(X, y, size, shuffle, validation)
        if self._begun is not None:
            batches.go_on(*self._begun)
        return batches

    def _train(self, batches: Batches, epochs: int, progress: bool) -> History:
        """The steps of `fit`."""
        from tqdm.auto import tqdm

        validation = batches.validation
        share = None if self._parallel is None else self._parallel.share
        self._begun, self._batches = None, batches
        before = self._learned()
        self._stopping = self.history.interrupted = False
        self._watched = True
        state = None
        steps = batches.steps(epochs)
        self.planned = len(self.history.epoch_ends) + epochs, len(self.history) + steps
        if self._made_with is None:
            self._made_with = settings(self.model, self.optimizer)
        bar = tqdm(total=steps, disable=not progress, unit="step")
        self.model.train()
        try:
            with _ctrl_c_after_the_step(self), np.errstate(**_silent()):
                self._start_callbacks()
                for _ in range(epochs):
                    if self._stopping:
                        break
                    if batches.order is None:  # otherwise an epoch of a checkpoint goes on
                        self.history.epoch_starts[len(self.history.epoch_ends) :] = [
                            len(self.history)
                        ]
                    for start in batches.starts():
                        for callback in self.callbacks:
                            callback.on_step_start(self)
                        if self._parallel is not None and self._is_seen():
                            self._parallel.agree_to_stop(self)
                        X_batch, y_batch = batches.at(start, self.rng, share)
                        if self._stopping:
                            break
                        state = self._step(X_batch, y_batch), y_batch, validation is not None
                        batches.position = start + batches.size
                        if bar.update():
                            bar.set_postfix_str(self._summary(*state), refresh=False)
                    else:
                        batches.end_epoch()
                        self._end_epoch(validation)
                if self._parallel is not None:
                    self._parallel.finish(self)
                if not all(np.isfinite(p.data).all() for p in self.optimizer.params):
                    raise self._diverged("out of range after the update")
                for callback in self.callbacks:
                    callback.on_fit_end(self)
                if self._parallel is not None:
                    # No rank goes on before the first has written what is kept of this fit.
                    self._parallel.compare(self)
            if self._stopping and not self.history.interrupted:
                bar.total = bar.n
            if state is not None and progress:
                bar.set_postfix_str(self._summary(*state))
            if self.history.interrupted and self.is_main:
                bar.write(f"interrupted after step {len(self.history)}", sys.stderr)
        except FloatingPointError:
            tensors, memory, hyperparameters = before
            for tensor, data in tensors:
                tensor.data = data
            self.optimizer.load_state_dict(memory)
            vars(self.optimizer).update(hyperparameters)
            raise
        finally:
            bar.close()
            self._batches = None
            self.model.eval()
            self.optimizer.hand_out_gradients()
        return self.history

    def _learned(self) -> tuple[list[tuple[Tensor, np.ndarray]], dict[str, Any], dict[str, Any]]:
        """Copies of all Tensors, of what the optimiser remembers, and of its hyperparameters."""
        tensors = [*self.optimizer.params, *(t for _, t in self.model.named_parameters())]
        copies = {id(t): (t, np.array(t.data)) for t in tensors}
        own = vars(self.optimizer)
        hyperparameters = {name: own[name] for name in simple_attributes(self.optimizer)}
        return list(copies.values()), self.optimizer.state_dict(), hyperparameters

    def _start_callbacks(self) -> None:
        def start() -> None:
            for callback in self.callbacks:
                callback.on_fit_start(self)

        if self._parallel is None:
            start()
        else:
            self._parallel.job.on_all("the start of callbacks", start)
            self._parallel.agree_to_stop(self)

    def resume(self, path: str | os.PathLike[str], missing_ok: bool = False) -> bool:
        """Puts this trainer into the state in which a `tg.Checkpoint` was written.

        That is: the parameters and all other Tensors of the model, what the optimiser remembers and
        its hyperparameters, the states of the generators of the trainer and of the model's layers,
        the history, and what callbacks remember, each by its class. The training then goes on as if
        it had not been interrupted, to the last bit: a next fit first completes the epoch that was
        under way, as the first of its `epochs`.

        Args:
            path: the file.
            missing_ok: whether it is no error if there is none.

        Returns:
            whether there was one.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged or no checkpoint, or it was written with another model,
                optimiser, loss or l2, or the optimiser was made with other settings. The trainer is
                then as it was. Other data are refused by the next fit.

        Example:
            >>> import os, tempfile
            >>> import tinygrad_edu as tg
            >>> X, y = tg.data.spiral(rng=0)
            >>> path = os.path.join(tempfile.mkdtemp(), "run.npz")
            >>> def trainer():
            ...     net = tg.nn.MLP((2, 8, 3), rng=0)
            ...     adam = tg.optim.Adam(net.parameters(), lr=0.02)
            ...     return tg.Trainer(net, adam, callbacks=[tg.Checkpoint(path)], rng=0)
            >>> history = trainer().fit(X, y, epochs=3, batch_size=50, progress=False)
            >>> another = trainer()
            >>> another.resume(path)
            True
            >>> another.fit(X, y, epochs=2, batch_size=50, progress=False)
            <history of 30 steps in 5 epochs, ...>
        """
        from tinygrad_edu import checkpoint

        if missing_ok and not os.path.exists(path):
            return False
        checkpoint.load(self, path)
        self.resumed_from = os.fspath(path)
        return True

    @contextlib.contextmanager
    def _resumed_by_callback(self) -> Iterator[None]:
        """A context in which the training of the `tg.Checkpoint` goes on, if nothing is refused."""
        from tinygrad_edu import checkpoint
        from tinygrad_edu.callbacks import Checkpoint

        paths = [c.path for c in self.callbacks if isinstance(c, Checkpoint)]
        if not paths:
            raise ValueError(
                "resume=True needs to know where the training is kept: give the Trainer "
                "callbacks=[..., tg.Checkpoint(path)]"
            )
        before, resumed_from = checkpoint.captured(self), self.resumed_from
        self.resume(paths[0], missing_ok=True)
        try:
            yield
        except Exception:
            checkpoint.put_back(self, before)
            self.resumed_from = resumed_from
            raise

    def _step(self, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        """One step of training; returns the outputs from before it."""
        # In debug mode each operation is looked at, which a program does not do.
        by_program = self.compiled and not mode.watched
        if self._parallel is None or len(X):
            value, outputs = (self._by_program if by_program else self._by_backward)(X, y)
        else:  # this rank has none of the rows
            value, outputs = self._parallel.summed(self, 0.0, by_tape=True), X
        if not math.isfinite(value):
            raise self._diverged(str(value))
        self.history.loss.append(value)
        for callback in self.callbacks:
            callback.on_gradients(self)
        if by_program and not self._watched:
            self.optimizer.step_again()
        else:
            self.optimizer.step()
            # From here to the end of a fit only callbacks can put in another array or Tensor.
            steady = by_program and self._in_place and self.optimizer.updates_all_alike
            self._watched = not steady or self._is_seen()
        for callback in self.callbacks:
            callback.on_step_end(self)
        return outputs

    def _by_backward(self, X: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss and the outputs, with the gradients in `.grad`, by a tape and its walk back."""
        outputs = self.model(X)
        loss = self._penalised(self.loss(outputs, y))
        value = _one_number(loss)
        if not isinstance(loss, Tensor):
            raise TypeError(
                f"the loss is {type(loss)}, which no gradient can flow through: compute model and "
                f"loss with NumPy functions, without .numpy(), .data or .item()"
            )
        self.optimizer.zero_grad()
        loss.backward()
        if self._parallel is not None:
            value = self._parallel.summed(self, value, by_tape=True)
        return value, plain(outputs)

    def _by_program(self, X: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
        """The same by a compiled program, which writes where the optimiser reads the gradients."""
        try:
            if self._watched:
                self._in_place = self.optimizer.take_over()
                parts = [self.model, self.loss, self.optimizer]
                if self._program is None or self._parts != parts:
                    self._program, self._parts = self._compiled(), parts
                else:
                    self._program.check()
            value, outputs = self._program(X, y)[:2]
            if self._program.written > _MOST_PROGRAMS:
                raise CompileError("the model has to be compiled again and again, as it changes")
        except CompileError as error:
            self.compiled = False
            if self.is_main:
                _logger().warning("training without a compiled program: %s", error)
            self._watched = True
            return self._by_backward(X, y)
        except FloatingPointError:  # of a gradient; whether the loss is to blame is seen there
            self._watched = True
            return self._by_backward(X, y)
        if self._watched:
            self._weights = self.optimizer.weights() if self.l2 else []
        for w, g in self._weights:
            value += 0.5 * self.l2 * np.vdot(w, w)
            g += self.l2 * w
        if self._parallel is not None:
            value = self._parallel.summed(self, float(value), by_tape=False)
        if self._watched:
            # What others see is theirs; the arrays of the optimiser are written anew by each step.
            self.optimizer.use_gradients(as_copies=self._is_seen())
        return float(value), outputs

    def _compiled(self) -> Any:
        """The program: loss, outputs, and the gradients of all parameters into their places."""
        from tinygrad_edu.compiler.compiled import Compiled

        model, loss, params = self.model, self.loss, self.optimizer.params

        def step(X: Any, y: Any) -> Any:
            outputs = model(X)
            value = loss(outputs, y)
            found = gradients(value, params)
            if any(g is None for g in found):
                raise CompileError("a parameter has no influence on the loss")
            return value, outputs, *found

        into = [None, None, *self.optimizer.gradients]
        return Compiled(step, reuse_outputs=True, into=into, watched=False)

    def __getstate__(self) -> dict[str, Any]:
        fresh: dict[str, Any] = {
            "_program": None,
            "_weights": [],
            "_watched": True,
            "_batches": None,
        }
        return vars(self) | fresh

    def _penalised(self, loss: Any) -> Any:
        if self.l2 == 0:
            return loss
        weights = [p for p in self.optimizer.params if p.ndim >= 2]
        return loss + 0.5 * self.l2 * neural.sum_of_squares(*weights)

    def _end_epoch(self, validation: tuple[np.ndarray, np.ndarray] | None) -> None:
        self.history.epoch_ends.append(len(self.history))
        if validation is not None:
            X, y = validation

            def measured(outputs: Any) -> tuple[float, float]:
                loss = self._penalised(self.loss(outputs, y))
                return _one_number(loss), self._score(plain(outputs), y, math.nan)

            with no_grad(), evaluating(self.model):
                if self._parallel is None:
                    loss, score = measured(self.model(X))
                else:
                    loss, score = self._parallel.measured(self.model, X, measured)
            self.history.validation_steps.append(len(self.history))
            self.history.validation_loss.append(loss)
            self.history.validation_score.append(score)
        if self.callbacks and not all(c.leaves_tensors_alone for c in self.callbacks):
            self.optimizer.hand_out_gradients()
            self._watched = True
        for callback in self.callbacks:
            callback.on_epoch_end(self)
        if self._parallel is not None and self.callbacks:
            self._parallel.agree_to_stop(self)

    def _is_seen(self) -> bool:
        """Whether callbacks may look at gradients, or change something, in each step."""
        return any(
            not callback.leaves_tensors_alone and defines(callback, hook)
            for callback in self.callbacks
            for hook in ("on_step_start", "on_gradients", "on_step_end")
        )

    def objective(self, X: Any, y: Any) -> Tensor:
        """What training lowers: the loss of the model on X and y, with the L2 penalty.

        In evaluation mode, so that it is the same each time, as `predict` and `score` are.
        """
        with evaluating(self.model):
            return self._penalised(self.loss(self.model(X), y))

    def predict(self, X: Any) -> np.ndarray:
        """What the model says of each row of X.

        For `cross_entropy` the most likely class (n,), for `binary_cross_entropy` 0 or 1 for each
        output, otherwise the outputs themselves.

        Raises:
            ValueError, TypeError: X that is not rows of finite numbers.
        """
        return self._decided(self._outputs(self._checked_X(X, "X")))

    def score(self, X: Any, y: Any) -> float:
        """How good the predictions are: at best 1.

        The share of right classes (accuracy) for `cross_entropy` and `binary_cross_entropy`; for
        other losses the coefficient of determination R^2 = 1 - sum((y - p)^2) / sum((y - mean)^2).

        Raises:
            ValueError, TypeError: data that does not go together.
        """
        X, y = self._checked(X, y, "X", "y")
        return self._score(self._outputs(X), y)

    def _outputs(self, X: np.ndarray) -> np.ndarray:
        with no_grad(), evaluating(self.model):
            outputs = plain(self.model(X))
        if not isinstance(outputs, np.ndarray) or outputs.shape[:1] != X.shape[:1]:
            shown = f"shape {outputs.shape}" if isinstance(outputs, np.ndarray) else type(outputs)
            raise TypeError(f"the model must return one row for each of {len(X)}, got {shown}")
        return outputs

    def _decided(self, outputs: np.ndarray) -> np.ndarray:
        if self.loss is neural.cross_entropy:
            return outputs.argmax(axis=-1)
        if self.loss is neural.binary_cross_entropy:
            return (outputs > 0).astype(int)
        return outputs

    def _is_classifier(self) -> bool:
        return self.loss in (neural.cross_entropy, neural.binary_cross_entropy)

    def _score(self, outputs: np.ndarray, y: np.ndarray, otherwise: float | None = None) -> float:
        """The score, or `otherwise` where outputs and y cannot be compared one by one."""
        decided = self._decided(outputs)
        if self._is_classifier():
            return float(np.mean(decided == (y if y.dtype.kind != "f" else y > 0.5)))
        if decided.shape != y.shape:
            if otherwise is not None:
                return otherwise
            raise ValueError(
                f"there is no score of outputs of shape {decided.shape} against y of shape "
                f"{y.shape}: under a loss of one's own outputs are read as numbers, which need the "
                f"shape of y; only tg.cross_entropy and tg.binary_cross_entropy mean classes"
            )
        total = np.sum(np.square(y - y.mean(axis=0)))
        rest = np.sum(np.square(y - decided))
        return float(1 - rest / total) if total else float(rest == 0)

    def _summary(self, outputs: np.ndarray, y: np.ndarray, validated: bool) -> str:
        text = f"loss {self.history.loss[-1]:.4f}"
        if self._is_classifier():
            text += f", accuracy {self._score(outputs, y):.2f}"
        if validated and self.history.validation_loss:
            text += f", validation {self.history.validation_loss[-1]:.4f}"
        return text

    def _checked_X(self, X: Any, name: str) -> np.ndarray:
        X = finite_numbers(X, name)
        if X.ndim < 2:
            raise ValueError(
                f"{name} must have one row for each sample, got shape {X.shape}: reshape(-1, 1) "
                f"makes rows of single values, reshape(1, -1) one row of all"
            )
        return finite_numbers(X, name, self.optimizer.params[0].dtype)

    def _checked(self, X: Any, y: Any, X_name: str, y_name: str) -> tuple[np.ndarray, np.ndarray]:
        """X and y as arrays of numbers that the model and the loss accept."""
        X, y = self._checked_X(X, X_name), finite_numbers(y, y_name)
        if y.ndim == 0 or len(X) != len(y):
            raise ValueError(
                f"{X_name} and {y_name} must have the same length, got shapes {X.shape} and "
                f"{y.shape}"
            )
        if len(X) == 0:
            raise ValueError(f"{X_name} has no rows (shape {X.shape})")
        if y.dtype.kind == "f":
            y = finite_numbers(y, y_name, X.dtype)
        # The loss itself knows best which y it accepts: ask it once for all of them, with the
        # outputs of one row in place of all.
        # An Embedding refuses some numbers: only a look at all rows finds them before any step.
        embeds = any(isinstance(module, Embedding) for _, module in self.model.named_modules())
        first = self._outputs(X if embeds else X[:1])[:1]
        _one_number(self.loss(Tensor(np.broadcast_to(first, (len(X), *first.shape[1:]))), y))
        return X, y

    def _diverged(self, what: str) -> TrainingDiverged:
        error = TrainingDiverged(self._advice(what))
        return error if self._parallel is None else self._parallel.shared(error)

    def _advice(self, what: str) -> str:
        last = f"; the step before it had {self.history.loss[-1]:.6g}" if self.history.loss else ""
        largest = max(np.max(np.abs(p.data)) for p in self.optimizer.params)
        return (
            f"the loss became {what} at step {len(self.history)}{last} (largest parameter now "
            f"{largest:.3g}). The parameters are back at what they were before this fit. Try a "
            f"smaller learning rate (now {self.optimizer.lr:g}), data scaled to about -1..1, "
            f"smaller initial weights, or a loss on logits (cross_entropy) in place of log(softmax)"
        )


@contextlib.contextmanager
def _ctrl_c_after_the_step(trainer: Trainer) -> Iterator[None]:
    """Lets Ctrl-C wait for the end of a step; pressed twice, it does not wait.

    Between two parameters of an update the model would be neither before nor after the step.
    """

    def wait(number: int, frame: Any) -> None:
        if trainer.history.interrupted:
            raise KeyboardInterrupt
        trainer.interrupt()

    # Only the main thread gets signals, and may say what happens then. Programs that run in the
    # background of a shell script ignore Ctrl-C, and go on ignoring it.
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return
    outer = signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        # None stands for a handler that was not set from Python and cannot be named here.
        signal.signal(signal.SIGINT, signal.SIG_DFL if outer is None else outer)


def _data_parallel(comm: Any) -> Any:
    # Most train without, and the package is imported as fast as NumPy is.
    from tinygrad_edu.parallel import DataParallel

    return DataParallel(comm)


def _logger() -> Any:
    import logging

    return logging.getLogger(__package__)


def _silent() -> dict[str, Any]:
    """NumPy's error state without warnings, since a diverging loss is reported anyway."""
    return {kind: "ignore" if how == "warn" else how for kind, how in np.geterr().items()}


def _one_number(loss: Any) -> float:
    if not isinstance(loss, (Tensor, np.ndarray, np.generic)) or np.size(plain(loss)) != 1:
        shown = f"shape {np.shape(plain(loss))}" if hasattr(loss, "shape") else type(loss)
        raise TypeError(f"the loss must be one number, a Tensor, got {shown}: take its mean")
    return plain(loss).item()
