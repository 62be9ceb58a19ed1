"""A queue of jobs at one server, small enough to check by hand; registered as `Toy-v0` when imported."""

from types import SimpleNamespace
from typing import ClassVar

import gymnasium as gym
import numpy as np

from sysgym.core.engines import SimulatorEngine
from sysgym.core.events import EventKind, EventRecorder
from sysgym.core.protocols import ArraySpec
from sysgym.core.seeding import stream
from sysgym.envs.base import EngineEnv, EngineVectorEnv
from sysgym.envs.bounds import Bound
from sysgym.workloads.workload import Machine, Provenance, Repair, Workload

SLOTS = 3


class ToySimulator:
    """Jobs arrive over time; action i serves the i-th of the three oldest waiting jobs to its end."""

    num_actions = SLOTS
    observation_spec = ArraySpec((SLOTS,), np.float32, 0.0, 100.0)

    def __init__(self, split, sampling, jobs, windows):
        self.split, self.sampling, self.jobs, self.windows = split, sampling, jobs, windows

    def reset(self, seed, episode, options=None):
        number = (seed + episode) % self.windows if self.sampling == "disjoint" else seed * 1000 + episode
        draw = stream(number, f"workload/{self.split}")
        self.arrival = np.sort(draw.integers(0, 5 * self.jobs, self.jobs)).astype(float)
        self.size = draw.integers(1, 10, self.jobs).astype(float)
        self.log, self.waiting, self.next, self.time, self.waits = EventRecorder(), [], 0, 0.0, []
        self._admit()

    def _admit(self):
        if not self.waiting and self.next < self.jobs:
            self.time = max(self.time, self.arrival[self.next])
        while self.next < self.jobs and self.arrival[self.next] <= self.time:
            self.log.append(self.time, EventKind.SUBMIT, self.next, self.size[self.next])
            self.waiting.append(self.next)
            self.next += 1

    def step(self, action):
        job = self.waiting.pop(action if action < len(self.waiting) else 0)
        self.log.append(self.time, EventKind.START, job, 1)
        self.waits.append(self.time - self.arrival[job])
        self.time += self.size[job]
        self._admit()
        return -self.waits[-1], not self.waiting, False

    def observe(self, observation, action_mask):
        visible = self.waiting[:SLOTS]
        observation[:], action_mask[:] = 0.0, 0
        observation[: len(visible)] = self.size[visible]
        action_mask[: max(1, len(visible))] = 1

    def state(self):
        return SimpleNamespace(size=self.size[self.waiting[:SLOTS]], waiting=tuple(self.waiting))

    def events(self):
        return self.log.log()

    def metrics(self):
        starts = self.events().of(EventKind.START)
        wait = starts.time - self.arrival[starts.subject]
        return {"mean_wait": float(wait.mean()), "max_wait": float(wait.max()), "never": float("nan")}


class Chooser:
    """A heuristic that applies a function to the sizes of the visible jobs."""

    def __init__(self, choose):
        self.choose = choose

    def reset(self):
        pass

    def act_on_state(self, state):
        return int(self.choose(state.size))


class Dice:
    """Draws, from a seed of its own."""

    def __init__(self, seed=0):
        self.draw = stream(seed, "policy")

    def reset(self):
        pass

    def act_on_state(self, state):
        return int(self.draw.integers(len(state.size)))


def _engine(num_envs, split, sampling, jobs, windows):
    return SimulatorEngine(lambda: ToySimulator(split, sampling, jobs, windows), num_envs)


class ToyEnv(EngineEnv):
    heuristics: ClassVar = {
        "first": lambda: Chooser(lambda sizes: 0),
        "shortest": lambda: Chooser(np.argmin),
        "longest": lambda: Chooser(np.argmax),
        "dice": Dice,
    }
    do_nothing, objective, direction = "first", "mean_wait", "min"
    bound, domain = Bound("bound", 0.0), "Toys"

    scenario_arguments = {"sampling": "disjoint"}  # noqa: RUF012

    def __init__(self, workload=None, split="train", sampling="uniform", jobs=40, windows=1000, render_mode=None):
        super().__init__(_engine(1, split, sampling, jobs, windows), render_mode)
        columns = {"submit_time": [0.0, 1.0], "run_time": [5.0, 2.0], "processors": [1, 1]}
        provenance = Provenance("/logs/toy.swf", "swf", "default", "f" * 64)
        self.workload = Workload.from_columns(columns, Machine(4, "caller"), provenance, (Repair("raise", 3, False),))


class ToyVectorEnv(EngineVectorEnv):
    def __init__(
        self,
        num_envs=1,
        workload=None,
        split="train",
        sampling="uniform",
        jobs=40,
        windows=1000,
        autoreset_mode="SameStep",
        episode_metrics=False,
    ):
        super().__init__(_engine(num_envs, split, sampling, jobs, windows), autoreset_mode, episode_metrics)


if "Toy-v0" not in gym.registry:
    gym.register("Toy-v0", entry_point=ToyEnv, vector_entry_point=ToyVectorEnv)
    gym.register("Twin-v0", entry_point=ToyEnv, vector_entry_point=ToyVectorEnv)  # the same under another name
