# %% [markdown]
# # 6. Your own operation
#
# Some functions are better differentiated as a whole. An example is Kepler's equation. A planet
# moves on an ellipse of eccentricity $0 \le e < 1$. Its mean anomaly $M$ is an angle that grows in
# proportion to time; where it is then depends on another angle, the eccentric anomaly $E$, with
#
# $$E - e \sin E = M.$$
#
# No elementary formula solves this for $E$, so we use Newton's method: from a guess, follow the
# tangent to where it crosses zero, and again. A tape would record all these steps. They are not
# needed: once $E$ is known, its derivatives follow from the equation itself.
#
# Think of $E$ as the function $E(M, e)$ that satisfies it, and differentiate both sides by $M$,
# with $e$ fixed:
#
# $$\frac{\partial E}{\partial M} - e \cos E \, \frac{\partial E}{\partial M} = 1,
# \qquad \frac{\partial E}{\partial M} = \frac{1}{1 - e \cos E}.$$
#
# By $e$, with $M$ fixed, the product $e \sin E$ has two terms:
#
# $$\frac{\partial E}{\partial e} - \sin E - e \cos E \, \frac{\partial E}{\partial e} = 0,
# \qquad \frac{\partial E}{\partial e} = \frac{\sin E}{1 - e \cos E}.$$
#
# The denominator is positive, as $e < 1$. (This is implicit differentiation; it needs that $E$ is
# differentiable at all, which the implicit function theorem grants where the denominator is not 0.)
#
# `tg.primitive` makes a function one step of the tape, in which anything may stand. A rule gets the
# gradient `g` that arrives at the output, the output, and the inputs, and returns the gradient of
# its input: `g` times the derivative. Here we are glad to be given the output, which is $E$.


# %%
import numpy as np

import tinygrad_edu as tg


@tg.primitive
def eccentric_anomaly(M, e):
    E = M + e * np.sin(M)
    for _ in range(20):
        E = E - (E - e * np.sin(E) - M) / (1 - e * np.cos(E))
    return E


def dM(g, E, M, e):
    return g / (1 - e * np.cos(E))


def de(g, E, M, e):
    return g * np.sin(E) / (1 - e * np.cos(E))


eccentric_anomaly.derivative(dM, de, core_axes=0)

# %% [markdown]
# `core_axes=0` says that the function works entry by entry and broadcasts its inputs, so that the
# engine sums gradients as in the third script: below, $e$ is one number for five values of $M$.
#
# Does the function solve the equation, and are the rules right? A rule is NumPy code, so it can be
# differentiated in its turn; `order=2` checks that, too.

# %%
M, e = np.linspace(0.5, 5.5, 5), np.array(0.3)
E = eccentric_anomaly(M, e)
report = tg.check_grad(eccentric_anomaly, M, e, order=2)
print(
    np.allclose(E - e * np.sin(E), M, rtol=0, atol=1e-12),
    report.verdict,
    [part.label for part in report.inputs],
)
# > True OK ['M', 'e', 'M, order 2', 'e, order 2']

# %% [markdown]
# The new step works together with all others. How does the distance from the sun at one time,
# $1 - e \cos E$ (the longest radius of the ellipse being 1), change with $M$ and with $e$?


# %%
def distance(M, e):
    return 1 - e * np.cos(eccentric_anomaly(M, e))


by_M, by_e = tg.grad(distance, argnums=(0, 1))(2.0, 0.3)
print(f"{by_M:.4f} {by_e:.4f}")
# > 0.1992 0.7739
print(tg.Tape.of(distance(tg.Tensor(2.0, requires_grad=True, name="M"), 0.3)))
# >     operation                  shape  value
# > %0  M = input                  ()     2
# > %1  eccentric_anomaly(M, 0.3)  ()     2.236
# > %2  np.cos(%1)                 ()     -0.6172
# > %3  0.3 * %2                   ()     -0.1852
# > %4  1 - %3                     ()     1.185

# %% [markdown]
# ## A wrong rule
#
# In a hurry one leaves out that $E$ depends on $e$, too, where $\sin E$ is differentiated: then
# $\partial E / \partial e = \sin E$, without a denominator. The checker measures each rule of the
# tape by itself, so it finds the one to blame: that of `e`, argument 1 if counted from 0.

# %%
eccentric_anomaly.derivative(dM, lambda g, E, M, e: g * np.sin(E), core_axes=0)
report = tg.check_grad(distance, M, e)
print(report.verdict, report.findings[0], sep="\n")
# > WRONG
# > %2 eccentric_anomaly, 6_your_own_operation.py:82
# >     return 1 - e * np.cos(eccentric_anomaly(M, e))
# >     the rule for its argument 1 is wrong: 1 of 1 entries; for one, the gradient by x is
# >     -0.680384326 and should be -0.657259272
eccentric_anomaly.derivative(dM, de, core_axes=0)  # the right ones again

# %% [markdown]
# ## Try
#
# $y + y^3 = x$ has one real solution $y$ for each $x$, as the left side grows with $y$. Make it an
# operation `root(x)` by Newton's method. Derive its rule, which reads `y` alone. You should find
# the slope $\frac14$ at $x = 2$, where $y = 1$; then let `tg.check_grad` look, with `order=2`.
