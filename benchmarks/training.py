"""What training looks like: the pictures of two nets that learn a spiral, and a movie of a third.

The first two are the demo's, one with sigmoids and one with ReLUs. The third is that of the first
example in the README, in its first 150 steps.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import tinygrad_edu as tg
from benchmarks import pictures
from benchmarks.timing import table
from tinygrad_edu import demo

STEPS = 10_000


def run(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The table of the two nets, and the gradient magnitudes of each of their layers."""
    X, y, trainers = demo.make_trainers()
    magnitudes = {name: tg.GradientMagnitudes() for name in trainers}
    rows = []
    for name, trainer in trainers.items():
        trainer.callbacks = [magnitudes[name]]
        loss = trainer.fit(X, y, STEPS, progress=False).loss[-1]
        means = [f"{np.mean(values):.1e}" for values in magnitudes[name].of_layer.values()]
        rows.append([name, f"{loss:.4f}", f"{trainer.score(X, y):.2f}", *means])
    text = table([f"{STEPS:,} steps", "loss", "accuracy", *magnitudes["relu"].of_layer], rows)
    text += "\n\nW1 to W3: the mean of sum |dW| / (n_in + n_out) over all steps."
    if options.picture is not None:
        nets = {name: trainer.model for name, trainer in trainers.items()}
        pictures.training(options.picture, nets, magnitudes, X)
    if options.movie is not None:
        text += f"\n\n{_film(options)}"
    return text, {name: m.of_layer for name, m in magnitudes.items()}


def _film(options: argparse.Namespace) -> str:
    X, y = tg.data.spiral(rng=0)
    net = tg.nn.MLP((2, 50, 50, 3), activation="relu", rng=0)
    movie = tg.plot.BoundaryMovie(X, y, every=4)
    adam = tg.optim.Adam(net.parameters(), lr=0.01)
    trainer = tg.Trainer(net, adam, l2=1e-4, rng=0, callbacks=[movie])
    trainer.fit(X, y, epochs=25, batch_size=50, progress=False)
    movie.save(options.movie)
    return f"{movie!r} is in {options.movie}."
