"""The format npz of NumPy: a zip archive of npy files, none of them compressed or pickled.

https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import json
import math
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

ABOUT = "tinygrad_edu.about"
MOST_HEADER = 2**25
# The end of an archive: a signature, counts, size and place of the table, length of the comment.
_END = struct.Struct("<4s4H2LH")


def write(
    path: Path, arrays: Mapping[str, np.ndarray], writer: str, seal: dict[str, Any], about: str
) -> None:
    """Writes a file with the seal in its comment, and `about` as an array of its UTF-8 bytes."""
    text = np.frombuffer(about.encode(), np.uint8)
    with zipfile.ZipFile(path, "w", allowZip64=False) as archive:
        for name, array in {**arrays, ABOUT: text}.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        archive.comment = json.dumps({writer: seal}).encode()


def outline(file: BinaryIO) -> tuple[int, bytes]:
    """Where the end of the archive begins, and its bytes."""
    size = os.fstat(file.fileno()).st_size
    start = max(0, size - _END.size - 2**16)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    end = tail[at:] if at >= 0 else b""
    if len(end) < _END.size or _END.unpack_from(end)[-1] != len(end) - _END.size:
        raise ValueError("it is no zip archive, or has lost its end")
    table = _END.unpack_from(end)[5]
    if table > MOST_HEADER:
        raise ValueError(f"its table of {table:,} bytes is longer than {MOST_HEADER:,}")
    return start + at, end


def entries(
    file: BinaryIO,
) -> tuple[list[tuple[str, Any, tuple[int, ...]]], Callable[[], tuple[dict[str, Any], str]]]:
    """Names, dtypes and shapes of the arrays, and a function that reads them."""
    archive = zipfile.ZipFile(file)
    members = archive.infolist()
    for info in members:
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ValueError(f"its member {info.filename} is compressed: save it with np.savez")
        if not info.filename.endswith(".npy"):
            raise ValueError(f"its member {info.filename} is no npy file")
    size = os.fstat(file.fileno()).st_size
    if sum(info.file_size for info in members) > size:
        raise ValueError(f"its members are larger than its {size:,} bytes")
    found = [(info.filename.removesuffix(".npy"), *_header(archive, info)[:2]) for info in members]

    def read() -> tuple[dict[str, Any], str]:
        arrays = {}
        for info in members:
            dtype, shape, fortran, start = _header(archive, info)
            with archive.open(info) as member:
                content = bytearray(member.read())
            array = np.frombuffer(content, dtype, offset=start)
            array = array.reshape(shape, order="F" if fortran else "C")
            arrays[info.filename.removesuffix(".npy")] = array.astype(dtype.newbyteorder("="))
        about = arrays.pop(ABOUT, None)
        return arrays, "{}" if about is None else bytes(about).decode()

    return found, read


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[Any, Any, bool, int]:
    """dtype, shape and order of an array, and where its numbers begin in the npy file."""
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version != (1, 0):
            raise ValueError(f"{info.filename} has version {version} of the npy format")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
        start = member.tell()
    if any(n < 0 for n in shape) or start + dtype.itemsize * math.prod(shape) != info.file_size:
        raise ValueError(f"{info.filename} does not have the bytes of shape {shape}")
    return dtype, shape, fortran, start
