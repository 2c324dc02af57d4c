# %% [markdown]
# # 4. The gradient of the softmax
#
# The softmax turns scores $s_1, \dots, s_m$ into probabilities: positive numbers with the sum 1,
#
# $$p_i = \frac{e^{s_i}}{\sum_k e^{s_k}}.$$
#
# We find its derivative three times: by hand, by tape, and by a checker that measures.
#
# **By hand.** It is easier with the logarithm, $\log p_i = s_i - \log \sum_k e^{s_k}$. The first
# term has the derivative 1 by $s_i$ and 0 by the other scores. That of the second by $s_j$ is
# $e^{s_j} / \sum_k e^{s_k} = p_j$. With $\delta_{ij}$, which is 1 for $i = j$ and otherwise 0,
#
# $$\frac{\partial \log p_i}{\partial s_j} = \delta_{ij} - p_j, \qquad
# \frac{\partial p_i}{\partial s_j} = p_i \frac{\partial \log p_i}{\partial s_j}
# = p_i (\delta_{ij} - p_j).$$
#
# Now let a gradient $g_i = \partial L / \partial p_i$ arrive from whatever loss $L$ is computed
# from the probabilities. Every $p_i$ has read $s_j$, so the parts from all of them add up:
#
# $$\frac{\partial L}{\partial s_j} = \sum_i g_i \, p_i (\delta_{ij} - p_j)
# = p_j \Big( g_j - \sum_i g_i p_i \Big).$$


# %%
import textwrap

import numpy as np

import tinygrad_edu as tg


def softmax(S):  # of each row
    e = np.exp(S)
    return e / np.sum(e, axis=1, keepdims=True)


def by_hand(g, S):
    P = softmax(S)
    return P * (g - np.sum(g * P, axis=1, keepdims=True))


# %% [markdown]
# **By tape.** The engine derives it from the steps: an `exp`, a sum, a division. We take 2 rows of
# 3 scores and any numbers as `g`; the loss $\sum_{ij} g_{ij} P_{ij}$ has just this gradient by $P$.

# %%
rng = np.random.default_rng(0)
S, g = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))


def loss(S):
    return np.sum(g * softmax(S))


print(by_hand(g, S).round(4))
# > [[ 0.3061  0.1565 -0.4627]
# >  [-0.255  -0.0144  0.2694]]
print(tg.grad(loss)(S).round(4))
# > [[ 0.3061  0.1565 -0.4627]
# >  [-0.255  -0.0144  0.2694]]

# %% [markdown]
# **By checker.** Both could be wrong in the same way: the engine's rules were derived by hand, too.
# The checker measures: it changes one score at a time by smaller and smaller steps, looks how the
# loss changes, and compares with what `gradient` returns. `assert_grad` raises an error if that is
# wrong, so it can stand in a test; `check_grad` returns a report.

# %%
print(tg.assert_grad(loss, S, gradient=lambda S: by_hand(g, S)).verdict)
# > OK

# %% [markdown]
# ## A plausible mistake
#
# "The denominator is there only to make the sum 1. It is a number, so $p_i$ is $e^{s_i}$ divided by
# a number, and the derivative of $p_i$ by $s_i$ is $p_i$ itself." In this way of thinking the
# gradient is $g_j \, p_j$. It has the right shape.

# %%
report = tg.check_grad(loss, S, gradient=lambda S: g * softmax(S))
print(report.verdict, len(report.wrong), "of", S.size, "entries")
# > WRONG 6 of 6 entries
print(textwrap.fill(report.findings[0], 90))
# > the path through argument 1 of np.divide is left out (4_softmax_gradient.py:35: return e /
# > np.sum(e, axis=1, keepdims=True))

# %% [markdown]
# The softmax ends in a division, whose argument 0 is the numerator and whose argument 1 is the
# denominator. It depends on all scores, too, and that part of the chain rule is missing.
#
# ## With the cross-entropy
#
# The usual loss of a row with the right class $c$ is $L = -\log p_c$. We have its derivative
# already: $\partial L / \partial s_j = -(\delta_{cj} - p_j) = p_j - \delta_{cj}$, the probabilities
# with 1 subtracted at the right class. For the mean over $n$ rows all is divided by $n$. The first
# check says nothing, since all is right; in the second the 1 has been forgotten.

# %%
c = np.array([2, 0])


def cross_entropy(S):
    return np.mean(-np.log(softmax(S)[np.arange(2), c]))


tg.assert_grad(cross_entropy, S, gradient=lambda S: (softmax(S) - np.eye(3)[c]) / 2)
report = tg.check_grad(cross_entropy, S, gradient=lambda S: softmax(S) / 2)
print(textwrap.fill(report.findings[0], 90))
# > S: one entry of each row is too large by 0.5: the gradient of a softmax without the minus
# > one at the label?

# %% [markdown]
# ## Try
#
# Someone takes the derivative of the sigmoid, $p_j (1 - p_j)$, for that of the softmax: a gradient
# of $g_j \, p_j (1 - p_j)$. Check it. For which $g$ is it right? Compare it with the formula by
# hand: you should find that only $g = 0$ will do. Then prove that the entries of the right gradient
# have the sum 0 in each row. Why must that be so? (Add the same number to all scores of a row.)
