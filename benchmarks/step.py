"""One training step of nets of several sizes: hand-written NumPy, the engine, and its peers.

`workloads.py` has the nets, `hand.py`, `floor.py` and `variants.py` the ways to do a step of one,
`peers_step.py` those of other libraries. Before anything is timed, all must agree after three
steps. Three more figures say what a step consists of:

- the matrix products alone, which no program in NumPy can avoid;
- the calls alone: the time of the same program on two rows and layers of two units, in place of the
  net's own. It makes the same calls, and their arithmetic is next to nothing, so this is about what
  a step spends outside NumPy's kernels: on Python, and on NumPy finding the right kernel;
- the memory: what NumPy holds for a variant before a step, buffers and parameters included but not
  the data, and the most by which that rises during the step.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib.util
import multiprocessing
import tracemalloc
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.floor import products
from benchmarks.peers_step import PEERS
from benchmarks.timing import interleaved, machine, ratios, spread, table
from benchmarks.variants import VARIANTS
from benchmarks.workloads import WORKLOADS, Task, Variant, Workload

ROUNDS = 20
TOLERANCES = {"float64": 1e-10, "float32": 1e-4}
# Of these also the memory and the calls alone are measured.
EXAMINED = ("hand", "floor", "eager", "compiled", "trainer")
PRODUCTS = "matrix products alone"
CALLS = "calls alone of "

# By variant, the seconds of one step in every round.
Times = dict[str, list[float]]


@functools.cache
def installed() -> dict[str, Callable[[Task, int], Variant]]:
    """The peers that are there."""
    found = {}
    probe = Task.of(WORKLOADS[0])
    for name, make in PEERS.items():
        try:
            make(probe, 1)
        except ModuleNotFoundError:
            continue
        found[name] = make
    return found


def not_installed(with_peers: bool) -> str:
    """A sentence on the peers that are missing, if any."""
    missing = [name for name in PEERS if name not in installed()] if with_peers else []
    return f" Not installed: {', '.join(missing)}." if missing else ""


def check(variants: Mapping[str, Variant], tolerance: float) -> None:
    """Takes three steps with each variant.

    Raises:
        ArithmeticError: a loss or a parameter differs from the first variant's by more than
            `tolerance`, relative to the largest value of that array.
    """
    expected: list[np.ndarray] = []
    for name, run in variants.items():
        losses = np.array([run(1)[0] for _ in range(2)])
        loss, parameters = run(1)
        found = [np.append(losses, loss), *(np.array(p) for p in parameters)]
        expected = expected or found
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):
            if a.shape != b.shape or not np.abs(a - b).max() <= tolerance * np.abs(b).max():
                what = f"{'bW'[i % 2]}{(i + 1) // 2}" if i else "the loss"
                raise ArithmeticError(f"after three steps {what} of {name} is {a}, not {b}")


def measure(
    workload: Workload,
    names: Iterable[str],
    examined: Iterable[str],
    options: argparse.Namespace,
) -> Times:
    """Times variants of these names and the peers in turn, and of some also the calls alone."""
    task = Task.of(workload)
    makers = {name: make for name, make in VARIANTS.items() if name in names}
    variants = {name: make(task) for name, make in makers.items()}
    if options.peers:
        threads = workload.threads or options.threads
        variants |= {name: make(task, threads) for name, make in installed().items()}
    check(variants, TOLERANCES[workload.dtype])

    small = Task.of(workload.without_arithmetic())
    extras = {CALLS + name: make(small) for name, make in makers.items() if name in examined}
    extras[PRODUCTS] = products(task)
    calls = {n: functools.partial(r, workload.steps) for n, r in (variants | extras).items()}
    times = interleaved(calls, options.seconds, ROUNDS)
    for name, run in variants.items():
        if not np.isfinite(run(1)[0]):
            raise ArithmeticError(f"the loss of {name} on {workload.name} is not finite any more")
    return {name: [t / workload.steps for t in rounds] for name, rounds in times.items()}


def peak_memory(workload: Workload, name: str) -> int:
    """How many bytes NumPy holds at most in a step, without the data."""
    task = Task.of(workload)
    tracemalloc.start()
    run = VARIANTS[name](task)
    run(3)
    gc.collect()
    only_numpy = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    traces = tracemalloc.take_snapshot().filter_traces([only_numpy]).traces
    held = sum(trace.size for trace in traces)
    del traces
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    run(1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held + peak - before


def memory(workloads: Iterable[Workload]) -> dict[str, dict[str, int]]:
    """The peak memory of a step in bytes, by workload and variant.

    Each in a process of its own, where no earlier one has left buffers behind that can be used.
    """
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, fresh, max_tasks_per_child=1) as pool:
        return {
            w.name: dict(
                zip(EXAMINED, pool.map(functools.partial(peak_memory, w), EXAMINED), strict=True)
            )
            for w in workloads
        }


def drawing(name: str, path: Path | None) -> Callable[[Any], None]:
    """Draws figures into the file by a function of `pictures.py`; does nothing without a file.

    Raises:
        ModuleNotFoundError: matplotlib is missing, which is said before anything is measured.
    """
    if path is None:
        return lambda figures: None
    from benchmarks import pictures

    return functools.partial(getattr(pictures, name), path)


def ratio_rows(figures: Mapping[str, Times]) -> list[list[str]]:
    """The microseconds of `hand`, and what all others take relative to it; a column a workload."""
    cases = figures.values()
    rows = [["hand, microseconds", *(spread([1e6 * t for t in c["hand"]], 0) for c in cases)]]
    names = [n for n in next(iter(cases)) if n != "hand" and not n.startswith(CALLS)]
    return rows + [
        [f"{name} / hand", *(spread(ratios(c[name], c["hand"])) for c in cases)] for name in names
    ]


def run(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The tables, and the raw figures: seconds of one step in every round, and bytes."""
    workloads = [w for w in WORKLOADS if options.only is None or options.only in w.name]
    if importlib.util.find_spec("threadpoolctl") is None:
        workloads = [w for w in workloads if w.threads is None]
    if not workloads:
        raise SystemExit(f"no net like {options.only!r}; there are {[w.name for w in WORKLOADS]}")
    draw = drawing("dots", options.picture)
    bytes_held = memory(workloads)
    figures = {}
    for workload in workloads:
        if workload.threads is not None:
            machine(workload.threads)
        figures[workload.name] = measure(workload, VARIANTS, EXAMINED, options)
        machine(options.threads)

    rounds = min(len(case["hand"]) for case in figures.values())
    text = table(["one training step", *figures], ratio_rows(figures))
    text += f"\n\nAt least {rounds} rounds of each variant.{not_installed(options.peers)}\n\n"
    cases = figures.values()
    rows = [[n, *(spread(ratios(c[CALLS + n], c[n])) for c in cases)] for n in EXAMINED]
    text += table(["calls alone / step", *figures], rows) + "\n\n"
    rows = [[n, *(f"{b[n] / 1e3:,.0f}" for b in bytes_held.values())] for n in EXAMINED]
    text += table(["peak memory of a step, kB", *bytes_held], rows)
    draw(figures)
    return text, {"seconds": figures, "bytes": bytes_held}
