"""The tables of derivatives, grouped as a textbook would.

One line for each input: `g` is the gradient at the output, `y` the output, then the inputs by name.
Importing this package fills the rule book (`tinygrad_edu.rules`).

What the engine takes as the derivative where a function has a kink, a jump or a tie, or none of the
usual derivatives exists:

| function | point | derivative |
|---|---|---|
| `relu(x, at_zero=0.0)` | x = 0 | `at_zero` |
| `leaky_relu(x, slope)` | x = 0 | `slope` |
| `np.abs`, `np.fabs`, `np.copysign(x, b)` | x = 0 | 0 |
| `np.maximum(a, b)`, `np.minimum`, `np.fmax`, `np.fmin` | a = b | 1 for a, 0 for b |
| `np.maximum(a, b)`, `np.minimum` | a or b is NaN | 1 for a, 0 for b |
| `np.fmax(a, b)`, `np.fmin` | a or b is NaN | 0 for the NaN, 1 for the other |
| `np.clip(x, low, high)` | x = low or x = high | 1 for x, 0 for the bounds |
| `np.max`, `np.min`, `np.linalg.norm(x, np.inf)` | several equal extremes | shared equally |
| `np.median`, `np.quantile`, `np.percentile` | equal values | as if the later were larger |
| `np.max`, `np.min`, `np.median`, `np.quantile` | some are NaN | shared equally by the NaNs |
| `np.nanmax`, `np.nanmean`, `np.nanmedian` and the like | some are NaN | 0 for the NaNs |
| `x**b`, in x | x = 0 | 1 for b = 1, 0 for b = 0 and b > 1, inf for 0 < b < 1 |
| `x**b`, in b | x = 0 | 0 |
| `np.sqrt`, `np.cbrt`, `np.log` at 0, `np.arcsin` at 1 | the slope is infinite | inf |
| `np.linalg.norm`, `np.hypot`, `np.arctan2` | the origin | 0 |
| `np.std` | equal values | 0 |
| `np.var(x, ddof=n)`, `np.std` | no more than n values | 0 |
| `np.logaddexp`, `np.logaddexp2`, `logsumexp` | all are -inf | 0 |
| `np.logaddexp`, `np.logaddexp2`, `logsumexp` | several are inf | shared equally by them |
| `np.sinc` | x = 0 | 0 |
| `np.remainder(a, b)`, `np.fmod`, in a; `np.modf` | a jump | 1, as beside it |
| `np.frexp` | a power of 2 | as above it |
| `np.heaviside(x, b)` | x = 0 | 0 for x, 1 for b |
| `np.floor`, `np.sign`, `np.argmax`, comparisons | everywhere | 0: the result is a plain array |

So `np.maximum(x, x)` has derivative exactly 1. At x = 0 `np.maximum(0, x)` has derivative 0, as
`relu(x)` has, and `np.maximum(x, 0)` has derivative 1. Where several factors of `np.prod` and
`np.cumprod` are 0, the derivatives are exact.

Second derivatives at a kink take these slopes for constant: abs(x)**2 has 0 at x = 0, where 2 would
be right. At the tip of a norm, a deviation or hypot, where slopes in all directions meet, they are
refused.
"""

from tinygrad_edu.calculus import (
    decompositions,
    differences,
    einsum,
    elementwise,
    indexing,
    inverses,
    linalg,
    neural,
    reductions,
    shapes,
    sorting,
)

__all__ = [
    "decompositions",
    "differences",
    "einsum",
    "elementwise",
    "indexing",
    "inverses",
    "linalg",
    "neural",
    "reductions",
    "shapes",
    "sorting",
]
