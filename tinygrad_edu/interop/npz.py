"""The format npz of NumPy: a zip archive of npy files, here without compression and objects.

The npy format is described at
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
_MOST_HEADER = 2**23
_MOST_BYTES = 2**31 - 2**26  # zip needs its extension, which is not read here, for 2**31
# The end of an archive: signature, 4 numbers of parts and members, size and place of the table of
# members, length of the comment, which follows.
_END = struct.Struct("<4s4H2LH")


def write(path: Path, arrays: Mapping[str, np.ndarray], seal: str, about: str) -> None:
    """Writes a file with the seal in its comment and the JSON text `about` as an array of bytes."""
    if sum(array.nbytes for array in arrays.values()) > _MOST_BYTES:
        raise ValueError(f"it would have more than {_MOST_BYTES:,} bytes; safetensors holds them")
    text = np.frombuffer(about.encode(), np.uint8)
    with zipfile.ZipFile(path, "w", allowZip64=False) as archive:
        for name, array in {**arrays, ABOUT: text}.items():
            # A ZipInfo without a date, so that like models make like files.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as member:
                np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)
        archive.comment = json.dumps({"tinygrad_edu": {"seal": seal}}).encode()


def remarks(file: BinaryIO) -> tuple[int, bytes]:
    """Where the end of the archive begins, and its bytes, with the comment."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - _END.size - 2**16)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    end = tail[max(at, 0) :]
    if at < 0 or len(end) < _END.size or _END.unpack_from(end)[-1] != len(end) - _END.size:
        raise ValueError("it is no zip archive, or its end is not the archive's")
    return start + at, end


def entries(
    file: BinaryIO,
) -> tuple[list[tuple[str, Any, tuple[int, ...]]], Callable[[], tuple[dict[str, Any], Any]]]:
    """Names, dtypes and shapes of the arrays, and a function that reads them and `about`."""
    start, end = remarks(file)
    count, size, place = _END.unpack_from(end)[4:7]
    if size > _MOST_HEADER or place + size != start:
        raise ValueError(
            f"its table of members has {size:,} bytes from byte {place:,}; it may have "
            f"{_MOST_HEADER:,}, up to byte {start:,}"
        )
    archive = zipfile.ZipFile(file)
    members = archive.infolist()
    if len(members) != count:
        raise ValueError(f"its table has {len(members)} members instead of {count}")
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED:
            raise ValueError(
                f"its member {member.filename!r:.99} is compressed; np.savez writes it as it is"
            )
    # They may lie on each other, so that each fits into the file and all together do not.
    if sum(member.file_size for member in members) > start:
        raise ValueError(f"its members need more than its {start:,} bytes")
    found = [(_name(member), *_described(archive, member)) for member in members]
    about = [(dtype, shape) for name, dtype, shape in found if name == ABOUT]
    if about and (len(about) > 1 or about[0][0] != np.uint8 or about[0][1] > (_MOST_HEADER,)):
        raise ValueError(f"its member {ABOUT} is not one row of at most {_MOST_HEADER:,} bytes")

    def read() -> tuple[dict[str, Any], Any]:
        arrays = {}
        for member, (name, dtype, _) in zip(members, found, strict=True):
            with archive.open(member) as npy:
                array = np.lib.format.read_array(npy, allow_pickle=False)
            arrays[name] = array.astype(dtype.newbyteorder("="), copy=False)
        text = arrays.pop(ABOUT, None)
        return arrays, {} if text is None else json.loads(text.tobytes().decode())

    return [entry for entry in found if entry[0] != ABOUT], read


def _name(member: zipfile.ZipInfo) -> str:
    if not member.filename.endswith(".npy"):
        raise ValueError(f"its member {member.filename!r:.99} is no npy file")
    return member.filename.removesuffix(".npy")


def _described(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[Any, tuple[int, ...]]:
    """dtype and shape of an array, whose bytes are all there."""
    name = member.filename
    with archive.open(member) as npy:
        if (version := np.lib.format.read_magic(npy)) != (1, 0):
            raise ValueError(f"its member {name!r:.99} has version {version} of the npy format")
        # It is parsed by Python's own parser, which needs much memory for long ones.
        shape, _, dtype = np.lib.format.read_array_header_1_0(npy, max_header_size=1000)
        start = npy.tell()
    if dtype.hasobject:
        raise ValueError(f"its member {name!r:.99} has pickled objects, which could run programs")
    if any(n < 0 for n in shape) or start + dtype.itemsize * math.prod(shape) != member.file_size:
        raise ValueError(f"its member {name!r:.99} has not the bytes of {dtype} and shape {shape}")
    return dtype, shape
