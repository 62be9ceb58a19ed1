"""The batch machine: worked examples, simulator against kernel, both against an oracle that knows neither."""

import math

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysgym.core.errors import SettingError, UnknownNameError, WorkloadError
from sysgym.core.events import EventKind
from sysgym.core.protocols import ArraySpec
from sysgym.jobsched import replay
from sysgym.jobsched.batch.engine import build_engine
from sysgym.jobsched.batch.model import Rules
from sysgym.jobsched.batch.observation import QueueEncoding
from sysgym.jobsched.batch.policies import HEURISTICS
from sysgym.jobsched.batch.replay import CLASSIC, SCHEDULERS
from sysgym.jobsched.batch.sequences import JobSequences
from sysgym.workloads import Machine, Provenance, Workload
from tests.oracles import batch_oracle, peers_oracle

ENGINES = ("simpy", "compiled")
PASS_RULES = ("batch", "per_event")


def workload(rows, processors):
    """A workload of (submit, run, processors, requested) rows."""
    submit, run, size, requested = zip(*rows, strict=True)
    columns = {"submit_time": submit, "run_time": run, "processors": size, "requested_time": requested}
    return Workload.from_columns(columns, Machine(processors, "caller"), Provenance("test", "generated"))


@st.composite
def workloads(draw, max_jobs=30):
    """Few processors, coarse times and many ties: where schedulers go wrong."""
    processors = draw(st.integers(1, 6))
    count = draw(st.integers(1, max_jobs))
    gaps = draw(st.lists(st.sampled_from([0, 0, 1, 2, 5, 10]), min_size=count, max_size=count))
    runs = draw(st.lists(st.integers(1, 12), min_size=count, max_size=count))
    spare = draw(st.lists(st.sampled_from([0, 0, 1, 3, 10]), min_size=count, max_size=count))
    sizes = draw(st.lists(st.integers(1, processors), min_size=count, max_size=count))
    submits = np.cumsum(gaps).tolist()
    return workload([(s, r, p, r + e) for s, r, p, e in zip(submits, runs, sizes, spare, strict=True)], processors)


def columns_of(jobs):
    """Submission, run time, requested time and processors as lists."""
    return [c.tolist() for c in (jobs.submit_time, jobs.run_time, jobs.requested_time, jobs.processors)]


A = workload([(0, 60, 2, 80), (10, 30, 3, 30), (20, 30, 1, 30), (20, 10, 2, 10), (30, 40, 1, 45), (40, 10, 1, 30)], 4)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("policy", "pass_rule", "starts", "slowdown", "wait", "makespan"),
    [
        ("fcfs", "batch", [0, 60, 60, 90, 90, 90], 3.75, 45.0, 130),
        ("fcfs", "per_event", [0, 60, 60, 90, 90, 90], 3.75, 45.0, 130),
        ("sjf", "batch", [0, 60, 60, 20, 90, 90], 2.583333, 33.3333, 130),
        ("sjf_commit", "batch", [0, 60, 90, 90, 100, 90], 3.958333, 51.6667, 140),
        ("easy", "batch", [0, 60, 20, 90, 30, 50], 2.611111, 21.6667, 100),
        ("easy", "per_event", [0, 70, 20, 60, 30, 50], 2.166667, 18.3333, 100),
        ("easy_sjbf", "batch", [0, 60, 30, 20, 30, 70], 1.833333, 15.0, 90),
        ("easy_sjbf", "per_event", [0, 70, 20, 60, 30, 50], 2.166667, 18.3333, 100),
        ("conservative", "batch", [0, 60, 20, 50, 60, 90], 2.736111, 26.6667, 100),
        ("conservative", "per_event", [0, 60, 20, 50, 60, 90], 2.736111, 26.6667, 100),
        ("rlscheduler_fcfs", "batch", [0, 60, 20, 90, 30, 90], 3.277778, None, None),
        ("accasim_easy", "batch", [0, 80, 20, 60, 30, 50], 2.222222, None, None),
    ],
)
def test_worked_example_a(engine, policy, pass_rule, starts, slowdown, wait, makespan):
    schedule = replay(A, policy, pass_rule, engine)
    assert schedule.start_time.tolist() == starts
    summary = schedule.summary()
    assert summary["mean_bounded_slowdown"] == pytest.approx(slowdown, abs=1e-6)
    if wait is not None:
        assert summary["mean_wait"] == pytest.approx(wait, abs=1e-4)
        assert summary["makespan"] == makespan


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("policy", ["easy", "easy_sjbf", "conservative"])
def test_worked_example_b_submission_and_completion_at_one_instant(engine, policy):
    jobs = workload([(0, 10, 3, 20), (5, 10, 4, 10), (10, 10, 1, 10)], 4)
    assert replay(jobs, policy, "batch", engine).start_time.tolist() == [0, 10, 20]
    assert replay(jobs, policy, "per_event", engine).start_time.tolist() == [0, 20, 10]
    exact = workload([(0, 10, 3, 10), (5, 10, 4, 10), (10, 10, 1, 10)], 4)
    assert replay(exact, "easy", "per_event", engine).start_time.tolist() == [0, 10, 20]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pass_rule", PASS_RULES)
def test_worked_example_c_extra_processors(engine, pass_rule):
    jobs = workload([(0, 20, 2, 20), (0, 10, 3, 10), (0, 100, 1, 100), (0, 100, 1, 100)], 4)
    assert replay(jobs, "easy", pass_rule, engine).start_time.tolist() == [0, 20, 0, 30]
    assert replay(jobs, "fcfs", pass_rule, engine).start_time.tolist() == [0, 20, 20, 30]


def test_worked_example_d_threshold():
    jobs = workload([(0, 10, 1, 10), (0, 5, 1, 5)], 1)
    assert replay(jobs, "fcfs").bounded_slowdown().tolist() == [1.0, 1.5]


@settings(max_examples=150, deadline=None)
@given(jobs=workloads(), policy=st.sampled_from(sorted(CLASSIC)), pass_rule=st.sampled_from(PASS_RULES))
def test_both_engines_equal_the_oracle(jobs, policy, pass_rule):
    compiled, simpy = (replay(jobs, policy, pass_rule, engine) for engine in ("compiled", "simpy"))
    assert compiled.events.sha256() == simpy.events.sha256()
    expected = batch_oracle.replay(*columns_of(jobs), jobs.machine.processors, policy, pass_rule)
    assert compiled.start_time.tolist() == expected


@settings(max_examples=100, deadline=None)
@given(jobs=workloads(), policy=st.sampled_from(["accasim_easy", "rlscheduler_fcfs", "rlscheduler_sjf"]))
def test_the_rules_of_other_programs_equal_theirs(jobs, policy):
    compiled, simpy = (replay(jobs, policy, engine=engine) for engine in ("compiled", "simpy"))
    assert compiled.events.sha256() == simpy.events.sha256()
    assert compiled.pass_rule == ("batch" if policy == "accasim_easy" else "per_event")
    if policy == "accasim_easy":
        expected = peers_oracle.accasim(*columns_of(jobs), jobs.machine.processors)
    else:
        order = policy.removeprefix("rlscheduler_")
        expected = peers_oracle.rlscheduler(*columns_of(jobs), jobs.machine.processors, order)
    assert compiled.start_time.tolist() == expected


@settings(max_examples=200, deadline=None)
@given(
    jobs=workloads(),
    policy=st.sampled_from(["easy", "easy_sjbf", "predictsim_easy"]),
    corrector=st.sampled_from(["reqtime", "tsafrir", "doubling"]),
    pass_rule=st.sampled_from(PASS_RULES),
    minutes=st.booleans(),
    users=st.lists(st.integers(-1, 2), min_size=30, max_size=30),
)
def test_easy_with_predicted_times_equals_the_oracle(jobs, policy, corrector, pass_rule, minutes, users):
    """In minutes the increments of the corrector lie within a run, in seconds beyond it."""
    unit, user = 60 if minutes else 1, users[: len(jobs)]
    submit, run, requested, size = (np.array(column) for column in columns_of(jobs))
    columns = {"submit_time": submit * unit, "run_time": run * unit, "requested_time": requested * unit}
    columns |= {"processors": size, "user": user}
    jobs = Workload.from_columns(columns, jobs.machine, jobs.provenance)
    name = f"last_two+{corrector}"
    compiled, simpy = (replay(jobs, policy, pass_rule, engine, predictor=name) for engine in ("compiled", "simpy"))
    assert compiled.events.sha256() == simpy.events.sha256()
    expected = peers_oracle.easy_plus_plus(
        *columns_of(jobs),
        user,
        jobs.machine.processors,
        corrector,
        compiled.pass_rule,
        shortest_first=policy == "easy_sjbf",
        predictsim=policy == "predictsim_easy",
    )
    assert compiled.start_time.tolist() == expected


@settings(max_examples=100, deadline=None)
@given(jobs=workloads(), backfill=st.sampled_from(["none", "easy"]), seed=st.integers(0, 2**32 - 1))
def test_decisions_equal_the_oracle(jobs, backfill, seed):
    """Random choices: the same waiting jobs at every decision, the same starts at the end."""
    oracle = batch_oracle.BatchDecisionOracle(*columns_of(jobs), jobs.machine.processors, backfill)
    choose = np.random.default_rng(seed)

    class Judge:
        def reset(self):
            pass

        def act_on_state(self, state):
            assert state.visible[state.visible >= 0].tolist() == list(oracle.waiting())
            place = int(choose.integers(len(oracle.waiting())))
            oracle.step(int(state.visible[place]))
            return place

    schedule = replay(jobs, Judge(), backfill=backfill)
    assert schedule.start_time.tolist() == oracle.start_times()


ACCRUED = ("accrued_bounded_slowdown", "accrued_wait_time")


@settings(max_examples=60, deadline=None)
@given(
    jobs=workloads(),
    backfill=st.sampled_from(["none", "easy", "rlscheduler", "accasim"]),
    pass_rule=st.sampled_from(PASS_RULES),
    commit=st.booleans(),
    reward=st.sampled_from(["bounded_slowdown", "final_wait_time", "slowdown", "turnaround_time", *ACCRUED]),
    patience=st.sampled_from([math.inf, 0.0, 40.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_engines_agree_on_everything_a_policy_meets(jobs, backfill, pass_rule, commit, reward, patience, seed):
    commit = commit or backfill not in {"none", "easy"}
    rules = Rules(commit=commit, backfill=backfill, pass_rule=pass_rule, patience=patience)
    sequences = JobSequences(jobs, None, "all")
    engines = [build_engine(sequences, rules, 1, engine, reward=reward) for engine in ENGINES]
    one, on = np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.bool_)
    slots = [_slot(engine) for engine in engines]
    for engine, slot in zip(engines, slots, strict=True):
        engine.reset(one, one.astype(np.uint64), one)
        engine.observe(on, slot)
    choose, total = np.random.default_rng(seed), 0.0
    while True:
        _assert_equal(engines, slots)
        if slots[0].terminated[0]:
            break
        action = choose.integers(slots[0].action_masks[0].sum(), size=1)
        for engine, slot in zip(engines, slots, strict=True):
            engine.step(action, on, slot)
        total += slots[0].rewards[0]
    score = reward.removeprefix("accrued_")
    name = {"final_wait_time": "wait", "turnaround_time": "turnaround", "wait_time": "wait"}.get(score, score)
    if f"mean_{name}" in engines[0].metrics(0):
        assert -total == pytest.approx(engines[0].metrics(0)[f"mean_{name}"])


def _slot(engine):
    from sysgym.core.engines import allocate_slot

    return allocate_slot(engine.observation_spec, 1, engine.num_actions)


def _assert_equal(engines, slots):
    for name in ("observations", "action_masks", "rewards", "terminated", "truncated"):
        first, second = (getattr(slot, name) for slot in slots)
        assert first.tobytes() == second.tobytes(), name
    states = [engine.state(0) for engine in engines]
    for name in states[0]._fields[:-1]:
        assert np.array_equal(*(np.asarray(getattr(state, name)) for state in states), equal_nan=True), name
    assert engines[0].events(0).sha256() == engines[1].events(0).sha256()


@settings(max_examples=60, deadline=None)
@given(jobs=workloads(), policy=st.sampled_from(sorted(SCHEDULERS)))
def test_the_machine_is_never_over_capacity_and_every_job_runs_once(jobs, policy):
    events = replay(jobs, policy).events
    used = np.cumsum(
        np.select(
            [events.kind == EventKind.START, events.kind == EventKind.FINISH], [events.amount, -events.amount], 0.0
        )
    )
    if SCHEDULERS[policy].pass_rule == "per_event":  # a job may take over from one whose end is the next event of now
        used = used[np.append(np.diff(events.time) > 0, True)]
    assert used.max() <= jobs.machine.processors and used[-1] == 0
    for kind in (EventKind.SUBMIT, EventKind.START, EventKind.FINISH):
        assert sorted(events.of(kind).subject) == list(range(len(jobs)))
    assert (np.diff(events.time) >= 0).all()


@settings(max_examples=60, deadline=None)
@given(jobs=workloads())
def test_fcfs_does_not_depend_on_the_pass_rule(jobs):
    batch, per_event = (replay(jobs, "fcfs", rule).start_time for rule in PASS_RULES)
    assert batch.tolist() == per_event.tolist()
    assert (np.diff(batch) >= 0).all()


@pytest.mark.parametrize(
    ("heuristic", "backfill", "policy"),
    [
        ("fcfs", "none", "fcfs"),
        ("fcfs", "easy", "easy"),
        ("sjf", "none", "sjf_commit"),
    ],
)
def test_heuristics_in_the_decision_process_are_the_classic_schedulers(heuristic, backfill, policy):
    rng = np.random.default_rng(5)
    rows = zip(np.cumsum(rng.integers(0, 30, 400)), rng.integers(1, 200, 400), rng.integers(1, 9, 400), strict=True)
    jobs = workload([(s, r, p, r + int(rng.integers(0, 100))) for s, r, p in rows], 8)
    decided = replay(jobs, HEURISTICS[heuristic](), backfill=backfill)
    assert decided.start_time.tolist() == replay(jobs, policy).start_time.tolist()


@pytest.mark.parametrize("commit", [True, False])
@pytest.mark.parametrize("backfill", ["easy", "rlscheduler", "accasim"])
@pytest.mark.parametrize("order", ["fcfs", "sjf", "f1", "wfp3", "unicep"])
def test_a_backfilling_behind_a_named_order_is_the_one_behind_its_heuristic(order, backfill, commit):
    if backfill != "easy" and not commit:
        with pytest.raises(SettingError, match="it needs commit=True"):
            replay(A, order, backfill=backfill, commit=commit)
        return
    rng = np.random.default_rng(6)
    rows = zip(np.cumsum(rng.integers(0, 60, 90)), rng.integers(1, 200, 90), rng.integers(1, 9, 90), strict=True)
    jobs = workload([(s, r, p, r + int(rng.integers(0, 100))) for s, r, p in rows], 8)
    named = replay(jobs, order, backfill=backfill, commit=commit).start_time.tolist()
    assert named == replay(jobs, HEURISTICS[order](), backfill=backfill, commit=commit).start_time.tolist()
    assert named == replay(jobs, order, engine="simpy", backfill=backfill, commit=commit).start_time.tolist()
    assert named != replay(jobs, order).start_time.tolist()


def test_more_waiting_jobs_than_rows_show_the_oldest_the_shortest_and_the_smallest():
    count = 300
    rows = [(0, 1000, 4, 1000)] + [(1, 10 + i, 1 + i % 3, 10 + (i * 7919) % count) for i in range(count)]
    rows = [(s, min(r, q), p, q) for s, r, p, q in rows]
    jobs = workload(rows, 4)
    rules = Rules()
    engine = build_engine(JobSequences(jobs, None, "all"), rules, 1)
    one, on = np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.bool_)
    engine.reset(one, one.astype(np.uint64), one)
    engine.step(one, on, _slot(engine))
    visible = engine.state(0).visible
    requested, size = jobs.requested_time, jobs.processors
    assert len(set(visible.tolist())) == 128 and visible[0] == 1
    shortest = min((j for j in range(2, count + 1)), key=lambda j: requested[j])
    assert shortest in visible[:3]
    assert (size[visible] == 1).sum() >= 60


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="with the JIT off, Python functions count as compiled")
def test_a_compiled_reward_and_encoder_give_what_python_ones_give():
    def waiting(before, action, after):
        return -float(len(after.waiting)) - 0.5 * action + 0.25 * (after.time - before.time)

    def ages(state, table, out):
        for place in range(len(out)):
            job = state.visible[place]
            out[place] = -1.0 if job < 0 else state.time - state.jobs.submit_time[job] + table[job]

    spec = ArraySpec((128,), np.float64, -1.0, np.inf)
    jobs = workload([(i, 5 + i % 7, 1 + i % 3, 12) for i in range(40)], 4)
    rules = Rules(backfill="easy")
    sequences = JobSequences(jobs, 20, "all")
    trails = []
    for compile_ in (numba.njit, lambda function: function):
        encoding = QueueEncoding(spec, lambda w: w.run_time, compile_(ages))
        engine = build_engine(sequences, rules, 2, "auto", encoding, compile_(waiting))
        trails.append(_trail(engine))
    assert type(engine).__name__ == "SimulatorEngine"
    assert trails[0] == trails[1]
    with pytest.raises(SettingError, match="compile it with numba"):
        build_engine(sequences, rules, 1, "compiled", reward=waiting)


def _trail(engine):
    from sysgym.core.engines import allocate_slot

    slot = allocate_slot(engine.observation_spec, 2, engine.num_actions)
    rows, on = np.arange(2), np.ones(2, dtype=np.bool_)
    engine.reset(rows, np.array([3, 4], dtype=np.uint64), np.zeros(2, dtype=np.int64))
    trail = []
    while not slot.terminated.any():
        engine.step(np.array([0, 1]), on, slot)
        trail.append((slot.observations.tobytes(), slot.rewards.tolist(), slot.action_masks.tobytes()))
    return trail


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run_time": [np.nan, 1.0]}, "has no run time"),
        ({"run_time": [5.0, 1.0]}, "runs longer than it requested"),
        ({"requested_time": [np.nan, 2.0]}, "has no requested time"),
        ({"processors": [9, 1]}, "needs more processors"),
        ({"processors": [0, 1]}, "needs no processors"),
    ],
)
def test_a_replay_refuses_jobs_that_cannot_be_scheduled(change, message):
    columns = {"submit_time": [0.0, 1.0], "run_time": [1.0, 1.0], "requested_time": [2.0, 2.0], "processors": [1, 1]}
    jobs = Workload.from_columns(columns | change, Machine(4, "caller"), Provenance("my.swf", "swf"))
    with pytest.raises(WorkloadError, match=message):
        replay(jobs)


def test_unknown_names_come_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean easy"):
        replay(A, "eassy")
    with pytest.raises(UnknownNameError, match="per_event"):
        replay(A, pass_rule="per-event")
    with pytest.raises(UnknownNameError, match="compiled"):
        replay(A, engine="compield")


def test_windows_keep_to_their_split():
    jobs = workload([(i, 5, 1, 5) for i in range(100)], 4)
    train = JobSequences(jobs, 10, "train")
    starts = {train.start(seed, episode) for seed in range(40) for episode in range(10)}
    assert min(starts) == 0 and max(starts) == 50
    test = JobSequences(jobs, 10, "test", "disjoint")
    assert [test.start(0, k) for k in range(3)] == [80, 90, 80]
    with pytest.raises(WorkloadError, match="bring a log of at least 105 jobs"):
        JobSequences(jobs, 21, "test")
    with pytest.raises(SettingError, match="starts from 80 to 90"):
        test.start(0, 0, {"start": 3})


@pytest.mark.parametrize("engine", ENGINES)
def test_a_state_tells_nothing_of_the_future(engine):
    jobs = workload([(i * 10, 25, 1 + i % 3, 40) for i in range(60)], 4)
    sequences = JobSequences(jobs, 30, "all")
    player = build_engine(sequences, Rules(), 1, engine)
    one, on = np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.bool_)
    player.reset(one, one.astype(np.uint64), one, {"start": 5})
    slot = _slot(player)
    while not slot.terminated[0]:
        state = player.state(0)
        assert not hasattr(state.jobs, "run_time")
        assert all(len(column) == state.waiting.max() + 1 for column in state.jobs)
        assert (state.jobs.submit_time <= state.time).all()
        player.step(one, on, slot)


@pytest.mark.parametrize(("column", "value"), [("submit_time", np.nan), ("submit_time", np.inf), ("run_time", np.inf)])
def test_times_that_are_no_times_are_refused(column, value):
    columns = {"submit_time": [0.0, 3.0], "run_time": [1.0, 1.0], "processors": [1, 1]}
    columns[column] = [columns[column][0], value]
    with pytest.raises(WorkloadError, match=column.replace("_", ".")):
        replay(Workload.from_columns(columns, Machine(4, "caller"), Provenance("own", "generated")))


def test_what_is_no_policy_and_what_is_no_workload_are_refused():
    with pytest.raises(SettingError, match="give a name"):
        replay(A, object())
    with pytest.raises(SettingError, match="read the log first"):
        replay("log.swf", "easy")
    with pytest.raises(SettingError, match="'easy_sjbf' has a backfilling of its own"):
        replay(A, "easy_sjbf", backfill="easy")
    for action in (1.7, None, -1, 500):
        policy = type("Bad", (), {"act": lambda self, observation, mask, answer=action: answer})()
        with pytest.raises(SettingError, match="the policy's action"):
            replay(A, policy)


def test_size_classes_do_not_overlap_on_small_machines():
    summary = replay(workload([(0, 10, 1, 10), (0, 10, 1, 10), (0, 10, 2, 10)], 2), "fcfs").summary()
    classes = {name for name in summary if name.startswith("mean_bounded_slowdown_")}
    assert classes == {"mean_bounded_slowdown_serial", "mean_bounded_slowdown_large"}
