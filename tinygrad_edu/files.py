"""Files that are there as a whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["as_a_whole"]

_DAY = 24 * 60 * 60
_LOCK = re.compile(r"\.tinygrad_edu-([0-9a-f]{8})-[0-9a-f]{32}")


@contextlib.contextmanager
def as_a_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A context that gives the name of a file to write, which then gets the name `path`.

    If anything goes wrong before its end, what was at `path` is as it was, and nothing is left: nor
    if the machine stops, since the file is on the disk before it gets its name. A file that was
    there keeps its permissions, and a symbolic link stays one: what it points to is replaced.

    A process that is killed leaves its unfinished file. The next one that writes in the folder
    removes it; one of another machine only after a day. Those of processes that still write stay,
    and where files cannot be locked, as on Windows, all do.

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
    _remove_abandoned(finished.parent)
    with _named(path), _lock(finished.parent) as lock:
        # In the same folder, so that it can be renamed, and with the same suffix, by which some
        # that write know what to write. None that is longer means anything to them.
        unfinished = finished.with_name(f"{lock}_{path.suffix[:16]}")
        try:
            # Nobody may read half of a file who may not read the whole.
            unfinished.touch(0o666 if mode is None else 0o600)
            yield unfinished
            with open(unfinished, "rb+") as file:
                if mode is not None:
                    unfinished.chmod(stat.S_IMODE(mode))
                os.fsync(file.fileno())
            unfinished.replace(finished)
            _flush_folder(finished.parent)
        finally:
            unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors name the file that was to be written, not the one that is written in its place."""
    try:
        yield
    except OSError as error:
        if error.filename is None or _LOCK.match(Path(str(error.filename)).name):
            error.filename = str(path)
        raise


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[str]:
    """The name of a new, empty file, which is locked until the end of the context.

    It stands beside the unfinished file, since what writes that one may remove it and make it anew.
    The system unlocks it when the process ends, however it ends. The number of the process would
    not do: others get it later, and containers do not see each other's.
    """
    while True:
        path = folder / f".tinygrad_edu-{_machine()}-{uuid.uuid4().hex}"
        try:
            with open(path, "x") as file:
                if _is_ours(file.fileno()):
                    yield path.name
                    return
        finally:
            path.unlink(missing_ok=True)


def _is_ours(file: int) -> bool:
    """Locks a new file. It is too late if others have found it before and think it abandoned."""
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # this file system has no locks: nobody can think so
        return True
    return os.name != "posix" or os.fstat(file).st_nlink > 0


def _machine() -> str:
    return f"{zlib.crc32(os.fsencode(os.uname().nodename)):08x}" if os.name == "posix" else "0" * 8


def _remove_abandoned(folder: Path) -> None:
    """Removes the locks that nobody holds, and the unfinished files beside them."""
    with contextlib.suppress(OSError):  # it is not what was asked for
        for lock in filter(_LOCK.fullmatch, os.listdir(folder) if fcntl is not None else ()):
            with contextlib.suppress(OSError), _opened(folder / lock) as file:
                # On some shared folders a lock is seen by one machine alone.
                here = lock.startswith(f".tinygrad_edu-{_machine()}")
                if here or os.fstat(file).st_mtime < time.time() - _DAY:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    # The lock last, by which the others are found.
                    for name in sorted(os.listdir(folder), reverse=True):
                        if name.startswith(lock):
                            (folder / name).unlink(missing_ok=True)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        yield file
    finally:
        os.close(file)


def _flush_folder(folder: Path) -> None:
    """Puts the names in a folder on the disk, where the system can."""
    if os.name == "posix":
        try:
            file = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EINVAL, errno.ENOTSUP):
                raise
