"""A tape as the NumPy code that a person would have derived by hand."""

from __future__ import annotations

import ast
import keyword
import sys
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_edu.calculus import neural
from tinygrad_edu.compiler.algebra import StableTrace, lowered, simplified
from tinygrad_edu.compiler.buffers import may_show, ordered
from tinygrad_edu.compiler.lowering import (
    assembled,
    is_whole,
    label_index,
    pick,
    square_sum,
    subtract_at,
)
from tinygrad_edu.compiler.patterns import number_of
from tinygrad_edu.expressions import (
    ATOM,
    USUAL_ARGUMENTS,
    Expressions,
    free_name,
    usual_names,
)
from tinygrad_edu.rules import PRIMITIVES, Primitive
from tinygrad_edu.tape import Entry, reachable
from tinygrad_edu.tensor import Tensor, lift
from tinygrad_edu.tracing import Trace, Walk, pack, tracing, variable
from tinygrad_edu.walk import walk_back

__all__ = ["Source", "explained", "replayed", "written"]

Again = Callable[[Any], list[Entry]]
_LONGEST = 64  # characters of an expression within another one


class Source(str):
    """NumPy code, and what it reads.

    Attributes:
        given: the arrays that the code reads, by name, and functions that have no name of their
            own; `exec(source, dict(source.given))` runs it.
        results: the names of the results, in order.
        statements: for each statement its line, counted from 0, the name that it sets, and what
            that was when the tape was recorded.
    """

    given: dict[str, Any]
    results: list[str]
    statements: list[tuple[int, str, Any]]


def _traced(
    outputs: Sequence[Entry], again: Again | None, backward: bool
) -> tuple[_NamingTrace, list[Entry]]:
    """The program of a tape once more, with names, and its results."""
    trace = _NamingTrace(strict=False)
    results = replayed(outputs, trace) if again is None else again(trace)
    return trace, _with_gradients(results, trace) if backward else results


def written(outputs: Sequence[Entry], again: Again | None, backward: bool) -> Source:
    """The code of a program; see `Tape.source`."""
    trace, results = _traced(outputs, again, backward)
    given = trace.inputs | trace.captured.keys()
    found, simple = simplified(results, given, trace.draws)
    final, last = lowered(found, given, simple.draws, fast=False)
    names = [_identifier(entry.name or "") for entry in results]
    if not names[0].isidentifier():
        names[0] = "loss" if np.ndim(results[0].y) == 0 else "y"
    for entry, name in zip(final, names, strict=True):
        if isinstance(entry, Entry) and entry.primitive and not (entry.name or "").isidentifier():
            entry.name = name
    has_nan = any(np.isnan(getattr(entry, "y", entry)).any() for entry in final)
    return _Printer(final, last.draws, names).source(trace.warning if has_nan else "")


def _identifier(name: str) -> str:
    """A name as code may have it, or "" if nothing is left of it."""
    if name.isidentifier() and name.isascii() and not name.startswith("__"):
        return f"{name}_" if keyword.iskeyword(name) else name
    # As Python reads names.
    name = unicodedata.normalize("NFKC", name)
    name = "".join(c if f"a{c}".isidentifier() else " " for c in name)
    name = unicodedata.normalize("NFKC", "_".join(name.split())).strip("_")
    name = f"_{name}" if name and not name.isidentifier() else name
    if not name.isidentifier():
        return ""
    return f"{name}_" if keyword.iskeyword(name) else name


def _free(wanted: str, taken: set[Any]) -> str:
    """A name for code that is not taken yet; from now on it is."""
    return free_name(_identifier(wanted) or "t", taken)


def explained(outputs: Sequence[Entry], again: Again | None, backward: bool) -> str:
    """The steps by which a program became short; see `Tape.explain`."""
    trace, results = _traced(outputs, again, backward)
    _, simple = simplified(results, trace.inputs | trace.captured.keys(), trace.draws)
    told = []
    for rule, before, after in [*trace.steps, *simple.steps]:
        if before.primitive is variable:
            continue
        printer = _Printer([before], [])
        left = printer.whole(before)
        right = printer.whole(after) if isinstance(after, Entry) else repr(after)
        if left != right:
            told.append(f"{rule.text}\n    {left}\n    {right}")
    return "\n".join(told) if told else "no rule could be used: the program is as short as it goes"


class _NamingTrace(StableTrace):
    """A trace that names the values of a net that have no names yet, before gradients are taken.

    Attributes:
        warning: a line above the program, if what it computes is not what the engine does.
    """

    def __init__(self, strict: bool):
        super().__init__(strict)
        self.warning = ""

    def simplified(self, y: Any) -> Any:
        """See `StableTrace`."""
        y = super().simplified(y)
        if isinstance(y, Tensor):
            entries = reachable(y._own_entry())
            for entry, name in usual_names(entries).items():
                entry.name = name
            # The gradient of v2 is dv2, so that there must be one v2 only.
            taken = {entry.name for entry in entries}
            kept = [entry for entry in entries if entry.primitive is None or entry is entries[-1]]
            seen = {entry.name for entry in kept}
            for entry in entries:
                named = (entry.name or "").isidentifier() and entry.primitive is not variable
                if not named or entry in kept:
                    continue
                if entry.name in seen:
                    entry.name = _free(entry.name or "", taken)
                seen.add(entry.name)
        return y


def replayed(
    outputs: Sequence[Entry], trace: _NamingTrace, recorded: Trace | None = None
) -> list[Entry]:
    """The program of a tape once more, on `trace`, without running the function again.

    Gradients that were taken in it are taken anew, each of a result that `trace` has simplified.

    Args:
        outputs: the entries that the tape ends in.
        trace: what records the program.
        recorded: what has recorded the tape; without it the tape is an ordinary one, and its
            constant arrays become inputs.
    """
    taken = {"np", "tg"}
    known: dict[Any, Entry] = {}
    became: dict[Entry, Tensor] = {}
    changed: set[Entry] = set()

    def given(value: Any, name: str) -> Any:
        if recorded is not None:
            return value
        if isinstance(value, tuple):
            return tuple(given(part, "i") for part in value)
        if not isinstance(value, np.ndarray) or value.size <= 3:
            return value
        key = (value.shape, value.dtype.str, value.tobytes())
        if key not in known:
            known[key] = input_of(value, False, name)
        return lift(known[key], value)

    def input_of(value: Any, requires_grad: bool, name: str) -> Entry:
        entry = Entry.of_input(value, requires_grad, _free(name, taken))
        trace.inputs.add(entry)
        return entry

    entries, walks = _with_walks(outputs, recorded)
    names = {e.inputs[0]: e.name for e in reversed(entries) if e.primitive is variable}
    own = recorded.inputs | recorded.captured.keys() if recorded else set(entries)
    for entry in entries:
        if entry.primitive is None:
            became[entry] = lift(entry, entry.y)
            if entry in own or entry.requires_grad:
                name = entry.name if (entry.name or "").isidentifier() else names.get(entry)
                copy = input_of(entry.y, entry.requires_grad, name or entry.name or "x")
                became[entry] = lift(copy, entry.y)
    trace.start = max(trace.start, Entry.of_input(np.zeros(()), False).order)
    with tracing(trace):
        for entry in entries:
            if entry.primitive is not None and entry not in changed:
                usual = USUAL_ARGUMENTS.get(entry.primitive, ())
                pairs = enumerate(zip(entry.inputs, entry.values, strict=True))
                args = [
                    given(value, usual[p] if p < len(usual) else "c")
                    if source is None
                    else became[source]
                    for p, (source, value) in pairs
                ]
                is_new = not changed.isdisjoint(entry.inputs)
                became[entry] = trace.repeat(entry, args, is_new)
                if is_new:
                    changed.add(entry)
            for walk in walks.get(entry, ()):
                for old, new in _taken_anew(walk, trace, became).items():
                    became[old] = new
                    changed.add(old)
    return [became[entry]._own_entry() for entry in outputs]


def _with_walks(
    outputs: Sequence[Entry], recorded: Trace | None
) -> tuple[list[Entry], dict[Entry, list[Walk]]]:
    """The entries of a tape, those that gradients in it are of, and these by where they start."""
    ends = list(outputs)
    entries = reachable(*ends)
    walks: dict[Entry, list[Walk]] = {}
    for walk in reversed(recorded.walks if recorded else []):
        y, _, gradients = walk
        start = y._own_entry()
        found = {g._own_entry() for g in gradients if isinstance(g, Tensor)}
        if not found.isdisjoint(entries):
            ends.append(start)
            entries = reachable(*ends)
            walks.setdefault(start, []).append(walk)
    return entries, walks


def _taken_anew(
    walk: Walk, trace: _NamingTrace, became: dict[Entry, Tensor]
) -> dict[Entry, Tensor]:
    """What becomes of a result and of its gradients."""
    result, targets, gradients = walk
    start = result._own_entry()
    y = trace.simplified(became[start])
    ends = {target: became[target]._own_entry() for target in targets if target in became}
    found = _gradients(y, list(ends.values()), trace)
    anew = {start: y}
    for target, old in zip(targets, gradients, strict=True):
        new = found.get(ends[target]) if target in ends else None
        # A gradient may also be a value that was there before.
        if new is not None and isinstance(old, Tensor) and old._own_entry().order > start.order:
            new.name = old.name or new.name
            anew[old._own_entry()] = new
    return anew


def _with_gradients(results: list[Entry], trace: _NamingTrace) -> list[Entry]:
    """The results and the gradients of the only one by all inputs that need one."""
    if len(results) != 1 or results[0].y.size != 1:
        raise ValueError("backward=True is for a tape that ends in a single number")
    with tracing(trace):
        y = trace.simplified(lift(results[0], results[0].y))
        found = _gradients(y, None, trace)
        gradients = []
        for target in reachable(y._own_entry()):
            if target in found:
                gradient = found[target]
                name = f"d{target.name or 'x'}"
                if gradient.name not in (None, name):
                    # It is the gradient of something else as well, which has another name.
                    gradient = trace.record(variable, (gradient,), {})
                gradient.name = name
                gradients.append(gradient._own_entry())
    return [y._own_entry(), *gradients]


def _gradients(y: Any, targets: list[Entry] | None, trace: _NamingTrace) -> dict[Entry, Any]:
    """The gradients of a single number; the trace is told of a NaN that the engine would mend."""
    entries, ones = reachable(y._own_entry()), np.ones(y.shape, y.dtype)
    with np.errstate(all="ignore"):
        walked = walk_back(entries, Tensor(ones), targets, lift, mended=False)
        # What does not depend on any value at all comes as a plain array.
        found = {e: g if isinstance(g, Tensor) else Tensor(g) for e, g in walked.items()}
        if any(np.isnan(g._array).any() for g in found.values()):
            try:
                mended = walk_back(entries, ones, targets)
            except FloatingPointError:
                trace.warning = _REFUSED
            else:
                if any((np.isnan(found[e]._array) & ~np.isnan(mended[e])).any() for e in found):
                    trace.warning = _MENDED
    return found


_MENDED = "# At these values 0 * inf comes out as NaN, where the engine gives 0.\n"
_REFUSED = "# At these values a gradient is 0 * inf: NaN here, an error of the engine's.\n"


class _Statement(NamedTuple):
    """A line, the name that it sets, and what that is."""

    text: str
    comment: str
    name: str
    value: Any


class _Printer(Expressions):
    """Writes entries as statements; what is read once stands within what reads it."""

    def __init__(self, outputs: Sequence[Any], draws: Sequence[Entry], names: Sequence[str] = ()):
        self._outputs = list(outputs)
        self._output_names = names
        self._results = {id(output) for output in outputs}
        computed = [entry for entry in outputs if isinstance(entry, Entry)]
        # The forward pass comes first, as one reads it.
        self._entries = ordered(list(dict.fromkeys(computed)), draws, computed[:1])
        self._readers: dict[Entry, list[Entry]] = {}
        for entry in self._entries:
            for source in entry.inputs:
                if source is not None:
                    self._readers.setdefault(source, []).append(entry)
        self._names: dict[Entry, str] = {}
        self._taken = {"np", "tg"}
        self.given: dict[str, Any] = {}
        self._imports: dict[str, str] = {}
        self._functions: dict[Primitive, str] = {}
        self._constants: dict[Any, str] = {}
        self._statements: list[_Statement] = []
        self._deep = False
        for entry in self._entries:
            if entry.primitive is None:
                name = self._names[entry] = self._unique(entry.name or "x")
                self.given[name] = entry.y
        # The results have their names before anything else is called so.
        for output, name in zip(outputs, names, strict=False):
            is_new = isinstance(output, Entry) and output not in self._names
            if is_new and name.isidentifier() and name not in self._taken:
                self._names[output] = self._unique(name)

    def source(self, above: str = "") -> Source:
        """All statements."""
        for entry in self._entries:
            if entry.primitive is not None and not self._is_inlined(entry):
                self._state(entry)
        results = []
        for i, (output, name) in enumerate(zip(self._outputs, self._output_names, strict=True)):
            wanted = name if name.isidentifier() else f"result_{i}"
            if not isinstance(output, Entry):
                results.append(self._unique(wanted))
                self._add(results[-1], f" = {self._filled(output)}", output)
            elif self._names[output] != wanted and wanted not in self._taken:
                # The same value under another name, too.
                results.append(self._unique(wanted))
                self._add(results[-1], f" = {self._names[output]}", output.y)
            else:
                results.append(self._names[output])
        width = min(max((len(s.text) for s in self._statements), default=0), 60)
        text = [f"{s.text:{width}}  {s.comment}".rstrip() for s in self._statements]
        modules = [("numpy as np", "np."), ("tinygrad_edu as tg", "tg.")]
        imports = [f"import {m}\n" for m, used in modules if any(used in line for line in text)]
        imports += [f"from {m} import {name}\n" for name, m in sorted(self._imports.items())]
        head = above + "".join(imports) + "\n" * bool(above or imports)
        source = Source(head + "\n".join(text))
        source.given, source.results = self.given, results
        first = head.count("\n")
        source.statements = [(first + i, s.name, s.value) for i, s in enumerate(self._statements)]
        return source

    def whole(self, entry: Entry) -> str:
        """An entry as one expression."""
        self._deep = True
        while entry.primitive is variable:
            entry = entry.inputs[0]
        if entry.primitive is None:
            return self._names.get(entry) or entry.name or "x"
        return self.expression(entry)[0]

    # Which values have names.

    def _is_inlined(self, entry: Entry) -> bool:
        if id(entry) in self._results:
            return False
        readers = self._readers.get(entry, [])
        cheap = entry.primitive is PRIMITIVES[np.transpose] or entry.primitive in (
            pack,
            label_index,
        )
        if cheap:
            return True
        if len(readers) != 1 or (entry.name or "").isidentifier():
            return False
        if entry.primitive is subtract_at or getattr(entry.primitive, "draws", False):
            return False
        if readers[0].primitive is subtract_at and readers[0].inputs[0] is entry:
            return True
        return len(self.expression(entry)[0]) <= _LONGEST

    def _name_of(self, entry: Entry) -> str:
        if entry not in self._names:
            wanted = entry.name if (entry.name or "").isidentifier() else self._name_ahead(entry)
            self._names[entry] = self._unique(wanted or "t")
        return self._names[entry]

    def _name_ahead(self, entry: Entry) -> str | None:
        """The name of what this becomes, if it is only there to become that."""
        while True:
            readers = self._readers.get(entry, [])
            if len(readers) != 1 or np.shape(readers[0].y) != np.shape(entry.y):
                if entry.primitive is PRIMITIVES[np.subtract]:
                    less = entry.inputs[1]
                    return "shifted" if less and less.primitive is PRIMITIVES[np.max] else None
                return _USUAL_RESULTS.get(entry.primitive)
            entry = readers[0]
            if (entry.name or "").isidentifier():
                return entry.name if entry.primitive in _CHANGES else None

    def _unique(self, wanted: str) -> str:
        return _free(wanted, self._taken)

    # Statements.

    def _state(self, entry: Entry) -> None:
        y = entry.y
        changed = self._changed_in_place(entry)
        if entry.primitive is subtract_at:
            source, index = entry.inputs[0], entry.inputs[1]
            if changed is None:
                text = self.read(source, ATOM)
                is_new = self._is_inlined(source) and not may_show(source)
                text = self.read(source, 0) if is_new else f"{text}.copy()"
                self._add(self._name_of(entry), f" = {text}", y, with_shape=True)
            name = self._names[entry] = changed or self._name_of(entry)
            self._add(name, f"[{self._labels(index)}] -= {entry.values[2]:g}", y)
        elif changed is not None:
            operator, number = changed_by(entry) or ("", "")
            self._names[entry] = changed
            self._add(changed, f" {operator}= {number}", y, with_shape=True)
        else:
            text = self.expression(entry)[0]
            self._add(self._name_of(entry), f" = {text}", y, with_shape=True)

    def _add(self, name: str, rest: str, value: Any, with_shape: bool = False) -> None:
        shown = with_shape and isinstance(value, np.ndarray) and value.ndim
        comment = f"# {value.shape}" if shown else ""
        self._statements.append(_Statement(name + rest, comment, name, value))

    def _changed_in_place(self, entry: Entry) -> str | None:
        """The name of the variable that this statement changes, if nothing else reads it."""
        source = entry.inputs[0] if entry.primitive is subtract_at else None
        if changed_by(entry) is not None:
            source = next(s for s in entry.inputs if s is not None)
            if source.primitive is not subtract_at:
                return None
        if source is None or source not in self._names or source.primitive is None:
            return None
        if may_show(source):
            return None
        alone = len(self._readers[source]) == 1 and id(source) not in self._results
        return self._names[source] if alone else None

    # Expressions: the text, and how strongly it binds.

    def read(self, source: Entry, strength: float) -> str:
        """See `Expressions`."""
        while source.primitive is variable:
            source = source.inputs[0]
        if source in self._names:
            return self._names[source]
        if source.primitive is None or (self._deep and (source.name or "").isidentifier()):
            return source.name or "x" if self._deep else self._name_of(source)
        if not self._deep and not self._is_inlined(source):
            return self._name_of(source)
        text, own = self.expression(source)
        return f"({text})" if own < strength else text

    def expression(self, entry: Entry) -> tuple[str, float]:
        """See `Expressions`."""
        primitive = entry.primitive

        def argument(p: int, strength: float) -> str:
            return self.argument(entry, p, strength)

        scaled = _divided(entry)
        if scaled is not None:
            return f"{argument(scaled[0], 5)} / {scaled[1]}", 5
        if primitive is PRIMITIVES[np.reciprocal]:
            return f"1 / {argument(0, 5.1)}", 5
        if primitive is PRIMITIVES[np.square]:
            return f"{argument(0, 7.1)} ** 2", 7
        if primitive is square_sum:
            x = argument(0, 5.1)
            simple = x.isidentifier()
            text = f"np.sum({x} * {x})" if simple else f"np.sum(np.square({argument(0, 0)}))"
            return text, ATOM
        if primitive is assembled and is_whole(entry):
            pieces = (argument(p, 0) for p in range(len(entry.values)))
            return f"np.concatenate([{', '.join(pieces)}])", ATOM
        if primitive is pick:
            return f"{argument(0, ATOM)}[{self._labels(entry.inputs[1])}]", ATOM
        if primitive is label_index:
            return f"({self.arguments(entry, 0)},)", ATOM
        if primitive in _METHODS and entry.inputs[0] is not None:
            return f"{argument(0, ATOM)}.{_METHODS[primitive]}({self.arguments(entry, 1)})", ATOM
        return super().expression(entry)

    def function(self, primitive: Primitive) -> str:
        """See `Expressions`."""
        if primitive.name == "astype":
            return "np.astype"
        known = primitive.name.startswith("np.")
        if not known and primitive.name.startswith("tg."):
            known = primitive.name[3:] in neural.__all__
        if known:
            return super().function(primitive)
        module, name = getattr(primitive, "__module__", ""), getattr(primitive, "__name__", "")
        is_there = getattr(sys.modules.get(module), name, None) is primitive
        # A file that was loaded by its path has that as its name, and a script has none.
        parts = module.split(".")
        is_there &= all(p.isidentifier() and not keyword.iskeyword(p) for p in parts)
        if (
            is_there
            and module != "__main__"
            and (self._imports.get(name) == module or name not in self._taken)
        ):
            self._imports[name] = module
            self._taken.add(name)
            return name
        if primitive not in self._functions:
            self._functions[primitive] = self._unique(primitive.name)
            self.given[self._functions[primitive]] = primitive.forward
        return self._functions[primitive]

    def _labels(self, index: Entry | None) -> str:
        """The pairs of row and label that a `label_index` stands for."""
        assert index is not None
        labels, n, _ = index.values
        name = self.constant(labels) if index.inputs[0] is None else self.read(index.inputs[0], 0)
        return f"np.arange({n}), {name}"

    def constant(self, value: Any) -> str:
        """See `Expressions`."""
        if isinstance(value, (np.generic, np.ndarray)) and np.ndim(value) == 0:
            value = value.item()
        if isinstance(value, float):
            return repr(value).replace("inf", "np.inf").replace("nan", "np.nan")
        if isinstance(value, np.ndarray):
            n = value.size
            is_range = value.ndim == 1 and n > 1 and value.dtype == np.intp
            if is_range and np.array_equal(value, np.arange(n)):
                return f"np.arange({n})"
            return self._given(value)
        if isinstance(value, (type, np.dtype)):
            return f"np.{np.dtype(value).name}"
        if isinstance(value, (tuple, list)) and any(isinstance(v, np.ndarray) for v in value):
            return f"({', '.join(map(self.constant, value))},)"
        try:
            ast.literal_eval(repr(value))
        except (ValueError, SyntaxError):
            return self._given(value)
        return repr(value)

    def _filled(self, value: Any) -> str:
        """A result that is known beforehand."""
        number = number_of(value) if np.ndim(value) else None
        return self.constant(value) if number is None else f"np.full({value.shape}, {number})"

    def _given(self, value: Any) -> str:
        if id(value) not in self._constants:
            self._constants[id(value)] = self._unique("c")
            self.given[self._constants[id(value)]] = value
        return self._constants[id(value)]


_METHODS = {PRIMITIVES[f]: f.__name__ for f in (np.sum, np.mean, np.max, np.min, np.reshape)}
_CHANGES = {subtract_at, PRIMITIVES[np.multiply], PRIMITIVES[np.divide]}
_USUAL_RESULTS = {PRIMITIVES[np.exp]: "e", PRIMITIVES[np.sum]: "total"}


def _divided(entry: Entry) -> tuple[int, int] | None:
    """Of c * x the position of x and the whole number 1 / c, if it is one."""
    if entry.primitive is not PRIMITIVES[np.multiply]:
        return None
    for p in (0, 1):
        value = entry.values[p]
        if entry.inputs[p] is None and isinstance(value, (float, np.floating)) and value:
            n = round(1 / value)
            if abs(n) < 1e6 and n and 1 / n == value and entry.inputs[1 - p] is not None:
                return None if _is_short(value) else (1 - p, n)
    return None


def _is_short(number: Any) -> bool:
    """Whether people write it as it is: 0.5 and 0.001, but 1 / 3."""
    return len(repr(float(number))) <= 8


def changed_by(entry: Entry) -> tuple[str, str] | None:
    """The operator and the number of x *= c or x /= n."""
    if entry.primitive is not PRIMITIVES[np.multiply]:
        return None
    number = next((v for s, v in zip(entry.inputs, entry.values, strict=True) if s is None), None)
    if not isinstance(number, (float, np.floating)) or not number:
        return None
    n = round(1 / number)
    is_whole = abs(n) > 1 and 1 / n == number and not _is_short(number)
    return ("/", str(n)) if is_whole else ("*", repr(float(number)))
