"""A learned priority: a small perceptron over the rows of the observation, found by evolution strategies.

The policy scores each allowed action by the same perceptron, over hand-made features of its stage and its job's graph
(`observation.describe_action`), and takes the best; so it is the policy half of a `rows` network of the agents, and its
weights are written as one. Whole episodes are played in compiled code, twenty microseconds a decision, observations
are never stored, and no gradient passes through actions: what is compared is the mean completion time itself.

After Salimans et al., arXiv:1703.03864 (2017): pairs of opposite perturbations, utilities by rank. All members of a
generation play the same arrivals, which is Decima's input-dependent baseline taken to its end: returns differ by the
weights alone. Episodes grow longer in the course of the search, which is Decima's curriculum of horizons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.compiled import uncounted
from sysgym.core.errors import require_range
from sysgym.core.seeding import stream
from sysgym.jobsched.dag.arrivals import DagJobs
from sysgym.jobsched.dag.dynamics import decide, run_to_decision
from sysgym.jobsched.dag.episodes import AREA, CUT, HORIZON, KEY, NUMBER, Episode, Rules, allocate, begin
from sysgym.jobsched.dag.model import ARRIVED, DONE, DagConfig, most_stages
from sysgym.jobsched.dag.observation import (
    FEATURES,
    ROW_FEATURES,
    Outlook,
    describe_action,
    describe_waiting,
    new_outlook,
    prepare,
    write_mask,
)
from sysgym.jobsched.dag.profiles import ProfileTable

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

HIDDEN = 16
"""Units of the hidden layer."""
SIZE = HIDDEN * (ROW_FEATURES + 2) + 1
"""Weights: matrix (HIDDEN, features), its bias, the last layer, its bias."""
_DECISIONS_PER_JOB = 400


class Scratch(NamedTuple):
    """Memory of one decision."""

    mask: NDArray[np.int8]
    features: Floats
    outlook: Outlook


@dataclass(frozen=True)
class Setting:
    """Clusters and arrivals that members are judged on.

    Attributes:
        config: The cluster.
        jobs: Where its jobs come from.
    """

    config: DagConfig
    jobs: DagJobs


@uncounted
def score(weights: Floats, features: Floats) -> float:
    """What the perceptron says of an action."""
    inputs = features.shape[0]
    hidden = (weights.shape[0] - 1) // (inputs + 2)
    bias, last = hidden * inputs, hidden * (inputs + 1)
    total = weights[last + hidden]
    for unit in range(hidden):
        value = weights[bias + unit]
        for feature in range(inputs):
            value += weights[unit * inputs + feature] * features[feature]
        if value > 0.0:
            total += weights[last + unit] * value
    return float(total)


@uncounted
def best_action(r: Episode, table: ProfileTable, limits: Integers, scratch: Scratch, weights: Floats) -> int:
    """The allowed action of the largest score; of equal ones the first."""
    mask, features, count, best, most = scratch.mask, scratch.features, limits.shape[0], -1, 0.0
    write_mask(r.numbers, r.job, r.stage, limits, r.node, table, mask)
    prepare(r.numbers, r.job, r.stage, r.executor, r.node, table, scratch.outlook)
    executors = r.executor.shape[0]
    for action in range(mask.shape[0]):
        if not mask[action]:
            continue
        features[:] = 0.0
        if action < mask.shape[0] - 1:
            s, limit = r.node[action // count], limits[action % count]
            describe_action(r.numbers, r.job, r.stage, executors, table, scratch.outlook, s, limit, features)
        else:
            describe_waiting(scratch.outlook, features)
        value = score(weights, features)
        if best < 0 or value > most:
            best, most = action, value
    return best


@uncounted
def play_member(
    r: Episode, table: ProfileTable, rules: Rules, kind: Integers, submit: Integers, scratch: Scratch, weights: Floats
) -> float:
    """Mean time in the system over an episode's jobs, s; of one that was cut, over those that arrived.

    Who dawdles so long that the log would overflow is worth twice what it has spent.
    """
    begin(r, table, kind, submit)
    run_to_decision(r, table, rules)
    decisions, jobs = 0, r.job.shape[0]
    while r.numbers[DONE] < jobs and not r.clock[CUT]:
        if decisions == jobs * _DECISIONS_PER_JOB:
            return float(2.0 * r.clock[AREA] / jobs / 1000.0)
        action = best_action(r, table, rules.limits, scratch, weights)
        decide(r, table, rules, action, scratch.mask)
        decisions += 1
    return float(r.clock[AREA] / max(r.numbers[ARRIVED], 1) / 1000.0)


class Arena:
    """Plays episodes of one setting, one after another."""

    def __init__(self, setting: Setting) -> None:
        config, rules = setting.config, setting.jobs.rules
        self.jobs, self.table = setting.jobs, setting.jobs.table(config.executors, config.warm_up)
        config.check(self.table)
        per_job, limits = most_stages(self.table), config.limit_values
        self._rules = Rules(config.moving_delay, config.inverted_levels, False, limits)
        room = rules.jobs * (3 + per_job + _DECISIONS_PER_JOB)
        self._memory = allocate(1, rules.jobs, per_job, config.executors, config.stages, room)
        outlook = new_outlook(rules.jobs, rules.jobs * per_job)
        self._scratch = Scratch(np.zeros(config.num_actions, dtype=np.int8), np.zeros(ROW_FEATURES), outlook)

    def play(self, weights: Floats, seed: int, horizon: float | None = None) -> float:
        """Mean completion time of the episode of a seed, seconds; cut after `horizon` seconds."""
        options = None if horizon is None else {"horizon_seconds": horizon}
        drawn, clock = self.jobs.draw(seed, 0, options), self._memory.clock[0]
        clock[KEY], clock[NUMBER], clock[HORIZON] = drawn.duration_key, drawn.episode, drawn.horizon
        episode = Episode(*(column[0] for column in self._memory))
        return float(play_member(episode, self.table, self._rules, drawn.kind, drawn.submit, self._scratch, weights))


# features of `describe_action` by number
_SELECTABLE, _RUNNABLE, _WAY, _OWN, _WORK, _MORE_WORK = 0, 1, 8, 12, 13, 16
_COMMITS, _KEEPS, _OVER_SHARE = FEATURES, FEATURES + 6, FEATURES + 7


def first_weights(spread: bool = False, seed: int = 0) -> Floats:
    """Weights that begin near a heuristic; the other units wait to be used.

    Args:
        spread: Near fair sharing, which suits clusters with more executors than a job can use; else near the shortest
            remaining work first.
        seed: Of the waiting units.
    """
    generator = stream(seed, "dag/priority")
    matrix, bias = generator.normal(0.0, 0.3, (HIDDEN, ROW_FEATURES)), np.zeros(HIDDEN)
    shortest = ((_SELECTABLE, 30.0), (_WORK, -8.0), (_MORE_WORK, -2.0), (_RUNNABLE, 1.5), (_WAY, 1.0), (_COMMITS, 2.0),
                (_KEEPS, -3.0), (_OWN, 2.0))  # fmt: skip
    fair = ((_SELECTABLE, 60.0), (_WORK, -3.0), (_RUNNABLE, 4.0), (_WAY, 1.0), (_COMMITS, 2.0), (_OWN, 6.0),
            (_OVER_SHARE, -8.0))  # fmt: skip
    last = np.zeros(HIDDEN)
    for unit, (feature, weight) in enumerate(fair if spread else shortest):
        matrix[unit], last[unit] = 0.0, weight
        matrix[unit, feature] = 1.0
        bias[unit] = -1.0 if feature == _OVER_SHARE else 0.0  # beyond an equal share
    return np.concatenate([matrix.ravel(), bias, last, np.zeros(1)])


@dataclass
class Search:
    """Evolution strategies with Adam; can be stopped and pickled between generations.

    Attributes:
        weights: As they stand.
        seed: Of perturbations and training arrivals.
        pairs: Pairs of members in a generation.
        sigma: Standard deviation of the perturbations.
        learning_rate: Of Adam.
        generation: Generations so far.
    """

    weights: Floats
    seed: int = 0
    pairs: int = 16
    sigma: float = 0.1
    learning_rate: float = 0.03
    generation: int = 0

    def __post_init__(self) -> None:
        require_range("pairs", self.pairs, 1, whole=True)
        require_range("sigma", self.sigma, 0.0, open_low=True)
        require_range("learning_rate", self.learning_rate, 0.0, open_low=True)
        self._mean, self._square = np.zeros(len(self.weights)), np.zeros(len(self.weights))

    def step(self, arenas: Sequence[Arena], episodes: int, horizon: float | None, rate: float = 1.0) -> float:
        """One generation; every member plays the same episodes in every arena.

        Args:
            arenas: Settings that count alike, each relative to the mean of its members.
            episodes: In each arena.
            horizon: Seconds after which they are cut; None plays them to the end.
            rate: Factor of the learning rate.

        Returns:
            Mean completion time of the members over the mean of the unperturbed weights.
        """
        noise = stream(self.seed, "dag/noise", self.generation).normal(size=(self.pairs, len(self.weights)))
        members = np.concatenate([self.weights + self.sigma * noise, self.weights - self.sigma * noise])
        relative, told = np.zeros(len(members)), []
        for arena in arenas:
            for number in range(episodes):
                seed = self.generation * episodes + number
                times = np.array([arena.play(member, seed, horizon) for member in members])
                relative += times / times.mean()
                told.append(times.mean() / arena.play(self.weights, seed, horizon))
        ranks = relative.argsort().argsort() / (len(members) - 1) - 0.5
        gradient = (ranks[: self.pairs] - ranks[self.pairs :]) @ noise / self.pairs
        self._descend(gradient, rate * self.learning_rate)
        self.generation += 1
        return float(np.mean(told))

    def _descend(self, gradient: Floats, rate: float) -> None:
        step = self.generation + 1
        self._mean += 0.1 * (gradient - self._mean)
        self._square += 0.01 * (gradient**2 - self._square)
        mean, square = self._mean / (1 - 0.9**step), self._square / (1 - 0.99**step)
        self.weights = self.weights - rate * mean / (np.sqrt(square) + 1e-8)


def search_priority(
    settings: Sequence[Setting],
    first: Floats,
    generations: int,
    episodes: int = 2,
    horizons: tuple[float, float] = (1000.0, 8000.0),
    seed: int = 0,
    tell: Callable[[int, float, Floats], None] = lambda _generation, _ratio, _weights: None,
    **parameters: Any,
) -> Floats:
    """Weights of a priority learned on training arrivals.

    Args:
        settings: What it shall be good at.
        first: Weights to begin with.
        generations: How many.
        episodes: Of each setting in a generation.
        horizons: Seconds after which episodes are cut in the first generation and in the last; grows exponentially.
        seed: Of the search.
        tell: Called after every generation with its number, `Search.step`'s ratio and the weights.
        parameters: Of `Search`.
    """
    arenas = [Arena(setting) for setting in settings]
    search = Search(first, seed, **parameters)
    for generation in range(generations):
        share = generation / max(generations - 1, 1)
        horizon = horizons[0] * (horizons[1] / horizons[0]) ** share
        ratio = search.step(arenas, episodes, horizon, 1.0 - 0.9 * share)
        tell(generation, ratio, search.weights)
    return search.weights
