"""Rows of `sysgym index bench` on the leaderboard."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import sortedcontainers

from sysgym.bench.index_records import append_rows
from sysgym.bench.indexes import LEARNED, compare
from sysgym.bench.leaderboard import leaderboard
from sysgym.bench.records import read_records
from sysgym.learned_index import BinarySearch


def test_rows_become_a_table_of_the_leaderboard(tmp_path):
    keys, file = np.arange(0, 3000, 3, dtype=np.uint64), tmp_path / "records.jsonl"
    rows, _ = compare("thirds", keys, queries=200, rounds=3)
    batched = [row for row in rows if row.batch_ns is not None]
    assert append_rows(file, rows, keys, 200) == len(batched) and all(len(row.rounds_ns) == 3 for row in batched)
    records = read_records(file)
    learned = {r.policy.name for r in records if r.policy.kind == "learned"}
    assert learned == set(LEARNED) and "BPlusTree" not in learned and "RadixSpline" in learned
    assert records[0].played.size == 1000 and records[0].environment.direction == "min"
    (table,) = leaderboard(records)
    assert table.domain == "Learned indexes"
    assert {row.policy for row in table.rows} == {row.name for row in batched}
    append_rows(file, rows, keys, 200)
    assert len(leaderboard(read_records(file))[0].rows) == len(batched)


def test_rivals_that_are_installed_take_part(monkeypatch):
    """pygm 1.0 names its class SortedList; a stand-in, since it is not among our dependencies."""
    stand_in = SimpleNamespace(SortedList=lambda keys: sortedcontainers.SortedList(keys.tolist()))
    monkeypatch.setitem(sys.modules, "pygm", stand_in)
    rows, left_out = compare("thirds", np.arange(0, 3000, 3, dtype=np.uint64), queries=50, rounds=1)
    assert "pygm" not in str(left_out) and next(row for row in rows if row.name == "pygm").single_ns > 0


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (np.repeat(np.arange(50, dtype=np.uint64), 3), "keys repeat"),
        (np.linspace(0, 1, 100).astype(np.float16), "float16"),
        (np.arange(100).astype("datetime64[s]"), "takes numbers"),
        (np.arange(100).astype(">u8"), "nothing"),
        (np.array([b"", b"a", b"ab", b"b"] * 1), "takes numbers"),
        (np.arange(-50, 50), "integers from 0"),
    ],
    ids=lambda value: str(value.dtype) if isinstance(value, np.ndarray) else "",
)
def test_rivals_that_cannot_answer_on_such_keys_are_left_out_with_the_reason(monkeypatch, keys, reason):
    from_numpy = SimpleNamespace(SortedList=lambda keys: sortedcontainers.SortedList(keys.tolist()))
    tree = SimpleNamespace(QQBTree=dict)
    monkeypatch.setitem(sys.modules, "pygm", from_numpy)
    monkeypatch.setitem(sys.modules, "BTrees.QQBTree", tree)
    few = {"BinarySearch": (BinarySearch, {})}
    monkeypatch.setattr("sysgym.bench.indexes.STRUCTURES", few)
    rows, left_out = compare("mine", keys, queries=20, rounds=1)
    assert {"BinarySearch", "numpy.searchsorted", "bisect on a list"} <= {row.name for row in rows}
    assert (reason in "; ".join(left_out)) or (reason, left_out) == ("nothing", [])
