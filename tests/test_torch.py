"""Models to PyTorch and back: equal outputs, weights by the kind of their layers, all or none."""

import copy
import io
import pickle
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nets import nets, with_noise

import tinygrad_edu as tg
from tinygrad_edu import nn


@pytest.fixture(scope="module", autouse=True)
def torch():
    return pytest.importorskip("torch")


DTYPES = {np.float32: 2e-6, np.float64: 1e-12}


def bits(net):
    return {name: (a.dtype, a.tobytes()) for name, a in net.state_dict().items()}


def check(torch, net, X, tolerance=1e-12):
    """Whether PyTorch computes the same, also after saving, and takes its weights back as bits."""
    theirs = tg.to_torch(net)
    assert [m.training for m in theirs.modules()] == [True] * len(list(theirs.modules()))
    with nn.evaluating(net):
        expected = np.array(net(X).data)
        evaluated = tg.to_torch(net)
    assert not any(m.training for m in evaluated.modules())
    theirs.eval()
    file = io.BytesIO()
    torch.save(theirs, file)
    file.seek(0)
    for model in (theirs, evaluated, copy.deepcopy(theirs), torch.load(file, weights_only=False)):
        y = model(torch.tensor(X)).detach().numpy()
        assert y.dtype == expected.dtype
        atol = tolerance * max(1, np.abs(expected).max())
        np.testing.assert_allclose(y, expected, rtol=0, atol=atol)
    other = with_noise(copy.deepcopy(net), seed=6)
    tg.load_torch(other, theirs.state_dict())
    assert bits(other) == bits(net)
    return theirs


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES.items())
@given(data=st.data())
def test_any_net_of_layers_goes_to_pytorch_and_back(torch, dtype, tolerance, data):
    net, n = data.draw(nets(dtype))
    shape = data.draw(st.sampled_from([(n,), (5, n), (3, 2, n)]))
    X = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    theirs = check(torch, net, X, tolerance)
    assert type(theirs) is torch.nn.Sequential
    assert len(theirs) == len(net)


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES.items())
@pytest.mark.parametrize(("stride", "padding", "pool"), [(1, 0, 2), (2, 1, 2), (3, 2, 1)])
def test_images(torch, stride, padding, pool, dtype, tolerance):
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3, stride, padding, rng=0, dtype=dtype),
        nn.ReLU(),
        nn.MaxPool2d(pool, 1),
        nn.Flatten(),
    )
    X = np.random.default_rng(0).standard_normal((4, 2, 8, 9)).astype(dtype)
    check(torch, with_noise(net), X, tolerance)


def test_embeddings(torch):
    net = nn.Sequential(nn.Embedding(5, 3, rng=0), nn.Flatten(), nn.Linear(6, 2, rng=1))
    check(torch, net, np.random.default_rng(0).integers(0, 5, (7, 2)))


@pytest.mark.parametrize("activation", nn.ACTIVATIONS)
def test_activations_are_equal_far_out_too(torch, activation):
    x = np.array([0, 1, -1, 19, 21, -19, 37, 39, 41, 60, -60, 800, -800, 1e4, -1e4])
    layer = nn.ACTIVATIONS[activation]()
    theirs = tg.to_torch(layer)
    np.testing.assert_allclose(theirs(torch.tensor(x)).numpy(), layer(x), rtol=1e-14, atol=1e-17)


def test_settings_that_are_no_defaults_go_along(torch):
    layers = nn.LeakyReLU(0.3), nn.Dropout(0.1), nn.LayerNorm(2, 0.5), nn.MaxPool2d(3, 2)
    leaky, dropout, norm, pool = map(tg.to_torch, layers)
    assert (leaky.negative_slope, dropout.p, norm.eps) == (0.3, 0.1, 0.5)
    assert (pool.kernel_size, pool.stride) == (3, 2)


def test_gradients_are_equal(torch):
    rng = np.random.default_rng(0)
    net = nn.Sequential(
        nn.Standardize(3).fit(rng.normal(2, 3, (9, 3))), nn.Maxout(3, 4, 2, rng=0),
        nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 2, rng=1),
    )  # fmt: skip
    X, y = rng.standard_normal((7, 3)), rng.standard_normal((7, 2))
    theirs = tg.to_torch(net)
    tg.mse(net(X), y).backward()
    torch.nn.functional.mse_loss(theirs(torch.tensor(X)), torch.tensor(y)).backward()
    own, other = net.parameters(), list(theirs.parameters())
    assert len(own) == len(other) == 6
    for p, q in zip(own, other, strict=True):
        turned = q.grad.numpy().T if p.ndim == 2 else q.grad.numpy()
        np.testing.assert_allclose(turned, p.grad, rtol=1e-10, atol=1e-14)


def test_a_step_of_pytorch_comes_back(torch):
    net = nn.MLP((3, 3, 3), "tanh", rng=0)
    theirs = tg.to_torch(net)
    X = np.random.default_rng(0).standard_normal((6, 3))
    optimizer = torch.optim.Adam(theirs.parameters(), lr=0.1)
    theirs(torch.tensor(X)).square().mean().backward()
    before = bits(net)
    optimizer.step()
    assert bits(net) == before  # no memory is shared
    tg.load_torch(net, theirs)
    expected = theirs(torch.tensor(X)).detach().numpy()
    np.testing.assert_allclose(net(X).data, expected, rtol=0, atol=1e-12)
    after = bits(net)
    optimizer.step()
    assert bits(net) == after != before


def test_what_needs_no_gradient_needs_none_there(torch):
    net = nn.Sequential(nn.Standardize(2), nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=0))
    net.layers[1].W.requires_grad = False
    theirs = tg.to_torch(net)
    needs = {name: p.requires_grad for name, p in theirs.named_parameters()}
    assert needs == {"1.weight": False, "1.bias": True, "2.weight": True, "2.bias": True}


def test_every_module_keeps_its_mode(torch):
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Dropout()))
    net.layers[1].layers[0].training = False
    theirs = tg.to_torch(net)
    modes = [theirs, theirs[0], theirs[1], theirs[1][0], theirs[1][1]]
    assert [m.training for m in modes] == [True, True, True, False, True]


def test_what_is_shared_is_shared_there(torch):
    layer, other = nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=1)
    other.W = layer.W
    theirs = tg.to_torch(nn.Sequential(layer, nn.Tanh(), layer, other))
    assert theirs[0] is theirs[2]
    assert theirs[3].weight is theirs[0].weight
    assert len(list(theirs.parameters())) == 3
    embedding, linear = nn.Embedding(2, 2, rng=0), nn.Linear(2, 2, rng=1)
    linear.W = embedding.W
    with pytest.raises(ValueError, match=r"W of layers\.1 is shared"):
        tg.to_torch(nn.Sequential(embedding, linear))


def test_the_random_numbers_of_pytorch_stay(torch):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    tg.to_torch(nn.Sequential(nn.MLP((2, 3, 2)), nn.Conv2d(1, 1, 1), nn.Embedding(2, 2)))
    assert torch.equal(torch.get_rng_state(), before)


class Own(nn.Module):
    """A module of somebody's own, with attributes as a module of PyTorch has them."""

    def __init__(self):
        self.scale = tg.Tensor(np.ones(2), requires_grad=True)
        self.fc1, self.fc2 = nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=1)
        self.blocks = [nn.Linear(2, 2, rng=2), nn.Sequential(nn.Maxout(2, 2, rng=3), nn.Tanh())]

    def forward(self, x):
        return self.fc2(self.fc1(x * self.scale))


class Named(nn.MLP):
    """A subclass with the same forward."""


class Doubled(nn.Linear):
    """A subclass with another forward."""

    def forward(self, x):
        return 2 * super().forward(x)


class Called(nn.Tanh):
    """A subclass that is called otherwise."""

    def __call__(self, x):
        return 2 * self.forward(x)


def test_modules_without_a_counterpart_are_named():
    patched = nn.Linear(2, 2)
    patched.forward = lambda x: 2 * x
    for net, name in (
        (nn.Sequential(nn.ReLU(), Own()), r"layers\.1 is a Own"),
        (nn.Sequential(nn.Sequential(Doubled(2, 2))), r"layers\.0\.layers\.0 is a Doubled"),
        (nn.Sequential(Called()), r"layers\.0 is a Called"),
        (Own(), "the model is a Own"),
        (nn.Sequential(patched), r"layers\.0 is a Linear"),
        (nn.Sequential(np.tanh), r"layers\.0 is a ufunc"),
    ):
        with pytest.raises(TypeError, match=f"{name}.*to_onnx"):
            tg.to_torch(net)
    assert len(tg.to_torch(Named((2, 3, 1)))) == 3


@pytest.mark.parametrize("wrong", [None, 3, nn.MLP, lambda x: x, {}])
def test_what_is_no_module_is_refused(wrong):
    with pytest.raises(TypeError, match="takes a module"):
        tg.to_torch(wrong)
    with pytest.raises(TypeError, match="takes a module"):
        tg.load_torch(wrong, {})


def test_what_pytorch_does_otherwise_is_refused():
    with pytest.raises(ValueError, match=r"at_zero=0\.5"):
        tg.to_torch(nn.Sequential(nn.ReLU(at_zero=0.5)))
    if np.dtype(np.longdouble).itemsize > 8:
        with pytest.raises(TypeError, match="which PyTorch lacks"):
            tg.to_torch(nn.Linear(2, 2, dtype=np.longdouble))


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModuleNotFoundError, match="pip install torch"):
        tg.to_torch(nn.MLP((2, 3)))


def test_square_matrices_are_transposed_by_the_kind_of_their_layer(torch):
    state = {"0.weight": np.arange(4.0).reshape(2, 2), "1.weight": np.arange(4.0).reshape(2, 2)}
    net = nn.Sequential(nn.Embedding(2, 2), nn.Linear(2, 2))
    tg.load_torch(net, {**state, "1.bias": np.zeros(2)})
    assert net.layers[0].W.data.tolist() == [[0, 1], [2, 3]]
    assert net.layers[1].W.data.tolist() == [[0, 2], [1, 3]]


def test_modules_of_one_s_own_go_by_their_attributes(torch):
    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor([2.0, 3.0]))
            self.fc1, self.fc2 = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
            self.blocks = torch.nn.ModuleList(
                [torch.nn.Linear(2, 2), torch.nn.Sequential(tg.to_torch(nn.Maxout(2, 2)))]
            )

    theirs, net = Theirs(), Own()
    tg.load_torch(net, theirs.state_dict())
    for own, other in (
        (net.fc1, theirs.fc1),
        (net.fc2, theirs.fc2),
        (net.blocks[0], theirs.blocks[0]),
    ):
        assert np.array_equal(own.W.data, other.weight.detach().numpy().T)
        assert np.array_equal(own.b.data, other.bias.detach().numpy())
    assert net.scale.data.tolist() == [2, 3]
    assert net.blocks[1].layers[0].W.shape == (2, 4)


def test_other_names_are_told(torch):
    net = nn.MLP((2, 3, 1), rng=0)
    state = {f"fc{i}.{n}": a for i, k in ((1, 0), (2, 2))
             for n in ("weight", "bias")
             for a in [tg.to_torch(net).state_dict()[f"{k}.{n}"]]}  # fmt: skip
    with pytest.raises(KeyError, match=r"lacks \['0\.bias \(3,\)'.*fc1\.weight.*names="):
        tg.load_torch(net, state)
    names = {
        f"layers.{k}.{ours}": f"fc{i}.{n}"
        for i, k in ((1, 0), (2, 2))
        for ours, n in (("W", "weight"), ("b", "bias"))
    }
    other = nn.MLP((2, 3, 1), rng=1)
    tg.load_torch(other, state, names)
    assert bits(other) == bits(net)
    with pytest.raises(KeyError, match=r"names has \['layers\.9\.W'\]"):
        tg.load_torch(net, state, {**names, "layers.9.W": "fc1.weight"})


def test_classes_that_extend_a_layer_keep_its_weights_as_it_does():
    class Scaled(nn.Linear):
        def forward(self, x):
            return 2 * (x @ self.W + self.b)

    net, W = nn.Sequential(Scaled(2, 2)), np.array([[1.0, 2], [3, 4]])
    tg.load_torch(net, {"0.weight": W, "0.bias": np.zeros(2)})
    assert np.array_equal(net.layers[0].W.data, W.T)
    names = {"layers.0.W": "fc.weight", "layers.0.b": "fc.bias"}
    tg.load_torch(net, {"fc.weight": W + 1, "fc.bias": np.zeros(2)}, names)
    assert np.array_equal(net.layers[0].W.data, W.T + 1)


@pytest.mark.parametrize("names", [["a"], "ab", [("b", "0.bias")]])
def test_names_are_a_dict(names):
    with pytest.raises(TypeError, match="name here: name there"):
        tg.load_torch(nn.Linear(2, 2), {}, names)


def test_one_array_is_not_taken_twice():
    net = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=1))
    state = {"0.weight": np.eye(2), "0.bias": np.zeros(2), "1.bias": np.zeros(2)}
    with pytest.raises(ValueError, match=r"\['layers.0.W', 'layers.1.W'\] would all be 0.weight"):
        tg.load_torch(net, state, {"layers.1.W": "0.weight"})


def test_files_of_safetensors_are_read(torch, tmp_path):
    theirs = torch.nn.Sequential(*[torch.nn.Linear(2, 2) for _ in range(12)])
    path = tmp_path / "net.safetensors"
    pytest.importorskip("safetensors.torch").save_file(theirs.state_dict(), path)
    net, other = (nn.Sequential(*[nn.Linear(2, 2) for _ in range(12)]) for _ in range(2))
    tg.load_torch(net, path)
    tg.load_torch(other, theirs)
    assert bits(net) == bits(other)
    torch.save(theirs.state_dict(), tmp_path / "net.pt")
    with pytest.raises(ValueError, match=r"must end in \.safetensors; .*weights_only=True"):
        tg.load_torch(net, tmp_path / "net.pt")


def test_bfloat16_is_taken_exactly_and_float64_is_not_rounded(torch):
    theirs = torch.nn.Linear(2, 3, dtype=torch.bfloat16)
    net = nn.Linear(2, 3, dtype=np.float32)
    tg.load_torch(net, theirs.state_dict())
    assert np.array_equal(net.W.data, theirs.weight.float().detach().numpy().T)
    before = bits(net)
    with pytest.raises(ValueError, match=r"float64 in the state of PyTorch.*round it there"):
        tg.load_torch(net, torch.nn.Linear(2, 3, dtype=torch.float64).state_dict())
    assert bits(net) == before


def wrong_states(torch):
    right = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    state = {name: p.detach().double() for name, p in right.state_dict().items()}
    return {
        "missing": ({k: v for k, v in state.items() if k != "2.bias"}, KeyError, "2.bias"),
        "left over": ({**state, "3.num_batches": torch.zeros(())}, KeyError, "3.num_batches"),
        "not transposed": ({**state, "2.weight": state["2.weight"].T}, ValueError, r"needs \(1, 3"),
        "shape": ({**state, "2.bias": torch.zeros(2)}, ValueError, r"shape \(2,\)"),
        "integers": ({**state, "2.bias": torch.zeros(1, dtype=int)}, ValueError, "int64"),
        "complex": ({**state, "2.bias": torch.zeros(1, dtype=torch.cfloat)}, ValueError, "complex"),
        "no values": ({**state, "2.bias": torch.zeros(1, device="meta")}, ValueError, "2.bias"),
        "sparse": ({**state, "2.bias": torch.zeros(1).to_sparse()}, ValueError, "2.bias"),
        "text": ({**state, "2.bias": "zero"}, ValueError, "2.bias"),
        "a list": (list(state.values()), TypeError, "a state_dict of PyTorch"),
        "nothing": (None, TypeError, "a state_dict of PyTorch"),
    }


def test_a_wrong_state_changes_nothing(torch):
    net = nn.MLP((2, 3, 1), rng=0)
    before = bits(net)
    for name, (state, kind, told) in wrong_states(torch).items():
        with pytest.raises(kind, match=told):
            tg.load_torch(net, state)
        assert bits(net) == before, name


def test_models_can_be_pickled_without_this_package(torch):
    net = nn.Sequential(nn.Standardize(2), nn.Maxout(2, 2, rng=0), nn.Linear(2, 1, rng=1))
    assert b"tinygrad_edu" not in pickle.dumps(tg.to_torch(net))
