"""Cases of products and linear algebra."""

from __future__ import annotations

import numpy as np
from cases import case, dot_operands, matrices, vectors

CASES = [
    case(np.matmul, matrices()),
    case(np.matmul, vectors(), name="matmul of vectors"),
    case(np.dot, dot_operands()),
]
