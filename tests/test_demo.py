"""The main job: the notebook's figures to the last printed digit, its gradients, its pictures."""

import contextlib
import csv
import io
import itertools
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import demo

PACKAGE = Path(tg.__file__).parent
NUMBER = r"\d+\.\d+|-"
ROW = re.compile(rf"^ *([\d,]+)  +({NUMBER}) +({NUMBER})  +({NUMBER}) +({NUMBER})$", re.MULTILINE)
CHECK = re.compile(
    r"^ +(sigmoid|relu) ([Wb][123]) +(\d\.\de[-+]\d\d) +(\d\.\de[-+]\d\d)"
    r" +(\d+) of (\d+)$",
    re.MULTILINE,
)


def notebook():
    """The losses that the notebook prints: step -> (sigmoid, relu), as text."""
    with (PACKAGE / "vanishing_gradients_losses.csv").open(newline="") as file:
        return {
            int(row["iteration"]): (row["sigmoid"], row["relu"]) for row in csv.DictReader(file)
        }


def printed(text):
    """The losses in the demo's table: step -> (ours, notebook's) for sigmoid and for relu."""
    return {int(step.replace(",", "")): ((a, b), (c, d)) for step, a, b, c, d in ROW.findall(text)}


def run(steps, out=None):
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        trainers = demo.run(steps, out, progress=False)
    plt.close("all")
    return trainers, text.getvalue()


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """The first 3,001 steps: what they return, what they print, and where the pictures are."""
    out = tmp_path_factory.mktemp("demo") / "new" / "folder"
    return *run(3001, out), out


def test_the_first_losses_are_the_notebook_s(short):
    _, text, _ = short
    table, expected = printed(text), notebook()
    assert list(table) == [0, 1000, 2000, 3000]
    for step, row in table.items():
        for (ours, notebook_s), there in zip(row, expected[step], strict=True):
            assert ours == notebook_s == there


def test_the_table_is_what_was_trained(short):
    trainers, text, _ = short
    assert list(trainers) == ["sigmoid", "relu"]
    for i, trainer in enumerate(trainers.values()):
        losses = trainer.history.loss
        assert len(losses) == 3001
        for step, row in printed(text).items():
            assert row[i][0] == f"{losses[step]:.6f}"


def test_the_accuracies_are_printed(short):
    trainers, text, _ = short
    X, y, _ = demo.make_trainers()
    scores = [np.mean(trainer.predict(X) == y) for trainer in trainers.values()]
    assert re.search(r"accuracy: sigmoid (\S+), relu (\S+)\n", text).groups() == tuple(
        f"{score:.2f}" for score in scores
    )


def test_the_gradient_check_passes(short):
    _, text, _ = short
    rows = CHECK.findall(text)
    names = [f"{letter}{i}" for i in (1, 2, 3) for letter in "Wb"]
    assert [row[:2] for row in rows] == [
        (net, name) for net in ("sigmoid", "relu") for name in names
    ]
    for net, _, by_hand, by_differences, left_out, of in rows:
        assert float(by_hand) < 1e-11
        assert float(by_differences) < 1e-4
        # Only relu has kinks, and the most must be measured.
        assert int(left_out) <= (int(of) / 2 if net == "relu" else 0)


def test_the_gradient_check_sees_a_wrong_gradient(monkeypatch, capsys):
    X, y, trainers = demo.make_trainers()
    by_hand = demo.hand_derived

    def wrong(*args):
        gradients = by_hand(*args)
        return [gradients[0] * (1 + 1e-6), *gradients[1:]]

    monkeypatch.setattr(demo, "hand_derived", wrong)
    demo.print_gradient_check(X, y, trainers, samples=2)
    rows = CHECK.findall(capsys.readouterr().out)
    seen = [(net, name) for net, name, by_hand, *_ in rows if float(by_hand) > 1e-7]
    assert seen == [("sigmoid", "W1"), ("relu", "W1")]


def test_the_pictures_show_something_each_its_own(short):
    *_, out = short
    files = sorted(out.iterdir())
    assert [file.suffix for file in files] == [".png"] * 7
    pictures = [matplotlib.image.imread(file)[..., :3] for file in files]
    for picture in pictures:
        assert min(picture.shape[:2]) > 300
        assert len(np.unique(picture @ [1, 300, 90_000])) > 50
        assert 0.01 < (picture.min(axis=2) < 0.9).mean() < 0.9
    for one, other in itertools.combinations(pictures, 2):
        assert one.shape != other.shape or np.abs(one - other).mean() > 1e-3


def test_drawing_leaves_no_figures_open(tmp_path):
    before = plt.get_fignums()
    X, y, trainers = demo.make_trainers()
    magnitudes = {name: tg.GradientMagnitudes() for name in trainers}
    for name, trainer in trainers.items():
        trainer.callbacks = [magnitudes[name]]
        trainer.fit(X, y, 2, progress=False)
    demo.draw(tmp_path, X, y, trainers, magnitudes)
    left = plt.get_fignums()
    plt.close("all")
    assert left == before


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
@pytest.mark.parametrize("seed", range(3))
def test_gradients_by_hand_are_the_engine_s(activation, seed):
    rng = np.random.default_rng(seed)
    X, y, trainers = demo.make_trainers()
    trainer = trainers[activation]
    for p in trainer.model.parameters():
        p.data = 0.5 * rng.standard_normal(p.shape)
    trainer.objective(X, y).backward()
    values = [p.data for p in trainer.model.parameters()]
    for p, g in zip(
        trainer.model.parameters(), demo.hand_derived(activation, values, X, y), strict=True
    ):
        assert g.any()
        assert np.abs(p.grad - g).max() <= 1e-12 * np.abs(g).max()


def test_the_data_and_weights_are_the_notebook_s_stream():
    X, y, trainers = demo.make_trainers()
    rs = np.random.RandomState(0)
    for j in range(3):
        angle = np.linspace(j * 4, (j + 1) * 4, 100) + rs.randn(100) * 0.2
        r = np.linspace(0, 1, 100)
        np.testing.assert_array_equal(X[y == j], np.c_[r * np.sin(angle), r * np.cos(angle)])
    for name in ("sigmoid", "relu"):
        for W in trainers[name].model.parameters()[::2]:
            np.testing.assert_array_equal(W.data, 0.1 * rs.randn(*W.shape))


def test_magnitudes_leave_the_penalty_out():
    X, y, trainers = demo.make_trainers()
    trainer, magnitudes = trainers["relu"], tg.GradientMagnitudes()
    W1, W2, W3 = trainer.model.parameters()[::2]
    expected = []
    for _ in range(3):
        trainer.model.zero_grad()
        tg.cross_entropy(trainer.model(X), y).backward()
        expected.append([np.abs(W.grad).sum() / sum(W.shape) for W in (W1, W2, W3)])
        trainer.callbacks = [magnitudes]
        trainer.fit(X, y, 1, progress=False)
    np.testing.assert_allclose(
        np.transpose(list(magnitudes.of_layer.values())), expected, rtol=1e-12
    )


@pytest.mark.parametrize("net", ["sigmoid", "relu"])
def test_ctrl_c_ends_the_demo_in_good_order(net, monkeypatch, tmp_path):
    class CtrlC(tg.optim.SGD):
        steps = 0

        def step(self):
            self.steps += 1
            if self.steps == 5:
                signal.raise_signal(signal.SIGINT)
            super().step()

    make_trainers = demo.make_trainers

    def interrupted(comm):
        X, y, trainers = make_trainers(comm)
        trainer = trainers[net]
        trainer.optimizer = CtrlC(trainer.model.parameters(), lr=demo.STEP_SIZE)
        return X, y, trainers

    monkeypatch.setattr(demo, "make_trainers", interrupted)
    try:
        trainers, text = run(20, tmp_path)
    except KeyboardInterrupt:
        pytest.fail("Ctrl-C came through")
    assert trainers[net].history.interrupted
    assert "training accuracy" in text
    assert "interrupted" not in repr(trainers[{"sigmoid": "relu", "relu": "sigmoid"}[net]].history)


@pytest.mark.slow
def test_all_losses_are_the_notebook_s():
    trainers, text = run(50_000)
    table, expected = printed(text), notebook()
    assert len(expected) == 50
    assert {step: (s[0], r[0]) for step, (s, r) in table.items()} == expected
    assert {step: (s[1], r[1]) for step, (s, r) in table.items()} == expected
    assert "training accuracy: sigmoid 0.97, relu 0.99\n" in text
    assert [len(trainer.history) for trainer in trainers.values()] == [50_000, 50_000]


def command(*arguments, cwd, program=("-m", "tinygrad_edu")):
    environment = {
        **os.environ,
        "PYTHONPATH": str(PACKAGE.parent),
        "MPLBACKEND": "Agg",
        "OPENBLAS_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_tells_its_version(tmp_path):
    result = command("--version", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, f"tinygrad-edu {tg.__version__}\n")


@pytest.mark.parametrize("steps", ["0", "-3", "x", "2.5", ""])
def test_bad_steps_are_refused(steps, tmp_path):
    result = command("demo", f"--steps={steps}", cwd=tmp_path)
    assert result.returncode == 2
    assert f"{steps!r} is not a whole number of at least 1" in result.stderr
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_without_a_command_the_usage_is_shown(tmp_path):
    result = command(cwd=tmp_path)
    assert result.returncode == 2
    assert "usage: tinygrad-edu" in result.stderr


@pytest.mark.parametrize("out", ["mine.txt", "mine.txt/pictures"])
def test_an_out_that_is_a_file_is_refused_before_any_work(out, tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("precious")
    result = command("demo", "--steps", 1, "--out", tmp_path / out, cwd=tmp_path)
    assert result.returncode == 2
    assert "--out" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert file.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [file]


def test_the_command_runs_the_demo(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("precious")
    result = command("demo", "--steps", 5, "--out", "out", cwd=tmp_path)
    assert result.returncode == 0
    first = notebook()[0]
    assert printed(result.stdout) == {0: tuple((loss, loss) for loss in first)}
    assert len(CHECK.findall(result.stdout)) == 12
    assert "7 pictures are in out/" in result.stdout
    assert len(list((tmp_path / "out").glob("*.png"))) == 7
    assert (tmp_path / "out" / "mine.txt").read_text() == "precious"
    assert "Warning" not in result.stderr


def test_without_matplotlib_the_command_goes_without_pictures(tmp_path):
    program = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from tinygrad_edu.__main__ import main\n"
        "sys.exit(main())"
    )
    result = command("demo", "--steps", 1, cwd=tmp_path, program=("-c", program))
    assert result.returncode == 0
    assert "pip install matplotlib" in result.stderr
    assert len(CHECK.findall(result.stdout)) == 12
    assert list(tmp_path.iterdir()) == []
