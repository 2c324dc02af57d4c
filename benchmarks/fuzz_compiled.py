"""Random programs: does a compiled function compute what the function computes?

The programs are those of `programs.py`. Some of their inputs are arguments, by position, by name or
in a dict; the others are found by the function itself: in global variables, in an enclosing
function, in attributes, lists, dicts and defaults, some as Tensors that need a gradient. A function
and its compiled form are called one after the other with

- values, then others of the same shapes, so that a constant that should not be one shows;
- arrays in Fortran order, strided, backwards, or all views of the same memory;
- captured arrays that have been changed in place, or replaced by others;
- other shapes, with axes of length 1 and 0, and the first ones again.

Results must agree in type, shape and dtype, and in value within EXACT, or SINGLE in single
precision, relative to the largest; rounding may do more where the program itself is sensitive to
it: what it does if the inputs are moved by their last bit is measured. Results must share no memory
with anything, and stay as they are. So must the arguments. A function that cannot be compiled is
counted, with the reason.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import numpy as np
from tqdm import tqdm

import tinygrad_edu as tg
from benchmarks.fuzz import Failure, _prepare, refused, shrink
from benchmarks.operations import OPERATIONS, literal
from benchmarks.programs import Program, generate, generate_one
from tinygrad_edu.tensor import plain
from tinygrad_edu.trees import tree_leaves

EXACT, SINGLE = 1e-12, 1e-5
# How much more than the last bit of the inputs the order of operations may do.
SENSITIVE = 300
ARGUMENTS = ("argument", "argument", "named", "nested")
CAPTURED = ("global", "closure", "attribute", "listed", "keyed", "default", "parameter")
FORMS = ("value", "gradient", "reused", "gradient", "single", "gradient", "random")

Inputs = dict[str, np.ndarray]


class Refused(Exception):
    """The function cannot be compiled; says why."""


@dataclass
class Case:
    """A function of the steps of a program, which finds its inputs in several places.

    Attributes:
        program: what it computes.
        places: where it finds each input.
        form: whether values are compared, gradients, values in reused memory, in float32, or of
            which one is multiplied with random numbers.
        space: its global variables, with those of the enclosing function and the objects.
        function: the function.
        rng: the random generator that it draws from.
    """

    program: Program
    places: dict[str, str]
    form: str
    space: dict[str, Any] = field(init=False)
    function: Callable[..., Any] = field(init=False)
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.space = {"np": np, "tg": tg, "__name__": "fuzzed"}
        self.space |= {"box": SimpleNamespace(), "table": {}, "net": SimpleNamespace()}
        self.space |= {"items": [None] * len(self.places), "rng": self.rng}
        self.put(self.program.inputs)
        exec(self.source(), self.space)
        self.function = self.space["f"]

    @property
    def first(self) -> bool:
        """Whether the dict is the first of the arguments, not the last."""
        return len(self._of("argument")) % 2 == 1

    def source(self) -> str:
        """The function, with what encloses it."""
        named = self._of("named", "default")
        nested = ["tree"] if self._of("nested") else []
        signature = nested + self._of("argument") if self.first else self._of("argument") + nested
        signature += [*(["*"] if named else [])]
        signature += [f"{n}=x_{n}" if self.places[n] == "default" else n for n in named]
        spellings = {
            "nested": "tree['{0}'][0]",
            "attribute": "box.{0}",
            "listed": "items[{1}]",
            "keyed": "table['{0}']",
            "parameter": "net.{0}",
        }
        lines = [
            f"{name} = {spellings[place].format(name, i)}"
            for i, (name, place) in enumerate(self.places.items())
            if place in spellings
        ]
        lines += [step.line(step.numpy) for step in self.program.steps]
        lines += self._ending()
        body = "\n".join(lines).replace("\n", "\n        ")
        enclosed = self._of("closure")
        fixed = "".join(f"    {name} = x_{name}\n" for name in enclosed)
        put = [f"nonlocal {', '.join(enclosed)}"] if enclosed else []
        put += [f"{name} = values['{name}']" for name in enclosed] or ["pass"]
        return (
            f"def make():\n{fixed}    def f({', '.join(signature)}):\n        {body}\n"
            f"    def put(values):\n        " + "\n        ".join(put) + "\n    return f, put\n"
            "f, put = make()\n"
        )

    def _ending(self) -> list[str]:
        names = [name for name, _ in self.program.outputs]
        if self.form == "random":
            mask = f"(rng.random(np.shape({names[0]})) < 0.7)"
            return [f"{names[0]} = {names[0]} * {mask}", f"return ({', '.join(names)},)"]
        if self.form != "gradient":
            return [f"return ({', '.join(names)},)"]
        weighted = "np.sum(np.cos(np.arange(np.size({0}))).reshape(np.shape({0})) * {0})"
        return [f"return {' + '.join(weighted.format(name) for name in names)}"]

    def _of(self, *places: str) -> list[str]:
        return [name for name, place in self.places.items() if place in places]

    def runnable(self) -> Callable[..., Any]:
        """What is compiled: the function, or its value and gradient."""
        count = len(self._of("argument")) + bool(self._of("nested"))
        if self.form != "gradient" or not count:
            return self.function
        return tg.value_and_grad(self.function, tuple(range(count)))

    def arguments(self, values: Inputs) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of a call."""
        args: list[Any] = [values[name] for name in self._of("argument")]
        if len(values) % 2:
            args = [x if x.ndim else float(x) for x in args]
        if nested := self._of("nested"):
            args.insert(0 if self.first else len(args), {name: [values[name]] for name in nested})
        return args, {name: values[name] for name in self._of("named")}

    def put(self, values: Inputs, in_place: bool = False) -> None:
        """Puts other values where the function finds them."""
        for i, (name, place) in enumerate(self.places.items()):
            if place in ARGUMENTS:
                continue
            if in_place:
                there = self.found(name)
                if there.shape == values[name].shape and there.flags.writeable:
                    there[...] = values[name]
                    continue
            value = values[name]
            if place in ("closure", "default"):
                self.space[f"x_{name}"] = value
            if place == "global":
                self.space[name] = value
            elif place == "closure" and "put" in self.space:
                enclosed = self._of("closure")
                now = {n: value if n == name else self.found(n) for n in enclosed}
                self.space["put"](now)
            elif place == "default" and "f" in self.space:
                self.space["f"].__kwdefaults__[name] = value
            elif place == "attribute":
                setattr(self.space["box"], name, value)
            elif place == "listed":
                self.space["items"][i] = value
            elif place == "keyed":
                self.space["table"][name] = value
            elif place == "parameter":
                tensor = getattr(self.space["net"], name, None)
                if tensor is None or tensor.shape != value.shape or tensor.dtype != value.dtype:
                    setattr(self.space["net"], name, tg.Tensor(value, requires_grad=True))
                else:
                    tensor.data = value

    def found(self, name: str) -> np.ndarray:
        """The array that the function finds now."""
        place = self.places[name]
        if place == "parameter":
            return getattr(self.space["net"], name).data
        return self.space[f"x_{name}"] if place in ("closure", "default") else self._at(name)

    def _at(self, name: str) -> np.ndarray:
        i = list(self.places).index(name)
        place = self.places[name]
        if place == "global":
            return self.space[name]
        if place == "attribute":
            return getattr(self.space["box"], name)
        return self.space["items"][i] if place == "listed" else self.space["table"][name]

    def report(self) -> str:
        """The function as text, with the inputs."""
        point = [
            f"{name} = {literal(x)}  # {self.places[name]}"
            for name, x in self.program.inputs.items()
        ]
        return "\n".join([self.source(), *point])


def case_of(program: Program, number: int) -> Case:
    """The program as a function; the same one for the same number and names of inputs."""
    rng = np.random.default_rng([number, 1])
    order = [f"x{i}" for i in range(8)]
    drawn = rng.choice(ARGUMENTS + CAPTURED, len(order))
    places = dict(zip(order, map(str, drawn), strict=True))
    form = FORMS[number % len(FORMS)]
    mine = {name: places.get(name, "argument") for name in program.inputs}
    if form == "gradient" and not any(p in ("argument", "nested") for p in mine.values()):
        mine[next(iter(mine))] = "argument"
    return Case(program, mine, form)


def disagreement(program: Program, number: int) -> str | None:
    """In which way the compiled function is not the function; None if it is the same.

    Raises:
        Refused: the function cannot be compiled.
    """
    case = case_of(program, number)
    dtype = np.float32 if case.form == "single" else np.float64
    first = {name: value.astype(dtype) for name, value in program.inputs.items()}
    case.put(first)
    runnable = case.runnable()
    fast = tg.compile(runnable, reuse_outputs=case.form == "reused")
    kept: list[tuple[str, Any, Any]] = []
    for what, values, in_place in calls(first, number):
        case.put({name: x.copy() for name, x in values.items()}, in_place)
        said = _compared(case, runnable, fast, values, kept, what)
        if said is not None:
            return said
    for what, result, copy in kept:
        if not np.array_equal(result, copy, equal_nan=True):
            return f"kept, {what}: the result was changed by a later call"
    return None


def calls(first: Inputs, number: int) -> Iterator[tuple[str, Inputs, bool]]:
    """What the functions are called with: in words, the inputs, whether to put them in place."""
    rng = np.random.default_rng([number, 2])

    def others(values: Inputs) -> Inputs:
        moved = {n: x * rng.uniform(0.6, 1.4) + rng.normal(0, 0.1) for n, x in values.items()}
        return {name: np.asarray(x, values[name].dtype) for name, x in moved.items()}

    yield "the first values", first, False
    yield "other values", others(first), False
    yield "other values, in place", others(first), True
    laid_out = others(first)
    for name, x in laid_out.items():
        laid_out[name] = _laid_out(x, int(rng.integers(5)))
    yield "other layouts", laid_out, True
    yield "views of the same memory", _aliasing(others(first)), False
    lengths = sorted({n for x in first.values() for n in x.shape})
    for other in (rng.permutation([1, 2, 3, 4, 5]), rng.permutation([1, 1, 2, 3, 0])):
        renamed = dict(zip(lengths, other.tolist(), strict=False))
        shaped = {
            name: np.asarray(rng.uniform(-2, 2, [renamed[n] for n in x.shape]), x.dtype)
            for name, x in first.items()
        }
        yield "other shapes", shaped, False
    yield "the first shapes again", others(first), True
    yield "the first values again", first, False


def _laid_out(x: np.ndarray, how: int) -> np.ndarray:
    """The same values, elsewhere in memory."""
    if not x.ndim:
        return x
    if how == 0:
        return np.asfortranarray(x)
    if how == 1:
        return np.repeat(x, 2, axis=-1)[..., ::2]
    if how == 2:
        return np.ascontiguousarray(x[::-1])[::-1]
    if how == 3:
        return np.broadcast_to(x[:1], x.shape)
    return x


def _aliasing(values: Inputs) -> Inputs:
    """The same shapes, as views of as little memory as possible."""
    largest = max(values.values(), key=np.size)
    flat = largest.reshape(-1)
    aliased = {name: flat[: x.size].reshape(x.shape) for name, x in values.items()}
    for name, x in values.items():
        if x.ndim == 2 and x.T.shape == largest.shape and x.shape[0] > 1:
            aliased[name] = largest.T
    return aliased


def _called(function: Callable[..., Any], case: Case, values: Inputs) -> list[Any] | Exception:
    args, keywords = case.arguments(values)
    try:
        return tree_leaves(function(*args, **keywords))
    except Exception as error:
        return error


def _compared(
    case: Case, runnable: Any, fast: Any, values: Inputs, kept: list[Any], what: str
) -> str | None:
    """One call of both."""
    before = {name: x.copy() for name, x in values.items()}
    stream = case.rng.bit_generator.state
    right = _called(runnable, case, values)
    after, case.rng.bit_generator.state = case.rng.bit_generator.state, stream
    if isinstance(right, Exception) and what.startswith("other shapes"):
        return None
    given = _called(fast, case, values)
    if isinstance(given, tg.CompileError):
        raise Refused(str(given))
    if isinstance(right, Exception) or isinstance(given, Exception):
        if type(right) is type(given):
            return None
        return f"raised, {what}: eager {_shown(right)}, compiled {_shown(given)}"
    if case.rng.bit_generator.state != after:
        return f"stream, {what}: other random numbers were drawn"
    for name, x in values.items():
        if not np.array_equal(x, before[name], equal_nan=True):
            return f"changed, {what}: the argument {name}"
    said = _differ(case, runnable, values, right, given)
    if said is not None:
        kind, _, rest = said.partition(" ")
        return f"{kind}, {what}: {rest}"
    arrays = [x for x in given if isinstance(x, np.ndarray)]
    held = [values[n] if p in ARGUMENTS else case.found(n) for n, p in case.places.items()]
    if any(np.shares_memory(x, y) for x in arrays for y in held):
        return f"shared, {what}: a result shares memory with an input"
    if any(np.shares_memory(x, y) for x, y in combinations(arrays, 2)):
        return f"shared, {what}: two results share memory"
    if case.form != "reused":
        if not all(x.flags.writeable for x in arrays):
            return f"shared, {what}: a result is read-only"
        kept += [(what, x, x.copy()) for x in arrays]
    return None


def _differ(case: Case, runnable: Any, values: Inputs, right: Any, given: Any) -> str | None:
    if len(right) != len(given):
        return f"type {len(right)} results, compiled {len(given)}"
    scale = max([1e-3, *(_largest(plain(x)) for x in right)])
    moved: Any = None
    for i, (x, y) in enumerate(zip(right, given, strict=True)):
        if isinstance(y, tg.Tensor):
            return f"type result {i} is a Tensor"
        if not isinstance(x, tg.Tensor) and isinstance(x, np.ndarray) != isinstance(y, np.ndarray):
            return f"type result {i} is {type(x).__name__}, compiled {type(y).__name__}"
        x, y = np.asarray(plain(x)), np.asarray(y)
        if (x.shape, x.dtype) != (y.shape, y.dtype):
            return f"type result {i} has {x.shape} {x.dtype}, compiled {y.shape} {y.dtype}"
        if np.array_equal(x, y, equal_nan=x.dtype.kind == "f"):
            continue
        gap = _gap(x, y) / scale
        if gap <= (SINGLE if case.form == "single" else EXACT):
            continue
        moved = _sensitivity(case, runnable, values) if moved is None else moved
        if gap * scale <= SENSITIVE * moved[i]:
            continue
        return f"value result {i} off by {gap:.1e}:\neager    {x.tolist()}\ncompiled {y.tolist()}"
    return None


def _sensitivity(case: Case, runnable: Any, values: Inputs) -> list[float]:
    """How far each result moves if all inputs are moved by about their last bit."""
    rng = np.random.default_rng(0)
    stream = case.rng.bit_generator.state
    first = _called(runnable, case, values)
    if isinstance(first, Exception):
        raise first
    most = [0.0] * len(first)
    found = {n: case.found(n).copy() for n, p in case.places.items() if p not in ARGUMENTS}
    try:
        for _ in range(3):
            moved = {
                name: x * (1 + np.finfo(x.dtype).eps * rng.uniform(-1, 1, x.shape)).astype(x.dtype)
                for name, x in {**values, **found}.items()
            }
            case.put(moved, in_place=True)
            case.rng.bit_generator.state = stream
            results = _called(runnable, case, moved)
            if isinstance(results, Exception):
                return [np.inf] * len(first)
            gaps = [_gap(plain(x), plain(y)) for x, y in zip(first, results, strict=True)]
            most = [max(pair) for pair in zip(most, gaps, strict=True)]
    finally:
        case.put(found, in_place=True)
        case.rng.bit_generator.state = stream
    return most


def _gap(x: np.ndarray, y: np.ndarray) -> float:
    kind = complex if "c" in (x.dtype.kind, y.dtype.kind) else float
    with np.errstate(all="ignore"):
        gaps = np.where(x == y, 0, np.abs(np.subtract(x, y, dtype=kind)))
        gaps = np.where(np.isnan(x) & np.isnan(y), 0, gaps)
    gaps = np.where(np.isnan(gaps), np.inf, gaps)
    return float(np.max(gaps, initial=0.0))


def _largest(x: Any) -> float:
    x = np.asarray(x)
    x = np.abs(x if x.dtype.kind == "c" else x.astype(float))
    return float(np.max(x[np.isfinite(x)], initial=0.0))


def _shown(outcome: Any) -> str:
    if isinstance(outcome, Exception):
        return f"raised {type(outcome).__name__}: {outcome!s:.300}"
    return "gave a result"


def reason(refusal: Refused) -> str:
    """A reason without what is of one program alone."""
    said = str(refusal).partition(": a value that a compiled function")[0]
    return re.sub(r"\([^()]*, line \d+\)|\(\d[^)]*\)|\(\)|\d+", "..", said)[:120]


def uncompilable(left_out: Sequence[str] = ()) -> dict[str, str]:
    """The operations that by themselves cannot be compiled, or whose gradient cannot; and why."""
    said = {}
    for i, operation in enumerate(OPERATIONS):
        for form in ("value", "gradient"):
            number = FORMS.index(form)
            program = generate_one(np.random.default_rng([i, number]), operation)
            if program is None or operation.numpy in left_out or operation.numpy in said:
                continue
            case = case_of(program, number)
            args, keywords = case.arguments(program.inputs)
            try:
                tg.compile(case.runnable())(*args, **keywords)
            except tg.CompileError as error:
                said[operation.numpy] = reason(Refused(str(error)))
            except Exception:
                continue  # a disagreement, or eager raises as well
    return said


@dataclass
class Outcome:
    """What came of some programs.

    Attributes:
        programs: how many, of each form.
        refusals: how many of them could not be compiled, by reason.
        failures: those that are wrong.
    """

    programs: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Adds what came of other programs."""
        self.programs += other.programs
        self.refusals += other.refusals
        self.failures += other.failures


def examine(numbers: Sequence[int], seed: int, left_out: Sequence[str] = ()) -> Outcome:
    """Generates the programs of these numbers, of all operations but some, and compiles them."""
    operations = [operation for operation in OPERATIONS if operation.numpy not in left_out]
    outcome = Outcome()
    for number in numbers:
        program = generate(np.random.default_rng([seed, number]), operations)
        outcome.programs[FORMS[number % len(FORMS)]] += 1
        judge = functools.partial(disagreement, number=number)
        try:
            remark = judge(program)
        except Refused as refusal:
            outcome.refusals[reason(refusal)] += 1
            continue
        if remark is not None:
            least = shrink(program, judge)
            told = judge(least) or remark
            source = case_of(least, number).report()
            outcome.failures.append(Failure(number, "eager", told, source))
    return outcome


def run(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The counts and what disagrees; the same as figures."""
    start = time.perf_counter()
    _prepare()
    left_out = refused()
    alone = uncompilable(left_out)
    outcome = Outcome()
    chunks = [range(i, min(i + 50, options.programs)) for i in range(0, options.programs, 50)]
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(options.jobs, context, initializer=_prepare) as pool,
        tqdm(total=options.programs, desc="programs", leave=False) as bar,
    ):
        every = (options.seed, (*left_out, *alone))
        for part in [pool.submit(examine, chunk, *every) for chunk in chunks]:
            outcome.add(part.result())
            bar.update(part.result().programs.total())
            bar.set_postfix(failures=len(outcome.failures))
    seconds = time.perf_counter() - start
    return report(outcome, alone, seconds), {
        "programs": outcome.programs,
        "refusals": outcome.refusals,
        "alone": alone,
        "failures": [asdict(failure) for failure in outcome.failures],
        "seconds": seconds,
    }


def report(outcome: Outcome, alone: dict[str, str], seconds: float) -> str:
    """The outcome as text."""
    forms = ", ".join(f"{count} {form}" for form, count in outcome.programs.items())
    parts = [
        f"{outcome.programs.total()} programs, compiled and called nine times ({forms}), in "
        f"{seconds:.0f} s: {len(outcome.failures)} disagreements, {outcome.refusals.total()} "
        f"cannot be compiled."
    ]
    parts += [
        f"Program {failure.number}: {failure.remark}\n\n{failure.source}"
        for failure in outcome.failures[:20]
    ]
    reasons = [f"- {count}: {text}" for text, count in outcome.refusals.most_common(12)]
    parts.append("\n".join(["Why programs cannot be compiled", *reasons]))
    single = [f"- `{text}`: {why}" for text, why in alone.items()]
    parts.append("\n".join([f"{len(alone)} operations in no program: not by themselves", *single]))
    return "\n\n".join(parts)
