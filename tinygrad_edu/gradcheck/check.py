"""`check_grad`: is this gradient right, and if not, where and why?"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_edu.gradcheck.blame import code_at, wrong_rules
from tinygrad_edu.gradcheck.compare import (
    EPS,
    RESOLUTION,
    TINY,
    USUAL_COST,
    Comparison,
    Verdict,
)
from tinygrad_edu.gradcheck.diagnosis import explain_by_tape, explain_input, explain_shape
from tinygrad_edu.gradcheck.report import GradientError, GradientReport, InputReport, shown
from tinygrad_edu.gradcheck.slope import SAFETY
from tinygrad_edu.gradcheck.subject import (
    CannotCheck,
    Claim,
    Input,
    Subject,
    claimed_by_engine,
    claimed_by_user,
    tape_of,
)
from tinygrad_edu.recording import recording
from tinygrad_edu.tape import Entry
from tinygrad_edu.tensor import plain
from tinygrad_edu.transforms import grad

__all__ = ["assert_grad", "check_grad"]


def check_grad(
    f: Callable[..., Any],
    *args: Any,
    gradient: Callable[..., Any] | bool | None = None,
    vjp: Callable[..., Any] | None = None,
    argnums: int | tuple[int, ...] | None = None,
    order: int = 1,
    rng: Any = 0,
    max_evaluations: int = 10_000,
    blame: bool = True,
    progress: bool = True,
) -> GradientReport:
    """Compares a gradient with slopes that are measured, and says what is wrong with it.

    The slopes are extrapolated from differences at shrinking steps; their own error estimates and
    the rounding noise of `f` decide how far a gradient may be off, so there is nothing to tune.
    Every entry gets a verdict: OK, WRONG, KINK (the slopes on both sides differ; a gradient
    between them is right) or INCONCLUSIVE. Outputs of several values are contracted with random
    weights to one number, and what is compared is the gradient of that.

    Args:
        f: plain NumPy code, a function of Tensors, or, with `gradient` or `vjp`, any function at
            all. It must be deterministic.
        args: its arguments: numbers, arrays, Tensors, nested as you like. They are not changed.
            Arguments in float32 are checked against a run of the same code in float64.
        gradient: the gradient to check, `gradient(*args)`: one array for each input, of its shape
            (several in a tuple, or in a dict by the names of the parameters). If `f` returns
            several values, their Jacobian, or for elementwise functions the derivatives.
            `True`: `f` itself returns a pair (value, gradient). `None`: what the engine computes.
        vjp: in place of `gradient`, a function `vjp(g, *args)` that is given the gradient of the
            output and returns that of each input, as backward functions of layers do.
        argnums: the positions of the arguments to differentiate by; by default all that hold
            floating-point numbers.
        order: 2 checks the engine's gradient of its gradient as well, and so on.
        rng: for weights and directions: a seed, a `np.random.Generator`, or `None`.
        max_evaluations: where the search ends: after about so many calls of `f`. If they are too
            few for every entry, random directions are measured, and halved down to the entries at
            fault.
        blame: whether every derivative rule on the tape is checked by itself, too.
        progress: whether a progress bar is shown if it takes long.

    Returns:
        a `GradientReport`: true if all is right; print it, plot it.

    Raises:
        TypeError, ValueError: options that make no sense.
        Exception: whatever `f` raises at the given arguments.

    Example:
        >>> import numpy as np, tinygrad_edu as tg
        >>> bool(tg.check_grad(lambda x: np.sum(np.tanh(x) ** 2), np.array([0.5, -1.0])))
        True
        >>> report = tg.check_grad(np.tanh, 0.5, gradient=lambda x: 1 - np.tanh(x))
        >>> report.wrong
        [WrongEntry(name='x', index=(), given=0.5378..., measured=0.7864...)]
    """
    _check_options(f, gradient, vjp, order, max_evaluations)
    start = time.perf_counter()
    report = GradientReport(getattr(f, "__name__", None) or type(f).__name__)
    if gradient is True:
        pair = f
        f = functools.wraps(pair)(recording(True)(lambda *a: _part(pair(*a), 0)))
        gradient = lambda *a: _part(pair(*a), 1)  # noqa: E731
    run = _Run(report, np.random.default_rng(rng), max_evaluations, progress)
    try:
        with np.errstate(all="ignore"):
            run.check(f, args, argnums, gradient, vjp, order, blame)
    except CannotCheck as problem:
        report.problems.append(str(problem))
    report.seconds = time.perf_counter() - start
    return report


def assert_grad(f: Callable[..., Any], *args: Any, **options: Any) -> GradientReport:
    """Raises an `AssertionError` that holds the report unless the gradient is right.

    Takes the arguments of `check_grad`, and returns the report.

    Raises:
        GradientError: the gradient is wrong, or could not be checked.

    Example:
        >>> import numpy as np, tinygrad_edu as tg
        >>> tg.assert_grad(tg.softplus, np.array([-1.0, 0.0, 3.0]))
        <gradient of softplus: OK>
    """
    __tracebackhide__ = True  # for pytest: the caller's line is the one to show
    report = check_grad(f, *args, **options)
    if not report:
        raise GradientError(report)
    return report


def _check_options(f: Any, gradient: Any, vjp: Any, order: Any, max_evaluations: Any) -> None:
    if not callable(f):
        raise TypeError(f"check_grad checks a function, got {f!r:.60}")
    for name, function in (("gradient", gradient), ("vjp", vjp)):
        if function is not None and function is not True and not callable(function):
            raise TypeError(
                f"{name} must be a function of the same arguments as f, got {function!r:.60}"
            )
    if vjp is True or (gradient is not None and vjp is not None):
        raise TypeError("pass gradient= or vjp=, a function, and not both")
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        raise ValueError(f"order must be 1, 2, ..., got {order!r}")
    if order > 1 and not (gradient is None and vjp is None):
        raise ValueError(
            f"order={order} is for the engine's own gradients; to check a second derivative of "
            f"yours, check it as the gradient of your gradient"
        )
    is_number = isinstance(max_evaluations, int) and not isinstance(max_evaluations, bool)
    if not is_number or max_evaluations < 1:
        raise ValueError(f"max_evaluations must be at least 1, got {max_evaluations!r}")


def _part(pair: Any, k: int) -> Any:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise CannotCheck(
            f"with gradient=True the function must return (value, gradient), it returned "
            f"{pair!r:.60}"
        )
    return pair[k]


@dataclass
class _Run:
    """One check, and the report that it fills in."""

    report: GradientReport
    rng: np.random.Generator
    max_evaluations: int
    progress: bool

    def check(
        self,
        f: Callable[..., Any],
        args: tuple[Any, ...],
        argnums: int | tuple[int, ...] | None,
        gradient: Any,
        vjp: Any,
        order: int,
        blame: bool,
    ) -> None:
        """Checks the gradient, or all orders of the engine's, and then the rules on the tape."""
        first = Subject(f, args, argnums, self.rng)
        try:
            self._all_orders(first, gradient, vjp, order, blame)
        finally:
            reached = first.restored_arrays()
            if reached:
                self.report.problems.append(
                    f"the function or its gradient writes to the array that was passed as "
                    f"{', '.join(reached)}, which it reaches by another way. Its values have been "
                    f"put back"
                )

    def _all_orders(self, first: Subject, gradient: Any, vjp: Any, order: int, blame: bool) -> None:
        by_engine = gradient is None and vjp is None
        subject = first
        for k in range(1, order + 1):
            if k > 1:
                number = functools.partial(_number, subject)
                positions = tuple(first.positions)
                derivative = functools.wraps(first.f)(grad(number, positions))
                subject = Subject(derivative, first.originals, positions, self.rng)
            claim = (
                claimed_by_engine(subject) if by_engine else claimed_by_user(subject, gradient, vjp)
            )
            try:
                self._order(subject, claim, k, by_engine)
            except CannotCheck:
                raise
            except Exception as error:
                # Only a rule on the tape, which is any code, fails where the function has not.
                if not (by_engine and blame) or not subject.shapes or tape_of(first) is None:
                    raise
                self.report.problems.append(f"the backward pass failed: {error}")
                break
            finally:
                self.report.evaluations += subject.evaluations
        before = first.evaluations
        tape = tape_of(first) if by_engine and blame else None
        self.report.evaluations += first.evaluations - before
        if tape is not None:
            budget = self.max_evaluations * (1 if self.report else 10)
            with _Progress(len(tape), "rule", self.progress) as bar:
                found, checked = wrong_rules(tape, check_grad, order, self.rng, budget, bar.advance)
            self.report.blame += found
            if found:
                # That explains it better than a guess from the values.
                for entry in self.report.inputs:
                    entry.diagnosis = ""
            self.report.rules_checked = checked

    def _order(self, subject: Subject, claim: Claim, order: int, by_engine: bool) -> None:
        report = self.report
        y = _first_look(report, subject)
        given, mistakes, parts = _first_claim(report, subject, claim)
        noise = _claim_noise(subject, claim, given, self.rng)
        comparison = Comparison(subject, y, given, noise, self.rng, self.max_evaluations)
        total = len(given) * USUAL_COST if comparison.is_full else None
        with _Progress(total, "evaluation", self.progress) as bar:
            subject.on_evaluation = bar.advance
            comparison.run()
        inputs = [_input_report(comparison, i, order) for i in subject.inputs]
        report.inputs += inputs
        for i, entry, mistake in zip(subject.inputs, inputs, mistakes, strict=True):
            if mistake:
                part = parts[i.name]
                entry.verdicts[...] = Verdict.WRONG
                entry.mistake = mistake + (
                    "" if part is None else explain_shape(comparison, i, part)
                )
            elif i.name in comparison.wrong_mixtures:
                found = comparison.wrong_mixtures[i.name]
                entry.mistake = (
                    f"along a random mixture of {found.entries.size:,} entries the slope is "
                    f"{found.slope.value:.6g} and should be, by the gradient, {found.given:.6g}; "
                    f"max_evaluations ended the search for the entries at fault"
                )
        _last_look(report, comparison, order)
        _explain(report, comparison, inputs, by_engine)
        if not by_engine and not report.diagnosis:
            _check_stale(comparison, claim, inputs)
        _compare_dtypes(report, comparison, claim, inputs)
        _describe(report, comparison)


def _number(subject: Subject, *args: Any) -> Any:
    return subject.number(subject.f(*args))


class _Progress:
    """A progress bar that is made when there has been a second to wait."""

    def __init__(self, total: int | None, unit: str, wanted: bool):
        self.total, self.unit, self.wanted = total, unit, wanted
        self.start = time.monotonic()
        self.count = 0
        self.bar: Any = None

    def advance(self) -> None:
        self.count += 1
        if self.bar is not None:
            self.bar.update()
        elif self.wanted and time.monotonic() - self.start > 1:
            from tqdm.auto import tqdm

            total = self.total and max(self.total, self.count)
            self.bar = tqdm(total=total, unit=self.unit, initial=self.count, leave=False)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()


def _explain(
    report: GradientReport, comparison: Comparison, inputs: list[InputReport], by_engine: bool
) -> None:
    """Looks for the usual mistakes: in each input by itself, then along the tape."""
    unexplained = []
    for i, entry in zip(comparison.subject.inputs, inputs, strict=True):
        if entry.is_wrong().any() and not entry.mistake:
            entry.diagnosis = explain_input(comparison, i, entry.given)
            if not entry.diagnosis or "lie in" in entry.diagnosis:
                unexplained.append(i)
    if unexplained and not by_engine:
        report.diagnosis += explain_by_tape(comparison, unexplained, _place)
    if unexplained and not report.diagnosis and not any(i.diagnosis for i in inputs):
        right = [i.label for i in inputs if not i.is_bad().any() and not i.mistake]
        wrong = [i.label for i in inputs if i.is_wrong().any() or i.mistake]
        if right and not by_engine:
            report.diagnosis.append(
                f"none of the usual mistakes fits. Right: {', '.join(right)}; wrong: "
                f"{', '.join(wrong)}: look at what lies between them"
            )


def _place(entry: Entry) -> str:
    code = code_at(entry.where)
    return f"{shown(entry.where)}: {code}" if entry.where and code else entry.primitive.name


# The function.


def _first_look(report: GradientReport, subject: Subject) -> np.ndarray:
    """The outputs at the inputs; what is wrong with the function itself is noted or raised."""
    leaves = subject.first_call()
    kept = [np.array(plain(leaf)) for leaf in leaves]
    y = subject.flat(kept).astype(float)
    written = subject.written_inputs()
    if written:
        report.problems.append(
            f"the function writes to its input {', '.join(written)}: what was passed to it is "
            f"changed afterwards. Work on a copy, or write x = x * 2 for x *= 2"
        )
    again = subject.outputs(subject.x)
    if not _agree(y, again):
        k = int(np.argmax(np.abs(y - again)))
        raise CannotCheck(
            f"the function is not deterministic: for the same inputs it returned {y[k]:.9g} and "
            f"then {again[k]:.9g}. Draw random numbers once, outside, or from a generator that is "
            f"made anew with the same seed in each call"
        )
    subject.outputs(subject.x * (1 + 2.0**-10) + 2.0**-10)
    held = [np.asarray(plain(leaf)) for leaf in leaves]
    if any(a.tobytes() != b.tobytes() for a, b in zip(held, kept, strict=True)):
        report.problems.append(
            "the function returns the same buffer twice: a result changes when it is called "
            "again. Return a copy, or a new array"
        )
    return y


def _agree(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two results of the same computation differ by no more than an order of sums."""
    size = max(np.abs(a).max(initial=0.0), 1e-300)
    return bool(np.allclose(a, b, rtol=1e-9, atol=1e-12 * size))


def _last_look(report: GradientReport, comparison: Comparison, order: int) -> None:
    """What only shows after many calls."""
    subject = comparison.subject
    end = subject.outputs(subject.x)
    if not _agree(comparison.y, end):
        report.problems.append(
            "the function is not deterministic: after the check it returned other values for the "
            "same inputs than before. Something that it reads has changed"
        )
    if not comparison.tried.any():
        report.problems.append(
            f"max_evaluations={comparison.max_evaluations} was used up before anything was measured"
        )
    elif not comparison.responds.any() and order == 1:
        report.problems.append(
            "constant output: no output changed with any of the inputs, so there is nothing to "
            "compare. Try other inputs, or look for the place where they are lost"
        )
    elif order == 1:
        silent = comparison.tried & ~comparison.responds
        for i, is_silent in zip(subject.inputs, silent, strict=True):
            if i.span.stop == i.span.start:
                report.notes.append(f"{i.name} has zero elements")
            elif is_silent:
                report.notes.append(f"the outputs do not depend on {i.name} here")


# The gradient.


def _first_claim(
    report: GradientReport, subject: Subject, claim: Claim
) -> tuple[np.ndarray, list[str], dict[str, Any]]:
    """The claimed gradient, flat; what is wrong with the shape of each part; the parts."""
    parts = claim(subject.x, False)
    kept = [None if part is None else np.array(plain(part)) for part in parts]
    mistakes = [_mistake(i, part) for i, part in zip(subject.inputs, kept, strict=True)]
    given = _flat(subject, kept, mistakes)
    again = _flat(subject, claim(subject.x, False), mistakes)
    if not _agree(np.nan_to_num(given), np.nan_to_num(again)):
        report.problems.append(
            "the gradient is not deterministic: for the same inputs it returned other values "
            "when it was called again"
        )
    _claim_elsewhere(subject, claim, subject.x * (1 + 2.0**-10) + 2.0**-10)
    if subject.reuses:
        report.problems.append(
            "the gradient returns the same buffer twice: a result changes when it is called "
            "again. Return a copy, or a new array"
        )
    return given, mistakes, {i.name: part for i, part in zip(subject.inputs, kept, strict=True)}


def _claim_elsewhere(subject: Subject, claim: Claim, x: np.ndarray) -> np.ndarray:
    """The claimed gradient at another point; NaN if that is out of its domain."""
    try:
        return _flat(subject, claim(x, False), [""] * len(subject.inputs))
    except CannotCheck:
        raise
    except Exception:
        # It has worked at the given point.
        return np.full(len(subject.x), np.nan)


def _mistake(i: Input, part: np.ndarray | None) -> str:
    """What is wrong with the form of a gradient; empty if nothing."""
    if part is None:
        return "the gradient is None"
    if part.dtype.kind not in "fiub":
        return f"the gradient has dtype {part.dtype}, which is not one of real numbers"
    is_number = i.shape == () and part.size == 1
    if part.shape != i.shape and not is_number:
        return f"the gradient has shape {part.shape}, the input has shape {i.shape}"
    return ""


def _flat(subject: Subject, parts: list[Any], mistakes: list[str]) -> np.ndarray:
    """The gradient as one vector, NaN where it has not the form of its input."""
    flat = np.full(len(subject.x), np.nan)
    for i, part, mistake in zip(subject.inputs, parts, mistakes, strict=True):
        if not mistake and not _mistake(i, np.asarray(plain(part))):
            flat[i.span] = np.asarray(plain(part), float).ravel()
    return flat


def _claim_noise(
    subject: Subject, claim: Claim, given: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """How much the gradient changes when the inputs change in their last digits."""
    known = np.nan_to_num(given, posinf=0, neginf=0)
    noise = 4 * EPS * np.abs(known)
    for i in subject.inputs:
        a = known[i.span]
        # Code that works in float32 inside rounds to it whatever it is given.
        if i.dtype.itemsize < 8 and np.array_equal(a, a.astype(np.float32)):
            size = np.abs(a) + np.sqrt(np.mean(a**2)) if a.size else a
            noise[i.span] = 8 * float(np.finfo(np.float32).eps) * size
    for _ in range(3):
        x = subject.x * (1 + 2 * EPS * rng.choice([-1.0, 1.0], len(subject.x)))
        near = _claim_elsewhere(subject, claim, x)
        noise = np.fmax(noise, np.abs(near - given))
    return noise


def _check_stale(comparison: Comparison, claim: Claim, inputs: list[InputReport]) -> None:
    """A gradient that is the same at another place, where it is wrong, was not computed there."""
    subject, rng = comparison.subject, comparison.rng
    elsewhere = subject.x + comparison.typical * rng.uniform(0.05, 0.1, len(subject.x))
    if not np.isfinite(subject.outputs(elsewhere)).all():
        return
    there = _claim_elsewhere(subject, claim, elsewhere)
    same = [
        (i, entry)
        for i, entry in zip(subject.inputs, inputs, strict=True)
        if there[i.span].tobytes() == comparison.given[i.span].tobytes()
        and not entry.diagnosis
        and np.any(np.nan_to_num(there[i.span]))
    ]
    if not same:
        return
    moved = comparison.moved(elsewhere, there)
    suspects = [np.arange(i.span.start, i.span.stop) for i, _ in same]
    if _is_stale(comparison, moved, np.concatenate(suspects)):
        for (_, entry), entries in zip(same, suspects, strict=True):
            if len(same) == 1 or _is_stale(comparison, moved, entries):
                entry.mistake = (
                    "the gradient is stale: at other inputs it has the same values, and they are "
                    "wrong there. Is it kept from an earlier call?"
                )
    subject.evaluations = moved.subject.evaluations


def _is_stale(comparison: Comparison, moved: Comparison, entries: np.ndarray) -> bool:
    """Whether the slope has changed from one place to the other, and what is given has not."""
    v = comparison.typical[entries] * comparison.rng.integers(32, 64, entries.size) / 64
    here, now = comparison.along(entries, v, 0.0), moved.along(entries, v, 0.0)
    apart = abs(here.slope.value - now.slope.value)
    # Of a linear function the gradient is the same everywhere.
    changed = apart > here.tolerance + now.tolerance
    return changed and now.verdict is Verdict.WRONG and here.verdict is not Verdict.KINK


def _compare_dtypes(
    report: GradientReport, comparison: Comparison, claim: Claim, reports: list[InputReport]
) -> None:
    """Compares the gradient in the inputs' own dtypes with that in float64."""
    subject, given = comparison.subject, comparison.given
    narrow = sorted({str(i.dtype) for i in subject.inputs if i.dtype != np.float64})
    if not narrow:
        return
    none = [""] * len(subject.inputs)
    own = _flat(subject, claim(subject.x, True), none)
    eps = max(float(np.finfo(i.dtype).eps) for i in subject.inputs)
    rng = np.random.default_rng(0)
    spread = np.zeros_like(given)
    for _ in range(3):
        x = subject.x * (1 + eps * rng.choice([-1.0, 1.0], len(subject.x)))
        spread = np.fmax(spread, np.abs(_claim_elsewhere(subject, claim, x) - given))
    worst = 0.0
    for i, entry in zip(subject.inputs, reports, strict=True):
        a, b = own[i.span], given[i.span]
        finite = np.isfinite(b)
        size = np.sqrt(np.mean(b[finite] ** 2)) if finite.any() else 0.0
        allowed = SAFETY * spread[i.span] + 64 * eps * np.maximum(np.abs(b), size)
        # What is computed from the outputs, as y * (1 - y), has their rounding errors.
        step = np.maximum(np.abs(subject.x), comparison.typical)[i.span]
        allowed += 64 * eps * comparison.size / step
        bad = finite & ~(np.abs(a - b) <= allowed)
        with np.errstate(all="ignore"):
            off = np.abs(a - b)[finite] / np.maximum(np.abs(b[finite]), size)
        worst = max(worst, float(np.nan_to_num(off, nan=np.inf).max(initial=0.0)))
        for k in np.flatnonzero(bad & (entry.verdicts.ravel() != Verdict.WRONG)):
            at = i.index(i.span.start + int(k))
            entry.verdicts[at] = Verdict.WRONG
            entry.given[at] = a[k]
            entry.reasons[at] = f"in {i.dtype}; in float64 it is {b[k]:.6g}"
    report.notes.append(
        f"{', '.join(narrow)} inputs: the slopes are those of the same code run in float64, and "
        f"the {', '.join(narrow)} gradient is within {worst:.0e} of the float64 gradient"
    )


# The report.


def _input_report(comparison: Comparison, i: Input, order: int) -> InputReport:
    def part(array: np.ndarray) -> np.ndarray:
        return array[i.span].reshape(i.shape).copy()

    # Elementwise derivatives are shown as they were given, without the weights of the outputs.
    w = np.ones(i.shape)
    if i.name in comparison.subject.elementwise:
        (w,) = comparison.subject.weights_by_leaf
    left, right = part(comparison.left) / w, part(comparison.right) / w

    reasons = {
        i.index(k): reason
        for k, reason in comparison.reasons.items()
        if i.span.start <= k < i.span.stop
    }
    return InputReport(
        name=i.name,
        shape=i.shape,
        dtype=str(i.dtype),
        order=order,
        given=np.asarray(part(comparison.given) / w),
        measured=np.asarray(part(comparison.measured) / w),
        error=np.asarray(part(comparison.error) / np.abs(w)),
        left=np.asarray(left),
        right=np.asarray(right),
        verdicts=part(comparison.verdicts),
        valid=part(comparison.valid),
        reasons=reasons,
    )


def _describe(report: GradientReport, comparison: Comparison) -> None:
    subject = comparison.subject
    alone = int(np.isfinite(comparison.measured).sum())
    report.method = "every entry" if comparison.is_full else comparison.method()
    size = np.maximum(np.abs(comparison.measured), np.abs(comparison.given))
    usable = np.isfinite(comparison.error) & (size > TINY) & np.isfinite(size)
    if usable.any():
        seen = comparison.tolerance[usable] / size[usable]
        report.resolution = float(np.median(seen))
        if comparison.resolution > RESOLUTION and report.resolution > 1e-9:
            report.notes.append(
                f"the function itself is computed to about {comparison.resolution * 1e-4:.0e} of "
                f"its size, and errors of the gradient are seen from {comparison.resolution:.0e} on"
            )
    weighted = subject.weights.size > 1 and not subject.elementwise
    if weighted and alone and not any("weights" in n for n in report.notes):
        shapes = ", ".join(map(str, subject.shapes))
        report.notes.append(f"outputs of shape {shapes} are added up with random weights")
