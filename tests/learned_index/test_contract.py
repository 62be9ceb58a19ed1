"""The lookup contract: numpy.searchsorted on the exact keys, for every structure, type and pitfall."""

import bisect
import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysgym.core.errors import KeyTypeError, KeyValueError, SettingError, UnknownNameError
from sysgym.learned_index import RMI, BinarySearch, BPlusTree, InterpolatedTree, PGMIndex, RadixSpline
from tests.learned_index.structures import STRUCTURES, build

LARGEST = 2**64 - 1
MODELS = pytest.mark.parametrize("name", STRUCTURES)


def around(keys):
    """The keys, their neighbours and the ends of an unsigned type."""
    one = keys.dtype.type(1)
    limits = np.iinfo(keys.dtype)
    return np.concatenate([keys, keys + one, keys - one, np.array([limits.min, limits.max], dtype=keys.dtype)])


def agrees(index, keys, queries):
    for side in ("left", "right"):
        found = index.search(queries, side)
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, np.searchsorted(keys, queries, side))
    np.testing.assert_array_equal(index.contains(queries), np.isin(queries, keys))
    for query in queries[:: max(1, len(queries) // 20)]:
        assert index.search(query) == np.searchsorted(keys, query)
        assert index.search(query, "right") == np.searchsorted(keys, query, "right")
    return True


def uint64(values):
    return np.array(sorted(values), dtype=np.uint64)


def draw(seed=0):
    return np.random.default_rng(seed)


PITFALLS = {
    "dense_from_2_to_53": lambda: np.arange(2**53, 2**53 + 3000, dtype=np.uint64),
    "every_third_from_2_to_60": lambda: np.uint64(2**60) + 3 * np.arange(3000, dtype=np.uint64),
    "every_third_from_2_to_63": lambda: np.uint64(2**63) + 3 * np.arange(3000, dtype=np.uint64),
    "all_equal": lambda: np.full(1000, 12345, dtype=np.uint64),
    "all_equal_to_the_largest": lambda: np.full(1000, LARGEST, dtype=np.uint64),
    "one_key": lambda: uint64([7]),
    "one_key_the_smallest": lambda: uint64([0]),
    "one_key_the_largest": lambda: uint64([LARGEST]),
    "no_key": lambda: uint64([]),
    "two_keys_at_the_ends": lambda: uint64([0, LARGEST]),
    "two_hundred_duplicates_a_key": lambda: np.sort(np.repeat(draw().integers(0, 2**50, 30, dtype=np.uint64), 200)),
    "draws_of_few_values": lambda: np.sort(draw().choice(draw(1).integers(0, 2**40, 100, dtype=np.uint64), 5000)),
    "the_twenty_largest_behind_2_to_40": lambda: uint64(
        [*draw().integers(0, 2**40, 4000).tolist(), *range(LARGEST - 19, LARGEST + 1)]
    ),
    "uniform_64_bit": lambda: np.sort(draw().integers(0, LARGEST, 5000, dtype=np.uint64, endpoint=True)),
    "far_clusters": lambda: np.sort(
        (draw().integers(0, 256, 5000, dtype=np.uint64) << np.uint64(56))
        + draw(1).integers(0, 3000, 5000, dtype=np.uint64)
    ),
    "shorter_than_a_block": lambda: uint64(range(3, 48, 3)),
    "exactly_a_block": lambda: uint64(range(3, 51, 3)),
    "one_more_than_a_block": lambda: uint64(range(3, 54, 3)),
    "largest_at_a_block_border": lambda: uint64([*range(16), *[LARGEST] * 17]),
    "a_run_over_many_blocks": lambda: uint64([*range(100), *[500] * 1000, *range(501, 600)]),
}


@MODELS
@pytest.mark.parametrize("pitfall", PITFALLS)
def test_pitfall(name, pitfall):
    keys = PITFALLS[pitfall]()
    queries = np.concatenate([around(keys), draw(2).integers(0, LARGEST, 500, dtype=np.uint64)])
    assert agrees(build(name, keys), keys, queries)


@MODELS
@pytest.mark.parametrize("dtype", ["i8", "f8", "i4", "u4", "f4"])
def test_types(name, dtype):
    generator = draw(3)
    if dtype[0] == "f":
        keys = np.sort(np.ldexp(generator.normal(size=2000), generator.integers(-120, 120, 2000)).astype(dtype))
        keys[:2], keys[-2:] = -np.inf, np.inf
        keys[1000] = 0.0
        keys.sort()
        queries = np.concatenate(
            [keys, np.nextafter(keys, np.inf), np.nextafter(keys, -np.inf), np.array([0.0, -0.0], dtype)]
        )
    else:
        limits = np.iinfo(dtype)
        keys = np.sort(generator.integers(limits.min, limits.max, 2000, dtype=dtype, endpoint=True))
        queries = around(keys)
    assert agrees(build(name, keys), keys, queries)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "f2"])
@pytest.mark.parametrize("name", ["btree", "pgm_1"])
def test_narrow_types(name, dtype):
    keys = np.sort(draw().integers(-50 if dtype != "u1" and dtype != "u2" else 0, 120, 700).astype(dtype))
    queries = np.arange(0 if dtype[0] == "u" else -128, 127).astype(dtype)
    assert agrees(build(name, keys), keys, queries)


def test_queries_above_the_largest_narrow_float_lie_behind_all_keys_without_a_warning():
    index = BinarySearch.build(np.float16([1.0, 65504.0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert index.search([65504.0, 65510.0, 1e300, np.inf]).tolist() == [1, 2, 2, 2]


@pytest.mark.parametrize("name", ["binary", "btree", "pgm_1", "spline_2", "interpolated"])
def test_times_and_byte_strings(name):
    times = np.sort(draw().integers(0, 10**9, 1000)).astype("M8[s]")
    assert agrees(build(name, times), times, np.concatenate([times, times + np.timedelta64(1, "s")]))
    for width in (3, 8):
        words = np.sort(draw().integers(97, 100, (600, width), dtype=np.uint8).view(f"S{width}").ravel())
        longer = np.char.add(words[:50], b"x").astype(f"S{width + 1}")
        queries = np.concatenate([words.astype(f"S{width + 1}"), longer, np.array([b"", b"zzzz"], f"S{width + 1}")])
        assert agrees(build(name, words), words, queries)


floats = st.floats(allow_nan=False, width=64)
integers = st.integers(-(2**63), LARGEST) | st.sampled_from([0, 1, -1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, LARGEST])


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["i8", "u8", "f8", "f4", "i4"]),
    st.lists(integers | floats, max_size=60),
    st.lists(integers | floats | st.integers(-(10**400), 10**400), min_size=1, max_size=20),
    st.sampled_from(["binary", "btree", "pgm_1"]),
)
def test_mixed_types_are_exact(dtype, keys, queries, name):
    kind = np.dtype(dtype)
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            array = np.array([float(k) for k in keys], dtype=np.float64).astype(kind)
    else:
        limits = np.iinfo(kind)
        array = np.array([int(k) for k in keys if math.isfinite(k) and limits.min <= k <= limits.max], dtype=kind)
    array.sort()
    exact = array.tolist()
    index = build(name, array)
    for query in queries:
        assert index.search(query) == bisect.bisect_left(exact, query)
        assert index.search(query, "right") == bisect.bisect_right(exact, query)
        assert index.contains(query) == (query in exact)
    typed = [q for q in queries if isinstance(q, int) and 0 <= q <= LARGEST]
    assert index.search(np.array(typed, dtype=np.uint64)).tolist() == [bisect.bisect_left(exact, q) for q in typed]
    typed = [q for q in queries if isinstance(q, float)]
    assert index.search(np.array(typed), "right").tolist() == [bisect.bisect_right(exact, q) for q in typed]


def test_uint64_keys_near_2_to_60_and_int64_queries():
    """numpy takes both for floats here, and errs on most."""
    keys = np.uint64(2**60) + 3 * np.arange(1000, dtype=np.uint64)
    assert BPlusTree.build(keys).search(keys.astype(np.int64)).tolist() == list(range(1000))


@MODELS
def test_fuzz(name):
    generator = draw(11)
    for _ in range(6):
        shape = generator.integers(1, 64)
        keys = np.sort(generator.integers(0, 2**shape, generator.integers(1, 6000), dtype=np.uint64))
        queries = np.concatenate([around(keys), generator.integers(0, 2**shape, 3000, dtype=np.uint64)])
        index = build(name, keys)
        index._check()
        for side in ("left", "right"):
            np.testing.assert_array_equal(index.search(queries, side), np.searchsorted(keys, queries, side))


@MODELS
def test_shapes_layouts_out_and_threads(name):
    keys = np.sort(draw().integers(0, 2**40, 3000, dtype=np.uint64))
    index = build(name, keys)
    square = draw(1).integers(0, 2**40, (200, 400), dtype=np.uint64)
    answer = np.searchsorted(keys, square)
    for queries in (square, np.asfortranarray(square), square.astype(">u8")):
        np.testing.assert_array_equal(index.search(queries), answer)
    np.testing.assert_array_equal(index.search(square[::2, ::3]), answer[::2, ::3])
    np.testing.assert_array_equal(index.search(square, threads=2), answer)
    frozen = square.copy()
    frozen.flags.writeable = False
    out = np.empty(square.shape, dtype=np.int64)
    assert index.search(frozen, out=out) is out and (out == answer).all()
    strided = np.zeros((200, 800), dtype=np.int64)
    index.search(square, out=strided[:, ::2])
    assert (strided[:, ::2] == answer).all() and not strided[:, 1::2].any()
    assert index.search(square[0, 0, np.newaxis].reshape(())).shape == () and index.search(square[:0]).shape == (0, 400)
    assert type(index.search(int(keys[5]))) is int and type(index.search(keys[5])) is int


def test_ranges_counts_and_find():
    index = BPlusTree.build([1, 3, 3, 3, 9])
    assert index.range(3, 9) == (1, 4) and index.range(3, 9, closed=True) == (1, 5)
    assert index.range(9, 3) == (4, 4)
    starts, stops = index.range(np.array([0, 9]), np.array([4, 3]))
    assert starts.tolist() == [0, 4] and stops.tolist() == [4, 4]
    assert index.count(3) == 3 and index.count(np.array([0, 1, 3])).tolist() == [0, 1, 3]
    assert index.find(3) == 1 and index.find(4) == -1 and index.find(np.array([9, 10])).tolist() == [4, -1]
    assert (
        index.find(3.5) == -1
        and not index.contains(2.5)
        and index.contains(9.0)
        and index.contains([1, 2]).tolist() == [True, False]
    )


def test_keys_are_not_copied_and_sorting_is_on_demand():
    keys = np.arange(100, dtype=np.int64)
    assert np.shares_memory(BPlusTree.build(keys).keys, keys)
    assert BPlusTree.build(keys[::-1], sort=True).search(7) == 7
    assert BPlusTree.build(np.array([-1.0, 0.0, -0.0, 0.0, 2.0])).range(-0.0, 0.0, closed=True) == (1, 4)


def test_a_window_that_misses_falls_back_and_is_counted():
    """Clamped errors stand for a model that is wrong."""
    keys = np.sort(
        draw().integers(0, 2**60, 50_000, dtype=np.uint64) >> draw(1).integers(0, 50, 50_000, dtype=np.uint64)
    )
    index = RMI.build(keys, root="linear", leaves=1)
    index._leaves["low"] = index._leaves["high"] = 0
    np.testing.assert_array_equal(index.search(keys), np.searchsorted(keys, keys))
    assert index.fallbacks > 10_000
    assert RMI.build(keys).search(keys[::-1])[0] == np.searchsorted(keys, keys[-1])


def test_epsilon_bounds_the_pgm_index_and_segments_are_few():
    keys = np.sort(draw().integers(0, 2**62, 60_000, dtype=np.uint64))
    counts = []
    for epsilon in (4, 16, 64):
        leaves = PGMIndex.build(keys, epsilon=epsilon)._leaves
        assert int((leaves["high"].astype(int) - leaves["low"]).max()) <= 2 * epsilon + 3
        assert (leaves["count"][:-1] >= 2 * epsilon).all()
        counts.append(len(leaves))
    assert counts[0] > 8 * counts[1] > 64 * counts[2]


def test_outliers_spoil_a_linear_root_but_not_the_robust_ones():
    keys = np.append(
        np.sort(draw().integers(0, 2**40, 50_000, dtype=np.uint64)), np.uint64(2**63) + np.arange(2, dtype=np.uint64)
    )
    error = {
        root: RMI.build(keys, root=root, leaves=256).mean_log2_error
        for root in ("linear_spline", "robust_linear", "histogram")
    }
    assert error["linear_spline"] > error["robust_linear"] + 2 > error["histogram"]


BAD_KEYS = {
    "unsorted": ([3, 1, 2], KeyValueError, "not sorted: 3 before 1 at position 0"),
    "nan": ([1.0, math.nan], KeyValueError, "NaN"),
    "only_nan": ([math.nan], KeyValueError, "NaN"),
    "nat": (np.array(["2020-01-01", "NaT"], dtype="M8[D]"), KeyValueError, "NaT"),
    "objects": (np.array([1, "a"], dtype=object), KeyTypeError, "object"),
    "text": (["a", "b"], KeyTypeError, "<U1"),
    "long_bytes": ([b"123456789"], KeyTypeError, "S9"),
    "complex": ([1j], KeyTypeError, "complex"),
    "booleans": ([False, True], KeyTypeError, "bool"),
    "two_dimensional": ([[1, 2], [3, 4]], KeyValueError, "2 dimensions"),
    "scalar": (5, KeyValueError, "0 dimensions"),
    "ragged": ([[1], [2, 3]], KeyTypeError, "no array"),
    "no_common_type": ([-1, 2**63 + 1], KeyTypeError, "no 64-bit type"),
    "too_large": ([2**70], KeyTypeError, "no 64-bit type"),
}


@pytest.mark.parametrize("case", BAD_KEYS)
def test_bad_keys_are_refused(case):
    keys, error, words = BAD_KEYS[case]
    for structure in (BinarySearch, PGMIndex):
        with pytest.raises(error, match=words):
            structure.build(keys)


def test_bad_queries_are_refused():
    index = BPlusTree.build([1, 2, 3])
    assert issubclass(KeyValueError, ValueError) and issubclass(KeyTypeError, TypeError)
    for queries, error in ((math.nan, KeyValueError), ([1.0, math.nan], KeyValueError), ("a", KeyTypeError),
                           (b"a", KeyTypeError), (None, KeyTypeError), (True, KeyTypeError),
                           (np.datetime64("2020"), KeyTypeError)):  # fmt: skip
        with pytest.raises(error):
            index.search(queries)
    with pytest.raises(UnknownNameError, match="side"):
        index.search(1, side="centre")
    with pytest.raises(UnknownNameError, match="side"):
        index.search(10**30, side="centre")
    with pytest.raises(KeyValueError, match="out"):
        index.search([1, 2], out=np.empty(3, dtype=np.int64))
    with pytest.raises(KeyTypeError, match="exactly"):
        BPlusTree.build(np.array(["2020-01-01"], dtype="M8[D]")).search(np.datetime64("2020-01-01T12:00"))


@pytest.mark.parametrize(
    ("structure", "options", "words"),
    [
        (PGMIndex, {"epsilon": 0}, "epsilon is 0"),
        (PGMIndex, {"epsilon": 1.5}, "epsilon is 1.5"),
        (RadixSpline, {"radix_bits": 40}, "radix_bits is 40"),
        (RMI, {"leaves": 0}, "leaves is 0"),
        (RMI, {"root": "lineer"}, "did you mean linear"),
        (RMI, {"leaf": "quartic"}, "unknown leaf"),
        (BPlusTree, {"stride": 17}, "stride is 17"),
        (InterpolatedTree, {"stride": 16}, "stride is 16"),
        (BPlusTree, {"fanout": 3}, "fanout"),
    ],
)
def test_bad_options_are_refused(structure, options, words):
    with pytest.raises((SettingError, UnknownNameError), match=words):
        structure.build([1, 2, 3], **options)


def test_a_saved_index_opens_where_its_structure_was_never_imported(tmp_path):
    path = tmp_path / "keys.index"
    PGMIndex.build(np.arange(1000, dtype=np.uint64)).save(path)
    words = f"from sysgym.learned_index import SortedIndex; print(len(SortedIndex.load({str(path)!r})))"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout == "1000\n"
