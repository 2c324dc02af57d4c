"""A tape as flat NumPy code: which buffer each value is in, and the line that computes it.

All arrays between inputs and outputs live in buffers that are allocated once. A buffer is used
again as soon as nothing reads what is in it any more; an elementwise operation writes over an
input that it is the last to read.
"""

from __future__ import annotations

import collections
import functools
import keyword
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_edu.calculus.indexing import scatter_add
from tinygrad_edu.compiler.lowering import (
    assembled,
    is_whole,
    label_index,
    pick,
    square_sum,
    subtract_at,
)
from tinygrad_edu.rules import PRIMITIVES, Primitive
from tinygrad_edu.tape import Entry
from tinygrad_edu.tracing import CompileError, pack

__all__ = ["Body", "may_show", "ordered"]

_MATMUL = PRIMITIVES[np.matmul]
_TRANSPOSE = PRIMITIVES[np.transpose]
_REDUCTIONS = {
    PRIMITIVES[np.sum]: "add",
    PRIMITIVES[np.max]: "maximum",
    PRIMITIVES[np.min]: "minimum",
}
_INFIX = {
    PRIMITIVES[np.add]: "+",
    PRIMITIVES[np.subtract]: "-",
    PRIMITIVES[np.multiply]: "*",
    PRIMITIVES[np.divide]: "/",
}
_NUMBERS = {0: "zero", 1: "one", 2: "two", 0.5: "half", -1: "minus_one"}
_ALIGNMENT = 64
# np.dot starts faster than np.matmul, but fills its result with zeros first, which costs more than
# that above this many bytes.
_LARGEST_DOT = 2**15
_SMALL_SUM = 4096


def _ufunc_of(primitive: Primitive) -> Any:
    """The NumPy function of an elementwise operation, which can write into a given array."""
    functions = _UFUNCS or _UFUNCS.update(
        {p: f for f, p in PRIMITIVES.items() if isinstance(f, np.ufunc) and f.signature is None}
    )
    found = (functions or _UFUNCS).get(primitive)
    forward = primitive.forward
    if found is None and isinstance(forward, np.ufunc) and forward.signature is None:
        found = forward
    return found if found is not None and found.nout == 1 else None


_UFUNCS: dict[Primitive, Any] = {}


def ordered(
    outputs: Sequence[Entry], draws: Sequence[Entry] = (), first: Sequence[Entry] = ()
) -> list[Entry]:
    """All entries that the outputs need, each as late as the first that reads it allows.

    What `first` needs comes first.
    """

    def urgency(entry: Entry) -> float:
        computed = [s.order for s in entry.inputs if s is not None and s.primitive is not None]
        return max(computed, default=entry.order)

    order: dict[Entry, None] = {}
    for root in [*draws, *first, *sorted(outputs, key=urgency)]:
        pending = [root]
        while pending:
            entry = pending[-1]
            missing = [s for s in entry.inputs if s is not None and s not in order]
            if missing:
                pending += sorted(missing, key=urgency, reverse=True)
            else:
                order.setdefault(entry)
                pending.pop()
    return list(order)


# The name of a view, the name of what it shows, and what makes it.
Shown = tuple[str, str, Callable[[Any], Any]]
# Of an argument with more views than this the views are kept as long as it is the same array.
_MANY_VIEWS = 3


class Slot:
    """A piece of memory, and what stands in it until when."""

    def __init__(self, nbytes: int, free_after: float):
        self.nbytes, self.free_after = nbytes, free_after


class Body:
    """The lines of a program, and what they need.

    Attributes:
        lines: the code, without its inputs and its return.
        names: the variable of each entry.
        fixed: what the lines read besides their inputs, by name: functions, constants, buffers.
        rebound: what has to be made again when a captured array is another one: name, and a
            function of `fixed`.
        nbytes: the size of all buffers together.
        kept: the results whose arrays are the same in each call, with the names of these.
        shown: the views of arguments that are made anew only for another array.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        outputs: Sequence[Entry],
        names: dict[Entry, str],
        captured: dict[Entry, np.ndarray],
        reuse: bool,
        into: dict[Entry, np.ndarray],
    ):
        self.names = names
        self.lines: list[str] = []
        self.fixed: dict[str, Any] = {"empty": np.empty, "dot": np.dot, "copyto": np.copyto}
        self.rebound: list[tuple[str, Callable[[], Any]]] = []
        self.nbytes = 0
        self.kept: list[tuple[Entry, str]] = []
        self._counts: collections.Counter[str] = collections.Counter()
        self._entries = entries
        self._outputs = set(outputs)
        self._reuse = reuse
        self._into = into
        self._taken = set(names.values())
        self._arrays: dict[Entry, np.ndarray | None] = dict(captured)  # known beforehand
        self._slots: dict[Entry, Slot | None] = {}
        self._free: list[tuple[np.ndarray, Slot]] = []
        self._memory: dict[Slot, np.ndarray] = {}
        self._variables: dict[Any, str] = {}
        self._constants: dict[Any, str] = {}
        self._captured = captured
        self._columns = _column_shapes(entries)
        self._last = self._last_uses()
        _masks_as_numbers(entries, self._outputs)
        self._likely = self._likely_names()
        self._parts: dict[Entry, np.ndarray] = {}
        self._destined = self._destinations()
        self._take_vectors_apart()
        roots = collections.Counter(map(self._root, entries))
        self.shown: dict[Entry, list[Shown]] = {
            root: []
            for root, n in roots.items()
            if root.primitive is None and root not in captured and n > _MANY_VIEWS
        }
        for i, entry in enumerate(entries):
            if entry.primitive is not None:
                self._write(i, entry)
                self._release(i)

    # Life times.

    def _last_uses(self) -> dict[Entry, float]:
        """The position of the last line that reads each entry, or a view of it."""
        last: dict[Entry, float] = {}
        for i, entry in enumerate(self._entries):
            for source in entry.inputs:
                if source is not None:
                    last[source] = i
        for entry in self._outputs:
            last[entry] = math.inf
        # What an entry may show has to live as long as it.
        for entry in reversed(self._entries):
            shows = entry.primitive is not None and may_show(entry)
            # The parts of an index and labels are read where the index is.
            if shows or entry.primitive in (pack, label_index):
                for source in entry.inputs:
                    if source is not None:
                        last[source] = max(last.get(source, 0), last.get(entry, 0))
        return last

    def _release(self, i: int) -> None:
        for slot, memory in list(self._memory.items()):
            if slot.free_after <= i:
                del self._memory[slot]
                self._free.append((memory, slot))

    def _buffer(self, i: int, entry: Entry, over: Sequence[Entry] = ()) -> str:
        """The variable that an entry is written to: an input of it, a free buffer, or a new one."""
        y, life = entry.y, self._last.get(entry, i)
        if entry in self._outputs:
            return self._output_buffer(entry)
        if entry in self._parts:
            name = self.names[entry] = self._new_name(entry, "part")
            self.fixed[name] = self._arrays[entry] = self._parts[entry]
            self._slots[entry] = None
            return name
        if entry in self._destined:
            name = self.names[entry] = self._output_buffer(self._destined[entry])
            self._slots[entry], self._arrays[entry] = None, self._arrays[self._destined[entry]]
            return name
        for source in over:
            slot = self._slots.get(source)
            if (
                slot is not None
                and not may_show(source)
                and slot.free_after <= i
                and source.y.shape == y.shape
                and source.y.dtype == y.dtype
                and all(self._slots.get(s) is not slot or s is source for s in _sources(entry))
            ):
                slot.free_after = life
                self._slots[entry] = slot
                self._arrays[entry] = self._arrays[source]
                self.names[entry] = self.names[source]
                return self.names[source]
        # A large buffer is kept for what needs one.
        fitting = [
            (memory, slot)
            for memory, slot in self._free
            if y.nbytes <= memory.nbytes <= 4 * y.nbytes
        ]
        if fitting:
            memory = min((memory for memory, _ in fitting), key=lambda memory: memory.nbytes)
            self._free = [pair for pair in self._free if pair[0] is not memory]
        else:
            memory = _aligned(y.nbytes)
            self.nbytes += memory.nbytes
        slot = Slot(memory.nbytes, life)
        self._memory[slot] = memory
        self._slots[entry] = slot
        array = self._laid_out(memory, y)
        self._arrays[entry] = array
        key = (memory.ctypes.data, y.shape, y.dtype.str)
        if key not in self._variables:
            self._variables[key] = self._new_name(entry, "buffer")
            self.fixed[self._variables[key]] = array
        self.names[entry] = self._variables[key]
        return self.names[entry]

    def _laid_out(self, memory: np.ndarray, y: np.ndarray) -> np.ndarray:
        flat = memory[: y.nbytes].view(y.dtype)
        return flat.reshape(y.shape[::-1]).T if self._by_columns(y) else flat.reshape(y.shape)

    def _by_columns(self, y: np.ndarray) -> bool:
        return y.shape in self._columns

    def _destinations(self) -> dict[Entry, Entry]:
        """What is only there to be changed into a result, with that result."""
        readers: dict[Entry, int] = {}
        for entry in self._entries:
            for source in _sources(entry):
                readers[source] = readers.get(source, 0) + 1
        destined: dict[Entry, Entry] = {}
        for output in self._outputs:
            entry = output
            while entry.y.ndim and _ufunc_of(entry.primitive) is not None and not entry.keywords:
                fitting = [
                    s
                    for s in _sources(entry)
                    if s.primitive is not None
                    and readers[s] == 1
                    and s not in self._outputs
                    and isinstance(s.y, np.ndarray)
                    and (s.y.shape, s.y.dtype) == (output.y.shape, output.y.dtype)
                    and not may_show(s)
                ]
                if not fitting:
                    break
                entry = max(fitting, key=lambda s: s.primitive is _MATMUL)
                destined[entry] = output
        return destined

    def _take_vectors_apart(self) -> None:
        """Has the pieces of a result computed in their places in it."""
        readers: dict[Entry, int] = {}
        for entry in self._entries:
            for source in _sources(entry):
                readers[source] = readers.get(source, 0) + 1
        for entry in self._outputs:
            is_static = self._reuse or entry in self._into
            if entry.primitive is not assembled or not is_static or not is_whole(entry):
                continue
            self._output_buffer(entry)
            whole = self._arrays[entry]
            assert whole is not None
            for (start, stop), source in zip(entry.keywords["places"], entry.inputs, strict=True):
                if source is None:
                    continue
                origin = _origin(source)
                alone = readers[source] == readers[origin] == 1 and origin not in self._outputs
                if alone and origin.primitive is not None and not may_show(origin):
                    self._parts[origin] = whole[start:stop].reshape(origin.y.shape)

    def _is_by_columns(self, entry: Entry) -> bool:
        """Whether an entry will lie column after column; new results and given ones do not."""
        result = self._destined.get(entry, entry)
        if result in self._outputs and (result in self._into or not self._reuse):
            return False
        return self._by_columns(entry.y) and entry not in self._parts

    def _output_buffer(self, entry: Entry) -> str:
        if entry in self.names:
            return self.names[entry]
        y = entry.y
        name = self.names[entry] = self._new_name(entry, "out")
        self._slots[entry] = None
        if entry in self._into or self._reuse:
            array = self._into.get(entry)
            if array is None:
                memory = _aligned(y.nbytes)
                array = self._laid_out(memory, y)
                self.nbytes += memory.nbytes
            self.fixed[name] = self._arrays[entry] = array
            self.kept.append((entry, name))
        else:
            self._arrays[entry] = None
            dtype = self._constant(y.dtype, str(y.dtype))
            self.lines.append(f"{name} = empty({y.shape}, {dtype})")
        return name

    # Names.

    def _likely_names(self) -> dict[Entry, str]:
        """The user's name of each entry, or of the next one that will stand in its place."""
        names: dict[Entry, str] = {}
        readers: dict[Entry, list[Entry]] = {}
        for entry in reversed(self._entries):
            only = readers.get(entry, [])
            if entry.name and entry.name.isidentifier():
                names[entry] = entry.name
            elif len(only) == 1 and only[0] in names and np.shape(only[0].y) == np.shape(entry.y):
                names[entry] = names[only[0]]
            for source in _sources(entry):
                readers.setdefault(source, []).append(entry)
        return names

    def _new_name(self, entry: Entry | None, otherwise: str) -> str:
        name = (self._likely.get(entry) if entry is not None else None) or otherwise
        name = "".join(c if c.isalnum() else "_" for c in name).strip("_") or otherwise
        if keyword.iskeyword(name) or name[0].isdigit():
            name = f"{name}_"
        base = name
        while name in self._taken or name in self.fixed:
            self._counts[base] += 1
            name = f"{base}_{self._counts[base] + 1}"
        self._taken.add(name)
        return name

    def _function(self, function: Any, name: str) -> str:
        """The name of a function among what is fixed."""
        key = id(function)
        if key not in self._constants:
            name = "".join(c if c.isalnum() else "_" for c in name)
            while self.fixed.get(name, function) is not function or name in self._taken:
                name += "_"
            self.fixed[name] = function
            self._constants[key] = name
        return self._constants[key]

    def _constant(self, value: Any, name: str = "constant") -> str:
        if name in self.fixed and self.fixed[name] is value:
            return name
        for known, there in self.fixed.items():
            if there is value:
                return known
        name = self._new_name(None, name)
        self.fixed[name] = value
        return name

    def _argument(self, source: Entry | None, value: Any) -> str:
        if source is not None:
            return self.names[source]
        if type(value) in (int, bool, str, type(None)) or value is Ellipsis:
            return repr(value)
        if type(value) is float and math.isfinite(value):
            return repr(value)
        if type(value) is tuple and all(type(v) in (int, type(None)) for v in value):
            return repr(value)
        return self._constant(value)

    def _arguments(self, entry: Entry) -> list[str]:
        pairs = zip(entry.inputs, entry.values, strict=True)
        return [self._argument(source, value) for source, value in pairs]

    def _view(self, name: str, source: Entry, make: Callable[[Any], Any], expression: str) -> str:
        """A view of an entry: made once if its memory is known, otherwise in each call."""
        array = self._arrays.get(source)
        if array is None:
            return expression
        view = make(array)
        if not np.shares_memory(view, array) and array.size:
            return expression
        if source in self._captured:
            self.rebound.append((name, _again(make, self.fixed, self.names[source])))
        self.fixed[name] = view
        return name

    def _flat(self, source: Entry) -> str:
        """The values of an entry in the order of its memory."""
        known = self._arrays.get(source)
        if source.y.ndim == 1 or known is None:
            return self.names[source]
        key = ("flat", self.names[source], id(known))
        if key not in self._constants:
            name = self._new_name(None, f"{self.names[source]}_flat")
            self._constants[key] = self._view(
                name, source, _in_memory_order, f"{self.names[source]}.ravel(order='K')"
            )
        return self._constants[key]

    def _ones(self, n: int, dtype: Any) -> str:
        key = ("ones", n, dtype.str)
        if key not in self._constants:
            self._constants[key] = self._new_name(None, "ones")
            self.fixed[self._constants[key]] = np.ones(n, dtype)
        return self._constants[key]

    # The lines.

    def _line(self, entry: Entry, text: str) -> None:
        y = entry.y
        shape = f"{y.shape}" if isinstance(y, np.ndarray) and y.ndim else ""
        self.lines.append(f"{text}  # {shape}" if shape else text)

    def _write(self, i: int, entry: Entry) -> None:
        primitive, y = entry.primitive, entry.y
        if primitive is pack:
            parts = self._arguments(entry)
            name = self.names[entry] = self._new_name(entry, "index")
            self._slots[entry], self._arrays[entry] = None, None
            self._line(entry, f"{name} = ({', '.join(parts)},)")
        elif getattr(primitive, "draws", False):
            self._call(i, entry)
        elif not isinstance(y, np.ndarray) or y.ndim == 0:
            self._scalar(i, entry)
        elif primitive is label_index:
            self.names[entry] = "written where it is read"
        elif primitive is pick:
            index = self._index(entry.inputs[1], entry.inputs[0])
            flat = self._flat(entry.inputs[0])
            flat = flat if self._arrays.get(entry.inputs[0]) is not None else f"{flat}.ravel()"
            out = self._buffer(i, entry)
            self._line(entry, f"{flat}.take({index}, out={out}, mode='clip')")
        elif primitive is subtract_at:
            self._subtract_at(i, entry)
        elif primitive is assembled:
            self._assembled(i, entry)
        elif _is_product(entry):
            self._product(i, entry)
        elif may_show(entry):
            self._show(i, entry)
        elif primitive in _REDUCTIONS:
            self._reduction(i, entry)
        else:
            ufunc = _ufunc_of(primitive)
            arguments = [
                (source is None and self._number(ufunc, entry, value)) or argument
                for source, argument, value in zip(
                    entry.inputs, self._arguments(entry), entry.values, strict=True
                )
            ]
            function = self._function(ufunc, ufunc.__name__)
            out = self._buffer(i, entry, over=_sources(entry))
            # NumPy wants the output of these two by name, and is faster if that of others is not.
            last = f"out={out}" if ufunc in (np.maximum, np.minimum) else out
            self._line(entry, f"{function}({', '.join(arguments)}, {last})")

    def _number(self, ufunc: Any, entry: Entry, value: Any) -> str | None:
        """A number among the arguments as an array: NumPy then need not look for its dtype."""
        arrays = [s.y for s in _sources(entry) if isinstance(s.y, np.ndarray) and s.y.ndim]
        dtype = arrays[0].dtype if arrays else None
        if type(value) not in (int, float) or dtype is None or dtype.kind != "f":
            return None
        same = dtype.char * ufunc.nin
        if any(y.dtype != dtype for y in arrays) or not any(
            kinds.startswith(f"{same}->") for kinds in ufunc.types
        ):
            return None
        key = ("number", repr(value), dtype.str)
        if key not in self._constants:
            name = _NUMBERS.get(value) or f"number_{value:.3g}".replace("-", "minus_")
            name = self._new_name(None, name)
            self._constants[key], self.fixed[name] = name, np.array(value, dtype)
        return self._constants[key]

    def _expression(self, entry: Entry) -> str:
        """A call of the operation itself, which allocates its result."""
        name = entry.primitive.name.replace("np.", "").replace("tg.", "")
        forward = entry.primitive.forward
        if entry.primitive is scatter_add and _depends_on_values(entry):
            forward = functools.partial(_of_the_shapes, forward, entry.primitive.name)
        function = self._function(forward, name)
        arguments = self._arguments(entry)
        arguments += [f"{k}={self._argument(None, v)}" for k, v in entry.keywords.items()]
        return f"{function}({', '.join(arguments)})"

    def _call(self, i: int, entry: Entry) -> None:
        text = self._expression(entry)
        name = self.names[entry] = self._new_name(entry, "t")
        self._slots[entry], self._arrays[entry] = None, None
        self._line(entry, f"{name} = {text}")
        y = entry.y
        if isinstance(y, np.ndarray) and _depends_on_values(entry):
            shape = self._function(_check_shape, "check_shape")
            what = repr(entry.primitive.name)
            self.lines.append(f"{shape}({name}, {y.shape}, {what})")

    def _scalar(self, i: int, entry: Entry) -> None:
        primitive = entry.primitive
        arguments = self._arguments(entry)
        self._slots[entry], self._arrays[entry] = None, None
        if primitive in _INFIX:
            text = f"{arguments[0]} {_INFIX[primitive]} {arguments[1]}"
        elif primitive is PRIMITIVES[np.power] and not entry.keywords:
            text = f"({arguments[0]}) ** ({arguments[1]})"
        elif primitive is PRIMITIVES[np.square]:
            text = f"{arguments[0]} * {arguments[0]}"
        elif primitive is PRIMITIVES[np.negative]:
            text = f"-{arguments[0]}"
        elif primitive is PRIMITIVES[np.absolute]:
            text = f"abs({arguments[0]})"
        elif primitive is square_sum:
            flat = self._flat(entry.inputs[0])
            text = f"{self._function(np.vdot, 'vdot')}({flat}, {flat})"
        elif primitive in _REDUCTIONS and _is_full_reduction(entry):
            x = entry.inputs[0]
            flat = self._flat(x)
            flat = flat if self._arrays.get(x) is not None else f"{flat}.ravel()"
            if _REDUCTIONS[primitive] == "add" and x.y.dtype.kind == "f" and x.y.size <= _SMALL_SUM:
                text = f"dot({self._ones(x.y.size, x.y.dtype)}, {flat})"
            else:
                ufunc = getattr(np, _REDUCTIONS[primitive])
                text = f"{self._function(ufunc.reduce, f'{ufunc.__name__}_reduce')}({flat})"
        elif _ufunc_of(primitive) is not None and not entry.keywords:
            ufunc = _ufunc_of(primitive)
            text = f"{self._function(ufunc, ufunc.__name__)}({', '.join(arguments)})"
        else:
            text = f"{self._expression(entry)}"
            if not isinstance(entry.y, float):
                text = f"{self._function(_as_number, 'as_number')}({text})"
        name = self.names[entry] = self._new_name(entry, "t")
        self.lines.append(f"{name} = {text}")

    def _product(self, i: int, entry: Entry) -> None:
        a, b = entry.inputs
        left, right = self._arguments(entry)
        ndims = [np.ndim(v) for v in entry.values]
        if ndims == [2, 2] and a is not None and b is not None and b.primitive is _TRANSPOSE:
            right = self._straightened(i, entry, b, right)
        if self._is_by_columns(entry):
            left, right = f"{right}.T", f"{left}.T"
            left, right = self._transposed(b, left), self._transposed(a, right)
            out = self._buffer(i, entry)
            base = self._view_of(entry, lambda x: x.T, "T")
            self._line(entry, f"{self._product_name(entry)}({left}, {right}, {base})")
            return
        out = self._buffer(i, entry)
        self._line(entry, f"{self._product_name(entry)}({left}, {right}, {out})")

    def _product_name(self, entry: Entry) -> str:
        if entry.y.ndim < 2 or entry.y.nbytes <= _LARGEST_DOT:
            return "dot"
        return self._function(np.matmul, "matmul")

    def _view_of(self, entry: Entry, make: Callable[[Any], Any], what: str) -> str:
        key = (what, self.names[entry], id(self._arrays.get(entry)))
        if key not in self._constants:
            name = self._new_name(None, f"{self.names[entry]}_{what}")
            self._constants[key] = self._view(name, entry, make, f"{self.names[entry]}.{what}")
        return self._constants[key]

    def _transposed(self, source: Entry | None, expression: str) -> str:
        return expression if source is None else self._view_of(source, lambda x: x.T, "T")

    def _straightened(self, i: int, entry: Entry, b: Entry, right: str) -> str:
        """A transposed matrix as a copy that lies in order, which BLAS multiplies faster."""
        if entry.y.shape[0] < 4 * max(b.y.shape) or min(b.y.shape) < 8:
            return right
        memory = self._scratch(i, b.y)
        self.lines.append(f"copyto({memory}, {right})")
        return memory

    def _scratch(self, i: int, y: np.ndarray) -> str:
        stand_in = Entry(None, (), (), {}, np.empty(y.shape, y.dtype))
        self._last[stand_in] = i
        return self._buffer(i, stand_in)

    def _show(self, i: int, entry: Entry) -> None:
        source = entry.inputs[0]
        if source is None or not entry.primitive.view:
            self._call(i, entry)
            self._copied_if_result(entry)
            return
        array = self._arrays.get(source)
        rest = tuple(entry.values[1:])
        static = all(s is None for s in entry.inputs[1:])
        forward, keywords = entry.primitive.forward, entry.keywords

        def make(x: Any) -> Any:
            return forward(x, *rest, **keywords)

        if array is not None and static and entry not in self._outputs:
            view = make(array)
            if array.size == 0 or np.may_share_memory(view, array):
                name = self.names[entry] = self._new_name(entry, f"{self.names[source]}_view")
                self.fixed[name], self._arrays[entry] = view, view
                self._slots[entry] = self._slots.get(source)
                if source in self._captured:
                    self._captured[entry] = view
                    self.rebound.append((name, _again(make, self.fixed, self.names[source])))
                return
        root = self._root(entry)
        known = source is root or self.names[source] in {n for n, *_ in self.shown.get(root, ())}
        if root in self.shown and known and static and entry not in self._outputs:
            name = self.names[entry] = self._new_name(entry, f"{self.names[source]}_view")
            self.shown[root].append((name, self.names[source], make))
            self._slots[entry], self._arrays[entry] = None, None
            return
        if entry.primitive is _TRANSPOSE and not entry.keywords and entry not in self._outputs:
            self.names[entry], self._arrays[entry] = f"{self.names[source]}.T", None
            self._slots[entry] = self._slots.get(source)
            return
        self._call(i, entry)
        self._slots[entry] = self._slots.get(source)
        self._copied_if_result(entry)

    def _root(self, entry: Entry) -> Entry:
        """What a view shows in the end."""
        while entry.primitive is not None and entry.primitive.view and entry.inputs[0] is not None:
            entry = entry.inputs[0]
        return entry

    def _copied_if_result(self, entry: Entry) -> None:
        """Results have memory of their own."""
        if entry in self._outputs:
            name = self.names[entry]
            copy = self._function(np.array, "array")
            if entry in self._into:
                self.fixed[f"{name}_into"] = self._into[entry]
                self.lines.append(f"copyto({name}_into, {name}); {name} = {name}_into")
            else:
                self.lines.append(f"{name} = {copy}({name})")

    def _reduction(self, i: int, entry: Entry) -> None:
        x = entry.inputs[0]
        (name,) = self._arguments(entry)
        axis, keepdims = entry.keywords.get("axis"), entry.keywords.get("keepdims", False)
        kind = _REDUCTIONS[entry.primitive]
        start = entry.keywords.get("initial")
        start = "" if start is None else f", initial={self._argument(None, start)}"
        is_matrix = x.y.ndim == 2 and axis in (0, 1) and x.y.dtype.char in "fd"
        if kind == "add" and is_matrix and not start and 0 < x.y.shape[axis] <= _SMALL_SUM:
            ones = self._ones(x.y.shape[axis], x.y.dtype)
            pair = f"{ones}, {name}" if axis == 0 else f"{name}, {ones}"
            self._buffer(i, entry)
            out = self._view_of(entry, lambda v: v.reshape(-1), "flat")
            out = out.replace(".flat", ".reshape(-1)")
            self._line(entry, f"dot({pair}, {out})")
            return
        ufunc = getattr(np, kind)
        reduce = self._function(ufunc.reduce, f"{kind}_reduce")
        out = self._buffer(i, entry)
        axis = tuple(range(x.y.ndim)) if axis is None else axis
        keeps = f"keepdims={bool(keepdims)}{start}"
        self._line(entry, f"{reduce}({name}, axis={axis}, out={out}, {keeps})")

    def _assembled(self, i: int, entry: Entry) -> None:
        out = self.names.get(entry) or self._buffer(i, entry)
        if not is_whole(entry):
            self.lines.append(f"{out}[...] = 0")
        places = entry.keywords["places"]
        for (start, stop), source, value in zip(places, entry.inputs, entry.values, strict=True):
            if source is None or _origin(source) not in self._parts:
                piece = self._argument(source, value)
                self.lines.append(f"{out}[{start}:{stop}] = {piece}")

    def _index(self, entry: Entry | None, x: Entry | None) -> str:
        """Where in the memory of `x` the entries stand that labels name."""
        assert entry is not None
        labels, n, classes = self._arguments(entry)
        array = self._arrays.get(x) if x is not None else None
        flags = array.flags if array is not None else None
        by_columns = flags is not None and flags.f_contiguous and not flags.c_contiguous
        key = ("index", id(entry), by_columns)
        if key not in self._constants:
            # In memory of its own, since it is written again only for other labels.
            out = self._constants[key] = self._new_name(entry, "label_index")
            self.fixed[out] = np.empty(entry.y.shape, np.intp)
            fill = _index_writer(int(n), int(classes), by_columns)
            self._line(entry, f"{self._function(fill, 'write_label_index')}({labels}, {out})")
        return self._constants[key]

    def _subtract_at(self, i: int, entry: Entry) -> None:
        x, _, value = self._arguments(entry)
        source = entry.inputs[0]
        out = self._buffer(i, entry, over=[source])
        if out != x:
            self.lines.append(f"copyto({out}, {x})")
        index = self._index(entry.inputs[1], entry)
        if self._arrays.get(entry) is not None:
            flat = self._flat(entry)
            self._line(entry, f"{flat}[{index}] -= {value}")
        else:
            self._line(entry, f"{out}.reshape(-1)[{index}] -= {value}")


def _masks_as_numbers(entries: Sequence[Entry], outputs: set[Entry]) -> None:
    """Gives comparisons that are only multiplied with the dtype of what they are multiplied with.

    NumPy writes 0 and 1 as such numbers at no cost, and would have to convert truth values later.
    """
    readers: dict[Entry, list[Entry]] = {}
    for entry in entries:
        for source in _sources(entry):
            readers.setdefault(source, []).append(entry)
    for entry in entries:
        if entry.primitive is None or entry in outputs or not isinstance(entry.y, np.ndarray):
            continue
        is_comparison = isinstance(entry.primitive.forward, np.ufunc) and entry.y.dtype == bool
        reading = readers.get(entry, [])
        if is_comparison and reading and all(_is_masking(reader, entry) for reader in reading):
            entry.y = entry.y.astype(reading[0].y.dtype)


def _is_masking(reader: Entry, mask: Entry) -> bool:
    others = [np.asarray(s.y) for s in _sources(reader) if s is not mask]
    return (
        reader.primitive is PRIMITIVES[np.multiply]
        and len(others) == 1
        and others[0].dtype == reader.y.dtype
        and reader.y.dtype.kind == "f"
        and reader.y.shape == mask.y.shape
    )


def _again(make: Callable[[Any], Any], fixed: dict[str, Any], name: str) -> Callable[[], Any]:
    """What makes a view of the array that has the name by then."""
    return lambda: make(fixed[name])


def _origin(entry: Entry) -> Entry:
    """What an entry is in another shape."""
    while entry.primitive is PRIMITIVES[np.reshape] and entry.inputs[0] is not None:
        entry = entry.inputs[0]
    return entry


def _sources(entry: Entry) -> list[Entry]:
    return [source for source in entry.inputs if source is not None]


def _aligned(nbytes: int) -> np.ndarray:
    """Memory that begins where vector instructions like it to."""
    raw = np.empty(nbytes + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + nbytes]


def _in_memory_order(x: np.ndarray) -> np.ndarray:
    return x.T.reshape(-1) if x.flags.f_contiguous else x.reshape(-1)


def _column_shapes(entries: Sequence[Entry]) -> set[tuple[int, ...]]:
    """The shapes of matrices that lie column after column in memory.

    Where rows of a few values are added up, NumPy's inner loop would be over those few.
    """
    shapes = set()
    for entry in entries:
        if entry.primitive in _REDUCTIONS and _is_plain_reduction(entry) and entry.inputs[0]:
            x = entry.inputs[0].y
            axis = entry.keywords.get("axis")
            if x.ndim == 2 and axis == 1 and 2 * x.shape[1] <= x.shape[0] and x.shape[1] <= 64:
                shapes.add(x.shape)
    return shapes


def may_show(entry: Entry) -> bool:
    """Whether the result may be, or show, the memory of what was read.

    What is not written into a buffer is taken for that: a function may give back its argument.
    """
    primitive, y = entry.primitive, entry.y
    if not isinstance(y, np.ndarray) or y.ndim == 0:
        return False
    if primitive in (label_index, pick, subtract_at, assembled) or _is_product(entry):
        return False
    if primitive in _REDUCTIONS and _is_plain_reduction(entry):
        return False
    return entry.keywords != {} or _ufunc_of(primitive) is None


def _is_full_reduction(entry: Entry) -> bool:
    x = entry.inputs[0]
    return x is not None and len(entry.values) == 1 and not entry.keywords and x.y.ndim > 0


def _is_plain_reduction(entry: Entry) -> bool:
    return len(entry.values) == 1 and entry.keywords.keys() <= {"axis", "keepdims", "initial"}


def _is_product(entry: Entry) -> bool:
    return entry.primitive is _MATMUL and _is_plain_product(entry)


def _is_plain_product(entry: Entry) -> bool:
    a, b = (np.asarray(v) for v in entry.values)
    same = a.dtype == b.dtype == entry.y.dtype and a.dtype.kind == "f"
    return same and a.ndim in (1, 2) and b.ndim in (1, 2)


def _depends_on_values(entry: Entry) -> bool:
    """Whether the shape of a result may depend on values: then it is looked at in each call."""
    return any(
        isinstance(s.y, tuple) or np.asarray(s.y).dtype.kind != "f"
        for s in entry.inputs
        if s is not None
    )


def _of_the_shapes(forward: Callable[..., Any], name: str, *args: Any, **keywords: Any) -> Any:
    """The result, if the shapes are those of when it was compiled."""
    try:
        return forward(*args, **keywords)
    except ValueError as error:
        raise CompileError(f"{name}: {error}; {_STATIC_SHAPES}") from error


_STATIC_SHAPES = "in a compiled function shapes cannot depend on values. Use np.where with a mask"


def _check_shape(y: Any, shape: tuple[int, ...], name: str) -> None:
    if y.shape != shape:
        raise CompileError(
            f"{name} gave shape {y.shape}, and shape {shape} when it was compiled: {_STATIC_SHAPES}"
        )


def _as_number(y: Any) -> Any:
    return np.asarray(y)[()]


def _index_writer(n: int, classes: int, by_columns: bool) -> Callable[[Any, Any], None]:
    """What writes where in memory the entry of each row stands that its label names."""
    rows = np.arange(n)
    starts = rows if by_columns else rows * classes
    step = n if by_columns else 1
    unsigned = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
    largest = np.maximum.reduce

    seen = b""

    def write(labels: Any, out: Any) -> None:
        nonlocal seen
        now = labels.tobytes()
        if now == seen:
            return
        seen = b""
        # A negative label is a large one if it is read without its sign.
        if largest(labels.view(unsigned[labels.itemsize])) >= classes:
            raise ValueError("labels that are none of the classes")
        if step == 1:
            np.add(starts, labels, out=out, casting="unsafe")
        else:
            np.multiply(labels, step, out=out, casting="unsafe", dtype=np.intp)
            np.add(out, starts, out=out)
        seen = now

    return write
