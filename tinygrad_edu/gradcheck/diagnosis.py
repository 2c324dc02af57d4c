from __future__ import annotations
def diagnose(report, comparison, claim, reports, by_engine): pass
def mistake_in_shape(comparison, i, raw): return ""
