"""The cells of a CSV file as texts, by column, each text once.

Python's own `csv` module reads them. What it leaves to others is here: the encoding, the separator,
and that nothing is believed of a file that is not a table.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import math
import os
import re
import stat
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np

__all__ = ["Cells", "Texts", "read_cells"]

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
# Python's float() reads more: 1_000, digits of other scripts, inf.
NUMBER_TEXT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
# Longer than any line of a table, and short enough to hold.
_LONGEST_LINE = 2**24
_AT_ONCE = 4096


@dataclass(frozen=True)
class Texts:
    """A column of n texts: those that differ, and for each row which of them it has.

    `texts` may hold some that no row has.
    """

    texts: list[str]
    codes: np.ndarray

    @functools.cached_property
    def used(self) -> list[str]:
        """The texts that a row has, in the order of their first rows."""
        codes, first = np.unique(self.codes, return_index=True)
        return [self.texts[code] for code in codes[np.argsort(first)]]

    @functools.cached_property
    def numbers(self) -> np.ndarray:
        """The number that each of the texts is, or NaN."""
        is_number = NUMBER_TEXT.fullmatch
        return np.array([float(text) if is_number(text) else math.nan for text in self.texts])

    def first(self, text: str) -> int:
        """The first row with a text."""
        return int(np.argmax(self.codes == self.texts.index(text)))


@dataclass(frozen=True)
class Cells:
    """A table of texts.

    Attributes:
        path: the file.
        columns: by name, in the order of the file.
        lines: for each row the line of the file in which it begins, counted from 1.
    """

    path: str
    columns: dict[str, Texts]
    lines: np.ndarray

    def __len__(self) -> int:
        return len(self.lines)

    def take(self, rows: np.ndarray) -> Cells:
        """The table of some rows."""
        columns = {n: Texts(c.texts, c.codes[rows]) for n, c in self.columns.items()}
        return Cells(self.path, columns, self.lines[rows])

    def at(self, row: int, name: str) -> str:
        """Where a cell stands, for messages."""
        return f"{self.path}, line {self.lines[row]}, column {name!r:.60}"


def read_cells(
    path: str | os.PathLike[str], separator: str | None = None, encoding: str = "utf-8"
) -> Cells:
    """Reads a CSV file, whose first line holds the names of the columns.

    White space around cells does not count, nor do blank lines at the end.

    Args:
        path: the file.
        separator: what stands between cells; `None` for that of comma, semicolon, tab and bar which
            splits the first line into the most names.
        encoding: that of the text. A byte order mark is left out.

    Raises:
        ValueError: a file that is no such table; the message names the line.
        OSError: there is no such file, or it cannot be read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(f"{path} is a folder, a device, a pipe or a socket: name a file")
    if separator is not None and (len(separator) != 1 or separator in '"\r\n '):
        raise ValueError(f"separator must be one character, as ';', got {separator!r}")
    try:
        with _opened(path, encoding) as file:
            separator = _separator(file, path) if separator is None else separator
        with _opened(path, encoding) as file:
            return _table(_reader(file, separator), path)
    except UnicodeError as error:
        raise ValueError(
            f"{path} is not text in {encoding}{_where(path, encoding)}: export it as CSV in UTF-8, "
            f"or name its encoding, such as latin-1 or utf-16"
        ) from error


def _opened(path: Any, encoding: str) -> TextIO:
    try:
        # The mark would otherwise be a part of the first name.
        marked = "utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding
        return open(path, encoding=marked, newline="")
    except LookupError as error:
        raise ValueError(f"there is no encoding {encoding!r}") from error


def _where(path: Any, encoding: str) -> str:
    """The first line that cannot be decoded, if lines can be told without decoding."""
    if encoding.lower() in ("utf-8", "utf8"):
        with open(path, "rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), b""), 1):
                try:
                    line.decode()
                except UnicodeDecodeError as error:
                    return f" (byte {line[error.start]:02x} in line {number})"
    return ""


def _lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise csv.Error(f"the line has more than {_LONGEST_LINE:,} characters")
        if "\0" in line:
            raise csv.Error("it holds NUL characters, so it is no text, or text in utf-16")
        yield line


def _reader(file: TextIO, separator: str) -> Any:
    return csv.reader(_lines(file), delimiter=separator, strict=True, skipinitialspace=True)


def _separator(file: TextIO, path: Any) -> str:
    """What splits the first line into the most names."""
    widths = dict.fromkeys(SEPARATORS, 0)
    for separator in SEPARATORS:
        file.seek(0)
        with contextlib.suppress(csv.Error, StopIteration):
            widths[separator] = len(next(_reader(file, separator)))
    most = max(widths.values())
    found = [separator for separator, width in widths.items() if width == most]
    if most > 1 and len(found) > 1:
        raise ValueError(
            f"{path}: the names in the first line could be separated by "
            f"{' or by '.join(SEPARATORS[s] for s in found)}: name the separator"
        )
    return found[0]


def _table(reader: Any, path: Any) -> Cells:
    """Everything that a reader gives."""
    end = 0
    try:
        names = _names(next(reader, None), path)
        end = reader.line_num
        seen = [_Numbering() for _ in names]
        codes = [array("q") for _ in names]
        lines = array("q")
        blank = 0
        rows: list[list[str]] = []
        for record in reader:
            begin, end = end + 1, reader.line_num
            if not record:
                blank = blank or begin
                continue
            if blank or len(record) != len(names):
                line, fields = (blank, 0) if blank else (begin, len(record))
                raise ValueError(
                    f"{path}: line {line} has {fields or 'no'} cells, but the first line has "
                    f"{len(names)} names"
                )
            lines.append(begin)
            rows.append(record)
            if len(rows) == _AT_ONCE:
                _number(rows, seen, codes)
        _number(rows, seen, codes)
    except csv.Error as error:
        hint = ""
        if "unexpected end" in str(error) or "field limit" in str(error):
            hint = "; is a quotation mark missing?"
        elif "expected after" in str(error):
            hint = '; a quotation mark within a quoted cell is written twice, ""'
        raise ValueError(
            f"{path} is no table: {error} (in what begins in line {end + 1}){hint}"
        ) from error
    if not lines:
        raise ValueError(f"{path} has names of columns, but no rows")
    columns = {
        name: _stripped(list(texts), np.frombuffer(column, np.int64))
        for name, texts, column in zip(names, seen, codes, strict=True)
    }
    return Cells(str(path), columns, np.frombuffer(lines, np.int64))


class _Numbering(dict[str, int]):
    """Texts, each with its number in the order in which they came."""

    def __missing__(self, text: str) -> int:
        self[text] = len(self)
        return self[text]


def _number(rows: list[list[str]], seen: list[_Numbering], codes: list[array[int]]) -> None:
    """Moves rows of texts into columns of their numbers."""
    for texts, column, cells in zip(seen, codes, zip(*rows, strict=True), strict=bool(rows)):
        column.extend(map(texts.__getitem__, cells))
    rows.clear()


def _stripped(texts: list[str], codes: np.ndarray) -> Texts:
    """Without white space around texts, which may be the same then."""
    new: dict[str, int] = {}
    renamed = [new.setdefault(text.strip(), len(new)) for text in texts]
    return Texts(list(new), np.array(renamed)[codes])


def _names(header: list[str] | None, path: Any) -> list[str]:
    if header is None:
        raise ValueError(f"{path} is empty")
    names = [name.strip() for name in header]
    if not names:
        raise ValueError(f"{path}: the first line is blank; it must name the columns")
    first: dict[str, int] = {}
    for position, name in enumerate(names, 1):
        if not name:
            raise ValueError(
                f"{path}: column {position} of {len(names)} has no name in the first line: name "
                f"it (or write the file without row numbers: index=False in pandas)"
            )
        other = first.setdefault(name, position)
        if other != position:
            raise ValueError(f"{path}: columns {other} and {position} have the same name {name!r}")
    if all(_is_number(name) for name in names):
        raise ValueError(
            f"{path}: the first line must name the columns, but it holds numbers: "
            f"{', '.join(names)!r:.60}"
        )
    return names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
