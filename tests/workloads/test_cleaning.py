"""Cleaning rules on made-up logs: what each repair finds, in which order, how often, and that nothing is silent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysgym.core.errors import InputFileError, UnknownNameError
from sysgym.workloads import CLEANING_RULES, Repair, read_trace, write_swf
from tests.workloads.made_logs import swf_row, write_log

SPOILT = [
    swf_row(1, submit=50),
    swf_row(2, submit=40),
    swf_row(3, submit=-5),
    swf_row(4, submit=60, run=0),
    swf_row(5, submit=60, run=-1),
    swf_row(6, submit=60, requested=-1, allocated=3),
    swf_row(7, submit=60, requested=-1, allocated=-1),
    swf_row(8, submit=60, requested=9),
    swf_row(9, submit=60, requested=2, allocated=9),
    swf_row(10, submit=60, estimate=-1),
    swf_row(11, submit=60, run=30, estimate=25),
    swf_row(2, submit=70, run=99),
]


def test_default_repairs(tmp_path):
    workload = read_trace(write_log(tmp_path / "log.swf", SPOILT))
    assert workload.repairs == (
        Repair("drop_repeated_job_id", 1, True, (13,)),
        Repair("fill_processors", 1, False, (7,)),
        Repair("drop_negative_submit_time", 1, True, (4,)),
        Repair("drop_nonpositive_run_time", 2, True, (5, 6)),
        Repair("drop_nonpositive_processors", 1, True, (8,)),
        Repair("drop_oversized", 1, True, (9,)),
        Repair("fill_requested_time", 1, False, (11,)),
        Repair("raise_requested_time", 1, False, (12,)),
        Repair("sort_by_submit_and_job", 1, False, (3,)),
    )
    assert workload.job_id.tolist() == [2, 1, 6, 9, 10, 11]
    assert workload.processors.tolist() == [1, 1, 3, 2, 1, 1]
    assert workload.run_time.tolist() == [10, 10, 10, 10, 10, 30]
    assert workload.requested_time.tolist() == [20, 20, 20, 20, 10, 30]


def test_sc15_repairs(tmp_path):
    workload = read_trace(write_log(tmp_path / "log.swf", SPOILT), clean="sc15")
    assert workload.repairs == (
        Repair("drop_repeated_job_id", 1, True, (13,)),
        Repair("drop_oversized", 2, True, (9, 10)),
        Repair("fill_processors", 1, False, (7,)),
        Repair("drop_nonpositive_processors", 1, True, (8,)),
        Repair("drop_nonpositive_run_time", 2, True, (5, 6)),
        Repair("drop_nonpositive_requested_time", 1, True, (11,)),
        Repair("cut_run_time", 1, False, (12,)),
        Repair("drop_negative_submit_time", 1, True, (4,)),
        Repair("sort_by_submit_and_job", 1, False, (3,)),
    )
    assert workload.job_id.tolist() == [2, 1, 6, 11]
    assert workload.run_time.tolist() == [10, 10, 10, 25]
    assert workload.requested_time.tolist() == [20, 20, 20, 25]


def test_a_repair_names_its_first_five_lines(tmp_path):
    path = write_log(tmp_path / "log.swf", [swf_row(job, run=0) for job in range(1, 8)] + [swf_row(9)])
    assert read_trace(path).repairs == (Repair("drop_nonpositive_run_time", 7, True, (2, 3, 4, 5, 6)),)


def test_ties_are_sorted_by_job_number_and_stably(tmp_path):
    path = write_log(tmp_path / "log.swf", [swf_row(job, submit=5) for job in (3, 1, 2)] + [swf_row(9, submit=0)])
    workload = read_trace(path)
    assert workload.job_id.tolist() == [9, 1, 2, 3]
    assert workload.repairs == (Repair("sort_by_submit_and_job", 2, False, (3, 5)),)


@pytest.mark.parametrize(
    ("row", "column", "what"),
    [
        (swf_row(1, submit=9), "job_id", "stood before"),
        (swf_row(2, submit=-1), "submit_time", "before the log's origin"),
        (swf_row(2, run=-7), "run_time", "negative"),
        (swf_row(2, estimate=-2), "requested_time", "negative"),
        (swf_row(2, requested=9), "processors", "larger than the machine"),
        (swf_row(2, requested=0, allocated=-1), "processors", "neither requested nor allocated"),
        (swf_row(2, submit=0), "submit_time", "before that of the row above"),
    ],
)
def test_none_refuses_what_the_others_repair(tmp_path, row, column, what):
    path = write_log(tmp_path / "log.swf", [swf_row(1), row])
    with pytest.raises(InputFileError, match=what) as error:
        read_trace(path, clean="none")
    assert (error.value.line, error.value.column) == (3, column)
    assert "clean='default'" in str(error.value)
    assert len(read_trace(path)) >= 1


def test_none_takes_values_as_they_stand(tmp_path):
    rows = [
        swf_row(5, submit=3, run=0),
        swf_row(4, submit=3, run=-1, estimate=-1),
        swf_row(6, run=30, estimate=25, requested=0, allocated=4),
    ]
    workload = read_trace(write_log(tmp_path / "log.swf", rows), clean="none")
    assert workload.job_id.tolist() == [5, 4, 6]
    np.testing.assert_array_equal(workload.run_time, [0, np.nan, 30])
    np.testing.assert_array_equal(workload.requested_time, [20, np.nan, 25])
    assert workload.processors.tolist() == [1, 1, 4]
    assert workload.repairs == (Repair("fill_processors", 1, False, (4,)),)


@pytest.mark.parametrize(
    ("source", "processors", "filled"),
    [("requested", [2, 4, 5, 3], 1), (None, [2, 4, 5, 3], 1), ("allocated", [3, 4, 5, 1], 1), ("max", [3, 4, 5, 3], 0)],
)
@pytest.mark.parametrize("clean", ["default", "sc15", "none"])
def test_processors_from(tmp_path, source, processors, filled, clean):
    counts = [(2, 3), (-1, 4), (5, -1), (3, 1)]
    rows = [swf_row(job, requested=asked, allocated=got) for job, (asked, got) in enumerate(counts, 1)]
    workload = read_trace(write_log(tmp_path / "log.swf", rows), clean=clean, processors_from=source)
    assert workload.processors.tolist() == processors
    assert sum(repair.count for repair in workload.repairs if repair.rule == "fill_processors") == filled


def test_sc15_refuses_a_log_without_estimates(tmp_path):
    path = write_log(tmp_path / "log.swf", [swf_row(job, estimate=-1) for job in (1, 2, 3)])
    with pytest.raises(InputFileError, match=r"lacks users' estimates.*clean='default'"):
        read_trace(path, clean="sc15")


def test_no_job_left_says_which_rule_dropped_how_many(tmp_path):
    path = write_log(tmp_path / "log.swf", [swf_row(1, run=0), swf_row(2, requested=9), swf_row(3, requested=10)])
    with pytest.raises(
        InputFileError, match=r"no job of 3 .*drop_nonpositive_run_time dropped 1, drop_oversized dropped 2"
    ):
        read_trace(path)


def test_unknown_names_offer_the_nearest(tmp_path):
    path = write_log(tmp_path / "log.swf", [swf_row(1)])
    with pytest.raises(UnknownNameError, match="cleaning rule 'sc51'; did you mean sc15"):
        read_trace(path, clean="sc51")
    with pytest.raises(UnknownNameError, match="'alocated'; did you mean allocated"):
        read_trace(path, processors_from="alocated")


NAMES = ("job", "submit", "run", "requested", "allocated", "estimate")
TIMES, COUNTS = st.integers(-1, 40), st.integers(-1, 10)
ROWS = st.lists(
    st.tuples(st.integers(1, 20), st.integers(-2, 30), TIMES, COUNTS, COUNTS, TIMES), min_size=1, max_size=15
)


def oracle(rows: list[tuple[int, ...]], clean: str, size: int) -> list[tuple[int, ...]]:
    """Both rules as the specification words them, one job at a time."""
    kept, seen = [], set()
    for job, submit, run, requested, allocated, estimate in rows:
        if job in seen:
            continue
        seen.add(job)
        if clean == "sc15":
            requested_filled = requested if requested > 0 else allocated
            if max(requested, allocated) > size or requested_filled <= 0 or run <= 0 or estimate <= 0 or submit < 0:
                continue
            kept.append((submit, job, min(run, estimate), estimate, requested_filled))
        else:
            processors = requested if requested > 0 else allocated
            if submit < 0 or run <= 0 or not 0 < processors <= size:
                continue
            kept.append((submit, job, run, max(run, estimate), processors))
    return sorted(kept)


@settings(max_examples=100, deadline=None)
@given(rows=ROWS, clean=st.sampled_from(["default", "sc15"]))
def test_cleaning_equals_the_oracle_and_is_idempotent(tmp_path_factory, rows, clean):
    folder = tmp_path_factory.mktemp("clean")
    path = write_log(folder / "log.swf", [swf_row(**dict(zip(NAMES, row, strict=True))) for row in rows])
    expected = oracle(rows, clean, 8)
    if not expected:
        with pytest.raises(InputFileError, match="no job of"):
            read_trace(path, clean=clean)
        return
    workload = read_trace(path, clean=clean)
    columns = (workload.submit_time, workload.job_id, workload.run_time, workload.requested_time, workload.processors)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected
    assert len(rows) - len(workload) == sum(repair.count for repair in workload.repairs if repair.dropped)
    write_swf(workload, folder / "again.swf")
    again = read_trace(folder / "again.swf", clean=clean)
    assert (again.sha256(), again.repairs) == (workload.sha256(), ())


def test_every_rule_travels_in_the_provenance(tmp_path):
    path = write_log(tmp_path / "log.swf", [swf_row(1)])
    assert {read_trace(path, clean=rule).provenance.clean for rule in CLEANING_RULES} == {"default", "sc15", "none"}
