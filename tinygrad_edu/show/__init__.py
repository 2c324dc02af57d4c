"""The tape for people: as a listing, and as the NumPy code that one would write by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu import tape
from tinygrad_edu.recording import recording, source_lines
from tinygrad_edu.tape import Argument, Entry, Freed, reachable
from tinygrad_edu.tensor import Tensor, as_array, changeable, lift, plain
from tinygrad_edu.tracing import Trace, naming, tracing
from tinygrad_edu.trees import argument_names, tree_leaves, tree_map

if TYPE_CHECKING:
    from tinygrad_edu.compiler.source import Source
    from tinygrad_edu.show.labels import Labels
    from tinygrad_edu.show.page import Page

__all__ = ["Tape", "explain", "record"]


class Tape(tape.Tape):
    """The entries that some outputs depend on, in the order in which they ran.

    A tape is a sequence of `Entry`: it has a length, can be iterated over, printed, drawn (`dot`),
    made a web page (`page`) and written out as NumPy code (`source`). Printed it shows for each
    entry its number, the operation, shape, value and, where there are any, the gradient that
    `backward()` has left and the line of code. (Lines are kept by `tg.record` and `tg.debug`.)

    Example:
        >>> import numpy as np, tinygrad_edu as tg
        >>> x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
        >>> print(tg.Tape.of(np.sum(x * x)))
            operation    shape  value
        %0  x = input    (2,)   [1, 2]
        %1  x * x        (2,)   [1, 4]
        %2  np.sum(%1)   ()     5
    """

    def __init__(
        self,
        *outputs: Entry,
        again: Callable[[Trace], list[Entry]] | None = None,
        name: str = "",
    ):
        super().__init__(*outputs)
        self._again, self._name = again, name

    def _labels(self) -> Labels:
        from tinygrad_edu.show.labels import Labels

        # In a function that was recorded, arrays have the names that they have there.
        return Labels(self.entries, guesses=self._again is None)

    def __str__(self) -> str:
        from tinygrad_edu.show import listing

        return listing.text(self._labels())

    def _repr_html_(self) -> str:
        from tinygrad_edu.show import listing

        return listing.table(self._labels())

    def rules(self) -> str:
        """The listing, and below each operation its derivative rules.

        `dx` is the gradient of `x`: the derivative of the result by each number of it. Where the
        rule of the book is one line, or comes to one here, that is shown with the names of this
        tape; else it is shown as it stands in the source, with `g` for the gradient that arrives
        and `y` for the result.

        Example:
            >>> import numpy as np, tinygrad_edu as tg
            >>> x = tg.Tensor(2.0, requires_grad=True, name="x")
            >>> print(tg.Tape.of(np.exp(x) * 3).rules())
                operation    shape  value
            %0  x = input    ()     2
            %1  np.exp(x)    ()     7.389
                   dx += d%1 * %1
            %2  %1 * 3       ()     22.17
                   d%1 += d%2 * 3
        """
        from tinygrad_edu.show import listing

        return listing.rules(self._labels())

    def dot(self) -> str:
        """The tape as a graph in the language of Graphviz, which is not needed to write it.

        Inputs are rounded, results have a double frame, ways without a gradient are dashed. `dot
        -Tsvg` makes a picture of it.

        Example:
            >>> import numpy as np, tinygrad_edu as tg
            >>> x = tg.Tensor(2.0, requires_grad=True, name="x")
            >>> print(tg.Tape.of(np.exp(x)).dot())
            digraph tape {
              node [shape=box, fontname="monospace", fontsize=10];
              n0 [label="%0  x = input\\l()\\l2\\l", style=rounded];
              n1 [label="%1  np.exp(x)\\l()\\l7.389\\l", peripheries=2];
              n0 -> n1;
            }
            <BLANKLINE>
        """
        from tinygrad_edu.show import listing

        return listing.dot(self._labels(), self.outputs)

    def page(self, path: str | PathLike[str] | None = None, gradient: Any = None) -> Page:
        """The tape as one web page, which steps through it forward and then back.

        Each step shows the operation with its numbers, or the derivative rules with the gradient
        that arrives and those that are sent on, beside the lines of the user's code and of the
        program of `source`. The page is one file, needs no network and no server. In a notebook it
        shows itself; arrays of more than some hundred numbers are on it in part.

        Args:
            path: the file to write it to, if any; an older one is replaced.
            gradient: what the way back begins with, of the shape of the result; by default 1 if
                the result is a single number, and there is no way back if it is not.

        Returns:
            The page: `html` is its text, `save(path)` writes it.

        Raises:
            ValueError: a gradient that does not fit the result.
            OSError: the file cannot be written; an older one is as it was.

        Example:
            >>> import numpy as np, tinygrad_edu as tg
            >>> x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
            >>> tg.Tape.of(np.sum(x * x)).page()
            <page of ... kB: save(path) writes it>
        """
        from tinygrad_edu.show.page import page

        reachable(*self.outputs)  # nothing has been changed or freed since
        with np.errstate(all="ignore"):
            made = page(self._labels(), self.outputs, gradient, self.source, self._name)
        if path is not None:
            made.save(path)
        return made

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
    have the names of the local variables that the function gave them; a variable x that is assigned
    again is x, x2, x3 and so on.

    Raises:
        ValueError: `f` did nothing to its arguments that could be recorded, or called backward().

    Example:
        >>> import numpy as np, tinygrad_edu as tg
        >>> print(tg.record(lambda x, y: np.exp(x) * y, 1.0, 2.0))  # doctest: +ELLIPSIS
            operation    shape  value  line
        %0  x = input    ()     1
        %1  y = input    ()     2
        %2  np.exp(x)    ()     2.718  ...
        %3  %2 * y       ()     5.437  ...
    """
    names = argument_names(f)
    trace = Trace(strict=False)

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

    def again(other: Any) -> list[Entry]:
        from tinygrad_edu.compiler.source import replayed

        return replayed(outputs, other, trace)

    with recording(True):
        arguments = [tree_map(traced, arg, names(i)) for i, arg in enumerate(args)]
    with tracing(trace), source_lines(), naming(trace, by_line=True), _named(f, trace):
        y = f(*arguments)
    outputs = [leaf._own_entry() for leaf in tree_leaves(y) if isinstance(leaf, Tensor)]
    name = getattr(f, "__name__", "")
    walked = (
        "the function called backward(), which frees the tape that is recorded: return the loss "
        "and leave out backward()"
    )
    try:
        if outputs:
            return Tape(*outputs, again=again, name=name if name.isidentifier() else "")
    except Freed:
        raise ValueError(walked) from None
    tensors = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)]
    if any(tensor._own_entry().grad is not None for tensor in tensors):
        raise ValueError(walked)
    for i, arg in enumerate(args):
        for leaf in tree_leaves(arg):
            if isinstance(leaf, (int, np.integer)) and not isinstance(leaf, bool):
                raise ValueError(
                    f"nothing was recorded: {names(i)} holds {leaf!r}, and whole numbers have no "
                    f"derivative; write {float(leaf)} for {leaf}"
                )
    raise ValueError("nothing was recorded: the function did nothing with its arguments")


def explain(
    f: Callable[..., Any],
    *args: Any,
    path: str | PathLike[str] | None = None,
    gradient: Any = None,
) -> Page:
    """A web page that steps through `f(*args)` and its gradient: `tg.record(f, *args).page(path)`.

    Args:
        f: a function of NumPy code; one with keywords as `lambda x: f(x, k=0.2)`.
        args: its arguments, also nested; or none, for the loss of a net that `f` finds.
        path: the file to write the page to, if any.
        gradient: what the way back begins with, if the result is not a single number: an array of
            its shape.

    Returns:
        The page: a notebook shows it, `save(path)` writes it, `html` is its text.

    Raises:
        ValueError: see `tg.record` and `Tape.page`.

    Example:
        >>> import numpy as np, tinygrad_edu as tg
        >>> tg.explain(lambda x: np.sum(np.exp(x)), np.array([1.0, 2.0]))
        <page of ... kB: save(path) writes it>
    """
    return record(f, *args).page(path, gradient)


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
