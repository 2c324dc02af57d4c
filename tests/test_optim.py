"""Optimisers against update rules that are written out here once more, from the sources."""

import copy
import inspect
import pickle

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import optim

OPTIMISERS = [
    lambda params: optim.SGD(params, lr=0.05),
    lambda params: optim.SGD(params, lr=0.05, momentum=0.9),
    lambda params: optim.SGD(params, 0.05, momentum=0.9, nesterov=True, weight_decay=0.1),
    lambda params: optim.RMSProp(params, lr=0.05),
    lambda params: optim.Adam(params, lr=0.05),
    lambda params: optim.AdamW(params, lr=0.05, weight_decay=0.5),
]
NAMES = ["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"]
each_optimiser = pytest.mark.parametrize("make", OPTIMISERS, ids=NAMES)
nan, inf = float("nan"), float("inf")


class Quadratic:
    """f(w, M) = w'Aw/2 - b'w + sum over the columns m of M of (m'Am/2 - b'm)."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        root = rng.standard_normal((6, 6))
        self.A = root @ root.T / 6 + np.eye(6)
        self.b = rng.standard_normal(6)
        self.start = [rng.standard_normal(6), rng.standard_normal((6, 3))]

    def __call__(self, w, M):
        columns = np.sum(M * (self.A @ M)) / 2 - np.sum(self.b @ M)
        return w @ self.A @ w / 2 - self.b @ w + columns

    def slope(self, x):
        return (self.A @ x.reshape(6, -1) - self.b[:, None]).reshape(x.shape)


def trained(make, f, steps):
    """Where the optimiser arrives from f.start, step by step."""
    params = [tg.Tensor(x, requires_grad=True) for x in f.start]
    optimizer = make(params)
    path = []
    for _ in range(steps):
        take_steps(optimizer, f, 1)
        path.append([p.data.copy() for p in params])
    return path


def take_steps(optimizer, f, n):
    for _ in range(n):
        optimizer.zero_grad()
        f(*optimizer.params).backward()
        optimizer.step()


def assert_same_path(path, expected):
    for here, there in zip(path, expected, strict=True):
        for x, y in zip(here, there, strict=True):
            assert np.abs(x - y).max() <= 1e-12 * np.abs(y).max()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_sgd_is_the_heavy_ball(seed, momentum):
    # Polyak's form: x_{t+1} = x_t - lr f'(x_t) + momentum (x_t - x_{t-1}).
    f, expected = Quadratic(seed), []
    before = here = f.start
    for _ in range(100):
        there = [
            x - 0.03 * f.slope(x) + momentum * (x - old)
            for x, old in zip(here, before, strict=True)
        ]
        before, here = here, there
        expected.append(here)
    assert_same_path(trained(lambda p: optim.SGD(p, 0.03, momentum), f, 100), expected)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("betas", "eps"), [((0.9, 0.999), 1e-8), ((0.6, 0.8), 1e-2), ((0, 0), 1)])
def test_adam_is_algorithm_1_of_kingma_and_ba(seed, betas, eps):
    f, expected = Quadratic(seed), []
    theta = [x.copy() for x in f.start]
    m, v = [np.zeros(x.shape) for x in theta], [np.zeros(x.shape) for x in theta]
    for t in range(1, 101):
        for i in range(2):
            g = f.slope(theta[i])
            m[i] = betas[0] * m[i] + (1 - betas[0]) * g
            v[i] = betas[1] * v[i] + (1 - betas[1]) * g**2
            m_hat, v_hat = m[i] / (1 - betas[0] ** t), v[i] / (1 - betas[1] ** t)
            theta[i] = theta[i] - 0.02 * m_hat / (np.sqrt(v_hat) + eps)
        expected.append(list(theta))
    assert_same_path(trained(lambda p: optim.Adam(p, 0.02, betas, eps), f, 100), expected)


@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_nesterov_takes_the_gradient_further_on(momentum):
    # Sutskever's form in the look-ahead variable y = x + momentum v:
    # v_{t+1} = momentum v_t - lr f'(y_t), x_{t+1} = x_t + v_{t+1}.
    f, expected = Quadratic(0), []
    x, v = f.start, [0.0, 0.0]
    for _ in range(100):
        ahead = [a + momentum * b for a, b in zip(x, v, strict=True)]
        v = [momentum * b - 0.03 * f.slope(y) for b, y in zip(v, ahead, strict=True)]
        x = [a + b for a, b in zip(x, v, strict=True)]
        expected.append([a + momentum * b for a, b in zip(x, v, strict=True)])
    path = trained(lambda p: optim.SGD(p, 0.03, momentum, nesterov=True), f, 100)
    assert_same_path(path, expected)


@pytest.mark.parametrize("decay", [0.1, 2.0])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_weight_decay_of_sgd_is_an_l2_penalty_on_all_values(decay, momentum):
    f, penalised = Quadratic(0), Quadratic(0)
    penalised.A = f.A + decay * np.eye(6)
    decayed = trained(lambda p: optim.SGD(p, 0.03, momentum, weight_decay=decay), f, 100)
    assert_same_path(decayed, trained(lambda p: optim.SGD(p, 0.03, momentum), penalised, 100))


@pytest.mark.parametrize(("alpha", "eps"), [(0.99, 1e-8), (0.5, 0.1), (0.0, 1.0)])
def test_rmsprop_divides_by_the_root_of_the_running_mean_square(alpha, eps):
    f, expected = Quadratic(0), []
    x, slopes = f.start, []
    for t in range(1, 101):
        slopes.append([f.slope(a) for a in x])
        # The running mean as the sum that it is.
        weights = [(1 - alpha) * alpha ** (t - 1 - s) for s in range(t)]
        v = [sum(w * g[i] ** 2 for w, g in zip(weights, slopes, strict=True)) for i in (0, 1)]
        x = [x[i] - 0.02 * slopes[-1][i] / (v[i] ** 0.5 + eps) for i in (0, 1)]
        expected.append(x)
    path = trained(lambda p: optim.RMSProp(p, 0.02, alpha, eps), f, 100)
    assert_same_path(path, expected)


def test_adamw_shrinks_all_values_before_adam_moves_them():
    f = Quadratic(0)
    params = [tg.Tensor(x, requires_grad=True) for x in f.start]
    adam, path = optim.Adam(params, 0.02), []
    for _ in range(100):
        adam.zero_grad()
        f(*params).backward()
        for p in params:
            p.data = p.data - 0.02 * 0.3 * p.data
        adam.step()
        path.append([p.data.copy() for p in params])
    assert_same_path(trained(lambda p: optim.AdamW(p, 0.02, weight_decay=0.3), f, 100), path)
    without = trained(lambda p: optim.AdamW(p, 0.02, weight_decay=0.0), f, 9)
    assert_same_path(without, trained(lambda p: optim.Adam(p, 0.02), f, 9))


SETTINGS = {
    "SGD": [
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.3, "nesterov": True, "weight_decay": 0.1},
        {"weight_decay": 0.5},
    ],
    "RMSProp": [{}, {"alpha": 0.5, "eps": 1e-3}, {"alpha": 0.0, "eps": 1.0}],
    "Adam": [{}, {"betas": (0.6, 0.8), "eps": 1e-2}, {"betas": (0.0, 0.0), "eps": 1.0}],
    "AdamW": [{}, {"weight_decay": 0.7, "betas": (0.5, 0.9)}, {"weight_decay": 0.0, "eps": 0.1}],
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_hundred_steps_are_those_of_pytorch(name):
    torch = pytest.importorskip("torch")
    for seed, settings in enumerate(SETTINGS[name]):
        f, rng = Quadratic(seed), np.random.default_rng(seed)
        starts = [*f.start, rng.standard_normal(()), rng.standard_normal((2, 1, 3))]
        own = [tg.Tensor(x, requires_grad=True) for x in starts]
        theirs = [torch.tensor(x, requires_grad=True) for x in starts]
        optimizer = getattr(optim, name)(own, lr=0.05, **settings)
        reference = getattr(torch.optim, {"RMSProp": "RMSprop"}.get(name, name))(
            theirs, lr=0.05, **settings
        )
        for step in range(100):
            optimizer.lr = reference.param_groups[0]["lr"] = 0.05 / (1 + step % 7)
            for p, q in zip(own, theirs, strict=True):
                noise = rng.standard_normal(p.shape) * (step % 3)
                slope = f.slope if p.ndim and len(p.data) == 6 else np.sin
                p.grad = slope(p.data) + noise
                q.grad = torch.tensor(slope(q.detach().numpy()) + noise)
            optimizer.step()
            reference.step()
            for p, q in zip(own, theirs, strict=True):
                np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-10, atol=1e-12)
    defaults = getattr(torch.optim, {"RMSProp": "RMSprop"}.get(name, name))(theirs, lr=0.1).defaults
    optimizer = getattr(optim, name)(own, lr=0.1)
    for setting in {key for settings in SETTINGS[name] for key in settings}:
        assert getattr(optimizer, setting) == defaults[setting]


def test_adam_has_the_paper_s_defaults_and_the_others_have_pytorch_s():
    f = Quadratic(0)
    pairs = [
        (optim.RMSProp, lambda p: optim.RMSProp(p, 1e-2, 0.99, 1e-8)),
        (optim.AdamW, lambda p: optim.AdamW(p, 1e-3, (0.9, 0.999), 1e-8, 1e-2)),
    ]
    for defaults, spelled_out in pairs:
        assert_same_path(trained(defaults, f, 5), trained(spelled_out, f, 5))
    spelled_out = trained(lambda p: optim.Adam(p, 1e-3, (0.9, 0.999), 1e-8), f, 5)
    np.testing.assert_array_equal(trained(optim.Adam, f, 5)[-1][0], spelled_out[-1][0])


@each_optimiser
def test_a_parameter_without_gradient_is_left_alone(make):
    f = Quadratic(0)
    w, M = (tg.Tensor(x, requires_grad=True) for x in f.start)
    optimizer = make([w, M])
    for _ in range(3):
        f(w, tg.Tensor(M.data)).backward()
        optimizer.step()
    np.testing.assert_array_equal(M.data, f.start[1], strict=True)
    assert not np.array_equal(w.data, f.start[0])
    # Nor does its count of steps move on: its first update is like anybody's first.
    f(w, M).backward()
    optimizer.step()
    np.testing.assert_array_equal(M.data, trained(make, f, 1)[0][1])


@each_optimiser
def test_float32_stays_float32(make):
    f = Quadratic(0)
    p = tg.Tensor(f.start[0].astype(np.float32), requires_grad=True)
    optimizer = make([p])
    for _ in range(3):
        p.grad = f.slope(p.data).astype(np.float32)
        optimizer.step()
    assert p.dtype == np.float32
    assert not np.array_equal(p.data, f.start[0].astype(np.float32))
    # Double precision from the same start agrees as far as single precision goes.
    exact = trained(make, f, 3)[-1][0]
    np.testing.assert_allclose(p.data, exact, rtol=0, atol=4e-6 * np.abs(exact).max())


@each_optimiser
def test_a_step_between_forward_and_backward_is_noticed(make):
    w = tg.Tensor([1.0, -2.0], requires_grad=True, name="w")
    optimizer = make([w])
    np.sum(w * w).backward()
    late = np.sum(np.exp(w))
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"data of w was changed after np\.exp had read it"):
        late.backward()
    np.testing.assert_array_equal(w.grad, [2.0, -4.0])


@each_optimiser
def test_gradients_accumulate_until_zero_grad(make):
    w = tg.Tensor([1.0, -2.0], requires_grad=True)
    optimizer = make([w])
    for _ in range(2):
        np.sum(w * w).backward()
    np.testing.assert_array_equal(w.grad, [4.0, -8.0])
    optimizer.zero_grad()
    assert w.grad is None


@each_optimiser
def test_a_state_dict_is_a_snapshot(make):
    f = Quadratic(1)
    params = [tg.Tensor(x, requires_grad=True) for x in f.start]
    optimizer = make(params)
    take_steps(optimizer, f, 1)
    data, state = [p.data.copy() for p in params], optimizer.state_dict()
    results = []
    for _ in range(2):
        for p, kept in zip(params, data, strict=True):
            p.data = kept
        optimizer.load_state_dict(state)
        take_steps(optimizer, f, 3)
        results.append([p.data.copy() for p in params])
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)
    # Another optimiser of the same kind goes on with it as well.
    others = [tg.Tensor(x, requires_grad=True) for x in data]
    other = make(others)
    other.load_state_dict(state)
    take_steps(other, f, 3)
    for p, expected in zip(others, results[0], strict=True):
        np.testing.assert_array_equal(p.data, expected)


@each_optimiser
def test_the_learning_rate_can_change_between_steps(make):
    shifts = []
    for lr in (0.1, 0.025):
        w = tg.Tensor([1.0, -2.0], requires_grad=True)
        optimizer = make([w])
        optimizer.lr = lr
        assert optimizer.lr == lr
        w.grad = np.array([0.5, 3.0])
        optimizer.step()
        shifts.append(w.data - [1.0, -2.0])
    np.testing.assert_allclose(shifts[0], 4 * shifts[1], rtol=1e-12)


@pytest.mark.parametrize("lr", [-0.1, 0, 0.0, nan, inf, -inf, "fast"])
@pytest.mark.parametrize("kind", [optim.SGD, optim.RMSProp, optim.Adam, optim.AdamW])
def test_bad_learning_rates_are_refused(kind, lr):
    w = tg.Tensor(1.0, requires_grad=True)
    with pytest.raises(ValueError, match="learning rate"):
        kind([w], lr=lr)
    optimizer = kind([w], lr=0.1)
    with pytest.raises(ValueError, match="learning rate"):
        optimizer.lr = lr
    assert optimizer.lr == 0.1


@pytest.mark.parametrize("lr", [None, [0.1, 0.2], 1j, True])
def test_a_learning_rate_that_is_no_number_is_refused_by_name(lr):
    with pytest.raises((TypeError, ValueError), match="learning rate"):
        optim.SGD([tg.Tensor(1.0, requires_grad=True)], lr=lr)


@pytest.mark.parametrize("kind", [optim.SGD, optim.RMSProp, optim.Adam, optim.AdamW])
@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        ("momentum", [-0.1, 1, 1.5, nan, inf, "0.9", None]),
        ("alpha", [-0.1, 1, nan, inf, "0.9", None]),
        ("eps", [0, -1e-8, nan, inf, None]),
        ("weight_decay", [-0.1, nan, inf, None, 1j]),
        ("betas", [(1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (nan, 0.9), (0.9, inf), (0.9,), 0.9]),
        ("betas", [(0.9, 0.9, 0.9), ("0.9", 0.9), None, {0.9, 0.5}]),
    ],
)
def test_bad_settings_are_refused_by_name(kind, setting, wrong):
    if setting in inspect.signature(kind).parameters:
        for value in wrong:
            with pytest.raises(ValueError, match=f"{setting} must be"):
                kind([tg.Tensor(1.0, requires_grad=True)], lr=0.1, **{setting: value})


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(ValueError, match="nesterov=True needs a momentum above 0"):
        optim.SGD([tg.Tensor(1.0, requires_grad=True)], lr=0.1, nesterov=True)


@each_optimiser
def test_a_copy_goes_on_as_the_original_does(make):
    f = Quadratic(2)
    optimizer = make([tg.Tensor(x, requires_grad=True) for x in f.start])
    take_steps(optimizer, f, 3)
    twins = copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))
    for one in (optimizer, *twins):
        take_steps(one, f, 3)
    for twin in twins:
        for p, q in zip(optimizer.params, twin.params, strict=True):
            assert p is not q
            np.testing.assert_array_equal(p.data, q.data)


def test_no_parameters_are_refused():
    with pytest.raises(ValueError, match=r"no parameters.*model\.parameters\(\)"):
        optim.SGD(iter(()), lr=0.1)


def test_the_same_parameter_twice_is_refused():
    w, v = (tg.Tensor(1.0, requires_grad=True) for _ in range(2))
    with pytest.raises(ValueError, match="more than once"):
        optim.SGD([w, v, w], lr=0.1)


@pytest.mark.parametrize("wrong", [np.array(1.0), tg.Tensor(1.0), 3.0, "W", None])
def test_what_is_no_parameter_is_refused_by_position(wrong):
    with pytest.raises(TypeError, match=r"params\[1\]"):
        optim.SGD([tg.Tensor(1.0, requires_grad=True), wrong], lr=0.1)


def test_the_result_of_an_operation_is_no_parameter():
    w = tg.Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises((TypeError, ValueError), match="params"):
        optim.SGD([2 * w], lr=0.1)


@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_a_single_tensor_in_place_of_a_list_is_refused(shape):
    # Its rows need a gradient as well, but a step would change nothing.
    W = tg.Tensor(np.random.default_rng(0).random(shape), requires_grad=True)
    with pytest.raises(TypeError, match=r"list of Tensors.*\[w\]"):
        optim.SGD(W, lr=0.1)


def test_a_frozen_parameter_stands_still():
    net = tg.nn.MLP((2, 3, 1), rng=0)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    np.sum(net(np.ones((2, 2))) ** 2).backward()
    frozen = net.parameters()[0]
    frozen.requires_grad = False
    before = frozen.data.copy()
    for _ in range(3):
        net.zero_grad()
        np.sum(net(np.ones((2, 2))) ** 2).backward()
        optimizer.step()
    np.testing.assert_array_equal(frozen.data, before)
