"""The leaderboard: ranks, verdicts, pairing, and what is compared with what."""

import doctest
import json

import numpy as np
import pytest

from sysgym.bench import formats, leaderboard, statistics
from sysgym.bench.boards import boards
from sysgym.bench.contests import contests
from sysgym.bench.leaderboard import leaderboard as tables_of
from sysgym.bench.leaderboard import to_data
from sysgym.bench.markdown import boards_to_markdown
from sysgym.core.errors import UnknownNameError
from tests.bench.conftest import make_record

NOISE = np.random.default_rng(4).pareto(1.2, 30) + 1


def board(*records):
    (table,) = tables_of(records)
    return table, {row.policy: row for row in table.rows}


def test_numbers_read_alike_everywhere():
    assert doctest.testmod(formats).failed == 0 and doctest.testmod(statistics).failed == 0
    assert formats.number(-1234.5678) == "-1,235" and formats.number(1e-9) == "1.000e-09"
    assert formats.percent(None) == "-" and formats.duration(0) == "-"


def test_rows_say_who_is_better_by_how_much():
    table, rows = board(
        make_record("fcfs", NOISE * 1.3),
        make_record("sjf", NOISE),
        make_record("PPO", NOISE * 0.9, seed=0),
        make_record("mine", NOISE * np.where(np.arange(30) % 2, 1.2, 0.84), kind="code"),
    )
    assert table.best_heuristic.policy == "sjf" and [row.rank for row in table.rows] == [1, 2, 3, 4]
    verdicts = {name: row.verdict for name, row in rows.items()}
    assert verdicts == {"PPO": "better", "sjf": "best heuristic", "mine": "no difference", "fcfs": "worse"}
    ratio = rows["PPO"].ratio
    assert (ratio.estimate, ratio.low, ratio.high) == pytest.approx((0.9, 0.9, 0.9))
    assert rows["PPO"].difference.high < 0 and rows["PPO"].lost == 0 and rows["fcfs"].lost == 1
    assert rows["mine"].lost == 0.5 and rows["sjf"].lost is None
    assert rows["PPO"].mean.low < rows["PPO"].mean.estimate < rows["PPO"].mean.high
    assert rows["sjf"].median == np.median(NOISE) and rows["sjf"].tail == np.percentile(NOISE, 95)
    assert rows["PPO"].training.seeds == [0] and rows["PPO"].seconds_per_step == pytest.approx(0.25 / 300)


def test_large_is_good_where_the_direction_says_so():
    table, rows = board(
        make_record("low", NOISE, direction="max"),
        make_record("high", NOISE * 1.1, direction="max"),
        make_record("PPO", NOISE * 1.2, seed=1, direction="max"),
    )
    assert [row.policy for row in table.rows] == ["PPO", "high", "low"] and table.best_heuristic.policy == "high"
    assert (rows["PPO"].verdict, rows["low"].verdict, rows["PPO"].lost) == ("better", "worse", 0.0)
    assert rows["low"].tail == np.percentile(NOISE, 5)


def test_ratios_need_values_above_zero():
    _, rows = board(make_record("a", [0.0, 1, 2, 3, 4, 5]), make_record("b", [1.0, 2, 3, 4, 5, 6]))
    assert rows["b"].ratio is None and rows["b"].difference.estimate == 1.0 and rows["b"].verdict == "worse"


def test_few_scenarios_give_no_verdict():
    for count, verdict in ((5, "too few scenarios"), (6, "worse")):
        _, rows = board(make_record("a", NOISE[:count]), make_record("b", NOISE[:count] * 2))
        assert rows["b"].verdict == verdict
    _, rows = board(make_record("mine", NOISE, kind="code"))
    assert rows["mine"].verdict == "no heuristic to compare with"


def test_training_seeds_are_one_row_and_widen_its_interval():
    heuristic = make_record("sjf", NOISE)
    factors = (0.5, 0.7, 1.6, 1.4)
    seeds = [make_record("PPO", NOISE * factor, seed=seed) for seed, factor in enumerate(factors)]
    _, several = board(heuristic, *seeds)
    _, alone = board(heuristic, make_record("PPO", NOISE * np.mean(factors), seed=0))
    assert several["PPO"].runs == 4 and several["PPO"].training.seeds == [0, 1, 2, 3]
    assert several["PPO"].mean.estimate == pytest.approx(alone["PPO"].mean.estimate)
    assert several["PPO"].ratio.low < 0.9 < 1.2 < several["PPO"].ratio.high
    assert several["PPO"].verdict == "no difference" and alone["PPO"].verdict == "worse"
    assert several["PPO"].lost == 0.5


def test_only_the_like_is_compared():
    old = [make_record("sjf", NOISE[:20], run="old"), make_record("fcfs", NOISE, workload="ee" * 32, run="other")]
    table, rows = board(*old, make_record("sjf", NOISE), make_record("PPO", NOISE, seed=0, settings={"epochs": 1}),
                        make_record("PPO", NOISE * 2, seed=1, settings={"epochs": 2}))  # fmt: skip
    assert set(rows) == {"sjf", "PPO"} and table.left_out == 3
    assert rows["PPO"].runs == 1 and rows["PPO"].training.seeds == [1] and rows["sjf"].scenarios == 30


def test_the_last_record_of_a_run_counts_and_failures_are_listed():
    table, rows = board(
        make_record("sjf", NOISE * 5),
        make_record("sjf", NOISE),
        make_record("mine", [], kind="code", failure="KeyError: 'x' (mine.py, line 3)"),
    )
    assert rows["sjf"].mean.estimate == pytest.approx(NOISE.mean()) and "mine" not in rows
    assert table.failures == [("mine", "KeyError: 'x' (mine.py, line 3)")]
    (failed,) = tables_of([make_record("mine", [], failure="boom")])
    assert failed.rows == [] and "Failed: mine: boom" in boards_to_markdown(
        boards([make_record("mine", [], failure="boom")])
    )


def test_trainings_of_different_budgets_are_no_one_policy():
    records = [make_record("PPO", NOISE, seed=seed, planned_frames=1000 * (seed + 1)) for seed in (0, 1, 2)]
    table, rows = board(*records, make_record("PPO", NOISE, seed=3, planned_frames=3000))
    assert rows["PPO"].training.seeds == [2, 3] and table.left_out == 2


def test_draws_of_another_file_are_no_draws_of_the_policy():
    old = [make_record("mine", NOISE, "code", draw=n, code="aa" * 32, run=f"old {n}") for n in range(3)]
    new = [make_record("mine", NOISE * 2, "code", draw=n, code="bb" * 32, run=f"new {n}") for n in range(2)]
    table, rows = board(*old, *new)
    assert rows["mine"].runs == 2 and table.left_out == 3
    assert rows["mine"].mean.estimate == pytest.approx(2 * NOISE.mean())


def test_a_failure_that_was_made_good_is_no_longer_listed():
    boom = [make_record("PPO", [], seed=seed, failure=f"boom {seed}", run=f"old {seed}") for seed in (0, 1)]
    mine = make_record("mine", [], kind="code", failure="KeyError", run="old")
    good = [make_record("PPO", NOISE, seed=0), make_record("mine", NOISE, kind="code")]
    table, rows = board(*boom, mine, *good)
    assert table.failures == [("PPO", "boom 1")] and set(rows) == {"PPO", "mine"}
    table, _ = board(*good, *boom, mine)
    assert len(table.failures) == 3
    table, _ = board(good[1], *boom, mine, good[1])
    assert table.failures == [("PPO", "boom 0"), ("PPO", "boom 1")]


def test_environments_have_tables_of_their_own():
    tables = tables_of([make_record("a", NOISE), make_record("a", NOISE, name="Other"), make_record("b", NOISE)])
    assert [(t.environment, len(t.rows)) for t in tables] == [("Queue", 2), ("Other", 1)]


def test_numbers_depend_on_the_results_alone():
    records = [make_record("a", NOISE), make_record("b", NOISE * 1.1), make_record("PPO", NOISE, seed=0)]
    shuffled = [record.model_copy(update={"cost": records[0].cost}) for record in records[::-1]]
    assert contests(records)[0].seed == contests(shuffled)[0].seed
    assert to_data(tables_of(records)) == to_data(tables_of(shuffled))
    changed = [*records[:2], make_record("PPO", NOISE * 1.01, seed=0)]
    assert contests(records)[0].seed != contests(changed)[0].seed


def test_data_are_json_and_markdown_is_a_table():
    records = [make_record("a|b", NOISE), make_record("PPO", NOISE, seed=0)]
    row = json.loads(json.dumps(to_data(tables_of(records))))[0]["rows"][0]
    assert {"rank", "shared_rank", "policy", "mean", "score", "ratio", "verdict", "lost", "training"} <= set(row)
    text = boards_to_markdown(boards(records))
    lines = text.splitlines()
    assert lines[0] == "## Queues" and lines[2] == "### Queue: mean_wait (min, test)"
    bars = [line.replace("\\|", "").count("|") for line in lines[4:8]]
    assert len(set(bars)) == 1 and "a\\|b" in text


def test_scores_are_paired_with_random_and_the_bound_on_the_same_scenarios():
    bound = {"kind": "bound", "value": 0.5}
    records = [make_record("random", NOISE * 2, draw=k, run=f"random/{k}", bound=bound) for k in range(3)]
    records += [make_record("half", NOISE + 0.25, bound=bound), make_record("worse", NOISE * 3, bound=bound)]
    table, rows = board(*records)
    assert table.bound == 0.5 and table.bound_kind == "bound" and rows["random"].runs == 3
    half = rows["half"].score  # halfway between random and bound in every scenario, so in every replicate
    assert (half.estimate, half.low, half.high) == pytest.approx((0.5, 0.5, 0.5))
    assert rows["random"].score.estimate == pytest.approx(0, abs=1e-12) and rows["worse"].score.high < 0
    assert board(make_record("half", NOISE, bound=bound))[1]["half"].score is None


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        ({"kind": "exact", "policy": "best"}, 1.0),
        ({"kind": "reference", "metric": "mean_wait"}, None),  # the metric of the first entry, which is the best
        ({"kind": "bound", "metric": "odd"}, "none"),  # a metric without values
        ({"kind": "bound", "policy": "absent"}, "none"),
    ],
)
def test_a_bound_is_a_value_a_metric_or_a_policys_own(bound, expected):
    _, rows = board(make_record("random", NOISE * 2, bound=bound), make_record("best", NOISE, bound=bound))
    assert rows["best"].score is None if expected == "none" else rows["best"].score.estimate == pytest.approx(1.0)


def test_where_random_is_as_good_as_the_bound_nothing_is_scored():
    bound = {"kind": "bound", "value": 1.0}
    _, rows = board(make_record("random", [1.0] * 8, bound=bound), make_record("a", [2.0] * 8, bound=bound))
    assert rows["a"].score is None


def test_records_of_older_versions_have_the_bound_of_their_registered_id():
    def old(policy, values):
        record = make_record(policy, values)
        facts = record.environment.model_copy(update={"id": "sysgym/BatchSched-v0", "domain": ""})
        return record.model_copy(update={"environment": facts})

    table, rows = board(old("random", NOISE * 4), old("sjf", NOISE))
    assert (table.bound, table.bound_kind, table.domain) == (1.0, "bound", "Cluster scheduling")
    assert rows["sjf"].score.estimate == pytest.approx((4 * NOISE.mean() - NOISE.mean()) / (4 * NOISE.mean() - 1))


def test_ties_share_a_rank():
    shared = np.random.default_rng(5).random(40)
    values = {"a": shared, "b": shared[::-1], "c": shared + 3.0}
    _, rows = board(*(make_record(name, column) for name, column in values.items()))
    assert [rows[name].shared_rank for name in "abc"] == [1, 1, 3]
    assert rows["a"].rank_interval == (1, 2) and rows["c"].rank_interval == (3, 3)


def test_the_interval_of_a_verdict_has_its_level():
    """Where there is no difference, a verdict is given in about 5 % of studies."""
    rng = np.random.default_rng(8)
    wrong = 0
    for _ in range(300):
        shared = rng.random(25)
        rows = board(
            make_record("a", shared + rng.normal(2, 0.3, 25)), make_record("b", shared + rng.normal(2, 0.3, 25))
        )[1]
        wrong += any(row.verdict == leaderboard.WORSE for row in rows.values())
    assert 0.02 < wrong / 300 < 0.11


def test_another_heuristic_can_be_the_one_to_compare_with():
    records = [make_record("fcfs", NOISE * 1.3), make_record("sjf", NOISE), make_record("PPO", NOISE * 1.1, seed=0)]
    table = tables_of(records, against="fcfs")[0]
    rows = {row.policy: row for row in table.rows}
    assert (rows["PPO"].verdict, rows["sjf"].verdict, rows["fcfs"].verdict) == ("better", "better", "chosen")
    assert rows["PPO"].ratio.estimate == pytest.approx(1.1 / 1.3) and table.reference == "fcfs"
    assert {row.policy: row.verdict for row in tables_of(records)[0].rows}["PPO"] == "worse"
    with pytest.raises(UnknownNameError, match="did you mean fcfs"):
        tables_of(records, against="fcsf")


def test_a_training_of_a_few_updates_is_marked():
    record = make_record("PPO", [1.0] * 8, seed=0)
    assert not tables_of([record])[0].rows[0].training.too_short
    short = record.policy.training.model_copy(update={"curve": record.policy.training.curve[:2]})
    marked = record.model_copy(update={"policy": record.policy.model_copy(update={"training": short})})
    assert tables_of([marked])[0].rows[0].training.too_short
    assert "budget too small to train" in boards_to_markdown(boards([marked]))


def test_the_policy_that_is_the_bound_is_not_the_heuristic_to_beat():
    bound = {"kind": "reference", "policy": "optimal"}
    made = [make_record(name, NOISE * factor, bound=bound) for name, factor in
            (("optimal", 1.0), ("sjf", 1.2), ("random", 2.0))]  # fmt: skip
    made.append(make_record("PPO", NOISE * 1.1, seed=0, bound=bound))
    (table,) = tables_of(made)
    assert [(row.policy, row.kind) for row in table.rows[:2]] == [("optimal", "bound"), ("PPO", "learned")]
    assert table.best_heuristic.policy == "sjf" and table.rows[1].verdict == "better"
    assert tables_of(made, against="optimal")[0].best_heuristic.policy == "optimal"
