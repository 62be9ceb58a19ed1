"""BatchSched-v0: its arguments, its splits, and what may be changed from outside."""

import gymnasium as gym
import numpy as np
import pytest

import sysgym  # noqa: F401  registers the ids
from sysgym.core.errors import InputFileError, SettingError, UnknownNameError, WorkloadError
from sysgym.core.events import EventKind
from sysgym.jobsched import replay
from sysgym.workloads import poisson_pareto, write_swf

ENV = "sysgym/BatchSched-v0"


@pytest.fixture(scope="module")
def jobs():
    return poisson_pareto(jobs=600, processors=32, seed=2)


def submitted(env):
    return env.unwrapped.events.of(EventKind.SUBMIT).subject


def play(env, seed=0, options=None):
    _, info = env.reset(seed=seed, options=options)
    done, total = False, 0.0
    while not done:
        _, reward, terminated, truncated, info = env.step(int(info["action_mask"].argmax()))
        total, done = total + reward, terminated or truncated
    return total, info["metrics"]


def test_a_log_is_read_from_its_path(jobs, tmp_path):
    write_swf(jobs, tmp_path / "log.swf")
    env = gym.make(ENV, workload=str(tmp_path / "log.swf"), sequence_length=50)
    assert len(env.unwrapped.workload) == 600 and env.unwrapped.workload.machine.processors == 32
    with pytest.raises(InputFileError, match="no such file"):
        gym.make(ENV, workload="missing.swf")


def test_splits_never_share_a_job(jobs):
    seen = {}
    for split in ("train", "valid", "test"):
        env = gym.make(ENV, workload=jobs, split=split, sequence_length=40)
        seen[split] = set()
        for seed in range(8):
            play(env, seed)
            seen[split] |= set(submitted(env).tolist())
    assert max(seen["train"]) < 360 <= min(seen["valid"]) and max(seen["valid"]) < 480 <= min(seen["test"])


def test_disjoint_windows_are_numbered_by_the_seed(jobs):
    env = gym.make(ENV, workload=jobs, split="test", sampling="disjoint", sequence_length=40)
    windows = []
    for seed in range(4):
        play(env, seed)
        windows.append(sorted(submitted(env).tolist()))
    assert [window[0] for window in windows] == [480, 520, 560, 480]
    assert all(window == list(range(window[0], window[0] + 40)) for window in windows)


def test_a_window_can_be_chosen(jobs):
    env = gym.make(ENV, workload=jobs, sequence_length=30)
    play(env, options={"start": 7})
    assert submitted(env).min() == 7
    with pytest.raises(SettingError, match="starts from 0 to 330"):
        env.reset(options={"start": 331})


@pytest.mark.parametrize(("backfill", "policy"), [("none", "fcfs"), ("easy", "easy")])
def test_a_whole_log_as_one_episode_is_the_replay(jobs, backfill, policy):
    env = gym.make(ENV, workload=jobs, split="all", sequence_length=600, backfill=backfill)
    total, metrics = play(env)
    expected = replay(jobs, policy).summary()
    assert metrics == expected and -total == pytest.approx(expected["mean_bounded_slowdown"])


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_final_rewards_pay_the_same_at_the_end(jobs, engine):
    returns = []
    for reward in ("wait_time", "final_wait_time"):
        env = gym.make(ENV, workload=jobs, sequence_length=60, reward=reward, engine=engine)
        returns.append(play(env, 3))
    assert returns[0][0] == pytest.approx(returns[1][0])
    assert -returns[0][0] == pytest.approx(returns[0][1]["mean_wait"])


def test_a_python_reward_runs_on_simpy(jobs):
    env = gym.make(ENV, workload=jobs, sequence_length=60, reward=lambda before, action, after: -len(after.waiting))
    assert type(env.unwrapped.engine).__name__ == "SimulatorEngine"
    total, _ = play(env)
    assert total == int(total) and total <= 0


def test_features_are_what_the_docstring_says(jobs):
    env = gym.make(ENV, workload=jobs, sequence_length=100)
    observation, info = env.reset(seed=1)
    for _ in range(60):
        observation, *_, info = env.step(0)
    state = env.unwrapped.state
    waiting = int(info["action_mask"].sum())
    first = state.visible[0]
    assert observation[0, 0] == pytest.approx(min((state.time - jobs.submit_time[first]) / 43_200, 1 - 1e-5), abs=1e-6)
    assert observation[0, 2] == pytest.approx(jobs.processors[first] / 32, abs=2e-5)
    assert (observation[0, 7] > 0.5) == (jobs.processors[first] <= state.free)
    assert np.array_equal(observation[waiting], np.array([0, 1, 1, 1, 1, 1, 1, 0], dtype=np.float32))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"backfil": "easy"}, UnknownNameError, "did you mean backfill"),
        ({"backfill": "eazy"}, UnknownNameError, "easy"),
        ({"split": "tst"}, UnknownNameError, "test"),
        ({"sampling": "disjont"}, UnknownNameError, "disjoint"),
        ({"reward": "bounded_slowdwn"}, UnknownNameError, "bounded_slowdown"),
        ({"observation": "feature"}, UnknownNameError, "features"),
        ({"engine": "quick"}, UnknownNameError, "auto, compiled, simpy"),
        ({"sequence_length": 0}, SettingError, "at least 1"),
        ({"sequence_length": 1000}, WorkloadError, "bring a log of at least 1667 jobs"),
        ({"processors": 4}, WorkloadError, "needs .* processors"),
    ],
)
def test_wrong_arguments_are_named(jobs, arguments, error, message):
    with pytest.raises(error, match=message):
        gym.make(ENV, workload=jobs, **arguments)


def test_a_csv_log_is_read_with_its_columns(tmp_path):
    rows = "\n".join(f"{i * 10},{5 + i % 7},{1 + i % 3}" for i in range(100))
    (tmp_path / "log.csv").write_text("start,duration,cpus\n" + rows + "\n")
    columns = {"submit_time": "start", "run_time": "duration", "processors": "cpus"}
    env = gym.make(ENV, workload=str(tmp_path / "log.csv"), columns=columns, processors=8, sequence_length=10)
    assert len(env.unwrapped.workload) == 100


@pytest.mark.parametrize("options", [{"strat": 3}, {"start": 2.7}, {"start": "a"}, {"start": None}])
def test_reset_options_are_checked(jobs, options):
    with pytest.raises((SettingError, UnknownNameError), match="start"):
        gym.make(ENV, workload=jobs).reset(options=options)


def test_workloads_of_a_model_and_scaled_arrivals():
    table = {"model": "lublin", "jobs": 500, "processors": 64, "seed": 4}
    drawn = gym.make(ENV, workload=table, sequence_length=64).unwrapped.workload
    dense = gym.make(ENV, workload=table, sequence_length=64, arrivals=0.5).unwrapped.workload
    assert len(drawn) == 500 and drawn.machine.processors == 64
    np.testing.assert_array_equal(dense.submit_time, np.floor(drawn.submit_time * 0.5))
    with pytest.raises(SettingError, match="a table names a model"):
        gym.make(ENV, workload={"jobs": 500})
    with pytest.raises(UnknownNameError):
        gym.make(ENV, workload={"model": "lublim"})


def test_which_count_is_a_jobs_size(tmp_path):
    lines = [f"{n} {n} 0 50 {2 + n % 3} -1 -1 4 60 -1 1 1 1 -1 1 -1 -1 -1" for n in range(1, 21)]
    path = tmp_path / "log.swf"
    path.write_text("; MaxProcs: 8\n" + "\n".join(lines) + "\n")
    sizes = {
        count: gym.make(ENV, workload=path, sequence_length=4, processors_from=count).unwrapped.workload.processors
        for count in (None, "allocated")
    }
    assert set(sizes[None].tolist()) == {4} and set(sizes["allocated"].tolist()) == {2, 3, 4}


def test_published_waits_turn_the_order_round(jobs):
    first = replay(jobs, gym.make(ENV).unwrapped.heuristics["wfp3_published"]())
    assert first.bounded_slowdown().mean() > replay(jobs, "wfp3").bounded_slowdown().mean()
