"""The base of the optimisers: which parameters they have, and what they remember of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tinygrad_edu.optim.vectors import Vectors
from tinygrad_edu.state import checked_state
from tinygrad_edu.tensor import Tensor

__all__ = ["Optimizer", "number"]

# What else there is room for where gradients are sent.
ROOM = 2


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
        >>> class AdaGrad(Optimizer):
        ...     state_names = ("v",)
        ...     def update(self, p, g, t, state):
        ...         state["v"] += g * g
        ...         p -= self.lr * g / (np.sqrt(state["v"]) + 1e-10)
        >>> w = Tensor([1.0, -4.0], requires_grad=True)
        >>> np.sum(w * w).backward()
        >>> AdaGrad([w], lr=0.1).step()
        >>> w.data.round(6)
        array([ 0.9, -3.9])
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

    def _arranged(self) -> list[Vectors]:
        """The parameters in one vector for each dtype, the weights before the biases."""
        by_dtype: dict[Any, dict[int, Tensor]] = {}
        for i, p in sorted(enumerate(self.params), key=lambda item: item[1].ndim < 2):
            by_dtype.setdefault(p.dtype, {})[i] = p
        room = len(self.params) + ROOM
        return [Vectors(params, self.state_names, room) for params in by_dtype.values()]

    @property
    def lr(self) -> float:
        """The learning rate."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = number("the learning rate", value, "above 0")

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
        That holds only where it `updates_all_alike`.
        """
        for vectors in self._vectors:
            vectors.step_again(self.update)

    @property
    def updates_all_alike(self) -> bool:
        """Whether no update passed over a parameter for want of a gradient, as if it is frozen."""
        return not any(vectors.missed for vectors in self._vectors)

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

    def messages(self) -> list[np.ndarray]:
        """For each dtype the gradients of all its parameters as one vector, with room behind them.

        There is one value for each parameter of the optimiser, and before these there are `ROOM`.
        What those say who exchange gradients is theirs; updates do not look at it.
        """
        return [v.message for v in self._vectors]

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


_RANGES = {
    "above 0": lambda x: 0 < x < math.inf,
    "of at least 0": lambda x: 0 <= x < math.inf,
    "from 0 to below 1": lambda x: 0 <= x < 1,
}


def number(what: str, value: Any, within: str) -> float:
    """A setting as a float, if it is a number `within` one of the ranges above.

    Raises:
        ValueError: it is not.
    """
    is_number = isinstance(value, (int, float, np.integer, np.floating))
    if not is_number or isinstance(value, bool) or not _RANGES[within](value):
        raise ValueError(f"{what} must be a number {within}, got {value!r}")
    return float(value)
