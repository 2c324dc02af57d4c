"""What the README prints is what its code prints."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_examples_print_what_they_are_said_to_print(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # some write files
    blocks = re.findall(r"```(python|text)\n(.*?)```", README, flags=re.DOTALL)
    names: dict[str, object] = {}
    printed = said = ""
    for kind, text in blocks:
        if kind == "python":
            exec(text, names)
            printed += capsys.readouterr().out
        else:
            said += text
    # How well the net learns depends on the last bits of the machine's BLAS: see the next test.
    accuracy = r"accuracy \d\.\d\d"
    assert re.sub(accuracy, "", printed) == re.sub(accuracy, "", said)
    assert len(blocks) == 41


def test_the_example_learns():
    block = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(block.group(1).replace("batch_size=50", "batch_size=50, progress=False"), names)
    assert names["trainer"].score(names["X"], names["y"]) > 0.97
    assert np.isfinite(names["history"].loss).all()


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
