"""Derivatives of the decompositions of matrices, for stacks of them as in NumPy.

Some functions of symmetric matrices read one triangle only: `np.linalg.cholesky` and
`np.linalg.eigh` the lower one by default. So that a gradient says what happens to the result if an
entry is changed, it is 0 in the other triangle, and what concerns a pair of entries is in the one
that is read. The gradient of what a symmetric matrix was computed from, as in a = x @ x.T, is the
same as with any other convention.

Eigenvectors and singular vectors have no derivative where two of the values are equal, since they
can be turned within a plane. There `LinAlgError` is raised if a gradient reaches them; the values
have one always. A sign that NumPy is free to choose, as in Q and R, is taken as constant.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.linalg import LinAlgError

from tinygrad_edu.calculus.linalg import swap
from tinygrad_edu.rules import composition, derivative, primitive

# The named tuples of NumPy's functions with several results.
EighResult: Any = type(np.linalg.eigh(np.eye(1)))
QRResult: Any = type(np.linalg.qr(np.eye(1)))
SVDResult: Any = type(np.linalg.svd(np.eye(1)))

# Decompositions. Each is one operation with its parts below each other in one array, of which the
# results are slices.


def _half(x: Any, upper: bool = False) -> Any:
    """The lower triangle of x, or the upper one, with half of the diagonal."""
    half = np.tri(x.shape[-1], dtype=x.dtype) - np.eye(x.shape[-1], dtype=x.dtype) / 2
    return x * (half.T if upper else half)


def _folded(x: Any, upper: bool = False) -> Any:
    """The gradient in the one triangle that is read, if x is what it would be in both."""
    return _half(x + swap(x), upper)


def _cholesky_da(g: Any, y: Any, a: Any, upper: bool = False) -> Any:
    """From dL = L half(L^-1 dA L^-T).

    Source: Murray, "Differentiation of the Cholesky decomposition", arXiv:1602.07527, 2016.
    """
    factor, g = (swap(y), swap(g)) if upper else (y, g)
    inverse = np.linalg.inv(factor)
    return _folded(swap(inverse) @ _half(swap(factor) @ g) @ inverse, upper)


derivative(np.linalg.cholesky, _cholesky_da)


def _equal(values: Any) -> tuple[Any, Any]:
    """The differences values[j] - values[i], and which of them are 0 but for rounding errors."""
    gaps = values[..., None, :] - values[..., :, None]
    return gaps, np.abs(gaps) <= _rounding(values)[..., None, None]


def _rounding(values: Any) -> Any:
    """How large rounding errors of eigenvalues or singular values may be."""
    return 16 * np.finfo(values.dtype).eps * np.abs(values).sum(axis=-1)


def _reciprocal(x: Any, zero: Any) -> Any:
    return np.where(zero, 0, 1 / np.where(zero, 1, x))


@primitive
def determined(parts: Any) -> Any:
    """The same parts, for whoever reads the vectors, which are the columns below their values.

    Where two values are equal, or a singular value is 0, a matrix does not determine the vectors,
    and a gradient that arrives at them is refused. If nobody reads them, nothing is to be refused.
    But log(w) * v reads them and lets no gradient pass at w = 1, where the derivative is infinite
    all the same. So a 0 that arrives becomes NaN, as 0 * inf is, and the walk back, which finds out
    what is read, makes a 0 of it again. Between values that differ by rounding errors a 0 is one,
    since no such function is 0 at both.
    """
    return parts.copy()


def _determined_dparts(g: Any, y: Any, parts: Any) -> Any:
    values = parts[..., 0, :]
    gaps, equal = _equal(values)
    others = ~np.eye(values.shape[-1], dtype=bool)
    doubtful, unknown = (equal & others).any(axis=-1), ((gaps == 0) & others).any(axis=-1)
    if parts.shape[-2] > parts.shape[-1] + 1:  # singular vectors, which turn over or about at 0
        doubtful = doubtful | (values <= _rounding(values)[..., None])
        unknown = unknown | (values == 0)
    if (doubtful & (np.abs(g) > 0).any(axis=-2)).any():
        raise LinAlgError(
            "eigenvectors and singular vectors have no derivative where two of their values are "
            "equal, or a singular value is 0. Functions of the values alone have one: use "
            "np.linalg.eigvalsh or np.linalg.svdvals"
        )
    return np.where(unknown[..., None, :], np.nan, g) if unknown.any() else g


determined.derivative(_determined_dparts, core_axes=0, singular=True)


@primitive
def eigh(a: Any, UPLO: Any = "L") -> Any:
    """The eigenvalues of `np.linalg.eigh` in the first row, the eigenvectors below."""
    w, v = np.linalg.eigh(a, UPLO)
    return np.concatenate([w[..., None, :], v], axis=-2)


def _eigh_da(g: Any, y: Any, a: Any, UPLO: Any = "L") -> Any:
    """From dw[i] = (V^T dA V)[i, i] and (V^T dV)[i, j] = (V^T dA V)[i, j] / (w[j] - w[i])."""
    w, v = y[..., 0, :], determined(y)[..., 1:, :]
    turned = swap(v) @ g[..., 1:, :] * _reciprocal(*_equal(w))
    return _folded((v * g[..., :1, :] + v @ turned) @ swap(v), UPLO.upper() == "U")


eigh.derivative(_eigh_da)


@composition(np.linalg.eigh)
def _eigh(a: Any, UPLO: Any = "L") -> Any:
    parts = eigh(a, UPLO)
    return EighResult(parts[..., 0, :], determined(parts)[..., 1:, :])


def _eigvalsh_da(g: Any, y: Any, a: Any, UPLO: Any = "L") -> Any:
    v = np.linalg.eigh(a, UPLO).eigenvectors
    return _folded((v * g[..., None, :]) @ swap(v), UPLO.upper() == "U")


derivative(np.linalg.eigvalsh, _eigvalsh_da)


@primitive
def svd(a: Any) -> Any:
    """The singular values in the first row, below them U and below that the transpose of Vh."""
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    return np.concatenate([s[..., None, :], u, swap(vh)], axis=-2)


def _svd_da(g: Any, y: Any, a: Any) -> Any:
    """From U^T dA V = (U^T dU) S + dS - S (V^T dV), the first and last of which are antisymmetric.

    Source: Townsend, "Differentiating the singular value decomposition", 2016.
    """
    m, n = a.shape[-2:]
    s, both = y[..., :1, :], determined(y)[..., 1:, :]
    u, v = both[..., :m, :], both[..., m:, :]
    gs, gu, gv = g[..., :1, :], g[..., 1 : m + 1, :], g[..., m + 1 :, :]
    gaps, equal = _equal(y[..., 0, :])
    f = _reciprocal(gaps * (s + swap(s)), equal)
    turn_u, turn_v = (x - swap(x) for x in (swap(u) @ gu, swap(v) @ gv))
    gradient = (u @ (f * (turn_u * s + swap(s) * turn_v)) + u * gs) @ swap(v)
    inverse = _reciprocal(s, s <= _rounding(y[..., :1, :])[..., None])
    if m > n:
        gradient = gradient + ((gu - u @ (swap(u) @ gu)) * inverse) @ swap(v)
    if n > m:
        gradient = gradient + (u * inverse) @ swap(gv - v @ (swap(v) @ gv))
    return gradient


svd.derivative(_svd_da)


@primitive
def svdvals(a: Any) -> Any:
    """`np.linalg.svdvals`, and what `np.linalg.svd` gives with `compute_uv=False`."""
    return np.linalg.svd(a, compute_uv=False)


def _svdvals_da(g: Any, y: Any, a: Any) -> Any:
    """As in `svd`; for a singular value of 0, which is a kink as that of abs, 0."""
    u, _, vh = np.linalg.svd(a, full_matrices=False)
    return (u * (g * np.sign(y))[..., None, :]) @ vh


svdvals.derivative(_svdvals_da)
composition(np.linalg.svdvals)(svdvals)


@composition(np.linalg.svd)
def _svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    if hermitian:
        raise NotImplementedError("np.linalg.svd with hermitian=True: use np.linalg.eigh instead")
    if not compute_uv:
        return svdvals(a)
    m, n = a.shape[-2:] if a.ndim > 1 else (0, 0)
    if full_matrices and m != n:
        raise NotImplementedError(
            f"np.linalg.svd of shape {a.shape} with full_matrices=True, as by default: the vectors "
            f"that fill up the larger matrix are not unique; pass full_matrices=False"
        )
    parts = svd(a)
    both = determined(parts)[..., 1:, :]
    return SVDResult(both[..., :m, :], parts[..., 0, :], swap(both[..., m:, :]))


@composition(np.linalg.cond)
def _cond(x: Any, p: Any = None) -> Any:
    if p not in (None, 2, -2):
        raise NotImplementedError(
            f"np.linalg.cond with p={p!r}: write "
            f"np.linalg.norm(x, {p!r}) * np.linalg.norm(np.linalg.inv(x), {p!r})"
        )
    s = np.linalg.svdvals(x)
    with np.errstate(all="ignore"):
        ratio = s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return np.where(np.isnan(ratio), np.inf, ratio)


@primitive
def qr(a: Any) -> Any:
    """The factor Q of the reduced decomposition, and the transpose of R below."""
    q, r = np.linalg.qr(a)
    return np.concatenate([q, swap(r)], axis=-2)


def _qr_da(g: Any, y: Any, a: Any) -> Any:
    """The columns of a that are more than its rows are Q times those of R.

    Source: Roberts, Roberts, "QR and LQ decomposition matrix backpropagation algorithms for
    square, wide, and deep matrices and their software implementation", arXiv:2009.10071, 2020.
    """
    m = a.shape[-2]
    k = y.shape[-1]
    q, r, gq, gr = y[..., :m, :], swap(y[..., m:, :]), g[..., :m, :], swap(g[..., m:, :])
    wider = gr[..., k:]
    gq = gq + a[..., k:] @ swap(wider)
    r, gr = r[..., :k], gr[..., :k]
    diagonal = np.einsum("...ii->...i", r)
    if (np.abs(diagonal) <= _rounding(diagonal)[..., None]).any():
        raise LinAlgError(
            f"np.linalg.qr has no derivative where the first {k} columns are linearly dependent"
        )
    half = _half(r @ swap(gr) - swap(gq) @ q)
    first = (gq + q @ (half + swap(half))) @ swap(np.linalg.inv(r))
    return np.concatenate([first, q @ wider], axis=-1)


qr.derivative(_qr_da)


@composition(np.linalg.qr)
def _qr(a: Any, mode: str = "reduced") -> Any:
    if mode not in ("reduced", "r"):
        raise NotImplementedError(f"np.linalg.qr with mode={mode!r}: use 'reduced' or 'r'")
    parts, m = qr(a), a.shape[-2]
    r = np.copy(swap(parts[..., m:, :]), order="C")
    return r if mode == "r" else QRResult(parts[..., :m, :], r)
