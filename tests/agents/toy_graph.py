"""A tiny graph environment whose best return is known and that nobody can play without passing messages.

A star of 3 to 6 nodes: the marked node points at one other, and all the rest point at it. With `asks="node"` the action
is the node that it points at (N actions, absent nodes masked); with `asks="fixed"` one of three actions that say how
many nodes point at the marked one, 1, 2 or more; with `asks="choice"` the action is 2 v + 1 for the right node v, and
2 v is worth half as much, and one more action is worth nothing; `asks="rated"` is the same, and each action has
features of its own, its number among them. A step shows a new graph; the right action pays 1.
"""

import gymnasium as gym
import numpy as np

from sysgym.core.packing import graph_spec, unpacked
from sysgym.core.seeding import stream
from sysgym.envs.base import EngineEnv, EngineVectorEnv

NODES, EDGES, LENGTH = 6, 5, 8
ACTIONS = {"node": NODES, "fixed": 3, "choice": 2 * NODES + 1, "rated": 2 * NODES + 1}


class GraphEngine:
    def __init__(self, num_episodes, asks="node"):
        self.num_episodes, self.asks, self.num_actions = num_episodes, asks, ACTIONS[asks]
        choices = (self.num_actions, 2) if asks == "rated" else None
        self.observation_spec = graph_spec(NODES, 2, EDGES, 1, 0.0, 1.0, choices)
        self.key = np.zeros((num_episodes, 2), dtype=np.int64)
        self.time = np.zeros(num_episodes, dtype=np.int64)

    def graph(self, row):
        """Nodes, marked node, node that it points at."""
        generator = stream(int(self.key[row, 0]), "graph", int(self.key[row, 1]), int(self.time[row]))
        nodes = int(generator.integers(3, NODES + 1))
        marked, right = generator.permutation(nodes)[:2].tolist()
        return nodes, marked, right

    def reset(self, rows, seeds, episodes, options=None):
        self.key[rows, 0], self.key[rows, 1], self.time[rows] = seeds, episodes, 0

    def step(self, actions, active, slot):
        for row in np.flatnonzero(active):
            nodes, _, right = self.graph(row)
            action = int(actions[row])
            if self.asks == "node":
                slot.rewards[row] = action == right
            elif self.asks == "fixed":
                slot.rewards[row] = action == min(nodes - 3, 2)
            else:
                slot.rewards[row] = (action // 2 == right) * (0.5 + 0.5 * (action % 2))
            self.time[row] += 1
            slot.terminated[row], slot.truncated[row] = self.time[row] >= LENGTH, False
        self.observe(active, slot)

    def observe(self, rows, slot):
        for row in np.flatnonzero(rows):
            nodes, marked, right = self.graph(row)
            slot.observations[row] = 0.0
            parts = unpacked(self.observation_spec, slot.observations[row])
            parts["node_mask"][:nodes], parts["nodes"][:nodes, 0], parts["nodes"][marked, 1] = 1.0, 1.0, 1.0
            edges = [(marked, right)] + [(v, marked) for v in range(nodes) if v not in (marked, right)]
            parts["edges"][: len(edges)], parts["edge_mask"][: len(edges)] = edges, 1.0
            parts["globals"][0] = self.time[row] / LENGTH
            per_node = {"node": 1, "choice": 2, "rated": 2, "fixed": 0}[self.asks]
            if self.asks == "rated":
                parts["choices"][: 2 * nodes, 0] = np.arange(2 * nodes) / 2 / NODES
                parts["choices"][: 2 * nodes, 1] = np.arange(2 * nodes) % 2
            slot.action_masks[row] = 1
            slot.action_masks[row, nodes * per_node : NODES * per_node] = 0

    def metrics(self, row):
        return {"length": float(LENGTH)}

    def snapshot(self):
        return {"key": self.key.copy(), "time": self.time.copy()}

    def restore(self, snapshot):
        self.key[:], self.time[:] = snapshot["key"], snapshot["time"]


class GraphEnv(EngineEnv):
    def __init__(self, render_mode=None, **arguments):
        super().__init__(GraphEngine(1, **arguments), render_mode)


class GraphVectorEnv(EngineVectorEnv):
    def __init__(self, num_envs=1, **arguments):
        super().__init__(GraphEngine(num_envs, **arguments))


class MixedEnv(gym.Env):
    """A Dict that is no graph; the right action is the category in the middle of it."""

    observation_space = gym.spaces.Dict(
        level=gym.spaces.Box(-1, 1, (2,), np.float32),
        state=gym.spaces.Tuple((gym.spaces.Discrete(3), gym.spaces.MultiBinary(2))),
        kinds=gym.spaces.MultiDiscrete([2, 4]),
    )
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.seen, self.count = self.observation_space.sample(), 0
        return self.seen, {}

    def step(self, action):
        reward = float(action == self.seen["state"][0])
        self.seen, self.count = self.observation_space.sample(), self.count + 1
        return self.seen, reward, self.count == LENGTH, False, {}


def register():
    for name in ("toy/Graph-v0", "toy/CopiedGraph-v0", "toy/Mixed-v0"):
        gym.registry.pop(name, None)
    gym.register("toy/Graph-v0", entry_point=GraphEnv, vector_entry_point=GraphVectorEnv)
    gym.register("toy/CopiedGraph-v0", entry_point=GraphEnv)
    gym.register("toy/Mixed-v0", entry_point=MixedEnv)
