"""Trees: tuples, lists and dicts of arrays and numbers, nested as one likes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["argument_names", "flatten", "tree_leaves", "tree_map"]


def tree_map(function: Callable[[Any, str], Any], tree: Any, path: str) -> Any:
    """The tree with `function(leaf, path)` in place of each leaf.

    Example:
        >>> tree_map(lambda leaf, path: path, {"W": [1.0, 2.0], "b": 3.0}, "net")
        {'W': ["net['W'][0]", "net['W'][1]"], 'b': "net['b']"}
    """
    if isinstance(tree, dict):
        return {key: tree_map(function, item, f"{path}[{key!r}]") for key, item in tree.items()}
    if isinstance(tree, (tuple, list)):
        items = [tree_map(function, item, f"{path}[{i}]") for i, item in enumerate(tree)]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    return function(tree, path)


def tree_leaves(tree: Any) -> list[Any]:
    """The leaves of a tree, in order.

    Example:
        >>> tree_leaves({"W": [1.0, 2.0], "b": 3.0})
        [1.0, 2.0, 3.0]
    """
    if isinstance(tree, dict):
        return [leaf for item in tree.values() for leaf in tree_leaves(item)]
    if isinstance(tree, (tuple, list)):
        return [leaf for item in tree for leaf in tree_leaves(item)]
    return [tree]


def argument_names(f: Callable[..., Any]) -> Callable[[int], str]:
    """The names of the positional arguments of `f`, by position.

    Example:
        >>> argument_names(lambda x, y: x)(1)
        'y'
    """
    try:
        parameters = inspect.signature(f).parameters.values()
        known = [p.name for p in parameters if p.kind <= p.POSITIONAL_OR_KEYWORD]
    except (TypeError, ValueError):
        known = []
    return lambda i: known[i] if i < len(known) else f"argument {i}"


def flatten(tree: Any) -> tuple[np.ndarray, Callable[[Any], Any]]:
    """All numbers of a tree in one vector, and a function that makes such a tree of a vector.

    The function takes arrays and Tensors, so that a loss of the parameters of a net becomes a loss
    of one vector, as optimisers want it: `lambda v: loss(unflatten(v))`.

    Raises:
        TypeError: a leaf that holds no numbers.
        ValueError: no leaf; from the function, a vector of another length.

    Example:
        >>> vector, unflatten = flatten({"W": np.ones((2, 2)), "b": 0.5})
        >>> vector
        array([1. , 1. , 1. , 1. , 0.5])
        >>> unflatten(2 * vector)
        {'W': array([[2., 2.],
               [2., 2.]]), 'b': np.float64(1.0)}
    """
    leaves = [np.asarray(leaf) for leaf in tree_leaves(tree)]
    if not leaves:
        raise ValueError("flatten() of a tree without numbers")
    for leaf in leaves:
        if leaf.dtype.kind not in "fiu":
            raise TypeError(f"flatten() takes trees of numbers, one leaf is {leaf!r:.60}")
    vector = np.concatenate([leaf.ravel() for leaf in leaves])
    ends = np.cumsum([leaf.size for leaf in leaves]).tolist()
    form = tree_map(lambda _, __: None, tree, "")
    parts = [(end - leaf.size, end, leaf.shape) for leaf, end in zip(leaves, ends, strict=True)]

    def unflatten(vector: Any) -> Any:
        if np.shape(vector) != (ends[-1],):
            raise ValueError(
                f"the vector has shape {np.shape(vector)}, and the tree holds {ends[-1]} numbers"
            )
        rest = iter(parts)

        def part(_: Any, __: str) -> Any:
            start, end, shape = next(rest)
            return vector[start:end].reshape(shape) if shape else vector[start]

        return tree_map(part, form, "")

    return vector, unflatten
