"""Cases of indexing."""

from __future__ import annotations

from cases import case, indexed, scattered

from tinygrad_edu.calculus import indexing

CASES = [
    case(indexing.getitem, indexed(), lambda x, index: x[index], "getitem"),
    case(indexing.scatter_add, scattered()),
]
