# %% [markdown]
# # 7. From the tape to NumPy
#
# A tape is a list of steps, and so is a program. In this last script the tape of a small net, with
# the way back along it, is written out as the NumPy code that one would derive by hand.
#
# Each row of $X$ is a point, and `y` holds its class. The net is $H = \tanh(X W_1 + b_1)$, its
# scores are $S = H W_2 + b_2$, and the loss is the cross-entropy of their softmax.

# %%
import numpy as np

import tinygrad_edu as tg

rng = np.random.default_rng(0)
X, y = rng.normal(size=(6, 4)), np.array([0, 2, 1, 1, 0, 2])
params = (rng.normal(size=(4, 5)), np.zeros(5), rng.normal(size=(5, 3)), np.zeros(3))


def loss(W1, b1, W2, b2):
    hidden = np.tanh(X @ W1 + b1)
    scores = hidden @ W2 + b2
    probs = np.exp(scores) / np.sum(np.exp(scores), axis=1, keepdims=True)
    return -np.mean(np.log(probs[np.arange(6), y]))


# %% [markdown]
# First by hand. The fourth script has found the gradient by the scores: with $P$ the softmax and
# $n$ points, $\bar S = (P - \text{one at the right class}) / n$. Next comes a matrix product,
# $S_{ik} = \sum_j H_{ij} W_{jk} + b_k$. It reads $W_{jk}$ once for each $i$, with the factor
# $H_{ij}$; it reads $H_{ij}$ once for each $k$, with the factor $W_{jk}$; and it reads $b_k$ once
# for each $i$. The parts add up:
#
# $$\bar W_{jk} = \sum_i H_{ij} \bar S_{ik} = (H^\top \bar S)_{jk}, \qquad
# \bar H_{ij} = \sum_k \bar S_{ik} W_{jk} = (\bar S \, W^\top)_{ij}, \qquad
# \bar b_k = \sum_i \bar S_{ik}.$$
#
# Last, $\tanh = \sinh / \cosh$. Since $\sinh' = \cosh$ and $\cosh' = \sinh$, its derivative is
# $(\cosh^2 - \sinh^2) / \cosh^2 = 1 - \tanh^2$, so that for $H = \tanh(Z)$
#
# $$\bar Z_{ij} = \bar H_{ij} (1 - H_{ij}^2),$$
#
# and the product $X W_1 + b_1$ goes like the one before. This is all. Now the machine:
# `tg.value_and_grad` makes the function that returns the loss and its gradients, `tg.record` runs
# it once and keeps the tape of all that, and `source()` writes the tape out.

# %%
gradients = tg.value_and_grad(loss, argnums=(0, 1, 2, 3))
tape = tg.record(gradients, *params)
source = tape.source()
print(source)
# > import numpy as np
# >
# > z1 = X @ W1 + b1                                              # (6, 5)
# > hidden = np.tanh(z1)                                          # (6, 5)
# > scores = hidden @ W2 + b2                                     # (6, 3)
# > shifted = scores - scores.max(axis=1, keepdims=True)          # (6, 3)
# > e = np.exp(shifted)                                           # (6, 3)
# > total = e.sum(axis=1, keepdims=True)                          # (6, 1)
# > loss = (np.log(total).sum() - shifted[np.arange(6), y].sum()) / 6
# > dscores = e / total                                           # (6, 3)
# > dscores[np.arange(6), y] -= 1
# > dscores /= 6                                                  # (6, 3)
# > dW2 = hidden.T @ dscores                                      # (5, 3)
# > db2 = dscores.sum(axis=0)                                     # (3,)
# > dhidden = dscores @ W2.T                                      # (6, 5)
# > dz1 = dhidden * (1 - hidden * hidden)                         # (6, 5)
# > dW1 = X.T @ dz1                                               # (4, 5)
# > db1 = dz1.sum(axis=0)                                         # (5,)

# %% [markdown]
# Find our formulas in it: `dW2`, `dhidden`, `dz1`. Two things differ from a mere list of the steps.
# `dscores` is the short formula $(P - \dots) / n$, although the tape holds the division, the
# logarithm and the rest one by one: rules of algebra have simplified it. (`tape.explain()` shows
# each one that was used.) And from each row of the scores its largest is subtracted. The softmax
# does not change by that, as
#
# $$\frac{e^{s_i - a}}{\sum_k e^{s_k - a}} = \frac{e^{-a} e^{s_i}}{e^{-a} \sum_k e^{s_k}},$$
#
# but no $e^{s_i - a}$ is above 1 then, and none can overflow.
#
# The source is a string that Python can run. `source.given` holds the arrays that it reads, by
# name. What it computes is what the engine computes:

# %%
names = dict(source.given)
exec(source, names)
value, slopes = gradients(*params)
print(f"{names['loss']:.6f} {value:.6f}")
# > 1.594272 1.594272
for name, slope in zip(["dW1", "db1", "dW2", "db2"], slopes, strict=True):
    assert np.allclose(names[name], slope, rtol=0, atol=1e-12)

# %% [markdown]
# `tg.compile` goes one step further: it writes such a program once, with the memory for all results
# in between set aside in advance, and from then on runs that in place of the function. It is made
# to be called again and again, with other values of the same shapes, as in gradient descent:

# %%
step = tg.compile(gradients)
for k in range(101):
    value, slopes = step(*params)
    if k % 50 == 0:
        print(f"step {k}: loss {value:.4f}")
    params = [p - 0.5 * slope for p, slope in zip(params, slopes, strict=True)]
# > step 0: loss 1.5943
# > step 50: loss 0.0616
# > step 100: loss 0.0230
print(np.isclose(step(*params)[0], loss(*params), rtol=0, atol=1e-12))
# > True

# %% [markdown]
# ## Try
#
# Multiply `params[2]`, which is the trained $W_2$, by 1000 and call `loss(*params)` as it stands.
# Then run the source on the same: `names.update(zip(["W1", "b1", "W2", "b2"], params))`, `exec`
# again, and look at `names["loss"]`. You should find that one overflows and the other does not: its
# loss is 0, since the net is now certain of each point, and right. Then write the backward pass of
# a net with one more hidden layer by hand, before you have it printed.
