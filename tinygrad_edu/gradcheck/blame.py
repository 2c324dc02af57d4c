"""Every derivative rule on the tape, checked by itself at the values that it saw.

Two wrong rules can cancel in the whole, and a wrong whole does not say which rule made it. By
itself each rule is just another gradient to check.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_edu.gradcheck.report import Blame, GradientReport, WrongEntry
from tinygrad_edu.gradcheck.subject import Subject, claimed_by_engine
from tinygrad_edu.tape import Entry, Tape

__all__ = ["code_at", "wrong_rules"]

# Rules are given this gradient of a single output, for 1 would hide that one leaves it out.
FACTOR = 1.375
# The check of one rule: enough for some entries, or for mixtures of all.
EVALUATIONS = 150


def wrong_rules(
    tape: Tape,
    check: Callable[..., GradientReport],
    order: int,
    rng: np.random.Generator,
    max_evaluations: int,
    advanced: Callable[[], Any],
) -> tuple[list[Blame], int]:
    """The rules on a tape that are wrong, and how many were checked.

    Args:
        tape: of the function, recorded with lines.
        check: `check_grad`.
        order: to which order the rules are checked.
        rng: for the directions.
        max_evaluations: where to stop, in calls of single operations.
        advanced: is called after each entry of the tape.
    """
    found: list[Blame] = []
    checked = evaluations = 0
    for number, entry in enumerate(tape):
        for position, source in enumerate(entry.inputs if entry.primitive else ()):
            if source is None or not source.requires_grad or source.y.size == 0:
                continue
            if evaluations > max_evaluations or not _has_rule(entry, position):
                continue
            blame, cost = _checked(entry, number, position, check, order, rng)
            checked += 1
            evaluations += cost
            found += [blame] if blame else []
        advanced()
    return found, checked


def _has_rule(entry: Entry, position: int) -> bool:
    try:
        return entry.primitive.rule(position) is not None
    except NotImplementedError:
        return False


def _checked(
    entry: Entry,
    number: int,
    position: int,
    check: Callable[..., GradientReport],
    order: int,
    rng: np.random.Generator,
) -> tuple[Blame | None, int]:
    """What is wrong with one rule, and what it took to find out."""
    values = list(entry.values)
    factor = FACTOR if entry.y.size == 1 else 1.0

    def operation(x: Any) -> Any:
        y = entry.primitive(*values[:position], x, *values[position + 1 :], **entry.keywords)
        return y if factor == 1 else y * factor

    place = entry.where, code_at(entry.where)
    options = {"order": order, "rng": rng, "blame": False, "progress": False}
    try:
        report = check(operation, values[position], max_evaluations=EVALUATIONS, **options)
    except Exception as error:
        # A rule is any code, and may fail in any way; so may the operation, at other values.
        if order == 1 and _works(operation, values[position], rng):
            return None, 1
        message = f"{type(error).__name__}: {error}"
        return Blame(number, entry.primitive.name, position, *place, message), 1
    if not report.wrong and not any(i.mistake for i in report.inputs):
        return None, report.evaluations
    return (
        Blame(number, entry.primitive.name, position, *place, _message(report, factor), report),
        report.evaluations,
    )


def _works(operation: Callable[..., Any], value: Any, rng: np.random.Generator) -> bool:
    """Whether the rule of an operation can be computed at the values that it saw."""
    try:
        subject = Subject(operation, (value,), None, rng)
        subject.first_call()
        claimed_by_engine(subject)(subject.x, False)
    except Exception:
        return False
    return True


def _message(report: GradientReport, factor: float) -> str:
    entry: WrongEntry | None = next(iter(report.wrong), None)
    for i in report.inputs:
        if i.mistake:
            return i.mistake
    assert entry is not None
    # A rule that is wrong has wrong derivatives, too: the lowest order is the one to mend.
    of = next(i for i in report.inputs if i.is_wrong().any())
    entry = next(wrong for wrong in report.wrong if wrong.name == of.label)
    index = list(entry.index) if entry.index else ""
    which = "" if of.order == 1 else f", in the derivative of order {of.order}"
    text = (
        f"{int(of.is_wrong().sum())} of {of.verdicts.size} entries{which}; for one, the gradient "
        f"by x{index} is {entry.given / factor:.9g} and should be {entry.measured / factor:.9g}"
    )
    return f"{text}; {of.diagnosis}" if of.diagnosis else text


def code_at(where: tuple[str, int] | None) -> str:
    """The line of source code at a place; empty if it cannot be read."""
    return linecache.getline(*where).strip() if where else ""
