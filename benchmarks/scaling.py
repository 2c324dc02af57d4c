"""Whether long computations cost in proportion to their length.

A chain of 1e5 operations and one of 1e6: the forward pass, the backward pass, and freeing the
tape. Ten times the operations should take about ten times as long, and none of the three may need
Python's recursion, whose limit stays as it is. The garbage collector is off: a tape has no
reference cycles, so freeing it must not wait for one.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from typing import Any

import numpy as np

import tinygrad_edu as tg
from benchmarks.timing import spread, table

LENGTHS = (100_000, 1_000_000)
PHASES = ("forward", "backward", "freeing")
REPEATS = 5
BOUND = 13


def measure(operations: int) -> list[float]:
    """The seconds of forward, backward and freeing of one chain."""
    c, x = np.full(8, 0.999), np.ones(8)
    start = time.perf_counter()
    z = tg.Tensor(x, requires_grad=True)
    for _ in range(operations // 2):
        z = z * c + x
    forward = time.perf_counter()
    # The tape is kept, so that freeing it can be timed by itself.
    z.backward(np.ones(8), retain_graph=True)
    backward = time.perf_counter()
    del z
    freed = time.perf_counter()
    return [forward - start, backward - forward, freed - backward]


def run(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The table, and the seconds of each phase by length, in every repetition."""
    times: dict[int, list[list[float]]] = {n: [] for n in LENGTHS}
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        measure(LENGTHS[0])
        for _ in range(REPEATS):
            for n in LENGTHS:
                times[n].append(measure(n))
    finally:
        if was_enabled:
            gc.enable()
    short, long = (np.array(times[n]) for n in LENGTHS)
    rows = [
        [phase, spread(short[:, i], 3), spread(long[:, i], 3), spread(long[:, i] / short[:, i], 1)]
        for i, phase in enumerate(PHASES)
    ]
    text = table(["seconds", *(f"{n:,} operations" for n in LENGTHS), "ratio"], rows)
    text += (
        f"\n\n{REPEATS} repetitions of both in turn; recursion limit {sys.getrecursionlimit()}, "
        f"garbage collector off. A ratio of 10 is linear; above {BOUND} something is not."
    )
    return text, {str(n): [dict(zip(PHASES, t, strict=True)) for t in times[n]] for n in LENGTHS}
