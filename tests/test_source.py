"""Tapes written out as NumPy code, and how they became so short."""

import ast
import sys
import types

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis.extra import numpy as hnp
from ops import CASES

import tinygrad_edu as tg

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 2))
Y = RNG.integers(0, 3, 12)
PARAMS = tuple(0.5 * RNG.normal(size=shape) for shape in ((2, 10), (1, 10), (10, 3), (1, 3)))
LAMBDA = 1e-3


def compute_loss(params):
    """The loss of the notebook, as it stands there."""
    W1, b1, W2, b2 = params
    hidden = np.maximum(0, np.dot(X, W1) + b1)
    scores = np.dot(hidden, W2) + b2
    exp_scores = np.exp(scores)
    probs = exp_scores / np.sum(exp_scores, axis=1, keepdims=True)
    logprob_correct_class = -np.log(probs[range(len(X)), Y])
    data_loss = np.sum(logprob_correct_class) / len(X)
    reg_loss = 0.5 * LAMBDA * (np.sum(W1 * W1) + np.sum(W2 * W2))
    return data_loss + reg_loss


def run(source):
    names = dict(source.given)
    exec(source, names)
    return names


def statements(source):
    """The lines without their comments."""
    return [line.partition("  #")[0].rstrip() for line in source.splitlines() if line]


def test_the_notebooks_loss_becomes_the_code_that_one_derives():
    source = tg.record(tg.value_and_grad(compute_loss), PARAMS).source()
    lines = statements(source)
    for expected in (
        "hidden = np.maximum(0, z1)",
        "scores = hidden @ W2 + b2",
        "dscores[np.arange(12), Y] -= 1",
        "dscores /= 12",
        "dW2 = hidden.T @ dscores + 0.001 * W2",
        "db2 = dscores.sum(axis=0, keepdims=True)",
        "dhidden = dscores @ W2.T",
        "dz1 = dhidden * (hidden > 0)",
        "dW1 = X.T @ dz1 + 0.001 * W1",
        "db1 = dz1.sum(axis=0, keepdims=True)",
    ):
        assert expected in lines
    assert len(lines) <= 20
    assert "# (12, 10)" in source


def test_its_code_gives_the_engines_gradients():
    source = tg.record(tg.value_and_grad(compute_loss), PARAMS).source()
    names = run(source)
    value, gradients = tg.value_and_grad(compute_loss)(PARAMS)
    assert names["loss"] == pytest.approx(value, rel=1e-14)
    for name, gradient in zip(("dW1", "db1", "dW2", "db2"), gradients[0:4], strict=True):
        np.testing.assert_allclose(names[name], gradient, rtol=1e-12, atol=1e-14)
        assert names[name].shape == gradient.shape


def test_the_code_is_stable_where_the_loss_is_not():
    large = tuple(1e3 * p for p in PARAMS)
    names = run(tg.record(tg.value_and_grad(compute_loss), PARAMS).source())
    code = tg.record(tg.value_and_grad(compute_loss), PARAMS).source()
    names = dict(code.given) | dict(zip(("W1", "b1", "W2", "b2"), large, strict=True))
    with np.errstate(under="ignore"):
        exec(code, names)
    assert np.isfinite(names["loss"])
    assert all(np.isfinite(names[name]).all() for name in ("dW1", "dW2"))


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
@pytest.mark.parametrize("sizes", [(2, 5, 3), (2, 6, 4, 3)])
def test_a_net_is_written_forward_and_backward(activation, sizes):
    net = tg.nn.MLP(sizes, activation, rng=0)
    loss = tg.cross_entropy(net(X), Y)
    source = tg.Tape.of(loss).source(backward=True)
    lines = statements(source)
    last = len(sizes) - 1
    assert f"dW{last} = h{last - 1}.T @ dscores" in lines
    assert f"db{last} = dscores.sum(axis=0)" in lines
    assert f"dh{last - 1} = dscores @ W{last}.T" in lines
    names = run(source)
    loss.backward()
    assert names["loss"] == pytest.approx(loss.item(), rel=1e-14)
    for p in net.parameters():
        np.testing.assert_allclose(names[f"d{p.name}"], p.grad, rtol=1e-12, atol=1e-15)


PROGRAMS = {
    "tanh": lambda x, y: np.sum(np.tanh(x) * y),
    "division": lambda x, y: np.sum(x / (1 + y * y)) / 3,
    "choice": lambda x, y: np.sum(np.where(x > y, x * x, -y)),
    "powers": lambda x, y: np.mean((x - y) ** 2 + (x - 2) ** 3),
    "reused": lambda x, y: np.sum(x * x * x - x + y),
    "maximum": lambda x, y: np.max(x + y) - np.min(x),
    "index": lambda x, y: np.sum(x[1:] * y[:-1]) + x[0],
    "names": lambda x, y: np.sum(np.exp(-(x**2)) - 1 / (1 + np.exp(-y))),
}


@pytest.mark.parametrize("name", PROGRAMS)
@given(data=st.data())
def test_code_gives_what_the_engine_gives(name, data):
    f = PROGRAMS[name]
    floats = st.floats(-2, 2, width=32).map(lambda v: v if abs(v) > 1e-3 else 0.5)
    x, y = (data.draw(hnp.arrays(float, 4, elements=floats, unique=True)) for _ in range(2))
    source = tg.record(tg.value_and_grad(f, argnums=(0, 1)), x, y).source()
    names = run(source)
    value, (dx, dy) = tg.value_and_grad(f, argnums=(0, 1))(x, y)
    assert names["loss"] == pytest.approx(value, rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(names["dx"], dx, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(names["dy"], dy, rtol=1e-12, atol=1e-12)


def test_names_that_python_has_taken():
    def f(lambda_, W):
        np_ = lambda_ * W
        return np.sum(np_ * np_)

    x = np.array([1.0, 2.0])
    source = tg.record(tg.value_and_grad(f, argnums=(0, 1)), x, 3 * x).source()
    names = run(source)
    value, (dx, dW) = tg.value_and_grad(f, argnums=(0, 1))(x, 3 * x)
    assert names["loss"] == pytest.approx(value)
    np.testing.assert_allclose(names["dlambda_"], dx)
    np.testing.assert_allclose(names["dW"], dW)


def test_explain_shows_each_rule_before_and_after():
    told = tg.record(tg.value_and_grad(compute_loss), PARAMS).explain()
    blocks = told.split("\n")
    rules, befores, afters = blocks[0::3], blocks[1::3], blocks[2::3]
    assert len(rules) == len(befores) == len(afters) > 5
    assert all(" -> " in rule for rule in rules)
    assert all(line.startswith("    ") for line in befores + afters)
    assert any("softmax" in rule for rule in rules)
    assert "    2 * (0.0005 * W2)" in befores


def test_explain_of_what_cannot_become_shorter():
    assert "no rule" in tg.record(lambda x: np.tanh(x), np.ones(2)).explain()


def test_backward_is_for_a_single_number():
    x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    with pytest.raises(ValueError, match="single number"):
        tg.Tape.of(x * x).source(backward=True)
    assert "x * x" in tg.Tape.of(x * x).source() or "x ** 2" in tg.Tape.of(x * x).source()


def test_the_users_tensors_keep_their_names():
    x = tg.Tensor([[1.0, 2.0]], requires_grad=True)
    loss = tg.cross_entropy(x, np.array([0]))
    tg.Tape.of(loss).source(backward=True)
    assert x.name is None


@pytest.mark.parametrize(
    "of", [lambda f: f, tg.grad, tg.value_and_grad, lambda f: tg.grad(tg.grad(f))]
)
def test_the_function_runs_once(of):
    calls = []

    def f(x):
        calls.append(x)
        return x * x * x * len(calls)

    tape = tg.record(of(f), 2.0)
    source = tape.source()
    tape.explain()
    tape.source(backward=len(tape.outputs) == 1)
    assert len(calls) == 1
    for name, entry in zip(source.results, tape.outputs, strict=True):
        assert run(source)[name] == entry.y


def test_the_program_is_of_the_numbers_that_were_drawn():
    rng = np.random.default_rng(0)
    tape = tg.record(lambda x: np.sum(x * rng.normal(size=5)), np.ones(5))
    names = run(tape.source(backward=True))
    assert names["loss"] == tape.outputs[0].y
    assert names["loss"] == pytest.approx(np.sum(names["dx"]))


def gradients_of(source, f, *args):
    """What the program of a function and its gradients computes, which is what the engine does."""
    names = run(source)
    value, gradients = tg.value_and_grad(f, argnums=tuple(range(len(args))))(*args)
    assert names[source.results[0]] == pytest.approx(value)
    for name, gradient in zip(source.results[1:], gradients, strict=True):
        np.testing.assert_allclose(names[name], gradient)
    return names


def test_gradients_have_the_names_of_what_they_are_of():
    def squares(x):
        return sum(v * v for v in [x[0], x[1]])

    def layer(h):
        h = np.array([[1.0, 2.0], [-0.5, 0.25]]) @ h
        return np.tanh(h)

    def layers(h):
        h2 = layer(layer(h))
        return np.sum(np.exp(h2))

    x = np.array([1.0, 2.0])
    for f in (squares, layers):
        source = tg.record(f, x).source(backward=True)
        names = gradients_of(source, f, x)
        lines = statements(source)
        for i, line in enumerate(lines):
            name, _, _ = line.partition(" = ")
            if f"d{name}" not in names or name.startswith("d"):
                continue
            # The rest of the program again, with another value of the variable.
            rest = "\n".join(lines[i + 1 :])
            shape = np.shape(names[name])
            slopes = np.zeros(shape)
            for place in np.ndindex(shape):
                ends = []
                for step in (1e-6, -1e-6):
                    given = dict(names)
                    given[name] = np.array(names[name], float)
                    given[name][place] += step
                    exec(rest, given)
                    ends.append(given[source.results[0]])
                slopes[place] = (ends[0] - ends[1]) / 2e-6
            np.testing.assert_allclose(names[f"d{name}"], slopes, rtol=1e-6, atol=1e-8)
    assert {"h2", "h3", "dh3"} <= names.keys()
    assert "dv2 = 2 * v2" in statements(tg.record(squares, x).source(backward=True))


@given(first=st.text(), second=st.text(), result=st.text())
@example("1x", "class", "%3")
@example("np", "tg", "d")
@example("a b", "a_b", "__import__")
@example("__builtins__", "__debug__", "_")
@example("x", "dx", "x")
@example("２x", "²", "ﬁ")
def test_whatever_tensors_are_called_the_program_runs(first, second, result):
    x = tg.Tensor([1.0, 2.0], requires_grad=True, name=first)
    y = tg.Tensor([3.0, 4.0], requires_grad=True, name=second)
    product = x * y
    product.name = result
    source = tg.Tape.of(np.sum(np.exp(product) * product)).source(backward=True)
    ast.parse(source)
    names = run(source)
    assert len(source.given) == 2
    assert len(set(source.results)) == 3
    slope = np.exp(product.numpy()) * (product.numpy() + 1)
    np.testing.assert_allclose(names[source.results[1]], slope * y.numpy(), rtol=1e-14)
    np.testing.assert_allclose(names[source.results[2]], slope * x.numpy(), rtol=1e-14)
    assert (x.name, y.name, product.name) == (first, second, result)


@pytest.mark.parametrize("module", ["/home/me/f.py", "a-b", "class.f", "__main__", "<string>"])
def test_a_function_of_a_file_that_cannot_be_imported_is_given(module, monkeypatch):
    namespace = {"np": np, "tg": tg, "__name__": module}
    exec(
        "@tg.primitive\ndef cube(x):\n    return x**3\ncube.derivative(lambda g, y, x: 3*x*x*g)",
        namespace,
    )
    loaded = types.ModuleType(module)
    loaded.cube = namespace["cube"]
    monkeypatch.setitem(sys.modules, module, loaded)
    source = tg.record(lambda x: np.sum(loaded.cube(x)), np.array([1.0, 2.0])).source(True)
    assert run(source)["loss"] == 9
    assert "from" not in source
    assert "cube" in source.given


def of_choice(x):
    return np.sum(np.where(x > 0, np.log(x), 0.0))


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_a_program_says_where_it_gives_nan_and_the_engine_0():
    x = np.array([0.0, 2.0])
    said = "# At these values 0 * inf comes out as NaN, where the engine gives 0."
    tapes = tg.record(of_choice, x), tg.record(tg.value_and_grad(of_choice), x)
    for source in (tapes[0].source(backward=True), tapes[1].source()):
        assert source.splitlines()[0] == said
        assert all(name in source.splitlines()[line] for line, name, _ in source.statements)
        np.testing.assert_array_equal(run(source)["dx"], [np.nan, 0.5])
    np.testing.assert_array_equal(tg.grad(of_choice)(x), [0.0, 0.5])
    assert "NaN" not in tapes[0].source()
    assert "NaN" not in tg.record(of_choice, x + 1).source(backward=True)


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_a_program_says_where_it_gives_nan_and_the_engine_refuses():
    def f(x):
        return np.sum(np.sqrt(x) ** 2)

    x = np.array([0.0, 2.0])
    with pytest.raises(FloatingPointError):
        tg.grad(f)(x)
    source = tg.record(f, x).source(backward=True)
    assert source.startswith("# At these values a gradient is 0 * inf: NaN here, an error of the")
    assert np.isnan(run(source)["dx"][0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
@settings(max_examples=2)
@given(data=st.data())
def test_every_operation_has_a_program(case, data):
    arrays, parameters = data.draw(case.arguments)
    arrays = tuple(map(np.array, arrays))

    def f(*xs):
        ys = case.call(*xs, **parameters)
        rng = np.random.default_rng(0)
        ys = ys if isinstance(ys, (tuple, list)) else [ys]
        return sum(np.sum(y * rng.uniform(1, 2, np.shape(y))) for y in ys)

    value, gradients = tg.value_and_grad(f, argnums=tuple(range(len(arrays))))(*arrays)
    assume(np.isfinite(value))
    source = tg.record(f, *arrays).source(backward=True)
    names = run(source)
    np.testing.assert_allclose(names[source.results[0]], value, rtol=1e-12, atol=1e-12)
    # An argument that has no influence has no gradient in the program.
    found = [names[name] for name in source.results[1:] if np.any(names[name])]
    known = [g for g in gradients if np.any(g)]
    for gradient, right in zip(found, known, strict=True):
        assert np.shape(gradient) == np.shape(right)
        np.testing.assert_allclose(gradient, right, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "f",
    [
        lambda v: np.put_along_axis(v, np.argsort(v)[:1], 0.5, -1),
        lambda v: np.put(v, [0], 0.5),
    ],
)
def test_what_is_written_at_computed_places(f):
    def written(x):
        y = x * 1
        f(y)
        return np.sum(y * y)

    x = np.array([3.0, 1.0, 2.0])
    source = tg.record(written, x).source(backward=True)
    gradients_of(source, written, x)


def test_a_mask_is_no_range_of_numbers():
    mask = np.array([False, True])
    source = tg.record(
        lambda x: np.sum(x[[False, True]] * 3) + np.sum(x * (mask * 2.0)), np.ones(2)
    )
    assert run(source.source(backward=True))["loss"] == 5


def test_whole_numbers_cannot_be_recorded():
    with pytest.raises(ValueError, match=r"a holds 1, and whole numbers .* write 1.0 for 1$"):
        tg.record(lambda a, b: a * b, 1, 2)
    with pytest.raises(ValueError, match=r"c holds 3, and whole"):
        tg.record(lambda a, c: c * 2, 1.5, [3])
    with pytest.raises(ValueError, match="did nothing with its arguments"):
        tg.record(lambda a: 3, 1.0)


@pytest.mark.parametrize("returns_loss", [True, False])
def test_a_recorded_function_does_not_walk_back_itself(returns_loss):
    def f(x):
        loss = np.sum(x * x)
        loss.backward()
        return loss * 2 if returns_loss else None

    with pytest.raises(ValueError, match=r"return the loss and leave out backward\(\)"):
        tg.record(f, np.array([1.0, 2.0]))


def test_an_argument_that_was_changed_is_not_blamed_on_backward():
    w = tg.Tensor([1.0], requires_grad=True, name="w")

    def f(x):
        y = x * w
        w.data = np.array([2.0])
        return y

    with pytest.raises(RuntimeError, match="the data of w was changed"):
        tg.record(f, np.array([1.0]))


@pytest.mark.parametrize(
    "f",
    [
        lambda u: np.sum(u.copy() ** 2),
        lambda u: np.sum((+u).reshape(-1) ** 2),
        lambda u: named(u.copy(), "v") @ u,
    ],
)
def test_the_gradient_of_an_input_has_the_name_of_the_input(f):
    u = np.array([1.0, 3.0])
    source = tg.record(f, u).source(backward=True)
    assert source.results[1:] == ["du"]
    names = dict(source.given)
    exec(source, names)
    np.testing.assert_allclose(names["du"], tg.grad(f)(u))


def named(x, name):
    """x with a name, if it is a Tensor."""
    if isinstance(x, tg.Tensor):
        x.name = name
    return x


def test_signs_and_factors_are_written_as_people_write_them():
    def f(x, y):
        return np.sum(np.exp(-(x**2)) - 1 / (1 + np.exp(-y)) - x * y) * 0.2

    a, b = np.array([0.5, 1.0]), np.array([2.0, -1.0])
    source = tg.record(f, a, b).source(backward=True)
    gradients_of(source, f, a, b)
    assert "dx = -0.2 * y - 0.4 * (e * x)" in statements(source)
    assert "- -" not in source
    assert "+ -" not in source
    assert "1.0 *" not in source


def test_a_mean_and_its_gradient_are_divided_alike():
    W, x, labels = np.ones((3, 2)), np.ones((5, 3)), np.array([0, 1, 1, 0, 1])
    source = tg.record(lambda W: tg.cross_entropy(x @ W, labels), W).source(backward=True)
    assert "dscores *= 0.2" in statements(source)
    assert ") * 0.2" in source


def test_a_whole_step_of_training_is_not_recorded():
    net = tg.nn.MLP((2, 4, 1), rng=0)
    optimizer = tg.optim.SGD(net.parameters(), lr=0.1)

    def step():
        loss = tg.mse(net(np.ones((3, 2))), np.ones((3, 1)))
        loss.backward()
        optimizer.step()
        return loss

    with pytest.raises(ValueError, match="return the loss and leave out backward"):
        tg.record(step)
