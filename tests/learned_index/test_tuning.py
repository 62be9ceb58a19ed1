"""IndexTune: tables against indexes that are built, hypervolumes against a count of cells, searches and scores."""

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sysgym  # noqa: F401  registers the ids
from sysgym.core.errors import KeyValueError, SettingError, UnknownNameError
from sysgym.core.events import EventKind
from sysgym.learned_index.keysets import key_set
from sysgym.learned_index.tuning import costs, tables
from sysgym.learned_index.tuning.dynamics import added, dominated, insert_point
from sysgym.learned_index.tuning.families import draw_keys, family, size_of
from sysgym.learned_index.tuning.instances import shipped
from sysgym.learned_index.tuning.live import live_instance
from sysgym.learned_index.tuning.model import COUNT, FANOUT_BITS, aliases, configuration, leaf_bytes, root_bytes
from sysgym.learned_index.tuning.policies import HEURISTICS

points = st.lists(st.tuples(st.integers(0, 32), st.integers(0, 12)), max_size=25)


def make(**arguments):
    return gym.make("sysgym/IndexTune-v0", **arguments).unwrapped


def play(env, policy, seed=0):
    env.reset(seed=seed)
    policy.reset()
    total, ended = 0.0, False
    while not ended:
        _, reward, ended, _, info = env.step(policy.act_on_state(env.state))
        total += reward
    return total, info["metrics"]


@settings(max_examples=200, deadline=None)
@given(points)
def test_a_hypervolume_is_the_count_of_dominated_cells(chosen):
    """The reference point is (30, 10); each integer point dominates the unit cells above and right of it."""
    cells = {(x, y) for px, py in chosen for x in range(px, 30) for y in range(py, 10)}
    x, y = (np.array([point[i] for point in chosen], dtype=np.float64) for i in (0, 1))
    assert dominated(x, y, 10.0) == len(cells)
    front, size, area = np.zeros((26, 2)), 0, 0.0
    for px, py in chosen:
        area += added(front, size, float(px), float(py), 10.0)
        size = insert_point(front, size, float(px), float(py))
        assert (np.diff(front[:size, 0]) > 0).all() and (np.diff(front[:size, 1]) < 0).all()
    assert area == len(cells)


@pytest.mark.parametrize("action", [0, 20, 60, 119, 200, 290, 398])
def test_sizes_are_known_beforehand(action):
    keys = key_set("osm", 5000)
    told = leaf_bytes(len(keys)) + root_bytes(int(keys[-1] - keys[0]))
    assert tables.build(keys, action).size_bytes == told[action]


def test_a_shipped_table_is_what_building_finds():
    number = min(range(10), key=lambda k: size_of("valid", k))
    keys = draw_keys("valid", number, size_of("valid", number))
    known = {one.name: one for one in shipped("valid")}
    one = known.get(f"{family('valid', number)}-{len(keys)}")
    if one is None or int(keys[-1] - keys[0]) != one.span:
        pytest.skip("this numpy draws other keys")
    for action in range(0, COUNT, 13):
        assert tables.evaluate(keys, action) == pytest.approx(one.halvings[action], abs=1 / 1024)
    assert tables.estimate_all(keys) == pytest.approx(one.estimated_halvings, abs=1 / 1024)


def test_no_training_family_is_in_the_test_and_no_key_set_is_twice():
    names = {split: {one.name.split("-")[0] for one in shipped(split)} for split in ("train", "valid", "test")}
    assert not names["train"] & (names["valid"] | names["test"]) and not names["valid"] & names["test"]
    everything = shipped("all")
    assert len({(one.name, one.span, one.halvings.tobytes()) for one in everything}) == len(everything)


def test_the_halvings_are_those_of_the_windows():
    """A leaf of 64 keys whose line misses by a half of them: windows of 64, two halvings to a block of 16."""
    keys = np.concatenate([np.arange(32), np.arange(10**9, 10**9 + 32)]).astype(np.uint64)
    index = tables.build(keys, 0)
    windows = np.minimum(index._leaves["high"] - index._leaves["low"], index._leaves["count"])
    steps = [max(0, int(np.ceil(np.log2(w / 16)))) if w else 0 for w in windows]
    assert tables.halvings(index) == pytest.approx(np.average(steps, weights=index._leaves["count"]))


def test_costs_rise_with_all_that_costs():
    few, many = (costs.latency(10**6, 2**62, np.full(COUNT, steps)) for steps in (1.0, 4.0))
    assert (many > few).all() and costs.plain_latency(10**7) > costs.plain_latency(10**5)
    small, large = costs.evaluation_seconds(10**5, 2**62), costs.evaluation_seconds(10**7, 2**62)
    assert (large > small).all()


def test_the_whole_grid_has_a_share_of_one_and_rewards_add_up_to_it():
    env = make(evaluations=COUNT, split="valid")
    total, scores = play(env, HEURISTICS["grid"]())
    assert total == pytest.approx(1.0) and scores["share"] == pytest.approx(1.0)
    assert scores["evaluations"] == env.state.evaluations <= COUNT
    measured = env.events.of(EventKind.MEASURE)
    assert (
        scores["seconds"] == measured.time[-1] == pytest.approx(env.engine.instances[0].seconds[measured.subject].sum())
    )
    assert scores["best_ns"] == np.nanmin(env.state.latency)


def test_scores_come_at_milestones_and_enough_is_when_it_was():
    total, scores = play(make(split="valid", evaluations=84), HEURISTICS["two_phase_shuffled"]())
    shares = [scores[f"share_{k}"] for k in (5, 10, 20, 40, 84)]
    assert shares == sorted(shares) and shares[-1] == scores["share"] == pytest.approx(total)
    _, short = play(make(split="valid", evaluations=int(scores["enough"])), HEURISTICS["two_phase_shuffled"]())
    _, shorter = play(make(split="valid", evaluations=int(scores["enough"]) - 1), HEURISTICS["two_phase_shuffled"]())
    assert short["share"] >= 0.95 > shorter["share"]


def test_what_was_evaluated_costs_again_and_earns_nothing():
    env = make(split="valid")
    env.reset(seed=0)
    _, first, *_ = env.step(100)
    before = env.state.time
    _, second, _, _, info = env.step(100)
    assert first > 0 == second and info["action_mask"][100] == 0
    assert env.state.time == pytest.approx(2 * before) and env.state.evaluations == 2


def test_a_budget_of_seconds_ends_a_search():
    _, long = play(make(split="valid"), HEURISTICS["random"]())
    _, short = play(make(split="valid", seconds=long["seconds"] / 2), HEURISTICS["random"]())
    assert short["evaluations"] < long["evaluations"] and short["seconds"] >= long["seconds"] / 2


def test_two_phases_are_84_coarse_ones_and_then_the_front():
    env = make(split="valid", evaluations=100)
    play(env, HEURISTICS["two_phase"]())
    tried = [configuration(action) for action in env.events.of(EventKind.MEASURE).subject]
    coarse = [one for one in tried if one.fanout in (2**6, 2**11, 2**16, 2**21)]
    phase = len(coarse)
    assert tried[:phase] == coarse and phase >= 63
    assert {one[:2] for one in tried[phase:]} <= {one[:2] for one in coarse}


def test_few_keys_make_large_fan_outs_the_same():
    same = aliases(1000).reshape(-1, len(FANOUT_BITS))
    assert (~same).sum(axis=1).tolist() == [5] * 21  # 64, 128, 256, 512, and 1000 leaves
    env = make(keys=np.arange(40, dtype=np.uint64), evaluations=399)
    _, info = env.reset(seed=0)
    assert info["action_mask"].sum() == 21
    _, scores = play(env, HEURISTICS["grid"]())
    assert scores["evaluations"] == 21


def test_ones_own_keys_are_not_taken_for_a_function_by_the_kernel():
    with pytest.raises(SettingError, match=r"cannot index keys of one's own"):
        make(keys=np.arange(40, dtype=np.uint64), engine="compiled")


@pytest.mark.parametrize("reward", ["weighted", "capped"])
def test_other_rewards_add_up_to_what_was_reached(reward):
    env = make(split="valid", reward=reward, weight=0.3, max_log_bytes=16.0)
    total, _ = play(env, HEURISTICS["random"](seed=1))
    state = env.state
    loss = state.latency / state.reference
    loss = loss + 0.3 * state.log_bytes / 30 if reward == "weighted" else np.where(state.log_bytes > 16, 1.0, loss)
    assert total == pytest.approx(1.0 - min(1.0, np.nanmin(loss)))


def test_a_reward_of_ones_own_sees_both_states():
    env = make(split="valid", reward=lambda before, action, after: after.time - before.time)
    total, scores = play(env, HEURISTICS["random"]())
    assert total == pytest.approx(scores["seconds"])


@pytest.mark.parametrize("latency", ["model", "measured"])
def test_ones_own_keys_are_really_built(latency):
    keys = key_set("osm", 3000).astype(np.int64)
    env = make(keys=keys, latency=latency, evaluations=3)
    _, scores = play(env, HEURISTICS["expected_gain"]())
    assert scores["evaluations"] == 3 and scores["best_ns"] > 0
    if latency == "model":
        known = live_instance(keys)
        halvings = np.full(COUNT, tables.evaluate(keys.view(np.uint64), 200))
        assert known.find(200) == costs.latency(3000, known.span, halvings)[200]


def test_the_flat_encoder_tells_no_estimates():
    env = make(split="valid", encoder="flat")
    observation, _ = env.reset(seed=0)
    assert observation.shape == (148,) and observation[64:129].sum() == pytest.approx(1.0, abs=1e-5)
    observation, *_ = env.step(150)
    root, leaf, bits = np.unravel_index(150, (7, 3, 19))
    assert observation[135 + root] == observation[142 + leaf] == 1 and observation[145] == pytest.approx(
        (6 + bits) / 24
    )


def test_expectations_learn_from_neighbours():
    env = make(split="valid", engine="simpy")
    env.reset(seed=0)
    estimate = env.state.estimate
    env.step(205)
    state = env.state
    surprise = state.latency[205] / estimate[205]
    change = state.expected / estimate
    assert state.confidence[205] == 1 and state.confidence[206] > state.confidence[212] > 0
    assert np.sign(change[206] - 1) == np.sign(surprise - 1) and abs(change[206] - 1) <= abs(surprise - 1)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"evaluations": 0}, SettingError, "evaluations"),
        ({"evaluations": 400}, SettingError, "evaluations"),
        ({"evaluations": 2.5}, SettingError, "evaluations"),
        ({"seconds": 0}, SettingError, "seconds"),
        ({"split": "tset"}, UnknownNameError, "split"),
        ({"encoder": "image"}, UnknownNameError, "encoder"),
        ({"reward": "speed"}, UnknownNameError, "reward"),
        ({"weight": -1}, SettingError, "weight"),
        ({"latency": "guess", "keys": [1, 2]}, UnknownNameError, "latency"),
        ({"keys": [2, 1]}, KeyValueError, "sorted"),
        ({"keys": []}, KeyValueError, "no keys"),
        ({"keys": [1, 2], "engine": "compiled"}, SettingError, "compiled"),
        ({"size": 3}, UnknownNameError, "argument"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        gym.make("sysgym/IndexTune-v0", disable_env_checker=True, **arguments)
