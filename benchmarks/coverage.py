"""How much NumPy code can be differentiated as it is, by this engine and by others.

Every expression of `expressions.py` is written against plain `import numpy as np`, and each engine
is given it unchanged:

- ours by `tg.grad`;
- autograd by `autograd.grad`, without its wrapper of NumPy: since 1.9 it answers NumPy's protocols;
- MyGrad by calling the function with `mg.tensor` and the result's `.backward()`. The function gets
  copies, since what it overwrites has no gradient left in MyGrad. It has no second derivatives.

An answer is right if value and gradients are. It is refused if anything is raised, or not finished
within SECONDS. Anything else is silently wrong: another value or gradient than the right one, zero
or None where it is not zero, NaN where there is a number. Right numbers in another dtype or shape
than the input's are counted as wrong too, and by themselves.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

import tinygrad_edu as tg
from benchmarks.expressions import Expression, expressions
from benchmarks.timing import table

OURS = "tinygrad_edu"
RIGHT, REFUSED, WRONG, FORM = "right", "refused", "wrong", "wrong dtype or shape"
SECONDS = 20
# How far off a gradient may be, relative to its largest entry: what is measured by differences is
# good to 1e-9 or so, what is exact to the rounding errors of a usual formula.
TOLERANCE = {np.float16: 5e-3, np.float32: 2e-5, np.float64: 1e-9, np.longdouble: 1e-14}
MEASURED = 1e-7

# Called with a function, its arguments and the weights; gives the value, and by each argument the
# gradient of the weighted sum.
Engine = Callable[..., tuple[Any, Sequence[Any]]]


@dataclass(frozen=True)
class Answer:
    """What an engine makes of an expression: RIGHT, REFUSED, WRONG or FORM, and in which way."""

    verdict: str
    remark: str = ""


@dataclass(frozen=True)
class Truth:
    """What is right of an expression.

    Attributes:
        value: what NumPy gives.
        weights: of the outputs, and for second derivatives of the gradient.
        gradients: by each input; `None` if a condition says what is right.
        error: how far off they may be themselves, relative to the largest entry.
    """

    value: np.ndarray
    weights: tuple[np.ndarray, ...]
    gradients: tuple[np.ndarray, ...] | None
    error: float = 0.0


def by_grad(grad: Any, unboxed: Any) -> Engine:
    """An engine with a `grad` of functions; `unboxed` takes its arrays out of what it traces."""

    def run(f: Any, args: Sequence[Any], w: Any, v: Any = None) -> tuple[Any, Sequence[Any]]:
        seen = []

        def weighted(*args: Any) -> Any:
            seen.append(f(*args))
            return np.sum(seen[-1] * w)

        if v is None:
            gradients = grad(weighted, tuple(range(len(args))))(*args)
        else:
            gradients = (grad(lambda x: np.sum(grad(weighted)(x) * v))(*args),)
        return unboxed(seen[0]), [unboxed(gradient) for gradient in gradients]

    return run


def make_ours() -> Engine:
    """The engine of this project."""
    return by_grad(tg.grad, lambda y: y.data if isinstance(y, tg.Tensor) else y)


def make_autograd() -> Engine:
    """HIPS autograd."""
    import autograd
    from autograd.tracer import Box

    def unboxed(y: Any) -> Any:
        while isinstance(y, Box):
            y = y._value
        if isinstance(y, np.ndarray) and y.dtype == object:
            y = np.array([unboxed(entry) for entry in y.ravel()], object).reshape(y.shape)
        return y

    return by_grad(autograd.grad, unboxed)


def make_mygrad() -> Engine:
    """MyGrad."""
    import mygrad

    def run(f: Any, args: Sequence[Any], w: Any, v: Any = None) -> tuple[Any, Sequence[Any]]:
        if v is not None:
            raise NotImplementedError("MyGrad has no second derivatives")
        tensors = [mygrad.tensor(arg) for arg in args]
        y = f(*(+tensor for tensor in tensors))
        value = np.array(y.data if isinstance(y, mygrad.Tensor) else y)
        (y * w).sum().backward()
        return value, [tensor.grad for tensor in tensors]

    return run


ENGINES: dict[str, Callable[[], Engine]] = {
    OURS: make_ours,
    "autograd": make_autograd,
    "MyGrad": make_mygrad,
}


def truth_of(expression: Expression) -> Truth:
    """The value, weights that no entry of the value is without, and the right gradient."""
    value = np.asarray(expression.function(*expression.args))
    rng = np.random.default_rng(sum(expression.name.encode()))
    shapes = [value.shape, np.shape(expression.args[0])][: expression.order]
    weights = tuple(
        np.asarray(rng.uniform(0.5, 1.5, s) * rng.choice([-1, 1], s), value.dtype) for s in shapes
    )
    if expression.accept is not None:
        return Truth(value, weights, None)
    if expression.exact is None:
        return Truth(value, weights, *measured(expression.function, expression.args, *weights))
    exact = _evaluated(expression.exact, expression, weights)
    pairs = zip(exact if isinstance(exact, tuple) else (exact,), expression.args, strict=True)
    return Truth(value, weights, tuple(np.broadcast_to(d, np.shape(x)) for d, x in pairs))


def _evaluated(text: str, expression: Expression, weights: Sequence[Any], **more: Any) -> Any:
    """What is written about the gradient, for the given weights."""
    inputs = dict(zip(expression.inputs, expression.args, strict=True))
    return eval(text, {"np": np, "w": weights[0], **inputs, **more})


def measured(
    f: Callable[..., Any], args: Sequence[Any], w: Any, v: Any = None
) -> tuple[tuple[np.ndarray, ...], float]:
    """The gradients of the sum of w * f by differences in double precision, and their error.

    With `v` that of the sum of v times the gradient. The error is relative to the largest entry.
    """
    points = [np.array(arg, np.float64) for arg in args]
    restored = [float if isinstance(arg, float) else np.array for arg in args]

    def weighted(shift: Any, which: int) -> Any:
        moved = [p + shift if i == which else p for i, p in enumerate(points)]
        return np.sum(np.float64(w) * f(*(r(m) for r, m in zip(restored, moved, strict=True))))

    gradients, worst = [], 0.0
    for which, point in enumerate(points):
        gradient, errors = np.zeros(point.shape), np.zeros(point.shape)
        for index in np.ndindex(point.shape):
            unit = np.zeros(point.shape)
            unit[index] = 1.0

            def by_differences(h: float, unit: Any = unit, which: int = which) -> Any:
                if v is None:
                    return (weighted(h * unit, which) - weighted(-h * unit, which)) / (2 * h)
                corners = [
                    a * b * weighted(h * (a * unit + b * v), which)
                    for a in (1, -1)
                    for b in (1, -1)
                ]
                return sum(corners) / (4 * h * h)

            gradient[index], errors[index] = extrapolated(by_differences)
        gradients.append(gradient)
        worst = max(worst, np.max(errors / _scale(gradient), initial=0.0))
    return tuple(gradients), worst


def extrapolated(difference: Callable[[float], Any]) -> tuple[float, float]:
    """The limit at h = 0 of what is even in h, and an estimate of its error.

    Source: Ridders, "Accurate computation of F'(x) and F'(x) F''(x)", Advances in Engineering
    Software 4 (1982).
    """
    best, error, row = np.nan, np.inf, []
    for k in range(7):
        previous, row = row, [difference(2.0 ** (-5 - k))]
        for j, last in enumerate(previous):
            row.append(row[j] + (row[j] - last) / (4.0 ** (j + 1) - 1))
            spread = max(abs(row[j + 1] - row[j]), abs(row[j + 1] - last))
            if spread < error:
                best, error = row[j + 1], spread
    return float(best), float(error)


def _scale(gradient: Any) -> float:
    """The largest entry that is a number, or 1 if all are 0."""
    finite = np.abs(gradient[np.isfinite(gradient)])
    return float(np.max(finite, initial=0.0)) or 1.0


def judge(expression: Expression, truth: Truth, value: Any, gradients: Sequence[Any]) -> Answer:
    """The verdict on what an engine gave."""
    args = expression.args
    kinds = [np.asarray(arg).dtype.newbyteorder("=") for arg in args]
    tolerance = max(TOLERANCE[kind.type] for kind in kinds)
    if not _close(value, truth.value, tolerance):
        return Answer(WRONG, f"value {_shown(value)} for {_shown(truth.value)}")
    given = [
        np.zeros(np.shape(arg), kind) if gradient is None else np.asarray(gradient)
        for gradient, arg, kind in zip(gradients, args, kinds, strict=True)
    ]
    if truth.gradients is None:
        g = given[0] if len(given) == 1 else given
        try:
            accepted = np.all(_evaluated(str(expression.accept), expression, truth.weights, g=g))
        except (IndexError, ValueError):
            accepted = False
        if not accepted:
            return Answer(WRONG, f"gradient {', '.join(map(_shown, given))}")
    else:
        if expression.exact is None:
            tolerance = max(tolerance, MEASURED)
        for name, d, right in zip(expression.inputs, given, truth.gradients, strict=True):
            if not _close(d, right, tolerance):
                return Answer(WRONG, f"gradient by {name} {_shown(d)} for {_shown(right)}")
    for name, d, arg, kind in zip(expression.inputs, given, args, kinds, strict=True):
        if d.shape != np.shape(arg):
            return Answer(FORM, f"gradient by {name} has shape {d.shape} for {np.shape(arg)}")
        if d.dtype.newbyteorder("=") != kind:
            return Answer(FORM, f"gradient by {name} is {d.dtype} for {kind}")
    # An array of boxes has no dtype to speak of.
    if np.shape(value) != truth.value.shape or np.asarray(value).dtype not in (
        truth.value.dtype,
        object,
    ):
        got = f"{np.asarray(value).dtype} {np.shape(value)}"
        return Answer(FORM, f"value is {got} for {truth.value.dtype} {truth.value.shape}")
    return Answer(RIGHT)


def _close(given: Any, right: np.ndarray, tolerance: float) -> bool:
    """Whether the numbers agree, whatever the dtype; the same numbers in another shape do."""
    given = np.asarray(given)
    if given.dtype == object:
        given = given.astype(float)
    if given.dtype.kind not in "fiub" or given.size != right.size:
        return False
    flat, expected = given.ravel(), right.ravel()
    return np.allclose(flat, expected, 0, tolerance * _scale(expected), equal_nan=True)


def _shown(value: Any) -> str:
    text = np.array2string(np.asarray(value), precision=4, separator=", ", threshold=6)
    return " ".join(text.split())


class _OutOfTimeError(Exception):
    """An engine does not come to an end."""


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Interrupts what takes longer, where the system can."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise _OutOfTimeError(f"not finished in {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def ask(engine: Engine, expression: Expression, truth: Truth) -> Answer:
    """The verdict on an engine; what it raises is a refusal."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            with at_most(SECONDS):
                given = engine(expression.function, expression.args, *truth.weights)
        except Exception as error:
            return Answer(REFUSED, f"{type(error).__name__}: {' '.join(str(error).split())}")
        return judge(expression, truth, *given)


def run(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The tables and lists, and the answer of each engine to each expression."""
    chosen = [e for e in expressions() if options.only is None or options.only in e.group]
    engines: dict[str, Engine] = {}
    missing = []
    for name, make in ENGINES.items():
        try:
            engines[name] = make()
        except ModuleNotFoundError:
            missing.append(name)
    answers: dict[str, list[Answer]] = {name: [] for name in engines}
    tried = []
    for expression in tqdm(chosen[: options.limit], desc="expressions", leave=False):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                truth = truth_of(expression)
            except AttributeError:  # a function that this NumPy has not got yet, or no longer
                continue
        tried.append(expression)
        for name, engine in engines.items():
            answers[name].append(ask(engine, expression, truth))

    notes = f"{len(tried)} expressions; right / refused / silently wrong."
    left_out = len(chosen[: options.limit]) - len(tried)
    if left_out:
        notes += f" {left_out} more need a function that NumPy {np.__version__} does not have."
    if missing:
        notes += f" Not installed: {', '.join(missing)}."
    parts = [notes, _by_group(tried, answers), _totals(answers)]
    for verdicts, title in (
        ((WRONG, FORM), "silently wrong"),
        ((REFUSED,), "refused"),
    ):
        parts.append(_listed(tried, answers[OURS], verdicts, f"{title} by {OURS}"))
    parts += [
        _listed(tried, given, (WRONG,), f"silently wrong by {name}")
        for name, given in answers.items()
        if name != OURS
    ]
    figures = {
        expression.name: {
            "group": expression.group,
            "answers": {name: asdict(given[i]) for name, given in answers.items()},
        }
        for i, expression in enumerate(tried)
    }
    return "\n\n".join(parts), figures


def _by_group(tried: Sequence[Expression], answers: dict[str, list[Answer]]) -> str:
    rows = []
    for group in dict.fromkeys(expression.group for expression in tried):
        row = [f"{group} ({sum(e.group == group for e in tried)})"]
        for given in answers.values():
            own = [a.verdict for a, e in zip(given, tried, strict=True) if e.group == group]
            wrong = own.count(WRONG) + own.count(FORM)
            row.append(f"{own.count(RIGHT)} / {own.count(REFUSED)} / {wrong}")
        rows.append(row)
    return table(["group", *answers], rows)


def _totals(answers: dict[str, list[Answer]]) -> str:
    columns = (RIGHT, REFUSED, WRONG, FORM)
    counts = {name: Counter(a.verdict for a in given) for name, given in answers.items()}
    rows = [[name, *(str(count[c]) for c in columns)] for name, count in counts.items()]
    return table(["in all", *columns], rows)


def _listed(
    tried: Sequence[Expression], given: Sequence[Answer], verdicts: Sequence[str], title: str
) -> str:
    lines = [
        f"- {expression.group}: `{expression.name}`: {answer.remark:.160}"
        for expression, answer in zip(tried, given, strict=True)
        if answer.verdict in verdicts
    ]
    return "\n".join([f"{len(lines)} {title}", *lines])
