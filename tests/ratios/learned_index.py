"""Learned indexes beside their rivals: ratios within one run, on every key set, answers verified before they are timed.

Times are process CPU time, so that other work on the machine disturbs them less; gaps below 15 % are ties. There are
20,000,000 keys, or as many as the environment variable SYSGYM_BENCH_KEYS says.
"""

import importlib
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from sysgym.learned_index import BPlusTree, CompressedTree, GappedIndex, InterpolatedTree, PGMIndex
from sysgym.learned_index.keysets import KEY_SETS, key_set, present_queries

KEYS = int(os.environ.get("SYSGYM_BENCH_KEYS", "20000000"))
QUERIES = 1_000_000
SINGLES = 20_000


def nanoseconds(work, amount, rounds=5):
    """Median CPU time an item."""
    work()
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return 1e9 * statistics.median(times) / amount


def scatter(keys, queries):
    """The trick with which numpy users sort first."""
    order = np.argsort(queries)
    positions = np.empty(len(queries), dtype=np.int64)
    positions[order] = np.searchsorted(keys, queries[order])
    return positions


def key_set_rows(name, keys):
    """(what, ours in ns, rival in ns, ratio, goal) on one key set."""
    queries = present_queries(keys, QUERIES)
    ordered = np.sort(queries)
    BPlusTree.build(keys[:1000]).search(queries[:10])
    begin = time.process_time()
    fast = BPlusTree.build(keys)
    build = 1e9 * (time.process_time() - begin) / len(keys)
    small = [InterpolatedTree.build(keys), CompressedTree.build(keys), PGMIndex.build(keys, epsilon=64)]
    small = [index for index in small if index.size_bytes <= 0.1 * len(keys)]
    truth = np.searchsorted(keys, queries)
    assert all(np.array_equal(index.search(queries), truth) for index in (fast, *small))
    ours = nanoseconds(lambda: fast.search(queries), QUERIES)
    plain = nanoseconds(lambda: np.searchsorted(keys, queries), QUERIES, 1)
    trick = nanoseconds(lambda: scatter(keys, queries), QUERIES, 3)
    ours_sorted = nanoseconds(lambda: fast.search(ordered), QUERIES)
    plain_sorted = nanoseconds(lambda: np.searchsorted(keys, ordered), QUERIES, 3)
    compact, least = min((nanoseconds(lambda i=i: i.search(queries), QUERIES, 3), i) for i in small)
    words, scalars = queries[:SINGLES].tolist(), list(queries[:SINGLES])
    single = nanoseconds(lambda: [fast.search(query) for query in words], SINGLES, 3)
    call = nanoseconds(lambda: [keys.searchsorted(query) for query in scalars], SINGLES, 3)
    yield f"{name}: batch, BPlusTree beside numpy.searchsorted", ours, plain, plain / ours, 10
    yield f"{name}: batch, BPlusTree beside argsort + searchsorted + scatter", ours, trick, trick / ours, 1
    yield f"{name}: sorted batch beside numpy.searchsorted", ours_sorted, plain_sorted, plain_sorted / ours_sorted, 3
    label = f"{type(least).__name__}, {least.size_bytes / len(keys):.3f} bytes a key"
    yield f"{name}: fast mode beside {label}", compact, ours, ours / compact, 1 / 1.5
    yield f"{name}: single call beside ndarray.searchsorted", single, call, call / single, 1
    yield f"{name}: build, a key, beside 15 ns", build, 15.0, 15.0 / build, 1


def other_rows(keys):
    """Opening, ranges and updates, on one key set."""
    fast = BPlusTree.build(keys)
    queries = present_queries(keys, QUERIES)
    with tempfile.TemporaryDirectory() as folder:
        fast.save(Path(folder) / "index")
        opening = nanoseconds(lambda: BPlusTree.load(Path(folder) / "index"), 1)
    yield "open a saved index, ns, beside 5 ms", opening, 5e6, 5e6 / opening, 1
    words = queries[:2000].tolist()

    def select(query):
        start = fast.search(query)
        return keys[start : start + 100]

    ours = nanoseconds(lambda: [select(query) for query in words], len(words), 3)
    try:
        tree = importlib.import_module("BTrees.QQBTree").QQBTree([(key, 0) for key in keys[:2_000_000].tolist()])
    except ImportError:
        yield "range of 100 (BTrees is not installed)", ours, None, None, 4
    else:
        asked = present_queries(keys[: min(len(keys), 2_000_000) - 100], 2000).tolist()
        last = {query: int(keys[fast.search(query) + 99]) for query in asked}
        theirs = nanoseconds(lambda: [list(tree.keys(query, last[query])) for query in asked], len(asked), 3)
        yield "range of 100 beside BTrees of 2,000,000 keys", ours, theirs, theirs / ours, 4
    generator = np.random.default_rng(1)
    new = generator.integers(0, 1 << 63, QUERIES, dtype=np.uint64)
    GappedIndex.build(keys[:10_000]).insert(new[:1000])
    index = GappedIndex.build(keys)
    begin = time.process_time()
    index.insert(new)
    insert = 1e9 * (time.process_time() - begin) / len(new)
    yield "GappedIndex, batched insert beside 300 ns", insert, 300.0, 300.0 / insert, 1
    static = nanoseconds(lambda: fast.search(queries), QUERIES)
    rank = nanoseconds(lambda: index.search(queries), QUERIES)
    yield "GappedIndex, lookup beside the static index", rank, static, static / rank, 0.5


def show(rows):
    """Print as they come."""
    for name, ours, rival, ratio, goal in rows:
        beside = "-" if rival is None else f"{rival:12,.1f} {ratio:8.2f} {goal:8.2f}{'' if ratio >= goal else ' !'}"
        print(f"{name:90} {ours:12,.1f} {beside}", flush=True)


def main():
    """Measure and print."""
    print(f"{'':90} {'ours, ns':>12} {'rival, ns':>12} {'ratio':>8} {'goal':>8}")
    for name in KEY_SETS:
        keys = key_set(name, KEYS)
        show(key_set_rows(name, keys))
        if name == "uniform":
            show(other_rows(keys))
    load = os.getloadavg()[0]
    print(f"medians of CPU time of one run, {KEYS:,} keys, batches of {QUERIES:,}, load {load:.1f}")


if __name__ == "__main__":
    main()
