"""The rule book: which derivative belongs to which function.

A `Primitive` is one operation that the engine does not look into: a NumPy function, or one of
our own. Its derivative rules are pure functions, one for each input, all in the same notation:

    derivative(np.multiply, lambda g, y, a, b: g * b,
                            lambda g, y, a, b: g * a)

`g` is the gradient that arrives at the output, `y` is the output, then come the inputs by name
and the parameters under NumPy's own names. A rule returns the gradient of its input. Since a rule
is plain NumPy code, it runs on arrays, where it is fast, and on Tensors, where it is recorded in
its turn: that is all there is to second derivatives.

The book knows three ways in which a function may be differentiable:

- `derivative(f, ...)`: f is a primitive with a rule for each input;
- `composition(f)`: f is written in terms of other functions of the book;
- `constant(f)`: f is piecewise constant (comparisons, argmax, sign), so that its derivative is 0
  wherever it has one; its result is a plain array.

This module knows neither Tensor nor tape. What it needs of them is one method: an object with
`__record__(primitive, args, keywords)` among the arguments of a primitive takes the call over.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Primitive", "composition", "constant", "derivative", "primitive", "unbroadcast"]

Function = Callable[..., Any]

PRIMITIVES: dict[Function, Primitive] = {}
COMPOSITIONS: dict[Function, Function] = {}
CONSTANTS: set[Function] = set()


class Primitive:
    """One operation and its derivative rules.

    Called on arrays it computes `forward`; called on something that carries a tape (an argument
    with a method `__record__`) it hands itself over to be recorded.

    Attributes:
        forward: the function on plain arrays.
        name: the name to print, such as `np.exp` or `tg.relu`.
        rules: one rule for each input, `None` for an input that no gradient reaches (the condition
            of `np.where`).
        every: for functions of any number of arrays, one rule `(position, g, y, *inputs)` for all,
            told which input it is asked about.
        core_axes: whether the function broadcasts its inputs, so that the walk has to sum over
            what was stretched: `None` if not, 0 for elementwise functions such as a * b, 2 for
            `matmul`, whose last two axes are matrices and whose other axes broadcast.
        singular: whether there are inputs at which the derivative is infinite, undefined or too
            large for a number, as that of sqrt at 0 and that of exp at 1000. If a gradient comes
            out as NaN, the walk then looks whether it is 0 * inf where 0 is right.
        view: whether the result may share the memory of the first input, as that of reshape.
        keep: for rules that can use what the forward pass has computed on the way: as `forward`,
            but returns that, too, which the rules get as the argument `kept`. They must do without
            it where they are recorded.
    """

    def __init__(self, forward: Function, name: str):
        functools.update_wrapper(self, forward)
        self.forward = forward
        self.name = name
        self.rules: tuple[Function | None, ...] = ()
        self.every: Function | None = None
        self.core_axes: int | None = None
        self.singular = False
        self.view = False
        self.keep: Function | None = None

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        for argument in keywords.values():
            if hasattr(argument, "__record__"):
                # Rules go by position, so an input given by name is put there first.
                bound = inspect.signature(self.forward).bind(*args, **keywords)
                bound.apply_defaults()
                return argument.__record__(self, bound.args, bound.kwargs)
        for argument in args:
            if hasattr(argument, "__record__"):
                return argument.__record__(self, args, keywords)
        return self.forward(*args, **keywords)

    def __reduce__(self) -> str:
        # Copied and pickled by name, as functions are: a copy would be another operation.
        return str(self.__dict__["__qualname__"])

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def derivative(
        self,
        *rules: Function | None,
        every: Function | None = None,
        core_axes: int | None = None,
        singular: bool = False,
        view: bool = False,
        keep: Function | None = None,
    ) -> Primitive:
        """Sets the derivative rules and returns the primitive; see `derivative`."""
        for rule in (*rules, every):
            if rule is not None and not callable(rule):
                raise TypeError(
                    f"the derivative rules of {self.name} must be functions "
                    f"(g, y, *inputs) -> gradient of one input, got {rule!r}"
                )
        self.rules, self.every, self.core_axes = rules, every, core_axes
        self.singular, self.view, self.keep = singular, view, keep
        self.__dict__.pop("parameters", None)
        return self

    def rule(self, position: int) -> Function | None:
        """The derivative rule of the input at `position`.

        Raises:
            NotImplementedError: the book has no rule for it.
        """
        if position < len(self.rules):
            return self.rules[position]
        if self.every is not None:
            return functools.partial(self.every, position)
        raise NotImplementedError(
            f"{self.name} has no derivative rule for its argument {position}; give it one for "
            f"each input in order, with .derivative(lambda g, y, ...: ..., ...) or, for a NumPy "
            f"function, tg.derivative(...), or pass x.numpy() if no gradient shall flow there"
        )

    @functools.cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names of the arguments that the rules understand, in order."""
        rule = next((rule for rule in (*self.rules, self.every) if rule is not None), None)
        if rule is None:
            return tuple(inspect.signature(self.forward).parameters)
        skip = 2 if rule is not self.every else 3
        return tuple(inspect.signature(rule).parameters)[skip:]

    def understood(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> dict[str, Any]:
        """The keywords to call with: those that the rules know; others only if they are None.

        Raises:
            TypeError: an argument that the rules do not know, such as `where=` of `np.sum`.
        """
        if len(args) > len(self.parameters) and self.every is None:
            raise TypeError(
                f"{self.name} was called with {len(args)} positional arguments; its derivative "
                f"rule understands {len(self.parameters)}: {', '.join(self.parameters)}"
            )
        for name, value in keywords.items():
            if name not in self.parameters and value is not None:
                raise TypeError(
                    f"{self.name} has no derivative rule for the argument {name}=; its rule "
                    f"understands {', '.join(self.parameters)}. Leave {name}= out, or write the "
                    f"same with other functions (for out= and where=: assign the result, use "
                    f"np.where)"
                )
        return {name: value for name, value in keywords.items() if name in self.parameters}


def primitive(function: Function) -> Primitive:
    """Makes a function of arrays an operation of the book; for use as a decorator.

    Its rules are given with `.derivative`, one for each input in order, each called with the
    gradient of the output, the output, and then the arguments as the function got them. The
    function itself sees plain arrays only, so anything may stand in it. If it broadcasts its
    inputs, say so with `core_axes=0`, and the walk sums each gradient to the shape of its input.

    Example:
        >>> import numpy as np, tinygrad_edu as tg
        >>> @tg.primitive
        ... def cube(x):
        ...     return x * x * x
        >>> _ = cube.derivative(lambda g, y, x: 3 * g * x**2)
        >>> cube(np.array([1.0, 2.0]))
        array([1., 8.])
        >>> tg.grad(lambda x: np.sum(cube(x)))(np.array([1.0, 2.0]))
        array([ 3., 12.])
    """
    ours = (function.__module__ or "").startswith(f"{__package__}.")
    return Primitive(function, f"tg.{function.__name__}" if ours else function.__name__)


def numpy_name(function: Function) -> str:
    """The name under which people call a NumPy function, such as `np.linalg.inv`.

    Example:
        >>> numpy_name(np.exp), numpy_name(np.linalg.inv)
        ('np.exp', 'np.linalg.inv')
    """
    module = (getattr(function, "__module__", None) or "numpy").replace("numpy", "np", 1)
    return f"{module}.{function.__name__}"


def derivative(
    function: Function,
    *rules: Function | None,
    every: Function | None = None,
    core_axes: int | None = None,
    singular: bool = False,
    view: bool = False,
    forward: Function | None = None,
) -> None:
    """Writes a NumPy function and its derivative rules into the book.

    Args:
        function: a NumPy function or ufunc.
        rules: one `(g, y, *inputs, **parameters) -> gradient` for each input, in order.
        every: instead of `rules`, one for all inputs, with the position before `g`.
        core_axes, singular, view: see `Primitive`; ufuncs broadcast over all axes unless
            `core_axes` says otherwise.
        forward: what computes the function on arrays, if something is better at it.
    """
    if isinstance(function, np.ufunc) and function.signature is None:
        core_axes = 0
    if function not in PRIMITIVES:
        PRIMITIVES[function] = Primitive(forward or function, numpy_name(function))
    PRIMITIVES[function].derivative(
        *rules, every=every, core_axes=core_axes, singular=singular, view=view
    )


def composition(function: Function) -> Callable[[Function], Function]:
    """Writes a NumPy function into the book in terms of others; for use as a decorator.

    Example:
        >>> import tinygrad_edu as tg
        >>> @tg.composition(np.hypot)
        ... def hypot(a, b):
        ...     return np.sqrt(a * a + b * b)
        >>> round(tg.grad(lambda x: np.hypot(x, 4.0))(3.0), 6)
        np.float64(0.6)
        >>> _ = COMPOSITIONS.pop(np.hypot)  # and out of the book again
    """

    def register(written_out: Function) -> Function:
        COMPOSITIONS[function] = written_out
        return written_out

    return register


def constant(*functions: Function) -> None:
    """Writes functions into the book whose derivative is 0 wherever it exists.

    Raises:
        TypeError: something that is not a function.
    """
    for function in functions:
        if not callable(function):
            raise TypeError(f"constant() takes functions such as np.sign, got {function!r}")
    CONSTANTS.update(functions)


def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """Sums `g` over the axes along which an input of `shape` was broadcast.

    If y[i, j] = x[j], then x[j] is read once for every i, and its gradient is the sum of g[i, j]
    over i.

    Example:
        >>> unbroadcast(np.ones((2, 3)), (3,))
        array([2., 2., 2.])
        >>> unbroadcast(np.ones((2, 3)), (2, 1))
        array([[3.],
               [3.]])
    """
    new = g.ndim - len(shape)
    stretched = [new + i for i, n in enumerate(shape) if n == 1 and g.shape[new + i] != 1]
    return g.sum(axis=(*range(new), *stretched)).reshape(shape)
