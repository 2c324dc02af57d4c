"""What was understood of a table, and what came out of a training, in words and rows of words."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence

import numpy as np

from tinygrad_edu.data.cells import Cells
from tinygrad_edu.data.columns import REGRESSION, Columns, brief
from tinygrad_edu.data.kinds import NUMBER, Column, codes
from tinygrad_edu.tables.training import Training

__all__ = [
    "columns_of",
    "is_number",
    "kept",
    "parts_of",
    "printable",
    "say",
    "shell",
    "table",
    "task_of",
    "verdict",
]


def printable(text: object) -> str:
    """A text of a file on one line, and as UTF-8 can hold it."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def say(*texts: str, end: str = "\n") -> None:
    """Prints lines, as long as somebody reads them."""
    try:
        print(*texts, sep="\n", end=end, flush=True)
    except BrokenPipeError:
        # Whoever read has read enough. What is left, and what follows, goes to nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def shell(text: object) -> str:
    """A message on one line, with the options of the commands for arguments in Python."""

    def of_kinds(found: re.Match[str]) -> str:
        return f"--kinds {shlex.quote(f'{found[1]}={found[2]}')}"

    text = re.sub(r"kinds=\{['\"](.+?)['\"]: '(\w+)'\}", of_kinds, " ".join(str(text).split()))
    return re.sub(r"\b(missing|task)='(\w+)'", r"--\1 \2", text)


def is_number(text: str) -> bool:
    """Whether a cell is a number and nothing else, and so stands to the right."""
    return text.replace(",", "").replace(".", "").lstrip("-").isdigit()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of words in columns, those of numbers to the right."""
    all_rows = [[printable(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*all_rows, strict=True)]
    right = [all(map(is_number, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_the_right else cell.ljust(width)
            for cell, width, to_the_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in all_rows
    )


def columns_of(columns: Columns, cells: Cells) -> list[tuple[str, str, str]]:
    """For each column of the file its name, what it is, and its values."""
    known = {column.name: column for column in columns.inputs}
    rows = []
    for name in cells.columns:
        if name in columns.left_out:
            rows.append((name, "left out", shell(columns.left_out[name])))
        elif name in known:
            values = _values(known[name], cells) + codes(known[name])
            rows.append((name, known[name].kind, shell(values)))
    return [*rows, (columns.target.name, "target", _values(columns.target, cells))]


def _values(column: Column, cells: Cells) -> str:
    missing = column.is_missing(cells)
    end = f"; {missing.sum():,} missing" if missing.any() else ""
    if column.kind == NUMBER and not column.categories:
        values = column.numbers(cells)[~missing]
        mean = float(np.mean(values / len(values)) * len(values))
        return f"{values.min():.6g} to {values.max():.6g}, mean {mean:.6g}{end}"
    counts = np.bincount(column.positions(cells)[~missing], minlength=len(column.categories))
    counted = [f"{c} ({n:,})" for c, n in zip(column.categories, counts, strict=True)]
    return brief(counted) + end


def task_of(columns: Columns, asked: bool) -> str:
    """The task, and why it is this one."""
    target, count = columns.target, len(columns.classes)
    if asked:
        why = "as asked for"
    elif columns.task == REGRESSION:
        why = "it has numbers (--task classification makes classes of few of them)"
    elif target.kind == NUMBER:
        why = f"it has {count} different whole numbers (--task regression predicts numbers)"
    else:
        why = f"it has {count} different texts"
    return f"Task: {columns.task} of {target.name!r}, {'' if asked else 'since '}{why}."


def parts_of(training: Training) -> tuple[list[str], list[list[str]]]:
    """The scores of the parts beside those of the baseline: the head and the rows of a table."""
    if training.model.classifies:
        head = ["part", "rows", "accuracy", "baseline"]
        rows = [
            [name, f"{len(p.rows):,}", f"{p.score:.3f}", f"{1 - p.baseline:.3f}"]
            for name, p in training.parts.items()
        ]
    else:
        head = ["part", "rows", "R²", "RMSE", "baseline RMSE"]
        rows = [
            [name, f"{len(p.rows):,}", f"{p.score:.3f}", f"{p.error:.4g}", f"{p.baseline:.4g}"]
            for name, p in training.parts.items()
        ]
    return head, rows


def kept(training: Training) -> str:
    """Which epoch's weights the net has."""
    if not training.best_epoch:
        return "what there was in the middle of the first"
    return f"epoch {training.best_epoch}, the best on the validation data,"


def verdict(training: Training) -> str:
    """The baseline in words, and whether the net is better than it on the test data."""
    model, y = training.model, training.parts["training"].y
    if model.classifies:
        said = f"the most frequent class, {model.columns.classes[np.bincount(y).argmax()]!r}"
    else:
        said = f"the mean, {y.mean():.6g}"
    test = training.parts["test"]
    worse = test.error >= test.baseline
    end = ". On the test data the net is no better than that: it has learned nothing of use"
    return f"The baseline always says {said} (of the training data){end if worse else ''}."
