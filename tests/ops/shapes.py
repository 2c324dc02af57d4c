"""Cases of the functions that move values."""

from __future__ import annotations

import numpy as np
from cases import case, new_axis, one, reordered, reshaped, several, stretched

from tinygrad_edu.calculus import shapes

CASES = [
    case(np.reshape, one(shape=reshaped), lambda x, shape: np.reshape(x, shape)),
    case(np.ravel, one()),
    case(np.expand_dims, one(axis=new_axis)),
    case(np.squeeze, one()),
    case(np.transpose, one(axes=reordered)),
    case(np.broadcast_to, stretched()),
    case(np.copy, one()),
    case(shapes.astype, one(), lambda x: shapes.astype(x, x.dtype), "astype"),
    case(shapes.join, several(joined=True)),
    case(np.concatenate, several(joined=True), lambda *a, axis: np.concatenate(a, axis=axis)),
    case(
        np.concatenate,
        several(joined=True),
        lambda *a, axis: np.concatenate(a, axis=None),
        "concatenate flat",
    ),
    case(np.stack, several(joined=False), lambda *a, axis: np.stack(a, axis)),
]
