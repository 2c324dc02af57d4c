"""Models and arrays in files: they come back, others read them, and no damage goes unseen."""

import json
import os
import random
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

import tinygrad_edu as tg
from tinygrad_edu.interop import npz
from tinygrad_edu.interop.arrays import read_arrays, write_arrays

SUFFIXES = [".npz", ".safetensors"]
DTYPES = ["?", *"bhilBHIL", "e", "f", "d", ">f8", ">i4"]
NAMES = st.text("abcWβ.0 _-", min_size=1, max_size=8).filter(
    lambda name: not name.startswith(".") and not name.endswith(".npy")
)
ARRAYS = arrays_of.arrays(
    st.sampled_from(DTYPES).map(np.dtype),
    arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)

suffixes = pytest.mark.parametrize("suffix", SUFFIXES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("storage")


def net(seed, dtype=np.float64):
    return tg.nn.MLP((2, 3, 2), rng=seed, dtype=dtype)


def assert_same(found, expected):
    """The same names, dtypes but for the order of bytes, shapes, and bits."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        native = array.astype(array.dtype.newbyteorder("="))
        assert (found[name].dtype, found[name].shape) == (native.dtype, array.shape)
        assert found[name].dtype.isnative
        assert found[name].tobytes() == native.tobytes()


@suffixes
@given(
    arrays=st.dictionaries(NAMES, ARRAYS, max_size=4),
    about=st.dictionaries(st.text(), JSON, max_size=3),
)
def test_what_is_written_comes_back(folder, suffix, arrays, about):
    path = folder / f"round{suffix}"
    write_arrays(path, arrays, about)
    found, said = read_arrays(path)
    assert said == about
    assert_same(found, arrays)
    for array in found.values():
        array[...] = 0  # they are the reader's own


@suffixes
def test_arrays_of_any_layout_are_written_as_they_are(suffix, tmp_path):
    grid = np.arange(24.0).reshape(4, 6)
    arrays = {"transposed": grid.T, "every other": grid[::2, ::-3], "column": grid[:, 1]}
    arrays["repeated"] = np.broadcast_to(np.float32(3.5), (2, 3))
    write_arrays(tmp_path / f"a{suffix}", arrays)
    assert_same(read_arrays(tmp_path / f"a{suffix}")[0], arrays)


@suffixes
def test_like_arrays_make_like_files(suffix, tmp_path):
    paths = [tmp_path / f"{i}{suffix}" for i in range(6)]
    for path in paths:
        tg.save(net(0), path, {"epoch": 3, "loss": 0.5})
    assert len({path.read_bytes() for path in paths}) == 1


def test_numpy_reads_npz_without_pickle(tmp_path):
    state = net(0).state_dict()
    tg.save(net(0), tmp_path / "net.npz", {"epoch": 3})
    with np.load(tmp_path / "net.npz", allow_pickle=False) as file:
        found = dict(file)
    assert json.loads(bytes(found.pop("tinygrad_edu.about"))) == {"epoch": 3}
    assert_same(found, state)


def test_safetensors_reads_safetensors(tmp_path):
    path = tmp_path / "net.safetensors"
    tg.save(net(0), path, {"epoch": 3})
    assert_same(safetensors.numpy.load_file(path), net(0).state_dict())
    with safetensors.safe_open(path, "np") as file:
        note = json.loads(file.metadata()["tinygrad_edu"])
    assert note["about"] == {"epoch": 3}


def test_pytorch_reads_and_writes_safetensors(tmp_path):
    pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    path = tmp_path / "net.safetensors"
    tg.save(net(0), path)
    tensors = load_file(path)
    assert_same({name: tensor.numpy() for name, tensor in tensors.items()}, net(0).state_dict())
    save_file(tensors, path, {"format": "pt"})
    other = net(1)
    tg.load_into(other, path)
    assert_same(other.state_dict(), net(0).state_dict())


def test_npz_files_of_numpy_are_read(tmp_path):
    state = net(0).state_dict()
    state["layers.0.W"] = np.asfortranarray(state["layers.0.W"])
    state["layers.0.b"] = state["layers.0.b"].astype(">f8")
    np.savez(tmp_path / "net.npz", **state)
    other = net(1)
    tg.load_into(other, tmp_path / "net.npz")
    assert_same(other.state_dict(), net(0).state_dict())
    arrays, about = read_arrays(tmp_path / "net.npz")
    assert_same(arrays, state)
    assert about == {}


@suffixes
def test_a_model_is_saved_and_loaded(suffix, tmp_path):
    path = tmp_path / f"net{suffix.upper()}"
    other = net(1)
    tg.save(net(0), path)
    assert tg.load_into(other, path) is None
    assert_same(other.state_dict(), net(0).state_dict())
    assert os.listdir(tmp_path) == [path.name]


@suffixes
def test_a_tensor_of_truth_values_is_saved_and_loaded(suffix, tmp_path):
    models = [tg.nn.Sequential(tg.nn.Linear(2, 3, rng=i)) for i in (0, 1)]
    for model, mask in zip(models, ([True, False], [False, False]), strict=True):
        model.mask = tg.Tensor(mask)
    tg.save(models[0], tmp_path / f"net{suffix}")
    tg.load_into(models[1], tmp_path / f"net{suffix}")
    assert_same(models[1].state_dict(), models[0].state_dict())


def test_what_is_no_model_and_no_dict_is_refused_by_name(tmp_path):
    with pytest.raises(TypeError, match=r"takes a tg\.nn\.Module, got <class 'dict'>"):
        tg.save({"w": np.zeros(2)}, tmp_path / "net.npz")
    with pytest.raises(TypeError, match=r"about must be a dict, .* got 'hello'"):
        tg.save(net(0), tmp_path / "net.npz", about="hello")
    header = b'{"__metadata__": null}'
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match=r"a\.safetensors cannot be read: its metadata are no"):
        tg.load_into(net(0), tmp_path / "a.safetensors")


@suffixes
def test_models_without_tensors_are_models(suffix, tmp_path):
    tg.save(tg.nn.ReLU(), tmp_path / f"net{suffix}")
    tg.load_into(tg.nn.ReLU(), tmp_path / f"net{suffix}")


@suffixes
@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda s: s.pop("layers.0.W"), KeyError, "lacks .*layers.0.W"),
        (lambda s: s.update(extra=np.zeros(2)), KeyError, "has unknown .*extra"),
        (lambda s: s.update({"layers.0.b": np.zeros((1, 3))}), ValueError, r"\(1, 3\)"),
        (lambda s: s.update({"layers.2.b": np.zeros(2, bool)}), ValueError, "dtype bool"),
        (lambda s: s.update({"layers.2.b": np.zeros(2, int)}), ValueError, "dtype int"),
    ],
)
def test_a_file_that_does_not_fit_leaves_the_model(suffix, spoil, error, message, tmp_path):
    state, other = net(0).state_dict(), net(1)
    spoil(state)
    write_arrays(tmp_path / f"net{suffix}", state)
    with pytest.raises(error, match=rf"net{suffix}\b.*{message}|{message}.*net{suffix}\b"):
        tg.load_into(other, tmp_path / f"net{suffix}")
    assert_same(other.state_dict(), net(1).state_dict())


@suffixes
def test_numbers_are_widened_but_not_rounded(suffix, tmp_path):
    narrow, wide = net(0, np.float32), net(1, np.float64)
    tg.save(narrow, tmp_path / f"narrow{suffix}")
    tg.save(wide, tmp_path / f"wide{suffix}")
    with pytest.raises(ValueError, match=r"has dtype float64 in .*wide.*, which dtype float32"):
        tg.load_into(narrow, tmp_path / f"wide{suffix}")
    assert_same(narrow.state_dict(), net(0, np.float32).state_dict())
    tg.load_into(wide, tmp_path / f"narrow{suffix}")
    assert_same(wide.state_dict(), {n: a.astype(float) for n, a in narrow.state_dict().items()})


@suffixes
@pytest.mark.parametrize(
    ("arrays", "about", "error", "message"),
    [
        ({"../W": np.zeros(2)}, None, ValueError, "could be read as a path"),
        ({"a\\W": np.zeros(2)}, None, ValueError, "could be read as a path"),
        ({"C:W": np.zeros(2)}, None, ValueError, "could be read as a path"),
        ({".W": np.zeros(2)}, None, ValueError, "could be read as a path"),
        ({"": np.zeros(2)}, None, ValueError, "1 to 1000 printable"),
        ({"a\0": np.zeros(2)}, None, ValueError, "1 to 1000 printable"),
        ({"\ud800": np.zeros(2)}, None, ValueError, "1 to 1000 printable"),
        ({"W" * 1001: np.zeros(2)}, None, ValueError, "1 to 1000 printable"),
        ({5: np.zeros(2)}, None, ValueError, "1 to 1000 printable"),
        ({"__metadata__": np.zeros(2)}, None, ValueError, "another meaning"),
        ({"tinygrad_edu.about": np.zeros(2)}, None, ValueError, "another meaning"),
        ({"W.npy": np.zeros(2)}, None, ValueError, "another meaning"),
        ({"W": np.array([None])}, None, ValueError, "dtype object"),
        ({"W": np.array(["text"])}, None, ValueError, "dtype <U4"),
        ({"W": np.zeros(2, complex)}, None, ValueError, "dtype complex128"),
        ({"W": np.zeros(2, "M8[s]")}, None, ValueError, "dtype datetime64"),
        ({"W": np.zeros(2)}, {"f": print}, TypeError, "not JSON"),
        ({"W": np.zeros(2)}, {"text": "x" * 2**23}, ValueError, "8,388,608"),
    ],
)
def test_what_cannot_be_written_leaves_the_file(suffix, arrays, about, error, message, tmp_path):
    path = tmp_path / f"net{suffix}"
    tg.save(net(0), path)
    with pytest.raises(error, match=message) as caught:
        write_arrays(path, arrays, about)
    assert str(path) in str(caught.value)
    tg.load_into(net(1), path)
    assert os.listdir(tmp_path) == [path.name]


def test_arrays_too_large_for_an_npz_file_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "_MOST_BYTES", 100)
    write_arrays(tmp_path / "a.npz", {"W": np.zeros(12)})
    with pytest.raises(ValueError, match=r"a\.npz cannot be .* more than 100 bytes; safetensors"):
        write_arrays(tmp_path / "a.npz", {"W": np.zeros(12), "b": np.zeros(1)})
    assert read_arrays(tmp_path / "a.npz")[0].keys() == {"W"}


@suffixes
def test_a_full_disk_leaves_the_file(suffix, tmp_path, full_disk):
    path, big = tmp_path / f"net{suffix}", {"W": np.zeros(10_000)}
    write_arrays(path, {"W": np.ones(3)})
    with full_disk(), pytest.raises(OSError, match="net") as caught:
        write_arrays(path, big)
    assert caught.value.filename == str(path)
    assert_same(read_arrays(path)[0], {"W": np.ones(3)})
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("act", [tg.save, tg.load_into])
def test_names_that_say_no_format_are_refused(act, tmp_path):
    with pytest.raises(ValueError, match=r"net\.pt must end in .safetensors or .npz"):
        act(net(0), tmp_path / "net.pt")
    assert os.listdir(tmp_path) == []


@suffixes
def test_what_is_no_file_is_not_read(suffix, tmp_path):
    path = tmp_path / f"net{suffix}"
    with pytest.raises(FileNotFoundError, match="net"):
        tg.load_into(net(0), path)
    path.mkdir()
    with pytest.raises(OSError, match=r"net.* is a folder, a device"):
        tg.load_into(net(0), path)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(OSError, match=r"net.* is a folder, a device"):
        tg.load_into(net(0), path)


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    tg.save(net(0), path)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    for act in (tg.save, tg.load_into):
        with pytest.raises(ModuleNotFoundError, match=r'pip install "tinygrad-edu\[io\]"'):
            act(net(0), path)


# Damage.


def damaged(good):
    """Every file that is shorter, 500 with a wrong bit, and some that are longer."""
    for length in range(len(good)):
        yield f"cut to {length}", good[:length]
    for bit in random.Random(0).sample(range(8 * len(good)), 500):
        yield f"bit {bit}", flipped(good, bit)
    for more in (b"\0", b" ", b"PK\5\6" + bytes(18), bytes(70_000)):
        yield f"{more[:5]!r} after it", good + more
        yield f"{more[:5]!r} before it", more + good


def refusal(read, *arguments):
    """What it says against the file, "" if nothing."""
    try:
        read(*arguments)
    except ValueError as error:
        return str(error)
    return ""


def flipped(good, bit):
    data = bytearray(good)
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


@suffixes
def test_damaged_files_are_refused_and_leave_the_model(suffix, tmp_path):
    path, other = tmp_path / f"net{suffix}", net(1)
    tg.save(net(0), path, {"epoch": 3})
    before, accepted = other.state_dict(), []
    for what, data in damaged(path.read_bytes()):
        path.write_bytes(data)
        if str(path) not in refusal(tg.load_into, other, path):
            accepted.append(what)
        assert_same(other.state_dict(), before)
    assert accepted == []


@suffixes
def test_no_wrong_bit_makes_a_file_one_of_somebody_else(suffix, tmp_path):
    path = tmp_path / f"net{suffix}"
    tg.save(net(0), path)
    good = path.read_bytes()
    at = [i for i in range(len(good)) if good.startswith(b"tinygrad_edu", i)]
    assert len(at) >= 2
    for bit in (bit for i in at for bit in range(8 * (i - 2), 8 * (i + 12))):
        path.write_bytes(flipped(good, bit))
        assert "it was damaged or changed" in refusal(tg.load_into, net(1), path)


@suffixes
def test_a_file_of_a_newer_version_says_so(suffix, tmp_path):
    path = tmp_path / f"net{suffix}"
    tg.save(net(0), path)
    path.write_bytes(path.read_bytes().replace(b"tinygrad_edu/1", b"tinygrad_edu/2"))
    with pytest.raises(ValueError, match=r"net.*: a newer tinygrad_edu wrote it"):
        tg.load_into(net(1), path)


def test_a_wrong_bit_in_an_npz_file_of_numpy_changes_no_array(tmp_path):
    path, arrays = tmp_path / "a.npz", {"W": np.arange(6.0), "b": np.zeros((2, 2), np.float32)}
    np.savez(path, **arrays)
    good, refused = path.read_bytes(), 0
    for bit in random.Random(0).sample(range(8 * len(good)), 1000):
        path.write_bytes(flipped(good, bit))
        if said := refusal(read_arrays, path):
            assert str(path) in said
            refused += 1
        else:
            assert_same(read_arrays(path)[0], arrays)
    assert refused > 500


# Killed writers.

WRITER = """
    import os, sys
    import numpy as np
    from tinygrad_edu.interop.arrays import write_arrays

    path, number = sys.argv[1], 0
    write_arrays(path, {"warm": np.zeros(1)})
    # Each line is the number to begin with; the answer is the process that writes on and on.
    for line in sys.stdin:
        process = os.fork()
        while not process:
            number = max(number, int(line)) + 1
            write_arrays(path, {name: np.full(20_000, number) for name in "ab"}, {"n": number})
        print(process, flush=True)
        os.waitpid(process, 0)
        print("ended", flush=True)
"""


@suffixes
def test_writers_that_are_killed_leave_the_old_or_the_new_file(suffix, tmp_path):
    path, chance, last, left = tmp_path / f"a{suffix}", random.Random(0), 0, 0
    root = str(Path(tg.__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path)],
        env={**os.environ, "PYTHONPATH": root, "OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        for _ in range(40):
            print(last, file=program.stdin, flush=True)
            process = int(program.stdout.readline())
            select.select([], [], [], chance.uniform(0, 0.03))
            os.kill(process, signal.SIGKILL)
            assert program.stdout.readline() == "ended\n"
            arrays, about = read_arrays(path)
            if about:
                assert about["n"] >= last
                last = about["n"]
                assert_same(arrays, {name: np.full(20_000, last) for name in "ab"})
            left += len(os.listdir(tmp_path)) > 1
            last += 1
            write_arrays(path, {name: np.full(20_000, last) for name in "ab"}, {"n": last})
            assert os.listdir(tmp_path) == [path.name]
        program.stdin.close()
    assert left > 5  # or they were not killed while they wrote
