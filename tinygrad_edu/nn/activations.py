"""Activations as modules, and their names."""

from __future__ import annotations

from typing import Any

from tinygrad_edu.calculus import neural
from tinygrad_edu.nn.module import Module

__all__ = ["ACTIVATIONS", "Identity", "LeakyReLU", "ReLU", "Sigmoid", "Softplus", "Tanh"]


class ReLU(Module):
    """max(x, 0), elementwise; see `tg.relu`."""

    def __init__(self, at_zero: float = 0.0):
        self.at_zero = at_zero

    def forward(self, x: Any) -> Any:
        """max(x, 0)."""
        return neural.relu(x, at_zero=self.at_zero)


class LeakyReLU(Module):
    """x where x > 0, slope * x elsewhere; see `tg.leaky_relu`."""

    def __init__(self, slope: float = 0.01):
        self.slope = slope

    def forward(self, x: Any) -> Any:
        """x or slope * x."""
        return neural.leaky_relu(x, slope=self.slope)


class Sigmoid(Module):
    """1 / (1 + exp(-x)), elementwise."""

    def forward(self, x: Any) -> Any:
        """The logistic function of x."""
        return neural.sigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent, elementwise."""

    def forward(self, x: Any) -> Any:
        """tanh(x)."""
        return neural.tanh(x)


class Softplus(Module):
    """log(1 + exp(x)), elementwise."""

    def forward(self, x: Any) -> Any:
        """The softplus of x."""
        return neural.softplus(x)


class Identity(Module):
    """x, as it is."""

    def forward(self, x: Any) -> Any:
        """x."""
        return x


ACTIVATIONS: dict[str, type[Module]] = {
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "softplus": Softplus,
    "identity": Identity,
}
