"""Backpropagation derived by hand, with a mistake that the checker finds and names.

    python examples/check_by_hand.py [PICTURE.png]

The net has one hidden layer of sigmoids, the loss is the cross-entropy with an L2 penalty. The
backward pass has been used with ReLUs before, where `g_prime(hidden)` is as good as `g_prime(z)`:
a ReLU is positive where its input is. With sigmoids it is not, the loss goes down all the same,
and nobody notices.
"""

import sys

import numpy as np

import tinygrad_edu as tg

X, y = tg.data.spiral(points_per_class=10, rng=0)
penalty = 1e-3


def g(z):
    return 1 / (1 + np.exp(-z))


def g_prime(z):
    return g(z) * (1 - g(z))


def forward(W1, b1, W2, b2):
    hidden = g(X @ W1 + b1)
    exp_scores = np.exp(hidden @ W2 + b2)
    return hidden, exp_scores / np.sum(exp_scores, axis=1, keepdims=True)


def loss(W1, b1, W2, b2):
    _, probs = forward(W1, b1, W2, b2)
    data_loss = np.mean(-np.log(probs[range(len(y)), y]))
    return data_loss + 0.5 * penalty * (np.sum(W1 * W1) + np.sum(W2 * W2))


def backward(W1, b1, W2, b2):
    hidden, probs = forward(W1, b1, W2, b2)
    dscores = probs.copy()
    dscores[range(len(y)), y] -= 1
    dscores /= len(y)
    dhidden = dscores @ W2.T
    dz = dhidden * g_prime(hidden)  # the mistake
    dW1, db1 = X.T @ dz + penalty * W1, dz.sum(axis=0)
    dW2, db2 = hidden.T @ dscores + penalty * W2, dscores.sum(axis=0)
    return dW1, db1, dW2, db2


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    parameters = (
        rng.normal(size=(2, 5)),
        rng.normal(size=5),
        rng.normal(size=(5, 3)),
        np.zeros(3),
    )
    report = tg.check_grad(loss, *parameters, gradient=backward)
    print(report)
    if len(sys.argv) > 1:
        report.plot("W1").savefig(sys.argv[1], dpi=110)
