"""Files that are there as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

__all__ = ["as_a_whole"]


@contextlib.contextmanager
def as_a_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A context that gives the name of a file to write, which then gets the name `path`.

    If anything goes wrong before its end, what was at `path` is as it was, and nothing is left. A
    file that was there keeps its permissions, and a symbolic link stays one: what it points to is
    replaced.

    Raises:
        FileNotFoundError: there is no such folder.
        IsADirectoryError: `path` is a folder.
        OSError: `path` is a device, a pipe or a socket, or cannot be written for other reasons.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with as_a_whole(folder / "a.txt") as unfinished:
        ...     _ = unfinished.write_text("text")
        >>> [(file.name, file.read_text()) for file in folder.iterdir()]
        [('a.txt', 'text')]
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = None
    if mode is not None and stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path} is a folder: name a file, such as {path / 'tape.html'}")
    if mode is not None and not stat.S_ISREG(mode):
        raise OSError(f"{path} is a device, a pipe or a socket: name a file, which can be replaced")
    finished = Path(os.path.realpath(path))
    if not finished.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {finished.parent} to write {path.name} in")
    # In the same folder, so that it can be renamed, and with the same suffix, by which some that
    # write know what to write. None that is longer means anything to them.
    unfinished = finished.with_name(f".{uuid.uuid4().hex}{path.suffix[:16]}")
    try:
        # Nobody may read half of a file who may not read the whole.
        unfinished.touch(0o666 if mode is None else 0o600)
        yield unfinished
        if mode is not None:
            unfinished.chmod(stat.S_IMODE(mode))
        unfinished.replace(finished)
    finally:
        unfinished.unlink(missing_ok=True)
