"""What `sysgym/JobSched-v0` adds to the contract that every registered environment keeps."""

import gymnasium as gym
import numpy as np
import pytest
from numba import config, njit

import sysgym  # noqa: F401  registers the ids
from sysgym.core.engines import SimulatorEngine
from sysgym.core.errors import SettingError, UnknownNameError, WorkloadError
from sysgym.jobsched.slotted.kernel import SlottedKernel
from sysgym.workloads import poisson_pareto
from sysgym.workloads.jobsets import Jobset, JobsetGenerator

ID = "sysgym/JobSched-v0"


def make(**settings):
    return gym.make(ID, **settings).unwrapped


def test_the_defaults_are_the_published_contract():
    env = make()
    assert env.observation_space == gym.spaces.Box(0, 1, (20, 224), np.float32)
    assert env.action_space == gym.spaces.Discrete(11)
    assert isinstance(env.engine, SlottedKernel)
    assert not (env.config.linger or env.config.last_row or env.config.skip_first or env.config.silent_loss)
    assert env.workload == JobsetGenerator(0.7, 50)
    assert (env.config.max_steps, env.config.episode_end) == (2000, "all_done")


@pytest.mark.parametrize(
    ("observation", "slots", "shape", "dtype"),
    [
        ("image", 5, (20, 124), np.float32),
        ("image_uint8", 10, (20, 224), np.uint8),
        ("image_colour", 10, (20, 224), np.float32),
        ("compact", 10, (91,), np.float32),
        ("compact", 5, (76,), np.float32),
        ("slots", 10, (10, 27), np.float32),
    ],
)
@pytest.mark.parametrize("mode", ["published", "corrected"])
def test_every_observation_stays_in_its_space(observation, slots, shape, dtype, mode):
    env = make(observation=observation, slots=slots, mode=mode, arrival_rate=1.0)
    assert (env.observation_space.shape, env.observation_space.dtype) == (shape, dtype)
    seen, info = env.reset(seed=1)
    random, ended = np.random.default_rng(0), False
    while not ended:
        assert seen in env.observation_space
        action = random.choice(np.flatnonzero(info["action_mask"]))
        seen, _, terminated, truncated, info = env.step(action)
        ended = terminated or truncated
    assert info["metrics"]["incomplete"] == 0


def test_modes_and_single_quirks():
    assert make(mode="published").config.linger
    env = make(mode="published", linger=False)
    assert (env.config.linger, env.config.last_row) == (False, True)
    assert make(mode="published", observation="image_colour").config.palette == 39
    with pytest.raises(UnknownNameError, match="did you mean observation"):
        make(observaton="image")
    with pytest.raises(UnknownNameError, match="mode"):
        make(mode="fixed")


@pytest.mark.parametrize(("length", "slowdown"), [(0, 1.0), (3, np.nan)])
def test_who_books_nothing_does_not_look_perfect(length, slowdown):
    jobset = Jobset(np.array([0, length]), np.array([[0, 0], [1, 1] if length else [0, 0]]))
    env = gym.make("sysgym/JobSched-v0", workload=jobset, mode="published", engine="simpy", max_steps=30).unwrapped
    env.reset(seed=0)
    while not any(env.step(env.action_space.n - 1)[2:4]):
        pass
    assert env.metrics()["mean_slowdown"] == pytest.approx(slowdown, nan_ok=True)
    assert env.metrics()["max_slowdown"] == pytest.approx(slowdown, nan_ok=True)


def test_splits_and_options_choose_the_jobset():
    env = make()
    env.reset(seed=4)
    first = env.engine.jobset(0)
    assert (first.length == JobsetGenerator().jobset(4, 0).length).all()
    env.reset()
    assert (env.engine.jobset(0).length == JobsetGenerator().jobset(4, 1).length).all()
    env.reset(seed=4, options={"jobset": 7})
    assert (env.engine.jobset(0).length == JobsetGenerator().jobset(4, 7).length).all()
    test = make(split="test")
    test.reset(seed=4)
    assert (test.engine.jobset(0).length != first.length).any()


def test_fixed_jobsets_and_a_log_as_workload():
    one = Jobset(np.array([3, 0]), np.array([[2, 1], [0, 0]]))
    env = make(workload=one)
    env.reset(seed=0)
    assert env.state.slot_length[0] == 3 and env.config.sequence_length == 2
    log = poisson_pareto(jobs=300, processors=64, load=0.8, seed=0)
    played = [make(workload=log, slot_seconds=600, split=split, too_long="clip") for split in ("train", "test")]
    assert [env.workload.distortion.jobs for env in played] == [180, 60]
    env = played[0]
    assert env.observation_space.shape == (20, 114) and env.config.resources == 1
    _, info = env.reset(seed=0)
    ended = False
    while not ended:
        _, _, terminated, truncated, info = env.step(env.heuristics["sjf"]().act_on_state(env.state))
        ended = terminated or truncated
    assert info["metrics"]["jobs"] >= 1
    with pytest.raises(WorkloadError, match="horizon is 20"):
        make(workload=JobsetGenerator(longest=30))
    with pytest.raises(SettingError, match="give a generator"):
        make(workload=3)


@pytest.mark.skipif(config.DISABLE_JIT, reason="without the compiler every function counts as compiled")
def test_injected_functions_choose_the_engine():
    def zero(before, action, after):
        return 0.0

    assert isinstance(make(reward=zero).engine, SimulatorEngine)
    assert isinstance(make(reward=njit(zero)).engine, SlottedKernel)
    assert isinstance(make(engine="simpy").engine, SimulatorEngine)
    with pytest.raises(SettingError, match="compiled"):
        make(reward=zero, engine="compiled")


def test_a_policy_never_sees_what_is_still_to_come():
    for engine in ("simpy", "compiled"):
        env = make(engine=engine, arrival_rate=1.0)
        env.reset(seed=0)
        for _ in range(5):
            env.step(10)
        state = env.state
        assert (state.job_length[:6] > 0).all() and (state.job_length[6:] == 0).all()
        assert (state.job_demand[6:] == 0).all() and (state.job_enter[6:] == -1).all()


def test_the_picture_shows_bookings_and_slots():
    env = make(render_mode="ansi", workload=Jobset(np.array([2, 3]), np.array([[4, 1], [10, 2]])))
    env.reset(seed=0)
    env.step(0), env.step(10)
    assert env.render().splitlines() == [
        "time 1, last arrival 0 steps ago, backlog 0",
        "  +0   ####......  #.........",
        "  slot 0: job 1, 3 steps, 10+2 units",
    ]
    assert make().render() is None
