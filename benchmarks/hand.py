"""A training step in NumPy as the notebooks write it: what all others are measured against.

The notebooks have two hidden layers; `source` writes the same code, line for line, for any number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.workloads import Task, Variant, Workload


def relu(x: Any) -> Any:
    """As in the notebook."""
    return np.maximum(0, x)


def sigmoid(x: Any) -> Any:
    """As in the notebook."""
    return 1 / (1 + np.exp(-x))


def sigmoid_grad(x: Any) -> Any:
    """As in the notebook: the derivative of the sigmoid by its output."""
    return x * (1 - x)


def source(workload: Workload) -> str:
    """The code of the steps; `X`, `y` and the parameters `W1`, `b1`, ... are there."""
    w = workload
    last = len(w.sizes) - 1
    layers = range(1, last + 1)
    lines = [
        f"hidden{k} = {w.activation}(np.dot({_layer(k - 1)}, W{k}) + b{k})" for k in range(1, last)
    ]
    lines.append(f"scores = np.dot({_layer(last - 1)}, W{last}) + b{last}")
    lines += _LOSS[w.loss].splitlines()
    if w.l2:
        penalties = [f"0.5 * l2 * np.sum(W{k} * W{k})" for k in layers]
        lines += [f"reg_loss = {' + '.join(penalties)}", "loss = loss + reg_loss"]

    lines += [
        f"dW{last} = np.dot({_layer(last - 1)}.T, dscores)",
        f"db{last} = np.sum(dscores, axis=0)",
    ]
    gradient = "dscores"
    for k in range(last - 1, 0, -1):
        through = f"np.dot({gradient}, W{k + 1}.T)"
        gradient = f"dhidden{k}"
        if w.activation == "relu":
            lines += [f"{gradient} = {through}", f"{gradient}[hidden{k} <= 0] = 0"]
        else:
            lines.append(f"{gradient} = {through} * sigmoid_grad(hidden{k})")
        lines.append(f"dW{k} = np.dot({_layer(k - 1)}.T, {gradient})")
        lines.append(f"db{k} = np.sum({gradient}, axis=0)")

    if w.l2:
        lines += [f"dW{k} += l2 * W{k}" for k in reversed(layers)]
    for k in layers:
        lines += [f"W{k} += -step_size * dW{k}", f"b{k} += -step_size * db{k}"]
    body = "\n        ".join(lines)
    names = ", ".join(f"W{k}, b{k}" for k in layers)
    return (
        f"def run(steps):\n    {names} = parameters\n    for _ in range(steps):\n        {body}\n"
        f"    return loss, parameters\n"
    )


def _layer(k: int) -> str:
    return f"hidden{k}" if k else "X"


_LOSS = {
    "cross_entropy": """\
exp_scores = np.exp(scores)
probs = exp_scores / np.sum(exp_scores, axis=1, keepdims=True)
correct_logprobs = -np.log(probs[range(num_examples), y])
loss = np.sum(correct_logprobs) / num_examples
dscores = probs
dscores[range(num_examples), y] -= 1
dscores /= num_examples""",
    "mse": """\
difference = scores - y
loss = np.sum(difference * difference) / difference.size
dscores = 2 * difference / difference.size""",
}


def hand(task: Task) -> Variant:
    """NumPy as the notebooks write it, in their order of operations."""
    names: dict[str, Any] = {
        "np": np,
        "relu": relu,
        "sigmoid": sigmoid,
        "sigmoid_grad": sigmoid_grad,
        "X": task.X,
        "y": task.y,
        "parameters": task.parameters(),
        "num_examples": len(task.X),
        "l2": task.workload.l2,
        "step_size": task.workload.lr,
    }
    exec(source(task.workload), names)
    return names["run"]
