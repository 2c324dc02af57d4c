"""How everything here is measured: in turn, many rounds, medians; and the tables."""

from __future__ import annotations

import datetime
import gc
import os
import platform
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def interleaved(
    variants: Mapping[str, Callable[[], Any]], seconds: float, rounds: int
) -> dict[str, list[float]]:
    """The seconds that each variant took, in every round.

    A round calls every variant once, so that a change of the machine's speed meets all of them, in
    an order drawn anew, so that none always follows the same. A first round warms up and is not
    counted. Reference cycles that one leaves behind are collected, untimed, before the next begins,
    which would otherwise pay for them; within its own time each pays for the garbage collector.

    Args:
        variants: what to call, by name.
        seconds: how long to go on for.
        rounds: how many rounds to do at least.
    """
    times: dict[str, list[float]] = {name: [] for name in variants}
    order = list(variants.items())
    for _, variant in order:
        variant()
    shuffle = random.Random(0).shuffle
    # What exists by now (modules, above all) is not looked at again, so that collecting is cheap.
    gc.freeze()
    stop = time.perf_counter() + seconds
    done = 0
    while done < rounds or time.perf_counter() < stop:
        shuffle(order)
        for name, variant in order:
            gc.collect()
            start = time.perf_counter()
            variant()
            times[name].append(time.perf_counter() - start)
        done += 1
    gc.unfreeze()
    return times


def ratios(times: Sequence[float], reference: Sequence[float]) -> np.ndarray:
    """Each time relative to the reference's in the same round."""
    return np.divide(times, reference)


def spread(values: Any, digits: int = 2) -> str:
    """The median with the 10th and the 90th percentile, as in `1.25 (1.20-1.31)`."""
    low, middle, high = np.percentile(values, [10, 50, 90])
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that it can be read as text too."""
    lines = [columns, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    ruler = [f":{'-' * (widths[0] - 1)}", *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    return "\n".join(
        "| " + " | ".join(f"{cell:{w}}" for cell, w in zip(line, widths, strict=True)) + " |"
        for line in [columns, ruler, *rows]
    )


def machine(threads: int) -> dict[str, Any]:
    """When and where it is measured. Sets the number of BLAS threads, if threadpoolctl is there.

    Without it the environment variables hold that were set before NumPy was imported; not every
    BLAS heeds them.
    """
    how = "environment"
    try:
        import threadpoolctl
    except ModuleNotFoundError:
        pass
    else:
        threadpoolctl.threadpool_limits(threads, user_api="blas")
        pools = [p for p in threadpoolctl.threadpool_info() if p["user_api"] == "blas"]
        threads = max((pool["num_threads"] for pool in pools), default=threads)
        how = "threadpoolctl"
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas_threads": threads,
        "blas_threads_set_by": how,
    }


def headline(facts: Mapping[str, Any]) -> str:
    """One line that says when and where the figures below it were measured."""
    return (
        f"Measured on {facts['date']}: {facts['cpu']}, {facts['cores']} cores; Python "
        f"{facts['python']}, NumPy {facts['numpy']}, BLAS threads: {facts['blas_threads']} "
        f"(set by {facts['blas_threads_set_by']}). Medians, with the 10th and the 90th percentile "
        f"in brackets."
    )


def _cpu_model() -> str:
    """The processor as Linux names it, or as Python does elsewhere."""
    listing = Path("/proc/cpuinfo")
    for line in listing.read_text().splitlines() if listing.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
