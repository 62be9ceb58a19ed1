"""The readable truth: a search on SimPy, whose clock runs while an index is built and measured."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from sysgym.core.columns import read_only
from sysgym.core.errors import SettingError, require_known, require_options, require_range
from sysgym.core.events import EventKind, EventLog, EventRecorder
from sysgym.core.protocols import Observation, Simulator
from sysgym.learned_index.tuning.dynamics import added, expect, gains, insert_point, learn
from sysgym.learned_index.tuning.instances import Instance, instance_number
from sysgym.learned_index.tuning.metrics import tuning_metrics
from sysgym.learned_index.tuning.model import COUNT, TuningState
from sysgym.learned_index.tuning.observation import ENCODERS, spec_of, write_flat, write_mask, write_rows
from sysgym.learned_index.tuning.rewards import HYPERVOLUME, NAMES, Reward, RewardRule, loss_of


@dataclass(frozen=True)
class TuningConfig:
    """Parameters of a search.

    Attributes:
        evaluations: Budget of evaluations.
        seconds: Budget of time on the clock; the evaluation that exceeds it is the last. None: no limit.
        encoder: "rows" or "flat", see `observation`.
        reward: What an evaluation earns.
    """

    evaluations: int = 40
    seconds: float | None = None
    encoder: str = "rows"
    reward: RewardRule = field(default_factory=RewardRule)

    def __post_init__(self) -> None:
        require_range("evaluations", self.evaluations, 1, COUNT, whole=True)
        if self.seconds is not None:
            require_range("seconds", self.seconds, 0, open_low=True)
        require_known("encoder", self.encoder, ENCODERS)


class TuningSimulator(Simulator):
    """One search.

    Args:
        config: Parameters.
        instances: The key sets that are played.
        split: "train" draws one of them for an episode; all others take them in turn.
        reward: Takes the place of `config.reward`.
    """

    def __init__(
        self, config: TuningConfig, instances: Sequence[Instance], split: str = "train", reward: Reward | None = None
    ) -> None:
        if not instances:
            raise SettingError(f"split {split!r} has no key sets")
        self.config, self.instances, self.split, self.reward = config, instances, split, reward
        self.num_actions, self.observation_spec = COUNT, spec_of(config.encoder)

    def reset(self, seed: int, episode: int, options: Mapping[str, Any] | None = None) -> None:
        """See `Simulator.reset`."""
        require_options(options)
        self.instance = self.instances[instance_number(seed, episode, self.split, len(self.instances))]
        self.allowed = self.instance.distinct.copy()
        self.latency = np.full(COUNT, np.nan)
        self.expected, self.gain = self.instance.estimate.copy(), np.zeros(COUNT)
        self.weight, self.shift, self.confidence = np.zeros(COUNT), np.zeros(COUNT), np.zeros(COUNT)
        self.front, self.front_size, self.area, self.loss = np.zeros((COUNT + 1, 2)), 0, 0.0, 1.0
        self.evaluations, self.last = 0, -1
        self._look_ahead()
        self.log = EventRecorder()
        self.clock = simpy.Environment()
        self.clock.process(self._play())
        self._run_to_decision()

    def step(self, action: int) -> tuple[float, bool, bool]:
        """Evaluate a configuration; one that was evaluated before costs as much, and earns nothing."""
        before, area, loss = self.state() if self.reward else None, self.area, self.loss
        self.decision.succeed(action)
        self._run_to_decision()
        if self.reward is not None and before is not None:
            earned = float(self.reward(before, action, self.state()))
        elif self.config.reward.name == NAMES[HYPERVOLUME]:
            earned = (self.area - area) / self.instance.total
        else:
            earned = loss - self.loss
        return earned, self._is_over(), False

    def observe(self, observation: Observation, action_mask: NDArray[np.int8]) -> None:
        """See `Simulator.observe`."""
        assert isinstance(observation, np.ndarray)
        one, left = self.instance, 1.0 - self.evaluations / self.config.evaluations
        covered = self.area / one.promise
        if self.config.encoder == "rows":
            write_rows(one.keys, left, one.log_bytes, self.allowed, one.estimate, self.expected, self.confidence,
                       self.gain, one.reference, covered, one.gaps, one.outliers, observation)  # fmt: skip
        else:
            write_flat(one.keys, left, one.log_bytes, self.latency, self.last, one.reference, covered,
                       one.quantiles, one.gaps, one.outliers, observation)  # fmt: skip
        write_mask(self.allowed, action_mask)

    def state(self) -> TuningState:
        """See `Simulator.state`."""
        return TuningState(
            time=float(self.clock.now),
            evaluations=self.evaluations,
            budget=self.config.evaluations,
            allowed=read_only(self.allowed.copy()),
            latency=read_only(self.latency.copy()),
            expected=read_only(self.expected.copy()),
            confidence=read_only(self.confidence.copy()),
            gain=read_only(self.gain.copy()),
            hypervolume=self.area / self.instance.promise,
            **self.instance.known(),
        )

    def events(self) -> EventLog:
        """See `Simulator.events`."""
        return self.log.log()

    def metrics(self) -> dict[str, float]:
        """See `Simulator.metrics`."""
        return tuning_metrics(self.events(), self.instance)

    def _run_to_decision(self) -> None:
        """Let SimPy work until the next configuration is asked for."""
        self.asking = False
        while not self.asking:
            self.clock.step()

    def _play(self) -> Generator[simpy.Event, int, None]:
        """The life of a search: a configuration is named, built and measured, and what was found is taken in."""
        while True:
            self.decision, self.asking = self.clock.event(), True
            action = yield self.decision
            self.log.append(self.clock.now, EventKind.START, action, 1.0)
            yield self.clock.timeout(self.instance.seconds[action])
            self._take_in(action, self.instance.find(action))

    def _take_in(self, action: int, found: float) -> None:
        one, rule = self.instance, self.config.reward
        self.log.append(self.clock.now, EventKind.MEASURE, action, found)
        self.evaluations, self.last = self.evaluations + 1, action
        if np.isnan(self.latency[action]):
            self.latency[action], self.allowed[action] = found, False
            size = one.log_bytes[action]
            self.area += added(self.front, self.front_size, size, found, one.reference)
            self.front_size = insert_point(self.front, self.front_size, size, found)
            lost = loss_of(NAMES.index(rule.name), rule.parameter, size, found, one.reference)
            self.loss = min(self.loss, lost)
            learn(action, np.log(found / one.estimate[action]), self.weight, self.shift)
        self._look_ahead()

    def _look_ahead(self) -> None:
        """What the candidates are expected to be, and to gain."""
        one = self.instance
        expect(one.estimate, self.latency, self.weight, self.shift, self.expected, self.confidence)
        gains(one.log_bytes, self.expected, self.allowed, self.front, self.front_size, one.reference, one.promise,
              self.gain)  # fmt: skip

    def _is_over(self) -> bool:
        late = self.config.seconds is not None and self.clock.now >= self.config.seconds
        return late or self.evaluations >= self.config.evaluations or not self.allowed.any()
