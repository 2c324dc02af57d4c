"""The tables of derivatives, grouped as a textbook would.

One line for each input: `g` is the gradient at the output, `y` the output, then the inputs by name.
Importing this package fills the rule book (`tinygrad_edu.rules`).

What the engine takes as the derivative where a function has a kink or a tie:

| function | point | derivative |
|---|---|---|
| `relu(x, at_zero=0.0)` | x = 0 | `at_zero` |
| `leaky_relu(x, slope)` | x = 0 | `slope` |
| `np.abs` | x = 0 | 0 |
| `np.maximum(a, b)`, `np.minimum(a, b)` | a = b | 1 for a, 0 for b: the first argument wins |
| `np.max`, `np.min` | several equal extremes | the gradient is shared equally among them |

So `np.maximum(x, x)` has derivative exactly 1. At x = 0 `np.maximum(0, x)` has derivative 0, as
`relu(x)` has, and `np.maximum(x, 0)` has derivative 1.
"""

from tinygrad_edu.calculus import elementwise, indexing, linalg, neural, reductions, shapes

__all__ = ["elementwise", "indexing", "linalg", "neural", "reductions", "shapes"]
