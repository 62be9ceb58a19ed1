"""Worst cases beside means."""

import numpy as np

from sysgym.bench.contests import contests
from sysgym.bench.worst_cases import worst_cases_of
from tests.bench.conftest import make_record


def test_extremes_are_told_where_metrics_have_them():
    ages = {"max_age": [5.0, 90.0, 4.0], "unfinished": [0.0, 0.0, 0.0], "max_wait": [None, 1.0, 2.0]}
    (contest,) = contests([make_record(name, [1.0, 2.0, 3.0 + k], metrics=ages) for k, name in enumerate("ab")])
    found = worst_cases_of(contest)
    assert found.metrics == ["mean_wait", "max_age"]  # nothing was left unfinished, and a wait is unknown
    assert found.rows == [("a", [(2.0, 3.0), (33.0, 90.0)]), ("b", [(7 / 3, 4.0), (33.0, 90.0)])]


def test_large_is_the_good_end_where_the_direction_says_so():
    made = [make_record("a", [1.0, 2.0], direction="max", metrics={"max_age": [1.0, 2.0]})]
    assert worst_cases_of(contests(made)[0]).rows[0][1][0] == (1.5, 1.0)
    assert worst_cases_of(contests([make_record("a", np.ones(3))])[0]) is None
