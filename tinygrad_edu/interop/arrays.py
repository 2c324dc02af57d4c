"""Files of arrays by name, in two formats that other tools read: safetensors and npz.

What is written here carries a seal, `sha256:` and the digest of all other bytes of the file, in
the metadata that the format leaves to its users. A file that says it was written here must have it
unbroken. Files of others have none: they are read with the checks that their format allows.
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

FORMATS = {".npz": npz, ".safetensors": safetensors}
DTYPES = {np.dtype(code) for code in ("?", *"bhilqBHILQ", *"efd")}
# Numbers belong into arrays; what describes them is short.
MOST_TEXT = 2**24
WRITER = "tinygrad_edu"
_SEAL = re.compile(rb"sha256:([0-9a-f]{64})")


def write_arrays(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any],
    about: Mapping[str, Any] | None = None,
) -> None:
    """Writes arrays and what is to be known about them into one file, as a whole or not at all.

    Args:
        path: a name that ends in ".safetensors" or ".npz", which says the format.
        arrays: by name, of whole, floating or truth numbers of up to 64 bits.
        about: anything that JSON can hold; it comes back as JSON gives it, tuples as lists.

    Raises:
        ValueError: another ending, an array of another kind, or a name that is not usable as one.
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
    arrays = {name: _storable(path, name, array) for name, array in arrays.items()}
    try:
        text = json.dumps(dict(about or {}))
    except (TypeError, ValueError) as error:
        raise type(error)(f"what is said about {path} is not JSON: {error}") from error
    if len(text) > MOST_TEXT:
        raise ValueError(
            f"what is said about {path} has {len(text):,} characters, more than {MOST_TEXT:,}: "
            f"keep numbers as arrays"
        )
    seal = {"by": WRITER, "version": 1, "seal": f"sha256:{'0' * 64}"}
    with as_a_whole(path) as unfinished:
        form.write(unfinished, arrays, WRITER, seal, text)
        with open(unfinished, "rb+") as file:
            start, outline = form.outline(file)
            found = _SEAL.search(outline)
            assert found is not None
            file.seek(start + found.start(1))
            file.write(_digest(file, start + found.start(1)).encode())


def read_arrays(
    path: str | os.PathLike[str],
    check: Callable[[Mapping[str, np.ndarray]], Any] = lambda arrays: None,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a file by name, and what was written about them, after a look at all of it.

    Args:
        path: a name that ends in ".safetensors" or ".npz", which says the format.
        check: a function that is called before numbers are read, with arrays of the same names,
            shapes and dtypes, which take no memory; what it raises ends the reading.

    Raises:
        ValueError: the file is damaged, has been changed, or is not of its format.
        OSError: there is no such file, or it cannot be read.
        ModuleNotFoundError: safetensors is missing; the extra `io` brings it.
    """
    form = _format(path)
    if not Path(path).is_file() and Path(path).exists():
        raise OSError(f"{path} is a folder, a device, a pipe or a socket: name a file")
    with open(path, "rb") as file:
        with _named(path):
            _verify(file, *form.outline(file))
            entries, read = form.entries(file)
            standing = _checked(entries)
        check({name: array for name, array in standing.items() if name != npz.ABOUT})
        with _named(path):
            arrays, text = read()
            about = json.loads(text)
            if not isinstance(about, dict):
                raise ValueError("what it says about its arrays is no JSON object")
    return arrays, about


def _format(path: str | os.PathLike[str]) -> Any:
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f"the name of {path} must end in .safetensors or .npz")
    return FORMATS[suffix]


def _storable(path: object, name: str, array: Any) -> np.ndarray:
    problem = _problem_of_name(name)
    if problem:
        raise ValueError(f"{name!r} cannot be the name of an array in {path}: {problem}")
    array = np.asarray(array)
    if array.dtype.newbyteorder("=") not in DTYPES:
        raise ValueError(f"{name} has dtype {array.dtype}, which {path} cannot hold")
    return np.asarray(array, array.dtype.newbyteorder("<"), order="C")


def _problem_of_name(name: Any) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= 1000:
        return "it must have 1 to 1000 characters"
    if any(c in "/\\" or not c.isprintable() for c in name) or name.startswith("."):
        return "it could be read as a path"
    if name in ("__metadata__", npz.ABOUT) or name.endswith(".npy"):
        return "the file formats use it for something else"
    return ""


@contextlib.contextmanager
def _named(path: object) -> Iterator[None]:
    """Any error of a parser, on bytes of which nothing is known, as one that names the file."""
    try:
        yield
    except ModuleNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path} cannot be read: {error or type(error).__name__}") from error


def _digest(file: BinaryIO, hole: int) -> str:
    """SHA-256 of a file but for the 64 bytes at `hole`."""
    digest = hashlib.sha256()
    file.seek(0)
    digest.update(file.read(hole))
    file.seek(hole + 64)
    while piece := file.read(2**20):
        digest.update(piece)
    file.seek(hole)
    return digest.hexdigest()


def _verify(file: BinaryIO, start: int, outline: bytes) -> None:
    if WRITER.encode() not in outline:
        return
    found = _SEAL.search(outline)
    if found is None or _digest(file, start + found.start(1)).encode() != found[1]:
        raise ValueError("it was damaged or changed after tinygrad_edu wrote it")


def _checked(entries: list[tuple[str, Any, tuple[int, ...]]]) -> dict[str, np.ndarray]:
    """Arrays without memory in the place of those of a file."""
    standing = {}
    for name, dtype, shape in entries:
        problem = "" if name == npz.ABOUT else _problem_of_name(name)
        if problem:
            raise ValueError(f"it has an array named {name!r:.99}: {problem}")
        if name in standing:
            raise ValueError(f"it has two arrays named {name!r}")
        if np.dtype(dtype).newbyteorder("=") not in DTYPES:
            raise ValueError(f"{name} has dtype {dtype}, which is not read")
        standing[name] = np.broadcast_to(np.zeros((), dtype), shape)
    return standing
