"""What gradient checkers catch, what they let pass and what they suspect without reason.

The corpus in `corpus.py` is shown to `tg.check_grad` and to the checkers of four other libraries.
All see the same NumPy function, the same gradient and the same point, by the way that each library
documents for a gradient of one's own, and each is called with its default settings:

- PyTorch: `torch.autograd.gradcheck` of a `torch.autograd.Function`;
- JAX: `jax.test_util.check_grads` of a `jax.custom_vjp` around `jax.pure_callback`, in 64 bits. The
  order has no default: it is 1. A custom_vjp has no forward mode, so `modes=["rev"]`;
- autograd: `autograd.test_util.check_grads` of a `primitive` with `defvjp`, by all arguments. Its
  rule is NumPy code, so `modes=["rev"], order=1`. It draws from NumPy's global generator, which is
  given a seed for every item;
- SciPy: `scipy.optimize.check_grad` of the flattened arguments, and of the whole Jacobian where the
  function has more than one value. It returns a distance and leaves it to the user what is too
  much. Here that is a distance, relative to the norm of the gradient or to 1 if that is larger,
  above the one threshold with which it is right about the most items of this very corpus.

Wrong is what a checker says of the gradient. Where it raises anything else, or says that it cannot
tell, there is no verdict: neither caught nor accepted.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from tqdm import tqdm

import tinygrad_edu as tg
from benchmarks.corpus import RIGHT, SIZES, STRUCTURAL, Item, corpus, group_of
from benchmarks.timing import spread, table

OURS, SCIPY = "tinygrad_edu", "SciPy"
# Below this an error may well be missed; larger ones that are missed are listed.
LISTED = 1e-6


@dataclass(frozen=True)
class Answer:
    """What a checker says of an item.

    Attributes:
        accepted: whether it takes the gradient for right; `None` without a verdict.
        named: the entries that it calls wrong, each the name of an input and an index.
        distance: for what gives no verdict of its own, how far off the gradient is.
        remark: why it says so.
        seconds: how long it took.
    """

    accepted: bool | None
    named: tuple[tuple[str, tuple[int, ...]], ...] = ()
    distance: float | None = None
    remark: str = ""
    seconds: float = math.nan


# Prepares an item; what it gives is timed.
Checker = Callable[[Item], Callable[[], Answer]]


def make_ours(threads: int) -> Checker:
    """The engine's own."""

    def prepare(item: Item) -> Callable[[], Answer]:
        def check() -> Answer:
            report = tg.check_grad(item.f, *item.args, *item.labels, vjp=item.vjp, progress=False)
            accepted = {"OK": True, "WRONG": False}.get(report.verdict)
            named = tuple((entry.name, entry.index) for entry in report.wrong)
            return Answer(accepted, named, remark="" if report else str(report))

        return check

    return prepare


def make_torch(threads: int) -> Checker:
    """PyTorch."""
    import torch
    from torch.autograd.gradcheck import GradcheckError

    torch.set_num_threads(threads)

    def prepare(item: Item) -> Callable[[], Answer]:
        class Function(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *args: Any) -> Any:
                ctx.save_for_backward(*args)
                return torch.from_numpy(item.value(*(x.numpy() for x in args)))

            @staticmethod
            def backward(ctx: Any, g: Any) -> Any:
                args = [x.detach().numpy() for x in ctx.saved_tensors]
                return tuple(torch.from_numpy(d) for d in item.gradients(g.numpy(), *args))

        args = [torch.tensor(arg, requires_grad=True) for arg in item.args]

        def check() -> Answer:
            try:
                return Answer(torch.autograd.gradcheck(Function.apply, args))
            except GradcheckError:
                return Answer(False)

        return check

    return prepare


def make_jax(threads: int) -> Checker:
    """JAX."""
    import jax
    from jax.test_util import check_grads

    jax.config.update("jax_enable_x64", True)

    def prepare(item: Item) -> Callable[[], Answer]:
        def like(array: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(array.shape, array.dtype)

        def value(*args: Any) -> np.ndarray:
            return item.value(*(np.asarray(x) for x in args))

        def gradients(g: Any, *args: Any) -> tuple[np.ndarray, ...]:
            return item.gradients(np.asarray(g), *(np.asarray(x) for x in args))

        out, args = like(item.value(*item.args)), [jax.numpy.asarray(x) for x in item.args]

        @jax.custom_vjp
        def function(*args: Any) -> Any:
            return jax.pure_callback(value, out, *args)

        function.defvjp(
            lambda *args: (function(*args), args),
            lambda args, g: jax.pure_callback(gradients, tuple(map(like, args)), g, *args),
        )

        def check() -> Answer:
            try:
                check_grads(function, args, order=1, modes=["rev"])
            except AssertionError as failure:
                # It also asserts that shapes agree and that a function gives the same value twice.
                if "VJP cotangent projection" not in str(failure):
                    raise
                return Answer(False)
            return Answer(True)

        return check

    return prepare


def make_autograd(threads: int) -> Checker:
    """HIPS autograd."""
    from autograd.extend import defvjp, primitive
    from autograd.test_util import check_grads

    def prepare(item: Item) -> Callable[[], Answer]:
        function = primitive(item.value)

        def rule(i: int) -> Callable[..., Any]:
            return lambda y, *args: lambda g: item.gradients(g, *args)[i]

        defvjp(function, *(rule(i) for i in range(len(item.args))))
        test = check_grads(function, argnum=tuple(range(len(item.args))), modes=["rev"], order=1)
        np.random.seed(sum(item.name.encode()))

        def check() -> Answer:
            try:
                test(*item.args)
            except AssertionError as failure:
                # It also asserts that the gradient is of the argument's kind.
                if not str(failure).startswith("Derivative (VJP) check of"):
                    raise
                return Answer(False)
            return Answer(True)

        return check

    return prepare


def make_scipy(threads: int) -> Checker:
    """SciPy, whose answers are distances."""
    from scipy.optimize import check_grad

    def prepare(item: Item) -> Callable[[], Answer]:
        shapes = [arg.shape for arg in item.args]
        ends = np.cumsum([arg.size for arg in item.args])
        x = np.concatenate([arg.ravel() for arg in item.args])
        shape, dtype = item.value(*item.args).shape, item.value(*item.args).dtype

        def arguments(x: np.ndarray) -> list[np.ndarray]:
            parts = np.split(x, ends[:-1])
            return [part.reshape(s) for part, s in zip(parts, shapes, strict=True)]

        def value(x: np.ndarray) -> np.ndarray:
            y = item.value(*arguments(x))
            return y.ravel() if shape else y

        def gradient(x: np.ndarray) -> np.ndarray:
            rows = [
                np.concatenate([d.ravel() for d in item.gradients(g.reshape(shape), *arguments(x))])
                for g in np.eye(math.prod(shape), dtype=dtype)
            ]
            return np.array(rows) if shape else rows[0]

        size = max(1.0, np.linalg.norm(gradient(x)))

        def check() -> Answer:
            return Answer(None, distance=float(check_grad(value, gradient, x) / size))

        return check

    return prepare


CHECKERS: dict[str, Callable[[int], Checker]] = {
    OURS: make_ours,
    "PyTorch": make_torch,
    "JAX": make_jax,
    "autograd": make_autograd,
    SCIPY: make_scipy,
}


def ask(checker: Checker, item: Item) -> Answer:
    """The answer and the time it took; what is raised is an answer too."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # Whether to believe PyTorch in single precision is what is measured here.
        warnings.filterwarnings("ignore", "Input #.* is not a double precision", UserWarning)
        check = checker(item)
        start = time.perf_counter()
        try:
            answer = check()
        except Exception as error:
            answer = Answer(None, remark=f"{type(error).__name__}: {error}")
        return replace(answer, seconds=time.perf_counter() - start)


def judged(items: Sequence[Item], answers: Sequence[Answer]) -> tuple[list[Answer], float]:
    """The distances as verdicts by the best threshold, and that threshold."""
    right = np.array([item.is_right for item in items])
    distances = np.array([answer.distance for answer in answers], float)
    distances[np.isnan(distances)] = math.inf
    met = np.unique(distances[np.isfinite(distances) & (distances > 0)])
    threshold = float(max(met, key=lambda t: np.sum((distances <= t) == right)))
    verdicts = [
        answer if answer.remark else replace(answer, accepted=bool(distance <= threshold))
        for answer, distance in zip(answers, distances, strict=True)
    ]
    return verdicts, threshold


def run(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The tables, and what each checker says of each item."""
    items = corpus()
    checkers: dict[str, Checker] = {}
    missing = []
    for name, make in CHECKERS.items():
        try:
            checkers[name] = make(options.threads)
        except ModuleNotFoundError:
            missing.append(name)
    # The first call of each prepares what later ones find ready, and is not counted.
    for checker in checkers.values():
        ask(checker, items[0])
    answers: dict[str, list[Answer]] = {name: [] for name in checkers}
    for item in tqdm(items, desc="gradients", leave=False):
        for name, checker in checkers.items():
            answers[name].append(ask(checker, item))

    notes = f"{len(items)} gradients, of which {sum(i.is_right for i in items)} are right."
    if SCIPY in answers:
        answers[SCIPY], threshold = judged(items, answers[SCIPY])
        notes += (
            f" {SCIPY} gives distances; wrong is a relative one above {threshold:.1e}, the "
            f"threshold that makes it right about the most of these gradients."
        )
    if missing:
        notes += f" Not installed: {', '.join(missing)}."
    sizes = [group_of(size) for size in SIZES]
    parts = [
        notes,
        _tally(items, answers, [*sizes, STRUCTURAL], False, ("wrong, caught", "missed")),
        _tally(items, answers, RIGHT, True, ("right, accepted", "false alarms")),
        _costs(items, answers),
        *_faults(items, answers[OURS]),
    ]
    figures = {
        item.name: {
            "group": item.group,
            "is_right": item.is_right,
            "entry": item.entry,
            "answers": {name: asdict(given[i]) for name, given in answers.items()},
        }
        for i, item in enumerate(items)
    }
    return "\n\n".join(parts), figures


def _tally(
    items: Sequence[Item],
    answers: dict[str, list[Answer]],
    groups: Sequence[str],
    is_right: bool,
    titles: tuple[str, str],
) -> str:
    """The table of how many right, or wrong, gradients of each group are told to be so."""
    chosen = [i for i, item in enumerate(items) if item.is_right == is_right]
    totals = [sum(items[i].group == group for i in chosen) for group in groups]
    rows = []
    for name, given in answers.items():
        told = [items[i].group for i in chosen if given[i].accepted is is_right]
        opposite = sum(given[i].accepted is (not is_right) for i in chosen)
        none = sum(given[i].accepted is None for i in chosen)
        rows.append([name, *(str(told.count(group)) for group in groups), str(opposite), str(none)])
    first, opposite_title = titles
    columns = [f"{group} ({n})" for group, n in zip(groups, totals, strict=True)]
    return table([first, *columns, opposite_title, "no verdict"], rows)


def _costs(items: Sequence[Item], answers: dict[str, list[Answer]]) -> str:
    """The table of who names the one entry that is wrong, and of how long it takes."""
    single = [i for i, item in enumerate(items) if item.entry is not None]
    rows = []
    for name, given in answers.items():
        named = sum(given[i].named == (items[i].entry,) for i in single)
        correct = sum(a.accepted is item.is_right for a, item in zip(given, items, strict=True))
        seconds = [answer.seconds for answer in given]
        times = spread([1e3 * t for t in seconds], 1), f"{sum(seconds):.1f}"
        rows.append([name, f"{correct} of {len(items)}", str(named), *times])
    title = f"names the one wrong entry ({len(single)})"
    return table(["all gradients", "correct", title, "milliseconds", "seconds in all"], rows)


def _faults(items: Sequence[Item], answers: Sequence[Answer]) -> list[str]:
    """What the engine's own checker does not get right, by name."""
    said = {True: "called right", False: "called wrong", None: "no verdict"}
    too_small = [group_of(size) for size in SIZES if size < LISTED]
    parts = []
    for is_right, title in (
        (False, f"not caught by {OURS}, of {group_of(LISTED)} or more"),
        (True, f"not accepted by {OURS}"),
    ):
        lines = [
            f"- {item.name} ({item.group}): {said[answer.accepted]}"
            for item, answer in zip(items, answers, strict=True)
            if item.is_right is is_right
            and answer.accepted is not is_right
            and item.group not in too_small
        ]
        parts.append("\n".join([f"{len(lines)} {title}", *lines]))
    return parts
