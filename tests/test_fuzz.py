"""Random programs are differentiated right, and a wrong rule is found; expressions are judged."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import tinygrad_edu as tg
from benchmarks import coverage, fuzz
from benchmarks.expressions import Expression, expressions
from benchmarks.operations import OPERATIONS
from benchmarks.programs import Program, generate, generate_one, overwriting, smaller
from tinygrad_edu.rules import PRIMITIVES

PROGRAMS = 60


@pytest.fixture(autouse=True)
def _quiet():
    """Programs are made of what fits, and expressions of hard points: warnings are expected."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def left_out():
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return tuple(fuzz.refused())


def random_program(number, operations=OPERATIONS, length=None):
    return generate(np.random.default_rng([7, number]), operations, length)


def sources(outcome):
    return "\n\n".join(f"{f.judge}: {f.remark}\n{f.source}" for f in outcome.failures)


def test_random_programs_are_right(left_out):
    outcome = fuzz.examine(range(PROGRAMS), 0, left_out, with_torch=False, check_every=12)
    assert not outcome.failures, sources(outcome)
    assert outcome.programs == outcome.judged["differences"] == PROGRAMS
    assert outcome.judged[fuzz.CHECKER] == PROGRAMS // 12
    assert outcome.unclear.total() <= PROGRAMS // 10
    assert outcome.operations.total() > 10 * PROGRAMS


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.numpy)
def test_each_operation_by_itself(operation, left_out):
    if operation.numpy in left_out:
        pytest.skip("refused by the engine")
    for seed in range(3):
        program = generate_one(np.random.default_rng(seed), operation)
        assert program is not None
        said = fuzz.verdict(fuzz.against_differences, program)
        assert said is None, f"{said}\n{program.report()}"


@pytest.mark.parametrize(
    "operation", [o for o in OPERATIONS if not o.in_place], ids=lambda operation: operation.numpy
)
def test_memory_is_shared_as_in_numpy(operation, left_out):
    if operation.numpy in left_out:
        pytest.skip("refused by the engine")
    for seed in range(3):
        alone = generate_one(np.random.default_rng(seed), operation)
        for program in overwriting(alone):
            said = fuzz.verdict(fuzz.against_differences, program)
            assert said is None, f"{said}\n{program.report()}"


# Slightly wrong rules: of an elementwise function, of one that broadcasts, of indices that repeat,
# of an assignment.
@pytest.mark.parametrize(
    ("function", "position"), [(np.tanh, 0), (np.multiply, 1), (np.sum, 0), (np.matmul, 1)]
)
def test_a_wrong_rule_is_found_and_shown_as_a_program_to_paste(
    function, position, left_out, monkeypatch, capsys
):
    primitive = PRIMITIVES[function]
    right = primitive.rules[position]

    def wrong(*args, **keywords):
        return right(*args, **keywords) * 1.001

    rules = [wrong if i == position else rule for i, rule in enumerate(primitive.rules)]
    with monkeypatch.context() as broken:
        broken.setattr(primitive, "rules", tuple(rules))
        for start in range(1, 200, 10):
            found = fuzz.examine(range(start, start + 10), 0, left_out, False, check_every=10**6)
            if found.failures:
                break
        source = found.failures[0].source
        exec(source, {})
        shown_when_broken = capsys.readouterr().out
    exec(source, {})
    assert capsys.readouterr().out != shown_when_broken
    assert "slope" in found.failures[0].remark
    assert len(source.partition("def f")[2].partition("return")[0].split("\n")) <= 5


def test_the_checker_finds_a_wrong_rule_too(left_out, monkeypatch):
    operations = [operation for operation in OPERATIONS if operation.numpy not in left_out]
    primitive = PRIMITIVES[np.tanh]
    monkeypatch.setattr(primitive, "rules", (lambda g, y, x: g * (1 - y),))
    told = []
    for number in range(20):
        program = random_program(number, operations, length=5)
        if "np.tanh(" in program.numpy_source():
            told.append(fuzz.verdict(fuzz.against_checker, program))
    assert any("WRONG" in str(remark) for remark in told)


def test_a_program_is_the_same_every_time_and_its_source_computes_its_value():
    for number in range(10):
        program = random_program(number)
        assert program.numpy_source() == random_program(number).numpy_source()
        assert 3 <= len(program.steps) <= 41
        space = {"np": np, "tg": tg}
        exec(program.numpy_source(), space)
        expected = program.function()(*(x.copy() for x in program.inputs.values()))
        assert space["f"](*(space[name] for name in program.inputs)) == expected
        assert np.isfinite(expected)


def test_the_text_for_pytorch_is_free_of_numpy():
    told = [p.torch_source() for p in map(random_program, range(40))]
    assert sum(text is None for text in told) < 20
    for text in told:
        assert text is None or ("np." not in text and "torch." in text)


def test_functions_are_counted_by_the_name_that_the_book_has():
    assert fuzz.functions_in("v0[[1]] = np.linalg.norm(x.T) @ x - -2 + np.abs(x).sum()") == {
        "assignment",
        "np.add",
        "np.subtract",
        "np.matmul",
        "np.linalg.norm",
        "np.absolute",
        "np.sum",
    }


def test_programs_share_values_and_broadcast():
    reads = [name for i in range(20) for step in random_program(i).steps for name in step.reads]
    assert len(reads) > 1.2 * len({(i, s.out) for i in range(20) for s in random_program(i).steps})


def test_shrinking_ends_at_what_is_to_blame():
    def judge(program: Program):
        return "wrong" if "np.sort(" in program.numpy_source() else None

    operations = [o for o in OPERATIONS if not o.in_place]
    program = next(
        p for p in (random_program(i, operations, 20) for i in range(100)) if judge(p) is not None
    )
    least = fuzz.shrink(program, judge)
    assert len(least.steps) == 1
    assert np.isfinite(least.function()(*least.inputs.values()))
    assert all(candidate.size() != program.size() for candidate in smaller(least))


def test_what_is_off_by_a_part_in_a_million_disagrees():
    assert fuzz.distance([np.ones(2)], [np.array([1.0, 1 + 1e-6])]) > fuzz.TOLERANCE
    assert fuzz.distance([np.ones(2) * 1e-13], [np.zeros(2)]) < fuzz.TOLERANCE
    assert not fuzz.distance([np.array([np.nan])], [np.ones(1)]) <= fuzz.TOLERANCE


# The expressions whose gradients are compared between engines.


def test_differences_are_exact_enough_to_judge_by():
    """Two ways to the same truth, and an error estimate that covers what they differ by."""
    names = [e.name for e in expressions()]
    assert len(set(names)) == len(names)
    for expression in expressions():
        try:
            truth = coverage.truth_of(expression)
        except AttributeError:  # not in this NumPy
            continue
        assert truth.error < 1e-2 * coverage.MEASURED, expression.name
        assert all(np.all(w != 0) for w in truth.weights)
    cube = Expression("", "x**3")
    (given,), error = coverage.measured(cube.function, cube.args, np.array([1.0, -2.0, 3.0, 0.5]))
    expected = np.array([1.0, -2.0, 3.0, 0.5]) * 3 * cube.args[0] ** 2
    np.testing.assert_allclose(given, expected, rtol=1e-11)
    assert error < 1e-10


def answer_to(source, gradient, value=None):
    """The verdict on this gradient, a function of the right one."""
    expression = Expression("", source)
    truth = coverage.truth_of(expression)
    given = truth.value if value is None else value(truth.value)
    return coverage.judge(expression, truth, given, [gradient(truth.gradients[0])])


def test_verdicts_on_answers():
    x = "np.exp(x)"
    assert answer_to(x, lambda g: g).verdict == coverage.RIGHT
    assert answer_to(x, lambda g: g * (1 + 1e-5)).verdict == coverage.WRONG
    assert answer_to(x, lambda g: g * np.array([1, 1, np.nan, 1])).verdict == coverage.WRONG
    assert answer_to(x, lambda g: None).verdict == coverage.WRONG
    assert answer_to("np.sign(x)", lambda g: None).verdict == coverage.RIGHT
    assert answer_to(x, lambda g: g, lambda y: y + 1e-3).verdict == coverage.WRONG
    assert answer_to(x, lambda g: g[None]).verdict == coverage.FORM
    assert answer_to(x, lambda g: g.astype(np.longdouble)).verdict == coverage.FORM
    assert answer_to("f * 2.5", lambda g: g.astype(np.float32)).verdict == coverage.RIGHT
    assert answer_to("f * 2.5", lambda g: g).verdict == coverage.FORM


def test_the_engine_is_right_or_refuses():
    """Assignment and points where derivatives are infinite or undefined have tests of their own."""
    engine = coverage.make_ours()
    wrong = []
    for expression in expressions():
        if expression.group in ("assignment", "hard points"):
            continue
        try:
            truth = coverage.truth_of(expression)
        except AttributeError:  # not in this NumPy
            continue
        answer = coverage.ask(engine, expression, truth)
        if answer.verdict not in (coverage.RIGHT, coverage.REFUSED):
            wrong.append(f"{expression.name}: {answer.remark}")
    assert not wrong, "\n".join(wrong)


def test_what_is_raised_or_does_not_end_is_a_refusal(monkeypatch):
    expression = Expression("", "x * 2")
    truth = coverage.truth_of(expression)

    def recursion(*args):
        return recursion(*args)

    def hangs(*args):
        while True:
            pass

    monkeypatch.setattr(coverage, "SECONDS", 1)
    for engine in (recursion, hangs):
        assert coverage.ask(engine, expression, truth).verdict == coverage.REFUSED
    gives = lambda *args: (truth.value, truth.gradients)  # noqa: E731
    assert coverage.ask(gives, expression, truth).verdict == coverage.RIGHT
