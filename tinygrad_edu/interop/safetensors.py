"""The format safetensors: the length of a header, the header in JSON, the bytes of the arrays.

It is described at https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_MOST_HEADER = 2**23
_DTYPES = {
    "BOOL": "?",
    **{f"I{8 * n}": f"<i{n}" for n in (1, 2, 4, 8)},
    **{f"U{8 * n}": f"<u{n}" for n in (1, 2, 4, 8)},
    **{f"F{8 * n}": f"<f{n}" for n in (2, 4, 8)},
}


def write(path: Path, arrays: Mapping[str, np.ndarray], seal: str, about: str) -> None:
    """Writes a file that has the seal and the JSON text `about` in its metadata."""
    # One entry, since the library puts several in random order, and like models make like files.
    # The library's own writing to files leaves temporary ones behind if it is killed.
    note = {"tinygrad_edu": f'{{"seal": "{seal}", "about": {about}}}'}
    path.write_bytes(_library().save(dict(arrays), note))


def remarks(file: BinaryIO) -> tuple[int, bytes]:
    """Where the header begins, and its bytes."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(_MOST_HEADER, size - 8):
        raise ValueError(
            f"it has {size:,} bytes, and a header that is said to have {length:,}, where "
            f"{_MOST_HEADER:,} are the most"
        )
    return 8, file.read(length)


def entries(
    file: BinaryIO,
) -> tuple[list[tuple[str, Any, tuple[int, ...]]], Callable[[], tuple[dict[str, Any], Any]]]:
    """Names, dtypes and shapes of the arrays, and a function that reads them and `about`."""
    start, raw = remarks(file)
    header = json.loads(raw.decode(), object_pairs_hook=_all_different)
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise ValueError("its metadata are no JSON object")
    found, end = [], start + len(raw)
    for name, entry in header.items():
        dtype, shape = _described(name, entry)
        found.append((name, dtype, shape))
        end += dtype.itemsize * math.prod(shape)
    size = file.seek(0, os.SEEK_END)
    if end != size:
        raise ValueError(f"it has {size:,} bytes, and arrays that need {end:,}")

    def read() -> tuple[dict[str, Any], Any]:
        file.seek(0)
        arrays = _library().load(file.read(size))
        note = metadata.get("tinygrad_edu")
        return arrays, {} if note is None else json.loads(note)["about"]

    return found, read


def _all_different(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"its header has two entries named {max(names, key=names.count)!r:.99}")
    return found


def _described(name: str, entry: Any) -> tuple[np.dtype, tuple[int, ...]]:
    match entry:
        case {"dtype": str(code), "shape": list(shape)} if all(
            type(n) is int and n >= 0 for n in shape
        ):
            if code not in _DTYPES:
                raise ValueError(f"its array {name!r:.99} has dtype {code:.99}")
            return np.dtype(_DTYPES[code]), tuple(shape)
    raise ValueError(f"its header says of the array {name!r:.99}: {entry!r:.99}")


def _library() -> Any:
    try:
        import safetensors.numpy
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'files of safetensors need a library: pip install "tinygrad-edu[io]"'
        ) from error
    return safetensors.numpy
