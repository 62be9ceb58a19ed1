"""The folder of logs: what lies there is what its generator writes, and the manifest tells the truth about the rest."""

from __future__ import annotations

import gzip
import hashlib
import tomllib
from pathlib import Path

import pytest

from sysgym.workloads import poisson_pareto, read_trace, write_swf
from sysgym.workloads.formats import swf
from sysgym.workloads.trace_file import open_trace

TRACES = Path(__file__).parents[2] / "traces"
MANIFEST = tomllib.loads((TRACES / "MANIFEST.toml").read_text(encoding="utf-8"))["log"]
OURS = [log for log in MANIFEST if "generator" in log]
PUBLIC = [log for log in MANIFEST if "rows" in log and "generator" not in log]


def name_of(log):
    return log["file"]


def assert_as_listed(log, path):
    assert hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() == log["sha256"]
    table = swf.jobs(path, swf.parse(open_trace(path)))
    found = (len(table.columns["job_id"]), table.machine.processors, table.machine.source)
    assert found == (log["rows"], log["processors"], log["machine_from"])


@pytest.mark.parametrize("log", OURS, ids=name_of)
def test_our_logs_are_what_the_generator_writes(log, tmp_path):
    path = TRACES / log["file"]
    assert path.stat().st_size < 60_000
    assert_as_listed(log, path)
    workload = poisson_pareto(**log["arguments"])
    write_swf(workload, tmp_path / log["file"])
    assert gzip.decompress((tmp_path / log["file"]).read_bytes()) == gzip.decompress(path.read_bytes())
    again = read_trace(path)
    assert (again.sha256(), again.repairs) == (workload.sha256(), ())
    assert again.provenance.header["Generator"] == "sysgym.workloads.poisson_pareto"
    assert again.provenance.header["Seed"] == str(log["arguments"]["seed"])


def test_every_file_in_the_folder_is_listed():
    assert {path.name for path in TRACES.iterdir()} == {"MANIFEST.toml", *map(name_of, OURS)}


@pytest.mark.parametrize("log", PUBLIC, ids=name_of)
def test_public_logs_are_as_listed(log, logs):
    assert {"name", "copy", "licence", "citation"} <= set(log)
    assert_as_listed(log, logs / log["file"])
