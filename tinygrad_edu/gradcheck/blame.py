from __future__ import annotations
from typing import Any
def blamed_rules(report, subject, rng, max_evaluations): pass
