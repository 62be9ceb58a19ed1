"""DagSched: both engines bit for bit, properties that hold for every schedule, and what is refused."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest

import sysgym  # noqa: F401  registers the ids
from sysgym.agents.search import Search
from sysgym.core.engines import allocate_slot
from sysgym.core.errors import SettingError, SysgymError, UnknownNameError, WorkloadError
from sysgym.core.events import EventKind
from sysgym.jobsched.dag.arrivals import ArrivalRules, DagJobs
from sysgym.jobsched.dag.bounds import lower_bounds
from sysgym.jobsched.dag.engine import build_engine
from sysgym.jobsched.dag.generator import generated_profiles
from sysgym.jobsched.dag.model import (
    ATTACHED,
    BUSY,
    EXPECTED,
    FREE,
    JOB,
    RUNNING,
    STAGE,
    STATUS,
    TAKEN,
    TASKS,
    DagConfig,
    DagState,
)
from sysgym.jobsched.dag.policies import HEURISTICS, WeightedFairPolicy
from sysgym.jobsched.dag.profiles import LEVELS, level_of, make_table
from sysgym.jobsched.dag.tuning import completion_times, tune_alpha
from sysgym.workloads import DagProfile, StageProfile, read_dag_profiles, read_trace

ENV = "sysgym/DagSched-v0"
SMALL = tuple(one for one in generated_profiles() if sum(stage.tasks for stage in one.stages) < 150)


UNMEASURED = DagProfile(1, 1.0, (StageProfile(2, {}, {}, {}),), np.zeros((0, 2), dtype=np.int64))


def stage_of(tasks, level=10, ms=100):
    """A stage whose tasks all take as long."""
    waves = {level: np.array([ms])}
    return StageProfile(tasks, waves, waves, waves)


def job_of(*tasks, edges=()):
    """A job of such stages."""
    return DagProfile(1, 1.0, tuple(map(stage_of, tasks)), np.array(edges, dtype=np.int64).reshape(-1, 2))


def lasting(ms):
    """A job of one stage whose tasks take so long."""
    return DagProfile(1, 1.0, (stage_of(1, ms=ms),), np.zeros((0, 2), dtype=np.int64))


def drawn_setting(seed):
    choose = np.random.default_rng(seed + 10_000)
    config = DagConfig(
        executors=int(choose.integers(1, 14)),
        moving_delay=int(choose.choice([0, 7, 2000])),
        inverted_levels=bool(choose.random() < 0.5),
        stages=int(choose.choice([18, 30, 64])),
        limits=None if choose.random() < 0.6 else 1,
    )
    horizon = str(choose.choice(["all_done", "fixed", "random"]))
    rules = ArrivalRules(int(choose.integers(1, 8)), 1, float(choose.choice([0.5, 10, 60])), horizon, 60.0)
    names = str(choose.choice(["graph", "rows", "choices"])), str(choose.choice(["completion", "makespan", "regret"]))
    return config, rules, names, float(choose.choice([0.0, 0.1, 0.5]))


@pytest.mark.parametrize("seed", range(40))
def test_both_engines_are_equal_after_every_step(seed):
    """Under policies that choose at random, masked actions and idling included."""
    config, rules, (seen, reward), waiting = drawn_setting(seed)
    jobs, choose = DagJobs(SMALL, rules, "train", "small"), np.random.default_rng(seed)
    engines = [build_engine(config, jobs, 1, name, seen, reward) for name in ("simpy", "compiled")]
    slots = [allocate_slot(engine.observation_spec, 1, engine.num_actions) for engine in engines]
    for engine, slot in zip(engines, slots, strict=True):
        engine.reset(np.zeros(1, np.int64), np.array([seed], np.uint64), np.zeros(1, np.int64))
        engine.observe(np.ones(1, bool), slot)
    while True:
        for part in ("observations", "action_masks", "rewards", "terminated", "truncated"):
            assert getattr(slots[0], part).tobytes() == getattr(slots[1], part).tobytes(), part
        mine, theirs = (engine.state(0) for engine in engines)
        for name in DagState._fields[:-1]:
            assert np.array_equal(getattr(mine, name), getattr(theirs, name)), name
        if slots[0].terminated[0] or slots[0].truncated[0]:
            break
        mask, draw = slots[0].action_masks[0], choose.random()
        action = choose.choice(np.flatnonzero(mask)) if draw > 0.1 else choose.integers(len(mask))
        action = len(mask) - 1 if choose.random() < waiting else action
        for engine, slot in zip(engines, slots, strict=True):
            engine.step(np.array([action]), np.ones(1, bool), slot)
    assert engines[0].events(0).sha256() == engines[1].events(0).sha256()
    assert engines[0].metrics(0) == engines[1].metrics(0)


def play(name, seed=0, **arguments):
    """An episode under a heuristic; the environment, the sum of rewards, and the metrics."""
    env = gym.make(ENV, **arguments).unwrapped
    policy = env.heuristics[name]()
    _, info = env.reset(seed=seed)
    total, ended = 0.0, False
    while not ended:
        check(env.state)
        _, reward, terminated, truncated, info = env.step(policy.act_on_state(env.state))
        total, ended = total + reward, terminated or truncated
    return env, total, info["metrics"]


def check(state):
    """What holds in every state."""
    executors = state.executor
    for j in range(len(state.job)):
        assert (executors[:, JOB] == j).sum() == state.job[j, ATTACHED]
        assert state.job[j, ATTACHED] + state.job[j, EXPECTED] >= 0
    assert (state.stage[:, TAKEN] <= state.stage[:, TASKS]).all()
    at_work = executors[executors[:, STATUS] == BUSY, STAGE]
    assert (np.bincount(at_work, minlength=len(state.stage)) <= state.stage[:, RUNNING]).all()
    assert 0 < state.numbers[FREE] <= len(executors)


@pytest.mark.parametrize("name", HEURISTICS)
def test_returns_are_completion_times_and_no_schedule_beats_the_bounds(name):
    arguments = {"workload": SMALL, "jobs": 12, "mean_gap": 4.0, "split": "test"}
    env, total, metrics = play(name, **arguments)
    assert total == pytest.approx(-metrics["mean_completion_time"] * 12 / 100)
    assert metrics["over_bound"] >= 1 and metrics["unfinished"] == 0
    assert metrics["makespan"] >= metrics["makespan_bound"]
    finishes = env.events.of(EventKind.FINISH)
    assert sorted(finishes.subject.tolist()) == list(range(12))
    _, total, _ = play(name, **arguments, reward="makespan")
    assert total == pytest.approx(-metrics["makespan"] / 100)


def test_a_chain_takes_what_arithmetic_says():
    """4 tasks on 2 executors, then 1: moving, two waves, the second stage by whoever is free first; 100 ms a task."""
    profile = job_of(4, 1, edges=[(0, 1)])
    _, _, metrics = play("fifo", workload=[profile], executors=2, jobs=1, stages=4)
    assert metrics["mean_completion_time"] == pytest.approx(2.0 + 0.2 + 0.1)
    assert metrics["over_bound"] == pytest.approx(1.0)


def test_bounds_follow_from_work_and_from_paths():
    jobs = DagJobs([job_of(40), job_of(1, 1, 1, edges=[(0, 1), (1, 2)])], ArrivalRules(8, 8), "train", "made")
    drawn = jobs.draw(0, 0)
    bounds = lower_bounds(jobs.table(4, 1000), drawn, 4, 2000)
    wide = drawn.kind == 0
    assert bounds.work.tolist() == np.where(wide, 4.0, 0.3).tolist()
    assert bounds.path.tolist() == pytest.approx(np.where(wide, 3.0, 2.3).tolist())
    order = np.sort(np.where(wide, 1.0, 0.075))
    assert bounds.mean_completion_time == pytest.approx(max(order.cumsum().sum(), bounds.path.sum()) / 8)
    cut = lower_bounds(jobs.table(4, 1000), drawn, 4, 2000, until=1500.0)
    assert cut.mean_completion_time == pytest.approx(max(np.minimum(order.cumsum(), 1.5).sum(), 8 * 1.5) / 8)


@pytest.mark.parametrize(("inverted", "low"), [(False, 0.7), (True, 0.3)])
def test_the_published_quirk_inverts_the_weights_of_the_levels(inverted, low):
    draws = (np.arange(1000) + 0.5) / 1000
    chosen = np.array([level_of(13, draw, inverted) for draw in draws])
    assert set(chosen.tolist()) == {1, 2}
    assert (chosen == 1).mean() == pytest.approx(low)
    assert level_of(3, 0.5, inverted) == 0 and level_of(300, 0.5, inverted) == len(LEVELS) - 1
    assert [level_of(level, 0.5, inverted) for level in LEVELS] == list(range(len(LEVELS)))


def test_a_level_that_was_not_measured_takes_the_nearest():
    waves = {2: np.array([7]), 10: np.array([100]), 40: np.array([400])}
    table = make_table([DagProfile(1, 1.0, (StageProfile(3, {}, waves, {}),), np.zeros((0, 2), np.int64))], 10)
    lists = np.split(table.durations, table.list_start[1:-1])
    assert [one.tolist() for one in lists[1::3]] == [[100]] * 3 + [[400]] * 5
    assert [one.tolist() for one in lists[::3]] == [[1100]] * 3 + [[1400]] * 5  # a warm-up on top
    assert [one.tolist() for one in lists[2::3]] == [one.tolist() for one in lists[1::3]]


def test_published_profiles_lack_high_levels_alone_so_nearest_is_decimas_largest(shared_data):
    for profile in read_dag_profiles(shared_data("traces/dag/tpch_spark_profiles.jsonl.gz")):
        for stage in profile.stages:
            known = [level for level in LEVELS if len(stage.first.get(level, ()))]
            assert all(level > known[-1] for level in LEVELS if level not in known)


def test_episodes_depend_on_seed_split_and_nothing_else():
    rules = ArrivalRules(30)
    one, same, other, valid = (
        DagJobs(SMALL, rules, split, "x").draw(seed, 1)
        for seed, split in ((3, "train"), (3, "train"), (4, "train"), (3, "valid"))
    )
    assert np.array_equal(one.submit, same.submit) and one.duration_key == same.duration_key
    for different in (other, valid):
        assert not np.array_equal(one.submit, different.submit) and one.duration_key != different.duration_key
    dense = DagJobs(SMALL, dataclasses.replace(rules, mean_gap=37.5), "train", "x").draw(3, 1)
    assert np.array_equal(one.kind, dense.kind) and dense.submit[-1] == pytest.approx(one.submit[-1] / 2, abs=30)


def test_horizons_cut_and_count_the_age_of_what_is_unfinished():
    _, total, metrics = play("fifo", jobs=15, mean_gap=5.0, horizon="fixed", horizon_seconds=60.0)
    assert metrics["horizon"] == 60 and metrics["unfinished"] > 0
    assert metrics["lower_bound"] <= metrics["mean_completion_time"] <= 60 and "makespan_bound" not in metrics
    assert total == pytest.approx(-metrics["mean_completion_time"] * metrics["jobs"] / 100)
    drawn = [DagJobs(SMALL, ArrivalRules(horizon="random"), "train", "x").draw(0, k).horizon for k in range(2000)]
    assert np.mean(drawn) == pytest.approx(1.8e6, rel=0.1) and len(set(drawn)) > 1900
    env = gym.make(ENV)
    env.reset(seed=0, options={"horizon_seconds": 5.0})
    assert env.unwrapped.engine.metrics(0)["horizon"] == 5


def test_regret_is_completion_without_what_a_fluid_cluster_pays():
    """The work that is there at the beginning, all jobs at once, is the difference over the whole episode."""
    arguments = {"workload": SMALL, "jobs": 5, "initial_jobs": 5}
    _, completion, _ = play("fair", **arguments)
    env, regret, _ = play("fair", **arguments, reward="regret")
    table, kind = env.engine.table, env.engine.jobs.draw(0, 0).kind
    work = [(table.tasks * table.mean)[slice(*table.first_stage[k : k + 2])].sum() / 1000 for k in kind]
    assert regret - completion == pytest.approx(np.cumsum(np.sort(work)).sum() / 10 / 100)


def test_workloads_and_files_of_profiles_serve(shared_data):
    path = shared_data("traces/dag/tpch_spark_profiles.jsonl.gz")
    by_path, by_log = gym.make(ENV, workload=str(path)), gym.make(ENV, workload=read_trace(path))
    for env in (by_path, by_log):
        assert env.unwrapped.workload.instance().size == 154
    assert by_path.unwrapped.workload.instance().sha256 == by_log.unwrapped.workload.instance().sha256


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"workload": [job_of(1, 1, edges=[(0, 1), (1, 0)])]}, WorkloadError, "cycle"),
        ({"workload": [job_of()]}, WorkloadError, "no stages"),
        ({"workload": [job_of(0)]}, WorkloadError, "tasks"),
        ({"workload": [job_of(1, edges=[(0, 5)])]}, WorkloadError, "stage 5"),
        ({"workload": [UNMEASURED]}, WorkloadError, "no durations"),
        ({"workload": [lasting(-5)]}, WorkloadError, "task of -5 ms"),
        ({"workload": [lasting(3 * 10**9)]}, WorkloadError, "task of 3000000000 ms"),
        ({"stages": 4}, WorkloadError, "raise stages"),
        ({"workload": []}, SettingError, "workload"),
        ({"workload": 7}, SettingError, "workload"),
        ({"executors": 0}, SettingError, "executors"),
        ({"limits": 11}, SettingError, "limits"),
        ({"mean_gap": 0}, SettingError, "mean_gap"),
        ({"mean_gap": "soon"}, SettingError, "mean_gap"),
        ({"initial_jobs": 21}, SettingError, "initial_jobs"),
        ({"horizon": "never"}, UnknownNameError, "horizon"),
        ({"split": "all"}, UnknownNameError, "split"),
        ({"observation": "image"}, UnknownNameError, "observation"),
        ({"reward": "profit"}, UnknownNameError, "reward"),
        ({"reward": 3}, SettingError, "or a function"),
        ({"inverted_levels": 1}, SettingError, "inverted_levels"),
        ({"executor": 3}, UnknownNameError, "executors"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(arguments, error, words):
    with pytest.raises(SysgymError, match=words) as raised:
        gym.make(ENV, **arguments)
    assert isinstance(raised.value, error) and "\n" not in str(raised.value)


def test_a_reward_of_ones_own_is_served_by_the_simulator():
    env = gym.make(ENV, workload=SMALL, reward=lambda before, action, after: after.time - before.time).unwrapped
    env.reset(seed=0)
    before = env.state.time
    assert env.step(int(env.state.mask.argmax()))[1] == env.state.time - before
    with pytest.raises(SettingError, match="simpy"):
        gym.make(ENV, reward=lambda *_: 0.0, engine="compiled")


def test_compiled_episodes_are_those_that_the_policy_plays():
    """The search's player against the environment under the same network in numpy, to the decision."""
    environment = {"jobs": 5, "mean_gap": 20.0, "executors": 6, "observation": "choices"}
    search = Search(ENV, [environment], seed=1, pool=0, states=(4, 3, 5), start=(8.0, *[0.0] * 12, -2.0))
    policy, env = search.policy(), gym.make(ENV, **environment)
    seen, info = env.reset(seed=9)
    ended = decisions = 0
    while not ended:
        seen, _, ended, _, info = env.step(policy.act(seen, info["action_mask"]))
        decisions += 1
    point = search._search.mean[None]
    seeds, first = np.array([9], dtype=np.uint64), np.zeros(1, dtype=np.int64)
    returns, played = search._searched.play(search._games[0], point, seeds, first)
    assert -returns[0, 0] == pytest.approx(info["metrics"]["mean_completion_time"]) and played == decisions
    engine = build_engine(env.unwrapped.config, env.unwrapped.workload, 1, "compiled", "graph")
    with pytest.raises(SettingError, match="observation='choices'"):
        search._searched.play(engine, point, seeds, first)


def test_alpha_is_the_best_of_those_that_were_tried():
    jobs = DagJobs(SMALL, ArrivalRules(8, 2, 3.0), "train", "small")
    alpha, found = tune_alpha(DagConfig(executors=4), jobs, range(4), alphas=(-1.0, 0.0, 1.0))
    assert found[alpha] == min(found.values()) and len(found) == 3
    direct = completion_times(DagConfig(executors=4), jobs, WeightedFairPolicy(alpha), range(4))
    assert direct.mean() == found[alpha]
