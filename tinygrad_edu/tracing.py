"""Tracing: a whole program on a tape, also what needs no gradient.

An ordinary tape holds what a gradient flows through, and the rest as plain arrays: the mask `x > 0`
is whatever it was when it was recorded. For a program that is to be run again, or read, that is too
little. While a `Trace` records, every operation on a Tensor is an entry: comparisons, indices made
of values, and the rules of a walk back.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from tinygrad_edu.recording import _NUMPYS, _OURS, _users_line, mode, tracing
from tinygrad_edu.rules import PRIMITIVES, Primitive, numpy_name
from tinygrad_edu.tape import Argument, Entry
from tinygrad_edu.tensor import (
    Number,
    Tensor,
    View,
    _explained,
    _own_if_small,
    _shows,
    as_array,
    lift,
    plain,
)
from tinygrad_edu.trees import tree_leaves

__all__ = ["CompileError", "Trace", "Walk", "naming", "pack", "tracing", "variable"]


class CompileError(RuntimeError):
    """A function that cannot be compiled; the message says why, and what to write instead."""


class Constant(Primitive):
    """A function whose derivative is 0, as an operation of a program."""


# Of the constant functions those that look at shapes and dtypes only.
_STATIC = {
    *(np.shape, np.ndim, np.size, np.result_type, np.common_type, np.min_scalar_type),
    *(np.zeros_like, np.ones_like, np.empty_like, np.iscomplexobj, np.isrealobj),
    *(np.diag_indices_from, np.tril_indices_from, np.triu_indices_from),
}
_ARITHMETIC = {
    PRIMITIVES[f]
    for f in (np.add, np.subtract, np.multiply, np.divide, np.power, np.negative, np.absolute)
}

pack = Primitive(lambda *parts: parts, "tuple")
variable = Primitive(np.copy, "variable").derivative(lambda g, y, x: g)


# A walk back that was traced: what it started at, where it ended, and what it found there.
Walk = tuple[Any, list[Entry], list[Any]]


class Trace:
    """What records a program.

    Attributes:
        strict: whether the program is to be run with other values, so that nothing may depend on
            those of this run: no branch, no `float(x)`.
        captured: the Tensors that the function read and that are none of its arguments, by entry.
        draws: the entries that draw random numbers, in order; they are part of the program even
            if nothing reads them.
        start: what is younger was made by the function itself.
        inputs: the entries of what the program is given.
        constants: the arrays that operations read and that are no Tensors.
        refused: the error that the function was stopped with, which it may have caught.
        lasting: those of them that the function finds and does not make, by id; they are inputs.
        calls: all operations, with the numbers and keywords that they were given.
        walks: the gradients that were taken of single numbers, in order.
    """

    def __init__(self, strict: bool):
        self.strict = strict
        self.inputs: set[Entry] = set()
        self.constants: list[np.ndarray] = []
        self.calls: list[str] = []
        self.refused: CompileError | None = None
        self.lasting: dict[int, np.ndarray] = {}
        self.captured: dict[Entry, Tensor] = {}
        self.draws: list[Entry] = []
        self.walks: list[Walk] = []
        self.start = Entry.of_input(np.zeros(()), False).order

    def record(self, primitive: Primitive, args: Any, keywords: dict[str, Any]) -> Tensor:
        """Computes an operation and writes it on the tape; see `tensor.record`."""
        for name, value in keywords.items():
            if any(isinstance(leaf, Tensor) for leaf in tree_leaves(value)):
                self.refuse(f"{primitive.name} with {name}= computed")
                keywords = {**keywords, name: plain(value)}
        tensors = [self._packed(argument) for argument in args]
        values = [
            _value(argument) if isinstance(argument, Tensor) else self._constant(argument, p)
            for p, argument in enumerate(tensors)
            for p in [p < len(primitive.rules) or primitive.every is not None]
        ]
        if self.strict:
            fixed = [v for v, a in zip(values, args, strict=True) if not isinstance(a, Tensor)]
            self.calls.append(f"{primitive.name}{_without_arrays((fixed, keywords))!r}")
        else:
            keywords = {name: _own_if_small(value) for name, value in keywords.items()}
        try:
            y = primitive.forward(*values, **keywords)
        except (ValueError, TypeError, IndexError) as error:
            raise _explained(error, primitive, values) from error
        inputs = [self._entry_of(a) if isinstance(a, Tensor) else None for a in tensors]
        return self.entered(primitive, tensors, values, inputs, keywords, y)

    def entered(
        self, primitive: Primitive, args: Any, values: Any, inputs: Any, keywords: Any, y: Any
    ) -> Tensor:
        """The result of an operation as a Tensor that stands on the tape."""
        if primitive is not pack:
            y = np.asarray(y)
        entry = Entry(primitive, values, inputs, keywords, y, _flows(primitive, inputs, y))
        entry.where = _users_line() if mode.with_lines else None
        if primitive in _ARITHMETIC and all(isinstance(v, (int, float)) for v in values):
            return lift(entry, y.item())
        if (
            primitive.view
            and args
            and isinstance(args[0], Tensor)
            and _shows(y, values[0], args[0])
        ):
            view = View(primitive, args, keywords)
            view._array, view._entry = y, entry
            return view
        return lift(entry, y)

    def repeat(self, entry: Entry, args: Any, is_new: bool) -> Tensor:
        """An operation of another tape, with its value, or computed anew of other arguments."""
        if is_new:
            result = self.record(entry.primitive, tuple(args), entry.keywords)
        else:
            args = [self._packed(argument) for argument in args]
            values = [_value(a) if isinstance(a, Tensor) else a for a in args]
            inputs = [a._own_entry() if isinstance(a, Tensor) else None for a in args]
            result = self.entered(entry.primitive, args, values, inputs, entry.keywords, entry.y)
        own = result._own_entry()
        own.name, own.requires_grad = entry.name, entry.requires_grad
        return result

    def by_position(
        self, primitive: Primitive, args: Any, keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same call with Tensors by position, behind what the rule takes if nothing is given.

        So a mask that was computed can be given as `where=`, for which an array is a constant.
        """
        rule = next(r for r in (*primitive.rules, primitive.forward) if r is not None)
        parameters = list(inspect.signature(rule).parameters.values())
        parameters = parameters[2:] if rule in primitive.rules else parameters
        args, keywords = list(args), dict(keywords)
        for parameter in parameters[len(args) :]:
            if parameter.name in _keyword_only(primitive):
                break
            if not any(isinstance(value, Tensor) for value in keywords.values()):
                break
            args.append(keywords.pop(parameter.name, parameter.default))
        return tuple(args), keywords

    def constant(self, function: Callable[..., Any], args: Any, keywords: dict[str, Any]) -> Any:
        """The same for a function whose derivative is 0."""
        if function in _STATIC:
            return function(*plain(args), **plain(keywords))
        name = function.__name__ if not hasattr(function, "__module__") else numpy_name(function)
        value = function(*plain(args), **plain(keywords))
        if not isinstance(value, (np.ndarray, np.generic, bool)):
            self.refuse(f"{name}, which gives a {type(value).__name__}")
            return value
        return self.record(constant_of(function, name), args, keywords)

    def variable(self, x: Tensor, path: str) -> Tensor:
        """`x` as a new variable, by which a gradient is taken."""
        tensor = self.record(variable, (x,), {})
        entry = tensor._own_entry()
        entry.requires_grad, entry.name = True, path
        return tensor

    def simplified(self, y: Any) -> Any:
        """A result before gradients of it are taken."""
        return y

    def walked(self, y: Any, targets: list[Entry], gradients: list[Any]) -> None:
        """Takes note of gradients of a result."""
        if isinstance(y, Tensor):
            self.walks.append((y, targets, gradients))

    def refuse(self, what: str) -> None:
        """Raises if the value must not leave the program."""
        if self.strict:
            self._stop(
                f"{what}{_at_line()}: a value that a compiled function computes cannot leave it, "
                f"since the program is the same whatever the values are. Use np.where for a choice "
                f"between values, np.maximum for max, NumPy functions for arithmetic; return what "
                f"you want to look at; or do not compile this part"
            )

    def check_assignable(self, x: Tensor) -> None:
        """Raises if `x` was there before the program: a compiled one changes nothing outside."""
        entry = x._own_entry()
        if self.strict and entry.order < self.start and not isinstance(entry, Argument):
            self._stop(
                f"a compiled function cannot change what it was given: {entry.name or 'an array'} "
                f"of shape {x.shape} is assigned to{_at_line()}. Assign to a copy, x = x.copy(), "
                f"and return it"
            )

    def _stop(self, message: str) -> NoReturn:
        """Raises, and remembers it: a function that catches the error is not compiled either."""
        self.refused = CompileError(message)
        raise self.refused

    def _entry_of(self, x: Tensor) -> Entry:
        is_bare = x._entry is None
        entry = x._own_entry()
        if entry not in self.inputs and (is_bare or entry.order < self.start):
            if self.strict and entry.primitive is not None:
                self._stop(
                    f"a compiled function reads the result of {entry.primitive.name} of shape "
                    f"{x.shape}, which was recorded before: pass it as an argument, or detach() it"
                )
            self.captured.setdefault(entry, x)
        return entry

    def _packed(self, argument: Any) -> Any:
        """A tuple with Tensors in it as an entry of its own."""
        if isinstance(argument, (tuple, list)) and any(isinstance(a, Tensor) for a in argument):
            return self.record(pack, tuple(argument), {})
        if id(argument) in self.lasting:
            return self._lasting(argument)
        return argument

    def _lasting(self, array: np.ndarray) -> Tensor:
        """An array that the function found, as an input of the program."""
        known = {id(entry.y): entry for entry in self.captured}
        entry = known.get(id(array)) or Entry.of_input(array, False)
        return self.captured.setdefault(entry, lift(entry, array))

    def _constant(self, argument: Any, is_read: bool) -> Any:
        if isinstance(argument, np.ndarray) or (is_read and isinstance(argument, (list, tuple))):
            argument = as_array(argument)
        if isinstance(argument, (tuple, list)):
            self.constants += [part for part in argument if isinstance(part, np.ndarray)]
        elif isinstance(argument, np.ndarray):
            self.constants.append(argument)
        return argument if self.strict else _own_if_small(argument)


@functools.cache
def _keyword_only(primitive: Primitive) -> set[str]:
    """The arguments that an operation takes by keyword alone, as np.mean does `where`."""
    try:
        parameters = inspect.signature(primitive.forward).parameters.values()
    except (TypeError, ValueError):  # of a ufunc
        return set()
    return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}


def _flows(primitive: Primitive, inputs: Any, y: Any) -> bool:
    """Whether gradients flow through an entry."""
    if not mode.on or primitive is pack or y.dtype.kind != "f":
        return False
    has_rules = bool(primitive.rules) or primitive.every is not None
    needed = [p for p, entry in enumerate(inputs) if entry is not None and entry.requires_grad]
    if isinstance(primitive, Constant):
        return False
    if not has_rules and needed:
        primitive.rule(needed[0])
    return bool(needed)


_CONSTANTS: dict[Any, Constant] = {}


def constant_of(function: Any, name: str) -> Constant:
    """A constant function as an operation, always the same one."""
    return _CONSTANTS.setdefault(function, Constant(function, name))


def _without_arrays(tree: Any) -> Any:
    """A tree without its arrays, which are looked at apart."""
    if isinstance(tree, (list, tuple)):
        return [_without_arrays(part) for part in tree if not isinstance(part, np.ndarray)]
    if isinstance(tree, dict):
        return {k: _without_arrays(v) for k, v in tree.items() if not isinstance(v, np.ndarray)}
    if isinstance(tree, (int, float, complex, str, bytes, np.generic, slice, type(None))):
        return tree
    return type(tree)


def _at_line() -> str:
    """The line of the user's code that runs now, as a message names it."""
    where = _users_line()
    return f" ({where[0]}, line {where[1]})" if where else ""


def _value(x: Tensor) -> Any:
    return x._array.item() if type(x) is Number else x._array


class naming:
    """A context in which results get the names of the local variables that the user gave them.

    They get them when a function returns, or, `by_line`, after each of its lines, so that a
    variable that is assigned again and again names all its values.
    """

    def __init__(self, trace: Trace, by_line: bool = False):
        self.trace = trace
        self.by_line = by_line

    def __enter__(self) -> None:
        # A debugger or a profiler that is at work cannot be put back from here: then there are no
        # names by line, or none at all.
        self.by_line &= sys.gettrace() is None
        self._profiles = not self.by_line and sys.getprofile() is None
        if self.by_line:
            sys.settrace(self._called)
        elif self._profiles:
            sys.setprofile(self._at)

    def __exit__(self, *_: object) -> None:
        if self.by_line:
            sys.settrace(None)
        elif self._profiles:
            sys.setprofile(None)

    def _called(self, frame: Any, event: str, _: Any) -> Any:
        return None if frame.f_code.co_filename.startswith((_OURS, _NUMPYS)) else self._at

    def _at(self, frame: Any, event: str, _: Any) -> Any:
        if event not in ("line", "return") or mode.trace is not self.trace:
            return self._at
        if frame.f_code.co_filename.startswith((_OURS, _NUMPYS)):
            return None
        for name, value in frame.f_locals.items():
            if isinstance(value, Tensor) and name.isidentifier():
                entry = value._entry
                if entry is None or (event == "line" and entry.name):
                    continue
                unnamed = entry in self.trace.inputs and not (entry.name or "").isidentifier()
                if unnamed or entry.order > self.trace.start:
                    entry.name = name
        return self._at
