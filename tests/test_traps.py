"""The mistakes that well-known engines made, each with the test that catches it."""

from __future__ import annotations

import contextlib
import gc
import resource
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
from cases import assert_right

import tinygrad_edu as tg

# 1. A checker that checks nothing: test_gradcheck.py, test_gradcheck_mutants.py. Here the use that
# test_rules.py makes of it.


@pytest.mark.parametrize("at", [0, 7, 11])
@pytest.mark.parametrize("off", [1e-2, 1e-6])
def test_one_wrong_entry_of_a_rule_fails(at, off):
    @tg.primitive
    def cube(x):
        return x**3

    wrong = np.ones(12)
    wrong[at] += off
    cube.derivative(lambda g, y, x: g * 3 * x**2 * wrong)
    x = np.linspace(0.5, 1.5, 12)
    with pytest.raises(AssertionError):
        assert_right(cube, [x])
    wrong[at] = 1
    assert_right(cube, [x])


def test_a_rule_that_is_right_once_only_fails():
    @tg.primitive
    def cube(x):
        return x**3

    def rule(g, y, x):
        cut = x.numpy() if isinstance(x, tg.Tensor) else x
        return g * 3 * ((1 - 1e-4) * x**2 + 1e-4 * cut**2)

    cube.derivative(rule)
    x = np.linspace(0.5, 1.5, 12)
    assert_right(cube, [x])
    with pytest.raises(AssertionError):
        assert_right(cube, [x], order=2)


def test_an_error_where_the_right_gradient_is_zero_fails():
    # Where nothing moves a check has nothing to compare, and must not pass by that.
    @tg.primitive
    def sign(x):
        return np.sign(x)

    sign.derivative(lambda g, y, x: g * 1e-3)
    with pytest.raises(AssertionError):
        assert_right(sign, [np.array([0.5, -1.0])])


# 2. Walking paths instead of nodes.


def test_sixty_doublings_are_exact_and_end_at_all():
    # There are 2**60 paths: an engine that walks them does not come back.
    x = tg.Tensor(1.0, requires_grad=True)
    y = x
    for _ in range(60):
        y = y + y
    y.backward()
    assert x.grad == 2.0**60


# 3. Shared nodes overwritten or marked wrongly.


def test_shared_nodes_add_up():
    x = tg.Tensor([2.0, -3.0], requires_grad=True)
    square = x * x
    diamond = square * 3 + square * x + np.exp(square * 0.1)
    diamond.backward(np.array([1.0, 2.0]))
    v = x.data
    expected = np.array([1.0, 2.0]) * (6 * v + 3 * v**2 + 0.2 * v * np.exp(0.1 * v * v))
    np.testing.assert_allclose(x.grad, expected, rtol=1e-14)


def test_the_same_tensor_three_times_in_one_operation():
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    np.concatenate([x, x, x]).backward(np.array([1.0, 2.0, 10.0, 20.0, 100.0, 200.0]))
    np.testing.assert_array_equal(x.grad, [111.0, 222.0])


# 4. Recursion.


def chain(length):
    x = tg.Tensor(1.0, requires_grad=True)
    y = x
    for _ in range(length):
        y = y + 1.0
    return x, y


@pytest.mark.parametrize("length", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_long_chains_forward_backward_and_freed_at_the_default_recursion_limit(length):
    x, y = chain(length)
    assert y.item() == length + 1
    y.backward()
    assert x.grad == 1.0
    _, y = chain(length)
    del y  # Freed without a backward pass, which would have taken the chain apart.


def test_graphs_that_nobody_holds_are_freed_without_the_garbage_collector():
    def graph():
        x = tg.Tensor(np.zeros(500_000), requires_grad=True)
        return np.sum(np.exp(x) * x)

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    gc.disable()
    try:
        for _ in range(5):
            graph()
        before = peak()
        for i in range(60):
            y = graph()
            if i % 2:
                y.backward()
        # 60 graphs of three arrays of 4 MB are 720 MB.
        assert peak() - before < 30_000
    finally:
        gc.enable()


def test_memory_is_freed_while_the_walk_goes_back():
    alive = []

    @tg.primitive
    def twice(x):
        return 2 * x

    def rule(g, y, x):
        alive.append([array() is not None for array in arrays])
        return 2 * g

    twice.derivative(rule)
    y = tg.Tensor(np.ones(3), requires_grad=True)
    arrays = []
    for _ in range(4):
        y = twice(y)
        arrays.append(weakref.ref(y.numpy().base))
    loss = np.sum(y)
    del y
    loss.backward()
    # Each rule has what came before it, and its own output.
    assert alive == [[True] * n + [False] * (4 - n) for n in (4, 3, 2, 1)]


# 5. Parents in a set.


def test_the_same_bits_in_every_process():
    program = (
        "import numpy as np, tinygrad_edu as tg\n"
        "X, y = tg.data.spiral(rng=0)\n"
        "net = tg.nn.MLP((2, 20, 20, 3), 'tanh', rng=0)\n"
        "h = [net(X) * (i + 0.1) for i in range(5)]\n"
        "tg.cross_entropy(h[0] + h[3] * h[1] - h[2] / 3 + h[4], y).backward()\n"
        "print([p.grad.tobytes().hex() for p in net.parameters()])\n"
    )
    outputs = set()
    for seed in "0123":
        environment = {"PYTHONHASHSEED": seed, "OPENBLAS_NUM_THREADS": "1"}
        run = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, check=True
        )
        outputs.add(run.stdout)
    assert len(outputs) == 1
    assert len(outputs.pop()) > 1000


# 6. Broadcast handling forgotten in one rule, or any shape silently repaired.

SHAPES = [
    (),
    (1,),
    (3,),
    (1, 3),
    (2, 1),
    (2, 3),
    (1, 1),
    (4, 1, 3),
    (4, 2, 1),
    (0,),
    (0, 3),
    (2, 0),
]


@pytest.mark.parametrize(
    "op", [np.add, np.subtract, np.multiply, np.divide, np.power, np.maximum, np.minimum]
)
def test_every_pair_of_shapes_that_broadcasts(op):
    rng = np.random.default_rng(0)
    seen = 0
    for a_shape in SHAPES:
        for b_shape in SHAPES:
            try:
                np.broadcast_shapes(a_shape, b_shape)
            except ValueError:
                a, b = tg.Tensor(np.ones(a_shape), True), np.ones(b_shape)
                with pytest.raises(ValueError, match=f"np.{op.__name__} of .* and .*"):
                    op(a, b)
                continue
            assert_right(op, [rng.uniform(1, 2, a_shape), rng.uniform(2.1, 3, b_shape)])
            seen += 1
    assert seen > 60


WRONG_RULES = [
    (lambda g, y, x: np.outer(g, x), r"returned shape \(3, 3\), but the input has shape \(3,\)"),
    (lambda g, y, x: g.sum(), r"returned shape \(\)"),
    (lambda g, y, x: g[:2], r"returned shape \(2,\)"),
    (lambda g, y, x: None, "returned None"),
    (lambda g, y, x: g > 0, "dtype bool"),
    (lambda g, y, x: g * 1j, "dtype complex128"),
]


@pytest.mark.parametrize(
    ("core_axes", "rule", "message"),
    [(None, *wrong) for wrong in WRONG_RULES]
    + [(0, *wrong) for wrong in WRONG_RULES]
    # With 2 core axes a stack of gradients is summed, as the first of these would be.
    + [(2, *wrong) for wrong in WRONG_RULES[1:]],
)
def test_a_wrong_shape_from_a_rule_is_an_error_that_names_the_operation(core_axes, rule, message):
    @tg.primitive
    def twist(x):
        return x * 1.0

    twist.derivative(rule, core_axes=core_axes)
    x = tg.Tensor([1.0, 2.0, 3.0], requires_grad=True)
    with pytest.raises(ValueError, match=rf"(?s)rule of twist for its input 0 .*{message}"):
        twist(x).backward(np.ones(3))
    assert x.grad is None


# 7. In-place work on a gradient that is not owned (see also test_rules.py).


def test_add_hands_out_gradients_of_their_own():
    a, b = (tg.Tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    seed = np.array([3.0, 4.0])
    (a + b).backward(seed)
    a.grad[0] = 99
    np.testing.assert_array_equal(b.grad, [3.0, 4.0])
    np.testing.assert_array_equal(seed, [3.0, 4.0])


def test_a_second_backward_does_not_change_the_array_of_the_first():
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    (x * x).backward(np.array([1.0, 1.0]))
    first = x.grad
    (x * x).backward(np.array([1.0, 1.0]))
    np.testing.assert_array_equal(first, [2.0, 4.0])
    np.testing.assert_array_equal(x.grad, [4.0, 8.0])


# 8. Vacuous tests: the checker weights outputs randomly and with both signs, and a softmax, whose
# outputs add up to 1, shows why.


def test_a_sum_of_a_softmax_says_nothing_about_its_rule():
    x = np.array([0.3, -1.0, 2.0])
    np.testing.assert_allclose(tg.grad(lambda x: np.sum(tg.softmax(x)))(x), 0, atol=1e-16)
    weights = np.array([1.0, -2.0, 0.5])
    assert np.abs(tg.grad(lambda x: np.sum(weights * tg.softmax(x)))(x)).min() > 1e-3


# 9. Two wrongs that cancel: each rule is checked alone in test_rules.py; here one against the
# other, composed and fused.


def test_cross_entropy_is_log_softmax_and_a_pick():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(5, 3)), rng.integers(0, 3, 5)
    fused = tg.grad(lambda z: tg.cross_entropy(z, labels))(logits)
    pick = tg.grad(lambda z: -np.mean(tg.log_softmax(z)[range(5), labels]))(logits)
    logs = tg.grad(lambda z: -np.mean(np.log(tg.softmax(z))[range(5), labels]))(logits)
    np.testing.assert_allclose(fused, pick, rtol=1e-13, atol=1e-16)
    np.testing.assert_allclose(fused, logs, rtol=1e-12, atol=1e-15)


# 10. A shipped operation without a test: test_rules.py walks the book.

# 11. Undeclared conventions at kinks.


@pytest.mark.parametrize(
    ("f", "point", "slope"),
    [
        (tg.relu, 0.0, 0.0),
        (lambda x: tg.relu(x, at_zero=0.5), 0.0, 0.5),
        (lambda x: tg.relu(x, at_zero=1.0), 0.0, 1.0),
        (lambda x: tg.leaky_relu(x, slope=0.1), 0.0, 0.1),
        (np.abs, 0.0, 0.0),
        (abs, 0.0, 0.0),
        (lambda x: np.maximum(0, x), 0.0, 0.0),
        (lambda x: np.maximum(x, 0), 0.0, 1.0),
        (lambda x: np.minimum(0, x), 0.0, 0.0),
        (lambda x: np.minimum(x, 0), 0.0, 1.0),
        (lambda x: np.maximum(x, x), 0.7, 1.0),
        (lambda x: np.minimum(x, x), 0.7, 1.0),
        (lambda x: np.where(x > 0, x, 0.0), 0.0, 0.0),
        (lambda x: x**0, 0.0, 0.0),
        (lambda x: x**0.0, 2.0, 0.0),
        (lambda x: 0.0**x, 2.0, 0.0),
    ],
)
def test_derivatives_at_kinks_are_the_declared_ones(f, point, slope):
    assert tg.grad(f)(point) == slope


def test_powers_of_zero():
    exponents = np.array([0.0, 1.0, 2.0])
    np.testing.assert_array_equal(tg.grad(lambda a: np.sum(a**exponents))(np.zeros(3)), [0, 1, 0])
    np.testing.assert_array_equal(tg.grad(lambda b: np.sum(0.0**b))(exponents), [0, 0, 0])


def test_equal_extremes_share_the_gradient():
    x = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    np.testing.assert_array_equal(tg.grad(np.max)(x), [[0, 0.5, 0.5], [0, 0, 0]])
    rows = tg.grad(lambda x: np.sum(np.min(x, axis=1) * np.array([1.0, 3.0])))(x)
    np.testing.assert_array_equal(rows, [[1, 0, 0], [1, 1, 1]])


# 12. Import drag: test_import.py.

# Threads: the recording mode is each thread's own.


def test_threads_do_not_disturb_each_other():
    def gradients(seed):
        rng = np.random.default_rng(seed)
        net = tg.nn.MLP((3, 16, 16, 2), "tanh", rng=seed)
        X, y = rng.normal(size=(20, 3)), rng.integers(0, 2, 20)
        for _ in range(20):
            with tg.no_grad():
                net(X)
            net.zero_grad()
            tg.cross_entropy(net(X), y).backward()
        return [p.grad for p in net.parameters()]

    results: dict[int, list[np.ndarray]] = {}
    threads = [
        threading.Thread(target=lambda s=s: results.__setitem__(s, gradients(s))) for s in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(8):
        for a, b in zip(results[seed], gradients(seed), strict=True):
            np.testing.assert_array_equal(a, b)


def test_no_grad_holds_in_its_own_thread_only():
    inside = threading.Event()
    done = threading.Event()

    def other():
        with tg.no_grad():
            inside.set()
            done.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(10)
    x = tg.Tensor(1.0, requires_grad=True)
    assert (x * x).requires_grad
    done.set()
    thread.join()


def test_a_rule_may_return_numbers_and_lists():
    @tg.primitive
    def double(x):
        return 2.0 * x

    double.derivative(lambda g, y, x: 2.0 * float(g) if np.ndim(g) == 0 else [2.0 * v for v in g])
    assert tg.grad(double)(3.0) == 2.0
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    double(x).backward(np.array([1.0, 10.0]))
    np.testing.assert_array_equal(x.grad, [2.0, 20.0])


@pytest.mark.parametrize(
    ("core_axes", "rule", "hinted"),
    [
        (None, lambda g, y, x: g, True),
        (None, lambda g, y, x: g[:1], False),
        (0, lambda g, y, x: g[:1, :1, None], False),
    ],
)
def test_only_a_rule_that_may_broadcast_is_told_how(core_axes, rule, hinted):
    @tg.primitive
    def added(x):
        return x + np.zeros((2, 3))

    added.derivative(rule, core_axes=core_axes)
    x = tg.Tensor(np.ones(3), requires_grad=True)
    with pytest.raises(ValueError, match="returned shape") as caught:
        added(x).backward(np.ones((2, 3)))
    assert ("pass core_axes=0" in str(caught.value)) == hinted


# NaN through the branch not taken: an input without influence has gradient 0.


def quiet(f):
    def silenced(x):
        with np.errstate(all="ignore"):
            return f(x)

    return silenced


NO_INFLUENCE = {
    "where sqrt": (lambda x: np.where(x > 0, np.sqrt(x), 0), [-1.0, 0.0, 4.0], [0, 0, 0.25]),
    "where exp": (lambda x: np.where(x <= 0, np.exp(x), 1 + x), [1000.0, -1.0], [1, np.exp(-1.0)]),
    "where log": (lambda x: np.where(x > 0, x * np.log(x), 0), [0.0, 1.0], [0, 1]),
    "where 1/x": (lambda x: np.where(x == 0, 1.0, np.sin(x) / x), [0.0], [0]),
    "an index": (lambda x: (x / [0.0, 1.0])[1], [3.0, 2.0], [0, 1]),
    "a number and an index": (lambda x: (x[0] / np.array([0.0, 1.0]))[1], [3.0], [1]),
    "a slice of a row": (lambda x: (1 / x)[1:], [0.0, 2.0], [0, -0.25]),
    "a mask as a factor": (lambda x: np.sqrt(x) * (x > 0), [0.0, 4.0], [0, 0.25]),
    "a maximum": (lambda x: np.maximum(2.0, np.log(x)), [0.0, np.e**3], [0, np.e**-3]),
    "both branches": (
        lambda x: np.where(x > 0, np.log(x), np.where(x < 0, np.sqrt(-x), 7.0)),
        [0.0, 2.0, -4.0],
        [0, 0.5, -0.25],
    ),
    "a norm of rows": (
        lambda x: np.where(x > 1, np.sqrt(np.sum(x[:, None] ** 2, axis=1)), 0.0),
        [0.0, 2.0],
        [0, 1],
    ),
    "below a maximum": (lambda x: np.sqrt(np.maximum(x, 0)), [-1.0, 4.0], [0, 0.25]),
    "above a minimum": (lambda x: np.minimum(np.exp(x), 5.0), [1.0, 1000.0], [np.e, 0]),
    "beyond a clip": (lambda x: np.clip(1 / x, -5, 5), [2.0, 0.0], [-0.25, 0]),
    "not the largest": (lambda x: np.max(np.log(x)), [0.0, 4.0], [0, 0.25]),
    "assigned over": (lambda x: assigned_over(1 / x), [0.0, 2.0], [0, -0.25]),
}


def assigned_over(y):
    y[0] = 1.0
    return y


@pytest.mark.parametrize(("f", "x", "gradient"), NO_INFLUENCE.values(), ids=NO_INFLUENCE)
@pytest.mark.parametrize("weight", [1.0, -2.5])
def test_what_has_no_influence_has_gradient_zero(f, x, gradient, weight):
    g = quiet(tg.grad(lambda x: weight * np.sum(f(x))))(np.array(x))
    np.testing.assert_allclose(g, weight * np.array(gradient), rtol=1e-14)


def test_nor_has_it_a_second_derivative():
    def f(x):
        return np.sum(np.where(x > 0, np.sqrt(x) * x, np.exp(-x)))

    x = np.array([4.0, -1.0, -1000.0, 0.0])
    with np.errstate(all="ignore"):
        H = tg.hessian(lambda x: np.sum(np.where(x > 0, x * np.sqrt(x), 0)))(x)
        np.testing.assert_allclose(H, np.diag([0.375, 0, 0, 0]), rtol=1e-14)
        H = tg.hessian(lambda x: (x / np.array([0.0, 1.0]))[1] ** 2)(np.array([1.0, 3.0]))
        np.testing.assert_array_equal(H, [[0, 0], [0, 2]])
        J = tg.jacobian(lambda x: np.where(x > 0, np.log(x), 0))(np.array([0.0, 2.0]))
        np.testing.assert_array_equal(J, [[0, 0], [0, 0.5]])
        T = tg.Tensor(x, requires_grad=True)
        f(T).backward()
        np.testing.assert_allclose(T.grad, [3, -np.e, -np.inf, -1])


def test_what_gets_no_weight_has_no_influence():
    x = tg.Tensor([0.0, 4.0], requires_grad=True)
    np.sqrt(x).backward(gradient=[0.0, 2.0])
    np.testing.assert_array_equal(x.grad, [0, 0.5])
    _, pullback = tg.vjp(np.sqrt, np.array([0.0, 4.0]))
    np.testing.assert_array_equal(pullback(np.array([0.0, 2.0]))[0], [0, 0.5])
    np.testing.assert_array_equal(pullback(np.array([3.0, 0.0]))[0], [np.inf, 0])
    J = tg.jacobian(np.sqrt)(np.array([0.0, 4.0]))
    np.testing.assert_array_equal(J, [[np.inf, 0], [0, 0.25]])
    rows = tg.jacobian(lambda x: np.linalg.inv(np.diag(np.log(x))))(np.array([np.e, 5.0]))
    assert np.isfinite(rows).all()
    _, dy = tg.jvp(np.sqrt, np.array([0.0, 4.0]), np.array([0.0, 1.0]))
    np.testing.assert_array_equal(dy, [0, 0.25])


@pytest.mark.parametrize(
    ("f", "named"),
    [
        (lambda x: np.sqrt(x) ** 2, r"np\.sqrt of shape \(\).*nan"),
        (lambda x: np.exp(np.log(x)), r"np\.log"),
        (lambda x: x * np.sqrt(x), r"np\.sqrt"),
        (lambda x: np.sqrt(x * x), r"np\.multiply"),
    ],
)
def test_zero_times_infinity_is_refused_where_nobody_knows_what_it_is(f, named):
    # The slopes are 1, 1, 0 and that of abs: 0 would be wrong in two of the cases.
    with pytest.raises(FloatingPointError, match=rf"backward.*{named}.*0 \* inf.*tg\.debug"):
        quiet(tg.grad(f))(0.0)


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lambda x: (1 - np.tanh(x)) ** 0.125, 20.0),
        (lambda x: np.sqrt(1 - np.tanh(x) ** 2), np.float32(10.0)),
        (lambda x: np.prod(x) ** (1 / 200), np.full(200, 0.001)),
        (lambda x: np.arctanh(np.tanh(x)), 50.0),
        (lambda x: np.log1p(np.expm1(x)), -1000.0),
        (lambda x: np.cbrt(np.cbrt(np.cbrt(x**27))), 0.0),
        (lambda x: np.sqrt(x) - np.sqrt(x) + x, 0.0),
    ],
)
def test_what_was_rounded_to_zero_is_not_taken_for_no_influence(f, x):
    # The slopes are -1.8e-3, -9e-5, 5e-3, 1, 1, 1, 1.
    gradient = None
    with contextlib.suppress(FloatingPointError):
        gradient = quiet(tg.grad(f))(x)
    assert gradient is None or not np.all(gradient == 0)


def test_the_infinite_derivative_is_named():
    with pytest.raises(
        FloatingPointError, match=r"np\.square.*derivative of np\.sqrt of shape \(\)"
    ):
        tg.grad(lambda x: np.sqrt(np.sum(np.square(x))))(np.zeros(2))


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.linalg.norm(x) ** 2,
        lambda x: np.cos(np.linalg.norm(x)),
        lambda x: np.linalg.norm(x, 3) ** 2,
        lambda x: np.hypot(x[0], x[1]) ** 2,
        lambda x: np.std(x + 1) ** 2,
        np.linalg.norm,
        np.std,
        lambda x: np.arctan2(x[0], x[1]),
    ],
)
def test_second_derivatives_at_the_tip_of_a_cone_are_refused(f):
    # Those of norm(x)**2 are 2, those of norm(x) do not exist: the rule of the norm cannot tell.
    tg.grad(f)(np.zeros(2))
    with pytest.raises(FloatingPointError, match=r"0 \* inf"):
        tg.hessian(f)(np.zeros(2))


def test_nan_that_was_put_in_comes_out():
    with np.errstate(all="ignore"):
        assert np.isnan(tg.grad(lambda x: np.log(x) ** 2)(np.nan))
        assert np.isnan(tg.grad(lambda x: np.sum(np.sqrt(x)))(np.array([-1.0, 1.0]))).tolist() == [
            True,
            False,
        ]


def test_a_gradient_of_zero_has_a_slope_of_its_own():
    assert tg.grad(tg.grad(lambda x: (np.sqrt(x) - 1) ** 2))(1.0) == 0.5


def test_infinite_slopes_are_infinite():
    with np.errstate(all="ignore"):
        assert tg.grad(np.sqrt)(0.0) == np.inf
        assert tg.grad(np.log)(0.0) == np.inf
        assert tg.grad(lambda x: 1 / x)(0.0) == -np.inf


def test_the_backward_pass_of_singular_operations_does_not_warn():
    x = tg.Tensor([0.0, 4.0], requires_grad=True)
    y = np.sqrt(x)
    with np.errstate(all="raise"):
        np.sum(np.where(x > 0, y, 0)).backward()
    np.testing.assert_array_equal(x.grad, [0, 0.25])
