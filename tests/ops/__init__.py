"""The table of operations that drives the tests of values, derivatives, dtypes and memory.

A case is a function of arrays and a hypothesis strategy of its arguments. `op` says which line of
the rule book it is for; a test fails if a line has no case.
"""

from ops import (
    differences,
    elementwise,
    indexing,
    linalg,
    neural,
    reductions,
    shapes,
    sorting,
)

CASES = [
    *elementwise.CASES,
    *reductions.CASES,
    *shapes.CASES,
    *sorting.CASES,
    *differences.CASES,
    *indexing.CASES,
    *linalg.CASES,
    *neural.CASES,
]
