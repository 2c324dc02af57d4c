"""What a check found, to be read by people in print and in notebooks, and by programs."""

from __future__ import annotations

import html
import math
import os
import textwrap
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_edu.gradcheck.compare import Verdict

__all__ = ["Blame", "GradientError", "GradientReport", "InputReport", "WrongEntry"]

# How many entries the table shows, how many inputs, and how wide it is.
SHOWN, SUMMARY, WIDTH = 8, 10, 100
# How long a name is in a sentence, how short it may get in a table, and the room for remarks there.
NAME, SHORTEST, REMARK = 60, 16, 30


@dataclass(frozen=True)
class WrongEntry:
    """An entry of a gradient with which something is wrong.

    Attributes:
        name: the input.
        index: the index into it.
        given: what was claimed.
        measured: what is right; at a kink the mean of the slopes at both sides.
    """

    name: str
    index: tuple[int, ...]
    given: float
    measured: float


@dataclass
class InputReport:
    """The verdicts on the gradient by one input; all arrays have its shape.

    Attributes:
        name, shape, dtype: of the input.
        order: 1 for the gradient, 2 for the gradient of the gradient, and so on.
        given: the gradient that was claimed; NaN if it had another shape.
        measured: the slopes that were measured; NaN where only random mixtures of entries were.
        error: the estimated errors of `measured`.
        left, right: the slopes on both sides, which differ at a kink.
        verdicts: `Verdict` by entry; they are strings.
        valid: at a kink, whether the given value lies between the two slopes.
        reasons: why an entry is inconclusive, by index.
        mistake: what is wrong with the whole, such as its shape; empty if nothing.
        diagnosis: which usual mistake explains the wrong values; empty if none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    order: int
    given: np.ndarray
    measured: np.ndarray
    error: np.ndarray
    left: np.ndarray
    right: np.ndarray
    verdicts: np.ndarray
    valid: np.ndarray
    reasons: dict[tuple[int, ...], str] = field(default_factory=dict)
    mistake: str = ""
    diagnosis: str = ""

    @property
    def label(self) -> str:
        """The name, with the order if that is not the first."""
        return self.name if self.order == 1 else f"{self.name}, order {self.order}"

    def counts(self) -> dict[Verdict, int]:
        """How many entries have each verdict; verdicts without entries are left out."""
        numbers = {verdict: int(np.sum(self.verdicts == verdict)) for verdict in Verdict}
        return {verdict: number for verdict, number in numbers.items() if number}

    def is_bad(self) -> np.ndarray:
        """Which entries keep the report from being true."""
        kink = self.verdicts == Verdict.KINK
        return ~((self.verdicts == Verdict.OK) | (kink & self.valid))

    def is_wrong(self) -> np.ndarray:
        """Which entries are wrong, at kinks those that do not lie between the slopes."""
        outside = (self.verdicts == Verdict.KINK) & ~self.valid
        return (self.verdicts == Verdict.WRONG) | outside

    def relative_error(self) -> np.ndarray:
        """|given - measured|, relative to the larger of the two; 0 for a valid value at a kink."""
        with np.errstate(all="ignore"):
            size = np.fmax(np.abs(self.given), np.abs(self.measured))
            error = np.abs(self.given - self.measured) / np.where(size > 0, size, 1)
        known = np.isfinite(self.given) | (np.isnan(self.measured) & ~self.is_wrong())
        error = np.where(known, error, np.inf)
        return np.where((self.verdicts == Verdict.KINK) & self.valid, 0.0, error)


@dataclass(frozen=True)
class Blame:
    """A derivative rule that is wrong at the values that it saw.

    Attributes:
        entry: the position of the operation on the tape.
        operation: its name.
        argument: the position of the input whose rule it is, from 0.
        where: the file and line of the code that called the operation, if known.
        line: that line.
        message: what is wrong.
        report: the check of the rule by itself, if it returned something to check.
    """

    entry: int
    operation: str
    argument: int
    where: tuple[str, int] | None
    line: str
    message: str
    report: GradientReport | None = None

    def __str__(self) -> str:
        place = f", {shown(self.where)}" if self.where else ""
        code = f"\n    {short(self.line, WIDTH - 8)}" if self.line else ""
        message = f"  the rule for its argument {self.argument} is wrong: {self.message}"
        return f"%{self.entry} {self.operation}{place}{code}\n{_wrapped(message)}"


class GradientError(AssertionError):
    """Raised by `assert_grad`; `report` has everything that was found."""

    def __init__(self, report: GradientReport):
        super().__init__(str(report))
        self.report = report

    def __reduce__(self) -> Any:
        return type(self), (self.report,)


@dataclass
class GradientReport:
    """What `check_grad` found. It is true if the gradient is right, and prints as a table.

    Attributes:
        name: of the function.
        inputs: an `InputReport` for each input, and for each order.
        problems: what kept the check from being made, or is wrong with the function itself.
        notes: what else one should know.
        diagnosis: explanations that concern all inputs, such as a path that was left out.
        blame: the derivative rules on the tape that are wrong.
        rules_checked: how many derivative rules were checked one by one.
        evaluations: how often the function or its gradient was called.
        seconds: how long it took.
        method: which entries were looked at.
        resolution: relative errors from here on would have been seen, in the entries measured
            one by one; the median.
    """

    name: str
    inputs: list[InputReport] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    diagnosis: list[str] = field(default_factory=list)
    blame: list[Blame] = field(default_factory=list)
    rules_checked: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    method: str = ""
    resolution: float = math.nan

    @property
    def verdict(self) -> Verdict:
        """OK, WRONG or INCONCLUSIVE: the whole check in one word."""
        if self.blame or any(i.mistake or i.is_wrong().any() for i in self.inputs):
            return Verdict.WRONG
        checked = any(i.verdicts.size for i in self.inputs)
        if self.problems or not checked or any(i.is_bad().any() for i in self.inputs):
            return Verdict.INCONCLUSIVE
        return Verdict.OK

    def __bool__(self) -> bool:
        return self.verdict is Verdict.OK

    @property
    def wrong(self) -> list[WrongEntry]:
        """The entries that are wrong, the worst first."""
        found: list[WrongEntry] = []
        errors: list[float] = []
        for i in self.inputs:
            wrong = i.is_wrong()
            numbers = zip(i.given[wrong].tolist(), i.measured[wrong].tolist(), strict=True)
            for at, (given, measured) in zip(_where(wrong), numbers, strict=True):
                found.append(WrongEntry(i.label, at, given, measured))
            errors += np.nan_to_num(i.relative_error()[wrong], nan=np.inf, posinf=np.inf).tolist()
        return [found[k] for k in np.argsort(np.negative(errors), kind="stable")]

    @property
    def findings(self) -> list[str]:
        """What is wrong, in words: what does not fit, likely mistakes, wrong derivative rules.

        Example:
            >>> import tinygrad_edu as tg
            >>> x = np.array([0.5, 2.0])
            >>> tg.check_grad(lambda x: np.sum(x**3), x, gradient=lambda x: -3 * x**2).findings
            ['x: the sign is flipped: every value is minus the right one']
        """
        return [*self._complaints(), *self._explanations(), *self._accusations()]

    # Presentation.

    def _headline(self) -> str:
        total = sum(i.verdicts.size for i in self.inputs)
        wrong = sum(int(i.is_wrong().sum()) for i in self.inputs)
        word = str(self.verdict)
        if self.verdict is Verdict.INCONCLUSIVE and self.problems:
            word = "PROBLEM" if self.inputs else "NOT CHECKED"
        text = f"gradient of {self.name}: {word}"
        if wrong:
            text += f", {wrong:,} of {total:,} entries"
        return text

    def _complaints(self) -> list[str]:
        mistakes = _by_sentence([(i.label, i.mistake) for i in self.inputs])
        return [*self.problems, *_some(mistakes)]

    def _explanations(self) -> list[str]:
        found = _by_sentence([(i.label, i.diagnosis) for i in self.inputs])
        return [*_some(found), *self.diagnosis]

    def _accusations(self) -> list[str]:
        """The wrong rules; one that is wrong in many places is explained once."""
        places: dict[tuple[str, int], list[Blame]] = {}
        for blame in self.blame:
            places.setdefault((blame.operation, blame.argument), []).append(blame)
        texts = []
        for first, *others in places.values():
            also = _some([f"%{blame.entry}" for blame in others])
            texts.append(f"{first}\n    also at {', '.join(also)}" if also else str(first))
        return _some(texts)

    def _remarks(self) -> list[str]:
        text = _some(self.notes)
        if self.method:
            text.append(f"{self.method}, {self.evaluations:,} evaluations, {self.seconds:.2g} s")
        if self.resolution <= 1:
            size = f"{self.resolution:.0e}"
            text.append(f"relative errors above {size} would have been seen in the median entry")
        if self.rules_checked:
            s = "s" * (self.rules_checked > 1)
            text.append(f"{self.rules_checked} derivative rule{s} of the tape checked one by one")
        return text

    def _summary(self) -> tuple[list[list[str]], str]:
        """A table of the inputs, if they are many of the worst, and a word on the others."""
        rows, ranks = [], []
        for i in self.inputs:
            counts = ", ".join(f"{n:,} {verdict}" for verdict, n in i.counts().items())
            errors = i.relative_error()
            worst = float(np.nan_to_num(errors, nan=-1.0, posinf=np.inf).max(initial=-1.0))
            size = f"{worst:.1e}"
            is_known = worst >= 0 and not i.mistake
            rows.append([i.label, str(i.shape), counts or "no entries", size if is_known else "-"])
            is_wrong = bool(i.mistake) or bool(i.is_wrong().any())
            # Errors that look the same count as the same, lest rounding choose the rows.
            ranks.append((is_wrong, is_wrong or bool(i.is_bad().any()), float(size)))
        by_rank = sorted(range(len(rows)), key=ranks.__getitem__, reverse=True)
        header = ["input", "shape", "entries", "largest relative error"]
        table = _fitted([header, *(rows[k] for k in sorted(by_rank[:SUMMARY]))], 0)
        others = [ranks[k] for k in by_rank[SUMMARY:]]
        bad = sum(is_bad for _, is_bad, _ in others)
        how = f"{bad} of them not OK" if bad else "all OK"
        return table, f"... and {len(others)} more, {how}" if others else ""

    def _entries(self) -> tuple[list[list[str]], str]:
        """A table of the worst entries and then of kinks, and a word on the others."""
        found = []
        total = 0
        for i in self.inputs:
            bad = i.is_bad()
            listed = np.flatnonzero(bad | (i.verdicts == Verdict.KINK))
            if i.mistake or not listed.size:
                continue
            total += listed.size
            rank = np.where(i.is_wrong(), 0, np.where(bad, 1, 2)).ravel()[listed]
            error = np.nan_to_num(i.relative_error().ravel()[listed], nan=np.inf, posinf=np.inf)
            worst = np.lexsort((-error, rank))[:SHOWN]
            found += [(rank[k], -error[k], i, listed[k]) for k in worst]
        found.sort(key=lambda entry: entry[:2])
        rows = [_entry_row(i, int(k), -error) for _, error, i, k in found[:SHOWN]]
        table = _fitted([["", "entry", "given", "measured", ""], *rows], 1) if rows else []
        return table, f"... and {total - SHOWN:,} more" if total > SHOWN else ""

    def __str__(self) -> str:
        lines = [self._headline(), ""]
        complaints = self._complaints()
        lines += [_wrapped(f"! {text}") for text in complaints] + [""] * bool(complaints)
        for table, others in (self._summary(), self._entries()):
            if len(table) > 1:
                lines += [*_aligned(table), *([f"  {others}"] if others else []), ""]
        explanations = self._explanations()
        if explanations:
            lines += ["Likely mistake", *map(_wrapped, explanations), ""]
        accusations = self._accusations()
        if accusations:
            lines += ["Wrong rules", *(f"  {text}" for text in accusations), ""]
        lines += map(_wrapped, self._remarks())
        return "\n".join(lines).rstrip()

    def __repr__(self) -> str:
        return f"<{self._headline()}>"

    def _repr_html_(self) -> str:
        e = html.escape
        colour = {Verdict.OK: "#009E73", Verdict.WRONG: "#D55E00"}.get(self.verdict, "#0072B2")
        parts = [f'<p><b style="color:{colour}">{e(self._headline())}</b></p>']
        parts += [f"<p>{e(text)}</p>" for text in self._complaints()]
        for table, others in (self._summary(), self._entries()):
            if len(table) > 1:
                parts += [_html_table(table), f"<p>{e(others)}</p>" if others else ""]
        parts += [f"<p><b>Likely mistake:</b> {e(text)}</p>" for text in self._explanations()]
        parts += [f"<pre>{e(text)}</pre>" for text in self._accusations()]
        parts += [f"<small>{e(text)}<br></small>" for text in self._remarks()]
        return "\n".join(filter(None, parts))

    def to_dict(self) -> dict[str, Any]:
        """Everything as dicts, lists, strings and numbers, for `json.dumps`.

        Numbers that are not finite, which JSON has no words for, are `None`.
        """

        def numbers(array: np.ndarray) -> Any:
            values = array.astype(object)
            values[~np.isfinite(array)] = None
            return values.tolist()

        return {
            "name": self.name,
            "verdict": str(self.verdict),
            "ok": bool(self),
            "problems": list(self.problems),
            "notes": list(self.notes),
            "diagnosis": list(self.diagnosis),
            "method": self.method,
            "evaluations": self.evaluations,
            "seconds": self.seconds,
            "resolution": self.resolution if math.isfinite(self.resolution) else None,
            "rules_checked": self.rules_checked,
            "inputs": [
                {
                    "name": i.name,
                    "order": i.order,
                    "shape": list(i.shape),
                    "dtype": i.dtype,
                    "mistake": i.mistake,
                    "diagnosis": i.diagnosis,
                    "verdicts": np.vectorize(str, otypes=[object])(i.verdicts).tolist(),
                    "given": numbers(i.given),
                    "measured": numbers(i.measured),
                    "error": numbers(i.error),
                    "left": numbers(i.left),
                    "right": numbers(i.right),
                    "valid": i.valid.tolist(),
                    "reasons": {str(list(at)): reason for at, reason in i.reasons.items()},
                }
                for i in self.inputs
            ],
            "blame": [
                {
                    "entry": b.entry,
                    "operation": b.operation,
                    "argument": b.argument,
                    "file": b.where[0] if b.where else None,
                    "line_number": b.where[1] if b.where else None,
                    "line": b.line,
                    "message": b.message,
                }
                for b in self.blame
            ],
        }

    def plot(self, name: str | None = None) -> Any:
        """Draws given against measured values, and a map of the errors of one input by entry.

        Args:
            name: the input of the map; by default the one with the most wrong entries.

        Returns:
            the matplotlib figure.

        Raises:
            ValueError: nothing was measured, or no input has that name.
        """
        from tinygrad_edu.gradcheck.picture import draw

        return draw(self, name)


def shown(where: tuple[str, int]) -> str:
    """A file and line as people write them, relative to the current folder if inside."""
    relative = os.path.relpath(where[0]) if os.path.isabs(where[0]) else where[0]
    return f"{where[0] if relative.startswith('..') else relative}:{where[1]}"


def short(text: str, width: int) -> str:
    """A name that fits; of a longer one the middle is left out."""
    head = (width - 3) // 3
    # The end has the index, and the last of several keys, which tell more than the first.
    return text if len(text) <= width else f"{text[:head]}...{text[head + 3 - width :]}"


def _where(mask: np.ndarray) -> list[tuple[int, ...]]:
    """The indices at which an array of any shape is true."""
    return [tuple(at) for at in np.argwhere(mask).tolist()]


def _some(texts: list[str]) -> list[str]:
    """The first of many, and how many more there are."""
    return texts[:SHOWN] + [f"... and {len(texts) - SHOWN} more"] * (len(texts) > SHOWN)


def _by_sentence(pairs: list[tuple[str, str]]) -> list[str]:
    """What is said of each name; what is said of several is said once."""
    names: dict[str, list[str]] = {}
    for name, sentence in pairs:
        if sentence:
            names.setdefault(sentence, []).append(short(name, NAME))
    lines = []
    for sentence, (first, *others) in names.items():
        if others:
            first += f" and {others[0]}" if len(others) == 1 else f" and {len(others)} others"
        lines.append(f"{first}: {sentence}")
    return lines


def _entry_row(i: InputReport, k: int, error: float) -> list[str]:
    """The row of one entry, by its position in the flat array."""
    at = tuple(map(int, np.unravel_index(k, i.shape)))
    verdict, given, measured = i.verdicts[at], i.given[at], i.measured[at]
    slopes = sorted((i.left[at], i.right[at]))
    reason = i.reasons.get(at, "")
    value = f"{measured:.9g}" if math.isfinite(measured) else "-"
    if verdict is Verdict.KINK:
        known = all(map(math.isfinite, slopes))
        value = f"{slopes[0]:.6g} .. {slopes[1]:.6g}" if known else "-"
        remark = reason or ("" if known else "in a mixture")
        if not i.valid[at]:
            remark = "not between the two slopes"
    elif verdict is Verdict.INCONCLUSIVE or reason:
        remark = reason
    elif not math.isfinite(given):
        remark = "not finite"
    elif value == "-":
        remark = ""
    else:
        remark = f"off by {error:.0%}" if 0.01 <= error < math.inf else f"off by {error:.1e}"
    return [str(verdict), f"{i.label}{list(at) if at else ''}", f"{given:.9g}", value, remark]


def _wrapped(text: str) -> str:
    """A sentence as an indented paragraph."""
    return textwrap.fill(
        text,
        WIDTH - 2,
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _fitted(rows: list[list[str]], column: int) -> list[list[str]]:
    """A table whose names, in one of the columns, are so short that it is no wider than `WIDTH`.

    The last column may be, since its text can be broken into lines.
    """
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    widths[-1] = min(widths[-1], REMARK)
    room = WIDTH - sum(widths) + widths[column] - 2 * len(widths)
    name = max(room, SHORTEST)
    return [[*r[:column], short(r[column], name), *r[column + 1 :]] for r in rows]


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)][:-1]
    margin = 2 * len(widths) + 2 + sum(widths)
    lines = []
    for *cells, last in rows:
        start = "".join(f"  {cell:{w}}" for cell, w in zip(cells, widths, strict=True))
        first, *rest = textwrap.wrap(last, max(WIDTH - margin, REMARK)) or [""]
        lines += [f"{start}  {first}".rstrip(), *(" " * margin + line for line in rest)]
    return lines


def _html_table(rows: list[list[str]]) -> str:
    head, *body = (
        "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
        for tag, row in zip(["th", *["td"] * len(rows)], rows, strict=False)
    )
    lines = "".join(f"<tr>{row}</tr>" for row in body)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
