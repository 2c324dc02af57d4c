"""Splits: every row in one part, sizes as asked for, classes in their shares."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_edu import data


@st.composite
def problems(draw):
    """A number of rows and fractions that leave no part empty, and a class for each row."""
    weights = draw(st.lists(st.integers(1, 50), min_size=1, max_size=5))
    fractions = [weight / sum(weights) for weight in weights]
    n = draw(st.integers(2 * sum(weights) // min(weights) + 1, 500))
    return n, fractions, draw(st.lists(st.integers(0, 6), min_size=n, max_size=n))


@given(problems(), st.integers(0, 2**32 - 1))
def test_every_row_is_in_one_part_and_the_sizes_are_exact(problem, seed):
    n, fractions, _ = problem
    X, y = np.random.default_rng(0).normal(size=(n, 2)), np.arange(n)
    parts = data.split(X, y, fractions=fractions, rng=seed)
    assert sorted(np.concatenate([rows for _, rows in parts])) == list(range(n))
    for (X_part, rows), fraction in zip(parts, fractions, strict=True):
        assert abs(len(rows) - n * fraction) < 1
        np.testing.assert_array_equal(X_part, X[rows])


@given(problems(), st.integers(0, 2**32 - 1))
def test_classes_have_their_share_of_each_part(problem, seed):
    n, fractions, classes = problem
    rows = np.arange(n)
    parts = data.split(rows, fractions=fractions, stratify=classes, rng=seed)
    sizes = [len(part) for (part,) in data.split(rows, fractions=fractions, rng=0)]
    assert [len(part) for (part,) in parts] == sizes
    assert sorted(np.concatenate([part for (part,) in parts])) == list(range(n))
    for label in set(classes):
        of_class = np.array(classes) == label
        for (part,), size in zip(parts, sizes, strict=True):
            assert abs(of_class[part].sum() - of_class.sum() * size / n) <= 1


def test_shares_that_are_whole_are_exact():
    for percent in range(1, 100):
        fractions = (percent / 100, 1 - percent / 100)
        (a,), (b,) = data.split(np.arange(100), fractions=fractions, rng=0)
        assert (len(a), len(b)) == (percent, 100 - percent)


def test_the_order_is_random_and_that_of_the_generator():
    def drawn(rng, **keywords):
        return [tuple(part) for (part,) in data.split(np.arange(60), rng=rng, **keywords)]

    classes = np.repeat([0, 1, 2], 20)
    for keywords in ({}, {"stratify": classes}):
        assert drawn(3, **keywords) == drawn(np.random.default_rng(3), **keywords)
        assert drawn(3, **keywords) != drawn(4, **keywords)
        training = drawn(3, **keywords)[0]
        assert list(training) != sorted(training)
        # No class stands together, and no row is always in the same part.
        assert len(set(classes[list(training[:10])])) > 1
        assert {0, 59} <= {row for seed in range(20) for row in drawn(seed, **keywords)[2]}


def test_classes_may_be_texts():
    y = np.array(["a"] * 6 + ["b"] * 4)
    parts = data.split(y, fractions=(0.5, 0.5), stratify=y.tolist(), rng=0)
    assert [sorted(part) for (part,) in parts] == [["a"] * 3 + ["b"] * 2] * 2


nan, inf = float("nan"), float("inf")


@pytest.mark.parametrize(
    "fractions",
    [(), (0.5,), (0.5, 0.6), (0.0, 1.0), (-0.5, 1.5), (nan, 1.0), (inf, 1.0), (0.7, 0.2)],
    ids=str,
)
def test_silly_fractions_are_refused(fractions):
    with pytest.raises(ValueError, match="fractions must be numbers above 0 that are 1 together"):
        data.split(np.arange(100), fractions=fractions)


@pytest.mark.parametrize(
    ("arrays", "keywords", "message"),
    [
        ((), {}, "one entry for each row"),
        ((3,), {}, "one entry for each row"),
        ((np.arange(5), np.arange(4)), {}, r"different lengths: \[5, 4\]"),
        ((np.arange(2),), {}, r"2 rows are too few .* \[2, 0, 0\]"),
        ((np.arange(0),), {}, "0 rows are too few"),
        ((np.arange(9),), {"stratify": [0, 1]}, r"a class for each of 9 rows, got shape \(2,\)"),
    ],
)
def test_what_cannot_be_split_is_refused(arrays, keywords, message):
    with pytest.raises(ValueError, match=message):
        data.split(*arrays, **keywords)
