"""What the entries of a tape and their values are called where people read them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tinygrad_edu.calculus.einsum import einsum
from tinygrad_edu.calculus.indexing import setitem
from tinygrad_edu.expressions import (
    ATOM,
    USUAL_ARGUMENTS,
    Expressions,
    free_name,
    usual_names,
)
from tinygrad_edu.rules import Primitive
from tinygrad_edu.tape import Entry
from tinygrad_edu.tracing import pack

__all__ = [
    "Labels",
    "clean",
    "columns",
    "is_long",
    "mean",
    "number",
    "reads",
    "shape",
    "short",
    "value",
]

LONGEST_NAME = 40
LONGEST_CALL = 72
SHORT = 4  # numbers that are written out


class Labels(Expressions):
    """Names and texts for the entries of a tape.

    An entry is called by its name, if that is good to read, and otherwise by its number, `%3`. Of
    several entries with the name x the later ones are called x2, x3 and so on.

    Args:
        entries: all of the tape.
        guesses: whether long arrays that have no name get a usual one, such as X in a layer.

    Attributes:
        shown: the entries without those that only hold the parts of an index.
    """

    def __init__(self, entries: Sequence[Entry], guesses: bool):
        self.shown = [entry for entry in entries if entry.primitive is not pack]
        alive = [entry for entry in entries if entry.inputs is not None]
        usual = usual_names(alive)
        self._numbers = {entry: f"%{i}" for i, entry in enumerate(entries)}
        names = {entry: clean(usual.get(entry) or entry.name or "") for entry in entries}
        # What looks like the number of an entry would be taken for that.
        self._names = {e: "" if re.fullmatch(r"%\d+", name) else name for e, name in names.items()}
        # Values of one variable are told apart by numbers; of other names none is the better one.
        counts = Counter(self._names.values())
        taken, seen = set(self._names.values()), set()
        for entry, name in self._names.items():
            if name.isidentifier() and name in seen:
                self._names[entry] = free_name(name, taken)
            seen.add(name)
        self._labels = {
            entry: name
            if name.isidentifier()
            or (counts[name] == 1 and re.fullmatch(r"[^\W\d][\w.\[\]'\"]*", name))
            else self._numbers[entry]
            for entry, name in self._names.items()
        }
        self._constants: dict[int, str] = {}
        for entry in alive if guesses else ():
            usual_arguments = USUAL_ARGUMENTS.get(entry.primitive, ())
            parts = zip(usual_arguments, entry.inputs, entry.values, strict=False)
            for wanted, source, array in parts:
                if source is None and is_long(array) and id(array) not in self._constants:
                    self._constants[id(array)] = free_name(wanted, taken)

    def number(self, entry: Entry) -> str:
        """Such as `%3`: the place of the entry on the tape."""
        return self._numbers[entry]

    def name(self, entry: Entry) -> str:
        """The name of the entry; empty if it has none."""
        return self._names[entry]

    def label(self, entry: Entry) -> str:
        """What the entry is called where it is read."""
        return self._labels[entry]

    def statement(self, entry: Entry) -> str:
        """The operation with the name of its result, such as `h = np.maximum(0, z)`."""
        name = f"{self.name(entry)} = " if self.name(entry) else ""
        return name + self.operation(entry)

    def given(self, entry: Entry) -> list[tuple[str, np.ndarray]]:
        """The long arrays that the operation reads and that are no entries, with their names."""
        return [
            (self.constant(value), value)
            for source, value in zip(entry.inputs, entry.values, strict=True)
            if source is None and is_long(value)
        ]

    def operation(self, entry: Entry) -> str:
        """The operation as one writes it, such as `np.maximum(0, z)`."""
        if entry.inputs is None:
            return f"{entry.primitive.name}, freed by backward()"
        if entry.primitive is None:
            return "input" if entry.requires_grad else "constant"
        return clean(self.expression(entry)[0], LONGEST_CALL)

    def expression(self, entry: Entry) -> tuple[str, float]:
        """See `Expressions`."""
        if entry.primitive is setitem:
            x, value = (self.argument(entry, p, 0) for p in (0, 1))
            return f"{x} with [{self.index(entry, 2)}] = {value}", 0
        if entry.primitive is einsum:
            operands = ", ".join(self.argument(entry, p, 0) for p in range(len(entry.values)))
            return f"np.einsum({entry.keywords['subscripts']!r}, {operands})", ATOM
        return super().expression(entry)

    def read(self, source: Entry, strength: float) -> str:
        """See `Expressions`."""
        return self._labels[source]

    def constant(self, value: Any) -> str:
        """See `Expressions`."""
        return self._constants.get(id(value)) or short(value)


def reads(entry: Entry) -> list[Entry]:
    """The entries that an entry reads, in order, those within an index too."""
    found: list[Entry | None] = []
    for source in entry.inputs or ():
        found += source.inputs if source is not None and source.primitive is pack else [source]
    return [source for source in found if source is not None]


def clean(text: str, longest: int = LONGEST_NAME) -> str:
    """A text of the user's in one line that is not too long, without control characters.

    Example:
        >>> clean("a\\nname")
        'a name'
    """
    text = "".join(c if c.isprintable() else " " for c in text)
    text = " ".join(text.split())
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def short(value: Any) -> str:
    """A value as an argument in one line: long arrays by dtype and shape.

    Example:
        >>> short(np.zeros((3, 4))), short(0.5), short((slice(2), np.arange(9)))
        ('float64[3, 4]', '0.5', '(slice(None, 2, None), np.arange(9))')
    """
    if isinstance(value, (np.generic, np.ndarray)) and np.ndim(value) == 0:
        return repr(value.item()) if value.dtype.kind in "biuf" else repr(value)
    if is_long(value):
        if value.ndim == 1 and np.array_equal(value, np.arange(value.size)):
            return f"np.arange({value.size})"
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, np.ndarray):
        return np.array2string(value, separator=", ", precision=4).replace("\n", "")
    if isinstance(value, (tuple, list)) and any(isinstance(v, np.ndarray) for v in value):
        return f"({', '.join(map(short, value))})"
    if isinstance(value, (type, np.dtype)):
        try:
            return f"np.{np.dtype(value).name}"
        except TypeError:
            return repr(value)
    if isinstance(value, Primitive):
        return value.name
    return getattr(value, "__name__", None) or repr(value) if callable(value) else repr(value)


def number(x: Any, digits: int = 4) -> str:
    """One number, with a minus sign, NaN and infinity as NumPy writes them.

    Example:
        >>> number(1 / 3), number(-2.0), number(True), number(7)
        ('0.3333', '-2', 'True', '7')
    """
    x = x.item() if isinstance(x, (np.generic, np.ndarray)) else x
    if isinstance(x, np.longdouble):
        x = float(x)
    # A minus sign in front of 0 says nothing to a reader.
    return f"{x if x else 0.0:.{digits}g}" if isinstance(x, float) else str(x)


def value(y: Any, brief: bool = False) -> str:
    """A value in a few characters: short arrays whole, long ones by their range and their mean.

    Example:
        >>> value(np.array(2.5)), value(np.array([1.0, 2.0])), value(np.arange(10.0))
        ('2.5', '[1, 2]', '0 to 9, mean 4.5')
    """
    if y is None:  # freed
        return ""
    y = np.asarray(y)
    if y.dtype.kind not in "biuf":
        return clean(str(y))
    if y.size <= SHORT:
        return _nested(y)
    if y.dtype.kind == "b":
        return f"{np.count_nonzero(y)} of {y.size} True"
    wrong = y.size - np.count_nonzero(np.isfinite(y))
    if wrong:
        return f"{wrong} of {y.size} not finite"
    low, high, digits = y.min(), y.max(), 2 if brief else 4
    if low == high:
        return f"all {number(low)}"
    while number(low, digits) == number(high, digits) and digits < 17:
        digits += 1
    middle = "" if brief else f", mean {number(mean(y))}"
    return f"{number(low, digits)} to {number(high, digits)}{middle}"


def mean(y: np.ndarray) -> float:
    """The mean of finite numbers, which is finite even if their sum is not."""
    size = float(np.max(np.abs(y.astype(float)))) or 1.0
    return float(np.mean(y / size, dtype=float) * size)


def shape(y: Any) -> str:
    """The shape, and the dtype if it is not float64.

    Example:
        >>> shape(np.zeros(3)), shape(np.zeros((2, 2), np.float32))
        ('(3,)', '(2, 2) float32')
    """
    if not isinstance(y, (np.ndarray, np.generic)):
        return ""
    return str(y.shape) + ("" if y.dtype == np.float64 else f" {y.dtype}")


def columns(rows: Iterable[Sequence[str]]) -> str:
    """Rows of texts, aligned; columns that are empty are left out, but for their heading.

    Example:
        >>> print(columns([("a", "", "c"), ("1", "", "22")]))
        a  c
        1  22
    """
    rows = list(rows)
    kept = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    widths = {i: max(len(row[i]) for row in rows) for i in kept}
    return "\n".join("  ".join(f"{row[i]:{widths[i]}}" for i in kept).rstrip() for row in rows)


def _nested(y: np.ndarray) -> str:
    """The numbers of a short array in brackets."""
    if y.ndim == 0:
        return number(y)
    return f"[{', '.join(map(_nested, y))}]"


def is_long(value: Any) -> bool:
    """Whether it is an array of too many numbers to be written out."""
    return isinstance(value, np.ndarray) and value.size > SHORT
