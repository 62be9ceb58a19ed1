"""Placement-v0's decision process: engines, rewards, masks, observations, sources."""

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sysgym  # noqa: F401  registers the ids
from sysgym.core.engines import allocate_slot
from sysgym.core.errors import GraphError, InfeasibleError, InputFileError, SettingError, UnknownNameError
from sysgym.placement import PLACETO, Cluster, build_graph, evaluate, generate
from sysgym.placement.coarsening import coarse_groups
from sysgym.placement.contraction import contract
from sysgym.placement.decisions import PlacementConfig, allowed_devices
from sysgym.placement.engine import build_engine
from sysgym.placement.instances import GeneratedGraphs, GivenGraphs, MixedGraphs, make_instance, source_of
from tests.placement.examples import example_a, example_b, two_devices

ENV = "sysgym/Placement-v0"


def play(env, devices, seed=0):
    """Play the devices in turn; rewards, and the info of the last step."""
    env.reset(seed=seed)
    rewards = []
    for device in devices:
        _, reward, terminated, _, info = env.step(device)
        rewards.append(reward)
    assert terminated
    return rewards, info


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    objective=st.sampled_from(["max_load", "latency", "makespan"]),
    initial=st.sampled_from([None, "random", "round_robin"]),
    reward=st.sampled_from(["decrease", "relative", "log_decrease", "terminal", "log_ratio"]),
    passes=st.integers(1, 2),
    tight=st.booleans(),
)
def test_the_engines_are_equal_whatever_is_played(seed, objective, initial, reward, passes, tight):
    """Observations, masks, rewards, state and log, bit for bit; masked actions and memory that is short included."""
    source = GeneratedGraphs("train", groups=12)
    if tight:
        graph = generate("cnn", 4, seed)
        source = GivenGraphs([make_instance(graph, Cluster.uniform(3, "gpu", 2.5 * graph.persistent_bytes.max()), 12)])
    config = PlacementConfig(objective, initial, passes, reward)
    engines = [build_engine(source, config, 2, engine, operations=10) for engine in ("simpy", "compiled")]
    slots = [allocate_slot(engine.observation_spec, 2, 8) for engine in engines]
    rows, active = np.arange(2), np.ones(2, dtype=bool)
    for engine, slot in zip(engines, slots, strict=True):
        engine.reset(rows, np.array([seed, seed + 1], dtype=np.uint64), np.zeros(2, dtype=np.int64))
        engine.observe(active, slot)
    choose = np.random.default_rng(seed)
    while active.any():
        assert slots[0].observations.tobytes() == slots[1].observations.tobytes()
        assert slots[0].action_masks.tobytes() == slots[1].action_masks.tobytes()
        assert slots[0].action_masks.any(axis=1).all() and np.isfinite(slots[0].observations).all()
        actions = choose.integers(0, 8, 2)
        for engine, slot in zip(engines, slots, strict=True):
            engine.step(actions, active, slot)
        assert slots[0].rewards.tobytes() == slots[1].rewards.tobytes() and np.isfinite(slots[0].rewards).all()
        for row in rows:
            for mine, theirs in zip(*(engine.state(row) for engine in engines), strict=True):
                assert mine is theirs or np.array_equal(mine, theirs)
        active &= ~slots[0].terminated
    for row in rows:
        assert engines[0].events(row).sha256() == engines[1].events(row).sha256()
        assert engines[0].metrics(row) == engines[1].metrics(row)


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_worked_examples(engine):
    """Example A: largest load 60 for (0, 0, 1, 1, 1); Placeto's makespan 86.4 for (0, 0, 1, 0, 0)."""
    graph, cluster = example_a(), two_devices()
    arguments = {"graph": graph, "cluster": cluster, "engine": engine}
    rewards, info = play(gym.make(ENV, **arguments), [0, 0, 1, 1, 1])
    assert info["metrics"]["objective"] == pytest.approx(60) and sum(rewards) == pytest.approx(-60)
    makespan = gym.make(ENV, objective="makespan", rules=PLACETO, **arguments)
    rewards, info = play(makespan, [0, 0, 1, 0, 0])
    assert info["metrics"]["objective"] == pytest.approx(86.4)
    assert sum(rewards) == pytest.approx(103.5 - 86.4)  # all on one device takes 103.5: an improvement is paid for


def test_every_operation_is_placed_and_the_sign_is_right():
    """Example B: all on one device takes 12; the best placement is worth 5.5 less, and every reward is a decrease."""
    graph, cluster = example_b(), Cluster.uniform(2)
    env = gym.make(ENV, graph=graph, cluster=cluster, initial="one_device").unwrapped
    rewards, info = play(env, [0, 1, 1, 0])
    assert info["metrics"] == {
        "objective": 6.5, "over_share": 6.5 / 6.0, "feasible": 1.0, "excess_bytes": 0.0, "devices_used": 2.0,
        "decisions": 8.0,
    }  # fmt: skip
    assert rewards == pytest.approx([0, 12 - 8.5, 8.5 - 6.5, 0]) and len(env.events) == 4 + 4


@pytest.mark.parametrize("reward", ["terminal", "log_ratio", "relative", "log_decrease"])
def test_the_other_rewards(reward):
    graph, cluster = example_b(), Cluster.uniform(2)
    env = gym.make(ENV, graph=graph, cluster=cluster, initial="one_device", reward=reward)
    rewards, _ = play(env, [0, 1, 1, 0])
    total = {
        "terminal": 5.5, "relative": 5.5 / 6.0, "log_ratio": np.log(6 / 6.5), "log_decrease": np.log(18 / 12.5),
    }[reward]  # fmt: skip
    assert sum(rewards) == pytest.approx(total)
    if reward in ("terminal", "log_ratio"):
        assert rewards[:-1] == [0, 0, 0]


@pytest.mark.parametrize("seed", range(4))
def test_what_a_device_node_foretells_comes_true(seed):
    """Features 4 and 5 of an allowed device: its load and the largest load behind the step; 3: the load without."""
    env = gym.make(ENV, passes=2, split="test").unwrapped
    choose = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    ended = False
    while not ended:
        before, allowed = env.state, np.flatnonzero(info["action_mask"])
        device = int(choose.choice(allowed))
        foretold = observation["nodes"][device]
        observation, _, ended, _, info = env.step(device)
        loads = (env.state.compute + env.state.moved) / env.state.share
        for feature, value in ((4, loads[device]), (5, loads.max())):
            assert foretold[feature] == pytest.approx(min(value, 4.0), rel=1e-4, abs=1e-5)
        without = np.array(before.device)
        without[before.group] = -1
        from sysgym.placement.decisions import loads_of

        rest = loads_of(env.engine._instances[0], without)
        expected = (rest.compute[device] + rest.moved[device]) / before.share
        assert foretold[3] == pytest.approx(min(expected, 4.0), rel=1e-4, abs=1e-5)


def test_the_graph_shows_devices_groups_and_edges():
    graph, cluster = example_b(), Cluster.uniform(2)
    env = gym.make(ENV, graph=graph, cluster=cluster, groups=8)
    observation, _ = env.reset(seed=0)
    observation, *_ = env.step(1)
    nodes, edges = observation["nodes"], observation["edges"][observation["edge_mask"] > 0].astype(int).tolist()
    assert observation["node_mask"].tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0]
    assert nodes[8:12, 1].tolist() == [0, 1, 0, 0] and nodes[8:12, 2].tolist() == [1, 0, 0, 0]
    assert sorted(edges) == sorted([[8, 9], [9, 10], [10, 11], [8, 1], [9, 0], [9, 1]])
    assert nodes[:2, 10].tolist() == pytest.approx([0, 0.5]) and nodes[1, 11] == 1


def test_a_window_shows_large_graphs():
    env = gym.make(ENV, graph=generate("chain", 40), cluster="2xA100", operations=8)
    observation, _ = env.reset(seed=0)
    for place in range(39):
        shown = observation["node_mask"][8:].sum()
        assert shown == 8 and observation["nodes"][8:, 1].sum() == 1, place
        observation, *_ = env.step(place % 2)


def test_memory_that_is_short_leaves_one_device_and_marks_the_episode():
    graph = build_graph({"gpu": [1.0, 1.0, 1.0]}, [(0, 1), (1, 2)], persistent_bytes=[6.0, 6.0, 6.0])
    cluster = Cluster.uniform(2, "gpu", 10.0)
    with pytest.raises(InfeasibleError, match="holds 18 bytes"):
        make_instance(build_graph({"gpu": [1.0]}, [], persistent_bytes=[18.0]), cluster)
    graph = build_graph({"gpu": [1.0] * 3}, [(0, 1)], persistent_bytes=[6.0, 6.0, 5.0])
    env = gym.make(ENV, graph=graph, cluster=cluster)
    _, info = env.reset(seed=0)
    masks = [info["action_mask"].tolist()[:3]]
    for device in (0, 1, 1):  # the order is 0, 2, 1: what has no producers comes first
        _, reward, _, _, info = env.step(device)
        masks.append(info["action_mask"].tolist()[:3])
    assert masks[:3] == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]
    assert info["metrics"]["feasible"] == 0 and info["metrics"]["excess_bytes"] == 1.0
    assert reward == pytest.approx(-(2.0 - 1.0) - 1.5 * 0.1)  # the load rises by 1, 1 of 10 bytes is too many


def test_devices_that_do_not_support_a_group_are_masked():
    instance = make_instance(
        build_graph({"gpu": [1.0, np.inf], "cpu": [np.inf, 2.0]}, [(0, 1)]), Cluster.uniform(1, cpus=1)
    )
    assert [allowed_devices(instance, group, np.zeros(2)).tolist() for group in (0, 1)] == [
        [True, False],
        [False, True],
    ]


@settings(max_examples=25, deadline=None)
@given(
    shape=st.sampled_from(["chain", "branches", "transformer", "cnn", "rnn"]),
    seed=st.integers(0, 1000),
    limit=st.integers(1, 40),
    training=st.booleans(),
)
def test_coarsening_keeps_to_its_limit_and_scores_the_same(shape, seed, limit, training):
    graph, cluster = generate(shape, 6, seed, training=training), Cluster.uniform(3, cpus=1)
    groups = coarse_groups(graph, cluster, limit)
    assert sorted(set(groups.tolist())) == list(range(groups.max() + 1)) and groups.max() < limit
    for colour in range(graph.colour.max() + 1):
        assert len(set(groups[graph.colour == colour].tolist())) == 1
    instance = make_instance(graph, cluster, limit)
    device = np.random.default_rng(seed).integers(0, 4, len(instance.order))
    env = gym.make(ENV, graph=graph, cluster=cluster, groups=limit, operations=40)
    _, info = play(env, device[instance.order])
    spread = instance.spread(device)
    assert info["metrics"]["objective"] == evaluate(graph, cluster, spread).objective
    assert (instance.gathered(spread) == device).all()
    assert sorted(instance.order.tolist()) == list(range(len(device)))
    if limit >= graph.colour.max() + 1:
        assert len(contract(graph, cluster).size) == len(instance.order)


def test_an_episode_can_begin_with_a_users_placement():
    graph, cluster = example_b(), Cluster.uniform(2)
    env = gym.make(ENV, graph=graph, cluster=cluster).unwrapped
    env.reset(seed=0, options={"assignment": [0, 1, 1, 0]})
    assert env.state.objective == 6.5 and env.state.device.tolist() == [0, 1, 1, 0]
    with pytest.raises(SettingError, match="needs one device for each of 4 nodes"):
        env.reset(options={"assignment": [0, 1]})
    with pytest.raises(UnknownNameError, match="assignment"):
        env.reset(options={"asignment": [0, 1]})


def test_generated_graphs_repeat_and_splits_share_nothing():
    drawn = {split: GeneratedGraphs(split).draw(3, 1) for split in ("train", "valid", "test")}
    costs = {split: instance.contraction.cost.tobytes() for split, instance in drawn.items()}
    assert len(set(costs.values())) == 3
    assert GeneratedGraphs("train").draw(3, 1).contraction.cost.tobytes() == costs["train"]
    sizes = [GeneratedGraphs("train").draw(seed, 0) for seed in range(40)]
    assert {len(instance.cluster.of_kind("gpu")) for instance in sizes} == {2, 3, 4, 5, 6}
    assert max(len(instance.order) for instance in sizes) == 64 and min(len(i.order) for i in sizes) < 20


def test_sources_of_a_users_graphs(tmp_path):
    graph, cluster = example_b(), Cluster.uniform(2)
    mixed = source_of(["generated", graph], cluster, "train", 64)
    assert isinstance(mixed, MixedGraphs) and mixed.draw(0, 0).graph is graph and mixed.draw(1, 0).graph is not graph
    assert mixed.draw(1, 0).cluster is cluster
    drawn = source_of([graph], None, "train", 64)
    assert {len(drawn.draw(seed, 0).cluster) for seed in range(40)} >= {2, 3, 4, 5, 6}
    with pytest.raises(InputFileError, match="holds no graph"):
        source_of(tmp_path, None, "train", 64)
    with pytest.raises(SettingError, match="at most 8"):
        source_of([graph], "9xA100", "train", 64)
    with pytest.raises(SettingError, match="both graph and workload"):
        gym.make(ENV, graph=graph, workload=[graph])
    with pytest.raises(GraphError, match="give a cluster"):
        source_of([build_graph({"cpu": [1.0]}, [])], None, "train", 64)


def test_rewards_and_encoders_of_ones_own_are_served_by_simpy():
    class Loads:
        """Sees the loads alone."""

        from sysgym.core.protocols import ArraySpec

        num_actions, spec = 8, ArraySpec((8,), np.float32, 0.0, 1e9)

        def write(self, instance, device, time, length, loads, mask, row):
            row[:] = 0
            row[: len(loads.compute)] = loads.compute

    graph, cluster = example_b(), Cluster.uniform(2)
    arguments = {"graph": graph, "cluster": cluster}
    env = gym.make(ENV, reward=lambda before, action, after: float(after.time - before.time), **arguments)
    assert play(env, [0, 1, 1, 0])[0] == [1.0] * 4
    env = gym.make(ENV, observation=Loads(), **arguments)
    env.reset(seed=0)
    assert env.step(1)[0].tolist() == [0, 3, 0, 0, 0, 0, 0, 0]
    with pytest.raises(SettingError, match="compiled"):
        gym.make(ENV, observation=Loads(), engine="compiled", **arguments)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"objective": "speed"}, "objective"),
        ({"initial": "there"}, "initial placement"),
        ({"initial": "nowhere", "objective": "latency"}, "one_device"),
        ({"reward": "money"}, "reward"),
        ({"passes": 0}, "passes"),
        ({"groups": 0}, "groups"),
        ({"operations": 4}, "operations"),
        ({"observation": "picture"}, "observation"),
        ({"observation": 3}, "observation is 3"),
        ({"engine": "fast"}, "engine"),
        ({"split": "sealed"}, "split"),
        ({"cluster": "4xAbacus"}, "Abacus"),
        ({"workload": "no/such.json"}, "such.json"),
    ],
)
def test_mistakes_are_named(arguments, match):
    from sysgym.core.errors import SysgymError

    with pytest.raises(SysgymError, match=match):
        gym.make(ENV, disable_env_checker=True, **arguments)


def test_an_agent_learns_to_place(tmp_path):
    """A small network for a few seconds beats the random policy by far; the run resumes."""
    from sysgym.agents import train

    path, env = tmp_path / "policy.safetensors", {"groups": 10, "operations": 10, "reward": "log_decrease"}
    settings = {"num_envs": 16, "rollout_steps": 32, "hidden": (16, 16), "learning_rate": 5e-3, "minibatches": 4}
    train(ENV, frames=1_024, environment=env, output=path, **settings)
    policy = train(ENV, frames=6_144, environment=env, output=path, resume=True)
    assert policy.architecture.kind == "leading"
    scores = {}
    for name in ("random", "policy"):
        envs = gym.make(ENV, split="test", **env).unwrapped
        player, found = envs.heuristics["random"](), []
        for seed in range(20):
            observation, info = envs.reset(seed=seed)
            ended = False
            while not ended:
                action = policy.act(observation, info["action_mask"]) if name == "policy" else None
                action = player.act_on_state(envs.state) if action is None else action
                observation, _, ended, _, info = envs.step(action)
            found.append(np.log(info["metrics"]["over_share"]))
        scores[name] = np.mean(found)
    assert scores["policy"] < 0.5 * scores["random"]
