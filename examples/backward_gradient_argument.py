# %% [markdown]
# # What is the argument of `backward`?
#
# A question about PyTorch: there is `x`, a vector `y` computed from it, and then
#
# ```python
# gradients = torch.FloatTensor([0.1, 1.0, 0.0001])
# y.backward(gradients)
# print(x.grad)
# ```
#
# What are the three numbers? In one sentence: **the weights of a sum.** A gradient belongs to one
# number, and $y$ has three. The argument $v$ says which number is meant, $s = \sum_i v_i y_i$, and
#
# $$\frac{\partial s}{\partial x_j} = \sum_i v_i \frac{\partial y_i}{\partial x_j}, \qquad
# \text{that is,} \quad v^\top J \quad \text{with the Jacobian} \quad
# J_{ij} = \frac{\partial y_i}{\partial x_j}.$$
#
# We run the code of the answers, with `tg.Tensor` in place of torch's; where that differs, it is
# said.

# %%
import numpy as np
from options import need, options

import tinygrad_edu as tg

options = options("PyTorch's question: what is the argument of backward()?")


def show(name, values):
    print(f"{name:8}", *(f"{value:.4e}" for value in np.ravel(values)))


# %% [markdown]
# ## One element, another, all of them
#
# The first answer takes $z = 2x$. With the weights $(1, 0, 0, 0)$ the sum is $z_1$ alone, with
# $(1, 1, 1, 1)$ it is the loss. `retain_graph=True` keeps the tape for the next call.

# %%
x = tg.Tensor([[1.0, 2.0, 3.0, 4.0]], requires_grad=True, name="x")
z = 2 * x
loss = np.sum(z, axis=1)

of_z = {}
for weights in ([[1, 0, 0, 0]], [[0, 1, 0, 0]], [[1, 1, 1, 1]]):
    z.backward(weights, retain_graph=True)
    of_z[tuple(weights[0])] = x.grad
    print("weights", weights[0], "-> x.grad", x.grad)
    x.zero_grad()

loss.backward()  # the same as loss.backward([1.0])
of_loss = x.grad
print("loss.backward()       -> x.grad", of_loss)

# The weights (1, 0, 0, 0) have picked one row of the Jacobian; all rows at once are
rows = tg.jacobian(lambda x: 2 * x)(np.array([1.0, 2.0, 3.0, 4.0]))
print(rows)

# %% [markdown]
# ## Example 1: three inputs, three weights
#
# $y = 3a + 2b^2 + \log c$, elementwise. "The Jacobian would be $[3, 4b, 1/c]$", says the answer;
# those are its diagonals. Outside of them all is 0, for $y_1$ depends on $a_1$, $b_1$, $c_1$ only,
# and so each weight comes out times one derivative.


# %%
def f(a, b, c):
    return 3 * a + 2 * b * b + np.log(c)


def tensors(*values):
    return [tg.Tensor(value, requires_grad=True) for value in values]


points = np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0]])
v = np.array([0.1, 1.0, 0.0001])
a, b, c = tensors(*points)
f(a, b, c).backward(v)
example_1 = {"a.grad": a.grad, "b.grad": b.grad, "c.grad": c.grad}
for name, found in example_1.items():
    show(name, found)

# %% [markdown]
# By hand it is $3v$, $4bv$, $v / c$. The same by the whole Jacobian, and by `tg.vjp`, which is what
# `backward` computes: the product of a vector with the Jacobian, without ever making the matrix.

# %%
jacobians = tg.jacobian(f, argnums=(0, 1, 2))(*points)
print("dy/db\n", jacobians[1])
y, pullback = tg.vjp(f, *points)


def by_hand(a, b, c):
    return 3 * v, 4 * b * v, v / c


ways = v @ jacobians, pullback(v), by_hand(*points)
for one, *others in zip(example_1.values(), *ways, strict=True):
    print(*(np.allclose(one, other, rtol=1e-15, atol=0) for other in others))
report = tg.check_grad(lambda a, b, c: v @ f(a, b, c), *points, gradient=by_hand)
print("checker:", report.verdict)

# %% [markdown]
# ## Example 2: a single value needs no weights
#
# The weight of a single number is 1 if nothing is said.

# %%
a, b, c = tensors(0.1, 1.0, 0.1)
f(a, b, c).backward()
show("a, b, c", [a.grad, b.grad, c.grad])

# %% [markdown]
# ## Example 3: three weights for one value
#
# `torch.empty(1)` happened to hold 0, so that $y$ had one element, and the argument three. PyTorch
# once took the sum of the weights, 1.1001, and printed 3.3003, 0 and inf. Such a mistake should not
# pass: here it is an error (in today's PyTorch, too). Who means it says so, by repeating `y`. The
# infinity is right, since the slope of the logarithm at 0 is infinite.

# %%
a, b, c = tensors([0.0], [0.0], [0.0])
with np.errstate(divide="ignore"):
    y = f(a, b, c)
    try:
        y.backward(v)
    except ValueError as error:
        refused = str(error)
        print("refused:", refused)
    np.broadcast_to(y, (3,)).backward(v)
show("a, b, c", [a.grad, b.grad, c.grad])

# %% [markdown]
# ## Example 4: two calls add up
#
# `.grad` is a sum over all calls; that is why a training loop calls `zero_grad()`. Without
# `retain_graph=True` the first call frees the tape, and the second one would be refused.

# %%
a, b, c = tensors(1.0, 1.0, 1.0)
y = f(a, b, c)
y.backward(retain_graph=True)
y.backward()
show("a, b, c", [a.grad, b.grad, c.grad])
try:
    y.backward()
except RuntimeError as error:
    freed = str(error)
    print("a third time:", freed)

# %% [markdown]
# ## Several losses of one weight
#
# "If your output has multiple values", says another answer, "e.g. `loss = [loss1, loss2, loss3]`":
# ones give the gradient of their sum, other weights "add importances". With the losses $w$, $w^2$
# and $w^3$ the gradient is $v_1 + 2 v_2 w + 3 v_3 w^2$.

# %%
importances = {}
for weights in ([1.0, 1.0, 1.0], [-0.1, 1.0, 0.0001]):
    (w,) = tensors(2.0)
    np.stack([w, w**2, w**3]).backward(np.array(weights))
    importances[tuple(weights)] = w.grad
    show(f"weights {weights}", w.grad)

# %% [markdown]
# ## Where the weights come from
#
# In a net nobody thinks them up. Another answer: "they can have other values, especially if $y$ is
# part of a bigger network", where $dz/dx = \sum_i dz/dy_i \cdot dy_i/dx$. So cut a net in two. The
# gradient that the back part sends to $y$ is the argument with which the front part goes on.

# %%
rng = np.random.default_rng(0)
W, x = 0.5 * rng.normal(size=(3, 4)), 0.5 * rng.normal(size=4)


def front(x):
    return np.tanh(W @ x)


def back(y):
    return np.sum((y - np.array([1.0, 0.0, -1.0])) ** 2)


whole = tg.grad(lambda x: back(front(x)))(x)
dz_dy = tg.grad(back)(front(x))
inner = tg.Tensor(x, requires_grad=True, name="x")
front(inner).backward(dz_dy)
show("whole", whole)
show("in two", inner.grad)

# %% [markdown]
# As a picture: each entry of the gradient is the weighted sum of the column above it.

# %%
plt = need("matplotlib.pyplot", "plot")
J = tg.jacobian(front)(x)
figure, axes = plt.subplots(
    2, 2, figsize=(7, 4.2), width_ratios=(1, 3), height_ratios=(3, 1), layout="constrained"
)
axes[1, 0].axis("off")
panels = {
    "weights $v$": (axes[0, 0], dz_dy[:, None]),
    "Jacobian $J = dy/dx$": (axes[0, 1], J),
    "$x$.grad $= v^T J = dz/dx$": (axes[1, 1], inner.grad[None, :]),
}
for title, (ax, matrix) in panels.items():
    limit = np.abs(matrix).max()
    ax.imshow(matrix, cmap="cividis", vmin=-limit, vmax=limit, aspect="auto")
    for (i, j), value in np.ndenumerate(matrix):
        ax.text(j, i, f"{value:.3f}", ha="center", va="center", color="k" if value > 0 else "w")
    ax.set(title=title, xticks=[], yticks=[])
options.save(axes[0, 1], "backward_gradient_argument")

# %% [markdown]
# So the argument is the gradient of a number, that comes after `y`, with respect to `y`. With it
# `backward` computes one product of a vector and the Jacobian; one row of the Jacobian is the
# special case of a 1 among zeros, and the usual `loss.backward()` that of a single 1.
