"""The batch oracle against the worked examples, and its two halves against each other on random small workloads."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles.batch_oracle import PASS_RULES, POLICIES, BatchDecisionOracle, replay

# (submit, run, processors, requested), as the examples are printed
EXAMPLE_A = [(0, 60, 2, 80), (10, 30, 3, 30), (20, 30, 1, 30), (20, 10, 2, 10), (30, 40, 1, 45), (40, 10, 1, 30)]
EXAMPLE_B = [(0, 10, 3, 20), (5, 10, 4, 10), (10, 10, 1, 10)]
EXAMPLE_B_EXACT = [(0, 10, 3, 10), (5, 10, 4, 10), (10, 10, 1, 10)]
EXAMPLE_C = [(0, 20, 2, 20), (0, 10, 3, 10), (0, 100, 1, 100), (0, 100, 1, 100)]


def columns(jobs):
    """Submit, run, requested, processors."""
    return tuple([job[field] for job in jobs] for field in (0, 1, 3, 2))


def bounded_slowdowns(jobs, starts):
    return [max(1, (start - job[0] + job[1]) / max(job[1], 10)) for job, start in zip(jobs, starts, strict=True)]


ROWS_A = [
    # policy, pass rules, starts, average bounded slowdown, mean wait, makespan
    ("fcfs", PASS_RULES, [0, 60, 60, 90, 90, 90], 3.750000, 45.0000, 130),
    ("sjf", ["batch"], [0, 60, 60, 20, 90, 90], 2.583333, 33.3333, 130),
    ("sjf_commit", ["batch"], [0, 60, 90, 90, 100, 90], 3.958333, 51.6667, 140),
    ("easy", ["batch"], [0, 60, 20, 90, 30, 50], 2.611111, 21.6667, 100),
    ("easy", ["per_event"], [0, 70, 20, 60, 30, 50], 2.166667, 18.3333, 100),
    ("easy_sjbf", ["batch"], [0, 60, 30, 20, 30, 70], 1.833333, 15.0000, 90),
    ("easy_sjbf", ["per_event"], [0, 70, 20, 60, 30, 50], 2.166667, 18.3333, 100),
    ("conservative", PASS_RULES, [0, 60, 20, 50, 60, 90], 2.736111, 26.6667, 100),
]


@pytest.mark.parametrize("row", ROWS_A, ids=lambda row: f"{row[0]}-{row[1][0]}")
def test_example_a(row):
    policy, pass_rules, expected, slowdown, wait, makespan = row
    for pass_rule in pass_rules:
        starts = replay(*columns(EXAMPLE_A), 4, policy, pass_rule)
        assert starts == expected
        slowdowns = bounded_slowdowns(EXAMPLE_A, starts)
        assert sum(slowdowns) / 6 == pytest.approx(slowdown, abs=1e-6)
        assert sum(start - job[0] for job, start in zip(EXAMPLE_A, starts, strict=True)) / 6 == (
            pytest.approx(wait, abs=1e-4)
        )
        assert max(start + job[1] for job, start in zip(EXAMPLE_A, starts, strict=True)) == makespan


@pytest.mark.parametrize("policy", ["easy", "easy_sjbf", "conservative"])
def test_example_b_a_submission_ties_with_a_completion(policy):
    assert replay(*columns(EXAMPLE_B), 4, policy, "batch") == [0, 10, 20]
    assert replay(*columns(EXAMPLE_B), 4, policy, "per_event") == [0, 20, 10]


def test_example_b_an_expired_job_counts_as_free():
    assert replay(*columns(EXAMPLE_B_EXACT), 4, "easy", "per_event") == [0, 10, 20]


def test_example_c_extra_processors():
    for pass_rule in PASS_RULES:
        assert replay(*columns(EXAMPLE_C), 4, "easy", pass_rule) == [0, 20, 0, 30]
        assert replay(*columns(EXAMPLE_C), 4, "fcfs", pass_rule) == [0, 20, 20, 30]


def test_example_d_threshold():
    starts = replay([0, 0], [10, 5], [10, 5], [4, 4], 4, "fcfs")
    assert bounded_slowdowns([(0, 10, 4, 10), (0, 5, 4, 5)], starts) == [1, 1.5]


def test_compression_follows_the_completion_of_a_job_that_used_all_its_time():
    # Reserved at 0, 3, 5, 3. At 1 the first job ends early: the second and the fourth move to 1, in that order, and
    # the third, examined between them, stays at 5. Only the completions at 3, which leave no tail, move it to 3.
    jobs = [(0, 1, 3, 3), (0, 2, 2, 2), (0, 1, 4, 1), (0, 2, 2, 2)]
    for pass_rule in PASS_RULES:
        assert replay(*columns(jobs), 4, "conservative", pass_rule) == [0, 1, 3, 1]


MACHINE = 5


@st.composite
def workloads(draw):
    """Up to 12 jobs with integer times, many of them equal."""
    gaps = draw(st.lists(st.sampled_from([0, 0, 0, 1, 2, 4]), min_size=1, max_size=12))
    jobs, submit = [], 0
    for gap in gaps:
        submit += gap
        run = draw(st.integers(1, 5))
        jobs.append((submit, run, draw(st.integers(1, MACHINE)), run + draw(st.sampled_from([0, 0, 1, 2, 5]))))
    return jobs


def decide(jobs, backfill, pass_rule, choose):
    """Start times of the decision process under a rule that picks from the waiting jobs."""
    oracle = BatchDecisionOracle(*columns(jobs), MACHINE, backfill=backfill, pass_rule=pass_rule)
    while not oracle.done:
        assert oracle.waiting() == sorted(oracle.waiting())
        oracle.step(choose(oracle.waiting()))
    assert oracle.waiting() == []
    return oracle.start_times()


def first(waiting):
    return waiting[0]


@pytest.mark.parametrize("pass_rule", PASS_RULES)
@given(jobs=workloads())
@settings(max_examples=60, deadline=None)
def test_choosing_the_first_waiting_job_is_fcfs(pass_rule, jobs):
    assert decide(jobs, "none", pass_rule, first) == replay(*columns(jobs), MACHINE, "fcfs", pass_rule)


@pytest.mark.parametrize("pass_rule", PASS_RULES)
@given(jobs=workloads())
@settings(max_examples=100, deadline=None)
def test_choosing_the_first_waiting_job_with_backfilling_is_easy(pass_rule, jobs):
    assert decide(jobs, "easy", pass_rule, first) == replay(*columns(jobs), MACHINE, "easy", pass_rule)


@pytest.mark.parametrize("pass_rule", PASS_RULES)
@given(jobs=workloads())
@settings(max_examples=100, deadline=None)
def test_choosing_the_shortest_waiting_job_is_sjf_commit(pass_rule, jobs):
    def shortest(waiting):
        return min(waiting, key=lambda job: (jobs[job][3], jobs[job][0], job))

    assert decide(jobs, "none", pass_rule, shortest) == replay(*columns(jobs), MACHINE, "sjf_commit", pass_rule)


@given(jobs=workloads())
@settings(max_examples=60, deadline=None)
def test_fcfs_does_not_depend_on_the_pass_rule_and_equals_the_recurrence(jobs):
    starts, ends = [], []
    for submit, run, processors, _ in jobs:
        moment = max([submit, *starts[-1:]])
        while processors > MACHINE - sum(job[2] for job, end in zip(jobs, ends, strict=False) if end > moment):
            moment = min(end for end in ends if end > moment)
        starts.append(moment)
        ends.append(moment + run)
    for pass_rule in PASS_RULES:
        assert replay(*columns(jobs), MACHINE, "fcfs", pass_rule) == starts


@pytest.mark.parametrize("policy", POLICIES)
@given(jobs=workloads())
@settings(max_examples=100, deadline=None)
def test_a_schedule_never_exceeds_the_machine(policy, jobs):
    for pass_rule in PASS_RULES:
        starts = replay(*columns(jobs), MACHINE, policy, pass_rule)
        for job, start in zip(jobs, starts, strict=True):
            assert start >= job[0]
            used = sum(other[2] for other, begin in zip(jobs, starts, strict=True) if begin <= start < begin + other[1])
            assert used <= MACHINE
