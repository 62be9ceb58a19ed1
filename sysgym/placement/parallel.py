"""Data, tensor and pipeline parallelism with recomputation, chosen together for layers of any graph.

Stages are contiguous runs of the layers in an order of execution, each on a group of consecutive devices; the last
stage takes the last devices. The outer programme goes from the last layer to the first and keeps labels (sum of the
stages' seconds, largest of them, largest exposed reduction); each stage comes from `labels`. A step of m micro-batches
takes the sum + (m - 1) times the largest + the exposed reduction. With 1F1B a stage holds as many micro-batches as
stages follow, itself included, at most m.

Every restriction of the search is a special case of it: `plan_parallel` reports pure data, tensor and pipeline
parallelism beside the plan, which is never worse than any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import NamedTuple

import numpy as np

from sysgym.core.errors import InfeasibleError, SettingError, require_known, require_range
from sysgym.placement.cluster import Cluster
from sysgym.placement.labels import Ending, Stages
from sysgym.placement.layers import LayerGraph, StageGroup, Training, score_stage, stage_group
from sysgym.placement.sharding import STRATEGIES

OBJECTIVES = ("iteration", "max_stage")
CUTS = 40
"""Most places where a stage may begin that are tried; of more, those that divide the work most evenly."""
_DATA = frozenset({"DP", "eB"})
FORMS = ("data", "tensor", "pipeline")
"""Forms of parallelism: layers split by samples, layers split by features or repeated, several stages."""


@dataclass(frozen=True)
class ParallelStage:
    """One stage of a plan.

    Attributes:
        begin: Its first layer.
        end: Behind its last layer.
        devices: Numbers of its devices.
        strategies: Name of each layer's strategy.
        recomputed: Whether each layer is recomputed.
        seconds: Of a micro-batch, forward and backward.
        forward: Of its forward.
        exposed: Seconds of gradient reduction behind its last backward.
        memory_bytes: On each device.
        alive: Micro-batches in flight.
    """

    begin: int
    end: int
    devices: tuple[int, ...]
    strategies: tuple[str, ...]
    recomputed: tuple[bool, ...]
    seconds: float
    forward: float
    exposed: float
    memory_bytes: float
    alive: int


@dataclass(frozen=True)
class ParallelPlan:
    """What the planner found.

    Attributes:
        stages: In order of execution.
        seconds: Of a step, all micro-batches.
        value: What was minimised.
        lower_bound: Seconds that no plan on these devices can beat.
        exact: Whether nothing was left out of the search over these cuts and group sizes.
        pure: Seconds of a step with data, tensor or pipeline parallelism alone; infinite where that doesn't fit.
        layers: What was planned.
    """

    stages: tuple[ParallelStage, ...]
    seconds: float
    value: float
    lower_bound: float
    exact: bool
    layers: LayerGraph
    pure: dict[str, float] = field(default_factory=dict)


_Stage = tuple[int, int, StageGroup, int, Stages, Ending]


class _Label(NamedTuple):
    total: float
    largest: float
    exposed: float
    stages: tuple[_Stage, ...]


class _Weights(NamedTuple):
    """The objective: `total` times the sum of the stages, `largest` times the largest, `exposed` times the exposed."""

    total: float
    largest: float
    exposed: float

    def of(self, label: _Label) -> float:
        return self.total * label.total + self.largest * label.largest + self.exposed * label.exposed


def plan_parallel(
    layers: LayerGraph, cluster: Cluster, training: Training | None = None, *, objective: str = "iteration",
    forms: Sequence[str] = FORMS, recompute: bool = True, cuts: Sequence[int] | None = None,
) -> ParallelPlan:  # fmt: skip
    """Choose stages, groups of devices, strategies and recomputation.

    Args:
        layers: What is trained or run.
        cluster: On what; devices are used in their order, and some may stay idle.
        training: Micro-batches, memory for each byte of weights, whether there is a backward pass.
        objective: "iteration" for the seconds of a step, "max_stage" for those of a micro-batch in the long run.
        forms: Those of `FORMS` that may be combined.
        recompute: Whether units may be recomputed.
        cuts: Where stages may begin; those of the layers when left out.

    Raises:
        InfeasibleError: Nothing fits; says by how many bytes.
        UnknownNameError: No such objective or form.
        SettingError: Fewer than one micro-batch, or no form.

    >>> from sysgym.placement.generators import generate
    >>> from sysgym.placement.layers import layers_of_graph
    >>> chain = layers_of_graph(generate("chain", 6, seed=1))
    >>> plan = plan_parallel(chain, Cluster.uniform(4))
    >>> all(plan.seconds <= seconds for seconds in plan.pure.values())
    True
    """
    require_known("objective", objective, OBJECTIVES)
    for form in forms:
        require_known("form of parallelism", form, FORMS)
    if not forms:
        raise SettingError(f"forms is empty; name at least one of {', '.join(FORMS)}")
    training = training or Training()
    require_range("micro_batches", training.micro_batches, 1, whole=True)
    m = training.micro_batches
    weights = _Weights(1.0, m - 1.0, 1.0) if objective == "iteration" else _Weights(0.0, 1.0, 1.0 / m)
    search = _Search(layers, cluster, training, weights, _cuts(layers, cluster, cuts), recompute)
    plans = {form: search.run(frozenset({form})) for form in FORMS if form in forms}
    known = min((plan.value for plan in plans.values() if plan is not None), default=float("inf"))
    if len(plans) > 1:
        plans["all"] = search.run(frozenset(forms), known)
    possible = [plan for plan in plans.values() if plan is not None]
    if not possible:
        raise InfeasibleError(_reason(layers, cluster, training, recompute, forms))
    best = min(possible, key=lambda plan: plan.value)
    widest = plans.get("all", best)
    exact = widest is not None and widest.exact
    pure = {form: float("inf") if plan is None else plan.seconds for form, plan in plans.items() if form != "all"}
    bound = min(_bound(layers, cluster, training), best.seconds)
    return ParallelPlan(_from_the_first(best.stages, cluster), best.seconds, best.value, bound, exact, layers, pure)


def _from_the_first(stages: tuple[ParallelStage, ...], cluster: Cluster) -> tuple[ParallelStage, ...]:
    """The stages moved to the first devices, where all devices and links are alike."""
    idle = stages[0].devices[0]
    alike = len({(device.model, device.kind, device.memory_bytes) for device in cluster.devices}) == 1
    off = ~np.eye(len(cluster), dtype=bool)
    if not alike or any(np.unique(links[off]).size > 1 for links in (cluster.bandwidth, cluster.latency)):
        return stages
    return tuple(replace(each, devices=tuple(number - idle for number in each.devices)) for each in stages)


def score_plan(layers: LayerGraph, cluster: Cluster, training: Training, stages: Iterable[ParallelStage]) -> float:
    """Seconds of a step, from the definition."""
    costs = [
        score_stage(layers, each.begin, each.end, stage_group(layers, cluster, each.devices[0], each.devices[-1] + 1),
                    [STRATEGIES[name] for name in each.strategies], each.recomputed, each.alive, training)
        for each in stages
    ]  # fmt: skip
    seconds = [cost.seconds for cost in costs]
    return sum(seconds) + (training.micro_batches - 1) * max(seconds) + max(cost.exposed for cost in costs)


def _cuts(layers: LayerGraph, cluster: Cluster, given: Sequence[int] | None) -> list[int]:
    """Where stages may begin, 0 and the end included."""
    places = sorted({each for each in (layers.cuts if given is None else given) if 0 < each < len(layers)})
    if len(cluster) == 1:
        places = []
    if len(places) > CUTS:
        group = stage_group(layers, cluster, 0, 1)
        work = np.cumsum(group.forward + group.backward)
        ideal = work[-1] * np.arange(1, CUTS + 1) / (CUTS + 1)
        nearest = np.abs(work[np.array(places) - 1][:, None] - ideal).argmin(axis=0)
        places = sorted({places[each] for each in nearest.tolist()})
    return [0, *places, len(layers)]


class _Search:
    """The outer programme; keeps what stages of equal groups cost."""

    def __init__(
        self, layers: LayerGraph, cluster: Cluster, training: Training, weights: _Weights, cuts: list[int],
        recompute: bool,
    ) -> None:  # fmt: skip
        self.layers, self.cluster, self.training, self.weights = layers, cluster, training, weights
        self.cuts, self.recompute = cuts, recompute
        self.groups: dict[tuple[int, int], StageGroup] = {}
        self.searches: dict[tuple[object, ...], Stages] = {}
        self.fronts: dict[tuple[object, ...], dict[int, list[Ending]]] = {}
        alone = [stage_group(layers, cluster, place, place + 1) for place in range(len(cluster))]
        least = reduce(np.minimum, (group.forward + group.backward for group in alone))
        self.rest = np.concatenate([[0.0], np.cumsum(least)])[self.cuts].tolist()

    def run(self, forms: frozenset[str], known: float = float("inf")) -> ParallelPlan | None:
        """Search for a plan no worse than a known value; without memory first, enough where the best plan fits."""
        free = self._search(forms, False, known)
        if free is not None and all(
            stage.memory_bytes <= min(self.cluster.devices[each].memory_bytes for each in stage.devices)
            for stage in free.stages
        ):
            return free
        return self._search(forms, True, known) if free is not None else None

    def _search(self, forms: frozenset[str], bounded: bool, known: float) -> ParallelPlan | None:
        allowed = frozenset(name for name in STRATEGIES if ("data" if name in _DATA else "tensor") in forms)
        devices, last = len(self.cluster), len(self.cuts) - 1
        states: dict[tuple[int, int, int], list[_Label]] = {(last, devices, 0): [_Label(0.0, 0.0, 0.0, ())]}
        done: list[_Label] = []
        best = known * (1.0 + 1e-12)
        used: set[Stages] = set()
        for end in range(last, 0, -1):
            for place, high, depth in sorted(key for key in states if key[0] == end):
                labels = [label for label in states.pop((place, high, depth)) if self.weights.of(label) < best]
                if not labels:
                    continue
                alive = min(self.training.micro_batches, depth + 1)
                for low in self._lows(high, forms):
                    fronts, search = self._fronts(end, low, high, alive if bounded else 0, allowed, bounded)
                    used.add(search)
                    group = self._group(low, high)
                    for begin, front in fronts.items():
                        if begin and "pipeline" not in forms:
                            continue
                        if begin and not low:
                            continue
                        stage = (self.cuts[begin], self.cuts[end], group, alive, search)
                        rest = self.rest[begin] / max(1, low)
                        for grown in _grown(labels, front, stage, self.weights, rest, best):
                            if begin == 0:
                                if self.weights.of(grown) < best:
                                    best = self.weights.of(grown)
                                    done.append(grown)
                            else:
                                key = begin, low, depth + 1 if bounded else 0
                                states[key] = _kept(states.get(key, []), grown)
        return self._plan(done[-1], best, all(search.exact for search in used)) if done else None

    def _lows(self, high: int, forms: frozenset[str]) -> list[int]:
        """First devices of the groups that end at `high`: of 1 to 4 devices, of powers of two, or of all."""
        if forms == {"pipeline"}:
            return [high - 1]
        if "pipeline" not in forms:
            return [0]
        sizes = {size for size in range(1, high + 1) if size <= 4 or size & (size - 1) == 0}
        sizes |= {high} if high == len(self.cluster) else set()
        return [high - size for size in sorted(sizes)]

    def _group(self, low: int, high: int) -> StageGroup:
        if (low, high) not in self.groups:
            self.groups[low, high] = stage_group(self.layers, self.cluster, low, high)
        return self.groups[low, high]

    def _fronts(
        self, end: int, low: int, high: int, alive: int, allowed: frozenset[str], bounded: bool
    ) -> tuple[dict[int, list[Ending]], Stages]:
        """Ways to do the layers from each cut to that of number `end`, by the cut's number."""
        group = self._group(low, high)
        names = allowed if high - low > 1 else _DATA
        known = group.key, alive, names, bounded
        if known not in self.searches:
            self.searches[known] = Stages(
                self.layers, group, alive, self.training, self.recompute and bounded,
                group.memory if bounded else float("inf"), names,
            )  # fmt: skip
        search = self.searches[known]
        if (known, end) not in self.fronts:
            ends = search.endings(self.cuts[:end], self.cuts[end])
            self.fronts[known, end] = {place: ends[cut] for place, cut in enumerate(self.cuts[:end])}
        return self.fronts[known, end], search

    def _plan(self, label: _Label, value: float, exact: bool) -> ParallelPlan:
        stages = []
        for place, (begin, end, group, _, search, ending) in enumerate(label.stages):
            alive = min(self.training.micro_batches, len(label.stages) - place)
            strategies, recomputed = search.choice(begin, end, ending)
            cost = score_stage(self.layers, begin, end, group, strategies, recomputed, alive, self.training)
            assert abs(cost.seconds - ending.seconds) <= 1e-9 * max(cost.seconds, 1e-12), "search and definition differ"
            stages.append(ParallelStage(
                begin, end, tuple(range(group.low, group.high)), tuple(own.name for own in strategies),
                tuple(recomputed), cost.seconds, cost.forward, cost.exposed, cost.memory_bytes, alive,
            ))  # fmt: skip
        seconds = float(score_plan(self.layers, self.cluster, self.training, stages))
        return ParallelPlan(tuple(stages), seconds, float(value), 0.0, exact, self.layers)


def _grown(
    labels: list[_Label], front: list[Ending], stage: tuple[int, int, StageGroup, int, Stages], weights: _Weights,
    rest: float, best: float,
) -> Iterator[_Label]:  # fmt: skip
    """Labels with one more stage in front, unless the work still in front of it makes them no better than `best`."""
    for label in labels:
        for ending in front:
            total, largest = label.total + ending.seconds, max(label.largest, ending.seconds)
            exposed = max(label.exposed, ending.exposed)
            least = weights.total * (total + rest) + weights.largest * max(largest, rest) + weights.exposed * exposed
            if least < best:
                yield _Label(total, largest, exposed, ((*stage, ending), *label.stages))


def _kept(labels: list[_Label], new: _Label) -> list[_Label]:
    """Labels and a new one, without those that another is as good as in all three."""
    for label in labels:
        if label.total <= new.total and label.largest <= new.largest and label.exposed <= new.exposed:
            return labels
    return [label for label in labels if not (
        new.total <= label.total and new.largest <= label.largest and new.exposed <= label.exposed
    )] + [new]  # fmt: skip


def _bound(layers: LayerGraph, cluster: Cluster, training: Training) -> float:
    """All work divided among all devices, each operation where it is fastest."""
    groups = [stage_group(layers, cluster, place, place + 1) for place in range(len(cluster))]
    least = reduce(np.minimum, (group.forward + group.backward for group in groups))
    return float(least.sum()) / len(cluster) * training.micro_batches


def _reason(layers: LayerGraph, cluster: Cluster, training: Training, recompute: bool, forms: Sequence[str]) -> str:
    """Which layer doesn't fit and by how much, or how much is lacking in all."""
    roomiest, count = float(cluster.memory.max()), 1 if set(forms) == {"pipeline"} else len(cluster)
    copies = training.weight_copies if training.backward else 1.0
    divided = 1 if "tensor" not in forms else count
    least = layers.weight_bytes * copies / divided + layers.stash_bytes / count
    worst, total = int(least.argmax()), float((layers.weight_bytes * copies).sum())
    if least[worst] > roomiest:
        return (
            f"{layers.source}: layer {layers.names[worst]!r} needs {least[worst]:,.0f} bytes on a device, "
            f"{least[worst] - roomiest:,.0f} more than the largest has; use larger devices or a smaller micro-batch"
        )
    room = float(cluster.memory.sum()) if set(forms) != {"data"} else roomiest
    if total > room:
        return (
            f"{layers.source}: weights with what training adds hold {total:,.0f} bytes, {total - room:,.0f} more than "
            f"the {room:,.0f} there are; add devices"
        )
    advice = "" if recompute else ", or allow recomputation"
    return (
        f"{layers.source}: no split fits: weights with what training adds hold {total:,.0f} bytes, a micro-batch's "
        f"activations {float(layers.stash_bytes.sum()):,.0f}, there are {room:,.0f}; use smaller micro-batches{advice}"
    )
