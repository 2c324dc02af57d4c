"""What one small operation costs, forward and backward.

A chain of 1000 links `z = z * c + x` over arrays of 8 float64, where `z` at the start needs a
gradient: the arithmetic is nothing, so this is the price of recording an operation and of walking
back over it. The gradient is c**1000, which each library must get right before it is timed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import tinygrad_edu as tg
from benchmarks.timing import interleaved, ratios, spread, table

LINKS = 1000
OPERATIONS = 2 * LINKS
ROUNDS = 40
START, C, X = np.linspace(1.0, 2.0, 8), np.full(8, 0.999), np.linspace(0.0, 1.0, 8)

# Runs the chain forward and backward; returns the gradient.
Variant = Callable[[], Any]


def chain(z: Any, c: Any, x: Any) -> Any:
    """The links, in whatever kind of number."""
    for _ in range(LINKS):
        z = z * c + x
    return z


def hand() -> Any:
    """NumPy: the chain, and its derivative link by link."""
    chain(START, C, X)
    g = np.ones(8)
    for _ in range(LINKS):
        g = g * C
    return g


def engine() -> Any:
    """The engine on Tensors."""
    z = tg.Tensor(START, requires_grad=True)
    chain(z, C, X).backward(np.ones(8))
    return z.grad


def make_torch(threads: int) -> Variant:
    """PyTorch, eager."""
    import torch

    torch.set_num_threads(threads)
    c, x, ones = torch.tensor(C), torch.tensor(X), torch.ones(8, dtype=torch.float64)

    def run() -> Any:
        z = torch.tensor(START, requires_grad=True)
        chain(z, c, x).backward(ones)
        return z.grad.numpy()

    return run


def make_autograd(threads: int) -> Variant:
    """HIPS autograd."""
    import autograd

    def run() -> Any:
        walk_back, _ = autograd.make_vjp(lambda z: chain(z, C, X))(START)
        return walk_back(np.ones(8))

    return run


def make_mygrad(threads: int) -> Variant:
    """MyGrad."""
    import mygrad

    def run() -> Any:
        z = mygrad.tensor(START)
        chain(z, C, X).backward(np.ones(8))
        return z.grad

    return run


def make_micrograd(threads: int) -> Variant:
    """micrograd, which knows single numbers only: one in place of eight."""
    from micrograd.engine import Value

    c, x = float(C[0]), float(X[0])

    def run() -> Any:
        z = Value(float(START[0]))
        with _deep_recursion():
            chain(z, c, x).backward()
        return z.grad

    return run


@contextmanager
def _deep_recursion() -> Iterator[None]:
    """A recursion limit high enough for a walk that calls itself once for each operation."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10 * OPERATIONS)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


PEERS: dict[str, Callable[[int], Variant]] = {
    "PyTorch": make_torch,
    "autograd": make_autograd,
    "MyGrad": make_mygrad,
    "micrograd (scalars)": make_micrograd,
}


def run(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The table, and the seconds of one operation of each variant in every round."""
    variants: dict[str, Variant] = {"hand": hand, "tinygrad_edu": engine}
    missing = []
    for name, make in PEERS.items() if options.peers else ():
        try:
            variants[name] = make(options.threads)
        except ModuleNotFoundError:
            missing.append(name)
    for name, variant in variants.items():
        if not np.allclose(variant(), C[0] ** LINKS, rtol=1e-10, atol=0):
            raise ArithmeticError(f"the gradient by {name} is {variant()}, not {C[0] ** LINKS}")
    times = interleaved(variants, options.seconds, ROUNDS)
    each = {name: [t / OPERATIONS for t in rounds] for name, rounds in times.items()}
    rows = [
        [name, spread([1e6 * t for t in each[name]]), spread(ratios(each[name], each["hand"]), 1)]
        for name in variants
    ]
    text = table(["one operation, arrays of 8", "microseconds", "/ hand"], rows)
    text += f"\n\n{len(each['hand'])} rounds of {OPERATIONS} operations of each variant in turn."
    if missing:
        text += f" Not installed: {', '.join(missing)}."
    return text, each
