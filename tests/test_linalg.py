"""Products and linear algebra at hard points: singular matrices, equal eigenvalues, odd arguments.

What the table of operations in tests/ops checks everywhere is not repeated here.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.linalg import LinAlgError

import tinygrad_edu as tg

RNG = np.random.default_rng(0)
A = RNG.normal(size=(4, 4))
ORTHOGONAL = np.linalg.qr(A)[0]
RANK_2 = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
RANK_1 = np.outer([1.0, 2.0, 3.0], [3.0, -1.0, 2.0])


def assert_close(actual, expected, tolerance=1e-12):
    scale = np.abs(expected).max(initial=1e-300)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * max(scale, 1))


def gradient(f, *args):
    return tg.grad(f, tuple(range(len(args))))(*args)


# Products.


def test_the_gradient_of_a_trace_is_the_identity_and_that_of_a_diagonal_lies_on_it():
    x = np.arange(9.0).reshape(3, 3)
    assert_close(tg.grad(lambda x: np.einsum("ii", x))(x), np.eye(3))
    weights = np.array([1.0, 10.0, 100.0])
    assert_close(
        tg.grad(lambda x: np.einsum("ii->i", x) @ weights)(x),
        np.diag(weights),
    )


def test_einsum_reads_an_index_three_times_in_one_operand():
    x = np.arange(8.0).reshape(2, 2, 2)
    expected = np.zeros((2, 2, 2))
    expected[0, 0, 0], expected[1, 1, 1] = 3.0, -1.0
    assert_close(tg.grad(lambda x: np.einsum("iii,i", x, [3.0, -1.0]))(x), expected)


def test_einsum_with_an_index_in_one_operand_only_and_an_operand_without_any():
    a, b = np.arange(6.0).reshape(2, 3), np.float64(5.0)
    ga, gb = gradient(lambda a, b: np.einsum("ij,->i", a, b) @ np.array([1.0, 10.0]), a, b)
    assert_close(ga, [[5.0] * 3, [50.0] * 3])
    assert_close(gb, 3 + 120)


@pytest.mark.parametrize("optimize", [False, True, "optimal", ["einsum_path", (1, 2), (0, 1)]])
def test_einsum_of_three_matrices_is_their_product_in_any_order(optimize):
    a, b, c = RNG.normal(size=(2, 3)), RNG.normal(size=(3, 4)), RNG.normal(size=(4, 2))
    g = RNG.normal(size=(2, 2))
    actual = gradient(
        lambda *abc: np.sum(np.einsum("ij,jk,kl", *abc, optimize=optimize) * g), a, b, c
    )
    expected = gradient(lambda a, b, c: np.sum(a @ b @ c * g), a, b, c)
    for one, other in zip(actual, expected, strict=True):
        assert_close(one, other)


def test_einsum_with_large_numbers_needs_the_list_of_the_output():
    x = np.arange(6.0).reshape(2, 3)
    f = lambda x: np.einsum(x, [50, 3], [3, 50])  # noqa: E731
    assert_close(f(tg.Tensor(x)).data, x.T)
    assert_close(tg.grad(lambda x: np.sum(f(x) * x.T))(x), 2 * x)
    with pytest.raises(ValueError, match="list of the output"):
        np.einsum(tg.Tensor(x), [26, 1])


def test_einsum_refuses_what_numpy_refuses_and_a_dtype():
    x = tg.Tensor(np.ones((2, 3)), requires_grad=True)
    with pytest.raises(ValueError, match="einsum"):
        np.einsum("ij,jk", x, x)
    with pytest.raises(ValueError, match="einsum"):
        np.einsum("ij->k", x)
    with pytest.raises(TypeError, match="dtype"):
        np.einsum("ij->j", x, dtype=np.float32)


def test_cross_products_of_two_components_are_refused():
    x = tg.Tensor([[1.0, 2.0]], requires_grad=True)
    for other in (np.array([3.0, 4.0]), np.array([3.0, 4.0, 5.0])):
        with pytest.raises(ValueError, match=r"length 2 .* write a\[\.\.\., 0\]"):
            np.cross(x, other)
        with pytest.raises(ValueError, match="length 2"):
            np.cross(other, x)


def test_cross_axis_stands_for_all_three_axes():
    a, b = RNG.normal(size=(2, 3, 4))
    g = RNG.normal(size=(3, 4))
    actual = gradient(lambda a, b: np.sum(np.cross(a, b, axis=0) * g), a, b)
    assert_close(actual[0], np.cross(b, g, axis=0))
    assert_close(actual[1], np.cross(g, a, axis=0))


def test_vecdot_along_another_axis_is_that_of_linalg():
    x = tg.Tensor(np.ones((2, 3)), requires_grad=True)
    with pytest.raises(TypeError, match="axis="):
        np.vecdot(x, x, axis=0)
    assert np.linalg.vecdot(x, x, axis=0).shape == (3,)


def test_a_chain_of_vectors_at_both_ends_is_a_number():
    x, m, y = RNG.normal(size=3), RNG.normal(size=(3, 2)), RNG.normal(size=2)
    gx, gm, gy = gradient(lambda *a: np.linalg.multi_dot(a), x, m, y)
    assert_close(gx, m @ y)
    assert_close(gm, np.outer(x, y))
    assert_close(gy, x @ m)
    with pytest.raises(ValueError, match="at least two"):
        np.linalg.multi_dot([tg.Tensor(m)])


def test_outer_products_of_matrices_are_refused_where_numpy_refuses_them():
    x = tg.Tensor(np.ones((2, 2)), requires_grad=True)
    assert np.outer(x, x).shape == (4, 4)
    with pytest.raises(ValueError, match="one-dimensional"):
        np.linalg.outer(x, x)


def test_powers_of_a_matrix_by_every_kind_of_exponent():
    g = RNG.normal(size=(4, 4))

    def of(n):
        return tg.grad(lambda a: np.sum(np.linalg.matrix_power(a, n) * g))(A)

    assert_close(of(0), np.zeros((4, 4)))
    assert_close(of(1), g)
    assert_close(of(np.int64(2)), g @ A.T + A.T @ g)
    inverse = np.linalg.inv(A).T
    assert_close(of(-1), -inverse @ g @ inverse, 1e-10)
    with pytest.raises(TypeError, match="integer"):
        np.linalg.matrix_power(tg.Tensor(A), 0.5)


def test_powers_of_a_matrix_that_has_no_inverse():
    nilpotent = np.diag([1.0, 2.0], k=1)
    g = RNG.normal(size=(3, 3))
    actual = tg.grad(lambda a: np.sum(np.linalg.matrix_power(a, 3) * g))(nilpotent)
    t = nilpotent.T
    assert_close(actual, g @ t @ t + t @ g @ t + t @ t @ g)


# Inverses and determinants.


def test_the_jacobian_of_inv_and_solve_by_stacks_of_gradients():
    b = RNG.normal(size=(4, 2))
    inverse = np.linalg.inv(A)
    of_inverse = -np.einsum("ik,lj->ijkl", inverse, inverse)
    assert_close(tg.jacobian(np.linalg.inv)(A), of_inverse)
    of_a, of_b = tg.jacobian(np.linalg.solve, (0, 1))(A, b)
    assert_close(of_a, np.einsum("ijkl,jm->imkl", of_inverse, b))
    assert_close(of_b, np.einsum("ij,kl->ikjl", inverse, np.eye(2)))


def test_solve_takes_a_vector_for_every_matrix_of_a_stack():
    a = A + 3 * RNG.normal(size=(2, 4, 4))
    b, g = RNG.normal(size=4), RNG.normal(size=(2, 4))
    ga, gb = gradient(lambda a, b: np.sum(np.linalg.solve(a, b) * g), a, b)
    each = [
        gradient(lambda a, b, w=w: np.sum(np.linalg.inv(a) @ b * w), matrix, b)
        for matrix, w in zip(a, g, strict=True)
    ]
    assert_close(ga, [one for one, _ in each])
    assert_close(gb, sum(one for _, one in each))


@pytest.mark.parametrize("function", [np.linalg.inv, lambda a: np.linalg.solve(a, np.ones(3))])
def test_what_has_no_inverse_raises_the_error_of_numpy(function):
    with pytest.raises(LinAlgError, match="Singular matrix"):
        function(tg.Tensor(np.zeros((3, 3)), requires_grad=True))


def minors(a):
    """The signed minors of a matrix, one by one."""
    n = len(a)
    return np.array(
        [
            [(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(a, i, 0), j, 1)) for j in range(n)]
            for i in range(n)
        ]
    )


@pytest.mark.parametrize("a", [A, -A, RANK_2, RANK_1, np.zeros((3, 3)), np.zeros((2, 2))])
def test_the_gradient_of_det_are_the_minors_also_without_an_inverse(a):
    assert_close(tg.grad(np.linalg.det)(a), minors(a))


@pytest.mark.parametrize("a", [A, -A, RANK_2, RANK_1, np.zeros((3, 3)), np.zeros((2, 2))])
def test_the_hessian_of_det_also_without_an_inverse(a):
    n = len(a)
    steps = np.eye(n * n).reshape(n, n, n, n)
    # A minor is linear in every entry, so that a difference is its derivative.
    expected = [[(minors(a + e) - minors(a - e)) / 2 for e in row] for row in steps]
    assert_close(tg.hessian(np.linalg.det)(a), expected)


def test_a_stack_of_regular_and_singular_matrices_has_the_gradient_of_det_of_each():
    stack = np.stack([RANK_2, RANK_1, np.eye(3)])
    actual = tg.grad(lambda a: np.linalg.det(a) @ np.array([1.0, 2.0, 3.0]))(stack)
    assert_close(actual, [minors(RANK_2), 2 * minors(RANK_1), 3 * np.eye(3)])


def test_the_third_derivative_of_det_is_right_or_refused():
    e, f, g = RNG.normal(size=(3, 3, 3))

    def third(a):
        first = lambda a: np.sum(tg.grad(np.linalg.det)(a) * e)  # noqa: E731
        second = lambda a: np.sum(tg.grad(first)(a) * f)  # noqa: E731
        return np.sum(tg.grad(second)(a) * g)

    # det is the sum over all signs of the determinants of signed sums, for three matrices.
    signs = [(i, j) for i in (1, -1) for j in (1, -1)]
    expected = sum(i * j * np.linalg.det(e + i * f + j * g) for i, j in signs) / 4
    assert_close(third(A[:3, :3]), expected)
    with pytest.raises(NotImplementedError, match="third derivative"):
        third(RANK_2)


@pytest.mark.parametrize("n", [0, 1])
def test_determinants_of_the_smallest_matrices(n):
    assert_close(tg.grad(np.linalg.det)(np.full((n, n), 3.0)), np.ones((n, n)))


def test_slogdet_gives_numpys_named_tuple_with_signs_off_the_tape():
    a = np.stack([A, -A[[1, 0, 2, 3]]])
    result = np.linalg.slogdet(tg.Tensor(a, requires_grad=True))
    expected = np.linalg.slogdet(a)
    assert type(result) is type(expected)
    assert type(result.sign) is np.ndarray
    np.testing.assert_array_equal(result.sign, expected.sign)
    np.testing.assert_array_equal(result.logabsdet.data, expected.logabsdet)
    one = np.linalg.slogdet(tg.Tensor(A, requires_grad=True))
    assert type(one.sign) is np.float64


def test_slogdet_of_a_singular_matrix_has_a_value_and_no_gradient():
    x = tg.Tensor(np.zeros((2, 2)), requires_grad=True)
    sign, logabsdet = np.linalg.slogdet(x)
    assert sign == 0
    assert logabsdet.item() == -math.inf
    with pytest.raises(LinAlgError):
        logabsdet.backward()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("a", [RANK_2, RANK_1[:2], np.stack([np.eye(2), np.ones((2, 2))])])
def test_a_pseudo_inverse_that_jumps_has_no_gradient(a, dtype):
    with pytest.raises(LinAlgError, match="no derivative at rank"):
        tg.grad(lambda a: np.sum(np.linalg.pinv(a)))(a.astype(dtype))


def test_a_pseudo_inverse_with_small_singular_values_cut_off_has_no_gradient():
    a = np.diag([1.0, 0.1])
    np.testing.assert_allclose(tg.grad(lambda a: np.linalg.pinv(a, 0.05)[1, 1])(a)[1, 1], -100)
    with pytest.raises(LinAlgError, match="rank 1"):
        tg.grad(lambda a: np.linalg.pinv(a, 0.2)[1, 1])(a)
    with pytest.raises(TypeError, match="hermitian="):
        np.linalg.pinv(tg.Tensor(a), hermitian=True)


def test_lstsq_gives_all_that_numpys_does():
    a, b = RNG.normal(size=(5, 3)), RNG.normal(size=(5, 2))
    x, residuals, rank, s = np.linalg.lstsq(tg.Tensor(a, True), tg.Tensor(b, True))
    expected = np.linalg.lstsq(a, b)
    np.testing.assert_array_equal(x.data, expected[0])
    np.testing.assert_array_equal(residuals.data, expected[1])
    assert rank == expected[2] == 3
    np.testing.assert_allclose(s.data, expected[3])
    actual = gradient(lambda a, b: np.sum(np.linalg.lstsq(a, b)[1]), a, b)
    written_out = gradient(lambda a, b: np.sum((a @ (np.linalg.pinv(a) @ b) - b) ** 2), a, b)
    for one, other in zip(actual, written_out, strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("shape", [(3, 3), (2, 3)])
def test_lstsq_without_residuals(shape):
    a, b = RNG.normal(size=shape), RNG.normal(size=shape[0])
    assert np.linalg.lstsq(tg.Tensor(a, True), b)[1].shape == (0,)
    actual = gradient(lambda a, b: np.sum(np.linalg.lstsq(a, b)[0]), a, b)
    expected = gradient(lambda a, b: np.sum(np.linalg.pinv(a) @ b), a, b)
    for one, other in zip(actual, expected, strict=True):
        assert_close(one, other, 1e-10)


def test_lstsq_without_full_rank_has_a_value_and_no_gradient():
    x = tg.Tensor(RANK_2, requires_grad=True)
    y, _, rank, _ = np.linalg.lstsq(x, np.ones(3))
    assert rank == 2
    with pytest.raises(LinAlgError, match="rank 2"):
        y.backward(np.ones(3))


# Decompositions.


def test_cholesky_has_its_gradient_in_the_triangle_that_it_reads():
    a = A @ A.T + np.eye(4)
    half_log_det = lambda factor: np.sum(np.log(np.einsum("ii->i", factor)))  # noqa: E731
    inverse = np.linalg.inv(a)
    expected = np.tril(inverse, -1) + np.diag(np.diag(inverse)) / 2
    assert_close(tg.grad(lambda a: half_log_det(np.linalg.cholesky(a)))(a), expected)
    upper = tg.grad(lambda a: half_log_det(np.linalg.cholesky(a, upper=True)))(a)
    assert_close(upper, expected.T)
    # The other triangle may hold anything.
    other = np.tril(a) + np.triu(RNG.normal(size=(4, 4)), 1)
    assert_close(tg.grad(lambda a: half_log_det(np.linalg.cholesky(a)))(other), expected)


def test_what_a_symmetric_matrix_was_computed_from_has_the_usual_gradient():
    def half_log_det(x):
        return np.sum(np.log(np.einsum("ii->i", np.linalg.cholesky(x @ x.T + np.eye(4)))))

    assert_close(tg.grad(half_log_det)(A), np.linalg.inv(A @ A.T + np.eye(4)) @ A)

    def largest(x):
        return np.linalg.eigh(x @ x.T)[0][-1] + np.linalg.eigvalsh(x @ x.T, "U")[-1]

    v = np.linalg.eigh(A @ A.T)[1][:, -1]
    assert_close(tg.grad(largest)(A), 4 * np.outer(v, v) @ A)


def test_cholesky_of_an_indefinite_matrix_raises_the_error_of_numpy():
    with pytest.raises(LinAlgError, match="not positive definite"):
        np.linalg.cholesky(tg.Tensor(-np.eye(2), requires_grad=True))


@pytest.mark.parametrize(
    ("function", "a"),
    [
        (np.linalg.eigh, A + A.T),
        (np.linalg.svd, A),
        (lambda a: np.linalg.svd(a, full_matrices=False), A[:, :2]),
        (np.linalg.qr, A[:2]),
    ],
)
def test_decompositions_give_numpys_named_tuples(function, a):
    expected, actual = function(a), function(tg.Tensor(a, requires_grad=True))
    assert type(actual) is type(expected)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(one.data, other, strict=True)


EQUAL = ORTHOGONAL @ np.diag([1.0, 1.0, 1.0, 4.0]) @ ORTHOGONAL.T


@pytest.mark.parametrize("a", [np.eye(4), np.zeros((4, 4)), EQUAL, np.diag([2.0, 1.0, 2.0, 1.0])])
@pytest.mark.parametrize("eigenvalues", [np.linalg.eigvalsh, lambda a: np.linalg.eigh(a)[0]])
def test_functions_of_equal_eigenvalues_have_gradients(a, eigenvalues):
    trace = tg.grad(lambda a: np.sum(eigenvalues(a)))(a)
    assert_close(trace, np.eye(4))
    of_squares = tg.grad(lambda a: np.sum(eigenvalues(a) ** 3))(a)
    expected = 3 * a @ a
    assert_close(of_squares, 2 * np.tril(expected) - np.diag(np.diag(expected)))


def exp_by_eigenvectors(a):
    w, v = np.linalg.eigh(a)
    return v * np.exp(w) @ v.T


@pytest.mark.parametrize(
    ("function", "a"),
    [
        (exp_by_eigenvectors, EQUAL),
        (exp_by_eigenvectors, np.eye(4)),
        (exp_by_eigenvectors, np.zeros((4, 4))),
        (lambda a: np.linalg.eigh(a)[1], EQUAL),
    ],
)
def test_eigenvectors_of_equal_eigenvalues_have_no_gradient(function, a):
    with pytest.raises(LinAlgError, match=r"eigenvectors .* have no derivative"):
        tg.grad(lambda a: function(a)[0, 1])(a)


@pytest.mark.parametrize("weights", [np.eye(4)[0], np.ones(4)])
def test_a_factor_of_0_does_not_make_eigenvectors_determined(weights):
    def log(a):
        w, v = np.linalg.eigh(a)
        return v * np.log(w) @ v.T @ weights

    # The derivative of log at 1 is 1, but all that arrives at the eigenvectors is 0.
    with pytest.raises(FloatingPointError, match=r"0 \* inf"):
        tg.grad(lambda a: log(a)[1])(np.eye(4))


def projector(a):
    v = np.linalg.eigh(a)[1][:, -1]
    return v[:, None] * v


@pytest.mark.parametrize("apart", [0, 1e-15])
@pytest.mark.parametrize("turn", [np.eye(4), ORTHOGONAL])
def test_eigenvectors_beside_equal_eigenvalues_have_gradients(apart, turn):
    equal = turn @ np.diag([1.0, 1.0, 1.0, 4.0]) @ turn.T
    a = equal + apart * np.diag([0.0, 1.0, 2.0, 3.0])
    g = RNG.normal(size=(4, 4))
    # That projector is (a - 1) / 3, and moves by what a moves across.
    p = (equal - np.eye(4)) / 3
    across = p @ (g + g.T) @ (np.eye(4) - p) / 3
    expected = across + across.T
    expected = np.tril(expected, -1) + np.diag(np.diag(expected)) / 2
    assert_close(tg.grad(lambda a: np.sum(projector(a) * g))(a), expected)


def test_second_derivatives_where_eigenvalues_are_equal_are_refused():
    a = np.diag([1.0, 1.0, 2.0])
    with pytest.raises(LinAlgError, match="no derivative"):
        tg.hessian(lambda a: np.sum(np.linalg.eigvalsh(a) ** 2))(a)
    with pytest.raises(FloatingPointError, match=r"0 \* inf"):
        tg.hessian(lambda a: projector(a)[0, 1])(a)


def test_exp_of_a_symmetric_matrix_agrees_with_its_series():
    a = (A + A.T) / 8

    def series(a):
        term = total = np.eye(4)
        for i in range(1, 20):
            term = term @ a / i
            total = total + term
        return total

    g = RNG.normal(size=(4, 4))
    expected = tg.grad(lambda x: np.sum(series(x + x.T) * g))(a)
    assert_close(tg.grad(lambda x: np.sum(exp_by_eigenvectors(x + x.T) * g))(a), expected)


@pytest.mark.parametrize("a", [np.zeros((3, 2)), np.zeros((2, 2)), np.diag([1.0, 0.0])])
def test_a_singular_value_of_0_has_derivative_0(a):
    nuclear = tg.grad(lambda a: np.sum(np.linalg.svdvals(a)))(a)
    assert_close(nuclear, a)


@pytest.mark.parametrize("function", [np.linalg.svdvals, lambda a: np.linalg.svd(a)[1]])
def test_functions_of_equal_singular_values_have_gradients(function):
    assert_close(tg.grad(lambda a: np.sum(function(a)))(ORTHOGONAL), ORTHOGONAL)
    assert_close(tg.grad(lambda a: np.sum(function(a) ** 3))(ORTHOGONAL), 3 * ORTHOGONAL)


@pytest.mark.parametrize(
    "a", [ORTHOGONAL, ORTHOGONAL[:, :2], np.zeros((2, 2)), RANK_2, RANK_1[:, :2], RANK_2[:2] * 0]
)
def test_singular_vectors_of_equal_singular_values_or_of_0_have_no_gradient(a):
    def polar(a):
        u, _, vh = np.linalg.svd(a, full_matrices=False)
        return u @ vh

    with pytest.raises(LinAlgError, match="singular vectors have no derivative"):
        tg.grad(lambda a: np.sum(polar(a)))(a)


@pytest.mark.parametrize("a", [A, A[:, :2], A[:2]])
def test_a_matrix_put_together_from_its_singular_values_has_the_identity_as_derivative(a):
    def put_together(a):
        u, s, vh = np.linalg.svd(a, full_matrices=False)
        return u * s @ vh

    g = RNG.normal(size=a.shape)
    assert_close(tg.grad(lambda a: np.sum(put_together(a) * g))(a), g)


@pytest.mark.parametrize(
    "a",
    [
        RNG.normal(size=(5, 2)) @ RNG.normal(size=(2, 4)),
        np.diag([3.0, 2.0, 0.0, 0.0, 0.0]),
        np.diag([3.0, 2.0, 0.0, 0.0, 0.0])[:, :3],
    ],
)
def test_the_leading_singular_vectors_of_a_matrix_of_low_rank(a):
    def best_rank_2(a):
        u, s, vh = np.linalg.svd(a, full_matrices=False)
        return u[:, :2] * s[:2] @ vh[:2]

    # What is added within the rows or the columns stays, the rest is cut off.
    g = RNG.normal(size=a.shape)
    left, right = (np.eye(len(p)) - p for p in (a @ np.linalg.pinv(a), np.linalg.pinv(a) @ a))
    expected = g - left @ g @ right
    assert_close(tg.grad(lambda a: np.sum(best_rank_2(a) * g))(a), expected, tolerance=1e-10)


def test_what_is_not_unique_in_a_singular_value_decomposition_is_refused():
    x = tg.Tensor(A[:, :2], requires_grad=True)
    with pytest.raises(NotImplementedError, match="full_matrices=False"):
        np.linalg.svd(x)
    assert np.linalg.svd(x, compute_uv=False).shape == (2,)
    with pytest.raises(NotImplementedError, match="hermitian"):
        np.linalg.svd(x, hermitian=True)
    with pytest.raises(LinAlgError, match="two-dimensional"):
        np.linalg.svd(x[0])


@pytest.mark.parametrize("a", [A, A[:, :2], A[:2], A[:1], A[:, :1], np.stack([A, A.T])])
def test_a_matrix_put_together_from_q_and_r_has_the_identity_as_derivative(a):
    g = RNG.normal(size=a.shape)

    def put_together(a):
        q, r = np.linalg.qr(a)
        return q @ r

    assert_close(tg.grad(lambda a: np.sum(put_together(a) * g))(a), g)


@pytest.mark.parametrize("a", [RANK_2, RANK_1[:, :2], np.zeros((2, 2))])
def test_qr_of_dependent_columns_has_no_gradient(a):
    with pytest.raises(LinAlgError, match="linearly dependent"):
        tg.grad(lambda a: np.sum(np.linalg.qr(a)[0]))(a)


@pytest.mark.parametrize("mode", ["complete", "raw"])
def test_other_modes_of_qr_are_refused(mode):
    with pytest.raises(NotImplementedError, match=f"mode='{mode}'"):
        np.linalg.qr(tg.Tensor(A), mode)


def test_condition_numbers():
    a = np.diag([4.0, 2.0, 1.0])
    assert_close(tg.grad(np.linalg.cond)(a), np.diag([1.0, 0.0, -4.0]))
    assert np.linalg.cond(tg.Tensor(np.zeros((2, 2)), requires_grad=True)).item() == math.inf
    with pytest.raises(NotImplementedError, match=r"np\.linalg\.norm\(x, 'fro'\)"):
        np.linalg.cond(tg.Tensor(a), "fro")


def test_the_rank_is_a_plain_number():
    assert np.linalg.matrix_rank(tg.Tensor(RANK_2, requires_grad=True)) == 2


@pytest.mark.parametrize("function", [np.linalg.eig, np.linalg.eigvals])
def test_complex_eigenvalues_are_refused(function):
    with pytest.raises(NotImplementedError, match=r"np\.linalg\.eig.* has no derivative rule"):
        function(tg.Tensor(A, requires_grad=True))
