"""`tg.compile`: a function as flat NumPy code, written anew for every shape and dtype."""

from __future__ import annotations

import builtins
import collections
import contextlib
import copy
import functools
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_edu.compiler.algebra import StableTrace, lowered, simplified
from tinygrad_edu.compiler.captured import State
from tinygrad_edu.compiler.runs import Run, is_plain, is_read, lasting, unchanged_random_numbers
from tinygrad_edu.compiler.writer import SHIFTED, SILENT, Writer, flattened
from tinygrad_edu.recording import mode
from tinygrad_edu.tape import Entry, reachable
from tinygrad_edu.tensor import Tensor, as_array, plain
from tinygrad_edu.tracing import CompileError, Trace
from tinygrad_edu.trees import tree_leaves, tree_map

__all__ = ["compile"]

Function = Callable[..., Any]
_MOST = 32  # programs that a compiled function keeps
_MANY = 10  # programs after which the log says so
_one_at_a_time = threading.RLock()


def compile(f: Function, reuse_outputs: bool = False) -> Compiled:
    """`f` as flat NumPy code with planned buffers: same arguments, same results, less time.

    The first call with arguments of new shapes and dtypes traces `f`: it is run with stand-ins for
    all arrays that it reads, its operations are simplified, and code for them is written. Later
    calls run that code. `f` may be any function of NumPy code, and also what `tg.grad`,
    `tg.value_and_grad`, `tg.vjp` ... give.

    - Arrays, floats and Tensors among the arguments (in nested tuples, lists and dicts), and
      arrays, Tensors and random generators that `f` captured, are read anew in each call. Anything
      else, such as whole numbers, strings and attributes that are no arrays, is part of the
      program; if it changes, the program is written anew, which takes as long as some hundred
      steps.
    - Nothing may depend on values but by NumPy functions: a branch on a value, `float(x)`, or an
      assignment to an argument is a CompileError. So is a function that changes what it captured.
    - Results are plain arrays of their own; with `reuse_outputs=True` they are buffers that the
      next call overwrites.
    - Gradients that come out as NaN are computed once more without the program, which finds 0
      where 0 * inf is 0, or says what is wrong.
    - The first call runs `f` four times, later ones not at all: what it prints, it prints then.
      Inside, `isinstance(x, np.ndarray)` is false. It takes tens of milliseconds, so it pays off
      after some hundred calls.

    Attributes of the result: `source`, the code of the program that ran last; `programs`, how many
    there are.

    Raises:
        CompileError: at the first call, with the reason; at a later one if a shape depends on
            values, as that of `x[x > 0]`.

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
        self.written = 0
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

        def own(leaf: Any, _: str) -> Any:
            leaf = plain(leaf)
            return leaf.copy() if isinstance(leaf, np.ndarray) else leaf

        results = tree_map(own, self.function(*args, **keywords), "")
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

    def _count_programs(self) -> None:
        self.written += 1
        if self.written == _MANY:
            logging.getLogger("tinygrad_edu").warning(
                "%s was compiled %d times by now, each of which takes as long as some hundred "
                "calls: pass what changes as an array or a float, not as a whole number, and not "
                "as an attribute or a variable that the function reads",
                _name(self.function),
                self.written,
            )

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
                    self._count_programs()
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
        self._state = State(f, *(leaf for leaf in objects if not is_plain(leaf)))
        try:
            self._build(compiled, args, keywords)
        except CompileError:
            raise
        except Exception as error:
            # If the function itself is wrong, it says so; otherwise it is only not to be compiled.
            self._state.run_as_it_is(f, *copy.deepcopy(whole))
            raise CompileError(f"{_name(f)} cannot be compiled: {error!r:.300}") from error

    def _build(self, compiled: Compiled, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        f, whole = compiled.function, (args, keywords)
        run = self._traced(f, whole)
        # By now it is known that the function changes nothing, so that it can be run as it is.
        arrays_of_none_axes = [
            isinstance(leaf, np.ndarray) and leaf.ndim == 0
            for leaf in tree_leaves(self._state.run_as_it_is(f, args, keywords))
        ]
        given = run.trace.inputs | run.trace.captured.keys()
        leaves, form = flattened(run.y)
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

        writer = Writer(compiled, run, leaves, final.draws)
        if len(arrays_of_none_axes) == len(leaves):
            writer.as_arrays = arrays_of_none_axes
        writer.silent = not primitives.isdisjoint(SILENT)
        writer.shifted = not primitives.isdisjoint(SHIFTED)
        writer.risky = bool(run.trace.walks) and any(primitive.singular for primitive in primitives)
        writer.walks = bool(run.trace.walks)
        writer.known = self._known
        writer.generators = [draw.place for draw in run.draws]
        self.source, self._fixed, self._rebound = writer.written(whole, form, self._state)
        self._captured = writer.captured
        self._kept = [writer.body.fixed[name] for _, name in writer.body.kept]
        self._kept = [] if compiled.into is not None else self._kept
        self.nbytes = writer.body.nbytes
        exec(builtins.compile(self.source, f"<compiled {_name(f)}>", "exec"), self._fixed)
        self.run = self._fixed["run"]
        for draw in run.draws:
            draw.source = draw.place.get

    def _traced(self, f: Function, whole: Any) -> Run:
        """A run of the function that holds for all values."""

        def run(kind: Any, lasting: dict[int, np.ndarray]) -> Run:
            return Run(kind, self._state, f, whole, lasting, self._known)

        with unchanged_random_numbers(), np.errstate(all="ignore"):
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
            return run(StableTrace, lasting(*(run.trace for run in runs)))

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
            if any(np.may_share_memory(array, result) for result in self._kept):
                raise CompileError(
                    f"{name}, which the function reads, is a result of this very function, whose "
                    f"buffer it overwrites: keep a copy, or compile without reuse_outputs=True"
                )
            self._fixed[name] = array
        self._captured = {n: (read, self._fixed[n]) for n, (read, _) in self._captured.items()}
        for name, make in self._rebound:
            self._fixed[name] = make()
        self._state.refresh()
        return True


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
    if is_read(tree):
        return type(tree)
    if is_plain(tree):
        return type(tree), tree
    return "object", id(tree)


def _layout(array: np.ndarray) -> tuple[Any, ...]:
    return array.shape, array.strides, array.dtype


def _name(f: Function) -> str:
    return getattr(f, "__name__", type(f).__name__)
