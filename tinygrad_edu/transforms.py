"""Derivatives as functions of functions: plain NumPy code in, its derivative out.

The arguments may be arrays, numbers, and tuples, lists and dicts of them, nested as you like; a
gradient has the structure of its argument. The function itself is ordinary NumPy code. All of them
can be nested: `grad(grad(f))` is a second derivative.

Every one is a walk back along the tape of `f`, with other weights at the outputs: `_Run` is `f` on
a tape.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_edu.recording import mode, recording
from tinygrad_edu.tape import Argument, Entry, reachable
from tinygrad_edu.tensor import GradientLost, Tensor, View, as_array, changeable, lift, plain
from tinygrad_edu.trees import argument_names, tree_leaves, tree_map
from tinygrad_edu.walk import walk_back

__all__ = [
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "value_and_grad",
    "vjp",
]

Function = Callable[..., Any]
Positions = int | tuple[int, ...]


def grad(f: Function, argnums: Positions = 0) -> Function:
    """The gradient of `f`, as a function of the same arguments.

    Args:
        f: a function that returns a single number. What it assigns to its arguments stays inside:
            the caller's arrays are not changed. What it reads besides its arguments counts as
            constant, except Tensors that need a gradient (as the parameters of a net do): then
            the gradient is a Tensor, which can be differentiated by those in its turn;
            `.numpy()` is its value.
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

    @functools.wraps(f, updated=())
    def gradient(*args: Any, **keywords: Any) -> Any:
        return with_value(*args, **keywords)[1]

    return gradient


def value_and_grad(f: Function, argnums: Positions = 0) -> Function:
    """The value of `f` and its gradient, as a function of the same arguments; see `grad`.

    Example:
        >>> import numpy as np, tinygrad_edu as tg
        >>> tg.value_and_grad(lambda x: x * x)(3.0)
        (np.float64(9.0), np.float64(6.0))
    """
    names = _checked(f, argnums)

    @recording(True)
    def value_and_gradient(*args: Any, **keywords: Any) -> Any:
        run = _Run(f, args, keywords, argnums, names)
        y = _one_number(run.y)
        if mode.trace is not None:
            y = mode.trace.simplified(y)
        tape = _tape(y)
        is_inner = run.is_inner(tape)
        gradients = _walk(tape, np.ones_like(plain(y)), run.targets, is_inner)
        if mode.trace is not None:
            mode.trace.walked(y, run.targets, gradients)
        return _settled(y, is_inner), run.like_arguments(gradients)

    return value_and_gradient


def gradients(y: Tensor, tensors: Sequence[Tensor]) -> list[Any]:
    """The gradients of a single number by Tensors that it was computed from; None for no way there.

    They are arrays; in a traced program they are Tensors.
    """
    if mode.trace is not None:
        y = mode.trace.simplified(y)
    tape = _tape(_one_number(y))
    targets = [tensor._own_entry() for tensor in tensors]
    found = _walk(tape, np.ones_like(plain(y)), targets, mode.trace is not None)
    if mode.trace is not None:
        mode.trace.walked(y, targets, found)
    return found


def vjp(f: Function, *xs: Any) -> tuple[Any, Function]:
    """The value of `f(*xs)` and its pullback: the product of any vector with the Jacobian.

    The pullback takes a cotangent `g` of the shapes of the value, and gives the gradients of
    `sum(g * f(*xs))` with respect to all arguments, in a tuple. It can be called many times.

    Raises:
        TypeError: an argument that is not floating-point, or a value that is no real number.
        ValueError: a cotangent of other shapes than the value.

    Example:
        >>> import numpy as np, tinygrad_edu as tg
        >>> y, pullback = tg.vjp(lambda x, c: c * x**2, np.array([1.0, 2.0]), 3.0)
        >>> y
        array([ 3., 12.])
        >>> pullback(np.array([1.0, 10.0]))
        (array([  6., 120.]), np.float64(41.0))
    """
    run = _run_by_all(f, _with_own_arrays(xs))

    @recording(True)
    def pullback(g: Any) -> tuple[Any, ...]:
        weights = [
            w if _is_recorded(w) else np.array(plain(w), np.asarray(plain(y)).dtype)
            for w, y in zip(_matching(g, run.y, "g", "the value of f"), run.outputs, strict=True)
        ]
        return run.like_arguments(run.pull_back(weights))

    # Neither what is written into the arguments nor into the value may reach the tape.
    return _with_own_arrays(run.value()), pullback


def jvp(f: Function, xs: tuple[Any, ...], vs: tuple[Any, ...]) -> tuple[Any, Any]:
    """The value of `f(*xs)` and its derivative along `vs`: the product of the Jacobian with `vs`.

    The derivative is that of `f(*(xs + t * vs))` by t at 0. `vs` has the structure and the shapes
    of `xs`; a single argument may stand without its tuple.

    The pullback is linear in its cotangent g, so its own derivative by g is the transpose of the
    transpose: two walks back make one forward (Townsend, "A new trick for calculating Jacobian
    vector products", 2017).

    Raises:
        TypeError: an argument that is not floating-point, or a value that is no real number.
        ValueError: `vs` of other shapes than `xs`.

    Example:
        >>> import numpy as np, tinygrad_edu as tg
        >>> tg.jvp(lambda x: x**3, np.array([1.0, 2.0]), np.array([1.0, 0.5]))
        (array([1., 8.]), array([3., 6.]))
    """
    xs, vs = _as_tuple(xs), _as_tuple(vs)
    tangents = _matching(vs, xs, "vs", "xs")
    run = _run_by_all(f, xs)
    # Where the gradient is infinite, 0 * inf is only on the way to the derivative by the weights.
    with recording(True), np.errstate(invalid="ignore"):
        weights = [_ones(plain(y)) for y in run.outputs]
        ends = [weight._own_entry() for weight in weights]
        pairs = zip(run.pull_back(weights), tangents, strict=True)
        tape = _tape(sum(np.sum(gx * v) for gx, v in pairs if gx is not None))
        dy = _walk(tape, np.ones(()), ends, run.is_inner(tape))
    return run.value(), run.like_value(dy)


def hvp(f: Function, xs: Any, vs: Any) -> Any:
    """The product of the Hessian of `f` at `xs` with `vs`, without the Hessian.

    `f` returns a single number. `xs` and `vs` are tuples with all arguments of `f`, and so is the
    product; a single argument may stand without its tuple. Costs a few evaluations of `f`.

    Raises:
        TypeError: an argument that is not floating-point, or a result that is not one number.
        ValueError: `vs` of other shapes than `xs`.

    Example:
        >>> import numpy as np, tinygrad_edu as tg
        >>> tg.hvp(lambda x: np.sum(x**3), np.array([1.0, 2.0]), np.array([1.0, 10.0]))
        array([  6., 120.])
    """
    arguments = _as_tuple(xs)
    tangents = _matching(_as_tuple(vs), arguments, "vs", "xs")
    run = _run_by_all(grad(f, tuple(range(len(arguments)))), arguments)
    with recording(True):
        products = run.like_arguments(run.pull_back(tangents))
    return products if isinstance(xs, tuple) else products[0]


def jacobian(f: Function, argnums: Positions = 0) -> Function:
    """All derivatives of all outputs of `f`, as a function of the same arguments.

    For an output of shape s and an argument of shape t an array of shape s + t, with
    `J[i, j] = d y[i] / d x[j]`. If the output has a structure of tuples, lists and dicts, the
    result has that structure, and in it for every output the structure of the argument.

    All rows are walked back together, so that the tape is walked once; or, if there are far fewer
    inputs than outputs, all columns forward (see `jvp`).

    Raises:
        TypeError: an argument that is not floating-point, or an output that is no real number.

    Example:
        >>> import numpy as np, tinygrad_edu as tg
        >>> tg.jacobian(lambda x: x**2 * x[0])(np.array([1.0, 2.0]))
        array([[3., 0.],
               [4., 4.]])
    """
    names = _checked(f, argnums)

    @recording(True)
    def derivatives(*args: Any, **keywords: Any) -> Any:
        run = _with_numbers(_Run(f, args, keywords, argnums, names))
        inputs = sum(target.y.size for target in run.targets)
        by_output = [
            run.columns(y) if inputs * _FORWARD_COSTS < np.size(plain(y)) else run.rows(y)
            for y in run.outputs
        ]
        return run.like_value([run.like_arguments(found, False) for found in by_output])

    return derivatives


def hessian(f: Function, argnums: Positions = 0) -> Function:
    """All second derivatives of `f`, which returns a single number.

    For an argument of shape t an array of shape t + t, with `H[i, j] = d2 f / (d x[i] d x[j])`;
    for a structure of arguments that structure, and in it for each the structure again.

    Raises:
        TypeError: an argument that is not floating-point, or a result that is not one number.

    Example:
        >>> import numpy as np, tinygrad_edu as tg
        >>> tg.hessian(lambda x: x[0] ** 2 * x[1])(np.array([3.0, 5.0]))
        array([[10.,  6.],
               [ 6.,  0.]])
    """
    return jacobian(grad(f, argnums), argnums)


class _Run:
    """`f` on a tape, with new variables in place of its arguments at some positions.

    Attributes:
        y: what `f` returned.
        outputs: the leaves of `y`.
        targets: the entries of the variables.

    An input of its tape that needs a gradient and is older than the variables belongs to a gradient
    that is being taken around this one, as in `grad(grad(f))`. Then results are Tensors on the
    outer tape.
    """

    def __init__(
        self,
        f: Function,
        args: Any,
        keywords: dict[str, Any],
        argnums: Positions,
        names: Callable[[int], str],
    ):
        positions = (argnums,) if isinstance(argnums, int) else argnums
        if not all(-len(args) <= position < len(args) for position in positions):
            raise TypeError(
                f"argnums={argnums} of a call with {len(args)} positional arguments: pass what is "
                f"differentiated by position"
            )
        if len({position % len(args) for position in positions}) < len(positions):
            raise TypeError(f"argnums={argnums} names the same of {len(args)} arguments twice")
        self.targets: list[Entry] = []
        traced = list(args)
        for i in positions:
            traced[i] = tree_map(
                lambda leaf, path: _traced(leaf, path, self.targets), args[i], names(i % len(args))
            )
        self._arguments = [args[i] for i in positions]
        self._alone = isinstance(argnums, int)
        self._start = self.targets[0].order if self.targets else 0
        try:
            self.y = f(*traced, **keywords)
        except ValueError as error:
            # NumPy's own "setting an array element with a sequence" hides what is wrong.
            if isinstance(error.__cause__, GradientLost):
                raise error.__cause__ from None
            raise
        self.outputs = tree_leaves(self.y)

    def is_inner(self, tape: list[Entry]) -> bool:
        """Whether the results belong to the tape of another gradient, or of a whole program."""
        start = self._start
        return mode.trace is not None or any(
            e.requires_grad and e.primitive is None and e.order < start for e in tape
        )

    def value(self) -> Any:
        """What `f` returned, as plain arrays where no outer tape goes on from there."""
        return tree_map(lambda leaf, _: _settled(leaf, self.is_inner(_tape(leaf))), self.y, "")

    def gradients(self, tape: list[Entry], g: Any, stacked: bool = False) -> list[Any]:
        """The gradients of the end of a tape by the targets, weighted by `g`; or None for 0."""
        return _walk(tape, g, self.targets, self.is_inner(tape) or _is_recorded(g), stacked)

    def pull_back(self, g: Sequence[Any]) -> list[Any]:
        """The gradients of all outputs by the targets, each weighted by one `g`."""
        if len(self.outputs) == 1:
            return self.gradients(_tape(self.outputs[0]), g[0])
        pairs = zip(self.outputs, g, strict=True)
        tape = _tape(sum(np.sum(y * weight) for y, weight in pairs if _is_recorded(y)))
        recorded = self.is_inner(tape) or any(map(_is_recorded, g))
        return _walk(tape, np.ones(()), self.targets, recorded)

    def rows(self, y: Any) -> list[Any]:
        """The Jacobian of one output by each target, of the shapes of both together."""
        tape = _tape(y)
        blocks = [self.gradients(tape, g, stacked=True) for g in _unit_vectors(plain(y))]
        return [
            _joined([block[i] for block in blocks], np.shape(y), target)
            for i, target in enumerate(self.targets)
        ]

    def columns(self, y: Any) -> list[Any]:
        """The same as `rows`, by derivatives along the inputs; see `jvp`."""
        weight = _ones(plain(y))
        end = weight._own_entry()
        found = []
        for target, gx in zip(self.targets, self.gradients(_tape(y), weight), strict=True):
            tape = _tape(gx)
            recorded = self.is_inner(tape)
            blocks = [
                _walk(tape, v, [end], recorded, stacked=True)[0] for v in _unit_vectors(target.y)
            ]
            block = _joined(blocks, target.y.shape, end)
            axes = np.arange(block.ndim)
            found.append(np.transpose(block, np.roll(axes, -target.y.ndim)))
        return found

    def like_arguments(self, gradients: Sequence[Any], own_form: bool = True) -> Any:
        """The gradients in the structure of the arguments, with 0 where none arrived.

        In the arguments' own form the gradients of numbers are numbers and of arrays arrays.
        """
        for target, gradient in zip(self.targets, gradients, strict=True):
            if isinstance(gradient, Tensor) and gradient.name is None:
                gradient.name = f"d{target.name}"
        pairs = iter(zip(self.targets, gradients, strict=True))

        def placed(leaf: Any, _: str) -> Any:
            target, gradient = next(pairs)
            gradient = np.zeros_like(target.y) if gradient is None else gradient
            is_number = isinstance(leaf, (float, np.generic)) if own_form else gradient.ndim == 0
            return gradient[()] if is_number and isinstance(gradient, np.ndarray) else gradient

        # The same walk over the same trees as in __init__, so the gradients come in their order.
        trees = [tree_map(placed, argument, "") for argument in self._arguments]
        return trees[0] if self._alone else tuple(trees)

    def like_value(self, leaves: Sequence[Any]) -> Any:
        """The leaves in the structure of the value of `f`, with 0 for None."""
        rest = iter(leaves)

        def placed(y: Any, _: str) -> Any:
            leaf = next(rest)
            leaf = np.zeros_like(plain(y)) if leaf is None else leaf
            return leaf[()] if isinstance(leaf, np.ndarray) and leaf.ndim == 0 else leaf

        return tree_map(placed, self.y, "")


# How many walks back along the tape it takes to record one and to walk back along that.
_FORWARD_COSTS = 3

# The most values that the gradients of an entry hold when many are walked back together.
_STACK_SIZE = 2**22


def _tape(y: Any) -> list[Entry]:
    """What `y` was computed from, if it was recorded."""
    return reachable(y._entry) if _is_recorded(y) else []


def _walk(
    tape: list[Entry], g: Any, targets: list[Entry], recorded: bool, stacked: bool = False
) -> list[Any]:
    """The gradients of the end of a tape by the targets: arrays, or Tensors if recorded."""
    if not tape:
        return [None] * len(targets)
    if recorded:
        g = g if isinstance(g, Tensor) else Tensor(g)
    found = walk_back(
        tape,
        g,
        targets,
        lift if recorded else None,
        watch=mode.watched,
        stacked=stacked,
        mended=mode.trace is None,
    )
    return [found.get(target) for target in targets]


def _settled(y: Any, is_inner: bool) -> Any:
    return plain(y)[()] if isinstance(y, Tensor) and not is_inner else y


def _is_recorded(y: Any) -> bool:
    return isinstance(y, Tensor) and y.requires_grad


def _traced(leaf: Any, path: str, targets: list[Entry]) -> Tensor:
    """The leaf as a new variable on the tape, whose entry is noted in `targets`."""
    if mode.trace is not None and isinstance(leaf, Tensor) and leaf.dtype.kind == "f":
        tensor = mode.trace.variable(leaf, path)
    elif _is_recorded(leaf):
        # An outer gradient is being taken. The copy tells the inner variable from the outer one,
        # which the function may also read by itself.
        tensor = leaf.copy()
    else:
        array = as_array(plain(leaf))
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        if array.dtype.kind != "f":
            is_number = array.dtype.kind in "iub"
            raise TypeError(
                f"{path} is {leaf!r:.60}, of dtype {array.dtype}: gradients are for "
                f"floating-point values; "
                f"{'write 3.0 for 3, or x.astype(float); or, ' if is_number else ''}"
                f"if it is a constant, leave it out: lambda w: f(w, constant)"
            )
        tensor = lift(Argument.of_input(array, True, path), array)
    targets.append(tensor._own_entry())
    # An array of no axes can be changed in place, which a number cannot: as a view it can.
    is_array = isinstance(leaf, (np.ndarray, View)) and leaf.ndim == 0
    return changeable(tensor) if is_array else tensor


def _one_number(y: Any) -> Any:
    """`y`, if it is a single real number."""
    one = isinstance(y, (Tensor, np.ndarray, np.generic, int, float)) and np.size(plain(y)) == 1
    if not one or np.asarray(plain(y)).dtype.kind not in "fiub":
        shown = f"shape {np.shape(y)}" if isinstance(y, (Tensor, np.ndarray)) else repr(y)[:60]
        raise TypeError(
            f"the function must return a single real number, it returned {shown}: take a sum or "
            f"a mean, or weight the outputs and add them up"
        )
    return y


def _ones(y: Any) -> Tensor:
    """Ones of the shape of an output, as a variable."""
    y = np.asarray(y)
    ones = np.ones(y.shape, y.dtype if y.dtype.kind == "f" else float)
    return lift(Argument.of_input(ones, True), ones)


def _unit_vectors(y: Any) -> Iterator[np.ndarray]:
    """All arrays of the shape of `y` with a single 1, in stacks of a limited size."""
    y = np.asarray(y)
    dtype = y.dtype if y.dtype.kind == "f" else float
    many = max(_STACK_SIZE // max(y.size, 1), 1)
    for start in range(0, y.size, many):
        count = min(many, y.size - start)
        yield np.eye(count, y.size, start, dtype=dtype).reshape(count, *y.shape)


def _joined(parts: Sequence[Any], shape: tuple[int, ...], target: Entry) -> Any:
    """The stacks of gradients as one array of `shape`, the shape of the target behind it."""
    whole = (*shape, *target.y.shape)
    if not parts or parts[0] is None:
        return np.zeros(whole, target.y.dtype)
    return np.reshape(np.concatenate(list(parts)), whole)


def _with_own_arrays(tree: Any) -> Any:
    return tree_map(lambda x, _: np.array(x) if type(x) is np.ndarray else x, tree, "")


def _as_tuple(arguments: Any) -> tuple[Any, ...]:
    return arguments if isinstance(arguments, tuple) else (arguments,)


def _matching(tree: Any, other: Any, name: str, others_name: str) -> list[Any]:
    """The leaves of a tree that must have the structure and the shapes of another one."""
    leaves, others = _leaves_by_path(tree), _leaves_by_path(other)
    if leaves.keys() != others.keys():
        raise ValueError(
            f"{name} must have the structure of {others_name}, which has the parts "
            f"{', '.join(others) or '(itself)'}; it has {', '.join(leaves) or '(itself)'}"
        )
    for path, leaf in leaves.items():
        shape, wanted = np.shape(plain(leaf)), np.shape(plain(others[path]))
        if shape != wanted:
            raise ValueError(f"{name}{path} has shape {shape}, {others_name}{path} has {wanted}")
        if np.asarray(plain(leaf)).dtype.kind not in "fiub":
            raise TypeError(f"{name}{path} must hold real numbers, it is {leaf!r:.60}")
    return list(leaves.values())


def _leaves_by_path(tree: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    tree_map(lambda leaf, path: found.setdefault(path, leaf), tree, "")
    return found


def _run_by_all(f: Function, xs: tuple[Any, ...]) -> _Run:
    """`f` on a tape with variables in place of all arguments."""
    names = _checked(f, 0)
    with recording(True):
        return _with_numbers(_Run(f, xs, {}, tuple(range(len(xs))), names))


def _with_numbers(run: _Run) -> _Run:
    """The run, if all outputs are real numbers."""
    for y in run.outputs:
        if np.asarray(plain(y)).dtype.kind not in "fiub":
            raise TypeError(f"the function must return numbers, it returned {y!r:.60}")
    return run


def _checked(f: Function, argnums: Positions) -> Callable[[int], str]:
    """The names of the arguments of `f`, if it can be differentiated by these."""
    if not callable(f):
        raise TypeError(f"a gradient is of a function, got {f!r:.60}")
    positions = argnums if isinstance(argnums, (tuple, list)) else (argnums,)
    if not all(type(position) is int for position in positions):
        raise TypeError(f"argnums must be a position or several in a tuple, got {argnums!r}")
    return argument_names(f)
