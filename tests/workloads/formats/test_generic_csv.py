"""Tables with a column mapping."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from sysgym.core.errors import InputFileError, SettingError, UnknownNameError
from sysgym.workloads import Repair, read_trace, validate

PLAIN = "job_id,submit_time,run_time,requested_time,processors,user\n3,0,10,20,2,7\n5,4.5,1,9,1,8\n"
HOUSE = "who;queued;elapsed;cores;mem;state\nann;2000;1500;4;2;done\nbob;1000;-1;1;;done\nann;3000;500;2;1;done\n"
MAPPING = {
    "submit_time": {"column": "queued", "unit": "ms"},
    "run_time": {"column": "elapsed", "unit": "ms"},
    "processors": "cores",
    "user": "who",
    "requested_memory": {"column": "mem", "unit": "GB"},
}


def table(tmp_path, text, name="log.csv"):
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz"])
def test_our_own_names_need_no_mapping(tmp_path, name):
    workload = read_trace(table(tmp_path, PLAIN, name), processors=4)
    assert workload.provenance.format == "csv"
    found = {name: column.tolist() for name, column in workload.columns().items() if (column != -1).any()}
    assert found == {
        "job_id": [3, 5], "submit_time": [0, 4.5], "run_time": [10, 1], "requested_time": [20, 9],
        "processors": [2, 1], "user": [7, 8], "source_line": [2, 3],
    }  # fmt: skip
    assert workload.repairs == ()


def test_mapping_with_units_text_codes_and_unknown_cells(tmp_path):
    workload = read_trace(table(tmp_path, HOUSE), processors=8, columns=MAPPING)
    assert workload.job_id.tolist() == [1, 3]
    assert workload.submit_time.tolist() == [2, 3]
    assert workload.run_time.tolist() == workload.requested_time.tolist() == [1.5, 0.5]
    assert workload.processors.tolist() == [4, 2]
    assert workload.requested_memory.tolist() == [2 * 1024**2, 1024**2]
    assert workload.user.tolist() == [1, 1]
    assert workload.categories == {"user": ("ann", "bob")}
    assert workload.repairs == (
        Repair("drop_nonpositive_run_time", 1, True, (3,)),
        Repair("fill_requested_time", 2, False, (2, 4)),
    )


def test_mapping_from_a_toml_file(tmp_path):
    toml = tmp_path / "columns.toml"
    toml.write_text(
        'submit_time = {column = "queued", unit = "ms"}\nrun_time = {column = "elapsed", unit = "ms"}\n'
        'processors = "cores"\nuser = "who"\nrequested_memory = {column = "mem", unit = "GB"}\n'
    )
    path = table(tmp_path, HOUSE)
    by_file, by_mapping = (read_trace(path, processors=8, columns=columns) for columns in (toml, MAPPING))
    assert by_file.sha256() == by_mapping.sha256()


def test_calendar_times_of_another_form_and_written_durations(tmp_path):
    text = "queued|took|cores|limit\n20.03.2023 08:01|1-02:00:30|2|3-00:00:00\n20.03.2023 08:00|07:30.5|1|\n"
    mapping = {
        "submit_time": {"column": "queued", "form": "%d.%m.%Y %H:%M"},
        "run_time": "took",
        "requested_time": "limit",
        "processors": "cores",
    }
    workload = read_trace(table(tmp_path, text), processors=2, columns=mapping)
    assert (workload.submit_time.tolist(), workload.run_time.tolist()) == ([0, 60], [450.5, 93630])
    assert workload.requested_time.tolist() == [450.5, 259200]
    with pytest.raises(InputFileError, match=r"line 4, column queued: '21/3' is not a time"):
        read_trace(table(tmp_path, text + "21/3|1:00|1|\n"), processors=2, columns=mapping)
    zoned = text.replace(" 08:01", " 08:01 +0200").replace(" 08:00", " 08:00 +0000")
    mapping["submit_time"] = {"column": "queued", "form": "%d.%m.%Y %H:%M %z"}
    assert read_trace(table(tmp_path, zoned), processors=2, columns=mapping).run_time.tolist() == [93630, 450.5]


def test_both_processor_counts(tmp_path):
    text = "submit_time,run_time,processors,allocated_processors\n0,1,2,3\n0,1,,4\n"
    workload = read_trace(table(tmp_path, text), processors=8, processors_from="allocated")
    assert workload.processors.tolist() == [3, 4]
    assert read_trace(table(tmp_path, text), processors=8).processors.tolist() == [2, 4]


def test_an_empty_name_leaves_a_column_out(tmp_path):
    text = "submit_time,run_time,processors,status,job_id\n0,1,2,DONE,a-1\n"
    workload = read_trace(table(tmp_path, text), processors=8, columns={"status": "", "job_id": ""})
    assert (workload.status.tolist(), workload.job_id.tolist()) == ([-1], [1])
    unknown = read_trace(table(tmp_path, text), processors=8, columns={"status": "", "job_id": "", "run_time": ""})
    assert np.isnan(unknown.run_time).all()
    assert unknown.repairs == ()


def test_quoted_cells_and_blank_lines_keep_the_line_numbers(tmp_path):
    text = 'user,submit_time,run_time,processors\n"a, b",0,1,1\n\n  \n"two\nlines",0,1,1\nc,1,1,1\n'
    workload = read_trace(table(tmp_path, text), processors=1)
    assert workload.source_line.tolist() == [2, 6, 7]
    assert workload.user.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "columns", "error", "what"),
    [
        ("a,b\n1,2\n", None, InputFileError, "no column submit_time, run_time, processors; .*the file has a, b"),
        ("a,b\n1,2\n", {"submit_time": {"column": "a", "form": 3}}, SettingError, "a form is for calendar times"),
        ("a,b\n1,2\n", {"run_time": {"column": "a", "form": "%H"}}, SettingError, "a form is for calendar times"),
        (
            PLAIN.replace(",0,", ",20.03.2023,"),
            None,
            InputFileError,
            "line 2, column submit_time: '20.03.2023' is neither a number nor a time .*form",
        ),
        (PLAIN, {"run_time": "runtime"}, UnknownNameError, "'runtime'; did you mean run_time"),
        (PLAIN, {"sumbit_time": "x"}, UnknownNameError, "column 'sumbit_time'; did you mean submit_time"),
        (PLAIN, {"run_time": {"column": "run_time", "unit": "sec"}}, UnknownNameError, "unit of run_time 'sec'"),
        (PLAIN, {"user": {"column": "user", "unit": "s"}}, SettingError, "column user has no unit"),
        (PLAIN, {"user": 3}, SettingError, "column user is 3; expected a name"),
        (PLAIN, {"submit_time": ""}, InputFileError, "no column submit_time"),
        (PLAIN + "6,7\n", None, InputFileError, "line 4: 2 fields, the header has 6"),
        (PLAIN + "6,x,1,1,1,1\n", None, InputFileError, "line 4, column submit_time: 'x' is not a finite number"),
        (PLAIN + "6,,1,1,1,1\n", None, InputFileError, "line 4, column submit_time: '' is not"),
        (PLAIN + "6,7,inf,1,1,1\n", None, InputFileError, "line 4, column run_time: 'inf' is not"),
        (PLAIN + "6,7,1,nan,1,1\n", None, InputFileError, "line 4, column requested_time: 'nan' is not"),
        (PLAIN + "6,7,1,1,1.5,1\n", None, InputFileError, "line 4, column requested_processors: 1.5 is not a whole"),
        (PLAIN + '6,7,1,1,1,"1\n', None, InputFileError, "line 4: not a CSV row"),
        ("submit_time,run_time,processors\n", None, InputFileError, "a header and no jobs"),
        ("submit_time,submit_time,run_time,processors\n1,1,1,1\n", None, InputFileError, "this name twice"),
    ],
)
def test_a_fault_is_one_clear_line(tmp_path, text, columns, error, what):
    with pytest.raises(error, match=what) as caught:
        read_trace(table(tmp_path, text), processors=4, columns=columns)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "what"), [(None, "cannot read the column mapping"), ("a = ", "is not TOML")])
def test_a_broken_mapping_file(tmp_path, text, what):
    toml = tmp_path / "columns.toml"
    if text is not None:
        toml.write_text(text)
    with pytest.raises(InputFileError, match=what):
        read_trace(table(tmp_path, PLAIN), processors=4, columns=toml)


def test_columns_of_gpu_clusters_by_mapping(tmp_path):
    text = "submit_time,run_time,processors,gpus,model,waited\n0,5,1,4,V100|T4,1500\n2,5,1,,A10,\n"
    columns = {"gpus": "gpus", "gpu_type": "model", "wait_time": {"column": "waited", "unit": "ms"}}
    workload = read_trace(table(tmp_path, text), processors=4, columns=columns)
    assert workload.extra["gpus"].tolist() == [4, -1] and workload.labels("gpu_type") == ("V100|T4", "A10")
    assert workload.extra["wait_time"][0] == 1.5 and np.isnan(workload.extra["wait_time"][1])
    assert read_trace(table(tmp_path, text), processors=4).extra == {}


def test_a_member_of_an_array_of_jobs_is_no_number_with_a_separator(tmp_path):
    rows = "job_id,submit_time,run_time,processors,user\n17_4,0,10,1,1_0\n174,5,10,1,10\n"
    with pytest.raises(InputFileError, match=r"line 2, column job_id: '17_4' is not a finite number"):
        read_trace(table(tmp_path, rows), processors=4)
    found = read_trace(table(tmp_path, rows), processors=4, columns={"job_id": "", "name": "job_id"})
    assert (found.labels("name"), found.labels("user")) == (("17_4", "174"), ("1_0", "10"))


def test_json_is_no_table(tmp_path):
    with pytest.raises(InputFileError, match="is no known format"):
        read_trace(table(tmp_path, '[{"status": "Pass", "vc": "a", "job'))


TIMES = "queued,elapsed,cores\n{}\n"
QUEUED = {"submit_time": "queued", "run_time": "elapsed", "processors": "cores"}


@pytest.mark.parametrize(
    ("cells", "zone", "seconds"),
    [
        (("2024-03-10T01:59:00", "2024-03-10 03:00:00.5"), None, [0, 3660.5]),
        (("2024-03-10T01:59:00", "2024-03-10 03:00:00.5"), "America/Los_Angeles", [0, 60.5]),
        (("2024-03-10T01:59:00Z", "2024-03-10 03:00:00+00:00"), None, [0, 3660]),
    ],
)
def test_submissions_as_calendar_times(tmp_path, cells, zone, seconds):
    path = table(tmp_path, TIMES.format("\n".join(f"{cell},5,1" for cell in cells)))
    workload = read_trace(path, processors=4, columns=QUEUED, time_zone=zone)
    assert workload.submit_time.tolist() == seconds
    assert workload.provenance.header["FirstSubmit"].startswith("2024-03-10T")
    report = validate(path, columns=QUEUED, time_zone="America/Los_Angeles")
    assert ("local_time" in {anomaly.rule for anomaly in report.anomalies}) == (report.header == {})


@pytest.mark.parametrize(
    ("cells", "zone", "error", "what"),
    [
        (("2024-03-10T01:59:00", "2024-13-10T00:00:00"), None, InputFileError, "line 3, column queued: .* not a time"),
        (("2024-03-10T01:59:00", "2024-03-10T01:59:00Z"), None, InputFileError, "line 3, column queued: .* not a time"),
        (("2024-03-10T01:59:00", ""), None, InputFileError, "line 3, column queued: '' is not a time"),
        (("2024-03-10T01:59:00", "17"), None, InputFileError, "line 3, column queued: '17' is not a time"),
        (("2024-03-10T01:59:00Z",), "Europe/Paris", SettingError, "are UTC already"),
        (("17",), "Europe/Paris", SettingError, "submissions in seconds"),
    ],
)
def test_what_is_no_calendar_time(tmp_path, cells, zone, error, what):
    path = table(tmp_path, TIMES.format("\n".join(f"{cell},5,1" for cell in cells)))
    with pytest.raises(error, match=what):
        read_trace(path, processors=4, columns=QUEUED, time_zone=zone)
