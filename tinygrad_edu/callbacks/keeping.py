"""What is kept of a training in files: checkpoints, and a table of its epochs."""

from __future__ import annotations

import bisect
import logging
import math
import os
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_edu import checkpoint
from tinygrad_edu.callbacks.stopping import Best
from tinygrad_edu.files import as_a_whole
from tinygrad_edu.interop.arrays import write_arrays
from tinygrad_edu.nn.layers import at_least_1
from tinygrad_edu.optim.optimizer import number
from tinygrad_edu.trainer import Callback, History, Trainer

__all__ = ["CSVLog", "Checkpoint"]

# Without other wishes a checkpoint is written after so many seconds, and so many times as long as
# it takes to write one.
_SECONDS, _RATIO = 10.0, 20.0

State = tuple[dict[str, np.ndarray], dict[str, Any]]


class Checkpoint(Callback):
    """Keeps a training in a file, from which `trainer.resume(path)` goes on to the last bit.

    Two files are kept: `run.npz` has the newest state, and `run.best.npz` the Tensors of the model
    at the end of its best epoch, by the validation loss, or without validation by the mean loss of
    the epoch; `tg.load_into(net, "run.best.npz")` reads it. Each is replaced as a whole, so that
    there is a readable one at any moment. The state is that before the first step, then every so
    often one between two steps, and at last that after the last step, also of a training that was
    stopped or interrupted by Ctrl-C. It is written when the next loss has turned out to be finite,
    so that of a training that diverges the last state before stays.

    A script that may be killed at any moment and started again needs no more than

        trainer = tg.Trainer(net, adam, callbacks=[tg.Checkpoint("run.npz")], rng=0)
        trainer.fit(X, y, epochs=20, resume=True)

    Where several of these are given, it is time as soon as one of them has passed since the last:

    Args:
        path: a name that ends in ".npz" or ".safetensors".
        every: write after so many epochs.
        every_steps: write after so many steps, also within an epoch.
        every_seconds: write after so many seconds. Without any of the three: every 10 seconds, or
            less often if writing would take more than a twentieth of the time.
        best: whether to keep the best epoch, too.
        overwrite: whether to replace the file of another training, which this one does not go on
            with.

    Raises:
        ValueError: another ending, or an `every` that is not a number above 0; before the first
            step, if another Checkpoint of the trainer would write one of the same files.
        FileExistsError: before the first step, if there is a file of another training.
        OSError: while training, if a file cannot be written.

    Example:
        >>> import os, tempfile
        >>> import tinygrad_edu as tg
        >>> path = os.path.join(tempfile.mkdtemp(), "run.npz")
        >>> X, y = tg.data.spiral(rng=0)
        >>> net = tg.nn.MLP((2, 8, 3), rng=0)
        >>> adam = tg.optim.Adam(net.parameters(), lr=0.01)
        >>> trainer = tg.Trainer(net, adam, callbacks=[tg.Checkpoint(path, every=5)], rng=0)
        >>> history = trainer.fit(X, y, epochs=10, batch_size=50, progress=False, resume=True)
        >>> sorted(os.listdir(os.path.dirname(path)))
        ['run.best.npz', 'run.npz']
    """

    leaves_tensors_alone = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        every: int | None = None,
        every_steps: int | None = None,
        every_seconds: float | None = None,
        best: bool = True,
        overwrite: bool = False,
    ):
        self.path = Path(path)
        if self.path.suffix.lower() not in (".npz", ".safetensors"):
            raise ValueError(f"the name of {path} must end in .safetensors or .npz")
        self.best_path = self.path.with_suffix(f".best{self.path.suffix}")
        self.every = None if every is None else at_least_1("every", every)
        self.every_steps = None if every_steps is None else at_least_1("every_steps", every_steps)
        if every_seconds is not None:
            every_seconds = number("every_seconds", every_seconds, "above 0")
        self.every_seconds = every_seconds
        self.overwrite = bool(overwrite)
        self._best = Best() if best else None
        self._history: History | None = None
        self._steps = self._epochs = -1
        self._goes_on = False
        self._ready: State | None = None
        self._time = self._pause = 0.0

    def on_fit_start(self, trainer: Trainer) -> None:
        """Makes sure that no other training is lost."""
        if self._history is trainer.history or not trainer.is_main:
            return
        all_of_them = [c for c in trainer.callbacks if isinstance(c, Checkpoint)]
        files = Counter(os.path.realpath(path) for c in all_of_them for path in c._paths())
        if max(files.values()) > 1:
            raise ValueError(
                f"several Checkpoints would write {max(files, key=lambda path: files[path])}: give "
                f"them other names, of which the files of the best epochs are made"
            )
        resumed = trainer.resumed_from is not None and (
            _same(trainer.resumed_from, self.path)
            or (self._goes_on and any(_same(trainer.resumed_from, c.path) for c in all_of_them))
        )
        for path in self._paths():
            if path.exists() and not self.overwrite and not resumed:
                raise FileExistsError(
                    f"{path} has the checkpoint of another training: go on with it by "
                    f"fit(..., resume=True) or trainer.resume(path), remove it, or allow "
                    f"Checkpoint(..., overwrite=True) to replace it"
                )
        self._history, self._steps = trainer.history, -1

    def _paths(self) -> list[Path]:
        return [self.path] if self._best is None else [self.path, self.best_path]

    def on_step_start(self, trainer: Trainer) -> None:
        """Takes a copy of the state, if it is time."""
        self._ready = None
        if trainer.is_main and self._is_due(trainer.history):
            self._ready = self._copied(trainer)

    def on_gradients(self, trainer: Trainer) -> None:
        """Writes that copy, now that the loss has turned out to be finite with it."""
        if self._ready is not None:
            self._write(self._ready)
            self._ready = None

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Keeps the best epoch in mind."""
        if self._best is not None and trainer.is_main:
            self._best.saw(trainer)

    def on_fit_end(self, trainer: Trainer) -> None:
        """Writes the state, if it is not there yet."""
        if trainer.is_main and len(trainer.history) != self._steps:
            ready = self._copied(trainer)
            if ready is not None:
                self._write(ready)

    def _is_due(self, history: History) -> bool:
        if self._steps < 0:
            return True
        if self.every and len(history.epoch_ends) - self._epochs >= self.every:
            return True
        if self.every_steps and len(history) - self._steps >= self.every_steps:
            return True
        seconds = self.every_seconds
        if seconds is None:
            if self.every or self.every_steps:
                return False
            seconds = self._pause
        return time.monotonic() - self._time >= seconds

    def _copied(self, trainer: Trainer) -> State | None:
        """What is to be written, or None if the training has gone out of range."""
        arrays, about = checkpoint.captured(trainer)
        trained = [p.data for p in trainer.optimizer.params]
        trained += [array for name, array in arrays.items() if name.startswith("optimizer.")]
        if all(np.isfinite(array).all() for array in trained):
            return arrays, about
        logging.getLogger("tinygrad_edu").warning(
            "no checkpoint is written after step %d: parameters, or what the optimiser remembers, "
            "are not finite",
            len(trainer.history),
        )
        return None

    def _write(self, state: State) -> None:
        start = time.monotonic()
        best = self._best
        # First the best one: if the program ends in between, the training goes on from before it
        # was found, and finds it again.
        if best is not None and best.weights:
            write_arrays(self.best_path, best.weights, {"epoch": best.epoch, "loss": best.loss})
            best.weights = {}
        write_arrays(self.path, *state)
        self._steps, self._epochs = (
            len(state[0][f"history.{of}"]) for of in ("loss", "epoch_ends")
        )
        self._time = time.monotonic()
        self._pause = max(_SECONDS, _RATIO * (self._time - start))

    def state_dict(self) -> dict[str, Any]:
        """The loss of the best epoch, and which it was."""
        best = self._best or Best()
        return {"loss": best.loss if best.epoch else None, "epoch": best.epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        if self._best is not None:
            best = Best()
            best.epoch = int(state["epoch"])
            best.loss = float(state["loss"]) if best.epoch else math.inf
            self._best = best
        self._steps, self._goes_on = -1, True


def _same(a: str, b: Path) -> bool:
    return os.path.realpath(a) == os.path.realpath(b)


class CSVLog(Callback):
    """Writes a line for each epoch into a CSV file, at once.

    The columns: `epoch`, from 1; `steps`, how many had been taken at its end; `lr`, the learning
    rate then; `loss`, the mean over its steps; `validation_loss` and `validation_score`, empty
    without validation. A training that is resumed goes on in its file: lines of epochs after the
    checkpoint are dropped, since these are trained again.

    Args:
        path: the file.
        overwrite: whether to replace a file with something else.

    Raises:
        FileExistsError: before the first step, if there is a file that is not the log of this very
            training.

    Example:
        >>> import os, tempfile
        >>> import tinygrad_edu as tg
        >>> path = os.path.join(tempfile.mkdtemp(), "log.csv")
        >>> X, y = tg.data.spiral(rng=0)
        >>> net = tg.nn.MLP((2, 8, 3), rng=0)
        >>> sgd = tg.optim.SGD(net.parameters(), lr=0.1)
        >>> history = tg.Trainer(net, sgd, callbacks=[CSVLog(path)]).fit(X, y, 2, progress=False)
        >>> for line in Path(path).read_text().splitlines():
        ...     print(line)
        epoch,steps,lr,loss,validation_loss,validation_score
        1,1,0.1,1.17...,,
        2,2,0.1,1.15...,,
    """

    leaves_tensors_alone = True
    COLUMNS = ("epoch", "steps", "lr", "loss", "validation_loss", "validation_score")

    def __init__(self, path: str | os.PathLike[str], overwrite: bool = False):
        self.path, self.overwrite = Path(path), bool(overwrite)
        self._history: History | None = None

    def on_fit_start(self, trainer: Trainer) -> None:
        """Begins the file, or finds the place in it where this training goes on."""
        history = trainer.history
        if not trainer.is_main or self._history is history:
            return
        kept = [",".join(self.COLUMNS)]
        if self.path.exists() and not self.overwrite:
            text = self.path.read_text(encoding="utf-8", errors="replace")
            goes_on = trainer.resumed_from is not None
            # The last line may have been cut by the end of the program.
            lines = text.split("\n")[:-1]
            rows = lines[1:]
            if lines[:1] != kept or (rows and not (goes_on and self._belong(rows, history))):
                raise FileExistsError(
                    f"{self.path} is not the log of this training: name another file, remove it, "
                    f"or allow CSVLog(..., overwrite=True) to replace it"
                )
            done = len(history.epoch_ends)
            kept += [line for line in rows if int(line.partition(",")[0]) <= done]
        with as_a_whole(self.path) as unfinished:
            unfinished.write_text("\n".join([*kept, ""]), encoding="utf-8")
        self._history = history

    def _belong(self, lines: list[str], history: History) -> bool:
        """Whether the lines are of the epochs of a history, as far as it goes."""
        before = 0
        for line in lines:
            cells = line.split(",")
            if len(cells) != len(self.COLUMNS) or not cells[0].isdecimal():
                return False
            epoch = int(cells[0])
            if epoch <= before or (before and epoch != before + 1):
                return False
            if epoch <= len(history.epoch_ends):
                own = self._cells(history, epoch)
                if [*own[:2], *own[3:]] != [*cells[:2], *cells[3:]]:
                    return False
            before = epoch
        return True

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Writes the line of the epoch."""
        if trainer.is_main:
            cells = self._cells(trainer.history, len(trainer.history.epoch_ends))
            cells[2] = repr(trainer.optimizer.lr)
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(f"{','.join(cells)}\n")

    def _cells(self, history: History, epoch: int) -> list[str]:
        """The line of an epoch, with nothing for the learning rate."""
        stop = history.epoch_ends[epoch - 1]
        cells = [epoch, stop, "", history.mean_loss(epoch), "", ""]
        i = bisect.bisect_left(history.validation_steps, stop)
        if history.validation_steps[i : i + 1] == [stop]:
            cells[4:] = history.validation_loss[i], history.validation_score[i]
        return list(map(str, cells))
