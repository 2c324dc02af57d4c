"""`python -m tinygrad_edu check MODULE:FUNCTION`: a gradient checked from the command line."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_edu.gradcheck.check import check_grad
from tinygrad_edu.gradcheck.compare import Verdict
from tinygrad_edu.transforms import argument_names

__all__ = ["add_arguments", "parse_shape", "run"]

OK, WRONG, COULD_NOT_CHECK = 0, 1, 2


class Unusable(Exception):
    """The command line names something that is not there."""


def add_arguments(parser: Any) -> None:
    """Adds the arguments of the command to an argparse parser."""
    parser.add_argument("function", metavar="MODULE:FUNCTION", help="or FILE.py:FUNCTION")
    parser.add_argument(
        "--gradient",
        metavar="MODULE:FUNCTION",
        help="a gradient by hand, of the same arguments; default: the engine's",
    )
    inputs = parser.add_mutually_exclusive_group(required=True)
    inputs.add_argument(
        "--shapes",
        nargs="+",
        type=parse_shape,
        metavar="SHAPE",
        help='random normal inputs: --shapes 3,4 4,2 for two matrices; "()" for a number',
    )
    inputs.add_argument(
        "--inputs",
        type=Path,
        metavar="FILE.npz",
        help="inputs as np.savez wrote them, by the names of the parameters, or else in order",
    )
    parser.add_argument("--order", type=int, default=1, help="2: the second derivatives as well")
    parser.add_argument("--seed", type=int, default=0, help="for random numbers; default: 0")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the report")


def parse_shape(text: str) -> tuple[int, ...]:
    """A shape as it is written on the command line.

    Example:
        >>> parse_shape("3,4"), parse_shape("(5,)"), parse_shape("()")
        ((3, 4), (5,), ())
    """
    sides = [side for side in text.strip().strip("()").split(",") if side.strip()]
    shape = tuple(int(side) for side in sides)
    if any(side < 0 for side in shape):
        raise ValueError(f"{text!r} is not a shape")
    return shape


def run(options: Any) -> int:
    """Checks; returns the exit status: 0 if OK, 1 if wrong, 2 if it could not be checked."""
    try:
        f = _load(options.function)
        gradient = _load(options.gradient) if options.gradient else None
        args = _inputs(options, f)
        if options.plot is not None and not options.plot.parent.is_dir():
            raise Unusable(f"--plot {options.plot}: there is no such folder")
    except Unusable as error:
        print(f"could not check: {error}", file=sys.stderr)
        return COULD_NOT_CHECK
    try:
        report = check_grad(f, *args, gradient=gradient, order=options.order, rng=options.seed)
    except Exception as error:
        # The user's function may raise anything; where it did so is what helps.
        traceback.print_exc()
        print(f"could not check: {type(error).__name__}: {error}", file=sys.stderr)
        return COULD_NOT_CHECK
    print(json.dumps(report.to_dict(), indent=1) if options.json else report)
    if options.plot is not None and report.inputs:
        report.plot().savefig(options.plot, dpi=120)
    return {Verdict.OK: OK, Verdict.WRONG: WRONG}.get(report.verdict, COULD_NOT_CHECK)


def _load(target: str) -> Callable[..., Any]:
    """The function that MODULE:FUNCTION or FILE.py:FUNCTION names."""
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise Unusable(f"{target!r} is not of the form MODULE:FUNCTION or FILE.py:FUNCTION")
    found: Any = _module(place)
    for part in name.split("."):
        if not hasattr(found, part):
            raise Unusable(f"{place} has no {name}")
        found = getattr(found, part)
    if not callable(found):
        raise Unusable(f"{target} is not a function but {found!r:.60}")
    return found


def _module(place: str) -> Any:
    """The module of a name, or of a file, whose folder is looked in for what it imports."""
    path = Path(place) if place.endswith(".py") else None
    if path is not None and not path.is_file():
        raise Unusable(f"there is no file {place}")
    folder = str(path.resolve().parent) if path else os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(path.stem if path else place)
    except Exception as error:
        raise Unusable(f"{place} cannot be imported: {type(error).__name__}: {error}") from error


def _inputs(options: Any, f: Callable[..., Any]) -> list[Any]:
    if options.shapes is not None:
        rng = np.random.default_rng(options.seed)
        return [rng.normal(size=shape) for shape in options.shapes]
    try:
        with np.load(options.inputs) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise Unusable(f"{options.inputs} is not an .npz file as np.savez writes it")
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise Unusable(f"--inputs {options.inputs} cannot be read: {error}") from error
    names = argument_names(f)
    called = [names(i) for i in range(len(arrays))]
    return [arrays[name] for name in called] if set(called) == set(arrays) else [*arrays.values()]
