"""An operation of your own, and the test that its derivatives are right.

    python -m pytest examples/test_my_op.py

The operation is swish, x * sigmoid(beta * x), whose slope beta can be learned. Its two rules say
what the gradient `g` of the output is worth to each input; the engine does the rest, broadcasting
included. The test draws inputs of all shapes that broadcast together, zeros and equal values
among them, and compares the rules with slopes that it measures. `order=2` checks the derivatives
of the rules themselves too.

Break a rule, say `x - y` into `x + y`, and run it once more: hypothesis looks for the smallest
inputs that show the mistake and prints them, to be pasted into a script, and the report says which
entry is wrong, what it should be, and which rule on the tape is to blame. (`deadline=None`: some
inputs take longer to check than the 0.2 s that hypothesis allows by default.)
"""

import numpy as np
from hypothesis import given, settings

import tinygrad_edu as tg
from tinygrad_edu import testing as tgt


@tg.primitive
def swish(x, beta):
    return x / (1 + np.exp(-beta * x))


swish.derivative(
    lambda g, y, x, beta: g * (beta * y + tg.sigmoid(beta * x) * (1 - beta * y)),
    lambda g, y, x, beta: g * y * (x - y),
    core_axes=0,
)


@settings(deadline=None, max_examples=20)
@given(tgt.broadcastable((-3, 3), (0.5, 2)))
def test_swish(inputs):
    tg.assert_grad(swish, *inputs, order=2)
