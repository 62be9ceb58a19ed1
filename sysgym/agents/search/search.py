"""A priority searched for instead of learned: from the returns of whole episodes, which the engine plays by itself.

Where an engine plays networks in compiled code (`searched`: perceptrons over rows, graph networks over choices), a
policy is judged by its returns alone, millions of decisions a minute, without gradients through actions, values or a
discount. What makes that work:

* All members of a generation play the same episodes, so that returns differ by the weights alone: Decima's
  input-dependent baseline, taken to its end.
* Costs are compared by their logarithm (`utility`), relative to the first policy's on the same episode, so that one
  episode does not rule a generation.
* Where workloads are windows of a log that differ by factors of thousands, episodes are drawn in proportion to what the
  first policy loses on them (`pool`, `prioritized`): most windows have no queue worth ordering, and teach nothing.
  Where they are drawn from a generator, each generation plays new ones (`pool = 0`).

The network begins as a linear priority (`start`, by feature) beside hidden units that weigh nothing yet; `linear`
leaves it at that. The policy that comes out is an ordinary checkpoint.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from sysgym.agents import checkpoint as checkpoints
from sysgym.agents.acting.spaces import Spaces
from sysgym.agents.checkpoint import SAVE_SECONDS, Checkpoint, facts_of, plain
from sysgym.agents.policy import TrainedPolicy
from sysgym.agents.search.covariance import CovarianceSearch
from sysgym.agents.search.searched import Searched, SearchedChoices, SearchedRows
from sysgym.agents.settings import make_settings, require_choice
from sysgym.agents.stepping.environments import Recipe
from sysgym.agents.telemetry.progress import Budget, History, Progress
from sysgym.core.errors import CheckpointError, SettingError, require_range
from sysgym.core.files import filled, require_writable
from sysgym.core.protocols import ChoicePlayer, RowPlayer
from sysgym.core.seeding import stream

DEFAULT_FRAMES = 1_000_000
UTILITIES = ("log", "ratio")
LEAST_COST = 1e-3
"""Added to costs, so that an episode that costs nothing has a logarithm and a chance."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SearchSettings:
    """Settings of a search."""

    population: int = 16
    """Members of a generation; even."""
    episodes: int = 8
    """Which every member plays, in each of the environments."""
    pool: int = 60
    """Episodes of each environment that are drawn from; the first policy plays them all beforehand. 0: every
    generation plays new ones, and costs are relative to the generation's mean."""
    prioritized: bool = True
    """Whether an episode's chance grows with what the first policy loses on it beyond the least of the pool."""
    utility: str = "log"
    """Costs relative to the first policy's: their logarithm, or themselves ("ratio")."""
    step: float = 0.2
    """Standard deviation of the weights at first."""
    averaged: bool = False
    """Whether the weights are the average of the distribution's means over the second half of the budget. Where every
    generation plays new episodes, each mean is as noisy as they are."""
    linear: bool = False
    """Whether the priority is linear in the features: no hidden units but the two that make it up."""
    hidden: int = 8
    """Hidden units over rows, those two included; ReLU."""
    states: tuple[int, ...] = (4, 4)
    """Of a graph network, instead: widths of the nodes' states, one more than there are rounds of messages; the last is
    that of the hidden layer which scores, too."""
    start: tuple[float, ...] = ()
    """Weights by feature of the linear priority that it begins with; 0 for those beyond the list."""

    def __post_init__(self) -> None:
        for name, least in (("population", 4), ("episodes", 1), ("pool", 0), ("hidden", 2)):
            require_range(name, getattr(self, name), least, whole=True)
        if self.population % 2:
            raise SettingError(f"population is {self.population}; it must be even, samples come in mirrored pairs")
        require_range("step", self.step, 0.0, open_low=True)
        require_choice("utility", self.utility, UTILITIES)


class Search:
    """A search as an object, alike `Training`.

    Args:
        env_id: A registered id of ours, whose engine is a `RowPlayer` or a `ChoicePlayer`.
        environments: Arguments of one or more environments that share their spaces; all count alike.
        seed: Of samples, weights and episodes.
        frames: Budget in decisions, summed over members; the last generation may exceed it.
        seconds: Budget in seconds; neither: 1 M decisions.
        words: The first environment's arguments as the checkpoint shall say them.
        output: File of the checkpoint, written every 30 seconds and at the end.
        resume: Whether to go on from `output`.
        settings: Of `SearchSettings`.

    Raises:
        SettingError: The environment's engine does not play networks, or a setting is out of range.
        CheckpointError: `output` holds another search.
    """

    def __init__(
        self,
        env_id: str,
        environments: Sequence[Mapping[str, Any]] = ({},),
        *,
        seed: int = 0,
        frames: int | None = None,
        seconds: float | None = None,
        words: Mapping[str, Any] | None = None,
        output: str | Path | None = None,
        resume: bool = False,
        **settings: Any,
    ) -> None:
        self.env_id, self.seed, self.output = env_id, seed, output
        self.settings = make_settings(SearchSettings, settings)
        self.budget = Budget(DEFAULT_FRAMES if frames is None and seconds is None else frames, seconds)
        if output is not None:
            require_writable(output)
        self.environment = plain(environments[0] if words is None else words)
        self._games, self.spaces = _games(env_id, environments)
        self._searched = self._kind()
        first = self._searched.first(self.settings.start, seed)
        self._search = CovarianceSearch(first, self.settings.step, self.settings.population, seed)
        self._sum, self._summed = np.zeros(len(first)), 0
        self.architecture = self._searched.architecture
        self.history = History()
        self._pools = [self._pool(game, number) for number, game in enumerate(self._games)]
        if resume:
            self._restore()

    def run(self) -> Iterator[Progress]:
        """Play and learn until the budget is spent; yields after every generation."""
        history, share = self.history, self.budget.share(self.history)
        began, before = time.perf_counter() - history.seconds, history.frames
        seconds_before = saved = history.seconds
        while share < 1.0:
            costs, decisions, returns = self._generation()
            self._search.learn(costs)
            history.add(decisions, returns)
            history.seconds = time.perf_counter() - began
            share, share_before = self.budget.share(history), share
            if self.settings.averaged and share > 0.5:
                self._sum, self._summed = self._sum + self._search.mean, self._summed + 1
            history.extend_curve(share, share_before)
            if self.output is not None and history.seconds - saved > SAVE_SECONDS:
                checkpoints.write(self.output, self.checkpoint())
                saved = history.seconds
            rate = (history.frames - before) / max(1e-9, history.seconds - seconds_before)
            metrics = {"mean_utility": float(-costs.mean()), "step": self._search.step}
            yield Progress(share, history.update, history.frames, history.seconds, rate, history.episodes,
                           history.mean_return, 0, 0.0, 0.0, metrics, decisions)  # fmt: skip
        if self.output is not None:
            checkpoints.write(self.output, self.checkpoint())

    @property
    def point(self) -> Floats:
        """The weights that have been found so far, as a point of the search."""
        return self._sum / self._summed if self._summed else self._search.mean

    def policy(self) -> TrainedPolicy:
        """The policy at the point that has been found, acting greedily."""
        return TrainedPolicy(self.checkpoint(resumable=False))

    def checkpoint(self, *, resumable: bool = True) -> Checkpoint:
        """Weights and facts as they stand, and what a resumed search needs."""
        facts = facts_of(self, "cma", "sysgym", "gymnasium", "numpy")
        weights = self._searched.weights(self.point)
        tensors = {f"weights/{name}": array for name, array in weights.items()}
        if resumable:
            arrays, values = self._search.state()
            arrays, values = arrays | {"sum": self._sum}, values | {"summed": self._summed}
            tensors |= {f"search/{name}": array for name, array in arrays.items()}
            facts["search"] = {**values, "history": dataclasses.asdict(self.history)}
        return Checkpoint(facts, tensors)

    def _kind(self) -> Searched:
        """What is searched: what the engine plays."""
        given = self.settings
        if isinstance(self._games[0], ChoicePlayer):
            return SearchedChoices(self.spaces, given.states, given.linear)
        return SearchedRows(self.spaces, given.hidden, given.linear)

    def _pool(self, game: Any, number: int) -> tuple[Floats, Floats]:
        """Of each episode that is drawn from in one environment, the first policy's cost and the chance."""
        if not self.settings.pool:
            return np.zeros(0), np.zeros(0)
        first = self._searched.first(self.settings.start, self.seed)[None]
        returns, decisions = self._play(game, first, number, np.arange(self.settings.pool))
        self.history.frames += decisions
        costs = _costs(returns[0])
        lost = costs - costs.min() + LEAST_COST if self.settings.prioritized else np.ones(len(costs))
        return costs, lost / lost.sum()

    def _generation(self) -> tuple[Floats, int, list[float]]:
        """Costs of the members, decisions played, and the mean returns of the members."""
        points, generation, count = self._search.sample(), self._search.generation, self.settings.episodes
        generator = stream(self.seed, "episode", generation)
        costs, total, decisions = np.zeros(self.settings.population), np.zeros(self.settings.population), 0
        for number, (game, (first, chances)) in enumerate(zip(self._games, self._pools, strict=True)):
            drawn = (
                generator.choice(len(first), count, p=chances) if len(first) else generation * count + np.arange(count)
            )
            returns, played = self._play(game, points, number, drawn)
            found = _costs(returns)
            ratio = (found + LEAST_COST) / ((first[drawn] if len(first) else found.mean(axis=0)) + LEAST_COST)
            costs += (np.log(ratio) if self.settings.utility == "log" else ratio).mean(axis=1)
            total += returns.mean(axis=1)
            decisions += played
        return costs / len(self._games), decisions, (total / len(self._games)).tolist()

    def _play(self, game: Any, points: Floats, number: int, episodes: NDArray[np.int64]) -> tuple[Floats, int]:
        seeds = np.full(len(episodes), self.seed * 1_000 + number, dtype=np.uint64)
        return self._searched.play(game, points, seeds, episodes)

    def _restore(self) -> None:
        assert self.output is not None
        earlier = checkpoints.read(self.output)
        if "search" not in earlier.facts or earlier.facts["settings"] != plain(dataclasses.asdict(self.settings)):
            raise CheckpointError(f"{self.output}: holds no search with these settings; search anew without resume")
        self._search.restore(earlier.part("search/"), earlier.facts["search"])
        self.history = History(**earlier.facts["search"]["history"])
        if self.settings.averaged:
            self._sum, self._summed = np.array(earlier.part("search/")["sum"]), int(earlier.facts["search"]["summed"])


def _costs(returns: Floats) -> Floats:
    if (returns > 0).any():
        raise SettingError(f"a search needs returns that are costs, at most 0; one is {returns.max():g}")
    return -returns


def _games(env_id: str, environments: Sequence[Mapping[str, Any]]) -> tuple[list[RowPlayer | ChoicePlayer], Spaces]:
    games: list[RowPlayer | ChoicePlayer] = []
    found: list[Spaces] = []
    for arguments in environments:
        recipe = Recipe.of(env_id, filled(dict(arguments)))
        vector: Any = gym.make_vec(recipe.spec, 1, "vector_entry_point", **recipe.arguments)
        engine = getattr(vector.unwrapped, "engine", None)
        if not isinstance(engine, RowPlayer | ChoicePlayer):
            raise SettingError(f"a search needs an engine that plays networks itself; that of {env_id} does not")
        games.append(engine)
        found.append(Spaces.of(vector.single_observation_space, vector.single_action_space))
    assert all(spaces == found[0] for spaces in found), "the environments of one search share their spaces"
    return games, found[0]
