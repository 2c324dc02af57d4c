"""Cases of sorting and of choosing."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
from cases import case, one, one_apart, shape_of_axes, some_axis, two

from tinygrad_edu import testing as tgt


@st.composite
def sorted_along(draw, kth=False):
    """An array of different values, and an axis, or none."""
    x = draw(tgt.separated(shape_of_axes))
    axis = draw(st.none() | some_axis(x.shape))
    if not kth:
        return (x,), {"axis": axis}
    n = x.size if axis is None else x.shape[axis]
    place = st.integers(-n, n - 1)
    return (x,), {"axis": axis, "kth": draw(place | st.lists(place, min_size=1, max_size=2))}


@st.composite
def taken(draw):
    """An array, and numbers of its values or rows, some of them beyond its ends."""
    x = draw(tgt.arrays(shape_of_axes))
    axis = draw(st.none() | some_axis(x.shape))
    mode = draw(st.sampled_from(["raise", "wrap", "clip"]))
    n = x.size if axis is None else x.shape[axis]
    number = st.integers(-n, n - 1) if mode == "raise" else st.integers(-3 * n, 3 * n)
    indices = draw(number | hnp.arrays(int, tgt.shapes(1, 2), elements=number))
    return (x,), {"indices": indices, "axis": axis, "mode": mode}


@st.composite
def taken_along(draw):
    """An array and numbers of values along an axis, which may broadcast on the other axes."""
    x = draw(tgt.arrays(shape_of_axes))
    axis = draw(st.none() | some_axis(x.shape))
    if axis is None:
        places = st.integers(0, x.size - 1)
        return (x,), {"indices": draw(hnp.arrays(int, (4,), elements=places)), "axis": None}
    shape = [draw(st.sampled_from(sorted({1, n}))) for n in x.shape]
    shape[axis] = draw(st.integers(0, 4))
    places = st.integers(-x.shape[axis], x.shape[axis] - 1)
    return (x,), {"indices": draw(hnp.arrays(int, tuple(shape), elements=places)), "axis": axis}


@st.composite
def compressed(draw):
    """An array, and which of its values or rows are wanted; those beyond the list are not."""
    x = draw(tgt.arrays(shape_of_axes))
    axis = draw(st.none() | some_axis(x.shape))
    n = x.size if axis is None else x.shape[axis]
    return (x,), {"condition": draw(st.lists(st.booleans(), max_size=n)), "axis": axis}


@st.composite
def masked(draw):
    """An array and a mask of its shape."""
    x = draw(tgt.arrays(shape_of_axes))
    return (x,), {"mask": draw(hnp.arrays(bool, x.shape))}


@st.composite
def chosen(draw):
    """Arrays that broadcast, and the numbers of those to choose from."""
    (a, b), _ = draw(two())
    mode = draw(st.sampled_from(["raise", "wrap", "clip"]))
    number = st.integers(0, 2) if mode == "raise" else st.integers(-5, 5)
    numbers = draw(hnp.arrays(int, np.broadcast_shapes(a.shape, b.shape), elements=number))
    return (a, b), {"numbers": numbers, "mode": mode}


def partitioned(x, kth, axis):
    """Sorted afterwards, because the order within the parts is another for each dtype."""
    return np.sort(np.partition(x, kth, axis), axis)


def numbered(*arrays):
    """The numbers of the places of the arrays together."""
    shape = np.broadcast_shapes(*map(np.shape, arrays))
    return np.arange(int(np.prod(shape))).reshape(shape)


def selected(a, b):
    """Conditions of which two may hold and one never does, and choices that broadcast."""
    i = numbered(a, b)
    return np.select([i % 3 == 0, i % 2 == 0, i < 0], [a, b * b, 1.0], default=a + b)


def by_pieces(x):
    """Conditions of which two may hold, a number, and a function for the rest."""
    i = numbered(x)
    pieces = [np.exp, 0.5, lambda x: x * x[:1], lambda x: -x]
    return np.piecewise(x, [i % 2 == 0, i == 3, i % 3 == 1], pieces)


def kept(x, trim):
    """Values without the zeros at their ends, and one in between."""
    padded = np.concatenate(
        [np.zeros(2, x.dtype), x, np.zeros(1, x.dtype), x, np.zeros(3, x.dtype)]
    )
    return np.trim_zeros(padded, trim)


@st.composite
def put_at(draw):
    """Values for some of the places of an array, which may come twice and lie beyond its ends."""
    x = draw(tgt.arrays(shape_of_axes))
    mode = draw(st.sampled_from(["raise", "wrap", "clip"]))
    end = x.size if mode == "raise" else 3 * x.size
    places = st.lists(st.integers(-end, end - 1), min_size=1, max_size=4)
    values = draw(tgt.arrays(draw(st.sampled_from([(), (2,), (2, 3)]))))
    return (x, values), {"ind": draw(places), "mode": mode}


@st.composite
def put_along(draw):
    """Values for some of the places along an axis."""
    (x,), parameters = draw(taken_along())
    shape = np.take_along_axis(x, **parameters).shape
    values = draw(tgt.arrays(draw(st.sampled_from([(), shape]))))
    return (x, values), parameters


@st.composite
def put_where(draw):
    """Values for the masked places of an array, which may be too few or too many."""
    (x,), parameters = draw(masked())
    return (x, draw(tgt.arrays(tgt.shapes(0, 2)))), parameters


@st.composite
def on_the_diagonal(draw):
    """An array, values for its diagonal, and whether that goes on below."""
    square = st.integers(1, 3).map(lambda n: (n, n, n))
    shape = draw(square | tgt.shapes(2, 2, 4))
    wrap = draw(st.booleans())
    return (draw(tgt.arrays(shape)), draw(tgt.arrays(tgt.shapes(0, 1)))), {"wrap": wrap}


def written(function):
    """What a function makes of a copy of its first argument."""

    def write(x, *args, **parameters):
        y = np.copy(x)
        assert function(y, *args, **parameters) is None
        # So that each value has a gradient, also if it was not written.
        return y * y + sum(np.sum(arg * arg) for arg in args)

    return write


CASES = [
    case(np.sort, sorted_along()),
    case(np.partition, sorted_along(kth=True), partitioned),
    case(np.take, taken()),
    case(np.take_along_axis, taken_along()),
    case(np.compress, compressed(), lambda x, condition, axis: np.compress(condition, x, axis)),
    case(np.extract, masked(), lambda x, mask: np.extract(mask, x)),
    case(
        np.choose,
        chosen(),
        lambda a, b, numbers, mode: np.choose(numbers, [a, b, a * b], mode=mode),
    ),
    case(np.select, two(), selected),
    case(np.piecewise, one(), by_pieces),
    case(
        np.unique,
        one_apart(shape_of_axes, axis=lambda s: st.sampled_from([None, 0, -1])),
        lambda x, axis: np.unique(np.concatenate([x, x]), axis=axis),
    ),
    case(
        np.trim_zeros,
        one_apart(tgt.shapes(1, 1), trim=lambda _: st.sampled_from(["fb", "f", "b"])),
        kept,
    ),
    case(np.copyto, put_where(), written(lambda x, v, mask: np.copyto(x, np.sum(v), where=mask))),
    case(np.putmask, put_where(), written(lambda x, v, mask: np.putmask(x, mask, v))),
    case(np.place, put_where(), written(lambda x, v, mask: np.place(x, mask, v))),
    case(np.put, put_at(), written(lambda x, v, ind, mode: np.put(x, ind, v, mode))),
    case(
        np.put_along_axis,
        put_along(),
        written(lambda x, v, indices, axis: np.put_along_axis(x, indices, v, axis)),
    ),
    case(np.fill_diagonal, on_the_diagonal(), written(np.fill_diagonal)),
]
