"""The slope of a function of one number at 0, with an error that can be believed.

Differences at steps that are halved again and again are extrapolated to the step 0 (Richardson;
C. J. F. Ridders, "Accurate computation of F'(x) and F'(x)F''(x)", 1982). With central differences
the terms of the error are even powers of the step, and converge fast. With one-sided differences
they are all powers; those are slower, and see what the central ones cannot: at a kink the central
differences agree at every step, on the mean of two slopes that are both wrong.

            left slope  ╲       ╱  right slope
                         ╲     ╱
                          ╲___╱        0 is what (d(h) - d(-h)) / 2h gives, for every h

How far the estimates can be trusted is measured: an estimate has the error by which it differs from
the ones that it was extrapolated from, and the error that the rounding of the function makes in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["SAFETY", "Slope", "slope_at_0"]

EPS = 2.0**-52
# An error estimate has to be exceeded so many times before anything is called wrong.
SAFETY = 16.0
# Steps run from FIRST to LAST, in windows of up to ROWS halvings. The argument is scaled so that
# 1 is as far as the variables are large.
FIRST, LAST = 2.0**-3, 2.0**-44
ROWS = 6
# An error so much smaller than the scale is good enough to stop.
GOAL = 1e-12
# An error so much smaller than the scale is as good as can be asked for where there is noise.
FINE = 1e-8
# Windows that agree on the size of the jump to within this part see the same kink.
SAME_KINK = 0.05


@dataclass(frozen=True)
class Slope:
    """The slope of a function at 0.

    Attributes:
        value: the slope; at a kink the mean of the two.
        error: an estimate of the error of `value`, `left` and `right`; `inf` if nothing is known.
        left, right: the one-sided slopes; equal to `value` unless there is a kink.
        reach: how large a slope would have mattered, for the error to be compared with.
        reason: why there is no slope, in words; empty if there is one.
    """

    value: float
    error: float
    left: float
    right: float
    reach: float
    reason: str = ""

    @property
    def is_kink(self) -> bool:
        """Whether the slopes at the two sides differ."""
        return self.left != self.right and not self.reason


@dataclass(frozen=True)
class _Estimate:
    """A slope, its error, and the part of the error that rounding makes."""

    value: float
    error: float
    noise: float


@dataclass(frozen=True)
class _Window:
    """What the differences at the steps h, h/2, h/4, ... down to `step` say.

    Attributes:
        step: the last step.
        slope: the estimate of a slope that is the same on both sides.
        left, right: the estimates of the one-sided slopes.
        gap: the difference of the two sides at the last step.
        steepest: the larger of the two there.
        rounding: the rounding error of each of them.
        moves_both_ways: whether neither of them is 0 at the first step.
        is_smooth: whether the two sides agree.
        reach: how large a slope matters here: errors are to be small in comparison.
    """

    step: float
    slope: _Estimate
    left: _Estimate
    right: _Estimate
    gap: float
    steepest: float
    rounding: float
    moves_both_ways: bool
    is_smooth: bool
    reach: float

    @property
    def jump(self) -> float:
        return self.right.value - self.left.value

    @property
    def jump_error(self) -> float:
        return self.right.error + self.left.error


def slope_at_0(
    d: Callable[[float], float],
    noise: Callable[[float], float],
    scale: float = 0.0,
    farthest: float = 2.0**7,
) -> Slope:
    """The slope of `d` at 0, where d(0) = 0.

    Args:
        d: the function. Where it is not finite, smaller steps are tried.
        noise: the size of the rounding errors in d(h) and d(-h); asked again as one learns more.
        scale: how large a slope matters: an error of 1e-12 of it ends the search.
        farthest: the largest step to try where the noise drowns the others.

    Example:
        >>> import numpy as np
        >>> slope = slope_at_0(lambda t: np.sin(t) + abs(t), lambda h: 1e-16)
        >>> print(f"{slope.left:.9f} {slope.right:.9f} {slope.is_kink}")
        0.000000000 2.000000000 True
    """
    best: _Window | None = None
    kinks: list[_Window] = []
    windows: list[_Window] = []
    smooth: list[_Window] = []
    refuted: list[_Window] = []
    is_sure = False
    step = FIRST
    while step >= LAST:
        window = _window(d, noise, step, scale)
        if window is None:
            step /= 64
            continue
        windows.append(window)
        if step == FIRST and window.steepest == 0.0 and _is_still(d, farthest):
            return Slope(0.0, window.slope.error, 0.0, 0.0, window.reach)
        step = window.step / 4
        if not window.is_smooth:
            best = None  # it only looked smooth from afar
            if abs(window.jump) > 4 * window.jump_error:
                kinks.append(window)
            if _same_kink(kinks[-2:]):
                step /= 2**8  # to be quick about a kink that is just here
        elif kinks and SAFETY * noise(window.step) / window.step > abs(kinks[-1].jump):
            break  # the kink is still there, below the noise
        else:
            error, rounding = window.slope.error, window.slope.noise
            # Smaller steps have more noise: once that is most of the error, they give no more.
            done = error <= GOAL * window.reach or error < 4 * rounding
            if done and len(refuted) < 3 and _holds_below(d, noise, window):
                is_sure = True
                agrees = best is not None and _apart(best, window) <= SAFETY * error
                best = min(best, window, key=_error) if best and agrees else window
                break
            if done:
                refuted.append(window)
            else:
                smooth.append(window)
                best = window if best is None else min(best, window, key=_error)
    if best is None or len(refuted) >= 3:
        is_below = bool(kinks) and all(kinks[-1].step < window.step for window in refuted)
        return _kink(kinks if is_below else [], windows)
    steepest = max(window.steepest for window in windows)
    if best.steepest == 0.0 and any(window.moves_both_ways for window in windows):
        reason = "its values move in steps: between them the function is constant"
        return Slope(0.0, best.slope.error, 0.0, 0.0, best.reach, reason)
    if steepest == 0.0 and any(d(far) != 0.0 for far in _far(farthest)):
        # It moves, if not at such small steps: what was taken for constant is rounded off.
        best = _window(d, noise, FIRST, scale) or best
    if best.slope.error > FINE * best.reach:
        if SAFETY * best.slope.error > abs(best.slope.value) and _grows(windows):
            return _kink([], windows)
        nearer = [kink.step / 4**k for kink in kinks[-1:] for k in (1, 3, 5)]
        best = _from_afar(d, noise, scale, [*nearer, *_far(farthest)], best)
    error = best.slope.error
    if not is_sure:
        # No window was good: they are no better than they agree.
        apart = [_apart(window, best) for window in smooth if _error(window) < best.reach]
        error = max([error, *apart])
        if max(apart, default=0.0) > 0.1 * best.reach or not _holds_below(d, noise, best):
            return _kink([], windows)
    value = best.slope.value
    return Slope(value, error, value, value, best.reach)


def _window(
    d: Callable[[float], float], noise: Callable[[float], float], step: float, scale: float
) -> _Window | None:
    """The estimates from steps that are halved until they are good or noise takes over."""
    central: list[float] = []
    left: list[float] = []
    right: list[float] = []
    rounding: list[float] = []
    window = None
    h = step
    for row in range(ROWS):
        above, below = d(h), d(-h)
        if not (math.isfinite(above) and math.isfinite(below)):
            return None
        central.append((above - below) / (2 * h))
        right.append(above / h)
        left.append(-below / h)
        rounding.append(noise(h) / h)
        if row >= 2:
            window = _estimated(h, central, left, right, rounding, scale)
            slope = window.slope
            if slope.error <= max(GOAL / 4 * window.reach, 2 * slope.noise):
                break
        h /= 2
    return window


def _estimated(
    h: float,
    central: list[float],
    left: list[float],
    right: list[float],
    rounding: list[float],
    scale: float,
) -> _Window:
    doubled = [2 * noise for noise in rounding]
    # Where the curvature differs on both sides, the error is of the order of the step itself.
    moves = abs(central[-1] - central[-2]), abs(central[-2] - central[-3])
    order = 2 if moves[0] <= moves[1] / 2.8 + 4 * rounding[-1] else 1
    from_left, from_right = (_extrapolated(side, doubled, 1) for side in (left, right))
    jump_error = from_left.error + from_right.error
    both = _Estimate((from_left.value + from_right.value) / 2, jump_error, from_left.noise)
    slope = min(_extrapolated(central, rounding, order), both, key=lambda e: e.error)
    reach = max(scale, abs(slope.value), 1e-3 * max(abs(left[0]), abs(right[0])))
    jump = abs(from_right.value - from_left.value)
    gaps = abs(right[0] - left[0]), abs(right[-1] - left[-1])
    # Where both slopes are the same the gap between them shrinks with the step.
    shrinks = gaps[1] <= 0.75 * gaps[0] or gaps[1] <= 8 * rounding[-1]
    tiny = jump + jump_error <= FINE * reach
    if jump_error > 1e-3 * reach:
        # Then nothing speaks against a kink of that size, and the slope is known no better.
        slope = _Estimate(slope.value, max(slope.error, jump_error), slope.noise)
    smooth = tiny or (shrinks and jump <= 4 * jump_error)
    steepest = max(abs(left[-1]), abs(right[-1]))
    both_ways = min(abs(left[0]), abs(right[0])) > 8 * rounding[0]
    return _Window(
        h, slope, from_left, from_right, gaps[1], steepest, rounding[-1], both_ways, smooth, reach
    )


def _extrapolated(slopes: list[float], noise: list[float], order: int) -> _Estimate:
    """The limit of differences at halved steps whose errors are powers `order`, 2 * order, ...

    `noise` has the rounding error of each.
    """
    best = _Estimate(slopes[-1], math.inf, noise[-1])
    above: list[tuple[float, float]] = []
    for row, slope in enumerate(slopes):
        line = [(slope, noise[row])]
        for column in range(row):
            (coarse, coarse_noise), (fine, fine_noise) = above[column], line[column]
            c = 2.0 ** (order * (column + 1))
            value = fine + (fine - coarse) / (c - 1)
            rounding = (c * fine_noise + coarse_noise) / (c - 1)
            line.append((value, rounding))
            error = max(abs(value - fine), abs(value - coarse)) + rounding
            if column >= 1 and error < best.error:
                best = _Estimate(value, error, rounding)
        above = line
    return best


def _holds_below(
    d: Callable[[float], float], noise: Callable[[float], float], window: _Window
) -> bool:
    """Whether one look at a much smaller step agrees with what was extrapolated."""
    last, h = window.step, window.step / 160
    if h < LAST / 4:
        return True  # there is nothing to be seen at smaller steps
    above, below = d(h), d(-h)
    if not (math.isfinite(above) and math.isfinite(below)):
        return False
    # With a step that is not a power of 2 the argument itself is rounded.
    steepest = max(abs(above), abs(below)) / h
    rounding = noise(h) + 4 * EPS * steepest
    allowed = SAFETY * rounding / h + window.slope.error + FINE * window.reach
    bent = abs((d(last) - d(-last)) / (2 * last) - window.slope.value)
    moved = abs((above - below) / (2 * h) - window.slope.value)
    # At a step 160 times smaller little is left of the curvature, even of one as that of h**1.5.
    return moved <= allowed + bent / 8 and abs(above + below) / h <= allowed + window.gap / 8


def _is_still(d: Callable[[float], float], farthest: float) -> bool:
    """Whether the function does not move at all, neither near nor far."""
    near = (2.0**-k for k in range(12, 44, 6))
    return all(d(h) == d(-h) == 0.0 for h in (*_far(farthest), *near))


def _far(farthest: float) -> list[float]:
    """Steps to try where the usual ones are too small."""
    return [*(step for step in (2.0**2, 2.0**7, 2.0**12) if step < farthest), farthest]


def _from_afar(
    d: Callable[[float], float],
    noise: Callable[[float], float],
    scale: float,
    steps: list[float],
    best: _Window,
) -> _Window:
    """A window at larger steps, where the noise is smaller, if one is better."""
    for step in steps:
        window = _window(d, noise, step, scale)
        if window is None or not window.is_smooth:
            continue
        better = window.slope.error < best.slope.error
        if better and _apart(window, best) <= SAFETY * best.slope.error:
            best = window
    return best


def _error(window: _Window) -> float:
    return window.slope.error


def _apart(a: _Window, b: _Window) -> float:
    return abs(a.slope.value - b.slope.value)


def _grows(windows: list[_Window]) -> bool:
    """Whether the slopes become steeper with smaller steps, and not by rounding alone."""
    clear = [w.steepest for w in windows if w.steepest > SAFETY * w.rounding]
    return len(clear) > 1 and clear[-1] > 4 * clear[0]


def _same_kink(windows: list[_Window]) -> bool:
    """Whether two windows see a jump of the same size."""
    if len(windows) < 2:
        return False
    a, b = (window.jump for window in windows)
    return abs(a - b) <= SAME_KINK * abs(b)


def _kink(kinks: list[_Window], windows: list[_Window]) -> Slope:
    """The two slopes where no window was smooth, or why there are none."""

    def error(window: _Window) -> float:
        return max(window.left.error, window.right.error)

    best = min(kinks, key=error, default=None)
    if best is not None and sum(_same_kink([window, best]) for window in kinks) > 1:
        left, right = best.left.value, best.right.value
        return Slope((left + right) / 2, error(best), left, right, best.reach)
    if not windows:
        reason = "the function is not finite beside this point"
    elif _grows(windows):
        reason = "the function jumps here, or its slope grows without bound"
    else:
        reason = "its slopes change with every step size"
    return Slope(math.nan, math.inf, math.nan, math.nan, 0.0, reason)
