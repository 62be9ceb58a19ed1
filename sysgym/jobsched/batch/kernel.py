"""The compiled engine: the moves of `dynamics` in loops over episodes, behind the protocol `Engine`.

Loops over the built-in features and rewards are compiled once and cached; an encoder or a reward that a user compiled
gets a loop of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.core.columns import copied_columns, read_only_columns, restore_columns
from sysgym.core.compiled import compiled, compiled_uncached, uncounted
from sysgym.core.errors import SettingError
from sysgym.core.events import EventLog
from sysgym.core.protocols import Engine, Slot
from sysgym.core.row_network import RowNetwork
from sysgym.jobsched.batch.dynamics import available, begin, step_rows
from sysgym.jobsched.batch.episodes import Episodes, Flags, allocate, flags_of
from sysgym.jobsched.batch.model import Jobs, QueueState, Rules, known_jobs
from sysgym.jobsched.batch.observation import QueueEncoding, encode_features, write_mask
from sysgym.jobsched.batch.queue_features import encode_queue
from sysgym.jobsched.batch.rewards import QueueReward
from sysgym.jobsched.batch.row_play import play_episode, play_members
from sysgym.jobsched.batch.sequences import JobSequences
from sysgym.jobsched.batch.state_view import state_of


@uncounted
def mask_rows(s: Episodes, rows: NDArray[np.bool_], masks: NDArray[np.int8]) -> None:
    """Write the masks of the chosen rows."""
    for b in range(len(rows)):
        if rows[b]:
            write_mask(s.visible[b], masks[b])


@uncounted
def feature_rows(
    s: Episodes, jobs: Jobs, flags: Flags, table: NDArray[np.float32], rows: NDArray[np.bool_], out: NDArray[np.float32]
) -> None:
    """Write the built-in features of the chosen rows."""
    for b in range(len(rows)):
        if rows[b]:
            encode_features(state_of(s, b, jobs, flags), table, out[b])


@compiled
def queue_rows(
    s: Episodes, jobs: Jobs, flags: Flags, table: NDArray[np.float32], rows: NDArray[np.bool_], out: NDArray[np.float32]
) -> None:
    """`feature_rows` for the observation `queue`."""
    for b in range(len(rows)):
        if rows[b]:
            encode_queue(state_of(s, b, jobs, flags), table, out[b])


_CACHED: dict[Callable[..., None], Callable[..., None]] = {encode_features: feature_rows, encode_queue: queue_rows}


def encoding_loop(encode: Callable[..., None]) -> Callable[..., None]:
    """`feature_rows` for another compiled encoder."""

    @compiled_uncached
    def loop(
        s: Episodes, jobs: Jobs, flags: Flags, table: NDArray[Any], rows: NDArray[np.bool_], out: NDArray[Any]
    ) -> None:
        for b in range(len(rows)):
            if rows[b]:
                encode(state_of(s, b, jobs, flags), table, out[b])

    return loop


def reward_loop(reward: Callable[..., float]) -> Callable[..., None]:
    """The rewards of all active rows by a compiled function of (before, action, after)."""

    @compiled_uncached
    def loop(
        before: Episodes,
        after: Episodes,
        jobs: Jobs,
        flags: Flags,
        actions: NDArray[np.int64],
        active: NDArray[np.bool_],
        rewards: NDArray[np.float64],
    ) -> None:
        for b in range(len(active)):
            if active[b]:
                rewards[b] = reward(state_of(before, b, jobs, flags), actions[b], state_of(after, b, jobs, flags))

    return loop


class BatchKernel(Engine):
    """Compiled engine of B episodes of scheduling as decisions.

    Args:
        sequences: Which jobs an episode has.
        rules: What a pass does.
        encoding: What a policy sees; its `encode` must be compiled.
        reward: What it earns; a function must be compiled.
        num_episodes: B.

    Attributes:
        plays_rows: Whether a row network can play it in compiled code.
    """

    def __init__(
        self, sequences: JobSequences, rules: Rules, encoding: QueueEncoding, reward: QueueReward, num_episodes: int
    ) -> None:
        self.sequences, self.jobs = sequences, sequences.jobs
        self.num_episodes, self.num_actions = num_episodes, encoding.window
        self.observation_spec = encoding.spec
        self.episodes = allocate(num_episodes, sequences.length, encoding.window)
        self._flags = flags_of(rules, reward)
        self._table = encoding.table(sequences.workload)
        self._encode = _CACHED.get(encoding.encode) or encoding_loop(encoding.encode)
        self.plays_rows = encoding.encode is encode_queue and reward.function is None
        self._own: Episodes | None = None
        self._read_only = read_only_columns(self.episodes)
        self._shown = [name for name in Episodes._fields if not name.startswith("event_")]
        self._reward = None if reward.function is None else reward_loop(reward.function)
        self._before = allocate(num_episodes, sequences.length, encoding.window) if self._reward else self.episodes

    def reset(
        self,
        rows: NDArray[np.int64],
        seeds: NDArray[np.uint64],
        episodes: NDArray[np.int64],
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """See `Engine.reset`; `options["start"]` names the first job."""
        start = self.sequences.start
        firsts = [start(int(seed), int(episode), options) for seed, episode in zip(seeds, episodes, strict=True)]
        begin(self.episodes, rows, np.array(firsts), self.jobs, self._flags, self.sequences.processors)

    def step(self, actions: NDArray[np.int64], active: NDArray[np.bool_], slot: Slot) -> None:
        """See `Engine.step`."""
        if self._reward is not None:
            for name in self._shown:
                np.copyto(getattr(self._before, name), getattr(self.episodes, name))
        step_rows(self.episodes, self.jobs, self._flags, actions, active, slot.rewards, slot.terminated, slot.truncated)
        if self._reward is not None:
            self._reward(self._before, self.episodes, self.jobs, self._flags, actions, active, slot.rewards)
        self.observe(active, slot)

    def observe(self, rows: NDArray[np.bool_], slot: Slot) -> None:
        """See `Engine.observe`."""
        assert isinstance(slot.observations, np.ndarray)
        mask_rows(self.episodes, rows, slot.action_masks)
        self._encode(self.episodes, self.jobs, self._flags, self._table, rows, slot.observations)

    def state(self, row: int) -> QueueState:
        """See `Engine.state`."""
        s, first = self._read_only, int(self.episodes.first[row])
        return QueueState(
            float(s.time[row]),
            int(available(self.episodes, row, self.jobs, self._flags)),
            s.waiting[row, : s.waiting_count[row]],
            s.visible[row],
            s.running[row, : s.running_count[row]],
            first,
            s.start_time[row],
            known_jobs(self.jobs, first + int(s.arrived[row])),
        )

    def events(self, row: int) -> EventLog:
        """See `Engine.events`."""
        return EventLog.of_row(self.episodes, row, self.episodes.event_count[row])

    def metrics(self, row: int) -> dict[str, float]:
        """See `Engine.metrics`."""
        return self.sequences.metrics(self.events(row), int(self.episodes.first[row]))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy shows its own episodes, and may write to no job; else numba would compile everything once more."""
        self.__dict__ |= state
        self.jobs, self._read_only = read_only_columns(self.jobs), read_only_columns(self.episodes)

    def play_rows(
        self, networks: RowNetwork, seeds: NDArray[np.uint64], episodes: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], int]:
        """See `RowPlayer.play_rows`; its features are those of the observation `queue`."""
        if not self.plays_rows:
            raise SettingError(
                "whole episodes are played by a row network on observation='queue' with a named reward; give these"
            )
        if self._own is None:
            self._own = allocate(1, self.sequences.length, self.num_actions)
        start = self.sequences.start
        firsts = np.array([start(int(seed), int(episode)) for seed, episode in zip(seeds, episodes, strict=True)])
        returns = np.empty((len(networks.weights), len(firsts)))
        machine = (self.jobs, self._flags, self.sequences.processors, self._table)
        decisions = play_members(self._own, firsts, *machine, networks, returns)
        return returns, int(decisions)

    def play_row(self, network: RowNetwork) -> int:
        """Play the first episode of seed 0 in row 0 to its end, under one network; returns the number of decisions."""
        assert self.plays_rows, "the features are those of the observation 'queue'"
        first = self.sequences.start(0, 0)
        machine = (self.jobs, self._flags, self.sequences.processors, self._table)
        return int(play_episode(self.episodes, first, *machine, network))

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """See `Engine.snapshot`."""
        return copied_columns(self.episodes)

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """See `Engine.restore`."""
        restore_columns(self.episodes, snapshot)
