"""What each rank measures; mpi.py starts `mpiexec -n 2 python -m benchmarks.mpi_ranks`.

The first rank prints its figures as JSON. All times are in seconds.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np

import tinygrad_edu as tg
from benchmarks.timing import machine

# By name: the sizes of an MLP, and the rows of its minibatch.
NETS = {
    "2-50-50-3": ((2, 50, 50, 3), 300),
    "64-256-256-10": ((64, 256, 256, 10), 512),
    "784-256-256-10": ((784, 256, 256, 10), 256),
}
# So many numbers are added up in an Allreduce.
SIZES = (1, 64, 1024, 8192, 65_536, 262_144, 1_048_576)
# The share of a minibatch on a rank of its own: from a row to a whole one.
ROWS = (1, 8, 32, 128, 512)
# Steps that are not counted: the first ones compile the program.
WARM = 10
# Steps of a fit of a Trainer without MPI, so many that its beginning does not count.
FIT = 100


class TimedComm:
    """A communicator that notes when each Allreduce began and ended, and the CPU time by then."""

    def __init__(self, comm: Any):
        self.comm = comm
        self.times: list[tuple[float, float, float, float]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.comm, name)

    def Allreduce(self, *arguments: Any) -> None:
        """The Allreduce itself, timed."""
        cpu, start = time.process_time(), time.perf_counter()
        self.comm.Allreduce(*arguments)
        self.times.append((start, time.perf_counter(), cpu, time.process_time()))


def trainer_of(sizes: tuple[int, ...], rows: int, comm: Any) -> tuple[Any, Any, Any]:
    """A Trainer of an MLP, compiled, with Adam in double precision, and data for it."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((rows, sizes[0])), rng.integers(sizes[-1], size=rows)
    net = tg.nn.MLP(sizes, "relu", rng=0)
    return tg.Trainer(net, tg.optim.Adam(net.parameters(), lr=1e-4), comm=comm), X, y


def steps(name: str, rows: int, comm: Any, seconds: float) -> dict[str, Any]:
    """Steps with so many rows: how long each took, what of it the Allreduce, and the CPU time.

    A step is measured from the beginning of one Allreduce to that of the next. The CPU time is that
    of what a rank does between them, which other programs on the same cores hardly change.
    """
    timed = TimedComm(comm)
    trainer, X, y = trainer_of(NETS[name][0], rows, timed)
    trainer.fit(X, y, WARM, progress=False)
    start = time.perf_counter()
    trainer.fit(X, y, WARM, progress=False)
    one = (time.perf_counter() - start) / WARM
    count = comm.bcast(max(WARM, int(seconds / one)))
    timed.times.clear()
    trainer.fit(X, y, count, progress=False)
    # The end of the last step is not seen, and after it the fit ends with a sum of its own.
    starts, ends, cpu_starts, cpu_ends = np.array(timed.times[:count]).T
    took, summed = np.diff(starts), (ends - starts)[:-1]
    shares = comm.gather(float(summed.sum() / took.sum()))
    cpu = cpu_starts[1:] - cpu_ends[:-1]
    return {"step": took.tolist(), "cpu": cpu.tolist(), "shares": shares}


def without_mpi(name: str, seconds: float) -> list[float]:
    """The CPU time of steps of a Trainer without `comm`: the mean of each of some fits."""
    sizes, rows = NETS[name]
    trainer, X, y = trainer_of(sizes, rows, None)
    trainer.fit(X, y, WARM, progress=False)
    means: list[float] = []
    stop = time.perf_counter() + seconds
    while len(means) < 3 or time.perf_counter() < stop:
        start = time.process_time()
        trainer.fit(X, y, FIT, progress=False)
        means.append((time.process_time() - start) / FIT)
    return means


def sums(comm: Any, seconds: float) -> dict[int, list[float]]:
    """Allreduce alone, by how many numbers are added up."""
    from mpi4py import MPI

    found: dict[int, list[float]] = {}
    for size in SIZES:
        vector = np.zeros(size)
        times: list[float] = []
        stop = time.perf_counter() + seconds / len(SIZES)
        while comm.bcast(len(times) < 20 or time.perf_counter() < stop):
            comm.Barrier()
            start = time.perf_counter()
            comm.Allreduce(MPI.IN_PLACE, vector)
            times.append(time.perf_counter() - start)
        found[size] = times
    return found


def main() -> None:
    """Measures, and lets the first rank print."""
    from mpi4py import MPI

    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    machine(options.threads)
    comm, seconds = MPI.COMM_WORLD, options.seconds
    figures: dict[str, Any] = {"sums": sums(comm, seconds)}
    figures["nets"] = {name: steps(name, rows, comm, seconds) for name, (_, rows) in NETS.items()}
    if comm.Get_size() == 1:
        figures["without_mpi"] = {name: without_mpi(name, seconds) for name in NETS}
        figures["rows"] = {
            name: {rows: steps(name, rows, comm, seconds / len(ROWS))["cpu"] for rows in ROWS}
            for name in NETS
        }
    if comm.Get_rank() == 0:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
