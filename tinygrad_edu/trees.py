"""Trees: tuples, lists and dicts of arrays and numbers, nested as one likes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["argument_names", "tree_leaves", "tree_map"]


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
    leaves: list[Any] = []
    tree_map(lambda leaf, _: leaves.append(leaf), tree, "")
    return leaves


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
