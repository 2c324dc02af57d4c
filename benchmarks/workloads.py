"""The nets and data that a training step is measured on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import tinygrad_edu as tg

# Does some steps; returns the loss before the last of them and the parameters after it, each
# weight followed by its bias.
Variant = Callable[[int], tuple[float, list[np.ndarray]]]


@dataclass(frozen=True)
class Workload:
    """A net, its data and how it is trained: plain gradient descent on all rows.

    Attributes:
        name: the column of the table.
        rows: how many samples there are.
        sizes: the units of each layer, from the inputs to the outputs.
        dtype: of the data and the parameters.
        activation: "relu" or "sigmoid", between the layers.
        loss: "cross_entropy" of labels, or "mse" of numbers.
        l2: the weight of the penalty 0.5 * l2 * (sum of all squared weights), without the biases.
        lr: the step size.
        init: how the weights begin, as `tg.nn.Linear` takes it.
        spiral: whether the data are the notebook's spiral; they are random otherwise.
        threads: of BLAS and of the peers; None for what the command line says.
        steps: how many steps are timed at once, so that a call takes some milliseconds.
    """

    name: str
    rows: int
    sizes: tuple[int, ...]
    dtype: str = "float32"
    activation: str = "relu"
    loss: str = "cross_entropy"
    l2: float = 0.0
    lr: float = 0.01
    init: str | float = "he"
    spiral: bool = False
    threads: int | None = None
    steps: int = 20

    def without_arithmetic(self) -> Workload:
        """The same program on two rows and layers of two units: calls that compute next to nothing.

        Of one row or unit it might be another program, since axes of length 1 broadcast.
        """
        sizes = (2,) * len(self.sizes)
        return dataclasses.replace(self, rows=2, sizes=sizes, spiral=False)


def seeds(dtype: str, activation: str) -> Workload:
    """The notebook's net and data."""
    name = f"2-50-50-3, {dtype}, {activation}"
    return Workload(
        name, 300, (2, 50, 50, 3), dtype, activation, l2=1e-3, lr=0.1, init=0.1, spiral=True
    )


def mnist(threads: int) -> Workload:
    """A net of the usual size for MNIST, on numbers of that shape."""
    name = f"784-256-128-10, {threads} thread{'s' * (threads > 1)}"
    # The threads of one library keep a core busy for some 25 ms after its last product: a call of
    # the next one should take long in comparison.
    steps = 20 if threads > 1 else 10
    return Workload(name, 128, (784, 256, 128, 10), threads=threads, steps=steps)


WORKLOADS = (
    *(
        seeds(dtype, activation)
        for dtype in ("float64", "float32")
        for activation in ("relu", "sigmoid")
    ),
    mnist(1),
    mnist(2),
    *(
        Workload(f"2-16-1, {d}", 32, (2, 16, 1), d, loss="mse", steps=200)
        for d in ("float64", "float32")
    ),
    Workload("20 layers of 32", 64, (*[32] * 20, 10)),
)


@dataclass(frozen=True)
class Task:
    """A workload with its data and with the net at the start, which is there to be copied."""

    workload: Workload
    X: np.ndarray
    y: np.ndarray
    net: tg.nn.MLP

    @classmethod
    def of(cls, workload: Workload) -> Task:
        """The data and the initial net: the same in every run."""
        w = workload
        rng = np.random.default_rng(0)
        if w.spiral:
            X, y = tg.data.spiral(
                points_per_class=w.rows // w.sizes[-1], classes=w.sizes[-1], rng=0
            )
        else:
            X = rng.standard_normal((w.rows, w.sizes[0]))
            y = rng.integers(w.sizes[-1], size=w.rows)
        if w.loss == "mse":
            y = rng.standard_normal((w.rows, w.sizes[-1])).astype(w.dtype)
        net = tg.nn.MLP(w.sizes, w.activation, init=w.init, rng=0, dtype=w.dtype)
        return cls(w, X.astype(w.dtype), y, net)

    def parameters(self) -> list[np.ndarray]:
        """Copies of W1, b1, W2, b2, ... at the start."""
        return list(self.net.state_dict().values())

    def net_of_its_own(self) -> tg.nn.MLP:
        """A net with those parameters."""
        net = tg.nn.MLP(self.workload.sizes, self.workload.activation, dtype=self.X.dtype)
        net.load_state_dict(self.net.state_dict())
        return net
