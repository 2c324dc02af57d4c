"""Estimators of scikit-learn that train with this engine; its extra is `sklearn`.

    from tinygrad_edu.sklearn import MLPClassifier, MLPRegressor

They take the place of those in `sklearn.neural_network`: the same parameters, the same attributes,
and for the same `random_state` the same net, up to rounding.
"""

try:
    from tinygrad_edu.sklearn.estimators import MLPClassifier, MLPRegressor
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "sklearn":
        raise
    raise ModuleNotFoundError(
        'tinygrad_edu.sklearn needs scikit-learn: pip install "tinygrad-edu[sklearn]"',
        name=error.name,
    ) from error

__all__ = ["MLPClassifier", "MLPRegressor"]
