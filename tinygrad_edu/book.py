"""The rule book as text: every function with its derivative lines, as they stand in the source."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Callable
from types import CodeType
from typing import Any

from tinygrad_edu import calculus
from tinygrad_edu.rules import COMPOSITIONS, CONSTANTS, PRIMITIVES, Primitive, numpy_name

__all__ = ["chapters", "rule_source", "table", "text"]

Function = Callable[..., Any]


def chapters() -> dict[str, list[Primitive | Function]]:
    """The differentiable functions by the module of `calculus` that has their rules.

    A composition stands there as the NumPy function that it writes out.

    Example:
        >>> [f.name for f in chapters()["indexing"]]
        ['tg.getitem', 'tg.scatter_add', 'tg.setitem']
    """
    found: dict[str, list[Primitive | Function]] = {}
    for module in pkgutil.iter_modules(calculus.__path__):
        namespace = vars(importlib.import_module(f"{calculus.__name__}.{module.name}"))
        ours = [
            value
            for value in namespace.values()
            if isinstance(value, Primitive)
            and (value.rules or value.every)
            and value.__module__ == namespace["__name__"]
        ]
        found[module.name] = list(ours)
    for primitive in PRIMITIVES.values():
        found[_module_of(_rules(primitive)[0][1])].append(primitive)
    for function, written_out in COMPOSITIONS.items():
        found[_module_of(written_out)].append(function)
    return {chapter: sorted(entries, key=name) for chapter, entries in found.items() if entries}


def text(pattern: str = "") -> str:
    """The chapters of the book, as `python -m tinygrad_edu rules` prints them.

    Args:
        pattern: only functions whose names contain this.

    Example:
        >>> print(text("np.multiply"))
        elementwise
        <BLANKLINE>
          np.multiply(a, b)
            a:  g * b
            b:  g * a
    """
    parts = []
    for chapter, entries in chapters().items():
        chosen = [entry for entry in entries if pattern in name(entry)]
        if chosen:
            parts += [chapter, *(textwrap.indent(_entry(entry), "  ") for entry in chosen)]
    constants = sorted(name(f) for f in CONSTANTS if pattern in name(f))
    if constants:
        listed = textwrap.fill(", ".join(constants), 98)
        parts += ["constant: the derivative is 0, the result a plain array", _indented(listed)]
    return "\n\n".join(parts)


def table() -> str:
    """The names of all functions by chapter, as a Markdown table.

    Example:
        >>> print(table().splitlines()[0])
        | what | functions |
    """
    rows = {chapter: {name(entry) for entry in found} for chapter, found in chapters().items()}
    rows["constant"] = {name(function) for function in CONSTANTS}
    lines = [
        f"| {chapter} | {' '.join(f'`{n}`' for n in sorted(names))} |"
        for chapter, names in rows.items()
    ]
    return "\n".join(["| what | functions |", "| :--- | :-------- |", *lines])


def name(entry: Primitive | Function) -> str:
    """The name under which people call a function of the book."""
    return entry.name if isinstance(entry, Primitive) else numpy_name(entry)


def rule_source(rule: Function) -> str:
    """The source of a rule: of a lambda its expression, of a function the whole.

    Example:
        >>> import numpy as np
        >>> rule_source(PRIMITIVES[np.divide].rules[1])
        '-g * y / b'
    """
    if isinstance(rule, functools.partial):
        given = inspect.signature(rule.func).bind_partial(*rule.args, **rule.keywords).arguments
        return _with(given, rule_source(rule.func))
    if not hasattr(rule, "__code__"):
        return _shown(rule)
    if rule.__name__ != "<lambda>":
        source = _without_docstring(textwrap.dedent(inspect.getsource(rule)))
        return _with(dict(inspect.getclosurevars(rule).nonlocals), source)
    return _lambda_source(rule.__code__, inspect.getsourcefile(rule) or "")


@functools.lru_cache(1024)
def _lambda_source(code: CodeType, file: str) -> str:
    """The expression of a lambda; to cut it out of its file takes milliseconds."""
    source, lambdas = _lambdas(file)
    line = code.co_firstlineno
    columns = [c for at, _, c, _ in code.co_positions() if at == line and c]
    # There may be several on a line: this one begins before its code, and last of those.
    before = [n for n in lambdas if n.lineno == line and n.col_offset < min(columns, default=999)]
    body = max(before, key=lambda node: node.col_offset).body
    return textwrap.dedent(ast.get_source_segment(source, body, padded=True) or "").strip()


def _with(given: dict[str, Any], source: str) -> str:
    """The source, below what some of its names stand for."""
    if not given:
        return source
    return f"# with {', '.join(f'{key}={_shown(v)}' for key, v in given.items())}\n{source}"


def _shown(value: Any) -> str:
    """A value as it is called in the source."""
    named = isinstance(value, Primitive) or callable(value)
    return name(value) if named else repr(value)


@functools.cache
def _lambdas(file: str) -> tuple[str, list[ast.Lambda]]:
    with open(file, encoding="utf-8") as opened:
        source = opened.read()
    return source, [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Lambda)]


def _rules(primitive: Primitive) -> list[tuple[str, Function]]:
    """The rules of a primitive, each with the name of its input."""
    if primitive.every is not None:
        return [("each input", primitive.every)]
    pairs = zip(primitive.parameters, primitive.rules, strict=False)
    return [(parameter, rule) for parameter, rule in pairs if rule is not None]


def _entry(entry: Primitive | Function) -> str:
    """A function with its rules."""
    if not isinstance(entry, Primitive):
        return f"{name(entry)}, in terms of others:\n{_indented(rule_source(COMPOSITIONS[entry]))}"
    lines = [f"{entry.name}({', '.join(entry.parameters)})"]
    for parameter, rule in _rules(entry):
        source = rule_source(rule)
        lines.append(
            f"  {parameter}:  {source}"
            if "\n" not in source
            else f"  {parameter}:\n{_indented(source)}"
        )
    return "\n".join(lines)


def _without_docstring(source: str) -> str:
    """The source of a function from its `def` on, without the docstring."""
    node = ast.parse(source).body[0]
    assert isinstance(node, ast.FunctionDef)
    lines = source.rstrip().splitlines()
    first, last = node.body[0].lineno, node.body[0].end_lineno or 0
    if ast.get_docstring(node) is None:
        last = first - 1
    return "\n".join(lines[node.lineno - 1 : first - 1] + lines[last:])


def _indented(lines: str) -> str:
    return textwrap.indent(lines, "    ")


def _module_of(function: Function) -> str:
    inner = function.func if isinstance(function, functools.partial) else function
    return (inner.__module__ or "").rpartition(".")[2]
