"""Ways to do a training step with NumPy and with the engine; `peers_step.py` has the peers'.

- `hand` (in `hand.py`): NumPy as the notebooks write it, and what all others are measured against;
- `floor` (in `floor.py`): the least that NumPy can do it in;
- `eager`: a net, an optimiser and a loss of the engine, and `loss.backward()`;
- `grad`: the notebook's own loss under `tg.value_and_grad`, and a plain update;
- `compiled`: a loss of the engine's functions under `tg.compile(tg.value_and_grad(...))`;
- `compiled notebook`: the notebook's own loss under the same;
- `trainer`: `Trainer.fit`, with its checks and its history.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_edu as tg
from benchmarks.floor import floor
from benchmarks.hand import hand, relu, sigmoid
from benchmarks.workloads import Task, Variant


def eager(task: Task) -> Variant:
    """A net, an optimiser and a loss of the engine, as in a loop that a user writes."""
    w, net = task.workload, task.net_of_its_own()
    parameters = net.parameters()
    weights = [p for p in parameters if p.ndim == 2]
    optimizer = tg.optim.SGD(parameters, lr=w.lr)
    loss_function = LOSSES[w.loss]

    def run(steps: int) -> tuple[float, list[np.ndarray]]:
        for _ in range(steps):
            loss = loss_function(net(task.X), task.y)
            if w.l2:
                loss = loss + 0.5 * w.l2 * tg.sum_of_squares(*weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item(), [p.data for p in parameters]

    return run


LOSSES = {"cross_entropy": tg.cross_entropy, "mse": tg.mse}


def notebooks_objective(task: Task) -> Callable[[list[Any]], Any]:
    """The loss as the notebooks write it, a function of the list W1, b1, W2, b2, ..."""
    X, y, l2 = task.X, task.y, task.workload.l2
    nonlinearity = relu if task.workload.activation == "relu" else sigmoid
    is_mse = task.workload.loss == "mse"
    num_examples = X.shape[0]

    def objective(parameters: list[Any]) -> Any:
        weights, biases = parameters[0::2], parameters[1::2]
        hidden_layer = X
        for W, b in zip(weights[:-1], biases[:-1], strict=True):
            hidden_layer = nonlinearity(np.dot(hidden_layer, W) + b)
        scores = np.dot(hidden_layer, weights[-1]) + biases[-1]
        if is_mse:
            difference = scores - y
            data_loss = np.sum(difference * difference) / y.size
        else:
            exp_scores = np.exp(scores)
            probs = exp_scores / np.sum(exp_scores, axis=1, keepdims=True)
            correct_logprobs = -np.log(probs[range(num_examples), y])
            data_loss = np.sum(correct_logprobs) / num_examples
        if l2:
            return data_loss + sum(0.5 * l2 * np.sum(W * W) for W in weights)
        return data_loss

    return objective


def engines_objective(task: Task) -> Callable[[list[Any]], Any]:
    """The loss in the engine's own functions, a function of the list W1, b1, W2, b2, ..."""
    X, y, l2 = task.X, task.y, task.workload.l2
    nonlinearity = tg.relu if task.workload.activation == "relu" else tg.sigmoid
    loss_function = LOSSES[task.workload.loss]

    def objective(parameters: list[Any]) -> Any:
        weights, biases = parameters[0::2], parameters[1::2]
        h = X
        for W, b in zip(weights[:-1], biases[:-1], strict=True):
            h = nonlinearity(tg.linear(h, W, b))
        loss = loss_function(tg.linear(h, weights[-1], biases[-1]), y)
        return loss + 0.5 * l2 * tg.sum_of_squares(*weights) if l2 else loss

    return objective


def descent(task: Task, value_and_gradients: Callable[[list[Any]], Any]) -> Variant:
    """Steps with the gradients of a function and a plain update."""
    parameters, lr = task.parameters(), task.workload.lr

    def run(steps: int) -> tuple[float, list[np.ndarray]]:
        for _ in range(steps):
            loss, gradients = value_and_gradients(parameters)
            for p, g in zip(parameters, gradients, strict=True):
                p -= lr * g
        return float(loss), parameters

    return run


def grad(task: Task) -> Variant:
    """The notebook's loss, unchanged, under `tg.value_and_grad`, and a plain update."""
    return descent(task, tg.value_and_grad(notebooks_objective(task)))


def compiled(task: Task) -> Variant:
    """The engine's functions under `tg.compile`, all parameters in one vector, a plain update."""
    objective, lr = engines_objective(task), task.workload.lr
    vector, unflatten = tg.flatten(task.parameters())
    value_and_gradient = tg.compile(
        tg.value_and_grad(lambda vector: objective(unflatten(vector))), reuse_outputs=True
    )

    def run(steps: int) -> tuple[float, list[np.ndarray]]:
        for _ in range(steps):
            loss, gradient = value_and_gradient(vector)
            np.multiply(gradient, lr, out=gradient)
            np.subtract(vector, gradient, out=vector)
        return float(loss), unflatten(vector)

    return run


def compiled_notebook(task: Task) -> Variant:
    """The notebook's loss, unchanged, under `tg.compile`, and a plain update."""
    step = tg.value_and_grad(notebooks_objective(task))
    return descent(task, tg.compile(step, reuse_outputs=True))


def trainer(task: Task) -> Variant:
    """`Trainer.fit` for as many epochs; its checks of the data at the start are in the time."""
    w, net = task.workload, task.net_of_its_own()
    optimizer = tg.optim.SGD(net.parameters(), lr=w.lr)
    loop = tg.Trainer(net, optimizer, LOSSES[w.loss], l2=w.l2, rng=0)

    def run(steps: int) -> tuple[float, list[np.ndarray]]:
        history = loop.fit(task.X, task.y, epochs=steps, progress=False)
        return history.loss[-1], [p.data for p in optimizer.params]

    return run


VARIANTS: dict[str, Callable[[Task], Variant]] = {
    "hand": hand,
    "floor": floor,
    "eager": eager,
    "grad": grad,
    "compiled": compiled,
    "compiled notebook": compiled_notebook,
    "trainer": trainer,
}
