"""The minibatches of a training: which rows each step uses, and where an epoch was left."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinygrad_edu.state import described

__all__ = ["Batches"]


class Batches:
    """The rows of X and y in minibatches, epoch by epoch.

    Args:
        X, y: one row for each sample.
        size: how many samples a step uses, at most all of them.
        shuffle: whether the rows are drawn anew in each epoch.
        validation: what is measured at the end of each epoch; it is part of what is trained on.

    Attributes:
        order: the rows of the epoch under way as they are used, None before they are drawn.
        position: how many of these have been used.
    """

    def __init__(
        self,
        X: np.ndarray,
        y: np.ndarray,
        size: int,
        shuffle: bool,
        validation: tuple[np.ndarray, np.ndarray] | None = None,
    ):
        self.X, self.y, self.size, self.shuffle = X, y, size, shuffle
        self.validation = validation
        self.order: np.ndarray | None = None
        self.position = 0
        self._facts: dict[str, str] = {}

    def starts(self) -> range:
        """The positions at which the minibatches of this epoch begin, from the present one on."""
        n = len(self.X) if self.order is None else len(self.order)
        return range(self.position, n, self.size)

    def at(
        self, start: int, rng: Any, share: Callable[[int], slice] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The minibatch that begins there; all rows as they stand if one takes them all.

        Args:
            start: one of the `starts`.
            rng: the generator for shuffling.
            share: of so many rows, those that are wanted.
        """
        if self.size == len(self.X):
            if share is None:
                return self.X, self.y
            here = share(self.size)
            return self.X[here], self.y[here]
        if self.order is None:
            n = len(self.X)
            self.order = rng.permutation(n) if self.shuffle else np.arange(n)
        rows = self.order[start : start + self.size]
        if share is not None:
            rows = rows[share(len(rows))]
        return self.X[rows], self.y[rows]

    def end_epoch(self) -> None:
        """All rows have been used; the next ones are those of a new epoch."""
        self.order, self.position = None, 0

    def steps(self, epochs: int) -> int:
        """How many minibatches the rest of this epoch and those after it have, `epochs` in all."""
        whole = math.ceil(len(self.X) / self.size)
        return whole * (epochs - 1) + len(self.starts()) if epochs else 0

    def rest(self) -> np.ndarray | None:
        """The rows that the epoch under way has still to use; None between two epochs."""
        return None if self.order is None else self.order[self.position :]

    def facts(self) -> dict[str, str]:
        """What is trained on, in words that can be compared."""
        if not self._facts:
            told: dict[str, Any] = {"X": self.X, "y": self.y}
            told["batch_size"], told["shuffle"] = self.size, bool(self.shuffle)
            told["validation X"], told["validation y"] = self.validation or (None, None)
            self._facts = {name: described(value) for name, value in told.items()}
        return self._facts

    def go_on(self, rest: np.ndarray | None, facts: Mapping[str, str]) -> None:
        """Begins with what is left of an epoch.

        Raises:
            ValueError: it was an epoch of other data, or of other minibatches.
        """
        own = self.facts()
        differences = [
            f"{name} ({facts.get(name)} then, {own[name]} now)"
            for name in own
            if own[name] != facts.get(name)
        ]
        if differences:
            raise ValueError(
                f"the checkpoint was written while training on something else: "
                f"{'; '.join(differences)}. Pass the same data to go on, or load the model alone "
                f"and begin anew with a new Trainer"
            )
        n = len(self.X)
        if rest is not None and (rest.max(initial=0) >= n or len(np.unique(rest)) < len(rest)):
            raise ValueError("the checkpoint has no rows of these data left for its epoch")
        self.order, self.position = rest, 0
