"""Files and pickles: what is saved comes back, and what is not such a file is refused in one line."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from sysgym.core.errors import InputFileError, OutputError
from sysgym.learned_index import BPlusTree, PGMIndex, SortedIndex
from sysgym.learned_index.storage import MAGIC
from tests.learned_index.structures import STRUCTURES, build

QUERIES = np.random.default_rng(1).integers(0, 2**40, 2000, dtype=np.uint64)


def keys_of(count):
    return np.sort(np.random.default_rng(0).integers(0, 2**40, count, dtype=np.uint64))


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("count", [0, 3, 5000])
def test_round_trip(name, count, tmp_path):
    keys = keys_of(count)
    index, path = build(name, keys), tmp_path / "keys.index"
    index.save(path)
    answer = np.searchsorted(keys, QUERIES)
    for again in (
        type(index).load(path),
        type(index).load(path, mmap=False),
        SortedIndex.load(path),
        pickle.loads(pickle.dumps(index)),
    ):
        assert type(again) is type(index) and again.size_bytes == index.size_bytes
        np.testing.assert_array_equal(again.search(QUERIES), answer)
        assert again.search(int(QUERIES[0])) == answer[0]
        again.verify()


@pytest.mark.parametrize(
    "keys", [np.array(["2020", "2021"], dtype="M8[Y]"), np.array([b"ab", b"b"]), np.array([-1.5, 2.5], dtype="f4")]
)
def test_other_types_come_back(keys, tmp_path):
    PGMIndex.build(keys).save(tmp_path / "i")
    again = PGMIndex.load(tmp_path / "i")
    assert again.dtype == keys.dtype and again.search(keys).tolist() == [0, 1]
    assert pickle.loads(pickle.dumps(again)).search(keys, "right").tolist() == [1, 2]


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "keys.index"
    BPlusTree.build(keys_of(3000)).save(path)
    return path


def refused(path, words, **options):
    with pytest.raises(InputFileError, match=words) as error:
        BPlusTree.load(path, **options)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("mmap", [True, False])
def test_damage_is_noticed(saved, mmap):
    whole = saved.read_bytes()
    for place in (100, 5000, 20_000, 29_000):  # header, keys, keys, tree
        broken = bytearray(whole)
        broken[place] ^= 1
        saved.write_bytes(broken)
        refused(saved, "damaged", mmap=mmap)
    saved.write_bytes(whole[:-64])
    refused(saved, "truncated", mmap=mmap)
    saved.write_bytes(whole[:30])
    refused(saved, "too few", mmap=mmap)
    saved.write_bytes(MAGIC + (99).to_bytes(4, "little") + whole[12:])
    refused(saved, "format version 99", mmap=mmap)
    saved.write_bytes(b"x" * len(whole))
    refused(saved, "no index file", mmap=mmap)
    saved.unlink()
    refused(saved, "cannot be read", mmap=mmap)
    refused(saved.parent, "cannot be read", mmap=mmap)


def test_damage_of_a_large_file_shows_in_verify(tmp_path):
    path = tmp_path / "large"
    BPlusTree.build(keys_of(700_000)).save(path)
    broken = bytearray(path.read_bytes())
    broken[2_000_003] ^= 255
    path.write_bytes(broken)
    with pytest.raises(InputFileError, match="damaged"):
        BPlusTree.load(path, mmap=False)
    try:
        index = BPlusTree.load(path)
    except InputFileError:
        return
    with pytest.raises(InputFileError, match="checksum of 'keys'"):
        index.verify()


def test_a_file_that_changes_under_its_map_is_noticed(saved):
    index = BPlusTree.load(saved)
    assert index.search(QUERIES).shape == QUERIES.shape
    with saved.open("r+b") as file:
        file.truncate(5000)
    for use in (lambda: index.search(QUERIES), index.verify):
        with pytest.raises(InputFileError, match="was changed"):
            use()


def test_another_structure_is_refused(saved):
    with pytest.raises(InputFileError, match="holds a 'b_plus_tree' index, not PGMIndex"):
        PGMIndex.load(saved)


def test_a_failed_save_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OutputError, match="No space left"):
        BPlusTree.build([1, 2, 3]).save(saved)
    assert saved.read_bytes() == before and len(list(saved.parent.iterdir())) == 1
    monkeypatch.undo()
    with pytest.raises(OutputError, match="is a directory"):
        BPlusTree.build([1]).save(saved.parent)


def test_the_package_is_light_until_an_index_is_asked_for():
    program = "import sys, sysgym.learned_index; print('numba' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
    )
