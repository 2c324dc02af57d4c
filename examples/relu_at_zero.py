# %% [markdown]
# # Does it matter what the derivative of ReLU is at 0?
#
# The ReLU $\max(0, z)$ has slope 0 on the left of 0 and slope 1 on the right; at 0 it has no
# derivative. A question in the documents asks what that means for gradient descent. The answer
# given there: the input is rarely exactly 0, so it makes no significant difference; take 0, 0.5 and
# 1, and see if anything changes. `tg.relu(z, at_zero=c)` takes any of them. We count the exact
# zeros, and find three cases: none at all, a few, and nothing but zeros.

# %%
import numpy as np
from options import options

import tinygrad_edu as tg

options = options("The derivative of ReLU at 0 as 0, 0.5 and 1: does it matter?")
CONVENTIONS = (0, 0.5, 1)

# %% [markdown]
# Any number from 0 to 1 is a subgradient: a slope between those on the two sides. The checker
# measures both sides and accepts what lies between them. It calls the place a kink.


# %%
def relu(z):
    return np.maximum(0, z)


accepted = {}
for c in (-0.5, *CONVENTIONS, 2):
    report = tg.check_grad(relu, 0.0, gradient=lambda z, c=c: c * (z == 0) + (z > 0))
    accepted[c] = bool(report)
    print(f"slope {c} at 0: {'accepted' if report else 'refused'}")
print(report)

# %% [markdown]
# ## Random weights: no zeros
#
# The net of the answer: 2 inputs and a 1 for the bias, 30 ReLUs, 1 output, 4 points, 200 steps on
# the sum of the squared errors. The gradient by hand is beside the engine's; its third line is the
# one that the question is about.


# %%
def squared_error(w1, w2, at_zero):
    return np.sum((tg.relu(x @ w1, at_zero=at_zero) @ w2 - y) ** 2)


def gradient_by_hand(w1, w2, at_zero):
    h = x @ w1
    grad_y_pred = 2 * (np.maximum(h, 0) @ w2 - y)
    slope = np.where(h == 0, at_zero, h > 0)
    grad_h = grad_y_pred @ w2.T * slope
    return x.T @ grad_h, np.maximum(h, 0).T @ grad_y_pred


def train(w1, w2, at_zero, steps=200, learning_rate=0.002):
    """The losses, how many inputs of a ReLU were exactly 0, and how far by hand is off."""
    losses, zeros, apart = [], 0, 0.0
    for _ in range(steps):
        zeros += np.sum(x @ w1 == 0)
        loss, gradients = tg.value_and_grad(squared_error, (0, 1))(w1, w2, at_zero)
        by_hand = gradient_by_hand(w1, w2, at_zero)
        apart = max(apart, *(np.abs(a - b).max() for a, b in zip(gradients, by_hand, strict=True)))
        losses.append(float(loss))
        w1, w2 = w1 - learning_rate * gradients[0], w2 - learning_rate * gradients[1]
    return losses, int(zeros), apart


def compare(title, w1, w2):
    print(f"\n{title}")
    runs = {c: train(w1, w2, c) for c in CONVENTIONS}
    for c, (losses, zeros, apart) in runs.items():
        print(
            f"at_zero={c:<3}: loss {losses[0]:.6f} -> {losses[-1]:.6f}, {zeros:5} exact zeros, "
            f"by hand the same up to {apart:.0e}"
        )
    return runs


rng = np.random.RandomState(1)
x = np.c_[rng.randn(4, 2), np.ones(4)]
y = rng.randn(4, 1)
w1, w2 = rng.randn(3, 30), rng.randn(30, 1)
random = compare("random weights", w1, w2)
print("the same to the last bit:", random[0][0] == random[0.5][0] == random[1][0])

# %% [markdown]
# ## A point at the origin, biases at 0: a few zeros
#
# "I don't see this ever happening", says the answer. It happens in the notebook "Vanishing
# Gradients" (see `vanishing_gradients.py`): each of the three arms of its spiral begins exactly at
# the origin, and biases usually begin at 0. So in the first step every ReLU of both hidden layers
# has the input 0 for these three points, whatever the weights are.
#
# And still it makes no difference, for a reason of its own. All hidden units are 0 there, so the
# weights get no gradient from these points, only the biases do. The outputs are 0, too, so that the
# gradient by the scores is $(\tfrac13, \tfrac13, \tfrac13)$ minus the one-hot label. The points are
# of one class each: the three gradients add up to 0. Leave the first point out, and they do not.


# %%
def count_zeros(net, X):
    """How many inputs of the ReLUs are exactly 0."""
    W1, b1, W2, b2, *_ = (p.data for p in net.parameters())
    z1 = X @ W1 + b1
    z2 = np.maximum(z1, 0) @ W2 + b2
    return int(np.sum(z1 == 0) + np.sum(z2 == 0))


def learn_spiral(at_zero, without=0):
    """The losses, and the zeros at every step, without so many of the first points."""
    rng = np.random.RandomState(0)
    net = tg.nn.MLP((2, 50, 50, 3), lambda: tg.nn.ReLU(at_zero=at_zero), init=0.1, rng=rng)
    zeros = [count_zeros(net, X[without:])]
    trainer = tg.Trainer(
        net,
        tg.optim.SGD(net.parameters(), 0.1),
        l2=1e-3,
        callbacks=[lambda trainer: zeros.append(count_zeros(trainer.model, X[without:]))],
    )
    return trainer.fit(X[without:], labels[without:], epochs=steps).loss, zeros[:-1]


steps = options.pick(101, 3001, 30_001)
X, labels = tg.data.spiral(points_per_class=100, classes=3, noise=0.2, rng=0)
spirals = {}
for without, title in ((0, "the spiral"), (1, "the spiral without its first point")):
    runs = {c: learn_spiral(c, without) for c in CONVENTIONS}
    spirals[without] = runs
    print(f"\n{title}: losses of steps 0, 1, 100 and {steps - 1}")
    for c, (losses, zeros) in runs.items():
        some = "  ".join(f"{losses[i]:.9f}" for i in (0, 1, 100, steps - 1))
        print(f"at_zero={c:<3}: {some}; {zeros[0]} exact zeros at step 0, {sum(zeros[1:])} later")
    furthest = max(np.abs(np.subtract(runs[c][0], runs[0][0])).max() for c in (0.5, 1))
    print(f"the losses differ by at most {furthest:.1e}")

# %% [markdown]
# ## First weights at 0: nothing but zeros
#
# With `w1 = 0` every input of every ReLU is 0. With the convention 0 no gradient comes through:
# `w1` stays where it is, and the ReLUs put out 0, so that `w2` has no gradient either. Nothing is
# ever learned. With 0.5 or 1 the first step leaves that place, and different conventions go
# slightly different ways. If `w2` is 0 as well, no convention helps: what `at_zero` multiplies is
# 0.

# %%
zero = compare("w1 = 0, w2 random", 0 * w1, w2)
both = compare("w1 = 0 and w2 = 0", 0 * w1, 0 * w2)

if options.out is not None:
    lines = {f"at_zero = {c}": losses for c, (losses, *_) in zero.items()}
    ax = tg.plot.curves(
        lines, title="First weights at 0: ReLU's derivative there decides", ylabel="loss"
    )
    options.save(ax, "relu_at_zero")

# %% [markdown]
# So the answer is right where no input is exactly 0: the runs do not differ by a single bit.
# Zeros do occur, though, and for a plain reason: something begins at 0. A few of them change the
# losses in the fourth digit or later, which matters to those who compare digits. If all are 0, the
# convention decides whether anything is learned, and the cure is random weights.
