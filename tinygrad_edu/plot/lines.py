"""Lines over the steps of training, and the functions that a net is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_edu.calculus import neural
from tinygrad_edu.style import COLOURS, STYLES, labelled, pyplot

# Lines of at most so many points have a marker at each, without which a single one is not seen.
FEW = 30


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

    Example:
        >>> ax = curves({"fast": [4.0, 1.0, 0.5], "slow": [4.0, 3.0, 2.5]}, ylabel="loss")
        >>> [line.get_label() for line in ax.lines], ax.get_xlabel()
        (['fast', 'slow'], 'step')
    """
    ax = labelled(ax, title, "step", ylabel)
    for i, (label, values) in enumerate(series.items()):
        steps = range(0, len(values), every)
        ax.plot(
            steps,
            values[::every],
            STYLES[i % len(STYLES)],
            color=COLOURS[i % len(COLOURS)],
            label=label,
            linewidth=1.2,
            marker="." if len(steps) == 1 else None,
        )
    if logarithmic:
        ax.set_yscale("log")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False)
    ax.grid(alpha=0.25)
    return ax


def losses(history: Any, ax: Any = None, logarithmic: bool = False) -> Any:
    """Draws a `History`: the loss of every step and of the validation data; returns the axes.

    Where epochs have several steps, whose losses are those of minibatches, they are drawn pale, and
    a line through the mean of each epoch stands out. It lies in the middle of its epoch.

    Example:
        >>> import tinygrad_edu as tg
        >>> X, y = tg.data.spiral(rng=0)
        >>> net = tg.nn.MLP((2, 8, 3), rng=0)
        >>> trainer = tg.Trainer(net, tg.optim.Adam(net.parameters()), rng=0)
        >>> history = trainer.fit(X, y, 3, batch_size=50, validation=(X, y), progress=False)
        >>> [line.get_label() for line in losses(history).lines]
        ['training, each step', 'training, mean of an epoch', 'validation']
    """
    by_epoch = 1 < len(history.epoch_ends) < len(history)
    title = f"Loss (interrupted after step {len(history)})" if history.interrupted else "Loss"
    label = "training, each step" if by_epoch else "training"
    ax = curves({label: history.loss}, ax, title, "loss", logarithmic)
    if by_epoch:
        ax.lines[-1].set(alpha=0.4, linewidth=0.8)
        ends = np.array(history.epoch_ends)
        starts = np.array(history.epoch_starts[: len(ends)])
        means = [history.mean_loss(epoch) for epoch in range(1, len(ends) + 1)]
        _line_of_epochs(ax, (starts + ends - 1) / 2, means, 0, "training, mean of an epoch")
    if history.validation_loss:
        steps = np.array(history.validation_steps) - 1
        _line_of_epochs(ax, steps, history.validation_loss, 1, "validation")
    ax.legend(frameon=False)
    return ax


def _line_of_epochs(ax: Any, steps: Any, values: Any, look: int, label: str) -> None:
    marker = "os"[look] if len(steps) <= FEW else None
    ax.plot(
        steps,
        values,
        STYLES[look],
        color=COLOURS[look],
        label=label,
        linewidth=1.6,
        marker=marker,
        markersize=4,
    )


def nonlinearities(axes: Any = None) -> Any:
    """Draws sigmoid and relu beside their derivatives; returns the two axes."""
    if axes is None:
        axes = pyplot().figure(figsize=(9, 4), layout="constrained").subplots(1, 2)
    x = np.linspace(-6, 6, 601)
    s = neural.sigmoid(x)
    pairs = {"sigmoid": (s, s * (1 - s)), "relu": (neural.relu(x), (x > 0).astype(float))}
    for ax, (name, (y, slope)) in zip(axes, pairs.items(), strict=True):
        labelled(ax, name, "$x$", "")
        ax.plot(x, y, STYLES[0], color=COLOURS[0], label="function")
        ax.plot(x, slope, STYLES[1], color=COLOURS[1], label="derivative")
        ax.legend(frameon=False)
        ax.grid(alpha=0.25)
    return axes
