"""Tables of numbers, booleans, categories and missing values as arrays.

X, y, columns = from_csv("flats.csv", target="price")
X, y = columns.read("more_flats.csv")
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tinygrad_edu.data.cells import Cells, read_cells
from tinygrad_edu.data.columns import (
    CLASSIFICATION,
    DROP,
    MEAN,
    REFUSE,
    REGRESSION,
    Columns,
    brief,
    refuse_missing,
)
from tinygrad_edu.data.kinds import BOOLEAN, CATEGORY, NUMBER, OUT, Column, codes, column_of, near

__all__ = ["from_csv", "learned"]

# A target of whole numbers has classes if there are at most so many, each of two rows on average.
FEW_CLASSES = 10
# With more rows a column may be recognised as one that tells rows apart and says nothing of them.
SOME_ROWS = 20
MOST_CATEGORIES = 256


def from_csv(
    path: str | os.PathLike[str],
    target: str,
    *,
    task: str | None = None,
    missing: str = REFUSE,
    kinds: Mapping[str, str] | None = None,
    separator: str | None = None,
    encoding: str = "utf-8",
) -> tuple[np.ndarray, np.ndarray, Columns]:
    """X, y and the columns of a CSV file, whose first line names them.

    A column is of numbers if all its cells are, and none begins with a needless zero, as codes do
    (01067); boolean if they are true and false, or yes and no; otherwise of categories. One in
    which numbers and texts are mixed is refused. A column is left out, with the reason in
    `columns.left_out`, if it is constant, or if it only tells the rows apart: texts of which there
    are more than 20, and more than half as many as rows; whole numbers that count more than 20
    rows.

    Args:
        path: the file. Cells may be quoted; the separator is a comma, semicolon, tab or bar.
        target: the column to predict.
        task: "classification" or "regression". By default the latter if the target has numbers,
            but not if they are at most 10 different whole numbers, each of two rows on average.
        missing: what to do where there is no value: "refuse" it; "drop" the row; or put in the
            "mean" of the column of X, which for a column of categories is the share of each, and
            drop the row only if it has no target. Empty cells have no value, nor have, among
            numbers, the words NA, N/A, NaN, null, None (in any case) and the signs "?", "-", ".".
        kinds: "number", "boolean", "category" or "out" by the name of a column, where it is not to
            be what it looks like: numbers that are codes are categories.
        separator: another one, or which one of these.
        encoding: that of the text.

    Returns:
        X of shape (n, k); y of shape (n,), numbers or the positions of classes in
        `columns.classes`; and the `Columns`, which read other files in the same way.

    Raises:
        ValueError: no such table, target or kind; a cell that is not of its column's kind or has no
            value; a target with a single value. The message names the file, line and column.
        OSError: there is no such file, or it cannot be read.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "flats.csv"
        >>> _ = path.write_text("rooms,city,price\\n2,Rome,900\\n3,Pisa,800.5\\n1,Rome,600\\n")
        >>> X, y, columns = from_csv(path, target="price")
        >>> columns.names
        ('rooms', 'city=Pisa', 'city=Rome')
        >>> X
        array([[2., 0., 1.],
               [3., 1., 0.],
               [1., 0., 1.]])
        >>> y
        array([900. , 800.5, 600. ])
    """
    cells = read_cells(path, separator, encoding)
    columns, cells = learned(cells, target, task, missing, kinds)
    X = columns.X(cells, filled=False)
    if missing == MEAN:
        columns = columns.with_means(X)
    return columns.filled(X), columns.y(cells), columns


def learned(
    cells: Cells,
    target: str,
    task: str | None = None,
    missing: str = REFUSE,
    kinds: Mapping[str, str] | None = None,
) -> tuple[Columns, Cells]:
    """The columns of a table, still without means, and the rows that are used; see `from_csv`."""
    kinds = dict(kinds or {})
    _check_options(cells, target, task, missing, kinds)
    target_column, task = _target(cells, target, task)
    inputs, left_out = [], {}
    for name in cells.columns:
        if name != target:
            column, reason = _input(cells, name, kinds.get(name))
            if column is None:
                left_out[name] = reason
            else:
                inputs.append(column)
    if not inputs:
        reasons = ", ".join(f"{name!r} {reason}" for name, reason in left_out.items())
        raise ValueError(
            f"{cells.path} has no column to learn from: {reasons or 'only the target'}"
        )
    if missing == REFUSE:
        refuse_missing(
            cells,
            [target_column, *inputs],
            f"fill them in, or drop such rows with missing={DROP!r}, or put in the means of inputs "
            f"with missing={MEAN!r}",
        )
    needed = [target_column, *(inputs if missing == DROP else ())]
    gaps = np.any([column.is_missing(cells) for column in needed], axis=0)
    if gaps.all():
        raise ValueError(f"{cells.path}: no row has all its values")
    if gaps.any():
        # Some categories may be gone, or columns constant; those left out before stay out.
        kinds |= dict.fromkeys(left_out, OUT)
        columns, cells = learned(cells.take(np.flatnonzero(~gaps)), target, task, missing, kinds)
        return replace(columns, left_out=columns.left_out | left_out), cells
    return Columns(tuple(inputs), target_column, task, missing, left_out=left_out), cells


def _check_options(
    cells: Cells, target: str, task: str | None, missing: str, kinds: Mapping[str, str]
) -> None:
    if task not in (None, CLASSIFICATION, REGRESSION):
        raise ValueError(f"task must be {CLASSIFICATION!r} or {REGRESSION!r}, got {task!r}")
    if missing not in (REFUSE, DROP, MEAN):
        raise ValueError(f"missing must be {REFUSE!r}, {DROP!r} or {MEAN!r}, got {missing!r}")
    for name in (target, *kinds):
        if name not in cells.columns:
            raise ValueError(
                f"{cells.path} has no column {name!r}{near(name, cells.columns) or ';'} it has "
                f"{brief(list(cells.columns))}"
            )
    for name, kind in kinds.items():
        if kind not in (NUMBER, BOOLEAN, CATEGORY, OUT):
            raise ValueError(
                f"the kind of column {name!r} must be {NUMBER}, {BOOLEAN}, {CATEGORY} or {OUT}, "
                f"got {kind!r}"
            )
    if target in kinds:
        raise ValueError(f"{target!r} is the target: say what it is with the task, not its kind")


def _input(cells: Cells, name: str, kind: str | None) -> tuple[Column | None, str]:
    """What a column is; or None, and why it is left out."""
    if kind == OUT:
        return None, "as asked for"
    texts, n = [text for text in cells.columns[name].used if text], len(cells)
    column = column_of(cells, name, kind)
    if column.kind == NUMBER:
        values = column.numbers(cells)
        known = values[~np.isnan(values)]
        if len(np.unique(known)) < 2:
            return None, f"is always {known[0]:g}" if len(known) else "has no values"
        if kind is None and n > SOME_ROWS and len(known) == n and (np.diff(values) == 1).all():
            return None, "counts the rows"
        return column, ""
    if len({column.label(text) for text in texts}) < 2:
        return None, f"is always {texts[0]!r:.60}" if texts else "has no values"
    if column.kind == CATEGORY:
        if kind is None and _tells_rows_apart(texts, n):
            return None, f"has {len(texts):,} different texts in {n:,} rows{codes(column)}"
        if len(texts) > MOST_CATEGORIES:
            raise ValueError(
                f"{cells.path}, column {name!r} has {len(texts):,} different texts; up to "
                f"{MOST_CATEGORIES} are read as categories: put some together, or leave the "
                f"column out with kinds={ {name: OUT} }{codes(column)}"
            )
    return column, ""


def _tells_rows_apart(texts: Sequence[str], n: int) -> bool:
    return len(texts) > SOME_ROWS and len(texts) > n / 2


def _target(cells: Cells, name: str, task: str | None) -> tuple[Column, str]:
    """What the target is, and what is to be done with it."""
    texts = cells.columns[name].used
    at = f"{cells.path}, column {name!r}"
    if task == REGRESSION:
        column = column_of(cells, name, NUMBER)
    else:
        try:
            column = column_of(cells, name)
        except ValueError:
            if task is None:
                raise
            column = column_of(cells, name, CATEGORY)
    if column.kind == NUMBER:
        values = column.numbers(cells)
        numbers = np.unique(values[~np.isnan(values)]).tolist()
        few = len(numbers) <= FEW_CLASSES and 2 * len(numbers) <= len(cells)
        whole = all(number.is_integer() and abs(number) < 2**53 for number in numbers)
        if task is None:
            task = CLASSIFICATION if few and whole else REGRESSION
        if task == REGRESSION:
            if len(numbers) < 2:
                raise ValueError(f"{at}, the target, has a single value: nothing can be learned")
            return column, task
        labels = tuple(column.label(repr(number)) for number in numbers)
    else:
        task = CLASSIFICATION
        labels = column.categories
        if column.kind == BOOLEAN and len({text.lower() for text in texts if text}) < 2:
            labels = labels[:1]
    if len(labels) < 2:
        raise ValueError(f"{at}, the target, has a single class: nothing can be learned")
    if len(labels) > MOST_CATEGORIES or _tells_rows_apart(labels, len(cells)):
        raise ValueError(
            f"{at}, the target, has {len(labels):,} classes in {len(cells):,} rows: too many to "
            f"learn; numbers can be predicted with task={REGRESSION!r}"
        )
    return Column(name, column.kind, labels), task
