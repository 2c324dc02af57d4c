"""Gradients as functions of functions: plain NumPy code in, its derivative out.

The arguments may be arrays, numbers, and tuples, lists and dicts of them, nested as you like; a
gradient has the structure of its argument. The function itself is ordinary NumPy code.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_edu.tape import Entry, Tape, reachable, walk_back
from tinygrad_edu.tensor import Tensor, as_array, lift, plain, recording

__all__ = ["grad", "record", "value_and_grad"]


def grad(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """The gradient of `f`, as a function of the same arguments.

    Args:
        f: a function that returns a single number. Arguments that it changes in place are the
            caller's own; what it reads besides its arguments counts as constant, except Tensors
            that need a gradient (as the parameters of a net do): then the gradient is a Tensor,
            which can be differentiated by those in its turn; `.numpy()` is its value.
        argnums: the position of the argument to differentiate by, or several in a tuple; then
            the gradients come in a tuple.

    Raises:
        TypeError: an argument that is not floating-point, or a result that is not one number.

    Example:
        >>> import numpy as np, tinygrad_edu as tg
        >>> df = tg.grad(lambda p: np.sum(p["x"] ** 3) + p["c"])
        >>> df({"x": np.array([1.0, 2.0]), "c": 5.0})
        {'x': array([ 3., 12.]), 'c': np.float64(1.0)}
        >>> tg.grad(tg.grad(np.tanh))(0.5)
        np.float64(-0.7268...)
    """
    with_value = value_and_grad(f, argnums)

    def gradient(*args: Any, **keywords: Any) -> Any:
        return with_value(*args, **keywords)[1]

    return gradient


def value_and_grad(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """The value of `f` and its gradient, as a function of the same arguments; see `grad`.

    Example:
        >>> import numpy as np, tinygrad_edu as tg
        >>> tg.value_and_grad(lambda x: x * x)(3.0)
        (np.float64(9.0), np.float64(6.0))
    """
    if not callable(f):
        raise TypeError(f"a gradient is of a function, got {f!r:.60}")
    positions = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    if not all(isinstance(position, int) for position in positions):
        raise TypeError(f"argnums must be a position or several in a tuple, got {argnums!r}")
    names = argument_names(f)

    @recording(True)
    def value_and_gradient(*args: Any, **keywords: Any) -> Any:
        if not all(-len(args) <= position < len(args) for position in positions):
            raise TypeError(
                f"argnums={argnums} of a call with {len(args)} positional arguments: pass what is "
                f"differentiated by position"
            )
        if len({position % len(args) for position in positions}) < len(positions):
            raise TypeError(f"argnums={argnums} names the same of {len(args)} arguments twice")
        traced = list(args)
        targets: list[Tensor] = []
        for i in positions:
            traced[i] = tree_map(
                lambda leaf, path: _traced(leaf, path, targets), args[i], names(i % len(args))
            )
        y = f(*traced, **keywords)
        value, gradients = _pull_back(y, [target._entry for target in targets])
        pairs = iter(zip(targets, gradients, strict=True))
        # The same walk over the same trees as above, so the gradients come in their order.
        trees = [
            tree_map(lambda leaf, _: _like(leaf, *next(pairs)), args[i], "") for i in positions
        ]
        return value, trees[0] if isinstance(argnums, int) else tuple(trees)

    return value_and_gradient


def record(f: Callable[..., Any], *args: Any) -> Tape:
    """The tape of `f(*args)`, with every floating-point array among the arguments as an input.

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

    def traced(leaf: Any, path: str) -> Any:
        is_float = np.asarray(plain(leaf)).dtype.kind == "f"
        return _traced(leaf, path, []) if is_float else leaf

    with recording(True):
        y = f(*(tree_map(traced, arg, names(i)) for i, arg in enumerate(args)))
    outputs: list[Any] = []
    tree_map(lambda leaf, _: outputs.append(leaf), y, "")
    return Tape.of(*(leaf for leaf in outputs if isinstance(leaf, Tensor) and leaf.requires_grad))


def argument_names(f: Callable[..., Any]) -> Callable[[int], str]:
    """The names of the positional arguments of `f`, by position."""
    try:
        known = list(inspect.signature(f).parameters)
    except (TypeError, ValueError):
        known = []
    return lambda i: known[i] if i < len(known) else f"argument {i}"


def tree_map(function: Callable[[Any, str], Any], tree: Any, path: str) -> Any:
    """The tree with `function(leaf, path)` in place of each leaf."""
    if isinstance(tree, dict):
        return {key: tree_map(function, item, f"{path}[{key!r}]") for key, item in tree.items()}
    if isinstance(tree, (tuple, list)):
        items = [tree_map(function, item, f"{path}[{i}]") for i, item in enumerate(tree)]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    return function(tree, path)


def _traced(leaf: Any, path: str, targets: list[Tensor]) -> Tensor:
    """The leaf as a new variable on the tape, which is noted in `targets`."""
    if isinstance(leaf, Tensor) and leaf.requires_grad:
        # An outer gradient is being taken. The copy tells the inner variable from the outer one,
        # which the function may also read by itself.
        tensor = leaf.copy()
    else:
        array = as_array(plain(leaf))
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        if array.dtype.kind != "f":
            raise TypeError(
                f"{path} is {leaf!r:.60}, of dtype {array.dtype}: gradients are for "
                f"floating-point values; write 3.0 for 3, or x.astype(float)"
            )
        tensor = lift(Entry.of_input(array, True, path), array)
    targets.append(tensor)
    return tensor


def _pull_back(y: Any, targets: list[Any]) -> tuple[Any, list[Any]]:
    """The value of `y` and its gradients with respect to the target entries.

    They are arrays, unless `y` also depends on inputs that need a gradient and are older than the
    targets. Those belong to a gradient that is being taken around this one, as in `grad(grad(f))`:
    then the walk is recorded, and its results are Tensors on the outer tape.
    """
    one = isinstance(y, (Tensor, np.ndarray, np.generic, int, float)) and np.size(plain(y)) == 1
    if not one or np.asarray(plain(y)).dtype.kind not in "fiub":
        shown = f"shape {np.shape(y)}" if isinstance(y, (Tensor, np.ndarray)) else repr(y)[:60]
        raise TypeError(
            f"the function must return a single real number, it returned {shown}: take a sum or "
            f"a mean, or weight the outputs and add them up"
        )
    if not isinstance(y, Tensor) or y._entry is None or not y.requires_grad:
        return plain(y), [None] * len(targets)
    entries = reachable(y._entry)
    start = targets[0].order if targets else 0
    outer = any(e.requires_grad and e.primitive is None and e.order < start for e in entries)
    if outer:
        gradients = walk_back(entries, Tensor(np.ones_like(y._array)), targets, lift)
    else:
        gradients = walk_back(entries, np.ones_like(y._array), targets)
    return y if outer else y._array[()], [gradients.get(target) for target in targets]


def _like(leaf: Any, target: Tensor, gradient: Any) -> Any:
    """The gradient in the form of its argument: a number for a number; 0 where none arrived."""
    if gradient is None:
        gradient = np.zeros(target.shape, target.dtype)
    is_number = isinstance(leaf, (float, np.generic)) and isinstance(gradient, np.ndarray)
    return gradient[()] if is_number else gradient
