"""The least that NumPy can do a training step in: flat code over buffers allocated beforehand.

What somebody would write who knows the net, its sizes and NumPy well, and has the time: no
allocation, no Python but the calls, all parameters in one vector and all gradients in another, so
that penalty and update are one operation each, biases summed as a product with ones, masks in
place, and of two spellings the cheaper one. `source` writes that code for a net of any depth.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.workloads import Task, Variant, Workload

# `np.dot` costs a third of a microsecond less than `np.matmul`, but fills its output with zeros
# first, which takes longer than that above this many bytes.
LARGEST_DOT = 2**15


def product(workload: Workload, a: str, b: str, out: str, rows: int, columns: int) -> str:
    """The call for out = a @ b, where `out` has so many rows and columns."""
    size = rows * columns * np.dtype(workload.dtype).itemsize
    return f"{'dot' if size <= LARGEST_DOT else 'matmul'}({a}, {b}, {out})"


def is_copied(workload: Workload, layer: int) -> bool:
    """Whether W is copied before a product with W.T, which is then quicker by more than that."""
    return workload.rows >= 4 * max(workload.sizes[layer - 1 : layer + 1])


def forward_products(workload: Workload, layer: int) -> list[str]:
    """The product of a layer on the way forward."""
    units = workload.sizes[layer]
    return [product(workload, f"h{layer - 1}", f"W{layer}", f"h{layer}", workload.rows, units)]


def backward_products(workload: Workload, layer: int) -> list[str]:
    """The products of a layer on the way back: for its weights, and for the layer before it.

    `dh` is the gradient with respect to what the layer puts out before its activation.
    """
    n_in, n_out = workload.sizes[layer - 1 : layer + 1]
    h, dh, W = f"h{layer - 1}", f"dh{layer}", f"W{layer}"
    lines = [product(workload, f"{h}_T", dh, f"d{W}", n_in, n_out)]
    if layer > 1:
        if is_copied(workload, layer):
            lines.append(f"copyto({W}_copied, {W}_T)")
        transposed = f"{W}_copied" if is_copied(workload, layer) else f"{W}_T"
        lines.append(product(workload, dh, transposed, f"d{h}", workload.rows, n_in))
    return lines


def source(workload: Workload) -> str:
    """The step as NumPy code; `buffers` allocates what it names."""
    w = workload
    last = len(w.sizes) - 1
    out = f"h{last}"
    lines = []
    for k in range(1, last + 1):
        lines += forward_products(w, k)
        if k == last or w.activation == "relu":
            lines.append(f"add(h{k}, b{k}, h{k})")
        if k < last:
            lines += _ACTIVATION[_spelling(w)].replace("#", str(k)).splitlines()
    lines += _LOSS[w.loss].replace("#", out).splitlines()
    if w.l2:
        lines.append("loss += half_l2 * vdot(weights, weights)")
    for k in range(last, 0, -1):
        lines += backward_products(w, k)
        lines.append(f"dot(ones, dh{k}, db{k})")
        if k > 1:
            lines += _SLOPE[w.activation].replace("#", str(k - 1)).splitlines()
    if w.l2:
        # W - lr * (dW + l2 * W) = (1 - lr * l2) * W - lr * dW
        lines.append("multiply(weights, decay, weights)")
    lines += ["multiply(gradient, lr, gradient)", "subtract(parameters, gradient, parameters)"]
    body = "\n        ".join(lines)
    return f"def run(steps):\n    for _ in range(steps):\n        {body}\n    return loss\n"


def _spelling(workload: Workload) -> str:
    """NumPy's tanh is quicker than its exp in single precision, and slower in double."""
    if workload.activation == "relu":
        return "relu"
    return "sigmoid by tanh" if workload.dtype == "float32" else "sigmoid by exp"


_ACTIVATION = {
    "relu": "maximum(h#, zero, out=h#)",
    # 1 / (1 + exp(-(x + b))), the sign taken to the bias.
    "sigmoid by exp": """\
negative(b#, minus_b#)
subtract(minus_b#, h#, h#)
exp(h#, h#)
add(h#, one, h#)
reciprocal(h#, h#)""",
    # (1 + tanh((x + b) / 2)) / 2 is the same function.
    "sigmoid by tanh": """\
add(h#, b#, h#)
multiply(h#, half, h#)
tanh(h#, h#)
add(h#, one, h#)
multiply(h#, half, h#)""",
}

# The output of the hidden layer has done its work by then: its slope takes its place.
_SLOPE = {
    "relu": """\
greater(h#, zero, h#)
multiply(dh#, h#, dh#)""",
    "sigmoid": """\
multiply(h#, h#, slope#)
subtract(h#, slope#, h#)
multiply(dh#, h#, dh#)""",
}

# What the net puts out becomes the gradient in place.
_LOSS = {
    # With mode="clip" NumPy writes into `at_label` directly instead of through a buffer.
    "cross_entropy": """\
exp(#, #)
dot(#, class_ones, total)
divide(#, total_column, #)
take(label_index, None, at_label, "clip")
log(at_label, logs)
loss = -vdot(ones, logs) / n
subtract(at_label, one, at_label)
flat_probs[label_index] = at_label
multiply(#, one_nth, #)""",
    "mse": """\
subtract(#, y, #)
loss = vdot(#, #) / size
multiply(#, two_by_size, #)""",
}


def buffers(task: Task) -> dict[str, Any]:
    """All that the code of `source` names: functions, arrays, and numbers as arrays of no axes.

    NumPy takes an array faster than a Python number, whose dtype it must find first.
    """
    w, start = task.workload, task.parameters()
    n, last = w.rows, len(w.sizes) - 1
    # The weights stand before the biases, so that the penalty is one operation.
    order = start[0::2] + start[1::2]
    names = [f"W{k}" for k in range(1, last + 1)] + [f"b{k}" for k in range(1, last + 1)]
    parameters = np.concatenate([p.ravel() for p in order])
    gradient = np.empty_like(parameters)
    found: dict[str, Any] = {name: getattr(np, name) for name in _FUNCTIONS}
    ends = np.cumsum([p.size for p in order])
    for name, p, end in zip(names, order, ends, strict=True):
        found[name] = parameters[end - p.size : end].reshape(p.shape)
        found[f"d{name}"] = gradient[end - p.size : end].reshape(p.shape)
    found |= {
        "parameters": parameters,
        "gradient": gradient,
        "weights": parameters[: ends[last - 1]],
    }
    found |= {
        "h0": task.X,
        "h0_T": task.X.T,
        "n": n,
        "half_l2": 0.5 * w.l2,
        "ones": np.ones(n, w.dtype),
    }
    for k, units in enumerate(w.sizes[1:], 1):
        found[f"h{k}"] = np.empty((n, units), w.dtype)
        found[f"h{k}_T"] = found[f"h{k}"].T
        W = found[f"W{k}"]
        found[f"W{k}_T"] = W.T
        if k > 1 and is_copied(w, k):
            found[f"W{k}_copied"] = np.empty_like(W.T, order="C")
    found[f"dh{last}"] = found[f"h{last}"]
    scratch = np.empty(n * max(w.sizes), w.dtype)
    for k in range(1, last):
        h, after = found[f"h{k}"], found[f"h{k + 1}"]
        # By then the layer after it has done its work.
        is_free = k + 1 < last and h.shape == after.shape
        found[f"dh{k}"] = after if is_free else np.empty_like(h)
        if w.activation == "sigmoid":
            found[f"slope{k}"] = scratch[: h.size].reshape(h.shape)
            found[f"minus_b{k}"] = np.empty_like(found[f"b{k}"])
    output = found[f"h{last}"]
    if w.loss == "mse":
        found |= {"y": task.y, "size": output.size}
    else:
        flat_probs = output.reshape(-1)
        total, at_label, logs = (np.empty(n, w.dtype) for _ in range(3))
        found |= {
            "flat_probs": flat_probs,
            "take": flat_probs.take,
            "label_index": np.arange(n) * w.sizes[-1] + task.y,
            "class_ones": np.ones(w.sizes[-1], w.dtype),
            "total": total,
            "total_column": total[:, None],
            "at_label": at_label,
            "logs": logs,
        }
    numbers = {
        "zero": 0,
        "one": 1,
        "half": 0.5,
        "lr": w.lr,
        "decay": 1 - w.lr * w.l2,
        "one_nth": 1 / n,
        "two_by_size": 2 / output.size,
    }
    return found | {name: np.array(value, w.dtype) for name, value in numbers.items()}


_FUNCTIONS = (
    *("add", "copyto", "divide", "dot", "exp", "greater", "log", "matmul", "maximum", "multiply"),
    *("negative", "reciprocal", "subtract", "tanh", "vdot"),
)


def floor(task: Task) -> Variant:
    """The least that NumPy can do it in: no allocation, few calls, the cheaper of two spellings."""
    names = buffers(task)
    exec(source(task.workload), names)
    step = names["run"]
    layers = range(1, len(task.workload.sizes))
    parameters = [names[f"{kind}{k}"] for k in layers for kind in "Wb"]

    def run(steps: int) -> tuple[float, list[np.ndarray]]:
        return float(step(steps)), parameters

    return run


def products(task: Task) -> Variant:
    """The matrix products of the step alone, as the floor does them: no net can take less."""
    w, names = task.workload, buffers(task)
    # What a step has computed by now: subnormal numbers, as in fresh memory, can take longer.
    exec(source(w), names)
    names["run"](1)
    layers = range(1, len(w.sizes))
    lines = [line for k in layers for line in forward_products(w, k)]
    lines += [line for k in reversed(layers) for line in backward_products(w, k)]
    body = "\n        ".join(lines)
    exec(f"def run(steps):\n    for _ in range(steps):\n        {body}\n", names)
    step = names["run"]

    def run(steps: int) -> tuple[float, list[np.ndarray]]:
        step(steps)
        return np.nan, []

    return run
