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

from sysgym.core.columns import read_only
from sysgym.core.errors import SettingError, UnknownNameError, WorkloadError, require_known, require_range
from sysgym.core.instances import Change, Instance
from sysgym.workloads.companions import DagProfile, Dependencies, NodeTable

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
        source: Where that number comes from: "MaxProcs", "MaxNodes", "caller", "generator", "node list", or "unknown",
            where the log does not tell it; such a machine is as large as can be, and a replay refuses it.
        nodes: Number of nodes, if known.
        node_list: The nodes, if known.
    """

    processors: int
    source: str
    nodes: int | None = None
    node_list: NodeTable | None = field(default=None, compare=False, repr=False)

    @property
    def is_known(self) -> bool:
        """Whether the size is known."""
        return self.source != "unknown"


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
        format: A name in `FORMATS`, or "generated".
        clean: Name of the cleaning rule, "none" if there was none.
        sha256: Of the file as it lies on disk; empty for generated workloads.
        header: The file's header, or the generator's parameters.
        rows: Rows of the file, before cleaning; 0 for generated workloads.
    """

    source: str
    format: str
    clean: str = "none"
    sha256: str = ""
    header: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0


LARGEST_MACHINE = 2**31 - 1
"""Most processors of a machine."""

EXTRA_COLUMNS: Mapping[str, tuple[type[np.generic], str]] = {
    "wait_time": (np.float64, "seconds between submission and start on the machine that wrote the log"),
    "cpu_milli": (np.int64, "thousandths of a processor that the job asks for"),
    "memory_mib": (np.int64, "MiB of memory of the whole job"),
    "gpus": (np.int64, "GPUs"),
    "gpu_milli": (np.int64, "thousandths of each GPU; less than 1000 only where `gpus` is 1"),
    "gpu_type": (np.int64, "GPU models that will do, `|` between them; a category"),
    "qos": (np.int64, "class of service; a category"),
    "role": (np.int64, "role of a task within its application; a category"),
    "name": (np.int64, "the job's name in the file; a category"),
    "allocation": (np.int64, "where the job ran, as `node*processors,...`; a category"),
    "attempts": (np.int64, "how often the job was started"),
    "batch_size": (np.int64, "examples a step of training"),
    "total_steps": (np.int64, "steps of training"),
    "max_per_node": (np.int64, "instances of the application that may share a node"),
    "context_tokens": (np.int64, "tokens that a request to a language model brings"),
    "generated_tokens": (np.int64, "tokens that it asks for"),
    "cpu_mhz": (np.float64, "MHz of all processors of the job together"),
    "deferrable": (np.int64, "1 where the job may wait until its deadline"),
    "deadline": (np.float64, "seconds since the origin of the log"),
    "workflow": (np.int64, "number of the workflow that a task belongs to"),
    "size_gb": (np.float64, "GB of data that a query reads"),
}
"""Columns that only some formats have, with their types and meanings; -1 (NaN in float64) is unknown."""

STATUS_CANCELLED, STATUS_RUNNING, STATUS_PENDING = 5, 6, 7
"""SWF's last mark, and our own marks in `status`, beside its 1 done, 0 failed, 2 to 4 partial."""


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
        status: int64: 1 done, 0 failed, 5 cancelled (SWF), 6 running, 7 pending (ours).
        source_line: int64: 1-based line of the file; number of the record in a binary one.
        machine: The machine.
        provenance: Where it comes from.
        repairs: What reading and cleaning changed.
        extra: Columns that only some formats have, by the names in `EXTRA_COLUMNS`, each of shape (n,).
        categories: Labels of columns whose numbers stand for names: number k is label k - 1.
        dependencies: Which job waits for which, or None.
        profiles: The DAG of each job by `job_id` - 1, or None.
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
    extra: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dependencies: Dependencies | None = None
    profiles: tuple[DagProfile, ...] | None = None

    @classmethod
    def from_columns(
        cls,
        columns: Mapping[str, Any],
        machine: Machine,
        provenance: Provenance,
        repairs: tuple[Repair, ...] = (),
        categories: Mapping[str, tuple[str, ...]] | None = None,
        dependencies: Dependencies | None = None,
        profiles: tuple[DagProfile, ...] | None = None,
    ) -> Workload:
        """Build a workload from arrays or lists.

        Args:
            columns: At least `submit_time`, `run_time` and `processors`; what else is missing becomes unknown, a
                missing `requested_time` equals `run_time`, a missing `job_id` counts from 1. Names in `EXTRA_COLUMNS`
                go to `extra`.
            machine: The machine.
            provenance: Where the jobs come from.
            repairs: What cleaning changed.
            categories: Labels of columns of names.
            dependencies: Which job waits for which.
            profiles: The DAG of each job.

        Raises:
            UnknownNameError: A column that a workload does not have.
            WorkloadError: Columns of unequal length or of something else than such numbers, or submissions out of
                order.
        """
        names = _COLUMN_NAMES
        for name in columns:
            if name not in names and name not in EXTRA_COLUMNS:
                raise UnknownNameError("column", name, names | set(EXTRA_COLUMNS))
        for name in ("submit_time", "run_time", "processors"):
            if name not in columns:
                raise WorkloadError(f"column {name} is missing; a workload needs submit_time, run_time and processors")
        count = len(columns["submit_time"])
        given: dict[str, Any] = {"job_id": np.arange(1, count + 1), "requested_time": columns["run_time"], **columns}
        arrays: dict[str, Any] = {}
        for name in sorted(names):
            dtype = np.float64 if name.endswith("_time") or name == "requested_memory" else np.int64
            arrays[name] = _column(name, given.get(name, unknown(count)), dtype, count)
        extra = {
            name: _column(name, given[name], dtype, count)
            for name, (dtype, _) in EXTRA_COLUMNS.items()
            if name in given
        }
        if not np.isfinite(arrays["submit_time"]).all():
            raise WorkloadError("a submit_time is NaN or infinite; every job needs one")
        if count and (np.diff(arrays["submit_time"]) < 0).any():
            raise WorkloadError("submit_time decreases; sort the jobs by (submit_time, job_id) first")
        return cls(
            **arrays,
            machine=machine,
            provenance=provenance,
            repairs=repairs,
            extra=extra,
            categories=dict(categories or {}),
            dependencies=dependencies,
            profiles=profiles,
        )

    def __len__(self) -> int:
        return len(self.submit_time)

    def take(self, rows: slice | NDArray[Any]) -> Workload:
        """The jobs in the given rows, in that order, on the same machine; O(n)."""
        chosen: dict[str, Any] = {name: column[rows] for name, column in self.columns().items()}
        return replace(self, **chosen, extra={name: column[rows] for name, column in self.extra.items()})

    def without(self, dropped: NDArray[np.bool_], rule: str) -> Workload:
        """The other jobs, with a repair that counts those that were dropped, if any; O(n).

        Args:
            dropped: bool, shape (n,).
            rule: Name of the repair.

        Raises:
            WorkloadError: No job is left.
        """
        if dropped.all():
            raise WorkloadError(f"{self.provenance.source}: {rule} leaves no job of {len(self)}")
        if not dropped.any():
            return self
        lines = tuple(int(line) for line in self.source_line[dropped][:5])
        repair = Repair(rule, int(dropped.sum()), True, lines)
        return replace(self.take(~dropped), repairs=(*self.repairs, repair))

    def labels(self, column: str) -> tuple[str, ...]:
        """The text of each job in a column whose numbers stand for names; "" where it is unknown.

        Raises:
            UnknownNameError: The column has no labels.
        """
        require_known("column of names", column, self.categories)
        names = self.categories[column]
        numbers = self.extra[column] if column in self.extra else getattr(self, column)
        return tuple(names[number - 1] if number > 0 else "" for number in numbers.tolist())

    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns that every workload has, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if isinstance(getattr(self, f.name), np.ndarray)}

    def with_run_times(self) -> Workload:
        """Only the jobs whose run time is known, with a counted repair; O(n).

        Raises:
            WorkloadError: There is none.
        """
        unknown_run = np.isnan(self.run_time)
        if unknown_run.all():
            raise WorkloadError(f"{self.provenance.source}: the log ({self.provenance.format!r}) has no run times")
        return self.without(unknown_run, "drop_unknown_run_time")

    def split(self, name: str) -> Workload:
        """One of the splits in `SPLITS`: a contiguous range of jobs, disjoint in order of submission."""
        require_known("split", name, SPLITS)
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
        if not 0 < factor < float("inf"):
            raise SettingError(f"the arrival factor is {factor}; it must be a number above 0")
        return replace(self, submit_time=np.floor(self.submit_time * factor))

    def with_load(self, load: float) -> Workload:
        """The same jobs with submissions scaled to an offered load, met but for rounding to whole seconds.

        Raises:
            SettingError: `load` not above 0.
            WorkloadError: The load of these jobs is undefined: no run times, no machine, or all at one instant.
        """
        require_range("load", load, 0, open_low=True)
        own = self.offered_load if self.machine.is_known else float("nan")
        if not own > 0:
            raise WorkloadError(
                f"{self.provenance.source}: the offered load of these jobs is {own}; it cannot be scaled"
            )
        return self.with_arrivals_scaled(own / load)

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


_COLUMN_NAMES = {f.name for f in fields(Workload) if str(f.type).startswith("NDArray")}


def _column(name: str, values: Any, dtype: type[np.generic], count: int) -> NDArray[Any]:
    try:
        given = np.asarray(values)
        if given.dtype.kind in "SU":
            raise TypeError(f"they are {given.dtype}")
        with np.errstate(invalid="ignore"):
            column = np.array(given, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise WorkloadError(f"column {name} holds no numbers of one kind: {error}") from None
    if column.shape != (count,):
        raise WorkloadError(f"column {name} has {column.shape} values, submit_time has {count}")
    wrong = given != column if dtype == np.int64 else np.zeros(count, dtype=np.bool_)
    if wrong.any():
        raise WorkloadError(f"column {name} holds {given[wrong][0]}; it takes whole numbers, -1 where one is unknown")
    return read_only(column)
