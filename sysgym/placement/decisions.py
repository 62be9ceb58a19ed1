"""Placing a graph operation by operation: the decision process, and its readable simulator.

After Placeto (Addanki et al., NeurIPS 2019, section 3): an episode passes over the groups in topological order; each
step asks for the device of the current one, and the reward is by how much the objective fell (Park's port pays the
negative of that and ends before the last operation is placed; neither is so here). An episode begins with a complete
placement, or with nothing placed, where an objective can score a part.

The current group is out of its place while its new one is chosen: the loads that a policy sees are those of all other
groups. Loads of the coarse graph are those of the original one, because what shares a device never pays. All sums run
over groups, then producers, in the order of their numbers, so the kernel adds up the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysgym.core.columns import read_only
from sysgym.core.errors import SettingError, require_known, require_options, require_range
from sysgym.core.events import EventKind, EventLog, EventRecorder
from sysgym.core.protocols import Simulator
from sysgym.core.seeding import stream
from sysgym.placement.cluster import Cluster
from sysgym.placement.execution import ExecutionRules
from sysgym.placement.instances import GraphSource, Instance
from sysgym.placement.kernel import Evaluator
from sysgym.placement.metrics import placement_metrics
from sysgym.placement.model import OpGraph
from sysgym.placement.objectives import OBJECTIVES, latency_arrays, single_latency
from sysgym.placement.policies import CONSTRUCTIONS
from sysgym.placement.simulator import simulate

NOWHERE = -1
"""Device of a group that is not placed."""
INITIAL = ("nowhere", "random", *CONSTRUCTIONS)
REWARDS = ("decrease", "relative", "log_decrease", "terminal", "log_ratio")


@dataclass(frozen=True)
class PlacementConfig:
    """What an environment is made with, beside where its graphs come from.

    Attributes:
        objective: "max_load", "latency" or "makespan".
        initial: Where groups are when an episode begins: "nowhere" (for "max_load" alone), "random", or a name of
            `policies.CONSTRUCTIONS` such as "one_device". None chooses "nowhere" for "max_load", else "one_device".
        passes: How often an episode passes over the groups.
        reward: "decrease" of the objective, in the graph's time unit; "relative", the same over the instance's share;
            "log_decrease", the decrease of log(1 + objective / share), so that no bad placement drowns the others;
            "terminal", all of "decrease" with the last step; "log_ratio", log(share / objective) with the last step.
        rules: How a graph runs, for "makespan".
    """

    objective: str = "max_load"
    initial: str | None = None
    passes: int = 1
    reward: str = "decrease"
    rules: ExecutionRules | None = None

    def __post_init__(self) -> None:
        require_range("passes", self.passes, 1, whole=True)
        require_known("objective", self.objective, OBJECTIVES)
        require_known("initial placement", self.start, INITIAL)
        require_known("reward", self.reward, REWARDS)
        if self.start == "nowhere" and self.objective != "max_load":
            raise SettingError(f"initial='nowhere' cannot be scored by {self.objective!r}; begin with 'one_device'")

    @property
    def start(self) -> str:
        """`initial`, or what None stands for."""
        return self.initial or ("nowhere" if self.objective == "max_load" else "one_device")


class PlacementState(NamedTuple):
    """One episode's state; arrays are read-only. G groups, D devices of the cluster.

    Attributes:
        time: Decisions so far.
        length: Decisions of the whole episode.
        group: The group to be placed, -1 at the end.
        device: Of each group, or -1, int64 (G,).
        cost: Of each group on each device, infinite where unsupported, (G, D).
        size: Bytes of each group, (G,).
        order: Groups in the order of decisions, (G,).
        compute: Compute time on each device, (D,).
        moved: Time that its transfers take, (D,).
        held: Bytes that it holds, (D,).
        allowed: Whether the current group may go there, bool (D,).
        objective: Of what is placed, with a penalty of one share for each memory's worth of excess.
        share: See `Instance`.
        graph: The original graph.
        cluster: Its devices.
        group_of: Group of each operation, int64 (n,).
    """

    time: int
    length: int
    group: int
    device: NDArray[np.int64]
    cost: NDArray[np.float64]
    size: NDArray[np.float64]
    order: NDArray[np.int64]
    compute: NDArray[np.float64]
    moved: NDArray[np.float64]
    held: NDArray[np.float64]
    allowed: NDArray[np.bool_]
    objective: float
    share: float
    graph: OpGraph
    cluster: Cluster
    group_of: NDArray[np.int64]


Reward = Callable[[PlacementState, int, PlacementState], float]


class Loads(NamedTuple):
    """What devices compute, move and hold, (D,) each."""

    compute: NDArray[np.float64]
    moved: NDArray[np.float64]
    held: NDArray[np.float64]


def loads_of(instance: Instance, device: NDArray[np.int64]) -> Loads:
    """The loads of what is placed; a transfer is paid by both its ends, once for each producer, where they are placed.

    Args:
        instance: What is placed.
        device: Of each group, or `NOWHERE`.
    """
    c = instance.contraction
    compute, moved, held = (np.zeros(c.cost.shape[1]) for _ in range(3))
    for group, where in enumerate(device.tolist()):
        if where != NOWHERE:
            compute[where] += c.cost[group, where]
            held[where] += c.size[group]
    for producer, owner in enumerate(c.owner.tolist()):
        readers = {int(device[reader]) for reader in c.reader[c.reader_start[producer] : c.reader_start[producer + 1]]}
        away = readers - {NOWHERE, int(device[owner])}
        if device[owner] != NOWHERE and away:
            for where in sorted({int(device[owner]), *away}):
                if c.pays[where]:
                    moved[where] += c.price[producer]
    return Loads(compute, moved, held)


def memory_excess(held: NDArray[np.float64], memory: NDArray[np.float64]) -> float:
    """Bytes above the caps, relative to the caps, summed over the devices."""
    return float(sum((h - m) / max(m, 1.0) for h, m in zip(held.tolist(), memory.tolist(), strict=True) if h > m))


def allowed_devices(instance: Instance, group: int, held: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Devices that support a group and have room for it beside what the others hold; never empty.

    Where none has room, the supported one with the most memory left remains: the episode becomes infeasible.
    """
    c = instance.contraction
    supported: NDArray[np.bool_] = np.isfinite(c.cost[group])
    fits: NDArray[np.bool_] = supported & (held + c.size[group] <= c.memory)
    if fits.any():
        return fits
    left = np.where(supported, c.memory - held, -np.inf)
    return np.equal(np.arange(len(left)), int(left.argmax()))


def initial_placement(instance: Instance, start: str, seed: int, episode: int) -> NDArray[np.int64]:
    """Device of each group when an episode begins."""
    groups, devices = instance.contraction.cost.shape
    if start == "nowhere":
        return np.full(groups, NOWHERE, dtype=np.int64)
    if start == "random":
        draws = stream(seed, "placement/initial", episode).random((groups, devices))
        draws[~np.isfinite(instance.contraction.cost)] = -1.0
        drawn: NDArray[np.int64] = draws.argmax(axis=1).astype(np.int64)
        return drawn
    return instance.gathered(CONSTRUCTIONS[start](instance.graph, instance.cluster))


def chosen_placement(instance: Instance, options: Mapping[str, Any] | None) -> NDArray[np.int64] | None:
    """The placement that `reset(options={"assignment": ...})` begins with: a device for each operation; None if none.

    Raises:
        SettingError: Another option, or no assignment of this graph.
    """
    require_options(options, "assignment")
    if not options:
        return None
    return instance.gathered(instance.graph.assignment_of(options["assignment"], instance.cluster))


class Scorer:
    """The objective of a placement of groups, by the reference engine or by the compiled one.

    Args:
        instance: What is placed.
        config: The objective.
        compiled: Whether executions are compiled or on SimPy; both give the same bits.
    """

    def __init__(self, instance: Instance, config: PlacementConfig, compiled: bool) -> None:
        self.instance, self.config, self.compiled = instance, config, compiled
        if config.objective == "latency":
            self._latency = latency_arrays(instance.graph, instance.cluster)
        elif config.objective == "makespan" and compiled:
            self._evaluator = Evaluator(instance.graph, instance.cluster, config.rules)

    def __call__(self, device: NDArray[np.int64], loads: Loads) -> float:
        """The objective, plus the share times the memory excess; always finite."""
        instance = self.instance
        penalty = instance.share * memory_excess(loads.held, instance.contraction.memory)
        if self.config.objective == "max_load":
            return float((loads.compute + loads.moved).max()) + penalty
        spread = instance.spread(device)
        if self.config.objective == "latency":
            latency = float(single_latency(self._latency, spread, False))
            # pieces that wait for one another never end; let it count as everything in turn, moved twice
            return (latency if np.isfinite(latency) else self._in_turn(loads)) + penalty
        if self.compiled:
            return self._evaluator.makespan(spread) + penalty
        return simulate(instance.graph, instance.cluster, spread, self.config.rules).makespan + penalty

    def _in_turn(self, loads: Loads) -> float:
        return float(loads.compute.sum() + 2.0 * self.instance.contraction.price.sum())


def reward_of(kind: str, before: float, after: float, first: float, ended: bool, share: float) -> float:
    """A named reward of `PlacementConfig`.

    Args:
        kind: Its name.
        before: Objective before the step.
        after: Objective behind it.
        first: Objective at the beginning of the episode.
        ended: Whether the step is the last.
        share: See `Instance`.
    """
    if kind == "decrease":
        return before - after
    if kind == "relative":
        return (before - after) / share
    if kind == "log_decrease":
        return math.log((share + before) / (share + after))
    if not ended:
        return 0.0
    if kind == "terminal":
        return first - after
    return math.log(share / after) if after > 0 else 0.0


class PlacementSimulator(Simulator):
    """One episode, readable; executions run on SimPy.

    Args:
        source: Of instances.
        config: What is asked.
        encoder: What is seen; `observation.GraphView`, or an object of one's own with `spec` and `write`.
        reward: Takes the place of the named reward.
    """

    def __init__(
        self, source: GraphSource, config: PlacementConfig, encoder: Any, reward: Reward | None = None
    ) -> None:
        self.source, self.config, self.encoder, self.reward = source, config, encoder, reward
        self.num_actions, self.observation_spec = encoder.num_actions, encoder.spec

    def reset(self, seed: int, episode: int, options: Mapping[str, Any] | None = None) -> None:
        """See `Simulator.reset`; `options["assignment"]` is a device for each operation to begin with."""
        self.instance = self.source.draw(seed, episode)
        chosen = chosen_placement(self.instance, options)
        start = initial_placement(self.instance, self.config.start, seed, episode) if chosen is None else chosen
        self.device, self.time = start, 0
        self.length = self.config.passes * len(self.device)
        self.log = EventRecorder()
        for group, device in enumerate(self.device.tolist()):
            if device != NOWHERE:
                self.log.append(0, EventKind.PLACE, group, device)
        self.score = Scorer(self.instance, self.config, compiled=False)
        self.loads = loads_of(self.instance, self.device)
        self.objective = self.first = self.score(self.device, self.loads)

    def step(self, action: int) -> tuple[float, bool, bool]:
        """Put the current group on a device; one that is not allowed counts as the first that is."""
        before_state = self.state() if self.reward is not None else None
        before, group = self.objective, self.group
        allowed = self._allowed()
        device = action if action < len(allowed) and allowed[action] else int(allowed.argmax())
        self.log.append(self.time, EventKind.PLACE, group, device)
        self.device[group] = device
        self.time += 1
        self.loads = loads_of(self.instance, self.device)
        self.objective = self.score(self.device, self.loads)
        ended = self.time == self.length
        if before_state is not None and self.reward is not None:
            return float(self.reward(before_state, action, self.state())), ended, False
        share = self.instance.share
        return reward_of(self.config.reward, before, self.objective, self.first, ended, share), ended, False

    @property
    def group(self) -> int:
        """The group to be placed, -1 at the end."""
        return int(self.instance.order[self.time % len(self.device)]) if self.time < self.length else -1

    def observe(self, observation: NDArray[Any], action_mask: NDArray[np.int8]) -> None:
        """See `Simulator.observe`."""
        allowed = self._allowed()
        action_mask[:] = 0
        action_mask[: len(allowed)] = allowed
        self.encoder.write(self.instance, self.device, self.time, self.length, self.loads, action_mask, observation)

    def state(self) -> PlacementState:
        """See `Simulator.state`."""
        return state_of(
            self.instance, self.device.copy(), self.time, self.length, self.loads, self._allowed(), self.objective
        )

    def events(self) -> EventLog:
        """See `Simulator.events`."""
        return self.log.log()

    def metrics(self) -> dict[str, float]:
        """See `Simulator.metrics`."""
        return placement_metrics(self.events(), self.instance, self.config.objective, self.config.rules)

    def _allowed(self) -> NDArray[np.bool_]:
        """At the end as for the last group, so that the mask is never empty."""
        group = self.group if self.group >= 0 else int(self.instance.order[-1])
        held = self.loads.held.copy()
        if self.device[group] != NOWHERE:
            held[self.device[group]] -= self.instance.contraction.size[group]
        return allowed_devices(self.instance, group, held)


def state_of(
    instance: Instance,
    device: NDArray[np.int64],
    time: int,
    length: int,
    loads: Loads,
    allowed: NDArray[np.bool_],
    objective: float,
) -> PlacementState:
    """The state that both engines show."""
    c = instance.contraction
    return PlacementState(
        time=time,
        length=length,
        group=int(instance.order[time % len(device)]) if time < length else -1,
        device=read_only(device),
        cost=read_only(c.cost),
        size=read_only(c.size),
        order=read_only(instance.order),
        compute=read_only(loads.compute),
        moved=read_only(loads.moved),
        held=read_only(loads.held),
        allowed=read_only(allowed),
        objective=objective,
        share=instance.share,
        graph=instance.graph,
        cluster=instance.cluster,
        group_of=read_only(c.group_of),
    )
