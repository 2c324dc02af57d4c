"""Training on several ranks of MPI. The jobs are in mpi_jobs.py; here they are started."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mpi4py")

HERE = Path(__file__).parent
# Beside Python, where the wheel of an MPI puts it, or wherever the system has it.
BESIDE = Path(sys.executable).parent
MPIEXEC = shutil.which("mpiexec", path=f"{BESIDE}{os.pathsep}{os.environ['PATH']}")
# A rank that waits for one that will not come would do so for ever.
TIMEOUT = 120

pytestmark = pytest.mark.skipif(MPIEXEC is None, reason="no mpiexec")


def start(ranks, *arguments):
    """Starts a job of so many ranks, in which warnings are errors."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    # There are more ranks than cores: one that waits sleeps, so that the others can run.
    environment |= {"MPIR_CVAR_POLLS_BEFORE_YIELD": "10", "MPIR_CVAR_ENABLE_HEAVY_YIELD": "1"}
    program = [sys.executable, "-W", "error", str(HERE / "mpi_jobs.py"), *arguments]
    command = [MPIEXEC, "-n", str(ranks), *program]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)


def end(process):
    """The exit status of a job, what it printed and its errors, which it must come to."""
    try:
        out, err = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.terminate()
        out, err = process.communicate()
        pytest.fail(f"it hangs: {process.args}\n{out}{err}")
    return process.returncode, out, err


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_train_as_one_process_does(ranks):
    status, out, err = end(start(ranks, "same,kinds,copied,begin,random_layers"))
    assert status == 0, err
    assert out.count("done") == 5


def test_what_is_kept_of_a_training_on_ranks(tmp_path):
    status, _, err = end(start(2, "kept", str(tmp_path)))
    assert status == 0, err
    # Each rank's own training without MPI has three files; of a job the first rank alone writes.
    assert len(list(tmp_path.iterdir())) == 3 * (2 + 2)


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_agree_or_say_why_not(ranks):
    status, out, err = end(start(ranks, "refused,diverging,apart,turning,stopping"))
    assert status == 0, err
    assert out.count("done") == 5
    # One of them speaks for all.
    assert err.count("interrupted after ") == 4


def test_the_demo_trains_on_all_ranks_and_rank_0_prints():
    status, out, err = end(start(2, "command"))
    assert status == 0, err
    assert "gradient descent on 2 ranks" in out
    assert len(re.findall("^ *0 +1.156405 +1.156405 +1.116188 +1.116188$", out, re.M)) == 1
    assert out.count("training accuracy") == err.count("No pictures without matplotlib") == 1


@pytest.mark.parametrize(
    ("where", "rank"),
    [("the model", 0), ("the model", 1), ("a callback", 1), ("the program", 1), ("the end", 1)],
)
def test_an_error_on_one_rank_ends_the_job(where, rank):
    status, _, err = end(start(2, "fails", where, str(rank)))
    assert status == 1
    assert f"rank {rank} of 2 failed:\nTraceback" in err
    assert err.count(f"ValueError: an error in {where}") == 1


def test_bad_data_on_one_rank_end_the_job():
    status, _, err = end(start(2, "fails", "X", "1"))
    assert status == 1
    assert err.count("ValueError: X holds nan at [0, 0]") == 1


def test_an_error_that_all_ranks_have_is_shown_once():
    status, _, err = end(start(3, "fails", "all X", "0"))
    assert status == 1
    assert err.count("ValueError: X holds nan at [0, 0]") == err.count("Traceback") == 1


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("exit", "SystemExit: an error in exit"),
        ("left", "rank 1 to the end of its program"),
        ("left another", "rank 1 to the end of its program"),
    ],
)
def test_a_rank_that_ends_early_ends_the_job(where, words):
    status, _, err = end(start(2, "fails", where, "1"))
    assert status == 1
    assert words in err


def test_a_rank_that_is_killed_ends_the_job():
    status, _, _ = end(start(3, "fails", "killed", "1"))
    assert status != 0


def test_ctrl_c_ends_the_training_of_all_ranks_after_the_same_step():
    with start(3, "fails", "interrupted", "0") as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        status, out, err = end(process)
    assert status == 0, err
    assert out.count("done") == err.count("interrupted after step") == 1
