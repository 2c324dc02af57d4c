"""The rule book as text, and the table of the README that is made of it."""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import book
from tinygrad_edu.__main__ import main
from tinygrad_edu.rules import COMPOSITIONS, CONSTANTS, PRIMITIVES, Primitive

README = (Path(__file__).parent.parent / "README.md").read_text()
RULES = {
    (book.name(entry), i): rule
    for entries in book.chapters().values()
    for entry in entries
    if isinstance(entry, Primitive)
    for i, rule in enumerate((*entry.rules, entry.every))
    if rule is not None and hasattr(rule, "__code__")
}


def reads(code):
    """The names and the constants of a piece of code, in order."""
    inner = [c for c in code.co_consts if hasattr(c, "co_names")]
    numbers = [c for c in code.co_consts if isinstance(c, (int, float, tuple))]
    return code.co_names, numbers, [reads(c) for c in inner]


@pytest.mark.parametrize("rule", RULES.values(), ids=map(str, RULES))
def test_the_source_of_a_rule_is_its_own(rule):
    source = book.rule_source(rule)
    code = rule.__code__
    if rule.__name__ == "<lambda>":
        parameters = str(inspect.signature(rule))[1:-1]
        found = eval(f"lambda {parameters}: (\n{source}\n)", rule.__globals__).__code__
    else:
        # An annotation may name what is not imported at run time; it is no part of the code.
        namespace = dict(rule.__globals__)
        exec(f"from __future__ import annotations\n{source}", namespace)
        found = namespace[rule.__name__].__code__
    if rule.__closure__ is None:
        assert reads(found) == reads(code)


def test_every_function_of_the_book_is_in_the_listing_with_every_rule():
    listing = book.text()
    for entry in (*PRIMITIVES.values(), tg.relu, tg.softmax, tg.cross_entropy):
        assert f"  {entry.name}(" in listing
        for parameter in [p for p, r in zip(entry.parameters, entry.rules, strict=False) if r]:
            rest = listing[listing.index(f"  {entry.name}(") :]
            assert f"\n    {parameter}:" in rest
    for function in COMPOSITIONS:
        assert f"  {book.name(function)}, in terms of others:" in listing
    for function in CONSTANTS:
        assert book.name(function) in listing.partition("constant: the derivative is 0")[2]


def test_a_rule_with_given_arguments_says_so():
    source = book.rule_source(PRIMITIVES[np.nanmax].rules[0])
    assert source.startswith("# with extreme=np.max, skip_nan=True\ndef _extreme_dx(")


@pytest.fixture
def written(tmp_path):
    """Runs the source of a file that has it; what it is called with is edited in afterwards."""
    path = tmp_path / "rules_of_mine.py"

    def run(source, edited=None):
        path.write_text(source)
        names = {"__name__": "mine", "np": np, "tg": tg, "functools": functools}
        exec(compile(source, str(path), "exec", dont_inherit=True), names)
        if edited is not None:
            path.write_text(edited)
        return names

    return run


DOUBLED = """
def doubled(rule):
    @functools.wraps(rule)
    def twice(*args):
        return 2 * rule(*args)

    return twice


@doubled
def r(g, y, x):
    return g * x


some = functools.partial(r, 3.0)
"""


def test_of_a_decorated_rule_the_code_that_runs_is_shown(written):
    names = written(DOUBLED)
    twice = "def twice(*args):\n    return 2 * rule(*args)"
    assert book.rule_source(names["r"]) == f"# with rule=mine.r\n{twice}"
    assert book.rule_source(names["some"]) == f"# with *args=(3.0,), rule=mine.r\n{twice}"


@pytest.mark.parametrize(
    ("source", "edited"),
    [
        ("r = lambda g, y, x: 2 * g\n", "r = lambda g, y, x: 3 * g\n"),
        ("r = lambda g, y, x: g * x\n", "r = lambda g, y, x: g / x\n"),
        ("r = lambda g, y, x: g * x\n", "r = lambda x, y, g: g * x\n"),
        ("r = lambda g, y, x: np.exp(x)\n", "r = lambda g, y, x: np.log(x)\n"),
        ("r = lambda g, y, x: 2 * g\n", "s = 1\nr = lambda g, y, x: 2 * g\n"),
        ("r = lambda g, y, x: 2 * g\n", "r = (\n"),
        ("r = lambda g, y, x: 2 * g\n", ""),
        ("def r(g, y, x):\n    return 2 * g\n", "def r(g, y, x):\n    return 3 * g\n"),
        ("def r(g, y, x):\n    return 2 * g\n", "def s(g, y, x):\n    return 2 * g\n"),
    ],
)
def test_what_was_edited_since_is_not_shown(source, edited, written):
    assert book.rule_source(written(source, source)["r"]).endswith(source[-7:].strip())
    book._source.cache_clear()
    rule = written(source, edited)["r"]
    for _ in range(2):
        with pytest.raises(OSError, match=r"line 1 of .*rules_of_mine\.py .*edited"):
            book.rule_source(rule)


def test_an_edit_elsewhere_or_of_comments_does_no_harm(written):
    source = "r = lambda g, y, x: 2 * g\n"
    assert book.rule_source(written(source, f"{source[:-1]}  # slope 2\ns = 1\n")["r"]) == "2 * g"


def test_a_rule_without_a_file_is_refused():
    names = {}
    exec("r = lambda g, y, x: 2 * g\ndef s(g, y, x): return g", names)
    for rule in (names["r"], names["s"]):
        with pytest.raises(OSError, match=r"line . of <string> .*never was a file"):
            book.rule_source(rule)


def test_the_listing_says_what_it_cannot_show(monkeypatch):
    names = {"tg": tg}
    exec("double = tg.primitive(lambda x: 2 * x)", names)
    exec("double.derivative(lambda g, y, x: 2 * g)", names)
    monkeypatch.setattr(book, "chapters", lambda: {"mine": [names["double"]]})
    assert "x:  a rule whose source is not in a file" in book.text()


FACTORY = """
def rules():
    return [lambda g, y, a, b: g * (b if k == 0 else a) for k in range(2)]


def rule(k):
    return lambda g, y, a, b: g * (b if k == 0 else a)
"""


def test_a_lambda_says_what_it_has_captured(written):
    names = written(FACTORY)
    for k in range(2):
        shown = f"# with k={k}\ng * (b if k == 0 else a)"
        assert book.rule_source(names["rule"](k)) == shown
    assert book.rule_source(names["rules"]()[1]) == "# with k=1\ng * (b if k == 0 else a)"


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ('def r(g, y, x): "doc"; return 2 * g', "def r(g, y, x): return 2 * g"),
        ('def r(g, y, x): """of\ntwo"""; return 2 * g', "def r(g, y, x): return 2 * g"),
        ('def r(g, y, x): "π"; "λ"; return 2 * g', 'def r(g, y, x): "λ"; return 2 * g'),
        ('def r(g, y, x): "nothing else"', 'def r(g, y, x): "nothing else"'),
        ("def r(g, y, x): return 2 * g  # why", "def r(g, y, x): return 2 * g  # why"),
        (
            'def r(g, y, x):\n    """A\n    b."""\n\n    # why\n    return g',
            "def r(g, y, x):\n\n    # why\n    return g",
        ),
        (
            'def r(g, y, x):\n    """A."""; h = 2\n    return h * g',
            "def r(g, y, x):\n    h = 2\n    return h * g",
        ),
        (
            'if True:\n    def r(g, y, x):\n        "A"\n        return g',
            "def r(g, y, x):\n    return g",
        ),
    ],
)
def test_a_function_is_shown_without_its_docstring(source, shown, written):
    names = written(source + "\n")
    found = book.rule_source(names["r"])
    assert found == shown
    again = {}
    exec(found, again)
    assert again["r"](3, None, None) == names["r"](3, None, None)


CALLABLES = """
class Scaled:
    def __init__(self, k):
        self.k = k

    def __call__(self, g, y, x):
        return self.k * g

    def method(self, g, y, x):
        return g / self.k


class Named(Scaled):
    def __repr__(self):
        return f"Named({self.k},\\n      {'long ' * 30})"


def rule(f):
    return lambda g, y, x: g * f(x)


def scaled(k, g, y, x):
    return k * g


given = functools.partial(functools.partial(scaled, 3.0), x=1)
renamed = lambda g, y, x: 2 * g
renamed.__name__ = renamed.__qualname__ = "double"
"""


def test_rules_that_are_or_capture_any_callable(written):
    names = written(CALLABLES)
    call = "def __call__(self, g, y, x):\n    return self.k * g"
    assert book.rule_source(names["Scaled"](2)) == f"# with self=<mine.Scaled object>\n{call}"
    long = "Named(2, long long long long long long long long long lo ..."
    assert book.rule_source(names["Named"](2)) == f"# with self={long}\n{call}"
    method = "def method(self, g, y, x):\n    return g / self.k"
    assert book.rule_source(names["Named"](2).method) == f"# with self={long}\n{method}"
    scaled = "def scaled(k, g, y, x):\n    return k * g"
    assert book.rule_source(names["given"]) == f"# with k=3.0, x=1\n{scaled}"
    assert book.rule_source(names["renamed"]) == "2 * g"
    assert book.rule_source(np.multiply) == "np.multiply"
    assert book.rule_source(functools.partial(np.multiply, 2)) == "partial(np.multiply, 2)"
    assert book.rule_source(tg.relu) == "tg.relu"
    for captured, shown in (
        (np.tanh, "np.tanh"),
        (tg.relu, "tg.relu"),
        (names["scaled"], "mine.scaled"),
        (names["given"], "partial(mine.scaled, 3.0, x=1)"),
        (names["Scaled"](2), "<mine.Scaled object>"),
        (names["Scaled"], "mine.Scaled"),
        (np.zeros((2, 3)), "<ndarray of shape (2, 3)>"),
        (tg.Tensor(np.zeros((2, 3))), "<Tensor of shape (2, 3)>"),
        (np.float64(0.5), "np.float64(0.5)"),
    ):
        assert book.rule_source(names["rule"](captured)) == f"# with f={shown}\ng * f(x)"
    net = tg.nn.MLP([2, 3, 1], rng=np.random.default_rng(0))
    heading, *lines = book.rule_source(net).splitlines()
    assert heading.startswith("# with self=MLP 2-3-1 ")
    assert lines[0].startswith("def __call__(self")
    assert book.rule_source(names["rule"](net)) == f"{heading.replace('self', 'f')}\ng * f(x)"


LAMBDAS = """
a, b = lambda g, y, x: g * x, lambda g, y, x: g / x
c = [lambda g, y, x: g * x, lambda g, y, x: g * x if x > 0 else g / x, lambda g, y, x: 2.0]
d = dict(left=lambda g, y, x: g * x, right=lambda g, y, x: x)
e = lambda g, y, x: (
    g * x
    + np.cos(x)
)
f = (lambda
     g, y, x: g
     * x)
h = lambda g, y, x: (lambda z: g * z)(x)
i = (lambda g: lambda g, y, x: x)(1); j = lambda g, y, x: "π" * x; k = lambda g, y, x: g * np.sin(x)
l = (lambda h: (lambda g, y, x: False and (lambda: 1)() or h + x))(1)
m = lambda g, y, x: (lambda: g)
"""


@pytest.mark.parametrize(
    ("chosen", "shown"),
    [
        *(("a", "g * x"), ("b", "g / x")),
        *(("c[0]", "g * x"), ("c[1]", "g * x if x > 0 else g / x"), ("c[2]", "2.0")),
        *(("d['left']", "g * x"), ("d['right']", "x")),
        *(("e", "g * x\n+ np.cos(x)"), ("f", "g\n* x")),
        *(("h", "(lambda z: g * z)(x)"), ("i", "x")),
        *(("j", '"π" * x'), ("k", "g * np.sin(x)")),
        ("l", "# with h=1\nFalse and (lambda: 1)() or h + x"),
        *(("m", "lambda: g"), ("m(5, 0, 0)", "# with g=5\ng")),
    ],
)
def test_every_lambda_is_found_among_others(chosen, shown, written):
    assert book.rule_source(eval(chosen, written(LAMBDAS))) == shown


@pytest.mark.parametrize("by_statement", [True, False])
def test_rules_of_a_notebook_s_cell(by_statement):
    cell = (
        "import numpy as np\n"
        "r = lambda g, y, x: g * np.cos(x)\n"
        "def s(g, y, x): return g * np.cos(x)\n"
    )
    linecache.cache["<cell 1>"] = (len(cell), None, cell.splitlines(keepends=True), "<cell 1>")
    statements = ast.parse(cell).body
    names = {}
    for part in [[s] for s in statements] if by_statement else [statements]:
        exec(compile(ast.Module(part, []), "<cell 1>", "exec", dont_inherit=True), names)
    assert book.rule_source(names["r"]) == "g * np.cos(x)"
    assert book.rule_source(names["s"]) == "def s(g, y, x): return g * np.cos(x)"
    del linecache.cache["<cell 1>"]


def test_a_lambda_that_cannot_be_told_from_its_neighbour_is_refused(tmp_path):
    # Without columns in the code, both begin on the same line, and that is all there is.
    (tmp_path / "mine.py").write_text(
        "from tinygrad_edu.book import rule_source\n"
        "alone = lambda g: 2 * g\n"
        "both = lambda g: 3 * g, lambda g: g * 4\n"
        "print(rule_source(alone))\n"
        "for rule in both:\n"
        "    try:\n"
        "        print(rule_source(rule))\n"
        "    except OSError:\n"
        "        print('refused')\n"
    )
    command = [sys.executable, "-X", "no_debug_ranges", "mine.py"]
    environment = {**os.environ, "PYTHONPATH": str(Path(tg.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (done.stdout, done.stderr) == ("2 * g\nrefused\nrefused\n", "")


def test_the_listing_can_be_narrowed():
    assert "g * b" in book.text("np.multiply")
    assert book.text("nonsense") == ""


def test_the_command_prints_the_book(capsys):
    assert main(["rules"]) == 0
    assert capsys.readouterr().out.strip() == book.text().strip()
    assert main(["rules", "np.divide"]) == 0
    out = capsys.readouterr().out
    assert "a:  g / b" in out
    assert "np.multiply" not in out
    assert main(["rules", "--table"]) == 0
    assert "| indexing | `tg.embedding`" in capsys.readouterr().out
    assert main(["rules", "np.nonsense"]) == 1
    assert "np.nonsense" in capsys.readouterr().err


def test_the_command_may_be_cut_short():
    command = f"{sys.executable} -m tinygrad_edu rules | head -1"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, cwd=Path(__file__).parent.parent
    )
    assert done.stderr == ""
    assert done.stdout.strip()


def test_the_table_of_the_readme_is_the_books():
    printed = set(re.findall(r"^\| (\w+) \| (`.*`) \|$", README, re.MULTILINE))
    ours = set(re.findall(r"^\| (\w+) \| (`.*`) \|$", book.table(), re.MULTILINE))
    if np.lib.NumpyVersion(np.__version__) >= "2.4.0":
        assert ours <= printed
    else:  # NumPy had fewer functions then
        names = {name for _, row in printed for name in row.split()}
        assert {name for _, row in ours for name in row.split()} <= names
