"""The tape: what was computed, in the order in which it ran.

    forward:   x ──► np.exp ──► y          one Entry for each operation
    backward:  gx ◄── rule  ◄── g          the same entries in reverse order

An `Entry` knows the entries that made its inputs, never the Tensors: entries are held by their
readers and by the Tensor that they made, so that a graph nobody holds is freed at once.

Every entry carries the `order` in which it ran. Inputs come before what is computed from them;
that invariant replaces any topological sort, and it is also how a change is noticed: assigning to
`tensor.data` gives the tensor's entry a new, later place in the order, and the walk refuses to
use an input that is younger than its reader.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from tinygrad_edu.rules import Primitive

__all__ = ["Argument", "Entry", "Tape", "reachable"]

_tick: Callable[[], int] = itertools.count().__next__


class Entry:
    """One line of the tape: `y = primitive(*values, **keywords)`, or an input of the program.

    Attributes:
        order: when it ran; for an input, when its value was last set.
        primitive: the operation; `None` for an input.
        values: the arguments that the operation saw, Tensors as arrays.
        inputs: for each argument the entry that made it, or `None` for a plain array or number.
            The whole list is `None` once a backward pass has freed the entry.
        keywords: the keyword arguments.
        y: the output array.
        kept: what else the forward pass has computed for the rules; see `Primitive.keep`.
        requires_grad: whether gradients flow through this entry.
        name: the user's name for the output.
        grad: for an input, the gradient accumulated so far.
        where: the file and the line of the user's code, if they were asked for.
        shown: for an input whose array the user got hold of while a tape held it: when that was,
            and a copy of the array as it was then.
    """

    __slots__ = (
        "grad",
        "inputs",
        "kept",
        "keywords",
        "name",
        "order",
        "primitive",
        "requires_grad",
        "shown",
        "values",
        "where",
        "y",
    )

    def __init__(
        self,
        primitive: Primitive | None,
        values: Any,
        inputs: Any,
        keywords: dict[str, Any],
        y: Any,
        requires_grad: bool = True,
    ):
        self.order = _tick()
        self.primitive: Any = primitive
        self.values = values
        self.inputs = inputs
        self.keywords = keywords
        self.y = y
        self.kept: Any = None
        self.requires_grad = requires_grad
        self.name: str | None = None
        self.grad: Any = None
        self.where: tuple[str, int] | None = None
        self.shown: tuple[int, np.ndarray] | None = None

    @classmethod
    def of_input(cls, y: np.ndarray, requires_grad: bool, name: str | None = None) -> Entry:
        """The entry of a value that no operation made: a parameter, an argument, data."""
        entry = cls(None, (), (), {}, y, requires_grad)
        entry.name = name
        return entry

    def set_value(self, y: np.ndarray) -> None:
        """Gives an input a new value, which makes it younger than everything that read it."""
        self.y = y
        self.order = _tick()
        self.shown = None

    def show(self) -> None:
        """Takes note that the user gets hold of the array and may write into it from now on."""
        self.notice()
        if self.shown is None:
            self.shown = _tick(), self.y.copy()

    def notice(self) -> None:
        """If the array was written into since it was shown, that makes it younger, as above."""
        if self.shown is not None and not np.array_equal(self.shown[1], self.y, equal_nan=True):
            self.order, self.shown = self.shown[0], None

    def free(self) -> None:
        """Lets go of everything that the operation read."""
        self.values = self.inputs = self.y = self.kept = None

    def __repr__(self) -> str:
        operation = "input" if self.primitive is None else self.primitive.name
        shape = "freed" if self.y is None else f"shape {self.y.shape}"
        return f"<entry {self.name or ''}{' = ' if self.name else ''}{operation}, {shape}>"


class Argument(Entry):
    """The entry of an argument of a function that is being differentiated.

    The function may assign to it: what it assigns stays inside.
    """

    __slots__ = ()


def set_anew(inputs: Iterable[Entry]) -> None:
    """Takes note that inputs were given new values in the arrays that they have."""
    now = _tick()
    for entry in inputs:
        entry.order, entry.shown = now, None


class Freed(RuntimeError):
    """A part of a tape that is asked for has been freed by a backward pass."""


def reachable(*outputs: Entry) -> list[Entry]:
    """The entries that the outputs depend on, and the outputs, in the order in which they ran.

    Raises:
        Freed: a part has been freed.
        RuntimeError: an input was changed after it was read.
    """
    seen = set(outputs)
    pending = list(seen)
    while pending:
        entry = pending.pop()
        order = entry.order
        if entry.inputs is None:
            raise Freed(
                "this part of the tape has been freed by an earlier backward(): call that one "
                "with retain_graph=True, or compute the result again"
            )
        for source in entry.inputs:
            if source is None:
                continue
            if source.shown is not None:
                source.notice()
            if source.order > order:
                raise RuntimeError(
                    f"the data of {_describe(source)} was changed after {entry.primitive.name} "
                    f"had read it, so the recorded values no longer hold: change data before the "
                    f"forward pass or after backward()"
                )
            if source not in seen:
                seen.add(source)
                pending.append(source)
    return sorted(seen, key=operator.attrgetter("order"))


def call(entry: Entry) -> str:
    """An operation as error messages name it: with its shapes, and where it is in the user's code.

    Example:
        >>> call(Entry(Primitive(np.log, "np.log"), (np.zeros(3),), (None,), {}, np.zeros(3)))
        'np.log of shape (3,)'
    """
    shapes = [f"shape {v.shape}" for v in entry.values if isinstance(v, np.ndarray)]
    where = f" ({entry.where[0]}, line {entry.where[1]})" if entry.where else ""
    return f"{entry.primitive.name} of {' and '.join(shapes)}{where}"


def not_finite(x: Any) -> str:
    """The first value of an array that is not finite, and its place.

    Example:
        >>> not_finite(np.array([1.0, np.inf]))
        'inf at [1]'
    """
    x = np.asarray(getattr(x, "_array", x))
    place = np.argwhere(~np.isfinite(x))[0].tolist()
    return f"{x[tuple(place)]} at {place}" if place else str(x)


def _describe(entry: Entry) -> str:
    return entry.name or f"a tensor of shape {entry.y.shape}"


class Tape:
    """The entries that some outputs depend on, in the order in which they ran.

    `tg.Tape` is this with everything that shows it to people.
    """

    def __init__(self, *outputs: Entry):
        self.outputs = outputs
        self.entries = reachable(*outputs)

    @classmethod
    def of(cls, *tensors: Any) -> Tape:
        """The tape of everything that the tensors were computed from.

        Raises:
            ValueError: a tensor that was not recorded.
            RuntimeError: a tensor whose tape backward() has freed.
        """
        entries = [getattr(tensor, "_entry", None) for tensor in tensors]
        if not entries or not all(entry is not None and entry.requires_grad for entry in entries):
            raise ValueError(
                "nothing was recorded for this value: a tape is recorded when an operation reads "
                "a Tensor with requires_grad=True, outside no_grad()"
            )
        return cls(*entries)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __getitem__(self, position: int) -> Entry:
        return self.entries[position]

    def __repr__(self) -> str:
        return f"<tape of {len(self)} entries>"
