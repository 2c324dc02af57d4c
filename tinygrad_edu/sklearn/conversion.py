"""From scikit-learn's fitted nets to ours, and back."""

from __future__ import annotations

from typing import Any

from sklearn import neural_network
from sklearn.utils.validation import check_is_fitted

from tinygrad_edu.nn import ACTIVATIONS as MODULES
from tinygrad_edu.nn import MLP
from tinygrad_edu.sklearn.training import ACTIVATIONS

__all__ = ["activation_of", "from_sklearn", "to_sklearn"]

# What an estimator knows apart from its parameters and its net, under the same name in both.
_OF_THE_DATA = ("n_features_in_", "feature_names_in_", "classes_", "_label_binarizer")
_OF_THE_TRAINING = (
    "n_iter_",
    "t_",
    "loss_",
    "loss_curve_",
    "best_loss_",
    "validation_scores_",
    "best_validation_score_",
)


def activation_of(net: MLP, default: str) -> str:
    """What scikit-learn calls the activation of a net; the default if it has none."""
    names = {MODULES[ours]: theirs for theirs, ours in ACTIVATIONS.items()}
    return names[type(net.layers[1])] if len(net.layers) > 1 else default


def from_sklearn(kind: type, fitted: Any) -> Any:
    """The estimator of this kind."""
    theirs = getattr(neural_network, kind.__name__)
    if not isinstance(fitted, theirs):
        raise TypeError(f"a fitted {theirs.__module__}.{theirs.__name__} is needed, got {fitted!r}")
    check_is_fitted(fitted)
    settings = fitted.get_params()
    loss = settings.get("loss", "squared_error")
    if loss != "squared_error":
        raise ValueError(f"a net with loss={loss!r} cannot be converted")
    if settings["solver"] == "lbfgs":
        settings["solver"] = "adam"
    estimator = kind()
    estimator.set_params(**settings)
    _copy(_OF_THE_DATA, fitted, estimator)
    sizes = [fitted.n_features_in_, *(len(b) for b in fitted.intercepts_)]
    net = MLP(sizes, ACTIVATIONS[fitted.activation], rng=0, dtype=fitted.coefs_[0].dtype)
    arrays = [a for pair in zip(fitted.coefs_, fitted.intercepts_, strict=True) for a in pair]
    net.load_state_dict(dict(zip(net.state_dict(), arrays, strict=True)))
    estimator._take(net)
    _copy(_OF_THE_TRAINING, fitted, estimator)
    training = estimator._training
    training.n_iter, training.t = estimator.n_iter_, estimator.t_
    training.idle = getattr(fitted, "_no_improvement_count", 0)
    # lbfgs leaves no curve, and one of the two bests is always None.
    training.loss_curve = getattr(estimator, "loss_curve_", training.loss_curve)
    if getattr(estimator, "best_loss_", None) is not None:
        training.best_loss = estimator.best_loss_
    if getattr(estimator, "validation_scores_", None) is not None:
        training.scores = estimator.validation_scores_
        training.best_score = estimator.best_validation_score_
    return estimator


def to_sklearn(estimator: Any) -> Any:
    """The estimator of scikit-learn."""
    fitted = getattr(neural_network, type(estimator).__name__)()
    own = fitted.get_params()  # without `loss` before 1.7
    fitted.set_params(**{k: v for k, v in estimator.get_params().items() if k in own})
    fitted.activation = activation_of(estimator.net_, estimator.activation)
    _copy(_OF_THE_DATA + _OF_THE_TRAINING, estimator, fitted)
    fitted.coefs_ = [W.copy() for W in estimator.coefs_]
    fitted.intercepts_ = [b.copy() for b in estimator.intercepts_]
    fitted.n_layers_, fitted.n_outputs_ = estimator.n_layers_, estimator.n_outputs_
    fitted.out_activation_ = estimator.out_activation_
    # Without it more training fails.
    fitted._no_improvement_count = estimator._training.idle
    return fitted


def _copy(names: tuple[str, ...], source: Any, target: Any) -> None:
    for name in names:
        if hasattr(source, name):
            value = getattr(source, name)
            setattr(target, name, list(value) if isinstance(value, list) else value)
