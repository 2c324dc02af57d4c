"""The format safetensors: a length, a header in JSON, and the bytes of the arrays.

https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

DTYPES = {
    "BOOL": "?",
    **{f"I{8 * n}": f"<i{n}" for n in (1, 2, 4, 8)},
    **{f"U{8 * n}": f"<u{n}" for n in (1, 2, 4, 8)},
    **{f"F{8 * n}": f"<f{n}" for n in (2, 4, 8)},
}
MOST_HEADER = 2**25


def write(
    path: Path, arrays: Mapping[str, np.ndarray], writer: str, seal: dict[str, Any], about: str
) -> None:
    """Writes a file with the seal, and then `about`, in its metadata."""
    # One entry alone: the library orders several at random, and like models shall be like files.
    metadata = {writer: json.dumps({**seal, "about": about})}
    path.write_bytes(_library().save(dict(arrays), metadata))


def outline(file: BinaryIO) -> tuple[int, bytes]:
    """Where the header begins, and its bytes."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(MOST_HEADER, size - 8):
        raise ValueError(
            f"of its {size:,} bytes {length:,} are said to be the header; {MOST_HEADER:,} may be"
        )
    return 8, file.read(length)


def entries(
    file: BinaryIO,
) -> tuple[list[tuple[str, Any, tuple[int, ...]]], Callable[[], tuple[dict[str, Any], str]]]:
    """Names, dtypes and shapes of the arrays, and a function that reads them."""
    start, raw = outline(file)
    header = json.loads(raw, object_pairs_hook=_without_doubles)
    metadata = header.pop("__metadata__", {})
    found, total = [], 0
    for name, entry in header.items():
        if entry.get("dtype") not in DTYPES:
            raise ValueError(f"{name} has dtype {entry.get('dtype')}, which is not read")
        dtype, shape = np.dtype(DTYPES[entry["dtype"]]), entry["shape"]
        if not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"{name} has shape {shape}")
        found.append((name, dtype, tuple(shape)))
        total += dtype.itemsize * math.prod(shape)
    size = os.fstat(file.fileno()).st_size
    if start + len(raw) + total != size:
        raise ValueError(
            f"it has {size:,} bytes; its header describes {start + len(raw) + total:,}"
        )

    def read() -> tuple[dict[str, Any], str]:
        file.seek(0)
        own = metadata.get("tinygrad_edu")
        return _library().load(file.read(size)), json.loads(own)["about"] if own else "{}"

    return found, read


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"two entries are named {max(names, key=names.count)!r}")
    return found


def _library() -> Any:
    try:
        import safetensors.numpy
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'files in safetensors need it: pip install "tinygrad-edu[io]"'
        ) from error
    return safetensors.numpy
