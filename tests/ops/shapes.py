"""Cases of the functions that move values."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
from cases import (
    case,
    keep,
    new_axis,
    one,
    reordered,
    reshaped,
    several,
    shape_of_axes,
    some_axes,
    some_axis,
    stretched,
    two,
)

from tinygrad_edu import testing as tgt
from tinygrad_edu.calculus import shapes

shape_of_matrices = tgt.shapes(min_dims=2)
vectors = tgt.shapes(min_dims=1, max_dims=1, max_side=4)
sliding = np.lib.stride_tricks.sliding_window_view
order = st.sampled_from("CF")
offset = st.integers(-2, 2)


def always(values):
    """A parameter that does not depend on the shape."""
    return lambda _: values


def together(parts):
    """Several results in one vector."""
    return np.concatenate([np.ravel(part) for part in parts])


def two_axes(shape):
    return st.permutations(range(-len(shape), len(shape))).map(lambda axes: axes[:2])


@st.composite
def one_of_axes(draw, of=shape_of_matrices, **parameters):
    """An array, and the names of two different axes."""
    shape = draw(of)
    axis1, axis2 = draw(st.permutations(range(len(shape))))[:2]
    if draw(st.booleans()):
        axis1 -= len(shape)
    given = {name: draw(values) for name, values in parameters.items()}
    return (draw(tgt.arrays(shape)),), {"axis1": axis1, "axis2": axis2, **given}


@st.composite
def moved(draw, times=2):
    """An array, and some of its axes `times` times over, each time in another order."""
    shape = draw(shape_of_axes)
    n = draw(st.integers(1, len(shape)))
    axes = [tuple(draw(st.permutations(range(-len(shape), 0)))[:n]) for _ in range(times)]
    if n == 1 and draw(st.booleans()):
        axes = [axis[0] for axis in axes]
    return (draw(tgt.arrays(shape)),), {"axes": axes}


@st.composite
def rolled(draw):
    """An array and shifts along none, one or several of its axes."""
    shape = draw(shape_of_axes)
    axis = draw(some_axes(shape))
    shift = draw(st.integers(-5, 5))
    if isinstance(axis, tuple) and draw(st.booleans()):
        shift = tuple(draw(st.integers(-5, 5)) for _ in axis)
    return (draw(tgt.arrays(shape)),), {"shift": shift, "axis": axis}


@st.composite
def repeated(draw):
    """An array and how often each of its values, or rows, is repeated."""
    x = draw(tgt.arrays(shape_of_axes))
    axis = draw(st.none() | some_axis(x.shape))
    n = x.size if axis is None else x.shape[axis]
    number = st.integers(0, 3)
    return (x,), {"repeats": draw(number | st.lists(number, min_size=n, max_size=n)), "axis": axis}


@st.composite
def deleted(draw):
    """An array and what to delete of it: numbers, slices, masks."""
    x = draw(tgt.arrays(shape_of_axes))
    axis = draw(st.none() | some_axis(x.shape))
    n = x.size if axis is None else x.shape[axis]
    number = st.integers(-n, n - 1)
    obj = number | st.lists(number, max_size=3) | hnp.arrays(bool, n) | st.slices(n)
    return (x,), {"obj": draw(obj), "axis": axis}


@st.composite
def inserted(draw):
    """An array, values to insert into it, and where."""
    x = draw(tgt.arrays(shape_of_axes))
    axis = draw(st.none() | some_axis(x.shape))
    n = x.size if axis is None else x.shape[axis]
    row = () if axis is None else x.shape[:axis] + x.shape[axis:][1:]
    number = st.integers(-n, n)
    if draw(st.booleans()):
        obj = draw(number)
        values = draw(st.sampled_from([(), row]))
    else:
        obj = draw(st.lists(number, min_size=2, max_size=3))
        many = list(x.shape) if axis is not None else [0]
        many[axis or 0] = len(obj)
        values = draw(st.sampled_from([(), tuple(many)]))
    return (x, draw(tgt.arrays(values))), {"obj": obj, "axis": axis}


@st.composite
def with_margins(draw, modes):
    """An array and what to pad it with on its sides."""
    x = draw(tgt.arrays(tgt.shapes(min_dims=1, max_dims=2)))
    n = st.integers(0, 4)
    every = st.lists(st.tuples(n, n), min_size=x.ndim, max_size=x.ndim)
    parameters = {"pad_width": draw(n | st.tuples(n, n) | every), "mode": draw(modes)}
    if parameters["mode"] == "constant" and draw(st.booleans()):
        parameters["constant_values"] = draw(st.sampled_from([1.5, (0.5, -1.0)]))
    return (x,), parameters


@st.composite
def cut(draw, at_least=1, axis=None):
    """An array, and at which places, or in how many parts, it is cut."""
    shape = draw(tgt.shapes(min_dims=at_least, max_side=4))
    parameters = {} if axis is not None else {"axis": draw(some_axis(shape))}
    n = shape[min(len(shape) - 1, axis) if axis is not None else parameters["axis"]]
    equal = st.sampled_from([k for k in range(1, n + 1) if n % k == 0])
    places = st.lists(st.integers(-n, n + 1), min_size=1, max_size=3)
    return (draw(tgt.arrays(shape)),), {"sections": draw(equal | places), **parameters}


@st.composite
def to_stack(draw, most=3, least=0):
    """Some arrays of one shape."""
    shape = draw(tgt.shapes(min_dims=least, max_dims=most))
    return tuple(draw(tgt.arrays(shape)) for _ in range(draw(st.integers(1, 3)))), {}


@st.composite
def columns(draw):
    """Vectors and matrices with the same number of rows."""
    n = draw(st.integers(1, 3))
    shape = st.just((n,)) | st.tuples(st.just(n), st.integers(1, 3))
    return tuple(draw(tgt.arrays(shape)) for _ in range(draw(st.integers(1, 3)))), {}


@st.composite
def blocks(draw):
    """The four blocks of a matrix."""
    a, b, c, d = (draw(st.integers(1, 2)) for _ in range(4))
    return tuple(draw(tgt.arrays(shape)) for shape in ((a, c), (a, d), (b, c), (b, d))), {}


@st.composite
def appended(draw):
    """Two arrays that go together along an axis, or any two."""
    if draw(st.booleans()):
        return (draw(tgt.arrays(shape_of_axes)), draw(tgt.arrays())), {"axis": None}
    (x, *more), parameters = draw(several(joined=True))
    return (x, more[0] if more else x), parameters


@st.composite
def windows(draw):
    """An array and a window that is smaller."""
    x = draw(tgt.arrays(shape_of_axes))
    axis = draw(st.none() | some_axis(x.shape))
    if axis is not None:
        return (x,), {"window_shape": draw(st.integers(1, x.shape[axis])), "axis": axis}
    return (x,), {"window_shape": tuple(draw(st.integers(1, n)) for n in x.shape), "axis": None}


def bigger(shape):
    """Other shapes, of fewer and of more values."""
    return st.sampled_from([2, (7,), (2, 3), (), (0, 2), (3, 1, 4)])


def tiled(shape):
    return st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=4).map(tuple)


def planes(shape):
    return st.permutations(range(-len(shape), 0)).map(lambda axes: tuple(axes[:2]))


def row_norms(x, axis):
    return np.apply_along_axis(lambda row: np.sum(row * row * row), axis, x)


def row_tables(x, axis):
    """A function of vectors whose results have two axes."""
    return np.apply_along_axis(lambda row: row[:, None] * row[:2], axis, x)


CASES = [
    case(np.reshape, one(shape=reshaped), lambda x, shape: np.reshape(x, shape)),
    case(
        np.reshape,
        one(shape=reshaped, order=always(order)),
        lambda x, shape, order: np.reshape(x, shape, order),
        "reshape in an order",
    ),
    case(
        np.reshape,
        one(shape=reshaped),
        lambda x, shape: x.reshape(shape),
        "reshape as a method",
    ),
    case(np.ravel, one(order=always(order))),
    case(np.expand_dims, one(axis=new_axis)),
    case(np.squeeze, one()),
    case(np.broadcast_to, stretched()),
    case(np.copy, one()),
    case(np.broadcast_arrays, two(), lambda a, b: together(np.broadcast_arrays(a, b, a[None]))),
    case(
        np.meshgrid,
        one(vectors, copy=keep, sparse=keep, indexing=always(st.sampled_from(["xy", "ij"]))),
        lambda x, **how: together(np.meshgrid(x, x[1:] * x[0], x[:2] + 1, **how)),
    ),
    case(np.atleast_1d, one(), lambda x: together(np.atleast_1d(x, x[..., None]))),
    case(np.atleast_1d, one(), np.atleast_1d, "atleast_1d of one"),
    case(np.atleast_2d, one()),
    case(np.atleast_3d, one()),
    case(np.transpose, one(axes=reordered)),
    case(np.swapaxes, one_of_axes()),
    case(np.moveaxis, moved(), lambda x, axes: np.moveaxis(x, *axes)),
    case(
        np.rollaxis,
        one(shape_of_axes, axis=some_axis, start=lambda s: st.integers(-len(s), len(s))),
    ),
    case(np.matrix_transpose, one(shape_of_matrices)),
    case(np.linalg.matrix_transpose, one(shape_of_matrices), name="linalg.matrix_transpose"),
    case(np.flip, one(axis=some_axes)),
    case(np.fliplr, one(shape_of_matrices)),
    case(np.flipud, one(shape_of_axes)),
    case(np.rot90, one(shape_of_matrices, k=always(st.integers(-5, 5)), axes=planes)),
    case(np.roll, rolled()),
    case(np.repeat, repeated()),
    case(np.tile, one(reps=tiled), lambda x, reps: np.tile(x, reps)),
    case(np.resize, one(new_shape=bigger)),
    case(np.delete, deleted()),
    case(np.insert, inserted(), lambda x, v, obj, axis: np.insert(x, obj, v, axis)),
    case(sliding, windows()),
    case(shapes.padded, with_margins(st.just("constant"))),
    case(np.pad, with_margins(st.just("constant")), name="pad with constants"),
    case(np.pad, with_margins(st.sampled_from(["edge", "reflect", "symmetric", "wrap"]))),
    case(np.array_split, cut(), lambda x, sections, axis: together(np.array_split(x, 2, axis))),
    case(np.split, cut(), lambda x, sections, axis: together(np.split(x, sections, axis))),
    case(np.hsplit, cut(axis=1), lambda x, sections: together(np.hsplit(x, sections))),
    case(np.vsplit, cut(2, axis=0), lambda x, sections: together(np.vsplit(x, sections))),
    case(np.dsplit, cut(3, axis=2), lambda x, sections: together(np.dsplit(x, sections))),
    case(np.diag, one(tgt.shapes(1, 2), k=always(offset))),
    case(np.diagonal, one_of_axes(offset=offset)),
    case(np.trace, one_of_axes(offset=offset)),
    case(np.diagflat, one(k=always(offset))),
    case(
        np.linalg.diagonal,
        one(shape_of_matrices, offset=always(offset)),
        name="linalg.diagonal",
    ),
    case(np.linalg.trace, one(shape_of_matrices, offset=always(offset)), name="linalg.trace"),
    case(np.tril, one(shape_of_axes, k=always(offset))),
    case(np.triu, one(shape_of_axes, k=always(offset))),
    case(shapes.astype, one(), lambda x: shapes.astype(x, x.dtype), "astype"),
    case(np.astype, one(), lambda x: np.astype(x, x.dtype), "np.astype"),
    case(shapes.join, several(joined=True)),
    case(np.concatenate, several(joined=True), lambda *a, axis: np.concatenate(a, axis=axis)),
    case(
        np.concatenate,
        several(joined=True),
        lambda *a, axis: np.concatenate(a, axis=None),
        "concatenate flat",
    ),
    case(np.stack, several(joined=False), lambda *a, axis: np.stack(a, axis)),
    case(np.hstack, to_stack(), lambda *a: np.hstack(a)),
    case(np.vstack, to_stack(), lambda *a: np.vstack(a)),
    case(np.dstack, to_stack(), lambda *a: np.dstack(a)),
    case(np.column_stack, columns(), lambda *a: np.column_stack(a)),
    case(np.block, blocks(), lambda a, b, c, d: np.block([[a, b], [c, d]])),
    case(np.block, to_stack(2), lambda *a: np.block([*a, 2 * a[0]]), "block of one list"),
    case(np.append, appended()),
    case(np.full_like, two(), lambda a, b: np.full_like(a, np.sum(b)) * a),
    case(np.apply_along_axis, one(shape_of_axes, axis=some_axis), row_norms),
    case(
        np.apply_along_axis,
        one(tgt.shapes(1, 3, 2), axis=some_axis),
        row_tables,
        "apply_along_axis to tables",
    ),
    case(
        np.apply_over_axes,
        one(tgt.shapes(2, 3), axes=always(st.sampled_from([0, [0, 1], (-1, 0)]))),
        lambda x, axes: np.apply_over_axes(np.sum, x, axes),
    ),
]
if hasattr(np, "unstack"):
    CASES.append(
        case(
            np.unstack,
            one(shape_of_axes, axis=some_axis),
            lambda x, axis: together(np.unstack(x, axis=axis)),
        )
    )
