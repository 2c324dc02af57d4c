"""For tests of your own operations: hypothesis strategies, and autograd's `check_grads`.

    from hypothesis import given, settings
    from tinygrad_edu import testing as tgt
    import tinygrad_edu as tg

    @settings(deadline=None)  # a check may take longer than the 0.2 s that hypothesis allows
    @given(x=tgt.separated())
    def test_my_op(x):
        tg.assert_grad(my_op, x)

Needs hypothesis, which the extra `testing` brings: pip install hypothesis.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np

from tinygrad_edu.gradcheck import GradientError, GradientReport, check_grad
from tinygrad_edu.transforms import grad, jvp, vjp
from tinygrad_edu.trees import tree_leaves, tree_map

__all__ = ["arrays", "broadcastable", "check_grads", "separated", "shapes"]

Shape = tuple[int, ...] | int | st.SearchStrategy


def shapes(min_dims: int = 0, max_dims: int = 3, max_side: int = 3) -> st.SearchStrategy:
    """Shapes of small arrays, also of single numbers, `()`.

    Example:
        >>> from hypothesis import find
        >>> find(shapes(min_dims=2), lambda shape: True)
        (1, 1)
    """
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, max_side=max_side)


def arrays(
    shape: Shape | None = None, low: float = -2.0, high: float = 2.0, dtype: Any = float
) -> st.SearchStrategy:
    """Arrays with every value drawn from `low` to `high`, equal ones and zeros included.

    Values are 0 or at least a few thousandths of the larger end, so that none drowns in the
    rounding errors of the others.

    Args:
        shape: a shape, or a strategy of shapes; `shapes()` by default.
        low, high: the ends, which are included.
        dtype: float64 or float32.

    Example:
        >>> from hypothesis import find
        >>> find(arrays((2, 2)), lambda x: True)
        array([[0., 0.],
               [0., 0.]])
    """
    unit = 2.0 ** (math.floor(math.log2(max(abs(low), abs(high), 1e-300))) - 10)

    def on_grid(x: float) -> Any:
        return np.dtype(dtype).type(min(max(round(x / unit) * unit, low), high))

    elements = st.floats(low, high).map(on_grid)
    shape = shapes() if shape is None else shape
    return hnp.arrays(dtype, shape, elements=elements, fill=st.nothing())


@st.composite
def separated(
    draw: Callable[[Any], Any],
    shape: Shape | None = None,
    low: float = -2.0,
    high: float = 2.0,
    away_from: Sequence[float] = (0.0,),
) -> np.ndarray:
    """Arrays whose values keep apart from each other and from given ones.

    So that no maximum has a tie and no relu or abs is at its kink. From `low` to `high` there are
    as many cells as values, and one value in each, at least a tenth of the cell from its ends and a
    twentieth from each of `away_from`. So values are a whole cell apart, or, where some had to
    move off a kink, at least a fifth of one.

    Args:
        shape: a shape, or a strategy of shapes; `shapes()` by default.
        low, high: the ends.
        away_from: where the kinks are.

    Raises:
        ValueError: in some cell every value is too close to one of `away_from`.

    Example:
        >>> from hypothesis import find
        >>> find(separated(4), lambda x: True)
        array([-1.5, -0.5,  0.5,  1.5])
    """
    chosen = (
        draw(shapes() if shape is None else shape) if not isinstance(shape, (tuple, int)) else shape
    )
    n = int(np.prod(chosen))
    places = draw(st.permutations(range(n)))
    cell = (high - low) / max(n, 1)
    within = draw(st.floats(0.2, 0.8))
    kinks = np.array(away_from, float)
    x = [_off(kinks, low + cell * place, cell, within) for place in places]
    return np.array(x, float).reshape(chosen)


def _off(kinks: np.ndarray, start: float, cell: float, within: float) -> float:
    """The value in a cell that is nearest to the wanted one and keeps off the kinks."""
    wanted, apart = start + cell * within, cell / 20
    places = np.array([wanted, *(kinks + 1.01 * apart), *(kinks - 1.01 * apart)])
    free = (np.abs(places[:, None] - kinks) >= apart).all(axis=1)
    free &= (places >= start + cell / 10) & (places <= start + cell * 9 / 10)
    if not free.any():
        raise ValueError(f"no room from {start:.3g} to {start + cell:.3g} beside away_from")
    distance = np.where(free, np.abs(places - wanted), np.inf)
    return float(places[np.argmin(distance)])


@st.composite
def broadcastable(
    draw: Callable[[Any], Any], *ranges: tuple[float, float], max_dims: int = 3, max_side: int = 3
) -> tuple[np.ndarray, ...]:
    """Arrays of different shapes that broadcast together, one for each range of values.

    Args:
        ranges: pairs (low, high); without any, two arrays of values from -2 to 2.
        max_dims, max_side: how large the result of broadcasting may be.

    Example:
        >>> from hypothesis import find
        >>> a, b = find(broadcastable((0, 1), (2, 3)), lambda ab: ab[0].shape != ab[1].shape)
        >>> np.broadcast_shapes(a.shape, b.shape)
        (1,)
    """
    ends = ranges or ((-2.0, 2.0), (-2.0, 2.0))
    drawn = draw(
        hnp.mutually_broadcastable_shapes(
            num_shapes=len(ends), max_dims=max_dims, max_side=max_side
        )
    )
    pairs = zip(drawn.input_shapes, ends, strict=True)
    return tuple(draw(arrays(shape, low, high)) for shape, (low, high) in pairs)


def check_grads(
    f: Callable[..., Any],
    modes: Sequence[str] = ("fwd", "rev"),
    order: int = 2,
    argnum: int | Sequence[int] | None = None,
) -> Callable[..., GradientReport]:
    """Checks the derivatives of `f` in autograd's manner: `check_grads(f)(*args, **keywords)`.

    The gradients are checked as by `assert_grad`, up to the given order, but that of a constant may
    be 0; with "fwd" among the
    modes, `tg.jvp` is then checked against them.

    Args:
        f: a function of arrays; it is called with the keywords that the check is called with.
        modes: "fwd", "rev" or both.
        order: how often to differentiate.
        argnum: the position of the argument to differentiate by, or several; by default all that
            are floating-point. As in autograd it may stand in the place of `modes`.

    Raises:
        GradientError: a gradient is wrong; it is an AssertionError with the report.

    Example:
        >>> check_grads(np.tanh)(np.array([0.5, 1.0]))
        <gradient of tanh: OK>
        >>> check_grads(np.sum, modes=["rev"], order=1)(np.ones((2, 3)), axis=0)
        <gradient of sum: OK>
    """
    if isinstance(modes, int) or (modes and all(isinstance(mode, int) for mode in modes)):
        modes, argnum = ("fwd", "rev"), modes  # type: ignore[assignment]
    if isinstance(modes, str) or not modes or not set(modes) <= {"fwd", "rev"}:
        raise ValueError(f"modes are 'fwd', 'rev' or both, in a list; got {modes!r}")

    def check(*args: Any, **keywords: Any) -> GradientReport:
        called = functools.wraps(f)(functools.partial(f, **keywords)) if keywords else f
        positions = argnum if argnum is None or isinstance(argnum, int) else tuple(argnum)
        report = check_grad(called, *args, argnums=positions, order=order)
        of_nothing = ("constant output", "zero elements")
        others = [p for p in report.problems if not p.startswith(of_nothing)]
        if others or any(i.is_bad().any() for i in report.inputs):
            raise GradientError(report)
        if "fwd" in modes:
            _assert_forward(called, args, order)
        return report

    return check


def _assert_forward(f: Callable[..., Any], args: tuple[Any, ...], order: int) -> None:
    """Along random vectors, v: <g, J v> is <g J, v>; and so for the gradient, to the order."""
    rng = np.random.default_rng(0)
    chosen = [i for i, arg in enumerate(args) if all(map(_is_float, tree_leaves(arg)))]

    def of_chosen(*xs: Any) -> Any:
        every = list(args)
        for i, x in zip(chosen, xs, strict=True):
            every[i] = x
        return [y for y in tree_leaves(f(*every)) if _is_float(y)]

    def random_like(tree: Any) -> Any:
        return tree_map(lambda leaf, _: rng.normal(size=np.shape(leaf)), tree, "")

    def inner(a: Any, b: Any) -> Any:
        return sum(np.sum(x * y) for x, y in zip(tree_leaves(a), tree_leaves(b), strict=True))

    xs = tuple(args[i] for i in chosen)
    v = random_like(xs)
    y, dy = jvp(of_chosen, xs, v)
    _, pullback = vjp(of_chosen, *xs)
    g = random_like(y)
    forward, backward = inner(g, dy), inner(pullback(g), v)
    if not np.isclose(forward, backward, rtol=1e-6, atol=1e-9):
        raise AssertionError(
            f"jvp and vjp disagree: the derivative along a vector is {forward}, the gradient "
            f"times that vector {backward}"
        )
    if order > 1 and xs:
        everywhere = tuple(range(len(xs)))
        gradient = grad(lambda *xs: inner(of_chosen(*xs), g), everywhere)
        _assert_forward(gradient, xs, order - 1)


def _is_float(x: Any) -> bool:
    return isinstance(x, float) or getattr(x, "dtype", np.dtype(bool)).kind == "f"
