"""`python -m tinygrad_edu explain MODULE:FUNCTION`: a page of a function and its gradient."""

from __future__ import annotations

import sys
import traceback
import webbrowser
from pathlib import Path
from typing import Any

from tinygrad_edu import target

__all__ = ["add_arguments", "run"]


def add_arguments(parser: Any) -> None:
    """Adds the arguments of the command to an argparse parser."""
    target.add_arguments(parser)
    out = Path("tape.html")
    parser.add_argument("--out", type=Path, default=out, help=f"the file; default: {out}")
    parser.add_argument("--open", action="store_true", help="show the page in the browser")


def run(options: Any) -> int:
    """Writes the page; returns the exit status: 0 if it did, 2 if not."""
    from tinygrad_edu.show import record

    try:
        if not options.out.parent.is_dir():
            raise target.Unusable(f"--out {options.out}: there is no such folder")
        if options.out.suffix.lower() not in (".html", ".htm"):
            # What it replaces may else be the file of the function.
            raise target.Unusable(f"--out {options.out} must end in .html")
        f = target.load(options.function)
        args = target.inputs(options, f)
    except target.Unusable as error:
        return _could_not(str(error))
    try:
        tape = record(f, *args)
        page = tape.page()
    except (Exception, SystemExit) as error:
        # The user's function may raise anything; where it did so is what helps.
        traceback.print_exc()
        return _could_not(f"{type(error).__name__}: {error}")
    try:
        page.save(options.out)
    except OSError as error:
        return _could_not(f"--out {options.out}: {error}")
    print(f"{options.out}: {len(tape)} entries. Open it in a browser.")
    if options.open:
        webbrowser.open(options.out.resolve().as_uri())
    return 0


def _could_not(reason: str) -> int:
    print(f"could not explain: {' '.join(reason.split())}", file=sys.stderr)
    return 2
