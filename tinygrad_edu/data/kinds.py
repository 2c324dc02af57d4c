"""What the texts of a column are: numbers, booleans or categories; or what is wrong with them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tinygrad_edu.data.cells import NUMBER_TEXT, Cells

__all__ = [
    "BOOLEAN",
    "BOOLEANS",
    "CATEGORY",
    "NUMBER",
    "OUT",
    "Column",
    "codes",
    "column_of",
    "near",
]

NUMBER, BOOLEAN, CATEGORY, OUT = "number", "boolean", "category", "out"
BOOLEANS = (("false", "true"), ("no", "yes"))
# Among numbers these are no values; among texts only an empty cell is none, for NA may be Namibia.
MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "-", "."}
_DATE = re.compile(
    r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([T ]\d.*)?|\d{1,2}:\d\d(:\d\d)?.*", re.ASCII | re.IGNORECASE
)
_CODE = re.compile(r"0\d+", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
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
        if self.kind == BOOLEAN:
            # As others write what was true and false here.
            number = float(text) if NUMBER_TEXT.fullmatch(text) else None
            return self.categories[int(number)] if number in (0, 1) else text.lower()
        return text

    def is_missing(self, cells: Cells) -> np.ndarray:
        """For each row whether it has no value."""
        if self.kind == NUMBER:
            return np.isnan(self.numbers(cells))
        column = cells.columns[self.name]
        return column.codes == (column.texts.index("") if "" in column.texts else -1)

    def numbers(self, cells: Cells) -> np.ndarray:
        """The number of each row; NaN where there is none.

        Raises:
            ValueError: a cell that is no finite number; it is named.
        """
        column = cells.columns[self.name]
        values = column.numbers[column.codes]
        for text in dict.fromkeys(column.texts[k] for k in column.codes[~np.isfinite(values)]):
            if NUMBER_TEXT.fullmatch(text):
                raise ValueError(f"{self._at(cells, text)} is too large a number")
            if text.lower() not in MISSING:
                raise ValueError(f"{self._at(cells, text)} is not a number{_hint(text)}")
        long = np.unique(column.codes[np.abs(values) >= 2**53])
        for text in (column.texts[k] for k in long):
            if _WHOLE.fullmatch(text) and int(text) != int(float(text)):
                raise ValueError(
                    f"{self._at(cells, text)} is too long a whole number, it would become "
                    f"{int(float(text))}: if it is a code, say so with "
                    f"kinds={ {self.name: CATEGORY} }"
                )
        return values

    def positions(self, cells: Cells) -> np.ndarray:
        """For each row the position of its text among the categories; -1 where it has none.

        Raises:
            ValueError: a cell with another text; it is named.
        """
        column = cells.columns[self.name]
        missing = {column.texts[k] for k in np.unique(column.codes[self.is_missing(cells)])}
        order = {category: i for i, category in enumerate(self.categories)}
        found = dict.fromkeys(column.texts, -1)
        for text in column.used:
            if text not in missing:
                if self.label(text) not in order:
                    some = ", ".join(self.categories[:8])
                    more = ", ..." if len(self.categories) > 8 else ""
                    raise ValueError(
                        f"{self._at(cells, text)} is none of the {len(order)} known there "
                        f"({some}{more}){near(self.label(text), order)}"
                    )
                found[text] = order[self.label(text)]
        return np.array(list(found.values()))[column.codes]

    def _at(self, cells: Cells, text: str) -> str:
        return f"{cells.at(cells.columns[self.name].first(text), self.name)}: {text!r:.60}"


def column_of(cells: Cells, name: str, kind: str | None = None) -> Column:
    """What a column is, as its texts look, or as `kind` says.

    Raises:
        ValueError: texts that are not of this kind, or of none that is known, as dates.
    """
    column = cells.columns[name]
    texts = [text for text in column.used if text]
    if kind is None:
        if not texts or not np.isnan(column.numbers[column.codes]).all():
            kind = CATEGORY if any(map(_CODE.fullmatch, texts)) else NUMBER
            _refuse_mixed(cells, name)
        else:
            kind = CATEGORY if _pair(texts) is None else BOOLEAN
            if kind == CATEGORY and all(map(_hint, texts)):
                at = cells.at(column.first(texts[0]), name)
                raise ValueError(f"{at}: {texts[0]!r:.60} is not a number{_hint(texts[0])}")
    if kind == NUMBER:
        found = Column(name, NUMBER)
        found.numbers(cells)
        return found
    if kind == CATEGORY:
        return Column(name, CATEGORY, tuple(sorted(texts)))
    pair = _pair(texts)
    if texts and pair is None:
        wrong = next((t for t in texts if t.lower() not in sum(BOOLEANS, ())), texts[0])
        at = cells.at(column.first(wrong), name)
        raise ValueError(f"{at}: {wrong!r:.60} is no boolean: true and false, or yes and no")
    return Column(name, BOOLEAN, pair or BOOLEANS[0])


def _pair(texts: list[str]) -> tuple[str, str] | None:
    """The words for false and true that the texts are."""
    found = {text.lower() for text in texts}
    return next((pair for pair in BOOLEANS if found and found <= {*pair}), None)


def _refuse_mixed(cells: Cells, name: str) -> None:
    """Raises if there are texts among the numbers."""
    column = cells.columns[name]
    is_number = ~np.isnan(column.numbers[column.codes])
    texts = dict.fromkeys(column.texts[k] for k in column.codes[~is_number])
    others = [text for text in texts if text.lower() not in MISSING]
    if others:
        other = next((text for text in others if _hint(text)), others[0])
        row = int(np.argmax(is_number))
        unlike = (
            f", as {column.texts[column.codes[row]]!r:.60} in line {cells.lines[row]} is; "
            f"if these are names, say so with kinds={ {name: CATEGORY} }"
        )
        raise ValueError(
            f"{cells.at(column.first(other), name)}: {other!r:.60} is not a number"
            f"{_hint(other) or unlike}"
        )


def _hint(text: str) -> str:
    """What to do with a text that is a number for people."""
    if _INFINITE.fullmatch(text):
        return ", but infinite: leave such cells empty, which means that there is no value"
    if _DATE.fullmatch(text):
        return ": it looks like a date or time; make numbers of it, such as days since a day"
    if _ODD_NUMBER.fullmatch(text) and not NUMBER_TEXT.fullmatch(text):
        comma = ", not a comma," if "," in text else ""
        return f": write numbers with a decimal point{comma} and without separators and units"
    return ""


def codes(column: Column) -> str:
    """A remark on a column that is of categories since its numbers look like codes, or nothing."""
    if column.kind != CATEGORY or not any(map(_CODE.fullmatch, column.categories)):
        return ""
    return f"; codes, since some begin with 0; if they are numbers: kinds={ {column.name: NUMBER} }"


def near(name: str, known: Iterable[str]) -> str:
    """The known names that are like one that is not known, for messages."""
    found = difflib.get_close_matches(name, list(known), n=3)
    return f"; did you mean {' or '.join(map(repr, found))}?" if found else ""
