# %% [markdown]
# # Does the update need the slope of the sigmoid?
#
# A question in the documents has a net of 3 inputs and one sigmoid unit. Its update multiplies the
# error by the slope of the sigmoid, $s(1 - s)$. Is that factor required, since many examples of
# logistic regression do without? The answer given there says that it is, by the chain rule. Both
# updates are right: they descend different losses. Here is which, and what it means for learning.

# %%
import numpy as np
from options import options
from tqdm.auto import trange

import tinygrad_edu as tg

options = options("The update of a sigmoid unit with and without the slope s(1 - s).")

X = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]], float)
y = np.array([[0, 0, 1, 1]], float).T


def with_slope(w):
    """What the question's code adds to the weights in a step."""
    s = 1 / (1 + np.exp(-(X @ w)))
    return X.T @ ((y - s) * s * (1 - s))


def without_slope(w):
    """The same without the factor, as in logistic regression."""
    s = 1 / (1 + np.exp(-(X @ w)))
    return X.T @ (y - s)


# %% [markdown]
# ## Which loss does an update descend?
#
# With $z = Xw$ and $s = \sigma(z)$, so that $ds/dz = s(1 - s)$:
#
# $$\frac{d}{dz} \, \tfrac12 (s - y)^2 = (s - y) \, s (1 - s), \qquad
# \frac{d}{dz} \bigl(-y \log s - (1 - y) \log (1 - s)\bigr)
# = \left(-\frac{y}{s} + \frac{1 - y}{1 - s}\right) s (1 - s) = s - y.$$
#
# The chain rule brings the slope into both. In the cross-entropy, the derivative of the logarithms
# divides by just that slope, and it is gone. An update descends a loss if it is minus the gradient
# of that loss: so much the checker can decide, for each of the two losses and updates.


# %%
def squared_error(w):
    return 0.5 * np.sum((tg.sigmoid(X @ w) - y) ** 2)


def cross_entropy(w):
    s = tg.sigmoid(X @ w)
    return np.sum(-y * np.log(s) - (1 - y) * np.log(1 - s))


rng = np.random.RandomState(1)
syn0 = 2 * rng.random_sample((3, 1)) - 1
verdicts = {}
for loss in (squared_error, cross_entropy):
    for update in (with_slope, without_slope):
        report = tg.check_grad(loss, syn0, gradient=lambda w, update=update: -update(w))
        verdicts[loss.__name__, update.__name__] = bool(report)
        print(f"Is the update {update.__name__} minus the gradient of {loss.__name__}?\n{report}\n")

# %% [markdown]
# In practice nobody writes the cross-entropy out as above: `tg.binary_cross_entropy` computes the
# mean of the same from $z$, and does not take the logarithm of 0. The engine needs no update by
# hand at all.

# %%
engine = tg.grad(lambda w: len(y) * tg.binary_cross_entropy(X @ w, y))(syn0)
print(
    "the engine's gradient of it:", engine.ravel(), "and the update:", without_slope(syn0).ravel()
)

# %% [markdown]
# ## What they learn
#
# The question trains for 1000 steps. Both updates find the answer, which is the first input.

# %%
steps = options.pick(1000, 1000, 60_000)


def train(w, update):
    """The outputs after all steps, and the mean error before each."""
    errors = []
    for _ in trange(steps, unit="step", leave=False):
        errors.append(float(np.abs(tg.sigmoid(X @ w) - y).mean()))
        w = w + update(w)
    return tg.sigmoid(X @ w), errors


def compare(title, w):
    print(f"\n{title}\n{'y':>18}" + "".join(f"{target:10.0f}" for target in y.ravel()))
    found = {}
    for update in (with_slope, without_slope):
        found[update.__name__] = train(w, update)
        outputs = "".join(f"{s:10.6f}" for s in found[update.__name__][0].ravel())
        print(f"{update.__name__:>18}{outputs}")
    return found


usual = compare(f"output after {steps:,} steps", syn0)

# %% [markdown]
# Where the unit is sure and wrong, they differ most: there $s(1 - s)$ is nearly 0, and the update
# with that factor nearly is, too. We begin at weights that say the opposite of the truth.

# %%
wrong = np.array([[-20.0], [0.0], [10.0]])
print("\nbeginning with the outputs", tg.sigmoid(X @ wrong).ravel().round(5))
print("the first update with the slope:   ", with_slope(wrong).ravel().round(6))
print("the first update without the slope:", without_slope(wrong).ravel().round(6))
stuck = compare(f"after {steps:,} steps from there", wrong)

if options.out is not None:
    lines = {
        f"{name.replace('_', ' ')}, from {start}": errors
        for start, found in (("the question's weights", usual), ("wrong weights", stuck))
        for name, (_, errors) in found.items()
    }
    ax = tg.plot.curves(lines, title="One sigmoid unit", ylabel="mean of |output - y|")
    ax.legend(frameon=False, loc="center right")
    options.save(ax, "sigmoid_slope")

# %% [markdown]
# The slope is required for the squared error and wrong for the cross-entropy; the question is which
# loss one has in mind. The squared error through a sigmoid learns next to nothing where the unit is
# sure and wrong (with `--full`, two of the four outputs are still wrong after 60,000 steps). That
# is the vanishing gradient of `vanishing_gradients.py` in a single unit, and one reason why
# classifiers are trained with the cross-entropy.
