"""The parameters of an optimiser in one vector.

The values of all parameters of a dtype lie in one vector, and the array of each parameter shows its
part of it. Gradients and what the optimiser remembers lie in vectors beside it. So an update takes
a few NumPy calls, however many parameters there are:

    values      [ W1  | W2  | b1  | b2  ]    p = p - lr * v
    gradients   [ dW1 | dW2 | db1 | db2 ]    g
    velocity    [     |     |     |     ]    v = momentum * v + g
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_edu.tape import set_anew
from tinygrad_edu.tensor import Tensor, plain

__all__ = ["Vectors"]


class Vectors:
    """Parameters of one dtype in one vector, and the vectors beside it.

    A parameter whose array is elsewhere, as at first or after `p.data = new`, has its values
    fetched before an update. From then on its array shows its part of the vector. But if somebody
    else holds that array, to read or write there, as another optimiser of the same parameter does,
    it stays, and the new values are written into it.

    Attributes:
        numbers: the places of the parameters in the optimiser's list.
        rows: each parameter with its position here and its part of `gradients`.
        places, shapes: where the parts are, and in which shape the parameters show them.
        n_weights: how many values, at the start, are those of parameters of two axes and more.
        values, gradients, state: the vectors.
        message: the gradients with room for a few values behind them.
        memory: what the arrays of the parameters show.
        entries: the entries of the parameters.
        t: how many updates there have been.
        missed: how many of these a parameter missed for want of a gradient, by its position.
    """

    def __init__(self, params: Mapping[int, Tensor], state_names: Sequence[str], room: int):
        self.numbers = list(params)
        ends = list(itertools.accumulate(p.size for p in params.values()))
        self.places = list(map(slice, [0, *ends], ends))
        self.shapes = [p.shape for p in params.values()]
        self.n_weights = sum(p.size for p in params.values() if p.ndim >= 2)
        dtype = next(iter(params.values())).dtype
        # Through a view it can be written even while debug() locks what the parameters show.
        self.values = np.empty(ends[-1], dtype)[:]
        self.memory = self.values.base
        self.message = np.zeros(ends[-1] + room, dtype)
        self.gradients = self.message[: ends[-1]]
        self.state = {name: np.zeros(ends[-1], dtype) for name in state_names}
        self.t = 0
        self.missed: dict[int, int] = {}
        self.rows = list(
            zip(range(len(params)), params.values(), self.split(self.gradients), strict=True)
        )
        self.all_pieces = self._pieces(0, ends[-1], self.gradients)
        self.entries = [p._own_entry() for p in params.values()]

    def split(self, vector: np.ndarray) -> list[np.ndarray]:
        """The part of each parameter, in its shape."""
        pairs = zip(self.places, self.shapes, strict=True)
        return [vector[place].reshape(shape) for place, shape in pairs]

    def step(self, update: Callable[..., None]) -> None:
        """One update of the parameters that have a gradient."""
        memory, without, elsewhere = self.memory, [], []
        large = {}  # to read them where they are is faster than to copy them
        for i, p, g in self.rows:
            entry: Any = p._entry
            gradient = entry and entry.grad
            if gradient is not g:
                if gradient is None:
                    without.append(i)
                    continue
                if g.size > _PIECE:
                    large[i] = plain(gradient).reshape(-1)
                else:
                    g[...] = plain(gradient)
            if p._array.base is not memory:
                elsewhere.append(i)
            entry.set_value(p._array)
        apart = self.fetch(elsewhere) if elsewhere else []
        self.t += 1
        usual = not (without or large or self.missed)
        for t, pieces in [(self.t, self.all_pieces)] if usual else self._runs(without, large):
            for values, gradients, state in pieces:
                update(values, gradients, t, state)
        if apart:
            self.hand_back(apart)

    def step_again(self, update: Callable[..., None]) -> None:
        """One update of all parameters, whose gradients and values are in the vectors."""
        set_anew(self.entries)
        self.t += 1
        for values, gradients, state in self.all_pieces:
            update(values, gradients, self.t, state)

    def elsewhere(self) -> list[int]:
        """The positions of the parameters whose arrays are not in the vector."""
        return [i for i, p, _ in self.rows if p._array.base is not self.memory]

    def fetch(self, elsewhere: Sequence[int]) -> list[tuple[Tensor, np.ndarray]]:
        """Copies the values of these parameters; returns each parameter with its part."""
        parts = self.split(self.values)
        apart = [(self.rows[i][1], parts[i]) for i in elsewhere]
        for p, part in apart:
            part[...] = p._array
        return apart

    def hand_back(self, apart: Sequence[tuple[Tensor, np.ndarray]]) -> None:
        """Gives parameters their parts to show or, if their arrays are held, the values of them."""
        shown = Counter(id(p._array.base) for _, p, _ in self.rows)
        held = [_is_held(p, shown) for p, _ in apart]
        for (p, part), keeps in zip(apart, held, strict=True):
            if keeps:
                p._array[...] = part
            else:
                entry: Any = p._entry
                p._array = entry.y = part

    def _runs(
        self, without: list[int], large: Mapping[int, np.ndarray]
    ) -> Iterator[tuple[int, list[Any]]]:
        """The pieces of neighbours that have a gradient and are to be updated with the same t."""
        for i in without:
            self.missed[i] = self.missed.get(i, 0) + 1
        ts = self.ts
        for i in without:
            ts[i] = 0
        alike = itertools.groupby(range(len(ts)), lambda i: (ts[i], i if i in large else -1))
        for (t, i), group in alike:
            run = list(group)
            if t:
                start, stop = self.places[run[0]].start, self.places[run[-1]].stop
                g = self.gradients[start:stop] if i < 0 else large[i]
                yield t, self._pieces(start, stop, g)

    @property
    def ts(self) -> list[int]:
        """How often each parameter was updated."""
        return [self.t - self.missed.get(i, 0) for i in range(len(self.rows))]

    @ts.setter
    def ts(self, values: list[int]) -> None:
        self.t = max(values)
        self.missed = {i: self.t - t for i, t in enumerate(values) if t < self.t}

    def _pieces(
        self, start: int, stop: int, gradients: np.ndarray
    ) -> list[tuple[Any, Any, dict[str, Any]]]:
        """Values, gradients and state from `start` to `stop`, in pieces that a cache can hold."""
        pieces = []
        for i in range(start, stop, _PIECE):
            here = slice(i, min(i + _PIECE, stop))
            state = {name: vector[here] for name, vector in self.state.items()}
            pieces.append((self.values[here], gradients[i - start : here.stop - start], state))
        return pieces


# More values than the cache of a core holds take half as long again to update.
_PIECE = 2**14


def _is_held(p: Tensor, shown: Mapping[int, int]) -> bool:
    """Whether anybody else holds the array of a parameter, or the memory that it shows.

    `shown` says by the id of that memory how many parameters are known to show it.
    """
    holders, base_holders = _holders(p)
    base = p._array.base
    if base is not None and base_holders - shown[id(base)] >= _ALONE[1]:
        return True
    return holders > _ALONE[0]


def _holders(p: Tensor) -> tuple[int, int]:
    """How many hold the array of a tensor, as the tensor and its entry do, and its base."""
    return sys.getrefcount(p._array), sys.getrefcount(p._array.base)


def _alone() -> tuple[int, int]:
    """The `_holders` of a tensor that shows a part of an array that nobody else holds."""
    p = Tensor(0.0)
    entry: Any = p._entry
    p._array = entry.y = np.empty(1)[:]
    return _holders(p)


_ALONE = _alone()
