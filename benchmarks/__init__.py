"""What the engine costs, against hand-written NumPy and other libraries on the same machine.

    python -m benchmarks            what can be measured
    python -m benchmarks step       one of them

Nothing here is an absolute figure to be proud of: times move by tens of percent between machines
and even between minutes. So everything is run in turn in one go, and what is reported is the ratio
to NumPy written by hand in the same round.
"""
