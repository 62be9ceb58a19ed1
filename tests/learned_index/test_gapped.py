"""Updatable maps against a sorted list and a dict, in random sequences of operations."""

import pickle

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sysgym.core.errors import InputFileError, KeyTypeError, KeyValueError, UnknownNameError
from sysgym.learned_index import BPlusTree, BPlusTreeMap, GappedIndex

LARGEST = 2**64 - 1
MAPS = pytest.mark.parametrize("structure", [GappedIndex, BPlusTreeMap])
KEYS = st.integers(0, 60) | st.integers(0, LARGEST) | st.sampled_from([0, LARGEST, LARGEST - 1, 2**53, 2**53 + 1])


class Sequences(RuleBasedStateMachine):
    """Operations on a map and on a dict from a key to its values in the order of arrival."""

    structure = GappedIndex
    duplicates = "overwrite"

    @initialize(keys=st.lists(KEYS, max_size=30), many=st.sampled_from([0, 700, 2000]))
    def start(self, keys, many):
        dense = np.random.default_rng(many).integers(0, 2**40, many, dtype=np.uint64)
        array = np.sort(np.concatenate([np.array(keys, dtype=np.uint64), dense]))
        self.model = {}
        self.index = self.structure.build(array, duplicates=self.duplicates)
        for value, key in enumerate(array.tolist()):
            self.put(key, value)

    def put(self, key, value):
        if self.duplicates == "keep":
            self.model.setdefault(key, []).append(value)
            return True
        new = key not in self.model
        self.model[key] = [value]
        return new

    def drop(self, key):
        values = self.model.get(key)
        if values:
            values.pop(0)
            if not values:
                del self.model[key]
        return values is not None

    @property
    def entries(self):
        return [(key, value) for key in sorted(self.model) for value in self.model[key]]

    @rule(key=KEYS, value=st.integers(-(2**63), 2**63 - 1))
    def insert_one(self, key, value):
        assert self.index.insert(key, value) == self.put(key, value)

    @rule(keys=st.lists(KEYS, max_size=20), seed=st.integers(0, 5), many=st.sampled_from([0, 0, 1500]))
    def insert_batch(self, keys, seed, many):
        near = np.uint64(seed << 38) + np.random.default_rng(seed).integers(0, 5000, many, dtype=np.uint64)
        array = np.concatenate([np.array(keys, dtype=np.uint64), near])
        expected = [self.put(key, value) for value, key in enumerate(array.tolist())]
        assert self.index.insert(array, np.arange(len(array))).tolist() == expected

    @rule(key=KEYS)
    def delete_one(self, key):
        assert self.index.delete(key) == self.drop(key)

    @rule(share=st.integers(2, 9))
    def delete_every(self, share):
        gone = sorted(self.model)[::share]
        assert self.index.delete(np.array(gone, dtype=np.uint64)).tolist() == [self.drop(key) for key in gone]

    @rule(low=KEYS, high=KEYS, closed=st.booleans())
    def select(self, low, high, closed):
        keys, values = self.index.range(low, high, closed=closed)
        expected = [e for e in self.entries if low <= e[0] < high or (closed and low <= e[0] == high)]
        assert list(zip(keys.tolist(), values.tolist(), strict=True)) == expected

    @rule(queries=st.lists(KEYS, max_size=20))
    def look(self, queries):
        keys = np.array([key for key, _ in self.entries], dtype=np.uint64)
        array = np.concatenate([np.array(queries, dtype=np.uint64), keys[::7]])
        for side in ("left", "right"):
            np.testing.assert_array_equal(self.index.search(array, side), np.searchsorted(keys, array, side))
        first = {key: values[0] for key, values in self.model.items()}
        assert self.index.get(array, -5).tolist() == [first.get(key, -5) for key in array.tolist()]
        assert [self.index.get(key) for key in queries] == [first.get(key) for key in queries]
        assert self.index.contains(array).tolist() == [key in first for key in array.tolist()]

    @rule()
    def copy(self):
        self.index = pickle.loads(pickle.dumps(self.index))

    @invariant()
    def whole(self):
        if hasattr(self, "index"):
            self.index._check()
            assert len(self.index) == sum(map(len, self.model.values()))


def machine(structure, duplicates):
    made = type("Sequence", (Sequences,), {"structure": structure, "duplicates": duplicates})
    test = made.TestCase
    test.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)
    return test


TestGapped = machine(GappedIndex, "overwrite")
TestGappedKeepsDuplicates = machine(GappedIndex, "keep")
TestBPlusTreeMap = machine(BPlusTreeMap, "overwrite")


@MAPS
@pytest.mark.parametrize("shape", ["uniform", "ascending", "descending", "clustered", "one_value"])
def test_many_inserts_in_any_order(structure, shape):
    generator = np.random.default_rng(0)
    keys = {
        "uniform": generator.integers(0, 2**61, 30_000),
        "ascending": np.arange(30_000) * 3,
        "descending": np.arange(30_000)[::-1] * 3,
        "clustered": (generator.integers(0, 20, 30_000) << 50) + generator.integers(0, 10_000, 30_000),
        "one_value": np.full(3000, 7),
    }[shape]
    index = structure.build(np.array([], dtype=np.int64))
    for batch in np.array_split(keys, 7):
        index.insert(batch, batch * 2)
    for key in keys[:50]:
        index.insert(int(key), int(key) * 2)
    index._check()
    distinct = np.unique(keys)
    held, values = index.items()
    np.testing.assert_array_equal(held, distinct)
    np.testing.assert_array_equal(values, distinct * 2)
    assert index.delete(distinct).all() and len(index) == 0 and not index.delete(int(distinct[0]))
    index._check()
    assert index.insert(distinct).all() and len(index) == len(distinct)


@MAPS
@pytest.mark.parametrize("dtype", ["i8", "f8", "f4", "i2", "S5", "M8[s]"])
def test_types(structure, dtype, tmp_path):
    keys = np.unique(np.random.default_rng(0).integers(-9000, 9000, 3000).astype("i8" if dtype[0] == "M" else dtype))
    keys = np.sort(keys.astype(dtype))
    index = structure.build(keys[::2])
    assert index.insert(keys[1::2], np.arange(len(keys[1::2]))).all()
    np.testing.assert_array_equal(index.items()[0], keys)
    np.testing.assert_array_equal(index.search(keys), np.arange(len(keys)))
    index.save(tmp_path / "map")
    for again in (structure.load(tmp_path / "map"), structure.load(tmp_path / "map", mmap=False)):
        again._check()
        np.testing.assert_array_equal(again.items()[1], index.items()[1])
        assert again.insert(keys[5]) is False


def test_values_without_names_are_running_numbers_and_sorting_keeps_pairs():
    index = GappedIndex.build([5, 3, 9, 3], sort=True)
    assert index.items()[0].tolist() == [3, 5, 9] and index.items()[1].tolist() == [3, 0, 2]
    index.insert([4, 8])
    assert index.get([4, 8, 7]).tolist() == [4, 5, -1] and index.get(7) is None and index.get(7, 0) == 0
    assert 4 in index and 4.5 not in index and list(index) == [3, 4, 5, 8, 9]
    assert index.get(4.0) == 4 and index.search(4.5) == 2
    kept = GappedIndex.build([1, 1, 2], [7, 8, 9], duplicates="keep")
    kept.insert(1, 10)
    assert kept.range(1, 2)[1].tolist() == [7, 8, 10] and kept.delete(1) and kept.get(1) == 8


def test_mistakes_are_refused(tmp_path):
    index = GappedIndex.build([1, 2, 3])
    for keys in (1.5, 2**63, [1, -(2**70)], "a", None):
        with pytest.raises(KeyTypeError):
            index.insert(keys)
    with pytest.raises(KeyValueError, match="NaN"):
        index.insert(float("nan"))
    with pytest.raises(KeyValueError, match="2 values for 1 keys"):
        index.insert(5, [1, 2])
    with pytest.raises(KeyTypeError, match="values of type float64"):
        index.insert(5, 1.5)
    assert index.items()[0].tolist() == [1, 2, 3]
    with pytest.raises(KeyValueError, match="not sorted"):
        GappedIndex.build([2, 1])
    with pytest.raises(UnknownNameError, match="duplicates policy"):
        GappedIndex.build([1], duplicates="merge")
    BPlusTree.build([1]).save(tmp_path / "static")
    with pytest.raises(InputFileError, match="not GappedIndex"):
        GappedIndex.load(tmp_path / "static")
