"""Files that are there as a whole or not at all."""

import os
import socket
import stat
import threading

import pytest

from tinygrad_edu.files import as_a_whole


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
    before = os.lstat("a")
    with pytest.raises(OSError, match="a is a device, a pipe or a socket"):
        write("a", "text")
    assert os.lstat("a") == before
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
