"""The rule book as text, and the table of the README that is made of it."""

from __future__ import annotations

import inspect
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
    assert "| indexing | `tg.getitem`" in capsys.readouterr().out
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
