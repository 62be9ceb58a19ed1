"""Commands that are killed or meet a full disk at any change of a file, or a folder that is read-only or closed.

Nothing is half written, and a rerun is whole.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from sysgym.bench.records import read_records
from sysgym.learned_index import SortedIndex
from sysgym.workloads import poisson_pareto, read_trace, write_swf

STUDY = """name = "toy"
split = "test"
scenarios = 2
policies = ["accept_all", "reject_all", "optimal"]

[[environments]]
id = "sysgym/AdmissionQueue-v0"
arguments = { max_steps = 20 }
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


def records_are_whole(path):
    return all(record.record_id for record in read_records(path))


CASES = {
    "run": (("run", "study.toml"), 24, {"records.jsonl": records_are_whole}),
    "reproduce": (
        ("reproduce", "published.toml", "--records", "outcomes.jsonl", "--output", "page.md"),
        8,
        {"page.md": lambda path: path.read_text().endswith("\n"), "outcomes.jsonl": lambda path: path.stat().st_size},
    ),
    "generate": (
        ("trace", "generate", "lublin", "--jobs", "200", "--output", "log.swf.gz"),
        4,
        {"log.swf.gz": lambda path: len(read_trace(path)) == 200},
    ),
    "index": (
        ("index", "build", "keys.npy", "keys.index", "--structure", "PGMIndex epsilon=16"),
        4,
        {"keys.index": lambda path: len(SortedIndex.load(path)) == 1000},
    ),
    "simplify": (
        ("simplify", "min(v0, v1) <= v0", "--certificate", "proof.jsonl"),
        4,
        {"proof.jsonl": lambda path: json.loads(path.read_text())},
    ),
    "replay": (
        ("replay", "given.swf.gz", "--policy", "easy", "--gantt", "gantt.svg"),
        4,
        {"gantt.svg": lambda path: path.read_text().rstrip().endswith("</svg>")},
    ),
    "train": (
        ("train", "--env", "sysgym/AdmissionQueue-v0", "--frames", "128", "--num-envs", "2", "--no-tensorboard",
         "--set", "rollout_steps=16", "--output", "policy.safetensors"),
        8,
        {"policy.safetensors": lambda path: path.stat().st_size},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def played():
    """One line a case, fault and place; one process plays them all, in a folder that nobody may look into too."""
    with tempfile.TemporaryDirectory(prefix="faults") as name:
        Path(name).chmod(0o755)
        yield play_all(Path(name))


def play_all(folder):
    given = folder / "given"
    given.mkdir()
    (given / "study.toml").write_text(STUDY)
    (given / "published.toml").write_text(PUBLISHED)
    np.save(given / "keys.npy", np.arange(1000, dtype=np.uint64) * 7)
    write_swf(poisson_pareto(jobs=60, processors=8, seed=1), given / "given.swf.gz")
    done = subprocess.run(
        [sys.executable, "-m", "tests.robustness.faults", str(folder)],
        input=json.dumps([(name, words, places) for name, (words, places, _) in CASES.items()]),
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def results(folder):
    """Names of what lies in a folder; hidden files (locks, what a killed writer left) are nobody's result."""
    found = (path.relative_to(folder) for path in Path(folder).rglob("*") if path.is_file())
    return {str(path) for path in found if not any(part.startswith(".") for part in path.parts)}


def are_whole(case, folder):
    """Whether each result of a case that is there can be read to its end."""
    checks = CASES[case][2]
    return all(checks[path.name](path) for path in Path(folder).rglob("*") if path.name in checks)


@pytest.mark.parametrize("fault", ["kill", "full", "refused", "closed"])
@pytest.mark.parametrize("case", CASES)
def test_a_fault_leaves_nothing_half_written_and_a_rerun_ends_whole(played, case, fault):
    (alone,) = (line for line in played if line["case"] == case and line["fault"] == "none")
    assert alone["first"][0] == 0 and are_whole(case, alone["after"]), alone
    lines = [line for line in played if line["case"] == case and line["fault"] == fault]
    assert any(line["first"] is None or line["first"][0] for line in lines), "no fault was met: nothing was tested"
    for line in lines:
        if line["first"] is not None and line["first"][0]:
            code, said = line["first"]
            assert code in (1, 2) and "Traceback" not in said and len(said.splitlines()) < 3, line
            assert "cannot write" in said or fault == "closed", line
        assert are_whole(case, line["left"]), line
        assert line["second"][0] == 0 and are_whole(case, line["after"]), line
        assert results(line["after"]) == results(alone["after"]), line
        assert fault in ("kill", "full") or results(line["left"]) == results(Path(line["left"]).parent / "given"), line
