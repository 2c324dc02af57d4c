"""Data-parallel training: every rank computes the gradient of its share of each minibatch.

With b_r of the B rows of a batch on rank r, and the loss a mean over rows, the loss of the batch is
sum_r b_r / B * loss_r, and its gradient the same sum of gradients. So all ranks take the same step:

    rank 0   rows 0..3   4/10 * gradient of these
    rank 1   rows 4..6   3/10 * gradient of these   -> Allreduce: their sum, on every rank -> update
    rank 2   rows 7..9   3/10 * gradient of these

What is summed is the optimiser's vector of gradients, with a few values behind it:

    [ dW1 | dW2 | db1 | db2 | loss | stop | which parameters have a gradient ]

The MPI standard requires that an Allreduce gives all ranks identical results (version 3.1, section
5.9.6), and an update is the same arithmetic on all of them, so the parameters stay the same to the
last bit. That is not only believed: every so often the ranks compare checksums.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tinygrad_edu.batches import Batches
from tinygrad_edu.nn import Module
from tinygrad_edu.optim import Optimizer
from tinygrad_edu.parallel import alike
from tinygrad_edu.parallel.job import Job
from tinygrad_edu.parallel.shares import check_loss, check_shares, tried_rows
from tinygrad_edu.state import described
from tinygrad_edu.tensor import plain

if TYPE_CHECKING:
    from tinygrad_edu.trainer import Trainer

__all__ = ["DataParallel"]

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

# After so many steps the ranks compare their parameters.
_COMPARED = 100


class DataParallel:
    """What a Trainer needs to train together with the Trainers of the other ranks.

    Args:
        comm: a communicator of mpi4py, such as `MPI.COMM_WORLD`.

    Attributes:
        job: the ranks.
        asked: whether somebody on this rank has asked to stop; all ranks hear of it with the next
            step.

    Raises:
        TypeError: something else than a communicator.
        ValueError: MPI.COMM_NULL, or MPI.COMM_SELF in a job of several processes.
    """

    def __init__(self, comm: Any):
        self.job = Job(comm)
        self.asked = False
        self._weight = 0.0
        self._optimizer: Optimizer | None = None
        self._messages: list[np.ndarray] = []
        self._tried: tuple[np.ndarray, np.ndarray]

    def __getstate__(self) -> dict[str, Any]:
        # A copied optimiser has other vectors.
        return {**vars(self), "_optimizer": None, "_messages": []}

    def share(self, rows: int) -> slice:
        """The rows of a batch that are this rank's; the first ranks may have one more."""
        each, more = divmod(rows, self.job.size)
        start = self.job.rank * each + min(self.job.rank, more)
        stop = start + each + (self.job.rank < more)
        self._weight = (stop - start) / rows
        return slice(start, stop)

    def start(
        self, trainer: Trainer, prepare: Callable[[], tuple[Batches, int]]
    ) -> tuple[Batches, int]:
        """What `prepare` returns, after all ranks have agreed on it and begin alike.

        Parameters, what the optimiser remembers and the generator for shuffling are rank 0's from
        here on. Layers that draw random numbers have a stream of their own on each rank.

        Args:
            trainer: whose fit begins.
            prepare: checks the data and returns their minibatches, and how many epochs to train.

        Raises:
            ValueError: the ranks were given different things, or the loss or the model cannot be
                computed in shares. It is raised on all ranks, as are errors of `prepare` that all
                ranks have; one that only some have ends the job.
        """
        self.asked = False
        batches, epochs = self.job.on_all("the beginning of fit", prepare)
        otherwise = ValueError(
            "every rank must be given the same settings and all of the data, but they differ in "
        )
        rest = {"epochs": repr(epochs), "the rest of an epoch": described(batches.rest())}
        facts = alike.facts(trainer, batches.facts() | rest)
        self.job.agree("the comparison of settings", facts, otherwise)
        first = alike.state(trainer) if self.job.rank == 0 else None
        alike.take_over(trainer, self.job.comm.bcast(first), self.job.rank)
        rows = tried_rows(batches.y)
        self._tried = batches.X[rows], batches.y[rows]
        self.job.on_all("the trial of shares", lambda: check_shares(trainer, *self._tried))
        return batches, epochs

    def summed(self, trainer: Trainer, loss: float, by_tape: bool) -> float:
        """The loss of the whole batch, whose gradients are then in the optimiser's `gradients`.

        Args:
            trainer: who takes the step.
            loss: that of this rank's rows.
            by_tape: whether the gradients are in `.grad` instead, and are wanted there.
        """
        steps = len(trainer.history)
        if steps % _COMPARED == 0 and steps:
            self.compare(trainer)
            # After 1, 2, 4, 8, ... times a hundred steps: a loss that was a mean of its parts at
            # the beginning may be none later.
            times = steps // _COMPARED
            if times & (times - 1) == 0:
                self._try_loss(trainer)
        optimizer, weight = trainer.optimizer, self._weight
        if optimizer is not self._optimizer:
            self._optimizer = optimizer
            # The most exact one has the loss.
            self._messages = sorted(optimizer.messages(), key=lambda m: -m.dtype.itemsize)
        tail = self._messages[0][-2 - len(optimizer.params) :]
        has_gradient: Any = True
        if by_tape and weight:
            has_gradient = [p.grad is not None for p in optimizer.params]
            for p, g in zip(optimizer.params, optimizer.gradients, strict=True):
                g[...] = 0 if p.grad is None else plain(p.grad)
        for message in self._messages:
            if weight:
                message *= weight
            else:
                message[:] = 0
        tail[:2] = loss * weight, self.asked
        if weight:
            tail[2:] = has_gradient
        for message in self._messages:
            self._add_up(message)
        value, asked, *counts = tail.tolist()
        if asked:
            trainer._stopping = True
        if by_tape:
            optimizer.use_gradients(as_copies=True)
            for p, count in zip(optimizer.params, counts, strict=True):
                if not count:
                    p.zero_grad()
        return value

    def agree_to_stop(self, trainer: Trainer) -> None:
        """Lets all ranks stop if anybody on any of them has asked for it."""
        asked = np.array([self.asked, trainer.history.interrupted], float)
        self._add_up(asked)
        trainer._stopping |= bool(asked[0])
        trainer.history.interrupted |= bool(asked[1])

    def _add_up(self, vector: np.ndarray) -> None:
        from mpi4py import MPI

        self.job.comm.Allreduce(MPI.IN_PLACE, vector)

    def compare(self, trainer: Trainer) -> None:
        """Makes sure that the ranks have the same parameters.

        Raises:
            RuntimeError: they have not; on all ranks.
        """
        otherwise = RuntimeError(
            f"the ranks took the same steps, but after step {len(trainer.history)} they are not "
            f"alike, as if a callback or the model had changed something on one of them alone: "
        )
        self.job.agree("the comparison of parameters", alike.checksums(trainer), otherwise)

    def _try_loss(self, trainer: Trainer) -> None:
        self.job.on_all("the trial of the loss", lambda: check_loss(trainer, *self._tried))

    def shared(self, error: E) -> E:
        """An error that all ranks raise at this place."""
        return self.job.shared(error)

    def finish(self, trainer: Trainer) -> None:
        """The end of the steps of a fit."""
        self.compare(trainer)
        self._try_loss(trainer)
        self.agree_to_stop(trainer)

    def measured(self, model: Module, X: np.ndarray, measure: Callable[[Any], T]) -> T:
        """What rank 0 measures of the outputs for all rows, of which each rank computes some."""
        rows = self.share(len(X))
        comm = self.job.comm
        parts = comm.gather(plain(model(X[rows])) if rows.stop > rows.start else None)
        if self.job.rank:
            return comm.bcast(None)
        return comm.bcast(measure(np.concatenate([part for part in parts if part is not None])))
