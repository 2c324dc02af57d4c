"""Optimisers: they read `.grad` of the parameters and change their data."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_edu.tensor import Tensor, plain

__all__ = ["SGD", "Adam", "Optimizer"]


class Optimizer:
    """The base of the optimisers. Subclasses define `update`.

    Args:
        params: Tensors with `requires_grad=True`.
        lr: the learning rate; it may be set between steps.

    Raises:
        ValueError: no parameters, the same one twice, or a learning rate that is not a number
            above 0.
        TypeError: something among the parameters that has no gradient.

    What an optimiser remembers of parameter number i stands in `state[i]` and is replaced, never
    changed in place, so that a shallow copy of `state` is a snapshot.
    """

    def __init__(self, params: Iterable[Tensor], lr: float):
        if isinstance(params, Tensor):
            raise TypeError("params must be a list of Tensors, got a single one: write [w]")
        if not isinstance(params, Iterable) or hasattr(params, "parameters"):
            raise TypeError(
                f"params must be a list of Tensors, as net.parameters() is; got {type(params)}"
            )
        self.params = list(params)
        if not self.params:
            raise ValueError("no parameters to optimise: pass model.parameters()")
        for i, p in enumerate(self.params):
            if not isinstance(p, Tensor) or not p.is_leaf or not p.requires_grad:
                raise TypeError(
                    f"params[{i}] must be a Tensor with requires_grad=True that no operation made, "
                    f"got {p!r:.60}"
                )
        if len({id(p) for p in self.params}) < len(self.params):
            raise ValueError("the same Tensor stands among the parameters more than once")
        self.lr = lr
        self.state: dict[int, Any] = {}

    @property
    def lr(self) -> float:
        """The learning rate."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = _positive("the learning rate", value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.params)} parameters, lr {self.lr:g}>"

    def zero_grad(self) -> None:
        """Forgets the gradients of all parameters."""
        for p in self.params:
            p.zero_grad()

    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        for i, p in enumerate(self.params):
            g = p.grad
            if g is not None:
                self.update(i, p, plain(g))

    def update(self, i: int, p: Tensor, g: np.ndarray) -> None:
        """The update of parameter number `i`; to be defined by subclasses."""
        raise NotImplementedError


class SGD(Optimizer):
    """Gradient descent: v = momentum * v + g, p = p - lr * v.

    Raises:
        ValueError: a learning rate that is not a number above 0, a momentum outside 0..1.

    Example:
        >>> w = Tensor(1.0, requires_grad=True)
        >>> (w * w).backward()
        >>> SGD([w], lr=0.1).step()
        >>> w.item()
        0.8
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.0):
        super().__init__(params, lr)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, got {momentum!r}")
        self.momentum = momentum

    def update(self, i: int, p: Tensor, g: np.ndarray) -> None:
        """v = momentum * v + g, p = p - lr * v."""
        if self.momentum:
            g = self.state[i] = self.momentum * self.state.get(i, 0.0) + g
        p.data -= self.lr * g


class Adam(Optimizer):
    """Gradient descent with a step size of its own for each value.

    With m and v the running means of g and of g**2, corrected for their start at 0:
    p = p - lr * m / (sqrt(v) + eps). Source: Kingma and Ba, "Adam: a method for stochastic
    optimization", ICLR 2015, https://arxiv.org/abs/1412.6980.

    Raises:
        ValueError: lr or eps that is not a number above 0, betas outside 0..1.

    Example:
        >>> w = Tensor(1.0, requires_grad=True)
        >>> (w * w).backward()
        >>> Adam([w], lr=0.1).step()
        >>> round(w.item(), 6)
        0.9
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        super().__init__(params, lr)
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be two numbers from 0 to below 1, got {betas!r}")
        self.betas = betas
        self.eps = _positive("eps", eps)

    def update(self, i: int, p: Tensor, g: np.ndarray) -> None:
        """m and v move towards g and g**2, p along their quotient."""
        beta1, beta2 = self.betas
        t, m, v = self.state.get(i, (0, 0.0, 0.0))
        t += 1
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        self.state[i] = t, m, v
        p.data -= self.lr / (1 - beta1**t) * m / (np.sqrt(v / (1 - beta2**t)) + self.eps)


def _positive(what: str, value: Any) -> float:
    if not isinstance(value, (int, float, np.number)) or not 0 < value < math.inf:
        raise ValueError(f"{what} must be a number above 0, got {value!r}")
    return float(value)
