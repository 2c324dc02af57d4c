"""The tape as one web page that steps forward and back: see `Tape.page`."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import os
import re
import textwrap
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

import numpy as np

from tinygrad_edu.book import rule_text
from tinygrad_edu.compiler.source import Source
from tinygrad_edu.files import as_a_whole
from tinygrad_edu.show.code import Lines, excerpts, matched
from tinygrad_edu.show.formulas import names_of, words, written
from tinygrad_edu.show.labels import Labels, clean, mean, reads, shape, value
from tinygrad_edu.show.steps import (
    Backward,
    Sent,
    example,
    in_numbers,
    is_numeric,
    rule_in_numbers,
    stretched,
)
from tinygrad_edu.tape import Entry

__all__ = ["Page", "page"]

# How many numbers of an array the page holds at most, and of all arrays together.
LARGEST = 288
ALL = 20_000
SMALLEST = 16


class Page:
    """A web page that a notebook shows in a frame.

    Attributes:
        html: the whole page.
    """

    def __init__(self, html: str):
        self.html = html

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the page to a file, which is there as a whole or not at all.

        Raises:
            OSError: it cannot be written; a file that was there is as it was.
        """
        with as_a_whole(path) as unfinished:
            unfinished.write_text(self.html, "utf-8")

    def _repr_html_(self) -> str:
        look = "width:100%;height:46rem;border:0"
        return f'<iframe title="tape" style="{look}" srcdoc="{html.escape(self.html)}"></iframe>'

    def __repr__(self) -> str:
        return f"<page of {len(self.html.encode()) / 1000:.0f} kB: save(path) writes it>"


def page(
    labels: Labels,
    outputs: Sequence[Entry],
    gradient: Any,
    source: Callable[[bool], Source],
    name: str,
) -> Page:
    """The page of a tape; see `Tape.page`."""
    entries = labels.shown
    back, why = _walked(entries, outputs, gradient)
    program, lines = None, Lines()
    try:
        # With the backward pass, if that begins with the 1 of a single number.
        gradients = back.gradients if back and gradient is None else {}
        text = source(bool(gradients))
        lines = matched(text, entries, gradients, labels.name)
        # Comments stand right behind their lines, which may be wrapped here.
        program = [re.sub(r" {2,}# ", "  # ", line) for line in text.splitlines()]
    except Exception as error:  # what cannot be written out can still be looked at
        why += f" There is no program of it: {clean(str(error), 300)}"
    builder = _Builder(labels, back or Backward(), lines)
    end = outputs[0].y
    is_number = len(outputs) == 1 and isinstance(end, np.ndarray) and end.size == 1
    operations = sum(entry.primitive is not None for entry in entries)
    inputs = sum(entry.primitive is None and entry.requires_grad for entry in entries)
    constants = len(entries) - operations - inputs
    about = f"{_counted(operations, 'operation')} on {_counted(inputs, 'input')}"
    about += f" and {_counted(constants, 'constant')}" if constants else ""
    about += f", result {value(end)}" if is_number else ""
    name = name or labels.name(outputs[0])
    return _assembled(
        f"Tape of {name}" if name else "Tape",
        {
            "about": about,
            "why": why.strip(),
            "seed": gradient is not None,
            "entries": [builder.entry(entry) for entry in entries],
            "rules": list(builder.rules),
            "lineSets": list(builder.line_sets),
            "files": [
                {"name": e.title, "first": e.first, "lines": _dedented(e.lines)}
                for e in builder.excerpts
            ],
            "program": program,
        },
    )


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _walked(
    entries: Sequence[Entry], outputs: Sequence[Entry], gradient: Any
) -> tuple[Backward | None, str]:
    """The walk back, or why there is none."""
    y = outputs[0].y
    if len(outputs) > 1:
        if gradient is not None:
            raise ValueError(f"gradient= is for a tape of one result, this one has {len(outputs)}")
        return None, "There is no way back: it starts at one result, and this tape has several."
    if gradient is not None:
        g = np.asarray(gradient, y.dtype)
        if g.shape != y.shape:
            raise ValueError(f"gradient has shape {g.shape}, but the result has shape {y.shape}")
        if not np.isfinite(g).all():
            raise ValueError("gradient holds values that are not finite")
    elif y.size != 1:
        return None, (
            f"There is no way back: it starts at a single number, and the result has shape "
            f"{y.shape}. Reduce it to one number, as with np.sum, or pass gradient=."
        )
    else:
        g = np.ones_like(y)
    if not outputs[0].requires_grad:
        return None, "There is no way back: no gradient flows to any input."
    try:
        return Backward.of(entries, g), ""
    except Exception as error:  # a rule of the user's may raise anything
        if gradient is not None:
            raise
        kind = "" if isinstance(error, FloatingPointError) else f"{type(error).__name__}: "
        return None, f"The way back fails: {kind}{clean(str(error), 300)}"


class _Builder:
    """Makes what the page is told of each entry."""

    def __init__(self, labels: Labels, back: Backward, lines: Lines):
        entries = labels.shown
        self._place = {entry: i for i, entry in enumerate(entries)}
        self._labels, self._back, self._lines = labels, back, lines
        self.excerpts = excerpts(entries)
        self.rules: dict[str, int] = {}
        self.line_sets: dict[tuple[int, ...], int] = {(): 0}
        self._senders: dict[Entry, list[int]] = {}
        for entry, sent in back.sent.items():
            for s in sent:
                self._senders.setdefault(s.source, []).append(self._place[entry])
        arrays = len(entries) + sum(2 * len(sent) for sent in back.sent.values())
        self._cells = min(LARGEST, max(SMALLEST, ALL // arrays))

    def entry(self, entry: Entry) -> dict[str, Any]:
        """One entry with everything that its steps show."""
        labels, y = self._labels, entry.y
        g = self._back.gradients.get(entry)
        cell = example(y, g) if is_numeric(y) else ()
        told: dict[str, Any] = {
            "number": labels.number(entry),
            "label": labels.label(entry),
            "text": labels.statement(entry),
            "computed": entry.primitive is not None,
            "shape": shape(y),
            "summary": value(y, brief=True),
            "value": self._picture(y),
            "constant": entry.primitive is None and not entry.requires_grad,
            "reads": [self._place[s] for s in dict.fromkeys(reads(entry))],
            "given": [
                {"name": name, "value": self._picture(given)} for name, given in labels.given(entry)
            ],
            "at": self._at(entry),
            "numbers": in_numbers(entry, cell),
            "cell": cell,
            "lines": self._line_set(self._lines.forward.get(entry, [])),
        }
        if g is not None:
            told["gradient"] = self._picture(g)
            told["gradientSummary"] = value(g, brief=True)
            told["senders"] = self._senders.get(entry, [])
            told["linesBack"] = self._line_set(self._lines.backward.get(entry, []))
            told["sent"] = [self._sent(entry, s, g) for s in self._back.sent.get(entry, [])]
        return _without_empty(told)

    def _line_set(self, lines: list[int]) -> int:
        """The number of a set of lines: many steps have the same."""
        return self.line_sets.setdefault(tuple(lines), len(self.line_sets))

    def _sent(self, entry: Entry, sent: Sent, g: np.ndarray) -> dict[str, Any]:
        rule = rule_text(entry.primitive.rule(sent.position))
        of = len(self._senders[sent.source])
        told = {
            "to": self._place[sent.source],
            "written": written(entry, sent.position, self._labels),
            "words": words(entry, sent.position, self._labels),
            "rule": self.rules.setdefault(rule, len(self.rules)),
            "names": self._names(entry, sent.position, rule),
            "numbers": rule_in_numbers(entry, sent, g),
            "stretched": stretched(entry, sent.position),
            "count": sent.count,
            "of": of,
        }
        if of > 1:
            told["gx"] = self._picture(sent.gx)
            if sent.count < of:
                told["total"] = self._picture(sent.total)
        return _without_empty(told)

    def _names(self, entry: Entry, position: int, rule: str) -> str:
        """What the names in a rule stand for, such as `y = hidden, a = 0, b = z1`."""
        labels = self._labels
        texts = [labels.label(entry)]
        texts += [labels.argument(entry, p, 0) for p in range(len(entry.values))]
        names = names_of(entry, position, texts)
        names |= {key: labels.constant(value) for key, value in entry.keywords.items()}
        read = set(re.findall(r"\w+", rule))
        told = {n: f"({', '.join(t)})" if isinstance(t, tuple) else t for n, t in names.items()}
        pairs = [f"g = d{labels.label(entry)}"] if "g" in read else []
        return ", ".join(pairs + [f"{n} = {t}" for n, t in told.items() if n in read and n != t])

    def _at(self, entry: Entry) -> tuple[int, int] | None:
        """The excerpt with the line that made the entry, and the number of the line."""
        if entry.where is None:
            return None
        file, line = entry.where
        for i, e in enumerate(self.excerpts):
            if e.file == file and e.first <= line < e.first + len(e.lines):
                return i, line
        return None

    def _picture(self, y: Any) -> Any:
        """An array for the page: its cells, or evenly chosen ones, and what it is like."""
        if not isinstance(y, np.ndarray) or y.dtype.kind not in "biuf":
            return None
        if y.dtype.kind == "f" and y.dtype.itemsize > 8:
            y = y.astype(float)
        if y.ndim == 0 and y.dtype == np.float64:
            return _for_json(y.item())
        last = y.shape[-1] if y.ndim else 1
        cells = y.reshape(y.size // max(last, 1), last)
        columns = min(last, 24)
        kept = [_evenly(len(cells), max(1, self._cells // max(columns, 1))), _evenly(last, columns)]
        chosen = cells[np.ix_(*kept)]
        told: dict[str, Any] = {
            "shape": y.shape,
            "dtype": str(y.dtype),
            "rows": chosen.shape[0],
            "columns": chosen.shape[1],
            "index": [
                None if len(k) == n else k.tolist() for k, n in zip(kept, cells.shape, strict=True)
            ],
            "cells": [_for_json(x) for x in chosen.ravel().tolist()],
        }
        finite = y[np.isfinite(y)]
        if finite.size != y.size:
            told["wrong"] = f"{y.size - finite.size} of {y.size}"
        if y.dtype.kind == "b":
            told["true"] = f"{np.count_nonzero(y)} of {y.size}"
        elif y.size > 1 and finite.size:
            told["min"], told["max"] = (_for_json(x.item()) for x in (finite.min(), finite.max()))
            told["mean"] = _for_json(mean(finite))
            told["zeros"] = _percent(int(np.count_nonzero(finite == 0)), finite.size)
        return told


def _percent(n: int, of: int) -> str:
    """A share that is 0 % or 100 % only if it is none or all."""
    share = 100 * n / of
    return "<1%" if 0 < share < 1 else ">99%" if 99 < share < 100 else f"{share:.0f}%"


def _dedented(lines: list[str]) -> list[str]:
    return textwrap.dedent("\n".join(lines)).split("\n")


def _without_empty(told: dict[str, Any]) -> dict[str, Any]:
    """Without what is None, False or empty, as a long tape has thousands of entries."""
    return {
        key: part
        for key, part in told.items()
        if part is not None and part is not False and part not in ("", (), [])
    }


def _evenly(n: int, most: int) -> np.ndarray:
    """At most so many of the whole numbers below n, evenly spread, with the first and the last."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def _for_json(x: Any) -> Any:
    """A number with six digits; as a word if JSON has none for it."""
    if isinstance(x, float):
        return float(f"{x:.6g}") if math.isfinite(x) else str(x)
    return x if isinstance(x, bool) or abs(x) < 2**53 else str(x)


def _assembled(title: str, told: dict[str, Any]) -> Page:
    """The page of its parts. Nothing of the user's is ever markup, and only our script may run."""
    folder = resources.files("tinygrad_edu.show")
    template, style, script = (
        folder.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("html", "css", "js")
    )
    text = json.dumps(told, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    policy = (
        f"default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"style-src {_hash(style)}; script-src {_hash(script)}"
    )
    parts = {
        "POLICY": policy,
        "TITLE": html.escape(title),
        "STYLE": style,
        "DATA": text,
        "SCRIPT": script,
    }
    # All at once, so that a text of the user's that looks like a placeholder stays what it is.
    return Page(re.sub("@@([A-Z]+)@@", lambda match: parts[match.group(1)], template))


def _hash(code: str) -> str:
    digest = hashlib.sha256(code.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
