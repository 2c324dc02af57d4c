"""How the columns of a table become arrays."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from tinygrad_edu.data.cells import Cells, read_cells
from tinygrad_edu.data.kinds import BOOLEAN, BOOLEANS, CATEGORY, NUMBER, Column, near

__all__ = ["Columns", "brief", "refuse_missing"]

CLASSIFICATION, REGRESSION = "classification", "regression"
REFUSE, DROP, MEAN = "refuse", "drop", "mean"
_NAMED = 5


@dataclass(frozen=True, repr=False)
class Columns:
    """How the columns of a table become X and y: to be kept, to read other tables in the same way.

    X has a column for each number and each boolean (0 and 1), and one for each category (1 in the
    rows of this category, otherwise 0). y holds numbers, or the position of each class.

    Attributes:
        inputs: the columns that X is made of.
        target: the column that y is made of.
        task: "classification" or "regression".
        missing: what is done where there is no value: "refuse", "drop" or "mean".
        means: the mean of each column of X, which stands for missing values; or none.
        left_out: the columns that X is not made of, each with the reason.
    """

    inputs: tuple[Column, ...]
    target: Column
    task: str
    missing: str = REFUSE
    means: tuple[float, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, as their texts are in the file; y holds positions in it."""
        return self.target.categories

    @property
    def names(self) -> tuple[str, ...]:
        """What each column of X is: `age`, `city=Rome`."""
        return tuple(name for column in self.inputs for name in _names(column))

    def read(
        self, path: str | os.PathLike[str], separator: str | None = None, encoding: str = "utf-8"
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """X and y of another file, in the order of its rows; y is None if it has no target.

        Its columns are found by name, in any order; those of other names are left alone.

        Raises:
            ValueError: a column is missing, or a cell is not of the column's kind, or not of its
                categories, or empty and `missing` is not "mean"; the message names the place.
            OSError: there is no such file, or it cannot be read.
        """
        cells = read_cells(path, separator, encoding)
        return self.X(cells), self.y(cells) if self.target.name in cells.columns else None

    def X(self, cells: Cells, filled: bool = True) -> np.ndarray:
        """The inputs of a table; see `read`."""
        lacking = [c.name for c in self.inputs if c.name not in cells.columns]
        if lacking:
            raise ValueError(
                f"{cells.path} has no column {', '.join(map(repr, lacking))}"
                f"{near(lacking[0], cells.columns)}"
            )
        X = np.empty((len(cells), len(self.names)))
        end = 0
        for column in self.inputs:
            start, end = end, end + len(_names(column))
            X[:, start:end] = _values(column, cells)
        if not filled:
            return X
        if self.missing != MEAN:
            refuse_missing(cells, self.inputs, f"fill them in, or train with missing={MEAN!r}")
        return self.filled(X)

    def y(self, cells: Cells) -> np.ndarray:
        """The target of a table; see `read`."""
        refuse_missing(cells, [self.target], "fill them in, or leave the target out")
        if self.task == REGRESSION:
            return self.target.numbers(cells)
        return self.target.positions(cells)

    def filled(self, X: np.ndarray) -> np.ndarray:
        """X with the means in place of NaN, which marks missing values."""
        return np.where(np.isnan(X), self.means, X) if self.means else X

    def with_means(self, X: np.ndarray) -> Columns:
        """The same columns, which fill missing values with the means of X, NaN left out."""
        count = np.sum(~np.isnan(X), axis=0)
        if not count.all():
            name = self.names[int(np.argmin(count))]
            raise ValueError(f"column {name!r} has no value in the training data: leave it out")
        # Divided first, so that no sum is out of range.
        means = np.nansum(X / count, axis=0)
        return replace(self, means=tuple(means.tolist()))

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold, and `from_dict` reads."""
        return asdict(self)

    @classmethod
    def from_dict(cls, about: Mapping[str, Any]) -> Columns:
        """The columns that `to_dict` described, also after a way through JSON.

        Raises:
            ValueError: it is no such description.
        """
        try:
            inputs = tuple(_column(column) for column in about["inputs"])
            columns = cls(
                inputs,
                _column(about["target"]),
                str(about["task"]),
                str(about["missing"]),
                tuple(float(mean) for mean in about["means"]),
                {str(name): str(reason) for name, reason in about["left_out"].items()},
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"this does not describe the columns of a table: {error!r}") from error
        width = len(columns.names)
        good = columns.task in (CLASSIFICATION, REGRESSION) and width > 0
        good &= columns.missing in (REFUSE, DROP, MEAN)
        good &= len(columns.means) == (width if columns.missing == MEAN else 0)
        good &= bool(np.isfinite(columns.means).all())
        good &= len({c.name for c in (*inputs, columns.target)}) == len(inputs) + 1
        good &= (len(columns.classes) >= 2) == (columns.task == CLASSIFICATION)
        if not good:
            raise ValueError("this does not describe the columns of a table: it contradicts itself")
        return columns

    def __repr__(self) -> str:
        rows = [(c.name, c.kind, brief(c.categories)) for c in self.inputs]
        rows += [(name, "left out", reason) for name, reason in self.left_out.items()]
        rows.append((self.target.name, "target", f"{self.task} {brief(self.classes)}".strip()))
        rows = [(_printable(a), b, _printable(c)) for a, b, c in rows]
        widths = [max(len(row[i]) for row in rows) for i in range(2)]
        return "\n".join(f"{a:{widths[0]}}  {b:{widths[1]}}  {c}".rstrip() for a, b, c in rows)


def refuse_missing(cells: Cells, columns: Sequence[Column], instead: str) -> None:
    """Makes sure that these columns have a value in every row.

    Args:
        cells, columns: the table, and those of its columns that are meant.
        instead: what to do instead.

    Raises:
        ValueError: there are gaps; the first of them are named by line and column.
    """
    places = []
    count = 0
    for column in columns:
        rows = np.flatnonzero(column.is_missing(cells))
        count += len(rows)
        places += [f"line {cells.lines[row]}, column {column.name!r:.60}" for row in rows[:_NAMED]]
    if count:
        more = "; ..." if count > _NAMED else ""
        what = "1 value is" if count == 1 else f"{count:,} values are"
        raise ValueError(
            f"{cells.path}: {what} missing ({'; '.join(places[:_NAMED])}{more}): {instead}"
        )


def _names(column: Column) -> list[str]:
    if column.kind == CATEGORY:
        return [f"{column.name}={category}" for category in column.categories]
    return [column.name]


def _values(column: Column, cells: Cells) -> np.ndarray:
    """The columns of X that a column becomes; NaN where there is no value."""
    if column.kind == NUMBER:
        return column.numbers(cells)[:, None]
    positions = column.positions(cells)
    if column.kind == BOOLEAN:
        return np.where(positions < 0, np.nan, positions)[:, None]
    one_hot = positions[:, None] == np.arange(len(column.categories))
    return np.where(positions[:, None] < 0, np.nan, one_hot)


def _column(about: Mapping[str, Any]) -> Column:
    name, kind, categories = about["name"], about["kind"], tuple(about["categories"])
    texts = (name, kind, *categories)
    if isinstance(about["categories"], str) or not all(isinstance(text, str) for text in texts):
        raise ValueError("names, kinds and categories are texts")
    known = {NUMBER: True, BOOLEAN: categories in BOOLEANS, CATEGORY: len(categories) > 1}
    if not known.get(kind) or len(set(categories)) != len(categories):
        raise ValueError(f"column {name!r:.60} is not known to be of kind {kind!r:.60}")
    return Column(name, kind, categories)


def brief(texts: Sequence[str]) -> str:
    """Texts in one line; of many the first, and how many there are."""
    return ", ".join(texts[:8]) + (f", ... ({len(texts)})" if len(texts) > 8 else "")


def _printable(text: str) -> str:
    """On one line, whatever a file has put into a name."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
