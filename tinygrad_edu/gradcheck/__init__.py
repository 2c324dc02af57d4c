"""The gradient checker: is this gradient right, and if not, where, by how much, and why?

check.py      check_grad and assert_grad: what happens in which order
subject.py    the function as one of a flat vector, and the gradient claimed for it
slope.py      the slope of a function of one number, with an error that can be believed
compare.py    verdicts by entry, or by mixtures that are halved down to the entries at fault
diagnosis.py  the usual mistakes, tried one by one
blame.py      every derivative rule on the tape by itself
report.py     what was found
picture.py    the same as a picture
"""

from tinygrad_edu.gradcheck.check import assert_grad, check_grad
from tinygrad_edu.gradcheck.compare import Verdict
from tinygrad_edu.gradcheck.report import GradientError, GradientReport, InputReport

__all__ = [
    "GradientError",
    "GradientReport",
    "InputReport",
    "Verdict",
    "assert_grad",
    "check_grad",
]
