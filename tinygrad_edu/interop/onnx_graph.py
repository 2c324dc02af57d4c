"""A graph of ONNX that grows with what a model has recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_edu.tape import Entry, call

__all__ = ["Graph", "Pair", "depends_on_size", "same", "untranslated"]

# An operation as it was recorded with two batch sizes.
Pair = tuple[Entry, Entry]


class Graph:
    """A graph that grows by a node for each operation that depends on the input.

    Attributes:
        nodes: the nodes, in an order in which they can run.
        constants: the arrays by name: parameters and what was computed without the input.
        sizes: the two batch sizes with which the operations were recorded.
    """

    def __init__(self, source: Pair, sizes: tuple[int, int], names: dict[int, str]):
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self.sizes = sizes
        self._names = names
        self._taken = {"x", "y", *names.values()}
        self._values = {source[0]: "x"}

    def add(self, pair: Pair, translate: Callable[[Graph, Pair], str]) -> None:
        """Writes an operation, or takes note that it does not depend on the input."""
        entry = pair[0]
        if entry in self._values or not any(source in self._values for source in entry.inputs):
            return
        for name in entry.keywords.keys() - {"shape"}:  # that of reshape is looked at there
            if not same(*(each.keywords[name] for each in pair)):
                raise depends_on_size(entry, entry.keywords[name])
        self._values[entry] = translate(self, pair)

    def finish(self, entry: Entry) -> None:
        """Gives the name y to what an operation made."""
        self.node("Identity", [self._values[entry]], output="y")

    def depends(self, entry: Entry | None) -> bool:
        """Whether something was computed from the input."""
        return entry in self._values

    def node(self, operator: str, inputs: list[str], output: str | None = None, **how: Any) -> str:
        """Adds a node and returns the name of its output."""
        from onnx import helper

        output = output or self._free(operator.lower())
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **how))
        return output

    def constant(self, array: Any, name: str = "constant") -> str:
        """Adds an array and returns its name; equal ones are kept once."""
        array = np.asarray(array)
        for known, other in self.constants.items():
            if known.startswith(name) and other.dtype == array.dtype and same(other, array):
                return known
        name = self._free(name)
        self.constants[name] = array
        return name

    def argument(self, pair: Pair, position: int, dtype: Any = None) -> str:
        """The name of an argument of an operation, in the dtype that the operator needs."""
        first = pair[0].inputs[position]
        value, other = (entry.values[position] for entry in pair)
        if self.depends(first):
            return self._in(self._values[first], first.y.dtype, dtype)
        if not same(value, other):
            raise depends_on_size(pair[0], value)
        if first is not None and id(first) in self._names:
            name = self._names[id(first)]
            self.constants[name] = first.y
            return self._in(name, first.y.dtype, dtype)
        return self.constant(np.asarray(value, dtype))

    def _in(self, name: str, given: np.dtype[Any], dtype: Any) -> str:
        # Compared with None, NumPy's dtypes take it for float64.
        if dtype is None or given == dtype:
            return name
        return self.cast(name, dtype)

    def cast(self, name: str, dtype: Any) -> str:
        """The same values with another dtype."""
        from onnx import helper

        return self.node("Cast", [name], to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def fixed(self, pair: Pair, position: int, name: str, default: Any = None) -> Any:
        """An argument that says how, such as an axis: by position or by name, known beforehand."""
        entry, other = pair
        values, others = list(entry.values), list(other.values)
        if position < len(values):
            if self.depends(entry.inputs[position]):
                raise untranslated(entry, f"{name} that is computed")
            value, second = values[position], others[position]
        else:
            value, second = (e.keywords.get(name, default) for e in pair)
        if not same(value, second):
            raise depends_on_size(entry, value)
        return value

    def shape(self, pair: Pair) -> list[int]:
        """The shape of a result as Reshape takes it, where one length may be that of the batch.

        It is 0, which means the same as before, if it is in front before and after; otherwise -1,
        which means what is left.

        Raises:
            ValueError: several lengths that differ from batch to batch.
        """
        shapes = [entry.y.shape for entry in pair]
        shape = list(shapes[0])
        at = [i for i, (a, b) in enumerate(zip(*shapes, strict=False)) if a != b]
        if len(shapes[0]) != len(shapes[1]) or len(at) > 1:
            raise depends_on_size(pair[0], shapes[0])
        for i in at:
            kept = i == 0 and all(e.inputs[0].y.shape[:1] == e.y.shape[:1] for e in pair)
            shape[i] = 0 if kept else -1
        return shape

    def reshaped(self, name: str, shape: list[int]) -> str:
        """The same values in another shape."""
        return self.node("Reshape", [name, self.constant(np.array(shape, np.int64), "shape")])

    def _free(self, name: str) -> str:
        number = 1
        while f"{name}_{number}" in self._taken:
            number += 1
        self._taken.add(f"{name}_{number}")
        return f"{name}_{number}"


def same(a: Any, b: Any) -> bool:
    """Whether two constants are the same to the last bit, NaN included."""
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        a, b = np.asarray(a), np.asarray(b)
        return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    return type(a) is type(b) and (a == b or (a != a and b != b))


def untranslated(entry: Entry, what: str) -> NotImplementedError:
    """The error for what ONNX, or the table of operations, does not have."""
    return NotImplementedError(
        f"{call(entry)}: there is no translation of {what} to ONNX; write it with operations that "
        f"have one, which tinygrad_edu.interop.onnx_nodes.TRANSLATIONS lists"
    )


def depends_on_size(entry: Entry, value: Any) -> ValueError:
    """The error for what is not the same for both batch sizes."""
    said = f", which is {value!r:.60}" if isinstance(value, (int, float, tuple)) else ""
    return ValueError(
        f"{call(entry)} reads or makes something that differs from run to run{said}: it depends on "
        f"the number of samples, or was drawn at random, where a graph is the same for all. Let "
        f"NumPy broadcast instead of making arrays as long as x, take means with np.mean, and give "
        f"x.shape[0] to np.reshape alone"
    )
