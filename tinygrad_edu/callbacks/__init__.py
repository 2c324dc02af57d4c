"""Callbacks: what may be done, kept and noted while a net learns.

`keeping.py` has what keeps a training in files, `stopping.py` what ends it, `schedules.py` and
`clipping.py` what changes its steps, `statistics.py` what watches it.
"""

from tinygrad_edu.callbacks.clipping import ClipGradNorm, ClipGradValue
from tinygrad_edu.callbacks.keeping import Checkpoint, CSVLog
from tinygrad_edu.callbacks.schedules import (
    CosineAnnealingLR,
    LinearLR,
    LRSchedule,
    SequentialLR,
    StepLR,
)
from tinygrad_edu.callbacks.statistics import (
    MEASURE,
    ActivationStatistics,
    GradientMagnitudes,
    GradientStatistics,
)
from tinygrad_edu.callbacks.stopping import EarlyStopping

__all__ = [
    "MEASURE",
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
]
