"""How all pictures look: what differs in colour differs in line or marker too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_edu.files import as_a_whole

# Okabe and Ito's palette, which the colour-blind can tell apart; in grey the line or marker tells.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
STYLES = ("-", "--", "-.", ":")
MARKERS = "os^DvP"
# From dark to light all the way, so that grey shows the order of the values.
COLOUR_MAP = "cividis"
# How much red, green and blue count in grey.
GREY = (0.299, 0.587, 0.114)
# The grey of the first and of the last region: never darker than the colours, nor white.
REGION_GREYS = (0.64, 0.92)


def pyplot() -> Any:
    """matplotlib.pyplot, or an error that says how to get it."""
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "pictures need matplotlib, which the extra `plot` brings: pip install matplotlib"
        ) from error
    return plt


def can_draw() -> bool:
    """Whether matplotlib is there, and not broken."""
    try:
        pyplot()
    except ImportError:
        return False
    return True


def region_colours(count: int) -> list[tuple[float, float, float]]:
    """The colours of regions behind points: those of the points, mixed with white.

    In grey they go from dark to light in equal steps, so that there, too, each has its own look.

    Example:
        >>> for colour in region_colours(3):
        ...     print([round(part, 2) for part in colour], round(float(np.dot(colour, GREY)), 2))
        [0.45, 0.7, 0.83] 0.64
        [0.93, 0.74, 0.59] 0.78
        [0.86, 0.95, 0.92] 0.92
    """
    mixed = []
    for i, grey in enumerate(np.linspace(*REGION_GREYS, count)):
        colour = np.array([*bytes.fromhex(COLOURS[i % len(COLOURS)][1:])]) / 255
        share = (1 - grey) / (1 - colour @ GREY)
        red, green, blue = (1 - share * (1 - colour)).tolist()
        mixed.append((red, green, blue))
    return mixed


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
    """Writes the figure of the axes to a file and closes it, also if it could not be written.

    An older file is replaced when all is done, or left alone.

    Args:
        ax: the axes, or the figure itself.
        path: what matplotlib knows by its suffix, as `*.png` or `*.svg`; without one it gets
            `.png`.

    Raises:
        OSError: there is no such folder, or no room.
        ValueError: a suffix that matplotlib does not know.
    """
    figure, path = ax.figure, Path(path)
    if not path.suffix:
        path = path.with_name(f"{path.name}.png")
    try:
        with as_a_whole(path) as unfinished:
            figure.savefig(unfinished, dpi=120)
    finally:
        pyplot().close(figure)
