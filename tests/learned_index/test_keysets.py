"""Key sets have the published digests; SOSD files are read in place."""

import hashlib

import numpy as np
import pytest

from sysgym.core.errors import InputFileError, SettingError, UnknownNameError
from sysgym.learned_index import RMI
from sysgym.learned_index.keysets import KEY_SETS, key_set, read_key_lines, read_sosd, write_sosd

DIGESTS = {
    "uniform": "fa6ecc1323e2b29a",
    "osm": "e9ff5ad131996042",
    "lognormal": "9907850464b34d4a",
    "steps": "87dd996c46583ecd",
    "normal": "643a1e35e9dc6223",
}


@pytest.mark.parametrize("name", KEY_SETS)
def test_digest(name):
    keys = key_set(name, 1000)
    assert hashlib.sha256(keys.tobytes()).hexdigest()[:16] == DIGESTS[name]
    assert len(keys) == 1000 and (keys[1:] > keys[:-1]).all()


def test_unknown_sets_and_sizes_are_refused():
    with pytest.raises(UnknownNameError, match="did you mean uniform"):
        key_set("unifrom", 10)
    with pytest.raises(SettingError, match="size is 0"):
        key_set("uniform", 0)


@pytest.mark.parametrize(
    ("text", "dtype", "keys"),
    [
        ("id\n3\n18446744073709551615\n", np.uint64, [3, 2**64 - 1]),
        ("-5\n7\n", np.int64, [-5, 7]),
        ("1\n2.5\n", np.float64, [1, 2.5]),
    ],
)
def test_keys_as_text(tmp_path, text, dtype, keys):
    path = tmp_path / "keys.csv"
    path.write_text(text)
    found = read_key_lines(path)
    assert found.dtype == dtype and found.tolist() == keys


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("id,when\n3,4\n", "line 2: '3,4' is no number; expected one key a line"),
        ("apple\nbread\n", "line 2: 'bread' is no number"),
        ("id\n", "line 1: 'id' is no number"),
        ("1\n99999999999999999999999\n", "more than 64 bits"),
        ("0.5\n9007199254740993\n", "line 2.*9007199254740993 would be rounded"),
        ("-1\n18446744073709551615\n", "more than 64 bits"),
        ("", "line 1: nothing is no number"),
    ],
)
def test_texts_that_are_no_keys(tmp_path, text, what):
    path = tmp_path / "keys.txt"
    path.write_text(text)
    with pytest.raises(InputFileError, match=what):
        read_key_lines(path)
    with pytest.raises(InputFileError, match="cannot be read as text"):
        read_key_lines(tmp_path)


def test_sosd_files(tmp_path):
    keys, path = key_set("osm", 2000), tmp_path / "osm_2000_uint64"
    write_sosd(keys, path)
    assert path.stat().st_size == 8 + 16000
    mapped = read_sosd(path)
    np.testing.assert_array_equal(mapped, keys)
    assert RMI.build(mapped).search(keys).tolist() == list(range(2000))
    narrow = np.arange(5, dtype="<u4")
    path.write_bytes((5).to_bytes(8, "little") + narrow.tobytes())
    assert read_sosd(path).dtype == np.uint32 and read_sosd(path).tolist() == [0, 1, 2, 3, 4]
    for content in (b"", b"abc", (9).to_bytes(8, "little") + narrow.tobytes()):
        path.write_bytes(content)
        with pytest.raises(InputFileError, match="no SOSD file"):
            read_sosd(path)
    with pytest.raises(InputFileError, match="cannot be read"):
        read_sosd(tmp_path / "absent")
