# %% [markdown]
# # 3. Broadcasting and its sum
#
# NumPy adds arrays of different shapes. To a matrix $X$ of shape (3, 2) and a vector $b$ of shape
# (2,) it gives each row of $X$ its own copy of $b$:
#
# $$Y_{ij} = X_{ij} + b_j.$$
#
# The copies are never made in memory, but they have an effect on the derivative. As the loss we
# take $L = \frac12 \sum_{ij} Y_{ij}^2$, because its gradient by $Y$ is simply $G = Y$: only one
# term of the sum contains $Y_{ij}$, and the derivative of $\frac12 Y_{ij}^2$ is $Y_{ij}$.

# %%
import textwrap

import numpy as np

import tinygrad_edu as tg

X = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
b = np.array([10.0, 20.0])
G = X + b
print(G)
# > [[11. 22.]
# >  [13. 24.]
# >  [15. 26.]]

# %% [markdown]
# What is the gradient by $b$? The number $b_j$ is read once for each row $i$, and the second script
# has shown that the parts from all who read a value add up. $Y_{ij}$ has the derivative 1 by $b_j$,
# so each part is $G_{ij}$, and
#
# $$\frac{\partial L}{\partial b_j}
# = \sum_i \frac{\partial L}{\partial Y_{ij}} \frac{\partial Y_{ij}}{\partial b_j}
# = \sum_i G_{ij}.$$
#
# The gradient of what was copied along an axis is the sum along that axis. The engine finds the
# same: `tg.grad(f)` makes a function that records `f`, goes back along the tape and returns the
# gradient.


# %%
def loss(b):
    return 0.5 * np.sum((X + b) ** 2)


print("sum of G over the rows:", G.sum(axis=0))
# > sum of G over the rows: [39. 72.]
print("the engine:            ", tg.grad(loss)(b))
# > the engine:             [39. 72.]

# %% [markdown]
# Whoever derives this by hand easily forgets the sum and returns $G$. The gradient checker measures
# how the loss changes with each entry of `b`, and compares. Its report has a `verdict`, the `wrong`
# entries, and `findings`, which say in words what is wrong:

# %%
report = tg.check_grad(loss, b, gradient=lambda b: X + b)
print(report.verdict, textwrap.fill(report.findings[0], 90), sep="\n")
# > WRONG
# > b: the gradient has shape (3, 2), the input has shape (2,). A missing sum over the batch:
# > .sum(axis=0): with it the values are right

# %% [markdown]
# NumPy broadcasts in two ways only: it puts new axes in front of the shape, and it stretches axes
# of length 1. Both make copies, so both are undone by sums; after the second the axis is kept, with
# length 1 again. The index formula above holds along each axis by itself, which gives:


# %%
def unbroadcast(g, shape):
    in_front = tuple(range(g.ndim - len(shape)))
    g = g.sum(axis=in_front)
    stretched = tuple(axis for axis, n in enumerate(shape) if n == 1)
    return g.sum(axis=stretched, keepdims=True)


for shape in [(3, 2), (2,), (1, 2), (3, 1), (1, 1), ()]:
    b = np.ones(shape)
    ours, engine = unbroadcast(X + b, shape), tg.grad(loss)(b)
    print(f"{shape!s:6}  {ours.tolist()}  {np.array_equal(ours, engine)}")
# > (3, 2)  [[2.0, 3.0], [4.0, 5.0], [6.0, 7.0]]  True
# > (2,)    [12.0, 15.0]  True
# > (1, 2)  [[12.0, 15.0]]  True
# > (3, 1)  [[5.0], [9.0], [13.0]]  True
# > (1, 1)  [[27.0]]  True
# > ()      27.0  True

# %% [markdown]
# So the rule for `a + b` is just `g`, and that for `a` in `a * b` is `g * b`, with arrays as with
# numbers. Nobody has to think of shapes there: the walk back compares the shape of what a rule
# returns with the shape of the input, and sums in this one place if they differ.
#
# There is a short way to say all this. Copying is linear: it multiplies $b$, as a column, with a
# matrix $B$ of zeros and ones, one row for each entry of $Y$ and a one where that entry reads $b$.
# From $y = x + Bb$ follows $\partial y_k / \partial b_j = B_{kj}$, so that
#
# $$\bar b_j = \sum_k g_k B_{kj} = (B^\top g)_j.$$
#
# The gradient is multiplied with the transpose, and the transpose of copying is adding up. A matrix
# and its transpose satisfy $(Bb) \cdot g = b \cdot (B^\top g)$, for any $b$ and $g$, since both
# sides are $\sum_{kj} g_k B_{kj} b_j$. That makes a test which needs no derivative at all:

# %%
rng = np.random.default_rng(0)
b, g = rng.normal(size=(3, 1)), rng.normal(size=(4, 3, 2))
copied = np.broadcast_to(b, g.shape)
left, right = np.sum(copied * g), np.sum(b * unbroadcast(g, b.shape))
print(f"{left:.6f} {right:.6f}")
# > -1.073480 -1.073480

# %% [markdown]
# ## Try
#
# Predictions `p` of shape (n, 1) and targets `t` of shape (n,) are a trap: `p - t` has the shape
# (n, n). Nothing fails, and `np.mean((p - t) ** 2)` is a number that can be minimised. By what?
# Derive $\partial L / \partial p_i$ with the sum of this lesson and set it to 0. You should find
# that every $p_i$ becomes the mean of all targets. Check your derivative with `tg.check_grad`.
