"""What the texts of a column are: numbers, booleans or categories; or what is wrong with them."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tinygrad_edu.data.cells import Cells, Texts

__all__ = ["BOOLEAN", "CATEGORY", "NUMBER", "OUT", "Column", "column_of", "near"]

NUMBER, BOOLEAN, CATEGORY, OUT = "number", "boolean", "category", "out"
BOOLEANS = (("false", "true"), ("no", "yes"))
# Among numbers these are no values; among texts only an empty cell is none, for NA may be Namibia.
_MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "-", "."}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_DATE = re.compile(
    r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([T ]\d.*)?|\d{1,2}:\d\d(:\d\d)?.*", re.ASCII | re.IGNORECASE
)
_ODD_NUMBER = re.compile(r"[+-]?\s?[$€£¥]?\s?\d[\d.,'’\s_]*(e[+-]?\d+)?\s?[%$€£¥]?", re.IGNORECASE)
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)


@dataclass(frozen=True)
class Column:
    """What is known of a column.

    Attributes:
        name: its name.
        kind: "number", "boolean" or "category".
        categories: the texts of a boolean (the false one first) or of categories, in their order;
            of a number none, unless it is a target with classes.
    """

    name: str
    kind: str
    categories: tuple[str, ...] = ()

    def label(self, text: str) -> str:
        """A text as it stands among the categories."""
        if self.kind == NUMBER:
            value = float(text)
            return str(int(value)) if value.is_integer() else repr(value)
        return text.lower() if self.kind == BOOLEAN else text

    def missing(self, text: str) -> bool:
        """Whether a text says that there is no value."""
        return text.lower() in _MISSING if self.kind == NUMBER else not text

    def is_missing(self, texts: Texts) -> np.ndarray:
        """For each row whether it has no value."""
        return np.array([self.missing(text) for text in texts.texts], bool)[texts.codes]

    def numbers(self, cells: Cells) -> np.ndarray:
        """The number of each row; NaN where there is none.

        Raises:
            ValueError: a cell that is no finite number; it is named.
        """
        texts = cells.columns[self.name]
        values = dict.fromkeys(texts.texts, math.nan)
        for text in texts.used():
            if not self.missing(text):
                if not _NUMBER.fullmatch(text):
                    raise ValueError(f"{self._at(cells, text)} is not a number{_hint(text)}")
                values[text] = float(text)
                if math.isinf(values[text]):
                    raise ValueError(f"{self._at(cells, text)} is too large a number")
        return np.array(list(values.values()))[texts.codes]

    def positions(self, cells: Cells) -> np.ndarray:
        """For each row the position of its text among the categories; -1 where it has none.

        Raises:
            ValueError: a cell with another text; it is named.
        """
        if self.kind == NUMBER:
            self.numbers(cells)
        texts = cells.columns[self.name]
        order = {category: i for i, category in enumerate(self.categories)}
        found = dict.fromkeys(texts.texts, -1)
        for text in texts.used():
            if not self.missing(text):
                if self.label(text) not in order:
                    some = ", ".join(self.categories[:8])
                    more = ", ..." if len(self.categories) > 8 else ""
                    raise ValueError(
                        f"{self._at(cells, text)} is none of the {len(order)} known there "
                        f"({some}{more}){near(self.label(text), order)}"
                    )
                found[text] = order[self.label(text)]
        return np.array(list(found.values()))[texts.codes]

    def _at(self, cells: Cells, text: str) -> str:
        return f"{cells.at(cells.columns[self.name].first(text), self.name)}: {text!r:.60}"


def column_of(cells: Cells, name: str, kind: str | None = None) -> Column:
    """What a column is, as its texts look, or as `kind` says.

    Raises:
        ValueError: texts that are not of this kind, or of none that is known, as dates.
    """
    texts = [text for text in cells.columns[name].used() if text]
    numbers = {text for text in texts if _NUMBER.fullmatch(text)}
    if kind is None:
        rest = [text for text in texts if text not in numbers]
        if numbers or not texts:
            _refuse_mixed(cells, name, numbers, [t for t in rest if t.lower() not in _MISSING])
            kind = NUMBER
        else:
            kind = CATEGORY if _pair(texts) is None else BOOLEAN
            if kind == CATEGORY and all(map(_hint, texts)):
                at = cells.at(cells.columns[name].first(texts[0]), name)
                raise ValueError(f"{at}: {texts[0]!r:.60} is not a number{_hint(texts[0])}")
    pair = _pair(texts)
    if kind == NUMBER:
        column = Column(name, NUMBER)
        column.numbers(cells)
        return column
    if kind == BOOLEAN:
        if texts and pair is None:
            wrong = next((t for t in texts if t.lower() not in sum(BOOLEANS, ())), texts[0])
            at = cells.at(cells.columns[name].first(wrong), name)
            raise ValueError(f"{at}: {wrong!r:.60} is no boolean: true and false, or yes and no")
        return Column(name, BOOLEAN, pair or BOOLEANS[0])
    return Column(name, CATEGORY, tuple(sorted(texts)))


def _pair(texts: list[str]) -> tuple[str, str] | None:
    """The words for false and true that the texts are."""
    found = {text.lower() for text in texts}
    return next((pair for pair in BOOLEANS if found and found <= {*pair}), None)


def _refuse_mixed(cells: Cells, name: str, numbers: set[str], others: list[str]) -> None:
    if others:
        column = cells.columns[name]
        hint = next(filter(None, map(_hint, others)), "")
        other = next((text for text in others if _hint(text)), others[0])
        some = next(text for text in column.used() if text in numbers)
        raise ValueError(
            f"{cells.at(column.first(other), name)}: {other!r:.60} is not a number, as "
            f"{some!r:.60} in line {cells.lines[column.first(some)]} is{hint}; if these are names, "
            f"set the column's kind to {CATEGORY} (kinds)"
        )


def _hint(text: str) -> str:
    """What to do with a text that is a number for people."""
    if _INFINITE.fullmatch(text):
        return ": it is infinite; leave such cells empty, which means that there is no value"
    if _DATE.fullmatch(text):
        return ": it looks like a date or time; make numbers of it, such as days since a day"
    if _ODD_NUMBER.fullmatch(text) and not _NUMBER.fullmatch(text):
        comma = ", not a comma," if "," in text else ""
        return f": write numbers with a decimal point{comma} and without separators and units"
    return ""


def near(name: str, known: Iterable[str]) -> str:
    """The known names that are like one that is not known, for messages."""
    found = difflib.get_close_matches(name, list(known), n=3)
    return f"; did you mean {' or '.join(map(repr, found))}?" if found else ""
