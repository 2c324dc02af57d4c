"""Derivatives of the functions that move values without changing them.

From which place a value is read does not depend on the values, so NumPy itself can tell: of the
numbers of the places, in the shape of x, each of these functions makes the place in x that stands
behind every place in y. There the gradient is added up, by `put_back`. Where the way back is a
NumPy function of its own, such as the transpose of a transpose, the table has that instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.lib.stride_tricks import sliding_window_view

from tinygrad_edu.calculus.indexing import scatter_add
from tinygrad_edu.rules import PRIMITIVES, composition, constant, derivative, primitive


def places(x: Any) -> np.ndarray:
    """The numbers of the places of `x` in C order, in its shape."""
    return np.arange(x.size).reshape(x.shape)


def put_back(g: Any, read: Any, x: Any) -> Any:
    """The gradient of `x`, if each value of y was read from that of its places which `read` tells.

    Example:
        >>> x = np.array([3.0, 4.0])
        >>> put_back(np.array([1.0, 10.0, 100.0]), np.array([0, 1, 1]), x)  # of y = x[[0, 1, 1]]
        array([  1., 110.])
    """
    return scatter_add(np.ravel(g), np.ravel(read), (x.size,)).reshape(x.shape)


# Other shapes.


def _c_or_f(order: str) -> None:
    if order not in ("C", "F"):
        raise ValueError(
            f"order={order!r} goes by how an array lies in memory, which a Tensor does not tell: "
            f"pass order='C' or order='F'"
        )


def _ravel(a: Any, order: Any = "C") -> Any:
    _c_or_f(order)
    return np.ravel(a, order)


def _squeeze(a: Any, axis: Any = None) -> Any:
    # Of an array with nothing to squeeze NumPy returns the array itself.
    return np.squeeze(a, axis).view()


derivative(np.reshape, lambda g, y, x, shape, order="C": np.reshape(g, x.shape, order), view=True)
derivative(
    np.ravel,
    lambda g, y, x, order="C": np.reshape(g, x.shape, order),
    view=True,
    forward=_ravel,
)
derivative(np.expand_dims, lambda g, y, x, axis: g.reshape(x.shape), view=True)
derivative(
    np.squeeze,
    lambda g, y, x, axis=None: g.reshape(x.shape),
    view=True,
    forward=_squeeze,
)
derivative(np.broadcast_to, lambda g, y, x, shape: g, core_axes=0, view=True)
derivative(np.copy, lambda g, y, x, order="K": g)


@composition(np.reshape)
def reshape(
    a: Any, shape: Any = None, order: Any = "C", *, newshape: Any = None, copy: Any = None
) -> Any:
    """`np.reshape`, whose `shape` has the name `newshape` in NumPy 2.0."""
    _c_or_f(order)
    if copy is False:
        raise ValueError("np.reshape of a Tensor has no copy=False: leave copy= out")
    keywords = {} if order == "C" else {"order": order}
    y = PRIMITIVES[np.reshape](a, newshape if shape is None else shape, **keywords)
    return np.copy(y) if copy else y


@composition(np.broadcast_arrays)
def broadcast_arrays(*args: Any) -> tuple[Any, ...]:
    """`np.broadcast_arrays`."""
    shape = np.broadcast_shapes(*map(np.shape, args))
    return tuple(np.broadcast_to(x, shape) for x in args)


@composition(np.meshgrid)
def meshgrid(
    *xi: Any, copy: bool = True, sparse: bool = False, indexing: Any = "xy"
) -> tuple[Any, ...]:
    """`np.meshgrid`; its shapes are those that NumPy gives to vectors of these sizes."""
    like = np.meshgrid(*(np.zeros(np.size(x)) for x in xi), sparse=True, indexing=indexing)
    grids: Any = [np.reshape(x, z.shape) for x, z in zip(xi, like, strict=True)]
    grids = grids if sparse else np.broadcast_arrays(*grids)
    return tuple(np.copy(grid, order="C") if copy else grid for grid in grids)


def _at_least(function: Callable[..., Any]) -> None:
    @composition(function)
    def with_more_axes(*arys: Any) -> Any:
        new = tuple(np.reshape(x, function(np.empty(np.shape(x))).shape) for x in arys)
        return new[0] if len(new) == 1 else new


_at_least(np.atleast_1d)
_at_least(np.atleast_2d)
_at_least(np.atleast_3d)


# Other orders of the axes, or along them.


def _transpose_back(g: Any, y: Any, x: Any, axes: Any = None) -> Any:
    return np.transpose(g, None if axes is None else np.argsort(np.atleast_1d(axes) % x.ndim))


derivative(np.transpose, _transpose_back, view=True)
derivative(np.swapaxes, lambda g, y, x, axis1, axis2: np.swapaxes(g, axis1, axis2), view=True)
derivative(
    np.moveaxis,
    lambda g, y, x, source, destination: np.moveaxis(g, destination, source),
    view=True,
)
derivative(np.matrix_transpose, lambda g, y, x: np.matrix_transpose(g), view=True)
derivative(np.linalg.matrix_transpose, lambda g, y, x: np.matrix_transpose(g), view=True)
derivative(np.flip, lambda g, y, x, axis=None: np.flip(g, axis), view=True)
derivative(np.fliplr, lambda g, y, x: np.fliplr(g), view=True)
derivative(np.flipud, lambda g, y, x: np.flipud(g), view=True)
derivative(np.rot90, lambda g, y, x, k=1, axes=(0, 1): np.rot90(g, -k, axes), view=True)
derivative(np.roll, lambda g, y, x, shift, axis=None: np.roll(g, np.negative(shift), axis))


@composition(np.rollaxis)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """`np.rollaxis`: where NumPy puts the axes is told by axes of the lengths 0, 1, 2, ..."""
    return np.transpose(a, np.rollaxis(np.empty(range(a.ndim)), axis, start).shape)


# Repeated values, and parts of an array.

derivative(
    np.repeat,
    lambda g, y, x, repeats, axis=None: put_back(g, np.repeat(places(x), repeats, axis), x),
)
derivative(np.tile, lambda g, y, x, reps: put_back(g, np.tile(places(x), reps), x))
derivative(np.resize, lambda g, y, x, new_shape: put_back(g, np.resize(places(x), new_shape), x))
derivative(
    np.delete, lambda g, y, x, obj, axis=None: put_back(g, np.delete(places(x), obj, axis), x)
)
derivative(
    sliding_window_view,
    lambda g, y, x, window_shape, axis=None: put_back(
        g, sliding_window_view(places(x), window_shape, axis), x
    ),
    view=True,
)


@primitive
def padded(x: Any, pad_width: Any, mode: Any = "constant", **keywords: Any) -> Any:
    """`np.pad` in the modes that add copies of the values, or constants."""
    return np.pad(x, pad_width, mode, **keywords)


def _padded_back(
    g: Any, y: Any, x: Any, pad_width: Any, mode: Any = "constant", **keywords: Any
) -> Any:
    if mode == "constant":
        return g[np.pad(np.ones(x.shape, bool), pad_width)].reshape(x.shape)
    return put_back(g, np.pad(places(x), pad_width, mode), x)


padded.derivative(_padded_back)


@composition(np.pad)
def pad(array: Any, pad_width: Any, mode: Any = "constant", **keywords: Any) -> Any:
    """`np.pad`."""
    if mode not in ("constant", "edge", "reflect", "symmetric", "wrap"):
        raise NotImplementedError(
            f"np.pad of a Tensor has no mode={mode!r}: join the parts with np.concatenate"
        )
    if keywords.get("reflect_type", "even") != "even":
        raise NotImplementedError("np.pad of a Tensor has no reflect_type other than 'even'")
    if any(hasattr(value, "__record__") for value in keywords.values()):
        raise TypeError("np.pad with Tensors as constants: join them with np.concatenate")
    return padded(array, pad_width, mode=mode, **keywords)


def _cut(function: Callable[..., Any]) -> None:
    @composition(function)
    def cut(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
        before = (slice(None),) * normalize_axis_index(axis, ary.ndim)
        pieces = function(np.arange(ary.shape[axis]), indices_or_sections)
        ends = [(int(piece[0]), int(piece[-1]) + 1) if piece.size else (0, 0) for piece in pieces]
        return [ary[(*before, slice(*end))] for end in ends]


_cut(np.split)
_cut(np.array_split)


@composition(np.hsplit)
def hsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """`np.hsplit`."""
    return np.split(ary, indices_or_sections, axis=min(ary.ndim - 1, 1))


@composition(np.vsplit)
def vsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """`np.vsplit`."""
    if ary.ndim < 2:
        raise ValueError("np.vsplit takes arrays of two or more axes; use np.split")
    return np.split(ary, indices_or_sections)


@composition(np.dsplit)
def dsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """`np.dsplit`."""
    return np.split(ary, indices_or_sections, axis=2)


if hasattr(np, "unstack"):  # new in NumPy 2.1

    @composition(np.unstack)
    def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
        """`np.unstack`."""
        return tuple(np.moveaxis(x, axis, 0))


# Diagonals and triangles.


def _trace_back(
    g: Any, y: Any, x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None
) -> Any:
    read = np.diagonal(places(x), offset, axis1, axis2)
    return put_back(np.broadcast_to(g[..., None], read.shape), read, x)


derivative(
    np.diag,
    lambda g, y, v, k=0: np.diag(g, k) if v.ndim == 1 else put_back(g, np.diag(places(v), k), v),
    view=True,
)
derivative(
    np.diagonal,
    lambda g, y, x, offset=0, axis1=0, axis2=1: put_back(
        g, np.diagonal(places(x), offset, axis1, axis2), x
    ),
    view=True,
)
derivative(np.trace, _trace_back)
# A vector is taken for the rows of a square matrix.
derivative(np.tril, lambda g, y, x, k=0: np.tril(g, k), core_axes=0)
derivative(np.triu, lambda g, y, x, k=0: np.triu(g, k), core_axes=0)


@composition(np.diagflat)
def diagflat(v: Any, k: int = 0) -> Any:
    """`np.diagflat`."""
    return np.diag(np.ravel(v), k)


@composition(np.linalg.diagonal)
def linalg_diagonal(x: Any, /, *, offset: int = 0) -> Any:
    """`np.linalg.diagonal`: of the matrices in the last two axes."""
    return np.diagonal(x, offset, -2, -1)


@composition(np.linalg.trace)
def linalg_trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    """`np.linalg.trace`: of the matrices in the last two axes."""
    return np.trace(x, offset, -2, -1, dtype)


# Several arrays in one.


@primitive
def join(*arrays: Any, axis: int = 0, **cast: Any) -> Any:
    """The arrays one after another along an axis: `np.concatenate` with the arrays spread out."""
    return np.concatenate(arrays, axis=axis, **cast)


def _own_piece(position: int, g: Any, y: Any, *arrays: Any, axis: int = 0, **cast: Any) -> Any:
    start = sum(x.shape[axis] for x in arrays[:position])
    piece: list[Any] = [slice(None)] * y.ndim
    piece[axis] = slice(start, start + arrays[position].shape[axis])
    return g[tuple(piece)]


join.derivative(every=_own_piece)


@composition(np.concatenate)
def concatenate(arrays: Any, axis: int | None = 0, **cast: Any) -> Any:
    """`np.concatenate`; with `axis=None` the arrays are flattened first."""
    if axis is None:
        return join(*(np.ravel(x) for x in arrays), **cast)
    return join(*arrays, axis=axis, **cast)


@composition(np.stack)
def stack(arrays: Any, axis: int = 0, **cast: Any) -> Any:
    """`np.stack`: each array gets a new axis, then they are concatenated along it."""
    shapes = {np.shape(x) for x in arrays}
    if len(shapes) != 1:
        raise ValueError(f"np.stack needs arrays of one shape, got {sorted(shapes)}")
    return concatenate([np.expand_dims(x, axis) for x in arrays], axis, **cast)


@composition(np.hstack)
def hstack(tup: Any, **cast: Any) -> Any:
    """`np.hstack`: along the second axis, or the only one."""
    arrays = [np.atleast_1d(x) for x in tup]
    return concatenate(arrays, min(arrays[0].ndim - 1, 1), **cast)


@composition(np.vstack)
def vstack(tup: Any, **cast: Any) -> Any:
    """`np.vstack`: along the first axis, vectors as rows."""
    return concatenate([np.atleast_2d(x) for x in tup], 0, **cast)


@composition(np.dstack)
def dstack(tup: Any) -> Any:
    """`np.dstack`: along the third axis."""
    return concatenate([np.atleast_3d(x) for x in tup], 2)


@composition(np.column_stack)
def column_stack(tup: Any) -> Any:
    """`np.column_stack`: along the second axis, vectors as columns."""
    return concatenate([x if np.ndim(x) > 1 else np.reshape(x, (-1, 1)) for x in tup], 1)


@composition(np.block)
def block(arrays: Any) -> Any:
    """`np.block`: the innermost lists are joined along the last axis, those around along others."""
    depth, ndim = _depth_and_axes(arrays)

    def joined(part: Any, axis: int) -> Any:
        if not isinstance(part, list):
            return np.reshape(part, (1,) * (ndim - np.ndim(part)) + np.shape(part))
        return concatenate([joined(p, axis + 1) for p in part], axis)

    return joined(arrays, -depth) if depth else np.copy(arrays)


def _depth_and_axes(arrays: Any) -> tuple[int, int]:
    """How deep lists are nested, the same everywhere, and how many axes there are at least."""
    if isinstance(arrays, tuple):
        raise TypeError(f"np.block takes arrays in nested lists, got the tuple {arrays!r}")
    if not isinstance(arrays, list):
        return 0, np.ndim(arrays)
    if not arrays:
        raise ValueError("np.block: a list is empty")
    inner = [_depth_and_axes(part) for part in arrays]
    depths = {depth for depth, _ in inner}
    if len(depths) > 1:
        raise ValueError(f"np.block: lists are nested {depths} deep at different places")
    depth = inner[0][0] + 1
    return depth, max(depth, *(ndim for _, ndim in inner))


@composition(np.append)
def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    """`np.append`."""
    return concatenate((arr, values), axis)


def _insert_into(g: Any, y: Any, arr: Any, obj: Any, values: Any, axis: Any = None) -> Any:
    inserted = np.insert(np.zeros(arr.shape, bool), obj, np.ones(np.shape(values), bool), axis)
    return g[~inserted].reshape(arr.shape)


def _inserted(g: Any, y: Any, arr: Any, obj: Any, values: Any, axis: Any = None) -> Any:
    # What stays of arr is read from one place more, which is left out in the end.
    read = np.insert(np.full(np.shape(arr), values.size), obj, places(values), axis)
    total = scatter_add(np.ravel(g), np.ravel(read), (values.size + 1,))
    return total[:-1].reshape(values.shape)


derivative(np.insert, _insert_into, None, _inserted)


# Copies in another dtype, and arrays of one value.


@primitive
def astype(x: Any, dtype: Any) -> Any:
    """`x` in another floating dtype; the reverse walk turns the gradient back into x's dtype."""
    return x.astype(dtype)


astype.derivative(lambda g, y, x, dtype: g)


@composition(np.astype)
def astype_of(x: Any, dtype: Any, /, *, copy: bool = True) -> Any:
    """`np.astype`."""
    return x.astype(dtype) if copy or x.dtype != dtype else x


@composition(np.full_like)
def full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: Any = "K",
    subok: bool = True,
    shape: Any = None,
) -> Any:
    """`np.full_like`, where the value may be recorded; otherwise it is a plain array."""
    like = np.empty_like(a, dtype, order, shape=shape)
    if not hasattr(fill_value, "__record__"):
        return np.full_like(like, fill_value)
    return astype(np.copy(np.broadcast_to(fill_value, like.shape)), like.dtype)


# Functions of functions.


@composition(np.apply_along_axis)
def apply_along_axis(func1d: Any, axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    """`np.apply_along_axis`; the results for all rows are stacked."""
    rows = np.moveaxis(arr, axis, -1)
    outer = rows.shape[:-1]
    results = [func1d(rows[i], *args, **kwargs) for i in np.ndindex(outer)]
    if not results:
        raise ValueError(f"np.apply_along_axis: there are no rows in an array of {arr.shape}")
    y = np.reshape(np.stack(results), outer + np.shape(results[0]))
    # The axes of a result come to where the axis was.
    axis = normalize_axis_index(axis, arr.ndim)
    new = range(len(outer), y.ndim)
    return np.moveaxis(y, new, range(axis, axis + len(new)))


@composition(np.apply_over_axes)
def apply_over_axes(func: Any, a: Any, axes: Any) -> Any:
    """`np.apply_over_axes`."""
    for axis in np.atleast_1d(axes).tolist():
        axis = normalize_axis_index(axis, a.ndim)
        y = func(a, axis)
        if y.ndim not in (a.ndim, a.ndim - 1):
            raise ValueError(f"np.apply_over_axes: from {a.shape} the function made {y.shape}")
        a = y if y.ndim == a.ndim else np.expand_dims(y, axis)
    return a


constant(np.shape, np.ndim, np.size, np.zeros_like, np.ones_like, np.empty_like, np.result_type)
constant(np.common_type, np.min_scalar_type)
constant(np.diag_indices_from, np.tril_indices_from, np.triu_indices_from)
constant(np.array_repr, np.array_str, np.array2string)
