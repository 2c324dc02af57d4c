"""Cases of products and linear algebra."""

from __future__ import annotations

import itertools
import string

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
from cases import case, dot_operands, matrices, shape_of_any, vectors

from tinygrad_edu import testing as tgt
from tinygrad_edu.calculus import decompositions, einsum, inverses, linalg

side = st.integers(1, 3)
lead = hnp.array_shapes(min_dims=0, max_dims=1, max_side=2)


@st.composite
def inner_operands(draw):
    """Two arrays with last axes of the same length, or a number and an array."""
    a, b = draw(tgt.shapes(max_dims=2)), draw(tgt.shapes(max_dims=2))
    if a and b:
        b = (*b[:-1], a[-1])
    return (draw(tgt.arrays(a)), draw(tgt.arrays(b))), {}


@st.composite
def of_one_size(draw):
    """Two arrays with the same number of values, in different shapes."""
    x = draw(tgt.arrays(shape_of_any))
    shapes = [x.shape, x.shape[::-1], (x.size,), (1, x.size)]
    return (x, draw(tgt.arrays(draw(st.sampled_from(shapes))))), {}


@st.composite
def any_two(draw, min_dims=0, max_dims=2):
    """Two arrays that need not go together."""
    shapes = tgt.shapes(min_dims, max_dims)
    return (draw(tgt.arrays(shapes)), draw(tgt.arrays(shapes))), {}


@st.composite
def contracted(draw):
    """Operands of tensordot, and the axes in all forms that there are."""
    a = draw(tgt.shapes())
    b = list(draw(tgt.shapes()))
    n = draw(st.integers(0, min(len(a), len(b))))
    of_a = draw(st.permutations(range(-len(a), 0)))[:n]
    of_b = draw(st.permutations(range(len(b))))[:n]
    axes = (of_a, of_b)
    if draw(st.booleans()):
        of_a, of_b, axes = range(len(a) - n, len(a)), range(n), n
    elif n == 1:
        axes = (of_a[0], of_b[0])
    for i, j in zip(of_a, of_b, strict=True):
        b[j] = a[i]
    return (draw(tgt.arrays(a)), draw(tgt.arrays(tuple(b)))), {"axes": axes}


@st.composite
def stacked(draw, signature, axis=None):
    """Operands of a function of stacks of vectors or matrices."""
    drawn = draw(hnp.mutually_broadcastable_shapes(signature=signature, max_dims=2, max_side=3))
    arrays = [draw(tgt.arrays(shape)) for shape in drawn.input_shapes]
    if axis is None:
        return tuple(arrays), {}
    n = min(x.ndim for x in arrays)
    axis = draw(st.integers(-n, -1))
    return tuple(np.moveaxis(x, -1, axis) for x in arrays), {"axis": axis}


@st.composite
def crossed(draw):
    """Two stacks of vectors of length 3, and the axes in which they are."""
    drawn = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=2, max_side=2))
    arrays, axes = [], {}
    for name, shape in zip(("axisa", "axisb"), drawn.input_shapes, strict=True):
        axes[name] = draw(st.integers(-len(shape) - 1, len(shape)))
        arrays.append(np.moveaxis(draw(tgt.arrays((*shape, 3))), -1, axes[name]))
    n = len(drawn.result_shape)
    return tuple(arrays), {**axes, "axisc": draw(st.integers(-n - 1, n))}


@st.composite
def chained(draw):
    """Matrices that can be multiplied one after another; at the ends there may be vectors."""
    sides = draw(st.lists(side, min_size=3, max_size=5))
    shapes = [*itertools.pairwise(sides)]
    shapes[0] = shapes[0][draw(st.integers(0, 1)) :]
    shapes[-1] = shapes[-1][: draw(st.integers(1, 2))]
    return tuple(draw(tgt.arrays(shape)) for shape in shapes), {}


@st.composite
def summed(draw):
    """Operands of einsum and subscripts: repeats, ellipses, axes of length 1, no output given."""
    length = {i: draw(side) for i in "bAc"}
    unnamed = draw(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=2, max_side=2))
    operands, terms = [], []
    for extra in unnamed.input_shapes[: draw(st.integers(1, 3))]:
        term = draw(st.lists(st.sampled_from("bAc"), max_size=3))
        shape = [
            1 if term.count(i) == 1 and draw(st.integers(0, 4)) == 0 else length[i] for i in term
        ]
        if draw(st.booleans()):
            place = draw(st.integers(0, len(term)))
            shape[place:place] = extra
            term.insert(place, "...")
        operands.append(draw(tgt.arrays(tuple(shape), -1.0, 1.0)))
        terms.append("".join(term))
    subscripts = ",".join(terms)
    if draw(st.booleans()):
        output = draw(st.permutations(sorted(set(subscripts) - {".", ","})))
        output = output[: draw(st.integers(0, len(output)))]
        if "..." in subscripts:
            output.insert(draw(st.integers(0, len(output))), "...")
        subscripts += " -> " + "".join(output)
    return tuple(operands), {"subscripts": subscripts, "optimize": draw(st.booleans())}


def with_lists(*operands, subscripts, optimize):
    """The same einsum with its subscripts as lists of numbers."""
    inputs, arrow, output = subscripts.replace(" ", "").replace("...", ".").partition("->")
    numbers = dict(zip("." + string.ascii_uppercase, [Ellipsis, *range(26)], strict=True))
    *lists, out = ([numbers[i.upper()] for i in t] for t in [*inputs.split(","), output])
    pairs = [part for pair in zip(operands, lists, strict=True) for part in pair]
    return np.einsum(*pairs, *([out] if arrow else []), optimize=optimize)


@st.composite
def regular(draw, diagonal=(4.0, 4.5, 5.0), square=True, **parameters):
    """A stack of matrices with a large diagonal: of full rank, and values far from each other."""
    m, n = draw(side), draw(side)
    n = m if square else n
    x = draw(tgt.arrays((*draw(lead), m, n), -1.0, 1.0))
    x = x + np.diag([*diagonal])[:m, :n]
    return (x,), {name: draw(values) for name, values in parameters.items()}


def with_eigenvalues_apart(**parameters):
    return regular((4.0, 8.0, 12.0), **parameters)


def with_singular_values_apart(**parameters):
    return regular((12.0, 8.0, 4.0), **parameters)


@st.composite
def mirrored(draw, **parameters):
    """As `regular`, with the rows in another order."""
    (x,), parameters = draw(regular(**parameters))
    return (x[..., draw(st.permutations(range(x.shape[-2]))), :],), parameters


@st.composite
def of_three_rows(draw, n=1):
    """Matrices of which det has a third derivative."""
    arrays = [draw(tgt.arrays((3, 3), 0.25, 1.0)) for _ in range(n)]
    arrays[0] += np.diag([4.0, 4.5, 5.0])
    return tuple(arrays), {}


@st.composite
def any_square(draw):
    """A stack of matrices, also singular ones."""
    n = draw(side)
    return (draw(tgt.arrays((*draw(lead), n, n))),), {}


@st.composite
def equations(draw):
    """A matrix and a vector, or stacks of matrices on both sides."""
    (a,), _ = draw(mirrored())
    if draw(st.booleans()):
        return (a, draw(tgt.arrays(a.shape[-1]))), {}
    stack = draw(st.sampled_from([(), (1,), a.shape[:-2], (2, *a.shape[:-2])]))
    return (a, draw(tgt.arrays((*stack, a.shape[-1], draw(side))))), {}


@st.composite
def fitted(draw):
    """A matrix of full rank and one or several right-hand sides, which it cannot fit exactly."""
    m, n = draw(side), draw(side)
    a = draw(tgt.arrays((m, n), -0.5, 0.5)) + 2 * np.eye(m, n)
    b = draw(tgt.arrays((m, *draw(st.sampled_from([(), (1,), (2,)])))))
    b[-1] += 4
    return (a, b), {}


@st.composite
def folded(draw):
    """A matrix with its rows or columns taken apart into two axes, for tensorinv."""
    x = draw(tgt.arrays((4, 4), -0.5, 0.5)) + 2 * np.eye(4)
    ind = draw(st.integers(1, 2))
    return (x.reshape([(4, 2, 2), (2, 2, 4)][ind - 1]),), {"ind": ind}


@st.composite
def tensor_equations(draw):
    """Operands of tensorsolve."""
    x = draw(st.sampled_from([(2,), (1, 2), (2, 2)]))
    n = int(np.prod(x))
    b = draw(st.sampled_from([(n,), (n, 1)]))
    a = draw(tgt.arrays((n, n), -0.3, 0.3)) + 2 * np.eye(n)
    a = a.reshape(*b, *x)
    if draw(st.booleans()):
        return (a, draw(tgt.arrays(b))), {}
    axes = draw(st.permutations(range(a.ndim)))[: len(x)]
    a = np.moveaxis(a, range(len(b), a.ndim), axes)
    return (a, draw(tgt.arrays(b))), {"axes": axes}


def signs(v):
    """The signs of the vectors of matrices like `regular`, since NumPy may give either."""
    return np.sign(np.einsum("...ii->...i", v[..., : v.shape[-1], :]))[..., None, :]


def upright_eigenvectors(a, UPLO="L"):
    w, v = np.linalg.eigh(a, UPLO)
    return v * signs(v) * w[..., :1, None]


def upright_svd(a, **parameters):
    u, s, vh = np.linalg.svd(a, **parameters)
    sign = signs(u)
    return np.concatenate([u * sign, np.matrix_transpose(vh) * sign, s[..., None, :]], axis=-2)


@st.composite
def without_zeros(draw):
    """As `regular`, with no zeros, at which the signs that NumPy chooses in Q and R jump."""
    m, n = draw(st.integers(2, 3)), draw(side)
    x = draw(tgt.arrays((*draw(lead), m, n), 0.25, 1.0))
    return (x + np.diag([4.0, 4.5, 5.0])[:m, :n],), {}


@st.composite
def parts_of_eigh(draw):
    """Values far from each other above some vectors."""
    n = draw(side)
    x = draw(tgt.arrays((*draw(lead), n + 1, n)))
    x[..., 0, :] = x[..., 0, :] / 8 + np.arange(n)
    return (x,), {}


triangle = st.sampled_from(["L", "U", "l", "u"])

CASES = [
    case(np.matmul, matrices()),
    case(np.matmul, vectors(), name="matmul of vectors"),
    case(np.linalg.matmul, stacked("(m,n),(n,p)->(m,p)"), name="linalg.matmul"),
    case(np.dot, dot_operands()),
    case(np.inner, inner_operands()),
    case(np.vdot, of_one_size()),
    case(np.outer, any_two()),
    case(np.linalg.outer, any_two(1, 1), name="linalg.outer"),
    case(np.tensordot, contracted()),
    case(np.linalg.tensordot, contracted(), name="linalg.tensordot"),
    case(np.kron, any_two()),
    case(linalg.cross, stacked("(3),(3)->(3)"), name="cross of rows"),
    case(np.cross, crossed()),
    case(np.linalg.cross, stacked("(3),(3)->(3)", axis=True), name="linalg.cross"),
    case(linalg.multi_dot, chained()),
    case(np.linalg.multi_dot, chained(), lambda *a: np.linalg.multi_dot(a), "linalg.multi_dot"),
    case(np.vecdot, stacked("(n),(n)->()")),
    case(np.linalg.vecdot, stacked("(n),(n)->()", axis=True), name="linalg.vecdot"),
    case(np.linalg.matrix_power, regular(n=st.integers(-3, 4))),
    case(einsum.einsum, summed()),
    case(
        np.einsum,
        summed(),
        lambda *a, subscripts, optimize: np.einsum(subscripts, *a, optimize=optimize),
        "np.einsum",
    ),
    case(np.einsum, summed(), with_lists, "einsum with lists"),
    case(np.linalg.inv, mirrored()),
    case(np.linalg.solve, equations()),
    case(np.linalg.pinv, regular(square=False)),
    case(np.linalg.lstsq, fitted(), lambda a, b: np.linalg.lstsq(a, b)[0], "lstsq"),
    case(inverses.lstsq, fitted(), name="solution and residuals of lstsq"),
    case(np.linalg.tensorinv, folded()),
    case(np.linalg.tensorsolve, tensor_equations()),
    case(np.linalg.det, any_square()),
    case(inverses.cofactors, of_three_rows()),
    case(inverses.cofactors_slope, of_three_rows(2)),
    case(np.linalg.slogdet, mirrored(), lambda a: np.linalg.slogdet(a).logabsdet),
    case(inverses.slogdet, mirrored(), lambda a: inverses.slogdet(a)[1], "log of det"),
    case(np.linalg.cholesky, regular(upper=st.booleans())),
    case(np.linalg.eigvalsh, with_eigenvalues_apart(UPLO=triangle)),
    case(
        np.linalg.eigh,
        with_eigenvalues_apart(UPLO=triangle),
        lambda a, UPLO: np.linalg.eigh(a, UPLO)[0],
    ),
    case(
        np.linalg.eigh,
        with_eigenvalues_apart(UPLO=triangle),
        upright_eigenvectors,
        "eigenvectors",
    ),
    case(
        decompositions.eigh,
        with_eigenvalues_apart(),
        lambda a: decompositions.eigh(a)[..., 1, :] ** 2,
        "first components of eigenvectors",
    ),
    case(decompositions.determined, parts_of_eigh()),
    case(decompositions.svdvals, with_singular_values_apart(square=False)),
    case(np.linalg.svdvals, with_singular_values_apart(square=False), name="linalg.svdvals"),
    case(
        np.linalg.svd,
        with_singular_values_apart(square=False),
        lambda a: np.linalg.svd(a, compute_uv=False),
        "svd of values only",
    ),
    case(np.linalg.svd, with_singular_values_apart(), upright_svd, "svd"),
    case(
        np.linalg.svd,
        with_singular_values_apart(square=False),
        lambda a: upright_svd(a, full_matrices=False),
        "svd of any shape",
    ),
    case(
        decompositions.svd,
        with_singular_values_apart(square=False),
        lambda a: decompositions.svd(a)[..., 0, :],
    ),
    case(np.linalg.cond, with_singular_values_apart(p=st.sampled_from([None, 2, -2]))),
    case(decompositions.qr, without_zeros()),
    case(np.linalg.qr, without_zeros(), lambda a: np.linalg.qr(a).Q[..., 0], "Q of qr"),
    case(np.linalg.qr, without_zeros(), lambda a: np.linalg.qr(a, "r"), "R of qr"),
]
if hasattr(np, "matvec"):
    CASES += [
        case(np.matvec, stacked("(m,n),(n)->(m)")),
        case(np.vecmat, stacked("(n),(n,m)->(m)")),
    ]
