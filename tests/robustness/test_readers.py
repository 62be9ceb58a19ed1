"""Whatever a file holds, its reader gives a value or one clear line; the logs' readers have tests of their own.

Each sound file is written by sysgym itself, or by hand where it only reads it, and then spoilt in a few places.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sysgym.agents import load, train
from sysgym.bench.indexes import read_keys
from sysgym.bench.published import read_reproduction
from sysgym.bench.records import read_records
from sysgym.bench.reproduction import read_outcomes, reproduce
from sysgym.bench.runner import run_study
from sysgym.bench.study import read_study
from sysgym.core.errors import SysgymError
from sysgym.exprsimp import parse, read_expressions, simplify
from sysgym.exprsimp.certificate import replay
from sysgym.exprsimp.proofs import read_certificates
from sysgym.exprsimp.rules.table import read_rules
from sysgym.learned_index import PGMIndex, SortedIndex
from sysgym.placement import read_graph
from sysgym.workloads.catalogue import read_manifest
from sysgym.workloads.formats.tpch import read_dag_profiles
from sysgym.workloads.reading import read_nodes
from sysgym.workloads.schema import read_schema
from tests.spoiling import spoilt
from tests.workloads.formats import made_tables as made

STUDY = """name = "toy"
split = "test"
scenarios = 2

[[environments]]
id = "sysgym/AdmissionQueue-v0"
arguments = { max_steps = 20 }

[[policies]]
policy = "accept_all"
"""
PUBLISHED = """title = "GPipe"
source = "closed form"

[[rows]]
what = "two stages"
measure = "pipeline_time"
arguments = { schedule = "gpipe", stages = 2, micro_batches = 3 }
value = 12.0
digits = 3
"""
TARNAWSKI = {
    "maxFPGAs": 2,
    "maxCPUs": 1,
    "maxSizePerFPGA": 100,
    "nodes": [
        {
            "id": 0,
            "supportedOnFpga": 1,
            "cpuLatency": 4,
            "fpgaLatency": 1,
            "isBackwardNode": 0,
            "colorClass": 0,
            "size": 1,
        },
        {
            "id": 1,
            "supportedOnFpga": 1,
            "cpuLatency": 4,
            "fpgaLatency": 1,
            "isBackwardNode": 0,
            "colorClass": 1,
            "size": 1,
        },
    ],
    "edges": [{"sourceId": 0, "destId": 1, "cost": 0.5}],
}
PIPEDREAM = (
    "node1 -- Input0 -- forward_compute_time=0.000, backward_compute_time=0.000, activation_size=0.0, "
    "parameter_size=0.000\n"
    "node2 -- Conv2d(3, 64) -- forward_compute_time=1.000, backward_compute_time=2.000, activation_size=10.0, "
    "parameter_size=5.000\n"
    "\tnode1 -- node2\n"
)
MANIFEST = Path(__file__).parents[2] / "traces" / "MANIFEST.toml"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The content of a sound file of each kind."""
    folder = tmp_path_factory.mktemp("sound")
    (folder / "study.toml").write_text(STUDY)
    (folder / "published.toml").write_text(PUBLISHED)
    run_study(folder / "study.toml")
    reproduce([folder / "published.toml"], folder / "outcomes.jsonl")
    train(
        "sysgym/AdmissionQueue-v0", "ppo", frames=64, num_envs=2, rollout_steps=16, output=folder / "policy.safetensors"
    )
    keys = np.arange(0, 3000, 3, dtype=np.uint64)
    PGMIndex.build(keys).save(folder / "keys.index")
    np.save(folder / "keys.npy", keys)
    (folder / "sosd").write_bytes(np.uint64(len(keys)).tobytes() + keys.tobytes())
    texts = {
        "rules": "[mine]\nmin(x, y) + max(x, y) -> x + y\nx * c0 / c0 -> x if c0 != 0\n",
        "expressions.jsonl": '{"expr": "v0 + 0"}\n{"expr": "min(v0, 1) < 3"}\n',
        "certificate": json.dumps(simplify("min(v0, v1) <= v0 + 0", "greedy").certificate),
        "proofs.jsonl": "",
        "tarnawski.json": json.dumps(TARNAWSKI),
        "pipedream.txt": PIPEDREAM,
        "nodes": made.NODES,
        "profiles": made.TEXTS["tpch"][0],
        "schema.toml": 'format = "swf"\n[columns.run_time]\ntype = "number"\nmin = 0\n',
        "manifest.toml": "[[".join(MANIFEST.read_text().split("[[")[:3]),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    contents = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    return contents | {"records.jsonl": (folder / "study.results" / "records.jsonl").read_bytes()}


READERS = {
    "study.toml": read_study,
    "records.jsonl": read_records,
    "published.toml": read_reproduction,
    "outcomes.jsonl": read_outcomes,
    "policy.safetensors": load,
    "keys.index": SortedIndex.load,
    "keys.npy": lambda path: read_keys(path, 0),
    "sosd": lambda path: read_keys(path, 0),
    "rules": read_rules,
    "expressions.jsonl": lambda path: [parse(text) for text in read_expressions(path)],
    "certificate": lambda path: replay(json.loads(path.read_text())),
    "proofs.jsonl": read_certificates,
    "tarnawski.json": read_graph,
    "pipedream.txt": read_graph,
    "nodes": read_nodes,
    "profiles": read_dag_profiles,
    "schema.toml": read_schema,
    "manifest.toml": read_manifest,
}
FOREIGN = {"certificate": (json.JSONDecodeError, UnicodeDecodeError)}
"""What a caller handles before it calls the reader: here the line of JSON."""


def read_or_refuse(name, path):
    try:
        READERS[name](path)
    except SysgymError as error:
        assert str(error) and "\n" not in str(error)
    except FOREIGN.get(name, ()):
        pass


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_spoilt_file_is_read_or_refused_in_one_line(sound, tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data.draw(spoilt(sound[name])))
    read_or_refuse(name, path)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=120) | st.text(max_size=120).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    read_or_refuse(name, path)


@pytest.mark.parametrize("name", READERS)
def test_the_sound_files_are_read(sound, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(sound[name])
    READERS[name](path)
