"""Gradients that are too large are made smaller before the update."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_edu.tensor import plain
from tinygrad_edu.trainer import Callback, Trainer

__all__ = ["ClipGradNorm", "ClipGradValue"]


class ClipGradNorm(Callback):
    """Shortens the gradient of all parameters together to a norm of at most `max_norm`.

    g = g * min(1, max_norm / (norm + 1e-6)), where norm = sqrt(sum of g**2) over all parameters of
    the optimiser; as `torch.nn.utils.clip_grad_norm_` does. The share of an L2 penalty counts.

    Callbacks before it in the list see the gradients as they were, those after it as they are used.
    From Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks",
    ICML 2013, arXiv 1211.5063.

    Attributes:
        norm: the norm before the last step was clipped.

    Raises:
        ValueError: a norm that is not a number above 0.

    Example:
        >>> import tinygrad_edu as tg
        >>> X, y = tg.data.spiral(rng=0)
        >>> net = tg.nn.MLP((2, 8, 3), rng=0)
        >>> clip = ClipGradNorm(0.1)
        >>> trainer = tg.Trainer(net, tg.optim.SGD(net.parameters(), lr=1.0), callbacks=[clip])
        >>> history = trainer.fit(X, y, epochs=1, progress=False)
        >>> g = [p.grad for p in net.parameters()]
        >>> clip.norm > 0.1, round(float(np.sqrt(sum(np.sum(x * x) for x in g))), 4)
        (True, 0.1)
    """

    def __init__(self, max_norm: float):
        self.max_norm = _above_0("max_norm", max_norm)
        self.norm = 0.0

    def on_gradients(self, trainer: Trainer) -> None:
        """Shortens the gradients."""
        found = [p for p in trainer.optimizer.params if p.grad is not None]
        arrays = [plain(p.grad) for p in found]
        with np.errstate(over="ignore", under="ignore"):
            self.norm = norm(arrays)
        factor = self.max_norm / (self.norm + 1e-6)
        # What is not finite is left to the trainer, which ends a training that diverges.
        if factor < 1 and math.isfinite(self.norm):
            for p, g in zip(found, arrays, strict=True):
                p.grad = g * factor


class ClipGradValue(Callback):
    """Brings each value of each gradient into the range from -clip_value to clip_value.

    g = max(-clip_value, min(g, clip_value)), elementwise, as `torch.nn.utils.clip_grad_value_`
    does. This changes the direction of the gradient; see `ClipGradNorm` for what does not.

    Raises:
        ValueError: a value that is not a number above 0.

    Example:
        >>> import tinygrad_edu as tg
        >>> X, y = tg.data.spiral(rng=0)
        >>> net = tg.nn.MLP((2, 8, 3), rng=0)
        >>> sgd = tg.optim.SGD(net.parameters(), lr=1.0)
        >>> trainer = tg.Trainer(net, sgd, callbacks=[ClipGradValue(0.01)])
        >>> history = trainer.fit(X, y, epochs=1, progress=False)
        >>> max(float(np.abs(p.grad).max()) for p in net.parameters())
        0.01
    """

    def __init__(self, clip_value: float):
        self.clip_value = _above_0("clip_value", clip_value)

    def on_gradients(self, trainer: Trainer) -> None:
        """Clips the gradients."""
        for p in trainer.optimizer.params:
            if p.grad is not None:
                p.grad = np.clip(plain(p.grad), -self.clip_value, self.clip_value)


def norm(arrays: list[np.ndarray]) -> float:
    """The square root of the sum of all squares, also of numbers whose squares are out of range."""
    found = math.hypot(*(float(np.linalg.norm(a)) for a in arrays))
    if math.isfinite(found) and found > 1e-100:
        return found
    largest = max((float(np.abs(a).max(initial=0)) for a in arrays), default=0.0)
    if not 0 < largest < math.inf:
        return largest
    return largest * math.hypot(*(float(np.linalg.norm(a / largest)) for a in arrays))


def _above_0(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise ValueError(f"{name} must be a number above 0, got {value!r}")
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be a number above 0, got {value!r}")
    return float(value)
