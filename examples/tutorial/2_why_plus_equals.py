# %% [markdown]
# # 2. Why plus equals
#
# In the first script every value was read once. As soon as two steps read the same value, the loop
# that goes back along the tape has to add: `=` becomes `+=`. The smallest such program is called
# the diamond, for its shape:
#
# ```
#           u = 2 * x
#         /           \
#       x               y = u * v
#         \           /
#           v = x + 1
# ```
#
# Of course $y = 2x(x + 1) = 2x^2 + 2x$, so that $dy/dx = 4x + 2$, and we can see who is right.

# %%
import numpy as np

import tinygrad_edu as tg

x = tg.Tensor(3.0, requires_grad=True, name="x")
u = 2 * x
v = x + 1
y = u * v
diamond = tg.Tape.of(y)
print(diamond)
# >     operation  shape  value
# > %0  x = input  ()     3
# > %1  2 * x      ()     6
# > %2  x + 1      ()     4
# > %3  %1 * %2    ()     24
print("should be", 4 * 3.0 + 2)
# > should be 14.0

# %% [markdown]
# Here is the loop of the first script, with `add=False`, and one that adds the parts up.


# %%
def walk(tape, add):
    gradients = {tape[-1]: np.array(1.0)}
    for entry in reversed(tape):
        for position, source in enumerate(entry.inputs):
            if source is not None:
                rule = entry.primitive.rule(position)
                part = rule(gradients[entry], entry.y, *entry.values)
                if add and source in gradients:
                    part = gradients[source] + part
                gradients[source] = part
    return gradients


print([walk(diamond, add)[diamond[0]].item() for add in (False, True)])
# > [8.0, 14.0]

# %% [markdown]
# Without adding, the part that was computed last has overwritten the other. Why is the sum right?
#
# Give each of the two steps a copy of $x$ of its own: $u = 2 x_1$ and $v = x_2 + 1$. Then $y$ is a
# function $H(x_1, x_2)$, and we are interested in $x_1 = x_2 = x$. Change $x$ by a small $h$, and
# both copies change by $h$. That $H$ is differentiable means
#
# $$H(x + h, x + h)
# = H(x, x) + \frac{\partial H}{\partial x_1} h + \frac{\partial H}{\partial x_2} h + o(h),$$
#
# where $o(h)$ is something that, divided by $h$, goes to 0 with $h$. Subtract $H(x, x)$, divide by
# $h$, let $h$ go to 0:
#
# $$\frac{dy}{dx} = \frac{\partial H}{\partial x_1} + \frac{\partial H}{\partial x_2}.$$
#
# A copy is read by one step alone, so we know its gradient from the first script: the gradient that
# arrives at that step, times the step's derivative. With more readers there are more copies and
# more terms. **The gradient of a value is the sum of one part from each read.** In the diamond
# (with the bars of the first script) $\bar u = v$ and $\bar v = u$, since $y = uv$; the steps have
# the derivatives 2 and 1:

# %%
part_u, part_v = v.item() * 2, u.item() * 1
print(part_u, "+", part_v, "=", part_u + part_v)
# > 8.0 + 6.0 = 14.0

# %% [markdown]
# A step may also read the same value twice. $x \cdot x$ is a product $a \cdot b$ with $a = x$ and
# $b = x$: each of its two inputs gets the gradient times the other one, and the sum is $2x$.

# %%
square = tg.Tape.of(x * x)
print([walk(square, add)[square[0]].item() for add in (False, True)])
# > [3.0, 6.0]

# %% [markdown]
# One thing is left to show. When the loop comes to an entry, it passes on what has been summed so
# far. Is that sum complete? Yes: a step that reads a value runs after the step that made it, so it
# stands later on the tape, and a loop from the end has been there already.
#
# So each entry is dealt with once, although a change can travel along enormously many paths. Double
# a number 60 times by `y = y + y`: at each step a path takes the left or the right input, which
# makes $2^{60}$ paths, each of slope 1. To follow them one by one, at a billion a second, takes
# more than thirty years. The loop runs two rules for each of the 60 sums.

# %%
x = tg.Tensor(1.0, requires_grad=True, name="x")
y = x
for _ in range(60):
    y = y + y
chain = tg.Tape.of(y)
slope = walk(chain, add=True)[chain[0]]
print(len(chain), "entries, slope", int(slope), "=", 2**60)
# > 61 entries, slope 1152921504606846976 = 1152921504606846976

# %% [markdown]
# ## Try
#
# Two losses of the same `x` are a diamond, too, whose last step is their sum. Make `a = x * x` and
# `b = 5 * x` of a new `x`, call `a.backward()`, then `b.backward()`, and look at `x.grad`. The
# engine adds the second gradient to the first: you should find $2x + 5$. Which `+=` has done this,
# and what would a training loop compute that forgets `x.zero_grad()`?
