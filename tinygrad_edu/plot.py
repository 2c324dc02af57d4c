"""Pictures, drawn with matplotlib into axes that are given or made. One style, readable in grey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_edu.calculus import neural

__all__ = ["curves", "decision_regions", "losses", "nonlinearities", "save", "scatter"]

# Dark to light, so that they differ without colour too (Okabe and Ito's palette).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
STYLES = ("-", "--", "-.", ":")
MARKERS = "os^DvP"


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "pictures need matplotlib, which the extra `plot` brings: pip install matplotlib"
        ) from error
    return plt


def _axes(ax: Any, title: str, xlabel: str, ylabel: str) -> Any:
    if ax is None:
        ax = _pyplot().figure(figsize=(6, 4.5), layout="constrained").add_subplot()
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    return ax


def curves(
    series: Mapping[str, Sequence[float]],
    ax: Any = None,
    title: str = "",
    ylabel: str = "",
    logarithmic: bool = False,
    every: int = 1,
) -> Any:
    """Draws lines over the steps, one for each entry of `series`, and returns the axes.

    With `every` above 1 only each so many-th step is drawn, so that noise does not fill the lines.
    """
    ax = _axes(ax, title, "step", ylabel)
    for i, (label, values) in enumerate(series.items()):
        style = STYLES[i % len(STYLES)]
        steps = range(0, len(values), every)
        ax.plot(
            steps,
            values[::every],
            style,
            color=COLOURS[i % len(COLOURS)],
            label=label,
            linewidth=1.2,
        )
    if logarithmic:
        ax.set_yscale("log")
    ax.legend(frameon=False)
    ax.grid(alpha=0.25)
    return ax


def losses(history: Any, ax: Any = None, logarithmic: bool = False) -> Any:
    """Draws a `History`: the loss of every step and of the validation data; returns the axes."""
    ax = curves({"training": history.loss}, ax, "Loss", "loss", logarithmic)
    if history.validation_loss:
        steps = np.array(history.validation_steps) - 1
        ax.plot(steps, history.validation_loss, "--", color=COLOURS[1], label="validation")
        ax.legend(frameon=False)
    return ax


def scatter(X: Any, y: Any, ax: Any = None, title: str = "Data") -> Any:
    """Draws points of two features, one colour and marker for each class; returns the axes."""
    X, y = np.asarray(X), np.asarray(y)
    if X.ndim != 2 or X.shape[1] != 2 or y.shape != X.shape[:1]:
        raise ValueError(f"X must be (n, 2) and y (n,), got {X.shape} and {y.shape}")
    ax = _axes(ax, title, "$x_1$", "$x_2$")
    for i, label in enumerate(np.unique(y)):
        points = X[y == label].T
        ax.scatter(
            *points,
            s=22,
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)],
            edgecolors="black",
            linewidths=0.4,
            label=f"class {label}",
        )
    ax.legend(frameon=True, fontsize="small")
    ax.set_aspect("equal")
    return ax


def decision_regions(
    predict: Any, X: Any, y: Any, ax: Any = None, title: str = "Decision regions", steps: int = 300
) -> Any:
    """Draws which class `predict` (rows -> classes) gives to each point around the data."""
    X = np.asarray(X)
    ax = scatter(X, y, ax, title)
    margin = 0.3 * np.ptp(X, axis=0)
    low, high = X.min(axis=0) - margin, X.max(axis=0) + margin
    across, up = (np.linspace(low[i], high[i], steps) for i in range(2))
    grid = np.column_stack([part.ravel() for part in np.meshgrid(across, up)])
    predicted = predict(grid)
    classes = np.union1d(y, predicted)
    regions = np.searchsorted(classes, predicted).reshape(steps, steps)
    edges = np.arange(len(classes) + 1) - 0.5
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(classes))]
    ax.contourf(across, up, regions, levels=edges, colors=colours, alpha=0.3, zorder=0)
    for i in np.unique(regions) if np.ptp(regions) else ():
        # Class by class: between 0 and 2 the levels 0.5 and 1.5 would both draw a line.
        ax.contour(across, up, regions == i, levels=[0.5], colors="black", linewidths=0.6, zorder=0)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    return ax


def save(ax: Any, path: Any) -> None:
    """Writes the figure of the axes to a file and closes it."""
    ax.figure.savefig(path, dpi=120)
    _pyplot().close(ax.figure)


def nonlinearities(axes: Any = None) -> Any:
    """Draws sigmoid and relu beside their derivatives; returns the two axes."""
    if axes is None:
        axes = _pyplot().figure(figsize=(9, 4), layout="constrained").subplots(1, 2)
    x = np.linspace(-6, 6, 601)
    s = neural.sigmoid(x)
    pairs = {"sigmoid": (s, s * (1 - s)), "relu": (neural.relu(x), (x > 0).astype(float))}
    for ax, (name, (y, slope)) in zip(axes, pairs.items(), strict=True):
        _axes(ax, name, "$x$", "")
        ax.plot(x, y, STYLES[0], color=COLOURS[0], label="function")
        ax.plot(x, slope, STYLES[1], color=COLOURS[1], label="derivative")
        ax.legend(frameon=False)
        ax.grid(alpha=0.25)
    return axes
