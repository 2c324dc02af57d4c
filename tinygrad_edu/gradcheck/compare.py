"""The gradient that is claimed against slopes that are measured, in one direction after another.

A direction may be a single entry of the inputs or a random mixture of many. Small inputs are
measured entry by entry. For large ones a few random mixtures are measured, and only where one of
them disagrees are its entries halved, and halved again, down to those that are at fault.
"""

from __future__ import annotations

import copy
import heapq
import math
import warnings
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

from tinygrad_edu.gradcheck.slope import FINE, FIRST, SAFETY, Slope, slope_at_0
from tinygrad_edu.gradcheck.subject import Input, Subject

__all__ = ["Comparison", "Finding", "Verdict"]


class Verdict(StrEnum):
    """What is found out about an entry of a gradient.

    OK: it agrees with the slope that was measured, as far as that is known.
    WRONG: it does not.
    KINK: the slopes at the two sides differ, so that there is no gradient; between them any value
        is right.
    INCONCLUSIVE: the slope could not be measured well enough to tell.
    """

    OK = "OK"
    WRONG = "WRONG"
    KINK = "KINK"
    INCONCLUSIVE = "INCONCLUSIVE"


# An OK says that an error of a millionth would have been seen; or, if the function itself is
# computed to few digits, one of a hundredth at worst.
RESOLUTION, COARSEST = 1e-6, 1e-2
# An entry that is so small beside the others need not be known to as many digits of its own.
SMALL = 1e-3
EPS = float(np.finfo(float).eps)
# Values below this count as zero: squares of smaller ones would underflow.
TINY = 1e-100
# Random mixtures for each large input; how many entries to name; how many to look at besides.
DIRECTIONS, NAMED, SAMPLED = 4, 10, 16
# An input of so many entries is measured entry by entry even beside large ones.
FEW = 16
# What one direction costs if all goes well, to foresee how much will be needed.
USUAL_COST = 14


@dataclass(frozen=True)
class Finding:
    """What was found along one direction; slopes per unit of the direction.

    Attributes:
        entries: the entries of the flat vector that were changed.
        v: by how much each of them was, for one unit of the direction.
        given: the slope that the claimed gradient predicts.
        slope: the slope that was measured.
        tolerance: how far the two may be apart.
        verdict: what follows.
        valid: at a kink, whether what is given lies between the two slopes.
        reason: why it is inconclusive.
    """

    entries: np.ndarray
    v: np.ndarray
    given: float
    slope: Slope
    tolerance: float
    verdict: Verdict
    valid: bool = True
    reason: str = ""

    @property
    def is_fine(self) -> bool:
        return self.verdict is Verdict.OK

    @property
    def excess(self) -> float:
        """How many times the tolerance the two are apart."""
        if not math.isfinite(self.given):
            return math.inf
        if math.isnan(self.slope.value):
            return 0.0
        return abs(self.given - self.slope.value) / max(self.tolerance, 1e-300)


class _Line:
    """The contracted outputs of a subject along one direction, less those at 0.

    Attributes:
        known: the values that have been computed, by the step.
        moves: how far the outputs moved each by itself, by the step; their sum may stand still.
        changed: which outputs have moved at any step.
    """

    def __init__(
        self,
        subject: Subject,
        y: np.ndarray,
        noise: np.ndarray,
        entries: np.ndarray,
        v: np.ndarray,
    ):
        self.subject = subject
        self.y = y
        self.weighted_noise = subject.weights * noise
        self.v = np.zeros_like(subject.x)
        self.v[entries] = v
        self.known: dict[float, float] = {}
        self.moves: dict[float, float] = {}
        self.changed = np.zeros(len(y), bool)

    def difference(self, t: float) -> np.ndarray:
        """The weighted outputs at `t` less those at 0."""
        return self.subject.weights * (self.subject.outputs(self.subject.x + t * self.v) - self.y)

    def d(self, t: float) -> float:
        """Their sum."""
        if t not in self.known:
            difference = self.difference(t)
            np.logical_or(self.changed, difference != 0, out=self.changed)
            self.known[t] = float(difference.sum())
            self.moves[t] = _norm(difference)
        return self.known[t]

    def noise(self, t: float) -> float:
        """The size of the rounding errors in d(t) and d(-t)."""
        moved = self.changed if self.changed.any() else slice(None)
        here = _norm(self.weighted_noise[moved])
        # Where nothing moves, what the outputs are made of may still be as large as afar.
        move = max(self.moves[t], self.moves[-t]) or max(self.moves.values())
        return here + 2 * EPS * (move if math.isfinite(move) else 0.0)

    def speed(self) -> float:
        """How fast the outputs move at most, in large steps: in small ones it may be noise."""
        moves = ((t, move) for t, move in self.moves.items() if abs(t) >= 2.0**-6)
        return max((move / abs(t) for t, move in moves if math.isfinite(move)), default=0.0)

    def still(self) -> Slope | None:
        """The slope 0, roughly, if all that the function does is to be rounded."""
        if not {FIRST, -FIRST} <= self.known.keys():
            return None
        above, below, noise = self.known[FIRST], self.known[-FIRST], self.noise(FIRST)
        if not max(abs(above), abs(below)) <= 4 * noise:
            return None
        value = (above - below) / (2 * FIRST)
        return Slope(value, 2 * noise / FIRST, value, value, 0.0)

    def by_output(self, slope: Slope) -> Slope:
        """The slopes at a kink between which the right values lie, if there are several outputs.

        Each output may have a kink of its own, at which any slope between its two is right. With
        weights of both signs their sum lies in an interval that is wider than the two sums.
        """
        if len(self.y) == 1:
            return slope
        jump = abs(slope.right - slope.left)
        steps = (t for t in self.known if t > 0 and -t in self.known)
        h = min((t for t in steps if self.noise(t) <= 1e-6 * jump * t), default=2.0**-20)
        left, right = -self.difference(-h) / h, self.difference(h) / h
        low, high = np.minimum(left, right).sum(), np.maximum(left, right).sum()
        ends = sorted((slope.left, slope.right))
        return replace(slope, left=min(ends[0], float(low)), right=max(ends[1], float(high)))


class Comparison:
    """Measures the slopes of a subject and compares them with a claimed gradient.

    Args:
        subject: the function, which has been called once.
        y: its outputs at the given inputs.
        given: the claimed gradient, flat.
        given_noise: the rounding errors in it.
        rng: for the directions.
        max_evaluations: where the search for wrong entries ends.

    Attributes:
        measured, error, left, right: the slopes by entry; NaN where only mixtures were measured.
        tolerance: how far the given gradient may be off, by entry.
        verdicts: the verdict by entry.
        findings: what was found along every direction, for the diagnosis.
        wrong_mixtures: by input, a mixture that is wrong and that the search did not resolve.
    """

    def __init__(
        self,
        subject: Subject,
        y: np.ndarray,
        given: np.ndarray,
        given_noise: np.ndarray,
        rng: np.random.Generator,
        max_evaluations: int,
    ):
        self.subject = subject
        self.y = y
        self.given = given
        self.given_noise = given_noise
        self.rng = rng
        self.max_evaluations = max_evaluations
        n = len(given)
        self.measured, self.left, self.right = (np.full(n, np.nan) for _ in range(3))
        self.error, self.tolerance = np.full(n, np.inf), np.full(n, np.inf)
        self.verdicts = np.full(n, Verdict.INCONCLUSIVE, dtype=object)
        self.reasons: dict[int, str] = {}
        self.valid = np.ones(n, bool)
        self.findings: list[Finding] = []
        self.wrong_mixtures: dict[str, Finding] = {}
        self.responds = np.zeros(len(subject.inputs), bool)
        self.tried = np.zeros(len(subject.inputs), bool)
        self.typical, self.steps = self._scales()
        self.noise = self._noise()
        lost = _norm(self.noise * subject.weights)
        self.size = size = _norm(y * subject.weights)
        # A function that is computed to a few digits cannot be differentiated to more.
        known = lost / size if size > TINY else 0.0
        self.resolution = max(RESOLUTION, min(1e4 * known, COARSEST))
        self._is_complex = self._try_complex()

    def moved(self, x: np.ndarray, given: np.ndarray) -> Comparison:
        """A comparison at another point, with the gradient that is claimed there."""
        subject = copy.copy(self.subject)
        subject.x = x
        budget = self.max_evaluations
        return Comparison(subject, subject.outputs(x), given, self.given_noise, self.rng, budget)

    # Scales and noise.

    def _scales(self) -> tuple[np.ndarray, np.ndarray]:
        """How large the values of an input are as a rule, and each by itself, as powers of 2.

        Steps are these times powers of 2 times a few bits, so that x + step has no rounding error.
        """
        size = np.abs(self.subject.x)
        typical = np.ones_like(size)
        for i in self.subject.inputs:
            nonzero = size[i.span][size[i.span] > TINY]
            if nonzero.size:
                typical[i.span] = np.median(nonzero)
        size = np.where(size > TINY, size, typical)
        return 2.0 ** np.floor(np.log2(typical)), 2.0 ** np.floor(np.log2(size))

    def _noise(self) -> np.ndarray:
        """The rounding error in each output, from differences of high order.

        They take away whatever is smooth, the higher the more. Of a fine and a coarse spacing the
        larger counts, if in the fine one results repeat, as with arithmetic in float32; of the two
        sides at the coarse one the smaller, since a kink on one of them is no noise. Source:
        J. J. Moré, S. M. Wild, "Estimating computational noise", SIAM J. Sci. Comput. 33 (2011).
        """
        if self.subject.y_dtype.itemsize < 8:
            floor = float(np.finfo(self.subject.y_dtype).eps) * np.abs(self.y)
        else:
            floor = EPS * np.abs(self.y)
        # Steps of all bits: where arguments have few, so may results, and nothing is rounded.
        v = self.steps * self.rng.uniform(0.5, 1.0, len(self.steps))
        v *= self.rng.choice([-1.0, 1.0], len(v))
        has_grain = np.zeros(len(self.y), bool)
        for spacing in (2.0**-33, 2.0**-20):
            sides = []
            for sign in (1, -1):
                rows = [
                    self.subject.outputs(self.subject.x + sign * k * spacing * v)
                    for k in range(1, 8)
                ]
                differences = np.array([self.y, *rows])
                if spacing < 2.0**-30:
                    has_grain |= np.sum(np.diff(differences, axis=0) == 0, axis=0) >= 2
                estimates = []
                for order in range(1, 7):
                    differences = np.diff(differences, axis=0)
                    if order >= 4:
                        factor = math.factorial(order) ** 2 / math.factorial(2 * order)
                        estimates.append(np.sqrt(factor * np.mean(differences**2, axis=0)))
                sides.append(np.min(estimates, axis=0))
            # Within the fine steps there is room for noise, and hardly for a kink.
            noise = np.where(has_grain, np.fmin(*sides), 0)
            if spacing < 2.0**-30:
                noise = np.fmax(*sides)
            floor = np.fmax(floor, np.where(np.isfinite(noise), noise, 0))
        return floor

    def _try_complex(self) -> bool:
        """Whether the function computes with complex numbers and comes to the same real part."""
        v = self.steps * 2.0**-60
        try:
            y = self._complex(v)
        except Exception:
            # Code for real numbers may fail on complex ones in any way it likes.
            return False
        if y is None or y.shape != self.y.shape or y.dtype.kind != "c":
            return False
        return bool(np.allclose(y.real, self.y, rtol=1e-9, atol=0) and np.isfinite(y).all())

    def _complex(self, v: np.ndarray) -> np.ndarray | None:
        if any(
            not isinstance(i.value, (np.ndarray, np.number, float)) for i in self.subject.inputs
        ):
            return None
        with warnings.catch_warnings():
            # Code that throws the imaginary part away does not compute with complex numbers.
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            return self.subject.flat(self.subject.call(self.subject.x + 1j * v))

    def _complex_slope(self, v: np.ndarray) -> float:
        """The imaginary part of f(x + ihv) / h: no difference, hence no cancellation.

        Source: W. Squire, G. Trapp, "Using complex variables to estimate derivatives of real
        functions", SIAM Review 40 (1998).
        """
        h = 2.0**-60
        try:
            y = self._complex(h * v)
        except Exception:
            return math.nan
        return math.nan if y is None else float(self.subject.weights @ (y.imag / h))

    def method(self) -> str:
        """Which entries were looked at, in words."""
        alone = int(np.isfinite(self.measured).sum())
        mixtures = sum(finding.entries.size > 1 for finding in self.findings)
        return f"{mixtures} random mixtures of {len(self.given):,} entries, {alone} by themselves"

    # One direction.

    def along(self, entries: np.ndarray, v: np.ndarray, usual: float) -> Finding:
        """Compares along the direction that changes `entries` by `v`.

        `usual` is how large the slopes of other entries are, beside which small ones are zero.
        """
        parts = v * self.given[entries]
        given = float(parts.sum())
        size = _norm(parts) if math.isfinite(given) else 0.0
        scale = max(SMALL * usual, size)
        line = _Line(self.subject, self.y, self.noise, entries, v)
        farthest = float(np.max(np.maximum(self.typical[entries], 1.0) / np.abs(v))) / 8
        farthest = max(farthest, 2.0**7)
        # They tell which outputs move, even if small steps are rounded off.
        line.d(farthest), line.d(-farthest)
        slope = slope_at_0(line.d, line.noise, scale, farthest)
        if slope.reason:
            slope = line.still() or slope
        slope = replace(slope, reach=max(slope.reach, SMALL * line.speed()))
        if slope.is_kink:
            slope = line.by_output(slope)
        self.tried |= [_touches(i, entries) for i in self.subject.inputs]
        self.responds |= [line.changed.any() and _touches(i, entries) for i in self.subject.inputs]
        own = _norm(v * self.given_noise[entries])
        own = min(8 * own, 1e-2 * max(scale, abs(slope.value)))
        tolerance = SAFETY * slope.error + own + 64 * EPS * max(usual, size) + TINY
        # A second derivative that jumps nearby can hide so much from the estimates.
        tolerance += FINE * min(abs(given), abs(slope.value)) if math.isfinite(given) else 0.0
        if given == 0.0 and slope.value == 0.0 and line.known[min(line.known, key=abs)] == 0.0:
            # Nothing moves, and nothing is claimed to.
            return Finding(entries, v, given, slope, tolerance, Verdict.OK)
        return self._judged(entries, v, given, slope, tolerance)

    def _judged(
        self, entries: np.ndarray, v: np.ndarray, given: float, slope: Slope, tolerance: float
    ) -> Finding:
        if slope.reason:
            verdict = Verdict.WRONG if math.isnan(given) else Verdict.INCONCLUSIVE
            return Finding(entries, v, given, slope, tolerance, verdict, False, slope.reason)
        if not math.isfinite(given):
            return Finding(entries, v, given, slope, tolerance, Verdict.WRONG)
        if slope.is_kink:
            low, high = sorted((slope.left, slope.right))
            slack = SAFETY * slope.error + 1e-9 * (high - low)
            valid = low - slack <= given <= high + slack
            return Finding(entries, v, given, slope, tolerance, Verdict.KINK, valid)
        if abs(given - slope.value) > tolerance:
            return Finding(entries, v, given, slope, tolerance, Verdict.WRONG)
        # Less than the last digits of the outputs, even for a step of the usual size.
        usual_step = float(np.max(self.typical[entries] / np.abs(v)))
        nothing = max(abs(given), abs(slope.value)) * usual_step <= 64 * EPS * self.size + TINY
        resolved = SAFETY * slope.error / self.resolution
        # Small beside the others and known to few digits: a complex step may know more.
        alone = max(abs(given), abs(slope.value))
        if nothing or resolved <= (alone if self._is_complex else slope.reach):
            return Finding(entries, v, given, slope, tolerance, Verdict.OK)
        return self._unresolved(entries, v, given, slope, tolerance)

    def _unresolved(
        self, entries: np.ndarray, v: np.ndarray, given: float, slope: Slope, tolerance: float
    ) -> Finding:
        """The verdict where differences see too little.

        A complex step can confirm what is given; it convicts nobody, since code that takes an
        absolute value, say, computes something else with complex numbers.
        """
        unit = "differences tell the slope only to within a tolerance of"
        reason = f"{unit} {SAFETY * slope.error / max(float(np.abs(v).max()), TINY):.1g}"
        if self._is_complex:
            step = np.zeros_like(self.subject.x)
            step[entries] = v
            value = self._complex_slope(step)
            # A slope that comes from outputs near a limit, as 1 - y, has their rounding errors.
            ends = [self.subject.outputs(self.subject.x + t * step) for t in (-4.0, 4.0)]
            spans = [_norm(self.subject.weights * (y - self.y)) for y in ends]
            span = float(np.nan_to_num(spans, nan=0.0, posinf=0.0).max())
            own = tolerance - SAFETY * slope.error + 64 * EPS * span
            if abs(value - slope.value) <= SAFETY * slope.error + own:
                if abs(value - given) <= 1e-9 * abs(value) + own:
                    exact = replace(slope, value=value, left=value, right=value)
                    exact = replace(exact, error=1e-12 * abs(value))
                    return Finding(entries, v, given, exact, tolerance, Verdict.OK)
                if len(v) == 1:
                    reason += f"; a complex step gives {value / v[0]:.9g}"
            elif SAFETY * slope.error <= self.resolution * slope.reach:
                # What it computes with complex numbers is another function.
                return Finding(entries, v, given, slope, tolerance, Verdict.OK)
        return Finding(entries, v, given, slope, tolerance, Verdict.INCONCLUSIVE, False, reason)

    # All entries.

    @property
    def is_full(self) -> bool:
        """Whether every entry is measured by itself."""
        return len(self.given) * USUAL_COST <= self.max_evaluations

    def run(self) -> None:
        """Compares all entries."""
        for i in self.subject.inputs:
            if self.is_full or _entries(i).size <= FEW:
                for k in _entries(i):
                    self._single(int(k))
            else:
                self._mixtures(i)

    @property
    def _is_exhausted(self) -> bool:
        return self.subject.evaluations >= self.max_evaluations

    def _usual(self, i: Input, v: float) -> float:
        """How large the slopes by the entries of an input are, for one that is changed by `v`.

        The smaller of what they are per unit and of what they are per step: an input may hold
        values of very different sizes.
        """
        given = self.given[i.span]
        finite = np.isfinite(given)
        if not finite.any():
            return 0.0
        per_unit = v * float(np.sqrt(np.mean(given[finite] ** 2)))
        return min(per_unit, float(np.sqrt(np.mean((self.steps[i.span] * given)[finite] ** 2))))

    def _single(self, k: int) -> Finding | None:
        """Compares one entry and enters it, if there are evaluations left."""
        if self._is_exhausted:
            self.verdicts[k] = Verdict.INCONCLUSIVE
            self.reasons[k] = "not reached; raise max_evaluations"
            return None
        i = next(i for i in self.subject.inputs if i.span.start <= k < i.span.stop)
        # An odd number of 64ths: steps in step with a periodic function would see nothing.
        v = self.steps[k] * (2 * self.rng.integers(16, 32) + 1) / 64
        finding = self.along(np.array([k]), np.array([v]), self._usual(i, v))
        slope = finding.slope
        self.measured[k], self.left[k], self.right[k] = (
            s / v for s in (slope.value, slope.left, slope.right)
        )
        self.error[k], self.tolerance[k] = slope.error / v, finding.tolerance / v
        self.verdicts[k] = finding.verdict
        self.valid[k] = finding.valid
        if finding.reason:
            self.reasons[k] = finding.reason
        self.findings.append(finding)
        return finding

    def _mixture(self, entries: np.ndarray, even: bool) -> np.ndarray:
        """Random changes of many entries; `even` makes the parts of the slope equally large."""
        sizes = self.rng.integers(32, 64, entries.size) / 64
        v = self.typical[entries] * sizes * self.rng.choice([-1.0, 1.0], entries.size)
        if even:
            parts = np.abs(v * self.given[entries])
            usual = np.median(parts[parts > 0]) if np.any(parts > 0) else 0.0
            shrink = np.minimum(1, usual / np.maximum(parts, 1e-300)) if usual else 1.0
            v *= 2.0 ** np.floor(np.log2(np.maximum(shrink, 2.0**-40)))
        return v

    def _mixtures(self, i: Input) -> None:
        """Compares an input by mixtures, and halves those that disagree."""
        entries = _entries(i)
        bad = entries[~np.isfinite(self.given[entries])]
        self.verdicts[entries] = Verdict.OK
        self.verdicts[bad] = Verdict.WRONG
        entries = np.setdiff1d(entries, bad)
        # Entries are drawn apart, so that neighbours, which are often alike, are not halved as one.
        entries = self.rng.permutation(entries)
        pool = entries if entries.size else bad
        for k in self.rng.choice(pool, min(SAMPLED, pool.size), replace=False):
            self._single(int(k))
        pending: list[tuple[Any, int, Finding]] = []
        for number in range(DIRECTIONS if entries.size else 0):
            if self._is_exhausted:
                unknown = entries[np.isnan(self.measured[entries])]
                self.verdicts[unknown] = Verdict.INCONCLUSIVE
                self.reasons[int(entries[0])] = "not reached; raise max_evaluations"
                break
            finding = self.along(entries, self._mixture(entries, number % 2 == 1), 0.0)
            self.findings.append(finding)
            if not finding.is_fine:
                heapq.heappush(pending, (_urgency(finding), number, finding))
        if pending:
            self._halve(i, pending)

    def _halve(self, i: Input, pending: list[tuple[Any, int, Finding]]) -> None:
        """Halves the mixtures that disagree, the smallest first, down to single entries."""
        count = DIRECTIONS
        done = {int(k) for k in _entries(i) if not np.isnan(self.measured[k])}
        named = 0
        while pending and not self._is_exhausted and named < NAMED:
            finding = heapq.heappop(pending)[2]
            if self._explained(finding, done):
                continue
            half = finding.entries.size // 2
            fine = []
            for part in (slice(half), slice(half, None)):
                entries, v = finding.entries[part], finding.v[part]
                if entries.size == 1:
                    k = int(entries[0])
                    if k not in done:
                        done.add(k)
                        single = self._single(k)
                        named += single is not None and single.verdict is Verdict.WRONG
                    fine.append(False)
                    continue
                child = self.along(entries, v, 0.0)
                self.findings.append(child)
                fine.append(child.is_fine)
                if not child.is_fine:
                    count += 1
                    heapq.heappush(pending, (_urgency(child), count, child))
            if all(fine):
                self._note_rest(finding, done)
        for _, _, finding in pending:
            if not self._explained(finding, done):
                self._note_rest(finding, done)
                if finding.verdict is Verdict.WRONG and not named:
                    self.wrong_mixtures[i.name] = finding

    def _explained(self, finding: Finding, done: set[int]) -> bool:
        """Whether the entries that are known to be wrong explain what is wrong with a mixture."""
        known = np.array([int(k) in done for k in finding.entries])
        off = self.given[finding.entries] - self.measured[finding.entries]
        explained = float(np.sum((finding.v * off)[known]))
        left = abs(finding.given - explained - finding.slope.value)
        slack = float(np.sum(np.abs(finding.v * self.error[finding.entries])[known]))
        if known.all() or finding.verdict is not Verdict.WRONG:
            return bool(known.all())
        return left <= finding.tolerance + SAFETY * slack

    def _note_rest(self, finding: Finding, done: set[int]) -> None:
        """Enters a mixture that disagrees and was not taken apart."""
        rest = [int(k) for k in finding.entries if int(k) not in done]
        for k in rest:
            if self.verdicts[k] is Verdict.OK:
                self.verdicts[k] = Verdict.INCONCLUSIVE
                self.reasons[k] = (
                    "in a mixture with a kink, which may hide it; raise max_evaluations"
                    if finding.verdict is Verdict.KINK
                    else "a mixture with this entry disagrees; not searched further"
                )


def _urgency(finding: Finding) -> tuple[bool, int, float]:
    """Wrong mixtures come before unclear ones, and small ones before large ones."""
    return finding.verdict is not Verdict.WRONG, finding.entries.size, -finding.excess


def _entries(i: Input) -> np.ndarray:
    return np.arange(i.span.start, i.span.stop)


def _touches(i: Input, entries: np.ndarray) -> bool:
    return bool(np.any((entries >= i.span.start) & (entries < i.span.stop)))


def _norm(v: np.ndarray) -> float:
    """The length of a vector; short ones are many here, for which np.linalg.norm is slow."""
    return math.sqrt(v @ v)
