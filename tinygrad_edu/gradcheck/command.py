"""`python -m tinygrad_edu check MODULE:FUNCTION`: a gradient checked from the command line."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_edu import target
from tinygrad_edu.target import Unusable

__all__ = ["add_arguments", "run"]

OK, WRONG, COULD_NOT_CHECK = 0, 1, 2


def add_arguments(parser: Any) -> None:
    """Adds the arguments of the command to an argparse parser."""
    target.add_arguments(parser)
    parser.add_argument(
        "--gradient",
        metavar="MODULE:FUNCTION",
        help="a gradient by hand, of the same arguments; default: the engine's",
    )
    parser.add_argument("--order", type=int, default=1, help="2: the second derivatives as well")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the report")


def run(options: Any) -> int:
    """Checks; returns the exit status: 0 if OK, 1 if wrong, 2 if it could not be checked."""
    # Imported here, since other commands do without the checker.
    from tinygrad_edu.gradcheck.check import check_grad
    from tinygrad_edu.gradcheck.compare import Verdict

    try:
        _check_options(options)
        f = target.load(options.function)
        gradient = None if options.gradient is None else target.load(options.gradient)
        args = target.inputs(options, f)
        if not args:
            raise Unusable("there is no input: pass --shapes, --values or --inputs")
        if gradient is not None:
            target.check(options.gradient, gradient, args)
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
        from tinygrad_edu.style import save

        try:
            save(report.plot(), options.plot)
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
    if options.plot is not None:
        _check_plot(options.plot)


def _check_plot(path: Path) -> None:
    from tinygrad_edu.style import pyplot

    if not path.parent.is_dir():
        raise Unusable(f"--plot {path}: there is no such folder")
    if not path.name:
        raise Unusable(f"--plot {path} is a folder: name a file in it")
    try:
        pyplot()
    except ModuleNotFoundError as error:
        raise Unusable(f"--plot: {error}") from error
    from matplotlib.backend_bases import FigureCanvasBase

    kind, kinds = path.suffix[1:].lower(), FigureCanvasBase.get_supported_filetypes()
    if kind and kind not in kinds:
        raise Unusable(f"--plot {path}: {kind} is none of {', '.join(sorted(kinds))}")
