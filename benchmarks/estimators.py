"""The estimators of `tinygrad_edu.sklearn` against those of scikit-learn: scores, and time to fit.

Both have the same settings and, in each fit, the same rows and the same `random_state`.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np

from benchmarks.timing import ratios, spread, table

FOLDS = 5
# The set, the kind of estimator, and what differs from scikit-learn's defaults.
SETS: dict[str, tuple[str, dict[str, Any]]] = {
    "digits": ("MLPClassifier", {}),
    "breast_cancer": ("MLPClassifier", {}),
    "wine": ("MLPClassifier", {}),
    "diabetes": ("MLPRegressor", {"learning_rate_init": 0.01}),
}


def run(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The table, and the scores and seconds of each fit."""
    figures: dict[str, Any] = {}
    rows = []
    for name, (kind, settings) in SETS.items():
        found = figures[name] = _measured(name, kind, settings, options.seeds)
        ours, theirs = (100 * np.array(found["scores"][which]) for which in ("ours", "theirs"))
        seconds = found["seconds"]
        rows.append(
            [
                f"{name.replace('_', ' ')}, {'R²' if kind == 'MLPRegressor' else 'accuracy'}",
                str(found["n"]),
                f"{ours.mean():.2f}",
                f"{theirs.mean():.2f}",
                f"{np.max(np.abs(ours - theirs)):.2f}",
                f"{np.median(found['epochs']):.0f}",
                f"{np.median(seconds['ours']):.3f}",
                f"{np.median(seconds['theirs']):.3f}",
                spread(ratios(seconds["theirs"], seconds["ours"])),
            ]
        )
    columns = [
        "set",
        "rows",
        "score, %",
        "scikit-learn's",
        "largest difference",
        "epochs",
        "seconds a fit",
        "scikit-learn's",
        "times as fast",
    ]
    text = (
        f"{table(columns, rows)}\n\n{FOLDS} folds, {options.seeds} seeds for each: the means of "
        f"all scores, the largest difference of a single one, and medians. One fit of each in "
        f"turn, in an order that changes; the time is that of the processor."
    )
    return text, figures


def _measured(name: str, kind: str, settings: dict[str, Any], seeds: int) -> dict[str, Any]:
    """Scores and seconds of both, fold by fold and seed by seed."""
    from sklearn import datasets, neural_network
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import KFold, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from tinygrad_edu import sklearn as estimators

    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    kinds = {"ours": getattr(estimators, kind), "theirs": getattr(neural_network, kind)}
    found: dict[str, Any] = {"n": len(X), "epochs": []}
    found |= {what: {which: [] for which in kinds} for what in ("scores", "seconds")}
    folds = StratifiedKFold if kind == "MLPClassifier" else KFold
    warnings.simplefilter("ignore", ConvergenceWarning)
    # What is done once in a process is done before.
    for make in kinds.values():
        make(max_iter=1).fit(X[:50], y[:50])
    for seed in range(seeds):
        split = folds(FOLDS, shuffle=True, random_state=seed).split(X, y)
        for fold, (training, test) in enumerate(split):
            order = list(kinds.items())
            for which, make in order if (seed + fold) % 2 else reversed(order):
                model = make_pipeline(StandardScaler(), make(random_state=seed, **settings))
                start = time.process_time()
                model.fit(X[training], y[training])
                found["seconds"][which].append(time.process_time() - start)
                found["scores"][which].append(model.score(X[test], y[test]))
            found["epochs"].append(model[-1].n_iter_)
    return found
