"""The graph convention through the agents: packed rows, message passing, learning, playing without torch."""

import dataclasses
import json
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces.utils import flatdim, flatten

import sysgym.agents as agents
from sysgym.agents.acting.architecture import choose_architecture, weight_shapes
from sysgym.agents.acting.inference import PolicyFunction
from sysgym.agents.acting.parts import pack, parts_of
from sysgym.agents.acting.spaces import Spaces
from sysgym.agents.networks import build_network
from sysgym.agents.stepping.environments import make_environments
from sysgym.core.errors import CheckpointError, SettingError
from sysgym.core.packing import graph_spec, packed, packed_spec, unpacked
from sysgym.core.protocols import ArraySpec
from sysgym.envs.base import observation_space
from tests.agents import toy_graph
from tests.agents.test_training import mean_return

toy_graph.register()


def spaces_of(asks="node"):
    env = gym.make("toy/Graph-v0", asks=asks)
    return Spaces.of(env.observation_space, env.action_space)


def rows_of(asks="node", count=7):
    envs = gym.make_vec("toy/Graph-v0", num_envs=count, vectorization_mode="vector_entry_point", asks=asks)
    envs.reset(seed=3)
    return envs.unwrapped.slot.observations.copy()


def test_a_packed_row_is_what_gymnasium_flattens():
    spec = graph_spec(4, 3, 5, 2)
    space = observation_space(spec)
    sample = space.sample()
    row = packed(spec, sample)
    assert np.array_equal(row, flatten(space, sample)) and row.shape == packed_spec(spec).shape == (flatdim(space),)
    rows = np.stack([row, row + 1])
    views = unpacked(spec, rows)
    for name, part in sample.items():
        assert np.array_equal(views[name][0], part) and np.shares_memory(views[name], rows)
    with pytest.raises(SettingError, match="part 'a' of an observation is int64"):
        packed_spec({"a": ArraySpec((2,), np.int64, 0, 1)})


def test_other_dicts_are_flattened_as_gymnasium_does():
    space = toy_graph.MixedEnv.observation_space
    parts, samples = parts_of(space), [space.sample() for _ in range(5)]
    for sample in samples:
        assert np.array_equal(pack(parts, sample), flatten(space, sample).astype(np.float32))
    batch = {
        "level": np.stack([sample["level"] for sample in samples]),
        "kinds": np.stack([sample["kinds"] for sample in samples]),
        "state": tuple(np.stack([sample["state"][k] for sample in samples]) for k in range(2)),
    }
    assert np.array_equal(pack(parts, batch, 1), np.stack([pack(parts, sample) for sample in samples]))
    with pytest.raises(SettingError, match="level, state/0, state/1, kinds"):
        pack(parts, {"level": np.zeros(2)})


def test_spaces_pass_through_json_and_know_the_graph():
    spaces = spaces_of()
    assert Spaces.from_dict(json.loads(json.dumps(dataclasses.asdict(spaces)))) == spaces
    assert spaces.graph[:4] == (6, 2, 5, 1)
    mixed = gym.make("toy/Mixed-v0")
    assert Spaces.of(mixed.observation_space, mixed.action_space).graph is None


@pytest.mark.parametrize(
    ("asks", "kind", "chosen"),
    [
        ("node", None, "pointer"),
        ("choice", None, "pointer"),
        ("rated", None, "pointer"),
        ("fixed", None, "graph"),
        ("fixed", "leading", "leading"),
    ],
)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_numpy_gives_the_logits_of_torch(asks, kind, chosen, activation):
    spaces = spaces_of(asks)
    architecture = choose_architecture(spaces, kind, (8, 5, 7), activation)
    assert architecture.kind == chosen
    network = build_network(spaces, architecture, seed=1)
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    for array in weights.values():  # no zero bias, no small last layer
        array[...] += np.random.default_rng(array.size).normal(size=array.shape).astype(np.float32) * 0.3
    assert {name: array.shape for name, array in weights.items()} == weight_shapes(spaces, architecture)
    rows = rows_of(asks)
    expected = network.policy_logits(torch.from_numpy(rows)).detach().numpy()
    assert expected.shape == (7, spaces.num_actions)
    assert np.allclose(PolicyFunction(spaces, architecture, weights)(rows), expected, atol=1e-5)
    assert network.values(torch.from_numpy(rows)).shape == (7,)


def test_logits_do_not_depend_on_neighbours_in_the_batch_nor_on_the_order_of_nodes():
    spaces = spaces_of()
    network = build_network(spaces, choose_architecture(spaces, hidden=(8, 8, 8)), seed=2)
    rows = torch.from_numpy(rows_of())
    together = network.policy_logits(rows)
    assert torch.allclose(torch.cat([network.policy_logits(row[None]) for row in rows]), together, atol=1e-6)
    order = np.random.default_rng(0).permutation(toy_graph.NODES)
    place = np.argsort(order)
    spec = graph_spec(toy_graph.NODES, 2, toy_graph.EDGES, 1)
    shuffled = []
    for row in rows.numpy():
        parts = {name: part.copy() for name, part in unpacked(spec, row).items()}
        parts["nodes"], parts["node_mask"] = parts["nodes"][order], parts["node_mask"][order]
        parts["edges"] = place[parts["edges"].astype(int)].astype(np.float32) * parts["edge_mask"][:, None]
        shuffled.append(packed(spec, parts))
    again = network.policy_logits(torch.from_numpy(np.stack(shuffled)))
    assert torch.allclose(again, together[:, order], atol=1e-6)


def test_a_graph_without_edges_has_logits():
    spaces = spaces_of()
    network = build_network(spaces, choose_architecture(spaces), seed=0)
    parts = {name: np.zeros(part.shape, np.float32) for name, part in graph_spec(6, 2, 5, 1).items()}
    parts["node_mask"][0] = 1.0
    row = packed(graph_spec(6, 2, 5, 1), parts)[None]
    assert torch.isfinite(network.policy_logits(torch.from_numpy(row))).all()


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        ("ppo", {"frames": 12_288, "rollout_steps": 32, "minibatches": 4, "learning_rate": 5e-3}),
        ("a2c", {"frames": 24_000, "rollout_steps": 8, "learning_rate": 5e-3}),
        ("vtrace", {"frames": 16_000, "rollout_steps": 16, "learning_rate": 5e-3}),
        ("reinforce", {"frames": 40_000, "num_envs": 64}),
        ("evolution", {"frames": 20_000, "num_envs": 64, "hidden": (8, 8)}),
    ],
)
def test_every_algorithm_learns_on_graphs(algorithm, settings):
    """Pointing at random earns 2 of 8; the right node is known by its neighbours alone."""
    settings = {"num_envs": 16, "hidden": (16, 16), "discount": 0.0} | settings
    policy = agents.train("toy/Graph-v0", algorithm, **settings)
    assert policy.architecture.kind == "pointer"
    assert mean_return(policy, "toy/Graph-v0") > (5.0 if algorithm == "evolution" else 6.4)


def test_the_whole_graph_can_be_asked_and_nodes_can_have_choices():
    small = {"frames": 12_288, "num_envs": 16, "rollout_steps": 32, "minibatches": 4, "hidden": (16, 16)}
    for asks, best in (("fixed", 5.5), ("choice", 7.0)):
        policy = agents.train("toy/Graph-v0", learning_rate=5e-3, environment={"asks": asks}, discount=0.0, **small)
        assert mean_return(policy, "toy/Graph-v0", asks=asks) > best


def test_environments_of_others_are_packed_alike():
    seen = []
    for name in ("Graph", "CopiedGraph"):
        environments = make_environments(f"toy/{name}-v0", 3, {})
        rows = np.zeros((3, *environments.spaces.shape), np.float32)
        environments.reset(np.array([4, 5, 6]), rows, np.zeros((3, toy_graph.NODES), np.int8))
        seen.append(rows)
    assert np.array_equal(*seen) and seen[0].any()
    policy = agents.train("toy/Mixed-v0", frames=8_192, num_envs=8, rollout_steps=32, learning_rate=5e-3, discount=0.0)
    assert policy.architecture.kind == "flat" and mean_return(policy, "toy/Mixed-v0") > 7.0


def test_a_graph_policy_is_stored_and_played_without_torch(tmp_path):
    path = tmp_path / "graph.safetensors"
    policy = agents.train("toy/Graph-v0", frames=256, num_envs=4, rollout_steps=16, output=path)
    env = gym.make("toy/Graph-v0")
    observation, info = env.reset(seed=0)
    assert agents.load(path).act(observation, info["action_mask"]) == policy.act(observation, info["action_mask"])
    with pytest.raises(CheckpointError, match="graphs of 6 nodes"):
        policy.check(gym.spaces.Box(0, 1, (3,)), env.action_space)
    with pytest.raises(SettingError, match="has not the parts"):
        policy.act({"nodes": observation["nodes"]})
    script = (
        "import sys, numpy as np; from sysgym.agents.policy import load; "
        f"p = load({str(path)!r}); p.act(np.zeros(p.spaces.shape, np.float32) + 1); print('torch' in sys.modules)"
    )
    played = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert played.stdout == "False\n"


def test_networks_that_do_not_fit_a_graph_are_refused():
    spaces = spaces_of()
    with pytest.raises(SettingError, match="graph convention"):
        choose_architecture(Spaces((3,), "float32", 0, 4), "pointer")
    with pytest.raises(SettingError, match="an action for each node"):
        choose_architecture(spaces_of("fixed"), "pointer")
    with pytest.raises(SettingError, match="a node for each action"):
        choose_architecture(spaces_of("choice"), "leading")
    with pytest.raises(SettingError, match="normalize_observations"):
        choose_architecture(spaces, normalize=True)
    assert choose_architecture(spaces, "flat").kind == "flat"
