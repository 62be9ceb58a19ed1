"""A workload: the jobs of a log or a generator, as columns, with the machine they ran on and where they came from.

Readers and generators make one, replay and environments consume one. It is immutable; windows and splits are new
workloads that share memory where they can. The splits of a log are disjoint in time by construction: training sees
its first 60 %, validation the next 20 %, and testing the last 20 % of the jobs in order of submission.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.engines import read_only
from sysgym.core.errors import SettingError, UnknownNameError, WorkloadError, require_range
from sysgym.core.instances import Change, Instance

SPLITS: Mapping[str, tuple[float, float]] = {
    "train": (0.0, 0.6),
    "valid": (0.6, 0.8),
    "test": (0.8, 1.0),
    "all": (0.0, 1.0),
}
"""Share of the jobs, in order of submission, at which each split begins and ends."""

SAMPLINGS = ("uniform", "disjoint")
"""How episodes take windows of a split: drawn from (seed, episode), or one after another without overlap."""


@dataclass(frozen=True)
class Machine:
    """The machine a workload ran on, or shall run on.

    Attributes:
        processors: Size of the one pool of processors, at least 1.
        source: Where that number comes from: "MaxProcs", "MaxNodes", "caller" or "generator".
        nodes: Number of nodes, if known.
    """

    processors: int
    source: str
    nodes: int | None = None


@dataclass(frozen=True)
class Repair:
    """One named change that cleaning made, and how often.

    Attributes:
        rule: Name of the rule, such as "raise_requested_time".
        count: Jobs it touched.
        dropped: Whether those jobs were left out (else they were changed).
        lines: The first five line numbers of the file that it touched.
    """

    rule: str
    count: int
    dropped: bool
    lines: tuple[int, ...] = ()


@dataclass(frozen=True)
class Provenance:
    """Where a workload comes from.

    Attributes:
        source: Path of the file, or name of the generator.
        format: "swf", "csv", or "generated".
        clean: Name of the cleaning rule, "none" if there was none.
        sha256: Of the file as it lies on disk; empty for generated workloads.
        header: The file's header, or the generator's parameters.
    """

    source: str
    format: str
    clean: str = "none"
    sha256: str = ""
    header: Mapping[str, str] = field(default_factory=dict)


LARGEST_MACHINE = 2**31 - 1
"""Most processors of a machine."""


def unknown(count: int) -> NDArray[np.int64]:
    """A column of -1, the mark of an unknown value, for `count` jobs."""
    return np.full(count, -1, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Workload:
    """Jobs as columns, sorted by submission; see the module for splits.

    Attributes:
        job_id: int64, shape (n,): the number in the source.
        submit_time: float64, seconds since the origin of the source, never decreasing.
        run_time: float64, seconds; NaN where the format has none.
        requested_time: float64, seconds: the user's estimate.
        processors: int64: processors the job needs, as the cleaning rule chose them.
        user: int64; -1 is unknown, here and in the columns that follow.
        group: int64.
        executable: int64.
        queue: int64.
        partition: int64.
        requested_memory: float64, KB a processor.
        status: int64: 1 done, 0 failed, 5 cancelled (SWF).
        source_line: int64: 1-based line of the file.
        machine: The machine.
        provenance: Where it comes from.
        repairs: What cleaning changed.
    """

    job_id: NDArray[np.int64]
    submit_time: NDArray[np.float64]
    run_time: NDArray[np.float64]
    requested_time: NDArray[np.float64]
    processors: NDArray[np.int64]
    user: NDArray[np.int64]
    group: NDArray[np.int64]
    executable: NDArray[np.int64]
    queue: NDArray[np.int64]
    partition: NDArray[np.int64]
    requested_memory: NDArray[np.float64]
    status: NDArray[np.int64]
    source_line: NDArray[np.int64]
    machine: Machine
    provenance: Provenance
    repairs: tuple[Repair, ...] = ()

    @classmethod
    def from_columns(
        cls,
        columns: Mapping[str, Any],
        machine: Machine,
        provenance: Provenance,
        repairs: tuple[Repair, ...] = (),
    ) -> Workload:
        """Build a workload from arrays or lists.

        Args:
            columns: At least `submit_time`, `run_time` and `processors`; what else is missing becomes unknown, a
                missing `requested_time` equals `run_time`, a missing `job_id` counts from 1.
            machine: The machine.
            provenance: Where the jobs come from.
            repairs: What cleaning changed.

        Raises:
            UnknownNameError: A column that a workload does not have.
            WorkloadError: Columns of unequal length, or submissions out of order.
        """
        names = {f.name for f in fields(cls)} - {"machine", "provenance", "repairs"}
        for name in columns:
            if name not in names:
                raise UnknownNameError("column", name, names)
        for name in ("submit_time", "run_time", "processors"):
            if name not in columns:
                raise WorkloadError(f"column {name} is missing; a workload needs submit_time, run_time and processors")
        count = len(columns["submit_time"])
        given: dict[str, Any] = {"job_id": np.arange(1, count + 1), "requested_time": columns["run_time"], **columns}
        arrays: dict[str, Any] = {}
        for name in sorted(names):
            dtype = np.float64 if name.endswith("_time") or name == "requested_memory" else np.int64
            column = np.array(given.get(name, unknown(count)), dtype=dtype)
            if column.shape != (count,):
                raise WorkloadError(f"column {name} has {column.shape} values, submit_time has {count}")
            arrays[name] = read_only(column)
        if not np.isfinite(arrays["submit_time"]).all():
            raise WorkloadError("a submit_time is NaN or infinite; every job needs one")
        if count and (np.diff(arrays["submit_time"]) < 0).any():
            raise WorkloadError("submit_time decreases; sort the jobs by (submit_time, job_id) first")
        return cls(**arrays, machine=machine, provenance=provenance, repairs=repairs)

    def __len__(self) -> int:
        return len(self.submit_time)

    def take(self, rows: slice | NDArray[Any]) -> Workload:
        """The jobs in the given rows, in that order, on the same machine; O(n)."""
        chosen: dict[str, Any] = {name: column[rows] for name, column in self.columns().items()}
        return replace(self, **chosen)

    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if isinstance(getattr(self, f.name), np.ndarray)}

    def split(self, name: str) -> Workload:
        """One of the splits in `SPLITS`: a contiguous range of jobs, disjoint in order of submission."""
        if name not in SPLITS:
            raise UnknownNameError("split", name, SPLITS)
        begin, end = (round(share * len(self)) for share in SPLITS[name])
        return self.take(slice(begin, end))

    def with_processors(self, processors: int) -> Workload:
        """The same jobs on a machine of another size.

        Raises:
            SettingError: Fewer than one processor.
            WorkloadError: A job is larger than that machine.
        """
        require_range("processors", processors, 1, LARGEST_MACHINE, whole=True)
        oversized = np.flatnonzero(self.processors > processors)
        if len(oversized):
            job = oversized[0]
            raise WorkloadError(
                f"job {self.job_id[job]} needs {self.processors[job]} processors, the machine has {processors} "
                f"({len(oversized)} such jobs); read the log with that machine size so that cleaning drops them"
            )
        return replace(self, machine=Machine(int(processors), "caller"))

    def with_arrivals_scaled(self, factor: float) -> Workload:
        """The same jobs with submissions at floor(submit_time * factor); 0.5 doubles the load."""
        if not factor > 0:
            raise SettingError(f"the arrival factor is {factor}; it must be above 0")
        return replace(self, submit_time=np.floor(self.submit_time * factor))

    @property
    def offered_load(self) -> float:
        """Work over capacity between the first and the last submission; NaN for fewer than two instants."""
        span = self.submit_time[-1] - self.submit_time[0] if len(self) else 0.0
        if span <= 0:
            return float("nan")
        return float((self.run_time * self.processors).sum() / (self.machine.processors * span))

    def sha256(self) -> str:
        """Hexadecimal SHA-256 over the columns that a replay depends on, and the machine size."""
        digest = hashlib.sha256(str(self.machine.processors).encode())
        for column in (self.job_id, self.submit_time, self.run_time, self.requested_time, self.processors):
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()

    def instance(self) -> Instance:
        """What a record says of it."""
        return Instance(
            kind="log",
            name=Path(self.provenance.source).name,
            size=len(self),
            unit="jobs",
            sha256=self.sha256(),
            file_sha256=self.provenance.sha256,
            facts={"processors": self.machine.processors, "clean": self.provenance.clean},
            changes=tuple(Change(repair.rule, repair.count, repair.dropped) for repair in self.repairs),
        )
