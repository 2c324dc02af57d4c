"""A corpus of NumPy code to differentiate, each with what the gradient is.

An expression is the body of a function of the names of POINTS that stand in it, written for plain
`import numpy as np`. Its gradient is that of the sum of its outputs, each times a random weight w.
What is right is known without any engine: from differences of the plain function, or, where it is
not smooth or not double precision, by what is written here as `exact`, in terms of the inputs and
of w, or as `accept`, a condition on the gradients g where there are several right answers (any
derivative between the slopes on both sides of a kink).
"""

from __future__ import annotations

import copy
import functools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_random = np.random.default_rng(0)

# No two values of one array, and none of two arrays that are compared, are closer than 0.1 to each
# other or to 0, so that differences do not step over a kink.
POINTS: dict[str, Any] = {
    "x": np.array([-1.3, 0.4, 2.1, -0.7]),
    "z": np.array([0.9, -1.6, 0.25, 1.2]),
    "p": np.array([0.6, 1.7, 2.4, 1.1]),
    "u": np.array([-0.6, 0.3, 0.85, -0.2]),
    "s": 0.7,
    "t": 1.9,
    "A": np.array([[0.3, -1.1, 2.0, 0.7], [1.4, 0.9, -0.5, -1.8], [-0.8, 1.7, -2.2, 0.5]]),
    "B": np.array([[1.2, -0.4], [0.8, 1.5], [-1.7, 0.6], [0.2, -0.9]]),
    "col": np.array([[0.15], [1.05], [-1.4]]),
    "S": np.array([[2.1, 0.3, -0.6], [0.5, 1.7, 0.4], [-0.2, 0.8, 2.6]]),
    "R": np.array([[0.6, -1.2, 0.4], [1.1, 0.9, -0.3], [-0.5, 0.2, 1.4]]),
    "b": np.array([0.8, -1.5, 0.45]),
    "v": np.array([-0.35, 1.25, 0.95]),
    "C": _random.permutation(np.linspace(-2.0, 2.05, 24)).reshape(2, 3, 4),
    "D": _random.permutation(np.linspace(-1.95, 2.1, 24)).reshape(2, 4, 3),
    "f": np.array([-1.25, 0.5, 2.0, -0.75], np.float32),
    "h": np.array([-1.25, 0.5, 2.0, -0.75], np.float16),
    "l": np.array([-1.3, 0.4, 2.1, -0.7], np.longdouble) / 3,
}


@dataclass(frozen=True)
class Expression:
    """A piece of NumPy code, a point, and what its gradient is.

    Attributes:
        group: what it is an example of.
        source: an expression, or statements with a `return`.
        exact: the gradient by each input, several in a tuple; `None` if differences tell it.
        accept: a condition on the gradient g, by each input if there are several.
        at: the point, as far as it is not that of POINTS.
        order: 2 for the gradient of the weighted sum of the gradient.
    """

    group: str
    source: str
    exact: str | None = None
    accept: str | None = None
    at: dict[str, Any] = field(default_factory=dict)
    order: int = 1

    @property
    def name(self) -> str:
        """The source in one line, with the point where it is a special one."""
        point = ", ".join(f"{name} = {_shown(value)}" for name, value in self.at.items())
        text = re.sub(r"[ \n]*\n", "; ", self.source).replace(":; ", ": ")
        text = re.sub(r"  +", " ", text)
        return (f"{text} at {point}" if point else text) + (", twice" if self.order == 2 else "")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs, in the order of POINTS."""
        words = set(re.findall(r"(?<![\w.])[A-Za-z]\w*", self.source))
        return tuple(name for name in POINTS if name in words)

    @property
    def args(self) -> list[Any]:
        """The point, in copies."""
        values = [self.at.get(name, POINTS[name]) for name in self.inputs]
        return [copy.copy(value) for value in values]

    @functools.cached_property
    def function(self) -> Callable[..., Any]:
        """The code as a function of its inputs."""
        body = self.source if "\n" in self.source else f"return {self.source}"
        lines = "\n    ".join(body.split("\n"))
        space: dict[str, Any] = {"np": np, "math": math}
        exec(f"def f({', '.join(self.inputs)}):\n    {lines}", space)
        return space["f"]


def _shown(value: Any) -> str:
    array = np.asarray(value)
    kind = "" if array.dtype == np.float64 else f" {array.dtype}"
    return np.array2string(array, separator=", ").replace("\n", "") + kind


def expressions() -> list[Expression]:
    """All of them, by groups."""
    plain = [
        Expression(group, source.strip())
        for group, text in _GROUPS.items()
        for source in text.strip().split("\n")
    ]
    statements = [
        Expression(group, source.strip())
        for group, text in _STATEMENTS.items()
        for source in text.strip().split("\n\n")
    ]
    twice = [Expression("second derivatives", s, order=2) for s in _TWICE.strip().split("\n")]
    return [*plain, *statements, *_dtypes(), *_hard_points(), *twice]


# One a line.
_GROUPS = {
    "ufuncs": """
        np.exp(x)
        np.exp2(x)
        np.expm1(x)
        np.log(p)
        np.log2(p)
        np.log10(p)
        np.log1p(p)
        np.sqrt(p)
        np.cbrt(x)
        np.square(x)
        np.reciprocal(x)
        np.sin(x)
        np.cos(x)
        np.tan(u)
        np.arcsin(u)
        np.arccos(u)
        np.arctan(x)
        np.sinh(x)
        np.cosh(x)
        np.tanh(x)
        np.arcsinh(x)
        np.arccosh(1 + p)
        np.arctanh(u)
        np.deg2rad(x) + np.radians(z)
        np.rad2deg(x) + np.degrees(z)
        np.abs(x)
        np.fabs(x)
        -x + +z
        np.sign(x) * z
        np.floor(x) * z + np.rint(z)
        x + z * x - 1
        x / z
        2 / x - x / 2
        p**z
        x**3 - x**2
        p**-1.5 + 2**x
        np.float_power(p, z)
        x % 1
        np.mod(x, z)
        np.fmod(x, z)
        x // 1 * z
        np.divmod(x, 0.37)[1]
        np.maximum(x, z)
        np.minimum(x, 0.5)
        np.fmax(x, z)
        np.fmin(x, z)
        np.hypot(x, z)
        np.arctan2(x, z)
        np.logaddexp(x, z)
        np.logaddexp2(x, z)
        np.copysign(x, z)
        np.heaviside(x, 0.5) * x
        np.ldexp(x, 3)
        np.modf(x)[0] * z
        np.clip(x, -1, 1)
        np.sinc(x)
        np.i0(x)
        np.nan_to_num(x)
        np.real(x) + np.imag(x)
        np.exp(x[:, None] * z)
        np.add(A, x) * col
    """,
    "reductions": """
        np.sum(A)
        np.sum(A, axis=0)
        np.sum(C, axis=(0, 2), keepdims=True)
        np.mean(A, axis=-1)
        np.mean(C, axis=(0, 1))
        np.var(A)
        np.var(A, axis=1, ddof=1)
        np.std(A, axis=0)
        np.std(A, axis=1, ddof=1, keepdims=True)
        np.max(A, axis=1)
        np.min(A)
        np.amax(A, axis=0, keepdims=True)
        np.ptp(A, axis=1)
        np.prod(x)
        np.prod(A, axis=0)
        np.prod(C, axis=(0, 1))
        np.median(A)
        np.median(A, axis=1)
        np.average(x, weights=p)
        np.average(A, axis=0)
        np.quantile(A, 0.3)
        np.percentile(A, 30, axis=1)
        np.quantile(x, [0.2, 0.9])
        np.nansum(A, axis=0)
        np.nanmean(A)
        np.nanmax(A, axis=1)
        np.nanvar(A, axis=0)
        np.nanstd(A)
        np.nanprod(x)
        np.nanmedian(x)
        np.cumsum(A)
        np.cumsum(A, axis=1)
        np.cumprod(x)
        np.cumprod(A, axis=0)
        np.nancumsum(x)
        np.logaddexp(np.max(x), np.min(z))
        np.count_nonzero(x > 0) * x
        np.cov(A)
        np.corrcoef(A)
        np.sum(x, where=np.array([True, False, True, True]))
        np.max(x, initial=1.0)
        sum(x)
    """,
    "shapes": """
        np.reshape(A, (2, 6))
        np.reshape(A, -1, order="F")
        np.ravel(A) * 2
        np.transpose(C)
        np.transpose(C, (1, 0, 2))
        np.swapaxes(C, 0, 2)
        np.moveaxis(C, 0, -1)
        np.rollaxis(C, 2)
        np.matrix_transpose(C)
        np.permute_dims(C, (2, 0, 1))
        np.expand_dims(x, (0, 2))
        np.squeeze(col, axis=1)
        np.squeeze(col[None])
        np.broadcast_to(x, (3, 4)) * A
        np.broadcast_arrays(x, col)[1]
        np.atleast_1d(s)
        np.atleast_2d(x)
        np.atleast_3d(A)
        np.concatenate([x, z])
        np.concatenate([A, col], axis=1)
        np.concatenate([A, x], axis=None)
        np.concat([x, z])
        np.stack([x, z], axis=-1)
        np.vstack([A, x])
        np.hstack([A, col])
        np.dstack([x, z])
        np.column_stack([x, z])
        np.block([[A, col], [x, np.ones(1)]])
        np.append(x, z)
        np.append(A, col, axis=1)
        np.insert(x, 1, 2 * s)
        np.delete(x, 2)
        np.split(x, 2)[1]
        np.array_split(x, 3)[0]
        np.hsplit(A, 2)[1]
        np.vsplit(A, 3)[1]
        np.unstack(A)[1]
        np.tile(x, 2)
        np.tile(A, (2, 1, 3))
        np.repeat(x, 3)
        np.repeat(A, [1, 0, 2], axis=0)
        np.roll(x, 1)
        np.roll(A, (1, -1), axis=(0, 1))
        np.flip(A)
        np.fliplr(A) - np.flipud(A)
        np.rot90(A)
        np.pad(x, 2)
        np.pad(A, ((1, 0), (0, 2)), constant_values=3.0)
        np.pad(x, 2, mode="edge")
        np.pad(x, (1, 2), mode="reflect")
        np.pad(x, 3, mode="wrap")
        np.resize(x, (2, 3))
        np.copy(x) * z
        np.full_like(x, 2.0) * x
        np.zeros_like(x) + x
        np.lib.stride_tricks.sliding_window_view(x, 2)
        np.ascontiguousarray(A.T)
    """,
    "products": """
        A @ B
        x @ z
        A @ x
        x @ B
        C @ D
        C @ B
        np.matmul(A, D)
        np.dot(A, B)
        np.dot(x, z)
        np.dot(C, D)
        np.dot(s, A)
        np.vdot(A, A + 1)
        np.inner(A, x)
        np.inner(A, C)
        np.outer(x, z)
        np.tensordot(A, B, axes=1)
        np.tensordot(C, D, axes=([0, 2], [0, 1]))
        np.kron(x, z)
        np.kron(A, B)
        np.cross(b, v)
        np.cross(R, b)
        np.einsum("ij,jk->ik", A, B)
        np.einsum("ij,j", A, x)
        np.einsum("bij,bjk->bik", C, D)
        np.einsum("ii->i", S)
        np.einsum("ii", S)
        np.einsum("...j,j->...", C, x)
        np.einsum("i,ij,j", b, S, v)
        np.einsum(A, [0, 1], x, [1], [0])
        np.convolve(x, b)
        np.convolve(x, b, mode="same")
        np.correlate(x, b, mode="valid")
        np.vecdot(A, x)
        np.matvec(A, x)
        np.vecmat(x, B)
        np.linalg.multi_dot([x, B, np.ones(2)])
        np.linalg.matmul(A, B)
        np.linalg.outer(x, z)
        np.polyval(b, x)
    """,
    "linear algebra": """
        np.linalg.inv(S)
        np.linalg.inv(S + C[:, :, :3])
        np.linalg.det(S)
        np.linalg.slogdet(S)[1]
        np.linalg.slogdet(S).logabsdet
        np.linalg.solve(S, b)
        np.linalg.solve(S, R)
        np.linalg.pinv(A)
        np.linalg.lstsq(A.T, x)[0]
        np.linalg.cholesky(R @ R.T + S.T @ S)
        np.linalg.eigvalsh(R + R.T)
        np.linalg.eigh(R + R.T)[0]
        np.abs(np.linalg.eigh(R + R.T)[1])
        np.linalg.eigh(R + R.T).eigenvalues
        np.linalg.svd(A, compute_uv=False)
        np.linalg.svd(A, full_matrices=False)[1]
        np.abs(np.linalg.svd(R)[0])
        np.linalg.svdvals(A)
        np.abs(np.linalg.qr(S)[0])
        np.abs(np.linalg.qr(S)[1])
        np.linalg.norm(x)
        np.linalg.norm(x, 1)
        np.linalg.norm(x, np.inf)
        np.linalg.norm(x, 3)
        np.linalg.norm(A)
        np.linalg.norm(A, axis=1)
        np.linalg.norm(A, "fro", axis=(0, 1), keepdims=True)
        np.linalg.norm(A, "nuc")
        np.linalg.norm(A, 2)
        np.linalg.vector_norm(A, axis=0)
        np.linalg.matrix_norm(C)
        np.linalg.matrix_power(S, 3)
        np.linalg.matrix_power(S, -2)
        np.linalg.tensorsolve(S, b)
        np.linalg.cond(S)
        np.trace(S)
        np.trace(A, offset=1)
        np.linalg.trace(S)
        np.linalg.diagonal(S)
        np.diag(x)
        np.diag(S)
        np.diagonal(A, offset=1)
        np.diagflat(b)
        np.tril(A)
        np.triu(S, 1)
        np.vander(x, 3)
    """,
    "sorting and selection": """
        np.sort(x)
        np.sort(A, axis=0)
        np.sort(A, axis=None)
        np.partition(x, 2)
        x[np.argsort(x)]
        x[np.argmax(x)]
        np.take(x, [0, 2, 0])
        np.take(A, [1, 1], axis=1)
        np.take_along_axis(A, np.argsort(A, axis=1), axis=1)
        np.compress([True, False, True, False], x)
        np.extract(x > 0, x * z)
        np.choose([0, 1, 1, 0], [x, z])
        np.select([x > 1, x > 0], [x * z, z], default=0.0)
        np.where(x > 0, x, z)
        np.where(x > 0, np.sin(x), 0.1 * x)
        np.piecewise(x, [x > 0], [lambda x: x**2, lambda x: -x])
        np.unique(x)
        x[np.nonzero(x > 0)]
        x[np.flatnonzero(x > 0)]
        np.lexsort([x]) * x
        np.searchsorted(np.sort(x), 0.1) * x
        np.trim_zeros(x)
        np.sort_complex(x).real
        np.maximum.reduce([x, z])
        np.argwhere(x > 0)[:, 0] @ z[:2] * x
    """,
    "interpolation and differences": """
        np.diff(x)
        np.diff(A, n=2)
        np.diff(A, axis=0)
        np.diff(x, prepend=0.0)
        np.ediff1d(x)
        np.gradient(x)
        np.gradient(x, 0.5)
        np.gradient(A)[0]
        np.gradient(A, axis=1)
        np.gradient(x, np.array([0.0, 1.0, 3.0, 4.0]), edge_order=2)
        np.interp(u, [-1, 0, 1], b)
        np.interp([0.3, 0.7], p.cumsum(), x)
        np.interp(u, np.array([-1.0, -0.5, 0.5, 1.0]), np.array([0.0, 2.0, 1.0, 5.0]))
        np.trapezoid(x)
        np.trapezoid(x, dx=0.5)
        np.trapezoid(A, np.cumsum(p), axis=1)
        np.unwrap(3 * x)
        np.linspace(s, t, 4)
        np.linspace(x, z, 3, axis=1)
        np.geomspace(s, t, 4)
        np.logspace(s, t, 4)
        np.meshgrid(x, z)[1]
        np.histogram(x, bins=3, weights=z)[0]
        np.bincount([0, 1, 1, 3], weights=x)
        np.digitize(x, [0.0, 1.0]) * x
        np.polyfit(np.arange(4.0), x, 1)
        np.fft.irfft(np.fft.rfft(x) * 2)
        np.abs(np.fft.fft(x)) ** 2
        np.apply_along_axis(np.sum, 1, A)
        np.vectorize(lambda a: a * a)(x)
    """,
    "ufunc methods": """
        np.add.reduce(A)
        np.add.reduce(A, axis=1, keepdims=True)
        np.multiply.reduce(A, axis=1)
        np.maximum.reduce(A)
        np.minimum.reduce(A, axis=1)
        np.logaddexp.reduce(A, axis=1)
        np.hypot.reduce(x)
        np.subtract.reduce(x)
        np.add.accumulate(x)
        np.multiply.accumulate(A, axis=1)
        np.maximum.accumulate(x)
        np.add.outer(x, b)
        np.multiply.outer(x, b)
        np.subtract.outer(b, A)
        np.maximum.outer(x, z)
        np.power.outer(p, b)
        np.add.reduceat(x, [0, 2])
    """,
    "array methods": """
        x.sum()
        A.sum(axis=0)
        A.sum(0, keepdims=True)
        A.mean(axis=1)
        A.mean(1)
        A.var(axis=0)
        A.std(axis=1, ddof=1)
        A.max(axis=0)
        A.min()
        A.prod(axis=1)
        x.cumsum()
        A.cumsum(axis=0)
        x.cumprod()
        x.clip(0, 1)
        x.clip(max=0.5)
        A.T
        C.T
        C.mT
        A.flatten()
        A.ravel()
        A.reshape(4, 3)
        A.reshape((2, -1))
        A.reshape(-1, order="F")
        A.transpose()
        C.transpose(1, 0, 2)
        C.swapaxes(0, 1)
        col.squeeze()
        x.copy()
        x.astype(float)
        x.dot(z)
        A.dot(B)
        S.trace()
        S.diagonal()
        x.repeat(2)
        x.take([0, 0, 3])
        x.round(1) * x
        A[x.argmax() - 1]
        np.array_equal(x, x) * x
        x.compress([True, False, True, True])
        x.item(2) * z
        x.real + x.imag
        x.conj()
        x[x.argsort()]
        x.__abs__()
        x.searchsorted(0.0) * x
        A.flat[5]
        x.ndim * x + x.size + len(x)
        x.view()
        x.nonzero()[0] @ z[:4]
        (x > 0).astype(float) * x
        divmod(x, 1.0)[1]
        abs(x) + round(s, 1)
        x.__pow__(2)
        x @ x.T
    """,
    "indexing": """
        x[0]
        x[-1] * x[1]
        x[1:3]
        x[::-1]
        x[::2]
        A[1]
        A[:, 2]
        A[1, 2]
        A[0:2, ::-2]
        A[..., 0]
        A[None, :, None]
        x[[0, 0, 2]]
        x[np.array([[0, 1], [1, 3]])]
        A[[0, 2], [1, 1]]
        A[[0, 0], 1:3]
        A[:, [3, 0]]
        C[0, :, [1, 2]]
        C[:, [0, 2], :]
        A[np.ix_([0, 2], [1, 3])]
        x[x > 0]
        A[A > 0]
        A[np.array([True, False, True])]
        A[np.array([True, False, True]), 1]
        x[np.array([True, False, False, True])]
        x[()]
        x[[]] + 1.0
        x[np.array(2)]
        A[np.unravel_index(5, (3, 4))]
        A[np.triu_indices(3)]
        A[np.diag_indices(3)]
        C[1][0][2]
        s * np.array(2.0)[()]
        [e for e in x][2] * x
    """,
}

# Separated by an empty line. Wherever a value is copied first, the arrays are the function's own.
_STATEMENTS = {
    "assignment": """
y = x * 1
y[0] = y[1] * 2
return y

y = x.copy()
y[1:3] = z[:2]
return y * y

y = np.copy(x)
y[[0, 2]] = z[[1, 1]]
return y

y = x * z
y[y > 0] = 0.5
return y * x

y = x * z
y[y < 0] *= 0.1
return y

y = A + 0
y[0] = y[1] * y[2]
return y

y = A + 0
y[:, 1] = x[:3]
return y @ x

y = x * 1
y[0] += 5 * z[1]
return y

y = x * 1
y += z
return y

y = x * 1
y *= z
y -= 1
y /= p
return y

y = x * 1
y **= 2
return y

y = A * 1
y += col
return y

y = A * 1
for i in range(3):
    y[i] = np.tanh(y[i - 1]) * x
return y

y = A * 1
for i in range(3):
    for j in range(4):
        y[i, j] = y[i, j - 1] * x[j]
return y

y = A * 1
row = y[0]
row *= 2
return y * y

y = A * 1
row = y[0]
y[0] = x
return row * z

y = A * 1
first = y[:, 0]
first += b
y[0] = x
return np.concatenate([y.ravel(), first])

y = A * 1
for row in y:
    row *= row
return y

y = A.copy()
y.T[0] = b
return y

y = A * 1
y.reshape(-1)[3:5] = z[:2]
return y * y

y = A * 1
flat = y.ravel()
flat[0] = s
return y * y

x += 1
return x * x

x *= z
return x * z

x[0] = 2 * x[1]
return x * x

y = x * 1
old = y
y = y + 1
y[0] = 7.0
return y * old

y = x * 1
y[:] = z
return y * y

y = x * 1
y[...] = 2 * y
return y * y

y = x * 1
y[0], y[1] = y[1], y[0]
return y * z

y = x * 1
kept = y * y
y[0] = 3.0
return kept + y

y = np.zeros_like(x)
y += x
return y * y

y = np.zeros_like(x)
y[:2] = x[2:]
return y * y

y = np.exp(x)
np.add.at(y, [0, 0, 1], z[:3])
return y

y = x * 1
np.fill_diagonal(A, y[:3])
return A * A

y = x * 1
np.copyto(y, z, where=x > 0)
return y

y = x * 1
np.put(y, [0, 1], [5.0, 6.0])
return y

y = A * 1
y.sort(axis=1)
return y

y = x * 1
y.fill(2.0)
return y * x

y = x * 1
np.multiply(y, z, out=y)
return y

y = x * 1
np.put_along_axis(y, np.array([1]), s, 0)
return y

total = x[0]
first = total
total += x[1]
return total * first

first = s
s += t
return s * first

total = np.sum(x)
before = total
total *= 2
return total * before

total = np.max(x)
for e in z:
    total += e * total
return total

y = x * 1
entry = y[1]
entry += 5
return y * y

y = x * 1
entry = y[1, ...]
entry += 5
return y * y

y = x * 1
z0 = np.squeeze(y)
z0[0] = 3.0
return y * y

y = A * 1
halves = np.split(y, 2, axis=1)
halves[1][0] *= 2
return y * y

y = A * 1
y[1:] += y[:-1]
return y * y

y = A * 1
y[::-1][0] = x
y[:, ::2] **= 2
return y * y

y = A * 1
np.moveaxis(y, 0, 1)[2] = b
return y * y

y = x * 1
y[[0, 0]] = z[:2]
return y * y

y = x * 1
y[[0, 0, 1]] += z[:3]
return y * y

y = np.broadcast_to(x, (3, 4)).copy()
y[1] = 0.0
return y * A

y = x[::-1]
y = y * 2
y[0] = x[0]
return y * x

y = [x * 1, z * 1]
y[0][0] = y[1][1]
y[1] = y[1] + y[0]
return y[0] * y[1]

y, w0 = x * 1, x * 1
y[1:] -= w0[:-1]
w0[0] = y[3]
return y * w0
""",
    "leaving the arrays": """
out = np.zeros(4)
for i in range(4):
    out[i] = x[i] * z[i]
return out

out = np.empty((4, 3))
for i in range(4):
    out[i] = x[i] * b
return out

out = np.zeros(4)
out += x * x
return out

out = np.zeros(4)
np.multiply(x, z, out=out)
return out

out = []
for i in range(4):
    out.append(x[i] ** 2)
return np.stack(out)

out = np.array([x[0] * x[1], x[2]])
return out

out = np.asarray(x) * 2
return out

out = np.array(x) * np.array(z)
return out

out = [float(e) ** 2 for e in x]
return np.sum(out)

out = math.exp(x[0])
return out * x

out = np.fromiter((e * e for e in x), float)
return out

out = np.array(x.tolist()) ** 2
return out

out = np.array([x, z])
return out * out

out = np.sum([x, z], axis=0)
return out * x

out = sum(e * e for e in x)
return out

out = max(x) * min(z)
return out

state = np.zeros(4)
for row in A:
    state = np.tanh(state + row * x)
return state

total = 0.0
for i in range(len(x)):
    if x[i] > 0:
        total += x[i] * z[i]
return total

y, i = x, 0
while np.sum(y * y) > 0.5 and i < 20:
    y, i = 0.8 * y, i + 1
return y

out = np.zeros(4)
out[:] = x
return out * out

out = np.ones(4)
out *= x
return out

out = x.astype(np.float32).astype(float)
return np.sqrt(out * out + 1)

out = np.array([1.0, 2.0])
out = np.append(out, x[0])
return out * out

out = {"product": x * z, "plain": x}
return out["product"] + out["plain"]
""",
}

_TWICE = """
np.exp(x)
np.tanh(x)
x**3
p**2.5
x / (1 + x**2)
np.sqrt(p)
np.log(p) * np.sin(p)
np.arctan2(p, 2.0)
np.logaddexp(x, 0)
np.sum(x) ** 2
np.mean(A, axis=0) ** 2
np.prod(x)
np.cumprod(x)
np.cumsum(x) ** 2
np.var(A, axis=1)
np.std(x)
np.max(A, axis=1) ** 2
np.sort(x) ** 2
np.linalg.norm(x)
A.T @ A
np.dot(x, x)
np.einsum("ij,kj->ik", A, A)
np.outer(x, x)
np.kron(x, x)
np.linalg.inv(S)
np.linalg.det(S)
np.linalg.solve(S, np.ones(3))
np.linalg.slogdet(S)[1]
np.linalg.eigvalsh(R + R.T)
np.where(x > 0, x**2, np.sin(x))
np.concatenate([x, x * x])
np.reshape(A, (2, 6)) ** 2
x[[0, 0, 1]] * x[1:]
np.clip(x, -1, 1) ** 3
np.diff(x) ** 2
np.log(np.sum(np.exp(x)))
np.hypot(x, 1.0)
np.multiply.outer(x, x)
x.var() * x.mean()
"""


def _dtypes() -> Iterator[Expression]:
    """Leaves in other dtypes, among constants in float64 and Python's numbers."""
    constant = "np.array([0.5, -2.0, 1.5, 3.0])"
    single = f"(w * {constant}).astype(np.float32)"
    for source, exact in (
        ("f * 2.5", None),
        ("f**2 / 3 - 0.1", None),
        (f"f * {constant}", single),
        (f"f + {constant}", "w.astype(np.float32)"),
        ("np.exp(f) * np.float64(3.0)", None),
        ("np.dot(f, [0.5, -2.0, 1.5, 3.0])", f"w * {constant}"),
        (f"np.where(f > 0, f, {constant})", "w * (f > 0)"),
        (f"np.concatenate([f, {constant}])", "w[:4]"),
        ("f.astype(np.float64) * x", "(w * f, w * x)"),
        ("f * x", "(w * f, w * x)"),
        ("f.mean() + f.var() + f.std()", None),
        ("np.sum(f, dtype=np.float64)", "np.full(4, w)"),
        ("np.linalg.norm(f)", None),
        ("np.mean(f) * np.pi", None),
        ("np.logaddexp(f, 0.5) + np.sinc(f)", None),
        ("np.prod(f) * np.median(f)", None),
        ("f @ np.eye(4)", "w"),
        ("np.cumsum(f) * np.arange(4)", "np.cumsum((w * np.arange(4))[::-1])[::-1]"),
        ("f * np.array([1, 2, 3, 4])", "w * [1, 2, 3, 4]"),
        ("np.exp(h) * 2", None),
        ("np.mean(h * h)", None),
        ("np.tanh(h).sum()", None),
        ("h * f", "(w * h, w * f)"),
        ("np.var(h) + np.max(h)", None),
        ("np.exp(l)", "w * np.exp(l)"),
        ("l * l / 3", "2 * w * l / 3"),
        ("np.sum(np.sin(l))", "w * np.cos(l)"),
        ("l * x", "(w * l, w * x)"),
        ("np.log2(l * l)", "2 * w / l / np.log(np.longdouble(2))"),
        ("s * t + s**2", None),
    ):
        yield Expression("dtypes", source, exact)
    yield Expression("dtypes", "x * 2", "w * 2", at={"x": np.float32(1.5)})
    yield Expression("dtypes", "np.sin(x)", "w * np.cos(x)", at={"x": np.float64(1.5)})
    yield Expression("dtypes", "x * x[0]", at={"x": np.array([1.5, 2.5]).astype(">f8")})


def _hard_points() -> Iterator[Expression]:
    """Where derivatives are infinite, undefined or not reached, with what is right there."""

    def at(source: str, exact: str | None = None, accept: str | None = None, **point: Any) -> Any:
        arrays = {name: np.array(value, float) for name, value in point.items()}
        return Expression("hard points", source, exact, accept, arrays)

    # Any subgradient will do at a kink.
    yield at("np.abs(x)", accept="np.abs(g) <= np.abs(w)", x=[0.0])
    yield at("np.maximum(x, 0)", accept="(g / w >= 0) & (g / w <= 1)", x=[0.0])
    yield at("np.clip(x, 0, 1)", accept="(g / w >= 0) & (g / w <= 1)", x=[0.0, 1.0])
    yield at("np.maximum(x, x)", "w", x=[0.0, 1.5])
    yield at("np.minimum(x, x) + np.fmax(x, x)", "2 * w", x=[0.0, 1.5])
    yield at("np.maximum(x, -x)", accept="np.abs(g) <= np.abs(w)", x=[0.0])
    shared = "[np.isclose(g.sum(), w), np.all(g / w >= 0)]"
    yield at("np.max(x)", accept=f"{shared} + [g[1] == 0]", x=[2.0, 1.0, 2.0])
    yield at("np.min(x)", accept=shared, x=[1.0, 1.0, 1.0])
    yield at("np.median(x)", accept=shared, x=[1.0, 1.0, 1.0, 1.0])
    yield at(
        "np.max(x, axis=1)",
        accept="[np.allclose(g.sum(axis=1), w), g[1, 0] == 0]",
        x=[[3.0, 3.0], [1.0, 2.0]],
    )
    yield at("np.sort(x)", accept="[np.isclose(g[:2].sum(), w[1:].sum())]", x=[1.0, 1.0, 0.0])
    yield at("np.ptp(x)", accept="[np.isclose(g.sum(), 0)]", x=[1.0, 1.0])
    # A norm at 0 has the unit ball for slopes.
    ball = "np.linalg.norm(g) <= np.abs(w)"
    yield at("np.linalg.norm(x)", accept=ball, x=[0.0, 0.0])
    yield at("np.sqrt(np.sum(x**2))", accept=ball, x=[0.0, 0.0])
    yield at("np.sqrt(x @ x)", accept=ball, x=[0.0, 0.0])
    yield at("np.sqrt(x * x)", accept=ball, x=[0.0])
    yield at("np.hypot(x, z)", accept="np.hypot(*g) <= np.abs(w)", x=[0.0], z=[0.0])
    yield at("np.std(x)", accept=f"[{ball}, np.isclose(g.sum(), 0)]", x=[1.5, 1.5, 1.5])
    yield at("x.std()", accept=f"[{ball}, np.isclose(g.sum(), 0)]", x=[0.0, 0.0])
    yield at("np.var(x)", "0 * x", x=[1.5, 1.5, 1.5])
    yield at(
        "np.linalg.norm(A, axis=1)",
        accept="[np.linalg.norm(g[1]) <= abs(w[1]), np.allclose(g[0], w[0] * A[0] / 5)]",
        A=[[3.0, 4.0], [0.0, 0.0]],
    )
    yield at(
        "A / np.maximum(np.linalg.norm(A, axis=1, keepdims=True), 1e-12)",
        accept="np.isfinite(g)",
        A=[[3.0, 4.0], [0.0, 0.0]],
    )
    yield at("np.linalg.norm(x, 3)", accept="np.isfinite(g)", x=[0.0, 0.0])
    # Products and powers of zero.
    yield at("np.prod(x)", x=[2.0, 0.0, 3.0])
    yield at("np.prod(x)", x=[2.0, 0.0, 0.0])
    yield at("np.prod(A, axis=1)", A=[[2.0, 0.0], [0.0, 0.0], [1.0, 4.0]])
    yield at("np.cumprod(x)", x=[2.0, 0.0, 3.0, 0.0])
    yield at("np.multiply.reduce(x)", x=[0.0, 5.0])
    yield at("x**0", "0 * w", x=[0.0, 2.0])
    yield at("x**1", "w", x=[0.0, -2.0])
    yield at("x**2", "2 * w * x", x=[0.0, -2.0])
    yield at("x**0.0 + x**1.0", "w", x=[0.0])
    yield at("x**p", "(w * [0.0, 1.0, 0.0], 0 * w)", x=[0.0, 0.0, 0.0], p=[0.0, 1.0, 3.0])
    yield at("np.float_power(x, 2)", "2 * w * x", x=[0.0, -2.0])
    yield at("x**np.array([0, 1, 2, 3])", "w * [0, 1, -3, 6.75]", x=[-1.5, -1.5, -1.5, -1.5])
    yield at("0.0**p", "0 * w", p=[1.0, 2.5])
    yield at("x**0.5", "w * np.inf", x=[0.0])
    yield at("np.sqrt(x)", "w * np.inf", x=[0.0])
    yield at("np.cbrt(x)", "w * np.inf", x=[0.0])
    yield at("np.log(x)", "w * np.inf", x=[0.0])
    yield at("np.log1p(x)", "w * np.inf", x=[-1.0])
    yield at("np.arcsin(x)", "w * np.inf", x=[1.0])
    yield at("np.sqrt(x)", "w * [np.inf, 0.25]", x=[0.0, 4.0])
    # Where the outcome was not read, or weighs nothing, the gradient is 0.
    yield at("np.where(x > 0, np.sqrt(x), 0)", "w * [0, 0, 0.25]", x=[-1.0, 0.0, 4.0])
    yield at("np.where(x > 0, x * np.log(x), 0)", "w * [0, 1 + np.log(2)]", x=[0.0, 2.0])
    yield at("np.where(x <= 0, np.exp(x), 1 + x)", "w * [1, 1]", x=[0.0, 1000.0])
    yield at("np.where(x > 0, x**0.5, 0)", "w * [0, 0.25]", x=[0.0, 4.0])
    yield at("np.where(x != 0, np.sin(x) / x, 1)", "0 * w", x=[0.0])
    yield at("np.where(x > 0, np.log(x), x)", "w * [1, 1, 0.5]", x=[-1.0, 0.0, 2.0])
    yield at("np.where(x > 0, 1 / x, 0)", "w * [0, -0.25]", x=[0.0, 2.0])
    yield at("np.where(x < 5, np.sinh(x), x)", "w * [np.cosh(1), 1]", x=[1.0, 800.0])
    yield at("(x / [0, 1])[1]", "w * [0, 1]", x=[1.0, 1.0])
    yield at("np.sqrt(x)[1:]", "np.array([0, w[0] / 4])", x=[0.0, 4.0])
    yield at("np.log(x[x > 0])", "np.array([0, w[0] / 4])", x=[0.0, 4.0])
    yield at("np.max(np.log(x))", "w * [0, 0.25]", x=[0.0, 4.0])
    yield at("np.sqrt(x) * [0.0, 1.0]", "w * [0, 0.25]", x=[0.0, 4.0])
    yield at("np.minimum(np.exp(x), 5.0)", "w * [np.e, 0]", x=[1.0, 1000.0])
    yield at("np.clip(1 / x, -5, 5)", "w * [-0.25, 0]", x=[2.0, 0.0])
    yield at("1 / (1 + np.exp(-x))", "w * [0, 0.25]", x=[-1000.0, 0.0])
    yield at("1 / (1 + np.exp(x))", "w * [0, -0.25]", x=[1000.0, 0.0])
    yield at("np.tanh(x)", "w * [0, 1]", x=[1000.0, 0.0])
    yield at(
        "np.sqrt(np.maximum(x, 0))", accept="[g[0] == 0, np.isclose(g[1], w[1] / 4)]", x=[-1, 4]
    )
    # 0 times infinity is neither 0 nor NaN, where one undoes the other.
    yield at("np.sqrt(x) ** 2", "w", x=[0.0, 4.0])
    yield at("np.sqrt(x) * np.sqrt(x)", "w", x=[0.0, 4.0])
    yield at("np.exp(np.log(x))", "w", x=[0.0, 4.0])
    yield at("1 / (1 / x + 1 / z)", "(w, 0 * w)", x=[0.0], z=[2.0])
    # Large numbers, and values that are not numbers.
    yield at("np.logaddexp(x, 0)", "w * [0, 0.5, 1]", x=[-1000.0, 0.0, 1000.0])
    yield at("np.logaddexp(x, z)", "(w * 0, w)", x=[-np.inf], z=[1.5])
    both = "[np.all(gi / w >= 0) and np.all(gi / w <= 1) for gi in g]"
    yield at("np.logaddexp(x, z)", accept=both, x=[-np.inf], z=[-np.inf])
    yield at("np.logaddexp2(x, z)", accept=both, x=[-np.inf], z=[-np.inf])
    yield at(
        "np.exp(x - x.max()) / np.exp(x - x.max()).sum()",
        "np.array([(w[0] - w[1]) / 4, (w[1] - w[0]) / 4, 0])",
        x=[1000.0, 1000.0, -1000.0],
    )
    yield at("np.sinc(x)", x=[0.0, 1.0])
    yield at("np.max(x)", accept="[np.isnan(g[1]) or g[1] == w]", x=[1.0, np.nan, 2.0])
    yield at("np.fmax(x, 1.0)", accept="[g[0] == 0, g[1] == w[1]]", x=[np.nan, 2.0])
    yield at("np.nansum(x)", "w * [1, 0, 1]", x=[1.0, np.nan, 2.0])
    yield at("np.nanmean(x)", "w * [0.5, 0, 0.5]", x=[1.0, np.nan, 2.0])
    yield at("np.nanmax(x)", "w * [0, 0, 1]", x=[1.0, np.nan, 2.0])
    yield at("np.nan_to_num(x)", "w * [0, 0, 1]", x=[np.nan, np.inf, 2.0])
    yield at("np.where(np.isnan(x), 0, x**2)", "w * [0, 4]", x=[np.nan, 2.0])
    yield at("np.hypot(x, z)", "(w * [0.6, 0], w * [0.8, 1])", x=[3e200, 0.0], z=[4e200, 1.0])
    yield at("np.linalg.det(S)", S=[[1.0, 2.0], [2.0, 4.0]])
    yield at("np.linalg.det(S)", "0 * S", S=np.zeros((3, 3)))
    yield at("np.linalg.eigvalsh(S)", accept="np.isfinite(g)", S=np.eye(2))
    yield at("np.sum(x)", "0 * x", x=[])
    yield at("np.prod(x) * 2", "0 * x", x=[])
    yield at("np.concatenate([x, z])", "(x, w)", x=[], z=[1.0, 2.0])
    yield at("np.arctan2(x, z)", "(-w, 0 * w)", x=[0.0], z=[-1.0])
    yield at("x * np.abs(x)", "0 * w", x=[0.0])
    yield at("np.exp(-1 / x**2)", "0 * w", x=[0.0])
