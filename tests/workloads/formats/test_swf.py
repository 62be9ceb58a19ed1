"""The SWF reader and writer: the format's quirks, agreement of both passes, and the round trip."""

from __future__ import annotations

import dataclasses
import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysgym.core.errors import InputFileError, OutputError
from sysgym.workloads import Machine, Workload, poisson_pareto, read_trace, write_swf
from sysgym.workloads.companions import Dependencies
from sysgym.workloads.formats import swf
from sysgym.workloads.trace_file import TraceFile, open_trace
from tests.workloads.made_logs import swf_row, write_log


def assert_same_jobs(left: Workload, right: Workload) -> None:
    for name, column in left.columns().items():
        if name != "source_line":
            np.testing.assert_array_equal(column, right.columns()[name], err_msg=name)
            assert column.dtype == right.columns()[name].dtype


def test_every_field_reaches_its_column(tmp_path):
    row = "7 100 5 60 4 55.5 2048 3 90.5 4096 5 11 12 13 14 15 6 30"
    workload = read_trace(write_log(tmp_path / "log.swf", [row]), clean="none")
    found = {name: column.tolist() for name, column in workload.columns().items()}
    assert found == {
        "job_id": [7], "submit_time": [100.0], "run_time": [60.0], "requested_time": [90.5], "processors": [3],
        "user": [11], "group": [12], "executable": [13], "queue": [14], "partition": [15],
        "requested_memory": [4096.0], "status": [5], "source_line": [2],
    }  # fmt: skip
    assert workload.machine == Machine(8, "MaxProcs", None)


def test_header_with_continuations_and_repeated_keys(tmp_path):
    header = [
        "; Version: 2.2",
        "; Information: http://www.pdc.kth.se/",
        ";              http://www.cs.huji.ac.il/",
        ";",
        ";\tMaxProcs: 16",
        "; Queue: 0 short",
        "; Queue: 1 long",
        "; Note: filtered by",
        ";       user=4 and (job>=1: 2 removed)",
    ]
    workload = read_trace(write_log(tmp_path / "log.swf", [swf_row(1)], header))
    assert workload.provenance.header == {
        "Version": "2.2",
        "Information": "http://www.pdc.kth.se/\nhttp://www.cs.huji.ac.il/",
        "MaxProcs": "16",
        "Queue": "0 short\n1 long",
        "Note": "filtered by\nuser=4 and (job>=1: 2 removed)",
    }


@pytest.mark.parametrize(
    ("header", "machine"),
    [
        (["; MaxProcs: 64", "; MaxNodes: 16"], Machine(64, "MaxProcs", 16)),
        (["; MaxNodes: 16"], Machine(16, "MaxNodes", 16)),
        (["; MaxProcs: -1", "; MaxNodes: 16"], Machine(16, "MaxNodes", 16)),
        (["; MaxProcs: unknown", "; MaxNodes: 16"], Machine(16, "MaxNodes", 16)),
        (["; MaxProcs: 64 (two racks)"], Machine(64, "MaxProcs", None)),
    ],
)
def test_machine_size_from_the_header(tmp_path, header, machine):
    assert read_trace(write_log(tmp_path / "log.swf", [swf_row(1)], header)).machine == machine


def test_the_caller_names_the_machine(tmp_path):
    workload = read_trace(write_log(tmp_path / "log.swf", [swf_row(1)]), processors=99)
    assert workload.machine == Machine(99, "caller")


def test_blank_lines_comments_tabs_and_line_ends_keep_the_line_numbers(tmp_path):
    rows = [
        swf_row(1),
        "",
        "   ",
        "; a note between the jobs",
        ";",
        swf_row(2).replace(" ", "\t"),
        f"   {swf_row(3)}  ",
    ]
    path = write_log(tmp_path / "log.swf", rows)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    workload = read_trace(path)
    assert workload.job_id.tolist() == [1, 2, 3]
    assert workload.source_line.tolist() == [2, 7, 8]


def test_decimals_anywhere(tmp_path):
    rows = [swf_row(1.0, submit=1.25, run="1e2", cpu=0.5, user=3.0), swf_row(2, submit="+2", run=".5")]
    workload = read_trace(write_log(tmp_path / "log.swf", rows), clean="none")
    assert (workload.submit_time.tolist(), workload.run_time.tolist()) == ([1.25, 2.0], [100.0, 0.5])
    assert workload.job_id.tolist() == [1, 2]


def test_latin_1_header(tmp_path):
    path = tmp_path / "log.swf"
    path.write_bytes("; Acknowledge: Åke\n; MaxProcs: 8\n".encode("latin-1") + swf_row(1).encode())
    assert read_trace(path).provenance.header["Acknowledge"] == "Åke"


def test_gzip_is_recognised_by_content(tmp_path):
    path = tmp_path / "log.txt"
    path.write_bytes(gzip.compress(f"; MaxProcs: 8\n{swf_row(1)}\n".encode()))
    assert len(read_trace(path)) == 1


@pytest.mark.parametrize(
    ("row", "place", "what"),
    [
        (swf_row(2, run="abc"), "line 4, column 4 (run_time)", "'abc' is not a finite number"),
        (swf_row(2, run="nan"), "line 4, column 4 (run_time)", "'nan' is not a finite number"),
        (swf_row(2, estimate="inf"), "line 4, column 9 (requested_time)", "'inf' is not a finite number"),
        (swf_row("17_4"), "line 4, column 1 (job_id)", "'17_4' is not a finite number"),
        (swf_row(2, user="NA"), "line 4, column 12 (user)", "'NA' is not a finite number"),
        (swf_row(2, user="true"), "line 4, column 12 (user)", "'true' is not a finite number"),
        (swf_row(2) + " 1", "line 4", "19 fields, expected the 18"),
        (swf_row(2) + " 1 2 3", "line 4", "21 fields, expected the 18"),
        (swf_row(2)[:-3], "line 4", "17 fields, expected the 18"),
        (swf_row(2) + " ; late", "line 4", "20 fields, expected the 18"),
        (swf_row(2.5), "line 4, column job_id", "2.5 is not a whole number"),
        (swf_row(2, user="1e30"), "line 4, column user", "not a whole number of 64 bits"),
        (swf_row(2, user="9" * 25), "line 4, column user", "not a whole number of 64 bits"),
    ],
)
def test_a_fault_is_named_with_line_and_column(tmp_path, row, place, what):
    path = write_log(tmp_path / "log.swf", [swf_row(1), "", row, swf_row(3)])
    with pytest.raises(InputFileError) as error:
        read_trace(path)
    assert str(error.value).startswith(f"{path}, {place}: ")
    assert what in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("count", [17, 19, 21])
def test_all_rows_of_another_length(tmp_path, count):
    path = write_log(tmp_path / "log.swf", [" ".join(["1"] * count)] * 3)
    with pytest.raises(InputFileError, match=f"line 2: {count} fields, expected the 18"):
        read_trace(path)


def test_a_log_of_nothing_but_a_header(tmp_path):
    with pytest.raises(InputFileError, match="a header and no jobs"):
        read_trace(write_log(tmp_path / "log.swf", []))


NUMBERS = st.one_of(st.integers(-1, 10**6), st.floats(-1e9, 1e9, allow_nan=False), st.integers(-(2**62), 2**62)).map(
    str
)
TABLES = st.lists(st.lists(NUMBERS, min_size=18, max_size=18), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(TABLES, st.sampled_from([" ", "  ", "\t", " \t "]))
def test_the_fast_pass_agrees_with_the_careful_one(table, blank):
    rows = [blank.join(row) for row in table]
    fast = swf._read_fast(rows)
    careful, lines, faults = swf._read_carefully(rows, list(range(len(rows))))
    assert fast is not None and not faults and len(lines) == len(rows)
    for quick, slow in zip(fast, careful, strict=True):
        np.testing.assert_array_equal(np.asarray(quick, dtype=np.float64), slow)


@settings(max_examples=60, deadline=None)
@given(TABLES, st.data())
def test_the_fast_pass_never_accepts_a_spoilt_table(table, data):
    row, place = data.draw(st.integers(0, len(table) - 1)), data.draw(st.integers(0, 17))
    spoil = data.draw(st.sampled_from(["x", "nan", "-inf", "1,5", "", "1 1", "0x1f", '"1"', "None"]))
    table[row][place] = spoil
    file = TraceFile(Path("made"), "\n".join(" ".join(cells) for cells in table).encode(), "")
    with pytest.raises(InputFileError) as error:
        swf.parse(file).refuse_faults(file.path)
    assert error.value.line == row + 1


COLUMN = {
    "submit_time": st.integers(0, 10**6) | st.floats(0, 1e6, allow_subnormal=False),
    "run_time": st.integers(1, 10**5) | st.floats(0.01, 1e5),
    "slack": st.integers(0, 1000),
    "processors": st.integers(1, 64),
    "user": st.integers(-1, 50),
    "queue": st.integers(-1, 5),
    "requested_memory": st.just(-1) | st.integers(1, 10**9) | st.floats(0.5, 1e9),
    "status": st.sampled_from([-1, 0, 1, 5]),
}


@st.composite
def workloads(draw) -> Workload:
    count = draw(st.integers(1, 12))
    columns = {name: draw(st.lists(values, min_size=count, max_size=count)) for name, values in COLUMN.items()}
    columns["submit_time"].sort()
    columns["requested_time"] = np.add(columns["run_time"], columns.pop("slack"))
    columns["job_id"] = np.cumsum(draw(st.lists(st.integers(1, 99), min_size=count, max_size=count)))
    return Workload.from_columns(columns, Machine(64, "MaxProcs", draw(st.none() | st.just(16))), SOURCE)


SOURCE = poisson_pareto(2, 1).provenance


@settings(max_examples=40, deadline=None)
@given(workloads(), st.sampled_from(["default", "sc15", "none"]), st.sampled_from(["log.swf", "log.swf.gz"]))
def test_round_trip(tmp_path_factory, workload, clean, name):
    path = tmp_path_factory.mktemp("round") / name
    write_swf(workload, path)
    again = read_trace(path, clean=clean)
    assert_same_jobs(workload, again)
    assert (again.machine, again.repairs) == (workload.machine, ())
    assert again.sha256() == workload.sha256()


def test_unknown_durations_survive_the_round_trip(tmp_path):
    columns = {"submit_time": [0, 1], "run_time": [np.nan, 5], "requested_time": [7, np.nan], "processors": [1, 2]}
    workload = Workload.from_columns(columns, Machine(4, "MaxProcs"), SOURCE)
    write_swf(workload, tmp_path / "log.swf")
    assert_same_jobs(workload, read_trace(tmp_path / "log.swf", clean="none"))


def test_the_one_job_that_a_job_follows_survives_the_round_trip(tmp_path):
    columns = {"submit_time": range(4), "run_time": [5] * 4, "processors": [1] * 4, "job_id": [7, 8, 9, 10]}
    followed = Dependencies(np.array([10, 8, 9, 9]), np.array([9, 7, 7, 8]), np.array([2.5, 30.0, 0.0, 0.0]))
    workload = Workload.from_columns(columns, Machine(4, "x"), SOURCE, dependencies=followed)
    write_swf(workload, tmp_path / "log.swf")
    found = read_trace(tmp_path / "log.swf").dependencies
    assert [column.tolist() for column in (found.child, found.parent, found.think_time)] == [[8, 10], [7, 9], [30, 2.5]]


def test_the_header_survives_the_round_trip(tmp_path):
    header = {"Version": "2.2", "Note": "first\nsecond", "Information": "https://a.example/\nhttps://b.example/"}
    provenance = dataclasses.replace(SOURCE, header=header | {"user codes": "1 = ann, 2 = bob"})
    workload = Workload.from_columns(
        {"submit_time": [0], "run_time": [1], "processors": [1]}, Machine(4, "x"), provenance
    )
    write_swf(workload, tmp_path / "log.swf")
    found = read_trace(tmp_path / "log.swf").provenance.header
    assert {key: found[key] for key in ("Version", "Information")} == {
        key: header[key] for key in ("Version", "Information")
    }
    assert found["Note"] == "first\nsecond\nuser codes: 1 = ann, 2 = bob"
    assert (found["MaxJobs"], found["MaxProcs"]) == ("1", "4")


def test_writing_is_deterministic_and_atomic(tmp_path):
    workload = poisson_pareto(50, 16, seed=3)
    for name in ("one.swf.gz", "two.swf.gz"):
        write_swf(workload, tmp_path / name)
    assert (tmp_path / "one.swf.gz").read_bytes() == (tmp_path / "two.swf.gz").read_bytes()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError):
        write_swf(workload, tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "one.swf.gz", "two.swf.gz"]


def test_recognition(tmp_path):
    path = tmp_path / "log"
    for text, known in [("; Note: x", True), ("\n 1 2 3", True), ("1", False), ("a b c", False), ("1,2,3", False)]:
        path.write_text(text)
        assert swf.recognises(open_trace(path)) is known, text


def test_preceding_jobs_are_dependencies(tmp_path):
    rows = ["1 0 -1 10 1 -1 -1 1 20 -1 1 1 1 1 1 1 -1 -1", "2 5 3 10 1 -1 -1 1 20 -1 1 1 1 1 1 1 1 30"]
    workload = read_trace(write_log(tmp_path / "log.swf", rows))
    edges = workload.dependencies
    assert (edges.child.tolist(), edges.parent.tolist(), edges.think_time.tolist()) == ([2], [1], [30.0])
    assert [part.tolist() for part in edges.among(workload.job_id)] == [[1], [0]]
    assert np.isnan(workload.extra["wait_time"][0]) and workload.extra["wait_time"][1] == 3
