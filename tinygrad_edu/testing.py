"""For tests of your own operations: hypothesis strategies, and autograd's `check_grads`.

    from hypothesis import given
    from tinygrad_edu import testing as tgt
    import tinygrad_edu as tg

    @given(x=tgt.separated())
    def test_my_op(x):
        tg.assert_grad(my_op, x)

Needs hypothesis, which the extra `testing` brings: pip install hypothesis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np

from tinygrad_edu.gradcheck import GradientReport, assert_grad

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

    So that no maximum has a tie and no relu or abs is at its kink. Values are `(high - low) / n`
    apart, n being their number, and at least a twentieth of that from each of `away_from`.

    Args:
        shape: a shape, or a strategy of shapes; `shapes()` by default.
        low, high: the ends.
        away_from: where the kinks are.

    Example:
        >>> from hypothesis import find
        >>> find(separated(4), lambda x: True)
        array([-1.5, -0.5,  0.5,  1.5])
    """
    chosen = (
        draw(shapes() if shape is None else shape) if not isinstance(shape, (tuple, int)) else shape
    )
    n = int(np.prod(chosen))
    places = np.array(draw(st.permutations(range(n))), float)
    gap = (high - low) / max(n, 1)
    x = low + gap * (places + draw(st.floats(0.2, 0.8)))
    for kink in away_from:
        near = np.abs(x - kink) < gap / 20
        x = np.where(near, kink + gap / 10, x)
    return x.reshape(chosen)


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
    f: Callable[..., Any], modes: Sequence[str] = ("rev",), order: int = 2
) -> Callable[..., GradientReport]:
    """Checks the derivatives of `f` in autograd's manner: `check_grads(f)(*args)`.

    The same as `assert_grad(f, *args, order=order)`; it raises an AssertionError with the report
    if a gradient is wrong. Of autograd's modes there is "rev" alone.

    Example:
        >>> check_grads(np.tanh)(np.array([0.5, 1.0]))
        <gradient of tanh: OK>
    """
    if tuple(modes) != ("rev",):
        raise ValueError(f"there is reverse mode only, modes=('rev',); got {modes!r}")

    def check(*args: Any, **options: Any) -> GradientReport:
        return assert_grad(f, *args, order=order, **options)

    return check
