"""The engine against gradients derived with pen and paper: the nets of the notebooks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_edu as tg

LAMBDA = 1e-3


def assert_agree(actual, expected, rtol=1e-12):
    """Relative to the largest entry of all: sums that cancel to 0 have only that to go by."""
    largest = max(np.abs(e).max() for e in expected)
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape
        assert np.abs(a - e).max() <= rtol * largest


def normal(rng, *shapes):
    return [rng.normal(size=shape) for shape in shapes]


def softmax_gradient(scores, y):
    """dL/dscores of the mean cross-entropy: probabilities, less 1 at the class, by the number."""
    exp_scores = np.exp(scores)
    dscores = exp_scores / exp_scores.sum(axis=1, keepdims=True)
    dscores[range(len(y)), y] -= 1
    return dscores / len(y)


def logistic(z):
    return 1.0 / (1 + np.exp(-z))


seeds = st.integers(0, 10_000)
sizes = st.integers(1, 6)


@given(seed=seeds, m=sizes, n=sizes, k=st.integers(2, 5))
def test_softmax_regression(seed, m, n, k):
    rng = np.random.default_rng(seed)
    X, W, b = normal(rng, (m, n), (n, k), (1, k))
    y = rng.integers(0, k, m)

    def loss(W, b):
        exp_scores = np.exp(np.dot(X, W) + b)
        probs = exp_scores / np.sum(exp_scores, axis=1, keepdims=True)
        return np.sum(-np.log(probs[range(m), y])) / m + 0.5 * LAMBDA * np.sum(W * W)

    dscores = softmax_gradient(X @ W + b, y)
    expected = [X.T @ dscores + LAMBDA * W, dscores.sum(axis=0, keepdims=True)]
    assert_agree(tg.grad(loss, (0, 1))(W, b), expected)


def document_loss(X, y, m):
    """The function `compute_loss` of the notebook on autodiff and hand-written backprop."""
    lambda_val = LAMBDA

    def relu(z):
        return np.maximum(0, z)

    # fmt: off
    def compute_loss(params):
        W1, b1, W2, b2 = params
        # Compute scores
        hidden = relu(np.dot(X, W1) + b1)
        scores = np.dot(hidden, W2) + b2
        # Compute probabilities
        exp_scores = np.exp(scores)
        probs = exp_scores / np.sum(exp_scores, axis=1, keepdims=True)
        # Compute cross-entropy loss
        logprob_correct_class = -np.log(probs[range(m),y])
        data_loss = np.sum(logprob_correct_class)/m # cross-entropy
        # Compute regularization loss
        reg_loss = 0.5 * lambda_val * (np.sum(W1*W1) + np.sum(W2*W2))
        return data_loss + reg_loss
    # fmt: on

    return compute_loss


def one_hidden_layer_by_hand(X, y, W1, b1, W2, b2):
    hidden = np.maximum(0, X @ W1 + b1)
    dscores = softmax_gradient(hidden @ W2 + b2, y)
    dhidden = dscores @ W2.T * (hidden > 0)
    return [
        X.T @ dhidden + LAMBDA * W1,
        dhidden.sum(axis=0, keepdims=True),
        hidden.T @ dscores + LAMBDA * W2,
        dscores.sum(axis=0, keepdims=True),
    ]


@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_one_hidden_layer_of_the_document_unchanged(bias):
    # With zero biases the three points at the origin sit exactly on every kink of the relu.
    X, y = tg.data.spiral(rng=np.random.RandomState(0))
    rng = np.random.default_rng(1)
    W1, b1, W2, b2 = normal(rng, (2, 100), (1, 100), (100, 3), (1, 3))
    params = 0.01 * W1, bias * b1, 0.01 * W2, bias * b2
    gradients = tg.grad(document_loss(X, y, len(X)))(params)
    assert type(gradients) is tuple
    assert_agree(gradients, one_hidden_layer_by_hand(X, y, *params))


@given(seed=seeds, m=sizes, n=sizes, h=sizes, k=st.integers(2, 5))
def test_one_hidden_layer(seed, m, n, h, k):
    rng = np.random.default_rng(seed)
    X, *params = normal(rng, (m, n), (n, h), (1, h), (h, k), (1, k))
    y = rng.integers(0, k, m)
    expected = one_hidden_layer_by_hand(X, y, *params)
    assert_agree(tg.grad(document_loss(X, y, m))(tuple(params)), expected)


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@given(seed=seeds, m=sizes)
def test_three_layers(activation, seed, m):
    rng = np.random.default_rng(seed)
    sizes = (2, 7, 5, 3)
    X, y = rng.normal(size=(m, 2)), rng.integers(0, 3, m)
    net = tg.nn.MLP(sizes, activation, init=1.0, rng=rng)
    for p in net.parameters():
        if p.ndim == 1:
            p.data = rng.normal(size=p.shape)
    W1, b1, W2, b2, W3, b3 = (p.data for p in net.parameters())

    relu = activation == "relu"
    act = (lambda z: np.maximum(0, z)) if relu else logistic
    slope = (lambda h: h > 0) if relu else (lambda h: h * (1 - h))
    h1 = act(X @ W1 + b1)
    h2 = act(h1 @ W2 + b2)
    dscores = softmax_gradient(h2 @ W3 + b3, y)
    dh2 = dscores @ W3.T * slope(h2)
    dh1 = dh2 @ W2.T * slope(h1)
    expected = [
        X.T @ dh1 + LAMBDA * W1,
        dh1.sum(axis=0),
        h1.T @ dh2 + LAMBDA * W2,
        dh2.sum(axis=0),
        h2.T @ dscores + LAMBDA * W3,
        dscores.sum(axis=0),
    ]

    weights = net.parameters()[::2]
    loss = tg.cross_entropy(net(X), y) + 0.5 * LAMBDA * tg.sum_of_squares(*weights)
    loss.backward()
    assert_agree([p.grad for p in net.parameters()], expected)


@given(seed=seeds, m=sizes, h=sizes)
def test_sigmoid_output_with_binary_cross_entropy(seed, m, h):
    rng = np.random.default_rng(seed)
    X, w1, b1, w2, b2 = normal(rng, (m, 2), (2, h), (1, h), (h, 1), (1, 1))
    t = rng.integers(0, 2, (m, 1)).astype(float)

    def on_logits(w1, b1, w2, b2):
        return tg.binary_cross_entropy(np.maximum(0, X @ w1 + b1) @ w2 + b2, t)

    def as_written(w1, b1, w2, b2):
        p = 1 / (1 + np.exp(-(np.maximum(0, X @ w1 + b1) @ w2 + b2)))
        return np.mean(-(t * np.log(p) + (1 - t) * np.log(1 - p)))

    z1 = X @ w1 + b1
    x1 = np.maximum(0, z1)
    delta2 = (logistic(x1 @ w2 + b2) - t) / m
    delta1 = delta2 @ w2.T * (z1 > 0)
    expected = [
        X.T @ delta1,
        delta1.sum(axis=0, keepdims=True),
        x1.T @ delta2,
        delta2.sum(axis=0, keepdims=True),
    ]
    parameters = w1, b1, w2, b2
    assert_agree(tg.grad(on_logits, (0, 1, 2, 3))(*parameters), expected)
    # Written with log(1 - p) the loss itself loses digits where p is near 1.
    assert_agree(tg.grad(as_written, (0, 1, 2, 3))(*parameters), expected, rtol=1e-9)
