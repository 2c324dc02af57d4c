"""What is in a net: its weights, and what its layers put out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_edu import nn
from tinygrad_edu.calculus import neural
from tinygrad_edu.data import finite_numbers
from tinygrad_edu.recording import no_grad
from tinygrad_edu.style import COLOUR_MAP, COLOURS, labelled, one_for_each
from tinygrad_edu.tensor import plain
from tinygrad_edu.trainer import Trainer

BINS = 50
BOUNDS = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
# How near to a bound, as a share of 1, an output counts as saturated.
NEAR = 0.01
_FUNCTIONS = (
    (neural.relu, "relu"),
    (neural.sigmoid, "sigmoid"),
    (neural.tanh, "tanh"),
    (np.tanh, "tanh"),
)


def activations(model: Any, X: Any, axes: Any = None) -> list[Any]:
    """Draws a histogram of what each hidden layer puts out for some data; returns the axes.

    A layer is a `nn.Linear` and all up to the next one; a last one without an activation, the
    logits, is left out. The title names the activation and, of relu, the share of zeros (they are
    left out of the bars, which would be too low to be seen beside them), of sigmoid and tanh the
    share of saturated outputs, which lie within 0.01 of a bound, where hardly any gradient comes
    through. Layers of the same activation have the same limits across.

    Args:
        model: a `nn.MLP` or `nn.Sequential`, also of such, or the `Trainer` of one.
        X: rows of finite numbers that the model takes.
        axes: matplotlib axes, one for each layer; by default new ones.

    Raises:
        TypeError: a model whose layers do not follow one another.
        ValueError: no hidden layer, no rows, NaN in X or in what a layer puts out, or another
            number of axes.

    Example:
        >>> import tinygrad_edu as tg
        >>> X, y = tg.data.spiral(rng=0)
        >>> axes = activations(tg.nn.MLP((2, 50, 50, 3), "sigmoid", init=1.0, rng=0), 10 * X)
        >>> for ax in axes:
        ...     print(ax.get_title())
        layer 1, sigmoid
        32.1 % saturated
        layer 2, sigmoid
        28.7 % saturated
    """
    outputs = _outputs(model.model if isinstance(model, Trainer) else model, X)
    axes = one_for_each([f"layer {number}" for number, _, _ in outputs], axes)
    limits = {kind: _limits(kind, outputs) for _, kind, _ in outputs}
    for ax, (number, kind, values) in zip(axes, outputs, strict=True):
        title, xlabel, shown = f"layer {number}, {kind}", "output", values
        if kind == "relu":
            shown = values[values != 0]
            title += f"\n{_percent(values == 0)} zeros"
            xlabel = "output above 0"
        elif kind in BOUNDS:
            low, high = BOUNDS[kind]
            saturated = (values <= low + NEAR) | (values >= high - NEAR)
            title += f"\n{_percent(saturated)} saturated"
        low, high = limits[kind]
        counts, edges = np.histogram(shown, BINS, (low, high))
        labelled(ax, title, xlabel, "share of outputs")
        ax.stairs(counts / values.size, edges, fill=True, color=COLOURS[0])
        margin = 0.03 * (high - low)
        ax.set_xlim(low - margin, high + margin)
        ax.grid(alpha=0.25)
    return axes


def _percent(mask: np.ndarray) -> str:
    """The share of what is true."""
    return f"{100 * mask.mean():.3g} %"


def _limits(kind: str, outputs: list[tuple[int, str, np.ndarray]]) -> tuple[float, float]:
    """The least and the largest output that layers of this kind can have or have."""
    if kind in BOUNDS:
        return BOUNDS[kind]
    of_kind = [values for _, other, values in outputs if other == kind]
    low = 0.0 if kind == "relu" else float(min(values.min() for values in of_kind))
    high = float(max(values.max() for values in of_kind))
    return (low, high) if high > low else (low, low + 1.0)


def _outputs(model: Any, X: Any) -> list[tuple[int, str, np.ndarray]]:
    """The number of each layer, the name of what its outputs come from, and the outputs."""
    steps = list(_in_order(model))
    linear = [i for i, step in enumerate(steps) if isinstance(step, nn.Linear)]
    ends = [i - 1 for i in linear[1:]]
    if linear and not isinstance(steps[-1], nn.Linear):
        ends.append(len(steps) - 1)
    if not ends:
        raise ValueError(f"the model has no hidden layer, which is drawn here:\n{model!r}")
    X = finite_numbers(X, "X", steps[linear[0]].W.dtype)
    if X.ndim < 2 or len(X) == 0:
        raise ValueError(f"X must have one row for each sample, got shape {X.shape}")
    found: list[tuple[int, str, np.ndarray]] = []
    with no_grad(), nn.evaluating(model):
        for i, step in enumerate(steps[: ends[-1] + 1]):
            X = step(X)
            if i in ends:
                number, values = len(found) + 1, plain(X).ravel()
                if not np.isfinite(values).all():
                    raise ValueError(f"layer {number} puts out NaN or infinite numbers")
                found.append((number, _kind(step), values))
    return found


def _in_order(model: Any) -> Iterator[Any]:
    """The modules in the order in which they run, but for dropout, which passes on all here."""
    if not isinstance(model, nn.Sequential) or type(model).forward is not nn.Sequential.forward:
        raise TypeError(
            f"the layers are known of an nn.MLP or nn.Sequential, which calls one after another; "
            f"got {type(model)}"
        )
    for layer in model:
        if isinstance(layer, nn.Sequential):
            yield from _in_order(layer)
        elif not isinstance(layer, nn.Dropout):
            yield layer


def _kind(step: Any) -> str:
    """The activation by its name, as "relu"."""
    if isinstance(step, nn.Linear):
        return "maxout" if isinstance(step, nn.Maxout) else "linear"
    for name, kind in nn.ACTIVATIONS.items():
        if type(step) is kind:
            return name
    for function, name in _FUNCTIONS:
        if step is function:
            return name
    return type(step).__name__


def weights(model: Any, axes: Any = None) -> list[Any]:
    """Draws every weight matrix as a heat map, all on one scale around 0; returns the axes.

    The bias of a `nn.Linear` lies as a band below its matrix, since both have a column for each
    output unit. The colours go from dark to light, so that 0 is in the middle in grey too.

    Args:
        model: any `nn.Module`, or the `Trainer` of one.
        axes: matplotlib axes of one figure, one for each matrix; by default new ones.

    Raises:
        TypeError: something that is no module.
        ValueError: no weight matrix, NaN in a weight, or another number of axes.

    Example:
        >>> import tinygrad_edu as tg
        >>> for ax in weights(tg.nn.MLP((2, 50, 3), rng=0)):
        ...     print(ax.get_title(), ax.get_xlabel(), ax.get_ylabel(), sep=", ")
        W1 (2, 50), output unit, input unit
        W2 (50, 3), output unit, input unit
    """
    model = model.model if isinstance(model, Trainer) else model
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a tg.nn.Module or its Trainer, got {model!r:.60}")
    matrices = nn.named_weights(model)
    if not matrices:
        raise ValueError(f"the model has no weight matrix:\n{model!r}")
    biases = {id(m.W): m.b for _, m in model.named_modules() if isinstance(m, nn.Linear)}
    arrays = {
        name: (W.data, biases[id(W)].data if id(W) in biases else None)
        for name, W in matrices.items()
    }
    for name, pair in arrays.items():
        if not all(np.isfinite(array).all() for array in pair if array is not None):
            raise ValueError(f"{name} or its bias holds NaN or infinite numbers")
    largest = max(float(np.abs(a).max()) for pair in arrays.values() for a in pair if a is not None)
    look: dict[str, Any] = {"cmap": COLOUR_MAP, "aspect": "auto", "interpolation": "nearest"}
    look |= {"vmin": -(largest or 1.0), "vmax": largest or 1.0}
    axes = one_for_each(list(arrays), axes)
    for ax, (name, (W, b)) in zip(axes, arrays.items(), strict=True):
        _draw_matrix(ax, name, W, b, look)
    axes[0].figure.colorbar(axes[0].images[0], ax=axes, label="weight")
    return axes


def _draw_matrix(ax: Any, name: str, W: np.ndarray, b: np.ndarray | None, look: Any) -> None:
    n_in, n_out = W.shape
    labelled(ax, f"{name} {W.shape}", "output unit", "input unit")
    ax.imshow(W, **look)
    rows = _some_units(n_in, 4)
    ax.set_xticks(_some_units(n_out, 5))
    ax.set_yticks(rows)
    if b is None:
        return
    # Wide enough to be seen beside many rows.
    height = max(0.08 * n_in, 0.25)
    top = n_in - 0.5 + height / 2
    ax.imshow(b[None], extent=(-0.5, n_out - 0.5, top + height, top), **look)
    ax.set_ylim(top + height, -0.5)
    ax.set_facecolor("white")
    ax.set_yticks([*rows, top + height / 2], [*map(str, rows), "bias"])


def _some_units(n: int, intervals: int) -> list[int]:
    """The numbers of some units out of n, at round steps from the first."""
    from matplotlib.ticker import MaxNLocator

    if n == 1:
        return [0]
    ticks = MaxNLocator(intervals, integer=True).tick_values(0, n - 1)
    return [int(unit) for unit in ticks if unit < n]
