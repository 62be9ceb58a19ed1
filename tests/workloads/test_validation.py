"""Validation on logs by hand: every rule finds what it should, and nothing where there is nothing."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sysgym.core.errors import InputFileError, SettingError, SysgymError, UnknownNameError, WorkloadError
from sysgym.workloads import FORMATS, infer_schema, poisson_pareto, read_schema, validate, write_schema, write_swf
from sysgym.workloads.schema import schema_of
from tests.workloads.formats import made_tables as made
from tests.workloads.formats.test_fuzz import SOUND, parquet_contents, spoilt
from tests.workloads.made_logs import swf_row, write_log


def save(tmp_path, content, name="log"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def found(report):
    return {(a.rule, a.column): (a.severity, a.count, a.first_lines) for a in report.anomalies}


def test_a_sound_log_has_no_anomaly(tmp_path):
    write_swf(poisson_pareto(500, 64, seed=3), tmp_path / "log.swf")
    report = validate(tmp_path / "log.swf")
    assert {a.severity for a in report.anomalies} == {"info"} and report.is_sound
    assert {a.rule for a in report.anomalies} <= {"negative_wait_time", "repeated_submit_time"}
    assert (report.rows, report.fields, report.cleaning["default"].jobs) == (500, 18, 500)


def test_the_rules_of_swf(tmp_path):
    rows = [
        swf_row(1, submit=5),
        swf_row(2, submit=3, run=30, estimate=20),
        swf_row(2, submit=3, run=0),
        swf_row(7, submit=9, requested=99, allocated=9),
        swf_row(9, submit=-4, run=-1, estimate=-1, requested=0, allocated=-1),
        swf_row(10, submit=11, status=9, memory=1.5),
        "",
        swf_row(11, submit=12, estimate="20.0"),
    ]
    report = validate(write_log(tmp_path / "log.swf", rows, ["; MaxProcs: 8", "; MaxJobs: 9"]))
    assert found(report) == {
        ("below_minimum", "submit_time"): ("warning", 1, (7,)),
        ("blank_line", None): ("info", 1, (9,)),
        ("decimals", "requested_memory"): ("info", 2, (8, 10)),
        ("decreasing", "submit_time"): ("warning", 2, (4, 7)),
        ("gaps_in_numbering", "job_id"): ("info", 5, (6, 7)),
        ("max_jobs_differs", None): ("info", 2, ()),
        ("negative_run_time", "run_time"): ("warning", 1, (7,)),
        ("negative_wait_time", "wait_time"): ("info", 7, (3, 4, 5, 6, 7)),
        ("no_processors", "requested_processors"): ("warning", 1, (7,)),
        ("nonpositive_allocated_processors", "allocated_processors"): ("warning", 1, (7,)),
        ("nonpositive_requested_processors", "requested_processors"): ("warning", 1, (7,)),
        ("nonpositive_requested_time", "requested_time"): ("warning", 1, (7,)),
        ("not_in_domain", "status"): ("warning", 1, (8,)),
        ("oversized", "requested_processors"): ("warning", 1, (6,)),
        ("repeated_submit_time", "submit_time"): ("info", 1, (5,)),
        ("repeated_value", "job_id"): ("warning", 1, (5,)),
        ("requested_more_than_allocated", "requested_processors"): ("warning", 1, (6,)),
        ("allocated_not_requested", "allocated_processors"): ("warning", 1, (6,)),
        ("run_exceeds_requested_time", "run_time"): ("warning", 1, (4,)),
        ("zero_run_time", "run_time"): ("warning", 1, (5,)),
    }
    assert report.is_sound
    assert report.anomalies[0].severity == "warning" and report.anomalies[-1].severity == "info"


def test_broken_rows_are_counted_and_do_not_end_the_reading(tmp_path):
    rows = [swf_row(1), "2 5 x", swf_row(3, run="soon"), swf_row(4, run="later"), swf_row(5), "6 7"]
    report = validate(write_log(tmp_path / "log.swf", rows))
    assert found(report)["field_count", None] == ("error", 2, (3, 7))
    assert found(report)["not_a_number", "4 (run_time)"] == ("error", 2, (4, 5))
    assert (report.rows, report.is_sound, report.cleaning) == (4, False, {})
    table = made.OPENB + "pod-3,1,2\n" + "pod-4,a,b,1,5,,LS,Running,8,9,8\n"
    report = validate(save(tmp_path, table))
    errors = {(a.rule, a.column, a.count) for a in report.errors}
    assert errors == {("field_count", None, 1), ("not_a_number", "cpu_milli", 1), ("not_a_number", "memory_mib", 1)}


def test_a_job_without_a_submission_is_an_error(tmp_path):
    report = validate(save(tmp_path, made.TIRESIAS.replace("0,1,0,606", "0,1,,606")))
    assert found(report)["missing_values", "submit_time"] == ("error", 1, (2,)) and report.cleaning == {}


def test_missing_and_unexpected_columns(tmp_path):
    fewer = validate(save(tmp_path, made.OPENB_FEWER))
    assert fewer.count("missing_optional_column") == 6 * 2 and fewer.is_sound
    assert ("missing_optional_column", "qos") in found(fewer)
    without = made.OPENB.replace("cpu_milli", "cpus")
    report = validate(save(tmp_path, without), format="openb")
    assert found(report)["missing_column", "cpu_milli"][0] == "error"
    assert found(report)["unexpected_column", "cpus"][0] == "info"


def test_rules_of_the_other_formats(tmp_path):
    openb = found(validate(save(tmp_path, made.OPENB)))
    assert openb["never_scheduled", "scheduled_time"] == ("info", 1, (4,))
    assert openb["shared_gpu", "gpu_milli"] == ("info", 1, (3,))
    assert openb["deleted_at_creation", "deletion_time"][1] == openb["no_memory", "memory_mib"][1] == 1
    spoilt_pod = made.OPENB.replace("Pending,7,7,", "Pending,7,7,6")
    assert ("scheduled_but_pending", "pod_phase") in found(validate(save(tmp_path, spoilt_pod)))
    dlrm = found(validate(save(tmp_path, made.DLRM)))
    assert (dlrm["existed_before", "creation_time"][1], dlrm["still_running", "deletion_time"][1]) == (1, 2)
    json_log = found(validate(save(tmp_path, made.PHILLY_JSON)))
    assert (json_log["no_attempt", "attempts"][1], json_log["several_attempts", "attempts"][1]) == (1, 1)
    assert ("gpu_time_differs", "gpu_time") in found(validate(save(tmp_path, made.PHILLY.replace("80.0", "81.0"))))


def test_local_times_across_a_change_of_the_clocks(tmp_path):
    path = save(tmp_path, made.PHILLY)
    report = found(validate(path))
    assert report["local_time", "timestamp"] == ("warning", 1, (2,))
    assert report["ambiguous_local_time", "timestamp"] == ("warning", 1, (4,))
    assert report["decreasing", "timestamp"] == ("warning", 1, (3,))
    assert "local_time" not in {rule for rule, _ in found(validate(path, time_zone="UTC"))}
    with pytest.raises(SettingError, match="time_zone is 'Mars'"):
        validate(path, time_zone="Mars")


@pytest.mark.parametrize("seed", range(3))
def test_milliseconds_read_as_seconds_are_noticed(tmp_path, seed):
    workload = poisson_pareto(400, 64, seed=seed)
    header = "job_id,submit_time,run_time,requested_time,processors\n"
    jobs = np.stack([workload.job_id, workload.submit_time, workload.run_time, workload.requested_time,
                     workload.processors], axis=1).astype(np.int64)  # fmt: skip
    noise = np.random.default_rng(seed).integers(0, 1000, len(jobs))

    def table(factor, ragged):
        scaled = jobs * [1, factor, factor, factor, 1]
        scaled[:, 2] += noise * ragged
        return header + "\n".join(",".join(map(str, row)) for row in scaled.tolist())

    suspects = {
        name: ("milliseconds", "run_time") in found(validate(save(tmp_path, text)))
        for name, text in {"s": table(1, 0), "ms": table(1000, 0), "ragged ms": table(1000, 1)}.items()
    }
    assert suspects == {"s": False, "ms": True, "ragged ms": True}
    in_seconds = {
        "run_time": {"column": "run_time", "unit": "ms"},
        "submit_time": {"column": "submit_time", "unit": "ms"},
    }
    report = validate(save(tmp_path, table(1000, 0)), columns=in_seconds)
    assert ("milliseconds", "run_time") not in found(report)
    swf = [swf_row(job, submit=s * 1000, run=r * 1000, estimate=e * 1000) for job, s, r, e, _ in jobs.tolist()]
    assert validate(write_log(tmp_path / "log.swf", swf)).count("milliseconds") == 400


def test_seconds_read_as_milliseconds_are_noticed(tmp_path):
    pytest.importorskip("pyarrow")
    many = {name: values * 10 for name, values in made.OPENDC.items()} | {"id": list(range(20))}
    assert validate(save(tmp_path, made.parquet_bytes(many))).count("seconds") == 0
    report = validate(save(tmp_path, made.parquet_bytes(many | {"duration": [60, 300] * 10})))
    assert found(report)["seconds", "duration"][1] == 20


def test_drift_from_a_log_from_its_statistics_and_from_another_format(tmp_path):
    for name, load, seed in (("old", 0.8, 1), ("same", 0.8, 2), ("new", 8.0, 3)):
        write_swf(poisson_pareto(3000, 64, load=load, seed=seed), tmp_path / f"{name}.swf")
    old, same, new = (tmp_path / f"{name}.swf" for name in ("old", "same", "new"))
    assert validate(same, against=old).count("drift") == 0
    moved = [a for a in validate(new, against=old).anomalies if a.rule == "drift"]
    assert [a.column for a in moved] == ["gap between arrivals"] and 0.1 < moved[0].fraction <= 1
    assert "Jensen-Shannon" in moved[0].message and moved[0].severity == "error"
    stored = save(tmp_path, json.dumps(validate(old).statistics.to_data()), "old.json")
    assert validate(new, against=stored).anomalies == validate(new, against=old).anomalies
    users = [swf_row(job, status=0) for job in range(1, 40)], [swf_row(job, status=1) for job in range(1, 40)]
    left, right = (write_log(tmp_path / f"{side}.swf", rows) for side, rows in enumerate(users))
    drift = next(a for a in validate(left, against=right).anomalies if a.rule == "drift")
    assert (drift.column, drift.fraction) == ("status", 1.0) and "L-infinity" in drift.message
    with pytest.raises(SettingError, match=r"the baseline .* is 'philly', the log is 'swf'"):
        validate(old, against=save(tmp_path, made.PHILLY))
    with pytest.raises(InputFileError, match="damaged statistics"):
        validate(old, against=save(tmp_path, stored.read_text().replace('"top"', '"tpo"'), "bad.json"))
    with pytest.raises(InputFileError, match="statistics of version 9"):
        validate(old, against=save(tmp_path, stored.read_text().replace('"version": 1', '"version": 9'), "bad.json"))


def test_an_inferred_schema_accepts_its_log_and_refuses_what_it_never_saw(tmp_path):
    write_swf(poisson_pareto(300, 64, seed=1), tmp_path / "good.swf")
    write_schema(infer_schema(tmp_path / "good.swf"), tmp_path / "schema.toml")
    schema = read_schema(tmp_path / "schema.toml")
    assert validate(tmp_path / "good.swf", schema=schema).is_sound
    assert schema.columns["status"].values == (1,) and schema.columns["run_time"].above == 0
    bad = [swf_row(1), swf_row(2, status=5), swf_row(3, run=0)]
    report = validate(write_log(tmp_path / "bad.swf", bad), schema=tmp_path / "schema.toml")
    rules = {(a.rule, a.column) for a in report.errors}
    assert {("not_in_domain", "status"), ("not_above_bound", "run_time")} <= rules
    with pytest.raises(WorkloadError, match="infer from a log without errors"):
        infer_schema(write_log(tmp_path / "broken.swf", [swf_row(1), "1 2"]))


@pytest.mark.parametrize("name", sorted(made.TEXTS))
def test_inferred_schemas_of_every_format_round_trip(tmp_path, name):
    path = save(tmp_path, made.TEXTS[name][0])
    schema = infer_schema(path)
    write_schema(schema, tmp_path / "s.toml")
    again = read_schema(tmp_path / "s.toml")
    assert (again.columns, again.rules) == (dict(schema.columns), schema.rules)
    assert validate(path, schema=again).is_sound


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("format = ", "the schema is not TOML"),
        ("[columns]", "the schema names no format"),
        ('format = "swf"\n[columns.a]\ntype = "int"', "the type of a is 'int'; expected one of integer"),
        ('format = "swf"\n[columns.a]\nmn = 3', "unknown key of column a 'mn'; did you mean min"),
        ('format = "swf"\n[columns.a]\nmin = "low"', "column a: min is 'low'; it must be a number"),
        ('format = "swf"\n[columns.a]\nvalues = 3', "values is 3; it must be a list"),
        ('format = "swf"\n[columns.a]\nunique = 1', "unique is 1; it must be true or false"),
        ('format = "swf"\ncolumns = 3', "columns is a table"),
        ('format = "swf"\n[columns]\na = 3', "3 describes no column"),
        ('format = "swf"\nduplicate_rows = "bad"', "the duplicate_rows is 'bad'"),
        ('format = "swf"\ntime_zone = 3', "time_zone is 3"),
        ('format = "swf"\n[[rules]]\nwhere = ["a > b"]', "is no rule; write"),
        ('format = "swf"\n[[rules]]\nname = "r"', "rule r has no condition"),
        ('format = "swf"\n[[rules]]\nname = "r"\nwhere = ["a >> b"]', "'a >> b' is no comparison"),
        ('format = "swf"\n[[rules]]\nname = "r"\nwhere = ["a > 3"]', "compares 'a', which is no column"),
        ('format = "swf"\n[[rules]]\nname = "r"\ncheck = "magic"', "the check of r is 'magic'"),
    ],
)
def test_schema_files_that_are_none(tmp_path, text, what):
    log = write_log(tmp_path / "log.swf", [swf_row(1)])
    with pytest.raises(InputFileError, match=what) as caught:
        validate(log, schema=save(tmp_path, text, "schema.toml"))
    assert "schema.toml" in str(caught.value) and "\n" not in str(caught.value)


def test_a_schema_of_another_format_and_one_that_is_not_there(tmp_path):
    log = write_log(tmp_path / "log.swf", [swf_row(1)])
    with pytest.raises(SettingError, match=r"the schema is for 'openb', .* is 'swf'"):
        validate(log, schema=schema_of("openb"))
    with pytest.raises(InputFileError, match="cannot read the schema"):
        validate(log, schema=tmp_path / "absent.toml")
    with pytest.raises(UnknownNameError, match="format 'swff'"):
        validate(log, format="swff")


def test_a_rule_of_ones_own(tmp_path):
    text = 'format = "swf"\nunexpected_columns = "allowed"\n[columns.run_time]\ntype = "number"\nmax = 15\n'
    text += '[columns.user]\ntype = "integer"\n[[rules]]\nname = "long_run_of_7"\ncolumn = "run_time"\n'
    text += 'where = ["run_time > 10", "user == 7"]\nseverity = "error"\n'
    rows = [swf_row(1, run=12, user=7), swf_row(2, run=12, user=8), swf_row(3, run=20, user=7)]
    report = validate(write_log(tmp_path / "log.swf", rows), schema=save(tmp_path, text, "s.toml"))
    assert found(report) == {
        ("long_run_of_7", "run_time"): ("error", 2, (2, 4)),
        ("above_maximum", "run_time"): ("warning", 1, (4,)),
    }
    assert report.errors[0].example == "run_time 12, user 7"


def test_every_format_has_a_schema_of_its_name():
    for name in FORMATS:
        assert schema_of(name).format == name


@pytest.mark.parametrize("format", sorted(FORMATS))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_spoilt_file_is_reported_or_refused(tmp_path, format, data):
    content = SOUND[format] if format in SOUND else parquet_contents()[format]
    path = save(tmp_path, data.draw(spoilt(content)))
    try:
        report = validate(path, format=format)
    except SysgymError as error:
        assert "\n" not in str(error)
    else:
        json.dumps(report.to_data())
        assert all(a.count > 0 and a.severity in ("error", "warning", "info") for a in report.anomalies)


def test_damaged_files_are_refused(tmp_path):
    with pytest.raises(InputFileError, match="damaged or truncated gzip"):
        validate(save(tmp_path, gzip.compress(made.OPENB.encode())[:-20]))
    with pytest.raises(InputFileError, match="no such file"):
        validate(tmp_path / "absent")
