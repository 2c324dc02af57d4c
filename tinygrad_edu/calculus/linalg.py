"""Derivatives of the products of vectors, matrices and arrays, for all ranks that NumPy takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_edu.rules import composition, derivative, primitive


def swap(x: Any) -> Any:
    """The transpose of each matrix in a stack of matrices."""
    return x.T if x.ndim == 2 else np.transpose(x, (*range(x.ndim - 2), -1, -2))


# y = a @ b. NumPy reads a vector on the left as a row and one on the right as a column, and takes
# the extra axis away again; the rules below put it back.


def _matmul_da(g: Any, y: Any, a: Any, b: Any) -> Any:
    if b.ndim == 1:
        return g[..., None] * b
    if a.ndim == 1:
        return (b @ g[..., None])[..., 0]
    return g @ swap(b)


def _matmul_db(g: Any, y: Any, a: Any, b: Any) -> Any:
    if a.ndim == 1:
        return a * g if b.ndim == 1 else a[:, None] * g[..., None, :]
    if b.ndim == 1:
        return (swap(a) @ g[..., None])[..., 0]
    return swap(a) @ g


derivative(np.matmul, _matmul_da, _matmul_db, core_axes=2)
composition(np.linalg.matmul)(lambda x1, x2: np.matmul(x1, x2))

# The ufuncs that read vectors in the last axis, or matrices in the last two. Later than NumPy 2.0
# are the last two.

derivative(
    np.vecdot,
    lambda g, y, x1, x2: g[..., None] * x2,
    lambda g, y, x1, x2: g[..., None] * x1,
    core_axes=1,
)
if hasattr(np, "matvec"):
    derivative(
        np.matvec,
        lambda g, y, x1, x2: g[..., :, None] * x2[..., None, :],
        lambda g, y, x1, x2: np.vecmat(g, x1),
        core_axes=1,
    )
    derivative(
        np.vecmat,
        lambda g, y, x1, x2: np.matvec(x2, g),
        lambda g, y, x1, x2: x1[..., :, None] * g[..., None, :],
        core_axes=1,
    )


@composition(np.linalg.vecdot)
def _vecdot(x1: Any, x2: Any, axis: int = -1) -> Any:
    """`np.vecdot` of the vectors along an axis."""
    return np.vecdot(np.moveaxis(x1, axis, -1), np.moveaxis(x2, axis, -1))


# np.tensordot sums over pairs of axes; the axes of y are those of a that are left, then those of b.
# The gradient of each is the same kind of product of g with the other one.


def _pairs(axes: Any, a: Any, b: Any) -> tuple[list[int], list[int]]:
    """The axes of a and of b that are summed over, in pairs, counted from 0."""
    if not isinstance(axes, Iterable):
        axes = range(a.ndim - axes, a.ndim), range(axes)
    of_a, of_b = (part if isinstance(part, Iterable) else (part,) for part in axes)
    return [i % a.ndim for i in of_a], [i % b.ndim for i in of_b]


def _others(axes: list[int], x: Any) -> list[int]:
    return [i for i in range(x.ndim) if i not in axes]


def _tensordot_da(g: Any, y: Any, a: Any, b: Any, axes: Any = 2) -> Any:
    of_a, of_b = _pairs(axes, a, b)
    left, right = _others(of_a, a), _others(of_b, b)
    gradient = np.tensordot(g, b, (range(len(left), g.ndim), right))
    order = [*left, *(of_a[of_b.index(i)] for i in sorted(of_b))]
    return np.transpose(gradient, np.argsort(order))


def _tensordot_db(g: Any, y: Any, a: Any, b: Any, axes: Any = 2) -> Any:
    of_a, of_b = _pairs(axes, a, b)
    left, right = _others(of_a, a), _others(of_b, b)
    gradient = np.tensordot(a, g, (left, range(len(left))))
    order = [*(of_b[of_a.index(i)] for i in sorted(of_a)), *right]
    return np.transpose(gradient, np.argsort(order))


derivative(np.tensordot, _tensordot_da, _tensordot_db)
composition(np.linalg.tensordot)(lambda x1, x2, axes=2: np.tensordot(x1, x2, axes))

# np.dot is matmul as long as b is at most a matrix, and a product with any number. Beyond that it
# sums over the last axis of a and the last but one of b. np.inner sums over the last of both.


def _dot_da(g: Any, y: Any, a: Any, b: Any) -> Any:
    if np.ndim(a) == 0:
        return (g * b).sum()
    if np.ndim(b) == 0:
        return g * b
    return _matmul_da(g, y, a, b) if b.ndim <= 2 else _tensordot_da(g, y, a, b, (-1, -2))


def _dot_db(g: Any, y: Any, a: Any, b: Any) -> Any:
    if np.ndim(b) == 0:
        return (g * a).sum()
    if np.ndim(a) == 0:
        return g * a
    return _matmul_db(g, y, a, b) if b.ndim <= 2 else _tensordot_db(g, y, a, b, (-1, -2))


def _inner_da(g: Any, y: Any, a: Any, b: Any) -> Any:
    numbers = np.ndim(a) == 0 or np.ndim(b) == 0
    return _dot_da(g, y, a, b) if numbers else _tensordot_da(g, y, a, b, (-1, -1))


def _inner_db(g: Any, y: Any, a: Any, b: Any) -> Any:
    numbers = np.ndim(a) == 0 or np.ndim(b) == 0
    return _dot_db(g, y, a, b) if numbers else _tensordot_db(g, y, a, b, (-1, -1))


derivative(np.dot, _dot_da, _dot_db, core_axes=2)
derivative(np.inner, _inner_da, _inner_db)

# These two flatten what they are given.
derivative(
    np.vdot,
    lambda g, y, a, b: g * np.reshape(b, a.shape),
    lambda g, y, a, b: g * np.reshape(a, b.shape),
)
derivative(
    np.outer,
    lambda g, y, a, b: (g @ np.ravel(b)).reshape(a.shape),
    lambda g, y, a, b: (np.ravel(a) @ g).reshape(b.shape),
)
derivative(np.linalg.outer, lambda g, y, x1, x2: g @ x2, lambda g, y, x1, x2: x1 @ g)


# The Kronecker product is the outer product with its axes in another order: each axis of y is one
# axis of a and one of b, y[3 * i + k] = a[i] * b[k]. Here they are taken apart again.


def _taken_apart(g: Any, a: Any, b: Any) -> tuple[Any, Any, Any]:
    """g with one axis of a and one of b in turn, and a and b with as many axes as y."""
    a, b = (np.reshape(x, (1,) * (g.ndim - np.ndim(x)) + np.shape(x)) for x in (a, b))
    return g.reshape([n for both in zip(a.shape, b.shape, strict=True) for n in both]), a, b


def _kron_da(g: Any, y: Any, a: Any, b: Any) -> Any:
    blocks, _, b = _taken_apart(g, a, b)
    return np.tensordot(blocks, b, (range(1, blocks.ndim, 2), range(b.ndim))).reshape(a.shape)


def _kron_db(g: Any, y: Any, a: Any, b: Any) -> Any:
    blocks, a, _ = _taken_apart(g, a, b)
    return np.tensordot(blocks, a, (range(0, blocks.ndim, 2), range(a.ndim))).reshape(b.shape)


derivative(np.kron, _kron_da, _kron_db)


@primitive
def cross(a: Any, b: Any) -> Any:
    """The cross products of the vectors in the last axes of a and b, which are of length 3."""
    return np.cross(a, b)


cross.derivative(lambda g, y, a, b: np.cross(b, g), lambda g, y, a, b: np.cross(g, a), core_axes=1)


@composition(np.cross)
def _cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Any:
    """`np.cross` of vectors of length 3, those of length 2 being on their way out of NumPy."""
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.moveaxis(a, axisa, -1), np.moveaxis(b, axisb, -1)
    if 2 in (a.shape[-1], b.shape[-1]):
        raise ValueError(
            "np.cross of vectors of length 2 is deprecated in NumPy and has no derivative rule: "
            "write a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]"
        )
    return np.moveaxis(cross(a, b), -1, axisc)


composition(np.linalg.cross)(lambda x1, x2, axis=-1: np.cross(x1, x2, axis=axis))


@primitive
def multi_dot(*arrays: Any) -> Any:
    """The matrix product of all arrays, in the cheapest order: `np.linalg.multi_dot`."""
    return np.linalg.multi_dot(arrays)


def _multi_dot_dx(position: int, g: Any, y: Any, *arrays: Any) -> Any:
    """From y = L x R follows gx = L^T g R^T, which is such a chain again."""
    x = arrays[position]
    row, *middle, column = arrays
    row = row[None, :] if row.ndim == 1 else row
    column = column[:, None] if column.ndim == 1 else column
    g = g.reshape(row.shape[0], column.shape[1])
    matrices = [row, *middle, column]
    left, right = matrices[:position], matrices[position + 1 :]
    links = [*(m.T for m in reversed(left)), g, *(m.T for m in reversed(right))]
    return np.linalg.multi_dot(links).reshape(x.shape)


multi_dot.derivative(every=_multi_dot_dx)
composition(np.linalg.multi_dot)(lambda arrays: multi_dot(*arrays))


def _matrix_power_da(g: Any, y: Any, a: Any, n: int) -> Any:
    """Of [[A, E], [0, A]]**n the upper right block is the derivative of A**n in the direction E.

    So it is for every function of matrices; that with A^T and g is the gradient.
    Source: Higham, "Functions of Matrices", 2008, section 3.2.
    """
    a = swap(a)
    upper = np.concatenate([a, g], axis=-1)
    lower = np.concatenate([np.zeros_like(a), a], axis=-1)
    side = a.shape[-1]
    both = np.concatenate([upper, lower], axis=-2)
    return np.linalg.matrix_power(both, n)[..., :side, side:]


derivative(np.linalg.matrix_power, _matrix_power_da)
