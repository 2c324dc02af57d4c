"""Models to and from PyTorch.

A layer is known by its `forward`, so that a subclass with another one is not taken for it. The
weights of a Linear are transposed in PyTorch: (n_out, n_in). Which arrays are transposed depends on
the kind of their layer, never on their shapes, since a square matrix fits either way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_edu.interop.arrays import read_arrays
from tinygrad_edu.interop.models import check_fits
from tinygrad_edu.nn import (
    Conv2d,
    Dropout,
    Embedding,
    Flatten,
    Identity,
    LayerNorm,
    LeakyReLU,
    Linear,
    Maxout,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    Sigmoid,
    Softplus,
    Standardize,
    Tanh,
)
from tinygrad_edu.tensor import Tensor

__all__ = ["load_torch", "to_torch"]

# By `forward`: what PyTorch calls the Tensors of a layer, and the part of it that is transposed.
_NAMES: dict[Any, dict[str, str]] = {
    Linear.forward: {"W": "weight", "b": "bias"},
    Maxout.forward: {"W": "0.weight", "b": "0.bias"},
    Conv2d.forward: {"W": "weight", "b": "bias"},
    Embedding.forward: {"W": "weight"},
    LayerNorm.forward: {"gain": "weight", "bias": "bias"},
}
_TRANSPOSED = {(Linear.forward, "W"), (Maxout.forward, "W")}


def to_torch(model: Module) -> Any:
    """A model as modules of PyTorch, with equal outputs and weights of their own.

    A Sequential or MLP becomes a `torch.nn.Sequential`, every layer in its place; a single layer
    its counterpart there. Dtypes, `requires_grad` and the training mode of each module are kept;
    what is shared within the model is shared there. All of it consists of PyTorch's own modules,
    so that it can be saved and loaded where tinygrad_edu is not installed; where none does the
    same, as for Standardize, it is a `torch.fx.GraphModule` whose `code` shows what it computes.

    An Embedding there takes integers alone.

    Raises:
        TypeError: a module with a `forward` that has no counterpart, or an array of a dtype that
            PyTorch lacks; the message names the module.
        ValueError: a Tensor that is shared between layers that keep it differently; a ReLU whose
            derivative at 0 is not 0.
        ModuleNotFoundError: torch is missing.

    Example:
        >>> import tinygrad_edu as tg
        >>> net = tg.nn.MLP((2, 8, 3), rng=0)
        >>> theirs = tg.to_torch(net)  # doctest: +SKIP
        Sequential(
          (0): Linear(in_features=2, out_features=8, bias=True)
          (1): ReLU()
          (2): Linear(in_features=8, out_features=3, bias=True)
        )
    """
    if not isinstance(model, Module):
        raise TypeError(f"to_torch takes a module, as tg.nn.MLP, got {type(model).__name__}")
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("PyTorch is missing: pip install torch") from error
    return _Converter(torch).module(model, "")


class _Converter:
    """Makes modules of PyTorch, each and each of their parameters once."""

    def __init__(self, torch: Any):
        self.torch = torch
        self.nn = torch.nn
        self._modules: dict[int, Any] = {}
        self._tensors: dict[int, tuple[bool, Any]] = {}

    def module(self, module: Module, path: str) -> Any:
        """The counterpart of a module."""
        if id(module) not in self._modules:
            make = _MODULES.get(getattr(type(module), "forward", None))
            own = "forward" in vars(module) or type(module).__call__ is not Module.__call__
            if make is None or own:
                raise TypeError(
                    f"{path or 'the model'} is a {type(module).__name__}, for which PyTorch has no "
                    f"module: build it there by hand, or take the model elsewhere with tg.to_onnx, "
                    f"which goes by what forward computes"
                )
            theirs = make(self, module, path)
            for name, other in _NAMES.get(type(module).forward, {}).items():
                *places, name_there = other.split(".")
                holder = theirs[int(places[0])] if places else theirs
                setattr(holder, name_there, self.parameter(module, name, path))
            theirs.training = module.training
            self._modules[id(module)] = theirs
        return self._modules[id(module)]

    def parameter(self, module: Module, name: str, path: str) -> Any:
        """A Tensor of a module as a parameter."""
        tensor = getattr(module, name)
        transposed = (type(module).forward, name) in _TRANSPOSED
        if id(tensor) not in self._tensors:
            array = tensor.data.T if transposed else tensor.data
            copy = self.copy(array, f"{name} of {path or 'the model'}")
            parameter = self.nn.Parameter(copy, tensor.requires_grad)
            self._tensors[id(tensor)] = transposed, parameter
        before, parameter = self._tensors[id(tensor)]
        if before != transposed:
            raise ValueError(
                f"{name} of {path or 'the model'} is shared with a layer of another "
                f"kind, whose weights PyTorch keeps the other way round: it cannot be shared there"
            )
        return parameter

    def copy(self, array: np.ndarray, name: str) -> Any:
        """The numbers of an array in memory of their own."""
        try:
            return self.torch.from_numpy(np.array(array, order="C"))
        except TypeError as error:
            raise TypeError(f"{name} has dtype {array.dtype}, which PyTorch lacks") from error

    def graph(self, code: Callable[[Any, Any], Any], arrays: dict[str, Any]) -> Any:
        """A module that computes `code(x, self)` with these arrays."""
        root = self.nn.Module()
        for name, value in arrays.items():
            root.register_buffer(name, value)
        graph = self.torch.fx.Graph()
        x = self.torch.fx.Proxy(graph.placeholder("x"))
        get = {name: self.torch.fx.Proxy(graph.get_attr(name)) for name in arrays}
        graph.output(code(x, get).node)
        return self.torch.fx.GraphModule(root, graph)


def _sequential(to: _Converter, module: Any, path: str) -> Any:
    where = f"{path}." if path else ""
    layers = [to.module(m, f"{where}layers.{i}") for i, m in enumerate(module.layers)]
    return to.nn.Sequential(*layers)


def _linear(to: _Converter, module: Any, path: str) -> Any:
    return to.nn.utils.skip_init(to.nn.Linear, *module.W.shape)


def _maxout(to: _Converter, module: Any, path: str) -> Any:
    return to.nn.Sequential(
        _linear(to, module, path),
        to.nn.Unflatten(-1, (module.pieces, module.n_out)),
        to.graph(lambda x, _: x.amax(-2), {}),
    ).train(module.training)


def _conv2d(to: _Converter, module: Any, path: str) -> Any:
    n_out, n_in, *size = module.W.shape
    how = {"stride": module.stride, "padding": module.padding}
    return to.nn.utils.skip_init(to.nn.Conv2d, n_in, n_out, tuple(size), **how)


def _embedding(to: _Converter, module: Any, path: str) -> Any:
    return to.nn.utils.skip_init(to.nn.Embedding, *module.W.shape)


def _standardize(to: _Converter, module: Any, path: str) -> Any:
    arrays = {n: to.copy(getattr(module, n).data, n) for n in ("mean", "scale")}
    return to.graph(lambda x, own: (x - own["mean"]) / own["scale"], arrays)


def _relu(to: _Converter, module: Any, path: str) -> Any:
    if module.at_zero != 0:
        raise ValueError(
            f"{path or 'the model'} is a ReLU with at_zero={module.at_zero}; that of PyTorch has "
            f"the derivative 0 there"
        )
    return to.nn.ReLU()


_MODULES: dict[Any, Callable[[_Converter, Any, str], Any]] = {
    Sequential.forward: _sequential,
    Linear.forward: _linear,
    Maxout.forward: _maxout,
    Conv2d.forward: _conv2d,
    Embedding.forward: _embedding,
    Standardize.forward: _standardize,
    LayerNorm.forward: lambda to, m, _: to.nn.LayerNorm(m.gain.size, m.eps),
    Dropout.forward: lambda to, m, _: to.nn.Dropout(m.p),
    MaxPool2d.forward: lambda to, m, _: to.nn.MaxPool2d(m.size, m.stride),
    Flatten.forward: lambda to, m, _: to.nn.Flatten(),
    Identity.forward: lambda to, m, _: to.nn.Identity(),
    ReLU.forward: _relu,
    LeakyReLU.forward: lambda to, m, _: to.nn.LeakyReLU(m.slope),
    Sigmoid.forward: lambda to, m, _: to.nn.Sigmoid(),
    Tanh.forward: lambda to, m, _: to.nn.Tanh(),
    # Above the threshold it is x, which at the usual 20 is off by 2e-9.
    Softplus.forward: lambda to, m, _: to.nn.Softplus(threshold=40),
}


def load_torch(model: Module, state: Any, names: Mapping[str, str] | None = None) -> None:
    """Sets all Tensors of a model from a `state_dict` of PyTorch: all, or none if one is wrong.

    The names of PyTorch are found from those here: the layers of a Sequential have their numbers
    alone, as "0.weight" for "layers.0.W"; W is "weight" and b is "bias"; other attributes go by
    the same names. The weights of Linear and Maxout layers, and of classes that extend them, are
    transposed.

    The order of the arrays is not used: files of safetensors are not in the order of the layers.

    Args:
        model: the net; what it holds keeps its dtypes.
        state: Tensors of PyTorch, on any device, or arrays, by name; or a module of PyTorch, or the
            name of a file of safetensors.
        names: where a name there is another than expected: {name here: name there}, as in
            {"layers.0.W": "fc1.weight", "layers.0.b": "fc1.bias"}.

    Raises:
        KeyError: an array is missing, or one is left over; a name in `names` that the model lacks.
        ValueError: a shape that does not fit, a dtype that the model's cannot hold exactly, or an
            array of PyTorch that has no values; one array for two Tensors; a file of torch.save.
        TypeError: `model` is no module, `names` is no dict, or `state` is none of these.

    Example:
        >>> import tinygrad_edu as tg
        >>> net = tg.nn.MLP((2, 3))
        >>> state = {"0.weight": np.array([[1.0, 2], [3, 4], [5, 6]]), "0.bias": np.zeros(3)}
        >>> tg.load_torch(net, state)
        >>> net.parameters()[0].data
        array([[1., 3., 5.],
               [2., 4., 6.]])
    """
    if not isinstance(model, Module):
        raise TypeError(f"load_torch takes a module, as tg.nn.MLP, got {type(model).__name__}")
    if not isinstance(names, (Mapping, type(None))):
        raise TypeError(f"names must be {{name here: name there}}, got {type(names).__name__}")
    theirs = _arrays(state)
    own = dict(model.named_parameters())
    there = _names_there(model)
    if unknown := dict(names or {}).keys() - own:
        raise KeyError(f"names has {sorted(unknown)}; this {type(model).__name__} has {list(own)}")
    there |= {name: (other, there[name][1]) for name, other in dict(names or {}).items()}
    expected = {other for other, _ in there.values()}
    for other in expected:
        takers = [name for name in there if there[name][0] == other]
        if len({id(own[name]) for name in takers}) > 1:
            raise ValueError(f"{takers} would all be {other}: give each a name of its own in names")
    if expected != theirs.keys():
        lacks = {n: f"{o} {_shape(own[n], t)}" for n, (o, t) in there.items() if o not in theirs}
        extra = {o: array.shape for o, array in theirs.items() if o not in expected}
        raise KeyError(
            f"the state lacks {sorted(lacks.values())} and has {extra} left over; if these are "
            f"the same by other names, say so: "
            f"names={{{', '.join(f'{n!r}: ...' for n in lacks)}}}"
        )
    arrays = {n: theirs[o].T if turned else theirs[o] for n, (o, turned) in there.items()}
    for name, (other, turned) in there.items():
        if theirs[other].shape != _shape(own[name], turned):
            raise ValueError(
                f"{other} has shape {theirs[other].shape}, where {name} of shape "
                f"{own[name].shape} needs {_shape(own[name], turned)}"
            )
    check_fits(arrays, model, "the state of PyTorch", "round it there first, as value.float() does")
    model.load_state_dict(arrays)


def _shape(tensor: Tensor, transposed: bool) -> tuple[int, ...]:
    return tensor.shape[::-1] if transposed else tensor.shape


def _names_there(model: Module) -> dict[str, tuple[str, bool]]:
    """For the path of each Tensor its name in PyTorch, and whether it is transposed there."""
    # Every step of the way is renamed by the module that it starts from.
    found: dict[str, tuple[str, bool]] = {}
    modules = dict(model.named_modules())
    for path, _ in model.named_parameters():
        holders = [p for p in modules if p == "" or path.startswith(f"{p}.")]
        parts, last = [], ""
        for holder, end in zip(holders, [*holders[1:], path], strict=True):
            step = end[len(holder) :].removeprefix(".")
            forward = type(modules[holder]).forward
            if forward is Sequential.forward:
                step = step.removeprefix("layers.")
            last = holder
            parts.append(step)
        forward, name = _kind(modules[last]), parts.pop()
        parts.append(_NAMES.get(forward, {}).get(name, name))
        found[path] = ".".join(parts), (forward, name) in _TRANSPOSED
    return found


def _kind(module: Module) -> Any:
    """The `forward` of the layer that a module is, or extends: what it does with W is its own."""
    forwards = (getattr(kind, "forward", None) for kind in type(module).__mro__)
    return next((forward for forward in forwards if forward in _NAMES), None)


def _arrays(state: Any) -> dict[str, np.ndarray]:
    """The arrays of a state by name."""
    if isinstance(state, (str, os.PathLike)):
        if Path(state).suffix.lower() not in (".safetensors", ".npz"):
            raise ValueError(
                f"the name of {state} must end in .safetensors; what torch.save wrote is read by "
                f"PyTorch: tg.load_torch(model, torch.load({os.fspath(state)!r}, "
                f"weights_only=True))"
            )
        return read_arrays(state)[0]
    if not isinstance(state, Mapping) and callable(getattr(state, "state_dict", None)):
        state = state.state_dict()
    if not isinstance(state, Mapping):
        raise TypeError(
            f"state must be a state_dict of PyTorch, a module of it, or the name of a file, got "
            f"{type(state).__name__}"
        )
    return {str(name): _array(str(name), value) for name, value in state.items()}


def _array(name: str, value: Any) -> np.ndarray:
    try:
        if hasattr(value, "detach") and hasattr(value, "cpu"):
            value = value.detach().cpu()
            # NumPy has no bfloat16; float32 holds all of its numbers.
            value = value.float() if "bfloat16" in str(value.dtype) else value
            value = value.numpy()
        return np.asarray(value)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(f"{name} cannot be made an array: {error}") from error
