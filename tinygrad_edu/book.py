"""The rule book as text: every function with its derivative lines, as they stand in the source."""

from __future__ import annotations
import __future__

import ast
import functools
import importlib
import linecache
import pkgutil
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

from tinygrad_edu import calculus
from tinygrad_edu.rules import COMPOSITIONS, CONSTANTS, PRIMITIVES, Primitive, numpy_name

__all__ = ["chapters", "rule_source", "rule_text", "table", "text"]

Function = Callable[..., Any]


def chapters() -> dict[str, list[Primitive | Function]]:
    """The differentiable functions by the module of `calculus` that has their rules.

    A composition stands there as the NumPy function that it writes out.

    Example:
        >>> [f.name for f in chapters()["indexing"]]
        ['tg.embedding', 'tg.getitem', 'tg.rows_added', 'tg.scatter_add', 'tg.setitem']
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


def rule_text(rule: Function) -> str:
    """The source of a rule, or that there is none."""
    try:
        return rule_source(rule)
    except OSError:
        return "a rule whose source is not in a file"


def rule_source(rule: Function) -> str:
    """The source of a rule: of a lambda its expression, of a function the whole.

    It is the code that runs, of a decorated function that of the decorator, below what the rule
    was given or has captured.

    Raises:
        OSError: there is no source, or it was edited after the rule was made.

    Example:
        >>> import numpy as np
        >>> rule_source(PRIMITIVES[np.divide].rules[1])
        '-g * y / b'
    """
    function: Any = rule
    args: tuple[Any, ...] = ()
    given: dict[str, Any] = {}
    while not isinstance(function, FunctionType):
        if isinstance(function, functools.partial):
            args, given = (*function.args, *args), function.keywords | given
            function = function.func
        elif isinstance(function, MethodType):
            function, args = function.__func__, (function.__self__, *args)
        elif isinstance(function, Primitive) or not isinstance(
            type(function).__call__, FunctionType
        ):
            return _shown(rule)
        else:
            function = MethodType(type(function).__call__, function)
    code = function.__code__
    source = _source(code, code.co_filename)
    if source is None:
        raise OSError(
            f"line {code.co_firstlineno} of {code.co_filename} is not the source of "
            f"{code.co_name}: it never was a file, or was edited after the import"
        )
    names = code.co_varnames[: code.co_argcount]
    given = dict(zip(names, args, strict=False)) | given
    if len(args) > len(names):
        given["*args"] = args[len(names) :]
    for captured, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        given[captured] = cell.cell_contents
    if not given:
        return source
    return f"# with {', '.join(f'{key}={_shown(v)}' for key, v in given.items())}\n{source}"


@functools.lru_cache(1024)
def _source(code: CodeType, file: str) -> str | None:
    """The source of a piece of code if its file has it still; to look takes milliseconds."""
    linecache.checkcache(file)
    source = "".join(linecache.getlines(file))
    flags = code.co_flags & __future__.annotations.compiler_flag
    line = code.co_firstlineno
    try:
        tree, codes = _compiled(source, flags)
        part = [s for s in tree.body if _first_line(s) <= line <= (s.end_lineno or line)]
        # Equal pieces of code agree in their lines and columns, too. A notebook compiles the
        # statements of a cell one by one, and a call of what a file imports depends on that.
        if code not in codes and code not in _inner(_compile(ast.Module(part, []), flags)):
            return None
    except (SyntaxError, ValueError):
        return None
    nodes = [node for statement in part for node in ast.walk(statement)]
    if code.co_name != "<lambda>":
        functions = [n for n in nodes if isinstance(n, ast.FunctionDef) and _first_line(n) == line]
        return _without_docstring(source, functions[0]) if functions else None
    body = _body([n.body for n in nodes if isinstance(n, ast.Lambda) and n.lineno == line], code)
    if body is None:
        return None
    return textwrap.dedent(ast.get_source_segment(source, body, padded=True) or "").strip()


def _body(bodies: list[ast.expr], code: CodeType) -> ast.expr | None:
    """The expression of a lambda, among those of the lambdas that begin on its line."""
    # What belongs to no expression has no columns, or 0 for both.
    spans = [
        ((start, left), (end, right))
        for start, end, left, right in code.co_positions()
        if start is not None and end is not None and left is not None and right
    ]
    around = [
        body
        for body in bodies
        if all((body.lineno, body.col_offset) <= first for first, _ in spans)
        and all(last <= (body.end_lineno or 0, body.end_col_offset or 0) for _, last in spans)
    ]
    if not spans and len(around) > 1:
        return None
    # Those that are around are around each other, too.
    return max(around, key=lambda body: (body.lineno, body.col_offset), default=None)


@functools.lru_cache(64)
def _compiled(source: str, flags: int) -> tuple[ast.Module, frozenset[CodeType]]:
    """The syntax tree of a file and the code of all functions in it."""
    tree = _quietly(ast.parse, source)
    return tree, frozenset(_inner(_compile(tree, flags)))


def _compile(tree: ast.Module, flags: int) -> CodeType:
    return _quietly(compile, tree, "", "exec", flags, dont_inherit=True)


def _quietly(f: Function, *args: Any, **keywords: Any) -> Any:
    """Calls a compiler, which has already warned when the file was imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return f(*args, **keywords)


def _inner(code: CodeType) -> Iterator[CodeType]:
    """The pieces of code within a piece of code, such as those of functions."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _inner(constant)


def _first_line(node: ast.stmt) -> int:
    """The line at which a statement begins, with its decorators."""
    return min(n.lineno for n in (node, *getattr(node, "decorator_list", ())))


def _shown(value: Any) -> str:
    """A value as it is called in the source, in one line."""
    if isinstance(value, functools.partial):
        keywords = [f"{key}={_shown(v)}" for key, v in value.keywords.items()]
        return f"partial({', '.join([_shown(value.func), *map(_shown, value.args), *keywords])})"
    if isinstance(value, Primitive) or (callable(value) and hasattr(value, "__name__")):
        return name(value)
    if shape := getattr(value, "shape", None):  # to write out an array takes long
        return f"<{type(value).__name__} of shape {shape}>"
    # An address in memory says nothing, and is another one the next time.
    text = " ".join(re.sub(r" at 0x\w+", "", repr(value)).split())
    return text if len(text) <= 60 else f"{text[:56]} ..."


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
        source = rule_text(rule)
        lines.append(
            f"  {parameter}:  {source}"
            if "\n" not in source
            else f"  {parameter}:\n{_indented(source)}"
        )
    return "\n".join(lines)


def _without_docstring(source: str, node: ast.FunctionDef) -> str:
    """The source of a function from its `def` on, without the docstring."""
    lines = source.split("\n")[: node.end_lineno]
    above, kept = lines[: node.lineno - 1], lines[node.lineno - 1 :]
    if ast.get_docstring(node) is not None and len(node.body) > 1:
        docstring, following = node.body[:2]
        start, end = docstring.lineno - 1, docstring.end_lineno or 0
        if following.lineno == end:  # on the docstring's line, behind a semicolon
            before = lines[start].encode()[: docstring.col_offset]
            behind = lines[end - 1].encode()[following.col_offset :]
            between = [(before + behind).decode()]
        else:
            between = []
        kept = lines[len(above) : start] + between + lines[end:]
    return textwrap.dedent("\n".join(kept))


def _indented(lines: str) -> str:
    return textwrap.indent(lines, "    ")


def _module_of(function: Function) -> str:
    inner = function.func if isinstance(function, functools.partial) else function
    return (inner.__module__ or "").rpartition(".")[2]
