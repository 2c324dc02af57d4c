"""Files that are not what they say: refused by name, in little memory, before the model is touched.

They have no seal, or a right one, so that nothing but the format can be wrong.
"""

import contextlib
import hashlib
import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu.interop.arrays import read_arrays

resource = pytest.importorskip("resource")

W = {"dtype": "F64", "shape": [2, 1], "data_offsets": [0, 16]}
B = {"dtype": "F64", "shape": [1], "data_offsets": [16, 24]}


def tensors(header, data=bytes(24), length=None):
    """A file of safetensors with this header, which may be text, bytes or an object."""
    raw = header if isinstance(header, (str, bytes)) else json.dumps(header)
    raw = raw.encode() if isinstance(raw, str) else raw
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def with_metadata(value):
    return tensors({"__metadata__": value, "W": W, "b": B})


def sealed(note):
    """A file of safetensors that has a right seal, whatever else it has."""
    empty = f"tinygrad_edu/1 sha256:{'0' * 64}"
    data = with_metadata({"tinygrad_edu": note.replace("SEAL", empty)})
    hole = data.index(b"0" * 64)
    digest = hashlib.sha256(data[:hole] + data[hole + 64 :]).hexdigest()
    return data[:hole] + digest.encode() + data[hole + 64 :]


SAFETENSORS = {
    "nothing": b"",
    "a part of the length": b"\7\0\0",
    "a header longer than the file": tensors({"W": W, "b": B}, length=2**20),
    "a header of 2**63 bytes": tensors({}, length=2**63),
    "a header of 2**64 - 1 bytes": tensors({}, length=2**64 - 1),
    "a header that is there, but too long": lambda: tensors({"W": W, "b": B, "x" * 2**23: B}),
    "a header of no bytes": tensors(""),
    "a header that is no JSON": tensors("{]}"),
    "a header that is a list": tensors("[]", b""),
    "a header that is a number": tensors("12", b""),
    "a header that is not UTF-8": tensors(b'{"\xff":1}'),
    "a header in UTF-16": tensors(json.dumps({"W": W, "b": B}).encode("utf-16")),
    "a header of many brackets": tensors("[" * 10**6),
    "a header of many short lists": tensors("[" + "[]," * 10**5 + "[]]"),
    "a number of many digits": tensors('{"W": ' + "9" * 10**6 + "}"),
    "two arrays of one name": tensors(
        f'{{"W": {json.dumps(W)}, "W": {json.dumps(W)}, "b": {json.dumps(B)}}}'
    ),
    "two dtypes of an array": tensors(
        '{"W": {"dtype": "F32", "dtype": "F64", "shape": [2, 1], "data_offsets": [0, 16]}, '
        f'"b": {json.dumps(B)}}}'
    ),
    "an array that is a list": tensors({"W": [W], "b": B}),
    "an array without a dtype": tensors({"W": {"shape": [2, 1]}, "b": B}),
    "an array without a shape": tensors({"W": {"dtype": "F64"}, "b": B}),
    "an array without a place": tensors({"W": {"dtype": "F64", "shape": [2, 1]}, "b": B}),
    "bfloat16": tensors({"W": {**W, "dtype": "BF16"}, "b": B}, bytes(12)),
    "objects": tensors({"W": {**W, "dtype": "O"}, "b": B}),
    "a shape below 0": tensors({"W": {**W, "shape": [-2, -1]}, "b": B}),
    "a shape of fractions": tensors({"W": {**W, "shape": [2.0, 1]}, "b": B}),
    "a shape of truth values": tensors({"W": {**W, "shape": [2, True]}, "b": B}),
    "a shape that is not there": tensors(
        {"W": {**W, "shape": [2**40], "data_offsets": [0, 2**43]}, "b": B}
    ),
    "a shape that overflows": tensors({"W": {**W, "shape": [2**62, 2**62, 0]}, "b": B}, bytes(8)),
    "a shape of 65 axes": tensors({"W": {**W, "shape": [2] + [1] * 64}, "b": B}),
    "arrays on each other": tensors({"W": W, "b": {**B, "data_offsets": [0, 8]}}),
    "a hole between arrays": tensors({"W": W, "b": {**B, "data_offsets": [17, 25]}}, bytes(24)),
    "a place that ends before it begins": tensors({"W": {**W, "data_offsets": [16, 0]}, "b": B}),
    "a place that is not there": tensors({"W": {**W, "data_offsets": [2**60, 2**60 + 16]}, "b": B}),
    "bytes after the arrays": tensors({"W": W, "b": B}, bytes(25)),
    "arrays that lack bytes": tensors({"W": W, "b": B}, bytes(23)),
    "a name that is a path": tensors({"W": W, "../b": B}),
    "a name from the root": tensors({"W": W, "/etc/b": B}),
    "a name with a NUL": tensors({"W": W, "b\0": B}),
    "a name of half a letter": tensors('{"\\ud800": ' + json.dumps(B) + "}"),
    "metadata that are a list": with_metadata([]),
    "metadata that are numbers": with_metadata({"a": 1}),
    "a seal without a digest": with_metadata({"tinygrad_edu": "{}"}),
    "a sealed remark that is no JSON": sealed('{"seal": "SEAL"'),
    "a sealed remark without about": sealed('{"seal": "SEAL"}'),
    "a sealed remark about no object": sealed('{"seal": "SEAL", "about": [1]}'),
    "a sealed remark of many brackets": sealed('{"seal": "SEAL", "about": ' + "[" * 10**5),
    "a pickle": pickle.dumps({"W": np.zeros((2, 1)), "b": np.zeros(1)}),
    "a file of another format": b"PK\3\4" + bytes(200),
}


def npy(shape=(1,), descr="<f8", data=None, header=None, version=(1, 0)):
    """An npy file with this header."""
    if header is None:
        header = str({"descr": descr, "fortran_order": False, "shape": shape})
    raw = header.encode() + b"\n"
    length = struct.pack("<H" if version == (1, 0) else "<I", len(raw))
    data = bytes(8) if data is None else data
    return b"\x93NUMPY" + bytes(version) + length + raw + data


def members(*more, compression=zipfile.ZIP_STORED, **arrays):
    """A zip archive of these members; W and b are right unless they are given."""
    file = io.BytesIO()
    contents = {"W.npy": npy((2, 1), data=bytes(16)), "b.npy": npy()}
    contents |= {f"{name}.npy": content for name, content in arrays.items()}
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in [*contents.items(), *more]:
            with contextlib.suppress(UserWarning):  # a name that is there
                archive.writestr(name, content)
    return file.getvalue()


def twice():
    return members(("c.npy", npy())).replace(b"c.npy", b"b.npy")


def patched(data, signature, offset, form, value, number=-1):
    """The archive with another value in a field of one of its records."""
    at = [i for i in range(len(data)) if data.startswith(signature, i)][number]
    field = struct.pack(form, value)
    return data[: at + offset] + field + data[at + offset + len(field) :]


def saved(save, **arrays):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def bomb():
    return saved(np.savez_compressed, W=np.zeros((2, 1)), b=np.zeros(2**22))


def on_each_other(count=300):
    """A table in which every member is the same large one."""
    data = members(b=npy((10_000,), data=bytes(80_000)))
    at, end = data.rindex(b"PK\1\2"), data.index(b"PK\5\6")
    table = data[data.index(b"PK\1\2") : at] + data[at:end] * count
    start = data.index(b"PK\1\2")
    parts = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count + 1, count + 1, len(table), start, 0)
    return data[:start] + table + parts


LOCAL, TABLE, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"

NPZ = {
    "nothing": b"",
    "text": b"W = 0\n" * 100,
    "a pickle": pickle.dumps({"W": np.zeros((2, 1)), "b": np.zeros(1)}),
    "an npy file": npy(),
    "a file of another format": tensors({"W": W, "b": B}),
    "pickled objects": saved(np.savez, W=np.zeros((2, 1)), b=np.array([print], object)),
    "objects that have the size of numbers": members(b=npy(descr="|O")),
    "a member that is a pickle": members(b=pickle.dumps(np.zeros(1))),
    "a member that is no npy file": members(("data.pkl", pickle.dumps(0))),
    "a member of no bytes": members(b=b""),
    "a member that ends in its header": members(b=npy()[:40]),
    "a name that is a path": members(("../c.npy", npy())),
    "a name from the root": members(("/etc/c.npy", npy())),
    "a name of another system": members(("..\\c.npy", npy())),
    "a name with a drive": members(("C:c.npy", npy())),
    "a hidden name": members((".npy", npy())),
    "a name with a NUL": members(("cx.npy", npy())).replace(b"cx.npy", b"c\0.npy"),
    "a name that ends twice": members(("W.npy.npy", npy())),
    "a name of 2000 letters": members(("c" * 2000 + ".npy", npy())),
    "a folder": members(("c/", b"")),
    "two arrays of one name": twice(),
    "compressed zeros": bomb(),
    "compressed zeros that say they are not": patched(bomb(), TABLE, 10, "<H", 0),
    "a size that is not there": patched(
        patched(members(), TABLE, 24, "<L", 2**31), TABLE, 20, "<L", 2**31
    ),
    "a size smaller than it is": patched(members(), TABLE, 24, "<L", 10),
    "a place that is not there": patched(members(), TABLE, 42, "<L", 2**31),
    "a place in the table": patched(members(), TABLE, 42, "<L", members().index(TABLE)),
    "members on each other": on_each_other(),
    "a wrong checksum": patched(members(), TABLE, 16, "<L", 12345),
    "an encrypted member": patched(members(), TABLE, 8, "<H", 1),
    "an unknown compression": patched(members(), TABLE, 10, "<H", 99),
    "another name in front of the member": patched(members(), LOCAL, 30, "<B", 120),
    "a table of 2**32 - 1 bytes": patched(members(), END, 12, "<L", 2**32 - 1),
    "a table of no bytes": patched(members(), END, 12, "<L", 0),
    "a table that has lost a member": patched(members(), TABLE, 32, "<H", 51, number=0),
    "more members than there are": patched(members(), END, 10, "<H", 7),
    "a long table": lambda: members(*((f"{i}{'x' * 900}.npy", npy()) for i in range(9000))),
    "bytes after the end": members() + bytes(5),
    "bytes before the beginning": bytes(5) + members(),
    "a comment that is not there": patched(members(), END, 20, "<H", 200),
    "a comment that claims a seal": patched(members(), END, 20, "<H", 12) + b"tinygrad_edu",
    "the end of a larger kind of archive": members().replace(
        END, b"PK\6\6" + bytes(52) + b"PK\6\7" + bytes(16) + END
    ),
    "a shape that is not there": members(b=npy((2**40,))),
    "a shape that overflows": members(b=npy((2**62, 2**62, 0), data=b"")),
    "a shape below 0": members(b=npy((-1, -1))),
    "a shape of text": members(b=npy(("1",))),
    "a shape of 65 axes": members(b=npy((1,) * 65)),
    "a header of many brackets": members(b=npy(header="(" * 30_000)),
    "a header of many signs": members(b=npy(header="-" * 900 + "1")),
    "a header that is a program": members(b=npy(header="__import__('os').abort()")),
    "a header without a shape": members(b=npy(header="{'descr': '<f8'}")),
    "a header of 2**32 - 1 bytes": members(b=npy(version=(3, 0))[:8] + b"\xff" * 4 + bytes(99)),
    "a version of npy that never was": members(b=b"\x93NUMPY\x09\x00" + bytes(80)),
    "records": members(b=npy(descr=[("a", "<f4"), ("b", "<f4")])),
    "text in an array": members(b=npy(descr="<U2")),
    "dates": members(b=npy(descr="<M8[s]")),
    "complex numbers": members(b=npy(descr="<c8")),
    "bytes of no meaning": members(b=npy(descr="|V8")),
    "an unknown dtype": members(b=npy(descr="nonsense")),
    "long floats": members(b=npy(descr="<f16", data=bytes(16))),
    "a remark that is no JSON": members(("tinygrad_edu.about.npy", npy((1,), "|u1", b"{"))),
    "a remark of numbers": members(("tinygrad_edu.about.npy", npy())),
    "a remark that is a list": members(("tinygrad_edu.about.npy", npy((2,), "|u1", b"[]"))),
}

# Why, where another check would refuse the file as well.
REASONS = {
    ".safetensors": {
        "a header longer than the file": "header that is said to have 1,048,576",
        "a header that is a list": "no JSON object",
        "a header that is there, but too long": "8,388,608 are the most",
        "two arrays of one name": "two entries named 'W'",
        "two dtypes of an array": "two entries named 'dtype'",
        "bfloat16": "'W' has dtype BF16",
        "a shape below 0": "its header says of the array 'W'",
        "a shape of truth values": "its header says of the array 'W'",
        "a shape that is not there": "arrays that need 8,796,093,022,3",
        "a shape that overflows": "no array can have",
        "bytes after the arrays": "161 bytes, and arrays that need 160",
        "a name that is a path": "could be read as a path",
    },
    ".npz": {
        "pickled objects": "pickled objects, which could run programs",
        "objects that have the size of numbers": "pickled objects, which could run programs",
        "a member that is no npy file": "data.pkl' is no npy file",
        "a name with a NUL": "is no npy file",
        "two arrays of one name": "two arrays named 'b'",
        "compressed zeros": "is compressed",
        "a size that is not there": "members need more than",
        "members on each other": "members need more than",
        "a table that has lost a member": "1 members instead of 2",
        "a long table": "it may have 8,388,608",
        "bytes after the end": "its end is not the archive's",
        "bytes before the beginning": "its table of members",
        "a comment that is not there": "its end is not the archive's",
        "the end of a larger kind of archive": "its table of members",
        "a shape that is not there": "has not the bytes",
        "a shape below 0": "has not the bytes",
        "a header of 2**32 - 1 bytes": "version",
    },
}
KINDS = [(".safetensors", kind) for kind in SAFETENSORS] + [(".npz", kind) for kind in NPZ]


def net():
    model = tg.nn.Linear(2, 1, rng=0)
    assert list(model.state_dict()) == ["W", "b"]
    return model


@contextlib.contextmanager
def little_memory(room):
    """A context in which the process cannot get more memory than that."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + room, hard))
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="it says how much is used")
@pytest.mark.parametrize(("suffix", "kind"), KINDS)
def test_malformed_files_are_refused(suffix, kind, tmp_path):
    path, model = tmp_path / f"net{suffix}", net()
    data = (SAFETENSORS if suffix == ".safetensors" else NPZ)[kind]
    data = data() if callable(data) else data
    path.write_bytes(data)
    before = model.state_dict()
    room = 2**20 + 25 * len(data)
    with little_memory(2**25 + room):
        with pytest.raises(ValueError, match=f"net{suffix} cannot be read: .") as refused:
            tg.load_into(model, path)
        _, most = tracemalloc.get_traced_memory()
    assert most < room
    assert len(str(refused.value)) < 600
    assert REASONS[suffix].get(kind, "") in str(refused.value)
    assert all(np.array_equal(array, before[name]) for name, array in model.state_dict().items())


def test_what_these_are_made_of_is_right(tmp_path):
    for name, data in ((".safetensors", tensors({"W": W, "b": B})), (".npz", members())):
        (tmp_path / f"net{name}").write_bytes(data)
        model = net()
        tg.load_into(model, tmp_path / f"net{name}")
        assert not any(array.any() for array in model.state_dict().values())
    (tmp_path / "net.safetensors").write_bytes(sealed('{"seal": "SEAL", "about": {"a": 1}}'))
    assert read_arrays(tmp_path / "net.safetensors")[1] == {"a": 1}


def test_a_file_too_large_for_the_model_is_not_read(tmp_path):
    path, size = tmp_path / "net.safetensors", 2**36
    shape = {"dtype": "F64", "shape": [size // 8], "data_offsets": [0, size]}
    path.write_bytes(tensors({"W": shape, "b": {**B, "data_offsets": [size, size + 8]}}, b""))
    os.truncate(path, path.stat().st_size + size + 8)  # there, without taking room on the disk
    with little_memory(2**25), pytest.raises(ValueError, match=r"net.*W has shape"):
        tg.load_into(net(), path)
    with little_memory(2**25), pytest.raises(MemoryError, match=r"net.safetensors cannot be read"):
        read_arrays(path)
