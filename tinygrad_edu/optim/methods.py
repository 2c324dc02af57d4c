"""The optimisers: how they move the values along the gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from tinygrad_edu.optim.optimizer import Optimizer, number
from tinygrad_edu.tensor import Tensor

__all__ = ["SGD", "Adam", "AdamW", "RMSProp"]


class SGD(Optimizer):
    """Gradient descent: v = momentum * v + g, p = p - lr * v.

    With `nesterov` p = p - lr * (g + momentum * v) for the same v, which looks ahead along the
    velocity. With `weight_decay` g + weight_decay * p takes the place of g.

    Source of the Nesterov form: Sutskever, Martens, Dahl, Hinton, "On the importance of
    initialization and momentum in deep learning", ICML 2013, written as PyTorch has it.

    Args:
        params: Tensors with `requires_grad=True`.
        lr: the learning rate.
        momentum: which share of the velocity v is kept, from 0 to below 1.
        nesterov: whether to use Nesterov's form, which needs a momentum above 0.
        weight_decay: at least 0. It applies to all parameters, biases too, and is no part of the
            loss; the `l2` of a `Trainer` is, and leaves biases out.

    Raises:
        ValueError: a setting out of its range.

    Example:
        >>> w = Tensor(1.0, requires_grad=True)
        >>> (w * w).backward()
        >>> SGD([w], lr=0.1).step()
        >>> w.item()
        0.8
    """

    state_names = ("velocity",)

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ):
        super().__init__(params, lr)
        self.momentum = number("momentum", momentum, "from 0 to below 1")
        self.weight_decay = number("weight_decay", weight_decay, "of at least 0")
        self.nesterov = bool(nesterov)
        if nesterov and not momentum:
            raise ValueError("nesterov=True needs a momentum above 0, such as 0.9")

    def update(self, p: np.ndarray, g: np.ndarray, t: int, state: dict[str, np.ndarray]) -> None:
        """v = momentum * v + g, p = p - lr * v."""
        if self.weight_decay:
            g = g + self.weight_decay * p
        if self.momentum:
            v = state["velocity"]
            v *= self.momentum
            v += g
            g = g + self.momentum * v if self.nesterov else v
        p -= self.lr * g


class RMSProp(Optimizer):
    """Gradient descent with each gradient divided by its root mean square of late.

    v = alpha * v + (1 - alpha) * g**2, p = p - lr * g / (sqrt(v) + eps).

    Source: Tieleman and Hinton, "Lecture 6.5 - rmsprop", COURSERA: Neural networks for machine
    learning, 2012; eps and the default values are PyTorch's.

    Args:
        params: Tensors with `requires_grad=True`.
        lr: the learning rate, about how far each value moves in a step.
        alpha: which share of the running mean v is kept, from 0 to below 1. The mean starts at 0,
            so that the first steps are up to 1 / sqrt(1 - alpha) times as long; `Adam` corrects it.
        eps: keeps the division from going wrong where gradients are 0; above 0.

    Raises:
        ValueError: a setting out of its range.

    Example:
        >>> w = Tensor(1.0, requires_grad=True)
        >>> (w * w).backward()
        >>> RMSProp([w], lr=0.01, alpha=0.75).step()
        >>> round(w.item(), 6)
        0.98
    """

    state_names = ("v",)

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
    ):
        super().__init__(params, lr)
        self.alpha = number("alpha", alpha, "from 0 to below 1")
        self.eps = number("eps", eps, "above 0")

    def update(self, p: np.ndarray, g: np.ndarray, t: int, state: dict[str, np.ndarray]) -> None:
        """v moves towards g**2, p along g / sqrt(v)."""
        v = state["v"]
        v *= self.alpha
        v += (1 - self.alpha) * g * g
        p -= self.lr * g / (np.sqrt(v) + self.eps)


class Adam(Optimizer):
    """Gradient descent with a step size of its own for each value.

    With m and v the running means of g and of g**2, corrected for their start at 0:
    m = beta1 * m + (1 - beta1) * g, v = beta2 * v + (1 - beta2) * g**2,
    p = p - lr * m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps).
    Source: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015,
    https://arxiv.org/abs/1412.6980.

    Raises:
        ValueError: lr or eps that is not a number above 0, betas outside 0..1.

    Example:
        >>> w = Tensor(1.0, requires_grad=True)
        >>> (w * w).backward()
        >>> Adam([w], lr=0.1).step()
        >>> round(w.item(), 6)
        0.9
    """

    state_names = ("m", "v")

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        super().__init__(params, lr)
        if not isinstance(betas, Sequence) or len(betas) != 2:
            raise ValueError(f"betas must be a pair of numbers, as (0.9, 0.999); got {betas!r}")
        beta1, beta2 = (number("each of the betas", beta, "from 0 to below 1") for beta in betas)
        self.betas = beta1, beta2
        self.eps = number("eps", eps, "above 0")

    def update(self, p: np.ndarray, g: np.ndarray, t: int, state: dict[str, np.ndarray]) -> None:
        """m and v move towards g and g**2, p along their quotient."""
        beta1, beta2 = self.betas
        m, v = state["m"], state["v"]
        m *= beta1
        m += (1 - beta1) * g
        v *= beta2
        v += (1 - beta2) * g * g
        # The corrections are taken out of the arrays, as at the end of the paper's section 2.
        c = math.sqrt(1 - beta2**t)
        p -= self.lr * c / (1 - beta1**t) * m / (np.sqrt(v) + self.eps * c)


class AdamW(Adam):
    """Adam, and apart from it each value shrinks: p = p - lr * weight_decay * p before the step.

    A penalty in the loss would go through Adam's division, by which values of large gradients
    decay least; here all decay at the same rate. Source: Loshchilov and Hutter, "Decoupled weight
    decay regularization", ICLR 2019, https://arxiv.org/abs/1711.05101, scaled by lr as in PyTorch.

    Args:
        params: Tensors with `requires_grad=True`. All of them decay, biases too, as in PyTorch.
        lr, betas, eps: see `Adam`.
        weight_decay: at least 0.

    Raises:
        ValueError: a setting out of its range.

    Example:
        >>> w = Tensor(1.0, requires_grad=True)
        >>> (w * w).backward()
        >>> AdamW([w], lr=0.1, weight_decay=0.5).step()
        >>> round(w.item(), 6)
        0.85
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ):
        super().__init__(params, lr, betas, eps)
        self.weight_decay = number("weight_decay", weight_decay, "of at least 0")

    def update(self, p: np.ndarray, g: np.ndarray, t: int, state: dict[str, np.ndarray]) -> None:
        """p shrinks and makes Adam's step."""
        p *= 1 - self.lr * self.weight_decay
        super().update(p, g, t, state)
