"""What is noted of each layer while a net learns: gradients and activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_edu.callbacks.record import Record
from tinygrad_edu.nn import Module, Sigmoid, Tanh, named_weights
from tinygrad_edu.nn.layers import at_least_1
from tinygrad_edu.tensor import Tensor, plain
from tinygrad_edu.trainer import Trainer

__all__ = ["MEASURE", "ActivationStatistics", "GradientMagnitudes", "GradientStatistics"]

MEASURE = "sum |dW| / (n_in + n_out)"
# The bounds of activations that have two; an output within a hundredth of the range of one of them
# is saturated.
_BOUNDS = {Sigmoid: (0.0, 1.0), Tanh: (-1.0, 1.0)}


class GradientMagnitudes(Record):
    """Notes how large the gradient of the loss is in each weight matrix, at every step.

    The measure is sum(|dW|) / (n_in + n_out) of each W (n_in, n_out), without the share of the L2
    penalty. Give it to a `Trainer` as a callback, before such as change the gradients; several fits
    of the same model go on in the same record.

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

    measures = (MEASURE,)
    title = "Gradient magnitudes"

    @property
    def of_layer(self) -> dict[str, list[float]]:
        """By the name of each weight matrix that is trained, one value for each step.

        See `nn.named_weights` for the names.
        """
        return self._values[MEASURE]

    def on_gradients(self, trainer: Trainer) -> None:
        """Adds one value for each layer."""
        trained = {id(p) for p in trainer.optimizer.params}
        named = named_weights(trainer.model)
        weights = {name: W for name, W in named.items() if id(W) in trained}
        if not weights and not len(self):
            raise ValueError(f"no weight matrix of the model is trained:\n{trainer.model!r}")
        found = {}
        for name, W in weights.items():
            # A weight that the loss does not depend on has no gradient at all.
            g = 0.0 if W.grad is None else W.grad - trainer.l2 * W.data
            found[name] = (np.abs(g).sum() / sum(W.shape),)
        self._note(trainer, found)

    def plot(
        self, ax: Any = None, title: str = "Gradient magnitude", logarithmic: bool = True
    ) -> Any:
        """Draws a line for each layer over the steps of the record, and returns the axes.

        Raises:
            ValueError: there is nothing in the record yet.
            ModuleNotFoundError: matplotlib is missing; the extra `plot` brings it.
        """
        return self._plot(MEASURE, ax, title, MEASURE, logarithmic)


class _Statistics(Record):
    """The base of records of several measures."""

    def plot(self, measure: str = "norm", ax: Any = None, logarithmic: bool = False) -> Any:
        """Draws a measure as a line for each layer over the record, and returns the axes.

        Raises:
            ValueError: there is nothing in the record yet, or no such measure.
            ModuleNotFoundError: matplotlib is missing; the extra `plot` brings it.
        """
        self.of(measure)
        return self._plot(measure, ax, self.title, measure, logarithmic)


class GradientStatistics(_Statistics):
    """Notes statistics of the gradient of every parameter as a step uses it.

    The measures of a gradient g of n values, L2 penalty included: "mean" and "std", the mean and
    the standard deviation of its values; "norm", sqrt(sum(g**2)); "zeros", the share of values that
    are exactly 0. Callbacks before it in the list may have changed the gradients, as `ClipGradNorm`
    does.

    Args:
        every: note each so many-th step.

    Raises:
        ValueError: an `every` below 1; while training, if the record is of another model or of
            other parameters.

    Example:
        >>> import tinygrad_edu as tg
        >>> X, y = tg.data.spiral(rng=0)
        >>> net = tg.nn.MLP((2, 8, 3), rng=0)
        >>> statistics = GradientStatistics(every=2)
        >>> sgd = tg.optim.SGD(net.parameters(), lr=0.1)
        >>> history = tg.Trainer(net, sgd, callbacks=[statistics]).fit(X, y, 5, progress=False)
        >>> statistics
        <gradient statistics of W1, b1, W2, b2 in 3 steps>
        >>> [len(values) for values in statistics.of("norm").values()]
        [3, 3, 3, 3]
    """

    measures = ("mean", "std", "norm", "zeros")
    title = "Gradient statistics"

    def __init__(self, every: int = 1):
        super().__init__()
        self.every = at_least_1("every", every)

    def on_gradients(self, trainer: Trainer) -> None:
        """Adds the values of each parameter."""
        if (len(trainer.history) - 1) % self.every:
            return
        found = {}
        for name, p in _named_parameters(trainer).items():
            found[name] = _measured(np.zeros(p.shape) if p.grad is None else plain(p.grad))
        self._note(trainer, found)


class ActivationStatistics(_Statistics):
    """Notes statistics of the outputs of every layer for the same inputs, at the end of epochs.

    The measures of the outputs a: "mean" and "std", the mean and the standard deviation of all
    values; "norm", sqrt(sum(a**2)) over all of them; "zeros", the share of values that are exactly
    0, as of a relu that is off; "saturated", the share of outputs of a sigmoid or tanh that are
    within a hundredth of its range of one of its bounds, where its slope is nearly 0 (of other
    layers 0). Layers are the modules that have no other modules in them; one that is used several
    times counts with all its outputs.

    Args:
        X: the inputs, as of `trainer.predict`.
        every: note each so many-th epoch.

    Raises:
        ValueError: an `every` below 1; while training, if the record is of another model.

    Example:
        >>> import tinygrad_edu as tg
        >>> X, y = tg.data.spiral(rng=0)
        >>> net = tg.nn.MLP((2, 8, 3), rng=0)
        >>> statistics = ActivationStatistics(X)
        >>> sgd = tg.optim.SGD(net.parameters(), lr=0.1)
        >>> history = tg.Trainer(net, sgd, callbacks=[statistics]).fit(X, y, 5, progress=False)
        >>> statistics
        <activation statistics of layers.0 Linear, layers.1 ReLU, layers.2 Linear in 5 steps>
        >>> 0 < statistics.of("zeros")["layers.1 ReLU"][-1] < 1
        True
    """

    measures = ("mean", "std", "norm", "zeros", "saturated")
    title = "Activation statistics"

    def __init__(self, X: Any, every: int = 1):
        super().__init__()
        self.X, self.every = X, at_least_1("every", every)

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Adds the values of each layer."""
        if len(trainer.history.epoch_ends) % self.every:
            return
        found = {}
        for name, (module, outputs) in _outputs(trainer, self.X).items():
            found[name] = (*_measured(outputs), _saturated(module, outputs))
        self._note(trainer, found)


def _measured(a: np.ndarray) -> tuple[float, float, float, float]:
    """Mean, standard deviation, norm and share of zeros."""
    return float(a.mean()), float(a.std()), float(np.linalg.norm(a)), float(np.mean(a == 0))


def _saturated(module: Module, outputs: np.ndarray) -> float:
    if type(module) not in _BOUNDS:
        return 0.0
    low, high = _BOUNDS[type(module)]
    margin = 0.01 * (high - low)
    return float(np.mean((outputs < low + margin) | (outputs > high - margin)))


def _named_parameters(trainer: Trainer) -> dict[str, Tensor]:
    """The parameters that are trained, by their own names if these tell them apart."""
    trained = {id(p) for p in trainer.optimizer.params}
    paths = {id(p): (path, p) for path, p in reversed(list(trainer.model.named_parameters()))}
    own = [(path, p) for path, p in reversed(paths.values()) if id(p) in trained]
    names = [p.name for _, p in own]
    distinct = len(set(names)) == len(names) and all(names)
    return {str(p.name) if distinct else path: p for path, p in own}


def _outputs(trainer: Trainer, X: Any) -> dict[str, tuple[Module, np.ndarray]]:
    """Each module that has no others in it, with all that it returns for these inputs."""
    paths = list(trainer.model.named_modules())
    inner = {
        id(module): (path, module)
        for path, module in reversed(paths)
        if not any(other.startswith(f"{path}.") or not path for other, _ in paths if other != path)
    }
    seen: dict[int, list[np.ndarray]] = {key: [] for key in inner}

    def watched(module: Module, forward: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def run(x: Any) -> Any:
            out = forward(x)
            seen[id(module)].append(plain(out).ravel())
            return out

        return run

    for _, module in inner.values():
        vars(module)["forward"] = watched(module, module.forward)
    try:
        trainer.predict(X)
    finally:
        for _, module in inner.values():
            del vars(module)["forward"]
    return {
        f"{path} {type(module).__name__}".strip(): (module, np.concatenate(seen[key]))
        for key, (path, module) in reversed(inner.items())
        if seen[key]
    }
