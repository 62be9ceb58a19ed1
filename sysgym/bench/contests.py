"""Which records are compared with which, and the bootstrap replicates of what is compared.

A contest is an environment of a study with the policies that met the same scenarios there. A learned policy is one
entry, whatever the number of its training seeds, and so is a policy that draws, whatever the number of its draws.
Replicates draw the scenarios jointly for all entries, so that differences are paired, and whole runs for each entry on
its own. They are seeded from the results themselves: the same results give the same digits on any machine.

Where a study also played the valid split (`valid` in its file), the best heuristic is chosen there, and the contest of
that split stands behind the one that is shown. Without it, the choice is made on the shown scenarios.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.bench import environments, statistics
from sysgym.bench.records import BoundFacts, Record, canonical, latest
from sysgym.bench.study_file import VALID
from sysgym.core.errors import SysgymError, require_known
from sysgym.core.seeding import stream_key

RULES = ("heuristic", "bound")
"""Kinds of policies that are no challengers."""
RANDOM = "random"
"""The heuristic whose score is 0."""
OURS = "sysgym/"
"""Ids whose bound and domain are known where an older record does not name them."""
DEGENERATE = 1e-6
"""Share of the anchors' size below which random and bound are too close to scale a score by."""

_SAME = {"arguments", "objective", "direction"}
_RECIPE = ("algorithm", "environment", "settings", "planned_frames", "planned_seconds")


@dataclass(frozen=True)
class Entry:
    """The runs of one policy on one environment, all on the same scenarios.

    Attributes:
        name: Of the policy.
        records: One a training seed or draw, in their order.
        values: Objective, shape (runs, scenarios).
    """

    name: str
    records: list[Record]
    values: NDArray[np.float64]

    @property
    def kind(self) -> str:
        """What kind of policy; "bound" for one that is the environment's own bound, which nobody is asked to beat."""
        newest = self.records[-1]
        bound = newest.environment.bound
        return "bound" if bound and bound.policy and bound.policy == newest.policy.source else newest.policy.kind

    @property
    def source(self) -> str:
        """What the study called it, apart from the name that tables show."""
        return self.records[-1].policy.source

    @property
    def mean(self) -> float:
        """Mean objective."""
        return float(self.values.mean())


@dataclass(frozen=True)
class Anchors:
    """What scores 0 and what scores 1, a value a scenario.

    Attributes:
        random: Mean of the random policy's runs.
        bound: The bound.
        kind: What is known of the bound: "exact", "bound" or "reference".
    """

    random: NDArray[np.float64]
    bound: NDArray[np.float64]
    kind: str

    def score(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Objectives of any shape as scores, on the scale of the anchors' means over scenarios; never clipped."""
        scores: NDArray[np.float64] = (values - self.random.mean()) / (self.bound - self.random).mean()
        return scores


@dataclass(frozen=True)
class Contest:
    """The comparable records of one environment.

    Attributes:
        newest: The record that decides which others are comparable.
        entries: Best mean first.
        best: The heuristic that the others are compared with, the best unless another was asked for; or None.
        against: Name of the heuristic that was asked for.
        failed: Records of runs that failed, unless a later one of the policy, seed and draw ended well.
        left_out: Older records of other scenarios, arguments or settings that are not compared.
        chosen_on: The same environment's contest on the valid split, where `best` was chosen; None: on this one.
    """

    newest: Record
    entries: list[Entry]
    best: Entry | None
    against: str | None
    failed: list[Record]
    left_out: int
    chosen_on: Contest | None = None

    @property
    def shown(self) -> list[Record]:
        """The records that the contest is made of, those of the valid split behind it included."""
        behind = self.chosen_on.shown if self.chosen_on else []
        return [record for entry in self.entries for record in entry.records] + self.failed + behind

    @property
    def choice(self) -> Contest:
        """Where the best heuristic is chosen."""
        return self.chosen_on or self

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Policy and cause of runs that failed, equal ones once."""
        return list(dict.fromkeys((record.policy.name, record.result.failure or "") for record in self.failed))

    @property
    def minimise(self) -> bool:
        """Whether small values are good."""
        return self.newest.environment.direction == "min"

    @property
    def scenarios(self) -> int:
        """How many each entry met."""
        return self.entries[0].values.shape[1] if self.entries else 0

    @property
    def domain(self) -> str:
        """What the problem belongs to, or else its id."""
        facts = self.newest.environment
        known = facts.domain or (environments.domain_of(facts.id) if is_ours(facts.id) else "")
        return known or facts.id

    @cached_property
    def seed(self) -> int:
        """Seed of the bootstrap, from the results alone."""
        results = sorted((record.run, record.values) for entry in self.entries for record in entry.records)
        return int.from_bytes(hashlib.sha256(canonical(results)).digest()[:7], "little")

    @cached_property
    def anchors(self) -> Anchors | None:
        """What scores 0 and 1; None without a random policy or a bound, or where they do not differ."""
        random = next((e for e in self.entries if e.source == RANDOM and e.kind == "heuristic"), None)
        bound, kind = self._bound()
        if random is None or bound is None:
            return None
        zero = random.values.mean(axis=0)
        better = zero.mean() - bound.mean() if self.minimise else bound.mean() - zero.mean()
        if better <= DEGENERATE * max(abs(zero.mean()), abs(bound.mean())):
            return None
        return Anchors(zero, bound, kind)

    def _bound(self) -> tuple[NDArray[np.float64] | None, str]:
        facts = self.newest.environment
        bound = facts.bound
        if bound is None and facts.domain == "" and is_ours(facts.id):
            declared = environments.bound_of(facts.id)
            bound = None if declared is None else BoundFacts(**asdict(declared))
        if bound is None or not self.entries:
            return None, ""
        if bound.value is not None:
            return np.full(self.scenarios, bound.value), bound.kind
        if bound.policy:
            entry = next((entry for entry in self.entries if entry.source == bound.policy), None)
            return (None if entry is None else entry.values.mean(axis=0)), bound.kind
        column = np.array(self.entries[0].records[0].result.metrics.get(bound.metric, [None]), dtype=np.float64)
        return (column if np.isfinite(column).all() else None), bound.kind


class Replicates:
    """Bootstrap replicates of a contest's means and scores.

    Args:
        contest: With at least one entry.
    """

    def __init__(self, contest: Contest) -> None:
        self.contest = contest
        self.weights = statistics.scenario_weights(contest.scenarios, seed=contest.seed)
        self._runs: dict[str, NDArray[np.float64]] = {}

    def runs(self, entry: Entry) -> NDArray[np.float64]:
        """Means of the runs that were drawn, shape (B, runs)."""
        if entry.name not in self._runs:
            seed = stream_key(self.contest.seed, entry.name)
            self._runs[entry.name] = statistics.crossed_runs(entry.values, self.weights, seed)
        return self._runs[entry.name]

    def means(self, entry: Entry) -> NDArray[np.float64]:
        """Means over runs and scenarios, shape (B,)."""
        means: NDArray[np.float64] = self.runs(entry).mean(axis=1)
        return means

    def scores(self, entry: Entry) -> NDArray[np.float64]:
        """The same runs on the scale of the anchors, which are resampled with the scenarios; shape (B, runs)."""
        zero, unit = self._scale
        scores: NDArray[np.float64] = (self.runs(entry) - zero[:, None]) / unit[:, None]
        return scores

    @cached_property
    def _scale(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        anchors = self.contest.anchors
        assert anchors is not None
        zero, unit = self.weights @ anchors.random, self.weights @ (anchors.bound - anchors.random)
        whole = float((anchors.bound - anchors.random).mean())
        if (unit / whole).min() <= DEGENERATE:  # few scenarios, in some replicates none that tells 0 from 1
            return np.full_like(zero, anchors.random.mean()), np.full_like(unit, whole)
        return zero, unit


def contests(records: Iterable[Record], against: str | None = None) -> list[Contest]:
    """The records as contests: grouped by environment, the last one of each run, comparable ones together.

    Args:
        records: Of any studies.
        against: Name of the heuristic that the others are compared with; None takes the best of each contest.

    Raises:
        UnknownNameError: A contest has no such heuristic.
    """
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        facts = record.environment
        groups.setdefault((record.study, facts.name, facts.id, facts.split), []).append(record)
    found = {key: _contest(latest(group), against) for key, group in groups.items()}
    behind: dict[tuple[str, ...], Contest] = {}
    for key, contest in found.items():
        valid = found.get((*key[:3], VALID))
        if valid is not None and valid is not contest and _chooses(valid, contest):
            behind[key] = valid
    return [
        _chosen(contest, behind[key], against) if key in behind else contest
        for key, contest in found.items()
        if all(contest is not valid for valid in behind.values())
    ]


def _chooses(valid: Contest, shown: Contest) -> bool:
    """Whether a contest of the valid split can choose for another: the same problem, and all heuristics played it."""
    same = [contest.newest.environment.model_dump(include=_SAME) for contest in (valid, shown)]
    there = {entry.name for entry in valid.entries}
    asked = {entry.name for entry in shown.entries if entry.kind == "heuristic"}
    return same[0] == same[1] and bool(asked) and asked <= there


def _chosen(contest: Contest, valid: Contest, against: str | None) -> Contest:
    """The contest with the heuristic that is the best on the valid split, unless another was asked for."""
    heuristics = {entry.name: entry for entry in contest.entries if entry.kind == "heuristic"}
    best = contest.best
    if against is None:
        best = next(heuristics[entry.name] for entry in valid.entries if entry.name in heuristics)
    return replace(contest, best=best, chosen_on=valid)


def _contest(group: list[Record], against: str | None) -> Contest:
    good = [record for record in group if not record.failed]
    failed = _open_failures(group)
    newest = (good or group)[-1]
    by_name: dict[str, list[Record]] = {}
    played = _scenarios_of(newest)
    for record in good:
        if _scenarios_of(record) == played:
            by_name.setdefault(record.policy.name, []).append(record)
    entries = [_entry(name, found) for name, found in by_name.items()]
    sign = 1 if newest.environment.direction == "min" else -1
    entries.sort(key=lambda entry: (sign * entry.mean, entry.name))
    heuristics = {entry.name: entry for entry in entries if entry.kind in RULES}
    if against is not None:
        require_known("heuristic to compare with", against, heuristics)
    beatable = [entry for entry in heuristics.values() if entry.kind == "heuristic"] or list(heuristics.values())
    best = heuristics[against] if against is not None else next(iter(beatable), None)
    return Contest(newest, entries, best, against, failed, len(good) - sum(len(entry.records) for entry in entries))


def _open_failures(group: list[Record]) -> list[Record]:
    """Failed records after which no run of the same policy, training seed and draw ended well."""
    mended = {_trained_as(record): number for number, record in enumerate(group) if not record.failed}
    return [r for number, r in enumerate(group) if r.failed and mended.get(_trained_as(r), -1) < number]


def _entry(name: str, found: list[Record]) -> Entry:
    """The runs of a policy that are alike: those of the recipe that was recorded last, the last of each seed."""
    by_seed: dict[tuple[int, int], Record] = {}
    recipe = _recipe_of(found[-1])
    for record in found:
        if _recipe_of(record) == recipe:
            trained = record.policy.training.seed if record.policy.training else 0
            by_seed[trained, record.seeds.policy] = record
    kept = [by_seed[seed] for seed in sorted(by_seed)]
    return Entry(name, kept, np.array([record.values for record in kept]))


def _scenarios_of(record: Record) -> tuple[Any, ...]:
    """What two records must share to be compared."""
    log = record.workload or record.instance
    facts = record.environment
    played = facts.name, facts.id, facts.arguments, facts.split, facts.objective, facts.direction
    return *played, log.sha256 if log else "", record.seeds.scenarios


def _recipe_of(record: Record) -> tuple[Any, ...]:
    """What two runs of a policy must share to be runs of the same: how it was trained, or else the file it is."""
    policy, training = record.policy, record.policy.training
    recipe = [getattr(training, name) for name in _RECIPE] if training else [policy.sha256]
    return policy.kind, policy.play, policy.best_of, *recipe


def _trained_as(record: Record) -> tuple[str, int | None, int]:
    """Policy, training seed and draw: what a failed run and the one that replaces it have in common."""
    training = record.policy.training
    return record.policy.name, training.seed if training else record.seeds.training, record.seeds.policy


def is_ours(env_id: str) -> bool:
    """Whether an id is one of ours that is registered; no module is ever imported because a record names it."""
    if not env_id.startswith(OURS):
        return False
    try:
        environments.spec_of(env_id)
    except SysgymError:
        return False
    return True
