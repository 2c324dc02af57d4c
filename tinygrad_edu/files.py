"""Files that are there as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["as_a_whole"]


@contextlib.contextmanager
def as_a_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A context that gives the name of a file to write, which then gets the name `path`.

    If anything goes wrong before its end, what was at `path` is as it was, and nothing is left.

    Raises:
        FileNotFoundError: there is no such folder.
        IsADirectoryError: `path` is a folder.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with as_a_whole(folder / "a.txt") as unfinished:
        ...     _ = unfinished.write_text("text")
        >>> [(file.name, file.read_text()) for file in folder.iterdir()]
        [('a.txt', 'text')]
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file, such as {path / 'tape.html'}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} in")
    # In the same folder, so that it can be renamed, and with the same suffix, by which some that
    # write know what to write.
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
