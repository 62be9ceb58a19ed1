"""Episodes of rewriting: both engines step by step, values kept, limits and rewards, mistakes refused."""

import gymnasium as gym
import numpy as np
import pytest

import sysgym  # noqa: F401  registers the ids
from sysgym.core.engines import allocate_slot
from sysgym.core.errors import InputFileError, SettingError, UnknownNameError
from sysgym.core.events import EventKind
from sysgym.exprsimp import ExpressionError, evaluate, parse, to_text
from sysgym.exprsimp.episode import EpisodeConfig
from sysgym.exprsimp.evaluation import draw_points
from sysgym.exprsimp.generator import generate, split_of
from sysgym.exprsimp.model import Expression
from sysgym.exprsimp.rules.table import make_rule, published_rules

ENV = "sysgym/ExprSimplify-v0"
OWN = [
    "min(v0, v1) * 3 + v2 < v1 - v0 / 2",
    "(v0 * v1 + v2) * 4 - max(v1, v3) * 4",
    "select(v0 < v1, v0 * v2, v1) <= min(v2, v3) + 1",
]


def make(**arguments):
    return gym.make(ENV, disable_env_checker=True, **arguments).unwrapped


@pytest.mark.parametrize(
    "arguments",
    [
        {}, {"normalise": False, "max_steps": 12}, {"reward": "size", "max_nodes": 40, "expressions": OWN},
        {"reward": "delta_length", "distribution": "halide"}, {"reward": "delta_size", "distribution": "fuzz"},
        {"reward": "time", "time_limit": 0.002}, {"reward": "time", "time_limit": 0.0004, "max_steps": 4},
    ],
    ids=str,
)  # fmt: skip
def test_the_engines_agree_bit_for_bit(arguments):
    """Random episodes, a few actions that are not allowed among them."""
    choose = np.random.default_rng(5)
    arguments = {"count": 60, **arguments}
    envs = [make(engine=engine, **arguments) for engine in ("simpy", "compiled")]
    rewrites = 0
    for seed in range(8):
        (first, info), (second, beside) = (env.reset(seed=seed) for env in envs)
        assert np.array_equal(first, second) and np.array_equal(info["action_mask"], beside["action_mask"])
        ended = False
        while not ended:
            states = [env.state for env in envs]
            for mine, theirs in zip(*states, strict=True):
                assert np.array_equal(mine, theirs)
            allowed = np.append(states[0].actions, states[0].stop) if choose.random() < 0.2 else states[0].actions
            illegal = choose.random() < 0.1 or not len(allowed)
            action = int(choose.integers(states[0].stop)) if illegal else int(choose.choice(allowed))
            (first, reward, *ends, info), (second, other, *others, beside) = (env.step(action) for env in envs)
            assert np.array_equal(first, second) and reward == other and ends == others
            assert np.array_equal(info["action_mask"], beside["action_mask"]) and info["action_mask"][-1] == 1
            ended = any(ends)
        assert info["metrics"] == beside["metrics"] and envs[0].events.sha256() == envs[1].events.sha256()
        rewrites += len(envs[0].state.trace)
    assert rewrites >= 5


def test_every_expression_of_an_episode_has_the_inputs_values():
    generator = np.random.default_rng(1)
    env = make(distribution="fuzz", count=40, normalise=False)
    points = draw_points(generator, 200, 13)
    for seed in range(12):
        text = to_text(env.engine.pool.expressions[env.engine.pool.row(seed, 0)])
        expected = evaluate(parse(text), points)
        _, info = env.reset(seed=seed)
        ended = False
        while not ended:
            action = int(generator.choice(np.flatnonzero(info["action_mask"])))
            _, _, terminated, truncated, info = env.step(action)
            ended = terminated or truncated
            for table in (env.state.nodes, env.state.best):
                assert np.array_equal(evaluate(Expression(table), points), expected)


def test_the_arena_may_run_full_at_any_time():
    """Emptying it between any two steps changes nothing that is seen."""
    envs, others = (gym.make_vec(ENV, num_envs=4, count=50).unwrapped for _ in range(2))
    _, info = envs.reset(seed=3)
    others.reset(seed=3)
    choose = np.random.default_rng(0)
    for _ in range(60):
        others.engine._renew()
        actions = np.array([choose.choice(np.flatnonzero(mask)) for mask in info["action_mask"]])
        mine, theirs = envs.step(actions), others.step(actions)
        info = mine[4]
        for part, other in zip(mine[:4], theirs[:4], strict=True):
            assert np.array_equal(part, other)
        assert np.array_equal(info["action_mask"], theirs[4]["action_mask"])
    small = gym.make_vec(ENV, num_envs=16, count=50).unwrapped
    renewed = []
    renew = small.engine._renew
    small.engine._renew = lambda: (renewed.append(1), renew())
    _, info = small.reset(seed=3)
    for _ in range(600):
        actions = np.array(
            [choose.choice(np.flatnonzero(mask)[: max(1, mask.sum() - 1)]) for mask in small.action_masks()]
        )
        small.step(actions)
    assert renewed


def test_masks_in_any_slot_are_those_of_the_states():
    envs = gym.make_vec(ENV, num_envs=3, count=50).unwrapped
    envs.reset(seed=0)
    engine = envs.engine
    slots = [envs.slot, *(allocate_slot(engine.observation_spec, 3, engine.num_actions) for _ in range(2))]
    for slot in slots[1:]:
        slot.action_masks[:] = 7
    masks, choose = envs.action_masks(), np.random.default_rng(2)
    for _ in range(80):
        actions = np.array([choose.choice(np.flatnonzero(mask)) for mask in masks])
        slot = slots[int(choose.integers(3))]
        envs.step_into(actions, slot)
        masks = slot.action_masks.copy()
        for row in range(3):
            state = engine.state(row)
            assert np.flatnonzero(masks[row]).tolist() == [*state.actions.tolist(), state.stop]


def test_an_episode_begins_with_the_normal_form_of_what_is_given():
    env = make()
    _, info = env.reset(options={"expression": "(min(v0, v1) + 0) * 1 < v0 / 2 + v2"})
    assert (env.state.input_size, env.state.input_length) == (13, 43)
    assert to_text(Expression(env.state.nodes)) == "(min(v0, v1) < ((v0 / 2) + v2))"
    start = 1 - 31 / 43
    assert env.metrics()["start_length_share"] == start == env.metrics()["length_share"]
    assert info["action_mask"].sum() == len(env.state.actions) + 1 > 2
    raw = make(normalise=False)
    raw.reset(options={"expression": "(min(v0, v1) + 0) * 1 < v0 / 2 + v2"})
    assert raw.state.length == 43


def test_what_was_met_is_not_met_again():
    env = make(rules=[make_rule("x + y -> y + x")], expressions=["v0 + v1"])
    env.reset(seed=0)
    assert env.state.actions.tolist() == [2]
    _, _, terminated, _, info = env.step(2)
    assert terminated and len(env.state.actions) == 0 and info["metrics"]["rewrites"] == 1
    assert env.events.of(EventKind.REWRITE).amount.tolist() == [3, 3]


def test_the_budget_of_modelled_time_binds():
    env = make(expressions=["v0 + v1"], rules=[make_rule("x + y -> y + x")], time_limit=50e-6, reward="time")
    env.reset(seed=0)
    _, reward, terminated, _, info = env.step(2)  # 5 us and a node's for each of 3, 20 us for each of 3 terms looked at
    assert terminated and info["metrics"]["rewrites"] == 0 and reward == -1.0 and env.state.seconds == 50e-6
    env = make(expressions=["v0 + v1"], rules=[make_rule("x + y -> y + x")], time_limit=136e-6, reward="time")
    env.reset(seed=0)
    _, reward, _, _, info = env.step(2)
    assert info["metrics"]["rewrites"] == 1 and reward == pytest.approx(-1.0)
    assert env.state.seconds == pytest.approx(5e-6 + 3e-6 + 60e-6)


def test_a_reward_of_ones_own_is_played_by_simpy():
    env = make(reward=lambda before, action, after: before.size - after.size + action * 0, expressions=OWN)
    env.reset(seed=0)
    size = env.state.size
    _, reward, *_ = env.step(int(env.state.actions[0]))
    assert reward == size - env.state.size


def test_limits_of_nodes_and_steps():
    env = make(max_nodes=30, max_steps=3, expressions=["(v0 + v1) * 7 + min(v2, v3) * 2"], split="all")
    env.reset(seed=0)
    for step in range(3):
        assert (env.state.sizes <= 30).all()
        *_, truncated, _ = env.step(int(env.state.actions[-1]))
        assert truncated == (step == 2)


def test_pools_split_by_shape_and_read_files(tmp_path):
    texts = [to_text(one) for one in generate(60, "neurewriter", 3)]
    path = tmp_path / "some.txt"
    path.write_text("\n".join(texts))
    seen = []
    for split in ("train", "valid", "test"):
        pool = make(expressions=path, split=split, max_nodes=200).engine.pool
        assert {split_of(one) for one in pool.expressions} == {split}
        seen += [to_text(one) for one in pool.expressions]
    assert sorted(seen) == sorted(texts)
    disjoint = make(expressions=texts, sampling="disjoint", max_nodes=200).engine.pool
    assert [disjoint.row(seed, 0) for seed in range(60)] == list(range(60)) and disjoint.row(3, 2) == 5


def test_mistakes_are_refused(tmp_path):
    with pytest.raises(SettingError, match="has 5 nodes, and the environment holds max_nodes=4"):
        make(expressions=["v0 + v1 + v2"], max_nodes=4)
    with pytest.raises(SettingError, match="no expression"):
        make(expressions=[])
    with pytest.raises(ExpressionError, match="caret"):
        make(expressions=["v0 +"])
    with pytest.raises(InputFileError, match="cannot be read"):
        make(expressions=tmp_path / "none.txt")
    for arguments in ({"split": "tset"}, {"sampling": "uniforn"}, {"distribution": "halde"}, {"reward": "lenght"}):
        with pytest.raises(UnknownNameError):
            make(**arguments)
    for arguments, word in (
        ({"reward": "time"}, "needs time_limit"), ({"reward": 3}, "give a name"), ({"max_nodes": 0}, "max_nodes is 0"),
        ({"time_limit": 0}, "time_limit is 0"), ({"rules": []}, "rules is"), ({"rules": 5}, "rules is"),
        ({"rules": [make_rule("x + 0 -> x")]}, "normalise=False"), ({"normalise": 1}, "normalise is 1"),
        ({"engine": "compiled", "reward": lambda *_: 0.0}, "cannot call"),
    ):  # fmt: skip
        with pytest.raises(SettingError, match=word):
            make(**arguments)
    env = make(expressions=OWN)
    for options, word in (
        ({"expression": 4}, "give a text"), ({"expression": "v0" + " + v1" * 90}, "the expression has 181 nodes"),
    ):  # fmt: skip
        with pytest.raises(SettingError, match=word):
            env.reset(options=options)
    with pytest.raises(UnknownNameError, match="unknown reset option"):
        env.reset(options={"start": 3})


def test_the_actions_are_the_rules_that_do_not_run_by_themselves():
    config = EpisodeConfig()
    assert {rule.direction for rule in config.actions} == {"flat", "up"} and len(config.actions) == 106
    assert len(config.actions) + len(config.normal) == len(published_rules())
    assert len(EpisodeConfig(normalise=False).actions) == len(published_rules())
