"""Layers besides the affine one, against formulas and loops by hand, and PyTorch's."""

import copy
import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_edu as tg
from tinygrad_edu import nn

nan, inf = float("nan"), float("inf")


def with_random_values(module, seed=5):
    rng = np.random.default_rng(seed)
    for p in module.parameters():
        p.data = rng.standard_normal(p.shape).astype(p.dtype)
    return module


def check_gradients(module, x, order=2):
    """The checker on the module as a function of x and of all parameters."""
    g = np.random.default_rng(0).standard_normal(module(x).shape)
    report = tg.check_grad(
        lambda x, *_: np.sum(g * np.sin(module(x))),
        x,
        *module.parameters(),
        order=order,
        progress=False,
    )
    assert report, report


def as_pytorch(module, reference, x, names, rtol=1e-10):
    """Outputs and gradients are those of a module of PyTorch; `names` says where ours go there."""
    torch = pytest.importorskip("torch")
    own = tg.Tensor(x, requires_grad=x.dtype.kind == "f")
    theirs = torch.tensor(x, requires_grad=own.requires_grad)
    for ours, name in names.items():
        getattr(reference, name).data = torch.tensor(getattr(module, ours).data)
    y, z = module(own), reference(theirs)
    g = np.random.default_rng(0).standard_normal(y.shape).astype(y.dtype)
    y.backward(g)
    z.backward(torch.tensor(g))
    pairs = [(y.data, z.detach())]
    pairs += [(getattr(module, a).grad, getattr(reference, b).grad) for a, b in names.items()]
    pairs += [(own.grad, theirs.grad)] if own.requires_grad else []
    for a, b in pairs:
        np.testing.assert_allclose(a, b.numpy(), rtol=rtol, atol=rtol, strict=True)


# Dropout


@given(st.sampled_from([0.1, 0.5, 0.9]), st.integers(0, 2**32 - 1))
def test_dropout_drops_its_share_and_keeps_the_mean(p, seed):
    x = np.random.default_rng(seed).uniform(1, 2, (200, 50))
    y = nn.Dropout(p, rng=seed)(x)
    kept = y != 0
    np.testing.assert_allclose(y[kept], x[kept] / (1 - p), rtol=1e-15)
    # Five standard errors of a share.
    assert abs(kept.mean() - (1 - p)) < 5 * np.sqrt(p * (1 - p) / x.size)


def test_dropout_is_the_identity_in_evaluation_mode_and_draws_nothing():
    x = np.random.default_rng(0).standard_normal((3, 4))
    layer = nn.Dropout(0.5, rng=3)
    assert layer.eval()(x) is x
    assert nn.Dropout(0, rng=3)(x) is x
    fresh = np.random.default_rng(3).random((3, 4))
    np.testing.assert_array_equal(layer.train()(x) != 0, fresh >= 0.5)


def test_the_gradient_of_dropout_has_the_mask_of_its_forward_pass():
    layer = nn.Dropout(0.4, rng=0)
    masks = set()
    for _ in range(5):
        x = tg.Tensor(np.ones(20), requires_grad=True)
        y = layer(x)
        np.sum(y).backward()
        np.testing.assert_array_equal(x.grad, y.data)
        masks.add(tuple(y.data))
    assert len(masks) == 5


@pytest.mark.parametrize("generator", [np.random.default_rng, np.random.RandomState])
def test_a_compiled_dropout_draws_the_masks_of_an_uncompiled_one(generator):
    layers = [nn.Dropout(0.5, rng=generator(1)) for _ in range(2)]
    functions = [
        tg.value_and_grad(lambda x, layer=layer: np.sum(np.sin(x) * layer(x))) for layer in layers
    ]
    fast, slow = tg.compile(functions[0]), functions[1]
    x = np.random.default_rng(0).standard_normal((4, 5))
    for _ in range(4):
        for a, b in zip(fast(x), slow(x), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-14)
    assert fast.programs == 1
    layers[0].eval()
    np.testing.assert_allclose(fast(x)[0], np.sum(np.sin(x) * x), rtol=1e-14)


@pytest.mark.parametrize(
    "clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"]
)
def test_a_copy_of_dropout_has_a_generator_of_its_own_in_the_same_state(clone):
    layer, x = nn.Dropout(0.5, rng=0), np.ones(50)
    layer(x)
    twin = clone(layer)
    expected = [twin(x) for _ in range(2)]
    for y in expected:
        np.testing.assert_array_equal(layer(x), y)


@pytest.mark.parametrize("p", [-0.1, 1, 1.5, nan, inf, "0.5", None])
def test_a_probability_out_of_range_is_refused(p):
    with pytest.raises(ValueError, match="p must be a number from 0 to below 1"):
        nn.Dropout(p)


@pytest.mark.parametrize("activation", ["relu", "maxout"])
def test_an_mlp_with_dropout_has_it_after_each_hidden_layer(activation):
    net = nn.MLP((2, 4, 3, 1), activation, rng=0, dropout=0.3)
    kinds = [type(layer) for layer in net if not isinstance(layer, nn.ReLU)]
    layer = nn.Maxout if activation == "maxout" else nn.Linear
    assert kinds == [layer, nn.Dropout, layer, nn.Dropout, nn.Linear]
    assert [layer.p for layer in net if isinstance(layer, nn.Dropout)] == [0.3, 0.3]
    plain = nn.MLP((2, 4, 3, 1), activation, rng=0)
    for p, q in zip(net.parameters(), plain.parameters(), strict=True):
        assert p.data.tobytes() == q.data.tobytes()
        assert p.name == q.name
    x = np.ones((5, 2))
    np.testing.assert_array_equal(net.eval()(x).data, plain(x).data)


def test_an_mlp_refuses_a_dropout_out_of_range():
    with pytest.raises(ValueError, match="p must be"):
        nn.MLP((2, 4, 1), dropout=1.0)


# Layer normalisation


@given(
    st.integers(1, 5),
    st.lists(st.integers(0, 3), max_size=2),
    st.sampled_from([1e-5, 0.1]),
    st.integers(0, 2**32 - 1),
)
def test_layer_norm_is_its_formula(n, leading, eps, seed):
    layer = with_random_values(nn.LayerNorm(n, eps), seed)
    x = np.random.default_rng(seed).normal(3, 2, (*leading, n))
    expected = np.empty_like(x)
    for place in np.ndindex(*leading):
        row = x[place]
        mean = sum(row) / n
        variance = sum((value - mean) ** 2 for value in row) / n
        z = (row - mean) / (variance + eps) ** 0.5
        expected[place] = layer.gain.data * z + layer.bias.data
    np.testing.assert_allclose(layer(x).data, expected, rtol=1e-11, atol=1e-11)


def test_layer_norm_begins_as_a_plain_standardisation_and_takes_equal_values():
    out = nn.LayerNorm(3)([[1, 2, 3], [7, 7, 7]]).data
    np.testing.assert_allclose(out, [[-(1.5**0.5), 0, 1.5**0.5], [0, 0, 0]], atol=2e-5)


def test_the_gradient_of_layer_norm_is_checked():
    x = np.random.default_rng(0).standard_normal((3, 4))
    check_gradients(with_random_values(nn.LayerNorm(4)), x)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-10), (np.float32, 3e-6)])
def test_layer_norm_is_pytorch_s(dtype, rtol):
    torch = pytest.importorskip("torch")
    layer = with_random_values(nn.LayerNorm(6, 1e-3, dtype))
    x = np.random.default_rng(0).standard_normal((2, 3, 6)).astype(dtype)
    reference = torch.nn.LayerNorm(6, 1e-3, dtype=torch.tensor(x).dtype)
    as_pytorch(layer, reference, x, {"gain": "weight", "bias": "bias"}, rtol)


def test_layer_norm_stays_single_precision():
    layer = nn.LayerNorm(4, dtype=np.float32)
    y = layer(np.ones((2, 4), np.float32))
    np.sum(y).backward()
    assert {y.dtype, layer.gain.grad.dtype, layer.bias.grad.dtype} == {np.dtype(np.float32)}


@pytest.mark.parametrize("layer", [nn.LayerNorm, nn.Standardize])
@pytest.mark.parametrize(("n", "shape"), [(1, (2, 3)), (3, (2, 1)), (3, (3, 2)), (3, ())])
def test_rows_of_another_length_are_refused_and_not_broadcast(layer, n, shape):
    with pytest.raises(ValueError, match=r"x of shape .* must be \(\.\.\., \d\)"):
        layer(n)(np.ones(shape))


@pytest.mark.parametrize("eps", [0, -1e-5, nan, inf, None])
def test_an_eps_that_does_not_help_is_refused(eps):
    with pytest.raises(ValueError, match="eps must be a number above 0"):
        nn.LayerNorm(3, eps)


# Embedding


@given(
    st.integers(1, 6),
    st.integers(1, 4),
    st.lists(st.integers(0, 4), max_size=3),
    st.sampled_from([np.int64, np.uint8, np.float32, np.float64]),
    st.integers(0, 2**32 - 1),
)
def test_an_embedding_is_the_product_of_one_hot_rows_and_w(n, size, shape, dtype, seed):
    layer = nn.Embedding(n, size, rng=seed)
    rng = np.random.default_rng(seed)
    x = rng.integers(0, n, shape)
    g = rng.standard_normal((*shape, size))
    hot = np.eye(n)[x]
    y = layer(x.astype(dtype))
    np.testing.assert_array_equal(y.data, hot @ layer.W.data, strict=True)
    y.backward(g)
    # Where a number stands several times, the gradients add up.
    expected = hot.reshape(x.size, n).T @ g.reshape(x.size, size)
    np.testing.assert_allclose(layer.W.grad, expected, rtol=1e-13, atol=1e-13)


def test_the_gradient_of_an_embedding_is_checked():
    layer, x = nn.Embedding(4, 3, rng=0), np.array([[0, 2], [2, 2], [3, 0]])
    g = np.random.default_rng(0).standard_normal((3, 2, 3))

    def f(W):
        layer.W = W
        return np.sum(g * np.sin(layer(x)))

    report = tg.check_grad(f, layer.W.data, order=2, progress=False)
    assert report, report


def test_an_embedding_is_pytorch_s():
    torch = pytest.importorskip("torch")
    x = np.array([[5, 0, 5], [1, 2, 5]])
    reference = torch.nn.Embedding(6, 4, dtype=torch.float64)
    as_pytorch(nn.Embedding(6, 4, rng=0), reference, x, {"W": "weight"})


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        ([0, 5], ValueError, r"5 rows must lie in 0\.\.4, got 5 at \[1\]"),
        ([[0, 1], [-1, 7]], ValueError, r"0\.\.4, got -1 at \[1, 0\]"),
        ([2, -1], ValueError, r"0\.\.4, got -1 at \[1\]"),
        ([0.0, nan], ValueError, r"0\.\.4, got nan at \[1\]"),
        ([0.0, inf], ValueError, r"0\.\.4, got inf"),
        ([0.0, 1.5], ValueError, r"whole numbers, got 1\.5 at \[1\]"),
        ([True, False], TypeError, "whole numbers, got dtype bool"),
        (["a"], TypeError, "whole numbers, got dtype <U1"),
        (np.array([2**63 + 1], np.uint64), ValueError, "got 9223372036854775809"),
    ],
)
def test_what_is_no_number_of_a_row_is_refused(x, error, words):
    layer = nn.Embedding(5, 2, rng=0)
    with pytest.raises(error, match=words):
        layer(np.array(x))
    fast = tg.compile(lambda x: layer(x))
    fast(np.zeros(np.shape(x), np.asarray(x).dtype if error is ValueError else int))
    with pytest.raises(error, match=words):
        fast(np.array(x))


def test_floats_that_would_round_a_number_to_another_are_refused():
    nn.Embedding(2**11, 1, rng=0)(np.array([2047], np.float16))
    with pytest.raises(TypeError, match="float16 does not hold each whole number up to 2049"):
        nn.Embedding(2**11 + 1, 1, rng=0)(np.array([2048], np.float16))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_net_with_an_embedding_is_trained_on_whole_numbers(dtype, caplog):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 10, (60, 2))
    y = (X.sum(axis=1) >= 9).astype(int)
    losses = []
    for compiled in (True, False):
        net = nn.Sequential(
            nn.Embedding(10, 3, rng=0, dtype=dtype),
            nn.Flatten(),
            nn.Linear(6, 2, rng=1, dtype=dtype),
        )
        trainer = tg.Trainer(net, tg.optim.Adam(net.parameters(), 0.05), rng=0, compiled=compiled)
        losses.append(trainer.fit(X, y, epochs=60, batch_size=30, progress=False).loss)
        assert trainer.score(X, y) > 0.9
        with pytest.raises(ValueError, match=r"0\.\.9, got 10"):
            trainer.predict(X + 1)
    assert not caplog.records
    tolerance = 1e-10 if dtype is np.float64 else 1e-4
    np.testing.assert_allclose(*losses, rtol=tolerance)


# Images


def correlation_by_loops(x, W, b, stride, padding):
    samples, n_in, height, width = x.shape
    n_out, _, size, _ = W.shape
    around = np.zeros((samples, n_in, height + 2 * padding, width + 2 * padding))
    around[:, :, padding : padding + height, padding : padding + width] = x
    rows, columns = ((n + 2 * padding - size) // stride + 1 for n in (height, width))
    y = np.empty((samples, n_out, rows, columns))
    for s, o, i, j in np.ndindex(*y.shape):
        window = around[s, :, i * stride : i * stride + size, j * stride : j * stride + size]
        y[s, o, i, j] = np.sum(window * W[o]) + b[o]
    return y


@given(
    st.tuples(st.integers(0, 2), st.integers(1, 2), st.integers(3, 6), st.integers(3, 6)),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(0, 2**32 - 1),
)
def test_conv2d_is_the_sum_over_windows(shape, n_out, size, stride, padding, seed):
    layer = with_random_values(nn.Conv2d(shape[1], n_out, size, stride, padding), seed)
    x = np.random.default_rng(seed).standard_normal(shape)
    expected = correlation_by_loops(x, layer.W.data, layer.b.data, stride, padding)
    np.testing.assert_allclose(layer(x).data, expected, rtol=1e-11, atol=1e-12, strict=True)


@pytest.mark.parametrize(("size", "stride", "padding"), [(2, 1, 0), (3, 2, 1), (1, 3, 0)])
def test_the_gradient_of_conv2d_is_checked(size, stride, padding):
    layer = with_random_values(nn.Conv2d(2, 2, size, stride, padding))
    check_gradients(layer, np.random.default_rng(0).standard_normal((1, 2, 4, 3)))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_conv2d_is_pytorch_s(dtype):
    torch = pytest.importorskip("torch")
    for size, stride, padding in itertools.product((1, 3), (1, 2, 3), (0, 1, 2)):
        x = np.random.default_rng(0).standard_normal((2, 3, 7, 6)).astype(dtype)
        layer = with_random_values(nn.Conv2d(3, 4, size, stride, padding, dtype=dtype))
        reference = torch.nn.Conv2d(3, 4, size, stride, padding, dtype=torch.tensor(x).dtype)
        rtol = 1e-10 if dtype is np.float64 else 1e-4
        as_pytorch(layer, reference, x, {"W": "weight", "b": "bias"}, rtol)


@pytest.mark.parametrize("shape", [(5, 5), (3, 5, 5), (1, 2, 5, 5), (1, 3, 2, 5), (1, 3, 5, 2)])
def test_conv2d_refuses_images_of_other_shapes(shape):
    with pytest.raises(ValueError, match=r"x of shape .* must be \(samples, "):
        nn.Conv2d(3, 1, 3, rng=0)(np.ones(shape))


@pytest.mark.parametrize("name", ["n_in", "n_out", "size", "stride", "padding"])
@pytest.mark.parametrize("value", [-1, 1.5, "2", None])
def test_conv2d_refuses_what_is_no_size(name, value):
    sizes = {"n_in": 1, "n_out": 1, "size": 1, name: value}
    with pytest.raises(ValueError, match=rf"{name}.* must be a whole number"):
        nn.Conv2d(**sizes)


@given(
    st.tuples(st.integers(0, 2), st.integers(1, 2), st.integers(3, 7), st.integers(3, 7)),
    st.integers(1, 3),
    st.none() | st.integers(1, 4),
    st.integers(0, 2**32 - 1),
)
def test_max_pool_is_the_maximum_of_each_window(shape, size, stride, seed):
    x = np.random.default_rng(seed).standard_normal(shape)
    step = stride or size
    rows, columns = ((n - size) // step + 1 for n in shape[2:])
    expected = np.empty((*shape[:2], rows, columns))
    for i, j in np.ndindex(rows, columns):
        window = x[:, :, i * step : i * step + size, j * step : j * step + size]
        expected[:, :, i, j] = window.max(axis=(2, 3))
    np.testing.assert_array_equal(nn.MaxPool2d(size, stride)(x), expected, strict=True)


@pytest.mark.parametrize(("size", "stride"), [(2, None), (3, 1), (2, 3)])
def test_max_pool_is_checked_and_pytorch_s(size, stride):
    x = np.random.default_rng(0).permutation(np.arange(2.0 * 6 * 7)).reshape(1, 2, 6, 7) / 32
    check_gradients(nn.MaxPool2d(size, stride), x, order=1)
    torch = pytest.importorskip("torch")
    as_pytorch(nn.MaxPool2d(size, stride), torch.nn.MaxPool2d(size, stride), x, {})


def test_equal_values_of_a_window_share_the_gradient():
    x = tg.Tensor([[[[1.0, 1.0], [1.0, 0.0]]]], requires_grad=True)
    nn.MaxPool2d(2)(x).backward(np.ones((1, 1, 1, 1)))
    np.testing.assert_allclose(x.grad, [[[[1 / 3, 1 / 3], [1 / 3, 0]]]], rtol=1e-15)


@given(st.integers(0, 3), st.lists(st.integers(0, 3), max_size=3))
def test_flatten_makes_a_row_of_each_sample(samples, shape):
    x = np.arange(samples * int(np.prod(shape))).reshape(samples, *shape)
    y = nn.Flatten()(x)
    assert y.shape == (samples, int(np.prod(shape)))
    np.testing.assert_array_equal(y.ravel(), x.ravel())


# Standardisation as a part of a net


def test_a_net_that_standardises_takes_raw_data_and_keeps_its_scale(caplog):
    X, y = tg.data.spiral(points_per_class=20, rng=0)
    raw = 1000 + 50 * X
    nets = []
    for rows in (X, raw):
        net = nn.Sequential(nn.Standardize(2).fit(rows), nn.MLP((2, 8, 3), "tanh", rng=0))
        trainer = tg.Trainer(net, tg.optim.Adam(net.parameters(), 0.02), rng=0)
        nets.append((net, trainer.fit(rows, y, epochs=30, progress=False).loss))
    assert not caplog.records
    np.testing.assert_allclose(nets[0][1], nets[1][1], rtol=1e-8)
    net = nets[1][0]
    np.testing.assert_array_equal(net[0].mean.data, nn.Standardize(2).fit(raw).mean.data)
    loaded = nn.Sequential(nn.Standardize(2), nn.MLP((2, 8, 3), "tanh"))
    loaded.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(loaded(raw).data, net(raw).data)


# All of them in one net


def image_net(dtype=float):
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, rng=0, dtype=dtype),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.LayerNorm(12, dtype=dtype),
        nn.Dropout(0.25, rng=2),
        nn.Linear(12, 2, rng=1, dtype=dtype),
    )


def images():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 30)
    stripes = np.where(y[:, None, None], np.eye(4), np.eye(4)[::-1])
    return (stripes + rng.normal(0, 0.3, (30, 4, 4)))[:, None], y


def test_a_net_of_all_layers_prints_its_table():
    assert str(image_net()).splitlines() == [
        "Sequential",
        "layer     type          shape              parameters",
        "layers.0  Conv2d        (3, 1, 3, 3) (3,)          30",
        "layers.1  ReLU",
        "layers.2  MaxPool2d",
        "layers.3  Flatten",
        "layers.4  LayerNorm     (12,) (12,)                24",
        "layers.5  Dropout 0.25",
        "layers.6  Linear        (12, 2) (2,)               26",
        "total                                              80",
    ]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_net_of_all_layers_learns_compiled_and_not(dtype, caplog):
    X, y = images()
    losses = []
    for compiled in (True, False):
        net = image_net(dtype)
        optimizer = tg.optim.AdamW(net.parameters(), lr=0.01)
        trainer = tg.Trainer(net, optimizer, rng=0, compiled=compiled)
        history = trainer.fit(X, y, epochs=25, batch_size=12, validation=(X, y), progress=False)
        losses.append(history.loss)
        assert trainer.score(X, y) > 0.95
        assert net(X[:1].astype(dtype)).dtype == dtype
    assert not caplog.records
    np.testing.assert_allclose(*losses, rtol=1e-9 if dtype is np.float64 else 1e-3)


def test_a_net_of_all_layers_is_copied_loaded_and_explained():
    X, y = images()
    net = with_random_values(image_net()).eval()
    expected = net(X).data
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(twin(X).data, expected)
    other = image_net().eval()
    other.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(other(X).data, expected)
    text = str(tg.record(lambda X: tg.cross_entropy(net.train()(X), y), X))
    for name in ("tensordot", "max", "sqrt", "cross_entropy"):
        assert name in text
    tg.explain(lambda X: tg.cross_entropy(net(X), y), X)
