"""`tg.compile`: a function as flat NumPy code, written anew for every shape and dtype."""

from __future__ import annotations

import builtins
import collections
import contextlib
import copy
import functools
import keyword
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_edu.calculus import neural
from tinygrad_edu.compiler.algebra import StableTrace, lowered, simplified
from tinygrad_edu.compiler.captured import Place, State
from tinygrad_edu.compiler.program import Body, ordered
from tinygrad_edu.recording import mode
from tinygrad_edu.rules import Primitive
from tinygrad_edu.tape import Entry, reachable
from tinygrad_edu.tensor import Tensor, as_array, changeable, lift, plain
from tinygrad_edu.tracing import CompileError, Trace, naming, tracing
from tinygrad_edu.trees import argument_names, tree_leaves, tree_map

__all__ = ["compile"]

Function = Callable[..., Any]
_MOST = 32  # programs that a compiled function keeps
_one_at_a_time = threading.RLock()


def compile(f: Function, reuse_outputs: bool = False) -> Compiled:
    """`f` as flat NumPy code with planned buffers: same arguments, same results, less time.

    The first call with arguments of new shapes and dtypes traces `f`: it is run with stand-ins for
    all arrays that it reads, its operations are simplified, and code for them is written. Later
    calls run that code. `f` may be any function of NumPy code, and also what `tg.grad`,
    `tg.value_and_grad`, `tg.vjp` ... give.

    - Arrays, floats and Tensors among the arguments (in nested tuples, lists and dicts), and arrays,
      Tensors and random generators that `f` captured, are read anew in each call. Anything else,
      such as whole numbers, strings and attributes that are no arrays, is part of the program;
      if it changes, the program is written anew.
    - Nothing may depend on values but by NumPy functions: a branch on a value, `float(x)`, or an
      assignment to an argument is a CompileError. So is a function that changes what it captured.
    - Results are plain arrays of their own; with `reuse_outputs=True` they are buffers that the
      next call overwrites.
    - Gradients that come out as NaN are computed once more without the program, which finds 0
      where 0 * inf is 0, or says what is wrong.

    Attributes of the result: `source`, the code of the program that ran last; `programs`, how many
    there are.

    Raises:
        CompileError: at the first call, with the reason.

    Example:
        >>> import numpy as np, tinygrad_edu as tg
        >>> fast = tg.compile(tg.value_and_grad(lambda w, x: np.sum(np.tanh(x @ w))))
        >>> value, gradient = fast(np.ones((2, 3)), np.ones((4, 2)))
        >>> gradient.shape
        (2, 3)
    """
    if not callable(f):
        raise TypeError(f"compile() takes a function, got {f!r:.60}")
    return Compiled(f, reuse_outputs)


class Compiled:
    """A function and the programs that were written for it; see `compile`.

    Args:
        into: arrays for the leaves of the results, or None for new ones.
        watched: whether each call makes sure that what was captured is as it was; otherwise the
            caller has to, by `check()`, whenever it may have changed.
    """

    def __init__(
        self,
        f: Function,
        reuse_outputs: bool = False,
        into: Sequence[Any] | None = None,
        watched: bool = True,
    ):
        with contextlib.suppress(AttributeError):
            functools.update_wrapper(self, f, updated=())
        self.function = f
        self.reuse_outputs = reuse_outputs
        self.into = into
        self.watched = watched
        # A thread has buffers of its own.
        self._local = _Local()

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        if keywords or mode.watched:
            return self._choose(args, keywords)
        return self._local.run(self, *args)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def check(self) -> None:
        """Makes sure of the program that ran last; see `watched`."""
        local = self._local
        if local.last is not None and not local.last.still_holds():
            local.programs.clear()
            local.last, local.run = None, _Local.first

    def _without_program(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """The results of the function itself."""
        results = tree_map(lambda x, _: plain(x), self.function(*args, **keywords), "")
        if self.into is not None:
            for target, leaf in zip(self.into, tree_leaves(results), strict=True):
                if target is not None:
                    np.copyto(target, leaf)
        return results

    @property
    def source(self) -> str:
        """The code of the program that this thread ran last."""
        if self._local.last is None:
            raise CompileError("nothing is compiled yet: call the function once")
        return self._local.last.source

    @property
    def programs(self) -> int:
        """How many programs this thread has."""
        return len(self._local.programs)

    @property
    def nbytes(self) -> int:
        """The memory of all buffers of the program that this thread ran last."""
        return 0 if self._local.last is None else self._local.last.nbytes

    def __reduce__(self) -> Any:
        return Compiled, (self.function, self.reuse_outputs, self.into, self.watched)

    def __repr__(self) -> str:
        return f"<compiled {_name(self.function)}, {self.programs} programs>"

    def _choose(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Runs the program for these arguments, which is not the one that ran last."""
        local = self._local
        if local.busy or mode.trace is not None or _is_recorded((args, keywords)):
            return self.function(*args, **keywords)
        if mode.watched:
            return self._without_program(args, keywords)
        local.busy = True
        try:
            args, keywords = _as_arrays((args, keywords))
            key = _key((args, keywords))
            # While one thread traces, what is captured is not what it seems to be to others.
            with _one_at_a_time:
                program = local.programs.pop(key, None)
                if program is None or not program.still_holds():
                    program = Program(self, args, keywords)
            local.programs[key] = program
            while len(local.programs) > _MOST:
                local.programs.popitem(last=False)
            local.last = program
            local.run = program.run
            return program.run(self, *args, **keywords)
        finally:
            local.busy = False


class _Local(threading.local):
    """What a thread has of a compiled function."""

    def __init__(self) -> None:
        self.programs: collections.OrderedDict[Any, Program] = collections.OrderedDict()
        self.last: Program | None = None
        self.busy = False
        self.run: Function = _Local.first

    @staticmethod
    def first(compiled: Compiled, *args: Any) -> Any:
        """A call that no program is chosen for yet."""
        return compiled._choose(args, {})


class Program:
    """The code for arguments of certain shapes and dtypes.

    Attributes:
        source: the code.
        run: the function that it defines.
        nbytes: the memory of its buffers.
    """

    def __init__(self, compiled: Compiled, args: tuple[Any, ...], keywords: dict[str, Any]):
        f = compiled.function
        whole = args, keywords
        objects: list[Any] = []
        tree_map(lambda leaf, _: objects.append(leaf), whole, "")
        self._state = State(f, *(leaf for leaf in objects if not _is_plain(leaf)))
        try:
            run = self._traced(f, whole)
        except CompileError:
            raise
        except Exception as error:
            # If the function itself is wrong, it says so; otherwise it is only not to be compiled.
            self._state.run_as_it_is(f, *copy.deepcopy(whole))
            raise CompileError(f"{_name(f)} cannot be traced: {error!r:.300}") from error

        # By now it is known that the function changes nothing, so that it can be run as it is.
        arrays_of_none_axes = [
            isinstance(leaf, np.ndarray) and leaf.ndim == 0
            for leaf in tree_leaves(self._state.run_as_it_is(f, args, keywords))
        ]
        given = run.trace.inputs | run.trace.captured.keys()
        leaves, form = _flattened(run.y)
        entries = [leaf._own_entry() if isinstance(leaf, Tensor) else None for leaf in leaves]
        outputs = [entry for entry in entries if entry is not None]
        outputs, simple = simplified(outputs, given, run.trace.draws)
        kept = reachable(*(e for e in outputs if isinstance(e, Entry)))
        primitives = {e.primitive for e in kept if e.primitive is not None}
        outputs, final = lowered(outputs, given, simple.draws)
        found = iter(outputs)
        leaves = [
            leaf if e is None else next(found) for leaf, e in zip(leaves, entries, strict=True)
        ]

        writer = _Writer(compiled, run, leaves, final.draws)
        if len(arrays_of_none_axes) == len(leaves):
            writer.as_arrays = arrays_of_none_axes
        writer.silent = not primitives.isdisjoint(_SILENT)
        writer.risky = run.trace.walks and any(primitive.singular for primitive in primitives)
        writer.walks = run.trace.walks
        writer.known = self._known
        writer.generators = [draw.place for draw in run.draws]
        self.source, self._fixed, self._rebound = writer.written(whole, form, self._state)
        self._captured = writer.captured
        self.nbytes = writer.body.nbytes
        exec(builtins.compile(self.source, f"<compiled {_name(f)}>", "exec"), self._fixed)
        self.run = self._fixed["run"]
        for draw in run.draws:
            draw.source = draw.place.get

    def _traced(self, f: Function, whole: Any) -> _Run:
        """A run of the function that holds for all values."""

        def run(kind: Any, lasting: dict[int, np.ndarray]) -> _Run:
            return _Run(kind, self._state, f, whole, lasting, self._known)

        with _unchanged_random_numbers(), np.errstate(all="ignore"):
            self._known: dict[int, np.ndarray] = {}
            try:
                runs = [run(Trace, {})]
            except Exception as error:
                # Whole numbers may be needed as they are, as sizes and ends of slices.
                self._known = self._state.whole_numbers()
                if not self._known:
                    raise
                try:
                    runs = [run(Trace, {})]
                except Exception:
                    raise error from None
            runs.append(run(Trace, {}))
            return run(StableTrace, _lasting(*(run.trace for run in runs)))

    def still_holds(self) -> bool:
        """Whether the program goes with what the function has captured by now.

        Arrays and Tensors may have been replaced by others of the same shape and dtype.
        """
        if not self._state.is_as_it_was() or not self._state.are_still(self._known):
            return False
        for name, (read, y) in self._captured.items():
            try:
                array = read()
            except (KeyError, IndexError, AttributeError, ValueError):
                return False
            if type(array) is not np.ndarray or _layout(array) != _layout(y):
                return False
            self._fixed[name] = array
        self._captured = {n: (read, self._fixed[n]) for n, (read, _) in self._captured.items()}
        for name, make in self._rebound:
            self._fixed[name] = make()
        self._state.refresh()
        return True


class _Run:
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
        self.draws: list[_Draw] = []
        self.places: dict[Entry, Place] = {}

        def stand_in(leaf: Any, path: str) -> Any:
            if not _is_read(leaf):
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

    def __init__(self, run: _Run, place: Place):
        self._run, self._place = run, place
        self._copy = copy.deepcopy(place.get())

    @property
    def __class__(self) -> Any:  # so that isinstance(rng, np.random.Generator) holds
        return type(self._copy)

    def __getattr__(self, name: str) -> Any:
        if name in _UNTRACED or not callable(getattr(self._copy, name)):
            raise CompileError(f"a compiled function cannot use {name} of a random generator")

        def draw(*args: Any, **keywords: Any) -> Any:
            if keywords.get("out") is not None:
                raise CompileError("a compiled function draws new arrays: leave out= out")
            primitive = _Draw(name, self._place, lambda: self._copy)
            self._run.draws.append(primitive)
            result = mode.trace.record(primitive, args, keywords)
            mode.trace.draws.append(result._entry)
            return lift(result._entry, result._array.item()) if primitive.is_float else result

        return draw


_UNTRACED = {"shuffle", "bit_generator", "seed", "set_state", "get_state", "spawn"}


class _Draw(Primitive):
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


class _Writer:
    """Writes the code of a program around its body."""

    silent = False
    risky = False
    walks = False
    as_arrays: Sequence[bool] = ()
    generators: Sequence[Place] = ()
    known: Mapping[int, np.ndarray] = {}

    def __init__(self, compiled: Compiled, run: _Run, leaves: list[Any], draws: Sequence[Entry]):
        self._compiled, self._run, self._leaves = compiled, run, leaves
        outputs = list(dict.fromkeys(leaf for leaf in leaves if isinstance(leaf, Entry)))
        entries = ordered(outputs, draws)
        into = compiled.into or [None] * len(leaves)
        self._into = {
            leaf: array
            for leaf, array in zip(leaves, into, strict=True)
            if isinstance(leaf, Entry) and leaf.primitive is not None and array is not None
        }
        self._names: dict[Entry, str] = {}
        for entry in run.inputs:
            self._names[entry] = self._name(entry.name)
        self.captured: dict[str, tuple[Function, np.ndarray]] = {}
        self._places: dict[Entry, str] = {}
        arrays: dict[Entry, np.ndarray] = {}
        self._guards: list[tuple[str, Any]] = []
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
        names = set(self._names.values()) | {"compiled", "args", "keywords", "run"}
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
        checks: list[str] = []
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
                f"if {name} is {o} or {name}.base is {o}: {name} = {name}.copy()"
                for o in self._overwritten(entry)
            ]
        lines += [
            f"{self._names[entry]} = {name}[()]"
            for entry, name in self._places.items()
            if self._names[entry] != name
        ]
        lines += self.body.lines
        results, ends = self._results(fixed)
        lines += ends
        if self.silent:
            fixed["errstate"] = np.errstate
            lines = ["with errstate(over='ignore', under='ignore'):", *(f"    {x}" for x in lines)]
        again = f"    return compiled._choose(args, {keywords})"
        text = [f"def run(compiled, *args{', **keywords' if whole[1] else ''}):"]
        text += [f"    {line}" for line in checks]
        if guard:
            fixed["ValueError"] = ValueError
            text += ["    try:", f"        changed = {guard}", "    except ValueError:"]
            text += ["        changed = True", "    if changed:", f"    {again}"]
        text += [f"    {line}" for line in lines]
        nan = self._nan_check(results) if self.walks else ""
        if nan and self.generators:
            fixed["_states"] = functools.partial(_states, self.generators)
            fixed["_put_back"] = functools.partial(_put_back, self.generators)
            text.insert(1, "    states = _states()")
        if nan and self.generators:
            text += [f"    if {nan}:", "        _put_back(states)"]
            text += [f"        return compiled._without_program(args, {keywords})"]
        elif nan:
            text += [
                f"    if {nan}:",
                f"        return compiled._without_program(args, {keywords})",
            ]
        text += [f"    return {_form_code(form, results, fixed)}"]
        head = f"# {len(self.body.lines)} lines, buffers of {self.body.nbytes:,} bytes"
        return "\n".join([head, *text]) + "\n", fixed, self.body.rebound

    def _overwritten(self, entry: Entry) -> list[str]:
        """The results that stay the same arrays and could be passed as this argument."""
        if not self._compiled.reuse_outputs or not isinstance(self._run.inputs[entry], np.ndarray):
            return []
        buffers = {e: self._names[e] for e in self.body.kept if e.y.dtype == entry.y.dtype}
        return list(buffers.values()) if self._compiled.into is None else []

    def _guard(self, state: State, fixed: dict[str, Any]) -> str:
        """The condition under which something that was captured is no longer what it was."""
        parts = []
        if self.known:
            fixed["_still"] = functools.partial(state.are_still, self.known)
            parts.append("not _still()")
        if state.containers:
            fixed["_now"] = [container for container, _ in state.containers]
            fixed["_then"] = [content for _, content in state.containers]
            parts.append("_now != _then")
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
                if (
                    isinstance(leaf, np.ndarray)
                    and not leaf.ndim
                    and not any(self.as_arrays[i:][:1])
                ):
                    leaf = leaf[()]
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
            elif self.risky:
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
            return self._names[next(self._inputs)] if _is_read(leaf) else f"_static{self._count}"

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
        elif _is_read(item):
            self._unless(f"type({name}) is {self._fix(type(item))}")
        elif _is_plain(item):
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


def _flattened(tree: Any) -> tuple[list[Any], Any]:
    """The leaves of a tree, and the tree with their numbers in their places."""
    leaves: list[Any] = []

    def numbered(leaf: Any, _: str) -> int:
        leaves.append(leaf)
        return len(leaves) - 1

    form = tree_map(numbered, tree, "")
    return leaves, form


_SILENT = {
    *(neural.softmax, neural.log_softmax, neural.cross_entropy, neural.sigmoid),
    *(neural.binary_cross_entropy, neural.softplus, neural.logsumexp),
}


def _has_nan(x: np.ndarray) -> bool:
    x = x.ravel(order="K")
    return bool(np.isnan(np.dot(x, x)) and np.isnan(x).any())


def _lasting(one: Trace, other: Trace) -> dict[int, np.ndarray]:
    """The arrays that two runs had in common; the others must be equal, or they are no constants.

    An array that a run makes itself is another one in each run.
    """
    for a, b in zip(one.calls, other.calls, strict=False):
        if a != b:
            raise CompileError(
                f"the function does not compute the same in each run: {a:.80}, and then {b:.80}. "
                f"What changes from call to call, pass as an argument"
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
def _unchanged_random_numbers() -> Iterator[None]:
    """Raises if hidden random numbers are drawn, of which a program would not know."""
    before, hidden = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        after, drawn = random.getstate(), np.random.get_state()
        random.setstate(before)
        np.random.set_state(hidden)
    if after != before or repr(drawn) != repr(hidden):
        raise CompileError(
            "the function draws random numbers from the hidden state of np.random or random: draw "
            "them from rng = np.random.default_rng(...), made outside of the function"
        )


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


def _is_plain(leaf: Any) -> bool:
    """Whether a leaf is compared by its value, not by being the same object."""
    return leaf is None or isinstance(
        leaf, (bool, int, float, complex, str, bytes, np.generic, np.ndarray)
    )


def _is_read(leaf: Any) -> bool:
    """Whether a leaf of the arguments is read anew in each call."""
    return isinstance(leaf, (np.ndarray, np.floating)) or type(leaf) is float


def _is_recorded(tree: Any) -> bool:
    return mode.on and any(isinstance(x, Tensor) and x.requires_grad for x in tree_leaves(tree))


def _as_arrays(tree: Any) -> Any:
    """The arguments with arrays in the place of Tensors."""

    def array(leaf: Any, path: str) -> Any:
        leaf = plain(leaf)
        return as_array(leaf) if isinstance(leaf, np.ndarray) else leaf

    return tree_map(array, tree, "")


def _key(tree: Any) -> Any:
    """What arguments have to have in common to share a program."""
    if isinstance(tree, dict):
        return (type(tree), *((key, _key(item)) for key, item in tree.items()))
    if isinstance(tree, (tuple, list)):
        return (type(tree), *map(_key, tree))
    if isinstance(tree, np.ndarray):
        return tree.shape, tree.dtype.str
    if _is_read(tree):
        return type(tree)
    if _is_plain(tree):
        return type(tree), tree
    return "object", id(tree)


def _layout(array: np.ndarray) -> tuple[Any, ...]:
    return array.shape, array.strides, array.dtype


def _name(f: Function) -> str:
    return getattr(f, "__name__", type(f).__name__)
