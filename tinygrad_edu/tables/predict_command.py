"""`python -m tinygrad_edu predict MODEL FILE.csv`: what a model says of the rows of a table."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import Any

from tinygrad_edu.tables.train_command import SUFFIXES, add_reading_arguments

__all__ = ["add_arguments", "run"]


def add_arguments(parser: Any) -> None:
    """Adds the arguments of the command to an argparse parser."""
    parser.add_argument("model", type=Path, help="a file that `train` has written")
    parser.add_argument("table", type=Path, metavar="FILE.csv", help="with the model's columns")
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help="default: the standard output")
    add_reading_arguments(parser)


def run(options: Any) -> int:
    """Predicts; returns the exit status: 0 if it did, 2 if model or table cannot be used."""
    from tinygrad_edu.tables.listing import say, shell

    try:
        _check_out(options)
        text, notes = _predictions(options)
        if options.out is not None:
            from tinygrad_edu.files import as_a_whole

            with as_a_whole(options.out) as unfinished:
                unfinished.write_text(text, "utf-8", newline="")
    except (ModuleNotFoundError, OSError, ValueError) as error:
        print(f"could not predict: {shell(error)}", file=sys.stderr)
        return 2
    if options.out is None:
        say(text, end="")
    for note in notes:
        print(note, file=sys.stderr)
    return 0


def _model_file(path: Path) -> Path:
    """The model's file, whose suffix may be left out."""
    if path.suffix in SUFFIXES:
        return path
    files = [Path(f"{path}{suffix}") for suffix in SUFFIXES]
    found = [file for file in files if file.is_file()]
    if not found and not path.exists():
        raise FileNotFoundError(f"there is no model {' or '.join(map(str, files))}")
    return found[0] if found else path


def _check_out(options: Any) -> None:
    """Raises if the predictions would replace what is no table of predictions."""
    out = options.out
    if out is None:
        return
    if out.is_dir():
        raise ValueError(f"--out {out} is a folder: name a file in it")
    if out.suffix.lower() != ".csv":
        raise ValueError(f"--out {out} must end in .csv")
    for path in (_model_file(options.model), options.table):
        if out.exists() and path.exists() and out.samefile(path):
            raise ValueError(
                f"--out {out} would replace {path}, which is read: choose another name"
            )


def _predictions(options: Any) -> tuple[str, list[str]]:
    """The predictions as CSV, and what else is to be said."""
    from tinygrad_edu.data.cells import read_cells
    from tinygrad_edu.tables.listing import printable, shell
    from tinygrad_edu.tables.model import TableModel

    model = TableModel.load(_model_file(options.model))
    columns = model.columns
    cells = read_cells(options.table, options.separator, options.encoding)
    X, outputs = model.of_table(cells)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if model.classifies:
        writer.writerow(["prediction", "probability"])
        for said, sure in zip(outputs.argmax(axis=1), outputs.max(axis=1), strict=True):
            writer.writerow([columns.classes[said], f"{sure:.6g}"])
    else:
        writer.writerow(["prediction"])
        writer.writerows([repr(float(value))] for value in outputs)
    notes = []
    known = {*columns.left_out, *(column.name for column in (*columns.inputs, columns.target))}
    if extra := [printable(name) for name in cells.columns if name not in known]:
        notes.append(f"columns that the model does not know are left alone: {', '.join(extra)}")
    gaps = {c.name: int(c.is_missing(cells).sum()) for c in columns.inputs}
    if any(gaps.values()):
        filled = ", ".join(
            f"{printable(name)} ({count:,})" for name, count in gaps.items() if count
        )
        notes.append(f"missing values are taken to be the means of the training data: {filled}")
    if columns.target.name in cells.columns:
        kind = "accuracy" if model.classifies else "R²"
        try:
            score = model.score(X, columns.y(cells))
            notes.append(f"{kind} on these {len(cells):,} rows: {score:.3f}")
        except ValueError as error:
            notes.append(f"no {kind}: {shell(error)}")
    return text.getvalue(), notes
