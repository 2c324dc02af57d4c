"""Nets: modules that hold parameters, and the multilayer perceptron.

A module is any object with a `forward`; its parameters are the Tensors with `requires_grad=True`
among its attributes, and those of the modules among its attributes, also in lists, tuples and
dicts: first a module's own, then those within, each in the order in which they were set.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_edu.calculus import neural
from tinygrad_edu.data import Rng, random_generator
from tinygrad_edu.rules import Primitive
from tinygrad_edu.state import checked_state
from tinygrad_edu.tensor import Tensor

__all__ = [
    "MLP",
    "Identity",
    "LeakyReLU",
    "Linear",
    "Maxout",
    "Module",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "named_weights",
]

Init = str | float | Callable[[Any, tuple[int, int]], Any]


class Module:
    """The base of everything that has parameters. Subclasses define `forward`.

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
        """
        for path, module in self.named_modules():
            for name, value in _members(vars(module), f"{path}." if path else ""):
                if isinstance(value, Tensor) and value.is_input:
                    yield name, value

    def parameters(self) -> list[Tensor]:
        """All Tensors that need a gradient, in order, each once."""
        return list({id(p): p for _, p in self.named_parameters() if p.requires_grad}.values())

    def zero_grad(self) -> None:
        """Forgets the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def state_dict(self) -> dict[str, np.ndarray]:
        """A copy of all Tensors as plain arrays, by path; also of those that need no gradient."""
        return {name: np.array(p.data) for name, p in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Sets all Tensors from arrays by path: all of them, or none if anything is wrong.

        Raises:
            KeyError: a Tensor is missing, or the net has none of that name.
            ValueError: an array of another shape, or one that holds no real numbers.
        """
        own = dict(self.named_parameters())
        arrays = checked_state(state, own, self, "net")
        for name, array in arrays.items():
            own[name].data = np.array(array, own[name].dtype)

    def __repr__(self) -> str:
        rows = [("layer", "type", "shape", "parameters")]
        for path, module in self.named_modules():
            members = [value for _, value in _members(vars(module), "")]
            own = [p for p in members if isinstance(p, Tensor) and p.requires_grad]
            if own or not any(isinstance(value, Module) for value in members):
                shapes = " ".join(str(p.shape) for p in own)
                count = f"{sum(p.size for p in own):,}" if own else ""
                rows.append((path, module._label(), shapes, count))
        rows.append(("total", "", "", f"{sum(p.size for p in self.parameters()):,}"))
        a, b, c, d = (max(len(row[i]) for row in rows) for i in range(4))
        table = (f"{w:{a}}  {x:{b}}  {y:{c}}  {z:>{d}}".rstrip() for w, x, y, z in rows)
        return "\n".join([self._label(), *table])

    def _label(self) -> str:
        return type(self).__name__


def _members(attributes: Mapping[Any, Any], path: str) -> Iterator[tuple[str, Any]]:
    """The Tensors and modules among the attributes, also in lists, tuples and dicts of them."""
    for name, value in attributes.items():
        if isinstance(value, (Tensor, Module)):
            yield f"{path}{name}", value
        elif isinstance(value, (list, tuple)):
            yield from _members(dict(enumerate(value)), f"{path}{name}.")
        elif isinstance(value, dict):
            yield from _members(value, f"{path}{name}.")


def named_weights(module: Module) -> dict[str, Tensor]:
    """The Tensors of two axes in a module, in order, each once: `W` of its layers.

    They go by their own names if these tell them apart, as W1 and W2 of an MLP, otherwise by their
    paths.

    Example:
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


class Linear(Module):
    """The affine layer x @ W + b.

    Shapes: x (..., n_in) -> (..., n_out); W (n_in, n_out), b (n_out,).

    Args:
        n_in: how many values come in.
        n_out: how many go out.
        init: how W begins: "he" (normal with variance 2 / n_in; He et al., "Delving deep into
            rectifiers", ICCV 2015), "glorot" (normal with variance 2 / (n_in + n_out); Glorot and
            Bengio, AISTATS 2010), a number (normal with that standard deviation), or a function
            `(rng, shape) -> array`. b begins at 0.
        rng: a seed, `np.random.Generator` or `np.random.RandomState`; see `tg.data`.
        dtype: float64 or another floating dtype.

    Example:
        >>> layer = Linear(2, 3, rng=0)
        >>> layer(np.zeros((4, 2))).shape
        (4, 3)
    """

    def __init__(
        self, n_in: int, n_out: int, init: Init = "he", rng: Rng = None, dtype: Any = np.float64
    ):
        for what, n in (("n_in", n_in), ("n_out", n_out)):
            if not isinstance(n, (int, np.integer)) or n < 1:
                raise ValueError(f"{what} must be a whole number of at least 1, got {n!r}")
        W = np.asarray(_initial(init, random_generator(rng), (int(n_in), int(n_out))), dtype)
        if W.shape != (n_in, n_out):
            raise ValueError(f"init returned shape {W.shape} for W of shape {(n_in, n_out)}")
        self.W = Tensor(W, requires_grad=True, name="W")
        self.b = Tensor(np.zeros(n_out, dtype), requires_grad=True, name="b")

    def forward(self, x: Any) -> Any:
        """x @ W + b."""
        return neural.linear(x, self.W, self.b)


def _initial(init: Init, rng: Any, shape: tuple[int, int]) -> Any:
    if callable(init):
        return init(rng, shape)
    n_in, n_out = shape
    scales = {"he": math.sqrt(2 / n_in), "glorot": math.sqrt(2 / (n_in + n_out))}
    scale = scales.get(init) if isinstance(init, str) else init
    if not isinstance(scale, (int, float, np.number)) or not 0 <= scale < math.inf:
        raise ValueError(
            f"init must be one of {sorted(scales)}, a standard deviation or a function "
            f"(rng, shape) -> array, got {init!r}"
        )
    return scale * rng.standard_normal(shape)


class Maxout(Linear):
    """The largest of several affine functions: max over k of x @ W_k + b_k, elementwise.

    It is a layer and its activation in one: a convex function that is learned, of `pieces` straight
    pieces. From Goodfellow et al., "Maxout networks", ICML 2013, arXiv 1302.4389. Where pieces are
    equally large, they share the gradient in equal parts, as `np.max` does.

    Shapes: x (..., n_in) -> (..., n_out); W (n_in, pieces * n_out) holds W_1, W_2, ... side by
    side, and b (pieces * n_out,) in the same way.

    Args:
        n_in: how many values come in.
        n_out: how many go out.
        pieces: how many affine functions there are for each of these.
        init: how every W_k begins; see `Linear`. By default "glorot": the larger of two normal
            numbers has the same mean square as one, so that two pieces need no gain as a ReLU does.
        rng: a seed, `np.random.Generator` or `np.random.RandomState`; the pieces draw in order.
        dtype: float64 or another floating dtype.

    Example:
        >>> layer = Maxout(1, 1, pieces=2, rng=0)
        >>> layer.W.data = np.array([[1.0, -1.0]])  # the two pieces x and -x: the absolute value
        >>> layer(np.array([[-2.0], [3.0]])).data
        array([[2.],
               [3.]])
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        pieces: int = 2,
        init: Init = "glorot",
        rng: Rng = None,
        dtype: Any = np.float64,
    ):
        if not isinstance(pieces, (int, np.integer)) or pieces < 1:
            raise ValueError(f"pieces must be a whole number of at least 1, got {pieces!r}")
        rng = random_generator(rng)
        layers = [Linear(n_in, n_out, init, rng, dtype) for _ in range(pieces)]
        self.pieces, self.n_out = int(pieces), int(n_out)
        W = np.concatenate([layer.W.data for layer in layers], axis=1)
        self.W = Tensor(W, requires_grad=True, name="W")
        self.b = Tensor(np.zeros(W.shape[1], W.dtype), requires_grad=True, name="b")

    def forward(self, x: Any) -> Any:
        """max over k of x @ W_k + b_k."""
        z = super().forward(x)
        return np.max(np.reshape(z, (*z.shape[:-1], self.pieces, self.n_out)), axis=-2)


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


class Sequential(Module):
    """Modules one after another.

    Example:
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


ACTIVATIONS: dict[str, type[Module]] = {
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "softplus": Softplus,
    "identity": Identity,
}


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
        self.sizes = tuple(sizes)

    def _label(self) -> str:
        return f"MLP {'-'.join(map(str, self.sizes))}"
