"""Files that are there as a whole or not at all."""

import os
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
import zlib
from pathlib import Path

import pytest

import tinygrad_edu
from tinygrad_edu.files import as_a_whole

locks = pytest.mark.skipif(os.name != "posix", reason="files are locked")


def write(path, text):
    with as_a_whole(path) as unfinished:
        unfinished.write_text(text)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask():
    """Sets the umask, until the test ends."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def test_a_file_is_written_and_replaced(tmp_path):
    for text in ("one", "two"):
        write(tmp_path / "a.txt", text)
        assert (tmp_path / "a.txt").read_text() == text
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_writes_may_make_the_file_anew(tmp_path):
    with as_a_whole(tmp_path / "a.gif") as unfinished:
        assert unfinished.suffix == ".gif"
        unfinished.unlink(missing_ok=True)
        unfinished.write_text("text")
    assert (tmp_path / "a.gif").read_text() == "text"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("old", [None, "old"])
def test_nothing_is_left_behind_by_an_error(error, old, tmp_path):
    path = tmp_path / "a.txt"
    if old is not None:
        path.write_text(old)

    def fail():
        with as_a_whole(path) as unfinished:
            unfinished.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == (
        {} if old is None else {"a.txt": old}
    )


def test_a_file_that_was_removed_meanwhile_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), as_a_whole(tmp_path / "a.txt") as unfinished:
        unfinished.unlink(missing_ok=True)
    assert os.listdir(tmp_path) == []


def test_a_link_stays_a_link_and_its_target_is_written(tmp_path):
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "a.txt"
    target.write_text("old")
    link, other = tmp_path / "link.html", tmp_path / "other"
    link.symlink_to(os.path.join("real", "a.txt"))
    other.symlink_to(link)
    for text, path in (("one", link), ("two", other), ("three", target)):
        with as_a_whole(path) as unfinished:
            assert unfinished.suffix == path.suffix
            unfinished.write_text(text)
        assert link.is_symlink()
        assert other.is_symlink()
        assert target.read_text() == text
    target.unlink()
    write(link, "anew")
    assert (link.is_symlink(), target.read_text()) == (True, "anew")
    assert sorted(os.listdir(tmp_path)) == ["link.html", "other", "real"]
    assert os.listdir(tmp_path / "real") == ["a.txt"]


def test_links_that_lead_nowhere_are_refused(tmp_path):
    (tmp_path / "far").symlink_to(tmp_path / "nowhere" / "a.txt")
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere to write far in"):
        write(tmp_path / "far", "text")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    with pytest.raises(OSError, match="round"):
        write(tmp_path / "round", "text")
    assert sorted(os.listdir(tmp_path)) == ["far", "round"]
    assert all(path.is_symlink() for path in tmp_path.iterdir())


def test_folders_are_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        write(tmp_path, "text")
    for folder in ("nowhere", "file"):
        with pytest.raises(FileNotFoundError, match=f"no folder .*{folder} to write a.txt in"):
            write(tmp_path / folder / "a.txt", "text")
    assert os.listdir(tmp_path) == ["file"]


def make_fifo(path):
    os.mkfifo(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))


def make_link_to_null(path):
    path.symlink_to(os.devnull)


@pytest.mark.parametrize("make", [make_fifo, make_socket, make_link_to_null])
def test_what_is_no_regular_file_is_refused(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names of sockets must be short
    make(tmp_path / "a")
    before = os.lstat("a")[:7]  # but for times: following a link is noted in one of them
    with pytest.raises(OSError, match="a is a device, a pipe or a socket"):
        write("a", "text")
    assert os.lstat("a")[:7] == before
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("permissions", [0o600, 0o644, 0o640, 0o755, 0o400])
def test_a_file_keeps_its_permissions(permissions, tmp_path, umask):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(permissions)
    with as_a_whole(path) as unfinished:
        unfinished.write_text("new")
        assert mode(unfinished) & 0o077 == 0
    assert (path.read_text(), mode(path)) == ("new", permissions)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_gets_the_usual_permissions(mask, tmp_path, umask):
    umask(mask)
    write(tmp_path / "a.txt", "new")
    (tmp_path / "b.txt").write_text("new")
    assert mode(tmp_path / "a.txt") == mode(tmp_path / "b.txt") == 0o666 & ~mask


def test_files_of_one_name_may_be_written_at_once(tmp_path):
    path, threads = tmp_path / "a.txt", 4
    together, errors = threading.Barrier(threads), []

    def run(number):
        try:
            with as_a_whole(path) as unfinished:
                unfinished.write_text(str(number))
                together.wait(10)
        except Exception as error:
            errors.append(error)

    running = [threading.Thread(target=run, args=(i,)) for i in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert errors == []
    assert path.read_text() in map(str, range(threads))
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    "name", ["a" * 250 + ".txt", "ä" * 125 + ".gif", "a." + "b" * 253, "a" * 255]
)
def test_the_longest_names_are_names(name, tmp_path):
    write(tmp_path / name, "text")
    assert os.listdir(tmp_path) == [name]


def test_the_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    happened = []

    def note(name, act, about):
        def noted(*arguments):
            happened.append((name, about(*arguments)))
            return act(*arguments)

        monkeypatch.setattr(os, name, noted)

    def inode(file):
        return os.fstat(file).st_ino

    note("fsync", os.fsync, inode)
    note("replace", os.replace, lambda old, new: os.stat(old).st_ino)
    write(tmp_path / "a.txt", "text")
    file, folder = (tmp_path / "a.txt").stat().st_ino, tmp_path.stat().st_ino
    assert happened == [("fsync", file), ("replace", file), ("fsync", folder)]


WRITER = """
    import sys
    from tinygrad_edu.files import as_a_whole

    with as_a_whole(sys.argv[1]) as unfinished:
        unfinished.unlink()
        unfinished.write_text("half")
        print("writing", flush=True)
        sys.stdin.readline()
"""


@pytest.fixture
def start_writer(tmp_path):
    """Starts a process that has written half of a file, anew, and goes on when it is told."""
    started = []

    def start(name):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path / name)],
            env={**os.environ, "PYTHONPATH": str(Path(tinygrad_edu.__file__).parents[1])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "writing\n"
        return process

    yield start
    for process in started:
        with process:
            process.kill()


def kill(process):
    process.kill()
    process.wait()


@locks
def test_what_a_killed_writer_left_is_removed_by_the_next(start_writer, tmp_path):
    kill(start_writer("a.txt"))
    assert len(os.listdir(tmp_path)) == 2
    alive = start_writer("b.gif")  # already this one removes what the other has left
    assert len(os.listdir(tmp_path)) == 2
    with as_a_whole(tmp_path / "c.txt") as unfinished:
        unfinished.write_text("c")
        write(tmp_path / "d.txt", "d")
    alive.communicate("\n")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "b.gif": "half",
        "c.txt": "c",
        "d.txt": "d",
    }


@locks
def test_what_another_machine_left_is_removed_after_a_day(start_writer, tmp_path):
    kill(start_writer("a.txt"))
    for path in tmp_path.iterdir():
        # The name of a machine is a checksum: of some other name, it is another.
        other = f"{int(path.name[14:22], 16) ^ 1:08x}"
        path.rename(path.with_name(f"{path.name[:14]}{other}{path.name[22:]}"))
    left = set(os.listdir(tmp_path))
    assert len(left) == 2
    write(tmp_path / "a.txt", "text")
    assert set(os.listdir(tmp_path)) == {*left, "a.txt"}
    for name in left:
        os.utime(tmp_path / name, times=(time.time() - 90_000,) * 2)
    write(tmp_path / "a.txt", "text")
    assert os.listdir(tmp_path) == ["a.txt"]


def test_nothing_else_is_removed(tmp_path):
    machine = f"{zlib.crc32(os.uname().nodename.encode()):08x}"
    lock, other = (f".tinygrad_edu-{machine}-{digit * 32}" for digit in "01")
    names = [".tinygrad_edu", f".tinygrad_edu-{machine}", lock[:-1], f"{lock}0", f"{lock}_.npz"]
    for name in names:
        (tmp_path / name).write_text("mine")
    write(tmp_path / "a.txt", "text")
    assert set(os.listdir(tmp_path)) == {*names, "a.txt"}
    (tmp_path / other).symlink_to(tmp_path / "a.txt")
    write(tmp_path / "a.txt", "text")
    assert set(os.listdir(tmp_path)) == {*names, other, "a.txt"}


@locks
def test_the_lock_is_removed_after_what_it_belongs_to(start_writer, tmp_path, monkeypatch):
    kill(start_writer("a.txt"))
    lock, unfinished = sorted(os.listdir(tmp_path))
    assert unfinished == f"{lock}_.txt"
    removed, unlink = [], os.unlink

    def note(path, *arguments, **options):
        removed.append(Path(path).name)
        unlink(path, *arguments, **options)

    monkeypatch.setattr(os, "unlink", note)
    write(tmp_path / "b.txt", "text")
    assert removed[:2] == [unfinished, lock]


@locks
@pytest.mark.parametrize("removed", [False, True])
def test_a_lock_that_others_found_too_soon_is_not_used(removed, tmp_path, monkeypatch):
    import fcntl

    flock, taken = fcntl.flock, []

    def come_before(file, operation):
        if not taken:
            (lock,) = tmp_path.iterdir()
            taken.append(lock.open("rb+"))
            flock(taken[0], operation)
            if removed:
                lock.unlink()
                taken[0].close()
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", come_before)
    with as_a_whole(tmp_path / "a.txt") as unfinished:
        unfinished.write_text("text")
        lock = next(path for path in tmp_path.iterdir() if path != unfinished)
        assert unfinished.name == f"{lock.name}_.txt"
        assert lock.name != Path(taken[0].name).name
    taken[0].close()
    assert os.listdir(tmp_path) == ["a.txt"]


def test_many_may_write_and_tidy_up_at_once(tmp_path):
    errors = []

    def run(number):
        try:
            for _ in range(20):
                write(tmp_path / f"{number % 2}.txt", str(number))
        except Exception as error:
            errors.append(error)

    running = [threading.Thread(target=run, args=(i,)) for i in range(8)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert errors == []
    assert sorted(os.listdir(tmp_path)) == ["0.txt", "1.txt"]


def test_errors_name_the_file_that_was_wanted(tmp_path, full_disk):
    path = tmp_path / "a.txt"
    with full_disk(), pytest.raises(OSError, match=r"a\.txt") as caught:
        write(path, "text" * 10_000)
    assert caught.value.filename == str(path)
    with pytest.raises(FileNotFoundError) as caught, as_a_whole(path) as unfinished:
        unfinished.unlink()
    assert caught.value.filename == str(path)
    with pytest.raises(OSError, match="other") as caught, as_a_whole(path):
        (tmp_path / "other").read_text()
    assert caught.value.filename == str(tmp_path / "other")
    with pytest.raises(OSError, match="descriptor"), as_a_whole(path):
        raise OSError(9, "no such descriptor", 99)
