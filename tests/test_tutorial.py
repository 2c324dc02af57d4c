"""What the tutorial prints is what its scripts print, and its scripts are notebooks.

Printed lines stand below the code that prints them, as comments that begin with `# >`. They are
written anew by `python -m tests.renew_tutorial`.

Prose: a result stands in bold, as **0.37**, and must stand in a printed line of the same script. A
number with a decimal point is a result or an input, and must stand in a printed line or in the
code. Whole numbers are mathematics, and are not looked at unless they stand in bold.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from renew_tutorial import MARK, TUTORIAL, renewed, scripts, shown

ROOT = TUTORIAL.parents[1]
NUMBER = r"(?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w]|\.\d)"

each_script = pytest.mark.parametrize("script", scripts(), ids=lambda script: script.stem)


def cells(text: str) -> list[tuple[str, str]]:
    """The kind and the text of each cell; comments of prose without their mark."""
    first, *parts = re.split(r"^# %%(.*)\n", text, flags=re.MULTILINE)
    assert first == ""
    kinds = {"": "code", " [markdown]": "markdown"}
    found = []
    for kind, body in zip(parts[::2], parts[1::2], strict=True):
        if kinds[kind] == "markdown":
            lines = body.strip("\n").split("\n")
            assert all(re.match(r"#( \S|  +|$)", line) for line in lines), body
            body = "\n".join(line[2:] for line in lines)
        found.append((kinds[kind], body))
    return found


def prose(text: str) -> str:
    return "\n\n".join(body for kind, body in cells(text) if kind == "markdown")


def code(text: str) -> str:
    """All code without what it prints."""
    parts = [body for kind, body in cells(text) if kind == "code"]
    return "\n".join(line for line in "".join(parts).split("\n") if not line.startswith(MARK))


def numbers(text: str) -> set[str]:
    return set(re.findall(NUMBER, text))


def formulas(markdown: str) -> list[str]:
    """The formulas of a cell, displayed ones and those in a line, outside of code."""
    markdown = re.sub(r"```.*?```|`[^`\n]*`", "", markdown, flags=re.DOTALL)
    return [a or b for a, b in re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$", markdown, flags=re.DOTALL)]


def run(script: Path, folder: Path, *arguments: str) -> str:
    """What a copy of a script prints that runs in a folder of its own."""
    copy = Path(shutil.copy(script, folder))
    result = subprocess.run(
        [sys.executable, "-W", "error", copy.name, *arguments],
        cwd=folder,
        env={**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    return result.stdout


def test_the_index_names_every_script():
    index = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([^)#]+\.py)\)", index)
    there = [p for p in (ROOT / "examples").rglob("*.py") if p.name != "options.py"]
    assert sorted(linked) == sorted(p.relative_to(ROOT / "examples").as_posix() for p in there)
    assert [script.name[:2] for script in scripts()] == [f"{n}_" for n in range(1, 8)]


@each_script
def test_prints_what_it_is_said_to_print(script, tmp_path):
    printed = run(script, tmp_path)
    assert [line.rstrip() for line in printed.splitlines()] == shown(script.read_text())
    assert [path.name for path in tmp_path.iterdir()] == [script.name]


@each_script
def test_what_is_printed_stands_below_the_code_that_prints_it(script):
    assert renewed(script) == script.read_text(encoding="utf-8")


def test_lines_are_renewed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("for i in range(2):\n    print(i)\n# > old\n\nprint()\nprint('a  ')\n")
    new = "for i in range(2):\n    print(i)\n# > 0\n# > 1\n\nprint()\n# >\nprint('a  ')\n# > a\n"
    assert renewed(script) == new


def test_printed_line_numbers_are_those_of_the_renewed_script(tmp_path):
    script = tmp_path / "script.py"
    line = "print(__import__('inspect').currentframe().f_lineno)\n"
    script.write_text(f"print('a', 'b', sep='\\n')\n{line}")
    assert shown(renewed(script)) == ["a", "b", "4"]


def test_a_script_that_prints_the_time_is_refused(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import time\nprint(time.perf_counter_ns())\n")
    with pytest.raises(ValueError, match="something else each time"):
        renewed(script)


@each_script
def test_is_a_notebook_of_alternating_cells(script):
    text = script.read_text(encoding="utf-8")
    kinds = [kind for kind, _ in cells(text)]
    assert kinds == ["markdown", "code"] * (len(kinds) // 2) + ["markdown"]
    assert len(kinds) >= 5
    assert re.match(rf"# {script.name[0]}\. [A-Z]", cells(text)[0][1])
    assert cells(text)[-1][1].startswith("## Try\n\n")
    lines = text.splitlines()
    assert len(lines) < 120
    assert max(map(len, lines)) <= 100


@each_script
def test_formulas_are_well_formed(script):
    for kind, body in cells(script.read_text(encoding="utf-8")):
        if kind == "code":
            continue
        plain = re.sub(r"```.*?```|`[^`\n]*`", "", body, flags=re.DOTALL)
        assert plain.count("$$") % 2 == 0
        assert plain.replace("$$", "").count("$") % 2 == 0, body
        # Displayed formulas stand between empty lines; their lines do not look like a list.
        for shown_formula in re.findall(r"\$\$.+?\$\$", plain, flags=re.DOTALL):
            assert f"\n\n{shown_formula}\n\n" in f"{plain}\n\n"
            assert not re.search(r"^[-+#>] ", shown_formula, flags=re.MULTILINE)
        for formula in formulas(body):
            assert "$" not in formula
            assert "\n\n" not in formula
            assert formula == formula.strip()
            assert formula.count("{") == formula.count("}")
            for left, right in ((r"\left", r"\right"), (r"\Big(", r"\Big)")):
                count = [
                    len(re.findall(re.escape(x) + r"(?![a-z])", formula)) for x in (left, right)
                ]
                assert count[0] == count[1]


@each_script
def test_numbers_in_the_prose_are_those_of_the_run(script):
    text = script.read_text(encoding="utf-8")
    printed = numbers("\n".join(shown(text)))
    in_bold = {n for bold in re.findall(r"\*\*([^*]+)\*\*", prose(text)) for n in numbers(bold)}
    assert in_bold <= printed
    decimal = {n for n in numbers(prose(text)) if "." in n or "e" in n}
    assert decimal <= printed | numbers(code(text))


def test_a_number_that_is_not_printed_is_found():
    text = "# %% [markdown]\n# **7**, 0.5, **0.25**, 1.5e-3\n\n# %%\nx = 0.5\n# > 0.250\n"
    assert numbers(prose(text)) == {"7", "0.5", "0.25", "1.5e-3"}
    assert numbers(code(text)) == {"0.5"}
    assert numbers("\n".join(shown(text))) == {"0.250"}


def test_a_picture_is_drawn_if_asked_for(tmp_path):
    script = next(script for script in scripts() if "--out" in script.read_text())
    run(script, tmp_path, "--out", "pictures")
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["vanishing_gradients.png"]
