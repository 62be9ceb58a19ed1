"""Running a study: what is missing is trained, evaluated and recorded, one run after another or several at once.

A run that fails is recorded with its cause and does not stop the others; the next call tries it again. Only the
calling process writes records, so a study that Ctrl-C or SIGTERM stops keeps every run that ended and goes on where it
stopped; a training that was cut short goes on from its last checkpoint.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym

from sysgym.bench import environments, records
from sysgym.bench.cluster import run_on_ray
from sysgym.bench.execution import execute, failed
from sysgym.bench.policies import is_policy_file, policy_file, resolve_policy, unknown_policy
from sysgym.bench.provenance import command_line
from sysgym.bench.records import Record
from sysgym.bench.study import Run, Study, expand, read_study
from sysgym.core.errors import SettingError, StudyError, SysgymError, require_known, require_range
from sysgym.core.stopping import end_with_parent, terminable


@dataclass(frozen=True)
class Progress:
    """What a progress bar is told.

    Attributes:
        state: "planned" (a dry run), "kept" (its record is there), "done" or "failed"; with one job at a time also
            "started" and "training"; and "notice" for what else a user should know.
        run: Which run; None for a notice.
        ended: Runs that have ended or were kept.
        total: Runs of the study.
        share: Share of a training's budget that is spent, 0 to 1.
        text: Cause of a failure, or the notice.
    """

    state: str
    run: Run | None
    ended: int
    total: int
    share: float = 0.0
    text: str = ""


Report = Callable[[Progress], object]

BACKENDS = ("processes", "ray")


def run_study(
    path: str | Path,
    jobs: int = 1,
    resume: bool = True,
    dry_run: bool = False,
    progress: Report | None = None,
    backend: str = "processes",
    address: str | None = None,
    secret: bytes = b"",
) -> list[Record]:
    """Run what is missing of a study.

    Args:
        path: The study file; records and checkpoints go to `<its name>.results/` beside it.
        jobs: Runs at the same time.
        resume: Whether runs that have a good record are kept; else all are run anew, and the new records count.
        dry_run: Whether to run nothing, only to check the study and report what would run.
        progress: Called with every change.
        backend: "processes" of this machine, or "ray", which takes a CPU for each run where `jobs` is 1.
        address: Of a Ray cluster; None: this machine.
        secret: Of the sealed split.

    Returns:
        The last record of each run of the study, in the order of the study, failed ones included.

    Raises:
        StudyError: The study cannot be read, names an environment, heuristic, algorithm or file that does not exist,
            or an environment cannot be made with its arguments.
        RecordError: Its records are damaged.
        SettingError: A value is out of range, or Ray is asked for and not there.
        KeyboardInterrupt: At Ctrl-C.
        Terminated: At SIGTERM.
    """
    require_range("jobs", jobs, 1)
    if backend not in BACKENDS:
        raise SettingError(f"backend is {backend!r}; it must be {' or '.join(map(repr, BACKENDS))}")
    if address is not None and backend != "ray":
        raise SettingError(f"address is {address!r}; only backend='ray' has one")
    study = read_study(path, secret)
    runs = expand(study)
    _check_names(study, runs)
    session = _Session(study, runs, progress or (lambda change: None))
    missing = session.missing(resume)
    _check_environments(study, missing)
    if dry_run:
        for run in missing:
            session.tell("planned", run)
    elif missing:
        with terminable():
            session.execute(missing, jobs, resume, backend, address)
    return session.latest()


class _Session:
    """One call of `run_study`: counts, tells and appends."""

    def __init__(self, study: Study, runs: list[Run], report: Report) -> None:
        self.study, self.runs, self.report = study, runs, report
        self.ended = 0

    def latest(self) -> list[Record]:
        """The last record of each run that has one."""
        if not self.study.records.is_file():
            return []
        known = {record.run: record for record in records.latest(records.read_records(self.study.records))}
        return [known[run.id] for run in self.runs if run.id in known]

    def missing(self, resume: bool) -> list[Run]:
        """Runs that have no good record, or all."""
        kept = {record.run: record for record in self.latest() if not record.failed} if resume else {}
        good = {run.id for run in self.runs if run.id in kept and not _limits_mattered(run, kept[run.id])}
        for run in self.runs:
            if run.id in good:
                self.ended += 1
                self.tell("kept", run)
        return [run for run in self.runs if run.id not in good]

    def tell(self, state: str, run: Run | None, share: float = 0.0, text: str = "") -> None:
        """Report a change."""
        self.report(Progress(state, run, self.ended, len(self.runs), share, text))

    def execute(self, missing: list[Run], jobs: int, resume: bool, backend: str, address: str | None) -> None:
        """Run and record, here, in a pool, or on Ray."""
        command = command_line()
        if backend == "ray":
            with closing(run_on_ray(missing, command, resume, address, jobs)) as ended:
                for run, record in ended:
                    self.append(run, record)
            return
        if jobs == 1:
            for run in missing:
                self.tell("started", run)
                self.append(run, execute(run, command, resume, partial(self.tell, "training", run)))
            return
        for run, record in _in_pool(missing, min(jobs, len(missing)), command, resume):
            self.append(run, record)

    def append(self, run: Run, record: Record) -> None:
        """Write down a run that has ended."""
        cut = records.append_record(self.study.records, record)
        self.ended += 1
        if cut:
            self.tell("notice", None, text=f"{self.study.records}: cut an unfinished last line of {cut} bytes")
        self.tell("failed" if record.failed else "done", run, 1.0, record.result.failure or "")


def _limits_mattered(run: Run, record: Record) -> bool:
    """Whether a policy that did not answer everything was played within other limits than it has now."""
    within = record.policy.isolation
    if not (record.result.timeouts or record.result.crashes) or within is None:
        return False
    now = run.study.content.budgets.limits
    return run.policy.trusted or asdict(now) != within.model_dump(exclude={"fences"})


def _check_names(study: Study, runs: Sequence[Run]) -> None:
    """Find a misspelt name or a missing policy file before anything runs, not after an hour."""
    from sysgym.agents.algorithms import ALGORITHMS, SEARCHES  # noqa: PLC0415

    for run in runs:
        source = run.policy.source
        try:
            if run.policy.best_of > 1 and not environments.known_at_once(run.environment.id):
                raise SettingError(
                    f"{run.policy.title} has best_of = {run.policy.best_of}; what comes is not known there, so the "
                    "best of several tries would be hindsight; leave best_of out"
                )
            known = environments.heuristics_of(run.environment.id)
            if run.policy.train is not None:
                known_algorithms = [*ALGORITHMS, *SEARCHES]
                require_known("algorithm", run.policy.train.algorithm, known_algorithms)
            elif source not in known and not is_policy_file(study.located(source)):
                raise unknown_policy(study.located(source), known)
        except SysgymError as error:
            raise StudyError(f"{study.path}: {run.environment.title}: {error}") from error


def _check_checkpoint(run: Run, env: gym.Env[Any, Any]) -> None:
    """Refuse a checkpoint, or a training, of another environment than the one that it shall play in."""
    policy, env_id = run.policy, run.environment.id
    if policy.train is None:
        source = run.study.located(policy.source)
        if policy_file(source)[0].suffix == ".safetensors":
            resolve_policy(source, env, transfer=policy.transfer)
    elif run.training_environment.id != env_id and not policy.transfer:
        raise SettingError(
            f"{policy.title} is trained in {run.training_environment.id}, not in {env_id}; leave this environment out "
            "of its environments, or add transfer = true"
        )


def _check_environments(study: Study, runs: Sequence[Run]) -> None:
    """Make each environment once before anything runs: a missing log or argument, a strange policy is found here."""
    for (title, split), first in {(run.environment.title, run.split): run for run in runs}.items():
        env_id = first.environment.id
        try:
            environments.scenario_seeds(env_id, split, first.scenarios, study.content.seed, study.secret)
            env = environments.make(env_id, environments.evaluation_arguments(env_id, first.arguments, split))
            try:
                for run in runs:
                    if (run.environment.title, run.split) == (title, split):
                        _check_checkpoint(run, env)
            finally:
                env.close()
        except SysgymError as error:
            raise StudyError(f"{study.path}: {title}: {error}") from error
    for run in {run.training_environment.title: run for run in runs if run.policy.train}.values():
        env_id = run.training_environment.id
        try:
            environments.make(env_id, environments.training_arguments(env_id, run.training_arguments)).close()
        except SysgymError as error:
            raise StudyError(f"{study.path}: {run.training_environment.title}: {error}") from error


def _in_pool(runs: Sequence[Run], jobs: int, command: str, resume: bool) -> Iterator[tuple[Run, Record]]:
    """Run in fresh processes; yields in the order in which runs end. Leaving early ends the processes."""
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin_process, (jobs,))
    before = set(multiprocessing.active_children())
    try:
        waiting: dict[Future[Record], Run] = {pool.submit(execute, run, command, resume): run for run in runs}
        for future in as_completed(waiting):
            run = waiting[future]
            try:
                yield run, future.result()
            except BrokenProcessPool:
                cause = "the process ended unexpectedly (out of memory, or killed); run again with fewer jobs"
                yield run, failed(run, command, cause)
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_process(jobs: int) -> None:
    """Share the cores, leave Ctrl-C to the process that the user sees, and end when that was killed."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, threads)
