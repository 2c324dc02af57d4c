# %% [markdown]
# # Vanishing gradients: why does a net of sigmoids learn so slowly?
#
# The notebook "Vanishing Gradients" trains two nets of 2-50-50-3 units on the same spiral, one of
# sigmoids and one of ReLUs, and compares the gradients that reach their layers. This script does
# the same, from the same random numbers, so that its losses are the notebook's to the last digit.
# The notebook ends with three suggestions, which are options here: `--layers 4` for more hidden
# layers, `--lr` and `--l2` for another step size and regularisation, and
# `--activation leaky_relu` or `maxout` for another net beside the one of sigmoids.

# %%
import numpy as np
from options import not_negative, options, positive

import tinygrad_edu as tg
from tinygrad_edu.demo import notebook_losses

options = options(
    "Vanishing gradients: sigmoids beside another activation, on a spiral.",
    activation={
        "choices": ["relu", "leaky_relu", "maxout"],
        "default": "relu",
        "help": "of the other net (default: relu)",
    },
    layers={
        "type": int,
        "choices": range(1, 11),
        "default": 2,
        "metavar": "N",
        "help": "hidden layers, 1 to 10 (default: 2)",
    },
    lr={"type": positive, "default": 0.1, "help": "step size (default: 0.1)"},
    l2={"type": not_negative, "default": 1e-3, "help": "regularisation (default: 0.001)"},
)
steps = options.pick(1001, 10_000, 50_000)
names = ["sigmoid", options.activation]
sizes = (2, *[50] * options.layers, 3)

# %% [markdown]
# The data are 100 points on each of three arms. The weights begin normal with deviation 0.1, the
# biases at 0. All come from one stream of random numbers, in the notebook's order.

# %%
rng = np.random.RandomState(0)
X, y = tg.data.spiral(points_per_class=100, classes=3, noise=0.2, rng=rng)
trainers, magnitudes = {}, {}
for name in names:
    net = tg.nn.MLP(sizes, name, init=0.1, rng=rng)
    magnitudes[name] = tg.GradientMagnitudes()
    trainers[name] = tg.Trainer(
        net, tg.optim.SGD(net.parameters(), options.lr), l2=options.l2, callbacks=[magnitudes[name]]
    )

# %% [markdown]
# ## The gradient by hand
#
# The notebook writes out the backward pass by hand. For a loss that is the mean
# cross-entropy of the softmax of the scores, the gradient by the scores is (probabilities - one-hot
# labels) / N. From there each layer passes back
#
# $$dW_k = H_{k-1}^\top \Delta_k + \lambda W_k, \qquad db_k = \sum_i (\Delta_k)_{i\cdot}, \qquad
# \Delta_{k-1} = (\Delta_k W_k^\top) \circ f'(Z_{k-1}).$$
#
# The slope $f'$ can be written with the output $h$ alone: $h (1 - h)$ for the sigmoid, at most
# $1/4$; 1 or 0 for the ReLU. That factor of a quarter or less, once for each layer, together with
# the weights, makes the gradient vanish on its way down. The engine needs none of this; we check
# that it computes the same before the training.

# %%
FORWARD = {"sigmoid": lambda z: 1 / (1 + np.exp(-z)), "relu": lambda z: np.maximum(0, z)}
SLOPE = {"sigmoid": lambda h: h * (1 - h), "relu": lambda h: h > 0}


def gradients_by_hand(name, parameters):
    weights, biases = parameters[::2], parameters[1::2]
    H = [X]
    for W, b in zip(weights[:-1], biases[:-1], strict=True):
        H.append(FORWARD[name](H[-1] @ W + b))
    exp_scores = np.exp(H[-1] @ weights[-1] + biases[-1])
    delta = exp_scores / exp_scores.sum(axis=1, keepdims=True)
    delta[np.arange(len(y)), y] -= 1
    delta /= len(y)
    gradients = []
    for k in reversed(range(len(weights))):
        gradients = [H[k].T @ delta + options.l2 * weights[k], delta.sum(axis=0), *gradients]
        if k:
            delta = delta @ weights[k].T * SLOPE[name](H[k])
    return gradients


differences = {}
for name, trainer in trainers.items():
    if name in SLOPE:
        parameters = trainer.model.parameters()
        trainer.objective(X, y).backward()
        by_hand = gradients_by_hand(name, [p.data for p in parameters])
        differences[name] = max(
            np.abs(p.grad - g).max() / np.abs(g).max()
            for p, g in zip(parameters, by_hand, strict=True)
        )
        print(f"{name}: the engine's gradient is the one by hand up to {differences[name]:.0e}")

# %% [markdown]
# ## The training
#
# Plain gradient descent on all points. The notebook prints every thousandth loss.

# %%
for name, trainer in trainers.items():
    print(f"\n{name}, {steps:,} steps")
    trainer.fit(X, y, epochs=steps)
losses = {
    name: {i: f"{trainer.history.loss[i]:.6f}" for i in range(0, steps, 1000)}
    for name, trainer in trainers.items()
}
print(f"\n{'step':>6}" + "".join(f"{name:>12}" for name in names))
for i in losses["sigmoid"]:
    print(f"{i:6d}" + "".join(f"{losses[name][i]:>12}" for name in names))
scores = {name: trainer.score(X, y) for name, trainer in trainers.items()}
print("training accuracy: " + ", ".join(f"{name} {score:.2f}" for name, score in scores.items()))

if (options.activation, options.layers, options.lr, options.l2) == ("relu", 2, 0.1, 1e-3):
    printed = notebook_losses()
    equal = [loss == printed[name][i] for name in names for i, loss in losses[name].items()]
    print(f"{sum(equal)} of these {len(equal)} losses are the notebook's to all six digits")

# %% [markdown]
# ## What reaches the layers
#
# The notebook's measure of how fast a layer learns: the sum of the magnitudes of its gradient,
# divided by the sum of the sides of its weight matrix. Layer 1 is the farthest from the loss.

# %%
means = {
    n: {
        name: {W: float(np.mean(values[:n])) for W, values in found.of_layer.items()}
        for name, found in magnitudes.items()
    }
    for n in (1, 1000)
}
for n, of in means.items():
    print(f"\nmagnitude of the gradient, {'first step' if n == 1 else f'mean of {n} steps'}")
    print(f"{'':>6}" + "".join(f"{name:>12}" for name in names) + f"{'ratio':>10}")
    for W, of_sigmoid in of["sigmoid"].items():
        of_other = of[options.activation][W]
        print(f"{W:>6}{of_sigmoid:12.2e}{of_other:12.2e}{of_other / of_sigmoid:10.2f}")

# %% [markdown]
# The three plots of these magnitudes, and what the two nets have learned:

# %%
if options.out is not None:
    options.save(tg.plot.nonlinearities()[0], "nonlinearities")
    for name, found in magnitudes.items():
        options.save(found.plot(title=f"Gradient magnitude, {name} net"), f"gradients_{name}")
    ends = {"W1", f"W{options.layers}"}
    hidden = {
        f"{name}, {W}": values
        for name, found in magnitudes.items()
        for W, values in found.of_layer.items()
        if W in ends
    }
    ax = tg.plot.curves(
        hidden,
        title="Gradient magnitude, first and last hidden layer",
        ylabel="sum |dW| / (n_in + n_out)",
        logarithmic=True,
        every=max(1, steps // 1000),
    )
    options.save(ax, "gradients_overlaid")
    for name, trainer in trainers.items():
        title = f"{name} net, accuracy {scores[name]:.2f}"
        options.save(
            tg.plot.decision_regions(trainer.predict, X, y, title=title), f"regions_{name}"
        )

# %% [markdown]
# At the first step layer 1 of the sigmoid net has a fiftieth of the gradient of layer 2, where that
# of the ReLU net has half of it. In the mean of a thousand steps all its layers have a sixth to an
# eighth of what those of the other have: the last layer soon has no error left that it can remove
# by itself, and the loss hardly moves. With `--layers 4` one sees the product
# at the first step: from layer 5 down to layer 2 each layer of sigmoids has a third to a sixth of
# the gradient of the next one, and layer 1 has a sixtieth; those of the ReLUs are all much alike.
# Soon the last layers of the sigmoid net have done what they can without the early ones, and after
# 10,000 steps it still guesses. With two layers a larger step size helps: `--lr 1` gets it to an
# accuracy of 0.95 in 10,000 steps in place of 0.54. With four layers it
# does not, and the ReLU net comes apart, too. Leaky ReLUs and
# maxout layers let about as much through as ReLUs do.
