"""The fast copy of `simulator`: B searches over flat arrays, compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.columns import copied_columns, read_only, restore_columns, zeroed
from sysgym.core.compiled import compiled
from sysgym.core.errors import SettingError, require_options
from sysgym.core.events import EventKind, EventLog, event_kinds
from sysgym.core.protocols import Engine, Slot
from sysgym.learned_index.tuning.dynamics import added, expect, gains, insert_point, learn
from sysgym.learned_index.tuning.instances import Instance, instance_number
from sysgym.learned_index.tuning.metrics import tuning_metrics
from sysgym.learned_index.tuning.model import COUNT, TuningState
from sysgym.learned_index.tuning.observation import spec_of, write_flat, write_mask, write_rows
from sysgym.learned_index.tuning.rewards import HYPERVOLUME, NAMES, loss_of
from sysgym.learned_index.tuning.simulator import TuningConfig

_START, _MEASURE = event_kinds(EventKind.START, EventKind.MEASURE)


class Tables(NamedTuple):
    """The key sets, row k for key set k; see `Instance`."""

    latency: NDArray[np.float64]
    estimate: NDArray[np.float64]
    log_bytes: NDArray[np.float64]
    seconds: NDArray[np.float64]
    distinct: NDArray[np.bool_]
    keys: NDArray[np.int64]
    reference: NDArray[np.float64]
    total: NDArray[np.float64]
    promise: NDArray[np.float64]
    outliers: NDArray[np.float64]
    quantiles: NDArray[np.float32]
    gaps: NDArray[np.float32]


class Searches(NamedTuple):
    """State of B searches, row b for search b."""

    instance: NDArray[np.int64]
    time: NDArray[np.float64]
    evaluations: NDArray[np.int64]
    last: NDArray[np.int64]
    front_size: NDArray[np.int64]
    area: NDArray[np.float64]
    loss: NDArray[np.float64]
    allowed: NDArray[np.bool_]
    latency: NDArray[np.float64]
    expected: NDArray[np.float64]
    confidence: NDArray[np.float64]
    weight: NDArray[np.float64]
    shift: NDArray[np.float64]
    gain: NDArray[np.float64]
    front: NDArray[np.float64]
    measured: NDArray[np.float64]
    chosen: NDArray[np.int64]


class Rules(NamedTuple):
    """`TuningConfig` for compiled code; `seconds` is infinite where there is no limit."""

    evaluations: int
    seconds: float
    reward: int
    parameter: float
    rows: bool


def _tables(instances: Sequence[Instance]) -> Tables:
    return Tables(*(np.array([getattr(one, name) for one in instances]) for name in Tables._fields))


def _allocate(searches: int, evaluations: int) -> Searches:
    of_configurations = ("allowed", "latency", "expected", "confidence", "weight", "shift", "gain")
    return zeroed(
        Searches, searches, front=(evaluations + 1, 2), measured=(evaluations, 3), chosen=evaluations,
        **dict.fromkeys(of_configurations, COUNT),
    )  # fmt: skip


@compiled
def _look_ahead(s: Searches, tables: Tables, b: int) -> None:
    k = s.instance[b]
    expect(tables.estimate[k], s.latency[b], s.weight[b], s.shift[b], s.expected[b], s.confidence[b])
    gains(tables.log_bytes[k], s.expected[b], s.allowed[b], s.front[b], s.front_size[b], tables.reference[k],
          tables.promise[k], s.gain[b])  # fmt: skip


@compiled
def begin_rows(s: Searches, tables: Tables, rows: NDArray[np.int64]) -> None:
    """Begin a search in each of the rows, whose key sets are set."""
    for b in rows:
        s.time[b] = s.area[b] = 0.0
        s.evaluations[b] = s.front_size[b] = 0
        s.last[b], s.loss[b] = -1, 1.0
        s.weight[b] = s.shift[b] = 0.0
        s.latency[b] = np.nan
        s.allowed[b] = tables.distinct[s.instance[b]]
        _look_ahead(s, tables, b)


@compiled
def step_rows(
    s: Searches, tables: Tables, rules: Rules, actions: NDArray[np.int64], active: NDArray[np.bool_],
    rewards: NDArray[np.float64], terminated: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Evaluate one configuration in every active row."""
    for b in range(len(active)):
        if not active[b]:
            continue
        k, action, count = s.instance[b], actions[b], s.evaluations[b]
        reference, found, size = tables.reference[k], tables.latency[k, action], tables.log_bytes[k, action]
        s.measured[b, count, 0] = s.time[b]
        s.time[b] += tables.seconds[k, action]
        s.measured[b, count, 1], s.measured[b, count, 2], s.chosen[b, count] = s.time[b], found, action
        s.evaluations[b], s.last[b] = count + 1, action
        area, loss = s.area[b], s.loss[b]
        if np.isnan(s.latency[b, action]):
            s.latency[b, action], s.allowed[b, action] = found, False
            s.area[b] += added(s.front[b], s.front_size[b], size, found, reference)
            s.front_size[b] = insert_point(s.front[b], s.front_size[b], size, found)
            s.loss[b] = min(loss, loss_of(rules.reward, rules.parameter, size, found, reference))
            learn(action, np.log(found / tables.estimate[k, action]), s.weight[b], s.shift[b])
        _look_ahead(s, tables, b)
        rewards[b] = (s.area[b] - area) / tables.total[k] if rules.reward == HYPERVOLUME else loss - s.loss[b]
        terminated[b] = s.time[b] >= rules.seconds or s.evaluations[b] >= rules.evaluations or not s.allowed[b].any()


@compiled
def show_rows(
    s: Searches, tables: Tables, rules: Rules, rows: NDArray[np.bool_], observations: NDArray[np.float32],
    masks: NDArray[np.int8],
) -> None:  # fmt: skip
    """Write observations and masks of the chosen rows."""
    flat = observations.reshape(len(rows), -1)
    for b in range(len(rows)):
        if not rows[b]:
            continue
        k, left = s.instance[b], 1.0 - s.evaluations[b] / rules.evaluations
        covered = s.area[b] / tables.promise[k]
        if rules.rows:
            write_rows(tables.keys[k], left, tables.log_bytes[k], s.allowed[b], tables.estimate[k], s.expected[b],
                       s.confidence[b], s.gain[b], tables.reference[k], covered, tables.gaps[k], tables.outliers[k],
                       flat[b].reshape(COUNT, -1))  # fmt: skip
        else:
            write_flat(tables.keys[k], left, tables.log_bytes[k], s.latency[b], s.last[b], tables.reference[k],
                       covered, tables.quantiles[k], tables.gaps[k], tables.outliers[k], flat[b])  # fmt: skip
        write_mask(s.allowed[b], masks[b])


class TuningKernel(Engine):
    """Compiled engine of B searches.

    Args:
        config: Parameters.
        instances: The key sets that are played.
        split: How they are chosen, see `TuningSimulator`.
        num_episodes: B.
    """

    def __init__(self, config: TuningConfig, instances: Sequence[Instance], split: str, num_episodes: int) -> None:
        if not instances:
            raise SettingError(f"split {split!r} has no key sets")
        self.config, self.instances, self.split, self.num_episodes = config, tuple(instances), split, num_episodes
        self.num_actions, self.observation_spec = COUNT, spec_of(config.encoder)
        seconds = np.inf if config.seconds is None else config.seconds
        kind = NAMES.index(config.reward.name)
        rows = config.encoder == "rows"
        self._rules = Rules(config.evaluations, float(seconds), kind, float(config.reward.parameter), rows)
        self._tables = _tables(instances)
        self._searches = _allocate(num_episodes, config.evaluations)

    def reset(
        self,
        rows: NDArray[np.int64],
        seeds: NDArray[np.uint64],
        episodes: NDArray[np.int64],
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """See `Engine.reset`."""
        require_options(options)
        chosen = (
            instance_number(int(seed), int(episode), self.split, len(self.instances))
            for seed, episode in zip(seeds, episodes, strict=True)
        )
        self._searches.instance[rows] = list(chosen)
        begin_rows(self._searches, self._tables, rows)

    def step(self, actions: NDArray[np.int64], active: NDArray[np.bool_], slot: Slot) -> None:
        """See `Engine.step`."""
        slot.truncated[active] = False
        step_rows(self._searches, self._tables, self._rules, actions, active, slot.rewards, slot.terminated)
        self.observe(active, slot)

    def observe(self, rows: NDArray[np.bool_], slot: Slot) -> None:
        """See `Engine.observe`."""
        assert isinstance(slot.observations, np.ndarray)
        show_rows(self._searches, self._tables, self._rules, rows, slot.observations, slot.action_masks)

    def state(self, row: int) -> TuningState:
        """See `Engine.state`."""
        s, one = self._searches, self.instances[self._searches.instance[row]]
        return TuningState(
            time=float(s.time[row]),
            evaluations=int(s.evaluations[row]),
            budget=self.config.evaluations,
            allowed=read_only(s.allowed[row]),
            latency=read_only(s.latency[row]),
            expected=read_only(s.expected[row]),
            confidence=read_only(s.confidence[row]),
            gain=read_only(s.gain[row]),
            hypervolume=float(s.area[row]) / one.promise,
            **one.known(),
        )

    def events(self, row: int) -> EventLog:
        """See `Engine.events`."""
        s, count = self._searches, int(self._searches.evaluations[row])
        measured = s.measured[row, :count]
        amounts = np.stack([np.ones(count), measured[:, 2]], axis=1)
        kinds = np.tile(np.array([_START, _MEASURE], dtype=np.int8), count)
        return EventLog(measured[:, :2].ravel(), kinds, np.repeat(s.chosen[row, :count], 2), amounts.ravel())

    def metrics(self, row: int) -> dict[str, float]:
        """See `Engine.metrics`."""
        return tuning_metrics(self.events(row), self.instances[self._searches.instance[row]])

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """See `Engine.snapshot`."""
        return copied_columns(self._searches)

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """See `Engine.restore`."""
        restore_columns(self._searches, snapshot)
