"""The commands `train` and `predict`: from a CSV file to a model, a report and predictions."""

import csv
import html.parser
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu.__main__ import main
from tinygrad_edu.data.cells import read_cells
from tinygrad_edu.data.tables import learned
from tinygrad_edu.interop.arrays import read_arrays, write_arrays
from tinygrad_edu.tables import TableModel
from tinygrad_edu.tables.pictures import pictures
from tinygrad_edu.tables.report import page
from tinygrad_edu.tables.train_command import _compare
from tinygrad_edu.tables.training import Settings, train

ROOT = Path(tg.__file__).parents[1]


def flats(n=120, seed=0):
    """A table as lists: what a rent depends on, what it does not, and a class of it."""
    rng = np.random.default_rng(seed)
    rooms = rng.integers(1, 6, n)
    city = rng.choice(["Rome", "Pisa", "Bari"], n)
    lift = rng.choice(["yes", "no"], n)
    rent = 200 * rooms + 300 * (city == "Rome") + 50 * (lift == "yes") + rng.normal(0, 20, n)
    return {
        "id": list(range(1, n + 1)),
        "rooms": rooms.tolist(),
        "city": city.tolist(),
        "lift": lift.tolist(),
        "rent": [round(r, 1) for r in rent.tolist()],
        "dear": ["dear" if r > 900 else "cheap" for r in rent],
    }


def write(path, table, names=None):
    names = list(table) if names is None else names
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(names)
        out.writerows(zip(*(table[name] for name in names), strict=True))
    return str(path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_pictures(monkeypatch):
    """As if there were no matplotlib; drawing takes longer than the training of these tests."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)


QUICK = ["--hidden", "16", "--epochs", "30", "--lr", "0.01"]
RENT = ["rooms", "city", "lift", "rent"]
DEAR = ["rooms", "city", "lift", "dear"]


def test_the_command_that_is_printed_can_be_run(folder, capsys, no_pictures):
    said = trained(folder, capsys, DEAR, "--epochs", "1", "--out=-a b.npz").out
    assert "\ntinygrad-edu predict './-a b.npz' FILE.csv\n" in said


def trained(folder, capsys, names, *options):
    """The output of `train` on a table of some columns, the last of which is the target."""
    path = write(folder / "flats.csv", flats(), names)
    assert main(["train", path, "--target", names[-1], *QUICK, *options]) == 0
    return capsys.readouterr()


def predicted(capsys, *arguments):
    assert main(["predict", *map(str, arguments)]) == 0
    said = capsys.readouterr()
    return list(csv.DictReader(io.StringIO(said.out))), said.err


class Page(html.parser.HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_a_number_is_learned_and_predicted(folder, capsys):
    said = trained(folder, capsys, ["id", *RENT]).out
    assert "flats.csv has 120 rows and 5 columns." in said
    assert re.search(r"^id +left out +counts the rows$", said, re.MULTILINE)
    assert re.search(r"^rooms +number +1 to 5, mean ", said, re.MULTILINE)
    assert re.search(
        r"^city +category +Bari \(\d+\), Pisa \(\d+\), Rome \(\d+\)$", said, re.MULTILINE
    )
    assert "Task: regression of 'rent', since it has numbers" in said
    rows = re.findall(
        r"^(training|validation|test) +(\d+) +(\S+) +(\S+) +(\S+)$", said, re.MULTILINE
    )
    assert [(name, n) for name, n, *_ in rows] == [
        ("training", "84"),
        ("validation", "18"),
        ("test", "18"),
    ]
    assert all(
        float(score) > 0.9 and float(error) < float(base) for _, _, score, error, base in rows
    )
    assert sorted(os.listdir(folder)) == ["flats.csv", "flats.html", "flats.npz"]
    # New rows, columns in another order, no target and none of what was left out.
    new = flats(30, seed=1)
    path = write(folder / "new.csv", new, ["lift", "rooms", "city"])
    rows, said = predicted(capsys, "flats", path)
    found = np.array([float(row["prediction"]) for row in rows])
    assert said == ""
    assert list(rows[0]) == ["prediction"]
    assert np.abs(found - new["rent"]).mean() < 60
    # With the target the score is said, too, and the predictions are the same to the last bit.
    again, said = predicted(capsys, "flats.npz", write(folder / "new.csv", new, RENT))
    assert again == rows
    score = (
        1
        - np.square(found - new["rent"]).sum() / np.square(new["rent"] - np.mean(new["rent"])).sum()
    )
    assert said == f"R² on these 30 rows: {score:.3f}\n"


def test_a_class_is_learned_and_predicted(folder, capsys):
    said = trained(folder, capsys, DEAR, "--out", "model.npz").out
    assert "Task: classification of 'dear', since it has 2 different texts." in said
    rows = re.findall(r"^(training|validation|test) +(\d+) +(\S+) +(\S+)$", said, re.MULTILINE)
    assert all(float(score) > 0.85 > float(base) for _, _, score, base in rows)
    new = flats(40, seed=1)
    path = write(folder / "new.csv", new, DEAR)
    assert main(["predict", "model", path, "--out", "said.csv"]) == 0
    said = capsys.readouterr()
    rows = list(csv.DictReader((folder / "said.csv").read_text("utf-8").splitlines()))
    assert said.out == ""
    right = np.mean(
        [row["prediction"] == dear for row, dear in zip(rows, new["dear"], strict=True)]
    )
    assert said.err == f"accuracy on these 40 rows: {right:.3f}\n"
    assert right > 0.85
    assert all(0.5 <= float(row["probability"]) <= 1 for row in rows)


def test_predictions_are_those_of_the_trained_net(folder):
    cells = read_cells(write(folder / "a.csv", flats(), RENT))
    columns, used = learned(cells, "rent")
    result = train(used, columns, Settings((8,), epochs=5, l2=0), progress=False)
    result.model.save("a.npz")
    read = TableModel.load("a.npz")
    assert read.columns == result.model.columns
    seen = np.concatenate([part.rows for part in result.parts.values()])
    assert sorted(seen) == list(range(120))
    for part in result.parts.values():
        np.testing.assert_array_equal(read.outputs(part.X), part.outputs)
        rent = np.array(flats()["rent"])[part.rows]
        np.testing.assert_array_equal(part.y, rent)
        assert part.error == pytest.approx(np.sqrt(np.mean((rent - part.outputs) ** 2)), rel=1e-12)
        mean = np.array(flats()["rent"])[result.parts["training"].rows].mean()
        assert part.baseline == pytest.approx(np.sqrt(np.mean((rent - mean) ** 2)), rel=1e-12)
    # The net knows the training data alone.
    X = result.parts["training"].X
    np.testing.assert_allclose(read.scaling.mean.data, X.mean(axis=0), rtol=1e-12)
    # No epoch was better than the kept one, and its loss is that of the standardised validation
    # data: what the last layer says in the unit of the target is the same.
    losses = result.history.validation_loss
    assert losses[result.best_epoch - 1] == min(losses)
    deviation = result.parts["training"].y.std()
    error = (result.parts["validation"].error / deviation) ** 2
    assert min(losses) == pytest.approx(error, rel=1e-9)


def test_a_model_that_was_not_read_back_as_it_was_is_noticed(folder):
    cells = read_cells(write(folder / "a.csv", flats(), RENT))
    columns, used = learned(cells, "rent")
    results = [
        train(used, columns, Settings((2,), epochs=1, seed=s), progress=False) for s in (0, 1)
    ]
    _compare(results[0].model, results[0])
    with pytest.raises(RuntimeError, match="predicts something else"):
        _compare(results[1].model, results[0])


def test_classes_are_measured_against_the_most_frequent_of_the_training(folder):
    table = flats(60)
    table["kind"] = ["a"] * 12 + ["b"] * 31 + ["c"] * 17
    cells = read_cells(write(folder / "a.csv", table, ["rooms", "city", "kind"]))
    columns, used = learned(cells, "kind")
    settings = Settings((8,), epochs=300, lr=0.01, l2=0, patience=7)
    result = train(used, columns, settings, progress=False)
    # There is nothing to learn, so that it ends early.
    assert len(result.history.epoch_ends) == result.best_epoch + 7 < settings.epochs
    for part in result.parts.values():
        assert part.baseline == pytest.approx(np.mean(part.y != 1))
        right = part.outputs.argmax(axis=1) == part.y
        assert part.score == right.mean()
        assert part.error == pytest.approx(1 - part.score)
        shares = np.bincount(part.y, minlength=3) - len(part.y) * np.array([12, 31, 17]) / 60
        assert (abs(shares) <= 1).all()
    probabilities = result.parts["validation"].outputs
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    loss = -np.log(probabilities[np.arange(9), result.parts["validation"].y]).mean()
    assert min(result.history.validation_loss) == pytest.approx(loss, rel=1e-9)


def test_every_option_of_the_training_counts(folder, capsys, no_pictures):
    def made(*options):
        trained(folder, capsys, DEAR, "--epochs", "2", *options)
        return (folder / "flats.npz").read_bytes()

    options = ["--hidden 9", "--activation tanh", "--epochs 3", "--batch-size 9", "--lr 0.02"]
    options += ["--l2 0.5", "--seed 7"]
    assert len({made(), *(made(*option.split()) for option in options)}) == 8
    long = ["--epochs", "60", "--lr", "0.5"]
    assert made(*long) != made(*long, "--patience", "1")


def test_the_seed_decides_everything(folder, capsys, no_pictures):
    def made(*options):
        trained(folder, capsys, DEAR, "--epochs", "3", *options)
        return (folder / "flats.npz").read_bytes(), (folder / "flats.html").read_bytes()

    assert made() == made()
    assert made("--seed", "1")[0] != made()[0]


def test_missing_values_are_refused_dropped_or_filled(folder, capsys, no_pictures):
    table = flats()
    for row in (0, 50, 51):
        table["rooms"][row] = ""
    path = write(folder / "flats.csv", table, RENT)
    assert main(["train", path, "--target", "rent"]) == 2
    error = capsys.readouterr().err
    assert "3 values are missing (line 2, column 'rooms'; line 52, column 'rooms'" in error
    assert main(["train", path, "--target", "rent", *QUICK, "--missing", "drop"]) == 0
    assert "3 rows lack a value and are dropped." in capsys.readouterr().out
    assert main(["predict", "flats", path]) == 2
    said = capsys.readouterr().err
    assert "3 values are missing" in said
    assert "fill them in, or train with --missing mean\n" in said
    table["rent"][7] = ""
    write(folder / "flats.csv", table, RENT)
    assert main(["train", path, "--target", "rent", *QUICK, "--missing", "mean"]) == 0
    said = capsys.readouterr().out
    assert "1 row lacks the target and is dropped." in said
    assert "; 3 missing" in said
    model = TableModel.load("flats.npz")
    rows, said = predicted(capsys, "flats", path)
    assert len(rows) == 120
    assert "taken to be the means of the training data: rooms (3)\n" in said
    np.testing.assert_array_equal(model.predict(path), [float(row["prediction"]) for row in rows])
    # What stands for a missing value is the mean of the training data, so that it is in no way far.
    np.testing.assert_allclose(model.columns.means, model.scaling.mean.data, rtol=1e-12)


def test_codes_are_listed_as_codes(folder, capsys, no_pictures):
    zips = [f"{k:05}" for k in range(1067, 1070)] * 20
    write(folder / "a.csv", {"zip": zips, "a": list(range(0, 120, 2)), "y": zips})
    assert main(["train", "a.csv", "--target", "y", "--epochs", "1"]) == 0
    said = capsys.readouterr().out
    assert "; codes, since some begin with 0; if they are numbers: --kinds zip=number\n" in said
    assert set(TableModel.load("a.npz").predict("a.csv")) <= set(zips)


def test_no_picture_is_empty(folder):
    columns, used = learned(read_cells(write(folder / "a.csv", flats(), RENT)), "rent")
    result = train(used, columns, Settings((), epochs=1), progress=False)
    result.model.mlp[-1].W.data *= 0
    test = result.parts["test"]
    result.parts["test"] = replace(test, score=result.model.score(test.X, test.y))
    drawn = pictures(result)
    assert [title for title, _, address in drawn if not address] == ["Which columns matter"]
    seen = Page(page(result, "a.npz", [], drawn))
    assert [tag for tag, _ in seen.tags].count("img") == 2
    assert "the score is the same if the cells of any column change places" in seen.text


def test_the_report_is_one_safe_page(folder, capsys):
    evil = '$x_{$<script>alert(1)</script>"&'
    table = {
        "a": list(range(0, 80, 2)),
        evil: [evil, "b'\u202e東京"] * 20,
        "$y$": [evil, "<b>"] * 20,
    }
    path = write(folder / "<i>.csv", table)
    assert main(["train", path, "--target", "$y$", *QUICK, "--out", "m.npz"]) == 0
    text = (folder / "m.html").read_text("utf-8")
    page = Page(text)
    assert {tag for tag, _ in page.tags} <= {
        *("html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "dl", "div", "dt"),
        *("dd", "p", "figure", "img", "figcaption", "section", "table", "thead", "tbody", "tr"),
        *("th", "td"),
    }
    assert evil in page.text
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 3
    assert all(
        i["src"].startswith("data:image/png;base64,iVBORw0KGgo") and i["alt"] for i in images
    )
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert not re.search(r"(https?:|//)", re.sub(r'src="data:[^"]*"', "", text))


def test_without_matplotlib_the_report_has_no_pictures(folder, capsys, no_pictures):
    said = trained(folder, capsys, DEAR)
    assert 'pip install "tinygrad-edu[plot]"' in said.err
    page = Page((folder / "flats.html").read_text("utf-8"))
    assert "img" not in {tag for tag, _ in page.tags}
    assert "without matplotlib" in page.text
    assert "accuracy on the test data" in page.text


KINDS = [a for a in tg.nn.ACTIVATIONS if a != "identity"]


@pytest.mark.parametrize(("hidden", "activation"), [("none", "relu"), *(("3,4", a) for a in KINDS)])
def test_nets_of_all_kinds_are_read_back(folder, capsys, no_pictures, hidden, activation):
    options = ["--hidden", hidden, "--activation", activation, "--epochs", "1"]
    trained(folder, capsys, RENT, *options)
    model = TableModel.load("flats.npz")
    assert model.activation == activation
    assert model.mlp.sizes == ((5, 1) if hidden == "none" else (5, 3, 4, 1))


REGRESSION = ["--task", "regression"]
CLASSES = ["--task", "classification"]
WRONG_TABLES = [
    ("nothing.csv", None, [], "nothing.csv"),
    (".", None, [], "is a folder"),
    ("t.csv", "", [], "t.csv is empty"),
    ("t.csv", "a,y\n1,2\n3\n", [], "line 3 has 1 cells"),
    ("t.csv", "a,z\n1,2\n", [], "has no column 'y'"),
    ("t.csv", "a,Yes\n1,2\n", ["--target", "yes"], "did you mean 'Yes'"),
    ("t.csv", "a,y\n" + "1,2\n2,3.5\n" * 9, [], "has 18 rows that can be used; at least 20"),
    ("t.csv", "a,y\n" + "1,p\n2,q\n" * 12 + "3,r\n", [], "class 'r' has 1 of the rows; at least 3"),
    ("t.csv", "a,y\n" + "1,1\n2,2\n" * 12 + "3,5\n", [], "predict the number with --task regr"),
    ("t.csv", "a b,y\n" + "1,1\n2,2\n" * 12 + "x,1\n", [], "with --kinds 'a b=category'"),
    ("t.csv", "a,y\n" + "1,1\n2,2\n" * 12 + ",1\n", [], "drop such rows with --missing drop, or"),
    (
        "t.csv",
        "a,y\n" + "".join(f"{i},{i}\n" for i in range(30)),
        CLASSES,
        "with --task regression",
    ),
    ("t.csv", "a,y\n" + "1,-1.7e308\n2,1.7e308\n3,5\n" * 12, REGRESSION, "t.csv, column 'y': from"),
    ("t.csv", "a,y\n" + "1,1\n2,2\n" * 12, ["--hidden", "9,100000000"], "1,200,000,020 parameters"),
    ("t.csv", "a,y\n" + "1,p\n2,p\n" * 12, [], "single class"),
    ("t.csv", "a,y\n" + "1,p\n1,q\n" * 12, [], "no column to learn from: 'a' is always 1"),
    ("t.csv", "a,y\n" + "".join(f"n{i},{i * i}\n" for i in range(30)), [], "30 different texts"),
    ("t.csv", "a,y\n" + "1,p\n2,q\n" * 12, ["--task", "regression"], "'p' is not a number"),
    ("t.csv", "a,y\n" + "1,p\n2,q\n" * 12, ["--kinds", "b=out"], "has no column 'b'"),
    ("t.csv", "a,y\n" + "1,p\n2,q\n" * 12, ["--kinds", "a=text"], "kind of column 'a' must be"),
    ("t.csv", "a,y\n" + "1,p\n2,q\n" * 12, ["--out", "m.pt"], "must end in .npz or .safetensors"),
    ("t.csv", "a,y\n" + "1,p\n2,q\n" * 12, ["--out", "t.csv"], "must end in .npz or .safetensors"),
    ("t.csv", "a,y\n" + "1,p\n2,q\n" * 12, ["--out", "no/m"], "there is no such folder"),
    ("t.csv", "a,y\n" + "1,p\n2,q\n" * 12, ["--out", "folder.npz"], "is a folder"),
    ("t.csv", "a,y\n" + "1,3\n2,5.5\n" * 12, ["--lr", "1e300"], "learning rate"),
]


@pytest.mark.parametrize(
    ("name", "content", "options", "message"), WRONG_TABLES, ids=range(len(WRONG_TABLES))
)
def test_what_cannot_be_trained_on_is_one_line_and_status_2(
    folder, capsys, name, content, options, message
):
    (folder / "folder.npz").mkdir()
    if content is not None:
        Path(name).write_text(content)
    before = sorted(os.listdir(folder))
    target = [] if "--target" in options else ["--target", "y"]
    assert main(["train", name, *target, "--epochs", "2", *options]) == 2
    said = capsys.readouterr()
    assert "Ended after" not in said.out
    error = [line for line in said.err.splitlines() if line and "step/s" not in line]
    assert len(error) == 1
    assert error[0].startswith("could not train: ")
    assert message in error[0]
    assert sorted(os.listdir(folder)) == before


@pytest.mark.parametrize(
    "options",
    [
        ["--hidden", "0"],
        ["--hidden", "8,,8"],
        ["--hidden", "x"],
        ["--epochs", "0"],
        ["--epochs", "1.5"],
        ["--batch-size", "-1"],
        ["--lr", "0"],
        ["--lr", "nan"],
        ["--l2", "-1"],
        ["--l2", "inf"],
        ["--seed", "-1"],
        ["--task", "clustering"],
        ["--missing", "zero"],
        ["--activation", "step"],
        ["--kinds", "a"],
    ],
    ids=" ".join,
)
def test_wrong_options_are_refused(folder, capsys, options):
    with pytest.raises(SystemExit) as caught:
        main(["train", "a.csv", "--target", "y", *options])
    assert caught.value.code == 2
    assert options[0] in capsys.readouterr().err


@pytest.fixture
def model(folder, capsys, no_pictures):
    trained(folder, capsys, DEAR, "--epochs", "2")
    return folder / "flats.npz"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("rooms,city\n1,Rome\n", "has no column 'lift'"),
        ("rooms,city,lift\n1,Paris,yes\n", "line 2, column 'city': 'Paris' is none of the 3"),
        ("rooms,city,lift\nmany,Rome,yes\n", "line 2, column 'rooms': 'many' is not a number"),
        ("rooms,city,lift\n1,Rome,\n", "line 2, column 'lift'"),
        ("rooms,city,lift\n", "no rows"),
    ],
)
def test_tables_that_a_model_cannot_read_are_one_line_and_status_2(model, capsys, content, message):
    Path("new.csv").write_text(content)
    assert main(["predict", "flats", "new.csv", "--out", "out.csv"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"could not predict: new\.csv.*\n", said.err)
    assert message in said.err
    assert not Path("out.csv").exists()


def test_numbers_that_overflow_in_the_net_are_refused(model, capsys):
    small = TableModel.load(model)
    small.scaling.scale.data = small.scaling.scale.data * 1e-9
    small.save(model)
    Path("new.csv").write_text("rooms,city,lift\n1,Rome,no\n1e305,Rome,no\n")
    assert main(["predict", "flats", "new.csv"]) == 2
    error = "could not predict: new.csv, line 3: the numbers are too large for the model"
    assert capsys.readouterr().err.startswith(error)


def changed(path, change):
    arrays, about = read_arrays(path)
    told = about["tinygrad_edu.tables"]
    change(arrays, told)
    write_arrays("changed.npz", arrays, about)


WRONG_MODELS = [
    lambda arrays, told: arrays.pop("layers.0.mean"),
    lambda arrays, told: arrays.pop("layers.1.layers.0.W"),
    lambda arrays, told: arrays.update(more=np.zeros(1)),
    lambda arrays, told: arrays.update({"layers.0.scale": 0 * arrays["layers.0.scale"]}),
    lambda arrays, told: arrays.update({"layers.0.mean": np.nan * arrays["layers.0.mean"]}),
    lambda arrays, told: told.update(hidden=[10**9]),
    lambda arrays, told: told.update(hidden=["16"]),
    lambda arrays, told: told.update(hidden=None),
    lambda arrays, told: told.update(activation="step"),
    lambda arrays, told: told.update(activation=["relu"]),
    lambda arrays, told: told.pop("columns"),
    lambda arrays, told: told["columns"]["inputs"].pop(),
    lambda arrays, told: told["columns"]["target"]["categories"].append("more"),
    lambda arrays, told: told["columns"].update(means=["x"]),
]


@pytest.mark.parametrize("change", WRONG_MODELS, ids=range(len(WRONG_MODELS)))
def test_files_that_contradict_themselves_are_no_models(model, capsys, change):
    changed(model, change)
    assert main(["predict", "changed.npz", "flats.csv"]) == 2
    assert re.fullmatch(
        r"could not predict: changed\.npz is not a model of a table: .+\n", capsys.readouterr().err
    )


def test_what_is_no_model_is_refused(model, capsys):
    tg.save(tg.nn.MLP((2, 3)), "net.npz")
    Path("text.npz").write_text("a,b\n")
    whole = model.read_bytes()
    Path("half.npz").write_bytes(whole[: len(whole) // 2])
    for name, message in {
        "net.npz": "net.npz is not a model that was trained with a table",
        "text.npz": "text.npz cannot be read",
        "half.npz": "half.npz cannot be read",
        "flats.csv": "must end in",
        "nothing.npz": "nothing.npz",
        ".": "must end in",
    }.items():
        assert main(["predict", name, "flats.csv"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("could not predict: ")
        assert error.count("\n") == 1
        assert message in error


def test_columns_that_the_model_does_not_know_are_named(model, capsys):
    write(
        Path("new.csv"), {**flats(5), "extra": range(5)}, ["extra", "lift", "city", "rooms", "id"]
    )
    rows, said = predicted(capsys, model, "new.csv")
    assert said == "columns that the model does not know are left alone: extra, id\n"
    write(Path("new.csv"), flats(5), DEAR)
    assert predicted(capsys, model, "new.csv")[0] == rows


def test_a_target_that_cannot_be_read_gives_predictions_without_a_score(model, capsys):
    write(Path("new.csv"), {**flats(5), "dear": ["dear", "?", "", "cheap", "x"]}, DEAR)
    rows, said = predicted(capsys, model, "new.csv")
    assert len(rows) == 5
    assert said.startswith("no accuracy: new.csv")


OUT_OF_PREDICT = [
    ("flats.csv", "would replace flats.csv"),
    ("link.csv", "would replace flats.csv"),
    ("model.csv", "would replace flats.npz"),
    ("flats.npz", "must end in .csv"),
    ("notes.txt", "must end in .csv"),
    ("folder.csv", "folder.csv is a folder"),
]


@pytest.mark.parametrize(("out", "message"), OUT_OF_PREDICT, ids=[o for o, _ in OUT_OF_PREDICT])
def test_predictions_replace_nothing_that_is_read(model, capsys, out, message):
    Path("link.csv").symlink_to("flats.csv")
    os.link("flats.npz", "model.csv")
    before = {path: path.read_bytes() for path in Path().iterdir()}
    Path("folder.csv").mkdir()
    assert main(["predict", "flats", "flats.csv", "--out", out]) == 2
    assert message in capsys.readouterr().err
    Path("folder.csv").rmdir()
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


@pytest.mark.parametrize("name", ["flats.npz", "flats.html"])
def test_a_training_replaces_only_what_a_training_wrote(folder, capsys, no_pictures, name):
    trained(folder, capsys, DEAR, "--epochs", "1")
    trained(folder, capsys, DEAR, "--epochs", "2")
    if name == "flats.npz":
        tg.save(tg.nn.MLP((2, 3)), name)
    else:
        Path(name).write_text("<h1>mine</h1>")
    before = {path: path.read_bytes() for path in Path().iterdir()}
    assert main(["train", "flats.csv", "--target", "dear", *QUICK]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"could not train: {name} is there and was not written by train")
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


def test_the_suffix_of_a_model_may_be_left_out(model, capsys):
    assert main(["predict", "nothing", "flats.csv"]) == 2
    error = "could not predict: there is no model nothing.npz or nothing.safetensors\n"
    assert capsys.readouterr().err == error


def test_ctrl_c_outside_of_a_training_is_one_line(folder, capsys, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("tinygrad_edu.data.cells.read_cells", interrupted)
    for arguments in (["train", "a.csv", "--target", "y"], ["rules"]):
        monkeypatch.setattr("tinygrad_edu.book.text", interrupted)
        assert main(arguments) == 130
        assert capsys.readouterr().err == "interrupted\n"


def test_the_bar_of_a_training_that_ends_early_is_full(folder, capsys, no_pictures):
    said = trained(folder, capsys, DEAR, "--epochs", "500", "--lr", "0.5", "--patience", "1")
    assert re.search(r"Ended after \d\d? epochs", said.out)
    assert "100%" in said.err.splitlines()[-2].rsplit("\r", 1)[-1]


def test_a_file_that_cannot_be_written_is_said(model, capsys, full_disk):
    with full_disk(10):
        assert main(["predict", "flats", "flats.csv", "--out", "out.csv"]) == 2
    assert "could not predict: " in capsys.readouterr().err
    assert not Path("out.csv").exists()


def process(folder, *arguments, **keywords):
    command = [sys.executable, "-W", "error", "-m", "tinygrad_edu", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    return subprocess.Popen(command, cwd=folder, env=environment, **keywords)


def test_ctrl_c_leaves_a_model_and_a_report(folder):
    write(folder / "flats.csv", flats(), RENT)
    arguments = ["train", "flats.csv", "--target", "rent", "--epochs", "1000000", "--lr", "1e-5"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with process(folder, *arguments, **pipes) as running:
        seen = ""
        while "validation" not in seen:
            seen += running.stderr.read(1)
        time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Interrupted after" in out
    assert TableModel.load(folder / "flats.npz").columns.target.name == "rent"
    assert "interrupted" in (folder / "flats.html").read_text("utf-8")


def test_whoever_reads_half_of_the_predictions_is_not_told_of_it(model, folder):
    with process(
        folder, "predict", "flats", "flats.csv", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        running.stdout.close()
        assert running.wait(timeout=60) == 0
        assert b"Traceback" not in running.stderr.read()


def test_whoever_reads_half_of_what_a_training_says_still_gets_a_model(folder):
    write(folder / "flats.csv", flats(), DEAR)
    arguments = ["train", "flats.csv", "--target", "dear", "--epochs", "2"]
    with process(folder, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.close()
        assert running.wait(timeout=60) == 0
    assert {"flats.npz", "flats.html"} < set(os.listdir(folder))


def test_what_the_file_says_of_itself_is_json(model):
    _, about = read_arrays(model)
    told = about["tinygrad_edu.tables"]
    assert json.loads(json.dumps(told)) == told
    assert told["columns"]["target"] == {
        "name": "dear",
        "kind": "category",
        "categories": ["cheap", "dear"],
    }
