"""The classifier and the regressor."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin, _fit_context
from sklearn.metrics import accuracy_score, r2_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels

from tinygrad_edu.calculus import neural
from tinygrad_edu.sklearn.base import BaseMLP

__all__ = ["MLPClassifier", "MLPRegressor"]


class MLPClassifier(ClassifierMixin, BaseMLP):
    """A multilayer perceptron that says which class, or which of several labels.

    It minimises the cross-entropy as `sklearn.neural_network.MLPClassifier` does, with the same
    parameters and attributes: with the same `random_state` it takes the same steps, up to rounding.
    Two classes are told apart by one output with the logistic function. If y has several columns of
    0 and 1, labels that do not exclude each other, there is such an output for each.

    There is no solver "lbfgs", for which alone `max_fun` is, and X must not be sparse: both are
    refused. A row of `sample_weight` 0 counts as absent, also from the minibatches. With
    `warm_start` and `early_stopping` a second fit differs: here the best weights are a copy; in
    scikit-learn the training that goes on changes them, too.

    Args: see https://scikit-learn.org/stable/modules/generated/sklearn.neural_network.MLPClassifier

    Attributes:
        net_: the `tg.nn.MLP`; its outputs are logits, of two classes a single column, whose
            sigmoid is predict_proba[:, 1].
        coefs_, intercepts_: its arrays.
        classes_, n_features_in_, feature_names_in_, n_layers_, n_outputs_, out_activation_,
        n_iter_, t_, loss_, loss_curve_, best_loss_, validation_scores_, best_validation_score_:
            as in scikit-learn.

    Example:
        >>> import tinygrad_edu as tg
        >>> X, y = tg.data.spiral(rng=0)
        >>> model = MLPClassifier(
        ...     32, batch_size=50, learning_rate_init=0.02, tol=0.001, random_state=0
        ... )
        >>> model.fit(X, y).score(X, y) > 0.9
        True
        >>> bool(np.all(model.to_sklearn().predict(X) == model.predict(X)))
        True
    """

    classes_: np.ndarray
    _measure = staticmethod(accuracy_score)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None
    ) -> MLPClassifier:
        """One epoch of training on these data; returns the estimator.

        Args:
            X, y, sample_weight: see `fit`.
            classes: all classes that there will be; needed in the first call.

        Raises:
            ValueError, TypeError: data or parameters of other kinds.
        """
        if _check_partial_fit_first_call(self, classes):
            labels = y if type_of_target(y).startswith("multilabel") else classes
            self._label_binarizer = LabelBinarizer().fit(labels)
        return self._fit(X, y, sample_weight, hasattr(self, "net_"), partial=True)

    def _encoded(self, y: Any, dtype: Any, goes_on: bool, partial: bool) -> np.ndarray:
        """One column for each output, of 0 and 1."""
        if goes_on or partial:
            classes = unique_labels(y)
            new = np.setdiff1d(classes, self.classes_)
            if len(new) or not (partial or len(classes) == len(self.classes_)):
                raise ValueError(
                    f"training goes on with the classes {self.classes_}, but y has {classes}"
                )
        else:
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        return self._label_binarizer.transform(y).astype(dtype)

    def _out_activation(self) -> str:
        return "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"

    def _decided(self, z: np.ndarray) -> np.ndarray:
        p = self._probabilities(z)
        return self._label_binarizer.inverse_transform(p[:, 0] if p.shape[1] == 1 else p)

    def _probabilities(self, z: np.ndarray) -> np.ndarray:
        return (neural.softmax if self.out_activation_ == "softmax" else neural.sigmoid)(z)

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class (n, classes), in the order of `classes_`.

        Raises:
            NotFittedError, ValueError, TypeError: see `predict`.
        """
        p = self._probabilities(self._checked_outputs(X))
        return np.hstack([1 - p, p]) if self.n_outputs_ == 1 else p

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """The logarithms of `predict_proba`, also of probabilities that are too small for floats.

        Raises:
            NotFittedError, ValueError, TypeError: see `predict`.
        """
        z = self._checked_outputs(X)
        if self.out_activation_ == "softmax":
            return neural.log_softmax(z)
        log_p = -neural.softplus(-z)
        return np.hstack([-neural.softplus(z), log_p]) if self.n_outputs_ == 1 else log_p

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, BaseMLP):
    """A multilayer perceptron that says one value, or several.

    It minimises half the squared error as `sklearn.neural_network.MLPRegressor` does, with the same
    parameters and attributes; see `MLPClassifier`. For several outputs the loss is the sum over
    them, which is what scikit-learn's gradients are of; it reports their mean.

    There is no solver "lbfgs", and no loss but "squared_error"; X must not be sparse. `loss` is the
    first parameter, as it is in scikit-learn from 1.7 on: `hidden_layer_sizes` are given by name.

    Args: see https://scikit-learn.org/stable/modules/generated/sklearn.neural_network.MLPRegressor

    Example:
        >>> X = np.linspace(-3, 3, 200)[:, None]
        >>> y = np.sin(X[:, 0])
        >>> model = MLPRegressor(
        ...     hidden_layer_sizes=32, learning_rate_init=0.01, max_iter=500, random_state=0
        ... )
        >>> model.fit(X, y).score(X, y) > 0.99
        True
    """

    _measure = staticmethod(r2_score)
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({"squared_error"})],
    }

    # In full, and with the loss first, since scikit-learn reads the parameters from here.
    def __init__(
        self,
        loss: str = "squared_error",
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
        super().__init__(
            hidden_layer_sizes,
            activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
        )
        self.loss = loss

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """One epoch of training on these data; returns the estimator. See `fit`.

        Raises:
            ValueError, TypeError: data or parameters of other kinds.
        """
        return self._fit(X, y, sample_weight, hasattr(self, "net_"), partial=True)

    def _encoded(self, y: Any, dtype: Any, goes_on: bool, partial: bool) -> np.ndarray:
        if y.dtype.kind not in "biuf":
            raise TypeError(f"y must be numbers, got {y.dtype} (the first is {y.flat[0]!r})")
        return y.astype(dtype).reshape(len(y), -1)

    def _out_activation(self) -> str:
        return "identity"

    def _decided(self, z: np.ndarray) -> np.ndarray:
        return z[:, 0] if z.shape[1] == 1 else z

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
