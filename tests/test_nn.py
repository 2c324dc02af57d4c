"""Nets: which parameters a module has, how they begin, and what the forward pass computes."""

import contextlib
import copy
import itertools
import pickle
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_edu as tg
from tinygrad_edu import nn

SIZES = st.lists(st.integers(1, 6), min_size=2, max_size=5)

# Written otherwise than in the library.
ACTIVATIONS = {
    "relu": lambda x: x * (x > 0),
    "leaky_relu": lambda x: np.maximum(x, 0.01 * x),
    "sigmoid": lambda x: 0.5 * (1 + np.tanh(x / 2)),
    "tanh": lambda x: 1 - 2 / (np.exp(2 * x) + 1),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "identity": lambda x: x,
}


class Tied(nn.Module):
    """Two layers that share one, and a parameter of its own."""

    def __init__(self):
        self.encoder = nn.Linear(3, 3, rng=0)
        self.decoder = self.encoder
        self.head = nn.Linear(3, 2, rng=1)
        self.note, self.shift = "not a parameter", tg.Tensor(np.arange(3.0))

    def forward(self, x):
        return self.head(self.decoder(self.encoder(x)) + self.shift)


def with_biases(net, seed=5):
    """The net with random numbers in place of the zeros at which biases begin."""
    rng = np.random.default_rng(seed)
    for p in net.parameters():
        if p.ndim == 1:
            p.data = rng.standard_normal(p.shape)
    return net


def bits(net):
    return [(p.dtype, p.data.tobytes()) for p in net.parameters()]


@given(SIZES, st.sampled_from(sorted(ACTIVATIONS)))
def test_parameters_are_w1_b1_w2_b2_in_order(sizes, activation):
    net = nn.MLP(sizes, activation, rng=0)
    pairs = list(itertools.pairwise(sizes))
    expected = [name for i in range(1, len(sizes)) for name in (f"W{i}", f"b{i}")]
    assert [p.name for p in net.parameters()] == expected
    shapes = [shape for n_in, n_out in pairs for shape in ((n_in, n_out), (n_out,))]
    assert [p.shape for p in net.parameters()] == shapes
    keys = [f"layers.{2 * i}.{letter}" for i in range(len(pairs)) for letter in "Wb"]
    assert list(net.state_dict()) == keys
    assert all(p.requires_grad for p in net.parameters())


def test_a_shared_parameter_counts_once():
    net = Tied()
    encoder, head = net.encoder, net.head
    own = net.parameters()
    assert [id(p) for p in own] == [id(p) for p in (encoder.W, encoder.b, head.W, head.b)]
    names = [name for name, p in net.named_parameters() if p.requires_grad]
    assert names == ["encoder.W", "encoder.b", "decoder.W", "decoder.b", "head.W", "head.b"]
    assert str(net).splitlines()[-1].split() == ["total", str(12 + 8)]


def test_a_shared_parameter_gets_the_gradient_of_both_uses():
    net, x = Tied(), np.random.default_rng(0).standard_normal((4, 3))
    W, b, V = net.encoder.W.data, net.encoder.b.data, net.head.W.data
    np.sum(net(x)).backward()
    g = np.ones((4, 2)) @ V.T
    expected = (x @ W + b).T @ g + x.T @ (g @ W.T)
    np.testing.assert_allclose(net.encoder.W.grad, expected, rtol=1e-12)


def test_parameters_are_found_in_lists_tuples_dicts_and_modules():
    class Nest(nn.Module):
        def __init__(self):
            self.scale = tg.Tensor(2.0, requires_grad=True)
            self.weights = [tg.Tensor(1.0, requires_grad=True), "text", 3.0]
            self.branches = (nn.Linear(2, 1, rng=0), [nn.Linear(1, 1, rng=0)])
            self.heads = {"a": nn.Linear(1, 2, rng=0), "b": nn.Sequential(Tied())}

    names = [name for name, p in Nest().named_parameters() if p.requires_grad]
    tied = [f"heads.b.layers.0.{layer}" for layer in ("encoder", "decoder", "head")]
    layers = ["branches.0", "branches.1.0", "heads.a", *tied]
    assert names == ["scale", "weights.0", *(f"{layer}.{p}" for layer in layers for p in "Wb")]
    assert len(Nest().parameters()) == len(names) - 2


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        (lambda new: {"a": {"b": new()}, "a.b": new()}, "parts.a.b"),
        (lambda new: {1: new(), "1": new()}, "parts.1"),
        (lambda new: {"a": nn.Linear(1, 1), "a.W": new()}, "parts.a.W"),
        (lambda new: {1: nn.Tanh(), "1": nn.Tanh()}, "parts.1"),
    ],
)
def test_two_parts_of_one_path_are_refused_and_one_part_twice_is_not(parts, path, tmp_path):
    net = nn.Module()
    net.parts = parts(lambda: tg.Tensor(1.0, requires_grad=True))
    for act in (net.state_dict, net.parameters, lambda: tg.save(net, tmp_path / "net.npz")):
        with pytest.raises(ValueError, match=f"'{re.escape(path)}'"):
            act()
    assert not list(tmp_path.iterdir())
    tensor = tg.Tensor(1.0, requires_grad=True)
    net.parts = {1: tensor, "1": tensor}
    assert list(net.state_dict()) == ["parts.1"]


def test_a_tensor_that_needs_no_gradient_is_state_and_no_parameter():
    net, x = Tied(), np.random.default_rng(0).standard_normal((4, 3))
    assert not any(p is net.shift for p in net.parameters())
    state, out = net.state_dict(), net(x).data
    np.testing.assert_array_equal(state["shift"], net.shift.data)
    net.load_state_dict({**state, "shift": state["shift"] + 1})
    moved = net(x).data - out
    np.testing.assert_allclose(moved, [net.head.W.data.sum(axis=0)] * 4, rtol=1e-12)


def test_a_module_without_forward_says_so():
    class Empty(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match="Empty must define forward"):
        Empty()(1.0)


@given(SIZES, st.lists(st.integers(0, 4), min_size=1, max_size=3), st.integers(0, 2**32 - 1))
def test_forward_is_plain_numpy_to_the_last_bit(sizes, leading, seed):
    net = with_biases(nn.MLP(sizes, rng=seed), seed)
    x = np.random.default_rng(seed).standard_normal((*leading, sizes[0]))
    *hidden, last = zip(*[iter([p.data for p in net.parameters()])] * 2, strict=True)
    y = x
    for W, b in hidden:
        y = np.maximum(y @ W + b, 0)
    y = y @ last[0] + last[1]
    out = net(x)
    assert out.shape == (*leading, sizes[-1])
    assert out.data.tobytes() == y.tobytes()


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation_by_name(name):
    net = with_biases(nn.MLP((3, 4, 5, 2), name, rng=1))
    x = np.random.default_rng(2).standard_normal((7, 3))
    W1, b1, W2, b2, W3, b3 = (p.data for p in net.parameters())
    f = ACTIVATIONS[name]
    expected = f(f(x @ W1 + b1) @ W2 + b2) @ W3 + b3
    np.testing.assert_allclose(net(x).data, expected, rtol=1e-12, atol=1e-13)


def test_the_names_of_the_activations_are_all_tried_above():
    assert set(ACTIVATIONS) == set(nn.ACTIVATIONS)


def test_an_activation_may_be_a_function_that_makes_a_module():
    net = nn.MLP((3, 4, 2), lambda: nn.LeakyReLU(0.3), rng=0)
    x = np.random.default_rng(0).standard_normal((6, 3))
    W1, b1, W2, b2 = (p.data for p in net.parameters())
    h = x @ W1 + b1
    assert (h < 0).any()
    np.testing.assert_allclose(net(x).data, np.maximum(h, 0.3 * h) @ W2 + b2, rtol=1e-12)


def maxout_by_hand(x, W, b, pieces):
    """max over k of x @ W_k + b_k, and which k it is."""
    z = np.stack(
        [x @ V + c for V, c in zip(np.split(W, pieces, 1), np.split(b, pieces), strict=True)]
    )
    return z.max(axis=0), z.argmax(axis=0)


@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 4),
    st.lists(st.integers(0, 3), min_size=1, max_size=2),
    st.integers(0, 2**32 - 1),
)
def test_maxout_is_the_largest_of_its_pieces(n_in, n_out, pieces, leading, seed):
    layer = with_biases(nn.Maxout(n_in, n_out, pieces, rng=seed), seed)
    x = np.random.default_rng(seed).standard_normal((*leading, n_in))
    expected, _ = maxout_by_hand(x, layer.W.data, layer.b.data, pieces)
    out = layer(x)
    assert out.shape == (*leading, n_out)
    np.testing.assert_allclose(out.data, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_the_gradient_of_maxout_is_checked_and_goes_to_the_largest_piece(pieces):
    layer = with_biases(nn.Maxout(3, 4, pieces, rng=0))
    rng = np.random.default_rng(1)
    x, g = rng.standard_normal((5, 3)), rng.standard_normal((5, 4))

    def f(x, W, b):
        layer.W, layer.b = W, b
        return np.sum(g * layer(x))

    W, b = layer.W.data, layer.b.data
    report = tg.check_grad(f, x, W, b)
    assert report, report
    _, largest = maxout_by_hand(x, W, b, pieces)
    by_hand = np.concatenate([(g * (largest == k)).sum(axis=0) for k in range(pieces)])
    np.testing.assert_allclose(tg.grad(f, argnums=2)(x, W, b), by_hand, rtol=1e-12)


def test_equal_pieces_share_the_gradient_and_the_checker_allows_it():
    layer = nn.Maxout(1, 1, pieces=3, init=lambda rng, shape: np.ones(shape))
    layer.b.data = np.array([0.0, 0.0, -1.0])

    def f(W, b):
        layer.W, layer.b = W, b
        return np.sum(layer(np.array([[2.0]])))

    report = tg.check_grad(f, layer.W.data, layer.b.data)
    assert report, report
    assert "KINK" in str(report)
    W, b = tg.grad(f, argnums=(0, 1))(layer.W.data, layer.b.data)
    np.testing.assert_array_equal(W, [[1, 1, 0]])
    np.testing.assert_array_equal(b, [0.5, 0.5, 0])


@pytest.mark.parametrize(("init", "variance"), [("he", 2 / 3), ("glorot", 2 / 7), (0.2, 0.04)])
def test_the_pieces_of_maxout_begin_as_linear_layers_do(init, variance):
    W = nn.Maxout(3, 4, 2, init, rng=2).W.data
    draws = np.random.default_rng(2).standard_normal((2, 3, 4))
    np.testing.assert_allclose(W, np.concatenate(draws, axis=1) * variance**0.5, rtol=1e-15)


def test_a_net_of_maxout_has_it_in_its_hidden_layers():
    net = with_biases(nn.MLP((3, 4, 5, 2), "maxout", rng=1))
    assert [type(layer) for layer in net] == [nn.Maxout, nn.Maxout, nn.Linear]
    assert [p.name for p in net.parameters()] == ["W1", "b1", "W2", "b2", "W3", "b3"]
    assert bits(nn.MLP((3, 4, 2), "maxout", rng=0)) == bits(
        nn.MLP((3, 4, 2), "maxout", "glorot", rng=0)
    )
    x = np.random.default_rng(2).standard_normal((7, 3))
    W1, b1, W2, b2, W3, b3 = (p.data for p in net.parameters())
    h = maxout_by_hand(maxout_by_hand(x, W1, b1, 2)[0], W2, b2, 2)[0]
    np.testing.assert_allclose(net(x).data, h @ W3 + b3, rtol=1e-12)


def test_maxout_in_a_sequential_trains_compiled_and_keeps_its_state(caplog):
    X, y = tg.data.spiral(points_per_class=20, rng=0)
    nets, losses = [], []
    for compiled in (True, False):
        net = nn.Sequential(nn.Maxout(2, 8, pieces=3, rng=0), nn.Linear(8, 3, rng=1))
        optimizer = tg.optim.SGD(net.parameters(), lr=0.2)
        trainer = tg.Trainer(net, optimizer, l2=1e-3, rng=0, compiled=compiled)
        losses.append(trainer.fit(X, y, epochs=200, progress=False).loss)
        nets.append(net)
    assert not caplog.records  # no word that it could not be compiled
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-9)
    assert losses[0][-1] < 0.7 * losses[0][0]
    state = nets[0].state_dict()
    assert {key: value.shape for key, value in state.items()} == {
        "layers.0.W": (2, 24),
        "layers.0.b": (24,),
        "layers.1.W": (8, 3),
        "layers.1.b": (3,),
    }
    other = nn.Sequential(nn.Maxout(2, 8, pieces=3, rng=5), nn.Linear(8, 3, rng=6))
    other.load_state_dict(state)
    assert bits(other) == bits(nets[0])


@pytest.mark.parametrize("pieces", [0, -1, 1.5, "2", None])
def test_a_maxout_without_pieces_is_refused(pieces):
    with pytest.raises(ValueError, match="pieces must be a whole number of at least 1"):
        nn.Maxout(2, 3, pieces)


def test_relu_at_zero_is_what_the_module_was_given():
    x = tg.Tensor([-1.0, 0.0, 2.0], requires_grad=True)
    np.sum(nn.ReLU(at_zero=0.25)(x)).backward()
    np.testing.assert_array_equal(x.grad, [0, 0.25, 1])


@pytest.mark.parametrize(
    ("init", "deviation"),
    [("he", np.sqrt(2 / 400)), ("glorot", np.sqrt(2 / 700)), (0.03, 0.03), (1, 1.0)],
)
def test_weights_begin_normal_with_the_stated_deviation(init, deviation):
    W = nn.Linear(400, 300, init, rng=0).W.data / deviation
    # Four standard errors of the mean, the variance and the kurtosis of normal draws.
    assert abs(W.mean()) < 4 / np.sqrt(W.size)
    assert abs(W.var() - 1) < 4 * np.sqrt(2 / W.size)
    assert abs((W**4).mean() / W.var() ** 2 - 3) < 4 * np.sqrt(24 / W.size)


@pytest.mark.parametrize(
    ("activation", "init"),
    [("relu", "he"), ("leaky_relu", "he"), ("tanh", "glorot"), ("sigmoid", "glorot")],
)
def test_default_init_suits_the_activation(activation, init):
    assert bits(nn.MLP((3, 4, 2), activation, rng=0)) == bits(
        nn.MLP((3, 4, 2), activation, init, rng=0)
    )


def test_init_may_be_a_function_of_rng_and_shape():
    def init(rng, shape):
        return rng.uniform(-1, 1, shape)

    net = nn.MLP((2, 3, 4), init=init, rng=3)
    rng = np.random.default_rng(3)
    np.testing.assert_array_equal(net.layers[0].W.data, rng.uniform(-1, 1, (2, 3)))
    np.testing.assert_array_equal(net.layers[2].W.data, rng.uniform(-1, 1, (3, 4)))


@pytest.mark.parametrize(("init", "variance"), [("he", 2 / 3), ("glorot", 2 / 7), (0.2, 0.04)])
def test_weights_are_scaled_standard_normal_draws(init, variance):
    W = nn.Linear(3, 4, init, rng=2).W.data
    draws = np.random.default_rng(2).standard_normal((3, 4))
    np.testing.assert_allclose(W, draws * variance**0.5, rtol=1e-15)


def test_an_array_that_init_returns_is_copied():
    mine = np.array([[1.0, 2.0]])
    layer = nn.Linear(1, 2, init=lambda rng, shape: mine)
    mine[:] = 7
    np.testing.assert_array_equal(layer.W.data, [[1.0, 2.0]])


@given(SIZES, st.integers(0, 2**32 - 1))
def test_same_seed_same_bits_other_seed_others(sizes, seed):
    assert bits(nn.MLP(sizes, rng=seed)) == bits(nn.MLP(sizes, rng=np.random.default_rng(seed)))
    assert bits(nn.MLP(sizes, rng=seed)) != bits(nn.MLP(sizes, rng=seed + 1))


def test_no_seed_gives_other_draws_each_time():
    assert bits(nn.MLP((2, 3))) != bits(nn.MLP((2, 3)))


def test_layers_draw_from_a_random_state_in_order():
    net = nn.MLP((2, 5, 4, 3), init=0.1, rng=np.random.RandomState(7))
    stream = np.random.RandomState(7)
    W = [0.1 * stream.randn(2, 5), 0.1 * stream.randn(5, 4), 0.1 * stream.randn(4, 3)]
    for layer, expected in zip(net.layers[::2], W, strict=True):
        assert layer.W.data.tobytes() == expected.tobytes()
        assert not layer.b.data.any()


def test_a_float32_net_stays_float32():
    net, double = (nn.MLP((2, 8, 3), rng=0, dtype=dtype) for dtype in (np.float32, float))
    for p, q in zip(net.parameters(), double.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data.astype(np.float32), strict=True)
    out = net(np.random.default_rng(0).standard_normal((4, 2)).astype(np.float32))
    tg.cross_entropy(out, np.array([0, 1, 2, 0])).backward()
    assert out.dtype == np.float32
    assert {p.grad.dtype for p in net.parameters()} == {np.dtype(np.float32)}
    net.load_state_dict(double.state_dict())
    assert {p.dtype for p in net.parameters()} == {np.dtype(np.float32)}


@given(SIZES, st.integers(0, 2**32 - 1))
def test_state_survives_the_round_trip(sizes, seed):
    one, other = with_biases(nn.MLP(sizes, rng=seed)), nn.MLP(sizes, rng=seed + 1)
    other.load_state_dict(one.state_dict())
    assert bits(other) == bits(one)


def test_state_is_copied_on_the_way_out_and_in():
    net = nn.MLP((2, 3, 1), rng=0)
    before = bits(net)
    state = net.state_dict()
    for array in state.values():
        array += 1
    assert bits(net) == before
    net.load_state_dict(state)
    changed = bits(net)
    assert changed != before
    for array in state.values():
        array += 1
    assert bits(net) == changed


def spoiled(**change):
    state = {key: array + 1 for key, array in nn.MLP((2, 3, 4), rng=0).state_dict().items()}
    return {**state, **{key.replace("_", "."): value for key, value in change.items()}}


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        (spoiled(layers_2_b=np.ones(5)), ValueError, [r"layers\.2\.b", r"\(4,\)", r"\(5,\)"]),
        (spoiled(layers_2_b=np.ones((4, 1))), ValueError, [r"layers\.2\.b", r"\(4,\)", r"\(4, 1"]),
        (spoiled(layers_2_b=np.array(list("abcd"))), ValueError, [r"layers\.2\.b", "dtype <U1"]),
        (spoiled(layers_2_b=np.ones(4) * 1j), ValueError, [r"layers\.2\.b", "complex128"]),
        (
            spoiled(layers_4_b=np.ones(4)),
            KeyError,
            [r"unknown \['layers\.4\.b'\]", r"layers\.0\.W"],
        ),
        (dict(list(spoiled().items())[:-1]), KeyError, [r"lacks \['layers\.2\.b'\]"]),
        ({}, KeyError, [r"lacks .*layers\.0\.W.*layers\.2\.b"]),
    ],
)
def test_a_wrong_state_changes_nothing_and_names_the_key(state, error, words):
    net = nn.MLP((2, 3, 4), rng=0)
    before = bits(net)
    with pytest.raises(error) as caught:
        net.load_state_dict(state)
    for word in words:
        caught.match(word)
    assert bits(net) == before


def test_a_state_that_is_no_array_names_the_key():
    net = nn.MLP((2, 3), rng=0)
    state = {**net.state_dict(), "layers.0.W": [[1, 2, 3], [4, 5]]}
    with pytest.raises(ValueError, match=r"layers\.0\.W"):
        net.load_state_dict(state)


@pytest.mark.parametrize(
    "clone", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"]
)
def test_a_copy_of_a_net_trains_apart(clone):
    net = with_biases(nn.MLP((2, 3, 1), "tanh", rng=0))
    twin, x = clone(net), np.random.default_rng(0).standard_normal((5, 2))
    assert bits(twin) == bits(net)
    before = bits(net)
    np.sum(twin(x)).backward()
    tg.optim.SGD(twin.parameters(), lr=0.1).step()
    assert bits(net) == before != bits(twin)
    assert all(p.grad is None for p in net.parameters())


def test_zero_grad_forgets_all_gradients():
    net = nn.MLP((2, 3, 1), rng=0)
    np.sum(net(np.array([[1.0, 2.0]]))).backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


@given(SIZES)
def test_repr_counts_the_parameters_of_each_layer(sizes):
    net = nn.MLP(sizes, "tanh", rng=0)
    title, header, *rows, total = str(net).splitlines()
    assert title == "MLP " + "-".join(map(str, sizes))
    assert header.split() == ["layer", "type", "shape", "parameters"]
    assert len(rows) == 2 * (len(sizes) - 1) - 1
    for row, layer in zip(rows, net, strict=True):
        assert row.split()[1] == type(layer).__name__
    for row, (n_in, n_out) in zip(rows[::2], itertools.pairwise(sizes), strict=True):
        assert f"{(n_in, n_out)} {(n_out,)}" in row
        assert int(row.split()[-1]) == n_in * n_out + n_out
    count = sum(a * b + b for a, b in itertools.pairwise(sizes))
    assert total.split() == ["total", str(count)]


def test_repr_writes_thousands_with_commas():
    assert str(nn.Linear(1000, 20, rng=0)).splitlines()[-1].split() == ["total", "20,020"]


def test_a_sequential_is_a_sequence_of_its_layers():
    layers = [nn.Linear(2, 3, rng=0), nn.Tanh(), nn.Linear(3, 1, rng=0)]
    net = nn.Sequential(*layers)
    assert len(net) == 3
    assert list(net) == layers
    assert net[1] is layers[1]


@pytest.mark.parametrize("sizes", [(), (2,), (2, 0), (-1, 2), (2, 2.5, 1), (2, "3"), (2, None)])
def test_bad_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match=r"size|n_in|n_out"):
        nn.MLP(sizes)


@pytest.mark.parametrize("sizes", [5, None])
def test_sizes_that_are_no_sequence_are_refused_by_name(sizes):
    with pytest.raises((TypeError, ValueError), match="sizes"):
        nn.MLP(sizes)


@pytest.mark.parametrize("activation", ["swish", "ReLU", ""])
def test_an_unknown_activation_lists_the_known_ones(activation):
    with pytest.raises(ValueError, match=r"activation must be one of \[.*'maxout', 'relu'.*'tanh'"):
        nn.MLP((2, 3, 1), activation)


@pytest.mark.parametrize("activation", [3, None, tg.relu, np.tanh, nn.ReLU()])
def test_an_activation_that_makes_no_module_is_refused_by_name(activation):
    with pytest.raises((TypeError, ValueError), match="activation"):
        nn.MLP((2, 3, 1), activation)


@pytest.mark.parametrize("init", ["xavier", -0.1, np.nan, np.inf])
def test_an_unknown_init_lists_the_known_ones(init):
    with pytest.raises(ValueError, match=r"init must be one of \['glorot', 'glorot_uniform', 'he'"):
        nn.MLP((2, 3), init=init)


@pytest.mark.parametrize("init", [None, [0.1]])
def test_an_init_that_is_no_number_is_refused_by_name(init):
    with pytest.raises((TypeError, ValueError), match="init must be"):
        nn.Linear(2, 3, init=init)


def test_an_init_of_another_shape_names_both():
    with pytest.raises(ValueError, match=r"\(3, 2\).*\(2, 3\)"):
        nn.Linear(2, 3, init=lambda rng, shape: np.zeros(shape[::-1]))


@pytest.mark.parametrize("dtype", [int, complex, object])
def test_weights_must_be_floating_point(dtype):
    with pytest.raises(TypeError, match="dtype"):
        nn.Linear(2, 3, dtype=dtype)


def test_input_of_another_width_names_the_shapes():
    with pytest.raises(ValueError, match=r"\(5, 4\).*\(2, 3\)"):
        nn.Linear(2, 3, rng=0)(np.ones((5, 4)))


def test_an_activation_that_is_kept_is_no_parameter():
    class Keeping(nn.Module):
        def __init__(self):
            self.inner = nn.Linear(2, 1, rng=0)

        def forward(self, x):
            self.last = self.inner(x)
            return self.last

    net = Keeping()
    for context in (contextlib.nullcontext(), tg.no_grad()):
        with context:
            net(np.ones((1, 2)))
        assert list(net.state_dict()) == ["inner.W", "inner.b"]
        assert len(net.parameters()) == 2


def test_a_class_is_no_layer():
    with pytest.raises(TypeError, match=r"as nn\.ReLU\(\) is; got"):
        nn.Sequential(nn.Linear(2, 2, rng=0), nn.ReLU)


def modes(net):
    return [module.training for _, module in net.named_modules()]


def test_the_mode_reaches_all_modules_within():
    net = nn.Sequential(Tied(), nn.Sequential(nn.Tanh(), nn.ReLU()))
    keys = list(net.state_dict())
    assert modes(net) == [True] * 8
    assert net.eval() is net
    assert modes(net) == [False] * 8
    assert net.train() is net
    assert modes(net) == [True] * 8
    assert modes(net.train(False)) == [False] * 8
    assert list(net.state_dict()) == keys


def test_evaluating_gives_each_module_its_mode_back():
    net = nn.Sequential(nn.Linear(1, 1, rng=0).eval(), nn.Tanh())
    with pytest.raises(ZeroDivisionError), nn.evaluating(net):
        _ = modes(net) == [False] * 3 and net.train() and 1 / 0
    assert modes(net) == [True, False, True]


@given(
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1e-160, 1.0, 1e160]),
)
def test_standardize_gives_columns_of_mean_0_and_deviation_1(rows, n, seed, size):
    rng = np.random.default_rng(seed)
    X = size * (rng.standard_normal((rows, n)) * rng.uniform(0.1, 10, n) + rng.uniform(-5, 5, n))
    X[:, 0] = X[0, 0]
    layer = nn.Standardize(n).fit(X)
    out = layer(X).data
    np.testing.assert_allclose(out.mean(axis=0), 0, atol=1e-13)
    np.testing.assert_allclose(out.std(axis=0)[1:], float(rows > 1), rtol=1e-12)
    assert not out[:, 0].any()
    assert layer.scale.data[0] == 1
    other = nn.Standardize(n)
    other.load_state_dict(layer.state_dict())
    assert other(X).data.tobytes() == out.tobytes()
    assert not layer.parameters()


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.ones((3, 2)), "rows of 3 columns.*got \\(3, 2\\)"),
        (np.ones(3), "rows of 3 columns"),
        (np.ones((0, 3)), "at least one"),
        ([[1, 2, np.nan]], "X holds nan"),
        (np.full((2, 3), 1e300), "the mean of X holds inf"),
    ],
)
def test_standardize_refuses_what_it_cannot_fit_and_stays_as_it_was(X, words):
    layer = nn.Standardize(3, np.float32).fit([[1, 2, 3], [2, 4, 6]])
    before = layer.state_dict()
    with pytest.raises(ValueError, match=words):
        layer.fit(X)
    assert {k: v.tobytes() for k, v in layer.state_dict().items()} == {
        k: v.tobytes() for k, v in before.items()
    }


def test_a_float32_standardize_stays_float32_where_the_deviation_is_too_small_for_it():
    layer = nn.Standardize(1, np.float32).fit([[1.0], [1.0 + 1e-15]]).fit([[0.0], [1e-60]])
    out = layer(np.array([[3.0]], np.float32))
    assert out.dtype == np.float32
    assert out.item() == 3


def test_a_state_that_overflows_leaves_the_net():
    net = nn.MLP((2, 3, 1), rng=0, dtype=np.float32)
    before = net.state_dict()
    state = nn.MLP((2, 3, 1), rng=1).state_dict()
    state["layers.2.b"][:] = 1e300
    with pytest.raises(RuntimeWarning, match="overflow"):
        net.load_state_dict(state)
    assert all(np.array_equal(array, before[name]) for name, array in net.state_dict().items())


def test_two_names_of_one_tensor_must_agree_in_a_state():
    net = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=1))
    net[1].W = net[0].W
    state = net.state_dict()
    state["layers.0.W"][0, 0] = state["layers.1.W"][0, 0] = np.nan
    net.load_state_dict(state)
    state["layers.1.W"][1, 1] = 5
    with pytest.raises(ValueError, match=r"layers\.0\.W and layers\.1\.W are the same Tensor"):
        net.load_state_dict(state)
    assert net[0].W.data[1, 1] != 5
