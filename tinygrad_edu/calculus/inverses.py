"""Derivatives of inverses, least squares and determinants, for stacks of matrices as in NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.linalg import LinAlgError

from tinygrad_edu.calculus.linalg import swap
from tinygrad_edu.rules import composition, constant, derivative, primitive


def _solve_da(g: Any, y: Any, a: Any, b: Any) -> Any:
    gb = _solve_db(g, y, a, b)
    return -gb[..., :, None] * y[..., None, :] if b.ndim == 1 else -gb @ swap(y)


def _solve_db(g: Any, y: Any, a: Any, b: Any) -> Any:
    if b.ndim == 1:
        return np.linalg.solve(swap(a), g[..., None])[..., 0]
    return np.linalg.solve(swap(a), g)


derivative(np.linalg.inv, lambda g, y, a: -swap(y) @ g @ swap(y), core_axes=2)
derivative(np.linalg.solve, _solve_da, _solve_db, core_axes=2)


def _check_full_rank(a: Any, rcond: Any, dtype: Any) -> None:
    """Raises LinAlgError if a singular value counts as 0, by NumPy's measure or by `rcond`."""
    tolerance = max(a.shape[-2:]) * np.finfo(dtype).eps
    rank = np.linalg.matrix_rank(a, rtol=np.maximum(tolerance, 0 if rcond is None else rcond))
    if (rank < min(a.shape[-2:])).any():
        raise LinAlgError(
            f"the pseudo-inverse of a matrix of shape {a.shape[-2:]} has no derivative at rank "
            f"{np.min(rank)}: it jumps where the rank changes"
        )


def _pinv_da(g: Any, y: Any, a: Any, rcond: Any = None) -> Any:
    """-P^T g P^T + (1 - A P) g^T P P^T + P^T P g^T (1 - P A), with P the pseudo-inverse.

    Source: Golub, Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares
    problems whose variables separate", SIAM Journal on Numerical Analysis 10, 1973.
    """
    _check_full_rank(a, rcond, y.dtype)
    p, p_t, g_t = y, swap(y), swap(g)
    gradient = (g_t - a @ (p @ g_t)) @ p @ p_t
    return gradient + p_t @ p @ (g_t - (g_t @ p) @ a) - p_t @ g @ p_t


constant(np.linalg.matrix_rank)
derivative(np.linalg.pinv, _pinv_da)


@primitive
def lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    """The solution and the residuals of `np.linalg.lstsq` in one array, the latter as last row."""
    x, residuals, *_ = np.linalg.lstsq(a, b, rcond)
    return np.concatenate([x, residuals.reshape(-1, *b.shape[1:])])


def _lstsq_rules(g: Any, y: Any, a: Any, b: Any, rcond: Any) -> tuple[Any, Any]:
    """The gradients of a and b. Of the pseudo-inverse only products with vectors are needed."""
    _check_full_rank(a, rcond, y.dtype)
    n, columns = a.shape[1], math.prod(b.shape[1:])
    x, gx = (part[:n].reshape(n, columns) for part in (y, g))
    g_residuals = g[n:].reshape(-1, columns).sum(axis=0)  # 0 if there are none
    r = b.reshape(-1, columns) - a @ x
    p = np.linalg.pinv(a)
    p_t_gx = p.T @ gx
    gb = p_t_gx + 2 * g_residuals * r
    ga = r @ (p @ p_t_gx).T + p.T @ x @ (gx - p @ (a @ gx)).T - gb @ x.T
    return ga, gb.reshape(b.shape)


lstsq.derivative(
    lambda g, y, a, b, rcond=None: _lstsq_rules(g, y, a, b, rcond)[0],
    lambda g, y, a, b, rcond=None: _lstsq_rules(g, y, a, b, rcond)[1],
)


@composition(np.linalg.lstsq)
def _lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    """The singular values are those of `np.linalg.svd`, the same but for rounding errors."""
    both, n = lstsq(a, b, rcond), np.shape(a)[1]
    rank = np.linalg.matrix_rank(a, rtol=None if rcond is None or rcond < 0 else rcond)
    return both[:n], both[n:].reshape(-1), rank, np.linalg.svd(a, compute_uv=False)


@composition(np.linalg.tensorinv)
def _tensorinv(a: Any, ind: int = 2) -> Any:
    """The inverse of the matrix whose rows are the first `ind` axes of a."""
    if ind <= 0:
        raise ValueError("Invalid ind argument.")
    matrix = a.reshape(math.prod(a.shape[ind:]), -1)
    return np.linalg.inv(matrix).reshape(*a.shape[ind:], *a.shape[:ind])


@composition(np.linalg.tensorsolve)
def _tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    """The x for which b is the sum of a * x over the last axes of a, or over `axes`."""
    if axes is not None:
        a = np.moveaxis(a, axes, range(np.ndim(a) - len(axes), np.ndim(a)))
    columns = np.shape(a)[np.ndim(b) :]
    matrix = np.reshape(a, (-1, math.prod(columns)))
    return np.linalg.solve(matrix, np.ravel(b)).reshape(columns)


@primitive
def cofactors(a: Any) -> Any:
    """The derivative of det(a), also if a has no inverse: the signed minors of all entries.

    det(a) * inv(a).T would lose them. Those of a product are the product of the cofactors, and
    those of the three factors of the singular value decomposition are known.
    Source: Stewart, "On the adjugate matrix", Linear Algebra and its Applications 283, 1998.

    Example:
        >>> cofactors(np.array([[1.0, 2.0], [2.0, 4.0]])).round(12)
        array([[ 4., -2.],
               [-2.,  1.]])
    """
    u, s, vh = np.linalg.svd(a)
    others = np.eye(s.shape[-1]) == 0
    products = np.where(others, s[..., None, :], 1).prod(axis=-1)
    return _orientation(u, vh) * (u * products[..., None, :]) @ vh


@primitive
def cofactors_slope(a: Any, e: Any) -> Any:
    """The derivative of cofactors(a) in the direction e."""
    u, s, vh = np.linalg.svd(a)
    same = np.eye(s.shape[-1]) == 1
    others = ~(same[:, None, :] | same[None, :, :])
    products = np.where(others, s[..., None, None, :], 1).prod(axis=-1) * ~same
    e = swap(u) @ e @ swap(vh)
    diagonal = np.einsum("...ij,...jj->...i", products, e)
    inner = np.where(same, diagonal[..., None, :], -products * swap(e))
    return _orientation(u, vh) * u @ inner @ vh


def _orientation(u: Any, vh: Any) -> Any:
    """1 if the two orthogonal matrices together keep left and right apart, -1 if they swap them."""
    return np.rint(np.linalg.det(u @ vh))[..., None, None]


def _cofactors_slope_da(g: Any, y: Any, a: Any, e: Any) -> Any:
    """The third derivative of det, in terms of p = inv(a) @ e and q = inv(a) @ g."""
    if (np.linalg.matrix_rank(a) < a.shape[-1]).any():
        raise NotImplementedError("the third derivative of np.linalg.det at a singular matrix")
    inverse = np.linalg.inv(a)
    p, q = inverse @ e, inverse @ g
    trace_p, trace_q, trace_pq = (np.einsum("...ii", m)[..., None, None] for m in (p, q, p @ q))
    inner = p @ q + q @ p - trace_p * q - trace_q * p
    inner = inner + (trace_p * trace_q - trace_pq) * np.eye(a.shape[-1], dtype=a.dtype)
    return np.linalg.det(a)[..., None, None] * swap(inner @ inverse)


derivative(np.linalg.det, lambda g, y, a: g[..., None, None] * cofactors(a))
# Second derivatives are symmetric, so the slope is its own transpose.
cofactors.derivative(lambda g, y, a: cofactors_slope(a, g))
cofactors_slope.derivative(_cofactors_slope_da, lambda g, y, a, e: cofactors_slope(a, g))


@primitive
def slogdet(a: Any) -> Any:
    """The sign and the logarithm of `np.linalg.slogdet` in one array."""
    return np.stack(np.linalg.slogdet(a))


slogdet.derivative(lambda g, y, a: g[1][..., None, None] * swap(np.linalg.inv(a)))


SlogdetResult: Any = type(np.linalg.slogdet(np.eye(1)))  # NumPy's named tuple


@composition(np.linalg.slogdet)
def _slogdet(a: Any) -> Any:
    sign, logabsdet = slogdet(a)
    # np.sign leaves the signs as they are, and its results are plain arrays.
    return SlogdetResult(np.sign(sign), logabsdet)
