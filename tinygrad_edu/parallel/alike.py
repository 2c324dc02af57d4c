"""What must be the same on all ranks, put into words that can be compared, and made the same."""

from __future__ import annotations

import copy
import json
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.nn import Module
from tinygrad_edu.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_edu.trainer import Trainer

__all__ = ["checksums", "facts", "random_layers", "state", "take_over"]

_SIMPLE = (bool, int, float, str, np.generic, type(None))


def facts(trainer: Trainer, settings: dict[str, str]) -> dict[str, str]:
    """What a fit does, in short: settings, data, hyperparameters, and how the model is built.

    Not the values of the parameters, which the ranks get from the first of them.
    """
    told = dict(settings)
    optimizer = trainer.optimizer
    told["the optimizer"] = type(optimizer).__name__
    for name, value in _simple(optimizer).items():
        told[f"optimizer.{name}"] = value
    told["the loss"] = getattr(trainer.loss, "__qualname__", type(trainer.loss).__name__)
    told["l2"] = repr(trainer.l2)
    told["the callbacks"] = repr([type(callback).__name__ for callback in trainer.callbacks])
    told["the kind of rng"] = type(trainer.rng).__name__
    told["the steps before"] = repr(len(trainer.history))
    for path, module in trainer.model.named_modules():
        name = f"model.{path}" if path else "model"
        simple = {key: value for key, value in _simple(module).items() if key != "training"}
        told[name] = f"{type(module).__name__} {simple or ''}".rstrip()
    for name, p in tensors(trainer).items():
        told[name] = f"shape {p.shape} of {p.dtype}"
    return told


def _simple(thing: Any) -> dict[str, str]:
    """Numbers and words among the attributes."""
    found = {}
    for name, value in vars(thing).items():
        parts = value if isinstance(value, tuple) else (value,)
        if all(isinstance(part, _SIMPLE) for part in parts):
            found[name.lstrip("_")] = repr(value)
    return found


def _checksum(array: np.ndarray) -> str:
    """The CRC-32 of the bytes of an array."""
    return f"{zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data):08x}"


def checksums(trainer: Trainer) -> dict[str, str]:
    """Of all that changes in training and yet stays the same on all ranks."""
    sums = {name: _checksum(p.data) for name, p in tensors(trainer).items()}
    shuffling = json.dumps(_state_of(trainer.rng), default=np.ndarray.tolist)
    return sums | {"the state of rng": f"{zlib.crc32(shuffling.encode()):08x}"}


def tensors(trainer: Trainer) -> dict[str, Tensor]:
    """The Tensors of the model and those of the optimiser, each once."""
    found = {id(p): (name, p) for name, p in trainer.model.named_parameters()}
    for i, p in enumerate(trainer.optimizer.params):
        found.setdefault(id(p), (f"optimizer.params[{i}]", p))
    return dict(found.values())


def state(trainer: Trainer) -> Any:
    """All that the ranks begin a fit with, as `take_over` takes it."""
    arrays = {name: p.data for name, p in tensors(trainer).items()}
    seeds = [int.from_bytes(g.bytes(8)) for g in random_layers(trainer.model)]
    return arrays, trainer.optimizer.state_dict(), _state_of(trainer.rng), seeds


def take_over(trainer: Trainer, state: Any, rank: int) -> None:
    """Begins with the state of another rank, and with random numbers in layers of its own."""
    arrays, remembered, shuffling, seeds = state
    for name, p in tensors(trainer).items():
        if arrays[name].tobytes() != p.data.tobytes():
            p.data = np.array(arrays[name])
    trainer.optimizer.load_state_dict(remembered)
    layers = random_layers(trainer.model)
    if any(generator is trainer.rng for generator in layers):
        # Ranks draw different numbers in layers, but they shuffle alike.
        trainer.rng = copy.deepcopy(trainer.rng)
    _set_state(trainer.rng, shuffling)
    for seed, generator in zip(seeds, layers, strict=True):
        kind = getattr(np.random, _state_of(generator)["bit_generator"])
        _set_state(generator, kind(np.random.SeedSequence([seed, rank])).state)


def random_layers(model: Module) -> list[Any]:
    """The random generators that modules hold, each once."""
    held = [value for _, module in model.named_modules() for value in vars(module).values()]
    kinds = (np.random.Generator, np.random.RandomState)
    return list({id(value): value for value in held if isinstance(value, kinds)}.values())


def _state_of(generator: Any) -> Any:
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    return generator.bit_generator.state


def _set_state(generator: Any, state: Any) -> None:
    if isinstance(generator, np.random.RandomState):
        generator.set_state(state)
    else:
        generator.bit_generator.state = state
