"""Hypothesis profiles: fixed examples by default, fresh ones with HYPOTHESIS_PROFILE=random."""

import contextlib
import os
import runpy
import sys
from pathlib import Path

import matplotlib
import pytest
from hypothesis import settings

matplotlib.use("Agg")

# It is a program for mpiexec, and begins MPI where it is imported.
collect_ignore = ["mpi_jobs.py"]

settings.register_profile("fixed", derandomize=True, max_examples=40, deadline=None)
settings.register_profile("random", max_examples=40, deadline=None)
settings.register_profile("thorough", max_examples=500, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


@pytest.fixture
def full_disk():
    """A context in which no file can be written beyond some bytes."""
    resource = pytest.importorskip("resource")

    @contextlib.contextmanager
    def limited(room=2000):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture
def run_example(monkeypatch, capsys, tmp_path):
    """Runs an example as its tests do: small, with its pictures in a folder of their own."""
    folder = Path(__file__).parents[1] / "examples"

    def run(name, *arguments):
        script = folder / f"{name}.py"
        command = [str(script), "--small", "--out", str(tmp_path / "pictures"), *arguments]
        monkeypatch.setattr(sys, "argv", command)
        monkeypatch.syspath_prepend(str(folder))
        return runpy.run_path(str(script), run_name="__main__"), capsys.readouterr().out

    return run
