"""Training on several processes of MPI at once, on one machine or many.

`job.py` is how the ranks of a job meet, agree and end; `alike.py` what must be the same on all of
them; `shares.py` which losses and models can be computed in shares; `training.py` how they train.
"""

from tinygrad_edu.parallel.training import DataParallel

__all__ = ["DataParallel"]
