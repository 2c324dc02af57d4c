# %% [markdown]
# # A net of scikit-learn, rebuilt from its weights
#
# Somebody has trained scikit-learn's `MLPRegressor` on 12 features, with 11 and 10 hidden units,
# and rebuilds it elsewhere from `coefs_` and `intercepts_`:
#
# ```
# my_prediction = ((( scaled_obs * w1 + b1') * w2 + b2') * w3 + b3);
# ```
#
# scikit-learn says 1.731, this says -50.347. Is a weight or a bias missing? No: **the activation
# is.** Without one, three affine layers are a single affine layer. With $g$ = relu, the default,
#
# $$h_1 = g(x W_1 + b_1), \qquad h_2 = g(h_1 W_2 + b_2), \qquad \hat y = h_2 W_3 + b_3,$$
#
# and nothing after the last layer. `nn.MLP` is just that, so it takes the weights as they are.

# %%
import itertools
import warnings

import numpy as np
from options import need, options
from tqdm.auto import tqdm

import tinygrad_edu as tg

options = options("scikit-learn's MLP, rebuilt from its weights, and back.")
plt = need("matplotlib.pyplot", "plot")
sklearn_nets = need("sklearn.neural_network", "sklearn")
estimators = need("tinygrad_edu.sklearn", "sklearn")
StandardScaler = need("sklearn.preprocessing", "sklearn").StandardScaler
# Whether a fit came to its end does not matter for whether two nets are the same.
warnings.filterwarnings("ignore", category=need("sklearn.exceptions", "sklearn").ConvergenceWarning)

# %% [markdown]
# The data are not in the question, so we make some: 12 features of different means and spreads, and
# a target that depends on them in a curved way. The scaler is fitted to the training data alone.

# %%
rng = np.random.default_rng(0)
rows = options.pick(600, 2000, 20000)
U = rng.normal(size=(rows, 12))
raw = U * np.geomspace(0.1, 50, 12) + np.linspace(-20, 20, 12)
target = 3 + np.sin(U[:, 0]) + 0.5 * U[:, 1] * U[:, 2] + np.abs(U[:, 3]) - 0.3 * U[:, 4]
target += 0.05 * rng.normal(size=rows)
train, test = np.arange(rows) % 4 > 0, np.arange(rows) % 4 == 0
scaler = StandardScaler().fit(raw[train])
X = scaler.transform(raw)

settings = {"hidden_layer_sizes": (11, 10), "learning_rate_init": 0.01, "random_state": 0}
model = sklearn_nets.MLPRegressor(**settings)
model.fit(X[train], target[train])
print(f"R2 of the fitted model on new data: {model.score(X[test], target[test]):.3f}")

# %% [markdown]
# ## The two attempts of the question, and the answer
#
# In NumPy, as the question has them in Matlab. The second one multiplies with the biases.

# %%
(W1, W2, W3), (b1, b2, b3) = model.coefs_, model.intercepts_
scaled = (raw[test] - scaler.mean_) / scaler.scale_
attempt = (((scaled @ W1 + b1) @ W2 + b2) @ W3 + b3)[:, 0]
attempt_2 = (((scaled @ W1 * b1) @ W2 * b2) @ W3 * b3)[:, 0]

layer_1 = scaled @ W1 + b1
layer_2 = np.maximum(0, layer_1) @ W2 + b2
by_hand = (np.maximum(0, layer_2) @ W3 + b3)[:, 0]

right = model.predict(X[test])
print(f"Sklearn prediction = {right[0]:.3f}")
print(f"my_prediction      = {attempt[0]:.3f}")
print(f"my_prediction2     = {attempt_2[0]:.3f}")
print(f"with relu          = {by_hand[0]:.3f}")

# %% [markdown]
# ## From scikit-learn to `nn.MLP` and back
#
# The parameters of an MLP stand in the order $W_1, b_1, W_2, b_2, \dots$, with the same shapes as
# in scikit-learn. `tinygrad_edu.sklearn` has the same estimators, which hold such an MLP:
# `from_sklearn` puts the arrays of a fitted model into it, `to_sklearn` takes them out.

# %%
net = estimators.MLPRegressor.from_sklearn(model).net_
print(net)
rebuilt = net(X[test]).numpy()[:, 0]
print(f"largest difference: {np.max(np.abs(rebuilt - right)):.1e}")

# %% [markdown]
# ## All kinds
#
# What comes after the last layer, `model.out_activation_`, depends on the task: nothing for
# regression, the softmax for several classes, and for two classes **one** output and the logistic
# function: the probability of class 1. Ours stops at the logits; `tg.softmax` and `tg.sigmoid` are
# applied outside.
#
# For each task and activation we go both ways. *There*: a model that scikit-learn has trained says
# the same when rebuilt. *Back*: a net that we have trained is handed to scikit-learn, whose
# `predict` then says what our net says.

# %%
cuts = np.quantile(target, [1 / 3, 2 / 3])
TASKS = {  # the target, the class of the model, from our outputs to its predictions
    "regression": (target, "MLPRegressor", lambda z: z[:, 0]),
    "2 classes": (
        (target > 3.4).astype(int),
        "MLPClassifier",
        lambda z: np.hstack([1 - tg.sigmoid(z), tg.sigmoid(z)]),
    ),
    "3 classes": (np.digitize(target, cuts), "MLPClassifier", tg.softmax),
}


def predictions(model):
    return getattr(model, "predict_proba", model.predict)(X[test])


table = {}
cases = itertools.product(TASKS.items(), ["relu", "tanh", "logistic", "identity"])
for (task, (y, kind, finish)), activation in tqdm(list(cases), unit="net"):
    ours, theirs = getattr(estimators, kind), getattr(sklearn_nets, kind)
    model = theirs(activation=activation, max_iter=options.pick(20, 200, 200), **settings)
    model.fit(X[train], y[train])
    rebuilt_net = ours.from_sklearn(model).net_
    there = finish(rebuilt_net(X[test]).numpy()) - predictions(model)
    score_there = model.score(X[test], y[test])

    own = ours(activation=activation, max_iter=options.pick(20, 80, 80), **settings)
    own.fit(X[train], y[train])
    receiver = own.to_sklearn()
    back = finish(own.net_(X[test]).numpy()) - predictions(receiver)
    score_back = receiver.score(X[test], y[test])

    name = f"{task:11} {activation:11} {model.out_activation_:15}"
    table[name] = np.abs(there).max(), np.abs(back).max(), score_there, score_back

print("(scores: R² of the regression, accuracy of the classes)")
print("task        activation  after the last  there    back     score there, back")
for name, row in table.items():
    print(name, "{:.1e}  {:.1e}  {:.3f}, {:.3f}".format(*row))

# %% [markdown]
# ## As a picture
#
# Each point is one row of new data. What the rebuilt net says lies on the diagonal; without the
# activation there is hardly anything left of the model.

# %%
figure, ax = plt.subplots(figsize=(6, 5), layout="constrained")
ax.plot(right, attempt, "s", color="#D55E00", markersize=4, alpha=0.6, label="without activation")
ax.plot(right, rebuilt, "o", color="#0072B2", markersize=4, label="with relu")
ax.set(
    title="The same weights, with and without activation",
    xlabel="prediction of scikit-learn",
    ylabel="prediction of the rebuilt net",
)
ax.legend(frameon=False)
ax.grid(alpha=0.25)
options.save(ax, "rebuild_sklearn_mlp")

# %% [markdown]
# Weights alone are not a net: one has to know the scaler before it, the activation between the
# layers, and what comes after the last one. With these the predictions agree to the last digits.
