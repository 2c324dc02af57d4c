"""The derivative of `np.einsum`, which is an einsum again."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from tinygrad_edu.rules import composition, primitive

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@primitive
def einsum(*operands: Any, subscripts: str, optimize: Any = False) -> Any:
    """The sum over all indices that the output does not have of a[...] * b[...] * ...

    Example:
        >>> einsum(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 10.0]), subscripts="ij,j->i")
        array([21., 43.])
    """
    return np.einsum(subscripts, *operands, optimize=optimize)


def _indices(subscripts: str, operands: Any) -> tuple[list[list[Any]], list[Any]]:
    """The names of the indices of each operand and of the output, one for each axis.

    They are letters, and for the axes of an ellipsis numbers, -1 for the last of them.
    """
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    if not arrow:
        letters = inputs.replace(".", "").replace(",", "")
        output = "..." + "".join(i for i in sorted(set(letters)) if letters.count(i) == 1)
    terms, longest = [], 0
    for term, x in zip(inputs.split(","), operands, strict=True):
        before, dots, after = term.partition("...")
        unnamed = np.ndim(x) - len(before) - len(after) if dots else 0
        longest = max(longest, unnamed)
        terms.append([*before, *range(-unnamed, 0), *after])
    before, dots, after = output.partition("...")
    return terms, [*before, *(range(-longest, 0) if dots else ()), *after]


def _einsum_dx(
    position: int, g: Any, y: Any, *operands: Any, subscripts: str, optimize: Any = False
) -> Any:
    """The einsum of g and the other operands that leaves the indices of x.

    An index that only x has was summed over, so that the gradient is the same all along it: there a
    vector of ones is put in. If x has an index twice, only its diagonal was read: there an identity
    matrix is put in. Axes of length 1 are left out, since einsum stretches them.
    """
    terms, output = _indices(subscripts, operands)
    x, indices_of_x = operands[position], terms[position]
    factors = [*zip(operands, terms, strict=True)]
    factors[position] = (g, output)
    arrays = [np.reshape(a, [n for n in np.shape(a) if n != 1]) for a, _ in factors]
    names = [[i for i, n in zip(t, np.shape(a), strict=True) if n != 1] for a, t in factors]
    known = {i for term in names for i in term}
    wanted: list[Any] = []
    for axis, (i, n) in enumerate(zip(indices_of_x, x.shape, strict=True)):
        if n == 1:
            continue
        if i in wanted:
            arrays.append(np.eye(n, dtype=g.dtype))
            names.append([i, (i, axis)])
        elif i not in known:
            arrays.append(np.ones(n, g.dtype))
            names.append([i])
        wanted.append((i, axis) if i in wanted else i)
    used = dict.fromkeys(i for term in names for i in term)
    letter = dict(zip(used, LETTERS, strict=False))
    inputs, result = [["".join(letter[i] for i in t) for t in part] for part in (names, [wanted])]
    product = np.einsum(f"{','.join(inputs)}->{result[0]}", *arrays, optimize=bool(optimize))
    return product.reshape(x.shape)


einsum.derivative(every=_einsum_dx, view=True)


@composition(np.einsum)
def _einsum(*operands: Any, **keywords: Any) -> Any:
    """`np.einsum` with its subscripts in a string, or in a list of numbers after each operand."""
    if isinstance(operands[0], str):
        return einsum(*operands[1:], subscripts=operands[0], **keywords)
    lists = operands[1::2]
    subscripts = ",".join(map(_letters, lists))
    if len(operands) % 2:
        subscripts += "->" + _letters(operands[-1])
        operands = operands[:-1]
    elif any(i is not Ellipsis and i >= 26 for numbers in lists for i in numbers):
        raise ValueError("np.einsum with numbers from 26 on: give the list of the output, too")
    return einsum(*operands[::2], subscripts=subscripts, **keywords)


def _letters(numbers: Any) -> str:
    """The letters for which the numbers stand."""
    return "".join("..." if i is Ellipsis else LETTERS[operator.index(i)] for i in numbers)
