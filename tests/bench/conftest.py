"""A study of the toy queue in a folder of its own, and records made by hand."""

import pytest

from sysgym.bench.records import (
    CostFacts,
    EnvironmentFacts,
    EvidenceFacts,
    InstanceFacts,
    PolicyFacts,
    ProvenanceFacts,
    QueueFacts,
    Record,
    RepairFacts,
    ResultFacts,
    SeedFacts,
    TrainingFacts,
    seal,
)

STUDY = """
name = "toy"
description = "Is the shortest job first?"
scenarios = 8

[[environments]]
name = "Toy queue"
id = "tests.bench.toy:Toy-v0"
arguments = {{ jobs = 30 }}

[[policies]]
policy = "first"

[[policies]]
policy = "shortest"

{extra}
"""


@pytest.fixture
def study(tmp_path):
    """Write the study, with more policies or tables at its end, and give its path."""

    def write(extra="", **changes):
        text = STUDY.format(extra=extra)
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "toy.toml"
        path.write_text(text)
        return path

    return write


def make_record(policy, values, kind="heuristic", *, seed=None, failure=None, **changes):
    """A record that says that a policy got these objective values; a training seed makes it learned."""
    count = len(values)
    training = TrainingFacts(
        algorithm="ppo",
        seed=seed or 0,
        planned_frames=changes.pop("planned_frames", 1000),
        planned_seconds=None,
        frames=1000,
        seconds=2.5,
        settings=changes.pop("settings", {}),
        curve=[{"frames": f, "seconds": f / 400, "mean_return": -3 / f} for f in (10, 100, 1000)],
    )
    environment = {
        "name": "Queue",
        "id": "Toy-v0",
        "arguments": {"jobs": 30},
        "split": "test",
        "objective": "mean_wait",
        "direction": "min",
        "domain": "Queues",
    } | {name: changes.pop(name) for name in ("name", "direction", "arguments", "bound", "split") if name in changes}
    draft = Record(
        schema_version=4,
        record_id="",
        kind="evaluation",
        study="toy",
        description="Is the shortest job first?",
        run=changes.pop("run", f"{environment['name']}/{policy}/{seed}"),
        environment=EnvironmentFacts(**environment),
        instance=InstanceFacts(
            kind="log",
            name="toy.swf",
            size=30,
            unit="jobs",
            file_sha256="ab" * 32,
            sha256=changes.pop("workload", "cd" * 32),
            facts={"processors": 4, "clean": "default"},
            changes=[RepairFacts(rule="raise_requested_time", count=3, dropped=False)],
        ),
        policy=PolicyFacts(
            name=policy,
            kind="learned" if seed is not None else kind,
            source=policy,
            sha256=changes.pop("code", ""),
            training=None if seed is None or failure else training,
        ),
        seeds=SeedFacts(policy=changes.pop("draw", 0), training=seed, scenarios=list(range(count))),
        result=ResultFacts(
            metrics={"mean_wait": list(values), "odd": [None] * count, **changes.pop("metrics", {})},
            steps=10 * count,
            invalid_actions=0,
            failure=failure,
        ),
        evidence=EvidenceFacts(
            event_logs=["ef" * 32] * count,
            checkpoint="",
            queue=QueueFacts(
                scenario=2, time_unit="s", start=5.0, step=2.0, length=[0.0, 1.5, len(policy), 0.5, 0.0, 0.0]
            ),
        ),
        cost=CostFacts(training=0.0, environment=0.5, policy=0.25, total=1.0),
        provenance=ProvenanceFacts(
            git_revision="12" * 20,
            git_dirty=False,
            command="sysgym run toy.toml --jobs 2",
            packages={"numpy": "2.0.0"},
            python="3.11.0",
            platform="Linux",
            cpu="Some CPU",
            cores=2,
        ),
    )
    assert not changes
    return seal(draft)
