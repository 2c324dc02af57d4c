"""A tape as flat NumPy code: the line that computes each value, in the buffer that it has."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_edu.calculus.indexing import scatter_add
from tinygrad_edu.compiler.buffers import (
    REDUCTIONS,
    SMALL_SUM,
    TRANSPOSE,
    Buffers,
    again,
    is_product,
    may_show,
    origin_of,
    sources_of,
    ufunc_of,
)
from tinygrad_edu.compiler.lowering import (
    assembled,
    is_whole,
    label_index,
    pick,
    square_sum,
    subtract_at,
)
from tinygrad_edu.rules import PRIMITIVES
from tinygrad_edu.tape import Entry
from tinygrad_edu.tracing import CompileError, pack

__all__ = ["Body"]

_INFIX = {
    PRIMITIVES[np.add]: "+",
    PRIMITIVES[np.subtract]: "-",
    PRIMITIVES[np.multiply]: "*",
    PRIMITIVES[np.divide]: "/",
}
_NUMBERS = {0: "zero", 1: "one", 2: "two", 0.5: "half", -1: "minus_one"}
# np.dot starts faster than np.matmul, but fills its result with zeros first, which costs more than
# that above this many bytes.
_LARGEST_DOT = 2**15


class Body(Buffers):
    """The lines of a program, and what they need; see `Buffers`."""

    def __init__(self, entries: Sequence[Entry], *others: Any):
        super().__init__(entries, *others)
        for i, entry in enumerate(entries):
            if entry.primitive is not None:
                self._write(i, entry)
                self._release(i)

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
        elif is_product(entry):
            self._product(i, entry)
        elif may_show(entry):
            self._show(i, entry)
        elif primitive in REDUCTIONS:
            self._reduction(i, entry)
        else:
            ufunc = ufunc_of(primitive)
            arguments = [
                (source is None and self._number(ufunc, entry, value)) or argument
                for source, argument, value in zip(
                    entry.inputs, self._arguments(entry), entry.values, strict=True
                )
            ]
            function = self._function(ufunc, ufunc.__name__)
            out = self._buffer(i, entry, over=sources_of(entry))
            # NumPy wants the output of these two by name, and is faster if that of others is not.
            last = f"out={out}" if ufunc in (np.maximum, np.minimum) else out
            self._line(entry, f"{function}({', '.join(arguments)}, {last})")

    def _number(self, ufunc: Any, entry: Entry, value: Any) -> str | None:
        """A number among the arguments as an array: NumPy then need not look for its dtype."""
        arrays = [s.y for s in sources_of(entry) if isinstance(s.y, np.ndarray) and s.y.ndim]
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
        elif primitive in REDUCTIONS and _is_full_reduction(entry):
            x = entry.inputs[0]
            flat = self._flat(x)
            flat = flat if self._arrays.get(x) is not None else f"{flat}.ravel()"
            if REDUCTIONS[primitive] == "add" and x.y.dtype.kind == "f" and x.y.size <= SMALL_SUM:
                text = f"dot({self._ones(x.y.size, x.y.dtype)}, {flat})"
            else:
                ufunc = getattr(np, REDUCTIONS[primitive])
                text = f"{self._function(ufunc.reduce, f'{ufunc.__name__}_reduce')}({flat})"
        elif ufunc_of(primitive) is not None and not entry.keywords:
            ufunc = ufunc_of(primitive)
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
        if ndims == [2, 2] and a is not None and b is not None and b.primitive is TRANSPOSE:
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
                    self.rebound.append((name, again(make, self.fixed, self.names[source])))
                return
        root = self._root(entry)
        known = source is root or self.names[source] in {n for n, *_ in self.shown.get(root, ())}
        if root in self.shown and known and static and entry not in self._outputs:
            name = self.names[entry] = self._new_name(entry, f"{self.names[source]}_view")
            self.shown[root].append((name, self.names[source], make))
            self._slots[entry], self._arrays[entry] = None, None
            return
        if entry.primitive is TRANSPOSE and not entry.keywords and entry not in self._outputs:
            self.names[entry], self._arrays[entry] = f"{self.names[source]}.T", None
            self._slots[entry] = self._slots.get(source)
            return
        self._call(i, entry)
        self._slots[entry] = self._slots.get(source)
        self._copied_if_result(entry)

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
        kind = REDUCTIONS[entry.primitive]
        start = entry.keywords.get("initial")
        start = "" if start is None else f", initial={self._argument(None, start)}"
        is_matrix = x.y.ndim == 2 and axis in (0, 1) and x.y.dtype.char in "fd"
        if kind == "add" and is_matrix and not start and 0 < x.y.shape[axis] <= SMALL_SUM:
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
            if source is None or origin_of(source) not in self._parts:
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


def _is_full_reduction(entry: Entry) -> bool:
    x = entry.inputs[0]
    return x is not None and len(entry.values) == 1 and not entry.keywords and x.y.ndim > 0


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
