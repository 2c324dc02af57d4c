"""Nets of all kinds of layers, for what takes nets elsewhere."""

import hypothesis.strategies as st
import numpy as np

from tinygrad_edu import nn


def with_noise(net, seed=5):
    """The net with other numbers than the 0 and 1 at which biases and scales begin."""
    rng = np.random.default_rng(seed)
    for p in net.parameters():
        p.data = p.data + 0.3 * rng.standard_normal(p.shape).astype(p.dtype)
    return net


@st.composite
def nets(draw, dtype):
    """Nets of layers on rows, some within each other; and how many columns they take."""
    n, layers = draw(st.integers(1, 4)), []
    first, rng = n, np.random.default_rng(draw(st.integers(0, 99)))
    for kind in draw(st.lists(st.integers(0, 6), min_size=1, max_size=5)):
        m = draw(st.integers(1, 4))
        if kind == 0:
            layers, n = [*layers, nn.Linear(n, m, rng=rng, dtype=dtype)], m
        elif kind == 1:
            pieces = draw(st.integers(1, 3))
            layers, n = [*layers, nn.Maxout(n, m, pieces, rng=rng, dtype=dtype)], m
        elif kind == 2:
            layers.append(nn.LayerNorm(n, eps=0.1, dtype=dtype))
        elif kind == 3:
            layers.append(nn.Standardize(n, dtype).fit(rng.normal(1, 2, (9, n))))
        elif kind == 4:
            layers.append(nn.Dropout(0.5, rng=rng))
        elif kind == 5:
            layers.append(nn.ACTIVATIONS[draw(st.sampled_from(sorted(nn.ACTIVATIONS)))]())
        else:
            layers, n = [nn.Sequential(*layers), nn.MLP((n, m, 2), "tanh", rng=rng, dtype=dtype)], 2
    net = nn.Sequential(nn.Linear(first, first, rng=rng, dtype=dtype), *layers)
    return with_noise(net), first
