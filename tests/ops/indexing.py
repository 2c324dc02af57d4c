"""Cases of indexing."""

from __future__ import annotations

from cases import added_rows, assigned, case, indexed, rows, scattered

from tinygrad_edu.calculus import indexing


def with_item(x, value, index):
    y = x * 1
    y[index] = value
    return y


CASES = [
    case(indexing.getitem, indexed(), lambda x, index: x[index], "getitem"),
    case(indexing.scatter_add, scattered()),
    case(indexing.embedding, rows()),
    case(indexing.rows_added, added_rows()),
    case(indexing.setitem, assigned(), with_item, "setitem"),
]
