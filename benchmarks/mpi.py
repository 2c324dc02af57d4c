"""Data-parallel training: steps on 1, 2 and 4 ranks of this machine, and on paper on up to 1024.

`mpi_ranks.py` is what the ranks measure, `mpi_model.py` the cost on paper. Its pieces are measured
here: the fixed cost of a step and the cost of a row on one rank, latency and bandwidth on two.

A rank that another program keeps from its core keeps all ranks waiting. So each job is launched
several times, in turn, and of each figure the launch with the least median counts; and the pieces
of which the cost on paper consists are CPU times, but for the Allreduce.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_edu as tg
from benchmarks.mpi_model import Cost, Network
from benchmarks.mpi_ranks import NETS
from benchmarks.step import drawing
from benchmarks.timing import spread, table

MEASURED = (1, 2, 4)
ON_PAPER = tuple(2**k for k in range(11))
# Not measured: what is usual in a cluster, where messages do not go through shared memory.
ETHERNET = Network(alpha=30e-6, beta=1 / 1.0e9)


def run(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The tables, and all times in seconds."""
    draw = drawing("mpi", options.picture)
    launches: dict[int, list[Any]] = {ranks: [] for ranks in MEASURED}
    for _ in range(options.launches):
        for ranks, found in launches.items():
            found.append(_launched(ranks, options))
    figures = {ranks: _quietest(found) for ranks, found in launches.items()}
    text, scaling = report(figures)
    draw(scaling)
    return text, {str(ranks): found for ranks, found in figures.items()}


def report(figures: dict[int, Any]) -> tuple[str, dict[str, Any]]:
    """The tables, and what is drawn."""
    network = Network.of(_medians(figures[2]["sums"]))
    costs = {name: Cost.of(_medians(figures[1]["rows"][name]), _bytes(name)) for name in NETS}
    text = [_steps(figures, costs, network), _pieces(costs, network), _sums(figures, network)]
    papers = {}
    for where, how in (("as in this machine", network), ("on Ethernet", ETHERNET)):
        papers[where] = {name: _scaling(cost, NETS[name][1], how) for name, cost in costs.items()}
        text.append(_on_paper(papers[where], where))
    measured = {
        name: {n: _undisturbed(figures, 1, name) / _undisturbed(figures, n, name) for n in MEASURED}
        for name in NETS
    }
    return "\n\n".join(text), {"papers": papers, "measured": measured}


def _quietest(launches: list[Any]) -> Any:
    """Of each list of times that with the least median, and what stands beside it."""
    first = launches[0]
    if isinstance(first, list):
        return min(launches, key=np.median)
    if "step" in first:
        return min(launches, key=lambda found: np.median(found["step"]))
    return {key: _quietest([found[key] for found in launches]) for key in first}


def _launched(ranks: int, options: argparse.Namespace) -> dict[str, Any]:
    """What so many ranks measure."""
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    mpiexec = shutil.which("mpiexec", path=beside)
    if mpiexec is None:
        raise SystemExit('this needs an MPI: pip install "tinygrad-edu[mpi]"')
    command = [mpiexec, "-n", str(ranks), sys.executable, "-m", "benchmarks.mpi_ranks"]
    command += ["--threads", str(options.threads), "--seconds", str(options.seconds)]
    environment = dict(os.environ)
    if ranks > (os.cpu_count() or 1):
        # Ranks that wait then hold up those that compute; this has MPICH give way at once.
        environment["MPIR_CVAR_POLLS_BEFORE_YIELD"] = "1"
    pipe = subprocess.PIPE
    done = subprocess.run(command, stdout=pipe, text=True, check=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _medians(times: dict[str, list[float]]) -> dict[int, float]:
    return {int(size): float(np.median(values)) for size, values in times.items()}


def _undisturbed(figures: dict[int, Any], ranks: int, name: str) -> float:
    """The CPU time of a step, and the time that an Allreduce of its gradient takes alone."""
    sums = _medians(figures[ranks]["sums"])
    summed = np.interp(_bytes(name) / 8, list(sums), list(sums.values()))
    return float(np.median(figures[ranks]["nets"][name]["cpu"]) + summed)


def _bytes(name: str) -> int:
    return 8 * sum(p.size for p in tg.nn.MLP(NETS[name][0]).parameters())


def _micro(seconds: Any) -> str:
    return spread(1e6 * np.asarray(seconds), 0)


def _steps(figures: dict[int, Any], costs: dict[str, Cost], network: Network) -> str:
    rows = []
    for name, (_, batch) in NETS.items():
        without = 1e6 * np.median(figures[1]["without_mpi"][name])
        rows.append([f"{name}, {batch} rows", "no MPI", "", "", f"{without:.0f}", "", "", ""])
        for ranks in MEASURED:
            found = figures[ranks]["nets"][name]
            cpu = f"{1e6 * np.median(found['cpu']):.0f}"
            share = f"{100 * np.mean(found['shares']):.0f} %"
            alone = _undisturbed(figures, ranks, name)
            speedup = f"{_undisturbed(figures, 1, name) / alone:.2f}"
            on_paper = f"{1e6 * costs[name].step(ranks, batch, network):.0f}"
            rows.append(["", str(ranks), _micro(found["step"]), share])
            rows[-1] += [cpu, f"{1e6 * alone:.0f}", speedup, on_paper]
    columns = ["net", "ranks", "step, us", "in Allreduce", "CPU time, us"]
    return table([*columns, "and Allreduce alone", "speedup", "on paper, us"], rows)


def _pieces(costs: dict[str, Cost], network: Network) -> str:
    rows = [
        [name, f"{1e6 * cost.fixed:.0f}", f"{1e6 * cost.row:.2f}", f"{cost.size / 1e3:.0f}"]
        for name, cost in costs.items()
    ]
    text = table(["net", "fixed cost, us", "a row, us", "gradient, kB"], rows)
    return (
        f"{text}\n\nAllreduce of two ranks: latency {1e6 * network.alpha:.1f} us, "
        f"{1e-9 / network.beta:.2f} GB/s."
    )


def _sums(figures: dict[int, Any], network: Network) -> str:
    found = {ranks: figures[ranks]["sums"] for ranks in MEASURED}
    rows = []
    for size in found[1]:
        on_paper = f"{1e6 * network.allreduce(2, 8 * int(size)):.0f}"
        times = [_micro(found[ranks][size]) for ranks in MEASURED]
        rows.append([f"{8 * int(size):,}", *times, on_paper])
    names = [f"{ranks} ranks, us" for ranks in MEASURED]
    return table(["Allreduce of bytes", *names, "2 on paper, us"], rows)


def _scaling(cost: Cost, rows: int, network: Network) -> dict[str, list[float]]:
    """By `ON_PAPER`: the speedup with the same minibatch, the efficiency with so many rows each."""
    return {
        "speedup": [cost.step(1, rows, network) / cost.step(n, rows, network) for n in ON_PAPER],
        "efficiency": [
            cost.step(1, rows, network) / cost.step(n, n * rows, network) for n in ON_PAPER
        ],
    }


def _on_paper(paper: dict[str, dict[str, list[float]]], where: str) -> str:
    rows = []
    for name, found in paper.items():
        speedup = np.array(found["speedup"])
        fastest = ON_PAPER[int(speedup.argmax())]
        half = max(n for n, value in zip(ON_PAPER, speedup, strict=True) if value >= n / 2)
        rows.append([f"{name}, {NETS[name][1]} rows: speedup"])
        rows[-1] += [*(f"{value:.1f}" for value in speedup), str(half), str(fastest)]
        rows.append([f"{NETS[name][1]} rows each: efficiency"])
        rows[-1] += [*(f"{value:.2f}" for value in found["efficiency"]), "", ""]
    columns = [f"ranks, {where}", *map(str, ON_PAPER), "half wasted above", "fastest"]
    return table(columns, rows)
