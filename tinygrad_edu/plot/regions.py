"""Points in the plane, and what a model says of all that lies around them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinygrad_edu.calculus import neural
from tinygrad_edu.data import finite_numbers
from tinygrad_edu.nn import Module, evaluating
from tinygrad_edu.recording import no_grad
from tinygrad_edu.style import COLOURS, MARKERS, labelled, pyplot, region_colours
from tinygrad_edu.tape import Tape
from tinygrad_edu.tensor import Tensor, plain
from tinygrad_edu.trainer import Trainer

# From here on two classes would have the same colour and the same marker.
MOST_CLASSES = len(COLOURS) * len(MARKERS)
# Of features whose spans differ by more than this factor, equal scales would leave a line.
MOST_UNEQUAL = 3


def scatter(X: Any, y: Any, ax: Any = None, title: str = "Data") -> Any:
    """Draws points of two features, one colour and marker for each class; returns the axes.

    Both axes have the same scale, unless one feature spans more than 3 times as much as the other.

    Args:
        X: (n, 2), finite numbers.
        y: (n,) or (n, 1), the class of each row: a whole number or a name.
        ax: matplotlib axes; by default new ones.
        title: what to write above them.

    Raises:
        ValueError, TypeError: X or y of another shape or with NaN, y with other numbers than whole
            ones or of more than 30 classes.

    Example:
        >>> ax = scatter([[0.0, 1.0], [2.0, 3.0]], [0, 1])
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['class 0', 'class 1']
    """
    X, y = checked_points(X, y)
    return draw_points(X, y, np.unique(y), labelled(ax, title, "$x_1$", "$x_2$"))


def decision_regions(
    predict: Any, X: Any, y: Any, ax: Any = None, title: str = "Decision regions", steps: int = 300
) -> Any:
    """Draws what a model says of each point around the data; returns the axes.

    For classes: a region of each, bounded by lines, which the legend shows behind the marker; in
    grey each has a lightness of its own. For the probability of class 1: shades, and lines where it
    is 0.1, 0.5 and 0.9; the one at 0.5, the decision boundary, is solid.

    Args:
        predict: a `Trainer`, a net, or a function of rows (n, 2) that returns for each its class,
            or as a number from 0 to 1 the probability of class 1; (n,) or (n, 1). A Trainer with
            `tg.binary_cross_entropy` gives the probability. Of a net (`tg.nn.Module`) with several
            outputs the largest one is the class; a single output is the logit of class 1, or its
            probability if the net ends in a sigmoid.
        X: (n, 2), finite numbers.
        y: (n,) or (n, 1), the class of each row: a whole number or a name.
        ax: matplotlib axes; by default new ones.
        title: what to write above them.
        steps: how many points the model is asked for across and up.

    Raises:
        ValueError, TypeError: data as in `scatter`, labels that do not go with what `predict`
            returns, or a `predict` that returns something else, such as scores.
        FloatingPointError: the outputs of a net are NaN or infinite.

    Example:
        >>> import tinygrad_edu as tg
        >>> X, y = tg.data.crossed_gaussians(200)
        >>> net = tg.nn.MLP((2, 8, 1), rng=0)
        >>> trainer = tg.Trainer(net, tg.optim.Adam(net.parameters()), tg.binary_cross_entropy)
        >>> history = trainer.fit(X, y[:, None], epochs=10, progress=False)
        >>> ax = decision_regions(trainer, X, y)
        >>> ax.get_title(), len(ax.collections)  # shades, lines, and the points of two classes
        ('Decision regions', 4)
    """
    pyplot()
    X, y = checked_points(X, y)
    grid = Grid.around(X, steps)
    said = ask(predict, grid.rows(), y)
    classes = classes_of([said], y)
    ax = labelled(ax, title, "$x_1$", "$x_2$")
    draw_points(X, y, classes, ax, regions=said.dtype.kind != "f")
    draw_regions(ax, grid, said, classes)
    return ax


class Grid(NamedTuple):
    """A grid of points over the data and a margin: its coordinates across and up."""

    across: np.ndarray
    up: np.ndarray

    @classmethod
    def around(cls, X: np.ndarray, steps: int) -> Grid:
        """The grid of `steps` times `steps` points."""
        if not isinstance(steps, (int, np.integer)) or steps < 2:
            raise ValueError(f"a grid has at least 2 points across and up, got {steps!r}")
        low, high = (np.asarray(edge, float) for edge in (X.min(axis=0), X.max(axis=0)))
        margin = np.where(high > low, 0.3 * (high - low), 1.0)
        return cls(*np.linspace(low - margin, high + margin, steps).T)

    def rows(self) -> np.ndarray:
        """The points (n, 2), row by row."""
        return np.column_stack([part.ravel() for part in np.meshgrid(self.across, self.up)])


def checked_points(X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """X (n, 2) and the classes (n,), or an error that says what is wrong with them."""
    X, y = finite_numbers(X, "X"), _as_classes(y, "y")
    if X.ndim != 2 or X.shape[1] != 2 or y.shape not in ((len(X),), (len(X), 1)):
        raise ValueError(f"X must be (n, 2) and y (n,), got {X.shape} and {y.shape}")
    if len(X) == 0:
        raise ValueError(f"X has no rows (shape {X.shape})")
    y = y.reshape(-1)
    if len(np.unique(y)) > MOST_CLASSES:
        raise ValueError(
            f"y holds {len(np.unique(y))} classes; there are colours and markers for "
            f"{MOST_CLASSES}. Are these numbers and not classes?"
        )
    return X, y


def _as_classes(values: Any, name: str) -> np.ndarray:
    """Names as they are, whole numbers as integers."""
    array = np.asarray(plain(values))
    if array.dtype == object and all(isinstance(value, str) for value in array.flat):
        array = array.astype(str)
    if array.dtype.kind == "U":
        return array
    array = finite_numbers(values, name)
    if array.dtype.kind == "f":
        broken = np.argwhere(array != np.round(array))
        if len(broken):
            at = tuple(broken[0].tolist())
            raise ValueError(
                f"{name} must hold classes, which are whole numbers or names; it holds "
                f"{array[at]} at {list(at)}"
            )
    return array.astype(int) if array.dtype.kind in "fb" else array


def ask(predict: Any, rows: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What `predict` says of each row: its class, or as a float the probability of class 1."""
    surely_probability = False
    if isinstance(predict, Trainer):
        dtype = predict.optimizer.params[0].dtype
        said = _outputs(predict.model, rows.astype(dtype))
        if predict.loss is neural.binary_cross_entropy:
            said, surely_probability = neural.sigmoid(said), True
        elif predict.loss is neural.cross_entropy:
            said = _most_likely(said, y)
    elif isinstance(predict, Module):
        dtype = next((p.dtype for p in predict.parameters()), rows.dtype)
        said = _outputs(predict, rows.astype(dtype))
        if said.shape[1:] not in ((), (1,)):
            said = _most_likely(said, y)
        else:
            surely_probability = True
            if not _ends_in_sigmoid(predict, rows[:1].astype(dtype)):
                said = neural.sigmoid(said)
    elif callable(predict):
        said = np.asarray(plain(predict(rows)))
    else:
        raise TypeError(
            f"predict must be a Trainer, a net or a function of rows, got {predict!r:.60}"
        )
    if said.shape not in ((len(rows),), (len(rows), 1)):
        raise ValueError(
            f"predict must return for each of {len(rows)} rows its class, or the probability of "
            f"class 1, got shape {said.shape}: of scores for several classes take "
            f".argmax(axis=1)"
        )
    said = said.reshape(-1)
    # A function that returns 0.0 and 1.0 alone says the same either way; a movie needs one of them.
    if not surely_probability and (said.dtype.kind != "f" or (said == np.round(said)).all()):
        said = _as_classes(said, "what predict returned")
        if (said.dtype.kind == "U") != (y.dtype.kind == "U"):
            raise ValueError(
                f"predict and y must both give numbers or both names: predict returned "
                f"{said[0]!r}, y holds {y[0]!r}"
            )
        return said
    wrong = ~((said >= 0) & (said <= 1))
    if wrong.any():
        raise ValueError(
            f"predict must return classes, or the probability of class 1 from 0 to 1; it returned "
            f"{said[wrong][0]} at {rows[wrong][0].tolist()}: of a logit take tg.sigmoid, of a "
            f"number what it decides, as in `lambda rows: f(rows) > 0.5`"
        )
    if not np.isin(y, (0, 1)).all():
        raise ValueError(
            f"predict returns the probability of class 1, so y must hold 0 and 1; it holds "
            f"{', '.join(map(str, np.unique(y)[:5]))}"
        )
    return said


def _outputs(model: Module, rows: np.ndarray) -> np.ndarray:
    with no_grad(), evaluating(model):
        outputs = np.asarray(plain(model(rows)))
    if not np.isfinite(outputs).all():
        raise FloatingPointError("the model's outputs are NaN or infinite around the data")
    return outputs


def _most_likely(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    if y.dtype.kind == "U" or y.min() < 0 or y.max() >= outputs.shape[-1]:
        raise ValueError(
            f"a model of {outputs.shape[-1]} outputs says classes 0 to {outputs.shape[-1] - 1}; y "
            f"holds {', '.join(map(str, np.unique(y)[[0, -1]]))}"
        )
    return outputs.argmax(axis=-1)


def _ends_in_sigmoid(model: Module, row: np.ndarray) -> bool:
    """Whether what the model says of a row comes from a sigmoid as it is, maybe in another shape.

    The sigmoid of that would be no probability.
    """
    with evaluating(model):
        said = model(Tensor(row, requires_grad=True))
    return (
        isinstance(said, Tensor)
        and said.requires_grad
        and any(
            entry.primitive is neural.sigmoid
            and np.array_equal(np.ravel(entry.y), np.ravel(plain(said)))
            for entry in Tape.of(said)
        )
    )


def classes_of(said: list[np.ndarray], y: np.ndarray) -> np.ndarray:
    """All classes, those that only the model knows included."""
    if said[0].dtype.kind == "f":
        return np.array([0, 1])
    return np.unique(np.concatenate([y, *(np.unique(each) for each in said)]))


def draw_points(
    X: np.ndarray,
    y: np.ndarray,
    classes: np.ndarray,
    ax: Any,
    legend: str = "best",
    regions: bool = False,
) -> Any:
    """Draws the points of each class, also of one without points, so that the legend has it.

    With `regions` the legend shows the colour of the region of each class, too.
    """
    from matplotlib.patches import Patch

    clouds = [
        ax.scatter(
            *X[y == label].T,
            s=22,
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)],
            edgecolors="black",
            linewidths=0.4,
            label=f"class {label}",
        )
        for i, label in enumerate(classes)
    ]
    handles: list[Any] = list(clouds)
    if regions:
        patches = [Patch(color=colour) for colour in region_colours(len(classes))]
        handles = list(zip(patches, clouds, strict=True))
    names = [cloud.get_label() for cloud in clouds]
    ax.legend(handles, names, loc=legend, frameon=True, fontsize="small")
    low, high = np.sort(np.ptp(X.astype(float), axis=0))
    ax.set_aspect("equal" if high <= MOST_UNEQUAL * low else "auto")
    return ax


def draw_regions(ax: Any, grid: Grid, said: np.ndarray, classes: np.ndarray) -> list[Any]:
    """Draws behind the points what was said of the points of the grid; returns what it drew."""
    across, up = grid
    ax.set(xlim=across[[0, -1]], ylim=up[[0, -1]])
    said = said.reshape(len(up), len(across))
    if said.dtype.kind == "f":
        return _draw_probability(ax, grid, said)
    regions = np.searchsorted(classes, said)
    edges = np.arange(len(classes) + 1) - 0.5
    colours = region_colours(len(classes))
    drawn = [ax.contourf(across, up, regions, levels=edges, colors=colours, zorder=0)]
    for i in np.unique(regions) if np.ptp(regions) else ():
        # Class by class: between 0 and 2 the levels 0.5 and 1.5 would both draw a line.
        line = {"colors": "black", "linewidths": 0.6, "zorder": 0}
        drawn.append(ax.contour(across, up, regions == i, levels=[0.5], **line))
    return drawn


def _draw_probability(ax: Any, grid: Grid, p: np.ndarray) -> list[Any]:
    from matplotlib.colors import LinearSegmentedColormap

    # Paler the less certain, so that grey shows that too.
    shades = LinearSegmentedColormap.from_list("", [COLOURS[0], "white", COLOURS[1]])
    levels = np.linspace(0, 1, 11)
    drawn = [ax.contourf(*grid, p, levels=levels, cmap=shades, alpha=0.45, zorder=0)]
    lines = {0.1: ("dotted", 0.8), 0.5: ("solid", 1.2), 0.9: ("dashed", 0.8)}
    shown = [level for level in lines if p.min() < level < p.max()]
    if shown:
        styles, widths = zip(*(lines[level] for level in shown), strict=True)
        look = {"linestyles": styles, "linewidths": widths, "colors": "black", "zorder": 0}
        drawn.append(ax.contour(*grid, p, levels=shown, **look))
        # They go when the lines are removed, and are to be read where points lie too.
        for text in ax.clabel(drawn[-1], fmt="%g", fontsize="x-small"):
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8})
            text.set_zorder(3)
    return drawn
