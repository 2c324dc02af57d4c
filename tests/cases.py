"""What a case of the table of operations is, and strategies of the arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np

import tinygrad_edu as tg
from tinygrad_edu import testing as tgt


@dataclass(frozen=True)
class Case:
    """`call(*arrays, **parameters)` for every drawn pair of arrays and parameters."""

    op: Any
    call: Callable[..., Any]
    arguments: st.SearchStrategy
    name: str


shape_of_any = tgt.shapes()
shape_of_axes = tgt.shapes(min_dims=1)


@st.composite
def one(draw, of=shape_of_any, low=-2.0, high=2.0, **parameters):
    """One array, and parameters that may be strategies of the array's shape."""
    x = draw(tgt.arrays(draw(of), low, high))
    return (x,), {name: draw(make(x.shape)) for name, make in parameters.items()}


@st.composite
def one_apart(draw, of=shape_of_any, **parameters):
    """As `one`, away from kinks."""
    x = draw(tgt.separated(of))
    return (x,), {name: draw(make(x.shape)) for name, make in parameters.items()}


def two(first=(-2.0, 2.0), second=(-2.0, 2.0)):
    """Two arrays whose shapes broadcast."""
    return tgt.broadcastable(first, second).map(lambda pair: (pair, {}))


@st.composite
def two_apart(draw):
    """Two arrays whose shapes broadcast and whose values differ everywhere."""
    drawn = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3))
    sizes = [int(np.prod(shape)) for shape in drawn.input_shapes]
    both = draw(tgt.separated(sum(sizes)))
    parts = np.split(both, [sizes[0]])
    return tuple(x.reshape(s) for x, s in zip(parts, drawn.input_shapes, strict=True)), {}


@st.composite
def stretched(draw):
    """An array and a shape that it broadcasts to."""
    drawn = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3))
    return (draw(tgt.arrays(drawn.input_shapes[0])),), {"shape": drawn.result_shape}


@st.composite
def matrices(draw):
    """Two operands of matmul: every rank, stacks that broadcast."""
    drawn = draw(hnp.mutually_broadcastable_shapes(signature="(m?,n),(n,p?)->(m?,p?)", max_side=3))
    return tuple(draw(tgt.arrays(s)) for s in drawn.input_shapes), {}


@st.composite
def vectors(draw):
    """Two vectors of the same length."""
    n = draw(st.integers(1, 3))
    return (draw(tgt.arrays(n)), draw(tgt.arrays(n))), {}


@st.composite
def dot_operands(draw):
    """Two operands of np.dot: numbers, vectors, and arrays of up to three axes."""
    a_ndim, b_ndim = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    side = st.integers(1, 3)
    a_shape = [draw(side) for _ in range(a_ndim)]
    b_shape = [draw(side) for _ in range(b_ndim)]
    if a_ndim and b_ndim:
        b_shape[max(b_ndim - 2, 0)] = a_shape[-1]
    return (draw(tgt.arrays(tuple(a_shape))), draw(tgt.arrays(tuple(b_shape)))), {}


@st.composite
def several(draw, joined):
    """Some arrays of one shape, except along the axis at which they are joined."""
    shape = draw(shape_of_axes)
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    arrays = []
    for _ in range(draw(st.integers(1, 3))):
        sides = list(shape)
        if joined:
            sides[axis] = draw(st.integers(0, 3))
        arrays.append(draw(tgt.arrays(tuple(sides))))
    return tuple(arrays), {"axis": axis}


@st.composite
def indexed(draw):
    """An array and an index of any kind: slices, integers, masks, arrays with repeats."""
    x = draw(tgt.arrays(draw(shape_of_axes)))
    small = hnp.array_shapes(max_dims=2, max_side=4)
    index = draw(
        hnp.basic_indices(x.shape, allow_ellipsis=True, allow_newaxis=True)
        | hnp.integer_array_indices(x.shape, result_shape=small)
        | hnp.arrays(bool, x.shape)
        | st.lists(st.integers(-x.shape[0], x.shape[0] - 1), max_size=4)
    )
    return (x,), {"index": index}


@st.composite
def assigned(draw):
    """An array, an index of any kind, and a value that broadcasts to the place."""
    (x,), index = draw(indexed())
    place = np.shape(x[index["index"]])
    stretched = [1 if draw(st.booleans()) else n for n in place]
    shape = tuple(stretched[draw(st.integers(0, len(place))) :])
    return (x, draw(tgt.arrays(shape))), index


@st.composite
def scattered(draw):
    """Values to be added at an index of integers, with repeats."""
    shape = draw(shape_of_axes)
    index = draw(hnp.integer_array_indices(shape, result_shape=st.just((4,))))
    return (draw(tgt.arrays(np.zeros(shape)[index].shape)),), {"index": index, "shape": shape}


@st.composite
def rows(draw):
    """A matrix and numbers of its rows, with repeats, as integers or floats."""
    n, size = draw(st.integers(1, 4)), draw(st.integers(0, 3))
    dtype = draw(st.sampled_from([np.int64, np.uint8, np.float32]))
    indices = draw(hnp.arrays(dtype, hnp.array_shapes(max_dims=2), elements=st.integers(0, n - 1)))
    return (draw(tgt.arrays((n, size))),), {"indices": indices}


@st.composite
def added_rows(draw):
    """Values to be added at numbers of rows."""
    (W,), where = draw(rows())
    values = draw(tgt.arrays((*where["indices"].shape, W.shape[1])))
    return (values,), {**where, "n": len(W)}


@st.composite
def layer(draw):
    """x, W and b of an affine layer; x with up to two leading axes."""
    n_in, n_out = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    lead = draw(hnp.array_shapes(min_dims=0, max_dims=2, max_side=3))
    shapes_of = ((*lead, n_in), (n_in, n_out), (n_out,))
    return tuple(draw(tgt.arrays(s)) for s in shapes_of), {}


@st.composite
def labelled(draw):
    """Logits and integer labels."""
    n, classes = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    labels = draw(hnp.arrays(np.intp, n, elements=st.integers(0, classes - 1)))
    return (draw(tgt.arrays((n, classes))),), {"labels": labels}


@st.composite
def pair(draw, second=(-2.0, 2.0)):
    """Two arrays of the same shape."""
    shape = draw(shape_of_any)
    return (draw(tgt.arrays(shape)), draw(tgt.arrays(shape, *second))), {}


def some_axis(shape):
    return st.integers(-len(shape), len(shape) - 1)


def some_axes(shape):
    """None, one axis or several, also none at all."""
    if not shape:
        return st.none()
    several_axes = hnp.valid_tuple_axes(len(shape), min_size=0)
    return st.none() | some_axis(shape) | several_axes


def reshaped(shape):
    n = int(np.prod(shape))
    return st.sampled_from([(n,), (-1,), (1, n), (n, 1, 1), *([()] if n == 1 else [])])


def reordered(shape):
    return st.none() | st.permutations(range(-len(shape), 0)).map(tuple)


def new_axis(shape):
    return st.integers(-len(shape) - 1, len(shape)) | st.just((0, -1))


def keep(_):
    return st.booleans()


def assert_right(f, arrays, rng=0, order=1):
    """The checker finds nothing wrong, and nothing unclear, except that there is nothing to check.

    A softmax of one value, for one, is constant: its gradient must be 0 all the same. The report
    that is returned is true only if there was something to check.
    """

    def weighted(*xs):
        # Of a single output the checker takes the gradient 1, which would hide a rule without g.
        y = f(*xs)
        return y * 1.375 if getattr(y, "size", 1) == 1 else y

    report = tg.check_grad(weighted, *arrays, order=order, rng=rng, blame=False, progress=False)
    assert not any(i.is_bad().any() for i in report.inputs), report
    others = [p for p in report.problems if "constant output" not in p and "zero elem" not in p]
    assert not others, report
    return report


def case(op, arguments, call=None, name=None):
    function = call or op
    return Case(op, function, arguments, name or getattr(op, "__name__", str(op)))


def condition(a, b):
    """A condition for np.where that reads the positions and not the values."""
    shape = np.broadcast_shapes(np.shape(a), np.shape(b))
    return np.arange(int(np.prod(shape))).reshape(shape) % 2 == 0


reduced = {"axis": some_axes, "keepdims": keep}
along = {"axis": some_axis}
