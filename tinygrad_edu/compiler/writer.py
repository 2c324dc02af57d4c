"""The code around the lines of a program: arguments, what was captured, results."""

from __future__ import annotations

import copy
import functools
import keyword
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_edu.calculus import neural
from tinygrad_edu.compiler.buffers import Shown, ordered
from tinygrad_edu.compiler.captured import Place, State, kinds_differ
from tinygrad_edu.compiler.program import Body
from tinygrad_edu.compiler.runs import Run, is_plain, is_read
from tinygrad_edu.tape import Entry
from tinygrad_edu.tensor import Tensor
from tinygrad_edu.tracing import CompileError
from tinygrad_edu.trees import tree_map

__all__ = ["SHIFTED", "SILENT", "Writer", "flattened"]

Function = Callable[..., Any]


# What the code calls by these very names.
_RESERVED = (
    "abs",
    *("args", "array", "changed", "compiled", "copyto", "dot", "empty", "errstate", "has_nan"),
    *("keywords", "list", "len", "run", "states", "type", "CompileError", "Exception"),
    "ValueError",
)


class Writer:
    """Writes the code of a program around its body."""

    silent = False
    shifted = False
    risky = False
    walks = False
    as_arrays: Sequence[bool] = ()
    generators: Sequence[Place] = ()
    known: dict[int, np.ndarray] = {}  # noqa: RUF012

    def __init__(self, compiled: Any, run: Run, leaves: list[Any], draws: Sequence[Entry]):
        self._compiled, self._run, self._leaves = compiled, run, leaves
        outputs = list(dict.fromkeys(leaf for leaf in leaves if isinstance(leaf, Entry)))
        entries = ordered(outputs, draws)
        into = compiled.into or [None] * len(leaves)
        self._into = {
            leaf: array
            for leaf, array in zip(leaves, into, strict=True)
            if isinstance(leaf, Entry)
            and leaf.primitive is not None
            and array is not None
            and array.ndim
        }
        self._names: dict[Entry, str] = {}
        self._places: dict[Entry, str] = {}
        for entry in run.inputs:
            self._names[entry] = self._name(entry.name)
        self.captured: dict[str, tuple[Function, np.ndarray]] = {}
        arrays: dict[Entry, np.ndarray] = {}
        for entry in entries:
            if entry.primitive is None and entry not in self._names:
                name = self._names[entry] = self._name(entry.name or "captured")
                read = self._reader(entry)
                array = read()
                self.captured[name] = read, array
                self._places[entry] = name
                if array.ndim:
                    arrays[entry] = array
                else:
                    self._names[entry] = self._name(f"{name}_now")
        computed = [entry for entry in outputs if entry.primitive is not None]
        self.body = Body(entries, computed, self._names, arrays, compiled.reuse_outputs, self._into)
        for name, (_, array) in self.captured.items():
            self.body.fixed[name] = array

    def _name(self, path: str | None) -> str:
        name = "".join(c if c.isalnum() else "_" for c in path or "x").strip("_") or "x"
        name = f"{name}_" if keyword.iskeyword(name) or name[0].isdigit() else name
        names = {*self._names.values(), *self._places.values(), *_RESERVED}
        count, base = 1, name
        while name in names:
            count += 1
            name = f"{base}_{count}"
        return name

    def _reader(self, entry: Entry) -> Function:
        """What reads a captured array now."""
        if entry in self._run.places:
            return self._run.places[entry].get
        if entry in self._run.trace.captured:
            tensor = self._run.trace.captured[entry]
            return lambda: tensor._array
        array = entry.y
        return lambda: array

    def written(
        self, whole: Any, form: Any, state: State
    ) -> tuple[str, dict[str, Any], list[tuple[str, Any]]]:
        """The code, what it reads, and what has to be made again for other captured arrays."""
        fixed = self.body.fixed
        unpack = _Unpacking(self._names, self._run.inputs, fixed, bool(whole[1]))
        unpack.tree(whole[0], "args")
        keywords = "keywords" if whole[1] else "{}"
        if whole[1]:
            unpack.tree(whole[1], "keywords")
        checks = unpack.lines()
        guard = self._guard(state, fixed) if self._compiled.watched else ""
        lines = []
        for entry in self._run.inputs:
            name = self._names[entry]
            if isinstance(self._run.inputs[entry], np.ndarray) and entry.y.ndim == 0:
                lines.append(f"{name} = {name}[()]")
            lines += [
                f"if {name}.base is not None and {name}.base is {o}.base: {name} = {name}.copy()"
                for o in self._overwritten(entry)
            ]
        lines += [
            f"{self._names[entry]} = {name}[()]"
            for entry, name in self._places.items()
            if self._names[entry] != name
        ]
        lines += self._views(fixed)
        lines += self.body.lines
        results, ends = self._results(fixed)
        lines += ends
        if self.silent:
            fixed["errstate"] = np.errstate
            lines = ["with errstate(over='ignore', under='ignore'):", *_indented(lines)]
        elsewhere = [f"return compiled._without_program(args, {keywords})"]
        nan = self._nan_check(results) if self.walks or self.shifted else ""
        if self.generators:
            fixed["_states"] = functools.partial(_states, self.generators)
            fixed["_put_back"] = functools.partial(_put_back, self.generators)
            elsewhere.insert(0, "_put_back(states)")
        # If anything goes wrong, the function itself says what, or does it.
        fixed["CompileError"], fixed["Exception"] = CompileError, Exception
        lines = ["try:", *_indented(lines or ["pass"])]
        lines += ["except CompileError:", "    raise", "except Exception:", *_indented(elsewhere)]
        if self.generators:
            lines.insert(0, "states = _states()")
        if nan:
            lines += [f"if {nan}:", *_indented(elsewhere)]
        text = list(checks)
        if guard:
            fixed["ValueError"] = ValueError
            text += ["try:", f"    changed = {guard}", "except ValueError:", "    changed = True"]
            text += ["if changed:", f"    return compiled._choose(args, {keywords})"]
        text += [*lines, f"return {_form_code(form, results, fixed)}"]
        named = ", **keywords" if whole[1] else ""
        text = [f"def run(compiled, *args{named}):", *_indented(text)]
        head = f"# {len(self.body.lines)} lines, buffers of {self.body.nbytes:,} bytes"
        return "\n".join([head, *text]) + "\n", fixed, self.body.rebound

    def _views(self, fixed: dict[str, Any]) -> list[str]:
        """The lines that make views of arguments, unless these are the arrays of the last call."""
        lines = []
        for i, (entry, shown) in enumerate(self.body.shown.items()):
            if shown:
                name, kept, make = self._names[entry], f"_kept{i}", f"_show{i}"
                fixed[kept], fixed[make] = [None], functools.partial(_shown, name, shown)
                lines.append(f"if {name} is not {kept}[0]: {kept}[:] = {make}({name})")
                lines.append(f"_, {', '.join(view for view, _, _ in shown)} = {kept}")
        return lines

    def _overwritten(self, entry: Entry) -> list[str]:
        """The results that stay the same arrays and could be passed as this argument."""
        if not self._compiled.reuse_outputs or not isinstance(self._run.inputs[entry], np.ndarray):
            return []
        names = [name for e, name in self.body.kept if e.y.dtype == entry.y.dtype]
        return names if self._compiled.into is None else []

    def _guard(self, state: State, fixed: dict[str, Any]) -> str:
        """The condition under which something that was captured is no longer what it was."""
        parts = []
        if self.known:
            fixed["_still"] = functools.partial(state.are_still, self.known)
            parts.append("not _still()")
        if state.containers:
            fixed["_now"] = [container for container, _ in state.containers]
            fixed["_then"] = [content for _, content in state.containers]
            fixed["_kinds_differ"] = functools.partial(kinds_differ, state.containers)
            parts.append("_now != _then or _kinds_differ()")
        for i, (place, value) in enumerate(state.others):
            fixed[f"_was{i}"] = value
            parts.append(f"{place.code(f'_in{i}', fixed)} is not _was{i}")
        for i, (entry, place) in enumerate(self._run.places.items()):
            if entry in self._places:
                code = place.code(f"_at{i}", fixed)
                parts.append(f"{code} is not {self._places[entry]}")
        tensors = {id(t): e for e, t in self._run.trace.captured.items() if e in self._places}
        for i, place in enumerate(state.leaves):
            value = place.get()
            if isinstance(value, Tensor) and id(value) in tensors:
                fixed[f"_tensor{i}"] = value
                parts.append(f"{place.code(f'_of{i}', fixed)} is not _tensor{i}")
        for i, (entry, tensor) in enumerate(self._run.trace.captured.items()):
            if entry in self._places:
                fixed[f"_read{i}"] = tensor
                parts.append(f"_read{i}._array is not {self._places[entry]}")
        return " or ".join(parts)

    def _results(self, fixed: dict[str, Any]) -> tuple[list[str], list[str]]:
        """The expression of each result, and the lines that make them results of their own."""
        expressions, lines, seen = [], [], set()
        fixed["array"] = np.array
        into = self._compiled.into or [None] * len(self._leaves)
        for i, (leaf, target) in enumerate(zip(self._leaves, into, strict=True)):
            if isinstance(leaf, Entry):
                text = self._names[leaf]
                is_own = leaf.primitive is not None and text not in seen
                if isinstance(leaf.y, np.ndarray) and leaf.y.ndim and not is_own:
                    text = f"array({text})"
                seen.add(text)
                own_target = leaf in self._into and self._into[leaf] is target
            else:
                if isinstance(leaf, (np.ndarray, np.generic)) and not leaf.ndim:
                    whole = np.asarray(leaf)
                    leaf = whole if any(self.as_arrays[i : i + 1]) else whole[()]
                fixed[f"_constant{i}"] = leaf
                is_array = isinstance(leaf, np.ndarray)
                text, own_target = f"array(_constant{i})" if is_array else f"_constant{i}", False
            if self.as_arrays and self.as_arrays[i] and isinstance(leaf, Entry):
                text = f"array({text})"
            if target is not None and not own_target:
                fixed[f"_target{i}"] = target
                lines.append(f"copyto(_target{i}, {text})")
                text = f"_target{i}"
            expressions.append(text)
        return expressions, lines

    def _nan_check(self, results: list[str]) -> str:
        """The condition under which a result is NaN that may have to be 0."""
        parts = []
        for leaf, name in zip(self._leaves, results, strict=True):
            if isinstance(leaf, (np.ndarray, np.floating, float)) and np.isnan(leaf).any():
                return "True"
            if not isinstance(leaf, Entry) or not name.isidentifier():
                continue
            y = leaf.y
            if not isinstance(y, np.ndarray) or y.dtype.kind != "f" or not y.size:
                continue
            if y.ndim == 0:
                parts.append(f"{name} != {name}")
            elif self.risky or not self.walks:
                self.body.fixed["has_nan"] = _has_nan
                parts.append(f"has_nan({name})")
        return " or ".join(parts)


class _Unpacking:
    """The lines that take arguments apart, and go elsewhere if they are not as expected."""

    def __init__(
        self,
        names: dict[Entry, str],
        inputs: dict[Entry, Any],
        fixed: dict[str, Any],
        with_keywords: bool,
    ):
        self._with_keywords = with_keywords
        self._inputs = iter(inputs)
        self._names, self._fixed = names, fixed
        self._lines: list[str] = []
        self._arrays: list[str] = []
        self._expected: list[Any] = []
        self._count = 0

    def tree(self, tree: Any, expression: str) -> None:
        """The positional arguments, or those by keyword."""
        self._tree(self._named(tree), tree, expression)

    def _named(self, tree: Any) -> Any:
        """The tree with the name of its variable in the place of each leaf."""

        def name(leaf: Any, _: str) -> str:
            self._count += 1
            return self._names[next(self._inputs)] if is_read(leaf) else f"_static{self._count}"

        return tree_map(name, tree, "")

    def _tree(self, names: Any, tree: Any, expression: str) -> None:
        if isinstance(tree, dict):
            keys, kind = self._fix(list(tree)), self._fix(type(tree))
            # In this order, which the function may go by.
            self._unless(f"type({expression}) is {kind} and [*{expression}] == {keys}")
            for key, item in tree.items():
                self._part(names[key], item, f"{expression}[{self._fix(key)}]")
        else:
            kind = (
                ""
                if expression == "args"
                else f"type({expression}) is {self._fix(type(tree))} and "
            )
            self._unless(f"{kind}len({expression}) == {len(tree)}")
            variables = [self._variable(name) for name in names]
            if variables:
                self._lines.append(f"{', '.join(variables)}, = {expression}")
            for name, item, variable in zip(names, tree, variables, strict=True):
                self._inside(name, item, variable)

    def _variable(self, name: Any) -> str:
        """The variable for a leaf, or for a part that is taken apart further."""
        self._count += 1
        return name if isinstance(name, str) else f"_part{self._count}"

    def _part(self, name: Any, item: Any, expression: str) -> None:
        variable = self._variable(name)
        self._lines.append(f"{variable} = {expression}")
        self._inside(name, item, variable)

    def _inside(self, names: Any, item: Any, name: str) -> None:
        if isinstance(item, (dict, tuple, list)):
            self._tree(names, item, name)
        elif isinstance(item, np.ndarray):
            self._arrays.append(name)
            self._expected += [item.shape, item.dtype]
        elif is_read(item):
            self._unless(f"type({name}) is {self._fix(type(item))}")
        elif is_plain(item):
            value = self._fix(item)
            self._unless(f"type({name}) is {self._fix(type(item))} and {name} == {value}")
        else:
            self._unless(f"{name} is {self._fix(item)}")

    def _fix(self, value: Any) -> str:
        name = f"_fixed{len(self._fixed)}"
        self._fixed[name] = value
        return name

    def _unless(self, condition: str) -> None:
        keywords = "keywords" if self._with_keywords else "{}"
        self._lines.append(f"if not ({condition}): return compiled._choose(args, {keywords})")

    def lines(self) -> list[str]:
        """All of them."""
        if self._arrays:
            kinds = " is ".join(f"type({name})" for name in self._arrays)
            found = ", ".join(f"{name}.shape, {name}.dtype" for name in self._arrays)
            ndarray, expected = self._fix(np.ndarray), self._fix(tuple(self._expected))
            self._unless(f"{kinds} is {ndarray} and ({found}) == {expected}")
        return self._lines


def _shown(name: str, shown: Sequence[Shown], x: np.ndarray) -> list[Any]:
    """An array and its views; None in its place if one is a copy, which has to be made again."""
    known = {name: x}
    for view, source, make in shown:
        known[view] = make(known[source])
    views = [known[view] for view, _, _ in shown]
    is_shown = all(np.may_share_memory(view, x) for view in views)
    return [x if is_shown else None, *views]


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _form_code(form: Any, results: list[str], fixed: dict[str, Any]) -> str:
    """The expression of a tree of results, whose leaves are their numbers."""
    if isinstance(form, dict):
        items = []
        for key, item in form.items():
            fixed[name := f"_key{len(fixed)}"] = key
            items.append(f"{name}: {_form_code(item, results, fixed)}")
        return f"{{{', '.join(items)}}}"
    if isinstance(form, (tuple, list)):
        items = [_form_code(item, results, fixed) for item in form]
        if hasattr(form, "_fields"):
            fixed[name := f"_class{len(fixed)}"] = type(form)
            return f"{name}({', '.join(items)})"
        if isinstance(form, list):
            return f"[{', '.join(items)}]"
        return f"({', '.join(items)},)" if items else "()"
    return results[form]


def flattened(tree: Any) -> tuple[list[Any], Any]:
    """The leaves of a tree, and the tree with their numbers in their places."""
    leaves: list[Any] = []

    def numbered(leaf: Any, _: str) -> int:
        leaves.append(leaf)
        return len(leaves) - 1

    form = tree_map(numbered, tree, "")
    return leaves, form


# Where rows of infinities may become NaN.
SHIFTED = {neural.softmax, neural.log_softmax, neural.cross_entropy, neural.logsumexp}
# Where an infinity or a 0 on the way is right.
SILENT = {*SHIFTED, neural.sigmoid, neural.softplus, neural.binary_cross_entropy}


def _has_nan(x: np.ndarray) -> bool:
    x = x.ravel(order="K")
    return bool(np.isnan(np.dot(x, x)) and np.isnan(x).any())


def _states(places: Sequence[Place]) -> list[Any]:
    """The states of random generators."""
    return [copy.deepcopy(_state_of(place.get())) for place in places]


def _state_of(generator: Any) -> Any:
    is_new = isinstance(generator, np.random.Generator)
    return generator.bit_generator.state if is_new else generator.get_state()


def _put_back(places: Sequence[Place], states: Sequence[Any]) -> None:
    for place, state in zip(places, states, strict=True):
        generator = place.get()
        if isinstance(generator, np.random.Generator):
            generator.bit_generator.state = state
        else:
            generator.set_state(state)
