"""Runs of a function with stand-ins for all that it reads: what a program is made of."""

from __future__ import annotations

import contextlib
import copy
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygrad_edu.compiler.captured import Place, State
from tinygrad_edu.recording import mode
from tinygrad_edu.rules import Primitive
from tinygrad_edu.tape import Entry
from tinygrad_edu.tensor import Tensor, changeable, lift
from tinygrad_edu.tracing import CompileError, Trace, naming, tracing
from tinygrad_edu.trees import argument_names, tree_map

__all__ = ["Draw", "Run", "is_plain", "is_read", "lasting", "unchanged_random_numbers"]

Function = Callable[..., Any]


class Run:
    """One run of the function with stand-ins for all that it reads."""

    def __init__(
        self,
        kind: Any,
        state: State,
        f: Function,
        whole: Any,
        lasting: dict[int, np.ndarray],
        known: dict[int, np.ndarray],
    ):
        names = argument_names(f)
        self.inputs: dict[Entry, Any] = {}
        self.draws: list[Draw] = []
        self.places: dict[Entry, Place] = {}

        def stand_in(leaf: Any, path: str) -> Any:
            if not is_read(leaf):
                return leaf
            entry = Entry.of_input(np.asarray(leaf), False, path)
            self.inputs[entry] = leaf
            tensor = lift(entry, leaf if type(leaf) is float else entry.y)
            return changeable(tensor) if isinstance(leaf, np.ndarray) and not leaf.ndim else tensor

        args = [tree_map(stand_in, arg, names(i)) for i, arg in enumerate(whole[0])]
        keywords = {name: tree_map(stand_in, arg, name) for name, arg in whole[1].items()}
        values = [
            place.get() if i in known else self._captured(place)
            for i, place in enumerate(state.leaves)
        ]
        self.trace = trace = kind(True)
        trace.inputs = {*self.inputs, *self.places}
        trace.lasting = lasting
        try:
            with state.replaced(values), tracing(trace), naming(trace):
                self.y = f(*args, **keywords)
        finally:
            changed = state.restore()
        if trace.refused is not None:
            raise trace.refused
        if changed:
            raise CompileError(
                f"a compiled function cannot change what it captured, but this one changes "
                f"{', '.join(changed)}: return the values instead"
            )

    def _captured(self, place: Place) -> Any:
        value = place.get()
        if isinstance(value, Tensor):
            return value
        if isinstance(value, np.ndarray):
            if type(value) is not np.ndarray or value.dtype.kind not in "biuf":
                return value
            entry = Entry.of_input(value, False, place.name)
            self.places[entry] = place
            return lift(entry, value)
        return _Generator(self, place)


class _Generator:
    """Stands for a random generator while a program is traced."""

    def __init__(self, run: Run, place: Place):
        self._run, self._place = run, place
        self._copy = copy.deepcopy(place.get())

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # so that isinstance(rng, np.random.Generator) holds
        return type(self._copy)

    def __getattr__(self, name: str) -> Any:
        if name in _UNTRACED or not callable(getattr(self._copy, name)):
            raise CompileError(f"a compiled function cannot use {name} of a random generator")

        def draw(*args: Any, **keywords: Any) -> Any:
            if keywords.get("out") is not None:
                raise CompileError("a compiled function draws new arrays: leave out= out")
            primitive = Draw(name, self._place, lambda: self._copy)
            self._run.draws.append(primitive)
            result = mode.trace.record(primitive, args, keywords)
            mode.trace.draws.append(result._entry)
            return lift(result._entry, result._array.item()) if primitive.is_float else result

        return draw


_UNTRACED = {"shuffle", "bit_generator", "seed", "set_state", "get_state", "spawn"}


class Draw(Primitive):
    """The drawing of random numbers, as an operation."""

    draws = True

    def __init__(self, name: str, place: Place, source: Function):
        super().__init__(self._draw, f"rng.{name}")
        self.method, self.place, self.source = name, place, source
        self.is_float = False

    def _draw(self, *args: Any, **keywords: Any) -> Any:
        y = getattr(self.source(), self.method)(*args, **keywords)
        self.is_float = type(y) is float
        return y


def lasting(one: Trace, other: Trace) -> dict[int, np.ndarray]:
    """The arrays that two runs had in common; the others must be equal, or they are no constants.

    An array that a run makes itself is another one in each run.
    """
    for call, again in itertools.zip_longest(one.calls, other.calls, fillvalue="nothing more"):
        if call != again:
            raise CompileError(
                f"the function does not compute the same in each run: {call:.80}, and then "
                f"{again:.80}. What changes from call to call, pass as an argument"
            )
    first, second = one.constants, other.constants
    alike = len(first) == len(second) and all(
        a.shape == b.shape and a.dtype == b.dtype for a, b in zip(first, second, strict=True)
    )
    for a, b in zip(first, second, strict=False):
        if not alike or not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            raise CompileError(
                f"an array of shape {a.shape} that the function makes itself differs from one run "
                f"to the next. Random numbers have to come from a np.random.Generator that is an "
                f"attribute, a variable of an enclosing function or a global one; anything else "
                f"that changes, pass as an argument"
            )
    # What cannot be written into needs not be read again.
    both = zip(first, second, strict=True)
    return {id(a): a for a, b in both if a is b and (a.flags.writeable or a.base is not None)}


@contextlib.contextmanager
def unchanged_random_numbers() -> Iterator[None]:
    """Raises if hidden random numbers are drawn, of which a program would not know."""
    before, hidden = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        after, drawn = random.getstate(), np.random.get_state()
        random.setstate(before)
        np.random.set_state(hidden)
    if after != before or not all(map(np.array_equal, drawn, hidden)):
        raise CompileError(
            "the function draws random numbers from the hidden state of np.random or random: draw "
            "them from rng = np.random.default_rng(...), made outside of the function"
        )


def is_plain(leaf: Any) -> bool:
    """Whether a leaf is compared by its value, not by being the same object."""
    return leaf is None or isinstance(
        leaf, (bool, int, float, complex, str, bytes, np.generic, np.ndarray)
    )


def is_read(leaf: Any) -> bool:
    """Whether a leaf of the arguments is read anew in each call."""
    return isinstance(leaf, (np.ndarray, np.floating)) or type(leaf) is float
