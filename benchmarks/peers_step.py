"""The same training step in other libraries, written as their users would write good code.

Of several ways to write it in a library the quickest on these nets is taken: PyTorch without
modules and optimisers, which cost about as much as the arithmetic of a small net; `torch.compile`
and `jax.jit` over the whole step with its update, which reuses the memory of the parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.workloads import Task, Variant


def _torch_loss(task: Task) -> Callable[..., Any]:
    """The loss without the penalty: a function of the list W1, b1, W2, b2, ..., and X and y."""
    import torch

    activation = torch.relu if task.workload.activation == "relu" else torch.sigmoid
    functions = torch.nn.functional
    is_mse = task.workload.loss == "mse"
    loss_function = functions.mse_loss if is_mse else functions.cross_entropy

    def loss(parameters: list[Any], X: Any, y: Any) -> Any:
        weights, biases = parameters[0::2], parameters[1::2]
        h = X
        for W, b in zip(weights[:-1], biases[:-1], strict=True):
            h = activation(torch.addmm(b, h, W))
        return loss_function(torch.addmm(biases[-1], h, weights[-1]), y)

    return loss


def pytorch(task: Task, threads: int) -> Variant:
    """PyTorch, eager."""
    import torch

    torch.set_num_threads(threads)
    w = task.workload
    X, y = torch.from_numpy(task.X), torch.from_numpy(task.y)
    parameters = [torch.from_numpy(p).requires_grad_() for p in task.parameters()]
    weights = parameters[0::2]
    compute_loss = _torch_loss(task)

    def run(steps: int) -> tuple[float, list[np.ndarray]]:
        for _ in range(steps):
            loss = compute_loss(parameters, X, y)
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                if w.l2:
                    # Quicker than a penalty that is differentiated: as `weight_decay` does it.
                    penalty = torch.stack(torch._foreach_norm(weights)).square().sum()
                    loss = loss + 0.5 * w.l2 * penalty
                    torch._foreach_add_(gradients[0::2], weights, alpha=w.l2)
                torch._foreach_sub_(parameters, gradients, alpha=w.lr)
        return loss.item(), [p.detach().numpy() for p in parameters]

    return run


def torch_compile(task: Task, threads: int) -> Variant:
    """PyTorch, the whole step compiled for these shapes."""
    import torch

    torch.set_num_threads(threads)
    # What was compiled for earlier nets counts towards a limit, above which nothing is compiled.
    torch.compiler.reset()
    w = task.workload
    X, y = torch.from_numpy(task.X), torch.from_numpy(task.y)
    parameters = [torch.from_numpy(p) for p in task.parameters()]
    compute_loss = _torch_loss(task)

    def objective(parameters: list[Any], X: Any, y: Any) -> Any:
        loss = compute_loss(parameters, X, y)
        return loss + 0.5 * w.l2 * sum((W * W).sum() for W in parameters[0::2]) if w.l2 else loss

    @torch.compile(dynamic=False)
    def step(parameters: list[Any], X: Any, y: Any) -> Any:
        gradients, loss = torch.func.grad_and_value(objective)(parameters, X, y)
        for p, g in zip(parameters, gradients, strict=True):
            p.sub_(g, alpha=w.lr)
        return loss

    def run(steps: int) -> tuple[float, list[np.ndarray]]:
        with torch.no_grad():
            for _ in range(steps):
                loss = step(parameters, X, y)
        return loss.item(), [p.numpy() for p in parameters]

    return run


def jax_jit(task: Task, threads: int) -> Variant:
    """JAX, the whole step jitted."""
    import jax

    # Single precision stays single; without this double precision would become single.
    jax.config.update("jax_enable_x64", True)
    w = task.workload
    X, y = jax.numpy.asarray(task.X), jax.numpy.asarray(task.y)
    parameters = [jax.numpy.asarray(p) for p in task.parameters()]
    activation = jax.nn.relu if w.activation == "relu" else jax.nn.sigmoid

    def objective(parameters: list[Any], X: Any, y: Any) -> Any:
        weights, biases = parameters[0::2], parameters[1::2]
        h = X
        for W, b in zip(weights[:-1], biases[:-1], strict=True):
            h = activation(h @ W + b)
        outputs = h @ weights[-1] + biases[-1]
        if w.loss == "mse":
            loss = jax.numpy.mean((outputs - y) ** 2)
        else:
            logs = jax.nn.log_softmax(outputs)
            loss = -jax.numpy.mean(jax.numpy.take_along_axis(logs, y[:, None], axis=1))
        return loss + 0.5 * w.l2 * sum((W * W).sum() for W in weights) if w.l2 else loss

    def step(parameters: list[Any], X: Any, y: Any) -> Any:
        loss, gradients = jax.value_and_grad(objective)(parameters, X, y)
        return loss, [p - w.lr * g for p, g in zip(parameters, gradients, strict=True)]

    options = {"xla_cpu_multi_thread_eigen": threads > 1}
    jitted = jax.jit(step, donate_argnums=0, compiler_options=options)

    def run(steps: int) -> tuple[float, list[np.ndarray]]:
        nonlocal parameters
        for _ in range(steps):
            loss, parameters = jitted(parameters, X, y)
        jax.block_until_ready(parameters)
        return float(loss), [np.asarray(p) for p in parameters]

    return run


def autograd(task: Task, threads: int) -> Variant:
    """HIPS autograd."""
    import autograd.numpy as anp
    from autograd import value_and_grad

    w, X, y = task.workload, task.X, task.y
    rows = np.arange(len(X))
    parameters = task.parameters()

    def activation(x: Any) -> Any:
        return anp.maximum(0, x) if w.activation == "relu" else 1 / (1 + anp.exp(-x))

    def objective(parameters: list[Any]) -> Any:
        weights, biases = parameters[0::2], parameters[1::2]
        h = X
        for W, b in zip(weights[:-1], biases[:-1], strict=True):
            h = activation(anp.dot(h, W) + b)
        outputs = anp.dot(h, weights[-1]) + biases[-1]
        if w.loss == "mse":
            loss = anp.mean((outputs - y) ** 2)
        else:
            exps = anp.exp(outputs)
            loss = -anp.mean(anp.log(exps[rows, y] / anp.sum(exps, axis=1)))
        return loss + 0.5 * w.l2 * sum(anp.sum(W * W) for W in weights) if w.l2 else loss

    value_and_gradients = value_and_grad(objective)

    def run(steps: int) -> tuple[float, list[np.ndarray]]:
        for _ in range(steps):
            loss, gradients = value_and_gradients(parameters)
            for p, g in zip(parameters, gradients, strict=True):
                p -= w.lr * g
        return float(loss), parameters

    return run


def mygrad(task: Task, threads: int) -> Variant:
    """MyGrad, without its guards against overwritten arrays, as it advises where time matters."""
    import mygrad as mg
    from mygrad import nnet

    w, X, y = task.workload, task.X, task.y
    parameters = [mg.tensor(p) for p in task.parameters()]
    weights, biases = parameters[0::2], parameters[1::2]
    activation = nnet.activations.relu if w.activation == "relu" else nnet.activations.sigmoid

    def run(steps: int) -> tuple[float, list[np.ndarray]]:
        with mg.mem_guard_off:
            for _ in range(steps):
                h = X
                for W, b in zip(weights[:-1], biases[:-1], strict=True):
                    h = activation(mg.matmul(h, W) + b)
                outputs = mg.matmul(h, weights[-1]) + biases[-1]
                if w.loss == "mse":
                    loss = mg.mean((outputs - y) ** 2)
                else:
                    loss = nnet.losses.softmax_crossentropy(outputs, y)
                if w.l2:
                    loss = loss + 0.5 * w.l2 * sum(mg.sum(W**2) for W in weights)
                loss.backward()
                for p in parameters:
                    p.data -= w.lr * p.grad
        return loss.item(), [p.data for p in parameters]

    return run


PEERS: dict[str, Callable[[Task, int], Variant]] = {
    "PyTorch": pytorch,
    "torch.compile": torch_compile,
    "jax.jit": jax_jit,
    "autograd": autograd,
    "MyGrad": mygrad,
}
