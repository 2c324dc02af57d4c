"""What the page says of each step: the numbers, the gradients on the way back, the lines lit."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_edu as tg
from tinygrad_edu.show.code import excerpts, matched
from tinygrad_edu.show.labels import Labels
from tinygrad_edu.show.steps import Backward, example, in_numbers, rule_in_numbers, stretched

small = st.floats(-4, 4, width=32).map(lambda x: round(x, 2))
matrices = hnp.arrays(float, (3, 2), elements=small)


def tape_of(f, **arrays):
    tensors = [tg.Tensor(x, requires_grad=True, name=n) for n, x in arrays.items()]
    return tg.Tape.of(f(*tensors))


def walked(tape, g=None):
    y = tape[-1].y
    return Backward.of(list(tape), np.ones_like(y) if g is None else g)


def of_name(tape, name):
    return next(entry for entry in tape if entry.name == name)


PROGRAMS = [
    lambda a, b: np.sum(a * a),
    lambda a, b: np.sum(a * b + a),
    lambda a, b: np.sum((a @ b.T) ** 2 - a[:, :1]),
    lambda a, b: np.sum(np.sin(a) / (2 + np.cos(b))) * np.sum(a),
    lambda a, b: tg.cross_entropy(tg.relu(a) @ b.T, np.array([0, 2, 1])) + np.sum(b * b),
    lambda a, b: np.sum(np.maximum(a, b) * np.sum(a, axis=0)),
]


@given(st.sampled_from(PROGRAMS), matrices, matrices)
def test_the_steps_back_are_those_of_the_engine(f, a, b):
    tape = tape_of(f, a=a, b=b)
    back = walked(tape)
    expected = tg.grad(f, argnums=(0, 1))(a, b)
    for name, gradient in zip("ab", expected, strict=True):
        if any(entry.name == name for entry in tape):
            np.testing.assert_array_equal(back.gradients[of_name(tape, name)], gradient)


@given(st.sampled_from(PROGRAMS), matrices, matrices)
def test_what_is_sent_adds_up(f, a, b):
    tape = tape_of(f, a=a, b=b)
    back = walked(tape)
    order = [entry for entry in reversed(tape) if entry in back.sent]
    assert list(back.sent) == order
    parts = {}
    for entry in order:
        for sent in back.sent[entry]:
            assert entry.inputs[sent.position] is sent.source
            assert sent.gx.shape == sent.source.y.shape
            parts.setdefault(sent.source, []).append(sent.gx)
            assert sent.count == len(parts[sent.source])
            np.testing.assert_allclose(sent.total, sum(parts[sent.source]), rtol=1e-12, atol=1e-12)
    for source, found in parts.items():
        np.testing.assert_allclose(sum(found), back.gradients[source], rtol=1e-12, atol=1e-12)


def test_the_walk_that_is_done_again_is_the_one_that_is_shown():
    # The first walk gives NaN, 0 * inf, at the roots of the branch that is not taken.
    x = tg.Tensor([0.0, 4.0], requires_grad=True, name="x")
    with np.errstate(all="ignore"):
        tape = tg.Tape.of(np.sum(np.where(x.data > 0, np.sqrt(x), 0.0)))
        back = walked(tape)
    np.testing.assert_array_equal(back.gradients[tape[0]], [0, 0.25])
    (sent,) = back.sent[tape[1]]
    np.testing.assert_array_equal(sent.gx, [0, 0.25])


def test_the_walk_begins_with_the_gradient_that_is_given():
    tape = tape_of(lambda a: a * 3.0, a=np.array([1.0, 2.0]))
    back = walked(tape, np.array([10.0, 20.0]))
    np.testing.assert_array_equal(back.gradients[tape[0]], [30, 60])


def value_of(text):
    """What the left side of an equation in numbers comes to, and what the right side says."""
    left, right = text.rsplit(" = ", 1)
    return eval(left.replace("·", "*"), {"np": np, "tg": tg}), float(eval(right))


@given(
    st.sampled_from(
        [
            lambda a, b: a + b,
            lambda a, b: a - 2 * b,
            lambda a, b: a * b[0],
            lambda a, b: a / (b * b + 1),
            lambda a, b: np.exp(-a),
            lambda a, b: np.maximum(a, b),
            lambda a, b: tg.sigmoid(a),
            lambda a, b: tg.leaky_relu(a, 0.2),
            lambda a, b: a @ b.T,
            lambda a, b: a @ b[0],
            lambda a, b: np.sum(a, axis=0),
            lambda a, b: np.sum(a, axis=1, keepdims=True),
            lambda a, b: np.sum(a[:2], axis=-1),
            lambda a, b: np.mean(a[:2]),
            lambda a, b: tg.linear(a, b.T, b[:, 0]),
        ]
    ),
    matrices,
    matrices,
)
def test_the_numbers_of_a_cell_come_to_its_value(f, a, b):
    tape = tape_of(f, a=a, b=b)
    y = tape[-1].y
    cell = example(y, None)
    text = in_numbers(tape[-1], cell)
    assert text
    if "…" not in text:
        left, right = value_of(text)
        # Four digits of each number are shown.
        scale = 1 + sum(abs(float(x)) for x in re.findall(r"\d+\.?\d*(?:e-?\d+)?", text)) ** 2
        assert abs(left - y[cell]) <= 2e-3 * scale
        assert right == pytest.approx(float(y[cell]), rel=1e-3, abs=1e-12)


def test_the_numbers_are_those_of_the_cell():
    a, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[0.5, -1.0], [2.0, 1.5]])
    tape = tape_of(lambda a, b: np.sum(np.maximum(a @ b, 0) + b[0]), a=a, b=b)
    texts = [in_numbers(entry, (1, 0)[: entry.y.ndim]) for entry in tape]
    assert texts == [
        "",
        "",
        "3·0.5 + 4·2 = 9.5",
        "np.maximum(9.5, 0) = 9.5",
        "",
        "9.5 + 0.5 = 10",
        "5 + 1 + 10 + 2 = 18",
    ]


def test_of_a_long_sum_the_largest_terms_are_written():
    tape = tape_of(lambda a: np.sum(a), a=np.arange(10.0))
    assert in_numbers(tape[1], ()) == "7 + 8 + 9 + … (3 of 10 terms) = 45"


@pytest.mark.parametrize(
    ("f", "texts"),
    [
        (lambda a, b: a * b, {"a": "(-2) * 3 = -6", "b": "(-2) * 0.5 = -1"}),
        (lambda a, b: np.exp(a), {"a": "(-2) * 1.649 = -3.297"}),
        (lambda a, b: a - b, {"a": "-2", "b": "-(-2) = 2"}),
        (lambda a, b: tg.sigmoid(a), {"a": "(-2) * 0.6225 * (1 - 0.6225) = -0.47"}),
        (lambda a, b: a**3, {"a": "(-2) * 3 * 0.5 ** (3 - 1) = -1.5"}),
    ],
)
def test_a_rule_in_numbers(f, texts):
    tape = tape_of(f, a=0.5, b=3.0)
    g = np.array(-2.0)
    back = walked(tape, g)
    found = {s.source.name: rule_in_numbers(tape[-1], s, g) for s in back.sent[tape[-1]]}
    assert found == texts


def test_a_rule_of_matrices_in_numbers():
    a, b = np.array([[1.0, 2.0]]), np.array([[3.0, 1.0], [4.0, -1.0]])
    tape = tape_of(lambda a, b: a @ b, a=a, b=b)
    g = np.array([[10.0, 1.0]])
    da, db = walked(tape, g).sent[tape[-1]]
    assert rule_in_numbers(tape[-1], da, g) == "at [0, 1]: 10·4 + 1·(-1) = 39"
    assert rule_in_numbers(tape[-1], db, g) == "at [1, 0]: 2·10 = 20"


def test_the_sum_that_undoes_a_broadcast_in_numbers():
    a, b = np.ones((3, 2)), np.array([2.0, 3.0])
    tape = tape_of(lambda a, b: a * b, a=a, b=b)
    g = np.arange(6.0).reshape(3, 2)
    _, db = walked(tape, g).sent[tape[-1]]
    assert rule_in_numbers(tape[-1], db, g) == "at [1]: 1 + 3 + 5 = 9"
    c = np.ones((3, 1))
    tape = tape_of(lambda a, c: a - c, a=a, c=c)
    _, dc = walked(tape, g).sent[tape[-1]]
    assert rule_in_numbers(tape[-1], dc, g) == "at [2, 0]: (-4) + (-5) = -9"


def test_a_mean_sends_the_same_to_every_number():
    tape = tape_of(lambda a: np.mean(a), a=np.arange(4.0))
    (sent,) = walked(tape).sent[tape[-1]]
    assert rule_in_numbers(tape[-1], sent, np.ones(())) == "each of the 4 numbers is 0.25"


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        (((3, 2), (2,)), "of shape (2,) was stretched to (3, 2), so every number was read 3 times"),
        (
            ((3, 2), (3, 1)),
            "of shape (3, 1) was stretched to (3, 2), so every number was read twice",
        ),
        (((3, 2), ()), "of shape () was stretched to (3, 2), so every number was read 6 times"),
        (((3, 2), (3, 2)), ""),
    ],
)
def test_a_broadcast_is_named(shapes, text):
    a, b = (np.ones(s) for s in shapes)
    tape = tape_of(lambda a, b: a * b, a=a, b=b)
    assert stretched(tape[-1], 1) == text
    assert stretched(tape[-1], 0) == ""


@given(hnp.arrays(float, hnp.array_shapes(max_side=4)))
def test_the_example_is_the_largest_that_is_finite(y):
    cell = example(y, None)
    finite = np.abs(y[np.isfinite(y)])
    if finite.size:
        assert np.abs(y[cell]) == finite.max() or finite.max() == 0


# The code beside the tape.


def test_an_excerpt_is_the_function_around_the_lines():
    def inner(x):
        # not the first line
        return x * 2.0

    def outer(x):
        return inner(x) + 1.0

    tape = tg.record(outer, 1.0)
    found = excerpts(list(tape))
    lines = [line.strip() for excerpt in found for line in excerpt.lines]
    first = inner.__code__.co_firstlineno
    assert found[0].first == first
    assert lines[:3] == ["def inner(x):", "# not the first line", "return x * 2.0"]
    assert lines[-2:] == ["def outer(x):", "return inner(x) + 1.0"]


def test_of_code_without_a_file_there_is_no_excerpt():
    names = {"tg": tg}
    exec("def f(x):\n    return x * x", names)
    assert excerpts(list(tg.record(names["f"], 2.0))) == []


X, y = tg.data.spiral(10, 3, rng=0)


def compute_loss(W1, b1, W2, b2):
    hidden = np.maximum(0, X @ W1 + b1)
    scores = hidden @ W2 + b2
    exp_scores = np.exp(scores)
    probs = exp_scores / np.sum(exp_scores, axis=1, keepdims=True)
    return -np.mean(np.log(probs[range(len(y)), y])) + 0.0005 * np.sum(W2 * W2)


def lines_of(f, *args):
    """For each entry the lines of the generated program that are lit, forward and back."""
    tape = tg.record(f, *args)
    entries, back = list(tape), walked(tape)
    source = tape.source(backward=True)
    labels = Labels(entries, guesses=False)
    found = matched(source, entries, back.gradients, labels.name)
    text = source.splitlines()
    return [
        {
            labels.label(entry): [text[line].split("  #")[0].strip() for line in lines[entry]]
            for entry in entries
        }
        for lines in (found.forward, found.backward)
    ]


def test_the_lines_of_the_program_that_belong_to_the_steps_of_the_seeds_net():
    rng = np.random.default_rng(0)
    params = rng.normal(size=(2, 5)), np.zeros(5), rng.normal(size=(5, 3)), np.zeros(3)
    forward, backward = lines_of(compute_loss, *params)
    assert forward["hidden"] == ["hidden = np.maximum(0, z1)"]
    assert forward["z1"] == ["z1 = X @ W1 + b1"]
    assert forward["scores"] == ["scores = hidden @ W2 + b2"]
    inputs = ("W1", "b1", "W2", "b2", "X", "y")
    assert not any(forward[name] for name in inputs)
    assert all(lines for name, lines in forward.items() if name not in inputs)
    assert backward["hidden"] == ["dz1 = dhidden * (hidden > 0)"]
    assert backward["z1"] == ["db1 = dz1.sum(axis=0)"]
    assert backward["%6"] == ["dW1 = X.T @ dz1"]
    assert backward["exp_scores"][-1] == "dscores /= 30"
    assert backward["W2"] == ["dW2 = 0.001 * W2 + hidden.T @ dscores"]
    # The step that adds b2 sends dscores on as it came.
    assert backward["scores"] == ["db2 = dscores.sum(axis=0)"]


@given(
    st.sampled_from(PROGRAMS),
    hnp.arrays(float, (3, 2), elements=st.floats(0.5, 3), unique=True),
    hnp.arrays(float, (3, 2), elements=st.floats(0.5, 3), unique=True),
)
def test_the_lines_that_are_lit_are_there_and_go_on_with_the_steps(f, a, b):
    forward, backward = lines_of(f, a, b)
    lit = [line for lines in (forward, backward) for found in lines.values() for line in found]
    # Every line of the program is lit by some step, but for the imports.
    tape = tg.record(f, a, b)
    source = tape.source(backward=True)
    wanted = {source.splitlines()[line].split("  #")[0].strip() for line, *_ in source.statements}
    assert wanted <= set(lit)
