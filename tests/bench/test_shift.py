"""Shifts: scores over an argument that changes alone."""

import numpy as np
import pytest

from sysgym.bench import environments
from sysgym.bench.contests import contests
from sysgym.bench.leaderboard import table_of
from sysgym.bench.report import render_report
from sysgym.bench.shift import shifts_of
from tests.bench.conftest import make_record

NOISE = np.random.default_rng(3).pareto(3.0, 25) + 1


def records(loads, **more):
    """A policy that is better than the rule at small loads alone."""
    return [
        make_record(name, NOISE * load * factor, kind, name=f"{load}", run=f"{load}/{name}",
                    arguments={"load": load, **more})
        for load in loads
        for name, kind, factor in (("sjf", "heuristic", 1.0), ("mine", "code", 0.5 + load))
    ]  # fmt: skip


def shifts(made):
    return shifts_of([(contest, table_of(contest)) for contest in contests(made)])


def test_ratios_stand_over_the_argument_and_name_where_the_heuristic_wins():
    (shift,) = shifts(records([0.9, 0.3, 0.2]))
    assert shift.argument == "load" and [table.environment for table in shift.tables] == ["0.2", "0.3", "0.9"]
    assert shift.below == ["mine at 0.9"]
    names = [line.name for line in shift.figure.lines]
    assert names == ["mine", "sjf"] and shift.figure.lines[0].points.count(",") == 3
    assert "worse than the best heuristic: mine at 0.9" in render_report(records([0.9, 0.3, 0.2]))


def test_two_values_or_two_changes_are_no_shift():
    assert shifts(records([0.2, 0.9])) == []
    assert shifts(records([0.2, 0.9]) + records([0.3], horizon=5)) == []


@pytest.mark.parametrize("env_id", ["sysgym/JobSched-v0", "sysgym/ScheduleRewrite-v0", "sysgym/IndexTune-v0"])
def test_what_is_left_out_has_the_value_that_the_environment_names(env_id):
    """Making the environment with the named values changes nothing of what it plays."""
    named = {
        name: int(value) if value.is_integer() else value for name, value in environments.shifts_of(env_id).items()
    }
    bare, given = environments.make(env_id, {}), environments.make(env_id, named)
    for env in (bare, given):
        env.reset(seed=3)
    first, second = (env.unwrapped.engine.state(0) for env in (bare, given))
    assert named and environments.shifts_of("CartPole-v1") == {}
    assert repr(first) == repr(second)
