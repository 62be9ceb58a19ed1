"""Boards: what several environments say together, against the definitions computed by hand."""

import numpy as np
import pytest

from sysgym.bench import statistics
from sysgym.bench.boards import boards, drawn_environments, grouped
from sysgym.bench.contests import Replicates, contests
from sysgym.bench.markdown import boards_to_markdown
from sysgym.bench.profiles import THRESHOLDS, profile_of
from tests.bench.conftest import make_record

NOISE = np.random.default_rng(4).pareto(2.2, 30) + 1
BOUND = {"kind": "bound", "value": 0.0}


def play(name, values, environments=4, **more):
    """A policy on several environments, whose objectives are multiples of each other."""
    more = {"bound": BOUND} | more
    return [
        make_record(name, np.asarray(values) * (k + 1.0), name=f"E{k}", run=f"E{k}/{name}/{more.get('seed')}", **more)
        for k in range(environments)
    ]


def test_the_figure_is_the_interquartile_mean_of_runs_on_environments():
    factors = {0: 0.2, 1: 0.6, 2: 0.4}
    learned = [r for seed, f in factors.items() for r in play("PPO", NOISE * 2 * f, seed=seed)]
    (found,) = boards([*play("random", NOISE * 2), *play("sjf", NOISE), *learned])
    rows = {row.policy: row for row in found.rows}
    assert found.measure == "score" and found.domain == "Queues" and len(found.tables) == 4 and not found.resampled
    entries = [[1 - f] * 4 for f in factors.values()]
    assert rows["PPO"].figure.estimate == pytest.approx(statistics.iqm(entries))
    assert 0.4 <= rows["PPO"].figure.low < 0.55 and 0.65 < rows["PPO"].figure.high <= 0.8
    assert rows["PPO"].runs == 3 and rows["PPO"].gap.estimate == pytest.approx(0.4)
    assert rows["sjf"].figure.estimate == pytest.approx(0.5) and rows["sjf"].mean == pytest.approx(0.5)
    assert [row.borda for row in found.rows] == [8.0, 4.0, 0.0] and [row.rank for row in found.rows] == [1, 2, 3]
    assert rows["sjf"].verdict == "best heuristic" and rows["random"].verdict == "worse"
    assert rows["PPO"].lost.estimate == pytest.approx(1 / 3) and rows["PPO"].wins == pytest.approx(2 / 3)


def test_without_random_environments_share_the_scale_of_ratios():
    records = [*play("fcfs", NOISE * 3), *play("sjf", NOISE), *play("mine", NOISE[::-1] * 0.5, kind="code")]
    (found,) = boards(records)
    rows = {row.policy: row for row in found.rows}
    assert found.measure == "ratio" and [row.policy for row in found.rows] == ["mine", "sjf", "fcfs"]
    assert rows["fcfs"].figure.estimate == pytest.approx(3.0) and rows["mine"].figure.estimate == pytest.approx(0.5)
    assert rows["mine"].figure.low < 0.5 < rows["mine"].figure.high < 1 and rows["mine"].verdict == "better"
    assert rows["mine"].gap is None and rows["mine"].worst is None
    upwards = [*play("a", NOISE, direction="max"), *play("b", NOISE * 2, direction="max")]
    assert [(row.policy, round(row.figure.estimate, 9)) for row in boards(upwards)[0].rows] == [("b", 1), ("a", 0.5)]


def test_who_has_not_played_everywhere_is_named_and_not_ranked():
    missing = make_record("mine", [], kind="code", failure="boom", name="E3", bound=BOUND)
    records = [*play("random", NOISE * 2), *play("sjf", NOISE), *play("mine", NOISE, 3, kind="code"), missing]
    (found,) = boards(records)
    assert found.incomplete == ["mine"] and [row.policy for row in found.rows] == ["sjf", "random"]
    assert "Not ranked, since they have not played every environment: mine." in boards_to_markdown([found])


def test_problems_and_sets_of_policies_have_boards_of_their_own():
    first = [*play("a", NOISE), *play("b", NOISE * 2)]
    other = [make_record(name, NOISE, name="F") for name in ("a", "c")]
    found = boards([*first, *other])
    assert [len(board.tables) for board in found] == [4, 1]
    assert sum(text.startswith("## ") for text in boards_to_markdown(found).splitlines()) == 1


def test_single_scenarios_are_resampled_as_environments():
    values = np.random.default_rng(2).random(12) + 0.5
    records = []
    for k, value in enumerate(values):
        for name, factor in (("random", 2.0), ("sjf", value)):
            records.append(make_record(name, [factor], name=f"G{k}", run=f"{k}{name}", bound=BOUND))
    (found,) = boards(records)
    sjf = next(row for row in found.rows if row.policy == "sjf")
    assert found.resampled and sjf.figure.high - sjf.figure.low > 0.1
    assert sjf.figure.estimate == pytest.approx(statistics.iqm(1 - values[:, None] / 2))


def test_profiles_are_shares_of_scenarios_and_lie_in_their_bands():
    found = contests([*play("random", NOISE * 2), *play("sjf", NOISE)])
    drawn = [Replicates(contest) for contest in grouped(found)[0]]
    profile = profile_of("sjf", drawn, drawn_environments(drawn))
    scores = 1 - np.concatenate([NOISE] * 4) / (2 * NOISE.mean())
    assert profile.share.tolist() == pytest.approx(statistics.performance_profile(scores[:, None], THRESHOLDS))
    assert (profile.low <= profile.share).all() and (profile.share <= profile.high).all()
    assert (profile.high - profile.low).max() > 0.05
