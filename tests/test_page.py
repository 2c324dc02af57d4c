"""The page of a tape: what is on it, and what a browser makes of it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import sys
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import tinygrad_edu as tg
from benchmarks.browser import chromium, window
from tinygrad_edu.__main__ import main
from tinygrad_edu.demo import make_trainers
from tinygrad_edu.show.steps import Backward

ATTACK = '</script><script>document.title="hit"</script><img src=x onerror="document.title=1">&lt;'


def data_of(page):
    """What the page is told, as its script reads it."""
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.html, re.S)
    return json.loads(text.group(1))


def diamond(a, b):
    c = a * b
    return np.tanh(c + a)


def layers(W1, b1, W2):
    hidden = np.maximum(0, X @ W1 + b1)
    return np.sum((hidden @ W2) ** 2)


X = np.arange(8.0).reshape(4, 2) / 8 - 0.3
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(2, 3)), RNG.normal(size=3), RNG.normal(size=(3, 2))


def demo_step():
    X, y, trainers = make_trainers()
    net = trainers["sigmoid"].model

    def step():
        return tg.cross_entropy(net(X), y)

    return tg.record(step)


def wide(x):
    return np.sum(np.sin(x) * x)


def named(tape, name):
    return next(entry for entry in tape if entry.name == name)


# What is on the page.


def test_a_step_of_the_demo_makes_a_small_page_of_one_file():
    page = demo_step().page()
    assert len(page.html.encode()) < 300_000
    assert not re.search(r"""(?:src|href|url|import)\s*[=(]\s*["']?(?:https?:)?//""", page.html)


@pytest.mark.parametrize("f", [lambda: tg.explain(diamond, 0.5, -2.0), lambda: demo_step().page()])
def test_the_numbers_are_those_of_the_engine(f):
    page = f()
    tape = tg.record(diamond, 0.5, -2.0) if "diamond" in page.html else demo_step()
    told = data_of(page)["entries"]
    back = Backward.of(list(tape), np.ones(()))
    assert len(told) == len(tape)
    compared = 0
    for entry, shown in zip(tape, told, strict=True):
        pairs = [(entry.y, shown["value"])]
        if entry in back.gradients:
            pairs.append((back.gradients[entry], shown["gradient"]))
        for array, picture in pairs:
            if array.ndim == 0:
                assert picture == pytest.approx(float(array), rel=1e-5)
                compared += 1
                continue
            grid = array.reshape(-1, array.shape[-1])
            rows, columns = (
                np.arange(n) if k is None else k
                for k, n in zip(picture["index"], grid.shape, strict=True)
            )
            cells = grid[np.ix_(rows, columns)].ravel()
            np.testing.assert_allclose(picture["cells"], cells, rtol=1e-5)
            assert picture["shape"] == list(array.shape)
            assert picture["min"] == pytest.approx(array.min(), rel=1e-5)
            assert picture["mean"] == pytest.approx(array.mean(), rel=1e-5)
            compared += cells.size
    assert compared >= 10


def test_cells_of_a_large_array_are_spread_from_corner_to_corner():
    x = RNG.normal(size=(3, 50, 70))
    told = data_of(tg.explain(wide, x))["entries"][0]["value"]
    rows, columns = told["index"]
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (0, 149, 0, 69)
    np.testing.assert_allclose(told["cells"][-1], x[2, 49, 69], rtol=1e-5)


def test_values_that_json_has_no_word_for():
    x = np.array([[np.nan, np.inf], [-np.inf, 0.0]])
    told = data_of(tg.explain(lambda x: np.sum(x * 2), x))["entries"][0]["value"]
    assert told["cells"] == ["nan", "inf", "-inf", 0.0]
    assert told["wrong"] == "3 of 4"
    assert told["zeros"] == "100%"


def test_empty_arrays_zeros_and_other_dtypes():
    def f(x, empty):
        return np.sum(x[x > 0]) + np.sum(empty) + np.float32(0)

    told = data_of(tg.explain(f, np.array([-1.0, 0.0], np.float32), np.zeros((0, 3))))["entries"]
    assert told[1]["value"]["cells"] == []
    mask = next(entry["value"] for entry in told if "> 0" in entry["text"])
    assert (mask["dtype"], mask["cells"]) == ("bool", [False, False])
    assert told[-1]["value"] == 0.0


def test_a_result_of_zero_is_shown():
    told = data_of(tg.explain(lambda x: x * 2.0, 0.0))["entries"]
    assert told[-1]["value"] == 0.0
    assert told[0]["gradient"] == 2.0


def test_gradients_that_add_up_are_told_with_their_parts():
    a, b = 0.5, -2.0
    told = data_of(tg.explain(diamond, a, b))["entries"]
    slope = 1 - np.tanh(a * b + a) ** 2
    first, second = (told[i]["sent"] for i in (3, 2))
    to_a = next(sent for sent in first if sent["to"] == 0)
    assert (to_a["count"], to_a["of"]) == (1, 2)
    assert to_a["gx"] == pytest.approx(slope, rel=1e-5)
    then = next(sent for sent in second if sent["to"] == 0)
    assert (then["count"], then["of"], "total" in then) == (2, 2, False)
    assert then["gx"] == pytest.approx(slope * b, rel=1e-5)
    assert told[0]["gradient"] == pytest.approx(slope * (1 + b), rel=1e-5)
    assert told[0]["senders"] == [3, 2]


def test_a_broadcast_that_is_undone_is_told():
    told = data_of(tg.explain(layers, *WEIGHTS))["entries"]
    add = next(entry for entry in told if entry["text"].endswith("+ b1"))
    to_b1 = next(sent for sent in add["sent"] if told[sent["to"]]["label"] == "b1")
    assert to_b1["stretched"].startswith("of shape (3,) was stretched to (4, 3)")
    assert to_b1["written"].endswith(".sum(axis=0)")
    assert not any("stretched" in sent for sent in add["sent"] if sent is not to_b1)


def test_the_rules_are_the_lines_of_the_rule_book():
    told = data_of(tg.explain(diamond, 0.5, -2.0))
    product = told["entries"][2]["sent"]
    assert [told["rules"][sent["rule"]] for sent in product] == ["g * b", "g * a"]


def test_the_page_names_the_function_and_its_lines():
    page = tg.explain(diamond, 0.5, -2.0)
    assert "<h1>Tape of diamond</h1>" in page.html
    (file,) = data_of(page)["files"]
    assert file["name"] == "test_page.py"
    assert file["lines"][0] == "def diamond(a, b):"
    line = data_of(page)["entries"][2]["at"][1] - file["first"]
    assert file["lines"][line].strip() == "c = a * b"


def test_the_program_is_the_source_of_the_tape():
    tape = tg.record(layers, *WEIGHTS)
    program = "\n".join(data_of(tape.page())["program"])
    assert re.sub(" +#", " #", program) == re.sub(" +#", " #", tape.source(backward=True))


@pytest.mark.parametrize(
    ("f", "args", "why"),
    [
        (lambda x: x * 2, (np.ones(3),), "the result has shape (3,)"),
        (lambda x: (x * 2, x + 1), (1.0,), "this tape has several"),
        (lambda x: np.sum(x > 0), (np.ones(3),), "no gradient flows"),
    ],
)
def test_without_a_way_back_the_page_says_why(f, args, why):
    told = data_of(tg.explain(f, *args))
    assert why in told["why"]
    assert not any("gradient" in entry for entry in told["entries"])
    assert len(told["entries"]) >= 2


def test_a_vector_with_a_gradient_has_a_way_back():
    page = tg.explain(lambda x: x * x, np.array([1.0, 2.0]), gradient=[1.0, 0.0])
    told = data_of(page)
    assert told["why"] == ""
    assert told["entries"][0]["gradient"]["cells"] == [2.0, 0.0]
    assert told["seed"]


@pytest.mark.parametrize(
    ("gradient", "words"),
    [([1.0], r"\(1,\).*\(2,\)"), ([np.nan, 1], "not finite"), (np.ones((2, 1)), r"\(2, 1\)")],
)
def test_a_gradient_that_does_not_fit_is_refused(gradient, words):
    with pytest.raises(ValueError, match=words):
        tg.explain(lambda x: x * x, np.array([1.0, 2.0]), gradient=gradient)


def test_a_gradient_for_several_results_is_refused():
    with pytest.raises(ValueError, match="one result"):
        tg.explain(lambda x: (x * x, x), 1.0, gradient=1.0)


def test_a_walk_back_that_fails_leaves_the_way_forward():
    told = data_of(tg.explain(lambda x: np.sqrt(x) ** 2, 0.0))
    assert "The way back fails: backward: the gradient of input" in told["why"]
    assert not any("gradient" in entry for entry in told["entries"])


def test_the_tape_of_a_gradient_can_be_shown():
    told = data_of(tg.record(tg.value_and_grad(diamond), 0.5, -2.0).page())
    assert len(told["entries"]) > 6
    assert "several" in told["why"]


def test_a_tape_outside_of_record_has_no_code():
    x = tg.Tensor(2.0, requires_grad=True, name="x")
    told = data_of(tg.Tape.of(x * x).page())
    assert told["files"] == []
    assert told["program"]


def test_a_page_does_not_change_the_tape():
    x = tg.Tensor([2.0, 3.0], requires_grad=True, name="x")
    y = np.sum(x * x)
    tape = tg.Tape.of(y)
    before = str(tape)
    tape.page()
    assert str(tape) == before
    assert x.grad is None
    y.backward()
    np.testing.assert_array_equal(x.grad, [4, 6])


def test_a_function_without_a_tape_is_refused():
    with pytest.raises(ValueError, match="nothing was recorded"):
        tg.explain(lambda: 3.0)


def sent_of(f, *args):
    """What the page says of every gradient that is sent."""
    told = data_of(tg.explain(f, *args))
    return told, [sent for entry in told["entries"] for sent in entry.get("sent", [])]


@pytest.mark.parametrize(
    ("f", "args"),
    [
        (lambda W, x: np.sum(W @ x), (np.ones((3, 2)), np.ones(2))),
        (lambda W, x: np.sum(x @ W), (np.ones((2, 3)), np.ones(2))),
        (lambda x: x @ x, (np.ones(3),)),
        (lambda a, b: np.sum(np.dot(a, b)), (np.ones((3, 2)), np.ones(2))),
        (lambda a, b: np.sum(a @ b), (np.ones((4, 3, 2)), np.ones((4, 2, 3)))),
    ],
)
def test_no_broadcast_is_undone_where_there_was_none(f, args):
    _, sent = sent_of(f, *args)
    assert not any("stretched" in each for each in sent)


def test_a_matrix_that_was_used_for_a_stack_is_told():
    _, sent = sent_of(lambda a, b: np.sum(a @ b), np.ones((4, 3, 2)), np.ones((2, 3)))
    (told,) = (each["stretched"] for each in sent if "stretched" in each)
    assert told == "of shape (2, 3) was used for several products, so it was read 4 times"


def test_numbers_that_are_not_those_that_were_sent_are_not_shown():
    # 0 * inf is taken for 0 there: the branch was not taken.
    with np.errstate(divide="ignore"):
        told, sent = sent_of(lambda x: np.where(x > 0, np.log(x), 0.0), 0.0)
    assert not any("nan" in each.get("numbers", "") for each in sent)
    assert told["entries"][0]["gradient"] == 0.0


def test_numbers_are_shown_of_elementwise_operations_alone():
    told, _ = sent_of(lambda a: np.sum(np.tril(a) * np.broadcast_to(2.0, (2, 2))), np.ones((2, 2)))
    assert "numbers" not in told["entries"][1]


@pytest.mark.parametrize(
    ("f", "names"),
    [
        (lambda a: np.sum(np.concatenate([a, a, [1.0, 2.0]])), "arrays = (a, a, [1., 2.])"),
        (lambda a: np.sum(np.einsum("i,i->i", a, a)), "subscripts = 'i,i->i'"),
    ],
)
def test_the_names_in_a_rule_of_any_number_of_arrays(f, names):
    _, sent = sent_of(f, np.ones(2))
    assert any(names in each.get("names", "") for each in sent)


def test_arrays_of_all_kinds_make_a_page():
    for x in (
        np.ones((0, 3)),
        np.ones(3, np.longdouble),
        np.ones(3, np.float16),
        np.array(-0.0),
        np.full(5, 1e308),
        np.array([np.nan, np.inf, -np.inf, 1.0, 2.0]),
        np.full((2, 3, 4, 5), 1e-320),
    ):
        with np.errstate(all="ignore"):
            recorded = tg.record(lambda x: np.max(x * 3, initial=0), x)
        with np.errstate(all="raise"):
            assert data_of(recorded.page())["entries"][0]["shape"].startswith(str(x.shape))


def test_the_zeros_of_an_array_are_all_only_if_they_are():
    x = np.zeros(1000)
    x[0] = 1
    told = data_of(tg.explain(wide, x))["entries"][0]["value"]
    assert told["zeros"] == ">99%"
    x[1:] = 1
    x[0] = 0
    assert data_of(tg.explain(wide, x))["entries"][0]["value"]["zeros"] == "<1%"


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyError, IndexError, RuntimeError])
def test_a_rule_that_raises_leaves_the_way_forward(error):
    def rule(g, y, x):
        raise error("mine")

    broken = tg.primitive(lambda x: 2 * x)
    broken.derivative(rule)
    told = data_of(tg.explain(broken, 1.0))
    assert f"The way back fails: {error.__name__}: " in told["why"]
    assert "mine" in told["why"]


# Markup in the texts of the user.


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(name for name, _ in attrs)))


def attacked(tmp_path):
    """A page in which every text that a user can give is an attack."""
    source = tmp_path / "a<b>&.py"
    source.write_text(
        f"# {ATTACK}\n"
        "def f(params):\n"
        f"    text = {ATTACK!r}\n"
        f"    return named(params[{ATTACK!r}]) * 2.0 + len(text)  # {ATTACK}\n"
    )
    named = tg.primitive(lambda x: 3.0 * x)
    named.derivative(lambda g, y, x: g * 3.0)
    named.name = ATTACK
    names = {"tg": tg, "np": np, "named": named}
    exec(compile(source.read_text(), str(source), "exec"), names)
    names["f"].__name__ = "Ａttack"
    return tg.explain(names["f"], {ATTACK: 1.0})


def test_texts_of_the_user_are_not_markup(tmp_path):
    plain, hit = Tags(), Tags()
    plain.feed(tg.explain(diamond, 0.5, -2.0).html)
    page = attacked(tmp_path)
    hit.feed(page.html)
    assert hit.tags == plain.tags
    told = json.dumps(data_of(page))
    assert told.count("onerror") >= 4


def test_only_the_script_of_the_page_may_run():
    page = tg.explain(diamond, 0.5, -2.0)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page.html).group(1)
    for kind in ("js", "css"):
        text = resources.files("tinygrad_edu.show").joinpath(f"page.{kind}").read_text("utf-8")
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


# Files.


def test_save_writes_the_whole_page(tmp_path):
    path = tmp_path / "tape.html"
    page = tg.explain(diamond, 0.5, -2.0, path=path)
    assert path.read_text("utf-8") == page.html
    assert os.listdir(tmp_path) == ["tape.html"]
    old = os.umask(0o022)
    os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o666 & ~old


@pytest.mark.parametrize("path", ["nowhere/tape.html", "folder"])
def test_a_page_that_cannot_be_written_leaves_nothing_behind(path, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"nowhere|folder"):
        tg.explain(diamond, 0.5, -2.0, path=tmp_path / path)
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(tmp_path / "folder") == []


def test_a_write_that_fails_keeps_the_old_file(tmp_path):
    path = tmp_path / "tape.html"
    path.write_text("old")
    page = tg.explain(diamond, 0.5, -2.0)
    page.html += "\udcff"  # half a character, which no file can hold
    with pytest.raises(UnicodeEncodeError):
        page.save(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["tape.html"]


def test_who_reads_the_old_file_reads_it_to_its_end(tmp_path):
    path = tmp_path / "tape.html"
    path.write_text("old")
    with path.open() as old:
        tg.explain(diamond, 0.5, -2.0, path=path)
        assert old.read() == "old"


def test_a_notebook_shows_the_page_in_a_frame():
    page = tg.explain(diamond, 0.5, -2.0)
    shown = Tags()
    shown.feed(page._repr_html_())
    assert shown.tags == [("iframe", ("title", "style", "srcdoc"))]
    assert repr(page).startswith("<page of ")


# The command.


@pytest.fixture
def explain(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "def loss(x, w):\n    return np.sum((x @ w) ** 2)\n"
        "def half(a):\n    return a / 2\n"
        "def nothing():\n    return np.sum(np.ones(3)) * 1.0\n"
        "def fails(a):\n    raise KeyError('mine')\n"
    )
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        status = main(["explain", *arguments])
        return status, *capsys.readouterr()

    yield run
    sys.modules.pop("mine", None)


def test_the_command_writes_a_page(explain, tmp_path):
    status, out, err = explain("mine:loss", "--shapes", "4,3", "3", "--out", "my.html")
    assert (status, err) == (0, "")
    assert "my.html: 5 entries" in out
    page = (tmp_path / "my.html").read_text()
    assert "<h1>Tape of loss</h1>" in page


def test_the_command_takes_values(explain, tmp_path):
    assert explain("mine.py:half", "--values", "-3")[0] == 0
    assert '"gradient":0.5' in (tmp_path / "tape.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mine:other"], "mine has no other"),
        (["mine:half"], "half"),
        (["mine:nothing"], "nothing was recorded"),
        (["mine:fails", "--values", "1"], "KeyError"),
        (["mine:half", "--values", "1", "--out", "no/such/tape.html"], "there is no such folder"),
        (["mine:half", "--values", "1", "--out", "."], "--out"),
        (["mine:half", "--values", "1", "--out", "mine.py"], "--out mine.py must end in .html"),
    ],
)
def test_the_command_says_what_is_wrong(arguments, words, explain, tmp_path):
    status, out, err = explain(*arguments)
    assert status == 2
    assert out == ""
    last = err.splitlines()[-1]
    assert last.startswith("could not explain: ")
    assert words in last
    assert [name for name in os.listdir(tmp_path) if name.endswith("html")] == []


@pytest.mark.parametrize("value", ["x", "[1, 2", "None", "__import__('os')", "[[1], [1, 2]]"])
def test_a_value_that_is_none_is_refused(value, explain, capsys):
    with pytest.raises(SystemExit):
        explain("mine:half", "--values", value)
    assert "is neither a number nor an array" in capsys.readouterr().err


# In a browser.


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium without a network."""
    pytest.importorskip("selenium", reason="the extra `test` brings selenium")
    try:
        with chromium() as driver:
            yield driver
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture
def shown(browser, tmp_path):
    """Opens a page; afterwards nothing has been complained of."""

    def show(page, width=1400, scheme="light"):
        window(browser, width, 900, scheme)
        path = tmp_path / "tape.html"
        page.save(path)
        browser.get(path.as_uri())
        return Shown(browser)

    browser.get_log("browser")
    yield show
    assert browser.get_log("browser") == []


class Shown:
    """A page in the browser, with what a reader does and sees."""

    def __init__(self, driver):
        self.driver = driver

    def press(self, *keys):
        from selenium.webdriver.common.by import By

        self.driver.find_element(By.TAG_NAME, "body").send_keys(*keys)

    def all(self, css):
        from selenium.webdriver.common.by import By

        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def wait(self, css):
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.driver, 20).until(lambda _: self.all(css))

    def text(self, css):
        return self.all(css)[0].text

    def lit(self, of):
        script = f"return [...document.querySelectorAll('#{of} .lit')].map((x) => x.lastChild.data)"
        return [line.split("  #")[0].strip() for line in self.driver.execute_script(script)]

    def arrays(self):
        """The numbers on the panel of this step, by name: scalars and small arrays."""
        script = """
            return [...document.querySelectorAll("#step .array")].map((box) => [
              box.dataset.name,
              [...box.querySelectorAll(".scalar, td[title]")].map((cell) => cell.textContent),
            ]);"""
        return {
            name: [float(x.replace("−", "-")) for x in cells]
            for name, cells in self.driver.execute_script(script)
        }


def keys():
    from selenium.webdriver.common.keys import Keys

    return Keys


def test_a_reader_steps_to_the_end_and_sees_the_numbers_of_the_engine(shown):
    tape = tg.record(layers, *WEIGHTS)
    page = shown(tape.page())
    back = Backward.of(list(tape), np.ones(()))
    expected = [(entry, entry.y) for entry in tape]
    expected += [(e, back.gradients[e]) for e in reversed(tape) if e in back.gradients]
    for i, (entry, array) in enumerate(expected):
        assert page.text("#now").startswith(f"Step {i + 1} of {len(expected)}, ")
        number = page.text("#now").split(": ")[1]
        assert tape[int(number.removeprefix("%"))] is entry
        # The first array is the result, or the gradient that has arrived.
        first = next(iter(page.arrays().values()))
        np.testing.assert_allclose(first, array.ravel(), rtol=1e-5)
        assert len(page.all("#rows .current")) == 1
        page.press(keys().ARROW_RIGHT)
    assert page.text("#now").startswith(f"Step {len(expected)} of")  # the last key did nothing
    assert page.all("#next")[0].get_attribute("aria-disabled") == "true"
    assert page.all("#back")[0].get_attribute("aria-disabled") == "false"
    by_grad = tg.grad(layers, argnums=(0, 1, 2))(*WEIGHTS)
    for name, gradient in zip(("W1", "b1", "W2"), by_grad, strict=True):
        np.testing.assert_array_equal(back.gradients[named(tape, name)], gradient)
    rows = {row.text.split()[1]: row.text for row in page.all("#rows li")}
    assert all("grad" in rows[name] for name in ("W1", "b1", "W2"))
    page.press(keys().HOME)
    assert not any("grad" in row.text for row in page.all("#rows li"))


def test_the_same_step_is_lit_in_the_code_the_program_and_the_tape(shown):
    page = shown(tg.explain(layers, *WEIGHTS))
    seen = {}
    last = None
    while page.text("#now") != last:
        last = page.text("#now")
        (current,) = page.all("#rows .current")
        assert current.text.split()[0] == last.split(": ")[1]
        seen[last.split(": ", 2)[2]] = (page.lit("code"), page.lit("program"))
        page.press(keys().ARROW_RIGHT)
    code, program = seen["hidden = np.maximum(0, z1)"]
    assert code == ["hidden = np.maximum(0, X @ W1 + b1)"]
    assert program == ["hidden = np.maximum(0, z1)"]
    code, program = seen["dhidden"]
    assert code == ["hidden = np.maximum(0, X @ W1 + b1)"]
    assert program == ["dz1 = dhidden * (hidden > 0)"]
    assert seen["dW1"] == ([], ["dW1 = X.T @ dz1"])
    assert seen["W1 = input"] == ([], [])


def test_a_step_shows_the_formula_the_rule_and_what_adds_up(shown):
    page = shown(tg.explain(diamond, 0.5, -2.0))
    page.press(*[keys().ARROW_RIGHT] * 3)
    assert "In numbers\n-1 + 0.5 = -0.5" in page.text("#step .pane")
    page.press("b")
    step = page.text("#step .pane")
    assert "The way back begins here" in step
    page.press(keys().ARROW_RIGHT)
    assert page.arrays()["da so far (1 more to come)"] == pytest.approx([0.786448], rel=1e-5)
    page.press(keys().ARROW_RIGHT)
    step = page.text("#step .pane")
    assert step.startswith("Back at c = a * b\n")
    assert "dc is the derivative of the result by c. It came from d" in step or "%3" in step
    assert [rule.text for rule in page.all("#step .rule")] == ["g * b", "g * a"]
    assert [line.text for line in page.all("#step .sent")] == ["da += dc * b", "db = dc * a"]
    assert "0.7864 * (-2) = -1.573" in step
    (adds,) = page.all("#step .adds")
    assert "the changes add up" in adds.text
    assert "d" in adds.text
    shown_numbers = page.arrays()
    assert shown_numbers["sent to a"] == pytest.approx([-1.57290], rel=1e-5)
    assert shown_numbers["da so far (complete)"] == pytest.approx([-0.786448], rel=1e-5)


def test_a_step_shows_which_broadcast_was_undone(shown):
    page = shown(tg.explain(layers, *WEIGHTS))
    page.press(keys().END)
    notes = []
    for _ in range(12):
        notes += [note.text for note in page.all("#step .stretched")]
        page.press(keys().ARROW_LEFT)
    assert notes == [
        "A broadcast is undone: b1 of shape (3,) was stretched to (4, 3), so every number was read "
        "4 times. Every time counts, so what comes back to it is added up."
    ]


def test_buttons_slider_and_rows_go_to_steps(shown):
    page = shown(tg.explain(diamond, 0.5, -2.0))

    def step():
        return int(re.match(r"Step (\d+) of 10", page.text("#now")).group(1))

    for button, after in (("next", 2), ("turn", 6), ("last", 10), ("back", 9), ("first", 1)):
        page.all(f"#{button}")[0].click()
        assert step() == after
    slider = page.all("#slider")[0]
    slider.send_keys(keys().ARROW_RIGHT)
    assert step() == 2
    assert slider.get_attribute("aria-valuetext") == page.text("#now")
    page.all("#rows li:nth-child(5) button")[0].click()
    assert step() == 5
    page.press("b")
    page.all("#rows li:nth-child(3) button")[0].click()
    assert "dc" in page.text("#now")
    assert page.driver.switch_to.active_element.text.startswith("%2")


def test_the_keyboard_reaches_everything(shown):
    page = shown(demo_step().page())
    reached = []
    for _ in range(20):
        page.press(keys().TAB)
        active = page.driver.switch_to.active_element
        reached.append(
            active.get_attribute("id") or active.get_attribute("class") or active.tag_name
        )
    assert {"next", "turn", "last", "slider", "pane", "summary"} <= set(reached)


def test_hovering_shows_a_value(shown):
    from selenium.webdriver import ActionChains

    x = RNG.normal(size=(6, 8))
    page = shown(tg.explain(wide, x))
    (canvas, *_) = page.all("#step canvas")
    box = canvas.rect
    across, up = int(box["width"] * (2.5 / 8 - 0.5)), int(box["height"] * (4.5 / 6 - 0.5))
    ActionChains(page.driver).move_to_element_with_offset(canvas, across, up).perform()
    tip = page.text("#tip")
    place, value = tip.split(" = ")
    assert place == "[4, 2]"
    assert float(value.replace("−", "-")) == pytest.approx(x[4, 2], rel=1e-5)
    label = canvas.get_attribute("aria-label")
    assert "min" in label
    assert "mean" in label


def test_the_place_of_a_value_counts_all_axes(shown):
    from selenium.webdriver import ActionChains

    x = RNG.normal(size=(2, 3, 8))
    page = shown(tg.explain(wide, x))
    (canvas, *_) = page.all("#step canvas")
    box = canvas.rect
    across, up = int(box["width"] * (6.5 / 8 - 0.5)), int(box["height"] * (5.5 / 6 - 0.5))
    ActionChains(page.driver).move_to_element_with_offset(canvas, across, up).perform()
    place, value = page.text("#tip").split(" = ")
    assert place == "[1, 2, 6]"
    assert float(value.replace("−", "-")) == pytest.approx(x[1, 2, 6], rel=1e-5)


def test_the_cells_have_the_colours_of_their_signs(shown):
    x = np.array([[2.0, -2.0, 0.0] * 8])
    page = shown(tg.explain(wide, x))
    script = """
        const canvas = document.querySelector("#step canvas");
        return [...canvas.getContext("2d").getImageData(0, 0, 3, 1).data];"""
    positive, negative, zero = np.reshape(page.driver.execute_script(script), (3, 4))
    assert positive[0] > positive[2] + 100
    assert negative[0] < negative[2] - 100
    assert np.ptp(zero[:3]) < 10


def test_truth_values_have_two_colours(shown):
    page = shown(tg.record(lambda x: np.sum(x * (x > 0)), np.array([[1.0, -1.0] * 4] * 4)).page())
    page.press(keys().ARROW_RIGHT)
    script = """
        const canvas = document.querySelector("#step canvas");
        return [...canvas.getContext("2d").getImageData(0, 0, 2, 1).data];"""
    true, false = np.reshape(page.driver.execute_script(script), (2, 4))
    assert true[0] > true[2] + 100
    assert np.ptp(false[:3]) < 10
    assert "16 of 32 True" in page.text("#step .stats")


def test_the_focus_stays_in_the_panel_of_the_step(shown):
    page = shown(tg.explain(wide, RNG.normal(size=(6, 8))))
    page.all("#step summary")[0].click()
    page.wait("#step details td[title]")
    page.driver.switch_to.active_element.send_keys(keys().ARROW_RIGHT)
    assert page.driver.switch_to.active_element.get_attribute("class") == "pane"
    page.press(keys().END)
    next_button = page.all("#next")[0]
    next_button.click()
    assert page.driver.switch_to.active_element == next_button


def test_a_page_that_one_comes_back_to_shows_the_step_of_its_slider(shown):
    page = shown(tg.explain(diamond, 0.5, -2.0))
    page.press(*[keys().ARROW_RIGHT] * 3)
    page.driver.get("about:blank")
    page.driver.back()
    page.wait("#rows li")
    shown_step = int(re.match(r"Step (\d+) of", page.text("#now")).group(1))
    assert page.all("#slider")[0].get_property("value") == str(shown_step - 1)


@pytest.mark.parametrize("width", [390, 1000, 1400])
def test_code_program_and_tape_have_room(width, shown):
    page = shown(tg.explain(layers, *WEIGHTS), width)
    boxes = [page.all(f"#{name} .pane")[0].rect for name in ("code", "program", "tape", "step")]
    assert all(box["height"] > 50 for box in boxes)
    for one in boxes:
        for other in boxes:
            apart = (
                one["x"] + one["width"] <= other["x"] + 1
                or one["y"] + one["height"] <= other["y"] + 1
                or other["x"] + other["width"] <= one["x"] + 1
                or other["y"] + other["height"] <= one["y"] + 1
            )
            assert one == other or apart


def test_a_large_array_can_be_read_as_numbers(shown):
    x = RNG.normal(size=(6, 8))
    page = shown(tg.explain(wide, x))
    assert not page.all("#step details td")
    page.all("#step summary")[0].click()
    page.wait("#step details td[title]")
    cells = [float(cell.text.replace("−", "-")) for cell in page.all("#step details td[title]")]
    np.testing.assert_allclose(cells, x.ravel(), rtol=1e-5)


def test_nothing_of_the_user_runs_or_becomes_markup(shown, tmp_path):
    page = shown(attacked(tmp_path))
    title = page.driver.title
    for _ in range(8):
        assert page.driver.title == title
        assert not page.all("img")
        assert len(page.all("script")) == 2
        page.press(keys().ARROW_RIGHT)
    assert "<img src=x onerror=" in page.text("#code .pane")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("backward", [False, True])
def test_axe_finds_no_violations(scheme, width, backward, shown):
    package = pytest.importorskip("selenium_axe_python")
    page = shown(tg.explain(layers, *WEIGHTS), width, scheme)
    if backward:
        page.press("b", *[keys().ARROW_RIGHT] * 3)
    else:
        page.press(*[keys().ARROW_RIGHT] * 5)
    axe = Path(package.__file__).parent / "axe-core" / "axe.min.js"
    page.driver.execute_script(axe.read_text("utf-8"))
    found = page.driver.execute_async_script("axe.run().then(arguments[0])")
    assert len(found["passes"]) > 20
    assert [(v["id"], v["nodes"][0]["html"]) for v in found["violations"]] == []


@pytest.mark.parametrize(("scheme", "lightness"), [("light", (200, 256)), ("dark", (0, 60))])
@pytest.mark.parametrize("width", [1400, 390])
def test_a_screenshot_is_light_or_dark_with_text_on_it(scheme, lightness, width, shown, tmp_path):
    image = pytest.importorskip("PIL.Image")
    page = shown(tg.explain(layers, *WEIGHTS), width, scheme)
    page.press("b", *[keys().ARROW_RIGHT] * 3)
    page.driver.save_screenshot(str(tmp_path / "page.png"))
    grey = np.asarray(image.open(tmp_path / "page.png").convert("L"))
    assert grey.shape == (900, width)
    low, high = lightness
    assert low <= np.median(grey) < high
    # Letters and lines: a good part of the rows has something of the other kind on it.
    other = (grey < 110) if scheme == "light" else (grey > 150)
    assert other.any(axis=1).mean() > 0.4


@pytest.mark.parametrize("width", [390, 800, 1400])
def test_the_page_is_no_wider_than_the_window(width, shown):
    page = shown(demo_step().page(), width)
    for _ in range(3):
        page.press(*[keys().ARROW_RIGHT] * 4)
        overflow = """
            const edges = [...document.querySelectorAll("h1, button, input, .pane, #now")];
            const right = edges.map((x) => x.getBoundingClientRect().right);
            return Math.max(document.documentElement.scrollWidth, ...right) - window.innerWidth;"""
        assert page.driver.execute_script(overflow) <= 0


def test_print_shows_the_whole_tape(shown):
    page = shown(demo_step().page())
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    visible = [row.text for row in page.all("#rows li")]
    assert all("grad" in row for row in visible if "W1 = input" in row)
    assert not page.all("#stepper")[0].is_displayed()
    hidden = (
        "const p = document.querySelector('#tape .pane'); return p.scrollHeight - p.clientHeight"
    )
    assert page.driver.execute_script(hidden) <= 0
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_tape_of_thousands_of_entries_is_shown(shown):
    def long(x):
        for _ in range(2500):
            x = np.sin(x) * 1.01
        return x

    tape = tg.record(long, 1.0)
    page = shown(tape.page())
    page.press(keys().END)
    assert page.text("#now").startswith("Step 10002 of 10002, back 5001 of 5001: %0")
    slope = tg.grad(long)(1.0)
    assert next(iter(page.arrays().values())) == pytest.approx([slope], rel=1e-5)
    page.press("b", keys().ARROW_RIGHT)
    assert page.text("#rows .current .what").startswith("%4999")
    # Only what is in sight is drawn of the arcs.
    assert 5 < len(page.all("#arcs path")) < 100
