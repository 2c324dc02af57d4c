"""Files of the format idx: read back as written, or refused, in bounded memory."""

import contextlib
import gzip
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_edu import data

CODES = {"uint8": 8, "int8": 9, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}
arrays = st.sampled_from(sorted(CODES)).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0))
)


def header(code, *lengths):
    return bytes([0, 0, code, len(lengths)]) + struct.pack(f">{len(lengths)}I", *lengths)


def written(array):
    numbers = array.astype(array.dtype.newbyteorder(">")).tobytes()
    return header(CODES[array.dtype.name], *array.shape) + numbers


@given(arrays, st.booleans())
def test_what_is_written_is_read_back(tmp_path_factory, array, packed):
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(gzip.compress(written(array)) if packed else written(array))
    found = data.from_idx(path)
    assert found.dtype == array.dtype
    assert found.dtype.isnative
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()
    assert found.flags.writeable


@pytest.mark.parametrize("packed", [False, True])
def test_every_truncation_and_every_longer_file_is_refused(tmp_path, packed):
    whole = written(np.arange(6, dtype="int16").reshape(2, 3))
    for cut in [whole[:n] for n in range(len(whole))] + [whole + b"\0"]:
        path = tmp_path / "file"
        path.write_bytes(gzip.compress(cut) if packed else cut)
        with pytest.raises(ValueError, match=r"file cannot be read as idx: "):
            data.from_idx(path)


def test_every_truncation_and_every_wrong_byte_of_a_packed_file_is_seen(tmp_path):
    array = np.arange(6, dtype="int16").reshape(2, 3)
    whole = gzip.compress(written(array))
    path = tmp_path / "file"
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        with pytest.raises(ValueError, match="cannot be read as idx"):
            data.from_idx(path)
        path.write_bytes(whole[:n] + bytes([whole[n] ^ 16]) + whole[n + 1 :])
        with contextlib.suppress(ValueError):  # if it is not a remark of gzip, such as the date
            np.testing.assert_array_equal(data.from_idx(path), array, strict=True)


HUGE = 2**32 - 1
BOMB = gzip.compress(bytes(2**24))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing"),
        (b"PK\3\4aaaa", "begins with 50 4b 03 04"),
        (b"\1\0\x08\1" + bytes(8), "begins with 01 00"),
        (header(0x0A, 2) + b"12", "type 0a, which is none of 08, 09"),
        (header(0x00, 2) + b"12", "type 00"),
        (bytes([0, 0, 8, 0, 7]), "0 axes; 1 to 32"),
        (bytes([0, 0, 8, 255]) + bytes(1020), "255 axes"),
        (header(0x08, 2, 2) + b"123", r"its 3 bytes are not uint8 of shape \(2, 2\)"),
        (header(0x0E, 0, HUGE, HUGE), "array|dimension"),
        (header(0x0E, HUGE, HUGE, HUGE), "are 633,825,29"),
        (gzip.compress(header(0x0E, HUGE, HUGE)), "bytes are not float64"),
        (gzip.compress(header(0x08, 5) + bytes(2**24)), "it has more than uint8"),
        (gzip.compress(header(0x08, 2**31 + 1) + bytes(2**21)) + BOMB * 150, "unpacks to 2,147"),
        (gzip.compress(header(0x08, 2) + b"12")[:-1] + b"\1", "CRC|length"),
        (b"\x1f\x8b", "EOF|ended|Compressed"),
    ],
    ids=range(15),
)
def test_broken_files_are_refused_in_bounded_memory(tmp_path, content, message):
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=rf"images.gz cannot be read as idx: .*({message})"):
            data.from_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_images_and_labels_go_together(tmp_path):
    images, labels = np.arange(24, dtype="uint8").reshape(4, 2, 3), np.arange(4, dtype="uint8")
    (tmp_path / "images").write_bytes(written(images))
    (tmp_path / "labels").write_bytes(written(labels))
    (tmp_path / "short").write_bytes(written(labels[:3]))
    X, y = data.from_idx(tmp_path / "images", tmp_path / "labels")
    np.testing.assert_array_equal(X, images)
    np.testing.assert_array_equal(y, labels)
    for pair in (("images", "short"), ("labels", "images"), ("images", "images")):
        with pytest.raises(ValueError, match="one label for each image"):
            data.from_idx(*(tmp_path / name for name in pair))
    with pytest.raises(FileNotFoundError):
        data.from_idx(tmp_path / "nothing")
