"""Files of the format idx, in which MNIST and its relatives are shared.

Two bytes of 0, the type of the numbers, how many axes; the length of each axis in 4 bytes; the
numbers. All with the highest byte first. Described at https://yann.lecun.com/exdb/mnist/.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from typing import Any, overload

import numpy as np

__all__ = ["from_idx"]

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_AXES = 32
# Deflate makes at most 1032 bytes of one, so that a small file cannot become a large array.
_MOST_DEFLATED = 1032
_MOST_UNPACKED = 2**31
_PIECE = 2**20


@overload
def from_idx(path: str | os.PathLike[str]) -> np.ndarray: ...


@overload
def from_idx(
    path: str | os.PathLike[str], labels: str | os.PathLike[str]
) -> tuple[np.ndarray, np.ndarray]: ...


def from_idx(path: str | os.PathLike[str], labels: str | os.PathLike[str] | None = None) -> Any:
    """The array in an idx file, which may be packed with gzip.

    Args:
        path: the file, as "train-images-idx3-ubyte.gz".
        labels: a second file, with a number for each entry of the first.

    Returns:
        The array: uint8, int8, int16, int32, float32 or float64. With `labels` the pair of both
        arrays, as they are in the files: images (n, 28, 28) of uint8 and labels (n,) of MNIST.
        `X.reshape(len(X), -1) / 255` makes rows of numbers from 0 to 1.

    Raises:
        ValueError: a file that is not of the format, or has more or fewer numbers than it says, or
            is damaged, or unpacks to over 2 GiB; two files that do not go together.
        OSError: there is no such file, or it cannot be read.

    Example:
        >>> import tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "idx2-ubyte")
        >>> with open(path, "wb") as file:
        ...     _ = file.write(bytes([0, 0, 0x08, 2, 0, 0, 0, 2, 0, 0, 0, 3, *range(6)]))
        >>> from_idx(path)
        array([[0, 1, 2],
               [3, 4, 5]], dtype=uint8)
    """
    X = _read(path)
    if labels is None:
        return X
    y = _read(labels)
    if X.ndim < 2 or y.ndim != 1 or len(X) != len(y):
        raise ValueError(
            f"{path} has shape {X.shape} and {labels} shape {y.shape}: there must be one label for "
            f"each image"
        )
    return X, y


def _read(path: str | os.PathLike[str]) -> np.ndarray:
    with open(path, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        size = raw.seek(0, os.SEEK_END)
        raw.seek(0)
        file: Any = gzip.GzipFile(fileobj=raw) if packed else raw
        try:
            dtype, shape = _header(file)
            needed = math.prod(shape) * dtype.itemsize
            found = size - 4 - 4 * len(shape)
            what = f"{dtype.newbyteorder('=')} of shape {shape}"
            if needed != found if not packed else needed > _MOST_DEFLATED * size:
                raise ValueError(f"its {found:,} bytes are not {what}, which are {needed:,} bytes")
            if packed and needed > _MOST_UNPACKED:
                raise ValueError(f"it unpacks to {needed:,} bytes: unpack it first, with gunzip")
            numbers = bytearray()
            while piece := file.read(min(_PIECE, needed + 1 - len(numbers))):
                numbers += piece
            if len(numbers) != needed:
                less = "less" if len(numbers) < needed else "more"
                raise ValueError(f"it has {less} than {what}")
            X = np.frombuffer(numbers, dtype).reshape(shape)
        except (EOFError, gzip.BadGzipFile, ValueError, zlib.error) as error:
            raise ValueError(f"{path} cannot be read as idx: {error}") from error
    return X.astype(dtype.newbyteorder("="), copy=False)


def _header(file: Any) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """The type of the numbers and the length of each axis."""
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0":
        raise ValueError(f"it begins with {start.hex(' ') or 'nothing'}, not with 00 00")
    if start[2] not in _TYPES:
        types = ", ".join(f"{code:02x}" for code in _TYPES)
        raise ValueError(f"it has type {start[2]:02x}, which is none of {types}")
    if not 1 <= start[3] <= _MOST_AXES:
        raise ValueError(f"it has {start[3]} axes; 1 to {_MOST_AXES} are read")
    lengths = file.read(4 * start[3])
    if len(lengths) < 4 * start[3]:
        raise ValueError(f"it ends before the lengths of its {start[3]} axes")
    return np.dtype(_TYPES[start[2]]), struct.unpack(f">{start[3]}I", lengths)
