# %% [markdown]
# # Logistic regression by conjugate gradients, and features that say nothing
#
# Somebody classifies recordings of 8 vowels, 834 of them, by logistic regression: one classifier
# for each vowel against the others, minimised by conjugate gradients (`fmincg` in Matlab), 50
# iterations. There are two sets of features:
#
# - the recordings themselves, 48,116 numbers each: about 99.8 % right;
# - three formants (the frequencies at which the voice resounds): 62.6 %, and with "a ridiculous
#   amount of iterations" 66.5 %.
#
# "Is this data not enough?" We build such data and look. Both figures are on the training data; we
# also ask for recordings that had no part in the training, and that turns the answer around.

# %%
import numpy as np
from options import need, options
from tqdm.auto import tqdm

import tinygrad_edu as tg

options = options("One-vs-all logistic regression by conjugate gradients of scipy.")
minimize = need("scipy.optimize", "scipy").minimize
plt = need("matplotlib.pyplot", "plot")

# %% [markdown]
# The formants in Hz are those that Peterson and Barney measured for men ("Control methods used in a
# study of the vowels", 1952). Speakers differ: all formants of one are shifted by the same random
# factor, and each by itself. A recording is the sum of three vibrations at the formants,
# which begin anywhere in their periods, and some noise.

# %%
# heed, hid, head, had, hod, hawed, hood, who'd
FIRST = [270, 390, 530, 660, 730, 570, 440, 300]
SECOND = [2290, 1990, 1840, 1720, 1090, 840, 1020, 870]
THIRD = [3010, 2550, 2480, 2410, 2440, 2410, 2240, 2240]
rng = np.random.default_rng(0)
n_train, n = options.pick(417, 834, 834), options.pick(834, 1668, 1668)
samples = options.pick(600, 2000, 48116)
vowel = rng.integers(8, size=n)
speaker = np.exp(0.15 * rng.normal(size=(n, 1)))
formants = (
    np.array([FIRST, SECOND, THIRD]).T[vowel] * speaker * np.exp(0.15 * rng.normal(size=(n, 3)))
)
waves = 0.2 * rng.normal(size=(n, samples))
for k, loudness in enumerate((1.0, 0.6, 0.3)):
    phase = 2 * np.pi * rng.random((n, 1))
    waves += loudness * np.sin(2 * np.pi * formants[:, [k]] * np.arange(samples) / 8000 + phase)

# %% [markdown]
# ## The cost, and its gradient
#
# For one vowel, $y_i$ is 1 for its recordings and 0 for the others. With $m$ recordings, $z_i = x_i
# \cdot w + b$ and $h_i = \sigma(z_i)$,
#
# $$J = -\frac{1}{m} \sum_i \big( y_i \log h_i + (1 - y_i) \log (1 - h_i) \big)
# + \frac{\lambda}{2m} \lVert w \rVert^2.$$
#
# The bias $b$ is left out of the penalty. By hand, since $\sigma' = \sigma (1 - \sigma)$,
#
# $$\frac{\partial J}{\partial w} = \frac{1}{m} X^\top (h - y) + \frac{\lambda}{m} w, \qquad
# \frac{\partial J}{\partial b} = \frac{1}{m} \sum_i (h_i - y_i).$$

# %%
LAMBDA = 0.1


def cost(theta, X, y):
    z = X @ theta["w"] + theta["b"]
    penalty = LAMBDA / (2 * len(X)) * np.sum(theta["w"] ** 2)
    return tg.binary_cross_entropy(z, y) + penalty  # the first sum, safe for large z


def by_hand(theta, X, y):
    error = tg.sigmoid(X @ theta["w"] + theta["b"]) - y
    return {"w": error @ X / len(X) + LAMBDA / len(X) * theta["w"], "b": np.mean(error)}


def with_bias_in_penalty(theta, X, y):
    gradient = by_hand(theta, X, y)
    return {**gradient, "b": gradient["b"] + LAMBDA / len(X) * theta["b"]}


X, y = formants[:50] / 1000, (vowel[:50] == 0).astype(float)
theta = {"w": rng.normal(size=3), "b": 1.5}
for gradient in (by_hand, with_bias_in_penalty):
    report = tg.check_grad(cost, theta, X, y, argnums=0, gradient=gradient)
    print(f"{gradient.__name__}: {report.verdict}", *report.findings)

# %% [markdown]
# ## Conjugate gradients
#
# `scipy.optimize.minimize` wants a function of **one vector** that returns the cost and its
# gradient. `tg.flatten` makes the vector of the parameters, and a function that takes it apart
# again; `tg.value_and_grad` gives both results, and compiled it is one NumPy program for all eight
# classifiers.


# %%
def one_vs_all(X, vowel, iterations):
    """The weights of 8 classifiers, (features, 8) and (8,), and their mean cost."""
    vector, unflatten = tg.flatten({"w": np.zeros(X.shape[1]), "b": 0.0})
    cost_and_gradient = tg.compile(tg.value_and_grad(lambda v, y: cost(unflatten(v), X, y)))
    found, costs = [], []
    for k in tqdm(range(8), desc=f"{X.shape[1]} features", unit="vowel"):
        y, how = (vowel == k).astype(float), {"maxiter": iterations}
        result = minimize(cost_and_gradient, vector, (y,), method="CG", jac=True, options=how)
        found.append(unflatten(result.x))
        costs.append(result.fun)
    W, b = (np.stack([theta[name] for theta in found], axis=-1) for name in ("w", "b"))
    return W, b, np.mean(costs)


# %% [markdown]
# ## Five sets of features
#
# Features are scaled to mean 0 and spread 1, except where the table says Hz. "Products" adds the
# squares and products of the formants, so that the borders between vowels may be curved. The
# spectrum is made of the same recordings: how loud they are in each band of 100 Hz.


# %%
def scaled(features):
    return (features - features[:n_train].mean(axis=0)) / features[:n_train].std(axis=0)


three = scaled(formants)
i, j = np.triu_indices(3)
products = np.hstack([three, scaled(three[:, i] * three[:, j])])
power = np.abs(np.fft.rfft(waves)) ** 2
bands = (np.fft.rfftfreq(samples, 1 / 8000) // 100).astype(int)
spectrum = np.stack([power[:, bands == k].mean(axis=1) for k in range(40)], axis=1)

EXPERIMENTS = {  # the features, and how many iterations
    "recordings": (scaled(waves), 50),
    "formants, Hz": (formants, 50),
    "formants, Hz, long": (formants, options.pick(300, 3000, 3000)),
    "formants": (three, 50),
    "formants, products": (products, 50),
    "spectrum": (scaled(np.log(spectrum)), 50),
}
costs, accuracies = {}, {}
for name, (features, iterations) in EXPERIMENTS.items():
    W, b, costs[name] = one_vs_all(features[:n_train], vowel[:n_train], iterations)
    right = np.argmax(features @ W + b, axis=1) == vowel
    accuracies[name] = 100 * right[:n_train].mean(), 100 * right[n_train:].mean()

print("features             number  iterations    cost   training   held out")
for name, (features, iterations) in EXPERIMENTS.items():
    print(f"{name:20} {features.shape[1]:6} {iterations:11} {costs[name]:7.4f}", end="")
    print("{:9.1f} % {:8.1f} %".format(*accuracies[name]))

# %%
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
place = np.arange(len(accuracies))
training, held_out = np.array(list(accuracies.values())).T
ax.barh(place - 0.2, training, 0.4, color="#0072B2", label="training")
ax.barh(place + 0.2, held_out, 0.4, color="#E69F00", label="held out", hatch="//")
ax.axvline(100 / 8, color="k", linestyle=":", label="by guessing")
ax.set(title="Eight vowels, one against all", xlabel="right, in %", xlim=(0, 100))
ax.set_yticks(place, list(accuracies))
ax.invert_yaxis()
ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.15), ncols=3, frameon=False)
options.save(ax, "logistic_regression_cg")

# %% [markdown]
# **The recordings say nothing in this form.** With more numbers than recordings there is in general
# a plane that parts them, so on the training data all is right; on new ones it is little better
# than guessing. A vibration may begin anywhere in its period, so no single sample is larger for one
# vowel than for another. The 99.8 % of the question measured the wrong thing.
#
# **The formants say much**, and on new recordings nearly as much as on the old ones. What is
# missing does not come by iterations: the cost is convex, and scaled features are at its minimum
# after 50 (in Hz it is a narrow valley, which takes more; and as the penalty counts the weights,
# which depend on the unit, the two minima differ a little). It comes by other features: with
# products the borders are curved. The rest is where the vowels of different speakers overlap.
#
# The spectrum has been made of the same recordings, and is nearly as good as the formants: what
# counts is not how many features there are, but whether they say what is asked.
