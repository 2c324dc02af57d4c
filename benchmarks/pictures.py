"""Pictures of the figures, drawn with matplotlib so that they can be read in grey too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.timing import ratios
from tinygrad_edu import plot
from tinygrad_edu.style import COLOURS

# Colour, marker and line of each variant: NumPy's markers are black, the engine's filled, and
# those of other libraries hollow.
STYLES = {
    "hand": ("black", "s", "-"),
    "floor": ("black", "v", "--"),
    "matrix products alone": ("black", "x", ":"),
    "compiled": (COLOURS[1], "o", "-"),
    "compiled notebook": (COLOURS[1], "P", "--"),
    "trainer": (COLOURS[1], "^", "-."),
    "eager": (COLOURS[1], "D", "-."),
    "PyTorch": (COLOURS[0], "s", "--"),
    "torch.compile": (COLOURS[0], "D", ":"),
    "jax.jit": (COLOURS[2], "o", "--"),
    "autograd": (COLOURS[3], "^", "--"),
    "MyGrad": (COLOURS[3], "v", ":"),
}
HOLLOW = ("PyTorch", "torch.compile", "jax.jit", "autograd", "MyGrad")

Times = Mapping[str, list[float]]


def _marker(name: str) -> dict[str, Any]:
    colour, marker, _ = STYLES[name]
    face = "white" if name in HOLLOW else colour
    return {"color": colour, "marker": marker, "markerfacecolor": face, "markersize": 6}


def dots(path: Path, figures: Mapping[str, Times]) -> None:
    """A line for each net, with a dot for each variant: its time relative to hand-written NumPy."""
    figure, ax = plt.subplots(figsize=(9, 1.5 + 0.45 * len(figures)), layout="constrained")
    heights = np.arange(len(figures))[::-1]
    names = [name for name in STYLES if name in next(iter(figures.values())) and name != "hand"]
    for name in names:
        values = [np.median(ratios(times[name], times["hand"])) for times in figures.values()]
        ax.plot(values, heights, linestyle="none", label=name, **_marker(name))
    ax.axvline(1, color="black", linewidth=1)
    ax.set_yticks(heights, list(figures))
    ax.set_ylim(-0.5, len(figures) - 0.5)
    ax.set_xscale("log")
    ax.set_xlabel("time of a training step / hand-written NumPy (less is better)")
    _plain_numbers(ax.xaxis)
    ax.grid(alpha=0.3, which="both", axis="x")
    ax.grid(alpha=0.3, axis="y")
    figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def growth(path: Path, figures: Mapping[str, Mapping[int, Times]]) -> None:
    """A panel for each quantity that grows, with a curve of microseconds for each variant."""
    figure, panels = plt.subplots(
        1, len(figures), figsize=(12, 4.6), sharey=True, layout="constrained"
    )
    for ax, (quantity, found) in zip(panels, figures.items(), strict=True):
        values = list(found)
        for name in [name for name in STYLES if name in found[values[0]]]:
            medians = [1e6 * np.median(times[name]) for times in found.values()]
            line = {"linestyle": STYLES[name][2], "linewidth": 1.2}
            ax.plot(values, medians, label=name, **line, **_marker(name))
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.set_xticks(values, [str(value) for value in values])
        ax.set_xlabel(quantity)
        _plain_numbers(ax.yaxis)
        ax.grid(alpha=0.3)
    panels[0].set_ylabel("microseconds a training step")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def training(path: Path, nets: Mapping[str, Any], magnitudes: Mapping[str, Any], X: Any) -> None:
    """A column for each net: its gradient magnitudes, what its layers put out, its weights."""
    with plt.rc_context({"font.size": 8, "axes.titlesize": 8}):
        figure = plt.figure(figsize=(12, 7.6), layout="constrained")
        gradients = []
        for part, (name, net) in zip(figure.subfigures(1, len(nets)), nets.items(), strict=True):
            part.suptitle(f"{name} net", fontsize=11)
            # So many columns that 1, 2 and 3 panels fill a row.
            grid = part.add_gridspec(3, 6, height_ratios=(1.2, 0.8, 1))
            gradients.append(magnitudes[name].plot(part.add_subplot(grid[0, :])))
            plot.activations(net, X, [part.add_subplot(grid[1, i : i + 3]) for i in (0, 3)])
            plot.weights(net, [part.add_subplot(grid[2, i : i + 2]) for i in (0, 2, 4)])
        limits = [limit for ax in gradients for limit in ax.get_ylim()]
        for ax in gradients:
            ax.set_ylim(min(limits), max(limits))
        figure.savefig(path, dpi=100)
        plt.close(figure)


def mpi(path: Path, figures: Mapping[str, Any]) -> None:
    """Speedup with the same minibatch and efficiency with a larger one, over the ranks.

    A colour and marker for each net, filled where it was measured; a kind of line for each network.
    """
    papers, measured = figures["papers"], figures["measured"]
    figure, panels = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained")
    kinds = dict(zip(papers, ("-", ":"), strict=True))
    nets = dict(zip(measured, zip(COLOURS, "os^", strict=False), strict=True))
    for ax, what in zip(panels, ("speedup", "efficiency"), strict=True):
        for where, kind in kinds.items():
            for name, (colour, marker) in nets.items():
                values = papers[where][name][what]
                ranks = 2 ** np.arange(len(values))
                look = {"color": colour, "marker": marker, "markerfacecolor": "white"}
                label = f"{name}, {where}"
                ax.plot(ranks, values, kind, label=label, linewidth=1.2, markersize=5, **look)
        ax.set_xscale("log", base=2)
        ax.set_xticks(ranks, [str(n) for n in ranks])
        ax.set_xlabel("ranks")
        ax.grid(alpha=0.3)
    for name, (colour, marker) in nets.items():
        look = {"color": colour, "marker": marker, "markersize": 9}
        panels[0].plot(
            *zip(*measured[name].items(), strict=True),
            label=f"{name}, measured",
            linestyle="none",
            **look,
        )
    panels[0].plot(
        ranks[:6], ranks[:6], color="black", linewidth=0.8, label="as many times as ranks"
    )
    panels[0].set_yscale("log")
    _plain_numbers(panels[0].yaxis)
    panels[0].set_title("the same minibatch: speedup")
    panels[1].set_title("as large a minibatch on every rank: efficiency")
    panels[1].set_ylim(0, 1.05)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _plain_numbers(axis: Any) -> None:
    """0.5 and 20 in place of powers of ten."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
