"""The rows of `sysgym index bench` as records, so that the leaderboard and the report show them.

A key set with a batch size is an environment, a timed round a scenario, nanoseconds a query the objective. What fits a
model to the keys counts as learned; trees, plain searches and rivals are the heuristics that it is compared with. Times
belong to the machine that the record names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.bench.indexes import LEARNED, IndexRow
from sysgym.bench.provenance import collect, command_line
from sysgym.bench.records import (
    SCHEMA_VERSION,
    CostFacts,
    EnvironmentFacts,
    EvidenceFacts,
    InstanceFacts,
    PolicyFacts,
    Record,
    ResultFacts,
    SeedFacts,
    append_record,
    seal,
)

STUDY = "index_bench"


def append_rows(path: str | Path, rows: Sequence[IndexRow], keys: NDArray[Any], queries: int) -> int:
    """Append a record for each row that has a batch; how many those are.

    Args:
        path: File of records.
        rows: Of one key set, from `indexes.compare`.
        keys: The key set.
        queries: Size of the batch.

    Raises:
        OutputError: The file cannot be written.
    """
    timed = [row for row in rows if row.rounds_ns]
    digest = hashlib.sha256(np.ascontiguousarray(keys).view(np.uint8).data).hexdigest()
    for row in timed:
        append_record(path, _record(row, keys, digest, queries))
    return len(timed)


def _record(row: IndexRow, keys: NDArray[Any], digest: str, queries: int) -> Record:
    rounds = len(row.rounds_ns)
    single, size = row.single_ns, row.bytes_per_key
    title = f"{row.key_set}, {len(keys):,} keys, batches of {queries:,}"
    return seal(
        Record(
            schema_version=SCHEMA_VERSION,
            record_id="",
            kind="evaluation",
            study=STUDY,
            description="Nanoseconds a query of a batch of present keys in random order; every answer verified.",
            run=hashlib.sha256(f"{STUDY}/{digest}/{queries}/{row.name}".encode()).hexdigest()[:16],
            environment=EnvironmentFacts(
                name=title, id="index bench", arguments={"queries": queries}, split="all",
                objective="batch_ns", direction="min", domain="Learned indexes",
            ),
            instance=InstanceFacts(
                kind="keys", name=row.key_set, size=len(keys), unit="keys", file_sha256="", sha256=digest,
                facts={"dtype": str(keys.dtype)}, changes=[],
            ),
            policy=PolicyFacts(
                name=row.name, kind="learned" if row.name in LEARNED else "heuristic", source=row.name, sha256="",
                training=None,
            ),
            seeds=SeedFacts(policy=0, scenarios=list(range(rounds))),
            result=ResultFacts(
                metrics={
                    "batch_ns": list(row.rounds_ns),
                    "single_ns": [single] * rounds,
                    "build_ns": [row.build_ns] * rounds,
                    "bytes_per_key": [size] * rounds,
                },
                steps=rounds * queries,
                invalid_actions=0,
                failure=None,
            ),
            evidence=EvidenceFacts(event_logs=[], checkpoint="", queue=None),
            cost=CostFacts(training=0.0, environment=0.0, policy=0.0, total=sum(row.rounds_ns) * queries / 1e9),
            provenance=collect(Path(), command_line()),
        )
    )  # fmt: skip
