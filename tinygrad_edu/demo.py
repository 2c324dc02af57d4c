"""The main job: why a sigmoid net learns slowly where a relu net does not.

The experiment of the notebook "Vanishing Gradients": two nets of 2-50-50-3 units learn the same
spiral by gradient descent, and the gradient that reaches the first layer is compared. The figures
that the notebook prints are in `vanishing_gradients_losses.csv`.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_edu import data, nn, optim, plot
from tinygrad_edu.callbacks import MEASURE, GradientMagnitudes
from tinygrad_edu.trainer import Callback, Trainer

__all__ = ["hand_derived", "make_trainers", "notebook_losses", "run"]

L2 = 1e-3
STEP_SIZE = 0.1
EVERY = 1000
NOTEBOOK_STEPS = 50_000


class _Tick(Callback):
    """Moves a progress bar that is shared by several trainers."""

    def __init__(self, bar: Any, name: str):
        self.bar, self.name = bar, name

    def on_step_end(self, trainer: Trainer) -> None:
        if self.bar.update():
            self.bar.set_postfix_str(f"{self.name} loss {trainer.history.loss[-1]:.4f}", False)


def make_trainers(comm: Any = None) -> tuple[np.ndarray, np.ndarray, dict[str, Trainer]]:
    """The notebook's data and its two nets, from its stream of random numbers.

    `comm` is that of `Trainer`.
    """
    rng = np.random.RandomState(0)
    X, y = data.spiral(points_per_class=100, classes=3, noise=0.2, rng=rng)
    trainers = {}
    for activation in ("sigmoid", "relu"):
        net = nn.MLP((2, 50, 50, 3), activation, init=0.1, rng=rng)
        sgd = optim.SGD(net.parameters(), lr=STEP_SIZE)
        trainers[activation] = Trainer(net, sgd, l2=L2, rng=0, comm=comm)
    return X, y, trainers


def run(
    steps: int = 10_000, out: Path | None = None, progress: bool = True, comm: Any = None
) -> dict[str, Trainer]:
    """Trains both nets side by side, prints the comparison and writes the pictures to `out`.

    `comm` is that of `Trainer`; each of its ranks prints and writes what it is told to.
    """
    from tqdm.auto import tqdm

    X, y, trainers = make_trainers(comm)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    print(
        f"Two nets of 2-50-50-3 units, sigmoid and relu, {steps:,} steps of gradient descent"
        f"{'' if comm is None else f' on {comm.Get_size()} ranks'}.\n"
        f'Their losses, beside those that the notebook "Vanishing Gradients" prints:\n'
    )
    print(f"{'step':>6}  {'sigmoid':>9} {'notebook':>9}  {'relu':>9} {'notebook':>9}")
    magnitudes = {name: GradientMagnitudes() for name in trainers}
    bar = tqdm(total=2 * steps, unit="step", disable=not progress, leave=False)
    for name, trainer in trainers.items():
        trainer.callbacks = [magnitudes[name], _Tick(bar, name)]
    printed = notebook_losses()
    for start in range(0, steps, EVERY):
        cells = []
        for name, trainer in trainers.items():
            trainer.fit(X, y, epochs=min(EVERY, steps - start), progress=False)
            if trainer.history.interrupted:
                break
            expected = printed[name].get(start)
            cells += [f"{trainer.history.loss[start]:9.6f}", f"{expected or '-':>9}"]
        if len(cells) < 4:
            break
        bar.write(f"{start:6d}  {cells[0]} {cells[1]}  {cells[2]} {cells[3]}")
    bar.close()
    scores = {name: trainer.score(X, y) for name, trainer in trainers.items()}
    print("\ntraining accuracy: " + ", ".join(f"{n} {score:.2f}" for n, score in scores.items()))
    taken = {name: len(trainer.history) for name, trainer in trainers.items()}
    if any(trainer.history.interrupted for trainer in trainers.values()):
        print(f"\nInterrupted after these steps: {taken}. No pictures are drawn.")
        return trainers
    if steps < NOTEBOOK_STEPS:
        print(f"(0.97 and 0.99 after the notebook's {NOTEBOOK_STEPS:,}: --steps {NOTEBOOK_STEPS})")
    print_vanishing(magnitudes)
    print_gradient_check(X, y, trainers)
    if out is not None:
        draw(out, X, y, trainers, magnitudes)
    return trainers


def print_vanishing(magnitudes: dict[str, GradientMagnitudes]) -> None:
    """Prints how much of the gradient reaches the first layer while the nets begin to learn."""
    first = {name: float(np.mean(m.of_layer["W1"][:EVERY])) for name, m in magnitudes.items()}
    print(
        f"\nMean size of the gradient in layer 1, sum |dW| / (n_in + n_out), over the first "
        f"{EVERY} steps:\nsigmoid {first['sigmoid']:.2g}, relu {first['relu']:.2g}, which is "
        f"{first['relu'] / first['sigmoid']:.1f} times as large: the sigmoids let little through."
    )


def notebook_losses() -> dict[str, dict[int, str]]:
    """The losses that the notebook prints, by net and step."""
    text = resources.files("tinygrad_edu").joinpath("vanishing_gradients_losses.csv").read_text()
    header, *rows = (line.split(",") for line in text.split())
    return {name: {int(row[0]): row[i] for row in rows} for i, name in enumerate(header) if i}


def hand_derived(activation: str, parameters: list[np.ndarray], X: Any, y: Any) -> list[np.ndarray]:
    """The gradients of the regularised loss as one derives them with pen and paper."""
    W1, b1, W2, b2, W3, b3 = parameters
    relu = activation == "relu"
    h1 = np.maximum(0, X @ W1 + b1) if relu else 1 / (1 + np.exp(-(X @ W1 + b1)))
    h2 = np.maximum(0, h1 @ W2 + b2) if relu else 1 / (1 + np.exp(-(h1 @ W2 + b2)))
    exp_scores = np.exp(h2 @ W3 + b3)
    dscores = exp_scores / exp_scores.sum(axis=1, keepdims=True)
    dscores[np.arange(len(y)), y] -= 1
    dscores /= len(y)
    dz2 = dscores @ W3.T * ((h2 > 0) if relu else h2 * (1 - h2))
    dz1 = dz2 @ W2.T * ((h1 > 0) if relu else h1 * (1 - h1))
    return [
        X.T @ dz1 + L2 * W1,
        dz1.sum(axis=0),
        h1.T @ dz2 + L2 * W2,
        dz2.sum(axis=0),
        h2.T @ dscores + L2 * W3,
        dscores.sum(axis=0),
    ]


def _central_differences(
    f: Any, pattern: Any, x: np.ndarray, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(f(x + h) - f(x - h)) / 2h at some entries of x, and whether there is a kink in between.

    A kink lies between the two points where `pattern` (which units are on) differs; the quotient
    is then a mean of two slopes and not a gradient.
    """
    h = 1e-6
    slopes, kinks = np.empty(len(positions)), np.empty(len(positions), bool)
    for k, i in enumerate(positions):
        kept = x.flat[i]
        x.flat[i] = kept + h
        right, right_pattern = f(), pattern()
        x.flat[i] = kept - h
        left, left_pattern = f(), pattern()
        x.flat[i] = kept
        slopes[k] = (right - left) / (2 * h)
        kinks[k] = not np.array_equal(right_pattern, left_pattern)
    return slopes, kinks


def print_gradient_check(X: Any, y: Any, trainers: dict[str, Trainer], samples: int = 40) -> None:
    """Prints how far the engine's gradients are from hand-derived ones and from differences."""
    rng = np.random.default_rng(0)
    print(
        "\nThe engine's gradient now: its largest difference, relative to the largest entry, from\n"
        "formulas derived by hand and from (f(x+h) - f(x-h)) / 2h at some entries. Where a relu\n"
        "switches between x-h and x+h there is no derivative to compare with: left out.\n"
    )
    print(f"{'':14} {'hand-derived':>13} {'differences':>13}  left out")
    for name, trainer in trainers.items():
        net: Any = trainer.model
        net.zero_grad()
        trainer.objective(X, y).backward()

        def value(trainer: Trainer = trainer) -> float:
            return trainer.objective(X, y).item()

        def units_on(net: Any = net) -> np.ndarray:
            x, on = X, []
            for layer in net.layers[:-1]:
                x = layer(x)
                on += [x.data > 0] if isinstance(layer, nn.ReLU) else []
            return np.array(on)

        by_hand = hand_derived(name, [p.data for p in net.parameters()], X, y)
        for p, expected in zip(net.parameters(), by_hand, strict=True):
            some = rng.permutation(p.size)[:samples]
            slopes, kinks = _central_differences(value, units_on, p.data, some)
            scale = np.abs(p.grad).max()
            hand = np.abs(p.grad - expected).max() / scale
            apart = np.abs(p.grad.flat[some] - slopes)[~kinks].max(initial=0) / scale
            skipped = f"{kinks.sum()} of {len(some)}"
            print(f"{name:>11} {p.name} {hand:13.1e} {apart:13.1e}  {skipped:>8}")


def draw(
    out: Path,
    X: Any,
    y: Any,
    trainers: dict[str, Trainer],
    magnitudes: dict[str, GradientMagnitudes],
) -> None:
    """Writes the notebook's pictures as PNG files into the folder `out`."""
    first_two = {
        f"{name}, {W}": m.of_layer[W] for name, m in magnitudes.items() for W in ("W1", "W2")
    }
    pictures = {
        "data": plot.scatter(X, y, title="The spiral"),
        "nonlinearities": plot.nonlinearities()[0],
        "gradients_overlaid": plot.curves(
            first_two,
            title="Gradient magnitude",
            ylabel=MEASURE,
            logarithmic=True,
            every=max(1, len(magnitudes["relu"]) // 1000),
        ),
    }
    for name, trainer in trainers.items():
        title = f"Gradient magnitude, {name} net"
        pictures[f"gradients_{name}"] = magnitudes[name].plot(title=title)
        pictures[f"regions_{name}"] = plot.decision_regions(
            trainer.predict, X, y, title=f"{name} net, accuracy {trainer.score(X, y):.2f}"
        )
    for name, ax in pictures.items():
        plot.save(ax, out / f"{name}.png")
    print(f"\n{len(pictures)} pictures are in {out}{'' if str(out).endswith('/') else '/'}")
