"""Optimisers: they read `.grad` of the parameters and change their data.

The values of all parameters of a dtype lie in one vector, and the array of each parameter shows its
part of it. Gradients and what the optimiser remembers lie in vectors beside it. So an update takes
a few NumPy calls, however many parameters there are:

    values      [ W1  | W2  | b1  | b2  ]    p = p - lr * v
    gradients   [ dW1 | dW2 | db1 | db2 ]    g
    velocity    [     |     |     |     ]    v = momentum * v + g
"""

from __future__ import annotations

import itertools
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_edu.state import checked_state
from tinygrad_edu.tape import set_anew
from tinygrad_edu.tensor import Tensor, plain

__all__ = ["SGD", "Adam", "Optimizer"]


class Optimizer:
    """The base of the optimisers. Subclasses define `update`, and `state_names` if they have state.

    Args:
        params: Tensors with `requires_grad=True`.
        lr: the learning rate; it may be set between steps.

    Attributes:
        state_names: names for what is remembered of each value from one update to the next; at
            first it is 0.

    Raises:
        ValueError: no parameters, the same one twice, or a learning rate that is not a number
            above 0.
        TypeError: something among the parameters that has no gradient.

    Example:
        >>> class RMSProp(Optimizer):
        ...     state_names = ("v",)
        ...     def update(self, p, g, t, state):
        ...         v = state["v"]
        ...         v *= 0.9
        ...         v += 0.1 * g * g
        ...         p -= self.lr * g / (np.sqrt(v) + 1e-8)
        >>> w = Tensor([1.0, -4.0], requires_grad=True)
        >>> np.sum(w * w).backward()
        >>> RMSProp([w], lr=0.1).step()
        >>> w.data.round(3)
        array([ 0.684, -3.684])
    """

    state_names: tuple[str, ...] = ()

    def __init__(self, params: Iterable[Tensor], lr: float):
        if isinstance(params, Tensor):
            raise TypeError("params must be a list of Tensors, got a single one: write [w]")
        if not isinstance(params, Iterable) or hasattr(params, "parameters"):
            raise TypeError(
                f"params must be a list of Tensors, as net.parameters() is; got {type(params)}"
            )
        self.params = list(params)
        if not self.params:
            raise ValueError("no parameters to optimise: pass model.parameters()")
        for i, p in enumerate(self.params):
            if not isinstance(p, Tensor) or not p.is_leaf or not p.requires_grad:
                raise TypeError(
                    f"params[{i}] must be a Tensor with requires_grad=True that no operation made, "
                    f"got {p!r:.60}"
                )
        if len({id(p) for p in self.params}) < len(self.params):
            raise ValueError("the same Tensor stands among the parameters more than once")
        self.lr = lr
        self._vectors = self._arranged()

    def _arranged(self) -> list[_Vectors]:
        """The parameters in one vector for each dtype, the weights before the biases."""
        by_dtype: dict[Any, dict[int, Tensor]] = {}
        for i, p in sorted(enumerate(self.params), key=lambda item: item[1].ndim < 2):
            by_dtype.setdefault(p.dtype, {})[i] = p
        return [_Vectors(params, self.state_names) for params in by_dtype.values()]

    @property
    def lr(self) -> float:
        """The learning rate."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = _positive("the learning rate", value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.params)} parameters, lr {self.lr:g}>"

    def zero_grad(self) -> None:
        """Forgets the gradients of all parameters."""
        for p in self.params:
            p.zero_grad()

    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        for vectors in self._vectors:
            vectors.step(self.update)

    def step_again(self) -> None:
        """As `step`, where that has been done and nothing has changed but the gradients.

        Then these stand in `gradients` and the values in the vectors, so that nobody has to look.
        """
        for vectors in self._vectors:
            vectors.step_again(self.update)

    def update(self, p: np.ndarray, g: np.ndarray, t: int, state: dict[str, np.ndarray]) -> None:
        """Changes `p` and the state in place; to be defined by subclasses.

        Each value must be updated for itself: `p` is a part of the values of one parameter or of
        several, one after another, as it suits.

        Args:
            p: values (n,).
            g: their gradients (n,), only to be read.
            t: which update of these values this is: 1, 2, 3, ...
            state: by each of the `state_names` an array (n,).
        """
        raise NotImplementedError(f"{type(self).__name__} must define update(self, p, g, t, state)")

    @property
    def gradients(self) -> list[np.ndarray]:
        """For each parameter the array from which updates read its gradient, always the same one.

        `step` copies `.grad` there. A program that computes the gradients by itself can write
        there, and then calls `use_gradients` and `step`.
        """
        found = {v.numbers[i]: g for v in self._vectors for i, _, g in v.rows}
        return [found[i] for i in range(len(self.params))]

    def use_gradients(self, as_copies: bool = False) -> None:
        """Makes the arrays in `gradients` the `.grad` of the parameters that need one."""
        for vectors in self._vectors:
            for _, p, g in vectors.rows:
                entry = p._entry
                if entry and entry.requires_grad:
                    entry.grad = g.copy() if as_copies else g

    def hand_out_gradients(self) -> None:
        """Puts copies in the place of the arrays in `gradients` wherever these are a `.grad`."""
        for vectors in self._vectors:
            for _, p, g in vectors.rows:
                entry = p._entry
                if entry and entry.grad is g:
                    entry.grad = g.copy()

    def take_over(self) -> bool:
        """Has the parameters show their parts of the vectors from now on; whether all of them do.

        Those do not whose arrays somebody else holds. The first update does the same, but by then
        a program may hold all of them.
        """
        for v in self._vectors:
            v.hand_back(v.fetch(v.elsewhere()))
        return not any(v.elsewhere() for v in self._vectors)

    def weights(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """All parameters of two axes and more as one vector, and its part of `gradients`.

        There is one such pair for each dtype. An L2 penalty adds g += l2 * w; the values are only
        to be read, and are the present ones until a parameter changes.
        """
        for v in self._vectors:
            elsewhere = [i for i, p, _ in v.rows if p._array.base is not v.memory]
            if elsewhere:
                v.fetch(elsewhere)
        return [(v.values[: v.n_weights], v.gradients[: v.n_weights]) for v in self._vectors]

    def state_dict(self) -> dict[str, np.ndarray]:
        """A copy of all that the optimiser remembers, as plain arrays by name.

        "t" holds how often each of the parameters was updated; "m.0" is what `update` calls m, of
        the first parameter and in its shape.
        """
        return {name: np.array(array) for name, array in self._state().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned: all of it, or nothing if anything is wrong.

        Raises:
            KeyError: an array is missing, or the optimiser has none of that name.
            ValueError: an array of another shape, or one that holds no real numbers.
        """
        own = self._state()
        arrays = checked_state(state, own, self, "optimiser")
        if arrays["t"].dtype.kind == "f" or (arrays["t"] < 0).any():
            raise ValueError(f"t must hold numbers of updates, got {arrays['t']}")
        for name, array in arrays.items():
            own[name][...] = array
        for vectors in self._vectors:
            vectors.ts = own["t"][vectors.numbers].tolist()

    def _state(self) -> dict[str, np.ndarray]:
        """What `state_dict` copies: the memory of the optimiser itself, except for "t"."""
        ts = np.zeros(len(self.params), int)
        parts = {}
        for vectors in self._vectors:
            ts[vectors.numbers] = vectors.ts
            for name, vector in vectors.state.items():
                for i, part in zip(vectors.numbers, vectors.split(vector), strict=True):
                    parts[name, i] = part
        return {"t": ts} | {f"{name}.{i}": parts[name, i] for name, i in sorted(parts)}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_vectors": self.state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._vectors = self._arranged()
        self.load_state_dict(state["_vectors"])


class SGD(Optimizer):
    """Gradient descent: v = momentum * v + g, p = p - lr * v.

    Raises:
        ValueError: a learning rate that is not a number above 0, a momentum outside 0..1.

    Example:
        >>> w = Tensor(1.0, requires_grad=True)
        >>> (w * w).backward()
        >>> SGD([w], lr=0.1).step()
        >>> w.item()
        0.8
    """

    state_names = ("velocity",)

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.0):
        super().__init__(params, lr)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, got {momentum!r}")
        self.momentum = momentum

    def update(self, p: np.ndarray, g: np.ndarray, t: int, state: dict[str, np.ndarray]) -> None:
        """v = momentum * v + g, p = p - lr * v."""
        if self.momentum:
            v = state["velocity"]
            v *= self.momentum
            v += g
            g = v
        p -= self.lr * g


class Adam(Optimizer):
    """Gradient descent with a step size of its own for each value.

    With m and v the running means of g and of g**2, corrected for their start at 0:
    m = beta1 * m + (1 - beta1) * g, v = beta2 * v + (1 - beta2) * g**2,
    p = p - lr * m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps).
    Source: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015,
    https://arxiv.org/abs/1412.6980.

    Raises:
        ValueError: lr or eps that is not a number above 0, betas outside 0..1.

    Example:
        >>> w = Tensor(1.0, requires_grad=True)
        >>> (w * w).backward()
        >>> Adam([w], lr=0.1).step()
        >>> round(w.item(), 6)
        0.9
    """

    state_names = ("m", "v")

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        super().__init__(params, lr)
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be two numbers from 0 to below 1, got {betas!r}")
        self.betas = betas
        self.eps = _positive("eps", eps)

    def update(self, p: np.ndarray, g: np.ndarray, t: int, state: dict[str, np.ndarray]) -> None:
        """m and v move towards g and g**2, p along their quotient."""
        beta1, beta2 = self.betas
        m, v = state["m"], state["v"]
        m *= beta1
        m += (1 - beta1) * g
        v *= beta2
        v += (1 - beta2) * g * g
        # The corrections are taken out of the arrays, as at the end of the paper's section 2.
        c = math.sqrt(1 - beta2**t)
        p -= self.lr * c / (1 - beta1**t) * m / (np.sqrt(v) + self.eps * c)


class _Vectors:
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
        memory: what the arrays of the parameters show.
        entries: the entries of the parameters.
        t: how many updates there have been.
        missed: how many of these a parameter missed for want of a gradient, by its position.
    """

    def __init__(self, params: Mapping[int, Tensor], state_names: Sequence[str]):
        self.numbers = list(params)
        ends = list(itertools.accumulate(p.size for p in params.values()))
        self.places = list(map(slice, [0, *ends], ends))
        self.shapes = [p.shape for p in params.values()]
        self.n_weights = sum(p.size for p in params.values() if p.ndim >= 2)
        dtype = next(iter(params.values())).dtype
        # Through a view it can be written even while debug() locks what the parameters show.
        self.values = np.empty(ends[-1], dtype)[:]
        self.memory = self.values.base
        self.gradients = np.zeros(ends[-1], dtype)
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


def _positive(what: str, value: Any) -> float:
    if not isinstance(value, (int, float, np.number)) or not 0 < value < math.inf:
        raise ValueError(f"{what} must be a number above 0, got {value!r}")
    return float(value)
