"""Bloom filters and hash indexes: never a wrong no, the rates of the formulas, and where learning helps."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysgym.core.errors import KeyTypeError, KeyValueError, SettingError, UnknownNameError
from sysgym.learned_index.bloom import ALPHA, BloomFilter, best_probes
from sysgym.learned_index.hashing import HASHES, HashIndex
from sysgym.learned_index.keysets import key_set
from sysgym.learned_index.learned_bloom import WAYS, LearnedBloomFilter, _cuts

LARGEST = 2**64 - 1
numbers = st.integers(0, LARGEST) | st.integers(0, 300) | st.sampled_from([0, 1, 2**63, LARGEST])


def elsewhere(keys, count, seed=0):
    """Queries that are evenly spread, and no keys."""
    drawn = np.random.default_rng(seed).integers(0, int(keys.max()), count, dtype=np.uint64)
    return drawn[~np.isin(drawn, keys)]


@settings(max_examples=80, deadline=None)
@given(st.lists(numbers, max_size=200), st.lists(numbers, min_size=1, max_size=200), st.sampled_from(WAYS),
       st.sampled_from([0.5, 3.0, 40.0]))  # fmt: skip
def test_no_filter_ever_says_no_wrongly(keys, others, way, bits):
    keys = np.array(keys, dtype=np.uint64)
    assert BloomFilter.build(keys, bits_per_key=bits).contains(keys).all()
    try:
        learned = LearnedBloomFilter.build(
            keys, np.array(others, dtype=np.uint64), way=way, bits_per_key=bits, ranges=4
        )
    except SettingError:
        return  # too few bits for a model, or no other query
    assert learned.contains(keys).all() and len(learned) == len(np.unique(keys))
    assert all(learned.contains(int(key)) for key in keys[:5])


@settings(max_examples=60, deadline=None)
@given(st.lists(numbers, max_size=300), st.lists(numbers, min_size=1, max_size=100), st.sampled_from(HASHES),
       st.sampled_from([0.3, 1.0, 4.0]))  # fmt: skip
def test_a_hash_index_finds_the_first_of_equal_keys_and_nothing_else(keys, queries, hash, slots):
    keys = np.sort(np.array(keys, dtype=np.uint64))
    index = HashIndex.build(keys, hash=hash, slots_per_key=slots)
    asked = np.concatenate([keys, np.array(queries, dtype=np.uint64)])
    left = np.searchsorted(keys, asked)
    there = np.isin(asked, keys)
    assert index.find(asked).tolist() == np.where(there, left, -1).tolist()
    assert index.find(int(asked[0])) == (left[0] if there[0] else -1)


@pytest.mark.parametrize("keys", [
    np.sort(np.random.default_rng(0).normal(size=500)),
    np.sort(np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 500)),
    np.array([b"ada", b"bob", b"eve"]),
    np.arange(10).astype("M8[D]"),
])  # fmt: skip
def test_every_type_of_key(keys):
    assert BloomFilter.build(keys).contains(keys).all()
    for hash in HASHES:
        assert HashIndex.build(keys, hash=hash).find(keys).tolist() == list(range(len(keys)))


def test_queries_of_other_types_are_compared_exactly():
    index, known = HashIndex.build([1, 2, 2**62 + 1]), BloomFilter.build([1, 2, 2**62 + 1], bits_per_key=64)
    assert index.find(2.0) == 1 and index.find(2.5) == -1 and index.find(-1) == -1 and index.find(2**70) == -1
    assert index.find(float(2**62)) == -1 and not known.contains(2.5) and known.contains(1.0)


@pytest.mark.parametrize("bits", [4.0, 8.0, 12.0])
def test_a_classic_filter_has_the_rate_of_the_formula(bits):
    keys = key_set("uniform", 50_000)
    known = BloomFilter.build(keys, bits_per_key=bits)
    measured = known.contains(elsewhere(keys, 200_000)).mean()
    assert known.size_bytes == math.ceil(math.ceil(bits * len(keys)) / 64) * 8
    assert measured == pytest.approx(ALPHA**bits, rel=0.15) and measured == pytest.approx(known.expected_rate, rel=0.1)
    assert best_probes(int(bits * 1000), 1000) == round(bits * math.log(2))


def test_learning_helps_where_keys_lie_elsewhere_than_queries():
    """Equal bytes in all, the model's included; a fresh sample of queries."""
    keys = key_set("osm", 50_000)
    sample, fresh = elsewhere(keys, 100_000), elsewhere(keys, 100_000, seed=1)
    classic = BloomFilter.build(keys, bits_per_key=8)
    rates = {}
    for way in WAYS:
        learned = LearnedBloomFilter.build(keys, sample, way=way, bits_per_key=8, ranges=128)
        assert learned.size_bytes <= classic.size_bytes + 64 and learned.way == way
        rates[way] = learned.contains(fresh).mean()
        assert rates[way] == pytest.approx(learned.expected_rate, rel=0.5)
    assert rates["partitioned"] < 0.7 * classic.contains(fresh).mean()
    assert rates["partitioned"] < rates["sandwiched"] < 1.1 * rates["plain"]


def test_learning_cannot_help_where_queries_lie_as_the_keys_do():
    keys = key_set("uniform", 50_000)
    fresh = elsewhere(keys, 200_000, seed=1)
    classic = BloomFilter.build(keys, bits_per_key=8).contains(fresh).mean()
    for way in WAYS:
        learned = LearnedBloomFilter.build(keys, elsewhere(keys, 100_000), way=way, bits_per_key=8, ranges=64)
        assert learned.contains(fresh).mean() == pytest.approx(classic, rel=0.15)


def test_drifted_queries_are_let_through_where_ranges_answer_by_themselves():
    keys = key_set("lognormal", 50_000)
    learned = LearnedBloomFilter.build(keys, elsewhere(keys, 100_000), way="plain", bits_per_key=8)
    near = keys + np.uint64(1)
    near = near[~np.isin(near, keys)]
    assert learned.contains(near).mean() > 10 * learned.contains(elsewhere(keys, 100_000, seed=1)).mean()


def test_cuts_are_the_best_ones():
    """Against every cut of seven ranges into three."""
    generator = np.random.default_rng(0)
    keys, others = generator.dirichlet(np.ones(7)), generator.dirichlet(np.ones(7))
    order = np.argsort(-keys / others)
    keys, others = keys[order], others[order]

    def worth(cuts):
        return sum(g * math.log(g / h) for g, h in ((keys[a:b].sum(), others[a:b].sum()) for a, b in cuts))

    every = [[(0, i), (i, j), (j, 7)] for i in range(1, 6) for j in range(i + 1, 7)]
    assert worth(_cuts(keys, others, 3)) == pytest.approx(max(map(worth, every)))


def test_a_random_hash_conflicts_by_chance_and_a_learned_one_less_on_regular_gaps_only():
    generator = np.random.default_rng(0)
    regular = np.arange(0, 300_000, 3, dtype=np.uint64) + generator.integers(0, 2, 100_000, dtype=np.uint64)
    uniform = key_set("uniform", 100_000)
    conflicts = {(name, hash): HashIndex.build(keys, hash=hash).conflicts
                 for name, keys in (("regular", regular), ("uniform", uniform)) for hash in HASHES}  # fmt: skip
    for case in (("regular", "random"), ("uniform", "random"), ("uniform", "learned")):
        assert conflicts[case] == pytest.approx(math.exp(-1), abs=0.02)
    assert conflicts["regular", "learned"] < 0.2


def test_they_are_pickled():
    keys = key_set("osm", 3000)
    for made in (BloomFilter.build(keys), LearnedBloomFilter.build(keys, elsewhere(keys, 2000), ranges=8),
                 HashIndex.build(keys, hash="learned")):  # fmt: skip
        again = pickle.loads(pickle.dumps(made))
        asked = np.concatenate([keys, elsewhere(keys, 5000)])
        assert np.array_equal(again.contains(asked), made.contains(asked)) and again.size_bytes == made.size_bytes


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: BloomFilter.build([1], bits_per_key=0), SettingError, "bits_per_key"),
        (lambda: BloomFilter.build([1.0, float("nan")]), KeyValueError, "NaN"),
        (lambda: BloomFilter.build([[1, 2]]), KeyValueError, "dimensions"),
        (lambda: BloomFilter.build(["text"]), KeyTypeError, "not supported"),
        (lambda: BloomFilter.build([1]).contains("text"), KeyTypeError, "not supported"),
        (lambda: LearnedBloomFilter.build([1], [2], way="fancy"), UnknownNameError, "way"),
        (lambda: LearnedBloomFilter.build([1], [2], ranges=1), SettingError, "ranges"),
        (lambda: LearnedBloomFilter.build([1, 2], [1, 2]), SettingError, "no query"),
        (lambda: LearnedBloomFilter.build(range(100), range(200, 900), ranges=100), SettingError, "fewer ranges"),
        (lambda: HashIndex.build([1], hash="perfect"), UnknownNameError, "hash"),
        (lambda: HashIndex.build([1], slots_per_key=0.01), SettingError, "slots_per_key"),
        (lambda: HashIndex.build([2, 1]), KeyValueError, "sorted"),
        (lambda: HashIndex.build([1]).find([float("nan")]), KeyValueError, "NaN"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(build, error, words):
    with pytest.raises(error, match=words):
        build()
