"""The command line: `python -m benchmarks NAME`.

NumPy is imported only after the number of threads has been set, by the modules of the commands.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

COMMANDS = {
    "step": "a training step of several nets, against NumPy by hand",
    "growth": "how a training step grows with batch, width and depth of the net",
    "op": "one small operation, forward and backward",
    "import": "`import tinygrad_edu`, against `import numpy`",
    "scaling": "chains of 1e5 and of 1e6 operations",
    "training": "pictures of nets that learn a spiral, and what is in them then",
    "gradcheck": "what gradient checkers catch of wrong gradients, and accept of right ones",
    "mutation": "whether the tests notice a wrong derivative",
    "coverage": "how much NumPy code can be differentiated as it is, by this engine and others",
    "page": "the page of a tape: how long it takes to make, to open and to go a step on",
    "mpi": "training on several ranks of MPI, and on paper on many",
    "fuzz": "random programs, against PyTorch and the gradient checker",
    "sklearn": "the estimators of tinygrad_edu.sklearn against scikit-learn's: scores and time",
}
# A module cannot be called `import`, and should not be called like a package that it imports.
MODULES = {"import": "imports", "sklearn": "estimators"}
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command, or lists them; returns the exit status: 0 if it did its work."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measures the engine.")
    commands = parser.add_subparsers(dest="name", metavar="NAME")
    parsers = {name: commands.add_parser(name, help=text) for name, text in COMMANDS.items()}
    for command in parsers.values():
        command.add_argument("--threads", type=_count, default=1, help="BLAS threads; default: 1")
        command.add_argument("--out", type=Path, help="keep the raw figures in this JSON file")
    for name, what in (("step", "each net"), ("growth", "each net"), ("op", "all")):
        parsers[name].add_argument(
            "--seconds", type=float, default=10.0, help=f"how long to measure {what}; default: 10"
        )
    large = "PyTorch, torch.compile, jax.jit, autograd, MyGrad"
    for name, what in (
        ("step", large),
        ("growth", large),
        ("op", "PyTorch, autograd, MyGrad, micrograd"),
    ):
        parsers[name].add_argument("--peers", action="store_true", help=f"also {what}")
    for name in ("step", "growth", "training", "mpi"):
        parsers[name].add_argument("--picture", type=Path, help="also draw it into this file")
    parsers["mpi"].add_argument(
        "--seconds", type=float, default=1.0, help="how long to measure each net; default: 1"
    )
    parsers["mpi"].add_argument(
        "--launches", type=_count, default=5, help="how often each job is started; default: 5"
    )
    parsers["training"].add_argument(
        "--movie", type=Path, help="also film one of them: FILE.gif or FILE.html"
    )
    parsers["step"].add_argument(
        "--only", metavar="NET", help="the nets with this in their names, such as 784"
    )
    parsers["page"].add_argument("--pictures", type=Path, help="also screenshots, into this folder")
    mutation = parsers["mutation"]
    mutation.add_argument(
        "--limit", type=_count, default=250, help="how many mutants to draw; default: 250"
    )
    mutation.add_argument("--only", metavar="FILE", help="of one file, such as linalg.py")
    mutation.add_argument("--jobs", type=_count, default=2, help="test runs at a time; default: 2")
    mutation.add_argument("--seed", type=int, default=0, help="of the draw; default: 0")
    coverage = parsers["coverage"]
    coverage.add_argument("--limit", type=_count, help="how many expressions to try; default: all")
    coverage.add_argument("--only", metavar="GROUP", help="of one group, such as indexing")
    fuzz = parsers["fuzz"]
    fuzz.add_argument(
        "--programs", type=_count, default=10_000, help="how many to try; default: 10000"
    )
    fuzz.add_argument("--seed", type=int, default=0, help="of the programs; default: 0")
    fuzz.add_argument("--jobs", type=_count, default=2, help="processes; default: 2")
    fuzz.add_argument(
        "--check-every", type=_count, default=20, help="also ask the checker; default: of 20 one"
    )
    fuzz.add_argument(
        "--compiled", action="store_true", help="compiled functions against the functions instead"
    )
    parsers["sklearn"].add_argument(
        "--seeds", type=_count, default=3, help="how many, each with 5 folds; default: 3"
    )
    options = parser.parse_args(arguments)
    if options.name is None:
        parser.print_help()
        return 0
    for option in ("out", "picture", "movie"):
        path = getattr(options, option, None)
        if path is not None and not path.parent.is_dir():
            parser.error(f"--{option} {path}: there is no such folder")
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(options.threads)

    timing = importlib.import_module("benchmarks.timing")
    module = importlib.import_module(f"benchmarks.{MODULES.get(options.name, options.name)}")
    machine = timing.machine(options.threads)
    report, figures = module.run(options)
    print(f"{timing.headline(machine)}\n\n{report}")
    if options.out is not None:
        raw = {"name": options.name, "machine": machine, "figures": figures}
        options.out.write_text(json.dumps(raw, indent=1) + "\n")
    return 0


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return count


if __name__ == "__main__":
    sys.exit(main())
