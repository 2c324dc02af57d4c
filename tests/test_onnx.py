"""Models as ONNX files: onnxruntime computes what the model does, and what cannot go is refused."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nets import nets, with_noise

import tinygrad_edu as tg
from tinygrad_edu import nn
from tinygrad_edu.calculus import einsum, indexing, neural, reductions, shapes
from tinygrad_edu.interop.onnx_nodes import TRANSLATIONS
from tinygrad_edu.rules import CONSTANTS, PRIMITIVES
from tinygrad_edu.tensor import plain

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

OWN = einsum, indexing, neural, reductions, shapes
DTYPES = [np.float32, np.float64]
# A rounding error of the dtype, a few times: 1e-6 would not see weights that were cast to float32.
CLOSE = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-12}


class Own(nn.Module):
    """A module of somebody's own, with a matrix W and any forward."""

    def __init__(self, code, dtype=np.float64):
        self.code = code
        W = np.random.default_rng(3).standard_normal((4, 4)).astype(dtype)
        self.W = tg.Tensor(W, requires_grad=True, name="W")

    def forward(self, x):
        return self.code(x, self.W)


def session(path):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path.read_bytes(), options)


def check(path, net, X, example=None):
    """Whether the file computes what the net does in evaluation mode, for any batch size."""
    tg.to_onnx(net, path, example)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    run = session(path)
    for n in (1, 2, len(X)):
        with nn.evaluating(net):
            expected = np.asarray(plain(net(tg.Tensor(X[:n]))))
        (y,) = run.run(None, {"x": X[:n]})
        assert y.dtype == expected.dtype
        assert y.shape == expected.shape
        tolerance = CLOSE.get(y.dtype, 0) * max(1, np.abs(expected).max())
        np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance)
    return run


def samples(shape, dtype, n=7):
    return (3 * np.random.default_rng(0).standard_normal((n, *shape))).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_any_net_of_layers_computes_the_same_in_onnxruntime(dtype, data, tmp_path_factory):
    net, n = data.draw(nets(dtype))
    check(tmp_path_factory.mktemp("onnx") / "net.onnx", net, samples((n,), dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [*nn.ACTIVATIONS, "maxout"])
def test_every_activation_is_right_far_out_too(tmp_path, activation, dtype):
    net = nn.MLP((1, 1), rng=0, dtype=dtype)
    net.layers[0].W.data, net.layers[0].b.data = np.ones((1, 1), dtype), np.zeros(1, dtype)
    make = nn.ACTIVATIONS.get(activation)
    net.layers.append(nn.Maxout(1, 1, rng=0, dtype=dtype) if make is None else make())
    X = np.array([0, 1, -1, 19, 21, -19, 37, 60, -60, 800, -800, 1e4, -1e4], dtype)[:, None]
    run = check(tmp_path / "net.onnx", net, X)
    for x in X:
        np.testing.assert_allclose(
            run.run(None, {"x": x[None]})[0][0], net(x[None]).data[0], rtol=2e-6, atol=1e-7
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("f", [tg.sigmoid, tg.softplus])
def test_small_values_are_right_to_the_last_digits(tmp_path, f, dtype):
    X = np.array([0, 1, -1, -5, -9, -15, -17, -30, -40, -80], dtype)[:, None]
    tg.to_onnx(Own(lambda x, W: f(x), dtype), tmp_path / "net.onnx", X)
    (y,) = session(tmp_path / "net.onnx").run(None, {"x": X})
    np.testing.assert_allclose(y, f(X), rtol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("f", [tg.softmax, tg.log_softmax, tg.logsumexp])
@pytest.mark.parametrize("axis", [0, -1])
def test_masked_values_are_those_of_the_net(tmp_path, f, axis, dtype):
    inf = np.inf
    X = np.array([[-inf] * 3, [1, -inf, 2], [inf, 2, -inf], [inf, 1, inf], [1, 2, 3]], dtype)
    net = Own(lambda x, W: f(x, axis=axis), dtype)
    tg.to_onnx(net, tmp_path / "net.onnx", X)
    (y,) = session(tmp_path / "net.onnx").run(None, {"x": X})
    np.testing.assert_allclose(y, net(tg.Tensor(X)).data, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("stride", "padding", "pool"), [(1, 0, 2), (2, 1, 2), (3, 2, 1)])
def test_images(tmp_path, stride, padding, pool, dtype):
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3, stride, padding, rng=0, dtype=dtype),
        nn.ReLU(),
        nn.MaxPool2d(pool, 1),
        nn.Flatten(),
    )
    X = samples((2, 8, 9), dtype) / 3
    net.layers.append(nn.Linear(net(X[:1]).shape[1], 2, rng=1, dtype=dtype))
    check(tmp_path / "net.onnx", with_noise(net), X, X[:2])


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.float64])
def test_embeddings_take_whole_numbers_of_the_example_s_dtype(tmp_path, kind):
    net = nn.Sequential(nn.Embedding(5, 3, rng=0), nn.Flatten(), nn.Linear(6, 2, rng=1))
    X = np.random.default_rng(0).integers(0, 5, (7, 2)).astype(kind)
    run = check(tmp_path / "net.onnx", net, X, X)
    assert (
        run.get_inputs()[0].type
        == {
            "int64": "tensor(int64)",
            "int32": "tensor(int32)",
            "float64": "tensor(double)",
        }[np.dtype(kind).name]
    )


FORWARDS = {
    "std": lambda x, W: np.std(x @ W, axis=1, keepdims=True) + np.var(x, axis=0),
    "concatenate": lambda x, W: np.concatenate([x, x @ W], axis=1)[:, ::2],
    "clip": lambda x, W: np.clip(x @ W, -1, 1),
    "where": lambda x, W: np.where(x > 0, x, 0.5 * np.sin(x)) + np.cos(x),
    "masks": lambda x, W: np.where((x > 0) & ~(x >= 1) | (x != 0.5), x, 0) + (x <= 0) + (x == 1),
    "einsum": lambda x, W: np.einsum("ni,ij->nj", x, W),
    "tensordot": lambda x, W: np.tensordot(x, W, axes=1) + np.tensordot(x, W, axes=([1], [1])),
    "dot": lambda x, W: np.dot(x, W) + np.linalg.matmul(x, W),
    "stack": lambda x, W: np.stack([x, x * 2, x @ W], axis=1).sum(axis=1),
    "columns": lambda x, W: x[:, [3, 1, 0]] * x[:, 0][:, None] - x[:, -1:],
    "over the batch": lambda x, W: x - x.mean(axis=0) + x.sum() / 9,
    "reshape and transpose": lambda x, W: np.reshape(x @ W, (-1, 2, 2)).transpose(0, 2, 1),
    "the batch behind": lambda x, W: (W @ x.T).T + np.moveaxis(np.swapaxes(x, 0, 1), 0, -1),
    "the batch merged": lambda x, W: np.reshape(np.reshape(x, (-1,)) * 2, (x.shape[0], 4)),
    "axes of 1": lambda x, W: np.squeeze(np.expand_dims(x, 1) * W[:1], axis=1),
    "of parameters alone": lambda x, W: x @ np.linalg.inv(W) + np.sort(W, axis=0)[0],
    "tied": lambda x, W: (x @ W) @ W.T,
    "softmax": lambda x, W: tg.softmax(x @ W) + tg.log_softmax(x) + tg.softmax(x, axis=0),
    "logsumexp": lambda x, W: tg.logsumexp(300 * x) + tg.logsumexp(x, axis=1, keepdims=True).sum(),
    "powers": lambda x, W: np.abs(x) ** 1.5 + x**2 + np.square(x) - np.sqrt(np.abs(x)) + 2**x,
    "division": lambda x, W: 1 / (1 + np.exp(-x)) + np.reciprocal(1 + x * x) + np.log(1 + x * x),
    "steps": lambda x, W: np.sign(x) + np.floor(x) - np.ceil(x) + np.negative(x),
    "pieces": lambda x, W: np.split(x, 2, axis=1)[1] + np.hsplit(x, 2)[0],
    "reductions": lambda x, W: np.max(x, axis=1) + x.min(1) + np.prod(x, axis=-1) + np.amax(x, 1),
    "norms": lambda x, W: np.linalg.norm(x, axis=1, keepdims=True) + np.linalg.norm(x - 3, axis=0),
    "shuffles": lambda x, W: np.flip(x, 1) + np.roll(x, 1, axis=1) + np.take(x, [0, 0, 1, 1], 1),
    "repeats": lambda x, W: np.repeat(x, 2, axis=1)[:, :4] + np.tile(x, (1, 2))[:, 3:7],
    "pads": lambda x, W: np.pad(x, ((0, 0), (1, 2)), constant_values=3),
    "reflects": lambda x, W: np.pad(x, ((0, 0), (1, 2)), mode="reflect"),
    "wider": lambda x, W: x.astype(np.float64) * 2 + x,
    "narrower": lambda x, W: np.float32(1) * x.astype(np.float32),
    "a count": lambda x, W: np.sum(x > 0, axis=1) / 4.0 + np.mean(x > 0, axis=1),
    "a number of its own": lambda x, W: 2 * np.mean(x @ W) + W[0, 0],
    "itself": lambda x, W: x,
    "2 of several dtypes": lambda x, W: np.sum(x > 0, axis=1, keepdims=True) * 2 + x * 2,
    "a row more in other rows": lambda x, W: np.reshape(np.concatenate([x, W[:1]]), (-1, 2)),
    "twice as many": lambda x, W: np.concatenate([x, x @ W]),
    "a row more": lambda x, W: np.pad(x, ((0, 1), (0, 0))),
    "rows of two": lambda x, W: np.reshape(x, (-1, 2)),
    "rows for each column": lambda x, W: np.expand_dims(x, 0) * W[:1],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORWARDS)
def test_any_forward_of_known_operations(tmp_path, name, dtype):
    X = samples((4,), dtype)
    check(tmp_path / "net.onnx", Own(FORWARDS[name], dtype), X, X)


WHOLE = {
    "bools": lambda x, W: (
        ((x > 3) + (x < 1)) * (np.max(x > 5, axis=1, keepdims=True) + (x == 2))
        + np.maximum(x > 3, x < 1) + ((x > 3) > (x < 1)) + 0.5 * np.minimum(x > 3, x < 5)
    ),
    "rounding": lambda x, W: np.floor(x) + np.ceil(x > 2) + np.copy(x),
    "signs": lambda x, W: -x + x**2 + np.square(x) + tg.relu(x),
    "comparisons": lambda x, W: (x > -1) + 2 * (x >= 300) + (x < 2.5) + (x == np.max(x)),
    "reductions": lambda x, W: np.sum(x, axis=1) / 4 + np.prod(x, axis=1) / 4 + np.max(x, 1),
    "a product": lambda x, W: np.einsum("ni,ni", x, x) + np.einsum("ni->n", x),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64])
@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_and_bools_are_those_of_numpy(tmp_path, name, dtype):
    X = np.array([[0, 1, 2, 3], [4, 100, 6, 2], [7, 1, 120, 1]]).astype(dtype)
    check(tmp_path / "net.onnx", Own(WHOLE[name]), X, X)


@pytest.mark.parametrize(
    "code",
    [lambda x, W: np.max(x, axis=1), lambda x, W: x > 3, lambda x, W: np.reciprocal(x + 1)],
)
def test_dtypes_that_onnx_lacks_are_refused(tmp_path, code):
    with pytest.raises(NotImplementedError, match=r"on uint64|for these dtypes"):
        tg.to_onnx(Own(code), tmp_path / "net.onnx", np.ones((2, 2), np.uint64))
    with pytest.raises(NotImplementedError, match="for these dtypes"):
        tg.to_onnx(Own(lambda x, W: np.reciprocal(x)), tmp_path / "net.onnx", np.ones((2, 2), int))


@pytest.mark.parametrize("equation", ["NI,IJ->NJ", "bi,iA", "bA,Aa", "...i, i Z -> ...Z"])
def test_any_letters_of_an_equation(tmp_path, equation):
    X = samples((4,), float)
    check(tmp_path / "net.onnx", Own(lambda x, W: np.einsum(equation, x, W)), X, X)


@pytest.mark.parametrize("wrong", [-1, 5, 0.7, -0.5, np.nan])
def test_what_is_no_row_of_an_embedding_is_an_error(tmp_path, wrong):
    X = np.array([[wrong]])
    tg.to_onnx(nn.Embedding(5, 3, rng=0), tmp_path / "net.onnx", np.zeros_like(X))
    with pytest.raises(Exception, match="out of data bounds"):
        session(tmp_path / "net.onnx").run(None, {"x": X})


def test_every_translation_belongs_to_an_operation_that_there_is():
    known = {p.name for p in PRIMITIVES.values()}
    known |= {f"np.{function.__name__}" for function in CONSTANTS}
    known |= {f"tg.{name}" for module in OWN for name in vars(module)}
    assert set(TRANSLATIONS) <= known


def recurrent(x, W):
    h = np.tanh(x[:, 0] @ W)
    for t in range(1, x.shape[1]):
        h = np.tanh(x[:, t] @ W + h)
    return h


def heads(x, W):
    n, length, _ = x.shape
    q = (x @ W).reshape(n, length, 2, 2).transpose(0, 2, 1, 3)
    weights = tg.softmax(q @ np.swapaxes(q, 2, 3))
    return (weights @ q).transpose(0, 2, 1, 3).reshape(n, length, 4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("forward", [recurrent, heads])
def test_sequences(tmp_path, forward, dtype):
    X = samples((3, 4), dtype) / 3
    check(tmp_path / "net.onnx", Own(forward, dtype), X, X)


def test_samples_of_one_number(tmp_path):
    X = samples((), float)
    check(tmp_path / "net.onnx", Own(lambda x, W: x[:, None] * W[0]), X, X)


def test_no_samples_are_a_batch_too(tmp_path):
    net = nn.Sequential(nn.Maxout(2, 3, rng=0), nn.LayerNorm(3), nn.Linear(3, 4, rng=1))
    tg.to_onnx(net, tmp_path / "net.onnx")
    (y,) = session(tmp_path / "net.onnx").run(None, {"x": np.zeros((0, 2))})
    assert y.shape == (0, 4)


REFUSED = {
    "a branch": (lambda x, W: x if x.sum() > 0 else -x, ValueError, "branch"),
    "a number": (lambda x, W: x * float(x[0, 0]), ValueError, "float"),
    "an array": (lambda x, W: x * x.numpy().max(), ValueError, "numpy"),
    "the batch size": (lambda x, W: x if len(x) > 2 else -x, ValueError, "x.shape\\[0\\]"),
    "a batch size above 5": (lambda x, W: x * 2 if len(x) > 5 else x, ValueError, "for 258, where"),
    "the parity": (lambda x, W: x / (1 + len(x) % 2), ValueError, "np.divide .*number of samples"),
    "at least 10": (lambda x, W: x / max(len(x), 10), ValueError, "np.divide .*number of samples"),
    "the first 3": (lambda x, W: x[:3], NotImplementedError, "drops or moves samples"),
    "the last 5": (lambda x, W: x[-5:, 1:], NotImplementedError, "drops or moves samples"),
    "the first 1000": (lambda x, W: x[:1000], NotImplementedError, "drops or moves samples"),
    "up to 1000": (lambda x, W: x[..., :1000, :], NotImplementedError, "drops or moves samples"),
    "a roll": (lambda x, W: np.roll(x, 3, axis=0), NotImplementedError, "one sample to another"),
    "a mean by hand": (lambda x, W: x.sum(axis=0) / len(x), ValueError, "np.divide .*number of sa"),
    "ones": (lambda x, W: x + np.ones((len(x), 1)), ValueError, "np.add .*number of samples"),
    "a squeeze": (lambda x, W: np.squeeze(x), ValueError, "np.squeeze .*number of samples"),
    "noise": (lambda x, W: x * RNG.random(4), ValueError, "random"),
    "a shuffle": (lambda x, W: x[:, RNG.permutation(4)], ValueError, "random"),
    "sorting": (lambda x, W: np.sort(x, axis=1), NotImplementedError, "np.sort"),
    "backwards": (lambda x, W: x[::-1], NotImplementedError, "drops or moves samples"),
    "the first": (lambda x, W: x[0], NotImplementedError, "one sample to another"),
    "a diagonal": (lambda x, W: np.diagonal(x), NotImplementedError, "one sample to another"),
    "an index": (lambda x, W: W[np.argmax(x, axis=1)], NotImplementedError, "argmax"),
    "a mask": (lambda x, W: np.mean(x, axis=1, where=np.array([1, 0, 1, 1], bool)), None, "where"),
    "an equation": (
        lambda x, W: np.einsum("ni,ij->nj" if len(x) > 2 else "ni,ji->nj", x, W),
        ValueError,
        "tg.einsum .*differs from run to run",
    ),
    "no x": (lambda x, W: W * 2, ValueError, "does not depend on x"),
    "an own array": (lambda x, W: np.zeros(3), TypeError, "one Tensor, got ndarray"),
    "two": (lambda x, W: (x, x), TypeError, "one Tensor, got tuple"),
}
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_graph_cannot_hold_is_refused_and_nothing_is_written(tmp_path, name):
    code, kind, told = REFUSED[name]
    path = tmp_path / "net.onnx"
    path.write_text("before")
    with pytest.raises(kind or NotImplementedError, match=told):
        tg.to_onnx(Own(code), path, samples((4,), float))
    assert [p.read_text() for p in tmp_path.iterdir()] == ["before"]


def test_a_refusal_names_the_line(tmp_path):
    with pytest.raises(
        NotImplementedError, match=r"np\.sort of shape \(3, 4\) \(.*test_onnx\.py, l"
    ):
        tg.to_onnx(Own(REFUSED["sorting"][0]), tmp_path / "net.onnx", samples((4,), float))


def test_a_branch_whose_error_is_caught_is_refused_too(tmp_path):
    def code(x, W):
        try:
            return x if x.sum() > 0 else -x
        except RuntimeError:
            return x

    with pytest.raises(ValueError, match="branch"):
        tg.to_onnx(Own(code), tmp_path / "net.onnx", samples((4,), float))


def initializers(path):
    return {i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}


def test_parameters_have_their_names_and_their_bits(tmp_path):
    path = tmp_path / "net.onnx"
    net = with_noise(nn.MLP((2, 3, 4), rng=0))
    tg.to_onnx(net, path)
    found = initializers(path)
    assert list(found) == ["W1", "b1", "W2", "b2"]
    assert all(np.array_equal(found[p.name], p.data) for p in net.parameters())
    twice = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=1))
    tg.to_onnx(twice, path)
    assert list(initializers(path)) == list(twice.state_dict())


def test_a_layer_that_is_used_twice_is_kept_once(tmp_path):
    layer = nn.Linear(2, 2, rng=0)
    check(tmp_path / "net.onnx", nn.Sequential(layer, nn.Tanh(), layer), samples((2,), float))
    assert len(initializers(tmp_path / "net.onnx")) == 2


class Named(nn.Module):
    """Parameters that are called as the input and the output are."""

    def __init__(self):
        self.x = tg.Tensor(np.array([2.0]), requires_grad=True, name="x")
        self.y = tg.Tensor(np.array([3.0]), requires_grad=True, name="y")

    def forward(self, x):
        return x * self.x + self.y + 1


@pytest.mark.parametrize("names", ["xy", ("add_1", "constant_1"), ("x", "x"), (None, "W")])
def test_names_do_not_collide(tmp_path, names):
    net, X = Named(), samples((4,), float)
    net.x.name, net.y.name = names
    check(tmp_path / "net.onnx", net, X, X)


def test_nan_weights_stay_as_they_are(tmp_path):
    net = nn.MLP((2, 3), rng=0)
    net.parameters()[0].data = np.array([[np.nan, 1, np.inf], [0, -np.inf, 1]])
    tg.to_onnx(net, tmp_path / "net.onnx")
    X = np.ones((1, 2))
    (y,) = session(tmp_path / "net.onnx").run(None, {"x": X})
    assert np.array_equal(y, net(X).data, equal_nan=True)


def test_dropout_is_off_and_the_mode_stays(tmp_path):
    net = nn.MLP((2, 9, 3), dropout=0.5, rng=0)
    before = net.layers[2].rng.bit_generator.state
    check(tmp_path / "net.onnx", net, samples((2,), float))
    assert all(m.training for _, m in net.named_modules())
    assert net.layers[2].rng.bit_generator.state == before


def test_the_bytes_are_the_same_in_every_process(tmp_path):
    program = (
        "import sys, tinygrad_edu as tg; nn = tg.nn\n"
        "net = nn.Sequential(nn.Maxout(3, 4, rng=0), nn.LayerNorm(4), nn.Linear(4, 2, rng=1))\n"
        "tg.to_onnx(net, sys.argv[1])"
    )
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for seed, path in zip("12", paths, strict=True):
        command = [sys.executable, "-W", "error", "-c", program, path]
        subprocess.run(command, check=True, env={"PYTHONHASHSEED": seed, "PYTHONPATH": sys.path[0]})
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_file_suits_what_is_in_use(tmp_path):
    tg.to_onnx(nn.MLP((2, 3), rng=0), tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    assert model.ir_version == 8  # what came with version 18 of the operators
    (x,), (y,) = model.graph.input, model.graph.output
    dims = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (x, y)]
    assert dims == [["batch", 2], ["batch", 3]]


@pytest.mark.parametrize("wrong", [None, 3, nn.MLP, lambda x: x, "net"])
def test_what_is_no_module_is_refused(tmp_path, wrong):
    with pytest.raises(TypeError, match="takes a module"):
        tg.to_onnx(wrong, tmp_path / "net.onnx")


def test_paths_are_checked(tmp_path):
    net = nn.MLP((2, 3), rng=0)
    with pytest.raises(ValueError, match=r"net\.pt must end in \.onnx"):
        tg.to_onnx(net, tmp_path / "net.pt")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        tg.to_onnx(net, tmp_path / "missing" / "net.onnx")


CONV = nn.Sequential(nn.Conv2d(1, 1, 3, rng=0))


@pytest.mark.parametrize("net", [CONV, nn.Embedding(3, 2), Own(FORWARDS["clip"]), nn.ReLU()])
def test_an_unknown_shape_of_samples_is_asked_for(tmp_path, net):
    with pytest.raises(ValueError, match=r"example=X\[:1\]"):
        tg.to_onnx(net, tmp_path / "net.onnx")


@pytest.mark.parametrize("example", [1.0, np.zeros((0, 2)), np.array([["a", "b"]]), [None]])
def test_an_example_that_is_none_is_refused(tmp_path, example):
    with pytest.raises(ValueError, match="example must be rows of X"):
        tg.to_onnx(nn.MLP((2, 3)), tmp_path / "net.onnx", example)


def test_an_example_of_another_width_is_refused_by_the_model(tmp_path):
    with pytest.raises(ValueError, match=r"\(3, 5\)"):
        tg.to_onnx(nn.MLP((2, 3)), tmp_path / "net.onnx", np.zeros((1, 5)))


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "tinygrad-edu\[onnx\]"'):
        tg.to_onnx(nn.MLP((2, 3)), tmp_path / "net.onnx")


def test_a_full_disk_leaves_the_old_file(tmp_path, full_disk):
    path = tmp_path / "net.onnx"
    tg.to_onnx(nn.MLP((2, 3)), path)
    before = path.read_bytes()
    with full_disk(), pytest.raises(OSError, match=r"net\.onnx"):
        tg.to_onnx(nn.MLP((2, 99, 3)), path)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [before]


def test_nets_of_many_depths(tmp_path):
    for depth, activation in itertools.product((2, 3, 12), ("relu", "maxout")):
        net = with_noise(nn.MLP([3] * depth, activation, rng=0))
        check(tmp_path / "net.onnx", net, samples((3,), float))
