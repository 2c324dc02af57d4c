"""The classifier and the regressor."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin, _fit_context
from sklearn.metrics import accuracy_score, r2_score
from sklearn.preprocessing import LabelBinarizer
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

    There is no solver "lbfgs", and X must not be sparse: both are refused. A row of `sample_weight`
    0 counts as absent, also from the minibatches.

    Args: see https://scikit-learn.org/stable/modules/generated/sklearn.neural_network.MLPClassifier

    Attributes:
        net_: the `tg.nn.MLP`; its outputs are logits.
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

    What is not here: the solver "lbfgs", other losses (there is no parameter `loss`), and sparse X.

    Args: see https://scikit-learn.org/stable/modules/generated/sklearn.neural_network.MLPRegressor

    Example:
        >>> X = np.linspace(-3, 3, 200)[:, None]
        >>> y = np.sin(X[:, 0])
        >>> model = MLPRegressor(32, learning_rate_init=0.01, max_iter=500, random_state=0)
        >>> model.fit(X, y).score(X, y) > 0.99
        True
    """

    _measure = staticmethod(r2_score)

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
