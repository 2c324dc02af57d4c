"""The code beside a tape: the user's own, and the program that is generated from the tape."""

from __future__ import annotations

import ast
import bisect
import linecache
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_edu.compiler.source import Source
from tinygrad_edu.show.labels import clean
from tinygrad_edu.show.listing import pulled
from tinygrad_edu.tape import Entry

__all__ = ["Excerpt", "Lines", "excerpts", "matched"]


@dataclass
class Excerpt:
    """Lines of a file, from the number `first` on."""

    file: str
    first: int
    lines: list[str]

    @property
    def title(self) -> str:
        """The name of the file; cells of a notebook have none that means anything to people."""
        is_cell = "ipykernel" in self.file or self.file.startswith("<ipython")
        return "a cell of the notebook" if is_cell else clean(os.path.basename(self.file))


@dataclass
class Lines:
    """Which lines of a program belong to which step, counted from 0.

    Attributes:
        forward: those that compute the value of an entry.
        backward: those that compute what an entry sends back.
    """

    forward: dict[Entry, list[int]] = field(default_factory=dict)
    backward: dict[Entry, list[int]] = field(default_factory=dict)


def excerpts(entries: Sequence[Entry]) -> list[Excerpt]:
    """The functions in which the entries were made, or the lines around them outside of any."""
    wanted: dict[str, set[int]] = {}
    for entry in entries:
        if entry.where is not None:
            wanted.setdefault(entry.where[0], set()).add(entry.where[1])
    found = []
    for file, numbers in wanted.items():
        lines = [line.rstrip("\r\n") for line in linecache.getlines(file)]
        shown: set[int] = set()
        for first, last in _around(lines, numbers):
            shown.update(range(max(first, 1), min(last, len(lines)) + 1))
        for first, last in _runs(sorted(shown)):
            found.append(Excerpt(file, first, lines[first - 1 : last]))
    return found


def _around(lines: Sequence[str], numbers: set[int]) -> Iterator[tuple[int, int]]:
    """For each line the innermost function around it, or two lines before and after."""
    try:
        nodes = list(ast.walk(ast.parse("\n".join(lines))))
    except (SyntaxError, ValueError):
        nodes = []
    functions = [
        (node.lineno, node.end_lineno or node.lineno)
        for node in nodes
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    for line in numbers:
        around = [(first, last) for first, last in functions if first <= line <= last]
        yield max(around, default=(line - 2, line + 2))


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The runs of numbers that follow on each other, as (first, last)."""
    start = None
    for i, n in enumerate(numbers):
        start = n if start is None else start
        if i + 1 == len(numbers) or numbers[i + 1] != n + 1:
            yield start, n
            start = None


def matched(
    source: Source,
    entries: Sequence[Entry],
    gradients: Mapping[Entry, np.ndarray],
    name: Callable[[Entry], str],
) -> Lines:
    """Which lines of a generated program belong to which step of the tape that it is made of.

    The program is not the tape: names are new, operations were joined or replaced. But each line
    has a value. The line whose value is that of an entry computes it, the line whose value is the
    gradient of an entry computes that, and an entry without a line of its own is part of the line
    that computes its reader. Lines in between belong to the step that they are read for.
    """
    readers: dict[Entry, list[Entry]] = {}
    for entry in entries:
        for s in entry.inputs:
            if s is not None:
                readers.setdefault(s, []).append(entry)
    values = _Known({e: e.y for e in entries if e.primitive is not None}, name)
    forward: dict[Entry, list[int]] = {}
    of_name = {name(e): readers[e][-1] for e in entries if name(e) and e in readers}
    groups = _groups(source)
    end = 1 + max((i for i, g in enumerate(groups) if g.name == source.results[0]), default=-1)
    for group in groups[:end]:
        found_entry = values.find(group.value, group.name)
        # A line in between belongs to the operation that reads what it reads.
        reader = next((of_name[read] for read in group.reads if read in of_name), entries[-1])
        of_name[group.name] = readers.get(found_entry, [reader])[-1] if found_entry else reader
        forward.setdefault(found_entry or reader, []).extend(group.lines)
    found = Lines()
    for entry in reversed(entries):
        lines = [] if entry.primitive is None else forward.get(entry, [])
        if entry.primitive is not None and not lines:
            lines = found.forward[readers[entry][-1]] if entry in readers else []
        found.forward[entry] = lines

    known = _Known(gradients, name)
    computed: dict[Entry, list[int]] = {}
    waiting: list[int] = []
    for group in groups[end:]:
        of = known.find(group.value, group.name.removeprefix("d"))
        waiting += group.lines
        if of is not None:
            computed.setdefault(of, []).extend(waiting)
            waiting = []
    for entry in entries:
        ends = [entry] if entry.primitive is None else [s for _, s in pulled(entry)]
        own: set[int] = set()
        beyond: set[int] = set()
        for s in dict.fromkeys(ends):
            own.update(computed.get(s, []))
            # What is sent on as it came needs no line of its own; else it is part of a later one.
            is_new = not _is_same(gradients.get(s), gradients.get(entry))
            (own if is_new else beyond).update(() if s in computed else found.backward.get(s, []))
        found.backward[entry] = sorted(own or beyond)
    return found


@dataclass
class _Group:
    """Statements that follow on each other and set the same name, as `x /= 3` below `x = y`."""

    name: str
    lines: list[int]
    value: Any
    reads: list[str]


def _groups(source: Source) -> list[_Group]:
    text = source.splitlines()
    groups: list[_Group] = []
    for line, name, value in source.statements:
        nodes = ast.walk(ast.parse(text[line]))
        reads = [n.id for n in nodes if isinstance(n, ast.Name) and n.id != name]
        if groups and groups[-1].name == name:
            groups[-1].lines.append(line)
            groups[-1].value = value
        else:
            groups.append(_Group(name, [line], value, reads))
    return groups


class _Known:
    """Finds the entry that has a value, among many."""

    def __init__(self, values: Mapping[Entry, Any], name: Callable[[Entry], str]):
        self._name = name
        self._found: dict[tuple[int, ...], list[tuple[float, int, Entry]]] = {}
        self._values = values
        for i, (entry, value) in enumerate(values.items()):
            if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
                mark, _ = _fingerprint(value)
                if np.isfinite(mark):
                    self._found.setdefault(value.shape, []).append((mark, i, entry))
        for marks in self._found.values():
            marks.sort()

    def find(self, value: Any, name: str) -> Entry | None:
        """The entry of that value; of several the one of that name, or the last that ran."""
        if not isinstance(value, np.ndarray) or value.shape not in self._found:
            return None
        mark, size = _fingerprint(value)
        marks = self._found[value.shape]
        start = bisect.bisect_left(marks, (mark - 1e-6 * size, -1))
        end = bisect.bisect_right(marks, (mark + 1e-6 * size, sys.maxsize))
        near = sorted(marks[max(start, end - _MOST_NEAR) : end], key=lambda mark: -mark[1])
        same = [e for _, _, e in near if _is_close(self._values[e], value)]
        return next((e for e in same if self._name(e) == name), same[0] if same else None)


_MOST_NEAR = 20  # entries of the same value that are looked at


def _fingerprint(x: np.ndarray) -> tuple[float, float]:
    """A number that differs if arrays differ, and how large it can be at most."""
    weights = np.random.default_rng(x.size).uniform(1, 2, x.size)
    return float(x.ravel() @ weights), float(np.abs(x).ravel() @ weights)


def _is_same(a: Any, b: Any) -> bool:
    return a is not None and b is not None and a.shape == b.shape and _is_close(a, b)


def _is_close(a: np.ndarray, b: np.ndarray) -> bool:
    return np.allclose(a, b, rtol=1e-5, atol=1e-6 * float(np.max(np.abs(b), initial=0)))
