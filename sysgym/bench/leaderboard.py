"""Who is best, by how much, and how sure that is: tables computed from records alone.

One table an environment, one row a policy. All rows met the same scenarios, and every interval resamples those
scenarios jointly, so that differences are paired. A learned policy has one row whatever the number of its training
seeds; its interval resamples whole training runs as well. Each row is compared with the best heuristic, chosen on the
very scenarios that are shown, which favours the heuristic and so makes a claim against it harder, not easier.

The bootstrap is seeded from the results themselves: the same results give the same digits on any machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysgym.bench import formats, statistics
from sysgym.bench.records import Record, canonical, latest
from sysgym.bench.statistics import Interval
from sysgym.core.errors import UnknownNameError
from sysgym.core.seeding import stream_key

MINIMUM_SCENARIOS = 6
"""Fewest scenarios for a verdict: with fewer, all differences having one sign is no rare event (2 / 2**5 > 5 %)."""

BETTER, WORSE, EQUAL = "better", "worse", "no difference"
REFERENCE, CHOSEN = "best heuristic", "chosen"
TOO_FEW, NO_HEURISTIC = "too few scenarios", "no heuristic to compare with"

_RECIPE = {"algorithm", "environment", "settings", "planned_frames", "planned_seconds"}


@dataclass(frozen=True)
class Training:
    """What a learned policy cost, a run on average.

    Attributes:
        seeds: Of its training runs.
        frames: Environment steps.
        seconds: Wall time.
    """

    seeds: list[int]
    frames: float
    seconds: float


@dataclass(frozen=True)
class Row:
    """A policy on an environment; "worst" is large where the objective is minimised.

    Attributes:
        rank: 1 is the best mean.
        policy: Its name.
        kind: "heuristic", "learned" or "code".
        best_heuristic: Whether it is the one that the others are compared with.
        runs: Runs that ended well: training seeds, or 1.
        scenarios: Scenarios of each.
        mean: Mean objective.
        median: Median over scenarios.
        tail: 95th percentile of the scenarios towards the worst side.
        difference: Its mean minus that of the best heuristic.
        ratio: Its mean over that of the best heuristic; None where a value is not above 0.
        verdict: "better", "worse", "no difference", "best heuristic" (or "chosen"), "too few scenarios" or "no
            heuristic to compare with".
        lost: Share of scenarios on which the best heuristic did better.
        lost_to_any: Share of scenarios on which some heuristic did better.
        invalid_actions: Answers that were no actions.
        seconds_per_step: Time of the policy for a decision.
        training: For learned policies.
    """

    rank: int
    policy: str
    kind: str
    best_heuristic: bool
    runs: int
    scenarios: int
    mean: Interval
    median: float
    tail: float
    difference: Interval | None
    ratio: Interval | None
    verdict: str
    lost: float | None
    lost_to_any: float | None
    invalid_actions: int
    seconds_per_step: float
    training: Training | None


@dataclass(frozen=True)
class Table:
    """An environment's leaderboard.

    Attributes:
        study: Study of the records.
        environment: Its name.
        env_id: Its id.
        split: The split that was played.
        objective: What is compared.
        direction: "min" or "max".
        instance: Name of the log, graph or whatever is played, or "".
        rows: Best first.
        failures: Policy and cause of failed runs, unless a later one of the policy and training seed ended well.
        left_out: Older records of other scenarios, arguments or settings that are not compared.
        reference: What the others are compared with: "best heuristic", or the name of the chosen one.
    """

    study: str
    environment: str
    env_id: str
    split: str
    objective: str
    direction: str
    instance: str
    rows: list[Row]
    failures: list[tuple[str, str]]
    left_out: int
    reference: str

    @property
    def best_heuristic(self) -> Row | None:
        """The row that the others are compared with."""
        return next((row for row in self.rows if row.best_heuristic), None)

    @property
    def note(self) -> str:
        """What a reader must know before the ranks; empty where there is nothing."""
        return statistics.USELESS if statistics.all_tie([row.mean.estimate for row in self.rows]) else ""


@dataclass(frozen=True)
class Entry:
    """The runs of one policy on one environment, all on the same scenarios.

    Attributes:
        name: Of the policy.
        records: One a training seed, in their order.
        values: Objective, shape (runs, scenarios).
    """

    name: str
    records: list[Record]
    values: NDArray[np.float64]

    @property
    def kind(self) -> str:
        """What kind of policy."""
        return self.records[-1].policy.kind

    @property
    def mean(self) -> float:
        """Mean objective."""
        return float(self.values.mean())


@dataclass(frozen=True)
class Contest:
    """The comparable records of one environment.

    Attributes:
        newest: The record that decides which others are comparable.
        entries: Best mean first.
        best: The heuristic that the others are compared with, the best unless another was asked for; or None.
        against: Name of the heuristic that was asked for.
        failed: Records of such failures; see `Table`.
        left_out: See `Table`.
    """

    newest: Record
    entries: list[Entry]
    best: Entry | None
    against: str | None
    failed: list[Record]
    left_out: int

    @property
    def shown(self) -> list[Record]:
        """The records that the contest is made of."""
        return [record for entry in self.entries for record in entry.records] + self.failed

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Policy and cause of runs that failed, equal ones once."""
        return list(dict.fromkeys((record.policy.name, record.result.failure or "") for record in self.failed))

    @property
    def minimise(self) -> bool:
        """Whether small values are good."""
        return self.newest.environment.direction == "min"

    @property
    def seed(self) -> int:
        """Seed of the bootstrap, from the results alone."""
        results = sorted((record.run, record.values) for entry in self.entries for record in entry.records)
        return int.from_bytes(hashlib.sha256(canonical(results)).digest()[:7], "little")


def leaderboard(records: Iterable[Record], against: str | None = None) -> list[Table]:
    """One table for each study, environment and split among the records, in the order of their first record.

    Args:
        records: Of any studies.
        against: Name of the heuristic that the others are compared with; None takes the best of each table.

    Raises:
        UnknownNameError: A table has no such heuristic.
    """
    return [table_of(contest) for contest in contests(records, against)]


def contests(records: Iterable[Record], against: str | None = None) -> list[Contest]:
    """The records as contests: grouped by environment, the last one of each run, comparable ones together."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        facts = record.environment
        groups.setdefault((record.study, facts.name, facts.id, facts.split), []).append(record)
    return [_contest(latest(group), against) for group in groups.values()]


def table_of(contest: Contest) -> Table:
    """The leaderboard of one contest."""
    facts = contest.newest.environment
    instance = contest.newest.played
    rows: list[Row] = []
    if contest.entries:
        scenarios = contest.entries[0].values.shape[1]
        drawn = statistics.resample(scenarios, seed=contest.seed)[:, :, 0]
        rows = [_row(rank, entry, contest, drawn) for rank, entry in enumerate(contest.entries, start=1)]
    return Table(
        contest.newest.study,
        facts.name,
        facts.id,
        facts.split,
        facts.objective,
        facts.direction,
        instance.name if instance else "",
        rows,
        contest.failures,
        contest.left_out,
        contest.against or REFERENCE,
    )


def to_data(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """The tables as plain values, for JSON."""
    return [asdict(table) for table in tables]


def to_markdown(tables: Sequence[Table]) -> str:
    """The tables in Markdown."""
    return "\n".join(_markdown(table) for table in tables)


def tail_name(direction: str) -> str:
    """What the column `tail` is called: the worst 95th percentile is the 5th where large is good."""
    return "p95" if direction == "min" else "p5"


def _contest(group: list[Record], against: str | None) -> Contest:
    good = [record for record in group if not record.failed]
    failed = _open_failures(group)
    newest = (good or group)[-1]
    by_name: dict[str, list[Record]] = {}
    for record in good:
        if _scenarios_of(record) == _scenarios_of(newest):
            by_name.setdefault(record.policy.name, []).append(record)
    entries = [_entry(name, found) for name, found in by_name.items()]
    sign = 1 if newest.environment.direction == "min" else -1
    entries.sort(key=lambda entry: (sign * entry.mean, entry.name))
    heuristics = {entry.name: entry for entry in entries if entry.kind == "heuristic"}
    if against is not None and against not in heuristics:
        raise UnknownNameError("heuristic to compare with", against, heuristics)
    best = heuristics[against] if against is not None else next(iter(heuristics.values()), None)
    return Contest(newest, entries, best, against, failed, len(good) - sum(len(entry.records) for entry in entries))


def _open_failures(group: list[Record]) -> list[Record]:
    """Failed records after which no run of the same policy and training seed ended well."""
    mended = {_trained_as(record): number for number, record in enumerate(group) if not record.failed}
    return [r for number, r in enumerate(group) if r.failed and mended.get(_trained_as(r), -1) < number]


def _entry(name: str, found: list[Record]) -> Entry:
    """The runs of a policy that are alike: those of the recipe that was recorded last, the last of each seed."""
    by_seed: dict[int, Record] = {}
    for record in found:
        if _recipe_of(record) == _recipe_of(found[-1]):
            by_seed[record.policy.training.seed if record.policy.training else 0] = record
    kept = [by_seed[seed] for seed in sorted(by_seed)]
    return Entry(name, kept, np.array([record.values for record in kept]))


def _scenarios_of(record: Record) -> bytes:
    """What two records must share to be compared."""
    instance = record.played.sha256 if record.played else ""
    return canonical([record.environment.model_dump(), instance, record.seeds.scenarios])


def _recipe_of(record: Record) -> bytes:
    """What two runs of a learned policy must share to be runs of the same."""
    training = record.policy.training
    return canonical([record.policy.kind, training and training.model_dump(include=_RECIPE)])


def _trained_as(record: Record) -> tuple[str, int | None]:
    """Policy and training seed: what a failed run and the one that replaces it have in common."""
    training = record.policy.training
    return record.policy.name, training.seed if training else record.seeds.training


def _row(rank: int, entry: Entry, contest: Contest, drawn: NDArray[np.int64]) -> Row:
    best, values = contest.best, entry.values
    means = _replicates(entry, contest, drawn)
    over_runs = values.mean(axis=0)
    difference = ratio = None
    if best is not None and best is not entry:
        reference = _replicates(best, contest, drawn)
        difference = statistics.interval(entry.mean - best.mean, means - reference)
        if (values > 0).all() and (best.values > 0).all():
            ratio = statistics.interval(entry.mean / best.mean, means / reference)
    heuristics = [other.values[0] for other in contest.entries if other.kind == "heuristic" and other is not entry]
    return Row(
        rank=rank,
        policy=entry.name,
        kind=entry.kind,
        best_heuristic=entry is best,
        runs=len(values),
        scenarios=values.shape[1],
        mean=statistics.interval(entry.mean, means),
        median=float(np.median(over_runs)),
        tail=float(np.percentile(over_runs, 95 if contest.minimise else 5)),
        difference=difference,
        ratio=ratio,
        verdict=_verdict(entry, contest, difference),
        lost=_lost(values, best.values[0], contest) if best is not None and best is not entry else None,
        lost_to_any=_lost(values, _best_of(heuristics, contest), contest) if heuristics else None,
        invalid_actions=sum(record.result.invalid_actions for record in entry.records),
        seconds_per_step=_per_step(entry.records),
        training=_training(entry.records),
    )


def _replicates(entry: Entry, contest: Contest, drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    return statistics.crossed_means(entry.values, drawn, stream_key(contest.seed, entry.name))


def _verdict(entry: Entry, contest: Contest, difference: Interval | None) -> str:
    if entry is contest.best:
        return REFERENCE if contest.against is None else CHOSEN
    if difference is None:
        return NO_HEURISTIC
    if entry.values.shape[1] < MINIMUM_SCENARIOS:
        return TOO_FEW
    if difference.low <= 0 <= difference.high:
        return EQUAL
    return BETTER if (difference.high < 0) == contest.minimise else WORSE


def _lost(values: NDArray[np.float64], best: NDArray[np.float64], contest: Contest) -> float:
    sign = -1.0 if contest.minimise else 1.0
    return statistics.fraction_lost(sign * values, np.broadcast_to(sign * best, values.shape))


def _best_of(heuristics: list[NDArray[np.float64]], contest: Contest) -> NDArray[np.float64]:
    stacked = np.stack(heuristics)
    best: NDArray[np.float64] = stacked.min(axis=0) if contest.minimise else stacked.max(axis=0)
    return best


def _per_step(records: list[Record]) -> float:
    steps = sum(record.result.steps for record in records)
    return sum(record.cost.policy for record in records) / max(1, steps)


def _training(records: list[Record]) -> Training | None:
    found = [record.policy.training for record in records if record.policy.training]
    if not found:
        return None
    frames, seconds = (sum(getattr(one, name) for one in found) / len(found) for name in ("frames", "seconds"))
    return Training([one.seed for one in found], frames, seconds)


def _markdown(table: Table) -> str:
    heading = f"### {table.environment}: {table.objective} ({table.direction}, {table.split})"
    columns = ["#", "policy", "kind", "runs", "scenarios", "mean [95 % CI]", "median", tail_name(table.direction)]
    columns += [f"ratio to {table.reference}", "verdict", "lost", "training"]
    lines = [heading, "", _line(columns), _line(["---"] * len(columns))]
    lines += [_line(_cells(row)) for row in table.rows]
    if table.note:
        lines.append(f"\n{table.note[0].upper()}{table.note[1:]}.")
    lines += [f"\nFailed: {policy}: {cause}" for policy, cause in table.failures]
    return "\n".join([*lines, ""])


def _cells(row: Row) -> list[str]:
    against = formats.ratio(row.ratio) if row.ratio else formats.interval(row.difference)
    training = "-"
    if row.training:
        training = f"{formats.count(row.training.frames)} steps, {formats.duration(row.training.seconds)}"
    return [
        str(row.rank),
        f"**{row.policy}**" if row.best_heuristic else row.policy,
        row.kind,
        str(row.runs),
        str(row.scenarios),
        formats.interval(row.mean),
        formats.number(row.median),
        formats.number(row.tail),
        against,
        row.verdict,
        formats.percent(row.lost),
        training,
    ]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
