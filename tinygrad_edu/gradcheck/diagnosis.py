"""Which usual mistake explains a wrong gradient?

Each mistake says what the right gradient would be if it had been made: for a flipped sign, minus
the given one. If that agrees with all slopes that were measured, the mistake is named.

For a function that the engine can record there is more to try: what the gradient would be if one
path on the tape were left out, counted twice, or had its sign flipped; and if the derivative of an
activation were taken at its output in place of its input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygrad_edu.calculus.neural import binary_cross_entropy, cross_entropy, sigmoid, softmax
from tinygrad_edu.gradcheck.compare import Comparison, Verdict
from tinygrad_edu.gradcheck.subject import Input, Subject, tape_of
from tinygrad_edu.recording import recording
from tinygrad_edu.rules import Primitive, unbroadcast
from tinygrad_edu.tape import Argument, Entry, reachable
from tinygrad_edu.tensor import lift, plain, record
from tinygrad_edu.walk import walk_back

__all__ = ["explain_by_tape", "explain_input", "explain_shape"]

# An explanation must hold to a millionth of the largest slope.
FIT = 1e-6
# Tapes with more reads than this are not taken apart.
MANY = 400


class Evidence:
    """The slopes that were measured along the entries of one input.

    Attributes:
        rows: directions of length 1; the slopes predicted by a gradient `c` are `rows @ c`.
        slopes: the slopes that were measured along them.
        slack: how far predictions may be off.
        off: how far those of the given gradient are off at most.
    """

    def __init__(self, comparison: Comparison, i: Input):
        start, stop = i.span.start, i.span.stop
        findings = [
            finding
            for finding in comparison.findings
            if finding.verdict in (Verdict.OK, Verdict.WRONG)
            and math.isfinite(finding.slope.value)
            and start <= finding.entries[0] < stop
        ]
        # Singles come first; a row is as long as the input.
        findings.sort(key=lambda finding: finding.entries.size)
        findings = findings[: max(20, 20_000_000 // max(stop - start, 1))]
        lengths = np.array([np.linalg.norm(finding.v) for finding in findings])
        self.slopes = np.array([finding.slope.value for finding in findings]) / lengths
        self.slack = np.array([finding.tolerance for finding in findings]) / lengths
        self.rows = np.zeros((len(findings), stop - start))
        for row, finding in zip(self.rows, findings, strict=True):
            row[finding.entries - start] = finding.v
        self.rows /= lengths[:, None]
        given = np.array([finding.given for finding in findings]) / lengths
        finite = np.isfinite(given)
        self.off = float(np.abs(given - self.slopes)[finite].max(initial=0.0))
        if not finite.all():
            self.off = math.inf

    def fits(self, candidate: np.ndarray) -> bool:
        """Whether a gradient predicts all slopes."""
        if not len(self.slopes) or not np.any(self.slopes) or not np.isfinite(candidate).all():
            return False
        off = np.abs(self.rows @ np.asarray(candidate, float).ravel() - self.slopes)
        # An explanation has to leave much less unexplained than there was.
        allowed = min(FIT * np.abs(self.slopes).max(), 0.01 * self.off)
        return bool(np.all(off <= self.slack + allowed))

    def factor(self, part: np.ndarray, rest: np.ndarray | None = None) -> float:
        """The k for which `rest + k * part` predicts the slopes best."""
        u = self.rows @ part.ravel()
        left = self.slopes - (0.0 if rest is None else self.rows @ rest.ravel())
        size = float(u @ u)
        return float(u @ left) / size if size else 0.0

    @property
    def count(self) -> int:
        """How many slopes say something about a factor."""
        return int(np.sum(np.abs(self.slopes) > FIT * np.abs(self.slopes).max(initial=0.0)))


# By the values alone.


def explain_shape(comparison: Comparison, i: Input, given: np.ndarray) -> str:
    """What would make a gradient of the wrong shape right; empty if nothing that is known."""
    evidence = Evidence(comparison, i)
    if given.dtype.kind not in "fiub" or not given.size:
        return ""
    if given.size == np.prod(i.shape) and evidence.fits(given):
        hint = ", or keepdims=True in the sum" if given.ndim < len(i.shape) else ""
        return f". The values are right: write .reshape({i.shape}){hint}"
    if given.T.shape == i.shape and evidence.fits(given.T):
        return ". It is transposed: the values of its .T are right"
    for name, summed in _sums(given, i.shape):
        if evidence.fits(summed):
            return f". A missing {name}: with it the values are right"
        k = evidence.factor(summed)
        if k and evidence.count > 1 and evidence.fits(k * summed):
            return f". A missing {name}, and a factor of {k:.4g}"
    return ""


def _sums(given: np.ndarray, shape: tuple[int, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """The sums of an array that have a shape."""
    axes = range(given.ndim)
    for axis in axes:
        for keepdims in (False, True):
            summed = given.sum(axis=axis, keepdims=keepdims)
            if summed.shape == shape:
                what = "sum over the batch" if axis == 0 else "sum"
                more = ", keepdims=True" if keepdims else ""
                yield f"{what}: .sum(axis={axis}{more})", summed
    try:
        fits = np.broadcast_shapes(shape, given.shape) == given.shape
    except ValueError:
        fits = False
    if fits and given.ndim - len(shape) != 1:
        yield "sum over the axes along which the input was broadcast", unbroadcast(given, shape)


def explain_input(comparison: Comparison, i: Input, given: np.ndarray) -> str:
    """The mistake that explains the wrong values of one input; empty if none is known."""
    evidence = Evidence(comparison, i)
    a = given.ravel()
    if not np.isfinite(a).all():
        return ""
    if not a.any():
        return "it is zero everywhere: is it computed at all?" if np.any(evidence.slopes) else ""
    if evidence.fits(-a):
        return "the sign is flipped: every value is minus the right one"
    if given.ndim == 2 and given.shape[0] == given.shape[1] and evidence.fits(given.T):
        return "it is transposed: the values of its .T are right"
    k = evidence.factor(a)
    if abs(k - 1) > 1e-8 and k and evidence.fits(k * a):
        named = _named_factor(1 / k, comparison.subject)
        if named or evidence.count > 1:
            return f"every value is {1 / k:.6g} times the right one{named}"
    return _missing_term(evidence, comparison.subject.x[i.span], a) or _pattern(comparison, i)


def _named_factor(k: float, subject: Subject) -> str:
    """Where a factor may come from."""

    def near(value: float) -> bool:
        return abs(k - value) <= FIT * abs(value)

    if near(-2) or near(-0.5):
        return ": a sign and a factor of 2"
    if near(2):
        return ": a factor of 2 too much (x**2 has the derivative 2x, 0.5 * x**2 has x)"
    if near(0.5):
        return ": a missing factor of 2 (x**2 has the derivative 2x)"
    for n, what in _sizes(subject):
        if near(n):
            return f": a missing division by {n}, {what}"
        if near(1 / n):
            return f": divided by {n}, {what}, once too often (a mean in place of a sum?)"
        if near(-n) or near(-1 / n):
            return f": a flipped sign, and {n}, {what}"
    return ""


def _sizes(subject: Subject) -> list[tuple[int, str]]:
    """The lengths that the function deals with, and what they are."""
    sizes: dict[int, str] = {}
    for i in subject.inputs:
        for axis, n in enumerate(i.shape):
            sizes.setdefault(n, f"the length of axis {axis} of {i.name}")
    for name, array in subject.constant_arrays():
        for axis, n in enumerate(array.shape):
            sizes.setdefault(n, f"the length of axis {axis} of {name}")
    for shape in subject.shapes:
        for axis, n in enumerate(shape):
            sizes.setdefault(n, f"the length of axis {axis} of the output")
    for i in subject.inputs:
        sizes.setdefault(int(np.prod(i.shape)), f"the size of {i.name}")
    for entry in tape_of(subject) or ():
        for axis, n in enumerate(entry.y.shape if entry.primitive else ()):
            sizes.setdefault(n, f"the length of axis {axis} of {entry.primitive.name}(...)")
    return [(n, what) for n, what in sizes.items() if n > 1]


def _missing_term(evidence: Evidence, x: np.ndarray, a: np.ndarray) -> str:
    """A penalty on the input itself that was left out or is too much."""
    if evidence.count < 3 or evidence.off < 1e-4 * np.abs(evidence.slopes).max():
        return ""
    for term, name, penalty in ((x, "x", "0.5 * k * sum(x**2)"), (np.sign(x), "sign(x)", "L1")):
        k = evidence.factor(term, a)
        if k and evidence.fits(a + k * term):
            what = "is missing: the gradient of" if k > 0 else "is too much: is it"
            return (
                f"a regulariser {what} a penalty such as {penalty}? "
                f"The difference is {abs(k):.6g} * {name} everywhere"
            )
    return ""


def _pattern(comparison: Comparison, i: Input) -> str:
    """Where the wrong entries lie, if that says something."""
    verdicts = comparison.verdicts[i.span].reshape(i.shape)
    wrong = np.argwhere(verdicts == Verdict.WRONG)
    if not comparison.is_full or len(i.shape) < 1 or len(wrong) < 1:
        return ""
    measured, given = (a[i.span].reshape(i.shape) for a in (comparison.measured, comparison.given))
    if len(i.shape) == 2 and len(wrong) == i.shape[0] > 1:
        off = (given - measured)[tuple(wrong.T)]
        rows = len(set(wrong[:, 0].tolist())) == i.shape[0]
        if rows and off.min() > 0 and np.ptp(off) <= FIT * off.max():
            return (
                f"one entry of each row is too large by {off[0]:.6g}: the gradient of a softmax "
                f"without the minus one at the label?"
            )
    if len(wrong) < verdicts.size and len(wrong) > 1:
        for axis in range(len(i.shape)):
            if i.shape[axis] > 1 and len(set(wrong[:, axis].tolist())) == 1:
                slot = [":"] * len(i.shape)
                slot[axis] = str(wrong[0, axis])
                return f"all wrong entries lie in {i.name}[{', '.join(slot)}]"
    return ""


# By the tape.


def explain_by_tape(
    comparison: Comparison, wrong: list[Input], place: Callable[[Entry], str]
) -> list[str]:
    """Mistakes in backward code by hand that explain the gradients of all inputs at once.

    Args:
        comparison: what was measured.
        wrong: the inputs whose gradient is wrong.
        place: an entry as it is shown.
    """
    subject = comparison.subject
    try:
        y, inputs = subject.traced(subject.x)
        with recording(True):
            output = subject.number(y)._entry
        tape = reachable(output)
    except Exception:
        # The engine need not be able to follow code whose gradient was derived by hand.
        return []
    evidence = {i.name: Evidence(comparison, i) for i in wrong}
    given = {i.name: comparison.given[i.span] for i in wrong}

    def gradients(of: Entry, entries: list[Entry]) -> dict[str, np.ndarray]:
        found = walk_back(reachable(of), np.ones_like(of.y), entries)
        return {
            i.name: found.get(e, np.zeros(i.shape)).ravel()
            for i, e in zip(subject.inputs, entries, strict=True)
            if i.name in given
        }

    try:
        right = gradients(output, inputs)
        for found, explanation, entry in _mutations(tape, output, inputs, gradients):
            # Just what was given, wherever that is wrong?
            if all(evidence[n].fits(given[n] - found[n] + right[n]) for n in given):
                return [f"{explanation} ({place(entry)})"]
        explained = _scaled_paths(subject, tape, output, inputs, gradients, right, evidence, given)
    except Exception:
        # Nobody's verdict is to be lost over a guess at its reason.
        return []
    return [f"{explanation} ({place(entry)})" for explanation, entry in explained]


# What gives the gradients of an entry by others, by the names of the inputs.
_Gradients = Callable[[Entry, list[Entry]], dict[str, np.ndarray]]


def _mutations(
    tape: list[Entry], output: Entry, inputs: list[Entry], gradients: _Gradients
) -> Iterator[tuple[dict[str, np.ndarray], str, Entry]]:
    """Wrong gradients, each with the mistake that gives it and the operation where it is made."""
    regions = list(_activations(tape))
    alike: dict[tuple[str, ...], dict[Entry, Entry]] = {}
    for h, z in regions:
        between = tape[tape.index(z) + 1 : tape.index(h) + 1]
        names = tuple(e.primitive.name for e in between if e.primitive and e.y.shape == h.y.shape)
        alike.setdefault(names, {})[h] = z
    # The same activation in every layer, all of them, each by itself.
    groups = [group for group in (*alike.values(), dict(regions)) if len(group) > 1]
    for explanation, slope in _SLIPS.items():
        for substituted in [*groups, *({h: z} for h, z in regions)]:
            try:
                found = gradients(*_replayed(tape, output, inputs, substituted, slope))
            except FloatingPointError:  # of exp(exp(scores)), say: the mistake is another one
                continue
            yield found, explanation, next(iter(substituted))
    for entry in tape:
        if entry.primitive in _WITHOUT_ONE:
            changed = Primitive(entry.primitive.forward, entry.primitive.name)
            changed.derivative(_WITHOUT_ONE[entry.primitive])
            kept, entry.primitive = entry.primitive, changed
            try:
                found = gradients(output, inputs)
            finally:
                entry.primitive = kept
            yield found, "the gradient of the loss lacks the minus one at the label", entry


# What stands in for the derivative of an activation h = g(z): a function of g', z and h.
_SLIPS: dict[str, Callable[[Callable[..., Any], Any, Any], Any]] = {
    "the derivative of the activation is taken at its output in place of its input: g_prime(h) "
    "where g_prime(z) belongs, with h = g(z)": lambda g_prime, z, h: g_prime(h),
    "the derivative of the activation is left out": lambda g_prime, z, h: np.ones_like(z),
    "h * (1 - h), the derivative of a sigmoid in terms of its output h, is given the input: "
    "z * (1 - z)": lambda g_prime, z, h: z * (1 - z),
    "1 - h**2, the derivative of a tanh in terms of its output h, is given the input: 1 - z**2": (
        lambda g_prime, z, h: 1 - z * z
    ),
    "h * (1 - h) is the derivative of a sigmoid, and this is another activation": (
        lambda g_prime, z, h: h * (1 - h)
    ),
    "1 - h**2 is the derivative of a tanh, and this is another activation": (
        lambda g_prime, z, h: 1 - h * h
    ),
}


def _scaled_paths(
    subject: Subject,
    tape: list[Entry],
    output: Entry,
    inputs: list[Entry],
    gradients: _Gradients,
    right: dict[str, np.ndarray],
    evidence: dict[str, Evidence],
    given: dict[str, np.ndarray],
) -> list[tuple[str, Entry]]:
    """A path on the tape that was left out, or taken with a wrong sign or factor, if one fits.

    What goes through a path is the gradient less the gradient with the path cut, `u`. If the path
    was taken k times, what was given is the right gradient plus (k - 1) * u.
    """
    if len(tape) > MANY:
        return []
    right = _without_idle_paths(tape, output, inputs, gradients, right)
    fitting = []
    for order, entry in enumerate(tape):
        for position, source in enumerate(entry.inputs):
            if source is None or not source.requires_grad:
                continue
            entry.inputs[position] = None
            try:
                cut = gradients(output, inputs)
            finally:
                entry.inputs[position] = source
            u = {name: right[name] - cut[name] for name in right}
            along = np.concatenate([evidence[n].rows @ u[n] for n in u])
            off = np.concatenate([evidence[n].rows @ (given[n] - right[n]) for n in u])
            if not along.any() or sum(evidence[n].count for n in u) < 3:
                continue
            k = 1 + float(along @ off) / float(along @ along)
            if all(evidence[n].fits(given[n] - (k - 1) * u[n]) for n in u):
                rank = next((r for r, usual in enumerate((0, 2, -1)) if abs(k - usual) < FIT), 3)
                size = np.abs(along)
                if rank == 3 and (abs(k - 1) < 1e-3 or np.sum(size > FIT * size.max()) < 3):
                    continue  # any small difference is a small multiple of something
                fitting.append((rank, -order, _path(tape, entry, position, k, subject), entry))
    fitting.sort(key=lambda fit: fit[:2])
    return [(explanation, entry) for _, _, explanation, entry in fitting[:1]]


def _without_idle_paths(
    tape: list[Entry],
    output: Entry,
    inputs: list[Entry],
    gradients: _Gradients,
    right: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Cuts the paths through which nothing comes in all, as the maximum that a softmax subtracts.

    Who derives a gradient by hand leaves them out from the beginning.
    """
    for entry in tape:
        if entry.primitive is None or entry.primitive.name != "np.subtract":
            continue
        source = entry.inputs[1]
        if source is None or not source.requires_grad:
            continue
        entry.inputs[1] = None
        cut = gradients(output, inputs)
        if any(np.abs(cut[n] - right[n]).max() > 1e-12 * np.abs(right[n]).max() for n in right):
            entry.inputs[1] = source
    return gradients(output, inputs)


# The gradient of a loss on logits with what is subtracted for the label left out.
_WITHOUT_ONE = {
    cross_entropy: lambda g, y, logits, labels: g * softmax(logits) / len(logits),
    binary_cross_entropy: lambda g, y, logits, targets: g * sigmoid(logits) / logits.size,
}


def _path(tape: list[Entry], entry: Entry, position: int, k: float, subject: Subject) -> str:
    """A path that was taken k times, by the name under which people know the mistake."""
    path = f"the path through argument {position} of {entry.primitive.name}"
    if abs(k) > FIT:
        named = {2: "is counted twice", -1: "has the wrong sign"}.get(
            round(k) if abs(k - round(k)) < FIT else 0
        )
        return f"{path} {named or f'is taken {k:.6g} times{_named_factor(k, subject)}'}"
    path += " is left out"
    after = {entry}
    for later in tape:
        if not after.isdisjoint(later.inputs):
            after.add(later)
    picks = any(e.primitive.name == "tg.getitem" for e in after)
    exponentials = {"np.exp", "tg.softmax", "tg.log_softmax", "tg.logsumexp"}
    if picks and any(e.primitive is not None and e.primitive.name in exponentials for e in tape):
        return f"the gradient of the softmax lacks the minus one at the label: {path}"
    if entry.y.size == 1 and entry.primitive.name in ("np.add", "np.subtract"):
        return f"a term of the sum is left out, such as a regulariser: {path}"
    return path


def _is_elementwise(entry: Entry) -> bool:
    """Whether each output value depends on the input values at its own place only."""
    primitive = entry.primitive
    if primitive is None or primitive.name == "tg.scatter_add":
        return False
    alike = all(s is None or s.y.shape == entry.y.shape for s in entry.inputs)
    unary = {"tg.relu", "tg.leaky_relu", "tg.sigmoid", "tg.softplus"}
    return alike and entry.y.ndim > 0 and (primitive.core_axes == 0 or primitive.name in unary)


def _activations(tape: list[Entry]) -> Iterator[tuple[Entry, Entry]]:
    """Pairs (h, z) where h is an elementwise function of z alone and z of several values."""
    read_by: dict[Entry, list[Entry]] = {}
    for entry in tape:
        for source in entry.inputs:
            if source is not None:
                read_by.setdefault(source, []).append(entry)
    for h in tape:
        if not _is_elementwise(h) or all(map(_is_elementwise, read_by.get(h, []))):
            continue
        inside = {h}
        pending = [h]
        edge: set[Entry] = set()
        while pending:
            for source in pending.pop().inputs:
                if source is None or not source.requires_grad or source in inside:
                    continue
                mixes = sum(s is not None and s.requires_grad for s in source.inputs) > 1
                if _is_elementwise(source) and not mixes:
                    inside.add(source)
                    pending.append(source)
                else:
                    edge.add(source)
        if len(edge) == 1:
            yield h, edge.pop()


def _replayed(
    tape: list[Entry],
    output: Entry,
    inputs: list[Entry],
    substituted: dict[Entry, Entry],
    slope: Callable[[Callable[..., Any], Any, Any], Any],
) -> tuple[Entry, list[Entry]]:
    """The program of a tape once more, with wrong derivatives for h as a function of z."""
    new: dict[Entry, Any] = {}
    with recording(True):
        for entry in tape:
            if entry.primitive is None:
                copy = Entry.of_input(entry.y, entry.requires_grad, entry.name)
                new[entry] = lift(copy, entry.y)
            elif entry in substituted:
                z = substituted[entry]
                new[entry] = record(_with_slope(tape, z, entry, slope), (new[z],), {})
            else:
                new[entry] = record(entry.primitive, _arguments(entry, new), entry.keywords)
    made = new[output]._entry
    return made, [new[e]._entry if e in new else Entry.of_input(e.y, True) for e in inputs]


def _arguments(entry: Entry, new: dict[Entry, Any]) -> tuple[Any, ...]:
    return tuple(
        value if source is None else new.get(source, value)
        for source, value in zip(entry.inputs, entry.values, strict=True)
    )


def _with_slope(
    tape: list[Entry],
    z: Entry,
    h: Entry,
    slope: Callable[[Callable[..., Any], Any, Any], Any],
) -> Primitive:
    """h as one operation of z, with another derivative."""
    between = tape[tape.index(z) + 1 : tape.index(h) + 1]

    def slope_at(point: np.ndarray) -> np.ndarray:
        at = lift(Argument.of_input(point, requires_grad=True), point)
        values: dict[Entry, Any] = {z: at}
        with recording(True):
            for entry in between:
                if entry.primitive and any(source in values for source in entry.inputs):
                    values[entry] = record(
                        entry.primitive, _arguments(entry, values), entry.keywords
                    )
            end = values[h]
        source = at._own_entry()
        found = walk_back(reachable(end._entry), np.ones_like(plain(end)), [source])
        return found[source]

    primitive = Primitive(lambda x: h.y, h.primitive.name)
    primitive.derivative(lambda g, y, x: g * slope(slope_at, x, y))
    return primitive
