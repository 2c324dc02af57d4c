"""Models in files: their arrays under the names of `state_dict`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_edu.interop.arrays import read_arrays, write_arrays
from tinygrad_edu.nn import Module
from tinygrad_edu.state import checked_state

__all__ = ["load_into", "save"]


def save(
    model: Module, path: str | os.PathLike[str], about: Mapping[str, Any] | None = None
) -> None:
    """Writes all Tensors of a model into a file, as a whole or not at all.

    A file that ends in ".safetensors" is read by PyTorch, JAX and tinygrad through safetensors; one
    that ends in ".npz" by `np.load`. If the program or the machine stops while it is written, what
    was there before is still there.

    Args:
        model: the net; the arrays have the names of `model.state_dict()`.
        path: a name that ends in ".safetensors" or ".npz".
        about: what else is to be kept in the file, of the kinds that JSON has.

    Raises:
        ValueError: another ending, or a name or dtype that files cannot hold.
        TypeError: no module, or an `about` that is no dict or holds what JSON cannot.
        OSError: the file cannot be written.
        ModuleNotFoundError: safetensors is missing; the extra `io` brings it.

    Example:
        >>> import os, tempfile
        >>> import tinygrad_edu as tg
        >>> path = os.path.join(tempfile.mkdtemp(), "net.npz")
        >>> net, other = tg.nn.MLP((2, 8, 3), rng=0), tg.nn.MLP((2, 8, 3), rng=1)
        >>> tg.save(net, path)
        >>> tg.load_into(other, path)
        >>> bool(np.all(net(np.ones(2)).data == other(np.ones(2)).data))
        True
    """
    if not isinstance(model, Module):
        raise TypeError(
            f"tg.save takes a tg.nn.Module, got {type(model)}; write_arrays(path, arrays) of "
            f"tinygrad_edu.interop.arrays writes arrays by name"
        )
    if about is not None and not isinstance(about, Mapping):
        raise TypeError(f'about must be a dict, as {{"note": "hello"}} is; got {about!r:.60}')
    write_arrays(path, model.state_dict(), about)


def load_into(model: Module, path: str | os.PathLike[str]) -> None:
    """Sets all Tensors of a model from a file: all of them, or none if anything is wrong.

    The names and shapes must be those of the model. So must the dtypes, or such that the model's
    holds their numbers exactly, as float64 does those of float32.

    Raises:
        KeyError: the file lacks a Tensor of the model, or has one that the model lacks.
        ValueError: a shape or dtype that does not fit, or a file that is damaged, has been changed,
            or is not of its format.
        OSError: there is no such file, or it cannot be read.
        ModuleNotFoundError: safetensors is missing; the extra `io` brings it.

    Example:
        See `tg.save`.
    """
    hint = (
        "model.load_state_dict(arrays) rounds arrays, as those of "
        "tinygrad_edu.interop.arrays.read_arrays"
    )
    arrays, _ = read_arrays(path, lambda arrays: check_fits(arrays, model, path, hint))
    model.load_state_dict(arrays)


def check_fits(arrays: Mapping[str, np.ndarray], model: Module, where: object, hint: str) -> None:
    """Raises unless a model can take the arrays by name, which are from `where`, without rounding.

    The hint says what to do where numbers would have to be rounded.

    Raises:
        KeyError: a Tensor of the model is missing, or it lacks one.
        ValueError: a shape or dtype that does not fit.
    """
    own = model.state_dict()
    try:
        checked_state(arrays, own, model, "net")
    except (KeyError, ValueError) as error:
        raise type(error)(f"{where} is not of this net: {error.args[0]}") from error
    for name, array in arrays.items():
        ours = own[name].dtype
        if array.dtype.kind != ours.kind or not np.can_cast(array.dtype, ours, "safe"):
            raise ValueError(
                f"{name} has dtype {array.dtype} in {where}, which dtype {ours} of this net cannot "
                f"hold exactly; {hint}"
            )
