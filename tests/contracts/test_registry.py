"""What every registered environment promises; a new id is tested here without a new line."""

import copy
import gc
import pickle
import resource
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import sysgym  # noqa: F401  registers the ids
from sysgym.core.errors import InvalidActionError, SettingError, UnknownNameError
from sysgym.envs.bounds import Bound
from sysgym.envs.registration import ENVIRONMENTS

IDS = [row.env_id for row in ENVIRONMENTS]
ENGINES = ("simpy", "compiled")
HEADINGS = (
    "Description",
    "Action Space",
    "Observation Space",
    "Rewards",
    "Starting State",
    "Episode End",
    "Information",
    "Arguments",
    "Vectorized Environment",
    "Baselines and Bound",
    "Validation",
    "References",
    "Version History",
)

pytestmark = pytest.mark.parametrize("env_id", IDS)


def as_bytes(observation):
    """An observation of one array, or of several by name, as bytes."""
    if isinstance(observation, dict):
        return b"".join(observation[name].tobytes() for name in sorted(observation))
    return observation.tobytes()


def arrays_in(observation):
    """Its arrays."""
    return list(observation.values()) if isinstance(observation, dict) else [observation]


def row(observations, number):
    """One row of a batch of observations."""
    if isinstance(observations, dict):
        return {name: part[number] for name, part in observations.items()}
    return observations[number]


def play(env, steps, seed=0):
    """Random allowed actions; everything that a policy meets, as bytes."""
    choose = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    trail = [(as_bytes(observation), info["action_mask"].tobytes())]
    for _ in range(steps):
        action = choose.choice(np.flatnonzero(info["action_mask"]))
        observation, reward, terminated, truncated, info = env.step(action)
        trail.append((as_bytes(observation), reward, terminated, truncated, info["action_mask"].tobytes()))
        if terminated or truncated:
            observation, info = env.reset()
            trail.append(as_bytes(observation))
    return trail


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.filterwarnings("error")
def test_gymnasium_checks_it_without_a_warning(env_id, engine):
    check_env(gym.make(env_id, engine=engine).unwrapped, skip_render_check=True)


def test_stable_baselines_checks_it_with_advice_on_shapes_at_most(env_id, recwarn):
    check = pytest.importorskip("stable_baselines3.common.env_checker")
    check.check_env(gym.make(env_id).unwrapped)
    advice = ("unconventional shape", "image", "Your observation")
    assert [w for w in map(str, (w.message for w in recwarn)) if not any(a in w for a in advice)] == []


def test_the_engines_are_equal_and_a_seed_repeats(env_id):
    trails = [play(gym.make(env_id, engine=engine), 400) for engine in (*ENGINES, "compiled")]
    assert trails[0] == trails[1] == trails[2]
    assert play(gym.make(env_id), 400, seed=1) != trails[0]


def test_what_is_returned_is_the_callers_own(env_id):
    """Neither does a later step change what was returned, nor a write to it what comes later."""
    env, twin = gym.make(env_id), gym.make(env_id)
    observation, info = env.reset(seed=0)
    kept, kept_mask = copy.deepcopy(observation), info["action_mask"].copy()
    twin.reset(seed=0)
    for _ in range(30):
        action = int(info["action_mask"].argmax())
        info["action_mask"][:] = 1
        for part in arrays_in(observation):
            part[:] = 7
        written = observation, info["action_mask"]
        observation, _, _, _, info = env.step(action)
        expected, _, _, _, beside = twin.step(action)
        assert all((part == 7).all() for part in arrays_in(written[0])) and (written[1] == 1).all()
        assert as_bytes(observation) == as_bytes(expected)
        assert np.array_equal(info["action_mask"], beside["action_mask"])
    assert as_bytes(kept) != as_bytes(observation) or kept_mask.tobytes() != info["action_mask"].tobytes()


@pytest.mark.parametrize("mode", ["sync", "async", "vector_entry_point"])
def test_every_vectorization_mode_makes_a_working_env(env_id, mode):
    envs = gym.make_vec(env_id, num_envs=2, vectorization_mode=mode)
    observation, _ = envs.reset(seed=0)
    assert observation in envs.observation_space
    observation, reward, terminated, truncated, _ = envs.step(np.zeros(2, dtype=np.int64))
    assert observation in envs.observation_space
    assert reward.shape == terminated.shape == truncated.shape == (2,)
    envs.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_vector_env_plays_what_single_envs_play(env_id, engine):
    envs = gym.make_vec(env_id, num_envs=3, engine=engine)
    singles = [gym.make(env_id) for _ in range(3)]
    observations, info = envs.reset(seed=5)
    masks = info["action_mask"].copy()
    for k, env in enumerate(singles):
        assert as_bytes(env.reset(seed=5 + k)[0]) == as_bytes(row(observations, k))
    choose = np.random.default_rng(1)
    endings, steps = 0, 0
    while endings == 0 or steps < 400:
        steps += 1
        actions = np.array([choose.choice(np.flatnonzero(mask)) for mask in masks])
        observations, rewards, terminated, truncated, info = envs.step(actions)
        masks = info["action_mask"].copy()
        for k, env in enumerate(singles):
            observation, reward, ended, cut, _ = env.step(actions[k])
            assert (reward, ended, cut) == (rewards[k], terminated[k], truncated[k])
            if ended or cut:
                endings += 1
                assert info["_final_obs"][k] and as_bytes(row(info["final_obs"], k)) == as_bytes(observation)
                observation, _ = env.reset()
            assert as_bytes(observation) == as_bytes(row(observations, k))


def test_next_step_autoreset_ignores_the_action_after_an_end(env_id):
    envs = gym.make_vec(env_id, num_envs=2, autoreset_mode=AutoresetMode.NEXT_STEP)
    _, info = envs.reset(seed=0)
    done = np.zeros(2, dtype=bool)
    for _ in range(3000):
        _, reward, terminated, truncated, info = envs.step(info["action_mask"].argmax(axis=1))
        assert not terminated[done].any() and not truncated[done].any() and (reward[done] == 0).all()
        if done.any():
            return
        done = (terminated | truncated).copy()
    raise AssertionError("no episode ended")


def test_disabled_autoreset_waits_for_the_caller(env_id):
    envs = gym.make_vec(env_id, num_envs=2, autoreset_mode=AutoresetMode.DISABLED)
    _, info = envs.reset(seed=0)
    done = np.zeros(2, dtype=bool)
    while not done.any():
        _, _, terminated, truncated, info = envs.step(info["action_mask"].argmax(axis=1))
        done = (terminated | truncated).copy()
    ended = int(done.argmax())
    assert np.isfinite(envs.unwrapped.metrics(ended)[gym.make(env_id).unwrapped.objective])
    with pytest.raises(gym.error.ResetNeeded, match="reset_mask"):
        envs.step(np.zeros(2, dtype=np.int64))
    envs.reset(options={"reset_mask": done})
    envs.step(np.zeros(2, dtype=np.int64))


def test_step_into_writes_to_the_callers_slot(env_id):
    from sysgym.core.engines import allocate_slot

    envs, twin = (gym.make_vec(env_id, num_envs=3).unwrapped for _ in range(2))
    slots = [allocate_slot(envs.engine.observation_spec, 3, envs.engine.num_actions) for _ in range(2)]
    for environment in (envs, twin):
        environment.reset(seed=0)
    masks = envs.action_masks().copy()
    for k in range(60):
        actions = masks.argmax(axis=1)
        slot = slots[k % 2]
        envs.step_into(actions, slot)
        _, rewards, _, _, info = twin.step(actions)
        masks = info["action_mask"].copy()
        assert slot.observations.tobytes() == twin.slot.observations.tobytes()
        assert slot.rewards.tolist() == rewards.tolist() and slot.action_masks.tobytes() == masks.tobytes()


@pytest.mark.parametrize("action", [-1, 10**6, 0.5, "a", None])
def test_an_action_outside_the_space_is_refused(env_id, action):
    env = gym.make(env_id, disable_env_checker=True)
    env.reset(seed=0)
    with pytest.raises(InvalidActionError, match="give an integer from 0"):
        env.step(action)


def test_actions_of_the_wrong_kind_are_refused_by_the_vector_env(env_id):
    envs = gym.make_vec(env_id, num_envs=2)
    envs.reset(seed=0)
    for actions in ([0], [0.5, 0.5], [0, 10**6], [[0, 0]]):
        with pytest.raises(InvalidActionError):
            envs.step(np.array(actions))


def test_step_before_reset_and_unknown_modes_are_refused(env_id):
    with pytest.raises(gym.error.ResetNeeded):
        gym.make(env_id).unwrapped.step(0)
    with pytest.raises(gym.error.ResetNeeded):
        gym.make_vec(env_id, num_envs=2).step(np.zeros(2, dtype=np.int64))
    with pytest.raises(SettingError, match="render_mode"):
        gym.make(env_id, disable_env_checker=True, render_mode="hologram")
    with pytest.raises(SettingError, match="autoreset_mode"):
        gym.make_vec(env_id, num_envs=2, autoreset_mode="never")


def test_every_heuristic_plays_an_episode_to_its_end(env_id):
    env = gym.make(env_id).unwrapped
    assert env.do_nothing in env.heuristics and "random" in env.heuristics and len(env.heuristics) >= 5
    for name, build in env.heuristics.items():
        policy = build()
        policy.reset()
        _, info = env.reset(seed=3)
        ended = False
        while not ended:
            _, _, terminated, truncated, info = env.step(policy.act_on_state(env.state))
            ended = terminated or truncated
        assert env.objective in info["metrics"], name


def test_a_policy_cannot_write_to_the_state(env_id):
    for engine in ENGINES:
        env = gym.make(env_id, engine=engine).unwrapped
        env.reset(seed=0)
        for array in arrays_of(env.state):
            with pytest.raises(ValueError, match=r"read-only|WRITEABLE"):
                array.flags.writeable = True
                array[...] = 0


def arrays_of(state):
    """Every array of a state, those of nested tuples included."""
    for value in state:
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, tuple):
            yield from arrays_of(value)


def test_it_declares_a_domain_and_a_bound_for_scores(env_id):
    """`domain` and `bound = Bound(...)` of `sysgym.envs.bounds` beside `objective`: what leaderboards need."""
    env = gym.make(env_id).unwrapped
    assert env.domain and isinstance(env.bound, Bound)
    assert not env.bound.policy or env.bound.policy in env.heuristics
    _, info = env.reset(seed=0)
    ended = False
    while not ended:
        _, _, terminated, truncated, info = env.step(int(info["action_mask"].argmax()))
        ended = terminated or truncated
    objective = info["metrics"][env.objective]
    best = info["metrics"][env.bound.metric] if env.bound.metric else env.bound.value
    if env.bound.kind != "reference" and best is not None:
        assert objective >= best if env.direction == "min" else objective <= best


def test_the_docstring_has_every_heading_in_order(env_id):
    text = type(gym.make(env_id).unwrapped).__doc__
    places = [text.find(f"## {heading}\n") for heading in HEADINGS]
    assert min(places) > 0 and places == sorted(places)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_snapshot_puts_other_environments_where_these_stood(env_id, engine):
    """What a resumed training run needs, rows in the midst of episodes and behind them."""
    envs, others = (gym.make_vec(env_id, num_envs=3, engine=engine) for _ in range(2))
    choose = np.random.default_rng(0)
    envs.reset(seed=5)
    others.reset(seed=6)

    def step():
        actions = np.array([choose.choice(np.flatnonzero(mask)) for mask in envs.action_masks()])
        return actions, parts_of_step(envs, actions)

    for _ in range(60):
        step()
    others.restore(envs.snapshot())
    for _ in range(60):
        assert np.array_equal(envs.action_masks(), others.action_masks())
        actions, expected = step()
        for mine, theirs in zip(expected, parts_of_step(others, actions), strict=True):
            assert np.array_equal(mine, theirs)
    for number in range(3):
        assert envs.engine.metrics(number) == others.engine.metrics(number)


def parts_of_step(envs, actions):
    """What a step shows, copied."""
    observations, *rest = envs.step(actions)[:4]
    return [np.array(part) for part in (*arrays_in(observations), *rest)]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_step_after_the_end_is_refused(env_id, engine):
    env = gym.make(env_id, engine=engine)
    _, info = env.reset(seed=0)
    ended = False
    while not ended:
        _, _, terminated, truncated, info = env.step(int(info["action_mask"].argmax()))
        ended = terminated or truncated
    with pytest.raises(gym.error.ResetNeeded):
        env.step(0)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "a"])
def test_seeds_that_are_none_are_refused(env_id, seed):
    with pytest.raises(SettingError, match="seed"):
        gym.make(env_id, disable_env_checker=True).unwrapped.reset(seed=seed)
    envs = gym.make_vec(env_id, num_envs=2)
    for given in (seed, [seed, 3]):
        with pytest.raises(SettingError, match="seed"):
            envs.reset(seed=given)


@pytest.mark.parametrize("engine", ENGINES)
def test_options_that_mean_nothing_are_refused_and_seeds_may_be_numpys(env_id, engine):
    env, envs = gym.make(env_id, engine=engine).unwrapped, gym.make_vec(env_id, num_envs=2, engine=engine)
    for options in ("x", 5, ["start"]):
        for one in (env, envs):
            with pytest.raises(SettingError, match="give reset\\(\\) a mapping"):
                one.reset(seed=0, options=options)
    for one in (env, envs):
        with pytest.raises(UnknownNameError, match="unknown reset option 'flavour'"):
            one.reset(seed=0, options={"flavour": 3})
    first, again = (as_bytes(env.reset(seed=seed)[0]) for seed in (5, np.int64(5)))
    assert first == again


@pytest.mark.parametrize("num_envs", [0, -1, 2.5])
def test_a_vector_env_has_at_least_one_env(env_id, num_envs):
    with pytest.raises(SettingError, match="num_envs"):
        gym.make_vec(env_id, num_envs=num_envs)


@pytest.mark.parametrize("engine", ["compiled", "simpy"])
def test_an_env_is_copied_and_pickled_in_the_middle_of_an_episode(env_id, engine):
    env = gym.make(env_id, engine=engine).unwrapped
    _, info = env.reset(seed=0)
    for _ in range(20):
        _, _, _, _, info = env.step(int(info["action_mask"].argmax()))
    copies = [pickle.loads(pickle.dumps(env)), copy.deepcopy(env)]
    for _ in range(20):
        action = int(info["action_mask"].argmax())
        observation, reward, *_, info = env.step(action)
        for other in copies:
            again = other.step(action)
            assert as_bytes(again[0]) == as_bytes(observation) and again[1] == reward
            for mine, theirs in zip(arrays_of(env.state), arrays_of(other.state), strict=True):
                assert np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f") and not theirs.flags.writeable


def test_an_allowed_action_is_always_left(env_id):
    """Whatever was played and however the episode ended: a learner that masks needs one action to choose."""
    envs = gym.make_vec(env_id, num_envs=8)
    choose = np.random.default_rng(2)
    _, info = envs.reset(seed=11)
    for _ in range(300):
        masks = info["action_mask"]
        assert masks.any(axis=1).all() and set(np.unique(masks)) <= {0, 1}
        scores = choose.random(masks.shape, dtype=np.float32) * masks
        info = envs.step(scores.argmax(axis=1))[4]


def test_a_soak_of_ten_thousand_steps_needs_no_more_memory(env_id):
    envs = gym.make_vec(env_id, num_envs=10)
    _, info = envs.reset(seed=0)
    page = resource.getpagesize()

    def soak(steps):
        nonlocal info
        for _ in range(steps):
            info = envs.step(info["action_mask"].argmax(axis=1))[4]
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * page

    soak(400)  # what is allocated once, buffers and arenas, is there by now
    before = soak(100)
    assert soak(1000) - before < 4 * 2**20  # ten environments: 10,000 steps


def test_vector_envs_of_both_kinds_are_pickled(env_id):
    """What worker processes and saved studies of others rely on."""
    envs = gym.make_vec(env_id, num_envs=2).unwrapped
    _, info = envs.reset(seed=4)
    for _ in range(10):
        info = envs.step(info["action_mask"].argmax(axis=1))[4]
    again = pickle.loads(pickle.dumps(envs))
    for _ in range(10):
        actions = envs.action_masks().argmax(axis=1)
        for mine, theirs in zip(parts_of_step(envs, actions), parts_of_step(again, actions), strict=True):
            assert np.array_equal(mine, theirs)
