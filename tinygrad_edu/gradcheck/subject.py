"""The function under test as a function of one flat vector, and the gradient claimed for it.

The arguments of the user's function may be nested, numbers, arrays or Tensors. Here they are one
vector x of float64, in which every `Input` has its span, and the outputs are one vector y. The
outputs are contracted with random weights w to one number, w · y, whose gradient is checked.
"""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_edu.recording import recording, source_lines
from tinygrad_edu.tape import Argument, Entry, Tape, reachable
from tinygrad_edu.tensor import Tensor, as_array, lift, plain
from tinygrad_edu.trees import argument_names, tree_leaves, tree_map
from tinygrad_edu.walk import walk_back

__all__ = ["CannotCheck", "Claim", "Input", "Subject", "claimed_by_engine", "claimed_by_user"]

# What a function may raise where a step leads out of its domain.
OUT_OF_DOMAIN = (ArithmeticError, ValueError, np.linalg.LinAlgError, Warning)


# Outputs below this would underflow in the arithmetic of slopes and errors.
SMALLEST = 1e-90


class CannotCheck(Exception):
    """There is nothing to compare; the message says why, and what to do."""


@dataclass(frozen=True)
class Input:
    """One array or number by which the function is differentiated.

    Attributes:
        name: the name of the parameter, with the path into it: `params['W1']`.
        value: the user's own object, which is not touched.
        span: where its entries stand in the flat vector.
        shape, dtype: those of the value.
    """

    name: str
    value: Any
    span: slice
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def index(self, flat: int) -> tuple[int, ...]:
        """The index into the input of an entry of the flat vector."""
        return tuple(int(i) for i in np.unravel_index(flat - self.span.start, self.shape))


def _is_input(leaf: Any) -> bool:
    if isinstance(leaf, Tensor):
        return leaf.requires_grad and leaf.dtype.kind == "f"
    return isinstance(leaf, (np.ndarray, np.floating, float)) and np.asarray(leaf).dtype.kind == "f"


class Subject:
    """A function, and the arguments at which it is checked.

    Args:
        f: the function.
        args: its arguments; they are copied, and only the copies are handed out.
        argnums: the positions of the arguments to differentiate by; `None` for all that hold
            floating-point numbers.
        rng: for the weights of the outputs.

    Attributes:
        weights: what the outputs are multiplied by, flat.
        weights_by_leaf: the weights in the shapes of the outputs.
        reuses: whether a claimed gradient has been overwritten by a later one.
        elementwise: the inputs whose claimed gradient is an elementwise derivative.
    """

    def __init__(
        self,
        f: Callable[..., Any],
        args: tuple[Any, ...],
        argnums: int | tuple[int, ...] | None,
        rng: np.random.Generator,
    ):
        self.f = f
        self.originals = args
        self.rng = rng
        self.evaluations = 0
        self.on_evaluation: Callable[[], Any] = lambda: None
        self.shapes: list[tuple[int, ...]] = []
        self.y_dtype: np.dtype[Any] = np.dtype(float)
        self.weights = np.empty(0)
        self.weights_by_leaf: list[np.ndarray] = []
        self._as_tensors = False
        self.reuses = False
        self.elementwise: set[str] = set()
        self._args = tuple(tree_map(_copied, arg, "") for arg in args)
        self._kept: list[tuple[str, np.ndarray, np.ndarray]] = []
        names = argument_names(f)
        for k, arg in enumerate(args):
            tree_map(self._keep, arg, names(k))
        self.inputs, self.positions = self._find_inputs(args, argnums)
        self.x = np.empty(sum(_size(i) for i in self.inputs))
        for i in self.inputs:
            self.x[i.span] = np.asarray(plain(i.value), float).ravel()

    def _keep(self, leaf: Any, path: str) -> None:
        array = plain(leaf)
        if isinstance(array, np.ndarray):
            self._kept.append((path, array, array.copy()))

    def _find_inputs(
        self, args: tuple[Any, ...], argnums: int | tuple[int, ...] | None
    ) -> tuple[list[Input], list[int]]:
        names = argument_names(self.f)
        inputs: list[Input] = []
        positions = [*range(len(args))] if argnums is None else np.atleast_1d(argnums).tolist()
        if not all(isinstance(i, int) and -len(args) <= i < len(args) for i in positions):
            raise TypeError(f"argnums={argnums} of a call with {len(args)} arguments")
        positions = [i % len(args) for i in positions]
        if len(set(positions)) < len(positions):
            raise TypeError(f"argnums={argnums} names the same argument twice")
        chosen = []
        for i in positions:

            def note(leaf: Any, path: str) -> None:
                if isinstance(leaf, np.ndarray):
                    as_array(leaf)
                if _is_input(leaf):
                    start = inputs[-1].span.stop if inputs else 0
                    array = np.asarray(plain(leaf))
                    span = slice(start, start + array.size)
                    if isinstance(leaf, Tensor) and any(leaf is i.value for i in inputs):
                        raise CannotCheck(f"{path} is the same Tensor as another argument")
                    name = (leaf.name if isinstance(leaf, Tensor) else None) or path
                    taken = sum(i.name.split(" #")[0] == name for i in inputs)
                    name = f"{name} #{taken + 1}" if taken else name
                    inputs.append(Input(name, leaf, span, array.shape, array.dtype))

            before = len(inputs)
            tree_map(note, args[i], names(i))
            if len(inputs) > before:
                chosen.append(i)
            elif argnums is not None:
                raise TypeError(
                    f"{names(i)} is {args[i]!r:.60}: gradients are for floating-point values; "
                    f"write 3.0 for 3, or x.astype(float)"
                )
        if not inputs:
            kinds = ", ".join(f"{names(i)}={arg!r:.30}" for i, arg in enumerate(args))
            raise CannotCheck(
                f"no inputs: the function was given {kinds or 'no arguments'}, and nothing in it "
                f"is floating-point: pass arrays or numbers such as 3.0"
            )
        if all(_size(i) == 0 for i in inputs):
            shapes = ", ".join(f"{i.name} {i.shape}" for i in inputs)
            raise CannotCheck(f"zero elements: there is nothing to check in {shapes}")
        return inputs, chosen

    # Calls.

    def arrays(self, x: np.ndarray, own_dtype: bool = False) -> list[np.ndarray]:
        """The inputs as arrays of their own, with the entries of `x`."""
        return [
            x[i.span].reshape(i.shape).astype(i.dtype if own_dtype else x.dtype)
            for i in self.inputs
        ]

    @contextlib.contextmanager
    def handed_over(
        self, x: np.ndarray, own_dtype: bool = False, tape: bool = False, needs_grad: bool = False
    ) -> Iterator[tuple[tuple[Any, ...], list[Entry]]]:
        """New arguments with the entries of `x`, and the tape entries of those that are Tensors.

        A Tensor among the arguments is given a new value for as long as this lasts, so that a
        function may as well read it from elsewhere, as a net does with its parameters.

        Args:
            x: a flat vector.
            own_dtype: in the inputs' own dtypes, and not in that of `x`.
            tape: whether arrays and numbers are handed over as Tensors, too.
            needs_grad: whether the Tensors need a gradient.
        """
        entries: list[Entry] = []
        values = iter(zip(self.inputs, self.arrays(x, own_dtype), strict=True))
        with contextlib.ExitStack() as stack:

            def substituted(leaf: Any, path: str) -> Any:
                if not _is_input(leaf):
                    return leaf
                i, array = next(values)
                if tape or isinstance(leaf, Tensor):
                    entries.append(Argument.of_input(array, needs_grad, i.name))
                    tensor = lift(entries[-1], array)
                    if not isinstance(leaf, Tensor):
                        return tensor
                    stack.enter_context(_standing_for(leaf, tensor))
                    return leaf
                if isinstance(leaf, np.ndarray):
                    return array
                return array[()] if isinstance(leaf, np.generic) else array.item()

            args = tuple(
                tree_map(substituted, arg, "") if i in self.positions else arg
                for i, arg in enumerate(self._args)
            )
            yield args, entries

    def call(self, x: np.ndarray) -> list[Any]:
        """The outputs of the function at `x`, as they come, without a tape."""
        self.evaluations += 1
        self.on_evaluation()
        with recording(False), self.handed_over(x, tape=self._as_tensors) as (args, _):
            return tree_leaves(self.f(*args))

    def flat(self, leaves: list[Any]) -> np.ndarray:
        """The outputs as one vector.

        Raises:
            CannotCheck: outputs that are not real numbers.
        """
        arrays = [np.asarray(plain(leaf)) for leaf in leaves]
        for array in arrays:
            if array.dtype.kind not in "fiubc":
                raise CannotCheck(
                    f"the function must return numbers, it returned {leaves[0]!r:.60}"
                )
        return np.concatenate([array.ravel() for array in arrays] or [np.empty(0)])

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """The outputs at `x`; NaN where the function cannot be computed."""
        try:
            y = self.flat(self.call(x))
        except CannotCheck:
            raise
        except Exception:
            # It has worked at the given point; here it is out of its domain.
            return np.full(len(self.weights), np.nan)
        if len(y) != len(self.weights):
            raise CannotCheck(
                f"the number of outputs changes with the inputs: {len(self.weights)} and {len(y)}"
            )
        return y

    def first_call(self) -> list[Any]:
        """The outputs at the given arguments, which decides on their shapes and weights.

        Functions that need Tensors (for a method of theirs) are called with Tensors from then on.

        Raises:
            Exception: whatever the function raises.
            CannotCheck: no outputs, outputs that are not real, NaN or infinity.
        """
        try:
            leaves = self.call(self.x)
        except (AttributeError, TypeError):
            self._as_tensors = True
            with contextlib.suppress(Exception):
                leaves = self.call(self.x)
                self._as_tensors = False
            if self._as_tensors:
                raise
            self._as_tensors = True
        y = self.flat(leaves)
        self.shapes = [np.shape(plain(leaf)) for leaf in leaves]
        self.y_dtype = np.result_type(*(np.asarray(plain(leaf)).dtype for leaf in leaves), "f2")
        if y.size == 0:
            raise CannotCheck(f"zero elements: the function returned shape {self.shapes}")
        if y.dtype.kind == "c":
            raise CannotCheck("the function returned complex numbers; take np.real, or np.abs")
        if not np.isfinite(y).all():
            which = "NaN" if np.isnan(y).any() else "infinity"
            raise CannotCheck(
                f"the function returned {which} in {int((~np.isfinite(y)).sum())} of {y.size} "
                f"outputs at the given inputs: there is no gradient to check"
            )
        if 0 < np.abs(y).max() < SMALLEST:
            raise CannotCheck(
                f"the outputs are as small as {np.abs(y).max():.1g}, where numbers run out: "
                f"multiply the function, and its gradient, by a large number"
            )
        # Weights of both signs and of different sizes: a sum of a softmax, say, hides every error.
        # Multiples of 1/1024, which float32 and float16 hold as they are.
        sizes = self.rng.integers(512, 2048, y.size) / 1024
        self.weights = sizes * self.rng.choice([-1.0, 1.0], y.size)
        # Large outputs would drown the others, of which those do not count that are but rounding
        # errors of a 0.
        size = np.abs(y).astype(float)
        counted = size[size > np.finfo(float).eps * size.max()]
        usual = np.quantile(counted, 0.2, method="lower") if size.any() else 1.0
        self.weights *= 2.0 ** -np.floor(np.log2(np.maximum(size / usual, 1.0)))
        if y.size == 1:
            self.weights = np.ones(1)
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])
        parts = np.split(self.weights, ends[:-1])
        self.weights_by_leaf = [w.reshape(s) for w, s in zip(parts, self.shapes, strict=True)]
        return leaves

    def number(self, y: Any) -> Any:
        """The outputs of the function contracted with the weights, on Tensors or arrays."""
        sums = []
        for leaf, w in zip(tree_leaves(y), self.weights_by_leaf, strict=True):
            if self.weights.size > 1:
                dtype = np.asarray(plain(leaf)).dtype
                leaf = leaf * w.astype(dtype if dtype.kind == "f" else float)
            sums.append(np.sum(leaf))
        return functools.reduce(operator.add, sums)

    def traced(self, x: np.ndarray, own_dtype: bool = False) -> tuple[Any, list[Entry]]:
        """The outputs of the function on a tape that remembers the lines, and the inputs on it."""
        self.evaluations += 1
        handed_over = self.handed_over(x, own_dtype, tape=True, needs_grad=True)
        with recording(True), source_lines(), handed_over as (args, entries):
            return self.f(*args), entries

    def constant_arrays(self) -> list[tuple[str, np.ndarray]]:
        """The arrays among the arguments that are not differentiated, with their names."""
        found: list[tuple[str, np.ndarray]] = []

        def note(leaf: Any, path: str) -> None:
            if not _is_input(leaf) and isinstance(leaf, (np.ndarray, Tensor)):
                found.append((path, plain(leaf)))

        names = argument_names(self.f)
        for i, arg in enumerate(self._args):
            if i in self.positions:
                tree_map(note, arg, names(i))
            elif isinstance(arg, np.ndarray):
                found.append((names(i), arg))
        return found

    def written_inputs(self) -> list[str]:
        """The names of the arguments that a call of the function changes."""
        self.evaluations += 1
        names = argument_names(self.f)
        with recording(False), self.handed_over(self.x, tape=self._as_tensors) as (args, _):
            before = tuple(tree_map(_copied, arg, "") for arg in args)
            self.f(*args)
            # The first call may have left nothing to be changed by this one.
            return [
                names(k)
                for k, (arg, kept) in enumerate(zip(args, before, strict=True))
                if not _same(arg, kept)
                or (k not in self.positions and not _same(self._args[k], self.originals[k]))
            ]

    def restored_arrays(self) -> list[str]:
        """Gives the user's own arrays their values back; the names of those that had others.

        The function is handed copies only, but may reach the originals by other ways.
        """
        changed = [(n, a, kept) for n, a, kept in self._kept if a.tobytes() != kept.tobytes()]
        for _, array, kept in changed:
            array[...] = kept
        return [name for name, _, _ in changed]


@contextlib.contextmanager
def _standing_for(tensor: Tensor, other: Tensor) -> Iterator[None]:
    """Gives a Tensor the value and the place on the tape of another, and takes them back."""
    kept = tensor._array, tensor._entry
    tensor._array, tensor._entry = other._array, other._entry
    try:
        yield
    finally:
        tensor._array, tensor._entry = kept


def _copied(leaf: Any, _: str = "") -> Any:
    return leaf.copy() if isinstance(leaf, np.ndarray) else leaf


def _same(a: Any, b: Any) -> bool:
    """Whether all arrays in two trees hold the same bits."""
    first, second = tree_leaves(a), tree_leaves(b)
    if len(first) != len(second):
        return False
    pairs = zip(first, second, strict=True)
    return all(p.tobytes() == q.tobytes() for p, q in pairs if isinstance(p, np.ndarray))


def _size(i: Input) -> int:
    return i.span.stop - i.span.start


# What is claimed to be the gradient: `claim(x, own_dtype)` is a list with whatever stands for the
# gradient of each input; the shapes have not been looked at.
Claim = Callable[[np.ndarray, bool], list[Any]]


def claimed_by_engine(subject: Subject) -> Claim:
    """The gradient that the engine computes."""

    def claim(x: np.ndarray, own_dtype: bool = False) -> list[Any]:
        y, inputs = subject.traced(x, own_dtype)
        with recording(True):
            number = subject.number(y)
        if not isinstance(number, Tensor) or not number.requires_grad or number._entry is None:
            return [np.zeros(i.shape) for i in subject.inputs]
        gradients = walk_back(reachable(number._entry), np.ones_like(number.data), inputs)
        return [
            gradients.get(entry, np.zeros(i.shape))
            for entry, i in zip(inputs, subject.inputs, strict=True)
        ]

    return claim


def tape_of(subject: Subject) -> Tape | None:
    """The tape of the function at its arguments, with lines; `None` if it cannot be recorded."""
    try:
        y, _ = subject.traced(subject.x)
        recorded = [leaf for leaf in tree_leaves(y) if isinstance(leaf, Tensor)]
        return Tape.of(*(leaf for leaf in recorded if leaf.requires_grad))
    except Exception:
        # Code that is not NumPy's has every right to fail on Tensors, in every way there is.
        return None


def claimed_by_user(
    subject: Subject,
    gradient: Callable[..., Any] | None,
    vjp: Callable[..., Any] | None,
) -> Claim:
    """The gradient that the user's own function returns; for Jacobians, contracted."""

    held: list[tuple[np.ndarray, np.ndarray]] = []

    def claim(x: np.ndarray, own_dtype: bool = False) -> list[Any]:
        with subject.handed_over(x, own_dtype, needs_grad=True) as (args, _):
            # Backward code may rely on what the forward code has left behind.
            with contextlib.suppress(*OUT_OF_DOMAIN):
                subject.evaluations += 1
                subject.f(*args)
            if vjp is not None:
                gs = [w.astype(args_dtype(own_dtype, x)) for w in subject.weights_by_leaf]
                parts = _by_input(subject, vjp(gs[0] if len(gs) == 1 else tuple(gs), *args))
            elif gradient is not None:
                parts = _by_input(subject, gradient(*args))
        subject.reuses |= any(a.tobytes() != kept.tobytes() for a, kept in held)
        held[:] = [(a, a.copy()) for a in map(plain, parts) if isinstance(a, np.ndarray)]
        if vjp is not None:
            return parts
        pairs = zip(subject.inputs, parts, strict=True)
        return [_contracted(subject, i, part) for i, part in pairs]

    def args_dtype(own_dtype: bool, x: np.ndarray) -> Any:
        return np.result_type(*(i.dtype for i in subject.inputs)) if own_dtype else x.dtype

    return claim


def _contracted(subject: Subject, i: Input, part: Any) -> Any:
    """A Jacobian or an elementwise derivative times the weights of the outputs."""
    if subject.weights.size == 1 or part is None:
        return part
    if len(subject.shapes) > 1:
        raise CannotCheck(
            f"the function returns {len(subject.shapes)} values, and a gradient is of one: return "
            f"the loss alone, or pass vjp=lambda g, *args: ... with one g for each of them"
        )
    (shape,), (w,) = subject.shapes, subject.weights_by_leaf
    part = np.asarray(plain(part))
    if part.shape == shape + i.shape:
        return np.tensordot(w, part, axes=w.ndim)
    if part.shape == i.shape == shape:
        subject.elementwise.add(i.name)
        return w * part
    raise CannotCheck(
        f"the function returns shape {shape}, so that its gradient by {i.name}, of shape "
        f"{i.shape}, is a Jacobian of shape {shape + i.shape}"
        + (f", or for an elementwise function of shape {shape}" if shape == i.shape else "")
        + f"; got shape {part.shape}. Pass vjp=lambda g, *args: ... for a function that takes the "
        f"gradient of the output, or add the outputs up"
    )


def _by_input(subject: Subject, result: Any) -> list[Any]:
    """What the user's function returned, by input.

    Raises:
        CannotCheck: a structure that does not fit the arguments.
    """
    names = argument_names(subject.f)
    positions = subject.positions
    called = [names(i) for i in positions]
    if isinstance(result, tuple) and len(result) == len(subject.originals) > len(positions):
        others = [part for k, part in enumerate(result) if k not in positions]
        if all(part is None for part in others):
            result = tuple(result[k] for k in positions)
    if isinstance(result, dict) and not isinstance(subject.originals[positions[0]], dict):
        missing = [name for name in called if name not in result]
        if missing:
            raise CannotCheck(
                f"the gradient has the keys {list(result)} and lacks {', '.join(missing)}"
            )
        trees = [result[name] for name in called]
    elif len(positions) > 1 or (
        isinstance(result, tuple)
        and len(result) == 1
        and not isinstance(subject.originals[positions[0]], (tuple, list))
    ):
        if not isinstance(result, (tuple, list)) or len(result) != len(positions):
            count = len(result) if isinstance(result, (tuple, list)) else "a single value"
            raise CannotCheck(
                f"the gradient must be a tuple with one gradient for each of {', '.join(called)}; "
                f"it is {count}{' long' if isinstance(count, int) else ''}. Say which arguments "
                f"are differentiated with argnums="
            )
        trees = list(result)
    else:
        trees = [result]
    parts: list[Any] = []
    for i, tree in zip(positions, trees, strict=True):
        _collect(subject.originals[i], tree, names(i), parts)
    return parts


def _collect(arg: Any, gradient: Any, path: str, parts: list[Any]) -> None:
    """Walks an argument and its gradient side by side."""
    if isinstance(arg, dict):
        for key, item in arg.items():
            if not isinstance(gradient, dict) or key not in gradient:
                raise CannotCheck(f"the gradient has no entry for {path}[{key!r}]")
            _collect(item, gradient[key], f"{path}[{key!r}]", parts)
    elif isinstance(arg, (tuple, list)):
        if not isinstance(gradient, (tuple, list)) or len(gradient) != len(arg):
            raise CannotCheck(f"the gradient of {path} must have {len(arg)} parts, as {path} has")
        for k, (item, part) in enumerate(zip(arg, gradient, strict=True)):
            _collect(item, part, f"{path}[{k}]", parts)
    elif _is_input(arg):
        parts.append(plain(gradient))
