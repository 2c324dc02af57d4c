"""The command line: `python -m tinygrad_edu`, also installed as `tinygrad-edu`."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from tinygrad_edu import __version__
from tinygrad_edu.gradcheck import command as check_command
from tinygrad_edu.show import command as explain_command
from tinygrad_edu.tables import predict_command, train_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0 if it did its work."""
    parser = argparse.ArgumentParser("tinygrad-edu", description="Automatic differentiation.")
    parser.add_argument("--version", action="version", version=f"tinygrad-edu {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="train a sigmoid net and a relu net on a spiral and compare their gradients",
        description="Trains a sigmoid net and a relu net of 2-50-50-3 units on the same spiral, "
        'prints their losses beside those that the notebook "Vanishing Gradients" prints for the '
        "same start, checks the gradients, and draws pictures.",
    )
    demo.add_argument(
        "--steps", type=_count, default=10_000, help="default: 10000; the notebook's run: 50000"
    )
    demo.add_argument("--out", type=Path, default=Path("demo"), help="folder for the pictures")
    demo.add_argument(
        "--mpi",
        action="store_true",
        help="train on all ranks of MPI: mpiexec -n 4 python -m tinygrad_edu demo --mpi",
    )
    check = commands.add_parser(
        "check",
        help="check the gradient of a function against measured slopes",
        description="Checks the gradient of a function: the engine's, or one derived by hand. "
        "The exit status is 0 if it is right, 1 if it is wrong, 2 if it could not be checked.",
    )
    check_command.add_arguments(check)
    explain = commands.add_parser(
        "explain",
        help="write a web page that steps through a function and its gradient",
        description="Calls a function, without inputs or with those that are given, and writes one "
        "web page that steps through what it computed, and back for the gradient.",
    )
    explain_command.add_arguments(explain)
    train = commands.add_parser(
        "train",
        help="train a net on a CSV file, and write it with a report",
        description="Reads a table, trains a net to predict one of its columns, measures it on "
        "rows that it has not seen, and writes the model and a report with pictures.",
    )
    train_command.add_arguments(train)
    predict = commands.add_parser(
        "predict",
        help="let a net that was trained on a CSV file predict for another",
        description="Writes what a model of `train` predicts for each row of a table, as CSV. If "
        "the table has the target, too, the score goes to the standard error.",
    )
    predict_command.add_arguments(predict)
    rules = commands.add_parser(
        "rules",
        help="print the rule book: every function with its derivative",
        description="Prints every function that can be differentiated, with its derivative lines "
        "as they stand in the source. g is the gradient at the output, y the output.",
    )
    rules.add_argument("name", nargs="?", default="", help="only functions with this in the name")
    rules.add_argument("--table", action="store_true", help="the names alone, as in the README")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name of a file need not be valid UTF-8, and not every terminal has every letter.
        sys.stdout.reconfigure(errors="backslashreplace")
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    if options.command == "rules":
        return _rules(options.name, options.table)
    if options.command == "demo":
        return _demo(options.steps, options.out, options.mpi)
    others = {
        "check": check_command,
        "explain": explain_command,
        "predict": predict_command,
        "train": train_command,
    }
    status: int = others[options.command].run(options)
    return status


def _rules(name: str, as_table: bool) -> int:
    from tinygrad_edu import book

    listing = book.table() if as_table else book.text(name)
    if not listing:
        print(
            f"no function with {name!r} in its name has a rule; tg.derivative or tg.composition "
            f"write one into the book",
            file=sys.stderr,
        )
        return 1
    with contextlib.suppress(BrokenPipeError):  # as of `| head`
        print(listing, flush=True)
    return 0


def _demo(steps: int, out: Path, on_mpi: bool) -> int:
    from tinygrad_edu import demo, style

    comm = None
    if on_mpi:
        try:
            from mpi4py import MPI
        except ModuleNotFoundError:
            print('--mpi needs mpi4py: pip install "tinygrad-edu[mpi]"', file=sys.stderr)
            return 2
        comm = MPI.COMM_WORLD
    is_main = comm is None or comm.Get_rank() == 0
    draws = style.can_draw()
    try:
        with contextlib.redirect_stdout(sys.stdout if is_main else io.StringIO()):
            trainers = demo.run(steps, out if draws and is_main else None, is_main, comm)
    except OSError as error:
        if on_mpi:
            raise  # which ends the other ranks, too
        print(f"the pictures cannot be written to --out {out}: {error}", file=sys.stderr)
        return 2
    if is_main and not draws:
        print("\nNo pictures without matplotlib: pip install matplotlib", file=sys.stderr)
    return 130 if any(t.history.interrupted for t in trainers.values()) else 0


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return count


if __name__ == "__main__":
    sys.exit(main())
