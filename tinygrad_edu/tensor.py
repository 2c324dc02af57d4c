"""Tensor: a NumPy array and the tape entry that made it.

Whatever NumPy code does to a Tensor goes through `record`: it computes the result with NumPy and,
if a gradient may be wanted, writes one entry on the tape. NumPy hands its own functions over by
the protocols `__array_ufunc__` (NEP 13) and `__array_function__` (NEP 18); Tensor's operators and
methods, and the primitives of the rule book, come here directly.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

import tinygrad_edu.calculus  # noqa: F401  (fills the rule book)
from tinygrad_edu.calculus.indexing import getitem, scatter_add, setitem
from tinygrad_edu.calculus.shapes import astype
from tinygrad_edu.recording import mode, new_entry, recording
from tinygrad_edu.rules import COMPOSITIONS, CONSTANTS, PRIMITIVES, Primitive, numpy_name
from tinygrad_edu.tape import Argument, Entry, reachable
from tinygrad_edu.walk import walk_back

__all__ = ["Tensor", "record"]


def record(primitive: Primitive, args: tuple[Any, ...], keywords: dict[str, Any]) -> Tensor:
    """Computes `primitive(*args, **keywords)` and writes it on the tape if a gradient flows.

    Raises:
        ValueError, TypeError, IndexError: from NumPy, with the operation and the shapes named.
        NotImplementedError: an input that needs a gradient and has no derivative rule.
    """
    usual = mode.usual
    if not usual and mode.trace is not None:
        return mode.trace.record(primitive, args, keywords)
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
            if type(argument) is np.ndarray:
                if usual and argument.nbytes <= _SMALL:
                    argument = argument.copy()
            elif type(argument) not in _AS_THEY_ARE:
                argument = _constant(argument, primitive, len(values))
            values.append(argument)
            inputs.append(None)
    if keywords and usual:
        keywords = {name: _own_if_small(value) for name, value in keywords.items()}
    kept = None
    try:
        if primitive.keep is None or not (needed and usual):
            y = primitive.forward(*values, **keywords)
        else:
            y, kept = primitive.keep(*values, **keywords)
    except (ValueError, TypeError, IndexError) as error:
        raise _explained(error, primitive, values) from error
    if type(y) is not np.ndarray:
        y = np.asarray(y)
    shows_memory = primitive.view and _shows(y, values[0], args[0])
    result: Tensor = View(primitive, args, keywords) if shows_memory else _new(Tensor)
    if needed and (usual or mode.on):
        if y.dtype.kind != "f" or len(primitive.rules) < len(inputs):
            _check_recordable(primitive, inputs, y)
        if bare:
            # A constant that is read by the tape stands on it, so that a change is noticed.
            inputs = [a._own_entry() if isinstance(a, Tensor) else None for a in args]
        make = Entry if usual else new_entry
        result._array = y
        entry = result._entry = make(primitive, values, inputs, keywords, y)
        if kept is not None:
            entry.kept = kept
    else:
        if not usual:
            new_entry(primitive, values, inputs, keywords, y)  # which checks it in debug mode
        # Off the tape nothing notices that another tensor's memory is read: it gets its own.
        result._array = y.copy() if shows_memory or y.base is not None else y
        result._entry = None
    return result


# What takes no longer to copy than an operation does anyway is copied, so that the caller may write
# into it at any time. In larger arrays only debug() notices that.
_SMALL = 2**15
_AS_THEY_ARE = frozenset((float, int, bool, type(None)))
_new = object.__new__


def _constant(argument: Any, primitive: Primitive, position: int) -> Any:
    """An argument that is not a Tensor, as an array if it stands where an array is read."""
    if isinstance(argument, (np.generic, slice)):
        return argument
    if primitive.every is not None or position < len(primitive.rules):
        return _own_if_small(as_array(argument))
    return list(argument) if isinstance(argument, list) else argument


def _own_if_small(value: Any) -> Any:
    """A copy of an array, unless it is large."""
    return value.copy() if isinstance(value, np.ndarray) and value.nbytes <= _SMALL else value


def _shows(y: np.ndarray, x: np.ndarray, of: Any) -> bool:
    """Whether `y` shares its memory with `x`, which is not a mere number in NumPy."""
    return np.may_share_memory(y, x) and (x.ndim > 0 or isinstance(of, View))


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
    kinds = (np.linalg.LinAlgError, np.exceptions.AxisError, IndexError, TypeError, ValueError)
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


def _in_place(operator: Any, name: str) -> Any:
    """An operator such as `-=`, which changes the value of a tensor for all its names.

    As in NumPy the result keeps its shape and dtype. Inside `no_grad()` it changes the data of an
    input that needs a gradient: that is how one writes the update `w -= lr * w.grad`.
    """

    def in_place(self: Tensor, other: Any) -> Any:
        new = operator(self, other)
        if new.ndim == 0 and not isinstance(self, View) and not self._is_parameter:
            return new  # in NumPy this is no array but a number, which cannot be changed
        self._take(new, name)
        return self

    return in_place


def _operator(function: Any, swapped: bool = False) -> Any:
    """A binary operator of Tensor that records the NumPy function."""
    primitive = PRIMITIVES[function]
    if swapped:
        return lambda self, other: record(primitive, (other, self), {})
    return lambda self, other: record(primitive, (self, other), {})


def _constant_operator(function: Any, swapped: bool = False) -> Any:
    """An operator such as a comparison: a plain array, since its derivative is 0."""
    if swapped:
        return lambda self, other: _constant_of(function, (other, self), {})
    return lambda self, other: _constant_of(function, (self, other), {})


def _constant_of(function: Any, args: Any, keywords: dict[str, Any]) -> Any:
    """The result of a function whose derivative is 0: a plain array, unless all is traced."""
    if mode.trace is not None:
        return mode.trace.constant(function, args, keywords)
    return function(*plain(args), **plain(keywords))


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


def _as_in_numpy(function: Any, swapped: bool = False) -> Any:
    """A method of Tensor that is called as the NumPy function is."""

    def method(self: Tensor, *args: Any, **keywords: Any) -> Any:
        return function(*args, self) if swapped else function(self, *args, **keywords)

    method.__doc__ = f"The same as `np.{function.__name__}(x, ...)`."
    return method


class GradientLost(TypeError):
    """A recorded Tensor was about to become a plain number or array without a word."""


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
        """The array; read-only if it was computed on a tape.

        Writing into it changes the tensor. If a tape has read it before, its backward() will say
        so, unless the array was at hand before that: only `debug()` notices that.
        """
        _leaves_trace("x.data")
        if not self.is_leaf:
            return _read_only(self._array)
        if self._entry is not None and _holders(self) > _ALONE:
            self._entry.show()
        return self._array

    @data.setter
    def data(self, value: Any) -> None:
        if mode.trace is not None:
            mode.trace.check_assignable(self)
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
        _leaves_trace("x.grad")
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

    def item(self, *index: int) -> float:
        """The only value as a Python number, off the tape; of constants also that at an index."""
        _leaves_trace("x.item()")
        if index:
            self._refuse_to_leave("reading a number at an index with item()")
        return self._array.item(*index)

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        self._refuse_to_leave("turning a recorded Tensor into a list")
        return self._array.tolist()

    def numpy(self) -> np.ndarray:
        """The value as a plain array, off the tape; read-only if a gradient is wanted of it."""
        _leaves_trace("x.numpy()")
        return _read_only(self._array) if self.requires_grad else self.data

    def detach(self) -> Tensor:
        """The value as a new Tensor that needs no gradient."""
        if mode.trace is not None:
            with recording(False):
                return self.copy()
        return Tensor(self._array)

    # The gradient.

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self.requires_grad and not self._is_parameter:
            return self.copy()
        function, parts = self.__reduce__()
        return function(*parts)

    def __copy__(self) -> Tensor:
        return self.__deepcopy__({})

    def __reduce__(self) -> Any:
        if self.requires_grad and not self._is_parameter:
            raise TypeError(
                "the result of a recorded operation cannot be pickled with its tape: use x.detach()"
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
        _leaves_trace("x.backward()")
        if not self.requires_grad or self._entry is None:
            raise RuntimeError(
                "backward() on a tensor that needs no gradient: it was not computed from any "
                "Tensor with requires_grad=True, or inside no_grad()"
            )
        retain = create_graph if retain_graph is None else retain_graph
        seed = self._seed(gradient)
        entries = reachable(self._entry)
        if create_graph:
            with recording(True):
                lifted = gradient if isinstance(gradient, Tensor) else Tensor(seed)
                gradients = walk_back(entries, lifted, lift=lift, retain=retain, watch=mode.watched)
        else:
            gradients = walk_back(entries, seed, retain=retain, watch=mode.watched)
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
        if method == "__call__":
            return self.__array_function__(ufunc, (), inputs, keywords)
        if ufunc in CONSTANTS:
            return _constant_of(getattr(ufunc, method), inputs, keywords)
        if method == "outer":
            a, b = inputs
            return ufunc(np.reshape(a, np.shape(a) + (1,) * np.ndim(b)), b, **keywords)
        if method == "at" and ufunc is np.add and isinstance(inputs[0], Tensor):
            x, index, values = inputs
            index = _parts(index)
            values = np.broadcast_to(values, np.shape(x._array[index]))
            return x._take(x + scatter_add(values, index, x.shape), "np.add.at")
        if method == "at":
            raise TypeError(
                f"np.{ufunc.__name__}.at would write a recorded Tensor into a plain array, where "
                f"its gradient is lost: make the array a Tensor first, a = tg.Tensor(a), for which "
                f"there is np.add.at"
            )
        if (ufunc, method) in _UFUNC_METHODS:
            return _UFUNC_METHODS[ufunc, method](*inputs, **{"axis": 0, **keywords})
        if method in ("reduce", "accumulate") and ufunc in _ONE_BY_ONE:
            return _one_by_one(ufunc, method, *inputs, **keywords)
        raise _no_rule(f"{numpy_name(ufunc)}.{method}")

    def __array_function__(self, function: Any, types: Any, args: Any, keywords: Any) -> Any:
        if keywords.get("out") is not None:
            return _write_out(function, args, dict(keywords))
        if function in CONSTANTS:
            return _constant_of(function, args, keywords)
        if function in COMPOSITIONS:
            return COMPOSITIONS[function](*args, **keywords)
        if function not in PRIMITIVES:
            raise _no_rule(numpy_name(function))
        primitive = PRIMITIVES[function]
        if keywords and any(isinstance(value, Tensor) for value in keywords.values()):
            if mode.trace is not None:
                args, keywords = mode.trace.by_position(primitive, args, keywords)
            else:
                args, keywords = _by_position(primitive, args, dict(keywords))
        return record(primitive, args, primitive.understood(args, keywords))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        self._refuse_to_leave("turning a recorded Tensor into an array")
        return np.array(self.numpy(), dtype, copy=copy)

    def __float__(self) -> float:
        self._refuse_to_leave("float() of a recorded Tensor")
        return float(self.item())

    def _refuse_to_leave(self, what: str) -> None:
        _leaves_trace(what)
        if self.requires_grad and mode.on:
            raise GradientLost(
                f"{what} would lose its gradient without a word. To stay on the tape use NumPy "
                f"functions: np.exp, not math.exp. For np.array([a, b]) or a list of Tensors write "
                f"np.stack([a, b]), for nested lists np.block([[a, b], [c, d]]); for X.dot(w) "
                f"of an array X write X @ w; leave np.asarray out; make an array that is to be "
                f"filled a Tensor, out = tg.Tensor(np.zeros(n)). "
                f"To leave the tape use x.item(), x.numpy() or x.detach()"
            )

    # Operators.

    __add__, __radd__ = _operator(np.add), _operator(np.add, swapped=True)
    __sub__, __rsub__ = _operator(np.subtract), _operator(np.subtract, swapped=True)
    __mul__, __rmul__ = _operator(np.multiply), _operator(np.multiply, swapped=True)
    __truediv__, __rtruediv__ = _operator(np.divide), _operator(np.divide, swapped=True)
    __pow__, __rpow__ = _operator(np.power), _operator(np.power, swapped=True)
    __mod__, __rmod__ = _as_in_numpy(np.remainder), _as_in_numpy(np.remainder, swapped=True)
    __divmod__, __rdivmod__ = _as_in_numpy(np.divmod), _as_in_numpy(np.divmod, swapped=True)
    __floordiv__ = _constant_operator(np.floor_divide)
    __rfloordiv__ = _constant_operator(np.floor_divide, swapped=True)
    __matmul__, __rmatmul__ = _operator(np.matmul), _operator(np.matmul, swapped=True)
    __iadd__, __isub__ = _in_place(__add__, "np.add"), _in_place(__sub__, "np.subtract")
    __imul__, __itruediv__ = _in_place(__mul__, "np.multiply"), _in_place(__truediv__, "np.divide")
    __ipow__, __imatmul__ = _in_place(__pow__, "np.power"), _in_place(__matmul__, "np.matmul")
    __imod__ = _in_place(__mod__, "np.remainder")
    __ifloordiv__ = _in_place(__floordiv__, "np.floor_divide")
    __neg__, __pos__, __abs__ = _unary(np.negative), _unary(np.positive), _unary(np.absolute)
    __lt__, __le__ = _constant_operator(np.less), _constant_operator(np.less_equal)
    __gt__, __ge__ = _constant_operator(np.greater), _constant_operator(np.greater_equal)
    __eq__, __ne__ = _constant_operator(np.equal), _constant_operator(np.not_equal)
    # For the masks of a program that is traced as a whole.
    __and__, __rand__ = _constant_operator(np.bitwise_and), _constant_operator(np.bitwise_and, True)
    __or__, __ror__ = _constant_operator(np.bitwise_or), _constant_operator(np.bitwise_or, True)
    __xor__, __rxor__ = _constant_operator(np.bitwise_xor), _constant_operator(np.bitwise_xor, True)
    __hash__ = object.__hash__

    def __invert__(self) -> Any:
        return _constant_of(np.invert, (self,), {})

    def __bool__(self) -> bool:
        _leaves_trace("a branch (if, while, and, or, assert) on it")
        return bool(self._array)

    def __int__(self) -> int:
        return int(self.item())

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self._array)))

    def __getitem__(self, index: Any) -> Tensor:
        return record(getitem, (self, _parts(index)), {})

    def __setitem__(self, index: Any, value: Any) -> None:
        parts = _parts(index)
        if _is_item(value, self, parts):
            return  # x[i] += v has changed the item x[i] before it comes here
        last: Any = self._entry
        rewritable = last is not None and last.primitive in (setitem, _setitem_in_place)
        if rewritable and last.y is self._array and mode.usual and _holders(self) == _ALONE:
            # Nobody has read the value since the last assignment, so that needs no copy.
            new: Any = record(_setitem_in_place, (self, value, parts), {})
            blank = np.broadcast_to(self.dtype.type(0), self.shape)
            last.y = new._entry.values[0] = blank
        else:
            new = record(setitem, (self, value, parts), {})
        self._assign(new)

    @property
    def _is_parameter(self) -> bool:
        """Whether it is an input of the user's that needs a gradient, and has a `.grad`."""
        return self.is_leaf and self.requires_grad and not isinstance(self._entry, Argument)

    def _take(self, new: Any, name: str) -> None:
        """`_assign` of the result of an operation, which has to fit as it has to in NumPy."""
        new = new if isinstance(new, Tensor) else Tensor(new)
        if new.shape != self.shape:
            raise ValueError(
                f"the result of {name} has shape {new.shape} and cannot be written into a tensor "
                f"of shape {self.shape}: write x = x + y instead of x += y"
            )
        if new.dtype != self.dtype:
            if not np.can_cast(new.dtype, self.dtype, "same_kind"):
                raise TypeError(
                    f"the result of {name} has dtype {new.dtype} and cannot be written into a "
                    f"tensor of dtype {self.dtype}: write x = x + y instead of x += y"
                )
            new = new.astype(self.dtype)
        self._assign(new)

    def _assign(self, new: Tensor) -> None:
        """Puts `new` in the place of the value, under every name and in every view of it."""
        if mode.trace is not None:
            mode.trace.check_assignable(self)
        if self._is_parameter:
            if mode.on:
                raise RuntimeError(
                    f"{self.name or 'this tensor'} is an input with requires_grad=True, and only "
                    f"inputs have a .grad, so it cannot become the result of an operation: assign "
                    f"to a copy of it, x = x.copy(), or, to update a parameter, inside no_grad()"
                )
            self.data = new._array
            return
        if self.requires_grad and not mode.on:
            raise RuntimeError(
                "assigning to a recorded tensor inside no_grad() would cut it off its tape: "
                "assign outside of it, or to x.detach()"
            )
        array, entry, name = new._array, new._entry, self.name
        if array.strides != self._array.strides:
            # Which views there are depends on how the array lies in memory.
            array = np.empty_like(self._array)
            array[...] = new._array
        if entry is None and self.is_input:
            entry = Entry.of_input(array, requires_grad=False)
        self._array, self._entry = array, entry
        if name is not None:
            self.name = name

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
    dot = _operator(np.dot)

    prod, var, std = _as_in_numpy(np.prod), _as_in_numpy(np.var), _as_in_numpy(np.std)
    cumsum, cumprod = _as_in_numpy(np.cumsum), _as_in_numpy(np.cumprod)
    clip, round = _as_in_numpy(np.clip), _as_in_numpy(np.round)
    swapaxes, repeat, take = (
        _as_in_numpy(np.swapaxes),
        _as_in_numpy(np.repeat),
        _as_in_numpy(np.take),
    )
    diagonal, trace = _as_in_numpy(np.diagonal), _as_in_numpy(np.trace)
    all, any = _as_in_numpy(np.all), _as_in_numpy(np.any)
    argmax, argmin = _as_in_numpy(np.argmax), _as_in_numpy(np.argmin)
    argsort, nonzero = _as_in_numpy(np.argsort), _as_in_numpy(np.nonzero)
    searchsorted = _as_in_numpy(np.searchsorted)

    @property
    def T(self) -> Tensor:
        """The transpose: all axes in reverse order."""
        return record(PRIMITIVES[np.transpose], (self,), {})

    @property
    def mT(self) -> Tensor:
        """The transpose of each matrix of a stack."""
        return self.swapaxes(-1, -2)

    @property
    def real(self) -> Tensor:
        """The real part, which of real numbers is all: a view of them."""
        return self[...]

    @property
    def imag(self) -> np.ndarray:
        """The imaginary part, which is 0: a plain array."""
        return self._array.imag

    @property
    def flat(self) -> Tensor:
        """The values along one axis, as `ravel()` gives them, to read and to write."""
        if not self._array.flags.c_contiguous:
            raise TypeError(
                "x.flat of a tensor whose values do not lie in order (as those of a transpose): "
                "read x.ravel(), and write x[i, j] = v"
            )
        return self.ravel()

    def copy(self, order: str = "C") -> Tensor:
        """The same values in memory of their own."""
        return record(PRIMITIVES[np.copy], (self,), {"order": order})

    def conj(self) -> Tensor:
        """The complex conjugate, which of real numbers is the tensor itself."""
        return self

    def view(self) -> Tensor:
        """The same values, in a tensor that shows this one."""
        return self[...]

    def transpose(self, *axes: Any) -> Tensor:
        """The axes in another order; without arguments in reverse order."""
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
        return record(PRIMITIVES[np.transpose], (self, order), {})

    def reshape(self, *shape: Any, order: str = "C") -> Tensor:
        """The same values in another shape; -1 stands for what is left."""
        new = shape[0] if len(shape) == 1 else shape
        if order != "C":
            return np.reshape(self, new, order=order)  # type: ignore[call-overload]
        return record(PRIMITIVES[np.reshape], (self, new), {})

    def astype(self, dtype: Any) -> Tensor:
        """The values in another dtype; the gradient comes back in this one.

        Integers have no gradient: `x.astype(int)` is a Tensor off the tape.
        """
        kind = np.dtype(dtype).kind
        if kind == "c" and self.requires_grad:
            raise TypeError(f"there are no gradients of complex numbers: astype({dtype!r})")
        if kind != "f":
            whole = _constant_of(_cast, (self, dtype), {})
            return whole if isinstance(whole, Tensor) else Tensor(whole)
        return record(astype, (self, dtype), {})

    def compress(self, condition: Any, axis: int | None = None) -> Any:
        """The values for which the condition holds; see `np.compress`."""
        return np.compress(condition, self, axis)

    def __round__(self, ndigits: int = 0) -> Any:
        return np.round(self, ndigits)

    def flatten(self) -> Tensor:
        """The values along one axis, in C order, in a tensor that is no view of this one."""
        return self.ravel().copy()

    def fill(self, value: Any) -> None:
        """The same as `x[...] = value`."""
        self[...] = value

    def sort(self, axis: int = -1) -> None:
        """Puts the values in ascending order in place; `np.sort(x)` leaves x as it is."""
        in_order: Any = np.sort(self, axis)
        self._take(in_order, "np.sort")


class View(Tensor):
    """A tensor that shows a part of another one, as `row = x[0]` does, or all of it otherwise.

    In NumPy the two share their memory. Here every value on the tape is an array that stays as it
    is, and what is shared is the knowledge of who shows what: a view whose `root` was assigned to
    reads it again, and what is assigned to the view is assigned to the root.

    Attributes:
        root: the tensor that is shown.
        path: the operations that lead from it to here: the path of the tensor that this one was
            made of, and the last operation with its arguments.
        seen: the array of the root when it was last read.
    """

    __slots__ = ("path", "root", "seen")

    def __init__(self, primitive: Primitive, args: tuple[Any, ...], keywords: dict[str, Any]):
        self.root, path = _origin(args[0])
        self.path = (path, primitive, args[1:], keywords)
        self.seen = self.root._array

    @property
    def _array(self) -> np.ndarray:
        if self.root._array is not self.seen:
            self._read_again()
        return _array_slot.__get__(self)

    @_array.setter
    def _array(self, value: np.ndarray) -> None:
        _array_slot.__set__(self, value)

    @property
    def _entry(self) -> Entry | None:
        if self.root._array is not self.seen:
            self._read_again()
        return _entry_slot.__get__(self)

    @_entry.setter
    def _entry(self, value: Entry | None) -> None:
        _entry_slot.__set__(self, value)

    def _way(self) -> list[tuple[Primitive, tuple[Any, ...], dict[str, Any], Tensor]]:
        """The operations from the root to here, each with the tensor that it reads."""
        steps, path = [], self.path
        while path is not None:
            path, *step = path
            steps.append(step)
        way, x = [], self.root
        with recording(True):
            for primitive, args, keywords in reversed(steps):
                way.append((primitive, args, keywords, x))
                x = record(primitive, (x, *args), keywords)
        return [*way, (None, (), {}, x)]

    def _read_again(self) -> None:
        x = self._way()[-1][-1]
        self.seen = self.root._array
        self._array, self._entry = x._array, x._entry

    def _assign(self, new: Tensor) -> None:
        *way, (_, _, _, y) = self._way()
        for primitive, args, keywords, x in reversed(way):
            if primitive is getitem:
                new = record(setitem, (x, new, *args), keywords)
            elif y.shape == x.shape or (y.size == x.size and primitive.core_axes is None):
                # What only puts values in another order is undone by its own derivative.
                new = primitive.rule(0)(new, y, x, *args, **keywords)
            else:
                raise ValueError(
                    f"the result of {primitive.name} is read-only: assign to a copy of it, "
                    f"x = x.copy(), or to what it was made of"
                )
            y = x
        self.root._assign(new)


_array_slot, _entry_slot = Tensor.__dict__["_array"], Tensor.__dict__["_entry"]


def changeable(tensor: Tensor) -> View:
    """A view of a whole tensor, at the same place on the tape."""
    view = View(getitem, (tensor, ...), {})
    view._array, view._entry = tensor._array, tensor._entry
    return view


def _origin(x: Tensor) -> tuple[Tensor, Any]:
    """The tensor that `x` shows, and the path to it."""
    return (x.root, x.path) if isinstance(x, View) else (x, None)


def _is_item(value: Any, x: Tensor, index: Any) -> bool:
    """Whether `value` is a view of `x` at this very index."""
    if not isinstance(value, View):
        return False
    root, path = _origin(x)
    before, primitive, args, _ = value.path
    same_place = value.root is root and before is path and primitive is getitem
    return same_place and repr(args[0]) == repr(index)  # an array in the index has no single ==


def _overwrite(x: Any, value: Any, index: Any) -> Any:
    x[index] = np.asarray(value).astype(x.dtype)  # what cannot be cast is found before it writes
    return x


_setitem_in_place = Primitive(_overwrite, setitem.name).derivative(*setitem.rules)


def _holders(tensor: Tensor) -> int:
    """How many hold the array of a tensor; the tensor and its entry do."""
    return sys.getrefcount(tensor._array)


_UFUNC_METHODS: dict[Any, Any] = {
    (np.add, "reduce"): np.sum,
    (np.multiply, "reduce"): np.prod,
    (np.maximum, "reduce"): np.max,
    (np.minimum, "reduce"): np.min,
    (np.add, "accumulate"): np.cumsum,
    (np.multiply, "accumulate"): np.cumprod,
}


# Of others, such as arctan2, NumPy's reduce along the last axis gives values of its own.
_ONE_BY_ONE = (
    *(np.subtract, np.divide, np.hypot, np.logaddexp, np.logaddexp2),
    *(np.maximum, np.minimum, np.fmax, np.fmin),
)


def _one_by_one(ufunc: Any, method: str, x: Any, axis: int = 0, **keywords: Any) -> Any:
    """`ufunc.reduce` or `.accumulate` along one axis, as NumPy does it: value after value."""
    given = [name for name, value in keywords.items() if value not in (None, False)]
    if given or not isinstance(axis, int) or x.shape[axis] == 0:
        raise TypeError(
            f"{numpy_name(ufunc)}.{method} of Tensors takes one axis of at least one value, "
            f"and no {', '.join(given) or 'initial'}="
        )
    rows = np.moveaxis(x, axis, 0)
    results = list(itertools.accumulate((rows[i] for i in range(len(rows))), ufunc))
    return np.copy(results[-1]) if method == "reduce" else np.stack(results, axis)


def _write_out(function: Any, args: Any, keywords: dict[str, Any]) -> Any:
    """A call with `out=`, as it also comes from `a += x` with an array a."""
    outs = keywords.pop("out")
    outs = outs if isinstance(outs, tuple) else (outs,)
    if len(outs) == 1 and isinstance(outs[0], Tensor):
        outs[0]._take(function(*args, **keywords), numpy_name(function))
        return outs[0]
    given = [*args, *keywords.values()]
    if mode.on and any(isinstance(x, Tensor) and x.requires_grad for x in given):
        raise TypeError(
            f"{numpy_name(function)} with out= (or a += x on an array a) would write a recorded "
            f"Tensor into a plain array, where its gradient is lost: write a = a + x, or make the "
            f"array a Tensor first, a = tg.Tensor(a); for out= with where=, np.where(mask, ..., 0)"
        )
    return function(*plain(args), **plain(keywords), out=outs if len(outs) > 1 else outs[0])


def _by_position(
    primitive: Primitive, args: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same call with Tensors by position, where the rules read them."""
    names = primitive.parameters[len(args) :]
    while any(isinstance(value, Tensor) for value in keywords.values()):
        if not names or names[0] not in keywords:
            raise TypeError(f"{primitive.name}: pass Tensors by position, not by keyword")
        args = (*args, keywords.pop(names[0]))
        names = names[1:]
    return args, keywords


def _parts(index: Any) -> Any:
    """An index as the tape keeps it."""
    return tuple(map(_index, index)) if isinstance(index, tuple) else _index(index)


def _index(part: Any) -> Any:
    """One part of an index: whatever holds several positions as an array of the tape's own."""
    if part is None or part is Ellipsis or isinstance(part, (slice, int, np.integer)):
        return part
    if isinstance(part, Tensor):
        if part.requires_grad:
            raise TypeError("a Tensor that needs a gradient cannot be an index; use x.numpy()")
        if mode.trace is not None:
            return part
        part = part._array
    # From a range np.array makes one number after the other.
    is_range = isinstance(part, range)
    array = np.arange(part.start, part.stop, part.step) if is_range else np.array(part)
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


class Number(Tensor):
    """A Python number while a program is traced: NumPy lets it take the dtype of what it meets."""

    __slots__ = ()


def lift(entry: Entry, value: Any) -> Tensor:
    """The value of an entry as a Tensor that stands on the tape at that entry."""
    tensor = _new(Number if isinstance(value, (int, float)) else Tensor)
    if type(tensor) is Number:
        value = np.asarray(value)
    tensor._array = value
    tensor._entry = entry
    return tensor


def _cast(x: np.ndarray, dtype: Any) -> np.ndarray:
    """`x.astype(dtype)`, as a function."""
    return x.astype(dtype)


def _leaves_trace(what: str) -> None:
    """What takes a value off the tape is refused while a program is traced to be compiled."""
    if mode.trace is not None:
        mode.trace.refuse(what)


def _no_rule(name: str) -> NotImplementedError:
    return NotImplementedError(
        f"{name} has no derivative rule. Add one with "
        f"tg.derivative({name}, lambda g, y, x: ...), one function for each input, wrap your own "
        f"code with @tg.primitive, or pass x.numpy() if no gradient shall flow through it"
    )


_ALONE = _holders(Tensor(0.0))

# A backward pass frees its arrays at once, and glibc then hands the memory back to the system, only
# to fault it in again at the next step, which costs a third of the step of a small net. Freeing one
# large block tells glibc that blocks of this size come and go here, and it keeps the memory.
np.empty(2**24, np.uint8)
