"""The readable truth: one episode on SimPy. `model` has the rules in words; here jobs, stages and executors act them.

`cluster` says what there is and what can be looked up of it; here is what happens to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from sysgym.core.columns import read_only, read_only_columns
from sysgym.core.events import EventKind, EventLog, EventRecorder
from sysgym.core.protocols import Simulator
from sysgym.jobsched.dag.arrivals import DagJobs
from sysgym.jobsched.dag.choices import write_mask
from sysgym.jobsched.dag.cluster import Cluster, Executor, Job, Promise, Round, Stage
from sysgym.jobsched.dag.metrics import dag_metrics
from sysgym.jobsched.dag.model import BUSY, IDLE, NOTHING, UNDER_WAY, WAITING, DagConfig, DagState, most_stages
from sysgym.jobsched.dag.observation import View, show
from sysgym.jobsched.dag.outlook import new_outlook
from sysgym.jobsched.dag.profiles import FIRST, FRESH, REST, task_duration
from sysgym.jobsched.dag.rewards import REGRET, Reward, fluid_time, reward_code, reward_of


class DagSimulator(Cluster, Simulator):
    """One episode.

    Args:
        config: The cluster.
        jobs: Where its jobs come from.
        view: What is seen.
        reward: A name of `REWARDS`, or a function of (state before, action, state after).
    """

    def __init__(self, config: DagConfig, jobs: DagJobs, view: View, reward: str | Reward = "completion") -> None:
        self.config, self.source, self.view, self.reward = config, jobs, view, reward
        self.num_actions, self.observation_spec = config.num_actions, view.spec
        self.table, self.limits = jobs.table(config.executors, config.warm_up), config.limit_values
        config.check(self.table)
        self._known = read_only(self.limits)
        self._per_job = most_stages(self.table)
        self._reward_code = reward_code(reward) if isinstance(reward, str) else NOTHING

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy may write to no profile either; else numba would compile everything once more."""
        self.__dict__ |= state
        self.table, self._known = read_only_columns(self.table), read_only(self.limits)

    def reset(self, seed: int, episode: int, options: Mapping[str, Any] | None = None) -> None:
        """See `Simulator.reset`; `options["horizon_seconds"]` cuts the episode there."""
        self.arrivals = self.source.draw(seed, episode, options)
        self.clock, self.log = simpy.Environment(), EventRecorder()
        self.executors = [Executor(number) for number in range(self.config.executors)]
        self.to_come, self.jobs = self._all_jobs(), list[Job]()
        self.promises = list[Promise]()
        self.round = None
        self.asking: list[Job | None] = []
        self.decisions, self.area, self.added, self.is_cut = 0, 0, 0.0, False
        for job in self.to_come:
            self._after(job.submit, self._arrive)
        self._run_to_decision()

    def step(self, action: int) -> tuple[float, bool, bool]:
        """Commit executors to a stage, or leave the rest idle."""
        before = self.state() if callable(self.reward) else None
        area, time, own = self.area, self.now, self._own_growth()
        self.decisions += 1
        mask = self._mask()
        stage, commits = self._meaning(action)
        if stage is None and not mask[-1]:
            stage, commits = self._meaning(int(mask.argmax()))
        if stage is None:
            self._close_round()
        else:
            self._commit(stage, commits)
        self._run_to_decision()
        ended = self._is_over()
        if callable(self.reward):
            return float(self.reward(before, action, self.state())), ended, self.is_cut and not ended  # type: ignore[arg-type]
        growth = self._own_growth() - own
        reward = reward_of(self._reward_code, self.area - area, self.now - time, growth)
        return reward, ended, self.is_cut and not ended

    def observe(self, observation: NDArray[Any], action_mask: NDArray[np.int8]) -> None:
        """See `Simulator.observe`."""
        state = self.state()
        action_mask[:] = state.mask
        outlook = new_outlook(len(state.job), len(state.stage))
        columns = state.numbers, state.job, state.stage, state.executor, self._known, state.node, state.mask
        show(self.view.code, *columns, self.table, outlook, observation.reshape(-1))

    def state(self) -> DagState:
        """See `Simulator.state`: a snapshot that later steps leave as it is."""
        numbers, job, stage, executor, node = self.columns()
        numbers, job, stage, executor, node = map(read_only, (numbers, job, stage, executor, node))
        return DagState(numbers, job, stage, executor, self._known, node, read_only(self._mask()), self.table)

    def events(self) -> EventLog:
        """See `Simulator.events`."""
        return self.log.log()

    def metrics(self) -> dict[str, float]:
        """See `Simulator.metrics`."""
        return dag_metrics(self.events(), self.arrivals, self.now / 1000.0, self.table, self.config)

    # decisions

    def _meaning(self, action: int) -> tuple[Stage | None, int]:
        """The stage that an action commits executors to, and how many; None where it commits nobody."""
        place, choice = divmod(action, len(self.limits))
        shown = self.visible()
        if self.round is None or place >= len(shown) or not self.is_selectable(shown[place]):
            return None, 0
        stage = shown[place]
        has = len(self.attached(stage.job)) + self.expected(stage.job)
        if self.round.job is stage.job:
            has -= self.round.free
        commits = min(self.untaken(stage), int(self.limits[choice]) - has, self.round.free)
        return (stage, commits) if commits > 0 else (None, 0)

    def _commit(self, stage: Stage, count: int) -> None:
        assert self.round is not None
        self.promises.append(Promise(self.round.stage, stage, count))
        self.round.chosen.append(stage)
        self.round.free -= count
        self.round.committed += count
        self._note(EventKind.BOOK, stage.number, count)

    def _close_round(self) -> None:
        """The rest of the source idles, and those who are free do what was decided."""
        closed, self.round = self.round, None
        assert closed is not None
        if closed.free > 0:
            self.promises.append(Promise(closed.stage, None, closed.free))
        if closed.leaver is not None:
            promise = self.first_promise(closed.stage)
            assert promise is not None
            self._keep(promise, closed.leaver)
            return
        for executor in self.pool(closed.job):
            promise = self.first_promise(None)
            assert promise is not None
            self._keep(promise, executor)

    def _run_to_decision(self) -> None:
        """Go on until somebody has to decide, all jobs are done, or the horizon is reached."""
        while not (self.round is not None and self.round.free > 0 and any(map(self.is_selectable, self.visible()))):
            if self.round is not None:
                self._close_round()
            elif self.asking:
                self._ask_pool(self.asking.pop(0))
            elif self._is_over() or self.is_cut:
                return
            elif self.clock.peek() == float("inf"):
                self._ask_pool(next(pool for pool in (None, *self.jobs) if self.pool(pool)))
            else:
                self._pass_time()

    def _ask_pool(self, job: Job | None) -> None:
        """Begin a round about the idle executors of a pool, if there are any."""
        idle = self.pool(job)
        if idle:
            self.round = Round(job, None, None, len(idle))

    # what happens

    def _pass_time(self) -> None:
        time, horizon = int(self.clock.peek()), self.arrivals.horizon
        self.is_cut = 0 < horizon <= time
        time = horizon if self.is_cut else time
        self.area += sum(1 for _ in self.present()) * (time - self.now)
        if self.is_cut:
            self.clock.run(until=horizon) if horizon > self.now else None
        else:
            self.clock.step()

    def _arrive(self) -> None:
        job = self.to_come.pop(0)
        begin, end = self.table.first_stage[job.kind : job.kind + 2].tolist()
        number = job.number * self._per_job
        job.stages = [
            Stage(
                job, number + k, begin + k, int(self.table.tasks[begin + k]),
                job.first_task + int(self.table.task_offset[begin + k]),
            )
            for k in range(end - begin)
        ]  # fmt: skip
        for stage in job.stages:
            starts = self.table.parent_start[stage.profile : stage.profile + 2]
            stage.parents = [job.stages[k] for k in self.table.parent[slice(*starts)].tolist()]
            for parent in stage.parents:
                parent.children.append(stage)
        before = self._fluid_time()
        self.jobs.append(job)
        self.added += self._fluid_time() - before
        self._note(EventKind.SUBMIT, job.number, job.tasks)
        self.asking.append(None)

    def _end_task(self, executor: Executor) -> None:
        """A task has ended; its executor goes on with the stage, keeps a promise, rests, or is asked for."""
        stage = executor.stage
        assert stage is not None
        stage.finished += 1
        if stage.taken < stage.tasks:
            self._take_task(executor, stage, REST)
            return
        executor.status = WAITING
        unlocked = stage.is_complete and any(child.is_runnable for child in stage.children)
        ended, promise = stage.job.is_complete, self.first_promise(stage)
        if promise is not None:
            self._keep(promise, executor)
        elif ended or unlocked:
            self._rest(executor)
        else:
            self.round = Round(stage.job, stage, executor, len(self.workers(stage)))
        if ended:
            self._end_job(stage.job)
        if unlocked:
            self.asking.append(stage.job)
        if ended or unlocked:
            self.asking.append(None)

    def _end_job(self, job: Job) -> None:
        job.finish = self.now
        self._note(EventKind.FINISH, job.number, 0)
        for executor in self.attached(job):
            executor.job = None
        for executor in self.executors:
            if executor.status == UNDER_WAY and executor.stage is not None and executor.stage.job is job:
                executor.stage = None
        self.promises = [one for one in self.promises if one.target is None or one.target.job is not job]

    def _reach_job(self, executor: Executor) -> None:
        """An executor arrives where it was sent."""
        stage, executor.stage, executor.status = executor.stage, None, IDLE
        if stage is None:  # the job has ended meanwhile
            self._find_other_work(executor)
        else:
            executor.job = stage.job
            self._send(executor, stage)

    # what executors do

    def _keep(self, promise: Promise, executor: Executor) -> None:
        promise.count -= 1
        if promise.count == 0:
            self.promises.remove(promise)
        if promise.target is None:
            self._rest(executor)
        else:
            self._send(executor, promise.target)

    def _send(self, executor: Executor, stage: Stage) -> None:
        """Follow a commitment, unless it has become stale."""
        if stage.taken >= stage.tasks:
            self._find_other_work(executor)
        elif executor.job is not stage.job:
            self._move(executor, stage)
        elif stage.is_runnable:
            self._enter(executor, stage)
        else:
            self._rest(executor)

    def _find_other_work(self, executor: Executor) -> None:
        """Too late: something in the own job, else what is selectable first, else nothing."""
        own = executor.job
        for stage in own.stages if own is not None else ():
            if stage.is_runnable and self.untaken(stage) > 0:
                self._enter(executor, stage)
                return
        selectable = (stage for job in self.present() for stage in job.stages if self.is_selectable(stage))
        stage = next(selectable, None)  # type: ignore[assignment]
        if stage is None or stage.job is own:
            self._rest(executor)
        else:
            self._move(executor, stage)

    def _enter(self, executor: Executor, stage: Stage) -> None:
        kind = FIRST if executor.status == WAITING else FRESH
        executor.status, executor.stage = BUSY, stage
        self._take_task(executor, stage, kind)

    def _take_task(self, executor: Executor, stage: Stage, kind: int) -> None:
        attached = len(self.attached(stage.job))
        if stage.taken == 0:
            self._note(EventKind.START, stage.number, attached)
        key, episode = self.arrivals.duration_key, self.arrivals.episode
        task, inverted = stage.first_task + stage.taken, self.config.inverted_levels
        stage.taken += 1
        duration = task_duration(self.table, key, episode, task, stage.profile, attached, kind, inverted)
        executor.status = BUSY
        self._after(duration, lambda: self._end_task(executor))

    def _move(self, executor: Executor, stage: Stage) -> None:
        executor.job, executor.stage, executor.status = None, stage, UNDER_WAY
        self._after(self.config.moving_delay, lambda: self._reach_job(executor))

    def _rest(self, executor: Executor) -> None:
        """Idle: in the job's pool while tasks are left there, else in the common one."""
        executor.status, executor.stage = IDLE, None
        if executor.job is not None and executor.job.untaken == 0:
            executor.job = None

    # the rest

    def _after(self, delay: int, happen: Callable[[], None]) -> None:
        self.clock.timeout(int(delay)).callbacks.append(lambda _: happen())

    def _note(self, kind: EventKind, subject: int, amount: int) -> None:
        self.log.append(self.now / 1000.0, kind, subject, amount)

    def _fluid_time(self) -> float:
        """What a fluid cluster would still need; 0 where no reward asks for it."""
        if self._reward_code != REGRET:
            return 0.0
        numbers, job, stage, *_ = self.columns()
        return float(fluid_time(numbers, job, stage, self.config.executors, self.table)) if self.jobs else 0.0

    def _own_growth(self) -> float:
        return self._fluid_time() - self.added

    def _is_over(self) -> bool:
        return not self.to_come and all(job.finish != NOTHING for job in self.jobs)

    def _all_jobs(self) -> list[Job]:
        jobs, task = [], 0
        for number, (kind, submit) in enumerate(
            zip(self.arrivals.kind.tolist(), self.arrivals.submit.tolist(), strict=True)
        ):
            tasks = int(self.table.tasks[slice(*self.table.first_stage[kind : kind + 2])].sum())
            jobs.append(Job(number, kind, submit, task, tasks))
            task += tasks
        return jobs

    def _mask(self) -> NDArray[np.int8]:
        numbers, job, stage, _, node = self.columns()
        mask = np.zeros(self.num_actions, dtype=np.int8)
        write_mask(numbers, job, stage, self.limits, node, self.table, mask)
        return mask
