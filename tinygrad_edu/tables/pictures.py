"""The pictures of a report, as PNG files in memory."""

from __future__ import annotations

import base64
import io
import warnings
from typing import Any

import numpy as np

from tinygrad_edu import plot
from tinygrad_edu.data.kinds import CATEGORY
from tinygrad_edu.style import COLOUR_MAP, COLOURS, labelled, pyplot
from tinygrad_edu.tables.listing import printable
from tinygrad_edu.tables.training import Training

__all__ = ["importance", "pictures"]

_MOST_LABELS = 20
_MOST_BARS = 15
_SHUFFLES = 5


def pictures(training: Training) -> list[tuple[str, str, str]]:
    """For each picture its title, what it shows in words, and a `data:` address; or "" if it
    would be empty.

    Raises:
        ModuleNotFoundError: matplotlib is missing; the extra `plot` brings it.
    """
    draw = _confusion if training.model.classifies else _predicted
    return [_losses(training), draw(training), _importance(training)]


def importance(training: Training) -> dict[str, float]:
    """By column how much the score on the test data falls if its cells change places at random.

    The mean of some random orders. See Breiman, "Random forests", Machine Learning 45, 2001.
    """
    model, test = training.model, training.parts["test"]
    rng = np.random.default_rng(training.settings.seed)
    falls = {}
    start = 0
    for column in model.columns.inputs:
        width = len(column.categories) if column.kind == CATEGORY else 1
        mine = slice(start, start + width)
        start += width
        X = test.X.copy()
        scores = []
        for _ in range(_SHUFFLES):
            X[:, mine] = test.X[rng.permutation(len(X)), mine]
            scores.append(model.score(X, test.y))
        falls[column.name] = float(np.mean(test.score - np.array(scores)))
    return dict(sorted(falls.items(), key=lambda item: -item[1]))


def _axes(width: float, height: float) -> Any:
    return pyplot().figure(figsize=(width, height), layout="constrained").add_subplot()


def _address(ax: Any) -> str:
    file = io.BytesIO()
    try:
        with warnings.catch_warnings():
            # Not every font has every letter; the tables beside the picture have them.
            warnings.filterwarnings("ignore", "Glyph .* missing from")
            ax.figure.savefig(file, format="png", dpi=160)
    finally:
        pyplot().close(ax.figure)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _short(text: object, most: int = 24) -> str:
    text = printable(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _losses(training: Training) -> tuple[str, str, str]:
    history = training.history
    ax = plot.losses(history, _axes(6, 4.4), logarithmic=True)
    ax.set_title("")
    if training.best_epoch:
        step = history.epoch_ends[training.best_epoch - 1] - 1
        ax.axvline(step, color="0.4", linewidth=1, linestyle=":", label="best epoch, kept")
        ax.legend(frameon=False)
    of = "cross-entropy" if training.model.classifies else "squared errors of standardised targets"
    words = f"Means of the {of}, with the penalty of l2"
    return "Losses", words, _address(ax)


def _confusion(training: Training) -> tuple[str, str, str]:
    classes, test = training.model.columns.classes, training.parts["test"]
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (test.y, test.outputs.argmax(axis=1)), 1)
    ax = labelled(_axes(6, 4.4), "", "predicted", "true")
    ax.imshow(counts, cmap=COLOUR_MAP, vmin=0)
    if len(classes) <= _MOST_LABELS:
        names = [_short(label, 16) for label in classes]
        turned = {"rotation": 45, "ha": "right"} if max(map(len, names)) > 4 else {}
        ax.set_xticks(range(len(names)), names, parse_math=False, **turned)
        ax.set_yticks(range(len(names)), names, parse_math=False)
        for (i, j), n in np.ndenumerate(counts):
            colour = "black" if n > counts.max() / 2 else "white"
            ax.text(j, i, str(n), ha="center", va="center", color=colour, fontsize=9)
    return (
        "Confusion matrix, test data",
        f"{len(test.y) - counts.trace()} of {len(test.y)} rows lie off the diagonal",
        _address(ax),
    )


def _predicted(training: Training) -> tuple[str, str, str]:
    test = training.parts["test"]
    ax = labelled(_axes(6, 4.4), "", "true", "predicted")
    ends = [min(test.y.min(), test.outputs.min()), max(test.y.max(), test.outputs.max())]
    ax.plot(ends, ends, color="0.4", linewidth=1, linestyle=":", label="right")
    ax.scatter(test.y, test.outputs, s=14, alpha=0.6, color=COLOURS[0], linewidths=0)
    ax.grid(alpha=0.25)
    ax.legend(frameon=False)
    return (
        "Predicted against true, test data",
        f"{len(test.y)} points around the diagonal, R² {test.score:.3f}",
        _address(ax),
    )


def _importance(training: Training) -> tuple[str, str, str]:
    falls = importance(training)
    if not any(falls.values()):
        words = "None does: the score is the same if the cells of any column change places"
        return "Which columns matter", words, ""
    shown = dict(list(falls.items())[:_MOST_BARS])
    ax = _axes(6, 1 + 0.28 * len(shown))
    score = "accuracy" if training.model.classifies else "R²"
    labelled(ax, "", f"fall of {score} on the test data", "")
    ax.barh(range(len(shown)), list(shown.values()), color=COLOURS[0])
    ax.set_yticks(range(len(shown)), [_short(name) for name in shown], parse_math=False)
    ax.invert_yaxis()
    ax.axvline(0, color="0.4", linewidth=1)
    ax.grid(axis="x", alpha=0.25)
    left = (
        f"; {len(falls) - len(shown)} columns with less are left out"
        if len(shown) < len(falls)
        else ""
    )
    words = f"How much the score falls if the cells of one column change places at random{left}"
    return "Which columns matter", words, _address(ax)
