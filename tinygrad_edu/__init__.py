"""tinygrad_edu: automatic differentiation of NumPy code, small enough to read in one sitting.

    import numpy as np
    import tinygrad_edu as tg

    tg.grad(f)                     the gradient of a function of plain NumPy code
    tg.Tensor(x, requires_grad=True), y.backward(), x.grad
    tg.nn, tg.optim, tg.Trainer    nets, and how to train them

    tg.check_grad(f, x, gradient=...)    is this gradient right, and if not, where and why?

To read the engine: `rules.py`, `calculus/`, `tape.py`, `tensor.py`, `transforms.py`, in this order.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tinygrad_edu import data, nn, optim
from tinygrad_edu.calculus.neural import (
    binary_cross_entropy,
    cross_entropy,
    leaky_relu,
    linear,
    log_softmax,
    logsumexp,
    mse,
    relu,
    sigmoid,
    softmax,
    softplus,
    sum_of_squares,
    tanh,
)
from tinygrad_edu.recording import debug, no_grad
from tinygrad_edu.rules import composition, constant, derivative, primitive
from tinygrad_edu.show import Tape, explain, record
from tinygrad_edu.tensor import Tensor
from tinygrad_edu.trainer import Callback, History, Trainer, TrainingDiverged
from tinygrad_edu.transforms import (
    grad,
    hessian,
    hvp,
    jacobian,
    jvp,
    value_and_grad,
    vjp,
)
from tinygrad_edu.trees import flatten

if TYPE_CHECKING:
    from tinygrad_edu import callbacks, plot
    from tinygrad_edu import sklearn as sklearn  # not in __all__: it needs scikit-learn
    from tinygrad_edu.callbacks import (
        ActivationStatistics,
        Checkpoint,
        ClipGradNorm,
        ClipGradValue,
        CosineAnnealingLR,
        CSVLog,
        EarlyStopping,
        GradientMagnitudes,
        GradientStatistics,
        LinearLR,
        LRSchedule,
        SequentialLR,
        StepLR,
    )
    from tinygrad_edu.compiler import CompileError, compile
    from tinygrad_edu.gradcheck import GradientError, GradientReport, assert_grad, check_grad
    from tinygrad_edu.interop.models import load_into, save
    from tinygrad_edu.interop.onnx import to_onnx
    from tinygrad_edu.interop.torch import load_torch, to_torch

__version__ = "0.1.0"

__all__ = [
    "ActivationStatistics",
    "CSVLog",
    "Callback",
    "Checkpoint",
    "ClipGradNorm",
    "ClipGradValue",
    "CompileError",
    "CosineAnnealingLR",
    "EarlyStopping",
    "GradientError",
    "GradientMagnitudes",
    "GradientReport",
    "GradientStatistics",
    "History",
    "LRSchedule",
    "LinearLR",
    "SequentialLR",
    "StepLR",
    "Tape",
    "Tensor",
    "Trainer",
    "TrainingDiverged",
    "assert_grad",
    "binary_cross_entropy",
    "callbacks",
    "check_grad",
    "compile",
    "composition",
    "constant",
    "cross_entropy",
    "data",
    "debug",
    "derivative",
    "explain",
    "flatten",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "leaky_relu",
    "linear",
    "load_into",
    "load_torch",
    "log_softmax",
    "logsumexp",
    "mse",
    "nn",
    "no_grad",
    "optim",
    "plot",
    "primitive",
    "record",
    "relu",
    "save",
    "sigmoid",
    "softmax",
    "softplus",
    "sum_of_squares",
    "tanh",
    "to_onnx",
    "to_torch",
    "value_and_grad",
    "vjp",
]

# Not everybody who imports the engine checks a gradient or draws, and the checker takes as long to
# import as the rest.
_LATER = {
    **dict.fromkeys(("GradientError", "GradientReport", "assert_grad", "check_grad"), "gradcheck"),
    **dict.fromkeys(("CompileError", "compile"), "compiler"),
    **dict.fromkeys(
        (
            "ActivationStatistics",
            "CSVLog",
            "Checkpoint",
            "ClipGradNorm",
            "ClipGradValue",
            "CosineAnnealingLR",
            "EarlyStopping",
            "GradientMagnitudes",
            "GradientStatistics",
            "LRSchedule",
            "LinearLR",
            "SequentialLR",
            "StepLR",
        ),
        "callbacks",
    ),
    **dict.fromkeys(("load_into", "save"), "interop.models"),
    **dict.fromkeys(("load_torch", "to_torch"), "interop.torch"),
    "to_onnx": "interop.onnx",
    **{name: name for name in ("callbacks", "plot", "sklearn")},
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_LATER[name]}")
    return module if name == _LATER[name] else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
