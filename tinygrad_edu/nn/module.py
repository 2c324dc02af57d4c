"""Modules: what holds parameters, and how they are found.

A module is any object with a `forward`; its parameters are the Tensors with `requires_grad=True`
among its attributes, and those of the modules among its attributes, also in lists, tuples and
dicts: first a module's own, then those within, each in the order in which they were set.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np

from tinygrad_edu.state import checked_state, members
from tinygrad_edu.tensor import Tensor

__all__ = ["Module", "evaluating", "named_weights"]


class Module:
    """The base of everything that has parameters. Subclasses define `forward`.

    Attributes:
        training: whether the module is in training mode, as at first; see `train` and `eval`. Of
            the modules here `Dropout` alone computes something else in evaluation mode.

    Example:
        >>> class Scale(Module):
        ...     def __init__(self):
        ...         self.factor = Tensor(2.0, requires_grad=True, name="factor")
        ...     def forward(self, x):
        ...         return x * self.factor
        >>> Scale()(np.array([1.0, 2.0]))
        Tensor([2., 4.], from np.multiply)
        >>> print(Scale())
        Scale
        layer  type   shape  parameters
               Scale  ()              1
        total                         1
    """

    # Of the class, so that a subclass need not call super().__init__().
    training = True

    def forward(self, x: Any) -> Any:
        """The output of the module; to be defined by subclasses."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(self, x)")

    def __call__(self, x: Any) -> Any:
        return self.forward(x)

    def named_modules(
        self, path: str = "", above: tuple[Module, ...] = ()
    ) -> Iterator[tuple[str, Module]]:
        """This module and all within it, each with the path of attributes that leads to it."""
        yield path, self
        for name, value in _members(vars(self), f"{path}." if path else ""):
            # A module may know the one that it is part of; the way does not lead back up.
            if isinstance(value, Module) and value is not self and value not in above:
                yield from value.named_modules(name, (*above, self))

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """The Tensors of this module and all within it, each with its path: `layers.0.W`.

        Those that an operation made do not count, such as an activation that was kept.

        Raises:
            ValueError: one path leads to two things, as "a.b" in {"a": {"b": v}, "a.b": w}.
        """
        found: dict[str, Any] = {}
        for path, module in self.named_modules():
            for name, value in _members(vars(module), f"{path}." if path else ""):
                if found.setdefault(name, value) is not value:
                    raise ValueError(
                        f"two parts of this {type(self).__name__} have the path {name!r}, and a "
                        f"state could hold only one of them: rename a key of a dict"
                    )
                if isinstance(value, Tensor) and value.is_input:
                    yield name, value

    def parameters(self) -> list[Tensor]:
        """All Tensors that need a gradient, in order, each once."""
        return list({id(p): p for _, p in self.named_parameters() if p.requires_grad}.values())

    def zero_grad(self) -> None:
        """Forgets the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def train(self, mode: bool = True) -> Self:
        """Puts this module and all within it into training mode, or out of it; returns it."""
        for _, module in self.named_modules():
            module.training = bool(mode)
        return self

    def eval(self) -> Self:
        """Puts this module and all within it into evaluation mode; returns it.

        That is the mode for predictions: the same input gives the same output.
        """
        return self.train(False)

    def state_dict(self) -> dict[str, np.ndarray]:
        """A copy of all Tensors as plain arrays, by path; also of those that need no gradient."""
        return {name: np.array(p.data) for name, p in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Sets all Tensors from arrays by path: all of them, or none if anything is wrong.

        Raises:
            KeyError: a Tensor is missing, or the net has none of that name.
            ValueError: an array of another shape, or one that holds no real numbers, or two that
                differ and go to the same Tensor.
        """
        own = dict(self.named_parameters())
        arrays = checked_state(state, own, self, "net")
        arrays = {name: np.asarray(array, own[name].dtype) for name, array in arrays.items()}
        first: dict[int, str] = {}
        for name, array in arrays.items():
            other = first.setdefault(id(own[name]), name)
            if not np.array_equal(array, arrays[other], equal_nan=True):
                raise ValueError(
                    f"{other} and {name} are the same Tensor in this net, but differ in the state"
                )
        for name, array in arrays.items():
            own[name].data = array

    def __repr__(self) -> str:
        rows = [("layer", "type", "shape", "parameters")]
        for path, module in self.named_modules():
            inside = [value for _, value in _members(vars(module), "")]
            own = [p for p in inside if isinstance(p, Tensor) and p.requires_grad]
            if own or not any(isinstance(value, Module) for value in inside):
                shapes = " ".join(str(p.shape) for p in own)
                count = f"{sum(p.size for p in own):,}" if own else ""
                rows.append((path, module._label(), shapes, count))
        rows.append(("total", "", "", f"{sum(p.size for p in self.parameters()):,}"))
        a, b, c, d = (max(len(row[i]) for row in rows) for i in range(4))
        table = (f"{w:{a}}  {x:{b}}  {y:{c}}  {z:>{d}}".rstrip() for w, x, y, z in rows)
        return "\n".join([self._label(), *table])

    def _label(self) -> str:
        return type(self).__name__


@contextlib.contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """A context in which a module and all within it are in evaluation mode.

    After it each of them is in the mode in which it was before.

    Example:
        >>> from tinygrad_edu.nn import Linear
        >>> layer = Linear(1, 1, rng=0)
        >>> with evaluating(layer):
        ...     layer.training
        False
        >>> layer.training
        True
    """
    before = [(module, module.training) for _, module in model.named_modules()]
    try:
        for module, _ in before:
            module.training = False
        yield
    finally:
        for module, mode in before:
            module.training = mode


def _members(attributes: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """The Tensors and modules among the attributes, also in lists, tuples and dicts of them."""
    return members(attributes, path, (Tensor, Module))


def named_weights(module: Module) -> dict[str, Tensor]:
    """The Tensors of two axes in a module, in order, each once: `W` of its layers.

    They go by their own names if these tell them apart, as W1 and W2 of an MLP, otherwise by their
    paths.

    Example:
        >>> from tinygrad_edu.nn import MLP, Linear, Sequential, Tanh
        >>> list(named_weights(MLP((2, 50, 3))))
        ['W1', 'W2']
        >>> list(named_weights(Sequential(Linear(2, 50), Tanh(), Linear(50, 3))))
        ['layers.0.W', 'layers.2.W']
    """
    found = {id(p): (path, p) for path, p in reversed(list(module.named_parameters()))}
    matrices = [(path, p) for path, p in reversed(found.values()) if p.ndim == 2]
    names = [p.name for _, p in matrices]
    own = len(set(names)) == len(names) and all(names)
    return {str(p.name) if own else path: p for path, p in matrices}
