"""The base of what notes numbers of each layer while a net learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_edu.nn import Module
from tinygrad_edu.trainer import Callback, Trainer

__all__ = ["Record"]

# Of longer records only so many-th steps are drawn: noise would fill the lines.
_DRAWN = 1000


class Record(Callback):
    """The base of records of one model: numbers for each of its layers, again and again.

    Attributes:
        measures: what is noted of each layer.
        steps: how many steps had been taken by the trainer when it was noted.
    """

    measures: tuple[str, ...] = ()
    title = ""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self._values: dict[str, dict[str, list[float]]] = {m: {} for m in self.measures}
        self._model: Module | None = None

    def of(self, measure: str) -> dict[str, list[float]]:
        """By the name of each layer, the values of a measure, one for each time.

        Raises:
            ValueError: a measure that is not noted.
        """
        if measure not in self.measures:
            raise ValueError(f"measure must be one of {', '.join(self.measures)}, got {measure!r}")
        return self._values[measure]

    def _note(self, trainer: Trainer, found: Mapping[str, tuple[float, ...]]) -> None:
        """Adds the values of each layer, in the order of the measures."""
        known = next(iter(self._values.values()))
        if self._model is None and not known:
            self._values = {measure: {name: [] for name in found} for measure in self.measures}
            known = next(iter(self._values.values()))
        model = trainer.model if self._model is None else self._model
        if model is not trainer.model or found.keys() != known.keys():
            kind = type(self).__name__
            raise ValueError(
                f"this record is of {', '.join(known)} of a model; make a new {kind}() for another "
                f"model or other weights ({', '.join(found)})"
            )
        self._model = model
        self.steps.append(len(trainer.history))
        for name, values in found.items():
            for measure, value in zip(self.measures, values, strict=True):
                self._values[measure][name].append(float(value))

    def __len__(self) -> int:
        return len(self.steps)

    def __repr__(self) -> str:
        layers = ", ".join(next(iter(self._values.values())))
        return f"<{self.title.lower()} of {layers} in {len(self)} steps>"

    def state_dict(self) -> dict[str, Any]:
        """The record so far."""
        arrays = {m: np.array(list(of.values()), float) for m, of in self._values.items()}
        layers = list(next(iter(self._values.values())))
        numbered = {str(i): array for i, array in enumerate(arrays.values())}
        return {**numbered, "layers": layers, "steps": np.array(self.steps, int)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned; the next trainer's model is taken for the same."""
        values = {
            measure: dict(zip(state["layers"], state[str(i)].tolist(), strict=True))
            for i, measure in enumerate(self.measures)
        }
        self._values, self.steps, self._model = values, state["steps"].tolist(), None

    def _plot(self, measure: str, ax: Any, title: str, ylabel: str, logarithmic: bool) -> Any:
        from tinygrad_edu import plot

        if not len(self):
            raise ValueError(
                "no step has been noted: give this to a Trainer, callbacks=[...], and fit"
            )
        every = max(1, len(self) // _DRAWN)
        return plot.curves(self.of(measure), ax, title, ylabel, logarithmic, every)
