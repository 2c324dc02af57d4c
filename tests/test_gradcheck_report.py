"""What a gradient check says: in print, in notebooks, as JSON, as a picture, as an exception."""

import functools
import html.parser
import inspect
import io
import itertools
import json
import math
import os
import pickle
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_edu as tg
from tinygrad_edu.gradcheck import GradientError, Verdict

nan, inf = math.nan, math.inf
WIDTH, HEIGHT = 100, 36
MARKED = "<b>&amp;\"'</b><script>"


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@tg.primitive
def decay(x):
    return np.exp(-x)


decay.derivative(lambda g, y, x: g * y, core_axes=0)


def cubes(tree):
    """The sum of the cubes of everything in a dict."""
    return sum(np.sum(x**3) for x in tree.values())


def twice_decayed(x):
    return np.sum(2 * decay(x))


def decayed_often(x):
    for _ in range(12):
        x = decay(x)
    return np.sum(x)


def sum_of_tanh(W):
    return np.sum(np.tanh(W))


def slope_of_tanh(W):
    return 1 - np.tanh(W) ** 2


def entry_of(x, *index):
    """1 at an index, and 0 elsewhere."""
    mask = np.zeros(x.shape)
    mask[index] = 1
    return mask


def long_names():
    name = "the_weights_of_the_first_layer_of_a_net_with_a_long_description_" * 2
    return tg.check_grad(cubes, {name: normal(3, 3, 3)}, gradient=lambda t: t)


def many_inputs(gradient):
    return tg.check_grad(
        cubes, {f"W{i}": normal(2, 2, seed=i) for i in range(40)}, gradient=gradient
    )


def not_repeatable(x):
    return np.sum(x) + next(COUNT)


COUNT = iter(range(10**9))
KINDS = {
    "ok": lambda: tg.check_grad(np.tanh, normal(3, 4)),
    "0-d ok": lambda: tg.check_grad(np.tanh, 0.5),
    "0-d wrong": lambda: tg.check_grad(np.tanh, 0.5, gradient=lambda x: 1 - np.tanh(x)),
    "one wrong": lambda: tg.check_grad(
        sum_of_tanh, normal(3, 4), gradient=lambda W: slope_of_tanh(W) + entry_of(W, 1, 2)
    ),
    "all wrong": lambda: tg.check_grad(np.sum, normal(3, 4), gradient=lambda x: 1 + x * x),
    "four dimensions": lambda: tg.check_grad(
        sum_of_tanh,
        normal(2, 3, 2, 5),
        gradient=lambda W: slope_of_tanh(W) + entry_of(W, 1, 2, 0, 4),
    ),
    "not finite": lambda: tg.check_grad(
        sum_of_tanh,
        normal(3, 4),
        gradient=lambda W: np.where(W > 1, nan, np.where(W < -0.7, inf, slope_of_tanh(W))),
    ),
    "kink": lambda: tg.check_grad(lambda x: np.sum(np.abs(x)), np.array([0.0, 1.0, -2.0])),
    "kink wrong": lambda: tg.check_grad(
        lambda x: np.sum(np.abs(x)), np.array([0.0, 1.0, -2.0]), gradient=lambda x: np.sign(x) + 3.0
    ),
    "jump": lambda: tg.check_grad(
        lambda x: np.sum(x + np.sign(x)), np.array([0.0, 1.0, -2.0]), gradient=np.ones_like
    ),
    "order 2": lambda: tg.check_grad(np.tanh, normal(3, 4), order=2),
    "blame": lambda: tg.check_grad(twice_decayed, normal(3, 4)),
    "blame, order 2": lambda: tg.check_grad(twice_decayed, normal(3), order=2),
    "much blame": lambda: tg.check_grad(decayed_often, normal(3, 4)),
    "shape": lambda: tg.check_grad(
        lambda W, b: np.sum(np.tanh(normal(5, 4) @ W + b)),
        normal(4, 2),
        np.zeros(2),
        gradient=lambda W, b: (
            normal(5, 4).T @ slope_of_tanh(normal(5, 4) @ W + b),
            slope_of_tanh(normal(5, 4) @ W + b),
        ),
    ),
    "no gradient": lambda: tg.check_grad(sum_of_tanh, normal(3, 4), gradient=lambda W: None),
    "not repeatable": lambda: tg.check_grad(not_repeatable, normal(3)),
    "integers": lambda: tg.check_grad(np.sum, np.arange(3)),
    "constant": lambda: tg.check_grad(lambda x: np.sum(0 * x), normal(3, 4)),
    "empty": lambda: tg.check_grad(np.sum, np.zeros((0, 3))),
    "one empty": lambda: tg.check_grad(
        lambda a, b: np.sum(a) + np.sum(b * b), np.zeros((0, 3)), normal(3)
    ),
    "float32": lambda: tg.check_grad(np.tanh, normal(3, 4).astype(np.float32)),
    "writes": lambda: tg.check_grad(
        lambda x: np.sum(np.multiply(x, 2.0, out=x)),
        normal(3),
        gradient=lambda x: np.full_like(x, 2),
    ),
    "big": lambda: tg.check_grad(sum_of_tanh, normal(200, 100)),
    "big, one wrong": lambda: tg.check_grad(
        sum_of_tanh, normal(200, 100), gradient=lambda W: slope_of_tanh(W) + entry_of(W, 7, 9)
    ),
    "big, not finite": lambda: tg.check_grad(
        sum_of_tanh,
        normal(200, 100),
        gradient=lambda W: slope_of_tanh(W) / (1 - entry_of(W, [3, 4], [5, 6])),
    ),
    "long names": long_names,
    "many inputs": lambda: many_inputs(lambda t: {k: 3 * x**2 for k, x in t.items()}),
    "many inputs wrong": lambda: many_inputs(lambda t: {k: x**2 for k, x in t.items()}),
    "many shapes wrong": lambda: many_inputs(lambda t: {k: x[0] for k, x in t.items()}),
    "markup": lambda: tg.check_grad(cubes, {MARKED: normal(3, 4)}, gradient=lambda t: t),
}


@functools.cache
def report_of(kind):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # What a user's gradient warns of where it is not finite is not the matter here.
        warnings.simplefilter("ignore")
        return KINDS[kind]()


@functools.cache
def picture_of(kind):
    return report_of(kind).plot()


every_kind = pytest.mark.parametrize("kind", KINDS)


def entry_rows(text):
    """The rows of the table of entries: (verdict, entry, given, measured, remark)."""
    row = (
        r"^  (WRONG|KINK|INCONCLUSIVE) +(\S.*?\S|\S)  +(\S+)"
        r"  +(-?[\d.e+-]+(?: \.\. \S+)?|-) *(.*)$"
    )
    return re.findall(row, text, re.MULTILINE)


def error(entry):
    return abs(entry.given - entry.measured) / max(abs(entry.given), abs(entry.measured))


def wrong_in(report):
    """The places of the wrong entries, looked up in the arrays of the report."""
    return {
        (i.label, at)
        for i in report.inputs
        for at in np.ndindex(i.shape)
        if i.verdicts[at] == Verdict.WRONG or (i.verdicts[at] == Verdict.KINK and not i.valid[at])
    }


# In print.


@pytest.mark.parametrize(
    ("kind", "headline"),
    [
        ("ok", "gradient of tanh: OK"),
        ("one wrong", "gradient of sum_of_tanh: WRONG, 1 of 12 entries"),
        ("kink wrong", "gradient of <lambda>: WRONG, 3 of 3 entries"),
        ("jump", "gradient of <lambda>: INCONCLUSIVE"),
        ("writes", "gradient of <lambda>: PROBLEM"),
        ("integers", "gradient of sum: NOT CHECKED"),
        ("big, one wrong", "gradient of sum_of_tanh: WRONG, 1 of 20,000 entries"),
    ],
)
def test_the_headline_says_what_was_found(kind, headline):
    report = report_of(kind)
    assert str(report).splitlines()[0] == headline
    assert repr(report) == f"<{headline}>"


@every_kind
def test_only_right_gradients_are_true(kind):
    report = report_of(kind)
    right = {"ok", "0-d ok", "kink", "order 2", "one empty", "float32", "big", "many inputs"}
    assert bool(report) is (kind in right)
    assert (report.verdict is Verdict.OK) is (kind in right)


@every_kind
def test_a_report_fits_on_a_screen(kind):
    lines = str(report_of(kind)).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert len(lines) <= HEIGHT
    assert all(line == line.rstrip() for line in lines)


@every_kind
def test_a_wrong_report_names_wrong_entries_or_what_is_wrong(kind):
    report = report_of(kind)
    text = str(report)
    if report.verdict is Verdict.WRONG:
        assert report.wrong or report.blame
        assert "WRONG" in text
    if report.verdict is Verdict.INCONCLUSIVE:
        assert report.problems or any(i.reasons for i in report.inputs)


@pytest.mark.parametrize("kind", [k for k in KINDS if "order 2" not in k])
def test_wrong_holds_every_wrong_entry_once_with_its_numbers(kind):
    report = report_of(kind)
    assert len(report.wrong) == len(wrong_in(report))
    assert {(w.name, w.index) for w in report.wrong} == wrong_in(report)
    for w in report.wrong[:20]:
        (i,) = (i for i in report.inputs if i.label == w.name)
        np.testing.assert_equal((w.given, w.measured), (i.given[w.index], i.measured[w.index]))


@pytest.mark.parametrize("kind", ["all wrong", "many inputs wrong", "blame", "long names"])
def test_the_worst_entries_come_first(kind):
    report = report_of(kind)
    errors = [error(w) for w in report.wrong]
    # Errors that differ by rounding alone may come in any order.
    assert all(a >= b * (1 - 1e-9) for a, b in itertools.pairwise(errors))
    rows = entry_rows(str(report))
    assert rows
    for (verdict, _, *numbers, _), w in zip(rows, report.wrong, strict=False):
        assert verdict == "WRONG"
        assert numbers == [f"{w.given:.9g}", f"{w.measured:.9g}"]


def test_entries_that_are_not_finite_come_before_all_others():
    x = np.array([1.0, 2.0, 3.0, 4.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = tg.check_grad(
            lambda x: np.sum(x * x), x, gradient=lambda x: 2 * x * [1.0, 9.0, nan, -inf]
        )
    assert {w.index for w in report.wrong[:2]} == {(2,), (3,)}
    assert [row[1] for row in entry_rows(str(report))][2:] == ["x[1]"]


def test_the_table_says_how_many_entries_it_leaves_out():
    report = report_of("all wrong")
    shown = len(entry_rows(str(report)))
    assert 0 < shown < 12
    assert f"... and {12 - shown} more" in str(report)


def test_of_long_names_the_middle_is_left_out():
    report = report_of("long names")
    rows = entry_rows(str(report))
    assert rows
    for (_, entry, *_), w in zip(rows, report.wrong, strict=False):
        assert re.fullmatch(r"tree\['the_.*\.\.\..*_description_'\]\[\d, \d, \d\]", entry)
        assert entry.endswith(str(list(w.index)))
    assert report.inputs[0].name not in str(report)
    assert report.wrong[0].name == report.inputs[0].name


def test_of_many_inputs_the_worst_are_shown():
    def gradient(tree):
        return {k: (3 - (k in ("W17", "W30"))) * x**2 for k, x in tree.items()}

    report = many_inputs(gradient)
    shown = re.findall(r"^  tree\['(W\d+)'\] +\(2, 2\) +(.*?)  ", str(report), re.MULTILINE)
    assert len(shown) == 10
    assert [name for name, counts in shown if counts == "4 WRONG"] == ["W17", "W30"]
    assert "... and 30 more, all OK" in str(report)
    for kind in ("many inputs wrong", "many shapes wrong"):
        assert "... and 30 more, 30 of them not OK" in str(report_of(kind))


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("many inputs wrong", "tree['W0'] and 39 others: every value is 0.333333 times the right"),
        ("many shapes wrong", "tree['W0'] and 39 others: the gradient has shape (2,), the input"),
    ],
)
def test_what_is_said_of_several_inputs_is_said_once(kind, sentence):
    report = report_of(kind)
    for text in (str(report), Page(report._repr_html_()).text):
        assert text.count(sentence) == 1
        assert "W39: " not in text


def test_a_rule_that_is_wrong_in_many_places_is_explained_once():
    report = report_of("much blame")
    assert len(report.blame) > 10
    places = ", ".join(f"%{blame.entry}" for blame in report.blame[1:9])
    for text in (str(report), Page(report._repr_html_()).text):
        assert text.count("the rule for its argument 0 is wrong") == 1
        assert f"also at {places}, ... and {len(report.blame) - 9} more" in text


def test_many_notes_are_cut_short():
    report = KINDS["0-d ok"]()
    report.notes += [f"note {k}" for k in range(40)]
    for text in (str(report), Page(report._repr_html_()).text):
        assert "note 7" in text
        assert "note 8" not in text
        assert "and 32 more" in text


def test_values_that_are_not_finite_are_said_to_be():
    remarks = {row[1]: row[-1] for row in entry_rows(str(report_of("big, not finite")))}
    assert remarks == {"W[3, 5]": "not finite", "W[4, 6]": "not finite"}
    assert re.search(r"2 WRONG +inf$", str(report_of("big, not finite")), re.MULTILINE)


def test_inconclusive_entries_are_shown_with_their_reasons():
    report = report_of("jump")
    (i,) = report.inputs
    text = " ".join(Page(report._repr_html_()).text.split())
    rows = entry_rows(str(report))
    assert len(rows) == 3
    for verdict, entry, _, _, remark in rows:
        at = tuple(map(int, re.findall(r"\d+", entry)))
        assert verdict == "INCONCLUSIVE"
        assert remark
        assert i.reasons[at].startswith(remark)
        assert i.reasons[at] in text


def test_kinks_are_shown_with_both_slopes():
    ((verdict, entry, given, measured, _),) = entry_rows(str(report_of("kink")))
    assert (verdict, entry, given, measured) == ("KINK", "x[0]", "0", "-1 .. 1")


def test_a_value_outside_of_a_kink_is_said_to_be():
    rows = entry_rows(str(report_of("kink wrong")))
    (row,) = (row for row in rows if row[1] == "x[0]")
    assert row[0] == "KINK"
    assert "not between the two slopes" in row[-1]


def test_a_wrong_value_at_a_kink_alone_is_not_explained_by_a_factor_of_1():
    x = np.array([0.0, 1.0, -2.0])
    report = tg.check_grad(
        lambda x: np.sum(np.abs(x)), x, gradient=lambda x: np.where(x == 0, 3.0, np.sign(x))
    )
    assert not report
    assert "1 times the right one" not in str(report)


def test_the_summary_counts_the_verdicts_of_each_input():
    text = str(report_of("shape"))
    assert re.search(r"^  W +\(4, 2\) +8 OK +\d\.\de-\d\d$", text, re.MULTILINE)
    assert re.search(r"^  b +\(2,\) +2 WRONG +-$", text, re.MULTILINE)


@every_kind
def test_everything_that_was_found_is_printed(kind):
    report = report_of(kind)
    # Long sentences may be broken into lines.
    text = " ".join(str(report).split())
    said = [*report.problems, *report.diagnosis, *report.notes]
    if kind not in ("many inputs wrong", "many shapes wrong"):
        said += [text for i in report.inputs for text in (i.mistake, i.diagnosis)]
    assert [s for s in said if " ".join(s.split()) not in text] == []
    assert len(report.notes) == len(set(report.notes))
    for blame in report.blame[:1]:
        assert blame.operation in text
        assert " ".join(blame.line.split()) in text


def test_blame_names_the_rule_and_the_line_that_called_it():
    (blame,) = report_of("blame").blame
    lines, start = inspect.getsourcelines(twice_decayed)
    assert (blame.operation, blame.argument) == ("decay", 0)
    assert blame.where == (__file__, start + 1)
    assert blame.line == lines[1].strip()
    assert f"test_gradcheck_report.py:{start + 1}" in str(report_of("blame"))


def test_blame_says_what_the_rule_gives_and_what_it_should_give():
    (blame,) = report_of("blame").blame
    index, given, right = re.search(
        r"by x\[(.*?)\] is (\S+) and should be ([^\s;]+)", blame.message
    ).groups()
    w = next(w for w in blame.report.wrong if str(list(w.index)) == f"[{index}]")
    assert (given, right) == (f"{w.given:.9g}", f"{w.measured:.9g}")
    assert float(given) == -float(right)


def test_a_rule_that_is_wrong_in_both_orders_is_named_once():
    assert len(report_of("blame, order 2").blame) == 1


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("shape", [(3, 4), (60, 50)])
def test_evaluations_are_the_calls_that_were_made(by_hand, shape):
    calls = []

    def f(x):
        calls.append(x)
        return np.sum(np.tanh(x))

    report = tg.check_grad(f, normal(*shape), gradient=slope_of_tanh if by_hand else None)
    assert report
    # Recording the tape is a call as well.
    assert report.evaluations == pytest.approx(len(calls), abs=3)
    assert f"{report.evaluations:,} evaluations" in str(report)


def test_the_time_is_the_time_it_took():
    start = time.perf_counter()
    report = tg.check_grad(np.tanh, normal(3, 4))
    took = time.perf_counter() - start
    assert 0.5 * took <= report.seconds <= took


@given(st.integers(0, 999))
def test_errors_above_the_resolution_are_seen(seed):
    x = normal(5, seed=seed)
    resolution = tg.check_grad(sum_of_tanh, x, gradient=slope_of_tanh).resolution
    assert 0 < resolution < 1e-6
    report = tg.check_grad(
        sum_of_tanh, x, gradient=lambda x: slope_of_tanh(x) * (1 + 4 * resolution), rng=0
    )
    # It is the median, so that half of the entries can tell.
    assert len(report.wrong) >= 3


@every_kind
def test_what_is_called_right_is_not_farther_off_than_would_have_been_seen(kind):
    report = report_of(kind)
    if report and math.isfinite(report.resolution):
        errors = np.concatenate([np.ravel(i.relative_error()) for i in report.inputs])
        assert np.nanmedian(errors) <= report.resolution
    shown = re.search(r"relative errors above (\S+) would .* median", str(report))
    # A resolution beyond the values themselves tells nothing.
    assert bool(shown) is (report.resolution <= 1)


def very_many(measured):
    """A report of 60,000 wrong entries."""
    report = tg.check_grad(sum_of_tanh, normal(2), gradient=np.ones_like)
    (i,) = report.inputs
    shape = (300, 200)
    i.shape, i.mistake = shape, ""
    for field in ("given", "error", "left", "right"):
        setattr(i, field, normal(*shape))
    i.measured = np.full(shape, measured)
    i.verdicts = np.full(shape, Verdict.WRONG, dtype=object)
    i.valid = np.zeros(shape, bool)
    return report


@pytest.mark.parametrize("measured", [0.5, nan])
def test_a_report_of_very_many_wrong_entries_is_made_at_once(measured):
    report = very_many(measured)
    start = time.perf_counter()
    assert len(report.wrong) == 60_000
    assert "... and 59,992 more" in str(report)
    assert report._repr_html_()
    if math.isnan(measured):
        with pytest.raises(ValueError, match="nothing was measured"):
            report.plot()
    assert time.perf_counter() - start < 20  # in quadratic time it would take minutes


def test_a_big_gradient_that_is_wrong_everywhere_is_wrong():
    report = tg.check_grad(sum_of_tanh, normal(300, 200), gradient=lambda W: 1 - np.tanh(W))
    assert report.verdict is Verdict.WRONG
    assert report.wrong
    assert all(np.isfinite(w.measured) for w in report.wrong)


def test_gradients_that_are_not_finite_are_reported_and_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = tg.check_grad(np.sum, normal(4), gradient=lambda x: np.array([1, nan, inf, -inf]))
    assert [w.index for w in report.wrong] == [(1,), (2,), (3,)]


def test_a_function_that_is_not_finite_is_reported_and_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = tg.check_grad(lambda x: np.sum(np.log(x)), -np.ones(3))
    assert "returned NaN" in str(report)


def test_a_wrong_gradient_of_a_linear_function_is_not_called_stale():
    report = tg.check_grad(lambda x: np.sum(3 * x), normal(4), gradient=np.ones_like)
    assert len(report.wrong) == 4
    assert "stale" not in str(report)
    assert "0.333333 times the right one" in str(report)


# In notebooks.


class Page(html.parser.HTMLParser):
    """The text and the tags of a piece of HTML, which must be closed in order."""

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.texts = [], set(), []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@every_kind
def test_html_is_well_formed(kind):
    page = Page(report_of(kind)._repr_html_())
    assert page.tags <= {
        *("p", "b", "small", "br", "pre", "code", "div", "span"),
        *("table", "thead", "tbody", "tr", "th", "td"),
    }


@every_kind
def test_html_says_what_print_says(kind):
    report = report_of(kind)
    text = Page(report._repr_html_()).text
    assert str(report).splitlines()[0] in text
    for row in entry_rows(str(report)):
        assert all(" ".join(cell.split()) in text for cell in row)
    for said in [*report.problems, *report.notes, *report.diagnosis]:
        assert " ".join(said.split()) in text
    for blame in report.blame[:1]:
        assert " ".join(str(blame).split()) in text


def test_names_with_markup_are_shown_as_they_are():
    report = report_of("markup")
    page = Page(report._repr_html_())
    assert "script" not in page.tags
    assert report.inputs[0].name in page.texts
    assert repr(MARKED) in report.inputs[0].name


@pytest.mark.parametrize("field", ["problems", "notes", "diagnosis"])
def test_sentences_with_markup_are_shown_as_they_are(field):
    report = KINDS["0-d ok"]()
    getattr(report, field).append(f"a {MARKED} b")
    page = Page(report._repr_html_())
    assert "script" not in page.tags
    assert f"a {MARKED} b" in page.text


# As JSON.


@every_kind
def test_a_report_goes_through_json_unchanged(kind):
    found = report_of(kind).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@every_kind
def test_json_has_the_facts_of_the_report(kind):
    report = report_of(kind)
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (found["name"], found["verdict"]) == (report.name, str(report.verdict))
    assert found["ok"] is bool(report)
    for field in ("problems", "notes", "diagnosis", "method", "evaluations", "rules_checked"):
        assert found[field] == getattr(report, field)
    for part, i in zip(found["inputs"], report.inputs, strict=True):
        assert (part["name"], part["order"], part["dtype"]) == (i.name, i.order, i.dtype)
        assert tuple(part["shape"]) == i.shape
        assert (part["mistake"], part["diagnosis"]) == (i.mistake, i.diagnosis)
        for field in ("given", "measured", "error", "left", "right"):
            there = np.array(part[field], float).reshape(i.shape)
            here = getattr(i, field)
            np.testing.assert_array_equal(there, np.where(np.isfinite(here), here, nan))
        assert part["verdicts"] == i.verdicts.astype(str).tolist()
        assert part["valid"] == i.valid.tolist()
        assert list(part["reasons"].values()) == list(i.reasons.values())
    for part, blame in zip(found["blame"], report.blame, strict=True):
        assert (part["file"], part["line_number"]) == blame.where
        assert part["operation"] == blame.operation
        assert part["message"] == blame.message


# As a picture.


def clouds(ax):
    """The points of each verdict, sorted: {verdict: array of (measured, given)}."""
    return {
        cloud.get_label().split(" ")[0]: in_order(cloud.get_offsets()) for cloud in ax.collections
    }


def in_order(points):
    """The points that can be drawn, those farther left first."""
    points = np.ma.filled(np.ma.asarray(points, float), nan)
    points = points[np.isfinite(points).all(axis=1)]
    return points[np.lexsort((points[:, 1], points[:, 0]))]


DRAWN = [
    "ok",
    "0-d ok",
    "0-d wrong",
    "one wrong",
    "four dimensions",
    "not finite",
    "kink",
    "kink wrong",
    "jump",
    "order 2",
    "shape",
    "constant",
    "one empty",
    "big, one wrong",
    "big, not finite",
    "many inputs wrong",
    "markup",
]


@pytest.mark.parametrize("kind", DRAWN)
def test_points_are_measured_and_given_values_by_verdict(kind):
    report = report_of(kind)
    found = clouds(picture_of(kind).axes[0])
    for verdict in Verdict:
        pairs = [
            np.c_[i.measured[i.verdicts == verdict], i.given[i.verdicts == verdict]]
            for i in report.inputs
        ]
        expected = in_order(np.concatenate(pairs))
        np.testing.assert_array_equal(found.get(str(verdict), np.empty((0, 2))), expected)


@pytest.mark.parametrize("kind", DRAWN)
def test_all_points_lie_inside_of_the_axes(kind):
    ax = picture_of(kind).axes[0]
    for points in clouds(ax).values():
        ax.get_xlim()  # the limits are found when they are asked for
        pixels = ax.transData.transform(points)
        (left, bottom), (right, top) = ax.bbox.get_points()
        # A marker that touches the frame is as good as gone.
        inside = (pixels > [left + 5, bottom + 5]) & (pixels < [right - 5, top - 5])
        assert inside.all()


@pytest.mark.parametrize("kind", DRAWN)
def test_the_map_has_the_shape_of_the_input_and_rings_at_wrong_entries(kind):
    report = report_of(kind)
    for i in report.inputs[:3]:
        if not np.isfinite(i.measured).any():
            continue
        ax = report.plot(i.label).axes[1]
        (image,) = ax.images
        columns = i.shape[-1] if i.shape else 1
        assert image.get_array().shape == (i.verdicts.size // columns, columns)
        # The cells of which there are only some are marked first.
        *marks, rings = ax.collections
        assert bool(marks) is not np.isfinite(i.measured).all()
        wrong = i.is_wrong().reshape(-1, columns)
        assert {(y, x) for x, y in rings.get_offsets()} == set(
            map(tuple, np.argwhere(wrong).tolist())
        )
        assert i.label in ax.get_title()


@pytest.mark.parametrize("kind", ["one wrong", "four dimensions", "order 2"])
def test_the_map_shows_the_relative_errors(kind):
    report = report_of(kind)
    i = report.inputs[0]
    ax = report.plot(i.label).axes[1]
    (image,) = ax.images
    size = np.maximum(abs(i.given), abs(i.measured))
    errors = (abs(i.given - i.measured) / size).reshape(image.get_array().shape)
    np.testing.assert_allclose(image.get_array(), errors, atol=1e-16)
    assert image.norm.vmin <= image.get_array().min()
    assert image.get_array().max() <= image.norm.vmax


def test_unmeasured_entries_have_no_colour():
    report = report_of("big, one wrong")
    (image,) = picture_of("big, one wrong").axes[1].images
    measured = np.isfinite(report.inputs[0].measured)
    assert 0 < measured.sum() < measured.size
    np.testing.assert_array_equal(np.ma.getmaskarray(image.get_array()), ~measured)


def two_inputs():
    return tg.check_grad(
        lambda a, b: np.sum(np.tanh(a)) + np.sum(np.tanh(b)),
        normal(2, 3),
        normal(4, 5),
        gradient=lambda a, b: (slope_of_tanh(a), slope_of_tanh(b) + entry_of(b, 2, 3)),
    )


def test_the_map_is_of_the_worst_input_or_of_the_one_that_is_named():
    report = two_inputs()
    for name, shape in ((None, (4, 5)), ("a", (2, 3)), ("b", (4, 5))):
        (image,) = report.plot(name).axes[1].images
        assert image.get_array().shape == shape


def test_each_order_has_its_own_map():
    report = report_of("order 2")
    titles = [report.plot(name).axes[1].get_title() for name in ("x", "x, order 2")]
    assert "order 2" not in titles[0]
    assert "order 2" in titles[1]


def test_an_unknown_name_is_an_error_that_names_the_known_ones():
    with pytest.raises(ValueError, match=r"no input named 'c'.*there are a, b"):
        two_inputs().plot("c")


@pytest.mark.parametrize("kind", ["integers", "not repeatable", "empty"])
def test_without_measurements_there_is_nothing_to_draw(kind):
    report = report_of(kind)
    with pytest.raises(ValueError, match="nothing was measured"):
        report.plot()
    assert plt.get_fignums() == []


def test_the_picture_has_the_headline_and_a_legend():
    report, figure = report_of("one wrong"), picture_of("one wrong")
    assert figure.get_suptitle() == str(report).splitlines()[0]
    (legend,) = (ax.get_legend() for ax in figure.axes[:1])
    assert [text.get_text() for text in legend.get_texts()] == ["OK (11)", "WRONG (1)"]


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("not finite", ["OK (9)", "WRONG (3 not finite)"]),
        ("kink", ["OK (2)", "KINK (1)"]),
    ],
)
def test_the_legend_counts_what_is_drawn_and_what_cannot_be(kind, labels):
    legend = picture_of(kind).axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == labels


def test_the_title_says_how_much_was_measured_and_which_input_it_is():
    report, picture = report_of("big, one wrong"), picture_of("big, one wrong")
    number = np.isfinite(report.inputs[0].measured).sum()
    assert f"shape (200, 100), {number} of 20,000 measured" in picture.axes[1].get_title()
    legend = picture.axes[0].get_legend()
    assert legend.get_texts()[0].get_text() == f"OK ({number - 1})"
    many = report_of("many inputs wrong")
    assert "the worst of 40" in picture_of("many inputs wrong").axes[1].get_title()
    assert "worst" not in many.plot("tree['W3']").axes[1].get_title()


def scales(x):
    return tg.check_grad(lambda x: np.sum(x**3), x, gradient=lambda x: 3 * x**2 * np.sign(x))


WIDE = np.logspace(-3, 3, 40)


@pytest.mark.parametrize(
    "report",
    [
        lambda: report_of("long names"),
        lambda: report_of("big, one wrong"),
        lambda: tg.check_grad(lambda x: 1e-5 * sum_of_tanh(x), normal(9) / 7),
        lambda: scales(WIDE),
        lambda: scales(np.r_[WIDE, -WIDE]),
    ],
    ids=["names", "big", "digits", "positive", "both signs"],
)
def test_texts_in_the_picture_do_not_overlap(report):
    figure = report().plot()
    figure.draw_without_rendering()
    left, right, *_ = figure.axes
    for axis in (left.xaxis, left.yaxis, right.xaxis):
        low, high = sorted(axis.get_view_interval())
        ticks = [t for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
        boxes = [t.label1.get_window_extent() for t in ticks]
        assert len(boxes) > 1
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert not left.title.get_window_extent().overlaps(right.title.get_window_extent())


def test_all_of_the_axis_is_used_where_all_values_are_positive():
    left = tg.check_grad(lambda x: np.sum(x**3), WIDE).plot().axes[0]
    left.get_xlim()
    ends = left.transAxes.inverted().transform(left.transData.transform([[3e-6] * 2, [3e6] * 2]))
    assert (ends[0] < 0.1).all()
    assert (ends[1] > 0.9).all()


@pytest.mark.parametrize("kind", ["markup", "long names", "big, not finite", "one empty"])
def test_a_picture_can_be_saved(kind):
    file = io.BytesIO()
    picture_of(kind).savefig(file)
    assert file.tell() > 5000


@pytest.mark.parametrize("name", ["$x", "a_$b^c$", r"\frac{"])
def test_names_are_no_formulas(name):
    report = tg.check_grad(cubes, {name: normal(2)})
    report.plot().savefig(io.BytesIO())


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ModuleNotFoundError, match=r"extra `plot`.*pip install matplotlib"):
        report_of("ok").plot()


# As an exception.


@pytest.mark.parametrize("kind", ["one wrong", "jump", "integers", "not finite", "blame"])
def test_the_error_holds_the_report_and_its_table(kind):
    error = GradientError(report_of(kind))
    assert isinstance(error, AssertionError)
    assert error.report is report_of(kind)
    assert str(report_of(kind)) in str(error)


@pytest.mark.parametrize("kind", ["one wrong", "blame", "not finite", "kink wrong"])
def test_the_error_can_be_pickled(kind):
    error = GradientError(report_of(kind))
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is GradientError
    assert str(copy) == str(error)
    assert copy.report.to_dict() == error.report.to_dict()


def test_assert_grad_raises_unless_the_gradient_is_right():
    assert tg.assert_grad(np.tanh, 0.5)
    for gradient in (lambda x: x, lambda x: np.full_like(x, nan), lambda x: None):
        with pytest.raises(GradientError), np.errstate(all="ignore"):
            tg.assert_grad(np.tanh, np.array([0.5]), gradient=gradient, progress=False)
    with pytest.raises(GradientError, match="no inputs"):
        tg.assert_grad(np.tanh, 1)


def test_pytest_shows_the_line_of_the_caller(tmp_path):
    file = tmp_path / "test_mine.py"
    file.write_text(
        "import numpy as np\nimport tinygrad_edu as tg\n\n\ndef test_mine():\n"
        "    x = np.array([0.5, 2.0])\n"
        "    tg.assert_grad(np.tanh, x, gradient=np.cosh)  # my line\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_mine.py"]
    environment = {**os.environ, "PYTHONPATH": str(Path(tg.__file__).parents[1])}
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert ">       tg.assert_grad(np.tanh, x, gradient=np.cosh)  # my line" in result.stdout
    assert re.search(r"^test_mine\.py:7: GradientError$", result.stdout, re.MULTILINE)
    assert "check.py" not in result.stdout
    assert re.search(r"WRONG +x\[1\] ", result.stdout)


# The progress bar.


def slow(seconds):
    def f(x):
        time.sleep(seconds)
        return np.sum(np.tanh(x))

    return f


def test_a_long_check_shows_a_bar_that_goes_away(capsys):
    tg.check_grad(slow(0.008), normal(12), gradient=slope_of_tanh)
    printed = capsys.readouterr()
    assert re.search(r"\d+%.*/\d+", printed.err)
    assert printed.err.split("\r")[-1].strip() == ""
    assert printed.out == ""


def test_a_long_check_of_one_big_input_shows_a_bar_before_the_end(monkeypatch):
    stderr = io.StringIO()
    seen = []

    def f(x):
        time.sleep(0.005)
        seen.append(bool(stderr.getvalue()))
        return np.sum(np.tanh(x))

    monkeypatch.setattr(sys, "stderr", stderr)
    tg.check_grad(f, normal(60, 50), gradient=slope_of_tanh)
    assert seen.index(True) < 0.9 * len(seen)


@pytest.mark.parametrize(
    ("seconds", "progress"), [(0.0, True), (0.008, False)], ids=["short", "progress=False"]
)
def test_no_bar_is_shown_by_a_short_check_or_with_progress_false(seconds, progress, capsys):
    tg.check_grad(slow(seconds), normal(12), gradient=slope_of_tanh, progress=progress)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("f", "gradient", "heading", "told"),
    [
        (
            sum_of_tanh,
            lambda W: slope_of_tanh(W).sum(axis=0),
            "!",
            "W: the gradient has shape (4,)",
        ),
        (
            sum_of_tanh,
            lambda W: 2 * slope_of_tanh(W),
            "Likely mistake",
            "W: every value is 2 times",
        ),
        (twice_decayed, None, "Wrong rules", "the rule for its argument 0 is wrong"),
        (sum_of_tanh, slope_of_tanh, None, None),
    ],
)
def test_findings_are_what_the_report_says_is_wrong(f, gradient, heading, told):
    report = tg.check_grad(f, normal(3, 4), gradient=gradient)
    if told is None:
        assert report.findings == []
        return
    (finding,) = report.findings
    assert told in finding
    words = " ".join(str(report).split())
    assert f"{heading} {' '.join(finding.split())}" in words
