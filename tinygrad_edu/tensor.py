"""Tensor: a NumPy array and the tape entry that made it.

Whatever NumPy code does to a Tensor goes through `record`: it computes the result with NumPy and,
if a gradient may be wanted, writes one entry on the tape. NumPy hands its own functions over by
the protocols `__array_ufunc__` (NEP 13) and `__array_function__` (NEP 18); Tensor's operators and
methods, and the primitives of the rule book, come here directly.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tinygrad_edu.calculus  # noqa: F401  (fills the rule book)
from tinygrad_edu.calculus.indexing import getitem
from tinygrad_edu.calculus.shapes import astype
from tinygrad_edu.rules import COMPOSITIONS, CONSTANTS, PRIMITIVES, Primitive, numpy_name
from tinygrad_edu.tape import Entry, reachable, walk_back

__all__ = ["Tensor", "no_grad", "record"]


class _Mode(threading.local):
    """Whether operations are recorded, and with their lines, in each thread for itself."""

    def __init__(self) -> None:
        self.on = True
        self.outer: list[bool] = []
        self.with_lines = False


_mode = _Mode()


class recording:
    """A context, or a decorator, in which recording is switched on or off."""

    def __init__(self, on: bool):
        self._on = on

    def __enter__(self) -> None:
        _mode.outer.append(_mode.on)
        _mode.on = self._on

    def __exit__(self, *_: object) -> None:
        _mode.on = _mode.outer.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **keywords: Any) -> Any:
            with recording(self._on):
                return function(*args, **keywords)

        return wrapped


def no_grad(function: Callable[..., Any] | None = None) -> Any:
    """A context, or a decorator of `function`, in which nothing is recorded in this thread.

    Example:
        >>> x = Tensor(2.0, requires_grad=True)
        >>> with no_grad():
        ...     y = x * x
        >>> y.requires_grad
        False
    """
    return recording(False) if function is None else recording(False)(function)


@contextlib.contextmanager
def source_lines() -> Iterator[None]:
    """A context in which entries remember the line of the user's code that made them."""
    outer, _mode.with_lines = _mode.with_lines, True
    try:
        yield
    finally:
        _mode.with_lines = outer


_OURS = os.path.dirname(__file__) + os.sep
_NUMPYS = os.path.dirname(np.__file__) + os.sep


def _users_line() -> tuple[str, int] | None:
    """The file and line of the innermost call that is neither the engine's nor NumPy's."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith((_OURS, _NUMPYS)):
        frame = frame.f_back  # type: ignore[assignment]
    return None if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def record(primitive: Primitive, args: tuple[Any, ...], keywords: dict[str, Any]) -> Tensor:
    """Computes `primitive(*args, **keywords)` and writes it on the tape if a gradient flows.

    Raises:
        ValueError, TypeError, IndexError: from NumPy, with the operation and the shapes named.
        NotImplementedError: an input that needs a gradient and has no derivative rule.
    """
    values = []
    inputs = []
    needed = bare = False
    for argument in args:
        if isinstance(argument, Tensor):
            values.append(argument._array)
            entry = argument._entry
            inputs.append(entry)
            if entry is None:
                bare = True
            elif entry.requires_grad:
                needed = True
        else:
            if type(argument) not in _AS_THEY_ARE:
                argument = _constant(argument, primitive, len(values))
            values.append(argument)
            inputs.append(None)
    try:
        y = primitive.forward(*values, **keywords)
    except (ValueError, TypeError, IndexError) as error:
        raise _explained(error, primitive, values) from error
    if type(y) is not np.ndarray:
        y = np.asarray(y)
    result = _new(Tensor)
    result._array = y
    if needed and _mode.on:
        if y.dtype.kind != "f" or len(primitive.rules) < len(inputs):
            _check_recordable(primitive, inputs, y)
        if bare:
            # A constant that is read by the tape stands on it, so that a change is noticed.
            inputs = [a._own_entry() if isinstance(a, Tensor) else None for a in args]
        result._entry = Entry(primitive, values, inputs, keywords, y)
        if _mode.with_lines:
            result._entry.where = _users_line()
    else:
        # Off the tape nothing notices that another tensor's memory is read: it gets its own.
        result._array = y if y.base is None else y.copy()
        result._entry = None
    return result


_AS_THEY_ARE = frozenset((np.ndarray, float, int, bool, type(None)))
_new = object.__new__


def _constant(argument: Any, primitive: Primitive, position: int) -> Any:
    """An argument that is not a Tensor, as an array if it stands where an array is read."""
    read = primitive.every is not None or position < len(primitive.rules)
    return argument if isinstance(argument, np.generic) or not read else as_array(argument)


def _check_recordable(primitive: Primitive, inputs: list[Entry | None], y: np.ndarray) -> None:
    """Raises for an input without a rule, and for an output that can have no gradient."""
    for position, entry in enumerate(inputs):
        if entry is not None and entry.requires_grad:
            primitive.rule(position)
    if y.dtype.kind != "f":
        raise TypeError(
            f"{primitive.name} of a Tensor that needs a gradient gave dtype {y.dtype}: gradients "
            f"are for floating-point values; use x.numpy() if none shall flow through it"
        )


def _explained(error: Exception, primitive: Primitive, values: list[Any]) -> Exception:
    """The error with the operation and the shapes that it was given in front."""
    shapes = [str(v.shape) if isinstance(v, np.ndarray) else repr(v)[:60] for v in values]
    kinds = (np.exceptions.AxisError, IndexError, TypeError, ValueError)
    kind = next(kind for kind in kinds if isinstance(error, kind))
    return kind(f"{primitive.name} of {' and '.join(shapes)}: {error}")


def as_array(value: Any) -> np.ndarray:
    """The value as an array.

    Raises:
        TypeError: an array of a kind whose arithmetic is its own: masked arrays, matrices.
    """
    if isinstance(value, np.ndarray) and type(value) not in (np.ndarray, np.memmap):
        raise TypeError(
            f"{type(value).__name__} computes in ways of its own; pass np.asarray(x), or for a "
            f"masked array x.filled(...)"
        )
    return np.asarray(value)


def plain(value: Any) -> Any:
    """The value with every Tensor in it, also inside tuples, lists and dicts, as an array."""
    if isinstance(value, Tensor):
        return value._array
    if type(value) in (tuple, list):
        return type(value)(map(plain, value))
    if type(value) is dict:
        return {key: plain(item) for key, item in value.items()}
    return value


def _unary(function: Any) -> Any:
    """A unary operator of Tensor that records the NumPy function."""
    primitive = PRIMITIVES[function]
    return lambda self: record(primitive, (self,), {})


def _in_place(function: Any) -> Any:
    """An operator such as `-=`: a new Tensor for the name, as with any other value.

    Inside `no_grad()` it changes the data of an input that needs a gradient: that is how one
    writes the update `w -= lr * w.grad`, and `w` goes on being the parameter.
    """
    primitive = PRIMITIVES[function]

    def operator(self: Tensor, other: Any) -> Tensor:
        if _mode.on or not (self.is_leaf and self.requires_grad):
            return record(primitive, (self, other), {})
        self.data = function(self._array, plain(other))
        return self

    return operator


def _operator(function: Any, swapped: bool = False) -> Any:
    """A binary operator of Tensor that records the NumPy function."""
    primitive = PRIMITIVES[function]
    if swapped:
        return lambda self, other: record(primitive, (other, self), {})
    return lambda self, other: record(primitive, (self, other), {})


def _comparison(function: Any) -> Any:
    """A comparison operator: a plain boolean array, since its derivative is 0."""
    return lambda self, other: function(self._array, plain(other))


def _method(function: Any, *names: str) -> Any:
    """A method of Tensor that records the NumPy function with arguments of these names."""
    primitive = PRIMITIVES[function]

    def method(self: Tensor, *args: Any, **keywords: Any) -> Tensor:
        keywords.update(zip(names, args, strict=False))
        if len(args) > len(names):
            takes = ", ".join(names) or "no arguments"
            raise TypeError(f"Tensor.{function.__name__} takes {takes}; got {args}")
        return record(primitive, (self,), primitive.understood((self,), keywords))

    method.__doc__ = f"The same as `np.{function.__name__}({', '.join(('x', *names))})`."
    return method


class Tensor:
    """An array that remembers how it was computed.

    Args:
        data: anything that `np.array` takes; it is copied, so that later changes to the caller's
            own array do no harm. The dtype is kept.
        requires_grad: whether gradients with respect to this tensor are wanted; then the data
            must be floating-point.
        name: a name for error messages and for the tape.

    Raises:
        TypeError: data that is not numeric, or not floating-point with `requires_grad=True`.

    Example:
        >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
        >>> y = (x * x).sum()
        >>> y.backward()
        >>> x.grad
        array([2., 4., 6.])
    """

    __slots__ = ("_array", "_entry")
    _array: np.ndarray
    _entry: Entry | None

    def __init__(self, data: Any, requires_grad: bool = False, name: str | None = None):
        self._array = _checked(data, requires_grad, name)
        self._entry = Entry.of_input(self._array, requires_grad, name)

    __record__ = staticmethod(record)

    # The value.

    @property
    def data(self) -> np.ndarray:
        """The array; read-only if it was computed on a tape."""
        return self._array if self.is_leaf else _read_only(self._array)

    @data.setter
    def data(self, value: Any) -> None:
        if self._entry is not None and not self.is_leaf:
            raise RuntimeError(
                f"this tensor is the result of {self._entry.primitive.name}; changing it would "
                f"make its tape wrong. Use x = x.detach() to go on without the tape"
            )
        if value is not self._array:  # as it is after x.data -= ...
            value = as_array(plain(value))
            if not np.can_cast(value.dtype, self.dtype, "same_kind"):
                raise TypeError(
                    f"the data of {self.name or 'a tensor'} has dtype {self.dtype} and cannot hold "
                    f"dtype {value.dtype}"
                )
            value = np.array(value, self.dtype)
            if value.shape != self._array.shape:
                raise ValueError(
                    f"the data of {self.name or 'a tensor'} has shape {self._array.shape} and "
                    f"cannot become shape {value.shape}; make a new Tensor for another shape"
                )
            self._array = value
        if self._entry is not None:
            self._entry.set_value(value)

    @property
    def grad(self) -> Any:
        """The gradient that backward() calls have accumulated, an array, or None.

        After `backward(create_graph=True)` it is a Tensor, which can be differentiated again.
        """
        return None if self._entry is None else self._entry.grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if self._entry is None or not (self.is_leaf and self.requires_grad):
            if value is not None:
                raise RuntimeError("only an input with requires_grad=True has a gradient")
            return
        if value is not None and np.shape(value) != self.shape:
            raise ValueError(f"a tensor of shape {self.shape} has no gradient of {np.shape(value)}")
        keeps = value is None or isinstance(value, Tensor)
        self._entry.grad = value if keeps else np.array(value, self.dtype)

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow back to or through this tensor."""
        return self._entry is not None and self._entry.requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not self.is_leaf:
            raise RuntimeError(
                "requires_grad can only be set on inputs; use x.detach() for a copy without tape"
            )
        _check_dtype(self._array.dtype, value, self.name)
        entry = self._own_entry()
        if value and not entry.requires_grad:
            # What has read it as a constant would give a part of its gradient only.
            entry.set_value(self._array)
        entry.requires_grad = bool(value)
        if not value:
            entry.grad = None  # or an optimiser would go on with it

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made this tensor; only leaves have a `.grad`."""
        return self._entry is None or self._entry.primitive is None

    @property
    def is_input(self) -> bool:
        """Whether the tensor was made by `Tensor(...)` and not by an operation."""
        return self._entry is not None and self._entry.primitive is None

    @property
    def name(self) -> str | None:
        """The user's name for this tensor."""
        return None if self._entry is None else self._entry.name

    @name.setter
    def name(self, value: str | None) -> None:
        self._own_entry().name = value

    def _own_entry(self) -> Entry:
        """The entry; a result that was not recorded gets one when it is first read by a tape."""
        if self._entry is None:
            self._entry = Entry.of_input(self._array, requires_grad=False)
        return self._entry

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return self._array.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._array.ndim

    @property
    def size(self) -> int:
        """The number of values."""
        return self._array.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype."""
        return self._array.dtype

    def item(self) -> float:
        """The only value of a tensor of size 1, as a Python number, off the tape."""
        return self._array.item()

    def numpy(self) -> np.ndarray:
        """The value as a plain array, off the tape; read-only if a gradient is wanted of it."""
        return _read_only(self._array) if self.requires_grad else self._array

    def detach(self) -> Tensor:
        """The value as a new Tensor that needs no gradient."""
        return Tensor(self._array)

    # The gradient.

    def __reduce__(self) -> Any:
        if not self.is_leaf:
            raise TypeError(
                "the result of a recorded operation cannot be copied or pickled with its tape: "
                "use x.detach()"
            )
        return _restored, (self._array, self.requires_grad, self.name, plain(self.grad))

    def zero_grad(self) -> None:
        """Forgets the accumulated gradient."""
        if self._entry is not None:
            self._entry.grad = None

    def backward(
        self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False
    ) -> None:
        """Adds the gradient of this tensor to `.grad` of every input that it was computed from.

        Args:
            gradient: the weights of the outputs, of the tensor's own shape; 1 for a single value.
            retain_graph: keep the tape for another backward pass; as a rule it is freed.
                Defaults to `create_graph`.
            create_graph: record the backward pass too, so that `.grad` can be differentiated.
                The gradient then holds the tape and the tape the gradient: `zero_grad()` parts
                them, or else the garbage collector does.

        Raises:
            RuntimeError: the tensor needs no gradient, has several values and no `gradient` was
                given, its tape was freed, or an input was changed since it was read.
            ValueError, TypeError: a `gradient` of another shape, or not of real numbers.

        Example:
            >>> x = Tensor([1.0, 2.0], requires_grad=True)
            >>> (x * x).backward(gradient=[1.0, 10.0])
            >>> x.grad
            array([ 2., 40.])
        """
        if not self.requires_grad or self._entry is None:
            raise RuntimeError(
                "backward() on a tensor that needs no gradient: it was not computed from any "
                "Tensor with requires_grad=True, or inside no_grad()"
            )
        retain = create_graph if retain_graph is None else retain_graph
        seed = self._seed(gradient)
        if create_graph:
            with recording(True):
                lifted = gradient if isinstance(gradient, Tensor) else Tensor(seed)
                gradients = walk_back(reachable(self._entry), lifted, lift=lift, retain=retain)
        else:
            gradients = walk_back(reachable(self._entry), seed, retain=retain)
        for entry, g in gradients.items():
            if entry.grad is not None:
                g = entry.grad + g
            entry.grad = g if isinstance(g, Tensor) else np.asarray(g)

    def _seed(self, gradient: Any) -> np.ndarray:
        """The gradient at the output, checked, in the tensor's dtype and an array of its own."""
        if gradient is None:
            if self._array.size != 1:
                raise RuntimeError(
                    f"backward() without a gradient needs a single value, this tensor has shape "
                    f"{self.shape}: take a sum or mean first, or pass gradient= of that shape"
                )
            return np.ones(self.shape, self.dtype)
        seed = np.asarray(plain(gradient))
        if seed.shape != self.shape:
            raise ValueError(f"gradient has shape {seed.shape}, the tensor has shape {self.shape}")
        if seed.dtype.kind not in "fiub":
            raise TypeError(f"gradient must hold real numbers, got dtype {seed.dtype}")
        return np.array(seed, self.dtype)

    # NumPy's protocols.

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Any:
        if method != "__call__":
            raise _no_rule(f"np.{ufunc.__name__}.{method}")
        return self.__array_function__(ufunc, (), inputs, keywords)

    def __array_function__(self, function: Any, types: Any, args: Any, keywords: Any) -> Any:
        if keywords.get("out") is not None:
            raise TypeError(
                f"np.{function.__name__} with out= (or a += b on an array) would overwrite "
                f"values without the tape noticing: write a = np.{function.__name__}(...)"
            )
        if function in CONSTANTS:
            return function(*plain(args), **plain(keywords))
        if function in COMPOSITIONS:
            return COMPOSITIONS[function](*args, **keywords)
        if function not in PRIMITIVES:
            raise _no_rule(numpy_name(function))
        primitive = PRIMITIVES[function]
        if any(isinstance(value, Tensor) for value in keywords.values()):
            raise TypeError(f"{primitive.name}: pass Tensors by position, not by keyword")
        return record(primitive, args, primitive.understood(args, keywords))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        self._refuse_to_leave("turning a recorded Tensor into an array")
        return np.array(self.numpy(), dtype, copy=copy)

    def __float__(self) -> float:
        self._refuse_to_leave("float() of a recorded Tensor")
        return float(self.item())

    def _refuse_to_leave(self, what: str) -> None:
        if self.requires_grad and _mode.on:
            raise TypeError(
                f"{what} would lose its gradient without a word. To stay on the tape use NumPy "
                f"functions (np.exp, not math.exp; np.stack, not filling an array); to leave it "
                f"use x.item(), x.numpy() or x.detach()"
            )

    # Operators.

    __add__, __radd__ = _operator(np.add), _operator(np.add, swapped=True)
    __sub__, __rsub__ = _operator(np.subtract), _operator(np.subtract, swapped=True)
    __mul__, __rmul__ = _operator(np.multiply), _operator(np.multiply, swapped=True)
    __truediv__, __rtruediv__ = _operator(np.divide), _operator(np.divide, swapped=True)
    __pow__, __rpow__ = _operator(np.power), _operator(np.power, swapped=True)
    __matmul__, __rmatmul__ = _operator(np.matmul), _operator(np.matmul, swapped=True)
    __iadd__, __isub__ = _in_place(np.add), _in_place(np.subtract)
    __imul__, __itruediv__ = _in_place(np.multiply), _in_place(np.divide)
    __neg__, __pos__, __abs__ = _unary(np.negative), _unary(np.positive), _unary(np.absolute)
    __lt__, __le__ = _comparison(np.less), _comparison(np.less_equal)
    __gt__, __ge__ = _comparison(np.greater), _comparison(np.greater_equal)
    __eq__, __ne__ = _comparison(np.equal), _comparison(np.not_equal)
    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        return bool(self._array)

    def __int__(self) -> int:
        return int(self.item())

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self._array)))

    def __getitem__(self, index: Any) -> Tensor:
        parts = tuple(map(_index, index)) if isinstance(index, tuple) else _index(index)
        return record(getitem, (self, parts), {})

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError(
            "a Tensor cannot be assigned to by item. To choose between values write "
            "np.where(mask, value, x), to put rows together np.stack([...]) or "
            "np.concatenate([...]); to change a parameter between steps w.data[index] = value"
        )

    def __getattr__(self, name: str) -> Any:
        hint = f"; write np.{name}(x)" if callable(getattr(np, name, None)) else ""
        raise AttributeError(f"Tensor has no attribute {name!r}{hint}")

    def __repr__(self) -> str:
        text = np.array2string(self._array, separator=", ", prefix="Tensor(")
        extras = [f"dtype={self.dtype}"] if self.dtype != np.float64 else []
        if self._entry is not None:
            if self._entry.primitive is not None:
                extras.append(f"from {self._entry.primitive.name}")
            elif self._entry.requires_grad:
                extras.append("requires_grad=True")
            if self._entry.name:
                extras.append(f"name={self._entry.name!r}")
        return f"Tensor({', '.join([text, *extras])})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    # Methods of arrays.

    sum = _method(np.sum, "axis", "dtype", "out", "keepdims")
    mean = _method(np.mean, "axis", "dtype", "out", "keepdims")
    max = _method(np.max, "axis", "out", "keepdims")
    min = _method(np.min, "axis", "out", "keepdims")
    squeeze = _method(np.squeeze, "axis")
    ravel = _method(np.ravel)
    copy = _method(np.copy)
    dot = _operator(np.dot)

    @property
    def T(self) -> Tensor:
        """The transpose: all axes in reverse order."""
        return record(PRIMITIVES[np.transpose], (self,), {})

    def transpose(self, *axes: Any) -> Tensor:
        """The axes in another order; without arguments in reverse order."""
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
        return record(PRIMITIVES[np.transpose], (self, order), {})

    def reshape(self, *shape: Any) -> Tensor:
        """The same values in another shape, in C order; -1 stands for what is left."""
        new = shape[0] if len(shape) == 1 else shape
        return record(PRIMITIVES[np.reshape], (self, new), {})

    def astype(self, dtype: Any) -> Tensor:
        """The values in another dtype; the gradient comes back in this one.

        Integers have no gradient: `x.astype(int)` is a Tensor off the tape.
        """
        kind = np.dtype(dtype).kind
        if kind == "c" and self.requires_grad:
            raise TypeError(f"there are no gradients of complex numbers: astype({dtype!r})")
        if kind != "f":
            return Tensor(self._array.astype(dtype))
        return record(astype, (self, dtype), {})

    def argmax(self, axis: int | None = None) -> Any:
        """The position of the largest value along an axis: a plain array of integers."""
        return np.argmax(self._array, axis=axis)

    def argmin(self, axis: int | None = None) -> Any:
        """The position of the smallest value along an axis: a plain array of integers."""
        return np.argmin(self._array, axis=axis)


def _index(part: Any) -> Any:
    """One part of an index: whatever holds several positions as an array of the tape's own."""
    if part is None or part is Ellipsis or isinstance(part, (slice, int, np.integer)):
        return part
    if isinstance(part, Tensor):
        if part.requires_grad:
            raise TypeError("a Tensor that needs a gradient cannot be an index; use x.numpy()")
        part = part._array
    array = np.array(part)
    return array.astype(np.intp) if array.size == 0 and array.dtype != bool else array


def _checked(data: Any, requires_grad: bool, name: str | None) -> np.ndarray:
    """A copy of the data as an array of numbers."""
    try:
        array = np.array(as_array(data))
    except ValueError as error:
        raise ValueError(f"cannot make a Tensor of this data: {error}") from error
    _check_dtype(array.dtype, requires_grad, name)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _check_dtype(dtype: np.dtype[Any], requires_grad: bool, name: str | None) -> None:
    """Raises TypeError for a dtype that a Tensor cannot have."""
    who = f"tensor {name!r}" if name else "a Tensor"
    if dtype.kind not in "fiubc":
        raise TypeError(f"{who} must hold numbers, got dtype {dtype}")
    if requires_grad and dtype.kind != "f":
        raise TypeError(
            f"{who} with requires_grad=True must be floating-point, got dtype {dtype}: "
            f"convert the data first, as in np.asarray(data, dtype=float)"
        )


def _restored(data: np.ndarray, requires_grad: bool, name: str | None, grad: Any) -> Tensor:
    """A Tensor from a copy or a pickle, with a place of its own in the order of this process."""
    tensor = Tensor(data, requires_grad, name)
    tensor._own_entry().grad = grad
    return tensor


def _read_only(data: np.ndarray) -> np.ndarray:
    view = data.view()
    view.flags.writeable = False
    return view


def lift(entry: Entry, value: np.ndarray) -> Tensor:
    """The value of an entry as a Tensor that stands on the tape at that entry."""
    tensor = _new(Tensor)
    tensor._array = value
    tensor._entry = entry
    return tensor


def _no_rule(name: str) -> NotImplementedError:
    return NotImplementedError(
        f"{name} has no derivative rule. Add one with "
        f"tg.derivative({name}, lambda g, y, x: ...), one function for each input, wrap your own "
        f"code with @tg.primitive, or pass x.numpy() if no gradient shall flow through it"
    )


# A backward pass frees its arrays at once, and glibc then hands the memory back to the system, only
# to fault it in again at the next step, which costs a third of the step of a small net. Freeing one
# large block tells glibc that blocks of this size come and go here, and it keeps the memory.
np.empty(2**24, np.uint8)
