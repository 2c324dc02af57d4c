"""The estimators of `tinygrad_edu.sklearn`, beside those of scikit-learn."""

import functools
import os
import pickle
import subprocess
import sys
import warnings
from inspect import signature

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_edu as tg

pytest.importorskip("sklearn")

from sklearn import neural_network
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import has_fit_parameter

from tinygrad_edu.sklearn import MLPClassifier, MLPRegressor

PAIRS = {
    MLPClassifier: neural_network.MLPClassifier,
    MLPRegressor: neural_network.MLPRegressor,
}


@pytest.fixture(autouse=True)
def quietly():
    """Most fits here are stopped early on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def some_data(kind, seed=0, n=90, features=4, outputs=3):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, features))
    z = np.tanh(X @ rng.normal(size=(features, outputs))) + 0.1 * rng.normal(size=(n, outputs))
    if kind == "binary":
        return X, np.where(z[:, 0] > 0, "yes", "no")
    if kind == "classes":
        return X, np.array([7, 3, 5])[z[:, :3].argmax(axis=1)]
    if kind == "labels":
        return X, (z > 0).astype(int)
    return X, z[:, 0] if kind == "one" else z


KINDS = {
    "binary": MLPClassifier,
    "classes": MLPClassifier,
    "labels": MLPClassifier,
    "one": MLPRegressor,
    "several": MLPRegressor,
}


def both(kind, **settings):
    ours = KINDS[kind](**settings)
    return ours, PAIRS[type(ours)](**settings)


def assert_same_net(ours, theirs, tolerance=1e-9):
    for a, b in zip(
        ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


def assert_same_predictions(ours, theirs, X, tolerance=1e-12):
    for name in ("predict_proba", "predict_log_proba"):
        if hasattr(theirs, name):
            a, b = getattr(ours, name)(X), getattr(theirs, name)(X)
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=tolerance)
    if hasattr(theirs, "classes_"):
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    else:
        np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-12, atol=tolerance)


# What scikit-learn itself asks of an estimator


@parametrize_with_checks([MLPClassifier(), MLPRegressor()])
def test_scikit_learns_own_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def test_the_check_that_needs_a_setting_from_before_scipy_is_imported():
    program = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "from sklearn.utils.estimator_checks import estimator_checks_generator\n"
        "from tinygrad_edu.sklearn import MLPClassifier, MLPRegressor\n"
        "for model in MLPClassifier(), MLPRegressor():\n"
        "    for estimator, check in estimator_checks_generator(model):\n"
        "        if 'array_api' in check.func.__name__:\n"
        "            check(estimator)\n"
        "            print(check.func.__name__)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "SCIPY_ARRAY_API": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() in (["check_array_api_input"] * 2, [])


# The same as scikit-learn's


SAME = [
    {},
    {"activation": "tanh", "hidden_layer_sizes": (9, 5), "alpha": 0.5},
    {"activation": "logistic", "batch_size": 32, "epsilon": 1e-3, "beta_2": 0.9},
    {"activation": "identity", "hidden_layer_sizes": (), "batch_size": 50, "shuffle": False},
    {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1, "batch_size": 32},
    {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.5, "tol": 0.05},
    {"solver": "sgd", "momentum": 0, "learning_rate_init": 0.1, "alpha": 0},
    {"solver": "sgd", "nesterovs_momentum": False, "batch_size": 20},
    {"early_stopping": True, "n_iter_no_change": 3, "batch_size": 16, "tol": 0.1},
    {"tol": 0.02, "learning_rate_init": 0.02, "n_iter_no_change": 2, "batch_size": 30},
]


@pytest.mark.parametrize("more", SAME, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_it_trains_as_scikit_learn_does(kind, more):
    if kind == "several" and "tol" in more:
        pytest.skip("the loss of several outputs is their sum here")
    X, y = some_data(kind)
    own = {"hidden_layer_sizes": 8, "max_iter": 25, "n_iter_no_change": 2, "random_state": 3}
    ours, theirs = both(kind, **{**own, **more})
    ours.fit(X, y)
    theirs.fit(X, y)
    assert_same_net(ours, theirs)
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.t_ == theirs.t_
    assert ours.out_activation_ == theirs.out_activation_
    assert (ours.n_layers_, ours.n_outputs_) == (theirs.n_layers_, theirs.n_outputs_)
    assert ours.validation_scores_ == pytest.approx(theirs.validation_scores_)
    assert ours.best_validation_score_ == pytest.approx(theirs.best_validation_score_)
    if kind != "several":
        np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-9)
        assert ours.best_loss_ in (pytest.approx(theirs.best_loss_), None)
        assert (ours.best_loss_ is None) == (theirs.best_loss_ is None)
        assert ours.loss_ == ours.loss_curve_[-1]


@pytest.mark.parametrize("kind", ["classes", "binary", "labels"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_probabilities_that_are_all_but_0_and_1_count_as_in_scikit_learn(kind, dtype):
    X, y = tg.data.wine()
    y = {"classes": y, "binary": y == 1, "labels": np.column_stack([y == 1, y > 0]).astype(int)}[
        kind
    ]
    w = np.random.default_rng(0).uniform(0.1, 3, len(X)) if kind != "labels" else None
    theirs = neural_network.MLPClassifier((), learning_rate_init=0.1, max_iter=40, random_state=0)
    ours = MLPClassifier((), learning_rate_init=0.1, max_iter=40, random_state=0)
    for weights in [None, w] if has_fit_parameter(theirs, "sample_weight") else [None]:
        more = {} if weights is None else {"sample_weight": weights}
        ours.fit(X.astype(dtype), y, **more)
        theirs.fit(X.astype(dtype), y, **more)
        assert (np.finfo(dtype).eps > 1 - ours.predict_proba(X.astype(dtype)).max(axis=1)).any()
        assert ours.n_iter_ == theirs.n_iter_
        exact = 1e-9 if dtype is np.float64 else 1e-3
        np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=exact)
        assert_same_net(ours, theirs, tolerance=exact)


def test_the_rules_for_the_end_were_met():
    # Otherwise the comparisons above would say nothing about them.
    X, y = some_data("one")
    for more in SAME[-2:]:
        model = MLPRegressor(hidden_layer_sizes=8, max_iter=25, random_state=3, **more).fit(X, y)
        assert 2 < model.n_iter_ < 25
    model = MLPRegressor(
        hidden_layer_sizes=8, max_iter=25, random_state=3, n_iter_no_change=2, **SAME[5]
    ).fit(X, y)
    assert model._training.trainer.optimizer.lr < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_sample_weights_are_those_of_scikit_learn(kind):
    X, y = some_data(kind)
    w = np.random.default_rng(1).uniform(0.1, 3, len(X))
    ours, theirs = both(kind, hidden_layer_sizes=8, max_iter=10, batch_size=40, random_state=0)
    if not has_fit_parameter(theirs, "sample_weight"):
        pytest.skip("scikit-learn's MLPs take weights from 1.7 on")
    ours.fit(X, y, sample_weight=w)
    theirs.fit(X, y, sample_weight=w)
    assert_same_net(ours, theirs)


@pytest.mark.parametrize("kind", ["classes", "one"])
def test_a_weight_of_0_is_absence(kind):
    X, y = some_data(kind)
    w = np.arange(len(X)) % 3.0
    model = KINDS[kind](hidden_layer_sizes=8, max_iter=5, batch_size=20, random_state=0)
    with_zeros = clone(model).fit(X, y, sample_weight=w)
    without = clone(model).fit(X[w > 0], y[w > 0], sample_weight=w[w > 0])
    assert_same_net(with_zeros, without, tolerance=0)
    assert_same_net(
        clone(model).fit(X, y, sample_weight=np.full(len(X), 2.5)),
        clone(model).set_params(alpha=1e-4 / 2.5).fit(X, y),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_as_scikit_learn_does(kind):
    X, y = some_data(kind)
    classes = np.arange(3) if kind == "labels" else np.unique(y)
    keywords = {"classes": classes} if KINDS[kind] is MLPClassifier else {}
    ours, theirs = both(kind, hidden_layer_sizes=8, batch_size=25, random_state=0)
    for model in (ours, theirs):
        model.partial_fit(X[:60], y[:60], **keywords)
        for _ in range(3):
            model.partial_fit(X[60:], y[60:])
    assert_same_net(ours, theirs)
    assert len(ours.loss_curve_) == len(theirs.loss_curve_) == 4
    ours, theirs = both(kind, hidden_layer_sizes=8, max_iter=4, warm_start=True, random_state=0)
    for model in (ours, theirs):
        model.fit(X, y).fit(X, y)
        model.partial_fit(X, y)
    assert_same_net(ours, theirs)
    assert len(ours.loss_curve_) == len(theirs.loss_curve_) == 9


def test_an_int_as_layers_and_a_generator_as_random_state():
    X, y = some_data("one")
    ours, theirs = (
        kind(hidden_layer_sizes=5, max_iter=3, random_state=np.random.RandomState(5)).fit(X, y)
        for kind in (MLPRegressor, neural_network.MLPRegressor)
    )
    assert_same_net(ours, theirs)


def test_parameters_are_those_of_scikit_learn():
    for ours, theirs in PAIRS.items():
        own, other = (list(signature(kind).parameters.values()) for kind in (ours, theirs))
        if "loss" not in signature(theirs).parameters:
            own = [p for p in own if p.name != "loss"]
        assert [(p.name, p.kind, p.default) for p in own] == [
            (p.name, p.kind, p.default) for p in other
        ]
        values = {p.name: object() for p in own}
        assert ours(**values).get_params().items() >= values.items()


# From and to scikit-learn


@settings(max_examples=25)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    features=st.integers(1, 5),
    outputs=st.integers(2, 4),
    hidden=st.lists(st.integers(1, 6), max_size=3),
    activation=st.sampled_from(["relu", "tanh", "logistic", "identity"]),
    solver=st.sampled_from(["adam", "sgd", "lbfgs"]),
    dtype=st.sampled_from([np.float64, np.float32]),
    seed=st.integers(0, 1000),
)
def test_nets_come_and_go(kind, features, outputs, hidden, activation, solver, dtype, seed):
    outputs = max(outputs, 3) if kind == "classes" else outputs
    X, y = some_data(kind, seed, 40, features, outputs)
    X = X.astype(dtype)
    theirs = PAIRS[KINDS[kind]](
        hidden_layer_sizes=hidden,
        activation=activation,
        solver=solver,
        max_iter=3,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.fit(X, y)
    exact = 1e-12 if dtype is np.float64 else 1e-5
    there = KINDS[kind].from_sklearn(theirs)
    assert_same_net(there, theirs, tolerance=0)
    check = functools.partial(assert_same_predictions, tolerance=exact)
    if dtype is np.float64:
        check(there, theirs, X)
    back = there.to_sklearn()
    assert_same_net(back, theirs, tolerance=0)
    np.testing.assert_array_equal(back.predict(X), theirs.predict(X))
    assert there.n_iter_ == back.n_iter_ == theirs.n_iter_
    assert there.loss_ == back.loss_ == theirs.loss_
    # What was converted can be trained.
    there.partial_fit(X, y)
    if solver != "lbfgs":
        back.partial_fit(X, y)


@pytest.mark.parametrize("kind", KINDS)
def test_our_own_nets_in_scikit_learn(kind):
    X, y = some_data(kind)
    ours = KINDS[kind](
        hidden_layer_sizes=(8, 4), activation="tanh", max_iter=10, alpha=0.1, random_state=0
    ).fit(X, y)
    theirs = ours.to_sklearn()
    assert type(theirs) is PAIRS[KINDS[kind]]
    assert_same_predictions(ours, theirs, X)
    assert ours.get_params().items() >= theirs.get_params().items()
    # The arrays are copies.
    theirs.coefs_[0][:] = 0
    assert ours.coefs_[0].any()
    again = KINDS[kind].from_sklearn(ours.to_sklearn())
    assert_same_predictions(again, ours, X)
    assert again.get_params() == ours.get_params()
    assert again.loss_curve_ == ours.loss_curve_


def test_what_cannot_be_converted():
    X, y = some_data("one")
    with pytest.raises(TypeError, match=r"fitted .*MLPRegressor is needed, got MLPClassifier"):
        MLPRegressor.from_sklearn(neural_network.MLPClassifier())
    with pytest.raises(NotFittedError):
        MLPRegressor.from_sklearn(neural_network.MLPRegressor())
    with pytest.raises(NotFittedError):
        MLPRegressor().to_sklearn()
    if "loss" in neural_network.MLPRegressor().get_params():
        fitted = neural_network.MLPRegressor(loss="poisson", max_iter=2).fit(X, np.exp(y))
        with pytest.raises(ValueError, match="loss='poisson'"):
            MLPRegressor.from_sklearn(fitted)


# In the company of other tools


def test_in_a_pipeline_and_a_search_on_frames():
    pandas = pytest.importorskip("pandas")
    X, y = some_data("classes", n=120)
    X = pandas.DataFrame(X * [1, 10, 100, 1000], columns=["a", "b", "c", "d"])
    y = pandas.Series(y).map({3: "low", 5: "middle", 7: "high"})
    model = MLPClassifier(8, learning_rate_init=0.05, max_iter=60, random_state=0)
    pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), model)
    search = GridSearchCV(pipeline, {"mlpclassifier__alpha": [1e-4, 1000.0]}, cv=3).fit(X, y)
    assert search.best_params_ == {"mlpclassifier__alpha": 1e-4}
    assert search.score(X, y) > 0.9
    fitted = search.best_estimator_[-1]
    assert list(fitted.feature_names_in_) == ["a", "b", "c", "d"]
    assert list(fitted.classes_) == ["high", "low", "middle"]
    assert list(fitted.to_sklearn().feature_names_in_) == ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(X.rename(columns={"a": "z"}))


def test_scores_of_cross_validation_are_those_of_scikit_learn():
    X, y = tg.data.wine()
    settings = {"hidden_layer_sizes": 20, "learning_rate_init": 0.01, "max_iter": 40}
    settings["random_state"] = 0
    ours, theirs = (
        cross_val_score(make_pipeline(StandardScaler(), kind(**settings)), X, y, cv=3)
        for kind in (MLPClassifier, neural_network.MLPClassifier)
    )
    assert ours.tolist() == theirs.tolist()
    assert ours.mean() > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_from_a_file_goes_on_as_the_original(kind):
    X, y = some_data(kind)
    model = KINDS[kind](hidden_layer_sizes=8, max_iter=5, random_state=0, batch_size=40).fit(X, y)
    copy = pickle.loads(pickle.dumps(model))
    assert_same_net(model, copy, tolerance=0)
    model.partial_fit(X, y)
    assert not np.array_equal(copy.coefs_[0], model.coefs_[0])
    copy.partial_fit(X, y)
    assert_same_net(model, copy, tolerance=0)
    assert not hasattr(clone(model), "coefs_")


def test_the_net_is_one_of_ours(tmp_path):
    X, y = some_data("classes")
    model = MLPClassifier(8, max_iter=5, random_state=0).fit(X, y)
    np.testing.assert_array_equal(
        model.classes_[model.net_(X).data.argmax(axis=1)], model.predict(X)
    )
    tg.save(model.net_, tmp_path / "net.npz")
    other = clone(model).set_params(random_state=1).fit(X, y)
    tg.load_into(other.net_, tmp_path / "net.npz")
    assert_same_predictions(other, model, X, tolerance=0)


def test_float32_stays_float32():
    X, y = some_data("several")
    model = MLPRegressor(hidden_layer_sizes=8, max_iter=5, random_state=0).fit(
        X.astype(np.float32), y
    )
    assert {a.dtype for a in model.coefs_ + model.intercepts_} == {np.dtype(np.float32)}
    assert model.predict(X.astype(np.float32)).dtype == np.float32
    # A product with a matrix of float64 is one of float64, as in scikit-learn.
    assert model.predict(X).dtype == model.to_sklearn().predict(X).dtype == np.float64


def test_logarithms_of_probabilities_too_small_for_floats():
    X = np.linspace(-1, 1, 40)[:, None]
    for y in (X[:, 0] > 0, np.digitize(X[:, 0], [-0.3, 0.3])):
        model = MLPClassifier((), max_iter=1, random_state=0).fit(X, y)
        model.coefs_[0][:] *= 1e5
        logs = model.predict_log_proba(X)
        assert np.isfinite(logs).all()
        assert logs.min() < -1e4
        np.testing.assert_allclose(np.exp(logs), model.predict_proba(X), rtol=0, atol=1e-12)


# What is said of errors


WRONG = [
    ({"solver": "lbfgs"}, r"'solver' parameter .* must be a str among .*'lbfgs'"),
    ({"activation": "swish"}, "'activation' parameter"),
    ({"alpha": -1}, "'alpha' parameter"),
    ({"momentum": 1.0, "solver": "sgd"}, "'momentum' parameter"),
    ({"max_fun": 0}, "'max_fun' parameter"),
    ({"loss": "poisson"}, r"'loss' parameter .* must be a str among {'squared_error'}.*'poisson'"),
    ({"loss": (50, 50)}, r"'loss' parameter .*\(50, 50\)"),
    ({"hidden_layer_sizes": (5, 0)}, r"hidden_layer_sizes must be whole numbers above 0.*\[5, 0\]"),
    ({"hidden_layer_sizes": (5, 2.5)}, "hidden_layer_sizes"),
    ({"early_stopping": True, "validation_fraction": 0.01}, "at least 2"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG, ids=lambda x: str(x)[:30])
def test_wrong_parameters(settings, message):
    X, y = some_data("one")
    model = MLPRegressor(**settings)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    assert not hasattr(model, "coefs_") or "validation_fraction" in settings


def test_wrong_data():
    X, y = some_data("classes")
    model = MLPClassifier(5, max_iter=2, random_state=0)
    with pytest.raises(ValueError, match="classes must be passed"):
        model.partial_fit(X, y)
    with pytest.raises(ValueError, match=r"goes on with the classes \[3 5\], but y has \[3 5 7\]"):
        clone(model).partial_fit(X, y, classes=[3, 5])
    with pytest.raises(ValueError, match=r"0 for all rows|at least one non-zero"):
        model.fit(X, y, sample_weight=np.zeros(len(X)))
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        model.fit(X, y, sample_weight=-np.ones(len(X)))
    with pytest.raises(ValueError, match="no early_stopping"):
        clone(model).set_params(early_stopping=True).partial_fit(X, y, classes=[3, 5, 7])
    warm = clone(model).set_params(warm_start=True).fit(X, y)
    before = [W.copy() for W in warm.coefs_]
    with pytest.raises(ValueError, match="goes on with the classes"):
        warm.fit(X[y < 7], y[y < 7])
    with pytest.raises(ValueError, match=r"layers of \[4, 5, 3\] with 'relu', but \[4, 6, 3\]"):
        warm.set_params(hidden_layer_sizes=6).fit(X, y)
    with pytest.raises(ValueError, match="with 'tanh'"):
        warm.set_params(hidden_layer_sizes=5, activation="tanh").fit(X, y)
    assert all(np.array_equal(a, b) for a, b in zip(warm.coefs_, before, strict=True))


@pytest.mark.parametrize("y", [["1"] * 90, np.full(90, "2000", "M8[Y]")], ids=["str", "date"])
def test_values_that_are_no_numbers(y):
    X, _ = some_data("one")
    model = MLPRegressor(max_iter=2)
    with pytest.raises(
        TypeError, match=r"y must be numbers, got <U1 \(the first is .*'1'|datetime"
    ):
        model.fit(X, y)
    assert not hasattr(model, "net_")


def test_a_loss_that_grows_without_end():
    X, y = some_data("one")
    model = MLPRegressor(hidden_layer_sizes=5, solver="sgd", learning_rate_init=1e6, random_state=0)
    with pytest.raises(ValueError, match=r"the loss became .* smaller learning rate"):
        model.fit(X, y)


def test_warnings():
    X, y = some_data("one")
    with pytest.warns(ConvergenceWarning, match="max_iter=2 epochs") as caught:
        MLPRegressor(hidden_layer_sizes=5, max_iter=2, random_state=0).fit(X, y)
    assert caught[0].filename == __file__
    model = MLPRegressor(
        hidden_layer_sizes=5, max_iter=50, tol=10.0, n_iter_no_change=3, batch_size=1000
    )
    with pytest.warns(UserWarning, match="batch_size=1000 is more than the 90 rows") as caught:
        model.fit(X, y)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert model.n_iter_ == 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.set_params(batch_size="auto").partial_fit(X, y)


def test_verbose(capsys):
    X, y = some_data("classes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MLPClassifier(5, max_iter=2, verbose=True, early_stopping=True).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Iteration 1, loss = {model.loss_curve_[0]:.8f}"
    assert lines[1] == f"Validation score: {model.validation_scores_[0]:f}"
    assert len(lines) == 4
