"""A function that the command line names, and arrays to call it with."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tinygrad_edu.trees import argument_names

__all__ = ["Unusable", "add_arguments", "check", "inputs", "load", "parse_shape", "parse_value"]


class Unusable(Exception):
    """The command line names something that is not there."""


def add_arguments(parser: Any) -> None:
    """Adds the arguments that name the function and its inputs to an argparse parser."""
    # As argparse has it, -1e-3 and -2. would be options.
    parser._negative_number_matcher = re.compile(r"-\.?\d")
    parser.add_argument("function", metavar="MODULE:FUNCTION", help="or FILE.py:FUNCTION")
    given = parser.add_mutually_exclusive_group()
    given.add_argument(
        "--shapes",
        nargs="+",
        type=parse_shape,
        metavar="SHAPE",
        help='random normal inputs: --shapes 3,4 4,2 for two matrices; "()" for a number',
    )
    given.add_argument(
        "--values",
        nargs="+",
        type=parse_value,
        metavar="VALUE",
        help='inputs as they are written: --values 0.5 "[1, 2, 3]"',
    )
    given.add_argument(
        "--inputs",
        type=Path,
        metavar="FILE.npz",
        help="inputs as np.savez wrote them, by the names of the parameters, or else in order",
    )
    parser.add_argument("--seed", type=int, default=0, help="for random numbers; default: 0")


def parse_shape(text: str) -> tuple[int, ...]:
    """A shape as it is written on the command line.

    Example:
        >>> parse_shape("3,4"), parse_shape("(5,)"), parse_shape("()")
        ((3, 4), (5,), ())
    """
    inside = text.strip()
    if inside.startswith("(") and inside.endswith(")"):
        inside = inside[1:-1].strip()
    sides = inside.removesuffix(",").split(",") if inside else []
    if not text.strip() or not all(side.strip().isdecimal() for side in sides):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape such as 3,4")
    return tuple(map(int, sides))


def parse_value(text: str) -> Any:
    """A number or an array as it is written on the command line, as floating-point numbers.

    Example:
        >>> parse_value("-2"), parse_value("[1, 2]")
        (-2.0, array([1., 2.]))
    """
    try:
        value = np.array(ast.literal_eval(text.strip()))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        value = np.array(None)
    # Whole numbers of more than 64 bits are objects to NumPy.
    if value.dtype.kind not in "iuf" and not all(type(x) in (int, float) for x in value.flat):
        raise argparse.ArgumentTypeError(
            f"{text!r:.60} is neither a number nor an array such as [1, 2]"
        )
    try:
        value = value.astype(float)
    except OverflowError:
        value = np.array(np.inf)
    if not np.isfinite(value).all():
        raise argparse.ArgumentTypeError(f"{text!r:.60} is too large for a floating-point number")
    return value if value.ndim else float(value)


def load(target: str) -> Callable[..., Any]:
    """The function that MODULE:FUNCTION or FILE.py:FUNCTION names.

    Raises:
        Unusable: there is none.
    """
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise Unusable(f"{target!r} is not of the form MODULE:FUNCTION or FILE.py:FUNCTION")
    try:
        Path(place).name.encode()
    except UnicodeEncodeError as error:
        # Reports and pages name the file.
        raise Unusable(f"the name of the file {place!a} is not valid UTF-8: rename it") from error
    try:
        found: Any = _file(place) if place.endswith(".py") else _module(place, os.getcwd())
    except (Exception, SystemExit) as error:
        if isinstance(error, Unusable):
            raise
        reason = f"{type(error).__name__}: {error}"
        raise Unusable(f"{place} cannot be imported: {reason}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise Unusable(f"{place} has no {name}")
        found = getattr(found, part)
    if not callable(found):
        raise Unusable(f"{target} is not a function but {found!r:.60}")
    return found


def _module(name: str, folder: str) -> ModuleType:
    """The module of a name, which may lie in the folder."""
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module(name)


def _file(place: str) -> ModuleType:
    """The module in a file, which may import its neighbours, also relatively in a package."""
    path = Path(place).resolve()
    if not path.is_file():
        raise Unusable(f"there is no file {place}")
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    top = path.parent
    while (top / "__init__.py").is_file():
        top = top.parent
    if top != path.parent:
        name = ".".join(path.relative_to(top).with_suffix("").parts)
        module = _module(name, str(top))
        if Path(module.__file__ or "").resolve() != path:
            raise Unusable(f"{place} cannot be imported: {name} is {module.__file__}")
        return module
    # Its own name may be that of another file or of a module of Python; its path is not.
    name = str(path)
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[name])
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def inputs(options: Any, f: Callable[..., Any]) -> list[Any]:
    """The inputs that the command line names.

    Raises:
        Unusable: they cannot be read or made, or there are too few or too many for `f`.
    """
    args = _given(options, f)
    check(options.function, f, args)
    return args


def check(name: str, f: Callable[..., Any], args: list[Any]) -> None:
    """Refuses a function that cannot be called with so many arguments.

    Raises:
        Unusable: it takes fewer or more.
    """
    try:
        # What a wrapper says that it wraps may take others than the wrapper.
        signature = inspect.signature(f, follow_wrapped=False)
    except (TypeError, ValueError):
        return  # some functions do not tell
    try:
        signature.bind(*args)
    except TypeError as error:
        raise Unusable(
            f"{name} takes the arguments {signature}, but {len(args)} were given ({error}): "
            f"give them with --shapes, --values or --inputs"
        ) from error


def _given(options: Any, f: Callable[..., Any]) -> list[Any]:
    """The inputs, of whatever number."""
    if options.seed < 0:
        raise Unusable(f"--seed must be at least 0, got {options.seed}")
    if options.values is not None:
        return list(options.values)
    if options.shapes is not None:
        rng = np.random.default_rng(options.seed)
        try:
            return [rng.normal(size=shape) for shape in options.shapes]
        except (MemoryError, ValueError) as error:
            raise Unusable(f"--shapes: {error}") from error
    if options.inputs is None:
        return []
    try:
        with options.inputs.open("rb") as opened:
            file = np.load(opened)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it is not an .npz file as np.savez writes it")
            arrays = {name: file[name] for name in file.files}
    except Exception as error:
        # Damaged data fails anywhere in what reads them, from zlib to the parser of the headers.
        raise Unusable(f"--inputs {options.inputs} cannot be read: {error}") from error
    names = argument_names(f)
    called = [names(i) for i in range(len(arrays))]
    return [arrays[name] for name in called] if set(called) == set(arrays) else [*arrays.values()]
