"""Every format but SWF on files by hand: what reaches which column, and the quirks that a reader must handle."""

from __future__ import annotations

import gzip
import json
import sys

import numpy as np
import pytest

from sysgym.core.errors import InputFileError, SettingError, UnknownNameError, WorkloadError
from sysgym.jobsched import replay
from sysgym.workloads import FORMATS, Repair, read_dag_profiles, read_nodes, read_trace
from sysgym.workloads.log_summary import summary_of
from tests.workloads.formats import made_tables as made


@pytest.fixture
def file(tmp_path):
    """Writes a file and gives its path."""

    def write(content, name="log"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def listed(workload, *names):
    columns = workload.columns() | dict(workload.extra)
    return [np.nan_to_num(columns[name], nan=-9).tolist() for name in names]


@pytest.mark.parametrize("name", made.TEXTS)
@pytest.mark.parametrize("packed", [False, True])
def test_a_text_is_recognised_and_read_whole(file, name, packed):
    text, rows = made.TEXTS[name]
    workload = read_trace(file(gzip.compress(text.encode()) if packed else text))
    assert workload.provenance.format == name and workload.provenance.rows == rows
    windows = read_trace(file(text.replace("\n", "\r\n"), "windows"))
    assert windows.sha256() == workload.sha256()
    assert np.isnan(workload.run_time).all() != FORMATS[name].has_run_times


def test_alea(file):
    path = file(made.ALEA, "wagap.swf")
    workload = read_trace(path, processors=8)
    assert listed(workload, "job_id", "submit_time", "run_time", "processors") == [
        [0, 1],
        [1356996147, 1356996160],
        [50, 20],
        [4, 2],
    ]
    assert workload.dependencies is None
    assert listed(workload, "requested_memory", "wait_time") == [[2.0, -1], [0, 7]]
    assert workload.labels("queue") == ("q_1d", "q_2w")
    assert workload.labels("allocation") == ("7*2,9*2", "3*2")
    assert replay(workload, "fcfs").wait_time.tolist() == [0, 0]


def test_alea_takes_the_machine_of_its_companion_file(file):
    path = file(gzip.compress(made.ALEA.encode()), "wagap.swf.gz")
    assert not read_trace(path).machine.is_known
    file(made.MACHINES, "wagap.swf.machines")
    machine = read_trace(path).machine
    assert (machine.processors, machine.source, machine.nodes) == (2 * 80 + 3 * 12, "node list", 5)
    assert machine.node_list.memory_mib.tolist() == [517018] * 2 + [91832] * 3
    file("0\tzewura\ttwo\t80\t1\t5\n", "wagap.swf.machines")
    with pytest.raises(InputFileError, match=r"line 1: .* is no row of machines"):
        read_trace(path)


def test_openb_pods_and_nodes(file):
    nodes = file(made.NODES, "nodes.csv")
    workload = read_trace(file(made.OPENB), nodes=nodes)
    assert listed(workload, "submit_time", "run_time", "processors", "gpus", "gpu_milli", "wait_time", "status") == [
        [0, 5, 7],
        [498, 40, -9],
        [12, 7, 8],
        [1, 1, 0],
        [1000, 460, 0],
        [2, 5, -9],
        [6, 1, 7],
    ]
    assert workload.labels("gpu_type") == ("", "V100M16|V100M32", "")
    assert workload.labels("name") == ("pod-0", "pod-1", "pod-2")
    table = workload.machine.node_list
    assert (workload.machine.processors, len(table), table.gpu_types) == (32 + 96, 2, ("V100M32",))
    assert table.gpu_type.tolist() == [-1, 1]
    with pytest.raises(WorkloadError, match=r"no run time for 1 of 3 jobs; keep .*with_run_times\(\)"):
        replay(workload)
    known = workload.with_run_times()
    assert known.repairs[-1] == Repair("drop_unknown_run_time", 1, True, (4,))
    assert known.extra["gpus"].tolist() == [1, 1]
    assert len(replay(known).start_time) == 2


def test_openb_lists_with_fewer_columns(file):
    workload = read_trace(file(made.OPENB_FEWER))
    assert listed(workload, "processors", "gpus", "memory_mib", "run_time") == [[12, 7], [1, 2], [-1, -1], [-9, -9]]


def test_gwf(file):
    workload = read_trace(file(made.GWF), processors=4)
    assert listed(workload, "job_id", "submit_time", "run_time", "processors", "workflow") == [
        [7, 1, 2],
        [8, 16, 40],
        [13, 11, 12],
        [1, 2, 3],
        [1, 0, 0],
    ]
    edges = workload.dependencies
    assert (edges.child.tolist(), edges.parent.tolist()) == ([2, 7, 7], [1, 1, 2])
    assert replay(workload, "easy").wait_time.tolist() == [0, 0, 0]
    with pytest.raises(InputFileError, match="line 4, column Dependencies: '2x' is no number of a task"):
        read_trace(file(made.GWF.replace("1 2 ", "1 2x")))


def test_a_list_of_nodes_is_no_log_of_jobs(file):
    path = file(made.NODES)
    with pytest.raises(InputFileError, match=r"is a list of nodes .*nodes="):
        read_trace(path)
    assert read_nodes(path).processors == 128
    with pytest.raises(InputFileError, match="column cpu_milli: 0 is no size"):
        read_nodes(file(made.NODES.replace("32000", "0")))
    with pytest.raises(InputFileError, match="'x' is not a finite number"):
        read_nodes(file(made.NODES.replace("32000", "x")))


def test_dlrm(file):
    workload = read_trace(file(made.DLRM))
    assert listed(workload, "submit_time", "run_time", "processors", "memory_mib", "status", "source_line") == [
        [0, 90, 100],
        [-9, -9, 300],
        [12, 64, 64],
        [122880, 328192, 328192],
        [6, 6, 1],
        [2, 4, 3],
    ]
    assert workload.repairs[0] == Repair("submit_at_origin", 1, False, (2,))
    assert workload.labels("role") == ("HN", "CN", "CN")


def test_philly_without_and_with_its_zone(file):
    path = file(made.PHILLY)
    wall = read_trace(path)
    assert listed(wall, "submit_time", "run_time", "processors") == [[0, 48600, 86400], [2951.5, 10, 66], [2, 8, 1]]
    assert wall.labels("queue") == ("6214e9", "11cb48", "11cb48")
    zoned = read_trace(path, time_zone="America/Los_Angeles")
    assert zoned.submit_time.tolist() == [0, 48600, 86400 + 3600]  # the night of 5 November had an hour more
    assert zoned.repairs[0] == Repair("first_of_repeated_hour", 1, False, (4,))
    assert zoned.provenance.header["UnixStartTime"] == "1509822000"
    assert read_trace(path, time_zone="UTC").submit_time.tolist() == wall.submit_time.tolist()
    spring = made.PHILLY.replace("2017-11-05 01:30", "2018-03-11 02:30")
    assert read_trace(file(spring, "spring"), time_zone="America/Los_Angeles").repairs[0].rule == "skipped_hour"
    with pytest.raises(SettingError, match="time_zone is 'Mars'"):
        read_trace(path, time_zone="Mars")
    with pytest.raises(SettingError, match="leave time_zone out"):
        read_trace(file(made.POLLUX, "pollux"), time_zone="UTC")


def test_philly_with_attempts(file):
    workload = read_trace(file(made.PHILLY_JSON), clean="default")
    assert workload.labels("name") == ("application_2", "application_1")
    assert listed(workload, "submit_time", "run_time", "processors", "wait_time", "attempts", "status") == [
        [0, 699],
        [-9, 74 + 10],
        [2, 3],
        [3600, 30],
        [1, 2],
        [5, 1],
    ]
    assert workload.repairs[0] == Repair("drop_nonpositive_processors", 1, True, workload.repairs[0].lines)


def test_philly_json_names_the_line_of_a_broken_record(file):
    for broken, line in (
        (made.PHILLY_JSON.replace('"attempts": []', '"attempts": 3'), 60),
        (made.PHILLY_JSON[:-40], None),
    ):
        with pytest.raises(InputFileError) as caught:
            read_trace(file(broken))
        assert caught.value.line and "\n" not in str(caught.value)
        if line:
            assert broken.split("\n")[caught.value.line - 1].strip() == "{"


def test_pollux_gavel_and_azure_have_no_run_times(file):
    pollux = read_trace(file(made.POLLUX))
    assert listed(pollux, "submit_time", "processors", "partition", "batch_size") == [
        [7, 29],
        [6, 1],
        [2, 1],
        [2048, 32768],
    ]
    assert pollux.labels("executable") == ("bert", "ncf")
    gavel = read_trace(file(made.GAVEL))
    assert listed(gavel, "submit_time", "gpus", "total_steps") == [[0, 476285], [1, 8], [15486530, 52322471]]
    azure = read_trace(file(made.AZURE))
    np.testing.assert_allclose(azure.submit_time, [0, 4.3145791], atol=1e-12)
    assert listed(azure, "context_tokens", "generated_tokens") == [[374, 396], [44, 109]]
    for workload in (pollux, gavel, azure):
        with pytest.raises(WorkloadError, match=f"format '{workload.provenance.format}'.*has no run times"):
            replay(workload)
        with pytest.raises(WorkloadError, match="has no run times"):
            workload.with_run_times()


def test_tiresias_and_its_relatives(file):
    tiresias = read_trace(file(made.TIRESIAS), processors=8)
    assert listed(tiresias, "job_id", "submit_time", "run_time", "gpus", "total_steps") == [
        [0, 1],
        [0, 30],
        [164, 147],
        [1, 8],
        [606, 133],
    ]
    chronus = read_trace(file(made.CHRONUS))
    assert chronus.provenance.format == "tiresias"
    assert listed(chronus, "job_id", "submit_time", "run_time", "processors") == [
        [11, 12],
        [60, 75],
        [3600, 90],
        [4, 1],
    ]
    assert (chronus.labels("user"), chronus.labels("queue")) == (("u7", "u8"), ("strict", "best"))
    named = read_trace(file(made.CHRONUS.replace(",11,", ",a-11,")))
    assert (named.job_id.tolist(), named.labels("name")) == ([1, 2], ("a-11", "12"))


def test_slurm_leaves_steps_out_and_knows_what_did_not_run(file):
    kept = read_trace(file(made.SLURM), processors=8)
    assert listed(kept, "job_id", "submit_time", "run_time", "requested_time", "processors", "status", "wait_time") == [
        [18, 17],
        [0, 110],
        [60, 93630],
        [60, 172800],
        [1, 4],
        [5, 1],
        [5, 30],
    ]
    assert (kept.labels("user"), kept.labels("executable")) == (("bob", "ann"), ('say "b', "a"))
    assert [(repair.rule, repair.count) for repair in kept.repairs if repair.dropped] == [
        ("drop_nonpositive_run_time", 1)
    ]
    allocated = read_trace(file(made.SLURM), processors=8, processors_from="allocated")
    assert allocated.processors.tolist() == [1, 8]


def test_slurm_in_other_columns_and_with_a_bar_at_the_end(file):
    text = "Submit|JobID|NCPUS|ElapsedRaw|TimelimitRaw|\n2023-03-20T08:00:00|5_[7-9]|2|40|10|\n"
    workload = read_trace(file(text), processors=8, time_zone="Europe/Berlin")
    assert (workload.run_time.tolist(), workload.requested_time.tolist(), workload.labels("name")) == (
        [40],
        [600],
        ("5_[7-9]",),
    )
    assert workload.provenance.header["UnixStartTime"] == "1679295600"
    for column, missing in (("NCPUS", "ReqCPUS or AllocCPUS or NCPUS"), ("ElapsedRaw", "Elapsed or ElapsedRaw or End")):
        with pytest.raises(InputFileError, match=f"no column {missing}; add one"):
            read_trace(file(text.replace(column, "Comment")), processors=8)


def test_of_a_requeued_job_of_slurm_the_last_run_counts(file):
    rows = (
        "JobID|Submit|Elapsed|State|ReqCPUS",
        "5|2023-03-20T08:00:00|00:10:00|REQUEUED|2",
        "6|2023-03-20T08:01:00|00:20:00|COMPLETED|1",
        "5|2023-03-20T08:10:00|01:00:00|COMPLETED|2",
    )
    workload = read_trace(file("\n".join(rows) + "\n"), processors=4)
    assert listed(workload, "job_id", "submit_time", "run_time", "status") == [[6, 5], [0, 540], [1200, 3600], [1, 1]]
    assert Repair("drop_requeued_run", 1, True, (2,)) in workload.repairs


def test_a_job_that_runs_through_a_change_of_the_clocks_is_as_long_as_it_was(file):
    rows = (
        ("1", "2023-11-04T20:00:00", "2023-11-05T00:30:00", "2023-11-05T03:30:00", 14400, 16200),
        ("2", "2023-11-05T00:10:00", "2023-11-05T01:50:00", "2023-11-05T01:20:00", 1800, 6000),  # the second 1:20
        ("3", "2023-11-05T03:10:00", "2023-11-05T03:40:00", "2023-11-05T04:20:00", 2400, 1800),
        ("4", "2024-03-10T01:30:00", "2024-03-10T01:40:00", "2024-03-10T03:20:00", 2400, 600),
    )
    slurm = file("".join(["JobID|Submit|Start|End|ReqCPUS\n", *("|".join((*row[:4], "1\n")) for row in rows)]))
    attempts = [{"start_time": row[2], "end_time": row[3], "detail": [{"ip": "m", "gpus": ["g"]}]} for row in rows]
    jobs = [{"submitted_time": row[1], "attempts": [one]} for row, one in zip(rows, attempts, strict=True)]
    jobs[3]["attempts"] *= 2
    for path, repeated in ((slurm, 1), (file(json.dumps(jobs), "philly"), 2)):
        workload = read_trace(path, processors=4, time_zone="America/New_York")
        expected = [row[4] for row in rows[:3]] + [repeated * rows[3][4]]
        assert listed(workload, "run_time", "wait_time") == [expected, [row[5] for row in rows]]
        wall = read_trace(path, processors=4)  # as the clock shows it, the second job ends before it begins
        assert wall.run_time.tolist() == [10800, 2400, repeated * 6000]


def test_an_unknown_machine_is_refused_by_replay_and_not_by_reading(file):
    workload = read_trace(file(made.TIRESIAS))
    assert not workload.machine.is_known
    with pytest.raises(WorkloadError, match="doesn't tell the size of the machine; give it with processors="):
        replay(workload)


def test_opendc(file):
    pytest.importorskip("pyarrow")
    workload = read_trace(file(made.parquet_bytes(made.OPENDC)))
    assert listed(workload, "job_id", "submit_time", "run_time", "processors", "deadline", "deferrable") == [
        [4, 5],
        [0, 1.5],
        [0.5, 1194],
        [1, 16],
        [-9, 86400],
        [0, 1],
    ]
    assert workload.provenance.header["UnixStartTime"] == "1664575200"


def test_wta(file):
    pytest.importorskip("pyarrow")
    workload = read_trace(file(made.parquet_bytes(made.WTA)))
    assert listed(workload, "job_id", "submit_time", "run_time", "processors", "workflow", "wait_time") == [
        [0, 2, 1],
        [0, 0, 6],
        [9.171, -9, 7.184],
        [3, 1, 1],
        [0, 1, 0],
        [0.005, -9, -9],
    ]
    edges = workload.dependencies
    assert (edges.child.tolist(), edges.parent.tolist()) == ([1], [0])
    assert [part.tolist() for part in edges.among(workload.job_id)] == [[2], [0]]
    assert workload.take(slice(1, 3)).dependencies.among(workload.job_id[1:])[0].tolist() == []


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        (made.WTA | {"parents": ["a", "b", "c"]}, "column parents: is a column of (large_)?string; expected lists"),
        (made.WTA | {"parents": [["x"], [], []]}, "column parents: holds what is no number"),
        (made.WTA | {"parents": [[0.5], [], []]}, "column parents: holds an id that is no whole number"),
        (made.WTA | {"runtime": ["a", "b", "c"]}, "column runtime: is a column of .*string; expected numbers"),
        (made.OPENDC | {"duration": [float("inf"), 1.0]}, "line 1, column duration: is infinite"),
        (made.OPENDC | {"submission_time": [None, 5]}, "line 1, column submission_time: the task has no submission"),
        ({name: values for name, values in made.OPENDC.items() if name != "cpu_count"}, "Parquet with other columns"),
        ({name: [] for name in made.OPENDC}, "the file has no rows|expected numbers"),
    ],
)
def test_faults_of_parquet(file, columns, what):
    pytest.importorskip("pyarrow")
    with pytest.raises(InputFileError, match=what) as caught:
        read_trace(file(made.parquet_bytes(columns)))
    assert "\n" not in str(caught.value)


def test_damaged_parquet_and_parquet_without_pyarrow(file, monkeypatch):
    pytest.importorskip("pyarrow")
    sound = made.parquet_bytes(made.OPENDC)
    for format in ("auto", "opendc"):
        with pytest.raises(InputFileError, match="damaged Parquet"):
            read_trace(file(sound[:-9]), format=format)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for format in ("auto", "opendc"):
        with pytest.raises(InputFileError, match=r"install pyarrow: pip install 'sysgym\[parquet\]'"):
            read_trace(file(sound), format=format)


def test_tpch_profiles(file):
    path = file(made.TPCH)
    workload = read_trace(path)
    assert listed(workload, "size_gb", "executable", "submit_time") == [[2, 100], [3, 3], [0, 0]]
    small, _ = workload.profiles
    assert (small.query, small.edges.tolist(), [stage.tasks for stage in small.stages]) == (3, [[0, 1]], [2, 1])
    stage = small.stages[0].prepared()
    assert {key: wave.tolist() for key, wave in stage.first.items()} == {2: [50], 5: [70]}
    assert {key: wave.tolist() for key, wave in stage.fresh.items()} == {2: [60]}
    assert len(read_dag_profiles(path)) == 2
    with pytest.raises(InputFileError, match="no list of stage profiles"):
        read_dag_profiles(file(made.POLLUX))


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("[[0, 1]]", "[[0, 1], [1, 0]]", "form a cycle"),
        ("[[0, 1]]", "[[0, 7]]", "leads to a stage that is not there"),
        ('"num_stages": 2', '"num_stages": 3', "num_stages is 3, there are 2"),
        ('"num_tasks": 2', '"num_tasks": 0', "a stage has 0 tasks"),
        ("[50, 60]", "[50, -60]", "a task took -60 ms"),
        ('"first_wave"', '"first"', "KeyError: 'first_wave'"),
        ('"query": 3', '"query": "q"', "ValueError"),
    ],
)
def test_faults_of_tpch(file, old, new, what):
    with pytest.raises(InputFileError, match=rf"line 1: not a DAG of stages .*{what}"):
        read_trace(file(made.TPCH.replace(old, new)))


ROW_FAULTS = [
    ("alea", "50 4 1", "5x0 4 1", "line 1, column run_time: '5x0' is not a finite number"),
    ("alea", " q_2w 1:ppn=2 and more", "", "line 2: 19 fields, expected the 21 of Alea"),
    ("openb", "6500", "lots", "line 3, column cpu_milli: 'lots' is not a finite number"),
    ("openb", ",12288", "", "line 3: 10 fields, the header has 11"),
    ("openb", ",cpu_milli", ",cpu", "is no known format|no column"),
    ("dlrm", ",430", ",4.3e999", "line 3, column deletion_time: '4.3e999' is not a finite number"),
    ("philly", "2017-11-04", "2017-11-34", "line 3, column timestamp: .* is not a time"),
    ("philly", "2017-11-04 12:00:00", "", "line 3, column timestamp: 1 jobs have no time"),
    ("philly", ",2,5903", ",2.5,5903", "line 3, column requested_processors: 2.5 is not a whole number"),
    ("pollux", ",6,", ",six,", "line 3, column num_replicas: 'six'"),
    ("tiresias", "0,1,0,606", "0,1,soon,606", "line 2, column submit_time: 'soon'"),
    ("tiresias", "0,1,0,606", "0,1,,606", "line 2: 1 jobs have no submission"),
    ("openb", "Pending,7,7,", "Pending,,7,", "line 4: 1 jobs have no submission"),
    ("slurm", "|00:01:00|", "|a minute|", "line 4, column Elapsed: 'a minute' is not a duration"),
    ("slurm", "|PENDING", "|PENDING|2", "line 5: 14 fields, expected 13"),
    ("slurm", "|2023-03-20T09:00:00|", "||", "line 5, column Submit: 1 jobs have no time"),
    ("gavel", "\t8\n", "\t8\t9\n", "line 2: 8 fields, expected 7"),
    ("gavel", "476285.000000", "nan", "line 2, column arrival_time: 'nan'"),
    ("azure_llm", "396", "3 9 6", "line 3, column ContextTokens: '3 9 6'"),
    ("azure_llm", "50.9951691", "50.9951691Z", "line 3, column TIMESTAMP: .* is not a time"),
]


@pytest.mark.parametrize(("name", "old", "new", "what"), ROW_FAULTS)
def test_a_fault_names_line_and_column(file, name, old, new, what):
    text = made.TEXTS[name][0]
    assert old in text
    with pytest.raises(InputFileError, match=what) as caught:
        read_trace(file(text.replace(old, new)), processors=4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["openb", "dlrm", "philly", "pollux", "tiresias", "azure_llm"])
def test_a_header_alone_and_a_name_that_stands_twice(file, name):
    header, first, *_ = made.TEXTS[name][0].split("\n")
    with pytest.raises(InputFileError, match="a header and no jobs"):
        read_trace(file(header + "\n"))
    twice = f"{header},{header.split(',')[0]}\n{first},1\n"
    with pytest.raises(InputFileError, match="this name twice"):
        read_trace(file(twice))


def test_a_column_without_labels():
    from sysgym.workloads import poisson_pareto

    with pytest.raises(UnknownNameError, match="column of names 'user'"):
        poisson_pareto(10, 4).labels("user")


def test_numbers_that_are_too_large_for_a_calendar_or_a_column(file):
    with pytest.raises(InputFileError, match="is out of range"):
        read_trace(file(made.TPCH.replace('"query": 3', '"query": 99999999999999999999')))
    far = read_trace(file(made.ALEA.replace("1356996160", "1356996160000000000")))
    assert sum(summary_of(far)["arrivals_by_hour"]) == 2


def test_a_name_over_two_lines_is_shown_in_one(file):
    with pytest.raises(InputFileError, match="the file has c, a b") as caught:
        read_trace(file('c,"a\nb"\n1,2\n'))
    assert "\n" not in str(caught.value)
