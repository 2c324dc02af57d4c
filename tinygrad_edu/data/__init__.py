"""Data to learn with: made, from files, or from scikit-learn; and how to split them.

    spiral, crossed_gaussians                    points in the plane, made by a formula
    from_csv, Columns                            tables with numbers, categories, missing values
    from_idx                                     the files of MNIST
    digits, iris, wine, breast_cancer, diabetes  what comes with scikit-learn
    split                                        training, validation and test data

Each gives X, with a row for each sample, and y.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tinygrad_edu.data.checks import Rng, finite_numbers, random_generator
from tinygrad_edu.data.generated import crossed_gaussians, spiral

if TYPE_CHECKING:
    from tinygrad_edu.data.bundled import breast_cancer, diabetes, digits, iris, wine
    from tinygrad_edu.data.columns import Columns
    from tinygrad_edu.data.idx import from_idx
    from tinygrad_edu.data.splitting import split
    from tinygrad_edu.data.tables import from_csv

__all__ = [
    "Columns",
    "Rng",
    "breast_cancer",
    "crossed_gaussians",
    "diabetes",
    "digits",
    "finite_numbers",
    "from_csv",
    "from_idx",
    "iris",
    "random_generator",
    "spiral",
    "split",
    "wine",
]

# The engine itself needs none of these.
_LATER = {
    "Columns": "columns",
    "from_csv": "tables",
    **dict.fromkeys(("breast_cancer", "diabetes", "digits", "iris", "wine"), "bundled"),
    "from_idx": "idx",
    "split": "splitting",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
