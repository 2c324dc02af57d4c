"""The whole state of a training as arrays and JSON: what a checkpoint holds, and how it is resumed.

    model.*, params.*      the Tensors of the model, and those of the optimiser beyond these
    attributes.*           the plain arrays among the attributes of its modules
    optimizer.*            what the optimiser remembers
    history.*              the losses of all steps, the ends of epochs, the validations
    rest                   the rows that the epoch under way has still to use
    callbacks.*            what callbacks remember

The JSON beside them has the hyperparameters, the numbers and words among the attributes of modules,
the states of the random generators, and facts that must be the same where the training goes on: how
the model is built, the loss, l2, the data.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from types import CodeType
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.interop.arrays import read_arrays
from tinygrad_edu.state import (
    generator_state,
    hyperparameters,
    plain_arrays,
    random_generators,
    set_attributes,
    set_generator_state,
    settings,
)
from tinygrad_edu.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_edu.trainer import Trainer

__all__ = ["captured", "load", "put_back"]

KIND = "training of tinygrad_edu"
VERSION = 1

Arrays = dict[str, np.ndarray]

_COUNTS = "epoch_starts", "epoch_ends", "validation_steps"


def load(trainer: Trainer, path: str | os.PathLike[str]) -> None:
    """Puts a trainer into the state of a file; see `Trainer.resume`."""
    arrays, about = read_arrays(path)
    if about.get("kind") != KIND or about.get("version") != VERSION:
        raise ValueError(
            f"{path} is no checkpoint of a training that this version reads (tg.load_into reads "
            f"files of models)"
        )
    before = captured(trainer)
    changed = False
    try:
        _check_facts(trainer, about["facts"])
        _check_made_with(before[1]["made with"], about["made with"])
        _check_arrays(before[0], arrays)
        changed = True
        _take_over(trainer, arrays, about)
    except Exception as error:
        try:
            if changed:
                _take_over(trainer, *before)
        finally:
            raise ValueError(f"the training in {path} cannot go on here: {error}") from error


def put_back(trainer: Trainer, before: tuple[Arrays, dict[str, Any]]) -> None:
    """Puts a trainer into a state that was `captured` of it."""
    _take_over(trainer, *before)


def captured(trainer: Trainer) -> tuple[Arrays, dict[str, Any]]:
    """A copy of all that a training consists of, but for the data, as `write_arrays` takes it.

    Raises:
        TypeError: the optimiser has an attribute that files cannot hold.
    """
    optimizer, history = trainer.optimizer, trainer.history
    arrays = {f"model.{name}": array for name, array in trainer.model.state_dict().items()}
    arrays |= {f"attributes.{name}": a.copy() for name, a in plain_arrays(trainer.model).items()}
    arrays |= {f"params.{i}": np.array(p.data) for i, p in _others(trainer).items()}
    arrays |= {f"optimizer.{name}": array for name, array in optimizer.state_dict().items()}
    arrays |= {f"history.{name}": array for name, array in _lists(history).items()}
    rest, data = trainer._begun or (None, None)
    if trainer._batches is not None:
        rest, data = trainer._batches.rest(), trainer._batches.facts()
    if rest is not None:
        arrays["rest"] = np.array(rest, np.min_scalar_type(int(rest.max(initial=0))))
    callbacks = {}
    for name, callback in _named_callbacks(trainer).items():
        state = callback.state_dict()
        found = {key: value for key, value in state.items() if isinstance(value, np.ndarray)}
        arrays |= {f"callbacks.{name}.{key}": array for key, array in found.items()}
        if state:
            callbacks[name] = {key: value for key, value in state.items() if key not in found}
    about = {
        "kind": KIND,
        "version": VERSION,
        "facts": _facts(trainer),
        "data": data,
        "within an epoch": rest is not None,
        "hyperparameters": hyperparameters(optimizer),
        "settings": settings(trainer.model, optimizer),
        "made with": trainer._made_with or settings(trainer.model, optimizer),
        "generators": {name: generator_state(g) for name, g in _generators(trainer).items()},
        "interrupted": history.interrupted,
        "compiled": trainer.compiled,
        "callbacks": callbacks,
    }
    return arrays, about


def _take_over(trainer: Trainer, arrays: Arrays, about: Mapping[str, Any]) -> None:
    """Puts a trainer into the state that `captured` returned, after the look at the arrays."""
    lists = _part(arrays, "history")
    rest = _checked_rest(arrays.get("rest"))
    if (rest is not None) != about["within an epoch"]:
        raise ValueError("it does not say what is left of its epoch")
    _check_lists(lists)
    data = about["data"]
    if data is not None and not all(isinstance(value, str) for value in data.values()):
        raise ValueError("what it says of the data is not in words")
    if not isinstance(about["callbacks"], dict):
        raise ValueError("it does not say what callbacks remember")
    interrupted, compiled = bool(about["interrupted"]), bool(about["compiled"])
    generators, states = _generators(trainer), about["generators"]
    if generators.keys() != states.keys():
        raise ValueError(f"it has states of the generators {list(states)}, not {list(generators)}")
    for name, generator in generators.items():
        set_generator_state(generator, states[name])
    _set_hyperparameters(trainer.optimizer, about["hyperparameters"])
    trainer._made_with = dict(about["made with"])
    set_attributes(trainer.model, about["settings"], _part(arrays, "attributes"))
    trainer.model.load_state_dict(_part(arrays, "model"))
    for i, p in _others(trainer).items():
        p.data = arrays[f"params.{i}"]
    trainer.optimizer.load_state_dict(_part(arrays, "optimizer"))
    for name, callback in _named_callbacks(trainer).items():
        if name in about["callbacks"]:
            kept = _part(arrays, f"callbacks.{name}")
            callback.load_state_dict({**about["callbacks"][name], **kept})
    for name, array in lists.items():
        getattr(trainer.history, name)[:] = array.tolist()
    trainer.history.interrupted = interrupted
    # A training that had to do without a program would take other bits with one.
    trainer.compiled = trainer.compiled and compiled
    trainer._begun = None if data is None else (rest, data)


def _part(arrays: Arrays, kind: str) -> Arrays:
    start = f"{kind}."
    return {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}


def _others(trainer: Trainer) -> dict[int, Tensor]:
    """The parameters of the optimiser that are not the model's, by their place."""
    own = {id(p) for _, p in trainer.model.named_parameters()}
    return {i: p for i, p in enumerate(trainer.optimizer.params) if id(p) not in own}


def _lists(history: Any) -> Arrays:
    return {
        name: np.array(values, int if name in _COUNTS else float)
        for name, values in vars(history).items()
        if isinstance(values, list)
    }


def _named_callbacks(trainer: Trainer) -> dict[str, Any]:
    """The callbacks by class; several of one class also by number."""
    seen: Counter[str] = Counter()
    named = {}
    for callback in trainer.callbacks:
        kind = type(callback).__name__
        named[f"{kind}-{seen[kind]}"] = callback
        seen[kind] += 1
    return named


def _generators(trainer: Trainer) -> dict[str, Any]:
    inside = random_generators(trainer.model)
    return {"rng": trainer.rng} | {f"model.{name}": g for name, g in inside.items()}


def _set_hyperparameters(optimizer: Any, values: Mapping[str, Any]) -> None:
    own = vars(optimizer)
    if values.keys() != hyperparameters(optimizer).keys():
        raise ValueError(f"it has the hyperparameters {list(values)}")
    fitting = {name: _in_type(own[name], value, name) for name, value in values.items()}
    optimizer.lr = fitting.pop("_lr")
    own.update(fitting)


def _in_type(own: Any, value: Any, name: str) -> Any:
    """A hyperparameter from JSON in the type in which the optimiser has it."""
    if isinstance(own, tuple) and isinstance(value, list) and len(own) == len(value):
        return tuple(_in_type(a, b, name) for a, b in zip(own, value, strict=True))
    kinds = (bool, str), (bool, str)
    if own is None or value is None:
        return value
    if isinstance(value, (list, dict)) or isinstance(own, kinds[0]) != isinstance(value, kinds[1]):
        raise ValueError(f"{name} cannot be {value!r}")
    return type(own)(value) if isinstance(own, (np.generic, float)) else value


def _facts(trainer: Trainer) -> dict[str, str]:
    """What must be the same where the training goes on."""
    told = {"the optimizer": type(trainer.optimizer).__name__, "l2": repr(float(trainer.l2))}
    told["the loss"], told["the code of the loss"] = _loss_facts(trainer.loss)
    for path, module in trainer.model.named_modules():
        told[f"model.{path}" if path else "the model"] = type(module).__name__
    return told


def _loss_facts(loss: Callable[..., Any]) -> tuple[str, str]:
    """What a loss is called, and a checksum of its code."""
    shown = ""
    while isinstance(loss, functools.partial):
        shown += f" of {loss.args} and {loss.keywords}"
        loss = loss.func
    name = getattr(loss, "__qualname__", type(loss).__qualname__)
    function = inspect.unwrap(loss)
    code = getattr(function, "__code__", None)
    version = sys.implementation.cache_tag
    if not isinstance(code, CodeType):
        return name + shown, version
    return name + shown, f"{version} {zlib.crc32(_code(code, function.__doc__).encode()):08x}"


def _code(code: CodeType, doc: str | None = None) -> str:
    """What a function does, without its names for its own variables."""
    constants = []
    for c in code.co_consts:
        if isinstance(c, CodeType):
            constants.append(_code(c))
        elif c is not doc:
            constants.append(repr(sorted(map(repr, c)) if isinstance(c, frozenset) else c))
    return repr((code.co_code.hex(), code.co_names, constants))


def _check_facts(trainer: Trainer, then: Mapping[str, str]) -> None:
    now = _facts(trainer)
    differences = [
        f"{name} ({then.get(name, 'nothing')} then, {now.get(name, 'nothing')} now)"
        for name in {**then, **now}
        if then.get(name) != now.get(name) and name != "the code of the loss"
    ]
    codes = [facts["the code of the loss"] for facts in (then, now)]
    if codes[0] != codes[1] and codes[0].split()[0] == codes[1].split()[0] and not differences:
        differences = ["the code of the loss"]
    if differences:
        raise ValueError(f"it was another one, which differs in {'; '.join(differences)}")


def _check_made_with(now: Mapping[str, Any], then: Mapping[str, Any]) -> None:
    """Makes sure of the settings that optimiser and model had before the training changed any."""
    if now.keys() != then.keys():
        raise ValueError(f"it has settings of {list(then)}, not of {list(now)}")
    differences = [
        f"{'' if part == 'optimizer' else f'{part}.'}{name.removeprefix('_')} "
        f"({then[part].get(name)} then, {now[part].get(name)} now)"
        for part in now
        for name in {**then[part], **now[part]}
        if then[part].get(name) != now[part].get(name)
    ]
    if differences:
        raise ValueError(
            f"optimizer and model were made with other settings: {'; '.join(differences)}. Make "
            f"them with those of then; to go on with others, set them after trainer.resume(path)"
        )


def _check_arrays(own: Arrays, arrays: Arrays) -> None:
    """Makes sure that the arrays of the model and the optimiser are those of the file."""
    for kind in ("model", "params", "optimizer"):
        mine, given = _part(own, kind), _part(arrays, kind)
        missing, unknown = mine.keys() - given, given.keys() - mine
        for problem, names in (("lacks", missing), ("has unknown", unknown)):
            if names:
                raise ValueError(f"it {problem} {sorted(f'{kind}.{name}' for name in names)}")
        for name, array in given.items():
            if (array.shape, array.dtype) != (mine[name].shape, mine[name].dtype):
                raise ValueError(
                    f"{kind}.{name} has shape {array.shape} of {array.dtype} there, "
                    f"{mine[name].shape} of {mine[name].dtype} here"
                )


def _check_lists(lists: Arrays) -> None:
    """Makes sure of the lists of a history, which must go with each other."""
    ends, steps = lists["epoch_ends"], lists["validation_steps"]
    losses = lists.keys() - set(_COUNTS)
    if any(lists[name].dtype.kind != "f" for name in losses):
        raise ValueError("its losses are no floating numbers")
    for name in _COUNTS:
        counts = lists[name]
        if counts.dtype.kind != "i" or (np.diff(counts, prepend=0) < 0).any():
            raise ValueError(f"its {name} do not rise: {counts}")
        if counts.size and counts[-1] > len(lists["loss"]):
            raise ValueError(f"its {name} lie behind the end of its losses")
    if not 0 <= len(lists["epoch_starts"]) - len(ends) <= 1:
        raise ValueError("its epochs have not begun as often as they ended")
    if not len(steps) == len(lists["validation_loss"]) == len(lists["validation_score"]):
        raise ValueError("its validations are of several lengths")


def _checked_rest(rest: np.ndarray | None) -> np.ndarray | None:
    if rest is not None and (rest.ndim != 1 or rest.dtype.kind != "u"):
        raise ValueError(f"the rest of its epoch has shape {rest.shape} of {rest.dtype}")
    return None if rest is None else rest.astype(np.intp)
