"""The report on the public logs gives every count of specs/traces.md, section 14."""

from __future__ import annotations

import pytest

from sysgym.workloads import validate

SDSC, KTH, NASA = "SDSC-SP2-sc15", "KTH-SP2-1996-raw", "NASA-iPSC-1993-3.1-cln"
ATLAS, CURIE, WAGAP = "LLNL-Atlas-2006-2.1-cln", "CEA-Curie-sample-raw", "MetaCentrum-wagap-2013-alea"
HPC2N, SDSC_HEAD, LUBLIN = "HPC2N-2002-head3170", "SDSC-SP2-1998-head4961", "lublin_256"
LOGS = (SDSC, KTH, NASA, ATLAS, CURIE, HPC2N, SDSC_HEAD, WAGAP, LUBLIN)

# rule: counts in the order of LOGS
COUNTS = {
    "blank_line": (0, 0, 0, 0, 0, 1, 0, 0, 0),
    "decimals": (0, 0, 0, 0, 0, 1105, 2636, 0, 0),
    "gaps_in_numbering": (19487, 1, 24025, 15120, 99686, 4013, 0, 0, 0),
    "repeated_submit_time": (95, 332, 5, 4793, 3744, 638, 27, 7091, 0),
    "negative_run_time": (0, 0, 0, 0, 0, 25, 355, 2, 0),
    "zero_run_time": (0, 8, 173, 7178, 0, 0, 0, 0, 0),
    "nonpositive_allocated_processors": (0, 0, 0, 4588, 0, 0, 354, 0, 0),
    "nonpositive_requested_processors": (0, 0, 18239, 4572, 0, 0, 0, 0, 10000),
    "no_processors": (0, 0, 0, 4571, 0, 0, 0, 0, 0),
    "allocated_not_requested": (0, 219, 0, 19, 3751, 213, 0, 0, 0),
    "requested_more_than_allocated": (0, 0, 0, 0, 6, 0, 0, 0, 0),
    "nonpositive_requested_time": (0, 0, 18239, 8233, 0, 0, 0, 2, 10000),
    "run_exceeds_requested_time": (0, 475, 0, 3351, 0, 320, 309, 702, 0),
    "negative_wait_time": (54006, 0, 18239, 43778, 0, 0, 0, 0, 10000),
    "preceding_job": (0, 0, 0, 0, 0, 0, 0, 17900, 0),
    "repeated_value": (0,) * 9,
    "oversized": (0,) * 9,
    "decreasing": (0,) * 9,
    "duplicate_row": (0,) * 9,
    "milliseconds": (0,) * 9,
}
ROWS = (54006, 28489, 18239, 43778, 29998, 3170, 4961, 17900, 10000)
FIRST = (
    (4, 399264), (1, 0), (1, 0), (1435, 3273240), (477353, 43603464), (1, 0), (1, 0), (0, 1356996147), (1, 5094),
)  # fmt: skip
USERS = (428, 214, 69, 130, 238, 17, 99, 75, 0)
STATUS = (
    {-1: 54006}, {1: 20541, 0: 7948}, {-1: 18239}, {1: 21915, 0: 10431, 5: 11432}, {1: 28993, 0: 710, 5: 295},
    {1: 3145, -1: 25}, {1: 3525, 5: 1436}, {1: 17900}, {1: 10000},
)  # fmt: skip
HEADER = (
    ("54006", "128", "128"), ("28490", "100", "100"), ("42264", "128", "128"), ("60332", "1152", "9216"),
    (None, None, "93312"), ("527371", "240", "240"), ("73496", "128", "128"), (None,) * 3, ("10000", "256", None),
)  # fmt: skip
KEPT = {
    "sc15": (
        (54006, 0), (28481, 475), (0, 0), (31248, 3351), (29998, 0), (3145, 320), (4606, 309), (17898, 702), (0, 0),
    ),
    "default": (
        (54006, 0, 0), (28481, 475, 0), (18066, 0, 18066), (36600, 3351, 5352), (29998, 0, 0), (3145, 320, 0),
        (4606, 309, 0), (17898, 702, 0), (10000, 0, 10000),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("place", "name"), list(enumerate(LOGS)), ids=LOGS)
def test_swf_and_alea(logs, place, name):
    report = validate(logs / f"{name}.swf.gz")
    assert report.is_sound
    assert {rule: report.count(rule) for rule in COUNTS} == {rule: counts[place] for rule, counts in COUNTS.items()}
    assert (report.rows, report.fields) == (ROWS[place], 21 if name == WAGAP else 18)
    columns = report.statistics.columns
    assert tuple(float(columns[column].first) for column in ("job_id", "submit_time")) == FIRST[place]
    assert columns["user"].distinct == USERS[place]
    assert {int(float(value)): count for value, count in columns["status"].top} == STATUS[place]
    header = tuple(report.header.get(key, "").split(" ")[0] or None for key in ("MaxJobs", "MaxNodes", "MaxProcs"))
    assert header == HEADER[place]
    repairs = {rule: {r.rule: r.count for r in kept.repairs} for rule, kept in report.cleaning.items()}
    sc15, default = (report.cleaning[rule].jobs for rule in ("sc15", "default"))
    assert (sc15, repairs["sc15"].get("cut_run_time", 0)) == KEPT["sc15"][place]
    raised, filled = (repairs["default"].get(rule, 0) for rule in ("raise_requested_time", "fill_requested_time"))
    assert (default, raised, filled) == KEPT["default"][place]


def test_wagap_read_as_swf_is_an_error(logs):
    report = validate(logs / f"{WAGAP}.swf.gz", format="swf")
    assert (report.rows, report.count("field_count")) == (0, 17900)
    assert "21 fields, expected the 18 of SWF" in report.errors[0].example


OTHERS = {
    "csv/alibaba_gpu_v2023_openb_pod_list_default.csv.gz": (
        8152, {"never_scheduled": 897, "deleted_at_creation": 1, "no_gpu": 1088, "no_memory": 1, "shared_gpu": 3078}),
    "csv/alibaba_gpu_v2023_openb_node_list_all_node.csv.gz": (1523, {"no_gpu": 310, "gpu_without_model": 0}),
    "csv/alibaba_gpu_v2025_disaggregated_DLRM_trace.csv.gz": (
        23871, {"existed_before": 7280, "never_scheduled": 7280, "still_running": 8878}),
    "csv/philly_pollux.csv.gz": (
        82247, {"decreasing": 44878, "duplicate_row": 65, "gpu_time_differs": 0, "ambiguous_local_time": 7}),
    "csv/gavel_msr_seed0_ee9e8c.trace.gz": (2000, {"decreasing": 0}),
    "csv/tiresias_60_job.csv.gz": (60, {"decreasing": 0}),
    "csv/pollux_workloads_1.5.csv.gz": (1920, {}),
    "csv/surf_month_tasks.parquet": (68648, {"unsorted": 2122, "constant_cpu_count": 68648}),
    "dag/wta_shell_tasks.parquet": (10208, {"repeated_submit_time": 10208 - 377, "unknown_parent": 0}),
    "csv/AzureLLMInferenceTrace_conv.csv.gz": (19366, {"decreasing": 0}),
    "dag/tpch_spark_profiles.jsonl.gz": (154, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats(shared_data, name):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    report = validate(shared_data(f"traces/{name}"))
    rows, counts = OTHERS[name]
    assert report.is_sound and report.rows == rows
    assert {rule: report.count(rule) for rule in counts} == counts
    assert report.count("milliseconds") == report.count("seconds") == 0


def test_counts_in_the_statistics(shared_data):
    gavel = validate(shared_data("traces/csv/gavel_msr_seed0_ee9e8c.trace.gz")).statistics.columns
    scale = {int(value): count for value, count in gavel["scale_factor"].top}
    assert scale == {1: 975, 2: 47, 4: 321, 7: 2, 8: 543, 16: 106, 20: 1, 32: 5}
    openb = validate(shared_data("traces/csv/alibaba_gpu_v2023_openb_pod_list_default.csv.gz")).statistics.columns
    assert openb["scheduled_time"].missing == 897
    pytest.importorskip("pyarrow")
    wta = validate(shared_data("traces/dag/wta_shell_tasks.parquet")).statistics.columns
    assert (wta["workflow_id"].distinct, wta["ts_submit"].distinct, wta["parents"].items) == (3403, 377, 6805)
