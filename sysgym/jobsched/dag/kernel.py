"""The fast copy of `simulator`: B episodes over flat arrays, compiled; the moves are in `dynamics`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.choice_network import ChoiceNetwork
from sysgym.core.columns import copied_columns, doubled, read_only, read_only_columns
from sysgym.core.compiled import uncounted
from sysgym.core.errors import SettingError
from sysgym.core.events import EventLog
from sysgym.core.protocols import Engine, Slot
from sysgym.jobsched.dag.arrivals import Arrivals, DagJobs
from sysgym.jobsched.dag.choices import write_mask
from sysgym.jobsched.dag.dynamics import decide, run_to_decision
from sysgym.jobsched.dag.episodes import (
    AREA,
    CUT,
    HORIZON,
    KEY,
    NUMBER,
    WRITTEN,
    Episode,
    Rules,
    allocate,
    begin,
    row_of,
)
from sysgym.jobsched.dag.graph_play import Arena
from sysgym.jobsched.dag.metrics import dag_metrics
from sysgym.jobsched.dag.model import ARRIVED, DONE, KIND, SUBMIT, TIME, DagConfig, DagState, most_stages
from sysgym.jobsched.dag.observation import View, show
from sysgym.jobsched.dag.outlook import Outlook, new_outlook
from sysgym.jobsched.dag.profiles import Integers, ProfileTable
from sysgym.jobsched.dag.rewards import COMPLETION, REGRET, fluid_time, reward_code, reward_of


@uncounted
def begin_rows(
    episodes: Episode, table: ProfileTable, rules: Rules, rows: Integers, kind: Integers, submit: Integers
) -> None:
    """Begin an episode in each of the rows, whose key, number and horizon are set, and go to its first decision."""
    for index in range(rows.shape[0]):
        r = row_of(episodes, rows[index])
        begin(r, table, kind[index], submit[index])
        run_to_decision(r, table, rules)


@uncounted
def _own_growth(r: Episode, table: ProfileTable) -> float:
    """Fluid time of the jobs that are present, without what arrivals added."""
    return float(fluid_time(r.numbers, r.job, r.stage, r.executor.shape[0], table) - r.fluid[0])


@uncounted
def step_rows(
    episodes: Episode,
    table: ProfileTable,
    rules: Rules,
    reward: int,
    actions: Integers,
    active: NDArray[np.bool_],
    masks: NDArray[np.int8],
    rewards: NDArray[np.float64],
    terminated: NDArray[np.bool_],
    truncated: NDArray[np.bool_],
) -> None:
    """Play one decision in every active row; `masks` are overwritten."""
    for b in range(active.shape[0]):
        if not active[b]:
            continue
        r = row_of(episodes, b)
        area, time = r.clock[AREA], r.numbers[TIME]
        before = _own_growth(r, table) if rules.regret else 0.0
        decide(r, table, rules, actions[b], masks[b])
        growth = _own_growth(r, table) - before if rules.regret else 0.0
        rewards[b] = reward_of(reward, r.clock[AREA] - area, r.numbers[TIME] - time, growth)
        terminated[b] = r.numbers[DONE] == r.job.shape[0]
        truncated[b] = r.clock[CUT] > 0 and not terminated[b]


@uncounted
def show_rows(
    episodes: Episode,
    table: ProfileTable,
    limits: Integers,
    outlook: Outlook,
    view: int,
    rows: NDArray[np.bool_],
    observations: NDArray[Any],
    masks: NDArray[np.int8],
) -> None:
    """Write masks and observations, (B, size) each, of the chosen rows."""
    for b in range(rows.shape[0]):
        if not rows[b]:
            continue
        r = row_of(episodes, b)
        write_mask(r.numbers, r.job, r.stage, limits, r.node, table, masks[b])
        mask, row = masks[b], observations[b]
        show(view, r.numbers, r.job, r.stage, r.executor, limits, r.node, mask, table, outlook, row)


class DagKernel(Engine):
    """Compiled engine of B episodes.

    Args:
        config: The cluster.
        jobs: Where its jobs come from.
        num_episodes: B.
        view: What is seen.
        reward: A name of `REWARDS`.
    """

    def __init__(self, config: DagConfig, jobs: DagJobs, num_episodes: int, view: View, reward: str) -> None:
        self.config, self.jobs, self.num_episodes, self.view = config, jobs, num_episodes, view
        self.num_actions, self.observation_spec = config.num_actions, view.spec
        self._reward, self._limits = reward_code(reward), config.limit_values
        self._known = read_only(self._limits)
        self._rules = Rules(config.moving_delay, config.inverted_levels, self._reward == REGRET, self._limits)
        self.table = jobs.table(config.executors, config.warm_up)
        config.check(self.table)
        self._arrivals: list[Arrivals | None] = [None] * num_episodes
        count, self._per_job = jobs.rules.jobs, most_stages(self.table)
        # each job comes, ends and begins each of its stages; what is left is room for decisions
        self._sure = count * (2 + self._per_job) + 1
        self._arena: Arena | None = None
        self._outlook = new_outlook(count, count * self._per_job)
        room = self._sure + 32 * count
        self._episodes = allocate(num_episodes, count, self._per_job, config.executors, config.stages, room)

    def reset(
        self,
        rows: Integers,
        seeds: NDArray[np.uint64],
        episodes: Integers,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """See `Engine.reset`; `options["horizon_seconds"]` cuts the episode there."""
        drawn = [
            self.jobs.draw(int(seed), int(episode), options) for seed, episode in zip(seeds, episodes, strict=True)
        ]
        clock = self._episodes.clock
        for row, arrivals in zip(rows.tolist(), drawn, strict=True):
            self._arrivals[row] = arrivals
            clock[row, KEY], clock[row, NUMBER] = arrivals.duration_key, arrivals.episode
            clock[row, HORIZON] = arrivals.horizon
        kind, submit = (np.array([getattr(one, name) for one in drawn]) for name in ("kind", "submit"))
        begin_rows(self._episodes, self.table, self._rules, rows, kind, submit)

    def step(self, actions: Integers, active: NDArray[np.bool_], slot: Slot) -> None:
        """See `Engine.step`."""
        self._make_room()
        flags = slot.terminated, slot.truncated
        step_rows(
            self._episodes, self.table, self._rules, self._reward, actions, active, slot.action_masks, slot.rewards,
            *flags,
        )  # fmt: skip
        self.observe(active, slot)

    def observe(self, rows: NDArray[np.bool_], slot: Slot) -> None:
        """See `Engine.observe`."""
        seen = slot.observations.reshape(len(slot.observations), -1)
        show_rows(
            self._episodes, self.table, self._limits, self._outlook, self.view.code, rows, seen, slot.action_masks
        )

    def state(self, row: int) -> DagState:
        """See `Engine.state`."""
        s = self._episodes
        arrived = int(s.numbers[row, ARRIVED])
        mask = np.zeros(self.num_actions, dtype=np.int8)
        write_mask(s.numbers[row], s.job[row], s.stage[row], self._limits, s.node[row], self.table, mask)
        return DagState(
            read_only(s.numbers[row]),
            read_only(s.job[row, :arrived]),
            read_only(s.stage[row, : arrived * self._per_job]),
            read_only(s.executor[row]),
            self._known,
            read_only(s.node[row]),
            read_only(mask),
            self.table,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy may write to no profile either; else numba would compile everything once more."""
        self.__dict__ |= state
        self.table, self._known, self._arena = read_only_columns(self.table), read_only(self._limits), None

    def events(self, row: int) -> EventLog:
        """See `Engine.events`."""
        log = EventLog.of_row(self._episodes, row, self._episodes.clock[row, WRITTEN])
        return replace(log, time=log.time / 1000.0)

    def metrics(self, row: int) -> dict[str, float]:
        """See `Engine.metrics`."""
        arrivals = self._arrivals[row]
        assert arrivals is not None
        return dag_metrics(
            self.events(row), arrivals, self._episodes.numbers[row, TIME] / 1000.0, self.table, self.config
        )

    def play_choices(
        self, networks: ChoiceNetwork, seeds: NDArray[np.uint64], episodes: Integers
    ) -> tuple[NDArray[np.float64], int]:
        """See `ChoicePlayer.play_choices`; a return is minus the mean time in the system, seconds."""
        if self.view.name != "choices" or self._reward != COMPLETION:
            raise SettingError(
                "whole episodes are played by a graph network on observation='choices' with reward='completion'; give "
                "these"
            )
        if self._arena is None or self._arena.widths != tuple(networks.widths.tolist()):
            self._arena = Arena(self.config, self.jobs, self.table, tuple(networks.widths.tolist()))
        return self._arena.play(networks, seeds, episodes)

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """See `Engine.snapshot`."""
        begun = np.array([one is not None for one in self._arrivals])
        return copied_columns(self._episodes) | {"begun": begun}

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """See `Engine.restore`; the log may have grown."""
        self._episodes = s = Episode(**{name: snapshot[name].copy() for name in Episode._fields})
        for row, begun in enumerate(snapshot["begun"].tolist()):
            clock = s.clock[row]
            self._arrivals[row] = None
            if begun:
                jobs = s.job[row]
                self._arrivals[row] = Arrivals(
                    jobs[:, KIND].copy(),
                    jobs[:, SUBMIT].copy(),
                    int(clock[HORIZON]),
                    int(clock[KEY]),
                    int(clock[NUMBER]),
                )

    def _make_room(self) -> None:
        """Double the log before decisions can outgrow it."""
        s = self._episodes
        if int(s.clock[:, WRITTEN].max()) + self._sure + 1 > s.event_time.shape[1]:
            self._episodes = doubled(s, "event_")
