"""States: what a net, an optimiser or a random generator knows, as plain arrays and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tinygrad_edu.tensor import plain

__all__ = [
    "checked_state",
    "described",
    "draws",
    "generator_state",
    "hyperparameters",
    "members",
    "plain_arrays",
    "random_generators",
    "set_attributes",
    "set_generator_state",
    "settings",
    "simple_attributes",
]


def checked_state(
    state: Mapping[str, Any], own: Mapping[str, Any], owner: object, kind: str
) -> dict[str, np.ndarray]:
    """The arrays of `state`, in the order of `own`, after a look at all of them.

    Args:
        state: the arrays by name that somebody gave.
        own: what `owner` has by name; the names and the shapes must be the same.
        owner: whose state it is, a "net" or an "optimiser" as messages call its `kind`.

    Raises:
        KeyError: an array is missing, or the owner has none of that name.
        ValueError: an array of another shape, or one that holds no real numbers.

    Example:
        >>> checked_state({"b": [1, 2]}, {"b": np.zeros(2)}, "a net", "net")
        {'b': array([1, 2])}
    """
    for problem, keys in (("lacks", own.keys() - state), ("has unknown", state.keys() - own)):
        if keys:
            raise KeyError(
                f"the state {problem} {sorted(keys)}; this {type(owner).__name__} has {list(own)}"
            )
    arrays = {}
    for name in own:
        try:
            arrays[name] = np.asarray(plain(state[name]))
        except ValueError as error:
            raise ValueError(f"{name} cannot be made an array: {error}") from error
    for name, array in arrays.items():
        if array.shape != own[name].shape:
            raise ValueError(
                f"{name} has shape {own[name].shape} in this {kind}, shape {array.shape} in the "
                f"state"
            )
        if array.dtype.kind not in "fiu" and not array.dtype == own[name].dtype == bool:
            raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}")
    return arrays


def described(value: Any) -> str:
    """A value in words that are the same for the same value; of an array not all its numbers.

    Example:
        >>> described(np.zeros((2, 3)))
        'shape (2, 3) of float64 with checksum f288b395'
    """
    import zlib

    if not isinstance(value, np.ndarray):
        return repr(value)
    checksum = zlib.crc32(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    return f"shape {value.shape} of {value.dtype} with checksum {checksum:08x}"


def simple_attributes(thing: Any) -> dict[str, Any]:
    """The numbers, truth values and words among the attributes, also in tuples, for JSON."""
    found = {}
    for name, value in vars(thing).items():
        parts = value if isinstance(value, tuple) else (value,)
        if all(isinstance(part, (bool, int, float, str, np.generic, type(None))) for part in parts):
            plain_parts = [p.item() if isinstance(p, np.generic) else p for p in parts]
            found[name] = plain_parts if isinstance(value, tuple) else plain_parts[0]
    return found


def hyperparameters(optimizer: Any) -> dict[str, Any]:
    """The attributes of an optimiser, apart from its parameters and what it remembers of these."""
    found = simple_attributes(optimizer)
    lost = vars(optimizer).keys() - found - {"params", "_vectors"}
    if lost:
        raise TypeError(
            f"{type(optimizer).__name__} has {sorted(lost)}, which a checkpoint cannot keep: "
            f"attributes must be numbers, truth values, words or tuples of them; arrays belong "
            f"into `state_names`"
        )
    return found


def settings(model: Any, optimizer: Any) -> dict[str, dict[str, Any]]:
    """The simple attributes of an optimiser, and of a module and those within it."""
    found = {"optimizer": simple_attributes(optimizer)}
    for path, module in model.named_modules():
        attributes = simple_attributes(module)
        attributes.pop("training", None)
        found[f"model.{path}" if path else "model"] = attributes
    return found


def members(attributes: Mapping[Any, Any], path: str, kinds: Any) -> Iterator[tuple[str, Any]]:
    """What is of some kinds among the attributes, also in lists, tuples and dicts."""
    for name, value in attributes.items():
        if isinstance(value, kinds):
            yield f"{path}{name}", value
        elif isinstance(value, (list, tuple)):
            yield from members(dict(enumerate(value)), f"{path}{name}.", kinds)
        elif isinstance(value, dict):
            yield from members(value, f"{path}{name}.", kinds)


_GENERATORS = np.random.Generator, np.random.RandomState


def random_generators(model: Any) -> dict[str, Any]:
    """The random generators among the attributes of a module and those within it, by path."""
    return {
        name: generator
        for path, module in model.named_modules()
        for name, generator in members(vars(module), f"{path}." if path else "", _GENERATORS)
    }


def plain_arrays(model: Any) -> dict[str, np.ndarray]:
    """The NumPy arrays of real numbers among the attributes of modules, by path."""
    return {
        f"{path}.{name}" if path else name: value
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.itemsize <= 8
    }


def set_attributes(model: Any, simple: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Sets those attributes of modules that are not what `settings` and `plain_arrays` returned."""
    for path, module in model.named_modules():
        now, own = simple_attributes(module), vars(module)
        for name, value in simple[f"model.{path}" if path else "model"].items():
            if name not in now or now[name] != value:
                own[name] = tuple(value) if isinstance(value, list) else value
        start = f"{path}." if path else ""
        for name in [name.removeprefix(start) for name in arrays if name.startswith(start)]:
            if "." not in name:
                own[name] = arrays[start + name].copy()


def draws(module: Any) -> bool:
    """Whether a module itself, not one within it, has a random generator."""
    return any(members(vars(module), "", _GENERATORS))


def generator_state(generator: Any) -> dict[str, Any]:
    """The state of a NumPy random generator, as plain numbers, words, lists and dicts."""
    import json

    state = _raw_state(generator)
    plain_state: dict[str, Any] = json.loads(json.dumps(state, default=np.ndarray.tolist))
    return plain_state


def set_generator_state(generator: Any, state: Any) -> None:
    """Puts a generator into a state from `generator_state`.

    Raises:
        ValueError: it is not the state of such a generator, which is left as it was.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> before = generator_state(rng)
        >>> first = rng.random()
        >>> set_generator_state(rng, before)
        >>> rng.random() == first
        True
    """
    import copy

    try:
        fitting = _like(_raw_state(generator), state)
        _set_raw_state(copy.deepcopy(generator), fitting)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        kind = _raw_state(generator)["bit_generator"]
        raise ValueError(f"this is no state of a generator of {kind}: {error}") from error
    _set_raw_state(generator, fitting)


def _raw_state(generator: Any) -> Any:
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    return generator.bit_generator.state


def _set_raw_state(generator: Any, state: Any) -> None:
    if isinstance(generator, np.random.RandomState):
        generator.set_state(state)
    else:
        generator.bit_generator.state = state


def _like(own: Any, value: Any) -> Any:
    """A value from JSON in the types of another."""
    if isinstance(own, dict):
        if not isinstance(value, dict) or value.keys() != own.keys():
            raise ValueError(f"it must have {list(own)}")
        return {name: _like(own[name], value[name]) for name in own}
    if isinstance(own, np.ndarray):
        array = np.array(value, own.dtype)
        if array.shape != own.shape or array.tolist() != value:
            raise ValueError(f"it must have whole numbers in arrays of shape {own.shape}")
        return array
    if isinstance(own, str) and value != own:
        raise ValueError(f"it is one of {value!r}")
    if isinstance(value, bool) or not isinstance(value, (type(own), int)):
        raise TypeError(f"it has {value!r} in the place of {own!r}")
    return type(own)(value)
