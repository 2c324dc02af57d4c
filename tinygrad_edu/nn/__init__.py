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
from tinygrad_edu.nn.dropout import Dropout
from tinygrad_edu.nn.images import Conv2d, Flatten, MaxPool2d
from tinygrad_edu.nn.layers import Embedding, Linear, Maxout
from tinygrad_edu.nn.mlp import MLP, Sequential
from tinygrad_edu.nn.module import Module, evaluating, named_weights
from tinygrad_edu.nn.scaling import LayerNorm, Standardize

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "Conv2d",
    "Dropout",
    "Embedding",
    "Flatten",
    "Identity",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MaxPool2d",
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
