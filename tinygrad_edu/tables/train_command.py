"""`python -m tinygrad_edu train FILE.csv --target NAME`: from a table to a model and a report."""

from __future__ import annotations

import argparse
import importlib.util
import math
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["add_arguments", "run"]

SUFFIXES = (".npz", ".safetensors")


def add_arguments(parser: Any) -> None:
    """Adds the arguments of the command to an argparse parser."""
    parser.add_argument("table", type=Path, metavar="FILE.csv", help="the first line names columns")
    parser.add_argument("--target", required=True, metavar="NAME", help="the column to predict")
    parser.add_argument(
        "--out",
        type=Path,
        help="the model's file, .npz (default) or .safetensors; the report "
        "lies beside it as .html; default: the table's name, in this folder",
    )
    parser.add_argument(
        "--task", choices=["classification", "regression"], help="default: as the target looks"
    )
    parser.add_argument(
        "--missing",
        choices=["refuse", "drop", "mean"],
        default="refuse",
        help="what to do with missing values: refuse the file (default), drop the row, or put in "
        "the mean of the training data and drop only rows without a target",
    )
    parser.add_argument(
        "--kinds",
        nargs="+",
        type=_kind,
        default=[],
        metavar="NAME=KIND",
        help="what columns are, if not what they look like: number, boolean, category, or out to "
        "leave one out",
    )
    add_reading_arguments(parser)
    parser.add_argument(
        "--hidden",
        type=_hidden,
        default=(64, 64),
        metavar="N,N",
        help='units of the hidden layers; default: 64,64; "none" for a linear model',
    )
    parser.add_argument(
        "--activation",
        default="relu",
        choices=["relu", "leaky_relu", "sigmoid", "softplus", "tanh"],
        help="default: relu",
    )
    count = _number(int, lambda n: n >= 1, "a whole number of at least 1")
    parser.add_argument("--epochs", type=count, default=300, help="at most; default: 300")
    parser.add_argument("--batch-size", type=count, default=32, help="rows a step; default: 32")
    above = _number(float, lambda x: 0 < x < math.inf, "a number above 0")
    parser.add_argument("--lr", type=above, default=1e-3, help="learning rate; default: 0.001")
    least = _number(float, lambda x: 0 <= x < math.inf, "a number of at least 0")
    parser.add_argument("--l2", type=least, default=1e-4, help="penalty; default: 0.0001")
    parser.add_argument(
        "--patience",
        type=count,
        default=30,
        help="how many epochs without a better validation loss end the training; default: 30",
    )
    seed = _number(int, lambda n: n >= 0, "a whole number of at least 0")
    parser.add_argument("--seed", type=seed, default=0, help="for all that is random; default: 0")


def add_reading_arguments(parser: Any) -> None:
    """Adds the arguments of a table that is read, shared with `predict`."""
    parser.add_argument("--separator", help="of cells; default: as the first line looks")
    parser.add_argument("--encoding", default="utf-8", help="of the text; default: utf-8")


def run(options: Any) -> int:
    """Trains, saves and reports.

    Returns the exit status: 0 if all is there, 2 if the table or an option cannot be used, 130 if
    Ctrl-C ended the training; then all is there, too.
    """
    from tinygrad_edu.trainer import TrainingDiverged

    try:
        return _run(options)
    except (ModuleNotFoundError, OSError, TrainingDiverged, ValueError) as error:
        from tinygrad_edu.tables.listing import shell

        print(f"could not train: {shell(error)}", file=sys.stderr)
        return 2


def _run(options: Any) -> int:
    # Imported here, since other commands do without.
    from tinygrad_edu.data.cells import read_cells
    from tinygrad_edu.data.tables import learned
    from tinygrad_edu.tables.listing import (
        columns_of,
        kept,
        parts_of,
        printable,
        say,
        table,
        task_of,
        verdict,
    )
    from tinygrad_edu.tables.model import TableModel
    from tinygrad_edu.tables.training import Settings, train

    cells = read_cells(options.table, options.separator, options.encoding)
    out = _out(options)
    kinds = dict(options.kinds)
    columns, used = learned(cells, options.target, options.task, options.missing, kinds)
    said = [
        f"{printable(cells.path)} has {len(cells):,} rows and {len(cells.columns)} columns.",
        printable(task_of(columns, options.task is not None)),
    ]
    if len(used) < len(cells):
        count = len(cells) - len(used)
        rows = "1 row lacks" if count == 1 else f"{count:,} rows lack"
        what = "the target" if options.missing == "mean" else "a value"
        said.append(f"{rows} {what} and {'is' if count == 1 else 'are'} dropped.")
    say(*said, "", table(["column", "kind", "values"], columns_of(columns, used)), "")
    settings = Settings(
        options.hidden,
        options.activation,
        options.epochs,
        options.batch_size,
        options.lr,
        options.l2,
        options.seed,
        options.patience,
    )
    training = train(used, columns, settings)
    history = training.history
    how = "Interrupted" if history.interrupted else "Ended"
    say(f"{how} after {len(history.epoch_ends)} epochs; {kept(training)} is kept.\n")
    say(table(*parts_of(training)), "", printable(verdict(training)), "")
    training.model.save(out)
    _compare(TableModel.load(out), training)
    name = shlex.quote(f"./{out}" if str(out).startswith("-") else str(out))
    say(
        f"{out}: the model. Read back, it predicts the same. For other rows:\n"
        f"tinygrad-edu predict {name} FILE.csv"
    )
    _report(training, out, said)
    return 130 if history.interrupted else 0


def _out(options: Any) -> Path:
    """The model's file; everything that would keep it from being written later is said now."""
    out = options.out if options.out is not None else Path(options.table.stem)
    if out.is_dir():
        raise ValueError(f"--out {out} is a folder: name a file in it")
    out = out if out.suffix else Path(f"{out}.npz")
    if out.suffix not in SUFFIXES:
        raise ValueError(f"--out {out} must end in {' or '.join(SUFFIXES)}")
    if not out.parent.is_dir():
        raise ValueError(f"--out {out}: there is no such folder")
    if out.suffix == ".safetensors" and importlib.util.find_spec("safetensors") is None:
        raise ValueError(f'--out {out} needs safetensors: pip install "tinygrad-edu[io]"')
    _refuse_replacing(out)
    return out


def _refuse_replacing(out: Path) -> None:
    """Raises if there is a file in the model's or the report's place that `train` did not write."""
    from tinygrad_edu.tables.model import TableModel
    from tinygrad_edu.tables.report import is_report

    report = out.with_suffix(".html")
    try:
        if out.exists():
            TableModel.load(out)
        foreign = report if report.exists() and not is_report(report) else None
    except ValueError:
        foreign = out
    if foreign is not None:
        raise ValueError(
            f"{foreign} is there and was not written by train, or is damaged: remove it, or choose "
            f"another name with --out"
        )


def _compare(read: Any, training: Any) -> None:
    """Raises unless the model that was read back predicts what the trained one does."""
    same = read.columns == training.model.columns and all(
        np.array_equal(read.outputs(part.X), part.outputs) for part in training.parts.values()
    )
    if not same:
        raise RuntimeError("the model that was saved and read back predicts something else")


def _report(training: Any, out: Path, said: list[str]) -> None:
    from tinygrad_edu.files import as_a_whole
    from tinygrad_edu.style import can_draw
    from tinygrad_edu.tables.listing import say
    from tinygrad_edu.tables.pictures import pictures
    from tinygrad_edu.tables.report import page

    drawn = pictures(training) if can_draw() else []
    path = out.with_suffix(".html")
    with as_a_whole(path) as unfinished:
        unfinished.write_text(page(training, out.name, said, drawn), "utf-8")
    say(f"{path}: the report. Open it in a browser.")
    if not drawn:
        print('No pictures without matplotlib: pip install "tinygrad-edu[plot]"', file=sys.stderr)


def _kind(text: str) -> tuple[str, str]:
    name, equals, kind = text.rpartition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=KIND")
    return name, kind


def _hidden(text: str) -> tuple[int, ...]:
    try:
        sizes = () if text == "none" else tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = (0,)
    if any(size < 1 for size in sizes):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 64,64, nor none")
    return sizes


def _number(
    kind: Callable[[str], Any], good: Callable[[Any], bool], what: str
) -> Callable[..., Any]:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not good(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return value

    return parse
