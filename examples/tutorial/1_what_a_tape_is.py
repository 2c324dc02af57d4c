# %% [markdown]
# # 1. What a tape is
#
# You know NumPy and the chain rule. How can a program find the derivative of another program?
#
# Take a weight $w$, a bias $b$ and the loss $L = (3w + b - 1)^2$. The computer gets to $L$ in small
# steps, each so simple that its derivative stands in a table:
#
# $$z_1 = 3w, \qquad z_2 = z_1 + b, \qquad z_3 = z_2 - 1, \qquad L = z_3^2.$$
#
# A **tape** is the list of these steps in the order in which they ran, with the values that each of
# them read and made. To have one recorded, we compute with a `Tensor`, which holds a NumPy array
# and remembers the step that made it; `tg.Tape.of` collects the steps that lead to a result.
# `requires_grad=True` says that we shall ask for the derivative by this one; `name` is only for
# reading.

# %%
import numpy as np

import tinygrad_edu as tg

w = tg.Tensor(2.0, requires_grad=True, name="w")
b = tg.Tensor(0.5, requires_grad=True, name="b")
loss = (w * 3 + b - 1) ** 2

tape = tg.Tape.of(loss)
print(tape)
# >     operation  shape  value
# > %0  w = input  ()     2
# > %1  b = input  ()     0.5
# > %2  w * 3      ()     6
# > %3  %2 + b     ()     6.5
# > %4  %3 - 1     ()     5.5
# > %5  %4 ** 2    ()     30.25

# %% [markdown]
# Each line of the tape is an **entry**: first the two inputs, which no step has made and which read
# nothing, then the four steps. The numbers 3, 1 and 2 have no entry: nobody asks for a derivative
# by them. An entry holds what the step read (`values`), the entries which made that (`inputs`), and
# the result (`y`).

# %%
for entry in tape:
    read = [float(value) for value in entry.values]
    print(f"{entry.y:6.2f}   read: {read}")
# >   2.00   read: []
# >   0.50   read: []
# >   6.00   read: [2.0, 3.0]
# >   6.50   read: [6.0, 0.5]
# >   5.50   read: [6.5, 1.0]
# >  30.25   read: [5.5, 2.0]

# %% [markdown]
# Now the derivatives. Write $\bar z$ for $\partial L / \partial z$, the **gradient** that arrives
# at $z$: a small change of $z$ by $h$ changes $L$ by about $\bar z h$. At the end of the tape it is
# $\bar L = \partial L / \partial L = 1$. From there we go back, one step at a time. $z_3$ has its
# effect on $L$ through the last step alone, so the chain rule says
#
# $$\bar z_3 = \bar L \cdot \frac{\partial L}{\partial z_3} = \bar L \cdot 2 z_3.$$
#
# In the same way $z_2$ acts through $z_3$ alone. $z_1$ and $b$ both act through $z_2$ alone, each
# while the other stands still, and $w$ through $z_1$ alone:
#
# $$\bar z_2 = \bar z_3 \cdot 1, \qquad
# \bar z_1 = \bar z_2 \cdot 1, \qquad
# \bar b = \bar z_2 \cdot 1, \qquad
# \bar w = \bar z_1 \cdot 3.$$

# %%
z3 = 2.0 * 3 + 0.5 - 1
L_bar = 1.0
z3_bar = L_bar * 2 * z3
z2_bar = z3_bar * 1
z1_bar, b_bar = z2_bar * 1, z2_bar * 1
w_bar = z1_bar * 3
print("by hand:", w_bar, b_bar)
# > by hand: 33.0 11.0

# %% [markdown]
# Every line had the same form: the gradient `g` that arrives at a step, times the derivative of
# that step by what it read. So a step needs a **rule** for each of its inputs, a function of `g`,
# the output and the inputs that returns the gradient of that input. For a product $y = a \cdot b$
# it is `g * b` for $a$ and `g * a` for $b$. The engine has a book of such rules: `entry.primitive`
# is the operation of an entry, and `rule(position)` its rule for one input. With them, this loop
# goes back along any tape on which every entry is read once:

# %%
gradients = {tape[-1]: np.array(1.0)}
for entry in reversed(tape):
    for position, source in enumerate(entry.inputs):
        if source is not None:  # a plain number, such as 3, has no entry
            rule = entry.primitive.rule(position)
            gradients[source] = rule(gradients[entry], entry.y, *entry.values)
print("by walk:", gradients[tape[0]], gradients[tape[1]])
# > by walk: 33.0 11.0

# %% [markdown]
# The loop went along the tape once and has the derivatives by both inputs; for a million inputs it
# would still go along it once. This is why we start at the end: all inputs share the way back from
# $L$. (A difference quotient needs another forward run for every single input.)
#
# `backward()` does the same, and stores the gradients in the Tensors. It gives the memory of the
# tape back when it is done, unless we ask it to keep the tape with `retain_graph=True`.

# %%
loss.backward(retain_graph=True)
print("backward():", w.grad, b.grad)
# > backward(): 33.0 11.0

# %% [markdown]
# ## Try
#
# `tape.page("tape.html")` writes a page that goes along this tape with the arrow keys. See it.
#
# Change the loss to $(3w + b - 1)^3$, in the cell that records it, in the line of `z3_bar` and
# nowhere else. You should find $\bar w = 9 z_3^2$ and $\bar b = 3 z_3^2$, three times. Then record
# `w * w` in place of `w * 3` (the lines by hand no longer fit then, leave them). The loop and
# `backward()` now disagree about $w$ by a factor of 2. Which of them is right, and where does the
# other go wrong? The next script has the answer.
