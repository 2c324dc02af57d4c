"""Cases of the functions that reduce axes."""

from __future__ import annotations

import numpy as np
from cases import case, one, one_apart, reduced, some_axis

from tinygrad_edu import testing as tgt

CASES = [
    case(np.sum, one(**reduced)),
    case(np.mean, one(**reduced)),
    case(np.mean, one(), name="mean of all"),
    case(np.mean, one(tgt.shapes(min_dims=2), axis=some_axis), name="mean along axes"),
    case(np.max, one_apart(**reduced)),
    case(np.min, one_apart(**reduced)),
]
