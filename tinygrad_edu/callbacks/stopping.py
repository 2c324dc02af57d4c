"""What ends a training in time: the best epoch, and early stopping."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_edu.nn.layers import at_least_1
from tinygrad_edu.optim.optimizer import number
from tinygrad_edu.trainer import Callback, History, Trainer

__all__ = ["Best", "EarlyStopping", "epoch_loss"]


def epoch_loss(history: History) -> float:
    """The validation loss of the last epoch, or the mean loss of its steps if it has none."""
    if history.validation_steps and history.validation_steps[-1] == len(history):
        return history.validation_loss[-1]
    return history.mean_loss(len(history.epoch_ends))


class Best:
    """The epoch with the lowest loss so far, and the Tensors of the model at its end.

    Attributes:
        loss, epoch: that loss, and which epoch of the history it was, from 1; 0 before the first.
        weights: what `model.state_dict()` was then, if it was seen.
    """

    def __init__(self) -> None:
        self.loss, self.epoch = math.inf, 0
        self.weights: dict[str, np.ndarray] = {}

    def saw(self, trainer: Trainer, min_delta: float = 0.0) -> bool:
        """Whether the epoch that has ended is better than all before, by more than `min_delta`."""
        loss = epoch_loss(trainer.history)
        if not loss < self.loss - min_delta:
            return False
        self.loss, self.epoch = loss, len(trainer.history.epoch_ends)
        self.weights = trainer.model.state_dict()
        return True


class EarlyStopping(Callback):
    """Ends the training when it no longer gets better, and puts back the weights of the best epoch.

    It watches the validation loss, or without validation the mean loss of each epoch. An epoch is
    better if this is below the best so far by more than `min_delta`. After `patience` epochs in a
    row that are not, the training ends. Whenever a fit ends, also by `trainer.stop()` or Ctrl-C or
    because its epochs are over, the Tensors of the model are those of the best epoch, unless
    `restore_best=False`.

    Each fit begins anew, unless it goes on with a checkpoint: then with the weights, the best epoch
    and the patience with which that training ended.

    Args:
        patience: how many epochs may pass without a better one.
        min_delta: by how much an epoch must be better.
        restore_best: whether the weights of the best epoch are put back.

    Attributes:
        best_loss, best_epoch: of the best epoch so far, counted from 1 in `trainer.history`.
        wait: how many epochs have passed since.

    Raises:
        ValueError: a patience that is no whole number of at least 1, or a min_delta below 0.

    Example:
        >>> import tinygrad_edu as tg
        >>> X, y = tg.data.spiral(rng=0)
        >>> net = tg.nn.MLP((2, 32, 3), rng=0)
        >>> stopping = EarlyStopping(patience=5)
        >>> trainer = tg.Trainer(net, tg.optim.Adam(net.parameters(), lr=0.1), callbacks=[stopping])
        >>> history = trainer.fit(X, y, 500, validation=tg.data.spiral(rng=1), progress=False)
        >>> len(history.epoch_ends) - stopping.best_epoch
        5
        >>> float(trainer.objective(*tg.data.spiral(rng=1)).data) == stopping.best_loss
        True
    """

    leaves_tensors_alone = True

    def __init__(self, patience: int = 10, min_delta: float = 0.0, restore_best: bool = True):
        self.patience = at_least_1("patience", patience)
        self.min_delta = number("min_delta", min_delta, "of at least 0")
        self.restore_best = bool(restore_best)
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._best = Best()
        self.wait = 0
        self._last: dict[str, np.ndarray] = {}
        self._goes_on = False

    @property
    def best_loss(self) -> float:
        """The loss of the best epoch so far."""
        return self._best.loss

    @property
    def best_epoch(self) -> int:
        """Which epoch that was, counted from 1; 0 before the first."""
        return self._best.epoch

    def on_fit_start(self, trainer: Trainer) -> None:
        """Forgets earlier fits, but for one that is resumed."""
        if not self._goes_on:
            self._begin_anew()
        self._goes_on = False
        if self._last:
            trainer.model.load_state_dict(self._last)
            self._last = {}
        self._look(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Keeps the weights of a better epoch, or counts one that is not."""
        self.wait = 0 if self._best.saw(trainer, self.min_delta) else self.wait + 1
        self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        if self.wait >= self.patience:
            trainer.stop()

    def on_fit_end(self, trainer: Trainer) -> None:
        """Puts back the weights of the best epoch."""
        if self.restore_best and self._best.weights:
            self._last = trainer.model.state_dict()
            trainer.model.load_state_dict(self._best.weights)

    def state_dict(self) -> dict[str, Any]:
        """The best epoch, the patience that is used up, and the weights that were replaced."""
        state: dict[str, Any] = {f"best.{name}": a for name, a in self._best.weights.items()}
        state |= {f"last.{name}": array for name, array in self._last.items()}
        loss = self._best.loss if self._best.epoch else None
        return {**state, "loss": loss, "epoch": self._best.epoch, "wait": self.wait}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        best = Best()
        best.epoch, self.wait = int(state["epoch"]), int(state["wait"])
        best.loss = float(state["loss"]) if best.epoch else math.inf
        best.weights = _part(state, "best.")
        self._best, self._last, self._goes_on = best, _part(state, "last."), True


def _part(state: Mapping[str, Any], start: str) -> dict[str, Any]:
    return {key.removeprefix(start): a for key, a in state.items() if key.startswith(start)}
