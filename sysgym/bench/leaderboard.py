"""Who is best on an environment, by how much, and how sure that is: tables computed from records alone.

One table an environment, one row a policy. All rows met the same scenarios, and every interval resamples those
scenarios jointly, so that differences are paired (`contests`). Each row is compared with the best heuristic, chosen on
the valid split where the study played it, else on the very scenarios that are shown, which favours the heuristic and so
makes a claim against it harder, not easier. What several environments say together is in `boards`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.bench import ranking, statistics
from sysgym.bench.contests import Contest, Entry, Replicates, contests
from sysgym.bench.records import Record
from sysgym.bench.statistics import Interval

MINIMUM_SCENARIOS = 6
"""Fewest scenarios for a verdict: with fewer, all differences having one sign is no rare event (2 / 2**5 > 5 %)."""

BETTER, WORSE, EQUAL = "better", "worse", "no difference"
REFERENCE, CHOSEN = "best heuristic", "chosen"
FEWEST_UPDATES = 3
"""Fewest points of a training curve, one an update as long as there are few, of a policy that counts as trained."""
TOO_FEW, NO_HEURISTIC = "too few scenarios", "no heuristic to compare with"


@dataclass(frozen=True)
class Training:
    """What a learned policy cost, a run on average.

    Attributes:
        seeds: Of its training runs.
        frames: Environment steps.
        seconds: Wall time.
        too_short: Whether a run had fewer than `FEWEST_UPDATES` updates: its budget is too small to train anything.
    """

    seeds: list[int]
    frames: float
    seconds: float
    too_short: bool = False


@dataclass(frozen=True)
class Row:
    """A policy on an environment; "worst" is large where the objective is minimised.

    Attributes:
        rank: 1 is the best mean.
        shared_rank: 1 + how many policies are shown to be better; ties share it.
        rank_interval: 95 % range of the rank.
        policy: Its name.
        kind: "heuristic", "search", "learned", "code", or "bound" for a policy that is the bound.
        best_heuristic: Whether it is the one that the others are compared with.
        runs: Runs that ended well: training seeds, or draws, or 1.
        scenarios: Scenarios of each.
        mean: Mean objective.
        median: Median over scenarios.
        tail: 95th percentile of the scenarios towards the worst side.
        score: Mean on the scale from 0, random, to 1, the bound; None where one of them is unknown.
        difference: Its mean minus that of the best heuristic.
        ratio: Its mean over that of the best heuristic; None where a value is not above 0.
        verdict: "better", "worse", "no difference", "best heuristic" (or "chosen"), "too few scenarios" or "no
            heuristic to compare with".
        lost: Share of scenarios on which the best heuristic did better.
        lost_to_any: Share of scenarios on which some heuristic did better.
        invalid_actions: Answers that were no actions.
        timeouts: Scenarios that were played on by doing nothing, because an answer took too long.
        crashes: The same for policies that failed.
        seconds_per_step: Time of the policy for a decision.
        training: For learned policies.
    """

    rank: int
    shared_rank: int
    rank_interval: tuple[int, int]
    policy: str
    kind: str
    best_heuristic: bool
    runs: int
    scenarios: int
    mean: Interval
    median: float
    tail: float
    score: Interval | None
    difference: Interval | None
    ratio: Interval | None
    verdict: str
    lost: float | None
    lost_to_any: float | None
    invalid_actions: int
    timeouts: int
    crashes: int
    seconds_per_step: float
    training: Training | None


@dataclass(frozen=True)
class Table:
    """An environment's leaderboard.

    Attributes:
        study: Study of the records.
        environment: Its name.
        env_id: Its id.
        domain: What the problem belongs to.
        split: The split that was played.
        objective: What is compared.
        direction: "min" or "max".
        instance: Name of the log, graph or whatever is played, or "".
        bound: Mean of the bound that scores 1, or None.
        bound_kind: "exact", "bound", "reference" or "".
        rows: Best first.
        failures: Policy and cause of failed runs, unless a later one of the policy and training seed ended well.
        left_out: Older records of other scenarios, arguments or settings that are not compared.
        reference: What the others are compared with: "best heuristic", or the name of the chosen one.
        chosen_on: Scenarios of the valid split on which the best heuristic was chosen; 0: on those that are shown.
    """

    study: str
    environment: str
    env_id: str
    domain: str
    split: str
    objective: str
    direction: str
    instance: str
    bound: float | None
    bound_kind: str
    rows: list[Row]
    failures: list[tuple[str, str]]
    left_out: int
    reference: str
    chosen_on: int = 0

    @property
    def best_heuristic(self) -> Row | None:
        """The row that the others are compared with."""
        return next((row for row in self.rows if row.best_heuristic), None)

    @property
    def note(self) -> str:
        """What a reader must know before the ranks; empty where there is nothing."""
        return statistics.USELESS if statistics.all_tie([row.mean.estimate for row in self.rows]) else ""


def leaderboard(records: Iterable[Record], against: str | None = None) -> list[Table]:
    """One table for each study, environment and split among the records, in the order of their first record.

    Args:
        records: Of any studies.
        against: Name of the heuristic that the others are compared with; None takes the best of each table.

    Raises:
        UnknownNameError: A table has no such heuristic.
    """
    return [table_of(contest) for contest in contests(records, against)]


def table_of(contest: Contest, replicates: Replicates | None = None) -> Table:
    """The leaderboard of one contest; `replicates` are the contest's, where they have been drawn already."""
    facts, instance, anchors = contest.newest.environment, contest.newest.played, contest.anchors
    rows: list[Row] = []
    if contest.entries:
        drawn = replicates or Replicates(contest)
        sign = -1.0 if contest.minimise else 1.0
        goodness = np.column_stack([sign * drawn.means(entry) for entry in contest.entries])
        ranks = list(zip(ranking.shared_ranks(goodness), ranking.rank_intervals(goodness), strict=True))
        rows = [_row(number + 1, *ranks[number], entry, drawn) for number, entry in enumerate(contest.entries)]
    return Table(
        study=contest.newest.study,
        environment=facts.name,
        env_id=facts.id,
        domain=contest.domain,
        split=facts.split,
        objective=facts.objective,
        direction=facts.direction,
        instance=instance.name if instance else "",
        bound=float(anchors.bound.mean()) if anchors else None,
        bound_kind=anchors.kind if anchors else "",
        rows=rows,
        failures=contest.failures,
        left_out=contest.left_out,
        reference=contest.against or REFERENCE,
        chosen_on=contest.chosen_on.scenarios if contest.chosen_on else 0,
    )


def to_data(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """The tables as plain values, for JSON."""
    return [asdict(table) for table in tables]


def tail_name(direction: str) -> str:
    """What the column `tail` is called: the worst 95th percentile is the 5th where large is good."""
    return "p95" if direction == "min" else "p5"


def verdict_of(difference: Interval, minimise: bool) -> str:
    """What an interval of a paired difference to the best heuristic says."""
    if difference.low <= 0 <= difference.high:
        return EQUAL
    return BETTER if (difference.high < 0) == minimise else WORSE


def lost_scenarios(entry: Entry, contest: Contest) -> NDArray[np.float64] | None:
    """Share of an entry's runs that the best heuristic beats, a value a scenario; None for the heuristic itself."""
    if contest.best is None or contest.best is entry:
        return None
    return _lost(entry.values, contest.best.values.mean(axis=0), contest)


def seconds_per_step(records: Sequence[Record]) -> float:
    """Time of the policy for a decision."""
    steps = sum(record.result.steps for record in records)
    return sum(record.cost.policy for record in records) / max(1, steps)


def training_of(records: Sequence[Record]) -> Training | None:
    """What the training of a learned policy cost."""
    found = {record.policy.training.seed: record.policy.training for record in records if record.policy.training}
    if not found:
        return None
    frames, seconds = (sum(getattr(one, name) for one in found.values()) / len(found) for name in ("frames", "seconds"))
    too_short = any(0 < len(one.curve) < FEWEST_UPDATES for one in found.values())
    return Training(list(found), frames, seconds, too_short)


def _row(rank: int, shared_rank: int, rank_interval: tuple[int, int], entry: Entry, drawn: Replicates) -> Row:
    contest = drawn.contest
    best, values, means = contest.best, entry.values, drawn.means(entry)
    over_runs = values.mean(axis=0)
    difference = ratio = None
    if best is not None and best is not entry:
        reference = drawn.means(best)
        difference = statistics.interval(entry.mean - best.mean, means - reference)
        if (values > 0).all() and (best.values > 0).all():
            ratio = statistics.interval(entry.mean / best.mean, means / reference)
    others = [other for other in contest.entries if other.kind == "heuristic" and other is not entry]
    heuristics = [other.values.mean(axis=0) for other in others]
    lost = lost_scenarios(entry, contest)
    return Row(
        rank=rank,
        shared_rank=shared_rank,
        rank_interval=rank_interval,
        policy=entry.name,
        kind=entry.kind,
        best_heuristic=entry is best,
        runs=len(values),
        scenarios=values.shape[1],
        mean=statistics.interval(entry.mean, means),
        median=float(np.median(over_runs)),
        tail=float(np.percentile(over_runs, 95 if contest.minimise else 5)),
        score=_score(entry, drawn),
        difference=difference,
        ratio=ratio,
        verdict=_verdict(entry, contest, difference),
        lost=None if lost is None else float(lost.mean()),
        lost_to_any=float(_lost(values, _best_of(heuristics, contest), contest).mean()) if heuristics else None,
        invalid_actions=sum(record.result.invalid_actions for record in entry.records),
        timeouts=sum(record.result.timeouts for record in entry.records),
        crashes=sum(record.result.crashes for record in entry.records),
        seconds_per_step=seconds_per_step(entry.records),
        training=training_of(entry.records),
    )


def _score(entry: Entry, drawn: Replicates) -> Interval | None:
    anchors = drawn.contest.anchors
    if anchors is None:
        return None
    return statistics.interval(anchors.score(entry.values).mean(), drawn.scores(entry).mean(axis=1))


def _verdict(entry: Entry, contest: Contest, difference: Interval | None) -> str:
    if entry is contest.best:
        return REFERENCE if contest.against is None else CHOSEN
    if difference is None:
        return NO_HEURISTIC
    if contest.scenarios < MINIMUM_SCENARIOS:
        return TOO_FEW
    return verdict_of(difference, contest.minimise)


def _lost(values: NDArray[np.float64], best: NDArray[np.float64], contest: Contest) -> NDArray[np.float64]:
    sign = -1.0 if contest.minimise else 1.0
    share: NDArray[np.float64] = statistics.lost(sign * values, sign * best).mean(axis=0)
    return share


def _best_of(heuristics: list[NDArray[np.float64]], contest: Contest) -> NDArray[np.float64]:
    stacked = np.stack(heuristics)
    best: NDArray[np.float64] = stacked.min(axis=0) if contest.minimise else stacked.max(axis=0)
    return best
