"""What the estimators have in common: the parameters, and what `fit` and `predict` do."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, _fit_context, is_classifier
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from tinygrad_edu.nn import MLP
from tinygrad_edu.recording import no_grad
from tinygrad_edu.sklearn.conversion import activation_of, from_sklearn, to_sklearn
from tinygrad_edu.sklearn.training import ACTIVATIONS, Training, new_net
from tinygrad_edu.tensor import plain

__all__ = ["BaseMLP"]


class BaseMLP(BaseEstimator):
    """A net and its training, as scikit-learn wants to be asked."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "solver": [StrOptions({"adam", "sgd"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Trains a net, or with `warm_start` the one that is there, and returns the estimator.

        Args:
            X: (n, features), an array, a list or a pandas frame of finite numbers.
            y: (n,) or (n, outputs).
            sample_weight: (n,) numbers of at least 0. A row of weight 0 counts as absent.

        Raises:
            ValueError, TypeError: data or parameters of other kinds.
        """
        goes_on = self.warm_start and hasattr(self, "net_")
        return self._fit(X, y, sample_weight, goes_on, partial=False)

    def _fit(self, X: Any, y: Any, sample_weight: Any, goes_on: bool, partial: bool) -> Self:
        hidden = np.atleast_1d(self.hidden_layer_sizes).tolist()
        if not all(isinstance(n, int) and n > 0 for n in hidden):
            raise ValueError(f"hidden_layer_sizes must be whole numbers above 0, got {hidden}")
        if partial and self.early_stopping:
            raise ValueError("partial_fit takes no early_stopping=True: one epoch has no end")
        X, y = validate_data(
            self,
            X,
            y,
            multi_output=True,
            y_numeric=not is_classifier(self),
            dtype=(np.float64, np.float32),
            reset=not goes_on,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        targets = self._encoded(y, X.dtype, goes_on, partial)
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
            X, y, targets, weights = (a[weights > 0] for a in (X, y, targets, weights))
            if not len(weights):
                raise ValueError("sample_weight is 0 for all rows: there is nothing to train on")
        random_state = check_random_state(self.random_state)
        sizes = [X.shape[1], *hidden, targets.shape[1]]
        if not goes_on:
            self._take(new_net(sizes, self.activation, random_state, X.dtype))
        else:
            self._check_net(sizes)
        if not (partial and goes_on and self._training.trainer):
            self._training.begin(self)
        rows: Any = slice(None)
        validate = None
        if self.early_stopping:
            rows, held_out = self._split(y, random_state)
            validate = self._validation(X, y, weights, held_out)
        if weights is not None:
            targets = np.column_stack([targets, weights])
        self._training.run(
            self,
            X[rows],
            targets[rows],
            weighted=weights is not None,
            epochs=1 if partial else self.max_iter,
            partial=partial,
            random_state=random_state,
            validate=validate,
        )
        self._note()
        return self

    def _check_net(self, sizes: list[int]) -> None:
        """Raises if the net is another than the parameters and data ask for."""
        own = list(self.net_.sizes), activation_of(self.net_, self.activation)
        if own != (sizes, self.activation):
            raise ValueError(
                f"training cannot go on: the net has layers of {own[0]} with {own[1]!r}, but "
                f"{sizes} with {self.activation!r} are asked for; warm_start=False begins anew"
            )

    def _take(self, net: MLP) -> None:
        """Makes a net that of this estimator."""
        self.net_ = net
        self.n_layers_, self.n_outputs_ = len(net.sizes), net.sizes[-1]
        self.out_activation_ = self._out_activation()
        self._training = Training(net, self.out_activation_)

    def _note(self) -> None:
        """What scikit-learn's estimators say of their training."""
        training = self._training
        self.n_iter_, self.t_ = training.n_iter, training.t
        self.loss_curve_ = training.loss_curve
        self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else np.nan
        early = self.early_stopping
        self.best_loss_ = None if early else training.best_loss
        self.validation_scores_ = training.scores if early else None
        self.best_validation_score_ = training.best_score if early else None

    def _split(self, y: np.ndarray, random_state: Any) -> tuple[np.ndarray, np.ndarray]:
        """The rows to train on, and those for validation."""
        stratify = y if is_classifier(self) and self.n_outputs_ == 1 else None
        rows, held_out = train_test_split(
            np.arange(y.shape[0]),
            test_size=self.validation_fraction,
            random_state=random_state,
            stratify=stratify,
        )
        if len(held_out) < 2:
            raise ValueError(
                f"validation_fraction={self.validation_fraction} of {y.shape[0]} rows leaves "
                f"{len(held_out)} for validation: at least 2 are needed"
            )
        return rows, held_out

    def _validation(self, X: Any, y: Any, weights: Any, rows: np.ndarray) -> Callable[[], float]:
        """The score on the rows for validation, as a function."""
        X, y = X[rows], y[rows]
        weights = None if weights is None else weights[rows]

        def score() -> float:
            return float(self._measure(y, self._decided(self._outputs(X)), sample_weight=weights))

        return score

    def _outputs(self, X: np.ndarray) -> np.ndarray:
        """What the net says, before what comes after its last layer."""
        with no_grad():
            return plain(self.net_(X))

    def _checked_outputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return self._outputs(X)

    def predict(self, X: Any) -> np.ndarray:
        """What the net says of each row: the class, or the classes; or the values.

        Raises:
            NotFittedError: before `fit`.
            ValueError, TypeError: other data than those of `fit`.
        """
        return self._decided(self._checked_outputs(X))

    @property
    def coefs_(self) -> list[np.ndarray]:
        """The matrices of the net, from the first layer to the last: (n_in, n_out)."""
        return [W.data for W in self._parameters(0)]

    @property
    def intercepts_(self) -> list[np.ndarray]:
        """The biases: (n_out,)."""
        return [b.data for b in self._parameters(1)]

    def _parameters(self, first: int) -> list[Any]:
        if "net_" not in vars(self):
            raise AttributeError(f"this {type(self).__name__} is not fitted yet")
        return self.net_.parameters()[first::2]

    @classmethod
    def from_sklearn(cls, fitted: Any) -> Self:
        """The same net as that of a fitted estimator of scikit-learn, with the same parameters.

        It predicts the same; more training begins with a new optimiser. In place of
        solver="lbfgs", which is not here, stands "adam".

        Raises:
            TypeError: an estimator of another class.
            NotFittedError: it is not fitted.
            ValueError: a net with a loss that is not here, such as "poisson".
        """
        return from_sklearn(cls, fitted)

    def to_sklearn(self) -> Any:
        """A fitted estimator of scikit-learn with the same net and parameters.

        It predicts the same, and can be trained further. Its arrays are copies.

        Raises:
            NotFittedError: before `fit`.
        """
        check_is_fitted(self)
        return to_sklearn(self)
