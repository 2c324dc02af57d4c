"""A report as a picture: given against measured, and a map of the errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_edu.gradcheck.compare import Verdict
from tinygrad_edu.gradcheck.report import GradientReport, InputReport, short
from tinygrad_edu.style import pyplot

# Okabe and Ito's palette, and a marker for each, so that they differ without colour too.
LOOKS = {
    Verdict.OK: ("#009E73", "o"),
    Verdict.KINK: ("#E69F00", "D"),
    Verdict.INCONCLUSIVE: ("#0072B2", "s"),
    Verdict.WRONG: ("#D55E00", "X"),
}
# Errors below this are as good as none.
LOWEST = 1e-16
# How long a name in a title may be.
NAME = 36


def draw(report: GradientReport, name: str | None = None) -> Any:
    """The figure of `GradientReport.plot`."""
    plt = pyplot()
    measured = [i for i in report.inputs if np.isfinite(i.measured).any()]
    if not measured:
        raise ValueError(f"there is nothing to draw, since nothing was measured:\n{report}")
    of = ""
    if name is None:
        shown = max(measured, key=lambda i: (int(i.is_wrong().sum()), _worst(i)))
        of = f", the worst of {len(measured)}" if len(measured) > 1 else ""
    else:
        named = [i for i in measured if name in (i.name, i.label)]
        if not named:
            known = ", ".join(i.label for i in measured)
            raise ValueError(f"no input named {name!r} was measured; there are {known}")
        shown = named[0]
    figure = plt.figure(figsize=(10, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_values(left, measured)
    _draw_errors(figure, right, shown, of)
    # A name may hold dollar signs, which begin a formula elsewhere.
    figure.suptitle(short(repr(report)[1:-1], 2 * NAME), parse_math=False)
    return figure


def _worst(i: InputReport) -> float:
    errors = i.relative_error()
    return float(np.nan_to_num(errors, nan=0.0, posinf=1e300).max(initial=0.0))


def _draw_values(ax: Any, inputs: list[InputReport]) -> None:
    """Every entry as a point: right ones lie on the diagonal."""
    x, y = (np.concatenate([getattr(i, a).ravel() for i in inputs]) for a in ("measured", "given"))
    verdicts = np.concatenate([i.verdicts.ravel() for i in inputs])
    drawn = np.isfinite(x) & np.isfinite(y)
    for verdict, (colour, marker) in LOOKS.items():
        chosen = verdicts == verdict
        points = chosen & drawn
        number, lost = int(points.sum()), int(np.sum(chosen & ~np.isfinite(y)))
        if number or lost:
            counts = [f"{number:,}"] * (number > 0) + [f"{lost:,} not finite"] * (lost > 0)
            label = f"{verdict} ({', '.join(counts)})"
            look = {"c": colour, "marker": marker, "alpha": 0.8, "linewidths": 0}
            ax.scatter(x[points], y[points], s=28, label=label, **look)
    both = np.concatenate([x[drawn], y[drawn]])
    size = np.abs(both[both != 0])
    if size.size and np.median(size) < 0.01 * size.max():
        # From a power of ten on, so that no other tick is near 0.
        small = max(float(np.quantile(size, 0.1)), 1e-6 * float(size.max()))
        linear = 10.0 ** math.floor(math.log10(small))
        room = max(1.0, math.log10(size.max() / linear) / 4)
        ax.set_xscale("symlog", linthresh=linear, linscale=room)
        ax.set_yscale("symlog", linthresh=linear, linscale=room)
        ticks = {"numticks": 6}
    else:
        ticks = {"nbins": 5}
    for axis in (ax.xaxis, ax.yaxis):
        axis.get_major_locator().set_params(**ticks)
    if both.size:
        # The same limits for both axes, so that the diagonal is that of the frame.
        ax.update_datalim([(both.min(), both.min()), (both.max(), both.max())])
    ax.margins(0.06)
    ax.plot([0, 1], [0, 1], color="0.6", linewidth=1, zorder=0, transform=ax.transAxes)
    ax.set(title="gradient by entry", xlabel="measured", ylabel="given")
    ax.legend(framealpha=0.7, edgecolor="none")


def _draw_errors(figure: Any, ax: Any, i: InputReport, of: str) -> None:
    """The relative error of each entry as a colour, the wrong ones ringed."""
    import matplotlib.colors

    measured = np.isfinite(i.measured)
    errors = np.where(measured, i.relative_error(), np.nan)
    errors = np.where(np.isinf(errors), np.nanmax(errors[np.isfinite(errors)], initial=1.0), errors)
    grid = np.clip(errors, LOWEST, None).reshape(_rows(i.shape))
    scale = matplotlib.colors.LogNorm(LOWEST, max(1.0, float(np.nanmax(grid))))
    look = {"norm": scale, "cmap": "cividis"}
    image = ax.imshow(grid, aspect="auto", interpolation="nearest", **look)
    ax.set_facecolor("0.92")
    if not measured.all():
        # Single cells of a big array are too small to be seen.
        rows, columns = np.nonzero(measured.reshape(grid.shape))
        ax.scatter(columns, rows, s=16, marker="s", c=grid[rows, columns], **look)
    rows, columns = np.nonzero(i.is_wrong().reshape(grid.shape))
    size = min(60.0, 6000 / max(rows.size, 1))
    width = 0.2 * math.sqrt(size)
    ax.scatter(columns, rows, s=size, facecolors="none", edgecolors="#D55E00", linewidths=width)
    for axis, n in ((ax.xaxis, grid.shape[1]), (ax.yaxis, grid.shape[0])):
        axis.get_major_locator().set_params(integer=True, nbins=6)
        if n == 1:
            axis.set_ticks([])
    if len(i.shape) > 2:
        ax.set(xlabel="last axis", ylabel="all other axes, in a row")
    share = "" if measured.all() else f", {measured.sum():,} of {measured.size:,} measured"
    title = f"relative error of {short(i.label, NAME)}\nshape {i.shape}{share}{of}"
    ax.set_title(title, parse_math=False)
    figure.colorbar(image, ax=ax, label="|given - measured| / size")


def _rows(shape: tuple[int, ...]) -> tuple[int, int]:
    """The shape as rows of the last axis."""
    last = shape[-1] if shape else 1
    return (int(np.prod(shape)) // last if last else 0, last)
