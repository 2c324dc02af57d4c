"""A net together with the columns that it reads, in one file."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_edu import nn
from tinygrad_edu.calculus import neural
from tinygrad_edu.data import Rng
from tinygrad_edu.data.cells import Cells, read_cells
from tinygrad_edu.data.columns import CLASSIFICATION, Columns
from tinygrad_edu.interop.arrays import read_arrays
from tinygrad_edu.interop.models import save
from tinygrad_edu.nn import evaluating
from tinygrad_edu.recording import no_grad
from tinygrad_edu.tensor import plain

__all__ = ["TableModel", "root_mean_square"]

_KEY = "tinygrad_edu.tables"


def root_mean_square(values: np.ndarray) -> float:
    """sqrt(mean(values**2)), of numbers of any size."""
    unit = float(np.abs(values).max()) or 1.0
    return unit * float(np.sqrt(np.mean(np.square(values / unit))))


class TableModel:
    """A net that standardises the inputs of a table and predicts its target.

    What the command `train` has written is one: `TableModel.load("flats.npz")`.

    Attributes:
        columns: how the table becomes arrays.
        scaling, mlp: what standardises the inputs, and what follows.
        net: both; its outputs are logits of the classes, or the number.
        hidden, activation: the net's hidden layers.
    """

    def __init__(
        self, columns: Columns, hidden: Sequence[int], activation: str = "relu", rng: Rng = None
    ):
        self.columns, self.hidden, self.activation = columns, tuple(hidden), activation
        n_in, n_out = len(columns.names), max(1, len(columns.classes))
        self.scaling = nn.Standardize(n_in)
        self.mlp = nn.MLP((n_in, *self.hidden, n_out), activation, rng=rng)
        self.net = nn.Sequential(self.scaling, self.mlp)

    @property
    def classifies(self) -> bool:
        """Whether it predicts classes."""
        return self.columns.task == CLASSIFICATION

    def outputs(self, X: np.ndarray) -> np.ndarray:
        """The probabilities of the classes (n, classes), or the numbers (n,).

        They are not finite for inputs so far from those of the training that they overflow.
        """
        with no_grad(), evaluating(self.net), np.errstate(over="ignore", invalid="ignore"):
            outputs = plain(self.net(X))
        return neural.softmax(outputs) if self.classifies else outputs[:, 0]

    def of_table(self, cells: Cells) -> tuple[np.ndarray, np.ndarray]:
        """The inputs of a table and the outputs for them, all finite.

        Raises:
            ValueError: see `predict`.
        """
        X = self.columns.X(cells)
        outputs = self.outputs(X)
        finite = np.isfinite(outputs.reshape(len(X), -1)).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"{cells.path}, line {cells.lines[np.argmin(finite)]}: the numbers are too large "
                f"for the model, which was trained with much smaller ones"
            )
        return X, outputs

    def predict(
        self, path: str | os.PathLike[str], separator: str | None = None, encoding: str = "utf-8"
    ) -> np.ndarray:
        """What it says of the rows of a CSV file: their classes as texts, or numbers; shape (n,).

        The file is read as by `Columns.read`, and need not have the target.

        Raises:
            ValueError: the file does not have the columns of the training, or values that they do
                not have; or its numbers are too large for the net.
            OSError: there is no such file, or it cannot be read.

        Example:
            >>> import pathlib, tempfile
            >>> folder = pathlib.Path(tempfile.mkdtemp())
            >>> _ = (folder / "a.csv").write_text("x,y\\n" + "1,no\\n2,no\\n8,yes\\n9,yes\\n" * 9)
            >>> _ = (folder / "b.csv").write_text("x\\n8.5\\n1.5\\n")
            >>> from tinygrad_edu.data.cells import read_cells
            >>> from tinygrad_edu.data.tables import learned
            >>> from tinygrad_edu.tables.training import Settings, train
            >>> columns, cells = learned(read_cells(folder / "a.csv"), target="y")
            >>> train(cells, columns, Settings(), progress=False).model.save(folder / "a.npz")

            The last three lines are what `tinygrad-edu train a.csv --target y` does.

            >>> from tinygrad_edu.tables import TableModel
            >>> TableModel.load(folder / "a.npz").predict(folder / "b.csv")
            array(['yes', 'no'], dtype='<U3')
        """
        _, outputs = self.of_table(read_cells(path, separator, encoding))
        if self.classifies:
            return np.array(self.columns.classes)[outputs.argmax(axis=1)]
        return outputs

    def score(self, X: np.ndarray, y: np.ndarray) -> float:
        """The share of right classes, or R^2 = 1 - sum((y - p)^2) / sum((y - mean)^2)."""
        outputs = self.outputs(X)
        if self.classifies:
            return float(np.mean(outputs.argmax(axis=1) == y))
        deviation, rest = root_mean_square(y - y.mean()), root_mean_square(y - outputs)
        return 1 - (rest / deviation) ** 2 if deviation else float(rest == 0)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it into one file; see `tg.save`."""
        about = {
            "columns": self.columns.to_dict(),
            "hidden": self.hidden,
            "activation": self.activation,
        }
        save(self.net, path, {_KEY: about})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TableModel:
        """The model in a file.

        Raises:
            ValueError: the file holds no such model, or is damaged.
            OSError: there is no such file, or it cannot be read.
        """
        arrays, about = read_arrays(path)
        if _KEY not in about:
            raise ValueError(f"{path} is not a model that was trained with a table")
        try:
            return cls._of(about[_KEY], arrays)
        except (KeyError, TypeError, ValueError) as error:
            reason = error.args[0] if error.args else type(error).__name__
            raise ValueError(f"{path} is not a model of a table: {reason}") from error

    @classmethod
    def _of(cls, told: Any, arrays: dict[str, np.ndarray]) -> TableModel:
        columns = Columns.from_dict(told["columns"])
        hidden, activation = told["hidden"], told["activation"]
        sizes = [len(columns.names), *hidden, max(1, len(columns.classes))]
        # Before a net of these sizes is made: they may be any.
        for i, shape in enumerate(itertools.pairwise(sizes)):
            found = arrays[f"layers.1.layers.{2 * i}.W"].shape
            if found != shape:
                raise ValueError(f"its layer {i + 1} has shape {found} instead of {shape}")
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise ValueError("its numbers are not all finite")
        if not (arrays["layers.0.scale"] > 0).all():
            raise ValueError("its scales are not all above 0")
        model = cls(columns, hidden, activation, rng=0)
        model.net.load_state_dict(arrays)
        return model
