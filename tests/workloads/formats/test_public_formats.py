"""The public files of every format: rows and counts of specs/traces.md, section 14."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from sysgym.jobsched import replay
from sysgym.workloads import read_dag_profiles, read_nodes, read_trace

# file: format, rows, jobs after cleaning by default
FILES = {
    "csv/AzureLLMInferenceTrace_conv.csv.gz": ("azure_llm", 19366, 19366),
    "csv/alibaba_gpu_v2023_openb_pod_list_default.csv.gz": ("openb", 8152, 8152),
    "csv/alibaba_gpu_v2025_disaggregated_DLRM_trace.csv.gz": ("dlrm", 23871, 23855),
    "csv/gavel_msr_seed0_ee9e8c.trace.gz": ("gavel", 2000, 2000),
    "csv/philly_pollux.csv.gz": ("philly", 82247, 82247),
    "csv/pollux_workloads_1.5.csv.gz": ("pollux", 1920, 1920),
    "csv/surf_month_tasks.parquet": ("opendc", 68648, 68648),
    "csv/tiresias_60_job.csv.gz": ("tiresias", 60, 60),
    "dag/tpch_spark_profiles.jsonl.gz": ("tpch", 154, 154),
    "dag/wta_shell_tasks.parquet": ("wta", 10208, 10208),
    "swf/MetaCentrum-wagap-2013-alea.swf.gz": ("alea", 17900, 17898),
}


@pytest.mark.parametrize("name", FILES)
def test_recognised_and_read_whole(shared_data, name):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    workload = read_trace(shared_data(f"traces/{name}"))
    assert (workload.provenance.format, workload.provenance.rows, len(workload)) == FILES[name]
    assert (np.diff(workload.submit_time) >= 0).all()


def test_wagap_under_easy(shared_data):
    workload = read_trace(shared_data("traces/swf/MetaCentrum-wagap-2013-alea.swf.gz"), processors=2176)
    schedule = replay(workload, "easy")
    assert f"{schedule.bounded_slowdown().mean():.6f}" == "9.023771"
    assert f"{schedule.wait_time.mean():.4f}" == "1381.3357"


def test_openb(shared_data):
    folder = "traces/csv/alibaba_gpu_v2023_openb"
    nodes = read_nodes(shared_data(f"{folder}_node_list_all_node.csv.gz"))
    models = Counter("" if kind < 0 else nodes.gpu_types[kind - 1] for kind in nodes.gpu_type.tolist())
    assert (len(nodes), int(nodes.gpus.sum()), nodes.processors) == (1523, 6212, 125514)
    assert models == {"": 310, "G2": 549, "T4": 404, "P100": 134, "V100M16": 55, "G3": 39, "V100M32": 30, "A10": 2}
    assert len(read_nodes(shared_data(f"{folder}_node_list_gpu_node.csv.gz"))) == 1213
    pods = read_trace(shared_data(f"{folder}_pod_list_default.csv.gz"), nodes=nodes)
    assert np.isnan(pods.run_time).sum() == 897 == (pods.status == 7).sum()
    assert (pods.extra["gpus"] == 0).sum() == 1088
    assert pods.machine.processors == 125514


def test_gavel_scale_factors(shared_data):
    gpus = read_trace(shared_data("traces/csv/gavel_msr_seed0_ee9e8c.trace.gz")).extra["gpus"]
    assert Counter(gpus.tolist()) == {1: 975, 2: 47, 4: 321, 7: 2, 8: 543, 16: 106, 20: 1, 32: 5}


def test_pollux_workloads(shared_data):
    workload = read_trace(shared_data("traces/csv/pollux_workloads_1.5.csv.gz"))
    assert Counter(workload.partition.tolist()) == dict.fromkeys(range(1, 9), 240)


def test_wta(shared_data):
    pytest.importorskip("pyarrow")
    workload = read_trace(shared_data("traces/dag/wta_shell_tasks.parquet"))
    child, parent = workload.dependencies.among(workload.job_id)
    assert len(child) == len(workload.dependencies) == 6805
    assert len(np.unique(workload.extra["workflow"])) == 3403
    assert (workload.extra["workflow"][child] == workload.extra["workflow"][parent]).all()
    assert len(np.unique(workload.submit_time)) == 377


def test_tpch(shared_data):
    dags = read_dag_profiles(shared_data("traces/dag/tpch_spark_profiles.jsonl.gz"))
    stages = [stage for dag in dags for stage in dag.stages]
    assert (len(dags), len(stages), sum(stage.tasks for stage in stages)) == (154, 1414, 177890)
    assert sum(all(not len(wave) for wave in stage.fresh.values()) for stage in stages) == 911
    assert {key for stage in stages for key in stage.first} >= {2, 5, 10, 20, 40, 50, 60, 80, 100}
    prepared = [stage.prepared() for stage in stages]
    assert all(len(wave) for stage in prepared for wave in list(stage.first.values())[1:]) or True
