"""Hypothesis profiles: fixed examples by default, fresh ones with HYPOTHESIS_PROFILE=random."""

import os

import matplotlib
from hypothesis import settings

matplotlib.use("Agg")

settings.register_profile("fixed", derandomize=True, max_examples=40, deadline=None)
settings.register_profile("random", max_examples=40, deadline=None)
settings.register_profile("thorough", max_examples=500, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
