"""The algebra of programs: a table of rewrite rules, and what applies it to a tape.

A rule reads `left -> right`. In it `x`, `y`, `z` stand for any array, `c` and `d` for a number that
is known beforehand (or an array of nothing but that), `ones` for an array of ones, `i`, `n` and
`shape` for anything that is no array of the program, and `k` for all keyword arguments of a call.
A rule is only used where both sides have the same shape and dtype; that is what lets `1 * x -> x`
be written so short.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_edu.calculus import neural
from tinygrad_edu.calculus.shapes import astype
from tinygrad_edu.compiler import lowering
from tinygrad_edu.compiler.patterns import (
    COMMUTATIVE,
    KINDS,
    Pattern,
    arguments_of,
    frozen,
    matches,
    number_of,
    primitive_of,
)
from tinygrad_edu.recording import recording
from tinygrad_edu.rules import PRIMITIVES, Primitive
from tinygrad_edu.tape import Argument, Entry, reachable
from tinygrad_edu.tensor import Tensor, lift
from tinygrad_edu.tracing import (
    _ARITHMETIC,
    Trace,
    _flows,
    pack,
    tracing,
    variable,
)

__all__ = ["ALGEBRA", "STABLE", "Rule", "Simplifier", "StableTrace", "lowered", "simplified"]

# Before a program is differentiated: what would overflow, or divide 0 by 0, as it is written.
STABLE = """
    1 / (1 + exp(-x))                    -> sigmoid(x)
    exp(x) / sum(exp(x), k)              -> softmax(x, axis=axis_of(k))      if is_plain(k)
    exp(x) / sum(exp(x))                 -> softmax(x, axis=None)
    softmax(x - y)                       -> softmax(x)          if is_column(y, x)
    log(softmax(x, k))                   -> log_softmax(x, k)
    log(softmax(x, k)[i])                -> log_softmax(x, k)[i]
    log(sigmoid(x))                      -> -softplus(-x)
    log(1 - sigmoid(x))                  -> -softplus(x)
    sum(-x)                              -> -sum(x)
    mean(-x)                             -> -mean(x)
    sum(log_softmax(x)[rows, y])         -> -(rows.size * cross_entropy(x, y))     if each(rows, x)
    mean(log_softmax(x)[rows, y])        -> -cross_entropy(x, y)                   if each(rows, x)
    -(-x)                                -> x
    (-x) / c                             -> -(x / c)
    (c * x) / d                          -> (c / d) * x
    1 * x                                -> x
"""
# Of a whole program.
ALGEBRA = """
    variable(x)                          -> x
    copy(x)                              -> x
    positive(x)                          -> x
    transpose(transpose(x))              -> x
    reshape(reshape(x, n), shape)        -> reshape(x, shape)
    reshape(x, shape)                    -> x
    broadcast_to(x, shape)               -> x
    x + 0                                -> x
    x - 0                                -> x
    1 * x                                -> x
    x / 1                                -> x
    x ** 1                               -> x
    x ** 2                               -> square(x)
    -(-x)                                -> x
    x + x                                -> 2 * x
    x + c * x                            -> (1 + c) * x
    (y + x) + x                          -> y + 2 * x
    (y + c * x) + d * x                  -> y + (c + d) * x
    c * x + d * x                        -> (c + d) * x
    c * (d * x)                          -> (c * d) * x
    (c * x) * y                          -> c * (x * y)
    (c * x) / d                          -> (c / d) * x
    c * (x / d)                          -> (c / d) * x
    c * (-x)                             -> -c * x
    -(c * x)                             -> -c * x
    (-x) / c                             -> x / -c
    x + (-y)                             -> x - y
    x - (-y)                             -> x + y
    (-x) * (-y)                          -> x * y
    (-x) * y                             -> -(x * y)
    (-x) / y                             -> -(x / y)
    x / (-y)                             -> -(x / y)
    broadcast_to(x, shape) + y           -> x + y
    broadcast_to(x, shape) - y           -> x - y
    y - broadcast_to(x, shape)           -> y - x
    broadcast_to(x, shape) * y           -> x * y
    broadcast_to(x, shape) / y           -> x / y
    y / broadcast_to(x, shape)           -> y / x
    reshape(sum(x, axis=n), shape)       -> sum(x, axis=n, keepdims=True)
    sum(-x, k)                           -> -sum(x, k)                  if is_short(k)
    sum(c * x)                           -> c * sum(x)
    sum(broadcast_to(x, shape))          -> (size(shape) / x.size) * sum(x)     if x.size
    sum(x, axis=n)                       -> x                           if n == ()
    ones @ x                             -> sum(x, axis=0)              if x.ndim == 2
    (x @ y[..., None])[..., 0]           -> x @ y                   if (x.ndim, y.ndim) == (2, 1)
    transpose(x @ y)                     -> transpose(y) @ transpose(x) if x.ndim == y.ndim == 2
    (c * x) @ y                          -> c * (x @ y)                 if smaller(x @ y, x)
    c < x                                -> x > c
    c > x                                -> x < c
    x > 0                                -> maximum(x, 0) > 0           if known(maximum(x, 0))
    x > 0                                -> relu(x) > 0                 if known(relu(x))
    astype(x, n)                         -> x
"""
# Of a program that is only to be run.
LOWERING = """
    sum(square(x))                       -> square_sum(x)               if is_small(x)
    sum(x * x)                           -> square_sum(x)               if is_small(x)
    x - one_hot(y, n)                    -> minus_one_hot(x, y)
"""

# The same, where nobody reads it.
FAST = """
    -(x + y)                             -> (-y) - x                    if smaller(y, x)
"""
# The same, where somebody does.
PLAIN = """
    c * x                                -> -x                          if c == -1
    y + c * x                            -> y - (-c) * x                if c < 0
    y - c * x                            -> y + (-c) * x                if c < 0
"""

_FUNCTIONS: dict[str, Any] = {
    getattr(f, "__name__"): f  # noqa: B009  (some stubs of NumPy know no name)
    for f in (
        *(np.exp, np.log, np.sum, np.mean, np.max, np.maximum, np.square, np.copy, np.positive),
        *(np.transpose, np.reshape, np.broadcast_to, neural.sigmoid, neural.softmax, neural.relu),
        *(neural.log_softmax, neural.softplus, neural.cross_entropy, astype),
    )
}
_FUNCTIONS |= {
    "variable": variable,
    "square_sum": lowering.square_sum,
    "minus_one_hot": lowering.minus_one_hot,
    "one_hot": neural.one_hot,
}


def _call(function: Any) -> Any:
    """The function with the keywords that `k` stands for, if it is among the arguments."""

    def called(*args: Any, **keywords: Any) -> Any:
        if args and isinstance(args[-1], dict):
            *args, more = args  # type: ignore[assignment]
            return function(*args, **more, **keywords)
        if args and isinstance(args[-1], Pattern) and args[-1].kind == "keywords":
            *args, more = args  # type: ignore[assignment]
            made = function(*args, **keywords)
            made.keywords = more
            return made
        return function(*args, **keywords)

    return called


_NAMESPACE = {name: _call(function) for name, function in _FUNCTIONS.items()}


# Rules of these only move values or compare them.
_OF_ANY_DTYPE = {
    *(PRIMITIVES[f] for f in (np.copy, np.positive, np.transpose, np.reshape, np.broadcast_to)),
    *(variable, astype),
    *(primitive_of(f) for f in (np.less, np.greater, np.invert)),
}


class Rule:
    """One line of a table.

    Attributes:
        text: as it stands there.
        left: what it fits to.
    """

    def __init__(self, text: str):
        self.text = " ".join(text.split())
        left, _, rest = self.text.partition(" -> ")
        right, _, condition = rest.partition(" if ")
        variables = {name: Pattern(None, name=name) for name in KINDS}
        self.left: Pattern = eval(left, {**_NAMESPACE, **variables})
        self._right = compile(right, self.text, "eval")
        self._condition = condition
        self.names = {node.id for node in ast.walk(ast.parse(left)) if isinstance(node, ast.Name)}

    def __repr__(self) -> str:
        return f"<rule {self.text}>"

    def fits_dtypes(self, entry: Entry, bound: dict[str, Any]) -> bool:
        """Whether the rule holds for such values: arithmetic of whole numbers wraps around.

        And numbers of several dtypes are rounded here or there.
        """
        labels = ("y",) if "one_hot" in self.text or "cross_entropy" in self.text else ()
        read = [v for name, v in bound.items() if KINDS[name] == "array" and name not in labels]
        if self.left.primitive in _OF_ANY_DTYPE:
            return True
        dtypes = {
            getattr(x.y if isinstance(x, Entry) else x, "dtype", None) for x in (entry, *read)
        }
        numbers = [v for name, v in bound.items() if KINDS[name] == "number"]
        if len(dtypes) > 1 or not _is_float(entry):
            return False
        # A factor that comes later must not let overflow what did not.
        is_half = entry.y.dtype == np.float16
        return not numbers or (not is_half and all(1e-6 <= abs(n) <= 1e6 for n in numbers))

    def right(self, simplifier: Simplifier, bound: dict[str, Any]) -> Any:
        """The right side with what the variables stand for, or None if the condition fails."""
        given = {name: _as_operand(value) for name, value in bound.items()}
        namespace: dict[str, Any] = {
            **_NAMESPACE,
            **given,
            "axis_of": lambda k: k.get("axis"),
            "size": lambda shape: float(np.prod(shape)),
            "each": _names_each_row,
            "is_short": lambda k: k.keys() <= {"axis", "keepdims"},
            "is_small": lambda x: x.dtype == float or x.size <= 2**18,
            "is_column": lambda y, x: y.ndim == x.ndim and y.shape[-1] == 1,
            "is_plain": lambda k: k.get("keepdims") is True and k.keys() <= {"axis", "keepdims"},
            "smaller": lambda x, y: x.size < y.size,
        }
        if self._condition and not simplifier.holds(self._condition, namespace):
            return None
        return eval(self._right, namespace)


def _is_float(entry: Entry) -> bool:
    return isinstance(entry.y, np.ndarray) and entry.y.dtype.kind == "f"


def _as_operand(value: Any) -> Any:
    return lift(value, value.y) if isinstance(value, Entry) else value


@functools.cache
def rules_of(table: str) -> list[Rule]:
    """The rules of a table, one for each line."""
    return [Rule(line) for line in table.splitlines() if line.strip()]


class Simplifier(Trace):
    """Builds programs that are as short as its rules make them.

    It is a trace in which equal operations are one entry, what is known beforehand is computed,
    and every entry that a rule fits is replaced. Entries go in in order, so that what an entry
    reads is simple already.

    Attributes:
        inputs: the entries that stand for what the program is given; all others without an
            operation are constants.
        steps: each rule that was used, with the entry before and the one after.
    """

    def __init__(self, rules: Sequence[Rule], inputs: Any, lowered: Any = None):
        super().__init__(strict=True)
        self.keeps_variables = False
        self._lowered = lowered or {}
        self.inputs = inputs
        self.steps: list[tuple[Rule, Entry, Any]] = []
        self._known: dict[Any, Entry] = {}
        self._rules: dict[Primitive, list[Rule]] = {}
        for rule in rules:
            self._rules.setdefault(rule.left.primitive, []).append(rule)
        self._looking_up = False

    def run(self, entries: list[Entry]) -> dict[Entry, Any]:
        """What becomes of each entry: another one, or a constant."""
        became: dict[Entry, Any] = {}
        with tracing(self), np.errstate(all="ignore"):
            for entry in entries:
                became[entry] = self._again(entry, became)
        return became

    def _again(self, entry: Entry, became: dict[Entry, Any]) -> Any:
        if entry.primitive is variable and self.keeps_variables:
            return entry  # gradients are taken by this very entry
        if entry.primitive is None:
            is_given = entry in self.inputs or isinstance(entry, Argument) or entry.requires_grad
            return entry if is_given else entry.y
        args = [
            value if source is None else became[source]
            for source, value in zip(entry.inputs, entry.values, strict=True)
        ]
        with recording(entry.requires_grad and not self._lowered):
            new = self.make(entry.primitive, args, entry.keywords, entry)
        if isinstance(new, Entry) and new is not entry:
            if entry.name and (new.name is None or not new.name.isidentifier()):
                new.name = entry.name
            new.where = new.where or entry.where
        return new

    def record(self, primitive: Primitive, args: Any, keywords: dict[str, Any]) -> Any:
        """An operation of the right side of a rule."""
        args = [self._packed(argument) for argument in args]
        args = [a._entry if isinstance(a, Tensor) else a for a in args]
        return _as_operand(self.make(primitive, args, keywords))

    def make(
        self, primitive: Primitive, args: Any, keywords: dict[str, Any], old: Entry | None = None
    ) -> Any:
        """The simplest entry, or the constant, for an operation on entries and constants."""
        primitive, args, keywords = _canonical(primitive, args, keywords)
        if _is_elementwise(primitive):
            args = _with_numbers(args)
        is_draw = getattr(primitive, "draws", False)
        is_kept = is_draw or primitive is lowering.label_index
        if not is_kept and not any(isinstance(a, Entry) for a in args):
            return primitive.forward(*args, **keywords)
        key = _key(primitive, args, keywords)
        if primitive is variable:
            key = (*key, old)
        if key in self._known and not is_draw:
            return self._known[key]
        if self._looking_up:
            raise LookupError
        inputs = [a if isinstance(a, Entry) else None for a in args]
        if old is not None and old.primitive is primitive and _is_call(old, args, keywords):
            entry = old
        else:
            values = [_y(a) for a in args]
            y = old.y if old is not None else primitive.forward(*values, **keywords)
            if primitive in _ARITHMETIC and all(type(v) in (float, int) for v in values):
                y = np.asarray(y).item()
            elif primitive is not pack:
                y = np.asarray(y)
            entry = Entry(primitive, values, inputs, keywords, y)
            entry.requires_grad = _flows(primitive, inputs, y)
        if is_draw:
            self.draws.append(entry)
            return entry
        simple = self._simplified(entry)
        self._known[key] = simple
        return simple

    def _simplified(self, entry: Entry) -> Any:
        if isinstance(entry.y, (int, float)):
            return entry  # a number of Python's, which has no dtype
        if entry.primitive in self._lowered and _is_usual_float(entry.inputs[0]):
            operands = [_as_operand(a) for a in arguments_of(entry)]
            new = self._lowered[entry.primitive](*operands, **entry.keywords)
            if new is not None and (new.shape, new.dtype) == (entry.y.shape, entry.y.dtype):
                return new._entry if isinstance(new, Tensor) else new
        for rule in self._rules.get(entry.primitive, ()):
            for bound in matches(rule.left, entry, {}):
                if not rule.fits_dtypes(entry, bound):
                    continue
                try:
                    right = rule.right(self, bound)
                except (ValueError, TypeError, IndexError):  # it is not made for these
                    continue
                if right is None:
                    continue
                new = right._entry if isinstance(right, Tensor) else right
                y = new.y if isinstance(new, Entry) else np.asarray(new)
                if isinstance(new, Entry) and type(y) is not type(entry.y):
                    continue
                if np.shape(y) == np.shape(entry.y) and (
                    isinstance(y, (float, int)) or y.dtype == np.asarray(entry.y).dtype
                ):
                    self.steps.append((rule, entry, new))
                    return new
        return entry

    def holds(self, condition: str, namespace: dict[str, Any]) -> bool:
        """Whether the condition of a rule holds."""
        if condition.startswith("known("):
            return self._looked_up(condition[6:-1], namespace) is not None
        return bool(eval(condition, namespace))

    def _looked_up(self, expression: str, namespace: dict[str, Any]) -> Any:
        """The entry of an expression, if the program computes it anyway."""
        self._looking_up = True
        try:
            found = eval(expression, namespace)
            return found._entry if isinstance(found, Tensor) else None
        except LookupError:
            return None
        finally:
            self._looking_up = False


def _is_usual_float(entry: Entry | None) -> bool:
    return entry is None or getattr(getattr(entry.y, "dtype", None), "char", "") in "fd"


def _names_each_row(rows: Any, x: Any) -> bool:
    """Whether an index names each row of `x` once, in order."""
    return isinstance(rows, np.ndarray) and np.array_equal(rows, np.arange(len(x)))


def _is_call(entry: Entry, args: Sequence[Any], keywords: dict[str, Any]) -> bool:
    """Whether an entry is the operation on these very arguments."""
    own = arguments_of(entry)
    same = len(own) == len(args) and all(a is b for a, b in zip(own, args, strict=True))
    return same and frozen(entry.keywords) == frozen(keywords)


def _key(primitive: Primitive, args: Any, keywords: dict[str, Any]) -> Any:
    """What makes two operations the same."""
    parts = [id(a) if isinstance(a, Entry) else frozen(a) for a in args]
    if primitive in COMMUTATIVE:
        parts.sort(key=repr)
    return primitive, tuple(parts), tuple(sorted((n, frozen(v)) for n, v in keywords.items()))


_BY_KEYWORD = {
    *(PRIMITIVES[f] for f in (np.sum, np.mean, np.max, np.min, np.transpose, np.copy)),
    *(neural.softmax, neural.log_softmax, neural.logsumexp, neural.relu, neural.leaky_relu),
}
_USUAL = {
    **dict.fromkeys(("axes", "axis", "dtype", "out"), None),
    "keepdims": False,
    "order": "C",
    "at_zero": 0.0,
    "where": True,
}


def _canonical(
    primitive: Primitive, args: Any, keywords: dict[str, Any]
) -> tuple[Primitive, Any, dict[str, Any]]:
    """The same operation, always written in the same way."""
    if primitive is PRIMITIVES[np.dot] and all(np.ndim(_y(a)) == 2 for a in args):
        return PRIMITIVES[np.matmul], args, keywords
    if primitive not in _BY_KEYWORD or any(isinstance(a, Entry) for a in args[1:]):
        return primitive, list(args), keywords
    ndim = np.ndim(_y(args[0]))
    keywords = {**dict(zip(primitive.parameters[1:], args[1:], strict=False)), **keywords}
    usual = {**_USUAL, **({"axis": -1} if primitive.name.startswith("tg.") else {})}
    axis = keywords.get("axis")
    if isinstance(axis, tuple) and len(axis) == 1:
        axis = axis[0]
    if isinstance(axis, (int, np.integer)):
        last = primitive.name.startswith("tg.") and axis in (-1, ndim - 1)
        axis = -1 if last else int(axis) % max(ndim, 1)
    if "axis" in keywords:
        keywords["axis"] = axis
    kept = {n: v for n, v in keywords.items() if not (n in usual and _is_usual(v, usual[n]))}
    if primitive is PRIMITIVES[np.copy]:
        kept = {}
    return primitive, list(args[:1]), kept


def _is_elementwise(primitive: Primitive) -> bool:
    f = primitive.forward
    is_ufunc = isinstance(f, np.ufunc) and f.signature is None
    return is_ufunc or primitive is PRIMITIVES[np.power]


def _with_numbers(args: list[Any]) -> list[Any]:
    """Constant arrays of nothing but one number as that number, where it changes no shape."""
    shape = np.broadcast_shapes(*(np.shape(_y(a)) for a in args))
    whole = [a.y for a in args if isinstance(a, Entry) and np.shape(a.y) == shape]
    whole = [y for y in whole if isinstance(y, np.ndarray) and y.dtype.kind == "f"]
    if not whole:
        return args

    def shorter(a: Any) -> Any:
        fits = isinstance(a, (np.ndarray, np.generic)) and a.dtype == whole[0].dtype
        number = number_of(a) if fits else None
        return a if number is None else number

    return [shorter(a) for a in args]


def _is_usual(value: Any, usual: Any) -> bool:
    return value is usual or (isinstance(value, (int, float)) and value == usual)


def _y(a: Any) -> Any:
    return a.y if isinstance(a, Entry) else a


class StableTrace(Trace):
    """A trace in which a result is made stable before gradients of it are taken.

    Attributes:
        inputs: the entries of what the program is given.
        steps: the rules that were used.
    """

    def __init__(self, strict: bool, inputs: Any = ()):
        super().__init__(strict)
        self.inputs = set(inputs)
        self.steps: list[tuple[Rule, Entry, Any]] = []

    def simplified(self, y: Any) -> Any:
        """The same result by stable operations."""
        if not isinstance(y, Tensor):
            return y
        entry = y._own_entry()
        simplifier = Simplifier(rules_of(STABLE), self.inputs | self.captured.keys())
        simplifier.keeps_variables = True
        new = simplifier.run(reachable(entry))[entry]
        self.steps += simplifier.steps
        return _as_operand(new)


def simplified(
    outputs: Sequence[Entry], inputs: Any, draws: Sequence[Entry] = ()
) -> tuple[list[Any], Simplifier]:
    """The outputs of a program after all rules, and what made them so."""
    simplifier = Simplifier(rules_of(ALGEBRA), set(inputs))
    became = simplifier.run(reachable(*outputs, *draws))
    return [became[entry] for entry in outputs], simplifier


def lowered(
    outputs: Sequence[Any], inputs: Any, draws: Sequence[Entry], fast: bool = True
) -> tuple[list[Any], Any]:
    """The same in operations of NumPy alone, as far as it goes."""
    table = LOWERING + ALGEBRA + (FAST if fast else PLAIN)
    simplifier = Simplifier(rules_of(table), set(inputs), lowering.operations(careful=fast))
    became = simplifier.run(reachable(*(e for e in outputs if isinstance(e, Entry)), *draws))
    return [became[e] if isinstance(e, Entry) else e for e in outputs], simplifier
