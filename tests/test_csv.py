"""CSV files: read back as written, the same columns from other files, or refused with the place."""

import csv
import json
import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_edu as tg
from tinygrad_edu.data import Columns, from_csv

FLATS = """\
rooms,city,lift,price
2,Rome,yes,900.5
3,Pisa,No,800
1,Rome,no,-6e2
4,"Bari, centre",YES,.5
"""


@pytest.fixture
def write(tmp_path):
    """Writes a file, of text or bytes, and returns its path."""

    def write(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_numbers_categories_and_booleans_become_columns(write):
    X, y, columns = from_csv(write(FLATS), target="price")
    assert columns.names == ("rooms", "city=Bari, centre", "city=Pisa", "city=Rome", "lift")
    np.testing.assert_array_equal(
        X, [[2, 0, 0, 1, 1], [3, 0, 1, 0, 0], [1, 0, 0, 1, 0], [4, 1, 0, 0, 1]]
    )
    np.testing.assert_array_equal(y, [900.5, 800, -600, 0.5])
    assert X.dtype == y.dtype == np.float64
    assert columns.task == "regression"
    assert columns.classes == ()
    assert repr(columns).splitlines() == [
        "rooms  number",
        "city   category  Bari, centre, Pisa, Rome",
        "lift   boolean   no, yes",
        "price  target    regression",
    ]


# Letters, and what has a meaning in a CSV file; white space around a cell does not count.
TEXTS = st.text(st.sampled_from("abcÄ€,;|\"\n\r\t '=#"), max_size=5).map(lambda t: f"x{t}x")
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def tables(draw):
    """Columns by name: lists of equally many numbers, or of texts."""
    names = draw(st.lists(TEXTS, min_size=2, max_size=5, unique=True))
    n = draw(st.integers(2, 12))
    kinds = [draw(st.sampled_from([NUMBERS, TEXTS])) for _ in names]
    columns = [draw(st.lists(k, min_size=n, max_size=n).filter(several)) for k in kinds]
    target = draw(st.lists(NUMBERS, min_size=n, max_size=n, unique=True))
    return {
        **dict(zip(names, columns, strict=True)),
        "y": [*target[:-1], 0.5 if 0.5 not in target else target[-1]],
    }


def several(values):
    return len(set(values)) > 1


def written(table, path, separator=",", order=None):
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, delimiter=separator)
        names = order or list(table)
        out.writerow(names)
        for row in zip(*(table[name] for name in names), strict=True):
            out.writerow([repr(cell) if isinstance(cell, float) else cell for cell in row])
    return path


@given(tables(), st.sampled_from(",;\t|"), st.randoms(use_true_random=False))
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory, table, separator, random):
    folder = tmp_path_factory.mktemp("csv")
    path = written(table, folder / "a.csv", separator)
    X, y, columns = from_csv(path, "y", task="regression", separator=separator)
    assert y.tolist() == table["y"]
    end = 0
    for name, cells in table.items():
        if name == "y":
            continue
        if isinstance(cells[0], float):
            assert X[:, end].tolist() == cells
            end += 1
        else:
            categories = sorted(set(cells))
            assert columns.names[end : end + len(categories)] == tuple(
                f"{name}={c}" for c in categories
            )
            found = X[:, end : end + len(categories)]
            np.testing.assert_array_equal(found, [[c == k for k in categories] for c in cells])
            end += len(categories)
    assert end == X.shape[1] == len(columns.names)
    # Another file: other rows, columns in another order, one more, no target; columns from JSON.
    again = Columns.from_dict(json.loads(json.dumps(columns.to_dict())))
    assert again == columns
    rows = random.choices(range(len(y)), k=5)
    other = {name: [cells[i] for i in rows] for name, cells in table.items() if name != "y"}
    order = [*other, "more"]
    random.shuffle(order)
    other["more"] = ["?"] * 5
    X_other, y_other = again.read(written(other, folder / "b.csv", separator, order), separator)
    np.testing.assert_array_equal(X_other, X[rows])
    assert y_other is None


@pytest.mark.parametrize(
    ("target", "task", "kind", "classes"),
    [
        (["a", "b", "a", "c"], None, "classification", ("a", "b", "c")),
        (["Yes", "no", "NO", "yes"], None, "classification", ("no", "yes")),
        (["2", "10", "2.0", "10"], None, "classification", ("2", "10")),
        (["2", "10", "2", "10"], "regression", "regression", ()),
        (["2", "10", "3", "10"], None, "regression", ()),
        (["2", "10", "3", "10"], "classification", "classification", ("2", "3", "10")),
        (["2.5", "10", "2.5", "10"], None, "regression", ()),
        (["1", "b", "1", "b"], "classification", "classification", ("1", "b")),
    ],
)
def test_how_the_task_is_decided(write, target, task, kind, classes):
    text = "x,y\n" + "".join(f"{i * i},{cell}\n" for i, cell in enumerate(target))
    _, y, columns = from_csv(write(text), "y", task=task)
    assert (columns.task, columns.classes) == (kind, classes)
    if classes:
        same = {cell: columns.target.label(cell) for cell in target}
        assert [classes[k] for k in y] == [same[cell] for cell in target]
        assert y.dtype.kind == "i"
    else:
        assert y.tolist() == [float(cell) for cell in target]


MISSING = "a,b,y\n1,p,1\n,q,2\nNA,p,3\n4,,4.5\n7,q,5\n"


def test_missing_values_are_refused_with_their_places(write):
    places = "line 3, column 'a'; line 4, column 'a'; line 5, column 'b'"
    with pytest.raises(ValueError, match=re.escape(f"3 values are missing ({places})")):
        from_csv(write(MISSING), "y")
    columns = from_csv(write("a,b,y\n1,p,1\n2,q,2.5\n"), "y")[2]
    with pytest.raises(ValueError, match="3 values are missing"):
        columns.read(write(MISSING))
    many = "a,y\n" + "".join(f",{i}\n" for i in range(9)) + "1,10\n2,11\n"
    with pytest.raises(
        ValueError, match=r"9 values are missing \(line 2, .* line 6, column 'a'; \.\.\.\)"
    ):
        from_csv(write(many), "y")


def test_rows_with_missing_values_are_dropped(write):
    X, y, columns = from_csv(write(MISSING), "y", missing="drop")
    np.testing.assert_array_equal(X, [[1, 1, 0], [7, 0, 1]])
    np.testing.assert_array_equal(y, [1, 5])
    # Categories that only dropped rows had are gone, and what is constant without them.
    text = "a,b,c,y\n1,p,x,1\n,q,x,2\n3,p,x,3\n4,r,x,4.5\n5,,z,5\n"
    _, _, columns = from_csv(write(text), "y", missing="drop")
    assert columns.names == ("a", "b=p", "b=r")
    assert columns.left_out == {"c": "is always 'x'"}
    # What counts the rows of the file does so with gaps, too.
    rows = "".join(f"{i},{'' if i == 9 else i % 5},{i * i}\n" for i in range(30))
    X, _, columns = from_csv(write("id,a,y\n" + rows), "y", missing="drop")
    assert (columns.names, columns.left_out) == (("a",), {"id": "counts the rows"})
    assert len(X) == 29
    with pytest.raises(ValueError, match="no row has all its values"):
        from_csv(write("a,b,y\n1,,1\n,2,2\n3,,2\n,4,5\n"), "y", missing="drop")


def test_means_stand_for_missing_values_and_are_remembered(write):
    X, _, columns = from_csv(write(MISSING), "y", missing="mean")
    np.testing.assert_array_equal(X, [[1, 1, 0], [4, 0, 1], [4, 1, 0], [4, 0.5, 0.5], [7, 0, 1]])
    again = Columns.from_dict(json.loads(json.dumps(columns.to_dict())))
    X, _ = again.read(write("b,a\n,nan\np,100\n"))
    np.testing.assert_array_equal(X, [[4, 0.5, 0.5], [100, 1, 0]])
    boolean = "a,b,y\n1,yes,1\n2,,3\n4,no,5\n5,no,6\n"
    X, _, _ = from_csv(write(boolean), "y", missing="mean")
    np.testing.assert_allclose(X[:, 1], [1, 1 / 3, 0, 0], rtol=1e-15)
    # No mean can stand for a target: such rows are dropped.
    X, y, columns = from_csv(write("a,y\n,\n2,3\n,5\n4,6\n1e9,\n"), "y", missing="mean")
    assert (X.tolist(), y.tolist(), columns.means) == ([[2], [3], [4]], [3, 5, 6], (3,))


@pytest.mark.parametrize("cells", ["01067 80331 01067 10115", "007 '' 1 2", "00 1 2 3"])
def test_numbers_that_begin_with_a_needless_zero_are_codes(write, cells):
    texts = [cell.strip("'") for cell in cells.split()]
    rows = list(zip(texts, [1, 2, 3, 4.5], strict=True))
    inputs = "".join(f"{text},{i}\n" for text, i in rows)
    _, _, columns = from_csv(write("zip,y\n" + inputs), "y", missing="drop")
    assert columns.names == tuple(f"zip={text}" for text in sorted({*texts} - {""}))
    kinds = {"zip": "number"}
    assert from_csv(write("zip,y\n" + inputs), "y", kinds=kinds, missing="drop")[2].names == (
        "zip",
    )
    targets = "".join(f"{i},{text}\n" for text, i in rows) * 2
    _, _, columns = from_csv(write("x,zip\n" + targets), "zip", missing="drop")
    assert columns.classes == tuple(sorted({*texts} - {""}))


def test_what_was_true_and_false_may_be_0_and_1(write):
    columns = from_csv(write("a,b,y\nTrue,no,1\nFalse,yes,2.5\n"), "y")[2]
    X, _ = columns.read(write("a,b\n1,0\n0,1.0\ntrue,NO\n"))
    assert X.tolist() == [[1, 0], [0, 1], [1, 0]]
    with pytest.raises(ValueError, match="'2' is none of the 2 known"):
        columns.read(write("a,b\n2,0\n"))


def test_many_columns_take_no_quadratic_time(write):
    # With a search through a list this takes minutes.
    names = ",".join(f"c{i}" for i in range(40_000))
    with pytest.raises(ValueError, match="columns 3 and 40001 have the same name 'c2'"):
        from_csv(write(names + ",c2\n"), "c1")


def test_words_for_missing_are_categories_among_texts(write):
    X, _, columns = from_csv(write("zone,y\nEU,1\nNA,2\nEU,3\nNone,4.5\n"), "y")
    assert columns.names == ("zone=EU", "zone=NA", "zone=None")
    assert not np.isnan(X).any()


def test_columns_that_say_nothing_are_left_out(write):
    n = 30
    rows = [f"{i},n{i},{i % 7},7,v,,{i * i}" for i in range(3, n + 3)]
    _, _, columns = from_csv(write("id,name,a,seven,v,none,y\n" + "\n".join(rows)), "y")
    assert columns.names == ("a",)
    assert columns.left_out == {
        "id": "counts the rows",
        "name": "has 30 different texts in 30 rows",
        "seven": "is always 7",
        "v": "is always 'v'",
        "none": "has no values",
    }
    kinds = {"id": "number", "name": "category", "a": "out"}
    _, _, columns = from_csv(
        write("id,name,a,y\n" + "\n".join(f"{i},n{i},{i % 7},{i * i}" for i in range(n))),
        "y",
        kinds=kinds,
    )
    assert columns.names[0] == "id"
    assert len(columns.names) == 1 + n
    assert columns.left_out == {"a": "as asked for"}


def test_numbers_may_be_categories(write):
    X, _, columns = from_csv(write("zip,y\n10,1\n9,2\n10,3.5\n"), "y", kinds={"zip": "category"})
    assert columns.names == ("zip=10", "zip=9")
    np.testing.assert_array_equal(X, [[1, 0], [0, 1], [1, 0]])


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffa,y\n1,2\n2,3.5\n",
        "a;y\r\n1;2\r\n2;3.5\r\n\r\n\r\n",
        "a\ty\r1\t2\r2\t3.5",
        ' a | y \n 1 |2\n"2"|  3.5  \n',
        '"a", "y"\n"1", "2"\n"2", "3.5"\n',
        'a,y\n1.,+2\n2e0,"3.50"\n',
        "y,a\n2,1\n3.5,2\n",
    ],
    ids=range(7),
)
def test_dialects(write, content):
    X, y, columns = from_csv(write(content), "y")
    assert columns.names == ("a",)
    assert X.tolist() == [[1], [2]]
    assert y.tolist() == [2, 3.5]


def test_encodings_and_separators_can_be_named(write):
    for encoding in ("latin-1", "utf-16", "cp1252"):
        path = write("größe,y\n1,2\n2,3.5\n".encode(encoding))
        assert from_csv(path, "y", encoding=encoding)[2].names == ("größe",)
    path = write("a;b,y\n1;5,2\n2;7,3.5\n")
    assert from_csv(path, "y", separator=",", kinds={"a;b": "category"})[2].names == (
        "a;b=1;5",
        "a;b=2;7",
    )


LONG = "x" * 140_000
BROKEN = [
    ("", "is empty"),
    ("\n\n", "the first line is blank"),
    ("a,y\n", "names of columns, but no rows"),
    ("a,y\n\n\n", "names of columns, but no rows"),
    ("a,a,y\n1,2,3\n", "columns 1 and 2 have the same name 'a'"),
    ("a, a ,y\n1,2,3\n", "columns 1 and 2 have the same name 'a'"),
    (",a,y\n0,1,2\n", "column 1 of 3 has no name"),
    ("1,2\n3,4\n", "must name the columns, but it holds numbers"),
    ("a,y\n1,2\n3\n4,5\n", "line 3 has 1 cells, but the first line has 2 names"),
    ('a,y\n"1\n",2\n3,4,5\n', "line 4 has 3 cells"),
    ("a,y\n1,2\n\n3,4\n", "line 3 has no cells"),
    ("a;b,y\n1;2,3\n", "separated by commas or by semicolons"),
    ('a,y\n1,2\n"3,4\n5,6\n', "in what begins in line 3.*quotation mark missing"),
    ('a,y\n1,2\n"3"3,4\n', "begins in line 3.*written twice"),
    (f"a,y\n1,2\n{LONG},3\n", "field limit .131072. .in what begins in line 3"),
    (b"a,y\n1,2\n\xe9,3\n", r"not text in utf-8 \(byte e9 in line 3\): .* latin-1"),
    ("a,y\n1,2\n".encode("utf-16"), r"not text in utf-8 \(byte ff in line 1\): .* utf-16"),
    ("a,y\n1,2\n".encode("utf-16-le"), "NUL characters"),
    (b"PK\3\4\0\0\0\xff", "not text|NUL"),
    ("a,y\n1,2\nabc,3\n", "line 3, column 'a': 'abc' is not a number, as '1' in line 2 is; if"),
    ("a;y\n1,5;2\n2;3.5\n", "line 2, column 'a': '1,5' is not a number.* not a comma"),
    ("a;y\n1,5;2\n2,5;3.5\n", "line 2, column 'a': '1,5' is not a number.* not a comma"),
    ('a,y\n"1,234",2\n"1,500",3.5\n', "'1,234' is not a number.* without separators"),
    ("a,y\n1 000,2\n2 000,3.5\n", "'1 000' is not a number.* without separators"),
    ("a,y\n1_000,2\n2,3.5\n", "'1_000' is not a number.* without separators"),
    ("a,y\n5%,2\n6%,3.5\n", "'5%' is not a number.* units"),
    ("a,y\n$5,2\n6,3.5\n", "line 2, column 'a': '.5' is not a number.* units"),
    ("a,y\n１,2\n2,3.5\n", "'１' is not a number"),
    ("a,y\n2020-01-31,2\n2021-01-31,3.5\n", "line 2, column 'a': '2020-01-31' .*date or time"),
    ("a,y\n31.1.20,2\n1.2.20,3.5\n", "date or time"),
    ("a,y\n12:30,2\n12:31,3.5\n", "date or time"),
    ("a,y\n1,2\ninf,3.5\n", "line 3, column 'a': 'inf' is not a number, but infinite"),
    ("a,y\n1,2\n-Infinity,3.5\n", "line 3, column 'a': '-Infinity' is not a number.* infinite"),
    ("a,y\n1,2\n1e400,3.5\n", "line 3, column 'a': '1e400' is too large a number"),
    (
        "a,y\n9007199254740993,2\n2,3.5\n",
        "line 2, column 'a': '9007199254740993' is too long.*kinds",
    ),
    ("a,Y\n1,2\n2,3.5\n", "has no column 'y'; .*a, Y"),
    ("a,yy\n1,2\n2,3.5\n", "has no column 'y'; did you mean 'yy'.*a, yy"),
    ("y\n2\n3.5\n", "has no column to learn from: only the target"),
    ("a,y\n1,2\n1,3.5\n", "has no column to learn from: 'a' is always 1"),
    ("a,y\n1,p\n2,p\n", "column 'y', the target, has a single class"),
    ("a,y\n1,no\n2,No\n", "column 'y', the target, has a single class"),
    ("a,y\n1,2.5\n2,2.50\n", "column 'y', the target, has a single value"),
    ("a,y\n1,x\n2,3\n", "line 2, column 'y': 'x' is not a number, as '3' in line 3 is"),
    ("a,y\n" + "".join(f"{i * i},n{i}\n" for i in range(30)), "has 30 classes in 30 rows"),
    (
        "a,y\n" + "".join(f"t{i % 300},{i}\n" for i in range(900)),
        "has 300 different texts; up to 256",
    ),
]


@pytest.mark.parametrize(("content", "message"), BROKEN, ids=range(len(BROKEN)))
def test_broken_tables_are_refused(write, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        from_csv(write(content), "y")
    assert "table.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"target": "Price"}, "has no column 'Price'; did you mean 'price'"),
        ({"kinds": {"city": "text"}}, "kind of column 'city' must be number, boolean, category"),
        ({"kinds": {"town": "out"}}, "has no column 'town'"),
        ({"kinds": {"price": "category"}}, "'price' is the target"),
        ({"kinds": {"city": "number"}}, "line 2, column 'city': 'Rome' is not a number"),
        ({"kinds": {"city": "boolean"}}, "line 2, column 'city': 'Rome' is no boolean"),
        ({"kinds": dict.fromkeys(("rooms", "city", "lift"), "out")}, "'rooms' as asked for"),
        ({"task": "clustering"}, "task must be"),
        ({"task": "regression", "target": "city"}, "'Rome' is not a number"),
        ({"missing": "zero"}, "missing must be"),
        ({"separator": ";;"}, "separator must be one character"),
        ({"encoding": "klingon"}, "there is no encoding 'klingon'"),
    ],
)
def test_wrong_options_are_refused(write, keywords, message):
    with pytest.raises(ValueError, match=message):
        from_csv(write(FLATS), **{"target": "price", **keywords})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("rooms,lift\n1,yes\n", "has no column 'city'"),
        ("rooms,City,lift\n1,Rome,yes\n", "has no column 'city'; did you mean 'City'"),
        ("rooms,city,lift\n1,Roma,yes\n", "line 2, column 'city': 'Roma' .*did you mean 'Rome'"),
        ("rooms,city,lift\n1,rome,yes\n", "line 2, column 'city': 'rome' is none of the 3 known"),
        ("rooms,city,lift\n1,Rome,maybe\n", "line 2, column 'lift': 'maybe' is none of the 2"),
        ("rooms,city,lift\n2,Rome,no\nmany,Rome,no\n", "line 3, column 'rooms': 'many' is not"),
        ('rooms,city,lift\n"1,5",Rome,no\n', "'1,5' is not a number.* not a comma"),
        ("rooms,city,lift\ninf,Rome,no\n", "'inf' is not a number.* infinite"),
        ("rooms,city,lift,price\n1,Rome,no,cheap\n", "column 'price': 'cheap' is not a number"),
        ("rooms,city,lift\n1,Rome,\n", "line 2, column 'lift'"),
        ("rooms,city,lift,price\n1,Rome,no,\n", "1 value is missing .line 2, column 'price'"),
    ],
)
def test_other_files_that_do_not_fit_are_refused(write, content, message):
    columns = from_csv(write(FLATS), "price")[2]
    with pytest.raises(ValueError, match=message):
        columns.read(write(content, "other.csv"))


def test_the_target_of_another_file_is_read_if_it_is_there(write):
    text = "a,y\n1,dog\n2,cat\n3,dog\n"
    columns = from_csv(write(text), "y")[2]
    X, y = columns.read(write("y,a\ndog,5\ncat,6\n"))
    assert X.tolist() == [[5], [6]]
    assert [columns.classes[k] for k in y] == ["dog", "cat"]


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv"):
        from_csv(tmp_path / "nothing.csv", "y")
    with pytest.raises(OSError, match="is a folder"):
        from_csv(tmp_path, "y")


def damaged():
    good = {
        "inputs": [
            {"name": "a", "kind": "number", "categories": []},
            {"name": "b", "kind": "category", "categories": ["p", "q"]},
        ],
        "target": {"name": "y", "kind": "category", "categories": ["n", "o"]},
        "task": "classification",
        "missing": "mean",
        "means": [1.0, 0.5, 0.5],
        "left_out": {},
    }
    assert Columns.from_dict(good).names == ("a", "b=p", "b=q")
    yield from ({k: v for k, v in good.items() if k != key} for key in good)
    yield from (
        {**good, key: value}
        for key in good
        for value in (None, 3, "?", [3], {})
        if value != good[key]
    )
    yield {**good, "task": "regression"}
    yield {**good, "target": {**good["target"], "categories": "no"}}
    yield {**good, "target": {**good["target"], "kind": "boolean"}}
    yield {**good, "means": [1.0]}
    yield {**good, "means": [1.0, 0.5, float("nan")]}
    yield {**good, "missing": "drop"}
    for inputs in ([], good["inputs"] * 2, [*good["inputs"], good["target"]]):
        yield {**good, "missing": "refuse", "means": [], "inputs": inputs}
    for change in (
        {"kind": "text"},
        {"categories": ["p"]},
        {"categories": ["p", "p"]},
        {"name": 3},
        {"kind": "boolean", "categories": []},
    ):
        yield {**good, "inputs": [good["inputs"][0], {**good["inputs"][1], **change}]}
    yield []
    yield None


@pytest.mark.parametrize("about", [json.dumps(about) for about in damaged()])
def test_what_describes_no_columns_is_refused(about):
    with pytest.raises(ValueError, match="does not describe the columns of a table"):
        Columns.from_dict(json.loads(about))


def test_columns_are_kept_in_the_file_of_a_model(write, tmp_path):
    X, _, columns = from_csv(write(FLATS), "price")
    net = tg.nn.Sequential(tg.nn.Standardize(5).fit(X), tg.nn.MLP((5, 4, 1), rng=0))
    tg.save(net, tmp_path / "flats.npz", about={"columns": columns.to_dict()})
    from tinygrad_edu.interop.arrays import read_arrays

    _, about = read_arrays(tmp_path / "flats.npz")
    assert Columns.from_dict(about["columns"]) == columns


def test_a_line_without_an_end_is_refused_in_bounded_memory(write):
    path = write(b"a,y\n" + b"1" * 2**26)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"more than 16,777,216 characters.*begins in line 2"):
            from_csv(path, "y")
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
