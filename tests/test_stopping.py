"""Early stopping, and the table of epochs."""

import csv
import math

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import nn, optim


class Scripted(tg.Callback):
    """Writes given validation losses in the place of those that were measured."""

    def __init__(self, losses):
        self.losses = losses

    def on_epoch_end(self, trainer):
        trainer.history.validation_loss[-1] = self.losses[len(trainer.history.epoch_ends) - 1]


X, Y = tg.data.spiral(10, rng=0)


def trainer_of(callbacks, lr=0.1, **options):
    net = nn.MLP((2, 6, 3), rng=0)
    return tg.Trainer(net, optim.SGD(net.parameters(), lr), callbacks=callbacks, rng=0, **options)


def stopped(losses, *args, **options):
    """After how many epochs a training with these losses ends, and all weights on the way."""
    states = []
    stopping = tg.EarlyStopping(*args, **options)

    def note(trainer):
        states.append(trainer.model.state_dict())

    trainer = trainer_of([Scripted(losses), note, stopping])
    trainer.fit(X, Y, len(losses), 10, validation=(X, Y), progress=False)
    return trainer, stopping, states


def same(model, state):
    return all((a == state[name]).all() for name, a in model.state_dict().items())


@pytest.mark.parametrize(
    ("losses", "options", "epochs", "best"),
    [
        ([5, 4, 3, 4, 4, 4, 4], {"patience": 2}, 5, 3),
        ([5, 4, 3, 4, 2, 4, 4, 1], {"patience": 2}, 7, 5),
        ([5, 5, 5, 5], {"patience": 3}, 4, 1),
        ([5, 4.9, 4.8, 4.7, 4.6], {"patience": 2, "min_delta": 0.5}, 3, 1),
        ([5, 4.9, 4.4, 4.3, 4.2], {"patience": 2, "min_delta": 0.5}, 5, 3),
        ([3, math.nan, math.nan, 2], {"patience": 2}, 3, 1),
        # The epochs are over before the patience.
        ([5, 4, 3, 4], {"patience": 2}, 4, 3),
        ([5, 4, 3, 2], {"patience": 2}, 4, 4),
    ],
)
def test_when_it_ends_and_with_which_weights(losses, options, epochs, best):
    trainer, stopping, states = stopped(losses, **options)
    assert len(trainer.history.epoch_ends) == epochs
    assert (stopping.best_epoch, stopping.best_loss) == (best, losses[best - 1])
    assert same(trainer.model, states[best - 1])
    assert not same(trainer.model, states[best % epochs])


def test_the_last_weights_may_be_kept():
    trainer, _, states = stopped([5, 4, 5, 6], 2, restore_best=False)
    assert same(trainer.model, states[-1])


def test_without_validation_the_mean_loss_of_the_epoch_counts():
    stopping = tg.EarlyStopping(3)
    # So large a step goes up and down.
    trainer = trainer_of([stopping], lr=8.0)
    history = trainer.fit(X, Y, 100, 10, progress=False)
    means = np.reshape(history.loss, (-1, 3)).mean(axis=1)
    assert stopping.best_epoch == int(np.argmin(means)) + 1
    assert stopping.best_loss == means.min()
    assert len(means) - stopping.best_epoch >= 3
    assert len(means) < 100


def test_steps_of_an_epoch_that_was_broken_off_count_for_none(tmp_path):
    def stop(trainer):
        if len(trainer.history) == 2:
            trainer.stop()

    breaking, path = tg.Callback(), tmp_path / "log.csv"
    breaking.on_step_end = stop
    trainer = trainer_of([breaking, tg.EarlyStopping(9), tg.CSVLog(path)])
    for _ in range(2):
        history = trainer.fit(X, Y, 1, 10, progress=False)
    assert (history.epoch_starts, history.epoch_ends, len(history)) == ([2], [5], 5)
    assert trainer.callbacks[1].best_loss == float(np.mean(history.loss[2:]))
    assert path.read_text().split("\n")[1].split(",")[3] == str(np.mean(history.loss[2:]))


def test_ctrl_c_leaves_the_best_weights():
    states = []

    def press(trainer):
        states.append(trainer.model.state_dict())
        if len(states) == 4:
            trainer.interrupt()

    trainer = trainer_of([Scripted([3, 2, 4, 5, 6]), press, tg.EarlyStopping(9)])
    trainer.fit(X, Y, 5, 10, validation=(X, Y), progress=False)
    assert same(trainer.model, states[1])


def test_each_fit_begins_anew():
    stopping = tg.EarlyStopping(2)
    trainer = trainer_of([Scripted([3, 2, 4, 5, 9, 8, 7, 6, 6, 6]), stopping])
    fit = {"validation": (X, Y), "progress": False}
    assert trainer.fit(X, Y, 4, **fit).epoch_ends == [1, 2, 3, 4]
    assert len(trainer.fit(X, Y, 9, **fit).epoch_ends) == 10
    assert (stopping.best_epoch, stopping.best_loss) == (8, 6)


def test_a_batch_of_all_rows_is_restored_in_a_compiled_training():
    states = []
    stopping = tg.EarlyStopping(1)

    def note(trainer):
        states.append(trainer.model.state_dict())

    trainer = trainer_of([Scripted([3, 2, 4]), note, stopping])
    trainer.fit(X, Y, 9, validation=(X, Y), progress=False)
    assert trainer.compiled
    assert same(trainer.model, states[1])
    # And the next fit starts from there.
    trainer.callbacks = []
    before = trainer.objective(X, Y).item()
    assert trainer.fit(X, Y, 1, progress=False).loss[-1] == pytest.approx(before, rel=1e-12)


@pytest.mark.parametrize(
    "options",
    [{"patience": 0}, *({"min_delta": value} for value in (-1, math.nan, "a", None))],
)
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match="must be"):
        tg.EarlyStopping(**options)


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_line_is_there_at_the_end_of_each_epoch(tmp_path):
    path, counts = tmp_path / "log.csv", []

    def look(trainer):
        counts.append(len(rows_of(path)))

    trainer = trainer_of([tg.StepLR(1, gamma=0.5), tg.CSVLog(path), look])
    history = trainer.fit(X, Y, 3, 10, validation=(X, Y), progress=False)
    assert counts == [1, 2, 3]
    rows = rows_of(path)
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert [int(row["steps"]) for row in rows] == history.epoch_ends
    assert [float(row["lr"]) for row in rows] == [0.1, 0.05, 0.025]
    assert [float(row["validation_loss"]) for row in rows] == history.validation_loss
    assert [float(row["validation_score"]) for row in rows] == history.validation_score
    means = [np.mean(history.loss[i : i + 3]) for i in (0, 3, 6)]
    assert [float(row["loss"]) for row in rows] == means


def test_several_fits_go_on_in_the_same_file(tmp_path):
    path = tmp_path / "log.csv"
    trainer = trainer_of([tg.CSVLog(path)])
    trainer.fit(X, Y, 2, 10, validation=(X, Y), progress=False)
    trainer.fit(X, Y, 2, 10, progress=False)
    assert [row["epoch"] for row in rows_of(path)] == ["1", "2", "3", "4"]
    assert [row["validation_loss"] == "" for row in rows_of(path)] == [False, False, True, True]


HEADER = ",".join(tg.CSVLog.COLUMNS)


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n",
        "notes",
        f"{HEADER}\n1,3,0.1,0.5,,\n",
        f"{HEADER}\nnotes\n",
        "\n",
        f"x{HEADER}\n",
    ],
)
@pytest.mark.parametrize("resumed", [False, True])
def test_a_foreign_file_is_refused_and_left_alone(tmp_path, text, resumed):
    path, run = tmp_path / "log.csv", tmp_path / "run.npz"
    trainer_of([tg.Checkpoint(run)]).fit(X, Y, 2, 10, progress=False)
    path.write_text(text)
    trainer = trainer_of([tg.CSVLog(path)])
    if resumed:
        trainer.resume(run)
    with pytest.raises(FileExistsError, match=r"log\.csv is not the log of this training"):
        trainer.fit(X, Y, 2, 10, progress=False)
    assert path.read_text() == text
    assert len(trainer.history) == 6 * resumed
    trainer.callbacks = [tg.CSVLog(path, overwrite=True)]
    trainer.fit(X, Y, 1, 10, progress=False)
    assert [row["epoch"] for row in rows_of(path)] == ["3" if resumed else "1"]


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_lines_after_the_checkpoint_are_dropped(tmp_path, cut):
    path, run = tmp_path / "log.csv", tmp_path / "run.npz"
    trainer_of([tg.CSVLog(path)]).fit(X, Y, 5, 10, progress=False)
    whole = path.read_text()
    path.unlink()
    trainer_of([tg.CSVLog(path), tg.Checkpoint(run)]).fit(X, Y, 3, 10, progress=False)
    # As if the program had ended in the fifth line, and the last checkpoint was of epoch 3.
    path.write_text(whole[: len(whole) - cut])
    trainer = trainer_of([tg.CSVLog(path)])
    trainer.resume(run)
    trainer.fit(X, Y, 2, 10, progress=False)
    assert path.read_text() == whole


def test_a_log_without_lines_is_begun_again(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(f"{HEADER}\n")
    trainer_of([tg.CSVLog(path)]).fit(X, Y, 2, 10, progress=False)
    assert len(rows_of(path)) == 2
