"""Which losses and models can be computed in shares of the rows."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.nn import evaluating
from tinygrad_edu.recording import no_grad
from tinygrad_edu.state import random_generators
from tinygrad_edu.tensor import Tensor, plain

if TYPE_CHECKING:
    from tinygrad_edu.trainer import Trainer

__all__ = ["check_shares"]

# So many rows, spread over all, are tried.
_TRIED = 256


def check_shares(trainer: Trainer, X: np.ndarray, y: np.ndarray) -> None:
    """Makes sure that shares of a batch add up to the batch.

    The outputs for a row must not depend on the other rows. The loss, and its gradient with respect
    to the outputs, must be the means of those of the shares, weighted by their rows. All that is
    tried on some rows, in one share and in three of different sizes. A model with random layers is
    tried in evaluation mode.

    Raises:
        ValueError: it is not so, or MPI cannot add up numbers of this dtype.
    """
    for p in trainer.optimizer.params:
        if p.dtype.char not in "fdg":
            raise ValueError(f"MPI adds up float32 and float64, but not {p.dtype} of a parameter")
    rows = np.linspace(0, len(X) - 1, min(len(X), _TRIED)).round().astype(int)
    X, y = X[rows], y[rows]
    cuts = sorted({0, 1, len(X) // 3, len(X)})
    shares = [slice(start, stop) for start, stop in itertools.pairwise(cuts)]
    with evaluating(trainer.model), np.errstate(all="ignore"), no_grad():
        if not random_generators(trainer.model):
            trainer.model.train()
        outputs = plain(trainer.model(X))
        parts = [plain(trainer.model(X[share])) for share in shares]
    if not _close(np.concatenate(parts), outputs):
        raise ValueError(
            "the model cannot be computed in shares: its outputs for a row depend on the other "
            "rows of the batch, as those of a normalisation over the batch do"
        )
    whole, whole_gradient = _loss(trainer, outputs, y)
    found = [_loss(trainer, outputs[share], y[share]) for share in shares]
    weights = np.diff(cuts) / len(X)
    values = np.array([value for value, _ in found])
    gradient = [weight * g for weight, (_, g) in zip(weights, found, strict=True)]
    if not (
        _close(weights @ values, np.array(whole, outputs.dtype), scale=np.abs(values).max())
        and _close(np.concatenate(gradient), whole_gradient)
    ):
        raise ValueError(
            f"the loss cannot be computed in shares: on {len(X)} rows it is {whole:.6g}, and the "
            f"mean of what it is on parts of them, weighted by their rows, {weights @ values:.6g}, "
            f"or the gradients differ so. It must be a mean over the rows, as tg.mse is, not a sum"
        )


def _loss(trainer: Trainer, outputs: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """The loss and its gradient with respect to the outputs."""
    given = Tensor(outputs, requires_grad=True)
    loss: Any = trainer.loss(given, y)
    if isinstance(loss, Tensor) and loss.requires_grad:
        loss.backward()
    gradient = np.zeros_like(outputs) if given.grad is None else plain(given.grad)
    return plain(loss).item(), gradient


def _close(found: np.ndarray, expected: np.ndarray, scale: float = 0.0) -> bool:
    """Whether they are equal but for rounding; of what is not finite nothing can be said.

    Rounding is that of the dtype of `expected`, relative to the largest value.
    """
    scale = max(scale, np.max(np.abs(expected), initial=0))
    if not np.isfinite(scale) or not np.isfinite(found).all():
        return True
    tolerance = np.finfo(expected.dtype).eps ** 0.75
    return bool(np.all(np.abs(found - expected) <= tolerance * scale))
