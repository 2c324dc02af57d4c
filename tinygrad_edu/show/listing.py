"""The tape as text: a listing with values and lines, the same with rules, a table for notebooks."""

from __future__ import annotations

import html
import linecache
import os
import textwrap
from collections.abc import Sequence

from tinygrad_edu.book import rule_text
from tinygrad_edu.rules import Function
from tinygrad_edu.show import formulas
from tinygrad_edu.show.labels import Labels, clean, columns, reads, shape, value
from tinygrad_edu.tape import Entry

__all__ = ["dot", "pulled", "rules", "table", "text"]

HEADINGS = ("", "operation", "shape", "value", "gradient", "line")
LONGEST_LINE = 60


def text(labels: Labels) -> str:
    """The tape, one line an entry; see `Tape`."""
    return columns([HEADINGS, *_rows(labels)])


def rules(labels: Labels) -> str:
    """The listing with the derivative rules below each operation; see `Tape.rules`."""
    heading, *lines = text(labels).splitlines()
    told = [heading]
    first: dict[Function, str] = {}
    for entry, line in zip(labels.shown, lines, strict=True):
        told.append(line)
        for position, source in pulled(entry):
            head = f"d{labels.label(source)} +="
            rule = entry.primitive.rule(position)
            key = getattr(rule, "func", rule)
            short = formulas.written(entry, position, labels)
            short = short or formulas.words(entry, position, labels)
            if short:
                told.append(f"       {head} {short}")
            elif key in first:
                told.append(f"       {head} the same rule as {first[key]}")
            else:
                first[key] = f"d{labels.label(source)} at {labels.number(entry)}"
                told.append(_below(head, rule_text(rule)))
    return "\n".join(told)


def table(labels: Labels) -> str:
    """The listing as an HTML table."""
    rows = [HEADINGS, *_rows(labels)]
    kept = [i for i in range(len(HEADINGS)) if i < 2 or any(row[i] for row in rows[1:])]

    def cells(row: Sequence[str], tag: str) -> str:
        style = ' style="text-align:left;font-family:monospace;white-space:pre"'
        return "".join(f"<{tag}{style}>{html.escape(row[i])}</{tag}>" for i in kept)

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows[1:])
    return f"<table><thead><tr>{cells(HEADINGS, 'th')}</tr></thead><tbody>{body}</tbody></table>"


def dot(labels: Labels, outputs: Sequence[Entry]) -> str:
    """The tape as a graph in Graphviz's language; see `Tape.dot`."""
    place = {entry: labels.number(entry).replace("%", "n") for entry in labels.shown}
    lines = ["digraph tape {", '  node [shape=box, fontname="monospace", fontsize=10];']
    for entry, i in place.items():
        parts = [f"{labels.number(entry)}  {labels.statement(entry)}"]
        parts += [part for part in (shape(entry.y), value(entry.y)) if part]
        looks = ", style=rounded" if entry.primitive is None else ""
        looks += ", peripheries=2" if entry in outputs else ""
        lines.append(f"  {i} [label={_quoted(parts)}{looks}];")
    for entry, i in place.items():
        for source in reads(entry):
            dashed = "" if entry.requires_grad and source.requires_grad else " [style=dashed]"
            lines.append(f"  {place[source]} -> {i}{dashed};")
    return "\n".join([*lines, "}"]) + "\n"


def pulled(entry: Entry) -> list[tuple[int, Entry]]:
    """The inputs, by position, that the entry sends gradients to."""
    if entry.primitive is None or entry.inputs is None or not entry.requires_grad:
        return []
    rules = entry.primitive.rules
    return [
        (p, source)
        for p, source in enumerate(entry.inputs)
        if source is not None and source.requires_grad and (p >= len(rules) or rules[p])
    ]


def where(entry: Entry) -> str:
    """The line of the user's code that made the entry, such as `net.py:12: h = x @ w`."""
    source = clean(linecache.getline(*entry.where), LONGEST_LINE) if entry.where else ""
    return _place(entry) + (f": {source}" if source else "")


def _place(entry: Entry) -> str:
    """The file and the number of the line, such as `net.py:12`."""
    return f"{clean(os.path.basename(entry.where[0]))}:{entry.where[1]}" if entry.where else ""


def _rows(labels: Labels) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    last = None
    for entry in labels.shown:
        gradient = "" if entry.grad is None else value(entry.grad)
        line = _place(entry) if entry.where == last else where(entry)
        head = labels.number(entry), labels.statement(entry)
        rows.append((*head, shape(entry.y), value(entry.y), gradient, line))
        last = entry.where
    return rows


def _below(head: str, written: str) -> str:
    if "\n" in written:
        return f"       {head}\n{textwrap.indent(written, ' ' * 11)}"
    return f"       {head} {written}"


def _quoted(lines: Sequence[str]) -> str:
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\l".join(escaped) + '\\l"'
