"""The decision regions as a movie of the training."""

from __future__ import annotations

import html
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygrad_edu.data import finite_numbers
from tinygrad_edu.files import as_a_whole
from tinygrad_edu.nn import Module
from tinygrad_edu.plot.regions import (
    Grid,
    ask,
    checked_points,
    classes_of,
    draw_points,
    draw_regions,
)
from tinygrad_edu.recording import no_grad
from tinygrad_edu.style import labelled, pyplot
from tinygrad_edu.trainer import Callback, History, Trainer

SUFFIXES = (".gif", ".html")
# What stands on the buttons of matplotlib's player, by its names for them.
SIGNS = {
    "fa-minus": "&minus;",
    "fa-fast-backward": "|&#9664;&#9664;",
    "fa-step-backward": "|&#9664;",
    "fa-play fa-flip-horizontal": "&#9664;",
    "fa-pause": "&#10074;&#10074;",
    "fa-play": "&#9654;",
    "fa-step-forward": "&#9654;|",
    "fa-fast-forward": "&#9654;&#9654;|",
    "fa-plus": "+",
}


class Frame(NamedTuple):
    """The regions after so many steps, and the loss then."""

    step: int
    loss: float
    said: np.ndarray


class BoundaryMovie(Callback):
    """Notes the decision regions while a net learns, and makes a movie of them.

    Give it to a `Trainer` as a callback; several fits go on in the same movie, also by another
    Trainer of the same model, and Ctrl-C leaves what there was. Each frame shows what
    `plot.decision_regions` shows, with the number of steps taken, and the loss of the model on
    these data just then, L2 penalty included.

    The first frame is the model as it was before the first step, the others follow after every
    `every` steps. Whenever there would be more than `frames` of them, every second one is dropped
    and `every` is doubled, so that a movie of any training is about as long.

    Args:
        X: (n, 2), the points to show; as a rule those that the net learns.
        y: what the loss compares the outputs with, here one class for each row: whole numbers (n,)
            for `tg.cross_entropy`, 0 and 1 (n, 1) for `tg.binary_cross_entropy`.
        every: how many steps there are between two frames at first.
        frames: the largest number of frames.
        steps: how many points the model is asked for across and up.

    Attributes:
        noted: the frames: tuples of the number of steps, the loss, and what the model said.

    Raises:
        ValueError, TypeError: data as in `plot.scatter`, or numbers that are no such counts; while
            training, if the movie is of another model.
        ModuleNotFoundError: matplotlib is missing; the extra `plot` brings it.

    Example:
        >>> import tinygrad_edu as tg
        >>> X, y = tg.data.spiral(rng=0)
        >>> movie = tg.plot.BoundaryMovie(X, y, every=5)
        >>> net = tg.nn.MLP((2, 16, 3), rng=0)
        >>> trainer = tg.Trainer(net, tg.optim.Adam(net.parameters()), callbacks=[movie])
        >>> history = trainer.fit(X, y, epochs=100, progress=False)
        >>> movie
        <movie of 21 frames, steps 0 to 100>
        >>> movie.save("boundary.mp4")
        Traceback (most recent call last):
        ...
        ValueError: a movie can be saved as .gif or .html, not as '.mp4' (boundary.mp4)
    """

    def __init__(self, X: Any, y: Any, every: int = 1, frames: int = 100, steps: int = 200):
        pyplot()  # better missing now than after the training
        for name, value, least in (("every", every, 1), ("frames", frames, 2)):
            if not isinstance(value, (int, np.integer)) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, got {value}")
        self._points = checked_points(X, y)
        self._y = finite_numbers(y, "y")
        self._grid = Grid.around(self._points[0], steps)
        self.every, self.frames = int(every), int(frames)
        self.noted: list[Frame] = []
        self._model: Module | None = None
        self._history: History | None = None
        self._before = self._step = 0

    def on_gradients(self, trainer: Trainer) -> None:
        """Notes the model as it was at first."""
        done = len(trainer.history) - 1
        if not self.noted:
            self._model, self._history = trainer.model, trainer.history
            self._before, self._step = 0, done
            self._note(trainer)
        elif self._model is not trainer.model:
            raise ValueError(
                f"this movie shows another model, up to step {self._step}; make a new "
                f"BoundaryMovie(X, y) for this one"
            )
        elif self._history is not trainer.history:
            # Another trainer has a history of its own, whose steps come after those so far.
            self._history, self._before = trainer.history, self._step - done

    def on_step_end(self, trainer: Trainer) -> None:
        """Notes the model if it is time."""
        self._step = self._before + len(trainer.history)
        if self.noted and (self._step - self.noted[0].step) % self.every == 0:
            self._note(trainer)

    def _note(self, trainer: Trainer) -> None:
        X, y = self._points
        dtype = trainer.optimizer.params[0].dtype
        targets = self._y.astype(dtype) if self._y.dtype.kind == "f" else self._y
        with no_grad():
            loss = trainer.objective(X.astype(dtype), targets).item()
        try:
            said = ask(trainer, self._grid.rows(), y)
        except FloatingPointError:
            return  # the trainer knows better what to say of a training that diverges
        self.noted.append(Frame(self._step, loss, _small(said)))
        if len(self.noted) > self.frames:
            self.noted = self.noted[::2]
            self.every *= 2

    def __len__(self) -> int:
        return len(self.noted)

    def __repr__(self) -> str:
        if not self.noted:
            return "<movie without frames>"
        steps = f"steps {self.noted[0].step} to {self.noted[-1].step}"
        return f"<movie of {len(self)} frames, {steps}>"

    def save(self, path: Any, fps: float = 10) -> None:
        """Writes the movie to a file; an older one is replaced when all is done, or left alone.

        Args:
            path: `*.gif`, or `*.html` for a page with buttons that needs nothing else.
            fps: how many frames are shown in a second.

        Raises:
            ValueError: another suffix, no frames yet, or `fps` that is not above 0.
            FileNotFoundError: there is no such folder.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise ValueError(
                f"a movie can be saved as {' or '.join(SUFFIXES)}, not as {path.suffix!r} ({path})"
            )
        if not 0 < fps <= 100:
            raise ValueError(f"fps must be a number above 0 and at most 100, got {fps}")
        with as_a_whole(path) as unfinished:
            animation = self._animation(fps, last_for=1.0 if suffix == ".gif" else 0.0)
            if suffix == ".gif":
                animation.save(unfinished, "pillow", fps)
            else:
                page = _page(path.stem, _player(animation))
                unfinished.write_text(page, encoding="utf-8")

    def _repr_html_(self) -> str | None:
        return _player(self._animation(10)) if self.noted else None

    def _animation(self, fps: float, last_for: float = 0.0) -> Any:
        """matplotlib's animation of the frames; the last one stays for some seconds."""
        if not self.noted:
            raise ValueError(
                "the movie has no frames yet: give it to a Trainer, callbacks=[movie], and fit"
            )
        from matplotlib.animation import FuncAnimation
        from matplotlib.figure import Figure

        X, y = self._points
        classes = classes_of([frame.said for frame in self.noted], y)
        figure = Figure(figsize=(5, 4.5), dpi=80, layout="constrained")
        ax = figure.add_subplot()
        # Neither the legend nor the axes jump from frame to frame.
        labelled(ax, "step", "$x_1$", "$x_2$")
        by_class = self.noted[0].said.dtype.kind != "f"
        draw_points(X, y, classes, ax, "upper right", by_class)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        behind: list[Any] = []

        def draw(number: int) -> list[Any]:
            frame = self.noted[number]
            for artist in behind:
                artist.remove()
            behind[:] = draw_regions(ax, self._grid, frame.said, classes)
            ax.set_title(f"step {frame.step:,}, loss {frame.loss:.4f}")
            return behind

        numbers = [*range(len(self)), *[len(self) - 1] * round(last_for * fps)]
        return FuncAnimation(
            figure, draw, numbers, init_func=list, interval=1000 / fps, repeat=True
        )


def _small(said: np.ndarray) -> np.ndarray:
    """The same in fewer bytes, since there are many of them."""
    if said.dtype.kind == "f":
        return said.astype(np.float32)
    ends = (np.min_scalar_type(int(end)) for end in (said.min(), said.max()))
    return said.astype(np.result_type(*ends))


def _page(title: str, player: str) -> str:
    head = f'<meta charset="utf-8">\n<title>{html.escape(title)}</title>'
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{player}</body>\n'
        f"</html>\n"
    )


def _player(animation: Any) -> str:
    """matplotlib's player as HTML that loads nothing."""
    import matplotlib

    # Beyond its limit matplotlib leaves frames out and only logs that it does.
    with matplotlib.rc_context({"animation.embed_limit": math.inf}):
        text = animation.to_jshtml()
    # Its buttons are letters of a font that the browser would fetch from a server.
    text = re.sub(r"<link[^>]*>", "", text)
    return re.sub(r'<i class="fa ([^"]+)"></i>', lambda found: SIGNS.get(found[1], ""), text)
