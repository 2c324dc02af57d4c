# %% [markdown]
# # Why does my net not learn $x^2 + x$?
#
# A question: a net with ReLUs, 1-45-45-1, is to learn $f(x) = x^2 + x$ on $x = 1, \dots, 1000$. Its
# loss stays at $2.01 \cdot 10^{14}$, and it answers 1 to everything. There are four causes. First
# what was asked, then each cause alone, with all else put right, and at last the fit.

# %%
import numpy as np
from options import need, options

import tinygrad_edu as tg

options = options("A net with ReLUs learns a polynomial, and what kept it from that.")
plt = need("matplotlib.pyplot", "plot")
rng = np.random.default_rng(0)
x = np.arange(1.0, 1001).reshape(-1, 1)


def f(x):
    return x**2 + x


def mse(outputs, y):
    return np.mean((outputs - y) ** 2)


def train(X, y, epochs, batch_size=None, end=(), lr=1e-3, last_lr=1e-3):
    net = tg.nn.Sequential(*tg.nn.MLP((1, 45, 45, 1), activation="relu", rng=0), *end)
    adam = tg.optim.Adam(net.parameters(), lr=lr)

    def slower(trainer):
        adam.lr = lr * (last_lr / lr) ** (len(trainer.history.epoch_ends) / epochs)

    trainer = tg.Trainer(net, adam, loss=mse, rng=0, callbacks=[slower])
    trainer.fit(X, y, epochs=epochs, batch_size=batch_size)
    return trainer


def relative_error(name, values):
    """The relative errors of the values that a net gives for 1 to 1000."""
    error = np.abs(values - f(x)) / f(x)
    print(f"{name}: relative error {np.median(error):.2%} in the median, {error.max():.2%} at most")
    return error


asked = train(x, f(x), epochs=50, end=[tg.softmax])
print(f"as asked: loss {asked.history.loss[0]:.7g} -> {asked.history.loss[-1]:.7g}")
print(f"as asked: m(20) = {asked.predict([[20.0]]).item()}")
every_pair = np.sum((asked.predict(x) - f(x).ravel()) ** 2) / len(x)
print(f"as asked, y with one axis: loss {every_pair:.7g}")

# %% [markdown]
# ## Cause 1: a softmax on one output
#
# The softmax of one number is $e^s / e^s = 1$ for every $s$: the derivative is 0, and so is every
# gradient. With numbers of a good size and small batches that stays so.

# %%
U, V = x / 1000, f(x) / f(1000)
softmax = train(U, V, epochs=50, batch_size=32, end=[tg.softmax])
largest = max(np.max(np.abs(p.grad)) for p in softmax.model.parameters())
print(f"softmax alone: the largest gradient is {largest}")
softmax_error = relative_error("softmax alone", softmax.predict(U) * f(1000))

# %% [markdown]
# ## Cause 2: numbers as they are
#
# Adam moves a weight by about its learning rate, 0.001, in each step, whatever the size of the
# loss. From outputs of some hundreds to a million is a long way in such steps (and ten times as
# many hardly help the median); with $x / 1000$ and $f(x) / f(1000)$ the net has to go no further
# than 1. Either scale alone is not enough.

# %%
raw = train(x, f(x), epochs=50, batch_size=32)
raw_error = relative_error("raw numbers alone", raw.predict(x))
only_x = train(U, f(x), epochs=50, batch_size=32)
only_x_error = relative_error("only x scaled", only_x.predict(U))
only_y = train(x, V, epochs=50, batch_size=32)
only_y_error = relative_error("only f(x) scaled", only_y.predict(x) * f(1000))
scaled = train(U, V, epochs=50, batch_size=32)
scaled_error = relative_error("none of the four", scaled.predict(U) * f(1000))

# %% [markdown]
# ## Cause 3: 50 steps
#
# All 1000 numbers as one batch, 50 times, make 50 steps; the same numbers in batches of 32 make
# 1600. It is the number of steps that lacks: 1600 times the same batch is as good as small ones.
#
# The answer that the question got (with 40 units, and $f(x) / 1000$) draws 32 numbers, and says
# that all its batches are different. But its `repeated(generate_data(32), 10000)` calls
# `generate_data` once: all batches are the same one. In the median that is not bad, either; it
# fails where it has no number.

# %%
whole = train(U, V, epochs=50)
whole_error = relative_error("one batch of all alone, 50 steps", whole.predict(U) * f(1000))
long = train(U, V, epochs=1600)
long_error = relative_error("one batch of all, 1600 steps", long.predict(U) * f(1000))
few = rng.uniform(0, 1000, (32, 1))
repeated = train(few / 1000, f(few) / f(1000), epochs=1600)
repeated_error = relative_error("one batch of 32, 1600 steps", repeated.predict(U) * f(1000))

# %% [markdown]
# ## Cause 4: one axis too few
#
# The loss in the question is 1000 times ours. Its $y$ is a vector and its outputs are a matrix, and
# their difference is broadcast to $1000 \times 1000$: each output is compared with every $y$. (Its
# library divides the sum by 1000, not by a million.) What is best for every $y$ at once is their
# mean, and that is what the net learns, whatever $x$ is.

# %%
shapes = train(U, V.ravel(), epochs=50, batch_size=32)
shapes_error = relative_error("shapes alone", shapes.predict(U) * f(1000))
said = shapes.predict(U) * f(1000)
print(f"shapes alone: from {said.min():.0f} to {said.max():.0f}, the mean is {f(x).mean():.0f}")

# %% [markdown]
# ## The fit
#
# One thing is left. On this scale $f(1)$ is 0.000002: a net that answers 0.002 there is off by a
# factor of 1000, and the squared error hardly notices. To be within 1 % from $f(1) = 2$ to
# $f(1000) = 1001000$, the error itself must be relative. So the net gets $\log x$ and learns
# $\log f$, both scaled to $-1 \dots 1$, as a difference of logarithms is a relative error. It
# learns from numbers that are drawn evenly in $\log x$, with a learning rate that goes down.

# %%
half = np.log(1000) / 2
n, epochs = options.pick(small=(12_800, 25), usual=(20_000, 120), full=(20_000, 360))
drawn = np.exp(rng.uniform(0, np.log(1000), (n, 1)))
fit = train(np.log(drawn) / half - 1, np.log(f(drawn)) / half - 1, epochs, 100, (), 5e-3, 1e-5)
values = np.exp((fit.predict(np.log(x) / half - 1) + 1) * half)
fit_error = relative_error("the fit", values)
assert options.small or fit_error.max() < 0.01
for number in (1, 20, 500, 1000):
    print(f"m({number}) = {values[number - 1].item():.2f}, f({number}) = {f(number)}")

_, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
axes[0].loglog(x, f(x), "-", label="$x^2 + x$")
some = np.geomspace(1, 1000, 20).astype(int) - 1
axes[0].loglog(x[some], values[some], "o", label="the fit")
axes[0].set(title="The polynomial and the fit", xlabel="$x$", ylabel="$f(x)$")
for name, error, style in (
    ("raw numbers alone", raw_error, ":"),
    ("one batch of 32", repeated_error, "-."),
    ("none of the four", scaled_error, "--"),
    ("the fit", fit_error, "-"),
):
    axes[1].loglog(x, np.maximum(error, 1e-6), style, label=name)
axes[1].axhline(0.01, color="black", linewidth=0.8)
axes[1].set(title="Relative error", xlabel="$x$", ylabel="relative error")
for ax in axes:
    ax.legend(frameon=False)
    ax.grid(alpha=0.25)
options.save(axes[0], "fit_polynomial")

# %% [markdown]
# The softmax stops the learning, raw numbers make it slow, 50 steps are too few, and a missing axis
# makes the mean of the answer. Without them the net learns; what it learns well
# is what its loss measures.
