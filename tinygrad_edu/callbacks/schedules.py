"""Learning rates that change while a net learns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_edu.nn.layers import at_least_1
from tinygrad_edu.trainer import Callback, Trainer

__all__ = ["CosineAnnealingLR", "LRSchedule", "LinearLR", "SequentialLR", "StepLR"]

UNITS = ("epoch", "step")


class LRSchedule(Callback):
    """Sets the learning rate before each step: lr(t) = lr(0) * factor(t).

    t is how many epochs, or with `by="step"` how many steps, the trainer's history had before; so
    several fits go on in the same schedule. lr(0) is the optimiser's learning rate before the
    first step with this schedule. Schedules are composed:

    - `a * b` is the product of their factors;
    - `SequentialLR([a, b], milestones=[10])` is a, and from t = 10 on b, which counts from there.

    Args:
        factor: a function t -> number above 0.
        by: "epoch" or "step".

    Raises:
        ValueError: another `by`; a factor that is not a number above 0: for the last step of a fit,
            as at the end of a schedule that goes down to 0, before its first; for others when it
            is their turn.

    Example:
        >>> import tinygrad_edu as tg
        >>> X, y = tg.data.spiral(rng=0)
        >>> net = tg.nn.MLP((2, 8, 3), rng=0)
        >>> sgd, rates = tg.optim.SGD(net.parameters(), lr=0.8), []
        >>> halved = LRSchedule(lambda epoch: 0.5**epoch)
        >>> note = lambda trainer: rates.append(trainer.optimizer.lr)
        >>> trainer = tg.Trainer(net, sgd, callbacks=[halved, note])
        >>> history = trainer.fit(X, y, epochs=4, progress=False)
        >>> rates
        [0.8, 0.4, 0.2, 0.1]
    """

    leaves_tensors_alone = True

    def __init__(self, factor: Callable[[int], float], by: str = "epoch"):
        if not callable(factor):
            raise ValueError(f"factor must be a function of the number of epochs, got {factor!r}")
        if by not in UNITS:
            raise ValueError(f"by must be one of {', '.join(UNITS)}, got {by!r}")
        self.factor, self.by = factor, by
        self._first: float | None = None
        self._t = -1

    def at(self, epochs: int, steps: int) -> float:
        """The factor after so many epochs and steps."""
        return self.factor(epochs if self.by == "epoch" else steps)

    def on_fit_start(self, trainer: Trainer) -> None:
        """Notes the learning rate that the schedule starts from."""
        if sum(isinstance(callback, LRSchedule) for callback in trainer.callbacks) > 1:
            raise ValueError(
                "several schedules set the learning rate of one optimiser: give the Trainer their "
                "product a * b, or SequentialLR([a, b], milestones=...)"
            )
        if self._first is None:
            self._first = trainer.optimizer.lr
        self._t = -1
        epochs, steps = trainer.planned
        if steps > len(trainer.history):
            self._rate(epochs - 1, steps - 1)

    def on_step_start(self, trainer: Trainer) -> None:
        """Sets the learning rate."""
        history = trainer.history
        t = len(history if self.by == "step" else history.epoch_ends)
        if t != self._t and self._first is not None:
            trainer.optimizer.lr = self._rate(len(history.epoch_ends), len(history))
            self._t = t

    def _rate(self, epochs: int, steps: int) -> float:
        first, factor = self._first or 0.0, self.at(epochs, steps)
        if not isinstance(factor, (int, float, np.number)) or not 0 < factor < math.inf:
            raise ValueError(
                f"{self!r} gives a learning rate of {factor} times {first:g} after {epochs} "
                f"epochs, with which nothing is learned: make it longer, let it end above 0, or "
                f"train for fewer epochs"
            )
        return first * factor

    def __mul__(self, other: LRSchedule) -> LRSchedule:
        return _Product(self, other)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} by {self.by}>"

    def state_dict(self) -> dict[str, Any]:
        """The learning rate that the schedule starts from."""
        return {"first": self._first}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        first = state["first"]
        self._first = None if first is None else float(first)


class StepLR(LRSchedule):
    """lr(t) = lr(0) * gamma ** (t // step_size): smaller by gamma every so many epochs.

    As `torch.optim.lr_scheduler.StepLR`.

    Args:
        step_size: after how many epochs, or with `by="step"` steps, the learning rate changes.
        gamma: by what it is multiplied then.
        by: "epoch" or "step".

    Raises:
        ValueError: a step size below 1, or a gamma that is not a number above 0.

    Example:
        >>> [round(StepLR(2, gamma=0.1).factor(t), 4) for t in range(6)]
        [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    """

    def __init__(self, step_size: int, gamma: float = 0.1, by: str = "epoch"):
        size, gamma = at_least_1("step_size", step_size), _number("gamma", gamma, above=0)
        super().__init__(lambda t: gamma ** (t // size), by)


class CosineAnnealingLR(LRSchedule):
    """lr(t) = lr(0) * (end + (1 - end) * (1 + cos(pi * t / total)) / 2), lr(0) * end after that.

    With end = eta_min / lr(0) that is `torch.optim.lr_scheduler.CosineAnnealingLR` as far as
    t = total; that one goes up again. From Loshchilov and Hutter, "SGDR: stochastic gradient
    descent with warm restarts", ICLR 2017, arXiv 1608.03983, without the restarts.

    Args:
        total: how many epochs, or with `by="step"` steps, it takes.
        end: the last learning rate as a share of the first.
        by: "epoch" or "step".

    Raises:
        ValueError: a total below 1, or an end outside 0..1.

    Example:
        >>> [round(CosineAnnealingLR(4).factor(t), 3) for t in range(4)]
        [1.0, 0.854, 0.5, 0.146]
    """

    def __init__(self, total: int, end: float = 0.0, by: str = "epoch"):
        total, end = at_least_1("total", total), _number("end", end)
        if end > 1:
            raise ValueError(f"end is a share of the first learning rate, 0 to 1, got {end}")

        def factor(t: int) -> float:
            half = math.cos(math.pi * min(t, total) / total) / 2
            return end + (1 - end) * (0.5 + half)

        super().__init__(factor, by)


class LinearLR(LRSchedule):
    """lr(t) = lr(0) * (start + (end - start) * min(t, total) / total): a warm-up, or a way down.

    As `torch.optim.lr_scheduler.LinearLR`. A warm-up over the first steps is
    `LinearLR(100, by="step")`, times another schedule for what follows.

    Args:
        total: how many epochs, or with `by="step"` steps, it takes.
        start, end: the first and the last learning rate as a share of the optimiser's.
        by: "epoch" or "step".

    Raises:
        ValueError: a total below 1, a start that is not a number above 0, or an end below 0.

    Example:
        >>> [round(LinearLR(4, start=0.2).factor(t), 3) for t in range(6)]
        [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]
    """

    def __init__(self, total: int, start: float = 1 / 3, end: float = 1.0, by: str = "epoch"):
        total, start = at_least_1("total", total), _number("start", start, above=0)
        end = _number("end", end)
        super().__init__(lambda t: start + (end - start) * min(t, total) / total, by)


class SequentialLR(LRSchedule):
    """Several schedules, one after another; each counts from where it begins.

    As `torch.optim.lr_scheduler.SequentialLR`.

    Args:
        schedules: of which all count the same, epochs or steps.
        milestones: at which t each but the first begins.

    Raises:
        ValueError: milestones that do not rise or are not one fewer than the schedules, or
            schedules that count different things.

    Example:
        >>> warm_up, then = LinearLR(2, start=0.5), CosineAnnealingLR(4)
        >>> both = SequentialLR([warm_up, then], milestones=[2])
        >>> [round(both.factor(t), 3) for t in range(6)]
        [0.5, 0.75, 1.0, 0.854, 0.5, 0.146]
    """

    def __init__(self, schedules: Sequence[LRSchedule], milestones: Sequence[int]):
        starts = [0, *(at_least_1("a milestone", t) for t in milestones)]
        if len(starts) != len(schedules) or any(np.diff(starts) < 1):
            raise ValueError(
                f"milestones must be one fewer than the {len(schedules)} schedules and rise, got "
                f"{list(milestones)}"
            )
        units = {schedule.by for schedule in schedules}
        if len(units) > 1 or any(isinstance(s, _Product) for s in schedules):
            raise ValueError(
                "the schedules must all count epochs or all count steps, and products must be made "
                "of the whole"
            )

        def factor(t: int) -> float:
            i = sum(start <= t for start in milestones)
            return schedules[i].factor(t - starts[i])

        super().__init__(factor, units.pop())


class _Product(LRSchedule):
    """The product of two schedules, each of which counts in its own unit."""

    def __init__(self, a: LRSchedule, b: LRSchedule):
        if not isinstance(b, LRSchedule):
            raise TypeError(f"a schedule is multiplied by another one, got {b!r}")
        super().__init__(a.factor, "step" if "step" in (a.by, b.by) else "epoch")
        self.parts = a, b

    def at(self, epochs: int, steps: int) -> float:
        """The product of both factors."""
        a, b = self.parts
        return a.at(epochs, steps) * b.at(epochs, steps)

    def __repr__(self) -> str:
        return f"{self.parts[0]!r} * {self.parts[1]!r}"


def _number(name: str, value: Any, above: float | None = None) -> float:
    fits = isinstance(value, (int, float, np.number)) and 0 <= value < math.inf
    if not fits or value == above:
        least = "of at least" if above is None else "above"
        raise ValueError(f"{name} must be a number {least} 0, got {value!r}")
    return float(value)
