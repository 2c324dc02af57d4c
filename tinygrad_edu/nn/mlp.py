"""Modules one after another, and the multilayer perceptron."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_edu.data import Rng, random_generator
from tinygrad_edu.nn.activations import ACTIVATIONS, Identity, LeakyReLU, ReLU
from tinygrad_edu.nn.dropout import Dropout
from tinygrad_edu.nn.initial import Init
from tinygrad_edu.nn.layers import Linear, Maxout
from tinygrad_edu.nn.module import Module
from tinygrad_edu.rules import Primitive

__all__ = ["MLP", "Sequential"]


class Sequential(Module):
    """Modules one after another.

    Example:
        >>> from tinygrad_edu.nn import Tanh
        >>> net = Sequential(Linear(2, 8, rng=0), Tanh(), Linear(8, 1, rng=1))
        >>> list(net.state_dict())
        ['layers.0.W', 'layers.0.b', 'layers.2.W', 'layers.2.b']
    """

    def __init__(self, *layers: Module):
        for layer in layers:
            if not callable(layer) or isinstance(layer, type):
                raise TypeError(f"a layer must be a module, as nn.ReLU() is; got {layer!r:.60}")
        self.layers = list(layers)

    def forward(self, x: Any) -> Any:
        """The output of the last layer."""
        for layer in self.layers:
            x = layer(x)
        return x

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, position: int) -> Module:
        return self.layers[position]

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)


class MLP(Sequential):
    """A multilayer perceptron: affine layers with an activation between each two.

    Args:
        sizes: how many values there are before the first layer, between the layers, and after
            the last: (2, 50, 50, 3) has two hidden layers of 50.
        activation: "relu", "leaky_relu", "sigmoid", "tanh", "softplus", "identity", or a function
            that makes a module, such as `lambda: nn.LeakyReLU(0.1)`; or "maxout", with which the
            hidden layers are `Maxout` layers of two pieces.
        init: see `Linear`; as a rule "he" for the relus and "glorot" for the others.
        rng: a seed, `np.random.Generator` or `np.random.RandomState`; the layers draw in order.
        dtype: float64 or another floating dtype; a `Trainer` turns the data into the same.
        dropout: if above 0, each hidden layer is followed by a `Dropout` with this probability,
            which draws from `rng`, too.

    The output has no activation: it is logits for `cross_entropy` and `binary_cross_entropy`.

    Example:
        >>> net = MLP((2, 50, 50, 3), rng=0)
        >>> net(np.zeros((10, 2))).shape
        (10, 3)
        >>> net
        MLP 2-50-50-3
        layer     type    shape           parameters
        layers.0  Linear  (2, 50) (50,)          150
        layers.1  ReLU
        layers.2  Linear  (50, 50) (50,)       2,550
        layers.3  ReLU
        layers.4  Linear  (50, 3) (3,)           153
        total                                  2,853
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str | Callable[[], Module] = "relu",
        init: Init | None = None,
        rng: Rng = None,
        dtype: Any = np.float64,
        dropout: float = 0.0,
    ):
        if not isinstance(sizes, (Sequence, np.ndarray)) or len(sizes) < 2:
            raise ValueError(f"sizes must be a tuple of two or more, as (2, 50, 3); got {sizes!r}")
        maxout = isinstance(activation, str) and activation == "maxout"
        make = ACTIVATIONS.get(activation) if isinstance(activation, str) else activation
        if maxout:
            make = Identity
        if not callable(make) or isinstance(make, (Module, np.ufunc, Primitive)):
            known = sorted([*ACTIVATIONS, "maxout"])
            raise ValueError(
                f"activation must be one of {known} or a function without arguments that "
                f"makes a module, got {activation!r}"
            )
        if init is None:
            init = "he" if isinstance(make(), (ReLU, LeakyReLU)) else "glorot"
        rng = random_generator(rng)
        super().__init__()
        for number, (n_in, n_out) in enumerate(itertools.pairwise(sizes), start=1):
            last = number == len(sizes) - 1
            make_layer = Maxout if maxout and not last else Linear
            layer = make_layer(n_in, n_out, init=init, rng=rng, dtype=dtype)
            layer.W.name, layer.b.name = f"W{number}", f"b{number}"
            self.layers += [layer] if last or maxout else [layer, make()]
            if dropout and not last:
                self.layers.append(Dropout(dropout, rng))
        self.sizes = tuple(sizes)

    def _label(self) -> str:
        return f"MLP {'-'.join(map(str, self.sizes))}"
