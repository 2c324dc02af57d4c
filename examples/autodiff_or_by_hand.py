# %% [markdown]
# # The gradient of a net: by the library, by hand, and by both
#
# A net with one hidden layer learns a spiral. Its gradient comes about in three ways: `tg.grad` of
# the loss as it is written in plain NumPy, the formulas of backpropagation derived by hand, and
# `tg.nn.MLP` with a `Trainer`. Do they agree, at every step of the training? And what would we see
# if the formulas had a mistake?

# %%
from functools import partial

import numpy as np
from options import need, options
from tqdm import tqdm, trange

import tinygrad_edu as tg

options = options("One net, its gradient by three ways, at every step of its training.")
plt = need("matplotlib.pyplot", "plot")
random = np.random.RandomState(0)  # NumPy's older generator, which the document uses
X, y = tg.data.spiral(points_per_class=100, rng=random)
m, n, h, classes = len(X), 2, 100, 3
penalty = 1e-3


# %% [markdown]
# ## The loss, and its gradient by hand
#
# With $Z = X W_1 + b_1$, hidden units $H = g(Z)$ and scores $S = H W_2 + b_2$, the probability of
# class $k$ for point $i$ is $P_{ik} = e^{S_{ik}} / \sum_j e^{S_{ij}}$, and
#
# $$L = -\frac1m \sum_i \log P_{i y_i} + \frac\lambda2 \left(\|W_1\|^2 + \|W_2\|^2\right).$$
#
# From $\log P_{i y_i} = S_{i y_i} - \log \sum_j e^{S_{ij}}$ the derivative by the scores follows:
# $\partial L / \partial S_{ik} = (P_{ik} - [k = y_i]) / m$. Then the chain rule goes back through
# one matrix product, through $g$ at its **input** $Z$, and through the other product.


# %%
def relu(z):
    return np.maximum(0, z)


def relu_prime(z):
    return (z > 0).astype(float)


def logistic(z):
    return 1 / (1 + np.exp(-z))


def logistic_prime(z):
    return logistic(z) * (1 - logistic(z))


def loss(W1, b1, W2, b2, g=relu):
    scores = g(X @ W1 + b1) @ W2 + b2
    exp_scores = np.exp(scores)
    probs = exp_scores / np.sum(exp_scores, axis=1, keepdims=True)
    data_loss = np.sum(-np.log(probs[range(m), y])) / m
    return data_loss + 0.5 * penalty * (np.sum(W1 * W1) + np.sum(W2 * W2))


def by_hand(W1, b1, W2, b2, g=relu, g_prime=relu_prime):
    Z = X @ W1 + b1
    H = g(Z)
    exp_scores = np.exp(H @ W2 + b2)
    dS = exp_scores / np.sum(exp_scores, axis=1, keepdims=True)
    dS[range(m), y] -= 1
    dS /= m
    dZ = dS @ W2.T * g_prime(Z)
    return X.T @ dZ + penalty * W1, dZ.sum(axis=0), H.T @ dS + penalty * W2, dS.sum(axis=0)


# %% [markdown]
# ## The three side by side
#
# The `Trainer` takes the steps, of size 1. At each of them the other two say what the gradient is
# at its parameters, and all three must agree to $10^{-12}$.

# %%
net = tg.nn.MLP((n, h, classes), activation="relu", init=0.01, rng=random)
start = [p.numpy().copy() for p in net.parameters()]
by_autodiff = tg.grad(loss, argnums=(0, 1, 2, 3))
gaps = []


class Compare(tg.Callback):
    def on_gradients(self, trainer):
        params = [p.numpy() for p in net.parameters()]
        ours = [p.grad for p in net.parameters()]
        others = [by_autodiff(*params), by_hand(*params)]
        pairs = [pair for other in others for pair in zip(ours, other, strict=True)]
        gaps.append(max(np.max(np.abs(a - b)) for a, b in pairs))
        assert gaps[-1] < 1e-12, f"at step {len(gaps)} the gradients differ by {gaps[-1]}"


steps = options.pick(small=300, usual=10_000, full=10_000)
sgd = tg.optim.SGD(net.parameters(), lr=1.0)
trainer = tg.Trainer(net, sgd, l2=penalty, callbacks=[Compare()])
history = trainer.fit(X, y, epochs=steps)
for i in range(0, steps, 1000):
    print(f"iteration {i}: loss {history.loss[i]:f}")
print(f"the gradients agree at all {len(gaps)} steps, to {max(gaps):.0e}")
print(f"training accuracy: {trainer.score(X, y):.2f}")

# %% [markdown]
# Two trainings that each go their own way do come apart, although every gradient agrees to the last
# digits: a difference in the last digit moves the place where a ReLU switches, and grows with the
# steps. The losses stay the same to five decimals.

# %%
params = [p.copy() for p in start]
for i in trange(steps, desc="by hand"):
    if i % 1000 == 0:
        tqdm.write(f"iteration {i}: loss {loss(*params):f}")
    for p, dp in zip(params, by_hand(*params), strict=True):
        p -= dp
apart = max(np.max(np.abs(p - q.numpy())) for p, q in zip(params, net.parameters(), strict=True))
final = float(trainer.objective(X, y).numpy())
print(f"trained by hand: loss {loss(*params):f}, by the Trainer {final:f}")
print(f"their parameters are apart by {apart:.0e}")

# %% [markdown]
# ## Without a hidden layer
#
# Softmax regression is the same net without its hidden layer: `tg.nn.MLP((2, 3))`. Its regions are
# bounded by straight lines, which cannot follow a spiral.

# %%
linear = tg.nn.MLP((n, classes), init=0.01, rng=random)
regression = tg.Trainer(linear, tg.optim.SGD(linear.parameters(), lr=1.0), l2=penalty)
regression_history = regression.fit(X, y, epochs=200)
for i in range(0, 200, 10):
    print(f"iteration {i}: loss {regression_history.loss[i]:f}")
print(f"softmax regression, training accuracy: {regression.score(X, y):.2f}")


def predict_by_hand(rows):
    W1, b1, W2, b2 = params
    return np.argmax(relu(rows @ W1 + b1) @ W2 + b2, axis=1)


_, axes = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
tg.plot.decision_regions(trainer, X, y, axes[0], "One hidden layer, by the Trainer")
tg.plot.decision_regions(predict_by_hand, X, y, axes[1], "One hidden layer, by hand")
tg.plot.decision_regions(regression, X, y, axes[2], "Softmax regression")
options.save(axes[0], "autodiff_or_by_hand")

# %% [markdown]
# ## The mistake that nobody notices
#
# The document computes $g'$ of the **activation**, `g_prime(hidden)`, and offers the logistic
# function in place of the ReLU. For a ReLU that is no mistake, as $\max(0, z) > 0$ exactly where
# $z > 0$. For the logistic function it is: the slope is taken at $\sigma(z)$ instead of $z$. The
# loss still goes down, only less far, and nothing says why. The checker compares the formulas with
# slopes that it measures, and says which mistake explains the difference.

# %%
shapes = [(n, 20), (20,), (20, classes), (classes,)]  # 20 units are enough to check with
point = [random.standard_normal(shape) for shape in shapes]


def verdict(g, formulas):
    report = tg.check_grad(partial(loss, g=g), *point, gradient=formulas)
    print(report.verdict, *report.findings, sep="\n    ")
    return report


print("relu, g_prime(hidden):", end=" ")
relu_report = verdict(relu, partial(by_hand, g_prime=lambda z: relu_prime(relu(z))))
print("logistic, g_prime(hidden):", end=" ")
mistaken = partial(by_hand, g=logistic, g_prime=lambda z: logistic_prime(logistic(z)))
logistic_report = verdict(logistic, mistaken)
print("logistic, g_prime(z):", end=" ")
right = partial(by_hand, g=logistic, g_prime=logistic_prime)
mended_report = verdict(logistic, right)

trained = {}
for name, formulas in (("mistaken", mistaken), ("right", right)):
    params = [p.copy() for p in start]
    for _ in trange(options.pick(300, 3000, 3000), desc=name, leave=False):
        for p, dp in zip(params, formulas(*params), strict=True):
            p -= dp
    trained[name] = loss(*params, g=logistic)
    print(f"a training with the {name} formulas ends at loss {trained[name]:f}")

# %% [markdown]
# By hand, by the library and by both at once the gradient is the same to the last digits. A
# derivation is worth a check all the same: the mistaken one trains, too, if not so well, and only
# the checker objects.
