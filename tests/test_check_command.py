"""The command `check`: what it takes, what it prints and where, and its exit status."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import target
from tinygrad_edu.__main__ import main

OK, WRONG, COULD_NOT_CHECK = 0, 1, 2
MODULE = """
import numpy as np


def loss(x):
    return np.sum(np.tanh(x))


def d_loss(x):
    return 1 - np.tanh(x) ** 2


def wrong(x):
    return 1 - np.tanh(x)


def absolute(x):
    return np.sum(np.abs(x))


def jumps(x):
    return np.sum(np.floor(x) + x)


def ones(x):
    return np.ones_like(x)


def fails(x):
    raise LookupError("my own trouble")


def wrong_shape(x):
    return d_loss(x)[None]


def product(a, b):
    return np.sum((a @ b) ** 2)


def noisy(x):
    return np.sum(x) + np.random.default_rng().random()


def chosen(scores, labels):
    return -np.mean(scores[np.arange(len(labels)), labels] ** 2)


class Model:
    class Inner:
        @staticmethod
        def loss(x):
            return np.sum(x ** 3)

    number = 3
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with a module, in which the command is run; what it imports is forgotten."""
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
    plt.close("all")


@pytest.fixture
def check(capsys):
    """Runs the command: its exit status, what it printed, and what it printed to stderr."""

    def run(*arguments):
        try:
            status = main(["check", *map(str, arguments)])
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return run


def refused(result, words):
    """Whether it could not be checked, for a reason in one line, without a traceback."""
    status, out, err = result
    assert status == COULD_NOT_CHECK
    assert out == ""
    assert re.search(words, err)
    assert "Traceback" not in err
    return True


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["mine:loss", "--shapes", "3,4"], OK, "gradient of loss: OK"),
        (["mine:loss", "--shapes", "3,4", "--gradient", "mine:d_loss"], OK, "loss: OK"),
        (["mine:loss", "--shapes", "3,4", "--order", "2"], OK, "x, order 2"),
        (["mine:loss", "--shapes", "()"], OK, "()"),
        (["mine:product", "--shapes", "3,4", "4,2"], OK, "(4, 2)"),
        (["mine:loss", "--shapes", "3,4", "--gradient", "mine:wrong"], WRONG, "12 WRONG"),
        (["mine:loss", "--shapes", "3", "--gradient", "mine:wrong_shape"], WRONG, "shape (1, 3)"),
        (["mine:noisy", "--shapes", "3"], COULD_NOT_CHECK, "not deterministic"),
        (["mine:loss", "--shapes", "0,3"], COULD_NOT_CHECK, "zero elements"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_exit_status_is_the_verdict_and_the_report_goes_to_stdout(
    arguments, status, words, check
):
    found, out, err = check(*arguments)
    assert found == status
    assert words in out
    assert err == ""


@pytest.mark.parametrize(
    ("function", "x", "status", "verdict"),
    [
        ("absolute", [0.0, 1.0], OK, "KINK"),
        ("loss", [0.0, 1.0], OK, "OK"),
        ("jumps", [0.0, 1.5], COULD_NOT_CHECK, "INCONCLUSIVE"),
    ],
)
def test_kinks_and_jumps(function, x, status, verdict, check):
    np.savez("x.npz", x=np.array(x))
    gradient = ["--gradient", "mine:ones"] if function == "jumps" else []
    found, out, _ = check(f"mine:{function}", "--inputs", "x.npz", *gradient)
    assert found == status
    assert verdict in out


def test_a_wrong_value_at_a_kink_is_wrong(check):
    (Path.cwd() / "three.py").write_text("import numpy as np\n\ndef three(x):\n    return x + 3\n")
    np.savez("x.npz", x=np.zeros(2))
    status, out, _ = check("mine:absolute", "--inputs", "x.npz", "--gradient", "three:three")
    assert status == WRONG
    assert "not between the two slopes" in out


def test_an_exception_in_the_function_is_shown_with_its_line(check):
    status, out, err = check("mine:fails", "--shapes", "3")
    assert (status, out) == (COULD_NOT_CHECK, "")
    assert "LookupError: my own trouble" in err.splitlines()[-1]
    assert 'raise LookupError("my own trouble")' in err


@pytest.mark.parametrize("code", ["0", "1", ""])
def test_an_exit_in_the_function_is_no_success(code, folder, check):
    (folder / "ends.py").write_text(f"import sys\n\ndef ends(x):\n    sys.exit({code})\n")
    status, out, err = check("ends:ends", "--shapes", "3")
    assert (status, out) == (COULD_NOT_CHECK, "")
    assert "could not check: SystemExit" in err.splitlines()[-1]


def test_an_exception_in_the_gradient_is_shown_with_its_line(check):
    status, out, err = check("mine:loss", "--shapes", "3", "--gradient", "mine:fails")
    assert (status, out) == (COULD_NOT_CHECK, "")
    assert "LookupError: my own trouble" in err.splitlines()[-1]


def test_shapes_that_do_not_fit_the_function_are_shown_as_its_error(check):
    status, out, err = check("mine:product", "--shapes", "3,4", "3,4")
    assert (status, out) == (COULD_NOT_CHECK, "")
    assert "could not check: ValueError" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mine:product", "--shapes", "3"], r"mine:product takes .*\(a, b\), but 1 .*'b'"),
        (["mine:product", "--shapes", "3", "3", "3"], r"\(a, b\), but 3 .*too many"),
        (["mine:product"], r"\(a, b\), but 0 were given .*'a'"),
        (["mine:nothing_given", "--values", "1"], r"mine:nothing_given .*\(\), but 1"),
        (["mine:loss", "--shapes", "3", "--gradient", "mine:product"], r"mine:product .*but 1"),
    ],
)
def test_too_few_or_too_many_inputs_are_refused(arguments, words, check, folder):
    with (folder / "mine.py").open("a") as file:
        file.write("\n\ndef nothing_given():\n    return 1.0\n")
    result = check(*arguments)
    assert refused(result, words)
    assert "--shapes, --values or --inputs" in result[2]


@pytest.mark.parametrize("more", [[], ["--values", "1"], ["--shapes", "3", "3", "3"]])
def test_explain_says_which_inputs_are_missing(more, capsys, folder):
    assert main(["explain", "mine:product", *more]) == COULD_NOT_CHECK
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"could not explain: mine:product takes .*\(a, b\), but \d .*\n", err)
    assert not (folder / "tape.html").exists()


WRAPPED = """
import functools


def with_weights(f):
    @functools.wraps(f)
    def called(x):
        return f(x, 3.0)

    return called


@with_weights
def loss(x, w):
    return (w * x).sum()


def optional(x, power=2, *others):
    return (x**power).sum()


class Model:
    def __call__(self, x):
        return (x * x).sum()


model = Model()
"""


@pytest.mark.parametrize("function", ["loss", "optional", "model"])
def test_a_function_is_called_with_what_it_takes(function, check, folder):
    (folder / "wrapped.py").write_text(WRAPPED)
    assert check(f"wrapped:{function}", "--shapes", "3")[0] == OK


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("nowhere:loss", "nowhere cannot be imported.*No module named 'nowhere'"),
        ("nowhere.py:loss", "there is no file nowhere.py"),
        ("mine:nothing", "mine has no nothing"),
        ("mine.py:Model.nothing", "mine.py has no Model.nothing"),
        ("mine:Model.number", "mine:Model.number is not a function but 3"),
        ("mine", "'mine' is not of the form MODULE:FUNCTION"),
        (":loss", "':loss' is not of the form"),
        ("mine:", "'mine:' is not of the form"),
        ("", "'' is not of the form"),
        (".:loss", "cannot be imported"),
        ("mine..py:loss", "there is no file"),
    ],
)
def test_a_function_that_is_not_there_is_refused(function, words, check):
    assert refused(check(function, "--shapes", "3"), words)
    assert refused(check("mine:loss", "--shapes", "3", "--gradient", function), words)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def f(x:\n", "broken cannot be imported: SyntaxError.*line 1"),
        ("import nowhere_at_all\n", "No module named 'nowhere_at_all'"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("import sys\nsys.exit(0)\n", "SystemExit"),
    ],
    ids=["syntax", "import", "exception", "exit"],
)
@pytest.mark.parametrize("suffix", ["", ".py"])
def test_a_module_that_cannot_be_imported_is_refused(source, words, suffix, folder, check):
    (folder / "broken.py").write_text(source)
    words = words.replace("broken", "broken" + suffix)
    assert refused(check(f"broken{suffix}:f", "--shapes", "3"), words)


@pytest.mark.parametrize(
    "shape", ["a", "3,a", "-1", "3,-4", "1.5", "3;4", "3x4", "(3,4", "((3))", "", ",", "(,)", "("]
)
def test_bad_shapes_are_refused(shape, check):
    status, out, err = check("mine:loss", f"--shapes={shape}")
    assert (status, out) == (COULD_NOT_CHECK, "")
    assert f"{shape!r} is not a shape such as 3,4" in err


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        *(("3,4", "(3, 4)"), ("(3,4)", "(3, 4)"), ("( 3, 4 )", "(3, 4)")),
        *(("3", "(3,)"), ("(5,)", "(5,)"), ("5,", "(5,)"), ("()", "()")),
    ],
)
def test_shapes_as_people_write_them(shape, words, check):
    status, out, _ = check("mine:loss", "--shapes", shape)
    assert status == OK
    assert words in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--order", "0", "--shapes", "3"], "order"),
        (["--order", "x", "--shapes", "3"], "order"),
        (["--order", "2", "--shapes", "3", "--gradient", "mine:d_loss"], "--order 2"),
        (["--seed", "-1", "--shapes", "3"], "seed"),
        (["--seed", "x", "--shapes", "3"], "seed"),
        ([], "--shapes, --values or --inputs"),
        (["--shapes", "3", "--inputs", "x.npz"], "not allowed with"),
        (["--shapes", "9" * 30], "--shapes"),
        (["--plot", "nowhere/x.png", "--shapes", "3"], "there is no such folder"),
        (["--plot", "x.nonsense", "--shapes", "3"], "nonsense"),
    ],
)
def test_bad_options_are_refused_before_any_work(options, words, check):
    assert refused(check("mine:loss", *options), words)


@pytest.mark.parametrize(
    "values",
    [
        ["1", "-1e-3"],
        ["1", "-2."],
        ["-1e-3", "1"],
        ["-2", "-.5"],
        ["-0.5", "-1E+3"],
        ["123456789012345678901", "-123456789012345678901"],
        ["1e300", "-1e-320"],
    ],
    ids=" ".join,
)
def test_numbers_as_people_write_them(values, folder, capsys):
    (folder / "said.py").write_text("def said(a, b):\n    print(repr((a, b)))\n    return a * b\n")
    main(["check", "said:said", "--values", *values, "--order", "1"])
    first = next(line for line in capsys.readouterr().out.splitlines() if "(" in line)
    assert first == repr(tuple(map(float, values)))


def test_large_whole_numbers_in_an_array(check):
    assert check("mine:loss", "--values", f"[1, -2.5, {10**30}]")[0] == OK
    found = target.parse_value(f"[[1, {10**30}]]")
    np.testing.assert_array_equal(found, [[1.0, 1e30]], strict=True)


@pytest.mark.parametrize("value", ["1e400", "-1e400", "[1, 1e400]", "9" * 400, f"[1, {'9' * 400}]"])
def test_numbers_that_are_not_finite_are_refused(value, check):
    assert refused(check("mine:loss", "--values", value), "too large for a floating-point number")


@pytest.mark.parametrize(
    "value",
    [
        *("", "x", "inf", "nan", "None", "True", "'1'", "1j", "{1}", "[1, None]"),
        *("[[1], [2, 3]]", f"[True, {10**30}]", f"['1', {10**30}]", "1 2", "--1x"),
    ],
)
def test_what_is_no_number_is_refused(value, check):
    assert refused(check("mine:loss", f"--values={value}"), "neither a number nor an array")


# Files of inputs.


def test_inputs_go_by_the_names_of_the_parameters(check):
    np.savez("x.npz", b=np.ones((3, 4)), a=np.ones((2, 3)))
    status, out, _ = check("mine:product", "--inputs", "x.npz", "--json")
    assert status == OK
    shapes = {i["name"]: i["shape"] for i in json.loads(out)["inputs"]}
    assert shapes == {"a": [2, 3], "b": [3, 4]}


@pytest.mark.parametrize("names", [("arr_0", "arr_1"), ("first", "second"), ("a", "z")])
def test_inputs_of_other_names_go_in_order(names, check):
    np.savez("x.npz", **dict(zip(names, (np.ones((2, 3)), np.ones((3, 4))), strict=True)))
    status, out, _ = check("mine:product", "--inputs", "x.npz")
    assert status == OK
    assert re.search(r"^  a +\(2, 3\) ", out, re.MULTILINE)
    assert re.search(r"^  b +\(3, 4\) ", out, re.MULTILINE)


def test_integers_among_the_inputs_are_constants(check):
    scores = np.arange(12.0).reshape(4, 3) / 7
    np.savez("x.npz", labels=np.array([0, 2, 1, 1]), scores=scores)
    status, out, _ = check("mine:chosen", "--inputs", "x.npz", "--json")
    assert status == OK
    assert [i["name"] for i in json.loads(out)["inputs"]] == ["scores"]


def test_inputs_keep_their_dtype(check):
    np.savez("x.npz", x=np.ones(3, np.float32))
    status, out, _ = check("mine:loss", "--inputs", "x.npz", "--json")
    assert status == OK
    assert [i["dtype"] for i in json.loads(out)["inputs"]] == ["float32"]


def write_pickled(path):
    np.savez(path, x=np.array([{}, None]))


def write_npy(path):
    with path.open("wb") as file:
        np.save(file, np.ones(3))


def write_truncated(path):
    np.savez(path, x=np.ones(300))
    path.write_bytes(path.read_bytes()[:-200])


def write_damaged(path):
    np.savez_compressed(path, x=np.arange(3000.0))
    data = bytearray(path.read_bytes())
    data[200:400] = bytes(200)
    path.write_bytes(data)


def write_other_archive(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")


@pytest.mark.parametrize(
    "write",
    [
        lambda path: None,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\x03\x04 and then nothing"),
        lambda path: path.write_text("1, 2, 3\n"),
        lambda path: path.mkdir(),
        write_pickled,
        write_npy,
        write_truncated,
        write_damaged,
    ],
    ids=[
        *("missing", "empty", "corrupt", "text", "folder"),
        *("pickled", "npy", "truncated", "damaged"),
    ],
)
def test_a_file_of_inputs_that_cannot_be_read_is_refused(write, folder, check):
    write(folder / "x.npz")
    assert refused(check("mine:loss", "--inputs", "x.npz"), r"could not check: .*x\.npz")


@pytest.mark.parametrize("write", [np.savez, write_other_archive], ids=["empty", "no arrays"])
def test_an_archive_without_arrays_is_not_checked(write, folder, check):
    write(folder / "x.npz")
    status, out, err = check("mine:loss", "--inputs", "x.npz")
    assert status == COULD_NOT_CHECK
    assert "could not check" in err or "NOT CHECKED" in out


# Places of functions.


def test_a_file_may_import_its_neighbours(folder, check):
    (folder / "deep").mkdir()
    (folder / "deep" / "neighbour.py").write_text("scale = 2.0\n")
    (folder / "deep" / "net.py").write_text(
        "from neighbour import scale\n\ndef loss(x):\n    return (scale * x * x).sum()\n"
    )
    status, out, _ = check("deep/net.py:loss", "--shapes", "3")
    assert status == OK
    assert "gradient of loss: OK" in out


def test_a_file_in_a_package_may_import_relatively(folder, check):
    (folder / "pack").mkdir()
    (folder / "pack" / "__init__.py").touch()
    (folder / "pack" / "scales.py").write_text("scale = 2.0\n")
    (folder / "pack" / "net.py").write_text(
        "from .scales import scale\n\ndef loss(x):\n    return (scale * x * x).sum()\n"
    )
    for place in ("pack.net", "pack/net.py", folder / "pack" / "net.py"):
        status, _, err = check(f"{place}:loss", "--shapes", "3")
        assert (status, err) == (OK, "")


def test_a_package_is_not_taken_for_another_of_the_same_name(folder, check):
    for place in ("left", "right"):
        (folder / place / "pack").mkdir(parents=True)
        (folder / place / "pack" / "__init__.py").touch()
        (folder / place / "pack" / "net.py").write_text("def f(x):\n    return (x * x).sum()\n")
    assert check("left/pack/net.py:f", "--shapes", "3")[0] == OK
    assert refused(check("right/pack/net.py:f", "--shapes", "3"), r"pack\.net is .*left")


def test_the_line_of_a_wrong_rule_in_a_file_is_shown(folder, check):
    (folder / "my-net.py").write_text(
        "import numpy as np\nimport tinygrad_edu as tg\n\n\n"
        "@tg.primitive\ndef decay(x):\n    return np.exp(-x)\n\n\n"
        "decay.derivative(lambda g, y, x: g * y, core_axes=0)\n\n\n"
        "def loss(x):\n    return np.sum(decay(x))\n"
    )
    status, out, _ = check("my-net.py:loss", "--shapes", "3")
    assert status == WRONG
    assert "decay, my-net.py:14" in out
    assert "    return np.sum(decay(x))" in out


@pytest.mark.parametrize("name", ["json.py", "test.py", "my-net.py", "numpy.py", "mine.v2.py"])
def test_a_file_is_the_file_whatever_its_name(name, folder, check):
    (folder / "files").mkdir()
    (folder / "files" / name).write_text("def very_mine(x):\n    return (x * x).sum()\n")
    status, out, err = check(f"files/{name}:very_mine", "--shapes", "3")
    assert (status, err) == (OK, "")
    assert "very_mine" in out


def test_files_of_the_same_name_are_not_taken_for_each_other(folder, check):
    for place, power in (("left", 2), ("right", 3)):
        (folder / place).mkdir()
        (folder / place / "net.py").write_text(
            f"def f(x):\n    return (x ** {power}).sum()\n\n"
            f"def df(x):\n    return {power} * x ** {power - 1}\n"
        )
    for f, df, status in (
        ("left", "left", OK),
        ("right", "right", OK),
        ("left", "right", WRONG),
    ):
        arguments = (f"{f}/net.py:f", "--gradient", f"{df}/net.py:df", "--shapes", "3")
        assert check(*arguments)[0] == status


def test_dotted_names_lead_into_classes(check):
    status, out, _ = check("mine:Model.Inner.loss", "--shapes", "2,2")
    assert status == OK
    assert "4 OK" in out


def test_numpy_s_own_functions_can_be_checked(check):
    assert check("numpy:tanh", "--shapes", "3")[0] == OK


# What comes out.


def test_json_is_the_report(check):
    arguments = ("mine:loss", "--shapes", "3,4", "--gradient", "mine:wrong")
    status, out, err = check(*arguments, "--json")
    found = json.loads(out)
    assert (status, err) == (WRONG, "")
    assert (found["name"], found["verdict"], found["ok"]) == ("loss", "WRONG", False)
    x = np.random.default_rng(0).normal(size=(3, 4))
    np.testing.assert_allclose(found["inputs"][0]["given"], 1 - np.tanh(x), rtol=1e-12)
    np.testing.assert_allclose(found["inputs"][0]["measured"], 1 - np.tanh(x) ** 2, rtol=1e-8)


def test_the_seed_decides_on_the_inputs(check):
    def given(*options):
        _, out, _ = check("mine:loss", "--shapes", "3", "--json", *options)
        return json.loads(out)["inputs"][0]["given"]

    assert given() == given("--seed", 0) == given("--seed", 0)
    assert given("--seed", 1) != given()


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_the_plot_is_written(suffix, folder, check):
    arguments = ("mine:loss", "--shapes", "3,4", "--gradient", "mine:wrong")
    assert check(*arguments, "--plot", f"x{suffix}")[0] == WRONG
    assert (folder / f"x{suffix}").stat().st_size > 5000


def test_the_plot_changes_nothing_about_what_is_printed(check):
    time = re.compile(r"[\d.e-]+ s$", re.MULTILINE)
    arguments = ("mine:loss", "--shapes", "3,4")
    plain, drawn = (time.sub("", check(*arguments, *o)[1]) for o in ([], ["--plot", "x.png"]))
    assert plain == drawn


def test_no_figure_stays_open(check):
    before = plt.get_fignums()
    check("mine:loss", "--shapes", "3,4", "--plot", "x.png")
    assert plt.get_fignums() == before


@pytest.mark.parametrize("function", ["loss", "noisy"])
def test_where_there_is_nothing_to_draw_the_report_is_printed_all_the_same(function, folder, check):
    shape = "0,3" if function == "loss" else "3"
    status, out, _ = check(f"mine:{function}", "--shapes", shape, "--plot", "x.png")
    assert status == COULD_NOT_CHECK
    assert "gradient of" in out


def test_a_gradient_that_is_nan_everywhere_is_wrong_with_and_without_a_plot(folder, check):
    (folder / "nans.py").write_text("def nans(x):\n    return x * float('nan')\n")
    arguments = ("mine:loss", "--shapes", "100,100", "--gradient", "nans:nans")
    assert check(*arguments)[0] == WRONG
    assert check(*arguments, "--plot", "x.png")[0] == WRONG


def test_a_plot_that_cannot_be_written_is_said_after_the_report(folder, check):
    (folder / "taken.png").mkdir()
    status, out, err = check("mine:loss", "--shapes", "3", "--plot", "taken.png")
    assert status == COULD_NOT_CHECK
    assert "gradient of loss: OK" in out
    assert "taken.png" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_full_disk_leaves_the_older_plot_and_no_open_figure(suffix, folder, check, full_disk):
    (folder / f"x{suffix}").write_text("precious")
    before, figures = sorted(folder.iterdir()), plt.get_fignums()
    with full_disk():
        status, out, err = check("mine:loss", "--shapes", "3", "--plot", f"x{suffix}")
    assert status == COULD_NOT_CHECK
    assert "gradient of loss: OK" in out
    assert f"could not draw: --plot x{suffix}: " in err
    assert (folder / f"x{suffix}").read_text() == "precious"
    assert sorted(folder.iterdir()) == before
    assert plt.get_fignums() == figures


def test_a_plot_without_a_suffix_is_a_png(folder, check):
    assert check("mine:loss", "--shapes", "3", "--plot", "x")[0] == OK
    assert (folder / "x.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_without_a_name_is_refused(folder, check):
    assert refused(check("mine:loss", "--shapes", "3", "--plot", "."), "is a folder")


def test_without_matplotlib_a_plot_is_refused_by_name(monkeypatch, check):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    result = check("mine:loss", "--shapes", "3", "--plot", "x.png")
    assert refused(result, "pip install matplotlib")


# As a command.


def command(*arguments, cwd, called="check", **environment):
    environment |= {**os.environ, "PYTHONPATH": str(Path(tg.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, "-m", "tinygrad_edu", called, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("called", ["check", "explain"])
def test_a_file_whose_name_is_not_valid_utf_8_is_refused(called, folder):
    name = os.fsdecode(b"caf\351.py")
    (folder / name).write_text(MODULE)
    for place in (name, name.removesuffix(".py")):
        result = command(f"{place}:loss", "--shapes", "3", cwd=folder, called=called)
        assert result.returncode == COULD_NOT_CHECK
        assert result.stdout == ""
        assert re.fullmatch(
            rf"could not {called}: .*'caf\\udce9(\.py)?' is not valid UTF-8.*\n", result.stderr
        )


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_page_may_have_a_name_that_is_not_valid_utf_8(encoding, folder):
    arguments = ("mine:loss", "--shapes", "3", "--out", os.fsdecode(b"caf\351.html"))
    strict = f"{encoding}:strict"
    result = command(*arguments, cwd=folder, called="explain", PYTHONIOENCODING=strict)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(r"caf\udce9.html: ")
    assert b"caf\351.html" in os.listdir(os.fsencode(folder))


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["mine:loss", "--shapes", "3,4"], OK),
        (["mine.py:loss", "--shapes", "3,4", "--gradient", "mine.py:wrong"], WRONG),
        (["mine:missing", "--shapes", "3,4"], COULD_NOT_CHECK),
    ],
)
def test_the_command_ends_with_its_status(arguments, status, folder):
    result = command(*arguments, cwd=folder)
    assert result.returncode == status
    assert bool(result.stdout) is (status != COULD_NOT_CHECK)
    assert bool(result.stderr) is (status == COULD_NOT_CHECK)


def test_a_reader_who_has_read_enough_is_no_error(folder):
    read, write = os.pipe()
    os.close(read)
    environment = {**os.environ, "PYTHONPATH": str(Path(tg.__file__).parents[1])}
    arguments = ["mine:loss", "--shapes", "3,4", "--json"]
    with os.fdopen(write, "w") as stdout:
        result = subprocess.run(
            [sys.executable, "-m", "tinygrad_edu", "check", *arguments],
            cwd=folder,
            env=environment,
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (result.returncode, result.stderr) == (OK, b"")
