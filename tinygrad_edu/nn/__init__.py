"""Nets: modules that hold parameters, layers, activations, and the multilayer perceptron."""

from tinygrad_edu.nn.activations import (
    ACTIVATIONS,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    Softplus,
    Tanh,
)
from tinygrad_edu.nn.layers import Linear, Maxout
from tinygrad_edu.nn.mlp import MLP, Sequential
from tinygrad_edu.nn.module import Module, evaluating, named_weights
from tinygrad_edu.nn.scaling import Standardize

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "Identity",
    "LeakyReLU",
    "Linear",
    "Maxout",
    "Module",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softplus",
    "Standardize",
    "Tanh",
    "evaluating",
    "named_weights",
]
