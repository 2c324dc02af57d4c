"""What must be the same on all ranks, put into words that can be compared, and made the same."""

from __future__ import annotations

import copy
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.state import (
    described,
    generator_state,
    random_generators,
    set_generator_state,
    simple_attributes,
)
from tinygrad_edu.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_edu.trainer import Trainer

__all__ = ["checksums", "facts", "state", "take_over"]


def facts(trainer: Trainer, settings: dict[str, str]) -> dict[str, str]:
    """What a fit does, in short: settings, data, hyperparameters, and how the model is built.

    Not the values of the parameters, which the ranks get from the first of them.
    """
    told = dict(settings)
    optimizer = trainer.optimizer
    told["the optimizer"] = type(optimizer).__name__
    for name, value in simple_attributes(optimizer).items():
        told[f"optimizer.{name.lstrip('_')}"] = repr(value)
    told["the loss"] = getattr(trainer.loss, "__qualname__", type(trainer.loss).__name__)
    told["l2"] = repr(trainer.l2)
    told["the callbacks"] = repr([type(callback).__name__ for callback in trainer.callbacks])
    told["the kind of rng"] = f"{type(trainer.rng).__name__} {_kind(trainer.rng)}"
    told["the steps before"] = repr(len(trainer.history))
    for path, module in trainer.model.named_modules():
        name = f"model.{path}" if path else "model"
        simple = {k: value for k, value in simple_attributes(module).items() if k != "training"}
        told[name] = f"{type(module).__name__} {simple or ''}".rstrip()
    for name, p in tensors(trainer).items():
        told[name] = f"shape {p.shape} of {p.dtype}"
    return told


def checksums(trainer: Trainer) -> dict[str, str]:
    """In short all that changes in training and yet stays the same on all ranks."""
    sums = {name: described(p.data) for name, p in tensors(trainer).items()}
    shuffling = repr(generator_state(trainer.rng)).encode()
    return sums | {"the state of rng": f"checksum {zlib.crc32(shuffling):08x}"}


def tensors(trainer: Trainer) -> dict[str, Tensor]:
    """The Tensors of the model and those of the optimiser, each once."""
    found = {id(p): (name, p) for name, p in trainer.model.named_parameters()}
    for i, p in enumerate(trainer.optimizer.params):
        found.setdefault(id(p), (f"optimizer.params[{i}]", p))
    return dict(found.values())


def state(trainer: Trainer) -> Any:
    """All that the ranks begin a fit with, as `take_over` takes it."""
    arrays = {name: p.data for name, p in tensors(trainer).items()}
    seeds = [int.from_bytes(generator.bytes(8)) for generator in _in_layers(trainer)]
    return arrays, trainer.optimizer.state_dict(), generator_state(trainer.rng), seeds


def take_over(trainer: Trainer, state: Any, rank: int) -> None:
    """Begins with the state of another rank, and with random numbers in layers of its own."""
    arrays, remembered, shuffling, seeds = state
    for name, p in tensors(trainer).items():
        if arrays[name].tobytes() != p.data.tobytes():
            p.data = np.array(arrays[name])
    trainer.optimizer.load_state_dict(remembered)
    layers = _in_layers(trainer)
    if any(generator is trainer.rng for generator in layers):
        # Ranks draw different numbers in layers, but they shuffle alike.
        trainer.rng = copy.deepcopy(trainer.rng)
    set_generator_state(trainer.rng, shuffling)
    for seed, generator in zip(seeds, layers, strict=True):
        bits = getattr(np.random, _kind(generator))(np.random.SeedSequence([seed, rank]))
        set_generator_state(generator, generator_state(type(generator)(bits)))


def _in_layers(trainer: Trainer) -> list[Any]:
    """The random generators of the model, each once."""
    return list({id(g): g for g in random_generators(trainer.model).values()}.values())


def _kind(generator: Any) -> str:
    kind: str = generator_state(generator)["bit_generator"]
    return kind
