# %% [markdown]
# # Handwritten digits, with all that training needs
#
# The documents explain the training of nets with made-up data. Here are real ones: 1797 digits that
# people wrote, each 8 by 8 pixels with 17 shades of grey, as they come with scikit-learn. A net
# shall read them: a multilayer perceptron, trained with minibatches by Adam, watched on validation
# data, and at last tested on digits that had no part in its making.

# %%
import numpy as np
from options import need, options

import tinygrad_edu as tg

options = options("A net learns to read handwritten digits.")
plt = need("matplotlib.pyplot", "plot")
images, labels = need("sklearn.datasets", "sklearn").load_digits(return_X_y=True)
print(f"{len(images)} digits of {images.shape[1]} pixels, from {images.min()} to {images.max()}")

# %% [markdown]
# ## Three parts, each with one purpose
#
# - The **training** data are what the gradient is computed from.
# - The **validation** data show after each epoch how good the net is on digits that it has not been
#   trained on. Settings (how many units, epochs, how much L2) are chosen by them, which makes them
#   a little too favourable in the end.
# - The **held-out** data are used once, for the number that one reports.
#
# The digits stand in the order in which they were collected, many of one writer in a row, so they
# are shuffled first; the accuracy is then that for writers of whom the net has seen other digits.
# The pixels are scaled to 0..1, where the usual initial weights are right.

# %%
X, y = images / 16, labels
order = np.random.default_rng(0).permutation(len(X))
training, validation, held_out = np.split(order, [1097, 1347])
print(f"training {len(training)}, validation {len(validation)}, held out {len(held_out)}")

# %% [markdown]
# ## Training
#
# The net gives ten numbers for each image, the logits; their softmax are the probabilities of the
# ten digits, and the loss is the cross-entropy, $-\log$ of the probability of the true digit. L2
# keeps the weights small. Before anything is trained, we look whether the gradient is right.

# %%
net = tg.nn.MLP((64, 100, 10), activation="relu", rng=0)
trainer = tg.Trainer(net, tg.optim.Adam(net.parameters(), lr=2e-3), l2=1e-3, rng=0)
some = training[:20]
report = tg.check_grad(lambda *_: trainer.objective(X[some], y[some]), *net.parameters())
print("checker:", report.verdict)

# %% [markdown]
# Each step uses 32 digits, so its gradient is only roughly that of all; with the same steps to the
# end the net would be a little better or worse by chance. The last fifth of the epochs has steps a
# tenth as long, and it comes to rest. (A second `fit` goes on where the first one ended.)

# %%
epochs = options.pick(24, 40, 200)
digits = {"batch_size": 32, "validation": (X[validation], y[validation])}
trainer.fit(X[training], y[training], epochs, **digits)
trainer.optimizer.lr /= 10
history = trainer.fit(X[training], y[training], epochs // 4, **digits)
print(history)
for name, part in {"training": training, "validation": validation, "held out": held_out}.items():
    print(f"accuracy {name:10} {100 * trainer.score(X[part], y[part]):6.2f} %")
accuracy = trainer.score(X[held_out], y[held_out])

# %% [markdown]
# ## The learning curves
#
# Left the losses: pale that of each minibatch, which is noisy, over it the mean of each epoch.
# That of the validation data stays above: the net knows what it was trained on better than what it
# was not. Right the accuracy. Both become calm where the steps become short.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
history.plot(left, logarithmic=True)
score = 100 * np.array(history.validation_score)
right.plot(range(1, len(score) + 1), score, "s-", color="#D55E00", markersize=3)
right.set(title="Accuracy on the validation data", xlabel="epoch", ylabel="right, in %")
right.grid(alpha=0.25)
options.save(left, "digits_curves")

# %% [markdown]
# ## The mistakes
#
# One number says how many; the pictures say which. Each held-out digit that the net got wrong is
# shown with what it is, what the net said, and how sure it was (the probability of what it said).

# %%
said = trainer.predict(X[held_out])
probability = tg.softmax(net(X[held_out]).numpy()).max(axis=1)
wrong = np.flatnonzero(said != y[held_out])
print(
    f"{len(wrong)} mistakes among {len(held_out)}; sure of them on average by "
    f"{probability[wrong].mean():.2f}, of the others by "
    f"{np.delete(probability, wrong).mean():.2f}"
)

columns = 4
rows = max(1, -(-len(wrong) // columns))
figure, axes = plt.subplots(
    rows, columns, figsize=(7, 2.1 * rows + 0.4), squeeze=False, layout="constrained"
)
figure.suptitle(f"The {len(wrong)} mistakes among {len(held_out)} held-out digits")
for ax in axes.flat:
    ax.axis("off")
for ax, i in zip(axes.flat, wrong, strict=False):
    ax.imshow(X[held_out[i]].reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
    ax.set_title(f"is {y[held_out[i]]}, said {said[i]} ({probability[i]:.2f})", fontsize=10)
options.save(figure.axes[0], "digits_mistakes")

# %% [markdown]
# ## Which digit is taken for which
#
# The confusion matrix counts: row the true digit, column what was said. It is a sum with repeated
# indices, `np.add.at`. Off the diagonal stand the mistakes.

# %%
confusion = np.zeros((10, 10), int)
np.add.at(confusion, (y[held_out], said), 1)
print(confusion)

# %% [markdown]
# Of some of these digits a person, too, would not be sure at 8 by 8 pixels, and the net is less
# sure of them than of the others.
