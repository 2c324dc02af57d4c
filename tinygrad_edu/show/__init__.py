"""The tape for people: as a listing, and as the NumPy code that one would write by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu import tape
from tinygrad_edu.recording import recording
from tinygrad_edu.tape import Argument, Entry
from tinygrad_edu.tensor import Tensor, as_array, changeable, lift, plain
from tinygrad_edu.tracing import Trace, naming, tracing
from tinygrad_edu.trees import argument_names, tree_leaves, tree_map

if TYPE_CHECKING:
    from tinygrad_edu.compiler.source import Source

__all__ = ["Tape", "record"]


class Tape(tape.Tape):
    """The entries that some outputs depend on, in the order in which they ran.

    A tape is a sequence of `Entry`: it has a length, can be iterated over and printed.

    Example:
        >>> import numpy as np, tinygrad_edu as tg
        >>> x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
        >>> print(tg.Tape.of(np.sum(x * x)))
        %0  x = input            (2,)  float64
        %1  np.multiply(%0, %0)  (2,)  float64
        %2  np.sum(%1)           ()    float64
    """

    def __init__(self, *outputs: Entry, again: Callable[[Trace], list[Entry]] | None = None):
        super().__init__(*outputs)
        self._again = again

    def source(self, backward: bool = False) -> Source:
        """The program as NumPy code, as a person would write it, each line with its shape.

        Inputs and results have the names of the user's variables, parameters and Tensors, and the
        gradient of `W2` is `dW2`. The code is a string with an attribute `given`, the arrays that
        it reads by name: `exec(source, dict(source.given))` runs it.

        Of `tg.record(tg.value_and_grad(f), ...)` it is forward and backward pass together.

        Args:
            backward: whether to add the backward pass of a tape that ends in a single number, with
                the gradients of all inputs that need one.

        Raises:
            ValueError: `backward` of a tape that does not end in a single number.

        Example:
            >>> import numpy as np, tinygrad_edu as tg
            >>> def loss(w, x):
            ...     h = np.maximum(0, x @ w)
            ...     return np.sum(h * h)
            >>> x = np.ones((4, 2))
            >>> print(tg.record(tg.value_and_grad(loss), np.ones((2, 3)), x).source())
            import numpy as np
            <BLANKLINE>
            h = np.maximum(0, x @ w)   # (4, 3)
            loss = np.sum(h * h)
            dh = 2 * h                 # (4, 3)
            dw = x.T @ (dh * (h > 0))  # (2, 3)
        """
        from tinygrad_edu.compiler.source import written

        return written(self.outputs, self._again, backward)

    def explain(self, backward: bool = False) -> str:
        """How the program of `source` became short: each rule that was used, before and after."""
        from tinygrad_edu.compiler.source import explained

        return explained(self.outputs, self._again, backward)


def record(f: Callable[..., Any], *args: Any) -> Tape:
    """The tape of `f(*args)`, with every floating-point array among the arguments as an input.

    It holds all operations on the arguments, also those that no gradient flows through. Results
    have the names of the local variables that the function gave them.

    Raises:
        ValueError: `f` did nothing to its arguments that could be recorded.

    Example:
        >>> import numpy as np, tinygrad_edu as tg
        >>> print(tg.record(lambda x, y: np.exp(x) * y, 1.0, 2.0))
        %0  x = input            ()  float64
        %1  y = input            ()  float64
        %2  np.exp(%0)           ()  float64
        %3  np.multiply(%2, %1)  ()  float64
    """
    names = argument_names(f)

    def run(trace: Trace) -> list[Entry]:
        def traced(leaf: Any, path: str) -> Any:
            array = as_array(plain(leaf))
            if array.dtype.kind != "f":
                if not isinstance(leaf, np.ndarray) or array.dtype.kind not in "iub":
                    return leaf
                entry = Entry.of_input(np.array(array), False, path)
                trace.inputs.add(entry)
                return lift(entry, entry.y)
            tensor = lift(Argument.of_input(np.array(array), True, path), np.array(array))
            is_array = isinstance(leaf, np.ndarray) and leaf.ndim == 0
            return changeable(tensor) if is_array else tensor

        with recording(True):
            arguments = [tree_map(traced, arg, names(i)) for i, arg in enumerate(args)]
        with tracing(trace), naming(trace), _named(f, trace):
            y = f(*arguments)
        leaves = [leaf for leaf in tree_leaves(y) if isinstance(leaf, Tensor)]
        return [leaf._own_entry() for leaf in leaves]

    outputs = run(Trace(strict=False))
    if not outputs:
        raise ValueError("nothing was recorded: the function did nothing with its arguments")
    return Tape(*outputs, again=run)


@contextlib.contextmanager
def _named(f: Callable[..., Any], trace: Trace) -> Iterator[None]:
    """Has Tensors in the places of the arrays that `f` captured, with the names it has for them."""
    from tinygrad_edu.compiler.captured import State

    state = State(f)
    values = []
    for place in state.leaves:
        value = place.get()
        if type(value) is np.ndarray and value.dtype.kind in "biuf":
            entry = Entry.of_input(value, False, place.name)
            trace.captured[entry] = value = lift(entry, value)
        values.append(value)
    with state.replaced(values):
        yield
