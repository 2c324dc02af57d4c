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

# How many entries the table shows.
SHOWN = 8


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
        error = np.where(np.isfinite(self.given) | np.isnan(self.measured), error, np.inf)
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
        code = f"\n    {self.line}" if self.line else ""
        message = f"  the rule for its argument {self.argument} is wrong: {self.message}"
        return f"%{self.entry} {self.operation}{place}{code}\n{_wrapped(message)}"


class GradientError(AssertionError):
    """Raised by `assert_grad`; `report` has everything that was found."""

    def __init__(self, report: GradientReport):
        super().__init__(f"\n{report}")
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
        rows = []
        for i in self.inputs:
            errors = i.relative_error()
            for at in _where(i.is_wrong()):
                found = WrongEntry(i.label, at, float(i.given[at]), float(i.measured[at]))
                rows.append((float(np.nan_to_num(errors[at], nan=np.inf)), found))
        return [found for _, found in sorted(rows, key=lambda row: -row[0])]

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

    def _footer(self) -> list[str]:
        text = []
        if self.method:
            text.append(f"{self.method}, {self.evaluations:,} evaluations, {self.seconds:.2g} s")
        if math.isfinite(self.resolution):
            text.append(f"relative errors above {self.resolution:.0e} would have been seen")
        if self.rules_checked:
            s = "s" * (self.rules_checked > 1)
            text.append(f"{self.rules_checked} derivative rule{s} of the tape checked one by one")
        return text

    def _summary_rows(self) -> list[list[str]]:
        rows = []
        for i in self.inputs:
            counts = ", ".join(f"{n:,} {verdict}" for verdict, n in i.counts().items())
            errors = i.relative_error()
            finite = errors[~np.isnan(errors)]
            worst = f"{finite.max():.1e}" if finite.size else "-"
            rows.append(
                [i.label, str(i.shape), counts or "no entries", "-" if i.mistake else worst]
            )
        return rows

    def _entry_rows(self) -> list[list[str]]:
        """The entries to be shown: the bad ones, the worst first, then kinks."""
        rows = []
        for i in self.inputs:
            errors = i.relative_error()
            kinks = i.verdicts == Verdict.KINK
            for at in _where(i.is_bad() | kinks) if not i.mistake else ():
                rank = 0 if i.is_wrong()[at] else 1 if i.is_bad()[at] else 2
                error = float(np.nan_to_num(errors[at], nan=np.inf))
                rows.append((rank, -error, self._entry_row(i, at)))
        return [row for _, _, row in sorted(rows, key=lambda row: row[:2])]

    @staticmethod
    def _entry_row(i: InputReport, at: tuple[int, ...]) -> list[str]:
        name = f"{i.label}{list(at) if at else ''}"
        verdict = i.verdicts[at]
        remark = ""
        if verdict is Verdict.KINK:
            low, high = sorted((i.left[at], i.right[at]))
            measured = f"{low:.6g} .. {high:.6g}"
            remark = "" if i.valid[at] else "not between the two slopes"
            if math.isnan(low):
                measured, remark = "-", "in a mixture"
        elif math.isnan(i.measured[at]):
            measured, remark = "-", i.reasons.get(at, "")
        else:
            measured = f"{i.measured[at]:.9g}"
            off = i.relative_error()[at]
            size = f"{off:.0%}" if 0.01 <= off < math.inf else f"{off:.1e}"
            remark = i.reasons.get(at) or f"off by {size}"
        return [str(verdict), name, f"{i.given[at]:.9g}", measured, remark]

    def __str__(self) -> str:
        lines = [self._headline(), ""]
        bad = [*self.problems, *(f"{i.label}: {i.mistake}" for i in self.inputs if i.mistake)]
        lines += [_wrapped(f"! {text}") for text in bad] + [""] * bool(bad)
        if self.inputs:
            header = ["input", "shape", "entries", "largest relative error"]
            lines += [*_aligned([header, *self._summary_rows()]), ""]
        rows = self._entry_rows()
        if rows:
            header = ["", "entry", "given", "measured", ""]
            lines += _aligned([header, *rows[:SHOWN]])
            if len(rows) > SHOWN:
                lines.append(f"  ... and {len(rows) - SHOWN:,} more")
            lines.append("")
        found = [f"{i.label}: {i.diagnosis}" for i in self.inputs if i.diagnosis]
        found += self.diagnosis
        if found:
            lines += ["Likely mistake", *map(_wrapped, found), ""]
        if self.blame:
            lines += ["Wrong rules", *(f"  {blame}" for blame in self.blame[:SHOWN]), ""]
        lines += map(_wrapped, [*self.notes, *self._footer()])
        return "\n".join(lines).rstrip()

    def __repr__(self) -> str:
        return f"<{self._headline()}>"

    def _repr_html_(self) -> str:
        e = html.escape
        colour = {Verdict.OK: "#009E73", Verdict.WRONG: "#D55E00"}.get(self.verdict, "#0072B2")
        parts = [f'<p><b style="color:{colour}">{e(self._headline())}</b></p>']
        bad = [*self.problems, *(f"{i.label}: {i.mistake}" for i in self.inputs if i.mistake)]
        parts += [f"<p>{e(text)}</p>" for text in bad]
        if self.inputs:
            header = ["input", "shape", "entries", "largest relative error"]
            parts.append(_html_table(header, self._summary_rows()))
        rows = self._entry_rows()
        if rows:
            header = ["verdict", "entry", "given", "measured", ""]
            parts.append(_html_table(header, rows[:SHOWN]))
        found = [f"{i.label}: {i.diagnosis}" for i in self.inputs if i.diagnosis]
        parts += [f"<p><b>Likely mistake:</b> {e(t)}</p>" for t in [*found, *self.diagnosis]]
        parts += [f"<pre>{e(str(blame))}</pre>" for blame in self.blame]
        parts += [f"<small>{e(note)}<br></small>" for note in [*self.notes, *self._footer()]]
        return "\n".join(parts)

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


def _where(mask: np.ndarray) -> list[tuple[int, ...]]:
    """The indices at which an array of any shape is true."""
    return [tuple(map(int, np.unravel_index(k, mask.shape))) for k in np.flatnonzero(mask)]


def _wrapped(text: str) -> str:
    """A sentence as an indented paragraph."""
    return textwrap.fill(
        text,
        98,
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = ("  ".join(f"{cell:{w}}" for cell, w in zip(r, widths, strict=True)) for r in rows)
    return [f"  {line}".rstrip() for line in lines]


def _html_table(header: list[str], rows: list[list[str]]) -> str:
    cells = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
