"""The checker with itself broken: each of these changes to its source must be noticed.

A mutant is a copy of the package `gradcheck` with one change. Which changes are left out: those
that only cost evaluations, such as `_holds_below` that says no, since then smaller steps are taken.
"""

from __future__ import annotations

import ast
import importlib
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import gradcheck

FOLDER = Path(gradcheck.__file__).parent


def text(old, new):
    """A change of a piece of the source that occurs once."""

    def mutate(source):
        assert source.count(old) == 1, f"{old!r} occurs {source.count(old)} times"
        return source.replace(old, new)

    return mutate


def constant(name, value):
    """A change of the value of a constant."""

    def mutate(source):
        mutated, n = re.subn(rf"^{name} = .*$", f"{name} = {value}", source, flags=re.MULTILINE)
        assert n == 1, f"{name} is set {n} times"
        return mutated

    return mutate


def body(name, statement):
    """A function or a property that does nothing but one statement."""

    def mutate(source):
        tree = ast.parse(source)
        found = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == name]
        assert len(found) == 1, f"{name} is defined {len(found)} times"
        found[0].body = ast.parse(statement).body
        return ast.unparse(tree)

    return mutate


WRONG_LINE = "if abs(given - slope.value) > tolerance:"
VALID_LINE = "valid = low - slack <= given <= high + slack"

MUTANTS = {
    "slope.py": [
        constant("SAFETY", 1e9),
        constant("SAFETY", 0.0),
        constant("FINE", 1.0),
        constant("SAME_KINK", -1.0),
        body("is_kink", "return False"),
        body("is_kink", "return True"),
        body("_holds_below", "return True"),
        body("_from_afar", "return best"),
        text("error = max(abs(value - fine), abs(value - coarse)) + rounding", "error = rounding"),
        text("abs(value - coarse)) + rounding", "abs(value - coarse))"),
        text("central.append((above - below) / (2 * h))", "central.append((above - below) / h)"),
        text("left.append(-below / h)", "left.append(below / h)"),
        text("value = fine + (fine - coarse) / (c - 1)", "value = fine"),
        text("if column >= 1 and error < best.error:", "if column >= 1 and error > best.error:"),
        text("smooth = tiny or", "smooth = True or"),
        text("smooth = tiny or", "smooth = False and"),
        text("best = None  # it only looked smooth from afar", "pass"),
    ],
    "compare.py": [
        constant("RESOLUTION, COARSEST", "1.0, 1e-2"),
        constant("RESOLUTION, COARSEST", "1e-6, 1e9"),
        constant("SMALL", 1e9),
        text(WRONG_LINE, "if abs(given - slope.value) < tolerance:"),
        text(WRONG_LINE, "if given - slope.value > tolerance:"),
        text(WRONG_LINE, "if slope.value - given > tolerance:"),
        text(WRONG_LINE, "if abs(given - slope.value) > 1e6 * tolerance:"),
        text(WRONG_LINE, "if abs(given - slope.value) > 0:"),
        text(WRONG_LINE, "if False:"),
        text("if slope.is_kink:\n            low, high", "if False:\n            low, high"),
        text(VALID_LINE, "valid = True"),
        text(VALID_LINE, "valid = low - slack <= given"),
        text(VALID_LINE, "valid = given <= high + slack"),
        text("self.valid[k] = finding.valid", "pass"),
        text("self.verdicts[k] = finding.verdict", "self.verdicts[k] = Verdict.OK"),
        text("if not math.isfinite(given):", "if False:"),
        text("if slope.reason:\n            verdict", "if False:\n            verdict"),
        text("if nothing or resolved <= (", "if True or ("),
        text("if nothing or resolved <= (", "if nothing and ("),
        text("own = min(8 * own, ", "own = max(8 * own, "),
        text("tolerance = SAFETY * slope.error + own", "tolerance = own"),
        body("_noise", "return np.zeros_like(self.y)"),
        body("_scales", "return np.ones_like(self.subject.x), np.ones_like(self.subject.x)"),
        body(
            "_unresolved",
            "return Finding(entries, v, given, slope, tolerance, Verdict.OK)",
        ),
        text("if abs(value - given) <= 1e-9 * abs(value) + own:", "if True:"),
        constant("DIRECTIONS, NAMED, SAMPLED", "0, 10, 16"),
        body("is_fine", "return True"),
        body("_halve", "return None"),
        body("_explained", "return True"),
        body("_note_rest", "return None"),
        body("_mixture", "return self.typical[entries]"),
        text("self.verdicts[bad] = Verdict.WRONG", "pass"),
    ],
    "subject.py": [
        text(
            "if y.size == 1:\n            self.weights = np.ones(1)",
            "self.weights = np.ones(y.size)",
        ),
    ],
    "report.py": [
        body("verdict", "return Verdict.OK"),
        body("is_bad", "return np.zeros(self.shape, bool)"),
        text("if self.blame or ", "if "),
        text("any(i.mistake or ", "any("),
        text("if self.problems or not checked", "if not checked"),
        text("| outside", ""),
    ],
}


def load(folder, name, file=None, mutate=None):
    """A copy of the package under another name, with one of its files changed."""
    (folder / name).mkdir()
    for path in FOLDER.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        if path.name == file:
            changed = mutate(source)
            assert changed != source
            source = changed
        source = source.replace(gradcheck.__name__, name)
        (folder / name / path.name).write_text(source, encoding="utf-8")
    return importlib.import_module(name)


# What the checker has to get right.

x3 = np.array([0.3, -1.2, 0.8])
LARGE = np.linspace(-2, 2, 120)


def tanhs(x):
    return np.sum(np.tanh(x))


def d_tanhs(x):
    return 1 - np.tanh(x) ** 2


def with_factor(at, factor):
    def gradient(x):
        right = d_tanhs(x)
        right[at] *= factor
        return right

    return gradient


def relu(x):
    return np.sum(np.maximum(0, x))


def sines(x):
    return sum(math.sin(v) for v in x)


def verdicts(report):
    return [str(v) for i in report.inputs for v in i.verdicts.ravel()]


def is_right(check, f, x, gradient, **options):
    report = check(f, x, gradient=gradient, **options)
    return bool(report) and set(verdicts(report)) <= {"OK", "KINK"} and not report.wrong


def names(check, f, x, gradient, *at, **options):
    """Whether just these entries are called wrong."""
    report = check(f, x, gradient=gradient, **options)
    named = {entry.index for entry in report.wrong}
    return report.verdict == "WRONG" and named == {(k,) for k in at}


def right(check):
    return is_right(check, tanhs, x3, d_tanhs)


def right_in_code_for_real_numbers(check):
    return is_right(check, sines, x3, np.cos)


def wrong(check):
    return all(names(check, tanhs, x3, with_factor(1, 1 + e), 1) for e in (1, -2, 1e-5, -1e-7))


def small_beside_others(check):
    size = np.array([1e6, 1.0, 1.0])

    def given(error):
        return check(lambda x: x @ size, x3, gradient=lambda x: size + np.array([0, error, 0]))

    return bool(given(0)) and not given(0.1)


def kink(check):
    x = np.array([0.0, 1.0])

    def given(k):
        return check(relu, x, gradient=lambda x: np.where(x == 0, k, x > 0))

    between = [given(k) for k in (0, 0.5, 1)]
    outside = [given(k) for k in (-0.01, 1.01)]
    return (
        all(between)
        and all(report.verdict == "WRONG" for report in outside)
        and all(verdicts(report) == ["KINK", "OK"] for report in between + outside)
    )


def beside_a_kink(check):
    for x in (1e-7, -1e-7):
        at = np.array([x, 1.0])
        if not is_right(check, relu, at, lambda x: 1.0 * (x > 0)):
            return False
        if not names(check, relu, at, lambda x: np.where(x > 0.1, 1.0, x <= 0), 0):
            return False
    return True


def faint_kink(check):
    # From afar there is nothing but the curve.
    def f(x):
        return np.sum(np.exp(30 * x) + 1e-4 * np.abs(x))

    report = check(f, np.zeros(1), gradient=lambda x: 30 * np.exp(30 * x) + 1e-4 * np.sign(x))
    return bool(report) and verdicts(report) == ["KINK"]


def kink_of_a_narrow_tent(check):
    # From afar a straight line.
    def f(x):
        return np.sum(x + np.maximum(0, 1e-3 - np.abs(x - 1e-3)))

    report = check(f, np.zeros(1), gradient=lambda x: np.where(np.abs(x) < 1e-3, 1.5, 1.0))
    return bool(report) and verdicts(report) == ["KINK"]


def one_slope_where_the_second_derivative_jumps(check):
    def f(x):
        return np.sum(x * np.abs(x))

    x = np.array([0.0, 1.0])
    return is_right(check, f, x, lambda x: 2 * np.abs(x)) and names(
        check, f, x, lambda x: 2 * np.abs(x) + [1e-3, 0], 0
    )


def jump(check):
    report = check(lambda x: np.sum(np.floor(x)), np.array([2.0]), gradient=np.zeros_like)
    return report.verdict == "INCONCLUSIVE" and verdicts(report) == ["INCONCLUSIVE"]


def no_slope(check):
    report = check(lambda x: np.sum(np.sqrt(np.abs(x))), np.zeros(1), gradient=np.zeros_like)
    return report.verdict == "INCONCLUSIVE"


def no_number(check):
    return names(check, tanhs, x3, with_factor(1, np.nan), 1) and names(
        check, tanhs, LARGE, with_factor(7, np.nan), 7, max_evaluations=300
    )


def large_offset(check):
    def of(error, **options):
        return check(
            lambda x: 1e8 + sines(x), x3, gradient=lambda x: (1 + error) * np.cos(x), **options
        )

    right = [of(0, rng=rng) for rng in range(5)]
    return "WRONG" not in [v for report in right for v in verdicts(report)] and names(
        check, lambda x: 1e8 + sines(x), x3, lambda x: 1.01 * np.cos(x), 0, 1, 2
    )


def large_offset_of_a_line(check):
    # At small steps the slope is known to a hundredth only, at large ones better.
    def f(x):
        return 1e12 + math.fsum(x)

    return names(check, f, x3, lambda x: np.array([1, 1.005, 1]), 1)


def drowned_in_noise(check):
    # Rounding errors as large as the slope: what is a tenth too large must not be called right.
    def given(sines_of):
        return check(lambda x: 1e12 + sines_of(x), x3, gradient=lambda x: 1.1 * np.cos(x))

    return not given(sines) and not given(lambda x: np.sum(np.sin(x)))


def few_digits(check):
    # The second term is noise at every step, in which an error of a fiftieth is not seen.
    def f(x):
        return np.sum(np.sin(x) + 1e-5 * np.sin(1e13 * x))

    x = np.array([0.8])
    return not any(check(f, x, gradient=lambda x: 1.02 * np.cos(x), rng=rng) for rng in range(5))


def float32_inside(check):
    def f(x):
        return float(np.sum(np.sin(x.astype(np.float32))))

    return "WRONG" not in verdicts(check(f, x3, gradient=np.cos))


def wave_in_step_with_the_steps(check):
    k = np.pi * 2**12
    report = check(lambda x: np.sin(k * x + 0.3), 1.0, gradient=lambda x: k * np.cos(k * x + 0.3))
    return report.verdict != "WRONG"


def badly_scaled(check):
    s = np.array([1e-8, 1.0, 1e8])

    def gradient(x):
        return d_tanhs(x / s) / s

    return is_right(check, lambda x: tanhs(x / s), s, gradient) and names(
        check, lambda x: tanhs(x / s), s, lambda x: gradient(x) * [1, 1, 1.001], 2
    )


def large(check):
    budget = {"max_evaluations": 600}
    if not is_right(check, tanhs, LARGE, d_tanhs, **budget):
        return False
    report = check(tanhs, LARGE, gradient=with_factor(57, 1 + 1e-4), **budget)
    return [entry.index for entry in report.wrong] == [(57,)] and verdicts(report).count(
        "OK"
    ) == 119


def large_with_errors_that_cancel(check):
    def gradient(x):
        right = d_tanhs(x)
        right[[5, 90]] += [0.1, -0.1]
        return right

    return names(check, tanhs, LARGE, gradient, 5, 90, max_evaluations=1000)


def large_and_wrong_everywhere(check):
    report = check(tanhs, LARGE, gradient=lambda x: d_tanhs(x) * (1 + x), max_evaluations=600)
    return report.verdict == "WRONG" and "OK" not in verdicts(report)


def sum_of_a_softmax(check):
    # Zero is the gradient of the sum, and of no other combination of the outputs.
    def zero(x):
        return np.zeros((3, 3))

    return check(tg.softmax, x3, gradient=zero).verdict == "WRONG"


def problems(check):
    constant_output = check(lambda x: 3.0, x3, gradient=np.zeros_like)
    kept = d_tanhs(x3)
    stale = check(tanhs, x3, gradient=lambda x: kept)
    return constant_output.verdict == "INCONCLUSIVE" and stale.verdict == "WRONG"


def rules_that_cancel(check):
    @tg.primitive
    def twice(x):
        return 2 * x

    @tg.primitive
    def halved(x):
        return x / 2

    for rule in (twice, halved):
        rule.derivative(lambda g, y, x: g)
    return check(lambda x: halved(twice(x)), x3).verdict == "WRONG"


BATTERY = [
    right,
    right_in_code_for_real_numbers,
    wrong,
    small_beside_others,
    kink,
    beside_a_kink,
    faint_kink,
    kink_of_a_narrow_tent,
    one_slope_where_the_second_derivative_jumps,
    jump,
    no_slope,
    no_number,
    large_offset,
    large_offset_of_a_line,
    drowned_in_noise,
    few_digits,
    float32_inside,
    wave_in_step_with_the_steps,
    badly_scaled,
    large,
    large_with_errors_that_cancel,
    large_and_wrong_everywhere,
    sum_of_a_softmax,
    problems,
    rules_that_cancel,
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.startswith("mutant"):
            del sys.modules[name]


@pytest.mark.parametrize("case", BATTERY, ids=lambda case: case.__name__)
def test_the_checker_itself_passes(case):
    assert case(tg.check_grad)


def test_an_unchanged_copy_passes(folder):
    copy = load(folder, "mutant_of_nothing")
    assert copy.check_grad is not tg.check_grad
    assert all(case(copy.check_grad) for case in BATTERY)


@pytest.mark.parametrize(
    ("file", "mutate"),
    [(file, mutate) for file, mutates in MUTANTS.items() for mutate in mutates],
    ids=[f"{file[:-3]}-{k}" for file, mutates in MUTANTS.items() for k in range(len(mutates))],
)
def test_a_mutant_fails(file, mutate, folder, request):
    name = "mutant_" + re.sub(r"\W", "_", request.node.callspec.id)
    mutant = load(folder, name, file, mutate)
    assert any(fails(case, mutant.check_grad) for case in BATTERY)


def fails(case, check):
    try:
        return not case(check)
    except Exception:
        # A mutant may fail in any way.
        return True
