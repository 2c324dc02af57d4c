"""How the estimators train: scikit-learn's loss, shuffling and end of training, by a Trainer."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from tinygrad_edu import optim
from tinygrad_edu.calculus import neural
from tinygrad_edu.nn import MLP
from tinygrad_edu.rules import primitive
from tinygrad_edu.trainer import History, Trainer, TrainingDiverged

__all__ = ["ACTIVATIONS", "Training", "new_net"]

# By their names in scikit-learn.
ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "logistic": "sigmoid", "identity": "identity"}


def new_net(sizes: list[int], activation: str, random_state: Any, dtype: Any) -> MLP:
    """A net that begins as scikit-learn's do: W and b uniform from -a to a.

    a = sqrt(6 / (n_in + n_out)), with 2 in place of 6 for the logistic function.
    """
    net = MLP(sizes, ACTIVATIONS[activation], rng=0, dtype=dtype)
    parameters = net.parameters()
    for W, b in zip(parameters[0::2], parameters[1::2], strict=True):
        a = math.sqrt((2 if activation == "logistic" else 6) / sum(W.shape))
        for p in (W, b):
            p.data = random_state.uniform(-a, a, p.shape).astype(dtype, copy=False)
    return net


def _clipped(p: Any) -> Any:
    """Probabilities that are not nearer to 0 and 1 than 1 is to the next number of their dtype."""
    eps = np.finfo(p.dtype).eps
    return np.clip(p, eps, 1 - eps)


@primitive
def cross_entropy(z: Any, p: Any, y: Any, share: Any) -> Any:
    """sum(share * -log(p)), with the p of the class of each row, clipped.

    Shapes: the logits z, p = softmax(z) and y, of 0 and a 1 in each row: (n, classes); share, what
    a row counts: (n, 1) or one number.
    """
    return -np.add.reduce(np.log(_clipped(np.einsum("ij,ij->i", p, y)))[:, None] * share, None)


@primitive
def binary_cross_entropy(z: Any, p: Any, y: Any, share: Any) -> Any:
    """sum(share * -log(p)) where y is 1, with 1 - p for p where it is 0; p is clipped.

    Shapes: the logits z, p = sigmoid(z) and y, of 0 and 1: (n, outputs); share as above.
    """
    p = _clipped(p)
    return -np.add.reduce(np.log(np.where(y > 0, p, 1 - p)) * share, None)


# Of the unclipped loss, as in scikit-learn. The gradient of z is all of it: none comes through p.
for _loss in (cross_entropy, binary_cross_entropy):
    _loss.derivative(lambda g, _, z, p, y, share: (p - y) * (g * share), None, None, None)


class Objective:
    """The loss for each kind of outputs, with scikit-learn's penalty.

    mean over the rows of (loss of a row) + 0.5 * alpha * (sum of all squared weights) / n

    for a minibatch of n rows. The loss of a row is a sum over the outputs, of (z - y)**2 / 2 for
    "identity", the binary cross-entropy for "logistic", the cross-entropy for "softmax". If rows
    have weights, the mean is a weighted one, and n the sum of the weights. As in scikit-learn
    probabilities are clipped for the loss, but not for its gradients: where they are all but 0 or
    1, the loss says less than the gradients do.

    Args:
        kind: what comes after the last layer.
        weights: the matrices of the penalty.
        alpha: the weight of the penalty.
        weighted: whether the last column of y holds the weights of the rows.
    """

    def __init__(self, kind: str, weights: list[Any], alpha: float, weighted: bool):
        self.kind = kind
        self.weights = weights
        self.alpha = alpha
        self.weighted = weighted

    def __call__(self, z: Any, y: Any) -> Any:
        n, share = len(y), 1 / len(y)
        if self.weighted:
            w = y[:, -1:]
            n = np.sum(w)
            y, share = y[:, :-1], w / n
        loss = self._sum(z, y, share)
        if not self.alpha:
            return loss
        return loss + (0.5 * self.alpha / n) * neural.sum_of_squares(*self.weights)

    def is_like(self, other: Any) -> bool:
        """Whether another loss of the same net says the same of the same data."""
        return isinstance(other, Objective) and (
            (self.alpha, self.weighted) == (other.alpha, other.weighted)
        )

    def _sum(self, z: Any, y: Any, share: Any) -> Any:
        if self.kind == "softmax":
            return cross_entropy(z, neural.softmax(z), y, share)
        if self.kind == "logistic":
            return binary_cross_entropy(z, neural.sigmoid(z), y, share)
        return 0.5 * np.sum(np.square(z - y) * share)


class Adam(optim.Adam):
    """Adam with an eps that is not corrected: the form at the end of the paper's section 2."""

    def __init__(self, params: Any, lr: float, betas: tuple[float, float], eps_hat: float):
        super().__init__(params, lr, betas, eps_hat)
        self.eps_hat = eps_hat

    def update(self, p: np.ndarray, g: np.ndarray, t: int, state: dict[str, np.ndarray]) -> None:
        """As in `optim.Adam`, with eps_hat in place of eps * sqrt(1 - beta2**t)."""
        self.eps = self.eps_hat / math.sqrt(1 - self.betas[1] ** t)
        super().update(p, g, t, state)


class Shuffling:
    """A generator for Trainers that shuffles what it shuffled last, as scikit-learn does."""

    def __init__(self, random_state: np.random.RandomState):
        self.random_state = random_state
        self.order: np.ndarray | None = None

    def permutation(self, n: int) -> np.ndarray:
        """The next order of n rows."""
        drawn = self.random_state.permutation(n)
        self.order = drawn if self.order is None else self.order[drawn]
        return self.order


class Training:
    """The training of one net, through all calls of `fit` and `partial_fit` that go on with it.

    Attributes:
        net, trainer: what is trained, and by what.
        kind: what comes after the last layer; see `Objective`.
        loss_curve: the mean loss of each epoch, penalty included.
        n_iter: how many epochs the last call took.
        t: how many rows have been seen.
        best_loss, best_score, scores: of all epochs; scores are those on validation data.
        idle: for how many epochs there has been no improvement.
    """

    def __init__(self, net: MLP, kind: str):
        self.net = net
        self.kind = kind
        self.trainer: Any = None
        self.loss_curve: list[float] = []
        self.scores: list[float] = []
        self.t = self.idle = self.n_iter = 0
        self.best_loss, self.best_score = math.inf, -math.inf
        self.best = self._parameters()
        self._settings: Any = None
        self._validate: Callable[[], float] | None = None

    def begin(self, settings: Any) -> None:
        """A new optimiser, and a Trainer that uses it."""
        parameters = self.net.parameters()
        lr = settings.learning_rate_init
        if settings.solver == "adam":
            betas = (settings.beta_1, settings.beta_2)
            optimizer: optim.Optimizer = Adam(parameters, lr, betas, settings.epsilon)
        else:
            nesterov = bool(settings.nesterovs_momentum and settings.momentum)
            optimizer = optim.SGD(parameters, lr, settings.momentum, nesterov)
        self.trainer = Trainer(self.net, optimizer, callbacks=[self._epoch_ended])

    def run(
        self,
        settings: Any,
        X: np.ndarray,
        y: np.ndarray,
        weighted: bool,
        epochs: int,
        partial: bool,
        random_state: np.random.RandomState,
        validate: Callable[[], float] | None = None,
    ) -> None:
        """Trains until scikit-learn's rule says that it is enough, for `epochs` at most.

        Raises:
            ValueError: the loss became NaN or infinite.
        """
        self._settings, self._validate = settings, validate
        batch_size = _rows_a_step(settings.batch_size, len(X))
        self._sizes = [min(batch_size, len(X) - i) for i in range(0, len(X), batch_size)]
        self.n_iter = 0
        self._done = False
        objective = Objective(self.kind, self.net.parameters()[0::2], settings.alpha, weighted)
        if not objective.is_like(self.trainer.loss):
            self.trainer.loss = objective
        self.trainer.history = History()
        self.trainer.rng = Shuffling(random_state)
        try:
            history = self.trainer.fit(
                X, y, epochs, batch_size, shuffle=settings.shuffle, progress=False
            )
        except TrainingDiverged as error:
            raise ValueError(str(error)) from error
        finally:
            self._settings = self._validate = None
        if history.interrupted:
            warnings.warn("the training was interrupted", stacklevel=5)
        elif not (partial or self._done):
            warnings.warn(
                f"the training took all max_iter={epochs} epochs and has not come to its end: the "
                f"loss still falls by more than tol",
                ConvergenceWarning,
                stacklevel=5,
            )
        if validate is not None:
            for p, data in zip(self.net.parameters(), self.best, strict=True):
                p.data = data.copy()

    def _parameters(self) -> list[np.ndarray]:
        return [p.data.copy() for p in self.net.parameters()]

    def _epoch_ended(self, trainer: Trainer) -> None:
        sizes, settings = self._sizes, self._settings
        self.n_iter += 1
        self.t += sum(sizes)
        losses = trainer.history.loss[-len(sizes) :]
        loss = sum(a * n for a, n in zip(losses, sizes, strict=True)) / sum(sizes)
        self.loss_curve.append(loss)
        if settings.verbose:
            print(f"Iteration {self.n_iter}, loss = {loss:.8f}")
        validate = self._validate
        improved = self._improved_score(validate()) if validate else self._improved_loss(loss)
        self.idle = 0 if improved else self.idle + 1
        by_solver = settings.learning_rate if settings.solver == "sgd" else "constant"
        if by_solver == "invscaling":
            self._set_lr(settings.learning_rate_init / (self.t + 1) ** settings.power_t)
        if self.idle > settings.n_iter_no_change:
            if by_solver != "adaptive" or trainer.optimizer.lr <= 1e-6:
                self._done = True
                trainer.stop()
            else:
                self._set_lr(trainer.optimizer.lr / 5)
                self.idle = 0

    def _improved_loss(self, loss: float) -> bool:
        """Whether the loss fell by tol."""
        best = self.best_loss
        self.best_loss = min(best, loss)
        return loss <= best - self._settings.tol

    def _improved_score(self, score: float) -> bool:
        """Whether the score on the validation data rose by tol; keeps the best net."""
        self.scores.append(score)
        if self._settings.verbose:
            print(f"Validation score: {score:f}")
        best = self.best_score
        if score > best:
            self.best_score, self.best = score, self._parameters()
        return score >= best + self._settings.tol

    def _set_lr(self, lr: float) -> None:
        """Changes the learning rate; the velocity lr * v stays what it is."""
        optimizer = self.trainer.optimizer
        state = optimizer.state_dict()
        factor = optimizer.lr / lr
        optimizer.load_state_dict(
            {k: v * factor if k.startswith("velocity") else v for k, v in state.items()}
        )
        optimizer.lr = lr


def _rows_a_step(batch_size: Any, n: int) -> int:
    if batch_size == "auto":
        return min(200, n)
    if batch_size > n:
        warnings.warn(
            f"batch_size={batch_size} is more than the {n} rows: it is clipped", stacklevel=6
        )
    return min(int(batch_size), n)
