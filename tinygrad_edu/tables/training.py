"""Training on a table: split, standardise, stop early, measure against a baseline."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tinygrad_edu import data, optim
from tinygrad_edu.calculus import neural
from tinygrad_edu.callbacks import EarlyStopping
from tinygrad_edu.data.cells import Cells
from tinygrad_edu.data.columns import MEAN, REGRESSION, Columns
from tinygrad_edu.data.kinds import NUMBER
from tinygrad_edu.nn import Linear, Standardize
from tinygrad_edu.tables.model import TableModel, root_mean_square
from tinygrad_edu.trainer import History, Trainer

__all__ = ["Part", "Settings", "Training", "train"]

PARTS = ("training", "validation", "test")
FEWEST_ROWS = 20
FEWEST_OF_CLASS = 3
MOST_PARAMETERS = 10**7


@dataclass(frozen=True)
class Settings:
    """What can be chosen for a training."""

    hidden: Sequence[int] = (64, 64)
    activation: str = "relu"
    epochs: int = 300
    batch_size: int = 32
    lr: float = 1e-3
    l2: float = 1e-4
    seed: int = 0
    patience: int = 30


@dataclass(frozen=True)
class Part:
    """A part of the table, and how well it is predicted.

    Attributes:
        rows: which rows of the table.
        X, y: their inputs and targets.
        outputs: probabilities of the classes, or numbers.
        score: accuracy or R^2.
        error: the share of wrong classes, or the root of the mean squared error.
        baseline: the error of always saying the most frequent class, or the mean, of the training.
    """

    rows: np.ndarray
    X: np.ndarray
    y: np.ndarray
    outputs: np.ndarray
    score: float
    error: float
    baseline: float


@dataclass(frozen=True)
class Training:
    """What came out of a training.

    Attributes:
        model: the net that was trained, and the columns with means of the training data.
        cells: the rows that were used.
        best_epoch: the epoch whose weights the net has, from 1; 0 if none was finished.
        parts: training, validation and test.
    """

    model: TableModel
    cells: Cells
    settings: Settings
    history: History
    best_epoch: int
    parts: dict[str, Part]


def train(cells: Cells, columns: Columns, settings: Settings, progress: bool = True) -> Training:
    """Trains a net on 70 % of the rows, until 15 % others say that it gets no better.

    The net and the means for missing values know the training data alone. Targets that are numbers
    are standardised for the training; afterwards the last layer says them in their own unit.

    Raises:
        ValueError: too few rows, or too few of a class; a target whose range overflows; a net of
            more than ten million parameters.
        TrainingDiverged: the learning rate is too high.
    """
    X, y = columns.X(cells, filled=False), columns.y(cells)
    _refuse_few(cells, columns, y)
    _refuse_large(cells, columns, y, settings)
    rng = np.random.default_rng(settings.seed)
    split = data.split(np.arange(len(y)), stratify=y if columns.classes else None, rng=rng)
    rows = dict(zip(PARTS, (part[0] for part in split), strict=True))
    if columns.missing == MEAN:
        columns = columns.with_means(X[rows["training"]])
    X = columns.filled(X)
    model = TableModel(columns, settings.hidden, settings.activation, rng)
    model.scaling.fit(X[rows["training"]])
    history, best = _fitted(model, X, y, rows, settings, rng, progress)
    return Training(
        model,
        cells,
        settings,
        history,
        best,
        {name: _part(model, X, y, rows[name], y[rows["training"]]) for name in PARTS},
    )


def _refuse_few(cells: Cells, columns: Columns, y: np.ndarray) -> None:
    if len(y) < FEWEST_ROWS:
        raise ValueError(
            f"{cells.path} has {len(y)} rows that can be used; at least {FEWEST_ROWS} are needed "
            f"to train, validate and test"
        )
    is_number = columns.target.kind == NUMBER
    numbers = f"; or predict the number with task={REGRESSION!r}" if is_number else ""
    for label, count in (
        zip(columns.classes, np.bincount(y), strict=True) if columns.classes else ()
    ):
        if count < FEWEST_OF_CLASS:
            raise ValueError(
                f"{cells.path}: class {label!r:.60} has {count} of the rows; at least "
                f"{FEWEST_OF_CLASS} are needed to train, validate and test: add some, or take "
                f"these out{numbers}"
            )


def _refuse_large(cells: Cells, columns: Columns, y: np.ndarray, settings: Settings) -> None:
    with np.errstate(over="ignore"):
        if not np.isfinite(y.max() - y.min()):
            raise ValueError(
                f"{cells.path}, column {columns.target.name!r:.60}: from {y.min():g} to "
                f"{y.max():g} is more than 64-bit numbers hold: choose a larger unit"
            )
    sizes = len(columns.names), *settings.hidden, max(1, len(columns.classes))
    count = sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(sizes))
    if count > MOST_PARAMETERS:
        raise ValueError(
            f"a net of {'-'.join(map(str, sizes))} units has {count:,} parameters; up to "
            f"{MOST_PARAMETERS:,} are trained: choose fewer hidden units"
        )


def _fitted(
    model: TableModel,
    X: np.ndarray,
    y: np.ndarray,
    rows: dict[str, np.ndarray],
    settings: Settings,
    rng: np.random.Generator,
    progress: bool,
) -> tuple[History, int]:
    """Trains the net; returns what happened, and the epoch whose weights it has now."""
    unit = Standardize(1)
    if not model.classifies:
        unit.fit(y[rows["training"], None])
        y = unit(y[:, None]).data
    trained, checked = rows["training"], rows["validation"]
    stopping = EarlyStopping(settings.patience)
    trainer = Trainer(
        model.net,
        optim.Adam(model.net.parameters(), settings.lr),
        neural.cross_entropy if model.classifies else neural.mse,
        l2=settings.l2,
        callbacks=[stopping],
        rng=rng,
    )
    history = trainer.fit(
        X[trained],
        y[trained],
        settings.epochs,
        settings.batch_size,
        validation=(X[checked], y[checked]),
        progress=progress,
    )
    if not model.classifies:
        last = model.mlp[-1]
        assert isinstance(last, Linear)
        last.W.data = last.W.data * unit.scale.data
        last.b.data = last.b.data * unit.scale.data + unit.mean.data
    return history, stopping.best_epoch


def _part(
    model: TableModel, X: np.ndarray, y: np.ndarray, rows: np.ndarray, y_training: np.ndarray
) -> Part:
    X, y = X[rows], y[rows]
    outputs = model.outputs(X)
    if model.classifies:
        error = float(np.mean(outputs.argmax(axis=1) != y))
        baseline = float(np.mean(np.bincount(y_training).argmax() != y))
    else:
        error, baseline = root_mean_square(y - outputs), root_mean_square(y - y_training.mean())
    return Part(rows, X, y, outputs, model.score(X, y), error, baseline)
