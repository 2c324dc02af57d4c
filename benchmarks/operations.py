"""What random programs are made of: NumPy operations, and the same in PyTorch.

One operation is one line of a table, `numpy spelling | another spelling => torch`; without the
arrow PyTorch has the same under `torch.`. {0}, {1} are the values that it reads, {out} is what
statements make. A table says of all its lines to what they may be applied, and how other
placeholders are drawn.

The operations are made to be differentiable with certainty: no two values of which the larger is
taken are closer than APART, what must be positive or invertible is made so.
"""

from __future__ import annotations

import itertools
import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

APART = 0.01
MOST_VALUES = 60
TRIES = 12

Parameters = dict[str, Any]
Accepts = Callable[..., Any]
Draw = Callable[..., Parameters | None]


@dataclass(frozen=True)
class Operation:
    """One operation in NumPy and in PyTorch, and what it may be applied to.

    Attributes:
        numpy: an expression, or statements that make {out}.
        torch: the same for PyTorch; `None` if it has no such thing.
        accepts: whether it may be applied to these arrays.
        parameters: draws what else stands in the texts; `None` if nothing fits.
        reads: how many values it reads.
        in_place: whether it changes the first of them, and makes no other.
    """

    numpy: str
    torch: str | None
    accepts: Accepts = lambda *arrays: True
    parameters: Draw = lambda rng, *arrays: {}
    reads: int = 1
    in_place: bool = False


def table(
    text: str,
    accepts: Accepts = lambda *arrays: True,
    parameters: Draw = lambda rng, *arrays: {},
    in_place: bool = False,
) -> list[Operation]:
    """The operations of a table, one in each spelling."""
    operations = []
    for line in text.strip().split("\n"):
        spellings, arrow, torch = (part.strip() for part in line.partition("=>"))
        first, *_ = alternatives = spellings.split(" | ")
        other = None if in_place else (torch if arrow else first).replace("np.", "torch.")
        reads = 1 + max(int(place) for place in re.findall(r"\{(\d)\}", spellings))
        operations += [
            Operation(numpy.replace("; ", "\n"), other and other.replace("; ", "\n"), accepts,
                      parameters, reads, in_place)
            for numpy in alternatives
        ]  # fmt: skip
    return operations


def literal(value: Any) -> str:
    """The array as source."""
    text = np.array2string(np.asarray(value), separator=", ", floatmode="unique", threshold=10**6)
    return f"np.array({' '.join(text.split())})"


# What may be applied to what.


def apart(x: Any, y: Any = 0.0) -> bool:
    """Whether no entry of x is close to y."""
    return bool(np.all(np.abs(np.subtract(x, y)) > APART))


def between_integers(x: Any) -> bool:
    """Whether no entry is close to an integer."""
    return apart(x, np.rint(x))


def distinct(x: Any) -> bool:
    """Whether no two entries are close to each other."""
    return bool(np.all(np.diff(np.sort(np.ravel(x))) > APART))


def broadcast(*arrays: Any) -> bool:
    """Whether the arrays broadcast."""
    try:
        return bool(np.broadcast_shapes(*map(np.shape, arrays))) or True
    except ValueError:
        return False


def has_axes(x: Any) -> bool:
    """Whether it is not a single number."""
    return np.ndim(x) > 0


def has_axes_apart(x: Any) -> bool:
    """Whether it is not a single number and no entry is close to 0."""
    return np.ndim(x) > 0 and apart(x)


def matrices(*arrays: Any) -> bool:
    """Whether all are matrices."""
    return all(np.ndim(x) == 2 for x in arrays)


def stacks(x: Any) -> bool:
    """Whether it is a matrix or a stack of matrices."""
    return np.ndim(x) > 1


def vectors(*arrays: Any) -> bool:
    """Whether all are vectors."""
    return all(np.ndim(x) == 1 for x in arrays)


def vectors_alike(*arrays: Any) -> bool:
    """Whether all are vectors of one length."""
    return vectors(*arrays) and alike(*arrays)


def longer(least: int) -> Accepts:
    """Whether all are vectors, the first of at least this length."""
    return lambda *arrays: vectors(*arrays) and len(arrays[0]) >= least


def alike(*arrays: Any) -> bool:
    """Whether all have one shape."""
    return len({np.shape(x) for x in arrays}) == 1


def alike_with_axes(*arrays: Any) -> bool:
    """Whether all have one shape, of one or two axes."""
    return alike(*arrays) and 0 < np.ndim(arrays[0]) < 3


def may_grow(*arrays: Any) -> bool:
    """Whether they broadcast and there is room for another axis."""
    return broadcast(*arrays) and max(map(np.ndim, arrays)) < 4


def last_axes_alike(a: Any, b: Any) -> bool:
    """Whether they broadcast and both have the same last axis."""
    return broadcast(a, b) and np.ndim(a) > 0 < np.ndim(b) and a.shape[-1] == b.shape[-1]


def fits_into(y: Any, x: Any) -> bool:
    """Whether y broadcasts to the shape of x."""
    return broadcast(x, y) and np.broadcast_shapes(np.shape(x), np.shape(y)) == np.shape(x)


def works(function: Callable[..., Any], least: int = 0) -> Accepts:
    """Whether the function takes them, all of at least so many axes."""

    def accepts(*arrays: Any) -> bool:
        try:
            function(*arrays)
        except ValueError:
            return False
        return min(map(np.ndim, arrays)) >= least

    return accepts


def regular(x: Any) -> bool:
    """Whether the singular values of a matrix are far from each other and from 0."""
    if not matrices(x):
        return False
    values = np.linalg.svd(x, compute_uv=False)
    return bool(values.min() > 0.2 and np.all(-np.diff(values) > 0.2))


def tall(x: Any, *more: Any) -> bool:
    """Whether a matrix has columns that are far from dependent; and as many rows as the others."""
    return (
        regular(x)
        and x.shape[0] >= x.shape[1]
        and all(0 < np.ndim(b) < 3 and len(b) == len(x) for b in more)
    )


def solvable(x: Any, *more: Any) -> bool:
    """Whether SYMMETRIC is small and well conditioned; and as many rows in the others."""
    if not matrices(x) or len(x) > 4 or np.max(np.abs(x)) > 4:
        return False
    return all(0 < np.ndim(b) < 3 and len(b) == len(x) for b in more)


def asymmetric(x: Any, *more: Any) -> bool:
    """Whether ASYMMETRIC is far from singular."""
    if not solvable(x, *more) or x.shape[0] != x.shape[1]:
        return False
    return bool(np.linalg.cond(x @ x / 8 + 1.5 * np.eye(len(x))) < 30)


def gaps(x: Any) -> bool:
    """Whether the eigenvalues of SYMMETRIC are far from each other."""
    return solvable(x) and bool(np.all(np.diff(np.linalg.eigvalsh(x @ x.T / 2)) > 0.2))


def target(x: Any, *more: Any) -> bool:
    """Whether it can be written into without writing the same place twice."""
    return np.ndim(x) > 0 and x.flags.writeable and 0 not in x.strides


# How parameters are drawn.


def some_axis(rng: Any, x: Any) -> int:
    """One axis, from the front or from the back."""
    return int(rng.integers(-x.ndim, x.ndim))


def one_axis(rng: Any, *arrays: Any, least: int = 1) -> Parameters | None:
    """{axis}, at least so long, another {b}, and a number {k} from 0 to its length less one."""
    axis = some_axis(rng, arrays[0])
    n = arrays[0].shape[axis]
    k = int(rng.integers(n))
    return {"axis": axis, "b": some_axis(rng, arrays[0]), "k": k} if n >= least else None


def long_axis(rng: Any, *arrays: Any) -> Parameters | None:
    """As `one_axis`, of length 2 or more."""
    return one_axis(rng, *arrays, least=2)


def distinct_along(rng: Any, x: Any) -> Parameters | None:
    """As `one_axis`, where no two entries are close to each other."""
    drawn = one_axis(rng, x)
    gaps = np.diff(np.sort(x, axis=drawn["axis"]), axis=drawn["axis"]) if drawn else np.zeros(1)
    return drawn if np.all(gaps > APART) else None


def some_axes(rng: Any, x: Any) -> Parameters:
    """Axes: {over} as NumPy takes them, {dims} as PyTorch does; the numbers are {axes}."""
    kind = int(rng.integers(3))
    order = tuple(int(a) - int(rng.integers(2)) * x.ndim for a in rng.permutation(x.ndim))
    axes: Any = (None, order[0], order[: int(rng.integers(1, x.ndim + 1))])[kind]
    dims = (tuple(range(x.ndim)), order[:1], axes)[kind]
    keepdims = bool(rng.integers(2))
    return {
        "over": f"axis={axes}, keepdims={keepdims}",
        "dims": f"dim={dims}, keepdim={keepdims}",
        "axes": dims,
    }


def rows_along(x: Any, axes: Sequence[int]) -> Any:
    """The entries that a reduction of these axes puts together, one row for each result."""
    last = [axis % x.ndim for axis in axes]
    first = [axis for axis in range(x.ndim) if axis not in last]
    return np.transpose(x, (*first, *last)).reshape(math.prod(x.shape[a] for a in first), -1)


def spread_out(rng: Any, x: Any) -> Parameters | None:
    """Axes along which the deviation is not close to 0, and {ddof}."""
    drawn = {**some_axes(rng, x), "ddof": int(rng.integers(2))}
    rows = rows_along(x, drawn["axes"])
    return drawn if rows.shape[1] > 2 and np.min(np.std(rows, axis=1)) > 0.1 else None


def one_extreme(rng: Any, x: Any) -> Parameters | None:
    """Axes along which no two values are close to each other."""
    drawn = some_axes(rng, x)
    rows = np.sort(rows_along(x, drawn["axes"]), axis=1)
    return drawn if np.all(np.diff(rows, axis=1) > APART) else None


def number(rng: Any, *arrays: Any) -> Parameters:
    """{c}, a number that is not close to 0."""
    return {"c": round(float(rng.uniform(0.3, 2.0) * rng.choice([-1, 1])), 2)}


def constants(rng: Any, x: Any, *more: Any) -> Parameters:
    """For x a {mask}, {targets} from 0 to 1, and a {row} that broadcasts; {d}, and {k} in x."""
    sides = [int(n) if rng.integers(3) else 1 for n in np.shape(x)]
    shape = tuple(sides[int(rng.integers(len(sides) + 1)) :])
    return {
        "mask": literal(rng.integers(2, size=np.shape(x)) > 0),
        "targets": literal(rng.uniform(0, 1, np.shape(x)).round(2)),
        "row": literal(rng.uniform(-2, 2, shape).round(2)),
        "d": number(rng)["c"],
        "k": int(rng.integers(np.size(x))),
    }


def between(rng: Any, x: Any) -> Parameters | None:
    """{c} and {d}, which is larger, to which no entry is close."""
    for _ in range(TRIES):
        c, d = sorted(rng.uniform(-1.5, 1.5, 2).round(2).tolist())
        if apart(x, c) and apart(x, d):
            return {"c": c, "d": d}
    return None


def new_shape(rng: Any, x: Any) -> Parameters:
    """{shape}, into which x can be brought, and {given}, the same with one -1."""
    rest, shape = x.size, []
    while rest > 1 and len(shape) < 3:
        shape.append(int(rng.choice([d for d in range(1, rest + 1) if rest % d == 0])))
        rest //= shape[-1]
    shape.append(rest)
    given = list(shape)
    given[int(rng.integers(len(given)))] = -1
    return {"shape": tuple(shape), "given": tuple(given)}


def new_order(rng: Any, x: Any) -> Parameters:
    """{order}, a permutation of the axes."""
    return {"order": tuple(int(a) for a in rng.permutation(x.ndim))}


def stretched(rng: Any, x: Any) -> Parameters:
    """{shape}, to which x broadcasts."""
    shape = tuple(3 if n == 1 and rng.integers(2) else n for n in np.shape(x))
    return {"shape": (2,) * int(rng.integers(2)) + shape}


def joined(rng: Any, *arrays: Any) -> Parameters | None:
    """{axis}, along which these can be joined."""
    axis = some_axis(rng, arrays[0])
    rests = {(x.ndim, *np.delete(x.shape, axis)) if axis < x.ndim else None for x in arrays}
    return {"axis": axis} if len(rests) == 1 else None


def places(rng: Any, x: Any) -> Parameters:
    """{axis} and {places} along it, with repeats."""
    axis = some_axis(rng, x)
    drawn = rng.integers(x.shape[axis], size=int(rng.integers(1, 4)))
    return {"axis": axis, "places": drawn.tolist()}


def shifted(rng: Any, x: Any) -> Parameters:
    """One or several {axes}, and how far to {roll}."""
    axes = some_axes(rng, x)["axes"]
    roll = tuple(rng.integers(-2, 3, size=len(axes)).tolist())
    return {"axes": axes, "roll": roll}


def padded(rng: Any, x: Any) -> Parameters:
    """{widths} for NumPy and {pads}, the last axis first, for PyTorch; with {c}."""
    widths = [(int(rng.integers(2)), int(rng.integers(3))) for _ in range(x.ndim)]
    return {"widths": widths, "pads": [n for pair in reversed(widths) for n in pair], **number(rng)}


def offset(rng: Any, x: Any) -> Parameters:
    """{k}, a diagonal that is there, and as many {labels} of columns as there are rows."""
    return {
        "k": int(rng.integers(1 - x.shape[-2], x.shape[-1])),
        "labels": literal(rng.integers(x.shape[-1], size=x.shape[0])),
    }


def dimension(rng: Any, x: Any, *more: Any) -> Parameters:
    """{n}, the number of rows, and a small power {k}."""
    return {"n": x.shape[0], "k": int(rng.integers(-2, 4))}


def contracted(rng: Any, a: Any, b: Any) -> Parameters | None:
    """{axes}, one of a and one of b, that are as long as each other."""
    pairs = [(i, j) for i in range(a.ndim) for j in range(b.ndim) if a.shape[i] == b.shape[j]]
    if not pairs:
        return None
    i, j = pairs[int(rng.integers(len(pairs)))]
    return {"axes": ([i], [j])}


def subscripts(rng: Any, *arrays: Any) -> Parameters | None:
    """{subscripts}: letters by the lengths of the axes, of which some go together."""
    letters: dict[str, int] = {}
    terms = []
    for x in arrays:
        term = ""
        for n in x.shape:
            known = [a for a, length in letters.items() if length == n]
            if not known or rng.integers(3) == 0:
                known = ["ijklmnop"[len(letters)]]
            term += str(rng.choice(known))
            letters[term[-1]] = n
        terms.append(term)
    kept = [a for a in letters if rng.integers(2)]
    result = "".join(str(letter) for letter in rng.permutation(kept))
    fits = math.prod(letters.values()) <= 400
    return {"subscripts": f"{','.join(terms)}->{result}"} if fits else None


def index_of(rng: Any, shape: Sequence[int], repeats: bool = True) -> str:
    """An index of any kind that NumPy and PyTorch read alike, as text.

    That is: no negative steps, and no integers beside arrays.
    """
    kind = int(rng.integers(5)) if shape else 0
    if kind == 3:  # a mask of everything, or of the first axis
        return literal(rng.integers(2, size=shape if rng.integers(2) else shape[:1]) > 0)
    parts = [_basic(rng, n, integers=kind < 2) for n in shape]
    if kind == 2:
        axis = int(rng.integers(len(shape)))
        parts[axis] = _positions(rng, shape[axis], repeats)
    elif kind == 4 and len(shape) > 1:  # two arrays that go together
        axis = int(rng.integers(len(shape) - 1))
        length = int(rng.integers(1, 4)) if repeats else 1
        for a in (axis, axis + 1):
            parts[a] = literal(rng.integers(shape[a], size=length))
    elif kind < 2 and rng.integers(2):  # with a new axis, or an ellipsis in place of an axis
        cut = int(rng.integers(len(parts) + 1))
        new = bool(rng.integers(2))
        parts = [*parts[:cut], "None" if new else "...", *parts[cut + (not new) :]]
    return ", ".join(parts) or "()"


def _basic(rng: Any, n: int, integers: bool) -> str:
    kind = int(rng.integers(4))
    if kind == 0 and integers:
        return str(int(rng.integers(-n, n)))
    if kind == 1 and n > 1:
        start = int(rng.integers(n - 1))
        return f"{start}:{int(rng.integers(start + 1, n + 1))}"
    return f"{int(rng.integers(2))}::2" if kind == 2 and n > 1 else ":"


def _positions(rng: Any, n: int, repeats: bool) -> str:
    """An array of positions along an axis."""
    if not repeats:
        return literal(rng.permutation(n)[: int(rng.integers(1, n + 1))])
    shape = (2, 2) if rng.integers(4) == 0 else (int(rng.integers(1, 4)),)
    return literal(rng.integers(-n, n, size=shape))


def read_at(rng: Any, x: Any) -> Parameters:
    """{index}, at which to read."""
    return {"index": index_of(rng, np.shape(x))}


def written_at(rng: Any, x: Any, *values: Any) -> Parameters | None:
    """{index}, at which the values can be assigned, and a number {c}."""
    if np.ndim(x) == 0:
        return None
    overlap = any(np.may_share_memory(x, value) for value in values)
    for _ in range(TRIES):
        index = index_of(rng, np.shape(x), repeats=False)
        if overlap and "np.array" in index:
            continue  # NumPy reads there what it has just written
        place = eval(f"x[{index}]", {"np": np, "x": x})
        if place.size and all(fits_into(value, place) for value in values):
            return {"index": index, **number(rng)}
    return None


SYMMETRIC = "({0} @ {0}.T / 2 + 3 * np.eye({n}))"
ASYMMETRIC = "({0} @ {0} / 8 + 1.5 * np.eye({n}))"

# Elementwise functions of one value. What has a narrow domain is given something made to lie in it.
ONE = [
    *table("""
        np.tanh({0}) | tg.tanh({0})
        np.sin({0})
        np.cos({0})
        np.square({0}) | {0} ** 2 | np.power({0}, 2)
        np.expm1({0} / 2)
        np.sinh({0} / 2)
        np.cosh({0} / 2)
        np.exp({0} / 2)
        np.exp2({0} / 2)
        np.deg2rad({0}) | np.radians({0})
        np.rad2deg({0}) | np.degrees({0})
        np.positive({0}) | +{0}
        np.negative({0}) | -{0}
        np.arctan({0}) => torch.atan({0})
        np.arcsinh({0}) => torch.asinh({0})
        np.arcsin(0.9 * np.tanh({0})) => torch.asin(0.9 * torch.tanh({0}))
        np.arccos(0.9 * np.tanh({0})) => torch.acos(0.9 * torch.tanh({0}))
        np.arctanh(0.9 * np.tanh({0})) => torch.atanh(0.9 * torch.tanh({0}))
        np.arccosh(1.5 + {0} ** 2) => torch.acosh(1.5 + {0} ** 2)
        np.tan(0.9 * np.tanh({0}))
        np.log(1 + {0} * {0})
        np.log2(1 + {0} * {0})
        np.log10(1 + {0} * {0})
        np.log1p({0} ** 2)
        np.sqrt(1 + {0} * {0})
        np.reciprocal(1.5 + np.tanh({0})) | 1 / (1.5 + np.tanh({0}))
        {0} ** 3 / 8
        2 ** {0}
        np.ldexp({0}, -1) => {0} / 2
        np.copy({0}) | {0}.copy() | np.array({0}) | {0}.astype(float) => {0}.clone()
        np.nan_to_num({0}) | np.conjugate({0}) | np.nextafter({0}, 9.0) => {0} * 1
        np.real({0}) | np.real_if_close({0}) | {0}.real | {0}.conj() => {0} * 1
        {0} + np.zeros_like({0}) + np.ones_like({0})
        np.full_like({0}, 2.0) * {0}
        tg.sigmoid({0}) => torch.sigmoid({0})
        tg.softplus({0}) => torch.nn.functional.softplus({0}, threshold=50)
        {0}
    """),
    *table(
        """
        np.sinc({0})
        np.i0({0}) => torch.special.i0({0})
        np.cbrt({0}) => torch.sign({0}) * torch.abs({0}) ** (1 / 3)
        np.abs({0}) | np.fabs({0}) | abs({0})
        {0} * np.sign({0})
        tg.relu({0}) => torch.relu({0})
        tg.leaky_relu({0}) => torch.nn.functional.leaky_relu({0})
        np.heaviside({0}, 0.5) * {0} => torch.relu({0})
        """,
        apart,
    ),
    *table(
        """
        np.sqrt({0}) | {0} ** 0.5
        np.log({0})
        {0} ** -1.5
        """,
        lambda x: np.all(x > 0.2),
    ),
    *table("np.reciprocal({0}) | {0} ** -1", lambda x: np.all(np.abs(x) > 0.3)),
    *table(
        """
        np.floor({0}) * {0}
        {0} - np.trunc({0}) / 2
        np.modf({0})[0] => torch.frac({0})
        np.rint({0} + 0.5) * {0} => torch.ceil({0}) * {0}
        """,
        between_integers,
    ),
    *table(
        """
        {0} % 1.5 | np.remainder({0}, 1.5) | np.mod({0}, 1.5) => torch.remainder({0}, 1.5)
        np.divmod({0}, 1.5)[1] => torch.remainder({0}, 1.5)
        np.fmod({0}, 1.5)
        {0} // 1.5 * {0} => torch.floor({0} / 1.5) * {0}
        """,
        lambda x: between_integers(x / 1.5),
    ),
    *table(
        "np.frexp({0})[0] => {0} / 2.0 ** (torch.floor(torch.log2(torch.abs({0}))) + 1)",
        lambda x: apart(x) and between_integers(np.log2(np.abs(x))),
    ),
]

# With constants.
WITH_CONSTANTS = [
    *table(
        """
        {0} * {c}
        {c} * {0}
        {0} + {c}
        {c} - {0}
        {0} / {c}
        {c} / (1.5 + np.tanh({0}))
        """,
        parameters=number,
    ),
    *table(
        """
        {0} * {row}
        {row} * {0}
        {row} + {0}
        np.subtract({row}, {0}) => {row} - {0}
        np.where({mask}, {0}, {row})
        """,
        parameters=constants,
    ),
    *table(
        """
        np.maximum({0}, {c}) | np.fmax({c}, {0}) => torch.clamp({0}, min={c})
        np.minimum({0}, {c}) | np.fmin({0}, {c}) => torch.clamp({0}, max={c})
        np.clip({0}, {c}, None) | {0}.clip(min={c}) => torch.clamp({0}, min={c})
        np.clip({0}, {c}, {d}) | {0}.clip({c}, {d}) => torch.clamp({0}, {c}, {d})
        np.where({0} > {c}, {0}, 0.1 * {0})
        """,
        parameters=between,
    ),
]

# Elementwise functions of two values that broadcast.
TWO = [
    *table(
        """
        {0} + {1} | np.add({0}, {1})
        {0} - {1} | np.subtract({0}, {1})
        {0} * {1} | np.multiply({0}, {1})
        {0} + {1} * {0}
        {0} / (1.5 + np.tanh({1}))
        np.logaddexp({0}, {1})
        np.logaddexp2({0}, {1})
        np.broadcast_arrays({0}, {1})[0] => torch.broadcast_tensors({0}, {1})[0]
        np.logspace({0} / 8, {1} / 8, 3)[1] => 10 ** (({0} + {1}) / 16)
        np.hypot({0}, 1.5 + np.tanh({1}))
        np.arctan2({0}, 1.5 + np.tanh({1})) => torch.atan2({0}, 1.5 + torch.tanh({1}))
        """,
        broadcast,
    ),
    # At an exponent of 0 PyTorch's second derivatives are 0, which is wrong.
    *table(
        """
        (1.5 + np.tanh({0})) ** {1}
        np.power(1.5 + np.tanh({0}), {1}) => (1.5 + torch.tanh({0})) ** {1}
        np.float_power(1.5 + np.tanh({0}), {1}) => (1.5 + torch.tanh({0})) ** {1}
        """,
        lambda a, b: broadcast(a, b) and apart(b),
    ),
    *table("np.divide({0}, {1}) | {0} / {1}", lambda a, b: broadcast(a, b) and apart(b / 40)),
    *table(
        """
        np.maximum({0}, {1})
        np.minimum({0}, {1})
        np.fmax({0}, {1})
        np.fmin({0}, {1})
        np.where({0} > {1}, {0}, {1} ** 2)
        """,
        lambda a, b: broadcast(a, b) and apart(a, b),
    ),
    *table(
        """
        np.copysign({0}, {1})
        np.arctan2({0}, {1}) => torch.atan2({0}, {1})
        np.hypot({0}, {1})
        """,
        lambda a, b: broadcast(a, b) and apart(a / 10) and apart(b / 10),
    ),
    *table(
        "np.remainder({0}, 1.5 + np.tanh({1})) | {0} % (1.5 + np.tanh({1}))",
        lambda a, b: broadcast(a, b) and between_integers(a / (1.5 + np.tanh(b))),
    ),
    *table(
        """
        np.select([{0} > 0, {1} > 0], [{0} * {1}, {1}], 0.5) \
            => torch.where({0} > 0, {0} * {1}, torch.where({1} > 0, {1}, 0.5))
        """,
        lambda a, b: alike(a, b) and apart(a) and apart(b),
    ),
    *table("np.choose({mask} * 1, [{0}, {1}]) => torch.where({mask}, {1}, {0})", alike, constants),
    *table(
        """
        tg.mse({0}, {1}) => torch.mean(({0} - {1}) ** 2)
        np.vdot({0}, {1}) => torch.sum({0} * {1})
        np.average({0}, weights=np.exp({1})) \
            => torch.sum({0} * torch.exp({1})) / torch.sum(torch.exp({1}))
        """,
        alike,
    ),
    *table(
        """
        np.linspace({0}, {1}, 3) \
            => torch.stack([{0} + 0 * {1}, ({0} + {1}) / 2, {1} + 0 * {0}])
        np.linspace({0}, {1}, 3, axis=-1) \
            => torch.stack([{0} + 0 * {1}, ({0} + {1}) / 2, {1} + 0 * {0}], dim=-1)
        np.geomspace(1.5 + np.tanh({0}), 1.5 + np.tanh({1}), 3)[1] \
            => torch.sqrt((1.5 + torch.tanh({0})) * (1.5 + torch.tanh({1})))
        """,
        may_grow,
    ),
]

# What puts many values into one, and what runs along an axis.
REDUCTIONS = [
    *table(
        """
        np.sum({0}, {over}) | {0}.sum({over}) | np.nansum({0}, {over}) => torch.sum({0}, {dims})
        np.mean({0}, {over}) | {0}.mean({over}) => torch.mean({0}, {dims})
        np.nanmean({0}, {over}) => torch.mean({0}, {dims})
        """,
        has_axes,
        some_axes,
    ),
    *table(
        """
        np.max({0}, {over}) | {0}.max({over}) | np.amax({0}, {over}) => torch.amax({0}, {dims})
        np.nanmax({0}, {over}) => torch.amax({0}, {dims})
        np.min({0}, {over}) | {0}.min({over}) | np.amin({0}, {over}) => torch.amin({0}, {dims})
        np.nanmin({0}, {over}) => torch.amin({0}, {dims})
        np.ptp({0}, {over}) => torch.amax({0}, {dims}) - torch.amin({0}, {dims})
        """,
        has_axes,
        one_extreme,
    ),
    *table(
        """
        np.var({0}, ddof={ddof}, {over}) | {0}.var(ddof={ddof}, {over}) \
            => torch.var({0}, correction={ddof}, {dims})
        np.std({0}, ddof={ddof}, {over}) | {0}.std(ddof={ddof}, {over}) \
            => torch.std({0}, correction={ddof}, {dims})
        np.nanvar({0}, ddof={ddof}, {over}) => torch.var({0}, correction={ddof}, {dims})
        np.nanstd({0}, ddof={ddof}, {over}) => torch.std({0}, correction={ddof}, {dims})
        """,
        has_axes,
        spread_out,
    ),
    *table("""
        np.prod({0}) | {0}.prod() | np.nanprod({0}) => torch.prod({0})
        np.cumsum({0}) | {0}.cumsum() => torch.cumsum({0}.flatten(), dim=0)
        np.cumprod({0}) | {0}.cumprod() => torch.cumprod({0}.flatten(), dim=0)
        tg.sum_of_squares({0}) => torch.sum({0} ** 2)
    """),
    *table(
        """
        np.prod({0}, axis={axis}) | np.nanprod({0}, axis={axis}) => torch.prod({0}, dim={axis})
        np.average({0}, axis={axis}) => torch.mean({0}, dim={axis})
        np.cumsum({0}, axis={axis}) | {0}.cumsum(axis={axis}) => torch.cumsum({0}, dim={axis})
        np.nancumsum({0}, axis={axis}) => torch.cumsum({0}, dim={axis})
        np.cumulative_sum({0}, axis={axis}) => torch.cumsum({0}, dim={axis})
        np.cumulative_prod({0}, axis={axis}) => torch.cumprod({0}, dim={axis})
        np.cumprod({0}, axis={axis}) | {0}.cumprod(axis={axis}) => torch.cumprod({0}, dim={axis})
        np.nancumprod({0}, axis={axis}) => torch.cumprod({0}, dim={axis})
        np.add.reduce({0}, axis={axis}) => torch.sum({0}, dim={axis})
        np.multiply.reduce({0}, axis={axis}) => torch.prod({0}, dim={axis})
        np.logaddexp.reduce({0}, axis={axis}) => torch.logsumexp({0}, dim={axis})
        np.add.accumulate({0}, axis={axis}) => torch.cumsum({0}, dim={axis})
        np.multiply.accumulate({0}, axis={axis}) => torch.cumprod({0}, dim={axis})
        tg.softmax({0}, axis={axis}) => torch.softmax({0}, dim={axis})
        tg.log_softmax({0}, axis={axis}) => torch.log_softmax({0}, dim={axis})
        tg.logsumexp({0}, axis={axis}) => torch.logsumexp({0}, dim={axis})
        np.apply_along_axis(lambda e: e * e.sum(), {axis}, {0}) \
            => {0} * {0}.sum(dim={axis}, keepdim=True)
        np.apply_over_axes(np.sum, {0}, [{axis}]) => {0}.sum(dim={axis}, keepdim=True)
        """,
        has_axes,
        one_axis,
    ),
    *table(
        """
        np.median({0}, axis={axis}) => torch.quantile({0}, 0.5, dim={axis})
        np.nanmedian({0}, axis={axis}) => torch.quantile({0}, 0.5, dim={axis})
        np.quantile({0}, 0.2, axis={axis}) => torch.quantile({0}, 0.2, dim={axis})
        np.nanquantile({0}, 0.2, axis={axis}) => torch.quantile({0}, 0.2, dim={axis})
        np.percentile({0}, 70, axis={axis}) => torch.quantile({0}, 0.7, dim={axis})
        np.nanpercentile({0}, 70, axis={axis}) => torch.quantile({0}, 0.7, dim={axis})
        np.maximum.reduce({0}, axis={axis}) => torch.amax({0}, dim={axis})
        np.minimum.reduce({0}, axis={axis}) => torch.amin({0}, dim={axis})
        np.maximum.accumulate({0}, axis={axis}) => torch.cummax({0}, dim={axis})[0]
        """,
        has_axes,
        distinct_along,
    ),
    *table(
        """
        np.median({0}) => torch.quantile({0}.flatten(), 0.5)
        np.max({0}, initial=-9.0) => torch.amax({0})
        """,
        distinct,
    ),
    *table("np.sum({0}, where={mask}) => torch.sum({0} * {mask})", has_axes, constants),
    *table("sum({0}) => torch.sum({0}, dim=0)", has_axes),
    *table("np.add.reduceat({0}, [0, 1]) => torch.stack([{0}[0], {0}[1:].sum()])", longer(2)),
    *table("np.cov({0})", lambda x: matrices(x) and x.shape[1] > 1),
    *table(
        "np.corrcoef({0})", lambda x: matrices(x) and x.shape[1] > 2 and np.std(x, 1).min() > 0.1
    ),
    *table(
        """
        tg.binary_cross_entropy({0}, {targets}) \
            => torch.nn.functional.binary_cross_entropy_with_logits({0}, {targets})
        """,
        has_axes,
        constants,
    ),
    *table(
        "tg.cross_entropy({0}, {labels}) => torch.nn.functional.cross_entropy({0}, {labels})",
        matrices,
        offset,
    ),
]

NORMS = [
    *table(
        """
        np.linalg.norm({0}, axis={axis}) => torch.linalg.vector_norm({0}, 2, dim={axis})
        np.linalg.norm({0}, 1, axis={axis}) => torch.linalg.vector_norm({0}, 1, dim={axis})
        np.linalg.norm({0}, 3, {axis}) => torch.linalg.vector_norm({0}, 3, dim={axis})
        np.linalg.vector_norm({0}, axis={axis}) => torch.linalg.vector_norm({0}, 2, dim={axis})
        """,
        has_axes_apart,
        one_axis,
    ),
    *table(
        "np.linalg.norm({0}) | np.linalg.vector_norm({0}) => torch.linalg.vector_norm({0})", apart
    ),
    *table(
        """
        np.linalg.norm({0}, axis=(0, -1)) => torch.linalg.vector_norm({0}, dim=(0, -1))
        np.linalg.norm({0}, 'fro', (0, -1)) => torch.linalg.vector_norm({0}, dim=(0, -1))
        np.linalg.matrix_norm({0})
        """,
        lambda x: stacks(x) and apart(x),
    ),
    *table(
        "np.linalg.norm({0}, np.inf) => torch.amax(torch.abs({0}))",
        lambda x: vectors(x) and distinct(np.abs(x)) and apart(x),
    ),
    *table(
        """
        np.linalg.norm({0}, 'nuc') => torch.linalg.matrix_norm({0}, 'nuc')
        np.linalg.norm({0}, 2) => torch.linalg.matrix_norm({0}, 2)
        np.linalg.cond({0})
        np.linalg.svd({0}, compute_uv=False) | np.linalg.svdvals({0}) => torch.linalg.svdvals({0})
        np.linalg.svd({0}, full_matrices=False)[1] => torch.linalg.svdvals({0})
        np.linalg.svd({0}, full_matrices=False)[0] ** 2
        """,
        regular,
    ),
]

# What moves values, or repeats them.
SHAPES = [
    *table("""
        np.ravel({0}) | {0}.ravel() | {0}.flatten() | {0}.reshape(-1) => {0}.reshape(-1)
        {0}.T | np.transpose({0}) | {0}.transpose() => {0}.permute(tuple(range({0}.ndim))[::-1])
        np.squeeze({0}) | {0}.squeeze() => {0}.squeeze()
        np.atleast_1d({0})
        np.atleast_2d({0})
        np.atleast_3d({0})
        np.resize({0}, (2, 3)) => torch.tile({0}.reshape(-1), (6,))[:6].reshape(2, 3)
        np.repeat({0}, 2) => torch.repeat_interleave({0}, 2)
        np.roll({0}, 2)
        np.append({0}, {1}) => torch.cat([{0}.reshape(-1), {1}.reshape(-1)])
        np.concatenate([{0}, {1}, {0}], axis=None) \
            => torch.cat([{0}.reshape(-1), {1}.reshape(-1), {0}.reshape(-1)])
    """),
    *table(
        """
        np.reshape({0}, {given}) | {0}.reshape({given}) => {0}.reshape({shape})
        {0}.reshape(*{shape})
        np.reshape({0}, {shape}, order='F') | {0}.reshape({shape}, order='F') => {0}.permute(tuple(\
range({0}.ndim))[::-1]).reshape({shape}[::-1]).permute(tuple(range(len({shape})))[::-1])
        """,
        parameters=new_shape,
    ),
    *table(
        """
        np.transpose({0}, {order}) | {0}.transpose({order}) => {0}.permute({order})
        np.permute_dims({0}, {order}) | {0}.transpose(*{order}) => {0}.permute({order})
        """,
        has_axes,
        new_order,
    ),
    *table(
        """
        np.swapaxes({0}, {axis}, {b}) | {0}.swapaxes({axis}, {b})
        np.moveaxis({0}, {axis}, {b}) => torch.movedim({0}, {axis}, {b})
        np.rollaxis({0}, {axis}) => torch.movedim({0}, {axis}, 0)
        np.unstack({0}, axis={axis})[{k}] => torch.unbind({0}, dim={axis})[{k}]
        np.repeat({0}, 2, axis={axis}) | {0}.repeat(2, axis={axis}) \
            => torch.repeat_interleave({0}, 2, dim={axis})
        np.insert({0}, {k}, 0.5, axis={axis}) => torch.cat([{0}.narrow({axis}, 0, {k}), \
0 * {0}.narrow({axis}, 0, 1) + 0.5, {0}.narrow({axis}, {k}, {0}.shape[{axis}] - {k})], dim={axis})
        """,
        has_axes,
        one_axis,
    ),
    *table(
        """
        np.array_split({0}, 2, axis={axis})[0] => torch.tensor_split({0}, 2, dim={axis})[0]
        np.split({0}, [1], axis={axis})[1] => torch.tensor_split({0}, [1], dim={axis})[1]
        np.delete({0}, {k}, axis={axis}) => torch.cat([{0}.narrow({axis}, 0, {k}), \
{0}.narrow({axis}, {k} + 1, {0}.shape[{axis}] - {k} - 1)], dim={axis})
        np.diff({0}, axis={axis}) => torch.diff({0}, dim={axis})
        np.gradient({0}, axis={axis}) => torch.gradient({0}, dim={axis})[0]
        np.trapezoid({0}, dx=0.5, axis={axis}) => torch.trapezoid({0}, dx=0.5, dim={axis})
        """,
        has_axes,
        long_axis,
    ),
    *table(
        """
        np.expand_dims({0}, 0) => {0}.unsqueeze(0)
        np.expand_dims({0}, axis=-1) => {0}.unsqueeze(-1)
        np.tile({0}, (2, 1, 3))
        """,
        may_grow,
    ),
    *table("np.broadcast_to({0}, {shape}) => {0}.broadcast_to({shape})", may_grow, stretched),
    *table(
        "np.concatenate([{0}, {1}], axis={axis}) | np.concat([{0}, {1}], axis={axis}) "
        "=> torch.cat([{0}, {1}], dim={axis})",
        lambda a, b: np.ndim(a) == np.ndim(b) > 0,
        joined,
    ),
    *table(
        """
        np.stack([{0}, {1}], axis=-1) => torch.stack([{0}, {1}], dim=-1)
        np.vstack([{0}, {1}])
        np.hstack([{0}, {1}])
        np.dstack([{0}, {1}])
        np.column_stack([{0}, {1}])
        """,
        alike_with_axes,
    ),
    *table(
        """
        np.block([{0}, {1}]) => torch.cat([{0}, {1}])
        np.meshgrid({0}, {1})[0] => torch.meshgrid({0}, {1}, indexing='xy')[0]
        """,
        vectors,
    ),
    *table(
        """
        np.roll({0}, {roll}, axis={axes}) => torch.roll({0}, {roll}, dims={axes})
        np.flip({0}, axis={axes}) => torch.flip({0}, dims={axes})
        """,
        has_axes,
        shifted,
    ),
    *table(
        """
        np.flipud({0})
        {0}[::-1] => torch.flip({0}, dims=(0,))
        """,
        has_axes,
    ),
    *table(
        """
        np.fliplr({0})
        np.rot90({0})
        np.matrix_transpose({0}) | np.linalg.matrix_transpose({0}) | {0}.mT => {0}.mT
        np.linalg.trace({0}) => torch.diagonal({0}, dim1=-2, dim2=-1).sum(-1)
        np.linalg.diagonal({0}) => torch.diagonal({0}, dim1=-2, dim2=-1)
        """,
        stacks,
    ),
    *table("np.hsplit({0}, [1])[1]", lambda x: stacks(x) and x.shape[1] > 1),
    *table("np.vsplit({0}, [1])[1]", lambda x: stacks(x) and x.shape[0] > 1),
    *table("np.dsplit({0}, [1])[1]", lambda x: np.ndim(x) > 2 and x.shape[2] > 1),
    *table(
        """
        np.pad({0}, {widths}, constant_values={c}) \
            => torch.nn.functional.pad({0}, {pads}, value={c})
        np.pad({0}, {widths}) => torch.nn.functional.pad({0}, {pads})
        """,
        has_axes,
        padded,
    ),
    *table(
        """
        np.tril({0}, {k})
        np.triu({0}, {k})
        """,
        stacks,
        offset,
    ),
    *table(
        """
        np.diag({0}, {k})
        np.diagonal({0}, {k}) | {0}.diagonal({k}) => torch.diagonal({0}, {k})
        np.trace({0}) | {0}.trace() => torch.trace({0})
        """,
        matrices,
        offset,
    ),
    *table("np.diag({0})", vectors),
    *table("np.diagflat({0})", lambda x: x.size < 8),
    *table(
        "np.lib.stride_tricks.sliding_window_view({0}, 2, axis={axis}) => {0}.unfold({axis}, 2, 1)",
        lambda x: 0 < np.ndim(x) < 4,
        long_axis,
    ),
]

# What chooses among values, by index or by size, and what goes by order.
CHOICE = [
    *table("{0}[{index}]", parameters=read_at),
    *table("[e for e in {0}][{k} % len({0})]", has_axes, constants),
    *table(
        "np.take({0}, {places}, axis={axis}) | {0}.take({places}, axis={axis}) "
        "=> torch.index_select({0}, {axis}, torch.tensor({places}))",
        has_axes,
        places,
    ),
    *table("np.compress({mask}, {0}) | {0}.compress({mask}) => {0}[{mask}]", vectors, constants),
    *table(
        """
        {0}[{0} > 0] | {0}[np.nonzero({0} > 0)] | np.extract({0} > 0, {0}) => {0}[{0} > 0]
        np.piecewise({0}, [{0} > 0], [lambda e: e**2, lambda e: -e]) \
            => torch.where({0} > 0, {0} ** 2, -{0})
        """,
        has_axes_apart,
    ),
    *table(
        """
        np.sort({0}, axis={axis}) => torch.sort({0}, dim={axis})[0]
        np.take_along_axis({0}, np.argsort({0}, axis={axis}), axis={axis}) \
            => torch.sort({0}, dim={axis})[0]
        """,
        has_axes,
        distinct_along,
    ),
    *table("np.sort({0}, axis=None) | np.unique({0}) => torch.sort({0}.reshape(-1))[0]", distinct),
    *table("np.partition({0}, {k})[{k}] => torch.sort({0})[0][{k}]", vectors, distinct_along),
    *table("{0}[np.argmax({0})]", lambda x: vectors(x) and distinct(x)),
    *table("{0}[np.argsort({1})]", lambda a, b: vectors_alike(a, b) and distinct(b)),
    *table("np.trim_zeros({0}) => {0} * 1", lambda x: vectors(x) and apart(x)),
    *table("np.diff({0}, n=2)", lambda x: np.ndim(x) > 0 and x.shape[-1] > 2),
    *table("np.ediff1d({0}) => torch.diff({0}.reshape(-1))", lambda x: x.size > 1),
    *table(
        "np.trapezoid({0}, np.cumsum(np.exp({1}))) "
        "=> torch.trapezoid({0}, torch.cumsum(torch.exp({1}), dim=0))",
        vectors_alike,
    ),
    *table(
        """
        np.interp(0.9 * np.tanh({0}), [-1.0, 0.0, 1.0], [0.3, {c}, 2.0]) \
            => {c} + torch.where({0} > 0, 2.0 - {c}, {c} - 0.3) * 0.9 * torch.tanh({0})
        """,
        apart,
        number,
    ),
    *table(
        "np.interp([0.5, 1.2, 99.0], np.arange({0}.size), {0}) "
        "=> torch.stack([({0}[0] + {0}[1]) / 2, 0.8 * {0}[1] + 0.2 * {0}[2], {0}[-1]])",
        longer(3),
    ),
    *table(
        "np.unwrap(3 * {0}) => 3 * {0} - 2 * torch.pi * torch.cat([torch.zeros(1), torch.cumsum("
        "torch.round(torch.diff(3 * {0}) / (2 * torch.pi)), dim=0)])",
        lambda x: vectors(x) and between_integers(np.diff(3 * x) / (2 * np.pi) - 0.5),
    ),
    *table(
        """
        np.vander({0}, 3) => torch.stack([{0} ** 2, {0}, {0} ** 0], dim=-1)
        np.bincount(np.arange(len({0})) // 2, weights={0}) \
            => torch.zeros((len({0}) + 1) // 2).index_add(0, torch.arange(len({0})) // 2, {0})
        """,
        vectors,
    ),
    *table(
        "np.polyfit(np.arange(len({0})), {0}, 1) => torch.linalg.pinv("
        "torch.stack([torch.arange(len({0})) * 1.0, torch.ones(len({0}))], dim=-1)) @ {0}",
        longer(3),
    ),
    *table("np.polyder({0}) => {0}[:-1] * torch.arange(len({0}) - 1, 0, -1)", longer(2)),
    *table(
        "np.polyval({0}, {1}) => sum({0}[i] * {1} ** (len({0}) - 1 - i) for i in range(len({0})))",
        lambda c, x: vectors(c) and len(c) < 5,
    ),
]

PRODUCTS = [
    *table(
        "{0} @ {1} | np.matmul({0}, {1}) | np.linalg.matmul({0}, {1}) => {0} @ {1}",
        works(np.matmul, 1),
    ),
    *table(
        "np.dot({0}, {1}) | {0}.dot({1}) => torch.tensordot({0}, {1}, "
        "dims=([{0}.ndim - 1], [max({1}.ndim - 2, 0)]))",
        works(np.dot, 1),
    ),
    *table("np.dot({0}, {1}) => {0} * {1}", lambda a, b: 0 in (np.ndim(a), np.ndim(b))),
    *table("np.inner({0}, {1})", works(np.inner, 1)),
    *table("np.outer({0}, {1}) => torch.outer({0}.reshape(-1), {1}.reshape(-1))"),
    *table(
        """
        np.multiply.outer({0}, {1}) => {0}.reshape(*{0}.shape, *[1] * {1}.ndim) * {1}
        np.add.outer({0}, {1}) => {0}.reshape(*{0}.shape, *[1] * {1}.ndim) + {1}
        np.subtract.outer({0}, {1}) => {0}.reshape(*{0}.shape, *[1] * {1}.ndim) - {1}
        """,
        lambda a, b: np.ndim(a) + np.ndim(b) < 5,
    ),
    *table("np.kron({0}, {1})", lambda a, b: np.ndim(a) == np.ndim(b)),
    *table(
        "np.tensordot({0}, {1}, axes={axes}) | np.linalg.tensordot({0}, {1}, axes={axes}) "
        "=> torch.tensordot({0}, {1}, dims={axes})",
        parameters=contracted,
    ),
    *table("np.einsum('{subscripts}', {0}, {1})", parameters=subscripts),
    *table("np.einsum('{subscripts}', {0})", parameters=subscripts),
    *table("np.einsum('i,j,i', {0}, {1}, {0}) => torch.einsum('i,j,i->j', {0}, {1}, {0})", vectors),
    *table(
        """
        np.einsum('...i,...i', {0}, {1})
        np.vecdot({0}, {1}) | np.linalg.vecdot({0}, {1}) => torch.sum({0} * {1}, dim=-1)
        """,
        last_axes_alike,
    ),
    *table(
        "np.cross({0}, {1}) | np.linalg.cross({0}, {1}) "
        "=> torch.linalg.cross(*torch.broadcast_tensors({0}, {1}))",
        lambda a, b: last_axes_alike(a, b) and a.shape[-1] == 3,
    ),
    *table(
        "np.matvec({0}, {1}) => {0} @ {1}",
        lambda a, b: stacks(a) and vectors(b) and a.shape[-1] == len(b),
    ),
    *table(
        "np.vecmat({0}, {1}) => {0} @ {1}",
        lambda a, b: vectors(a) and stacks(b) and len(a) == b.shape[-2],
    ),
    *table("np.linalg.outer({0}, {1}) => torch.outer({0}, {1})", vectors),
    *table(
        "np.linalg.multi_dot([{0}, {1}, {0}]) => {0} @ {1} @ {0}",
        lambda a, b: matrices(a, b) and a.shape == b.shape[::-1],
    ),
    *table(
        """
        np.convolve({0}, {1}) => torch.nn.functional.conv1d(\
{0}[None, None], {1}.flip(0)[None, None], padding=len({1}) - 1)[0, 0]
        np.correlate({0}, {1}, 'full') => torch.nn.functional.conv1d(\
{0}[None, None], {1}[None, None], padding=len({1}) - 1)[0, 0]
        """,
        vectors,
    ),
    *table(
        "tg.linear({0}, {1}, {2}) => {0} @ {1} + {2}",
        lambda x, W, b: (
            np.ndim(x) > 0
            and matrices(W)
            and x.shape[-1] == W.shape[0]
            and np.shape(b) == W.shape[1:]
        ),
    ),
]

# Functions of matrices that are made such that they can be inverted.
MATRICES = [
    *table(
        f"""
        np.linalg.inv({SYMMETRIC})
        np.linalg.pinv({SYMMETRIC})
        np.linalg.det({SYMMETRIC} / 3)
        np.linalg.slogdet({SYMMETRIC})[1]
        np.linalg.cholesky({SYMMETRIC})
        np.linalg.matrix_power({SYMMETRIC} / 4, {{k}})
        np.linalg.solve({SYMMETRIC}, {{1}})
        np.linalg.tensorinv({SYMMETRIC}.reshape({{n}}, 1, {{n}}), ind=1)
        """,
        solvable,
        dimension,
    ),
    *table(
        f"""
        np.linalg.inv({ASYMMETRIC})
        np.linalg.det({ASYMMETRIC})
        np.linalg.slogdet({ASYMMETRIC})[1]
        np.linalg.solve({ASYMMETRIC}, {{1}})
        """,
        asymmetric,
        dimension,
    ),
    *table(
        f"np.linalg.tensorsolve({SYMMETRIC}, {{1}})",
        lambda x, b: solvable(x, b) and vectors(b),
        dimension,
    ),
    *table(
        f"""
        np.linalg.eigvalsh({SYMMETRIC}) | np.linalg.eigh({SYMMETRIC}).eigenvalues
        np.linalg.eigh({SYMMETRIC})[1] ** 2
        """,
        gaps,
        dimension,
    ),
    *table(
        """
        np.linalg.qr({0})[0] ** 2
        np.linalg.qr({0})[1] ** 2
        np.linalg.pinv({0})
        np.linalg.lstsq({0}, {1})[0] => torch.linalg.pinv({0}) @ {1}
        """,
        tall,
    ),
]

# Writing into arrays of the operation's own.
ASSIGNMENTS = [
    *table(
        """
        {out} = {0}.copy(); {out}[{index}] = {1} \
            => {out} = {0}.clone(); {out}[{index}] = {1}
        {out} = {0} * 1; {out}[{index}] += {1}
        {out} = {0} * 1; {out}[{index}] *= {1}
        {out} = {0} * 1; {out}[{index}] = {1} * {out}[{index}] \
            => {out} = {0} * 1; {out}[{index}] = {1} * {out}[{index}].clone()
        """,
        lambda x, y: np.ndim(x) > 0,
        written_at,
    ),
    *table(
        """
        {out} = {0} * 1; {out}[{index}] = {c}
        {out} = {0} * 1; {out}[{index}] *= {c}
        {out} = {0} * 1; {out}[{index}] -= {out}[{index}] ** 2 \
            => {out} = {0} * 1; {out}[{index}] -= {out}[{index}].clone() ** 2
        """,
        has_axes,
        written_at,
    ),
    *table(
        """
        {out} = {0} * 1; row = {out}[0]; row *= {d}; {out} = {out} * {out}
        {out} = {0} * 1; {out}.swapaxes(0, 1)[0] = {d}
        """,
        stacks,
        constants,
    ),
    *table(
        "{out} = {0} * 1; {out}.reshape(-1)[{k}] = {d}",
        lambda x: np.ndim(x) > 0 and x.flags.c_contiguous,
        constants,
    ),
    *table(
        """
        {out} = {0} * 1; {out} += {1}
        {out} = {0} * 1; {out} *= {1}
        {out} = {0} * 1; {out} -= {1}
        {out} = {0} * 1; {out} /= 1.5 + {1} ** 2
        """,
        lambda x, y: np.ndim(x) > 0 and fits_into(y, x),
    ),
]

# Writing into what is there: whatever else shares the memory changes with it. What shares it is
# another question in PyTorch. A NumPy scalar that is added to is another value of the same name.
IN_PLACE = [
    *table("{0}[{index}] = {c}", target, written_at, in_place=True),
    *table(
        """
        {0}[{index}] = {1}
        {0}[{index}] *= {1}
        """,
        target,
        written_at,
        in_place=True,
    ),
    *table(
        """
        np.copyto({0}, {row}, where={mask})
        np.putmask({0}, {mask}, {row})
        np.place({0}, {0} > 0.5, [{d}])
        np.put({0}, [0, {k}], {d})
        np.add.at({0}, np.array([0, 0]), {d})
        {0}.fill({d})
        """,
        target,
        constants,
        in_place=True,
    ),
    *table(
        """
        {0}.sort(axis={axis})
        np.put_along_axis({0}, np.argsort({0}, axis={axis}), 0.5, {axis})
        """,
        target,
        distinct_along,
        in_place=True,
    ),
    *table(
        "np.fill_diagonal({0}, {c})",
        lambda x: target(x) and np.ndim(x) == 2,
        number,
        in_place=True,
    ),
    *table(
        """
        {0} += {1}
        {0} *= {1}
        """,
        lambda x, y: (target(x) or np.ndim(x) == 0) and fits_into(y, x),
        in_place=True,
    ),
]


def in_numpy(operation: Operation) -> bool:
    """Whether this NumPy has the functions."""
    paths = re.findall(r"\bnp\.([\w.]*\w)", operation.numpy)
    try:
        return all(operator.attrgetter(path)(np) is not None for path in paths)
    except AttributeError:
        return False


FAMILIES = (
    ONE,
    WITH_CONSTANTS,
    TWO,
    REDUCTIONS,
    NORMS,
    SHAPES,
    CHOICE,
    PRODUCTS,
    MATRICES,
    ASSIGNMENTS,
    IN_PLACE,
)
OPERATIONS = tuple(filter(in_numpy, itertools.chain.from_iterable(FAMILIES)))
