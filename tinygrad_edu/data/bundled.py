"""The data sets that come with scikit-learn; its extra is `sklearn`."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["breast_cancer", "diabetes", "digits", "iris", "wine"]


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits: X (1797, 64), 8 by 8 shades from 0 to 16; y the digit.

    Raises:
        ModuleNotFoundError: scikit-learn is missing; the extra `sklearn` brings it.

    Example:
        >>> X, y = digits()
        >>> X.shape, X.max(), y[:5]
        ((1797, 64), np.float64(16.0), array([0, 1, 2, 3, 4]))
    """
    return _loaded("digits")


def iris() -> tuple[np.ndarray, np.ndarray]:
    """Irises: X (150, 4), lengths and widths of sepals and petals in cm; y the species, 0 to 2.

    Raises:
        ModuleNotFoundError: scikit-learn is missing; the extra `sklearn` brings it.
    """
    return _loaded("iris")


def wine() -> tuple[np.ndarray, np.ndarray]:
    """Wines: X (178, 13), chemical measurements; y the grower, 0 to 2.

    Raises:
        ModuleNotFoundError: scikit-learn is missing; the extra `sklearn` brings it.
    """
    return _loaded("wine")


def breast_cancer() -> tuple[np.ndarray, np.ndarray]:
    """Tumours: X (569, 30), measurements of cell nuclei; y 0 for malignant, 1 for benign.

    Raises:
        ModuleNotFoundError: scikit-learn is missing; the extra `sklearn` brings it.
    """
    return _loaded("breast_cancer")


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    """Patients: X (442, 10), standardised measurements; y a measure of the disease a year later.

    Raises:
        ModuleNotFoundError: scikit-learn is missing; the extra `sklearn` brings it.
    """
    return _loaded("diabetes")


def _loaded(name: str) -> Any:
    try:
        from sklearn import datasets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'tg.data.{name} is in scikit-learn: pip install "tinygrad-edu[sklearn]"'
        ) from error
    return getattr(datasets, f"load_{name}")(return_X_y=True)
