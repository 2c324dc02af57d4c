"""The tape as text, as a table and as a graph: `print(tape)`, `tape.rules()`, `tape.dot()`."""

from __future__ import annotations

import html
import inspect
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_edu as tg
from tinygrad_edu.show.formulas import formula, in_names, raw, value_of
from tinygrad_edu.show.labels import clean, columns, mean, number, shape, value

RNG = np.random.default_rng(0)
MARKUP = '<script>alert("x")</script>&amp;\n"\\'


def tape_of(f, *args, **names):
    """The tape of f of Tensors with names."""
    tensors = [tg.Tensor(x, requires_grad=True, name=n) for n, x in names.items()]
    return tg.Tape.of(f(*tensors, *args))


def operations(tape):
    """The second column of the listing: what is between the number and two spaces."""
    return [re.match(r"%\d+ +(.*?)(  |$)", line).group(1) for line in str(tape).splitlines()[1:]]


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (lambda a, b: a + b, "a + b"),
        (lambda a, b: np.add(a, b), "a + b"),
        (lambda a, b: a - b, "a - b"),
        (lambda a, b: 2 * a, "2 * a"),
        (lambda a, b: a / -2.0, "a / (-2.0)"),
        (lambda a, b: -2.0 - a, "-2.0 - a"),
        (lambda a, b: a**2, "a ** 2"),
        (lambda a, b: -a, "-a"),
        (lambda a, b: a @ b, "a @ b"),
        (lambda a, b: a.T, "a.T"),
        (lambda a, b: a[0], "a[0]"),
        (lambda a, b: a[:, 1:], "a[:, 1:]"),
        (lambda a, b: a[..., None], "a[..., None]"),
        (lambda a, b: a[np.array([True, False])], "a[[ True, False]]"),
        (lambda a, b: a[[1, 0]], "a[[1, 0]]"),
        (lambda a, b: np.sum(a, axis=0), "np.sum(a, axis=0)"),
        (lambda a, b: a.sum(axis=0, keepdims=True), "np.sum(a, axis=0, keepdims=True)"),
        (lambda a, b: np.abs(a), "np.abs(a)"),
        (lambda a, b: np.maximum(0, a), "np.maximum(0, a)"),
        (lambda a, b: tg.relu(a), "tg.relu(a)"),
        (lambda a, b: tg.relu(a, at_zero=0.5), "tg.relu(a, at_zero=0.5)"),
        (lambda a, b: tg.cross_entropy(a, np.array([0, 1])), "tg.cross_entropy(a, [0, 1])"),
        (lambda a, b: np.where([[1, 0]], a, b), "np.where([[1, 0]], a, b)"),
        (lambda a, b: a * np.ones((3, 2, 2)), "a * float64[3, 2, 2]"),
    ],
)
def test_operations_are_written_as_one_writes_them(f, text):
    a, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[0.5, -1.0], [2.0, 1.5]])
    assert operations(tape_of(f, a=a, b=b))[-1] == text


def test_every_row_has_number_name_operation_shape_value_gradient_and_line():
    def loss(W, x):
        h = np.maximum(0, x @ W)
        return np.sum(h * h)

    tape = tg.record(loss, np.array([[1.0, -1.0]]), np.array([[2.0]]))
    heading, *rows = str(tape).splitlines()
    assert heading.split() == ["operation", "shape", "value", "line"]

    def line(n):
        return f"test_listing.py:{loss.__code__.co_firstlineno + n}"

    cells = [re.split(r"  +", row) for row in rows]
    assert cells == [
        ["%0", "W = input", "(1, 2)", "[[1, -1]]"],
        ["%1", "x = input", "(1, 1)", "[[2]]"],
        ["%2", "x @ W", "(1, 2)", "[[2, -2]]", f"{line(1)}: h = np.maximum(0, x @ W)"],
        ["%3", "h = np.maximum(0, %2)", "(1, 2)", "[[2, 0]]", line(1)],
        ["%4", "h * h", "(1, 2)", "[[4, 0]]", f"{line(2)}: return np.sum(h * h)"],
        ["%5", "np.sum(%4)", "()", "4", line(2)],
    ]
    starts = [row.index(cell[1]) for row, cell in zip(rows, cells, strict=True)]
    assert set(starts) == {heading.index("operation")}


def test_the_gradient_is_shown_where_backward_has_left_one():
    x = tg.Tensor([1.0, 2.0, 3.0, 4.0, 5.0], requires_grad=True, name="x")
    y = np.sum(x * x)
    assert "gradient" not in str(tg.Tape.of(y))
    y.backward(retain_graph=True)
    heading, first, *_ = str(tg.Tape.of(y)).splitlines()
    start = heading.index("gradient")
    assert first[start:] == "2 to 10, mean 6"
    assert first[heading.index("value") : start].strip() == "1 to 5, mean 3"


def test_a_tensor_knows_its_line_inside_debug():
    x = tg.Tensor(2.0, requires_grad=True, name="x")
    with tg.debug():
        y = x * x  # this line
    assert "y = x * x # this line" in str(tg.Tape.of(y))


def test_names_that_are_not_words_do_not_stand_in_operations():
    def f(u):
        for _ in range(2):
            u = u * 2.0
        return u

    assert operations(tg.record(f, 1.0)) == ["u = input", "u2 = u * 2.0", "u3 = u2 * 2.0"]
    odd = operations(tape_of(lambda a: a * 3, **{"the input": 1.0}))
    assert odd == ["the input = input", "%0 * 3"]
    path = operations(tg.record(lambda p: p["W"] * 3, {"W": 1.0}))
    assert path == ["p['W'] = input", "p['W'] * 3"]


def test_the_layers_of_a_net_have_the_names_that_people_use():
    net = tg.nn.MLP((2, 5, 3), "tanh", rng=0)
    X, y = np.ones((7, 2)), np.zeros(7, int)
    tape = tg.Tape.of(tg.cross_entropy(net(X), y))
    assert operations(tape)[4:] == [
        "z1 = tg.linear(X, W1, b1)",
        "h1 = np.tanh(z1)",
        "scores = tg.linear(h1, W2, b2)",
        "tg.cross_entropy(scores, y)",
    ]


def test_a_name_that_the_user_gave_is_kept():
    W = tg.Tensor(np.ones((2, 3)), requires_grad=True, name="W1")
    z9 = np.ones((4, 2)) @ W
    z9.name = "z9"
    loss = tg.cross_entropy(z9, np.zeros(4, int))
    assert operations(tg.Tape.of(loss))[1] == "z9 = X @ W1"


@given(hnp.arrays(st.sampled_from([float, np.float32, int, bool]), hnp.array_shapes(min_dims=0)))
def test_a_value_in_one_short_line_is_true(y):
    text = value(y)
    assert "\n" not in text
    assert len(text) < 120
    if y.size <= 4:
        expected = [number(x) for x in y.ravel()]
        assert re.findall(r"[^\[\], ]+", text) == expected
    elif y.dtype == bool:
        assert text == f"{y.sum()} of {y.size} True"
    elif not np.isfinite(y).all():
        assert text == f"{(~np.isfinite(y)).sum()} of {y.size} not finite"
    elif y.min() == y.max():
        assert text == f"all {number(y.flat[0])}"
    else:
        low, high, middle = re.fullmatch(r"(\S+) to (\S+), mean (\S+)", text).groups()
        assert low != high
        for shown, true in ((low, y.min()), (high, y.max()), (middle, mean(y))):
            assert float(shown) == pytest.approx(float(true), rel=1e-3, abs=1e-300)


@given(hnp.arrays(float, 5, elements=st.floats(-1e308, 1e308)))
def test_the_mean_is_finite_and_the_usual_one(y):
    found, size = mean(y), np.abs(y).max()
    assert y.min() - 1e-12 * size <= found <= y.max() + 1e-12 * size
    with np.errstate(over="ignore"):
        usual = y.mean()
    if np.isfinite(usual):
        assert found == pytest.approx(usual, rel=1e-9, abs=1e-12 * size)


@given(st.text(max_size=80), st.integers(1, 60))
def test_clean_leaves_one_printable_line(text, longest):
    cleaned = clean(text, longest)
    assert len(cleaned) <= longest
    assert cleaned.isprintable()
    assert clean(cleaned, longest) == cleaned
    if len(cleaned) < longest:
        assert cleaned == " ".join("".join(c if c.isprintable() else " " for c in text).split())


@given(st.lists(st.tuples(*[st.sampled_from(["", "a", "long text"])] * 3), min_size=2))
def test_columns_stand_below_each_other(rows):
    kept = [i for i in range(3) if any(row[i] for row in rows[1:])]
    lines = columns(rows).split("\n")
    assert len(lines) == len(rows)
    start = 0
    for i in kept:
        width = max(len(row[i]) for row in rows)
        assert [line[start : start + width].rstrip() for line in lines] == [row[i] for row in rows]
        start += width + 2


def test_a_dtype_is_named_if_it_is_not_the_usual_one():
    assert shape(np.zeros((2, 1))) == "(2, 1)"
    assert shape(np.zeros(3, np.float32)) == "(3,) float32"


def rules_of(f, *args, **arrays):
    """The lines with rules, without the listing."""
    lines = tape_of(f, *args, **arrays).rules().splitlines()
    return [line.strip() for line in lines if not re.match(r"%|    operation", line)]


def test_rules_stand_below_their_operation_in_the_names_of_the_tape():
    assert rules_of(lambda y, b: np.sum(np.exp(y) * b), y=np.ones(2), b=3.0) == [
        "dy += d%2 * %2",
        "d%2 += d%3 * b",
        "db += (d%3 * %2).sum()",
        "d%3 += np.broadcast_to(d%4, %3.shape)",
    ]
    tape = tape_of(lambda y, b: np.sum(np.exp(y) * b), y=np.ones(2), b=3.0)
    lines = tape.rules().splitlines()
    assert [line for line in lines if re.match(r"%|    operation", line)] == str(tape).splitlines()


@pytest.mark.parametrize(
    ("f", "rules"),
    [
        (lambda a, b: b * a, ["db += d%2 * a", "da += d%2 * b"]),
        (lambda a, b: a / b, ["da += d%2 / b", "db += -d%2 * %2 / b"]),
        (lambda a, b: a * -2.0, ["da += d%1 * (-2.0)"]),
        (lambda a, b: a @ b.T, ["db += d%2.T", "da += d%3 @ %2.T", "d%2 += a.T @ d%3"]),
        (lambda a, b: a**3, ["da += d%1 * 3 * a ** (3 - 1)"]),
        (lambda a, b: tg.relu(a), ["da += d%1 * (a > 0)"]),
        (lambda a, b: np.mean(a, axis=0), ["da += np.broadcast_to(d%1 / len(a), a.shape)"]),
        (lambda a, b: a[0], ["da += d%1 at the places that were read, and 0 elsewhere"]),
        (lambda a, b: a + b[0], ["db += d%2 at the places that were read, and 0 elsewhere",
                                 "da += d%3", "d%2 += d%3.sum(axis=0)"]),
        (lambda a, b: a * b[:, :1], ["db += d%2 at the places that were read, and 0 elsewhere",
                                     "da += d%3 * %2",
                                     "d%2 += (d%3 * a).sum(axis=1, keepdims=True)"]),
        (lambda a, b: np.einsum("ij,ij->i", a, b),
         ["da += the einsum of d%2 and the other operands that leaves the indices of a",
          "db += the einsum of d%2 and the other operands that leaves the indices of b"]),
    ],
)  # fmt: skip
def test_a_rule_in_the_names_of_the_tape(f, rules):
    a, b = RNG.normal(size=(3, 2)), RNG.normal(size=(3, 2))
    assert rules_of(f, a=a, b=b) == rules


@given(st.sampled_from(list("abcdefghij")), st.integers(0, 99))
def test_a_formula_gives_what_the_rule_gives(name, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(3, 4)), rng.normal(size=(4, 3))
    functions = {
        "a": lambda a, b: a @ b,
        "b": lambda a, b: a @ b[:, 0],
        "c": lambda a, b: np.sum(a * b.T, axis=1),
        "d": lambda a, b: np.mean(a, axis=1, keepdims=True) * b.T,
        "e": lambda a, b: tg.cross_entropy(a, np.array([0, 1, 3])),
        "f": lambda a, b: np.max(a) * np.prod(b[0]),
        "g": lambda a, b: np.std(a) + np.var(b),
        "h": lambda a, b: tg.logsumexp(a) + tg.logsumexp(b, axis=0)[0],
        "i": lambda a, b: tg.linear(a, b, b[0]),
        "j": lambda a, b: np.cumsum(a[0]) @ np.abs(b) ** 1.5,
    }
    found = 0
    for entry in tape_of(functions[name], a=a, b=b):
        for position, source in enumerate(entry.inputs):
            if source is None or entry.primitive.rule(position) is None:
                continue
            text = formula(entry, position)
            if text is None:
                continue
            found += 1
            g = rng.normal(size=entry.y.shape)
            names = {"g": g, "y": entry.y, "x": entry.values[position]}
            rule = entry.primitive.rule(position)
            parameters = list(inspect.signature(rule).parameters)[2:]
            names |= dict(zip(parameters, entry.values, strict=False)) | entry.keywords
            value = value_of(text, names)
            if value is not None:
                np.testing.assert_allclose(value, raw(entry, position, g), rtol=1e-9, atol=1e-12)
    assert found


def test_a_name_that_means_two_things_is_not_replaced():
    names = {"tg": tg}
    exec("f = tg.primitive(lambda x: 3 * x)", names)
    names["f"].derivative(lambda g, y, x: (lambda x: g * x)(3), core_axes=0)
    assert rules_of(names["f"], x=5.0) == ["dx +=", "(lambda x: g * x)(3)"] or rules_of(
        names["f"], x=5.0
    ) == ["dx += (lambda x: g * x)(3)"]


def test_in_names_puts_parentheses_around_signs():
    assert in_names("g - b", {"g": "dy", "b": "-2"}) == "dy - (-2)"


def test_a_long_rule_is_written_out_once_and_a_rule_of_constants_not_at_all():
    tape = tape_of(lambda a: np.median(a) + np.median(a * 2), a=np.arange(5.0))
    rules = tape.rules()
    assert rules.count("def ") == 1
    assert "the same rule as da at %1" in rules


def test_a_rule_without_source_says_so():
    names = {"tg": tg}
    exec("double = tg.primitive(lambda x: 2 * x)", names)
    exec("double.derivative(lambda g, y, x: 2 * g)", names)
    tape = tape_of(names["double"], x=1.0)
    assert "dx += a rule whose source is not in a file" in tape.rules()


class Reader(HTMLParser):
    """Collects tags and texts."""

    def __init__(self):
        super().__init__()
        self.tags, self.rows, self.cell = [], [], False

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        self.cell = tag in ("td", "th")
        if self.cell:
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.cell:
            self.rows[-1][-1] += data


def test_a_notebook_shows_the_listing_as_a_table():
    tape = tape_of(lambda x: np.sum(x * x), x=np.arange(3.0))
    reader = Reader()
    reader.feed(tape._repr_html_())
    assert reader.rows == [
        ["", "operation", "shape", "value"],
        ["%0", "x = input", "(3,)", "[0, 1, 2]"],
        ["%1", "x * x", "(3,)", "[0, 1, 4]"],
        ["%2", "np.sum(%1)", "()", "5"],
    ]


def test_no_text_of_the_user_is_markup():
    tape = tape_of(lambda x: x * 2, **{MARKUP: 1.0})
    reader = Reader()
    reader.feed(tape._repr_html_())
    assert set(reader.tags) == {"table", "thead", "tbody", "tr", "th", "td"}
    assert reader.rows[1][1] == f"{clean(MARKUP)} = input"
    assert html.escape(clean(MARKUP)) in tape._repr_html_()


def labels_of(dot):
    """The labels of a graph, with what Graphviz makes of them."""
    found = re.findall(r'^  n\d+ \[label="((?:[^"\\]|\\.)*)"', dot, flags=re.MULTILINE)
    texts = [re.sub(r"\\(.)", lambda m: "\n" if m[1] == "l" else m[1], label) for label in found]
    return [text.rstrip("\n").split("\n") for text in texts]


def test_dot_has_every_entry_and_every_read():
    a = tg.Tensor(2.0, requires_grad=True, name="a")
    b = a * a
    tape = tg.Tape.of(b + np.sin(b))
    dot = tape.dot()
    assert labels_of(dot) == [
        ["%0  a = input", "()", "2"],
        ["%1  a * a", "()", "4"],
        ["%2  np.sin(%1)", "()", "-0.7568"],
        ["%3  %1 + %2", "()", "3.243"],
    ]
    edges = re.findall(r"^  n(\d+) -> n(\d+)", dot, flags=re.MULTILINE)
    place = {entry: i for i, entry in enumerate(tape)}
    reads = [(place[s], i) for i, e in enumerate(tape) for s in e.inputs if s is not None]
    assert [(int(i), int(j)) for i, j in edges] == reads
    assert dot.count("peripheries=2") == 1
    assert dot.count("rounded") == 1


def test_dot_dashes_the_ways_that_no_gradient_goes():
    dot = tg.record(lambda x: np.sum(x[x > 0]), np.array([1.0, -1.0])).dot()
    assert re.findall(r"(n\d+ -> n\d+) \[style=dashed\]", dot) == ["n0 -> n1", "n1 -> n2"]


def test_a_tape_that_backward_has_freed_says_so():
    x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    y = np.sum(x * x)
    tape = tg.Tape.of(y)
    y.backward()
    assert operations(tape)[1:] == [
        "np.multiply, freed by backward()",
        "np.sum, freed by backward()",
    ]
    assert "[2, 4]" in tape.rules()
    assert "freed" in tape.dot()
    assert "freed" in tape._repr_html_()
    with pytest.raises(RuntimeError, match="freed by an earlier backward"):
        tape.page()


def test_a_tape_whose_input_was_changed_makes_no_page():
    x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    tape = tg.Tape.of(np.sum(x * x))
    x.data[0] = 7
    with pytest.raises(RuntimeError, match="x was changed after"):
        tape.page()


def test_the_parts_of_an_index_stand_where_they_are_read():
    tape = tg.record(lambda p, t: np.sum(p[np.arange(2), t]), np.ones((2, 3)), np.array([0, 2]))
    assert operations(tape)[2:] == ["p[[0, 1], t]", "np.sum(%3)"]
    assert "n0 -> n3" in tape.dot()
    assert "n1 -> n3" in tape.dot()
    assert "n2" not in tape.dot()


def test_an_assignment_is_written_as_one_reads_it():
    def f(u, v):
        u = u.copy()
        u[1:-1] = v
        return u

    assert operations(tg.record(f, np.ones(4), 2.0))[-1] == "u3 = u2 with [1:-1] = v"


@given(st.text(min_size=1, max_size=30))
def test_dot_quotes_any_name(name):
    dot = tape_of(lambda x: x * 2, **{name: 1.0}).dot()
    first = labels_of(dot)[0][0]
    assert first == f"%0  {clean(name)} = input" or (not clean(name) and first == "%0  input")
    assert len(labels_of(dot)) == 2
    assert dot.count("\n") == 6


def test_a_tape_of_thousands_of_entries_is_printed():
    x = tg.Tensor(1.0, requires_grad=True, name="x")
    y = x
    for _ in range(3000):
        y = np.sin(y) + x
    assert len(str(tg.Tape.of(y)).splitlines()) == 6002
