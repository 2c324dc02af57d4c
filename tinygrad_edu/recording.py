"""How operations are recorded: whether at all, and how closely they are watched.

Both hold for one thread, and are set by contexts that put things back as they were.
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

from tinygrad_edu.tape import Entry, call, not_finite

__all__ = ["debug", "no_grad", "recording", "source_lines", "tracing"]


class Mode(threading.local):
    """What a thread is doing.

    Attributes:
        on: whether operations are recorded.
        with_lines: whether entries remember the line of the user's code.
        watched: whether results are checked and arrays locked, as `debug` says.
        trace: what records them in place of `tensor.record`, if a whole program is traced.
        usual: whether they are recorded and nothing else.
        outer: the first three as they were outside each context that the thread is in.
    """

    def __init__(self) -> None:
        self.outer: list[tuple[bool, bool, bool]] = []
        self.trace: Any = None
        self.set(on=True, with_lines=False, watched=False)

    def set(self, on: bool, with_lines: bool, watched: bool) -> None:
        """Goes over to another mode."""
        self.on, self.with_lines, self.watched = on, with_lines, watched
        self.usual = on and not with_lines and not watched and self.trace is None


mode = Mode()


class changed_mode:
    """A context, or a decorator, in which the thread has another mode; None leaves it as it is."""

    def __init__(
        self, on: bool | None = None, with_lines: bool | None = None, watched: bool | None = None
    ):
        self._changes = on, with_lines, watched

    def __enter__(self) -> None:
        before = mode.on, mode.with_lines, mode.watched
        on, with_lines, watched = self._changes
        mode.outer.append(before)
        mode.set(
            before[0] if on is None else on,
            before[1] if with_lines is None else with_lines,
            before[2] if watched is None else watched,
        )

    def __exit__(self, *_: object) -> None:
        mode.set(*mode.outer.pop())

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **keywords: Any) -> Any:
            with self:
                return function(*args, **keywords)

        return wrapped


def recording(on: bool) -> changed_mode:
    """A context, or a decorator, in which recording is switched on or off."""
    return changed_mode(on=on)


@contextlib.contextmanager
def tracing(trace: Any) -> Iterator[None]:
    """A context in which `trace` records all that is done with Tensors."""
    outer, mode.trace = mode.trace, trace
    try:
        with recording(True):
            yield
    finally:
        mode.trace = outer
        mode.set(mode.on, mode.with_lines, mode.watched)


def source_lines() -> changed_mode:
    """A context in which entries remember the line of the user's code that made them."""
    return changed_mode(with_lines=True)


def no_grad(function: Callable[..., Any] | None = None) -> Any:
    """A context, or a decorator of `function`, in which nothing is recorded in this thread.

    Example:
        >>> import tinygrad_edu as tg
        >>> x = tg.Tensor(2.0, requires_grad=True)
        >>> with tg.no_grad():
        ...     y = x * x
        >>> y.requires_grad
        False
    """
    return recording(False) if function is None else recording(False)(function)


def debug(function: Callable[..., Any] | None = None) -> Any:
    """A context, or a decorator of `function`, that stops at what goes wrong in this thread.

    - The first operation that makes a NaN or an infinity raises, forward or backward, with its
      name, its shapes and the file and line in which it was called. Infinities that an operation
      was given, such as the -inf of a mask, may pass; NaN may not.
    - The arrays that a tape holds are read-only until the tape is gone, so that NumPy code which
      writes into them between forward and backward raises, as in `w.data[0] = 1` or `X *= 2`.
      (NumPy does not tell what other views there are of the same memory: these stay writeable.)

    Every operation takes some microseconds longer.

    Raises:
        FloatingPointError: from the operation that made a NaN or an infinity.

    Example:
        >>> import numpy as np, tinygrad_edu as tg
        >>> x = tg.Tensor([1.0, 0.0], requires_grad=True)
        >>> with tg.debug(), np.errstate(divide="ignore"):
        ...     np.log(x)
        Traceback (most recent call last):
        FloatingPointError: np.log of shape (2,) (...): the result is -inf at [1], from 0.0
    """
    watching = changed_mode(with_lines=True, watched=True)
    return watching if function is None else watching(function)


_OURS = os.path.dirname(__file__) + os.sep
_NUMPYS = os.path.dirname(np.__file__) + os.sep


def _users_line() -> tuple[str, int] | None:
    """The file and line of the innermost call that is neither the engine's nor NumPy's."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith((_OURS, _NUMPYS)):
        frame = frame.f_back  # type: ignore[assignment]
    return None if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def new_entry(*parts: Any) -> Entry:
    """An `Entry` as the mode wants it: with its line, checked, with its arrays locked."""
    entry = LockingEntry(*parts) if mode.watched else Entry(*parts)
    entry.where = _users_line() if mode.with_lines else None
    if mode.watched:
        _check_finite(entry)
    return entry


def _check_finite(entry: Entry) -> None:
    y = entry.y
    if y.dtype.kind != "f" or np.isfinite(y).all():
        return
    given = [
        (i, value)
        for i, value in enumerate(entry.values)
        if np.asarray(value).dtype.kind == "f" and not np.isfinite(value).all()
    ]
    if given and not np.isnan(y).any():
        return
    there = tuple(np.argwhere(~np.isfinite(y))[0])
    read = [str(v[there]) for v in entry.values if isinstance(v, np.ndarray) and v.shape == y.shape]
    told = f", from {' and '.join(read)}" if read else ""
    for i, value in given:
        told += f"; its argument {i} holds {not_finite(value)} already"
    raise FloatingPointError(f"{call(entry)}: the result is {not_finite(y)}{told}")


class LockingEntry(Entry):
    """An entry whose arrays cannot be written into while it holds them."""

    __slots__ = ("locked",)

    def __init__(self, *parts: Any):
        super().__init__(*parts)
        held = (*self.values, *self.keywords.values(), self.y)
        self.locked = _lock([value for value in held if isinstance(value, np.ndarray)])

    def free(self) -> None:
        """Lets go of everything that the operation read."""
        super().free()
        self.__del__()

    def __del__(self) -> None:
        _unlock(self.locked)
        self.locked = []


# How many entries hold each array that is locked, by its id, as arrays cannot be keys.
_holders: dict[int, int] = {}
_free: list[np.ndarray] = []  # those that no entry holds, but that are still read-only
_guard = threading.RLock()


def _lock(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Makes arrays read-only, with those whose memory they show, and returns them all."""
    locked = []
    with _guard:
        for array in arrays:
            base: Any = array
            while isinstance(base, np.ndarray):
                if id(base) in _holders or base.flags.writeable:
                    _holders[id(base)] = _holders.get(id(base), 0) + 1
                    base.flags.writeable = False
                    locked.append(base)
                base = base.base
    return locked


def _unlock(arrays: list[np.ndarray]) -> None:
    """Makes those writeable again that no entry holds."""
    with _guard:
        for array in reversed(arrays):
            _holders[id(array)] -= 1
            if _holders[id(array)] == 0:
                del _holders[id(array)]
                _free.append(array)
        for array in _free[:]:
            # A view has to wait as long as another entry holds what it shows.
            with contextlib.suppress(ValueError):
                array.flags.writeable = True
                _free[:] = [other for other in _free if other is not array]
