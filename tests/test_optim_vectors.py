"""That all parameters lie in one vector is not to be noticed, except that updates are faster.

The reference is an optimiser for each parameter by itself, with the formulas written out.
"""

import copy
import gc
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_edu as tg
from tinygrad_edu import optim

SHAPES = [(3,), (2, 3), (), (3, 1), (0, 2), (1,)]


class PlainSGD:
    """v = 0.9 v + g, x = x - 0.05 v, for one array."""

    def __init__(self, x):
        self.x, self.v = x.copy(), np.zeros_like(x)

    def step(self, g):
        self.v = 0.9 * self.v + g
        self.x = self.x - 0.05 * self.v


class PlainAdam:
    """Algorithm 1 of Kingma and Ba, for one array."""

    def __init__(self, x):
        self.x, self.m, self.v, self.t = x.copy(), np.zeros_like(x), np.zeros_like(x), 0

    def step(self, g):
        self.t += 1
        self.m = 0.9 * self.m + (1 - 0.9) * g
        self.v = 0.999 * self.v + (1 - 0.999) * g**2
        m, v = self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)
        self.x = self.x - 0.05 * m / (np.sqrt(v) + 1e-8)


class PlainAdamW(PlainAdam):
    """The same after x = x - 0.05 * 0.3 * x, for one array."""

    def step(self, g):
        self.x = self.x * (1 - 0.05 * 0.3)
        super().step(g)


KINDS = {
    "momentum": (lambda params: optim.SGD(params, 0.05, momentum=0.9), PlainSGD),
    "adam": (lambda params: optim.Adam(params, 0.05), PlainAdam),
    "adamw": (lambda params: optim.AdamW(params, 0.05, weight_decay=0.3), PlainAdamW),
}
each_kind = pytest.mark.parametrize("kind", list(KINDS))


def parameters(seed=0, shapes=SHAPES, dtype=float):
    rng = np.random.default_rng(seed)
    return [tg.Tensor(rng.standard_normal(s).astype(dtype), requires_grad=True) for s in shapes]


def set_gradients(params, rng):
    for p in params:
        p.grad = rng.standard_normal(p.shape).astype(p.dtype)


def assert_close(p, x):
    assert p.dtype == x.dtype
    tolerance = 1e-13 if p.dtype == np.float64 else 1e-5
    np.testing.assert_allclose(p.data, x, rtol=tolerance, atol=tolerance)


def bits(params):
    return [p.data.tobytes() for p in params]


ACTIONS = [
    "all",
    "some",
    "replace",
    "in place",
    "write",
    "hold",
    "drop",
    "copy",
    "freeze",
    "buffers",
]


@given(st.sampled_from(list(KINDS)), st.lists(st.sampled_from(ACTIONS), max_size=25), st.data())
def test_whatever_happens_between_steps_every_value_is_as_by_the_formula(kind, actions, data):
    rng = np.random.default_rng(0)
    params = parameters()
    # Some are float32, so that there are two vectors.
    params += [tg.Tensor(p.data.astype(np.float32), requires_grad=True) for p in params[:3]]
    make, formula = KINDS[kind]
    optimizer, plain = make(params), [formula(p.data) for p in params]
    held = {}
    for action in ["all", *actions, "all"]:
        i = rng.integers(len(params))
        p, new = params[i], rng.standard_normal(params[i].shape).astype(params[i].dtype)
        if action == "replace":
            p.data, plain[i].x = new, new
            held.pop(i, None)
        elif action == "in place":
            p.data -= new
            plain[i].x = plain[i].x - new
        elif action == "hold":
            held[i] = p.data
        elif action == "drop":
            held.clear()
        elif action == "write":
            for j, array in held.items():
                array[...] *= 2
                plain[j].x = plain[j].x * 2
        elif action == "copy":
            optimizer, held = data.draw(st.sampled_from(COPIES))(optimizer), {}
            params = optimizer.params
        elif action == "freeze":
            p.requires_grad = False
            p.data = new
            p.requires_grad, plain[i].x = True, new
            held.pop(i, None)
        else:
            updated = [p for p in params if action != "some" or rng.random() < 0.5]
            optimizer.zero_grad()
            set_gradients(updated, rng)
            if action == "buffers":
                for p, buffer in zip(params, optimizer.gradients, strict=True):
                    buffer[...] = p.grad
                optimizer.use_gradients()
            for p, x in zip(params, plain, strict=True):
                if p.grad is not None:
                    x.step(p.grad)
            optimizer.step()
            assert all(array is params[j].data for j, array in held.items())
        for p, x in zip(params, plain, strict=True):
            assert_close(p, x.x)


COPIES = [
    lambda optimizer: optimizer,
    copy.deepcopy,
    lambda optimizer: pickle.loads(pickle.dumps(optimizer)),
]


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam])
def test_one_update_changes_all_parameters_of_a_dtype(kind):
    calls = []

    class Counting(kind):
        def update(self, p, g, t, state):
            calls.append((p.dtype, p.size, t))
            super().update(p, g, t, state)

    params = parameters() + parameters(dtype=np.float32)
    optimizer = Counting(params, lr=0.1)
    for _ in range(2):
        set_gradients(params, np.random.default_rng(0))
        optimizer.step()
    n = sum(p.size for p in parameters())
    assert calls == [(np.float64, n, 1), (np.float32, n, 1), (np.float64, n, 2), (np.float32, n, 2)]
    # Then the arrays of the parameters are in the vector themselves, the weights first.
    weights = [w for w, _ in optimizer.weights()]
    for p in params:
        assert np.shares_memory(p.data, weights[p.dtype == np.float32]) == (
            p.ndim > 1 and p.size > 0
        )
        assert p.data.flags.c_contiguous


def test_the_tape_knows_the_arrays_in_the_vector():
    w = tg.Tensor([1.0, -2.0], requires_grad=True)
    np.sum(w * w).backward()
    optim.SGD([w], lr=0.1).step()
    late = np.sum(w * w)
    w.data[...] = 9
    with pytest.raises(RuntimeError, match="changed after"):
        late.backward()


@each_kind
def test_large_parameters_are_updated_in_pieces(kind):
    make, formula = KINDS[kind]
    rng = np.random.default_rng(0)
    params = parameters(shapes=[(5,), (2**14 + 1,), (200, 200), (7, 3), (2, 2**14)])
    optimizer, plain = make(params), [formula(p.data) for p in params]
    for step in range(4):
        set_gradients(params, rng)
        if step == 1:
            params[2].grad = None
        if step == 2:
            params[2].grad = params[2].grad.T.copy().T
            params[2]._entry.grad = np.asfortranarray(params[2].grad)
        for p, x in zip(params, plain, strict=True):
            if p.grad is not None:
                x.step(p.grad)
        optimizer.step()
        for p, x in zip(params, plain, strict=True):
            assert_close(p, x.x)


@pytest.mark.parametrize("second", [slice(None), slice(0, 2), slice(1, None)])
@each_kind
def test_optimisers_of_the_same_parameters_take_turns(kind, second):
    rng = np.random.default_rng(0)
    params, expected = parameters(), parameters()
    make, formula = KINDS[kind]
    a, b = make(params), optim.SGD(params[second], lr=0.5)
    plain = [formula(p.data) for p in expected]
    for step in range(8):
        set_gradients(params, rng)
        if step % 3 == 2:
            for p, x in zip(params[second], plain[second], strict=True):
                x.x = x.x - 0.5 * p.grad
            b.step()
        else:
            for p, x in zip(params, plain, strict=True):
                x.step(p.grad)
            a.step()
        for p, x in zip(params, plain, strict=True):
            assert_close(p, x.x)


def test_an_optimiser_takes_over_from_one_that_is_gone():
    params = parameters()
    first = optim.SGD(params, lr=0.1)
    set_gradients(params, np.random.default_rng(0))
    first.step()
    second = optim.Adam(params)
    second.step()
    (weights, _), *_ = second.weights()
    assert not np.shares_memory(params[1].data, weights)
    del first, weights
    gc.collect()
    row = params[1].data[0]
    second.step()
    row[...] = 5  # which shows the first one's memory: so the parameters had to stay there
    np.testing.assert_array_equal(params[1].data[0], 5)
    del row
    second.step()
    assert np.shares_memory(params[1].data, second.weights()[0][0])


def test_arrays_that_the_user_holds_stay_those_of_the_parameters():
    params = parameters()
    arrays = [p.data for p in params]
    optimizer = optim.Adam(params)
    for _ in range(3):
        set_gradients(params, np.random.default_rng(0))
        optimizer.step()
        for p, array in zip(params, arrays, strict=True):
            assert p.data is array
    arrays[0][...] = 7
    np.testing.assert_array_equal(params[0].data, 7)
    np.testing.assert_array_equal(arrays[1], optimizer.weights()[0][0][:6].reshape(2, 3))


@each_kind
def test_a_tape_from_before_the_first_step_is_right_or_refused(kind):
    for steps in (0, 1, 2):
        w = tg.Tensor([1.0, -2.0], requires_grad=True, name="w")
        optimizer = KINDS[kind][0]([w])
        for _ in range(steps):
            np.sum(w * w).backward()
            optimizer.step()
        optimizer.zero_grad()
        late = np.sum(np.exp(w))
        optimizer.weights()
        late.backward(retain_graph=True)
        np.testing.assert_array_equal(w.grad, np.exp(w.data))
        optimizer.step()
        with pytest.raises(RuntimeError, match=r"data of w was changed after np\.exp"):
            late.backward()


def test_training_under_debug():
    def trained():
        net = tg.nn.MLP((2, 4, 3), rng=0)
        optimizer, X = optim.Adam(net.parameters()), np.random.default_rng(0).random((5, 2))
        for _ in range(3):
            optimizer.zero_grad()
            loss = tg.cross_entropy(net(X), np.array([0, 1, 2, 0, 1]))
            loss.backward()
            optimizer.step()
            other = np.sum(net(X))  # a tape that holds the parameters during the next step
        optimizer.step()
        with pytest.raises(RuntimeError, match="changed after"):
            other.backward()
        return bits(net.parameters())

    with tg.debug():
        watched = trained()
    assert watched == trained()


def test_a_copy_has_parameters_and_state_of_its_own():
    params = parameters()
    optimizer = optim.Adam(params)
    set_gradients(params, np.random.default_rng(0))
    optimizer.step()
    before, state = bits(params), optimizer.state_dict()
    twins = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    for twin in twins:
        assert bits(twin.params) == before
        twin.step()
        assert bits(params) == before
        assert_same_state(optimizer.state_dict(), state)
    optimizer.step()
    for twin in twins:
        assert bits(twin.params) == bits(params)
        assert_same_state(twin.state_dict(), optimizer.state_dict())


def assert_same_state(a, b):
    assert list(a) == list(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], strict=True)


def test_a_state_dict_has_plain_arrays_by_name():
    params = parameters(shapes=[(3,), (2, 3)])
    optimizer = optim.Adam(params)
    assert not any(array.any() for array in optimizer.state_dict().values())
    for grads in [(None, 2.0), (1.0, 2.0)]:
        for p, g in zip(params, grads, strict=True):
            p.grad = None if g is None else np.full(p.shape, g)
        optimizer.step()
    state = optimizer.state_dict()
    assert list(state) == ["t", "m.0", "m.1", "v.0", "v.1"]
    assert state["t"].tolist() == [1, 2]
    np.testing.assert_allclose(state["m.0"], np.full(3, 0.1), rtol=1e-14)
    np.testing.assert_allclose(state["m.1"], np.full((2, 3), 0.38), rtol=1e-14)
    np.testing.assert_allclose(state["v.1"], np.full((2, 3), 0.001 * 4 * 1.999), rtol=1e-12)
    state["m.0"][...] = 5
    assert optimizer.state_dict()["m.0"][0] != 5
    assert list(optim.SGD(params, 0.1).state_dict()) == ["t", "velocity.0", "velocity.1"]


BAD_STATES = [
    (lambda s: s.pop("m.1"), KeyError, r"lacks \['m\.1'\]; this Adam has \['t', 'm\.0'"),
    (lambda s: s.update(velocity=0), KeyError, r"has unknown \['velocity'\]"),
    (lambda s: s.update({"v.1": np.ones((3, 2))}), ValueError, r"v\.1 has shape \(2, 3\)"),
    (lambda s: s.update({"t": np.ones(3, int)}), ValueError, r"t has shape \(2,\)"),
    (lambda s: s.update({"t": np.ones(2)}), ValueError, "numbers of updates"),
    (lambda s: s.update({"t": np.array([1, -1])}), ValueError, "numbers of updates"),
    (lambda s: s.update({"v.0": np.array(["a"] * 3)}), ValueError, r"v\.0 must hold real numbers"),
    (lambda s: s.update({"v.0": [[1], [2, 3]]}), ValueError, r"v\.0 cannot be made an array"),
]


@pytest.mark.parametrize(("spoil", "error", "message"), BAD_STATES)
def test_a_state_that_does_not_fit_is_refused_as_a_whole(spoil, error, message):
    params = parameters(shapes=[(3,), (2, 3)])
    optimizer = optim.Adam(params)
    set_gradients(params, np.random.default_rng(0))
    optimizer.step()
    before = optimizer.state_dict()
    state = {name: array + 1 for name, array in before.items()}
    spoil(state)
    with pytest.raises(error, match=message):
        optimizer.load_state_dict(state)
    assert_same_state(optimizer.state_dict(), before)


def test_a_state_can_be_saved_by_numpy(tmp_path):
    params = parameters(dtype=np.float32)
    optimizer = optim.Adam(params)
    set_gradients(params, np.random.default_rng(0))
    optimizer.step()
    np.savez(tmp_path / "adam.npz", **optimizer.state_dict())
    other = optim.Adam(parameters(dtype=np.float32))
    with np.load(tmp_path / "adam.npz") as saved:
        other.load_state_dict(saved)
    assert_same_state(other.state_dict(), optimizer.state_dict())


def test_gradients_written_into_the_buffers():
    params, twins = parameters(), parameters()
    optimizer, reference = optim.Adam(params), optim.Adam(twins)
    buffers = optimizer.gradients
    rng = np.random.default_rng(0)
    for _ in range(3):
        set_gradients(twins, rng)
        for buffer, twin in zip(buffers, twins, strict=True):
            assert buffer.shape == twin.shape
            buffer[...] = twin.grad
        optimizer.use_gradients()
        assert all(p.grad is buffer for p, buffer in zip(params, buffers, strict=True))
        optimizer.step()
        reference.step()
        assert bits(params) == bits(twins)
    assert all(a is b for a, b in zip(optimizer.gradients, buffers, strict=True))
    # A frozen parameter gets no gradient, and one that was changed since is heeded.
    params[0].requires_grad = False
    optimizer.use_gradients()
    assert params[0].grad is None
    params[1].grad = np.zeros(params[1].shape)
    before = bits(params)
    sgd = optim.SGD(params[1:], 0.1)
    sgd.step()
    assert bits(params)[:2] == before[:2]
    assert bits(params)[3] != before[3]


def test_weights_are_all_parameters_of_two_axes_in_one_vector():
    params = parameters() + parameters(dtype=np.float32)
    optimizer = optim.SGD(params, 0.1)
    for _ in range(2):
        pairs = optimizer.weights()
        assert [w.dtype for w, _ in pairs] == [np.float64, np.float32]
        for w, g in pairs:
            assert w.shape == g.shape
            expected = [p.data.ravel() for p in params if p.ndim >= 2 and p.dtype == w.dtype]
            np.testing.assert_array_equal(w, np.concatenate(expected))
            g[...] = 3.0
        for p, g in zip(params, optimizer.gradients, strict=True):
            assert (g == 3.0).all() == (p.ndim >= 2 or p.size == 0)
        set_gradients(params, np.random.default_rng(0))
        optimizer.step()
        for g in optimizer.gradients:
            g[...] = 0.0


def test_an_optimiser_without_an_update_says_what_to_define():
    w = tg.Tensor(1.0, requires_grad=True)
    w.grad = np.ones(())
    with pytest.raises(NotImplementedError, match=r"Mine must define update\(self, p, g, t, state"):
        type("Mine", (optim.Optimizer,), {})([w], 0.1).step()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_gradient_that_is_a_tensor(momentum):
    w = tg.Tensor([1.0, -2.0], requires_grad=True)
    np.sum(w**3).backward(create_graph=True)
    assert isinstance(w.grad, tg.Tensor)
    optim.SGD([w], 0.1, momentum).step()
    np.testing.assert_allclose(w.data, [0.7, -3.2], rtol=1e-15)
