"""How long `import tinygrad_edu` takes, against `import numpy`, which is the larger part of it.

Whole processes are timed, from start to exit, since that is what one waits for.
"""

from __future__ import annotations

import argparse
import functools
import subprocess
import sys
from typing import Any

from benchmarks.timing import interleaved, ratios, spread, table

PAIRS = 25


def run(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The table, and the seconds of each process in every round."""
    variants = {
        f"import {name}": functools.partial(_import, name) for name in ("numpy", "tinygrad_edu")
    }
    times = interleaved(variants, 0.0, PAIRS)
    rows = [
        [
            f"`{name}`",
            spread([1e3 * t for t in each], 0),
            spread(ratios(each, times["import numpy"])),
        ]
        for name, each in times.items()
    ]
    text = table(["a process that does", "milliseconds", "/ numpy"], rows)
    return f"{text}\n\n{PAIRS} pairs of processes in turn.", times


def _import(name: str) -> None:
    subprocess.run([sys.executable, "-c", f"import {name}"], check=True)
