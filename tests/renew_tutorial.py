"""Writes what the scripts of the tutorial print below the code that prints it.

    python -m tests.renew_tutorial

Printed lines stand in the scripts as comments that begin with `# >`, below the statement that
prints them. After a change of what is printed they are all written anew.
"""

from __future__ import annotations

import ast
import contextlib
import io
import linecache
import sys
import tempfile
from pathlib import Path

TUTORIAL = Path(__file__).parents[1] / "examples" / "tutorial"
MARK = "# >"


def scripts() -> list[Path]:
    """The scripts of the tutorial, in order."""
    return sorted(TUTORIAL.glob("[0-9]*.py"))


def shown(text: str) -> list[str]:
    """The lines that a script says it prints."""
    return [line[len(MARK) :][1:] for line in text.splitlines() if line.startswith(MARK)]


def renewed(script: Path) -> str:
    """The text of a script, with the lines that it prints below the statements that print them.

    The script runs in a folder of its own, one top-level statement at a time.

    Raises:
        ValueError: a script that prints something else each time.
    """
    text = script.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        copy = Path(folder).resolve() / script.name
        # Printed line numbers of the script itself change with the lines above them.
        for _ in range(4):
            before = text
            copy.write_text(before, encoding="utf-8")
            text = _run(copy, before)
            if text == before:
                return text
    raise ValueError(f"{script.name} prints something else each time it runs")


def _run(copy: Path, text: str) -> str:
    lines = text.splitlines()
    printed: dict[int, list[str]] = {}
    names = {"__name__": "__main__", "__file__": str(copy)}
    arguments, sys.argv = sys.argv, [str(copy)]
    linecache.checkcache(str(copy))
    try:
        for statement in ast.parse(text).body:
            code = compile(ast.Module([statement], []), str(copy), "exec")
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(code, names)
            printed[statement.end_lineno or 0] = output.getvalue().splitlines()
    finally:
        sys.argv = arguments
    new = []
    for number, line in enumerate(lines, start=1):
        if not line.startswith(MARK):
            new.append(line)
        new += [f"{MARK} {output}".rstrip() for output in printed.get(number, [])]
    return "\n".join(new) + "\n"


if __name__ == "__main__":
    for script in scripts():
        text = renewed(script)
        if text != script.read_text(encoding="utf-8"):
            script.write_text(text, encoding="utf-8")
            print(f"renewed {script.name}")
