"""One training step of the notebook's net: 300 rows, 2-50-50-3 units, cross-entropy, L2, descent.

Five ways to do the same step:

- `hand`: NumPy as the notebooks write it, and what all others are measured against;
- `floor`: the least that NumPy can do it in, with every buffer allocated beforehand;
- `eager`: a net, an optimiser and a loss of the engine, and `loss.backward()`;
- `grad`: the notebook's own loss under `tg.value_and_grad`, and a plain update;
- `trainer`: `Trainer.fit`, with its checks and its history.

Before anything is timed, all must agree after three steps.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import tinygrad_edu as tg
from benchmarks.timing import interleaved, ratios, spread, table

SIZES = (2, 50, 50, 3)
NAMES = ("W1", "b1", "W2", "b2", "W3", "b3")
STEP_SIZE = 0.1
L2 = 1e-3
STEPS = 20
ROUNDS = 40
TOLERANCES = {"float64": 1e-10, "float32": 1e-4}

# Does some steps; returns the loss before the last of them and the parameters after it.
Variant = Callable[[int], tuple[float, list[np.ndarray]]]


@dataclass
class Task:
    """The data, the activation ("relu" or "sigmoid"), and the net, which is there to be copied."""

    X: np.ndarray
    y: np.ndarray
    activation: str
    net: tg.nn.MLP

    @classmethod
    def of(cls, dtype: str, activation: str) -> Task:
        """The notebook's spiral and its initial weights, in a dtype."""
        X, y = tg.data.spiral(points_per_class=100, classes=3, rng=0)
        net = tg.nn.MLP(SIZES, activation, init=0.1, rng=0, dtype=dtype)
        return cls(X.astype(dtype), y, activation, net)

    def parameters(self) -> list[np.ndarray]:
        """Copies of W1, b1, W2, b2, W3, b3 at the start."""
        return list(self.net.state_dict().values())

    def net_of_its_own(self) -> tg.nn.MLP:
        """A net with those parameters."""
        net = tg.nn.MLP(SIZES, self.activation, dtype=self.X.dtype)
        net.load_state_dict(self.net.state_dict())
        return net


def relu(x: Any) -> Any:
    """As in the notebook."""
    return np.maximum(0, x)


def sigmoid(x: Any) -> Any:
    """As in the notebook."""
    return 1 / (1 + np.exp(-x))


def sigmoid_grad(x: Any) -> Any:
    """As in the notebook: the derivative of the sigmoid by its output."""
    return x * (1 - x)


def hand(task: Task) -> Variant:
    """NumPy as the notebooks write it, in their order of operations."""
    X, y = task.X, task.y
    parameters = task.parameters()
    is_relu = task.activation == "relu"
    nonlinearity = relu if is_relu else sigmoid
    num_examples = X.shape[0]

    def run(steps: int) -> tuple[float, list[np.ndarray]]:
        W1, b1, W2, b2, W3, b3 = parameters
        for _ in range(steps):
            hidden_layer = nonlinearity(np.dot(X, W1) + b1)
            hidden_layer2 = nonlinearity(np.dot(hidden_layer, W2) + b2)
            scores = np.dot(hidden_layer2, W3) + b3
            exp_scores = np.exp(scores)
            probs = exp_scores / np.sum(exp_scores, axis=1, keepdims=True)
            correct_logprobs = -np.log(probs[range(num_examples), y])
            data_loss = np.sum(correct_logprobs) / num_examples
            reg_loss = (
                0.5 * L2 * np.sum(W1 * W1) + 0.5 * L2 * np.sum(W2 * W2) + 0.5 * L2 * np.sum(W3 * W3)
            )
            loss = data_loss + reg_loss

            dscores = probs
            dscores[range(num_examples), y] -= 1
            dscores /= num_examples
            dW3 = np.dot(hidden_layer2.T, dscores)
            db3 = np.sum(dscores, axis=0)
            if is_relu:
                dhidden2 = np.dot(dscores, W3.T)
                dhidden2[hidden_layer2 <= 0] = 0
                dW2 = np.dot(hidden_layer.T, dhidden2)
                db2 = np.sum(dhidden2, axis=0)
                dhidden = np.dot(dhidden2, W2.T)
                dhidden[hidden_layer <= 0] = 0
            else:
                dhidden2 = np.dot(dscores, W3.T) * sigmoid_grad(hidden_layer2)
                dW2 = np.dot(hidden_layer.T, dhidden2)
                db2 = np.sum(dhidden2, axis=0)
                dhidden = np.dot(dhidden2, W2.T) * sigmoid_grad(hidden_layer)
            dW1 = np.dot(X.T, dhidden)
            db1 = np.sum(dhidden, axis=0)

            dW3 += L2 * W3
            dW2 += L2 * W2
            dW1 += L2 * W1
            W1 += -STEP_SIZE * dW1
            b1 += -STEP_SIZE * db1
            W2 += -STEP_SIZE * dW2
            b2 += -STEP_SIZE * db2
            W3 += -STEP_SIZE * dW3
            b3 += -STEP_SIZE * db3
        return loss, parameters

    return run


def floor(task: Task) -> Variant:
    """The least that NumPy can do it in: no allocation, few calls, the cheaper of two spellings."""
    X, y = task.X, task.y
    n, dtype = len(X), X.dtype
    is_relu = task.activation == "relu"

    # All parameters in one vector, the weights before the biases, so that the penalty and the
    # update are one operation each; the gradients in another one of the same layout.
    start = task.parameters()
    order = start[0::2] + start[1::2]
    flat = np.concatenate([p.ravel() for p in order])
    flat_gradient = np.empty_like(flat)
    ends = np.cumsum([p.size for p in order])
    weights = flat[: ends[2]]

    def views(vector: np.ndarray) -> list[np.ndarray]:
        pieces = np.split(vector, ends[:-1])
        return [piece.reshape(p.shape) for piece, p in zip(pieces, order, strict=True)]

    W1, W2, W3, b1, b2, b3 = views(flat)
    dW1, dW2, dW3, db1, db2, db3 = views(flat_gradient)

    _, n_hidden, n_hidden2, n_classes = SIZES
    h1, dh1, slope1 = (np.empty((n, n_hidden), dtype) for _ in range(3))
    h2, dh2, slope2 = (np.empty((n, n_hidden2), dtype) for _ in range(3))
    # A product with a transposed matrix takes longer than copying the matrix first.
    W2_transposed, W3_transposed = np.empty_like(W2.T, order="C"), np.empty_like(W3.T, order="C")
    probs = np.empty((n, n_classes), dtype)
    flat_probs = probs.reshape(-1)
    label_index = np.arange(n) * n_classes + y
    total, at_label, logs = (np.empty(n, dtype) for _ in range(3))
    total_column = total[:, None]
    row_of_ones, class_of_ones = np.ones(n, dtype), np.ones(n_classes, dtype)

    def activate(x: np.ndarray) -> None:
        if is_relu:
            np.maximum(x, 0, out=x)
        else:
            np.negative(x, out=x)
            np.exp(x, out=x)
            np.add(x, 1, out=x)
            np.reciprocal(x, out=x)

    def through_activation(g: np.ndarray, h: np.ndarray, slope: np.ndarray) -> None:
        if is_relu:
            np.greater(h, 0, out=slope)
        else:
            np.multiply(h, h, out=slope)
            np.subtract(h, slope, out=slope)
        np.multiply(g, slope, out=g)

    def run(steps: int) -> tuple[float, list[np.ndarray]]:
        for _ in range(steps):
            np.matmul(X, W1, out=h1)
            np.add(h1, b1, out=h1)
            activate(h1)
            np.matmul(h1, W2, out=h2)
            np.add(h2, b2, out=h2)
            activate(h2)
            np.matmul(h2, W3, out=probs)
            np.add(probs, b3, out=probs)
            np.exp(probs, out=probs)
            np.matmul(probs, class_of_ones, out=total)
            np.divide(probs, total_column, out=probs)
            # With mode="clip" NumPy writes into `out` directly instead of through a buffer.
            np.take(flat_probs, label_index, out=at_label, mode="clip")
            np.log(at_label, out=logs)
            loss = 0.5 * L2 * np.vdot(weights, weights) - np.vdot(row_of_ones, logs) / n

            np.subtract(at_label, 1, out=at_label)
            flat_probs[label_index] = at_label
            np.divide(probs, n, out=probs)
            np.matmul(h2.T, probs, out=dW3)
            np.matmul(row_of_ones, probs, out=db3)
            np.copyto(W3_transposed, W3.T)
            np.matmul(probs, W3_transposed, out=dh2)
            through_activation(dh2, h2, slope2)
            np.matmul(h1.T, dh2, out=dW2)
            np.matmul(row_of_ones, dh2, out=db2)
            np.copyto(W2_transposed, W2.T)
            np.matmul(dh2, W2_transposed, out=dh1)
            through_activation(dh1, h1, slope1)
            np.matmul(X.T, dh1, out=dW1)
            np.matmul(row_of_ones, dh1, out=db1)

            # W - lr * (dW + l2 * W) = (1 - lr * l2) * W - lr * dW
            np.multiply(weights, 1 - STEP_SIZE * L2, out=weights)
            np.multiply(flat_gradient, STEP_SIZE, out=flat_gradient)
            np.subtract(flat, flat_gradient, out=flat)
        return loss, [W1, b1, W2, b2, W3, b3]

    return run


def eager(task: Task) -> Variant:
    """A net, an optimiser and a loss of the engine, as in a loop that a user writes."""
    net = task.net_of_its_own()
    parameters = net.parameters()
    weights = [p for p in parameters if p.ndim == 2]
    optimizer = tg.optim.SGD(parameters, lr=STEP_SIZE)

    def run(steps: int) -> tuple[float, list[np.ndarray]]:
        for _ in range(steps):
            loss = tg.cross_entropy(net(task.X), task.y) + 0.5 * L2 * tg.sum_of_squares(*weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item(), [p.data for p in parameters]

    return run


def grad(task: Task) -> Variant:
    """The notebook's loss, unchanged, under `tg.value_and_grad`, and a plain update."""
    X, y = task.X, task.y
    parameters = task.parameters()
    nonlinearity = relu if task.activation == "relu" else sigmoid
    num_examples = X.shape[0]

    def objective(parameters: list[Any]) -> Any:
        W1, b1, W2, b2, W3, b3 = parameters
        hidden_layer = nonlinearity(np.dot(X, W1) + b1)
        hidden_layer2 = nonlinearity(np.dot(hidden_layer, W2) + b2)
        scores = np.dot(hidden_layer2, W3) + b3
        exp_scores = np.exp(scores)
        probs = exp_scores / np.sum(exp_scores, axis=1, keepdims=True)
        correct_logprobs = -np.log(probs[range(num_examples), y])
        data_loss = np.sum(correct_logprobs) / num_examples
        reg_loss = (
            0.5 * L2 * np.sum(W1 * W1) + 0.5 * L2 * np.sum(W2 * W2) + 0.5 * L2 * np.sum(W3 * W3)
        )
        return data_loss + reg_loss

    value_and_gradients = tg.value_and_grad(objective)

    def run(steps: int) -> tuple[float, list[np.ndarray]]:
        for _ in range(steps):
            loss, gradients = value_and_gradients(parameters)
            for p, g in zip(parameters, gradients, strict=True):
                p += -STEP_SIZE * g
        return loss, parameters

    return run


def trainer(task: Task) -> Variant:
    """`Trainer.fit` for as many epochs; its checks of the data at the start are in the time."""
    net = task.net_of_its_own()
    optimizer = tg.optim.SGD(net.parameters(), lr=STEP_SIZE)
    loop = tg.Trainer(net, optimizer, l2=L2, rng=0)

    def run(steps: int) -> tuple[float, list[np.ndarray]]:
        history = loop.fit(task.X, task.y, epochs=steps, progress=False)
        return history.loss[-1], [p.data for p in optimizer.params]

    return run


VARIANTS = (hand, floor, eager, grad, trainer)


def check(variants: dict[str, Variant], tolerance: float) -> None:
    """Takes three steps with each variant.

    Raises:
        ArithmeticError: a loss or a parameter differs from the first variant's by more than
            `tolerance`, relative to the largest value of that array.
    """
    expected: list[np.ndarray] = []
    for name, run in variants.items():
        losses = np.array([run(1)[0] for _ in range(2)])
        loss, parameters = run(1)
        found = [np.append(losses, loss), *(np.array(p) for p in parameters)]
        expected = expected or found
        for what, a, b in zip(("the loss", *NAMES), found, expected, strict=True):
            if a.shape != b.shape or not np.abs(a - b).max() <= tolerance * np.abs(b).max():
                raise ArithmeticError(f"after three steps {what} of {name} is {a}, not {b}")


def run(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The table, and the seconds of one step of each variant in every round."""
    figures: dict[str, dict[str, list[float]]] = {}
    for dtype, tolerance in TOLERANCES.items():
        for activation in ("relu", "sigmoid"):
            task = Task.of(dtype, activation)
            variants = {make.__name__: make(task) for make in VARIANTS}
            check(variants, tolerance)
            calls = {name: functools.partial(take, STEPS) for name, take in variants.items()}
            times = interleaved(calls, options.seconds, ROUNDS)
            figures[f"{dtype} {activation}"] = {
                name: [t / STEPS for t in rounds] for name, rounds in times.items()
            }
    cases = figures.values()
    rows = [["hand, microseconds", *(spread([1e6 * t for t in c["hand"]], 0) for c in cases)]]
    for make in VARIANTS[1:]:
        name = make.__name__
        rows.append([f"{name} / hand", *(spread(ratios(c[name], c["hand"])) for c in cases)])
    rounds = min(len(case["hand"]) for case in cases)
    text = table(["one training step", *figures], rows)
    return f"{text}\n\nAt least {rounds} rounds of {STEPS} steps of each variant.", figures
