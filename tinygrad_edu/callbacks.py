"""Callbacks: what to watch while a net learns."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_edu.nn import Module, named_weights
from tinygrad_edu.trainer import Callback, Trainer

__all__ = ["GradientMagnitudes"]

MEASURE = "sum |dW| / (n_in + n_out)"
# Of longer records only so many-th steps are drawn: noise would fill the lines.
_DRAWN = 1000


class GradientMagnitudes(Callback):
    """Notes how large the gradient of the loss is in each weight matrix, at every step.

    The measure is sum(|dW|) / (n_in + n_out) of each W (n_in, n_out), without the share of the L2
    penalty. Give it to a `Trainer` as a callback, before such as change the gradients; several fits
    of the same model go on in the same record.

    Attributes:
        of_layer: by the name of each weight matrix that is trained (see `nn.named_weights`) one
            value for each step.

    Raises:
        ValueError: while training, if the record is of another model or of other weight matrices,
            or the model has none.

    Example:
        >>> import tinygrad_edu as tg
        >>> X, y = tg.data.spiral(rng=0)
        >>> net = tg.nn.MLP((2, 50, 50, 3), "sigmoid", init=0.1, rng=0)
        >>> magnitudes = GradientMagnitudes()
        >>> trainer = tg.Trainer(net, tg.optim.SGD(net.parameters(), 0.1), callbacks=[magnitudes])
        >>> history = trainer.fit(X, y, epochs=3, progress=False)
        >>> magnitudes
        <gradient magnitudes of W1, W2, W3 in 3 steps>
        >>> for name, values in magnitudes.of_layer.items():
        ...     print(name, f"{values[0]:.1g}")
        W1 0.0009
        W2 0.03
        W3 0.09
    """

    def __init__(self) -> None:
        self.of_layer: dict[str, list[float]] = {}
        self._model: Module | None = None

    def on_gradients(self, trainer: Trainer) -> None:
        """Adds one value for each layer."""
        trained = {id(p) for p in trainer.optimizer.params}
        named = named_weights(trainer.model)
        weights = {name: W for name, W in named.items() if id(W) in trained}
        if self._model is None:
            if not weights:
                raise ValueError(f"no weight matrix of the model is trained:\n{trainer.model!r}")
            self._model = trainer.model
            self.of_layer = {name: [] for name in weights}
        if self._model is not trainer.model or weights.keys() != self.of_layer.keys():
            raise ValueError(
                f"this record is of {', '.join(self.of_layer)} of a model; make a new "
                f"GradientMagnitudes() for another model or other weights ({', '.join(weights)})"
            )
        for name, W in weights.items():
            # A weight that the loss does not depend on has no gradient at all.
            g = 0.0 if W.grad is None else W.grad - trainer.l2 * W.data
            self.of_layer[name].append(float(np.abs(g).sum() / sum(W.shape)))

    def __len__(self) -> int:
        return len(next(iter(self.of_layer.values()), ()))

    def __repr__(self) -> str:
        return f"<gradient magnitudes of {', '.join(self.of_layer)} in {len(self)} steps>"

    def plot(
        self, ax: Any = None, title: str = "Gradient magnitude", logarithmic: bool = True
    ) -> Any:
        """Draws a line for each layer over the steps of the record, and returns the axes.

        Raises:
            ValueError: there is nothing in the record yet.
            ModuleNotFoundError: matplotlib is missing; the extra `plot` brings it.
        """
        from tinygrad_edu import plot

        if not len(self):
            raise ValueError(
                "no step has been noted: give this to a Trainer, callbacks=[...], and fit"
            )
        return plot.curves(
            self.of_layer,
            ax,
            title,
            MEASURE,
            logarithmic,
            every=max(1, len(self) // _DRAWN),
        )
