"""What a function reads besides its arguments: arrays, Tensors and generators that it captured.

They are found in its closure, in the global variables that it names, in the attributes of the
objects there, and in lists, tuples and dicts of all of these.
"""

from __future__ import annotations

import array
import collections
import contextlib
import copy
import functools
import gc
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygrad_edu.recording import changed_mode
from tinygrad_edu.rules import Primitive
from tinygrad_edu.tensor import Tensor
from tinygrad_edu.tracing import CompileError

__all__ = ["Place", "State", "kinds_differ"]

_COMPILER = "tinygrad_edu.compiler."
_DEEPEST = 4  # modules in modules: they may be in each other
_WITHOUT_STATE = (changed_mode, type(None), str, bytes, int, float, Primitive)
_OTHERS = ("numpy", "tinygrad_edu", "tqdm", "matplotlib", "scipy", "pandas")
# Modules of whose objects the attributes are the user's own.
_HOLDERS = ("tinygrad_edu", "types", "argparse", "collections")


class Place:
    """Where the function finds a value: `container[key]`, or that part of a tuple there.

    Attributes:
        get: reads what is there now.
        put: puts something else there.
        name: as the code calls it, such as `X` or `model.W`.
    """

    def __init__(
        self,
        get: Callable[[], Any],
        put: Callable[[Any], None],
        name: str,
        code: tuple[Any, str] | None = None,
    ):
        self.get, self.put, self.name = get, put, name
        self._code = code

    def code(self, variable: str, fixed: dict[str, Any]) -> str:
        """An expression that reads what is there now; adds what it needs to `fixed`."""
        fixed[variable], text = self._code or (self.get, "{}()")
        return text.format(variable)

    @classmethod
    def item(cls, container: Any, key: Any, name: str) -> Place:
        """An item of a list or dict."""
        return cls(
            functools.partial(container.__getitem__, key),
            functools.partial(container.__setitem__, key),
            name,
            (container, f"{{}}[{key!r}]") if isinstance(key, (str, int)) else None,
        )

    @classmethod
    def cell(cls, cell: Any, name: str) -> Place:
        """A variable of an enclosing function."""
        return cls(
            lambda: cell.cell_contents,
            lambda value: setattr(cell, "cell_contents", value),
            name,
            (cell, "{}.cell_contents"),
        )

    @classmethod
    def slot(cls, value: Any, descriptor: Any, name: str) -> Place:
        """An attribute of an object of a class with `__slots__`."""
        return cls(
            functools.partial(descriptor.__get__, value),
            functools.partial(descriptor.__set__, value),
            name,
        )

    @classmethod
    def of_class(cls, owner: type, attribute: str) -> Place:
        """An attribute of a class."""
        return cls(
            lambda: vars(owner)[attribute],
            functools.partial(setattr, owner, attribute),
            f"{owner.__name__}.{attribute}",
        )

    @classmethod
    def given(cls, partial: functools.partial[Any]) -> Place:
        """The arguments that a functools.partial holds."""
        return cls(
            lambda: partial.args,
            lambda args: partial.__setstate__(  # type: ignore[attr-defined]
                (partial.func, args, partial.keywords, partial.__dict__)
            ),
            "argument",
        )

    def part(self, i: Any, name: str) -> Place:
        """A part of the tuple that stands here."""

        def put(value: Any) -> None:
            whole = self.get()
            parts = list(whole)
            parts[i] = value
            self.put(type(whole)(*parts) if hasattr(whole, "_fields") else tuple(parts))

        return Place(lambda: self.get()[i], put, name)


class State:
    """All that a function captured, as it is now.

    Attributes:
        leaves: the places of arrays, Tensors and random generators.
        containers: the lists and dicts that it may read, each with a copy of what is in it.
        others: the places of everything else, with what is there.
    """

    def __init__(self, f: Any, *more: Any):
        self.leaves: list[Place] = []
        self.containers: list[tuple[Any, Any]] = []
        self.others: list[tuple[Place, Any]] = []
        self._seen: set[int] = set()
        self._held: list[Any] = []
        self._rebound: list[str] = []
        self._tensors: list[tuple[Place, Any]] = []
        for i, root in enumerate((f, *more)):
            self._visit(root, _only_read(root, f"argument {i}"))

    def is_as_it_was(self) -> bool:
        """Whether the containers hold the same, arrays apart."""
        for container, before in self.containers:
            if not _same_but_leaves(container, before):
                return False
        if kinds_differ(self.containers):
            return False
        return all(place.get() is value for place, value in self.others + self._tensors)

    def refresh(self) -> None:
        """Takes what the containers hold now for what they held."""
        for container, before in self.containers:
            _fill(before, container)

    def restore(self) -> list[str]:
        """Puts back what the containers held; says what had been changed."""
        changed, self._rebound = self._rebound, []
        for container, before in self.containers:
            if not _identical(container, before):
                if not _same_in_tuples(container, before):
                    changed.append(_short(container, before))
                _fill(container, before)
        for place, value in self.others:
            now = place.get()
            if now is not value:
                if not _is_or_holds(now, value):
                    changed.append(place.name)
                place.put(value)
        return changed

    def whole_numbers(self) -> dict[int, np.ndarray]:
        """Copies of the arrays of whole numbers and truth values, by their place in `leaves`."""
        arrays = {i: place.get() for i, place in enumerate(self.leaves)}
        return {
            i: a.copy()
            for i, a in arrays.items()
            if type(a) is np.ndarray and a.dtype.kind in "biu"
        }

    def are_still(self, known: dict[int, np.ndarray]) -> bool:
        """Whether these arrays hold what they held."""
        return all(np.array_equal(self.leaves[i].get(), a) for i, a in known.items())

    def run_as_it_is(self, f: Any, args: Any, keywords: Any) -> Any:
        """What `f` returns, with copies of the generators, so that none has moved on."""
        values = [place.get() for place in self.leaves]
        random = (np.random.Generator, np.random.RandomState)
        copies = [copy.deepcopy(v) if isinstance(v, random) else v for v in values]
        with self.replaced(copies):
            return f(*args, **keywords)

    @contextlib.contextmanager
    def replaced(self, values: list[Any]) -> Iterator[None]:
        """Has other values in the places of the leaves for a while."""
        before = [place.get() for place in self.leaves]
        done = []
        try:
            for place, old, value in zip(self.leaves, before, values, strict=True):
                if value is not old:
                    place.put(value)
                    done.append((place, old, value))
            yield
        finally:
            for place, old, value in reversed(done):
                with contextlib.suppress(LookupError):  # its container is not what it was
                    if place.get() is not value and place.get() is not old:
                        self._rebound.append(place.name)
                    place.put(old)

    def _visit(self, value: Any, place: Place) -> None:
        if _is_leaf(value):
            _check_readable(value, place.name)
            self.leaves.append(place)
            if isinstance(value, Tensor):
                self._tensors.append((place, value))
            return
        if id(value) in self._seen or isinstance(value, _WITHOUT_STATE):
            return
        self._seen.add(id(value))
        self._held.append(value)
        if isinstance(value, types.FunctionType):
            self._visit_function(value)
        elif isinstance(value, types.MethodType):
            self._visit(value.__self__, place)
            self._visit(value.__func__, place)
        elif isinstance(value, functools.partial):
            self._visit(value.func, place)
            self._visit(value.args, Place.given(value))
            self._visit(value.keywords, place)
        elif isinstance(value, dict):
            self.containers.append((value, dict(value)))
            for key in value:
                self._visit(value[key], Place.item(value, key, f"{place.name}[{key!r}]"))
        elif isinstance(value, list):
            self.containers.append((value, list(value)))
            for i, item in enumerate(value):
                self._visit(item, Place.item(value, i, f"{place.name}[{i}]"))
        elif isinstance(value, (set, bytearray)):
            self.containers.append((value, value.copy()))
        elif isinstance(value, tuple):
            for i, item in enumerate(value):
                self._visit(item, place.part(i, f"{place.name}[{i}]"))
        elif isinstance(value, type):
            self._visit_class(value)
        elif not isinstance(value, types.ModuleType):
            self._visit_object(value, place)
        if isinstance(value, (dict, list, tuple)) and hasattr(value, "__dict__"):
            self._visit_object(value, place)

    def _visit_object(self, value: Any, place: Place) -> None:
        if isinstance(value, (collections.deque, array.array, types.MappingProxyType)):
            raise CompileError(
                f"{place.name} is a {type(value).__name__}, of which a compiled function would not "
                f"notice a change: put what it holds into a list or dict, or pass it as an argument"
            )
        if _is_of_others(type(value).__module__, *_HOLDERS):
            _check_holds_no_arrays(value, place.name)
            return
        if type(value).__module__.startswith(_COMPILER):
            self._visit(getattr(value, "function", None), place)
            return
        prefix = f"{place.name}."
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, dict):
            self.containers.append((attributes, dict(attributes)))
            for name in list(attributes):
                self._visit(attributes[name], Place.item(attributes, name, f"{prefix}{name}"))
        for cls in type(value).__mro__:
            for name, descriptor in vars(cls).items():
                if isinstance(descriptor, types.MemberDescriptorType) and name != "__dict__":
                    with contextlib.suppress(AttributeError):  # a slot that is still empty
                        self._read(Place.slot(value, descriptor, f"{prefix}{name}"))
            self._visit(cls, place)

    def _visit_class(self, cls: type) -> None:
        for base in cls.__mro__:
            if _is_of_others(base.__module__):
                continue
            for name, item in vars(base).items():
                function = getattr(item, "__func__", getattr(item, "fget", item))
                if isinstance(function, types.FunctionType):
                    self._visit(function, _only_read(function, name))
                elif not (name.startswith("__") or hasattr(item, "__get__")):
                    self._read(Place.of_class(base, name))

    def _visit_function(self, f: types.FunctionType) -> None:
        for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # a cell that is still empty
                if isinstance(cell.cell_contents, types.ModuleType):
                    self._visit_module(cell.cell_contents, set(_names(f.__code__)), name)
                place = Place.cell(cell, name)
                if _is_of_others(f.__module__):
                    # What a library's function keeps is its own, but for what it was given.
                    if callable(place.get()) or _is_leaf(place.get()):
                        self._visit(place.get(), place)
                else:
                    self._read(place)
        if f.__defaults__:
            names = f.__code__.co_varnames[: f.__code__.co_argcount][-len(f.__defaults__) :]
            whole = Place(lambda: f.__defaults__, lambda v: setattr(f, "__defaults__", v), "")
            for i, name in enumerate(names):
                self._read(whole.part(i, name))
        if f.__dict__ and not _is_of_others(f.__module__):
            self._visit(f.__dict__, _only_read(f.__dict__, f.__name__))
        if f.__kwdefaults__:
            for name in f.__kwdefaults__:
                self._read(Place.item(f.__kwdefaults__, name, name))
        if _is_of_others(f.__module__):
            return
        names_read = set(_names(f.__code__))
        self._visit_imported(names_read - f.__globals__.keys())
        for name in sorted(names_read & f.__globals__.keys()):
            value = f.__globals__[name]
            if isinstance(value, types.ModuleType):
                self._visit_module(value, names_read, name)
            else:
                self._read(Place.item(f.__globals__, name, name))

    def _visit_imported(self, names: set[str]) -> None:
        """Modules that a function imports in its body."""
        for name in sorted(names & sys.modules.keys()):
            self._visit_module(sys.modules[name], names, name)

    def _visit_module(self, module: types.ModuleType, names: set[str], name: str) -> None:
        if not _is_of_others(module.__name__):
            # Functions that the module is handed to read of it what they like.
            data = {a for a, value in vars(module).items() if _is_data(a, value)}
            for attribute in sorted(data | (names & vars(module).keys())):
                path = f"{name}.{attribute}"
                part = vars(module)[attribute]
                if not isinstance(part, types.ModuleType):
                    self._read(Place.item(vars(module), attribute, path))
                elif path.count(".") < _DEEPEST:
                    self._visit_module(part, names, path)

    def _read(self, place: Place) -> None:
        """A variable: it may be given another value later."""
        value = place.get()
        if not _is_leaf(value):
            self.others.append((place, value))
        self._visit(value, place)


def _only_read(value: Any, name: str) -> Place:
    return Place(lambda: value, _fixed, name)


def _fixed(_: Any) -> None:
    raise CompileError(
        "a random generator among the arguments of a compiled function: let the function find it "
        "in an attribute, a variable of an enclosing function or a global one"
    )


def _check_readable(value: Any, name: str) -> None:
    """Raises for an array that cannot be an input of a program."""
    if not isinstance(value, np.ndarray):
        return
    if type(value) is not np.ndarray or value.dtype.kind not in "biuf":
        raise CompileError(
            f"{name} is a {type(value).__name__} of dtype {value.dtype}, which a compiled function "
            f"cannot read anew in each call: use an np.ndarray of real numbers, as "
            f"np.asarray({name}) is one, or pass what is computed from it"
        )


def _check_holds_no_arrays(value: Any, name: str) -> None:
    """Raises for an object into which nobody can look, if there are arrays in it."""
    if any(_is_leaf(part) for part in gc.get_referents(value)):
        raise CompileError(
            f"{name} is a {type(value).__name__} that holds arrays, which a compiled function "
            f"cannot read anew in each call: keep them in a list, a dict or an attribute of an "
            f"object of your own, or pass them as arguments"
        )


def _names(code: types.CodeType) -> Iterator[str]:
    """The names that a function and those within it read."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _is_of_others(module: str | None, *but: str) -> bool:
    """Whether a module is a library's: what it keeps is its own business."""
    top = (module or "").partition(".")[0]
    # `__main__` may be a library's file (`python -m pytest`, a notebook), but what is defined there
    # by name is the user's.
    if top in but or top == "__main__":
        return False
    if top in _OTHERS or top in sys.stdlib_module_names:
        return True
    path = getattr(sys.modules.get(top), "__file__", None) or ""
    return "site-packages" in path


def _is_leaf(value: Any) -> bool:
    return isinstance(value, (np.ndarray, Tensor, np.random.Generator, np.random.RandomState))


def _is_data(name: str, value: Any) -> bool:
    return not (name.startswith("__") or callable(value) or isinstance(value, types.ModuleType))


def kinds_differ(containers: list[tuple[Any, Any]]) -> bool:
    """Whether the order of keys or a type has changed, which == does not tell: 1 == 1.0 == True."""
    for now, then in containers:
        if isinstance(now, dict):
            if [*now] != [*then] or [*map(type, now.values())] != [*map(type, then.values())]:
                return True
        elif isinstance(now, list) and [*map(type, now)] != [*map(type, then)]:
            return True
    return False


def _fill(container: Any, content: Any) -> None:
    """Puts other content into a container."""
    if isinstance(container, (list, bytearray)):
        container[:] = content
    else:
        container.clear()
        container.update(content)


def _same_but_leaves(container: Any, copy: Any) -> bool:
    try:
        if container == copy:
            return True
    except ValueError:  # arrays that are not the same object have no single ==
        pass
    if len(container) != len(copy) or isinstance(container, (set, bytearray)):
        return False
    if isinstance(container, dict):
        if container.keys() != copy.keys():
            return False
        pairs = [(container[key], copy[key]) for key in copy]
    else:
        pairs = list(zip(container, copy, strict=True))
    return all(
        a is b or (_is_leaf(a) and _is_leaf(b)) or (type(a) is type(b) and _equal(a, b))
        for a, b in pairs
    )


def _equal(a: Any, b: Any) -> bool:
    try:
        return bool(a == b)
    except ValueError:
        return False


def _identical(container: Any, copy: Any) -> bool:
    if isinstance(container, (set, bytearray)):
        return bool(container == copy)
    if len(container) != len(copy):
        return False
    if isinstance(container, dict):
        return list(container) == list(copy) and all(container[k] is copy[k] for k in copy)
    return all(a is b for a, b in zip(container, copy, strict=True))


def _same_in_tuples(container: Any, copy: Any) -> bool:
    """The same, but that a tuple may be a new one that holds what the old one held."""
    if isinstance(container, (set, bytearray)):
        return False
    if len(container) != len(copy):
        return False
    if isinstance(container, dict):
        return list(container) == list(copy) and all(
            _is_or_holds(container[k], copy[k]) for k in copy
        )
    return all(_is_or_holds(a, b) for a, b in zip(container, copy, strict=True))


def _is_or_holds(a: Any, b: Any) -> bool:
    return a is b or (isinstance(a, tuple) and type(a) is type(b) and _same_in_tuples(a, b))


def _short(container: Any, copy: Any) -> str:
    if isinstance(container, dict):
        keys = [k for k in {**copy, **container} if container.get(k) is not copy.get(k)]
        return ", ".join(repr(key) for key in keys)
    return "a list"
