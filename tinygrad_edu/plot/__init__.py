"""Pictures of training, drawn with matplotlib into axes that are given or made.

    plot.losses(history), plot.curves(series)        lines over the steps
    plot.scatter(X, y), plot.decision_regions(...)   points in the plane, and what is said of them
    plot.BoundaryMovie(X, y)                         the same as a movie of the training
    plot.activations(net, X), plot.weights(net)      what is in a net

One style, readable in grey: see `tinygrad_edu/style.py`.
"""

from tinygrad_edu.plot.lines import curves, losses, nonlinearities
from tinygrad_edu.plot.movie import BoundaryMovie
from tinygrad_edu.plot.nets import activations, weights
from tinygrad_edu.plot.regions import decision_regions, scatter
from tinygrad_edu.style import save

__all__ = [
    "BoundaryMovie",
    "activations",
    "curves",
    "decision_regions",
    "losses",
    "nonlinearities",
    "save",
    "scatter",
    "weights",
]
