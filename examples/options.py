"""The options of all examples: `--out DIR`, `--full`, and `--small`, as the tests run them."""

from __future__ import annotations

import argparse
import importlib
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Options(argparse.Namespace):
    """What the command line asks for.

    Attributes:
        out: the folder for pictures, which is there; without `--out` none are saved.
        full: whether to take minutes instead of seconds.
        small: whether to do only what a test needs.
    """

    out: Path | None
    full: bool
    small: bool

    def pick(self, small: Any, usual: Any, full: Any) -> Any:
        """One of three, as the options say."""
        return small if self.small else full if self.full else usual

    def save(self, ax: Any, name: str) -> None:
        """Saves the figure of the axes to the folder, if there is one, and closes it."""
        from tinygrad_edu import plot

        if self.out is not None:
            plot.save(ax, self.out / f"{name}.png")
            print(f"saved {name}.png")


def options(description: str, **more: dict[str, Any]) -> Options:
    """Reads the command line; in a notebook there is none.

    `more` are options of this example, as `lr={"type": float, "default": 0.1, "help": "..."}`.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, metavar="DIR", help="save the pictures there")
    parser.add_argument("--full", action="store_true", help="the whole experiment: takes longer")
    parser.add_argument("--small", action="store_true", help=argparse.SUPPRESS)
    for name, how in more.items():
        parser.add_argument(f"--{name}", **how)
    in_notebook = "ipykernel" in sys.modules
    found = parser.parse_args([] if in_notebook else None, namespace=Options())
    if found.out is not None:
        need("matplotlib", "plot")
        try:
            found.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            parser.error(f"--out: the folder {found.out} cannot be made: {error.strerror}")
        if not os.access(found.out, os.W_OK):
            parser.error(f"--out: nothing can be written to {found.out}")
    return found


def positive(text: str) -> float:
    """A number above 0, for options."""
    return _number(text, lambda x: x > 0, "a number above 0")


def not_negative(text: str) -> float:
    """A number of at least 0, for options."""
    return _number(text, lambda x: x >= 0, "a number of at least 0")


def _number(text: str, holds: Callable[[float], bool], what: str) -> float:
    try:
        x = float(text)
    except ValueError:
        x = math.nan
    if not (math.isfinite(x) and holds(x)):
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return x


def need(module: str, extra: str) -> Any:
    """The module, or an end that says how to get it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        sys.exit(
            f"this example needs {module}, which the extra `{extra}` brings: "
            f'pip install ".[{extra}]" in the checkout'
        )
