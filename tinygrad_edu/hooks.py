"""What watches a training: its history, and callbacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tinygrad_edu.trainer import Trainer

__all__ = ["Callback", "History", "as_callback", "defines"]


class History:
    """What happened in training.

    Attributes:
        loss: the loss of every step, L2 penalty included, measured before its update.
        epoch_starts: how many steps had been taken before each epoch, also before one that has
            begun but not ended. Steps of an epoch that was broken off belong to none.
        epoch_ends: how many steps had been taken at the end of each epoch.
        validation_steps: how many steps had been taken when the validation data were measured.
        validation_loss: the loss on the validation data then, L2 penalty included.
        validation_score: `Trainer.score` on the validation data then; NaN if there is none, as
            for classes under a loss of one's own.
        interrupted: whether the last `fit` was stopped by Ctrl-C.
    """

    def __init__(self) -> None:
        self.loss: list[float] = []
        self.epoch_starts: list[int] = []
        self.epoch_ends: list[int] = []
        self.validation_steps: list[int] = []
        self.validation_loss: list[float] = []
        self.validation_score: list[float] = []
        self.interrupted = False

    def __len__(self) -> int:
        return len(self.loss)

    def mean_loss(self, epoch: int) -> float:
        """The mean of `loss` over the steps of an epoch, counted from 1."""
        losses = self.loss[self.epoch_starts[epoch - 1] : self.epoch_ends[epoch - 1]]
        return float(np.mean(losses))

    def plot(self, ax: Any = None, logarithmic: bool = False) -> Any:
        """Draws the losses over the steps into matplotlib axes and returns those.

        Raises:
            ModuleNotFoundError: matplotlib is missing; the extra `plot` brings it.
        """
        from tinygrad_edu import plot

        return plot.losses(self, ax, logarithmic)

    def __repr__(self) -> str:
        end = f", loss {self.loss[0]:.6g} -> {self.loss[-1]:.6g}" if self.loss else ""
        if self.validation_loss:
            end += f", validation {self.validation_loss[-1]:.6g} at {self.validation_steps[-1]}"
        stop = ", interrupted" if self.interrupted else ""
        return f"<history of {len(self)} steps in {len(self.epoch_ends)} epochs{end}{stop}>"


class Callback:
    """What may be done while a Trainer trains; subclasses define the methods that they need.

    The trainer shows `model`, `optimizer`, `history`, the loss of the step as `history.loss[-1]`,
    and `planned`, how many epochs and steps there will have been at the end of the fit;
    `trainer.stop()` ends the training after the step. Callbacks are called in the order in which
    the trainer was given them. Those that write files do so on the main rank alone,
    `trainer.is_main`.

    `tg.callbacks` has those that are there.

    Attributes:
        leaves_tensors_alone: whether the methods that are called between the first step of a fit
            and the last one neither change parameters nor look at or change gradients, so that the
            trainer need not look what they did.
    """

    leaves_tensors_alone = False

    def on_fit_start(self, trainer: Trainer) -> None:
        """Before the first step of a fit."""

    def on_step_start(self, trainer: Trainer) -> None:
        """Before a step, when all that belongs to the one before it is done."""

    def on_gradients(self, trainer: Trainer) -> None:
        """After the backward pass of a step, before its update."""

    def on_step_end(self, trainer: Trainer) -> None:
        """After the update of a step."""

    def on_epoch_end(self, trainer: Trainer) -> None:
        """After the last step of an epoch and its validation."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """After the last step of a fit, also if it was stopped, but not if it failed."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has to keep of this callback: arrays, and what JSON can hold."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned; the next fit goes on with the training of then."""


class _AfterEpoch(Callback):
    """A plain function as a callback."""

    def __init__(self, function: Callable[[Trainer], Any]):
        self.function = function

    def on_epoch_end(self, trainer: Trainer) -> None:
        self.function(trainer)


def defines(callback: Callback, hook: str) -> bool:
    """Whether a callback does something there."""
    return getattr(getattr(callback, hook), "__func__", None) is not getattr(Callback, hook)


def as_callback(callback: Any) -> Callback:
    """A callback as it is, a function as a callback that calls it after each epoch.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(callback, Callback):
        return callback
    if isinstance(callback, type) or not callable(callback):
        raise TypeError(f"a callback is a tg.Callback object or a function, got {callback!r}")
    return _AfterEpoch(callback)
