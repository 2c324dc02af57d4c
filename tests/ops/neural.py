"""Cases of activations and losses."""

from __future__ import annotations

import hypothesis.strategies as st
from cases import along, case, keep, labelled, layer, one, one_apart, pair, several, shape_of_axes

import tinygrad_edu as tg

CASES = [
    case(tg.linear, layer()),
    case(tg.relu, one_apart()),
    case(tg.relu, one_apart(at_zero=lambda _: st.just(0.5)), name="relu at_zero"),
    case(tg.leaky_relu, one_apart(slope=lambda _: st.sampled_from([0.01, 0.5, 1.5, -0.3]))),
    case(tg.leaky_relu, one_apart(), name="leaky_relu by default"),
    case(tg.sigmoid, one()),
    case(tg.tanh, one()),
    case(tg.softplus, one()),
    case(tg.logsumexp, one(shape_of_axes, **along, keepdims=keep)),
    case(tg.logsumexp, one(shape_of_axes), name="logsumexp by default"),
    case(tg.softmax, one(shape_of_axes, **along)),
    case(tg.log_softmax, one(shape_of_axes, **along)),
    case(tg.cross_entropy, labelled()),
    case(tg.binary_cross_entropy, pair(second=(0.01, 0.99))),
    case(tg.mse, pair()),
    case(tg.sum_of_squares, several(joined=True), lambda *a, axis: tg.sum_of_squares(*a)),
]
