"""`python -m tinygrad_edu check MODULE:FUNCTION`: a gradient checked from the command line."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tinygrad_edu.trees import argument_names

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
    inside = text.strip()
    if inside.startswith("(") and inside.endswith(")"):
        inside = inside[1:-1].strip()
    sides = inside.removesuffix(",").split(",") if inside else []
    if not text.strip() or not all(side.strip().isdecimal() for side in sides):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape such as 3,4")
    return tuple(map(int, sides))


def run(options: Any) -> int:
    """Checks; returns the exit status: 0 if OK, 1 if wrong, 2 if it could not be checked."""
    # Imported here, since other commands do without the checker.
    from tinygrad_edu.gradcheck.check import check_grad
    from tinygrad_edu.gradcheck.compare import Verdict

    try:
        _check_options(options)
        f = _load(options.function)
        gradient = None if options.gradient is None else _load(options.gradient)
        args = _inputs(options, f)
    except Unusable as error:
        return _could_not(str(error))
    try:
        report = check_grad(f, *args, gradient=gradient, order=options.order, rng=options.seed)
    except (Exception, SystemExit) as error:
        # The user's function may raise anything; where it did so is what helps.
        traceback.print_exc()
        return _could_not(f"{type(error).__name__}: {error}")
    try:
        print(json.dumps(report.to_dict(), indent=1) if options.json else report, flush=True)
    except BrokenPipeError:
        # Whoever read has read enough. Python writes what is left when it ends: to nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if options.plot is not None and any(np.isfinite(i.measured).any() for i in report.inputs):
        try:
            _save(report.plot(), options.plot)
        except OSError as error:
            return _could_not(f"--plot {options.plot}: {error}", "draw")
    return {Verdict.OK: OK, Verdict.WRONG: WRONG}.get(report.verdict, COULD_NOT_CHECK)


def _could_not(reason: str, what: str = "check") -> int:
    print(f"could not {what}: {' '.join(reason.split())}", file=sys.stderr)
    return COULD_NOT_CHECK


def _check_options(options: Any) -> None:
    """Refuses what can be known to be useless before anything is run."""
    if options.order < 1:
        raise Unusable(f"--order must be 1, 2, ..., got {options.order}")
    if options.order > 1 and options.gradient is not None:
        raise Unusable(
            f"--order {options.order} is for the engine's own gradients; to check a second "
            f"derivative of yours, check it as the --gradient of your gradient"
        )
    if options.seed < 0:
        raise Unusable(f"--seed must be at least 0, got {options.seed}")
    if options.plot is not None:
        _check_plot(options.plot)


def _check_plot(path: Path) -> None:
    from tinygrad_edu.gradcheck.picture import pyplot

    if not path.parent.is_dir():
        raise Unusable(f"--plot {path}: there is no such folder")
    try:
        pyplot()
    except ModuleNotFoundError as error:
        raise Unusable(f"--plot: {error}") from error
    from matplotlib.backend_bases import FigureCanvasBase

    kind, kinds = path.suffix[1:].lower(), FigureCanvasBase.get_supported_filetypes()
    if kind and kind not in kinds:
        raise Unusable(f"--plot {path}: {kind} is none of {', '.join(sorted(kinds))}")


def _save(figure: Any, path: Path) -> None:
    from tinygrad_edu.gradcheck.picture import pyplot

    try:
        figure.savefig(path, dpi=120)
    finally:
        pyplot().close(figure)


def _load(target: str) -> Callable[..., Any]:
    """The function that MODULE:FUNCTION or FILE.py:FUNCTION names."""
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise Unusable(f"{target!r} is not of the form MODULE:FUNCTION or FILE.py:FUNCTION")
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


def _inputs(options: Any, f: Callable[..., Any]) -> list[Any]:
    if options.shapes is not None:
        rng = np.random.default_rng(options.seed)
        try:
            return [rng.normal(size=shape) for shape in options.shapes]
        except (MemoryError, ValueError) as error:
            raise Unusable(f"--shapes: {error}") from error
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
