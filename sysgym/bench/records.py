"""Records: what a run was and what came of it, one canonical JSON line each.

A line is UTF-8 with sorted keys, no spaces, shortest round-trip floats and no NaN. Its `record_id` is the SHA-256 of
everything else in it, so a line that was altered is found. A file is only ever appended to, under an exclusive lock
and flushed to disk; what a crash left unfinished at its end is cut by the next append. Unknown fields are refused, and
`schema_version` rises with every change of the fields.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sysgym.bench.guard import printable
from sysgym.core.errors import OutputError, RecordError

SCHEMA_VERSION: Literal[4] = 4
READABLE = (1, 2, 3, 4)
"""Versions that can be read; fields that a record of an older one lacks are None."""


class Group(BaseModel):
    """A group of fields: immutable, and nothing but the fields that it names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class BoundFacts(Group):
    """The objective's best value, as the environment declared it, see `envs.bounds.Bound`."""

    kind: Literal["exact", "bound", "reference"]
    value: float | None = None
    metric: str = ""
    policy: str = ""


class EnvironmentFacts(Group):
    """What was played; `arguments` as in the study, so that paths of a machine stay out; `direction` "min" or "max".

    `domain` and `bound` are unknown in records of versions 1 to 3.
    """

    name: str
    id: str
    arguments: dict[str, Any]
    split: str
    objective: str
    direction: str
    domain: str = ""
    bound: BoundFacts | None = None


class RepairFacts(Group):
    """One named change that reading made."""

    rule: str
    count: int
    dropped: bool


class InstanceFacts(Group):
    """What was played, as it describes itself, see `core.instances.Instance`."""

    kind: str
    name: str
    size: int
    unit: str
    file_sha256: str
    sha256: str
    facts: dict[str, str | int | float | bool | None]
    changes: list[RepairFacts]


class WorkloadFacts(Group):
    """How records of versions 1 and 2 described a log."""

    name: str
    file_sha256: str
    sha256: str
    jobs: int
    processors: int
    clean: str
    repairs: list[RepairFacts]


class TrainingFacts(Group):
    """How a policy was trained, always on the training split: the budget that was planned, and what was spent of it.

    `environment` names another environment of the study than the one that the record is of, "" this one.
    """

    algorithm: str
    environment: str = ""
    seed: int
    planned_frames: int | None = None
    planned_seconds: float | None = None
    frames: int
    seconds: float
    settings: dict[str, Any]
    curve: list[dict[str, float | None]]


class IsolationFacts(Group):
    """Limits of a policy in a process of its own, and the fences that stood around it, see `sandbox`."""

    step_seconds: float
    cpu_seconds: int
    memory_bytes: int
    fences: list[str]


class PolicyFacts(Group):
    """What acted: a "heuristic", "search", "learned" or "code".

    `source` is as in the study, `sha256` of its file or checkpoint. `play` tells how a trained policy chose: "greedy"
    or "sampled". With `best_of` above 1 the best of so many draws of each scenario counts, and a heuristic that was
    repeated so is a "search". `isolation` is None where it played in our process.
    """

    name: str
    kind: str
    play: str = "greedy"
    best_of: int = 1
    source: str
    sha256: str
    training: TrainingFacts | None
    isolation: IsolationFacts | None = None


class SeedFacts(Group):
    """Seeds of the run: of what the policy draws, of its training if it has one, and of each scenario.

    `sealed_commitment` is the SHA-256 of the secret that sealed scenarios follow from.
    """

    policy: int
    training: int | None = None
    scenarios: list[int]
    sealed_commitment: str = ""


class ResultFacts(Group):
    """What came out: every metric of every scenario as columns, the objective among them, or a failure.

    `timeouts` and `crashes` count scenarios that were played on by doing nothing, `fault` is the first cause.
    """

    metrics: dict[str, list[float | None]]
    steps: int
    invalid_actions: int
    timeouts: int = 0
    crashes: int = 0
    fault: str = ""
    failure: str | None


class QueueFacts(Group):
    """Mean queue length in equal slices of time, of the scenario with this seed."""

    scenario: int
    time_unit: str
    start: float
    step: float
    length: list[float]


class EvidenceFacts(Group):
    """What a replay must reproduce: hashes of the event logs; actions and trained weights, relative to the records."""

    event_logs: list[str]
    action_log: str = ""
    action_log_sha256: str = ""
    checkpoint: str
    queue: QueueFacts | None


class CostFacts(Group):
    """Seconds of wall time."""

    training: float
    environment: float
    policy: float
    total: float


class ProvenanceFacts(Group):
    """Where and with what it ran."""

    git_revision: str
    git_dirty: bool
    command: str
    packages: dict[str, str]
    python: str
    platform: str
    cpu: str
    cores: int


class Record(Group):
    """One run; see the module.

    Attributes:
        schema_version: Version of these fields.
        record_id: SHA-256 of the rest.
        kind: What the record is of.
        study: Name of the study.
        description: What the study asks, in its own words.
        run: Id of the run in it.
    """

    schema_version: Literal[1, 2, 3, 4]
    record_id: str
    kind: Literal["evaluation"]
    study: str
    description: str
    run: str
    environment: EnvironmentFacts
    workload: WorkloadFacts | None = None
    instance: InstanceFacts | None = None
    policy: PolicyFacts
    seeds: SeedFacts
    result: ResultFacts
    evidence: EvidenceFacts
    cost: CostFacts
    provenance: ProvenanceFacts

    @property
    def failed(self) -> bool:
        """Whether the run came to nothing."""
        return self.result.failure is not None

    @property
    def values(self) -> list[float]:
        """The objective of each scenario; empty for a failed run."""
        column = self.result.metrics.get(self.environment.objective, [])
        return [value for value in column if value is not None]

    @property
    def played(self) -> InstanceFacts | None:
        """What was played, whatever the version of the record."""
        log = self.workload
        if log is None:
            return self.instance
        return InstanceFacts(
            kind="log",
            name=log.name,
            size=log.jobs,
            unit="jobs",
            file_sha256=log.file_sha256,
            sha256=log.sha256,
            facts={"processors": log.processors, "clean": log.clean},
            changes=log.repairs,
        )

    def line(self) -> bytes:
        """The canonical line, newline included; fields that an older version lacks stay out of it."""
        return canonical(self.model_dump(exclude_unset=True)) + b"\n"


def canonical(value: Any) -> bytes:
    """Canonical JSON: UTF-8, sorted keys, no spaces, shortest round-trip floats, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def seal(draft: Record) -> Record:
    """The record with its `record_id` filled in."""
    return draft.model_copy(update={"record_id": _identity(draft.model_dump(exclude_unset=True))})


def append_record(path: str | Path, record: Record) -> int:
    """Append one record, under an exclusive lock and flushed to disk.

    Args:
        path: The file of records; made with its folder where there is none.
        record: What is appended.

    Returns:
        How many bytes of an unfinished last line, left by a crash, were cut off first; 0 as a rule.

    Raises:
        OutputError: The file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            torn = _torn_bytes(handle)
            handle.truncate(handle.seek(0, os.SEEK_END) - torn)
            handle.write(record.line())
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    return torn


def read_records(path: str | Path) -> list[Record]:
    """Every whole record of a file, in order; an unfinished last line is no record.

    Raises:
        RecordError: No such file, a line that is no record of this version, or one that was altered.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise RecordError(
            f"{path}: {error.strerror}; give a file of records, such as STUDY.results/records.jsonl"
        ) from error
    lines = content.split(b"\n")[:-1]
    return [_parse(path, number, line) for number, line in enumerate(lines, start=1)]


def find_records_with_folders(*places: str | Path) -> list[tuple[Path, Record]]:
    """As `find_records`, each record with the folder of results that it lies in, where its evidence lies too."""
    files = [path for place in places for path in _record_files(Path(place))]
    return [(path.parent, record) for path in files for record in read_records(path)]


def find_records(*places: str | Path) -> list[Record]:
    """The records of files, of results folders, of studies, and of folders that hold such results.

    Args:
        places: Any of `records.jsonl`, `STUDY.results`, `STUDY.toml`, or a folder.

    Raises:
        RecordError: A place holds no records; or see `read_records`.
    """
    return [record for place in places for path in _record_files(Path(place)) for record in read_records(path)]


def latest(records: Iterable[Record]) -> list[Record]:
    """The last record of each run, in the order in which these were recorded."""
    last: dict[str, Record] = {}
    for record in records:
        last.pop(record.run, None)
        last[record.run] = record
    return list(last.values())


def _record_files(place: Path) -> list[Path]:
    if place.suffix == ".toml":
        place = place.with_name(f"{place.stem}.results")
    if place.is_file():
        return [place]
    files = sorted(place.glob("records.jsonl")) or sorted(place.glob("*.results/records.jsonl"))
    if not files:
        raise RecordError(f"{place}: no records here; run the study first (sysgym run STUDY.toml)")
    return files


def _identity(fields: dict[str, Any]) -> str:
    return hashlib.sha256(canonical({**fields, "record_id": ""})).hexdigest()


def _parse(path: str | Path, number: int, line: bytes) -> Record:
    place = f"{path}, line {number}"
    try:
        fields = json.loads(line)
        identity = _identity(fields) if isinstance(fields, dict) else ""
    except (ValueError, RecursionError) as error:  # NaN, lone surrogates and endless nesting among them
        cause = printable(str(error))
        raise RecordError(
            f"{place}: not canonical JSON ({cause}); the file was altered, restore it from a copy"
        ) from error
    version = fields.get("schema_version") if isinstance(fields, dict) else None
    if version not in READABLE:
        raise RecordError(f"{place}: schema_version is {version}; this sysgym reads {', '.join(map(str, READABLE))}")
    if identity != fields.get("record_id"):
        raise RecordError(f"{place}: the record was altered, its record_id is not that of its content")
    try:
        return Record.model_validate(fields)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise RecordError(f"{place}: {where}: {fault['msg'].lower()}") from error


def _torn_bytes(handle: Any) -> int:
    """How many bytes follow the last newline; reads backwards a block at a time."""
    end = position = handle.seek(0, os.SEEK_END)
    while position > 0:
        start = max(0, position - 65536)
        handle.seek(start)
        newline = handle.read(position - start).rfind(b"\n")
        if newline >= 0:
            return int(end - start - newline - 1)
        position = start
    return int(end)
