"""Where the values of a program stand: buffers, their life times, and their names.

All arrays between inputs and results live in buffers that are allocated once. A buffer is used
again as soon as nothing reads what is in it any more; an elementwise operation writes over an
input that it is the last to read.
"""

from __future__ import annotations

import collections
import keyword
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_edu.compiler.lowering import (
    assembled,
    is_whole,
    label_index,
    pick,
    subtract_at,
)
from tinygrad_edu.rules import PRIMITIVES, Primitive
from tinygrad_edu.tape import Entry
from tinygrad_edu.tracing import pack

__all__ = ["Buffers", "Shown", "may_show", "ordered", "sources_of", "ufunc_of"]

MATMUL = PRIMITIVES[np.matmul]
TRANSPOSE = PRIMITIVES[np.transpose]
REDUCTIONS = {
    PRIMITIVES[np.sum]: "add",
    PRIMITIVES[np.max]: "maximum",
    PRIMITIVES[np.min]: "minimum",
}
_ALIGNMENT = 64
SMALL_SUM = 4096


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


def ufunc_of(primitive: Primitive) -> Any:
    """The NumPy function of an elementwise operation, which can write into a given array."""
    f = np.power if primitive is PRIMITIVES[np.power] else primitive.forward
    return f if isinstance(f, np.ufunc) and f.signature is None and f.nout == 1 else None


# The name of a view, the name of what it shows, and what makes it.
Shown = tuple[str, str, Callable[[Any], Any]]
# Of an argument with more views than this the views are kept as long as it is the same array.
_MANY_VIEWS = 3


class Slot:
    """A piece of memory, and what stands in it until when."""

    def __init__(self, nbytes: int, free_after: float):
        self.nbytes, self.free_after = nbytes, free_after


class Buffers:
    """The memory of a program and the names in it; `program` writes the lines.

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
                and all(self._slots.get(s) is not slot or s is source for s in sources_of(entry))
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
            for source in sources_of(entry):
                readers[source] = readers.get(source, 0) + 1
        destined: dict[Entry, Entry] = {}
        for output in self._outputs:
            entry = output
            while entry.y.ndim and ufunc_of(entry.primitive) is not None and not entry.keywords:
                fitting = [
                    s
                    for s in sources_of(entry)
                    if s.primitive is not None
                    and readers[s] == 1
                    and s not in self._outputs
                    and isinstance(s.y, np.ndarray)
                    and (s.y.shape, s.y.dtype) == (output.y.shape, output.y.dtype)
                    and not may_show(s)
                ]
                if not fitting:
                    break
                entry = max(fitting, key=lambda s: s.primitive is MATMUL)
                destined[entry] = output
        return destined

    def _take_vectors_apart(self) -> None:
        """Has the pieces of a result computed in their places in it."""
        readers: dict[Entry, int] = {}
        for entry in self._entries:
            for source in sources_of(entry):
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
                origin = origin_of(source)
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
            for source in sources_of(entry):
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
            self.rebound.append((name, again(make, self.fixed, self.names[source])))
        self.fixed[name] = view
        return name

    def _view_of(self, entry: Entry, make: Callable[[Any], Any], what: str) -> str:
        key = (what, self.names[entry], id(self._arrays.get(entry)))
        if key not in self._constants:
            name = self._new_name(None, f"{self.names[entry]}_{what}")
            self._constants[key] = self._view(name, entry, make, f"{self.names[entry]}.{what}")
        return self._constants[key]

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

    def _root(self, entry: Entry) -> Entry:
        """What a view shows in the end."""
        while entry.primitive is not None and entry.primitive.view and entry.inputs[0] is not None:
            entry = entry.inputs[0]
        return entry


def _masks_as_numbers(entries: Sequence[Entry], outputs: set[Entry]) -> None:
    """Gives comparisons that are only multiplied with the dtype of what they are multiplied with.

    NumPy writes 0 and 1 as such numbers at no cost, and would have to convert truth values later.
    """
    readers: dict[Entry, list[Entry]] = {}
    for entry in entries:
        for source in sources_of(entry):
            readers.setdefault(source, []).append(entry)
    for entry in entries:
        if entry.primitive is None or entry in outputs or not isinstance(entry.y, np.ndarray):
            continue
        is_comparison = isinstance(entry.primitive.forward, np.ufunc) and entry.y.dtype == bool
        reading = readers.get(entry, [])
        if is_comparison and reading and all(_is_masking(reader, entry) for reader in reading):
            entry.y = entry.y.astype(reading[0].y.dtype)


def _is_masking(reader: Entry, mask: Entry) -> bool:
    others = [np.asarray(s.y) for s in sources_of(reader) if s is not mask]
    return (
        reader.primitive is PRIMITIVES[np.multiply]
        and len(others) == 1
        and others[0].dtype == reader.y.dtype
        and reader.y.dtype.kind == "f"
        and reader.y.shape == mask.y.shape
    )


def again(make: Callable[[Any], Any], fixed: dict[str, Any], name: str) -> Callable[[], Any]:
    """What makes a view of the array that has the name by then."""
    return lambda: make(fixed[name])


def origin_of(entry: Entry) -> Entry:
    """What an entry is in another shape."""
    while entry.primitive is PRIMITIVES[np.reshape] and entry.inputs[0] is not None:
        entry = entry.inputs[0]
    return entry


def sources_of(entry: Entry) -> list[Entry]:
    """The entries that an entry reads."""
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
        if entry.primitive in REDUCTIONS and is_plain_reduction(entry) and entry.inputs[0]:
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
    if primitive in (label_index, pick, subtract_at, assembled) or is_product(entry):
        return False
    if primitive in REDUCTIONS and is_plain_reduction(entry):
        return False
    return entry.keywords != {} or ufunc_of(primitive) is None


def is_plain_reduction(entry: Entry) -> bool:
    """Whether a reduction takes nothing but an axis, and where to begin."""
    return len(entry.values) == 1 and entry.keywords.keys() <= {"axis", "keepdims", "initial"}


def is_product(entry: Entry) -> bool:
    """Whether an entry is a product that BLAS computes into a given array."""
    return entry.primitive is MATMUL and _is_plain_product(entry)


def _is_plain_product(entry: Entry) -> bool:
    a, b = (np.asarray(v) for v in entry.values)
    same = a.dtype == b.dtype == entry.y.dtype and a.dtype.kind == "f"
    return same and a.ndim in (1, 2) and b.ndim in (1, 2)
