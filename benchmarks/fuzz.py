"""Random programs: are their values and gradients right, whatever is combined with what?

Programs of `programs.py` are run by the engine. The value must be that of the same code in plain
NumPy. The gradients are compared

- with those of PyTorch in double precision; for one program in SECOND_EVERY also the gradient of
  the gradient along a random direction;
- with the slope along a random direction, extrapolated from differences of the plain NumPy code,
  if PyTorch does not take the program: where arrays are written into, it has other views;
- for one program in CHECK_EVERY by `tg.check_grad`, which must not call them wrong.

How far gradients may be apart is relative to their largest entry. What rounding does to these
programs is known, since PyTorch adds up in another order: of 9679 gradients 13 were more than 1e-13
apart, 2 more than 1e-12, both of inverses by the singular values, none more than 1e-11. A mistake
in a rule is of the size of what goes through it. So TOLERANCE leaves room for rounding alone.

What disagrees is made smaller, as long as it disagrees, and printed as a program to paste and run.
An operation that the engine refuses by itself is left out of the programs, and listed.
"""

from __future__ import annotations

import argparse
import ast
import functools
import multiprocessing
import re
import textwrap
import time
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

import tinygrad_edu as tg
from benchmarks.coverage import extrapolated
from benchmarks.operations import OPERATIONS, Operation
from benchmarks.programs import Program, generate, generate_one, smaller
from benchmarks.timing import table
from tinygrad_edu.rules import COMPOSITIONS, PRIMITIVES, Primitive, numpy_name

TOLERANCE = 1e-9
# What a slope by differences is good to; where its own estimate is worse there is no verdict.
MEASURED = 1e-6
CHECKER, CHECK_EVERY, SECOND_EVERY = "check_grad", 20, 4
# How many programs are tried to make a failing one smaller.
SHRINKING = 400

OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "np.add",
    ast.Sub: "np.subtract",
    ast.Mult: "np.multiply",
    ast.Div: "np.divide",
    ast.FloorDiv: "np.floor_divide",
    ast.Mod: "np.remainder",
    ast.Pow: "np.power",
    ast.MatMult: "np.matmul",
}

# Says in which way the engine is wrong about a program; `None` if it is right or if nobody knows.
Judge = Callable[[Program], str | None]


@dataclass
class Failure:
    """A program about which the engine is wrong."""

    number: int
    judge: str
    remark: str
    source: str


@dataclass
class Outcome:
    """What came of some programs.

    Attributes:
        programs: how many.
        judged: how many of them each judge was asked about.
        unclear: of how many of those it could not tell.
        operations: how many times each operation was in a program.
        functions: in how many operations each function was.
        failures: the programs that are wrong.
        apart: how far the gradients that were accepted are from PyTorch's, relative to their size.
    """

    programs: int = 0
    judged: Counter[str] = field(default_factory=Counter)
    unclear: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    functions: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    apart: list[float] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Adds what came of other programs."""
        self.programs += other.programs
        self.judged += other.judged
        self.unclear += other.unclear
        self.operations += other.operations
        self.functions += other.functions
        self.failures += other.failures
        self.apart += other.apart


class Unclear(Exception):
    """A judge cannot tell."""


def engines_gradients(program: Program) -> tuple[Any, list[np.ndarray]]:
    """The value, and the gradient by each input, by the engine."""
    args = [value.copy() for value in program.inputs.values()]
    value, gradients = tg.value_and_grad(program.function(), tuple(range(len(args))))(*args)
    for name, x, gradient in zip(program.inputs, args, gradients, strict=True):
        if np.shape(gradient) != x.shape or gradient.dtype != x.dtype:
            raise ValueError(f"the gradient by {name} has shape {gradient.shape}, {gradient.dtype}")
    return value, [np.asarray(gradient) for gradient in gradients]


def numpys_value(program: Program) -> Any:
    """The value that plain NumPy computes."""
    value = program.function()(*(x.copy() for x in program.inputs.values()))
    if not np.isfinite(value):
        raise Unclear
    return value


def second_gradients(program: Program, directions: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The gradient of the gradient along the directions, by the engine."""
    numbers = tuple(range(len(directions)))
    df = tg.grad(program.function(), numbers)

    def along(*args: Any) -> Any:
        return sum(np.sum(v * d) for v, d in zip(directions, df(*args), strict=True))

    return list(map(np.asarray, tg.grad(along, numbers)(*program.inputs.values())))


def distance(given: Sequence[Any], right: Sequence[Any]) -> float:
    """How far apart the numbers are, relative to the largest, or to 1e-3 if all are smaller."""
    scale = max([1e-3, *(np.max(np.abs(r), initial=0.0) for r in right)])
    gaps = [
        np.max(np.abs(np.subtract(g, r)), initial=0.0) for g, r in zip(given, right, strict=True)
    ]
    return float(np.max(gaps) / scale)


def directions_for(program: Program) -> list[np.ndarray]:
    """Random directions of the inputs, the same ones for the same inputs."""
    rng = np.random.default_rng(len(program.inputs))
    return [rng.normal(size=x.shape) for x in program.inputs.values()]


def against_torch(program: Program, order: int = 1, apart: list[float] | None = None) -> str | None:
    """The gradients, and those of second order, against PyTorch's in double precision."""
    import torch

    f = program.torch_function()
    if f is None:
        raise Unclear
    tensors = [torch.tensor(x, requires_grad=True) for x in program.inputs.values()]
    try:
        y = f(*tensors)
        grads = torch.autograd.grad(y, tensors, create_graph=order == 2, materialize_grads=True)
        first = [g.detach().numpy().copy() for g in grads]
        if order == 2:
            pairs = zip(directions_for(program), grads, strict=True)
            along = sum(torch.sum(torch.tensor(v) * g) for v, g in pairs)
            if not along.requires_grad:
                raise Unclear
            grads = torch.autograd.grad(along, tensors, materialize_grads=True)
    except Exception as error:
        raise Unclear(str(error)) from error
    expected = numpys_value(program)
    if not distance([y.item()], [expected]) <= TOLERANCE:
        raise Unclear  # an input to which the text for PyTorch does not apply
    try:
        value, gradients = engines_gradients(program)
        second = second_gradients(program, directions_for(program)) if order == 2 else []
    except Exception as error:
        return f"raised {type(error).__name__}: {error}"
    if not distance([value], [expected]) <= TOLERANCE:
        return f"value {value!r}, NumPy {expected!r}"
    pairs = [("gradient", gradients, first)]
    if order == 2:
        pairs.append(("second gradient", second, [g.numpy(force=True) for g in grads]))
    for what, ours, theirs in pairs:
        off = distance(ours, theirs)
        if not off <= TOLERANCE:
            return f"{what} off by {off:.1e}:\nengine  {_shown(ours)}\nPyTorch {_shown(theirs)}"
        if apart is not None:
            apart.append(off)
    return None


def against_differences(program: Program) -> str | None:
    """The slope along a random direction against that of the NumPy code, by differences."""
    f, directions = program.function(), directions_for(program)
    try:
        value, gradients = engines_gradients(program)
    except Exception as error:
        return f"raised {type(error).__name__}: {error}"

    def moved(h: float) -> Any:
        pairs = zip(program.inputs.values(), directions, strict=True)
        return f(*(np.asarray(x + h * v) for x, v in pairs))

    expected = numpys_value(program)
    if not distance([value], [expected]) <= TOLERANCE:
        return f"value {value!r}, NumPy {expected!r}"
    slope, error = extrapolated(lambda h: (moved(h / 128) - moved(-h / 128)) / (h / 64))
    terms = [np.sum(v * d) for v, d in zip(directions, gradients, strict=True)]
    scale = max([1e-3, *(np.max(np.abs(d), initial=0.0) for d in gradients)])
    if not error < MEASURED * scale:
        raise Unclear
    if not abs(sum(terms) - slope) <= 10 * MEASURED * scale:
        return f"slope {sum(terms)!r}, by differences {slope!r} within {error:.0e}"
    return None


def against_checker(program: Program) -> str | None:
    """The checker's verdict."""
    args = [value.copy() for value in program.inputs.values()]
    try:
        report = tg.check_grad(program.function(), *args, blame=False, progress=False)
    except Exception as error:
        return f"raised {type(error).__name__}: {error}"
    if report.verdict == "WRONG":
        alone = (
            "" if verdict(against_differences, program) else ", differences agree with the engine"
        )
        return f"called wrong{alone}: {report}"
    if not report:
        raise Unclear
    return None


def _shown(arrays: Sequence[Any]) -> str:
    return " ".join(str(np.asarray(a).tolist()) for a in arrays)


def verdict(judge: Judge, program: Program) -> str | None:
    """What a judge says, who may not be able to tell."""
    try:
        return judge(program)
    except Unclear:
        return None


def shrink(program: Program, judge: Judge) -> Program:
    """The simplest program found about which the judge still says that the engine is wrong.

    In the same way, the value or the gradient: rounded inputs may have brought a program to a kink.
    """
    way, left = str(judge(program)).split()[0], SHRINKING
    found = True
    while found:
        found = False
        for candidate in smaller(program):
            if candidate.size() >= program.size():
                continue
            left -= 1
            if left < 0:
                return program
            try:
                found = candidate.is_sound() and str(judge(candidate)).split()[0] == way
            except Exception:  # not a program any more, or unclear
                continue
            if found:
                program = candidate
                break
    return program


def refused(operations: Sequence[Operation] = OPERATIONS, tries: int = 5) -> dict[str, str]:
    """The operations that the engine always raises at, when by themselves, and what it says."""
    said = {}
    for i, operation in enumerate(operations):
        for j in range(tries):
            program = generate_one(np.random.default_rng([i, j]), operation)
            remark = None if program is None else _what_is_raised(program)
            if remark is None:
                break
        else:
            said[operation.numpy] = str(remark)
    return said


def _what_is_raised(program: Program) -> str | None:
    try:
        engines_gradients(program)
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return None


def examine(
    numbers: Sequence[int],
    seed: int,
    left_out: Collection[str] = (),
    with_torch: bool = True,
    check_every: int = CHECK_EVERY,
) -> Outcome:
    """Generates the programs of these numbers, of all operations but some, and judges them."""
    operations = [operation for operation in OPERATIONS if operation.numpy not in left_out]
    outcome = Outcome()
    for number in numbers:
        program = generate(np.random.default_rng([seed, number]), operations)
        outcome.programs += 1
        for step in program.steps:
            outcome.operations[step.operation.numpy] += 1
            outcome.functions.update(functions_in(step.line(step.numpy)))
        for name, judge in _judges(program, number, with_torch, check_every, outcome.apart):
            outcome.judged[name] += 1
            try:
                remark = judge(program)
            except Unclear:
                outcome.unclear[name] += 1
                continue
            if remark is not None:
                least = shrink(program, judge)
                told = judge(least) or remark
                outcome.failures.append(Failure(number, name, told, least.report()))
            if name != CHECKER:
                break
    return outcome


def _judges(
    program: Program, number: int, with_torch: bool, check_every: int, apart: list[float]
) -> Iterator[tuple[str, Judge]]:
    """Whom to ask in turn: the checker of some programs, of all the others until one can tell."""
    if number % check_every == 0:
        yield CHECKER, against_checker
    if with_torch and program.torch_source() is not None:
        if number % SECOND_EVERY == 0:
            yield "PyTorch, second order", functools.partial(against_torch, order=2, apart=apart)
        yield "PyTorch", functools.partial(against_torch, apart=apart)
    yield "differences", against_differences


def _prepare() -> None:
    """What every process does first."""
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    try:
        import torch
    except ModuleNotFoundError:
        return
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)


def run(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The counts and what disagrees; the same as figures."""
    if options.compiled:
        from benchmarks import fuzz_compiled

        return fuzz_compiled.run(options)
    start = time.perf_counter()
    _prepare()
    try:
        import torch  # noqa: F401

        with_torch = True
    except ModuleNotFoundError:
        with_torch = False
    left_out = refused()
    outcome = Outcome()
    chunks = [range(i, min(i + 50, options.programs)) for i in range(0, options.programs, 50)]
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(options.jobs, context, initializer=_prepare) as pool,
        tqdm(total=options.programs, desc="programs", leave=False) as bar,
    ):
        every = (options.seed, tuple(left_out), with_torch, options.check_every)
        for part in [pool.submit(examine, chunk, *every) for chunk in chunks]:
            outcome.add(part.result())
            bar.update(part.result().programs)
            bar.set_postfix(failures=len(outcome.failures))
    seconds = time.perf_counter() - start
    return report(outcome, left_out, with_torch, seconds), {
        **vars(outcome),
        "failures": [asdict(failure) for failure in outcome.failures],
        "refused": left_out,
        "seconds": seconds,
    }


def report(outcome: Outcome, left_out: dict[str, str], with_torch: bool, seconds: float) -> str:
    """The outcome as text."""
    steps = outcome.operations.total()
    notes = (
        f"{outcome.programs} programs of {steps} operations, {len(outcome.operations)} different "
        f"ones, in {seconds:.0f} s: {len(outcome.failures)} disagreements."
    )
    if not with_torch:
        notes += " Not installed: PyTorch."
    if outcome.apart:
        high = np.percentile(outcome.apart, [50, 99, 100])
        notes += (
            f" Gradients that agree with PyTorch's are {high[0]:.0e} of their size apart in the "
            f"median, {high[1]:.0e} in 99 of 100 programs, {high[2]:.0e} at most."
        )
    judges = [[n, str(c), str(outcome.unclear[n])] for n, c in sorted(outcome.judged.items())]
    parts = [notes, table(["judged by", "programs", "no verdict"], judges)]
    parts += [
        f"Program {failure.number}, {failure.judge}: {failure.remark}\n\n{failure.source}"
        for failure in outcome.failures[:20]
    ]
    counts = [f"{name} {count}" for name, count in outcome.functions.most_common()]
    parts.append("\n".join(textwrap.wrap(f"Functions and how often: {', '.join(counts)}", 100)))
    missing = sorted(book() - set(outcome.functions))
    parts.append(f"{len(missing)} of {len(book())} in the book in no program: {', '.join(missing)}")
    refusals = [f"- `{text}`: {said:.120}" for text, said in left_out.items()]
    parts.append("\n".join([f"{len(refusals)} operations refused by the engine", *refusals]))
    return "\n\n".join(parts)


def functions_in(source: str) -> set[str]:
    """The functions in a piece of code, under the names that the book has for them.

    Operators and methods count as the functions of NumPy that they are.

    Example:
        >>> sorted(functions_in("y = np.abs(x[0]).sum() * 2"))
        ['getitem', 'np.absolute', 'np.multiply', 'np.sum']
    """
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.BinOp, ast.AugAssign)):
            names.add(OPERATORS[type(node.op)])
        elif isinstance(node, ast.UnaryOp) and not isinstance(node.operand, ast.Constant):
            names.add("np.positive" if isinstance(node.op, ast.UAdd) else "np.negative")
        elif isinstance(node, ast.Subscript):
            names.add("getitem" if isinstance(node.ctx, ast.Load) else "assignment")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            path = ast.unparse(node.func)
            is_method = re.fullmatch(r"(np|tg)(\.\w+)+", path) is None
            names.add(f"np.{node.func.attr}" if is_method else path)
    return {_name_in_the_book(name) for name in names}


def _name_in_the_book(name: str) -> str:
    """One name for a function that has two, such as `np.abs` and `np.absolute`."""
    function: Any = np
    for part in name.split(".")[1:]:
        function = getattr(function, part, None)
    return numpy_name(function) if function in PRIMITIVES or function in COMPOSITIONS else name


def book() -> set[str]:
    """The names of all functions of NumPy that have a derivative in the book, and of ours."""
    ours = {f"tg.{name}" for name in tg.__all__ if isinstance(getattr(tg, name), Primitive)}
    return {*map(numpy_name, PRIMITIVES), *map(numpy_name, COMPOSITIONS), *ours}
