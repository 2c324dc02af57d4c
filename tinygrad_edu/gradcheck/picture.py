"""A report as a picture: given against measured, and a map of the errors."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_edu.gradcheck.compare import Verdict
from tinygrad_edu.gradcheck.report import GradientReport, InputReport

# Okabe and Ito's palette, and a marker for each, so that they differ without colour too.
LOOKS = {
    Verdict.OK: ("#009E73", "o"),
    Verdict.KINK: ("#E69F00", "D"),
    Verdict.INCONCLUSIVE: ("#0072B2", "s"),
    Verdict.WRONG: ("#D55E00", "X"),
}
# Errors below this are as good as none.
LOWEST = 1e-16


def draw(report: GradientReport, name: str | None = None) -> Any:
    """The figure of `GradientReport.plot`."""
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "pictures need matplotlib, which the extra `plot` brings: pip install matplotlib"
        ) from error

    measured = [i for i in report.inputs if np.isfinite(i.measured).any()]
    if not measured:
        raise ValueError(f"there is nothing to draw, since nothing was measured:\n{report}")
    if name is None:
        shown = max(measured, key=lambda i: (int(i.is_wrong().sum()), _worst(i)))
    else:
        named = [i for i in measured if name in (i.name, i.label)]
        if not named:
            known = ", ".join(i.label for i in measured)
            raise ValueError(f"no input named {name!r} was measured; there are {known}")
        shown = named[0]
    figure = plt.figure(figsize=(10, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_values(left, measured)
    _draw_errors(figure, right, shown)
    figure.suptitle(repr(report)[1:-1])
    return figure


def _worst(i: InputReport) -> float:
    errors = i.relative_error()
    return float(np.nan_to_num(errors, nan=0.0, posinf=1e300).max(initial=0.0))


def _draw_values(ax: Any, inputs: list[InputReport]) -> None:
    """Every entry as a point: right ones lie on the diagonal."""
    for verdict, (colour, marker) in LOOKS.items():
        chosen = [i.verdicts == verdict for i in inputs]
        x = np.concatenate([i.measured[c] for i, c in zip(inputs, chosen, strict=True)])
        y = np.concatenate([i.given[c] for i, c in zip(inputs, chosen, strict=True)])
        if x.size:
            label = f"{verdict} ({x.size:,})"
            ax.scatter(x, y, s=28, c=colour, marker=marker, label=label, alpha=0.8, linewidths=0)
    every = np.concatenate([np.ravel(a) for i in inputs for a in (i.given, i.measured)])
    every = every[np.isfinite(every)]
    low, high = every.min(), every.max()
    margin = 0.05 * (high - low) or 1.0
    ends = [low - margin, high + margin]
    ax.plot(ends, ends, color="0.6", linewidth=1, zorder=0)
    size = np.abs(every[every != 0])
    if size.size and size.max() > 1e3 * size.min():
        ax.set_xscale("symlog", linthresh=size.max() * 1e-3)
        ax.set_yscale("symlog", linthresh=size.max() * 1e-3)
    ax.set(title="gradient by entry", xlabel="measured", ylabel="given", xlim=ends, ylim=ends)
    ax.legend(frameon=False)


def _draw_errors(figure: Any, ax: Any, i: InputReport) -> None:
    """The relative error of each entry as a colour, the wrong ones ringed."""
    import matplotlib.colors

    errors = i.relative_error()
    errors = np.where(np.isinf(errors), np.nanmax(errors[np.isfinite(errors)], initial=1.0), errors)
    grid = np.clip(errors, LOWEST, None).reshape(_rows(i.shape))
    scale = matplotlib.colors.LogNorm(LOWEST, max(1.0, float(np.nanmax(grid))))
    image = ax.imshow(grid, norm=scale, cmap="cividis", aspect="auto", interpolation="nearest")
    ax.set_facecolor("0.92")
    rows, columns = np.nonzero(i.is_wrong().reshape(grid.shape))
    ax.scatter(columns, rows, s=60, facecolors="none", edgecolors="#D55E00", linewidths=1.5)
    for axis, n in ((ax.xaxis, grid.shape[1]), (ax.yaxis, grid.shape[0])):
        axis.get_major_locator().set_params(integer=True)
        if n == 1:
            axis.set_ticks([])
    ax.set(title=f"relative error of {i.label}, shape {i.shape}")
    figure.colorbar(image, ax=ax, label="|given - measured| / size")


def _rows(shape: tuple[int, ...]) -> tuple[int, int]:
    """The shape as rows of the last axis."""
    last = shape[-1] if shape else 1
    return (int(np.prod(shape)) // last if last else 0, last)
