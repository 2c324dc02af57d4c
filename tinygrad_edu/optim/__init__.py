"""Optimisers: they read `.grad` of the parameters and change their data."""

from tinygrad_edu.optim.methods import SGD, Adam, AdamW, RMSProp
from tinygrad_edu.optim.optimizer import Optimizer

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSProp"]
