"""Which losses and models can be computed in shares of the rows."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.nn import evaluating
from tinygrad_edu.recording import no_grad
from tinygrad_edu.state import draws
from tinygrad_edu.tensor import Tensor, plain

if TYPE_CHECKING:
    from tinygrad_edu.trainer import Trainer

__all__ = ["check_loss", "check_shares", "tried_rows"]

# So many rows, spread over all, and as many kinds of y are tried.
_TRIED = 256


def tried_rows(y: np.ndarray) -> np.ndarray:
    """Which rows are tried: some that are spread over all, and rows of each value of y.

    They are in the order of y, so that shares of them are not composed alike. Of many values of y
    some are taken, spread over the range; of y with several columns the extremes of each.
    """
    rows = np.linspace(0, len(y) - 1, min(len(y), _TRIED)).round().astype(int)
    columns = y.reshape(len(y), -1)
    if columns.shape[1] == 1:
        kinds = np.unique(columns[:, 0], return_index=True)[1]
    else:
        kinds = np.concatenate([columns.argmax(axis=0), columns.argmin(axis=0)])
    kinds = kinds[np.linspace(0, len(kinds) - 1, min(len(kinds), _TRIED)).round().astype(int)]
    rows = np.union1d(rows, kinds)
    return rows[np.lexsort(columns[rows].T[::-1])]


def check_shares(trainer: Trainer, X: np.ndarray, y: np.ndarray) -> None:
    """Makes sure that shares of a batch add up to the batch.

    The outputs for a row must not depend on the other rows. The loss, and its gradient with respect
    to the outputs, must be the means of those of the shares, weighted by their rows. All that is
    tried on the rows given, in one share and in three of different sizes. What draws random numbers
    is in evaluation mode, all else in training mode.

    Raises:
        ValueError: it is not so, or MPI cannot add up numbers of this dtype.
    """
    for p in trainer.optimizer.params:
        if p.dtype.char not in "fd":
            raise ValueError(f"MPI adds up float32 and float64, but not {p.dtype} of a parameter")
    with evaluating(trainer.model), np.errstate(all="ignore"), no_grad():
        for _, module in trainer.model.named_modules():
            module.training = not draws(module)
        outputs = plain(trainer.model(X))
        parts = [plain(trainer.model(X[share])) for share in _shares(len(X))]
    if not _close(np.concatenate(parts), outputs):
        raise ValueError(
            "the model cannot be computed in shares: its outputs for a row depend on the other "
            "rows of the batch, as those of a normalisation over the batch do"
        )
    _check_loss(trainer, outputs, y)


def check_loss(trainer: Trainer, X: np.ndarray, y: np.ndarray) -> None:
    """Makes sure of the same for the loss alone, of what the model is by now.

    Raises:
        ValueError: it is not so.
    """
    with evaluating(trainer.model), np.errstate(all="ignore"), no_grad():
        outputs = plain(trainer.model(X))
    _check_loss(trainer, outputs, y)


def _check_loss(trainer: Trainer, outputs: np.ndarray, y: np.ndarray) -> None:
    shares = _shares(len(y))
    with np.errstate(all="ignore"):
        whole, whole_gradient = _loss(trainer, outputs, y)
        found = [_loss(trainer, outputs[share], y[share]) for share in shares]
    weights = np.array([share.stop - share.start for share in shares]) / len(y)
    values = np.array([value for value, _ in found])
    gradient = [weight * g for weight, (_, g) in zip(weights, found, strict=True)]
    if not (
        _close(weights @ values, np.array(whole, outputs.dtype), scale=np.abs(values).max())
        and _close(np.concatenate(gradient), whole_gradient)
    ):
        raise ValueError(
            f"the loss cannot be computed in shares: after {len(trainer.history)} steps it is "
            f"{whole:.6g} on {len(y)} rows, and the mean of what it is on parts of them, weighted "
            f"by their rows, {weights @ values:.6g}, or the gradients differ so. It must be a mean "
            f"over the rows, as tg.mse is, not a sum"
        )


def _shares(rows: int) -> list[slice]:
    cuts = sorted({0, 1, rows // 3, rows})
    return [slice(start, stop) for start, stop in itertools.pairwise(cuts) if stop > start]


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
