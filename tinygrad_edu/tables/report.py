"""A web page of a training: what went in, how it went, how good it is, and where it is wrong."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from tinygrad_edu.tables.listing import columns_of, is_number, kept, parts_of, printable, verdict
from tinygrad_edu.tables.training import Training

__all__ = ["is_report", "page"]

_MARK = '<meta name="generator" content="tinygrad-edu train">'
_MOST_MISTAKES = 10
_MOST_CLASSES = 20


def page(
    training: Training, file: str, said: Sequence[str], pictures: Sequence[tuple[str, str, str]]
) -> str:
    """The page, one file without a network.

    Args:
        training: what it tells of.
        file: the name of the model's file.
        said: sentences on what was understood of the table.
        pictures: see `tinygrad_edu.tables.pictures`; none without matplotlib.
    """
    columns, test = training.model.columns, training.parts["test"]
    target = columns.target.name
    style = resources.files("tinygrad_edu.tables").joinpath("report.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'"
    if training.model.classifies:
        score = [("accuracy on the test data", f"{100 * test.score:.1f} %")]
        score += [("always the most frequent class", f"{100 * (1 - test.baseline):.1f} %")]
    else:
        score = [("R² on the test data", f"{test.score:.3f}"), ("RMSE there", f"{test.error:.4g}")]
        score += [("RMSE of always the mean", f"{test.baseline:.4g}")]
    score.append(("rows of the test", f"{len(test.rows):,}"))
    parts = [
        f"<h1>{_text(target)}, predicted from {_text(training.cells.path)}</h1>",
        '<dl class="cards">',
        *(f"<div><dt>{_text(k)}</dt><dd>{_text(v)}</dd></div>" for k, v in score),
        "</dl>",
        f"<p>{_text(verdict(training))}</p>",
        '<div class="beside">',
        *_figures(pictures),
        f"<section><h2>Scores</h2>{_table(*parts_of(training))}",
        *_mistakes(training),
        "</section></div>",
        "<h2>The table</h2>",
        *(f"<p>{_text(sentence)}</p>" for sentence in said),
        _table(["column", "kind", "values"], columns_of(columns, training.cells)),
        "<h2>The net and its training</h2>",
        _table(["", ""], _settings(training, file)),
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'{_MARK}\n<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(target)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def is_report(path: Path) -> bool:
    """Whether a file is such a page."""
    with path.open("rb") as file:
        return _MARK.encode() in file.read(1024)


def _text(text: object) -> str:
    """Nothing of a file is ever markup."""
    return html.escape(printable(text))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    right = [all(map(is_number, column)) for column in zip(*rows, strict=True)]

    def line(cells: Sequence[str], tag: str) -> str:
        marks = [' class="number"' if to_the_right else "" for to_the_right in right]
        pairs = zip(marks, cells, strict=True)
        return "<tr>" + "".join(f"<{tag}{m}>{_text(cell)}</{tag}>" for m, cell in pairs) + "</tr>"

    top = f"<thead>{line(head, 'th')}</thead>" if any(head) else ""
    body = "\n".join(line(row, "td") for row in rows)
    return f'<div class="wide"><table>{top}<tbody>\n{body}\n</tbody></table></div>'


def _figures(pictures: Sequence[tuple[str, str, str]]) -> list[str]:
    if not pictures:
        return ['<p>There are no pictures without matplotlib: pip install "tinygrad-edu[plot]"</p>']
    return [
        f"<figure><h2>{_text(title)}</h2>{_image(address, words)}"
        f"<figcaption>{_text(words)}.</figcaption></figure>"
        for title, words, address in pictures
    ]


def _image(address: str, words: str) -> str:
    return f'<img src="{address}" alt="{_text(words)}">' if address else ""


def _mistakes(training: Training) -> list[str]:
    """By class how often it is right, and the rows of the test that are most wrong."""
    model, cells, test = training.model, training.cells, training.parts["test"]
    lines = cells.lines[test.rows]
    if not model.classifies:
        worst = np.argsort(-np.abs(test.y - test.outputs), kind="stable")[:_MOST_MISTAKES]
        rows = [[f"{lines[i]}", *(f"{x:.6g}" for x in (test.y[i], test.outputs[i]))] for i in worst]
        head = ["line of the file", "true", "predicted"]
        return ["<h2>The largest errors, test data</h2>", _table(head, rows)]
    classes, said = model.columns.classes, test.outputs.argmax(axis=1)
    found = []
    if len(classes) <= _MOST_CLASSES:
        rows = [
            [
                label,
                f"{np.sum(test.y == k)}",
                _share(said[test.y == k] == k),
                _share(test.y[said == k] == k),
            ]
            for k, label in enumerate(classes)
        ]
        head = ["class", "rows", "found (recall)", "right (precision)"]
        found += ["<h2>Classes, test data</h2>", _table(head, rows)]
    sure = test.outputs.max(axis=1)
    wrong = np.flatnonzero(said != test.y)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:_MOST_MISTAKES]
    rows = [[f"{lines[i]}", classes[test.y[i]], classes[said[i]], f"{sure[i]:.3f}"] for i in worst]
    head = ["line of the file", "true", "predicted", "with probability"]
    return [
        *found,
        "<h2>The surest mistakes, test data</h2>",
        _table(head, rows) if rows else "<p>None.</p>",
    ]


def _share(right: np.ndarray) -> str:
    return f"{right.mean():.3f}" if right.size else "-"


def _settings(training: Training, file: str) -> list[tuple[str, str]]:
    model, settings, history = training.model, training.settings, training.history
    sizes = "-".join(map(str, model.mlp.sizes))
    count = sum(p.size for p in model.net.parameters())
    stopped = " (interrupted)" if history.interrupted else ""
    return [
        ("model", file),
        ("net", f"{sizes} units, {model.activation}, {count:,} parameters"),
        ("inputs", "standardised: mean 0, standard deviation 1 in the training data"),
        (
            "optimiser",
            f"Adam, lr {settings.lr:g}, batches of {settings.batch_size}, l2 {settings.l2:g}",
        ),
        ("epochs", f"{len(history.epoch_ends)} of {settings.epochs}{stopped}"),
        ("patience", f"{settings.patience} epochs without a better validation loss"),
        ("weights", kept(training).removesuffix(",")),
        ("missing values", training.model.columns.missing),
        ("seed", str(settings.seed)),
    ]
