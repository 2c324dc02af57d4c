"""What a step of data-parallel training costs, on paper.

With n ranks and B rows in a minibatch, a step takes

    T(n) = F + c * ceil(B / n) + A(n, m)

F is the fixed cost of a step (the calls, the update of all parameters), c the cost of a row, and A
that of the Allreduce of m bytes, the gradient. An Allreduce of n = 2^k ranks takes, by recursive
doubling and by reduce-scatter with allgather (Rabenseifner's algorithm),

    log2(n) * (alpha + m * beta)    and    2 * log2(n) * alpha + 2 * (n - 1) / n * m * beta

with the latency alpha and the time beta of a byte to be sent and added up. MPI chooses by size, so
A is the less of the two. Source: Thakur, Rabenseifner and Gropp, "Optimization of collective
communication operations in MPICH", International Journal of High Performance Computing
Applications 19(1), 2005. There the addition has a time of its own; here it is part of beta.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

__all__ = ["Cost", "Network", "line"]


def line(times: Mapping[int, float]) -> tuple[float, float]:
    """(a, b) of the line a + b * x that is nearest to the times at x, relatively; at least 0."""
    x, t = np.array(list(times), float), np.array(list(times.values()))
    best = (math.inf, 0.0, 0.0)
    for columns in ((0, 1), (0,), (1,)):
        terms = np.stack([np.ones_like(x), x], axis=1)[:, columns] / t[:, None]
        found = np.zeros(2)
        found[list(columns)], *_ = np.linalg.lstsq(terms, np.ones_like(t), rcond=None)
        error = float(np.sum(((found[0] + found[1] * x) / t - 1) ** 2))
        if (found >= 0).all() and error < best[0]:
            best = (error, float(found[0]), float(found[1]))
    return best[1:]


@dataclasses.dataclass(frozen=True)
class Network:
    """The latency of a message in seconds, and the time of a byte."""

    alpha: float
    beta: float

    @classmethod
    def of(cls, sums: Mapping[int, float]) -> Network:
        """From the times of an Allreduce on two ranks, by how many float64 were added up."""
        return cls(*line({8 * size: time for size, time in sums.items()}))

    def allreduce(self, ranks: int, size: float) -> float:
        """The time in which so many ranks add up so many bytes."""
        rounds = math.log2(ranks)
        doubling = rounds * (self.alpha + size * self.beta)
        halving = 2 * rounds * self.alpha + 2 * (ranks - 1) / ranks * size * self.beta
        return min(doubling, halving)


@dataclasses.dataclass(frozen=True)
class Cost:
    """A net: seconds that a step takes at least, seconds of a row, and bytes of the gradient."""

    fixed: float
    row: float
    size: int

    @classmethod
    def of(cls, steps: Mapping[int, float], size: int) -> Cost:
        """From the times of steps on one rank, by how many rows they have."""
        return cls(*line(steps), size)

    def step(self, ranks: int, rows: int, network: Network) -> float:
        """The time of a step, `rows` of all ranks together."""
        return self.fixed + self.row * math.ceil(rows / ranks) + network.allreduce(ranks, self.size)
