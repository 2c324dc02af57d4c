"""How the cost of a training step grows with the batch, the width and the depth of the net.

From a base of 32 rows and 2 layers of 16 units, each of the three is doubled five times while the
others stay. All single precision, ReLU, cross-entropy of 10 classes, plain gradient descent.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import Any

from benchmarks.hand import hand
from benchmarks.step import Times, drawing, measure, not_installed, ratio_rows
from benchmarks.timing import table
from benchmarks.workloads import Task, Workload

BASE = {"batch": 32, "width": 16, "depth": 2}
DOUBLINGS = 5
CLASSES = 10
NAMES = ("hand", "floor", "eager", "compiled")
# How long the steps of hand-written NumPy that are timed at once should take together.
CALL_SECONDS = 0.003


def net_of(batch: int, width: int, depth: int) -> Workload:
    """A net of `depth` layers of parameters, all but the last of them of `width` units."""
    name = f"batch {batch}, width {width}, depth {depth}"
    workload = Workload(name, batch, (*[width] * depth, CLASSES), steps=1)
    step = hand(Task.of(workload))
    step(3)
    start = time.perf_counter()
    step(10)
    one = (time.perf_counter() - start) / 10
    return dataclasses.replace(workload, steps=max(1, round(CALL_SECONDS / one)))


def run(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """A table for each of the three, and the seconds of one step of each variant in every round."""
    draw = drawing("growth", options.picture)
    growth: dict[str, dict[int, Times]] = {}
    base = None
    for quantity, start in BASE.items():
        growth[quantity] = {}
        for value in (start * 2**i for i in range(DOUBLINGS + 1)):
            if value == start and base is not None:
                growth[quantity][value] = base
                continue
            workload = net_of(**BASE | {quantity: value})
            times = measure(workload, NAMES, (), options)
            base = base or times
            growth[quantity][value] = times
    tables = [
        table(
            [f"{quantity} of", *map(str, found)], ratio_rows({str(v): t for v, t in found.items()})
        )
        for quantity, found in growth.items()
    ]
    rounds = min(len(t["hand"]) for found in growth.values() for t in found.values())
    names = ", ".join(f"{what} {value}" for what, value in BASE.items())
    text = "\n\n".join(tables)
    text += f"\n\nBase: {names}. At least {rounds} rounds of each variant."
    text += not_installed(options.peers)
    draw(growth)
    return text, growth
