"""A priority searched for instead of learned: covariance matrix adaptation over the weights of a row network.

Where an action is a row (`architecture`: `rows`) and the engine plays whole episodes by itself (`core.protocols.
RowPlayer`), a policy is judged by its returns alone, millions of decisions a minute, without gradients, values or a
discount. What makes that work on production logs, whose windows differ by factors of thousands:

* All members of a generation play the same episodes, so that returns differ by the weights alone.
* Episodes are drawn in proportion to what the first policy loses on them (`pool`, `prioritized`): most windows of a log
  have no queue worth ordering, and teach nothing.
* Costs are compared by their logarithm (`utility`), relative to the first policy's on the same episode, so that one
  window does not rule a generation.

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
from sysgym.agents.architecture import Architecture, choose_architecture, weight_shapes
from sysgym.agents.checkpoint import Checkpoint, plain, versions_of
from sysgym.agents.covariance import CovarianceSearch
from sysgym.agents.environments import Recipe
from sysgym.agents.policy import TrainedPolicy
from sysgym.agents.progress import Budget, History, Progress
from sysgym.agents.settings import make_settings, require_choice
from sysgym.agents.spaces import Spaces
from sysgym.core.errors import CheckpointError, SettingError, require_range
from sysgym.core.files import filled, require_writable
from sysgym.core.protocols import RowPlayer
from sysgym.core.row_network import RowNetwork, to_layers, weight_count
from sysgym.core.seeding import stream

DEFAULT_FRAMES = 1_000_000
SAVE_SECONDS = 30.0
"""Time between two checkpoints of a search that writes one."""
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
    """Episodes of each environment that are drawn from; the first policy plays them all beforehand."""
    prioritized: bool = True
    """Whether an episode's chance grows with what the first policy loses on it beyond the least of the pool."""
    utility: str = "log"
    """Costs relative to the first policy's: their logarithm, or themselves ("ratio")."""
    step: float = 0.2
    """Standard deviation of the weights at first."""
    linear: bool = False
    """Whether the priority is linear in the features: no hidden units but the two that make it up."""
    hidden: int = 8
    """Hidden units, those two included; ReLU."""
    start: tuple[float, ...] = ()
    """Weights by feature of the linear priority that it begins with; 0 for those beyond the list."""

    def __post_init__(self) -> None:
        for name, least in (("population", 4), ("episodes", 1), ("pool", 1), ("hidden", 2)):
            require_range(name, getattr(self, name), least, whole=True)
        if self.population % 2:
            raise SettingError(f"population is {self.population}; it must be even, samples come in mirrored pairs")
        require_range("step", self.step, 0.0, open_low=True)
        require_choice("utility", self.utility, UTILITIES)


class Search:
    """A search as an object, alike `Training`.

    Args:
        env_id: A registered id of ours, whose engine is a `RowPlayer`.
        environments: Arguments of one or more environments that share their spaces; all count alike.
        seed: Of samples, weights and episodes.
        frames: Budget in decisions, summed over members; the last generation may exceed it.
        seconds: Budget in seconds; neither: 1 M decisions.
        words: The first environment's arguments as the checkpoint shall say them.
        output: File of the checkpoint, written every 30 seconds and at the end.
        resume: Whether to go on from `output`.
        settings: Of `SearchSettings`.

    Raises:
        SettingError: The environment's engine does not play row networks, or a setting is out of range.
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
        features, hidden = self.spaces.shape[1], 2 if self.settings.linear else self.settings.hidden
        self.architecture = choose_architecture(self.spaces, "rows", (hidden,), "relu")
        self._widths = np.array([features, hidden, 1], dtype=np.int64)
        self._search = CovarianceSearch(self._first(), self.settings.step, self.settings.population, seed)
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

    def policy(self) -> TrainedPolicy:
        """The policy at the mean of the distribution, acting greedily."""
        return TrainedPolicy(self.checkpoint(resumable=False))

    def checkpoint(self, *, resumable: bool = True) -> Checkpoint:
        """Weights and facts as they stand, and what a resumed search needs."""
        facts = {
            "env_id": self.env_id,
            "environment": self.environment,
            "spaces": plain(dataclasses.asdict(self.spaces)),
            "architecture": plain(dataclasses.asdict(self.architecture)),
            "algorithm": "cma",
            "settings": plain(dataclasses.asdict(self.settings)),
            "seed": self.seed,
            "frames": self.history.frames,
            "curve": list(self.history.curve),
            "versions": versions_of("sysgym", "gymnasium", "numpy"),
        }
        weights = checkpoint_weights(self._network(self._search.mean[None]), self.spaces, self.architecture)
        tensors = {f"weights/{name}": array for name, array in weights.items()}
        if resumable:
            arrays, values = self._search.state()
            tensors |= {f"search/{name}": array for name, array in arrays.items()}
            facts["search"] = {**values, "history": dataclasses.asdict(self.history)}
        return Checkpoint(facts, tensors)

    def _network(self, points: Floats) -> RowNetwork:
        """The networks of points of the search, (M, n)."""
        if self.settings.linear:
            points = np.stack([_linear(point, 2) for point in points])
        return RowNetwork(points.astype(np.float32), self._widths, False)

    def _first(self) -> Floats:
        """Where the search begins."""
        features, hidden = int(self._widths[0]), int(self._widths[1])
        if len(self.settings.start) > features:
            raise SettingError(f"start has {len(self.settings.start)} weights; a row has {features} features")
        slope = np.zeros(features)
        slope[: len(self.settings.start)] = self.settings.start
        if self.settings.linear:
            return slope
        point = _linear(slope, hidden)
        drawn = stream(self.seed, "network").standard_normal((features, hidden - 2)) * 0.3
        point[: features * hidden].reshape(features, hidden)[:, 2:] = drawn
        return point

    def _pool(self, game: RowPlayer, number: int) -> tuple[NDArray[np.int64], Floats, Floats]:
        """Episodes of one environment: their numbers, the first policy's costs, and their chances."""
        episodes = np.arange(self.settings.pool)
        returns, decisions = self._play(game, self._network(self._first()[None]), number, episodes)
        self.history.frames += decisions
        costs = _costs(returns[0])
        lost = costs - costs.min() + LEAST_COST if self.settings.prioritized else np.ones(len(costs))
        return episodes, costs, lost / lost.sum()

    def _generation(self) -> tuple[Floats, int, list[float]]:
        """Costs of the members, decisions played, and the mean returns of the members."""
        networks = self._network(self._search.sample())
        generator = stream(self.seed, "episode", self._search.generation)
        costs, total, decisions = np.zeros(self.settings.population), np.zeros(self.settings.population), 0
        for number, (game, (episodes, first, chances)) in enumerate(zip(self._games, self._pools, strict=True)):
            drawn = generator.choice(len(episodes), self.settings.episodes, p=chances)
            returns, played = self._play(game, networks, number, episodes[drawn])
            ratio = (_costs(returns) + LEAST_COST) / (first[drawn] + LEAST_COST)
            costs += (np.log(ratio) if self.settings.utility == "log" else ratio).mean(axis=1)
            total += returns.mean(axis=1)
            decisions += played
        return costs / len(self._games), decisions, (total / len(self._games)).tolist()

    def _play(
        self, game: RowPlayer, networks: RowNetwork, number: int, episodes: NDArray[np.int64]
    ) -> tuple[Floats, int]:
        seeds = np.full(len(episodes), self.seed * 1_000 + number, dtype=np.uint64)
        return game.play_rows(networks, seeds, episodes)

    def _restore(self) -> None:
        assert self.output is not None
        earlier = checkpoints.read(self.output)
        if "search" not in earlier.facts or earlier.facts["settings"] != plain(dataclasses.asdict(self.settings)):
            raise CheckpointError(f"{self.output}: holds no search with these settings; search anew without resume")
        self._search.restore(earlier.part("search/"), earlier.facts["search"])
        self.history = History(**earlier.facts["search"]["history"])


def checkpoint_weights(network: RowNetwork, spaces: Spaces, architecture: Architecture) -> dict[str, NDArray[Any]]:
    """The one network as a checkpoint's weights; those of the value, which a search has not, are 0."""
    weights: dict[str, NDArray[Any]] = {
        name: np.zeros(shape, dtype=np.float32) for name, shape in weight_shapes(spaces, architecture).items()
    }
    for layer, (matrix, bias) in enumerate(to_layers(network._replace(weights=network.weights[0]))):
        weights[f"policy.layers.{layer}.weight"] = np.ascontiguousarray(matrix.T)
        weights[f"policy.layers.{layer}.bias"] = bias
    return weights


def _linear(slope: Floats, hidden: int) -> Floats:
    """A network whose first two hidden units make up a linear priority, z = max(0, z) - max(0, -z); others weigh 0."""
    features = len(slope)
    point = np.zeros(weight_count([features, hidden, 1]))
    matrix = point[: features * hidden].reshape(features, hidden)
    matrix[:, 0], matrix[:, 1] = slope, -slope
    last = point[(features + 1) * hidden :]
    last[0], last[1] = 1.0, -1.0
    return point


def _costs(returns: Floats) -> Floats:
    if (returns > 0).any():
        raise SettingError(f"a search needs returns that are costs, at most 0; one is {returns.max():g}")
    return -returns


def _games(env_id: str, environments: Sequence[Mapping[str, Any]]) -> tuple[list[RowPlayer], Spaces]:
    games: list[RowPlayer] = []
    found: list[Spaces] = []
    for arguments in environments:
        recipe = Recipe.of(env_id, filled(dict(arguments)))
        vector: Any = gym.make_vec(recipe.spec, 1, "vector_entry_point", **recipe.arguments)
        engine = getattr(vector.unwrapped, "engine", None)
        if not isinstance(engine, RowPlayer):
            raise SettingError(f"algorithm 'cma' needs an engine that plays row networks itself; {env_id} has none")
        games.append(engine)
        found.append(Spaces.of(vector.single_observation_space, vector.single_action_space))
    assert all(spaces == found[0] for spaces in found), "the environments of one search share their spaces"
    return games, found[0]
