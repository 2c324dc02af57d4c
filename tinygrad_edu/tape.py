"""The tape: what was computed, in the order in which it ran, and the walk back along it.

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
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np

from tinygrad_edu.rules import Primitive, unbroadcast

__all__ = ["Entry", "Tape", "walk_back"]

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
        requires_grad: whether gradients flow through this entry.
        name: the user's name for the output.
        grad: for an input, the gradient accumulated so far.
        where: the file and the line of the user's code, if they were asked for.
    """

    __slots__ = (
        "grad",
        "inputs",
        "keywords",
        "name",
        "order",
        "primitive",
        "requires_grad",
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
        self.requires_grad = requires_grad
        self.name: str | None = None
        self.grad: Any = None
        self.where: tuple[str, int] | None = None

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

    def free(self) -> None:
        """Lets go of everything that the operation read."""
        self.values = self.inputs = self.y = None

    def __repr__(self) -> str:
        operation = "input" if self.primitive is None else self.primitive.name
        shape = "freed" if self.y is None else f"shape {self.y.shape}"
        return f"<entry {self.name or ''}{' = ' if self.name else ''}{operation}, {shape}>"


def reachable(*outputs: Entry) -> list[Entry]:
    """The entries that the outputs depend on, and the outputs, in the order in which they ran.

    Raises:
        RuntimeError: a part has been freed, or an input was changed after it was read.
    """
    seen = set(outputs)
    pending = list(seen)
    while pending:
        entry = pending.pop()
        if entry.inputs is None:
            raise RuntimeError(
                "this part of the tape has been freed by an earlier backward(): call that one "
                "with retain_graph=True, or compute the result again"
            )
        for source in entry.inputs:
            if source is None:
                continue
            if source.order > entry.order:
                raise RuntimeError(
                    f"the data of {_describe(source)} was changed after {entry.primitive.name} "
                    f"had read it, so the recorded values no longer hold: change data before the "
                    f"forward pass or after backward()"
                )
            if source not in seen:
                seen.add(source)
                pending.append(source)
    return sorted(seen, key=operator.attrgetter("order"))


def walk_back(
    entries: list[Entry],
    g: Any,
    targets: Collection[Entry] | None = None,
    lift: Callable[[Entry, Any], Any] | None = None,
    retain: bool = True,
) -> dict[Entry, Any]:
    """The gradients of the last entry, weighted by `g`, with respect to the inputs of the tape.

    In short, and without the checks:

        gradients = {last: g}
        for entry in reversed(entries):
            g = gradients.pop(entry)
            for source, rule in zip(entry.inputs, entry.primitive.rules):
                gradients[source] += rule(g, entry.y, *entry.values)

    Args:
        entries: all that the last one depends on, in order: see `reachable`.
        g: the gradient at the last entry, of its shape and dtype; it is not changed.
        targets: the entries at which the walk ends; `None` for all inputs that need a gradient.
        lift: turns the value of an entry into something whose operations are recorded, for
            gradients that are to be differentiated again; by default the rules run on arrays.
        retain: whether the entries can be walked again.

    Returns:
        A gradient for each target that the last entry depends on, in arrays of their own.
    """
    needed, ends = _way_to(entries, targets)
    gradients = {entries[-1]: g} if entries[-1] in needed else {}
    for entry in reversed(entries):
        if entry in ends or entry not in gradients:
            continue
        g = gradients.pop(entry)
        y, values = entry.y, entry.values
        if lift is not None:
            y = lift(entry, y)
            values = [
                value if source is None else lift(source, value)
                for source, value in zip(entry.inputs, values, strict=True)
            ]
        for position, source in enumerate(entry.inputs):
            if source not in needed:
                continue
            rule = entry.primitive.rule(position)
            if rule is None:
                continue
            try:
                gx = rule(g, y, *values, **entry.keywords)
            except TypeError as error:
                raise _in_rule(error, entry.primitive, position) from error
            x = values[position]
            try:
                fits = gx.shape == x.shape and gx.dtype is x.dtype
            except AttributeError:
                fits = False
            if not fits:
                gx = _fitted(gx, x, y, entry.primitive, position)
            if source in gradients:
                gradients[source] = gradients[source] + gx
            elif source in ends and lift is None:
                gradients[source] = _owned(gx, g, y, values)
            else:
                gradients[source] = gx
    if not retain:
        for entry in entries:
            if entry.primitive is not None:
                entry.free()
    # Sums of arrays without axes are NumPy scalars.
    return gradients if lift else {entry: np.asarray(gx) for entry, gx in gradients.items()}


def _way_to(
    entries: list[Entry], targets: Collection[Entry] | None
) -> tuple[set[Entry], set[Entry]]:
    """The entries that gradients have to reach on the way to the targets, and where they end."""
    if targets is None:
        needed = {entry for entry in entries if entry.requires_grad}
        return needed, {entry for entry in needed if entry.primitive is None}
    needed = set(targets)
    for entry in entries:
        if not needed.isdisjoint(entry.inputs):
            needed.add(entry)
    return needed, set(targets)


def _in_rule(error: TypeError, primitive: Primitive, position: int) -> TypeError:
    return TypeError(
        f"in the derivative rule of {primitive.name} for its input {position}, called as "
        f"rule(g, y, *inputs, **keywords): {error}"
    )


def _fitted(gx: Any, x: Any, y: Any, primitive: Primitive, position: int) -> Any:
    """The gradient of `x` with broadcasting undone and in the dtype of `x`.

    Raises:
        ValueError: the rule returned something that is not a gradient of `x`.
    """
    if gx is None:
        raise ValueError(
            f"the derivative rule of {primitive.name} for its input {position} returned None"
        )
    if not hasattr(gx, "shape"):
        gx = np.asarray(gx)
    if gx.dtype.kind != "f":
        raise ValueError(
            f"the derivative rule of {primitive.name} for its input {position} returned dtype "
            f"{gx.dtype}, not a floating-point gradient"
        )
    core = primitive.core_axes
    if gx.shape != x.shape:
        if core is None:
            fits = False
        elif core == 0:
            fits = gx.shape == y.shape
        else:
            core = min(core, x.ndim)
            fits = gx.shape[-core:] == x.shape[-core:]
        if not fits:
            broadcasts = core is None and gx.shape == y.shape
            hint = "; if it broadcasts, pass core_axes=0 to .derivative" if broadcasts else ""
            raise ValueError(
                f"the derivative rule of {primitive.name} for its input {position} returned "
                f"shape {gx.shape}, but the input has shape {x.shape} and the output {y.shape}"
                f"{hint}"
            )
        gx = unbroadcast(gx, x.shape)
    return gx if gx.dtype == x.dtype else gx.astype(x.dtype)


def _owned(gx: Any, g: Any, y: Any, values: Any) -> np.ndarray:
    """`gx`, or a copy of it if it may share its memory with anything that the rule was given."""
    fresh = type(gx) is np.ndarray and gx.base is None and gx is not g and gx is not y
    return gx if fresh and not any(gx is value for value in values) else np.array(gx)


def _describe(entry: Entry) -> str:
    return entry.name or f"a tensor of shape {entry.y.shape}"


class Tape:
    """The entries that some outputs depend on, in the order in which they ran.

    A tape is a sequence of `Entry`: it has a length, can be iterated over and printed.

    Example:
        >>> import numpy as np, tinygrad_edu as tg
        >>> x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
        >>> print(tg.Tape.of(np.sum(x * x)))
        %0  x = input            (2,)  float64
        %1  np.multiply(%0, %0)  (2,)  float64
        %2  np.sum(%1)           ()    float64
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

    def __str__(self) -> str:
        number = {entry: f"%{i}" for i, entry in enumerate(self.entries)}
        rows = []
        for entry in self.entries:
            call = f"{entry.name} = " if entry.name else ""
            if entry.primitive is None:
                call += "input"
            else:
                arguments = [
                    _short(value) if source is None else number[source]
                    for source, value in zip(entry.inputs, entry.values, strict=True)
                ]
                arguments += [f"{key}={_short(value)}" for key, value in entry.keywords.items()]
                call += f"{entry.primitive.name}({', '.join(arguments)})"
            rows.append((number[entry], call, str(entry.y.shape), str(entry.y.dtype)))
        a, b, c, d = (max(len(row[i]) for row in rows) for i in range(4))
        return "\n".join(f"{w:{a}}  {x:{b}}  {y:{c}}  {z:{d}}".rstrip() for w, x, y, z in rows)

    def __repr__(self) -> str:
        return f"<tape of {len(self)} entries>"


def _short(value: Any) -> str:
    """A value as the listing shows it: arrays by their dtype and shape."""
    if isinstance(value, np.ndarray) and value.size > 3:
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, tuple) and any(isinstance(part, np.ndarray) for part in value):
        return f"({', '.join(_short(part) for part in value)})"
    return repr(value)
