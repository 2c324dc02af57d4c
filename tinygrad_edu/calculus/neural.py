"""Activations and losses: operations of our own, with their derivatives.

All are plain NumPy on arrays and recorded on Tensors. They neither overflow nor warn at any finite
input: where an exponential underflows to 0, 0 is the right answer.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from tinygrad_edu.rules import primitive

__all__ = [
    "binary_cross_entropy",
    "cross_entropy",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsumexp",
    "mse",
    "relu",
    "sigmoid",
    "softmax",
    "softplus",
    "sum_of_squares",
    "tanh",
]


def _floating(x: Any) -> Any:
    """x as an array of floating-point numbers; integers could overflow on the way."""
    x = np.asarray(x)
    return x.astype(float) if x.dtype.kind in "iub" else x


def _rows(x: Any) -> Any:
    """The same values with all axes but the last made one."""
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])


@primitive
def linear(x: Any, W: Any, b: Any) -> Any:
    """The affine map x @ W + b.

    Shapes: x (..., n_in), W (n_in, n_out), b (n_out,) -> (..., n_out).

    Raises:
        ValueError: shapes that do not go together.

    Example:
        >>> linear(np.array([[1.0, 2.0]]), np.array([[1.0], [10.0]]), np.array([0.5]))
        array([[21.5]])
    """
    if W.ndim != 2 or b.shape != W.shape[1:] or x.shape[-1:] != W.shape[:1]:
        raise ValueError(
            f"x of shape {x.shape} must be (..., n_in), W of shape {W.shape} must be "
            f"(n_in, n_out) and b of shape {b.shape} must be (n_out,)"
        )
    y = x @ W
    if y.dtype != b.dtype:
        return y + b
    y += b
    return y


@functools.lru_cache(maxsize=4)
def _ones(n: int, dtype: np.dtype[Any]) -> np.ndarray:
    """A vector of ones that all share."""
    ones = np.ones(n, dtype)
    ones.flags.writeable = False
    return ones


def _transposed(W: Any) -> Any:
    """W.T, of a small matrix as a copy: a product with that takes BLAS two thirds of the time.

    Of a large one copying costs more than it saves.
    """
    return W.T.copy() if W.size <= 2**12 else W.T


# gx = g W^T, gW = x^T g, gb = 1^T g: the ones add up the rows.
linear.derivative(
    lambda g, y, x, W, b: g @ _transposed(W),
    lambda g, y, x, W, b: _rows(x).T @ _rows(g),
    lambda g, y, x, W, b: _ones(g.size // b.size, g.dtype) @ _rows(g),
)


@primitive
def relu(x: Any, at_zero: float = 0.0) -> Any:
    """The rectified linear unit max(x, 0), elementwise.

    `at_zero` is what is taken as its derivative at exactly 0, where it has a kink; any value from
    0 to 1 is a subgradient.

    Example:
        >>> relu(np.array([-1.0, 0.0, 2.0]))
        array([0., 0., 2.])
    """
    return np.maximum(x, 0)


relu.derivative(
    lambda g, y, x, at_zero=0.0: g * (x > 0 if at_zero == 0 else np.heaviside(x, at_zero))
)


@primitive
def leaky_relu(x: Any, slope: float = 0.01) -> Any:
    """x where x > 0, slope * x elsewhere; the derivative at 0 is `slope`.

    Source: Maas, Hannun, Ng, "Rectifier nonlinearities improve neural network acoustic models",
    ICML 2013.

    Example:
        >>> leaky_relu(np.array([-1.0, 2.0]), slope=0.1)
        array([-0.1,  2. ])
    """
    return np.where(x > 0, x, slope * x)


leaky_relu.derivative(lambda g, y, x, slope=0.01: np.where(x > 0, g, slope * g))


@primitive
def sigmoid(x: Any) -> Any:
    """The logistic function 1 / (1 + exp(-x)), elementwise.

    Example:
        >>> sigmoid(np.array([-1e4, 0.0, 1e4]))
        array([0. , 0.5, 1. ])
    """
    # exp(-x) overflows to inf for very negative x, and 1/inf is the right answer.
    with np.errstate(over="ignore", under="ignore"):
        y = 1 + np.exp(-_floating(x))
        return np.divide(1, y, out=y) if y.ndim else 1 / y


def _sigmoid_dx(g: Any, y: Any, x: Any) -> Any:
    """g * y * (1 - y), in a single buffer, which stays in the cache where three do not.

    (On Tensors `*=` makes a new value, as `*` does.)
    """
    gx = 1 - y
    gx *= y
    gx *= g
    return gx


sigmoid.derivative(_sigmoid_dx)


def tanh(x: Any) -> Any:
    """The hyperbolic tangent, elementwise; the same as `np.tanh`.

    Example:
        >>> tanh(np.array([0.0, 1e4]))
        array([0., 1.])
    """
    return np.tanh(x)


@primitive
def softplus(x: Any) -> Any:
    """log(1 + exp(x)), elementwise: a smooth relu, whose derivative is the sigmoid.

    Example:
        >>> softplus(np.array([-1e4, 0.0, 1e4])).round(6)
        array([0.00000e+00, 6.93147e-01, 1.00000e+04])
    """
    x = _floating(x)
    with np.errstate(under="ignore"):
        return np.logaddexp(x, np.zeros_like(x))


softplus.derivative(lambda g, y, x: g * sigmoid(x))


def _shifted(x: Any, axis: Any) -> tuple[Any, Any]:
    """x minus its maximum along the axis, so that exp cannot overflow; and that maximum.

    The maximum is at least the lowest finite number, so that -inf - (-inf) does not arise. Beside
    an inf everything else is at -inf.
    """
    x = _floating(x)
    lowest = np.finfo(x.dtype).min
    top = np.maximum.reduce(x, axis=axis, keepdims=True, initial=lowest)
    if np.isinf(top).any():
        finite = np.where(np.isinf(top), 0, top)
        return np.where(x == top, 0, np.where(top > finite, -np.inf, x) - finite), top
    return x - top, top


@primitive
def logsumexp(x: Any, axis: Any = -1, keepdims: bool = False) -> Any:
    """log(sum(exp(x))) along an axis (or several): a smooth maximum.

    Of values that are all -inf it is -inf, and its derivative 0.

    Example:
        >>> logsumexp(np.array([1e4, 1e4])) - 1e4
        np.float64(0.6931471805...)
    """
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        shifted, top = _shifted(x, axis)
        y = np.log(np.add.reduce(np.exp(shifted), axis=axis, keepdims=True)) + top
    return y if keepdims else np.squeeze(y, axis=axis)


def _logsumexp_dx(g: Any, y: Any, x: Any, axis: Any = -1, keepdims: bool = False) -> Any:
    if not keepdims and axis is not None and x.ndim:
        g = np.expand_dims(g, axis)
    return g * softmax(x, axis=axis)


logsumexp.derivative(_logsumexp_dx)


@primitive
def softmax(x: Any, axis: Any = -1) -> Any:
    """exp(x) / sum(exp(x)) along an axis: positive numbers that add up to 1.

    Of values that are all -inf, as in a row that is masked as a whole, it is 0.

    Example:
        >>> softmax(np.array([[0.0, 0.0], [-1e4, 1e4]]))
        array([[0.5, 0.5],
               [0. , 1. ]])
    """
    with np.errstate(over="ignore", under="ignore"):
        y = np.exp(_shifted(x, axis)[0])
        y /= np.maximum(np.add.reduce(y, axis=axis, keepdims=True), 1)  # 0 if all are -inf
        return y


softmax.derivative(
    lambda g, y, x, axis=-1: y * (g - np.sum(g * y, axis=axis, keepdims=True)),
)


@primitive
def log_softmax(x: Any, axis: Any = -1) -> Any:
    """log(softmax(x)) along an axis, without the rounding of log after exp.

    Of values that are all -inf it is -inf, as softmax is 0.

    Example:
        >>> log_softmax(np.array([0.0, 1e4]))
        array([-10000.,      0.])
    """
    with np.errstate(over="ignore", under="ignore"):
        shifted, _ = _shifted(x, axis)
        total = np.sum(np.exp(shifted), axis=axis, keepdims=True)
        return shifted - np.log(np.maximum(total, 1))  # 0 if all are -inf


log_softmax.derivative(
    lambda g, y, x, axis=-1: g - softmax(x, axis=axis) * np.sum(g, axis=axis, keepdims=True),
)


def _checked_labels(logits: Any, labels: Any) -> np.ndarray:
    """The labels as an array of integers from 0 to the number of classes less one."""
    labels = np.asarray(labels)
    if logits.ndim != 2 or logits.size == 0:
        raise ValueError(
            f"logits must have one row for each sample and one column for each class, "
            f"and at least one of each; got shape {logits.shape}"
        )
    n, classes = logits.shape
    if labels.shape != (n,):
        hint = {
            (n, 1): "; pass labels.ravel()",
            (n, classes): "; for one-hot labels pass labels.argmax(axis=1)",
        }.get(labels.shape, "")
        raise ValueError(f"labels must have shape ({n},), one each row, got {labels.shape}{hint}")
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"labels must be integers, got dtype {labels.dtype} (the first is {labels[0]}); "
            f"class numbers as floats: pass labels.astype(int)"
        )
    if np.minimum.reduce(labels) < 0 or np.maximum.reduce(labels) >= classes:
        wrong = int(np.argmax((labels < 0) | (labels >= classes)))
        raise ValueError(
            f"labels must lie in 0..{classes - 1} for {classes} classes, "
            f"but labels[{wrong}] is {labels[wrong]}"
        )
    return labels


@primitive
def cross_entropy(logits: Any, labels: Any) -> Any:
    """The mean over the rows of -log(softmax(logits))[label], in nats.

    Shapes: logits (n, classes), labels (n,) integers from 0 -> a single value.

    Raises:
        ValueError: no rows, labels out of range or of another length.
        TypeError: labels that are not integers.

    Example:
        >>> cross_entropy(np.array([[2.0, 0.0], [0.0, 0.0]]), np.array([0, 1]))
        np.float64(0.4100...)
    """
    return _cross_entropy_and_softmax(logits, labels)[0]


def _cross_entropy_and_softmax(logits: Any, labels: Any) -> tuple[Any, Any]:
    """The cross-entropy, and softmax(logits), of which its derivative is made."""
    logits = _floating(logits)
    labels = _checked_labels(logits, labels)
    with np.errstate(over="ignore", under="ignore"):
        shifted, _ = _shifted(_classes_apart(logits), -1)
        y = np.exp(shifted)
        total = np.add.reduce(y, axis=-1)
        losses = np.log(total) - shifted[np.arange(labels.size), labels]
        y /= np.maximum(total, 1)[:, None]
    return np.add.reduce(losses) / labels.size, y


def _classes_apart(logits: Any) -> Any:
    """The same values, laid out so that NumPy's loop over a few classes is the outer one."""
    n, classes = logits.shape
    return np.asfortranarray(logits) if type(logits) is np.ndarray and classes < n else logits


@primitive
def one_hot(labels: Any, classes: int) -> Any:
    """For each label a row of truth values, true at the label alone.

    Example:
        >>> one_hot(np.array([0, 2]), 3)
        array([[ True, False, False],
               [False, False,  True]])
    """
    return (np.arange(classes)[:, None] == labels).T


def _cross_entropy_dlogits(g: Any, y: Any, logits: Any, labels: Any, kept: Any = None) -> Any:
    """(softmax(logits) - one_hot(labels)) / n."""
    probs = softmax(_classes_apart(logits)) if kept is None else kept
    n, classes = logits.shape
    return (probs - one_hot(labels, classes)) * (g / n)


cross_entropy.derivative(_cross_entropy_dlogits, None, keep=_cross_entropy_and_softmax)


def _check_pair(prediction: Any, target: Any, prediction_name: str, target_name: str) -> None:
    shape = np.shape(prediction)
    if shape != np.shape(target):
        hint = (
            f": pass {target_name}.reshape{shape}" if np.size(target) == np.size(prediction) else ""
        )
        raise ValueError(
            f"{prediction_name} of shape {shape} and {target_name} of shape {np.shape(target)} "
            f"must have the same shape, so that nothing is broadcast by mistake{hint}"
        )
    if np.size(prediction) == 0:
        raise ValueError(f"the mean over an empty batch, of shape {np.shape(target)}")


@primitive
def binary_cross_entropy(logits: Any, targets: Any) -> Any:
    """The mean of -t*log(p) - (1-t)*log(1-p) with p = sigmoid(logits), in nats.

    The logits are what comes before the sigmoid: a net for this loss ends without one, and
    `sigmoid(logits)` are its probabilities.

    Shapes: logits and targets of the same shape -> a single value. Targets lie between 0 and 1.

    Raises:
        ValueError: other shapes, an empty batch, targets outside 0..1.

    Example:
        >>> binary_cross_entropy(np.array([0.0, 1e4]), np.array([1.0, 1.0]))
        np.float64(0.3465...)
    """
    _check_pair(logits, targets, "logits", "targets")
    if not (np.min(targets) >= 0 and np.max(targets) <= 1):
        raise ValueError(
            f"targets must lie between 0 and 1, got {np.min(targets)} to {np.max(targets)}"
        )
    x = _floating(logits)
    with np.errstate(under="ignore"):
        # log(1 + exp(x)) - t*x, without the difference of two large numbers.
        return np.mean(np.maximum(x, 0) - targets * x + np.log1p(np.exp(-np.abs(x))))


binary_cross_entropy.derivative(
    lambda g, y, logits, targets: (sigmoid(logits) - targets) * (g / np.size(logits)),
    lambda g, y, logits, targets: logits * (-g / np.size(logits)),
)


@primitive
def mse(prediction: Any, target: Any) -> Any:
    """The mean of (prediction - target)**2.

    Shapes: prediction and target of the same shape -> a single value.

    Raises:
        ValueError: other shapes (also (n, 1) against (n,)), an empty batch.

    Example:
        >>> mse(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
        np.float64(2.0)
    """
    _check_pair(prediction, target, "prediction", "target")
    return np.mean(np.square(_floating(prediction) - _floating(target)))


mse.derivative(
    lambda g, y, prediction, target: (prediction - target) * (2 * g / np.size(prediction)),
    lambda g, y, prediction, target: (target - prediction) * (2 * g / np.size(prediction)),
)


@primitive
def sum_of_squares(*arrays: Any) -> Any:
    """The sum of x * x over all values of all the arrays, as in an L2 penalty.

    Example:
        >>> sum_of_squares(np.array([3.0, 4.0]), np.array([[1.0]]))
        np.float64(26.0)
    """
    return sum(np.vdot(x, x) for x in map(_floating, arrays))


sum_of_squares.derivative(every=lambda position, g, y, *arrays: (2 * g) * arrays[position])
