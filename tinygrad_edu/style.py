"""How all pictures look: what differs in colour differs in line or marker too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

# Dark to light, so that they differ without colour too (Okabe and Ito's palette).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
STYLES = ("-", "--", "-.", ":")
MARKERS = "os^DvP"
# From dark to light all the way, so that grey shows the order of the values.
COLOUR_MAP = "cividis"


def pyplot() -> Any:
    """matplotlib.pyplot, or an error that says how to get it."""
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "pictures need matplotlib, which the extra `plot` brings: pip install matplotlib"
        ) from error
    return plt


def labelled(ax: Any, title: str, xlabel: str, ylabel: str) -> Any:
    """The axes, or new ones, with a title and labels."""
    if ax is None:
        ax = pyplot().figure(figsize=(6, 4.5), layout="constrained").add_subplot()
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    return ax


def one_for_each(names: Sequence[str], axes: Any, across: int = 4) -> list[Any]:
    """The axes as a list, or new ones in rows of `across`.

    Raises:
        ValueError: another number of axes than of names.
    """
    if axes is None:
        columns = min(across, len(names))
        rows = -(-len(names) // columns)
        size = (3.2 * columns + 0.4, 2.9 * rows)
        grid = (
            pyplot()
            .figure(figsize=size, layout="constrained")
            .subplots(rows, columns, squeeze=False)
        )
        for unused in grid.flat[len(names) :]:
            unused.remove()
        return list(grid.flat[: len(names)])
    given = list(np.ravel(np.asarray(axes, object)))
    if len(given) != len(names):
        raise ValueError(
            f"axes must be one for each of {len(names)} ({', '.join(names)}), got {len(given)}"
        )
    return given


def save(ax: Any, path: Any) -> None:
    """Writes the figure of the axes to a file and closes it."""
    ax.figure.savefig(path, dpi=120)
    pyplot().close(ax.figure)
