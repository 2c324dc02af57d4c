"""Files of arrays by name, in two formats that other tools read: safetensors and npz.

What is written here has a seal in the place that its format leaves for remarks: SHA-256 of all
other bytes. A file with any word of it must have all of it, unbroken. Files of others have none and
are read with the checks that their format allows.

Nothing is believed of a file: sizes are compared with the bytes that are there before memory is
taken for them, and everything that can be said of the arrays is checked before they are read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tinygrad_edu.files import as_a_whole
from tinygrad_edu.interop import npz, safetensors

__all__ = ["read_arrays", "write_arrays"]

_FORMATS = {".npz": npz, ".safetensors": safetensors}
_DTYPES = {np.dtype(code) for code in ("?", *"bhilqBHILQ", *"efd")}
_SEAL = re.compile(rb"tinygrad_edu/([0-9]+) sha256:([0-9a-f]{64})")


def write_arrays(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any],
    about: Mapping[str, Any] | None = None,
) -> None:
    """Writes arrays and what is to be known about them into one file, as a whole or not at all.

    Args:
        path: a name that ends in ".safetensors" or ".npz", which says the format.
        arrays: by name, of whole numbers, floating numbers of up to 64 bits or truth values.
        about: anything that JSON can hold; it comes back as JSON gives it, tuples as lists.

    Raises:
        ValueError: another ending, an array of another kind, a name that could be read as a path,
            or more than the file can hold: 8 MiB of names and `about`, 2 GiB of an npz file.
        TypeError: `about` has something that JSON cannot hold.
        OSError: the file cannot be written; what was there is as it was.
        ModuleNotFoundError: safetensors is missing; the extra `io` brings it.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.npz"
        >>> write_arrays(path, {"W": np.eye(2), "b": np.zeros(2)}, {"epoch": 3})
        >>> read_arrays(path)
        ({'W': array([[1., 0.], [0., 1.]]), 'b': array([0., 0.])}, {'epoch': 3})
        >>> np.load(path)["b"]
        array([0., 0.])
    """
    form = _format(path)
    storable = {name: _storable(path, name, array) for name, array in arrays.items()}
    try:
        text = json.dumps({} if about is None else dict(about))
    except (TypeError, ValueError, RecursionError) as error:
        raise type(error)(f"what {path} is to say about its arrays is not JSON: {error}") from error
    with as_a_whole(path) as unfinished, _named(path, "written"):
        form.write(unfinished, storable, f"tinygrad_edu/1 sha256:{'0' * 64}", text)
        with open(unfinished, "rb+") as file:
            form.entries(file)  # it would not be read if it were too long
            start, remarks = form.remarks(file)
            seal = _SEAL.search(remarks)
            assert seal is not None
            digest = _digest(file, start + seal.start(2))
            file.seek(start + seal.start(2))
            file.write(digest)


def read_arrays(
    path: str | os.PathLike[str],
    check: Callable[[Mapping[str, np.ndarray]], Any] = lambda arrays: None,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a file by name, and what was written about them, after a look at all of it.

    Files of others are read, too: of safetensors, and of `np.savez` without compression and
    objects.

    Args:
        path: a name that ends in ".safetensors" or ".npz", which says the format.
        check: a function that is called before any number is read, with arrays of the same names,
            shapes and dtypes, which take no memory; what it raises ends the reading.

    Raises:
        ValueError: the file is damaged, has been changed, is not of its format, or holds what is
            not read: pickled objects, compressed members, names that could be read as paths, two
            arrays of one name, other dtypes than `write_arrays` takes, a header of over 8 MiB.
        OSError: there is no such file, or it cannot be read.
        ModuleNotFoundError: safetensors is missing; the extra `io` brings it.
    """
    form = _format(path)
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(f"{path} is a folder, a device, a pipe or a socket: name a file")
    with open(path, "rb") as file:
        with _named(path, "read"):
            _verify(file, *form.remarks(file))
            entries, read = form.entries(file)
            stand_ins = _stand_ins(entries)
        check(stand_ins)
        with _named(path, "read"):
            arrays, about = read()
            if not isinstance(about, dict):
                raise ValueError("what it says about its arrays is no JSON object")
    return arrays, about


def _format(path: str | os.PathLike[str]) -> Any:
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        raise ValueError(f"the name of {path} must end in .safetensors or .npz")
    return _FORMATS[suffix]


@contextlib.contextmanager
def _named(path: object, done: str) -> Iterator[None]:
    """Errors name the file, also those of parsers, which may be any on bytes from anywhere."""
    try:
        yield
    except ModuleNotFoundError:
        raise
    except MemoryError as error:
        raise MemoryError(f"{path} cannot be {done}: there is not enough memory") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            error.filename = str(path)
            raise
        said = str(error) or type(error).__name__
        raise ValueError(f"{path} cannot be {done}: {said}") from error


def _storable(path: object, name: str, array: Any) -> np.ndarray:
    """The array as files hold it: in order of its axes, the lowest byte first."""
    if problem := _problem(name):
        raise ValueError(f"{name!r} cannot be the name of an array in {path}: {problem}")
    array = np.asarray(array)
    if array.dtype.newbyteorder("=") not in _DTYPES:
        raise ValueError(f"{path} cannot hold {name}, which has dtype {array.dtype}")
    return np.asarray(array, array.dtype.newbyteorder("<"), order="C")


def _stand_ins(entries: list[tuple[str, Any, tuple[int, ...]]]) -> dict[str, np.ndarray]:
    """Arrays that take no memory, in the place of those in a file."""
    arrays: dict[str, np.ndarray] = {}
    for name, dtype, shape in entries:
        if problem := _problem(name):
            raise ValueError(f"it has an array named {name!r:.99}: {problem}")
        if name in arrays:
            raise ValueError(f"it has two arrays named {name!r}")
        if dtype.newbyteorder("=") not in _DTYPES:
            raise ValueError(f"its array {name} has dtype {dtype}")
        try:
            arrays[name] = np.broadcast_to(np.zeros((), dtype), shape)
        except ValueError as error:
            raise ValueError(f"{name} has shape {shape}, which no array can have") from error
    return arrays


def _problem(name: Any) -> str:
    """What keeps a text from being the name of an array, "" if nothing does."""
    if not isinstance(name, str) or not 0 < len(name) <= 1000 or not name.isprintable():
        return "it must be a text of 1 to 1000 printable characters"
    if set(name) & set("/\\") or name.startswith(".") or name[1:2] == ":":
        return "it could be read as a path"
    if name in ("__metadata__", npz.ABOUT) or name.endswith(".npy"):
        return "it has another meaning in files"
    return ""


def _digest(file: BinaryIO, hole: int) -> bytes:
    """SHA-256 of a file but for the 64 bytes at `hole`, in which it will stand."""
    file.seek(0)
    digest = hashlib.sha256(file.read(hole))
    file.seek(hole + 64)
    while piece := file.read(2**20):
        digest.update(piece)
    return digest.hexdigest().encode()


def _verify(file: BinaryIO, start: int, remarks: bytes) -> None:
    """Raises unless the seal is unbroken, or there has never been one."""
    # It is there twice, so that one wrong bit does not make the file one of somebody else.
    if b"tinygrad_edu" not in remarks:
        return
    seal = _SEAL.search(remarks)
    if seal is not None and seal[1] != b"1":
        raise ValueError("a newer tinygrad_edu wrote it")
    if seal is None or _digest(file, start + seal.start(2)) != seal[2]:
        raise ValueError("it was damaged or changed after tinygrad_edu wrote it")
